"""Incidents of the demo, and when each happens: the incidents that the obvious handler does not survive.

Written against a `Stage`, so that the same story is played to the product and to the obvious handler.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Protocol

from local.emulators.clock import FastClock
from local.emulators.faults import FailRun, LoseResponse, Throttle
from local.emulators.journal import Arrival, Journal, PlatformRun
from shared.config.load import Configuration
from shared.refresh.engine import LogEvent, Ports
from shared.targets import Cloud, Target

Emit = Callable[[LogEvent], None]
"""Shows, or counts, what the engine tells of a target."""
SPARED = frozenset({"run spared", "run proven"})
"""The engine's words for a refresh that would have read nothing new."""
START = datetime(2026, 1, 31, 6, 0, tzinfo=UTC)
"""A fixed morning, so that the schedule at 06:05 falls into the story."""
SPEED = 10.0
"""Demo seconds in one of yours: slow enough for real servers to keep up, fast enough for less than a minute."""
BURST = 500
"""Objects that arrive at once, as one writer of many files makes them."""
BLOBS = 200
"""Blobs that arrive at once."""
FIVE_MINUTES = timedelta(minutes=5)
"""When the schedule of the story comes due, counted from its beginning."""
IN_THE_MIDDLE = timedelta(seconds=10)
"""A run that has gone on for this long has read its sources, and is not over yet."""
TRIES = 3
"""How often an incident is tried that a busy machine may make needless."""
LATE = timedelta(hours=1)
"""How much older than its delivery a late event is: covered long ago, so that it must start nothing."""
TICK = timedelta(seconds=60)
"""How often the one-minute timer fires, in the demo's time: every six seconds for whoever watches."""
SHORT_FOREIGN_RUN = timedelta(seconds=5)
"""Of someone else's run that nothing of ours comes into."""
FOREIGN_RUN_TIME = timedelta(seconds=200)
"""Of someone else's run: so long that the event after its start is handled meanwhile, on the busiest machine."""
PATIENCE_SECONDS = 600.0
"""Of real time. A busy machine needs seconds for what an incident waits for, one with sixteen others at work for each
processor needed over three minutes once; what takes this long never comes."""
LOOK_SECONDS = 0.05
"""Of real time, between two looks at what an incident waits for."""


class Patience:
    """The waits of incidents: each for a condition, since how long the machine takes is nobody's to say."""

    def __init__(self) -> None:
        """Begin with nothing to wait for."""
        self._ended = Event()

    def end(self) -> None:
        """Give up whatever is still waited for: the demo is over."""
        self._ended.set()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something happened. `TimeoutError` says what did not: without it the story cannot go on."""
        latest = time.monotonic() + PATIENCE_SECONDS
        while not condition() and not self._ended.wait(LOOK_SECONDS):
            if time.monotonic() > latest:
                raise TimeoutError(f"within {PATIENCE_SECONDS:.0f} s there was no {what}")


class Stage(Protocol):
    """A cloud: what an incident can do to it, and what the judges ask of it. Targets are named as in `demo.toml`."""

    targets: dict[str, Target]
    """The targets of this cloud by their names."""
    patience: Patience
    """The waits of incidents on this cloud."""
    hopeful: bool
    """Whether what is missing comes by itself: not with the obvious handler."""

    def now(self) -> datetime:
        """The demo's time."""

    @property
    def journal(self) -> Journal:
        """The platform's journal, up to now."""

    def arrivals(self, target: str) -> list[Arrival]:
        """Arrivals for a target, each with the time from which a run can read it."""

    def resource_of(self, target: str) -> str:
        """The target's name in the journal."""

    def signals(self, target: str) -> int:
        """How many reasons to refresh it there were, deliveries counted one by one."""

    def arrive(self, target: str, count: int = 1) -> None:
        """Put this many objects where the target's source is."""

    def replay(self, target: str) -> None:
        """Deliver the last event of the target once more, as queues do."""

    def deliver_late(self, target: str) -> None:
        """Deliver an event of long ago, whose object has been there all the time."""

    def commit(self, target: str, *, told: bool, data: bool = True) -> None:
        """Commit to the table that the target reads: new data, or a compaction of what is there; `told` by an event."""

    def count_spared(self, target: str) -> int:
        """How many refreshes of the target were not needed, as the product says; the obvious handler spares none."""

    def fault(self, target: str, fault: object, operation: str) -> None:
        """Let the platform fail once."""

    def someone_else_starts(self, target: str, takes: timedelta = FOREIGN_RUN_TIME) -> None:
        """Start a run that is not ours, once no other one of the target goes on."""

    def fabric_asks(self, target: str) -> None:
        """Have Fabric ask for a job that refreshes the target; on Fabric only."""

    def job_states(self) -> list[str]:
        """How the jobs stand that Fabric asked for, in Fabric's words."""

    def make_due(self, target: str, at: datetime) -> None:
        """Let the target's schedule come due, by which the obvious handler is called."""


