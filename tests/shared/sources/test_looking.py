"""The loop that looks: whom it signals, what it proves, what it remembers, and in which order (design, section 9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh.failure import Failure
from shared.refresh.inputs import Proven, Spared
from shared.refresh.ports import Document, Phase
from shared.refresh.state import Owed, State
from shared.sources.catalog import look_at_bucket, look_at_database
from shared.sources.delta import look_at_table
from shared.sources.groups import DeltaTable, GlueDatabase, Group, SourceTable, TableBucket, encode
from shared.sources.looking import Looking
from shared.sources.memory import GroupRecord, IcebergVersion, read_group, write_group
from shared.sources.ports import NEVER, Known, Seen
from shared.targets import GlueTableChanged, GlueView, IcebergChanged, LakeViews, OneLakeChanged, Target
from tests.support.core import BUSY, NOON, POLICY, Bench, ScriptedPlatform, at, report, seconds
from tests.support.sources import DENIED, THROTTLED, FakeCatalog, FakeLog, data_commit, metadata_commit

LOOKS = replace(POLICY, look=timedelta(minutes=5))
SALES, RAW = GlueDatabase("1", "sales"), GlueDatabase("1", "raw")
DAILY = Target("daily", GlueView("1", "sales", "daily"), LOOKS)
ARN = "arn:aws:glue:r:1:table/"


class Clouds:
    """`Sources` over a catalog and a log that a test wrote, by the bench's clock; a hook runs before each look."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.catalog = FakeCatalog()
        self.log = FakeLog()
        self.before: Any = lambda _group, _filter_known: None
        self.looks: list[str] = []
        self.ends_at: list[float] = []

    def look(self, group: Group, known: Known, *, ends_at: float = NEVER) -> Seen | Failure:
        """As an adapter dispatches it."""
        self.ends_at.append(ends_at)
        self.looks.append(f"{group}: {' '.join(sorted({*known.sources, *known.views}))}")
        self.before(group, known)
        self.catalog.clock = self.log.clock = self.bench.clock.monotonic()
        match group:
            case GlueDatabase():
                return look_at_database(group, known, self.catalog)
            case TableBucket():
                return look_at_bucket(group, known, self.catalog)
            case DeltaTable():
                return look_at_table(group, known, self.log)


class Lookout:
    """A bench, and somebody who looks on it."""

    def __init__(self, *targets: Target, runs: Any = ()) -> None:
        self.bench = Bench(*(targets or (DAILY,)), platform=ScriptedPlatform(list=[runs]))
        self.clouds = Clouds(self.bench)
        self.told: list[dict[str, Any]] = []
        self.bench.at(100)
        self.looking = self.of(*(targets or (DAILY,)))

    def of(self, *targets: Target) -> Looking:
        """Somebody who looks for the targets of another configuration."""
        return Looking(
            {target.key: target for target in targets},
            store=self.bench.store,
            sources=self.clouds,
            platform=self.bench.platform,
            clock=self.bench.clock,
            reconcile=lambda target, happened: self.bench.engine.reconcile(target, happened, may_call=False),
            emit=lambda happened: self.told.append(dict(happened.fields)),
        )

    def known(self, name: str = "daily", **changes: Any) -> None:
        """The record of a target that is planned and owes nothing."""
        self.bench.put(State(fresh_as_of=NOON, last_claim_at=NOON, **changes), name)

    def group(self, group: Group = SALES) -> GroupRecord:
        """What is remembered."""
        return read_group(self.bench.store.load(group.key).body)

    def round(self) -> list[str]:
        """Look at what is due, once; the looks that were made."""
        self.clouds.looks.clear()
        for key in self.bench.store.due(self.bench.clock.now(), 100):
            if key.startswith("group:"):
                self.looking.look(key, 1)
        return list(self.clouds.looks)

    def settle(self) -> None:
        """Enrol all and look until all is known; what was signalled is forgotten."""
        for target in self.bench.configuration.targets:
            self.looking.enrol(target, 1)
        while self.round():
            pass
        for target in self.bench.configuration.targets:
            self.known(target.name)


