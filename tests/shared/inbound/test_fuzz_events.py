"""A hundred thousand messages of both clouds, whole and hurt, through the readers, and some on into the records.

What a whole message must do is known from how it was made, not from the readers. `--fuzz 1000000` tries more; a failure
prints the seed of its case, and `--fuzz-seed` tries that one alone.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration
from shared.inbound import eventbridge, eventgrid, messages, routing
from shared.inbound.dispatch import Verdict, take
from shared.inbound.messages import Arrived, Asked, Malformed, Message, Ticked, each
from shared.inbound.routing import signals_of
from shared.redaction import TEXT_LIMIT
from shared.refresh.engine import Engine, Ports
from shared.targets import (
    BlobCreated,
    Cloud,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    LakeViews,
    OneLakeChanged,
    Policy,
    S3ObjectCreated,
    Target,
)
from tests.support.core import HandClock, ScriptedPlatform
from tests.support.fuzzing import portions as pytest_generate_tests  # noqa: F401 - pytest calls it

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DISPATCHED = 20
"""Of so many cases, one is taken into records as well."""

WORKSPACE, ITEM = "10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002"
POLICY = Policy(timedelta(seconds=20), timedelta(seconds=120), timedelta(seconds=60), timedelta(0), timedelta(hours=1))


def a_target(name: str, resource: Any, *sources: Any) -> Target:
    """With those sources."""
    return Target(name, resource, policy=POLICY, on=sources, identity="i")


AWS = Configuration(
    (
        a_target("orders", GlueView("1", "m", "orders"), S3ObjectCreated("landing", "orders/", ".parquet")),
        a_target("all", GlueView("1", "m", "all"), S3ObjectCreated("landing")),
        a_target("table", GlueView("1", "m", "table"), GlueTableChanged("sales", "orders")),
        a_target("job", GlueView("1", "m", "job"), GlueJobSucceeded("nightly")),
    )
)
AZURE = Configuration(
    (
        a_target("orders", LakeViews(WORKSPACE, "l1"), BlobCreated("landing", "raw", "orders/", ".parquet")),
        a_target("all", LakeViews(WORKSPACE, "l2"), BlobCreated("landing", "raw")),
        a_target("lake", LakeViews(WORKSPACE, "l3"), OneLakeChanged(WORKSPACE, ITEM, "Tables/orders")),
    )
)


WORDS = {"orders": ("orders",), "all": ("landing", "all"), "table": ("orders",), "job": ("nightly",), "lake": (ITEM,)}
"""Some of which a message must hold, in any case, to concern the target."""


class Made(NamedTuple):
    """An event as the cloud sends it, and the names of the targets that it must signal; and whether it asks by name."""

    event: dict[str, Any]
    signals: frozenset[str]
    asks: bool = False


# --- Events of AWS ---------------------------------------------------------------------------------------------------

KEYS = [
    "orders/x.parquet", "orders/2026/01/x.parquet", "orders/", "orders/x.csv", "Orders/x.parquet", "x.parquet",
    "orders/_temporary/0/x.parquet", "_temporary/x.parquet", "orders/\u00e9\U0001f642.parquet", "orders/\x7f\n",
    "orders/x.parquet/", "", "orders\\x.parquet", "temporary_/orders/x.parquet", "a b+c%20", "/orders/x.parquet",
    "orders/" + "k" * 900 + ".parquet",
]  # fmt: skip


def of_files(place: bool, key: str) -> frozenset[str]:
    """The targets with files in that place: one wants a prefix and a suffix, one all; neither what is temporary."""
    wanted = {
        "orders": key.startswith("orders/") and key.endswith(".parquet") and "/_temporary/" not in key,
        "all": "/_temporary/" not in f"/{key}",
    }
    return frozenset(name for name, fits in wanted.items() if place and fits)


def an_envelope(chance: random.Random, source: str, kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    """What EventBridge puts around a detail."""
    time = (NOW - timedelta(seconds=chance.randrange(90))).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"version": "0", "id": str(chance.random()), "account": "1", "region": "eu-central-1", "resources": []}
    return {**named, "source": source, "detail-type": kind, "time": time, "detail": detail}


def an_object(chance: random.Random) -> Made:
    """S3: Object Created."""
    bucket, key = chance.choice(["landing", "landing", "Landing", "other"]), chance.choice(KEYS)
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": chance.randrange(10**12), "etag": "e"}}
    event = an_envelope(chance, "aws.s3", "Object Created", {**detail, "reason": "PutObject"})
    return Made(event, of_files(bucket == "landing", key))


def a_table(chance: random.Random) -> Made:
    """Glue: a table of the catalog changed, or tables of a database did; names have no case."""
    database, table = chance.choice(["sales", "SALES", "other"]), chance.choice(["orders", "Orders", "none"])
    kind = chance.choice(["UpdateTable", "BatchCreatePartition", "DeleteTable", "CreateTable", "SomethingNew"])
    named = (database.lower(), table.lower()) == ("sales", "orders") and kind != "DeleteTable"
    detail: dict[str, Any] = {"databaseName": database, "typeOfChange": kind}
    if chance.random() < 0.5:
        whole, told = "Database", {**detail, "changedTables": chance.choice([[table], ["x", table]])}
    else:
        whole, told = "Table", {**detail, "tableName": table}
    event = an_envelope(chance, "aws.glue", f"Glue Data Catalog {whole} State Change", told)
    return Made(event, frozenset({"table"} if named else ()))


def a_glue_job(chance: random.Random) -> Made:
    """Glue: a job ended."""
    job, state = chance.choice(["nightly", "Nightly", "other"]), chance.choice(["SUCCEEDED", "FAILED", "STOPPED"])
    event = an_envelope(chance, "aws.glue", "Glue Job State Change", {"jobName": job, "state": state})
    return Made(event, frozenset({"job"} if (job, state) == ("nightly", "SUCCEEDED") else ()))


def a_request(chance: random.Random) -> Made:
    """Somebody asks for a target by name, by our own message or by an event of any source."""
    name = chance.choice(["orders", "all", "ORDERS", "none", "x" * 255])
    full = chance.random() < 0.5
    event: dict[str, Any] = {"refresh": name, "full": full, "reason": chance.choice(["", "because", "\x00", "r" * 900])}
    known = name in {"orders", "all"}
    return Made(event, frozenset({name} if known else ()), asks=True)


def a_custom_event(chance: random.Random) -> Made:
    """The same request, as an event of EventBridge."""
    request = a_request(chance)
    detail = {"target": request.event["refresh"], "full": request.event["full"], "reason": request.event["reason"]}
    return request._replace(event=an_envelope(chance, "my.app", "unstale.signal", detail))


def something_else(chance: random.Random) -> Made:
    """An event that we do not act on."""
    source = chance.choice(["aws.ec2", "aws.s3", "me"])
    return Made(an_envelope(chance, source, "Object Deleted", {"a": [1]}), frozenset())


# --- Events of Azure -------------------------------------------------------------------------------------------------


def a_time(chance: random.Random) -> str:
    """Within the last minutes, with as many digits as .NET writes."""
    time = NOW - timedelta(seconds=chance.randrange(90))
    return time.strftime("%Y-%m-%dT%H:%M:%S") + chance.choice(["Z", ".1234567Z"])


def a_cloud_event(chance: random.Random, kind: str, source: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    """In the schema of CloudEvents, the only one of Fabric."""
    named = {"source": source, "type": kind, "time": a_time(chance), "specversion": "1.0"}
    return {"id": str(chance.random()), "subject": subject, "data": data, **named}


def an_event(chance: random.Random, kind: str, source: str, subject: str, data: dict[str, Any]) -> dict[str, Any]:
    """In that schema, or in Event Grid's own."""
    if chance.random() < 0.5:
        return a_cloud_event(chance, kind, source, subject, data)
    named = {"topic": source, "eventType": kind, "eventTime": a_time(chance), "dataVersion": "", "metadataVersion": "1"}
    return {"id": str(chance.random()), "subject": subject, "data": data, **named}


