"""When to start, when to look again, which wake to send: by tables of numbers worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.refresh.decide import Gate, Start, Wait, decide, is_late, next_wake, overdue_since, stale_since, watch_at
from shared.refresh.state import Blocked, Cancelled, Owed, Paused, State
from shared.refresh.timing import PAUSE_LOOK, WATCH, backoff, clamp, lease, settled, spread, throttled_until
from tests.support.core import GLUE, NOON, ON_GLUE, POLICY, at, failure, seconds

OPEN = Gate()
OWED = Owed(at(0), at(5))
"""Ready at 25, when the quiet period of 20 s is over, or at 120, the maximum wait."""


@pytest.mark.parametrize(
    ("state", "ready"),
    [
        (State(owed=OWED), 25),
        (State(owed=Owed(at(0), at(500))), 120),
        (State(owed=OWED, last_claim_at=at(0)), 60),
        (State(owed=OWED, not_before=at(77)), 77),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(300))), 300),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(1))), 10),
        (State(owed=OWED, hold=Blocked(at(0), "no", at(1)), not_before=at(42)), 42),
    ],
)
def test_a_start_is_ready_when_all_that_holds_it_is_over(state: State, ready: float) -> None:
    """Rule 3, and the slow probes of rule 9: one instant before it waits until then, and then it starts."""
    assert decide(state, ON_GLUE, at(ready) - seconds(0.001), OPEN) == Wait(at(ready))
    assert isinstance(decide(state, ON_GLUE, at(ready), OPEN), Start)


@pytest.mark.parametrize(
    "state", [State(), State(owed=OWED, hold=Paused(NOON)), State(owed=OWED, hold=Cancelled(NOON))]
)
def test_nothing_owed_or_a_hold_waits_for_ever(state: State) -> None:
    """Only something that happens changes it."""
    assert decide(state, ON_GLUE, at(10**6), OPEN) == Wait(None)


def test_a_pause_of_all_looks_again_later() -> None:
    """G7: no start, and no busy looking either."""
    assert decide(State(owed=OWED), ON_GLUE, at(100), Gate(paused=True)) == Wait(at(100) + PAUSE_LOOK)


def test_an_identity_that_must_be_silent_is_waited_for() -> None:
    """Rule 9: and starts that were held up together are spread."""
    gate = Gate(quiet_until=at(200))
    assert decide(State(owed=OWED), ON_GLUE, at(100), gate) == Wait(at(200) + spread(ON_GLUE.key))
    assert isinstance(decide(State(owed=OWED), ON_GLUE, at(201), gate), Start)


@pytest.mark.parametrize(("failures", "full"), [(0, False), (2, False), (3, True), (4, False), (6, True)])
def test_every_few_failures_a_full_refresh_is_tried(failures: int, *, full: bool) -> None:
    """Rule 5, with `after_failures` three."""
    terms = replace(ON_GLUE, policy=replace(POLICY, after_failures=3))
    assert decide(State(owed=OWED, failures=failures), terms, at(60), OPEN) == Start(full)


def test_a_full_debt_makes_a_full_run() -> None:
    """It asks for no less."""
    assert decide(State(owed=replace(OWED, full=True)), ON_GLUE, at(60), OPEN) == Start(full=True)


def test_since_when_a_view_is_stale() -> None:
    """The oldest signal that no finished run covers."""
    assert stale_since(State()) is None
    assert stale_since(State(owed=OWED)) == at(0)


@pytest.mark.parametrize(
    ("state", "objective", "watched"),
    [
        (State(), 60, None),
        (State(owed=OWED), None, None),
        (State(owed=OWED), 1000, at(1000)),
        (State(owed=OWED), 10, at(100) + WATCH),
        (State(owed=OWED, hold=Paused(NOON)), None, at(100) + WATCH),
    ],
)
def test_what_needs_a_person_is_looked_at_now_and_then(
    state: State, objective: float | None, watched: datetime | None
) -> None:
    """So that its metrics go on while nothing else happens."""
    policy = replace(POLICY, objective=None if objective is None else seconds(objective))
    assert watch_at(state, policy, at(100)) == watched


@pytest.mark.parametrize(("objective", "late"), [(None, False), (100, False), (99, True)])
def test_late_is_beyond_the_objective(objective: float | None, *, late: bool) -> None:
    """At the objective it is not late yet."""
    policy = replace(POLICY, objective=None if objective is None else seconds(objective))
    assert is_late(State(owed=OWED), policy, at(100)) is late


@pytest.mark.parametrize(
    ("named", "look_at", "sent", "then"),
    [
        ((), None, None, ()),
        ((), 10, 10, (10,)),
        ((20,), 10, 10, (10, 20)),
        ((10,), 20, None, (10,)),
        ((10,), 10, None, (10,)),
        ((-1,), 10, 10, (-1, 10)),
        ((-901,), 10, 10, (10,)),
        ((20, 30), 10, 10, (10, 20, 30)),
        ((-4, -3, 20, 30, 40), 10, None, (-4, -3, 20, 30, 40)),
        ((20,), None, None, (20,)),
    ],
)
def test_a_wake_is_sent_only_if_it_is_due_before_those_that_are_named(
    named: tuple[float, ...], look_at: float | None, sent: float | None, then: tuple[float, ...]
) -> None:
    """Rule 13: five at most are named, each until it arrives, or for 15 minutes past its time."""
    wanted = None if look_at is None else at(look_at)
    due, left = next_wake(tuple(map(at, named)), wanted, at(0))
    assert (due, left) == (None if sent is None else at(sent), tuple(map(at, then)))


def test_constants_add_up() -> None:
    """Rule 4: the lease is longer than window, call time-out, listing delay and clock difference together."""
    assert lease(GLUE) == seconds(5 + 10 + 5 + 60 + 1)
    assert settled(GLUE) == seconds(5 + 60)
    assert [backoff(tries) / seconds(30) for tries in (1, 2, 3, 8, 99)] == [1, 2, 4, 120, 120]
    assert clamp(seconds(9), seconds(1), seconds(5)) == seconds(5)
    assert seconds(0) <= spread("a") < seconds(30)
    assert spread("a") != spread("b")
    assert throttled_until(failure(), NOON) == NOON + timedelta(minutes=1)
    assert throttled_until(failure(after=7), NOON) == at(7)


def test_a_start_is_overdue_only_while_it_is_due_and_possible() -> None:
    """Counted from when it was known and possible; nothing owed, or a run in the way, is no delay."""
    assert overdue_since(State(), ON_GLUE) is None
    due = overdue_since(State(owed=OWED), ON_GLUE)
    assert due is not None
    assert overdue_since(State(owed=OWED, startable_since=due + seconds(7)), ON_GLUE) == due + seconds(7)
