"""Every interleaving of a small world that looks: no proof is wrong in any of its states, and the calm heals each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.simulation.core import broken, patches, shipped
from tests.simulation.exhaustive_look import explore
from tests.simulation.measure import unmeasured


class Happens(NamedTuple):
    """How many of each may happen, at any step, beside the commit, and the loss of its event."""

    crashes: int = 0
    foreign: int = 0
    jumps: int = 0


WORLDS = {
    "a crash": (Happens(crashes=1), 5_000),
    "somebody else's refresh": (Happens(foreign=1), 10_000),
    "a freeze of all, in which runs end": (Happens(jumps=1), 40_000),
}
"""What may happen in each world, and how many states the world has at least."""
IN_TIME = 2
"""The first worlds are explored by `make test`; the last one takes half a minute more, with `--whole-worlds`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The worlds that were asked for."""
    if "happens" in metafunc.fixturenames:
        names = list(WORLDS) if metafunc.config.getoption("--whole-worlds") else list(WORLDS)[:IN_TIME]
        metafunc.parametrize(("happens", "least"), [WORLDS[name] for name in names], ids=names)


def test_every_interleaving_of_a_look(
    happens: Happens, least: int, record_property: Callable[[str, object], None]
) -> None:
    """One table, one view, two workers a minute apart, a commit whose event is told or lost: never proven while no run
    in the platform's journal has read the version, and always healed.
    """
    with unmeasured():
        explored = explore(shipped(), **happens._asdict())
    record_property("tells", f"{explored.states} states of the small world that looks, with {happens}")
    assert not explored.wrong
    assert explored.states > least


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        (
            "~ when = min(_when(memories[source]) for source in view.sources) => when = view.moment",
            "no run has read that",
        ),
        ("~ if view.ids.isdisjoint(_ids(memories[source])): => if False:", "not healed"),
    ],
    ids=["proven as of the view's answer", "proven whatever the view has read"],
)
def test_a_wrong_proof_is_found(patch: str, wrong: str) -> None:
    """The world tells broken code, or it would tell nothing."""
    core = broken(*patches(f"proof:\n{patch}\n"))
    with unmeasured():
        assert wrong in explore(core, foreign=1).wrong
