"""The refresh machine: two pure functions and one table. Reading `TRANSITIONS`, at the end, is reading the product.

`fold(state, happening, terms, now)` puts what happened into the state; `decision.decide` says what to do next.
Everything rests on one inequality. A run covers a signal if and only if

    signal.time + visibility_lag <= run.claimed_at        (and the run is full if the signal asks for full)

    event time      claimed_at                                    end
       |--- lag ---|  .                                             .
       +-----------+--#=============== run ==========================#--->
       covered: this signal                                          fresh_as_of = claimed_at
                         +  a signal in here is not covered: it stays owed, and the next run starts after this one

Rule 1: everything that changes a state lives in this file. Rule 2: this file knows no platform but by `Capabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.refresh.inputs import (
    Answered,
    CancelAnswered,
    CancelIntended,
    Claimed,
    Disproved,
    Hinted,
    Input,
    Listed,
    PauseAsked,
    Planned,
    ProbeAsked,
    Proven,
    Reported,
    ResumeAsked,
    Signalled,
    Spared,
    Unsent,
    WakeSpent,
    Withdrawn,
)
from shared.refresh.owed import EARLIEST, JOBS_OPEN_MOST, covers, merge, owe, split, without
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.proven import note_run_time, prove, spare
from shared.refresh.state import Blocked, Cancelled, Ended, Outcome, Owed, Paused, Run, Signal, Situation, State
from shared.refresh.timing import (
    BACKOFF_FIRST,
    CANCEL_AGAIN,
    CLOCK_DIFFERENCE,
    LOOK_AGAIN,
    NOT_FOUND_GRACE,
    POLL_FLOOR,
    SKIP_KNOWN,
    START_WINDOW,
    TIMES_APART,
    Context,
    backoff,
    capacity_at,
    lease,
    past_timeout,
    poll_at,
    probe_at,
    settled,
    spread,
    throttled_until,
)
from shared.values import Value

INSTANT = timedelta(microseconds=1)
OVER_KEPT = 3
"""Runs of which the record remembers that their end was told. More than three do not end within `TIMES_APART`, because
a target has one run at a time and each takes a poll or two."""


class Folded(Value, frozen=True):
    """The new state, and the run that ended with it, if one did."""

    state: State
    ended: Ended | None = None


class ImpossibleInputError(Exception):
    """A pair of situation and happening that the table does not name: a bug, never a matter of timing."""


class WrongTargetError(Exception):
    """A step led to a situation that its row of the table does not name: a bug, never a matter of timing."""


def fold(state: State, given: Input, context: Context, now: datetime) -> Folded:
    """Put what happened into the state."""
    row = TRANSITIONS[state.situation].get(type(given))
    if row is None:
        message = f"{type(given).__name__} cannot happen while {state.situation} ({context.key})"
        raise ImpossibleInputError(message)
    folded = row.step(state, given, context, now)
    if folded.state.situation not in row.leads_to:
        message = f"{type(given).__name__} led from {state.situation} to {folded.state.situation} ({context.key})"
        raise WrongTargetError(message)
    if folded.ended and folded.ended.run_id:
        return replace(folded, state=_remembered(folded.state, folded.ended.run_id))
    return folded


def _remembered(state: State, run_id: str) -> State:
    """Remember that an answer told the end of this run, for rule 9: it cannot be what a later run was skipped for."""
    others = (other for other in state.known_over if other != run_id)
    return replace(state, known_over=(run_id, *others)[:OVER_KEPT])


# --- Signals, plans, people ------------------------------------------------------------------------------------------


def _signalled(state: State, given: Signalled, context: Context, now: datetime) -> Folded:
    """Rule 1: a signal is dropped (a finished run covers it), joins the running run, or is owed."""
    signal, policy = given.signal, context.policy
    if signal.job and signal.job in open_jobs(state):
        return Folded(state)  # asked again: it is known, and lifts no hold
    if signal.job and len(open_jobs(state)) >= JOBS_OPEN_MOST:
        return Folded(state)  # no room: `workload/jobs.py` asks again when Fabric polls, and says so until then
    time = min(signal.time, now + CLOCK_DIFFERENCE) + signal.extra_lag
    if signal.asked:
        time = max(time, _just_uncovered(state, policy.visibility_lag))
    elif _finished_covers(state, time, policy.visibility_lag, full=signal.full):
        return Folded(state)
    if isinstance(state.hold, Cancelled) and time > state.hold.since:
        state = replace(state, hold=None)
    run = state.run
    if run and not signal.asked and _run_covers(run, time, context, full=signal.full):
        covering = owe(run.covering, time, signal, policy)
        # Rounding must not carry it past what the run covers, or a lowered claim would owe a signal that never was.
        newest = min(covering.newest, run.claimed_at - policy.visibility_lag)
        return Folded(replace(state, run=replace(run, covering=replace(covering, newest=newest))))
    return Folded(replace(state, owed=owe(state.owed, time, signal, policy)))


def _just_uncovered(state: State, lag: timedelta) -> datetime:
    """The earliest time that neither the run in the record nor the last successful one covers."""
    claims = [at for at in (state.fresh_as_of, state.run and state.run.claimed_at) if at]
    return max(claims) - lag + INSTANT if claims else EARLIEST


def _finished_covers(state: State, time: datetime, lag: timedelta, *, full: bool) -> bool:
    as_of = state.full_as_of if full else state.fresh_as_of
    return as_of is not None and covers(as_of, time, lag)


def _run_covers(run: Run, time: datetime, context: Context, *, full: bool) -> bool:
    if run.situation in (Situation.SEEKING, Situation.CANCEL_UNCLEAR) or (full and not run.full):
        return False
    if run.situation is Situation.FOREIGN and not (context.capabilities.foreign_covers and run.created_at):
        return False
    return covers(run.claimed_at, time, context.policy.visibility_lag)


def open_jobs(state: State) -> tuple[str, ...]:
    """Fabric's, whose signals are owed, or which the run is to cover."""
    debts = (state.owed, state.run.covering if state.run else None)
    return tuple(job for debt in debts if debt for job in debt.jobs)


