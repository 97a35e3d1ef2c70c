"""A store in memory that counts what it is asked: what each call would cost in a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from local.emulators.memory import MemoryStore
from shared.refresh.ports import Document


class CountingStore(MemoryStore):
    """Counts reads, those of the index included, and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = 0

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
