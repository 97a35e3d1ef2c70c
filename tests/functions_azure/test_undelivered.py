"""What Event Grid could not deliver: counted, and brought back (Azurite)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from functions_azure.clients import Clients
from functions_azure.dead_letters import DeadLetters
from functions_azure.queue_messages import LONGEST_MESSAGE
from functions_azure.settings import EVENTS_QUEUE, UNDELIVERED, Settings
from local.cli import main
from shared.inbound import eventgrid
from shared.inbound.dead_letters import DeadLetterSummary, Move
from shared.inbound.messages import Arrived
from shared.refresh.ports import StoreDownError
from tests.support.azure_host import TEXT, blob_created
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

# As Event Grid writes them (https://learn.microsoft.com/azure/event-grid/delivery-and-retry#dead-letter-events).
EXPIRED = {
    "deadletterreason": "TimeToLiveExceeded",
    "deliveryattempts": 30,
    "lastdeliveryoutcome": "Unauthorized",
    "publishtime": "2026-11-22T12:00:00.0000000Z",
}
REFUSED = {"deadLetterReason": "MaxDeliveryAttemptsExceeded", "deliveryAttempts": 1, "lastDeliveryOutcome": "NotFound"}
CLOUD_EVENT = blob_created("orders/1.parquet", NOON, cloud_event=True) | EXPIRED
GRID_EVENT = blob_created("orders/2.parquet", NOON) | REFUSED


@pytest.fixture(name="container")
def bare_container(account: Account) -> Iterator[ContainerClient]:
    """The container as the SDK alone sees it."""
    with ContainerClient.from_connection_string(account.connection_string, UNDELIVERED) as client:
        yield client


@pytest.fixture(name="letters")
def product_letters(account: Account) -> DeadLetters:
    """The product's dead letters of an empty account."""
    settings = Settings(Path("unstale.toml"), storage=account.connection_string)
    return DeadLetters(Clients(settings, lambda: pytest.fail("no token")))


Write = Callable[[str, Any], None]


@pytest.fixture(name="write")
def as_event_grid(container: ContainerClient) -> Write:
    """Put a blob where Event Grid does, under the subscription's name in capitals and the hour."""

    def write(name: str, content: Any) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        container.upload_blob(f"UNSTALE-STMH4X/2026/11/23/12/{name}.json", text)

    return write


def waiting(account: Account) -> list[str]:
    """What lies in the events queue."""
    with QueueClient.from_connection_string(account.connection_string, EVENTS_QUEUE) as queue:
        return [message.content for message in queue.receive_messages(messages_per_page=32)]


def names(container: ContainerClient) -> set[str]:
    """The blobs that are left."""
    return {blob.name.rpartition("/")[2] for blob in container.list_blobs()}


def test_what_was_not_delivered_is_counted_with_its_reasons(letters: DeadLetters, write: Write) -> None:
    """How many blobs, since when, and why, in either schema; nothing is moved by looking."""
    assert letters.summaries()[2] == DeadLetterSummary(UNDELIVERED, 0)
    write("a", [CLOUD_EVENT])
    write("b", [GRID_EVENT, CLOUD_EVENT])
    for _ in range(2):
        summary = letters.summaries()[2]
        assert (summary.queue, summary.count) == (UNDELIVERED, 2)
        assert summary.oldest is not None
        assert summary.reasons == ("TimeToLiveExceeded: Unauthorized", "MaxDeliveryAttemptsExceeded: NotFound")


