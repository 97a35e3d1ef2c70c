"""Whom it concerns: which targets an arrival signals, and which the end of a run is about.

Nothing is decoded or normalised but what the platforms themselves do not tell apart: Glue folds the names of databases
and tables to lower case when it stores them (Glue API, DatabaseInput and TableInput), and UUIDs have no case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from shared.model import (
    Arrival,
    BlobArrived,
    BlobCreated,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    JobSucceeded,
    ObjectArrived,
    OneLakeArrived,
    OneLakeChanged,
    Resource,
    S3ObjectCreated,
    Source,
    TableChanged,
    Target,
)
from shared.readings import FabricRunEnded, GlueRunEnded

if TYPE_CHECKING:
    from shared.config import Configuration

T = TypeVar("T")

LONGEST_REASON = 120
"""Characters of a reason. A record keeps a few of them, and must stay small."""

Place = tuple[str, ...]
"""Where something arrives or is written, as a key to look up by: a bucket, a table, a job, a container, an item."""

Listeners = Mapping[Place, tuple[tuple[Source, Target], ...]]
"""By place: the sources that name it, each with its target."""


def targets_of(arrival: Arrival, configuration: Configuration) -> tuple[Target, ...]:
    """The targets that an arrival signals, in the order of the configuration; never one whose own output it is."""
    found = {
        target.name: target
        for source, target in configuration.listeners.get(place_of(arrival), ())
        if _names(source, arrival) and not _is_output(arrival, target.resource)
    }
    return tuple(found.values())


def ended(reading: GlueRunEnded | FabricRunEnded, configuration: Configuration) -> tuple[Target, ...]:
    """The targets that a run which ended may be about: Glue's event names no catalog, Fabric's no job of ours."""
    place = (
        _table(reading.database, reading.table)
        if isinstance(reading, GlueRunEnded)
        else _item(reading.workspace, reading.item)
    )
    return configuration.by_output.get(place, ())


def reason(arrival: Arrival) -> str:
    """A few words for people, such as `s3://landing/orders/x.parquet` or `table sales.orders changed`."""
    return printable(_words(arrival), LONGEST_REASON)


def printable(text: str, longest: int) -> str:
    """The text on one line, with what would not print escaped, cut to `longest` characters."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def listeners(targets: Iterable[Target]) -> Listeners:
    """Index the sources of all targets by their place; an Iceberg table that is only looked at has no events."""
    return _grouped(
        (place_of(source), (source, target))
        for target in targets
        for source in target.on
        if not isinstance(source, IcebergChanged)
    )


def by_output(targets: Iterable[Target]) -> Mapping[Place, tuple[Target, ...]]:
    """Index the targets by the table or the item that they refresh."""
    return _grouped((output_of(target.resource), target) for target in targets)


def place_of(thing: Source | Arrival) -> Place:
    """Where a source listens, and likewise where an arrival happened."""
    match thing:
        case S3ObjectCreated() | ObjectArrived():
            return ("bucket", thing.bucket)
        case GlueTableChanged() | TableChanged() | IcebergChanged():
            return _table(thing.database, thing.table)
        case GlueJobSucceeded() | JobSucceeded():
            return ("job", thing.job)
        case BlobCreated() | BlobArrived():
            return ("container", thing.account, thing.container)
    return _item(thing.workspace, thing.item)


def output_of(resource: Resource) -> Place:
    """The table or the item that a refresh writes."""
    if isinstance(resource, GlueView):
        return _table(resource.database, resource.table)
    return _item(resource.workspace, resource.item if isinstance(resource, ItemJob) else resource.lakehouse)


def _words(arrival: Arrival) -> str:
    match arrival:
        case ObjectArrived():
            return f"s3://{arrival.bucket}/{arrival.key}"
        case TableChanged():
            return f"table {arrival.database}.{arrival.table} changed"
        case JobSucceeded():
            return f"job {arrival.job} succeeded"
        case BlobArrived():
            return f"blob {arrival.account}/{arrival.container}/{arrival.path}"
    return f"{arrival.path} in item {arrival.item}"


def _table(database: str, table: str) -> Place:
    return ("table", database.lower(), table.lower())


def _item(workspace: str, item: str) -> Place:
    return ("item", workspace.lower(), item.lower())


def _names(source: Source, arrival: Arrival) -> bool:
    """Whether the source means this arrival, of the two being at the same place."""
    match source, arrival:
        case S3ObjectCreated(), ObjectArrived():
            return arrival.key.startswith(source.prefix) and arrival.key.endswith(source.suffix)
        case BlobCreated(), BlobArrived():
            return arrival.path.startswith(source.prefix) and arrival.path.endswith(source.suffix)
        case OneLakeChanged(), OneLakeArrived():
            return f"{arrival.path}/".startswith(f"{source.path.rstrip('/')}/")
    return True


def _is_output(arrival: Arrival, resource: Resource) -> bool:
    """Whether a refresh of the resource itself may have caused the arrival (rule 11)."""
    match arrival, resource:
        case ObjectArrived(), GlueView(location=location) if location:
            return f"s3://{arrival.bucket}/{arrival.key}".startswith(location)
        case TableChanged(), GlueView():
            return place_of(arrival) == output_of(resource)
    return False


def _grouped(pairs: Iterable[tuple[Place, T]]) -> dict[Place, tuple[T, ...]]:
    groups: dict[Place, list[T]] = {}
    for place, value in pairs:
        groups.setdefault(place, []).append(value)
    return {place: tuple(values) for place, values in groups.items()}
