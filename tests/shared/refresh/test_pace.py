"""Section 4.1 of the design, sentence by sentence: numbers, times, refusals, raises, polls, caps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.refresh import decide, pace
from shared.refresh.decide import Action, Cancel, Gate, HoldBack, LookUp, Poll, Start, TakePlace, Wait
from shared.refresh.identity import Call, Day, Identity, Place, Queue, RunningClaim
from shared.refresh.pace import (
    FAR,
    MINUTE,
    PLACE_KEPT,
    SLOWEST,
    bring_up_to_date,
    is_stale,
    reconcile_at,
    refuse,
    take_number,
    time_of,
)
from shared.refresh.state import Blocked, Owed, Situation, State
from shared.refresh.timing import Context
from shared.targets import Limits
from tests.support.core import NOON, ON_GLUE, POLICY, a_run, at, seconds

OWED = Owed(at(-200), at(-100))


def due(state: State, context: Context, now: datetime, gate: Gate) -> Action:
    """What is to be done now."""
    return decide.decide(state, context, now, gate).action


KNOWN = Limits(starts_per_minute=50, polls_per_minute=50)


def begun(limit: int | None = 60, *, taken: int = 0) -> Queue:
    """A queue that began at noon, of which so many numbers were taken at once."""
    queue = bring_up_to_date(None, limit, NOON)
    for _ in range(taken):
        queue, _ = take_number(queue, NOON)
    return queue


# --- Numbers and their times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "a_minute"), [(50, 47), (10, 9.4), (None, 47)])
def test_a_queue_begins_a_little_below_its_limit(limit: int | None, a_minute: float) -> None:
    """At first 94 % of what is configured; where nothing is, 47 a minute."""
    assert begun(limit).rate * 60 == pytest.approx(a_minute)


def test_each_takes_the_next_number_and_is_served_a_moment_later() -> None:
    """t0 + (n - n0) / rate; an empty queue serves at once."""
    queue = replace(begun(), rate=0.5)
    numbers = []
    for _ in range(3):
        queue, number = take_number(queue, NOON)
        numbers.append(number)
    assert numbers == [0, 1, 2]
    assert [time_of(queue, number) for number in numbers] == [at(0), at(2), at(4)]


def test_an_empty_queue_serves_at_once() -> None:
    """However long nobody came: and what was not used meanwhile is not saved up."""
    queue, _ = take_number(replace(begun(taken=1), rate=0.5), at(0))
    queue, first = take_number(queue, at(3601))
    queue, second = take_number(queue, at(3601))
    assert (time_of(queue, first), time_of(queue, second)) == (at(3601), at(3603))


def test_numbers_that_nobody_took_have_passed() -> None:
    """A place of long ago looks as old as it is, however many came after it: not all of them at once."""
    queue, old = take_number(replace(begun(), rate=1.0), NOON)
    queue, _ = take_number(queue, at(500))
    assert is_stale(queue, old, at(500))


@pytest.mark.parametrize(("late", "stale"), [(0, False), (75, False), (75.1, True)])
def test_a_place_that_passed_75_seconds_ago_is_stale(late: float, stale: bool) -> None:
    """It is taken anew; a tick that comes a minute later still finds it good."""
    queue, number = take_number(begun(taken=30), NOON)
    assert is_stale(queue, number, time_of(queue, number) + seconds(late)) is stale


@pytest.mark.parametrize(("away", "after"), [(60, 60), (300, 300), (900, 900), (902, 451), (7200, 3600)])
def test_who_must_wait_is_reconciled_then_or_halfway(away: int, after: float) -> None:
    """At the time of the place, or halfway if that is more than 15 minutes away."""
    queue = Queue(NOON, 0.5, quiet_since=NOON, next_number=10_000)
    assert reconcile_at(queue, away // 2, 30, NOON) == at(after)


def test_who_waits_in_a_queue_that_may_become_faster_is_reconciled_sooner() -> None:
    """A minute after the soonest that raises can bring the place about: later it might have passed."""
    queue = Queue(NOON, 0.5, quiet_since=NOON, next_number=10_000)
    assert at(750) < reconcile_at(queue, 450, None, NOON) < at(780)


def test_a_known_limit_makes_a_queue_faster_by_less() -> None:
    """2 % a minute instead of 4 %: what is a quarter of an hour away comes about in 13.1 minutes, and one is added."""
    queue = Queue(NOON, 0.5, quiet_since=NOON, next_number=10_000)
    assert at(846) < reconcile_at(queue, 450, 60, NOON) < at(848)


@pytest.mark.parametrize(("taken", "rate"), [(30, 0.5), (31, 0.52)])
def test_a_queue_is_raised_only_by_a_minute_in_which_it_was_busy(taken: int, rate: float) -> None:
    """The last of 31 numbers, one each two seconds, is served a minute after the first."""
    queue = Queue(NOON, 0.5, quiet_since=NOON, next_number=taken)
    assert bring_up_to_date(queue, None, at(90)).rate == pytest.approx(rate)


def test_a_queue_at_its_limit_stays_as_it_is() -> None:
    """However long it is busy: there is nothing to write."""
    queue = Queue(NOON, 1.0, quiet_since=NOON, next_number=1000)
    assert bring_up_to_date(queue, 60, at(500)) == queue


def test_a_number_that_is_served_as_it_is_taken_begins_a_busy_time() -> None:
    """All before it are served: the queue was empty, and counts its minutes from now."""
    queue = Queue(NOON, 0.5, quiet_since=NOON, next_number=1)
    queue, number = take_number(queue, at(2))
    assert (number, queue.serves, queue.serves_at, queue.quiet_since) == (1, 1, at(2), at(2))


def test_each_kind_of_call_has_its_own_limit() -> None:
    """One that was lowered holds at once."""
    fast = Queue(NOON, 5.0, quiet_since=NOON)
    identity, limits = Identity(starts=fast, polls=fast), Limits(starts_per_minute=60, polls_per_minute=30)
    assert [pace.queue_of(identity, call, limits, NOON).rate for call in (Call.START, Call.POLL)] == [1.0, 0.5]


ONLY_STARTS = Limits(starts_per_minute=60)
WAITING = Queue(NOON, 0.5, quiet_since=NOON, next_number=10_000)


@pytest.mark.parametrize(("call", "factor"), [(Call.START, 0.95), (Call.POLL, 0.9)])
def test_a_refused_call_slows_its_own_queue(call: Call, factor: float) -> None:
    """By a twentieth where a limit is known, by a tenth where none is; the refused place is served first."""
    identity = Identity(starts=WAITING, polls=WAITING)
    after = pace.refuse_call(identity, call, Place(call, 1), until=at(60), limits=ONLY_STARTS, now=at(4))
    slowed, other = (after.starts, after.polls) if call is Call.START else (after.polls, after.starts)
    assert other == WAITING
    assert slowed == Queue(at(60), 0.5 * factor, at(60), 1, 10_000, silent_until=at(60), lowered_at=at(4))


def test_a_place_of_the_other_kind_is_not_the_refused_one() -> None:
    """A target that waits to start, and is cancelled or looked up meanwhile, leaves the queue of polls where it is."""
    place = Place(Call.START, 1)
    after = pace.refuse_call(Identity(polls=WAITING), Call.POLL, place, until=at(60), limits=KNOWN, now=at(4)).polls
    assert after
    assert after.serves == 2


@pytest.mark.parametrize(("call", "least", "most"), [(Call.START, 846, 848), (Call.POLL, 750, 780)])
def test_who_waits_is_reconciled_by_the_limit_of_that_kind(call: Call, least: float, most: float) -> None:
    """A queue without a known limit may become faster by more."""
    identity = Identity(starts=WAITING, polls=WAITING)
    assert at(least) < pace.wait_until(identity, Place(call, 450), ONLY_STARTS, NOON) < at(most)


@given(st.floats(0.01, 900), st.sampled_from([None, 50]), st.floats(0.02, 0.8))
def test_nobody_comes_so_late_that_the_place_has_passed(wait: float, limit: int | None, rate: float) -> None:
    """Even if each minute raises the rate, whoever is reconciled when told finds the place good."""
    queue = Queue(NOON, rate, quiet_since=NOON, next_number=100_000)
    number = int(wait * rate)
    told = reconcile_at(queue, number, limit, NOON)
    assert not is_stale(bring_up_to_date(queue, limit, told), number, told)


# --- Refusals and raises ---------------------------------------------------------------------------------------------


def test_a_refusal_silences_and_serves_the_refused_place_at_its_end() -> None:
    """All others follow it; nobody is served before the silence is over."""
    queue = begun(taken=20)
    after = refuse(queue, 3, at(64), 60, at(4))
    assert time_of(after, 3) == at(64)
    assert min(time_of(after, number) for number in range(20)) == at(64)
    assert time_of(after, 4) == at(64) + timedelta(seconds=1 / after.rate)


def test_the_first_of_several_refused_ones_is_served_first() -> None:
    """They were on their way together; a shorter silence does not end a longer one."""
    queue = refuse(begun(taken=20), 5, at(60), 60, at(7))
    after = refuse(queue, 7, at(50), 60, at(8))
    assert (after.serves, after.serves_at, after.silent_until) == (5, at(60), at(60))
    assert refuse(queue, 2, at(70), 60, at(8)).serves == 2


def test_a_call_that_jumped_the_queue_does_not_move_those_before_it() -> None:
    """A person's place is far behind: its refusal puts the queue off where it is, and lets nobody through at once."""
    queue = begun(taken=50)
    for number in (49, None):
        after = refuse(queue, number, at(60), 60, at(10))
        assert [time_of(after, one) for one in (10, 11)] == [at(60), at(60) + timedelta(seconds=1 / after.rate)]


