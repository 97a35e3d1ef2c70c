"""Looking on AWS, over HTTP: our calls to moto's Glue, to the emulated REST catalog and S3 Tables, with real tables.

PyIceberg judges: it writes tables into moto, which we read, and reads the emulated REST catalog, as we do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.stub import Stubber
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from functions_aws import sources as adapter
from functions_aws.clients import Clients
from functions_aws.sources import Sources
from functions_aws.wiring import SystemClock
from local.emulators.aws.emulator import LocalAws
from local.emulators.faults import Refuse, Throttle
from local.emulators.glue.emulator import GlueSettings
from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.sources.groups import DeltaTable, GlueDatabase, Group, SourceTable, TableBucket
from shared.sources.memory import IcebergVersion, SourceMemory
from shared.sources.ports import Known, Observation, Seen
from tests.support.core import NOON, HandClock
from tests.support.waiting import PATIENCE_SECONDS

SALES = GlueDatabase("123456789012", "sales")
LAKE = TableBucket("123456789012", "tables", "raw")
NESTED = "123456789012:s3tablescatalog/tables"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """An AWS on this machine, which our clients find by their environment."""
    with LocalAws(glue_settings=GlueSettings(run_time=timedelta(milliseconds=1))) as made:
        for name, value in made.environment({}).items():
            monkeypatch.setenv(name, value)
        yield made


def look(group: Group, *names: str, views: tuple[str, ...] = (), known: Any = None) -> Seen | Failure:
    """One look by the adapter, which does not wait between its calls."""
    memories = {name: SourceMemory(readers=("t",), version=(known or {}).get(name)) for name in names}
    waits: list[float] = []
    found = Sources(Clients(), SystemClock(), waits.append).look(group, Known(memories, frozenset(views)))
    assert all(0 <= wait <= adapter.SPACING_SECONDS for wait in waits)
    return found


def see(group: Group, *names: str, **options: Any) -> dict[str, Observation]:
    """One look that is answered."""
    found = look(group, *names, **options)
    assert isinstance(found, Seen), found
    return dict(found.sources)


def iceberg(aws: LocalAws) -> GlueCatalog:
    """PyIceberg's own Glue catalog, on moto."""
    settings = {"client.region": aws.region, "client.access-key-id": "testing", "client.secret-access-key": "testing"}
    settings |= {"glue.endpoint": aws.url, "client.endpoint": aws.url, "warehouse": "s3://lake"}
    return GlueCatalog("glue", **settings, **{"py-io-impl": "tests.support.iceberg_files.S3Files"})


SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


def test_tables_that_pyiceberg_writes_are_seen(aws: LocalAws) -> None:
    """A commit by PyIceberg moves what GetTables shows; loadTable gives its snapshot; a property is no news."""
    catalog = iceberg(aws)
    catalog.create_namespace("sales")
    table = catalog.create_table("sales.orders", SCHEMA)
    empty = see(SALES, "orders")["orders"]
    assert isinstance(empty.version, IcebergVersion)
    assert (empty.version.ids, empty.version.uuid) == ((), str(table.metadata.table_uuid))
    with table.transaction() as transaction, transaction.update_snapshot().fast_append():
        pass
    snapshot = catalog.load_table("sales.orders").current_snapshot()
    assert snapshot
    written = see(SALES, "orders", known={"orders": empty.version})["orders"]
    assert isinstance(written.version, IcebergVersion)
    assert (written.version.ids, bool(written.news_at)) == ((snapshot.snapshot_id,), True)
    with table.refresh().transaction() as transaction:
        transaction.set_properties({"owner": "sales"})
    changed = see(SALES, "orders", known={"orders": written.version})["orders"]
    assert isinstance(changed.version, IcebergVersion)
    assert (changed.news_at, changed.version.location != written.version.location) == (None, True)


def test_pyiceberg_reads_the_emulated_rest_catalog(aws: LocalAws) -> None:
    """Its REST client, which did not learn from us, finds the same table at the same address, and its snapshot."""
    snapshot = aws.commit("sales", "orders")
    nested = aws.commit("raw", "events", catalog=NESTED)
    for warehouse, name, expected in (("", "sales.orders", snapshot), (NESTED, "raw.events", nested)):
        catalog = RestCatalog(
            "rest",
            uri=f"{aws.url}/iceberg",
            warehouse=warehouse or aws.account,
            **{
                "rest.sigv4-enabled": "true",
                "rest.signing-name": "glue",
                "rest.signing-region": aws.region,
                "client.access-key-id": "testing",
                "client.secret-access-key": "testing",
                "client.region": aws.region,
            },
        )
        found = catalog.load_table(name).current_snapshot()
        assert found
        assert found.snapshot_id == expected
    assert aws.lake.calls[-1].endswith(f"/catalogs/{NESTED.replace('/', ':')}/namespaces/raw/tables/events")


