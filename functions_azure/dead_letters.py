"""Dead letters: what nobody can read, put into the queue's poison queue with the reason; counted, and redriven.

A message has no attributes here, so ours are an envelope: `{"why": "...", "body": "..."}`, or with `base64` instead of
`body` for bytes that are no text. What the host itself gave up, after `maxDequeueCount`, is the bare message. What is
too long for a queue, and what never came into one, is in `undelivered.py`.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from functions_azure.clients import NEVER, Clients, Deadline, ask_existing
from functions_azure.queue_messages import UnfitMessageError, message_text, xml_text
from functions_azure.settings import EVENTS_QUEUE, POISON, WAKES_QUEUE
from functions_azure.undelivered import Undelivered
from functions_azure.waker import FOREVER
from shared.inbound.dead_letters import GIVEN_UP, LOOKED_AT, DeadLetterSummary, Move
from shared.redaction import plain

MOVED_AT_ONCE = 32
"""The most that Get Messages takes."""
HIDDEN_SECONDS = 60
"""How long a message is hidden while it is moved. If the mover dies, it is there again, at worst in both queues, and
taking it twice is free."""

_T = TypeVar("_T")


class _Envelope(msgspec.Struct, omit_defaults=True):
    """The envelope of a dead letter of ours; it has one of the two bodies."""

    why: str
    """The reason, for a person."""
    body: str | msgspec.UnsetType = msgspec.UNSET
    """The message as it came, where it is text that a queue takes."""
    base64: str | msgspec.UnsetType = msgspec.UNSET
    """The bytes of any other message: the reader of messages takes this form, too, so it can be put back."""


_envelope = msgspec.json.Decoder(_Envelope)


class DeadLetters:
    """The dead letters of both queues, and what Event Grid could not deliver."""

    def __init__(self, clients: Clients, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._deadline = deadline
        self._undelivered = Undelivered(clients, deadline)
        self._moves: tuple[Move, ...] = ()

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Put Message, or Put Blob for what is too long. Raises `StoreDownError`; then the message must stay."""
        dead_letter = _seal(body, why)
        if _fits(dead_letter):
            self._put(queue + POISON, dead_letter)
        elif self._undelivered.exists:
            self._undelivered.keep(queue, body, why)
        else:
            self._put(queue + POISON, _cut(body, why))

    def return_to(self, queue: str, body: bytes) -> None:
        """Put Message into the queue itself: an event that cannot be stored now, from where nothing waits.

        Raises `StoreDownError`: `UnfitMessageError` where no time would help.
        """
        self._put(queue, message_text(body))

    def summaries(self) -> tuple[DeadLetterSummary, ...]:
        """Count the dead letters of each poison queue, and of the container. Raises `StoreDownError`."""
        undelivered = self._undelivered.summary()
        return (*self._poison(), *((undelivered,) if undelivered else ()))

    def redrive(self) -> None:
        """Move all that lies there now back to where it came from, without its envelope. Raises `StoreDownError`."""
        self._moves = ()
        for summary in self._poison():
            if summary.count:
                moved = sum(1 for _ in self._move(summary.queue))
                self._moves += (Move(summary.queue, "COMPLETED", moved, summary.count),)
        returned = self._undelivered.move(lambda content: self._put(EVENTS_QUEUE, content))
        self._moves += (returned,) if returned else ()

    def moves(self) -> tuple[Move, ...]:
        """Say how much the last `redrive` moved."""
        return self._moves

    def _poison(self) -> Iterator[DeadLetterSummary]:
        return map(self._summary, (EVENTS_QUEUE, WAKES_QUEUE))

    def _move(self, queue: str) -> Iterator[str]:
        """Move the dead letters that were there when the move began: what is dead again comes later, and waits."""
        poison, began = queue + POISON, time.time()
        while dead_letters := self._take(poison):
            for dead_letter in dead_letters:
                if dead_letter.inserted_on.timestamp() > began:
                    return
                self._put(queue, _unseal(dead_letter.content)[1])
                self._delete(poison, dead_letter)
                yield dead_letter.id

    def _take(self, queue: str) -> list[Any]:
        """Get Messages: some dead letters, hidden for a minute."""

        def send(**limits: Any) -> list[Any]:
            messages = self._clients.queue(queue).receive_messages(
                messages_per_page=MOVED_AT_ONCE, max_messages=MOVED_AT_ONCE, visibility_timeout=HIDDEN_SECONDS, **limits
            )
            return list(messages)

        return self._ask("taking dead letters", send)

    def _delete(self, queue: str, dead_letter: Any) -> None:
        client = self._clients.queue(queue)
        self._ask("removing a dead letter", lambda **limits: client.delete_message(dead_letter, **limits))

    def _summary(self, queue: str) -> DeadLetterSummary:
        client = self._clients.queue(queue + POISON)
        found = self._ask("counting dead letters", client.get_queue_properties)
        count = int(found.approximate_message_count or 0)
        dead_letters = self._ask("looking at dead letters", lambda **limits: client.peek_messages(LOOKED_AT, **limits))
        oldest = min((dead_letter.inserted_on for dead_letter in dead_letters if dead_letter.inserted_on), default=None)
        return DeadLetterSummary(
            queue, count, oldest, tuple(dict.fromkeys(_unseal(dead_letter.content)[0] for dead_letter in dead_letters))
        )

    def _put(self, queue: str, content: str) -> None:
        self._ask(
            f"sending to {queue}",
            lambda **limits: self._clients.queue(queue).send_message(content, time_to_live=FOREVER, **limits),
        )

    def _ask(self, what: str, send: Callable[..., _T]) -> _T:
        return ask_existing(what, self._deadline, send)


def _seal(body: bytes, why: str) -> str:
    """Put a body and its reason into an envelope; bytes that cannot stand in a message are base64."""
    try:
        dead_letter = _Envelope(plain(why), body=xml_text(body))
    except UnfitMessageError:
        dead_letter = _Envelope(plain(why), base64=b64encode(body).decode())
    return msgspec.json.encode(dead_letter).decode()


def _fits(dead_letter: str) -> bool:
    """Tell whether a queue takes an envelope."""
    try:
        message_text(dead_letter.encode())
    except UnfitMessageError:
        return False
    return True


def _cut(body: bytes, why: str) -> str:
    """Return an envelope with as much of a body as fits, to be shown to a person, where there is no container."""
    text = body
    dead_letter = _seal(text, why)
    while not _fits(dead_letter):
        text = text[: len(text) * 3 // 4]
        dead_letter = _seal(text, why)
    return dead_letter


def _unseal(content: str) -> tuple[str, str]:
    """Reason and body; of a bare message the reason is the host's. The reader of messages takes base64, too."""
    try:
        dead_letter = _envelope.decode(content)
    except msgspec.DecodeError:
        return GIVEN_UP, content
    body = dead_letter.body if dead_letter.body is not msgspec.UNSET else dead_letter.base64
    return (GIVEN_UP, content) if body is msgspec.UNSET else (dead_letter.why, body)
