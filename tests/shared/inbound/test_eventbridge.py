"""What messages of the AWS side say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inbound.arrivals import JobSucceeded, ObjectArrived, TableChanged
from shared.inbound.eventbridge import NO_NEW_DATA, read
from shared.inbound.messages import (
    EVENT_LIMIT,
    Arrived,
    Asked,
    GlueRunEnded,
    Ignored,
    Malformed,
    Message,
    Ticked,
    Woken,
)
from shared.inbound.wakes import wake_message
from shared.refresh.state import Wake
from tests.support.golden_folders import golden, read_json, told

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TIME = "2026-11-23T11:59:59Z"
AT = datetime(2026, 11, 23, 11, 59, 59, tzinfo=UTC)


def event(detail_type: str, detail: Any, source: str = "aws.glue", **more: Any) -> dict[str, Any]:
    """An EventBridge event."""
    return {"detail-type": detail_type, "source": source, "time": TIME, "detail": detail, **more}


def s3_event(key: str = "orders/1.parquet", **more: Any) -> dict[str, Any]:
    """S3 says that an object is there."""
    return event("Object Created", {"bucket": {"name": "landing"}, "object": {"key": key}}, "aws.s3", **more)


@golden("eventbridge")
def test_published_events_read_as_expected(folder: Path) -> None:
    """Events as their vendors publish them read the same as text, as bytes and parsed."""
    text = (folder / "event.json").read_text(encoding="utf-8")
    for body in (text, text.encode(), json.loads(text)):
        assert told(read(body, NOW)) == read_json(folder, "expected.json")


@pytest.mark.parametrize("key", ["a+b%20c d", "über/日本/💎.parquet", "a//b/", "'\"\\", "%", "+" * 1024])
def test_keys_are_never_decoded(key: str) -> None:
    """A key arrives as S3 sends it: a prefix with `+` or `%` in it must match."""
    assert read(s3_event(key), NOW) == Arrived((ObjectArrived(AT, "landing", key),))


TABLE, DATABASE = "Glue Data Catalog Table State Change", "Glue Data Catalog Database State Change"
CHANGED = Arrived((TableChanged(AT, "sales", "orders"),))


@pytest.mark.parametrize(
    "kind",
    [
        "UpdateTable",
        "CreatePartition",
        "BatchCreatePartition",
        "UpdatePartition",
        "BatchUpdatePartition",
        "DeletePartition",
        "BatchDeletePartition",
        "SomethingAddedLater",
    ],
)
def test_a_changed_table_is_an_arrival(kind: str) -> None:
    """Whatever changes what a table holds counts, dropped partitions and kinds that nobody documented yet included."""
    assert read(event(TABLE, {"databaseName": "sales", "tableName": "orders", "typeOfChange": kind}), NOW) == CHANGED


@pytest.mark.parametrize("kind", sorted(NO_NEW_DATA))
def test_a_table_that_is_gone_is_no_arrival(kind: str) -> None:
    """What leaves nothing new to read is counted by name, and ignored."""
    detail = {"databaseName": "sales", "typeOfChange": kind, "changedTables": ["orders"]}
    assert read(event(DATABASE, detail), NOW) == Ignored(f"aws.glue {DATABASE}: {kind}")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (["orders"], CHANGED),
        (["a", "b"], Arrived((TableChanged(AT, "sales", "a"), TableChanged(AT, "sales", "b")))),
        ([], Ignored(f"aws.glue {DATABASE}: CreateTable")),
        (None, Ignored(f"aws.glue {DATABASE}: CreateTable")),
    ],
)
def test_every_table_of_a_database_change_arrives(tables: list[str] | None, message: Message) -> None:
    """A change of a database names up to a hundred tables."""
    detail = {"databaseName": "sales", "typeOfChange": "CreateTable", "changedTables": tables}
    assert read(event(DATABASE, detail), NOW) == message


def test_only_a_succeeded_job_is_an_arrival() -> None:
    """A loader job that failed brought nothing."""
    assert read(event("Glue Job State Change", {"jobName": "load", "state": "SUCCEEDED"}), NOW) == Arrived(
        (JobSucceeded(AT, "load"),)
    )
    for state in ("FAILED", "TIMEOUT", "STOPPED"):
        message = read(event("Glue Job State Change", {"jobName": "load", "state": state}), NOW)
        assert message == Ignored(f"aws.glue Glue Job State Change: {state}")


REFRESHED = "Glue Materialized View Refresh Task Succeeded"


@pytest.mark.parametrize("kind", [REFRESHED, "Glue Materialized View Refresh Task Failed"])
@pytest.mark.parametrize(
    "more",
    [
        {"detail": {"catalogId": "1", "databaseName": "sales", "tableName": "daily"}},
        {"detail": {"DatabaseName": "sales", "TableName": "daily"}},
        {"detail": {"database_name": "sales", "table_name": "daily", "status": {"nested": [1]}}},
        {"detail": {"database": "sales", "viewName": "daily"}},
        {"detail": {}, "resources": ["arn:aws:glue:eu-west-1:123456789012:table/sales/daily"]},
        {"detail": None, "resources": [5, "arn:x", "arn:aws:glue:us-east-1:1:table/s3tablescatalog/b/sales/daily"]},
        {"detail": {"tableName": "x"}, "resources": ["arn:aws:glue:eu-west-1:1:table/sales/daily"]},
        {"detail": {"databaseName": "x"}, "resources": ["arn:aws:glue:eu-west-1:1:table/sales/daily"]},
        {"detail": [], "resources": ["arn:aws-us-gov:glue:us-gov-east-1:1:table/sales/daily"]},
    ],
)
def test_an_ended_refresh_is_a_hint_however_it_is_spelled(kind: str, more: dict[str, Any]) -> None:
    """The detail of Glue's refresh events is published nowhere, so any likely form of it is understood."""
    assert read({"detail-type": kind, "source": "aws.glue", **more}, NOW) == GlueRunEnded("sales", "daily")


