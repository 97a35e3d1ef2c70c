"""What release 1 left behind, byte for byte: a later release must read it, whatever it calls things by then.

`tests/golden/release-1` was written by the code of that release, before anything was renamed, and never changes:

    records/<kind>/<name>.record     the bytes of one record, and beside them
    records/<kind>/<name>.json       every field that must be read out of them, under its stored name
    rows/azure.json, rows/aws.json   a table as it lay in Azure Tables, and in DynamoDB
    sign_in.json                     the sealed file of a signed-in user, with the data key that opens it
    messages/<name>.txt              messages that were on their way in a queue, and what each says
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.data.tables import TableClient

from functions_aws import clients as aws_clients
from functions_aws import store as dynamodb
from functions_azure import store as tables
from functions_azure.clients import Clients
from functions_azure.dead_letters import DeadLetters
from functions_azure.settings import TABLE, WAKES_QUEUE, Settings
from functions_azure.sign_in.key_vault import Wrapped
from functions_azure.sign_in.store import Opened, SignIns
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.model import create_table
from shared import sign_in as entra
from shared.inbound import eventbridge, eventgrid, wakes
from shared.refresh import records
from shared.refresh.state import Wake
from shared.workload.job import read_job
from tests.support.aws_host import living_in
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

RELEASE = Path(__file__).parent / "golden" / "release-1"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
READ: dict[str, Callable[[bytes], Any]] = {
    "state": records.read_state,
    "deployment": records.read_deployment,
    "ended": records.read_ended,
    "job": read_job,
}
SUPERSEDED = {"deployment": {"planned", "walk"}}
"""Fields that are not read any more, by kind of record. What release 1 had planned, and how far, is rolled out anew by
the first edition, whose number is in every record."""
RECORDS = sorted((RELEASE / "records").rglob("*.record"))


def plain(value: Any) -> Any:
    """A value as JSON, with every field, those at their default included, under the names they are stored by."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        fields = {field.encode_name: plain(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
        return tag | fields
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def known_then(value: Any, then: Any) -> Any:
    """What is left of a value without fields that the release did not have: those have defaults, or were not read."""
    if isinstance(value, dict) and isinstance(then, dict):
        return {name: known_then(value[name], then[name]) for name in then if name in value}
    if isinstance(value, list) and isinstance(then, list) and len(value) == len(then):
        return [known_then(*pair) for pair in zip(value, then, strict=True)]
    return value


