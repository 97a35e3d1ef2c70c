"""The loop and its looks: a look before a start, and groups of sources among what is due (design, section 9)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.engine import Engine
from shared.refresh.identity import Call, Identity, Place, Queue
from shared.refresh.inputs import PauseAsked, Proven, Reported, Signalled
from shared.refresh.ports import Phase, Started, StoreDownError
from shared.refresh.state import Blocked, Deployment, Edition, Outcome, Owed, Signal, Situation, State
from shared.refresh.sweep import Sweep, pause_all
from shared.targets import Cloud, Target
from tests.support.core import NOON, Bench, a_run, a_target, at, in_situation, report
from tests.support.looks import LookBench

GROUP = records.group_key("glue-database", "1", "sales")
OWED = Owed(at(-60), at(-30), reasons=("event",))


@pytest.fixture
def bench() -> LookBench:
    """A target that is ready to start."""
    made = LookBench()
    made.put(State(owed=OWED, wake_at=NOON, startable_since=at(-10)))
    return made


def test_a_look_comes_before_a_start(bench: LookBench) -> None:
    """It finds something new, or nothing can be said: the start goes ahead, and is not looked at twice."""
    bench.engine.reconcile(bench.target())
    assert (bench.looks.looked_before, bench.calls()) == (["daily"], ["start"])


def test_a_look_costs_no_second_reading_of_the_record(bench: LookBench) -> None:
    """The record in hand is the one that the claim is saved on."""
    read = bench.loads()
    bench.engine.reconcile(bench.target())
    assert (bench.calls(), read.count(bench.target().key)) == (["start"], 1)


def test_a_look_of_a_target_that_has_its_place_costs_no_second_reading_either(bench: LookBench) -> None:
    """Nothing is done before the look, then."""
    identity = Identity(starts=Queue(NOON, 1, NOON, next_number=1))
    bench.store.save(bench.store.load(records.identity_key("role")), records.write(identity), None)
    bench.put(replace(bench.state(), place=Place(Call.START, 0)))
    read = bench.loads()
    bench.engine.reconcile(bench.target())
    assert (bench.looks.looked_before, bench.calls()) == (["daily"], ["start"])
    assert read.count(bench.target().key) == 1


def test_what_everybody_was_told_during_a_look_holds(bench: LookBench) -> None:
    """A look takes seconds: whether all is paused is read after it, and not taken from before."""

    def paused_meanwhile(_target: Target, _state: State) -> None:
        pause_all(bench.store, NOON)

    bench.looks.before_start = paused_meanwhile  # type: ignore[assignment]
    bench.engine.reconcile(bench.target())
    assert bench.calls() == []


def test_a_start_that_would_read_nothing_new_is_spared(bench: LookBench) -> None:
    """What is owed is dropped before any claim; history says so, and no claim was written."""
    bench.looks.found = Proven(NOON, "7", at(1))
    bench.engine.reconcile(bench.target())
    state = bench.state()
    assert (bench.calls(), state.owed, state.last_claim_at, state.proven_as_of) == ([], None, None, NOON)
    [line] = bench.store.history(bench.target().key, 10)
    assert records.read_ended(line).outcome is Outcome.PROVEN
    assert "run proven" in bench.words()


def test_what_a_look_leaves_is_started(bench: LookBench) -> None:
    """A proof that drops only part of what is owed spares nothing of the rest, once that is ready."""
    bench.put(State(owed=replace(OWED, oldest=at(-200)), wake_at=NOON, startable_since=at(-10)))
    bench.looks.found = Proven(at(-100), "7", at(1))
    bench.engine.reconcile(bench.target())
    assert (bench.looks.looked_before, bench.calls()) == (["daily"], ["start"])


def test_a_look_that_fails_delays_nothing(bench: LookBench) -> None:
    """Whatever it raises: the start goes ahead, and somebody hears of it."""
    bench.looks.found = RuntimeError("a bug")
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start"]
    assert [event.fields for event in bench.told if event.what == "look failed"] == [{"why": "a bug"}]


@pytest.mark.parametrize("changes", [{"asked": True}, {"full": True}])
def test_what_a_person_asked_for_is_not_looked_at(bench: LookBench, changes: dict[str, bool]) -> None:
    """Nor a full refresh."""
    bench.put(State(owed=replace(OWED, **changes), wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert (bench.looks.looked_before, bench.calls()) == ([], ["start"])


def test_what_is_overdue_is_not_looked_at(bench: LookBench) -> None:
    """Two minutes late, counted from when a start was due, known and possible."""
    bench.at(110)
    bench.put(State(owed=OWED, wake_at=NOON, startable_since=at(-10)))
    bench.engine.reconcile(bench.target())
    assert bench.looks.looked_before == ["daily"]
    late = LookBench()
    late.at(121)
    late.put(State(owed=OWED, wake_at=NOON, startable_since=at(-10)))
    late.engine.reconcile(late.target())
    assert (late.looks.looked_before, late.calls()) == ([], ["start"])
    held = LookBench()
    held.at(1000)
    held.put(State(owed=OWED, wake_at=NOON, startable_since=at(900)))
    held.engine.reconcile(held.target())
    assert held.looks.looked_before == ["daily"]


def test_targets_that_do_not_look_start_at_once() -> None:
    """`look = "off"`."""
    off = a_target(policy=replace(a_target().policy, look=None))
    made = LookBench(off)
    made.put(State(owed=OWED, wake_at=NOON))
    made.engine.reconcile(off)
    assert (made.looks.looked_before, made.calls()) == ([], ["start"])
    assert made.state().startable_since is None


def test_a_look_waits_for_the_lag() -> None:
    """With a quiet period shorter than the visibility lag and three seconds the start waits for its look."""
    target = a_target(policy=replace(a_target().policy, quiet_period=a_target().policy.visibility_lag / 10))
    made = LookBench(target)
    made.put(State(owed=Owed(at(-20), at(-11)), wake_at=NOON))
    made.engine.reconcile(target)
    assert (made.calls(), made.state().wake_at) == ([], at(2))
    made.at(2)
    made.engine.reconcile(target)
    assert (made.looks.looked_before, made.calls()) == (["daily"], ["start"])


def test_a_start_is_possible_since_it_is_owed() -> None:
    """The record says since when, so that a late start is known as late."""
    made = LookBench()
    made.put(State(fresh_as_of=at(-500)))
    made.engine.reconcile(made.target(), (Signalled(Signal(at(-5), "new")),))
    assert made.state().startable_since == NOON


@pytest.mark.parametrize(
    ("made", "phase", "versions"),
    [
        (LookBench(), Phase.SUCCEEDED, {"daily's source": "as of 12:00:00"}),
        (LookBench(), Phase.FAILED, {}),
        (Bench(), Phase.SUCCEEDED, {}),
    ],
    ids=["a success", "a failure", "nobody looks"],
)
def test_history_says_which_versions_a_run_has_read(made: Bench, phase: Phase, versions: dict[str, str]) -> None:
    """The line of a success has them; that of a failure does not, nor does any where nobody looks."""
    made.put(in_situation(Situation.RUNNING))
    made.at(200)
    made.engine.reconcile(made.target(), (Reported(report(phase)),), may_call=False)
    [line] = made.store.history(made.target().key, 10)
    assert records.read_ended(line).versions == versions


def test_versions_that_cannot_be_read_keep_no_success_from_being_saved() -> None:
    """A group's record of a later release, say: the line of history lacks them, and the log says why."""
    made = LookBench()

    def unreadable(_target: Target, _claimed_at: datetime) -> dict[str, str]:
        raise records.NewerRecordError("of a later release")

    made.looks.read_by = unreadable  # type: ignore[assignment, method-assign]
    made.put(in_situation(Situation.RUNNING))
    made.at(200)
    made.engine.reconcile(made.target(), (Reported(report(Phase.SUCCEEDED)),), may_call=False)
    [line] = made.store.history(made.target().key, 10)
    assert records.read_ended(line).versions == {}
    assert made.state().fresh_as_of
    assert [event.fields for event in made.told if event.what == "look failed"] == [{"why": "of a later release"}]


