"""What tests of the core share: a policy in round numbers, a state for every situation, a platform with a script."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from msgspec.structs import replace

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration
from shared.refresh import records
from shared.refresh.deployment import standing_of
from shared.refresh.engine import Engine, LogEvent, Ports
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Capabilities, Conflict, Document, Phase, Report, Started
from shared.refresh.state import Deployment, Edition, Owed, Run, Situation, State
from shared.refresh.timing import Context
from shared.targets import Cloud, GlueView, Package, Policy, S3ObjectCreated, Target

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=number)


def at(number: float) -> datetime:
    """So many seconds after noon, when runs are claimed here."""
    return NOON + seconds(number)


POLICY = Policy(
    quiet_period=seconds(20),
    max_wait=seconds(120),
    min_interval=seconds(60),
    visibility_lag=seconds(10),
    timeout=seconds(3600),
)
GLUE = Capabilities(listing_delay=seconds(5), call_timeout=seconds(10), foreign_covers=True, skips=False)
FABRIC = Capabilities(listing_delay=seconds(5), call_timeout=seconds(10), foreign_covers=False, skips=True)
ON_GLUE = Context("glue-view:1:sales:daily", POLICY, GLUE)
ON_FABRIC = Context("fabric-lake-views:w:l", POLICY, FABRIC)
LEASE, SETTLED = 81, 65
"""Seconds: 5 to start, 10 for the call, 5 for the list, 60 between clocks, 1 to spare; and without start and call."""


def failure(
    kind: FailureKind = FailureKind.OTHER,
    *,
    safe: bool = True,
    delivery: Delivery = Delivery.REJECTED,
    after: float | None = None,
) -> Failure:
    """A call that did not go well."""
    retry_after = None if after is None else seconds(after)
    return Failure("Code", "words", Fault.PLATFORM, delivery, safe, kind, retry_after)


BUSY = failure()
DENIED = failure(safe=False)
THROTTLED = failure(FailureKind.THROTTLED)
NOT_FOUND = failure(FailureKind.NOT_FOUND, safe=False)
OVER = failure(FailureKind.OVER, safe=False)
ALREADY = failure(FailureKind.ALREADY_RUNNING)
LOST_ANSWER = failure(safe=False, delivery=Delivery.UNKNOWN)

COVERED = Owed(at(-100), at(-20), at_least=2, reasons=("a",))


def a_run(situation: Situation, **changes: Any) -> Run:
    """A run that was claimed at noon."""
    known = situation not in {Situation.CLAIMED, Situation.SEEKING}
    run = Run(
        token="t1",
        claimed_at=NOON,
        situation=situation,
        next_look_at=at(LEASE),
        run_id="r1" if known else "",
        covering=None if situation is Situation.SEEKING else COVERED,
        cancel_asked=situation is Situation.CANCELLING,
        cancel_again_at=at(4000) if situation is Situation.CANCELLING else None,
    )
    return replace(run, **changes)


def in_situation(situation: Situation, **changes: Any) -> State:
    """A state in that situation; `changes` are those of its run."""
    if situation is Situation.IDLE:
        return State()
    return State(run=a_run(situation, **changes), last_claim_at=NOON)


def report(phase: Phase, run_id: str = "r1", **fields: Any) -> Report:
    """What the platform says of a run, by default of ours."""
    return Report(run_id, phase, phase.title(), **fields)


# --- The loop --------------------------------------------------------------------------------------------------------


class HandClock:
    """Clocks that a test moves by hand; the monotonic one begins at zero."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def monotonic(self) -> float:
        """Seconds since noon."""
        return (self.time - NOON).total_seconds()


class ScriptedPlatform:
    """Gives the answers of a script, the last one again and again; keeps what it was asked.

    An answer that can be called is, so that something happens while the platform works.
    """

    def __init__(self, capabilities: Capabilities = GLUE, **answers: list[Any]) -> None:
        self.capabilities = capabilities
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def _answer(self, call: str, *asked: Any) -> Any:
        self.calls.append((call, *asked))
        script = self.answers[call]
        answer = script.pop(0) if len(script) > 1 else script[0]
        return answer() if callable(answer) else answer

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """As the script has it."""
        return self._answer("start", target.name, full)

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """As the script has it."""
        return self._answer("get", target.name, run_id)

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """As the script has it."""
        return self._answer("list", target.name, since)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """As the script has it."""
        return self._answer("cancel", target.name, run_id)


