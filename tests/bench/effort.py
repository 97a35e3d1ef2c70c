"""How much is measured: `make bench` ends in about a quarter of an hour on two cores, and may have less or more."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """Numbers of repetitions, and sizes."""

    starts: int
    """Fresh processes of each kind."""
    repetitions: int
    """Repetitions of what takes milliseconds; the median counts."""
    sizes: tuple[int, ...]
    """Numbers of targets that something is measured with."""
    crowds: tuple[int, ...]
    """Targets behind one identity's limit."""
    batches: tuple[int, ...]
    """Events of a batch."""
    arrivals: int
    """Arrivals of a storm on AWS."""


NORMAL = Effort(7, 15, (10, 100, 1_000, 10_000), (100, 1_000, 8_000), (1, 10, 100, 1_000), 100_000)
QUICK = Effort(3, 5, (10, 100, 1_000), (100, 1_000), (1, 10, 100), 20_000)
THOROUGH = Effort(21, 51, (10, 100, 1_000, 10_000), (100, 1_000, 8_000, 10_000), (1, 10, 100, 1_000), 1_000_000)

chosen = NORMAL
"""What `tests.bench.__main__` was asked for."""


def by_name(*, quick: bool, thorough: bool) -> Effort:
    """Choose."""
    return QUICK if quick else THOROUGH if thorough else NORMAL
