"""Histories of looking written by hand: what random ones rarely draw, and what a sentence of section 9 is for.

Each plays on the core that it is given, and says what is wrong; on what ships, nothing is. Until `START` the view `v`
over the tables `a` and `b` is deployed, refreshed and looked at; then nothing is looked at for an hour but by the tale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.refresh import records
from shared.refresh.state import State
from shared.sources.memory import SourceMemory, read_group
from shared.targets import Policy, Target
from tests.simulation.core import Core
from tests.simulation.faults import CallFault, Fate, Script
from tests.simulation.judge import violations
from tests.simulation.looks import GROUP, LakeSimulation
from tests.simulation.platform import PlatformRun, character
from tests.simulation.world import at, make_target, seconds

Tale = Callable[[Core], list[str]]

START = 3000.0
"""True seconds at which a tale begins: the second signal for a new target, a quarter of an hour after the first, and
the looks that follow are over."""
LISTING, CALL = 5.0, 10.0
LAG = 10.0
POLICY = Policy(
    quiet_period=timedelta(seconds=8),
    max_wait=timedelta(seconds=600),
    min_interval=timedelta(0),
    visibility_lag=timedelta(seconds=LAG),
    timeout=timedelta(hours=1),
    look=timedelta(hours=1),
)
QUICK = replace(POLICY, visibility_lag=timedelta(seconds=2))
SOON = 40.0
"""Seconds in which what is owed is refreshed: the lag, a wake, a look before the start, a run of 20 seconds."""
REST = 4 * 3600.0
"""Longer than the judge's patience."""


@dataclass
class LakeScript(Script):
    """A script whose runs take `run`, and whose worker stands still once after the next look is answered."""

    run: Fate = Fate(20.0)  # noqa: RUF009 - a named tuple
    freezes: float = 0.0

    def fate(self, *, ours: bool) -> Fate:
        """As the tale says at the moment."""
        return self.run

    def pause(self, effect: str) -> float:
        """As written, and once as long as the tale says."""
        seconds = super().pause(effect)
        if effect == "look<" and self.freezes:
            seconds, self.freezes = self.freezes, 0.0
        return seconds


