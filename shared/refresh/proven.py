"""Folds proofs and looks into a state: what they drop of what is owed, and whom that is to be told (design, section 9).

what is owed   :  oldest ---------------- newest
a proof as of T:              T - lag  |           what lies before is dropped, what lies after stays owed
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.refresh.inputs import Proven, Spared
from shared.refresh.owed import split
from shared.refresh.state import Cancelled, Ended, Outcome, Owed, State
from shared.targets import Policy

RUN_TIMES_KEPT = 5
"""Run times remembered of a target: enough to know a slow one, few enough to forget one (design, section 9)."""


def drop(state: State, at: datetime, lag: timedelta) -> tuple[State, Owed | None]:
    """Split off what a run claimed at `at` would cover: the state without that part, and the part.

    Nothing is dropped while a run is in the record, and nothing that is asked for or full: no refresh that a person
    asked for is spared.
    """
    owed = state.owed
    if owed is None or owed.asked or owed.full or state.run is not None:
        return state, None
    covered, rest = split(owed, at - lag)
    hold = None if isinstance(state.hold, Cancelled) and rest is None and covered else state.hold
    return replace(state, owed=rest, hold=hold), covered


def prove(state: State, proven: Proven, policy: Policy) -> tuple[State, Ended | None]:
    """The state after a proof. It changes only if the proof drops something, re-arms a disproof or is news."""
    if state.run is not None:
        return state, None
    rest, covered = drop(state, proven.at, policy.visibility_lag)
    if covered is None and not state.disproved and not _is_newer(state.proven_as_of, proven.at, policy):
        return state, None
    as_of = max(state.proven_as_of or proven.at, proven.at)
    hold = None if isinstance(rest.hold, Cancelled) and rest.owed is None else rest.hold
    rest = replace(rest, proven_as_of=as_of, disproved=False, hold=hold)
    if covered is None:
        return rest, None
    outcome = Outcome.SPARED if state.told_of == proven.view else Outcome.PROVEN
    ended = _entry(covered, outcome, f"view {proven.view}", proven.at, proven.moment)
    return replace(rest, told_of=proven.view), ended


def spare(state: State, spared: Spared, policy: Policy) -> tuple[State, Ended | None]:
    """The state after a look that found nothing new; only what came from sources that are looked at is dropped."""
    if state.owed is None or not state.owed.looked:
        return state, None
    rest, covered = drop(state, spared.at, policy.visibility_lag)
    if covered is None:
        return state, None
    return rest, _entry(covered, Outcome.SPARED, "sources", spared.at, spared.moment)


def _is_newer(known: datetime | None, at: datetime, policy: Policy) -> bool:
    """Whether a proof is so much newer than the last that it is worth a write."""
    return known is None or policy.look is None or at - known >= 2 * policy.look


def _entry(covered: Owed, outcome: Outcome, what: str, at: datetime, moment: datetime) -> Ended:
    """A line of history for a refresh that was not needed."""
    return Ended(
        token=what.replace(" ", "-"),
        outcome=outcome,
        claimed_at=at,
        ended_at=moment,
        signals=covered.at_least,
        reasons=covered.reasons,
        oldest=covered.oldest,
    )


def note_run_time(state: State, took: timedelta) -> State:
    """Keep how long the last successful runs took."""
    return replace(state, run_times=(*state.run_times, took)[-RUN_TIMES_KEPT:])
