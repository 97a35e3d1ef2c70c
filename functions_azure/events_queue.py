"""Messages that wait in the events queue: an invocation that the host called for one message takes more of it along.

The host calls once for each message, and a call costs a second of 512 MB at least. So one call takes up to 33 messages,
judges them together, as one look at each target, and removes each by itself. What it does not remove is seen again.

    hidden       taken ---- 9 s: the invocation ---- . . . . 30 s: there again, whatever became of the worker
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from functions_azure.clients import NEVER, Clients, Deadline, ask_existing
from functions_azure.settings import EVENTS_QUEUE

TAKEN_AT_ONCE = 32
"""The most that Get Messages takes: https://learn.microsoft.com/rest/api/storageservices/get-messages."""
HIDDEN_SECONDS = 30
"""How long what was taken is hidden: longer than an invocation, and as long as what comes back by the host stays away
(`visibilityTimeout` in host.json)."""


class Waiting(NamedTuple):
    """A message that was taken from the queue, and is in it until it is removed."""

    body: bytes
    """The message as the host would hand it over."""
    receipt: Any
    """The SDK's message, by which it is removed."""


class EventsQueue:
    """The messages behind the one that the host called for."""

    def __init__(self, clients: Clients, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._deadline = deadline

    def take(self) -> Sequence[Waiting]:
        """Get Messages: those that wait now, some at most, hidden for a while. Raises `StoreDownError`."""

        def send(**limits: Any) -> list[Waiting]:
            messages = self._clients.queue(EVENTS_QUEUE).receive_messages(
                messages_per_page=TAKEN_AT_ONCE, max_messages=TAKEN_AT_ONCE, visibility_timeout=HIDDEN_SECONDS, **limits
            )
            return [Waiting(message.content.encode(), message) for message in messages]

        return ask_existing("taking events", self._deadline, send)

    def remove(self, waiting: Waiting) -> None:
        """Delete Message. Raises `StoreDownError`, also where another worker has it by now: then it comes again."""
        client = self._clients.queue(EVENTS_QUEUE)
        ask_existing(
            "removing an event", self._deadline, lambda **limits: client.delete_message(waiting.receipt, **limits)
        )
