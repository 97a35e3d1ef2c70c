"""The loop over a store in memory and a scripted platform: what is saved, sent and told, and in which order."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryWaker
from shared.config.load import Configuration
from shared.destinations import Destination
from shared.refresh import pace, records
from shared.refresh.deployment import COMMAND
from shared.refresh.engine import Engine
from shared.refresh.failure import FailureKind
from shared.refresh.identity import Call, Identity, Place, Queue
from shared.refresh.inputs import Hinted, PauseAsked, ResumeAsked, Signalled
from shared.refresh.ports import (
    ATTEMPTS,
    Capabilities,
    Conflict,
    ContendedError,
    Document,
    Phase,
    Started,
    StoreDownError,
)
from shared.refresh.state import Blocked, Deployment, Edition, Owed, Rollout, Signal, Situation, State, Wake
from shared.refresh.sweep import Sweep, pause_all, resume_all
from shared.refresh.timing import spread
from shared.targets import Cloud, Limits, Schedule
from tests.support.core import (
    BUSY,
    FABRIC,
    GLUE,
    LEASE,
    NOON,
    POLICY,
    Bench,
    HandClock,
    ScriptedPlatform,
    a_run,
    a_target,
    at,
    failure,
    report,
    seconds,
)

OWED = Owed(at(-100), at(-100), reasons=("why",))
RUN = replace(a_run(Situation.RUNNING, covering=OWED), next_look_at=NOON)
RUNNING = State(run=RUN, last_claim_at=NOON, wake_at=NOON)


def accepting() -> ScriptedPlatform:
    """A platform that accepts a start."""
    return ScriptedPlatform(start=[Started("r1", NOON)])


def signal(time: float, **fields: Any) -> Signalled:
    """Data arrived then."""
    return Signalled(Signal(at(time), "s3://daily/1", **fields))


def test_what_is_not_due_is_left_unless_somebody_insists() -> None:
    """The record says when it is due; a rollout does not wait for that."""
    bench = Bench(platform=accepting())
    bench.put(State(owed=OWED, wake_at=at(100)))
    assert not bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    assert bench.engine.reconcile(bench.target(), force=True)
    assert bench.calls() == ["start"]


@pytest.mark.parametrize("limits", [Limits(), Limits(max_running=0)], ids=["started", "full"])
def test_a_start_reads_the_record_of_its_target_once(limits: Limits) -> None:
    """Also where a place is taken before it, or where as many run as may: the record in hand is gone on with."""
    bench = planned(Bench(platform=accepting()))
    bench.engine = Engine(replace(bench.engine.package, limits=limits), bench.ports)
    bench.put(State(owed=OWED, wake_at=NOON))
    reads = bench.loads()
    bench.engine.reconcile(bench.target())
    assert bench.calls() == (["start"] if limits.max_running is None else [])
    assert reads.count(bench.target().key) == 1


def test_a_call_that_ends_with_the_invocation_is_sent() -> None:
    """It takes ten seconds at most, and so long there is."""
    bench = Bench(platform=accepting(), ends_at=10)
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start"]


def test_a_tick_knows_its_standing_from_what_it_noted() -> None:
    """The record of the deployment is not read again for that."""
    bench = Bench()
    bench.engine.note_tick()
    bench.store.load = lambda key: pytest.fail(f"read {key} again")  # type: ignore[method-assign]
    assert bench.engine.standing.is_current


@pytest.mark.parametrize(("capabilities", "is_told"), [(GLUE, True), (FABRIC, False)])
def test_a_foreign_success_is_told_only_where_it_covers(capabilities: Capabilities, *, is_told: bool) -> None:
    """On Fabric the same job may have run with other data; a success of our own is told on both."""
    platform = ScriptedPlatform(capabilities, get=[report(Phase.SUCCEEDED)])
    for situation, told in ((Situation.FOREIGN, is_told), (Situation.RUNNING, True)):
        bench = planned(Bench(a_target(), a_target("after", after=("daily",)), platform=platform))
        bench.put(State(run=a_run(situation, covering=None, created_at=NOON, next_look_at=NOON), wake_at=NOON))
        bench.engine.reconcile(bench.target())
        assert bench.state().run is None
        assert (bench.state().outbox.telling is not None) is told


def test_a_command_line_brings_its_own_standing() -> None:
    """It is never current, whatever the record of the deployment says, and makes no edition."""
    bench = Bench()
    engine = Engine(bench.configuration.package(Cloud.AWS), bench.ports, standing=COMMAND)
    assert engine.standing == COMMAND
    assert bench.store.load(records.DEPLOYMENT_KEY).body == b""


def test_a_conflict_over_a_claim_reads_anew_whether_all_is_paused() -> None:
    """Who lost the record reads it again, and with it whatever was read with it."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))

    def pause_and_be_first() -> None:
        pause_all(bench.store, NOON)
        bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))

    bench.store.lose_next_save(bench.target().key, pause_and_be_first)
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.calls() == []


def events(bench: Bench, what: str) -> list[Any]:
    """The fields of what was told under that name."""
    return [event.fields for event in bench.told if event.what == what]


def test_the_calendar_makes_a_record_due() -> None:
    """Where nothing is owed, it is looked at when its schedule comes due."""
    bench = planned(Bench(a_target(schedule=Schedule("0 * * * *"))))
    bench.put(State())
    bench.engine.reconcile(bench.target(), force=True)
    assert bench.state().wake_at == at(3600)


def test_an_end_is_told_with_all_that_logs_and_metrics_need() -> None:
    """Before what the save changed, and how the target stands then."""
    ended = report(Phase.SUCCEEDED, ended_at=at(50), dpu_seconds=7.5)
    bench = planned(Bench(platform=ScriptedPlatform(get=[ended])))
    bench.put(RUNNING)
    bench.at(60)
    bench.engine.reconcile(bench.target())
    assert events(bench, "run succeeded") == [
        {
            "run_id": "r1",
            "foreign": 0,
            "full": 0,
            "signals": 1,
            "error": "",
            "dpu_seconds": 7.5,
            "claimed_at": "2026-01-31T12:00:00+00:00",
        }
    ]
    assert events(bench, "now idle") == [{}]
    assert events(bench, "saved") == [{"owed_age_seconds": 0.0, "held": 0, "late": 0, "fresh_age_seconds": 60.0}]
    assert {(event.target, event.at) for event in bench.told} == {("daily", at(60))}


