"""A job of Fabric's is a signal with an id: the three calls on the loop, and what Fabric may be told of a job.

    create:  job's record -> signal, owed -> 202        a crash between: the next create or get signals it
    cancel:  intent in the job's record -> withdrawn -> the true state        ... or withdraws it
    get:     job's record, target's record, then the history -> the state

Where a job stands is worked out from what the loop did anyway. Its own record keeps what Fabric was told: that it
started, and how it ended. So nothing that was told is taken back, and nothing hangs on the process that accepted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from http import HTTPStatus

from msgspec.structs import replace

from shared.redaction import plain
from shared.refresh import records
from shared.refresh.engine import Engine, LogEvent, Ports
from shared.refresh.inputs import Input, ProbeAsked, Signalled, Withdrawn
from shared.refresh.machine import open_jobs
from shared.refresh.owed import JOBS_OPEN_MOST
from shared.refresh.ports import ATTEMPTS, Conflict, ContendedError, Document
from shared.refresh.state import Blocked, Ended, Outcome, Signal, State
from shared.refresh.timing import CLOCK_DIFFERENCE
from shared.targets import Target
from shared.values import Value
from shared.workload.api import (
    Answer,
    Call,
    Creation,
    JobState,
    JobTargets,
    Problem,
    Source,
    refuse,
    refuse_for_now,
    refuse_unfit,
    refuse_unknown_job,
    target_of,
)
from shared.workload.job import Final, Job, JobStatus, read_job

KEPT = timedelta(days=7)
"""How long a job's record is kept. Fabric gives a job up that has not started after two hours (monitoring hub)."""
RUNS_TRIED = 3
"""Runs that failed before a job has failed. With the backoff between them that is some minutes, and the time of three
runs: what fails so often does not pass by itself. The signal stays owed all the same, and is tried again."""
LINES_AT_FIRST, LINES_AT_MOST = 50, 5000
"""Lines of history that are read for one job: mostly the first few; with a run every second some more."""


class Step(StrEnum):
    """The step that is missing before a job's state can be told: a crash, or an older release, left it out."""

    NONE = "none"
    SIGNAL = "signal"
    WITHDRAW = "withdraw"


class JobStanding(Value, frozen=True):
    """Where a job stands, and what must be done first to stand there."""

    step: Step
    started_at: datetime | None = None
    final: Final | None = None


# --- What may be told: a pure function -------------------------------------------------------------------------------


def standing_of(
    instance: str, job: Job, state: State, lines: Sequence[Ended], now: datetime, *, gone: bool
) -> JobStanding:
    """Where a job stands that has not ended yet. The history must have been read after the target's record.

    A job leaves the record only after its line is in the history; so one that is in neither was never signalled.
    `gone`: the configuration does not name its target any more.
    """
    mine = [line for line in lines if instance in line.jobs]
    started_at = _first_claim(instance, state, mine)
    here = partial(JobStanding, started_at=started_at)
    is_open = instance in open_jobs(state)
    for outcome, status, error in _TOLD:
        ends = [line for line in mine if line.outcome is outcome]
        if ends and (outcome is Outcome.SUCCEEDED or not job.cancel_asked_at):
            return here(Step.NONE, final=Final(status, ends[0].ended_at, error))
    if job.cancel_asked_at:
        if is_open:
            return here(Step.WITHDRAW)
        is_ending = state.run is not None and instance in state.run.withdrawn
        return here(Step.NONE, final=None if is_ending else _cancel_end(mine, job.cancel_asked_at))
    if not is_open and not gone and len(_failures(mine)) < RUNS_TRIED:
        return here(Step.SIGNAL)
    return here(Step.NONE, final=_given_up(state, mine, now, gone=gone))


_TOLD = (
    (Outcome.SUCCEEDED, JobStatus.COMPLETED, None),
    (
        Outcome.CANCELLED,
        JobStatus.CANCELLED,
        ("CancelledOnPlatform", "Somebody cancelled the refresh on the platform."),
    ),
)
"""Ends of runs that are ends of their jobs, with the error that Fabric shows. A success counts even if a cancel was
asked for: it came too late. A failure is missing here: a job fails only after `RUNS_TRIED` of them (`_given_up`)."""


def _first_claim(instance: str, state: State, mine: Sequence[Ended]) -> datetime | None:
    """When a run was first claimed that was to cover the job: from then on Fabric is told `InProgress`."""
    claims = [line.claimed_at for line in mine]
    run = state.run
    if run and instance in (*run.withdrawn, *(run.covering.jobs if run.covering else ())):
        claims.append(run.claimed_at)
    return min(claims, default=None)


def _cancel_end(mine: Sequence[Ended], asked_at: datetime) -> Final:
    """The end of a job whose signal was taken back: when its run ended, or, if none had begun, when the cancel came."""
    ends = [line.ended_at for line in mine if line.outcome is Outcome.CANCELLED]
    return Final(JobStatus.CANCELLED, max(ends, default=asked_at), ("Cancelled", "The job was cancelled."))


