"""The arithmetic of what is owed, by tables of numbers worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.refresh.owed import covers, merge, owe, round_up, split, without
from shared.refresh.state import Owed, Signal
from shared.targets import Policy

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


def test_the_first_signal_is_owed() -> None:
    """Oldest is its time, newest is rounded up."""
    signal = Signal(at(1), "why", full=True)
    assert owe(None, at(1), signal, POLICY) == Owed(at(1), at(5), full=True, reasons=("why",))


@pytest.mark.parametrize("time", [-100, 1, 5])
def test_a_signal_within_what_is_owed_changes_nothing(time: float) -> None:
    """Rule 2: a storm costs reads."""
    owed = Owed(at(1), at(5), full=True, asked=True)
    assert owe(owed, at(time), Signal(at(time), "more", full=True, asked=True), POLICY) is owed


@pytest.mark.parametrize(("full", "asked"), [(True, False), (False, True)])
def test_a_signal_that_asks_for_more_is_kept(*, full: bool, asked: bool) -> None:
    """A full refresh, or one that was asked for, is owed as a kind of its own."""
    owed = owe(Owed(at(1), at(5)), at(3), Signal(at(3), "more", full=full, asked=asked), POLICY)
    assert (owed.newest, owed.at_least, owed.full, owed.asked) == (at(5), 2, full, asked)


def test_a_later_signal_moves_the_newest_by_steps() -> None:
    """And a few different reasons are kept to show."""
    owed = Owed(at(1), at(5), reasons=("a", "b"))
    for number, why in enumerate(("b", "c", "d")):
        owed = owe(owed, at(6 + 5 * number), Signal(at(6), why), POLICY)
    assert owed == Owed(at(1), at(20), 4, reasons=("a", "b", "c"))


@pytest.mark.parametrize(
    ("owed", "signal", "looked", "prompt"),
    [
        (None, Signal(at(3), "b", looked=True), True, False),
        (None, Signal(at(3), "b", prompt=True), False, True),
        (Owed(at(1), at(5), looked=True), Signal(at(3), "b"), False, False),
        (Owed(at(1), at(5), looked=True), Signal(at(6), "b", looked=True), True, False),
        (Owed(at(1), at(5)), Signal(at(6), "b", looked=True), False, False),
        (Owed(at(1), at(5)), Signal(at(3), "b", prompt=True), False, True),
        (Owed(at(1), at(5), prompt=True), Signal(at(6), "b"), False, True),
    ],
)
def test_what_is_owed_knows_where_it_came_from(owed: Owed | None, signal: Signal, looked: bool, prompt: bool) -> None:
    """It is looked at only if each signal is, and prompt as soon as one is; one that changes that is kept."""
    after = owe(owed, signal.time, signal, POLICY)
    assert (after.looked, after.prompt) == (looked, prompt)
    assert after.at_least == (1 if owed is None else 2)


@pytest.mark.parametrize(
    ("owed", "signal"),
    [
        (Owed(at(1), at(5)), Signal(at(3), "b", looked=True)),
        (Owed(at(1), at(5), looked=True), Signal(at(3), "b", looked=True)),
        (Owed(at(1), at(5), prompt=True), Signal(at(3), "b", prompt=True)),
    ],
)
def test_a_signal_that_says_nothing_new_of_where_it_came_from_changes_nothing(owed: Owed, signal: Signal) -> None:
    """Within what is owed: no write."""
    assert owe(owed, signal.time, signal, POLICY) is owed


def test_a_persons_refresh_stays_one_whatever_comes_after() -> None:
    """Who asked waits for no place, and a signal that joins does not take that away."""
    asked = Owed(at(1), at(5), by_person=True)
    assert owe(asked, at(9), Signal(at(9), "b"), POLICY).by_person
    for one, other in ((asked, Owed(at(1), at(5))), (Owed(at(1), at(5)), asked)):
        merged = merge(one, other)
        assert merged
        assert merged.by_person


@pytest.mark.parametrize(
    ("one", "other", "looked", "prompt"),
    [
        (Owed(at(1), at(5), looked=True, prompt=True), Owed(at(1), at(5), looked=True), True, True),
        (Owed(at(1), at(5), looked=True), Owed(at(1), at(5), prompt=True), False, True),
        (Owed(at(1), at(5)), Owed(at(1), at(5), looked=True), False, False),
    ],
)
def test_what_two_owe_knows_where_it_came_from(one: Owed, other: Owed, looked: bool, prompt: bool) -> None:
    """As one signal after the other."""
    merged = merge(one, other)
    assert merged
    assert (merged.looked, merged.prompt) == (looked, prompt)


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
def test_what_two_owe_is_one(one: Owed | None, other: Owed | None, both: Owed | None) -> None:
    """Nothing of either is lost."""
    assert merge(one, other) == both


@pytest.mark.parametrize(
    ("owed", "cut", "covered", "rest"),
    [
        (None, 5, None, None),
        (ONE, 5, ONE, None),
        (ONE, 0.9, None, ONE),
        (ONE, 1, replace(ONE, newest=at(1)), replace(ONE, at_least=1)),
        (ONE, 3, Owed(at(1), at(3), 2, full=True, reasons=("a",)), Owed(at(3), at(5), 1, full=True, reasons=("a",))),
    ],
)
def test_what_is_owed_is_split_at_what_a_run_covers(
    owed: Owed | None, cut: float, covered: Owed | None, rest: Owed | None
) -> None:
    """Rule 4: both halves of a split keep what was asked for."""
    assert split(owed, at(cut)) == (covered, rest)


# --- Jobs ------------------------------------------------------------------------------------------------------------


def a_job(number: float, job: str = "j1") -> Signal:
    """The signal of a job."""
    return Signal(at(number), f"job {job}", asked=True, job=job)


JOB = Owed(at(1), at(5), asked=True, reasons=("job j1",), jobs={"j1": at(1)}, others=False)
BOTH = Owed(at(1), at(5), 2, asked=True, reasons=("job j1", "blob"), jobs={"j1": at(1)}, others=True)
TWO = Owed(at(1), at(10), 2, asked=True, reasons=("job j1", "job j2"), jobs={"j1": at(1), "j2": at(7)}, others=False)


def test_a_job_is_a_signal_that_keeps_its_time() -> None:
    """Alone it is owed without others; two jobs of one moment are two."""
    assert owe(None, at(1), a_job(1), POLICY) == JOB
    assert owe(JOB, at(7), a_job(7, "j2"), POLICY) == TWO
    assert owe(JOB, at(1), a_job(1, "j2"), POLICY).jobs == {"j1": at(1), "j2": at(1)}


def test_a_signal_that_is_nobodys_job_is_written_once_beside_jobs() -> None:
    """Even one within what is owed: or withdrawing the job would take it away. The next one changes nothing."""
    both = owe(JOB, at(2), Signal(at(2), "blob"), POLICY)
    assert both == BOTH
    assert owe(both, at(3), Signal(at(3), "blob"), POLICY) is both


def test_a_record_from_before_jobs_has_others() -> None:
    """So nothing of it is ever withdrawn."""
    old = Owed(at(1), at(5))
    assert (old.jobs, old.others) == ({}, True)
    assert owe(old, at(1), a_job(1), POLICY).others


def test_what_jobs_owe_is_one() -> None:
    """Whose jobs are those of both, and which has others if one of them has."""
    merged = merge(JOB, ONE)
    assert merged
    assert (merged.jobs, merged.others) == ({"j1": at(1)}, True)
    assert merge(JOB, replace(JOB, jobs={"j2": at(1)})) == replace(JOB, at_least=2, jobs={"j1": at(1), "j2": at(1)})


@pytest.mark.parametrize(
    ("owed", "cut", "covered", "rest"),
    [
        (TWO, 7, replace(TWO, newest=at(7)), None),
        (
            TWO,
            3,
            replace(TWO, newest=at(3), jobs={"j1": at(1)}),
            replace(TWO, oldest=at(3), at_least=1, jobs={"j2": at(7)}),
        ),
        (
            BOTH,
            3,
            replace(BOTH, newest=at(3)),
            replace(BOTH, oldest=at(3), at_least=1, jobs={}),
        ),
        (replace(JOB, jobs={"j1": at(4)}), 3, None, replace(JOB, oldest=at(3), jobs={"j1": at(4)})),
    ],
)
def test_jobs_are_split_by_their_own_times(owed: Owed, cut: float, covered: Owed | None, rest: Owed | None) -> None:
    """Exactly, whatever the rounding; others may be in both halves, and a half with nothing in it is none."""
    assert split(owed, at(cut)) == (covered, rest)


@pytest.mark.parametrize(
    ("owed", "left"),
    [
        (None, None),
        (ONE, ONE),
        (JOB, None),
        (BOTH, replace(BOTH, at_least=1, jobs={})),
        (replace(BOTH, at_least=5), replace(BOTH, at_least=4, jobs={})),
        (TWO, replace(TWO, at_least=1, jobs={"j2": at(7)})),
    ],
)
def test_a_job_is_taken_back_and_nothing_else(owed: Owed | None, left: Owed | None) -> None:
    """What others owe stays; what this job alone owes is gone."""
    assert without(owed, "j1") == left


def test_what_is_owed_can_be_a_key() -> None:
    """Values that are equal are the same key, jobs or not."""
    jobs = {"job": at(5)}
    assert {Owed(at(0), at(10), jobs=jobs): 1}[Owed(at(0), at(10), jobs=dict(jobs))] == 1
    assert len({Owed(at(0), at(10), jobs=jobs), Owed(at(0), at(10))}) == 2
