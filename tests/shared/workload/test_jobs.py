"""Fabric's jobs on the loop: what is promised to Fabric holds whoever dies when, and whoever comes between.

Verdicts come from the platform's journal and from what Fabric was told, never from our own records.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import count
from random import Random
from threading import Barrier

import pytest
from msgspec.structs import replace

from shared.config.load import Configuration, Workload, WorkloadJob
from shared.refresh import records
from shared.refresh.owed import JOBS_OPEN_MOST
from shared.refresh.ports import ATTEMPTS, Conflict, ContendedError, Document, Phase
from shared.refresh.state import Blocked, Cancelled, Ended, Outcome, Owed, Paused, State
from shared.refresh.sweep import Sweep
from shared.workload.api import Answer, Call
from shared.workload.job import Job
from shared.workload.jobs import KEPT, LINES_AT_FIRST, Jobs, Step, standing_of
from tests.support.core import BUSY, DENIED, NOON, THROTTLED, at, seconds
from tests.support.jobs_world import (
    CALL,
    CONFIGURATION,
    INSTANCE,
    ITEM,
    OPTIMIZE,
    JobsWorld,
    Killed,
    a_target,
    check,
    creation,
    settle,
)

TWO_HOURS = 7200


@pytest.fixture(name="world")
def settled_world() -> JobsWorld:
    """Everything is fresh and quiet."""
    world = JobsWorld()
    settle(world)
    return world


# --- From creation to the end ----------------------------------------------------------------------------------------


def test_a_job_goes_from_creation_to_completed(world: JobsWorld) -> None:
    """Accepted, owed, run, done: with the times of its run, which began after it was accepted."""
    asked_at = world.clock.now()
    answer = world.create()
    assert (answer.status, answer.body) == (HTTPStatus.ACCEPTED, b"")
    world.get()
    assert world.told() == [{"status": "NotStarted", "startTimeUtc": _text(asked_at)}]
    world.wait(TWO_HOURS, until_over=True)
    [run] = world.fabric.runs
    assert run.created_at > asked_at
    assert "InProgress" in [state["status"] for state in world.told()]
    assert world.told()[-1] == {
        "status": "Completed",
        "startTimeUtc": _text(run.created_at),
        "endTimeUtc": _text(run.ended_at),
    }
    check(world)
    assert [each.what for each in world.events if each.what.startswith("job")] == ["job accepted", "job Completed"]


def test_a_run_that_it_shares_completes_it(world: JobsWorld) -> None:
    """Data, another item's job and this one are one refresh."""
    other = replace(CALL, item=CALL.item.replace("b", "c"))
    world.blob()
    world.create()
    world.create(other)
    world.wait(TWO_HOURS, until_over=True)
    world.get(other)
    assert len(world.fabric.runs) == 1
    assert world.status == "Completed"


def test_a_run_that_was_going_on_does_not_complete_it(world: JobsWorld) -> None:
    """It may have read its sources before whatever the job is about."""
    world.blob()
    world.wait(60)
    [running] = world.fabric.active()
    world.create()
    world.wait(TWO_HOURS, until_over=True)
    assert len(world.fabric.runs) == 2
    assert world.told()[-1]["startTimeUtc"] == _text(world.fabric.runs[1].created_at)
    assert world.fabric.run(running).phase is Phase.SUCCEEDED
    check(world)


def test_a_failed_run_is_tried_again_before_the_job_has_failed(world: JobsWorld) -> None:
    """InProgress through two failures; the third succeeds."""
    world.fabric.outcomes = [Phase.FAILED, Phase.FAILED]
    world.create()
    world.wait(TWO_HOURS, until_over=True)
    assert (len(world.fabric.runs), world.status) == (3, "Completed")
    check(world)


def test_three_failed_runs_are_a_failed_job_and_forget_nothing(world: JobsWorld) -> None:
    """With the reason; the signal stays owed, and the next refresh that succeeds covers it."""
    world.fabric.outcomes = [Phase.FAILED] * 3
    world.create()
    world.wait(TWO_HOURS, until_over=True)
    [state] = world.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Failed", "RefreshFailed")
    assert "executor lost" in state["errorDetails"]["message"]
    assert (state["errorDetails"]["source"], state["errorDetails"]["isPermanent"]) == ("External", False)
    assert world.state().owed
    world.wait(TWO_HOURS)
    assert world.fabric.runs[-1].phase is Phase.SUCCEEDED
    assert world.state().owed is None
    check(world)


