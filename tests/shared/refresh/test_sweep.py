"""Rule 12 through the loop: what workers of several packages, and the command line, do to one deployment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.config.load import Configuration
from shared.refresh import records, sweep
from shared.refresh.deployment import COMMAND
from shared.refresh.engine import Engine
from shared.refresh.inputs import PauseAsked, ResumeAsked, Signalled
from shared.refresh.ports import Document, Started
from shared.refresh.state import Deployment, Notice, Outbox, Signal, Situation, State, Success
from shared.refresh.sweep import Sweep, pause_all, resume_all
from shared.targets import Cloud, Schedule, Target
from tests.support.core import NOON, Bench, ScriptedPlatform, a_target, at

HOURLY = Schedule("0 * * * *")


def package(bench: Bench, day: int, *targets: Target) -> Engine:
    """A worker of the package that was made on that day of January, with these targets."""
    configuration = Configuration(targets, generation=NOON - timedelta(days=31 - day))
    return Engine(configuration.package(Cloud.AWS), bench.ports)


def tick(bench: Bench, day: int, *targets: Target) -> None:
    """A tick of a package."""
    Sweep(package(bench, day, *targets)).tick()


def deployment(bench: Bench) -> Deployment:
    """What the store knows of the deployment."""
    return records.read_deployment(bench.store.load(records.DEPLOYMENT_KEY).body)


def signal(second: float) -> Signalled:
    """Data arrived then."""
    return Signalled(Signal(at(second), "arrival"))


def test_an_event_in_a_later_package_makes_the_next_edition_too() -> None:
    """And the next tick rolls it out."""
    bench = Bench(a_target("a"), a_target("b"))
    tick(bench, 1, a_target("a"))
    package(bench, 2, a_target("a"), a_target("b")).reconcile(bench.target("a"), [signal(1)])
    known = deployment(bench)
    assert known.edition
    assert (known.edition.number, known.rollout is None) == (2, False)
    tick(bench, 2, a_target("a"), a_target("b"))
    assert (bench.state("a").edition, bench.state("b").edition, deployment(bench).rollout) == (2, 2, None)


def test_a_rollout_writes_every_record_with_what_status_judges_by() -> None:
    """Also where nothing else changed: that fences workers of other editions that froze."""
    policy = replace(a_target("a").policy, objective=timedelta(hours=1))
    bench = Bench(a_target("a"))
    tick(bench, 1, a_target("a"))
    before = bench.state("a")
    tick(bench, 2, a_target("a", policy=policy))
    after = bench.state("a")
    assert after.judged_by
    assert (before.edition, after.edition, after.judged_by.objective) == (1, 2, timedelta(hours=1))
    assert after.owed == before.owed


def test_an_older_tick_forgets_nothing_and_plans_nothing() -> None:
    """The target that only the newer package names stays, whoever ticks afterwards (seed 987700958)."""
    both = a_target("a"), a_target("b", schedule=HOURLY)
    bench = Bench(*both)
    tick(bench, 1, a_target("a"))
    tick(bench, 2, *both)
    before = bench.state("a"), bench.state("b")
    tick(bench, 1, a_target("a", schedule=HOURLY))
    assert (bench.state("a"), bench.state("b")) == before
    known = deployment(bench)
    older = package(bench, 1, a_target("a", schedule=HOURLY)).package
    assert (known.older_since, known.older_ticks[older.fingerprint]) == (NOON, NOON)


def test_what_is_forgotten_already_is_not_written_again() -> None:
    """A rollout that begins anew comes by it once more."""
    bench = Bench(a_target("a"), a_target("b"))
    tick(bench, 1, a_target("a"), a_target("b"))
    tick(bench, 2, a_target("a"))
    version = bench.store.load(bench.target("b").key).version
    Sweep(package(bench, 2, a_target("a")))._forget(bench.target("b").key)
    assert bench.store.load(bench.target("b").key).version == version


def test_a_worker_that_froze_forgets_nothing_of_a_later_edition() -> None:
    """It read the deployment's record while it was current; each record has a higher number since."""
    bench = Bench(a_target("a"), a_target("b"))
    tick(bench, 1, a_target("a"))
    frozen = package(bench, 1, a_target("a"))
    assert frozen.standing.is_current
    tick(bench, 2, a_target("a"), a_target("b"))
    before = bench.state("a"), bench.state("b")
    Sweep(frozen)._forget(bench.target("b").key)
    frozen.reconcile(a_target("a", schedule=HOURLY), force=True)
    assert (bench.state("a"), bench.state("b")) == before


def test_an_older_worker_takes_events_and_leaves_the_record_due_within_a_minute() -> None:
    """The current one then sees to what is not the older one's to decide."""
    bench = Bench(a_target("a", schedule=HOURLY), platform=ScriptedPlatform(start=[Started("r1")]))
    tick(bench, 1, a_target("a"))
    tick(bench, 2, a_target("a", schedule=HOURLY))
    bench.at(600)
    package(bench, 1, a_target("a")).reconcile(a_target("a"), [signal(600)])
    state = bench.state("a")
    assert state.owed
    assert state.wake_at
    assert state.wake_at <= at(660)
    assert (state.edition, state.definition) == (2, a_target("a", schedule=HOURLY).definition)