def test_a_start_is_told_with_its_run() -> None:
    """The claim, too, which has no id yet."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=replace(OWED, full=True), wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert events(bench, "now claimed") == [{"run_id": "", "full": True}]
    assert events(bench, "now running") == [{"run_id": "r1", "full": True}]
    assert events(bench, "saved")[-1] == {"owed_age_seconds": 100.0, "held": 0, "late": 0}


def test_a_hold_and_its_end_are_told() -> None:
    """By kind and reason; a target that is late says so by a number."""
    bench = planned(Bench(a_target(policy=replace(POLICY, objective=seconds(60)))))
    bench.put(State(owed=OWED, hold=Blocked(NOON, "no", at(900))))
    bench.engine.reconcile(bench.target(), [PauseAsked()])
    bench.engine.reconcile(bench.target(), [ResumeAsked()], may_call=False)
    assert events(bench, "held") == [{"hold": "paused", "reason": ""}]
    assert events(bench, "released") == [{"hold": "paused", "reason": ""}]
    late = {"owed_age_seconds": 100.0, "late": 1, "objective_seconds": 60.0}
    assert events(bench, "saved") == [{**late, "held": 1}, {**late, "held": 0}]


def test_a_hold_that_goes_on_is_not_told_again() -> None:
    """It stands as it did: a signal changes only what is owed."""
    bench = planned(Bench())
    bench.put(State(hold=Blocked(NOON, "no", at(900))))
    assert bench.engine.reconcile(bench.target(), [signal(0)], may_call=False)
    assert bench.words() == ["saved"]


THROTTLED = failure(FailureKind.THROTTLED, after=30)
TROUBLE = {"code": "Code", "message": "words", "sent": "rejected"}


@pytest.mark.parametrize(
    ("state", "call", "asked", "kind"),
    [
        (State(owed=replace(OWED, full=True)), "start", True, Call.START),
        (State(run=RUN), "get", "r1", Call.POLL),
        (State(run=replace(RUN, situation=Situation.CLAIMED, run_id="")), "list", at(-60), Call.POLL),
        (State(run=replace(RUN, situation=Situation.OVERDUE)), "cancel", "r1", Call.POLL),
    ],
    ids=["start", "poll", "look up", "cancel"],
)
def test_each_call_asks_for_what_is_due_and_its_refusal_is_heeded(
    state: State, call: str, asked: object, kind: Call
) -> None:
    """What throttles silences this kind of call; each trouble is told."""
    bench = planned(Bench(platform=ScriptedPlatform(GLUE, **{call: [THROTTLED]})))
    bench.put(replace(state, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert bench.platform.calls == [(call, "daily", asked)]
    assert {each: silence(bench, each) for each in Call if silence(bench, each)} == {kind: at(30)}
    assert events(bench, "trouble") == [TROUBLE]
    assert bench.state().last_error == "Code: words"


def queued(bench: Bench, state: State, call: Call) -> None:
    """Have the target's number be served at noon, as the first of a queue that serves one a second."""
    queue = Queue(NOON, 1, NOON, next_number=1)
    identity = Identity(starts=queue) if call is Call.START else Identity(polls=queue)
    bench.store.save(bench.store.load(records.identity_key("role")), records.write(identity), None)
    bench.put(replace(state, place=Place(call, 0), wake_at=NOON))
    bench.at(0.5)


@pytest.mark.parametrize(
    ("state", "call", "kind"),
    [
        (State(owed=OWED), "start", Call.START),
        (State(run=RUN), "get", Call.POLL),
        (State(run=replace(RUN, situation=Situation.CLAIMED, run_id="")), "list", Call.POLL),
        (State(run=replace(RUN, situation=Situation.OVERDUE)), "cancel", Call.POLL),
    ],
    ids=["start", "poll", "look up", "cancel"],
)
def test_a_refused_call_keeps_its_place(state: State, call: str, kind: Call) -> None:
    """Its number, of which the queue is half a second past by now, is the one that is served when the silence ends."""
    bench = planned(Bench(platform=ScriptedPlatform(GLUE, **{call: [THROTTLED]})))
    queued(bench, state, kind)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == [call]
    assert next_served(bench, kind) == (0, at(30.5))


def next_served(bench: Bench, call: Call) -> tuple[int, datetime] | None:
    """The number from which a queue of the identity is reckoned, and when that is served, by the identity's record."""
    known = records.read_identity(bench.store.load(records.identity_key("role")).body)
    queue = known.starts if call is Call.START else known.polls
    return (queue.serves, queue.serves_at) if queue else None


def test_a_start_for_which_there_is_no_room_keeps_its_place() -> None:
    """As after a refusal; the record that names the place is read once."""
    bench = planned(Bench(platform=accepting()))
    bench.engine = Engine(replace(bench.engine.package, limits=Limits(max_running=0)), bench.ports)
    queued(bench, State(owed=OWED), Call.START)
    reads = bench.loads()
    bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    assert reads.count(bench.target().key) == 1
    assert next_served(bench, Call.START) == (0, at(0.5) + pace.FULL_WAIT)


def test_a_place_is_kept_when_an_answer_before_it_counts_for_nothing() -> None:
    """A poll told of the end, a place was taken for the next start, and then another worker had saved that end."""
    platform = ScriptedPlatform(get=[report(Phase.SUCCEEDED)], start=[Started("r2", at(600))])
    bench = planned(Bench(platform=platform))
    bench.put(replace(RUNNING, owed=OWED))
    bench.at(600)

    bench.store.lose_next_save(
        bench.target().key, lambda: bench.put(State(owed=OWED, last_claim_at=NOON, wake_at=NOON))
    )
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["get", "start"]
    known = records.read_identity(bench.store.load(records.identity_key("role")).body)
    assert known.starts
    assert known.starts.next_number == 1


def test_what_everybody_was_told_during_a_poll_holds() -> None:
    """A call takes seconds: whether all is paused is read after it, though it was read with the wake before."""
    bench = planned(Bench(platform=accepting()))

    def end_while_all_is_paused() -> Any:
        pause_all(bench.store, NOON)
        return report(Phase.SUCCEEDED)

    bench.platform.answers["get"] = [end_while_all_is_paused]
    bench.put(replace(RUNNING, owed=OWED, wakes=(NOON,)))
    bench.at(600)
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.calls() == ["get"]
    assert bench.state().owed


def test_a_block_is_told_with_its_reason() -> None:
    """In the platform's words."""
    bench = planned(Bench(platform=ScriptedPlatform(start=[failure(safe=False)])))
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert events(bench, "held") == [{"hold": "blocked", "reason": "Code: words"}]


def test_ages_begin_at_nothing() -> None:
    """What is owed or fresh since this moment is no second old, nor is what another clock dates later."""
    for second in (0, 5):
        bench = planned(Bench())
        bench.put(State(fresh_as_of=at(second)))
        bench.engine.reconcile(bench.target(), [signal(second)])
        [saved] = events(bench, "saved")
        assert (saved["fresh_age_seconds"], saved["owed_age_seconds"]) == (0.0, 0.0)


def test_a_worker_that_is_not_current_leaves_a_record_due_within_a_minute() -> None:
    """Sooner where a start is due sooner: what planning has to do there, it does not know."""
    for policy, due in ((POLICY, 20), (replace(POLICY, quiet_period=seconds(90)), 60)):
        bench = Bench(a_target(policy=policy))
        later = Edition(2, "later", bench.engine.package.generation + timedelta(days=1))
        bench.store.save(bench.store.load(records.DEPLOYMENT_KEY), records.write(Deployment(edition=later)), None)
        bench.put(State())
        bench.engine.reconcile(bench.target(), [signal(0)])
        assert bench.state().wake_at == at(due)


