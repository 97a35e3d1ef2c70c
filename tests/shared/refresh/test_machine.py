"""The transition table, pair by pair; then every sentence of the rules whose outcome `fold` decides."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from shared.refresh import machine
from shared.refresh.failure import Failure, FailureKind
from shared.refresh.identity import Call, Day, Place
from shared.refresh.inputs import (
    Answered,
    CancelAnswered,
    CancelIntended,
    CapReached,
    Claimed,
    Delivered,
    Disproved,
    Hinted,
    Input,
    Listed,
    PauseAsked,
    Placed,
    Planned,
    ProbeAsked,
    Proven,
    Reported,
    ResumeAsked,
    Signalled,
    SourcesHeard,
    Spared,
    Told,
    Unsent,
    WakeSpent,
    Withdrawn,
)
from shared.refresh.machine import ENDS_MOST, TRANSITIONS, Folded, ImpossibleInputError, WrongTargetError, fold
from shared.refresh.owed import JOBS_OPEN_MOST
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.state import (
    Blocked,
    Cancelled,
    JudgedBy,
    Notice,
    Outbox,
    Outcome,
    Owed,
    Paused,
    Position,
    Run,
    Signal,
    Situation,
    State,
)
from shared.refresh.timing import Context, spread
from shared.times import INSTANT
from tests.support.core import (
    ALREADY,
    BUSY,
    COVERED,
    DENIED,
    LEASE,
    LOST_ANSWER,
    NOON,
    NOT_FOUND,
    ON_FABRIC,
    ON_GLUE,
    OVER,
    POLICY,
    SETTLED,
    THROTTLED,
    a_run,
    at,
    failure,
    in_situation,
    report,
    seconds,
)

S = Situation
SPREAD = spread(ON_GLUE.key)
FOLLOWED = (S.RUNNING, S.OVERDUE, S.CANCELLING)
FOUND = report(Phase.ACTIVE, "r2", created_at=at(1))
ENDED = report(Phase.SUCCEEDED, "r2", created_at=at(-300), ended_at=at(300))
HELD: list[Any] = [Paused(at(-5)), Blocked(at(-5), "why", at(295)), Cancelled(at(-5))]


def folded(state: State, given: Input, now: datetime = NOON, context: Context = ON_GLUE) -> Folded:
    """`fold`, on Glue and at noon unless told otherwise."""
    return fold(state, given, context, now)


def the_run(state: State) -> Run:
    """Its run, which must be there."""
    assert state.run
    return state.run


# --- The table -------------------------------------------------------------------------------------------------------

JUDGED_BY = JudgedBy("daily", None, None, seconds(30), seconds(600))

EVERYWHERE: tuple[Input, ...] = (
    Signalled(Signal(at(5), "new")),
    Planned("d.s", at(5), None, 2, JUDGED_BY),
    SourcesHeard(is_silent=True),
    WakeSpent(at(5)),
    Hinted(),
    PauseAsked(),
    ResumeAsked(),
    ProbeAsked(),
    Withdrawn("nobody's"),
    Proven(NOON, "7", at(1)),
    Disproved(NOON, "sales.orders"),
    Spared(NOON, at(1)),
    Told(NOON, "a", all_told=True, next_at=NOON),
    Delivered((), NOON),
    Placed(Place(Call.START, 7)),
)
LEADS: list[tuple[Situation, Input, Context, Situation]] = [
    *((situation, given, ON_GLUE, situation) for situation, given in product(S, EVERYWHERE)),
    (S.IDLE, Claimed("t1", NOON, full=False), ON_GLUE, S.CLAIMED),
    (S.IDLE, CapReached("enough", at(43200)), ON_GLUE, S.IDLE),
    (S.CLAIMED, Unsent(), ON_GLUE, S.IDLE),
    (S.CLAIMED, Answered(Started("r1")), ON_GLUE, S.RUNNING),
    (S.CLAIMED, Answered(Started()), ON_GLUE, S.CLAIMED),
    (S.CLAIMED, Answered(LOST_ANSWER), ON_GLUE, S.CLAIMED),
    (S.CLAIMED, Answered(ALREADY), ON_GLUE, S.SEEKING),
    (S.CLAIMED, Answered(BUSY), ON_GLUE, S.IDLE),
    (S.CLAIMED, Answered(DENIED), ON_GLUE, S.IDLE),
    (S.CLAIMED, Answered(THROTTLED), ON_GLUE, S.IDLE),
    (S.CLAIMED, Listed((FOUND,)), ON_GLUE, S.FOREIGN),
    (S.CLAIMED, Listed(()), ON_GLUE, S.IDLE),
    (S.CLAIMED, Listed(BUSY), ON_GLUE, S.CLAIMED),
    (S.RUNNING, Reported(report(Phase.SKIPPED)), ON_FABRIC, S.SEEKING),
    (S.RUNNING, Reported(report(Phase.CANCELLED)), ON_FABRIC, S.CANCEL_UNCLEAR),
    (S.RUNNING, Reported(report(Phase.CANCELLED)), ON_GLUE, S.IDLE),
    (S.OVERDUE, CancelIntended(), ON_GLUE, S.CANCELLING),
    *((S.CANCELLING, CancelAnswered(answer), ON_GLUE, S.CANCELLING) for answer in (None, BUSY, DENIED, OVER)),
    *(
        (situation, Reported(report(phase)), ON_GLUE, S.IDLE)
        for situation in (*FOLLOWED, S.FOREIGN)
        for phase in (Phase.SUCCEEDED, Phase.FAILED)
    ),
    *(
        (situation, Reported(answer), ON_GLUE, situation)
        for situation in (S.RUNNING, S.CANCELLING, S.FOREIGN)
        for answer in (report(Phase.ACTIVE), report(Phase.UNKNOWN), BUSY, DENIED, THROTTLED, NOT_FOUND)
    ),
    (S.CANCEL_UNCLEAR, Listed((FOUND, replace(ENDED, run_id="r3"))), ON_FABRIC, S.FOREIGN),
    (S.CANCEL_UNCLEAR, Listed((ENDED,)), ON_FABRIC, S.IDLE),
    (S.CANCEL_UNCLEAR, Listed(()), ON_FABRIC, S.CANCEL_UNCLEAR),
    (S.CANCEL_UNCLEAR, Listed(BUSY), ON_FABRIC, S.CANCEL_UNCLEAR),
    (S.SEEKING, Listed((FOUND,)), ON_GLUE, S.FOREIGN),
    (S.SEEKING, Listed(()), ON_GLUE, S.SEEKING),
    (S.SEEKING, Listed(BUSY), ON_GLUE, S.SEEKING),
]


@pytest.mark.parametrize(("situation", "given", "context", "leads_to"), LEADS)
def test_what_may_happen_leads_where_the_table_says(
    situation: Situation, given: Input, context: Context, leads_to: Situation
) -> None:
    """Soon after noon, each input that may come in a situation leads to the one that its comment names."""
    assert folded(in_situation(situation), given, at(2), context).state.situation is leads_to


def test_the_table_names_these_pairs_and_no_others() -> None:
    """Whoever adds a pair says here where it leads."""
    named = {(situation, given) for situation, row in TRANSITIONS.items() for given in row}
    assert named == {(situation, type(given)) for situation, given, _, _ in LEADS}
    assert TRANSITIONS.keys() == set(S)


SAMPLES = {type(given): given for _, given, _, _ in LEADS}
UNNAMED = [(one, kind) for one, kind in product(S, get_args(Input)) if kind not in TRANSITIONS[one]]


@pytest.mark.parametrize(("situation", "kind"), UNNAMED)
def test_what_the_table_does_not_name_is_impossible(situation: Situation, kind: type) -> None:
    """A pair that is not named is a bug and raises, with the words to find it by."""
    with pytest.raises(
        ImpossibleInputError, match=rf"{kind.__name__} cannot happen while {situation} \({ON_GLUE.key}\)"
    ):
        folded(in_situation(situation), SAMPLES[kind])


def test_a_step_that_leads_elsewhere_than_its_row_says_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets in the table are held against every fold: a row that names too few of them raises."""
    row = replace(TRANSITIONS[S.CLAIMED][Answered], leads_to=frozenset({S.IDLE}))
    monkeypatch.setattr(machine, "TRANSITIONS", {**TRANSITIONS, S.CLAIMED: {**TRANSITIONS[S.CLAIMED], Answered: row}})
    with pytest.raises(WrongTargetError, match="Answered led from claimed to running"):
        folded(in_situation(S.CLAIMED), Answered(Started("r1")), at(2))


# --- Rule 1: signals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "full", "kept"), [(-10, False, False), (-9.9, False, True), (-40, True, True), (-50, True, False)]
)
def test_a_signal_that_a_finished_run_covers_is_dropped(time: float, full: bool, kept: bool) -> None:
    """`time + lag <= fresh_as_of`, or `full_as_of` where it asks for full, and nothing of it is left."""
    before = State(fresh_as_of=NOON, full_as_of=at(-40))
    assert (folded(before, Signalled(Signal(at(time), "new", full=full))).state != before) is kept


@pytest.mark.parametrize(("time", "joins"), [(-10, True), (-9.9, False)])
@pytest.mark.parametrize("situation", [S.CLAIMED, *FOLLOWED])
def test_a_signal_joins_the_run_that_covers_it_or_is_owed(situation: Situation, time: float, joins: bool) -> None:
    """The running run's `covering` takes it, without rounding past what it covers; every other is owed."""
    after = folded(in_situation(situation, covering=None), Signalled(Signal(at(time), "new"))).state
    assert (the_run(after).covering, after.owed is None) == (
        (Owed(at(-10), at(-10), reasons=("new",)), True) if joins else (None, False)
    )


