"""A storm of blob events on Azure: what it costs the store, and in dollars; time is simulated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import azure.functions as func

from functions_azure import app
from functions_azure.clients import Deadline
from functions_azure.events_queue import TAKEN_AT_ONCE, Waiting
from functions_azure.shell import EventsBehind, Shell
from functions_azure.store import FEW, PARTITIONS
from functions_azure.telemetry import Telemetry
from functions_azure.waker import Waker
from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, load
from shared.inbound.wakes import wake_message
from shared.platforms import fabric
from shared.refresh.engine import Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Document, Phase, Report, Started
from shared.targets import Cloud
from tests.bench import costs_azure
from tests.bench.costs_azure import FABRIC_SECONDS, MOST_DOLLARS, REQUEST_SECONDS, Counted
from tests.bench.events import blob_event, lake_targets
from tests.bench.parts import Clock, CountingWaker, Measured, Row
from tests.bench.queue_host import Busy, Instance, QueueHost, bill, moments
from tests.support.counting_store import CountingStore

EVENTS, TARGETS, BATCH = 10_000, 10, 300
STORM = timedelta(minutes=5)
QUIET = timedelta(seconds=30)
STEP = QUIET / 4
"""How far `newest` is rounded up (design, rule 2): within one step, a target's signals are one write."""


def measure() -> Iterator[Row]:
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
    clock, store = Clock(), TableStore()
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
TICK_SECONDS = 60
RATES = {"33 a second": 33.3}
"""Arrivals a second, for as long as the storm lasts. The host takes each of so few at once, so none is taken along."""
HUB_RATE = "33 a second"
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
    """Counts as the table is asked: a query for each partition, or a few records one by one."""

    reads_together = False

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """One of them is counted already."""
        self.reads += PARTITIONS - 1
        self.requests += PARTITIONS - 1
        return super().due(now, limit)

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Many are one query for each partition."""
        wanted = list(keys)
        found = super().load_many(wanted)
        self.requests += (len(wanted) if len(wanted) <= FEW else PARTITIONS) - 1
        return found


def prices() -> Iterator[Row]:
    """The same events, with every wake and tick that they bring about, until the last run is over."""
    for name, rate in RATES.items():
        obvious, without = (costs_azure.obvious(rate, STORM.total_seconds(), idempotent=each) for each in (True, False))
        counted = _counted(partial(FromQueue, rate))
        yield from costs_azure.priced(f"one event a message, {name}", counted, obvious, without, MOST_DOLLARS)
        for size in (costs_azure.MEMORY_GB, costs_azure.DEFAULT_MEMORY_GB):
            what = f"the obvious, {name}, on {size * 1024:,.0f} MB: list price per million arrivals"
            yield Measured(what, costs_azure.dollars(obvious, size), "$")
    rate = RATES[HUB_RATE]
    obvious, without = (costs_azure.obvious(rate, STORM.total_seconds(), idempotent=each) for each in (True, False))
    hub = _counted(partial(FromHub, rate))
    yield from costs_azure.priced(f"batches from an event hub, {HUB_RATE}", hub, obvious, without)
    part = costs_azure.dollars(hub, alone=True) / costs_azure.dollars(obvious, alone=True)
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


class Parts(NamedTuple):
    """What the shipped functions work on meanwhile."""

    clock: Clock
    store: TableStore
    waker: CountingWaker
    platform: QuickFabric

    def spend(self, work: Callable[[], object]) -> float:
        """Do a function's work; the seconds that it takes, by its requests to table and wakes, and to Fabric."""
        before, calls = self.store.requests + self.waker.sent, self.platform.calls
        work()
        requests = self.store.requests + self.waker.sent - before
        return REQUEST_SECONDS * requests + FABRIC_SECONDS * (self.platform.calls - calls)


class FromQueue:
    """One event a message; a call takes along what waits behind its own."""

    def __init__(self, rate: float, parts: Parts) -> None:
        self.host, self._rate, self._parts = QueueHost(self._call), rate, parts
        self.arrivals = 0

    def take(self) -> Sequence[Waiting]:
        """Take as the function app does."""
        return [Waiting(body, None) for body in self.host.take(TAKEN_AT_ONCE)]

    def remove(self, waiting: Waiting) -> None:
        """Remove one."""
        self.host.remove()

    def step(self, since: float) -> None:
        """Have arrive what arrived since, and the host look."""
        until = _arrived(self._rate, since)
        for number in range(self.arrivals, until):
            self.host.put(_event(number, self._parts.clock.time))
        self.arrivals = until
        self.host.step(since)

    @property
    def busy(self) -> Busy:
        """Of the function for events."""
        return self.host.busy

    def _call(self, body: bytes) -> float:
        before = self.host.busy.operations
        seconds = self._parts.spend(lambda: app.events(func.QueueMessage(id="1", body=body)))
        return seconds + REQUEST_SECONDS * (self.host.busy.operations - before)


