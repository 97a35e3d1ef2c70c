"""Wakes and dead letters on Storage queues (Azurite)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueClient, QueueServiceClient

from functions_azure.backlog import Backlogs
from functions_azure.clients import Clients, Deadline
from functions_azure.dead_letters import DeadLetters
from functions_azure.queue_behind import QueueBehind
from functions_azure.queue_messages import LONGEST_MESSAGE, UnfitMessageError
from functions_azure.settings import EVENTS_QUEUE, POISON, UNDELIVERED, WAKES_QUEUE, Settings
from functions_azure.waker import Waker
from shared.inbound import eventgrid
from shared.inbound.dead_letters import GIVEN_UP, DeadLetterSummary, Move
from shared.inbound.messages import Woken
from shared.inbound.wakes import wake_message
from shared.refresh.ports import StoreDownError
from shared.refresh.state import Wake
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
WAKE = Wake("fabric-lake-views:w:l", NOON, "W/\"datetime'2026-01-31T12%3A00%3A00.1Z'\" 2026-01-31T12:00:00.000000Z")


@pytest.fixture(name="clients")
def product_clients(account: Account) -> Clients:
    """The product's own clients of an empty account."""
    return Clients(Settings(Path("unstale.toml"), storage=account.connection_string), lambda: pytest.fail("no token"))


@pytest.fixture(name="queue")
def bare_queues(account: Account) -> Iterator[Callable[[str], QueueClient]]:
    """Queues as the SDK alone sees them."""
    with QueueServiceClient.from_connection_string(account.connection_string) as service:
        yield service.get_queue_client


Queue = Callable[[str], QueueClient]


# --- Wakes


def test_a_wake_arrives_as_it_was_sent(clients: Clients, queue: Queue) -> None:
    """As text that the function's reader understands; Azure's own version of a record comes back unharmed."""
    Waker(clients).send(WAKE, timedelta(0))
    message = queue(WAKES_QUEUE).receive_message()
    assert message is not None
    assert message.content.startswith("{")
    assert eventgrid.read(message.content.encode(), NOON) == Woken(WAKE)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (timedelta(0), 0),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=29.2), 30),
        (timedelta(days=6), 6 * 86400),
        (Waker.reach, 6 * 86400),
    ],
)
def test_a_wake_is_hidden_until_it_is_due(
    clients: Clients, queue: Queue, monkeypatch: pytest.MonkeyPatch, delay: timedelta, seconds: int
) -> None:
    """To the second, never early; as far ahead as the waker says that it reaches; and it never expires.

    Azurite has no clock to turn, but it tells when a message will be seen and when it will be gone.
    """
    sent: list[Any] = []
    client = clients.queue(WAKES_QUEUE)
    put = client.send_message
    monkeypatch.setattr(client, "send_message", lambda *args, **options: sent.append(put(*args, **options)))
    Waker(clients).send(WAKE, delay)
    [message] = sent
    assert message.next_visible_on - message.inserted_on == timedelta(seconds=seconds)
    assert message.expires_on.year == 9999
    assert (queue(WAKES_QUEUE).receive_message() is None) == (seconds > 0)


def test_wakes_are_relayed() -> None:
    """A schedule may be further off than a message can wait, and a deployment without ticks needs its wakes."""
    assert Waker.relays
    assert Waker.reach < timedelta(days=7)


def test_a_queue_that_is_down_is_the_store_being_down(clients: Clients, queue: Queue) -> None:
    """The engine knows what to do then: ticks go on."""
    queue(WAKES_QUEUE).delete_queue()
    with pytest.raises(StoreDownError, match=r"sending a wake.*QueueNotFound"):
        Waker(clients).send(WAKE, timedelta(0))
    with pytest.raises(StoreDownError, match="no time is left"):
        Waker(clients, Deadline(0)).send(WAKE, timedelta(0))


# --- What is taken along


