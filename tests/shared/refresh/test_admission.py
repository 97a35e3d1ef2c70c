"""What the engine reads and writes of an identity before and after a call: places, caps, conflicts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh import records
from shared.refresh.admission import Admission, Known
from shared.refresh.decide import Gate
from shared.refresh.engine import Engine
from shared.refresh.failure import FailureKind
from shared.refresh.identity import Call, Day, Identity, Place, Queue, RunningClaim
from shared.refresh.inputs import ProbeAsked, ResumeAsked
from shared.refresh.ports import ATTEMPTS, Conflict, ContendedError, Started
from shared.refresh.state import Blocked, Deployment, Owed, Situation, State
from shared.targets import Cloud, Limits, Target
from tests.support.core import (
    LOST_ANSWER,
    NOON,
    POLICY,
    Bench,
    HandClock,
    ScriptedPlatform,
    a_run,
    a_target,
    at,
    failure,
)

OWED = Owed(at(-100), at(-100), reasons=("why",))
READY = State(owed=OWED, wake_at=NOON)
KEY = records.identity_key("role")
MIDNIGHT = at(43200)


def limited(
    limits: Limits, *targets: Target, pauses: list[timedelta] | None = None, start: list[Any] | None = None
) -> Bench:
    """A bench whose identity has these limits; starts are accepted unless the script says otherwise."""
    bench = Bench(*targets, platform=ScriptedPlatform(start=start or [Started("r1", NOON)]))
    package = replace(bench.configuration.package(Cloud.AWS), limits=limits)
    ports = replace(bench.ports, pause=(pauses if pauses is not None else []).append)
    bench.engine = Engine(package, ports)
    return bench


def known(bench: Bench) -> Identity:
    """The identity's record."""
    return records.read_identity(bench.store.load(KEY).body)


def test_a_start_reads_deployment_and_identity_together() -> None:
    """One batch; the place is saved before the claim, the claim before the start."""
    bench = limited(Limits())
    bench.put(READY)
    batches: list[tuple[str, ...]] = []
    load_many = bench.store.load_many

    def noting(keys: Any) -> Any:
        batches.append(tuple(keys))
        return load_many(batches[-1])

    bench.store.load_many = noting  # type: ignore[method-assign]
    saved: list[str] = []
    bench.store.before_save = lambda key: saved.append(f"{key} {len(bench.calls())}")
    bench.engine.reconcile(bench.target())
    assert batches == [(records.DEPLOYMENT_KEY, KEY)]
    ours = [entry for entry in saved if not entry.startswith(f"{records.DEPLOYMENT_KEY} ")]
    assert ours[:2] == [f"{KEY} 0", f"{bench.target().key} 0"]
    assert bench.calls() == ["start"]
    assert bench.state().place is None


def test_a_place_is_kept_by_a_refused_start_and_waited_for() -> None:
    """The refused place is the one that is served when the silence ends; another target's comes after it."""
    throttled = [failure(FailureKind.THROTTLED, after=90), Started("r1", NOON)]
    bench = limited(Limits(), a_target(), a_target("other"), start=throttled)
    bench.put(READY)
    bench.put(READY, "other")
    bench.engine.reconcile(bench.target())
    assert bench.state().place == Place(Call.START, 0)
    assert bench.state().wake_at == at(90)
    bench.engine.reconcile(bench.target("other"))
    wake_at = bench.state("other").wake_at
    assert wake_at
    assert at(91) < wake_at < at(93)
    bench.at(90)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start", "start"]


def test_a_conflict_over_the_identity_takes_the_next_place_after_a_pause() -> None:
    """Nobody's number is taken twice."""
    pauses: list[timedelta] = []
    bench = limited(Limits(), pauses=pauses)
    bench.put(READY)
    beaten: list[str] = []

    def first(key: str) -> None:
        if key == KEY and not beaten:
            beaten.append(key)
            bench.store.save(bench.store.load(KEY), records.write(Identity()), None)
            raise Conflict(key)

    bench.store.before_save = first
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start"]
    assert pauses == [timedelta(milliseconds=100)]


def test_an_identity_that_moves_on_at_every_attempt_sends_the_delivery_back() -> None:
    """Nothing is sent, and nothing is lost. Pauses grow to a second."""
    pauses: list[timedelta] = []
    bench = limited(Limits(), pauses=pauses)
    bench.put(READY)

    def always_first(key: str) -> None:
        if key == KEY:
            raise Conflict(key)

    bench.store.before_save = always_first
    with pytest.raises(ContendedError, match=f"^the record {KEY} moved on {ATTEMPTS} times$"):
        bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    assert pauses[:5] == [timedelta(milliseconds=wait) for wait in (100, 200, 400, 800, 1000)]


