"""A day without ticks and a day without wakes: either alone carries everything, judged by the platform's journal."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from random import Random

import pytest

from shared.config.load import Configuration
from shared.targets import Policy, Schedule
from tests.simulation.core import shipped
from tests.simulation.faults import CallFault, Fate, Script
from tests.simulation.judge import at_rest, violations
from tests.simulation.platform import character
from tests.simulation.world import MINUTE, Need, Simulation, make_target

HOUR = 3600.0
DAY = 24 * HOUR
REACH = timedelta(days=6)
EVERY_SIX_HOURS = Schedule("0 */6 * * *")
CHARACTERS = pytest.mark.parametrize("kind", ["glue", "fabric"])


def day(kind: str, *, ticks: bool, wakes: bool) -> Simulation:
    """Arrivals, a schedule, a target that comes after another, runs that fail and an answer that is lost."""
    policy = Policy()
    configuration = Configuration(
        (
            make_target("v", kind, policy),
            make_target("daily", kind, policy, schedule=EVERY_SIX_HOURS),
            make_target("last", kind, policy, after=("v",)),
        )
    )
    faults = Script(
        fates={n: Fate(outcome="failed") for n in (5, 9, 10)},
        calls={("start", 7): CallFault(failure="lost"), ("get", 12): CallFault(failure="rejected")},
    )
    capabilities = character(kind, listing_delay=5.0, call_timeout=5.0)
    sim = Simulation(shipped(), faults, capabilities, configuration, (REACH, True), ticks=ticks, wakes=wakes)
    sim.tick(0.0)  # the deployment itself: planning is the first tick's, in any world
    sim.scheduler.run(1.0)
    return sim


def pass_a_day(sim: Simulation, seed: int) -> None:
    """Forty arrivals, spread over the day; and the calendar."""
    random = Random(seed)
    for _ in range(40):
        moment = random.uniform(60, DAY)
        sim.scheduler.at(moment, partial(sim.arrive, "v", dated=moment - random.uniform(0, 10)))
    daily = sim.configuration.by_name["daily"]
    for hour in (6, 12, 18, 24):
        sim.needs.append(Need(daily.key, hour * HOUR, hour * HOUR, full=False, why=f"scheduled at {hour} h"))
    sim.scheduler.run(DAY + 3 * HOUR)


def starts_after_schedule(sim: Simulation) -> list[float]:
    """How long after each schedule time its run was created, as the platform has it."""
    runs = sim.platform.of(sim.configuration.by_name["daily"])
    return [min(run.created - hour * HOUR for run in runs if run.created >= hour * HOUR) for hour in (6, 12, 18, 24)]


@CHARACTERS
@pytest.mark.parametrize("seed", range(3))
def test_a_day_without_a_single_tick(kind: str, seed: int) -> None:
    """Wakes alone carry schedules, debounce, polling and backoff, with a queue that reaches six days and relays."""
    sim = day(kind, ticks=False, wakes=True)
    pass_a_day(sim, seed)
    assert violations(sim) == [], f"seed {seed}"
    assert at_rest(sim), f"seed {seed}"
    assert len(sim.needs) == 44
    assert max(starts_after_schedule(sim)) <= 40, f"seed {seed}"  # 30 s quiet, rounded up by 7.5 s, and one wake


@CHARACTERS
@pytest.mark.parametrize("seed", range(3))
def test_a_day_without_a_single_wake(kind: str, seed: int) -> None:
    """Ticks alone carry them, a minute later for each look: the schedule's, and the start's."""
    sim = day(kind, ticks=True, wakes=False)
    pass_a_day(sim, seed)
    assert violations(sim) == [], f"seed {seed}"
    assert at_rest(sim), f"seed {seed}"
    assert len(sim.needs) == 44
    assert max(starts_after_schedule(sim)) <= 40 + 2 * MINUTE, f"seed {seed}"


@CHARACTERS
def test_a_day_without_either_loses(kind: str) -> None:
    """The judge sees it when nobody looks: so the two days above prove something."""
    sim = day(kind, ticks=False, wakes=False)
    pass_a_day(sim, 0)
    assert any("LOST" in line or "STUCK" in line for line in violations(sim))
