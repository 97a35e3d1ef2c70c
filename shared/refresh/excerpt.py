"""An excerpt of the records and the history, for readers who may not read the store: what the page is made of.

A tick of the current package writes it as one object, where the deployment has a place for that, every `EVERY`. The
record of the deployment says when the last one was begun, so that of several workers one writes. Whatever goes wrong
with an excerpt is logged, and disturbs nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.engine import LogEvent
from shared.refresh.evidence import SourceStatus
from shared.refresh.identity import Identity
from shared.refresh.ports import Conflict, Store
from shared.refresh.records import DEPLOYMENT_KEY, identity_key, read_deployment, read_ended, read_identity, read_state
from shared.refresh.state import Deployment, Ended, State
from shared.targets import Target
from shared.values import Value

EVERY = timedelta(minutes=5)
"""From one excerpt to the next: 288 writes a day, and each reads the history of all targets."""
MOST_LINES = 10_000
"""Lines of history in an excerpt, shared out evenly: what the page is made to show."""
MOST_LINES_OF_ONE = 1000
"""Lines of one target: as many as one page of DynamoDB's answer holds, and as the page itself reads."""
MOST_BYTES = 4_000_000
"""An excerpt is no larger: half of the lines of each target are left out until it is so."""


class Excerpt(Value, frozen=True):
    """The records of a deployment at one moment, and its newest history."""

    at: datetime
    """When the excerpt was read."""
    deployment: Deployment
    """The record of the deployment."""
    states: dict[str, State]
    """The record of each target, by its key."""
    identities: dict[str, Identity]
    """The record of each identity that calls the platform, by its name."""
    sources: dict[str, tuple[SourceStatus, ...]]
    """How the sources of each target that is looked at stand, by the target's key."""
    history: dict[str, tuple[Ended, ...]]
    """The newest lines of each target's history, the newest first, by the target's key."""


class ExcerptSink(Protocol):
    """The one object that holds the newest excerpt."""

    def put(self, body: bytes) -> None:
        """Replace the object. Raises `StoreDownError`."""


SourceStatuses = Callable[[Sequence[Target], Store, datetime], Mapping[str, tuple[SourceStatus, ...]]]
"""Reads how the sources of targets stand, by the targets' keys; `shared.sources.standing` does it."""


class TooLargeError(Exception):
    """The records alone are larger than an excerpt may be."""


class Excerpts:
    """Writes an excerpt where one is due."""

    def __init__(
        self,
        store: Store,
        place: ExcerptSink,
        emit: Callable[[LogEvent], None],
        sources: SourceStatuses,
    ) -> None:
        self._store = store
        self._place = place
        self._emit = emit
        self._sources = sources

    def __call__(self, targets: Sequence[Target], now: datetime, is_over: Callable[[], bool]) -> None:
        """Write an excerpt of these targets' records where one is due and there is time; raises nothing."""
        try:
            if begun := self._begin(now):
                self._place.put(encode(self._read(targets, begun, now, is_over)))
        except Exception as failure:  # noqa: BLE001 - whatever it is, a tick has done its work and is not disturbed
            self._emit(LogEvent("excerpt not written", "", now, {"error": str(failure)}))

    def _begin(self, now: datetime) -> Deployment | None:
        """Note that an excerpt is begun; None where none is due, or the record moved on: a later tick sees to it."""
        document = self._store.load(DEPLOYMENT_KEY)
        known = read_deployment(document.body)
        begun = begin(known, now)
        if begun == known:
            return None
        try:
            self._store.save(document, records.write(begun), None)
        except Conflict:
            return None
        return begun

    def _read(
        self, targets: Sequence[Target], deployment: Deployment, now: datetime, is_over: Callable[[], bool]
    ) -> Excerpt:
        """Read all that the page is made of. Raises `TimeoutError` where time runs out over it."""
        documents = self._store.load_many(target.key for target in targets)
        names = sorted({target.identity for target in targets})
        identities = self._store.load_many([identity_key(name) for name in names])
        most = min(MOST_LINES_OF_ONE, max(1, MOST_LINES // max(1, len(targets))))
        history: dict[str, tuple[Ended, ...]] = {}
        for target in targets:
            if is_over():
                raise TimeoutError(
                    f"no time for the history of {target.name}: {len(history)} of {len(targets)} were read"
                )
            history[target.key] = tuple(read_ended(body) for body in self._store.history(target.key, most))
        return Excerpt(
            at=now,
            deployment=deployment,
            states={target.key: read_state(each.body) for target, each in zip(targets, documents, strict=True)},
            identities={name: read_identity(each.body) for name, each in zip(names, identities, strict=True)},
            sources=dict(self._sources(targets, self._store, now)),
            history=history,
        )


def begin(known: Deployment, now: datetime) -> Deployment:
    """Note that an excerpt is begun, where the last one was begun long enough ago."""
    last = known.excerpt_at
    return known if last and now - last < EVERY else replace(known, excerpt_at=now)


def encode(excerpt: Excerpt) -> bytes:
    """The bytes of an excerpt, with as much history as fits. Raises `TooLargeError`."""
    body = records.write(excerpt)
    while len(body) > MOST_BYTES:
        if not any(excerpt.history.values()):
            raise TooLargeError(f"the records alone are {len(body)} bytes, of at most {MOST_BYTES}")
        halved = {key: lines[: len(lines) // 2] for key, lines in excerpt.history.items()}
        excerpt = replace(excerpt, history=halved)
        body = records.write(excerpt)
    return body


def read_excerpt(body: bytes) -> Excerpt:
    """An excerpt from its bytes. Raises `NewerRecordError` for one of a later release, and `ValueError` for none."""
    return records.read_as(body, Excerpt)
