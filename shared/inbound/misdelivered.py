"""Names what came into the events queue of AWS without being an EventBridge event, and says what to do about it.

Such a message becomes a dead letter, and its reason is all that whoever looks there has to go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

# Each function below knows one kind of message by fields that no EventBridge event has at its top level.

SWITCH_ON = "switch on Amazon EventBridge for the bucket (its properties, Event notifications)"


def what_it_is(encoded: bytes) -> msgspec.ValidationError | None:
    """Name a message that has no detail type, with the cure; None if it is nothing that is known."""
    message = msgspec.json.decode(encoded)
    words = next((words for find in (_notification, _test, _envelope, _detail) if (words := find(message))), "")
    return msgspec.ValidationError(words) if words else None


def _notification(message: Mapping[str, Any]) -> str:
    """`{"Records": [{"eventSource": "aws:s3", ...}]}`: what a bucket's own notification sends."""
    records = message.get("Records")
    first = records[0] if isinstance(records, list) and records else None
    source = first.get("eventSource") if isinstance(first, dict) else None
    if source == "aws:s3":
        return (
            "an S3 event notification, sent straight to the queue, where an EventBridge event is expected: "
            f"{SWITCH_ON}, and delete its notification to this queue"
        )
    return f"a batch of records of {source}, where an EventBridge event is expected" if source else ""


def _test(message: Mapping[str, Any]) -> str:
    """`{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": ...}`."""
    if message.get("Event") != "s3:TestEvent":
        return ""
    return (
        f"S3's test event: somebody let the bucket {message.get('Bucket', '')} send its notifications straight to the "
        f"queue, where EventBridge events are expected: {SWITCH_ON}, and delete its notification to this queue"
    )


def _envelope(message: Mapping[str, Any]) -> str:
    """`{"Type": "Notification", "TopicArn": "arn:aws:sns:...", "Message": "..."}`."""
    if message.get("Type") not in ("Notification", "SubscriptionConfirmation") or "TopicArn" not in message:
        return ""
    return (
        f"an SNS message of the topic {message['TopicArn']}, where an EventBridge event is expected: delete the "
        "subscription of this queue, and let an EventBridge rule send the events (the template makes it)"
    )


def _detail(message: Mapping[str, Any]) -> str:
    """The `detail` of S3's event alone, which is all that a rule leaves with `InputPath: $.detail`."""
    if not {"bucket", "object", "request-id"} <= message.keys():
        return ""
    return (
        "the detail of an S3 event without its envelope, as InputPath or InputTransformer leaves it: let the rule "
        "send the whole event (remove InputPath and InputTransformer from its target)"
    )
