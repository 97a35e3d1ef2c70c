"""The obvious function app: the default credential, both storage SDKs and pydantic, all made when it is imported."""

import logging
import os

import azure.functions as func
import requests
from azure.data.tables import TableServiceClient
from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueServiceClient
from pydantic import BaseModel

ACCOUNT = os.environ.get("STORAGE_ACCOUNT", "contoso")

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
credential = DefaultAzureCredential()
tables = TableServiceClient(f"https://{ACCOUNT}.table.core.windows.net", credential=credential)
queues = QueueServiceClient(f"https://{ACCOUNT}.queue.core.windows.net", credential=credential)
session = requests.Session()
log = logging.getLogger(__name__)


class Event(BaseModel):
    """What Event Grid sends."""

    subject: str
    eventType: str  # noqa: N815 - Event Grid's name


@app.queue_trigger(arg_name="message", queue_name="events", connection="STORAGE")
def on_event(message: func.QueueMessage) -> None:
    """Start a refresh for each event."""
    event = Event.model_validate_json(message.get_body())
    token = credential.get_token("https://api.fabric.microsoft.com/.default").token
    answer = session.post(
        "https://api.fabric.microsoft.com/v1/workspaces/w/lakehouses/l/jobs/instances",
        params={"jobType": "RefreshMaterializedLakeViews"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    log.info("%s: %s", event.subject, answer.status_code)


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def sweep(timer: func.TimerRequest) -> None:
    """Look at everything."""
    log.info("%s targets", len(list(tables.get_table_client("targets").list_entities())))
