"""The arithmetic of debt, by tables of numbers worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.debt import covers, merge, owe, round_up, split
from shared.model import Owed, Policy, Signal

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLICY = Policy(quiet_period=timedelta(seconds=20))


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(("claimed", "time", "covered"), [(10, 0, True), (9.999999, 0, False), (10, 0.000001, False)])
def test_a_run_covers_what_was_visible_when_it_was_claimed(claimed: float, time: float, *, covered: bool) -> None:
    """The inequality, at its edge, with a lag of ten seconds."""
    assert covers(at(claimed), at(time), timedelta(seconds=10)) is covered


@pytest.mark.parametrize(("time", "rounded"), [(0, 0), (0.000001, 5), (4.999999, 5), (5, 5), (5.1, 10), (-0.1, 0)])
def test_times_are_rounded_up_to_the_step(time: float, rounded: float) -> None:
    """The step is a quarter of the quiet period, counted from the same moment by everybody."""
    assert round_up(at(time), timedelta(seconds=5)) == at(rounded)


def test_the_first_signal_makes_a_debt() -> None:
    """Oldest is its time, newest is rounded up."""
    signal = Signal(at(1), "why", full=True)
    assert owe(None, at(1), signal, POLICY) == Owed(at(1), at(5), full=True, reasons=("why",))


@pytest.mark.parametrize("time", [-100, 1, 5])
def test_a_signal_within_the_debt_changes_nothing(time: float) -> None:
    """Rule 2: a storm costs reads."""
    owed = Owed(at(1), at(5), full=True, asked=True)
    assert owe(owed, at(time), Signal(at(time), "more", full=True, asked=True), POLICY) is owed


@pytest.mark.parametrize(("full", "asked"), [(True, False), (False, True)])
def test_a_signal_that_asks_for_more_is_kept(*, full: bool, asked: bool) -> None:
    """A full refresh, or one that was asked for, is a debt of its own kind."""
    owed = owe(Owed(at(1), at(5)), at(3), Signal(at(3), "more", full=full, asked=asked), POLICY)
    assert (owed.newest, owed.at_least, owed.full, owed.asked) == (at(5), 2, full, asked)


def test_a_later_signal_moves_the_newest_by_steps() -> None:
    """And a few different reasons are kept to show."""
    owed = Owed(at(1), at(5), reasons=("a", "b"))
    for number, why in enumerate(("b", "c", "d")):
        owed = owe(owed, at(6 + 5 * number), Signal(at(6), why), POLICY)
    assert owed == Owed(at(1), at(20), 4, reasons=("a", "b", "c"))


ONE, OTHER = Owed(at(1), at(5), 2, full=True, reasons=("a",)), Owed(at(0), at(9), 3, asked=True, reasons=("b",))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, None),
        (ONE, None, ONE),
        (None, ONE, ONE),
        (ONE, OTHER, Owed(at(0), at(9), 5, full=True, asked=True, reasons=("a", "b"))),
    ],
)
def test_two_debts_are_one(one: Owed | None, other: Owed | None, both: Owed | None) -> None:
    """Nothing of either is lost."""
    assert merge(one, other) == both


@pytest.mark.parametrize(
    ("owed", "cut", "covered", "rest"),
    [
        (None, 5, None, None),
        (ONE, 5, ONE, None),
        (ONE, 0.9, None, ONE),
        (ONE, 3, Owed(at(1), at(3), 2, full=True, reasons=("a",)), Owed(at(3), at(5), 1, full=True, reasons=("a",))),
    ],
)
def test_a_debt_is_split_at_what_a_run_covers(
    owed: Owed | None, cut: float, covered: Owed | None, rest: Owed | None
) -> None:
    """Rule 4: both halves of a split keep what was asked for."""
    assert split(owed, at(cut)) == (covered, rest)
