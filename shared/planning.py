"""What the configuration and the calendar owe a target: a new target, changed sources, schedule times that came due."""

from __future__ import annotations

from datetime import datetime

from shared.happenings import Happening, Planned, Signalled
from shared.model import Schedule, Signal, State, Target
from shared.schedule import latest_due, next_after


def plan(state: State, target: Target, definition: str, now: datetime) -> tuple[Happening, ...]:
    """What must be folded first at any look; usually nothing.

    A target that is new, or whose sources changed, is signalled once: so what older code ignored during an update is
    caught. Schedule times before a schedule was first seen are no signals; hours of missed ones are one.
    """
    if state.definition == definition:
        return _schedules_due(state, target, definition, now)
    known_sources, _, known_schedules = state.definition.partition(".")
    sources, _, schedules = definition.partition(".")
    happened: list[Happening] = []
    if known_schedules == schedules:
        happened.extend(_schedules_due(state, target, definition, now))
    if known_sources != sources:
        reason = "its sources changed" if known_sources else "new in the configuration"
        happened.append(Signalled(Signal(now, reason, asked=True)))
    return (*happened, Planned(definition, now))


def next_scheduled(state: State, target: Target, now: datetime) -> datetime | None:
    """The next schedule time that is no signal yet."""
    since = state.planned_until or now
    times = [next_after(schedule, since) for schedule in _schedules(target)]
    return min(times, default=None)


def _schedules(target: Target) -> tuple[Schedule, ...]:
    return tuple(schedule for schedule in (target.schedule, target.full_schedule) if schedule)


def _schedules_due(state: State, target: Target, definition: str, now: datetime) -> tuple[Happening, ...]:
    not_yet = state.planned_until is None or (state.wake_at is not None and now < state.wake_at)
    if not_yet or not _schedules(target):  # `wake_at` is never later than the next schedule time
        return ()
    assert state.planned_until
    happened: list[Happening] = []
    for schedule, full in ((target.schedule, False), (target.full_schedule, True)):
        due = latest_due(schedule, state.planned_until, now) if schedule else None
        if due:
            reason = f"scheduled at {due:%Y-%m-%d %H:%M}Z" + (", full" if full else "")
            happened.append(Signalled(Signal(due, reason, full=full)))
    return (*happened, Planned(definition, now)) if happened else ()
