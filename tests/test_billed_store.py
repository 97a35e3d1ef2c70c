"""What a write costs on DynamoDB, as the bench counts it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.refresh.ports import Conflict
from tests.support.billed_store import BilledStore

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def test_the_index_costs_only_where_an_entry_of_it_changes() -> None:
    """One to come, two to move, none to stay, one to go; the item itself costs each time."""
    store, units = BilledStore(), []
    document = store.load("key")
    for wake_at in (NOON, NOON, LATER, None, None):
        before = store.write_units
        document = store.save(document, b"body", wake_at)
        units.append(store.write_units - before)
    assert units == [2, 1, 3, 2, 1]


def test_each_kilobyte_costs_and_so_does_what_was_there_before() -> None:
    """Key, names and version belong to an item. A refused write costs as much as one that is taken."""
    store = BilledStore()
    first = store.save(store.load("key"), b"x" * 3000, None)
    assert store.write_units == 3
    store.save(first, b"x", None)
    assert store.write_units == 6
    with pytest.raises(Conflict):
        store.save(first, b"x", None)
    assert store.write_units == 7


def test_a_line_of_history_is_in_no_index() -> None:
    """It costs what it is long, and counting begins anew when it is told to."""
    store = BilledStore()
    store.append("key", "entry", b"x" * 1100, LATER)
    assert store.write_units == 2
    store.forget_counts()
    assert (store.write_units, store.writes) == (0, 0)