def test_events_that_wait_are_taken_and_removed_one_by_one(clients: Clients, queue: Queue) -> None:
    """32 at once, hidden for half a minute; what is not removed stays in the queue, and nothing is removed twice."""
    bodies = {f"event <{number}> & more" for number in range(40)}
    for body in bodies:
        queue(EVENTS_QUEUE).send_message(body)
    behind = QueueBehind(clients, EVENTS_QUEUE)
    waiting = behind.take()
    taken = {each.body.decode() for each in waiting}
    assert len(taken) == len(waiting) == 32
    assert taken < bodies
    assert {message.content for message in queue(EVENTS_QUEUE).receive_messages()} == bodies - taken
    behind.remove(waiting[0])
    assert queue(EVENTS_QUEUE).get_queue_properties().approximate_message_count == 39
    with pytest.raises(StoreDownError, match="removing a message of unstale-events"):
        behind.remove(waiting[0])
    with pytest.raises(StoreDownError, match="no time is left"):
        QueueBehind(clients, EVENTS_QUEUE, Deadline(0)).take()


def test_wakes_are_taken_one_by_one_when_they_are_due(clients: Clients, queue: Queue) -> None:
    """One that is still to come stays hidden; one that was taken counts as received, as if the host had taken it."""
    for delay in (0, 0, 3600):
        Waker(clients).send(WAKE, timedelta(seconds=delay))
    behind = QueueBehind(clients, WAKES_QUEUE)
    taken = [behind.take() for _ in range(3)]
    assert [[(each.body, each.receipt.dequeue_count) for each in waiting] for waiting in taken] == [
        [(wake_message(WAKE).encode(), 1)],
        [(wake_message(WAKE).encode(), 1)],
        [],
    ]
    behind.remove(taken[0][0])
    assert queue(WAKES_QUEUE).get_queue_properties().approximate_message_count == 2


# --- Dead letters


def test_a_dead_letter_has_its_reason(clients: Clients, queue: Queue) -> None:
    """It lies in the poison queue of its own queue, whole, for as long as it takes."""
    DeadLetters(clients).send(EVENTS_QUEUE, b'{"nonsense": 1}', "Object missing required field `type`")
    [letter] = queue(EVENTS_QUEUE + POISON).receive_messages()
    assert json.loads(letter.content) == {"why": "Object missing required field `type`", "body": '{"nonsense": 1}'}
    assert letter.expires_on is not None
    assert letter.expires_on.year == 9999
    assert queue(WAKES_QUEUE + POISON).receive_message() is None


@pytest.mark.parametrize("body", [b"<&>", "ключ 漢字 😀".encode()])
def test_whatever_text_cannot_be_read_is_kept_as_text(clients: Clients, queue: Queue, body: bytes) -> None:
    """As it came; XML, in which a queue is filled, harms none."""
    DeadLetters(clients).send(EVENTS_QUEUE, body, "not JSON")
    [letter] = queue(EVENTS_QUEUE + POISON).receive_messages()
    assert json.loads(letter.content) == {"why": "not JSON", "body": body.decode()}


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x00\x1f<&>", "\ufffe".encode()])
def test_what_no_message_can_hold_is_kept_as_bytes(clients: Clients, queue: Queue, body: bytes) -> None:
    """Bytes that are no text, and characters that no XML document may have: whole, and brought back as base64."""
    letters = DeadLetters(clients)
    letters.send(EVENTS_QUEUE, body, "not JSON")
    [letter] = queue(EVENTS_QUEUE + POISON).peek_messages()
    assert json.loads(letter.content) == {"why": "not JSON", "base64": b64encode(body).decode()}
    assert letters.summaries()[0].reasons == ("not JSON",)
    letters.redrive()
    assert [b64decode(message.content) for message in queue(EVENTS_QUEUE).receive_messages()] == [body]


LONG = ["x", "漢", '"', "\x01", "&"]


