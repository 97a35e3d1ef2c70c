"""The loop that looks: over the groups that are due, and before a start (design, section 9).

    look at the group -> signal whom it concerns -> prove or disprove its views -> remember        rule 3
    sources . . . the list of runs . . . the view                                                  rule 6, in this order

A crash anywhere repeats what was told, which folds away. Two that look at one group at once both tell; the memory of
the one that saves first counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from shared.refresh import machine, records
from shared.refresh.engine import LogEvent
from shared.refresh.failure import Failure, FailureKind
from shared.refresh.inputs import Disproved, Input, Proven, Signalled, SourcesHeard, Spared
from shared.refresh.owed import covers
from shared.refresh.ports import Clock, Conflict, Document, Phase, Platform, Store
from shared.refresh.state import Signal, State
from shared.refresh.telling import Reconcile
from shared.refresh.timing import Context
from shared.sources.groups import (
    Group,
    SourceTable,
    decode,
    encode,
    group_of,
    lag_of,
    sources_of,
    view_of,
)
from shared.sources.memory import GroupRecord, SourceMemory, read_group, read_groups, version_of, write_group
from shared.sources.ports import Known, Seen, Sources, ViewSeen
from shared.sources.proof import Disproof, Proof, judge
from shared.sources.remembering import enrol, known_of, news_of, remember, remember_failure
from shared.sources.rhythm import is_silent, next_look, shortest
from shared.sources.standing import is_silent_in, source_statuses
from shared.targets import LakeViews, Target
from shared.values import Value

TRIES = 5
"""How often a record of a group that moves on is read again before a look gives way; the next one is due anyway."""
LOOK_TIME = timedelta(seconds=3)
"""A look before a start takes no longer; else the start goes ahead (design, section 9, rule 7)."""

Each = Callable[[Callable[[str], None], Sequence[str]], None]
"""Call a function for each of some keys."""


def one_by_one(call: Callable[[str], None], keys: Sequence[str]) -> None:
    """Call a function for each key, one after the other."""
    for key in keys:
        call(key)


class Looked(Value, frozen=True):
    """A look at a group: the record as it was read and as it will be saved, and what was seen.

    The document is the condition of the save: a record that somebody changed meanwhile stays as that one left it.
    """

    group: Group
    document: Document
    record: GroupRecord
    seen: Seen


class Looking:
    """Looks at groups of sources, for the targets of one configuration. It keeps nothing between calls."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        store: Store,
        sources: Sources,
        platform: Platform,
        clock: Clock,
        reconcile: Reconcile,
        emit: Callable[[LogEvent], None],
        each: Each = one_by_one,
    ) -> None:
        """`targets` by the key of their record; those that are not looked at are left out.

        `each` calls a function for each of some keys, a few at once where the cloud allows that.
        """
        self._targets = {key: target for key, target in targets.items() if target.policy.look}
        self._views = {view: target for target in self._targets.values() if (view := view_of(target))}
        self._store = store
        self._sources = sources
        self._platform = platform
        self._clock = clock
        self._reconcile = reconcile
        self._emit = emit
        self._each = each

    # --- Who reads what ----------------------------------------------------------------------------------------------

    def enrol(self, target: Target, edition: int) -> None:
        """Have the groups of a target's sources and of its view looked at: what its configuration and the view name.

        `edition` is the number of the one that names the target; the groups keep the highest.
        """
        if target.key not in self._targets:
            return
        view = view_of(target)
        wanted = (*sources_of(target), *(self._named_by(view) if view else ()))
        for group in dict.fromkeys(source.group for source in (*wanted, *((view,) if view else ()))):
            names = {source.name for source in wanted if source.group == group}
            views = frozenset({view.name} if view and view.group == group else ())
            self._change(group, partial(_with_reader, target.key, names, views), edition)

    def _named_by(self, view: SourceTable) -> tuple[SourceTable, ...]:
        """The tables that a view named when it was last seen."""
        record = read_group(self._store.load(view.group.key).body)
        return _decode_all(record.views[view.name].sources) if view.name in record.views else ()

    def _change(self, group: Group, change: Callable[[GroupRecord], GroupRecord], edition: int = 0) -> None:
        """Change a group's record, which is due at once if that changes more than the number of the edition.

        Readers and views are changed by many workers, each its own. So a conflict is read and tried again, and only
        after `TRIES` of them the change waits for the next tick's enrolment, which asks for the same.
        """
        for _ in range(TRIES):
            document = self._store.load(group.key)
            record = read_group(document.body)
            changed = change(record)
            due_at = record.due_at if changed == record else self._clock.now()
            changed = replace(changed, edition=max(edition, record.edition), due_at=due_at)
            if changed == record:
                return
            try:
                self._store.save(document, write_group(changed), due_at)
            except Conflict:
                continue
            return

    # --- A look ------------------------------------------------------------------------------------------------------

    def look_at(self, keys: Sequence[str], is_over: Callable[[], bool], edition: int) -> list[Exception]:
        """Look at groups that are due, in their order, while there is time; the exceptions of those that failed.

        `edition` is the number of the current one, as this invocation read it.
        """
        failures: list[Exception] = []

        def look(key: str) -> None:
            if is_over():
                return
            try:
                self.look(key, edition)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other groups must not wait for it
                failure.add_note(f"group {key}")
                failures.append(failure)

        self._each(look, keys)
        return failures

    def look(self, key: str, edition: int) -> None:
        """Look at one group that is due; a group of a later edition has readers that this worker cannot signal."""
        group = group_of(key)
        document = self._store.load(key)
        record = read_group(document.body)
        if group is None or not document.body or record.edition > edition:
            return
        interval = self._interval(group, record)
        if interval is None:
            self._save(document, replace(record, due_at=None))
            return
        answer = self._sources.look(group, self._filter_known(group, record))
        now = self._clock.now()
        if isinstance(answer, Failure):
            self._note_failure(group, answer)
            failed = remember_failure(record, answer, now)
            self._hear(group, record, failed)
            self._save(document, replace(failed, due_at=next_look(failed, interval, now, complete=True)))
            return
        told = self._tell(Looked(group, document, record, answer))
        is_heard = self._hear(group, record, told)
        complete = answer.complete and told.sources.keys() <= record.sources.keys()
        self._save(document, replace(told, due_at=next_look(told, interval, now, complete=complete)))
        if is_heard:  # of two groups that answer again at once, each may have seen the other silent
            self._hear(group, record, told)
        self._say(str(group), "throttled" if answer.throttled else "answered")

    def _hear(self, group: Group, before: GroupRecord, after: GroupRecord) -> bool:
        """Section 10: say to each target with a silent source whether any is silent still; whether there is such a one.

        Said before a look is remembered, so that none is lost with its worker; and once more afterwards:

            look at a:  hear: b is silent . . . . . . . . . . . save . hear: none is
            look at b:          hear: a is silent . save . hear: a is silent

        A target whose view names other sources now may have lost its silent one. Each round looks at each silent group,
        so a look that has no news must not read the target's other groups, of which there may be a thousand.
        """
        now = self._clock.now()
        renamed = (name for name in before.views if before.views[name].sources != after.views[name].sources)
        answers = self._answers(group, before)
        concerned = {
            target.key: target
            for target, when in answers
            if (look := target.policy.look) is not None and is_silent(when, look, now)
        }
        concerned |= {target.key: target for name in renamed if (target := self._views.get(SourceTable(group, name)))}
        concerned = self._targets_to_tell(concerned, group, after)
        if not concerned:
            return False
        found = source_statuses(concerned.values(), self._store, now, at_hand={group: after})
        for key, document in zip(concerned, self._store.load_many(list(concerned)), strict=True):
            heard = SourcesHeard(any(source.silent for source in found[key]))
            if records.read_state(document.body).told_silent != heard.is_silent:
                self._reconcile(concerned[key], (heard,))
        return True

    def _targets_to_tell(self, concerned: Mapping[str, Target], group: Group, after: GroupRecord) -> dict[str, Target]:
        """The targets that may have to be told, without those that know, and that this group alone keeps silent."""
        documents = self._store.load_many(list(concerned)) if concerned else ()
        told = {document.key for document in documents if records.read_state(document.body).told_silent}
        views = {view.group for key in told if (view := view_of(concerned[key]))}
        at_hand = {group: after} | read_groups(self._store, views - {group})
        now = self._clock.now()
        return {
            key: target
            for key, target in concerned.items()
            if not (key in told and is_silent_in(group, target, at_hand, now))
        }

    def _answers(self, group: Group, record: GroupRecord) -> Iterator[tuple[Target, datetime | None]]:
        """Whom each source and view of a group concerns, with the last answer about it."""
        for memory in record.sources.values():
            for reader in memory.readers:
                if reader in self._targets:
                    yield self._targets[reader], memory.when
        for name, view in record.views.items():
            target = self._views.get(SourceTable(group, name))
            if target:
                yield target, view.when

    def _note_failure(self, group: Group, failure: Failure) -> None:
        outcome = "throttled" if failure.kind is FailureKind.THROTTLED else "failed"
        self._say(str(group), outcome, why=str(failure))

    def _interval(self, group: Group, record: GroupRecord) -> timedelta | None:
        """The shortest interval of those that read the group now; None where nobody does."""
        readers = {reader for memory in record.sources.values() for reader in memory.readers}
        targets = [self._targets[reader] for reader in readers if reader in self._targets]
        views = [self._views[view] for name in record.views if (view := SourceTable(group, name)) in self._views]
        return shortest(target.policy.look for target in (*targets, *views))

    def _filter_known(self, group: Group, record: GroupRecord) -> Known:
        """The sources that a target here reads, and the views that one here refreshes; others are not asked for."""
        known = known_of(record)
        read = {
            name: memory
            for name, memory in known.sources.items()
            if any(reader in self._targets for reader in memory.readers)
        }
        return Known(read, frozenset(name for name in known.views if SourceTable(group, name) in self._views))

    def _tell(self, looked: Looked) -> GroupRecord:
        """Signal the readers of what is new, then judge the views; the record to be saved after both.

        In this order a crash repeats what was told, and a proof is judged against a memory that has the news in it:

            signal daily_revenue: new data in sales.orders ── the view read an older snapshot ──> disproved, if at all
        """
        for news in news_of(looked.group, looked.record, looked.seen):
            for reader in news.readers:
                target = self._targets.get(reader)
                if target and _reads(target, news.source):
                    signal = replace(news.signal, extra_lag=lag_of(target, news.source))
                    self._reconcile(target, (Signalled(signal),))
        record = self._follow_views(looked)
        record = remember(record, looked.seen, self._clock.now())
        self._judge(looked, record)
        return record

    def _follow_views(self, looked: Looked) -> GroupRecord:
        """Rule 1: what a view names are its sources; a change of it is a signal, at the moment of the answer."""
        record = looked.record
        for name, view in looked.seen.views.items():
            target = self._views.get(SourceTable(looked.group, name))
            named = tuple(sorted(encode(source) for source in view.sources))
            if target is None or (named == record.views[name].sources and record.views[name].when):
                continue
            record = self._name_sources(target, looked.group, record, view, record.views[name].sources)
            if record.views[name].when:
                signal = Signal(view.moment, "the view names other sources", unseen=True)
                self._reconcile(target, (Signalled(signal),))
        return record

    def _name_sources(
        self, target: Target, group: Group, record: GroupRecord, view: ViewSeen, before: tuple[str, ...]
    ) -> GroupRecord:
        """Write a target as the reader of what its view names, into other groups at once and into this one's record."""
        wanted = tuple(dict.fromkeys((*view.sources, *sources_of(target))))
        groups = {source.group for source in (*wanted, *_decode_all(before))}
        for other in sorted(groups - {group}, key=lambda each: each.key):
            names = {source.name for source in wanted if source.group == other}
            self._change(other, partial(_with_reader, target.key, names, frozenset()), record.edition)
        own = {source.name for source in wanted if source.group == group}
        return _with_reader(target.key, own, frozenset(), record)

    # --- Proofs ------------------------------------------------------------------------------------------------------

    def _judge(self, looked: Looked, record: GroupRecord) -> None:
        """Rule 6: prove or disprove the views of a group, by what is remembered of their sources."""
        memories = self._memories(looked.seen.views.values(), looked.group, record)
        wanted: dict[str, Target] = {}
        for name, view in looked.seen.views.items():
            target = self._views.get(SourceTable(looked.group, name))
            if target and self._would_write(target, view, memories) and self._is_quiet(target):
                wanted[name] = target
        if not wanted:
            return
        again = self._sources.look(looked.group, Known({}, frozenset(wanted)))
        if isinstance(again, Failure):
            self._note_failure(looked.group, again)
            return
        for name, view in again.views.items():
            given = _decide(view, memories)
            if given and name in wanted:
                self._reconcile(wanted[name], (given,))

    def _memories(
        self, views: Iterable[ViewSeen], group: Group, record: GroupRecord
    ) -> dict[SourceTable, SourceMemory]:
        """The memories of all sources of these views; those of this group are taken from the record in hand.

        A source without a memory is left out, and a view that names one can be neither proven nor disproved.
        """
        sources = tuple(dict.fromkeys(source for view in views for source in view.sources))
        found = {group: record} | read_groups(self._store, {source.group for source in sources} - {group})
        return {
            source: memory for source in sources if (memory := found[source.group].sources.get(source.name)) is not None
        }

    def _would_write(self, target: Target, view: ViewSeen, memories: Mapping[SourceTable, SourceMemory]) -> bool:
        """Whether what the ids say would be written, so that it is worth a list of runs."""
        given = _decide(view, memories)
        if given is None:
            return False
        state = records.read_state(self._store.load(target.key).body)
        context = Context(target.key, target.policy, self._platform.capabilities)
        return machine.fold(state, given, context, self._clock.now()).state != state

    def _is_quiet(self, target: Target) -> bool:
        """Whether the platform lists no run that may be going on; a failed list proves nothing."""
        runs = self._platform.list(target, self._clock.now())
        return not isinstance(runs, Failure) and not any(run.phase in {Phase.ACTIVE, Phase.UNKNOWN} for run in runs)

    # --- Before a start ----------------------------------------------------------------------------------------------

    def before_start(self, target: Target, state: State) -> Input | None:
        """Rule 7: what spares a start, if a new look shows that a refresh would read nothing new.

        It saves no memory, and takes `LOOK_TIME` at most: then the start goes ahead.
        """
        if target.key not in self._targets:
            return None
        ends_at = self._clock.monotonic() + LOOK_TIME.total_seconds()
        view = view_of(target)
        found = self._prove(target, view, ends_at) if view else self._spare(target, state, ends_at)
        in_time = self._clock.monotonic() <= ends_at
        self._say(f"sources of {target.name}", "spared" if found and in_time else "not spared", target.name)
        return found if in_time else None

    def _prove(self, target: Target, view: SourceTable, ends_at: float) -> Input | None:
        """Sources anew, then the list of runs, then the view anew."""
        sources = self._named_by(view)
        memories = self._look_anew(sources, ends_at) if sources else None
        if memories is None or not self._is_quiet(target) or self._clock.monotonic() > ends_at:
            return None
        seen = self._sources.look(view.group, Known({}, frozenset({view.name})), ends_at=ends_at)
        if isinstance(seen, Failure) or view.name not in seen.views:
            return None
        given = _decide(seen.views[view.name], memories)
        return given if isinstance(given, Proven) else None

    def _look_anew(self, sources: Sequence[SourceTable], ends_at: float) -> dict[SourceTable, SourceMemory] | None:
        """The memories that a new look gives of these sources; None where a source gives no answer, or not in time."""
        found: dict[SourceTable, SourceMemory] = {}
        for group in dict.fromkeys(source.group for source in sources):
            record = read_group(self._store.load(group.key).body)
            names = {source.name for source in sources if source.group == group}
            known = {name: record.sources.get(name, SourceMemory()) for name in names}
            seen = self._sources.look(group, Known(known), ends_at=ends_at)
            if isinstance(seen, Failure) or self._clock.monotonic() > ends_at:
                return None
            looked = remember(GroupRecord(sources=known), seen, self._clock.now())
            found |= {SourceTable(group, name): memory for name, memory in looked.sources.items()}
            if any(not seen.sources[name].when for name in names):
                return None
        return found

    def _spare(self, target: Target, state: State, ends_at: float) -> Input | None:
        """Fabric proves nothing, but the last successful run read all data that it covers.

        That spares a start only where all that is owed came from tables that are looked at.
        """
        owed, as_of, sources = state.owed, state.fresh_as_of, sources_of(target)
        if not (owed and owed.looked and as_of and sources and isinstance(target.resource, LakeViews)):
            return None
        memories = self._look_anew(sources, ends_at)
        if memories is None or not all(_was_read(target, *item, as_of) for item in memories.items()):
            return None
        when = min(memory.when for memory in memories.values() if memory.when)
        return Spared(when, self._clock.now())

    def read_by(self, target: Target, claimed_at: datetime) -> dict[str, str]:
        """The versions of a target's sources that a run claimed then is known to have read, by the sources' names."""
        if target.key not in self._targets:
            return {}
        view = view_of(target)
        sources = dict.fromkeys((*sources_of(target), *(self._named_by(view) if view else ())))
        records_of = read_groups(self._store, {source.group for source in sources})
        found = {source: records_of[source.group].sources.get(source.name, SourceMemory()) for source in sources}
        return {
            source.title: version_of(memory)
            for source, memory in found.items()
            if version_of(memory) and _was_read(target, source, memory, claimed_at)
        }

    def _say(self, group: str, outcome: str, target: str = "", why: str = "") -> None:
        """Tell what a look led to: `answered`, `failed` or `throttled`; before a start, `spared` or `not spared`.

        Metrics have these words as a dimension, so they stay from release to release.
        """
        fields = {"group": group, "outcome": outcome} | ({"why": why} if why else {})
        self._emit(LogEvent("looked", target, self._clock.now(), fields))

    # --- Saving ------------------------------------------------------------------------------------------------------

    def _save(self, document: Document, record: GroupRecord) -> None:
        """Save the memory. Whoever was first told the same, so a conflict is left at that."""
        try:
            self._store.save(document, write_group(record), record.due_at)
        except Conflict:
            return


