"""The refresh machine: two pure functions and one table. Reading `TRANSITIONS`, at the end, is reading the product.

`fold(state, given, context, now)` folds an input into the state; `decide.decide` says what to do next.
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
from itertools import islice
from typing import Any

from msgspec.structs import replace

from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.refresh.inputs import (
    Answered,
    CancelAnswered,
    CancelIntended,
    CapReached,
    Claimed,
    Delivered,
    Disproved,
    Hinted,
    Input,
    Listed,
    PauseAsked,
    Placed,
    Planned,
    ProbeAsked,
    Proven,
    Reported,
    ResumeAsked,
    Signalled,
    SourcesHeard,
    Spared,
    Told,
    Unsent,
    WakeSpent,
    Withdrawn,
)
from shared.refresh.outbox import note_delivered, note_told
from shared.refresh.owed import EARLIEST, JOBS_OPEN_MOST, covers, merge, owe, split, without
from shared.refresh.pace import count_start, uncount_start
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.proven import note_run_time, prove, spare
from shared.refresh.state import Blocked, Cancelled, Ended, Outcome, Owed, Paused, Run, Signal, Situation, State
from shared.refresh.timing import (
    BACKOFF_FIRST,
    CANCEL_AGAIN,
    CLOCK_DIFFERENCE,
    LIST_AGAIN,
    NOT_FOUND_GRACE,
    POLL_FLOOR,
    SKIP_KNOWN,
    START_WINDOW,
    TIMES_APART,
    UNREAD_MOST,
    Context,
    backoff,
    capacity_at,
    lease,
    past_timeout,
    poll_at,
    poll_at_usual_end,
    probe_at,
    settling_time,
    spread,
    throttled_until,
)
from shared.times import INSTANT
from shared.values import Value

END_KEPT = TIMES_APART + 2 * CLOCK_DIFFERENCE
"""How long the record remembers that an end was told: an end before that is too long ago to have skipped the next run,
by whatever clocks. Skips follow one another within a minute where a run of unknown status stays in the way."""
ENDS_MOST = 40
"""Ends that a record remembers, so that it stays small: one in ten seconds, where a poll alone takes five."""


class Folded(Value, frozen=True):
    """The new state, and the run that ended with it, if one did."""

    state: State
    ended: Ended | None = None


class ImpossibleInputError(Exception):
    """A pair of situation and input that the table does not name: a bug, never a matter of timing."""


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
    if isinstance(given, Answered | Reported | Listed):
        folded = replace(folded, state=_use_place(folded.state, given))
    if folded.ended and folded.ended.run_id:
        return replace(folded, state=_remember_end(folded.state, folded.ended.run_id, now))
    return folded


def _use_place(state: State, given: Answered | Reported | Listed) -> State:
    """An answer uses up the place of the call, but for a refusal: that place is served when the silence ends."""
    refused = isinstance(given.answer, Failure) and given.answer.kind is FailureKind.THROTTLED
    return state if refused else replace(state, place=None)


def run_of(state: State) -> Run:
    """The run of a record whose situation has a run: every situation but `IDLE`."""
    assert state.run, "only an idle record has no run, and whoever asks for the run knows that the record is not idle"
    return state.run


def _remember_end(state: State, run_id: str, now: datetime) -> State:
    """Remember that an answer told the end of this run, for rule 9: a later run was not skipped because of it."""
    recent = {other: told_at for other, told_at in state.known_ends.items() if now - told_at <= END_KEPT}
    known = {run_id: now} | {other: told_at for other, told_at in recent.items() if other != run_id}
    return replace(state, known_ends=dict(islice(known.items(), ENDS_MOST)))


# --- Signals, plans, people ------------------------------------------------------------------------------------------


def _take_signal(state: State, given: Signalled, context: Context, now: datetime) -> Folded:
    """Rule 1: a signal is dropped (a finished run covers it), joins the running run, or is owed."""
    signal, policy = given.signal, context.policy
    if signal.job and signal.job in open_jobs(state):
        return Folded(state)  # asked again: it is known, and lifts no hold
    if signal.job and len(open_jobs(state)) >= JOBS_OPEN_MOST:
        return Folded(state)  # no room: `workload/jobs.py` asks again when Fabric polls, and says so until then
    time = min(signal.time, now + CLOCK_DIFFERENCE) + signal.extra_lag
    if signal.asked or signal.unseen:
        time = max(time, _just_uncovered(state, policy.visibility_lag))
    elif _finished_covers(state, time, policy.visibility_lag, full=signal.full):
        return Folded(state)
    if isinstance(state.hold, Cancelled) and time > state.hold.since:
        state = replace(state, hold=None)
    run = state.run
    if run and not signal.asked and _run_covers(run, time, context, full=signal.full):
        return Folded(replace(state, run=_join(run, time, signal, context)))
    return Folded(replace(state, owed=owe(state.owed, time, signal, policy)))


def _join(run: Run, time: datetime, signal: Signal, context: Context) -> Run:
    """Add a signal to what the run is to cover.

    Rounding must not carry `newest` past what the run covers, or a lowered claim would owe a signal that never was.
    """
    covering = owe(run.covering, time, signal, context.policy)
    newest = min(covering.newest, run.claimed_at - context.policy.visibility_lag)
    covering = replace(covering, newest=newest)
    return replace(run, covering=covering)


def _just_uncovered(state: State, lag: timedelta) -> datetime:
    """The earliest time that neither the run in the record nor the last successful one covers."""
    claims = [at for at in (state.fresh_as_of, state.run and state.run.claimed_at) if at]
    return max(claims) - lag + INSTANT if claims else EARLIEST


def _finished_covers(state: State, time: datetime, lag: timedelta, *, full: bool) -> bool:
    """Whether the last successful run read what a signal of this time tells of; a full signal asks for a full run."""
    as_of = state.full_as_of if full else state.fresh_as_of
    return as_of is not None and covers(as_of, time, lag)


def _run_covers(run: Run, time: datetime, context: Context, *, full: bool) -> bool:
    """Whether the run in the record will have read what a signal of this time tells of.

    A run that we only look for, or whose end is unclear, covers nothing: there may be no such run. A foreign run covers
    only where foreign runs read what ours would, and where the platform told when the run was created.
    """
    if run.situation in (Situation.SEEKING, Situation.CANCEL_UNCLEAR) or (full and not run.full):
        return False
    if run.situation is Situation.FOREIGN and not (context.capabilities.foreign_covers and run.created_at):
        return False
    return covers(run.claimed_at, time, context.policy.visibility_lag)


def open_jobs(state: State) -> tuple[str, ...]:
    """Ids of Fabric's jobs whose signals are owed, or which the run is to cover."""
    parts = (state.owed, state.run.covering if state.run else None)
    return tuple(job for part in parts if part for job in part.jobs)