@pytest.mark.parametrize("character", LONG)
def test_a_dead_letter_that_is_too_long_is_a_blob(clients: Clients, queue: Queue, character: str) -> None:
    """An event hub takes messages of a megabyte, a queue does not: they are kept whole, once, and counted."""
    letters, body = DeadLetters(clients), (character * 300_000).encode()
    for _ in range(2):
        letters.send(EVENTS_QUEUE, body, "ключ: too long")
    assert queue(EVENTS_QUEUE + POISON).receive_message() is None
    summary = letters.summaries()[2]
    assert (summary.queue, summary.count, summary.reasons) == (UNDELIVERED, 1, ("ключ: too long",))
    assert clients.undelivered_blobs
    [blob] = clients.undelivered_blobs.list_blobs()
    assert clients.undelivered_blobs.download_blob(blob.name).readall() == body
    letters.redrive()
    [move] = letters.moves()
    assert (move.status, move.moved) == ("FAILED", 0)
    assert blob.name in move.failure


def test_what_was_too_long_comes_back_in_parts(clients: Clients, queue: Queue) -> None:
    """An array of events, of which each fits; or one event, once it fits."""
    letters = DeadLetters(clients)
    events = [{"n": number, "x": "x" * 40_000} for number in range(3)]
    letters.send(EVENTS_QUEUE, json.dumps(events).encode(), "who knows")
    letters.redrive()
    assert [json.loads(each.content) for each in queue(EVENTS_QUEUE).receive_messages(messages_per_page=9)] == events
    assert letters.summaries()[2].count == 0


