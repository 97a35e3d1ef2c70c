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
from tests.support.core import NOON, ScriptedPlatform, Stage, a_target, at

HOURLY = Schedule("0 * * * *")


def package(stage: Stage, day: int, *targets: Target) -> Engine:
    """A worker of the package that was made on that day of January, with these targets."""
    configuration = Configuration(targets, generation=NOON - timedelta(days=31 - day))
    return Engine(configuration.package(Cloud.AWS), stage.ports)


def tick(stage: Stage, day: int, *targets: Target) -> None:
    """A tick of a package."""
    Sweep(package(stage, day, *targets)).tick()


def deployment(stage: Stage) -> Deployment:
    """What the store knows of the deployment."""
    return records.read_deployment(stage.store.load(records.DEPLOYMENT_KEY).body)


def signal(second: float) -> Signalled:
    """Data arrived then."""
    return Signalled(Signal(at(second), "arrival"))


def test_an_event_in_a_later_package_makes_the_next_edition_too() -> None:
    """And the next tick rolls it out."""
    stage = Stage(a_target("a"), a_target("b"))
    tick(stage, 1, a_target("a"))
    package(stage, 2, a_target("a"), a_target("b")).reconcile(stage.target("a"), [signal(1)])
    known = deployment(stage)
    assert known.edition
    assert (known.edition.number, known.rollout is None) == (2, False)
    tick(stage, 2, a_target("a"), a_target("b"))
    assert (stage.state("a").edition, stage.state("b").edition, deployment(stage).rollout) == (2, 2, None)


def test_a_rollout_writes_every_record_with_what_status_judges_by() -> None:
    """Also where nothing else changed: that fences workers of other editions that froze."""
    policy = replace(a_target("a").policy, objective=timedelta(hours=1))
    stage = Stage(a_target("a"))
    tick(stage, 1, a_target("a"))
    before = stage.state("a")
    tick(stage, 2, a_target("a", policy=policy))
    after = stage.state("a")
    assert after.judged_by
    assert (before.edition, after.edition, after.judged_by.objective) == (1, 2, timedelta(hours=1))
    assert after.owed == before.owed


def test_an_older_tick_forgets_nothing_and_plans_nothing() -> None:
    """The target that only the newer package names stays, whoever ticks afterwards (seed 987700958)."""
    both = a_target("a"), a_target("b", schedule=HOURLY)
    stage = Stage(*both)
    tick(stage, 1, a_target("a"))
    tick(stage, 2, *both)
    before = stage.state("a"), stage.state("b")
    tick(stage, 1, a_target("a", schedule=HOURLY))
    assert (stage.state("a"), stage.state("b")) == before
    known = deployment(stage)
    older = package(stage, 1, a_target("a", schedule=HOURLY)).package
    assert (known.older_since, known.older_ticks[older.fingerprint]) == (NOON, NOON)


def test_what_is_forgotten_already_is_not_written_again() -> None:
    """A rollout that begins anew comes by it once more."""
    stage = Stage(a_target("a"), a_target("b"))
    tick(stage, 1, a_target("a"), a_target("b"))
    tick(stage, 2, a_target("a"))
    version = stage.store.load(stage.target("b").key).version
    Sweep(package(stage, 2, a_target("a")))._forget(stage.target("b").key)
    assert stage.store.load(stage.target("b").key).version == version


def test_a_worker_that_froze_forgets_nothing_of_a_later_edition() -> None:
    """It read the deployment's record while it was current; each record has a higher number since."""
    stage = Stage(a_target("a"), a_target("b"))
    tick(stage, 1, a_target("a"))
    frozen = package(stage, 1, a_target("a"))
    assert frozen.standing.is_current
    tick(stage, 2, a_target("a"), a_target("b"))
    before = stage.state("a"), stage.state("b")
    Sweep(frozen)._forget(stage.target("b").key)
    frozen.reconcile(a_target("a", schedule=HOURLY), force=True)
    assert (stage.state("a"), stage.state("b")) == before