def test_a_throttled_start_is_no_failure(world: JobsWorld) -> None:
    """It waits; and what was told to have started is never told to wait again."""
    world.fabric.refusal = THROTTLED
    world.create()
    world.wait(900)
    assert world.status in {"NotStarted", "InProgress"}
    world.fabric.refusal = None
    world.wait(TWO_HOURS, until_over=True)
    assert world.status == "Completed"
    check(world)


def test_a_claim_that_is_seen_and_given_back_stays_told(world: JobsWorld) -> None:
    """A poll between the claim and its refusal says InProgress, and so do those after it."""
    world.fabric.refusal = BUSY
    world.create()
    seen: list[str] = []

    def poll_after_the_claim(_: int, what: str) -> None:
        state = world.state()
        if what == "after a save" and state.run and not seen:
            seen.append("claimed")
            world.get()

    world.on_effect = poll_after_the_claim
    world.wait(60, poll=False)
    assert (seen, world.status, world.state().run) == (["claimed"], "InProgress", None)
    world.get()
    assert world.status == "InProgress"
    check(world)


@pytest.mark.parametrize("invoke_type", ["Scheduled", "Manual", "OnceInABlueMoon"])
def test_a_blocked_target_fails_the_job_with_the_reason(world: JobsWorld, invoke_type: str) -> None:
    """What a person must repair; whoever asks by hand has it tried at once."""
    world.fabric.refusal = DENIED
    world.blob()
    world.wait(120, poll=False)
    refused = world.fabric.refused
    world.create(invoke_type=invoke_type)
    assert (world.fabric.refused == refused + 1) is (invoke_type == "Manual")
    world.get()
    [state] = world.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Failed", "TargetBlocked")
    assert state["errorDetails"]["message"] == "Code: words"
    assert state["errorDetails"]["isPermanent"]
    check(world)


@pytest.mark.parametrize(("probe_at", "failed"), [(0, False), (0.1, True)])
def test_a_block_whose_probe_is_due_does_not_fail_the_job(probe_at: float, failed: bool) -> None:
    """What it was about may be repaired by now: the probe decides."""
    job = Job("key", "place", "request", at(-60), "Scheduled")
    state = State(owed=Owed(at(-60), at(-60), jobs={"j": at(-60)}), hold=Blocked(at(-600), "denied", at(probe_at)))
    stands = standing_of("j", job, state, [], NOON, gone=False)
    assert stands.step is Step.NONE
    assert (stands.final is not None) is failed


def test_a_permission_that_was_repaired_completes_the_job_asked_for_by_hand(world: JobsWorld) -> None:
    """The hour between two probes is not waited for."""
    world.fabric.refusal = DENIED
    world.blob()
    world.wait(120, poll=False)
    world.fabric.refusal = None
    world.create(invoke_type="Manual")
    world.wait(600, until_over=True)
    assert world.status == "Completed"
    check(world)


def test_a_paused_target_lets_its_jobs_wait(world: JobsWorld) -> None:
    """Nothing is started, nothing forgotten: G7."""
    world.put(replace(world.state(), hold=Paused(NOON)))
    world.create()
    world.wait(3600)
    assert (world.status, world.fabric.runs) == ("NotStarted", [])


def test_a_target_that_is_gone_fails_its_job(world: JobsWorld) -> None:
    """Once the planning of the new configuration has seen that nobody names it."""
    world.create()
    world.configuration = Configuration((OPTIMIZE,), workload=CONFIGURATION.workload)
    world.get()
    assert world.status == "NotStarted"
    Sweep(world.engine).tick()
    world.get()
    assert (world.status, world.told()[-1]["errorDetails"]["errorCode"]) == ("Failed", "TargetRemoved")
    check(world)


