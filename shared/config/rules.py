"""Rules that hold across the keys of a configuration: each rule is a function that gives the mistakes it finds.

A rule yields, and never raises: one reading of a file names all that is wrong with it. Rules see what could be read, so
a target with a mistake of shape is missing here, and a rule must not conclude anything from its absence; its name is
known all the same (`Names`). What is doubtful, but may be meant, is in `warnings.py`.

A mistake says the place (`path`), what is there (`found`) and what to write instead (`expected`), which together make
one sentence: "unstale.toml:12: targets.daily.on[0]: found no sources, expected exactly one of ...".
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter
from itertools import islice, takewhile
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from shared.config.across import check_across, find_crowds, find_unreachable, sites_of
from shared.config.parse import Mistake, quote_names, show
from shared.config.schema import (
    LIMITS,
    File,
    GlueViewTable,
    ItemJobTable,
    OnTable,
    TargetTable,
    Timing,
    WorkloadTable,
    duration_of,
    duration_text,
    within,
)
from shared.config.tell import check_tells
from shared.config.toml_positions import Path
from shared.places import by_output, output_of, place_of
from shared.targets import (
    BlobCreated,
    Cloud,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    OneLakeChanged,
    Policy,
    S3ObjectCreated,
    Source,
    Target,
    catalog_of,
)

CLOUD_OF_SOURCE: dict[type[Source], Cloud] = {
    S3ObjectCreated: Cloud.AWS,
    GlueTableChanged: Cloud.AWS,
    GlueJobSucceeded: Cloud.AWS,
    BlobCreated: Cloud.AZURE,
    OneLakeChanged: Cloud.AZURE,
    IcebergChanged: Cloud.AWS,
}
"""Where the events of a source arrive, or where it is looked at."""

LONGEST_KEY = {Cloud.AWS: 2048, Cloud.AZURE: 362}
"""Bytes of the key under which a record is stored, percent-encoded. DynamoDB's partition keys end there; a row's key in
Azure Tables has 512 characters, of which the row that forgets a line of history takes 150 for two times and a token."""

GROUP_KEY_BYTES = 40
"""Bytes of the key of a group of sources beside its catalog and database, generously: `group:s3-table-bucket:` and
the colons between the parts have 24 (`shared/sources/groups.py`)."""

JUST_IN_TIME_LEAST = timedelta(minutes=2)
"""The time that `start = "just-in-time"` keeps for a run at least, beside the look interval (design, section 9).

    arrival                                              start                    objective is over
    |--- at most one look interval: the source tells ---|--- lag ---|--- a run: two minutes at least ---|

An objective that is shorter than these together would be missed by every single refresh."""

_JOBS_OF_LAKE_VIEWS = frozenset({"refreshmaterializedlakeviews", "materializedlakeviews"})
"""Fabric's name for a refresh of lake views as an item job: in a start, and in a list of jobs. As an item job it would
be a second target for one resource, whose runs `fabric-lake-views` would take for somebody else's."""

_TYPES_OF_PARAMETER: dict[str, tuple[tuple[type, ...], str]] = {
    "Integer": ((int,), "a whole number"),
    "Number": ((int, float), "a number"),
    "Boolean": ((bool,), "true or false"),
    "Text": ((str,), "text in quotes"),
    "Guid": ((str,), "a UUID in quotes"),
    "DateTime": ((str,), 'a UTC time in quotes, such as "2026-01-31T06:00:00Z"'),
}
"""The form that the value of a parameter must have; the types that are not named take anything."""


def broken_rules(file: File, entries: Sequence[Entry], names: Iterable[str]) -> Iterator[Mistake]:
    """All mistakes in what could be read of a file; `names` are those of all targets, unreadable ones included."""
    targets = [entry.target for entry in entries]
    outputs, known = Outputs(targets), Names(entries, names)
    for entry in entries:
        yield from check_timing(entry.path, entry.table, entry.target.policy)
        yield from check_schedules(entry)
        yield from check_full_refresh(entry)
        yield from check_sources(entry)
        yield from check_item_job(entry)
        yield from check_own_output(entry, outputs)
        yield from check_stored_keys(entry)
        yield from check_after(entry, known)
    yield from check_one_each(entries)
    yield from check_cycles(entries, outputs)
    yield from check_workload(file.workload or WorkloadTable(jobs=[]), known)
    yield from check_tells(file.tell or ())
    yield from check_across(file.across)
    yield from find_unreachable(targets, sites_of(file.across))
    yield from find_crowds(targets)


