"""The obvious function app: the default credential, both storage SDKs and pydantic, all made when it is imported.

`on_event` keeps an event from being acted on twice by a row of a table; `on_event_without` does not.
"""

import logging
import os

import azure.functions as func
import requests
from azure.core.exceptions import ResourceExistsError
from azure.data.tables import TableServiceClient
from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueServiceClient
from pydantic import BaseModel

TABLES = os.environ.get("TABLES_URL", "https://contoso.table.core.windows.net")
QUEUES = os.environ.get("QUEUES_URL", "https://contoso.queue.core.windows.net")
FABRIC = os.environ.get("FABRIC_URL", "https://api.fabric.microsoft.com")

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
credential = DefaultAzureCredential()
tables = TableServiceClient(TABLES, credential=credential)
queues = QueueServiceClient(QUEUES, credential=credential)
seen = tables.get_table_client("seen")
session = requests.Session()
log = logging.getLogger(__name__)


class Event(BaseModel):
    """What Event Grid sends."""

    id: str
    subject: str
    eventType: str  # noqa: N815 - Event Grid's name


def refresh(event: Event) -> None:
    """Start a refresh."""
    token = credential.get_token("https://api.fabric.microsoft.com/.default").token
    answer = session.post(
        f"{FABRIC}/v1/workspaces/w/lakehouses/l/jobs/instances",
        params={"jobType": "RefreshMaterializedLakeViews"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    answer.raise_for_status()
    log.info("%s: %s", event.subject, answer.status_code)


@app.queue_trigger(arg_name="message", queue_name="events", connection="STORAGE")
def on_event(message: func.QueueMessage) -> None:
    """Start a refresh for each event, once."""
    event = Event.model_validate_json(message.get_body())
    try:
        seen.create_entity({"PartitionKey": "seen", "RowKey": event.id})
    except ResourceExistsError:
        return
    refresh(event)


@app.queue_trigger(arg_name="message", queue_name="events", connection="STORAGE")
def on_event_without(message: func.QueueMessage) -> None:
    """Start a refresh for each event, without idempotency."""
    refresh(Event.model_validate_json(message.get_body()))


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def sweep(timer: func.TimerRequest) -> None:
    """Look at everything."""
    log.info("%s targets", len(list(tables.get_table_client("targets").list_entities())))
