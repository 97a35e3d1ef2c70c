"""Which outcome events a save makes: once for each change, by the save that makes it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shared.destinations import ENDS, KINDS
from shared.refresh.notices import late_at, note_changes
from shared.refresh.state import Blocked, Cancelled, Ended, Outbox, Outcome, Owed, Paused, State
from shared.times import INSTANT
from tests.support.core import NOON, POLICY, at, seconds

ALL = frozenset({*KINDS, *ENDS})
PROMISED = replace(POLICY, objective=seconds(99))
STALE = State(owed=Owed(at(-100), at(-100)))


NOTHING = State()


def made(
    before: State = NOTHING, after: State = NOTHING, *ended: Ended, policy: Any = POLICY, wanted: frozenset[str] = ALL
) -> list[str]:
    """The kinds of the events that a save makes, each of this moment but for what a run's end tells."""
    state = note_changes(before, after, ended, policy, NOON, wanted=wanted)
    assert {notice.at for notice in state.outbox.notices if notice.kind not in {"refreshed", "failed", "aborted"}} <= {
        NOON
    }
    return [notice.kind for notice in state.outbox.notices]


def end(outcome: Outcome, **fields: Any) -> Ended:
    """A run that ended."""
    return Ended("t1", outcome, at(-60), at(-1), **fields)


@pytest.mark.parametrize(
    ("ended", "kinds"),
    [
        (end(Outcome.SUCCEEDED), ["refreshed"]),
        (end(Outcome.SUCCEEDED, foreign=True), ["refreshed"]),
        (end(Outcome.PROVEN), ["refreshed"]),
        (end(Outcome.FAILED), ["failed"]),
        (end(Outcome.CANCELLED), ["aborted"]),
        (end(Outcome.FAILED, foreign=True), []),
        (end(Outcome.SKIPPED), []),
        (end(Outcome.SPARED), []),
        (end(Outcome.LOST, foreign=True), []),
    ],
    ids=lambda value: "" if isinstance(value, list) else f"{value.outcome}{', foreign' * value.foreign}",
)
def test_the_end_of_a_run_is_told(ended: Ended, kinds: list[str]) -> None:
    """With its time and its token; a run of somebody else's is none of ours, but what it refreshed is refreshed."""
    assert made(State(), State(), ended) == kinds
    noted = note_changes(State(), State(), [ended], POLICY, NOON, wanted=ALL).outbox.notices
    assert [(notice.at, notice.token) for notice in noted] == [(at(-1), "t1")] * len(kinds)


BLOCKED = Blocked(at(-5), "why", at(295))


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (None, Paused(NOON), ["held"]),
        (None, BLOCKED, ["held"]),
        (BLOCKED, Cancelled(NOON), ["held"]),
        (BLOCKED, None, ["released"]),
        (BLOCKED, replace(BLOCKED, reason="another", probe_at=at(400)), []),
        (None, None, []),
    ],
)
def test_a_hold_is_told_and_its_end(before: Any, after: Any, kinds: list[str]) -> None:
    """Not each probe of a block, nor its new reason."""
    assert made(State(hold=before), State(hold=after)) == kinds


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (State(), State(told_silent=True), ["held"]),
        (State(told_silent=True), State(), ["released"]),
        (State(told_silent=True), State(told_silent=True), []),
        (State(told_silent=True), State(told_silent=True, hold=BLOCKED), ["held"]),
        (State(told_silent=True, hold=BLOCKED), State(told_silent=True), []),
        (State(told_silent=True, hold=BLOCKED), State(hold=BLOCKED), []),
    ],
    ids=["silent", "heard", "still silent", "blocked, too", "silent yet", "blocked yet"],
)
def test_silent_sources_hold_a_target(before: State, after: State, kinds: list[str]) -> None:
    """Nobody knows whether it is fresh; it is released when nothing is left that holds it."""
    assert made(before, after) == kinds


def test_lateness_is_told_once_and_so_is_its_end() -> None:
    """By the save just beyond the objective; the one that ends it tells of the recovery."""
    late = note_changes(STALE, STALE, [], PROMISED, NOON, wanted=ALL)
    assert [(notice.kind, notice.at) for notice in late.outbox.notices] == [("late", NOON)]
    assert made(late, replace(late, outbox=Outbox()), policy=PROMISED) == []
    assert made(late, replace(late, owed=None, outbox=Outbox()), policy=PROMISED) == ["recovered"]
    fresh = note_changes(late, replace(late, owed=None), [], PROMISED, NOON, wanted=ALL)
    assert not fresh.told_late


def test_before_its_objective_nobody_is_told() -> None:
    """At its very moment it is not late yet, as `status` has it."""
    assert made(STALE, STALE, policy=replace(POLICY, objective=seconds(100))) == []


def test_a_record_is_due_when_its_objective_passes() -> None:
    """Until that was told."""
    assert late_at(STALE, PROMISED) == at(-1) + INSTANT
    assert late_at(replace(STALE, told_late=True), PROMISED) is None
    assert late_at(State(), PROMISED) is None
    assert late_at(STALE, POLICY) is None


def test_what_nobody_wants_is_not_noted() -> None:
    """The record stays as small as before."""
    ended = end(Outcome.SUCCEEDED)
    assert made(State(), State(), ended, wanted=frozenset({"failed"})) == []
