"""The account in which unstale is deployed: the table, the queues and the rules of the template.

`infra/aws/template.yaml` makes the same in the cloud.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from local.emulators.aws.lambda_host import Queue

LONGEST_RETENTION: Final = timedelta(days=14)
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html."""

QUEUES: Final = {"events": "events-dead", "wakes": "wakes-dead"}
"""Each queue and where its messages go that nobody can read."""

GLUE_DETAIL_TYPES: Final = (
    "Glue Data Catalog Table State Change",
    "Glue Job State Change",
    "Glue Materialized View Refresh Task Started",
    "Glue Materialized View Refresh Task Succeeded",
    "Glue Materialized View Refresh Task Failed",
)
"""Kinds of Glue's events that may concern a target."""


def create_table(dynamodb: Any, name: str) -> None:
    """The store's table: a record per target and its history, and a sparse index by the time of the next look."""
    attributes = {"pk": "S", "sk": "S", "due": "S", "wake_at": "S"}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in attributes.items()],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {"IndexName": "due", "KeySchema": _keys("due", "wake_at"), "Projection": {"ProjectionType": "KEYS_ONLY"}}
        ],
    )
    dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"}
    )


def _keys(hashed: str, ranged: str) -> list[dict[str, str]]:
    """A key schema of a partition key and a sort key."""
    return [{"AttributeName": hashed, "KeyType": "HASH"}, {"AttributeName": ranged, "KeyType": "RANGE"}]


def create_queues(sqs: Any, visibility_timeout: timedelta, most_receives: int) -> dict[str, Queue]:
    """Create each queue with its dead-letter queue, by the names of `QUEUES`."""
    retention = {"MessageRetentionPeriod": str(int(LONGEST_RETENTION.total_seconds()))}
    visibility = {"VisibilityTimeout": str(int(visibility_timeout.total_seconds()))}
    queues = {}
    for name, dead_name in QUEUES.items():
        dead = queues[dead_name] = _create_queue(sqs, dead_name, retention)
        redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": most_receives})
        queues[name] = _create_queue(sqs, name, retention | visibility | {"RedrivePolicy": redrive})
    return queues


def _create_queue(sqs: Any, name: str, attributes: Mapping[str, str]) -> Queue:
    """Create a queue and ask for its ARN, which policies and rules name."""
    url = sqs.create_queue(QueueName=name, Attributes=dict(attributes))["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(url, found["Attributes"]["QueueArn"])


def create_rules(events: Any, queue: Queue, buckets: Iterable[str]) -> None:
    """Let the default bus send what may concern a target into the queue of events."""
    patterns = {
        "objects": {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": list(buckets)}},
        },
        "glue": {"source": ["aws.glue"], "detail-type": list(GLUE_DETAIL_TYPES)},
        "signals": {"detail-type": ["unstale.signal"]},
    }
    for name, pattern in patterns.items():
        events.put_rule(Name=name, EventPattern=json.dumps(pattern), State="ENABLED")
        events.put_targets(Rule=name, Targets=[{"Id": "events", "Arn": queue.arn}])
