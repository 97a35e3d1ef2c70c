"""Events as people have them at hand: files of tools and queues, unwrapped to what the functions would be given.

A wrapper is known by fields that no event has at its top level, and wrappers may lie in each other:

    aws sqs receive-message      {"Messages": [{"MessageId", "Body": "<event>"}]}
    az storage message peek      [{"content": "<base64 of an event>", "insertionTime", "dequeueCount"}]
    a batch of Lambda's          {"Records": [{"eventSource": "aws:sqs", "body": "<event>"}]}
    a dead letter of ours        {"why": "...", "body": "<event>"}
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from local.cli.errors import UsageError

Event = Mapping[str, Any] | str
"""An event as it would be delivered: an object, or text that no reader can make one of."""


def events_of(file: str) -> list[Event]:
    """The events of a file, or of standard input for `-`: JSON, or JSON on each line."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return list(_unwrap(_parse(content)))
    except (OSError, ValueError, RecursionError) as failure:
        message = f"cannot read {file} as JSON: {failure}"
        raise UsageError(message) from failure


def _parse(content: bytes) -> Any:
    """JSON in any of its encodings; where it is none as a whole, each of its lines.

    Logs and `jq -c` give a line each, and PowerShell writes UTF-16: both are what people have at hand.
    """
    try:
        return json.loads(content)
    except ValueError:
        lines = [line for line in content.decode("utf-8-sig").splitlines() if line.strip()]
        if len(lines) < 2:  # noqa: PLR2004 - one line was tried already
            raise
        return [json.loads(line) for line in lines]


def _unwrap(content: Any) -> Iterator[Event]:
    """The events inside what `aws sqs receive-message`, `az storage message peek` and dead letters wrap them in."""
    if isinstance(content, list):
        for entry in content:
            yield from _unwrap(entry)
    elif isinstance(content, str):
        yield from _in_text(content)
    elif isinstance(content, dict):
        inside = _inside(content)
        if inside is None:
            yield content
        else:
            yield from _unwrap(inside)
    else:
        yield json.dumps(content)


def _inside(content: Mapping[str, Any]) -> Any:
    """The content of a wrapper; None where the object is no wrapper but an event."""
    records = content.get("Records")
    if isinstance(records, list) and records and all(_is_of_sqs(record) for record in records):
        return [record.get("body", "") for record in records]  # a batch, as the function is given it
    if isinstance(content.get("Messages"), list):
        return content["Messages"]  # aws sqs receive-message
    if isinstance(content.get("Body"), str) and "MessageId" in content:
        return content["Body"]
    if isinstance(content.get("content"), str) and {"insertionTime", "dequeueCount"} & content.keys():
        return content["content"]  # az storage message peek
    if set(content) == {"why", "body"}:
        return content["body"]  # a dead letter of ours on Azure
    return None


def _is_of_sqs(record: Any) -> bool:
    """Whether this is a record of an SQS batch, as a file for `sam local invoke` may abridge it."""
    return isinstance(record, dict) and (record.get("eventSource") == "aws:sqs" or isinstance(record.get("body"), str))


def _in_text(text: str) -> Iterator[Event]:
    """JSON in a text, or base64 of it, as Event Grid fills queues; any other text is delivered as it is."""
    try:
        packed = text if text.lstrip().startswith(("{", "[")) else b64decode(text, validate=True)
        content = json.loads(packed)
    except (ValueError, RecursionError):
        yield text
        return
    if isinstance(content, dict | list):
        yield from _unwrap(content)
    else:
        yield text


def through_eventbridge(event: Event) -> list[Event]:
    """The events that EventBridge would send for an S3 notification, which came straight to the queue."""
    records = event.get("Records") if isinstance(event, dict) else None
    return [
        {
            "source": "aws.s3",
            "detail-type": "Object Created",
            "time": record.get("eventTime"),
            "detail": {
                "bucket": {"name": record["s3"]["bucket"]["name"]},
                "object": {"key": unquote_plus(record["s3"]["object"]["key"])},  # encoded here, not in EventBridge
            },
        }
        for record in (records if isinstance(records, list) else ())
        if _is_of_s3(record)
    ]


def _is_of_s3(record: Any) -> bool:
    """Whether this is a record of an S3 notification with a bucket and a key."""
    try:
        return (
            record["eventSource"] == "aws:s3"
            and isinstance(record["s3"]["bucket"]["name"], str)
            and isinstance(record["s3"]["object"]["key"], str)
        )
    except (TypeError, KeyError):
        return False
