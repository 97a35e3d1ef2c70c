"""`unstale check --live`, the sources: each is looked at once, as the function looks, and what cannot be is named.

Views are looked at first, since they name their sources. Nothing is remembered, so nothing is signalled.

The calls are those of the function, made by whoever runs the command: that a person may look does not prove that the
function's identity may. What a person is refused, the identity most often is as well, so each finding has that cure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from local.checks.finding import Finding
from shared.refresh.failure import Failure
from shared.sources.groups import DeltaTable, Group, SourceTable, files_of, sources_of, view_of
from shared.sources.memory import SourceMemory, version_of
from shared.sources.ports import Known, Observation, Seen, ViewSeen
from shared.targets import IcebergChanged, Target

Look = Callable[[Group, Known], Seen | Failure]
"""The port `Sources`, as whoever asks may use it."""

ROUNDS: Final = 100
"""Looks at one group at most: each loads 40 tables, so this is enough for the largest database."""
# The cures of a source that gives no answer. Neither cloud tells "gone" from "forbidden", so both are named.
ON_AWS: Final = (
    "correct its name; or allow glue:GetTable and glue:GetTables on it, and under Lake Formation grant DESCRIBE "
    "(docs/aws.md, the parameter SourceResources)"
)
IN_ONELAKE: Final = (
    "correct workspace, item or path; or make the identity Contributor of the workspace, or give it ReadAll or a "
    "OneLake data role on the table"
)
NO_TABLE: Final = "only events and schedules tell of it: an entry of `on` for its files, or a schedule"
"""The cure for a source that is no table where nothing else refreshes the target."""
# For an `iceberg_changed` that names a table which the view does not read.
NOT_READ: Final = "remove it: each of its commits starts a refresh that reads nothing of it; or name the right table"


def source_findings(targets: Iterable[Target], look: Look) -> Iterator[Finding]:
    """Look at the views, then at every source that they or the configuration name; then what no look can see."""
    looked_at = [target for target in targets if target.policy.look]
    views, failures = _views(looked_at, look)
    for group, failure in failures.items():
        yield _failure_finding(str(group), failure, group)
    readers = _readers(looked_at, views)
    for group in dict.fromkeys(source.group for source in readers):
        yield from _group(group, {source: names for source, names in readers.items() if source.group == group}, look)
    for target in looked_at:
        yield from _of_target(target, views.get(target.name))
    for target in targets:
        if not target.policy.look:
            yield Finding(f"sources of {target.name}", 'not looked at: look = "off"')


def _views(targets: Sequence[Target], look: Look) -> tuple[Mapping[str, ViewSeen], Mapping[Group, Failure]]:
    """The views by their targets' names, as a look at each database shows them; and the looks that failed."""
    named = {target.name: view for target in targets if (view := view_of(target))}
    seen: dict[str, ViewSeen] = {}
    failures: dict[Group, Failure] = {}
    for group in dict.fromkeys(view.group for view in named.values()):
        answer = look(group, Known({}, frozenset(view.name for view in named.values() if view.group == group)))
        if isinstance(answer, Failure):
            failures[group] = answer
            continue
        seen |= {
            name: answer.views[view.name]
            for name, view in named.items()
            if view.group == group and view.name in answer.views
        }
    return seen, failures


def _readers(targets: Sequence[Target], views: Mapping[str, ViewSeen]) -> dict[SourceTable, list[Target]]:
    """The sources that can be looked at, each with the targets that read it: a finding names all of them."""
    found: dict[SourceTable, list[Target]] = {}
    for target in targets:
        view = views.get(target.name)
        for source in dict.fromkeys((*(view.sources if view else ()), *sources_of(target))):
            found.setdefault(source, []).append(target)
    return found


def _group(group: Group, readers: Mapping[SourceTable, list[Target]], look: Look) -> Iterator[Finding]:
    """Look at the sources of a group until each was followed to its end.

    A look of the function stops after some tables or commits, and goes on at the next one. Here nobody comes again.
    """
    found: dict[str, Observation] = {}
    left = {source.name: SourceMemory(readers=("check",)) for source in readers}
    for _ in range(ROUNDS):
        answer = look(group, Known(left))
        if isinstance(answer, Failure):
            yield _failure_finding(str(group), answer, group)
            break
        found |= answer.sources
        left = {
            name: replace(memory, version=found[name].version or memory.version)
            for name, memory in left.items()
            if not found[name].complete
        }
        if not left or answer.throttled:
            break
    for source, targets in readers.items():
        if source.name in found:
            yield _source(source, _what(source.title, *targets), found[source.name])


def _source(source: SourceTable, what: str, observed: Observation) -> Finding:
    """A line about a source: its version and since when, or why there is no answer."""
    if observed.problem:
        return Finding(what, f"cannot be looked at: {observed.problem}", _cure(source.group))
    if not observed.when:
        return Finding(what, "no answer: throttled", "look again in some minutes", known=False)
    version = version_of(SourceMemory(version=observed.version)) or "none yet"
    since = f", since {observed.news_at:%Y-%m-%d %H:%M:%S}Z" if observed.news_at else ""
    return Finding(what, f"version {version}{since}")


def _of_target(target: Target, view: ViewSeen | None) -> Iterator[Finding]:
    """The part of a target's sources that no look can see, and what is looked at in vain."""
    told = target.on or target.schedule or target.full_schedule or target.after
    for name in view.unreadable if view else ():
        yield Finding(_what(name, target), "cannot be looked at: it is no table", "" if told else NO_TABLE)
    if view and not view.sources and not view.unreadable:
        yield Finding(f"sources of {target.name}", "the view names none", "" if told else NO_TABLE)
    for name in files_of(target):
        yield Finding(_what(name, target), "cannot be looked at: files, of which only events tell")
    read = set(view.sources) if view else set()
    for entry in target.on if view else ():
        if isinstance(entry, IcebergChanged) and not read & set(sources_of(replace(target, on=(entry,)))):
            what = f"iceberg_changed {entry.database}.{entry.table} of {target.name}"
            yield Finding(what, "the view does not read this table", NOT_READ)


def _what(source: str, *targets: Target) -> str:
    """The name of a source as findings have it."""
    return f"source {source} of {', '.join(target.name for target in targets)}"


def _failure_finding(what: str, failure: Failure, group: Group) -> Finding:
    """A look that failed; what may not be seen has a cure, what was not answered is not known."""
    cure = _cure(group) if failure.permanent else "network and credentials; then look again"
    return Finding(what, f"could not look: {failure}", cure, known=False)


def _cure(group: Group) -> str:
    """The cure of a source that gives no answer."""
    return IN_ONELAKE if isinstance(group, DeltaTable) else ON_AWS
