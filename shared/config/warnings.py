"""Warns of a configuration that is most likely not meant so: prefixes that match nothing, sources that send nothing.

A warning is told like a mistake, with file, line, key, what was found and what to write instead, but the file loads.
Only `unstale check` looks for them, so that no cold start pays. What is told here may be meant: a target that only a
person refreshes, say. So nothing of it is an error, unless `--strict` asks for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from shared.config.across import find_idle_ways
from shared.config.parse import Mistake, quote_names, show
from shared.config.rules import Entry
from shared.config.schema import File, Timing, duration_text
from shared.config.tell import find_untold
from shared.config.toml_positions import Path
from shared.targets import (
    BlobCreated,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    LakeViews,
    OneLakeChanged,
    Policy,
    S3ObjectCreated,
    Source,
)

EXAMPLE_IDS = frozenset(
    {
        "123456789012",
        "4b218778-e7a5-4d73-8187-f10824047715",
        "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7",
        "0d1b7a5c-7f3a-4f0e-9a7e-2f6c1f1f8a10",
        "9c5f6f3e-3f0a-4b55-8a0e-5a1f5f1d2c3b",
    }
)
"""Account, workspace and items of `unstale.example.toml`, which are nobody's."""

# A key or a path is what stands behind bucket or container. Whoever pastes an address from a console gets it whole.
ADDRESSES = ("s3://", "s3a://", "s3n://", "arn:", "https://", "http://", "abfss://", "abfs://", "wasbs://", "wasb://")
"""Beginnings of addresses that stand where a prefix is asked for."""
WILDCARDS = frozenset("*?")
"""Characters that a shell would expand. S3 and Blob Storage allow both in names, so a prefix may have them, and seldom
means them."""
BY_LOOKING = '"iceberg_changed" with a "look" interval, or a "schedule"'
"""The cure of every source that sends no events."""


def find_doubts(file: File, entries: list[Entry], defaults: Policy) -> Iterator[Mistake]:
    """Find all that is doubtful in a file without mistakes."""
    yield from _check_timing(("defaults",), file.defaults, defaults, looked_at=True)
    asked_for = {job.target for job in (file.workload.jobs if file.workload else ())}
    for entry in entries:
        yield from _check_timing(entry.path, entry.table, entry.target.policy, looked_at=_is_looked_at(entry))
        yield from _find_example_ids(entry)
        yield from _find_repeated(entry)
        for position, source in entry.sources:
            path = (*entry.path, "on", position, str(source.__struct_config__.tag))
            for rule in _RULES:
                yield from rule(source, path, entry)
        if entry.target.name not in asked_for:
            yield from _find_never_refreshed(entry)
    targets = [entry.target for entry in entries]
    yield from find_untold(file.tell or (), targets)
    yield from find_idle_ways(file.across, targets)


def _check_timing(path: Path, table: Timing, policy: Policy, *, looked_at: bool) -> Iterator[Mistake]:
    """Durations that work against each other, told where one of the two is said.

    A quiet period longer than the maximum wait never ends by itself; an objective shorter than the time between two
    starts, or than that between two looks, is missed whenever an arrival comes at the wrong moment.
    """
    if policy.quiet_period > policy.max_wait:
        wait = f'at most the maximum wait, "{duration_text(policy.max_wait)}", which ends it'
        yield from _warn(path, table, ("quiet_period", "max_wait"), policy.quiet_period, wait)
    if policy.objective and policy.objective < policy.min_interval:
        least = f'at least the minimum interval, "{duration_text(policy.min_interval)}", between two starts'
        yield from _warn(path, table, ("objective", "min_interval"), policy.objective, least)
    elif looked_at and policy.objective and policy.look and policy.objective < policy.look:
        least = f'at least the look interval, "{duration_text(policy.look)}", in which a lost event is found'
        yield from _warn(path, table, ("objective", "look"), policy.objective, least)


def _warn(path: Path, table: Timing, keys: tuple[str, ...], found: timedelta, expected: str) -> Iterator[Mistake]:
    """Warn where the table says one of the keys; what a target only inherits is told of the defaults."""
    said = [key for key in keys if getattr(table, key)]
    if said:
        words = f"{keys[0]} = {show(duration_text(found))}" if said[0] != keys[0] else show(duration_text(found))
        yield Mistake((*path, said[0]), words, expected)


def _is_looked_at(entry: Entry) -> bool:
    """Whether a look can find what an event should have told."""
    looked_at = (IcebergChanged, OneLakeChanged)
    return isinstance(entry.target.resource, GlueView) or any(isinstance(one, looked_at) for one in entry.target.on)


