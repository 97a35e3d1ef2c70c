"""Levels of events in a log."""

from __future__ import annotations

import pytest

from shared.refresh.levels import FREQUENT, WARNINGS, level_of


@pytest.mark.parametrize(
    ("what", "level"), [("held", "warning"), ("run failed", "warning"), ("signalled", "debug"), ("started", "info")]
)
def test_an_event_has_the_level_of_its_table(what: str, level: str) -> None:
    """Somebody may have to act on a warning; what metrics count already is for whoever looks for faults."""
    assert level_of(what) == level


def test_no_event_has_two_levels() -> None:
    """The tables do not overlap, so that their order does not matter."""
    assert not WARNINGS & FREQUENT
