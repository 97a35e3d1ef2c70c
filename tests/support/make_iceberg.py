"""Makes `tests/golden/iceberg`: metadata that PyIceberg 0.12 wrote, with the answer that each must give beside it.

    python -m tests.golden.make_iceberg [case ...]

A case tells a story of commits. `known.json` is the metadata that the look before saw, where there was one, and
`metadata.json` what this look sees. The answers come from the story, not from our code: the story knows which commits
changed data, and PyIceberg's own objects know the ids.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from moto import mock_aws
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.schema import Schema
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.types import LongType, NestedField

HERE = Path(__file__).parent / "iceberg"
SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


class MemoryIO(FsspecFileIO):
    """Files in memory, whatever their scheme, so that no path of a machine gets into the metadata."""

    def get_fs(self, scheme: str, hostname: str | None = None) -> Any:
        """The one file system."""
        return fsspec.filesystem("memory")


class _Replace(_OverwriteFiles):
    """What PyIceberg offers no method for: a snapshot that changes no data."""

    def _summary(self, snapshot_properties: dict[str, str] = {}) -> Summary:  # noqa: B006 - the interface
        made = super()._summary(snapshot_properties)
        return Summary(operation=Operation.REPLACE, **made.additional_properties)


class Story:
    """One table, and what a person would say of its commits."""

    def __init__(self, catalog: GlueCatalog, name: str) -> None:
        self.catalog = catalog
        self.table: Table = catalog.create_table(f"sales.{name}", SCHEMA)
        self.known: Table | None = None

    def _snapshot(self) -> int:
        self.table = self.catalog.load_table(self.table.name())
        snapshot = self.table.current_snapshot()
        assert snapshot
        return snapshot.snapshot_id

    def append(self, branch: str = "main") -> int:
        """A commit with data; without files, which nobody reads here."""
        with self.table.transaction() as transaction, transaction.update_snapshot(branch=branch).fast_append():
            pass
        return self._snapshot() if branch == "main" else 0

    def overwrite(self, operation: Operation = Operation.OVERWRITE) -> int:
        """A commit that puts other data in the place of some."""
        with self.table.transaction() as transaction:
            _OverwriteFiles(operation, transaction, self.table.io).commit()
        return self._snapshot()

    def replace(self) -> int:
        """A compaction."""
        with self.table.transaction() as transaction:
            _Replace(Operation.OVERWRITE, transaction, self.table.io).commit()
        return self._snapshot()

    def expire(self, *snapshots: int) -> None:
        """Snapshots are forgotten."""
        self.table.maintenance.expire_snapshots().by_ids(list(snapshots)).commit()
        self.table = self.catalog.load_table(self.table.name())

    def set_current(self, snapshot: int) -> None:
        """The table is set to an older or another snapshot."""
        self.table.manage_snapshots().set_current_snapshot(snapshot).commit()
        self.table = self.catalog.load_table(self.table.name())

    def set_property(self) -> None:
        """A commit without a snapshot."""
        with self.table.transaction() as transaction:
            transaction.set_properties({"owner": "sales"})
        self.table = self.catalog.load_table(self.table.name())

    def looked(self) -> None:
        """The look before this one was here."""
        self.known = self.catalog.load_table(self.table.name())


Answer = dict[str, Any]


def empty(_: Story) -> Answer:
    """A new table has no snapshot; to be seen for the first time is news all the same."""
    return {"news": True, "ids": []}


def empty_still(story: Story) -> Answer:
    """A property of an empty table changed: no news."""
    story.looked()
    story.set_property()
    return {"news": False, "ids": []}


def append(story: Story) -> Answer:
    """Seen for the first time."""
    return {"news": True, "ids": [story.append()]}


def first_append(story: Story) -> Answer:
    """The first snapshot of a table that was known as empty."""
    story.looked()
    return {"news": True, "ids": [story.append()]}


def append_again(story: Story) -> Answer:
    """Another append."""
    story.append()
    story.looked()
    return {"news": True, "ids": [story.append()]}


def overwrite(story: Story) -> Answer:
    """An overwrite changes data."""
    story.append()
    story.looked()
    return {"news": True, "ids": [story.overwrite()]}


def delete(story: Story) -> Answer:
    """A delete changes data."""
    story.append()
    story.looked()
    return {"news": True, "ids": [story.overwrite(Operation.DELETE)]}


def replace(story: Story) -> Answer:
    """A compaction is no news, and the view may have read either."""
    first = story.append()
    story.looked()
    return {"news": False, "ids": [story.replace(), first]}


def replace_twice(story: Story) -> Answer:
    """Two compactions between two looks."""
    first = story.append()
    story.looked()
    second = story.replace()
    return {"news": False, "ids": [story.replace(), second, first]}


def replace_first_seen(story: Story) -> Answer:
    """A compaction seen at the first look: the ids before it count for proofs."""
    first = story.append()
    return {"news": True, "ids": [story.replace(), first]}


def append_then_replace(story: Story) -> Answer:
    """Data, compacted before anybody looked."""
    story.append()
    story.looked()
    second = story.append()
    return {"news": True, "ids": [story.replace(), second]}


def replace_then_append(story: Story) -> Answer:
    """Data after a compaction."""
    story.append()
    story.looked()
    story.replace()
    return {"news": True, "ids": [story.append()]}


def replace_parent_expired(story: Story) -> Answer:
    """Compaction and expiry in one job: PyIceberg cuts the link to the expired parent, so it is taken for news."""
    first = story.append()
    story.looked()
    second = story.replace()
    story.expire(first)
    return {"news": True, "ids": [second]}


def known_expired(story: Story) -> Answer:
    """The snapshot that is known expired after data came."""
    first = story.append()
    story.looked()
    second = story.append()
    story.expire(first)
    return {"news": True, "ids": [second]}


def older_expired(story: Story) -> Answer:
    """Older snapshots expired; the current one is the same."""
    first = story.append()
    second = story.append()
    story.looked()
    story.expire(first)
    return {"news": False, "ids": [second]}


def rolled_back(story: Story) -> Answer:
    """Set back to what was before."""
    first = story.append()
    story.append()
    story.looked()
    story.set_current(first)
    return {"news": True, "ids": [first]}


def there_and_back(story: Story) -> Answer:
    """A commit that was rolled back between two looks: a view may have read it."""
    first = story.append()
    story.looked()
    story.append()
    story.set_current(first)
    return {"news": True, "ids": [first]}


def back_and_there(story: Story) -> Answer:
    """An older version came and went between two looks."""
    first = story.append()
    second = story.append()
    story.looked()
    story.set_current(first)
    story.set_current(second)
    return {"news": True, "ids": [second]}


def replaced_and_back(story: Story) -> Answer:
    """A compaction that was rolled back held the same data all the time."""
    first = story.append()
    story.looked()
    second = story.replace()
    story.set_current(first)
    return {"news": False, "ids": [first], "not_known": second}


def property_changed(story: Story) -> Answer:
    """Other metadata, the same data."""
    first = story.append()
    story.looked()
    story.set_property()
    return {"news": False, "ids": [first]}


def branch_only(story: Story) -> Answer:
    """A commit to another branch does not concern who reads the table."""
    first = story.append()
    story.table.manage_snapshots().create_branch(first, "audit").commit()
    story.table = story.catalog.load_table(story.table.name())
    story.looked()
    story.append(branch="audit")
    return {"news": False, "ids": [first]}


def branch_and_main(story: Story) -> Answer:
    """Commits to both."""
    first = story.append()
    story.table.manage_snapshots().create_branch(first, "audit").commit()
    story.table = story.catalog.load_table(story.table.name())
    story.looked()
    story.append(branch="audit")
    return {"news": True, "ids": [story.append()]}


def two_in_one_commit(story: Story) -> Answer:
    """One transaction with two snapshots."""
    story.append()
    story.looked()
    with story.table.transaction() as transaction:
        _OverwriteFiles(Operation.DELETE, transaction, story.table.io).commit()
        with transaction.update_snapshot().fast_append():
            pass
    return {"news": True, "ids": [story._snapshot()]}


def recreated(story: Story) -> Answer:
    """Dropped and made anew under the same name."""
    story.append()
    story.looked()
    name = story.table.name()
    story.catalog.drop_table(name)
    story.table = story.catalog.create_table(name, SCHEMA)
    return {"news": True, "ids": [story.append()]}


def recreated_empty(story: Story) -> Answer:
    """Dropped and made anew, without data yet."""
    story.append()
    story.looked()
    name = story.table.name()
    story.catalog.drop_table(name)
    story.table = story.catalog.create_table(name, SCHEMA)
    return {"news": True, "ids": []}


def replaced_30_times(story: Story) -> Answer:
    """More compactions than ids are remembered: the current ones and the first are kept."""
    first = story.append()
    story.looked()
    ids = [story.replace() for _ in range(30)]
    return {"news": False, "ids": [*reversed(ids[-19:]), first]}


def snapshots_5000(story: Story) -> Answer:
    """As many snapshots as a table gets that nobody expires, made by PyIceberg's model: commits take hours."""
    last = story.append()
    metadata = story.table.metadata
    snapshots, log = list(metadata.snapshots), list(metadata.snapshot_log)
    for number in range(1, 5000):
        snapshot = snapshots[-1].model_copy(
            update={
                "snapshot_id": last + number,
                "parent_snapshot_id": snapshots[-1].snapshot_id,
                "sequence_number": number + 1,
                "timestamp_ms": snapshots[-1].timestamp_ms + 1000,
            }
        )
        snapshots.append(snapshot)
        log.append(log[-1].model_copy(update={"snapshot_id": last + number, "timestamp_ms": snapshot.timestamp_ms}))
    refs = {"main": metadata.refs["main"].model_copy(update={"snapshot_id": snapshots[-1].snapshot_id})}
    update = {"snapshots": snapshots, "snapshot_log": log, "refs": refs}
    made = metadata.model_copy(update={**update, "current_snapshot_id": snapshots[-1].snapshot_id})
    ToOutputFile.table_metadata(made, story.table.io.new_output(story.table.metadata_location), overwrite=True)
    return {"news": True, "ids": [snapshots[-1].snapshot_id]}


