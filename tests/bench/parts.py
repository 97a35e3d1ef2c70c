"""What the measurements of both clouds have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.refresh.ports import Document
from shared.refresh.state import Wake


class Measured(NamedTuple):
    """One line; `limit` is the most that it may be, None where there is none."""

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def good(self) -> bool:
        """Within its limit."""
        return self.limit is None or self.value <= self.limit


class Clock:
    """Stands until it is moved."""

    time = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.time.timestamp()


class CountingStore(MemoryStore):
    """Counts reads and writes."""

    reads = writes = 0

    def load(self, key: str) -> Document:
        """One more read."""
        self.reads += 1
        return super().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """One more write."""
        self.writes += 1
        return super().save(document, body, wake_at)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """One more read."""
        self.reads += 1
        return super().due(now, limit)


class CountingWaker(MemoryWaker):
    """Counts messages."""

    sent = 0

    def send(self, wake: Wake, delay: timedelta) -> None:
        """One more."""
        self.sent += 1
        super().send(wake, delay)

    def in_flight(self) -> Counter[str]:
        """How many are on their way, by target."""
        return Counter(wake.key for _, _, wake in self._heap)
