"""Histories of looking: nothing is lost though events are, no proof is wrong, everything is healed."""

from __future__ import annotations

import pytest

from tests.simulation.looks import play
from tests.simulation.measure import unmeasured

PORTION = 50
"""Histories of one test, so that workers can share them."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each portion of a fifth of the histories asked for; or the one of a replay line."""
    config = metafunc.config
    if "first" not in metafunc.fixturenames:
        return
    if config.getoption("--seed") is not None:
        metafunc.parametrize(("first", "count"), [(config.getoption("--seed"), 1)])
    else:
        total = config.getoption("--histories")
        metafunc.parametrize(("first", "count"), [(n, min(PORTION, total - n)) for n in range(0, total, PORTION)])


def test_lakes_heal(first: int, count: int, request: pytest.FixtureRequest) -> None:
    """Events lost, looks that fail, late answers, workers that die, others' refreshes, roll-backs, compactions."""
    alone = request.config.getoption("--seed") is not None
    for seed in range(first, first + count):
        lines: list[str] = []
        with unmeasured():
            verdict = play(seed, trace=lines.append if alone else None)
        assert not verdict.violations, "\n".join(["", *lines, str(verdict)])
