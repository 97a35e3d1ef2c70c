"""The triggers' common work: read what came, let `shared.inbound.dispatch` judge it, and carry the verdicts out.

A bad configuration or a missing variable makes every invocation fail with what is wrong, and leaves the messages where
they are (G6, G1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from functions_azure.clients import Deadline
from functions_azure.queue_messages import UnfitMessageError
from functions_azure.settings import EVENTS_QUEUE
from functions_azure.telemetry import Telemetry
from shared.config.configuration import Configuration
from shared.inbound import eventgrid
from shared.inbound.dispatch import DONE, Judged, Verdict, take
from shared.inbound.messages import Asked, Ignored, Malformed, Message, Ticked, each
from shared.redaction import NOTHING_KNOWN, Redactor, plain
from shared.refresh import status
from shared.refresh.engine import Engine, Ports
from shared.refresh.evidence import evidence_on
from shared.refresh.failure import Failure
from shared.refresh.ports import StoreDownError
from shared.targets import Target
from shared.text import BYTE_ORDER_MARK
from shared.values import Value

if TYPE_CHECKING:
    from functions_azure.queue_behind import Waiting
    from functions_azure.workload.shell import Gate, Request
    from shared.workload.api import Answer

INVOCATION_SECONDS, ENGINE_SECONDS = 9.0, 8.0
"""Told to stop, the host leaves a call 10 s, then cuts the worker off, and the message stays hidden for ten minutes (as
seen with host 4.1037). Calls to Fabric must be over after the second of these, any call after the first."""
ROUND_SECONDS = 6.0
"""With less of an invocation left, no more messages are taken along. What is taken may need a call to Fabric, which has
four seconds (`call_timeout`), with the store's calls around it, a second before the end."""

REFRESH_BODY_LIMIT = 64 * 1024
"""Bytes of the body of `POST /api/refresh/{target}`, which names two small fields. It is looked at before anything is
decoded: 30 MB of brackets become 810 MB of objects."""

RETRY_AFTER_SECONDS = 30
"""The time that a caller is told to wait: as long as a message that comes back does (host.json)."""

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Between two turns of a batch from an event hub: doubled, so that a store in trouble is left alone, up to half a
minute, so that its partition does not stand still for long after the trouble is over."""
TURNS_BEFORE_QUEUE = 2
"""Turns of a batch from an event hub before its events go to the queue, where they wait on their own."""


class ComesBackError(Exception):
    """A message could not be settled for trouble of ours; the host brings it back.

    The text says why, without a cause that might show too much.
    """


class DeadLetterSink(Protocol):
    """The port through which the shell buries a message; both methods may raise `StoreDownError`."""

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Bury a message that was in, or meant for, this queue."""

    def return_to(self, queue: str, body: bytes) -> None:
        """Put an event into the queue. Raises `UnfitMessageError` where it can never be there."""


class Behind(Protocol):
    """The port to what waits in a queue; both methods may raise `StoreDownError`."""

    def take(self) -> Sequence[Waiting]:
        """Take some messages, which are hidden for a while and then there again."""

    def remove(self, waiting: Waiting) -> None:
        """Remove a message that was taken."""


class Invocation(NamedTuple):
    """The parts that one invocation works on; all work must be over by the deadline."""

    configuration: Configuration
    """The configuration by which this invocation works."""
    engine: Engine
    """Reconciles targets until a second before the deadline."""
    ports: Ports
    """Store, platform, waker and clock, whose calls keep the deadline."""


class Reply(Value, frozen=True):
    """An answer over HTTP."""

    status: HTTPStatus
    """The outcome of the request."""
    content: Mapping[str, Any]
    """The body, which goes out as JSON."""

    @property
    def headers(self) -> dict[str, str]:
        """How long to wait, where waiting helps."""
        waits = self.status is HTTPStatus.SERVICE_UNAVAILABLE
        return {"Retry-After": str(RETRY_AFTER_SECONDS)} if waits else {}


