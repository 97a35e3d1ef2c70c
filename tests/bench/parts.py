"""What the measurements of both clouds have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.refresh.ports import Document
from shared.refresh.state import Wake


class Measured(NamedTuple):
    """One line: ours, the others, and the most that ours, its ratio to the first other, or its growth may be."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    """The most that the value may be."""
    others: Mapping[str, float] = MappingProxyType({})
    """What others need for the same, by name; the first is what the ratio's limit is about."""
    ratio_limit: float | None = None
    growth: float | None = None
    """The cost at ten times the size over the cost at one."""
    growth_limit: float | None = None

    @property
    def ratio(self) -> float:
        """Ours over the first other."""
        return self.value / next(iter(self.others.values()))

    @property
    def limits(self) -> list[tuple[str, bool]]:
        """Each limit in words, and whether it is kept."""
        found = []
        if self.limit is not None:
            found.append((f"at most {self.limit:,g}{self.unit and ' '}{self.unit}", self.value <= self.limit))
        if self.ratio_limit is not None:
            found.append((f"at most {self.ratio_limit:g} times", self.ratio <= self.ratio_limit))
        if self.growth is not None and self.growth_limit is not None:
            found.append((f"growth at most {self.growth_limit:g}", self.growth <= self.growth_limit))
        return found

    @property
    def good(self) -> bool:
        """Within all of its limits."""
        return all(kept for _, kept in self.limits)


class Skipped(NamedTuple):
    """A line that could not be measured here, and why; the end of the output lists it again."""

    what: str
    why: str


class Curve(NamedTuple):
    """How a cost grows with a size, for the picture: `points` are sizes and costs, `of` says whose."""

    what: str
    unit: str
    of: str
    points: Sequence[tuple[int, float]]


Row = Measured | Skipped | Curve


def curve(what: str, unit: str, points: Mapping[int, float], growth_limit: float | None = None) -> Iterator[Row]:
    """A line for each size, each with its growth from the one a tenth as large, and the points of the picture."""
    for size, cost in points.items():
        growth = cost / points[size // 10] if points.get(size // 10) else None
        yield Measured(f"{what}, {size:,}", cost, unit, growth=growth, growth_limit=growth_limit)
    yield Curve(what, unit, "ours", tuple(points.items()))


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
