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
from tests.support.jobs_bench import (
    CALL,
    CONFIGURATION,
    INSTANCE,
    ITEM,
    OPTIMIZE,
    JobsBench,
    Killed,
    a_target,
    check,
    creation,
    settle,
)

TWO_HOURS = 7200


@pytest.fixture(name="bench")
def settled_bench() -> JobsBench:
    """Everything is fresh and quiet."""
    bench = JobsBench()
    settle(bench)
    return bench


# --- From creation to the end ----------------------------------------------------------------------------------------


def test_a_job_goes_from_creation_to_completed(bench: JobsBench) -> None:
    """Accepted, owed, run, done: with the times of its run, which began after it was accepted."""
    asked_at = bench.clock.now()
    answer = bench.create()
    assert (answer.status, answer.body) == (HTTPStatus.ACCEPTED, b"")
    bench.get()
    assert bench.told() == [{"status": "NotStarted", "startTimeUtc": _text(asked_at)}]
    bench.wait(TWO_HOURS, until_over=True)
    [run] = bench.fabric.runs
    assert run.created_at > asked_at
    assert "InProgress" in [state["status"] for state in bench.told()]
    assert bench.told()[-1] == {
        "status": "Completed",
        "startTimeUtc": _text(run.created_at),
        "endTimeUtc": _text(run.ended_at),
    }
    check(bench)
    assert [each.what for each in bench.events if each.what.startswith("job")] == ["job accepted", "job Completed"]


def test_a_run_that_it_shares_completes_it(bench: JobsBench) -> None:
    """Data, another item's job and this one are one refresh."""
    other = replace(CALL, item=CALL.item.replace("b", "c"))
    bench.blob()
    bench.create()
    bench.create(other)
    bench.wait(TWO_HOURS, until_over=True)
    bench.get(other)
    assert len(bench.fabric.runs) == 1
    assert bench.status == "Completed"


def test_a_run_that_was_going_on_does_not_complete_it(bench: JobsBench) -> None:
    """It may have read its sources before whatever the job is about."""
    bench.blob()
    bench.wait(60)
    [running] = bench.fabric.active()
    bench.create()
    bench.wait(TWO_HOURS, until_over=True)
    assert len(bench.fabric.runs) == 2
    assert bench.told()[-1]["startTimeUtc"] == _text(bench.fabric.runs[1].created_at)
    assert bench.fabric.run(running).phase is Phase.SUCCEEDED
    check(bench)


def test_a_failed_run_is_tried_again_before_the_job_has_failed(bench: JobsBench) -> None:
    """InProgress through two failures; the third succeeds."""
    bench.fabric.outcomes = [Phase.FAILED, Phase.FAILED]
    bench.create()
    bench.wait(TWO_HOURS, until_over=True)
    assert (len(bench.fabric.runs), bench.status) == (3, "Completed")
    check(bench)


def test_three_failed_runs_are_a_failed_job_and_forget_nothing(bench: JobsBench) -> None:
    """With the reason; the signal stays owed, and the next refresh that succeeds covers it."""
    bench.fabric.outcomes = [Phase.FAILED] * 3
    bench.create()
    bench.wait(TWO_HOURS, until_over=True)
    [state] = bench.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Failed", "RefreshFailed")
    assert "executor lost" in state["errorDetails"]["message"]
    assert (state["errorDetails"]["source"], state["errorDetails"]["isPermanent"]) == ("External", False)
    assert bench.state().owed
    bench.wait(TWO_HOURS)
    assert bench.fabric.runs[-1].phase is Phase.SUCCEEDED
    assert bench.state().owed is None
    check(bench)


def test_a_throttled_start_is_no_failure(bench: JobsBench) -> None:
    """It waits; and what was told to have started is never told to wait again."""
    bench.fabric.refusal = THROTTLED
    bench.create()
    bench.wait(900)
    assert bench.status in {"NotStarted", "InProgress"}
    bench.fabric.refusal = None
    bench.wait(TWO_HOURS, until_over=True)
    assert bench.status == "Completed"
    check(bench)