def _decode_all(names: Iterable[str]) -> tuple[SourceTable, ...]:
    """The sources that these keys name, without those of a later release."""
    return tuple(source for name in names if (source := decode(name)))


def _with_reader(target: str, names: Iterable[str], views: frozenset[str], record: GroupRecord) -> GroupRecord:
    return enrol(record, target, dict.fromkeys(names), views)


def _reads(target: Target, source: SourceTable) -> bool:
    """Whether a target still reads a source: a view what it names, any other what its configuration names."""
    return view_of(target) is not None or source in sources_of(target)


def _decide(view: ViewSeen, memories: Mapping[SourceTable, SourceMemory]) -> Input | None:
    """The input of the machine that follows from a view's ids; None where they prove nothing, either way."""
    match judge(view, memories):
        case Proof(at, version):
            return Proven(at, version, view.moment)
        case Disproof(at, source):
            return Disproved(at, source)
        case _:
            return None


def _was_read(target: Target, source: SourceTable, memory: SourceMemory, claimed_at: datetime) -> bool:
    """Whether a run claimed then read the data that a source has now.

    It did if an answer had shown the data before, or if it covers the time at which the data came, as it covers a
    signal: the look before a start, which is the first to show what an event told of, saves no memory.
    """
    lag = lag_of(target, source)
    shown = memory.shown_at is not None and memory.shown_at + lag <= claimed_at
    covered = memory.since is not None and covers(claimed_at, memory.since + lag, target.policy.visibility_lag)
    return not memory.problem and (shown or covered)
