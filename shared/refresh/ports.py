"""The ports through which the engine reaches what is outside; the shells implement them, the core calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.refresh.failure import Failure
from shared.refresh.state import Wake
from shared.targets import Target
from shared.values import Value

ATTEMPTS = 50
"""Turns of one change: a conflict takes one, a call takes one. Past that something is wrong, and the delivery comes
back."""


class Phase(StrEnum):
    """A platform's status, in words that both platforms share."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"  # a status nobody documented: not an end, and no success


class Capabilities(Value, frozen=True):
    """The character of a platform.

    `listing_delay`: a run is in the list this long after its start at the latest. `call_timeout`: a call gives up
    after this. `foreign_covers`: someone else's run reads the same sources as ours would. `skips`: a start during a run
    is accepted and then skipped, instead of being refused.
    """

    listing_delay: timedelta
    call_timeout: timedelta
    foreign_covers: bool
    skips: bool


class Started(Value, frozen=True):
    """The platform accepted a start; `run_id` is empty where the answer names none."""

    run_id: str = ""
    created_at: datetime | None = None
    retry_after: timedelta | None = None


class Report(Value, frozen=True):
    """The platform's report on one run; times are its own, `full` is None where it does not say."""

    run_id: str
    phase: Phase
    status: str
    created_at: datetime | None = None
    ended_at: datetime | None = None
    full: bool | None = None
    error: str = ""
    retry_after: timedelta | None = None
    dpu_seconds: float | None = None


class Platform(Protocol):
    """The calls of one platform. Each sends at most once and returns facts; it raises only what is a bug."""

    capabilities: Capabilities

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Start a run."""

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Ask for one run."""

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """List the target's runs: all that have not ended, and those that ended at `since` or later.

        An end, not a creation, because a long run of someone else's may have begun hours before ours was skipped.
        """

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Ask the platform to end a run; None if it will."""


class Document(Value, frozen=True):
    """A record as a store keeps it. `version` is opaque, changes with every save, and is empty for an absent record."""

    key: str
    version: str = ""
    body: bytes = b""


class Conflict(Exception):
    """The record is no longer at the version that was read."""


class ContendedError(Exception):
    """The record moved on at every attempt. The delivery must come back; nothing of it is lost."""


class StoreDownError(Exception):
    """The store did not answer, or refused for now. Nothing is known to be saved; the delivery must come back."""


class Store(Protocol):
    """Records under optimistic concurrency, an index of what is due, and a history that forgets.

    `reads_together` says that `load_many` of a few records is one request, and no slower than one `load`.
    """

    reads_together: bool

    def load(self, key: str) -> Document:
        """Read one record, strongly consistent."""

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace the record that was read, or create it where its version is empty; `Conflict` if it moved on."""

    def remove(self, document: Document) -> None:
        """Forget the record that was read, but not its history; `Conflict` if it moved on or is not there."""

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Keys whose `wake_at` is not after `now`, the most overdue first, and no more than `limit`.

        They are read a page at a time while the caller goes on, each row of the index once. A record that is saved
        meanwhile may come again, or not at all.
        """

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """Keys of all records, a page at a time and in no order; with the cursor of the next page, empty at the end."""

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many records, as consistently as one, in the order of `keys`."""

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep one line of history; the same `entry_id` again replaces it."""

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """The newest lines first, by `entry_id`."""


class Waker(Protocol):
    """Delayed messages. `reach` is the longest delay; `relays` says that one may be sent to send the next."""

    reach: timedelta
    relays: bool

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Deliver `wake` after `delay`; may raise `StoreDownError`."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Wall clock, aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back and count frozen time."""
