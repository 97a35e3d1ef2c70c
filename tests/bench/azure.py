"""The Azure side: how long the staged function app takes to start, what a storm costs the store, and in dollars."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import azure.functions as func

from functions_azure import app
from functions_azure.clients import Deadline
from functions_azure.shell import Shell
from functions_azure.store import PARTITIONS
from functions_azure.telemetry import Telemetry
from functions_azure.waker import Waker
from infra.packaging.azure import SITE_PACKAGES
from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, load
from shared.inbound.wakes import wake_message
from shared.platforms import fabric
from shared.refresh.engine import Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Phase, Report, Started
from shared.targets import Cloud
from tests.bench import costs_azure
from tests.bench.costs_azure import Counted
from tests.bench.parts import Clock, CountingStore, CountingWaker, Measured
from tests.support.azurite_server import Azurite
from tests.support.staged import staged_azure

ROOT = Path(__file__).parent.parent.parent

STARTS = 9
START_LIMIT = 0.5
"""Own part of a start beyond `azure.functions`, against that of the obvious app."""

EVENTS, TARGETS, BATCH = 10_000, 10, 300
STORM = timedelta(minutes=5)
QUIET = timedelta(seconds=30)
STEP = QUIET / 4
"""How far `newest` is rounded up (design, rule 2): within one step, a target's signals are one write."""


def measure() -> Iterator[Measured]:
    """Everything; takes about a minute."""
    yield from starts()
    yield from storm("one event a call", 1)
    yield from storm(f"batches of {BATCH} from an event hub", BATCH)
    yield from prices()


# --- Starting --------------------------------------------------------------------------------------------------------

START = """
import json, time
import azure.functions
begun = time.perf_counter()
from {entry} import app
app.get_functions()
print(json.dumps(time.perf_counter() - begun))
"""


def starts() -> Iterator[Measured]:
    """Importing the entry and indexing its functions, in new processes, ours and the obvious one's in turn.

    Ours is the staged package, on a Python that sees nothing else. It imports what it needs when it is first called, so
    the first tick is told as well: what was put off is in there.
    """
    if not (find_spec("azure.identity") and find_spec("pydantic") and find_spec("azure_functions_runtime")):
        print("no azure-identity, pydantic or worker library here: starts cannot be measured", file=sys.stderr)
        return
    with TemporaryDirectory() as folder:
        package = staged_azure(Path(folder) / "azure", ROOT / "unstale.example.toml")
        paths = {
            "function_app": f"{package}{os.pathsep}{package / SITE_PACKAGES}",
            "tests.bench.obvious_azure": f"{Path(func.__file__).parents[2]}{os.pathsep}{ROOT}",
        }
        times: dict[str, list[float]] = {entry: [] for entry in paths}
        for _ in range(STARTS):
            for entry, path in paths.items():
                times[entry].append(_timed(START.format(entry=entry), {"PYTHONPATH": path}))
        ours, obvious = (statistics.median(found) for found in times.values())
        yield Measured("start of the staged function app, beyond azure.functions", ours * 1000, "ms")
        yield Measured("start of the obvious one, beyond azure.functions", obvious * 1000, "ms")
        yield Measured("ours against the obvious one", ours / obvious, "times", START_LIMIT)
        first_tick = _first_tick(paths["function_app"])
        yield Measured("start and first tick of the staged one, beyond azure.functions", first_tick * 1000, "ms")
        size = package.with_suffix(".zip").stat().st_size
        yield Measured("size of the zip", size / 1e6, "MB")


def _timed(program: str, environment: Mapping[str, str]) -> float:
    """What a program tells of itself; no site and no current folder, and nothing is written beside the modules."""
    found = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-S", "-P", "-c", program]
    seconds: float = json.loads(subprocess.run(command, capture_output=True, check=True, env=found).stdout)
    return seconds


FIRST_TICK = """
import json, time
import azure.functions
begun = time.perf_counter()
from function_app import app
app.get_functions()
from functions_azure.app import tick
tick(None)
print(json.dumps(time.perf_counter() - begun))
"""


