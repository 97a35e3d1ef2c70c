"""`unstale check --live`, the sources: each is looked at once, and what cannot be looked at is said by name."""

from __future__ import annotations

from msgspec.structs import replace

from local.checks.sources import IN_ONELAKE, NO_TABLE, NOT_READ, ON_AWS, source_findings
from shared.refresh.failure import Failure
from shared.sources.catalog import look_at_bucket, look_at_database
from shared.sources.delta import look_at_table
from shared.sources.groups import DeltaTable, GlueDatabase, Group, TableBucket
from shared.sources.ports import Known, Seen
from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueView,
    IcebergChanged,
    LakeViews,
    OneLakeChanged,
    S3ObjectCreated,
    Schedule,
    Target,
)
from tests.support.core import POLICY, at
from tests.support.sources import DENIED, THROTTLED, FakeCatalog, FakeLog, data_commit, metadata_commit

ARN = "arn:aws:glue:r:1:table/"
DAILY = Target("daily", GlueView("1", "sales", "daily"), POLICY)
LAKE = Target("lake", LakeViews("w", "l"), POLICY, on=(OneLakeChanged("w", "l", "Tables/orders"),))


class Clouds:
    """A catalog and a Delta log that a test wrote, each look kept."""

    def __init__(self) -> None:
        self.catalog, self.log = FakeCatalog(), FakeLog()
        self.looks: list[str] = []
        self.log.commit(0, metadata_commit() + b"\n" + data_commit())
        self.catalog.put("orders", "s3://a/1.json", 11, updated=at(0))
        self.view("sales/orders")

    def view(self, *names: str, others: tuple[str, ...] = ()) -> None:
        """What the view names."""
        arns = [*(ARN + name for name in names), *others]
        self.catalog.put("daily", "s3://v/1.json", 7, SubObjects=arns, SubObjectVersionIds=[11], ViewVersionId=70)

    def look(self, group: Group, known: Known) -> Seen | Failure:
        """As an adapter dispatches it."""
        self.looks.append(f"{group}: {' '.join(sorted({*known.sources, *known.views}))}")
        match group:
            case GlueDatabase():
                return look_at_database(group, known, self.catalog)
            case TableBucket():
                return look_at_bucket(group, known, self.catalog)
            case DeltaTable():
                return look_at_table(group, known, self.log)

    def finds(self, *targets: Target) -> dict[str, tuple[str, str]]:
        """What was found, and the cure, by what was looked at."""
        return {one.what: (one.found, one.cure) for one in source_findings(targets, self.look)}


def test_each_source_is_looked_at_once_and_shown_with_its_version() -> None:
    """A view names its sources; two views of a database are one look, and so are the sources of both."""
    clouds = Clouds()
    clouds.catalog.put("weekly", "s3://v/1.json", 7, SubObjects=[f"{ARN}sales/orders"], ViewVersionId=71)
    weekly = Target("weekly", GlueView("1", "sales", "weekly"), POLICY)
    found = clouds.finds(DAILY, weekly, LAKE)
    assert found == {
        "source sales.orders of daily, weekly": ("version 11, since 2026-01-31 12:00:01Z", ""),
        "source Tables/orders of lake": ("version 0, since 2026-01-31 12:00:01Z", ""),
    }
    assert clouds.looks == ["database sales: daily weekly", "database sales: orders", "Tables/orders: "]


def test_what_cannot_be_looked_at_is_said_by_name() -> None:
    """A source that is no table, files, one that may not be read: whatever else refreshes the target."""
    clouds = Clouds()
    clouds.view("sales/orders", "sales/gone", others=("s3://raw",))
    on = (S3ObjectCreated("landing", "raw/"), GlueJobSucceeded("etl"))
    found = clouds.finds(replace(DAILY, on=on))
    assert found["source s3://raw of daily"] == ("cannot be looked at: it is no table", "")
    assert found["source s3://landing/raw/ of daily"] == (
        "cannot be looked at: files, of which only events tell",
        "",
    )
    assert found["source sales.gone of daily"] == (
        "cannot be looked at: gone, or not allowed to be seen",
        ON_AWS,
    )
    assert clouds.finds(DAILY)["source s3://raw of daily"][1] == NO_TABLE
    nightly = replace(DAILY, schedule=Schedule("0 3 * * *"))
    assert clouds.finds(nightly)["source s3://raw of daily"][1] == ""