def _withdraw_job(state: State, given: Withdrawn, _context: Context, now: datetime) -> Folded:
    """Take a job's signal out of what is owed, and out of what the run is to cover.

    A run that was started for other signals, too, goes on. One that was started for withdrawn jobs alone is to be
    cancelled, if it is known as ours: a start without an answer is judged once the answer is there (`_accept`), and a
    foreign run is never cancelled. Until the run has ended, it remembers the job.
    """
    state = replace(state, owed=without(state.owed, given.job))
    run = state.run
    if run is None or run.covering is None or given.job not in run.covering.jobs:
        return Folded(state)
    run = replace(run, covering=without(run.covering, given.job))
    if run.covering is None:
        run = replace(run, withdrawn=(*run.withdrawn, given.job))
    return Folded(replace(state, run=_cancel_if_unwanted(run, now)))


def _cancel_if_unwanted(run: Run, now: datetime) -> Run:
    """If all jobs that the run was started for are withdrawn, mark it OVERDUE, so that rule 8 cancels it."""
    if run.situation is not Situation.RUNNING or not run.withdrawn or run.covering:
        return run
    return replace(run, situation=Situation.OVERDUE, next_look_at=now)


def _apply_proof(state: State, given: Proven, context: Context, _now: datetime) -> Folded:
    """Section 9, rule 6: what the view holds is owed no more."""
    return Folded(*prove(state, given, context.policy))


def _apply_spare(state: State, given: Spared, context: Context, _now: datetime) -> Folded:
    """Section 9: what the last run read is owed no more."""
    return Folded(*spare(state, given, context.policy))


def _apply_disproof(state: State, given: Disproved, context: Context, now: datetime) -> Folded:
    """Section 9, rule 6: a version that the view lacks is a signal, once until the next proof."""
    if state.disproved or state.owed is not None or state.run is not None:
        return Folded(state)
    signal = Signal(given.at, f"{given.source} has what the view lacks", looked=True)
    signalled = _take_signal(state, Signalled(signal), context, now).state
    return Folded(replace(signalled, disproved=signalled.owed is not None))


def _note_silence(state: State, given: SourcesHeard, _context: Context, _now: datetime) -> Folded:
    """Section 10: a target whose sources cannot be read is as good as held, and released when they can."""
    return Folded(replace(state, told_silent=given.is_silent))


def _note_told(state: State, given: Told, _context: Context, _now: datetime) -> Folded:
    """Rule 10: how far followers were told, put into whatever the record has become meanwhile."""
    return Folded(replace(state, outbox=note_told(state.outbox, given)))


def _note_delivered(state: State, given: Delivered, _context: Context, _now: datetime) -> Folded:
    """Section 10: how far outcome events were delivered, put into whatever the record has become meanwhile."""
    return Folded(replace(state, outbox=note_delivered(state.outbox, given)))


def _note_plan(state: State, given: Planned, _context: Context, _now: datetime) -> Folded:
    """Keep what the current edition planned the record for, and up to when schedules were turned into signals.

    With other sources, or without looks, nobody may come to say that what was silent speaks again.
    """
    is_heard_of = given.definition == state.definition and given.judged_by.look is not None
    return Folded(
        replace(
            state,
            definition=given.definition,
            planned_until=given.until,
            again_at=given.again_at,
            edition=given.edition,
            judged_by=given.judged_by,
            told_silent=state.told_silent and is_heard_of,
        )
    )


