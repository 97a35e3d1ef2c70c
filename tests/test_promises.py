"""The promises G1 to G9, one test each, over the shipped loop, a virtual clock and both platforms' traits.

What happened is judged by the platform's own journal (`simulation/judge.py`), never by our record. `glue` refuses a
start while a run is there; `fabric` accepts it and skips. Both keep their records in memory; and Fabric's also where
they are when it is deployed, on Azure Tables (Azurite), over which a case or two of each promise is played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from shared.config.load import Configuration, ConfigurationError, load
from shared.platforms import fabric, glue
from shared.refresh.evidence import Backlog, Evidence, Liveness
from shared.refresh.state import Paused
from shared.refresh.status import status_of
from shared.sources.standing import source_statuses
from shared.targets import Policy, Target
from tests.simulation.core import shipped
from tests.simulation.faults import CallFault, Fate, Faults, Script
from tests.simulation.judge import at_rest, violations
from tests.simulation.look_scenarios import POLICY as LAKE_POLICY
from tests.simulation.look_scenarios import SOON, Tell
from tests.simulation.platform import PlatformRun, character
from tests.simulation.store import SimStore
from tests.simulation.tables import TablesStore
from tests.simulation.world import Simulation, at, make_target
from tests.support.azurite_server import Azurite, one_azurite  # noqa: F401 - a fixture

CAPABILITIES = {"glue": glue.CAPABILITIES, "fabric": fabric.CAPABILITIES}
POLICY = Policy(min_interval=timedelta(minutes=5))
QUIET = POLICY.quiet_period.total_seconds()
LAG = POLICY.visibility_lag.total_seconds()
INTERVAL = POLICY.min_interval.total_seconds()
PLANNED = 2400.0
"""By now a new target's two first runs are over, and the minimum interval since them."""
CALM = 4 * 3600.0
EFFECTS = 2.0
"""Effects take a moment each, even in the simulator."""


class Place(NamedTuple):
    """Whose traits the platform has, and where each deployment's records are."""

    kind: str
    store: Callable[[], SimStore]


ON_TABLES = "fabric on tables"


def places(names: str, cases: Sequence[tuple[Any, ...]], *, on_tables: int = 1) -> pytest.MarkDecorator:
    """Both platforms in memory with every case, and Fabric on tables, where one takes seconds, with the first few."""
    there = [(place, *case) for place in CAPABILITIES for case in cases] + [
        (ON_TABLES, *case) for case in cases[:on_tables]
    ]
    return pytest.mark.parametrize(("place", *names.split()), there, indirect=["place"])


@pytest.fixture(name="place")
def one_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """One of the three."""
    if request.param != ON_TABLES:
        yield Place(request.param, SimStore)
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    with ExitStack() as stack:
        yield Place("fabric", lambda: stack.enter_context(closing(TablesStore(azurite.account()))))


def deployed(place: Place, faults: Faults, policy: Policy = POLICY) -> Simulation:
    """A deployment of one target; its clock stands at 0."""
    configuration = Configuration((make_target("v", place.kind, policy),))
    capabilities = CAPABILITIES[place.kind]
    delays = (capabilities.listing_delay.total_seconds(), capabilities.call_timeout.total_seconds())
    return Simulation(shipped(), faults, character(place.kind, *delays), configuration, store=place.store())


def planned(place: Place, faults: Faults, policy: Policy = POLICY) -> Simulation:
    """A deployment of one target that is fresh: whatever runs from now on has a reason later than `PLANNED`."""
    sim = deployed(place, faults, policy)
    sim.tick(0.0)
    sim.scheduler.run(PLANNED)
    assert at_rest(sim)
    return sim


def only(sim: Simulation) -> Target:
    """Its one target."""
    return sim.configuration.targets[0]


def ours_since(sim: Simulation, time: float = PLANNED) -> list[PlatformRun]:
    """The runs of ours that the platform created from then on and did not skip."""
    return [run for run in sim.platform.of(only(sim)) if run.ours and not run.skipped and run.created >= time]


@places("seed", [(seed,) for seed in range(5)])
def test_g1_nothing_lost(place: Place, seed: int) -> None:
    """Data that arrives at any moment - before, during and just after a run, ours or another's - is in a successful run
    that was created after it was visible; also if runs fail, and if one never answers.
    """
    random = Random(f"g1 {place.kind} {seed}")
    sim = planned(place, Script(fates={3: Fate(outcome="failed"), 5: Fate(outcome="failed")}))
    for _ in range(40):
        moment = PLANNED + random.uniform(0, 1800)
        sim.scheduler.at(moment, partial(sim.arrive, "v", dated=moment - random.uniform(0, LAG)))
    for _ in range(3):
        sim.scheduler.at(PLANNED + random.uniform(0, 1800), partial(sim.foreign_start, "v"))
    sim.scheduler.run(PLANNED + CALM)
    assert len(sim.needs) == 40
    assert at_rest(sim), f"seed {seed}"
    assert violations(sim) == [], f"seed {seed}"