def test_an_older_worker_takes_events_and_leaves_the_record_due_within_a_minute() -> None:
    """The current one then sees to what is not the older one's to decide."""
    stage = Stage(a_target("a", schedule=HOURLY), platform=ScriptedPlatform(start=[Started("r1")]))
    tick(stage, 1, a_target("a"))
    tick(stage, 2, a_target("a", schedule=HOURLY))
    stage.at(600)
    package(stage, 1, a_target("a")).reconcile(a_target("a"), [signal(600)])
    state = stage.state("a")
    assert state.owed
    assert state.wake_at
    assert state.wake_at <= at(660)
    assert (state.edition, state.definition) == (2, a_target("a", schedule=HOURLY).definition)


def test_an_older_worker_starts_and_follows_runs() -> None:
    """During an update nothing stands still."""
    stage = Stage(a_target("a"), platform=ScriptedPlatform(start=[Started("r1")]))
    tick(stage, 2, a_target("a"))
    stage.at(600)
    package(stage, 1, a_target("a")).reconcile(a_target("a"), force=True)
    assert stage.state("a").situation is Situation.RUNNING


def test_a_due_record_in_which_an_older_worker_has_nothing_to_do_is_not_written() -> None:
    """It stays due for a current one."""
    stage = Stage(a_target("a"))
    tick(stage, 2, a_target("a"))
    due = replace(stage.state("a"), owed=None, wake_at=NOON)
    stage.store.save(stage.store.load(stage.target("a").key), records.write(due), NOON)
    version = stage.store.load(stage.target("a").key).version
    tick(stage, 1, a_target("a"))
    assert stage.store.load(stage.target("a").key).version == version


def test_a_rollback_that_nobody_packaged_takes_over() -> None:
    """After half an hour of older ticks; what the newer package had passed over is signalled."""
    both = a_target("a"), a_target("b")
    stage = Stage(*both)
    pause_all(stage.store, NOON)
    tick(stage, 1, *both)
    tick(stage, 2, a_target("a"))
    assert stage.state("b").definition == ""
    for minute in range(31):
        stage.at(60 * minute)
        tick(stage, 1, *both)
    known, gone = deployment(stage).edition, stage.state("b")
    assert known
    assert (known.number, gone.edition, gone.definition) == (3, 3, a_target("b").definition)
    assert gone.owed
    assert "new in the configuration" in gone.owed.reasons


def test_a_rollout_that_another_tick_advanced_is_read_again() -> None:
    """Progress is saved only where the record still has the rollout as it was read."""
    stage = Stage(a_target("a"), a_target("b"), a_target("c"))
    others = [package(stage, 1, a_target("a"), a_target("b"), a_target("c"))]

    def another_tick(key: str) -> None:
        if others and key == stage.target("a").key:
            Sweep(others.pop()).tick()

    stage.store.before_save = another_tick
    tick(stage, 1, a_target("a"), a_target("b"), a_target("c"))
    assert deployment(stage).rollout is None
    assert {stage.state(name).edition for name in "abc"} == {1}


def test_resume_all_rolls_the_edition_out_again() -> None:
    """Under the next number, so that a worker that froze before it plans nothing."""
    stage = Stage(a_target("a"))
    tick(stage, 1, a_target("a"))
    resume_all(stage.store)
    known = deployment(stage)
    assert known.edition
    assert (known.edition.number, known.rollout is None) == (2, False)
    tick(stage, 1, a_target("a"))
    assert (stage.state("a").edition, deployment(stage).rollout) == (2, None)


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
    stage, store = Stage(a_target("a"), a_target("b")), RestlessStore()
    stage.plan()
    for name in "ab":
        store.save(Document(stage.target(name).key), b"", NOON)
    store.save(Document(records.DEPLOYMENT_KEY), stage.store.load(records.DEPLOYMENT_KEY).body, None)
    names: list[str] = []

    def reconcile(engine: Engine, target: Target, **_options: object) -> None:
        names.append(target.name)
        if not has_time:
            engine.end_by(0)

    monkeypatch.setattr(Engine, "reconcile", reconcile)
    Sweep(Engine(stage.configuration.package(Cloud.AWS), replace(stage.ports, store=store))).tick()
    assert store.told == [stage.target(name).key for name in told]
    assert names == list(reconciled)