@pytest.mark.parametrize(("signal_full", "run_full", "joins"), [(True, False, False), (True, True, True)])
def test_only_a_full_run_covers_a_signal_that_asks_for_full(signal_full: bool, run_full: bool, joins: bool) -> None:
    """... and so it joins no other."""
    state = in_situation(S.RUNNING, covering=None, full=run_full)
    after = folded(state, Signalled(Signal(at(-30), "new", full=signal_full))).state
    assert (after.owed is None) is joins


@pytest.mark.parametrize(
    ("situation", "created_at", "context", "joins"),
    [
        (S.SEEKING, NOON, ON_GLUE, False),
        (S.CANCEL_UNCLEAR, NOON, ON_GLUE, False),
        (S.FOREIGN, None, ON_GLUE, False),
        (S.FOREIGN, NOON, ON_FABRIC, False),
        (S.FOREIGN, NOON, ON_GLUE, True),
    ],
)
def test_a_run_that_may_not_be_ours_covers_only_on_glue(
    situation: Situation, created_at: datetime | None, context: Context, joins: bool
) -> None:
    """A foreign run covers where the platform's runs all read the same, from its own creation time; others nothing."""
    state = in_situation(situation, created_at=created_at)
    assert (folded(state, Signalled(Signal(at(-30), "new")), context=context).state.owed is None) is joins


def test_rounding_carries_no_signal_past_what_the_run_covers() -> None:
    """Else a claim that is lowered would owe what never was: 8 s before it, rounded to 5, is kept as 7, the lag."""
    context = replace(ON_GLUE, policy=replace(POLICY, visibility_lag=seconds(7)))
    state = in_situation(S.RUNNING, covering=None)
    covering = the_run(folded(state, Signalled(Signal(at(-8), "new")), context=context).state).covering
    assert covering == Owed(at(-8), at(-7), reasons=("new",))


def test_a_source_that_shows_its_data_late_moves_its_signals() -> None:
    """By the lag of its own, which comes on top of the target's."""
    owed = folded(State(), Signalled(Signal(NOON, "late", extra_lag=seconds(30)))).state.owed
    assert owed
    assert (owed.oldest, owed.newest) == (at(30), at(30))


def test_a_signal_is_no_later_than_its_receipt() -> None:
    """... plus the 60 s that clocks may differ by: a source whose clock is far ahead does not hold up the refresh."""
    owed = folded(State(), Signalled(Signal(at(1e6), "ahead"))).state.owed
    assert owed
    assert owed.oldest == at(60)


@pytest.mark.parametrize(
    ("state", "oldest"),
    [
        (State(), at(-500)),
        (State(fresh_as_of=NOON), at(-10) + INSTANT),
        (State(fresh_as_of=at(-90), run=a_run(S.RUNNING)), at(-10) + INSTANT),
    ],
    ids=["nothing known", "finished", "running"],
)
def test_what_is_asked_for_is_never_covered_yet(state: State, oldest: datetime) -> None:
    """A request takes the time of its receipt, but one that neither the finished nor the present run covers."""
    owed = folded(state, Signalled(Signal(at(-500), "please", asked=True))).state.owed
    assert owed
    assert (owed.oldest, owed.asked) == (oldest, True)


def test_a_signal_that_adds_nothing_needs_no_write() -> None:
    """Rule 2: at or before the rounded `newest` it leaves the state as it is, owed or covered."""
    once = folded(State(), Signalled(Signal(at(1), "one"))).state
    assert folded(once, Signalled(Signal(at(4), "two"))).state == once
    running = in_situation(S.RUNNING)
    assert folded(running, Signalled(Signal(at(-50), "two"))).state == running


def test_how_far_outcome_events_were_delivered_is_noted() -> None:
    """Into whatever the record has become meanwhile."""
    one, two = Notice(1, "refreshed", NOON), Notice(2, "late", at(5))
    positions = (Position("to", 1),)
    after = folded(State(outbox=Outbox(notices=(one, two), last_number=2)), Delivered(positions, at(60))).state
    assert after == State(outbox=Outbox(notices=(two,), positions=positions, last_number=2, next_at=at(60)))


# --- Plans, wakes, people --------------------------------------------------------------------------------------------


def test_planned_and_spent_are_noted() -> None:
    """What was planned for which configuration, and that a wake is in flight no more."""
    after = folded(State(wakes=(at(5), at(9))), WakeSpent(at(5))).state
    planned = folded(after, Planned("d.s", at(7), at(8), 2, JUDGED_BY)).state
    assert planned == State(
        definition="d.s", planned_until=at(7), again_at=at(8), wakes=(at(9),), edition=2, judged_by=JUDGED_BY
    )


def test_what_was_silent_is_forgotten_with_the_sources() -> None:
    """Another configuration, or one without looks: nobody may come to say that a source speaks again."""
    silent = folded(State(definition="d.s"), SourcesHeard(is_silent=True)).state
    assert silent.told_silent
    looked = replace(JUDGED_BY, look=seconds(300))
    assert folded(silent, Planned("d.s", at(7), None, 2, looked)).state.told_silent
    assert not folded(silent, Planned("another", at(7), None, 2, looked)).state.told_silent
    assert not folded(silent, Planned("d.s", at(7), None, 2, replace(looked, look=None))).state.told_silent


@pytest.mark.parametrize("situation", list(S))
def test_a_hint_makes_a_followed_run_be_looked_at_now(situation: Situation) -> None:
    """... and never later than planned; a list is not asked sooner, because it is not there sooner."""
    state = in_situation(situation)
    after = folded(state, Hinted(), at(5)).state
    heard = situation in {*FOLLOWED, S.FOREIGN}
    hinted = {"next_look_at": at(5) if heard else at(LEASE), "hinted": heard}
    assert after == (replace(state, run=replace(state.run, **hinted)) if state.run else state)
    assert folded(after, Hinted(), at(500)).state == after


@pytest.mark.parametrize("hold", [None, *HELD])
def test_a_pause_outranks_other_holds_and_counts_from_its_beginning(hold: Any) -> None:
    """Pausing twice is pausing once."""
    expected = hold if isinstance(hold, Paused) else Paused(NOON)
    assert folded(State(hold=hold), PauseAsked()).state.hold == expected


@pytest.mark.parametrize(
    ("hold", "resumed", "probed"),
    [
        (Paused(at(-5)), None, Paused(at(-5))),
        (Blocked(at(-5), "why", at(295)), Blocked(at(-5), "why", NOON), Blocked(at(-5), "why", NOON)),
        (Cancelled(at(-5)), None, None),
        (None, None, None),
    ],
)
def test_refresh_and_resume_try_at_once(hold: Any, resumed: Any, probed: Any) -> None:
    """A cancel is lifted, a block probed, a backoff forgotten; a pause is lifted by `resume` only."""
    state = State(hold=hold, not_before=at(100))
    assert folded(state, ResumeAsked()).state == State(hold=resumed)
    assert folded(state, ProbeAsked()).state == State(hold=probed)


@pytest.mark.parametrize(("situation", "looked_at"), [(S.CLAIMED, at(LEASE)), (S.RUNNING, at(5))])
def test_a_probe_looks_at_the_run_that_is_held(situation: Situation, looked_at: datetime) -> None:
    """... but not at a claim before its lease is over: its winner may still be sending."""
    state = replace(in_situation(situation), hold=Blocked(NOON, "why", at(300)))
    assert the_run(folded(state, ProbeAsked(), at(5)).state).next_look_at == looked_at


@pytest.mark.parametrize(
    ("signal", "lifted"),
    [
        (Signal(at(1), "later"), True),
        (Signal(NOON, "a duplicate"), False),
        (Signal(at(-30), "asked", asked=True), False),
    ],
)
def test_only_a_signal_later_than_the_cancelled_run_lifts_a_cancel(signal: Signal, lifted: bool) -> None:
    """A person's cancel is respected until something new arrives."""
    after = folded(State(hold=Cancelled(NOON)), Signalled(signal), at(2)).state
    assert (after.hold is None) is lifted
    assert after.owed is not None


# --- Rule 4: a start -------------------------------------------------------------------------------------------------


def test_a_claim_takes_what_its_run_will_cover() -> None:
    """What lies after `claimed_at - lag` stays owed; both halves keep `full` and `asked`; the lease begins."""
    owed = Owed(at(-60), at(5), at_least=7, full=True, asked=True, reasons=("a",))
    after = folded(State(owed=owed, last_claim_at=at(-900)), Claimed("t9", NOON, full=True)).state
    assert after == State(
        owed=replace(owed, oldest=at(-10), at_least=1),
        run=Run(
            token="t9",
            claimed_at=NOON,
            situation=S.CLAIMED,
            next_look_at=at(LEASE),
            full=True,
            covering=replace(owed, newest=at(-10)),
            prior_claim_at=at(-900),
        ),
        last_claim_at=NOON,
    )


def test_a_claim_that_was_not_sent_leaves_no_trace() -> None:
    """What it covered is owed again, and the minimum interval counts from the claim before."""
    before = State(owed=Owed(at(-60), at(-20)), last_claim_at=at(-900))
    claimed = folded(before, Claimed("t9", NOON, full=False)).state
    assert folded(claimed, Unsent()).state == before


