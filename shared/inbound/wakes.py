"""The messages that this product sends to itself, the same on both clouds: wakes, ticks, requests for a target."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from shared.inbound.decoding import decode_part, misfit, time_at
from shared.inbound.messages import Asked, Single, Ticked, Woken
from shared.redaction import plain
from shared.refresh.state import Wake

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""Of a target. The configuration allows fewer characters."""


class Own(msgspec.Struct):
    """What one of our own messages has at its top; the envelopes of both clouds add the fields of their events."""

    wake: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    tick: bool | msgspec.UnsetType = msgspec.UNSET
    refresh: Name | msgspec.UnsetType = msgspec.UNSET
    full: bool = False
    reason: str = ""


class _Wake(msgspec.Struct):
    key: Annotated[str, msgspec.Meta(min_length=1)]
    due: str
    version: str


_wake = msgspec.json.Decoder(_Wake)


def wake_message(wake: Wake) -> str:
    """`{"wake":{"key":"glue-view:...","due":"2026-01-31T12:00:00Z","version":"7"}}`."""
    return msgspec.json.encode({"wake": wake}).decode()


def read_own(message: Own, received_at: datetime) -> Single | None:
    """A wake, `{"tick": true}` or `{"refresh": "<target>", "full": false, "reason": "..."}`; None if it is another."""
    if message.wake is not msgspec.UNSET:
        return _woken(message.wake)
    if message.refresh is not msgspec.UNSET:
        return asked(message.refresh, received_at, full=message.full, reason=message.reason, by_person=True)
    if message.tick is not msgspec.UNSET:
        return _ticked(message.tick)
    return None


def asked(target: str, received_at: datetime, *, full: bool, reason: str, by_person: bool = False) -> Asked:
    """A request for one target, at the time of its receipt; its reason is shown to people, so it is kept short."""
    return Asked(target, received_at, full=full, reason=plain(reason, 100) or "asked", by_person=by_person)


def _ticked(tick: bool) -> Ticked:  # noqa: FBT001 - a message has it so
    if not tick:
        raise misfit("`true`", tick, "$.tick")
    return Ticked()


def _woken(raw: msgspec.Raw) -> Woken:
    wake = decode_part(_wake, raw, "$.wake")
    return Woken(Wake(wake.key, time_at(wake.due, "$.wake.due"), wake.version))