def test_a_refusal_of_an_empty_queue_is_for_the_next_one() -> None:
    """The next number is the one that is served when the silence ends."""
    after = refuse(begun(taken=1), None, at(660), 60, at(600))
    _, number = take_number(after, at(601))
    assert time_of(after, number) == at(660)


@pytest.mark.parametrize(("limit", "share"), [(60, 0.95), (None, 0.9)])
def test_a_refusal_lowers_the_rate_at_most_once_a_minute(limit: int | None, share: float) -> None:
    """By a twentieth, or a tenth where no limit is configured."""
    queue = begun(limit, taken=99)
    once = refuse(queue, 1, at(10), limit, at(5))
    assert once.rate == pytest.approx(queue.rate * share)
    assert refuse(once, 2, at(70), limit, at(64)).rate == once.rate
    assert refuse(once, 2, at(70), limit, at(65)).rate == pytest.approx(once.rate * share)


def test_a_rate_does_not_fall_below_one_in_two_minutes() -> None:
    """So that a limit that is hardly one is still tried."""
    queue = begun(None, taken=9)
    for minute in range(100):
        queue = refuse(queue, 1, at(minute * 61 + 1), None, at(minute * 61))
    assert queue.rate == SLOWEST == 1 / 120


@pytest.mark.parametrize(("limit", "share"), [(50, 1.02), (None, 1.04)])
def test_a_minute_without_refusal_raises_the_rate(limit: int | None, share: float) -> None:
    """By a fiftieth up to what is configured; by a twenty-fifth, without bound, where nothing is."""
    queue = replace(begun(limit), next_number=100_000)
    assert bring_up_to_date(queue, limit, at(59)).rate == queue.rate
    assert bring_up_to_date(queue, limit, at(60)).rate == pytest.approx(queue.rate * share)
    assert bring_up_to_date(queue, limit, at(120)).rate == pytest.approx(queue.rate * share**2)
    hour = bring_up_to_date(queue, limit, at(3600)).rate * 60
    assert hour == pytest.approx(50) if limit else hour > 400