@pytest.mark.parametrize(
    "more",
    [
        {"detail": {}},
        {"detail": {"databaseName": "sales"}},
        {"detail": {"databaseName": 5, "tableName": ["daily"]}},
        {"detail": "text", "resources": "text"},
        {"resources": {"a": 1}},
    ],
)
def test_an_unreadable_hint_is_ignored(more: dict[str, Any]) -> None:
    """A hint that cannot be read is no dead letter: nothing is lost with it."""
    message = read({"detail-type": REFRESHED, "source": "aws.glue", **more}, NOW)
    assert message == Ignored(f"aws.glue {REFRESHED}: unreadable")


def test_a_hint_that_is_not_utf_8_is_ignored() -> None:
    """Not even bytes that are no text make a dead letter of a hint."""
    body = b'{"detail-type":"%b","source":"aws.glue","detail":{"databaseName":"\xff"}}' % REFRESHED.encode()
    assert read(body, NOW) == Ignored(f"aws.glue {REFRESHED}: unreadable")


@pytest.mark.parametrize(
    "unknown",
    [
        event("Glue Materialized View Refresh Task Started", {}),
        event("Glue Materialized View Auto-Refresh Invocation Failure", {}),
        event("Object Deleted", {}, "aws.s3"),
        event("Object Created", {"bucket": 5}, "somebody.else"),
        event(TABLE, {}, "somebody.else"),
    ],
)
def test_unknown_events_are_ignored_by_name(unknown: dict[str, Any]) -> None:
    """What nobody here acts on is counted under its source and type; names of AWS count only from AWS."""
    assert read(unknown, NOW) == Ignored(f"{unknown['source']} {unknown['detail-type']}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tick": True}, Ticked()),
        ({"tick": True, "scheduled_time": TIME}, Ticked()),
        (event("Scheduled Event", {}, "aws.scheduler"), Ticked()),
        ({"refresh": "daily"}, Asked("daily", NOW, by_person=True)),
        (
            {"refresh": "daily", "full": True, "reason": "because\n"},
            Asked("daily", NOW, full=True, reason="because", by_person=True),
        ),
        (
            event("unstale.signal", {"target": "daily"}, "my.loader") | {"account": "123456789012"},
            Asked("daily", NOW, reason="unstale.signal", sender=("123456789012", "my.loader")),
        ),
        (
            event("unstale.signal", {"target": "daily", "full": True, "reason": "loaded", "more": 1}, "x"),
            Asked("daily", NOW, full=True, reason="loaded", sender=("", "x")),
        ),
    ],
)
def test_our_own_messages(body: dict[str, Any], message: Message) -> None:
    """Ticks, requests by a person and custom signals; all take the time of their receipt."""
    assert read(body, NOW) == message
    assert read({"eventSource": "aws:sqs", "body": json.dumps(body)}, NOW) == message