def _first_tick(path: str) -> float:
    """On Azurite, with ten targets that are all idle."""
    with Azurite() as azurite, TemporaryDirectory() as folder:
        config = Path(folder, "unstale.toml")
        config.write_text(_configuration(), encoding="utf-8")
        environment = {
            "PYTHONPATH": path,
            "UNSTALE_CONFIG": str(config),
            "UNSTALE_STORAGE": azurite.account().connection_string,
        }
        times = [_timed(FIRST_TICK, environment) for _ in range(4)]
    return statistics.median(times[1:])  # the first one plans the configuration


# --- A storm ---------------------------------------------------------------------------------------------------------


class NoPlatform:
    """Nothing is started while a storm goes on: the quiet period begins anew with each step."""

    capabilities = fabric.CAPABILITIES

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called in the middle of a storm")


def storm(way: str, batch: int) -> Iterator[Measured]:
    """Blob events for all targets in turn, evenly over the time, delivered in order in batches of this size."""
    clock, store = Clock(), CountingStore()
    waker = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays)
    configuration = load(_configuration())
    with patch.dict(app._made, {"shell": _shell(configuration, clock, store, waker)}):
        app.shell().tick()  # which signals every target for being new
        store.reads = store.writes = waker.sent = 0
        seconds = _deliver(clock, batch)
    bound = TARGETS * (STORM / STEP + 2)
    yield Measured(f"{EVENTS:,} events, {way}: writes", store.writes, "", bound)
    yield Measured(f"{EVENTS:,} events, {way}: wakes", waker.sent, "", bound)
    calls = EVENTS // batch + bool(EVENTS % batch)
    yield Measured(f"{EVENTS:,} events, {way}: reads", store.reads, "", calls * min(batch, TARGETS) + bound)
    yield Measured(f"{EVENTS:,} events, {way}: time an event, without the store's", seconds / EVENTS * 1e6, "us")


# --- Prices ----------------------------------------------------------------------------------------------------------

RUN_TIME = timedelta(minutes=1)
AFTER = timedelta(minutes=15)
"""After the storm, until every run is over."""
TICK = timedelta(minutes=1)
HUB_PART = 0.2
"""The most that batches from an event hub may cost of what a function an event costs on instances of the same size."""


class QuickFabric:
    """Accepts every start; a run takes a minute. Counts the calls."""

    capabilities = fabric.CAPABILITIES

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.calls = 0
        self.begun: dict[str, datetime] = {}

    def start(self, target: Any, *, full: bool) -> Started | Failure:
        """Accept."""
        self.calls += 1
        run_id = f"{target.name}/{len(self.begun)}"
        self.begun[run_id] = self._clock.now()
        return Started(run_id, self._clock.now())

    def get(self, target: Any, run_id: str) -> Report | Failure:
        """Done after a minute."""
        self.calls += 1
        begun = self.begun[run_id]
        done = self._clock.now() - begun >= RUN_TIME
        return Report(run_id, Phase.SUCCEEDED if done else Phase.ACTIVE, "", begun, begun + RUN_TIME if done else None)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called, and nothing was ever in doubt here")


class TableStore(CountingStore):
    """Counts as the table is asked: what is due is a query for each partition."""

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """One of them is counted already."""
        self.reads += PARTITIONS - 1
        return super().due(now, limit)


def prices() -> Iterator[Measured]:
    """The same events, with every wake and tick that they bring about, until the last run is over."""
    one, hub = _counted(1), _counted(BATCH)
    yield from costs_azure.priced("one event a call", one, hub=False)
    yield from costs_azure.priced("batches from an event hub", hub, hub=True)
    yield from costs_azure.obvious()
    same_size = costs_azure.obvious_dollars(costs_azure.MEMORY_GB)
    yield Measured("one event a call against the obvious", costs_azure.dollars(one, hub=False) / same_size, "times")
    part = costs_azure.dollars(hub, hub=True) / same_size
    yield Measured("batches from an event hub against the obvious", part, "times", HUB_PART)
    yield from costs_azure.standing()