def test_a_raise_moves_only_what_is_still_to_come() -> None:
    """Numbers that were served keep their times, those to come are served sooner."""
    queue = begun(50, taken=500)
    raised = bring_up_to_date(queue, 50, at(60))
    served = int(60 * queue.rate)
    assert time_of(raised, served) == time_of(queue, served)
    assert time_of(raised, 400) < time_of(queue, 400)


def test_a_limit_that_is_lowered_in_a_silence_moves_nobody_before_its_end() -> None:
    """The place that is served at the end of the silence stays the first."""
    queue = refuse(begun(50, taken=50), 7, at(100), 50, at(10))
    lower = bring_up_to_date(queue, 10, at(20))
    assert (lower.serves, time_of(lower, 7), time_of(lower, 8)) == (7, at(100), at(106))


def test_a_minute_after_a_silence_raises() -> None:
    """While the identity is silent nothing is sent, so that a minute of it shows nothing."""
    queue = refuse(begun(50, taken=500), 1, at(100), 50, at(5))
    assert bring_up_to_date(queue, 50, at(159)).rate == queue.rate
    assert bring_up_to_date(queue, 50, at(160)).rate > queue.rate


def test_an_idle_minute_raises_nothing() -> None:
    """Nor do starts that met no queue: they show that there is room for them, not for more."""
    queue = begun(None, taken=1)
    for minute in range(60):
        queue, _ = take_number(bring_up_to_date(queue, None, at(minute * 61)), at(minute * 61))
    assert bring_up_to_date(queue, None, at(10_000)).rate == begun(None).rate