def test_an_older_worker_starts_and_follows_runs() -> None:
    """During an update nothing stands still."""
    bench = Bench(a_target("a"), platform=ScriptedPlatform(start=[Started("r1")]))
    tick(bench, 2, a_target("a"))
    bench.at(600)
    package(bench, 1, a_target("a")).reconcile(a_target("a"), force=True)
    assert bench.state("a").situation is Situation.RUNNING


def test_a_due_record_in_which_an_older_worker_has_nothing_to_do_is_not_written() -> None:
    """It stays due for a current one."""
    bench = Bench(a_target("a"))
    tick(bench, 2, a_target("a"))
    due = replace(bench.state("a"), owed=None, wake_at=NOON)
    bench.store.save(bench.store.load(bench.target("a").key), records.write(due), NOON)
    version = bench.store.load(bench.target("a").key).version
    tick(bench, 1, a_target("a"))
    assert bench.store.load(bench.target("a").key).version == version


def test_a_rollback_that_nobody_packaged_takes_over() -> None:
    """After half an hour of older ticks; what the newer package had passed over is signalled."""
    both = a_target("a"), a_target("b")
    bench = Bench(*both)
    pause_all(bench.store, NOON)
    tick(bench, 1, *both)
    tick(bench, 2, a_target("a"))
    assert bench.state("b").definition == ""
    for minute in range(31):
        bench.at(60 * minute)
        tick(bench, 1, *both)
    known, gone = deployment(bench).edition, bench.state("b")
    assert known
    assert (known.number, gone.edition, gone.definition) == (3, 3, a_target("b").definition)
    assert gone.owed
    assert "new in the configuration" in gone.owed.reasons


def test_a_rollout_that_another_tick_advanced_is_read_again() -> None:
    """Progress is saved only where the record still has the rollout as it was read."""
    bench = Bench(a_target("a"), a_target("b"), a_target("c"))
    others = [package(bench, 1, a_target("a"), a_target("b"), a_target("c"))]

    def another_tick(key: str) -> None:
        if others and key == bench.target("a").key:
            Sweep(others.pop()).tick()

    bench.store.before_save = another_tick
    tick(bench, 1, a_target("a"), a_target("b"), a_target("c"))
    assert deployment(bench).rollout is None
    assert {bench.state(name).edition for name in "abc"} == {1}


def test_resume_all_rolls_the_edition_out_again() -> None:
    """Under the next number, so that a worker that froze before it plans nothing."""
    bench = Bench(a_target("a"))
    tick(bench, 1, a_target("a"))
    resume_all(bench.store)
    known = deployment(bench)
    assert known.edition
    assert (known.edition.number, known.rollout is None) == (2, False)
    tick(bench, 1, a_target("a"))
    assert (bench.state("a").edition, deployment(bench).rollout) == (2, None)


class RestlessStore(MemoryStore):
    """A store whose index tells each record twice, since all of them are saved as due again while it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Tell the keys one by one, and note how far the caller went."""
        for key in 2 * list(super().due(now, limit)):
            self.told.append(key)
            yield key