class Shell:
    """The triggers' work, on the parts that it is given; one for a process."""

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        ports: Callable[[Configuration, Deadline], Ports],
        dead_letters: Callable[[Deadline], DeadLetterSink],
        telemetry: Telemetry,
        renew: Callable[[Deadline], Failure | None] = lambda _: None,
        *,
        gate: Callable[[], Gate] | None = None,
        behind: Callable[[str, Deadline], Behind] | None = None,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """Parts are made anew for each invocation, because each has a deadline. Making them must not call anything.

        `renew` keeps what targets do not keep alive themselves: the sign-in of a user. `gate` lets Fabric's calls in;
        it is only asked for where they are served. `behind` gives an invocation more messages of its queue; without it,
        each takes the one that it was called for. `redactor` takes secrets out of whatever is said of a trouble.
        """
        self._configuration = configuration
        self._ports = ports
        self._dead_letters = dead_letters
        self._telemetry = telemetry
        self._renew = renew
        self._gate = gate or _refuse_all
        self._behind = behind
        self._redactor = redactor

    def deliver(self, queue: str, body: bytes) -> None:
        """Take one message, then in rounds what waits in its queue. Raises `ComesBackError` for the one, at once.

        The host removes the one when this returns. Until then it renews what hides it; should the worker die meanwhile,
        the message comes again, which changes nothing any more (G5).
        """
        deadline = Deadline(INVOCATION_SECONDS)
        self._deliver(queue, body, deadline)
        if not self._behind:
            return
        behind = self._behind(queue, deadline)
        while deadline.seconds_left() >= ROUND_SECONDS:
            others = self._take_more(behind)
            if not others:
                return
            self._take_along(queue, behind, others, deadline)

    def push(self, body: bytes) -> None:
        """Take one event that came over HTTP. Raises `ComesBackError`."""
        self._deliver(EVENTS_QUEUE, body, Deadline(INVOCATION_SECONDS))

    def _deliver(self, queue: str, body: bytes, deadline: Deadline) -> None:
        [judged] = self._take([body], deadline)
        why = self._settle(queue, body, judged, deadline)
        if why:
            raise ComesBackError(why) from None

    def _take_more(self, behind: Behind) -> Sequence[Waiting]:
        """Take some messages; where that cannot be done, the host calls for each of them."""
        try:
            return behind.take()
        except StoreDownError as down:
            self._telemetry.note_returned(0, str(down), down)
            return ()

    def _take_along(self, queue: str, behind: Behind, others: Sequence[Waiting], deadline: Deadline) -> None:
        """Judge a round of messages together, and settle each by itself: what has to come back is left as it is."""
        judged = self._take([other.body for other in others], deadline)
        for other, its in zip(others, judged, strict=True):
            if not self._settle(queue, other.body, its, deadline):
                self._remove(behind, other)

    def _remove(self, behind: Behind, done: Waiting) -> None:
        """Remove a message that is done. Where that fails it comes again, which changes nothing any more (G5)."""
        try:
            behind.remove(done)
        except StoreDownError as down:
            self._telemetry.note_returned(1, str(down), down)

    def tick(self) -> None:
        """Handle the one-minute timer. Raises `ComesBackError`, so that a failure is seen; the next comes anyway."""
        deadline = Deadline(INVOCATION_SECONDS)
        self._telemetry.tell_refusals()
        [judged] = self._judge(lambda _: [Ticked()], deadline, 1)
        if judged.verdict is not Verdict.RETRY:
            judged = self._renew_sign_in(deadline)
        if judged.verdict is Verdict.RETRY:
            self._telemetry.note_returned(0, judged.why, judged.cause)
            raise ComesBackError(self._redactor.plain(judged.why)) from None

    def store(self, bodies: Sequence[bytes], *, to_queue: bool) -> list[bytes]:
        """Take a batch that nobody brings back. Returns what is left: neither stored, nor buried, nor in the queue."""
        deadline = Deadline(INVOCATION_SECONDS)
        left = []
        for body, judged in zip(bodies, self._take(bodies, deadline), strict=True):
            returned = self._settle(EVENTS_QUEUE, body, judged, deadline)
            if returned and not (to_queue and self._put_into_queue(body, deadline)):
                left.append(body)
        return left

    def refresh(self, name: str, body: bytes) -> Reply:
        """`POST /api/refresh/{target}`, `{"full": false, "reason": "..."}` or nothing. Answers with what happened.

        With `"upstream"` and `"time"`, the end of its run, an upstream on the other cloud asks.
        """
        if len(body) > REFRESH_BODY_LIMIT:
            why = f"a body of {len(body)} bytes, where {REFRESH_BODY_LIMIT} are allowed"
            return Reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": why})
        try:
            here = self._invocation(Deadline(INVOCATION_SECONDS))
            message = _request_of(name, body, here.ports.clock.now())
            [judged] = take(here.engine, here.configuration, [message])
            return self._reply(here, name, message, judged)
        except Exception as failure:  # noqa: BLE001 - an exception that leaves the function is an empty 500
            return self._unavailable(failure)

    def job(self, request: Request) -> Answer:
        """Answer a call that Fabric makes of a workload: create, get or cancel a job."""
        from functions_azure.workload import shell as workload

        deadline = Deadline(INVOCATION_SECONDS)
        return workload.answer(request, self._gate, lambda: self._invocation(deadline), self._telemetry)

    # --- Judging -----------------------------------------------------------------------------------------------------

    def _invocation(self, deadline: Deadline) -> Invocation:
        configuration = self._configuration()
        ports = self._ports(configuration, deadline)
        left = deadline.seconds_left() - (INVOCATION_SECONDS - ENGINE_SECONDS)
        engine = Engine(configuration.package(ports.cloud), ports, ends_at=ports.clock.monotonic() + left)
        return Invocation(configuration, engine, ports)

    def _take(self, bodies: Sequence[bytes], deadline: Deadline) -> Sequence[Judged]:
        return self._judge(lambda now: self._read(bodies, now), deadline, len(bodies))

    def _read(self, bodies: Sequence[bytes], now: datetime) -> Sequence[Message]:
        messages = [eventgrid.read(body, now) for body in bodies]
        for message in each(messages):
            if isinstance(message, Ignored):
                self._telemetry.note_ignored(message.what)
        return messages

    def _judge(self, read: Callable[[datetime], Sequence[Message]], deadline: Deadline, count: int) -> Sequence[Judged]:
        try:
            here = self._invocation(deadline)
            return take(here.engine, here.configuration, read(here.ports.clock.now()))
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is ours: the messages come back
            return [Judged(Verdict.RETRY, _words(failure), failure)] * count

    def _renew_sign_in(self, deadline: Deadline) -> Judged:
        """A sign-in that cannot be renewed fails the tick, though nothing needs it yet, so that somebody hears."""
        try:
            failure = self._renew(deadline)
        except Exception as error:  # noqa: BLE001 - the next tick tries again
            return Judged(Verdict.RETRY, _words(error), error)
        return Judged(Verdict.RETRY, str(failure)) if failure else DONE

    # --- Verdicts ----------------------------------------------------------------------------------------------------

    def _settle(self, queue: str, body: bytes, judged: Judged, deadline: Deadline) -> str:
        """Carry a verdict out; why the message must come back, or "" if it need not."""
        judged = self._send_rests(judged, deadline)
        if judged.verdict is Verdict.DEAD:
            judged = self._bury(queue, body if judged.dead is None else judged.dead, judged.why, deadline)
        if judged.verdict is Verdict.DONE:
            return ""
        self._telemetry.note_returned(1, judged.why, judged.cause)
        return self._redactor.plain(judged.why) or "trouble of ours"

    def _send_rests(self, judged: Judged, deadline: Deadline) -> Judged:
        """Put what there was no time for into the queue, before the message is acknowledged; else it comes back."""
        try:
            for rest in judged.rests:
                self._dead_letters(deadline).return_to(EVENTS_QUEUE, rest)
        except StoreDownError as down:
            return Judged(Verdict.RETRY, str(down), down)
        return judged

    def _bury(self, queue: str, body: bytes, why: str, deadline: Deadline) -> Judged:
        try:
            self._dead_letters(deadline).send(queue, body, self._redactor.plain(why))
        except StoreDownError as down:
            return Judged(Verdict.RETRY, str(down), down)
        self._telemetry.note_dead_letter(queue, why)
        return DONE

    def _put_into_queue(self, body: bytes, deadline: Deadline) -> bool:
        """Tell whether an event is kept: in the queue or, where it can never be there, among the dead letters."""
        try:
            self._dead_letters(deadline).return_to(EVENTS_QUEUE, body)
        except UnfitMessageError as unfit:
            return self._bury(EVENTS_QUEUE, body, str(unfit), deadline).verdict is Verdict.DONE
        except StoreDownError as down:
            self._telemetry.note_returned(1, str(down), down)
            return False
        return True

    def _reply(self, here: Invocation, name: str, message: Message, judged: Judged) -> Reply:
        if judged.verdict is Verdict.RETRY:
            return self._unavailable(judged.cause or RuntimeError(judged.why))
        if isinstance(message, Malformed):
            return Reply(HTTPStatus.BAD_REQUEST, {"error": message.why})
        target = here.configuration.by_name.get(name)
        if judged.verdict is Verdict.DEAD or target is None:
            of_upstream = isinstance(message, Asked) and message.ended_at is not None
            status = HTTPStatus.GONE if of_upstream else HTTPStatus.NOT_FOUND  # 404 says also an app without functions
            return Reply(status, {"error": judged.why, "targets": _names(here.engine)})
        return Reply(HTTPStatus.ACCEPTED, {"target": name, **_status_of(here.ports, target)})

    def _unavailable(self, trouble: Exception) -> Reply:
        self._telemetry.note_returned(0, _words(trouble), trouble)
        return refuse_unavailable(trouble, self._redactor)