def test_a_limit_that_was_lowered_counts_at_once() -> None:
    """What the file says is never exceeded; a limit that was raised is approached by raises."""
    queue = begun(50, taken=500)
    lower = bring_up_to_date(queue, 10, at(30))
    assert lower.rate * 60 == pytest.approx(10)
    assert bring_up_to_date(lower, 50, at(31)).rate == lower.rate
    assert time_of(lower, 23) == time_of(queue, 23)


@given(st.lists(st.tuples(st.sampled_from(["takes", "refuse", "raise"]), st.floats(0, 90)), max_size=60))
def test_places_stay_in_order(happened: list[tuple[str, float]]) -> None:
    """Whatever happens: numbers are taken once, times rise with them, none is before a silence's end, rates have
    bounds, and everybody sees the same queue, written or not.
    """
    queue, time, taken = bring_up_to_date(None, 50, NOON), NOON, []
    for what, later in happened:
        time += timedelta(seconds=later)
        queue = bring_up_to_date(queue, 50, time)
        if what == "takes":
            for _ in range(7):
                queue, number = take_number(queue, time)
                taken.append(number)
        if what == "refuse" and taken:
            queue = refuse(queue, taken[-1], time + timedelta(seconds=30), 50, time)
        assert SLOWEST <= queue.rate <= 50 / 60
        assert msgspec.json.decode(msgspec.json.encode(queue), type=Queue) == queue
    assert taken == sorted(set(taken))
    times = [time_of(queue, number) for number in taken]
    assert times == sorted(times)


# --- What a target does with it --------------------------------------------------------------------------------------


def gate(identity: Identity | None = None, limits: Limits = KNOWN, **fields: object) -> Gate:
    """A gate of an identity of which this is known."""
    return replace(Gate(identity=identity or Identity(), limits=limits), **fields)


def crowded(call: Call = Call.START, taken: int = 100) -> Identity:
    """An identity of which so many places were taken at noon."""
    identity = Identity()
    for _ in range(taken):
        identity, _ = pace.take_place(identity, call, KNOWN, NOON)
    return identity


def test_who_is_ready_takes_a_place_and_waits_for_it() -> None:
    """Once: with the place in its record it takes no other, and starts when that is served."""
    state, identity = State(owed=OWED), crowded()
    assert due(state, ON_GLUE, NOON, gate(identity)) == TakePlace(Call.START)
    identity, place = pace.take_place(identity, Call.START, KNOWN, NOON)
    placed = replace(state, place=place)
    served = time_of(pace.queue_of(identity, Call.START, KNOWN, NOON), 100)
    assert due(placed, ON_GLUE, NOON, gate(identity)) == Wait(served)
    assert due(placed, ON_GLUE, served, gate(identity)) == Start(full=False)
    assert due(placed, ON_GLUE, served + PLACE_KEPT + seconds(1), gate(identity)) == TakePlace(Call.START)


