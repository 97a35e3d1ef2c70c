"""The loop: load, fold, decide, claim, act, save. Written once, against the ports; the shells only call it.

What makes it safe to be killed at any line:

    signal arrives -> folded -> saved                   only then is its delivery acknowledged
    claim saved    -> start sent -> answer saved        a claim without an answer is looked up after its lease
    cancel saved   -> cancel sent                       the end that it causes is not taken for a person's
    success saved  -> followers told -> saved           a crash between repeats the signals, which fold away
    wake sent      -> the record that names it saved    no record waits for nothing
    claim saved, which names the wake that called       its message comes again unless the answer is saved
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from types import MappingProxyType
from typing import Protocol

from msgspec.structs import replace

from shared.refresh import decide, deployment, machine, pace, records, timing
from shared.refresh.admission import Admission, Known, Pause
from shared.refresh.decide import Action, Cancel, Decision, HoldBack, LookUp, Poll, Start, TakePlace, Wait
from shared.refresh.deployment import Standing
from shared.refresh.failure import Failure
from shared.refresh.identity import Call, RunningClaim
from shared.refresh.inputs import (
    Answered,
    CancelAnswered,
    CancelIntended,
    CapReached,
    Claimed,
    Input,
    Listed,
    Placed,
    Reported,
    Signalled,
    Unsent,
    WakeSpent,
)
from shared.refresh.notices import late_at, note_changes
from shared.refresh.outbox import note_success, take
from shared.refresh.planning import plan
from shared.refresh.ports import (
    ATTEMPTS,
    Clock,
    Conflict,
    ContendedError,
    Document,
    Platform,
    Store,
    StoreDownError,
    Waker,
)
from shared.refresh.state import Deployment, Ended, Outcome, Run, State, Wake
from shared.refresh.telling import Outcomes, Reconcile, Teller
from shared.targets import Cloud, Package, Target
from shared.values import Value

HISTORY_KEPT = timedelta(days=90)
"""How long a line of history stays: a quarter of a year, for whoever asks how a target did."""

Fields = Mapping[str, str | int | float | None]


class LogEvent(Value, frozen=True):
    """An event of the engine, for logs, metrics and the demo. `fields` are plain values, and never secrets."""

    what: str
    target: str
    at: datetime
    fields: Fields = MappingProxyType({})


class Looks(Protocol):
    """Looking at the sources of targets, as the loop needs it; `shared.sources.looking` does it."""

    def enrol(self, target: Target, edition: int) -> None:
        """Have the sources of a target looked at, which the edition of that number names."""

    def look_at(self, keys: Sequence[str], is_over: Callable[[], bool], edition: int) -> list[Exception]:
        """Look at groups of sources that are due, as long as there is time; the exceptions of those that failed."""

    def before_start(self, target: Target, state: State) -> Input | None:
        """Look at the sources before a start; the input that spares the start, if the look shows one."""

    def read_by(self, target: Target, claimed_at: datetime) -> dict[str, str]:
        """The versions of sources that a run claimed then is known to have read, by the sources' names."""


class Ports(Value, frozen=True):
    """All that the engine needs from outside: store, platform, waker, clock, ids. `emit()` must not raise.

    `looks` makes what looks at the sources of some targets; without it nothing is looked at. `outcomes` makes what
    sends outcome events to some destinations; without it none are recorded. `pause(most)` stands still for a random
    part of that time, so that workers that met over one record do not meet again. `excerpt` writes an excerpt of the
    records at the end of a tick where one is due, and must not raise; without it none is written.
    """

    cloud: Cloud
    store: Store
    platform: Platform
    waker: Waker
    clock: Clock
    token: Callable[[], str]
    emit: Callable[[LogEvent], None]
    looks: Callable[[Mapping[str, Target], Reconcile], Looks] | None = None
    outcomes: Callable[[Package], Outcomes] | None = None
    pause: Pause = lambda _most: None
    excerpt: Callable[[Sequence[Target], datetime, Callable[[], bool]], None] | None = None


