"""Groups, memory, rhythm and proofs: the sentences of section 9 that need no call."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.refresh import records
from shared.sources import groups
from shared.sources.groups import DeltaTable, GlueDatabase, SourceTable, TableBucket
from shared.sources.memory import DeltaVersion, GroupRecord, IcebergVersion, SourceMemory, ViewMemory, version_of
from shared.sources.ports import Observation, Seen, ViewSeen
from shared.sources.proof import Disproof, Proof, Undecided, judge
from shared.sources.remembering import enrol, known_of, news_of, remember, remember_failure
from shared.sources.replies import Reply, http_time, news_time
from shared.sources.rhythm import heed, is_silent, next_look, shortest, slow_down
from shared.targets import GlueView, ItemJob, LakeViews, OneLakeChanged, S3ObjectCreated, Source, Target
from tests.support.core import NOON, at, seconds
from tests.support.sources import DENIED, THROTTLED, hours, reply

SALES = GlueDatabase("1", "sales")
ORDERS, RETURNS = SourceTable(SALES, "orders"), SourceTable(SALES, "returns")
MINUTES_5 = timedelta(minutes=5)


# --- Clocks ----------------------------------------------------------------------------------------------------------


def test_a_proof_takes_the_earlier_clock_and_a_signal_the_later() -> None:
    """Ours 30 s ahead or behind the platform's: `when` is never later than the request on either clock, the moment
    never earlier than the answer.
    """
    true = at(100)
    for ahead in (-30, 0, 30):
        ours = true + seconds(ahead)
        answer: Reply = Reply(
            b"", ours, ours + seconds(2), seconds(2), headers={"date": "Sat, 31 Jan 2026 12:01:42 GMT"}
        )
        assert answer.when <= true
        assert answer.moment >= true + seconds(2)
    assert Reply(b"", true, true + seconds(2), seconds(2)).when == true
    assert Reply(b"", true, true + seconds(2), seconds(2)).moment == true + seconds(2)


def test_a_stamp_is_rounded_up_and_bounded_by_the_answer() -> None:
    """A stamp lost less than a second; a version cannot have come after the answer that shows it."""
    assert news_time(at(10), at(3)) == at(4)
    assert news_time(at(10), at(30)) == at(10)
    assert news_time(at(10), None) == at(10)
    assert http_time("yesterday") is None


# --- Groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group",
    [GlueDatabase("1:s3tablescatalog/b", "a:b/c"), TableBucket("1", "b", "n"), DeltaTable("w", "i", "Tables/a/b")],
)
def test_a_groups_key_leads_back_to_it(group: groups.Group) -> None:
    """The key is safe in every store, tells groups from targets, and names the group."""
    assert groups.group_of(group.key) == group
    assert records.is_group(group.key)
    assert not set(group.key) & set("/#?\\")
    assert not records.is_group(GlueView("1", "sales", "daily").key)


@pytest.mark.parametrize("key", ["group:kafka:x", "group:glue-database:1", "group:"])
def test_a_group_of_a_later_release_is_none_of_ours(key: str) -> None:
    """What this release does not know it leaves alone."""
    assert groups.group_of(key) is None


def test_people_are_shown_what_they_wrote() -> None:
    """`sales.orders`, or a path."""
    assert [ORDERS.title, str(SALES)] == ["sales.orders", "database sales"]
    bucket = TableBucket("1", "lake", "raw")
    assert [SourceTable(bucket, "x").title, str(bucket)] == ["raw.x", "namespace raw of table bucket lake"]
    delta = DeltaTable("w", "i", "Tables/orders")
    assert [SourceTable(delta).title, str(delta)] == ["Tables/orders", "Tables/orders"]


def test_fabric_targets_read_the_tables_that_they_name() -> None:
    """Tables, with a schema or without, each once; never files, and nothing of a bucket."""
    paths = ["Tables/orders", "Tables/dbo/orders/", "Tables/orders", "Files/x", "Tables", "Tables/a/b/c"]
    on: tuple[Source, ...] = (*(OneLakeChanged("W", "L", path) for path in paths), S3ObjectCreated("landing"))
    target = Target("sales", LakeViews("w", "l"), on=on)
    found = groups.sources_of(target)
    assert found == (
        SourceTable(DeltaTable("w", "l", "Tables/orders")),
        SourceTable(DeltaTable("w", "l", "Tables/dbo/orders")),
    )
    assert groups.view_of(target) is None
    assert groups.view_of(Target("x", ItemJob("w", "i", "Job"))) is None


def test_a_glue_target_is_looked_at_as_a_view() -> None:
    """Glue keeps names in lower case."""
    assert groups.view_of(Target("daily", GlueView("1", "Sales", "Daily"))) == SourceTable(SALES, "daily")


@pytest.mark.parametrize(
    "arn",
    ["", "orders", "arn:aws:glue:r:1:table/orders", "arn:aws:glue:r:1:database/sales", "arn:aws:glue:r:1:table//x"],
)
def test_what_does_not_read_as_a_table_is_handed_back(arn: str) -> None:
    """No vendor's page shows an example: what reads otherwise is shown by name, never guessed."""
    assert groups.named_by_view([arn]) == ((), (arn,))


