"""Times as others write them, read as aware UTC; and durations in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

MINUTE, HOUR, DAY = 60, 3600, 86400
"""Seconds of each."""
INSTANT = timedelta(microseconds=1)
"""The smallest difference of two times: whatever must come just before or just after a time is this far from it."""
EARLIEST_YEAR, LATEST_YEAR = 2000, 8999
"""No platform here is older; and sums with the first or the last days of the calendar overflow."""


def time_of(text: str | None) -> datetime | None:
    """An RFC 3339 time as `instant` has it, else None. Any number of fraction digits: Fabric writes two to seven."""
    try:
        return instant(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        return None


def instant(time: datetime) -> datetime | None:
    """Aware UTC; a naive time is UTC already (Fabric). None for one that stands for "none", as 0001-01-01 in .NET."""
    if not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def sortable(time: datetime) -> str:
    """RFC 3339 with a fixed width, so that the order of the strings is that of the times: for indexes of stores."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def minute(time: datetime) -> str:
    """A time as people read it, to the minute: `2026-11-23 09:30Z`."""
    return f"{time:%Y-%m-%d %H:%M}Z"


def span(duration: timedelta) -> str:
    """A duration in words of one unit, rounded down: `90 s`, `12 min`, `3 h`, `4 days`."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, word in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {word}"
    return f"{seconds} s"