class RunAnswer(Value, frozen=True):
    """An answer of the platform, and the run that the question was about."""

    run: Run
    """The run as the record had it when the question was asked."""
    given: Input
    """The answer, as the machine takes it."""
    at: datetime
    """When the question was asked: what the platform shows is no newer. A worker that froze with a 404 or a list in its
    hand must not take it for one that came after the grace period or the listing delay."""

    def holds(self, state: State) -> bool:
        """Whether the record still stands where the question was asked; else the answer counts for nothing.

        The record in hand does, always. It matters after a conflict, when the record was read anew.
        """
        run = state.run
        return run is not None and (run.token, run.situation, run.run_id) == (
            self.run.token,
            self.run.situation,
            self.run.run_id,
        )


class Progress(Value, frozen=True):
    """How far one call of `reconcile` got."""

    pending: tuple[Input | RunAnswer, ...]
    """Inputs and answers that are not saved yet: each conflict folds them anew into whatever the record became."""
    document: Document | None = None
    """The record in hand, as it was read or saved last; None: it is to be read. Whoever else saves the record makes the
    next save a conflict, and only then is the record read again."""
    written: bool = False
    """Whether the record was saved since `reconcile` began."""
    done: bool = False
    """Whether nothing is left to do."""
    looked: bool = False
    """Whether the sources were looked at: once before a start."""
    may_look: bool = True
    """Whether there is time for a look before a start."""
    known: Known | None = None
    """The records of deployment and identity as read with the record of a wake, or when a place was taken; None: both
    are to be read, as after each call and each look, which take time."""


class Snapshot(Value, frozen=True):
    """A target as one turn of the loop has it in hand."""

    target: Target
    context: timing.Context
    document: Document
    """The record in hand."""
    before: State
    """The state that the record holds."""
    state: State
    """The state that the record will hold with everything pending."""
    ended: tuple[Ended, ...]
    """The runs that end with it."""
    now: datetime
    """The wall clock, read after the record was."""
    read_at: float
    """The monotonic clock's reading just before `now`, from which a claim has its few seconds."""
    leads: bool
    """Whether this invocation's package is the current edition, which alone plans the record."""
    known: Known | None = None
    """The records of deployment and identity, where something is due."""