def _withdrawn(state: State, given: Withdrawn, _terms: Context, now: datetime) -> Folded:
    """A job's signal is taken out of the debt. A run that others share goes on; one of its own is to be cancelled.

    Only one that is known as ours: one whose start has no answer yet, once it has (`_accepted`); a foreign one never.
    Until it has ended, the run remembers the job.
    """
    state = replace(state, owed=without(state.owed, given.job))
    run = state.run
    if run is None or run.covering is None or given.job not in run.covering.jobs:
        return Folded(state)
    run = replace(run, covering=without(run.covering, given.job))
    if run.covering is None:
        run = replace(run, withdrawn=(*run.withdrawn, given.job))
    return Folded(replace(state, run=_unless_unwanted(run, now)))


def _unless_unwanted(run: Run, now: datetime) -> Run:
    """A run of ours that goes on for nobody is to be cancelled, by the way of rule 8."""
    if run.situation is not Situation.RUNNING or not run.withdrawn or run.covering:
        return run
    return replace(run, situation=Situation.OVERDUE, next_look_at=now)


def _proven(state: State, given: Proven, context: Context, _now: datetime) -> Folded:
    """Section 9, rule 6: what the view holds is owed no more."""
    return Folded(*prove(state, given, context.policy))


def _spared(state: State, given: Spared, context: Context, _now: datetime) -> Folded:
    """Section 9: what the last run read is owed no more."""
    return Folded(*spare(state, given, context.policy))


def _disproved(state: State, given: Disproved, context: Context, now: datetime) -> Folded:
    """Section 9, rule 6: a version that the view lacks is a signal, once until the next proof."""
    if state.disproved or state.owed is not None or state.run is not None:
        return Folded(state)
    signal = Signal(given.at, f"{given.source} has what the view lacks", looked=True)
    signalled = _signalled(state, Signalled(signal), context, now).state
    return Folded(replace(signalled, disproved=signalled.owed is not None))


def _planned(state: State, given: Planned, _terms: Context, _now: datetime) -> Folded:
    definition, until, again_at = given.definition, given.until, given.again_at
    return Folded(replace(state, definition=definition, planned_until=until, again_at=again_at))


def _wake_spent(state: State, given: WakeSpent, _terms: Context, _now: datetime) -> Folded:
    return Folded(replace(state, wakes=tuple(due for due in state.wakes if due != given.due)))


def _hinted(state: State, _happening: Hinted, _terms: Context, _now: datetime) -> Folded:
    return Folded(state)


def _look_now(state: State, _happening: Any, _terms: Context, now: datetime) -> Folded:
    assert state.run
    return Folded(replace(state, run=replace(state.run, next_look_at=min(state.run.next_look_at, now))))


def _paused(state: State, _happening: PauseAsked, _terms: Context, now: datetime) -> Folded:
    return Folded(state if isinstance(state.hold, Paused) else replace(state, hold=Paused(now)))


def _resumed(state: State, given: ResumeAsked, context: Context, now: datetime) -> Folded:
    if isinstance(state.hold, Paused):
        state = replace(state, hold=None)
    return _probed(state, given, context, now)


