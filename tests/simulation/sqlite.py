"""The store of a simulated world in an SQLite file: what `unstale run` has, with the account of `SimStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from local.process.store import StateFile, Store
from shared.refresh.ports import Conflict, Document
from shared.targets import Cloud
from tests.simulation.store import SimStore
from tests.support.core import HandClock


class SqliteStore(SimStore):
    """Nothing is kept here but counts, and when the next record is due."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = StateFile(path)
        self._file.execute("hurrying", "PRAGMA synchronous = OFF")  # nobody cuts the power here
        self._store = Store(self._file, Cloud.AWS, HandClock())

    def load(self, key: str) -> Document:
        """Read one record."""
        return self._store.load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace what was read."""
        key = document.key
        try:
            saved = self._store.save(document, body, wake_at)
        except Conflict:
            self.conflicts[key] += 1
            raise
        self._account(key, wake_at)
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep a line of history."""
        self._store.append(key, entry_id, body, expires_at)

    def due(self, now: datetime, limit: int) -> Sequence[str]:
        """The most overdue first."""
        return self._store.due(now, limit)

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of them."""
        return self._store.keys(cursor, limit)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
