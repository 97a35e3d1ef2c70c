"""How a refresh goes: a bar in a terminal, a line for each change in a pipe.

Nobody knows how far a refresh is: platforms tell that it runs, not how much is left. So the bar goes by the time that
such a refresh took before, stops just short of its end, and never says that something is done.
"""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class FollowedRefresh:
    """A bar of a refresh that is followed, as long as such a refresh took before; unknown, it only moves."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = ""
        console = Console()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=console, transient=True) if console.is_terminal else None
        self._bar = self._bars.add_task(name, total=None) if self._bars else None

    def show(self, step: str, took: timedelta | None, usual: timedelta | None) -> None:
        """Show where the refresh stands, how long it has run, and how long the longest of the last ones took."""
        if self._bars is not None and self._bar is not None:
            total = usual.total_seconds() if usual and took is not None else None
            done = min(took.total_seconds(), total * 0.99) if took is not None and total else 0
            self._bars.update(self._bar, description=f"{self._name}: {step}", total=total, completed=done)
        elif _without_times(step) != _without_times(self._told):
            self._told = step
            print(f"{self._name}: {step}", flush=True)

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()


def _without_times(step: str) -> str:
    """A step without its times, which change all the time: a pipe gets a line where something happened."""
    return step.partition(", since ")[0].partition(" in ")[0]