def a_blob(chance: random.Random) -> Made:
    """Storage: a blob was created, or a file was opened and is still empty."""
    account, container = chance.choice(["landing", "Landing", "other"]), chance.choice(["raw", "raw", "Raw"])
    path = chance.choice([key for key in KEYS if key])
    api = chance.choice(["PutBlob", "PutBlockList", "FlushWithClose", "CreateFile", "SftpCreate", "SomethingNew"])
    source = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{account}"
    subject = f"/blobServices/default/containers/{container}/blobs/{path}"
    data = {"api": api, "url": f"https://{account}.blob.core.windows.net/x/y", "contentLength": 524288}
    written = api not in {"CreateFile", "SftpCreate"}
    found = of_files(written and account.lower() == "landing" and container == "raw", path)
    return Made(an_event(chance, "Microsoft.Storage.BlobCreated", source, subject, data), found)


def a_lake_file(chance: random.Random) -> Made:
    """OneLake: a file was created; ids have no case."""
    workspace = chance.choice([WORKSPACE, WORKSPACE.upper(), ITEM])
    item = chance.choice([ITEM, ITEM.upper(), WORKSPACE])
    path = chance.choice(["Tables/orders/x", "Tables/orders/_delta_log/1.json", "Tables/orders2/x", "Tables/orders"])
    fits = (workspace.lower(), item.lower()) == (WORKSPACE, ITEM) and path.startswith("Tables/orders/")
    source = f"/tenants/t/workspaces/{workspace}/items/{item}"
    subject = chance.choice(["", "/"]) + path
    event = a_cloud_event(chance, "Microsoft.Fabric.OneLake.FileCreated", source, subject, {"api": "CreateFile"})
    return Made(event, frozenset({"lake"} if fits else ()))


