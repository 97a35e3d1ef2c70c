"""What looking costs: rounds over 1,000 sources in Glue, S3 Tables and OneLake; calls, processor, price a month.

    Glue        10 databases of 100 tables and 10 views each: GetTables, 100 a page, spaced by 200 ms
    S3 Tables   10 namespaces of 100 tables: ListTables
    OneLake     1,000 Delta tables: the file last seen, and the next one that is not there yet

Nothing has changed since the round before, as in almost all rounds; a round in which every view is proven stands apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from functions_aws import sources as adapter
from functions_aws.sources import Sources
from functions_azure.clients import Deadline
from functions_azure.wiring import LOOKS_AT_ONCE, _some_at_once
from shared.config.load import Configuration
from shared.platforms import glue as glue_calls
from shared.refresh import records
from shared.refresh.engine import Engine, Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Report
from shared.refresh.state import State
from shared.refresh.sweep import Sweep
from shared.sources.delta import file_name, look_at_table
from shared.sources.groups import DeltaTable, GlueDatabase, Group, SourceTable, TableBucket, encode
from shared.sources.looking import Looking
from shared.sources.memory import DeltaVersion, GroupRecord, IcebergVersion, SourceMemory, ViewMemory, write_group
from shared.sources.ports import NEVER, Known, Seen
from shared.targets import Cloud, GlueView, LakeViews, OneLakeChanged, Policy, Target
from tests.bench.costs import LAMBDA_GB_SECOND, MEMORY_GB
from tests.bench.parts import Clock, CountingWaker, Measured
from tests.support.counting_store import CountingStore
from tests.support.sources import FakeLog, data_commit, reply

ACCOUNT = "123456789012"
PLACES, TABLES, VIEWS = 10, 100, 10
EVERY = timedelta(minutes=5)
ROUNDS_A_MONTH = timedelta(days=30) / EVERY
MOST_CALLS, MOST_A_SECOND, MOST_READS = 20, 5, 2000
IDLE_READS = 10
"""Reads of a tick with nothing due, as without looks (`aws.idle_tick`)."""
GLUE_REQUEST = 1.00 / 1_000_000
"""After a million a month that are free; https://aws.amazon.com/glue/pricing/, not looked up again."""
S3_TABLES_LIST = 0.005 / 1000
"""As LIST requests of S3; https://aws.amazon.com/s3/pricing/, not looked up again."""
ONELAKE_READ_CU_SECONDS = 104 / 10_000
"""https://learn.microsoft.com/fabric/onelake/onelake-consumption: reads, by redirect and proxy alike."""
CU_SECOND = 0.18 / 3600
"""A capacity unit by the hour, pay as you go, West US; https://azure.microsoft.com/pricing/details/microsoft-fabric/."""
INVOCATION = 0.3
"""Seconds of an invocation that has too little time for all tables."""


def measure() -> Iterator[Measured]:
    """Everything; takes some ten seconds."""
    yield from glue()
    yield from table_buckets()
    yield from onelake()
    yield from idle()


# --- AWS -------------------------------------------------------------------------------------------------------------


