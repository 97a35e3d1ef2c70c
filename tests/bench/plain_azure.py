"""The plain function app: a managed identity, `requests`, and a start for each event; nothing is stored."""

import json
import os

import azure.functions as func
import requests
from azure.identity import ManagedIdentityCredential

FABRIC = os.environ.get("FABRIC_URL", "https://api.fabric.microsoft.com")

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
credential = ManagedIdentityCredential()
session = requests.Session()


@app.queue_trigger(arg_name="message", queue_name="events", connection="STORAGE")
def on_event(message: func.QueueMessage) -> None:
    """Start a refresh for each event."""
    event = json.loads(message.get_body())
    token = credential.get_token("https://api.fabric.microsoft.com/.default").token
    answer = session.post(
        f"{FABRIC}/v1/workspaces/w/lakehouses/l/jobs/instances?jobType=RefreshMaterializedLakeViews",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    answer.raise_for_status()
    print(event["subject"], answer.status_code)