def golden_json(name: str) -> Any:
    """One JSON file of the release."""
    return json.loads((RELEASE / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_field_of_a_record_is_read(file: Path) -> None:
    """Under the names and with the values that release 1 stored; fields that are new since are not looked at."""
    kind = file.parent.name
    must = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    must = {name: value for name, value in must.items() if name not in SUPERSEDED.get(kind, ())}
    assert known_then(plain(READ[file.parent.name](file.read_bytes())), must) == must


@pytest.mark.parametrize(
    "file",
    [file for file in RECORDS if file.parent.name not in SUPERSEDED],
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_a_record_that_nobody_changed_keeps_its_bytes(file: Path) -> None:
    """All but the number of the format, which tells release 1 to leave the record alone: it would drop new fields."""
    then = b'{"format":1,' + records.write(READ[file.parent.name](file.read_bytes())).removeprefix(b'{"format":2,')
    assert then == file.read_bytes()


def test_the_folder_holds_every_kind_with_every_stored_word() -> None:
    """Each value of each stored enumeration occurs in some record, so that no word can be renamed unseen."""
    stored = b"\n".join(file.read_bytes() for file in RECORDS).decode()
    words = [
        *("claimed", "running", "overdue", "cancelling", "doubted", "sought", "foreign"),
        *("paused", "blocked", "cancelled", "succeeded", "failed", "skipped", "lost"),
        *("NotStarted", "InProgress", "Completed", "Failed", "Cancelled"),
    ]
    assert [word for word in words if f'"{word}"' not in stored] == ["NotStarted"]  # told to Fabric, never stored
    assert {file.parent.name for file in RECORDS} == READ.keys()


# --- Rows ------------------------------------------------------------------------------------------------------------


def entity(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Azure Tables from its JSON, in which bytes are base64."""
    return {
        name: base64.b64decode(value["binary"]) if isinstance(value, dict) else value for name, value in row.items()
    }


def row_json(row: dict[str, Any]) -> dict[str, Any]:
    """... and back."""
    return {
        name: {"binary": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in row.items()
    }


def check_store(store: Any, must: dict[str, Any]) -> None:
    """Each document, what is due, the list of keys and the history are as they were when they were written."""
    for key, body in must["bodies"].items():
        assert store.load(key).body == body.encode()
    assert [document.body.decode() for document in store.load_many(must["bodies"])] == list(must["bodies"].values())
    assert list(store.due(NOON + timedelta(days=1), 10)) == must["due"]
    assert keys_of(store) == set(must["bodies"])
    for key, lines in must["history"].items():
        assert [line.decode() for line in store.history(key, 10)] == lines


def keys_of(store: Any) -> set[str]:
    """All keys, page by page."""
    found, cursor = store.keys("", 100)
    keys = set(found)
    while cursor:
        found, cursor = store.keys(cursor, 100)
        keys |= set(found)
    return keys


def check_changes(store: Any, must: dict[str, Any]) -> None:
    """A record is saved over, and leaves its old place in the index; what is written again is written alike."""
    for key in must["due"]:
        document = store.load(key)
        store.save(document, document.body, None)
    assert list(store.due(NOON + timedelta(days=1), 10)) == []


def fill(store: Any, must: dict[str, Any]) -> None:
    """Write all of it anew."""
    from shared.refresh.ports import Document

    for key, body in must["bodies"].items():
        wake_at = must["wakes"].get(key)
        store.save(Document(key), body.encode(), datetime.fromisoformat(wake_at) if wake_at else None)
    for key, lines in must["history"].items():
        for number, line in enumerate(reversed(lines), start=1):
            store.append(key, f"2026-01-3{number}", line.encode(), NOON + timedelta(days=30))


def test_rows_of_azure_tables(account: Account) -> None:
    """Rows that release 1 left are found, read, saved over; the same records are written as the same rows."""
    must = golden_json("rows/azure.json")
    settings = Settings(Path("unstale.toml"), storage=account.connection_string)
    store = tables.Store(Clients(settings, lambda: pytest.fail("a key, no token")), lambda: NOON)
    with TableClient.from_connection_string(account.connection_string, TABLE) as table:
        for row in must["rows"]:
            table.create_entity(entity(row))
        check_store(store, must)
        check_changes(store, must)
        for row in list(table.list_entities()):
            table.delete_entity(row["PartitionKey"], row["RowKey"])
        fill(store, must)
        written = [row_json(dict(row)) for row in table.list_entities()]
    assert in_order(written) == in_order(must["rows"])


def test_items_of_dynamodb() -> None:
    """Items that release 1 left are found, read, saved over; the same records are written as the same items."""
    must = golden_json("rows/aws.json")
    with living_in(LocalAws()) as aws:
        client = aws.client("dynamodb")
        for name in ("before", "after"):
            create_table(client, name)
        for item in must["rows"]:
            client.put_item(TableName="before", Item={name: attribute(value) for name, value in item.items()})
        product = aws_clients.Clients()
        store = dynamodb.Store(product, "before")
        check_store(store, must)
        check_changes(store, must)
        fill(dynamodb.Store(product, "after"), must)
        written = [item_json(item) for item in client.scan(TableName="after")["Items"]]
    assert in_order(written) == in_order(must["rows"])


def attribute(value: dict[str, str]) -> dict[str, Any]:
    """An attribute of DynamoDB from its JSON, in which bytes are base64."""
    return {kind: base64.b64decode(each) if kind == "B" else each for kind, each in value.items()}


def item_json(item: dict[str, Any]) -> dict[str, Any]:
    """... and back."""
    return {
        name: {kind: base64.b64encode(each).decode() if kind == "B" else each for kind, each in value.items()}
        for name, value in item.items()
    }


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    """Rows that can be compared: a scan has no order."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


# --- A signed-in user ------------------------------------------------------------------------------------------------


def test_the_file_of_a_signed_in_user_is_opened() -> None:
    """With its data key; the first line is written again as it was."""
    must = golden_json("sign_in.json")
    kept = entra.read_kept(base64.b64decode(must["file"]))
    assert known_then(plain(kept.sign_in), must["sign_in"]) == must["sign_in"]
    assert entra.write_head(kept.sign_in, kept.seal) == kept.head
    wrapped = Wrapped(kept.seal.key_version, kept.seal.wrapped)
    known = Opened("", kept.sign_in, "", base64.b64decode(must["data_key"]), wrapped)
    nobody: Any = None
    assert SignIns(nobody, nobody, nobody).open("e", kept, known).cache == must["cache"]


# --- Messages --------------------------------------------------------------------------------------------------------

MESSAGES = sorted(file for file in (RELEASE / "messages").glob("*.txt") if not file.stem.startswith("dead-"))


@pytest.mark.parametrize("read", [eventbridge.read, eventgrid.read], ids=["aws", "azure"])
@pytest.mark.parametrize("file", MESSAGES, ids=lambda file: file.stem)
def test_a_message_that_was_on_its_way_is_understood(file: Path, read: Callable[..., Any]) -> None:
    """A queue holds messages of the release before for up to a week."""
    must = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    found = read(file.read_bytes(), NOON)
    assert known_then(plain(found), must) == must
    assert not {"what", "why"} & plain(found).keys(), "passed over, or for the dead letters"


def test_a_wake_is_written_as_before() -> None:
    """An older worker may take it, during an update."""
    wake = Wake("glue-view:123456789012:sales:daily", NOON + timedelta(microseconds=250_000), "7")
    assert wakes.wake_message(wake) == (RELEASE / "messages" / "wake.txt").read_text(encoding="utf-8")


def test_a_dead_letter_in_storage_comes_back(account: Account) -> None:
    """It lies in the poison queue in an envelope of ours, which is taken off, whoever put it on."""
    settings = Settings(Path("unstale.toml"), storage=account.connection_string)
    clients = Clients(settings, lambda: pytest.fail("a key, no token"))
    sealed = (RELEASE / "messages" / "dead-azure.txt").read_text(encoding="utf-8")
    clients.queue(WAKES_QUEUE + "-poison").send_message(sealed)
    letters = DeadLetters(clients)
    assert [summary.reasons for summary in letters.summaries() if summary.count] == [("not JSON",)]
    letters.redrive()
    assert [message.content for message in clients.queue(WAKES_QUEUE).receive_messages()] == ["{broken"]
