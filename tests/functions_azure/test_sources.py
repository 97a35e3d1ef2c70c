"""Looking in OneLake, over HTTP: our calls to the emulated DFS endpoint, with tables that deltalake writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable as Written
from deltalake import write_deltalake

from functions_azure.clients import Deadline
from functions_azure.sources import Sources, _Until
from local.emulators.fabric.onelake import OneLake
from local.emulators.faults import Refuse, ServerError, Throttle
from shared.refresh.failure import Failure, FailureKind
from shared.sources.delta import GONE
from shared.sources.groups import DeltaTable, GlueDatabase, Group
from shared.sources.memory import DeltaVersion, SourceMemory, Version
from shared.sources.ports import Known, Observation, Seen
from tests.support.core import HandClock
from tests.support.make_delta import rows

ORDERS = DeltaTable("ws", "lh", "Tables/dbo/orders")


class Tokens:
    """Tokens that a test hands out; `refused` ones are kept."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens) or ["good"]
        self.returned: list[str] = []

    def token(self) -> str | Failure:
        """The next one; the last again and again."""
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def forget(self, token: str) -> None:
        """It was not accepted."""
        self.returned.append(token)


@pytest.fixture
def lake() -> Iterator[OneLake]:
    """A OneLake that takes one token."""
    with OneLake(accepts=lambda token: token == "good") as made:
        yield made


def look(
    lake: OneLake,
    version: Version | None = None,
    *,
    group: Group = ORDERS,
    tokens: Tokens | None = None,
    left: float = 60,
) -> Seen | Failure:
    """One look by the adapter."""
    sources = Sources(tokens or Tokens(), HandClock(), url=lake.url, deadline=Deadline(left))
    return sources.look(group, Known({"": SourceMemory(version=version)}))


def see(lake: OneLake, version: Version | None = None) -> Observation:
    """One look that is answered."""
    found = look(lake, version)
    assert isinstance(found, Seen), found
    return found.sources[""]


def test_tables_that_deltalake_writes_are_seen(lake: OneLake, tmp_path: Path) -> None:
    """Appends are news; a compaction, a vacuum and a property are not; a restore is; a recreated table is."""
    lake.serve("ws/lh/Tables/dbo", tmp_path)
    path = str(tmp_path / "orders")
    write_deltalake(path, rows([1]))
    write_deltalake(path, rows([2]), mode="append")
    first = see(lake)
    assert isinstance(first.version, DeltaVersion)
    assert (first.version.file, first.version.data, bool(first.news_at)) == (1, 1, True)
    assert see(lake, first.version).news_at is None
    Written(path).optimize.compact()
    Written(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    Written(path).alter.set_table_properties({"delta.logRetentionDuration": "interval 7 days"})
    kept = see(lake, first.version)
    assert isinstance(kept.version, DeltaVersion)
    assert (kept.version.file, kept.version.data, kept.news_at) == (5, 1, None)
    Written(path).restore(0, ignore_missing_files=True)
    restored = see(lake, kept.version)
    assert restored.news_at
    for file in (tmp_path / "orders" / "_delta_log").iterdir():
        file.unlink()
    write_deltalake(path, rows([9]))
    again = see(lake, restored.version)
    assert isinstance(again.version, DeltaVersion)
    assert (again.version.file, bool(again.news_at)) == (0, True)


def test_a_commit_made_by_the_emulator_reads_as_one(lake: OneLake) -> None:
    """What the demo writes is told apart as data and maintenance, too."""
    lake.append("ws", "lh", ORDERS.path)
    first = see(lake)
    lake.append("ws", "lh", ORDERS.path, data=False)
    second = see(lake, first.version)
    lake.append("ws", "lh", ORDERS.path)
    assert (bool(first.news_at), second.news_at, bool(see(lake, second.version).news_at)) == (True, None, True)
    lake.delete("ws/lh")
    assert see(lake, second.version).problem == GONE


def test_a_refused_token_is_renewed_once(lake: OneLake) -> None:
    """The call is sent again with a new one; a second refusal is a failure that renews itself."""
    lake.append("ws", "lh", ORDERS.path)
    tokens = Tokens("old", "good")
    assert isinstance(look(lake, tokens=tokens), Seen)
    assert tokens.returned == ["old"]
    failure = look(lake, tokens=Tokens("old"))
    assert isinstance(failure, Failure)
    assert failure.retry_safe


def test_errors_are_facts(lake: OneLake) -> None:
    """Throttled, down, forbidden with what to grant, no token, no time, nobody there."""
    for fault in (Throttle(), ServerError(500), Refuse("Forbidden")):
        lake.faults.add(fault, "look")
    throttled, down, denied = (look(lake) for _ in range(3))
    assert isinstance(throttled, Failure)
    assert throttled.kind is FailureKind.THROTTLED
    assert isinstance(down, Failure)
    assert down.retry_safe
    assert isinstance(denied, Failure)
    assert denied.permanent
    assert "OneLake data role" in denied.message
    assert look(lake, tokens=Tokens(denied)) == denied  # type: ignore[arg-type]  # a stub that issues one answer
    late = look(lake, left=1)
    assert isinstance(late, Failure)
    assert late.code == "NoTimeLeft"
    over = Sources(Tokens(), HandClock(), url=lake.url).look(ORDERS, Known({"": SourceMemory()}), ends_at=-1)
    assert over == late
    files = Sources(Tokens(), HandClock(), url=lake.url)
    assert _Until(files, lambda: True).list_files(ORDERS, "") == late
    lake.server.close()
    gone = look(lake)
    assert isinstance(gone, Failure)
    assert gone.retry_safe


def test_other_clouds_are_refused(lake: OneLake) -> None:
    """A group that cannot be looked at here says so."""
    failure = look(lake, group=GlueDatabase("1", "sales"))
    assert isinstance(failure, Failure)
    assert failure.permanent
