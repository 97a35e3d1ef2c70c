"""How the sources of targets stand, for `status`: which version each has, since when, and which gives no answer.

Nothing is looked at here: what the looks remembered is read and judged by the clock. Three kinds of lines come out:

    silent    three intervals without an answer, so nobody knows whether the target is fresh (`unknown`)
    cannot    the last look could not tell, or no look can see this source: that is shown, and no verdict by itself
    neither   the version, and since when the source has it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from shared.refresh.evidence import SourceStatus
from shared.refresh.ports import Store
from shared.sources.groups import Group, SourceTable, decode, files_of, sources_of, view_of
from shared.sources.memory import GroupRecord, SourceMemory, read_groups, version_of
from shared.sources.rhythm import SILENT_INTERVALS, is_silent
from shared.targets import Target

NOTHING_AT_HAND: Mapping[Group, GroupRecord] = {}
"""The default: every record is read."""


def source_statuses(
    targets: Iterable[Target], store: Store, now: datetime, *, at_hand: Mapping[Group, GroupRecord] = NOTHING_AT_HAND
) -> Mapping[str, tuple[SourceStatus, ...]]:
    """The sources of each target that is looked at, by the target's key; two reads of many records.

    The first read is of the groups of views, whose records say which tables a view names; the second is of the groups
    of those tables, as far as they are others. So a thousand targets take as many round trips as one. `at_hand` has
    records that are newer than the store's.
    """
    looked_at = [target for target in targets if target.policy.look]
    views = {target.key: view for target in looked_at if (view := view_of(target))}
    records = {**at_hand}
    records |= read_groups(store, {view.group for view in views.values()} - records.keys())
    named = {target.key: (*sources_of(target), *_named_by(views.get(target.key), records)) for target in looked_at}
    others = {source.group for sources in named.values() for source in sources} - records.keys()
    records |= read_groups(store, others)
    return {
        target.key: tuple(
            _status(source, records[source.group].sources.get(source.name), target.policy.look, now)
            for source in dict.fromkeys(named[target.key])
        )
        + _view_status(views.get(target.key), records, target.policy.look, now)
        + tuple(SourceStatus(name, cannot="files, of which only events tell") for name in files_of(target))
        for target in looked_at
    }


def is_silent_in(group: Group, target: Target, records: Mapping[Group, GroupRecord], now: datetime) -> bool:
    """Whether a group alone makes a target's verdict unknown: a source of the target there, or its view, is silent.

    `records` has the group's record and that of the target's view.
    """
    view, look, of_group = view_of(target), target.policy.look, records[group]
    sources = [source for source in (*sources_of(target), *_named_by(view, records)) if source.group == group]
    found = [_status(source, of_group.sources.get(source.name), look, now) for source in sources]
    if view and view.group == group:
        found += _view_status(view, records, look, now)
    return any(status.silent for status in found)


def _named_by(view: SourceTable | None, records: Mapping[Group, GroupRecord]) -> tuple[SourceTable, ...]:
    """The tables that a view named when it was last seen, without kinds that only a later release knows."""
    memory = records[view.group].views.get(view.name) if view else None
    return tuple(source for text in (memory.sources if memory else ()) if (source := decode(text)))


def _view_status(
    view: SourceTable | None, records: Mapping[Group, GroupRecord], look: timedelta | None, now: datetime
) -> tuple[SourceStatus, ...]:
    """A line for the view itself where it is silent, or names what cannot be looked at."""
    if view is None or look is None:
        return ()
    record = records[view.group]
    memory = record.views.get(view.name)
    if memory is None or is_silent(memory.when, look, now):
        return (SourceStatus(view.title, silent=_why(record.problem, memory.when if memory else None)),)
    return tuple(SourceStatus(name, cannot="it is no table") for name in memory.unreadable)


def _status(source: SourceTable, memory: SourceMemory | None, look: timedelta | None, now: datetime) -> SourceStatus:
    if memory is None or look is None:
        return SourceStatus(source.title, silent=_why("", None))
    silent = is_silent(memory.when, look, now)  # one failed look is no news: networks and quotas recover within a few
    return SourceStatus(
        title=source.title,
        version=version_of(memory),
        since=memory.since,
        silent=_why(memory.problem, memory.when) if silent else "",
        cannot=memory.problem,
    )


def _why(problem: str, when: datetime | None) -> str:
    """Why there is no answer."""
    if problem:
        return problem
    if when is None:
        return "it has not been looked at yet"
    return f"no answer since {when:%Y-%m-%d %H:%M}Z, which is more than {SILENT_INTERVALS} intervals"
