"""A blob event that concerns more targets than one invocation has time for, by the triggers of the function app."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import azure.functions as func
import pytest

from functions_azure import app
from functions_azure.settings import EVENTS_QUEUE
from functions_azure.shell import ComesBackError
from shared.config.load import load
from shared.refresh.ports import Document
from tests.support.azure_host import WORKSPACE, Host, blob_created, hosted, packed

JOBS = [f"job{number:02}" for number in range(20)]
JOB = """
[targets.{name}]
kind = "fabric-item-job"
workspace = "{workspace}"
item = "431e8d7b-4a95-4c02-8ccd-6faef5ba1b{number:02}"
job_type = "DefaultJob"
quiet_period = "1h"
max_wait = "2h"
on = [{{ blob_created = {{ account = "contosolake", container = "sales" }} }}]
"""


@pytest.fixture(name="host")
def hosted_functions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The function app with many jobs that read one container, on a store whose saves take a second."""
    with hosted(monkeypatch) as host:
        text = "".join(JOB.format(name=name, number=number, workspace=WORKSPACE) for number, name in enumerate(JOBS))
        configuration = load(text)
        host.configuration = lambda: configuration
        save = host.store.save

        def save_slowly(document: Document, body: bytes, wake_at: datetime | None) -> Document:
            host.clock.move_on(seconds=1)
            return save(document, body, wake_at)

        host.store.save = save_slowly  # type: ignore[method-assign]  # a slow store
        yield host


def signalled(host: Host) -> list[str]:
    """The jobs that are owed a run."""
    return [name for name in JOBS if host.state(name).owed]


def taken_out(host: Host) -> list[bytes]:
    """What was put into the events queue, taken out again."""
    found = [body for queue, body in host.yard.returned if queue == EVENTS_QUEUE]
    host.yard.returned.clear()
    return found


@pytest.mark.parametrize("way", ["queue", "event hub"])
def test_all_targets_are_signalled_by_as_many_messages_as_it_takes(host: Host, way: str) -> None:
    """What there was no time for lies in the events queue when the event is acknowledged."""
    event = packed(blob_created("orders/1.parquet", host.clock.now()))
    if way == "queue":
        host.queue(event)
    else:
        app.stream([func.EventHubEvent(body=event)])
    assert signalled(host) == JOBS[:8]
    turns = 0
    while bodies := taken_out(host):
        for body in bodies:
            host.queue(body)
        turns += 1
    assert signalled(host) == JOBS
    assert turns == 2


def test_a_rest_that_cannot_be_sent_keeps_the_event_in_its_queue(host: Host) -> None:
    """It comes back, and concerns all of them again."""
    host.yard.down = True
    with pytest.raises(ComesBackError, match="the queue is down"):
        host.queue(packed(blob_created("orders/1.parquet", host.clock.now())))
    assert host.yard.returned == []