@pytest.mark.parametrize(("seconds_late", "claimed_at"), [(5, 0), (5.001, 5.001)])
def test_a_start_is_sent_within_five_seconds_or_not_at_all(seconds_late: float, claimed_at: float) -> None:
    """Of the moment at which its claim was read; what is given back is claimed anew, on the record in hand."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON))
    reads = bench.loads()

    bench.store.before_next_save(bench.target().key, lambda: bench.pass_time(seconds_late))
    bench.engine.reconcile(bench.target())
    assert reads.count(bench.target().key) == 1
    assert bench.calls() == ["start"]
    assert bench.state().last_claim_at == at(claimed_at)


@pytest.mark.parametrize(("seconds_late", "sent"), [(5, True), (5.001, False)])
def test_a_cancel_is_sent_within_five_seconds_or_not_at_all(seconds_late: float, *, sent: bool) -> None:
    """Like a start."""
    bench = planned(Bench(platform=ScriptedPlatform(cancel=[None], get=[report(Phase.ACTIVE)])))
    bench.put(State(run=replace(RUN, situation=Situation.OVERDUE), wake_at=NOON))

    bench.store.before_next_save(bench.target().key, lambda: bench.pass_time(seconds_late))
    reads = bench.loads()
    assert bench.engine.reconcile(bench.target()), "the intent was saved"
    assert ("cancel" in bench.calls()) is sent
    assert reads.count(bench.target().key) == 1


def test_a_cancel_s_intent_sends_a_wake_for_its_next_look() -> None:
    """Whoever called may have been a tick: if the worker dies before the cancel, a wake goes on with the run."""
    bench = planned(Bench(platform=ScriptedPlatform(cancel=[])))
    bench.put(State(run=replace(RUN, situation=Situation.OVERDUE), wake_at=NOON, wakes=(NOON,)))
    sent = noting_wakes(bench)
    with pytest.raises(IndexError):
        bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.state().situation is Situation.CANCELLING
    assert sent == [bench.state().wake_at]
    assert bench.state().wakes == tuple(sent)


@pytest.mark.parametrize(
    ("state", "late", "saved", "calls"),
    [
        (State(owed=OWED), 0, 2, ["start"]),
        (State(owed=OWED), 6, 2, []),
        (State(run=replace(RUN, situation=Situation.OVERDUE)), 0, 2, ["cancel"]),
        (State(run=replace(RUN, situation=Situation.OVERDUE)), 6, 2, ["get"]),
    ],
    ids=["start", "start too late", "cancel", "cancel too late"],
)
def test_a_record_that_was_saved_before_a_call_counts_as_written(
    state: State, late: float, saved: int, calls: list[str]
) -> None:
    """Also where somebody else saves what comes of the call: the signals that the save had are not absorbed."""
    answers: dict[str, list[Any]] = {
        "start": [Started("r1", NOON)],
        "cancel": [failure()],
        "get": [report(Phase.ACTIVE)],
    }
    bench = planned(Bench(platform=ScriptedPlatform(GLUE, **answers)))
    bench.put(replace(state, wake_at=NOON))
    saves = list[str]()

    def freeze_then_be_first(key: str) -> None:
        if key != bench.target().key:
            return
        saves.append(key)
        if len(saves) < saved:
            bench.clock.time += seconds(late)
            return
        bench.store.before_save = lambda _key: None
        bench.put(replace(bench.state(), run=None, owed=None, wake_at=None, wakes=()))
        raise Conflict(key)

    bench.store.before_save = freeze_then_be_first
    assert bench.engine.reconcile(bench.target())
    assert len(saves) == saved
    assert bench.calls() == calls


def test_a_line_of_history_is_kept_for_ninety_days() -> None:
    """Under the claim's time and token, so that lines are in order and a repeated one is the same."""
    bench = planned(Bench(platform=ScriptedPlatform(get=[report(Phase.SUCCEEDED)])))
    bench.put(RUNNING)
    bench.at(60)
    appended: list[tuple[str, str, datetime]] = []

    def append(key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        appended.append((key, entry_id, expires_at))

    bench.store.append = append  # type: ignore[method-assign]
    bench.engine.reconcile(bench.target())
    assert appended == [(bench.target().key, "20260131T120000.000000Z-t1", at(60) + timedelta(days=90))]


@pytest.mark.parametrize(("signals", "written", "told"), [(3, True, [(3, 2)]), (3, False, [(3, 3)]), (0, False, [])])
def test_how_many_signals_were_absorbed_is_told(signals: int, told: list[tuple[int, int]], *, written: bool) -> None:
    """All but the one that was written; nothing where none came."""
    bench = Bench()
    bench.engine.note_signals(bench.target(), signals, written=written)
    assert events(bench, "signalled") == [{"signals": each, "absorbed": absorbed} for each, absorbed in told]


# --- A signal, a start, an end ---------------------------------------------------------------------------------------


def test_a_signal_is_saved_and_a_wake_is_sent_for_its_start() -> None:
    """Nothing is sent to the platform before the quiet period is over."""
    bench = Bench()
    bench.put(State())
    assert bench.engine.reconcile(bench.target(), [signal(0)])
    assert bench.state().owed == Owed(at(0), at(0), reasons=("s3://daily/1",))
    assert bench.state().wakes == (at(20),)
    assert bench.calls() == []


def test_an_absorbed_signal_writes_nothing() -> None:
    """Rule 2: it costs one read."""
    bench = Bench()
    bench.put(State())
    bench.engine.reconcile(bench.target(), [signal(0)])
    saves = bench.store.saves
    assert not bench.engine.reconcile(bench.target(), [signal(0)])
    assert bench.store.saves == saves


def test_a_claim_is_saved_before_the_start_is_sent() -> None:
    """Rule 4: whoever dies in between leaves a claim that is looked up."""
    bench = Bench()

    def seen_by_the_platform() -> Started:
        assert bench.state().situation is Situation.CLAIMED
        return Started("r1", NOON)

    bench.platform.answers["start"] = [seen_by_the_platform]
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert bench.state().situation is Situation.RUNNING
    assert bench.calls() == ["start"]


def test_a_claim_that_took_too_long_is_given_back_unsent() -> None:
    """Rule 4: five seconds by the monotonic clock from the moment that `claimed_at` was read."""
    bench = Bench(platform=accepting())
    slow = [True]

    def freeze_once(_key: str) -> None:
        if slow and bench.state().run is None and slow.pop():
            bench.clock.time += seconds(6)

    bench.put(State(owed=OWED, wake_at=NOON))
    bench.store.before_save = freeze_once
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["start"]  # the second claim's
    assert bench.state().last_claim_at == at(6)


def test_only_one_of_two_claims_starts() -> None:
    """G2: the loser of the conditional write reads the other's claim, and waits for it."""
    bench = Bench(platform=accepting())
    bench.put(State(owed=OWED, wake_at=NOON))
    other = [True]

    def be_first(_key: str) -> None:
        if other and other.pop():
            bench.put(State(run=a_run(Situation.CLAIMED, covering=OWED), last_claim_at=NOON, wake_at=at(LEASE)))

    bench.store.before_save = be_first
    bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    assert bench.state().situation is Situation.CLAIMED


def test_a_success_is_in_the_history_and_makes_the_view_fresh() -> None:
    """And nothing is left to do."""
    bench = Bench(platform=ScriptedPlatform(get=[report(Phase.SUCCEEDED)]))
    bench.put(RUNNING)
    bench.engine.reconcile(bench.target())
    assert (bench.state().fresh_as_of, bench.state().run, bench.state().wake_at) == (NOON, None, None)
    [line] = bench.store.history(bench.target().key, 9)
    assert records.read_ended(line).outcome == "succeeded"
    assert "run succeeded" in bench.words()


def test_a_failure_signals_no_follower() -> None:
    """There is nothing new to read."""
    bench = Bench(
        a_target(), a_target("after", after=("daily",)), platform=ScriptedPlatform(get=[report(Phase.FAILED)])
    )
    bench.put(RUNNING)
    bench.put(State(), "after")
    bench.engine.reconcile(bench.target())
    assert bench.state("after").owed is None
    assert bench.state().owed == OWED


def test_an_answer_about_a_run_that_moved_on_is_dropped() -> None:
    """Another worker saw the end while this one held an older answer."""
    bench = Bench()

    def another_was_first() -> Any:
        bench.put(State(fresh_as_of=NOON))
        return report(Phase.ACTIVE)

    bench.platform.answers["get"] = [another_was_first]
    bench.put(RUNNING)
    bench.engine.reconcile(bench.target())
    assert bench.state() == replace(State(fresh_as_of=NOON), **_planned(bench))


def _planned(bench: Bench) -> dict[str, Any]:
    state = bench.state()
    return {"definition": bench.target().definition, "planned_until": NOON, "edition": 1, "judged_by": state.judged_by}


def test_an_unknown_outcome_is_looked_up_and_not_sent_again() -> None:
    """Rule 7: after the lease, by the list."""
    bench = Bench(platform=ScriptedPlatform(list=[(report(Phase.ACTIVE, created_at=at(1)),)]))
    claim = a_run(Situation.CLAIMED, covering=OWED)
    bench.put(State(run=claim, last_claim_at=NOON, wake_at=at(LEASE)))
    bench.at(LEASE)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["list"]
    assert bench.state().situation is Situation.FOREIGN


def test_a_run_past_its_timeout_is_cancelled_after_the_intent_is_saved() -> None:
    """Rule 8: so that its end is not taken for a person's."""
    bench = Bench(platform=ScriptedPlatform(get=[report(Phase.ACTIVE)]))

    def seen_by_the_platform() -> None:
        run = bench.state().run
        assert run
        assert run.cancel_asked

    bench.platform.answers["cancel"] = [seen_by_the_platform]
    bench.put(RUNNING)
    bench.at(3601)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == ["get", "cancel"]
    assert bench.state().situation is Situation.CANCELLING


def test_a_cancel_that_comes_too_late_is_not_sent() -> None:
    """Glue stops whatever run the view has by then: who froze after the save would stop a later one of ours."""
    bench = Bench(platform=ScriptedPlatform(get=[report(Phase.ACTIVE)] * 40, cancel=[None] * 9))
    bench.put(RUNNING)
    bench.at(3601)

    def freeze(_key: str) -> None:
        if "get" in bench.calls():
            bench.store.before_save = lambda _key: None
            bench.at(3607)

    bench.store.before_save = freeze
    bench.engine.reconcile(bench.target())
    assert "cancel" not in bench.calls()
    for time in range(3660, 5460, 60):  # it goes on, and is cancelled again
        bench.at(time)
        bench.engine.reconcile(bench.target())
    assert bench.calls().count("cancel") >= 1


# --- Trouble ---------------------------------------------------------------------------------------------------------


def test_a_throttled_answer_silences_the_identity() -> None:
    """Rule 9: other targets of the same identity wait, too; those of another do not."""
    bench = Bench(
        a_target(),
        a_target("other"),
        a_target("free", identity="another"),
        platform=ScriptedPlatform(
            start=[failure(FailureKind.THROTTLED, after=90), failure(FailureKind.THROTTLED, after=60)]
        ),
    )
    for name in ("daily", "other", "free"):
        bench.put(State(owed=OWED, wake_at=NOON), name)
    bench.engine.reconcile(bench.target())
    bench.engine.reconcile(bench.target("other"))
    assert [call[1] for call in bench.platform.calls] == ["daily"]
    bench.engine.reconcile(bench.target("free"))
    assert [call[1] for call in bench.platform.calls] == ["daily", "free"]
    assert [silence(bench, Call.START, of) for of in ("role", "another")] == [at(90), at(60)]


def silence(bench: Bench, call: Call, identity: str = "role") -> datetime | None:
    """Until when an identity must be silent, by its record."""
    known = records.read_identity(bench.store.load(records.identity_key(identity)).body)
    return pace.silent_until(known, call)


def test_a_refused_poll_does_not_silence_starts() -> None:
    """Rule 9: the silence is that of the identity and of the kind of call."""
    throttled = ScriptedPlatform(get=[failure(FailureKind.THROTTLED, after=90)], start=[Started("r2", NOON)])
    bench = Bench(a_target(), a_target("other"), platform=throttled)
    bench.put(RUNNING)
    bench.put(State(owed=OWED, wake_at=NOON), "other")
    bench.engine.reconcile(bench.target())
    bench.engine.reconcile(bench.target("other"))
    assert bench.calls() == ["get", "start"]
    assert (silence(bench, Call.POLL), silence(bench, Call.START)) == (at(90), None)


def test_a_silence_that_release_1_wrote_is_kept() -> None:
    """Its workers know of no record of an identity: what they note in that of the deployment silences all calls."""
    bench = Bench(platform=accepting())
    body = records.write(Deployment(quiet_until={"role": at(200)}))
    bench.store.save(bench.store.load(records.DEPLOYMENT_KEY), body, None)
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    assert bench.state().wake_at == at(200) + spread(bench.target().key)


def test_a_shorter_silence_does_not_end_a_longer_one() -> None:
    """At least what the platform said."""
    bench = Bench(platform=ScriptedPlatform(get=[failure(FailureKind.THROTTLED, after=5)]))
    bench.put(RUNNING)
    bench.engine.reconcile(bench.target())
    bench.platform.answers["get"] = [failure(FailureKind.THROTTLED, after=1)]
    bench.put(RUNNING)
    bench.at(40)
    bench.engine.reconcile(bench.target())
    assert silence(bench, Call.POLL) == at(41)
    known = records.read_identity(bench.store.load(records.identity_key("role")).body)
    sooner = pace.refuse_call(known, Call.POLL, None, until=at(40.5), limits=Limits(), now=at(40))
    assert pace.silent_until(sooner, Call.POLL) == at(41)


def test_a_record_that_moves_on_at_every_attempt_sends_the_delivery_back() -> None:
    """Nothing of it is lost: it is not acknowledged."""
    bench = planned(Bench())
    bench.put(State())

    def always_first(key: str) -> None:
        raise Conflict(key)

    bench.store.before_save = always_first
    with pytest.raises(ContendedError, match=f"^the record of daily moved on {ATTEMPTS} times$"):
        bench.engine.reconcile(bench.target(), [signal(0)])
    with pytest.raises(ContendedError, match="the deployment"):
        pause_all(bench.store, bench.clock.now())


def test_without_time_for_a_call_it_is_left_to_a_wake() -> None:
    """A call takes ten seconds at most, and the invocation ends in nine."""
    bench = Bench(platform=accepting(), ends_at=9)
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    assert (bench.calls(), bench.state().wakes) == ([], (NOON,))


def test_a_command_line_does_not_act() -> None:
    """It owes, and sends the wake that makes the function act."""
    bench = Bench(platform=accepting())
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target(), [signal(0)], may_call=False)
    assert bench.calls() == []


