"""Where targets listen and write: sources and outputs by place, so that an event finds its targets by hash.

The configuration makes these indexes once; `inbound.routing` looks arrivals up in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    OneLakeChanged,
    Resource,
    S3ObjectCreated,
    Source,
    Target,
    extra_lag,
)

Place = tuple[str, ...]
"""Where something arrives or is written, as a key to look up by: a bucket, a table, a job, a container, an item."""


class Listener(NamedTuple):
    """A source of a target, which listens for arrivals there."""

    position: int
    """Where the target stands in the configuration."""
    source: Source
    target: Target
    lag: timedelta
    """How much longer the visibility lag of this source is than the target's."""
    looked: bool
    """Whether a look can tell later if a run read what an event of this source tells of."""


Affixes = tuple[str, str]
"""Prefix and suffix of a source; both empty where it means all that arrives at its place."""


class Listeners:
    """The sources of one place, by their affixes."""

    def __init__(self, found: Mapping[Affixes, Sequence[Listener]]) -> None:
        self.found = found
        self.lengths = tuple({(len(prefix), len(suffix)) for prefix, suffix in found})

    @cached_property
    def order(self) -> Sequence[Affixes]:
        """The affixes, sorted: only what arrives as a whole folder is looked up in an order."""
        return sorted(self.found)


def listeners(targets: Iterable[Target]) -> Mapping[Place, Listeners]:
    """Index the sources of all targets by their place; an Iceberg table that is only looked at has no events."""
    places: dict[Place, dict[Affixes, list[Listener]]] = {}
    for position, target in enumerate(targets):
        for source in target.on:
            if not isinstance(source, IcebergChanged):
                lag, looked = extra_lag(source, target), _is_looked_at(source, target)
                found = places.setdefault(place_of(source), {}).setdefault(_affixes(source), [])
                found.append(Listener(position, source, target, lag, looked))
    return {place: Listeners(found) for place, found in places.items()}


def by_output(targets: Iterable[Target]) -> Mapping[Place, Sequence[Target]]:
    """Index the targets by the table or the item that they refresh."""
    found: dict[Place, list[Target]] = {}
    for target in targets:
        found.setdefault(output_of(target.resource), []).append(target)
    return found


def place_of(source: Source) -> Place:
    """Where a source listens."""
    match source:
        case S3ObjectCreated():
            return ("bucket", source.bucket)
        case GlueTableChanged() | IcebergChanged():
            return table_place(source.database, source.table)
        case GlueJobSucceeded():
            return ("job", source.job)
        case BlobCreated():
            return ("container", source.account, source.container)
    return item_place(source.workspace, source.item)


def output_of(resource: Resource) -> Place:
    """The table or the item that a refresh writes."""
    if isinstance(resource, GlueView):
        return table_place(resource.database, resource.table)
    return item_place(resource.workspace, resource.item if isinstance(resource, ItemJob) else resource.lakehouse)


def table_place(database: str, table: str) -> Place:
    """The place of a table of Glue, which folds names to lower case when it stores them."""
    return ("table", database.lower(), table.lower())


def item_place(workspace: str, item: str) -> Place:
    """The place of an item of Fabric, whose UUIDs have no case."""
    return ("item", workspace.lower(), item.lower())


def _is_looked_at(source: Source, target: Target) -> bool:
    """Whether a look can tell later if a run read what an event of this source tells of: a table in OneLake."""
    return target.policy.look is not None and isinstance(source, OneLakeChanged) and source.is_table


def _affixes(source: Source) -> tuple[str, str]:
    """The beginning and the end of the keys of arrivals that a source means."""
    match source:
        case S3ObjectCreated() | BlobCreated():
            return source.prefix, source.suffix
        case OneLakeChanged():
            return f"{source.path.rstrip('/')}/", ""
    return "", ""