@pytest.mark.parametrize("character", LONG)
def test_without_a_container_a_dead_letter_that_is_too_long_is_cut(
    clients: Clients, queue: Queue, character: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the beginning is kept, to be shown to a person."""
    monkeypatch.setitem(clients.__dict__, "undelivered_blobs", None)
    DeadLetters(clients).send(EVENTS_QUEUE, (character * 300_000).encode(), "Expected at most 262144 bytes, got 300000")
    [letter] = queue(EVENTS_QUEUE + POISON).receive_messages()
    assert len(letter.content.encode()) <= LONGEST_MESSAGE
    kept = json.loads(letter.content)
    beginning = kept["body"].encode() if "body" in kept else b64decode(kept["base64"])
    assert beginning.startswith((character * 2000).encode())


def test_dead_letters_are_counted_with_their_reasons(clients: Clients, queue: Queue) -> None:
    """For `status`: how many in each queue, since when, and why; what the host gave up has the host's reason."""
    letters = DeadLetters(clients)
    assert [(summary.queue, summary.count, summary.reasons) for summary in letters.summaries()] == [
        (EVENTS_QUEUE, 0, ()),
        (WAKES_QUEUE, 0, ()),
        (UNDELIVERED, 0, ()),
    ]
    letters.send(EVENTS_QUEUE, b"a", "first")
    letters.send(EVENTS_QUEUE, b"b", "first")
    queue(EVENTS_QUEUE + POISON).send_message('{"why": 5}')
    events, wakes, _ = letters.summaries()
    assert (events.queue, events.count, events.reasons) == (EVENTS_QUEUE, 3, ("first", GIVEN_UP))
    assert events.oldest is not None
    assert wakes == DeadLetterSummary(WAKES_QUEUE, 0)
    assert len(list(queue(EVENTS_QUEUE + POISON).receive_messages())) == 3, "counting must not hide them"


def test_dead_letters_are_redriven(clients: Clients, queue: Queue) -> None:
    """Each goes back to its own queue as it came, without its envelope, and is gone from the dead-letter queue."""
    letters = DeadLetters(clients)
    for number in range(40):
        letters.send(EVENTS_QUEUE, b'{"n": %d}' % number, "who knows")
    queue(WAKES_QUEUE + POISON).send_message('{"wake": "bare"}')
    letters.redrive()
    assert letters.moves() == (Move(EVENTS_QUEUE, "COMPLETED", 40, 40), Move(WAKES_QUEUE, "COMPLETED", 1, 1))
    back = sorted(json.loads(each.content)["n"] for each in queue(EVENTS_QUEUE).receive_messages(messages_per_page=32))
    assert back == list(range(40))
    assert [message.content for message in queue(WAKES_QUEUE).receive_messages()] == ['{"wake": "bare"}']
    assert [summary.count for summary in letters.summaries()] == [0, 0, 0]
    letters.redrive()
    assert letters.moves() == ()


def test_a_redrive_that_breaks_off_loses_nothing(
    clients: Clients, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead letter is put into its queue before it is taken out of the dead-letter queue."""
    letters = DeadLetters(clients)
    letters.send(EVENTS_QUEUE, b"a", "who knows")
    client = clients.queue(EVENTS_QUEUE + POISON)
    monkeypatch.setattr(client, "delete_message", lambda *_args, **_options: pytest.fail("died"))
    with pytest.raises(pytest.fail.Exception, match="died"):
        letters.redrive()
    assert [message.content for message in queue(EVENTS_QUEUE).receive_messages()] == ["a"]
    assert letters.summaries()[0].count == 1


def test_an_event_goes_into_its_queue_as_it_is(clients: Clients, queue: Queue) -> None:
    """For what an event hub does not bring back; one that does not fit is trouble, for it must not be cut."""
    letters = DeadLetters(clients)
    letters.return_to(EVENTS_QUEUE, b'{"type": "x"}')
    assert [message.content for message in queue(EVENTS_QUEUE).receive_messages()] == ['{"type": "x"}']
    for body, why in (
        (b"x" * 65_537, "65537 bytes does not fit"),
        (b"&" * 20_000, "100000 bytes does not fit"),
        (b"\xff", "no UTF-8"),
        (b"\x00", r"U\+0000"),
        ("\uffff".encode(), r"U\+FFFF"),
    ):
        with pytest.raises(UnfitMessageError, match=why):
            letters.return_to(EVENTS_QUEUE, body)
    letters.return_to(EVENTS_QUEUE, b"x" * 65_536)


def test_the_queue_takes_no_more_than_we_say(queue: Queue) -> None:
    """A byte more is refused. Characters that XML has none of are refused by the real one alone, not by Azurite."""
    queue(EVENTS_QUEUE).send_message("x" * LONGEST_MESSAGE)
    with pytest.raises(HttpResponseError, match="RequestBodyTooLarge"):
        queue(EVENTS_QUEUE).send_message("x" * (LONGEST_MESSAGE + 1))


# --- What waits -------------------------------------------------------------------------------------------------------


def test_what_waits_is_seen_by_peeking_and_stays_as_it_is(clients: Clients, queue: Queue) -> None:
    """Events by when they came, wakes by when they were due; hidden messages wait for nobody, and nothing is taken."""
    for _ in range(40):
        queue(EVENTS_QUEUE).send_message("event")
    now = datetime.now(UTC)
    Waker(clients).send(Wake("key", now - timedelta(minutes=7), "1"), timedelta(0))
    Waker(clients).send(Wake("key", now + timedelta(days=1), "1"), timedelta(days=1))
    queue(WAKES_QUEUE).send_message("no wake")
    events, wakes = Backlogs(clients).read(now + timedelta(minutes=5))
    assert (events.queue, events.waiting, wakes.queue, wakes.waiting) == (EVENTS_QUEUE, 40, WAKES_QUEUE, 2)
    assert events.age is not None
    assert timedelta(minutes=4) < events.age < timedelta(minutes=6)
    assert wakes.age == timedelta(minutes=12)
    received = queue(EVENTS_QUEUE).receive_message()
    assert received is not None
    assert received.dequeue_count == 1


def test_an_empty_queue_has_no_age(clients: Clients) -> None:
    """Nothing waits, so nobody is late."""
    assert [(each.waiting, each.age) for each in Backlogs(clients).read(NOON)] == [(0, None), (0, None)]


def test_a_queue_that_is_not_there_is_trouble(clients: Clients, queue: Queue) -> None:
    """Told as such: what cannot be peeked at is not known to be empty."""
    queue(EVENTS_QUEUE).delete_queue()
    with pytest.raises(StoreDownError):
        Backlogs(clients).read(NOON)
