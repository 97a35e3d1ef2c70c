"""The obvious Lambda handler: clients and Powertools at import, pydantic for what comes in, a start for each event.

`handler` keeps an event from being acted on twice by `@idempotent_function`; `handler_without` does not.
"""

import json
import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.parser import BaseModel, parse
from aws_lambda_powertools.utilities.parser.models import S3EventNotificationEventBridgeModel

logger = Logger(service="obvious")
tracer = Tracer(service="obvious")
metrics = Metrics(namespace="obvious", service="obvious")
glue = boto3.client("glue")
dynamodb = boto3.client("dynamodb")
persistence = DynamoDBPersistenceLayer(table_name=os.environ.get("TABLE", "idempotency"), boto3_client=dynamodb)


class View(BaseModel):
    """One view of the configuration."""

    bucket: str
    prefix: str
    catalog_id: str
    database: str
    table: str


VIEWS = [
    View(bucket="landing", prefix=f"t{n}/", catalog_id="123456789012", database="sales", table=f"t{n}")
    for n in range(int(os.environ.get("VIEWS", "50")))
]


def refresh(event: dict[str, Any]) -> None:
    """Start a refresh of each view that an event concerns."""
    arrived = parse(event=event, model=S3EventNotificationEventBridgeModel)
    for view in VIEWS:
        if arrived.detail.bucket.name == view.bucket and arrived.detail.object.key.startswith(view.prefix):
            answer = glue.start_materialized_view_refresh_task_run(
                CatalogId=view.catalog_id, DatabaseName=view.database, TableName=view.table
            )
            logger.info("started", extra={"view": view.table, "run": answer["MaterializedViewRefreshTaskRunId"]})
            metrics.add_metric(name="Started", unit=MetricUnit.Count, value=1)


refresh_once = idempotent_function(
    refresh,
    data_keyword_argument="event",
    persistence_store=persistence,
    config=IdempotencyConfig(event_key_jmespath="id"),
)


@metrics.log_metrics
@tracer.capture_lambda_handler
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: Any) -> None:
    """Take an SQS batch, each event once."""
    for record in event["Records"]:
        refresh_once(event=json.loads(record["body"]))


@metrics.log_metrics
@tracer.capture_lambda_handler
@logger.inject_lambda_context
def handler_without(event: dict[str, Any], _context: Any) -> None:
    """Take an SQS batch, without idempotency."""
    for record in event["Records"]:
        refresh(event=json.loads(record["body"]))