class FromHub:
    """Batches, each as soon as it is full; one partition, so that one call is over before the next."""

    def __init__(self, rate: float, parts: Parts) -> None:
        self._rate, self._parts = rate, parts
        self._instance, self._calls, self._alone = Instance(), 0, 0.0
        self._held: list[bytes] = []
        self.arrivals = 0

    def step(self, since: float) -> None:
        """Have arrive what arrived since; the last batch need not be full."""
        until = _arrived(self._rate, since)
        self._held += [_event(number, self._parts.clock.time) for number in range(self.arrivals, until)]
        self.arrivals = until
        while len(self._held) >= BATCH or (self._held and since > STORM.total_seconds()):
            batch, self._held = self._held[:BATCH], self._held[BATCH:]
            seconds = self._parts.spend(partial(_hand_over, batch))
            self._calls += 1
            self._alone += bill(seconds)
            self._instance.begin(since, seconds)

    @property
    def busy(self) -> Busy:
        """Of the function for batches."""
        return Busy(self._calls, 1, self._instance.bill, self._alone, 0)


def _arrived(rate: float, since: float) -> int:
    """How many events there are, so many seconds after the storm began."""
    return int(rate * min(since, STORM.total_seconds()))


def _counted(way_in: Callable[[Parts], FromQueue | FromHub]) -> Counted:
    with _logged() as lines:
        return _storm_counted(way_in, lines)


def _storm_counted(way_in: Callable[[Parts], FromQueue | FromHub], lines: Lines) -> Counted:
    """Play a storm and what follows, moment by moment: arrivals, wakes when they are due, and ticks."""
    clock, store = Clock(), TableStore()
    waker = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays)
    parts = Parts(clock, store, waker, QuickFabric(clock))
    events, ticks = way_in(parts), Instance()
    wakes = QueueHost(lambda body: parts.spend(lambda: app.wakes(func.QueueMessage(id="1", body=body))))
    behind = events if isinstance(events, FromQueue) else None
    with patch.dict(
        app._made, {"shell": _shell(load(_configuration()), clock, store, waker, parts.platform, behind=behind)}
    ):
        _settle(clock, waker)
        store.forget_counts()
        waker.sent = parts.platform.calls = lines.bytes = count = 0
        parts.platform.begun.clear()
        begins = clock.time
        for since in moments((STORM + AFTER).total_seconds()):
            clock.time = begins + timedelta(seconds=since)
            events.step(since)
            for wake in waker.take_due():
                wakes.put(wake_message(wake).encode())
            wakes.step(since)
            if since >= TICK_SECONDS * (count + 1):
                count += 1
                ticks.begin(since, parts.spend(app.shell().tick))
    all_busy = (events.busy, wakes.busy, Busy(count, 1, ticks.bill, ticks.bill, 0))
    return Counted(
        arrivals=events.arrivals,
        executions=sum(each.calls for each in all_busy),
        active_seconds=sum(each.active_seconds for each in all_busy),
        alone_seconds=sum(each.alone_seconds for each in all_busy),
        queue_operations=sum(each.operations for each in all_busy),
        table_operations=store.reads + store.writes,
        platform_calls=parts.platform.calls,
        starts=len(parts.platform.begun),
        log_bytes=lines.bytes,
        hub_seconds=0.0 if behind else STORM.total_seconds(),
    )


def _settle(clock: Clock, waker: CountingWaker) -> None:
    """What is new is refreshed."""
    for _ in range(10):
        app.shell().tick()
        clock.time += timedelta(seconds=TICK_SECONDS)
        _wake(waker)


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
    configuration: Configuration,
    clock: Clock,
    store: MemoryStore,
    waker: MemoryWaker,
    platform: Any = None,
    *,
    behind: EventsBehind | None = None,
) -> Shell:
    def world(_: Configuration, __: Deadline) -> Ports:
        return Ports(Cloud.AZURE, store, platform or NoPlatform(), waker, clock, lambda: "token", lambda _: None)

    def dead_letters(_: Deadline) -> Any:
        raise AssertionError("every event can be read")

    read: Callable[[], Configuration] = lambda: configuration  # noqa: E731 - it is what is wanted
    return Shell(read, world, dead_letters, Telemetry(), behind=(lambda _: behind) if behind else None)


def _configuration() -> str:
    """As many targets, each with a container of its own."""
    return lake_targets(TARGETS, f'[defaults]\nquiet_period = "{QUIET.seconds}s"\n')


def _event(number: int, at: datetime) -> bytes:
    return blob_event(number % TARGETS, f"part-{number}", at).encode()