def test_a_claim_that_is_seen_and_given_back_stays_told(bench: JobsBench) -> None:
    """A poll between the claim and its refusal says InProgress, and so do those after it."""
    bench.fabric.refusal = BUSY
    bench.create()
    seen: list[str] = []

    def poll_after_the_claim(_: int, what: str) -> None:
        state = bench.state()
        if what == "after a save" and state.run and not seen:
            seen.append("claimed")
            bench.get()

    bench.on_effect = poll_after_the_claim
    bench.wait(60, poll=False)
    assert (seen, bench.status, bench.state().run) == (["claimed"], "InProgress", None)
    bench.get()
    assert bench.status == "InProgress"
    check(bench)


@pytest.mark.parametrize("invoke_type", ["Scheduled", "Manual", "OnceInABlueMoon"])
def test_a_blocked_target_fails_the_job_with_the_reason(bench: JobsBench, invoke_type: str) -> None:
    """What a person must repair; whoever asks by hand has it tried at once."""
    bench.fabric.refusal = DENIED
    bench.blob()
    bench.wait(120, poll=False)
    refused = bench.fabric.refused
    bench.create(invoke_type=invoke_type)
    assert (bench.fabric.refused == refused + 1) is (invoke_type == "Manual")
    bench.get()
    [state] = bench.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Failed", "TargetBlocked")
    assert state["errorDetails"]["message"] == "Code: words"
    assert state["errorDetails"]["isPermanent"]
    check(bench)


@pytest.mark.parametrize(("probe_at", "failed"), [(0, False), (0.1, True)])
def test_a_block_whose_probe_is_due_does_not_fail_the_job(probe_at: float, failed: bool) -> None:
    """What it was about may be repaired by now: the probe decides."""
    job = Job("key", "place", "request", at(-60), "Scheduled")
    state = State(owed=Owed(at(-60), at(-60), jobs={"j": at(-60)}), hold=Blocked(at(-600), "denied", at(probe_at)))
    stands = standing_of("j", job, state, [], NOON, gone=False)
    assert stands.step is Step.NONE
    assert (stands.final is not None) is failed


def test_a_permission_that_was_repaired_completes_the_job_asked_for_by_hand(bench: JobsBench) -> None:
    """The hour between two probes is not waited for."""
    bench.fabric.refusal = DENIED
    bench.blob()
    bench.wait(120, poll=False)
    bench.fabric.refusal = None
    bench.create(invoke_type="Manual")
    bench.wait(600, until_over=True)
    assert bench.status == "Completed"
    check(bench)


def test_a_paused_target_lets_its_jobs_wait(bench: JobsBench) -> None:
    """Nothing is started, nothing forgotten: G7."""
    bench.put(replace(bench.state(), hold=Paused(NOON)))
    bench.create()
    bench.wait(3600)
    assert (bench.status, bench.fabric.runs) == ("NotStarted", [])


def test_a_target_that_is_gone_fails_its_job(bench: JobsBench) -> None:
    """Once the planning of the new configuration has seen that nobody names it."""
    bench.create()
    bench.configuration = Configuration((OPTIMIZE,), workload=CONFIGURATION.workload)
    bench.get()
    assert bench.status == "NotStarted"
    Sweep(bench.engine).tick()
    bench.get()
    assert (bench.status, bench.told()[-1]["errorDetails"]["errorCode"]) == ("Failed", "TargetRemoved")
    check(bench)


def test_a_job_that_a_worker_of_another_configuration_cannot_signal_waits_for_one_that_can(bench: JobsBench) -> None:
    """An error that Fabric may ask again after, and the job is as it was."""
    _crashed_before_the_signal(bench)
    known, bench.configuration = bench.configuration, Configuration((OPTIMIZE,), workload=CONFIGURATION.workload)
    with pytest.raises(LookupError):
        bench.get()
    bench.configuration = known
    bench.get()
    assert bench.status == "NotStarted"
    assert bench.state().owed


def test_a_person_who_cancels_the_refresh_cancels_the_job(bench: JobsBench) -> None:
    """On the platform, not by Fabric's job: Cancelled, with that reason; the signal stays owed, held."""
    bench.create()
    bench.wait(60)
    [run] = bench.fabric.runs
    run.phase, run.ended_at = Phase.CANCELLED, bench.clock.now()
    bench.wait(TWO_HOURS, until_over=True)
    [state] = bench.told()[-1:]
    assert (state["status"], state["errorDetails"]["errorCode"]) == ("Cancelled", "CancelledOnPlatform")
    assert isinstance(bench.state().hold, Cancelled)
    assert bench.state().owed
    bench.create()
    assert isinstance(bench.state().hold, Cancelled), "a create that is repeated lifts nothing"
    check(bench)


