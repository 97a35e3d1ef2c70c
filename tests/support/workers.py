"""How workers share the tests: the longest begin first, and more workers than cores, since many a test waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONGEST = (
    "local/process/test_soak.py",
    "local/demo/test_demo.py",
    "simulation/test_exhaustive.py",
    "simulation/test_exhaustive_look.py",
    "journeys/test_lakehouses.py",
    "journeys/test_ten_glue_views.py",
    "local/cli/test_run.py",
    "functions_azure/test_crashes.py",
)
"""Files below `tests` with a test of more than twenty seconds on a quiet machine, or with many that are nearly so."""

_PLACES = {Path(__file__).parents[1] / name: place for place, name in enumerate(LONGEST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, so that no worker is left alone with one when all others are done.

    Whole files stay together, since what their tests share is made once where they follow each other.
    """
    items.sort(key=lambda item: _PLACES.get(item.path, len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Give three workers for two cores: one that waits for a process, a timer or a disk leaves its core to others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (cores + 1) // 2