class Tell:
    """A tale as it goes on: the deployment, and what is wrong so far."""

    def __init__(self, core: Core, *others: Target, policy: Policy = POLICY, begins: float = START) -> None:
        """`others` read the table `a`; with another beginning the targets are new, and no look was answered yet."""
        self.script, self.start = LakeScript(), begins
        self.target = make_target("v", "glue", policy, buckets=("a", "b"))
        configuration = Configuration((self.target, *others))
        self.sim = LakeSimulation(core, self.script, character("glue", LISTING, CALL), configuration)
        self.keys = {target.name: target.key for target in configuration.targets}
        self.lake, self.scheduler = self.sim.lake, self.sim.scheduler
        self.sim.loses = lambda: True
        self.lake.views.update({"v": ["a", "b"]} | {other.name: ["a"] for other in others})
        for table in ("a", "b"):
            self.lake.commit(table)
        if begins != START:
            self.script.otherwise["look"] = CallFault(failure="rejected")
        self.wrong: list[str] = []
        self.sim.tick(0.0)
        self.scheduler.run(begins)
        self.script.otherwise.clear()
        self.before = len(self.runs())
        self.saved: list[State] = []
        self._forget_proof()
        checks = self.sim.store.on_save

        def saved() -> None:
            self.saved.append(self.state())
            checks()

        self.sim.store.on_save = saved

    def _forget_proof(self) -> None:
        """A proof is written only if it is news: from here on it is."""
        document = self.sim.store.load(self.target.key)
        state = replace(records.read_state(document.body), proven_as_of=None)
        self.sim.store.save(document, records.write(state), state.wake_at)

    # --- What happens

    def at(self, after: float, do: Callable[[], object]) -> None:
        """Do something so many seconds after the beginning of the tale."""
        self.scheduler.at(self.start + after, do)

    def commit(self, after: float, table: str = "a", *, told: bool = False) -> None:
        """New data; its event is lost unless it is told."""
        self.at(after, partial(self.commit_now, table, told=told))

    def commit_now(self, table: str, *, told: bool = False) -> None:
        """The same, at this moment."""
        self.sim.loses = lambda: not told
        self.sim.commit(table)

    def change(self, after: float, what: str, table: str = "a", **options: object) -> None:
        """A roll-back, a compaction, a table that is made anew."""
        self.at(after, partial(self.sim.change, what, table, **options))

    def foreign(self, after: float, takes: float = 2.0) -> None:
        """Somebody else refreshes the view."""

        def start() -> None:
            ours, self.script.run = self.script.run, Fate(takes)
            self.sim.foreign_start("v")
            self.script.run = ours

        self.at(after, start)

    def look(self, after: float, *, clock: float = 0.0, freezes: float = 0.0) -> None:
        """A worker looks, whose clock is so far ahead; it stands still when its first answer has come."""

        def begin() -> None:
            self.script.clock, self.script.freezes = clock, freezes
            self.sim.look(self.scheduler.now)
            self.scheduler.at(self.scheduler.now, self._right_clock)

        self.at(after, begin)

    def _right_clock(self) -> None:
        self.script.clock = 0.0

    def delay_next(self, call: str, effect: float, answer: float = 0.1) -> None:
        """The next such call takes effect, and is answered, only after so long."""
        self.script.calls = {**self.script.calls, (call, self.script.called(call) + 1): CallFault(effect, answer)}

    def meanwhile(self, call: str, *then: Callable[[], object], skip: int = 0) -> None:
        """When the next such call takes effect, do these first, once."""
        left = [skip]

        def before(given: str) -> None:
            if given == call and left:
                left[0] -= 1
                if left[0] < 0:
                    left.clear()
                    for do in then:
                        do()

        self.lake.before = before

    # --- What is seen

    def runs(self) -> list[PlatformRun]:
        """The runs of the view that we started."""
        return [run for run in self.sim.platform.of(self.target) if run.ours]

    def state(self, name: str = "v") -> State:
        """The record of a view."""
        return self.sim.state(self.keys[name])

    def memory(self, table: str = "a") -> SourceMemory:
        """What is remembered of a table."""
        return read_group(self.sim.store.load(GROUP.key).body).sources[table]

    def started(self) -> list[float]:
        """When our runs of this tale began, in its seconds."""
        return [run.created - self.start for run in self.runs()[self.before :]]

    # --- What is wrong

    def go(self, after: float) -> Tell:
        """Let time pass, to so many seconds after the beginning."""
        self.scheduler.run(self.start + after)
        return self

    def expect(self, fine: object, words: str) -> Tell:
        """Note what is not as it should be now."""
        if not fine:
            self.wrong.append(f"{words}, at {self.scheduler.now - self.start:.1f}: {self.state()}")
        return self

    def healed(self, after: float) -> Tell:
        """By then the view must hold what its tables have."""
        self.go(after)
        self.wrong += [f"{found}, at {after}" for found in self.sim.unhealed()]
        return self

    def calm(self) -> Tell:
        """Nothing is owed now."""
        return self.expect(self.state().owed is None, "OWED: without a reason")

    def was_owed(self, after: float) -> Tell:
        """Some save said that this is owed, since then."""
        owed = [state.owed for state in self.saved if state.owed]
        return self.expect(any(self._near(one.oldest, after) for one in owed), f"OWED: never since {after}")

    def was_proven(self, after: float) -> Tell:
        """Some save said that the view is proven as of then."""
        times = [state.proven_as_of for state in self.saved if state.proven_as_of]
        return self.expect(any(self._near(time, after) for time in times), f"PROVEN: never as of {after}")

    def never_proven(self, since: float) -> Tell:
        """No save so far says that the view is proven as of a later time."""
        late = [state for state in self.saved if state.proven_as_of and state.proven_as_of > at(self.start + since)]
        return self.expect(not late, f"PROVEN: as of a time after {since}")

    def end(self, *, runs: int) -> list[str]:
        """What was wrong in all of it; so many runs of ours were needed."""
        self.scheduler.run(self.scheduler.now + REST)
        started = [round(time, 1) for time in self.started()]
        count = [f"RUNS: {started} instead of {runs}"] if len(started) != runs else []
        return [*self.wrong, *count, *violations(self.sim), *self.sim.wrong, *self.sim.unhealed()]

    def _near(self, time: datetime, after: float) -> bool:
        """Whether that is the time, give or take what clocks cut off and calls take."""
        return abs(seconds(time) - self.start - after) <= 1.5


# --- The thirteen ----------------------------------------------------------------------------------------------------


