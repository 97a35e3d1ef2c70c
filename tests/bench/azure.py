"""A storm of blob events on Azure: what it costs the store, and in dollars; time is simulated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import azure.functions as func

from functions_azure import app, clients
from functions_azure.clients import Deadline
from functions_azure.queue_behind import TAKEN_AT_ONCE, Waiting
from functions_azure.settings import EVENTS_QUEUE, WAKES_QUEUE
from functions_azure.shell import Behind, Shell
from functions_azure.store import FEW, PARTITIONS
from functions_azure.telemetry import Telemetry
from functions_azure.waker import Waker
from shared.config.load import Configuration, load
from shared.inbound.wakes import wake_message
from shared.platforms import fabric
from shared.refresh.engine import Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Document, Phase, Report, Started
from shared.targets import Cloud
from tests.bench import costs_azure
from tests.bench.costs_azure import FABRIC_SECONDS, MOST_DOLLARS, Counted
from tests.bench.events import blob_event, lake_targets
from tests.bench.parts import Clock, CountingWaker, Measured, Row
from tests.bench.queue_host import REQUEST_SECONDS, Busy, Instance, QueueHost, arrive, bill, settings, stand
from tests.simulation.scheduler import Scheduler
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
STEP_SECONDS = 0.05
"""How often it is looked whether a wake is due, or a batch full."""
RATES = {"33 a second": 33.3}
"""Arrivals a second, for as long as the storm lasts."""
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
        counted = _counted(_from_queue, rate)
        yield from costs_azure.priced(f"one event a message, {name}", counted, obvious, without, MOST_DOLLARS)
        for size in (costs_azure.MEMORY_GB, costs_azure.DEFAULT_MEMORY_GB):
            what = f"the obvious, {name}, on {size * 1024:,.0f} MB: list price per million arrivals"
            yield Measured(what, costs_azure.dollars(obvious, size), "$")
    rate = RATES[HUB_RATE]
    obvious, without = (costs_azure.obvious(rate, STORM.total_seconds(), idempotent=each) for each in (True, False))
    batched = _counted(_from_hub, rate)
    yield from costs_azure.priced(f"batches from an event hub, {HUB_RATE}", batched, obvious, without)
    part = costs_azure.dollars(batched, alone=True) / costs_azure.dollars(obvious, alone=True)
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


class SimulatedClock(Clock):
    """Goes by the scheduler, from the time at which that began."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> datetime:
        """When it is by the scheduler."""
        return self.time + timedelta(seconds=self._scheduler.now)

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.now().timestamp()


class Timed:
    """A port whose calls take time in the process that makes them, by the requests that each turns out to be."""

    def __init__(self, scheduler: Scheduler, port: Any, seconds: Callable[[], float]) -> None:
        """`seconds` says how long all requests of the port took so far."""
        self._scheduler, self._port, self._seconds = scheduler, port, seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        before = self._seconds()
        try:
            return method(*args, **options)
        finally:
            stand(self._scheduler, self._seconds() - before)