@pytest.fixture
def lookout() -> Lookout:
    """One view on orders in its own database and returns in another; all is known, and the view is current."""
    made = Lookout()
    made.clouds.catalog.put("orders", "s3://a/1.json", 11)
    made.clouds.catalog.put("returns", "s3://b/1.json", 21)
    put_view(made, 11, 21)
    made.settle()
    made.bench.at(1000)
    made.clouds.looks.clear()
    made.bench.platform.calls.clear()
    return made


def put_view(
    made: Lookout, *ids: int, version: int = 70, names: tuple[str, ...] = ("sales/orders", "raw/returns")
) -> None:
    """What the view says of itself."""
    arns = [ARN + name for name in names]
    made.clouds.catalog.put(
        "daily", "s3://v/1.json", 7, SubObjects=arns, SubObjectVersionIds=ids, ViewVersionId=version
    )


def due(made: Lookout, group: Group = SALES) -> Any:
    """When a group is due, by its record; the index agrees."""
    due_at = made.group(group).due_at
    assert made.bench.store._wake_at.get(group.key) == due_at
    return due_at


# --- Who is told of silence ------------------------------------------------------------------------------------------


def silence(made: Lookout, is_silent: bool) -> None:
    """Whether the catalog answers nothing, from now on."""
    made.clouds.catalog.failures = {"get_tables": DENIED} if is_silent else {}


def test_two_sources_that_answer_again_at_once_leave_no_target_silent() -> None:
    """Each look hears before the other is remembered, and so sees the other's source silent still."""
    on = tuple(OneLakeChanged("w", "l", f"Tables/t{number}") for number in range(2))
    made = Lookout(Target("lake", LakeViews("w", "l"), LOOKS, on=on))
    made.clouds.log.failures = {"list": DENIED}
    made.looking.enrol(made.bench.target("lake"), 1)
    made.known("lake")
    made.round()
    assert made.bench.state("lake").told_silent
    made.clouds.log.failures = {}
    made.clouds.log.commit(0, data_commit())
    made.bench.at(1000)
    one, other = (DeltaTable("w", "l", each.path) for each in on)
    save = made.looking._save

    def be_slow(document: Document, record: GroupRecord) -> None:
        made.looking._save = save  # type: ignore[method-assign]
        made.looking.look(other.key, 1)
        save(document, record)

    made.looking._save = be_slow  # type: ignore[method-assign]
    made.looking.look(one.key, 1)
    assert not made.bench.state("lake").told_silent


def told_silent(made: Lookout) -> bool:
    """Whether the view's record says that a source of it is silent."""
    return made.bench.state().told_silent


@pytest.fixture
def silenced(lookout: Lookout) -> Lookout:
    """A view whose second database answers nothing any more, for three intervals and a second."""
    lookout.clouds.before = lambda group, _filter_known: silence(lookout, group == RAW)
    lookout.bench.at(1000 + 901)
    lookout.round()
    return lookout


def test_a_target_with_a_silent_source_is_as_good_as_held(silenced: Lookout) -> None:
    """Section 10: said by the look that fails when three intervals are over, and by the one that is answered again.

    A look at the other sources, which speak, says nothing.
    """
    assert told_silent(silenced)
    saves = silenced.bench.store.saves
    silenced.bench.at(1000 + 901 + 300)
    silenced.round()
    assert told_silent(silenced)
    assert silenced.bench.store.saves == saves + 2, "what the two looks remember, and nothing else"
    silenced.clouds.before = lambda *_: silence(silenced, False)
    silenced.bench.at(1000 + 901 + 600)
    silenced.round()
    assert not told_silent(silenced)


def test_readers_of_a_silent_source_that_another_package_names_are_left_to_it(lookout: Lookout) -> None:
    """Their engine is that package's; the others are told."""
    document, record = lookout.bench.store.load(RAW.key), lookout.group(RAW)
    returns = replace(record.sources["returns"], readers=("another's", DAILY.key))
    lookout.bench.store.save(document, write_group(replace(record, sources={"returns": returns})), record.due_at)
    silence(lookout, True)
    lookout.bench.at(1000 + 901)
    lookout.round()
    assert told_silent(lookout)
    assert "another's" in lookout.group(RAW).sources["returns"].readers


