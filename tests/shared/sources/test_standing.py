"""How sources stand in `status`: versions, since when, and what gives no answer (design, section 7, verdict)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh.evidence import Evidence, SourceStatus
from shared.refresh.state import Deployment, Owed, Paused, State
from shared.refresh.status import TargetStatus, status_of
from shared.sources.groups import DeltaTable, GlueDatabase, Group, SourceTable, encode
from shared.sources.memory import (
    DeltaVersion,
    GroupRecord,
    IcebergVersion,
    SourceMemory,
    ViewMemory,
    write_group,
)
from shared.sources.standing import source_statuses
from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueView,
    LakeViews,
    OneLakeChanged,
    S3ObjectCreated,
    Target,
)
from tests.support.core import GLUE, NOON, POLICY, a_target, at

LOOKS = replace(POLICY, look=timedelta(minutes=5))
SALES, RAW = GlueDatabase("1", "sales"), GlueDatabase("1", "raw")
DAILY = Target("daily", GlueView("1", "sales", "daily"), LOOKS)
LAKE = Target("lake", LakeViews("w", "l"), LOOKS, on=(OneLakeChanged("w", "l", "Tables/orders"),))
NAMED = tuple(encode(SourceTable(group, name)) for group, name in ((SALES, "orders"), (RAW, "returns")))
SEEN = SourceMemory(readers=(DAILY.key,), version=IcebergVersion("x", ids=(11,)), when=NOON, since=at(-60))


def standing(target: Target, records: dict[Group, GroupRecord], now: datetime = NOON) -> tuple[SourceStatus, ...]:
    """How the sources of one target stand, with these records."""
    store = MemoryStore()
    for group, record in records.items():
        store.save(store.load(group.key), write_group(record), None)
    return source_statuses([target], store, now)[target.key]


def test_sources_are_shown_with_version_and_time() -> None:
    """Those that the view names, of its own database and of others."""
    own = GroupRecord(sources={"orders": SEEN}, views={"daily": ViewMemory(NAMED, ("arn:x",), NOON)})
    found = standing(DAILY, {SALES: own, RAW: GroupRecord(sources={"returns": SEEN})})
    assert found == (
        SourceStatus("sales.orders", "11", at(-60)),
        SourceStatus("raw.returns", "11", at(-60)),
        SourceStatus("arn:x", cannot="it is no table"),
    )


def test_what_no_look_can_see_is_named() -> None:
    """Prefixes of files, folders and blobs: by name, beside the tables; jobs are no sources of data."""
    on = (S3ObjectCreated("landing", "raw/"), GlueJobSucceeded("etl"))
    own = GroupRecord(views={"daily": ViewMemory((), (), NOON)})
    only_events = "files, of which only events tell"
    assert standing(replace(DAILY, on=on), {SALES: own}) == (SourceStatus("s3://landing/raw/", cannot=only_events),)
    on_azure = (OneLakeChanged("w", "l", "Files/raw"), BlobCreated("contoso", "sales", "x/"))
    assert standing(replace(LAKE, on=on_azure), {}) == (
        SourceStatus("Files/raw", cannot=only_events),
        SourceStatus("blobs of contoso/sales/x/", cannot=only_events),
    )


def test_tables_of_a_lake_are_shown() -> None:
    """By the configuration, and by the number of the Delta version."""
    memory = replace(SEEN, version=DeltaVersion(9, data=7))
    group = DeltaTable("w", "l", "Tables/orders")
    assert standing(LAKE, {group: GroupRecord(sources={"": memory})}) == (SourceStatus("Tables/orders", "7", at(-60)),)


def test_what_gives_no_answer_says_why() -> None:
    """Never looked at; three intervals old; with the problem of the last look, of the source or of its group."""
    never = "it has not been looked at yet"
    assert standing(LAKE, {}) == (SourceStatus("Tables/orders", silent=never),)
    assert standing(DAILY, {}) == (SourceStatus("sales.daily", silent=never),)
    views = {"daily": ViewMemory(NAMED[:1], (), NOON)}
    gone = replace(SEEN, problem="gone")
    records: dict[Group, GroupRecord] = {SALES: GroupRecord(sources={"orders": gone}, views=views)}
    assert standing(DAILY, records) == (SourceStatus("sales.orders", "11", at(-60), cannot="gone"),)
    orders, daily = standing(DAILY, records, at(901))
    assert (orders.silent, daily.silent[:32]) == ("gone", "no answer since 2026-01-31 12:00")
    failed = replace(records[SALES], problem="AccessDenied")
    assert standing(DAILY, {SALES: failed}, at(901))[1].silent == "AccessDenied"


def test_targets_that_do_not_look_have_no_sources_to_show() -> None:
    """`look = "off"`."""
    off = replace(DAILY, policy=replace(LOOKS, look=None))
    assert source_statuses([off], MemoryStore(), NOON) == {}


# --- Verdicts --------------------------------------------------------------------------------------------------------

ORDERS = SourceStatus("sales.orders", "11", at(-60))


def shown(state: State, *sources: SourceStatus, dead: int = 0) -> TargetStatus:
    """The row of a target with these sources."""
    return status_of(
        Evidence(
            target=a_target(),
            state=state,
            deployment=Deployment(),
            capabilities=GLUE,
            now=at(20),
            dead_letters=dead,
            sources=sources,
        )
    )


@pytest.mark.parametrize(
    ("state", "source", "verdict", "word"),
    [
        (State(fresh_as_of=NOON), ORDERS, "fresh", ""),
        (State(fresh_as_of=NOON, proven_as_of=at(10)), ORDERS, "proven", "as of 2026-01-31 12:00Z"),
        (State(proven_as_of=at(10)), ORDERS, "proven", "by the platform's own metadata"),
        (State(fresh_as_of=at(-55)), ORDERS, "stale", "sales.orders has version 11 since 2026-01-31 11:59Z"),
        (State(fresh_as_of=NOON, owed=Owed(at(0), at(5), reasons=("new",))), ORDERS, "stale", "new"),
        (State(fresh_as_of=NOON, proven_as_of=NOON), replace(ORDERS, silent="gone"), "unknown", "sales.orders: gone"),
        (State(owed=Owed(at(0), at(5)), hold=Paused(NOON)), replace(ORDERS, silent="gone"), "held", "paused"),
        (State(fresh_as_of=NOON), replace(ORDERS, since=None), "fresh", ""),
    ],
)
def test_sources_have_a_say_in_the_verdict(state: State, source: SourceStatus, verdict: str, word: str) -> None:
    """Silent ones leave it unknown, ones ahead make it stale, a proof makes it proven; people are shown T - lag."""
    found = shown(state, source)
    assert found.verdict == verdict
    assert word in found.why
    assert found.sources == (source,)


def test_dead_letters_keep_a_view_unknown() -> None:
    """Also one that no source is ahead of."""
    assert shown(State(fresh_as_of=NOON), ORDERS, dead=1).verdict == "unknown"


def test_proven_is_well() -> None:
    """Nobody needs to do anything; the time is shown less the visibility lag."""
    found = shown(State(proven_as_of=at(10)), ORDERS)
    assert (found.well, found.proven_as_of) == (True, NOON)
