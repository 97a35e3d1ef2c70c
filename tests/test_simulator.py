"""Ten thousand histories, none of which loses, overlaps, multiplies or hangs; what fails prints how to replay it.

`pytest tests/test_simulator.py --histories 100000` plays more, `--seed 12345 --world ticks-dead` one, with its trace.
"""

from __future__ import annotations

import pytest

from tests.sim.history import WORLDS, play
from tests.sim.measure import unmeasured

PORTION = 100
"""Histories of one test: small enough to be shared out among the workers."""


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
