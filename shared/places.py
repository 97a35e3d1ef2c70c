"""Where targets listen and write: sources and outputs by place, so that an event finds its targets by hash.

The configuration makes these indexes once; `inbound.routing` looks arrivals up in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

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

K = TypeVar("K")
T = TypeVar("T")

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


class Listeners(NamedTuple):
    """The sources of one place, by their affixes, which `order` has sorted; `lengths` are those of both, each once."""

    lengths: tuple[tuple[int, int], ...]
    found: Mapping[Affixes, tuple[Listener, ...]]
    order: Sequence[Affixes]


def listeners(targets: Iterable[Target]) -> Mapping[Place, Listeners]:
    """Index the sources of all targets by their place; an Iceberg table that is only looked at has no events."""
    places = _grouped(
        (place_of(source), Listener(position, source, target, extra_lag(source, target), _is_looked_at(source, target)))
        for position, target in enumerate(targets)
        for source in target.on
        if not isinstance(source, IcebergChanged)
    )
    return {place: _by_affixes(listening) for place, listening in places.items()}


def _by_affixes(listening: Iterable[Listener]) -> Listeners:
    found = _grouped((_affixes(listener.source), listener) for listener in listening)
    return Listeners(tuple({(len(prefix), len(suffix)) for prefix, suffix in found}), found, sorted(found))


def by_output(targets: Iterable[Target]) -> Mapping[Place, tuple[Target, ...]]:
    """Index the targets by the table or the item that they refresh."""
    return _grouped((output_of(target.resource), target) for target in targets)


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


def _grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, tuple[T, ...]]:
    groups: dict[K, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
