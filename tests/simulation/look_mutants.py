"""Sentences of section 9, each beside the words that break it: a history of looks must tell the broken code."""

from __future__ import annotations

from typing import NamedTuple


class LookMutant(NamedTuple):
    """One sentence, the code without it, and how many histories it takes at most to tell.

    Where several sentences guard the same thing, one alone is not missed by a whole history: what it says is then
    tested by itself (`elsewhere`).
    """

    sentence: str
    change: str
    histories: int = 60
    elsewhere: str = ""


LOOK_MUTANTS = (
    LookMutant(
        "`when` is the moment before the request, by our clock or the answer's Date less the time that it took",
        """
        replies:
        ~ return min(self.asked_at, self.date - self.took) if self.date else self.asked_at => return self.answered_at
        """,
        elsewhere="tests/shared/sources/test_rules.py::test_a_proof_takes_the_earlier_clock_and_a_signal_the_later",
    ),
    LookMutant(
        "a new version is a signal",
        """
        looking:
        - self._reconcile(target, (Signalled(signal),))
        - record = self._follow_views(looked)
        + pass
        + record = self._follow_views(looked)
        """,
    ),
    LookMutant(
        "these times are cut to whole seconds, so it is stamp + 1 s",
        """
        replies:
        ~ return min(moment, stamp + SECOND) if stamp else moment => return stamp - 30 * SECOND if stamp else moment
        """,
        elsewhere="tests/shared/sources/test_rules.py::test_a_stamp_is_rounded_up_and_bounded_by_the_answer",
    ),
    LookMutant(
        "the version is saved as seen only after every target that reads the source has its signal",
        """
        looking:
        - told = self._tell(Looked(group, document, record, answer))
        + self._save(document, replace(remember(record, answer, now), due_at=now + interval))
        + told = self._tell(Looked(group, document, record, answer))
        """,
    ),
    LookMutant(
        "so is any entry of snapshot-log since the last look that does not lead there",
        """
        iceberg:
        ~ current = (metadata.current, *_logged_since(metadata, known)) => current = (metadata.current,)
        """,
        elsewhere="tests/shared/sources/test_golden.py::test_iceberg_news_is_what_changed_data",
    ),
    LookMutant(
        "`replace` snapshots are traced back, and others are news",
        """
        iceberg:
        ~ return any(seen.isdisjoint(metadata.same_data(snapshot)) for snapshot in current) => return False
        """,
    ),
    LookMutant(
        "sources first, then the platform's list of runs (while one is running, nothing is proven)",
        """
        looking:
        - return not isinstance(runs, Failure) and not any(run.phase in {Phase.ACTIVE, Phase.UNKNOWN} for run in runs)
        + return True
        """,
        elsewhere="tests/shared/sources/test_looking.py::test_nothing_is_proven_while_a_run_may_be_going_on",
    ),
    LookMutant(
        "then the view: what it said before the list does not count",
        """
        looking:
        ~ again = self._sources.look(looked.group, Known({}, frozenset(wanted))) => again = looked.seen
        """,
        elsewhere="tests/shared/sources/test_looking.py::test_a_view_that_lost_a_version_meanwhile_is_not_proven",
    ),
    LookMutant(
        "if each source has one of its ids among the view's",
        """
        proof:
        ~ if view.ids.isdisjoint(_ids(memories[source])): => if False:
        """,
    ),
    LookMutant(
        "the view is proven as of T, the earliest `when`",
        """
        proof:
        ~ when = min(_when(memories[source]) for source in view.sources) => when = view.moment
        """,
        elsewhere="tests/shared/sources/test_rules.py::test_a_view_that_read_all_current_versions_is_proven",
    ),
    LookMutant(
        "a proof drops what a run claimed at T would cover",
        """
        proven:
        ~ covered, rest = split(owed, at - lag) => covered, rest = owed, None
        """,
        elsewhere="tests/shared/refresh/test_proven.py::test_a_proof_splits_what_is_owed_as_a_claim_does",
    ),
    LookMutant(
        "a disproof is a signal",
        """
        machine:
        ~ return Folded(replace(signalled, disproved=signalled.owed is not None)) => return Folded(state)
        """,
        elsewhere="tests/shared/refresh/test_proven.py::test_a_disproof_is_a_signal_once",
    ),
    LookMutant(
        "once until the next proof",
        """
        machine:
        ~ if state.disproved or state.owed is not None or state.run is not None: => if state.run is not None:
        """,
        elsewhere="tests/shared/refresh/test_proven.py::test_a_disproof_is_a_signal_once",
    ),
)