class Clients:
    """Clients of Glue and S3 Tables, whose tables never change; each call is counted."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls = 0
        self.glue = self.s3tables = self
        self.meta = type("Meta", (), {"partition": "aws", "region_name": "eu-central-1"})

    def get_tables(self, **parameters: Any) -> dict[str, Any]:
        """A page of a database: its tables, then its views."""
        names = parameters["Expression"].split("|")
        start = int(parameters.get("NextToken", 0))
        page = [self._table(parameters["DatabaseName"], name) for name in names[start : start + 100]]
        more = {"NextToken": str(start + 100)} if len(names) > start + 100 else {}
        return self._answer({"TableList": page, **more})

    def _table(self, database: str, name: str) -> dict[str, Any]:
        number = int(name[1:])
        if name.startswith("v"):
            arns = [f"arn:aws:glue:eu-central-1:{ACCOUNT}:table/{database}/t{n:03}" for n in reads(number)]
            ids = [snapshot(n) for n in reads(number)]
            view = {"SubObjects": arns, "SubObjectVersionIds": ids, "ViewVersionId": number}
            return {"Name": name, "UpdateTime": self.clock.time, "ViewDefinition": view}
        location = {"Parameters": {"metadata_location": f"s3://{name}"}}
        return {"Name": name, "UpdateTime": STAMP, **location}

    def list_tables(self, **parameters: Any) -> dict[str, Any]:
        """A namespace of a bucket."""
        names = (f"t{number:03}" for number in range(TABLES))
        listed = [{"namespace": [parameters["namespace"]], "name": name, "modifiedAt": STAMP} for name in names]
        return self._answer({"tables": listed})

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        return {**body, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}


STAMP = Clock.time - timedelta(days=1)
"""When every table was last changed."""
ANSWERED_AT = Clock.time - EVERY
"""When every source answered last: in the round before, so that none is silent."""


def reads(view: int) -> list[int]:
    """The tables that a view reads: ten, as many as a view may name."""
    return [(view * VIEWS + number) % TABLES for number in range(10)]


def snapshot(table: int) -> int:
    """An id of 63 bits."""
    return 2**62 + table


class Platform:
    """A platform on which nothing runs; lists are counted."""

    lists = 0
    capabilities = glue_calls.CAPABILITIES

    def list(self, _target: Target, _since: datetime) -> tuple[Report, ...] | Failure:
        """None."""
        self.lists += 1
        return ()


class Round:
    """A deployment whose sources are all known, and a round of looks at them."""

    def __init__(self, targets: list[Target], groups: Mapping[Group, GroupRecord], sources: Any, clock: Clock) -> None:
        self.clock, self.store, self.platform = clock, CountingStore(), Platform()
        self.targets = {target.key: target for target in targets}
        self.sources = sources
        self.each: Callable[..., None] | None = None
        for target in targets:
            state = State(definition=target.definition, fresh_as_of=clock.time, proven_as_of=clock.time)
            self.store.save(self.store.load(target.key), records.write(state), None)
        for group, record in groups.items():
            self.store.save(self.store.load(group.key), write_group(record), clock.time)

    def looking(self) -> Looking:
        """What looks; it is made anew for each invocation."""
        platform: Any = self.platform
        each = {"each": self.each} if self.each else {}
        return Looking(
            self.targets,
            store=self.store,
            sources=self.sources,
            platform=platform,
            clock=self.clock,
            reconcile=lambda _target, _happened: None,
            emit=lambda _told: None,
            **each,
        )

    def due(self) -> list[str]:
        """The groups that are due."""
        return [key for key in self.store.due(self.clock.now(), 2000) if records.is_group(key)]

    def look(self, is_over: Callable[[], bool] = lambda: False) -> float:
        """Look at what is due; seconds of the processor."""
        begun = time.process_time()
        failures = self.looking().look_at(self.due(), is_over, 1)
        if failures:
            raise failures[0]
        return time.process_time() - begun


def view_targets() -> list[Target]:
    """The views of all databases."""
    return [
        Target(f"d{d}v{v}", GlueView(ACCOUNT, f"d{d}", f"v{v}"), Policy(look=EVERY))
        for d in range(PLACES)
        for v in range(VIEWS)
    ]


def databases() -> dict[Group, GroupRecord]:
    """What is remembered of all databases."""
    found: dict[Group, GroupRecord] = {}
    for d in range(PLACES):
        group = GlueDatabase(ACCOUNT, f"d{d}")
        views = {v: tuple(f"t{n:03}" for n in reads(v)) for v in range(VIEWS)}
        sources = {f"t{n:03}": memory(n, [f"v{v}" for v in views if f"t{n:03}" in views[v]], d) for n in range(TABLES)}
        named = {
            f"v{v}": ViewMemory(tuple(sorted(encode(SourceTable(group, name)) for name in names)), (), ANSWERED_AT)
            for v, names in views.items()
        }
        found[group] = GroupRecord(sources, named)
    return found


def memory(number: int, views: list[str], database: int) -> SourceMemory:
    """What is remembered of one table of a database."""
    readers = tuple(GlueView(ACCOUNT, f"d{database}", name).key for name in views)
    version = IcebergVersion(f"s3://t{number:03}", "u", (snapshot(number),), stamp=STAMP)
    return SourceMemory(readers, version, ANSWERED_AT, since=STAMP, shown_at=STAMP)


def glue() -> Iterator[Measured]:
    """A round over ten databases, and one in which each view is proven."""
    clock = Clock()
    clients: Any = Clients(clock)
    begun = clock.time
    round_ = Round(view_targets(), databases(), Sources(clients, clock, clock.sleep), clock)
    seconds = round_.look()
    took = (clock.time - begun).total_seconds() + adapter.SPACING_SECONDS
    yield from told("Glue, 1,000 tables and 100 views", clients.calls, seconds, GLUE_REQUEST, took)
    yield Measured("  calls a second", clients.calls / took, "", MOST_A_SECOND)
    without_proofs, clients.calls = clients.calls, 0
    for target in round_.targets.values():
        state = State(definition=target.definition, fresh_as_of=STAMP)
        round_.store.save(round_.store.load(target.key), records.write(state), None)
    clock.time += EVERY
    round_.look()
    proofs = clients.calls - without_proofs + round_.platform.lists
    yield Measured("  calls more of a round in which all 100 views are proven: lists, views", proofs, "")
    months = ROUNDS_A_MONTH / 2  # a proof that drops nothing is written each second interval
    yield Measured(
        "  ... a month, list price, where every second round proves all", proofs * months * GLUE_REQUEST, "$"
    )


def table_buckets() -> Iterator[Measured]:
    """A round over ten namespaces of a table bucket."""
    clock = Clock()
    clients: Any = Clients(clock)
    target = view_targets()[0]
    groups: dict[Group, GroupRecord] = {}
    for place in range(PLACES):
        known = SourceMemory((target.key,), IcebergVersion("s3://x", "u", (1,), stamp=STAMP), ANSWERED_AT)
        groups[TableBucket(ACCOUNT, "lake", f"n{place}")] = GroupRecord({f"t{n:03}": known for n in range(TABLES)})
    sources, begun = Sources(clients, clock, clock.sleep), clock.time
    seconds = Round([target], groups, sources, clock).look()
    took = (clock.time - begun).total_seconds() + adapter.SPACING_SECONDS
    yield from told("S3 Tables, 1,000 tables in 10 namespaces", clients.calls, seconds, S3_TABLES_LIST, took)


def told(what: str, calls: int, seconds: float, price: float, took: float) -> Iterator[Measured]:
    """A round's calls and processor time, and both a month."""
    yield Measured(f"{what}: calls a round without proofs", calls, "", MOST_CALLS)
    yield Measured("  processor", seconds * 1000, "ms")
    yield Measured("  a month, list price: calls", calls * ROUNDS_A_MONTH * price, "$")
    paid = took * MEMORY_GB * LAMBDA_GB_SECOND * ROUNDS_A_MONTH
    yield Measured("  a month, list price: the function while it waits between them", paid, "$")


