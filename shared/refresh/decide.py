"""Decides what to do next, and when its record is due: pure functions of the state, the policy and the time.

`decide` answers all that the loop, the metrics and `status` ask of a state, in one value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.refresh import pace
from shared.refresh.identity import Call, Identity
from shared.refresh.schedule import next_after
from shared.refresh.state import Blocked, Cancelled, Owed, Paused, Run, Situation, State
from shared.refresh.timing import (
    CLOCK_DIFFERENCE,
    PAUSE_CHECK,
    TIMES_APART,
    WAKE_LATE,
    WAKES_NAMED,
    WATCH,
    Context,
    spread,
)
from shared.targets import Limits, Policy, Schedule
from shared.values import Value

LOOK_LEAD = timedelta(seconds=3)
"""How long after the visibility lag a look before a start comes: times of platforms are cut to the second, and the
request takes its time (design, section 9, rule 7)."""
OVERDUE = timedelta(minutes=2)
"""A start that has been due for longer is not looked at any more: what looks must not hold up what is late."""
LEAST_SPARE = timedelta(minutes=2)
"""Time that `just-in-time` leaves at least beyond the longest of the last runs: a tick, a wake and a poll."""


class Start(Value, frozen=True):
    """Claim, then start a run."""

    full: bool


class Poll(Value, frozen=True):
    """Ask for the run."""

    run_id: str


class LookUp(Value, frozen=True):
    """List the runs that go on, or ended at `since` or later."""

    since: datetime


class Cancel(Value, frozen=True):
    """Save the intent, then end the run."""

    run_id: str


class TakePlace(Value, frozen=True):
    """Take the next number in a queue of the identity, and decide again."""

    call: Call


class HoldBack(Value, frozen=True):
    """A cap of starts a day is reached: hold until the day is over."""

    reason: str
    until: datetime


class Wait(Value, frozen=True):
    """Nothing to do before `until`; None: nothing at all."""

    until: datetime | None


Action = Start | Poll | LookUp | Cancel | TakePlace | HoldBack | Wait


class Gate(Value, frozen=True):
    """Restrictions of many targets: is everything paused, and what does the identity let through."""

    paused: bool = False
    quiet_until: datetime | None = None
    """Until when a worker of release 1 wants the identity to be silent, by the record of the deployment."""
    identity: Identity | None = None
    """The identity's record; None while nobody has read it, and then the identity holds nothing up."""
    limits: Limits = Limits()


class Decision(Value, frozen=True):
    """The decision that follows from a state at a moment."""

    action: Action
    """The action that is due now; `Wait` where nothing is."""
    due_at: datetime | None
    """When the record is due if it is saved as it is; None: only when something happens."""
    stale_since: datetime | None
    """Time of the oldest signal that no finished run covers; None while the view is fresh."""
    late: bool
    """Whether the view has been stale for longer than its objective, if it has one."""


OPEN = Gate()
"""Nothing holds for more than one target."""


def decide(state: State, context: Context, now: datetime, gate: Gate = OPEN) -> Decision:
    """Decide what to do with a target now, and when its record is due."""
    return conclude(_due_action(state, context, now, gate), state, context, now)


def conclude(action: Action, state: State, context: Context, now: datetime) -> Decision:
    """Decide for an action that is given: the loop may have to wait although something is due."""
    until = action.until if isinstance(action, Wait) else now
    scheduled = next_scheduled(state, context.schedules, now)
    watched = _watch_at(state, context.policy, now)
    due_at = min((at for at in (until, scheduled, watched, state.outbox.next_at) if at), default=None)
    return Decision(action, due_at, stale_since(state), is_late(state, context.policy, now))


