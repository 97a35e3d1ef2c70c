"""Lambda on one machine: a handler with its context, the poller between a queue and it, and something that ticks.

What the poller does follows https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html: a batch whose
invocation fails stays in the queue until it is visible again, and so does each message that the handler reports.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any], Any]
"""A handler as Lambda calls it: an event and a context in, an answer out."""
Message = Mapping[str, Any]
"""A message as ReceiveMessage gives it."""

MOST_MESSAGES_A_CALL: Final = 10
"""ReceiveMessage and DeleteMessageBatch take no more."""

LONG_POLL_SECONDS: Final = 1
"""Also how long stopping may take."""

GATHERING_SECONDS: Final = 0.05
"""How often a batch that is not full is looked after while its window is open."""


@dataclass(frozen=True, slots=True)
class Context:
    """The context that Lambda hands a handler beside the event: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    function_name: str
    """The function's own name, the last part of its ARN."""
    invoked_function_arn: str
    """The ARN under which it was invoked."""
    memory_limit_in_mb: str
    """Its memory, as text."""
    aws_request_id: str
    """The id of this invocation."""
    deadline: float
    """On the monotonic clock, in seconds."""
    function_version: str = "$LATEST"
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would end the invocation; nothing is ended here."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


class Function:
    """A handler as Lambda calls it: events and answers are JSON, errors are kept in `errors`. Safe to share."""

    def __init__(
        self,
        handler: Handler,
        *,
        arn: str,
        timeout: timedelta = timedelta(seconds=60),
        memory_limit_in_mb: int = 256,
    ) -> None:
        """Begin with no invocations. `timeout` is only told to the handler; nothing is ended by force."""
        self.arn = arn
        self.invocations = 0
        self.errors: list[Exception] = []
        self._handler = handler
        self._timeout = timeout
        self._memory_limit_in_mb = memory_limit_in_mb
        self._lock = threading.Lock()

    def invoke(self, event: Any) -> Any:
        """Call the handler and return its answer; raises what it raises."""
        with self._lock:
            self.invocations += 1
        try:
            return json.loads(json.dumps(self._handler(json.loads(json.dumps(event)), self._context())))
        except Exception as error:
            self.errors.append(error)
            log.exception("%s failed", self.arn)
            raise

    def fire(self, event: Any) -> None:
        """Call the handler for a caller that waits for no answer, such as a schedule; an error is kept and logged."""
        try:
            self.invoke(event)
        except Exception:  # noqa: BLE001 - `invoke` has logged it
            return

    def _context(self) -> Context:
        """The context of one invocation."""
        return Context(
            function_name=self.arn.rpartition(":")[2],
            invoked_function_arn=self.arn,
            memory_limit_in_mb=str(self._memory_limit_in_mb),
            aws_request_id=str(uuid.uuid4()),
            deadline=time.monotonic() + self._timeout.total_seconds(),
        )


class _Threads:
    """Threads that run `_work` until the context is left; what one of them raises is raised when it is."""

    def __init__(self, name: str, workers: int = 1) -> None:
        """Prepare the threads; they start with the context."""
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(workers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if self._error and kind is None:
            raise RuntimeError(f"{self._threads[0].name} failed: {self._error!r}") from self._error

    def _run(self) -> None:
        """Work until the context is left. An error ends this thread, and is raised again where the context is left."""
        try:
            while not self._stopping.is_set():
                self._work()
        except Exception as error:  # noqa: BLE001 - raised again where the context is left
            self._error = error

    def _work(self) -> None:
        """A round of work, which must not take long: leaving the context waits for it."""
        raise NotImplementedError


class Every(_Threads):
    """Calls something at an interval, on a thread of its own. Use it as a context."""

    def __init__(self, interval: timedelta, action: Callable[[], object]) -> None:
        """Prepare the thread; the first call comes at once."""
        super().__init__("a repeated action")
        self._interval = interval
        self._action = action

    def _work(self) -> None:
        """Call once, then wait for the interval or the end."""
        self._action()
        self._stopping.wait(self._interval.total_seconds())


class Pump(_Threads):
    """Lambda's poller of one SQS queue, with ReportBatchItemFailures. Use it as a context.

    It waits up to `window` for a batch to become full. `workers` is how many batches may be under way at once.
    """

    def __init__(
        self,
        client: Any,
        queue: Queue,
        function: Function,
        *,
        batch_size: int = MOST_MESSAGES_A_CALL,
        window: timedelta = timedelta(0),
        workers: int = 1,
    ) -> None:
        """Prepare the pollers. AWS takes large batches only with a window, and so does this one."""
        if batch_size > MOST_MESSAGES_A_CALL and window < timedelta(seconds=1):
            raise ValueError("AWS wants a window of at least a second for batches of more than 10")
        super().__init__(f"the poller of {queue.arn}", workers)
        self._client = client
        self._queue = queue
        self._function = function
        self._batch_size = batch_size
        self._window = window

    def _work(self) -> None:
        """Gather one batch and deliver it."""
        if batch := self._gather():
            self._deliver(batch)

    def _gather(self) -> list[Message]:
        """Receive until the batch is full or its window closes."""
        batch = self._receive(self._batch_size, LONG_POLL_SECONDS)
        closes = time.monotonic() + self._window.total_seconds()
        while batch and len(batch) < self._batch_size and time.monotonic() < closes:
            more = self._receive(self._batch_size - len(batch), 0)
            batch += more
            if not more and self._stopping.wait(GATHERING_SECONDS):
                break
        return batch

    def _receive(self, most: int, wait_seconds: int) -> list[Message]:
        """Receive once, with all that Lambda's event has."""
        received = self._client.receive_message(
            QueueUrl=self._queue.url,
            MaxNumberOfMessages=min(most, MOST_MESSAGES_A_CALL),
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(received.get("Messages", ()))

    def _deliver(self, batch: Sequence[Message]) -> None:
        """Call the function, and delete what it did not report; after an error everything becomes visible again."""
        try:
            answer = self._function.invoke(sqs_event(batch, self._queue.arn))
        except Exception:  # noqa: BLE001 - the function keeps it; the batch stays in the queue
            return
        failed = failed_messages(answer, {message["MessageId"] for message in batch})
        done = [message for message in batch if message["MessageId"] not in failed]
        for start in range(0, len(done), MOST_MESSAGES_A_CALL):
            self._delete(done[start : start + MOST_MESSAGES_A_CALL])

    def _delete(self, messages: Iterable[Message]) -> None:
        """Delete messages, ten in a call."""
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        self._client.delete_message_batch(QueueUrl=self._queue.url, Entries=entries)


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a queue is, and what it is called."""

    url: str
    """The address that clients use."""
    arn: str
    """The name that policies, rules and events use."""


def sqs_event(messages: Iterable[Message], queue_arn: str) -> dict[str, Any]:
    """Messages as a handler gets them: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {"Records": [_record(message, queue_arn) for message in messages]}


def _record(message: Message, queue_arn: str) -> dict[str, Any]:
    """A message as it stands in Lambda's event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message["Attributes"]),
        "messageAttributes": {
            name: {
                "stringValue": value.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": value["DataType"],
            }
            for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }


def failed_messages(answer: Any, batch: set[str]) -> set[str]:
    """Which messages of a batch a handler reports as failed: all of them if the answer cannot be read as a report.

    No answer, an empty one and an empty or null list report none. A null, empty, misnamed or unknown identifier fails
    the whole batch.
    """
    if not answer:
        return set()
    try:
        reported = {failure["itemIdentifier"] for failure in answer["batchItemFailures"] or ()}
    except (KeyError, TypeError):
        return batch
    return batch if reported - batch else reported
