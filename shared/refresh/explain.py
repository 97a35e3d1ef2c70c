"""Why a target stands as it does, in sentences: what `unstale explain` prints, and the first of which is in `status`.

Each sentence has a topic, so that scripts find it, and can be read alone. The first is the reason for the verdict; then
comes what arrived, what it waits for, the run that goes on, the platform's own last words, failures, what speaks for or
against freshness, and at the end what the reader can do now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from shared.refresh import pace
from shared.refresh.decide import Action, Gate, HoldBack, Wait, decide, stale_since
from shared.refresh.evidence import WORK_CURE, Evidence, SourceStatus, doubts, doubts_of_deployment
from shared.refresh.identity import Call
from shared.refresh.owed import covers
from shared.refresh.state import Blocked, Cancelled, Paused, Situation
from shared.refresh.timing import SPREAD, Context
from shared.times import minute, span
from shared.values import Value

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
"""The words for the run in each situation, by `unstale status` and by the demo."""

CAUSES = 3
"""Reasons that a sentence names; a record keeps no more."""


class Sentence(Value, frozen=True):
    """A fact about a target, in words."""

    topic: str
    """why, doubt, arrived, waits, run, platform, failures, freshness, across or do."""
    text: str
    """The sentence, without a period at its end."""


def explain(evidence: Evidence, verdict: str) -> tuple[Sentence, ...]:
    """Everything to know of a target, the reason for its verdict first."""
    found = (
        ("why", iter((why(evidence, verdict),))),
        ("doubt", doubts(evidence)[1 if verdict == "unknown" else 0 :]),
        ("arrived", _tell_arrivals(evidence)),
        ("waits", _waits(evidence)),
        ("run", _run(evidence)),
        ("platform", _platform(evidence)),
        ("failures", _failures(evidence)),
        ("freshness", _freshness(evidence)),
        ("across", _across(evidence)),
        ("do", _cures(evidence, verdict)),
    )
    return tuple(Sentence(topic, text) for topic, texts in found for text in texts)


def why(evidence: Evidence, verdict: str) -> str:
    """The reason for the verdict: the sentence that `status` shows."""
    match verdict:
        case "held":
            return held_because(evidence)
        case "late":
            return f"{_beyond_objective(evidence)} beyond its objective: {step(evidence)}"
        case "unknown":
            return doubts(evidence)[0]
        case "stale":
            return _stale_because(evidence)
        case "proven":
            return f"by the platform's own metadata, as of {minute(_shown_proof(evidence))}"
    held = held_because(evidence)
    return f"nothing is owed; {held}" if held else "nothing is owed"


def held_because(evidence: Evidence) -> str:
    """The hold in words, with its cure; empty where there is none."""
    match evidence.state.hold:
        case Paused(since):
            return f"paused since {minute(since)}: unstale resume {evidence.target.name}"
        case Blocked(since, reason):
            return f"blocked since {minute(since)}: {reason}"
        case Cancelled(since):
            return f"somebody cancelled its run at {minute(since)}: waits for new data or unstale resume"
        case _:
            since_all = evidence.deployment.paused_since
            return f"all paused since {minute(since_all)}: unstale resume --all" if since_all else ""


def source_ahead(evidence: Evidence) -> SourceStatus | None:
    """The first source with data that no successful run is known to have read."""
    return next((source for source in evidence.sources if _is_ahead(source, evidence)), None)


def _is_ahead(source: SourceStatus, evidence: Evidence) -> bool:
    state = evidence.state
    if source.since is None:
        return False
    proven = state.proven_as_of is not None and source.since <= state.proven_as_of
    lag = evidence.target.policy.visibility_lag
    read = state.fresh_as_of is not None and covers(state.fresh_as_of, source.since, lag)
    return not (proven or read)


# --- The first sentence ----------------------------------------------------------------------------------------------


def _beyond_objective(evidence: Evidence) -> str:
    since, objective = stale_since(evidence.state), evidence.policy.objective
    assert since, "only what is owed is late"
    assert objective, "only a target with an objective is late"
    return span(evidence.now - since - objective)


def _stale_because(evidence: Evidence) -> str:
    """Name what arrived, or which source is ahead, and what comes next."""
    ahead = source_ahead(evidence)
    parts = [_causes(evidence)] if evidence.all_owed else []
    if ahead:
        parts.append(_ahead_in_words(ahead))
    if evidence.all_owed:
        parts.append(step(evidence))
    return "; ".join(part for part in parts if part)


def _ahead_in_words(source: SourceStatus) -> str:
    since = f" since {minute(source.since)}" if source.since else ""
    return f"{source.title} has version {source.version}{since}"


def _causes(evidence: Evidence) -> str:
    reasons = dict.fromkeys(reason for part in evidence.all_owed for reason in part.reasons)
    return ", ".join(list(reasons)[:CAUSES])


def step(evidence: Evidence) -> str:
    """Name what goes on, or what comes next: the run, the next try after a failure, or the next start."""
    run, state = evidence.state.run, evidence.state
    if run:
        return f"{SENTENCES[run.situation]}, since {minute(run.claimed_at)} ({span(evidence.now - run.claimed_at)})"
    until = _starts_at(evidence)
    start = f"a refresh starts in {span(until - evidence.now)}" if until else "a refresh is due"
    if state.failures:
        return f"{state.failures} refreshes failed in a row, the last with: {state.last_error}; {start}"
    return start


def _next_action(evidence: Evidence) -> Action:
    """Decide what to do next with the target, as the engine would."""
    deployment, target = evidence.deployment, evidence.target
    quiet_until = deployment.quiet_until.get(target.identity)
    gate = Gate(deployment.paused_since is not None, quiet_until, evidence.identity, evidence.limits)
    context = Context(target.key, evidence.policy, evidence.capabilities)
    return decide(evidence.state, context, evidence.now, gate).action


def _starts_at(evidence: Evidence) -> datetime | None:
    """When a start would be sent; None where one is due, or none is to come."""
    action = _next_action(evidence)
    until = action.until if isinstance(action, Wait | HoldBack) else None
    place_at = _place_at(evidence)
    return max(until, place_at) if until and place_at else until


def _place_at(evidence: Evidence) -> datetime | None:
    """When the target's place in the queue of starts is served; None where it has none, or that is not to come."""
    place, identity = evidence.state.place, evidence.identity
    if place is None or identity is None:
        return None
    at = pace.may_call_at(identity, place, Call.START, evidence.limits, evidence.now)
    return at if at and at > evidence.now else None


