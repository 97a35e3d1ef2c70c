"""Events of OneLake tables through the function app's triggers: what they cause, and what a look spares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from functions_azure import app
from functions_azure.shell import persist
from local.emulators.fabric.onelake import OneLake
from shared.config.load import load
from tests.support.azure_host import SALES, WORKSPACE, Host, hosted

LAKE = "c9c8d7b6-4a95-4c02-8ccd-6faef5ba1bd7"
ORDERS = "Tables/orders"


def configuration(*paths: str) -> str:
    """The lake views over these tables and folders of another lakehouse."""
    sources = [
        f'{{ onelake_changed = {{ workspace = "{WORKSPACE}", item = "{LAKE}", path = "{path}" }} }}' for path in paths
    ]
    return f"""
[defaults]
quiet_period = "30s"
min_interval = "1m"

[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{", ".join(sources)}]
"""


class Lake:
    """A host whose target reads what lies in a OneLake."""

    def __init__(self, host: Host, files: OneLake) -> None:
        self.host, self.files = host, files
        host.onelake_url = files.url

    def use(self, *paths: str) -> None:
        """Deploy a configuration, and wait until all is refreshed and looked at."""
        self.host.configuration = lambda: load(configuration(*paths))
        self.pass_minutes(60)
        state = self.host.state("sales")
        assert (state.owed, state.run, state.again_at) == (None, None, None)
        assert state.fresh_as_of

    def pass_minutes(self, minutes: int) -> None:
        """Let ticks come."""
        for _ in range(minutes):
            self.host.tick()
            self.host.clock.move_on(minutes=1)

    def commit(self, *, data: bool = True, table: str = ORDERS) -> None:
        """Commit to a table, and let the eventstream tell of it through the event hub's trigger."""
        version = self.files.append(WORKSPACE, LAKE, table, data=data)
        self.tell(f"/{table}/_delta_log/{version:020}.json")

    def tell(self, path: str) -> None:
        """A file was written."""
        event = {
            "specversion": "1.0",
            "id": "831e1650-001e-001b-66ab-eeb76e069632",
            "type": "Microsoft.Fabric.OneLake.FileCreated",
            "source": f"/tenant/workspaces/{WORKSPACE}/items/{LAKE}",
            "subject": path,
            "time": self.host.clock.now().isoformat(),
            "data": {},
        }
        persist(app.shell, [json.dumps(event).encode()], _no_pause, _no_complaint)

    def starts_after(self, minutes: int = 5) -> int:
        """Let time pass; how many runs were started meanwhile."""
        before = self.host.starts()
        self.pass_minutes(minutes)
        return self.host.starts() - before


def _no_pause(_seconds: float) -> None:
    raise AssertionError("the store is up")


def _no_complaint(failure: Exception) -> None:
    raise failure


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A table with data in it, and lake views that are fresh."""
    with hosted(monkeypatch) as host, OneLake(clock=host.clock.now) as files:
        files.append(WORKSPACE, LAKE, ORDERS)
        yield Lake(host, files)


def test_an_event_about_data_starts_a_refresh(lake: Lake) -> None:
    """What it tells of is new, so the look before the start lets the start go ahead."""
    lake.use(ORDERS)
    lake.commit()
    owed = lake.host.state("sales").owed
    assert owed
    assert owed.looked
    assert lake.starts_after() == 1


def test_an_event_about_a_compaction_starts_none(lake: Lake) -> None:
    """Section 9: all that is owed came from a table that still has the data which the last run read."""
    lake.use(ORDERS)
    lake.commit(data=False)
    assert lake.host.state("sales").owed
    assert lake.starts_after() == 0
    assert lake.host.state("sales").owed is None
    assert "run spared" in {happened.what for happened in lake.host.told}


def test_a_compaction_after_a_refresh_for_an_event_starts_none(lake: Lake) -> None:
    """The look before that refresh was the first to show its data, and remembered nothing: the coverage tells."""
    lake.use(ORDERS)
    lake.commit()
    assert lake.starts_after(4) == 1
    lake.commit(data=False)
    assert lake.starts_after() == 0


def test_data_without_a_commit_starts_none(lake: Lake) -> None:
    """A Parquet file is written before its commit, and its event may come alone; the commit's own then starts one."""
    lake.use(ORDERS)
    lake.tell(f"/{ORDERS}/part-7.parquet")
    assert lake.starts_after() == 0
    lake.commit()
    assert lake.starts_after() == 1


@pytest.mark.parametrize("path", ["Tables/dbo/raw/deep", "Files/raw"])
def test_an_event_about_what_is_no_table_always_starts_one(lake: Lake, path: str) -> None:
    """No look can tell what a folder of files has."""
    lake.use(ORDERS, path)
    lake.tell(f"/{path}/x.csv")
    owed = lake.host.state("sales").owed
    assert owed
    assert not owed.looked
    assert lake.starts_after() == 1


def test_a_commit_that_no_event_told_of_is_healed(lake: Lake) -> None:
    """G9: within one look interval and a tick, then the quiet period and a tick."""
    lake.use(ORDERS)
    lake.files.append(WORKSPACE, LAKE, ORDERS)
    committed = lake.host.clock.now()
    assert lake.starts_after(8) == 1
    [signal] = [told for told in lake.host.told if told.what == "run succeeded"][-1:]
    assert signal.at - committed <= timedelta(minutes=5 + 1 + 1 + 2)
