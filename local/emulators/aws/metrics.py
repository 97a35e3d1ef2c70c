"""The figure of CloudWatch that moto has none of: the age of each queue's oldest message.

As AWS has it, a message that was received three times or more does not count, and an age counts from when a message was
sent, also where it is delayed.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from moto.cloudwatch.models import MetricDatum
from moto.sqs.models import sqs_backends

RECEIVED_OFTEN: Final = 3
"""Receives from which on a message is left out of the age."""


def queue_ages(account: str, region: str, now: datetime) -> list[Any]:
    """ApproximateAgeOfOldestMessage of every queue, as of now."""
    return [
        MetricDatum(
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            _age_seconds(queue, now),
            [{"Name": "QueueName", "Value": queue.name}],
            None,
            "Seconds",
        )
        for queue in sqs_backends[account][region].queues.values()
    ]


def _age_seconds(queue: Any, now: datetime) -> float:
    """The age of a queue's oldest message that counts; zero where there is none."""
    waiting = (each for each in queue._messages if each.approximate_receive_count < RECEIVED_OFTEN)  # noqa: SLF001 - moto shows only what can be received
    sent_at = [float(message.sent_timestamp) / 1000 for message in waiting]
    return max(0.0, now.timestamp() - min(sent_at)) if sent_at else 0.0