class HookedStore(MemoryStore):
    """A store in memory that calls a test's function before it saves: to be first, to fail, or to let time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.before_save: Callable[[str], object] = lambda _key: None
        self.saves = 0

    def save(self, document: Any, body: bytes, wake_at: datetime | None) -> Any:
        """Save, after whatever the test does first."""
        self.before_save(document.key)
        self.saves += 1
        return super().save(document, body, wake_at)

    def before_next_save(self, key: str, happens: Callable[[], object]) -> None:
        """Let something happen just before this record is saved next, and not again."""

        def once(saved: str) -> None:
            if saved == key:
                self.before_save = lambda _key: None
                happens()

        self.before_save = once

    def lose_next_save(self, key: str, happens: Callable[[], object]) -> None:
        """Let somebody else be first to save this record."""

        def be_first() -> None:
            happens()
            raise Conflict(key)

        self.before_next_save(key, be_first)


def is_rolled_out(known: Deployment, package: Package) -> bool:
    """Whether a package is the current edition, and all records are of it."""
    return standing_of(known, package, NOON).is_current and known.rollout is None


def a_target(name: str = "daily", **fields: Any) -> Target:
    """A view of that name, fed by the bucket of that name."""
    given = {"policy": POLICY, "on": (S3ObjectCreated(name),), "identity": "role", **fields}
    return Target(name, GlueView("1", "sales", name), **given)


class Bench:
    """An engine over a store in memory, a scripted platform and a clock that a test moves."""

    def __init__(
        self, *targets: Target, platform: ScriptedPlatform | None = None, waker: Any = None, ends_at: float = 1e9
    ) -> None:
        self.clock = HandClock()
        self.store = HookedStore()
        self.platform = platform or ScriptedPlatform()
        self.waker = waker or MemoryWaker(self.clock)
        self.told: list[LogEvent] = []
        tokens = count(1)
        self.ports = Ports(
            Cloud.AWS,
            self.store,
            self.platform,
            self.waker,
            self.clock,
            lambda: f"t{next(tokens)}",
            self.told.append,
        )
        self.configuration = Configuration(targets or (a_target(),))
        self.engine = Engine(self.configuration.package(Cloud.AWS), self.ports, ends_at=ends_at)

    def loads(self) -> list[str]:
        """The keys of the records that are read from now on."""
        loads: list[str] = []
        load = self.store.load

        def noting(key: str) -> Document:
            loads.append(key)
            return load(key)

        self.store.load = noting  # type: ignore[method-assign]
        return loads

    def plan(self) -> None:
        """Have its configuration be the current edition, rolled out already."""
        package = self.engine.package
        body = records.write(Deployment(edition=Edition(1, package.fingerprint, package.generation)))
        self.store.save(self.store.load(records.DEPLOYMENT_KEY), body, None)

    def target(self, name: str = "daily") -> Target:
        """One of its targets."""
        return self.configuration.by_name[name]

    def engine_of(self, *targets: Target) -> Engine:
        """Another engine with the same ports: the next deployment's, with these targets."""
        return Engine(Configuration(targets).package(Cloud.AWS), self.ports)

    def state(self, name: str = "daily") -> State:
        """What the store knows of a target."""
        return records.read_state(self.store.load(self.target(name).key).body)

    def put(self, state: State, name: str = "daily") -> None:
        """Have the store know this of a target, planned for its configuration."""
        target = self.target(name)
        planned = replace(state, definition=target.definition, planned_until=state.planned_until or NOON, edition=1)
        self.store.save(self.store.load(target.key), records.write(planned), planned.wake_at)

    def pass_time(self, number: float) -> None:
        """Let so many seconds pass."""
        self.clock.time += seconds(number)

    def at(self, number: float) -> None:
        """Let time pass to so many seconds after noon."""
        self.clock.time = at(number)

    def calls(self) -> list[str]:
        """The names of the calls to the platform so far."""
        return [call[0] for call in self.platform.calls]

    def words(self) -> list[str]:
        """What was told so far."""
        return [event.what for event in self.told]