def test_a_claim_that_was_not_sent_joins_what_came_since() -> None:
    """What is owed by then is kept, and the start is no longer counted for its day."""
    policy = replace(POLICY, max_starts_per_day=9)
    counted = replace(ON_GLUE, policy=policy)
    before = State(owed=Owed(at(-60), at(-20), at_least=2), today=Day(NOON.date(), 4))
    claimed = folded(before, Claimed("t9", NOON, full=False), context=counted).state
    assert claimed.today == Day(NOON.date(), 5)
    later = folded(claimed, Signalled(Signal(at(3), "later")), at(3), counted).state
    after = folded(later, Unsent(), at(5), counted).state
    assert after.owed == Owed(at(-60), at(5), at_least=3, reasons=("later",))
    assert after.today == Day(NOON.date(), 4)


def test_a_start_is_counted_only_where_starts_are_capped() -> None:
    """A count that nobody reads would be a change of the record for nothing."""
    assert folded(State(), Claimed("t9", NOON, full=False)).state.today is None


@pytest.mark.parametrize(
    ("hold", "since"),
    [(None, 7), (Blocked(at(-500), "why", at(10)), 7), (Blocked(at(-500), "why", at(10), capped=True), -500)],
)
def test_a_cap_holds_a_start_back_until_the_day_is_over(hold: Any, since: float) -> None:
    """A block by a cap that goes on keeps its beginning; one for another reason gives way."""
    after = folded(State(hold=hold), CapReached("enough", at(43200)), at(7)).state
    assert after.hold == Blocked(at(since), "enough", at(43200), capped=True)


@pytest.mark.parametrize(("retry_after", "poll"), [(None, 5), (seconds(0), 5), (seconds(30), 30), (seconds(600), 60)])
def test_an_accepted_run_is_polled_when_the_platform_says(retry_after: Any, poll: float) -> None:
    """... within 5 and 60 seconds; refusals are forgotten and a block is over."""
    state = replace(in_situation(S.CLAIMED), hold=HELD[1], refusals=3, not_before=at(1))
    after = folded(state, Answered(Started("r1", retry_after=retry_after)), at(1)).state
    assert (after.hold, after.refusals, after.not_before) == (None, 0, None)
    assert the_run(after) == a_run(S.RUNNING, next_look_at=at(1 + poll))


def test_an_accepted_run_without_an_id_is_looked_up() -> None:
    """It stays claimed for its lease, under a pause that stays."""
    state = replace(in_situation(S.CLAIMED), hold=HELD[0])
    assert folded(state, Answered(Started()), at(1)).state == state


@pytest.mark.parametrize("later", [0, 30])
def test_a_creation_later_than_the_claim_does_not_raise_it(later: float) -> None:
    """The sources are read after the claim in any case."""
    after = the_run(folded(in_situation(S.CLAIMED), Answered(Started("r1", at(later))), at(40)).state)
    assert (after.claimed_at, after.created_at, after.covering) == (NOON, at(later), COVERED)


@pytest.mark.parametrize("started", [True, False])
def test_an_earlier_creation_lowers_the_claim(started: bool) -> None:
    """Rule 5: by any answer that carries it; what the run then does not cover is owed again, `full` and `asked` too."""
    covering = Owed(at(-100), at(-20), at_least=5, full=True, asked=True)
    if started:
        state = in_situation(S.CLAIMED, covering=covering)
        after = folded(state, Answered(Started("r1", at(-40)))).state
    else:
        after = folded(
            in_situation(S.RUNNING, covering=covering), Reported(report(Phase.ACTIVE, created_at=at(-40)))
        ).state
    assert (the_run(after).claimed_at, the_run(after).covering) == (at(-40), replace(covering, newest=at(-50)))
    assert after.owed == replace(covering, oldest=at(-50), at_least=1)


# --- Rules 6, 7, 9: a start that was refused, or may have been -------------------------------------------------------


def refused(answer: Failure, **before: Any) -> State:
    """A claim of noon that got this answer at once; the claim before was at -900."""
    state = replace(in_situation(S.CLAIMED, prior_claim_at=at(-900)), **before)
    after = folded(state, Answered(answer)).state
    assert (after.owed, after.last_claim_at, after.run) == (COVERED, at(-900), None)
    assert after.last_error == "Code: words"
    return after


def polls(state: State, lasts: float, context: Context = ON_GLUE) -> list[float]:
    """When a run that was accepted at noon, and lasts so long, is polled, until a poll meets its end."""
    after = folded(state, Answered(Started("r1", NOON)), NOON, context).state
    times = list[float]()
    while after.run and after.run.situation is S.RUNNING and (not times or times[-1] < lasts):
        times.append((after.run.next_look_at - NOON).total_seconds())
        after = folded(after, Reported(report(Phase.ACTIVE)), at(times[-1]), context).state
    return times


@pytest.mark.parametrize(
    ("lasted", "lasts", "polled"),
    [
        ([60], 60, [30, 60]),
        ([70, 62, 66], 66, [30, 60, 65, 78]),
        ([3600], 3600, [30, 60, 120, 240, 480, 960, 1560, 2160, 2760, 3360, 3600]),
        ([3600], 50, [30, 60]),
        ([8], 8, [8]),
        ([2], 2, [5]),
    ],
)
def test_a_run_is_polled_when_the_last_ones_were_over(lasted: list[float], lasts: float, polled: list[float]) -> None:
    """Seldom before the shortest of them: only so that one that ends at once, or fails, is noticed in its time."""
    state = replace(in_situation(S.CLAIMED, claimed_at=NOON), run_times=tuple(map(seconds, lasted)))
    assert polls(state, lasts) == polled


def test_how_often_runs_are_polled_at_most() -> None:
    """With run times known: five polls of a minute and twenty of an hour, also where the run is a tenth longer."""
    for minutes, most in ((1, 5), (60, 20)):
        state = replace(in_situation(S.CLAIMED, claimed_at=NOON), run_times=(seconds(60 * minutes),))
        assert len(polls(state, 60 * minutes)) <= most
        assert len(polls(state, 66 * minutes)) <= most
    assert (len(polls(in_situation(S.CLAIMED, claimed_at=NOON), 60))) == 10


def test_a_run_is_polled_as_if_nothing_were_known_where_somebody_waits() -> None:
    """Who asked may wait for the end, and after a hint it is near; a foreign run has times of its own."""
    asked = Owed(at(-100), at(-50), asked=True)
    for running in (
        in_situation(S.RUNNING, claimed_at=NOON, covering=asked),
        in_situation(S.RUNNING, claimed_at=NOON, hinted=True),
        in_situation(S.FOREIGN, claimed_at=NOON, created_at=NOON),
    ):
        known = replace(running, run_times=(seconds(3600),))
        after = folded(known, Reported(report(Phase.ACTIVE)), at(100)).state
        assert after.run
        assert after.run.next_look_at == at(120)


def test_no_run_is_left_alone_beyond_its_timeout_or_before_the_platform_s_time() -> None:
    """However long the last ones took; and Retry-After is waited for before the usual end, too."""
    claimed = in_situation(S.CLAIMED, claimed_at=NOON)
    context = replace(ON_GLUE, policy=replace(POLICY, timeout=seconds(45)))
    assert polls(replace(claimed, run_times=(seconds(3600),)), 46, context)[:2] == [30, 45]
    after = folded(replace(claimed, run_times=(seconds(50),)), Answered(Started("r1", NOON, seconds(55))), NOON).state
    assert after.run
    assert after.run.next_look_at == at(55)


@pytest.mark.parametrize(("retry_after", "wait"), [(None, 60), (20, 20), (400, 400)])
def test_a_throttled_start_waits_as_told(retry_after: float | None, wait: float) -> None:
    """60 s where the platform names no time; its place comes no sooner, and is kept; and no refusal is counted."""
    after = refused(failure(FailureKind.THROTTLED, after=retry_after), refusals=2, place=Place(Call.START, 7))
    assert (after.not_before, after.refusals, after.place) == (at(wait), 2, Place(Call.START, 7))


def test_a_start_without_capacity_is_tried_every_three_minutes() -> None:
    """Each target at its own moment of half a minute, since a resume concerns all; it is no refusal."""
    after = refused(failure(FailureKind.NO_CAPACITY), refusals=2)
    assert (after.not_before, after.refusals) == (at(180) + SPREAD, 2)


@pytest.mark.parametrize(("refusals", "retry_after", "wait"), [(0, None, 30), (1, None, 60), (0, 90, 90), (9, 5, 3600)])
def test_a_start_refused_for_now_backs_off(refusals: int, retry_after: float | None, wait: float) -> None:
    """30 s, doubled each time up to an hour, and at least what the platform asks for."""
    after = refused(failure(after=retry_after), refusals=refusals)
    assert (after.not_before, after.refusals) == (at(wait) + SPREAD, refusals + 1)


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (None, Blocked(NOON, "Code: words", at(300))),
        (Blocked(at(-1000), "before", NOON), Blocked(at(-1000), "Code: words", at(1000))),
        (Blocked(at(-9999), "before", NOON), Blocked(at(-9999), "Code: words", at(3600))),
        (Paused(at(-5)), Paused(at(-5))),
        (Cancelled(at(-5)), Blocked(NOON, "Code: words", at(300))),
    ],
)
def test_a_permanent_refusal_blocks_and_probes_slowly(hold: Any, expected: Any) -> None:
    """After as long as it has been blocked, between 5 minutes and an hour. It does not replace a pause."""
    assert refused(DENIED, hold=hold).hold == expected


def test_an_unknown_outcome_stays_claimed() -> None:
    """Whether it was sent is not known, so nothing is given back: it is looked up after the lease."""
    state = in_situation(S.CLAIMED)
    assert folded(state, Answered(LOST_ANSWER)).state == replace(state, last_error="Code: words")


