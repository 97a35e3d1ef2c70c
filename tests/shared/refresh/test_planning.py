"""What the configuration and the calendar owe a target."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared.refresh.decide import next_scheduled
from shared.refresh.deployment import ROLLED_OUT, Standing
from shared.refresh.inputs import Planned, Signalled
from shared.refresh.planning import plan
from shared.refresh.state import JudgedBy, Signal, State
from shared.targets import Schedule
from tests.support.core import NOON, a_target, at

HOURLY = a_target(schedule=Schedule("0 * * * *"))
BOTH = replace(HOURLY, full_schedule=Schedule("0 3 * * *"))
NUMBER = 4


def current(now: datetime, *, older_at: datetime | None = None, number: int = NUMBER) -> Standing:
    """The standing of a worker of the current edition, which read the deployment's record now."""
    return Standing(number, is_current=True, read_at=now, older_at=older_at)


def planned(target: Any, state: State, now: datetime, edition: Standing | None = None) -> list[tuple[str, bool, bool]]:
    """The reasons that are signalled, and whether each is full, and a time that no known run covers."""
    happened = plan(state, target, edition or current(now), now)
    return [
        (item.signal.reason, item.signal.full, item.signal.unseen) for item in happened if isinstance(item, Signalled)
    ]


def noted(target: Any, state: State, now: datetime, edition: Standing | None = None) -> Planned:
    """What is noted of a plan."""
    last = plan(state, target, edition or current(now), now)[-1]
    assert isinstance(last, Planned)
    return last


def known(target: Any, **fields: Any) -> State:
    """Planned at noon, by the current edition or by the one before."""
    return State(**{"definition": target.definition, "planned_until": NOON, "edition": NUMBER, **fields})


def test_a_new_target_is_signalled_and_its_past_schedule_is_not() -> None:
    """Rule 12: schedule times before it was first seen are no signals."""
    assert planned(HOURLY, State(), at(60)) == [("new in the configuration", False, True)]
    policy = HOURLY.policy
    judged_by = JudgedBy("daily", policy.objective, policy.look, policy.quiet_period, policy.max_wait)
    expected = Planned(HOURLY.definition, at(60), at(60) + ROLLED_OUT, NUMBER, judged_by)
    assert noted(HOURLY, State(), at(60)) == expected


def test_what_an_older_package_ignored_is_caught() -> None:
    """A while after a change of the sources there is one more signal, and only one."""
    state = known(HOURLY, again_at=at(900))
    assert next_scheduled(state, HOURLY.schedules, at(60)) == at(900)
    assert planned(HOURLY, state, at(899)) == []
    assert planned(HOURLY, state, at(900)) == [("what arrived during the update", False, True)]
    assert (noted(HOURLY, state, at(900)).until, noted(HOURLY, state, at(900)).again_at) == (at(900), None)


def test_the_second_signal_waits_for_the_end_of_older_ticks() -> None:
    """No tick of an older package came for 15 minutes, as of the moment at which the deployment's record was read."""
    state, came = known(a_target(), again_at=at(900)), at(600)
    assert planned(a_target(), state, at(900), current(at(900), older_at=came)) == []
    waits = noted(a_target(), state, at(900), current(at(900), older_at=came))
    assert waits.again_at == came + ROLLED_OUT
    later = replace(state, again_at=waits.again_at)
    assert planned(a_target(), later, at(1501), current(at(1499), older_at=came)) == []
    assert planned(a_target(), later, at(1501), current(at(1500), older_at=came)) != []


def test_the_second_signal_is_as_of_the_reading_of_the_deployment() -> None:
    """A worker that froze after it read which edition is current does not know what came since."""
    state = known(a_target(), again_at=at(900))
    assert plan(state, a_target(), current(at(899)), at(5000)) == ()


def test_a_schedule_that_comes_due_meanwhile_keeps_the_second_signal() -> None:
    """So does a change of the schedule."""
    state = known(HOURLY, again_at=at(3700))
    assert noted(HOURLY, state, at(3600)).again_at == at(3700)
    other = replace(HOURLY, schedule=Schedule("30 * * * *"))
    assert planned(other, state, at(60)) == []
    assert noted(other, state, at(60)).again_at == at(3700)


@pytest.mark.parametrize(
    ("edition", "is_signalled"), [(NUMBER, False), (NUMBER - 1, False), (NUMBER - 2, True), (0, True)]
)
def test_a_target_that_an_edition_in_between_passed_over_is_signalled(edition: int, *, is_signalled: bool) -> None:
    """Its workers may have ignored the target's events, whose sources are the same again."""
    happened = planned(a_target(), known(a_target(), edition=edition), at(60))
    assert happened == [("a configuration in between may have left it out", False, True)] * is_signalled


def test_changed_sources_are_signalled_once() -> None:
    """What older code ignored during the update is caught; the schedule's due time is not lost over it."""
    changed = replace(HOURLY, after=("other",))
    assert planned(changed, known(HOURLY), at(3600)) == [
        ("scheduled at 2026-01-31 13:00Z", False, False),
        ("its sources changed", False, True),
    ]