def test_a_start_that_a_cap_held_is_looked_at_like_others(bench: LookBench) -> None:
    """Rule 7: overdue counts from the lift of the hold, not from when the start was ready."""
    hold = Blocked(at(-7200), "enough for today", at(600), capped=True)
    bench.put(State(owed=replace(OWED, oldest=at(-7200), newest=at(-7190)), hold=hold, wake_at=at(600)))
    bench.at(600)
    bench.engine.reconcile(bench.target())
    assert (bench.looks.looked_before, bench.calls()) == (["daily"], ["start"])


def test_followers_are_told_of_a_proof() -> None:
    """A proof that drops something is a signal to those that come after, at the moment of the view's answer."""
    made = LookBench(a_target(), a_target("monthly", after=("daily",)))
    for name in ("daily", "monthly"):
        made.put(State(fresh_as_of=at(-900), owed=OWED if name == "daily" else None), name)
    made.engine.reconcile(made.target(), (Proven(NOON, "7", at(1)),))
    made.engine.tell()
    owed = made.state("monthly").owed
    assert owed
    assert (owed.oldest, owed.reasons) == (at(1), ("after daily",))


def test_a_tick_does_first_what_needs_no_look() -> None:
    """Rule 7: three starts whose looks take three seconds each hold up no poll that is due after them."""
    names = ("a", "b", "c", "polled")
    made = LookBench(*(a_target(name, identity=name) for name in names))
    made.platform.answers["start"] = [Started(f"r{number}") for number in range(3)]
    for name in names[:3]:
        made.put(State(owed=OWED, wake_at=NOON, startable_since=at(-10)), name)
    made.put(State(run=a_run(Situation.RUNNING, next_look_at=at(1)), wake_at=at(1)), "polled")
    made.plan()
    made.at(60)
    Sweep(made.engine).tick()
    assert [(call[0], call[1]) for call in made.platform.calls] == [
        ("get", "polled"),
        *(("start", name) for name in names[:3]),
    ]
    assert made.looks.looked_before == list(names[:3])