def test_a_start_during_another_run_seeks_that_run() -> None:
    """Rule 6: what ours covered is owed again; when we claimed is kept, to know when the list must show the other."""
    after = folded(in_situation(S.CLAIMED), Answered(ALREADY), at(2)).state
    assert (after.owed, after.last_claim_at) == (COVERED, None)
    assert after.run == Run("t1", NOON, S.SEEKING, at(2))


# --- Rule 5: following -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", FOLLOWED)
def test_a_success_covers_from_the_claim(situation: Situation) -> None:
    """`fresh_as_of = claimed_at`, nothing is owed, failures and backoff are forgotten, later signals stay owed."""
    later = Owed(at(5), at(5))
    state = replace(in_situation(situation), owed=later, failures=2, not_before=at(9), last_error="x")
    done = folded(state, Reported(report(Phase.SUCCEEDED, ended_at=at(50), dpu_seconds=7.5)), at(60))
    known = State(owed=later, fresh_as_of=NOON, last_claim_at=NOON, known_ends={"r1": at(60)}, run_times=(seconds(50),))
    assert done.state == known
    assert done.ended
    assert (done.ended.outcome, done.ended.ended_at, done.ended.dpu_seconds) == (Outcome.SUCCEEDED, at(50), 7.5)
    assert (done.ended.signals, done.ended.reasons, done.ended.run_id) == (2, ("a",), "r1")
    assert done.ended.oldest == COVERED.oldest


@pytest.mark.parametrize(
    ("asked_full", "told_full", "full"),
    [(False, None, False), (True, None, True), (True, False, True), (False, True, True)],
)
def test_a_full_success_is_known_as_full(asked_full: bool, told_full: bool | None, full: bool) -> None:
    """Because we asked for it, or because the platform says so."""
    done = folded(in_situation(S.RUNNING, full=asked_full), Reported(report(Phase.SUCCEEDED, full=told_full)))
    assert done.state.full_as_of == (NOON if full else None)
    assert done.ended
    assert done.ended.full is full


def test_the_ends_of_the_last_seven_minutes_are_remembered_once_each() -> None:
    """The latest first: for rule 9, which asks whether an end was told before a later run began."""
    known = {"r4": at(590), "r1": at(500), "r3": at(180), "r2": at(179)}
    state = replace(in_situation(S.RUNNING), known_ends=known)
    after = folded(state, Reported(report(Phase.FAILED)), at(600)).state
    assert list(after.known_ends.items()) == [("r1", at(600)), ("r4", at(590)), ("r3", at(180))]


def test_no_more_than_forty_ends_are_remembered() -> None:
    """A record stays small whatever the platform tells: the oldest gives way."""
    known = {f"o{number}": at(-number) for number in range(ENDS_MOST)}
    after = folded(replace(in_situation(S.RUNNING), known_ends=known), Reported(report(Phase.FAILED)), at(60)).state
    assert list(after.known_ends) == ["r1", *list(known)[:-1]]
    assert ENDS_MOST == 40


def test_freshness_never_goes_back() -> None:
    """A run lowered to an earlier creation does not make older what a later one covered."""
    state = replace(in_situation(S.RUNNING, full=True), fresh_as_of=at(30), full_as_of=at(20))
    after = folded(state, Reported(report(Phase.SUCCEEDED))).state
    assert (after.fresh_as_of, after.full_as_of) == (at(30), at(20))


@pytest.mark.parametrize(("error", "kept"), [("out of memory", "out of memory"), ("", "Failed")])
@pytest.mark.parametrize("situation", FOLLOWED)
def test_a_failure_is_owed_again_with_backoff(situation: Situation, error: str, kept: str) -> None:
    """... and counted; its reason is what the platform says, or else its status."""
    state = replace(in_situation(situation), failures=2, hold=HELD[0])
    done = folded(state, Reported(report(Phase.FAILED, error=error)), at(50))
    assert done.state == State(
        owed=COVERED,
        failures=3,
        not_before=at(50 + 120) + SPREAD,
        last_error=kept,
        last_claim_at=NOON,
        hold=HELD[0],
        known_ends={"r1": at(50)},
    )
    assert done.ended
    assert (done.ended.outcome, done.ended.ended_at) == (Outcome.FAILED, at(50))


LATER = Owed(at(3), at(5), at_least=3, reasons=("later",))
WITH_LATER = Owed(at(-100), at(5), at_least=5, reasons=("a", "later"))


@pytest.mark.parametrize(
    ("situation", "given", "context"),
    [
        (S.CLAIMED, Answered(BUSY), ON_GLUE),
        (S.CLAIMED, Answered(ALREADY), ON_GLUE),
        (S.RUNNING, Reported(report(Phase.FAILED)), ON_GLUE),
        (S.RUNNING, Reported(report(Phase.CANCELLED)), ON_GLUE),
        (S.RUNNING, Reported(report(Phase.SKIPPED)), ON_FABRIC),
        (S.FOREIGN, Reported(report(Phase.FAILED)), ON_GLUE),
        (S.RUNNING, Reported(report(Phase.ACTIVE, created_at=at(-200))), ON_GLUE),
        (S.CLAIMED, Listed((FOUND,)), ON_FABRIC),
    ],
)
def test_what_is_owed_again_joins_what_came_since(situation: Situation, given: Input, context: Context) -> None:
    """Neither the signals of the run that came to nothing are lost, nor those that it would not have covered."""
    after = folded(replace(in_situation(situation), owed=LATER), given, at(5), context).state
    assert after.owed == WITH_LATER


@pytest.mark.parametrize(
    ("situation", "phase", "outcome"),
    [
        (S.RUNNING, Phase.SUCCEEDED, Outcome.SUCCEEDED),
        (S.RUNNING, Phase.FAILED, Outcome.FAILED),
        (S.RUNNING, Phase.CANCELLED, Outcome.CANCELLED),
        (S.RUNNING, Phase.SKIPPED, Outcome.SKIPPED),
        (S.CANCELLING, Phase.CANCELLED, Outcome.FAILED),
        (S.FOREIGN, Phase.SUCCEEDED, Outcome.SUCCEEDED),
        (S.FOREIGN, Phase.FAILED, Outcome.FAILED),
    ],
)
@pytest.mark.parametrize("told", [50, None])
def test_a_line_of_history_tells_when_the_run_ended(
    situation: Situation, phase: Phase, outcome: Outcome, told: float | None
) -> None:
    """As the platform told it, else when we heard of it; with the run's name and what it cost."""
    told_of = report(phase, ended_at=at(told) if told else None, dpu_seconds=3.5)
    ended = folded(in_situation(situation, created_at=NOON), Reported(told_of), at(60)).ended
    assert ended
    assert (ended.token, ended.run_id, ended.outcome, ended.ended_at) == ("t1", "r1", outcome, at(told or 60))
    assert ended.dpu_seconds == (None if outcome is Outcome.CANCELLED else 3.5)


def test_a_line_of_history_tells_why_and_for_what() -> None:
    """The platform's words, and how many signals of which kinds the run was to cover: none, where none was left."""
    failed = Reported(report(Phase.FAILED, error="out of memory"))
    ended = folded(in_situation(S.RUNNING), failed).ended
    assert ended
    assert (ended.error, ended.signals, ended.reasons, ended.oldest) == ("out of memory", 2, ("a",), at(-100))
    empty = folded(in_situation(S.RUNNING, covering=None), failed).ended
    assert empty
    assert (empty.error, empty.signals, empty.reasons, empty.oldest) == ("out of memory", 0, (), None)


@pytest.mark.parametrize("situation", [S.RUNNING, S.FOREIGN])
def test_a_poll_is_repeated_when_its_answer_says(situation: Situation) -> None:
    """Retry-After counts in each answer, not only in that to the start."""
    after = folded(in_situation(situation), Reported(report(Phase.ACTIVE, retry_after=seconds(42))), at(100)).state
    assert the_run(after).next_look_at == at(142)


def test_an_earlier_creation_lowers_a_foreign_run_too() -> None:
    """It covers from its creation, by whatever answer that is told."""
    state = in_situation(S.FOREIGN, created_at=NOON)
    after = folded(state, Reported(report(Phase.ACTIVE, created_at=at(-40))), at(5)).state
    assert (the_run(after).claimed_at, the_run(after).covering) == (at(-40), replace(COVERED, newest=at(-50)))
    assert after.owed == replace(COVERED, oldest=at(-50), at_least=1)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.UNKNOWN])
@pytest.mark.parametrize("situation", [S.RUNNING, S.FOREIGN])
def test_a_run_that_goes_on_is_polled_again(situation: Situation, phase: Phase) -> None:
    """After a fifth of the time that it has taken; a status that nobody knows is no end before the timeout."""
    after = the_run(folded(in_situation(situation), Reported(report(phase)), at(100)).state)
    expected = a_run(situation, next_look_at=at(120), status=phase.title(), status_known=phase is Phase.ACTIVE)
    assert after == expected


@pytest.mark.parametrize("situation", [*FOLLOWED, S.FOREIGN])
@pytest.mark.parametrize(
    ("answer", "wait"), [(BUSY, 20), (THROTTLED, 60), (failure(FailureKind.THROTTLED, after=7), 7), (NOT_FOUND, 20)]
)
def test_an_error_of_a_poll_never_ends_a_run(situation: Situation, answer: Failure, wait: float) -> None:
    """Nor does a 404 within its grace: only when to ask again, and what went wrong, is noted."""
    state = in_situation(situation)
    after = folded(state, Reported(answer), at(100))
    since = None if answer.kind is FailureKind.THROTTLED else at(100)
    expected = replace(state.run, next_look_at=at(100 + wait), failing_since=since) if state.run else None
    assert after == Folded(replace(state, run=expected, last_error="Code: words"))


