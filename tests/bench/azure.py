"""The Azure side: how long the function app takes to start, and what ten thousand blob events cost the store."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
from functions_azure.telemetry import Telemetry
from functions_azure.waker import Waker
from local.memory import MemoryStore, MemoryWaker
from shared import fabric
from shared.config import Configuration, load
from shared.engine import World
from shared.model import Cloud
from tests.azurite_server import Azurite
from tests.bench.parts import Clock, CountingStore, CountingWaker, Measured

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


# --- Starting --------------------------------------------------------------------------------------------------------

START = """
import json, sys, time
import azure.functions
begun = time.perf_counter()
from {entry} import app
app.get_functions()
print(json.dumps(time.perf_counter() - begun))
"""


def starts() -> Iterator[Measured]:
    """Importing the entry and indexing its functions, in new processes, ours and the obvious one's in turn.

    Ours imports what it needs when it is first called, so the first tick is told as well: what was put off is in there.
    """
    if not (find_spec("azure.identity") and find_spec("pydantic")):
        print("no azure-identity or no pydantic here: the obvious function app cannot be measured", file=sys.stderr)
        return
    times: dict[str, list[float]] = {"functions_azure.function_app": [], "tests.bench.obvious_azure": []}
    for _ in range(STARTS):
        for entry, found in times.items():
            found.append(_start(entry))
    ours, obvious = (statistics.median(found) for found in times.values())
    yield Measured("start of the function app, beyond azure.functions", ours * 1000, "ms")
    yield Measured("start of the obvious one, beyond azure.functions", obvious * 1000, "ms")
    yield Measured("ours against the obvious one", ours / obvious, "times", START_LIMIT)
    yield Measured("start and first tick, beyond azure.functions", _first_tick() * 1000, "ms")


def _start(entry: str) -> float:
    command = [sys.executable, "-c", START.format(entry=entry)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    seconds: float = json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout)
    return seconds


FIRST_TICK = """
import json, sys, time
import azure.functions
begun = time.perf_counter()
from functions_azure.function_app import app
app.get_functions()
from functions_azure.app import tick
tick(None)
print(json.dumps(time.perf_counter() - begun))
"""


def _first_tick() -> float:
    """On Azurite, with ten targets that are all idle."""
    with Azurite() as azurite, TemporaryDirectory() as folder:
        config = Path(folder, "unstale.toml")
        config.write_text(_configuration(), encoding="utf-8")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "UNSTALE_CONFIG": str(config),
            "UNSTALE_STORAGE": azurite.account().connection_string,
        }
        command = [sys.executable, "-c", FIRST_TICK]
        times = [
            float(json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout))
            for _ in range(4)
        ]
    return statistics.median(times[1:])  # the first one plans the configuration


# --- A storm ---------------------------------------------------------------------------------------------------------


class NoPlatform:
    """Nothing is started while a storm goes on: the quiet period begins anew with each step."""

    traits = fabric.TRAITS

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


def _shell(configuration: Configuration, clock: Clock, store: MemoryStore, waker: MemoryWaker) -> Shell:
    def world(_: Configuration, __: Deadline) -> World:
        return World(Cloud.AZURE, store, NoPlatform(), waker, clock, lambda: "token", lambda _: None)

    def graves(_: Deadline) -> Any:
        raise AssertionError("every event can be read")

    read: Callable[[], Configuration] = lambda: configuration  # noqa: E731 - it is what is wanted
    return Shell(read, world, graves, Telemetry())


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