STORIES: tuple[Callable[[Story], Answer], ...] = (
    empty, empty_still, append, first_append, append_again, overwrite, delete, replace, replace_twice,
    replace_first_seen, append_then_replace, replace_then_append, replace_parent_expired, known_expired, older_expired,
    rolled_back, there_and_back, back_and_there, replaced_and_back, property_changed, branch_only, branch_and_main,
    two_in_one_commit, recreated, recreated_empty, replaced_30_times, snapshots_5000,
)  # fmt: skip


def write(folder: Path, name: str, table: Table) -> None:
    """What `loadTable` would answer of a table: the metadata file as PyIceberg wrote it, and where it lies."""
    metadata = table.io.new_input(table.metadata_location).open().read().decode()
    text = f'{{"metadata-location":"{table.metadata_location}","metadata":{metadata}}}'
    json.loads(text)
    if len(text) > 100_000:
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        (folder / name).write_text(text, encoding="utf-8")


@mock_aws
def main(cases: list[str]) -> None:
    """Make all cases, or those that are named."""
    settings = {"py-io-impl": "tests.support.make_iceberg.MemoryIO", "warehouse": "s3://lake"}
    settings |= {"client.region": "eu-central-1", "client.access-key-id": "testing"}
    settings |= {"client.secret-access-key": "testing"}
    catalog = GlueCatalog("glue", **settings)
    catalog.create_namespace("sales")
    for tell in STORIES:
        name = tell.__name__
        if cases and name not in cases:
            continue
        story = Story(catalog, name)
        answer = {"says": tell.__doc__, **tell(story)}
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if story.known:
            write(folder, "known.json", story.known)
        write(folder, "metadata.json", catalog.load_table(f"sales.{name}"))
        (folder / "expected.json").write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
