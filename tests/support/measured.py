"""Coverage of `shared` is the work of tests/shared: all other tests run as fast as without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

from tests.simulation.measure import unmeasured

MEASURED = Path(__file__).parents[1] / "shared"
"""The tests that have to reach each branch. A tracer costs all code that runs, whether measured or not, half again."""


class Measurement:
    """Takes the tracer off while tests are collected, and during those of other rooms."""

    def __init__(self) -> None:
        self._stopped = ExitStack()
        self._measures = True

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        """Measure how `shared` is imported, and not how everything else is."""
        shared = import_module("shared")
        for module in walk_packages(shared.__path__, "shared."):
            import_module(module.name)
        with unmeasured():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Switch between rooms, not between tests: code that has run must be prepared anew each time."""
        measures = MEASURED in item.path.parents
        if measures and not self._measures:
            self._stopped.close()
        elif self._measures and not measures:
            self._stopped.enter_context(unmeasured())
        self._measures = measures