def another_type(chance: random.Random) -> Made:
    """An event that we do not act on."""
    kind = chance.choice(["Microsoft.Storage.BlobDeleted", "Microsoft.Fabric.OneLake.FileDeleted", "My.Own"])
    return Made(an_event(chance, kind, "/s", "/t", {}), frozenset())


# --- How a message comes ---------------------------------------------------------------------------------------------

Make = Callable[[random.Random], Made]


class Side(NamedTuple):
    """One cloud: its events, its reader, its targets."""

    cloud: Cloud
    makes: tuple[Make, ...]
    read: Callable[[Any, datetime], Message]
    configuration: Configuration


MADE_BY_AWS: tuple[Make, ...] = (an_object, an_object, a_table, a_glue_job, a_request, a_custom_event, something_else)
MADE_BY_AZURE: tuple[Make, ...] = (a_blob, a_blob, a_lake_file, a_request, another_type)
SIDES = (
    Side(Cloud.AWS, MADE_BY_AWS, eventbridge.read, AWS),
    Side(Cloud.AZURE, MADE_BY_AZURE, eventgrid.read, AZURE),
)


def wrapped(chance: random.Random, side: Side, event: Any) -> Any:
    """The event as a runtime or a queue hands it over."""
    text = json.dumps(event, ensure_ascii=chance.random() < 0.5)
    encoded = text.encode(errors="surrogatepass")
    queued: Any = {"messageId": "m", "body": text, "attributes": {}, "eventSource": "aws:sqs"}
    if side.cloud is Cloud.AZURE:
        queued = b64encode(encoded).decode()
    return chance.choice([event, text, f" \n{text}\r\n", encoded, b"\xef\xbb\xbf" + encoded, queued])


# --- What hurts ------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, 0, -1, 1e308, 10**40, "", " ", "\x00", "x" * 3000, [], {}, [[]], {"name": 1}, "\ud800", "\ufffd",
    "2026-01-31T12:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "2026-02-30T00:00:00Z", "yesterday", "1",
]  # fmt: skip
MARKS = [b"\xff", b"\xed\xa0\x80", b'"', b"\\u", b"NaN", b"{", b"]", b"\x00"]
NO_EVENTS = [b"", b"null", b"[]", b"{}", b"[" * 5000, b'{"a":' * 5000, b"123", b'"text"', b"9" * 5000]


def hurt(chance: random.Random, event: Any) -> Any:
    """Change something anywhere in the event: another value, none, or one twice."""
    if not isinstance(event, dict | list) or not event or chance.random() < 0.15:
        return chance.choice(ODD)
    if isinstance(event, list):
        return [*event[:-1], hurt(chance, event[-1])]
    name = chance.choice(list(event))
    if chance.random() < 0.15:
        return {each: value for each, value in event.items() if each != name}
    return {**event, name: hurt(chance, event[name])}


def broken(chance: random.Random, text: bytes) -> bytes:
    """Change bytes: cut, doubled, turned, put in; or something that no event is."""
    at, end = sorted(chance.choices(range(len(text) + 1), k=2))
    ways = [
        text[:at],
        text[:end] + text[at:],
        text[:at] + chance.randbytes(1) + text[at + 1 :],
        text[:at] + chance.choice(MARKS) + text[at:],
        chance.choice(NO_EVENTS),
        chance.randbytes(chance.randrange(60)),
        text.replace(b":", b":[", 1),
    ]
    return chance.choice(ways)


# --- What must be so -------------------------------------------------------------------------------------------------


def signalled(messages: list[Message], configuration: Configuration) -> frozenset[str]:
    """The names of the targets that the messages signal."""
    names: set[str] = set()
    for message in each(messages):
        if isinstance(message, Arrived):
            names |= {target.name for one in message.arrivals for target, _ in signals_of(one, configuration)}
        elif isinstance(message, Asked) and message.target in configuration.by_name:
            names.add(message.target)
    return frozenset(names)