def test_who_must_not_call_takes_no_place() -> None:
    """The wake that the save sends sees to it."""
    bench = limited(Limits())
    bench.put(READY)
    bench.engine.reconcile(bench.target(), may_call=False)
    assert known(bench) == Identity()


LIMITS = Limits(starts_per_minute=50, max_running=1)


def a_doorkeeper(identity: Identity) -> tuple[Admission, MemoryStore]:
    """One whose deployment is paused, and whose identity an older release wants silent."""
    store = MemoryStore()
    deployment = Deployment(paused_since=NOON, quiet_until={"role": at(30), "other": at(99)})
    for key, value in ((records.DEPLOYMENT_KEY, deployment), (KEY, identity)):
        store.save(store.load(key), records.write(value), None)
    return Admission(store, HandClock(), lambda _most: None, LIMITS), store


def test_the_gate_says_all_that_the_two_records_say() -> None:
    """Is all paused, until when is this identity silent, its record, its limits; with a target's record or without."""
    identity = Identity(today=Day(NOON.date(), 3))
    admission, store = a_doorkeeper(identity)
    gate = Gate(paused=True, quiet_until=at(30), identity=identity, limits=LIMITS)
    assert admission.load("role") == Known(gate, store.load(KEY))
    store.save(store.load("a"), b"{}", None)
    assert admission.load_with("role", "a") == (
        Deployment(paused_since=NOON, quiet_until={"role": at(30), "other": at(99)}),
        Known(gate, store.load(KEY)),
        store.load("a"),
    )


def test_who_takes_a_place_goes_on_with_what_was_read() -> None:
    """A pause, a silence and the limits are as they were; the identity is the one with one number more."""
    admission, store = a_doorkeeper(Identity())
    known, place = admission.take_place(admission.load("role"), Call.START)
    assert place == Place(Call.START, 0)
    after = records.read_identity(store.load(KEY).body)
    assert known == Known(Gate(paused=True, quiet_until=at(30), identity=after, limits=LIMITS), store.load(KEY))


@pytest.mark.parametrize("by_platform", [True, False])
def test_the_place_that_was_refused_is_served_first(by_platform: bool) -> None:
    """By the platform, or because as many run as may: whoever took a number before is not put off behind it."""
    queue = Queue(at(-60), 1.0, quiet_since=NOON, next_number=70)
    claims = () if by_platform else (RunningClaim("a", "t1", NOON, at(3600)),)
    admission, store = a_doorkeeper(Identity(starts=queue, claims=claims))
    store.save(store.load("a"), records.write(State(run=a_run(Situation.RUNNING))), None)
    place = Place(Call.START, 50)
    if by_platform:
        admission.heed("role", place, Call.START, failure(FailureKind.THROTTLED, after=15))
    else:
        assert not admission.admit(admission.load("role"), place, RunningClaim("b", "t2", NOON, at(3600)))
    starts = records.read_identity(store.load(KEY).body).starts
    assert starts
    assert (starts.serves, starts.serves_at, starts.silent_until) == (50, at(15), at(15))
    assert (starts.lowered_at == NOON) is by_platform


# --- Starts on a day -------------------------------------------------------------------------------------------------


def test_a_target_beyond_its_starts_of_a_day_is_blocked_until_midnight() -> None:
    """With the reason; the record counts. `resume` does not help, a person's `refresh` does."""
    target = a_target(policy=replace(POLICY, max_starts_per_day=2))
    bench = limited(Limits(), target)
    bench.put(replace(READY, today=Day(NOON.date(), 2)))
    bench.engine.reconcile(bench.target())
    hold = bench.state().hold
    assert isinstance(hold, Blocked)
    assert (hold.since, hold.probe_at, hold.capped) == (NOON, MIDNIGHT, True)
    assert "max_starts_per_day" in hold.reason
    bench.at(60)
    bench.engine.reconcile(bench.target(), (ResumeAsked(),))
    assert bench.calls() == []
    assert bench.state().hold == hold
    bench.engine.reconcile(bench.target(), (ProbeAsked(),))
    assert bench.calls() == ["start"]
    assert (bench.state().today, bench.state().hold) == (Day(NOON.date(), 3), None)


def test_a_target_that_a_cap_holds_is_due_when_the_day_is_over() -> None:
    """Two minutes before midnight, that is sooner than the look for its metrics."""
    bench = limited(Limits(), a_target(policy=replace(POLICY, max_starts_per_day=2)))
    bench.put(replace(READY, today=Day(NOON.date(), 2)))
    bench.clock.time = MIDNIGHT - timedelta(minutes=2)
    bench.engine.reconcile(bench.target())
    assert bench.state().wake_at == MIDNIGHT