@pytest.mark.parametrize(("number", "takes"), [(99, False), (100, True), (4120, True)])
def test_a_place_in_the_queue_of_another_identity_is_none(number: int, takes: bool) -> None:
    """A configuration gave the target another identity: a number that its queue never gave would not be served."""
    placed = State(owed=OWED, place=Place(Call.START, number))
    assert (due(placed, ON_GLUE, NOON, gate(crowded())) == TakePlace(Call.START)) is takes
    assert due(placed, ON_GLUE, NOON, gate(Identity())) == TakePlace(Call.START)


def test_who_is_not_ready_takes_none() -> None:
    """The quiet period is waited for first: so a second planning refresh waits behind all firsts."""
    assert due(State(owed=Owed(NOON, NOON)), ON_GLUE, NOON, gate(crowded())) == Wait(at(20))


def test_polls_have_a_queue_of_their_own() -> None:
    """A place to start is none to poll; what is refused or waits in one queue holds up nothing in the other."""
    running = State(run=a_run(Situation.RUNNING, next_look_at=NOON), place=Place(Call.START, 3))
    starts = pace.refuse_call(crowded(), Call.START, None, until=at(900), limits=KNOWN, now=NOON)
    assert due(running, ON_GLUE, NOON, gate(starts)) == TakePlace(Call.POLL)
    both, place = pace.take_place(starts, Call.POLL, KNOWN, NOON)
    assert due(replace(running, place=place), ON_GLUE, NOON, gate(both)) == Poll("r1")
    polls = pace.refuse_call(Identity(), Call.POLL, None, until=at(900), limits=KNOWN, now=NOON)
    polls, place = pace.take_place(polls, Call.START, KNOWN, NOON)
    placed = State(owed=OWED, place=place)
    assert due(placed, ON_GLUE, NOON, gate(polls)) == Start(full=False)


def test_polls_slow_down_so_that_all_fit() -> None:
    """A hundred runs that are due at once are polled within 47 a minute, one after the other."""
    identity = crowded(Call.POLL)
    running = State(run=a_run(Situation.RUNNING, next_look_at=NOON), place=Place(Call.POLL, 99))
    action = due(running, ON_GLUE, NOON, gate(identity))
    assert isinstance(action, Wait)
    assert action.until
    assert action.until - NOON == pytest.approx(timedelta(seconds=99 / 47 * 60), abs=seconds(0.1))


def test_polls_without_a_known_limit_wait_for_nothing_until_one_is_refused() -> None:
    """No platform says that there is a limit: a place would cost a save for each poll."""
    running = State(run=a_run(Situation.RUNNING, next_look_at=NOON))
    assert due(running, ON_GLUE, NOON, gate(limits=Limits())) == Poll("r1")
    refused = pace.refuse_call(Identity(), Call.POLL, None, until=at(60), limits=Limits(), now=NOON)
    assert due(running, ON_GLUE, NOON, gate(refused, Limits())) == TakePlace(Call.POLL)
    refused, place = pace.take_place(refused, Call.POLL, Limits(), NOON)
    assert due(replace(running, place=place), ON_GLUE, NOON, gate(refused, Limits())) == Wait(at(60))


def test_a_look_up_is_a_poll_and_a_cancel_waits_for_silence_alone() -> None:
    """Both are questions about runs to the platform; a cancel is rare, and in a hurry."""
    sought = State(run=a_run(Situation.SEEKING, next_look_at=NOON))
    assert due(sought, ON_GLUE, NOON, gate()) == TakePlace(Call.POLL)
    _, place = pace.take_place(Identity(), Call.POLL, KNOWN, NOON)
    identity = crowded(Call.POLL, 1)
    assert isinstance(due(replace(sought, place=place), ON_GLUE, NOON, gate(identity)), LookUp)
    overdue = State(run=a_run(Situation.OVERDUE, next_look_at=NOON))
    assert due(overdue, ON_GLUE, NOON, gate(crowded(Call.POLL))) == Cancel("r1")
    silent = pace.refuse_call(Identity(), Call.POLL, None, until=at(60), limits=KNOWN, now=NOON)
    assert due(overdue, ON_GLUE, NOON, gate(silent)) == Wait(at(60))
    assert due(overdue, ON_GLUE, at(60), gate(silent)) == Cancel("r1")


