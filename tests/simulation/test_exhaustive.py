"""Every interleaving of a small world, none of which loses anything or starts a run during one of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.simulation.core import shipped
from tests.simulation.exhaustive import explore
from tests.simulation.measure import unmeasured


class Faults(NamedTuple):
    """How many of each may happen, at any step."""

    crashes: int = 0
    losses: int = 0
    duplicates: int = 0
    freezes: int = 0


@pytest.mark.parametrize(
    ("platform", "faults"),
    [
        # Where runs may overlap, nothing but our own care keeps them apart.
        ("lax", Faults(crashes=1, losses=1, duplicates=1)),
        ("lax", Faults(losses=1, freezes=1)),
        # Where a start during a run is refused, the refusal must not be taken for the signal's run.
        ("glue", Faults(crashes=1, losses=1)),
    ],
)
def test_every_interleaving(
    platform: str, faults: Faults, record_property: Callable[[str, object], None]
) -> None:  # G1, G2
    """One target, two workers a minute apart, three signals: in every state that crashes, lost answers, duplicates and
    freezes at any step can lead to, at most one run of ours goes on, and the calm after it covers every signal.
    """
    with unmeasured():
        explored = explore(shipped(), platform, **faults._asdict())
    record_property("tells", f"{explored.states} states of the small world on {platform}, with {faults}")
    assert not explored.wrong
    assert explored.states > 100_000
