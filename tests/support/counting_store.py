"""A store in memory that counts what it is asked: what each call would cost in a cloud."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from local.emulators.memory import MemoryStore
from shared.refresh.ports import Document


class CountingStore(MemoryStore):
    """Counts requests as a store takes them: a save is a write and no read, a batch of reads is one request."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = self.requests = 0
        """Records read, rows written, and requests of both kinds: a batch read of two is two reads and one request."""

    def load(self, key: str) -> Document:
        """Read one record."""
        self.requests += 1
        self.reads += 1
        return super().load(key)

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many, a hundred in a request."""
        wanted = list(keys)
        self.requests += -(-len(wanted) // 100)
        self.reads += len(wanted)
        return [super(CountingStore, self).load(key) for key in wanted]

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Write one record, conditionally."""
        self.requests += 1
        self.writes += 1
        return super().save(document, body, wake_at)

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Write one line of history."""
        self.requests += 1
        self.writes += 1
        super().append(key, entry_id, body, expires_at)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Ask the index."""
        self.requests += 1
        self.reads += 1
        return super().due(now, limit)

    def forget_counts(self) -> None:
        """Count from nothing."""
        self.reads = self.writes = self.requests = 0
