"""Looking at AWS: which calls a look makes, what they say of each table and view, and at what time (design, 9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared.refresh.failure import Failure, FailureKind
from shared.sources import catalog, iceberg
from shared.sources.catalog import GONE, look_at_bucket, look_at_database
from shared.sources.groups import GlueDatabase, SourceTable, TableBucket
from shared.sources.memory import IcebergVersion, SourceMemory
from shared.sources.ports import Known, Observation, Seen, ViewSeen
from tests.support.core import NOON, at, seconds
from tests.support.sources import DENIED, THROTTLED, FakeCatalog, metadata, reply

SALES = GlueDatabase("123456789012", "sales")
LAKE = TableBucket("123456789012", "lake", "sales")


class Reader:
    """Looks at some tables again and again, and remembers."""

    def __init__(self, fake: FakeCatalog, *names: str, views: tuple[str, ...] = (), group: Any = SALES) -> None:
        self.fake, self.group = fake, group
        self.sources = {name: SourceMemory(readers=("t",)) for name in names}
        self.views = frozenset(views)

    def see(self) -> Seen | Failure:
        """One look, as it is."""
        known = Known(self.sources, self.views)
        return (
            look_at_database(self.group, known, self.fake)
            if self.group is SALES
            else look_at_bucket(self.group, known, self.fake)
        )

    def look(self) -> Seen:
        """One look that is answered."""
        seen = self.see()
        assert isinstance(seen, Seen), seen
        for name, observed in seen.sources.items():
            memory = self.sources[name]
            self.sources[name] = replace(memory, version=observed.version or memory.version, problem=observed.problem)
        return seen

    def news(self) -> dict[str, Any]:
        """What is new, with its time."""
        return {name: observed.news_at for name, observed in self.look().sources.items() if observed.news_at}


@pytest.fixture
def fake() -> FakeCatalog:
    """Two tables, committed at noon."""
    made = FakeCatalog()
    made.put("orders", "s3://a/1.json", 11)
    made.put("customers", "s3://b/1.json", 21)
    return made


# --- A Glue database -------------------------------------------------------------------------------------------------


def test_one_list_answers_for_all_tables_of_a_database(fake: FakeCatalog) -> None:
    """The first look loads each table; after that one GetTables says that nothing moved."""
    reader = Reader(fake, "orders", "customers")
    assert reader.news() == {"orders": at(1), "customers": at(1)}
    assert fake.names() == ["get_tables", "load_table", "load_table"]
    assert reader.news() == {}
    assert fake.names() == ["get_tables"]


def test_the_list_is_asked_for_by_name() -> None:
    """All names in one expression, 100 tables a page, the database and its catalog named."""
    fake = FakeCatalog()
    fake.put("a.b", "s3://a/1.json", 1)
    Reader(fake, "a.b", "c", views=("daily",)).look()
    assert fake.calls[0] == (
        "get_tables",
        {
            "CatalogId": "123456789012",
            "DatabaseName": "sales",
            "Expression": r"a\.b|c|daily",
            "MaxResults": 100,
        },
    )


def test_many_names_are_asked_for_in_portions() -> None:
    """No expression is longer than the API takes, and none is asked for twice."""
    fake = FakeCatalog()
    names = [f"table_{number:04}_{'x' * 50}" for number in range(100)]
    Reader(fake, *names).look()
    expressions = [asked["Expression"] for _, asked in fake.calls]
    assert len(expressions) > 1
    assert max(map(len, expressions)) <= catalog.EXPRESSION_LIMIT
    assert sorted("|".join(expressions).split("|")) == names


def test_a_list_is_read_to_its_end(fake: FakeCatalog) -> None:
    """A table on the second page is not gone; one that no page shows is gone, or not allowed to be seen."""
    fake.page = 1
    seen = Reader(fake, "orders", "customers", "nothing").look()
    assert seen.sources["orders"].version
    assert seen.sources["nothing"] == Observation(problem=GONE)


def test_a_list_without_end_is_a_failure(fake: FakeCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a list says nothing."""
    monkeypatch.setattr(catalog, "PAGES", 1)
    fake.page = 1
    failure = Reader(fake, "orders", "customers").see()
    assert isinstance(failure, Failure)
    assert failure.code == "EndlessListing"


def test_a_list_that_fails_says_nothing(fake: FakeCatalog) -> None:
    """The failure is one of the look."""
    fake.failures["get_tables"] = DENIED
    assert Reader(fake, "orders").see() == DENIED


def test_the_time_of_news_is_the_catalogs(fake: FakeCatalog) -> None:
    """UpdateTime has whole seconds, so a second is added; without it, and never later than, the answer's moment."""
    reader = Reader(fake, "orders")
    reader.look()
    fake.put("orders", "s3://a/2.json", 11, 12, updated=NOON - timedelta(hours=1))
    assert reader.news() == {"orders": NOON - timedelta(hours=1) + seconds(1)}
    fake.put("orders", "s3://a/3.json", 11, 12, 13, updated=NOON + timedelta(hours=1))
    fake.calls.clear()
    fake.clock = 100
    assert reader.news() == {"orders": at(102)}  # the Date of the list's answer, 12:01:41, and the second it lost
    fake.put("orders", "s3://a/4.json", 11, 12, 13, 14)
    fake.tables["orders"]["UpdateTime"] = "never"
    fake.clock = 200
    assert reader.news() == {"orders": at(202)}