def test_tables_of_nested_catalogs_keep_their_catalog() -> None:
    """Those of a table bucket are listed by S3 Tables, any others by Glue."""
    arn = "arn:aws-cn:glue:r:1:table/other/deep/sales/x"
    assert groups.named_by_view([arn, arn]) == ((SourceTable(GlueDatabase("1:other/deep", "sales"), "x"),), ())
    assert groups.table_of("1:s3tablescatalog/b", "Raw", "X") == SourceTable(TableBucket("1", "b", "raw"), "x")


# --- Memory ----------------------------------------------------------------------------------------------------------

V1, V2 = IcebergVersion("1", ids=(1,)), IcebergVersion("2", ids=(2,))


def remembered(**changes: object) -> SourceMemory:
    """A source that was seen at noon."""
    memory = SourceMemory(readers=("t",), version=V1, when=NOON, since=at(-60), shown_at=at(-50))
    return replace(memory, **changes)


def after(observed: Observation, memory: SourceMemory | None = None) -> SourceMemory:
    """What is remembered after such an observation."""
    record = GroupRecord(sources={"orders": memory or remembered()}, problem="x", failing_since=NOON)
    record = remember(record, Seen({"orders": observed}), at(10))
    assert (record.problem, record.failing_since) == ("", None)
    return record.sources["orders"]


def test_when_moves_for_nothing_but_an_answer() -> None:
    """Rule 5: a source without an answer keeps its version and its time, and says why."""
    assert after(Observation(problem="gone")) == remembered(problem="gone")
    assert after(Observation(), remembered(problem="gone")) == remembered(problem="gone")
    assert after(Observation(V1, at(9), at(10)), remembered(problem="gone")) == remembered(when=at(9))


def test_news_have_a_time_and_a_moment() -> None:
    """`since` is when the data came, `shown_at` when an answer showed it first."""
    found = after(Observation(V2, at(9), at(10), at(8)))
    assert found == remembered(version=V2, when=at(9), since=at(8), shown_at=at(10))


def test_a_trace_that_is_cut_off_is_kept_without_its_time() -> None:
    """It is saved as far as it came, and is no look."""
    assert after(Observation(V2, None, at(10), complete=False)) == remembered(version=V2)


def test_a_failed_look_says_nothing_of_any_source() -> None:
    """Only that it failed, why, and since when."""
    record = GroupRecord(sources={"orders": remembered()})
    failed = remember_failure(record, DENIED, at(10))
    assert failed == replace(record, problem=str(DENIED), failing_since=at(10))
    assert remember_failure(failed, THROTTLED, at(20)) == replace(
        failed, problem=str(THROTTLED), doublings=1, throttled_at=at(20)
    )


def test_news_name_their_readers() -> None:
    """Each reader of a source is signalled; a source that nobody remembers is nobody's."""
    record = GroupRecord(sources={"orders": remembered(readers=("a", "b")), "returns": remembered()})
    seen = Seen(
        {"orders": Observation(V2, NOON, NOON, at(3)), "returns": Observation(V1, NOON, NOON), "x": Observation()}
    )
    (news,) = news_of(SALES, record, seen)
    assert (news.source, news.readers, news.signal.time) == (ORDERS, ("a", "b"), at(3))
    assert news.signal.reason == "new data in sales.orders"
    assert not news.signal.asked


def test_a_target_reads_what_it_was_enrolled_for_last() -> None:
    """Sources that it no longer reads lose it as a reader, and those that nobody reads are forgotten."""
    record = enrol(GroupRecord(), "t", {"orders": None, "returns": None}, frozenset())
    record = enrol(record, "u", {"orders": None}, frozenset({"daily"}))
    assert {name for name, memory in record.sources.items() if "t" in memory.readers} == {"orders", "returns"}
    record = enrol(record, "t", {}, frozenset())
    assert {name: memory.readers for name, memory in record.sources.items()} == {"orders": ("u",)}
    assert known_of(record).views == frozenset({"daily"})


def test_views_are_remembered_by_what_they_name() -> None:
    """So that a change of it is seen."""
    view = ViewSeen((RETURNS, ORDERS), ("x",), frozenset(), "1", NOON, at(1))
    record = remember(
        GroupRecord(views={"daily": ViewMemory(), "other": ViewMemory()}), Seen({}, {"daily": view}), NOON
    )
    names = tuple(groups.encode(source) for source in (ORDERS, RETURNS))
    assert record.views == {"daily": ViewMemory(names, ("x",), NOON), "other": ViewMemory()}
    assert hash(record) == hash(replace(record, views={}))


