"""The arithmetic of what is owed: which signals a run covers, and how all others are kept in one small value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shared.refresh.state import Owed, Signal
from shared.targets import Policy

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Before every time that a platform tells; sums with it must only add."""
REASONS_KEPT = 3
"""Reasons that a record keeps of all that is owed: the first ones, since a sentence of `status` has room for few."""
ROUNDED_MOST = timedelta(minutes=5)
"""The most that `newest` is rounded up. A quiet period that was typed as days and mended must not hold what is owed for
a quarter of those days; and one write in five minutes is a storm's least worry."""
JOBS_OPEN_MOST = 100
"""Fabric's jobs that a record has at a time. Each takes some 70 bytes, and Azure Tables limits a property to 64 KiB."""


def covers(claimed_at: datetime, time: datetime, lag: timedelta) -> bool:
    """Whether a run claimed at that moment has read what a signal of this time tells: the inequality."""
    return time + lag <= claimed_at


def round_up(time: datetime, step: timedelta) -> datetime:
    """The next multiple of `step`, so that a storm moves `newest` once a step instead of once an event."""
    return time + (EARLIEST - time) % step


def owe(owed: Owed | None, time: datetime, signal: Signal, policy: Policy) -> Owed:
    """Add a signal to what is owed. One at or before `newest` that asks for nothing more changes nothing: no write."""
    newest = round_up(time, min(policy.quiet_period / 4, ROUNDED_MOST))
    jobs = {signal.job: time} if signal.job else {}
    others = not signal.job
    if owed is None:
        return Owed(
            time,
            newest,
            full=signal.full,
            asked=signal.asked,
            reasons=(signal.reason,),
            jobs=jobs,
            others=others,
            looked=signal.looked,
            prompt=signal.prompt,
        )
    if owed.others and others and time <= owed.newest and not _asks_for_more(owed, signal):
        return owed
    return Owed(
        oldest=min(owed.oldest, time),
        newest=max(owed.newest, newest),
        at_least=owed.at_least + 1,
        full=owed.full or signal.full,
        asked=owed.asked or signal.asked,
        reasons=_few((*owed.reasons, signal.reason)),
        jobs={**owed.jobs, **jobs},
        others=owed.others or others,
        looked=owed.looked and signal.looked,
        prompt=owed.prompt or signal.prompt,
        by_person=owed.by_person,
    )


def _asks_for_more(owed: Owed, signal: Signal) -> bool:
    """Whether a signal asks for something that nothing owed asks for yet."""
    flags = ((signal.full, owed.full), (signal.asked, owed.asked), (signal.prompt, owed.prompt))
    return any(asks and not known for asks, known in flags) or (owed.looked and not signal.looked)


def merge(one: Owed | None, other: Owed | None) -> Owed | None:
    """Put two values of what is owed together."""
    if one is None or other is None:
        return one or other
    return Owed(
        oldest=min(one.oldest, other.oldest),
        newest=max(one.newest, other.newest),
        at_least=one.at_least + other.at_least,
        full=one.full or other.full,
        asked=one.asked or other.asked,
        reasons=_few((*one.reasons, *other.reasons)),
        jobs={**one.jobs, **other.jobs},
        others=one.others or other.others,
        looked=one.looked and other.looked,
        prompt=one.prompt or other.prompt,
        by_person=one.by_person or other.by_person,
    )


def split(owed: Owed | None, cut: datetime) -> tuple[Owed | None, Owed | None]:
    """Divide what is owed into the part at or before `cut` and the part after it.

    Both keep `full` and `asked`: which half asked is unknown.
    Jobs have their own times, so each is in the half where it belongs. Where there are others, both halves have them.
    """
    if owed is None or owed.newest <= cut:
        return owed, None
    if owed.oldest > cut:
        return None, owed
    early = {job: time for job, time in owed.jobs.items() if time <= cut}
    late = {job: time for job, time in owed.jobs.items() if time > cut}
    return (
        _unless_empty(replace(owed, newest=cut), early),
        _unless_empty(replace(owed, oldest=cut, at_least=1), late),
    )


def without(owed: Owed | None, job: str) -> Owed | None:
    """Take a job's signal out of what is owed; None where that signal was all."""
    if owed is None or job not in owed.jobs:
        return owed
    left = replace(owed, at_least=max(1, owed.at_least - 1))
    return _unless_empty(left, {other: time for other, time in owed.jobs.items() if other != job})


def _unless_empty(owed: Owed, jobs: dict[str, datetime]) -> Owed | None:
    return replace(owed, jobs=jobs) if jobs or owed.others else None


def _few(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))[:REASONS_KEPT]