def _forget_wake(state: State, given: WakeSpent, _context: Context, _now: datetime) -> Folded:
    """Rule 13: a wake that arrived is not on its way any more, so another may be sent for the same moment."""
    return Folded(replace(state, wakes=tuple(due for due in state.wakes if due != given.due)))


def _ignore_hint(state: State, _given: Hinted, _context: Context, _now: datetime) -> Folded:
    """A hint that a run ended says nothing where no run is polled."""
    return Folded(state)


def _poll_now(state: State, run: Run, _given: Hinted, _context: Context, now: datetime) -> Folded:
    """A hint that the run ended brings the next poll forward; only the poll itself says how the run ended.

    The platform may show the end later than it tells it, so the polls after that one do not wait for the usual end.
    """
    return _wait_until(state, replace(run, hinted=True), min(run.next_look_at, now))


def _wait_until(state: State, run: Run, moment: datetime) -> Folded:
    """Leave the run where it is, to be polled, listed or cancelled at that moment."""
    run = replace(run, next_look_at=moment)
    return Folded(replace(state, run=run))


def _pause(state: State, _given: PauseAsked, _context: Context, now: datetime) -> Folded:
    """A person's pause replaces every other hold; a second pause keeps the time of the first."""
    return Folded(state if isinstance(state.hold, Paused) else replace(state, hold=Paused(now)))


def _resume(state: State, _given: ResumeAsked, _context: Context, now: datetime) -> Folded:
    """`resume` lifts a pause, and else does what `refresh` does to a hold."""
    if isinstance(state.hold, Paused):
        state = replace(state, hold=None)
    return Folded(_probe(state, now))


def _probe(state: State, now: datetime) -> State:
    """`refresh` and `resume`: a cancel is lifted, a block and a backoff are tried at once.

    A claim is not looked up sooner: before its lease is over, the list cannot show that nothing was started.
    """
    hold, run = state.hold, state.run
    if isinstance(hold, Cancelled):
        hold = None
    if isinstance(hold, Blocked) and not hold.capped:
        hold = replace(hold, probe_at=now)
        if run and run.situation is not Situation.CLAIMED:
            run = replace(run, next_look_at=now)
    return replace(state, hold=hold, run=run, not_before=None)


def _hurry(state: State, _given: ProbeAsked, _context: Context, now: datetime) -> Folded:
    """A person's `refresh` does what `resume` does to a hold, and waits for no place and for no other day."""
    if state.owed:
        state = replace(state, owed=replace(state.owed, by_person=True))
    return Folded(_probe(state, now))


def _take_place(state: State, given: Placed, _context: Context, _now: datetime) -> Folded:
    """Rule 15: a target has one place at a time, the last that it took."""
    return Folded(replace(state, place=given.place))


def _hold_back(state: State, given: CapReached, _context: Context, now: datetime) -> Folded:
    """A cap of starts a day blocks the target until the day is over, whatever it was blocked for before."""
    hold = state.hold
    since = hold.since if isinstance(hold, Blocked) and hold.capped else now
    return Folded(replace(state, hold=Blocked(since, given.reason, given.until, capped=True)))


# --- A start ---------------------------------------------------------------------------------------------------------


def _claim(state: State, given: Claimed, context: Context, _now: datetime) -> Folded:
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
    today = state.today if context.policy.max_starts_per_day is None else count_start(state.today, given.at)
    return Folded(replace(state, owed=owed, run=run, last_claim_at=given.at, today=today))


def _give_back(state: State, run: Run) -> State:
    """No run came of the claim: what it covered is owed again; the minimum interval counts from the claim before."""
    owed, today = merge(run.covering, state.owed), uncount_start(state.today, run.claimed_at)
    return replace(state, run=None, owed=owed, last_claim_at=run.prior_claim_at, today=today)


def _give_back_unsent(state: State, run: Run, _given: Unsent, _context: Context, _now: datetime) -> Folded:
    """Rule 4: whoever won the claim was too slow to send the start, and nothing was sent."""
    return Folded(_give_back(state, run))


def _take_answer(state: State, run: Run, given: Answered, context: Context, now: datetime) -> Folded:
    """The platform's answer to our start: accepted, unknown, already running, or refused."""
    answer = given.answer
    if isinstance(answer, Started):
        return _accept(state, run, answer, context, now)
    state = replace(state, last_error=str(answer))
    if answer.delivery is Delivery.UNKNOWN:
        return Folded(state)  # claimed still: rule 7 looks it up after the lease
    if answer.kind is FailureKind.ALREADY_RUNNING:
        return Folded(_seek(state, run, now))
    return Folded(_refuse(_give_back(state, run), answer, context, now))


def _accept(state: State, run: Run, answer: Started, context: Context, now: datetime) -> Folded:
    """The platform accepted our start. Without an id the run stays claimed, and is looked up."""
    hold = None if isinstance(state.hold, Blocked) else state.hold
    state, run = _lower_claim(state, run, answer.created_at, context)
    if answer.run_id:
        run = replace(run, situation=Situation.RUNNING, run_id=answer.run_id)
        run = replace(run, next_look_at=_next_poll(state, run, answer.retry_after, context, now))
    return Folded(replace(state, run=_cancel_if_unwanted(run, now), hold=hold, refusals=0, not_before=None))


