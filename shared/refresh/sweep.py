"""The sweep over all targets: what a tick repairs, how a configuration is rolled out, the brakes for everybody."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from msgspec.structs import replace

from shared.refresh import deployment, records
from shared.refresh.engine import Engine
from shared.refresh.outbox import keep_events, take
from shared.refresh.ports import Conflict, Document, Store
from shared.refresh.state import Rollout

ROLLED_OUT_AT_ONCE = 200
"""Targets that a tick plans before it saves how far it got."""


class Sweep:
    """The level-triggered half of the machine: repairs whatever an event, a crash or a lost message left behind."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ports = engine.ports

    def tick(self) -> None:
        """Roll a new configuration out, then reconcile whatever is due, then look at sources.

        Starts that a look comes before, which takes up to three seconds, wait for all that needs none (section 9,
        rule 7).
        One target's trouble does not keep the others waiting; all of it is raised at the end, as a group.
        """
        errors: list[Exception] = []
        self._roll_out(errors)
        groups = self._reconcile_due(errors)
        for target, saved in self._engine.postponed:
            if not self._engine.is_out_of_time():
                self._reconcile(target.key, errors, in_hand=saved)
        if self._engine.looks and self._engine.standing.is_current:
            errors += self._engine.looks.look_at(groups, self._engine.is_out_of_time, self._engine.standing.number)
        self._excerpt()
        if errors:
            message = f"{len(errors)} records could not be reconciled"
            raise ExceptionGroup(message, errors)

    def _excerpt(self) -> None:
        """Have an excerpt of the records written where one is wanted and due, by the current package alone."""
        engine = self._engine
        if self._ports.excerpt and engine.standing.is_current and not engine.is_out_of_time():
            self._ports.excerpt(tuple(engine.targets.values()), self._ports.clock.now(), engine.is_out_of_time)

    def _reconcile_due(self, errors: list[Exception]) -> list[str]:
        """Reconcile what is due while there is time, each record once; the groups that are due are left and named.

        A record that is saved as due again comes again in the index, and waits for the next tick.
        """
        groups: list[str] = []
        seen: set[str] = set()
        due = self._ports.store.due(self._ports.clock.now())
        while not self._engine.is_out_of_time() and (key := next(due, None)) is not None:
            if key in seen:
                continue
            seen.add(key)
            if records.is_group(key):
                groups.append(key)
            else:
                self._reconcile(key, errors, may_look=False)
        return groups

    def _reconcile(
        self,
        key: str,
        errors: list[Exception],
        *,
        may_look: bool = True,
        force: bool = False,
        in_hand: Document | None = None,
    ) -> None:
        """Reconcile one record of a sweep; collect its exception, so that the others get their turn."""
        try:
            target = self._engine.targets.get(key)
            if target:
                self._engine.reconcile(target, may_look=may_look, force=force, in_hand=in_hand)
                if force and self._engine.looks:
                    self._engine.looks.enrol(target, self._engine.standing.number)
            elif records.is_job(key):
                self._expire(key)
            else:
                self._forget(key)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the other targets must not wait for it
            failure.add_note(f"target {key}")
            errors.append(failure)

    def _forget(self, key: str) -> None:
        """Keep the record of a target that the current edition does not name; it is due for its events alone.

        A target that comes back is new. A worker that is not current forgets nothing; nor does one that froze, because
        a later edition has written its number into the record, or makes the save fail by doing so.
        """
        document = self._ports.store.load(key)
        state, standing = records.read_state(document.body), self._engine.standing
        if not document.body or not standing.leads(state):
            return
        outbox = take(keep_events(state.outbox), self._ports.clock.now())
        gone = replace(state, definition="", edition=standing.number, wake_at=outbox.next_at, wakes=(), outbox=outbox)
        try:
            if gone != state:
                self._ports.store.save(document, records.write(gone), outbox.next_at)
        except Conflict:
            return  # the next tick sees it again
        if outbox.next_at and outbox.next_at != state.outbox.next_at:
            self._engine.note_gone(key, outbox.next_at)

    def _expire(self, key: str) -> None:
        """Remove the record of a job, which is due when its time is over."""
        document = self._ports.store.load(key)
        try:
            if document.body:
                self._ports.store.remove(document)
        except Conflict:
            return  # the next tick sees it again, if it is there

    # --- The rollout of an edition -----------------------------------------------------------------------------------

    def _roll_out(self, errors: list[Exception]) -> None:
        """Rule 12: reconcile every target of a new edition once, and forget what the edition does not name."""
        known = self._engine.note_tick()
        standing = self._engine.standing
        while standing.is_current and not self._engine.is_out_of_time():
            rollout = known.rollout
            if rollout is None or known.edition is None or known.edition.number != standing.number:
                return
            after = self._advance(rollout, errors)
            saved = partial(deployment.note_progress, rollout, after, standing.number)
            known = deployment.change(self._ports.store, saved)
            if after.over and after.failed:
                return  # the next tick begins anew

    def _advance(self, rollout: Rollout, errors: list[Exception]) -> Rollout:
        """The next stretch of the rollout: over the targets first, then over the records that no target names."""
        known = len(errors)
        if rollout.targets_done:
            keys, cursor = self._ports.store.keys(rollout.done_up_to, ROLLED_OUT_AT_ONCE)
            for key in keys:
                if key not in self._engine.targets and not records.is_other(key):
                    self._reconcile(key, errors)
            rollout = replace(rollout, done_up_to=cursor, over=not cursor)
        else:
            rollout = self._advance_targets(rollout, errors)
        return replace(rollout, failed=rollout.failed or len(errors) > known)

    def _advance_targets(self, rollout: Rollout, errors: list[Exception]) -> Rollout:
        keys = sorted(key for key in self._engine.targets if key > rollout.done_up_to)[:ROLLED_OUT_AT_ONCE]
        for key in keys:
            if self._engine.is_out_of_time():
                return rollout
            self._reconcile(key, errors, force=True)
            rollout = replace(rollout, done_up_to=key)
        return rollout if keys else replace(rollout, targets_done=True, done_up_to="")


# --- The brakes for everybody ----------------------------------------------------------------------------------------


def pause_all(store: Store, now: datetime) -> None:
    """Let nobody start anything, within one tick."""
    deployment.change(store, lambda known: replace(known, paused_since=known.paused_since or now))


def resume_all(store: Store) -> None:
    """Let starts go on: the next ticks reconcile all targets, so that none waits for a wake that was far off."""
    deployment.change(store, lambda known: deployment.begin_again(replace(known, paused_since=None)))
