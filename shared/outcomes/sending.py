"""Sending outcome events: in order for one target, at least once, never in the way of a refresh (design, section 10).

notices 4 5 6 7      a: has 5      sends 6, 7
                     b: has 3      4 fails: b is left alone for a while, for all targets; 4 to 7 wait
                     c: wants none of 4 to 7, and so has 7
                     d: a follower on another cloud: is sent 7 alone, which asks for all that 4 to 6 ask for
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from shared.destinations import Destination
from shared.outcomes.answers import SendFailure
from shared.outcomes.events import OutcomeEvent, outcome
from shared.outcomes.formats import EncodedEvent, encode_event
from shared.refresh import records
from shared.refresh.engine import LogEvent
from shared.refresh.evidence import Evidence, SourceStatus
from shared.refresh.inputs import Delivered
from shared.refresh.outbox import position_of
from shared.refresh.ports import Capabilities, Clock, Conflict, Store
from shared.refresh.state import Addressee, Ended, Notice, Position, State
from shared.refresh.timing import backoff
from shared.targets import Limits, Package, Target
from shared.text import printable

ALONE_FIRST, ALONE_LAST = timedelta(minutes=1), timedelta(hours=1)
"""How long a destination that failed is left alone: doubling from the first to the last (design, section 10)."""
REFUSED_AGAIN = ALONE_LAST
"""When a follower is signalled again that the other cloud's function does not know: its package, or a package of ours
with the name that holds there, may be deployed by then. Nothing else waits for that one."""
WHY_CHARACTERS = 200
"""Characters kept of the reason for which a destination failed: its record has them for `status`."""
HISTORY_READ = 20
"""Lines of history in which the run of an event is looked for: it ended a while ago at most."""

Sources = Callable[[Target, datetime], Sequence[SourceStatus]]
"""How the sources of a target stand, where they are looked at."""


class Sender(Protocol):
    """Sends events to destinations of one kind; `functions_aws.tell` has those of AWS."""

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Send one event, once; what went wrong, or None where it is delivered."""


class Office(NamedTuple):
    """The ports of sending; the shells fill them."""

    store: Store
    """The records, of destinations among them."""
    clock: Clock
    """The clock of the invocation."""
    senders: Mapping[str, Sender]
    """The senders, by the kind of destination."""
    source: str
    """The name of the deployment, which is the source of all events."""
    capabilities: Capabilities
    """The character of the platform, for how a target stands."""
    emit: Callable[[LogEvent], None]
    """Where lines of the log go."""
    sources: Sources = lambda _target, _now: ()
    """How the sources of a target stand."""