def test_a_look_costs_one_call_where_nothing_moved(aws: LocalAws) -> None:
    """Maintenance moves the metadata, is loaded, and is no news; a rollback is."""
    first = aws.commit("sales", "orders")
    seen = see(SALES, "orders")["orders"]
    loads = len(_loads(aws))
    assert see(SALES, "orders", known={"orders": seen.version})["orders"].news_at is None
    assert len(_loads(aws)) == loads
    compacted = aws.commit("sales", "orders", "replace")
    again = see(SALES, "orders", known={"orders": seen.version})["orders"]
    assert isinstance(again.version, IcebergVersion)
    assert (again.news_at, again.version.ids) == (None, (compacted, first))
    aws.commit("sales", "orders")
    aws.commit("sales", "orders", "rollback")
    assert see(SALES, "orders", known={"orders": again.version})["orders"].news_at


def _loads(aws: LocalAws) -> list[str]:
    return [call for call in aws.lake.calls if call.endswith("/tables/orders")]


def test_a_view_says_what_its_last_refresh_read(aws: LocalAws) -> None:
    """`ViewDefinition` as a refresh changes it: nothing before the first, then the snapshots of that time."""
    orders = aws.commit("sales", "orders")
    events = aws.commit("raw", "events", catalog=NESTED)
    arn = f"arn:aws:glue:{aws.region}:{aws.account}:table/"
    aws.create_view("sales", "daily", sources=[f"{arn}sales/orders", f"{arn}s3tablescatalog/tables/raw/events"])
    seen = look(SALES, views=("daily",))
    assert isinstance(seen, Seen)
    view = seen.views["daily"]
    assert (view.sources, view.ids) == ((SourceTable(SALES, "orders"), SourceTable(LAKE, "events")), frozenset())
    start = {"CatalogId": aws.account, "DatabaseName": "sales", "TableName": "daily"}
    aws.client("glue").start_materialized_view_refresh_task_run(**start)
    aws.commit("sales", "orders")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not view.ids and time.monotonic() < deadline:
        seen = look(SALES, views=("daily",))
        assert isinstance(seen, Seen)
        view = seen.views["daily"]
    assert view.ids == {orders, events}
    assert int(view.version) > 0


def test_pages_are_read_to_the_end(aws: LocalAws) -> None:
    """More tables than a page has, whole-second times, names that others begin with."""
    for number in range(3):
        aws.commit("sales", f"orders_{number}")
    aws.client("glue")
    found = see(SALES, "orders_0", "orders_2", "orders")
    assert [bool(found[name].version) for name in ("orders_0", "orders_2", "orders")] == [True, True, False]
    assert found["orders"].problem


def test_table_buckets_are_seen(aws: LocalAws) -> None:
    """ListTables, then GetTableMetadataLocation and loadTable of the nested catalog for what was modified."""
    snapshot = aws.commit("raw", "events", catalog=NESTED)
    found = see(LAKE, "events", "nothing")
    assert isinstance(found["events"].version, IcebergVersion)
    assert found["events"].version.ids == (snapshot,)
    assert found["nothing"].problem
    bucket = f"/tables/arn:aws:s3tables:{aws.region}:{aws.account}:bucket/tables"
    nested = f"/iceberg/v1/catalogs/{aws.account}:s3tablescatalog:tables/namespaces/raw/tables/events"
    assert aws.lake.calls[-3:] == [bucket, f"{bucket}/raw/events/metadata-location", nested]


def test_throttling_is_told_by_its_header(aws: LocalAws) -> None:
    """The REST catalog says it with status 400; Glue and S3 Tables in their own ways. None is sent twice."""
    aws.commit("sales", "orders")
    aws.faults.add(Throttle(), "look")
    failure = look(SALES, "orders")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.THROTTLED
    aws.faults.add(Throttle(), "look")
    failure = look(LAKE, "events")
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.THROTTLED
    path = "/iceberg/v1/catalogs/123456789012/namespaces/sales/tables/orders"
    aws.faults.add(Throttle(), "look")
    loaded = Sources(Clients(), SystemClock()).load_table(path)
    assert isinstance(loaded, Failure)
    assert (loaded.kind, loaded.message) == (FailureKind.THROTTLED, "Rate exceeded")
    assert aws.faults.unused_faults() == ()


