"""The decoding that the readers of both clouds share: bounded bodies, and errors that name the place in a message.

Readers raise `msgspec.ValidationError`, in msgspec's own words ("Expected `str`, got `int` - at `$.detail.key`"), and
`read_guarded` turns every way in which bytes can be wrong into `Malformed` with that text as the reason. The reason is
stored with the dead letter and shown by `unstale redrive`, so it passes `redaction.plain` first: it quotes what came.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from shared.inbound.messages import Arrived, Malformed, Message, Part, Several, Single
from shared.redaction import plain
from shared.times import time_of

EVENT_LIMIT = 256 * 1024
"""Bytes. The most that EventBridge takes; an event that we act on has about one kilobyte."""

_T = TypeVar("_T")


def read_guarded(read: Callable[[bytes, datetime], Message], body: object, received_at: datetime) -> Message:
    """Run a reader over a body (JSON text, its bytes, or what a runtime parsed already). Raises nothing.

    A reader that raised would let a queue deliver the same message again, for days, to the same end.
    """
    try:
        return read(_encoded(body), received_at)
    except msgspec.ValidationError as error:
        return Malformed(plain(str(error)))
    except msgspec.MsgspecError as error:
        return Malformed(plain(f"not JSON: {error}"))
    except RecursionError:
        return Malformed("nested too deeply to be an event")
    except (UnicodeError, TypeError, OverflowError) as error:
        return Malformed(plain(f"not JSON text: {error}"))


def read_array(read: Callable[[bytes, datetime], Single], encoded: bytes, received_at: datetime) -> Message:
    """Read a JSON array of events, each of which is read, or is unreadable, on its own."""
    parts = tuple(
        Part(_read_part(read, bytes(raw), received_at), bytes(raw)) for raw in msgspec.json.decode(encoded, type=_RAWS)
    )
    if not parts:
        raise misfit("at least one event", [])
    arrived = [part.reading for part in parts if isinstance(part.reading, Arrived)]
    if len(arrived) == len(parts):
        return Arrived(tuple(arrival for reading in arrived for arrival in reading.arrivals))
    return parts[0].reading if len(parts) == 1 else Several(parts)


_RAWS = list[msgspec.Raw]
"""An array whose entries stay bytes: one that is no event becomes a dead letter as it came, beside others that are."""


def _read_part(read: Callable[[bytes, datetime], Single], encoded: bytes, received_at: datetime) -> Single:
    try:
        return read(encoded, received_at)
    except msgspec.ValidationError as error:
        return Malformed(plain(str(error)))


def _encoded(body: object) -> bytes:
    if isinstance(body, str):
        encoded = body.encode()
    elif isinstance(body, bytes):
        encoded = body
    else:
        encoded = msgspec.json.encode(body)
    if len(encoded) > EVENT_LIMIT:
        raise misfit(f"at most {EVENT_LIMIT} bytes", len(encoded))
    return encoded


def misfit(expected: str, found: object, at: str = "$") -> msgspec.ValidationError:
    """Make the error that `read_guarded` turns into `Malformed`, worded as msgspec words its own."""
    return msgspec.ValidationError(f"Expected {expected}, got {found!r:.200} - at `{at}`")


def missing(field: str) -> msgspec.ValidationError:
    """The same for a field that must be there."""
    return msgspec.ValidationError(f"Object missing required field `{field}`")


def decode_part(decoder: msgspec.json.Decoder[_T], part: msgspec.Raw, at: str) -> _T:
    """Decode a part that was kept raw; an error names its place in the whole message, e.g. `$.detail.bucket.name`."""
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{why} - at `{at}{place.removesuffix('`')}`") from None


def time_at(text: str | msgspec.UnsetType, at: str) -> datetime:
    """The time that a message must have at this place; refused with the place, what was found and what is expected."""
    if text is msgspec.UNSET:
        raise missing(at.removeprefix("$."))
    time = time_of(text)
    if time is None:
        raise misfit("a time like 2026-01-31T12:00:00Z", text, at)
    return time