def _failures(mine: Sequence[Ended]) -> list[Ended]:
    """Runs for the job that failed. Those that were cancelled or lost count for nothing: they are tried again."""
    return [line for line in mine if line.outcome is Outcome.FAILED]


def _given_up(state: State, mine: Sequence[Ended], now: datetime, *, gone: bool) -> Final | None:
    """Why a job has failed, if it has. A block whose probe is due, or on its way, may be over: that decides."""
    failures = _failures(mine)
    if len(failures) >= RUNS_TRIED:
        last = failures[-RUNS_TRIED]  # the newest is the first
        reason = f"{RUNS_TRIED} refreshes failed, the last one with: {last.error}"
        return Final(JobStatus.FAILED, last.ended_at, ("RefreshFailed", reason))
    if isinstance(state.hold, Blocked) and state.hold.probe_at > now:
        return Final(JobStatus.FAILED, now, ("TargetBlocked", state.hold.reason))
    reason = "The configuration does not name its target any more."
    return Final(JobStatus.FAILED, now, ("TargetRemoved", reason)) if gone else None


def state_of(job: Job) -> JobState:
    """A job's record as Fabric sees it."""
    started_at = job.started_at or job.accepted_at
    if job.final is None:
        return JobState(JobStatus.IN_PROGRESS if job.started_at else JobStatus.NOT_STARTED, started_at)
    final = job.final
    problem = _problem(*final.error) if final.error else None
    return JobState(final.status, started_at, max(started_at, final.ended_at), problem)


def _problem(code: str, reason: str) -> Problem:
    source, permanent = _FAULTS[code]
    return Problem(code, plain(reason), source, permanent, (plain(reason),))


_FAULTS: Mapping[str, tuple[Source, bool]] = {
    "RefreshFailed": (Source.EXTERNAL, False),
    "TargetBlocked": (Source.USER, True),  # until somebody repairs it
    "TargetRemoved": (Source.USER, True),
    "CancelledOnPlatform": (Source.USER, False),
    "Cancelled": (Source.USER, False),
}


# --- The three calls -------------------------------------------------------------------------------------------------


