"""Many targets behind one identity's limit, on a simulated platform that counts as the true ones do.

The worlds are those of `tests.simulation.crowd`: a limit that is configured, one that is lower than that, one that is
shared with others, and two that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench import effort
from tests.bench.parts import Curve, Measured, Row
from tests.simulation.crowd import MOST, WORLDS, play

SMALLER = 1_000
"""Targets of the worlds beside the first, unless all are asked for: a world of 8,000 takes a minute."""
LARGE_IN_FULL = "known"
"""The world that is played in each size."""


def measure() -> Iterator[Row]:
    """Wakes of a target and times the ideal, for each world and size."""
    for world, (_, limits) in WORLDS.items():
        mean, most, ratio = MOST[limits.starts_per_minute is not None]
        points = {}
        for size in _sizes(world):
            outcome = play(world, size)
            points[size] = outcome.mean
            if outcome.started < size:
                raise RuntimeError(f"{world}: started {outcome.started} of {size}")
            where = f"identity's limit, {world}, {size:,} due"
            yield Measured(f"{where}: wakes a target", outcome.mean, "", mean)
            yield Measured(f"{where}: wakes of one, at most", outcome.most, "", most)
            yield Measured(f"{where}: time, over the ideal", outcome.ratio, "times", ratio)
            requests = (outcome.crowd.store.reads + outcome.crowd.store.writes) / size
            yield Measured(f"{where}: reads and writes a target", requests, "")
        yield Curve("Wakes of a target behind a limit", "wakes", world, tuple(points.items()))


def _sizes(world: str) -> tuple[int, ...]:
    """All, of the first world; of the others as many as take no minutes."""
    crowds = effort.chosen.crowds
    return (
        crowds
        if world == LARGE_IN_FULL or effort.chosen is effort.THOROUGH
        else tuple(size for size in crowds if size <= SMALLER)
    )
