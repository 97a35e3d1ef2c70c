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

from shared.refresh.failure import Delivery, Failure, Fault
from shared.sources.groups import GlueDatabase, Group
from shared.sources.ports import NEVER, Known, Seen
from shared.sources.replies import Reply
from shared.targets import Target
from tests.simulation.platform import PlatformRun
from tests.simulation.scheduler import Scheduler
from tests.simulation.world import at

LATE = Failure("NoTimeLeft", "too late", Fault.NETWORK, Delivery.NOT_SENT, retry_safe=True)
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
    """The tables, and which of them each view reads.

    A history by hand has `before` called with "sources", "load" or "view" at the moment that such a call takes effect.
    `files`: what else a view names, which is no table. `restored`: the run whose result somebody brought back into a
    view, and the newest one then. `cut`: snapshots that lost the link to the one they replace.
    `hidden`: tables that a list leaves out. `claims`: ids that a view names whatever it read. `written_before`: seconds
    from the writing of a snapshot, by the writer's clock, to its commit.
    """

    scheduler: Scheduler
    views: dict[str, list[str]] = field(default_factory=dict)
    commits: dict[str, list[Commit]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    read: dict[str, dict[str, Commit]] = field(default_factory=dict)
    before: Callable[[str], None] = lambda _call: None
    files: dict[str, list[str]] = field(default_factory=dict)
    restored: dict[str, tuple[PlatformRun, PlatformRun]] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    claims: dict[str, list[int]] = field(default_factory=dict)
    written_before: float = 0.0
    _numbers: int = 0

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def commit(self, table: str) -> None:
        """New data."""
        content = self._next()
        self.commits.setdefault(table, []).append(Commit(self.scheduler.now, content, self._next(), "append"))

    def compact(self, table: str, *, expire: bool = False) -> None:
        """The same data in a new snapshot; the one before may expire in the same job."""
        before = self.commits[table][-1]
        commit = Commit(self.scheduler.now, before.content, self._next(), "replace", before.snapshot)
        self.commits[table].append(commit)
        if expire:
            self.expired.add(before.snapshot)

    def roll_back(self, table: str, back: int = 1) -> None:
        """An older snapshot is the current one again."""
        commits = [commit for commit in self.commits[table] if commit.snapshot not in self.expired]
        older = commits[max(0, len(commits) - 1 - back)]
        self.commits[table].append(
            Commit(self.scheduler.now, older.content, older.snapshot, "rollback", older.replaces)
        )

    def restore(self, older: PlatformRun, newest: PlatformRun) -> None:
        """Somebody brings back what an older run wrote into a view, until another run ends."""
        self.restored[newest.key] = (older, newest)

    def recreate(self, table: str) -> None:
        """Dropped, and made anew with data of its own."""
        self.ids[table] = f"uuid-{self._next()}"
        self.commit(table)

    def current(self, table: str, time: float | None = None) -> Commit:
        """What a table has, or had; its first content since ever, for a slow clock may prove a time before time 0."""
        moment = self.scheduler.now if time is None else time
        first, *later = self.commits[table]
        return [first, *(commit for commit in later if commit.time <= moment)][-1]

    def run_began(self, run: PlatformRun, view: str) -> None:
        """A run reads its sources when it is created."""
        self.read[run.run_id] = {table: self.current(table) for table in self.views[view]}

    def held(self, runs: list[PlatformRun]) -> tuple[PlatformRun, dict[str, Commit]] | None:
        """What a view holds: what the run read that wrote it last."""
        done = [run for run in runs if run.succeeded and run.ends <= self.scheduler.now]
        last = max(done, key=lambda run: (run.ends, run.number), default=None)
        instead, until = self.restored.get(last.key, (last, last)) if last else (None, None)
        last = instead if last is until else last
        return (last, self.read[last.run_id]) if last else None

    # --- What looks are told -----------------------------------------------------------------------------------------

    def listed(self, names: list[str], runs: Callable[[str], list[PlatformRun]]) -> dict[str, Any]:
        """GetTables."""
        tables = [self._table(name) for name in names if name in self.commits and name not in self.hidden]
        views = [self._view(name, runs(name)) for name in names if name in self.views]
        return {"TableList": tables + views}

    def _table(self, name: str) -> dict[str, Any]:
        stamp = at(float(int(self.current(name).time)))
        return {"Name": name, "UpdateTime": stamp, "Parameters": {"metadata_location": self._location(name)}}

    def _location(self, name: str) -> str:
        return f"s3://lake/{name}/{self.ids.get(name, '')}{len(self.commits[name])}.json"

    def _view(self, name: str, runs: list[PlatformRun]) -> dict[str, Any]:
        definition: dict[str, Any] = {
            "SubObjects": [*(ARN + table for table in self.views[name]), *self.files.get(name, ())]
        }
        held = self.held(runs)
        if held:
            run, read = held
            read_ids = sorted({commit.snapshot for commit in read.values()})
            ids = {"SubObjectVersionIds": self.claims.get(name, read_ids)}
            definition |= ids | {"ViewVersionId": run.number}
        return {"Name": name, "ViewDefinition": definition, "Parameters": {}}

    def _written_at(self, commit: Commit) -> int:
        """Milliseconds of the writer's clock, when it built the snapshot."""
        return int(at(commit.time - self.written_before).timestamp() * 1000)

    def metadata(self, name: str) -> bytes:
        """LoadTable."""
        commits = self.commits[name]
        made = {commit.snapshot: commit for commit in commits if commit.operation != "rollback"}
        snapshots = [
            {
                "snapshot-id": commit.snapshot,
                "summary": {"operation": commit.operation},
                **({} if commit.replaces is None or commit.snapshot in self.cut else _parent(commit.replaces)),
            }
            for commit in made.values()
            if commit.snapshot not in self.expired
        ]
        first = next((n + 1 for n in reversed(range(len(commits))) if commits[n].snapshot in self.expired), 0)
        log = [{"timestamp-ms": self._written_at(c), "snapshot-id": c.snapshot} for c in commits[first:]]
        metadata = {
            "table-uuid": self.ids.get(name, "first"),
            "current-snapshot-id": commits[-1].snapshot,
            "snapshots": snapshots,
            "snapshot-log": log,
        }
        return json.dumps({"metadata-location": self._location(name), "metadata": metadata}).encode()


def _parent(snapshot: int) -> dict[str, int]:
    return {"parent-snapshot-id": snapshot}


class LakeSources:
    """`Sources` as one worker has it: each call takes effect at its time, and may be late, lost or refused."""

    def __init__(self, worker: Any, lake: Lake, targets: Mapping[str, Target], core: Any) -> None:
        self._worker, self._lake, self._core = worker, lake, core
        self._keys = {target.name: key for key, target in targets.items()}

    def look(self, group: Group, known: Known, *, ends_at: float = NEVER) -> Seen | Failure:
        """By the shipped driver, or the copy of it that is under test."""
        self._ends_at = ends_at
        assert isinstance(group, GlueDatabase)
        found: Seen | Failure = self._core.catalog.look_at_database(group, known, self)
        return found

    def _runs(self, view: str) -> list[PlatformRun]:
        return self._worker.service.runs.get(self._keys[view], [])

    def get_tables(self, parameters: Mapping[str, Any]) -> Reply[Mapping[str, Any]] | Failure:
        """GetTables."""
        names = parameters["Expression"].split("|")
        call = "view" if self._lake.views.keys() >= set(names) else "sources"
        return self._ask(call, lambda: self._lake.listed(names, self._runs))

    def load_table(self, path: str) -> Reply[bytes] | Failure:
        """LoadTable."""
        return self._ask("load", lambda: self._lake.metadata(path.rpartition("/")[2]))

    def _ask(self, call: str, make: Callable[[], Any]) -> Any:
        worker = self._worker
        if worker.monotonic() > self._ends_at:
            return LATE
        worker.calls -= 1  # only calls that start or follow runs must be few
        asked_at, began = worker.now(), worker.monotonic()

        def take_effect() -> tuple[float, Any]:
            self._lake.before(call)
            return worker.scheduler.now, make()

        found = worker.call_platform("look", take_effect)
        if isinstance(found, Failure):
            return found
        answered, body = found
        headers = {"Date": format_datetime(at(float(int(answered))), usegmt=True)}
        return self._core.replies.Reply(
            body, asked_at, worker.now(), timedelta(seconds=worker.monotonic() - began), headers=headers
        )
