"""The rows of `unstale status`: is this view fresh, and if not, since when and why."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.refresh.state import Blocked, Cancelled, Deployment, Owed, Paused, Situation, State
from shared.refresh.status import TargetStatus, row, unknown
from tests.support.core import GLUE, NOON, POLICY, a_run, a_target, at, seconds

OWED = Owed(at(0), at(5), 3, reasons=("s3://landing/orders/1",))
OBJECTIVE = replace(POLICY, objective=seconds(60))


def shown(state: State, *, now: float = 20, dead: int = 0, deployment: Deployment | None = None) -> TargetStatus:
    """The row of a target with an objective of a minute."""
    target = replace(a_target(), policy=OBJECTIVE)
    return row(target, state, deployment or Deployment(), GLUE, now=at(now), dead_letters=dead)


@pytest.mark.parametrize(
    ("state", "now", "verdict", "word", "well"),
    [
        (State(fresh_as_of=NOON), 20, "fresh", "", True),
        (State(), 20, "unknown", "has not looked at it yet", False),
        (State(owed=OWED), 20, "stale", "a refresh starts in 5 s", True),
        (State(owed=OWED), 30, "stale", "a refresh is due", True),
        (State(owed=OWED), 200, "late", "2 min beyond its objective: s3://landing/orders/1", False),
        (State(owed=OWED), 9000, "late", "2 h beyond its objective", False),
        (State(owed=OWED, last_error="executor lost"), 90, "late", "executor lost", False),
        (State(owed=OWED, hold=Paused(NOON)), 20, "held", "paused since 2026-01-31 12:00Z: unstale resume", False),
        (State(owed=OWED, hold=Blocked(NOON, "no permission", NOON)), 20, "held", "no permission", False),
        (State(owed=OWED, hold=Cancelled(NOON)), 20, "held", "somebody cancelled its run", False),
    ],
)
def test_each_state_has_its_verdict_and_its_words(
    state: State, now: float, verdict: str, word: str, *, well: bool
) -> None:
    """Fresh and stale need nobody; the others say whom or what they wait for."""
    found = shown(state, now=now)
    assert (found.verdict, found.well) == (verdict, well)
    assert word in found.why


def test_a_run_is_shown_with_what_it_covers() -> None:
    """Its signals are still owed: only its success makes the view fresh."""
    found = shown(State(owed=OWED, run=a_run(Situation.RUNNING, covering=OWED)))
    assert "a refresh is running" in found.why
    assert (found.signals_owed, found.situation, found.stale_since) == (6, Situation.RUNNING, at(0))


def test_dead_letters_make_what_looks_fresh_unknown() -> None:
    """G1: a signal may be among them."""
    found = shown(State(fresh_as_of=NOON), dead=2)
    assert (found.verdict, found.well) == ("unknown", False)
    assert "2 dead letters" in found.why


def test_a_pause_of_all_holds_every_target() -> None:
    """And says how it ends."""
    found = shown(State(fresh_as_of=NOON), deployment=Deployment(paused_since=NOON))
    assert (found.verdict, found.hold) == ("held", "paused (all)")
    assert "unstale resume --all" in found.why


def test_a_target_that_nobody_could_ask_for_is_not_well() -> None:
    """Nothing is known of it, which must never look like fresh."""
    found = unknown(a_target(), "AWS could not be asked")
    assert (found.verdict, found.why, found.well) == ("unknown", "AWS could not be asked", False)
    assert (found.situation, found.fresh_as_of) == (None, None)