def _probed(state: State, _happening: Any, _terms: Context, now: datetime) -> Folded:
    """`refresh` and `resume`: a cancel is lifted, a block and a backoff are tried at once."""
    hold = state.hold
    if isinstance(hold, Cancelled):
        hold = None
    if isinstance(hold, Blocked):
        hold = replace(hold, probe_at=now)
        if state.run and state.situation is not Situation.CLAIMED:
            state = replace(state, run=replace(state.run, next_look_at=now))
    return Folded(replace(state, hold=hold, not_before=None))


# --- A start ---------------------------------------------------------------------------------------------------------


def _claimed(state: State, given: Claimed, context: Context, _now: datetime) -> Folded:
    """Rule 4: what the run will cover moves under it; what it cannot cover stays owed."""
    covering, owed = split(state.owed, given.at - context.policy.visibility_lag)
    run = Run(
        token=given.token,
        claimed_at=given.at,
        situation=Situation.CLAIMED,
        next_look_at=given.at + lease(context.capabilities),
        full=given.full,
        covering=covering,
        prior_claim_at=state.last_claim_at,
    )
    return Folded(replace(state, owed=owed, run=run, last_claim_at=given.at))


def _given_back(state: State) -> State:
    """No run came of the claim: its debt is owed again, and the minimum interval counts from the claim before."""
    assert state.run
    owed = merge(state.run.covering, state.owed)
    return replace(state, run=None, owed=owed, last_claim_at=state.run.prior_claim_at)


def _unsent(state: State, _happening: Unsent, _terms: Context, _now: datetime) -> Folded:
    return Folded(_given_back(state))


def _answered(state: State, given: Answered, context: Context, now: datetime) -> Folded:
    answer = given.answer
    if isinstance(answer, Started):
        return _accepted(state, answer, context, now)
    state = replace(state, last_error=str(answer))
    if answer.delivery is Delivery.UNKNOWN:
        return Folded(state)  # claimed still: rule 7 looks it up after the lease
    if answer.kind is FailureKind.ALREADY_RUNNING:
        return Folded(_seek(state, now))
    return Folded(_refused(_given_back(state), answer, context, now))


def _accepted(state: State, answer: Started, context: Context, now: datetime) -> Folded:
    """Ours, and known as ours. Without an id it stays claimed, and is looked up."""
    assert state.run
    hold = None if isinstance(state.hold, Blocked) else state.hold
    state = replace(_lowered(state, answer.created_at, context), hold=hold, refusals=0, not_before=None)
    if not answer.run_id:
        return Folded(state)
    assert state.run
    look_at = poll_at(state.run, now, answer.retry_after)
    run = replace(state.run, situation=Situation.RUNNING, run_id=answer.run_id, next_look_at=look_at)
    return Folded(replace(state, run=_unless_unwanted(run, now)))


def _refused(state: State, failure: Failure, context: Context, now: datetime) -> State:
    """Rule 9: throttled waits as told, permanent blocks, the rest backs off."""
    if failure.permanent:
        return _blocked(state, str(failure), now)
    if failure.kind is FailureKind.THROTTLED:
        return replace(state, not_before=throttled_until(failure, now) + spread(context.key))
    if failure.kind is FailureKind.NO_CAPACITY:  # no backoff: somebody resumes the capacity, and expects a refresh soon
        return replace(state, not_before=capacity_at(failure, now) + spread(context.key))
    wait = max(backoff(state.refusals + 1), failure.retry_after or timedelta(0))
    return replace(state, refusals=state.refusals + 1, not_before=now + wait + spread(context.key))


def _blocked(state: State, reason: str, now: datetime, *, stuck: bool = False) -> State:
    """Hold with a reason and probe slowly. A pause outranks it: then only the run, if any, is looked at slowly."""
    since = state.hold.since if isinstance(state.hold, Blocked) else now
    again_at = probe_at(since, now)
    run = replace(state.run, next_look_at=again_at) if state.run else None
    hold = state.hold if isinstance(state.hold, Paused) else Blocked(since, reason, again_at, stuck)
    return replace(state, run=run, hold=hold, last_error=reason)


def _lowered(state: State, created_at: datetime | None, context: Context) -> State:
    """Rule 5: the platform created the run earlier than our clock said, so it covers less than we thought.

    our clock       :            claimed_at            (ahead)
    the platform's  :   created_at  |
    a signal        :        +      |    after created_at - lag: the run may not have read it; owed again
    """
    run = state.run
    assert run
    if created_at is None:
        return state
    run = replace(run, created_at=created_at)
    if created_at < run.claimed_at:
        covering, rest = split(run.covering, created_at - context.policy.visibility_lag)
        run = replace(run, claimed_at=created_at, covering=covering)
        state = replace(state, owed=merge(rest, state.owed))
    return replace(state, run=run)


# --- Following a run -------------------------------------------------------------------------------------------------