def test_a_persons_refresh_takes_a_place_and_does_not_wait_for_it() -> None:
    """But what the platform asked for is waited for."""
    state, identity = State(owed=replace(OWED, by_person=True)), crowded()
    assert due(state, ON_GLUE, NOON, gate(identity)) == TakePlace(Call.START)
    identity, place = pace.take_place(identity, Call.START, KNOWN, NOON)
    placed = replace(state, place=place)
    assert due(placed, ON_GLUE, NOON, gate(identity)) == Start(full=False)
    silent = pace.refuse_call(identity, Call.START, None, until=at(50), limits=KNOWN, now=NOON)
    assert due(placed, ON_GLUE, NOON, gate(silent)) == Wait(at(50))


# --- Starts on a day -------------------------------------------------------------------------------------------------

DAY = NOON.date()
MIDNIGHT = datetime(2026, 2, 1, tzinfo=UTC)
CAPPED = replace(ON_GLUE, policy=replace(POLICY, max_starts_per_day=3))


def test_starts_are_counted_by_the_day_of_utc() -> None:
    """The first of a day begins the count anew; one that never came to be is taken back, on its own day only."""
    day = pace.count_start(pace.count_start(None, NOON), NOON)
    assert (day, pace.starts_on(day, NOON)) == (Day(DAY, 2), 2)
    assert pace.starts_on(day, MIDNIGHT) == 0
    assert pace.count_start(day, MIDNIGHT) == Day(MIDNIGHT.date(), 1)
    assert pace.uncount_start(day, NOON) == Day(DAY, 1)
    assert pace.uncount_start(day, MIDNIGHT) == day
    assert pace.uncount_start(None, NOON) is None
    assert pace.day_over(NOON) == pace.day_over(MIDNIGHT - seconds(1)) == MIDNIGHT


def test_a_target_that_was_started_often_enough_is_held_until_the_day_is_over() -> None:
    """With the reason; the next day it goes on. It takes no place meanwhile."""
    state = State(owed=OWED, today=Day(DAY, 3))
    action = due(state, CAPPED, NOON, gate())
    assert action == HoldBack("it was started 3 times today (UTC), its max_starts_per_day", MIDNIGHT)
    assert due(replace(state, today=Day(DAY, 2)), CAPPED, NOON, gate()) == TakePlace(Call.START)
    assert due(state, CAPPED, MIDNIGHT, gate()) == TakePlace(Call.START)
    assert due(state, ON_GLUE, NOON, gate()) == TakePlace(Call.START)


def test_a_deployment_that_started_often_enough_holds_all_its_targets() -> None:
    """All targets together, by the identity's record."""
    limits = replace(KNOWN, max_starts_per_day=5)
    action = due(State(owed=OWED), ON_GLUE, NOON, gate(Identity(today=Day(DAY, 5)), limits))
    assert isinstance(action, HoldBack)
    assert action.reason == "all targets together were started 5 times today (UTC), [deployment] max_starts_per_day"
    assert due(State(owed=OWED), ON_GLUE, NOON, gate(Identity(today=Day(DAY, 4)), limits)) == TakePlace(Call.START)


def test_a_persons_refresh_passes_the_caps() -> None:
    """It is no surprise to whoever asked."""
    state = State(owed=replace(OWED, by_person=True), today=Day(DAY, 3))
    limits = replace(KNOWN, max_starts_per_day=5)
    assert due(state, CAPPED, NOON, gate(Identity(today=Day(DAY, 5)), limits)) == TakePlace(Call.START)