def test_files_of_a_lake_and_tables_that_are_gone_are_named() -> None:
    """Blobs and folders by events alone; a table that is gone says which role opens OneLake."""
    clouds = Clouds()
    clouds.log.gone = True
    clouds.log.files.clear()
    on = (BlobCreated("contoso", "sales", "raw/"), OneLakeChanged("w", "l", "Files/raw"), *LAKE.on)
    assert clouds.finds(replace(LAKE, on=on)) == {
        "source Tables/orders of lake": ("cannot be looked at: gone, or not allowed to be seen", IN_ONELAKE),
        "source blobs of contoso/sales/raw/ of lake": ("cannot be looked at: files, of which only events tell", ""),
        "source Files/raw of lake": ("cannot be looked at: files, of which only events tell", ""),
    }


def test_an_iceberg_table_that_the_view_does_not_read_is_named() -> None:
    """Each of its commits would start a refresh about nothing."""
    clouds = Clouds()
    clouds.catalog.put("extra", "s3://e/1.json", 31)
    on = (IcebergChanged("Sales", "orders"), IcebergChanged("sales", "extra"), S3ObjectCreated("b"))
    found = clouds.finds(replace(DAILY, on=on))
    assert found["iceberg_changed sales.extra of daily"] == ("the view does not read this table", NOT_READ)
    assert "iceberg_changed Sales.orders of daily" not in found
    assert found["source sales.extra of daily"][1] == ""


def test_a_view_that_names_nothing_says_so() -> None:
    """It can never be proven, and no commit is ever seen."""
    clouds = Clouds()
    clouds.view()
    assert clouds.finds(DAILY) == {"sources of daily": ("the view names none", NO_TABLE)}


def test_looks_that_fail_are_said_with_their_cure() -> None:
    """Refused, or throttled: nothing is known of the sources then."""
    clouds = Clouds()
    clouds.catalog.failures["get_tables"] = DENIED
    [one] = source_findings([DAILY], clouds.look)
    assert (one.what, one.cure, one.known) == ("database sales", ON_AWS, False)
    clouds.catalog.failures["get_tables"] = THROTTLED
    [one] = source_findings([DAILY], clouds.look)
    assert (one.known, "could not look" in one.found) == (False, True)
    clouds.catalog.failures = {"load_table": THROTTLED}
    [one] = source_findings([DAILY], clouds.look)
    assert (one.found, one.known) == ("no answer: throttled", False)
    views = clouds.catalog.get_tables
    clouds.catalog.get_tables = lambda parameters: (  # type: ignore[method-assign]
        views(parameters) if parameters["Expression"] == "daily" else DENIED
    )
    [one] = source_findings([DAILY], clouds.look)
    assert (one.what, one.cure) == ("database sales", ON_AWS)


def test_many_tables_are_followed_to_the_last() -> None:
    """One look loads forty; the rest is asked for by more looks, each for what is left."""
    clouds = Clouds()
    names = [f"t{number:02}" for number in range(90)]
    for name in names:
        clouds.catalog.put(name, f"s3://{name}/1.json", 1)
    clouds.view(*(f"sales/{name}" for name in names))
    found = clouds.finds(DAILY)
    assert len([what for what, (said, _) in found.items() if said.startswith("version 1")]) == 90
    assert len(clouds.looks) == 1 + 3


def test_what_is_not_looked_at_says_so() -> None:
    """`look = "off"`; nothing is asked for it."""
    clouds = Clouds()
    off = replace(DAILY, policy=replace(POLICY, look=None))
    assert clouds.finds(off) == {"sources of daily": ('not looked at: look = "off"', "")}
    assert clouds.looks == []


def test_a_table_without_data_has_no_version() -> None:
    """It was created, and nothing was written yet."""
    clouds = Clouds()
    clouds.catalog.put("orders", "s3://a/1.json")
    [(said, cure)] = clouds.finds(DAILY).values()
    assert (said.startswith("version none yet"), cure) == (True, "")
