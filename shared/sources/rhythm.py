"""When a group is looked at: its interval, doubled while the platform throttles, and what a look leads to (rule 8).

throttled . . doubled . . throttled . . doubled . . an hour without throttling: as configured again
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.sources.memory import GroupRecord

INTERVAL_CEILING = timedelta(hours=1)
"""No throttling makes the interval longer than this; one that is configured longer stays as it is."""
CALM = timedelta(hours=1)
"""The interval is as configured again after this time without throttling."""
SILENT_INTERVALS = 3
"""A source without an answer for so many of its target's intervals makes the verdict unknown (design, G8)."""


def shortest(intervals: Iterable[timedelta | None]) -> timedelta | None:
    """The interval of a group: the shortest of its readers; None where none of them looks."""
    return min((interval for interval in intervals if interval), default=None)


def slow_down(record: GroupRecord, interval: timedelta, now: datetime) -> timedelta:
    """The interval as throttling has made it."""
    if record.throttled_at is None or now - record.throttled_at >= CALM:
        return interval
    return max(interval, min(INTERVAL_CEILING, interval * (1 << min(record.doublings, 10))))


def next_look(record: GroupRecord, interval: timedelta | None, now: datetime, *, complete: bool) -> datetime | None:
    """When to look again: at once where a trace was cut off; never where nobody reads the group."""
    if interval is None:
        return None
    return now + slow_down(record, interval, now) if complete else now


def heed(record: GroupRecord, now: datetime, *, throttled: bool) -> GroupRecord:
    """The record after a look, as far as throttling goes."""
    calm = record.throttled_at is None or now - record.throttled_at >= CALM
    if throttled:
        return replace(record, doublings=1 if calm else min(record.doublings + 1, 10), throttled_at=now)
    return replace(record, doublings=0, throttled_at=None) if calm else record


def is_silent(when: datetime | None, interval: timedelta, now: datetime) -> bool:
    """Whether a source has given no answer for three intervals."""
    return when is None or now - when > SILENT_INTERVALS * interval