def test_a_short_failure_holds_nothing(lookout: Lookout) -> None:
    """Three intervals, as `status` has it."""
    silence(lookout, True)
    lookout.round()
    assert not told_silent(lookout)


def test_who_does_not_read_the_silent_source_any_more_is_released(silenced: Lookout) -> None:
    """The view names other sources: the look at the view says so."""
    put_view(silenced, 11, names=("sales/orders",))
    silenced.bench.at(1000 + 901 + 300)
    silenced.round()
    assert not told_silent(silenced)


@pytest.mark.parametrize("gone", [False, True])
def test_a_silent_group_is_looked_at_without_reading_the_others(gone: bool) -> None:
    """Each of many silent tables of a lake takes as many reads as one: no look is allowed, or no table is there."""
    on = tuple(OneLakeChanged("w", "l", f"Tables/t{number}") for number in range(20))
    made = Lookout(Target("lake", LakeViews("w", "l"), LOOKS, on=on))
    made.clouds.log.failures, made.clouds.log.gone = {} if gone else {"list": DENIED}, gone
    made.looking.enrol(made.bench.target("lake"), 1)
    made.known("lake")
    made.round()
    assert made.bench.state("lake").told_silent
    made.bench.at(1000)
    loads = made.bench.loads()
    assert len(made.round()) == len(on)
    assert len(loads) == 2 * len(on), "the record of each table, and the lake's for each"


def test_a_silent_group_is_looked_at_with_a_read_of_what_its_view_names(silenced: Lookout) -> None:
    """The view's record, of another group, says whether the silent table is a source yet."""
    silenced.bench.at(1000 + 901 + 300)
    loads = silenced.bench.loads()
    silenced.looking.look(RAW.key, 1)
    assert loads == [RAW.key, DAILY.key, SALES.key]


def test_a_silent_group_that_its_view_names_no_more_releases_it(silenced: Lookout) -> None:
    """A reader that the group's record still has does not keep the view silent."""
    document, view = silenced.bench.store.load(SALES.key), silenced.group().views["daily"]
    views = {"daily": replace(view, sources=(encode(SourceTable(SALES, "orders")),))}
    silenced.bench.store.save(document, write_group(replace(silenced.group(), views=views)), None)
    silenced.looking.look(RAW.key, 1)
    assert not told_silent(silenced)


def test_a_view_that_is_silent_itself_is_looked_at_without_reading_the_others(lookout: Lookout) -> None:
    """Its own record says so, whatever its sources in other groups answer."""
    silence(lookout, True)
    lookout.bench.at(1000 + 901)
    lookout.looking.look(SALES.key, 1)
    assert told_silent(lookout)
    loads = lookout.bench.loads()
    lookout.looking.look(SALES.key, 1)
    assert loads == [SALES.key, DAILY.key]


# --- Who reads what --------------------------------------------------------------------------------------------------


def test_a_views_sources_are_found_in_the_view(lookout: Lookout) -> None:
    """Rule 1: `on` is empty; the view names its sources, in its own database and in another."""
    assert lookout.group().sources["orders"].readers == (DAILY.key,)
    assert lookout.group(RAW).sources["returns"].readers == (DAILY.key,)
    assert lookout.group().views["daily"].sources == tuple(
        sorted((encode(SourceTable(SALES, "orders")), encode(SourceTable(RAW, "returns"))))
    )


def test_what_is_enrolled_is_due_at_once_and_once() -> None:
    """The first look comes with the next tick; enrolling again changes nothing, also what was found in the view."""
    made = Lookout()
    made.looking.enrol(DAILY, 1)
    assert due(made) == at(100)
    made.clouds.catalog.put("orders", "s3://a/1.json", 11)
    put_view(made, 11, names=("sales/orders",))
    made.round()
    saves = made.bench.store.saves
    made.looking.enrol(DAILY, 1)
    assert made.bench.store.saves == saves


