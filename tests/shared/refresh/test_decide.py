"""When to start, when a record is due, which wake to send: by tables of numbers worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.refresh.decide import (
    OPEN,
    Action,
    Gate,
    LookUp,
    Start,
    Wait,
    conclude,
    decide,
    look_before,
    next_wake,
    note_startable,
)
from shared.refresh.state import Blocked, Cancelled, Owed, Paused, Run, Situation, State
from shared.refresh.timing import (
    PAUSE_CHECK,
    WATCH,
    Context,
    backoff,
    clamp,
    lease,
    settling_time,
    spread,
    throttled_until,
)
from shared.targets import Schedule
from tests.support.core import GLUE, NOON, ON_GLUE, POLICY, a_run, at, failure, seconds

OWED = Owed(at(0), at(5))
"""Ready at 25, when the quiet period of 20 s is over, or at 120, the maximum wait."""


def due(state: State, now: datetime, context: Context = ON_GLUE, *, gate: Gate = OPEN) -> Action:
    """What is to be done."""
    return decide(state, context, now, gate).action


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (State(owed=OWED), 25),
        (State(owed=Owed(at(0), at(500))), 120),
        (State(owed=OWED, last_claim_at=at(0)), 60),
        (State(owed=OWED, not_before=at(77)), 77),
        (State(owed=OWED, last_claim_at=at(-100), not_before=at(1)), 25),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(300))), 300),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(1))), 10),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(1)), not_before=at(42)), 42),
    ],
)
def test_a_start_is_ready_when_all_that_holds_it_is_over(state: State, ready: float) -> None:
    """Rule 3, and the slow probes of rule 9: one instant before it waits until then, and then it starts."""
    assert due(state, at(ready) - seconds(0.001)) == Wait(at(ready))
    assert isinstance(due(state, at(ready)), Start)


@pytest.mark.parametrize(
    "state", [State(), State(owed=OWED, hold=Paused(NOON)), State(owed=OWED, hold=Cancelled(NOON))]
)
def test_nothing_owed_or_a_hold_waits_for_ever(state: State) -> None:
    """Only something that happens changes it."""
    assert due(state, at(10**6)) == Wait(None)


def test_a_pause_of_all_looks_again_later() -> None:
    """G7: no start, and no busy looking either."""
    assert due(State(owed=OWED), at(100), gate=Gate(paused=True)) == Wait(at(100) + PAUSE_CHECK)


def test_an_identity_that_must_be_silent_is_waited_for() -> None:
    """Rule 9: and starts that were held up together are spread."""
    gate = Gate(quiet_until=at(200))
    assert due(State(owed=OWED), at(100), gate=gate) == Wait(at(200) + spread(ON_GLUE.key))
    assert isinstance(due(State(owed=OWED), at(200), gate=gate), Start)
    assert isinstance(due(State(owed=OWED), at(201), gate=gate), Start)


@pytest.mark.parametrize(
    ("run", "since"),
    [
        (a_run(Situation.CLAIMED), -60),
        (a_run(Situation.SEEKING), -60),
        (a_run(Situation.CANCEL_UNCLEAR), -300),
        (a_run(Situation.CANCEL_UNCLEAR, created_at=at(7)), -293),
    ],
)
def test_a_list_is_asked_for_as_far_back_as_what_is_sought_may_lie(run: Run, since: float) -> None:
    """The claim less a minute between clocks; of what may have skipped ours, five minutes before ours was created."""
    assert due(State(run=run), at(1000)) == LookUp(at(since))


@pytest.mark.parametrize(("failures", "full"), [(0, False), (2, False), (3, True), (4, False), (6, True)])
def test_every_few_failures_a_full_refresh_is_tried(failures: int, *, full: bool) -> None:
    """Rule 5, with `after_failures` three."""
    context = replace(ON_GLUE, policy=replace(POLICY, after_failures=3))
    assert due(State(owed=OWED, failures=failures), at(60), context) == Start(full)


def test_a_full_signal_makes_a_full_run() -> None:
    """It asks for no less."""
    assert due(State(owed=replace(OWED, full=True)), at(60)) == Start(full=True)


def test_since_when_a_view_is_stale() -> None:
    """The oldest signal that no finished run covers, whether it is owed or a run is to cover it."""
    assert decide(State(), ON_GLUE, at(60)).stale_since is None
    assert decide(State(owed=OWED), ON_GLUE, at(60)).stale_since == at(0)
    assert decide(State(run=a_run(Situation.RUNNING, covering=OWED)), ON_GLUE, at(60)).stale_since == at(0)
    later = replace(OWED, oldest=at(3))
    assert decide(State(owed=later, run=a_run(Situation.RUNNING, covering=OWED)), ON_GLUE, at(60)).stale_since == at(0)


@pytest.mark.parametrize(
    ("state", "objective", "watched"),
    [
        (State(), 60, None),
        (State(owed=OWED, not_before=at(9999)), None, at(9999)),
        (State(owed=OWED, not_before=at(9999)), 1000, at(1000)),
        (State(owed=OWED, not_before=at(9999)), 10, at(100) + WATCH),
        (State(owed=OWED, hold=Paused(NOON)), None, at(100) + WATCH),
    ],
)
def test_what_needs_a_person_is_looked_at_now_and_then(
    state: State, objective: float | None, watched: datetime | None
) -> None:
    """So that its metrics go on while nothing else happens."""
    assert decide(state, with_objective(objective), at(100)).due_at == watched


def test_the_record_is_looked_at_when_the_first_of_all_reasons_comes() -> None:
    """A start, the calendar, an objective that passes, and at once where something is due now."""
    calendar = replace(ON_GLUE, schedules=(Schedule("*/15 * * * *"),))
    assert decide(State(owed=OWED, not_before=at(9999)), calendar, at(100)).due_at == at(900)
    assert decide(State(owed=OWED, not_before=at(777)), calendar, at(100)).due_at == at(777)
    assert decide(State(owed=OWED), calendar, at(100)).due_at == at(100)
    waits = conclude(Wait(at(888)), State(owed=OWED), calendar, at(100))
    assert (waits.action, waits.due_at) == (Wait(at(888)), at(888))


@pytest.mark.parametrize(("objective", "late"), [(None, False), (100, False), (99, True)])
def test_late_is_beyond_the_objective(objective: float | None, *, late: bool) -> None:
    """At the objective it is not late yet."""
    assert decide(State(owed=OWED), with_objective(objective), at(100)).late is late


def with_objective(objective: float | None) -> Context:
    """A target with an objective in seconds, or with none."""
    return replace(ON_GLUE, policy=replace(POLICY, objective=None if objective is None else seconds(objective)))


@pytest.mark.parametrize(
    ("named", "due_at", "sent", "then"),
    [
        ((), None, None, ()),
        ((), 10, 10, (10,)),
        ((20,), 10, 10, (10, 20)),
        ((10,), 20, None, (10,)),
        ((10,), 10, None, (10,)),
        ((-1,), 10, 10, (-1, 10)),
        ((-901,), 10, 10, (10,)),
        ((-900,), 10, 10, (10,)),
        ((-899,), 10, 10, (-899, 10)),
        ((0,), 10, 10, (0, 10)),
        ((20, 30), 10, 10, (10, 20, 30)),
        ((-4, -3, 20, 30, 40), 10, None, (-4, -3, 20, 30, 40)),
        ((20,), None, None, (20,)),
    ],
)
def test_a_wake_is_sent_only_if_it_is_due_before_those_that_are_named(
    named: tuple[float, ...], due_at: float | None, sent: float | None, then: tuple[float, ...]
) -> None:
    """Rule 13: five at most are named, each until it arrives, or for 15 minutes past its time."""
    wanted = None if due_at is None else at(due_at)
    due, left = next_wake(tuple(map(at, named)), wanted, at(0))
    assert (due, left) == (None if sent is None else at(sent), tuple(map(at, then)))


def test_constants_add_up() -> None:
    """Rule 4: the lease is longer than window, call time-out, listing delay and clock difference together."""
    assert lease(GLUE) == seconds(5 + 10 + 5 + 60 + 1)
    assert settling_time(GLUE) == seconds(5 + 60)
    assert [backoff(tries) / seconds(30) for tries in (1, 2, 3, 8, 99)] == [1, 2, 4, 120, 120]
    assert clamp(seconds(9), seconds(1), seconds(5)) == seconds(5)
    assert seconds(0) <= spread("a") < seconds(30)
    assert spread("a") != spread("b")
    assert throttled_until(failure(), NOON) == NOON + timedelta(minutes=1)
    assert throttled_until(failure(after=7), NOON) == at(7)


def look_at(state: State, now: float = 30, *, full: bool = False, context: Context = ON_GLUE) -> datetime | None:
    """When a look comes before a start."""
    return look_before(state, Start(full), context, at(now))


def test_a_look_before_a_start_comes_after_the_lag() -> None:
    """Three seconds after it: times of platforms are cut to the second."""
    assert look_at(State(owed=OWED)) == at(5 + 10 + 3)


@pytest.mark.parametrize(("startable_since", "overdue"), [(None, 25 + 120), (24, 25 + 120), (32, 32 + 120)])
def test_what_is_overdue_is_not_looked_at(startable_since: float | None, overdue: float) -> None:
    """Two minutes after a start was due, known and possible nothing holds it up any more."""
    state = State(owed=OWED, startable_since=None if startable_since is None else at(startable_since))
    assert look_at(state, overdue) == at(18)
    assert look_at(state, overdue + 1) is None


def test_what_is_asked_for_is_not_looked_at() -> None:
    """Nor what is full, nor anything where nothing is looked at, owed or startable."""
    state = State(owed=OWED)
    unlooked = replace(ON_GLUE, policy=replace(POLICY, look=None))
    assert look_at(replace(state, owed=replace(OWED, asked=True))) is None
    assert look_at(state, full=True) is None
    assert look_at(state, context=unlooked) is None
    assert look_at(State()) is None
    assert look_at(replace(state, hold=Paused(NOON))) is None


def test_a_start_is_possible_since_nothing_was_in_its_way() -> None:
    """Owed, no run, no hold: from that moment a start that waits too long is not looked at any more."""
    state = note_startable(State(owed=OWED), at(5))
    assert state.startable_since == at(5)
    assert note_startable(state, at(9)) is state
    for way in ({"owed": None}, {"hold": Paused(NOON)}, {"run": a_run(Situation.RUNNING)}):
        assert note_startable(replace(state, **way), at(9)).startable_since is None