def _counted(batch: int) -> Counted:
    clock, store = Clock(), TableStore()
    waker, platform = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays), QuickFabric(clock)
    with patch.dict(app._made, {"shell": _shell(load(_configuration()), clock, store, waker, platform)}):
        _settle(clock, waker)
        store.reads = store.writes = waker.sent = platform.calls = 0
        platform.begun.clear()
        begins, wakes, ticks, calls = clock.time, 0, 0, 0
        while clock.time < begins + STORM + AFTER:
            clock.time += timedelta(seconds=1)
            first, last = (_number(clock.time - begins - timedelta(seconds=ago)) for ago in (1, 0))
            for start in _filled(first, last, batch):
                calls += 1
                _hand_over([_event(number, clock.time) for number in range(start, min(start + batch, EVENTS))])
            wakes += _wake(waker)
            if (clock.time - begins) % TICK == timedelta(0):
                ticks += 1
                app.shell().tick()
    assert calls == -(-EVENTS // batch)
    return Counted(
        EVENTS,
        STORM.total_seconds(),
        calls,
        waker.sent,
        wakes,
        ticks,
        store.reads,
        store.writes,
        platform.calls,
        len(platform.begun),
    )


def _settle(clock: Clock, waker: CountingWaker) -> None:
    """What is new is refreshed."""
    for _ in range(10):
        app.shell().tick()
        clock.time += TICK
        _wake(waker)


def _number(since: timedelta) -> int:
    """How many events there are until then."""
    return min(EVENTS, max(0, int(EVENTS * (since / STORM))))


def _filled(first: int, last: int, batch: int) -> range:
    """Where the batches begin that were filled in this second; the last one need not be full."""
    begins = first // batch * batch if first < EVENTS else EVENTS
    return range(begins, EVENTS if last == EVENTS else last // batch * batch, batch)


def _wake(waker: CountingWaker) -> int:
    taken = waker.take_due()
    for wake in taken:
        app.wakes(func.QueueMessage(id="1", body=wake_message(wake)))
    return len(taken)


# --- What both need --------------------------------------------------------------------------------------------------


def _deliver(clock: Clock, batch: int) -> float:
    """Returns the seconds that the functions took."""
    taken, begins = 0.0, clock.time
    for first in range(0, EVENTS, batch):
        numbers = range(first, min(first + batch, EVENTS))
        clock.time = begins + STORM * (numbers[-1] / EVENTS)
        bodies = [_event(number, begins + STORM * (number / EVENTS)) for number in numbers]
        begun = time.perf_counter()
        _hand_over(bodies)
        taken += time.perf_counter() - begun
    return taken


def _hand_over(bodies: Sequence[bytes]) -> None:
    if len(bodies) == 1:
        app.events(func.QueueMessage(id="1", body=bodies[0]))
    else:
        app.stream([func.EventHubEvent(body=body) for body in bodies])


def _shell(
    configuration: Configuration, clock: Clock, store: MemoryStore, waker: MemoryWaker, platform: Any = None
) -> Shell:
    def world(_: Configuration, __: Deadline) -> Ports:
        return Ports(Cloud.AZURE, store, platform or NoPlatform(), waker, clock, lambda: "token", lambda _: None)

    def dead_letters(_: Deadline) -> Any:
        raise AssertionError("every event can be read")

    read: Callable[[], Configuration] = lambda: configuration  # noqa: E731 - it is what is wanted
    return Shell(read, world, dead_letters, Telemetry())


def _configuration() -> str:
    """As many targets, each with a container of its own."""
    target = """
[targets.t{n}]
kind = "fabric-lake-views"
workspace = "4b218778-e7a5-4d73-8187-f10824047715"
lakehouse = "431e8d7b-4a95-4c02-8ccd-{n:012}"
on = [{{ blob_created = {{ account = "contosolake", container = "landing{n}" }} }}]
"""
    return f'[defaults]\nquiet_period = "{QUIET.seconds}s"\n' + "".join(target.format(n=n) for n in range(TARGETS))


def _event(number: int, at: datetime) -> bytes:
    container = f"landing{number % TARGETS}"
    return json.dumps(
        {
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/contosolake",
            "subject": f"/blobServices/default/containers/{container}/blobs/part-{number}.parquet",
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": at.isoformat(),
            "id": f"{number}",
            "data": {"api": "PutBlob", "url": f"https://contosolake.blob.core.windows.net/{container}/{number}"},
            "dataVersion": "",
            "metadataVersion": "1",
        }
    ).encode()