class Sending:
    """`shared.refresh.telling.Outcomes`, for one invocation: a destination that failed is left alone in all of it."""

    def __init__(self, office: Office, package: Package) -> None:
        self._office = office
        self._destinations = package.destinations
        self._limits = package.limits
        self._addressees: dict[str, Addressee] = {}

    def deliver(self, target: Target, state: State, is_over: Callable[[], bool]) -> Delivered:
        """Send each destination what it does not have yet, as long as there is time."""
        outcomes = _Outcomes(self._office, self._limits, target, state)
        served = [each for each in self._destinations if each.serves(target.name)]
        ends = [self._deliver_to(each, outcomes, state, is_over) for each in served]
        again = [again_at for _, again_at in ends if again_at]
        positions = tuple(Position(each.digest, number) for each, (number, _) in zip(served, ends, strict=True))
        return Delivered(positions, min(again, default=self._office.clock.now()))

    def _deliver_to(
        self, destination: Destination, outcomes: _Outcomes, state: State, is_over: Callable[[], bool]
    ) -> tuple[int, datetime | None]:
        """The number of the last event that the destination has now, and when to go on, if there is more."""
        number = position_of(state.outbox, destination.digest)
        wanted = numbers_for(destination, state.outbox.notices)
        for notice in state.outbox.notices:
            if notice.number <= number:
                continue
            if notice.number in wanted:
                now = self._office.clock.now()
                alone_until = self._addressee(destination).alone_until
                if alone_until is not None and now < alone_until:
                    return number, alone_until
                if is_over():
                    return number, now
                failure = self._send(destination, outcomes.of(notice))
                if failure and failure.for_good and destination.follower:
                    return number, now + REFUSED_AGAIN
                if failure and not failure.for_good:
                    return number, self._leave_alone(destination, now, failure.why)
            number = notice.number
        return number, None

    def _send(self, destination: Destination, event: OutcomeEvent) -> SendFailure | None:
        """Send one event; what went wrong is logged, and what the destination refuses for good is dropped."""
        failure = self._office.senders[destination.to].send(destination, encode_event(event, destination.format))
        what = "outcome sent" if failure is None else "outcome refused" if failure.for_good else "outcome not sent"
        fields = {"to": destination.title, "type": event.type, "id": event.id, "why": failure.why if failure else ""}
        self._office.emit(LogEvent(what, event.target.name, self._office.clock.now(), fields))
        if failure is None and self._addressee(destination).failures:
            self._note(destination, Addressee())
        return failure

    # --- Destinations that failed ------------------------------------------------------------------------------------

    def _addressee(self, destination: Destination) -> Addressee:
        """The record of a destination, read once an invocation."""
        digest = destination.site_digest
        if digest not in self._addressees:
            body = self._office.store.load(records.destination_key(digest)).body
            self._addressees[digest] = records.read_as(body, Addressee) if body else Addressee()
        return self._addressees[digest]

    def _leave_alone(self, destination: Destination, now: datetime, why: str) -> datetime:
        failures = self._addressee(destination).failures + 1
        until = now + backoff(failures, ALONE_FIRST, ALONE_LAST)
        self._note(destination, Addressee(failures, until, printable(why, WHY_CHARACTERS)))
        return until

    def _note(self, destination: Destination, addressee: Addressee) -> None:
        """Keep what is known of a destination, for other invocations too; who comes second leaves it as it is."""
        self._addressees[destination.site_digest] = addressee
        document = self._office.store.load(records.destination_key(destination.site_digest))
        try:
            self._office.store.save(document, records.write(addressee), None)
        except Conflict:
            return


def numbers_for(destination: Destination, notices: Sequence[Notice]) -> frozenset[int]:
    """The numbers of the events that a destination is sent.

    A follower is sent the last one alone: what a signal at an earlier time asks for, one at a later time asks for, too.
    """
    numbers = [notice.number for notice in notices if notice.kind in destination.kinds]
    return frozenset(numbers[-1:] if destination.follower else numbers)


class _Outcomes:
    """The events of one target, each made when it is first sent: what is known of the target is read once."""

    def __init__(self, office: Office, limits: Limits, target: Target, state: State) -> None:
        self._office = office
        self._limits = limits
        self._target = target
        self._state = state
        self._evidence: Evidence | None = None
        self._history: Sequence[Ended] = ()

    def of(self, notice: Notice) -> OutcomeEvent:
        """The event that a notice stands for."""
        office = self._office
        if self._evidence is None:
            now = office.clock.now()
            keys = (records.DEPLOYMENT_KEY, records.identity_key(self._target.identity))
            known, identity = (document.body for document in office.store.load_many(keys))
            self._evidence = Evidence(
                self._target,
                self._state,
                records.read_deployment(known),
                office.capabilities,
                now,
                sources=tuple(office.sources(self._target, now)),
                identity=records.read_identity(identity),
                limits=self._limits,
            )
            self._history = [records.read_ended(line) for line in office.store.history(self._target.key, HISTORY_READ)]
        run = next((each for each in self._history if notice.token and each.token.startswith(notice.token)), None)
        return outcome(office.source, notice, self._evidence, run)