def test_a_commit_between_list_and_load_has_the_loads_time(fake: FakeCatalog) -> None:
    """Where loadTable names another location than the list did, the list's stamp is that of the commit before."""
    reader = Reader(fake, "orders")
    reader.look()
    fake.put("orders", "s3://a/2.json", 11, 12, updated=at(50))
    fake.loads["orders"] = metadata("s3://a/3.json", 11, 12, 13)
    fake.clock = 100
    assert reader.news() == {"orders": at(103)}  # of the load, a second later than the list
    known = reader.sources["orders"].version
    assert isinstance(known, IcebergVersion)
    assert (known.location, known.ids) == ("s3://a/3.json", (13,))


def test_maintenance_is_no_news(fake: FakeCatalog) -> None:
    """A compaction moves the metadata, which is loaded, and says that no data changed."""
    reader = Reader(fake, "orders")
    reader.look()
    fake.put("orders", "s3://a/2.json", 11, 12, replaces={12: 11})
    assert reader.news() == {}
    known = reader.sources["orders"].version
    assert isinstance(known, IcebergVersion)
    assert known.ids == (12, 11)


def test_what_one_look_loads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is cut off and due again at once; tables with a problem come last, so that they hold up nobody."""
    monkeypatch.setattr(catalog, "LOADS", 2)
    fake = FakeCatalog()
    for name in ("a", "b", "c", "d"):
        fake.put(name, f"s3://{name}/1.json", 1)
    fake.loads["a"] = b"oops"
    reader = Reader(fake, "a", "b", "c", "d")
    seen = reader.look()
    assert (seen.complete, sorted(reader.look().sources)) == (False, ["a", "b", "c", "d"])
    seen = reader.look()
    assert all(reader.sources[name].version for name in ("b", "c", "d"))
    assert seen.complete


def test_one_table_that_fails_says_nothing_of_others(fake: FakeCatalog) -> None:
    """Its problem is kept by name; a throttled one ends the look for the rest, and is nobody's problem."""
    fake.failures["load_table"] = DENIED
    seen = Reader(fake, "orders", "customers").look()
    assert {observed.problem for observed in seen.sources.values()} == {str(DENIED)}
    assert seen.throttled is False
    fake.failures["load_table"] = THROTTLED
    fake.names()
    seen = Reader(fake, "orders", "customers").look()
    assert list(seen.sources.values()) == [Observation(), Observation()]
    assert (seen.throttled, seen.complete, fake.names()) == (True, True, ["get_tables", "load_table"])


@pytest.mark.parametrize("body", [b"oops", b"{}", b'{"metadata-location":"x","metadata":7}'])
def test_metadata_that_nobody_can_read_is_a_problem(fake: FakeCatalog, body: bytes) -> None:
    """It says so, by the source's name."""
    fake.loads["orders"] = body
    observed = Reader(fake, "orders").look().sources["orders"]
    assert observed.problem.startswith("loadTable answered what does not read as Iceberg metadata")


def test_a_table_without_metadata_is_no_iceberg_table(fake: FakeCatalog) -> None:
    """Hive tables and plain files cannot be looked at."""
    fake.put("orders")
    assert Reader(fake, "orders").look().sources["orders"] == Observation(problem="no Iceberg table")
    fake.put("orders", SubObjects=["x"])
    assert Reader(fake, "orders").look().sources["orders"] == Observation(problem="no Iceberg table")


def test_a_nested_view_is_known_by_its_own_version(fake: FakeCatalog) -> None:
    """A view that another view reads has a version of its own, and no need to be loaded."""
    reader = Reader(fake, "inner")
    fake.put("inner", SubObjects=["x"], ViewVersionId=5)
    assert reader.news() == {"inner": at(1)}
    assert reader.news() == {}
    fake.put("inner", SubObjects=["x"], ViewVersionId=6, updated=at(70))
    fake.clock = 100
    assert reader.news() == {"inner": at(71)}


def test_a_view_says_what_it_read(fake: FakeCatalog) -> None:
    """Its sources by address, its versions as a set, its own version; what is no table is kept by name."""
    arns = [
        "arn:aws:glue:eu-central-1:123456789012:table/sales/orders",
        "arn:aws:glue:eu-central-1:123456789012:table/s3tablescatalog/lake/sales/returns",
        "arn:aws:s3:::landing",
    ]
    ids = [2**62 + 1, -1, "x"]
    fake.put("daily", "s3://v/1.json", 7, SubObjects=[*arns, 3], SubObjectVersionIds=ids, ViewVersionId=99)
    seen = Reader(fake, views=("daily",)).look()
    assert fake.names() == ["get_tables"]
    assert seen.views == {
        "daily": ViewSeen(
            sources=(SourceTable(SALES, "orders"), SourceTable(LAKE, "returns")),
            unreadable=("arn:aws:s3:::landing",),
            ids=frozenset({2**62 + 1, -1}),
            version="99",
            when=at(0.8),
            moment=at(2),
        )
    }


