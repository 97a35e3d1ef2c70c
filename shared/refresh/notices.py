"""Which outcome events a save makes: what of a target changed that somebody outside may act on (design, section 10).

    before:  the record as it was read     --+
    ended:   the runs that end with the save +-->  refreshed, failed, aborted, held, released, late, recovered
    after:   the record as it is saved     --+

They are recorded by the save that makes the change, so neither is ever there without the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from shared.refresh.decide import is_late, stale_since
from shared.refresh.outbox import note_event
from shared.refresh.state import Ended, Outcome, State
from shared.targets import Policy
from shared.times import INSTANT
from shared.values import Value

ENDS = {
    Outcome.SUCCEEDED: "refreshed",
    Outcome.PROVEN: "refreshed",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "aborted",
}
"""Names of the ends of runs. A run that was skipped never ran, and one that was spared never was."""


class Change(Value, frozen=True):
    """Something that happened to a target."""

    kind: str
    """The last part of the event's type."""
    at: datetime
    """When the event happened."""
    token: str = ""
    """The token of the run that ended, where it is about one."""


def note_changes(
    before: State, after: State, ended: Sequence[Ended], policy: Policy, now: datetime, *, wanted: frozenset[str]
) -> State:
    """The state with the events of a save noted, as far as the destinations want them: `wanted` has the kinds."""
    late = is_late(after, policy, now)
    outbox = after.outbox
    for change in (*_ends(ended), *_holds(before, after, now), *_lateness(after.told_late, now, late=late)):
        if change.kind in wanted:
            outbox = note_event(outbox, change.kind, change.at, change.token, now)
    return replace(after, outbox=outbox, told_late=late)


def late_at(state: State, policy: Policy) -> datetime | None:
    """When a save must say that the target is late: just beyond the objective, unless that was said."""
    since = stale_since(state)
    if since is None or policy.objective is None or state.told_late:
        return None
    return since + policy.objective + INSTANT


def _ends(ended: Sequence[Ended]) -> Iterator[Change]:
    """The ends of runs; how somebody else's run fails is no matter of ours."""
    for each in ended:
        kind = ENDS.get(each.outcome)
        if kind and not (each.foreign and kind != "refreshed"):
            yield Change(kind, each.ended_at, each.token)


def _holds(before: State, after: State, now: datetime) -> Iterator[Change]:
    """A hold that is set, ends, or becomes another kind of hold; the new reason of a block is no event.

    Sources that give no answer hold a target, too: nobody knows whether it is fresh.
    """
    were, are = _kinds_of_hold(before), _kinds_of_hold(after)
    if were and not are:
        yield Change("released", now)
    elif are - were:
        yield Change("held", now)


def _kinds_of_hold(state: State) -> frozenset[str]:
    """Everything that holds a target, by kind."""
    hold = {type(state.hold).__name__} if state.hold else set()
    return frozenset(hold | ({"silent sources"} if state.told_silent else set()))


def _lateness(told_late: bool, now: datetime, *, late: bool) -> Iterator[Change]:  # noqa: FBT001 - a fact of the record
    if late and not told_late:
        yield Change("late", now)
    if told_late and not late:
        yield Change("recovered", now)
