"""Every rule of the refresh machine, and each of its sentences, broken by itself: that must show.

The sentences and their mutants stand in `tests/simulation/mutants.py`; a patch whose text has left the code fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.core import Core, broken, patches, shipped
from tests.simulation.exhaustive import explore
from tests.simulation.history import play
from tests.simulation.measure import unmeasured
from tests.simulation.mutants import MUTANTS, Histories, Mutant, SmallWorld
from tests.simulation.scenarios import Tale

HISTORIES = 1000
"""Within this many, from the first seed on; most mutants need a few."""


def _named(mutant: Mutant) -> str:
    return f"{mutant.rule}: {mutant.says}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=_named)
def test_a_broken_sentence_is_caught(mutant: Mutant) -> None:
    """Something is lost, overlaps, multiplies, hangs or breaks down: where the mutant says that it must show."""
    core = broken(*patches(mutant.patch))
    with unmeasured():
        assert _shows(mutant.caught, core), f"nothing noticed: {_named(mutant)}"


def _shows(caught: Histories | SmallWorld | Tale, core: Core) -> bool:
    if isinstance(caught, Histories):
        return any(_violates(seed, caught, core) for seed in range(caught.first, caught.first + HISTORIES))
    try:
        if isinstance(caught, SmallWorld):
            return any(explore(core, platform, **caught._asdict()).wrong for platform in ("lax", "glue"))
        return bool(caught(core))
    except Exception:  # noqa: BLE001 - a mutant may break down, too
        return True


def _violates(seed: int, where: Histories, core: Core) -> bool:
    try:
        return bool(play(seed, where.world, core, focus=where.focus).violations)
    except Exception:  # noqa: BLE001 - as above
        return True


def _tales() -> Iterator[Tale]:
    """Those that a mutant is caught by; another would be a tale about nothing."""
    return (mutant.caught for mutant in MUTANTS if not isinstance(mutant.caught, Histories | SmallWorld))


@pytest.mark.parametrize("tale", dict.fromkeys(_tales()), ids=lambda tale: tale.__name__)
def test_what_ships_comes_through(tale: Tale) -> None:
    """The tale that catches a mutant finds nothing wrong with what ships."""
    with unmeasured():
        assert tale(shipped()) == []
