"""Whom an arrival concerns: which targets an arrival signals, and which the end of a run is about.

The sources of one place, such as a bucket, are found by what their prefixes and suffixes say, by hash, so that an event
costs as many look-ups as these have different lengths, however many targets there are. Nothing is decoded or normalised
but what the platforms themselves do not tell apart: Glue folds the names of databases and tables to lower case when it
stores them (Glue API, DatabaseInput and TableInput), and UUIDs have no case.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice, takewhile
from typing import Protocol

from shared import places
from shared.inbound.arrivals import Arrival, BlobArrived, JobSucceeded, ObjectArrived, OneLakeArrived, TableChanged
from shared.inbound.messages import FabricRunEnded, GlueRunEnded
from shared.places import Listener, Listeners, Place, item_place, output_of, table_place
from shared.refresh.state import Signal
from shared.targets import GlueView, Resource, Source, Target
from shared.text import printable

LONGEST_REASON = 120
"""Characters of a reason. A record keeps a few of them, and must stay small."""

TEMPORARY = "/_temporary/"
"""A folder in which Hadoop's committers keep what no reader reads until they rename it (FileOutputCommitter)."""


class Routes(Protocol):
    """The parts of a configuration that routing needs."""

    @property
    def by_name(self) -> Mapping[str, Target]:
        """The targets by the name that the file gives them."""

    @property
    def listeners(self) -> Mapping[Place, Listeners]:
        """The sources by the place that they name, each with its target."""

    @property
    def by_output(self) -> Mapping[Place, Sequence[Target]]:
        """The targets by the table or item that they refresh."""

    @property
    def senders(self) -> frozenset[tuple[str, str]]:
        """Accounts and sources whose custom events may ask for a refresh; empty: all may."""


def signals_of(arrival: Arrival, configuration: Routes) -> tuple[tuple[Target, Signal], ...]:
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


def targets_of(arrival: Arrival, configuration: Routes) -> tuple[Target, ...]:
    """The targets that an arrival signals."""
    return tuple(target for target, _ in signals_of(arrival, configuration))


def targets_of_end(message: GlueRunEnded | FabricRunEnded, configuration: Routes) -> Sequence[Target]:
    """The targets that a run which ended may be about: Glue's event names no catalog, Fabric's no job of ours."""
    place = (
        table_place(message.database, message.table)
        if isinstance(message, GlueRunEnded)
        else item_place(message.workspace, message.item)
    )
    return configuration.by_output.get(place, ())


def reason(arrival: Arrival) -> str:
    """A few words for people, such as `s3://landing/orders/x.parquet` or `table sales.orders changed`."""
    return printable(_words(arrival), LONGEST_REASON)


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


def place_of(thing: Source | Arrival) -> Place:
    """Where a source listens, and likewise where an arrival happened."""
    match thing:
        case ObjectArrived():
            return ("bucket", thing.bucket)
        case TableChanged():
            return table_place(thing.database, thing.table)
        case JobSucceeded():
            return ("job", thing.job)
        case BlobArrived():
            return ("container", thing.account, thing.container)
        case OneLakeArrived():
            return item_place(thing.workspace, thing.item)
    return places.place_of(thing)


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
