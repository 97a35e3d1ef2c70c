"""The journal of a platform, kept by its emulator: the only evidence that the judges of loss and overlap accept.

Nothing in here comes from our own state. Every time in a journal is true time, that of the clock on which arrivals
are stamped, even where a scripted fault makes the platform tell its callers another one.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

Outcome = Literal["running", "succeeded", "failed", "stopped", "cancelled", "skipped"]
"""Where a run stands, in words that both platforms share."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece of data that reached a source of `resource`; a run that reads at or after `visible_at` has it."""

    resource: str
    """The resource that must be refreshed after the arrival."""
    visible_at: datetime
    """From when on a run can read it."""


@dataclass(frozen=True, slots=True)
class PlatformRun:
    """A run as the platform knows it; `read_at` is when it read its sources, `ended_at` is None while it goes on.

    `foreign` says that someone other than the product started it. `token` is whatever tells the caller (an access key,
    a client's name), None where the request did not say.
    """

    run_id: str
    """The platform's id."""
    resource: str
    """The resource that the run refreshes."""
    created_at: datetime
    """When its start was accepted."""
    read_at: datetime
    """When the run read its sources."""
    ended_at: datetime | None = None
    """When the run ended; None while the run goes on."""
    outcome: Outcome = "running"
    """The status of the run."""
    full: bool = False
    """Whether a full refresh was asked for."""
    foreign: bool = False
    """Whether someone else started it."""
    token: str | None = None
    """The caller's mark (an access key, an object id); None where the request has none."""


@dataclass(frozen=True, slots=True)
class RefusedStart:
    """A start that made no run; `code` is the vendor's name of the error, `foreign` says that it was not ours."""

    resource: str
    """The resource that was to be refreshed."""
    at: datetime
    """When the start was refused."""
    code: str
    """The vendor's name of the error."""
    token: str | None = None
    """The caller's mark, as of a run."""
    foreign: bool = False
    """Whether someone else asked."""


class Journal:
    """A thread-safe record of runs, in the order they were created, and of refused starts."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._runs: dict[str, PlatformRun] = {}
        self._refused: list[RefusedStart] = []

    def add(self, entry: PlatformRun | RefusedStart) -> None:
        """Append an entry; ValueError if a run of that id is there already."""
        with self._lock:
            if isinstance(entry, RefusedStart):
                self._refused.append(entry)
            elif entry.run_id in self._runs:
                msg = f"run {entry.run_id} is in the journal already"
                raise ValueError(msg)
            else:
                self._runs[entry.run_id] = entry

    def replace(self, run: PlatformRun) -> None:
        """Put what is now known of a run in the place of what was; KeyError if the run was never added."""
        with self._lock:
            if run.run_id not in self._runs:
                raise KeyError(run.run_id)
            self._runs[run.run_id] = run

    def entries(self) -> tuple[PlatformRun, ...]:
        """Return the runs so far, oldest first."""
        with self._lock:
            return tuple(self._runs.values())

    def refused_starts(self) -> tuple[RefusedStart, ...]:
        """Return the refused starts so far, oldest first."""
        with self._lock:
            return tuple(self._refused)


def lost(
    arrivals: Iterable[Arrival], runs: Iterable[PlatformRun], visibility: timedelta = timedelta(0)
) -> list[Arrival]:
    """Return the arrivals that no successful run has, foreign runs included.

    `visibility` is how much later than its `visible_at` each arrival can really be read: zero where the platform shows
    data at once, more where a test models a platform that lags.
    """
    last_read: dict[str, datetime] = {}
    for run in runs:
        if run.outcome == "succeeded":
            last_read[run.resource] = max(run.read_at, last_read.get(run.resource, run.read_at))
    return [
        arrival
        for arrival in arrivals
        if arrival.resource not in last_read or last_read[arrival.resource] < arrival.visible_at + visibility
    ]


def count_overlaps(runs: Iterable[PlatformRun]) -> int:
    """Count the pairs of our own runs of one resource that went on at the same time.

    A run lasts from `created_at` up to, not including, `ended_at`. A run that the platform skipped never went on.
    """
    ours: dict[str, list[PlatformRun]] = defaultdict(list)
    for run in runs:
        if not run.foreign and run.outcome != "skipped":
            ours[run.resource].append(run)
    pairs = (pair for group in ours.values() for pair in combinations(group, 2))
    return sum(_began_before_the_end_of(one, other) and _began_before_the_end_of(other, one) for one, other in pairs)


def _began_before_the_end_of(one: PlatformRun, other: PlatformRun) -> bool:
    """Whether one run was created before the other one ended."""
    return other.ended_at is None or one.created_at < other.ended_at