def _silent_until(evidence: Evidence) -> datetime | None:
    """Until when the platform asked for no more starts, with what spreads them after it; None where that is over."""
    old = evidence.deployment.quiet_until.get(evidence.target.identity)
    new = pace.silent_until(evidence.identity, Call.START) if evidence.identity else None
    until = max((at for at in (old, new) if at), default=None)
    return until + SPREAD if until and until > evidence.now else None


# --- The sentences after it ------------------------------------------------------------------------------------------


def _tell_arrivals(evidence: Evidence) -> Iterator[str]:
    """Tell what no finished run covers."""
    run = evidence.state.run
    covering = run.covering if run else None
    for part, what in ((evidence.state.owed, "owed"), (covering, "read by the run that goes on")):
        if part:
            first = f"{_second(part.oldest)} ({span(evidence.now - part.oldest)} ago)"
            last = "" if part.newest <= part.oldest else f", the last by {_second(part.newest)}"
            kind = " (a full refresh is asked for)" if part.full else ""
            yield (
                f"at least {part.at_least} signals are {what}{kind}: the first came at {first}{last}; "
                f"{', '.join(part.reasons)}"
            )
    if not evidence.all_owed:
        yield "nothing arrived that no finished refresh covers"


def _waits(evidence: Evidence) -> Iterator[str]:
    """Tell what a start waits for, and until when."""
    state, now = evidence.state, evidence.now
    if state.owed is None or state.run is not None or isinstance(state.hold, Paused | Cancelled):
        return
    until = _starts_at(evidence)
    if until is None or until <= now:
        yield "a refresh is due now: the next wake or tick starts it"
        return
    yield f"a refresh starts at {_second(until)}, in {span(until - now)}: it waits for {_gate(evidence, until)}"


def _gate(evidence: Evidence, until: datetime) -> str:
    """Name what holds a start back the longest: the first that reaches as far."""
    state, policy, deployment = evidence.state, evidence.policy, evidence.deployment
    owed, last = state.owed, state.last_claim_at
    assert owed, "only what is owed waits"
    action = _next_action(evidence)
    if isinstance(action, HoldBack):
        return f"the end of the day: {action.reason}"
    blocked_until = state.hold.probe_at if isinstance(state.hold, Blocked) else None
    after_failure = "the pause after a failure" if state.failures else "the time that the platform asked for"
    quiet = max(policy.quiet_period, policy.visibility_lag)
    storm = owed.oldest + policy.max_wait < owed.newest + quiet
    ready = f"the maximum wait of {span(policy.max_wait)}" if storm else f"{span(quiet)} without a further signal"
    gates = (
        (until if deployment.paused_since else None, "unstale resume --all"),
        (
            _silent_until(evidence),
            "the end of the silence that the platform asked for, or max_running makes",
        ),
        (_place_at(evidence), "its place in the queue of its identity, which many targets share"),
        (blocked_until, "the next try of what is blocked"),
        (state.not_before, after_failure),
        (last and last + policy.min_interval, f"the minimum interval of {span(policy.min_interval)} since the last"),
        (min(owed.oldest + policy.max_wait, owed.newest + quiet), ready),
    )
    return next((words for at, words in gates if at and at >= until), "the last moment that its objective allows")


