"""Dead letters: messages that nobody can read, put beside their queue with the reason; counted, and redriven.

Each queue names its dead-letter queue itself, in its redrive policy, so nothing else has to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from functions_aws.clients import Clients, ask
from shared.inbound.dead_letters import GIVEN_UP, LOOKED_AT, DeadLetterSummary, Move
from shared.redaction import plain
from shared.refresh.ports import StoreDownError
from shared.values import Value

WHY = "why"
"""The message attribute with our reason. What SQS itself moved, after too many receives, has none."""

CODE, MESSAGE = "ERROR_CODE", "ERROR_MESSAGE"
"""EventBridge's reason, on what a rule could not deliver to the queue.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""


class _Queue(Value, frozen=True):
    """A queue, and the dead-letter queue that its redrive policy names."""

    name: str
    arn: str
    dead_arn: str
    dead_url: str


class DeadLetters:
    """The dead letters of the queues with these URLs, and of any queue that a record comes from.

    The function only sends; the command counts and redrives. Where a dead-letter queue is, is asked once and kept.
    """

    def __init__(self, clients: Clients, queue_urls: Iterable[str] = ()) -> None:
        self._clients = clients
        self._queue_urls = tuple(url for url in queue_urls if url)
        self._dead_urls: dict[str, str] = {}

    def send(self, queue: str, body: bytes, why: str) -> None:
        """SendMessage to the dead-letter queue of the queue with this ARN. Raises `StoreDownError`."""
        ask(
            "sending a dead letter",
            lambda: self._clients.sqs.send_message(
                QueueUrl=self._dead_url_of(queue),
                MessageBody=body.decode(errors="surrogatepass"),
                MessageAttributes={WHY: {"DataType": "String", "StringValue": why}},
            ),
        )

    def return_to(self, queue: str, body: bytes) -> None:
        """SendMessage to the queue with this ARN itself: a part of a message. Raises `StoreDownError`."""
        ask(
            "putting back what is left of a message",
            lambda: self._clients.sqs.send_message(QueueUrl=self._clients.queue_url(queue), MessageBody=body.decode()),
        )

    def summaries(self) -> tuple[DeadLetterSummary, ...]:
        """Say what lies in each dead-letter queue. Raises `StoreDownError`."""
        return ask("counting dead letters", lambda: tuple(self._summary(self._queue(url)) for url in self._queue_urls))

    def redrive(self) -> None:
        """StartMessageMoveTask for each queue that has dead letters: back to where they came from, at SQS's own speed.

        The destination is named, because SQS does not know the origin of those that we sent.
        """
        ask("moving dead letters back", self._move_all)

    def _move_all(self) -> None:
        for queue in map(self._queue, self._queue_urls):
            if self._summary(queue).count:
                self._clients.sqs.start_message_move_task(SourceArn=queue.dead_arn, DestinationArn=queue.arn)

    def moves(self) -> tuple[Move, ...]:
        """ListMessageMoveTasks: the latest one of each queue, where there was one."""
        return ask(
            "asking how far the move is",
            lambda: tuple(move for queue in map(self._queue, self._queue_urls) for move in self._latest_move(queue)),
        )

    def _latest_move(self, queue: _Queue) -> Iterable[Move]:
        answer = self._clients.sqs.list_message_move_tasks(SourceArn=queue.dead_arn, MaxResults=1)
        for task in answer.get("Results", ()):
            yield Move(
                queue.name,
                task.get("Status", ""),
                task.get("ApproximateNumberOfMessagesMoved", 0),
                task.get("ApproximateNumberOfMessagesToMove"),
                task.get("FailureReason", ""),
            )

    def _summary(self, queue: _Queue) -> DeadLetterSummary:
        found = self._clients.sqs.get_queue_attributes(
            QueueUrl=queue.dead_url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        count = int(found["Attributes"]["ApproximateNumberOfMessages"])
        messages = self._look_at(queue.dead_url) if count else []
        oldest = min(map(_sent_at, messages), default=None)
        return DeadLetterSummary(queue.name, count, oldest, tuple(dict.fromkeys(map(_why, messages))))

    def _look_at(self, url: str) -> list[dict[str, Any]]:
        """ReceiveMessage of a few dead letters, which stay visible: the command only looks at them."""
        answer = self._clients.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=LOOKED_AT,
            VisibilityTimeout=0,
            MessageSystemAttributeNames=["SentTimestamp"],
            MessageAttributeNames=[WHY, CODE, MESSAGE],
        )
        return list(answer.get("Messages", ()))

    def _dead_url_of(self, arn: str) -> str:
        if arn not in self._dead_urls:
            self._dead_urls[arn] = self._queue(self._clients.queue_url(arn)).dead_url
        return self._dead_urls[arn]

    def _queue(self, url: str) -> _Queue:
        answer = self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "RedrivePolicy"])
        arn = answer["Attributes"]["QueueArn"]
        dead_arn = json.loads(answer["Attributes"].get("RedrivePolicy", "{}")).get("deadLetterTargetArn", "")
        name = arn.rpartition(":")[2]
        if not dead_arn:
            raise StoreDownError(f"the queue {name} has no dead-letter queue")
        return _Queue(name, arn, dead_arn, self._clients.queue_url(dead_arn))


def _sent_at(message: Mapping[str, Any]) -> datetime:
    """Read when a message was first sent, which SQS tells in milliseconds since the epoch."""
    return datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)


def _why(message: Mapping[str, Any]) -> str:
    """Find the reason of a dead letter: EventBridge's, ours, or none, where SQS itself gave the message up."""
    said = {name: each.get("StringValue", "") for name, each in message.get("MessageAttributes", {}).items()}
    if CODE in said:
        return plain(f"EventBridge could not deliver it: {said[CODE]} {said.get(MESSAGE, '')}".rstrip())
    return str(said.get(WHY, GIVEN_UP))