def _refuse(state: State, failure: Failure, context: Context, now: datetime) -> State:
    """Rule 9: throttled waits as told, permanent blocks, the rest backs off."""
    if failure.permanent:
        return _block(state, str(failure), now)
    if failure.kind is FailureKind.THROTTLED:
        return replace(state, not_before=throttled_until(failure, now))  # its place comes no sooner, and spreads
    if failure.kind is FailureKind.NO_CAPACITY:  # no backoff: somebody resumes the capacity, and expects a refresh soon
        return replace(state, not_before=capacity_at(failure, now) + spread(context.key))
    wait = max(backoff(state.refusals + 1), failure.retry_after or timedelta(0))
    return replace(state, refusals=state.refusals + 1, not_before=now + wait + spread(context.key))


def _block(state: State, reason: str, now: datetime, *, stuck: bool = False) -> State:
    """Hold with a reason, and probe slowly. A person's pause outranks the block and stays."""
    since = _blocked_since(state, now)
    blocked = Blocked(since, reason, probe_at(since, now), stuck)
    hold = state.hold if isinstance(state.hold, Paused) else blocked
    return replace(state, hold=hold, last_error=reason)


def _block_run(state: State, run: Run, reason: str, now: datetime, *, stuck: bool = False) -> Folded:
    """Block, and look at the run as slowly as a blocked target is probed, under a pause, too."""
    slow = replace(run, next_look_at=probe_at(_blocked_since(state, now), now))
    return Folded(replace(_block(state, reason, now, stuck=stuck), run=slow))


def _blocked_since(state: State, now: datetime) -> datetime:
    """A block that goes on keeps its beginning, from which the time to the next probe grows."""
    return state.hold.since if isinstance(state.hold, Blocked) else now


def _lower_claim(state: State, run: Run, created_at: datetime | None, context: Context) -> tuple[State, Run]:
    """Rule 5: the platform created the run earlier than our clock said, so it covers less than we thought.

    our clock       :            claimed_at            (ahead)
    the platform's  :   created_at  |
    a signal        :        +      |    after created_at - lag: the run may not have read it; owed again
    """
    if created_at is None:
        return state, run
    run = replace(run, created_at=created_at)
    if created_at < run.claimed_at:
        covering, rest = split(run.covering, created_at - context.policy.visibility_lag)
        run = replace(run, claimed_at=created_at, covering=covering)
        state = replace(state, owed=merge(rest, state.owed))
    return state, run


# --- Following a run -------------------------------------------------------------------------------------------------


def _take_report(state: State, run: Run, given: Reported, context: Context, now: datetime) -> Folded:
    """The answer to a poll of our run: `RUNNING`, `OVERDUE` or `CANCELLING`."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _fail_to_read(state, run, answer, context, now)
    state, run = _note_report(state, run, answer, context)
    return _OURS[answer.phase](state, run, answer, context, now)


def _take_foreign_report(state: State, run: Run, given: Reported, context: Context, now: datetime) -> Folded:
    """The answer to a poll of a foreign run. Past the timeout a running one blocks; one of unknown status is over."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _fail_to_read(state, run, answer, context, now)
    state, run = _note_report(state, run, answer, context)
    if answer.phase is Phase.ACTIVE:
        if not past_timeout(run, context, now):
            return _go_on(state, run, answer, context, now)
        reason = f"run {answer.run_id}, which is not ours, is {answer.status} past the timeout"
        return _block_run(state, run, reason, now, stuck=True)
    if answer.phase is Phase.UNKNOWN and not past_timeout(run, context, now):
        return _go_on(state, run, answer, context, now)
    if answer.phase is Phase.SUCCEEDED:
        return _succeed(state, run, answer, context, now)
    outcome = Outcome.LOST if answer.phase is Phase.UNKNOWN else Outcome.FAILED
    return _end_foreign(state, run, answer, outcome, now)


def _note_report(state: State, run: Run, report: Report, context: Context) -> tuple[State, Run]:
    """Keep what any report says: the creation time may lower our claim, the status is shown to people."""
    state, run = _lower_claim(_lift_block(state), run, report.created_at, context)
    return state, replace(run, status=report.status, status_known=report.phase is not Phase.UNKNOWN)


def _lift_block(state: State) -> State:
    """The platform answered, so lift a block caused by failing calls; one caused by a stuck run stays until it ends."""
    asking = isinstance(state.hold, Blocked) and not state.hold.stuck
    return replace(state, hold=None) if asking else state


def _go_on(state: State, run: Run, report: Report, context: Context, now: datetime) -> Folded:
    """The run goes on, or has a status that nobody documented: ask again. Past its timeout ours is to be cancelled.

    Rule 8: a cancel that did not end the run within `CANCEL_AGAIN` is asked for again.
    """
    situation = run.situation
    if situation is Situation.CANCELLING:
        due = run.cancel_again_at is None or now >= run.cancel_again_at
    else:
        due = situation is not Situation.FOREIGN and past_timeout(run, context, now)
    if due:
        return _wait_until(state, replace(run, situation=Situation.OVERDUE), now)
    return _wait_until(state, run, _next_poll(state, run, report.retry_after, context, now))


