"""The record of an identity, as the machine reads and changes it before and after a call to the platform.

    one read: deployment, identity      is all paused? is the identity silent?
    place taken   -> saved              a number that nobody comes for is a moment that passes
    start counted -> saved              only where a cap needs it: `max_running`, [deployment] max_starts_per_day
    claim, call                         by the engine
    refusal       -> saved              silence for this kind of call, and a slower queue

Each save is conditional, and done again on what the record became: nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from shared.refresh import pace, records
from shared.refresh.decide import Gate
from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.refresh.identity import Call, Identity, Place, RunningClaim
from shared.refresh.ports import ATTEMPTS, Clock, Conflict, ContendedError, Document, Store
from shared.refresh.state import Deployment, Run
from shared.refresh.timing import backoff, throttled_until
from shared.targets import Limits
from shared.values import Value

PAUSE_FIRST, PAUSE_LAST = timedelta(milliseconds=100), timedelta(seconds=1)
"""The most that a worker stands still after a conflict over an identity's record: as long as a save or two takes at
first, then twice as long each time. Workers draw a random part of it, so that those who met once do not meet again."""

Pause = Callable[[timedelta], None]
"""Stand still for a random part of a time."""


class Known(Value, frozen=True):
    """The answer of the records of deployment and identity, with the record on which a change is saved."""

    gate: Gate
    document: Document


class Admission:
    """The doorkeeper of one cloud's platform: the engine asks before each call, and reports the answer to the call."""

    def __init__(self, store: Store, clock: Clock, pause: Pause, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._pause = pause
        self._limits = limits

    def load(self, identity: str) -> Known:
        """Read the records of the deployment and of an identity together."""
        first, document = self._store.load_many((records.DEPLOYMENT_KEY, records.identity_key(identity)))
        return self._read_known(records.read_deployment(first.body), identity, document)

    def load_with(self, identity: str, key: str) -> tuple[Deployment, Known, Document]:
        """Read the record of a target together with those of the deployment and of the target's identity."""
        keys = (records.DEPLOYMENT_KEY, records.identity_key(identity), key)
        first, document, target = self._store.load_many(keys)
        deployment = records.read_deployment(first.body)
        return deployment, self._read_known(deployment, identity, document), target

    def _read_known(self, deployment: Deployment, identity: str, document: Document) -> Known:
        known = records.read_identity(document.body)
        quiet_until = deployment.quiet_until.get(identity)
        return Known(Gate(deployment.paused_since is not None, quiet_until, known, self._limits), document)

    def take_place(self, known: Known, call: Call) -> tuple[Known, Place]:
        """Take the next number of a queue, once, by a conditional save."""
        places: list[Place] = []

        def take(identity: Identity) -> Identity:
            after, place = pace.take_place(identity, call, self._limits, self._clock.now())
            places.append(place)
            return after

        known = self._change(known, take)
        return known, places[-1]

    def admit(self, known: Known, place: Place | None, claim: RunningClaim) -> bool:
        """Count a start that is about to be claimed, where a cap needs it; whether there is room for one more run.

        Where there is none, the identity is silent for a while, as after a refusal by the platform.
        """
        limits = self._limits
        if limits.max_running is None and limits.max_starts_per_day is None:
            return True
        admitted: list[bool] = []

        def count(identity: Identity) -> Identity:
            if pace.is_full(identity, limits):
                identity = self._without_ended(identity)
            admitted.append(not pace.is_full(identity, limits))
            if admitted[-1]:
                return pace.admit(identity, claim, limits)
            now = self._clock.now()
            until = now + pace.FULL_WAIT
            return pace.refuse_call(identity, Call.START, place, until=until, limits=limits, now=now, lowers=False)

        self._change(known, count)
        return admitted[-1]

    def heed(self, identity: str, place: Place | None, call: Call, answer: Failure) -> None:
        """Rule 9: a throttled answer silences the identity for this kind of call, not only the target."""
        if answer.kind is not FailureKind.THROTTLED:
            return
        now = self._clock.now()
        until = throttled_until(answer, now)
        to = partial(pace.refuse_call, call=call, place=place, until=until, limits=self._limits, now=now)
        self._change_anew(identity, to)

    def give_back(self, identity: str, run: Run, answer: Failure | None) -> None:
        """Uncount a start that came to nothing: unsent (None), or known to have been refused."""
        limits = self._limits
        if limits.max_running is None and limits.max_starts_per_day is None:
            return
        if answer is None or answer.delivery is not Delivery.UNKNOWN:
            self._change_anew(identity, partial(pace.give_back, run=run))

    def _without_ended(self, identity: Identity) -> Identity:
        """The identity without what does not run any more, by the records of the targets that it lists."""
        documents = self._store.load_many([claim.key for claim in identity.claims])
        states = {document.key: records.read_state(document.body) for document in documents}
        return pace.without_ended(identity, states, self._clock.now())

    def _change_anew(self, identity: str, to: Callable[[Identity], Identity]) -> None:
        document = self._store.load(records.identity_key(identity))
        self._change(Known(Gate(), document), to)

    def _change(self, known: Known, to: Callable[[Identity], Identity]) -> Known:
        """Apply `to` to whatever the identity's record is by now, and save what comes of it, where that differs.

        After a conflict again, after a random pause. Raises `StoreDownError`, or `ContendedError` where others keep
        changing the record.
        """
        document = known.document
        for tried in range(ATTEMPTS):
            before = records.read_identity(document.body)
            after = to(before)
            try:
                if after != before:
                    document = self._store.save(document, records.write(after), None)
            except Conflict:
                self._pause(backoff(tried + 1, PAUSE_FIRST, PAUSE_LAST))
                document = self._store.load(document.key)
                continue
            gate = Gate(known.gate.paused, known.gate.quiet_until, after, self._limits)
            return Known(gate, document)
        message = f"the record {document.key} moved on {ATTEMPTS} times"
        raise ContendedError(message)