LOST_STARTS: Mapping[str, Callable[[float], CallFault]] = {
    "the answer is lost": lambda _: CallFault(failure="lost"),
    "the start is lost": lambda _: CallFault(failure="lost on the way"),
    "the answer comes too late": lambda timeout: CallFault(effect_after=0.8 * timeout, answer_after=0.8 * timeout),
}


@places("lost", [(lost,) for lost in LOST_STARTS])
def test_g2_no_overlap(place: Place, lost: str) -> None:
    """No start is sent while a run of ours is there, with a start whose outcome is unknown, a run of three minutes in
    which data goes on arriving, and no minimum interval that would hide it.
    """
    policy = Policy(min_interval=timedelta(0), quiet_period=timedelta(seconds=1), max_wait=timedelta(seconds=10))
    fault = LOST_STARTS[lost](CAPABILITIES[place.kind].call_timeout.total_seconds())
    sim = deployed(place, Script(calls={("start", 2): fault}, fates={2: Fate(seconds=180)}), policy)
    sim.tick(0.0)
    for moment in range(300, 900, 7):
        sim.scheduler.at(float(moment), partial(sim.arrive, "v"))
    sim.scheduler.run(CALM)
    assert [attempt for attempt in sim.platform.attempts if attempt.during] == []
    assert len(sim.platform.attempts) > 3
    assert violations(sim) == []


@places("events_a_second", [(1,), (4,)])
def test_g3_bounded(place: Place, events_a_second: int) -> None:
    """However many events an hour brings, they cause at most one run per minimum interval and the one in flight, and at
    most one store write per debounce step and one per wake, beside those of the runs. At most five wakes are in flight,
    and one more for each save that lost a race: its wake was sent before it.
    """
    sim = planned(place, Faults())
    hour = 600 if isinstance(sim.store, TablesStore) else 3600
    key, saves = only(sim).key, sim.store.saves[only(sim).key]
    for number in range(hour * events_a_second):
        sim.scheduler.at(PLANNED + number / events_a_second, partial(sim.arrive, "v"))
    sim.scheduler.run(PLANNED + hour + 2 * INTERVAL)
    runs = ours_since(sim)
    assert 2 <= len(runs) <= (hour + 2 * INTERVAL) / INTERVAL + 1
    assert all(later.created - earlier.created >= INTERVAL - 1 for earlier, later in pairwise(runs))
    steps, wakes, saves_of_a_run = hour / (QUIET / 4), hour / QUIET, 20
    assert sim.store.saves[key] - saves <= steps + wakes + saves_of_a_run * len(runs)
    assert sim.most_wakes_in_flight[key] <= 5 + sim.store.conflicts[key]
    assert violations(sim) == []


@places("lag dated", [(lag, dated) for dated in (7.4, 0.0, 0.1, 3.75) for lag in (1, 30, 90)], on_tables=3)
def test_g4_prompt(place: Place, lag: int, dated: float) -> None:
    """Without contention a signal leads to a start within max(quiet, lag) + quiet/4 and one wake: `newest` is rounded
    up by a quarter of the quiet period, and the wake comes in no time here, so nothing else may delay it.
    """
    policy = Policy(visibility_lag=timedelta(seconds=lag))
    sim = planned(place, Faults(), policy)
    moment = PLANNED + dated
    sim.scheduler.at(moment, partial(sim.arrive, "v"))
    sim.scheduler.run(PLANNED + CALM)
    (run,) = ours_since(sim)
    assert max(QUIET, lag) <= run.created - moment <= max(QUIET, lag) + QUIET / 4 + EFFECTS
    assert violations(sim) == []


@places("seed", [(seed,) for seed in range(5)])
def test_g5_indifferent(place: Place, seed: int) -> None:
    """The same events, each delivered up to three times, in any order, up to twenty minutes late, and all replayed
    after everything is fresh, end as those delivered once and at once: nothing owed, nothing running, nothing lost,
    fresh as of later than the last event. The replay costs no run and no write.
    """
    random = Random(f"g5 {place.kind} {seed}")
    moments = sorted(PLANNED + random.uniform(0, 900) for _ in range(12))
    finals = []
    for disordered in (False, True):
        sim = planned(place, _Disordered(random) if disordered else Faults())
        for moment in moments:
            sim.scheduler.at(moment, partial(sim.arrive, "v"))
        sim.scheduler.run(PLANNED + CALM)
        assert violations(sim) == [], f"seed {seed}"
        final = sim.state(only(sim).key)
        assert final.fresh_as_of
        assert (final.fresh_as_of - at(moments[-1])).total_seconds() >= LAG
        runs, saves = len(ours_since(sim)), sim.store.saves[only(sim).key]
        for moment in moments:
            sim.arrive("v", dated=moment)
            sim.needs.pop()  # it is the same data again
        sim.scheduler.run(sim.scheduler.now + CALM)
        assert (len(ours_since(sim)), sim.store.saves[only(sim).key]) == (runs, saves), f"seed {seed}"
        finals.append((final.owed, final.run, final.hold, final.failures))
    assert finals[0] == finals[1] == (None, None, None, 0), f"seed {seed}"


