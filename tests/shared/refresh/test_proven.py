"""What proofs and looks do to a state: the sentences of section 9 about `proven_as_of`, disproofs and spared starts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared.refresh import machine, proven
from shared.refresh.decide import Wait, decide
from shared.refresh.inputs import Disproved, Proven, Signalled, Spared
from shared.refresh.owed import merge, owe
from shared.refresh.state import Blocked, Cancelled, Ended, Outcome, Owed, Paused, Signal, Situation, State
from shared.refresh.timing import Context
from tests.support.core import GLUE, NOON, ON_GLUE, POLICY, at, in_situation, seconds

OWED = Owed(at(-60), at(-30), at_least=2, reasons=("a",))


def fold(state: State, given: Any, now: datetime = NOON) -> machine.Folded:
    """One input, on Glue."""
    return machine.fold(state, given, ON_GLUE, now)


def proof(time: float = 0, view: str = "7") -> Proven:
    """A proof as of so many seconds after noon."""
    return Proven(at(time), view, at(time + 1))


# --- Proofs ----------------------------------------------------------------------------------------------------------


def test_a_proof_drops_what_a_run_claimed_then_would_cover() -> None:
    """What is owed is gone, the proof is kept beside `fresh_as_of`, and a line of history says so."""
    found = fold(State(owed=OWED, fresh_as_of=at(-300), failures=2, not_before=at(50)), proof())
    assert found.state == State(fresh_as_of=at(-300), failures=2, not_before=at(50), proven_as_of=NOON, told_of="7")
    assert found.ended == Ended(
        "view-7", Outcome.PROVEN, NOON, at(1), signals=2, reasons=("a",), oldest=at(-60)
    )  # no run of ours, so the view's version stands for the token


def test_a_proof_splits_what_is_owed_as_a_claim_does() -> None:
    """Signals after T less the visibility lag stay owed."""
    found = fold(State(owed=replace(OWED, newest=at(-5))), proof())
    assert found.state.owed == Owed(at(-10), at(-5), reasons=("a",))
    untouched = fold(State(owed=replace(OWED, oldest=at(-9), newest=at(-5)), proven_as_of=at(-1)), proof())
    assert (untouched.state.owed, untouched.ended) == (replace(OWED, oldest=at(-9), newest=at(-5)), None)


@pytest.mark.parametrize("changes", [{"asked": True}, {"full": True}])
def test_a_proof_drops_nothing_that_a_person_asked_for(changes: dict[str, bool]) -> None:
    """Nor what asks for a full refresh."""
    owed = replace(OWED, **changes)
    found = fold(State(owed=owed), proof())
    assert (found.state.owed, found.state.proven_as_of, found.ended) == (owed, NOON, None)


def test_a_proof_says_nothing_while_a_run_is_in_the_record() -> None:
    """The run may write the view at any moment."""
    for situation in Situation:
        if situation is not Situation.IDLE:
            state = replace(in_situation(situation), owed=OWED)
            assert fold(state, proof()) == machine.Folded(state)


def test_a_proof_covers_no_later_signal() -> None:
    """An event that comes late is owed, though it tells of what the view holds: the next look says so again."""
    state = fold(State(), proof()).state
    assert fold(state, Signalled(Signal(at(-100), "late"))).state.owed


@pytest.mark.parametrize(
    ("newer", "written"), [(0, False), (599, False), (600, True), (-10, False)], ids=["same", "soon", "later", "older"]
)
def test_a_proof_that_drops_nothing_is_written_each_second_interval(newer: float, written: bool) -> None:
    """Two look intervals of five minutes: less is not worth a write, nor is it told to anybody."""
    state = State(proven_as_of=NOON)
    found = fold(state, proof(newer))
    assert (found.state != state, found.ended) == (written, None)
    assert fold(State(), proof()).state == State(proven_as_of=NOON)


def test_a_proof_never_takes_one_back() -> None:
    """One that is older, by another worker's clock, drops what it may and leaves `proven_as_of`."""
    found = fold(State(owed=Owed(at(-60), at(-30)), proven_as_of=at(5)), proof())
    assert (found.state.owed, found.state.proven_as_of) == (None, at(5))


def test_followers_are_told_of_a_view_once() -> None:
    """A proof that drops something tells as a success does, unless they were told of that version of the view."""
    told = fold(State(owed=OWED), proof()).state
    again = fold(replace(told, owed=OWED), proof(20))
    assert again.ended
    assert again.ended.outcome is Outcome.SPARED
    other = fold(replace(told, owed=OWED), proof(20, "8"))
    assert other.ended
    assert (other.ended.outcome, other.state.told_of) == (Outcome.PROVEN, "8")


@pytest.mark.parametrize("hold", [Paused(at(-100)), Blocked(at(-100), "x", at(50))])
def test_a_proof_ends_no_hold(hold: Any) -> None:
    """Proofs go on under a hold: "proven, and blocked"."""
    found = fold(State(owed=OWED, hold=hold), proof())
    assert (found.state.owed, found.state.hold) == (None, hold)


def test_a_proof_ends_a_cancel_that_nothing_is_owed_to() -> None:
    """What a person's cancel left is in the view after all; where something is left, the hold stays."""
    cancelled = Cancelled(at(-100))
    assert fold(State(owed=OWED, hold=cancelled), proof()).state.hold is None
    assert fold(State(hold=cancelled), proof()).state.hold is None
    rest = fold(State(owed=replace(OWED, newest=at(-5)), hold=cancelled), proof()).state
    assert rest.hold == cancelled


# --- Disproofs -------------------------------------------------------------------------------------------------------


