"""Messages that wait in the queues, and for how long: what `unstale status` asks, by peeking. Nothing is taken.

A message that is hidden (a wake that is yet to come, an event that a worker holds) is not to be seen so.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from functions_azure.clients import NEVER, Clients, Deadline, ask_existing
from functions_azure.settings import EVENTS_QUEUE, WAKES_QUEUE
from shared.refresh.evidence import Backlog

WHAT = "looking at messages that wait"
"""The words of both calls in an error."""
PEEKED = 32
"""The most that Peek Messages shows (https://learn.microsoft.com/rest/api/storageservices/peek-messages)."""


class _Wake(msgspec.Struct):
    due: datetime


class _WakeMessage(msgspec.Struct):
    """A wake as `shared.inbound.wakes` writes it; the rest of the message is passed over."""

    wake: _Wake


_wake_message = msgspec.json.Decoder(_WakeMessage)


class Backlogs:
    """Counts what waits in the queues for events and for wakes."""

    def __init__(self, clients: Clients, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._deadline = deadline

    def read(self, now: datetime) -> tuple[Backlog, ...]:
        """Say for each queue how many messages wait, and for how long. Raises `StoreDownError`."""
        events = self._peek(EVENTS_QUEUE)
        wakes = self._peek(WAKES_QUEUE)
        sent = (message.inserted_on for message in events if message.inserted_on)
        # A wake was put into the queue long before it is due, so its own time says since when it waits.
        due = (_due_of(message) for message in wakes)
        return (
            Backlog(EVENTS_QUEUE, self._count(EVENTS_QUEUE, events), _age(sent, now)),
            Backlog(WAKES_QUEUE, len(wakes), _age((time for time in due if time), now)),
        )

    def _peek(self, queue: str) -> list[Any]:
        """Peek Messages: the oldest that can be taken, which stay as they are."""
        client = self._clients.queue(queue)
        return list(ask_existing(WHAT, self._deadline, lambda **limits: client.peek_messages(PEEKED, **limits)))

    def _count(self, queue: str, peeked: list[Any]) -> int:
        """Get Queue Metadata where there may be more than were peeked at."""
        if len(peeked) < PEEKED:
            return len(peeked)
        found: Any = ask_existing(WHAT, self._deadline, self._clients.queue(queue).get_queue_properties)
        return int(found.approximate_message_count or len(peeked))


def _due_of(message: Any) -> datetime | None:
    """When a wake was due; None for a message that is none, which is no concern of this count."""
    try:
        return _wake_message.decode(message.content).wake.due
    except msgspec.DecodeError:
        return None


def _age(times: Iterable[datetime], now: datetime) -> timedelta | None:
    """How long the oldest waits; None where nothing does."""
    oldest = min(times, default=None)
    return now - oldest if oldest else None