class CloudStage:
    """The common part of both clouds' stages: targets, the demo's clock, and counts of what was told."""

    def __init__(self, configuration: Configuration, clock: FastClock, patience: Patience, cloud: Cloud) -> None:
        """Take the configuration's targets on that cloud. Nothing has arrived yet."""
        self.patience = patience
        self.targets = {target.name: target for target in configuration.targets if target.cloud is cloud}
        self.deliveries: Counter[str] = Counter()
        self.hopeful = True
        self.ports: Ports | None = None
        self._clock = clock
        self._arrivals: list[Arrival] = []
        self._spared: Counter[str] = Counter()

    def now(self) -> datetime:
        """The demo's time."""
        return self._clock.now()

    def count_spared(self, target: str) -> int:
        """Refreshes that were not needed."""
        return self._spared[target]

    def count_event(self, event: LogEvent) -> None:
        """Count what the engine tells of refreshes that were not needed."""
        self._spared[event.target] += event.what in SPARED


@dataclass(frozen=True)
class Incident:
    """A thing that happens; `says` is told when it does."""

    at: timedelta
    """When the incident happens, counted from the story's beginning."""
    target: str
    """The target that it concerns."""
    says: str
    """The line that is shown when the incident begins."""
    does: Callable[[Stage], None]
    """The effect on the cloud of its target."""


def _at(seconds: int, target: str, says: str, does: Callable[[Stage], None]) -> Incident:
    """An incident, so many seconds after the beginning."""
    return Incident(timedelta(seconds=seconds), target, says, does)


def both(tell: Emit, hear: Emit) -> Emit:
    """Make one listener of two: each hears every event."""

    def tell_both(event: LogEvent) -> None:
        """Tell both."""
        tell(event)
        hear(event)

    return tell_both


def goes_on(stage: Stage, target: str) -> bool:
    """Whether a run of the target goes on, be it ours or not."""
    resource = stage.resource_of(target)
    return any(run.resource == resource and not run.ended_at for run in stage.journal.entries())


def _in_the_middle(stage: Stage, target: str, since: datetime) -> bool:
    """Whether a run that did not end before `since` has read its sources."""
    resource, read_by = stage.resource_of(target), stage.now() - IN_THE_MIDDLE
    runs = [run for run in stage.journal.entries() if run.resource == resource and run.created_at < read_by]
    return any(run.ended_at is None or run.ended_at > since for run in runs)


def _twice(target: str) -> Callable[[Stage], None]:
    """An arrival that causes a run, and one in the middle of it, which that run has not read."""

    def both(stage: Stage) -> None:
        """Let one object arrive, wait for the run that it causes, and let another one arrive."""
        since = stage.now()
        stage.arrive(target)
        stage.patience.until(lambda: _in_the_middle(stage, target, since), f"run of {target}")
        stage.arrive(target)

    return both