def commit_between_list_and_load(core: Core) -> list[str]:
    """(1) The list shows a commit that a run has read; before `loadTable` comes another one.

    commit 0 (told) -> run 12..32 -> look 100: list (commit 0), commit, loadTable (the new one): owed since that answer
    The view reads files, too, so no disproof makes up for what is not told.
    """
    tell = Tell(core)
    tell.lake.files["v"] = ["s3://raw/"]
    tell.commit(0, told=True)
    tell.go(99).expect(len(tell.started()) == 1, "RUNS: none for the event")
    tell.meanwhile("load", partial(tell.commit_now, "a"))
    tell.look(100)
    return tell.healed(100 + SOON).was_owed(101).end(runs=2)


def the_same_by_a_slow_clock(core: Core) -> list[str]:
    """(2) The same by a worker whose clock is 30 s behind, soon after the run began: the platform's `Date` counts.

    What it then sends to wake the next worker comes half a minute late, too.
    """
    tell = Tell(core)
    tell.lake.files["v"] = ["s3://raw/"]
    tell.commit(0, told=True)
    tell.go(30).expect(len(tell.started()) == 1, "RUNS: none for the event")
    tell.meanwhile("load", partial(tell.commit_now, "a"))
    tell.look(35, clock=-30.0)
    return tell.healed(35 + 30 + SOON).was_owed(36).end(runs=2)


def an_old_answer(core: Core) -> list[str]:
    """(3) An answer that is 40 s old when its worker goes on proves as of 40 s before it was given.

    The commit before it, which somebody's refresh read, is told by this look, and dropped by the next.
    """
    tell = Tell(core)
    tell.commit(0)
    tell.foreign(1)
    tell.look(20, freezes=40.0)
    tell.go(59).calm()
    tell.healed(60 + SOON).was_owed(1).was_proven(-20).was_proven(60)
    return tell.calm().end(runs=0)


def there_and_back_within_a_look(core: Core) -> list[str]:
    """(4) Between two requests of one look a source gets data, somebody's refresh reads it, and it is rolled back.

    sources (b1) -> commit b2 -> foreign run reads b2 -> b1 again -> list of runs -> view (b2): it lacks b1
    """
    tell = Tell(core)
    tell.delay_next("list", 6.0)
    tell.look(19)
    tell.commit(20, "b")
    tell.foreign(21)
    tell.change(24, "roll_back", "b")
    tell.go(26).never_proven(0).was_owed(19)
    return tell.healed(26 + SOON).end(runs=1)


def upstream_during_a_freeze(core: Core) -> list[str]:
    """(5) After the sources were read the worker freezes; a source gets data, and our run reads it; then the view is
    read: it lacks what the worker knows, and nothing follows from that.
    """
    tell = Tell(core)
    tell.delay_next("list", 4.0, 4.0)
    tell.look(10, freezes=80.0)
    tell.commit(15, "b", told=True)
    tell.go(88).expect(len(tell.started()) == 1, "RUNS: none for the event").calm()
    tell.go(110).calm().never_proven(0)
    return tell.healed(110).end(runs=1)


def a_fast_clock(core: Core) -> list[str]:
    """(6) The clock of the worker is 30 s ahead, and a commit comes just after its read: it is not proven."""
    tell = Tell(core)
    tell.commit(0)
    tell.foreign(1)
    tell.look(20, clock=30.0)
    tell.commit(25)
    tell.go(24).was_proven(20).never_proven(21)
    tell.look(100)
    return tell.healed(100 + SOON).end(runs=1)


def owed_is_younger_than_the_proof(core: Core) -> list[str]:
    """(7) What is owed is younger than the proof, and stays owed.

    sources (all read) -> commit, told, owed -> list of runs -> view: proven, as of the sources
    """
    tell = Tell(core)
    tell.delay_next("list", 4.0)
    tell.look(20)
    tell.commit(21, "b", told=True)
    tell.go(26).was_proven(20).never_proven(21).expect(tell.state().owed, "OWED: nothing, though told")
    return tell.healed(26 + SOON).end(runs=1)


def foreign_run_ends_late(core: Core) -> list[str]:
    """(8) Somebody's refresh reads what is rolled back while it runs, and ends after that.

    Nothing is proven by what the view held before, and our refresh comes when that run ends.
    """
    tell = Tell(core)
    tell.commit(0)
    tell.foreign(1, takes=60.0)
    tell.change(5, "roll_back")
    tell.look(20)
    tell.go(60).was_owed(6).never_proven(0)
    return tell.healed(61 + 60).end(runs=1)