def test_the_next_day_a_blocked_target_is_started() -> None:
    """It is probed at 00:00 UTC, and counts anew."""
    target = a_target(policy=replace(POLICY, max_starts_per_day=2))
    bench = limited(Limits(), target)
    bench.put(replace(READY, today=Day(NOON.date(), 2)))
    bench.engine.reconcile(bench.target())
    bench.clock.time = MIDNIGHT
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start"]
    assert bench.state().today == Day(MIDNIGHT.date(), 1)


def test_the_starts_of_all_targets_are_counted_with_the_identity() -> None:
    """A start that the platform refused counts for nobody."""
    limits = Limits(max_starts_per_day=1)
    bench = limited(limits, a_target(), a_target("other"), start=[failure(), Started("r1", NOON)])
    bench.put(READY)
    bench.put(READY, "other")
    bench.engine.reconcile(bench.target())
    assert known(bench).today == Day(NOON.date(), 0)
    bench.at(5)
    bench.engine.reconcile(bench.target("other"))
    assert known(bench).today == Day(NOON.date(), 1)
    bench.at(300)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start", "start"]
    hold = bench.state().hold
    assert isinstance(hold, Blocked)
    assert "all targets together" in hold.reason


# --- Runs at once ----------------------------------------------------------------------------------------------------


def test_no_more_run_at_once_than_a_person_wants() -> None:
    """The identity lists what runs; who finds it full is silent for a while, with its place, and then looks again."""
    bench = limited(Limits(max_running=1), a_target(), a_target("other"))
    bench.put(READY)
    bench.put(READY, "other")
    bench.engine.reconcile(bench.target())
    (entry,) = known(bench).claims
    assert (entry.key, entry.ends_by) == (bench.target().key, at(3600))
    bench.at(5)
    bench.engine.reconcile(bench.target("other"))
    assert bench.calls() == ["start"]
    assert bench.state("other").wake_at == at(20)
    starts = known(bench).starts
    assert starts
    assert starts.lowered_at is None, "a cap of ours says nothing of the platform's rate"
    bench.put(State(last_claim_at=NOON))
    bench.at(20)
    bench.engine.reconcile(bench.target("other"))
    assert bench.calls() == ["start", "start"]
    assert [claim.key for claim in known(bench).claims] == [bench.target("other").key]


def test_a_claim_that_another_worker_won_is_not_listed() -> None:
    """Who loses the claim takes its entry back; what becomes of an unknown outcome is not known, so its entry stays."""
    bench = limited(Limits(max_running=5))
    bench.put(READY)

    def another_wins(key: str) -> None:
        if key == bench.target().key and not bench.state().run:
            bench.store.before_save = lambda _key: None
            run = a_run(Situation.CLAIMED, token="another")
            bench.put(State(run=run, last_claim_at=NOON, wake_at=at(81)))
            raise Conflict(key)

    bench.store.before_save = another_wins
    bench.engine.reconcile(bench.target())
    assert (bench.calls(), known(bench).claims) == ([], ())


def test_a_claim_that_took_too_long_is_not_listed() -> None:
    """Nothing was sent."""
    bench = limited(Limits(max_running=5))
    bench.put(READY)

    def slow(key: str) -> None:
        if key == bench.target().key:
            bench.store.before_save = lambda _key: None
            bench.at(6)

    bench.store.before_save = slow
    bench.engine.reconcile(bench.target())
    assert [claim.token for claim in known(bench).claims] == ["t2"]
    assert bench.calls() == ["start"]


def test_a_start_whose_answer_was_lost_stays_listed() -> None:
    """It may be running."""
    bench = limited(Limits(max_running=5, max_starts_per_day=5), start=[LOST_ANSWER])
    bench.put(READY)
    bench.engine.reconcile(bench.target())
    assert (len(known(bench).claims), known(bench).today) == (1, Day(NOON.date(), 1))


def test_what_is_not_listed_is_not_written() -> None:
    """A refused start of which the record has no entry any more changes nothing."""
    bench = limited(Limits(max_running=5), start=[failure()])
    bench.put(READY)

    def forget(key: str) -> None:
        if key == bench.target().key:
            bench.store.before_save = lambda _key: None
            listed = known(bench)
            bench.store.save(bench.store.load(KEY), records.write(replace(listed, claims=())), None)

    bench.store.before_save = forget
    bench.engine.reconcile(bench.target())
    assert known(bench).claims == ()


def test_an_identity_reads_back_as_written() -> None:
    """With all that it may hold."""
    claim = RunningClaim("a", "t1", NOON, at(3600))
    bench = limited(Limits(starts_per_minute=50, polls_per_minute=50, max_starts_per_day=9, max_running=9))
    bench.put(READY)
    bench.engine.reconcile(bench.target())
    whole = replace(known(bench), claims=(claim,))
    assert whole.today == Day(NOON.date(), 1)
    assert records.read_identity(records.write(whole)) == whole
    assert records.is_other(KEY)