class _Disordered(Faults):
    """Every event comes one to three times, in any order."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def deliveries(self, kind: str) -> tuple[float, ...]:
        if kind != "event":
            return super().deliveries(kind)
        return tuple(self._random.uniform(0, 1200) for _ in range(self._random.choice((1, 2, 3))))


GOOD = """
[targets.v]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "v"
"""
LAKE = """
[targets.v]
kind = "fabric-lake-views"
workspace = "11111111-1111-4111-8111-111111111111"
lakehouse = "22222222-2222-4222-8222-222222222222"
"""


@pytest.mark.parametrize("kind", CAPABILITIES)
@pytest.mark.parametrize("bad", ['quiet_period = "soon"', 'quite_period = "30s"', "min_interval = 5", 'after = ["v"]'])
def test_g6_safe_config(kind: str, bad: str) -> None:
    """A bad configuration never loads, and each message says which line, what was found, and what to write instead."""
    good = GOOD if kind == "glue" else LAKE
    assert set(load(good).by_name) >= {"v"}
    with pytest.raises(ConfigurationError) as refused:
        load(f"{good}{bad}\n")
    line = len(good.splitlines()) + 1
    assert {problem.line for problem in refused.value.problems} == {line}
    assert all(problem.key and problem.found and problem.expected for problem in refused.value.problems)
    assert f"unstale.toml:{line}: " in str(refused.value)


@places("everything", [(False,), (True,)])
def test_g7_brakes(place: Place, everything: bool) -> None:
    """Within one tick of a pause nothing is started any more, and nothing is forgotten; resuming starts one run."""
    sim, name = planned(place, Faults()), "" if everything else "v"
    sim.scheduler.at(PLANNED + 60, partial(sim.pause, name, paused=True))
    for moment in range(0, 3600, 20):
        sim.scheduler.at(PLANNED + 62 + moment, partial(sim.arrive, "v"))
    resumed = PLANNED + 7200
    sim.scheduler.run(resumed)
    assert ours_since(sim) == []
    state = sim.state(only(sim).key)
    assert state.owed
    assert isinstance(state.hold, Paused) is not everything
    sim.pause(name, paused=False)
    sim.scheduler.run(resumed + CALM)
    assert len(ours_since(sim)) == 1
    assert ours_since(sim)[0].created <= resumed + 60 + EFFECTS
    assert violations(sim) == []


# --- Where sources are looked at -------------------------------------------------------------------------------------

TROUBLE: dict[str, tuple[str, str]] = {
    "none": ("proven", ""),
    "ticks": ("unknown", "no tick came"),
    "queues": ("unknown", "messages wait in events"),
    "record": ("unknown", "nobody came"),
    "dead letters": ("unknown", "dead letters"),
    "file": ("unknown", "another file"),
    "looks": ("unknown", "sales.a"),
}
"""What goes wrong, and the verdict with a part of its reason."""


@pytest.mark.parametrize("trouble", TROUBLE)
def test_g8_honest(trouble: str) -> None:
    """`status` says fresh, or proven, only while somebody works and the last look is no older than three intervals."""
    look = timedelta(minutes=5)
    tell = Tell(shipped(), policy=replace(LAKE_POLICY, look=look))
    if trouble == "looks":
        tell.script.otherwise["look"] = CallFault(failure="rejected")
    tell.go(3 * look.total_seconds() + 120)
    now, state = at(tell.scheduler.now), tell.state()
    store: Any = tell.sim.store  # reads many, which is all that is asked of it
    past = now - timedelta(minutes=4)
    backlog = Backlog("events", 1, timedelta(minutes=4)) if trouble == "queues" else Backlog("events", 0)
    evidence = Evidence(
        tell.target,
        replace(state, wake_at=past) if trouble == "record" else state,
        tell.sim.deployment(),
        glue.CAPABILITIES,
        now,
        dead_letters=int(trouble == "dead letters"),
        sources=source_statuses([tell.target], store, now)[tell.target.key],
        liveness=Liveness(past if trouble == "ticks" else now, (backlog,)),
        differs="another file is deployed" if trouble == "file" else "",
    )
    found = status_of(evidence)
    verdict, why = TROUBLE[trouble]
    assert (found.verdict, why in found.why) == (verdict, True), found


@pytest.mark.parametrize("look", [60, 300])
@pytest.mark.parametrize("after", [0.5, 31.0, 59.0, 200.0])
def test_g9_healed(look: int, after: float) -> None:
    """An arrival that no event told of is a signal within one look interval and a tick, and then refreshed.

    On Fabric the function app's own triggers show it: tests/functions_azure/test_looks.py.
    """
    tell = Tell(shipped(), policy=replace(LAKE_POLICY, look=timedelta(seconds=look)))
    tell.commit(after)
    within = after + look + 60 + EFFECTS
    tell.go(within).was_owed(after)
    assert tell.healed(within + SOON).wrong == []
    assert tell.end(runs=1) == []
