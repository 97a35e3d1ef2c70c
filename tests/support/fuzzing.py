"""Cases by the hundred thousand, each with a seed of its own: how many, which, and in which portions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

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
        measured = not metafunc.config.getoption("no_cov", default=False)
        portions = [_portion(n, total, measured=measured) for n in range(0, total, PORTION)]
        metafunc.parametrize(("first", "count"), portions)


def _portion(first: int, total: int, *, measured: bool) -> ParameterSet:
    """The cases from this one on. Which lines they reach is measured for the first portion alone, for it takes time.

    Where nothing is measured (`--no-cov`) the mark must not be there: pytest-cov 7.1.0 stumbles over it.
    """
    marks = [pytest.mark.no_cover] if first and measured else []
    return pytest.param(first, min(PORTION, total - first), marks=marks)