class Jobs:
    """Fabric's jobs on one engine. Raises what `Engine.reconcile` raises: nothing is known then, Fabric asks again."""

    def __init__(self, configuration: JobTargets, engine: Engine, ports: Ports) -> None:
        self._configuration = configuration
        self._engine = engine
        self._ports = ports

    def create(self, call: Call, creation: Creation) -> Answer:
        """202 once the job is stored and its signal is owed; the same again is the same, anything else is 409."""
        target = target_of(self._configuration, call)
        if target is None:
            return refuse_unknown_job(call)
        misfit = refuse_unfit(target, creation.payload)
        if misfit:
            return misfit
        known = self._load_job(call) or self._store_new(call, creation, target)
        if isinstance(known, Answer):
            return known
        if (known.place, known.request) != (call.place, creation.digest):
            message = "There is a job with this id already, and it was created by another request."
            return refuse(HTTPStatus.CONFLICT, "JobInstanceConflict", message, call.instance)
        settled = self._settle(call)
        if settled.final is None and self._waits_for_room(call, settled):
            return _refuse_for_room(target)
        return Answer(HTTPStatus.ACCEPTED)

    def get(self, call: Call) -> Answer:
        """200 with the state, also of a job that failed."""
        job = self._load_job(call)
        if job is None or job.place != call.place:
            return _refuse_unknown(call)
        return Answer(HTTPStatus.OK, state_of(self._settle(call)))

    def cancel(self, call: Call) -> Answer:
        """200 with the true state: Cancelled once it is, InProgress while its run goes on, or how it ended before."""
        job = self._load_job(call)
        if job is None or job.place != call.place:
            return _refuse_unknown(call)
        if job.final is None and job.cancel_asked_at is None:
            now = self._ports.clock.now()
            self._change(call, lambda job: replace(job, cancel_asked_at=job.cancel_asked_at or now))
        return Answer(HTTPStatus.OK, state_of(self._settle(call)))

    # --- The job's record

    def _load_job(self, call: Call) -> Job | None:
        document = self._document(call)
        return read_job(document.body) if document.body else None

    def _document(self, call: Call) -> Document:
        return self._ports.store.load(records.job_key(call.item, call.instance))

    def _store_new(self, call: Call, creation: Creation, target: Target) -> Job | Answer:
        """Create a job's record, or read the record that another worker created first."""
        if self._is_full(target.key):
            return _refuse_for_room(target)
        now = self._ports.clock.now()
        job = Job(target.key, call.place, creation.digest, now, creation.invoke_type, creation.payload.full)
        absent = Document(records.job_key(call.item, call.instance))
        try:
            self._ports.store.save(absent, records.write(job), now + KEPT)
        except Conflict:
            return self._load_job(call) or job
        return job

    def _change(self, call: Call, change: Callable[[Job], Job]) -> Job:
        """Change the record, unless it says already how the job ended."""
        for _ in range(ATTEMPTS):
            document = self._document(call)
            before = read_job(document.body)
            after = before if before.final else change(before)
            if after == before:
                return before
            try:
                self._ports.store.save(document, records.write(after), after.accepted_at + KEPT)
            except Conflict:
                continue
            return after
        message = f"the record of job {call.instance} moved on {ATTEMPTS} times"
        raise ContendedError(message)

    # --- What became of it

    def _settle(self, call: Call) -> Job:
        """The job's record, brought up to what is true now; what was left undone is done first."""
        for _ in range(ATTEMPTS):
            job = read_job(self._document(call).body)
            if job.final:
                return job
            stands = self._load_standing(call, job)
            if stands.step is Step.NONE:
                return self._note_standing(call, job, stands)
            if stands.step is Step.SIGNAL and self._is_full(job.target):
                return job  # not started: it is signalled when Fabric asks again and there is room
            self._take(call, job, stands.step)
        message = f"job {call.instance} did not settle in {ATTEMPTS} turns"
        raise ContendedError(message)

    def _is_full(self, key: str) -> bool:
        return len(open_jobs(self._state(key))) >= JOBS_OPEN_MOST

    def _waits_for_room(self, call: Call, job: Job) -> bool:
        """Whether the job is known and its signal is not, because the target has as many jobs as its record can hold.

        The bound stands before every signal, that of a repeated create included: a record that grows past what the
        store takes could not be changed any more.
        """
        return self._is_full(job.target) and self._load_standing(call, job).step is Step.SIGNAL

    def _load_standing(self, call: Call, job: Job) -> JobStanding:
        """Judge where a job stands: the target's record is read before its history."""
        state = self._state(job.target)
        gone = job.target not in self._engine.targets and bool(state.planned_until) and not state.definition
        lines = self._lines(job)
        return standing_of(call.instance, job, state, lines, self._ports.clock.now(), gone=gone)

    def _note_standing(self, call: Call, job: Job, stands: JobStanding) -> Job:
        after = self._change(
            call,
            lambda job: replace(job, started_at=job.started_at or stands.started_at, final=stands.final),
        )
        if after.final and not job.final:
            reason = after.final.error[1] if after.final.error else ""
            self._emit(job, f"job {after.final.status}", {"job": call.instance, "reason": reason})
        return after

    def _take(self, call: Call, job: Job, step: Step) -> None:
        target = self._engine.targets.get(job.target)
        if target is None:
            raise LookupError(f"the configuration of this function does not know the target of job {call.instance}")
        self._engine.reconcile(target, _inputs_of(call, job, step, self._ports.clock.now()))
        if step is Step.SIGNAL and read_job(self._document(call).body).cancel_asked_at:
            self._engine.reconcile(
                target, (Withdrawn(call.instance),)
            )  # the cancel was told so already, before our signal
        what = {Step.SIGNAL: "job accepted", Step.WITHDRAW: "job withdrawn"}[step]
        self._emit(job, what, {"job": call.instance, "invoke_type": plain(job.invoke_type, 100)})

    def _state(self, key: str) -> State:
        return records.read_state(self._ports.store.load(key).body)

    def _lines(self, job: Job) -> list[Ended]:
        """The lines since the job was accepted: as many as it takes, but not without end.

        A signal without a source's time is covered by a run that is claimed after it, by clocks that may differ.
        """
        since = job.accepted_at - CLOCK_DIFFERENCE
        limit = LINES_AT_FIRST
        while True:
            lines = [records.read_ended(body) for body in self._ports.store.history(job.target, limit)]
            if len(lines) < limit or lines[-1].claimed_at < since or limit >= LINES_AT_MOST:
                return [line for line in lines if line.claimed_at >= since]
            limit *= 10

    def _emit(self, job: Job, what: str, fields: Mapping[str, str]) -> None:
        target = self._engine.targets.get(job.target)
        self._ports.emit(LogEvent(what, target.name if target else job.target, self._ports.clock.now(), fields))


def _inputs_of(call: Call, job: Job, step: Step, now: datetime) -> tuple[Input, ...]:
    """A person's job probes a blocked target at once, as `unstale refresh` does; a schedule's waits for its probe."""
    if step is Step.WITHDRAW:
        return (Withdrawn(call.instance),)
    reason = f"Fabric job {call.instance} ({plain(job.invoke_type, 30)})"
    signal = Signalled(Signal(now, reason, full=job.full, asked=True, job=call.instance))
    return (signal, ProbeAsked()) if job.invoke_type == "Manual" else (signal,)


def _refuse_for_room(target: Target) -> Answer:
    message = f"{JOBS_OPEN_MOST} jobs wait for a refresh of {target.name} already."
    return refuse_for_now(HTTPStatus.TOO_MANY_REQUESTS, "TooManyJobs", message)


def _refuse_unknown(call: Call) -> Answer:
    message = "There is no job with this id at this item."
    return refuse(HTTPStatus.NOT_FOUND, "JobInstanceNotFound", message, call.instance)