def an_engine(side: Side) -> tuple[Engine, MemoryStore]:
    """An engine that knows nothing yet, over a store in memory."""
    clock, store = HandClock(), MemoryStore()
    clock.time = NOW
    ids = iter(range(1000))
    platform, waker = ScriptedPlatform(), MemoryWaker(clock)
    ports = Ports(side.cloud, store, platform, waker, clock, lambda: str(next(ids)), lambda _: None)
    return Engine(side.configuration.package(side.cloud), ports, ends_at=1e9), store


class Case(NamedTuple):
    """A message as it is handed over, and what it was read as; in words, where something is not as it must be."""

    seed: int
    body: Any
    reading: Message

    def __repr__(self) -> str:
        return f"--fuzz-seed {self.seed}: {self.body!r:.500} is {self.reading!r:.500}"


def test_messages_signal_whom_they_must(first: int, count: int) -> None:
    """The even cases are whole messages, the odd ones are hurt."""
    for seed in range(first, first + count):
        chance = random.Random(seed)
        side = chance.choice(SIDES)
        messages = [chance.choice(side.makes)(chance) for _ in range(chance.choice([1, 1, 1, 3]))]
        (whole if seed % 2 == 0 else not_whole)(seed, chance, side, messages)


def whole(seed: int, chance: random.Random, side: Side, messages: list[Made]) -> None:
    """One event, or some in an array, in any of the forms in which they come: exactly the targets known beforehand."""
    body = wrapped(chance, side, together(messages))
    case = Case(seed, body, side.read(body, NOW))
    assert not isinstance(case.reading, Malformed), case
    assert signalled([case.reading], side.configuration) == names_in(messages), case
    if seed % DISPATCHED == 0:
        engine, store = an_engine(side)
        [judged] = take(engine, side.configuration, [case.reading])
        refused = any(message.asks and not message.signals for message in messages)
        assert judged.verdict is (Verdict.DEAD if refused else Verdict.DONE), f"{case}: {judged}"
        taken = [message for message in messages if not (refused and message.asks)]
        written = {target.name for target in side.configuration.targets if store.load(target.key).body}
        assert written == names_in(taken), case


def not_whole(seed: int, chance: random.Random, side: Side, messages: list[Made]) -> None:
    """Nothing is raised; a refusal has a reason that can be shown; and no target is signalled that nothing names."""
    event = together(messages)
    for _ in range(chance.choice([1, 1, 2, 3])):
        event = hurt(chance, event)
    body = wrapped(chance, side, event) if chance.random() < 0.6 else broken(chance, json.dumps(event).encode())
    case = Case(seed, body, side.read(body, NOW))
    for one in each([case.reading]):
        if isinstance(one, Malformed):
            assert one.why, case
            assert one.why.isprintable(), case
            assert len(one.why) <= TEXT_LIMIT, case
    said = f"{event!r} {body!r}".lower()
    for name in signalled([case.reading], side.configuration):
        assert any(word in said for word in WORDS[name]), case
    if seed % DISPATCHED == 1 and not any(isinstance(one, Ticked) for one in each([case.reading])):
        engine, _store = an_engine(side)
        [judged] = take(engine, side.configuration, [case.reading])
        assert judged.verdict is not Verdict.RETRY, f"{case}: {judged}"
        assert judged.verdict is Verdict.DEAD or not isinstance(case.reading, Malformed), f"{case}: {judged}"


def together(messages: list[Made]) -> Any:
    """One event alone, several in an array."""
    return messages[0].event if len(messages) == 1 else [message.event for message in messages]


def names_in(messages: list[Made]) -> frozenset[str]:
    """All targets that the messages signal."""
    return frozenset[str]().union(*(message.signals for message in messages))


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (eventgrid, "ONLY_OPENED", frozenset()),
        (eventbridge, "NO_NEW_DATA", frozenset()),
        (routing, "TEMPORARY", "/nothing/"),
        (messages, "plain", lambda text: f"{text}\n"),
    ],
)
def test_the_cases_find_what_is_wrong(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any) -> None:
    """Within two thousand: a reader that takes too much, a route to too many, a reason that cannot be shown."""
    monkeypatch.setattr(module, name, value)
    with pytest.raises(AssertionError, match="--fuzz-seed"):
        test_messages_signal_whom_they_must(0, 2_000)
