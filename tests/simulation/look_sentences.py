"""Sentences of section 9 that no run of a simulated cloud shows, each as a small tale about values.

They are about Delta logs, pages of lists, odd views, throttling, Fabric, and the last moment of `just-in-time`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh.inputs import Proven
from shared.refresh.ports import Started
from shared.refresh.state import Blocked, Owed, Paused, Situation, State
from shared.sources.groups import DeltaTable, GlueDatabase, SourceTable
from shared.sources.memory import DeltaVersion, GroupRecord, IcebergVersion, SourceMemory, write_group
from shared.sources.ports import NEVER, Known, Observation, Seen, ViewSeen
from shared.targets import GlueView, ItemJob, LakeViews, OneLakeChanged, Target
from tests.simulation.core import Core
from tests.support.core import GLUE, NOON, POLICY, HandClock, ScriptedPlatform, a_run, a_target, at, seconds
from tests.support.looks import LookBench
from tests.support.sources import (
    DENIED,
    THROTTLED,
    FakeCatalog,
    FakeLog,
    data_commit,
    metadata_commit,
    optimize_commit,
)

SALES = GlueDatabase("1", "sales")
ORDERS, RETURNS = SourceTable(SALES, "orders"), SourceTable(SALES, "returns")
TABLE = DeltaTable("w", "l", "Tables/orders")


def _say(**fine: object) -> list[str]:
    """The names of what is not fine."""
    return [f"WRONG: {name}" for name, value in fine.items() if not value]


# --- Lists -----------------------------------------------------------------------------------------------------------


def _pages(core: Core, second: Callable[[], Any] | None = None) -> Any:
    """Look at three tables whose list has a page for each."""
    catalog = FakeCatalog()
    catalog.page = 1
    for name in ("a", "b", "c"):
        catalog.put(name, f"s3://{name}/1.json", 1)
    if second:
        first = catalog.get_tables
        catalog.get_tables = lambda parameters: second() if "NextToken" in parameters else first(parameters)  # type: ignore[method-assign]
    known = {name: SourceMemory(readers=("t",)) for name in ("a", "b", "c")}
    return core.catalog.look_at_database(SALES, Known(known), catalog)


def a_list_with_pages(core: Core) -> list[str]:
    """Rule 5: what a later page names is there; a list that ends with a failure says nothing at all."""
    seen = _pages(core)
    return _say(
        all_are_there=not any(observed.problem for observed in seen.sources.values()),
        half_a_list_says_nothing=_pages(core, lambda: DENIED) is DENIED,
    )


def two_loads_at_most(core: Core) -> list[str]:
    """Rule 8: one look loads a bounded number of tables; the rest is no look, and due again at once."""
    catalog = FakeCatalog()
    names = [f"t{number:02}" for number in range(45)]
    for name in names:
        catalog.put(name, f"s3://{name}/1.json", 1)
    known = {name: SourceMemory(readers=("t",)) for name in names}
    seen = core.catalog.look_at_database(SALES, Known(known), catalog)
    return _say(some_are_left=not seen.complete, bounded=catalog.names().count("load_table") == 40)


# --- Delta -----------------------------------------------------------------------------------------------------------


class _Reader:
    """Looks at a Delta log again and again, and remembers."""

    def __init__(self, core: Core) -> None:
        self.core, self.log = core, FakeLog()
        self.version: Any = None
        self.log.commit(0, metadata_commit() + b"\n" + data_commit())
        self.log.commit(1, data_commit(1), 10)
        self.look()

    def look(self) -> Observation:
        """What a look shows."""
        seen = self.core.delta.look_at_table(TABLE, Known({"": SourceMemory(version=self.version)}), self.log)
        assert isinstance(seen, Seen), seen
        observed = seen.sources[""]
        self.version = observed.version or self.version
        return observed


def delta_maintenance(core: Core) -> list[str]:
    """Rule 4: commits without a change of data are passed over, also one whose beginning does not tell."""
    reader = _Reader(core)
    reader.log.commit(2, optimize_commit(3000), 20)
    compacted = reader.look()
    reader.log.commit(3, metadata_commit(), 30)
    property_set = reader.look()
    reader.log.commit(4, data_commit(), 40)
    return _say(
        compaction=compacted.news_at is None,
        a_property=property_set.news_at is None,
        data=reader.look().news_at == at(41),
    )


def delta_schema(core: Core) -> list[str]:
    """Rule 4: another digest of id, schema and partitioning is news."""
    reader = _Reader(core)
    reader.log.commit(2, metadata_commit(schema="b"), 20)
    return _say(schema=reader.look().news_at == at(21))


def delta_recreated(core: Core) -> list[str]:
    """Rule 4: another ETag of the file last seen, or gone with no next one, is news at the time of the newest file."""
    rewritten, shorter = _Reader(core), _Reader(core)
    rewritten.log.commit(1, data_commit(99), 500)
    rewritten.log.commit(2, optimize_commit(), 600)
    shorter.log.files.clear()
    shorter.log.commit(0, metadata_commit("t2"), 700)
    return _say(another_etag=rewritten.look().news_at == at(601), gone=shorter.look().news_at == at(701))


def delta_cleaned(core: Core) -> list[str]:
    """Rule 4: gone with a next one is clean-up, and no news by itself."""
    reader = _Reader(core)
    reader.log.commit(2, optimize_commit(), 20)
    del reader.log.files["00000000000000000001.json"]
    return _say(cleaned=reader.look().news_at is None)


def delta_cut_off(core: Core) -> list[str]:
    """Rule 4: a trace that is cut off is saved as far as it came, but is no look, and due again at once."""
    reader = _Reader(core)
    for number in range(2, 150):
        reader.log.commit(number, optimize_commit(), number)
    observed = reader.look()
    further = isinstance(observed.version, DeltaVersion) and observed.version.file == 101
    due = core.rhythm.next_look(GroupRecord(), seconds(300), NOON, complete=observed.complete)
    return _say(no_look=observed.when is None, saved=further, at_once=due == NOON, then=reader.look().when)


# --- Views -----------------------------------------------------------------------------------------------------------


def _remembered(*ids: int, **more: Any) -> SourceMemory:
    return SourceMemory(("t",), IcebergVersion("x", ids=ids), NOON, **more)


def _view(*ids: int, sources: tuple[SourceTable, ...] = (ORDERS, RETURNS)) -> ViewSeen:
    return ViewSeen(sources, (), frozenset(ids), "7", at(30), at(31))


def odd_views(core: Core) -> list[str]:
    """Rule 6: more ids than sources, a source without snapshot or answer, of files: neither proven nor disproven."""
    known = {ORDERS: _remembered(1), RETURNS: replace(_remembered(2), when=at(-9))}
    judge, undecided = core.proof.judge, core.proof.Undecided
    gone = known | {ORDERS: replace(known[ORDERS], problem="gone")}
    return _say(
        proven_as_of_the_earliest=judge(_view(1, 2), known) == core.proof.Proof(at(-9), "7"),
        more_ids=isinstance(judge(_view(1, 2, 3), known), undecided),
        no_snapshot=isinstance(judge(_view(-1, 2), known), undecided),
        no_answer=isinstance(judge(_view(1, 2), gone), undecided),
        files=isinstance(judge(replace(_view(1, 2), unreadable=("s3://x",)), known), undecided),
    )


def proofs_and_holds(core: Core) -> list[str]:
    """Rule 6: a proof ends no hold, no backoff and no count of failures, and drops nothing that is full."""
    context = core.timing.Context("k", POLICY, GLUE)
    owed = Owed(at(-100), at(-50), reasons=("x",))
    proof = Proven(NOON, "7", at(1))

    def proved(state: State) -> State:
        found: State = core.machine.fold(state, proof, context, at(1)).state
        return found

    blocked = Blocked(at(-60), "no", at(60))
    state = State(owed=owed, failures=3, not_before=at(300))
    return _say(
        paused=proved(replace(state, hold=Paused(at(-60)))).hold == Paused(at(-60)),
        blocked=proved(replace(state, hold=blocked)).hold == blocked,
        backoff=proved(state).not_before == at(300),
        failures=proved(state).failures == 3,
        dropped=proved(state).owed is None,
        full=proved(replace(state, owed=replace(owed, full=True))).owed,
    )


# --- Rhythm ----------------------------------------------------------------------------------------------------------


def throttled_looks(core: Core) -> list[str]:
    """Rule 8: each throttled look doubles the interval, to an hour at most; it returns an hour after the last."""
    record, minutes = GroupRecord(), []
    for number in range(6):
        record = core.rhythm.heed(record, at(number), throttled=True)
        minutes.append(core.rhythm.slow_down(record, timedelta(minutes=5), at(number)) / timedelta(minutes=1))
    later = at(5) + timedelta(hours=1)
    return _say(
        doubled=minutes[:3] == [10, 20, 40],
        an_hour=minutes[3:] == [60, 60, 60],
        returns=core.rhythm.slow_down(record, timedelta(minutes=5), later) == timedelta(minutes=5),
    )


def silence(core: Core) -> list[str]:
    """Rule 5: a source without an answer for three intervals is silent, and no sooner."""
    interval = timedelta(minutes=5)
    return _say(
        not_yet=not core.rhythm.is_silent(NOON, interval, at(900)),
        then=core.rhythm.is_silent(NOON, interval, at(901)),
    )


# --- Fabric ----------------------------------------------------------------------------------------------------------

LAKE = Target("lake", LakeViews("w", "l"), POLICY, on=(OneLakeChanged("w", "l", "Tables/orders"),))
JOB = replace(LAKE, resource=ItemJob("w", "l", "Job"))
OFF = replace(LAKE, policy=replace(POLICY, look=None))


class _Logs:
    """`Sources` over one Delta log."""

    def __init__(self, core: Core, log: FakeLog) -> None:
        self._core, self._log = core, log

    def look(self, group: Any, known: Known, *, ends_at: float = NEVER) -> Any:
        """As the adapter dispatches it."""
        return self._core.delta.look_at_table(group, known, self._log)


def _before_start(core: Core, target: Target, state: State, *commits: float, shown: float = 100) -> Any:
    """What a look before a start shows, when an answer `shown` after noon was the first to show the commit at noon."""
    log, store, clock = FakeLog(), MemoryStore(), HandClock()
    log.commit(0, metadata_commit() + b"\n" + data_commit())
    seen = core.delta.look_at_table(TABLE, Known({"": SourceMemory()}), log)
    memory = SourceMemory((target.key,), seen.sources[""].version, at(shown), since=at(1), shown_at=at(shown))
    store.save(store.load(TABLE.key), write_group(GroupRecord({"": memory})), None)
    for number, time in enumerate(commits, start=1):
        log.commit(number, data_commit(number), time)
    clock.time = at(1000)
    log.clock = 1000
    looking = core.looking.Looking(
        {target.key: target},
        store=store,
        sources=_Logs(core, log),
        platform=ScriptedPlatform(),
        clock=clock,
        reconcile=lambda _target, _inputs: None,
        emit=lambda _told: None,
    )
    return looking.before_start(target, state)


def spared_by_cause(core: Core) -> list[str]:
    """Fabric: a start is spared where all that is owed came from looked-at tables whose data the last run has read."""
    owed = Owed(at(900), at(905), looked=True)
    state = State(owed=owed, fresh_as_of=at(500))
    elsewhere = replace(state, owed=replace(owed, looked=False))
    return _say(
        spared=_before_start(core, LAKE, state),
        covered=_before_start(core, LAKE, replace(state, fresh_as_of=at(50)), shown=400),
        new_data=_before_start(core, LAKE, state, 900) is None,
        came_after_the_claim=_before_start(core, LAKE, replace(state, fresh_as_of=at(5)), shown=400) is None,
        from_elsewhere=_before_start(core, LAKE, elsewhere) is None,
        no_run_yet=_before_start(core, LAKE, replace(state, fresh_as_of=None)) is None,
        an_item_job=_before_start(core, JOB, state) is None,
        not_looked_at=_before_start(core, OFF, state) is None,
    )


# --- Just in time ----------------------------------------------------------------------------------------------------

JIT = replace(POLICY, start="just-in-time", objective=timedelta(hours=1), look=timedelta(minutes=5))


def _starts(core: Core, owed: Owed, *times: float) -> Iterator[float]:
    context = core.timing.Context("k", JIT, GLUE)
    state = State(owed=owed, run_times=tuple(map(seconds, times)))
    action = core.decide.decide(state, context, at(-1000), core.decide.Gate())
    yield (action.due_at - NOON).total_seconds()


def just_in_time(core: Core) -> list[str]:
    """A start at oldest + objective, less twice the longest run (at least that and two minutes), less an interval."""
    owed = Owed(NOON, at(100))

    def start(*times: float, **changes: bool) -> float:
        return next(_starts(core, replace(owed, **changes), *times))

    return _say(
        twice_the_longest=start(300, 600, 200) == 3600 - 1200 - 300,
        and_two_minutes=start(30) == 3600 - 150 - 300,
        asked=start(300, asked=True) == 120,
        full=start(300, full=True) == 120,
        a_schedule=start(300, prompt=True) == 120,
        no_history=start() == 120,
    )


# --- Views of the catalog --------------------------------------------------------------------------------------------


def off_is_off(core: Core) -> list[str]:
    """`look = "off"`: a target is not enrolled, so that nothing is looked at for it."""
    store = MemoryStore()
    target = Target("daily", GlueView("1", "sales", "daily"), replace(POLICY, look=None))
    looking = core.looking.Looking(
        {target.key: target},
        store=store,
        sources=_Logs(core, FakeLog()),
        platform=ScriptedPlatform(),
        clock=HandClock(),
        reconcile=lambda _target, _inputs: None,
        emit=lambda _told: None,
    )
    looking.enrol(target, 1)
    return _say(nothing_is_due=not any(store.due(at(1e6), 10)))


def throttled_by_the_rest_catalog(core: Core) -> list[str]:
    """Rule 8: one table that is throttled ends the loading of a look, and says so; the others wait, and are no news."""
    catalog = FakeCatalog()
    for name in ("a", "b"):
        catalog.put(name, f"s3://{name}/1.json", 1)
    catalog.failures["load_table"] = THROTTLED
    known = {name: SourceMemory(readers=("t",)) for name in ("a", "b")}
    seen = core.catalog.look_at_database(SALES, Known(known), catalog)
    return _say(
        said=seen.throttled,
        ended=catalog.names().count("load_table") == 1,
        no_problem=not any(observed.problem for observed in seen.sources.values()),
    )


# --- The loop that starts --------------------------------------------------------------------------------------------


def _looks_before(core: Core, *, after: float = 60, startable: float = -10, **owed: Any) -> bool:
    """Whether a look comes before a start of what was owed a minute before noon."""
    bench = LookBench(make=core.engine.Engine)
    bench.at(after)
    bench.put(State(owed=Owed(at(-60), at(-30), **owed), wake_at=NOON, startable_since=at(startable)))
    bench.engine.reconcile(bench.target())
    return bool(bench.looks.looked_before)


def asked_starts_at_once(core: Core) -> list[str]:
    """Rule 7: a look comes before a start that nobody asked for, once."""
    return _say(
        of_an_event=_looks_before(core),
        asked=not _looks_before(core, asked=True),
        full=not _looks_before(core, full=True),
    )


def overdue_starts_at_once(core: Core) -> list[str]:
    """Rule 7: two minutes after it was known and possible a start is not looked at any more."""
    return _say(
        in_time=_looks_before(core, after=110),
        late=not _looks_before(core, after=121),
        counted_from_when_it_was_possible=_looks_before(core, after=1000, startable=900),
    )


def a_tick_in_its_order(core: Core) -> list[str]:
    """Rule 7: a tick does what needs no look first: a look takes three seconds, and polls would wait for it."""
    names = ("a", "b", "polled")
    bench = LookBench(*(a_target(name, identity=name) for name in names), make=core.engine.Engine)
    bench.platform.answers["start"] = [Started("r1"), Started("r2")]
    for name in names[:2]:
        bench.put(State(owed=Owed(at(-60), at(-30)), wake_at=NOON, startable_since=at(-10)), name)
    bench.put(State(run=a_run(Situation.RUNNING, next_look_at=at(1)), wake_at=at(1)), "polled")
    bench.plan()
    bench.at(60)
    core.sweep.Sweep(bench.engine).tick()
    return _say(polled_first=bench.calls() == ["get", "start", "start"], looked=bench.looks.looked_before == ["a", "b"])