# --- Wakes -----------------------------------------------------------------------------------------------------------


class BrokenWaker(MemoryWaker):
    """Cannot send."""

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Say so."""
        raise StoreDownError(f"no queue for {wake.key} in {delay}")


def test_a_wake_that_cannot_be_sent_does_not_hold_up_the_save() -> None:
    """Rule 13: ticks go on; the record names none that is not on its way."""
    bench = Bench()
    bench.waker = BrokenWaker(bench.clock)
    bench.ports = replace(bench.ports, waker=bench.waker)
    bench.engine = Engine(bench.configuration.package(Cloud.AWS), bench.ports)
    bench.put(State())
    bench.engine.reconcile(bench.target(), [signal(0)])
    assert (bench.state().wake_at, bench.state().wakes) == (at(20), ())
    why = f"no queue for {bench.target().key} in 0:00:20"
    assert events(bench, "wake not sent") == [{"why": why}]


class NotingWaker(MemoryWaker):
    """Keeps what was sent, and after how long it is to come."""

    def __init__(self, clock: HandClock, **fields: Any) -> None:
        super().__init__(clock, **fields)
        self.sent: list[tuple[Wake, timedelta]] = []

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Keep it."""
        self.sent.append((wake, delay))


def with_waker(bench: Bench, waker: MemoryWaker) -> Engine:
    """The bench's engine, with that waker."""
    return Engine(bench.engine.package, replace(bench.ports, waker=waker))