def _due_action(state: State, context: Context, now: datetime, gate: Gate) -> Action:
    """Choose the next action, and its time. Rule 3 for a start; a run is asked for when its record says so."""
    at, action = _next_of_run(state.run) if state.run else _next_start(state, context)
    if at is None:
        return Wait(None)
    if gate.quiet_until is not None and gate.quiet_until > now:
        at = max(at, gate.quiet_until + spread(context.key))
    if gate.paused and isinstance(action, Start):
        at = max(at, now + PAUSE_CHECK)
    if now < at:
        return Wait(at)
    return _in_turn(state, context, action, now, gate)


def _in_turn(state: State, context: Context, action: Action, now: datetime, gate: Gate) -> Action:
    """Let an action that is due through if the identity allows the call now (section 4.1)."""
    if gate.identity is None:
        return action
    if isinstance(action, Start):
        return _start_in_turn(state, context, action, now, gate)
    if isinstance(action, Cancel):
        return _after_silence(action, Call.POLL, gate.identity, now)
    return _by_place(state, action, Call.POLL, now, gate)


def _start_in_turn(state: State, context: Context, start: Start, now: datetime, gate: Gate) -> Action:
    """A start: its caps first, then its place. A person's `refresh` takes a place, but waits for silence alone."""
    assert gate.identity
    if not (state.owed and state.owed.by_person):
        reason = pace.cap_reached(state, context.policy.max_starts_per_day, gate.identity, gate.limits, now)
        return HoldBack(reason, pace.day_over(now)) if reason else _by_place(state, start, Call.START, now, gate)
    if pace.may_call_at(gate.identity, state.place, Call.START, gate.limits, now) is None:
        return TakePlace(Call.START)
    return _after_silence(start, Call.START, gate.identity, now)


def _after_silence(action: Action, call: Call, identity: Identity, now: datetime) -> Action:
    """Let an action wait for nothing but the end of a silence that the platform asked for."""
    silent_until = pace.silent_until(identity, call)
    return Wait(silent_until) if silent_until and silent_until > now else action


def _by_place(state: State, action: Action, call: Call, now: datetime, gate: Gate) -> Action:
    """Rule 15: one place at a time, and then its time."""
    assert gate.identity
    at = pace.may_call_at(gate.identity, state.place, call, gate.limits, now)
    if at is None:
        return TakePlace(call)
    if at <= now or state.place is None:
        return action
    return Wait(pace.wait_until(gate.identity, state.place, gate.limits, now))


def _next_of_run(run: Run) -> tuple[datetime, Action]:
    actions: dict[Situation, Action] = {
        Situation.CLAIMED: LookUp(run.claimed_at - CLOCK_DIFFERENCE),
        Situation.SEEKING: LookUp(run.claimed_at - CLOCK_DIFFERENCE),
        Situation.CANCEL_UNCLEAR: LookUp((run.created_at or run.claimed_at) - TIMES_APART),
        Situation.OVERDUE: Cancel(run.run_id),
    }
    return run.next_look_at, actions.get(run.situation, Poll(run.run_id))


def _next_start(state: State, context: Context) -> tuple[datetime | None, Action]:
    """Rule 3: the quiet period and the lag since `newest`, or the maximum wait since `oldest`; then all the others."""
    owed, policy = state.owed, context.policy
    if owed is None or isinstance(state.hold, Paused | Cancelled):
        return None, Wait(None)
    start = Start(owed.full or _escalates(state, policy))
    if isinstance(state.hold, Blocked) and not state.hold.capped:  # a cap is judged anew, as the policy has it now
        probe_at = max(state.hold.probe_at, owed.oldest + policy.visibility_lag)
        return max(probe_at, state.not_before or probe_at), start
    ready = _ready_at(owed, policy, state.run_times)
    interval_over = state.last_claim_at + policy.min_interval if state.last_claim_at else ready
    return max(ready, interval_over, state.not_before or ready), start


def _ready_at(owed: Owed, policy: Policy, run_times: tuple[timedelta, ...]) -> datetime:
    """When the signals ask for a start: the quiet period or the maximum wait is over, or the last moment has come."""
    last_moment = _last_moment(owed, policy, run_times)
    if last_moment is not None:
        return last_moment
    quiet = owed.newest + max(policy.quiet_period, policy.visibility_lag)
    return min(quiet, owed.oldest + policy.max_wait)


