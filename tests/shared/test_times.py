"""Times as indexes of stores need them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from shared.times import sortable
from tests.support.core import NOON


def test_strings_of_times_sort_as_the_times_do() -> None:
    """Their width is fixed, microseconds and the zone included: an index compares characters."""
    there = timezone(timedelta(hours=2))
    times = [NOON, NOON + timedelta(microseconds=1), datetime(2026, 1, 31, 14, 0, 1, tzinfo=there)]
    texts = [sortable(time) for time in times]
    assert texts == sorted(texts)
    assert texts[0] == "2026-01-31T12:00:00.000000Z"
    assert texts[2] == "2026-01-31T12:00:01.000000Z"
