"""The store of a simulated world: what `MemoryStore` keeps, with an account of who wrote what, and quicker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from shared.refresh.ports import Conflict, Document, Store


class SimStore:
    """Records under optimistic concurrency. Strongly consistent: each of its methods is one moment."""

    reads_together = True

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.wake_at: dict[str, datetime] = {}
        self.history: dict[tuple[str, str], bytes] = {}
        self.saves: Counter[str] = Counter()
        self.conflicts: Counter[str] = Counter()
        self.on_save: Callable[[], None] = lambda: None
        self._versions = 0

    def load(self, key: str) -> Document:
        """Read one record."""
        return self.documents.get(key) or Document(key)

    def load_many(self, keys: Iterable[str]) -> list[Document]:
        """Read many records for a report."""
        return [self.load(key) for key in keys]

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace what was read."""
        key = document.key
        if self.load(key).version != document.version:
            self.conflicts[key] += 1
            raise Conflict(key)
        self._versions += 1
        saved = self.documents[key] = Document(key, str(self._versions), body)
        self._account(key, wake_at)
        return saved

    def _account(self, key: str, wake_at: datetime | None) -> None:
        """Note a save, and when the record is due from now on."""
        self.saves[key] += 1
        if wake_at is None:
            self.wake_at.pop(key, None)
        else:
            self.wake_at[key] = wake_at
        self.on_save()

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep a line of history."""
        self.history[key, entry_id] = body

    def remove(self, document: Document) -> None:
        """No job of Fabric's is in these worlds."""
        raise NotImplementedError(document.key)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """The most overdue first."""
        due = sorted((wake_at, key) for key, wake_at in self.wake_at.items() if wake_at <= now)
        return iter([key for _, key in due[:limit]])

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of them."""
        rest = sorted(key for key in self.documents if key > cursor)
        return rest[:limit], rest[limit - 1] if len(rest) > limit else ""


class KeptElsewhere(SimStore):
    """The same account of a store of the product: nothing is kept here but counts, and when the next record is due."""

    def __init__(self, kept: Store) -> None:
        super().__init__()
        self._kept = kept

    def load(self, key: str) -> Document:
        """Read one record."""
        return self._kept.load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace what was read."""
        try:
            saved = self._kept.save(document, body, wake_at)
        except Conflict:
            self.conflicts[document.key] += 1
            raise
        self._account(document.key, wake_at)
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep a line of history."""
        self._kept.append(key, entry_id, body, expires_at)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """The most overdue first."""
        return self._kept.due(now, limit)

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of them."""
        return self._kept.keys(cursor, limit)
