"""An event of each kind, for the first target that such an event signals: something to try `plan` and queues with.

Each sample has the fields that the vendor's event has at the places where our readers look, and names what the source
of the target asks for, so that `plan` shows a start for it. What nobody reads is left out or made up: ids of requests,
sizes. A file for a queue is `unstale plan --sample s3 > event.json`, then `aws sqs send-message --message-body
file://event.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from local.cli.errors import UsageError
from shared.config.load import Configuration
from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueTableChanged,
    OneLakeChanged,
    S3ObjectCreated,
    Source,
    Target,
)

Event = dict[str, Any]
"""An event as JSON, alone: as EventBridge hands it to a queue, or as a CloudEvent of Event Grid."""


def sample(kind: str, configuration: Configuration, now: datetime) -> Event:
    """The event, which happens now; raises `UsageError` where the configuration has no target for it."""
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind == "signal":
        return _signal(configuration.targets[0], time)
    wanted, make = _MADE[kind]
    source = next((one for target in configuration.targets for one in target.on if isinstance(one, wanted)), None)
    if source is None:
        message = f'no target has a source "{wanted.__struct_config__.tag}" in this configuration'
        raise UsageError(message)
    return make(source, time)


def _signal(target: Target, time: str) -> Event:
    """A custom event that asks for this target, from a made-up source: `signal_sources` may refuse it, as any other."""
    detail = {"target": target.name, "full": False, "reason": "a sample"}
    return {"source": "contoso.etl", "detail-type": "unstale.signal", "time": time, "detail": detail}


def _s3(source: Any, time: str) -> Event:
    """An object that the source means was created.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": time,
        "detail": {
            "bucket": {"name": source.bucket},
            "object": {"key": f"{source.prefix}sample{source.suffix}", "size": 5},
            "reason": "PutObject",
        },
    }


def _glue_table(source: Any, time: str) -> Event:
    """The table of the source changed, by the kind of change that a commit to an Iceberg table is told as."""
    detail = {"databaseName": source.database, "tableName": source.table, "typeOfChange": "UpdateTable"}
    return {
        "source": "aws.glue",
        "detail-type": "Glue Data Catalog Table State Change",
        "time": time,
        "detail": detail,
    }


def _glue_job(source: Any, time: str) -> Event:
    """The job of the source succeeded: other states of a job signal nothing, so none of them is a sample."""
    detail = {"jobName": source.job, "state": "SUCCEEDED"}
    return {"source": "aws.glue", "detail-type": "Glue Job State Change", "time": time, "detail": detail}


def _blob(source: Any, time: str) -> Event:
    """A blob that the source means was created, by a call that reports it when its data is there.

    https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
    """
    path = f"{source.container}/blobs/{source.prefix}sample{source.suffix}"
    return {
        "specversion": "1.0",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "type": "Microsoft.Storage.BlobCreated",
        "source": f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{source.account}",
        "subject": f"/blobServices/default/containers/{path}",
        "time": time,
        "data": {"api": "PutBlob"},
    }


def _onelake(source: Any, time: str) -> Event:
    """A file below the path of the source was created, as an eventstream tells of OneLake.

    https://learn.microsoft.com/fabric/real-time-hub/explore-fabric-onelake-events
    """
    return {
        "specversion": "1.0",
        "id": "831e1650-001e-001b-66ab-eeb76e069632",
        "type": "Microsoft.Fabric.OneLake.FileCreated",
        "source": f"/tenant/workspaces/{source.workspace}/items/{source.item}",
        "subject": f"/{source.path}/sample.parquet",
        "time": time,
        "data": {},
    }


_MADE: Mapping[str, tuple[type[Source], Callable[[Any, str], Event]]] = {
    "s3": (S3ObjectCreated, _s3),
    "glue-table": (GlueTableChanged, _glue_table),
    "glue-job": (GlueJobSucceeded, _glue_job),
    "blob": (BlobCreated, _blob),
    "onelake": (OneLakeChanged, _onelake),
}
"""The kind of source that each sample is for, and what makes it. Iceberg tables that are looked at have no event."""

KINDS = (*_MADE, "signal")
"""The kinds of events that `plan --sample` takes."""