def _next_poll(state: State, run: Run, retry_after: timedelta | None, context: Context, now: datetime) -> datetime:
    """When to poll a run that goes on: one of ours seldom before the last ones were over, or before its timeout.

    Not so if somebody asked for it, who may wait for the end.
    """
    awaited = run.hinted or (run.covering is not None and run.covering.asked)
    if run.situation is not Situation.RUNNING or awaited or not state.run_times:
        return poll_at(run, now, retry_after)
    return poll_at_usual_end(run, now, retry_after, min(*state.run_times, context.policy.timeout))


def _succeed(state: State, run: Run, report: Report, context: Context, now: datetime) -> Folded:
    """The view is fresh as of the claim. A foreign run proves that only where foreign runs read what ours would."""
    foreign = run.situation is Situation.FOREIGN
    if foreign and (run.rival_since or not (context.capabilities.foreign_covers and run.created_at)):
        return _end_foreign(state, run, report, Outcome.SUCCEEDED, now)
    full = report.full is True or (run.full and not foreign)
    fresh_as_of = _later(state.fresh_as_of, run.claimed_at)
    done = replace(
        _drop_run(state),
        fresh_as_of=fresh_as_of,
        full_as_of=_later(state.full_as_of, run.claimed_at) if full else state.full_as_of,
        failures=state.failures if foreign else 0,
        not_before=state.not_before if foreign else None,
        last_error="",
    )
    if not foreign:
        done = note_run_time(done, (report.ended_at or now) - run.claimed_at)
    return Folded(done, _entry_of_report(run, Outcome.SUCCEEDED, report, now, full=full))


def _fail(state: State, run: Run, report: Report, context: Context, now: datetime) -> Folded:
    """Rule 5: owed again, with backoff; `after_failures` counts these."""
    failures = state.failures + 1
    owed = merge(run.covering, state.owed)
    not_before = now + backoff(failures) + spread(context.key)
    error = report.error or report.status
    state = replace(_drop_run(state), owed=owed, failures=failures, not_before=not_before, last_error=error)
    return Folded(state, _entry_of_report(run, Outcome.FAILED, report, now))


def _judge_cancel(state: State, run: Run, report: Report, context: Context, now: datetime) -> Folded:
    """Our own cancel is a failure, a person's is respected, and where the platform skips, the list decides which.

    The end of a run that was to be cancelled because its jobs were withdrawn is what was wanted.
    """
    if run.withdrawn and (run.cancel_asked or not run.covering):
        over = replace(_drop_run(state), owed=merge(run.covering, state.owed))
        return Folded(over, _entry_of_report(run, Outcome.CANCELLED, report, now))
    if run.cancel_asked:
        timed_out = replace(report, error=f"cancelled by us: not done within {context.policy.timeout}")
        return _fail(state, run, timed_out, context, now)
    ended_at = report.ended_at or now
    if context.capabilities.skips:
        unclear = replace(run, situation=Situation.CANCEL_UNCLEAR, ended_at=ended_at)
        return _wait_until(state, unclear, now)
    return _respect_cancel(state, run, ended_at)


def _respect_cancel(state: State, run: Run, ended_at: datetime) -> Folded:
    """Rule 9: what is owed stays and the hold says so, unless a signal later than the end is owed already.

    `newest` is rounded up: in doubt a signal counts as later, because a refresh too many is the lesser evil.
    """
    later = state.owed is not None and state.owed.newest > ended_at
    state = replace(_drop_run(state), owed=merge(run.covering, state.owed), last_error="cancelled on the platform")
    if not later and not isinstance(state.hold, Paused):
        state = replace(state, hold=Cancelled(ended_at))
    return Folded(state, _entry(run, Outcome.CANCELLED, ended_at))


def _skip(state: State, run: Run, report: Report, _context: Context, now: datetime) -> Folded:
    """The platform skipped our run, which is no success and no failure: look for the run that was in its way."""
    return Folded(_seek(state, run, now), _entry_of_report(run, Outcome.SKIPPED, report, now))


_OURS: Mapping[Phase, Callable[[State, Run, Report, Context, datetime], Folded]] = {
    Phase.ACTIVE: _go_on,
    Phase.UNKNOWN: _go_on,
    Phase.SUCCEEDED: _succeed,
    Phase.FAILED: _fail,
    Phase.CANCELLED: _judge_cancel,
    Phase.SKIPPED: _skip,
}
"""The step that a report of our own run leads to, by the phase that the report tells."""


def _end_foreign(state: State, run: Run, report: Report, outcome: Outcome, now: datetime) -> Folded:
    """A foreign run that covers nothing ended: what it was to cover is owed again, and its failure is not ours.

    If another run may be what came of our claim (`rival_since`), that one is looked for before anything is started.
    """
    after = None
    if run.rival_since:
        rival = _seeking_run(run.token, run.rival_since, now, rival_since=run.rival_since)
        after = replace(rival, withdrawn=run.withdrawn)
    state = replace(_drop_run(state), run=after, owed=merge(run.covering, state.owed))
    return Folded(state, _entry_of_report(run, outcome, report, now))