def _reported(state: State, given: Reported, context: Context, now: datetime) -> Folded:
    """Ours: `RUNNING`, `OVERDUE` or `CANCELLING`."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _reading_failed(state, answer, context, now)
    state = _seen(state, answer, context)
    return _OURS[answer.phase](state, answer, context, now)


def _foreign_reported(state: State, given: Reported, context: Context, now: datetime) -> Folded:
    answer = given.answer
    if isinstance(answer, Failure):
        return _reading_failed(state, answer, context, now)
    state = _seen(state, answer, context)
    assert state.run
    if answer.phase is Phase.ACTIVE:
        if not past_timeout(state.run, context, now):
            return _still_going(state, answer, context, now)
        reason = f"run {answer.run_id}, which is not ours, is {answer.status} past the timeout"
        return Folded(_blocked(state, reason, now, stuck=True))
    if answer.phase is Phase.UNKNOWN and not past_timeout(state.run, context, now):
        return _still_going(state, answer, context, now)
    if answer.phase is Phase.SUCCEEDED:
        return _succeeded(state, answer, context, now)
    outcome = Outcome.LOST if answer.phase is Phase.UNKNOWN else Outcome.FAILED
    return _not_ours_ended(state, answer, outcome, now)


def _seen(state: State, report: Report, context: Context) -> State:
    """Any report: its creation time may lower ours, its status is kept."""
    state = _lowered(_heard(state), report.created_at, context)
    assert state.run
    known = report.phase is not Phase.UNKNOWN
    return replace(state, run=replace(state.run, status=report.status, status_known=known))


def _heard(state: State) -> State:
    """The platform answers: a block that was about asking is over. One that stands for a run ends with the run."""
    asking = isinstance(state.hold, Blocked) and not state.hold.stuck
    return replace(state, hold=None) if asking else state


def _still_going(state: State, report: Report, context: Context, now: datetime) -> Folded:
    """Running, or of a status nobody documented: ask again. Past its timeout, ours is to be cancelled (rule 8)."""
    run = state.run
    assert run
    situation = run.situation
    if situation is Situation.CANCELLING:
        due = run.cancel_again_at is None or now >= run.cancel_again_at
    else:
        due = situation is not Situation.FOREIGN and past_timeout(run, context, now)
    if due:
        return Folded(replace(state, run=replace(run, situation=Situation.OVERDUE, next_look_at=now)))
    return Folded(replace(state, run=replace(run, next_look_at=poll_at(run, now, report.retry_after))))


def _succeeded(state: State, report: Report, context: Context, now: datetime) -> Folded:
    run = state.run
    assert run
    foreign = run.situation is Situation.FOREIGN
    if foreign and (run.rival_since or not (context.capabilities.foreign_covers and run.created_at)):
        return _not_ours_ended(state, report, Outcome.SUCCEEDED, now)
    full = report.full is True or (run.full and not foreign)
    fresh_as_of = _later(state.fresh_as_of, run.claimed_at)
    done = replace(
        _without_run(state),
        fresh_as_of=fresh_as_of,
        full_as_of=_later(state.full_as_of, run.claimed_at) if full else state.full_as_of,
        failures=state.failures if foreign else 0,
        not_before=state.not_before if foreign else None,
        last_error="",
    )
    if context.policy.start == "just-in-time" and not foreign:
        done = note_run_time(done, (report.ended_at or now) - run.claimed_at)
    return Folded(done, _entry(run, Outcome.SUCCEEDED, report, now, full=full))


def _failed(state: State, report: Report, context: Context, now: datetime) -> Folded:
    """Rule 5: owed again, with backoff; `after_failures` counts these."""
    run = state.run
    assert run
    failures = state.failures + 1
    owed = merge(run.covering, state.owed)
    not_before = now + backoff(failures) + spread(context.key)
    error = report.error or report.status
    state = replace(_without_run(state), owed=owed, failures=failures, not_before=not_before, last_error=error)
    return Folded(state, _entry(run, Outcome.FAILED, report, now))


def _ours_cancelled(state: State, report: Report, context: Context, now: datetime) -> Folded:
    """Our own cancel is a failure, a person's is respected, and where the platform skips, the list decides which.

    The end of a run that was to be cancelled because its jobs were withdrawn is what was wanted.
    """
    run = state.run
    assert run
    if run.withdrawn and (run.cancel_asked or not run.covering):
        over = replace(_without_run(state), owed=merge(run.covering, state.owed))
        return Folded(over, _entry(run, Outcome.CANCELLED, report, now))
    if run.cancel_asked:
        timed_out = replace(report, error=f"cancelled by us: not done within {context.policy.timeout}")
        return _failed(state, timed_out, context, now)
    if context.capabilities.skips:
        doubted = replace(
            run,
            situation=Situation.CANCEL_UNCLEAR,
            next_look_at=now,
            ended_at=report.ended_at or now,
            status=report.status,
        )
        return Folded(replace(state, run=doubted))
    return _person_cancelled(state, report.ended_at or now, now)


def _person_cancelled(state: State, ended_at: datetime, now: datetime) -> Folded:
    """Rule 9: the debt stays and the hold says so, unless a signal later than the end is owed already.

    `newest` is rounded up: in doubt a signal counts as later, because a refresh too many is the lesser evil.
    """
    run = state.run
    assert run
    later = state.owed is not None and state.owed.newest > ended_at
    state = replace(_without_run(state), owed=merge(run.covering, state.owed), last_error="cancelled on the platform")
    if not later and not isinstance(state.hold, Paused):
        state = replace(state, hold=Cancelled(ended_at))
    report = Report(run.run_id, Phase.CANCELLED, run.status, ended_at=ended_at)
    return Folded(state, _entry(run, Outcome.CANCELLED, report, now))


def _ours_skipped(state: State, report: Report, _terms: Context, now: datetime) -> Folded:
    """Never a success and never a failure: another run was there, so it is looked for."""
    assert state.run
    return Folded(_seek(state, now), _entry(state.run, Outcome.SKIPPED, report, now))


_OURS: Mapping[Phase, Callable[[State, Report, Context, datetime], Folded]] = {
    Phase.ACTIVE: _still_going,
    Phase.UNKNOWN: _still_going,
    Phase.SUCCEEDED: _succeeded,
    Phase.FAILED: _failed,
    Phase.CANCELLED: _ours_cancelled,
    Phase.SKIPPED: _ours_skipped,
}


def _not_ours_ended(state: State, report: Report, outcome: Outcome, now: datetime) -> Folded:
    """A foreign run that covers nothing: whatever it was to cover is owed; its failure is not ours."""
    run = state.run
    assert run
    state = replace(_without_run(state), owed=merge(run.covering, state.owed))
    if run.rival_since:
        sought = _sought(run.token, run.rival_since, now, rival_since=run.rival_since)
        state = replace(state, run=replace(sought, withdrawn=run.withdrawn))
    return Folded(state, _entry(run, outcome, report, now))


def _reading_failed(state: State, failure: Failure, context: Context, now: datetime) -> Folded:
    """An error of a poll or a look-up never ends a run; only a 404 past the grace period says that it vanished."""
    run = state.run
    assert run
    if failure.kind is FailureKind.NOT_FOUND and now - run.claimed_at > NOT_FOUND_GRACE:
        return _vanished(state, failure, context, now)
    if failure.permanent:
        return Folded(_blocked(state, str(failure), now))
    look_at = poll_at(run, now, None)
    if failure.kind is FailureKind.THROTTLED:
        look_at = throttled_until(failure, now)
    if failure.kind is FailureKind.NO_CAPACITY:
        look_at = capacity_at(failure, now)
    return Folded(replace(state, run=replace(run, next_look_at=look_at), last_error=str(failure)))


def _vanished(state: State, failure: Failure, context: Context, now: datetime) -> Folded:
    assert state.run
    gone = Report(state.run.run_id, Phase.FAILED, "vanished", error=f"the run vanished: {failure}")
    if state.run.situation is Situation.FOREIGN:
        return _not_ours_ended(state, gone, Outcome.LOST, now)
    return _failed(state, gone, context, now)


def _without_run(state: State) -> State:
    """The run is over: a block that stood for it falls with it."""
    return replace(state, run=None, hold=None if isinstance(state.hold, Blocked) else state.hold)


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _entry(run: Run, outcome: Outcome, report: Report, now: datetime, *, full: bool | None = None) -> Ended:
    return Ended(
        token=run.token,
        outcome=outcome,
        claimed_at=run.claimed_at,
        ended_at=report.ended_at or now,
        run_id=run.run_id,
        foreign=run.situation is Situation.FOREIGN,
        full=run.full if full is None else full,
        signals=run.covering.at_least if run.covering else 0,
        reasons=run.covering.reasons if run.covering else (),
        error=report.error,
        dpu_seconds=report.dpu_seconds,
        jobs=_jobs_of(run),
    )


def _jobs_of(run: Run) -> tuple[str, ...]:
    """Those that it was to cover, and those withdrawn since: if it succeeds all the same, they have succeeded."""
    covered = tuple(run.covering.jobs) if run.covering else ()
    return covered if run.situation is Situation.FOREIGN else (*covered, *run.withdrawn)


# --- Looking up ------------------------------------------------------------------------------------------------------


def _seek(state: State, now: datetime) -> State:
    """Rule 6: another run is there. Our debt is owed again; `claimed_at` stays, to know when the list must show it."""
    run = state.run
    assert run
    return replace(_given_back(state), run=_sought(run.token, run.claimed_at, now))


def _sought(token: str, claimed_at: datetime, now: datetime, *, rival_since: datetime | None = None) -> Run:
    return Run(token, claimed_at, Situation.SEEKING, next_look_at=now, rival_since=rival_since)


def _listed_claimed(state: State, given: Listed, context: Context, now: datetime) -> Folded:
    """Rule 7: the outcome of our start is unknown; the list says. A failed listing is not "none"."""
    answer, run = given.answer, state.run
    assert run
    if isinstance(answer, Failure):
        return _reading_failed(state, answer, context, now)
    state = _heard(state)
    earliest = run.claimed_at - CLOCK_DIFFERENCE
    found = _pick(report for report in answer if report.created_at is None or report.created_at >= earliest)
    if found is None:
        return Folded(_given_back(state))
    rivals = any(_may_be_ours(report, run.claimed_at, context) for report in answer if report is not found)
    return Folded(_adopted(state, found, context, now, rival_since=run.claimed_at if rivals else None))


def _may_be_ours(report: Report, claimed_at: datetime, context: Context) -> bool:
    """Whether a run that goes on may be what our claim started. More than one may, where runs can overlap.

    claimed_at - difference              + window, call time-out, difference
         |------------- created in here may be ours --------|

    Where the platform has a queue, what it calls the creation may be when the run left it: longer after by that.
    """
    if report.phase not in (Phase.ACTIVE, Phase.UNKNOWN):
        return False
    queued = context.policy.timeout if context.capabilities.skips else timedelta(0)
    latest = claimed_at + START_WINDOW + context.capabilities.call_timeout + CLOCK_DIFFERENCE + queued
    return report.created_at is None or claimed_at - CLOCK_DIFFERENCE <= report.created_at <= latest


def _listed_sought(state: State, given: Listed, context: Context, now: datetime) -> Folded:
    answer, run = given.answer, state.run
    assert run
    if isinstance(answer, Failure):
        return _reading_failed(state, answer, context, now)
    state = _heard(state)
    oldest = now - context.policy.timeout
    since = run.rival_since
    running = [report for report in answer if _may_be_running(report, oldest)]
    wanted = [report for report in running if since is None or _may_be_ours(report, since, context)]
    found = _pick(wanted)
    if found is not None:
        return Folded(_adopted(state, found, context, now, rival_since=since if len(wanted) > 1 else None))
    if now >= run.claimed_at + settled(context.capabilities):
        return Folded(replace(state, run=None))
    return Folded(replace(state, run=replace(run, next_look_at=now + LOOK_AGAIN)))


def _may_be_running(report: Report, oldest: datetime) -> bool:
    if report.phase is Phase.UNKNOWN:
        return report.created_at is None or report.created_at > oldest
    return report.phase is Phase.ACTIVE


def _pick(reports: Iterable[Report]) -> Report | None:
    """Running ones first, then unknown statuses, then ended ones; the newest of them."""
    rank = {Phase.ACTIVE: 2, Phase.UNKNOWN: 1}
    return max(reports, key=lambda r: (rank.get(r.phase, 0), r.created_at or EARLIEST), default=None)


def _adopted(
    state: State, report: Report, context: Context, now: datetime, *, rival_since: datetime | None = None
) -> State:
    """Follow a run that we cannot tell from someone else's. It covers what the platform's own times say, or nothing."""
    run = state.run
    assert run
    covering, owed = _foreign_share(merge(run.covering, state.owed), report, context)
    adopted = Run(
        token=run.token,
        claimed_at=report.created_at or run.claimed_at,
        situation=Situation.FOREIGN,
        next_look_at=now,
        run_id=report.run_id,
        full=report.full is True,
        covering=covering,
        created_at=report.created_at,
        rival_since=rival_since,
        status=report.status,
        withdrawn=run.withdrawn,
    )
    if report.phase is Phase.ACTIVE:
        adopted = replace(adopted, next_look_at=poll_at(adopted, now, report.retry_after))
    return replace(state, run=adopted, owed=owed)


def _foreign_share(debt: Owed | None, report: Report, context: Context) -> tuple[Owed | None, Owed | None]:
    if debt is None or debt.asked or not context.capabilities.foreign_covers or report.created_at is None:
        return None, debt
    if debt.full and report.full is not True:
        return None, debt
    return split(debt, report.created_at - context.policy.visibility_lag)


def _listed_doubted(state: State, given: Listed, context: Context, now: datetime) -> Folded:
    """Rule 9: ours ended Cancelled. A skip, if another instance ran when ours was created; else a person's cancel."""
    answer, run = given.answer, state.run
    assert run
    if isinstance(answer, Failure):
        return _reading_failed(state, answer, context, now)
    state = _heard(state)
    created_at = run.created_at or run.claimed_at
    others = tuple(report for report in answer if report.run_id != run.run_id and not _was_over(report, state))
    lasted = (run.ended_at or now) - created_at
    there = [report for report in others if _ran_at(report, created_at, queued=lasted <= SKIP_KNOWN)]
    if there:
        skipped = _ours_skipped(
            state, Report(run.run_id, Phase.SKIPPED, run.status, ended_at=run.ended_at), context, now
        )
        active = _pick(report for report in others if _may_be_running(report, now - context.policy.timeout))
        if active:
            return Folded(_adopted(skipped.state, active, context, now), skipped.ended)
        after = replace(skipped.state, run=None)
        if all(report.phase is Phase.UNKNOWN for report in there):
            # Past the timeout it may be over, and a person may have cancelled ours: not held, but in no hurry either.
            after = replace(after, last_claim_at=run.claimed_at, not_before=now + BACKOFF_FIRST)
        return Folded(after, skipped.ended)
    decided_at = created_at + settled(context.capabilities)
    if now < decided_at:
        look_at = min(decided_at, now + LOOK_AGAIN)
        return Folded(replace(state, run=replace(run, next_look_at=look_at)))
    return _person_cancelled(state, run.ended_at or now, now)


