"""Reads messages of the AWS side: EventBridge events (bare or in an SQS record), our own messages, invocations.

Decoded in two steps with types: the envelope first, its `detail` only by the kind that the envelope names. Formats:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html and
https://docs.aws.amazon.com/glue/latest/dg/automating-awsglue-with-cloudwatch-events.html

    SQS record ── body ──> envelope ──┬── source and detail type known ──> its reader, for the detail
                                      ├── another detail type ───────────> `Ignored`: nothing is wrong with it
                                      ├── wake, rest, refresh, tick ─────> one of our own messages (`wakes`)
                                      └── none of them ──────────────────> `Malformed`, by its name (`misdelivered`)

Fields that nobody here reads are skipped without being decoded, so a new one of AWS's breaks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.inbound.arrivals import Arrival, JobSucceeded, ObjectArrived, TableChanged
from shared.inbound.messages import (
    Arrived,
    Asked,
    GlueRunEnded,
    Ignored,
    Message,
    Single,
    Ticked,
    decode_part,
    missing_field,
    read_array,
    read_guarded,
    time_at,
)
from shared.inbound.misdelivered import what_it_is
from shared.inbound.wakes import Name, Own, after_upstream, read_own, request_for
from shared.redaction import plain

SIGNAL = "unstale.signal"
"""Detail type of a custom event, of any source: `{"target": "<name>", "full": false, "reason": "..."}`.

With `"upstream"` and `"time"`, the end of its run, it is the signal of an upstream on the other cloud."""

NO_NEW_DATA = frozenset({"CreateDatabase", "DeleteDatabase", "DeleteTable", "BatchDeleteTable"})
"""Changes of the catalog after which a refresh would find nothing else to read, or nothing at all.

Every other one counts, those of kinds added later included: a signal too many costs one refresh, one too few leaves a
stale view. Dropped partitions count, because the view still shows their rows and no other event tells.
"""


class _Event(Own, rename={"detail_type": "detail-type", "event_source": "eventSource"}):
    """The envelope. `eventSource` and `body` are those of an SQS record."""

    detail_type: str | msgspec.UnsetType = msgspec.UNSET
    account: str = ""
    source: str = ""
    resources: msgspec.Raw = msgspec.Raw(b"[]")
    detail: msgspec.Raw = msgspec.Raw(b"{}")
    event_source: str = ""
    body: str = ""


# Details, with the fields that decide what arrived. A field without a default must be there: the error names its place.


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str


class _ObjectCreated(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _TableChange(msgspec.Struct, rename="camel"):
    database_name: str
    table_name: str
    type_of_change: str


class _DatabaseChange(msgspec.Struct, rename="camel"):
    database_name: str
    type_of_change: str
    changed_tables: tuple[str, ...] | None = None


class _JobChange(msgspec.Struct, rename="camel"):
    job_name: str
    state: str


class _Signal(msgspec.Struct):
    target: Name
    full: bool = False
    reason: str = ""
    upstream: str = ""
    time: str | msgspec.UnsetType = msgspec.UNSET


_event = msgspec.json.Decoder(_Event)
_object_created = msgspec.json.Decoder(_ObjectCreated)
_table_change = msgspec.json.Decoder(_TableChange)
_database_change = msgspec.json.Decoder(_DatabaseChange)
_job_change = msgspec.json.Decoder(_JobChange)
_signal = msgspec.json.Decoder(_Signal)


def read(body: str | bytes | dict[str, Any] | list[Any], received_at: datetime) -> Message:
    """Read a message. `body` is an event, an SQS record with one in its body, or one of our own messages.

    An array of them is read, too.
    """
    return read_guarded(_read, body, received_at)


def _read(encoded: bytes, received_at: datetime) -> Message:
    text = encoded.removeprefix(b"\xef\xbb\xbf").strip()
    if text.startswith(b"["):
        return read_array(_read_one, text, received_at)
    event = _event.decode(text)
    if event.event_source == "aws:sqs":
        return _read(event.body.encode(), received_at)
    return _read_event(event, text, received_at)


def _read_one(encoded: bytes, received_at: datetime) -> Single:
    return _read_event(_event.decode(encoded), encoded, received_at)


def _read_event(event: _Event, encoded: bytes, received_at: datetime) -> Single:
    if event.detail_type is not msgspec.UNSET:
        reader = _BY_SOURCE.get((event.source, event.detail_type)) or _BY_DETAIL_TYPE.get(event.detail_type, _unknown)
        return reader(event, received_at)
    own = read_own(event, received_at)
    if own is None:
        raise what_it_is(encoded) or missing_field("detail-type")
    return own


def _unknown(event: _Event, _received_at: datetime) -> Single:
    return Ignored(plain(f"{event.source} {event.detail_type}", 100))


def _what(event: _Event, kind: str) -> Ignored:
    """An event of a kind that brings no data, with that kind in its name, for whoever reads the log at `debug`."""
    return Ignored(plain(f"{event.source} {event.detail_type}: {kind}", 100))


def _object_arrived(event: _Event, _received_at: datetime) -> Arrived:
    """An object was created. Its key is taken as it is: S3's own notifications alone are said to URL-encode theirs."""
    created = decode_part(_object_created, event.detail, "$.detail")
    return Arrived((ObjectArrived(time_at(event.time, "$.time"), created.bucket.name, created.object.key),))


