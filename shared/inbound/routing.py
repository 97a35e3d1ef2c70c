"""Whom it concerns: which targets an arrival signals, and which the end of a run is about.

The sources of one place, such as a bucket, are found by what their prefixes and suffixes say, by hash, so that an event
costs as many look-ups as these have different lengths, however many targets there are. Nothing is decoded or normalised
but what the platforms themselves do not tell apart: Glue folds the names of databases and tables to lower case when it
stores them (Glue API, DatabaseInput and TableInput), and UUIDs have no case.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from shared.inbound.arrivals import Arrival, BlobArrived, JobSucceeded, ObjectArrived, OneLakeArrived, TableChanged
from shared.inbound.messages import FabricRunEnded, GlueRunEnded
from shared.redaction import printable
from shared.refresh.state import Signal
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

if TYPE_CHECKING:
    from shared.config.load import Configuration

K = TypeVar("K")
T = TypeVar("T")

LONGEST_REASON = 120
"""Characters of a reason. A record keeps a few of them, and must stay small."""

Place = tuple[str, ...]
"""Where something arrives or is written, as a key to look up by: a bucket, a table, a job, a container, an item."""

TEMPORARY = "/_temporary/"
"""A folder in which Hadoop's committers keep what no reader reads until they rename it (FileOutputCommitter)."""


class Listener(NamedTuple):
    """One source of one target."""

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


def signals_of(arrival: Arrival, configuration: Configuration) -> tuple[tuple[Target, Signal], ...]:
    """The targets that an arrival signals, in the order of the configuration; never one whose own output it is.

    Where several sources of a target fit, the signal has the longest of their visibility lags, and counts as looked at
    only if each of them is: a look must be able to tell of all that the arrival may mean.
    """
    place = configuration.listeners.get(place_of(arrival))
    found: dict[int, tuple[Target, timedelta, bool]] = {}
    for position, _, target, lag, looked in _listeners_to(arrival, place) if place else ():
        if not _is_output(arrival, target.resource):
            _, longest, all_looked = found.get(position, (target, lag, True))
            found[position] = target, max(lag, longest), all_looked and looked
    if not found:
        return ()
    words = reason(arrival)
    return tuple(
        (target, Signal(arrival.time, words, extra_lag=lag, looked=looked))
        for _, (target, lag, looked) in sorted(found.items())
    )


def targets_of(arrival: Arrival, configuration: Configuration) -> tuple[Target, ...]:
    """The targets that an arrival signals."""
    return tuple(target for target, _ in signals_of(arrival, configuration))


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


def _listeners_to(arrival: Arrival, place: Listeners) -> Iterator[Listener]:
    """The sources of the place that mean this arrival, and below whose prefix it lies in no temporary folder."""
    key, is_folder = _key_of(arrival)
    size, temporary_at = len(key), f"/{key}".rfind(TEMPORARY)
    if is_folder:
        yield from _listeners_to_folder(key, temporary_at, place)
        return
    for prefix, suffix in place.lengths:
        if temporary_at < prefix <= size and suffix <= size:
            yield from place.found.get((key[:prefix], key[size - suffix :]), ())


def _listeners_to_folder(folder: str, temporary_at: int, place: Listeners) -> Iterator[Listener]:
    """The sources whose prefix holds the folder or lies inside it; what a folder holds may end in any suffix."""
    for length in {prefix for prefix, _ in place.lengths if temporary_at < prefix <= len(folder)}:
        yield from _from(folder[:length], place, inside=False)
    yield from _from(folder, place, inside=True)


def _from(first: str, place: Listeners, *, inside: bool) -> Iterator[Listener]:
    """The sources with this prefix, or with one that lies inside it: found without looking at the others."""
    start = bisect_left(place.order, (first, ""))
    for affixes in takewhile(lambda affixes: affixes[0].startswith(first), islice(place.order, start, None)):
        if (affixes[0] != first) is inside:
            yield from place.found[affixes]
        elif not inside:
            return  # what follows in order lies inside


def _is_looked_at(source: Source, target: Target) -> bool:
    """Whether a look can tell later if a run read what an event of this source tells of: a table in OneLake."""
    return target.policy.look is not None and isinstance(source, OneLakeChanged) and source.is_table


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


def _affixes(source: Source) -> tuple[str, str]:
    """What the key of an arrival begins and ends with where the source means it."""
    match source:
        case S3ObjectCreated() | BlobCreated():
            return source.prefix, source.suffix
        case OneLakeChanged():
            return f"{source.path.rstrip('/')}/", ""
    return "", ""


def _key_of(arrival: Arrival) -> tuple[str, bool]:
    """The name of what arrived within its place, and whether that is a whole folder, with a slash at its end."""
    match arrival:
        case ObjectArrived():
            return arrival.key, False
        case BlobArrived() | OneLakeArrived():
            return arrival.path, arrival.folder
    return "", False


def _is_output(arrival: Arrival, resource: Resource) -> bool:
    """Whether a refresh of the resource itself may have caused the arrival (rule 11)."""
    match arrival, resource:
        case ObjectArrived(), GlueView(location=location) if location:
            return f"s3://{arrival.bucket}/{arrival.key}".startswith(location)
        case TableChanged(), GlueView():
            return place_of(arrival) == output_of(resource)
    return False


def _grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, tuple[T, ...]]:
    groups: dict[K, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