def _was_over(report: Report, state: State) -> bool:
    """Whether an answer had told the end of this run before ours was started: then it was in nobody's way."""
    return report.run_id in state.known_over and report.phase not in (Phase.ACTIVE, Phase.UNKNOWN)


def _ran_at(report: Report, moment: datetime, *, queued: bool) -> bool:
    """Whether another run was there, or may have been: the platform's times are inexact (`TIMES_APART`).

    It may have been in the queue, too, for its start time moves when it begins.

    the other  :  created . . queue . . begins ============
    ours       :             + skipped          in the list it began later than ours was created
    """
    if not queued and report.created_at is not None and report.created_at > moment:
        return False
    if report.phase in (Phase.ACTIVE, Phase.UNKNOWN):
        return True
    if report.phase is Phase.SKIPPED or report.ended_at is None:
        return False
    return report.ended_at >= moment - TIMES_APART


# --- Cancelling ------------------------------------------------------------------------------------------------------


def _cancel_intended(state: State, _happening: CancelIntended, _terms: Context, now: datetime) -> Folded:
    assert state.run
    run = replace(
        state.run,
        situation=Situation.CANCELLING,
        cancel_asked=True,
        cancel_again_at=now + CANCEL_AGAIN,
        next_look_at=now + POLL_FLOOR,
    )
    return Folded(replace(state, run=run))


