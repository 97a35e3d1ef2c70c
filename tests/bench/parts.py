"""What the measurements of both clouds have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from local.emulators.memory import MemoryWaker
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
    over: str = "targets"
    """What the sizes count."""


Row = Measured | Skipped | Curve


def curve(what: str, unit: str, points: Mapping[int, float], growth_limit: float | None = None) -> Iterator[Row]:
    """A line for each size, each with its growth from the one a tenth as large, and the points of the picture."""
    for size, cost in points.items():
        growth = cost / points[size // 10] if points.get(size // 10) else None
        yield Measured(f"{what}, {size:,}", cost, unit, growth=growth, growth_limit=growth_limit)
    yield Curve(what.removesuffix(", targets"), unit, "ours", tuple(points.items()))


class Clock:
    """Stands until it is moved."""

    time = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move it on."""
        self.time += timedelta(seconds=seconds)

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.time.timestamp()


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
