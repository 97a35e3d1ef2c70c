"""A storm of blob events on Azure: what it costs the store, and in dollars; time is simulated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import azure.functions as func

from functions_azure import app
from functions_azure.clients import Deadline
from functions_azure.shell import Shell
from functions_azure.store import PARTITIONS
from functions_azure.telemetry import Telemetry
from functions_azure.waker import Waker
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
from tests.bench.events import blob_event, lake_targets
from tests.bench.parts import Clock, CountingWaker, Measured
from tests.support.counting_store import CountingStore

EVENTS, TARGETS, BATCH = 10_000, 10, 300
STORM = timedelta(minutes=5)
QUIET = timedelta(seconds=30)
STEP = QUIET / 4
"""How far `newest` is rounded up (design, rule 2): within one step, a target's signals are one write."""


def measure() -> Iterator[Measured]:
    """Everything; takes about a minute."""
    yield from storm("one event a call", 1)
    yield from storm(f"batches of {BATCH} from an event hub", BATCH)
    yield from prices()


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
    part = costs_azure.dollars(hub, hub=True) / same_size
    yield Measured("batches from an event hub against the obvious", part, "times", HUB_PART)
    yield from costs_azure.standing()


class Lines(logging.Handler):
    """Counts the bytes of all lines of the log, and keeps none."""

    bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.bytes += len(record.getMessage().encode())


@contextmanager
def _logged() -> Iterator[Lines]:
    """The lines that the app's logger writes meanwhile, at the level that the function app has."""
    logger, lines = logging.getLogger("unstale"), Lines()
    with patch.object(logger, "level", logging.INFO), patch.object(logger, "propagate", new=False):
        logger.addHandler(lines)
        try:
            yield lines
        finally:
            logger.removeHandler(lines)


def _counted(batch: int) -> Counted:
    with _logged() as lines:
        return _storm_counted(batch, lines)


def _storm_counted(batch: int, lines: Lines) -> Counted:
    clock, store = Clock(), TableStore()
    waker, platform = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays), QuickFabric(clock)
    with patch.dict(app._made, {"shell": _shell(load(_configuration()), clock, store, waker, platform)}):
        _settle(clock, waker)
        store.reads = store.writes = waker.sent = platform.calls = lines.bytes = 0
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
        lines.bytes,
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
    return lake_targets(TARGETS, f'[defaults]\nquiet_period = "{QUIET.seconds}s"\n')


def _event(number: int, at: datetime) -> bytes:
    return blob_event(number % TARGETS, f"part-{number}", at).encode()
