"""A bench for Fabric's jobs: the loop on a store in memory, a platform that keeps a journal, and Fabric that polls.

Every effect (a save, a line of history, a removal, a wake, a call to the platform) goes by `effect`, where a test may
kill whoever is at it, or let someone else come first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, Workload, WorkloadJob
from shared.platforms.fabric import CAPABILITIES
from shared.refresh import records
from shared.refresh.engine import Engine, LogEvent, Ports
from shared.refresh.failure import Failure
from shared.refresh.inputs import Signalled
from shared.refresh.ports import Document, Phase, Report, Started
from shared.refresh.state import Signal, State
from shared.refresh.sweep import Sweep
from shared.targets import BlobCreated, Cloud, ItemJob, LakeViews, Target
from shared.workload.api import Answer, Call, Creation, read_creation
from shared.workload.job import Job, read_job
from shared.workload.jobs import Jobs
from tests.support.core import OVER, POLICY, HandClock, at, seconds

ITEM = "b14cb7e7-d346-4751-9cfd-8c2767d53111"
WORKSPACE = "e5ef604d-e14f-4a59-9133-75d5a0cb9334"
INSTANCE = "63f77191-432d-4ee6-9c5f-31a1a6987072"
CALL = Call(WORKSPACE, "Contoso.Views.Sales", ITEM, "Contoso.Views.Sales.Refresh", INSTANCE, "tenant")
RUN_TIME = seconds(90)
STEP = seconds(5)
ORDER = {"NotStarted": 0, "InProgress": 1, "Completed": 2, "Failed": 2, "Cancelled": 2}


class Killed(BaseException):
    """A worker died."""


@dataclass
class PlatformRun:
    """One line of the platform's journal."""

    run_id: str
    key: str
    created_at: datetime
    phase: Phase = Phase.ACTIVE
    ended_at: datetime | None = None
    ends_as: Phase = Phase.SUCCEEDED
    run_time: timedelta = RUN_TIME

    def report(self, now: datetime) -> Report:
        """As the platform tells of it."""
        self.pass_time(now)
        error = "executor lost" if self.phase is Phase.FAILED else ""
        return Report(self.run_id, self.phase, self.phase.title(), self.created_at, self.ended_at, error=error)

    def pass_time(self, now: datetime) -> None:
        """End by itself."""
        if self.phase is Phase.ACTIVE and now >= self.created_at + self.run_time:
            self.phase, self.ended_at = self.ends_as, self.created_at + self.run_time


@dataclass
class Fabric:
    """The platform that refreshes. `outcomes` are those of the next runs; `refusal` is what a start gets instead."""

    clock: HandClock
    effect: Callable[[str], Any]
    capabilities = CAPABILITIES
    runs: list[PlatformRun] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    outcomes: list[Phase] = field(default_factory=list)
    refusal: Failure | None = None
    overlapped: bool = False
    refused: int = 0

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Run On Demand Item Job."""
        del full
        if self.refusal:
            self.refused += 1
            return self.refusal
        now = self.clock.now()
        self.overlapped |= any(run.key == target.key and run.report(now).phase is Phase.ACTIVE for run in self.runs)
        run = PlatformRun(f"r{len(self.runs) + 1}", target.key, now)
        run.ends_as = self.outcomes.pop(0) if self.outcomes else Phase.SUCCEEDED
        self.runs.append(run)
        self.effect("start")
        return Started(run.run_id, now)

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Get Item Job Instance."""
        del target
        return self.run(run_id).report(self.clock.now())

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """List Item Job Instances."""
        del since
        return tuple(run.report(self.clock.now()) for run in self.runs if run.key == target.key)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Cancel Item Job Instance."""
        del target
        run, now = self.run(run_id), self.clock.now()
        self.cancels.append(run_id)
        if run.report(now).phase is not Phase.ACTIVE:
            return OVER
        run.phase, run.ended_at = Phase.CANCELLED, now
        self.effect("cancel")
        return None

    def run(self, run_id: str) -> PlatformRun:
        """By its id."""
        return next(run for run in self.runs if run.run_id == run_id)

    def active(self) -> tuple[str, ...]:
        """What runs now."""
        return tuple(run.run_id for run in self.runs if run.report(self.clock.now()).phase is Phase.ACTIVE)


NEVER_GIVEN = 1_000_000
"""More than any number that a bench gives before it is quiet: of a version, a wake, a token, an effect."""


class Store(MemoryStore):
    """In memory, with every write an effect, and every read a moment that others may use."""

    reads_together = False

    def __init__(self, effect: Callable[[str], Any]) -> None:
        super().__init__()
        self.effect = effect
        self.between: Callable[[], object] = lambda: None

    def load(self, key: str) -> Document:
        """Read, after whoever is quicker; a save reads, too, in its one moment."""
        if not self._lock.locked():
            self.between()
        return super().load(key)

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """Likewise."""
        self.between()
        return super().history(key, limit)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Save, between two chances to die."""
        self.effect("before a save")
        saved = super().save(document, body, wake_at)
        self.effect("after a save")
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Likewise."""
        super().append(key, entry_id, body, expires_at)
        self.effect("after a line of history")

    def go_on_from(self, other: Store) -> None:
        """Have the other's records, index and history."""
        self._documents, self._wake_at = dict(other._documents), dict(other._wake_at)
        self._history = {key: dict(lines) for key, lines in other._history.items()}
        self._versions = count(NEVER_GIVEN)


