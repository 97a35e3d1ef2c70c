"""The arithmetic of debt: which signals a run covers, and how what it does not cover is kept in one small value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shared.model import Owed, Policy, Signal

DAWN = datetime.min.replace(tzinfo=UTC)
REASONS_KEPT = 3


def covers(claimed_at: datetime, time: datetime, lag: timedelta) -> bool:
    """The inequality."""
    return time + lag <= claimed_at


def round_up(time: datetime, step: timedelta) -> datetime:
    """The next multiple of `step`, so that a storm moves `newest` once a step instead of once an event."""
    return time + (DAWN - time) % step


def owe(owed: Owed | None, time: datetime, signal: Signal, policy: Policy) -> Owed:
    """Add a signal to a debt. One at or before `newest` that asks for nothing more changes nothing: no write."""
    newest = round_up(time, policy.quiet_period / 4)
    if owed is None:
        return Owed(time, newest, full=signal.full, asked=signal.asked, reasons=(signal.reason,))
    if time <= owed.newest and (owed.full or not signal.full) and (owed.asked or not signal.asked):
        return owed
    return Owed(
        oldest=min(owed.oldest, time),
        newest=max(owed.newest, newest),
        at_least=owed.at_least + 1,
        full=owed.full or signal.full,
        asked=owed.asked or signal.asked,
        reasons=_few((*owed.reasons, signal.reason)),
    )


def merge(one: Owed | None, other: Owed | None) -> Owed | None:
    """Two debts as one."""
    if one is None or other is None:
        return one or other
    return Owed(
        oldest=min(one.oldest, other.oldest),
        newest=max(one.newest, other.newest),
        at_least=one.at_least + other.at_least,
        full=one.full or other.full,
        asked=one.asked or other.asked,
        reasons=_few((*one.reasons, *other.reasons)),
    )


def split(owed: Owed | None, cut: datetime) -> tuple[Owed | None, Owed | None]:
    """What lies at or before `cut`, and what lies after. Both keep `full` and `asked`: which half asked is unknown."""
    if owed is None or owed.newest <= cut:
        return owed, None
    if owed.oldest > cut:
        return None, owed
    return replace(owed, newest=cut), replace(owed, oldest=cut, at_least=1)


def _few(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))[:REASONS_KEPT]
