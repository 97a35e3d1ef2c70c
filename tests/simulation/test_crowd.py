"""Many targets behind one identity's limit: what it costs is bounded, and each sentence of section 4.1 is needed.

`--crowd 10000` plays crowds of that size, which takes some minutes; `python -m tests.simulation.crowd` prints figures.
"""

from __future__ import annotations

import pytest

from tests.simulation.core import broken, patches, shipped
from tests.simulation.crowd import WORLDS, play, wrong
from tests.simulation.measure import unmeasured
from tests.simulation.mutants import Mutant
from tests.simulation.pace_mutants import PACE_MUTANTS
from tests.simulation.scenarios import Tale

TALES = tuple(dict.fromkeys(mutant.caught for mutant in PACE_MUTANTS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Crowds of ten, of a hundred, and of as many as were asked for."""
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", sorted({10, 100, metafunc.config.getoption("--crowd")}))


@pytest.mark.parametrize("world", WORLDS)
def test_a_crowd_behind_a_limit(world: str, size: int) -> None:
    """Wakes of a target and times the ideal are within the limits of the bench, whatever is known of the limit."""
    with unmeasured():
        outcome = play(world, size)
    assert not wrong(world, outcome), str(outcome)


@pytest.mark.parametrize("mutant", PACE_MUTANTS, ids=lambda mutant: mutant.says)
def test_a_broken_sentence_is_caught(mutant: Mutant) -> None:
    """Its tale says what is wrong without it."""
    core = broken(*patches(mutant.patch))
    with unmeasured():
        assert _shows(mutant.caught, core), f"nothing noticed: {mutant.says}"


def _shows(caught: object, core: object) -> bool:
    assert callable(caught)
    try:
        return bool(caught(core))
    except Exception:  # noqa: BLE001 - a mutant may break down, too
        return True


@pytest.mark.parametrize("tale", TALES, ids=lambda tale: tale.__name__)
def test_what_ships_comes_through(tale: Tale) -> None:
    """The tale that catches a mutant finds nothing wrong with what ships."""
    with unmeasured():
        assert tale(shipped()) == []