def _refuse_all() -> Gate:
    raise RuntimeError("this deployment does not serve Fabric workload calls")


def refuse_unavailable(trouble: Exception, redactor: Redactor) -> Reply:
    """Answer that a failure of ours is in the way, in words: ask again."""
    return Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": redactor.plain(_words(trouble))})


def persist(
    shell: Callable[[], Shell],
    bodies: Iterable[bytes],
    pause: Callable[[float], None],
    complain: Callable[[Exception], None],
) -> None:
    """Store a batch of an event hub, however long it takes.

    The host moves its checkpoint on when the invocation ends, even if it fails, but not when the host is being stopped
    (EventHubListener.PartitionProcessor). So what is neither stored nor in the queue holds this invocation, and with it
    its partition; killed meanwhile, it is delivered again.
    """
    left = list(bodies)
    for turn, seconds in enumerate(chain(PAUSES_SECONDS, repeat(PAUSES_SECONDS[-1]))):
        try:
            left = shell().store(left, to_queue=turn >= TURNS_BEFORE_QUEUE)
        except Exception as failure:  # noqa: BLE001 - settings that are wrong; a restart with better ones brings them back
            complain(failure)
        if not left:
            return
        pause(seconds)


def _request_of(name: str, body: bytes, now: datetime) -> Message:
    """The request as one of our own messages."""
    try:
        text = body.removeprefix(BYTE_ORDER_MARK).strip()
        given = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Malformed(plain(f"not JSON: {error}"))
    if not isinstance(given, dict):
        return Malformed("Expected a JSON object, or nothing")
    fields = {field: given[field] for field in ("full", "reason", "upstream", "time") if field in given}
    return eventgrid.read({"refresh": name, **fields}, now)


def _status_of(ports: Ports, target: Target) -> dict[str, Any]:
    """How the target stands after it was asked for, where it can be read; dead letters are left to `unstale status`."""
    try:
        found = status.status_of(evidence_on(target, ports.store, ports.platform.capabilities, ports.clock.now()))
    except Exception:  # noqa: BLE001 - the request is stored, and that is what the answer says
        return {}
    standing: dict[str, Any] = msgspec.to_builtins(found)
    return standing


def _names(engine: Engine) -> list[str]:
    return sorted(target.name for target in engine.targets.values())


def _words(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"