def _fail_to_read(state: State, run: Run, failure: Failure, context: Context, now: datetime) -> Folded:
    """An error of a poll or a look-up never ends a run; only a 404 past the grace period says that it vanished."""
    if failure.kind is FailureKind.NOT_FOUND and now - run.claimed_at > NOT_FOUND_GRACE:
        return _vanish(state, run, failure, context, now)
    if failure.permanent:
        return _block_run(state, run, str(failure), now)
    state = replace(state, last_error=str(failure))
    if failure.kind is FailureKind.THROTTLED:
        return _wait_until(state, run, throttled_until(failure, now))
    if failure.kind is FailureKind.NO_CAPACITY:
        return _wait_until(state, run, capacity_at(failure, now))
    since = run.failing_since or now
    run = replace(run, failing_since=since)
    if now - since >= UNREAD_MOST:
        return _block_run(state, run, f"nothing could be read of its run for an hour: {failure}", now)
    return _wait_until(state, run, poll_at(run, now, None))


def _vanish(state: State, run: Run, failure: Failure, context: Context, now: datetime) -> Folded:
    """The platform does not know the run any more: ours failed, a foreign run cannot be followed."""
    gone = Report(run.run_id, Phase.FAILED, "vanished", error=f"the run vanished: {failure}")
    if run.situation is Situation.FOREIGN:
        return _end_foreign(state, run, gone, Outcome.LOST, now)
    return _fail(state, run, gone, context, now)


def _drop_run(state: State) -> State:
    """The run is over: a block that stood for it falls with it."""
    return replace(state, run=None, hold=None if isinstance(state.hold, Blocked) else state.hold)


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _entry_of_report(run: Run, outcome: Outcome, report: Report, now: datetime, *, full: bool | None = None) -> Ended:
    """The line of history for a run whose end a report told; without a told time the end is that of the report."""
    entry = _entry(run, outcome, report.ended_at or now, full=full)
    return replace(entry, error=report.error, dpu_seconds=report.dpu_seconds)


def _entry(run: Run, outcome: Outcome, ended_at: datetime, *, full: bool | None = None) -> Ended:
    """The line of history for a run that ended."""
    return Ended(
        token=run.token,
        outcome=outcome,
        claimed_at=run.claimed_at,
        ended_at=ended_at,
        run_id=run.run_id,
        foreign=run.situation is Situation.FOREIGN,
        full=run.full if full is None else full,
        signals=run.covering.at_least if run.covering else 0,
        reasons=run.covering.reasons if run.covering else (),
        jobs=_jobs_of(run),
        oldest=run.covering.oldest if run.covering else None,
    )


def _jobs_of(run: Run) -> tuple[str, ...]:
    """Jobs that the run was to cover, and jobs withdrawn since: if it succeeds all the same, they have succeeded."""
    covered = tuple(run.covering.jobs) if run.covering else ()
    return covered if run.situation is Situation.FOREIGN else (*covered, *run.withdrawn)


# --- Looking up ------------------------------------------------------------------------------------------------------


def _seek(state: State, run: Run, now: datetime) -> State:
    """Rule 6: another run is there. What ours covered is owed again.

    `claimed_at` stays, to know when the list must show the other run.
    """
    return replace(_give_back(state, run), run=_seeking_run(run.token, run.claimed_at, now))


def _seeking_run(token: str, claimed_at: datetime, now: datetime, *, rival_since: datetime | None = None) -> Run:
    return Run(token, claimed_at, Situation.SEEKING, next_look_at=now, rival_since=rival_since)


def _look_up_claim(state: State, run: Run, given: Listed, context: Context, now: datetime) -> Folded:
    """Rule 7: the outcome of our start is unknown; the list says. A failed listing is not "none"."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _fail_to_read(state, run, answer, context, now)
    state = _lift_block(state)
    earliest = run.claimed_at - CLOCK_DIFFERENCE
    found = _pick(report for report in answer if report.created_at is None or report.created_at >= earliest)
    if found is None:
        return Folded(_give_back(state, run))
    rivals = any(_may_be_ours(report, run.claimed_at, context) for report in answer if report is not found)
    return Folded(_adopt(state, run, found, context, now, rival_since=run.claimed_at if rivals else None))


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


def _look_up_rival(state: State, run: Run, given: Listed, context: Context, now: datetime) -> Folded:
    """Rule 6: find the run that is in the way of ours; if the list would show it by now and does not, it is over."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _fail_to_read(state, run, answer, context, now)
    state = _lift_block(state)
    oldest = now - context.policy.timeout
    since = run.rival_since
    running = [report for report in answer if _may_be_running(report, oldest)]
    wanted = [report for report in running if since is None or _may_be_ours(report, since, context)]
    found = _pick(wanted)
    if found is not None:
        return Folded(_adopt(state, run, found, context, now, rival_since=since if len(wanted) > 1 else None))
    if now >= run.claimed_at + settling_time(context.capabilities):
        return Folded(replace(state, run=None))
    return _wait_until(state, run, now + LIST_AGAIN)


def _may_be_running(report: Report, oldest: datetime) -> bool:
    """Whether a listed run may still go on; one of unknown status only while it is younger than `oldest`."""
    if report.phase is Phase.UNKNOWN:
        return report.created_at is None or report.created_at > oldest
    return report.phase is Phase.ACTIVE


