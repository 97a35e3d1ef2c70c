"""Is this view fresh, and if not, since when and why: the rows of `unstale status`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.refresh.decide import Gate, Wait, decide, stale_since
from shared.refresh.owed import covers
from shared.refresh.ports import Capabilities
from shared.refresh.state import Blocked, Cancelled, Deployment, Hold, Owed, Paused, Situation, State
from shared.refresh.timing import Context
from shared.targets import Target
from shared.values import Value

MINUTE, HOUR = 60, 3600

SENTENCES: Mapping[Situation, str] = {
    Situation.IDLE: "no refresh is running",
    Situation.CLAIMED: "a refresh was asked for, and the platform has not answered yet",
    Situation.RUNNING: "a refresh is running",
    Situation.OVERDUE: "its refresh is to be cancelled: it is past its timeout, or nobody wants it any more",
    Situation.CANCELLING: "its refresh is being cancelled",
    Situation.CANCEL_UNCLEAR: "its refresh ended Cancelled: a person did that, or the platform skipped it",
    Situation.SEEKING: "another refresh is running already, and is being looked for",
    Situation.FOREIGN: "a refresh is running that may be somebody else's; what that does not cover stays owed",
}
"""What people are told of the run in each situation, by `unstale status` and by the demo."""


class SourceStatus(Value, frozen=True):
    """How one source of a target stands, where sources are looked at."""

    title: str
    """The source as people write it: `sales.orders`, `Tables/orders`."""
    version: str = ""
    """The version of its data that the last look saw."""
    since: datetime | None = None
    """When that data came."""
    silent: str = ""
    """Why there was no answer for three look intervals; empty while there is one."""
    cannot: str = ""
    """Why the last look could not tell, however recent the one before it was."""


class TargetStatus(Value, frozen=True):
    """One target's line: what holds of it, and why.

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


def row(
    target: Target,
    state: State,
    deployment: Deployment,
    capabilities: Capabilities,
    *,
    now: datetime,
    dead_letters: int,
    sources: tuple[SourceStatus, ...] = (),
) -> TargetStatus:
    """What is known of one target. While dead letters lie about, a target that looks fresh is not known to be."""
    since = stale_since(state)
    verdict, why = _verdict(target, state, deployment, now, dead_letters)
    if verdict not in {"held", "late"}:
        verdict, why = _by_sources(target, state, sources, verdict, why)
    if verdict == "stale":
        why = f"{why}; {_next_step(target, state, deployment, capabilities, now)}"
    return TargetStatus(
        name=target.name,
        kind=str(type(target.resource).__struct_config__.tag),
        verdict=verdict,
        why=why,
        stale_since=since,
        fresh_as_of=state.fresh_as_of,
        signals_owed=sum(debt.at_least for debt in _debts(state)),
        situation=state.situation,
        run_id=state.run.run_id if state.run else "",
        hold=_hold_word(state.hold, deployment),
        failures=state.failures,
        last_error=state.last_error,
        next_look_at=state.wake_at,
        proven_as_of=_shown(state.proven_as_of, target),
        sources=sources,
    )


def _shown(proven_as_of: datetime | None, target: Target) -> datetime | None:
    """A proof's time as people are shown it: what came within the visibility lag before it may not be in the view."""
    return proven_as_of - target.policy.visibility_lag if proven_as_of else None


def _by_sources(
    target: Target, state: State, sources: tuple[SourceStatus, ...], verdict: str, why: str
) -> tuple[str, str]:
    """The verdict as the sources make it: one that is silent leaves all unknown, one that is ahead makes it stale."""
    silent = next((source for source in sources if source.silent), None)
    if silent:
        return "unknown", f"{silent.title}: {silent.silent}"
    ahead = next((source for source in sources if _is_ahead(source, state, target)), None)
    if ahead and ahead.since and verdict in {"stale", "fresh"}:
        told = f"{ahead.title} has version {ahead.version} since {ahead.since:%Y-%m-%d %H:%M}Z"
        return "stale", f"{why}; {told}" if why else told
    if verdict == "fresh" and state.proven_as_of:
        return "proven", f"by the platform's own metadata, as of {_shown(state.proven_as_of, target):%Y-%m-%d %H:%M}Z"
    return verdict, why


def _is_ahead(source: SourceStatus, state: State, target: Target) -> bool:
    """Whether a source has data that no successful run is known to have read."""
    if source.since is None:
        return False
    proven = state.proven_as_of is not None and source.since <= state.proven_as_of
    read = state.fresh_as_of is not None and covers(state.fresh_as_of, source.since, target.policy.visibility_lag)
    return not (proven or read)


def unknown(target: Target, why: str) -> TargetStatus:
    """The line of a target whose record nobody could read."""
    return TargetStatus(
        name=target.name,
        kind=str(type(target.resource).__struct_config__.tag),
        verdict="unknown",
        why=why,
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


def _debts(state: State) -> list[Owed]:
    return [debt for debt in (state.owed, state.run.covering if state.run else None) if debt]


def _hold_word(hold: Hold | None, deployment: Deployment) -> str:
    if hold is None:
        return "paused (all)" if deployment.paused_since else ""
    return type(hold).__name__.lower()


def _verdict(target: Target, state: State, deployment: Deployment, now: datetime, dead_letters: int) -> tuple[str, str]:
    held = _held_because(state.hold, deployment)
    since = stale_since(state)
    if held:
        return "held", held
    if since is None:
        if dead_letters:
            return "unknown", f"{dead_letters} dead letters may hold its signals: unstale redrive"
        # A new target is owed at its first look, so one that owes nothing and never was fresh had none.
        known = state.fresh_as_of or state.proven_as_of
        return ("fresh", "") if known else ("unknown", "the deployed function has not looked at it yet")
    objective = target.policy.objective
    reasons = ", ".join(dict.fromkeys(reason for debt in _debts(state) for reason in debt.reasons))
    if objective and now - since > objective:
        late = _short(now - since - objective)
        return "late", f"{late} beyond its objective: {state.last_error or reasons}"
    return "stale", reasons


def _held_because(hold: Hold | None, deployment: Deployment) -> str:
    match hold:
        case Paused(since):
            return f"paused since {since:%Y-%m-%d %H:%M}Z: unstale resume"
        case Blocked(since, reason):
            return f"blocked since {since:%Y-%m-%d %H:%M}Z: {reason}"
        case Cancelled(since):
            return f"somebody cancelled its run at {since:%Y-%m-%d %H:%M}Z: waits for new data or unstale resume"
        case _:
            since_all = deployment.paused_since
            return f"all paused since {since_all:%Y-%m-%d %H:%M}Z: unstale resume --all" if since_all else ""


def _next_step(target: Target, state: State, deployment: Deployment, capabilities: Capabilities, now: datetime) -> str:
    if state.situation is not Situation.IDLE:
        return SENTENCES[state.situation]
    gate = Gate(deployment.paused_since is not None, deployment.quiet_until.get(target.identity))
    action = decide(state, Context(target.key, target.policy, capabilities), now, gate)
    if isinstance(action, Wait) and action.until:
        return f"a refresh starts in {_short(action.until - now)}"
    return "a refresh is due"


def _short(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    if seconds < 2 * MINUTE:
        return f"{seconds} s"
    return f"{seconds // MINUTE} min" if seconds < 2 * HOUR else f"{seconds // HOUR} h"