def test_a_group_of_a_later_edition_is_left_alone(lookout: Lookout) -> None:
    """Rule 12: it may have readers that a worker which froze cannot signal, and must neither miss nor forget."""
    lookout.looking.enrol(DAILY, 2)
    assert (lookout.group().edition, due(lookout)) == (2, lookout.group().due_at)
    lookout.clouds.catalog.put("orders", "s3://a/2.json", 12)
    before = lookout.group()
    without = Looking(
        {},
        store=lookout.bench.store,
        sources=lookout.clouds,
        platform=lookout.bench.platform,
        clock=lookout.bench.clock,
        reconcile=lambda *_: None,
        emit=lambda _: None,
    )
    for frozen in (lookout.looking, without):
        frozen.look(SALES.key, 1)
    assert (lookout.group(), lookout.clouds.looks) == (before, [])
    without.look(SALES.key, 2)
    assert lookout.group().due_at is None  # nobody of the current edition reads it


def test_enrolling_for_the_next_edition_makes_no_look_due(lookout: Lookout) -> None:
    """Only the number changes: a rollout does not look at a thousand sources at once."""
    before = due(lookout)
    lookout.looking.enrol(DAILY, 2)
    assert (due(lookout), lookout.group().edition) == (before, 2)


def test_a_target_that_does_not_look_is_left_alone() -> None:
    """`look = "off"`: neither signals nor proofs."""
    off = replace(DAILY, policy=replace(LOOKS, look=None))
    made = Lookout(off)
    made.looking.enrol(off, 1)
    assert list(made.bench.store.due(at(1e6), 10)) == []
    assert made.looking.before_start(off, State()) is None


def test_a_group_without_readers_leaves_the_index(lookout: Lookout) -> None:
    """Its record is kept, and asked for no more."""
    lookout.looking = lookout.of()
    assert lookout.round() == []
    assert (due(lookout), due(lookout, RAW)) == (None, None)
    assert lookout.group().sources


def test_a_view_that_names_other_sources_is_signalled(lookout: Lookout) -> None:
    """At the moment of the answer; the source that it left loses its reader, the new one is looked at next."""
    lookout.clouds.catalog.put("prices", "s3://p/1.json", 31)
    put_view(lookout, 11, 21, names=("sales/orders", "sales/prices"))
    lookout.round()
    owed = lookout.bench.state().owed
    assert owed
    assert owed.reasons == ("the view names other sources",)
    assert lookout.group(RAW).sources == {}
    assert set(lookout.group().sources) == {"orders", "prices"}


def test_configured_iceberg_tables_are_looked_at_too() -> None:
    """`iceberg_changed` on a view that does not name the table; S3 Tables as well, in their own group."""
    on = (IcebergChanged("sales", "extra"), IcebergChanged("ns", "t", "1:s3tablescatalog/lake"))
    target = replace(DAILY, on=on)
    made = Lookout(target)
    made.clouds.catalog.put("extra", "s3://e/1.json", 1)
    made.looking.enrol(target, 1)
    assert made.round() == ["database sales: daily extra", "namespace ns of table bucket lake: t"]
    assert made.bench.state().owed


def test_groups_of_later_releases_are_left_alone(lookout: Lookout) -> None:
    """Nothing is asked, nothing is written; nor where the record is gone."""
    for key in ("group:kafka:x", RAW.key.replace("raw", "none")):
        lookout.looking.look(key, 1)
    assert lookout.clouds.looks == []


# --- Signals ---------------------------------------------------------------------------------------------------------


def test_an_arrival_that_no_event_told_becomes_a_signal(lookout: Lookout) -> None:
    """G9: at the catalog's time, with the source by its name; all of it looked at."""
    lookout.clouds.catalog.put("returns", "s3://b/2.json", 21, 22, updated=at(900))
    lookout.round()
    owed = lookout.bench.state().owed
    assert owed
    assert (owed.oldest, owed.reasons, owed.looked) == (at(901), ("new data in raw.returns",), True)
    assert lookout.group(RAW).sources["returns"].since == at(901)