def test_a_start_that_a_tick_put_off_is_gone_on_with(bench: LookBench) -> None:
    """The record in hand is kept until its turn comes: it is read once."""
    bench.plan()
    read = bench.loads()
    Sweep(bench.engine).tick()
    assert (bench.calls(), read.count(bench.target().key)) == (["start"], 1)


def test_a_tick_whose_time_is_over_leaves_the_rest_of_the_looks_to_the_next() -> None:
    """The starts that it put off are still due."""
    made = LookBench(*(a_target(name, identity=name) for name in "ab"), ends_at=100)
    for name in "ab":
        made.put(State(owed=OWED, wake_at=NOON, startable_since=at(-10)), name)
    made.plan()

    def look_slowly(_target: Target, _state: State) -> None:
        made.clock.time += timedelta(seconds=60)

    made.looks.before_start = look_slowly  # type: ignore[assignment]
    made.at(60)
    Sweep(made.engine).tick()
    assert made.state("b").run is None
    assert made.target("b").key in made.store.due(made.clock.now(), 9)


def test_what_a_poll_told_is_saved_before_a_start_is_put_off() -> None:
    """The run ended, and what is owed is ready: the end is in the record, and the start comes later in the tick."""
    made = LookBench()
    made.platform.answers["get"] = [report(Phase.SUCCEEDED)]
    run = a_run(Situation.RUNNING, next_look_at=at(1))
    made.put(State(run=run, owed=replace(OWED, oldest=at(5), newest=at(10)), wake_at=at(1)))
    made.plan()
    made.at(60)
    Sweep(made.engine).tick()
    assert made.calls() == ["get", "start"]
    assert made.looks.looked_before == ["daily"]
    assert made.state().fresh_as_of == run.claimed_at