def _cancel_answered(state: State, given: CancelAnswered, context: Context, now: datetime) -> Folded:
    """Accepted: poll to the end. Over: it ended by itself. Cannot: blocked with that reason, and still followed.

    One within its timeout, whose jobs were withdrawn, is no reason to block: it will end by itself.
    """
    failure, run = given.answer, state.run
    assert run
    if failure is None:
        return Folded(state)
    if failure.kind is FailureKind.OVER:
        if run.status_known:
            return Folded(replace(state, run=replace(run, next_look_at=now)))
        over = Report(run.run_id, Phase.FAILED, run.status, error=f"over, with status {run.status!r} that nobody knows")
        return _failed(state, over, context, now)
    if failure.permanent and not (run.withdrawn and not past_timeout(run, context, now)):
        return Folded(_blocked(state, f"past its timeout and cannot be cancelled: {failure}", now, stuck=True))
    again_at = now + BACKOFF_FIRST
    if failure.kind is FailureKind.THROTTLED:
        again_at = throttled_until(failure, now)
    return Folded(replace(state, run=replace(run, cancel_again_at=again_at), last_error=str(failure)))


# --- The table -------------------------------------------------------------------------------------------------------

# The machine follows one run of one target from our claim to its end. Situations are where that run stands, inputs are
# what people, sources, the calendar and the platform say, and a row names the step that folds an input in, with every
# situation that the step may lead to. A pair that no row names cannot happen, and a step that leads elsewhere than its
# row says is a bug: `fold` raises in both cases, so each simulated history checks the whole table.
#
#                     accepted               an end
#     IDLE -> CLAIMED ---------> RUNNING ------------------------------> IDLE
#               |  | already          | past its timeout, or unwanted
#               |  |  running         +--> OVERDUE <--> CANCELLING ----> IDLE
#               |  +-----> SEEKING    | cancelled: by whom?
#               |            | found  +--> CANCEL_UNCLEAR -------------> IDLE (a person did), FOREIGN (a run in its way)
#               +-> FOREIGN <+  the list showed a run, ours or anybody's; followed to its end, never cancelled
#        looked up after the lease
#
# What comes from people, sources and the calendar changes what is owed or held and leaves the run where it is; only the
# withdrawal of a job can make a running run unwanted.

