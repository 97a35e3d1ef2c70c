"""The sweep over all targets: what a tick repairs, how a configuration is rolled out, the brakes for everybody."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial

from msgspec.structs import replace

from shared.refresh import deployment, records
from shared.refresh.engine import Engine
from shared.refresh.ports import Conflict, Store
from shared.refresh.state import Deployment, Rollout

DUE_AT_ONCE = 100
"""Targets that a tick takes from the index at once; the tick goes on until nothing is due or its time is over."""
ROLLED_OUT_AT_ONCE = 200
"""Targets that a tick plans before it saves how far it got."""


class Sweep:
    """The level-triggered half of the machine: repairs whatever an event, a crash or a lost message left behind."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ports = engine.ports

    def tick(self) -> None:
        """Roll a new configuration out, then reconcile whatever is due, then look at sources.

        One target's trouble does not keep the others waiting; all of it is raised at the end, as a group.
        """
        errors: list[Exception] = []
        self._roll_out(errors)
        seen: dict[str, None] = {}
        while keys := self._due(seen):
            for key in keys:
                if not self._engine.is_out_of_time() and not records.is_group(key):
                    self._reconcile(key, errors)
            seen.update(dict.fromkeys(keys))
        if self._engine.looks:
            groups = [key for key in seen if records.is_group(key)]
            errors += self._engine.looks.look_at(groups, self._engine.is_out_of_time)
        if errors:
            message = f"{len(errors)} targets could not be looked at"
            raise ExceptionGroup(message, errors)

    def _due(self, seen: Collection[str]) -> list[str]:
        """The next that are due: asked for beyond those seen, since one that cannot be saved stays due."""
        if self._engine.is_out_of_time():
            return []
        keys = self._ports.store.due(self._ports.clock.now(), len(seen) + DUE_AT_ONCE)
        return [key for key in keys if key not in seen]

    def _reconcile(self, key: str, errors: list[Exception], *, force: bool = False) -> None:
        """Reconcile one record of a sweep; collect its exception, so that the others get their turn."""
        try:
            target = self._engine.targets.get(key)
            if target:
                self._engine.reconcile(target, force=force)
                if force and self._engine.looks:
                    self._engine.looks.enrol(target)
            elif records.is_job(key):
                self._expire(key)
            else:
                self._forget(key)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the other targets must not wait for it
            failure.add_note(f"target {key}")
            errors.append(failure)

    def _forget(self, key: str) -> None:
        """Keep the record of a target that the configuration no longer names, but take it off the index.

        A target that comes back is new. Unless the configuration is an old one by now, of a worker that froze: the
        record is read before the deployment is, so a target that the new one looked at meanwhile is left alone.
        """
        document = self._ports.store.load(key)
        state = records.read_state(document.body)
        if document.body and (state.definition or state.wake_at) and self._is_latest():
            state = replace(state, definition="", wake_at=None, wakes=())
            try:
                self._ports.store.save(document, records.write(state), None)
            except Conflict:
                return  # the next tick sees it again

    def _expire(self, key: str) -> None:
        """Remove the record of a job, which is due when its time is over."""
        document = self._ports.store.load(key)
        try:
            if document.body:
                self._ports.store.remove(document)
        except Conflict:
            return  # the next tick sees it again, if it is there

    def _is_latest(self) -> bool:
        """Whether nobody began to plan another configuration."""
        known = deployment.load(self._ports.store)
        latest = known.rollout.fingerprint if known.rollout else known.planned
        return latest == self._engine.package.fingerprint

    # --- The rollout of a configuration ------------------------------------------------------------------------------

    def _roll_out(self, errors: list[Exception]) -> None:
        """Rule 12: after a new configuration reconcile every target once, and forget what it no longer names."""
        fingerprint = self._engine.package.fingerprint
        while not self._engine.is_out_of_time():
            known = deployment.load(self._ports.store)
            if known.planned == fingerprint:
                return
            rollout = known.rollout
            if rollout is None or rollout.fingerprint != fingerprint:
                deployment.change(self._ports.store, partial(_with_walk, Rollout(fingerprint)))
                continue
            rollout = self._advance(rollout, errors)
            deployment.change(self._ports.store, partial(_with_walk, rollout))
            if rollout.over and rollout.failed:
                return  # begun anew by the next tick

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


def _with_walk(rollout: Rollout, known: Deployment) -> Deployment:
    """Once a rollout began, nothing is planned until one is over: it forgets targets, and the next may have them back.

    A rollout that met trouble does not count as done: a target that it could not look at is not planned yet.
    """
    if not rollout.over:
        return replace(known, planned="", rollout=rollout)
    return replace(known, planned="" if rollout.failed else rollout.fingerprint, rollout=None)


# --- The brakes for everybody ----------------------------------------------------------------------------------------


def pause_all(store: Store, now: datetime) -> None:
    """Let nobody start anything, within one tick."""
    deployment.change(store, lambda known: replace(known, paused_since=known.paused_since or now))


def resume_all(store: Store) -> None:
    """Let starts go on: the next ticks reconcile all targets, so that none waits for a wake that was far off."""
    deployment.change(store, lambda known: replace(known, paused_since=None, planned="", rollout=None))
