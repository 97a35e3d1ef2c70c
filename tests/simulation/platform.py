"""A platform that refreshes: what it does is its journal, and the journal is all that judges look at.

Four characters. `glue` refuses a start while a run is there, and anyone's run reads what ours would. `fabric` accepts
it and skips, which it calls Cancelled; `dedupes` calls it Deduped. `lax` lets runs overlap, so that nothing hides our
own mistakes (a Fabric job type without deduplication).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Capabilities, Phase, Report, Started
from shared.targets import Target
from tests.simulation.faults import Fate, Faults
from tests.simulation.scheduler import Scheduler

FOREVER = float("inf")


@dataclass(eq=False, slots=True)
class PlatformRun:
    """One run as the platform knows it."""

    number: int
    key: str
    ours: bool
    asked_full: bool
    created: float
    ends: float
    fate: Fate
    skipped: bool = False
    cancelled_by: str = ""  # us, person
    cancel_tries: int = 0

    @property
    def run_id(self) -> str:
        """What the platform calls it."""
        return f"run-{self.number}"

    @property
    def full(self) -> bool:
        """Whether it reads everything anew."""
        return self.asked_full or self.fate.full

    @property
    def over(self) -> float:
        """When it ended for whoever asks: it may have vanished before."""
        return min(self.ends, self.created + self.fate.vanishes_after)

    def is_active(self, now: float) -> bool:
        """Whether it is there and running."""
        return self.created <= now < self.over

    @property
    def succeeded(self) -> bool:
        """Whether what it read is in the view, and the platform says so, should it ever end."""
        fine = self.fate.outcome == "succeeded" and not self.skipped and not self.cancelled_by
        return fine and self.ends < min(FOREVER, self.created + self.fate.vanishes_after)

    def phase(self, now: float, skips_as: tuple[Phase, str] | None) -> tuple[Phase, str]:
        """What the platform says of it."""
        start, end = self.fate.odd
        if self.created + start <= now < self.created + end:
            return Phase.UNKNOWN, "Pondering"
        if now < self.ends:
            return Phase.ACTIVE, "Running"
        if self.skipped and skips_as:
            return skips_as
        if self.cancelled_by:
            return Phase.CANCELLED, "Cancelled"
        if self.fate.outcome == "odd":
            return Phase.UNKNOWN, "Transcended"
        return (Phase.FAILED, "Failed") if self.fate.outcome == "failed" else (Phase.SUCCEEDED, "Succeeded")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of ours that reached the platform, accepted or not."""

    key: str
    time: float
    during: PlatformRun | None  # a run of ours that was there already
    run: PlatformRun | None  # the one that it made


@dataclass(frozen=True, slots=True)
class Character:
    """What tells the platforms apart."""

    name: str
    capabilities: Capabilities
    refuses: bool = False
    says_full: bool = False
    skips_as: tuple[Phase, str] | None = None


def character(name: str, listing_delay: float, call_timeout: float) -> Character:
    """One of the four, with its delays."""
    listing, calls = timedelta(seconds=listing_delay), timedelta(seconds=call_timeout)
    if name == "glue":
        return Character(
            name, Capabilities(listing, calls, foreign_covers=True, skips=False), refuses=True, says_full=True
        )
    skips_as = {"fabric": (Phase.CANCELLED, "Cancelled"), "dedupes": (Phase.SKIPPED, "Deduped")}.get(name)
    return Character(name, Capabilities(listing, calls, foreign_covers=False, skips=True), skips_as=skips_as)


DENIED = Failure("AccessDenied", "not allowed", Fault.CALLER, Delivery.REJECTED, retry_safe=False)
OVER = Failure("NotRunning", "it is over", Fault.CALLER, Delivery.REJECTED, retry_safe=False, kind=FailureKind.OVER)
GONE = Failure("NotFound", "no such run", Fault.CALLER, Delivery.REJECTED, retry_safe=True, kind=FailureKind.NOT_FOUND)
RUNNING = Failure(
    "AlreadyRunning",
    "a run is there",
    Fault.PLATFORM,
    Delivery.REJECTED,
    retry_safe=True,
    kind=FailureKind.ALREADY_RUNNING,
)