def test_a_block_by_a_cap_is_over_with_the_day_or_the_cap() -> None:
    """Or when nothing is owed any more; any other block stays."""
    hold = Blocked(NOON, "enough", MIDNIGHT, capped=True)
    held = State(owed=OWED, hold=hold, today=Day(DAY, 3))
    assert pace.lift_cap(held, NOON) == held
    assert pace.lift_cap(held, MIDNIGHT).hold is None
    assert pace.lift_cap(replace(held, owed=None), NOON).hold is None
    other = replace(held, hold=replace(hold, capped=False))
    assert pace.lift_cap(other, MIDNIGHT) == other
    raised = replace(CAPPED, policy=replace(POLICY, max_starts_per_day=4))
    assert due(held, raised, NOON, gate()) == TakePlace(Call.START)


# --- Runs at once ----------------------------------------------------------------------------------------------------

TWO = replace(KNOWN, max_running=2)


def claim(key: str = "a", token: str = "t1") -> RunningClaim:
    """The entry of a start at noon that may take an hour."""
    return RunningClaim(key, token, NOON, at(3600))


def test_the_identity_lists_what_may_be_running_where_a_person_wants_a_cap() -> None:
    """... and nothing where nobody does; a cap that was taken out of the file leaves no list behind."""
    one = pace.admit(Identity(), claim(), TWO)
    assert not pace.is_full(one, TWO)
    two = pace.admit(one, claim("b", "t2"), TWO)
    assert pace.is_full(two, TWO)
    assert not pace.is_full(two, KNOWN)
    assert pace.admit(two, claim("a", "t3"), TWO).claims == (claim("b", "t2"), claim("a", "t3"))
    assert pace.admit(two, claim("c", "t3"), KNOWN) == Identity()


def test_a_start_is_counted_where_the_deployment_has_a_cap_of_a_day() -> None:
    """And given back when it came to nothing."""
    limits = Limits(max_starts_per_day=7, max_running=2)
    counted = pace.admit(Identity(), claim(), limits)
    assert counted.today == Day(DAY, 1)
    run = a_run(Situation.CLAIMED)
    assert pace.give_back(counted, run) == Identity(today=Day(DAY, 0))
    assert pace.give_back(counted, replace(run, token="another")).claims == counted.claims
    assert pace.give_back(Identity(), run) == Identity()


RUNNING = State(run=a_run(Situation.RUNNING), last_claim_at=NOON)
ENDED = State(last_claim_at=NOON)
NEXT = State(run=a_run(Situation.RUNNING, token="t9", claimed_at=at(70)), last_claim_at=at(70))
UNSAVED = State(last_claim_at=at(-900))


@pytest.mark.parametrize(
    ("state", "time", "stays"),
    [
        (RUNNING, 3599, True),
        (RUNNING, 3600, False),  # the timeout is over
        (ENDED, 1, False),
        (NEXT, 80, False),  # the record has another claim
        (None, 1, False),  # the record is gone
        (UNSAVED, 64, True),  # listed, and about to be claimed
        (UNSAVED, 65, True),
        (State(), 64, True),
        (UNSAVED, 66, False),  # whoever listed it died before it claimed, or gave it back
    ],
)
def test_an_entry_leaves_when_its_run_cannot_be_running(state: State | None, time: float, stays: bool) -> None:
    """By the target's record, and by the timeout: so nothing that crashed holds a place for ever."""
    listed = Identity(claims=(claim(),))
    states = {"a": state} if state else {}
    assert bool(pace.without_ended(listed, states, at(time)).claims) is stays


def test_a_start_is_counted_with_those_of_its_day() -> None:
    """On the day of its claim."""
    counted = Identity(today=Day(DAY, 3))
    assert pace.admit(counted, claim(), Limits(max_starts_per_day=9)).today == Day(DAY, 4)
    assert pace.admit(counted, claim(), Limits(max_running=9)).today == Day(DAY, 3)


def test_constants_are_those_of_the_design() -> None:
    """A reader finds them there."""
    assert (seconds(60), seconds(75), seconds(900)) == (MINUTE, PLACE_KEPT, FAR)
