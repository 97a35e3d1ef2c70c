"""Signals owed by configuration and calendar: a new target, changed sources, schedule times that came due."""

from __future__ import annotations

from datetime import datetime

from shared.refresh.deployment import ROLLED_OUT, Standing
from shared.refresh.inputs import Input, Planned, Signalled
from shared.refresh.schedule import latest_due
from shared.refresh.state import JudgedBy, Signal, State
from shared.targets import Target


def plan(state: State, target: Target, edition: Standing, now: datetime) -> tuple[Input, ...]:
    """List the inputs that the current edition must fold first into a target; usually none.

    A target that is new, whose sources changed, or that an edition in between passed over is signalled, and once more
    when no worker of an older package is left: what those ignored is caught. Schedule times before a schedule was first
    seen are no signals; hours of missed ones are one.

        newer package:  plans, signals . . . . . . . . . . . . . . . . signals again
        older package:                ignores an event | . last tick  |
                        |------------------- ROLLED_OUT ---------------|
    """
    if (state.edition, state.definition) == (edition.number, target.definition):
        return _inputs_due(state, target, edition, now)
    inputs = _schedules_due(state, target, now, unchanged=_are_schedules_same(state, target))
    again_at = state.again_at
    reason = _news(state, target, edition)
    if reason:
        inputs.append(Signalled(Signal(now, reason, unseen=True)))
        again_at = now + ROLLED_OUT
    return (*inputs, _plan_anew(target, edition, now, again_at))


def _plan_anew(target: Target, edition: Standing, now: datetime, again_at: datetime | None) -> Planned:
    policy = target.policy
    judged_by = JudgedBy(target.name, policy.objective, policy.look, policy.quiet_period, policy.max_wait)
    return Planned(target.definition, now, again_at, edition.number, judged_by)


def _news(state: State, target: Target, edition: Standing) -> str:
    """Why arrivals may have been ignored that the target is signalled for, or ""."""
    if not state.definition:
        return "new in the configuration"
    if state.definition.partition(".")[0] != target.definition.partition(".")[0]:
        return "its sources changed"
    if state.edition < edition.number - 1:
        return "a configuration in between may have left it out"
    return ""


def _are_schedules_same(state: State, target: Target) -> tuple[bool, bool]:
    """Whether the schedule, and the full one, are those that the record was planned for: each has its own digest."""
    _, *known = state.definition.split(".")
    _, *schedules = target.definition.split(".")
    if known == [target.schedules_of_release_1]:
        return (True, True)
    if len(known) != len(schedules):
        return (False, False)
    return (known[0] == schedules[0], known[1] == schedules[1])


def _inputs_due(state: State, target: Target, edition: Standing, now: datetime) -> tuple[Input, ...]:
    """Nothing changed: what the calendar owes, and the second signal of a change that is a while ago."""
    inputs = _schedules_due(state, target, now)
    again_at = state.again_at
    if again_at is not None and edition.read_at >= again_at:
        again_at = edition.older_at and edition.older_at + ROLLED_OUT
        if again_at is None or edition.read_at >= again_at:
            inputs.append(Signalled(Signal(now, "what arrived during the update", unseen=True)))
            again_at = None
    if not inputs and again_at == state.again_at:
        return ()
    return (*inputs, _plan_anew(target, edition, now, again_at))


def _schedules_due(
    state: State, target: Target, now: datetime, *, unchanged: tuple[bool, bool] = (True, True)
) -> list[Input]:
    """The signals of schedules that were known before: one signal each, however many times passed."""
    not_yet = state.planned_until is None or (state.wake_at is not None and now < state.wake_at)
    if not_yet or not target.schedules:  # `wake_at` is never later than the next schedule time
        return []
    assert state.planned_until
    inputs: list[Input] = []
    for schedule, full in ((target.schedule, False), (target.full_schedule, True)):
        due = latest_due(schedule, state.planned_until, now) if schedule and unchanged[full] else None
        if due:
            reason = f"scheduled at {due:%Y-%m-%d %H:%M}Z" + (", full" if full else "")
            inputs.append(Signalled(Signal(due, reason, full=full, prompt=True)))
    return inputs