@pytest.mark.parametrize(("reach", "relays"), [(20, True), (20, False), (900, True)])
def test_a_wake_names_record_time_and_version(reach: float, *, relays: bool) -> None:
    """The version that its sender read; it comes when the record is due, as far as the waker reaches."""
    bench = planned(Bench())
    bench.put(State())
    version = bench.store.load(bench.target().key).version
    waker = NotingWaker(bench.clock, reach=seconds(reach), relays=relays)
    with_waker(bench, waker).reconcile(bench.target(), [signal(0)])
    assert waker.sent == [(Wake(bench.target().key, at(20), version), seconds(20))]


def test_a_wake_that_is_sent_again_is_followed_by_a_save() -> None:
    """What is due now is named already, and its wake may be lost: one more comes at once, and finds another version."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    bench.engine.reconcile(bench.target(), may_call=False)
    bench.put(replace(bench.state(), wakes=(NOON,), wake_at=NOON))
    before = bench.store.saves
    waker = NotingWaker(bench.clock)
    with_waker(bench, waker).reconcile(bench.target(), may_call=False)
    assert bench.store.saves - before == 1
    assert [(wake.due, delay) for wake, delay in waker.sent] == [(NOON, seconds(0))]


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_record_that_is_as_it_should_be_is_not_written(*, is_sent: bool) -> None:
    """Somebody insists on a look: its wake is on its way, or cannot be sent, and nothing else is to be saved."""
    bench = planned(Bench())
    bench.put(State())
    waker = NotingWaker(bench.clock) if is_sent else BrokenWaker(bench.clock)
    engine = with_waker(bench, waker)
    assert engine.reconcile(bench.target(), [signal(0)])
    assert bench.state().wakes == ((at(20),) if is_sent else ())
    saves = bench.store.saves
    assert not engine.reconcile(bench.target(), force=True)
    assert bench.store.saves == saves


@pytest.mark.parametrize(("relays", "named"), [(True, (at(5),)), (False, ())])
def test_a_look_beyond_the_reach_is_relayed_or_left_to_the_tick(*, relays: bool, named: tuple[object, ...]) -> None:
    """SQS delays fifteen minutes at most, a Storage queue six days."""
    bench = Bench()
    waker = MemoryWaker(bench.clock, reach=seconds(5), relays=relays)
    engine = Engine(bench.configuration.package(Cloud.AWS), replace(bench.ports, waker=waker))
    bench.put(State())
    engine.reconcile(bench.target(), [signal(0)])
    assert (bench.state().wake_at, bench.state().wakes) == (at(20), named)


def test_a_named_wake_is_a_look_and_is_spent() -> None:
    """Debounce moved meanwhile: it sends the next one."""
    bench = Bench()
    bench.put(State(owed=Owed(at(0), at(15)), wake_at=at(20), wakes=(at(20),)))
    bench.at(20)
    bench.engine.wake(Wake(bench.target().key, at(20), "nobody's"))
    assert bench.state().wakes == (at(35),)


def test_an_unnamed_wake_does_nothing() -> None:
    """However many of them there are."""
    bench = Bench()
    bench.put(State(owed=OWED, wake_at=NOON))
    saves = bench.store.saves
    bench.engine.wake(Wake(bench.target().key, at(7), "nobody's"))
    bench.engine.wake(Wake("glue-view:of:nobody:here", at(7), "nobody's"))
    assert (bench.store.saves, bench.calls()) == (saves, [])


@pytest.mark.parametrize("name", ["daily", "unknown"])
def test_a_wake_that_overtook_its_save_makes_that_save_fail(name: str) -> None:
    """Rule 13: the save is done again, with a wake that is still to come; also that of a later package's target."""
    bench = Bench()
    bench.put(State())
    key = a_target(name).key
    document = bench.store.save(bench.store.load(key), records.write(State()), None)
    bench.engine.wake(Wake(document.key, at(20), document.version))
    with pytest.raises(Conflict):
        bench.store.save(document, document.body, None)


