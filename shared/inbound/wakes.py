"""The messages that this product sends to itself, the same on both clouds.

They are wakes, ticks, requests for a target, and what is left of an event that concerns many.

Two releases read each other's messages during an update, and a queue keeps them for days (rule 12). So a field may come
with a default, and none may go or change its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec.structs import replace

from shared.inbound.arrivals import Arrival
from shared.inbound.messages import (
    Asked,
    Rest,
    Single,
    Ticked,
    Woken,
    decode_part,
    misfit,
    time_at,
)
from shared.redaction import plain
from shared.refresh.state import Wake

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""The name of a target. The configuration allows fewer characters; a longer one is a target that nobody has."""


class Own(msgspec.Struct):
    """The top level of one of our own messages; the envelopes of both clouds add the fields of their events."""

    wake: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """A wake that the engine sent (`_Wake`)."""
    rest: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The rest of an event that concerned more targets than there was time for (`messages.Rest`)."""
    tick: bool | msgspec.UnsetType = msgspec.UNSET
    """Always true: the one-minute timer fired."""
    refresh: Name | msgspec.UnsetType = msgspec.UNSET
    """The name of a target of which a refresh is asked for."""
    full: bool = False
    """Whether the refresh that is asked for is a full one."""
    reason: str = ""
    """Why a refresh is asked for, in the caller's words."""
    upstream: str = ""
    """The upstream on the other cloud that asks; empty where anybody else does."""
    time: str | msgspec.UnsetType = msgspec.UNSET
    """When the upstream's run ended, in RFC 3339."""


class _Wake(msgspec.Struct):
    """A wake as it lies in a queue."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    """The key of the record that is due."""
    due: str
    """When the record is due, in RFC 3339."""
    version: str
    """The version of the record that the sender read; empty where there was none."""


_wake = msgspec.json.Decoder(_Wake)
_rest = msgspec.json.Decoder(Rest)

REST_BYTES = 12_000
"""Bytes of arrivals in one message about the rest of an event. A Storage queue takes 64 KiB of XML, in which a
character may take five times what it takes in JSON; one arrival, whose longest name has 1,024 bytes, always fits."""


def wake_message(wake: Wake) -> str:
    """`{"wake":{"key":"glue-view:...","due":"2026-01-31T12:00:00Z","version":"7"}}`."""
    return msgspec.json.encode({"wake": wake}).decode()


def rest_messages(arrivals: Sequence[Arrival], first: str, last: str) -> tuple[bytes, ...]:
    """`{"rest":{"arrivals":[{"what":"object",...}],"first":"glue-view:...","last":"..."}}`, as many as it takes."""
    return tuple(msgspec.json.encode({"rest": Rest(part, first, last)}) for part in _parts(arrivals))


def _parts(arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, ...]]:
    """The arrivals in parts of which each fits into a message."""
    part: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        takes = len(msgspec.json.encode(arrival))
        if part and size + takes > REST_BYTES:
            yield tuple(part)
            part, size = [], 0
        part.append(arrival)
        size += takes
    yield tuple(part)


def read_own(message: Own, received_at: datetime) -> Single | None:
    """A wake, a rest, `{"tick": true}`, `{"refresh": "<target>", "full": false, "reason": "..."}`; None if another.

    A request with `"upstream"` and `"time"`, the end of its run, is that of an upstream on the other cloud.
    """
    if message.wake is not msgspec.UNSET:
        return _woken(message.wake)
    if message.rest is not msgspec.UNSET:
        return _read_rest(message.rest)
    if message.refresh is not msgspec.UNSET:
        found = request_for(message.refresh, received_at, full=message.full, reason=message.reason, by_person=True)
        return after_upstream(found, message.upstream, message.time, "$.time") if message.upstream else found
    if message.tick is not msgspec.UNSET:
        return _read_tick(message.tick)
    return None


def request_for(target: str, received_at: datetime, *, full: bool, reason: str, by_person: bool = False) -> Asked:
    """A request for one target, at the time of its receipt; its reason is shown to people, so it is kept short."""
    return Asked(target, received_at, full=full, reason=plain(reason, 100) or "asked", by_person=by_person)


def after_upstream(request: Asked, upstream: str, time: str | msgspec.UnsetType, where: str) -> Asked:
    """The same request as that of an upstream on the other cloud, whose run ended at a time that must be there."""
    ended_at = time_at(time, where)
    return replace(request, reason=plain(f"after {upstream}", 100), by_person=False, ended_at=ended_at)


def _read_tick(tick: bool) -> Ticked:  # noqa: FBT001 - a message has it so
    if not tick:
        raise misfit("`true`", tick, "$.tick")
    return Ticked()


def _read_rest(raw: msgspec.Raw) -> Rest:
    rest = decode_part(_rest, raw, "$.rest")
    for position, arrival in enumerate(rest.arrivals):
        if arrival.time.tzinfo is None:
            raise misfit("a time like 2026-01-31T12:00:00Z", arrival.time, f"$.rest.arrivals[{position}].time")
    return rest


def _woken(raw: msgspec.Raw) -> Woken:
    wake = decode_part(_wake, raw, "$.wake")
    return Woken(Wake(wake.key, time_at(wake.due, "$.wake.due"), wake.version))
