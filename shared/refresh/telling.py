"""Telling followers of a success, and others of what happened, after whatever is due is done (design, rule 10).

    record:   telling t, next_at +10 s    told up to "k", next_at +10 s      told up to "z", next_at now
                 |                            |                                 |
    worker A:  saved ----- a, b ... k ------ saved ------ l, m ... z --------- saved: its time is over
    worker B:      . not due: leaves it alone                                      . takes it, goes on after "z"

A worker that dies, or loses its record to another one, costs repetitions, which fold away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.deployment import DUE_WITHIN
from shared.refresh.inputs import Delivered, Input, Signalled, Told
from shared.refresh.outbox import TELL_AGAIN, note_delivered
from shared.refresh.ports import Clock, Conflict, Store
from shared.refresh.state import Outbox, Signal, State, Success
from shared.targets import Target, target_of
from shared.values import Value

TOLD_BETWEEN_SAVES = timedelta(seconds=5)
"""How long followers are told before that progress is saved: well within `TELL_AGAIN`, also if the last calls
are slow, so that nobody else begins meanwhile."""

Reconcile = Callable[[Target, Sequence[Input]], object]
"""Fold inputs into a target's record, save it, and send nothing to the platform."""


class Outcomes(Protocol):
    """Sending outcome events, as telling needs it; `shared.outcomes.sending` does it."""

    def deliver(self, target: Target, state: State, is_over: Callable[[], bool]) -> Delivered:
        """Send what each destination does not have yet, as long as there is time."""


class Stretch(Value, frozen=True):
    """How far a stretch of telling came: the key of the last follower told, and the trouble that ended it, if any."""

    up_to: str
    all_told: bool
    trouble: Exception | None = None


class Teller:
    """Tells what this invocation took upon itself to tell, as long as there is time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        reconcile: Reconcile,
        followers: Callable[[Target], Sequence[Target]],
        is_over: Callable[[], bool],
        *,
        is_current: Callable[[], bool],
        outcomes: Outcomes | None = None,
    ) -> None:
        """`followers` gives the targets that come after one, in any order; `is_over` says that no time is left.

        `is_current` says whether the destinations are those of the current edition; `outcomes` sends outcome events,
        where the configuration names a destination.
        """
        self._store = store
        self._clock = clock
        self._reconcile = reconcile
        self._followers = followers
        self._is_over = is_over
        self._is_current = is_current
        self._outcomes = outcomes
        self._taken: dict[str, tuple[Target, datetime]] = {}
        self._gone: dict[str, datetime] = {}

    def note_gone(self, key: str, next_at: datetime) -> None:
        """Note that a save took it upon this worker to tell the events of a target that is gone."""
        self._gone[key] = next_at

    def note_save(self, target: Target, after: Outbox, now: datetime) -> None:
        """Note that a save moved the time to tell: a little ahead is ours to tell, now is for whoever comes next.

        Further ahead, a destination that failed is left alone until then.
        """
        self._taken.pop(target.key, None)
        if after.next_at is not None and now < after.next_at <= now + TELL_AGAIN:
            self._taken[target.key] = (target, after.next_at)

    def tell(self) -> list[tuple[Target, Exception]]:
        """Tell what was taken while there is time; returns what went wrong, which is tried again by whoever is next."""
        errors = []
        while self._taken and not self._is_over():
            target, next_at = next(iter(self._taken.values()))
            try:
                trouble = self._tell(target, next_at)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other targets must not wait for it
                trouble = failure
            if trouble:
                self._taken.pop(target.key, None)
                errors.append((target, trouble))
        while self._gone and not self._is_over():
            key, next_at = self._gone.popitem()
            try:
                self._tell_gone(key, next_at)
            except Exception as failure:  # noqa: BLE001 - as above
                errors.append((target_of(key), failure))
        return errors

    def _tell_gone(self, key: str, next_at: datetime) -> None:
        """Tell the events of a target that is gone. Its record is saved as it is: nothing is planned for it.

        Where the record moved on, or the target came back meanwhile, the events are told again by whoever is next.
        """
        state = records.read_state(self._store.load(key).body)
        if state.outbox.next_at != next_at:
            return
        name = state.judged_by.name if state.judged_by else key
        delivered = self._deliver(replace(target_of(key), name=name), state)
        document = self._store.load(key)
        state = records.read_state(document.body)
        outbox = note_delivered(state.outbox, delivered)
        if state.definition:
            return
        state = replace(state, outbox=outbox, wake_at=outbox.next_at)
        try:
            self._store.save(document, records.write(state), outbox.next_at)
        except Conflict:
            return

    def _tell(self, target: Target, next_at: datetime) -> Exception | None:
        """Tell one target's followers for a while, or others after them, unless somebody else took that over."""
        state = records.read_state(self._store.load(target.key).body)
        if state.outbox.next_at == next_at and state.outbox.telling:
            return self._tell_success(target, state.outbox.telling)
        del self._taken[target.key]
        if state.outbox.next_at == next_at:
            self._reconcile(target, (self._deliver(target, state),))
        return None

    def _tell_success(self, target: Target, success: Success) -> Exception | None:
        told = self._tell_followers(target, success)
        now = self._clock.now()
        goes_on = told.trouble is not None or not self._is_over()
        again_at = now + TELL_AGAIN if goes_on else now
        self._reconcile(target, (Told(success.at, told.up_to, told.all_told, again_at),))
        return told.trouble

    def _deliver(self, target: Target, state: State) -> Delivered:
        """Send events. Where no destination is configured any more, all of them are done with.

        That is for the current edition to say: an older package knows its own destinations alone, and leaves the events
        to be told again soon.
        """
        now = self._clock.now()
        delivered = self._outcomes.deliver(target, state, self._is_over) if self._outcomes else Delivered((), now)
        if self._is_current():
            return delivered
        return replace(delivered, is_complete=False, next_at=max(delivered.next_at, now + DUE_WITHIN))

    def _tell_followers(self, target: Target, success: Success) -> Stretch:
        """Signal followers in the order of their keys, from the last one told, until it is time to save."""
        until = self._clock.monotonic() + TOLD_BETWEEN_SAVES.total_seconds()
        followers = sorted(self._followers(target), key=lambda follower: follower.key)
        up_to = success.told_up_to
        signalled = Signalled(Signal(success.at, f"after {target.name}"))
        for follower in followers:
            if follower.key <= success.told_up_to:
                continue
            if self._is_over() or self._clock.monotonic() >= until:
                return Stretch(up_to, all_told=False)
            try:
                self._reconcile(follower, (signalled,))
            except Exception as failure:  # noqa: BLE001 - those before it are told, and that is to be saved
                return Stretch(up_to, all_told=False, trouble=failure)
            up_to = follower.key
        return Stretch(up_to, all_told=True)