def test_a_job_that_a_worker_of_another_configuration_cannot_signal_waits_for_one_that_can(world: JobsWorld) -> None:
    """An error that Fabric may ask again after, and the job is as it was."""
    _crashed_before_the_signal(world)
    known, world.configuration = world.configuration, Configuration((OPTIMIZE,), workload=CONFIGURATION.workload)
    with pytest.raises(LookupError):
        world.get()
    world.configuration = known
    world.get()
    assert world.status == "NotStarted"
    assert world.state().owed


def test_a_person_who_cancels_the_refresh_cancels_the_job(world: JobsWorld) -> None:
    """On the platform, not by Fabric's job: Cancelled, with that reason; the signal stays owed, held."""
    world.create()
    world.wait(60)
    [run] = world.fabric.runs
    run.phase, run.ended_at = Phase.CANCELLED, world.clock.now()
    world.wait(TWO_HOURS, until_over=True)
    [state] = world.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Cancelled", "CancelledOnPlatform")
    assert isinstance(world.state().hold, Cancelled)
    assert world.state().owed
    world.create()
    assert isinstance(world.state().hold, Cancelled), "a create that is repeated lifts nothing"
    check(world)


# --- Creating again, and at once -------------------------------------------------------------------------------------


def test_the_same_request_again_is_the_same_answer(world: JobsWorld) -> None:
    """At any time, also after the end, and however its body is spaced: one job, one run."""
    first = world.create()
    saves = world.store.load(a_target().key).version
    assert world.create() == first
    assert world.store.load(a_target().key).version == saves
    world.wait(TWO_HOURS, until_over=True)
    assert world.create() == first
    assert len(world.fabric.runs) == 1


def test_another_request_with_the_same_id_is_a_conflict(world: JobsWorld) -> None:
    """Another body, another place: 409, and the job is as it was."""
    world.create()
    before = world.job()
    other_job = replace(CALL, job_type="Contoso.Views.Sales.Optimize")
    for answer in (
        world.create(invoke_type="Manual"),
        world.create(full=False),
        world.create(other_job),
        world.create(replace(CALL, tenant="other")),
    ):
        assert answer.status is HTTPStatus.CONFLICT
        assert _code(answer) == "JobInstanceConflict"
    assert world.job() == before


def test_many_at_once_are_one_job(world: JobsWorld) -> None:
    """Eight workers get the same create in the same moment: eight times 202, one job, one run."""
    barrier = Barrier(8)

    def ask(_: int) -> HTTPStatus:
        barrier.wait()
        return Jobs(world.configuration, world.engine, world.ports).create(CALL, creation()).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {HTTPStatus.ACCEPTED}
    world.wait(TWO_HOURS, until_over=True)
    assert (len(world.fabric.runs), world.status) == (1, "Completed")


