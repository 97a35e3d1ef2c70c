"""Configurations of many targets, and the events that signal them, as both clouds send them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from local.emulators.aws.lambda_host import sqs_event

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:events"


def glue_targets(count: int, defaults: str = "") -> str:
    """A configuration of so many views, each with a prefix of its own in one bucket."""
    target = """
[targets.t{n}]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "t{n}"
on = [{{ s3_object_created = {{ bucket = "landing", prefix = "t{n}/" }} }}]
"""
    return defaults + "".join(target.format(n=n) for n in range(count))


def policy(quiet: timedelta, interval: timedelta, longest: timedelta) -> str:
    """The defaults of a configuration."""
    return (
        f'[defaults]\nquiet_period = "{quiet.seconds}s"\nmin_interval = "{interval.seconds}s"\n'
        f'max_wait = "{longest.seconds}s"\n'
    )


def s3_event(target: int, name: str, at: datetime) -> str:
    """An object below a target's prefix."""
    return json.dumps(
        {
            "version": "0",
            "id": f"17793124-05d4-b198-2fde-{name}",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "123456789012",
            "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "region": "eu-central-1",
            "resources": ["arn:aws:s3:::landing"],
            "detail": {
                "version": "0",
                "bucket": {"name": "landing"},
                "object": {"key": f"t{target}/{name}.parquet", "size": 5, "etag": "b1946ac9", "sequencer": "617f08"},
                "request-id": "N4N7GDK58NMKJ12R",
                "requester": "123456789012",
                "source-ip-address": "1.2.3.4",
                "reason": "PutObject",
            },
        }
    )


def batch(bodies: Sequence[str], queue: str = QUEUE) -> dict[str, Any]:
    """A batch of a queue, as Lambda hands it over."""
    messages = [
        {"MessageId": str(place), "ReceiptHandle": "r", "Body": body, "Attributes": {}, "MD5OfBody": ""}
        for place, body in enumerate(bodies)
    ]
    return sqs_event(messages, queue)


def lake_targets(count: int, defaults: str = "") -> str:
    """A configuration of so many lakehouses, each with a container of its own."""
    target = """
[targets.t{n}]
kind = "fabric-lake-views"
workspace = "4b218778-e7a5-4d73-8187-f10824047715"
lakehouse = "431e8d7b-4a95-4c02-8ccd-{n:012}"
on = [{{ blob_created = {{ account = "contosolake", container = "landing{n}" }} }}]
"""
    return defaults + "".join(target.format(n=n) for n in range(count))


def blob_event(target: int, name: str, at: datetime) -> str:
    """A blob in a target's container, as Event Grid tells it."""
    container = f"landing{target}"
    return json.dumps(
        {
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/contosolake",
            "subject": f"/blobServices/default/containers/{container}/blobs/{name}.parquet",
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": at.isoformat(),
            "id": name,
            "data": {"api": "PutBlob", "url": f"https://contosolake.blob.core.windows.net/{container}/{name}.parquet"},
            "dataVersion": "",
            "metadataVersion": "1",
        }
    )
