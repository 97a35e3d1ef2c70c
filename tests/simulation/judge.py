"""What is lost, overlaps, multiplies or never ends: from the platform's journal and the objects put, not our state.

Our state is asked for one thing: what `status` shows people, namely a hold; and that must have a reason in the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from shared.refresh.state import Blocked, Cancelled, Hold, Paused
from shared.refresh.timing import START_WINDOW
from shared.targets import Target
from tests.simulation.platform import FOREVER, PlatformRun
from tests.simulation.world import Need, Simulation, seconds

CLOCKS = 60.0
PATIENCE = 7200.0
"""Targets with schedules may never rest all at once: then what they owe must be younger than this."""
INSTANT = 1e-5
"""Datetimes end at microseconds, true time does not."""


def violations(sim: Simulation) -> list[str]:
    """Everything that is wrong with a history, after it was given time to come to rest."""
    found = [f"BUG: {failure!r}" for failure in sim.errors]
    found.extend(f"DEAD: {dead}" for dead in sim.dead)
    for target in sim.configuration.targets:
        found.extend(_lost(sim, target))
        found.extend(_stuck(sim, target))
        found.extend(_unbounded(sim, target))
        found.extend(_disregarded(sim, target))
    found.extend(_overlaps(sim))
    found.extend(f"CANCELLED: {run_id} is not ours" for run_id in sim.platform.wrong_cancels)
    return found


# --- Lost ------------------------------------------------------------------------------------------------------------


def _lost(sim: Simulation, target: Target) -> Iterator[str]:
    hold = sim.state(target.key).hold
    runs = [run for run in sim.platform.of(target) if run.succeeded and (run.ours or sim.character.refuses)]
    since = sim.scheduler.now if at_rest(sim) else sim.scheduler.now - PATIENCE
    for need in [*(need for need in sim.needs if need.key == target.key), *_after(sim, target)]:
        if need.visible > since:
            continue
        if any(run.created + INSTANT >= need.visible and (run.full or not need.full) for run in runs):
            continue
        if not excused(sim, target, hold, need):
            yield f"LOST: {need.why} for {target.name}, visible at {need.visible:.3f}; hold: {hold}"


def _after(sim: Simulation, target: Target) -> Iterator[Need]:
    """Every success of a target is a reason for those that come after it."""
    for name in target.after:
        upstream = sim.configuration.by_name.get(name)
        if upstream is None or excused_by_world(sim, upstream, sim.state(upstream.key).hold):
            continue
        for run in sim.platform.of(upstream):
            if run.ours and run.succeeded and _known_as_ours(sim, run):
                yield Need(target.key, run.ends, run.ends, full=False, why=f"{run.run_id} of {name}")


def _known_as_ours(sim: Simulation, run: PlatformRun) -> bool:
    """One whose success we may have read: it did not vanish before the world came to rest."""
    return run.created + run.fate.vanishes_after > sim.scheduler.now


def excused(sim: Simulation, target: Target, hold: Hold | None, need: Need) -> bool:
    """Whether the target is visibly held, with reason, and the hold has a say about this need."""
    if isinstance(hold, Cancelled) and need.dated > seconds(hold.since) + INSTANT:
        return False
    return excused_by_world(sim, target, hold)


def excused_by_world(sim: Simulation, target: Target, hold: Hold | None) -> bool:
    """Whether a hold, or a pause of everything, has its reason in the world."""
    if isinstance(hold, Paused) and sim.is_paused(target.key):
        return True
    if sim.is_paused("") and sim.deployment().paused_since:
        return True
    runs = sim.platform.of(target)
    if isinstance(hold, Cancelled):
        ends = (run.ends for run in runs if run.ours and run.cancelled_by == "person")
        return any(abs(end - seconds(hold.since)) < INSTANT for end in ends)
    if isinstance(hold, Blocked):
        return sim.platform.forbids("start") or any(run.is_active(sim.scheduler.now) for run in runs)
    return False


# --- Stuck -----------------------------------------------------------------------------------------------------------


def at_rest(sim: Simulation) -> bool:
    """Whether nothing is going to happen any more, as far as the world can tell."""
    idle = sim.is_rolled_out() and not sim.active and not sim.undelivered
    return idle and all(_rests(sim, target) for target in sim.configuration.targets)


def _rests(sim: Simulation, target: Target) -> bool:
    state = sim.state(target.key)
    idle = state.owed is None and state.run is None
    return state.again_at is None and (idle or excused_by_world(sim, target, state.hold))


def _stuck(sim: Simulation, target: Target) -> Iterator[str]:
    state = sim.state(target.key)
    parts = [part for part in (state.owed, state.run and state.run.covering) if part]
    if not _rests(sim, target) and any(seconds(part.oldest) < sim.scheduler.now - PATIENCE for part in parts):
        yield f"STUCK: {target.name} still owes at {sim.scheduler.now:.0f}: {state}"


# --- Overlapping -----------------------------------------------------------------------------------------------------


def _overlaps(sim: Simulation) -> Iterator[str]:
    """A start of ours that reaches the platform during a run of ours, even if the platform refuses or skips it."""
    for attempt in sim.platform.attempts:
        run = attempt.during
        if run is not None and not _given_up(sim, run, attempt.time):
            yield f"OVERLAP: a start at {attempt.time:.3f} during {run.run_id} of {run.created:.3f}"


def _given_up(sim: Simulation, run: PlatformRun, time: float) -> bool:
    """Rule 8: a run adopted as foreign is given up if its status is one that nobody knows past the timeout."""
    target = next((target for target in sim.configuration.targets if target.key == run.key), None)
    past = (target.policy.timeout.total_seconds() if target else 0.0) - 2 * CLOCKS
    start, end = run.fate.odd
    return start < end and end > past and time - run.created > max(start, past)


# --- Disregarded -----------------------------------------------------------------------------------------------------


def _disregarded(sim: Simulation, target: Target) -> Iterator[str]:
    """G7: nothing starts while people have paused it, but what was on its way already."""
    on_its_way = START_WINDOW.total_seconds() + sim.character.capabilities.call_timeout.total_seconds() + 1
    for since, until in _pauses(sim, target.key):
        for attempt in sim.platform.attempts:
            if attempt.key == target.key and since + on_its_way < attempt.time < until:
                yield f"DISREGARDED: a start at {attempt.time:.3f} while paused since {since:.3f}"


def _pauses(sim: Simulation, key: str) -> Iterator[tuple[float, float]]:
    for deed in sim.deeds:
        if deed.paused and deed.key in ("", key):
            later = (other for other in sim.deeds if other.key == deed.key and other.saved > deed.saved)
            yield deed.done, min((other.begun for other in later if not other.paused), default=FOREVER)


# --- Unbounded -------------------------------------------------------------------------------------------------------


def _unbounded(sim: Simulation, target: Target) -> Iterator[str]:
    slack = CLOCKS + START_WINDOW.total_seconds() + sim.character.capabilities.call_timeout.total_seconds() + 1
    apart = target.policy.min_interval.total_seconds() - slack
    runs = [run for run in sim.platform.of(target) if run.ours and not run.skipped]
    for earlier, later in pairwise(runs):
        # One that vanished left no trace, and one that a person cancelled may have looked like a skip.
        vanished = earlier.created + earlier.fate.vanishes_after < later.created
        if later.created - earlier.created < apart and not vanished and earlier.cancelled_by != "person":
            yield f"UNBOUNDED: {earlier.run_id} and {later.run_id} are {later.created - earlier.created:.0f} s apart"
    attempts = sum(attempt.key == target.key for attempt in sim.platform.attempts)
    if attempts > 20 + sim.scheduler.now / 30:
        yield f"UNBOUNDED: {attempts} starts of {target.name}"
    wakes = sim.most_wakes_in_flight.get(target.key, 0)
    if wakes > 8 + sim.crashes + sim.store.conflicts[target.key]:
        yield f"UNBOUNDED: {wakes} wakes in flight for {target.name}"
