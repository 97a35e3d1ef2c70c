"""Cases by the hundred thousand, each with a seed of its own: how many, which, and in which portions."""

from __future__ import annotations

import pytest

PORTION = 10_000
"""Cases of one test, so that the workers of a session share them."""


def portions(metafunc: pytest.Metafunc) -> None:
    """One test for each portion of the cases asked for; or the one of `--fuzz-seed`."""
    if "first" not in metafunc.fixturenames:
        return
    seed, total = metafunc.config.getoption("--fuzz-seed"), metafunc.config.getoption("--fuzz")
    if seed is not None:
        metafunc.parametrize(("first", "count"), [(seed, 1)])
    else:
        metafunc.parametrize(("first", "count"), [(n, min(PORTION, total - n)) for n in range(0, total, PORTION)])
