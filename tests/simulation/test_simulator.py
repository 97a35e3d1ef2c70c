"""Thousands of histories, none of which loses, overlaps, multiplies or hangs; what fails prints how to replay it.

With `--histories 100000` it plays more, `--seed 12345 --world ticks-dead` one, with its trace.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import history
from tests.simulation.core import shipped
from tests.simulation.faults import Script
from tests.simulation.history import WORLDS, play
from tests.simulation.measure import unmeasured
from tests.simulation.scenarios import REST, arrivals, deployed, ours, told
from tests.simulation.sqlite import SqliteStore
from tests.simulation.tables import TablesStore
from tests.simulation.world import Simulation
from tests.support.azurite_server import Azurite, one_azurite  # noqa: F401 - a fixture

PORTION = 100
"""Histories of one test: small enough to be shared out among the workers."""
ON_SQLITE = 20
"""Histories in each world that are played over an SQLite file, each a new one."""
ON_TABLES = 2
"""Histories in each world that are played over Azurite, where one takes a second or two."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each portion of the histories asked for; or the one of a replay line."""
    config = metafunc.config
    if "first" not in metafunc.fixturenames:
        return
    if config.getoption("--seed") is not None:
        metafunc.parametrize(("first", "count"), [(config.getoption("--seed"), 1)])
    else:
        total = config.getoption("--histories")
        metafunc.parametrize(("first", "count"), [(n, min(PORTION, total - n)) for n in range(0, total, PORTION)])


def test_histories(first: int, count: int, request: pytest.FixtureRequest) -> None:
    """Clocks apart, workers that freeze and die, lost answers, foreign runs, dead timers, dead queues: nothing is lost,
    nothing overlaps, all is bounded, and everything ends.
    """
    config = request.config
    alone = config.getoption("--seed") is not None
    for seed in range(first, first + count):
        world = config.getoption("--world") or WORLDS[seed % len(WORLDS)]
        lines: list[str] = []
        with unmeasured():
            verdict = play(seed, world, trace=lines.append if alone else None)
        assert not verdict.violations, "\n".join(["", *lines, str(verdict)])


def test_the_judge_goes_by_what_the_store_had_last() -> None:
    """Seed 987671603: a `pause --all` that froze once it was saved ends after the resume that followed it."""
    sim = deployed(shipped(), script=Script(pauses={("save<", 1): 300.0}), ticks=False)
    sim.scheduler.at(10.0, partial(sim.pause, "", paused=True))
    sim.scheduler.at(100.0, partial(sim.pause, "", paused=False))
    arrivals(sim, 200.0)
    for time in range(120, 4000, 60):
        sim.tick(float(time))
    sim.scheduler.run(REST)
    assert [(deed.paused, deed.begun < 100 < deed.done) for deed in sim.deeds] == [(False, False), (True, True)]
    assert not sim.is_paused("")
    assert (told(sim), len(ours(sim))) == ([], 1)


def test_a_resume_that_found_nothing_paused_is_of_when_it_read() -> None:
    """Seed 5003881: it froze with what it had read while somebody else's `pause` was saved, and that one holds."""
    with unmeasured():
        assert not play(5003881, "ticks-dead").violations


def test_a_package_whose_workers_did_nothing_is_owed_nothing() -> None:
    """Seed 1005032: the next package came six seconds later, and nobody has to refresh for the sources of the first."""
    with unmeasured():
        assert not play(1005032, "wakes-dead").violations


def test_a_place_in_the_queue_of_another_identity_is_none() -> None:
    """Seed 2308: a target's identity changed while it had a place, whose number the other queue would never reach."""
    with unmeasured():
        assert not play(2308, "ticks-and-wakes").violations


@pytest.mark.parametrize("world", WORLDS)
def test_histories_in_an_sqlite_file(world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the store of `unstale run`, whose index, conditions and versions are SQLite's."""
    for seed in range(ON_SQLITE):
        with closing(SqliteStore(tmp_path / f"{seed}.db")) as store, unmeasured():
            monkeypatch.setattr(history, "Simulation", partial(Simulation, store=store))
            verdict = play(seed, world)
        assert store.saves
        assert not verdict.violations, f"{verdict} (but over SQLite)"


@pytest.mark.parametrize("world", WORLDS)
def test_histories_on_azure_tables(world: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with Fabric's characters and the store that is deployed: a few of them, since its requests are real."""
    played = 0
    for seed in count():
        with closing(TablesStore(azurite.account())) as store, unmeasured():
            monkeypatch.setattr(history, "Simulation", partial(_on_fabric, store))
            try:
                verdict = play(seed, world)
            except NotOnFabric:
                continue
        assert store.saves
        assert not verdict.violations, f"{verdict} (but over Azurite)"
        played += 1
        if played == ON_TABLES:
            return


class NotOnFabric(Exception):  # noqa: N818 - named for what happened
    """The history is one of Glue's."""


def _on_fabric(store: TablesStore, *parts: Any, **more: Any) -> Simulation:
    made = Simulation(*parts, **{**more, "store": store})
    if made.character.refuses:
        raise NotOnFabric
    return made