READS = [
    (S.CLAIMED, Listed),
    (S.SEEKING, Listed),
    (S.CANCEL_UNCLEAR, Listed),
    (S.RUNNING, Reported),
    (S.FOREIGN, Reported),
]


@pytest.mark.parametrize(("situation", "read"), READS)
def test_reads_that_fail_for_an_hour_are_a_reason(situation: Situation, read: type[Listed | Reported]) -> None:
    """A list that never ends fails each time, and nobody would know: `status` says so, and it is asked for slowly."""
    state = folded(in_situation(situation), read(BUSY), at(100)).state
    almost = folded(state, read(BUSY), at(3699)).state
    assert (almost.hold, almost.last_error) == (None, "Code: words")
    after = folded(almost, read(BUSY), at(3700)).state
    assert after.hold == Blocked(at(3700), "nothing could be read of its run for an hour: Code: words", at(4000))
    assert after.situation is situation
    assert the_run(after).next_look_at == at(4000)


@pytest.mark.parametrize("kind", [FailureKind.THROTTLED, FailureKind.NO_CAPACITY])
def test_who_says_when_to_ask_again_is_waited_for_without_end(kind: FailureKind) -> None:
    """A capacity may be paused all night: it is asked each few minutes, so that the refresh follows the resume."""
    state = folded(in_situation(S.RUNNING), Reported(failure(kind)), at(100)).state
    after = folded(state, Reported(failure(kind)), at(20_000)).state
    assert after.hold is None
    assert the_run(after).next_look_at <= at(20_000 + 180)


def test_an_answer_in_between_begins_the_hour_anew() -> None:
    """Each failure was a passing one."""
    state = in_situation(S.RUNNING)
    for given, second in ((BUSY, 100), (report(Phase.ACTIVE), 2000), (BUSY, 3800)):
        state = folded(state, Reported(given), at(second)).state
    assert (state.hold, the_run(state).failing_since) == (None, at(3800))


@pytest.mark.parametrize("situation", [S.CLAIMED, S.CANCEL_UNCLEAR, S.SEEKING])
@pytest.mark.parametrize("hold", [None, HELD[0]])
def test_a_permanent_error_of_a_look_up_blocks_and_keeps_the_run(situation: Situation, hold: Any) -> None:
    """What is owed and the run stay, looked at slowly; a pause stays, too. A failed listing is not "none"."""
    state = replace(in_situation(situation), hold=hold)
    after = folded(state, Listed(DENIED), at(100))
    held = hold or Blocked(at(100), "Code: words", at(400))
    assert after.state.hold == held
    assert after.state.run == (replace(state.run, next_look_at=at(400)) if state.run else None)
    assert after.ended is None


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize(
    ("situation", "given"),
    [
        (S.RUNNING, Reported(report(Phase.ACTIVE))),
        (S.FOREIGN, Reported(report(Phase.ACTIVE))),
        (S.SEEKING, Listed(())),
        (S.CLAIMED, Listed((FOUND,))),
        (S.CANCEL_UNCLEAR, Listed(())),
    ],
)
def test_an_answer_ends_a_block_that_was_about_asking(situation: Situation, given: Input, stuck: bool) -> None:
    """A repaired permission heals by itself; a block that stands for a run that does not end, ends with the run."""
    blocked = Blocked(at(-5), "why", at(5), stuck=stuck)
    after = folded(replace(in_situation(situation), hold=blocked), given, at(2)).state
    assert after.run
    assert after.hold == (blocked if stuck else None)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
@pytest.mark.parametrize("situation", [S.CANCELLING, S.FOREIGN])
def test_a_block_that_stands_for_a_run_falls_with_it(situation: Situation, phase: Phase) -> None:
    """Whatever its end."""
    state = replace(in_situation(situation), hold=Blocked(at(-5), "why", at(5), stuck=True))
    assert folded(state, Reported(report(phase))).state.hold is None


# --- Rule 8: lost runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", FOLLOWED)
def test_a_run_that_vanished_is_a_failure(situation: Situation) -> None:
    """A 404 more than five minutes after the claim, with that reason."""
    assert folded(in_situation(situation), Reported(NOT_FOUND), at(300)).ended is None
    done = folded(in_situation(situation), Reported(NOT_FOUND), at(301))
    assert done.state.failures == 1
    assert done.state.last_error == "the run vanished: Code: words"


def test_a_foreign_run_that_vanished_is_lost() -> None:
    """What it was to cover is owed again; it is no failure of ours."""
    done = folded(in_situation(S.FOREIGN), Reported(NOT_FOUND), at(301))
    assert done.state == State(owed=COVERED, last_claim_at=NOON, known_ends={"r1": at(301)})
    assert done.ended
    assert (done.ended.outcome, done.ended.foreign, done.ended.ended_at) == (Outcome.LOST, True, at(301))


@pytest.mark.parametrize("situation", [S.CLAIMED, S.SEEKING, S.CANCEL_UNCLEAR])
def test_what_is_sought_in_an_item_that_is_gone_has_failed(situation: Situation) -> None:
    """A list that answers 404 past the grace period says that there is nothing to look for any more."""
    done = folded(in_situation(situation, covering=COVERED), Listed(NOT_FOUND), at(301))
    assert (done.state.failures, done.state.owed, done.state.not_before) == (1, COVERED, at(331) + SPREAD)
    assert done.ended
    assert (done.ended.outcome, done.ended.error) == (Outcome.FAILED, "the run vanished: Code: words")


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.UNKNOWN])
@pytest.mark.parametrize(("now", "leads_to"), [(3600, S.RUNNING), (3601, S.OVERDUE)])
def test_our_run_past_its_timeout_is_to_be_cancelled(phase: Phase, now: float, leads_to: Situation) -> None:
    """At once, and so is one whose status nobody knows."""
    run = the_run(folded(in_situation(S.RUNNING), Reported(report(phase)), at(now)).state)
    assert run.situation is leads_to
    assert run.next_look_at == at(now + (60 if leads_to is S.RUNNING else 0))


def test_the_intent_to_cancel_is_noted() -> None:
    """So that the end it causes is not taken for a person's; asked again after five minutes."""
    run = the_run(folded(in_situation(S.OVERDUE), CancelIntended(), at(4000)).state)
    expected = a_run(S.CANCELLING, next_look_at=at(4005), cancel_asked=True, cancel_again_at=at(4300))
    assert run == expected


@pytest.mark.parametrize(("again_at", "leads_to"), [(4001, S.CANCELLING), (4000, S.OVERDUE), (None, S.OVERDUE)])
def test_a_run_that_outlives_its_cancel_is_cancelled_again(again_at: float | None, leads_to: Situation) -> None:
    """Once the five minutes, or what the platform asked for, are over."""
    state = in_situation(S.CANCELLING, cancel_again_at=None if again_at is None else at(again_at))
    assert folded(state, Reported(report(Phase.ACTIVE)), at(4000)).state.situation is leads_to


@pytest.mark.parametrize(("answer", "again_at"), [(BUSY, 4030), (THROTTLED, 4060)])
def test_a_cancel_that_failed_for_now_is_sent_again(answer: Failure, again_at: float) -> None:
    """After half a minute, or as long as a throttled answer says."""
    after = folded(in_situation(S.CANCELLING), CancelAnswered(answer), at(4000)).state
    assert after.run == a_run(S.CANCELLING, cancel_again_at=at(again_at))
    assert after.last_error == "Code: words"


def test_an_accepted_cancel_is_waited_for() -> None:
    """The run is polled to its end."""
    state = in_situation(S.CANCELLING)
    assert folded(state, CancelAnswered(None)) == Folded(state)


def test_what_cannot_be_cancelled_blocks_with_that_reason() -> None:
    """Its run is still followed, slowly."""
    after = folded(in_situation(S.CANCELLING), CancelAnswered(DENIED), at(4000)).state
    reason = "past its timeout and cannot be cancelled: Code: words"
    assert after.last_error == reason
    assert after.hold == Blocked(at(4000), reason, at(4300), stuck=True)
    assert the_run(after).next_look_at == at(4300)


@pytest.mark.parametrize(("known", "outcome"), [(True, None), (False, Outcome.FAILED)])
def test_a_cancel_of_what_is_over(known: bool, outcome: Outcome | None) -> None:
    """Its end is polled for at once; one whose status nobody knows has failed."""
    state = in_situation(S.CANCELLING, status="Odd", status_known=known)
    done = folded(state, CancelAnswered(OVER), at(4000))
    assert (done.ended and done.ended.outcome) == outcome
    if outcome:
        assert done.state.last_error == "over, with status 'Odd' that nobody knows"
    else:
        assert the_run(done.state).next_look_at == at(4000)


def test_a_foreign_run_past_the_timeout_blocks() -> None:
    """It is never cancelled: the target waits for it, and says so."""
    after = folded(in_situation(S.FOREIGN), Reported(report(Phase.ACTIVE)), at(3601)).state
    reason = "run r1, which is not ours, is Active past the timeout"
    assert after.hold == Blocked(at(3601), reason, at(3901), stuck=True)
    assert after.situation is S.FOREIGN


def test_a_foreign_run_of_an_unknown_status_ends_at_the_timeout() -> None:
    """As lost."""
    done = folded(in_situation(S.FOREIGN), Reported(report(Phase.UNKNOWN)), at(3601))
    assert (done.ended and done.ended.outcome, done.state.situation) == (Outcome.LOST, S.IDLE)