# --- OneLake ---------------------------------------------------------------------------------------------------------


class SlowLogs:
    """Delta logs that answer after a few milliseconds; reads are counted, and how many go on at once."""

    def __init__(self, seconds: float) -> None:
        self.reads = self.most = self._now = 0
        self._seconds, self._lock = seconds, threading.Lock()
        self._log = FakeLog()
        self._log.commit(0, data_commit())
        self.etag = self._log.get_file(DeltaTable("", "", ""), file_name(0), 0, 1, "").headers["ETag"]

    def look(self, group: Any, known: Known, *, ends_at: float = NEVER) -> Seen | Failure:
        """By the shipped driver."""
        return look_at_table(group, known, self)

    def get_file(self, _table: DeltaTable, name: str, _first: int, _last: int, _etag: str) -> Any:
        """The file last seen, unchanged; the next one is not there."""
        with self._lock:
            self.reads += 1
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return reply(b"", status=304 if name == file_name(0) else 404)

    def list_files(self, _table: DeltaTable, _continuation: str) -> Any:
        """Never asked for in a steady state."""
        raise AssertionError("a listing")


def onelake() -> Iterator[Measured]:
    """A round over a thousand tables, and one that has too little time."""
    clock, logs = Clock(), SlowLogs(0.002)
    round_ = _lake(logs, clock)
    seconds = round_.look()
    yield Measured("OneLake, 1,000 Delta tables: reads a round", logs.reads, "", MOST_READS)
    yield Measured("  at once, at most", logs.most, "", LOOKS_AT_ONCE)
    yield Measured("  processor", seconds * 1000, "ms")
    units = logs.reads * ROUNDS_A_MONTH * ONELAKE_READ_CU_SECONDS
    yield Measured("  a month: capacity-unit seconds", units, "CU s")
    yield Measured("  a month, list price of these", units * CU_SECOND, "$")
    clock.time += EVERY
    logs = SlowLogs(0.02)
    round_ = _lake(logs, clock)
    ends_at = time.monotonic() + INVOCATION
    round_.look(lambda: time.monotonic() >= ends_at)
    late = max(0.0, time.monotonic() - ends_at)
    yield Measured("  an invocation with too little time: tables that stay due", len(round_.due()), "")
    if not round_.due():
        raise RuntimeError("there was time for all, so this says nothing")
    yield Measured("  ... and seconds past its end, a look under way included", late, "s", 1.0)


def _lake(logs: SlowLogs, clock: Clock) -> Round:
    groups: dict[Group, GroupRecord] = {}
    on = tuple(OneLakeChanged("w", "i", f"Tables/t{number}") for number in range(PLACES * TABLES))
    target = Target("lake", LakeViews("w", "l"), Policy(look=EVERY), on=on)
    for entry in on:
        version = DeltaVersion(0, logs.etag, "x", 0)
        known = SourceMemory((target.key,), version, ANSWERED_AT, since=STAMP, shown_at=STAMP)
        groups[DeltaTable("w", "i", entry.path)] = GroupRecord({"": known})
    made = Round([target], groups, logs, clock)
    http: Any = SimpleNamespace()  # takes the deadline of each thread, which nothing here asks for
    made.each = partial(_some_at_once, http, Deadline(60))
    return made


# --- Nothing due -----------------------------------------------------------------------------------------------------


def idle() -> Iterator[Measured]:
    """A tick with nothing due, where a thousand sources are looked at."""
    clock = Clock()
    clients: Any = Clients(clock)
    made = Round(view_targets(), databases(), Sources(clients, clock, lambda _: None), clock)
    platform: Any = made.platform
    waker = CountingWaker(clock)
    ports = Ports(Cloud.AWS, made.store, platform, waker, clock, lambda: "token", lambda _: None)
    ports = replace(ports, looks=lambda _targets, _reconcile: made.looking())
    package = Configuration(tuple(made.targets.values())).package(Cloud.AWS)
    for _ in range(3):
        Sweep(Engine(package, ports)).tick()
        clock.time += timedelta(seconds=61)
    made.look()
    made.store.reads = 0
    Sweep(Engine(package, ports)).tick()
    yield Measured("a tick with nothing due, 1,000 sources looked at: reads", made.store.reads, "", IDLE_READS)