@pytest.mark.parametrize("wakes", [(), (NOON,)], ids=["unnamed", "named already"])
def test_a_record_that_is_only_touched_stays_as_it_is(wakes: tuple[datetime, ...]) -> None:
    """Its bytes and when it is due: whoever sent the wake saves again, and sends another, which does what is due.

    Also where the record names one of that time already, because what is due now was sent twice.
    """
    bench = Bench(platform=accepting())
    bench.put(State(owed=OWED, wake_at=NOON, wakes=wakes))
    before = bench.store.load(bench.target().key)
    bench.engine.wake(Wake(before.key, NOON, before.version))
    after = bench.store.load(before.key)
    assert after.body == before.body
    assert after.version != before.version
    assert list(bench.store.due(NOON)) == [before.key]
    assert bench.calls() == []


def test_a_wake_whose_save_got_through_meanwhile_is_one_of_the_record() -> None:
    """Touching it fails, because the save that names it was first: it is read again, and the wake is spent."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON))
    before = bench.store.load(bench.target().key)

    def save_that_names_it(_key: str) -> None:
        bench.store.before_save = lambda _key: None
        bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
        raise Conflict(before.key)

    bench.store.before_save = save_that_names_it
    bench.engine.wake(Wake(before.key, NOON, before.version))
    assert bench.calls() == ["start"]


def test_a_wake_tells_how_its_package_stands_as_of_its_reading() -> None:
    """The record of the deployment came with that of the target."""
    bench = planned(Bench())
    bench.put(State(wake_at=NOON))
    bench.at(7)
    bench.engine.wake(Wake(bench.target().key, at(9), "nobody's"))
    bench.at(50)
    assert (bench.engine.standing.is_current, bench.engine.standing.read_at) == (True, at(7))


def test_what_is_read_ahead_tells_how_its_package_stands_as_of_that_reading() -> None:
    """Like a wake's."""
    bench = planned(Bench())
    bench.put(State())
    bench.at(7)
    assert list(bench.engine.read_ahead([bench.target()])) == [bench.target().key]
    bench.at(50)
    assert (bench.engine.standing.is_current, bench.engine.standing.read_at) == (True, at(7))


def test_a_wake_in_a_later_package_makes_the_next_edition() -> None:
    """What is read with the record of the target says only that another edition is current."""
    bench = planned(Bench(platform=accepting()))
    package = replace(bench.engine.package, generation=bench.engine.package.generation + timedelta(days=1))
    bench.engine = Engine(package, bench.ports)
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert (bench.engine.standing.number, bench.engine.standing.is_current) == (2, True)
    assert bench.state().edition == 2


def test_a_wake_that_meets_its_save_leaves_it() -> None:
    """Another was first: the save got through."""
    bench = Bench()
    bench.put(State())
    document = bench.store.load(bench.target().key)

    def be_first(_key: str) -> None:
        raise Conflict(_key)

    bench.store.before_save = be_first
    bench.engine.wake(Wake(document.key, at(20), document.version))


def test_a_wake_reads_its_target_s_record_once() -> None:
    """The record that names the wake is the one in hand."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    reads = bench.loads()
    bench.engine.wake(Wake(bench.target().key, NOON, "another version"))
    assert bench.calls() == ["start"]
    assert reads.count(bench.target().key) == 1


def noting_wakes(bench: Bench) -> list[datetime]:
    """For when wakes are sent from now on."""
    sent: list[datetime] = []
    waker = SimpleNamespace(reach=bench.waker.reach, relays=True, send=lambda wake, _: sent.append(wake.due))
    bench.engine = Engine(bench.engine.package, replace(bench.ports, waker=waker))
    return sent


def test_a_claim_names_the_wake_that_led_to_it_and_needs_no_other() -> None:
    """Its message comes again if the worker dies; with the answer it is spent, and one for the poll is sent."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON, at(900))))
    sent, named = noting_wakes(bench), list[tuple[datetime, ...]]()
    save = bench.store.save

    def note(document: Document, body: bytes, wake_at: datetime | None) -> Document:
        if document.key == bench.target().key:
            named.append((*records.read_state(body).wakes, *sent))
        return save(document, body, wake_at)

    bench.store.save = note  # type: ignore[method-assign]
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    [claim, answer] = named
    assert set(claim) == {NOON, at(900)}, "and none was sent before the call"
    assert set(answer) == {at(900), *sent}
    assert bench.state().wake_at == sent[0]


def test_a_claim_of_a_wake_that_took_too_long_is_followed_by_another_of_the_same_wake() -> None:
    """What is given back has spent the wake, and the claim after it names it anew: again no other is sent before."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    sent = noting_wakes(bench)

    bench.store.before_next_save(bench.target().key, lambda: bench.pass_time(6))
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.calls() == ["start"]
    assert sent == [bench.state().wake_at], "for the poll"
    assert bench.state().wakes == tuple(sent)


def test_a_wake_that_comes_again_after_a_claim_leaves_one_for_its_lease() -> None:
    """The worker died with its claim saved: nobody knows whether its start was sent."""
    bench = planned(Bench(platform=ScriptedPlatform(start=[])))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    sent = noting_wakes(bench)
    with pytest.raises(IndexError):
        bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert (bench.state().situation, bench.state().wakes, sent) == (Situation.CLAIMED, (NOON,), [])
    bench.at(30)
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.state().wakes == tuple(sent)
    assert sent == [bench.state().wake_at]


def test_a_claim_of_a_wake_that_the_record_names_no_more_sends_one_for_its_lease() -> None:
    """Somebody was first, and took the name out: the message would find nothing to do."""
    bench = planned(Bench(platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON, wakes=(NOON,)))
    sent = noting_wakes(bench)

    bench.store.lose_next_save(bench.target().key, lambda: bench.put(State(owed=OWED, wake_at=NOON)))
    bench.engine.wake(Wake(bench.target().key, NOON, "nobody's"))
    assert bench.calls() == ["start"]
    assert len(sent) == 2, "for the lease of the claim, and for the poll"


def test_who_only_hears_what_is_known_does_not_ask_who_is_current() -> None:
    """One read of the record: where records are not read together, a storm costs one read an event."""
    bench = planned(Bench())
    bench.put(State())
    bench.engine.reconcile(bench.target(), [signal(0)])
    bench.engine = Engine(bench.engine.package, bench.ports)
    reads = bench.loads()
    assert not bench.engine.reconcile(bench.target(), [signal(0)])
    assert reads == [bench.target().key]


@pytest.mark.parametrize(
    ("state", "happened"),
    [
        (State(owed=OWED, wake_at=at(100)), [signal(90)]),
        (State(owed=OWED, wake_at=NOON), [signal(-100)]),
        (State(owed=OWED, wake_at=at(100)), [Hinted()]),
        (State(owed=OWED, wake_at=at(100)), []),
    ],
    ids=["something new", "due", "no signal", "nothing"],
)
def test_whoever_may_have_to_write_asks_who_is_current(state: State, happened: list[Any]) -> None:
    """Also where in the end there is nothing to write."""
    bench = planned(Bench(platform=accepting()))
    bench.put(state)
    reads = bench.loads()
    bench.engine.reconcile(bench.target(), happened)
    assert reads[:2] == [bench.target().key, records.DEPLOYMENT_KEY]


def test_what_is_not_read_together_is_not_read_ahead() -> None:
    """It would cost as many requests, and the deployment's record besides."""
    bench = planned(Bench())
    bench.store.reads_together = False
    reads = bench.loads()
    assert not bench.engine.read_ahead([bench.target()])
    assert reads == []


