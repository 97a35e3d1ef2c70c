"""Tables that views read, in a simulated cloud: their commits, what each run read of them, and what looks are told.

content     1 ---- 2 ---- 2 ------ 1 ------ 3
commit      data   data   compact  rollback data        each with a snapshot of its own
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from shared.refresh.failure import Failure
from shared.sources.groups import GlueDatabase, Group
from shared.sources.ports import Known, Seen
from shared.sources.replies import Reply
from shared.targets import Target
from tests.simulation.platform import PlatformRun
from tests.simulation.scheduler import Hub
from tests.simulation.world import at

ARN = "arn:aws:glue:r:123456789012:table/sales/"


@dataclass(frozen=True, slots=True)
class Commit:
    """One state of a table: since when, with which content and snapshot, and the snapshot that it replaces, if any."""

    time: float
    content: int
    snapshot: int
    operation: str
    replaces: int | None = None


@dataclass
class Lake:
    """The tables, and which of them each view reads."""

    hub: Hub
    views: dict[str, list[str]] = field(default_factory=dict)
    commits: dict[str, list[Commit]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    read: dict[str, dict[str, Commit]] = field(default_factory=dict)
    _numbers: int = 0

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def commit(self, table: str) -> None:
        """New data."""
        content = self._next()
        self.commits.setdefault(table, []).append(Commit(self.hub.now, content, self._next(), "append"))

    def compact(self, table: str, *, expire: bool = False) -> None:
        """The same data in a new snapshot; the one before may expire in the same job."""
        before = self.commits[table][-1]
        commit = Commit(self.hub.now, before.content, self._next(), "replace", before.snapshot)
        self.commits[table].append(commit)
        if expire:
            self.expired.add(before.snapshot)

    def roll_back(self, table: str, back: int = 1) -> None:
        """An older snapshot is the current one again."""
        commits = [commit for commit in self.commits[table] if commit.snapshot not in self.expired]
        older = commits[max(0, len(commits) - 1 - back)]
        self.commits[table].append(Commit(self.hub.now, older.content, older.snapshot, "rollback", older.replaces))

    def recreate(self, table: str) -> None:
        """Dropped, and made anew with data of its own."""
        self.ids[table] = f"uuid-{self._next()}"
        self.commit(table)

    def current(self, table: str, time: float | None = None) -> Commit:
        """What a table has, or had."""
        moment = self.hub.now if time is None else time
        return [commit for commit in self.commits[table] if commit.time <= moment][-1]

    def run_began(self, run: PlatformRun, view: str) -> None:
        """A run reads its sources when it is created."""
        self.read[run.run_id] = {table: self.current(table) for table in self.views[view]}

    def held(self, runs: list[PlatformRun]) -> tuple[PlatformRun, dict[str, Commit]] | None:
        """What a view holds: what the run read that wrote it last."""
        done = [run for run in runs if run.succeeded and run.ends <= self.hub.now]
        last = max(done, key=lambda run: (run.ends, run.number), default=None)
        return (last, self.read[last.run_id]) if last else None

    # --- What looks are told -----------------------------------------------------------------------------------------

    def listed(self, names: list[str], runs: Callable[[str], list[PlatformRun]]) -> dict[str, Any]:
        """GetTables."""
        tables = [self._table(name) for name in names if name in self.commits]
        views = [self._view(name, runs(name)) for name in names if name in self.views]
        return {"TableList": tables + views}

    def _table(self, name: str) -> dict[str, Any]:
        stamp = at(float(int(self.current(name).time)))
        return {"Name": name, "UpdateTime": stamp, "Parameters": {"metadata_location": self._location(name)}}

    def _location(self, name: str) -> str:
        return f"s3://lake/{name}/{self.ids.get(name, '')}{len(self.commits[name])}.json"

    def _view(self, name: str, runs: list[PlatformRun]) -> dict[str, Any]:
        definition: dict[str, Any] = {"SubObjects": [ARN + table for table in self.views[name]]}
        held = self.held(runs)
        if held:
            run, read = held
            ids = {"SubObjectVersionIds": sorted({commit.snapshot for commit in read.values()})}
            definition |= ids | {"ViewVersionId": run.number}
        return {"Name": name, "ViewDefinition": definition, "Parameters": {}}

    def metadata(self, name: str) -> bytes:
        """LoadTable."""
        commits = self.commits[name]
        made = {commit.snapshot: commit for commit in commits if commit.operation != "rollback"}
        snapshots = [
            {
                "snapshot-id": commit.snapshot,
                "summary": {"operation": commit.operation},
                **({} if commit.replaces is None else {"parent-snapshot-id": commit.replaces}),
            }
            for commit in made.values()
            if commit.snapshot not in self.expired
        ]
        first = next((n + 1 for n in reversed(range(len(commits))) if commits[n].snapshot in self.expired), 0)
        log = [{"timestamp-ms": int(c.time * 1000), "snapshot-id": c.snapshot} for c in commits[first:]]
        metadata = {
            "table-uuid": self.ids.get(name, "first"),
            "current-snapshot-id": commits[-1].snapshot,
            "snapshots": snapshots,
            "snapshot-log": log,
        }
        return json.dumps({"metadata-location": self._location(name), "metadata": metadata}).encode()


class LakeSources:
    """`Sources` as one worker has it: each call takes effect at its time, and may be late, lost or refused."""

    def __init__(self, worker: Any, lake: Lake, targets: Mapping[str, Target], core: Any) -> None:
        self._worker, self._lake, self._core = worker, lake, core
        self._keys = {target.name: key for key, target in targets.items()}

    def look(self, group: Group, known: Known) -> Seen | Failure:
        """By the shipped driver, or the copy of it that is under test."""
        assert isinstance(group, GlueDatabase)
        found: Seen | Failure = self._core.catalog.look_at_database(group, known, self)
        return found

    def _runs(self, view: str) -> list[PlatformRun]:
        return self._worker.service.runs.get(self._keys[view], [])

    def get_tables(self, parameters: Mapping[str, Any]) -> Reply[Mapping[str, Any]] | Failure:
        """GetTables."""
        names = parameters["Expression"].split("|")
        return self._ask(lambda: self._lake.listed(names, self._runs))

    def load_table(self, path: str) -> Reply[bytes] | Failure:
        """LoadTable."""
        return self._ask(lambda: self._lake.metadata(path.rpartition("/")[2]))

    def _ask(self, make: Callable[[], Any]) -> Any:
        worker = self._worker
        worker.calls -= 1  # only calls that start or follow runs must be few
        asked_at, began = worker.now(), worker.monotonic()
        found = worker.call_platform("look", lambda: (worker.hub.now, make()))
        if isinstance(found, Failure):
            return found
        answered, body = found
        headers = {"Date": format_datetime(at(float(int(answered))), usegmt=True)}
        return self._core.replies.Reply(
            body, asked_at, worker.now(), timedelta(seconds=worker.monotonic() - began), headers=headers
        )