def test_a_look_keeps_the_longer_lag_of_an_entry() -> None:
    """Section 6: what an entry of `on` says beyond the target's lag is added to what a look tells of its table, too."""
    on = (
        IcebergChanged("Sales", "orders", visibility_lag=seconds(70)),
        GlueTableChanged("raw", "Returns", visibility_lag=seconds(40)),
    )
    made = Lookout(replace(DAILY, on=on))
    for name in ("orders", "returns"):
        made.clouds.catalog.put(name, f"s3://{name}/1.json", 11)
    put_view(made, 11, 21)
    made.settle()
    made.bench.at(1000)
    made.clouds.catalog.put("orders", "s3://a/2.json", 11, 12, updated=at(800))
    made.round()
    owed = made.bench.state().owed
    assert owed
    assert owed.oldest == at(801 + 60)
    made.known()
    made.clouds.catalog.put("returns", "s3://b/2.json", 21, 22, updated=at(900))
    made.bench.at(2000)
    made.round()
    owed = made.bench.state().owed
    assert owed
    assert owed.oldest == at(901 + 30)


def test_nothing_new_signals_nobody(lookout: Lookout) -> None:
    """Each group is due again after its interval, and no record of a target was written."""
    saves = lookout.bench.store.saves
    looks = ["database raw: returns", "database sales: daily orders", "database sales: daily"]
    assert lookout.round() == looks  # the view once more, after the list of runs, for the first proof
    assert lookout.bench.store.saves == saves + 2 + 1  # two groups, and the first proof
    assert due(lookout) == at(1300)
    assert lookout.told[-1] == {"group": "database sales", "outcome": "answered"}


def test_the_memory_comes_after_the_signals(lookout: Lookout) -> None:
    """Rule 3: a worker that dies between repeats the signal, which folds away, and loses nothing."""
    lookout.clouds.catalog.put("returns", "s3://b/2.json", 21, 22, updated=at(900))

    def die(key: str) -> None:
        if key == RAW.key:
            raise RuntimeError("killed")

    lookout.bench.store.before_save = die
    with pytest.raises(RuntimeError):
        lookout.looking.look(RAW.key, 1)
    assert lookout.bench.state().owed
    lookout.bench.store.before_save = lambda _key: None
    lookout.round()
    owed = lookout.bench.state().owed
    assert owed
    assert owed.at_least == 1
    assert lookout.group(RAW).sources["returns"].version == IcebergVersion(
        "s3://b/2.json", "u1", (22,), (22, 22), at(900)
    )


def test_two_that_look_at_once_both_tell(lookout: Lookout) -> None:
    """The memory of the one that saves first counts; the other's is dropped without a word."""
    lookout.clouds.catalog.put("returns", "s3://b/2.json", 21, 22, updated=at(900))
    other = lookout.of(DAILY)

    def look_too(*_: object) -> None:
        lookout.clouds.before = lambda *_: None
        other.look(RAW.key, 1)

    lookout.clouds.before = look_too
    lookout.looking.look(RAW.key, 1)
    owed = lookout.bench.state().owed
    assert owed
    assert owed.at_least == 1


def test_a_look_that_fails_says_nothing_and_comes_again(lookout: Lookout) -> None:
    """Rule 5 and rule 8: a failure waits for its interval, throttling for twice as long."""
    lookout.clouds.catalog.failures["get_tables"] = DENIED
    lookout.round()
    assert (lookout.group().problem, due(lookout)) == (str(DENIED), at(1300))
    assert lookout.told[-1]["outcome"] == "failed"
    lookout.bench.at(2000)
    lookout.clouds.catalog.failures["get_tables"] = THROTTLED
    lookout.round()
    assert due(lookout) == at(2600)
    assert lookout.told[-1]["outcome"] == "throttled"
    assert lookout.group().sources["orders"].when == at(100.8)
    assert lookout.bench.state().owed is None


def test_a_reader_that_the_configuration_dropped_is_not_signalled() -> None:
    """Its table is still looked at for others; it is not signalled for what it does not read any more."""
    table = OneLakeChanged("w", "l", "Tables/orders")
    one, two = (Target(name, LakeViews("w", name), LOOKS, on=(table,)) for name in ("one", "two"))
    made = Lookout(one, two)
    made.clouds.log.commit(0, metadata_commit() + b"\n" + data_commit())
    for target in (one, two):
        made.looking.enrol(target, 1)
    made.looking = made.of(replace(one, on=()), two)
    made.round()
    assert (made.bench.state("one").owed, made.bench.state("two").owed is not None) == (None, True)


# --- Proofs ----------------------------------------------------------------------------------------------------------


