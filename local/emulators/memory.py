"""The store and the waker in memory: for one machine, for the demo and for tests. What they hold ends with the process.

They are safe between threads. `tests/support/store_contract.py` says what every store must do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from threading import Lock

from shared.refresh.ports import Clock, Conflict, Document
from shared.refresh.state import Wake


class MemoryStore:
    """Records, the index of what is due, and the history, in dictionaries."""

    reads_together = True

    def __init__(self) -> None:
        """Begin empty; versions count up over all records."""
        self._lock = Lock()
        self._versions = count(1)
        self._documents: dict[str, Document] = {}
        self._wake_at: dict[str, datetime] = {}
        self._history: dict[str, dict[str, bytes]] = {}

    def load(self, key: str) -> Document:
        """Read one record; an absent one is an empty document."""
        return self._documents.get(key) or Document(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace the record that was read, or create it; `Conflict` if it moved on."""
        with self._lock:
            self._match(document)
            saved = Document(document.key, str(next(self._versions)), body)
            self._documents[document.key] = saved
            self._wake_at.pop(document.key, None)
            if wake_at is not None:
                self._wake_at[document.key] = wake_at
            return saved

    def remove(self, document: Document) -> None:
        """Forget the record that was read; `Conflict` if it moved on or is not there."""
        with self._lock:
            self._match(document)
            if not document.version:
                raise Conflict(document.key)
            del self._documents[document.key]
            self._wake_at.pop(document.key, None)

    def _match(self, document: Document) -> None:
        """Raise `Conflict` if the record is not at the version that was read: no read that a test would count."""
        current = self._documents.get(document.key)
        if (current.version if current else "") != document.version:
            raise Conflict(document.key)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Keys whose `wake_at` is not after `now`, the most overdue first, as of this moment."""
        with self._lock:
            due = sorted((wake_at, key) for key, wake_at in self._wake_at.items() if wake_at <= now)
        return iter([key for _, key in due[:limit]])

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """Keys of all records, a page at a time; the cursor is the last key of the page before."""
        with self._lock:
            rest = sorted(key for key in self._documents if key > cursor)
        page = rest[:limit]
        return page, page[-1] if len(rest) > limit else ""

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many records, in the order of `keys`."""
        return [self.load(key) for key in keys]

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:  # noqa: ARG002 - see below
        """Keep one line of history. Nothing expires: the process ends first."""
        with self._lock:
            self._history.setdefault(key, {})[entry_id] = body

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """The newest lines first."""
        with self._lock:
            lines = sorted(self._history.get(key, {}).items(), reverse=True)
        return [body for _, body in lines[:limit]]


class MemoryWaker:
    """Wakes on a heap; whoever runs the process takes those that are due and delivers them."""

    def __init__(self, clock: Clock, *, reach: timedelta = timedelta(days=6), relays: bool = True) -> None:
        """Begin with no wakes. `reach` is the longest delay that is taken at once, as with the queues in the cloud."""
        self.reach = reach
        self.relays = relays
        self._clock = clock
        self._lock = Lock()
        self._order = count()
        self._heap: list[tuple[datetime, int, Wake]] = []

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Keep a message until `delay` is over."""
        with self._lock:
            heapq.heappush(self._heap, (self._clock.now() + delay, next(self._order), wake))

    def take_due(self) -> Sequence[Wake]:
        """Take what is due out, the earliest first. A wake that its taker loses is lost: the tick makes up for it."""
        now, taken = self._clock.now(), []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                taken.append(heapq.heappop(self._heap)[2])
        return taken
