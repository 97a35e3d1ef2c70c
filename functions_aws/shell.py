"""The handler's work: read what came, let `shared.inbound.dispatch` judge it, and carry the verdicts out.

Dead letters are only what cannot be read. Trouble of ours is logged, and leaves the messages where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from functions_aws.telemetry import Telemetry
from shared.config.configuration import Configuration
from shared.inbound import eventbridge
from shared.inbound.dispatch import DONE, NO_TIME, Judged, Verdict, take
from shared.inbound.messages import Asked, Ignored, Message, Ticked, each
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh import status
from shared.refresh.engine import Engine, Ports
from shared.refresh.evidence import evidence_on
from shared.refresh.ports import StoreDownError

MARGIN_SECONDS = 5.0
"""Left of an invocation for saving what the last call answered. Being killed there loses nothing, only time."""

Record = Mapping[str, Any]


class NotDoneError(Exception):
    """A direct invocation asked for something that was not done; the message says why."""


class DeadLetterSink(Protocol):
    """The port through which the shell buries a message; both methods may raise `StoreDownError`."""

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Bury a message of this queue, which is named by its ARN."""

    def return_to(self, queue: str, body: bytes) -> None:
        """Put an event into the queue."""


class Visibility(Protocol):
    """The port through which messages that met trouble of ours come back sooner."""

    def hasten(self, records: Sequence[Record]) -> None:
        """Have messages of one queue come back soon. Raises `StoreDownError`; then they come back later."""


class Shell:
    """The handler's work, on the parts that it is given; one for a process."""

    def __init__(
        self,
        configuration: Configuration,
        ports: Ports,
        dead_letters: DeadLetterSink,
        visibility: Visibility,
        telemetry: Telemetry,
        *,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """`redactor` takes secrets out of what a caller, or whoever reads the dead letters, is told."""
        self._configuration = configuration
        self._package = configuration.package(ports.cloud)
        self._ports = ports
        self._dead_letters = dead_letters
        self._visibility = visibility
        self._telemetry = telemetry
        self._redactor = redactor

    def answer(self, event: Any, context: Any) -> Any:
        """Answer one invocation: see `app.handler`. Raises `NotDoneError`, but never for a batch."""
        with self._telemetry.invocation(_correlation_id(event, context)):
            remaining_seconds = context.get_remaining_time_in_millis() / 1000
            ends_at = self._ports.clock.monotonic() + remaining_seconds - MARGIN_SECONDS
            engine = Engine(self._package, self._ports, ends_at=ends_at)
            batch = _records(event)
            return self._take_batch(engine, batch) if batch else self._take_one(engine, event)

    def _take_batch(self, engine: Engine, batch: Sequence[Record]) -> dict[str, Any]:
        """Take an SQS batch, and name the messages that must come back; SQS deletes all others.

        Messages that met the same trouble share one line of the log, so that a batch of a hundred writes one.
        """
        judged = [judged for _, judged in self._take(engine, [record["body"] for record in batch])]
        met: dict[Judged, list[Record]] = {}
        settled = map(self._bury, batch, map(self._send_rests, batch, judged))
        for record, one in zip(batch, settled, strict=True):
            if one.verdict is Verdict.RETRY:
                met.setdefault(one, []).append(record)
        for one, records_of_it in met.items():
            self._telemetry.note_returned([record["messageId"] for record in records_of_it], one.why, one.cause)
        returned = [record for records_of_it in met.values() for record in records_of_it]
        self._hasten(returned)
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in returned]}

    def _hasten(self, returned: Sequence[Record]) -> None:
        """Bring messages back sooner than their queue would. Where that fails they come back all the same."""
        try:
            self._visibility.hasten(returned)
        except StoreDownError as down:
            self._telemetry.note_late_return(str(down))

    def _send_rests(self, record: Record, judged: Judged) -> Judged:
        """Put what there was no time for into the queue, before the message is acknowledged; else it comes back."""
        try:
            for rest in judged.rests:
                self._dead_letters.return_to(record["eventSourceARN"], rest)
        except StoreDownError as down:
            return Judged(Verdict.RETRY, str(down), down)
        return judged

    def _bury(self, record: Record, judged: Judged) -> Judged:
        """Put a dead letter beside its queue, so that it can be acknowledged. If that fails, it comes back instead."""
        if judged.verdict is not Verdict.DEAD:
            return judged
        try:
            # Half a surrogate pair is no character: SQS refuses it, so that this message comes back, and no other does.
            body = record["body"].encode(errors="surrogatepass") if judged.dead is None else judged.dead
            self._dead_letters.send(record["eventSourceARN"], body, self._redactor.plain(judged.why))
        except StoreDownError as down:
            return Judged(Verdict.RETRY, str(down), down)
        self._telemetry.note_dead_letter(record["messageId"], judged.why)
        return DONE

    def _take_one(self, engine: Engine, event: Any) -> dict[str, Any]:
        """Take an event that came without a queue. No queue would bring it back, so its caller hears of any trouble."""
        [(message, judged)] = self._take(engine, [event])
        judged = NO_TIME if judged.rests else judged
        if judged.verdict is Verdict.RETRY:
            self._telemetry.note_returned([], judged.why, judged.cause)
        if judged.verdict is not Verdict.DONE:
            raise NotDoneError(self._redactor.plain(judged.why)) from None
        return self._status_of(message) if isinstance(message, Asked) else {"verdict": judged.verdict}

    def _take(self, engine: Engine, bodies: Sequence[Any]) -> list[tuple[Message, Judged]]:
        now = self._ports.clock.now()
        messages = [eventbridge.read(body, now) for body in bodies]
        for message in each(messages):
            if isinstance(message, Ignored):
                self._telemetry.note_ignored(message.what)
            if isinstance(message, Ticked):
                self._telemetry.note_tick()
        return list(zip(messages, take(engine, self._configuration, messages), strict=True))

    def _status_of(self, asked: Asked) -> dict[str, Any]:
        """Say how the target stands after a refresh was asked for; dead letters are left to `unstale status`."""
        target = self._configuration.by_name[asked.target]
        here = self._ports
        try:
            found = status.status_of(evidence_on(target, here.store, here.platform.capabilities, here.clock.now()))
        except Exception as failure:  # noqa: BLE001 - what was asked for is stored all the same, whatever this is
            return {"name": target.name, "verdict": "unknown", "why": self._redactor.plain(str(failure))}
        answer: dict[str, Any] = msgspec.to_builtins(found)
        return answer


def _records(event: Any) -> Sequence[Record]:
    """Find the records of an SQS batch; none in anything else. Lambda sends no empty batch, and no mixed one."""
    batch = event.get("Records") if isinstance(event, dict) else None
    of_sqs = isinstance(batch, list) and all(
        isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in batch
    )
    return batch if batch and of_sqs else ()


def _correlation_id(event: Any, context: Any) -> str:
    """Choose the id that all lines of an invocation carry: an EventBridge event's own, else the request's."""
    return str((event.get("id") if isinstance(event, dict) else None) or context.aws_request_id)