# --- Rule 6: someone else's run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "created_at", "rival_since", "fresh"),
    [
        (ON_GLUE, NOON, None, True),
        (ON_GLUE, None, None, False),
        (ON_FABRIC, NOON, None, False),
        (ON_GLUE, NOON, NOON, False),
    ],
    ids=["glue", "no creation time", "fabric", "one of two"],
)
def test_a_foreign_success(context: Context, created_at: Any, rival_since: Any, fresh: bool) -> None:
    """It covers on Glue from its own creation time, unless it is one of two; else its share is owed again."""
    state = in_situation(S.FOREIGN, created_at=created_at, rival_since=rival_since)
    state = replace(state, failures=2, not_before=at(9))
    done = folded(state, Reported(report(Phase.SUCCEEDED)), at(50), context)
    assert (done.state.fresh_as_of, done.state.owed) == ((NOON, None) if fresh else (None, COVERED))
    assert (done.state.failures, done.state.not_before) == (2, at(9))
    assert done.ended
    assert (done.ended.outcome, done.ended.foreign, done.ended.ended_at) == (Outcome.SUCCEEDED, True, at(50))


def test_a_foreign_run_is_full_only_if_the_platform_says_so() -> None:
    """Whatever we asked for."""
    state = in_situation(S.FOREIGN, created_at=NOON, full=True)
    assert folded(state, Reported(report(Phase.SUCCEEDED))).state.full_as_of is None
    assert folded(state, Reported(report(Phase.SUCCEEDED, full=True))).state.full_as_of == NOON


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED])
def test_a_foreign_failure_is_not_ours(phase: Phase) -> None:
    """No backoff, no hold, nothing counted: what it was to cover is owed again."""
    done = folded(in_situation(S.FOREIGN), Reported(report(phase)), at(50))
    assert done.state == State(owed=COVERED, last_claim_at=NOON, known_ends={"r1": at(50)})
    assert done.ended
    assert done.ended.outcome is Outcome.FAILED


def test_a_rival_is_sought_when_the_run_before_it_ended() -> None:
    """Of several runs that may be what came of our claim, all must end before we start."""
    after = folded(in_situation(S.FOREIGN, rival_since=at(-7)), Reported(report(Phase.FAILED)), at(50)).state
    assert after.run == Run("t1", at(-7), S.SEEKING, at(50), rival_since=at(-7))


ADOPTED = Owed(at(-300), at(-20), at_least=4, reasons=("a",))


@pytest.mark.parametrize(
    ("before", "found", "context", "covering", "owed"),
    [
        (ADOPTED, FOUND, ON_GLUE, ADOPTED, None),
        (
            ADOPTED,
            replace(FOUND, created_at=at(-90)),
            ON_GLUE,
            replace(ADOPTED, newest=at(-100)),
            replace(ADOPTED, oldest=at(-100), at_least=1),
        ),
        (ADOPTED, replace(FOUND, created_at=None), ON_GLUE, None, ADOPTED),
        (ADOPTED, FOUND, ON_FABRIC, None, ADOPTED),
        (replace(ADOPTED, asked=True), FOUND, ON_GLUE, None, replace(ADOPTED, asked=True)),
        (replace(ADOPTED, full=True), FOUND, ON_GLUE, None, replace(ADOPTED, full=True)),
        (replace(ADOPTED, full=True), replace(FOUND, full=True), ON_GLUE, replace(ADOPTED, full=True), None),
        (None, FOUND, ON_GLUE, None, None),
    ],
    ids=["all", "what it covers", "no creation time", "fabric", "asked", "full by a plain one", "full", "no before"],
)
def test_the_share_of_a_foreign_run(before: Any, found: Report, context: Context, covering: Any, owed: Any) -> None:
    """On Glue what lies before its creation less the lag, full only by a full one, and nothing that is asked."""
    after = folded(replace(in_situation(S.SEEKING), owed=before), Listed((found,)), at(2), context).state
    assert (the_run(after).covering, after.owed) == (covering, owed)
    assert (the_run(after).run_id, the_run(after).full, the_run(after).situation) == (
        "r2",
        found.full is True,
        S.FOREIGN,
    )


@pytest.mark.parametrize(
    ("now", "leads_to", "look_at"),
    [(10, S.SEEKING, 25), (SETTLED - 1, S.SEEKING, SETTLED + 14), (SETTLED, S.IDLE, None)],
)
def test_a_run_that_the_list_does_not_show(now: float, leads_to: Situation, look_at: float | None) -> None:
    """It is looked for again soon, until the list would show it; ended ones are not what is sought."""
    after = folded(in_situation(S.SEEKING), Listed((ENDED,)), at(now)).state
    assert after.situation is leads_to
    assert (after.run and after.run.next_look_at) == (None if look_at is None else at(look_at))


@pytest.mark.parametrize(
    ("created_at", "found"), [(at(-3700), False), (at(-3500), False), (at(-3499), True), (None, True)]
)
def test_an_unknown_status_may_be_running_until_the_timeout(created_at: Any, found: bool) -> None:
    """Where its creation is not known, it may be."""
    listed = (report(Phase.UNKNOWN, "r2", created_at=created_at),)
    assert (folded(in_situation(S.SEEKING), Listed(listed), at(100)).state.situation is S.FOREIGN) is found


@pytest.mark.parametrize(
    ("created", "leads_to", "rival_since"),
    [
        ((at(1), at(2)), S.FOREIGN, NOON),
        ((at(1),), S.FOREIGN, None),
        ((None,), S.FOREIGN, None),
        ((at(-60),), S.FOREIGN, None),
        ((at(-61),), S.IDLE, None),
        ((at(75),), S.FOREIGN, None),
        ((at(76),), S.IDLE, None),
    ],
    ids=["two", "the last", "unknown", "a minute before", "before our claim", "75 s after", "after our claim"],
)
def test_rivals_are_followed_until_one_is_left(created: Any, leads_to: Situation, rival_since: Any) -> None:
    """Only what may have come of our claim: created a minute before it, to 75 s after, by the platform's clock."""
    listed = tuple(report(Phase.ACTIVE, f"r{n}", created_at=time) for n, time in enumerate(created, 2))
    after = folded(in_situation(S.SEEKING, rival_since=NOON), Listed(listed), at(100)).state
    assert after.situation is leads_to
    assert (after.run and after.run.rival_since) == rival_since


@pytest.mark.parametrize(
    ("context", "created_at", "leads_to"),
    [(ON_GLUE, at(76), S.IDLE), (ON_FABRIC, at(76), S.FOREIGN), (ON_FABRIC, at(3676), S.IDLE)],
)
def test_a_run_of_ours_may_have_waited_in_a_queue(context: Context, created_at: datetime, leads_to: Situation) -> None:
    """Fabric dates a run anew when it leaves the queue: one that seems later than our claim may be what came of it."""
    listed = (report(Phase.ACTIVE, "r2", created_at=created_at),)
    after = folded(in_situation(S.SEEKING, rival_since=NOON), Listed(listed), at(100), context).state
    assert after.situation is leads_to


# --- Rule 7: an unknown outcome --------------------------------------------------------------------------------------

LISTED = [
    report(Phase.SUCCEEDED, "ended", created_at=at(9)),
    report(Phase.UNKNOWN, "odd", created_at=at(8)),
    report(Phase.ACTIVE, "old", created_at=at(6)),
    report(Phase.ACTIVE, "new", created_at=at(7)),
]


@pytest.mark.parametrize(("shown", "found"), [(4, "new"), (3, "old"), (2, "odd"), (1, "ended")])
def test_running_ones_first_then_unknown_ones_then_ended_ones(shown: int, found: str) -> None:
    """... and the newest of them is adopted."""
    after = folded(in_situation(S.CLAIMED), Listed(tuple(LISTED[:shown])), at(LEASE)).state
    assert the_run(after).run_id == found


@pytest.mark.parametrize(("retry_after", "look_at"), [(None, 97), (42, 123)])
def test_a_run_that_was_found_is_followed_by_its_own_times(retry_after: float | None, look_at: float) -> None:
    """From its creation, for what our claim was to cover; polled after a fifth of its time, or as the answer says."""
    found = replace(FOUND, retry_after=None if retry_after is None else seconds(retry_after))
    after = folded(in_situation(S.CLAIMED), Listed((found,)), at(LEASE)).state
    assert after == State(
        run=Run(
            token="t1",
            claimed_at=at(1),
            situation=S.FOREIGN,
            next_look_at=at(look_at),
            run_id="r2",
            covering=COVERED,
            created_at=at(1),
            status="Active",
        ),
        last_claim_at=NOON,
    )


def test_an_ended_run_that_was_found_is_asked_for_at_once() -> None:
    """What became of it is read like any other end."""
    assert the_run(folded(in_situation(S.CLAIMED), Listed((LISTED[0],)), at(LEASE)).state).next_look_at == at(LEASE)


@pytest.mark.parametrize(("created_at", "found"), [(at(-61), False), (at(-60), True), (None, True)])
def test_a_claim_looks_for_runs_created_since(created_at: Any, found: bool) -> None:
    """... the claim less the clock difference. None: owed again, as if nothing had been claimed."""
    listed = (report(Phase.ACTIVE, "r2", created_at=created_at),)
    after = folded(in_situation(S.CLAIMED, prior_claim_at=at(-900)), Listed(listed), at(LEASE)).state
    assert (after.situation is S.FOREIGN) is found
    if not found:
        assert after == State(owed=COVERED, last_claim_at=at(-900))