@pytest.mark.parametrize("asked", [PauseAsked(), ResumeAsked(), signal(5)])
def test_the_command_line_with_another_file_ends_no_schedule(asked: PauseAsked | ResumeAsked | Signalled) -> None:
    """It writes what a person asks, leaves what was planned, and the record due at once."""
    stage = Stage(a_target("a", schedule=HOURLY))
    tick(stage, 1, a_target("a", schedule=HOURLY))
    before = stage.state("a")
    command = Engine(Configuration((a_target("a"),)).package(Cloud.AWS), stage.ports, standing=COMMAND)
    stage.at(5)
    command.reconcile(a_target("a"), [asked, PauseAsked()], may_call=False)
    after = stage.state("a")
    assert (after.definition, after.planned_until, after.edition, after.judged_by) == (
        before.definition,
        before.planned_until,
        before.edition,
        before.judged_by,
    )
    assert after.wake_at == at(5)
    assert deployment(stage).edition is not None


def test_a_record_of_release_1_is_planned_by_the_first_edition() -> None:
    """Without a signal: its sources are the same, and no edition passed over it."""
    stage = Stage(a_target("a"))
    known = State(fresh_as_of=NOON, definition=a_target("a").definition, planned_until=NOON)
    body = records.write(known).replace(b'"format":2', b'"format":1')
    stage.store.save(stage.store.load(stage.target("a").key), body, None)
    tick(stage, 1, a_target("a"))
    assert (stage.state("a").edition, stage.state("a").owed) == (1, None)


def test_the_record_of_a_job_is_removed_when_it_is_due() -> None:
    """Its time is over by then; one that is gone already, or that somebody is writing, is left."""
    stage = Stage(a_target("a"))
    tick(stage, 1, a_target("a"))
    due, later = records.job_key("item", "1"), records.job_key("item", "2")
    for key, at_second in ((due, 0), (later, 500)):
        stage.store.save(stage.store.load(key), b"{}", at(at_second))
    tick(stage, 1, a_target("a"))
    assert (stage.store.load(due).body, stage.store.load(later).body) == (b"", b"{}")
    worker = Sweep(package(stage, 1, a_target("a")))
    worker._expire(due)
    read = stage.store.load(later)
    stage.store.save(read, b"{1}", None)
    stage.store.load = lambda key: read  # type: ignore[method-assign]
    worker._expire(later)


def test_a_target_that_is_gone_keeps_its_events_and_is_due_for_them() -> None:
    """Nothing else of it is planned; its record says which edition left it out."""
    stage = Stage(a_target("a"), a_target("b"))
    tick(stage, 1, a_target("a"), a_target("b"))
    notices = (Notice(1, "held", NOON),)
    state = replace(stage.state("b"), outbox=Outbox(notices=notices, last_number=1), wakes=(at(7),), wake_at=at(7))
    document = stage.store.load(stage.target("b").key)
    stage.store.save(document, records.write(state), at(7))
    tick(stage, 2, a_target("a"))
    gone = stage.state("b")
    outbox = Outbox(notices=notices, last_number=1, next_at=at(10))
    assert gone == replace(state, definition="", edition=2, wakes=(), wake_at=at(10), outbox=outbox)
    assert stage.target("b").key in list(stage.store.due(at(10)))
    assert stage.target("b").key not in list(stage.store.due(at(9)))


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
    stage = Stage(a_target("a"), a_target("b"))
    tick(stage, 1, a_target("a"), a_target("b"))
    document = stage.store.load(stage.target("b").key)
    stage.store.save(document, records.write(replace(stage.state("b"), outbox=outbox)), None)
    engine, told = package(stage, 2, a_target("a")), list[datetime]()
    monkeypatch.setattr(engine, "note_gone", lambda _key, next_at: told.append(next_at))
    Sweep(engine).tick()
    assert stage.state("b").definition == ""
    assert told == noted


def test_a_rollout_goes_over_all_records_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not named are left out one by one; trouble with one is told, and leaves the others no worse."""
    monkeypatch.setattr(sweep, "ROLLED_OUT_AT_ONCE", 2)
    names = tuple("abcdefg")
    stage = Stage(*map(a_target, names))
    tick(stage, 1, *map(a_target, names))
    assert {stage.state(name).edition for name in names} == {1}
    broken = stage.target("d").key
    stage.store.save(stage.store.load(broken), b'{"format":99,"record":{}}', None)
    with pytest.raises(ExceptionGroup, match=r"^1 records could not be reconciled"):
        tick(stage, 2, a_target("c"))
    assert {name: stage.state(name).definition == "" for name in names if name != "d"} == {
        name: name != "c" for name in names if name != "d"
    }
