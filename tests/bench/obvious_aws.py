"""The obvious Lambda handler: clients and Powertools at import, pydantic for what comes in, `@idempotent`."""

import os
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
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


VIEWS = [View(bucket="landing", prefix="orders/", catalog_id="123456789012", database="sales", table="daily")]


@idempotent_function(
    data_keyword_argument="event",
    persistence_store=persistence,
    config=IdempotencyConfig(event_key_jmespath="id"),
)
def refresh(event: dict[str, Any]) -> None:
    """Start a refresh for one event."""
    arrived = parse(event=event, model=S3EventNotificationEventBridgeModel)
    for view in VIEWS:
        if arrived.detail.object.key.startswith(view.prefix):
            glue.start_materialized_view_refresh_task_run(
                CatalogId=view.catalog_id, DatabaseName=view.database, TableName=view.table
            )


@metrics.log_metrics
@tracer.capture_lambda_handler
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: Any) -> None:
    """Take an SQS batch."""
    for record in event["Records"]:
        refresh(event=record["body"])