def _table_changed(event: _Event, _received_at: datetime) -> Single:
    """A table of the catalog changed, whoever changed it: a crawler, a job, an engine that commits to Iceberg."""
    change = decode_part(_table_change, event.detail, "$.detail")
    return _tables_arrived(event, change.type_of_change, change.database_name, (change.table_name,))


def _database_changed(event: _Event, _received_at: datetime) -> Single:
    """`changedTables` has a hundred names at most, and is there only where tables changed."""
    change = decode_part(_database_change, event.detail, "$.detail")
    return _tables_arrived(event, change.type_of_change, change.database_name, change.changed_tables)


def _tables_arrived(event: _Event, kind: str, database: str, tables: tuple[str, ...] | None) -> Single:
    """Tables that changed are arrivals, each by itself; a change that brings no data, or names no table, is none."""
    if kind in NO_NEW_DATA or not tables:
        return _what(event, kind)
    time = time_at(event.time, "$.time")
    arrivals: tuple[Arrival, ...] = tuple(TableChanged(time, database, table) for table in tables)
    return Arrived(arrivals)


def _job_changed(event: _Event, _received_at: datetime) -> Single:
    change = decode_part(_job_change, event.detail, "$.detail")
    if change.state != "SUCCEEDED":
        return _what(event, change.state)
    return Arrived((JobSucceeded(time_at(event.time, "$.time"), change.job_name),))


def _read_signal(event: _Event, received_at: datetime) -> Asked:
    """A custom event asks for a target. `sender` is kept: `[deployment] signal_sources` may name who may ask."""
    signal = decode_part(_signal, event.detail, "$.detail")
    found = request_for(signal.target, received_at, full=signal.full, reason=signal.reason or SIGNAL)
    if signal.upstream:
        found = after_upstream(found, signal.upstream, signal.time, "$.detail.time")
    return msgspec.structs.replace(found, sender=(event.account, event.source))


def _read_tick(_event: _Event, _received_at: datetime) -> Ticked:
    """A schedule without an input of its own sends this, from `aws.scheduler` (or `aws.events`, for a rule)."""
    return Ticked()


# --- Glue's own refresh events: the detail is published nowhere, so it is read in any spelling, and only as a hint ---

# What is found is compared with the views of the configuration, and makes the run known to be over a little sooner. A
# poll, which comes anyway, decides how it ended: a wrong guess here costs one poll.

_DATABASE = frozenset({"database", "databasename", "dbname"})
_TABLE = frozenset({"table", "tablename", "viewname", "materializedviewname"})
_TABLE_ARN = re.compile(r"arn:[^:]*:glue:[^:]*:[^:]*:table/(?:.*/)?([^/]+)/([^/]+)")


def _run_ended(event: _Event, _received_at: datetime) -> Single:
    return _view_in_detail(event.detail) or _view_in_resources(event.resources) or _what(event, "unreadable")


def _view_in_detail(raw: msgspec.Raw) -> GlueRunEnded | None:
    detail = _decode_any(raw)
    if not isinstance(detail, dict):
        return None
    texts = {key.replace("_", "").lower(): value for key, value in detail.items() if isinstance(value, str)}
    database = next((value for key, value in texts.items() if key in _DATABASE), "")
    table = next((value for key, value in texts.items() if key in _TABLE), "")
    return GlueRunEnded(database, table) if database and table else None


def _view_in_resources(raw: msgspec.Raw) -> GlueRunEnded | None:
    """`arn:aws:glue:us-east-1:123456789012:table/sales/daily_revenue`."""
    resources = _decode_any(raw)
    texts = [each for each in resources if isinstance(each, str)] if isinstance(resources, list) else []
    found = next((match for match in map(_TABLE_ARN.fullmatch, texts) if match), None)
    return GlueRunEnded(found[1], found[2]) if found else None


def _decode_any(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        return None


_Reader = Callable[[_Event, datetime], Single]

_BY_SOURCE: Mapping[tuple[str, str], _Reader] = {
    ("aws.s3", "Object Created"): _object_arrived,
    ("aws.glue", "Glue Data Catalog Table State Change"): _table_changed,
    ("aws.glue", "Glue Data Catalog Database State Change"): _database_changed,
    ("aws.glue", "Glue Job State Change"): _job_changed,
    ("aws.glue", "Glue Materialized View Refresh Task Succeeded"): _run_ended,
    ("aws.glue", "Glue Materialized View Refresh Task Failed"): _run_ended,
}
"""Only AWS itself may send events with these sources."""

_BY_DETAIL_TYPE: Mapping[str, _Reader] = {"Scheduled Event": _read_tick, SIGNAL: _read_signal}
