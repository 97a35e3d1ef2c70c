"""Messages that wait in a queue: an invocation that the host called for one message takes more of them along.

The host calls once for each message, waits while calls go on (`newBatchThreshold` 0), and an instance is billed for a
second at least. So a call goes on with what waits, round after round, until it finds nothing or its time is over. It
removes each message by itself when that is settled; what it does not remove is seen again, whatever became of it.

    events   its own -> take 32, reconcile each target once, remove each -> take what came meanwhile -> ...
    wakes    its own -> take 1, judge it, remove it -> take 1 -> ...
    hidden   taken ---- 9 s at most: the rest of the invocation ---- . . . . 30 s: there again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from functions_azure.clients import NEVER, Clients, Deadline, ask_existing
from functions_azure.settings import EVENTS_QUEUE, WAKES_QUEUE

TAKEN_AT_ONCE: Mapping[str, int] = {EVENTS_QUEUE: 32, WAKES_QUEUE: 1}
"""Messages in a round, by queue. Of events, the most that Get Messages takes, because many reconcile a target once:
https://learn.microsoft.com/rest/api/storageservices/get-messages. A wake may call Fabric for seconds, so that none
waits in the hands of a call that is busy with another."""
HIDDEN_SECONDS = 30
"""How long what was taken is hidden: longer than an invocation, and as long as what comes back by the host stays away
(`visibilityTimeout` in host.json)."""


class Waiting(NamedTuple):
    """A message that was taken from the queue, and is in it until it is removed."""

    body: bytes
    """The message as the host would hand it over."""
    receipt: Any
    """The SDK's message, by which it is removed."""


class QueueBehind:
    """The messages of one queue behind the one that the host called for."""

    def __init__(self, clients: Clients, queue: str, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._queue = queue
        self._deadline = deadline

    def take(self) -> Sequence[Waiting]:
        """Get Messages: those that wait now, some at most, hidden for a while. Raises `StoreDownError`."""
        most = TAKEN_AT_ONCE[self._queue]

        def send(**limits: Any) -> list[Waiting]:
            messages = self._clients.queue(self._queue).receive_messages(
                messages_per_page=most, max_messages=most, visibility_timeout=HIDDEN_SECONDS, **limits
            )
            return [Waiting(message.content.encode(), message) for message in messages]

        return ask_existing(f"taking messages of {self._queue}", self._deadline, send)

    def remove(self, waiting: Waiting) -> None:
        """Delete Message. Raises `StoreDownError`, also where another worker has it by now: then it comes again."""
        client = self._clients.queue(self._queue)
        ask_existing(
            f"removing a message of {self._queue}",
            self._deadline,
            lambda **limits: client.delete_message(waiting.receipt, **limits),
        )
