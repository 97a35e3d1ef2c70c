"""What the configuration and the calendar owe a target: a new target, changed sources, schedule times that came due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.refresh.inputs import Input, Planned, Signalled
from shared.refresh.schedule import latest_due, next_after
from shared.refresh.state import Signal, State
from shared.targets import Schedule, Target

ROLLED_OUT = timedelta(minutes=15)
"""An older release takes no events any more by then: a Lambda's alias shifts within 5 minutes (Canary10Percent5Minutes
in infra/aws/template.yaml), an instance of a function app that is told to stop is gone within one."""


def plan(state: State, target: Target, definition: str, now: datetime) -> tuple[Input, ...]:
    """What must be folded first at any look; usually nothing.

    A target that is new, or whose sources changed, is signalled, and once more when the older release is gone: so what
    that took for nobody's is caught. Schedule times before a schedule was first seen are no signals; hours of missed
    ones are one.

        newer release:  plans, signals . . . . . . . . . . . . . . . . signals again
        older release:                   takes an event for nobody's   |
                        |------------------- ROLLED_OUT ---------------|
    """
    if state.definition == definition:
        return _settled(state, target, now)
    known_sources, *known_schedules = state.definition.split(".")
    sources, *schedules = definition.split(".")
    if known_schedules == [target.schedules_of_release_1]:
        known_schedules = schedules
    happened = _schedules_due(state, target, now, unchanged=_unchanged(known_schedules, schedules))
    again_at = state.again_at
    if known_sources != sources:
        reason = "its sources changed" if known_sources else "new in the configuration"
        happened.append(Signalled(Signal(now, reason, asked=True)))
        again_at = now + ROLLED_OUT
    return (*happened, Planned(definition, now, again_at))


def _unchanged(known: list[str], schedules: list[str]) -> tuple[bool, bool]:
    """Whether the schedule, and the full one, are those that the record was planned for: each has its own digest."""
    if len(known) != len(schedules):
        return (False, False)
    return (known[0] == schedules[0], known[1] == schedules[1])


def _settled(state: State, target: Target, now: datetime) -> tuple[Input, ...]:
    """Nothing changed: what the calendar owes, and the second signal of a change that is a while ago."""
    happened = _schedules_due(state, target, now)
    again_at = state.again_at
    if again_at is not None and now >= again_at:
        happened.append(Signalled(Signal(now, "what arrived during the update", asked=True)))
        again_at = None
    return (*happened, Planned(state.definition, now, again_at)) if happened else ()


def next_scheduled(state: State, schedules: Sequence[Schedule], now: datetime) -> datetime | None:
    """The next time that the calendar, or an update, owes a signal."""
    since = state.planned_until or now
    times = [time for schedule in schedules if (time := next_after(schedule, since))]
    if state.again_at:
        times.append(state.again_at)
    return min(times, default=None)


def _schedules_due(
    state: State, target: Target, now: datetime, *, unchanged: tuple[bool, bool] = (True, True)
) -> list[Input]:
    """What the calendar owes, by those schedules that were known before: one signal each, however many times passed."""
    not_yet = state.planned_until is None or (state.wake_at is not None and now < state.wake_at)
    if not_yet or not target.schedules:  # `wake_at` is never later than the next schedule time
        return []
    assert state.planned_until
    happened: list[Input] = []
    for schedule, full in ((target.schedule, False), (target.full_schedule, True)):
        due = latest_due(schedule, state.planned_until, now) if schedule and unchanged[full] else None
        if due:
            reason = f"scheduled at {due:%Y-%m-%d %H:%M}Z" + (", full" if full else "")
            happened.append(Signalled(Signal(due, reason, full=full, prompt=True)))
    return happened
