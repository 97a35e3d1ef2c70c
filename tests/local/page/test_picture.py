"""What the page shows, worked out from history by hand: saw-tooth, runs, arrivals and the figures of a window."""

from __future__ import annotations

from datetime import timedelta

import pytest

from local.page.picture import Tooth, told_by
from shared.refresh.state import Outcome, Owed, Situation, State
from tests.support.core import a_run, at
from tests.support.pages import DAY, drawn, line


def tooth(since: float, begins: float, ends: float) -> Tooth:
    """A tooth, in seconds after noon."""
    return Tooth(at(since), at(begins), at(ends))


# --- The saw-tooth ---------------------------------------------------------------------------------------------------


def test_a_view_ages_from_its_oldest_missing_data_to_the_end_of_the_run() -> None:
    """Not from the claim, and not longer: then it holds everything that the run was for."""
    assert drawn(line(100, 130, 170)).teeth == (tooth(100, 100, 170),)


def test_what_came_during_a_run_is_missing_next() -> None:
    """The end of the first run makes the second one's data the oldest."""
    teeth = drawn(line(100, 130, 170), line(150, 200, 240)).teeth
    assert teeth == (tooth(100, 100, 170), tooth(150, 170, 240))


def test_a_failure_makes_nothing_fresh() -> None:
    """The data stays missing until a run succeeds; what a foreign run was for is nobody's."""
    failed = line(100, 130, 170, Outcome.FAILED)
    foreign = line(None, 175, 180, foreign=True, signals=0)
    assert drawn(failed, foreign, line(100, 200, 240)).teeth == (tooth(100, 100, 240),)


def test_older_data_that_a_later_run_covers_was_missing_all_the_time() -> None:
    """A start that the maximum wait forced covers a part: the rest is as old as it is."""
    teeth = drawn(line(120, 130, 170), line(90, 200, 240)).teeth
    assert teeth == (tooth(90, 90, 170), tooth(90, 170, 240))


def test_what_is_owed_now_goes_on() -> None:
    """The last tooth ends with the picture."""
    state = State(owed=Owed(at(500), at(500)), fresh_as_of=at(130))
    assert drawn(line(100, 130, 170), state=state, now=600).teeth[-1] == tooth(500, 500, 600)


def test_a_line_of_an_older_release_counts_from_its_claim() -> None:
    """It does not say when its oldest signal came: no later than that."""
    assert drawn(line(None, 130, 170)).teeth == (tooth(130, 130, 170),)


def test_nothing_missing_is_no_tooth() -> None:
    """A view that nothing is known of draws none."""
    assert drawn().teeth == ()


# --- Runs and arrivals -----------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_drawn_up_to_now() -> None:
    """By whose it is, and for what."""
    run = a_run(Situation.FOREIGN, covering=None, claimed_at=at(100))
    (bar,) = drawn(state=State(run=run), now=160).bars
    assert (bar.begins, bar.ends, bar.outcome, bar.foreign) == (at(100), at(160), "running", True)


def test_arrivals_are_marked_once() -> None:
    """However many runs failed over the same data; and what is owed has a mark, too."""
    reasons = ("orders/a.parquet",)
    lines = [line(100, 130, 170, Outcome.FAILED, reasons=reasons), line(100, 200, 240, reasons=reasons)]
    owed = Owed(at(500), at(510), reasons=("new data in sales.orders",))
    marks = drawn(*lines, state=State(owed=owed), now=600).marks
    assert [(mark.at, mark.told_by) for mark in marks] == [(at(100), "event"), (at(500), "look")]


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("s3://landing/orders/a.parquet", "event"),
        ("new data in sales.orders", "look"),
        ("sales.orders has what the view lacks", "look"),
        ("scheduled at 2026-01-31 06:00Z", "schedule"),
        ("asked on the command line", "person"),
        ("after daily_revenue", "other target"),
        ("new in the configuration", "configuration"),
    ],
)
def test_events_and_looks_are_told_apart(reason: str, what: str) -> None:
    """By the words that the engine itself gives as the reason."""
    assert told_by(reason) == what


# --- Figures ---------------------------------------------------------------------------------------------------------


def test_the_share_of_time_within_the_objective() -> None:
    """Known for 1,000 s, of which 100 were beyond 300 s: nine tenths, and the budget of one percent is spent."""
    figures = drawn(line(0, 350, 400), now=1000).figures[0]
    assert figures.within == pytest.approx(0.9)
    assert figures.budget == 0


def test_a_budget_is_left_where_little_was_late() -> None:
    """36 s of 10 h are a tenth of a percent, a tenth of the budget."""
    figures = drawn(line(0, 330, 336), now=36_000).figures[0]
    assert figures.within == pytest.approx(0.999)
    assert figures.budget == pytest.approx(0.9)


def test_without_an_objective_there_is_no_share() -> None:
    """Nothing was promised, and nothing is claimed."""
    figures = drawn(line(0, 330, 336), objective=None).figures[0]
    assert (figures.within, figures.budget) == (None, None)


def test_runs_and_what_was_spared_are_counted_by_window() -> None:
    """24 hours, 7 and 30 days; somebody else's runs are not ours, and what was spared is no run."""
    lines = [
        line(0, 10, 20, dpu_seconds=1800.0),
        line(3 * DAY, 3 * DAY + 10, 3 * DAY + 40, Outcome.FAILED, dpu_seconds=1800.0),
        line(9.5 * DAY, 9.5 * DAY, 9.5 * DAY + 5, Outcome.SPARED),
        line(None, 9.6 * DAY, 9.6 * DAY + 5, foreign=True, signals=0),
        line(9.7 * DAY, 9.7 * DAY + 10, 9.7 * DAY + 20),
    ]
    day, week, month = drawn(*lines, now=10 * DAY).figures
    assert [(each.refreshes, each.spared, each.failed) for each in (day, week, month)] == [
        (1, 1, 0),
        (2, 1, 1),
        (3, 1, 1),
    ]
    assert [each.dpu_hours for each in (day, week, month)] == [None, 0.5, 1.0]
    assert [each.run_seconds for each in (day, week, month)] == [10, 40, 50]


def test_lags_are_from_arrival_to_the_end_of_the_run() -> None:
    """The median and the worst of those that covered something."""
    figures = drawn(line(0, 10, 20), line(100, 110, 140), line(200, 210, 300)).figures[0]
    assert (figures.median_lag, figures.worst_lag) == (timedelta(seconds=40), timedelta(seconds=100))