def a_source_comes_and_goes(core: Core) -> list[str]:
    """(9) Between two looks a source gets data, our run for another one reads it, and it is rolled back.

    The view cannot be proven, for it reads files, too: the log of the table alone tells.
    """
    tell = Tell(core)
    tell.lake.files["v"] = ["s3://raw/"]
    tell.commit(0, "b")
    tell.commit(1, "a", told=True)
    tell.change(20, "roll_back", "b")
    tell.look(100)
    return tell.healed(100 + SOON).was_owed(21).end(runs=2)


def two_old_versions(core: Core) -> list[str]:
    """(10) The same with two versions that were there before: back to the older, which a run reads, and forth again."""
    tell = Tell(core)
    tell.lake.files["v"] = ["s3://raw/"]
    tell.commit(0, "b")
    tell.look(5)
    tell.go(60).expect(len(tell.started()) == 1, "RUNS: none for the look")
    tell.change(100, "roll_back", "b")
    tell.commit(101, "a", told=True)
    tell.change(120, "roll_back", "b")
    tell.look(200)
    return tell.healed(200 + SOON).was_owed(121).end(runs=3)


def compaction_and_expiry(core: Core) -> list[str]:
    """(11) One job compacts and expires what it replaced: nothing is new, though the log has no older line.

    Where the job cuts the link to what it replaced, too, nobody can tell: one refresh too many, and nothing lost.
    """
    tell = Tell(core)
    tell.change(0, "compact", expire=True)
    tell.change(1, "compact", "b", expire=True)
    tell.look(20)
    tell.go(22).calm().was_proven(20).expect(not tell.started(), "RUNS: for a compaction")
    tell.change(30, "compact", expire=True)
    tell.at(30, lambda: tell.lake.cut.add(tell.lake.current("a").snapshot))
    tell.look(40)
    return tell.healed(40 + SOON).was_owed(31).end(runs=1)


def a_storm_about_nothing(core: Core) -> list[str]:
    """(12) A hundred events about files that a compaction wrote: a look for each wake at most, and no refresh."""
    tell = Tell(core)
    tell.change(0, "compact")
    for number in range(100):
        tell.at(1 + number / 50, partial(tell.sim.arrive, "a", key=f"compacted-{number}"))
    tell.go(4).expect(tell.state().owed, "OWED: nothing for the events")
    looks = tell.sim.looks
    tell.go(60).calm().expect(tell.sim.looks - looks <= 5, "LOOKS: too many")
    tell.sim.needs.clear()  # the judge takes each event for data, and there is none
    return tell.end(runs=0)


def a_source_is_gained(core: Core) -> list[str]:
    """(13) The view is defined anew during the look, with one source more: not proven, and signalled by the next."""
    tell = Tell(core)
    tell.lake.commit("c")
    tell.meanwhile("view", partial(tell.lake.views["v"].append, "c"))
    tell.look(20)
    tell.go(22).never_proven(0)
    tell.look(60)
    return tell.healed(60 + SOON).was_owed(60).end(runs=1)


THIRTEEN: tuple[Tale, ...] = (
    commit_between_list_and_load,
    the_same_by_a_slow_clock,
    an_old_answer,
    there_and_back_within_a_look,
    upstream_during_a_freeze,
    a_fast_clock,
    owed_is_younger_than_the_proof,
    foreign_run_ends_late,
    a_source_comes_and_goes,
    two_old_versions,
    compaction_and_expiry,
    a_storm_about_nothing,
    a_source_is_gained,
)
"""The thirteen that random histories rarely draw, in their order."""


# --- A sentence each -------------------------------------------------------------------------------------------------


def a_source_is_left(core: Core) -> list[str]:
    """Rule 1: the view is defined anew without one of its sources, while a run of the old definition goes on.

    told 0 -> look asked 5 -> run 8 -> defined anew 10 -> look answered 13: owed since then; the run does not cover it
    """
    tell = Tell(core, policy=QUICK)
    tell.commit(0, told=True)
    tell.at(4.9, partial(tell.delay_next, "look", 8.0))
    tell.look(5)
    tell.at(10, partial(tell.lake.views["v"].remove, "b"))
    return tell.healed(13 + SOON).was_owed(14).end(runs=2)