def test_a_table_is_not_a_view(fake: FakeCatalog) -> None:
    """What has no definition says nothing of sources."""
    assert Reader(fake, views=("orders",)).look().views == {}


# --- S3 Tables -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lake() -> FakeCatalog:
    """One table in a bucket, committed long before noon."""
    made = FakeCatalog()
    made.listed["orders"] = at(-600)
    made.locations["orders"] = "s3://a/1.json"
    made.loads["orders"] = metadata("s3://a/1.json", 11)
    return made


def test_one_list_answers_for_all_tables_of_a_bucket(lake: FakeCatalog) -> None:
    """After the first look one ListTables says that nothing was modified."""
    reader = Reader(lake, "orders", group=LAKE)
    assert reader.news()
    assert lake.calls[0] == ("list_tables", {"namespace": "sales", "maxTables": 1000})
    assert lake.calls[1] == ("locate", {"namespace": "sales", "name": "orders"})
    path = "/iceberg/v1/catalogs/123456789012:s3tablescatalog:lake/namespaces/sales/tables/orders"
    assert lake.calls[2] == ("load_table", path)
    lake.names()
    assert reader.news() == {}
    assert lake.names() == ["list_tables"]


def test_what_was_modified_is_located_then_loaded(lake: FakeCatalog) -> None:
    """A modification that left the metadata where it was costs one call and is no news. The list is older than the
    location, so news have the time of the answer that gave it.
    """
    reader = Reader(lake, "orders", group=LAKE)
    reader.look()
    lake.names()
    lake.listed["orders"] = at(-300)
    assert reader.news() == {}
    assert lake.names() == ["list_tables", "locate"]
    lake.listed["orders"] = at(-200)
    lake.locations["orders"] = "s3://a/2.json"
    lake.loads["orders"] = metadata("s3://a/2.json", 11, 12)
    lake.clock = 100
    assert reader.news() == {"orders": at(103)}
    assert lake.names() == ["list_tables", "locate", "load_table"]


def test_a_fresh_stamp_is_not_trusted(lake: FakeCatalog) -> None:
    """A stamp of the second of the look may be given again to a commit right after it: the next look asks once more."""
    reader = Reader(lake, "orders", group=LAKE)
    lake.listed["orders"] = at(1)
    reader.look()
    lake.names()
    lake.locations["orders"] = "s3://a/2.json"
    lake.loads["orders"] = metadata("s3://a/2.json", 11, 12)
    assert reader.news()
    lake.clock = 100
    reader.look()
    lake.names()
    assert reader.news() == {}
    assert lake.names() == ["list_tables"]


def test_a_bucket_that_cannot_be_read_says_nothing(lake: FakeCatalog) -> None:
    """Its list is a failure of the look; one table's location is one of that table."""
    lake.failures["list_tables"] = DENIED
    assert Reader(lake, "orders", group=LAKE).see() == DENIED
    lake.failures = {"locate": DENIED}
    assert Reader(lake, "orders", group=LAKE).look().sources["orders"].problem == str(DENIED)
    lake.failures = {}
    lake.locations.clear()
    assert Reader(lake, "orders", group=LAKE).look().sources["orders"].problem == "no Iceberg table"


def test_tables_of_other_namespaces_are_others(lake: FakeCatalog) -> None:
    """A list of the whole bucket would show them."""
    lake.list_tables = lambda _: reply(  # type: ignore[assignment]
        {"tables": [{"namespace": ["other"], "name": "orders"}, "x", {"name": "orders"}]}
    )
    assert Reader(lake, "orders", group=LAKE).look().sources["orders"].problem == GONE


def test_a_bucket_without_times_is_asked_each_time(lake: FakeCatalog) -> None:
    """A list that names no time proves nothing."""
    lake.listed["orders"] = "never"  # type: ignore[assignment]
    reader = Reader(lake, "orders", group=LAKE)
    reader.look()
    lake.names()
    assert reader.news() == {}
    assert lake.names() == ["list_tables", "locate"]


# --- Iceberg ---------------------------------------------------------------------------------------------------------


def test_metadata_in_a_circle_ends() -> None:
    """No table has snapshots that replace each other; one that says so must not hold up the others."""
    found = iceberg.read_table(metadata("s3://a/1.json", 1, 2, replaces={1: 2, 2: 1}))
    assert isinstance(found, iceberg.Metadata)
    assert found.same_data(2) == (2, 1)


def test_throttled_is_told_by_meaning() -> None:
    """What the tests throw is what the code looks for."""
    assert THROTTLED.kind is FailureKind.THROTTLED