class Engine:
    """The loop over the targets of one cloud. It keeps nothing between calls; any number may run at once."""

    def __init__(
        self, package: Package, ports: Ports, *, ends_at: float = float("inf"), standing: Standing | None = None
    ) -> None:
        """`ends_at`: the moment of the monotonic clock by which no call to the platform may be running any more.

        `standing` is for the command line (`deployment.COMMAND`); workers find theirs in the deployment's record.
        """
        self.package = package
        self.targets: Mapping[str, Target] = package.by_key
        self.ports = ports
        self._ends_at = ends_at
        self._standing = standing
        self._tells_outcomes = ports.outcomes is not None and bool(package.destinations)
        self.postponed: list[tuple[Target, Document | None]] = []

    def end_by(self, moment: float) -> None:
        """Let no call to the platform run beyond a moment of the monotonic clock: whoever works is told to stop."""
        self._ends_at = min(self._ends_at, moment)

    @property
    def standing(self) -> Standing:
        """How this invocation stands to the current edition, read once; a later package makes the next edition first.

        Raises `StoreDownError`, or `NewerRecordError`.
        """
        if self._standing is None:
            read_at = self.ports.clock.now()
            known = deployment.load(self.ports.store)
            if deployment.join(known, self.package) != known:
                known = deployment.change(self.ports.store, partial(deployment.join, package=self.package))
            self._standing = deployment.standing_of(known, self.package, read_at)
        return self._standing

    def note_tick(self) -> Deployment:
        """Note in the deployment's record that a tick came, and take the standing from what the record is then."""
        now = self.ports.clock.now()
        known = deployment.change(self.ports.store, partial(deployment.note_tick, package=self.package, now=now))
        self._standing = deployment.standing_of(known, self.package, now)
        return known

    @cached_property
    def _admission(self) -> Admission:
        """The doorkeeper of the platform. Made by the first who may call it."""
        return Admission(self.ports.store, self.ports.clock, self.ports.pause, self.package.limits)

    @cached_property
    def _teller(self) -> Teller:
        """The part that tells what saves take upon this invocation to tell. Made by the first such save."""
        return Teller(
            self.ports.store,
            self.ports.clock,
            self._reconcile,
            self._followers,
            self.is_out_of_time,
            is_current=lambda: self.standing.is_current,
            outcomes=self.ports.outcomes(self.package) if self.ports.outcomes and self._tells_outcomes else None,
        )

    @cached_property
    def looks(self) -> Looks | None:
        """The part that looks at the sources of these targets, made on first use; None where nothing is looked at."""
        return self.ports.looks(self.targets, self._reconcile) if self.ports.looks else None

    def is_out_of_time(self) -> bool:
        """Whether this invocation must begin nothing new."""
        return self.ports.clock.monotonic() >= self._ends_at

    # --- One target --------------------------------------------------------------------------------------------------

    def reconcile(
        self,
        target: Target,
        inputs: Sequence[Input] = (),
        *,
        may_call: bool = True,
        may_look: bool = True,
        force: bool = False,
        in_hand: Document | None = None,
        known: Known | None = None,
    ) -> bool:
        """Fold what happened, then do what is due until nothing is; returns once everything is saved.

        True if the record was written: an absorbed signal costs one read.

            read v1 -> poll -> the answer is folded into v1 -> claim saved on v1: v2 -> start -> answer saved on v2: v3
                                                                    | conflict: someone else saved v2
                                                                    +-> read v2 -> fold anew, if it still concerns v2

        Without `may_call` nothing is sent to the platform: the wake that the save sends sees to it. Without `may_look`
        a start that a look comes before is left due, and kept in `postponed` with the record, which is then `in_hand`.
        `known` is what was read of deployment and identity together with the record in hand.
        With `force` it decides even if nothing happened and nothing is due.
        Raises `StoreDownError`, `ContendedError` or `records.NewerRecordError`: the delivery must come back.
        """
        progress = Progress(tuple(inputs), in_hand, may_look=may_look, known=known)
        for _ in range(ATTEMPTS):
            progress = self._advance(target, progress, may_call=may_call, force=force)
            if progress.done:
                return progress.written
        message = f"the record of {target.name} moved on {ATTEMPTS} times"
        raise ContendedError(message)

    def _advance(self, target: Target, progress: Progress, *, may_call: bool, force: bool) -> Progress:
        """Go one step further; after a conflict the next one reads the record again, and folds into what it became."""
        try:
            return self._step(target, progress, may_call=may_call, force=force)
        except Conflict:
            return replace(progress, document=None, known=None)

    def _step(self, target: Target, progress: Progress, *, may_call: bool, force: bool) -> Progress:
        """At most one read, at most one call, at most one save before it."""
        document = progress.document or self.ports.store.load(target.key)
        if self._standing is None and not force and self._is_absorbed(target, document, progress.pending):
            return replace(progress, done=True)
        snapshot = self._see(target, document, progress, may_call=may_call)
        if snapshot.state == snapshot.before and not (force or self._is_due(snapshot)):
            return replace(progress, done=True)
        snapshot, decision = self._decide(snapshot, progress.known, may_call=may_call)
        if isinstance(decision.action, Start) and self.ports.looks and not progress.looked:
            look_at = decide.look_before(snapshot.state, decision.action, snapshot.context, snapshot.now)
            if look_at:
                return self._look_first(snapshot, look_at, progress)
        return self._act(snapshot, decision.action, progress) or self._end(snapshot, decision, progress)

    def _end(self, snapshot: Snapshot, decision: Decision, progress: Progress) -> Progress:
        """Save the record, where there is only to wait."""
        saved = self._save(snapshot, snapshot.state, decision)
        return Progress((), saved, written=progress.written or saved is not snapshot.document, done=True)

    def _act(self, snapshot: Snapshot, action: Action, progress: Progress) -> Progress | None:
        """Do what is due, and return how far that got; None where there is only to wait."""
        match action:
            case Start():
                return self._start(snapshot, action, progress)
            case TakePlace():
                return self._take_place(snapshot, action, progress)
            case Cancel():
                return self._cancel(snapshot, action)
            case Poll():
                return _with_answer(progress, snapshot, self._poll(snapshot, action))
            case LookUp():
                return _with_answer(progress, snapshot, self._look_up(snapshot, action))
        return None

    def _reconcile(self, target: Target, inputs: Sequence[Input]) -> bool:
        """Fold what a look tells of a target."""
        return self.reconcile(target, inputs, may_call=False)

    def _look_first(self, snapshot: Snapshot, look_at: datetime, progress: Progress) -> Progress:
        """Look before a start, when it is time; what the look shows is folded, and decided upon, by the next turn."""
        if snapshot.now < look_at:
            return self._end(snapshot, _wait(snapshot, look_at), progress)
        if progress.may_look:
            pending = (*progress.pending, *self._look(snapshot))
            return replace(progress, pending=pending, document=snapshot.document, looked=True, known=None)
        after = self._end(snapshot, _wait(snapshot, snapshot.now), progress)
        self.postponed.append((snapshot.target, after.document))
        return after

    def _look(self, snapshot: Snapshot) -> tuple[Input, ...]:
        """Look at the sources; a look that fails, of whatever, leaves the start as it was."""
        assert self.looks
        try:
            found = self.looks.before_start(snapshot.target, snapshot.state)
        except Exception as failure:  # noqa: BLE001 - a look is a kindness: nothing of it may keep a refresh from starting
            self._emit("look failed", snapshot.target, {"why": str(failure)})
            return ()
        return (found,) if found else ()

    def _is_absorbed(self, target: Target, document: Document, inputs: Sequence[Input | RunAnswer]) -> bool:
        """Whether a record says already what signals tell, and is not due: then nobody needs to know who is current.

        So a storm costs one read an event where records are not read together. What is owed stays owed, whoever plans.
        """
        now = self.ports.clock.now()
        before = state = records.read_state(document.body)
        if not inputs or (before.wake_at is not None and now >= before.wake_at):
            return False
        context = self._context(target)
        for given in inputs:
            if not isinstance(given, Signalled):
                return False
            state = machine.fold(state, given, context, now).state
        return state == before

    def _context(self, target: Target) -> timing.Context:
        return timing.Context(target.key, target.policy, self.ports.platform.capabilities, target.schedules)

    def _see(self, target: Target, document: Document, progress: Progress, *, may_call: bool) -> Snapshot:
        """Fold what the configuration and the calendar owe the record, then what is pending.

        Who may call the platform also takes it upon himself to tell what it is time to tell.
        """
        standing, context = self.standing, self._context(target)
        read_at, now = self.ports.clock.monotonic(), self.ports.clock.now()
        before = state = records.read_state(document.body)
        ended: list[Ended] = []
        leads = standing.leads(before)
        planned = plan(before, target, standing, now) if leads else ()
        for item in (*planned, *progress.pending):
            if isinstance(item, RunAnswer) and not item.holds(state):
                continue
            given, at = (item.given, item.at) if isinstance(item, RunAnswer) else (item, now)
            folded = machine.fold(state, given, context, at)
            state = folded.state
            if folded.ended:
                ended.append(folded.ended)
                state = self._with_success(state, folded.ended, target, now)
        if state.hold is not None:
            state = pace.lift_cap(state, now)
        if self.ports.looks and target.policy.look:
            state = decide.note_startable(state, now)
        if may_call and state.outbox.next_at:  # else there is nothing to tell
            state = replace(state, outbox=take(state.outbox, now))
        return Snapshot(target, context, document, before, state, tuple(ended), now, read_at, leads)

    def _with_success(self, state: State, ended: Ended, target: Target, now: datetime) -> State:
        """Rule 10: the save that records a success that covers also records that followers are to be told of it."""
        succeeded = ended.outcome in {Outcome.SUCCEEDED, Outcome.PROVEN} and self._counts(ended)
        if not succeeded or not self._followers(target):
            return state
        return replace(state, outbox=note_success(state.outbox, ended.ended_at, now))

    def _counts(self, ended: Ended) -> bool:
        """Whether the end of a run is told: that of somebody else's only where such a run covers (rule 6)."""
        return not ended.foreign or self.ports.platform.capabilities.foreign_covers

    def _followers(self, target: Target) -> Sequence[Target]:
        """The targets of this cloud that come after one, as this worker's own configuration has them."""
        return self.package.followers(target.name)

    def _is_due(self, snapshot: Snapshot) -> bool:
        wake_at = snapshot.before.wake_at
        return wake_at is not None and snapshot.now >= wake_at

    def _decide(self, snapshot: Snapshot, known: Known | None, *, may_call: bool) -> tuple[Snapshot, Decision]:
        """Decide what to do next. Deployment and identity are read, together, only when something would be sent."""
        decision = decide.decide(snapshot.state, snapshot.context, snapshot.now)
        if isinstance(decision.action, Wait):
            return snapshot, decision
        known = known or self._admission.load(snapshot.target.identity)
        decision = decide.decide(snapshot.state, snapshot.context, snapshot.now, known.gate)
        if isinstance(decision.action, HoldBack):
            return _hold_back(snapshot, decision.action)
        answered_by = self.ports.clock.monotonic() + self.ports.platform.capabilities.call_timeout.total_seconds()
        if not isinstance(decision.action, Wait) and (not may_call or answered_by > self._ends_at):
            return snapshot, _wait(snapshot, snapshot.now)
        return replace(snapshot, known=known), decision

    def _take_place(self, snapshot: Snapshot, take_place: TakePlace, progress: Progress) -> Progress:
        """Take a place, and decide again: an empty queue serves at once.

        A worker that dies before it saves the target's record leaves a number for which nobody comes.
        """
        assert snapshot.known, "a place is taken in a queue that was read"
        known, place = self._admission.take_place(snapshot.known, take_place.call)
        pending = (*progress.pending, Placed(place))
        return replace(progress, pending=pending, document=snapshot.document, known=known)

    # --- Calls -------------------------------------------------------------------------------------------------------

    def _start(self, snapshot: Snapshot, start: Start, progress: Progress) -> Progress:
        """Rule 4. Two workers may come this far; the store lets one claim pass.

        worker A:  reads v1 -> claimed_at -> paused? -> claim saved: v2 -> start sent -> answer saved on v2
                                   |----------- START_WINDOW ----------|  a claim that took longer is given back
        worker B:  reads v1 .  .  .  .  .  .  .  .  .  .  claim: conflict -> reads A's claim -> waits for its lease

        Where a wake led here, the claim goes on naming it, and no other is sent: its message comes again if A dies.
        """
        claim = Claimed(self.ports.token(), snapshot.now, start.full)
        if not self._admit(snapshot, claim):
            return replace(progress, document=snapshot.document, known=None)
        claimed = machine.fold(snapshot.state, claim, snapshot.context, snapshot.now).state
        called_by = _called_by(snapshot, progress)
        claimed = replace(claimed, wakes=(*claimed.wakes, *(wake.due for wake in called_by)))
        try:
            return self._claim_and_send(snapshot, claimed, start, called_by)
        except Conflict:
            self._admission.give_back(snapshot.target.identity, machine.run_of(claimed), None)
            raise

    def _admit(self, snapshot: Snapshot, claim: Claimed) -> bool:
        """Count a start in the identity's record, where a cap needs it; whether there is room for one more run."""
        assert snapshot.known, "a start is decided by the records of deployment and identity"
        target = snapshot.target
        running = RunningClaim(target.key, claim.token, claim.at, claim.at + target.policy.timeout)
        return self._admission.admit(snapshot.known, snapshot.state.place, running)

    def _claim_and_send(
        self, snapshot: Snapshot, claimed: State, start: Start, called_by: tuple[WakeSpent, ...]
    ) -> Progress:
        ports, run = self.ports, machine.run_of(claimed)
        saved = self._save_first(snapshot, claimed, sends_wake=not called_by)
        if ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
            self._admission.give_back(snapshot.target.identity, run, None)
            return self._after_call(saved, claimed, Unsent(), called_by)
        answer = ports.platform.start(snapshot.target, full=start.full)
        self._heed(snapshot, Call.START, answer)
        if isinstance(answer, Failure):
            self._admission.give_back(snapshot.target.identity, run, answer)
        return self._after_call(saved, claimed, Answered(answer), called_by)

    def _poll(self, snapshot: Snapshot, poll: Poll) -> RunAnswer:
        asked_at = self.ports.clock.now()
        answer = self.ports.platform.get(snapshot.target, poll.run_id)
        self._heed(snapshot, Call.POLL, answer)
        return RunAnswer(machine.run_of(snapshot.state), Reported(answer), asked_at)

    def _look_up(self, snapshot: Snapshot, look_up: LookUp) -> RunAnswer:
        asked_at = self.ports.clock.now()
        answer = self.ports.platform.list(snapshot.target, look_up.since)
        self._heed(snapshot, Call.POLL, answer)
        return RunAnswer(machine.run_of(snapshot.state), Listed(answer), asked_at)

    def _cancel(self, snapshot: Snapshot, cancel: Cancel) -> Progress:
        """Rule 8: the intent is saved before the call, which is sent in time or, like a start, not at all.

        Glue stops whatever run the view has: a worker that froze after the save would stop a later one of ours.
        """
        intended = machine.fold(snapshot.state, CancelIntended(), snapshot.context, snapshot.now).state
        saved = self._save_first(snapshot, intended)
        if self.ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
            return Progress((), saved, written=True)  # as if it had died: the run is polled, and cancelled later
        answer = self.ports.platform.cancel(snapshot.target, cancel.run_id)
        self._heed(snapshot, Call.POLL, answer)
        return self._after_call(saved, intended, CancelAnswered(answer))

    def _save_first(self, snapshot: Snapshot, state: State, *, sends_wake: bool = True) -> Document:
        """Save a claim or an intent, with all that is pending, before the call that it is for."""
        decision = decide.decide(state, snapshot.context, snapshot.now)
        return self._save(snapshot, state, decision, sends_wake=sends_wake)

    def _after_call(
        self, saved: Document, state: State, given: Input, called_by: tuple[WakeSpent, ...] = ()
    ) -> Progress:
        """Progress after a call that the saved record tells of: its answer is pending, and the wake it names."""
        answer = RunAnswer(machine.run_of(state), given, self.ports.clock.now())
        return Progress((*called_by, answer), saved, written=True)

    def _heed(self, snapshot: Snapshot, call: Call, answer: object) -> None:
        """Rule 9: a throttled answer silences the identity for this kind of call, not only the target."""
        if not isinstance(answer, Failure):
            return
        self._emit(
            "trouble", snapshot.target, {"code": answer.code, "message": answer.message, "sent": answer.delivery}
        )
        self._admission.heed(snapshot.target.identity, snapshot.state.place, call, answer)

    # --- Saving ------------------------------------------------------------------------------------------------------

    def _save(self, snapshot: Snapshot, state: State, decision: Decision, *, sends_wake: bool = True) -> Document:
        """History first, then the wake, then the record that says that all this is done.

        Returns the record as it stands then: that in hand, if there was nothing to write. `sends_wake` is False where
        the record names a wake whose message comes again unless the next save is reached.
        """
        for ended in snapshot.ended:
            entry_id = f"{ended.claimed_at:%Y%m%dT%H%M%S.%fZ}-{ended.token}"
            line = records.write(self._with_versions(snapshot.target, ended))
            self.ports.store.append(snapshot.target.key, entry_id, line, snapshot.now + HISTORY_KEPT)
        wanted = self.package.kinds_of(snapshot.target.name) if self._tells_outcomes else frozenset()
        if wanted:
            told = [each for each in snapshot.ended if self._counts(each)]
            state = note_changes(snapshot.before, state, told, snapshot.target.policy, snapshot.now, wanted=wanted)
        if state == snapshot.before and not snapshot.leads:
            return snapshot.document  # due for what only the current edition may do
        due_at = self._due_at(snapshot, state, decision, is_told=bool(wanted))
        wakes, sent = self._wakes(snapshot, state, due_at) if sends_wake else (state.wakes, False)
        state = replace(state, wake_at=due_at, wakes=wakes)
        if state == snapshot.before and not sent:  # a wake that is not followed by a save would only touch the record
            return snapshot.document
        saved = self.ports.store.save(snapshot.document, records.write(state), due_at)
        if state.outbox.next_at != snapshot.before.outbox.next_at:
            self._teller.note_save(snapshot.target, state.outbox, snapshot.now)
        self._emit_changes(snapshot, state, decision)
        return saved

    def _due_at(self, snapshot: Snapshot, state: State, decision: Decision, *, is_told: bool) -> datetime | None:
        """When the record is due: as decided, and where outcome events are told when one is to be sent, or made.

        Who is not current does not know what planning has to do, and leaves the record due soon.
        """
        now = snapshot.now
        told = (state.outbox.next_at, late_at(state, snapshot.target.policy)) if is_told else ()
        if snapshot.leads:
            times = (decision.due_at, *told)
        else:  # what the calendar owes is past for as long as nobody current comes, and must not wake anybody at once
            until = decision.action.until if isinstance(decision.action, Wait) else now
            times = (until, now + self.standing.due_within, state.outbox.next_at, *told)
        return min((time for time in times if time), default=None)

    def _with_versions(self, target: Target, ended: Ended) -> Ended:
        """A line of history, with the versions that the run has read, where that is known and can be read."""
        if self.looks is None or ended.outcome not in {Outcome.SUCCEEDED, Outcome.PROVEN}:
            return ended
        try:
            return replace(ended, versions=self.looks.read_by(target, ended.claimed_at))
        except Exception as failure:  # noqa: BLE001 - versions are a kindness: nothing of them may keep a success from being saved
            self._emit("look failed", target, {"why": str(failure)})
            return ended

    def _wakes(self, snapshot: Snapshot, state: State, due_at: datetime | None) -> tuple[tuple[datetime, ...], bool]:
        """Rule 13: the wakes that the record then names, and whether one was sent.

        A wake that cannot be sent does not hold up the save: ticks go on.
        """
        waker = self.ports.waker
        if due_at is not None and due_at - snapshot.now > waker.reach:
            due_at = snapshot.now + waker.reach if waker.relays else None
        due, named = decide.next_wake(state.wakes, due_at, snapshot.now)
        if due is None:
            return named, False
        wake = Wake(snapshot.target.key, due, snapshot.document.version)
        try:
            waker.send(wake, max(due - snapshot.now, timedelta(0)))
        except StoreDownError as down:
            self._emit("wake not sent", snapshot.target, {"why": str(down)})
            return tuple(at for at in named if at != due), False
        return named, True

    # --- Deliveries --------------------------------------------------------------------------------------------------

    def wake(self, wake: Wake) -> None:
        """Handle a wake that arrived; a wake that the record does not name does nothing.

        It may have overtaken the save that names it: then the record still has the version that its sender read.
        Writing the record makes that save fail, so that it is done again, with a wake that is still to come.

            sender:  read v7 -> send wake . . . . . . . . . . -> save on v7: conflict -> read v8 -> send wake -> save
            here:                        wake arrives: write v8
        """
        target = self.targets.get(wake.key)
        document, known = self._load_for_wake(target, wake.key)
        if document.version == wake.version:
            if self._touch(document):
                return
            document = self.ports.store.load(wake.key)  # the save that names it may have got through
        if target and wake.due in records.read_state(document.body).wakes:
            self.reconcile(target, (WakeSpent(wake.due),), in_hand=document, known=known)

    def read_ahead(self, targets: Sequence[Target]) -> Mapping[str, Document]:
        """Read the records of targets that are reconciled next in one request with the deployment's, by their keys.

        Each is as old as that request when its turn comes. That does no harm: what a record says is absorbed stays
        absorbed, and everything else is saved on the condition that nobody saved the record meanwhile. Where the
        records cannot be read together the answer is empty: then each target reads its own, and meets its own trouble.
        """
        store, read_at = self.ports.store, self.ports.clock.now()
        if not store.reads_together:
            return {}
        try:
            first, *documents = store.load_many([records.DEPLOYMENT_KEY, *(each.key for each in targets)])
            self._stand(records.read_deployment(first.body), read_at)
        except Exception:  # noqa: BLE001 - whatever it is, whoever reads one by one meets it again, and says so
            return {}
        return {document.key: document for document in documents}

    def _load_for_wake(self, target: Target | None, key: str) -> tuple[Document, Known | None]:
        """Read the record that a wake is about, in one request with all that is asked before a call.

        A wake mostly leads to a call: so what stands to the current edition, who is paused, and when the identity may
        call are read with the record, and are as old as the record in hand.
        """
        if target is None:
            return self.ports.store.load(key), None
        read_at = self.ports.clock.now()
        deployment_read, known, document = self._admission.load_with(target.identity, key)
        self._stand(deployment_read, read_at)
        return document, known

    def _stand(self, read: Deployment, read_at: datetime) -> None:
        """Take the standing from the deployment's record as it was just read, unless a later package is to join first.

        Joining writes: it is left until there is something to do.
        """
        if self._standing is None and deployment.join(read, self.package) == read:
            self._standing = deployment.standing_of(read, self.package, read_at)

    def note_gone(self, key: str, next_at: datetime) -> None:
        """Have `tell` tell the events of a target that is gone, as a save took it upon this invocation."""
        self._teller.note_gone(key, next_at)

    def tell(self) -> None:
        """Tell followers what this invocation took upon itself to tell, as long as it has time (rule 10).

        Whoever takes messages calls this last, so that no target waits for what another one tells. What is not told is
        due in the record: trouble is logged, and sends no delivery back.
        """
        for target, trouble in self._teller.tell():
            self._emit("not told", target, {"why": f"{type(trouble).__name__}: {trouble}"})

    def _touch(self, document: Document) -> bool:
        state = records.read_state(document.body)
        try:
            self.ports.store.save(document, records.write(state), state.wake_at)
        except Conflict:
            return False
        return True

    # --- Telling -----------------------------------------------------------------------------------------------------

    def note_signals(self, target: Target, signals: int, *, written: bool) -> None:
        """Signals were taken; all but the one write's were absorbed."""
        if signals:
            self._emit("signalled", target, {"signals": signals, "absorbed": signals - int(written)})

    def _emit(self, what: str, target: Target, fields: Fields) -> None:
        self.ports.emit(LogEvent(what, target.name, self.ports.clock.now(), fields))

    def _emit_changes(self, snapshot: Snapshot, state: State, decision: Decision) -> None:
        """Emit what a save changed, and how the target stands now."""
        for ended in snapshot.ended:
            self._emit(f"run {ended.outcome}", snapshot.target, _ended_fields(ended))
        situation = state.situation
        if situation is not snapshot.before.situation:
            run = state.run
            self._emit(f"now {situation}", snapshot.target, {"run_id": run.run_id, "full": run.full} if run else {})
        hold = state.hold or snapshot.before.hold
        if hold and state.hold != snapshot.before.hold:
            fields_of_hold = {"hold": type(hold).__name__.lower(), "reason": getattr(hold, "reason", "")}
            self._emit("held" if state.hold else "released", snapshot.target, fields_of_hold)
        stale_since = decision.stale_since
        fields: dict[str, str | int | float | None] = {
            "owed_age_seconds": max(0.0, (snapshot.now - stale_since).total_seconds()) if stale_since else 0.0,
            "held": int(state.hold is not None),
            "late": int(decision.late),
        }
        if self.ports.looks and snapshot.target.policy.look:
            fields["source_ahead_seconds"] = _ahead_seconds(state, snapshot.now)
        if snapshot.target.policy.objective:
            fields["objective_seconds"] = snapshot.target.policy.objective.total_seconds()
        if state.fresh_as_of:
            fields["fresh_age_seconds"] = max(0.0, (snapshot.now - state.fresh_as_of).total_seconds())
        self._emit("saved", snapshot.target, fields)