def _pick(reports: Iterable[Report]) -> Report | None:
    """Running ones first, then unknown statuses, then ended ones; the newest of them."""
    rank = {Phase.ACTIVE: 2, Phase.UNKNOWN: 1}
    return max(reports, key=lambda r: (rank.get(r.phase, 0), r.created_at or EARLIEST), default=None)


def _adopt(
    state: State, run: Run, report: Report, context: Context, now: datetime, *, rival_since: datetime | None = None
) -> State:
    """Follow a run that we cannot tell from someone else's. It covers what the platform's own times say, or nothing."""
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


def _foreign_share(owed: Owed | None, report: Report, context: Context) -> tuple[Owed | None, Owed | None]:
    """Divide what is owed into what a foreign run covers and what it does not.

    What a person asked for, only a run that we claim afterwards covers. What asks for a full run, only a run of which
    the platform says that it is full.
    """
    if owed is None or owed.asked or not context.capabilities.foreign_covers or report.created_at is None:
        return None, owed
    if owed.full and report.full is not True:
        return None, owed
    return split(owed, report.created_at - context.policy.visibility_lag)


def _judge_by_list(state: State, run: Run, given: Listed, context: Context, now: datetime) -> Folded:
    """Rule 9: ours ended Cancelled. A skip, if another instance ran when ours was created; else a person's cancel."""
    answer = given.answer
    if isinstance(answer, Failure):
        return _fail_to_read(state, run, answer, context, now)
    state = _lift_block(state)
    created_at = run.created_at or run.claimed_at
    others = tuple(report for report in answer if report.run_id != run.run_id and not _was_over(report, state))
    lasted = (run.ended_at or now) - created_at
    there = [report for report in others if _ran_at(report, created_at, queued=lasted <= SKIP_KNOWN)]
    if there:
        active = _pick(report for report in others if _may_be_running(report, now - context.policy.timeout))
        hurried = any(report.phase is not Phase.UNKNOWN for report in there)
        return _judge_skipped(state, run, active, context, now, hurried=hurried)
    decided_at = created_at + settling_time(context.capabilities)
    if now < decided_at:
        return _wait_until(state, run, min(decided_at, now + LIST_AGAIN))
    return _respect_cancel(state, run, run.ended_at or now)


def _judge_skipped(
    state: State, run: Run, active: Report | None, context: Context, now: datetime, *, hurried: bool
) -> Folded:
    """Ours was skipped: follow the run that goes on, or start again.

    Not `hurried`: only an old run of unknown status explains the skip. Past the timeout it may be over, and a person
    may have cancelled ours: the target is not held, but the next start waits as after a refused one.
    """
    state, ended = _give_back(state, run), _entry(run, Outcome.SKIPPED, run.ended_at or now)
    if active:
        seeking = _seeking_run(run.token, run.claimed_at, now)
        return Folded(_adopt(state, seeking, active, context, now), ended)
    if not hurried:
        state = replace(state, last_claim_at=run.claimed_at, not_before=now + BACKOFF_FIRST)
    return Folded(state, ended)


def _was_over(report: Report, state: State) -> bool:
    """Whether an answer had told the end of this run before ours was started: then it was in nobody's way."""
    return report.run_id in state.known_ends and report.phase not in (Phase.ACTIVE, Phase.UNKNOWN)


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


def _intend_cancel(state: State, run: Run, _given: CancelIntended, _context: Context, now: datetime) -> Folded:
    """Rule 8: the record says that we cancel before the call is sent, so the end is not taken for a person's deed."""
    run = replace(run, situation=Situation.CANCELLING, cancel_asked=True, cancel_again_at=now + CANCEL_AGAIN)
    return _wait_until(state, run, now + POLL_FLOOR)


def _take_cancel_answer(state: State, run: Run, given: CancelAnswered, context: Context, now: datetime) -> Folded:
    """Accepted: poll to the end. Over: it ended by itself. Cannot: blocked with that reason, and still followed.

    One within its timeout, whose jobs were withdrawn, is no reason to block: it will end by itself.
    """
    failure = given.answer
    if failure is None:
        return Folded(state)
    if failure.kind is FailureKind.OVER:
        if run.status_known:
            return _wait_until(state, run, now)
        over = Report(run.run_id, Phase.FAILED, run.status, error=f"over, with status {run.status!r} that nobody knows")
        return _fail(state, run, over, context, now)
    if failure.permanent and not (run.withdrawn and not past_timeout(run, context, now)):
        reason = f"past its timeout and cannot be cancelled: {failure}"
        return _block_run(state, run, reason, now, stuck=True)
    throttled = failure.kind is FailureKind.THROTTLED
    again_at = throttled_until(failure, now) if throttled else now + BACKOFF_FIRST
    run = replace(run, cancel_again_at=again_at)
    return Folded(replace(state, run=run, last_error=str(failure)))


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
RunStep = Callable[[State, Run, Any, Context, datetime], Folded]
"""A step of a situation that has a run: the run is an argument, so that the step need not ask whether there is one."""


class Row(Value, frozen=True):
    """A row of the table: the step that folds an input in, and all situations that the step may lead to."""

    step: Step
    leads_to: frozenset[Situation]