def two_readers(core: Core) -> list[str]:
    """Shared groups have the shortest interval of their readers, and each reader is signalled; one of them slowly."""
    often = replace(POLICY, look=timedelta(minutes=1))
    tell = Tell(core, make_target("w", "glue", often, buckets=("none",)))
    tell.commit(1)
    tell.healed(180 + SOON)
    return tell.end(runs=1)


def a_look_before_a_start_is_no_memory(core: Core) -> list[str]:
    """Rule 7: an event tells one of two readers; the look before its start saves nothing, so the other is told, too."""
    tell = Tell(core, make_target("w", "glue", POLICY, buckets=("none",)))
    tell.lake.files["w"] = ["s3://raw/"]  # no disproof makes up for what is not told
    tell.commit(0, told=True)
    tell.look(60)
    return tell.healed(60 + SOON).end(runs=1)


def written_before_its_commit(core: Core) -> list[str]:
    """Rule 2: the writer builds its snapshot half a minute before the commit, and a run reads in between."""
    tell = Tell(core)
    tell.lake.written_before = 30.0
    tell.commit(0, "b", told=True)
    tell.commit(26)
    tell.look(60)
    return tell.healed(60 + SOON).was_owed(27).end(runs=2)


def late_in_its_second(core: Core) -> list[str]:
    """Rule 2: what comes late in a second has a stamp of its beginning, and is never dated before it came."""
    tell = Tell(core)
    tell.commit(0.9)
    tell.look(60)
    tell.go(61)
    dates = [seconds(state.owed.oldest) - START for state in tell.saved if state.owed]
    tell.expect(dates and min(dates) >= 0.9, "DATED: before it came")
    return tell.healed(60 + SOON).end(runs=1)


def first_seen_late(core: Core) -> list[str]:
    """Rule 3: no look is answered before the first run; what came in between is seen with the source, and signals."""
    tell = Tell(core, begins=150.0)
    tell.expect(len(tell.runs()) == 1, "RUNS: not one for the new target")
    tell.lake.files["v"] = ["s3://raw/"]
    tell.commit(1)
    tell.go(5)
    tell.sim.look(tell.scheduler.now)
    return tell.healed(5 + 2 * SOON).end(runs=2)


def compactions_in_a_row(core: Core) -> list[str]:
    """Rule 4: after each of 25 compactions with expiry the view, which read what was before the first, is proven."""
    tell = Tell(core)
    for number in range(25):
        tell.change(10 * number, "compact", expire=True)
        tell.look(10 * number + 5)
    tell.go(260)
    tell._forget_proof()
    tell.look(261)
    return tell.go(270).was_proven(261).calm().end(runs=0)


def a_table_is_hidden(core: Core) -> list[str]:
    """Rule 5: a list without a table is no answer about it: its time stands, it is named, and nothing is proven."""
    tell = Tell(core)
    when = tell.memory().when
    tell.at(0, lambda: tell.lake.hidden.add("a"))
    tell.look(1)
    tell.go(5).never_proven(-1).expect(tell.memory().when == when, "WHEN: moved without an answer")
    tell.expect(tell.memory().problem, "PROBLEM: not named")
    tell.at(10, tell.lake.hidden.clear)
    tell.look(11)
    return tell.go(15).was_proven(11).expect(not tell.memory().problem, "PROBLEM: over").end(runs=0)


def a_list_of_runs_fails(core: Core) -> list[str]:
    """Rule 6: a failed list of runs proves nothing: one may be going on that has read what is rolled back."""
    tell = Tell(core)
    tell.commit(0)
    tell.foreign(1, takes=60.0)
    tell.change(5, "roll_back")
    tell.at(19, partial(tell.script.otherwise.__setitem__, "list", CallFault(failure="rejected")))
    tell.at(50, tell.script.otherwise.clear)
    tell.look(20)
    tell.go(60).was_owed(6).never_proven(0)
    return tell.healed(61 + 120).end(runs=1)


def a_proof_that_says_nothing_new(core: Core) -> list[str]:
    """Rule 6: a proof that would not be written costs no list of runs, and no second question to the view."""
    tell = Tell(core)
    tell.look(10)
    tell.go(15).was_proven(10)
    lists, saves = tell.script.called("list"), len(tell.saved)
    tell.look(20)
    tell.go(25).expect(tell.script.called("list") == lists, "LISTS: for nothing")
    tell.expect(all(state == tell.saved[saves - 1] for state in tell.saved[saves:]), "SAVES: for nothing")
    return tell.end(runs=0)