def _ahead_seconds(state: State, now: datetime) -> float:
    """How long a source has been ahead of the view: the age of what is owed that came from looked-at sources."""
    parts = (state.owed, state.run.covering if state.run else None)
    since = min((part.oldest for part in parts if part and part.looked), default=now)
    return max(0.0, (now - since).total_seconds())


def _wait(snapshot: Snapshot, until: datetime) -> Decision:
    """Decide to wait, although something is due."""
    return decide.conclude(Wait(until), snapshot.state, snapshot.context, snapshot.now)


def _hold_back(snapshot: Snapshot, action: HoldBack) -> tuple[Snapshot, Decision]:
    """Block the target until the day is over, and wait for that."""
    reached = CapReached(action.reason, action.until)
    state = machine.fold(snapshot.state, reached, snapshot.context, snapshot.now).state
    snapshot = replace(snapshot, state=state)
    return snapshot, _wait(snapshot, action.until)


def _called_by(snapshot: Snapshot, progress: Progress) -> tuple[WakeSpent, ...]:
    """The wake that called, as it is pending, if the record in hand still names it."""
    named = snapshot.before.wakes
    return tuple(given for given in progress.pending if isinstance(given, WakeSpent) and given.due in named)


def _with_answer(progress: Progress, snapshot: Snapshot, answer: RunAnswer) -> Progress:
    """Progress after a question to the platform: the record in hand stays, and the answer is pending with the rest."""
    return replace(progress, pending=(*progress.pending, answer), document=snapshot.document, known=None)


def _ended_fields(ended: Ended) -> Fields:
    return {
        "run_id": ended.run_id,
        "foreign": int(ended.foreign),
        "full": int(ended.full),
        "signals": ended.signals,
        "error": ended.error,
        "dpu_seconds": ended.dpu_seconds,
        "claimed_at": ended.claimed_at.isoformat(),
    }