class Entry(msgspec.Struct, frozen=True):
    """A target as the file has it and as it is meant."""

    table: TargetTable
    """The target's table, where `UNSET` tells what the file leaves out."""
    target: Target
    """The target that is made of the table and the defaults."""
    sources: tuple[tuple[int, Source], ...]
    """The sources of `on`, each with its position in that list."""

    @property
    def path(self) -> Path:
        """The keys that lead to the target in the file."""
        return ("targets", self.target.name)


class Names:
    """The targets that can be referred to: those that could be read, and the names of all.

    A reference to a target that has a mistake of its own is no second mistake, so its name counts as known.
    """

    def __init__(self, entries: Iterable[Entry], names: Iterable[str]) -> None:
        self.targets = {entry.target.name: entry.target for entry in entries}
        self.all = dict.fromkeys(names)

    def unknown(self, name: str, path: Path) -> Iterator[Mistake]:
        """Tell the mistake in a reference to a target that is not there."""
        if name not in self.all:
            yield Mistake(path, show(name), f"the name of a target{self._close_to(name)}")

    def wrong(self, name: str, path: Path, cloud: Cloud) -> Iterator[Mistake]:
        """Tell the mistake in a reference to a target on this cloud."""
        yield from self.unknown(name, path)
        if name in self.targets and self.targets[name].cloud is not cloud:
            yield Mistake(path, f"{show(name)}, which is on {self.targets[name].cloud}", f"a target on {cloud}")

    def _close_to(self, name: str) -> str:
        """Name the target that was most likely meant."""
        from difflib import get_close_matches  # noqa: PLC0415 - only a bad file pays for it

        close = get_close_matches(name, self.all, n=1)
        return f': did you mean "{close[0]}"?' if close else ""