def _row(step: Step, *leads_to: Situation) -> Row:
    return Row(step, frozenset(leads_to))


def _note_answered(run: Run, given: Input) -> Run:
    """Note in the run that reads fail no more, if this is the answer to one."""
    is_answer = isinstance(given, Reported | Listed) and not isinstance(given.answer, Failure)
    return replace(run, failing_since=None) if is_answer and run.failing_since else run


def _run_row(step: RunStep, *leads_to: Situation) -> Row:
    """A row of a situation that has a run."""

    def with_run(state: State, given: Any, context: Context, now: datetime) -> Folded:
        return step(state, _note_answered(run_of(state), given), given, context, now)

    return _row(with_run, *leads_to)


def _rows_anytime(situation: Situation) -> dict[type, Row]:
    """The rows that every situation has; none of them moves the run."""
    steps: dict[type, Step] = {
        Signalled: _take_signal,
        Planned: _note_plan,
        PauseAsked: _pause,
        ResumeAsked: _resume,
        ProbeAsked: _hurry,
        Placed: _take_place,
        WakeSpent: _forget_wake,
        Withdrawn: _withdraw_job,
        Hinted: _ignore_hint,
        Proven: _apply_proof,
        Disproved: _apply_disproof,
        Spared: _apply_spare,
        SourcesHeard: _note_silence,
        Told: _note_told,
        Delivered: _note_delivered,
    }
    return {given: _row(step, situation) for given, step in steps.items()}


def _rows_while_polled(situation: Situation) -> dict[type, Row]:
    """The rows of a situation whose run is polled: a hint that the run ended brings the poll forward."""
    return {**_rows_anytime(situation), Hinted: _run_row(_poll_now, situation)}


_S = Situation

TRANSITIONS: Mapping[Situation, Mapping[type, Row]] = {
    # No run. Only a claim begins one; a cap of starts a day holds it back.
    _S.IDLE: {
        **_rows_anytime(_S.IDLE),
        CapReached: _row(_hold_back, _S.IDLE),
        Claimed: _row(_claim, _S.CLAIMED),
    },
    # A start was claimed, and is sent by whoever won the claim.
    _S.CLAIMED: {
        **_rows_anytime(_S.CLAIMED),
        Unsent: _run_row(_give_back_unsent, _S.IDLE),
        # Accepted (at once unwanted where its jobs were withdrawn); no id or no answer; another run is there; refused.
        Answered: _run_row(_take_answer, _S.RUNNING, _S.OVERDUE, _S.CLAIMED, _S.SEEKING, _S.IDLE),
        # Found; nothing found, or the item is gone; the list failed.
        Listed: _run_row(_look_up_claim, _S.FOREIGN, _S.IDLE, _S.CLAIMED),
    },
    # Ours, accepted, and polled.
    _S.RUNNING: {
        **_rows_while_polled(_S.RUNNING),
        Withdrawn: _row(_withdraw_job, _S.RUNNING, _S.OVERDUE),
        # Goes on; past its timeout; an end; Cancelled, by whom?; skipped.
        Reported: _run_row(_take_report, _S.RUNNING, _S.OVERDUE, _S.IDLE, _S.CANCEL_UNCLEAR, _S.SEEKING),
    },
    # To be cancelled: past its timeout, or nobody wants it any more.
    _S.OVERDUE: {
        **_rows_while_polled(_S.OVERDUE),
        CancelIntended: _run_row(_intend_cancel, _S.CANCELLING),
        Reported: _run_row(_take_report, _S.OVERDUE, _S.IDLE, _S.CANCEL_UNCLEAR, _S.SEEKING),
    },
    # Our intent to cancel is saved; polled to the end.
    _S.CANCELLING: {
        **_rows_while_polled(_S.CANCELLING),
        # The platform will end it, or cannot now; it is over, with a status that nobody knows.
        CancelAnswered: _run_row(_take_cancel_answer, _S.CANCELLING, _S.IDLE),
        # Goes on; still there after five minutes, so cancelled again; an end; skipped.
        Reported: _run_row(_take_report, _S.CANCELLING, _S.OVERDUE, _S.IDLE, _S.SEEKING),
    },
    # It ended Cancelled where that may mean "skipped".
    _S.CANCEL_UNCLEAR: {
        **_rows_anytime(_S.CANCEL_UNCLEAR),
        # A run that was in its way goes on; that run is over, or a person cancelled ours; not decided yet.
        Listed: _run_row(_judge_by_list, _S.FOREIGN, _S.IDLE, _S.CANCEL_UNCLEAR),
    },
    # The platform says that another run is there.
    _S.SEEKING: {
        **_rows_anytime(_S.SEEKING),
        # Found; the list would show it by now; not yet.
        Listed: _run_row(_look_up_rival, _S.FOREIGN, _S.IDLE, _S.SEEKING),
    },
    # Someone else's run, or one that cannot be told from it.
    _S.FOREIGN: {
        **_rows_while_polled(_S.FOREIGN),
        # Goes on; an end; an end while another one may be what came of our claim.
        Reported: _run_row(_take_foreign_report, _S.FOREIGN, _S.IDLE, _S.SEEKING),
    },
}