class Waker(MemoryWaker):
    """In memory, likewise."""

    effect: Callable[[str], Any]

    def send(self, wake: Any, delay: timedelta) -> None:
        """Send."""
        super().send(wake, delay)
        self.effect("after a wake")


def a_target(name: str = "sales", **fields: Any) -> Target:
    """The lake views of a lakehouse."""
    given = {"policy": POLICY, "on": (BlobCreated("lake", name),), "identity": "us", **fields}
    return Target(name, LakeViews(WORKSPACE, f"lakehouse-{name}"), **given)


OPTIMIZE = Target("optimize", ItemJob(WORKSPACE, "lakehouse", "Optimize", {"tableName": "orders"}), POLICY)
CONFIGURATION = Configuration(
    (a_target(), OPTIMIZE),
    workload=Workload(
        (
            WorkloadJob(CALL.item_type, CALL.job_type, "sales"),
            WorkloadJob(CALL.item_type, "Contoso.Views.Sales.Optimize", "optimize", ITEM),
        )
    ),
)


class JobsBench:
    """All of it. Nothing of a worker outlives a call: each makes its own engine."""

    def __init__(self, configuration: Configuration = CONFIGURATION) -> None:
        self.clock = HandClock()
        self.on_effect: Callable[[int, str], object] = lambda _number, _what: None
        self.came = False
        self._effects = count()
        self.configuration = configuration
        self.store = Store(self.effect)
        self.waker = Waker(self.clock)
        self.waker.effect = self.effect
        self.fabric = Fabric(self.clock, self.effect)
        self.events: list[LogEvent] = []
        self.answers: list[tuple[datetime, str, Answer]] = []
        self._tokens = count(1)
        self._ticked_at = self._polled_at = at(-1000)

    def effect(self, what: str) -> None:
        """One took place, or is about to."""
        self.on_effect(next(self._effects), what)

    def at_effect(self, number: int, act: Callable[[], object], *, at_reads: bool = False) -> None:
        """Do this at the nth effect from here on, once, reads included or not; `came`: there were so many."""
        self.came = False
        seen = count()

        def moment() -> None:
            if next(seen) == number:
                self.came = True
                act()

        self.on_effect = lambda _number, _what: moment()
        self.store.between = moment if at_reads else lambda: None

    def undisturbed(self) -> None:
        """Nothing happens at effects any more."""
        self.on_effect = lambda _number, _what: None
        self.store.between = lambda: None

    def go_on_from(self, other: JobsBench) -> None:
        """Have what the other one has; numbers that are given from now on were never given there."""
        self.clock.time = other.clock.time
        self.store.go_on_from(other.store)
        self.waker._heap, self.waker._order = list(other.waker._heap), count(NEVER_GIVEN)
        self._tokens, self._effects = count(NEVER_GIVEN), count(NEVER_GIVEN)
        self.events = list(other.events)
        self._ticked_at, self._polled_at = other._ticked_at, other._polled_at

    # --- As the function app is called

    @property
    def engine(self) -> Engine:
        """A worker's."""
        return Engine(self.configuration.package(Cloud.AZURE), self.ports)

    @property
    def ports(self) -> Ports:
        """Of the function app."""
        return Ports(
            Cloud.AZURE, self.store, self.fabric, self.waker, self.clock, lambda: f"t{next(self._tokens)}", self._tell
        )

    def _tell(self, event: LogEvent) -> None:
        self.events.append(event)

    @property
    def jobs(self) -> Jobs:
        """A worker's."""
        return Jobs(self.configuration, self.engine, self.ports)

    def create(self, call: Call = CALL, **payload: Any) -> Answer:
        """Fabric asks."""
        return self._kept("create", self.jobs.create(call, creation(**payload)))

    def get(self, call: Call = CALL) -> Answer:
        """Fabric polls."""
        return self._kept("get", self.jobs.get(call))

    def cancel(self, call: Call = CALL) -> Answer:
        """Fabric's user changed his mind."""
        return self._kept("cancel", self.jobs.cancel(call))

    def _kept(self, what: str, answer: Answer) -> Answer:
        self.answers.append((self.clock.now(), what, answer))
        return answer

    def blob(self, name: str = "sales") -> None:
        """Data arrives."""
        signal = Signal(self.clock.now(), "a blob")
        self.engine.reconcile(self.configuration.by_name[name], (Signalled(signal),))

    # --- Time

    def wait(self, duration: float, *, poll: bool = True, until_over: bool = False) -> None:
        """Let time pass: wakes, a tick each minute, and a poll each minute if Fabric wants to know."""
        end = self.clock.now() + seconds(duration)
        while self.clock.now() < end:
            self.clock.time += STEP
            for wake in self.waker.take_due():
                if not self.survives(lambda wake=wake: self.engine.wake(wake)):  # type: ignore[misc]
                    self.waker._heap.append((self.clock.now() + seconds(30), -next(self._effects), wake))
            if self.clock.now() - self._ticked_at >= seconds(60):
                self._ticked_at = self.clock.now()
                self.survives(Sweep(self.engine).tick)
            if poll and self.clock.now() - self._polled_at >= seconds(60):
                self._polled_at = self.clock.now()
                self.survives(self.get)
                if until_over and self.is_over:
                    return

    @staticmethod
    def survives(work: Callable[[], object]) -> bool:
        """Do it, unless it dies."""
        try:
            work()
        except Killed:
            return False
        return True

    # --- What is known

    def state(self, name: str = "sales") -> State:
        """The target's record."""
        return records.read_state(self.store.load(self.configuration.by_name[name].key).body)

    def put(self, state: State) -> None:
        """Have the target's record say this."""
        key = self.configuration.by_name["sales"].key
        MemoryStore.save(self.store, self.store.load(key), records.write(state), state.wake_at)

    def job(self, call: Call = CALL) -> Job:
        """The job's."""
        return read_job(self.store.load(records.job_key(call.item, call.instance)).body)

    def told(self) -> list[dict[str, Any]]:
        """The states that Fabric was told, in order."""
        return [json.loads(answer.body) for _, _, answer in self.answers if answer.status == 200]

    @property
    def status(self) -> str:
        """The last of them."""
        return str(self.told()[-1]["status"])

    @property
    def is_over(self) -> bool:
        """Whether Fabric need not ask any more."""
        return bool(self.told()) and ORDER[self.status] == 2

    def forget_jobs(self) -> None:
        """A worker of an older release writes the target's record: what it does not know is not in it."""
        target = self.configuration.by_name["sales"]
        document = self.store.load(target.key)
        record = json.loads(document.body)
        run = record["record"].get("run", {})
        for part in (record["record"].get("owed"), run.get("covering")):
            if part:
                part.pop("jobs", None)
                part.pop("others", None)
        run.pop("withdrawn", None)
        MemoryStore.save(self.store, document, json.dumps(record).encode(), self.state().wake_at)