@pytest.mark.parametrize(
    ("other", "rivals"),
    [
        (report(Phase.ACTIVE, "r3", created_at=NOON), True),
        (report(Phase.UNKNOWN, "r3"), True),
        (report(Phase.FAILED, "r3", created_at=NOON), False),
        (report(Phase.ACTIVE, "r3", created_at=at(-61)), False),
    ],
)
def test_a_claim_that_finds_more_than_one_run_notes_the_rivals(other: Report, rivals: bool) -> None:
    """Any of them may be ours, so none may be left running."""
    after = folded(in_situation(S.CLAIMED), Listed((other, FOUND)), at(LEASE)).state
    assert (the_run(after).run_id, the_run(after).rival_since) == ("r2", NOON if rivals else None)


# --- Rule 9: a person's cancel, or a skip ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owed", "hold", "expected"),
    [
        (None, None, Cancelled(at(50))),
        (Owed(at(5), at(50)), None, Cancelled(at(50))),
        (Owed(at(5), at(55)), None, None),
        (None, Paused(at(-5)), Paused(at(-5))),
    ],
    ids=["nothing new", "nothing later", "later", "paused"],
)
def test_a_persons_cancel_is_respected(owed: Any, hold: Any, expected: Any) -> None:
    """What is owed stays and the hold says so, unless a later signal is owed already; a pause is not replaced."""
    state = replace(in_situation(S.RUNNING), owed=owed, hold=hold)
    done = folded(state, Reported(report(Phase.CANCELLED, ended_at=at(50))), at(60))
    assert done.state.hold == expected
    assert done.state.owed
    assert done.state.owed.oldest == at(-100)
    assert done.ended
    assert (done.ended.outcome, done.ended.ended_at) == (Outcome.CANCELLED, at(50))
    assert done.state.last_error == "cancelled on the platform"


@pytest.mark.parametrize("context", [ON_GLUE, ON_FABRIC])
def test_our_own_cancel_is_a_failure(context: Context) -> None:
    """... with that reason, and not taken for a person's."""
    done = folded(in_situation(S.CANCELLING), Reported(report(Phase.CANCELLED)), at(4000), context)
    assert (done.state.hold, done.state.failures) == (None, 1)
    assert done.state.last_error == "cancelled by us: not done within 1:00:00"


def test_a_skip_is_neither_success_nor_failure() -> None:
    """Another run was there: ours is written down as skipped, what it covered owed, and the other looked for."""
    done = folded(in_situation(S.RUNNING), Reported(report(Phase.SKIPPED)), at(5), ON_FABRIC)
    assert (done.state.owed, done.state.failures, done.state.situation) == (COVERED, 0, S.SEEKING)
    assert the_run(done.state).next_look_at == at(5)
    assert done.ended
    assert done.ended.outcome is Outcome.SKIPPED


@pytest.mark.parametrize(("told", "ended_at"), [(at(50), at(50)), (None, at(60))])
def test_a_cancelled_run_is_doubted_where_the_platform_skips(told: Any, ended_at: datetime) -> None:
    """The list is asked at once who it was."""
    state = folded(in_situation(S.RUNNING), Reported(report(Phase.CANCELLED, ended_at=told)), at(60), ON_FABRIC).state
    assert state.run == a_run(S.CANCEL_UNCLEAR, next_look_at=at(60), ended_at=ended_at, status="Cancelled")


def doubted(*listed: Report, now: float = 20, **run: Any) -> Folded:
    """Our run of noon ended Cancelled at +5; the list shows itself and these."""
    state = in_situation(S.CANCEL_UNCLEAR, **{"ended_at": at(5), **run})
    return folded(state, Listed((report(Phase.CANCELLED, created_at=NOON), *listed)), at(now), ON_FABRIC)


@pytest.mark.parametrize(
    ("other", "there"),
    [
        (report(Phase.ACTIVE, "r2", created_at=at(-9)), True),
        (report(Phase.ACTIVE, "r2"), True),
        (report(Phase.UNKNOWN, "r2", created_at=at(-9)), True),
        (report(Phase.SUCCEEDED, "r2", created_at=at(-9), ended_at=NOON), True),
        (report(Phase.ACTIVE, "r2", created_at=at(1)), True),
        (report(Phase.SUCCEEDED, "r2", created_at=at(4), ended_at=at(9)), True),
        (report(Phase.SUCCEEDED, "r2", created_at=at(-900), ended_at=at(-300)), True),
        (report(Phase.SUCCEEDED, "r2", created_at=at(-900), ended_at=at(-301)), False),
        (report(Phase.SUCCEEDED, "r2", created_at=at(-9)), False),
        (report(Phase.SKIPPED, "r2", created_at=at(-9), ended_at=at(9)), False),
    ],
)
def test_a_cancelled_run_was_skipped_if_another_ran_when_it_was_created(other: Report, there: bool) -> None:
    """... one that ended since included, one that is told to have ended up to five minutes before, for told times are
    inexact, and one that began later, since it may have been in the queue; one that was skipped itself was not there.
    """
    done = doubted(other)
    assert (done.ended is not None and done.ended.outcome is Outcome.SKIPPED) is there
    assert done.state.hold is None
    if there:
        assert done.state.owed == COVERED


def test_a_cancel_soon_after_our_own_run_ended_is_a_persons() -> None:
    """An end that an answer told us before our start was sent was over: it explains no skip, however near it lies."""
    before = report(Phase.SUCCEEDED, "r0", created_at=at(-600), ended_at=at(-120))
    state = replace(in_situation(S.CANCEL_UNCLEAR, ended_at=at(5)), known_ends={"r0": at(-110)})
    listed = Listed((report(Phase.CANCELLED, created_at=NOON), before))
    done = folded(state, listed, at(500), ON_FABRIC)
    assert done.state.hold == Cancelled(at(5))
    untold = folded(replace(state, known_ends={"r9": at(-110)}), listed, at(500), ON_FABRIC)
    assert untold.ended
    assert untold.ended.outcome is Outcome.SKIPPED


@pytest.mark.parametrize(("lasted", "there"), [(300, True), (301, False)])
@pytest.mark.parametrize("created_at", [at(1), at(400)])
def test_what_ran_for_minutes_was_not_skipped_by_what_began_later(
    lasted: float, there: bool, created_at: datetime
) -> None:
    """A skip is over at once. Whoever cancels a run of some minutes and starts another meant it; one that was there
    before ours may have skipped it all the same.
    """
    later = report(Phase.ACTIVE, "r2", created_at=created_at)
    done = doubted(later, now=500, ended_at=at(lasted))
    assert (done.state.situation is S.FOREIGN) is there
    assert (done.state.hold == Cancelled(at(lasted))) is not there
    for created in (at(-1), NOON):
        earlier = report(Phase.ACTIVE, "r2", created_at=created)
        assert doubted(earlier, now=500, ended_at=at(lasted)).state.situation is S.FOREIGN


@pytest.mark.parametrize(
    ("other", "leads_to"),
    [
        (report(Phase.ACTIVE, "r2", created_at=at(-9)), S.FOREIGN),
        (report(Phase.UNKNOWN, "r2", created_at=at(-9)), S.FOREIGN),
        (report(Phase.FAILED, "r2", created_at=at(-9), ended_at=at(2)), S.IDLE),
    ],
)
def test_what_skipped_ours_is_followed_while_it_goes_on(other: Report, leads_to: Situation) -> None:
    """If it is over, nothing keeps us from starting."""
    state = doubted(other).state
    assert (state.situation, state.not_before) == (leads_to, None)
    if leads_to is S.FOREIGN:
        assert (the_run(state).run_id, the_run(state).token) == ("r2", "t1")


@pytest.mark.parametrize(("told", "ended_at"), [(at(5), at(5)), (None, at(20))])
def test_a_line_of_history_tells_when_a_run_was_skipped(told: datetime | None, ended_at: datetime) -> None:
    """The end that the poll told, else when the list told the skip."""
    ended = doubted(report(Phase.ACTIVE, "r2", created_at=at(-9)), ended_at=told).ended
    assert ended
    assert (ended.outcome, ended.run_id, ended.ended_at) == (Outcome.SKIPPED, "r1", ended_at)


def test_what_may_have_skipped_ours_and_may_be_over_is_no_reason_to_hurry() -> None:
    """Of an unknown status for longer than the timeout: not held, but the interval and a backoff count."""
    state = doubted(report(Phase.UNKNOWN, "r2", created_at=at(-4000))).state
    assert (state.situation, state.hold) == (S.IDLE, None)
    assert (state.last_claim_at, state.not_before) == (NOON, at(50))


@pytest.mark.parametrize(("created_at", "decided_at"), [(None, SETTLED), (at(20), SETTLED + 20)])
def test_a_cancel_is_a_persons_only_once_the_list_would_show_another(created_at: Any, decided_at: float) -> None:
    """No sooner than listing delay and clock difference after the creation; asked every 15 s until then."""
    waiting = doubted(now=decided_at - 40, created_at=created_at).state
    assert the_run(waiting).next_look_at == at(decided_at - 25)
    last = doubted(now=decided_at - 1, created_at=created_at).state
    assert the_run(last).next_look_at == at(decided_at)
    assert doubted(now=decided_at, created_at=created_at).state.hold == Cancelled(at(5))


def test_a_cancel_whose_end_is_not_known_counts_from_now() -> None:
    """... so that nothing that arrived before is taken for new."""
    assert doubted(now=SETTLED, ended_at=None).state.hold == Cancelled(at(SETTLED))