@pytest.mark.parametrize(("has_time", "told", "reconciled"), [(True, "abab", "ab"), (False, "a", "a")])
def test_a_tick_takes_a_record_once_and_reads_no_further_than_it_has_time(
    has_time: bool, told: str, reconciled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes again in the index waits for the next tick; what there is no time for is not even read."""
    bench, store = Bench(a_target("a"), a_target("b")), RestlessStore()
    bench.plan()
    for name in "ab":
        store.save(Document(bench.target(name).key), b"", NOON)
    store.save(Document(records.DEPLOYMENT_KEY), bench.store.load(records.DEPLOYMENT_KEY).body, None)
    names: list[str] = []

    def reconcile(engine: Engine, target: Target, **_options: object) -> None:
        names.append(target.name)
        if not has_time:
            engine.end_by(0)

    monkeypatch.setattr(Engine, "reconcile", reconcile)
    Sweep(Engine(bench.configuration.package(Cloud.AWS), replace(bench.ports, store=store))).tick()
    assert store.told == [bench.target(name).key for name in told]
    assert names == list(reconciled)


@pytest.mark.parametrize("asked", [PauseAsked(), ResumeAsked(), signal(5)])
def test_the_command_line_with_another_file_ends_no_schedule(asked: PauseAsked | ResumeAsked | Signalled) -> None:
    """It writes what a person asks, leaves what was planned, and the record due at once."""
    bench = Bench(a_target("a", schedule=HOURLY))
    tick(bench, 1, a_target("a", schedule=HOURLY))
    before = bench.state("a")
    command = Engine(Configuration((a_target("a"),)).package(Cloud.AWS), bench.ports, standing=COMMAND)
    bench.at(5)
    command.reconcile(a_target("a"), [asked, PauseAsked()], may_call=False)
    after = bench.state("a")
    assert (after.definition, after.planned_until, after.edition, after.judged_by) == (
        before.definition,
        before.planned_until,
        before.edition,
        before.judged_by,
    )
    assert after.wake_at == at(5)
    assert deployment(bench).edition is not None


def test_a_record_of_release_1_is_planned_by_the_first_edition() -> None:
    """Without a signal: its sources are the same, and no edition passed over it."""
    bench = Bench(a_target("a"))
    known = State(fresh_as_of=NOON, definition=a_target("a").definition, planned_until=NOON)
    body = records.write(known).replace(b'"format":2', b'"format":1')
    bench.store.save(bench.store.load(bench.target("a").key), body, None)
    tick(bench, 1, a_target("a"))
    assert (bench.state("a").edition, bench.state("a").owed) == (1, None)


def test_the_record_of_a_job_is_removed_when_it_is_due() -> None:
    """Its time is over by then; one that is gone already, or that somebody is writing, is left."""
    bench = Bench(a_target("a"))
    tick(bench, 1, a_target("a"))
    due, later = records.job_key("item", "1"), records.job_key("item", "2")
    for key, at_second in ((due, 0), (later, 500)):
        bench.store.save(bench.store.load(key), b"{}", at(at_second))
    tick(bench, 1, a_target("a"))
    assert (bench.store.load(due).body, bench.store.load(later).body) == (b"", b"{}")
    worker = Sweep(package(bench, 1, a_target("a")))
    worker._expire(due)
    read = bench.store.load(later)
    bench.store.save(read, b"{1}", None)
    bench.store.load = lambda key: read  # type: ignore[method-assign]
    worker._expire(later)


def test_a_target_that_is_gone_keeps_its_events_and_is_due_for_them() -> None:
    """Nothing else of it is planned; its record says which edition left it out."""
    bench = Bench(a_target("a"), a_target("b"))
    tick(bench, 1, a_target("a"), a_target("b"))
    notices = (Notice(1, "held", NOON),)
    state = replace(bench.state("b"), outbox=Outbox(notices=notices, last_number=1), wakes=(at(7),), wake_at=at(7))
    document = bench.store.load(bench.target("b").key)
    bench.store.save(document, records.write(state), at(7))
    tick(bench, 2, a_target("a"))
    gone = bench.state("b")
    outbox = Outbox(notices=notices, last_number=1, next_at=at(10))
    assert gone == replace(state, definition="", edition=2, wakes=(), wake_at=at(10), outbox=outbox)
    assert bench.target("b").key in list(bench.store.due(at(10)))
    assert bench.target("b").key not in list(bench.store.due(at(9)))


@pytest.mark.parametrize(
    ("outbox", "noted"),
    [
        (Outbox(notices=(Notice(1, "held", NOON),), next_at=NOON), [at(10)]),
        (Outbox(notices=(Notice(1, "held", NOON),), next_at=at(100)), []),
        (Outbox(Success(NOON), next_at=at(5)), []),
    ],
    ids=["due", "left alone", "no events"],
)
def test_events_of_a_target_that_is_gone_are_told_by_who_took_them(
    monkeypatch: pytest.MonkeyPatch, outbox: Outbox, noted: list[datetime]
) -> None:
    """Not while a destination is left alone, or another worker tells; its followers are nobody's any more."""
    bench = Bench(a_target("a"), a_target("b"))
    tick(bench, 1, a_target("a"), a_target("b"))
    document = bench.store.load(bench.target("b").key)
    bench.store.save(document, records.write(replace(bench.state("b"), outbox=outbox)), None)
    engine, told = package(bench, 2, a_target("a")), list[datetime]()
    monkeypatch.setattr(engine, "note_gone", lambda _key, next_at: told.append(next_at))
    Sweep(engine).tick()
    assert bench.state("b").definition == ""
    assert told == noted


def test_a_rollout_goes_over_all_records_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not named are left out one by one; trouble with one is told, and leaves the others no worse."""
    monkeypatch.setattr(sweep, "ROLLED_OUT_AT_ONCE", 2)
    names = tuple("abcdefg")
    bench = Bench(*map(a_target, names))
    tick(bench, 1, *map(a_target, names))
    assert {bench.state(name).edition for name in names} == {1}
    broken = bench.target("d").key
    bench.store.save(bench.store.load(broken), b'{"format":99,"record":{}}', None)
    with pytest.raises(ExceptionGroup, match=r"^1 records could not be reconciled"):
        tick(bench, 2, a_target("c"))
    assert {name: bench.state(name).definition == "" for name in names if name != "d"} == {
        name: name != "c" for name in names if name != "d"
    }