def _and_arrive(target: str, before: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """An incident that prepares something and then lets an object arrive."""

    def both(stage: Stage) -> None:
        """Prepare the incident, then let the object arrive."""
        before(stage)
        stage.arrive(target)

    return both


def _and_spared(target: str, before: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """An incident after which no refresh is needed: it is over when the product has said so.

    Where a look took too long, or met somebody else's run, the refresh was started: then it happens once more.
    """

    def both(stage: Stage) -> None:
        """Let the incident happen once no refresh goes on, then wait for the word."""
        spared = stage.count_spared(target)
        for _ in range(TRIES if stage.hopeful else 1):
            stage.patience.until(lambda: _was_refreshed(stage, target), f"end of a refresh of {target}")
            runs = len(_ours(stage, target))
            before(stage)
            if stage.hopeful:
                told = f"refresh of {target} that was spared"
                stage.patience.until(
                    lambda: stage.count_spared(target) > spared or len(_ours(stage, target)) > runs,  # noqa: B023 - at once
                    told,
                )
            if stage.count_spared(target) > spared:
                return

    return both


def _ours(stage: Stage, target: str) -> list[PlatformRun]:
    """The runs of the target that the product started."""
    resource = stage.resource_of(target)
    return [run for run in stage.journal.entries() if run.resource == resource and not run.foreign]


def _was_refreshed(stage: Stage, target: str) -> bool:
    """Whether some run of the target is over, and none goes on; with the obvious handler none may ever begin."""
    runs = [run for run in stage.journal.entries() if run.resource == stage.resource_of(target)]
    return bool(runs or not stage.hopeful) and all(run.ended_at for run in runs)


def _commit_and_foreign(target: str) -> Callable[[Stage], None]:
    """A commit that no event tells of, and somebody else's refresh, which reads it."""

    def both(stage: Stage) -> None:
        """Commit, then start the run of someone else."""
        stage.commit(target, told=False)
        stage.someone_else_starts(target, takes=SHORT_FOREIGN_RUN)

    return both


STORY = (
    _at(100, "daily_revenue", f"{BURST} objects arrive in a burst", lambda stage: stage.arrive("daily_revenue", BURST)),
    _at(
        105,
        "orders_by_region",
        "an object arrives; the answer to the start will be lost",
        _and_arrive("orders_by_region", lambda stage: stage.fault("orders_by_region", LoseResponse(), "start")),
    ),
    _at(
        110,
        "stock_levels",
        "someone else starts a refresh, then an object arrives",
        _and_arrive("stock_levels", lambda stage: stage.someone_else_starts("stock_levels")),
    ),
    _at(
        115,
        "returns",
        "an object arrives; the run will fail",
        _and_arrive("returns", lambda stage: stage.fault("returns", FailRun("executor lost"), "run")),
    ),
    _at(
        120,
        "customer_value",
        "an object arrives; the start will be throttled",
        _and_arrive("customer_value", lambda stage: stage.fault("customer_value", Throttle(20), "start")),
    ),
    _at(
        240,
        "daily_revenue",
        "an object arrives, and another one in the middle of the run that it causes",
        _twice("daily_revenue"),
    ),
    _at(102, "sales_lakehouse", f"{BLOBS} blobs arrive", lambda stage: stage.arrive("sales_lakehouse", BLOBS)),
    _at(
        98,  # before the burst on this cloud, so that the obvious function comes to it while that run goes on
        "stock_lakehouse",
        "a schedule of Fabric's own starts a refresh, then a blob arrives; Fabric will accept our start and skip it",
        _and_arrive("stock_lakehouse", lambda stage: stage.someone_else_starts("stock_lakehouse")),
    ),
    _at(
        115,
        "sales_lakehouse",
        "a blob arrives, and another one in the middle of the run that they cause",
        _twice("sales_lakehouse"),
    ),
    _at(
        245,
        "stock_lakehouse",
        "a blob arrives; the start will be throttled",
        _and_arrive("stock_lakehouse", lambda stage: stage.fault("stock_lakehouse", Throttle(20), "start")),
    ),
    _at(
        230,
        "sales_lakehouse",
        "Fabric asks for a job of a workload's item, which refreshes this",
        lambda stage: stage.fabric_asks("sales_lakehouse"),
    ),
    _at(
        200,  # long after what is told of its table, so that no event about anything else heals it
        "clicks_by_hour",
        "a commit to its table; EventBridge loses the catalog's event, and only a look can find it",
        lambda stage: stage.commit("clicks_by_hour", told=False),
    ),
    _at(
        205,
        "sensor_lakehouse",
        "the eventstream is paused, and a commit to its table is told by nobody",
        lambda stage: stage.commit("sensor_lakehouse", told=False),
    ),
    _at(
        100,
        "visits_by_day",
        "a commit that no event tells of; somebody else refreshes the view, which then holds it: proven",
        _and_spared("visits_by_day", _commit_and_foreign("visits_by_day")),
    ),
    _at(
        50,  # before the burst, so that the obvious handler takes its event in time
        "clicks_by_hour",
        "its table is compacted, and an event tells of that: a refresh would read nothing new",
        _and_spared("clicks_by_hour", lambda stage: stage.commit("clicks_by_hour", told=True, data=False)),
    ),
    _at(
        55,
        "sensor_lakehouse",
        "its table is compacted, and the eventstream tells of that",
        _and_spared("sensor_lakehouse", lambda stage: stage.commit("sensor_lakehouse", told=True, data=False)),
    ),
    _at(300, "month_end", "its schedule comes due", lambda stage: stage.make_due("month_end", START + FIVE_MINUTES)),
    _at(310, "orders_by_region", "an event is delivered a second time", lambda stage: stage.replay("orders_by_region")),
    _at(315, "orders_by_region", "an event arrives an hour late", lambda stage: stage.deliver_late("orders_by_region")),
)
"""All incidents. Each is one that loses data where every event is answered by one start."""
