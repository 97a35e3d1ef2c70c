"""The page as values: the saw-tooth of each target, its runs and arrivals, and figures of three windows.

Worked out from the lines of history and the record, so that whatever draws the page decides nothing. A view is as old
as the oldest data that it lacks, and holds everything when it lacks none:

    age   .      /|    /|
          .     / |   / |/|
          .____/__|__/__|_|_____
    time       |  |  |  | `- a run covers the rest: 0
               |  |  |  `- a run covers the oldest: the next oldest counts
               |  `- a run that covers it ends: 0
               `- data arrives
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from statistics import median

from shared.refresh.evidence import Evidence
from shared.refresh.state import Ended, Outcome, Situation
from shared.refresh.status import TargetStatus, status_of
from shared.values import Value

WINDOWS = (timedelta(hours=24), timedelta(days=7), timedelta(days=30))
"""How far back the page looks, by choice of its reader; no further than history is kept (90 days)."""
GOAL = 0.99
"""Share of the time in which a view is to keep its objective: what is late beyond 1 % overspends the error budget."""
COVERING = frozenset({Outcome.SUCCEEDED, Outcome.PROVEN, Outcome.SPARED})
"""Outcomes after which the view holds what the run was to cover."""
SPARED = frozenset({Outcome.PROVEN, Outcome.SPARED})
"""Outcomes of what was not run at all: the view held everything already."""
SHORTEST = timedelta(seconds=1)
"""A run of which only one moment is known is drawn this long."""

MARKS = (
    ("scheduled at", "schedule"),
    ("after ", "other target"),
    ("new data in ", "look"),
    ("asked", "person"),
    ("new in the configuration", "configuration"),
    ("its sources changed", "configuration"),
    ("what arrived during", "configuration"),
)
"""The ways in which data is told of, by how the reason begins; every other reason is an event's."""


class Tooth(Value, frozen=True):
    """A stretch of time in which the view lacked something; `since` is the oldest data that it lacked."""

    since: datetime
    """When the oldest data came that was missing."""
    begins: datetime
    """From when on this data was the oldest."""
    ends: datetime
    """When a run that covers it ended, or now."""


class Bar(Value, frozen=True):
    """A run, or a refresh that was spared."""

    begins: datetime
    """When the run was claimed, or when the look was sent."""
    ends: datetime
    """When the run ended, or now."""
    outcome: str
    """Succeeded, failed and so on, or running."""
    foreign: bool
    """Whether somebody else started it."""
    full: bool
    """Whether the run was a full refresh."""
    signals: int
    """How many signals it was to cover, at least."""
    reasons: tuple[str, ...]
    """Why the run was started."""
    oldest: datetime | None
    """When the oldest of these signals came, where the line says so."""
    run_id: str
    """The platform's id."""
    error: str
    """The platform's own words of a failure."""
    versions: tuple[tuple[str, str], ...] = ()
    """The sources that it is known to have read, each with its version; empty where nobody looks."""


class Mark(Value, frozen=True):
    """The oldest arrival that a run was for."""

    at: datetime
    """When the arrival came, by its source."""
    told_by: str
    """The way in which the arrival was told of: event, look, schedule, person, other target, configuration."""
    reason: str
    """In words."""


class Figures(Value, frozen=True):
    """The sums of one window."""

    within: float | None
    """Share of the time within the objective; None without an objective, or where nothing is known."""
    budget: float | None
    """Share of the error budget that is left, 0 at least; None likewise."""
    refreshes: int
    """Runs of ours."""
    spared: int
    """Refreshes that were not needed."""
    failed: int
    """Runs of ours that failed."""
    dpu_hours: float | None
    """The DPU-hours that Glue says that these took; None where the platform says nothing."""
    run_seconds: float
    """How long these runs went on, all together: what Fabric's capacity was used for."""
    median_lag: timedelta | None
    """From the oldest arrival to the end of the run that covered it, half of the runs were quicker."""
    worst_lag: timedelta | None
    """The longest of these."""


class Picture(Value, frozen=True):
    """A target on the page."""

    status: TargetStatus
    """How the target stands now."""
    objective: timedelta | None
    """How stale the target may be."""
    teeth: tuple[Tooth, ...]
    """When the target lacked something, in order."""
    bars: tuple[Bar, ...]
    """Its runs, the oldest first."""
    marks: tuple[Mark, ...]
    """Arrivals, the oldest first."""
    figures: tuple[Figures, ...]
    """The sums for each of `WINDOWS`."""


def picture(evidence: Evidence, lines: Sequence[Ended]) -> Picture:
    """Draw one target from what is known of it now and its history, in any order."""
    now = evidence.now
    known = sorted(lines, key=lambda line: line.ended_at)
    status = status_of(evidence)
    teeth = tuple(_teeth(known, status.stale_since, now))
    bars = tuple(sorted((*map(_bar, known), *_going_on(evidence)), key=lambda bar: bar.begins))
    objective = evidence.policy.objective
    return Picture(
        status=status,
        objective=objective,
        teeth=teeth,
        bars=bars,
        marks=tuple(_marks(bars, evidence)),
        figures=tuple(_figures(now - window, now, known, teeth, objective) for window in WINDOWS),
    )