def test_what_was_not_delivered_comes_back_event_by_event(
    letters: DeadLetters, write: Write, account: Account, container: ContainerClient
) -> None:
    """Each event is a message of the events queue that the function reads as an arrival; the blobs are gone."""
    write("a", [CLOUD_EVENT])
    write("b", [GRID_EVENT, CLOUD_EVENT])
    letters.redrive()
    assert letters.moves() == (Move(UNDELIVERED, "COMPLETED", 2, 2),)
    messages = waiting(account)
    assert [json.loads(text) for text in messages] == [CLOUD_EVENT, GRID_EVENT, CLOUD_EVENT]
    assert all(isinstance(eventgrid.read(text, NOON), Arrived) for text in messages)
    assert names(container) == set()
    letters.redrive()
    assert letters.moves() == ()


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_dying_in_between_loses_nothing(
    letters: DeadLetters, write: Write, account: Account, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Stopped at any of its calls, the blob is there as a whole; done again, every event is in the queue."""
    write("a", [CLOUD_EVENT, GRID_EVENT])
    calls = iter(range(10))

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) == dies_at:
                raise KeyboardInterrupt
            return real(*args, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(QueueClient, "send_message", dies(QueueClient.send_message))
        patched.setattr(ContainerClient, "delete_blob", dies(ContainerClient.delete_blob))
        with pytest.raises(KeyboardInterrupt):
            letters.redrive()
    assert letters.summaries()[2].count == 1
    letters.redrive()
    assert {json.loads(text)["subject"] for text in waiting(account)} == {CLOUD_EVENT["subject"], GRID_EVENT["subject"]}


def test_what_cannot_be_put_back_stays_and_is_told(
    letters: DeadLetters, write: Write, account: Account, container: ContainerClient
) -> None:
    """What is no array of events, or too long for a message, stays whole; the others come back all the same."""
    write("a", b"\xff not json")
    write("b", [{**GRID_EVENT, "data": "x" * LONGEST_MESSAGE}])
    write("c", [GRID_EVENT])
    assert "no array of events" in letters.summaries()[2].reasons
    letters.redrive()
    [move] = letters.moves()
    assert (move.status, move.moved, move.to_move) == ("FAILED", 1, 3)
    assert "a.json is no array of events" in move.failure
    assert "bytes does not fit" in move.failure
    assert [json.loads(text) for text in waiting(account)] == [GRID_EVENT]
    assert names(container) == {"a.json", "b.json"}


def test_a_blob_that_changes_meanwhile_is_kept(
    letters: DeadLetters, write: Write, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was read is removed."""
    write("a", [GRID_EVENT])
    [blob] = container.list_blobs()
    send = QueueClient.send_message

    def meanwhile(*args: Any, **options: Any) -> Any:
        container.upload_blob(blob.name, json.dumps([CLOUD_EVENT]), overwrite=True)
        return send(*args, **options)

    monkeypatch.setattr(QueueClient, "send_message", meanwhile)
    letters.redrive()
    assert letters.moves()[0].failure.endswith("changed meanwhile)")
    assert names(container) == {"a.json"}


def test_two_that_redrive_at_once_do_no_harm(
    letters: DeadLetters, write: Write, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other one moved is no failure."""
    write("a", [GRID_EVENT])
    listed = ContainerClient.list_blobs

    def then_gone(*args: Any, **options: Any) -> Any:
        found = list(listed(*args, **options))
        for blob in found:
            container.delete_blob(blob.name)
        return found

    monkeypatch.setattr(ContainerClient, "list_blobs", then_gone)
    letters.redrive()
    assert [move.status for move in letters.moves()] == ["COMPLETED"]


def test_a_container_that_is_down_is_the_store_being_down(letters: DeadLetters, container: ContainerClient) -> None:
    """An answer for `status` and `redrive`, not a traceback."""
    container.delete_container()
    with pytest.raises(StoreDownError, match=r"listing undelivered events.*ContainerNotFound"):
        letters.summaries()


@pytest.fixture(name="config")
def deployed(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a deployment that is on Azure only, and where it is."""
    monkeypatch.setenv("UNSTALE_STORAGE", account.connection_string)
    config = tmp_path / "unstale.toml"
    config.write_text(TEXT[: TEXT.index("[targets.glue]")], encoding="utf-8")
    return config


def test_redrive_shows_and_moves_both_kinds(
    config: Path, write: Write, account: Account, letters: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    """`unstale redrive`: what a dry run shows, the move; and once more, when there is nothing left."""
    letters.send(EVENTS_QUEUE, b'{"nonsense": 1}', "Object missing required field `type`")
    write("a", [CLOUD_EVENT])
    assert main(["redrive", "--dry-run", "--json", "--config", str(config)]) == 1
    summaries = {one["queue"]: one for one in json.loads(capsys.readouterr().out)["dead_letters"]}
    assert (summaries[EVENTS_QUEUE]["count"], summaries[EVENTS_QUEUE]["why"]) == (
        1,
        "Object missing required field `type`",
    )
    assert (summaries[UNDELIVERED]["count"], summaries[UNDELIVERED]["why"]) == (1, "TimeToLiveExceeded: Unauthorized")
    assert waiting(account) == []
    assert main(["redrive", "--config", str(config)]) == 0
    assert f"{UNDELIVERED}: 1 of 1 moved back, completed" in capsys.readouterr().out
    assert sorted(waiting(account)) == sorted(['{"nonsense": 1}', json.dumps(CLOUD_EVENT)])
    assert main(["redrive", "--dry-run", "--config", str(config)]) == 0