Step = Callable[[State, Any, Context, datetime], Folded]


class Row(Value, frozen=True):
    """One row of the table: the step that folds an input in, and all situations that the step may lead to."""

    step: Step
    leads_to: frozenset[Situation]


def _row(step: Step, *leads_to: Situation) -> Row:
    return Row(step, frozenset(leads_to))


def _anytime(situation: Situation, *, hinted: Step = _hinted) -> dict[type, Row]:
    """The rows that every situation has; none of them moves the run."""
    steps: dict[type, Step] = {
        Signalled: _signalled,
        Planned: _planned,
        PauseAsked: _paused,
        ResumeAsked: _resumed,
        ProbeAsked: _probed,
        WakeSpent: _wake_spent,
        Withdrawn: _withdrawn,
        Hinted: hinted,
        Proven: _proven,
        Disproved: _disproved,
        Spared: _spared,
    }
    return {given: _row(step, situation) for given, step in steps.items()}


_S = Situation

TRANSITIONS: Mapping[Situation, Mapping[type, Row]] = {
    # No run. Only a claim begins one.
    _S.IDLE: {
        **_anytime(_S.IDLE),
        Claimed: _row(_claimed, _S.CLAIMED),
    },
    # A start was claimed, and is sent by whoever won the claim.
    _S.CLAIMED: {
        **_anytime(_S.CLAIMED),
        Unsent: _row(_unsent, _S.IDLE),
        # Accepted (at once unwanted where its jobs were withdrawn); no id or no answer; another run is there; refused.
        Answered: _row(_answered, _S.RUNNING, _S.OVERDUE, _S.CLAIMED, _S.SEEKING, _S.IDLE),
        # Found; nothing found, or the item is gone; the list failed.
        Listed: _row(_listed_claimed, _S.FOREIGN, _S.IDLE, _S.CLAIMED),
    },
    # Ours, accepted, and polled.
    _S.RUNNING: {
        **_anytime(_S.RUNNING, hinted=_look_now),
        Withdrawn: _row(_withdrawn, _S.RUNNING, _S.OVERDUE),
        # Goes on; past its timeout; an end; Cancelled, by whom?; skipped.
        Reported: _row(_reported, _S.RUNNING, _S.OVERDUE, _S.IDLE, _S.CANCEL_UNCLEAR, _S.SEEKING),
    },
    # To be cancelled: past its timeout, or nobody wants it any more.
    _S.OVERDUE: {
        **_anytime(_S.OVERDUE, hinted=_look_now),
        CancelIntended: _row(_cancel_intended, _S.CANCELLING),
        Reported: _row(_reported, _S.OVERDUE, _S.IDLE, _S.CANCEL_UNCLEAR, _S.SEEKING),
    },
    # Our intent to cancel is saved; polled to the end.
    _S.CANCELLING: {
        **_anytime(_S.CANCELLING, hinted=_look_now),
        # The platform will end it, or cannot now; it is over, with a status that nobody knows.
        CancelAnswered: _row(_cancel_answered, _S.CANCELLING, _S.IDLE),
        # Goes on; still there after five minutes, so cancelled again; an end; skipped.
        Reported: _row(_reported, _S.CANCELLING, _S.OVERDUE, _S.IDLE, _S.SEEKING),
    },
    # It ended Cancelled where that may mean "skipped".
    _S.CANCEL_UNCLEAR: {
        **_anytime(_S.CANCEL_UNCLEAR),
        # A run that was in its way goes on; that run is over, or a person cancelled ours; not decided yet.
        Listed: _row(_listed_doubted, _S.FOREIGN, _S.IDLE, _S.CANCEL_UNCLEAR),
    },
    # The platform says that another run is there.
    _S.SEEKING: {
        **_anytime(_S.SEEKING),
        # Found; the list would show it by now; not yet.
        Listed: _row(_listed_sought, _S.FOREIGN, _S.IDLE, _S.SEEKING),
    },
    # Someone else's run, or one that cannot be told from it.
    _S.FOREIGN: {
        **_anytime(_S.FOREIGN, hinted=_look_now),
        # Goes on; an end; an end while another one may be what came of our claim.
        Reported: _row(_foreign_reported, _S.FOREIGN, _S.IDLE, _S.SEEKING),
    },
}