def test_a_view_that_holds_all_is_proven(lookout: Lookout) -> None:
    """Rule 6: as of the earliest `when` of its sources; what a run claimed then would cover is dropped."""
    lookout.known(owed=Owed(at(900), at(905), reasons=("event",)))
    lookout.round()
    state = lookout.bench.state()
    assert (state.owed, state.proven_as_of) == (None, at(1000.8))


def test_sources_come_first_then_the_list_then_the_view(lookout: Lookout) -> None:
    """Each by a request sent after the one before was answered: what changes between is never proven away."""
    order: list[str] = []

    def list_runs() -> tuple[()]:
        order.append("list")
        return ()

    lookout.bench.platform.answers["list"] = [list_runs]
    lookout.clouds.before = lambda _group, known: order.append("sources" if known.sources else "view")
    lookout.looking.look(RAW.key, 1)
    lookout.looking.look(SALES.key, 1)
    assert order == ["sources", "sources", "list", "view"]


def test_a_view_that_lost_a_version_meanwhile_is_not_proven(lookout: Lookout) -> None:
    """What the first page said does not count: the view is asked again, after the list."""
    lookout.clouds.before = lambda _group, known: None if known.sources else put_view(lookout, 10, 21)
    lookout.round()
    state = lookout.bench.state()
    assert state.proven_as_of is None
    assert state.disproved


def test_a_view_that_gains_a_source_meanwhile_is_not_proven(lookout: Lookout) -> None:
    """History 13: the last answer names a source of which nothing is known."""
    names = ("sales/orders", "raw/returns", "sales/new")
    lookout.clouds.before = lambda _group, known: None if known.sources else put_view(lookout, 11, 21, names=names)
    lookout.round()
    assert lookout.bench.state().proven_as_of is None


@pytest.mark.parametrize("runs", [BUSY, (report(Phase.ACTIVE),), (report(Phase.UNKNOWN),)])
def test_nothing_is_proven_while_a_run_may_be_going_on(lookout: Lookout, runs: Any) -> None:
    """Nor by a failed list."""
    lookout.bench.platform.answers["list"] = [runs]
    lookout.round()
    assert lookout.bench.state().proven_as_of is None


def test_the_list_is_asked_for_only_where_something_would_be_written(lookout: Lookout) -> None:
    """A proof that is no news costs no list; nor does a view that says nothing."""
    lookout.round()
    assert lookout.bench.calls() == ["list"]
    lookout.bench.at(1300)
    lookout.round()
    assert lookout.bench.calls() == ["list"]
    put_view(lookout)
    lookout.bench.at(1900)
    lookout.round()
    assert lookout.bench.calls() == ["list"]


def test_a_view_that_cannot_be_read_again_is_not_proven(lookout: Lookout) -> None:
    """The second look at it failed: the first says nothing by itself."""

    def fail(_group: Group, known: Known) -> None:
        if not known.sources:
            lookout.clouds.catalog.failures["get_tables"] = DENIED

    lookout.clouds.before = fail
    lookout.round()
    assert lookout.bench.state().proven_as_of is None


def test_a_source_ahead_of_the_view_is_a_signal_once(lookout: Lookout) -> None:
    """A disproof: the view was restored by hand, and no event told of it."""
    put_view(lookout, 10, 21)
    lookout.round()
    owed = lookout.bench.state().owed
    assert owed
    assert owed.reasons == ("sales.orders has what the view lacks",)


def test_views_of_targets_elsewhere_are_not_judged(lookout: Lookout) -> None:
    """A view that no target of ours refreshes is not asked for."""
    record = lookout.group()
    changed = replace(record, views={**record.views, "other": record.views["daily"]})
    lookout.bench.store.save(lookout.bench.store.load(SALES.key), write_group(changed), at(1000))
    lookout.clouds.catalog.put("other", "s3://v/1.json", 7, SubObjects=[ARN + "sales/orders"])
    assert "database sales: daily orders" in lookout.round()


# --- Before a start --------------------------------------------------------------------------------------------------

OWED = Owed(at(900), at(905), reasons=("event",), looked=True)


def before_start(lookout: Lookout, target: Target = DAILY) -> Any:
    """What a look before a start gives; no record is written."""
    saves = lookout.bench.store.saves
    found = lookout.looking.before_start(target, State(owed=OWED, fresh_as_of=at(500)))
    assert lookout.bench.store.saves == saves
    return found