def _find_example_ids(entry: Entry) -> Iterator[Mistake]:
    """Find an id of the example; the first is enough."""
    resource, table = entry.target.resource, entry.table
    keys = {
        GlueView: ("catalog_id",),
        LakeViews: ("workspace", "lakehouse", "execution_definition"),
    }.get(type(resource), ("workspace", "item"))
    for key in keys:
        value = str(getattr(table, key) or "")
        if value.partition(":")[0].lower() in EXAMPLE_IDS:
            yield Mistake((*entry.path, key), show(value), "your own: this one is the example's, and nobody's")
            return


def _find_repeated(entry: Entry) -> Iterator[Mistake]:
    """Find a source that an entry of `on` names a second time."""
    first: dict[str, int] = {}
    for position, source in entry.sources:
        earlier = first.setdefault(repr(source), position)
        if earlier != position:
            yield Mistake((*entry.path, "on", position), f"the same source as on[{earlier}]", "each source once")


def _find_never_refreshed(entry: Entry) -> Iterator[Mistake]:
    """Find a target that nothing but a person ever refreshes."""
    target = entry.target
    looked_at = isinstance(target.resource, GlueView) and target.policy.look is not None
    if not (target.on or target.after or target.schedule or target.full_schedule or looked_at):
        wanted = 'sources in "on", targets in "after", or a "schedule"; without them only a person refreshes it'
        yield Mistake(entry.path, "nothing that signals it", wanted)


# --- Of one source ---------------------------------------------------------------------------------------------------


def _affixes(source: Source, path: Path, _entry: Entry) -> Iterator[Mistake]:
    """A prefix or suffix that no key can have, of which the first reason is enough."""
    if isinstance(source, S3ObjectCreated | BlobCreated):
        for key in ("prefix", "suffix"):
            text = getattr(source, key)
            expected = next((words for odd, words in _list_oddities(source, key, text) if odd), "")
            if expected:
                yield Mistake((*path, key), show(text), expected)


def _list_oddities(source: S3ObjectCreated | BlobCreated, key: str, text: str) -> Iterator[tuple[bool, str]]:
    """List the reasons why no key can have this prefix or suffix, each with what to write instead."""
    holder = source.bucket if isinstance(source, S3ObjectCreated) else source.container
    inside = "the key within the bucket" if isinstance(source, S3ObjectCreated) else "the path within the container"
    example = '"orders/"' if key == "prefix" else '".parquet"'
    yield text.lower().startswith(ADDRESSES), f"{inside} alone, as in {example}"
    yield (
        bool(WILDCARDS & set(text)),
        f"plain text, as in {example}: there are no wildcards, * and ? stand for themselves",
    )
    yield key == "prefix" and text.startswith("/"), f"{inside}, which begins with no slash"
    yield (
        key == "prefix" and text.startswith(f"{holder}/"),
        f"{inside}, which does not begin with {quote_names([holder])}",
    )
    yield text != text.strip(), "no blanks around it"


def _metadata(source: Source, path: Path, _entry: Entry) -> Iterator[Mistake]:
    """Iceberg's metadata file is written before the catalog points to it, so its event comes before the data counts.

    A refresh that the event starts may still read the table as it was, and nothing would tell of the commit itself.
    """
    if isinstance(source, S3ObjectCreated) and source.suffix.endswith("metadata.json"):
        commit = f'a source that tells of the commit, which comes after this file: "glue_table_changed", {BY_LOOKING}'
        yield Mistake((*path, "suffix"), show(source.suffix), commit)


def _sends_nothing(source: Source, path: Path, entry: Entry) -> Iterator[Mistake]:
    """Sources of which no event tells, and that are not looked at."""
    catalog = source.catalog_id if isinstance(source, GlueTableChanged) else ""
    if ":s3tablescatalog" in catalog:
        yield Mistake((*path, "catalog_id"), f"{show(catalog)}: S3 Tables send no events", BY_LOOKING)
    if isinstance(source, IcebergChanged) and entry.target.policy.look is None:
        yield Mistake(path, 'a source that is only looked at, with look = "off"', 'a "look" interval, or a "schedule"')


_RULES: tuple[Callable[[Source, Path, Entry], Iterator[Mistake]], ...] = (_affixes, _metadata, _sends_nothing)
"""Doubts about one source, each by itself; `find_doubts` asks all of them of each source."""
