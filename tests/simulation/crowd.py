"""Many targets that are due at once, behind one identity's limit: the shipped engine, and a platform that counts.

Everything goes well here but for the limit. What it costs is counted: wakes of each target until its start is accepted,
and how long all of them take, over the time that the platform would need if it were never idle (the ideal).

    quiet period |-- starts, as fast as the limit lets them --|
    arrival .... ready ..................................... last start accepted
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count
from typing import Any, Protocol

from shared.platforms import glue
from shared.platforms.failures import THROTTLED, Operation
from shared.refresh import records
from shared.refresh.failure import Failure
from shared.refresh.identity import Queue
from shared.refresh.inputs import Signalled
from shared.refresh.ports import Document, Phase, Report, Started
from shared.refresh.state import Deployment, Edition, Signal, State, Wake
from shared.targets import Limits, Package, Policy, Target
from tests.simulation.core import Core, shipped
from tests.simulation.platform import character
from tests.simulation.world import MINUTE, at, make_target
from tests.support.counting_store import CountingStore

QUIET = 30.0
POLICY = Policy(quiet_period=timedelta(seconds=QUIET), min_interval=timedelta(0), max_wait=timedelta(minutes=1))
LATE = 3.0
"""Wakes are late by up to so many seconds, as those of both clouds' queues are."""
LOST = 30 * 24 * 3600.0
"""Past this true time something waits for nothing."""


class DiedError(Exception):
    """A worker is gone; what it had in hand is lost."""


class Limit(Protocol):
    """How a platform limits the starts of one identity, steadily."""

    def refuse(self, now: float) -> Failure | None:
        """Take a start in, or refuse it."""

    def ideal(self, size: int) -> float:
        """Seconds from the first to the last of so many starts, if none were late."""