def proof_during_our_run(core: Core) -> list[str]:
    """Rule 6: a run of ours is in the record that the platform does not list yet: it writes what it read before.

    told 0 -> our run 8.7 (reads it) -> rolled back 9 -> look 13: the view still holds what the table has again
    """
    tell = Tell(core, policy=QUICK)
    tell.script.run = Fate(20.0, listed_after=LISTING)
    tell.commit(0, told=True)
    tell.change(9, "roll_back")
    tell.look(13)
    tell.go(15).was_owed(10)
    return tell.healed(30 + SOON).end(runs=2)


def somebody_asks(core: Core) -> list[str]:
    """Rules 6 and 7: what a person asks for is started, though the view is proven meanwhile and reads nothing new."""
    tell = Tell(core, policy=QUICK)
    tell.at(0, partial(tell.sim.ask, "v"))
    tell.look(6)
    return tell.go(60).was_proven(6).end(runs=1)


def an_event_after_the_proof(core: Core) -> list[str]:
    """Rule 6: a proof covers no later signal: an event that comes late is owed, and the look before its start tells."""
    tell = Tell(core)
    tell.commit(0)
    tell.foreign(1)
    tell.look(20)
    tell.go(30).was_proven(20).calm()
    spared = tell.sim.spared
    tell.at(31, partial(tell.sim.arrive, "a", dated=START))
    tell.go(60).calm().expect(tell.sim.spared == spared + 1, "SPARED: nothing was owed")
    tell.sim.needs.clear()  # the judge takes the event for data after it, and there is none
    return tell.end(runs=0)


def followers_of_a_proof(core: Core) -> list[str]:
    """Rule 6: a proof that drops something tells followers, at the moment of the view's answer; once for each view."""
    follower = make_target("w", "glue", replace(POLICY, look=None), buckets=("none",), after=("v",))
    tell = Tell(core, follower)
    before = len(tell.sim.platform.of(follower))
    tell.commit(0, "b")
    tell.foreign(1)
    tell.look(20)
    tell.at(100, partial(tell.sim.arrive, "b", dated=START))
    tell.go(200)
    runs = tell.sim.platform.of(follower)[before:]
    tell.expect(len(runs) == 1 and runs[0].created >= START + 30, f"FOLLOWERS: {len(runs)} runs")
    tell.sim.needs.clear()  # the second event is about nothing new
    return tell.end(runs=0)


def a_view_is_restored(core: Core) -> list[str]:
    """Rule 6, disproof: somebody restores an older version of the view; no source has news, and the view lacks data."""
    tell = Tell(core)
    tell.commit(0, told=True)
    tell.go(60).expect(len(tell.started()) == 1, "RUNS: none for the event")
    older, newest = tell.runs()[-2:]
    tell.at(70, partial(tell.lake.restore, older, newest))
    tell.look(80)
    return tell.healed(80 + SOON).end(runs=2)


def a_view_that_never_agrees(core: Core) -> list[str]:
    """Rule 6: a view that says for ever that it lacks a version is refreshed once, not after each look."""
    tell = Tell(core)
    tell.lake.claims["v"] = [1]
    for number in range(5):
        tell.look(100 * number)
    return tell.go(600).end(runs=1)


def looks_fail_before_a_start(core: Core) -> list[str]:
    """Rule 7: a look that fails, or takes longer than three seconds, delays no start by more than a call takes."""
    wrong = []
    for fault in (CallFault(failure="rejected"), CallFault(4.0, 4.0)):
        tell = Tell(core)
        tell.script.otherwise["look"] = fault
        tell.commit(0, told=True)
        tell.go(60)
        late = not tell.started() or tell.started()[0] > LAG + 3 + CALL + 1
        wrong += tell.expect(not late, f"LATE: {tell.started()}").end(runs=1)
    return wrong


def a_group_without_readers(core: Core) -> list[str]:
    """A group that nobody reads any more leaves the index of what is due."""
    tell = Tell(core)
    tell.lake.views["x"] = []
    tell.at(1, lambda: tell.sim.configure(Configuration((make_target("x", "fabric", POLICY),))))
    tell.look(100)
    tell.go(110)
    fine = tell.sim.store.wake_at.get(GROUP.key) is None
    return tell.expect(fine, "DUE: without readers").wrong