def creation(invoke_type: str = "Scheduled", **payload: Any) -> Creation:
    """The body of a create."""
    body = {"invokeType": invoke_type, **({"creationPayload": payload} if payload else {})}
    read = read_creation(json.dumps(body).encode())
    assert isinstance(read, Creation), read
    return read


def settle(bench: JobsBench) -> None:
    """The targets of a new bench are refreshed for being new, however often that takes, and all is quiet.

    That comes out the same each time, so a bench of the usual configuration goes on from one that went all the way.
    """
    if bench.configuration is CONFIGURATION:
        bench.go_on_from(quiet_bench())
    else:
        come_to_rest(bench)


@cache
def quiet_bench() -> JobsBench:
    """One that nobody changes."""
    bench = JobsBench()
    come_to_rest(bench)
    return bench


def come_to_rest(bench: JobsBench) -> None:
    """All the way, and no run is remembered."""
    bench.wait(1500, poll=False)
    assert bench.state().fresh_as_of
    bench.fabric.runs.clear()
    bench._polled_at = bench.clock.now()


def check(bench: JobsBench) -> None:
    """What must hold in every history: states only go forward, ends never change, and nothing overlaps."""
    told = bench.told()
    ranks = [ORDER[state["status"]] for state in told]
    assert ranks == sorted(ranks), told
    ends = [state for state in told if ORDER[state["status"]] == 2]
    assert all(end == ends[0] for end in ends), ends
    for state in told:
        assert state["startTimeUtc"]
        assert ("endTimeUtc" in state) is (ORDER[state["status"]] == 2)
        assert ("errorDetails" in state) is (state["status"] in {"Failed", "Cancelled"})
    assert not bench.fabric.overlapped