@pytest.mark.parametrize(
    ("state", "call"),
    [
        (State(owed=OWED, wake_at=NOON, wakes=(NOON,)), "start"),
        (replace(RUNNING, wakes=(NOON,)), "get"),
    ],
    ids=["start", "poll"],
)
def test_a_wake_asks_the_store_once_before_its_call(state: State, call: str) -> None:
    """The records of deployment, identity and target come in one request: nothing else is read by a start or a poll."""
    bench = planned(Bench(platform=ScriptedPlatform(start=[Started("r1", NOON)], get=[report(Phase.ACTIVE)])))
    bench.put(state)
    asked: list[str] = []
    load = bench.store.load

    def all_of(keys: Any) -> Any:
        asked.append("together")
        return [load(key) for key in keys]

    def one(key: str) -> Any:
        asked.append(key)
        return load(key)

    bench.store.load_many, bench.store.load = all_of, one  # type: ignore[method-assign]
    bench.engine.wake(Wake(bench.target().key, NOON, "another version"))
    assert bench.calls() == [call]
    assert asked == ["together"]


def test_who_is_told_to_stop_begins_nothing_new() -> None:
    """The earlier of two ends counts; a call to the platform must be over by then."""
    bench = Bench(platform=accepting(), ends_at=50)
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.end_by(bench.clock.monotonic() + 5)
    bench.engine.end_by(bench.clock.monotonic() + 100)
    bench.engine.reconcile(bench.target())
    assert bench.calls() == []
    bench.clock.time += seconds(5)
    assert bench.engine.is_out_of_time()


# --- Ticks -----------------------------------------------------------------------------------------------------------


def planned(bench: Bench) -> Bench:
    """With the configuration planned already."""
    bench.plan()
    return bench


def test_a_tick_looks_at_what_is_due_and_at_nothing_else() -> None:
    """One query of the index, however many targets are idle."""
    bench = planned(Bench(a_target(), a_target("idle"), platform=accepting()))
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.put(State(wake_at=at(1000)), "idle")
    Sweep(bench.engine).tick()
    assert [call[1] for call in bench.platform.calls] == ["daily"]


def test_one_target_s_trouble_keeps_no_other_waiting() -> None:
    """It is raised at the end, as a group, and names the target."""
    bench = planned(Bench(a_target("a"), a_target("b"), platform=accepting()))
    for name in ("a", "b"):
        bench.put(State(owed=OWED, wake_at=NOON), name)
    body = b'{"format":99,"record":{}}'
    bench.store.save(bench.store.load(bench.target("a").key), body, NOON)
    with pytest.raises(ExceptionGroup, match=r"^1 records could not be reconciled") as raised:
        Sweep(bench.engine).tick()
    assert raised.value.exceptions[0].__notes__ == [f"target {bench.target('a').key}"]
    assert bench.state("b").situation is Situation.RUNNING


def test_a_tick_without_time_does_nothing() -> None:
    """The next one does it."""
    bench = planned(Bench(platform=accepting(), ends_at=0))
    bench.put(State(owed=OWED, wake_at=NOON))
    Sweep(bench.engine).tick()
    assert bench.calls() == []


def test_time_that_runs_out_ends_a_tick_in_the_middle() -> None:
    """What was not looked at is still due."""
    bench = planned(Bench(a_target("a"), a_target("b"), platform=accepting(), ends_at=100))
    for name in ("a", "b"):
        bench.put(State(owed=OWED, wake_at=NOON), name)

    def slow() -> Started:
        bench.clock.time += seconds(100)
        return Started("r1")

    bench.platform.answers["start"] = [slow]
    Sweep(bench.engine).tick()
    assert bench.calls() == ["start"]


# --- Planning, pausing ------------------------------------------------------------------------------------------------


def test_the_first_tick_after_a_new_configuration_signals_what_is_new() -> None:
    """Rule 12: once, and then no more."""
    bench = Bench(a_target("a"), a_target("b"))
    Sweep(bench.engine).tick()
    assert all(bench.state(name).owed for name in ("a", "b"))
    saves = bench.store.saves
    Sweep(bench.engine).tick()
    assert bench.store.saves == saves


def test_what_the_configuration_no_longer_names_is_kept_and_forgotten() -> None:
    """Its record stays, is not looked at, and counts as new when it comes back."""
    bench = Bench(a_target("a"), a_target("b"))
    Sweep(bench.engine).tick()
    Sweep(bench.engine_of(a_target("a"))).tick()
    gone = bench.state("b")
    assert (gone.definition, gone.wake_at, bool(gone.owed)) == ("", None, True)
    due = records.write(replace(gone, wake_at=NOON))  # an older function, which still runs, looked at it
    bench.store.save(bench.store.load(bench.target("b").key), due, NOON)
    Sweep(bench.engine_of(a_target("a"))).tick()
    assert list(bench.store.due(at(10**6), 9)) == [bench.target("a").key]


def test_a_record_that_is_forgotten_already_is_left() -> None:
    """And so is one that somebody else is writing."""
    bench = planned(Bench(a_target("a")))
    stranger = a_target("b").key
    Sweep(bench.engine)._forget(stranger)
    bench.store.save(bench.store.load(stranger), records.write(State(definition="x")), NOON)

    def be_first(key: str) -> None:
        raise Conflict(key)

    bench.store.before_save = be_first
    Sweep(bench.engine)._forget(stranger)
    assert records.read_state(bench.store.load(stranger).body).definition == "x"


def test_a_walk_that_met_trouble_is_begun_anew() -> None:
    """A target that could not be looked at is not planned yet."""
    bench = Bench(a_target("a"), a_target("b"))
    bench.store.save(bench.store.load(bench.target("a").key), b'{"format":99,"record":{}}', None)
    with pytest.raises(ExceptionGroup):
        Sweep(bench.engine).tick()
    deployment = records.read_deployment(bench.store.load(records.DEPLOYMENT_KEY).body)
    assert deployment.rollout == Rollout()
    assert bench.state("b").owed


def test_a_walk_goes_on_where_it_ended() -> None:
    """Time ran out after the first target: the next tick takes the second."""
    bench = Bench(a_target("a"), a_target("b"), ends_at=5)

    def slow(key: str) -> None:
        if key == bench.target("a").key:
            bench.clock.time += seconds(6)

    bench.store.before_save = slow
    Sweep(bench.engine).tick()
    deployment = records.read_deployment(bench.store.load(records.DEPLOYMENT_KEY).body)
    assert deployment.rollout
    assert deployment.rollout.done_up_to == bench.target("a").key
    assert bench.state("b").owed is None
    Sweep(Engine(bench.configuration.package(Cloud.AWS), bench.ports)).tick()
    assert bench.state("b").owed