def test_a_disproof_is_a_signal_once() -> None:
    """At T; not again, even after the run that it causes, before a proof re-arms it."""
    found = fold(State(), Disproved(NOON, "sales.orders")).state
    assert found.owed
    assert (found.owed.oldest, found.owed.reasons) == (NOON, ("sales.orders has what the view lacks",))
    assert found.owed.looked
    assert found.disproved
    after_run = replace(found, owed=None, fresh_as_of=at(60))
    assert fold(after_run, Disproved(at(500), "sales.orders")).state == after_run
    proved = fold(after_run, proof(600)).state
    assert (proved.disproved, proved.proven_as_of) == (False, at(600))
    assert fold(proved, Disproved(at(900), "sales.orders")).state.owed


def test_a_proof_that_re_arms_a_disproof_is_written() -> None:
    """Even if it is no news otherwise."""
    assert fold(State(proven_as_of=NOON, disproved=True), proof()).state == State(proven_as_of=NOON)


def test_a_disproof_waits_while_something_is_owed_or_runs() -> None:
    """The refresh that is due, or under way, may mend it."""
    for state in (State(owed=OWED), in_situation(Situation.RUNNING)):
        assert fold(state, Disproved(NOON, "x")).state == state


def test_a_disproof_that_a_finished_run_covers_is_none() -> None:
    """The look was before that run; the next one says it again, at a later time."""
    state = State(fresh_as_of=at(60))
    assert fold(state, Disproved(NOON, "x")).state == state


# --- Spared starts ---------------------------------------------------------------------------------------------------


def test_a_look_spares_what_came_from_looked_at_tables() -> None:
    """What is owed is gone, with a line of history; nobody is told, and nothing is proven."""
    found = fold(State(owed=replace(OWED, looked=True)), Spared(NOON, at(1)))
    assert found.state == State()
    assert found.ended == Ended("sources", Outcome.SPARED, NOON, at(1), signals=2, reasons=("a",), oldest=at(-60))


@pytest.mark.parametrize(("newest", "hold"), [(-30, None), (-5, Cancelled(at(-100)))])
def test_a_look_ends_a_cancel_that_nothing_is_owed_to(newest: float, hold: Cancelled | None) -> None:
    """As a proof does: what a person's cancel left is in the view after all; where something is left, it stays."""
    owed = replace(OWED, newest=at(newest), looked=True)
    assert fold(State(owed=owed, hold=Cancelled(at(-100))), Spared(NOON, at(1))).state.hold == hold


def test_a_look_ends_no_other_hold() -> None:
    """A pause stays, though nothing is owed any more."""
    assert fold(State(owed=replace(OWED, looked=True), hold=Paused(NOON)), Spared(NOON, at(1))).state == State(
        hold=Paused(NOON)
    )


def test_a_look_spares_nothing_else() -> None:
    """Neither what may have come from elsewhere, nor what came after."""
    for owed in (None, OWED, replace(OWED, looked=True, oldest=at(-5), newest=at(-5))):
        assert fold(State(owed=owed), Spared(NOON, at(1))) == machine.Folded(State(owed=owed))


def test_what_is_owed_knows_whether_all_of_it_was_looked_at() -> None:
    """One signal from elsewhere is enough; a schedule among them makes it prompt. Storms still need no write."""
    looked = owe(None, NOON, Signal(NOON, "a", looked=True), POLICY)
    assert looked.looked
    assert owe(looked, NOON, Signal(NOON, "b", looked=True), POLICY) is looked
    mixed = owe(looked, NOON, Signal(NOON, "b"), POLICY)
    assert not mixed.looked
    assert owe(mixed, NOON, Signal(NOON, "c", looked=True), POLICY) is mixed
    prompt = owe(looked, NOON, Signal(NOON, "b", looked=True, prompt=True), POLICY)
    assert (prompt.looked, prompt.prompt) == (True, True)
    merged = merge(looked, mixed)
    assert merged
    assert (merged.looked, merged.prompt) == (False, False)


# --- Just in time ----------------------------------------------------------------------------------------------------

JIT = replace(POLICY, start="just-in-time", objective=timedelta(hours=1), look=timedelta(minutes=5))


def start_at(owed: Owed, *times: float, policy: Any = JIT) -> float:
    """Seconds after noon at which the first start is due."""
    context = Context("k", policy, GLUE)
    action = decide(State(owed=owed, run_times=tuple(map(seconds, times))), context, at(-1000)).action
    assert isinstance(action, Wait)
    assert action.until
    return (action.until - NOON).total_seconds()


def test_just_in_time_starts_as_late_as_the_objective_allows() -> None:
    """Oldest + objective, less twice the longest run (or that and two minutes), less a look interval."""
    owed = Owed(NOON, at(100))
    assert start_at(owed, 300, 600, 200) == 3600 - 1200 - 300
    assert start_at(owed, 30) == 3600 - 150 - 300
    assert start_at(owed, 30, policy=replace(JIT, look=None)) == 3600 - 150
    assert start_at(owed, 3000) == 10  # no time is left: as soon as the data can be read


@pytest.mark.parametrize("changes", [{"asked": True}, {"full": True}, {"prompt": True}])
def test_what_a_person_or_a_schedule_asks_does_not_wait(changes: dict[str, bool]) -> None:
    """Nor what is full, nor a target of which no run is known: they start as without the word."""
    owed = replace(Owed(NOON, at(100)), **changes)
    assert start_at(owed, 300) == 120
    assert start_at(Owed(NOON, at(100))) == 120
    assert start_at(Owed(NOON, at(100)), 300, policy=replace(JIT, objective=None)) == 120


def test_five_run_times_are_kept() -> None:
    """The last ones."""
    state = State()
    for number in range(7):
        state = proven.note_run_time(state, seconds(number))
    assert state.run_times == tuple(map(seconds, (2, 3, 4, 5, 6)))
