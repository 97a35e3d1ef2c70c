"""Sentences of section 9, each beside the words that break it: a history must tell the broken code.

Most show in one written by hand, each of which says what is right in it; some within so many histories from seeds.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation import look_scenarios as tales
from tests.simulation import look_sentences as sentences
from tests.simulation.look_scenarios import Tale


class LookMutant(NamedTuple):
    """A sentence, where it shows that the code is without it, and how it is broken (`core.patches`)."""

    says: str
    caught: Tale | int
    patch: str


# A mutant is read as a whole: the sentence, where it shows, and the lines that break it.
# fmt: off
LOOK_MUTANTS = (
    # --- Clocks ------------------------------------------------------------------------------------------------------
    LookMutant("`when` is the moment before the request", tales.an_old_answer, """
        replies:
        ~ return min(self.asked_at, self.date - self.took) if self.date else self.asked_at => return self.answered_at
        """),
    LookMutant("... or, if earlier, the answer's Date less the time that the request took", tales.a_fast_clock, """
        replies:
        ~ return min(self.asked_at, self.date - self.took) if self.date else self.asked_at => return self.asked_at
        """),
    LookMutant("the moment of an answer is the later of our clock and its Date plus a second",
               tales.the_same_by_a_slow_clock, """
        replies:
        ~ max(self.answered_at, self.date + SECOND) if self.date else self.answered_at => self.answered_at
        """),
    LookMutant("a group without readers leaves the index", tales.a_group_without_readers, """
        looking:
        ~ self._save(document, replace(record, due_at=None)) => pass
        """),
    LookMutant("`look = off`: neither signals nor proofs", sentences.off_is_off, """
        looking:
        ~ {key: target for key, target in targets.items() if target.policy.look} => dict(targets)
        """),
    LookMutant("a shared group has the shortest interval of its readers", tales.two_readers, """
        rhythm:
        ~ return min((interval for interval in intervals if interval), default=None) => return max(filter(None, intervals), default=None)
        """),  # noqa: E501 - one line of the code
    # --- 1. Sources --------------------------------------------------------------------------------------------------
    LookMutant("sources are those that the view itself names", 20, """
        looking:
        - own = {source.name for source in wanted if source.group == group}
        + own = set()
        """),
    LookMutant("a change of what it names is a signal", tales.a_source_is_left, """
        looking:
        - signal = Signal(view.moment, "the view names other sources", unseen=True)
        - self._reconcile(target, (Signalled(signal),))
        + pass
        """),
    LookMutant("... at the moment of the answer", tales.a_source_is_left, """
        looking:
        ~ signal = Signal(view.moment, => signal = Signal(view.when,
        """),
    # --- 2. A new version --------------------------------------------------------------------------------------------
    LookMutant("a new version is a signal", tales.compaction_and_expiry, """
        looking:
        - self._reconcile(target, (Signalled(signal),))
        - record = self._follow_views(looked)
        + pass
        + record = self._follow_views(looked)
        """),
    LookMutant("... at the time of the platform's own clock, never one that a writer wrote",
               tales.written_before_its_commit, """
        catalog:
        - stamp = listed.stamp if as_known and load.dated else None
        + stamp = datetime.fromtimestamp(metadata.log[-1][0] / 1000, load.moment.tzinfo)
        """),
    LookMutant("these times are cut to whole seconds, so it is the stamp plus a second", tales.late_in_its_second, """
        replies:
        ~ return min(moment, stamp + SECOND) if stamp else moment => return min(moment, stamp) if stamp else moment
        """),
    LookMutant("where loadTable names another location than the list, it is the moment of that answer",
               tales.commit_between_list_and_load, """
        catalog:
        ~ stamp = listed.stamp if as_known and load.dated else None => stamp = listed.stamp
        """),
    # --- 3. Signals, proofs, memory ----------------------------------------------------------------------------------
    LookMutant("the version is saved as seen only after every reader has its signal", 60, """
        looking:
        - told = self._tell(Looked(group, document, record, answer))
        + self._save(document, replace(remember(record, answer, now), due_at=now + interval))
        + told = self._tell(Looked(group, document, record, answer))
        """),
    LookMutant("a source seen for the first time signals, too", tales.first_seen_late, """
        iceberg:
        - if known is None or known.uuid != metadata.uuid:
        + if known is None:
        +     return False
        + if known.uuid != metadata.uuid:
        """),
    # --- 4. Maintenance ----------------------------------------------------------------------------------------------
    LookMutant("`replace` snapshots are traced back", tales.compaction_and_expiry, """
        iceberg:
        ~ return self.parent_snapshot_id if self.summary and self.summary.operation == REPLACE else None => return None
        """),
    LookMutant("... the id of an expired parent included", tales.compaction_and_expiry, """
        iceberg:
        ~ if known.source_of_data in chain: => if known.source_of_data in chain or known.source_of_data not in self.snapshots:
        """),  # noqa: E501 - one line of the code
    LookMutant("... to an id that the memory knows, which keeps those that hold the same data",
               tales.compactions_in_a_row, """
        iceberg:
        - ids = tuple(dict.fromkeys((*ids, *known.ids)))
        + pass
        """),
    LookMutant("... up to 20, the oldest above all", tales.compactions_in_a_row, """
        iceberg:
        ~ ids = (*ids[: IDS_KEPT - 1], ids[-1]) => ids = ids[:IDS_KEPT]
        """),
    LookMutant("a version that does not lead there is news", tales.commit_between_list_and_load, """
        iceberg:
        ~ return any(seen.isdisjoint(metadata.same_data(snapshot)) for snapshot in current) => return False
        """),
    LookMutant("so is any entry of snapshot-log that does not: there and back again", tales.a_source_comes_and_goes, """
        iceberg:
        ~ current = (metadata.current, *_logged_since(metadata, known)) => current = (metadata.current,)
        """),
    LookMutant("... since the last look", tales.two_old_versions, """
        iceberg:
        ~ log = log[last + 1 :] => log = log[last + 2 :]
        """),
    LookMutant("Delta commits without dataChange are passed over", sentences.delta_maintenance, """
        delta:
        ~ if any(file and file.data_change for file in (action.add, action.remove)): => if action.add or action.remove:
        """),
    LookMutant("... those with another digest of id, schema and partitioning are not", sentences.delta_schema, """
        delta:
        ~ is_data = commit.data or reshaped => is_data = commit.data
        """),
    LookMutant("... and a property alone gives none", sentences.delta_maintenance, """
        delta:
        ~ reshaped = bool(commit.shape) and commit.shape != known.shape => reshaped = bool(commit.shape)
        """),
    LookMutant("a commit is read up to 16 MiB before it is taken for data", sentences.delta_maintenance, """
        delta:
        ~ rest = files.get_file(table, name, len(body), COMMIT_LIMIT - 1, "") => return Commit(data=True)
        """),
    LookMutant("each look asks for the file last seen: another ETag is news", sentences.delta_recreated, """
        delta:
        ~ if reply.status == NOT_MODIFIED: => if reply.status != NOT_FOUND:
        """),
    LookMutant("... so is gone with no next one", sentences.delta_recreated, """
        delta:
        ~ if following.status != NOT_FOUND: => if True:
        """),
    LookMutant("gone with a next one is clean-up", sentences.delta_cleaned, """
        delta:
        ~ if following.status != NOT_FOUND: => if False:
        """),
    LookMutant("a trace that is cut off is no look", sentences.delta_cut_off, """
        delta:
        ~ when=trail.first.when if trail.complete else None, => when=trail.first.when,
        """),
    LookMutant("... and due again at once", sentences.delta_cut_off, """
        delta:
        ~ complete=trail.complete or trail.failure is not None, => complete=True,
        """),
    # --- 5. Absent ---------------------------------------------------------------------------------------------------
    LookMutant("a source that a list leaves out is gone or not allowed", tales.a_table_is_hidden, """
        catalog:
        ~ observations[name] = Observation(problem=GONE) => observations[name] = Observation()
        """),
    LookMutant("... a list that is read to its end", sentences.a_list_with_pages, """
        catalog:
        ~ if not following: => if following or not following:
        """),
    LookMutant("a failed look says nothing", sentences.a_list_with_pages, """
        catalog:
        - for answer in _pages(catalog.get_tables, _tables_parameters(group, names), "NextToken"):
        -     if isinstance(answer, Failure):
        -         return answer
        + for answer in _pages(catalog.get_tables, _tables_parameters(group, names), "NextToken"):
        +     if isinstance(answer, Failure):
        +         break
        """),
    LookMutant("`when` moves for nothing but an answer", tales.a_table_is_hidden, """
        remembering:
        ~ name: _remember_source(memory, seen.sources[name]) if name => name: replace(_remember_source(memory, seen.sources[name]), when=now) if name
        """),  # noqa: E501 - one line of the code
    LookMutant("a source without an answer for three intervals makes the verdict unknown", sentences.silence, """
        rhythm:
        ~ return when is None or now - when > SILENT_INTERVALS * interval => return when is None or now - when > 4 * interval
        """),  # noqa: E501 - one line of the code
    # --- 6. Proofs ---------------------------------------------------------------------------------------------------
    LookMutant("while a run is running, nothing is proven", tales.foreign_run_ends_late, """
        looking:
        - return not isinstance(runs, Failure) and not any(run.phase in {Phase.ACTIVE, Phase.UNKNOWN} for run in runs)
        + return True
        """),
    LookMutant("a failed list proves nothing", tales.a_list_of_runs_fails, """
        looking:
        ~ return not isinstance(runs, Failure) and not any( => return isinstance(runs, Failure) or not any(
        """),
    LookMutant("the list is asked for only where the ids decide something that would be written",
               tales.a_proof_that_says_nothing_new, """
        looking:
        ~ if target and self._would_write(target, view, memories) and self._is_quiet(target): => if target and self._is_quiet(target):
        """),  # noqa: E501 - one line of the code
    LookMutant("then the view, by a request sent after", tales.there_and_back_within_a_look, """
        looking:
        ~ again = self._sources.look(looked.group, Known({}, frozenset(wanted))) => again = looked.seen
        """),
    LookMutant("if each source that this last answer names has one of its ids", tales.a_source_is_gained, """
        proof:
        - silent = (source for source in view.sources if not _is_answered(memories.get(source)))
        - return next((f"{source.title} gives no version" for source in silent), "")
        + return ""
        ~ when = min(_when(memories[source]) for source in view.sources) => when = min(_when(memories[s]) for s in view.sources if s in memories and memories[s].when)
        ~ for source in view.sources: => for source in [s for s in view.sources if s in memories and memories[s].when]:
        """),  # noqa: E501 - one line of the code
    LookMutant("... among the view's", tales.there_and_back_within_a_look, """
        proof:
        ~ if view.ids.isdisjoint(_ids(memories[source])): => if False:
        """),
    LookMutant("proven as of T, the earliest `when`", tales.owed_is_younger_than_the_proof, """
        proof:
        ~ when = min(_when(memories[source]) for source in view.sources) => when = view.moment
        """),
    LookMutant("... of all sources", sentences.odd_views, """
        proof:
        ~ when = min(_when(memories[source]) for source in view.sources) => when = max(_when(memories[source]) for source in view.sources)
        """),  # noqa: E501 - one line of the code
    LookMutant("more ids than sources: nothing is proven", sentences.odd_views, """
        proof:
        ~ if len(view.ids) > len(view.sources): => if False:
        """),
    LookMutant("a source without a snapshot: nothing is proven", sentences.odd_views, """
        proof:
        ~ if NO_SNAPSHOT in view.ids: => if False:
        """),
    LookMutant("a source without an answer: nothing is proven", sentences.odd_views, """
        proof:
        ~ return bool(memory and not memory.problem and _ids(memory) and memory.when) => return bool(memory and _ids(memory))
        """),  # noqa: E501 - one line of the code
    LookMutant("a source that is no Iceberg table: nothing is proven", sentences.odd_views, """
        proof:
        ~ if view.unreadable: => if False:
        """),
    LookMutant("a proof drops what a run claimed at T would cover, split as by a claim",
               tales.owed_is_younger_than_the_proof, """
        proven:
        ~ covered, rest = split(owed, at - lag) => covered, rest = owed, None
        """),
    LookMutant("... if nothing in it is asked", tales.somebody_asks, """
        proven:
        ~ if owed is None or owed.asked or owed.full or state.run is not None: => if owed is None or owed.full or state.run is not None:
        """),  # noqa: E501 - one line of the code
    LookMutant("... or full", sentences.proofs_and_holds, """
        proven:
        ~ if owed is None or owed.asked or owed.full or state.run is not None: => if owed is None or owed.asked or state.run is not None:
        """),  # noqa: E501 - one line of the code
    LookMutant("... and no run is in the record", tales.proof_during_our_run, """
        proven:
        ~ owed.full or state.run is not None: => owed.full:
        - if state.run is not None:
        -     return state, None
        + pass
        """),
    LookMutant("it covers no later signal", tales.an_event_after_the_proof, """
        machine:
        ~ as_of = state.full_as_of if full else state.fresh_as_of => as_of = state.full_as_of if full else max(filter(None, (state.fresh_as_of, state.proven_as_of)))
        """),  # noqa: E501 - one line of the code
    LookMutant("a proof that drops something tells followers", tales.followers_of_a_proof, """
        proven:
        ~ outcome = Outcome.SPARED if state.told_of == proven.view else Outcome.PROVEN => outcome = Outcome.SPARED
        """),
    LookMutant("... unless they were told of that ViewVersionId", tales.followers_of_a_proof, """
        proven:
        ~ outcome = Outcome.SPARED if state.told_of == proven.view else Outcome.PROVEN => outcome = Outcome.PROVEN
        """),
    LookMutant("it ends no hold", sentences.proofs_and_holds, """
        proven:
        ~ hold = None if isinstance(rest.hold, Cancelled) and rest.owed is None else rest.hold => hold = None
        """),
    LookMutant("... no backoff, no count of failures", sentences.proofs_and_holds, """
        proven:
        ~ disproved=False, hold=hold) => disproved=False, hold=hold, failures=0, not_before=None)
        """),
    LookMutant("it is written only if it drops something, re-arms a disproof or is two intervals newer",
               tales.a_proof_that_says_nothing_new, """
        proven:
        ~ return known is None or policy.look is None or at - known >= 2 * policy.look => return True
        """),
    LookMutant("a disproof is a signal", tales.a_view_is_restored, """
        machine:
        ~ return Folded(replace(signalled, disproved=signalled.owed is not None)) => return Folded(state)
        """),
    LookMutant("... once until the next proof", tales.a_view_that_never_agrees, """
        machine:
        ~ return Folded(replace(signalled, disproved=signalled.owed is not None)) => return Folded(signalled)
        """),
    # --- 7. Before a start -------------------------------------------------------------------------------------------
    LookMutant("a refresh that would read nothing new is not started", tales.a_storm_about_nothing, """
        looking:
        ~ found = self._prove(target, view, ends_at) if view else self._spare(target, state, ends_at) => found = None
        """),
    LookMutant("the look comes no sooner than 3 s after the visibility lag", tales.a_storm_about_nothing, """
        decide:
        ~ return owed.newest + policy.visibility_lag + LOOK_LEAD => return owed.newest
        """),
    LookMutant("it reads all sources anew", tales.owed_is_younger_than_the_proof, """
        looking:
        - memories = self._look_anew(sources, ends_at) if sources else None
        + found = {s: read_group(self._store.load(s.group.key).body).sources[s.name] for s in sources}
        + memories = {s: replace(memory, when=self._clock.now()) for s, memory in found.items()}
        """),
    LookMutant("... and saves no memory", tales.a_look_before_a_start_is_no_memory, """
        looking:
        - looked = remember(GroupRecord(sources=known), seen, self._clock.now())
        + looked = remember(GroupRecord(sources=known), seen, self._clock.now())
        + document = self._store.load(group.key)
        + self._save(document, remember(read_group(document.body), seen, self._clock.now()))
        """),
    LookMutant("longer than 3 s, the start goes ahead", tales.looks_fail_before_a_start, """
        looking:
        ~ ends_at = self._clock.monotonic() + LOOK_TIME.total_seconds() => ends_at = float("inf")
        """),
    LookMutant("neither asked nor full", sentences.asked_starts_at_once, """
        decide:
        ~ if owed is None or owed.asked or start.full or policy.look => if owed is None or start.full or policy.look
        """),
    LookMutant("... nor full", sentences.asked_starts_at_once, """
        decide:
        ~ if owed is None or owed.asked or start.full or policy.look => if owed is None or owed.asked or policy.look
        """),
    LookMutant("one that is overdue by two minutes is not looked at", sentences.overdue_starts_at_once, """
        decide:
        ~ if due_at is None or now - max(due_at, state.startable_since or due_at) > OVERDUE: => if due_at is None:
        """),
    LookMutant("... counted from when it was known and possible", sentences.overdue_starts_at_once, """
        decide:
        ~ now - max(due_at, state.startable_since or due_at) > OVERDUE => now - due_at > OVERDUE
        """),
    LookMutant("a tick does what needs no look first", sentences.a_tick_in_its_order, """
        sweep:
        ~ self._reconcile(key, errors, may_look=False) => self._reconcile(key, errors)
        """),
    # --- 8. The ratio ------------------------------------------------------------------------------------------------
    LookMutant("a throttled look doubles the interval of its group", sentences.throttled_looks, """
        rhythm:
        ~ interval * (1 << min(record.doublings, 10)))) => interval))
        """),
    LookMutant("... to an hour at most", sentences.throttled_looks, """
        rhythm:
        ~ max(interval, min(INTERVAL_CEILING, interval * (1 << min(record.doublings, 10)))) => interval * (1 << min(record.doublings, 10))
        """),  # noqa: E501 - one line of the code
    LookMutant("it returns an hour after the last", sentences.throttled_looks, """
        rhythm:
        ~ if record.throttled_at is None or now - record.throttled_at >= CALM: => if record.throttled_at is None:
        """),
    LookMutant("one look loads a bounded number of tables", sentences.two_loads_at_most, """
        catalog:
        ~ elif throttled or single.count >= LOADS: => elif throttled:
        """),
    LookMutant("one that is throttled ends the loading", sentences.throttled_by_the_rest_catalog, """
        catalog:
        ~ elif throttled or single.count >= LOADS: => elif single.count >= LOADS:
        """),
    # --- Fabric ------------------------------------------------------------------------------------------------------
    LookMutant("every signal owed came from looked-at tables", sentences.spared_by_cause, """
        looking:
        ~ if not (owed and owed.looked and as_of => if not (owed and as_of
        """),
    LookMutant("each of those tables still has the data version seen before the claim", sentences.spared_by_cause, """
        looking:
        ~ return not memory.problem and (shown or covered) => return not memory.problem
        """),
    LookMutant("for lake views; every item job is started", sentences.spared_by_cause, """
        looking:
        ~  and sources and isinstance(target.resource, LakeViews)): =>  and sources):
        """),
    # --- Just in time ------------------------------------------------------------------------------------------------
    LookMutant("less twice the longest of its last run times", sentences.just_in_time, """
        decide:
        ~ spare_time = max(2 * longest, longest + LEAST_SPARE) => spare_time = max(longest, longest + LEAST_SPARE)
        """),
    LookMutant("... at least that time and two minutes", sentences.just_in_time, """
        decide:
        ~ spare_time = max(2 * longest, longest + LEAST_SPARE) => spare_time = 2 * longest
        """),
    LookMutant("... less one look interval", sentences.just_in_time, """
        decide:
        ~ longest + LEAST_SPARE) + (policy.look or timedelta(0)) => longest + LEAST_SPARE)
        """),
    LookMutant("what a person or a schedule asks, or is full, starts at once", sentences.just_in_time, """
        decide:
        ~ if owed.asked or owed.full or owed.prompt: => if False:
        """),
)
# fmt: on