def test_a_failed_listing_decides_nothing() -> None:
    """Neither a skip nor a person's cancel: it is asked again."""
    done = folded(in_situation(S.CANCEL_UNCLEAR), Listed(BUSY), at(500), ON_FABRIC)
    assert (done.ended, done.state.situation, the_run(done.state).next_look_at) == (None, S.CANCEL_UNCLEAR, at(560))


# --- Jobs of Fabric's ------------------------------------------------------------------------------------------------

OF_A_JOB = Owed(at(-100), at(-20), asked=True, reasons=("job",), jobs={"j": at(-100)}, others=False)
SHARED = replace(OF_A_JOB, at_least=2, others=True)
GONE = Withdrawn("j")


@pytest.mark.parametrize("situation", S)
def test_a_job_is_withdrawn_out_of_what_is_owed(situation: Situation) -> None:
    """Wherever the run stands; what others owe stays."""
    state = replace(in_situation(situation, covering=None), owed=OF_A_JOB)
    assert folded(state, GONE).state == replace(state, owed=None)
    state = replace(state, owed=SHARED)
    assert folded(state, GONE).state.owed == replace(SHARED, at_least=1, jobs={})


@pytest.mark.parametrize("situation", [s for s in S if s is not S.IDLE])
def test_a_run_that_others_share_goes_on_without_the_job(situation: Situation) -> None:
    """Nothing about it changes but what it covers."""
    state = in_situation(situation, covering=SHARED)
    left = replace(SHARED, at_least=1, jobs={})
    assert folded(state, GONE).state == replace(state, run=replace(the_run(state), covering=left))


@pytest.mark.parametrize(
    ("situation", "leads_to"),
    [(s, s) for s in (S.CLAIMED, S.OVERDUE, S.CANCELLING, S.CANCEL_UNCLEAR, S.FOREIGN)] + [(S.RUNNING, S.OVERDUE)],
)
def test_a_run_of_the_job_alone_remembers_it_and_is_to_be_cancelled(situation: Situation, leads_to: Situation) -> None:
    """At once if it is known as ours and running; never if it may be someone else's."""
    run = the_run(folded(in_situation(situation, covering=OF_A_JOB), GONE, at(2)).state)
    assert (run.situation, run.covering, run.withdrawn) == (leads_to, None, ("j",))
    if leads_to is not situation:
        assert run.next_look_at == at(2)


@pytest.mark.parametrize(("joined", "leads_to"), [(None, S.OVERDUE), (COVERED, S.RUNNING)])
def test_a_start_that_was_under_way_is_cancelled_once_it_is_accepted(joined: Owed | None, leads_to: Situation) -> None:
    """Unless a late signal joined it: then it goes on for that."""
    state = in_situation(S.CLAIMED, covering=joined, withdrawn=("j",))
    run = the_run(folded(state, Answered(Started("r1")), at(2)).state)
    assert (run.situation, run.next_look_at) == (leads_to, at(2 if leads_to is S.OVERDUE else 7))


@pytest.mark.parametrize("covering", [None, COVERED])
def test_the_end_that_was_wanted_is_no_failure(covering: Owed | None) -> None:
    """Cancelled for its job: no failure, no backoff, no hold, and what joined it late is owed again."""
    state = replace(in_situation(S.CANCELLING, covering=covering, withdrawn=("j",)), owed=LATER)
    result = folded(state, Reported(report(Phase.CANCELLED)), at(60), ON_FABRIC)
    owed = WITH_LATER if covering else LATER
    assert result.state == State(owed=owed, last_claim_at=NOON, known_ends={"r1": at(60)})
    assert result.ended
    assert (result.ended.outcome, result.ended.jobs, result.ended.ended_at) == (Outcome.CANCELLED, ("j",), at(60))


def test_a_cancel_that_others_may_have_asked_for_is_looked_into() -> None:
    """A run that goes on for others, though a job was withdrawn from it, is cancelled by nobody that we know."""
    state = in_situation(S.RUNNING, covering=COVERED, withdrawn=("j",))
    assert folded(state, Reported(report(Phase.CANCELLED)), context=ON_FABRIC).state.situation is S.CANCEL_UNCLEAR


def test_a_run_that_ended_well_before_its_cancel_has_succeeded() -> None:
    """The line says so of the withdrawn job, too."""
    state = in_situation(S.CANCELLING, covering=None, withdrawn=("j",))
    ended = folded(state, Reported(report(Phase.SUCCEEDED))).ended
    assert ended
    assert (ended.outcome, ended.jobs) == (Outcome.SUCCEEDED, ("j",))


@pytest.mark.parametrize(("now", "blocked"), [(10, False), (3700, True)])
def test_a_run_that_cannot_be_cancelled_blocks_only_past_its_timeout(now: float, blocked: bool) -> None:
    """Nobody waits for the end of one whose job was withdrawn: it is asked for again."""
    state = in_situation(S.CANCELLING, covering=None, withdrawn=("j",))
    after = folded(state, CancelAnswered(DENIED), at(now)).state
    assert isinstance(after.hold, Blocked) is blocked
    assert (the_run(after).cancel_again_at == at(now + 30)) is not blocked


def test_a_start_of_unknown_outcome_remembers_until_what_came_of_it_has_ended() -> None:
    """Adopted, because it may be ours; it is never cancelled, and its line does not speak for the job."""
    claimed = in_situation(S.CLAIMED, covering=None, withdrawn=("j",))
    other = replace(FOUND, run_id="r3")
    adopted = folded(claimed, Listed((FOUND, other)), at(LEASE)).state
    assert (adopted.situation, the_run(adopted).withdrawn) == (S.FOREIGN, ("j",))
    over = folded(adopted, Reported(report(Phase.SUCCEEDED, "r2", created_at=at(1))), at(300))
    assert over.ended
    assert over.ended.jobs == ()
    assert (over.state.situation, the_run(over.state).withdrawn) == (S.SEEKING, ("j",))  # the other may be ours
    assert folded(over.state, Listed(()), at(400)).state.run is None


def test_a_claim_that_came_to_nothing_forgets() -> None:
    """Refused, unsent, or in no list: nothing runs for the job."""
    claimed = in_situation(S.CLAIMED, covering=None, withdrawn=("j",))
    for given in (Unsent(), Answered(BUSY), Listed(())):
        after = folded(claimed, given, at(LEASE)).state
        assert (after.owed, after.run) == (None, None)
    assert the_run(folded(claimed, Answered(ALREADY)).state).withdrawn == ()


@pytest.mark.parametrize("owed", [True, False])
def test_a_job_that_is_known_is_absorbed(owed: bool) -> None:
    """A create that is repeated changes nothing, and lifts no hold."""
    again = Signalled(Signal(at(50), "again", asked=True, job="j"))
    state = State(owed=OF_A_JOB, hold=Cancelled(at(-5))) if owed else in_situation(S.RUNNING, covering=OF_A_JOB)
    assert folded(state, again, at(50)).state == state


def test_a_new_job_is_owed_beside_the_run() -> None:
    """Nobody knows when its data came, so no run that was claimed before covers it."""
    after = folded(in_situation(S.RUNNING), Signalled(Signal(at(2), "new", asked=True, job="j")), at(2)).state
    assert after.owed
    assert (after.owed.jobs, after.owed.others) == ({"j": at(2)}, False)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED])
def test_a_line_of_history_names_the_jobs(phase: Phase) -> None:
    """Whatever became of the run; what failed is owed again, jobs and all."""
    result = folded(in_situation(S.RUNNING, covering=SHARED), Reported(report(phase)), at(60), ON_FABRIC)
    assert result.ended
    assert result.ended.jobs == ("j",)
    assert (result.state.owed == SHARED) is (phase is not Phase.SUCCEEDED)


def test_a_record_takes_no_more_jobs_than_it_can_hold() -> None:
    """One more than the bound changes nothing: whoever asked is told to come again, and the record stays small."""
    full = Owed(NOON, NOON, jobs={str(number): NOON for number in range(JOBS_OPEN_MOST)}, others=False)
    signal = Signal(at(1), "Fabric job", asked=True, job="one more")
    assert folded(State(owed=full), Signalled(signal), at(1)).state == State(owed=full)


@pytest.mark.parametrize(
    ("situation", "given", "kept"),
    [
        (S.CLAIMED, Answered(Started("r1")), False),
        (S.CLAIMED, Answered(BUSY), False),
        (S.CLAIMED, Answered(THROTTLED), True),
        (S.RUNNING, Reported(report(Phase.ACTIVE)), False),
        (S.RUNNING, Reported(THROTTLED), True),
        (S.SEEKING, Listed(()), False),
        (S.SEEKING, Listed(THROTTLED), True),
        (S.RUNNING, Signalled(Signal(at(2), "new")), True),
    ],
)
def test_an_answer_uses_the_place_of_its_call_up(situation: Situation, given: Input, kept: bool) -> None:
    """But for a throttled one: that place is served when the silence ends."""
    place = Place(Call.POLL, 7)
    after = folded(replace(in_situation(situation), place=place), given, at(2)).state
    assert after.place == (place if kept else None)


def test_how_long_runs_take_is_remembered() -> None:
    """Those of our own successful runs, and nobody else's: polls and just-in-time starts go by them."""
    ended = Reported(report(Phase.SUCCEEDED, ended_at=at(50)))
    assert folded(in_situation(S.RUNNING), ended, at(60)).state.run_times == (seconds(50),)
    assert folded(in_situation(S.FOREIGN), ended, at(60)).state.run_times == ()
    assert folded(in_situation(S.RUNNING), Reported(report(Phase.FAILED)), at(60)).state.run_times == ()