# --- Creating again, and at once -------------------------------------------------------------------------------------


def test_the_same_request_again_is_the_same_answer(bench: JobsBench) -> None:
    """At any time, also after the end, and however its body is spaced: one job, one run."""
    first = bench.create()
    saves = bench.store.load(a_target().key).version
    assert bench.create() == first
    assert bench.store.load(a_target().key).version == saves
    bench.wait(TWO_HOURS, until_over=True)
    assert bench.create() == first
    assert len(bench.fabric.runs) == 1


def test_another_request_with_the_same_id_is_a_conflict(bench: JobsBench) -> None:
    """Another body, another place: 409, and the job is as it was."""
    bench.create()
    before = bench.job()
    other_job = replace(CALL, job_type="Contoso.Views.Sales.Optimize")
    for answer in (
        bench.create(invoke_type="Manual"),
        bench.create(full=False),
        bench.create(other_job),
        bench.create(replace(CALL, tenant="other")),
    ):
        assert answer.status is HTTPStatus.CONFLICT
        assert _code(answer) == "JobInstanceConflict"
    assert bench.job() == before


def test_many_at_once_are_one_job(bench: JobsBench) -> None:
    """Eight workers get the same create in the same moment: eight times 202, one job, one run."""
    barrier = Barrier(8)

    def ask(_: int) -> HTTPStatus:
        barrier.wait()
        return Jobs(bench.configuration, bench.engine, bench.ports).create(CALL, creation()).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {HTTPStatus.ACCEPTED}
    bench.wait(TWO_HOURS, until_over=True)
    assert (len(bench.fabric.runs), bench.status) == (1, "Completed")


