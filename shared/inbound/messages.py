"""The content of a delivered message, as a value, and the decoding that the readers of both clouds share.

`eventbridge.py` and `eventgrid.py` make these values, `dispatch.py` takes them. The decoding bounds bodies, and names
the place in a message: readers raise `msgspec.ValidationError`, in msgspec's own words ("Expected `str`, got `int` - at
`$.detail.key`"), and `read_guarded` turns every way in which bytes can be wrong into `Malformed` with that text as the
reason. The reason is stored with the dead letter and shown by `unstale redrive`, so it passes `redaction.plain` first:
it quotes what came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

import msgspec

from shared.inbound.arrivals import Arrival
from shared.redaction import plain
from shared.refresh.state import Signal, Wake
from shared.times import time_of
from shared.values import Value

EVENT_LIMIT = 256 * 1024
"""Bytes. The most that EventBridge takes; an event that we act on has about one kilobyte."""

_RAWS = list[msgspec.Raw]
"""An array whose entries stay bytes: one that is no event becomes a dead letter as it came, beside others that are."""
_T = TypeVar("_T")


class Arrived(Value, frozen=True):
    """Data arrived in these places; the configuration says whom that concerns."""

    arrivals: tuple[Arrival, ...]


class Rest(Value, frozen=True):
    """The rest of an event that concerns more targets than one invocation had time for: a message of ours."""

    arrivals: tuple[Arrival, ...]
    """The arrivals that the event told; the configuration says again whom that concerns."""
    first: str
    """The key of the first target that is left; targets are taken in the order of their keys."""
    last: str
    """The key of the last target that is left."""


class Asked(Value, frozen=True):
    """A refresh of one target was asked for, by name. `by_person`: probe a blocked target at once."""

    target: str
    received_at: datetime
    full: bool = False
    reason: str = "asked"
    by_person: bool = False
    sender: tuple[str, str] | None = None
    """AWS account and source of a custom event, which the configuration may restrict."""
    ended_at: datetime | None = None
    """The end of the upstream's run, where an upstream on the other cloud asks; None where anybody else does."""

    @property
    def signal(self) -> Signal:
        """The signal that the request means.

        An upstream's has the time at which its run ended, so that a repetition folds away; any other has that of its
        receipt, and only a run that is claimed afterwards covers it.
        """
        if self.ended_at:
            return Signal(self.ended_at, self.reason, full=self.full)
        return Signal(self.received_at, self.reason, full=self.full, asked=True)


class GlueRunEnded(Value, frozen=True):
    """Glue says that a refresh of a view ended: a hint to look, no more (best effort, unpublished detail)."""

    database: str
    table: str


class FabricRunEnded(Value, frozen=True):
    """Fabric says that a job of an item ended: a hint to look, no more."""

    workspace: str
    item: str
    run_id: str


class Ticked(Value, frozen=True):
    """The one-minute timer fired."""


class Woken(Value, frozen=True):
    """A wake that we sent arrived."""

    wake: Wake


class Ignored(Value, frozen=True):
    """Well formed, but nothing that we act on; counted under this name."""

    what: str


class Malformed(Value, frozen=True):
    """Cannot be read, and never will be: goes to the dead letters with this reason."""

    why: str


class Part(Value, frozen=True):
    """An event of a message that has several, with its own bytes for the dead letters."""

    message: Single
    body: bytes


class Several(Value, frozen=True):
    """A message with several events, not all of which are arrivals."""

    parts: tuple[Part, ...]


Single = Arrived | Rest | Asked | GlueRunEnded | FabricRunEnded | Ticked | Woken | Ignored | Malformed
Message = Single | Several


def each(messages: Iterable[Message]) -> Iterator[Single]:
    """Yield every single message, the events of messages with several of them included."""
    for message in messages:
        if isinstance(message, Several):
            yield from (part.message for part in message.parts)
        else:
            yield message


# --- Decoding --------------------------------------------------------------------------------------------------------


def read_guarded(read: Callable[[bytes, datetime], Message], body: object, received_at: datetime) -> Message:
    """Run a reader over a body (JSON text, its bytes, or what a runtime parsed already). Raises nothing.

    A reader that raised would let a queue deliver the same message again, for days, to the same end.
    """
    try:
        return read(_encode(body), received_at)
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
    arrived = [part.message for part in parts if isinstance(part.message, Arrived)]
    if len(arrived) == len(parts):
        return Arrived(tuple(arrival for message in arrived for arrival in message.arrivals))
    return parts[0].message if len(parts) == 1 else Several(parts)


def _read_part(read: Callable[[bytes, datetime], Single], encoded: bytes, received_at: datetime) -> Single:
    try:
        return read(encoded, received_at)
    except msgspec.ValidationError as error:
        return Malformed(plain(str(error)))


def _encode(body: object) -> bytes:
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


def missing_field(field: str) -> msgspec.ValidationError:
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
        raise missing_field(at.removeprefix("$."))
    time = time_of(text)
    if time is None:
        raise misfit("a time like 2026-01-31T12:00:00Z", text, at)
    return time
