"""Times as others write them, read as aware UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

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