class Outputs:
    """The outputs of refreshes, to be looked up by the place that a source names.

    A thousand targets with a thousand sources are a million pairs, so nothing compares each with each: places are keys
    of a table, and locations in S3, of which one may contain another, are sorted and searched by halves.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._by_place = by_output(targets)
        self._by_location: dict[str, list[Target]] = {}
        for target in targets:
            if isinstance(target.resource, GlueView) and target.resource.location:
                self._by_location.setdefault(target.resource.location, []).append(target)
        self._locations = sorted(self._by_location)

    def writers(self, source: Source, reader: Target) -> Iterator[Target]:
        """The targets of which a refresh causes events of this source of a reader, as far as the configuration tells.

        A table that is looked at has a catalog: without one in the entry it is that of the reader's own view.
        """
        match source:
            case S3ObjectCreated():
                for location in self._find_overlaps(f"s3://{source.bucket}/{source.prefix}"):
                    yield from self._by_location[location]
            case GlueTableChanged():
                yield from self._by_place.get(place_of(source), ())
            case IcebergChanged():
                yield from (
                    target
                    for target in self._by_place.get(place_of(source), ())
                    if isinstance(target.resource, GlueView)
                    and target.resource.catalog_id == catalog_of(source, reader.resource)
                )
            case OneLakeChanged() if _may_hold_views(source.path):
                yield from self._by_place.get(place_of(source), ())

    def _find_overlaps(self, prefix: str) -> Iterator[str]:
        """The locations that contain the prefix, then those below it; without looking at all of them.

        Of `s3://lake/sales/new/`, `s3://lake/` and `s3://lake/sales/` contain it. Those below it stand together in the
        sorted list, from the place on at which the prefix itself would stand.
        """
        ends = (end for end, character in enumerate(prefix[:-1], start=1) if character == "/")
        yield from (prefix[:end] for end in ends if prefix[:end] in self._by_location)
        first = bisect_left(self._locations, prefix)
        yield from takewhile(lambda location: location.startswith(prefix), islice(self._locations, first, None))


def check_timing(path: Path, table: Timing, policy: Policy) -> Iterator[Mistake]:
    """Each duration within its limits; if all are, what must hold between two of them.

    A unit that is mistyped would break several rules at once. Only the first, which names the unit, helps its writer.
    """
    beyond = list(_beyond_limits(path, table, policy))
    yield from beyond or (*_waits(path, table, policy), *_just_in_time(path, policy))


def _beyond_limits(path: Path, table: Timing, policy: Policy) -> Iterator[Mistake]:
    """Tell each duration of the file that is outside of its limits; an inherited one is told of the defaults alone."""
    for key, (least, most) in LIMITS.items():
        said, duration = getattr(table, key), getattr(policy, key)
        if said is not UNSET and duration is not None and not least <= duration <= most:
            yield Mistake((*path, key), show(said), within(key))


def _waits(path: Path, table: Timing, policy: Policy) -> Iterator[Mistake]:
    """A maximum wait that the visibility lag does not exceed.

    A run covers a signal only if it was claimed a lag after it, so a start at the end of a shorter wait would cover
    nothing and be followed by another. The mistake is told at whichever of the two keys this table says.
    """
    if policy.max_wait >= policy.visibility_lag:
        return
    if table.max_wait is not UNSET:
        least = f'at least the visibility lag, "{duration_text(policy.visibility_lag)}"'
        yield Mistake((*path, "max_wait"), show(table.max_wait), least)
    elif table.visibility_lag is not UNSET:
        most = f'at most the maximum wait, "{duration_text(policy.max_wait)}"'
        yield Mistake((*path, "visibility_lag"), show(table.visibility_lag), most)


def _just_in_time(path: Path, policy: Policy) -> Iterator[Mistake]:
    """A start just in time needs an objective that leaves time for a look and a run."""
    if policy.start != "just-in-time" or path == ("defaults",):  # there a target may still say the objective
        return
    least = (policy.look or timedelta(0)) + JUST_IN_TIME_LEAST + policy.visibility_lag
    if policy.objective is None:
        yield Mistake((*path, "objective"), "nothing", 'a duration, as start = "just-in-time" is reckoned from it')
    elif policy.objective <= least:
        more = f'more than "{duration_text(least)}", the look interval, the visibility lag and two minutes for a run'
        yield Mistake((*path, "objective"), show(duration_text(policy.objective)), more)


def check_schedules(entry: Entry) -> Iterator[Mistake]:
    """Find cron expressions and time zones that are not valid."""
    for key, schedule in (("schedule", entry.target.schedule), ("full_refresh", entry.target.full_schedule)):
        if schedule:
            from shared.refresh.schedule import expected_cron, expected_timezone  # noqa: PLC0415 - a cold start without any pays nothing

            for name, found, expected in (
                ("cron", schedule.cron, expected_cron(schedule.cron)),
                ("timezone", schedule.timezone, expected_timezone(schedule.timezone)),
            ):
                if expected:
                    yield Mistake((*entry.path, key, name), show(found), expected)


def check_full_refresh(entry: Entry) -> Iterator[Mistake]:
    """Find a full refresh that has neither a cron nor a number of failures."""
    table = entry.table.full_refresh if isinstance(entry.table, GlueViewTable) else UNSET
    if table and not table.cron:
        if table.timezone:
            yield Mistake((*entry.path, "full_refresh", "timezone"), "a time zone alone", '"cron" beside it')
        elif not table.after_failures:
            yield Mistake((*entry.path, "full_refresh"), "an empty table", '"cron", "after_failures" or both')


def check_sources(entry: Entry) -> Iterator[Mistake]:
    """Sources of which each names one thing, and whose events arrive where the target is refreshed."""
    here = [kind for kind, cloud in CLOUD_OF_SOURCE.items() if cloud is entry.target.cloud]
    for position, on in enumerate(entry.table.on or []):
        count = sum(getattr(on, _key(kind)) is not UNSET for kind in CLOUD_OF_SOURCE)
        if count != 1:
            one_of = f"exactly one of {quote_names(_key(kind) for kind in here)}"
            yield Mistake((*entry.path, "on", position), f"{count or 'no'} sources", one_of)
        yield from _own_lag(on, entry.target.policy, (*entry.path, "on", position, "visibility_lag"))
    for position, source in entry.sources:
        if type(source) not in here:
            elsewhere = f"a source on {CLOUD_OF_SOURCE[type(source)]}"
            expected = f"one on {entry.target.cloud}, as the target: {quote_names(_key(kind) for kind in here)}"
            yield Mistake((*entry.path, "on", position, _key(type(source))), elsewhere, expected)


def _own_lag(on: OnTable, policy: Policy, path: Path) -> Iterator[Mistake]:
    """The visibility lag of one source is never shorter than the target's, nor longer than its maximum wait."""
    if on.visibility_lag is not UNSET:
        lag = duration_of(on.visibility_lag)
        if not policy.visibility_lag <= lag <= policy.max_wait:
            bounds = (
                f'from the visibility lag of the target, "{duration_text(policy.visibility_lag)}", '
                f'to its maximum wait, "{duration_text(policy.max_wait)}"'
            )
            yield Mistake(path, show(on.visibility_lag), bounds)