def _last_moment(owed: Owed, policy: Policy, run_times: tuple[timedelta, ...]) -> datetime | None:
    """`just-in-time`: as late as the objective allows. None where that is not asked for, or nothing is known of runs.

    oldest                            start          end of a run twice as long as the longest
      |------------------ objective ----|----------------------|--- a look's delay ---|
    """
    if policy.start != "just-in-time" or policy.objective is None or not run_times:
        return None
    if owed.asked or owed.full or owed.prompt:
        return None
    longest = max(run_times)
    spare_time = max(2 * longest, longest + LEAST_SPARE) + (policy.look or timedelta(0))
    return max(owed.oldest + policy.objective - spare_time, owed.oldest + policy.visibility_lag)


def note_startable(state: State, now: datetime) -> State:
    """Keep since when a start is possible: something is owed, and neither a run nor a hold is in the way."""
    possible = state.owed is not None and state.run is None and state.hold is None
    if possible == (state.startable_since is not None):
        return state
    return replace(state, startable_since=now if possible else None)


def look_before(state: State, start: Start, context: Context, now: datetime) -> datetime | None:
    """When a look comes before a start that is due: from then on it tells of all that is owed (section 9, rule 7).

    None where no look comes: before a start that is asked for or full, and before one that is overdue, counted from
    when it was due, known and possible.
    """
    owed, policy = state.owed, context.policy
    if owed is None or owed.asked or start.full or policy.look is None:
        return None
    due_at, _ = _next_start(state, context)
    if due_at is None or now - max(due_at, state.startable_since or due_at) > OVERDUE:
        return None
    return owed.newest + policy.visibility_lag + LOOK_LEAD


def _escalates(state: State, policy: Policy) -> bool:
    """After every `after_failures` failures one full refresh is tried."""
    return bool(policy.after_failures and state.failures and state.failures % policy.after_failures == 0)


def next_scheduled(state: State, schedules: Sequence[Schedule], now: datetime) -> datetime | None:
    """The next time that the calendar, or an update, owes a signal."""
    since = state.planned_until or now
    times = [time for schedule in schedules if (time := next_after(schedule, since))]
    if state.again_at:
        times.append(state.again_at)
    return min(times, default=None)


def _watch_at(state: State, policy: Policy, now: datetime) -> datetime | None:
    """When to write the record only to refresh its metrics: once it is late or held, and then every `WATCH`."""
    since = stale_since(state)
    if since is None:
        return None
    if state.hold is not None:
        return now + WATCH
    return None if policy.objective is None else max(since + policy.objective, now + WATCH)


def stale_since(state: State) -> datetime | None:
    """Time of the oldest signal that no finished run covers; None while the view is fresh."""
    parts = (state.owed, state.run.covering if state.run else None)
    return min((part.oldest for part in parts if part), default=None)


def is_late(state: State, policy: Policy, now: datetime) -> bool:
    """Whether the view has been stale for longer than its objective, if it has one."""
    since = stale_since(state)
    return since is not None and policy.objective is not None and now - since > policy.objective


def next_wake(
    wakes: tuple[datetime, ...], due_at: datetime | None, now: datetime
) -> tuple[datetime | None, tuple[datetime, ...]]:
    """Decide on rule 13: the wake to send, if any, and the wakes that the record then names, five at most.

    The record names each wake until the wake arrives, or for `WAKE_LATE` past its time: so the names are what may be on
    its way. A new wake is sent only if it is due before all that are still to come, and if there is room for it.
    """
    named = tuple(due for due in wakes if due > now - WAKE_LATE)
    if due_at is None or len(named) >= WAKES_NAMED or any(now < due <= due_at for due in named):
        return None, named
    return due_at, tuple(sorted({*named, due_at}))