def test_a_refresh_that_would_read_nothing_new_is_spared(lookout: Lookout) -> None:
    """Rule 7: all sources and the view are read anew, in this order, and no memory is saved."""
    assert before_start(lookout) == Proven(at(1000.8), "70", at(1002))
    assert lookout.clouds.looks[-3:] == ["database raw: returns", "database sales: orders", "database sales: daily"]
    assert lookout.clouds.ends_at[-3:] == [1003] * 3
    assert lookout.told[-1] == {"group": "sources of daily", "outcome": "spared"}


def test_a_refresh_that_would_read_something_starts(lookout: Lookout) -> None:
    """A new version, a run, a source or a view that fails, a view that was never seen: the start goes ahead."""
    lookout.clouds.catalog.put("returns", "s3://b/2.json", 21, 22)
    assert before_start(lookout) is None
    assert lookout.told[-1] == {"group": "sources of daily", "outcome": "not spared"}
    lookout.clouds.catalog.put("returns", "s3://b/1.json", 21)
    lookout.bench.platform.answers["list"] = [(report(Phase.ACTIVE),)]
    assert before_start(lookout) is None
    lookout.bench.platform.answers["list"] = [()]
    lookout.clouds.catalog.failures["get_tables"] = THROTTLED
    assert before_start(lookout) is None
    lookout.clouds.catalog.failures.clear()
    del lookout.clouds.catalog.tables["returns"]
    assert before_start(lookout) is None
    lookout.clouds.catalog.put("returns", "s3://b/1.json", 21)
    del lookout.clouds.catalog.tables["daily"]
    assert before_start(lookout) is None
    unseen = Lookout()
    assert before_start(unseen) is None


def test_a_look_before_a_start_takes_three_seconds_at_most(lookout: Lookout) -> None:
    """Longer, and the start goes ahead: after the sources, after the list, and after the view."""
    for late in range(1, 4):
        passed: list[int] = []

        def pass_time(*_: Any, late: int = late, passed: list[int] = passed) -> None:
            passed.append(1)
            if len(passed) == late:
                lookout.bench.clock.time += seconds(4)

        lookout.clouds.before = pass_time
        assert before_start(lookout) is None


def test_a_run_is_known_to_have_read_what_it_covers(lookout: Lookout) -> None:
    """Versions by the names of the sources: those that came before the claim, and not what came since, nor a rumour."""
    assert lookout.looking.read_by(DAILY, at(500)) == {"sales.orders": "11", "raw.returns": "21"}
    lookout.clouds.catalog.put("returns", "s3://b/2.json", 21, 22, updated=at(900))
    lookout.round()
    assert lookout.looking.read_by(DAILY, at(905)) == {"sales.orders": "11"}
    assert lookout.looking.read_by(DAILY, at(911)) == {"sales.orders": "11", "raw.returns": "22"}
    lookout.clouds.catalog.put("orders", "s3://a/2.json")
    lookout.bench.at(2000)
    lookout.round()
    assert lookout.looking.read_by(DAILY, at(3000)) == {"raw.returns": "22"}
    assert lookout.looking.read_by(replace(DAILY, resource=GlueView("1", "sales", "other")), at(911)) == {}
    assert Lookout().looking.read_by(DAILY, at(911)) == {}


# --- Fabric ----------------------------------------------------------------------------------------------------------

LAKE = Target("lake", LakeViews("w", "l"), LOOKS, on=(OneLakeChanged("w", "l", "Tables/orders"),))
ORDERS = DeltaTable("w", "l", "Tables/orders")


@pytest.fixture
def lake() -> Lookout:
    """Lake views over one Delta table, which was looked at."""
    made = Lookout(LAKE)
    made.clouds.log.commit(0, metadata_commit() + b"\n" + data_commit())
    made.settle()
    made.bench.at(1000)
    return made


def test_a_delta_table_is_looked_at_for_its_readers(lake: Lookout) -> None:
    """A commit that no event told of is a signal, at its Last-Modified."""
    lake.clouds.log.commit(1, data_commit(), 900)
    lake.round()
    owed = lake.bench.state("lake").owed
    assert owed
    assert (owed.oldest, owed.reasons) == (at(901), ("new data in Tables/orders",))