@dataclass
class Minutely:
    """So many a minute of the clock, as Fabric counts; others who share the limit take some of them first."""

    starts: int
    others: int = 0

    def __post_init__(self) -> None:
        """No minute has begun."""
        self._taken = Counter[int]()

    def refuse(self, now: float) -> Failure | None:
        """Until the minute is over."""
        minute = int(now // MINUTE)
        others = min(self.others, int((now % MINUTE) / MINUTE * self.others) + 1) if self.others else 0
        if self._taken[minute] + others < self.starts:
            self._taken[minute] += 1
            return None
        over = timedelta(seconds=(minute + 1) * MINUTE - now)
        return THROTTLED.of(Operation.START).failure("RequestBlocked", "too many", retry_after=over)

    def ideal(self, size: int) -> float:
        """All that the others leave."""
        return size / (self.starts - self.others) * MINUTE


@dataclass
class AtOnce:
    """So many runs at once, as Glue limits an account; no answer says when the next one may begin."""

    runs: int
    takes: float

    def __post_init__(self) -> None:
        """None is running."""
        self._ends: list[float] = []

    def refuse(self, now: float) -> Failure | None:
        """While all of them run."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        if len(self._ends) < self.runs:
            heapq.heappush(self._ends, now + self.takes)
            return None
        return glue.failure(Operation.START, {"Error": {"Code": "ResourceNumberLimitExceededException"}})

    def ideal(self, size: int) -> float:
        """Each run begins when one ends."""
        return (size - 1) // self.runs * self.takes


class CountingPlatform:
    """A platform that limits starts and polls, and whose runs succeed."""

    def __init__(self, limit: Limit, polls: Limit | None, clock: Clock, takes: float, kind: str) -> None:
        self.capabilities = character(kind, 0.0, 5.0).capabilities
        self.started: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self.polled = 0
        self._limit, self._polls, self._clock, self._takes = limit, polls, clock, takes

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Accept it, or not."""
        refusal = self._limit.refuse(self._clock.time)
        if refusal:
            self.refused["start"] += 1
            return refusal
        self.started[target.key] = self._clock.time
        return Started(f"run of {target.name}", at(self._clock.time), timedelta(seconds=60))

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Say whether it is over."""
        self.polled += 1
        refusal = self._polls.refuse(self._clock.time) if self._polls else None
        if refusal:
            self.refused["poll"] += 1
            return refusal
        began = self.started[target.key]
        over = self._clock.time >= began + self._takes
        phase = Phase.SUCCEEDED if over else Phase.ACTIVE
        ended_at = at(began + self._takes) if over else None
        return Report(run_id, phase, phase.title(), at(began), ended_at, retry_after=timedelta(seconds=60))

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """No answer is lost here, so nobody has to look a run up."""
        raise NotImplementedError(target.name)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Nor to cancel one."""
        raise NotImplementedError(run_id)


@dataclass
class Clock:
    """True time, which is every worker's here."""

    time: float = 0.0

    def now(self) -> datetime:
        """As a datetime."""
        return at(self.time)

    def monotonic(self) -> float:
        """In seconds."""
        return self.time


class Crowd:
    """A deployment of many targets, all of which have data at time 0, until each of them is started and has ended."""

    reach, relays = timedelta(days=6), True

    def __init__(
        self, size: int, limit: Limit, limits: Limits, *, takes: float = 60.0, polls: Limit | None = None,
        core: Core | None = None, kind: str = "", policy: Policy = POLICY,
        pause: Callable[[timedelta], None] = lambda _most: None,
    ) -> None:  # fmt: skip
        kind = kind or ("glue" if isinstance(limit, AtOnce) else "lax")
        self.limit, self.clock, self.store = limit, Clock(), CountingStore()
        self.platform = CountingPlatform(limit, polls, self.clock, takes, kind)
        self.targets = tuple(make_target(f"v{number}", kind, policy) for number in range(size))
        self.wakes: Counter[str] = Counter()
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order, tokens = count(), count()
        engine = (core or shipped()).engine
        package = Package(self.targets, "crowd", at(0), limits=limits)
        ports = engine.Ports(
            self.targets[0].cloud,
            self.store,
            self.platform,
            self,
            self.clock,
            lambda: f"t{next(tokens)}",
            _silent,
            pause=pause,
        )
        self.engine: Any = engine.Engine(package, ports)
        self._settle()

    def _settle(self) -> None:
        """Every target is planned, and fresh so far."""
        deployment = Deployment(edition=Edition(1, "crowd", at(0)))
        self.store.save(Document(records.DEPLOYMENT_KEY), records.write(deployment), None)
        for target in self.targets:
            known = State(definition=target.definition, planned_until=at(0), edition=1, fresh_as_of=at(-7200))
            self.store.save(Document(target.key), records.write(known), None)

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Have the wake arrive a little late."""
        number = next(self._order)
        late = LATE * (number * 0.618034 % 1)
        heapq.heappush(self._agenda, (self.clock.time + delay.total_seconds() + late, number, lambda: self._wake(wake)))

    def _wake(self, wake: Wake) -> None:
        self.wakes[wake.key] += wake.key not in self.platform.started
        with suppress(DiedError):
            self.engine.wake(wake)

    def at(self, time: float, do: Callable[[], object]) -> None:
        """Let something happen then."""
        heapq.heappush(self._agenda, (time, next(self._order), do))

    def signal(self, target: Target, time: float = 0.0, reason: str = "arrived") -> None:
        """Data arrives."""
        self.engine.reconcile(target, (Signalled(Signal(at(time), reason)),), may_call=False)

    def run(self, *, until: float = LOST) -> Outcome:
        """Have data arrive for all, and let everything happen that follows."""
        for target in self.targets:
            self.signal(target)
        return self.go_on(until)

    def go_on(self, until: float = LOST) -> Outcome:
        """Let everything happen that is to happen before a time."""
        while self._agenda and self._agenda[0][0] <= until:
            self.clock.time, _, do = heapq.heappop(self._agenda)
            do()
        return Outcome(self)

    def queue(self) -> Queue:
        """The identity's queue of starts, as its record has it."""
        found = records.read_identity(self.store.load(records.identity_key("identity")).body).starts
        assert found
        return found

    def state(self, target: Target) -> State:
        """What the record of a target says."""
        return records.read_state(self.store.load(target.key).body)


class Outcome:
    """What it cost."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.size = len(crowd.targets)
        self.wakes = [crowd.wakes[target.key] for target in crowd.targets]
        self.started = len(crowd.platform.started)

    @cached_property
    def mean(self) -> float:
        """Wakes of a target until its start was accepted, on average."""
        return sum(self.wakes) / self.size

    @property
    def most(self) -> int:
        """... and at most."""
        return max(self.wakes)

    @property
    def took(self) -> float:
        """Seconds from the arrival to the last start, less the quiet period and a minute."""
        return max(self.crowd.platform.started.values()) - QUIET - MINUTE

    @property
    def ratio(self) -> float:
        """What it took over what it would have taken a platform that is never idle."""
        return self.took / max(self.crowd.limit.ideal(self.size), 1.0)

    def __str__(self) -> str:
        crowd, platform = self.crowd, self.crowd.platform
        return (
            f"{self.size:6} targets, {crowd.limit}: wakes {self.mean:4.1f} on average, {self.most} at most; "
            f"{self.ratio:.2f} times the ideal; refused {dict(platform.refused)}, polled {platform.polled}; a target "
            f"{crowd.store.reads / self.size:.0f} reads, {crowd.store.writes / self.size:.0f} writes; "
            f"rate found {crowd.queue().rate * 60:.1f} a minute"
        )


def _silent(_happened: object) -> None:
    pass


KNOWN, UNKNOWN = Limits(starts_per_minute=50, polls_per_minute=50), Limits()
WORLDS: dict[str, tuple[Callable[[], Limit], Limits]] = {
    "known": (lambda: Minutely(50), KNOWN),
    "lower than configured": (lambda: Minutely(25), KNOWN),
    "shared": (lambda: Minutely(50, others=25), KNOWN),
    "unknown": (lambda: AtOnce(5, 60.0), UNKNOWN),
    "unknown, many at once": (lambda: AtOnce(20, 60.0), UNKNOWN),
}
"""Platforms with a steady limit, and what is configured about it."""
MOST: dict[bool, tuple[float, int, float]] = {True: (8, 25, 1.2), False: (17, 70, 1.25)}
"""Wakes on average and at most, and times the ideal, that the bench allows: where a limit is configured, and not."""


def play(world: str, size: int, core: Core | None = None) -> Outcome:
    """One crowd in one world."""
    make, limits = WORLDS[world]
    polls = Minutely(50) if limits.polls_per_minute else None
    return Crowd(size, make(), limits, polls=polls, core=core).run()


def wrong(world: str, outcome: Outcome) -> list[str]:
    """What is not within the limits of the bench."""
    mean, most, ratio = MOST[WORLDS[world][1].starts_per_minute is not None]
    found = [f"started {outcome.started} of {outcome.size}"] if outcome.started < outcome.size else []
    if outcome.mean > mean or outcome.most > most:
        found.append(f"{outcome.mean:.1f} wakes on average, {outcome.most} at most")
    if outcome.ratio > ratio:
        found.append(f"{outcome.ratio:.2f} times the ideal")
    return found


def main(arguments: Sequence[str]) -> None:
    """Print what crowds of these sizes cost: `python -m tests.simulation.crowd 10000`."""
    for size in map(int, arguments or ("10", "100", "1000")):
        for world in WORLDS:
            outcome = play(world, size)
            sys.stdout.write(f"{world:24} {outcome} {wrong(world, outcome) or 'as wanted'}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