def test_a_repeated_create_passes_no_bound(world: JobsWorld) -> None:
    """Jobs whose records are there, but not their signals, are not signalled beyond the bound: the target's record
    would grow until no store takes it. They are told to come again, and their turn comes when there is room.
    """
    for number in range(JOBS_OPEN_MOST):
        world.create(_numbered(number))
    for number in range(JOBS_OPEN_MOST, JOBS_OPEN_MOST + 50):
        late = _numbered(number)
        job = Job(a_target().key, late.place, creation().digest, world.clock.now(), "Manual")
        world.store.save(Document(records.job_key(late.item, late.instance)), records.write(job), None)
        assert world.create(late).status is HTTPStatus.TOO_MANY_REQUESTS
        assert json.loads(world.get(late).body)["status"] == "NotStarted"
    assert len(world.store.load(a_target().key).body) < 10_000
    world.wait(600, poll=False)
    assert world.create(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.ACCEPTED


def test_open_jobs_are_bounded(world: JobsWorld) -> None:
    """429 beyond that, which Fabric may ask again after; the job that is there already is still the same."""
    for number in range(JOBS_OPEN_MOST):
        assert world.create(_numbered(number)).status is HTTPStatus.ACCEPTED
    refused = world.create(_numbered(JOBS_OPEN_MOST))
    assert (refused.status, _code(refused)) == (HTTPStatus.TOO_MANY_REQUESTS, "TooManyJobs")
    assert refused.headers == {"Retry-After": "60"}
    assert not json.loads(refused.body)["isPermanent"]
    assert world.get(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.NOT_FOUND
    assert world.create(_numbered(0)).status is HTTPStatus.ACCEPTED
    assert len(world.store.load(a_target().key).body) < 10_000
    world.wait(600, poll=False)
    assert world.create(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.ACCEPTED
    assert len(world.fabric.runs) == 1


def test_what_cannot_be_given_is_refused_and_nothing_is_stored(world: JobsWorld) -> None:
    """A job that nobody configured, a full refresh that the platform does not know, other data than the target's."""
    optimize = replace(CALL, job_type="Contoso.Views.Sales.Optimize")
    answers = [
        world.create(replace(CALL, job_type="Other")),
        world.create(replace(CALL, item_type="Other")),
        world.create(replace(optimize, item=INSTANCE)),  # only for one item
        world.create(full=True),
        world.create(executionData={"tableName": "orders"}),
        world.create(optimize, executionData={"tableName": "customers"}),
    ]
    assert [(answer.status.value, _code(answer)) for answer in answers] == [
        *[(404, "JobTypeNotConfigured")] * 3,
        *[(400, "UnsupportedPayload")] * 3,
    ]
    assert world.get().status is HTTPStatus.NOT_FOUND
    assert world.create(optimize, full=False, executionData={"tableName": "orders"}).status is HTTPStatus.ACCEPTED


def test_a_job_is_only_to_be_seen_where_it_was_created(world: JobsWorld) -> None:
    """Another workspace, type, item or tenant: 404, as for a job that never was; a cancel from there does nothing."""
    world.create()
    elsewhere = [
        replace(CALL, workspace=ITEM),
        replace(CALL, item_type="Other"),
        replace(CALL, item=INSTANCE),
        replace(CALL, job_type="Other"),
        replace(CALL, tenant="other"),
        replace(CALL, instance=ITEM),
    ]
    for call in elsewhere:
        for answer in (world.get(call), world.cancel(call)):
            assert (answer.status, _code(answer)) == (HTTPStatus.NOT_FOUND, "JobInstanceNotFound")
    assert world.job().cancel_asked_at is None


def test_a_configuration_without_workload_knows_no_job(world: JobsWorld) -> None:
    """The endpoints are not there; should one be asked all the same, nobody said what to refresh."""
    world.configuration = Configuration((a_target(),))
    assert world.create().status is HTTPStatus.NOT_FOUND


def test_a_target_of_one_item_goes_before_that_of_any(world: JobsWorld) -> None:
    """Two lines of `[workload]` for one job type."""
    jobs = (WorkloadJob("I", "J", "sales"), WorkloadJob("I", "J", "optimize", ITEM))
    world.configuration = Configuration(CONFIGURATION.targets, workload=Workload(jobs))
    world.create(replace(CALL, item_type="I", job_type="J"))
    assert world.state("optimize").owed
    world.create(replace(CALL, item_type="I", job_type="J", item=INSTANCE))
    assert world.state().owed


# --- Cancelling ------------------------------------------------------------------------------------------------------


def test_a_job_that_is_owed_is_cancelled_at_once(world: JobsWorld) -> None:
    """Nothing runs for it, ever; and asked again, the answer is the same."""
    world.create()
    world.cancel()
    assert world.status == "Cancelled"
    assert world.state().owed is None
    world.wait(600)
    world.cancel()
    assert world.create().status is HTTPStatus.ACCEPTED
    world.wait(600)
    assert world.fabric.runs == []
    check(world)


def test_a_run_of_its_own_is_cancelled_on_the_platform(world: JobsWorld) -> None:
    """InProgress until that has really ended; then Cancelled, at the time of that end, and nothing is held."""
    world.create()
    world.wait(60)
    world.cancel()
    assert (world.status, world.fabric.cancels) == ("InProgress", ["r1"])
    ended_at = world.fabric.runs[0].ended_at
    world.wait(TWO_HOURS, until_over=True)
    assert world.told()[-1]["endTimeUtc"] == _text(ended_at)
    assert (world.status, world.fabric.active()) == ("Cancelled", ())
    state = world.state()
    assert (state.failures, state.hold, state.owed, state.not_before) == (0, None, None, None)
    check(world)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_others_share_goes_on(world: JobsWorld, before: bool) -> None:
    """Cancelled is told at once: the job's own signal is withdrawn, and that is all."""
    world.create()
    if before:
        world.blob()
    world.wait(60)
    if not before:
        world.blob()  # late, but before the claim by its own time: it does not join, and so the run is the job's alone
    world.cancel()
    world.wait(TWO_HOURS)
    assert world.status == "Cancelled"
    assert [run.phase for run in world.fabric.runs if run.phase is Phase.SUCCEEDED]
    assert world.fabric.cancels == ([] if before else ["r1"])
    assert world.state().owed is None
    check(world)


def test_a_job_that_has_completed_stays_so(world: JobsWorld) -> None:
    """Its cancel is answered with the truth."""
    world.create()
    world.wait(TWO_HOURS, until_over=True)
    world.cancel()
    assert world.status == "Completed"
    check(world)


def test_a_cancel_that_came_too_late_loses_honestly(world: JobsWorld) -> None:
    """The run ended well on the platform before our cancel reached it: Completed."""
    world.create()
    world.wait(60)
    [run] = world.fabric.runs
    run.phase, run.ended_at = Phase.SUCCEEDED, world.clock.now()
    world.cancel()
    world.wait(TWO_HOURS, until_over=True)
    assert (world.status, world.fabric.cancels) == ("Completed", ["r1"])
    check(world)


@pytest.mark.parametrize("lost", [True, False])
def test_a_cancel_before_the_signal_is_heeded(world: JobsWorld, lost: bool) -> None:
    """A create that died, or is slow, between its record and its signal: cancelled meanwhile, it starts nothing."""
    if lost:
        _crashed_before_the_signal(world)
        world.cancel()
    else:
        world.at_effect(1, world.cancel)
        world.create()
    assert world.status == "Cancelled"
    world.undisturbed()
    world.create()
    world.wait(600)
    assert (world.state().owed, world.fabric.runs) == (None, [])
    check(world)


# --- Whoever dies when -----------------------------------------------------------------------------------------------


def _run_through(world: JobsWorld, *, cancel_after: float | None) -> None:
    """A create that is asked again until it is answered, perhaps a cancel, likewise, and polls until it is over."""
    while not world.survives(world.create):
        world.wait(10)
    if cancel_after is not None:
        world.wait(cancel_after)
        while not world.survives(world.cancel):
            world.wait(10)
    world.wait(TWO_HOURS, until_over=True)


@pytest.mark.parametrize("cancel_after", [None, 5, 60, 130])
def test_whoever_dies_at_whatever_effect_the_promises_hold(cancel_after: float | None) -> None:
    """Once for each effect between the creation and the end: the worker at it dies, and Fabric asks again.

    Completed, if a run that began after the creation succeeded; Cancelled, if nothing runs any more.
    """
    died = 0
    for number in count():
        world = JobsWorld()
        settle(world)
        asked_at = world.clock.now()
        world.at_effect(number, _die)
        _run_through(world, cancel_after=cancel_after)
        if not world.came:
            break  # there are no more effects
        died += 1
        check(world)
        good = [run for run in world.fabric.runs if run.phase is Phase.SUCCEEDED and run.created_at > asked_at]
        assert world.status in ({"Completed"} if cancel_after is None else {"Completed", "Cancelled"}), number
        if world.status == "Completed":
            assert good, number
        else:
            world.wait(1200)
            assert world.fabric.active() == (), number
            assert len(world.fabric.runs) <= 2, number
        assert world.state().owed is None
    assert died > 8


@pytest.mark.parametrize("cancel_after", [5, 60, 130])
@pytest.mark.parametrize("rival", ["create", "get", "cancel", "tick"])
def test_whoever_comes_between_at_whatever_effect_the_promises_hold(cancel_after: float, rival: str) -> None:
    """Once for each read and effect: another worker gets this call just then, is done, and the first one goes on."""
    for number in count():
        world = JobsWorld()
        settle(world)
        calls: dict[str, Callable[[], object]] = {
            "create": world.create,
            "get": world.get,
            "cancel": world.cancel,
            "tick": Sweep(world.engine).tick,
        }
        world.at_effect(number, calls[rival], at_reads=True)
        _run_through(world, cancel_after=cancel_after)
        if not world.came:
            break
        check(world)
        assert world.status in {"Completed", "Cancelled"}, number
        world.wait(1200)
        assert world.fabric.active() == (), number
        assert world.state().owed is None, number
    assert number > 8


def test_a_cancel_at_whatever_moment_of_a_create_leaves_nothing_to_run() -> None:
    """Also between the create's look at the job and its signal, which then is taken back."""
    for number in count():
        world = JobsWorld()
        settle(world)
        world.at_effect(number, world.cancel, at_reads=True)
        assert world.create().status is HTTPStatus.ACCEPTED
        if not world.came:
            break
        if world.told():  # the job was there to be cancelled
            assert world.status == "Cancelled"
            world.wait(900)
            assert (world.fabric.runs, world.state().owed) == ([], None), number
            check(world)
    assert number > 8


def test_a_success_at_whatever_moment_of_a_poll_is_no_reason_to_refresh_again() -> None:
    """The target's record is read before its history: what left the one is in the other."""
    for number in count():
        world = JobsWorld()
        settle(world)
        world.create()
        world.wait(60)
        world.clock.time += timedelta(minutes=5)
        world.at_effect(number, Sweep(world.engine).tick, at_reads=True)
        world.get()
        if not world.came:
            break
        world.undisturbed()
        world.get()
        assert world.status == "Completed", number
        world.wait(900)
        assert len(world.fabric.runs) == 1, number
        check(world)
    assert number > 2


def test_an_end_that_was_told_at_whatever_moment_of_a_poll_stays() -> None:
    """One poll saw the target blocked and told so; one that was slower saw it as it was before."""
    for number in count():
        world = JobsWorld()
        settle(world)
        world.create()
        fine = world.state()

        def blocked(world: JobsWorld = world, fine: State = fine) -> None:
            world.put(replace(fine, hold=Blocked(world.clock.now(), "denied", world.clock.now() + timedelta(hours=1))))
            world.get()
            world.put(fine)

        world.at_effect(number, blocked, at_reads=True)
        world.get()
        if not world.came:
            break
        world.undisturbed()
        world.wait(600)
        assert "Failed" in [state["status"] for state in world.told()], number
        assert world.status == "Failed", number
    assert number > 2


@pytest.mark.parametrize("seed", range(150))
def test_in_any_history_states_only_go_forward(seed: int) -> None:
    """Deaths, failures, data, cancels and workers of an older release, at random; it ends, and it ended as told."""
    random = Random(seed)
    world = JobsWorld()
    settle(world)
    asked_at = world.clock.now()
    world.fabric.outcomes = [random.choice([Phase.SUCCEEDED, Phase.FAILED]) for _ in range(3)]
    world.on_effect = lambda _number, _what: _die() if random.random() < 0.04 else None
    while not world.survives(world.create):
        world.wait(10)
    for _ in range(random.randrange(12)):
        may_call: list[Callable[[], object]] = [world.blob, world.get, world.create, world.forget_jobs, world.cancel]
        act = random.choice(may_call)
        if act != world.cancel or random.random() < 0.5:
            world.survives(act)
        world.wait(random.choice([5, 30, 120]))
    world.undisturbed()
    world.wait(2 * TWO_HOURS, until_over=True)
    check(world)
    assert world.is_over
    if world.status == "Completed":
        assert any(run.phase is Phase.SUCCEEDED and run.created_at > asked_at for run in world.fabric.runs)
    world.wait(TWO_HOURS)
    check(world)
    assert (world.state().owed, world.fabric.active()) == (None, ())


def test_a_job_that_an_older_release_dropped_is_signalled_again(world: JobsWorld) -> None:
    """It writes the record as it knows it; the next poll sees to it."""
    world.create()
    world.forget_jobs()
    world.get()
    assert (world.status, list(world.state().owed.jobs)) == ("NotStarted", [INSTANCE])  # type: ignore[union-attr]
    world.wait(TWO_HOURS, until_over=True)
    assert world.status == "Completed"


# --- Records ---------------------------------------------------------------------------------------------------------


def test_the_record_of_a_job_is_forgotten_after_a_week(world: JobsWorld) -> None:
    """By a tick; until then it is looked at by nobody, and the planning of a new configuration passes it over."""
    world.create()
    world.configuration = Configuration((a_target(), a_target("other")), workload=CONFIGURATION.workload)
    world.wait(300)
    assert world.status == "Completed"
    key = records.job_key(ITEM, INSTANCE)
    world.clock.time += KEPT - seconds(600)
    Sweep(world.engine).tick()
    assert world.store.load(key).body
    world.clock.time += seconds(600)
    Sweep(world.engine).tick()
    assert world.store.load(key) == Document(key)
    assert world.get().status is HTTPStatus.NOT_FOUND
    assert world.create().status is HTTPStatus.ACCEPTED
    assert world.status == "Completed"
    world.get()
    assert world.status == "NotStarted", "lines about the job of that id before it do not count"


def test_a_record_that_changes_while_it_is_to_be_forgotten_stays(
    world: JobsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next tick sees it again; and one that somebody else removed is gone."""
    world.create()
    world.clock.time += KEPT + seconds(1)
    key = records.job_key(ITEM, INSTANCE)

    def moved_on(document: Document) -> None:
        raise Conflict(document.key)

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "remove", moved_on)
        Sweep(world.engine).tick()
    assert world.store.load(key).body
    monkeypatch.setattr(world.store, "load", Document)
    Sweep(world.engine)._expire(key)


def test_a_long_history_is_read_as_far_as_it_takes(world: JobsWorld) -> None:
    """A target that is refreshed every minute has many lines before Fabric asks again."""
    world.create()
    world.wait(300, poll=False)
    for number in range(3 * LINES_AT_FIRST):
        claimed_at = world.clock.now() + timedelta(minutes=number)
        line = Ended(f"x{number}", Outcome.SUCCEEDED, claimed_at, claimed_at)
        entry_id = f"{claimed_at:%Y%m%dT%H%M%S.%fZ}-{line.token}"
        world.store.append(a_target().key, entry_id, records.write(line), at(10**8))
    world.clock.time += timedelta(hours=5)
    world.get()
    assert world.status == "Completed"


@pytest.mark.parametrize("what", ["job's", "target's"])
def test_a_record_that_never_stands_still_is_given_back(
    world: JobsWorld, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After so many turns: Fabric asks again, and nothing is lost."""
    world.create()
    if what == "job's":
        save = world.store.save

        def contended(document: Document, body: bytes, wake_at: object) -> Document:
            if records.is_job(document.key):
                raise Conflict(document.key)
            return save(document, body, wake_at)  # type: ignore[arg-type]

        monkeypatch.setattr(world.store, "save", contended)
        with pytest.raises(ContendedError, match=f"moved on {ATTEMPTS} times"):
            world.cancel()
        return
    for _ in range(2):
        world.forget_jobs()
    monkeypatch.setattr(Jobs, "_take", lambda *_: None)
    with pytest.raises(ContendedError, match="did not settle"):
        world.get()


def test_a_create_that_lost_the_race_answers_with_what_is_there(world: JobsWorld) -> None:
    """Between reading that there is none, and writing: somebody else's create, of the same or of another body."""
    world.at_effect(0, world.create)
    assert world.create().status is HTTPStatus.ACCEPTED
    other = replace(CALL, instance=ITEM)
    world.at_effect(0, lambda: world.create(other))
    assert world.create(other, invoke_type="Manual").status is HTTPStatus.CONFLICT


# --- Helpers ---------------------------------------------------------------------------------------------------------


def _die() -> None:
    raise Killed


def _crashed_before_the_signal(world: JobsWorld) -> None:
    world.at_effect(1, _die)
    assert not world.survives(world.create)
    assert world.job().started_at is None
    assert world.state().owed is None
    world.undisturbed()


def _numbered(number: int) -> Call:
    return replace(CALL, instance=f"{number:08}-432d-4ee6-9c5f-31a1a6987072")


def _text(moment: datetime | None) -> str:
    assert moment
    return moment.isoformat().replace("+00:00", "Z")


def _code(answer: Answer) -> str:
    return str(json.loads(answer.body)["errorCode"])