def test_a_repeated_create_passes_no_bound(bench: JobsBench) -> None:
    """Jobs whose records are there, but not their signals, are not signalled beyond the bound: the target's record
    would grow until no store takes it. They are told to come again, and their turn comes when there is room.
    """
    for number in range(JOBS_OPEN_MOST):
        bench.create(_numbered(number))
    for number in range(JOBS_OPEN_MOST, JOBS_OPEN_MOST + 50):
        late = _numbered(number)
        job = Job(a_target().key, late.place, creation().digest, bench.clock.now(), "Manual")
        bench.store.save(Document(records.job_key(late.item, late.instance)), records.write(job), None)
        assert bench.create(late).status is HTTPStatus.TOO_MANY_REQUESTS
        assert json.loads(bench.get(late).body)["status"] == "NotStarted"
    assert len(bench.store.load(a_target().key).body) < 10_000
    bench.wait(600, poll=False)
    assert bench.create(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.ACCEPTED


def test_open_jobs_are_bounded(bench: JobsBench) -> None:
    """429 beyond that, which Fabric may ask again after; the job that is there already is still the same."""
    for number in range(JOBS_OPEN_MOST):
        assert bench.create(_numbered(number)).status is HTTPStatus.ACCEPTED
    refused = bench.create(_numbered(JOBS_OPEN_MOST))
    assert (refused.status, _code(refused)) == (HTTPStatus.TOO_MANY_REQUESTS, "TooManyJobs")
    assert refused.headers == {"Retry-After": "60"}
    assert not json.loads(refused.body)["isPermanent"]
    assert bench.get(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.NOT_FOUND
    assert bench.create(_numbered(0)).status is HTTPStatus.ACCEPTED
    assert len(bench.store.load(a_target().key).body) < 10_000
    bench.wait(600, poll=False)
    assert bench.create(_numbered(JOBS_OPEN_MOST)).status is HTTPStatus.ACCEPTED
    assert len(bench.fabric.runs) == 1


def test_what_cannot_be_given_is_refused_and_nothing_is_stored(bench: JobsBench) -> None:
    """A job that nobody configured, a full refresh that the platform does not know, other data than the target's."""
    optimize = replace(CALL, job_type="Contoso.Views.Sales.Optimize")
    answers = [
        bench.create(replace(CALL, job_type="Other")),
        bench.create(replace(CALL, item_type="Other")),
        bench.create(replace(optimize, item=INSTANCE)),  # only for one item
        bench.create(full=True),
        bench.create(executionData={"tableName": "orders"}),
        bench.create(optimize, executionData={"tableName": "customers"}),
    ]
    assert [(answer.status.value, _code(answer)) for answer in answers] == [
        *[(404, "JobTypeNotConfigured")] * 3,
        *[(400, "UnsupportedPayload")] * 3,
    ]
    assert bench.get().status is HTTPStatus.NOT_FOUND
    assert bench.create(optimize, full=False, executionData={"tableName": "orders"}).status is HTTPStatus.ACCEPTED


def test_a_job_is_only_to_be_seen_where_it_was_created(bench: JobsBench) -> None:
    """Another workspace, type, item or tenant: 404, as for a job that never was; a cancel from there does nothing."""
    bench.create()
    elsewhere = [
        replace(CALL, workspace=ITEM),
        replace(CALL, item_type="Other"),
        replace(CALL, item=INSTANCE),
        replace(CALL, job_type="Other"),
        replace(CALL, tenant="other"),
        replace(CALL, instance=ITEM),
    ]
    for call in elsewhere:
        for answer in (bench.get(call), bench.cancel(call)):
            assert (answer.status, _code(answer)) == (HTTPStatus.NOT_FOUND, "JobInstanceNotFound")
    assert bench.job().cancel_asked_at is None


def test_a_configuration_without_workload_knows_no_job(bench: JobsBench) -> None:
    """The endpoints are not there; should one be asked all the same, nobody said what to refresh."""
    bench.configuration = Configuration((a_target(),))
    assert bench.create().status is HTTPStatus.NOT_FOUND


def test_a_target_of_one_item_goes_before_that_of_any(bench: JobsBench) -> None:
    """Two lines of `[workload]` for one job type."""
    jobs = (WorkloadJob("I", "J", "sales"), WorkloadJob("I", "J", "optimize", ITEM))
    bench.configuration = Configuration(CONFIGURATION.targets, workload=Workload(jobs))
    bench.create(replace(CALL, item_type="I", job_type="J"))
    assert bench.state("optimize").owed
    bench.create(replace(CALL, item_type="I", job_type="J", item=INSTANCE))
    assert bench.state().owed


# --- Cancelling ------------------------------------------------------------------------------------------------------


def test_a_job_that_is_owed_is_cancelled_at_once(bench: JobsBench) -> None:
    """Nothing runs for it, ever; and asked again, the answer is the same."""
    bench.create()
    bench.cancel()
    assert bench.status == "Cancelled"
    assert bench.state().owed is None
    bench.wait(600)
    bench.cancel()
    assert bench.create().status is HTTPStatus.ACCEPTED
    bench.wait(600)
    assert bench.fabric.runs == []
    check(bench)


def test_a_run_of_its_own_is_cancelled_on_the_platform(bench: JobsBench) -> None:
    """InProgress until that has really ended; then Cancelled, at the time of that end, and nothing is held."""
    bench.create()
    bench.wait(60)
    bench.cancel()
    assert (bench.status, bench.fabric.cancels) == ("InProgress", ["r1"])
    ended_at = bench.fabric.runs[0].ended_at
    bench.wait(TWO_HOURS, until_over=True)
    assert bench.told()[-1]["endTimeUtc"] == _text(ended_at)
    assert (bench.status, bench.fabric.active()) == ("Cancelled", ())
    state = bench.state()
    assert (state.failures, state.hold, state.owed, state.not_before) == (0, None, None, None)
    check(bench)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_others_share_goes_on(bench: JobsBench, before: bool) -> None:
    """Cancelled is told at once: the job's own signal is withdrawn, and that is all."""
    bench.create()
    if before:
        bench.blob()
    bench.wait(60)
    if not before:
        bench.blob()  # late, but before the claim by its own time: it does not join, and so the run is the job's alone
    bench.cancel()
    bench.wait(TWO_HOURS)
    assert bench.status == "Cancelled"
    assert [run.phase for run in bench.fabric.runs if run.phase is Phase.SUCCEEDED]
    assert bench.fabric.cancels == ([] if before else ["r1"])
    assert bench.state().owed is None
    check(bench)


def test_a_job_that_has_completed_stays_so(bench: JobsBench) -> None:
    """Its cancel is answered with the truth."""
    bench.create()
    bench.wait(TWO_HOURS, until_over=True)
    bench.cancel()
    assert bench.status == "Completed"
    check(bench)


def test_a_cancel_that_came_too_late_loses_honestly(bench: JobsBench) -> None:
    """The run ended well on the platform before our cancel reached it: Completed."""
    bench.create()
    bench.wait(60)
    [run] = bench.fabric.runs
    run.phase, run.ended_at = Phase.SUCCEEDED, bench.clock.now()
    bench.cancel()
    bench.wait(TWO_HOURS, until_over=True)
    assert (bench.status, bench.fabric.cancels) == ("Completed", ["r1"])
    check(bench)


@pytest.mark.parametrize("lost", [True, False])
def test_a_cancel_before_the_signal_is_heeded(bench: JobsBench, lost: bool) -> None:
    """A create that died, or is slow, between its record and its signal: cancelled meanwhile, it starts nothing."""
    if lost:
        _crashed_before_the_signal(bench)
        bench.cancel()
    else:
        bench.at_effect(1, bench.cancel)
        bench.create()
    assert bench.status == "Cancelled"
    bench.undisturbed()
    bench.create()
    bench.wait(600)
    assert (bench.state().owed, bench.fabric.runs) == (None, [])
    check(bench)


# --- Whoever dies when -----------------------------------------------------------------------------------------------


def _run_through(bench: JobsBench, *, cancel_after: float | None) -> None:
    """A create that is asked again until it is answered, perhaps a cancel, likewise, and polls until it is over."""
    while not bench.survives(bench.create):
        bench.wait(10)
    if cancel_after is not None:
        bench.wait(cancel_after)
        while not bench.survives(bench.cancel):
            bench.wait(10)
    bench.wait(TWO_HOURS, until_over=True)


@pytest.mark.parametrize("cancel_after", [None, 5, 60, 130])
def test_whoever_dies_at_whatever_effect_the_promises_hold(cancel_after: float | None) -> None:
    """Once for each effect between the creation and the end: the worker at it dies, and Fabric asks again.

    Completed, if a run that began after the creation succeeded; Cancelled, if nothing runs any more.
    """
    died = 0
    for number in count():
        bench = JobsBench()
        settle(bench)
        asked_at = bench.clock.now()
        bench.at_effect(number, _die)
        _run_through(bench, cancel_after=cancel_after)
        if not bench.came:
            break  # there are no more effects
        died += 1
        check(bench)
        good = [run for run in bench.fabric.runs if run.phase is Phase.SUCCEEDED and run.created_at > asked_at]
        assert bench.status in ({"Completed"} if cancel_after is None else {"Completed", "Cancelled"}), number
        if bench.status == "Completed":
            assert good, number
        else:
            bench.wait(1200)
            assert bench.fabric.active() == (), number
            assert len(bench.fabric.runs) <= 2, number
        assert bench.state().owed is None
    assert died > 8


@pytest.mark.parametrize("cancel_after", [5, 60, 130])
@pytest.mark.parametrize("rival", ["create", "get", "cancel", "tick"])
def test_whoever_comes_between_at_whatever_effect_the_promises_hold(cancel_after: float, rival: str) -> None:
    """Once for each read and effect: another worker gets this call just then, is done, and the first one goes on."""
    for number in count():
        bench = JobsBench()
        settle(bench)
        calls: dict[str, Callable[[], object]] = {
            "create": bench.create,
            "get": bench.get,
            "cancel": bench.cancel,
            "tick": Sweep(bench.engine).tick,
        }
        bench.at_effect(number, calls[rival], at_reads=True)
        _run_through(bench, cancel_after=cancel_after)
        if not bench.came:
            break
        check(bench)
        assert bench.status in {"Completed", "Cancelled"}, number
        bench.wait(1200)
        assert bench.fabric.active() == (), number
        assert bench.state().owed is None, number
    assert number > 8


def test_a_cancel_at_whatever_moment_of_a_create_leaves_nothing_to_run() -> None:
    """Also between the create's look at the job and its signal, which then is taken back."""
    for number in count():
        bench = JobsBench()
        settle(bench)
        bench.at_effect(number, bench.cancel, at_reads=True)
        assert bench.create().status is HTTPStatus.ACCEPTED
        if not bench.came:
            break
        if bench.told():  # the job was there to be cancelled
            assert bench.status == "Cancelled"
            bench.wait(900)
            assert (bench.fabric.runs, bench.state().owed) == ([], None), number
            check(bench)
    assert number > 8


def test_a_success_at_whatever_moment_of_a_poll_is_no_reason_to_refresh_again() -> None:
    """The target's record is read before its history: what left the one is in the other."""
    for number in count():
        bench = JobsBench()
        settle(bench)
        bench.create()
        bench.wait(60)
        bench.clock.time += timedelta(minutes=5)
        bench.at_effect(number, Sweep(bench.engine).tick, at_reads=True)
        bench.get()
        if not bench.came:
            break
        bench.undisturbed()
        bench.get()
        assert bench.status == "Completed", number
        bench.wait(900)
        assert len(bench.fabric.runs) == 1, number
        check(bench)
    assert number > 2


def test_an_end_that_was_told_at_whatever_moment_of_a_poll_stays() -> None:
    """One poll saw the target blocked and told so; one that was slower saw it as it was before."""
    for number in count():
        bench = JobsBench()
        settle(bench)
        bench.create()
        fine = bench.state()

        def blocked(bench: JobsBench = bench, fine: State = fine) -> None:
            bench.put(replace(fine, hold=Blocked(bench.clock.now(), "denied", bench.clock.now() + timedelta(hours=1))))
            bench.get()
            bench.put(fine)

        bench.at_effect(number, blocked, at_reads=True)
        bench.get()
        if not bench.came:
            break
        bench.undisturbed()
        bench.wait(600)
        assert "Failed" in [state["status"] for state in bench.told()], number
        assert bench.status == "Failed", number
    assert number > 2


@pytest.mark.parametrize("seed", range(150))
def test_in_any_history_states_only_go_forward(seed: int) -> None:
    """Deaths, failures, data, cancels and workers of an older release, at random; it ends, and it ended as told."""
    random = Random(seed)
    bench = JobsBench()
    settle(bench)
    asked_at = bench.clock.now()
    bench.fabric.outcomes = [random.choice([Phase.SUCCEEDED, Phase.FAILED]) for _ in range(3)]
    bench.on_effect = lambda _number, _what: _die() if random.random() < 0.04 else None
    while not bench.survives(bench.create):
        bench.wait(10)
    for _ in range(random.randrange(12)):
        may_call: list[Callable[[], object]] = [bench.blob, bench.get, bench.create, bench.forget_jobs, bench.cancel]
        act = random.choice(may_call)
        if act != bench.cancel or random.random() < 0.5:
            bench.survives(act)
        bench.wait(random.choice([5, 30, 120]))
    bench.undisturbed()
    bench.wait(2 * TWO_HOURS, until_over=True)
    check(bench)
    assert bench.is_over
    if bench.status == "Completed":
        assert any(run.phase is Phase.SUCCEEDED and run.created_at > asked_at for run in bench.fabric.runs)
    bench.wait(TWO_HOURS)
    check(bench)
    assert (bench.state().owed, bench.fabric.active()) == (None, ())


def test_a_job_that_an_older_release_dropped_is_signalled_again(bench: JobsBench) -> None:
    """It writes the record as it knows it; the next poll sees to it."""
    bench.create()
    bench.forget_jobs()
    bench.get()
    assert (bench.status, list(bench.state().owed.jobs)) == ("NotStarted", [INSTANCE])  # type: ignore[union-attr]
    bench.wait(TWO_HOURS, until_over=True)
    assert bench.status == "Completed"


# --- Records ---------------------------------------------------------------------------------------------------------


def test_the_record_of_a_job_is_forgotten_after_a_week(bench: JobsBench) -> None:
    """By a tick; until then it is looked at by nobody, and the planning of a new configuration passes it over."""
    bench.create()
    bench.configuration = Configuration((a_target(), a_target("other")), workload=CONFIGURATION.workload)
    bench.wait(300)
    assert bench.status == "Completed"
    key = records.job_key(ITEM, INSTANCE)
    bench.clock.time += KEPT - seconds(600)
    Sweep(bench.engine).tick()
    assert bench.store.load(key).body
    bench.clock.time += seconds(600)
    Sweep(bench.engine).tick()
    assert bench.store.load(key) == Document(key)
    assert bench.get().status is HTTPStatus.NOT_FOUND
    assert bench.create().status is HTTPStatus.ACCEPTED
    assert bench.status == "Completed"
    bench.get()
    assert bench.status == "NotStarted", "lines about the job of that id before it do not count"


def test_a_record_that_changes_while_it_is_to_be_forgotten_stays(
    bench: JobsBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next tick sees it again; and one that somebody else removed is gone."""
    bench.create()
    bench.clock.time += KEPT + seconds(1)
    key = records.job_key(ITEM, INSTANCE)

    def moved_on(document: Document) -> None:
        raise Conflict(document.key)

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "remove", moved_on)
        Sweep(bench.engine).tick()
    assert bench.store.load(key).body
    monkeypatch.setattr(bench.store, "load", Document)
    Sweep(bench.engine)._expire(key)


def test_a_long_history_is_read_as_far_as_it_takes(bench: JobsBench) -> None:
    """A target that is refreshed every minute has many lines before Fabric asks again."""
    bench.create()
    bench.wait(300, poll=False)
    for number in range(3 * LINES_AT_FIRST):
        claimed_at = bench.clock.now() + timedelta(minutes=number)
        line = Ended(f"x{number}", Outcome.SUCCEEDED, claimed_at, claimed_at)
        entry_id = f"{claimed_at:%Y%m%dT%H%M%S.%fZ}-{line.token}"
        bench.store.append(a_target().key, entry_id, records.write(line), at(10**8))
    bench.clock.time += timedelta(hours=5)
    bench.get()
    assert bench.status == "Completed"


@pytest.mark.parametrize("what", ["job's", "target's"])
def test_a_record_that_never_stands_still_is_given_back(
    bench: JobsBench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After so many turns: Fabric asks again, and nothing is lost."""
    bench.create()
    if what == "job's":
        save = bench.store.save

        def contended(document: Document, body: bytes, wake_at: object) -> Document:
            if records.is_job(document.key):
                raise Conflict(document.key)
            return save(document, body, wake_at)  # type: ignore[arg-type]

        monkeypatch.setattr(bench.store, "save", contended)
        with pytest.raises(ContendedError, match=f"moved on {ATTEMPTS} times"):
            bench.cancel()
        return
    for _ in range(2):
        bench.forget_jobs()
    monkeypatch.setattr(Jobs, "_take", lambda *_: None)
    with pytest.raises(ContendedError, match="did not settle"):
        bench.get()


def test_a_create_that_lost_the_race_answers_with_what_is_there(bench: JobsBench) -> None:
    """Between reading that there is none, and writing: somebody else's create, of the same or of another body."""
    bench.at_effect(0, bench.create)
    assert bench.create().status is HTTPStatus.ACCEPTED
    other = replace(CALL, instance=ITEM)
    bench.at_effect(0, lambda: bench.create(other))
    assert bench.create(other, invoke_type="Manual").status is HTTPStatus.CONFLICT


# --- Helpers ---------------------------------------------------------------------------------------------------------


def _die() -> None:
    raise Killed


def _crashed_before_the_signal(bench: JobsBench) -> None:
    bench.at_effect(1, _die)
    assert not bench.survives(bench.create)
    assert bench.job().started_at is None
    assert bench.state().owed is None
    bench.undisturbed()


def _numbered(number: int) -> Call:
    return replace(CALL, instance=f"{number:08}-432d-4ee6-9c5f-31a1a6987072")


def _text(moment: datetime | None) -> str:
    assert moment
    return moment.isoformat().replace("+00:00", "Z")


def _code(answer: Answer) -> str:
    return str(json.loads(answer.body)["errorCode"])
