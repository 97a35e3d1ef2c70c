"""The page of a reader who may not read the table: what a tick wrote into a bucket or a container shows the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from functions_aws import wiring
from functions_aws.settings import read as read_aws
from functions_azure import wiring as wiring_azure
from functions_azure.settings import read
from functions_azure.store import Store
from functions_azure.wiring import Parts
from local.cli import main, page
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh.engine import Engine, LogEvent
from shared.refresh.ports import StoreDownError
from shared.refresh.sweep import Sweep
from tests.local.page.test_document import BUNDLE, values_in
from tests.support.aws_host import CONFIGURATION, HandClock, Host, living_in, object_created
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.one_machine import LAKE

TEXT = f'[defaults]\nlook = "off"\n{CONFIGURATION}'


@pytest.fixture(name="shown")
def what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Any]:
    """Write the page of this configuration; its values, or what was said instead."""
    monkeypatch.setattr(page, "chart_bundle", lambda: BUNDLE)
    config, into = tmp_path / "unstale.toml", tmp_path / "page.html"

    def show(text: str) -> Any:
        config.write_text(text, encoding="utf-8")
        into.unlink(missing_ok=True)
        code = main(["page", "--config", str(config), "--into", str(into)])
        said = capsys.readouterr()
        return values_in(into.read_text(encoding="utf-8")) if code == 0 else said.err + said.out

    return show


def targets(values: Any) -> list[Any]:
    """What a page says of targets, but for what changes from one second to the next."""
    stable = ("name", "verdict", "stale_since", "fresh_as_of", "sources", "marks")
    return [[*(each[key] for key in stable), [run[2] for run in each["runs"]]] for each in values["targets"]]


def test_on_aws_the_tick_writes_what_the_page_shows(
    shown: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a bucket, no object; with one, a reader without the table sees the same targets, and is told so."""
    clock = HandClock(datetime.now(UTC) - timedelta(minutes=3))
    with living_in(LocalAws(clock=clock.now, buckets=("landing", "pages"))) as aws:
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        host = Host(aws, clock, "excerpts", TEXT)
        host.tick()
        assert "Contents" not in aws.client("s3").list_objects_v2(Bucket="pages")
        monkeypatch.setenv("UNSTALE_PAGE_BUCKET", "pages")
        found = read_aws(os.environ)
        host.ports = wiring.make_ports(found, host.clients, host.telemetry.emit, clock)
        host.deploy(host.configuration)
        assert host.deliver(object_created("orders/1.parquet", clock.now())) == []
        clock.move_on(minutes=2.5)
        host.tick()
        by_table = shown(TEXT)
        monkeypatch.setenv("UNSTALE_TABLE", "nobody-may-read-this")
        by_excerpt = shown(TEXT)
        assert targets(by_excerpt) == targets(by_table)
        assert len(by_excerpt["targets"]) == 2
        [doubt] = [each for each in by_excerpt["doubts"] if "without queues and dead letters" in each]
        assert doubt.startswith("AWS: as a tick wrote it down ")
        assert "ResourceNotFoundException" in doubt
        # Neither the table nor the bucket: both are named.
        monkeypatch.setenv("UNSTALE_PAGE_BUCKET", "gone")
        refused = shown(TEXT)
        assert "ResourceNotFoundException" in refused
        assert "and of what ticks write for the page: reading s3://gone/page.json" in refused
        # A bucket that is gone disturbs no tick; the log says so.
        monkeypatch.setenv("UNSTALE_TABLE", aws.table)
        host.ports = wiring.make_ports(read_aws(os.environ), host.clients, host.telemetry.emit, clock)
        host.deploy(host.configuration)
        clock.move_on(minutes=5)
        host.tick()
        assert "excerpt not written" in capsys.readouterr().out


def test_an_old_excerpt_is_no_picture_of_now(shown: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks that stopped an hour ago wrote it: each target is unknown, because nobody works."""
    clock = HandClock(datetime.now(UTC) - timedelta(hours=1))
    with living_in(LocalAws(clock=clock.now, buckets=("landing", "pages"))) as aws:
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        monkeypatch.setenv("UNSTALE_PAGE_BUCKET", "pages")
        host = Host(aws, clock, "old-excerpts", TEXT)
        host.ports = wiring.make_ports(read_aws(os.environ), host.clients, host.telemetry.emit, clock)
        host.deploy(host.configuration)
        host.tick()
        monkeypatch.setenv("UNSTALE_TABLE", "nobody-may-read-this")
        values = shown(TEXT)
        assert {each["verdict"] for each in values["targets"]} <= {"unknown", "late"}
        assert any("no tick" in each for each in values["doubts"])


def test_on_azure_a_container_of_the_account_holds_it(
    account: Account, shown: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likewise; a container that is not there is logged, and read as an outage."""
    monkeypatch.setenv("UNSTALE_STORAGE", account.connection_string)
    monkeypatch.setenv("UNSTALE_PAGE_CONTAINER", "page")
    configuration = load(LAKE)
    told: list[LogEvent] = []
    parts = Parts(read(os.environ), lambda: configuration)
    ports = wiring_azure.make_ports(read(os.environ), configuration, parts, told.append)

    def write() -> None:
        assert ports.excerpt
        ports.excerpt(configuration.targets, ports.clock.now(), lambda: False)

    engine = Engine(configuration.package(ports.cloud), ports)
    Sweep(engine).tick()
    assert [each.fields["error"] for each in told if each.what == "excerpt not written"]
    assert "and of what ticks write for the page" not in str(shown(LAKE)), (
        "whoever may read the table needs nothing else"
    )
    with ContainerClient.from_connection_string(account.connection_string, "page") as container:
        container.create_container()
    known = ports.store.load("deployment")
    ports.store.save(known, known.body.replace(b"excerpt_at", b"forgotten_"), None)
    write()
    by_table = shown(LAKE)

    def refuse(*_: object) -> None:
        raise StoreDownError("This request is not authorized to perform this operation")

    monkeypatch.setattr(Store, "load_many", refuse)
    by_excerpt = shown(LAKE)
    assert targets(by_excerpt) == targets(by_table)
    assert any("not authorized" in each for each in by_excerpt["doubts"])
