"""The memory of each source: the record of a group, in the same store and the same due index as the targets'.

    {"format": 2, "record": {"sources": {"orders": {...}}, "views": {"daily": {...}}, ...}}

A release that knows no groups would take the key for a target that its configuration no longer names; the record has
no member of a target's that it would clear, and a format that it leaves alone.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from shared.refresh import records
from shared.refresh.ports import Store
from shared.sources.groups import Group
from shared.values import Value

IDS_KEPT = 20
"""Iceberg snapshots that hold the same data, remembered of one source: a compaction an hour for most of a day."""


class IcebergVersion(Value, frozen=True, tag="iceberg", tag_field="format"):
    """The version of an Iceberg table, as far as looks have shown it."""

    location: str
    """Where the table's metadata file lies."""
    uuid: str = ""
    """The table's own id, by its metadata; another one is another table."""
    ids: tuple[int, ...] = ()
    """Snapshots that hold the same data, the current one first; none for a table without a snapshot."""
    log_entry: tuple[int, int] | None = None
    """The last line of `snapshot-log`: its time in ms, its snapshot."""
    stamp: datetime | None = None
    """When the table changed last, as the catalog says: `UpdateTime` of Glue, `modifiedAt` of S3 Tables."""
    settled: bool = True
    """The stamp was old enough when it was read that no later version can have the same one."""


class DeltaVersion(Value, frozen=True, tag="delta", tag_field="format"):
    """The version of a Delta table, as far as looks have shown it."""

    file: int
    """The number of the newest log file seen."""
    etag: str = ""
    """The tag of that file."""
    shape: str = ""
    """A digest of the table's id, schema and partitioning; empty until a commit showed them."""
    data: int = -1
    """The number of the newest commit that changed data; -1 while none is known."""


Version = IcebergVersion | DeltaVersion


class SourceMemory(Value, frozen=True):
    """The memory of one source."""

    readers: tuple[str, ...] = ()
    """Keys of the targets that read the source."""
    version: Version | None = None
    """The version that was seen last; None until one was."""
    when: datetime | None = None
    """The moment before the request that an answer was last given to."""
    since: datetime | None = None
    """When the data that the source has now came."""
    shown_at: datetime | None = None
    """The moment of the first answer that showed that data."""
    problem: str = ""
    """Why there is no answer; empty while there is one."""


class ViewMemory(Value, frozen=True):
    """The sources that a view named when it was last seen: those that can be looked at, and the rest."""

    sources: tuple[str, ...] = ()
    """Sources that can be looked at, as keys of groups with names."""
    unreadable: tuple[str, ...] = ()
    """The rest, as the view names them."""
    when: datetime | None = None
    """The moment before the request whose answer named them."""


class GroupRecord(Value, frozen=True):
    """The memory of a group: its sources, its views, and the looks at it."""

    sources: dict[str, SourceMemory] = msgspec.field(default_factory=dict)
    """The group's sources by name."""
    views: dict[str, ViewMemory] = msgspec.field(default_factory=dict)
    """The group's views by name."""
    edition: int = 0
    """The number of the last edition (rule 12) of which a target was enrolled: only later ones may look or forget."""
    doublings: int = 0
    """How often the interval between looks was doubled."""
    throttled_at: datetime | None = None
    """When the interval was doubled last."""
    due_at: datetime | None = None
    """When to look again, as the index has it."""
    problem: str = ""
    """Why the last look failed; empty where it did not."""
    failing_since: datetime | None = None
    """Since when looks have failed."""

    def __hash__(self) -> int:
        """Hash the fields that are no mappings."""
        return hash((self.doublings, self.throttled_at, self.problem, self.failing_since))


def version_of(memory: SourceMemory) -> str:
    """A source's version as people are shown it: a snapshot's id, or the number of a Delta version."""
    match memory.version:
        case IcebergVersion(ids=(current, *_)):
            return str(current)
        case DeltaVersion(data=data) if data >= 0:
            return str(data)
        case _:
            return ""


def read_group(body: bytes) -> GroupRecord:
    """The record of a group; an absent one is a group of which nothing is known."""
    return records.read_as(body, GroupRecord) if body else GroupRecord()


def read_groups(store: Store, groups: Collection[Group]) -> dict[Group, GroupRecord]:
    """Read the records of several groups, in one read of many; the store is not asked for none."""
    ordered = sorted(groups, key=lambda group: group.key)
    documents = store.load_many([group.key for group in ordered]) if ordered else ()
    return {group: read_group(document.body) for group, document in zip(ordered, documents, strict=True)}


def write_group(record: GroupRecord) -> bytes:
    """The bytes of the record of a group."""
    return records.write(record)
