"""Is this view fresh, and if not, since when and why: the lines of `unstale status`."""

from __future__ import annotations

from datetime import datetime

from shared.refresh.decide import is_late, stale_since
from shared.refresh.evidence import Evidence, SourceStatus, doubts
from shared.refresh.explain import held_because, source_ahead, why
from shared.refresh.state import Situation
from shared.targets import Target
from shared.values import Value


class TargetStatus(Value, frozen=True):
    """The line of a target: what holds of it, and why.

    `verdict` is held, late (beyond its objective), unknown, stale, proven (by the platform's own metadata) or fresh.
    """

    name: str
    kind: str
    verdict: str
    why: str
    stale_since: datetime | None
    fresh_as_of: datetime | None
    signals_owed: int
    situation: Situation | None
    run_id: str
    hold: str
    failures: int
    last_error: str
    next_look_at: datetime | None
    proven_as_of: datetime | None = None
    sources: tuple[SourceStatus, ...] = ()

    @property
    def well(self) -> bool:
        """Whether nobody needs to do anything."""
        return self.verdict in {"fresh", "stale", "proven"}


def status_of(evidence: Evidence) -> TargetStatus:
    """Judge one target: its line in `unstale status`."""
    target, state = evidence.target, evidence.state
    verdict = verdict_of(evidence)
    lag = target.policy.visibility_lag
    return TargetStatus(
        name=target.name,
        kind=kind_of(target),
        verdict=verdict,
        why=why(evidence, verdict),
        stale_since=stale_since(state),
        fresh_as_of=state.fresh_as_of,
        signals_owed=sum(part.at_least for part in evidence.all_owed),
        situation=state.situation,
        run_id=state.run.run_id if state.run else "",
        hold=_hold_word(evidence),
        failures=state.failures,
        last_error=state.last_error,
        next_look_at=state.wake_at,
        proven_as_of=state.proven_as_of - lag if state.proven_as_of else None,
        sources=evidence.sources,
    )


def verdict_of(evidence: Evidence) -> str:
    """Name the first verdict that holds, in the order of design section 7."""
    state = evidence.state
    since = stale_since(state)
    if since and held_because(evidence):
        return "held"
    if is_late(state, evidence.policy, evidence.now):
        return "late"
    if doubts(evidence):
        return "unknown"
    if since or source_ahead(evidence):
        return "stale"
    return "proven" if state.proven_as_of else "fresh"


def status_unread(target: Target, because: str) -> TargetStatus:
    """The line of a target whose record nobody could read."""
    return TargetStatus(
        name=target.name,
        kind=kind_of(target),
        verdict="unknown",
        why=because,
        stale_since=None,
        fresh_as_of=None,
        signals_owed=0,
        situation=None,
        run_id="",
        hold="",
        failures=0,
        last_error="",
        next_look_at=None,
    )


def kind_of(target: Target) -> str:
    """The kind of a target, as `unstale.toml` names it."""
    return str(type(target.resource).__struct_config__.tag)


def _hold_word(evidence: Evidence) -> str:
    if evidence.state.hold is None:
        return "paused (all)" if evidence.deployment.paused_since else ""
    return type(evidence.state.hold).__name__.lower()