def check_item_job(entry: Entry) -> Iterator[Mistake]:
    """A job that is no refresh of lake views, and data for it that can be sent."""
    table = entry.table
    if not isinstance(table, ItemJobTable):
        return
    if table.job_type.lower() in _JOBS_OF_LAKE_VIEWS:
        yield Mistake((*entry.path, "job_type"), show(table.job_type), 'kind = "fabric-lake-views" for lake views')
    yield from unsendable(table.execution_data or {}, (*entry.path, "execution_data"))
    names = set()
    for position, parameter in enumerate(table.parameters or []):
        path = (*entry.path, "parameters", position)
        if parameter.name.casefold() in names:
            yield Mistake((*path, "name"), f"{show(parameter.name)} again", "each name once, whatever its case")
        names.add(parameter.name.casefold())
        yield from _parameter_value(parameter.type, parameter.value, (*path, "value"))


def unsendable(value: object, path: Path) -> Iterator[Mistake]:
    """Values that JSON has no form for: dates, infinities, huge numbers.

    TOML has all of these. Beyond 64 bits readers of JSON disagree (RFC 8259, section 6), so these are refused, too.
    """
    match value:
        case dict():
            for key, entry in value.items():
                yield from unsendable(entry, (*path, key))
        case list():
            for position, entry in enumerate(value):
                yield from unsendable(entry, (*path, position))
        case str() | bool():
            pass
        case int() if -(2**63) <= value < 2**63:
            pass
        case float() if math.isfinite(value):
            pass
        case _:
            yield Mistake(path, show(value), "what JSON has: text in quotes, a number of 64 bits, true or false")


def check_own_output(entry: Entry, outputs: Outputs) -> Iterator[Mistake]:
    """Rule 11: no source that the target's own refresh sets off, or each refresh would signal the next one."""
    for position, source in entry.sources:
        own = entry.target.name in {writer.name for writer in outputs.writers(source, entry.target)}
        if own or _table_of_own_item(entry.target, source):
            path = (*entry.path, "on", position, _key(type(source)))
            yield Mistake(path, "what its own refresh changes", _other_than_own(entry.target, source))


def check_stored_keys(entry: Entry) -> Iterator[Mistake]:
    """Names that fit into the keys of the store, in which every byte beyond ASCII takes three."""
    most = LONGEST_KEY[entry.target.cloud]
    if len(entry.target.key) > most:
        found = f"names that take {len(entry.target.key):,} bytes as they are stored"
        yield Mistake(entry.path, found, f"at most {most:,}: shorter ones, or fewer characters beyond ASCII")
    for position, source in entry.sources:
        if isinstance(source, IcebergChanged):
            size = len(quote(catalog_of(source, entry.target.resource) + source.database, safe="")) + GROUP_KEY_BYTES
            if size > most:
                path = (*entry.path, "on", position, "iceberg_changed", "database")
                yield Mistake(path, f"a name that takes {size:,} bytes as it is stored", f"at most {most:,}")


def check_after(entry: Entry, names: Names) -> Iterator[Mistake]:
    """Find upstream targets that are not there, or are named twice."""
    for position, name in enumerate(entry.target.after):
        path = (*entry.path, "after", position)
        yield from names.unknown(name, path)
        if name in entry.target.after[:position]:
            yield Mistake(path, f"{show(name)} again", "each target once")


