"""Dead letters in blobs of one container: what Event Grid could not deliver, and what is too long for a queue.

Event Grid writes an array of events as they were to be delivered, each with the reason in attributes that the reader of
events passes over: `deadLetterReason`, or `deadletterreason` in a CloudEvent.
https://learn.microsoft.com/azure/event-grid/delivery-and-retry#dead-letter-events

We write the bytes of one message as it came, under `<queue>/<digest>`, with the reason in the blob's metadata. All are
counted, and put back into the events queue where they fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from azure.core import MatchConditions

from functions_azure.clients import NEVER, AbsentError, Clients, Deadline, ask
from functions_azure.queue_messages import UnfitMessageError, message_text
from functions_azure.settings import UNDELIVERED
from shared.inbound.dead_letters import LOOKED_AT, DeadLetterSummary, Move
from shared.redaction import plain
from shared.refresh.ports import Conflict

WHY = "why"
"""Metadata of a blob of ours: the reason, percent-encoded, because a header of HTTP carries it."""
NO_REASON = "not delivered, and no reason with it"
SHOWN = 3
"""Failures that are told in words; the others are of the same kind as a rule."""


class _Event(msgspec.Struct):
    camel: str = msgspec.field(default="", name="deadLetterReason")
    lower: str = msgspec.field(default="", name="deadletterreason")
    camel_outcome: str = msgspec.field(default="", name="lastDeliveryOutcome")
    lower_outcome: str = msgspec.field(default="", name="lastdeliveryoutcome")

    @property
    def why(self) -> str:
        """Event Grid's reason and, where there is one, what the last try came to."""
        reason, outcome = self.camel or self.lower, self.camel_outcome or self.lower_outcome
        return plain(f"{reason or NO_REASON}: {outcome}" if outcome else reason or NO_REASON)


_events = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder(_Event)


class Undelivered:
    """The container; where none is known, there is nothing to see."""

    def __init__(self, clients: Clients, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._deadline = deadline

    @property
    def exists(self) -> bool:
        """Whether there is a container to put something into."""
        return self._clients.undelivered_blobs is not None

    def keep(self, queue: str, body: bytes, why: str) -> None:
        """Put Blob: a message of this queue, whole. Equal bytes take the same place. Raises `StoreDownError`."""
        name = f"{queue}/{hashlib.sha256(body).hexdigest()[:32]}"
        metadata = {WHY: quote(plain(why))}

        def upload(**limits: Any) -> None:
            self._container.upload_blob(name, body, overwrite=True, metadata=metadata, **limits)

        self._ask(f"keeping {name}", upload)

    def summary(self) -> DeadLetterSummary | None:
        """How many blobs there are, since when, and why; one may hold several events. Raises `StoreDownError`."""
        if self._clients.undelivered_blobs is None:
            return None
        blobs = self._blobs()
        reasons = dict.fromkeys(why for blob in blobs[:LOOKED_AT] for why in self._reasons(blob))
        return DeadLetterSummary(UNDELIVERED, len(blobs), blobs[0].creation_time if blobs else None, tuple(reasons))

    def move(self, put: Callable[[str], None]) -> Move | None:
        """Put the events of all blobs that are there now, one by one, and remove a blob after all of its own.

        What dies in between is put twice, which is free. What cannot be put stays, and the `Move` says why.
        """
        blobs = self._blobs() if self._clients.undelivered_blobs else []
        if not blobs:
            return None
        stayed = [why for why in (self._move(blob, put) for blob in blobs) if why]
        told = "; ".join(stayed[:SHOWN]) + ("; ..." if len(stayed) > SHOWN else "")
        return Move(
            UNDELIVERED, "FAILED" if stayed else "COMPLETED", len(blobs) - len(stayed), len(blobs), told and f"({told})"
        )

    def _move(self, blob: Any, put: Callable[[str], None]) -> str:
        """Why a blob stays where it is, or nothing."""
        try:
            for event in _events_in(blob, self._read(blob)):
                put(message_text(event))
            self._remove(blob)
        except AbsentError:
            return ""  # somebody else moved it
        except Conflict:
            return f"{blob.name} changed meanwhile"
        except (msgspec.DecodeError, UnicodeError) as error:
            return f"{blob.name} is no array of events: {plain(str(error))}"
        except UnfitMessageError as error:
            return f"{blob.name}: {error}"
        return ""

    def _reasons(self, blob: Any) -> Iterable[str]:
        """Why what is in a blob was not delivered, or could not be put into a queue."""
        if _is_ours(blob):
            return [unquote(blob.metadata[WHY])]
        try:
            return [_event.decode(event).why for event in _events.decode(self._read(blob))]
        except AbsentError:
            return []
        except (msgspec.DecodeError, UnicodeError):
            return ["no array of events"]

    def _blobs(self) -> list[Any]:
        """All, the oldest first."""
        found = self._ask("listing undelivered events", self._list)
        return sorted(found, key=lambda blob: blob.creation_time)

    def _list(self, **limits: Any) -> list[Any]:
        """List Blobs, with the metadata that tells ours from Event Grid's."""
        return list(self._container.list_blobs(include=["metadata"], **limits))

    def _read(self, blob: Any) -> bytes:
        content: bytes = self._ask(
            f"reading {blob.name}", lambda **limits: self._container.download_blob(blob.name, **limits).readall()
        )
        return content

    def _remove(self, blob: Any) -> None:
        unchanged = {"etag": blob.etag, "match_condition": MatchConditions.IfNotModified}
        self._ask(
            f"removing {blob.name}", lambda **limits: self._container.delete_blob(blob.name, **unchanged, **limits)
        )

    @property
    def _container(self) -> Any:
        return self._clients.undelivered_blobs

    def _ask(self, what: str, send: Callable[..., Any]) -> Any:
        return ask(what, self._deadline, send)


def _is_ours(blob: Any) -> bool:
    """Tell whether we wrote a blob: Event Grid puts its reasons into the events."""
    return WHY in (blob.metadata or {})


def _events_in(blob: Any, content: bytes) -> Sequence[bytes]:
    """Take a blob's array apart. A message that we kept may also be one event. Raises what `msgspec` raises."""
    if _is_ours(blob) and not content.lstrip().startswith(b"["):
        return [content]
    return [bytes(event) for event in _events.decode(content)]