def unread(status: TargetStatus, objective: timedelta | None) -> Picture:
    """A target of which nothing could be read."""
    nothing = Figures(None, None, 0, 0, 0, None, 0.0, None, None)
    return Picture(status, objective, (), (), (), (nothing,) * len(WINDOWS))


# --- The saw-tooth ---------------------------------------------------------------------------------------------------


def _teeth(lines: Sequence[Ended], stale_since: datetime | None, now: datetime) -> Iterator[Tooth]:
    """The stretches of missing data: each ends with a run, and the last goes on where something is missing now."""
    lacks = [(_oldest(line), line.ended_at) for line in lines if line.outcome in COVERING and line.signals]
    if stale_since:
        lacks.append((min(stale_since, now), now))
    # What a later run covers may be older than what this one did: then it was missing all the time.
    oldest = [*accumulate((since for since, _ in reversed(lacks)), min)][::-1]
    free_from = datetime.min.replace(tzinfo=UTC)
    for since, (_, ends) in zip(oldest, lacks, strict=True):
        begins = max(since, free_from)
        if begins < ends:
            yield Tooth(since, begins, ends)
        free_from = max(free_from, ends)


def _oldest(line: Ended) -> datetime:
    """When the oldest of its signals came; of a line that does not say, no later than its claim."""
    return min(line.oldest or line.claimed_at, line.ended_at)


# --- Runs and arrivals -----------------------------------------------------------------------------------------------


def _bar(line: Ended) -> Bar:
    """A line of history as a bar."""
    return Bar(
        begins=min(line.claimed_at, line.ended_at - SHORTEST),
        ends=line.ended_at,
        outcome=str(line.outcome),
        foreign=line.foreign,
        full=line.full,
        signals=line.signals,
        reasons=line.reasons,
        oldest=line.oldest,
        run_id=line.run_id,
        error=line.error,
        versions=tuple(sorted(line.versions.items())),
    )


def _going_on(evidence: Evidence) -> Iterator[Bar]:
    """The run in the record, up to now."""
    run = evidence.state.run
    if run:
        covering = run.covering
        yield Bar(
            begins=min(run.claimed_at, evidence.now - SHORTEST),
            ends=evidence.now,
            outcome="running",
            foreign=run.situation is Situation.FOREIGN,
            full=run.full,
            signals=covering.at_least if covering else 0,
            reasons=covering.reasons if covering else (),
            oldest=covering.oldest if covering else None,
            run_id=run.run_id,
            error="",
        )


def _marks(bars: Sequence[Bar], evidence: Evidence) -> list[Mark]:
    """The oldest arrival of each run, and of what is owed; the same one once, however many runs failed over it."""
    found = {bar.oldest: next(iter(bar.reasons), "") for bar in bars if bar.oldest}
    owed = evidence.state.owed
    if owed:
        found.setdefault(owed.oldest, next(iter(owed.reasons), ""))
    return [Mark(at, told_by(reason), reason) for at, reason in sorted(found.items())]


def told_by(reason: str) -> str:
    """The way in which data was told of, by the words of the signal's reason."""
    if reason.endswith(" has what the view lacks"):
        return "look"
    return next((what for words, what in MARKS if reason.startswith(words)), "event")


# --- Figures ---------------------------------------------------------------------------------------------------------


def _figures(
    since: datetime, now: datetime, lines: Sequence[Ended], teeth: Sequence[Tooth], objective: timedelta | None
) -> Figures:
    """The sums of the lines and the teeth of one window; a window begins no sooner than what is known."""
    inside = [line for line in lines if line.ended_at >= since]
    ours = [line for line in inside if not line.foreign and line.outcome not in SPARED]
    begins = max(since, min((tooth.begins for tooth in teeth), default=now))
    within = _within(begins, now, teeth, objective) if objective and begins < now else None
    lags = [
        (line.ended_at - _oldest(line)).total_seconds() for line in inside if line.outcome in COVERING and line.signals
    ]
    dpu_seconds = [line.dpu_seconds for line in ours if line.dpu_seconds is not None]
    return Figures(
        within=within,
        budget=None if within is None else max(0.0, 1 - (1 - within) / (1 - GOAL)),
        refreshes=len(ours),
        spared=sum(line.outcome in SPARED for line in inside),
        failed=sum(line.outcome is Outcome.FAILED for line in ours),
        dpu_hours=sum(dpu_seconds) / 3600 if dpu_seconds else None,
        run_seconds=sum((line.ended_at - line.claimed_at).total_seconds() for line in ours),
        median_lag=timedelta(seconds=median(lags)) if lags else None,
        worst_lag=timedelta(seconds=max(lags)) if lags else None,
    )


def _within(since: datetime, now: datetime, teeth: Sequence[Tooth], objective: timedelta) -> float:
    """The share of a window in which the view was no staler than the objective allows."""
    late = timedelta(0)
    for tooth in teeth:
        begins = max(tooth.begins, tooth.since + objective, since)
        late += max(timedelta(0), min(tooth.ends, now) - begins)
    return 1 - late / (now - since)
