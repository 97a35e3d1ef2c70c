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


ONE_FAULT = [
    # Where runs may overlap, nothing but our own care keeps them apart.
    ("lax", Faults(crashes=1)),
    ("lax", Faults(freezes=1)),
    # Where a start during a run is refused, the refusal must not be taken for the signal's run.
    ("glue", Faults(losses=1)),
]
"""A fault at any step: what fits into `make test`, 50 seconds of a processor."""
FAULTS_TOGETHER = [
    ("lax", Faults(crashes=1, losses=1, duplicates=1)),
    ("lax", Faults(losses=1, freezes=1)),
    ("glue", Faults(crashes=1, losses=1)),
]
"""Several at any steps, with `--whole-worlds`: four minutes of a processor."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The worlds that were asked for."""
    if "faults" in metafunc.fixturenames:
        whole = metafunc.config.getoption("--whole-worlds")
        metafunc.parametrize(("platform", "faults"), FAULTS_TOGETHER if whole else ONE_FAULT)


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
    assert explored.states > 30_000
