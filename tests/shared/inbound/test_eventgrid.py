"""What messages of the Azure side say."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inbound.arrivals import BlobArrived, OneLakeArrived
from shared.inbound.eventgrid import ONLY_OPENED, read
from shared.inbound.messages import (
    Arrived,
    Asked,
    FabricRunEnded,
    Ignored,
    Malformed,
    Message,
    Several,
    Ticked,
    Woken,
    each,
)
from shared.inbound.wakes import wake_message
from shared.refresh.state import Wake
from tests.support.golden_folders import golden, read_json, told

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIME = "2026-11-23T11:59:59.1234567Z"
AT = datetime(2026, 11, 23, 11, 59, 59, 123457, tzinfo=UTC)
TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/ContosoLake"
SUBJECT = "/blobServices/default/containers/sales/blobs/orders/1.parquet"
URL = "https://contosolake.blob.core.windows.net/sales/orders/1.parquet"
CREATED = "Microsoft.Storage.BlobCreated"


def blob(api: str = "PutBlob", kind: str = CREATED, **more: Any) -> dict[str, Any]:
    """A storage event in the Event Grid schema; fields of `more` that are None are left out."""
    event = {
        "topic": TOPIC,
        "subject": SUBJECT,
        "eventType": kind,
        "eventTime": TIME,
        "data": {"api": api, "url": URL},
        **more,
    }
    return {name: value for name, value in event.items() if value is not None}


def cloud(kind: str, **more: Any) -> dict[str, Any]:
    """A CloudEvent."""
    return {"specversion": "1.0", "type": kind, "time": TIME, **more}


def arrived(path: str = "orders/1.parquet", account: str = "contosolake", container: str = "sales") -> Arrived:
    """One blob arrived."""
    return Arrived((BlobArrived(AT, account, container, path),))


def directory(path: str) -> Arrived:
    """A directory arrived as a whole."""
    return Arrived((BlobArrived(AT, "contosolake", "sales", path, folder=True),))


@golden("eventgrid")
def test_published_events_read_as_expected(folder: Path) -> None:
    """Events as Microsoft publishes them read the same as text, as bytes, parsed, and as base64 in a queue message."""
    expected = read_json(folder, "expected.json")
    packed = folder / "event.base64"
    if packed.exists():
        assert told(read(packed.read_text(encoding="utf-8"), NOW)) == expected
        return
    text = (folder / "event.json").read_text(encoding="utf-8")
    marked = "\ufeff" + text
    for body in (text, json.loads(text), text.encode(), b64encode(text.encode()), marked, b64encode(marked.encode())):
        assert told(read(body, NOW)) == expected


@pytest.mark.parametrize("api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit", "New", ""])
def test_every_call_that_completes_a_write_is_an_arrival(api: str) -> None:
    """Blob, Data Lake and SFTP calls after which the data is there, and calls that nobody documented yet."""
    assert read(blob(api), NOW) == arrived()


@pytest.mark.parametrize("api", sorted(ONLY_OPENED))
def test_an_opened_file_is_no_arrival(api: str) -> None:
    """A file that was only opened is empty; the call that closes it follows."""
    assert read(blob(api), NOW) == Ignored(f"{CREATED}: {api}")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        # The subject is not percent-encoded, so it is taken as it is; the URL is.
        (blob(subject="/blobServices/default/containers/c/blobs/a b+c%20d/ü"), arrived("a b+c%20d/ü", container="c")),
        (blob(subject="/blobServices/default/containers/c/blobs/x/blobs/y"), arrived("x/blobs/y", container="c")),
        (blob(subject="/blobServices/default/containers/$root/blobs/a\nb"), arrived("a\nb", container="$root")),
        # A subject with lost characters, or of another form: the URL, decoded.
        (
            blob(
                subject="/blobServices/default/containers/c/blobs/14\ufffd\ufffd.log",
                data={"url": "https://a.blob.core.windows.net/c/14%F0%9F%92%8E.log"},
            ),
            arrived("14💎.log", container="c"),
        ),
        (
            blob(subject="/blobServices/default/containers/c/blobs/14\ufffd.log", data={"api": "PutBlob"}),
            arrived("14\ufffd.log", container="c"),
        ),
        (
            blob(subject="elsewhere", data={"url": "https://a.dfs.core.windows.net/c/x%20y/z?sig=1"}),
            arrived("x y/z", container="c"),
        ),
        # The account: of the topic or the source, else of the URL.
        (blob(topic=None, data={"url": URL.replace("contosolake", "other")}), arrived(account="other")),
        (blob(topic="/subscriptions/s/providers/Microsoft.EventGrid/topics/t"), arrived()),
        (
            cloud(CREATED, source=TOPIC + "/blobServices/default", subject=SUBJECT, data={"api": "PutBlob"}),
            arrived(),
        ),
        (
            blob(kind="Microsoft.Storage.BlobRenamed", topic=None, data={"destinationUrl": URL, "sourceUrl": "x"}),
            arrived(),
        ),
        (blob(kind="Microsoft.Storage.DirectoryRenamed", data={}), directory("orders/1.parquet/")),
        (
            blob(kind="Microsoft.Storage.DirectoryRenamed", data={}, subject=SUBJECT + "/"),
            directory("orders/1.parquet/"),
        ),
    ],
)
def test_where_a_blob_is(event: dict[str, Any], message: Message) -> None:
    """Account, container and path, from wherever the event has them."""
    assert read(event, NOW) == message


LAKE = "/t/workspaces/AAAAAAAA-0000-1111-2222-bbbbbbbbbbbb/items/cccccccc-2222-3333-4444-DDDDDDDDDDDD"
IDS = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "cccccccc-2222-3333-4444-dddddddddddd"
ONELAKE = "Microsoft.Fabric.OneLake."


@pytest.mark.parametrize("kind", ["FileCreated", "FileRenamed"])
@pytest.mark.parametrize(
    "where",
    [
        {"source": LAKE},
        {"source": "t", "data": {"url": f"https://onelake.dfs.fabric.microsoft.com/{IDS[0]}/{IDS[1]}/Tables/orders"}},
    ],
)
def test_a_file_in_onelake_is_an_arrival(kind: str, where: dict[str, Any]) -> None:
    """What is written, or renamed into place, with the ids in lower case and the path without its slash."""
    event = cloud(ONELAKE + kind, subject="/Tables/orders/_delta_log/1.json", **where)
    assert read(event, NOW) == Arrived((OneLakeArrived(AT, *IDS, "Tables/orders/_delta_log/1.json"),))


@pytest.mark.parametrize("subject", ["/Tables/dbo", "/Tables/dbo/"])
def test_a_renamed_folder_in_onelake_arrives_as_a_whole(subject: str) -> None:
    """With one slash at its end, whether or not the subject has it."""
    event = cloud(ONELAKE + "FolderRenamed", subject=subject, source=LAKE)
    assert read(event, NOW) == Arrived((OneLakeArrived(AT, *IDS, "Tables/dbo/", folder=True),))


@pytest.mark.parametrize("kind", ["FileDeleted", "FolderCreated", "FolderDeleted"])
def test_other_onelake_events_are_ignored(kind: str) -> None:
    """Deleted files are house-keeping of a table, and a new folder is empty."""
    assert read(cloud(ONELAKE + kind, source=LAKE, subject="/Tables/t/x"), NOW) == Ignored(ONELAKE + kind)


RUN = "dddddddd-3333-4444-5555-eeeeeeeeeeee"
JOB = {"workspaceId": IDS[0].upper(), "itemId": IDS[1], "jobInstanceId": RUN}
JOB_SUBJECT = f"/workspaces/{IDS[0]}/items/{IDS[1]}/jobs/instances/{RUN}"


@pytest.mark.parametrize(
    "event",
    [
        cloud("Microsoft.Fabric.ItemJobSucceeded", data=JOB),
        cloud("Microsoft.Fabric.ItemJobFailed", data={**JOB, "jobStatus": "Cancelled"}),
        cloud("Microsoft.Fabric.ItemJobStatusChanged", data={**JOB, "jobStatus": "Completed"}),
        cloud("Microsoft.Fabric.JobEvents.ItemJobSucceeded", data=JOB),
        cloud("Microsoft.Fabric.ItemJobFailed", data={"jobStatus": ""}, subject=JOB_SUBJECT),
        cloud("Microsoft.Fabric.ItemJobFailed", data="text", subject=JOB_SUBJECT),
        cloud("Microsoft.Fabric.ItemJobFailed", data={**JOB, "itemId": 5}, subject=JOB_SUBJECT),
        cloud("Microsoft.Fabric.ItemJobFailed", data=JOB, time="whenever"),
        cloud("Microsoft.Fabric.ItemJobFailed", data=JOB, subject="/workspaces/1/items/2/jobs/instances/3"),
    ],
)
def test_an_ended_job_is_a_hint(event: dict[str, Any]) -> None:
    """By the fields of its data, or by its subject; nothing else of it matters."""
    assert read(event, NOW) == FabricRunEnded(*IDS, RUN)


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (cloud("Microsoft.Fabric.ItemJobCreated", data=JOB), "Microsoft.Fabric.ItemJobCreated"),
        (
            cloud("Microsoft.Fabric.ItemJobStatusChanged", data={**JOB, "jobStatus": "InProgress"}),
            "Microsoft.Fabric.ItemJobStatusChanged: InProgress",
        ),
        (cloud("Microsoft.Fabric.ItemJobFailed", data={"itemId": "x"}), "Microsoft.Fabric.ItemJobFailed: unreadable"),
        (blob(kind="Microsoft.Storage.BlobDeleted"), "Microsoft.Storage.BlobDeleted"),
        (
            blob(kind="Microsoft.EventGrid.SubscriptionValidationEvent"),
            "Microsoft.EventGrid.SubscriptionValidationEvent",
        ),
    ],
)
def test_other_events_are_ignored_by_name(event: dict[str, Any], what: str) -> None:
    """What nobody here acts on is counted under its type; a hint that cannot be read is one of these."""
    assert read(event, NOW) == Ignored(what)


@pytest.mark.parametrize(
    ("events", "messages"),
    [
        ([blob(), blob(kind="X")], [arrived(), Ignored("X")]),
        ([cloud("Microsoft.Fabric.ItemJobFailed", data=JOB), blob()], [FabricRunEnded(*IDS, RUN), arrived()]),
        ([{"refresh": "a"}, {"refresh": "b"}], [Asked(name, NOW, by_person=True) for name in "ab"]),
        ([{"tick": True}, {"tick": True}], [Ticked(), Ticked()]),
        ([blob(), {"type": 5}], [arrived(), Malformed("Expected `str`, got `int` - at `$.type`")]),
        ([blob(), [blob()]], [arrived(), Malformed("Expected `object`, got `array`")]),
    ],
)
def test_several_events_in_one_message(events: list[Any], messages: list[Message]) -> None:
    """Each event of an array is read, or is unreadable, on its own, and keeps its bytes for the dead letters."""
    found = read(events, NOW)
    assert isinstance(found, Several)
    assert [part.message for part in found.parts] == messages == list(each([found]))
    assert [json.loads(part.body) for part in found.parts] == events


def test_arrivals_in_one_message_are_one_reading() -> None:
    """An array of one event reads as the event; of arrivals alone, as all of them."""
    assert read([blob()], NOW) == read(blob(), NOW) == arrived()
    assert read([blob(), blob()], NOW) == Arrived(arrived().arrivals * 2)
    assert list(each([arrived(), Ticked()])) == [arrived(), Ticked()]


WAKE = Wake("fabric-lake-views:w:l", AT, "7")


@pytest.mark.parametrize("pack", [str.encode, lambda text: b64encode(text.encode()), json.loads, str.strip])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (wake_message(WAKE), Woken(WAKE)),
        ('{"refresh": "daily", "full": true}', Asked("daily", NOW, full=True, by_person=True)),
        ('{"tick": true}', Ticked()),
    ],
)
def test_our_own_messages_plain_or_packed(text: str, pack: Any, message: Message) -> None:
    """Wakes and requests read as they were written, in base64 too."""
    assert read(pack(text), NOW) == message


NEITHER = "Expected a JSON object, an array of them, or base64 of either, got "
MALFORMED: list[tuple[Any, str]] = [
    ("", "not JSON: Input data was truncated"),
    ("hello!", NEITHER + "b'hello!' - at `$`"),
    (b64encode(b"hello"), "not JSON: JSON is malformed: invalid character (byte 0)"),
    (b64encode(b"5"), "Expected `object`, got `int`"),
    (5, NEITHER + "b'5' - at `$`"),
    ([], "Expected at least one event, got [] - at `$`"),
    ([5], "Expected `object`, got `int`"),
    ({}, "Object missing required field `type`"),
    ({"type": 5}, "Expected `str`, got `int` - at `$.type`"),
    (blob(eventTime=None), "Object missing required field `eventTime`"),
    (blob(eventTime="noon"), "Expected a time like 2026-01-31T12:00:00Z, got 'noon' - at `$.eventTime`"),
    (
        cloud(ONELAKE + "FileCreated", source=LAKE, subject="/Files/x", time="0001-01-01T00:00:00"),
        "Expected a time like 2026-01-31T12:00:00Z, got '0001-01-01T00:00:00' - at `$.time`",
    ),
    (blob(data={"api": 5}), "Expected `str`, got `int` - at `$.data.api`"),
    (blob(data="text"), "Expected `object`, got `str` - at `$.data`"),
    (blob(topic=None, data={}), "Expected .../storageAccounts/<name>, got '' - at `$.source`"),
    (blob(topic=None, data={"url": "https://[::1/c/b"}), "Expected a URL, got 'https://[::1/c/b' - at `$.data.url`"),
    (
        blob(subject="/elsewhere", data={}),
        "Expected /blobServices/default/containers/<container>/blobs/<path>, got '/elsewhere' - at `$.subject`",
    ),
    (
        blob(subject="/elsewhere", data={"url": "https://a.blob.core.windows.net/sales/"}),
        "Expected /blobServices/default/containers/<container>/blobs/<path>, got '/elsewhere' - at `$.subject`",
    ),
    (
        cloud(ONELAKE + "FileCreated", source="t", subject="/Tables/x", data={"url": "https://onelake/w"}),
        "Expected .../workspaces/<id>/items/<id>, got 't' - at `$.source`",
    ),
    (
        cloud(ONELAKE + "FileCreated", source="t", subject="/Tables/x"),
        "Expected .../workspaces/<id>/items/<id>, got 't' - at `$.source`",
    ),
    (
        cloud(ONELAKE + "FileCreated", source=LAKE, subject="/"),
        "Expected /Tables/... or /Files/..., got '/' - at `$.subject`",
    ),
]


@pytest.mark.parametrize(("body", "why"), MALFORMED)
def test_what_cannot_be_read_says_why(body: Any, why: str) -> None:
    """A dead letter names the field, what was found and what is expected."""
    assert read(body, NOW) == Malformed(why)


@pytest.mark.usefixtures("without_garbage")
def test_deep_nesting_is_malformed() -> None:
    """Nesting within the size limit must not end the process, packed or not."""
    nested = '{"data": ' + "[" * 100_000
    assert read(nested, NOW) == Malformed("nested too deeply to be an event")
    assert read(b64encode(nested.encode()), NOW) == Malformed("nested too deeply to be an event")


def test_an_oversized_message_is_malformed() -> None:
    """Nothing above the limit is looked at."""
    message = read(json.dumps(blob(padding="x" * 300_000)), NOW)
    assert isinstance(message, Malformed)
    assert message.why.startswith("Expected at most 262144 bytes")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [CREATED, "Microsoft.Storage.BlobRenamed", ONELAKE + "FileCreated", "Microsoft.Fabric.ItemJobFailed"]
)
URLS = st.text(alphabet="/:[]htps?#@%.\ufffd", max_size=20)
EVENTS = st.fixed_dictionaries(
    {"type": KINDS | JSON, "time": st.just(TIME) | JSON},
    optional={
        "subject": URLS | JSON,
        "source": URLS | JSON,
        "data": st.fixed_dictionaries({"url": URLS}) | JSON,
        "wake": JSON,
        "refresh": JSON,
    },
)


@given(JSON | EVENTS | st.lists(EVENTS, max_size=3) | st.binary() | st.text() | st.binary().map(b64encode))
def test_no_message_raises(body: Any) -> None:
    """Whatever arrives is read as a message that can be stored."""
    assert msgspec.json.encode(told(read(body, NOW)))
