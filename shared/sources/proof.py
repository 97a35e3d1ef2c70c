"""The freshness of a view by its own metadata: proven, ahead, or nothing (design, section 9, rule 6).

sources read . . . . . . . . . view read
T (the earliest `when`)        SubObjectVersionIds
|-- what each source had at T or later is among what the last refresh read: proven as of T --|
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.sources.groups import SourceTable
from shared.sources.memory import IcebergVersion, SourceMemory
from shared.sources.ports import ViewSeen
from shared.values import Value

NO_SNAPSHOT = -1
"""The number among a view's ids that stands for a source without a snapshot (Glue's model allows -1; inferred)."""


class Proof(Value, frozen=True):
    """The view holds what each of its sources had at `at`; `view` is the view's own version."""

    at: datetime
    view: str


class Disproof(Value, frozen=True):
    """A source had at `at` a version that the view does not hold."""

    at: datetime
    source: str


class Undecided(Value, frozen=True):
    """Nothing is proven or disproven, and why."""

    why: str


Judgement = Proof | Disproof | Undecided


def judge(view: ViewSeen, memories: Mapping[SourceTable, SourceMemory]) -> Judgement:
    """Compare a view with its sources, which were read by requests that were answered before the view was asked for."""
    why = _why_not(view, memories)
    if why:
        return Undecided(why)
    when = min(_when(memories[source]) for source in view.sources)
    for source in view.sources:
        if view.ids.isdisjoint(_ids(memories[source])):
            return Disproof(when, source.title)
    return Proof(when, view.version)


def _why_not(view: ViewSeen, memories: Mapping[SourceTable, SourceMemory]) -> str:
    """Why nothing can be said, or nothing."""
    if view.unreadable:
        return f"the view names {view.unreadable[0]}, which is no table"
    if not view.sources or not view.ids:
        return "the view does not say what it read"
    if NO_SNAPSHOT in view.ids:
        return "the view read a source without a snapshot"
    if len(view.ids) > len(view.sources):
        return "the view read more versions than it has sources"
    silent = (source for source in view.sources if not _is_answered(memories.get(source)))
    return next((f"{source.title} gives no version" for source in silent), "")


def _is_answered(memory: SourceMemory | None) -> bool:
    """Whether a source has a version, by an answer that is not overtaken by a problem."""
    return bool(memory and not memory.problem and _ids(memory) and memory.when)


def _ids(memory: SourceMemory) -> tuple[int, ...]:
    return memory.version.ids if isinstance(memory.version, IcebergVersion) else ()


def _when(memory: SourceMemory) -> datetime:
    assert memory.when, "only a source with an answer is judged"
    return memory.when