def test_what_may_not_be_read_is_said(aws: LocalAws) -> None:
    """A refusal is permanent, and a table that is gone is, too; nothing answers at a closed port."""
    sources = Sources(Clients(), SystemClock())
    aws.faults.add(Refuse("AccessDeniedException"), "look")
    denied = sources.load_table("/iceberg/v1/catalogs/123456789012/namespaces/sales/tables/orders")
    assert isinstance(denied, Failure)
    assert (denied.code, denied.permanent) == ("AccessDeniedException", True)
    gone = sources.load_table("/iceberg/v1/catalogs/123456789012/namespaces/none/tables/orders")
    assert isinstance(gone, Failure)
    assert gone.permanent


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    """An exception on the way is a failure as facts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    sources = Sources(Clients(), SystemClock())
    for found in (sources.load_table("/iceberg/v1/x"), sources.get_tables({"DatabaseName": "sales"})):
        assert isinstance(found, Failure)
        assert found.retry_safe


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        (("AWS_REGION", "AWS_DEFAULT_REGION"), "NoRegionError"),
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "NoCredentialsError"),
    ],
)
def test_what_cannot_be_signed_or_sent_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, aws: LocalAws, tmp_path: Path, missing: tuple[str, ...], code: str
) -> None:
    """Clients that cannot be built and requests that cannot be signed were exceptions: no look was told as failed, its
    interval was not doubled, and the tick failed.
    """
    for name in missing:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for found in (look(SALES, "orders"), look(LAKE, "events"), Sources(Clients(), SystemClock()).load_table("/x")):
        assert isinstance(found, Failure)
        assert (found.code, found.delivery) == (code, Delivery.NOT_SENT)


def test_metadata_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, aws: LocalAws) -> None:
    """A table with more snapshots than a function can hold says what to do."""
    aws.commit("sales", "orders")
    monkeypatch.setattr(adapter, "METADATA_LIMIT", 100)
    observed = see(SALES, "orders")["orders"]
    assert "expire its snapshots" in observed.problem


def test_calls_are_spaced(aws: LocalAws) -> None:
    """Five a second at most in one invocation (rule 8)."""
    aws.commit("sales", "orders")
    waits: list[float] = []
    sources = Sources(Clients(), HandClock(), waits.append)
    for _ in range(3):
        sources.get_tables({"DatabaseName": "sales", "CatalogId": aws.account})
    assert waits == [0, adapter.SPACING_SECONDS, adapter.SPACING_SECONDS]


def test_other_clouds_are_refused(aws: LocalAws) -> None:
    """A group that cannot be looked at here says so."""
    failure = look(DeltaTable("w", "i", "Tables/x"), "")
    assert isinstance(failure, Failure)
    assert failure.permanent


def test_requests_fit_the_models(aws: LocalAws) -> None:
    """Botocore's own models of GetTables, ListTables and GetTableMetadataLocation accept what we send."""
    session = botocore.session.get_session()

    class Modelled:
        """Clients whose answers are stubbed, and whose requests are checked against the models."""

        glue = session.create_client("glue", region_name="eu-central-1")
        s3tables = session.create_client("s3tables", region_name="eu-central-1")
        credentials = session.get_credentials()

    with Stubber(Modelled.glue) as glue, Stubber(Modelled.s3tables) as tables:
        metadata = {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}
        glue.add_response("get_tables", {"TableList": [], **metadata})
        listed = {"namespace": ["raw"], "name": "events", "type": "customer", "tableARN": "arn:x", "createdAt": NOON}
        tables.add_response("list_tables", {"tables": [{**listed, "modifiedAt": NOON}], **metadata})
        tables.add_response(
            "get_table_metadata_location", {"versionToken": "1", "warehouseLocation": "s3://w", **metadata}
        )
        sources = Sources(Modelled, SystemClock(), lambda _: None)  # type: ignore[arg-type]  # stubbed clients, and no more
        assert isinstance(sources.look(SALES, Known({"orders": SourceMemory()})), Seen)
        assert isinstance(sources.look(LAKE, Known({"events": SourceMemory()})), Seen)
        glue.assert_no_pending_responses()
        tables.assert_no_pending_responses()


def test_no_call_begins_after_the_end_of_a_look(aws: LocalAws) -> None:
    """A look before a start has three seconds: what would begin later is not sent, and the look has failed."""
    clock = HandClock()
    sources = Sources(Clients(), clock, lambda _: None)
    late = sources.look(SALES, Known({"orders": SourceMemory()}), ends_at=-1)
    assert isinstance(late, Failure)
    assert (late.code, late.delivery) == ("NoTimeLeft", Delivery.NOT_SENT)
    sources.look(SALES, Known({"orders": SourceMemory()}))
    waited = sources.look(SALES, Known({"orders": SourceMemory()}), ends_at=0.1)
    assert waited == late, "200 ms after the call before it is too late"