def test_a_pause_of_all_stops_starts_and_its_end_walks_all_targets() -> None:
    """G7: nothing is forgotten, and one run starts."""
    bench = planned(Bench(platform=accepting()))
    pause_all(bench.store, bench.clock.now())
    pause_all(bench.store, bench.clock.now())
    bench.put(State(owed=OWED, wake_at=NOON))
    Sweep(bench.engine).tick()
    assert bench.calls() == []
    resume_all(bench.store)
    bench.at(1)
    Sweep(bench.engine).tick()
    assert bench.calls() == ["start"]


def test_a_hold_is_told_with_its_reason() -> None:
    """For the log and the metrics."""
    bench = Bench()
    bench.put(State(hold=Blocked(NOON, "no", NOON)))
    bench.engine.reconcile(bench.target(), [PauseAsked()])
    [held] = [happened for happened in bench.told if happened.what == "held"]
    assert held.fields == {"hold": "paused", "reason": ""}


def test_a_fresh_target_tells_its_age() -> None:
    """And a stale one how long it has been owed something; the target of another cloud is not ours."""
    bench = Bench(a_target(schedule=Schedule("0 0 * * *")))
    bench.put(State(fresh_as_of=at(-60)))
    bench.at(10)
    bench.engine.reconcile(bench.target(), [signal(5)])
    saved = [happened.fields for happened in bench.told if happened.what == "saved"][-1]
    assert (saved["fresh_age_seconds"], saved["owed_age_seconds"]) == (70, 5)
    assert Configuration((a_target(),)).package(Cloud.AZURE).targets == ()


def test_an_objective_is_told_with_how_a_target_stands() -> None:
    """Whoever reads the last line can tell that it is late by now, though nobody is there to say so."""
    for objective in (None, timedelta(hours=1)):
        bench = Bench(a_target(policy=replace(POLICY, objective=objective)), platform=accepting())
        bench.put(State(owed=OWED, wake_at=NOON))
        bench.engine.reconcile(bench.target())
        saved = [happened.fields for happened in bench.told if happened.what == "saved"][-1]
        assert saved.get("objective_seconds") == (3600 if objective else None)


def test_busy_is_told_as_trouble() -> None:
    """With the vendor's code, and what became of the request."""
    bench = Bench(platform=ScriptedPlatform(start=[BUSY]))
    bench.put(State(owed=OWED, wake_at=NOON))
    bench.engine.reconcile(bench.target())
    [told] = [happened for happened in bench.told if happened.what == "trouble"]
    assert told.fields == {"code": "Code", "message": "words", "sent": "rejected"}


@pytest.mark.parametrize("paused_for_seconds", [30, 3600, 10 * 3600 + 17])
def test_a_paused_capacity_is_tried_every_few_minutes(paused_for_seconds: int) -> None:
    """However long the pause lasts: the first refresh comes within five minutes of its end, and the reason is said."""
    started: list[float] = []
    refused = replace(failure(FailureKind.NO_CAPACITY), code="CapacityNotActive")

    def answer() -> Any:
        now = (bench.clock.now() - NOON).total_seconds()
        if now < paused_for_seconds:
            return refused
        started.append(now)
        return Started("r1")

    bench = Bench(platform=ScriptedPlatform(start=[answer], get=[report(Phase.ACTIVE)]))
    bench.put(State(owed=OWED, wake_at=NOON))
    minute = 0
    while not started:
        bench.at(60 * minute)
        Sweep(bench.engine).tick()
        minute += 1
        if not started:
            assert "CapacityNotActive" in bench.state().last_error
    assert started[0] - paused_for_seconds <= 300
    assert bench.calls().count("start") <= 2 + paused_for_seconds / 180
    assert bench.state().hold is None


def test_a_run_is_followed_through_a_paused_capacity() -> None:
    """A poll that is refused for it neither ends the run nor holds the target."""
    refused = failure(FailureKind.NO_CAPACITY)
    bench = Bench(platform=ScriptedPlatform(get=[refused]))
    bench.put(State(run=a_run(Situation.RUNNING, next_look_at=at(600)), last_claim_at=NOON, wake_at=at(600)))
    bench.at(600)
    bench.engine.reconcile(bench.target())
    state = bench.state()
    assert (state.hold, state.situation) == (None, Situation.RUNNING)
    assert state.run
    assert state.run.next_look_at == at(600 + 180)


def test_what_looks_tell_of_a_target_calls_no_platform() -> None:
    """A look makes signals while it looks: they are saved at once, and the tick or the wake acts on them."""
    bench = Bench()
    bench.engine._reconcile(bench.target(), [signal(0)])
    assert records.read_state(bench.store.load(bench.target().key).body).owed
    assert bench.platform.calls == []


# --- Outcome events --------------------------------------------------------------------------------------------------

LATE = Destination("webhook", on=("late",), url="https://example.com")
"""Wants to hear of all targets that are late."""
FOLLOWER = Destination("azure", on=("refreshed",), url="https://example.com", follower="far", upstreams=("daily",))
"""Wants to hear of one target alone."""


def telling(bench: Bench, *destinations: Destination, outcomes: Any = lambda _package: None) -> Engine:
    """The bench's engine, with these destinations and what sends to them."""
    package = replace(bench.engine.package, destinations=destinations)
    return Engine(package, replace(bench.ports, outcomes=outcomes))


def test_what_a_follower_on_another_cloud_wants_is_recorded_for_its_target_alone() -> None:
    """Of the others nobody wants to hear that they succeeded."""
    bench = planned(Bench(a_target(), a_target("other"), platform=ScriptedPlatform(get=[report(Phase.SUCCEEDED)])))
    engine = telling(bench, LATE, FOLLOWER)
    for name, kinds in (("daily", ["refreshed"]), ("other", [])):
        bench.put(RUNNING, name)
        engine.reconcile(bench.target(name))
        assert [notice.kind for notice in bench.state(name).outbox.notices] == kinds


def test_where_nothing_sends_outcome_events_none_are_recorded() -> None:
    """They would wait for ever: destinations alone tell nobody."""
    bench = planned(Bench(platform=ScriptedPlatform(get=[report(Phase.SUCCEEDED)])))
    bench.put(RUNNING)
    telling(bench, FOLLOWER, outcomes=None).reconcile(bench.target())
    assert bench.state().run is None
    assert bench.state().outbox.notices == ()


@pytest.mark.parametrize(("destinations", "due"), [((LATE,), at(5) + timedelta(microseconds=1)), ((), at(20))])
def test_a_record_is_due_when_its_target_is_late_where_that_is_told(
    destinations: tuple[Destination, ...], due: datetime
) -> None:
    """Just beyond the objective; otherwise when its start is due."""
    bench = planned(Bench(a_target(policy=replace(POLICY, objective=seconds(5)))))
    bench.put(State())
    telling(bench, *destinations).reconcile(bench.target(), [signal(0)])
    assert bench.state().wake_at == due
