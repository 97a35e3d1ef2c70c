"""Virtual time, and workers that take turns: each is a greenlet that gives the others way at every effect."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The worker is gone, between two effects. No `except Exception` of the product may survive it."""


ENDLESS = 200_000
"""Things that happen in one history, past which something multiplies: an ordinary one has a few thousand."""


class Endless(AssertionError):  # noqa: N818 - named for what happened
    """More and more happens, and time does not get on."""


class Scheduler:
    """True time in seconds, and what happens when. Nothing here is real: an hour passes at once if nobody is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.workers = 0
        self._until = 0.0
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._main = getcurrent()

    def at(self, time: float, do: Callable[[], object]) -> None:
        """Do something at a time; what is late is done at once."""
        heapq.heappush(self._agenda, (max(time, self.now), next(self._order), do))

    def spawn(self, time: float, work: Callable[[], object]) -> None:
        """Let a worker begin at a time. It may sleep; others run meanwhile."""
        self.at(time, lambda: greenlet(work, self._main).switch())

    @property
    def is_working(self) -> bool:
        """Whether a worker asks, who alone may sleep."""
        return getcurrent() is not self._main

    def sleep(self, seconds: float) -> None:
        """Called by a worker: come back later. If nobody is due before, nobody else is asked."""
        wake_at = self.now + seconds
        if wake_at <= self._until and (not self._agenda or wake_at < self._agenda[0][0]):
            self.now = wake_at
            return
        self.at(wake_at, getcurrent().switch)
        self._main.switch()

    def run(self, until: float) -> None:
        """Let time pass."""
        self._until = until
        while self._agenda and self._agenda[0][0] <= until:
            self.now, number, do = heapq.heappop(self._agenda)
            if number > ENDLESS:
                raise Endless(f"{number} things happened by {self.now:.0f} s")
            do()
        self.now = until

    def idle_until(self) -> float:
        """When the next thing happens."""
        return self._agenda[0][0] if self._agenda else float("inf")