def _run(evidence: Evidence) -> Iterator[str]:
    """The run that goes on: whose, since when, what the platform says, and what happens if it does not end."""
    run = evidence.state.run
    if run is None:
        yield SENTENCES[Situation.IDLE]
        return
    known = f" (run {run.run_id})" if run.run_id else ""
    yield f"{SENTENCES[run.situation]}{known}: since {_second(run.claimed_at)}, {span(evidence.now - run.claimed_at)}"
    yield f"the run is asked for again at {_second(run.next_look_at)}"
    ours = run.situation in {Situation.CLAIMED, Situation.RUNNING}
    if ours:
        timeout_at = _second(run.claimed_at + evidence.policy.timeout)
        yield f"the run is cancelled if it goes on past {timeout_at}, its timeout"


def _platform(evidence: Evidence) -> Iterator[str]:
    """The platform's own last words."""
    state = evidence.state
    if state.run and state.run.status:
        yield f"the platform calls the run {state.run.status}"
    if state.last_error:
        yield f"the platform's last words on a failure: {state.last_error}"


def _failures(evidence: Evidence) -> Iterator[str]:
    """How often the target failed, and when it is tried again."""
    state = evidence.state
    if state.failures:
        yield f"{state.failures} refreshes failed in a row"
    if isinstance(state.hold, Blocked):
        yield f"what is blocked is tried again at {_second(state.hold.probe_at)}"


def _freshness(evidence: Evidence) -> Iterator[str]:
    """Tell what speaks for and against freshness."""
    state = evidence.state
    if state.fresh_as_of:
        yield f"all that could be read before {_second(state.fresh_as_of)} is in the view: a refresh read it"
    if state.proven_as_of:
        yield f"the platform's metadata proves the view as of {_second(_shown_proof(evidence))}"
    for source in evidence.sources:
        if source.cannot:
            yield f"{source.title} cannot be looked at: {source.cannot}"
        elif source.version:
            stands = "is ahead" if _is_ahead(source, evidence) else "is read"
            yield f"{source.title} {stands}: it has version {source.version}{_since(source.since)}"
    if not (state.fresh_as_of or state.proven_as_of):
        yield f"no refresh of {evidence.target.name} is known to have succeeded"


def _across(evidence: Evidence) -> Iterator[str]:
    """Tell which targets of the other cloud come before and after this one, and what was not told in time."""
    name = evidence.target.name
    if evidence.elsewhere:
        upstreams = ", ".join(evidence.elsewhere)
        yield f"{name} comes after {upstreams} on the other cloud: unstale status says what was not told from there"
    if evidence.target.followers_across:
        followers = len(evidence.target.followers_across)
        yield f"targets on the other cloud come after {name}, and are signalled: {followers}"
    yield from evidence.untold


def _since(time: datetime | None) -> str:
    return f" since {_second(time)}" if time else ""


def _cures(evidence: Evidence, verdict: str) -> Iterator[str]:
    """Tell what the reader can do now."""
    yield from _cures_of_hold(evidence)
    if any(doubts_of_deployment(evidence.liveness, evidence.now)):
        yield WORK_CURE
    if evidence.dead_letters:
        yield "unstale redrive --dry-run shows the dead letters, unstale redrive brings them back"
    name = evidence.target.name
    if verdict == "unknown":
        yield "mend what the doubts name; until then nobody knows whether the view is fresh"
    elif verdict == "late" and evidence.state.run:
        yield f"look at the run on the platform; one that hangs is cancelled after {span(evidence.policy.timeout)}"
    elif verdict == "late":
        yield f"unstale history {name} shows the runs before; unstale refresh {name} asks for one at once"
    elif verdict == "stale":
        yield "nothing: it becomes fresh by itself"
    elif verdict in {"fresh", "proven"} and not any(_cures_of_hold(evidence)):
        yield "nothing"


def _cures_of_hold(evidence: Evidence) -> Iterator[str]:
    """How a hold ends."""
    name = evidence.target.name
    match evidence.state.hold:
        case Paused():
            yield f"unstale resume {name} lets it start again"
        case Blocked(capped=True, probe_at=until):
            yield f"nothing: it goes on at {_second(until)}; unstale refresh {name} starts it today"
        case Blocked():
            yield f"mend the reason, then unstale resume {name} tries at once; it is tried again within the hour anyway"
        case Cancelled():
            yield f"unstale resume {name} starts it again"
        case _ if evidence.deployment.paused_since:
            yield "unstale resume --all lets everything start again"


def _shown_proof(evidence: Evidence) -> datetime:
    """A proof's time as people are shown it: what came within the visibility lag before it may not be in the view."""
    assert evidence.state.proven_as_of, "only what was proven has a time of its proof"
    return evidence.state.proven_as_of - evidence.target.policy.visibility_lag


def _second(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}Z"