def test_versions_are_shown_as_their_platform_numbers_them() -> None:
    """A snapshot, a Delta version, or nothing."""
    assert version_of(remembered()) == "1"
    assert version_of(remembered(version=DeltaVersion(9, data=7))) == "7"
    assert [version_of(remembered(version=v)) for v in (None, DeltaVersion(9), IcebergVersion("x"))] == ["", "", ""]


# --- Rhythm ----------------------------------------------------------------------------------------------------------


def test_a_group_has_the_shortest_interval_of_its_readers() -> None:
    """One without readers that look is not looked at."""
    assert shortest([MINUTES_5, None, timedelta(minutes=1)]) == timedelta(minutes=1)
    assert shortest([None]) is None
    assert next_look(GroupRecord(), None, NOON, complete=True) is None


def test_throttling_doubles_the_interval_up_to_an_hour_and_an_hour_of_calm_returns_it() -> None:
    """Rule 8. A longer interval than an hour that somebody configured stays."""
    record, waits = GroupRecord(), []
    for number in range(12):
        record = heed(record, at(number), throttled=True)
        waits.append(slow_down(record, MINUTES_5, at(number)) // timedelta(minutes=1))
    assert waits == [10, 20, 40, *[60] * 9]
    assert slow_down(record, hours(2), at(11)) == hours(2)
    assert heed(record, at(60), throttled=False) == record
    assert slow_down(record, MINUTES_5, at(11) + hours(1)) == MINUTES_5
    assert heed(record, at(11) + hours(1), throttled=False) == GroupRecord()
    assert heed(record, at(11) + hours(1), throttled=True).doublings == 1


def test_a_trace_that_is_cut_off_goes_on_at_once() -> None:
    """Anything else waits for its interval."""
    assert next_look(GroupRecord(), MINUTES_5, NOON, complete=False) == NOON
    assert next_look(GroupRecord(), MINUTES_5, NOON, complete=True) == NOON + MINUTES_5


def test_three_intervals_without_an_answer_are_silence() -> None:
    """Neither two, nor exactly three."""
    assert not is_silent(NOON, MINUTES_5, NOON + 3 * MINUTES_5)
    assert is_silent(NOON, MINUTES_5, NOON + 3 * MINUTES_5 + seconds(1))
    assert is_silent(None, MINUTES_5, NOON)


# --- Proofs ----------------------------------------------------------------------------------------------------------


def a_view(*ids: int, sources: tuple[SourceTable, ...] = (ORDERS, RETURNS), when: datetime = NOON) -> ViewSeen:
    """A view that read these versions."""
    return ViewSeen(sources, (), frozenset(ids), "77", when, when)


MEMORIES = {
    ORDERS: remembered(version=IcebergVersion("1", ids=(12, 11)), when=at(-5)),
    RETURNS: remembered(version=IcebergVersion("2", ids=(21,)), when=at(-9)),
}


def test_a_view_that_read_all_current_versions_is_proven() -> None:
    """As of the earliest answer; one that read what a compaction replaced is proven, too."""
    assert judge(a_view(12, 21), MEMORIES) == Proof(at(-9), "77")
    assert judge(a_view(21, 11), MEMORIES) == Proof(at(-9), "77")


def test_a_view_that_lacks_a_version_is_disproven() -> None:
    """By the name of the source that is ahead."""
    assert judge(a_view(10, 21), MEMORIES) == Disproof(at(-9), "sales.orders")
    assert judge(a_view(12), MEMORIES) == Disproof(at(-9), "sales.returns")


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (a_view(), "does not say"),
        (a_view(12, sources=()), "does not say"),
        (a_view(12, 21, -1), "without a snapshot"),
        (a_view(12, 21, 22), "more versions"),
        (replace(a_view(12, 21), unreadable=("s3://x",)), "s3://x, which is no table"),
        (a_view(12, 21, sources=(ORDERS, SourceTable(SALES, "new"))), "sales.new gives no version"),
    ],
)
def test_what_is_not_known_proves_nothing(view: ViewSeen, why: str) -> None:
    """More ids than sources, a source without a snapshot or that was never looked at, what is no table: neither."""
    found = judge(view, MEMORIES)
    assert isinstance(found, Undecided)
    assert why in found.why


@pytest.mark.parametrize(
    "changes",
    [
        {"problem": "gone"},
        {"version": None},
        {"version": DeltaVersion(1, data=1)},
        {"version": IcebergVersion("1")},
        {"when": None},
    ],
)
def test_a_source_without_an_answer_proves_nothing(changes: dict[str, object]) -> None:
    """Rule 6: gone, never seen, without a snapshot, or no Iceberg table."""
    memories = {**MEMORIES, ORDERS: replace(MEMORIES[ORDERS], **changes)}
    assert judge(a_view(12, 21), memories) == Undecided("sales.orders gives no version")


def test_replies_are_built_as_platforms_answer() -> None:
    """The helper of these tests gives a Date cut to the second."""
    assert reply(b"", asked=1.5, took=0.2).date == at(1)