@given(
    st.builds(
        Wake,
        key=st.text(min_size=1, max_size=3000),
        due=st.datetimes(datetime(2001, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        version=st.text(),
    )
)
def test_a_wake_reads_as_it_was_written(wake: Wake) -> None:
    """A wake survives the queue."""
    assert read(wake_message(wake), NOW) == Woken(wake)


MALFORMED: list[tuple[Any, str]] = [
    ("", "not JSON: Input data was truncated"),
    ("{", "not JSON: Input data was truncated"),
    ("hello", "not JSON: JSON is malformed: invalid character (byte 0)"),
    ("5", "Expected `object`, got `int`"),
    ([1], "Expected `object`, got `int`"),
    (
        {"Records": [{"eventSource": "aws:kinesis"}]},
        "a batch of records of aws:kinesis, where an EventBridge event is expected",
    ),
    ({"Type": "Notification", "Message": "{}"}, "Object missing required field `detail-type`"),
    (None, "Expected `object`, got `null`"),
    ({}, "Object missing required field `detail-type`"),
    ({"Records": [{"s3": {}}]}, "Object missing required field `detail-type`"),
    ({"detail-type": 5}, "Expected `str`, got `int` - at `$.detail-type`"),
    ({"a": object()}, "not JSON text: Encoding objects of type object is unsupported"),
    (
        b'{"detail-type": "\xff"}',
        "not JSON text: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    ("\ud800", "not JSON text: 'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"),
    ({"tick": False}, "Expected `true`, got False - at `$.tick`"),
    ({"tick": "yes"}, "Expected `bool`, got `str` - at `$.tick`"),
    ({"refresh": ""}, "Expected `str` of length >= 1 - at `$.refresh`"),
    ({"refresh": "x", "full": "yes"}, "Expected `bool`, got `str` - at `$.full`"),
    ({"wake": 5}, "Expected `object`, got `int` - at `$.wake`"),
    ({"wake": {"key": "k", "due": TIME}}, "Object missing required field `version` - at `$.wake`"),
    (
        {"wake": {"key": "k", "due": "soon", "version": ""}},
        "Expected a time like 2026-01-31T12:00:00Z, got 'soon' - at `$.wake.due`",
    ),
    (event("Object Created", "text", "aws.s3"), "Expected `object`, got `str` - at `$.detail`"),
    (event("Object Created", {"bucket": {}}, "aws.s3"), "Object missing required field `name` - at `$.detail.bucket`"),
    (
        event("Object Created", {"bucket": {"name": "b"}, "object": {"key": 5}}, "aws.s3"),
        "Expected `str`, got `int` - at `$.detail.object.key`",
    ),
    ({k: v for k, v in s3_event().items() if k != "time"}, "Object missing required field `time`"),
    (s3_event(time="yesterday"), "Expected a time like 2026-01-31T12:00:00Z, got 'yesterday' - at `$.time`"),
    (
        s3_event(time="0001-01-01T00:00:00+23:59"),
        "Expected a time like 2026-01-31T12:00:00Z, got '0001-01-01T00:00:00+23:59' - at `$.time`",
    ),
    (s3_event(time=5), "Expected `str`, got `int` - at `$.time`"),
    (
        event(TABLE, {"databaseName": "d", "typeOfChange": "UpdateTable"}),
        "Object missing required field `tableName` - at `$.detail`",
    ),
    (event("unstale.signal", {}), "Object missing required field `target` - at `$.detail`"),
    (event("unstale.signal", {"target": ""}), "Expected `str` of length >= 1 - at `$.detail.target`"),
    (event("unstale.signal", {"target": "x", "full": 1}), "Expected `bool`, got `int` - at `$.detail.full`"),
    ({"eventSource": "aws:sqs", "body": "no"}, "not JSON: Input data was truncated"),
]


@pytest.mark.parametrize(("body", "why"), MALFORMED)
def test_what_cannot_be_read_says_why(body: Any, why: str) -> None:
    """A dead letter names the field, what was found and what is expected."""
    assert read(body, NOW) == Malformed(why)


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 40_000])
@pytest.mark.usefixtures("without_garbage")
def test_deep_nesting_is_malformed(nested: str) -> None:
    """Nesting within the size limit must not end the process."""
    assert read('{"detail": ' + nested, NOW) == Malformed("nested too deeply to be an event")


def test_an_oversized_message_is_malformed() -> None:
    """Nothing larger than EventBridge sends is looked at; what is as large is."""
    largest = json.dumps(s3_event(padding=""))
    fill = EVENT_LIMIT - len(largest)
    assert isinstance(read(json.dumps(s3_event(padding="x" * fill)), NOW), Arrived)
    found = read(json.dumps(s3_event(padding="x" * (fill + 1))), NOW)
    assert found == Malformed(f"Expected at most {EVENT_LIMIT} bytes, got {EVENT_LIMIT + 1} - at `$`")


def test_a_dead_letter_holds_no_secret() -> None:
    """The reason quotes what was found, but no token."""
    message = read(s3_event(time="Bearer abc.def"), NOW)
    assert isinstance(message, Malformed)
    assert "abc" not in message.why


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
DETAIL_TYPES = st.sampled_from(
    ["Object Created", TABLE, DATABASE, REFRESHED, "Glue Job State Change", "unstale.signal"]
)
EVENTS = st.fixed_dictionaries(
    {"detail-type": DETAIL_TYPES | JSON, "source": st.sampled_from(["aws.s3", "aws.glue"])},
    optional=dict.fromkeys(("time", "detail", "resources", "wake", "refresh", "tick", "eventSource", "body"), JSON),
)


@given(JSON | EVENTS | st.binary() | st.text())
def test_no_message_raises(body: Any) -> None:
    """Whatever arrives is read as a message that can be stored."""
    assert msgspec.json.encode(told(read(body, NOW)))


@given(st.timedeltas(timedelta(days=-9000), timedelta(days=9000)))
def test_times_are_aware_utc(offset: timedelta) -> None:
    """A time of any zone becomes UTC."""
    message = read(s3_event(time=(NOW + offset).isoformat()), NOW)
    assert isinstance(message, Arrived)
    assert message.arrivals[0].time == NOW + offset
    assert message.arrivals[0].time.tzinfo is UTC
