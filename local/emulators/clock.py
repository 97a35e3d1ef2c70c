"""Clocks for one machine: the real one, and one that runs faster, so that minutes of waiting take seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from threading import Event


class FastClock:
    """`shared.refresh.ports.Clock` that began at `start` and runs `speed` times as fast as real time; can wait.

    Everything that waits or dates something must share one: workers, platform, queues. The monotonic clock runs fast,
    too, so that what the machine bounds by it keeps its proportion to what it bounds by the wall clock.
    """

    def __init__(self, start: datetime, speed: float) -> None:
        """Begin now."""
        self.start = start
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> datetime:
        """The time of day here."""
        return self.start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds since `start`."""
        return (time.monotonic() - self._began) * self.speed

    def real_seconds(self, duration: timedelta) -> float:
        """Real seconds that a duration of this clock takes."""
        return duration.total_seconds() / self.speed

    def wait_until(self, moment: datetime, stop: Event) -> bool:
        """Sleep until the moment, or until `stop` is set; True if the moment has come."""
        return not stop.wait(max(0.0, self.real_seconds(moment - self.now())))


class UnhurriedClock:
    """The time of day of a fast clock, and the seconds of this machine: for what must leave the network its time."""

    def __init__(self, fast: FastClock) -> None:
        """Keep the clock whose day it is."""
        self._fast = fast

    def now(self) -> datetime:
        """The time of day there."""
        return self._fast.now()

    def monotonic(self) -> float:
        """Seconds of this machine."""
        return time.monotonic()


def utc_now() -> datetime:
    """The machine's own time of day, where no other clock is given."""
    return datetime.now(UTC)
