"""An answer, held against the memory of a group: which versions are news to whom, and what to remember (rules 2 to 5).

Pure functions, each from a record to a record. Whoever calls them tells the news first and saves afterwards, so that a
crash between the two tells the same news again instead of never.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from shared.refresh.failure import Failure, FailureKind
from shared.refresh.state import Signal
from shared.sources.groups import Group, SourceTable, encode
from shared.sources.memory import GroupRecord, SourceMemory, ViewMemory
from shared.sources.ports import Known, Observation, Seen, ViewSeen
from shared.sources.rhythm import heed
from shared.values import Value


class News(Value, frozen=True):
    """A new version of one source, and the targets that read it."""

    source: SourceTable
    at: datetime
    readers: tuple[str, ...]

    @property
    def signal(self) -> Signal:
        """The signal for each reader."""
        return Signal(self.at, f"new data in {self.source.title}", looked=True)


def known_of(record: GroupRecord) -> Known:
    """The sources of a group that somebody reads, and its views: a look asks for exactly these.

    A source without readers keeps its memory until the record is next enrolled, in case a reader comes back.
    """
    read = {name: memory for name, memory in record.sources.items() if memory.readers}
    return Known(read, frozenset(record.views))


def news_of(group: Group, record: GroupRecord, seen: Seen) -> tuple[News, ...]:
    """The new versions that a look shows, by source."""
    found = ((name, observed) for name, observed in seen.sources.items() if name in record.sources)
    return tuple(
        News(SourceTable(group, name), observed.news_at, record.sources[name].readers)
        for name, observed in found
        if observed.news_at is not None
    )


def remember(record: GroupRecord, seen: Seen, now: datetime) -> GroupRecord:
    """The record after a look that was answered."""
    sources = {
        name: _remember_source(memory, seen.sources[name]) if name in seen.sources else memory
        for name, memory in record.sources.items()
    }
    views = {
        name: remember_view(seen.views[name]) if name in seen.views else view for name, view in record.views.items()
    }
    return heed(
        replace(record, sources=sources, views=views, problem="", failing_since=None), now, throttled=seen.throttled
    )


def _remember_source(memory: SourceMemory, observed: Observation) -> SourceMemory:
    """`when` moves for nothing but an answer (rule 5); a version that a cut-off trace reached is kept."""
    version = observed.version or memory.version
    is_new = observed.news_at is not None
    return SourceMemory(
        readers=memory.readers,
        version=version,
        when=observed.when or memory.when,
        since=observed.news_at if is_new else memory.since,
        shown_at=observed.moment if is_new else memory.shown_at,
        problem=observed.problem or ("" if observed.when else memory.problem),
    )


def remember_view(view: ViewSeen) -> ViewMemory:
    """The memory of a view, made of its answer: the sources that it names, sorted, so that equal ones compare equal."""
    return ViewMemory(tuple(sorted(encode(source) for source in view.sources)), view.unreadable, view.when)


def remember_failure(record: GroupRecord, failure: Failure, now: datetime) -> GroupRecord:
    """The record after a look that failed: it says nothing of any source (rule 5)."""
    throttled = failure.kind is FailureKind.THROTTLED
    since = record.failing_since or now
    return heed(replace(record, problem=str(failure), failing_since=since), now, throttled=throttled)


def enrol(record: GroupRecord, target: str, sources: Mapping[str, object], views: frozenset[str]) -> GroupRecord:
    """The record with a target as the reader of exactly these sources, and with these views to look at."""
    names = dict.fromkeys((*record.sources, *sources))
    found = {
        name: _with_reader(record.sources.get(name, SourceMemory()), target, reads=name in sources) for name in names
    }
    read = {name: memory for name, memory in found.items() if memory.readers}
    kept = {name: record.views.get(name, ViewMemory()) for name in (*record.views, *views)}
    return replace(record, sources=read, views=kept)


def _with_reader(memory: SourceMemory, target: str, *, reads: bool) -> SourceMemory:
    """The memory with a target among its readers, or without it; its version stays, so nothing becomes news by that."""
    readers = {*memory.readers, target} if reads else {*memory.readers} - {target}
    return replace(memory, readers=tuple(sorted(readers)))