def test_a_changed_schedule_is_no_signal() -> None:
    """It counts from now."""
    changed = replace(HOURLY, schedule=Schedule("30 * * * *"))
    assert planned(changed, known(HOURLY), at(7200)) == []


def test_each_schedule_has_its_own_digest() -> None:
    """A changed full_refresh does not swallow a due time of the schedule, nor the other way round."""
    changed = replace(BOTH, full_schedule=Schedule("0 5 * * *"))
    assert planned(changed, known(BOTH), at(3600)) == [("scheduled at 2026-01-31 13:00Z", False, False)]
    other = replace(BOTH, schedule=Schedule("30 * * * *"))
    in_full = ("scheduled at 2026-02-01 03:00Z, full", True, False)
    assert planned(other, known(BOTH), NOON + timedelta(hours=15)) == [in_full]


def test_a_definition_of_release_1_is_the_same_schedules() -> None:
    """Release 1 had one digest for both schedules; its records lose no due time, and changed ones count from now."""
    sources, *_ = BOTH.definition.split(".")
    state = State(definition=f"{sources}.{BOTH.schedules_of_release_1}", planned_until=NOON, edition=NUMBER - 1)
    assert planned(BOTH, state, at(3600)) == [("scheduled at 2026-01-31 13:00Z", False, False)]
    changed = replace(BOTH, full_schedule=None)
    assert planned(changed, state, at(3600)) == []
    both = planned(BOTH, state, NOON + timedelta(hours=15))
    assert [full for _, full, _ in both] == [False, True]


def test_a_definition_that_nobody_knows_has_other_schedules() -> None:
    """Of a release that counted them otherwise: both count from now, the full one, too."""
    sources, *_ = BOTH.definition.split(".")
    assert planned(BOTH, known(BOTH, definition=f"{sources}.unknown"), NOON + timedelta(hours=15)) == []


def signals(target: Any, state: State, now: datetime) -> list[Signal]:
    """What is signalled."""
    return [item.signal for item in plan(state, target, current(now), now) if isinstance(item, Signalled)]


def test_a_due_time_is_the_time_of_its_signal() -> None:
    """So that a run which began after it covers it, and it does not wait for the last moment of an objective."""
    due = signals(BOTH, known(BOTH), NOON + timedelta(hours=15, minutes=7))
    three = NOON + timedelta(hours=15)
    assert [(signal.time, signal.full, signal.prompt) for signal in due] == [(three, False, True), (three, True, True)]


def test_what_planning_signals_counts_from_now() -> None:
    """Both signals of a change; neither is in a hurry."""
    for state, now in ((State(), at(60)), (known(HOURLY, again_at=at(900)), at(901))):
        assert [(signal.time, signal.prompt) for signal in signals(HOURLY, state, now)] == [(now, False)]


def test_a_time_is_signalled_in_the_moment_for_which_the_record_is_due() -> None:
    """No sooner: before, nothing can have come due."""
    assert planned(HOURLY, known(HOURLY, wake_at=at(3600)), at(3600)) != []


def test_a_changed_visibility_lag_is_signalled() -> None:
    """Rule 12: what decides which data a run covers has changed. The default lag is that of release 1."""
    changed = replace(HOURLY, policy=replace(HOURLY.policy, visibility_lag=timedelta(minutes=7)))
    assert planned(changed, known(HOURLY), at(60)) == [("its sources changed", False, True)]


def test_hours_of_missed_times_are_one_signal() -> None:
    """The latest of them."""
    assert planned(HOURLY, known(HOURLY), at(3.5 * 3600)) == [("scheduled at 2026-01-31 15:00Z", False, False)]


def test_a_full_schedule_asks_for_a_full_refresh() -> None:
    """Beside the other one."""
    assert planned(BOTH, known(BOTH), NOON + timedelta(hours=15)) == [
        ("scheduled at 2026-02-01 03:00Z", False, False),
        ("scheduled at 2026-02-01 03:00Z, full", True, False),
    ]


@pytest.mark.parametrize(
    ("target", "state", "now"),
    [
        (HOURLY, known(HOURLY), at(3599)),
        (HOURLY, known(HOURLY, wake_at=at(3600)), at(3599)),
        (a_target(), known(a_target()), at(10**6)),
        (HOURLY, known(HOURLY, planned_until=None), at(10**6)),
    ],
)
def test_usually_there_is_nothing(target: Any, state: State, now: datetime) -> None:
    """Not due, nothing scheduled, or never planned."""
    assert plan(state, target, current(now), now) == ()


def test_the_next_time_is_the_nearer_of_both() -> None:
    """Counted from what was planned."""
    assert next_scheduled(known(BOTH), BOTH.schedules, at(99)) == at(3600)
    assert next_scheduled(State(), BOTH.schedules, at(3601)) == at(7200)
    assert next_scheduled(known(a_target()), a_target().schedules, NOON) is None