def test_what_the_last_run_read_needs_no_other(lake: Lookout) -> None:
    """The data that a table has now was shown before the claim of the last successful run: a refresh is spared."""
    found = lake.looking.before_start(LAKE, State(owed=OWED, fresh_as_of=at(500)))
    assert found == Spared(at(999.8), at(1000))
    assert lake.told[-1]["outcome"] == "spared"


def test_what_the_last_run_covers_needs_no_other(lake: Lookout) -> None:
    """Data that came so long before its claim that a signal of it is covered, though no answer had shown it then."""
    look = lake.looking.before_start
    assert look(LAKE, State(owed=OWED, fresh_as_of=at(11)))
    assert look(LAKE, State(owed=OWED, fresh_as_of=at(10))) is None


def test_a_longer_lag_of_a_table_counts_before_a_start(lake: Lookout) -> None:
    """A run that was claimed within it may not have read what a look had shown."""
    slow = replace(LAKE, on=(OneLakeChanged("w", "l", "Tables/orders", visibility_lag=seconds(70)),))
    look = lake.of(slow).before_start
    assert look(slow, State(owed=OWED, fresh_as_of=at(70))) is None
    assert look(slow, State(owed=OWED, fresh_as_of=at(71)))


def test_what_the_last_run_may_not_have_read_is_not_spared(lake: Lookout) -> None:
    """Data that came less than the lag before it and that nobody had seen; other signals, item jobs, no run at all."""
    look = lake.looking.before_start
    assert look(LAKE, State(owed=OWED, fresh_as_of=at(1))) is None
    assert look(LAKE, State(owed=replace(OWED, looked=False), fresh_as_of=at(500))) is None
    assert look(LAKE, State(owed=OWED)) is None
    lake.clouds.log.commit(1, data_commit(), 900)
    assert look(LAKE, State(owed=OWED, fresh_as_of=at(910))) is None
    lake.clouds.log.failures["00000000000000000000.json"] = DENIED
    assert look(LAKE, State(owed=OWED, fresh_as_of=at(950))) is None


def test_a_trace_that_is_cut_off_is_due_at_once(lake: Lookout, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on in the next round; its news are told already."""
    monkeypatch.setattr("shared.sources.delta.STEPS", 1)
    for number in range(1, 4):
        lake.clouds.log.commit(number, data_commit(), 900 + number)
    lake.round()
    assert due(lake, ORDERS) == at(1000)
    assert lake.bench.state("lake").owed


def test_a_record_that_moves_on_is_read_again(lookout: Lookout) -> None:
    """Two enrol at once: both are written. One that always loses gives way, since the group is due anyway."""
    lost = iter([True, False])

    def move(key: str) -> None:
        if next(lost, False):
            lookout.bench.store.save(lookout.bench.store.load(key), write_group(GroupRecord()), None)

    other = DeltaTable("w", "l", "Tables/x")
    lookout.bench.store.before_save = move
    lookout.looking._change(other, lambda record: replace(record, problem="x"))
    assert lookout.group(other).problem == "x"
    lookout.bench.store.before_save = lambda key: MemoryStore.save(
        lookout.bench.store, lookout.bench.store.load(key), b'{"format":1,"record":{}}', None
    )
    lookout.looking._change(other, lambda record: replace(record, problem=record.problem + "y"))
    assert lookout.group(other).problem == ""


def test_groups_are_looked_at_while_there_is_time(lookout: Lookout) -> None:
    """In their order; one that fails, of whatever, keeps no other waiting, and what is left stays due."""

    def fail(group: Group, _filter_known: Known) -> None:
        if group == RAW:
            raise RuntimeError("a bug")

    lookout.clouds.before = fail
    keys = [RAW.key, SALES.key]
    [failure] = lookout.looking.look_at(keys, lambda: False, 1)
    assert failure.__notes__ == [f"group {RAW.key}"]
    assert "database sales: daily orders" in lookout.clouds.looks
    lookout.clouds.looks.clear()
    assert lookout.looking.look_at(keys, lambda: True, 1) == []
    assert lookout.clouds.looks == []