@dataclass
class FakePlatform:
    """The calls, at the moment that they take effect; who calls, and how long that takes, is `worker.py`."""

    scheduler: Scheduler
    faults: Faults
    character: Character
    at: Callable[[float], datetime]
    runs: dict[str, list[PlatformRun]] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    denied: list[tuple[float, float, frozenset[str]]] = field(default_factory=list)
    wrong_cancels: list[str] = field(default_factory=list)
    on_end: Callable[[PlatformRun], None] = lambda _run: None
    trace: Callable[[str], None] = lambda _line: None

    def forbids(self, operation: str) -> bool:
        """Whether our permission is lost right now."""
        return any(since <= self.scheduler.now < until and operation in what for since, until, what in self.denied)

    def of(self, target: Target) -> list[PlatformRun]:
        """All runs that a target ever had."""
        return self.runs.setdefault(target.key, [])

    def active(self, key: str) -> list[PlatformRun]:
        """The runs that are there now."""
        return [run for run in self.runs.get(key, ()) if run.is_active(self.scheduler.now)]

    # --- Calls -------------------------------------------------------------------------------------------------------

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """A start of ours reaches the platform."""
        if self.forbids("start"):
            return DENIED
        there = self.active(target.key)
        ours = next((run for run in there if run.ours and not run.skipped), None)
        run = None if there and self.character.refuses else self.begin(target.key, ours=True, full=full)
        self.attempts.append(Attempt(target.key, self.scheduler.now, ours, run))
        return Started(run.run_id) if run else RUNNING

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """A poll."""
        if self.forbids("get"):
            return DENIED
        run = next((run for run in self.of(target) if run.run_id == run_id), None)
        if run is None or not run.fate.shown_after <= self.scheduler.now - run.created < run.fate.vanishes_after:
            return GONE
        return self._report(run)

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """All active ones, and those created or ended at `since` or later."""
        if self.forbids("list"):
            return DENIED
        listed = (run for run in self.of(target) if self._is_listed(run))
        reports = (self._report(run) for run in listed)
        return tuple(report for report in reports if _concerns(report, since))

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Our cancel. Glue's names no run: whatever is there ends."""
        if self.forbids("cancel"):
            return DENIED
        runs = [run for run in self.of(target) if run.run_id == run_id]
        self.wrong_cancels.extend(run.run_id for run in runs if not run.ours)
        there = (
            self.active(target.key)
            if self.character.refuses
            else [run for run in runs if run.is_active(self.scheduler.now)]
        )
        if not there:
            return OVER
        run = there[0]
        run.cancel_tries += 1
        if run.fate.cancel_refused:
            return DENIED
        if not (run.fate.cancel_ignored and run.cancel_tries == 1):
            self.end_early(run, "us", run.fate.cancel_takes)
        return None

    def _is_listed(self, run: PlatformRun) -> bool:
        return run.fate.listed_after <= self.scheduler.now - run.created < run.fate.vanishes_after

    def _report(self, run: PlatformRun) -> Report:
        now, age = self.scheduler.now, self.scheduler.now - run.created
        phase, status = run.phase(now, self.character.skips_as)
        ended = phase not in (Phase.ACTIVE, Phase.UNKNOWN)
        dated = ended or age >= run.fate.dated_after
        return Report(
            run.run_id,
            phase,
            status,
            created_at=self.at(run.created) if dated else None,
            ended_at=self.at(run.ends) if ended else None,
            full=run.full if self.character.says_full else None,
        )

    # --- What happens on it ------------------------------------------------------------------------------------------

    def begin(self, key: str, *, ours: bool, full: bool = False) -> PlatformRun:
        """A run begins, or is skipped because another one is there."""
        fate, now = self.faults.fate(ours=ours), self.scheduler.now
        there = bool(self.active(key)) and self.character.skips_as is not None
        ends = now + (min(fate.seconds, 3.0) if there else fate.seconds)
        number = sum(len(runs) for runs in self.runs.values()) + 1
        run = PlatformRun(number, key, ours, full, now, ends, fate, skipped=there)
        self.runs.setdefault(key, []).append(run)
        self.trace(f"platform: {run.run_id} {'of ours' if ours else 'foreign'}{' skipped' if there else ''} {fate}")
        if ours and not there and fate.cancelled_by_person_after < fate.seconds:
            self.scheduler.at(now + fate.cancelled_by_person_after, lambda: self.end_early(run, "person", 1.0))
        self.on_end(run)
        return run

    def end_early(self, run: PlatformRun, by: str, seconds: float) -> None:
        """A cancel takes effect in a while, unless the run ends by itself before."""
        end = self.scheduler.now + seconds
        if end < run.over:
            run.ends, run.cancelled_by = end, by
            self.on_end(run)


def _concerns(report: Report, since: datetime) -> bool:
    if report.phase in (Phase.ACTIVE, Phase.UNKNOWN) or report.created_at is None:
        return True
    return max(report.created_at, report.ended_at or report.created_at) >= since