def check_one_each(entries: Iterable[Entry]) -> Iterator[Mistake]:
    """Each resource has one target. Keys that differ in case only would be one view of Glue, or one job of Fabric.

    Two targets of one resource would have two records: each would take the other's runs for somebody else's.
    """
    first: dict[str, str] = {}
    for entry in entries:
        name = first.setdefault(entry.target.key.lower(), entry.target.name)
        if name != entry.target.name:
            yield Mistake(entry.path, f'the same resource as target "{name}"', "one target for each resource")


def check_cycles(entries: Iterable[Entry], outputs: Outputs) -> Iterator[Mistake]:
    """No targets that refresh each other in turn, by `after` or by what they write (rule 10).

    A cycle is told once, at the place that closes it. Its targets are then left out, and the search goes on for others.
    """
    upstream = {entry.target.name: _upstream(entry, outputs) for entry in entries}
    while cycle := _cycle(upstream):
        first, last = cycle[0], cycle[-1]
        way = " -> ".join([*cycle, first])
        yield Mistake(upstream[first][last], f"a cycle: {way}", "targets that do not signal each other in a circle")
        for name in cycle:
            del upstream[name]


def check_workload(table: WorkloadTable, names: Names) -> Iterator[Mistake]:
    """Jobs of which each names a target on Azure, where the endpoints are, and no two mean the same."""
    seen = set()
    for position, job in enumerate(table.jobs):
        path = ("workload", "jobs", position)
        yield from names.wrong(job.target, (*path, "target"), Cloud.AZURE)
        meant = (job.item_type, job.job_type, (job.item or "").lower())
        if meant in seen:
            yield Mistake(path, "a second target for the same job", "one for each item type, job type and item")
        seen.add(meant)


def _parameter_value(kind: str, value: object, path: Path) -> Iterator[Mistake]:
    """Tell a value that does not fit its parameter's type. Python's bool is an int, and TOML's is not."""
    types, expected = _TYPES_OF_PARAMETER.get(kind, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
        yield Mistake(path, show(value), f"{expected}, as its type says")
    else:
        yield from unsendable(value, path)


def _may_hold_views(path: str) -> bool:
    """All tables, or all of a schema: lake views are written to `Tables/<schema>/<view>`."""
    top, *below = path.split("/")
    return top == "Tables" and len(below) <= 1


def _table_of_own_item(target: Target, source: Source) -> bool:
    """A job may write any table of its own item: which one, only its data could tell."""
    return (
        isinstance(target.resource, ItemJob)
        and isinstance(source, OneLakeChanged)
        and place_of(source) == output_of(target.resource)
        and source.path.startswith("Tables")
    )


def _other_than_own(target: Target, source: Source) -> str:
    """Say what to write instead of a source that the target's own refresh sets off."""
    if isinstance(source, GlueTableChanged | IcebergChanged):
        return "a table other than the view"
    if isinstance(source, S3ObjectCreated):
        return "a prefix that neither contains the view's location nor lies in it"
    if isinstance(target.resource, ItemJob):
        return 'a path under "Files", or another item'
    return 'one table of a schema, as in "Tables/dbo/orders", a path under "Files", or another item'


def _upstream(entry: Entry, outputs: Outputs) -> dict[str, Path]:
    """The targets that signal this one, each with the place in the file that says so."""
    found: dict[str, Path] = {}
    for position, name in enumerate(entry.target.after):
        found.setdefault(name, (*entry.path, "after", position))
    for position, source in entry.sources:
        for writer in outputs.writers(source, entry.target):
            if writer.name != entry.target.name:  # its own output is told by the rule above
                found.setdefault(writer.name, (*entry.path, "on", position, _key(type(source))))
    return found


def _cycle(upstream: dict[str, dict[str, Path]]) -> list[str]:
    """Some cycle, from upstream to downstream, beginning with its first target in the file; empty if there is none."""
    try:
        TopologicalSorter(upstream).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][1:]  # the first is there again as the last
        first = circle.index(min(circle, key=[*upstream].index))
        return [*circle[first:], *circle[:first]]
    return []


def _key(kind: type[Source]) -> str:
    """The key by which the file names a kind of source."""
    return str(kind.__struct_config__.tag)
