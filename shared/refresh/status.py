"""Is this view fresh, and if not, since when and why: the rows of `unstale status`."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.refresh.decide import Gate, Wait, decide, stale_since
from shared.refresh.ports import Capabilities
from shared.refresh.state import Blocked, Cancelled, Deployment, Hold, Owed, Paused, Situation, State
from shared.refresh.timing import Context
from shared.targets import Target
from shared.values import Value

MINUTE, HOUR = 60, 3600


class Row(Value, frozen=True):
    """One target's line. `verdict` is fresh, stale, late (beyond its objective), held or unknown; `why` explains it."""

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

    @property
    def well(self) -> bool:
        """Whether nobody needs to do anything."""
        return self.verdict in {"fresh", "stale"}


def row(
    target: Target,
    state: State,
    deployment: Deployment,
    capabilities: Capabilities,
    *,
    now: datetime,
    dead_letters: int,
) -> Row:
    """What is known of one target. While dead letters lie about, a target that looks fresh is not known to be."""
    since = stale_since(state)
    verdict, why = _verdict(target, state, deployment, now, dead_letters)
    if verdict == "stale":
        why = f"{why}; {_next_step(target, state, deployment, capabilities, now)}"
    return Row(
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
    )


def unknown(target: Target, why: str) -> Row:
    """The line of a target whose record nobody could read."""
    return Row(
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
        return ("fresh", "") if state.fresh_as_of else ("unknown", "the deployed function has not looked at it yet")
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
        return f"a refresh is {state.situation}"
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