class Parts:
    """What the shipped functions work on meanwhile."""

    def __init__(self) -> None:
        self.scheduler = Scheduler()
        self.clock = SimulatedClock(self.scheduler)
        self.store = TableStore()
        self.waker = CountingWaker(self.clock, reach=Waker.reach, relays=Waker.relays)
        self.platform = QuickFabric(self.clock)
        self.lines: dict[str, Line] = {}

    def shell(self) -> Shell:
        """A shell on these parts, each of which takes its time."""
        scheduler, store, waker, platform = self.scheduler, self.store, self.waker, self.platform
        return _shell(
            load(_configuration()),
            self.clock,
            Timed(scheduler, store, lambda: REQUEST_SECONDS * store.requests),
            Timed(scheduler, waker, lambda: REQUEST_SECONDS * waker.sent),
            Timed(scheduler, platform, lambda: FABRIC_SECONDS * platform.calls),
            behind=lambda queue, _: self.lines[queue],
        )

    def host(self, queue: str, function: Callable[[func.QueueMessage], None]) -> QueueHost:
        """Have a host call a function for the messages of a queue, and the calls take more of them along."""
        host = QueueHost(self.scheduler, lambda body: function(func.QueueMessage(id="1", body=body)), settings())
        self.lines[queue] = Line(host, TAKEN_AT_ONCE[queue])
        return host

    def repeat(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something again and again."""

        def turn() -> None:
            action()
            self.scheduler.at(self.scheduler.now + seconds, turn)

        self.scheduler.at(self.scheduler.now + seconds, turn)


class Line:
    """A queue, as a call of a function takes more of it along."""

    def __init__(self, host: QueueHost, most: int) -> None:
        self._host, self._most = host, most

    def take(self) -> Sequence[Waiting]:
        """Take as the function app does."""
        return [Waiting(body, None) for body in self._host.take(self._most)]

    def remove(self, waiting: Waiting) -> None:
        """Remove one."""
        self._host.remove()


class Alone:
    """A function of which one call goes on at a time, on an instance of its own: ticks, or batches of a partition."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self._instance = scheduler, Instance()
        self._calls, self._alone = 0, 0.0
        self.goes_on = False

    def begin(self, work: Callable[[], object]) -> None:
        """Call it."""
        self.goes_on = True
        self._scheduler.spawn(self._scheduler.now, partial(self._process, work))

    def _process(self, work: Callable[[], object]) -> None:
        begins = self._scheduler.now
        work()
        self.goes_on = False
        self._calls += 1
        self._alone += bill(self._scheduler.now - begins)
        self._instance.add(begins, self._scheduler.now)

    @property
    def busy(self) -> Busy:
        """All calls so far."""
        return Busy(self._calls, 1, self._instance.bill, self._alone, 0)


WayIn = Callable[[Parts, float], tuple[int, Callable[[], Busy]]]
"""Lets events arrive, so many a second; returns how many there will be, and what tells of the function for events."""


def _from_queue(parts: Parts, rate: float) -> tuple[int, Callable[[], Busy]]:
    """One event a message."""
    host = parts.host(EVENTS_QUEUE, app.events)
    arrivals = arrive(
        parts.scheduler, rate, STORM.total_seconds(), lambda number: host.put(_event(number, parts.clock.now()))
    )
    return arrivals, lambda: host.busy


def _from_hub(parts: Parts, rate: float) -> tuple[int, Callable[[], Busy]]:
    """Batches, each as soon as it is full, the last when nothing more comes; one partition."""
    held: list[bytes] = []
    function = Alone(parts.scheduler)

    def look() -> None:
        if not function.goes_on and (len(held) >= BATCH or (held and parts.scheduler.now > STORM.total_seconds())):
            batch = held[:BATCH]
            del held[:BATCH]
            function.begin(partial(_hand_over, batch))

    parts.repeat(STEP_SECONDS, look)
    arrivals = arrive(
        parts.scheduler, rate, STORM.total_seconds(), lambda number: held.append(_event(number, parts.clock.now()))
    )
    return arrivals, lambda: function.busy


def _counted(way_in: WayIn, rate: float) -> Counted:
    """Play a storm and what follows: arrivals, wakes when they are due, and ticks."""
    parts = Parts()
    with (
        _logged() as lines,
        patch.object(clients, "time", parts.clock),  # by which an invocation knows how long it has
        patch.dict(app._made, {"shell": parts.shell()}),
    ):
        parts.lines[WAKES_QUEUE] = Line(_empty(), 1)
        _settle(parts.clock, parts.waker)
        parts.store.forget_counts()
        parts.waker.sent = parts.platform.calls = lines.bytes = 0
        parts.platform.begun.clear()
        return _storm_counted(parts, way_in, rate, lines)


def _empty() -> QueueHost:
    """A queue in which nothing is, before the storm."""
    return QueueHost(Scheduler(), lambda _: None, settings())


def _storm_counted(parts: Parts, way_in: WayIn, rate: float, lines: Lines) -> Counted:
    arrivals, events = way_in(parts, rate)
    wakes = parts.host(WAKES_QUEUE, app.wakes)
    ticks = Alone(parts.scheduler)

    def put_due() -> None:
        for wake in parts.waker.take_due():
            wakes.put(wake_message(wake).encode())

    parts.repeat(STEP_SECONDS, put_due)
    parts.repeat(TICK_SECONDS, lambda: ticks.begin(app.shell().tick))
    parts.scheduler.run((STORM + AFTER).total_seconds())
    all_busy = (events(), wakes.busy, ticks.busy)
    return Counted(
        arrivals=arrivals,
        executions=sum(each.calls for each in all_busy),
        active_seconds=sum(each.active_seconds for each in all_busy),
        alone_seconds=sum(each.alone_seconds for each in all_busy),
        queue_operations=sum(each.operations for each in all_busy),
        table_operations=parts.store.reads + parts.store.writes,
        platform_calls=parts.platform.calls,
        starts=len(parts.platform.begun),
        log_bytes=lines.bytes,
        hub_seconds=STORM.total_seconds() if way_in is _from_hub else 0.0,
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
    store: Any,
    waker: Any,
    platform: Any = None,
    *,
    behind: Callable[[str, Deadline], Behind] | None = None,
) -> Shell:
    def make_ports(_: Configuration, __: Deadline) -> Ports:
        return Ports(Cloud.AZURE, store, platform or NoPlatform(), waker, clock, lambda: "token", lambda _: None)

    def dead_letters(_: Deadline) -> Any:
        raise AssertionError("every event can be read")

    read: Callable[[], Configuration] = lambda: configuration  # noqa: E731 - it is what is wanted
    return Shell(read, make_ports, dead_letters, Telemetry(), behind=behind)


def _configuration() -> str:
    """As many targets, each with a container of its own."""
    return lake_targets(TARGETS, f'[defaults]\nquiet_period = "{QUIET.seconds}s"\n')


def _event(number: int, at: datetime) -> bytes:
    return blob_event(number % TARGETS, f"part-{number}", at).encode()