def test_a_tick_of_an_older_package_looks_at_nothing(bench: LookBench) -> None:
    """Rule 12: it would miss, and forget, what only the current edition names; the group stays due for that."""
    package = bench.engine.package
    later = Deployment(edition=Edition(2, "later", package.generation + timedelta(days=1)))
    bench.store.save(bench.store.load(records.DEPLOYMENT_KEY), records.write(later), None)
    due_group(bench)
    Sweep(bench.engine).tick()
    assert (bench.looks.looked_at, bench.looks.enrolled) == ([], [])
    assert GROUP in bench.store.due(at(10**6), 99)


# --- The tick --------------------------------------------------------------------------------------------------------


def due_group(made: LookBench) -> None:
    """A group that is more overdue than any target."""
    made.store.save(made.store.load(GROUP), b'{"format":1,"record":{}}', at(-500))


def test_a_tick_looks_at_groups_after_targets(bench: LookBench) -> None:
    """Groups are work like targets, and do not keep those waiting; each is looked at once a tick."""
    due_group(bench)
    Sweep(bench.engine).tick()
    assert (bench.calls(), bench.looks.looked_at, bench.looks.editions) == (["start"], [GROUP], {1})


def test_a_tick_enrols_the_targets_of_a_configuration_once(bench: LookBench) -> None:
    """With the rollout; after it a tick with nothing due asks for nothing more than before."""
    Sweep(bench.engine).tick()
    assert bench.looks.enrolled == ["daily"]
    Sweep(bench.engine).tick()
    assert bench.looks.enrolled == ["daily"]


def test_failures_of_looks_are_raised_with_those_of_targets(bench: LookBench) -> None:
    """At the end, as a group."""
    bench.plan()
    due_group(bench)
    broken = a_target("broken").key
    bench.store.save(bench.store.load(broken), b'{"format":99,"record":{}}', NOON)
    bench.looks.failures = [RuntimeError("a bug")]
    with pytest.raises(ExceptionGroup, match=r"^2 records could not be reconciled") as raised:
        Sweep(bench.engine).tick()
    assert [type(each) for each in raised.value.exceptions] == [records.NewerRecordError, RuntimeError]


def test_trouble_of_a_start_that_was_put_off_is_raised_with_the_rest(bench: LookBench) -> None:
    """It keeps no other waiting either."""

    def fail() -> None:
        raise StoreDownError("down")

    bench.plan()
    bench.platform.answers["start"] = [fail]
    with pytest.raises(ExceptionGroup, match=r"^1 records could not be reconciled"):
        Sweep(bench.engine).tick()


def test_groups_are_nothing_that_a_configuration_forgets(bench: LookBench) -> None:
    """The rollout leaves records of groups alone; a worker that does not look leaves them due."""
    due_group(bench)
    plain = Engine(bench.configuration.package(Cloud.AWS), replace(bench.ports, looks=None))
    Sweep(plain).tick()
    assert bench.store.load(GROUP).body == b'{"format":1,"record":{}}'
    assert GROUP in bench.store.due(NOON, 10)


@pytest.mark.parametrize(
    ("state", "ahead"),
    [
        (State(owed=replace(OWED, looked=True)), 60.0),
        (State(owed=OWED), 0.0),
        (State(owed=OWED, run=a_run(Situation.RUNNING, covering=replace(OWED, oldest=at(-70), looked=True))), 70.0),
        (State(fresh_as_of=NOON), 0.0),
    ],
    ids=["owed", "owed to an event", "a run reads it", "nothing"],
)
def test_how_long_a_source_has_been_ahead_is_told(state: State, ahead: float) -> None:
    """By what looks told, whether it is owed or a run is to read it; what an event told does not say that."""
    made = LookBench()
    made.put(state)
    made.engine.reconcile(made.target(), (PauseAsked(),), may_call=False)
    saved = [event.fields for event in made.told if event.what == "saved"][-1]
    assert saved["source_ahead_seconds"] == ahead
    off = LookBench(a_target(policy=replace(a_target().policy, look=None)))
    off.put(state)
    off.engine.reconcile(off.target(), (PauseAsked(),), may_call=False)
    assert "source_ahead_seconds" not in [event.fields for event in off.told if event.what == "saved"][-1]
