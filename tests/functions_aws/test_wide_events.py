"""An S3 event that concerns more views than one invocation has time for, on the Lambda with its clients and queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions_aws.shell import NotDoneError
from local.emulators.aws.emulator import LocalAws
from shared.refresh.ports import Document
from tests.support.aws_host import HandClock, Host, living_in, object_created

VIEWS = [f"view{number:02}" for number in range(25)]
VIEW = """
[targets.{name}]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "{name}"
quiet_period = "1h"
max_wait = "2h"
on = [{{ s3_object_created = {{ bucket = "landing" }} }}]
"""
SERVICES = count(1)
SAVE_SECONDS = 6
"""An invocation that has a minute, five seconds of which are kept back, saves ten records."""


@pytest.fixture(name="host")
def make_host() -> Iterator[Host]:
    """The shell with many views that read one bucket, on a store whose saves take long."""
    clock = HandClock()
    with living_in(LocalAws(clock=clock.now, refresh_events=False)) as aws:
        host = Host(aws, clock, f"unstale-wide-{next(SERVICES)}")
        host.configure("".join(VIEW.format(name=name) for name in VIEWS))
        save = host.ports.store.save

        def save_slowly(document: Document, body: bytes, wake_at: datetime | None) -> Document:
            clock.move_on(seconds=SAVE_SECONDS if document.key.startswith("glue-view:") else 0)
            return save(document, body, wake_at)

        host.ports.store.save = save_slowly  # type: ignore[method-assign]  # a slow store
        yield host


def waiting(host: Host) -> list[str]:
    """The bodies of the messages in the events queue, which are taken out."""
    sqs, url = host.aws.client("sqs"), host.aws.queues["events"].url
    messages: list[Any] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in messages]


def signalled(host: Host) -> list[str]:
    """The views that are owed a refresh."""
    return [name for name in VIEWS if host.state(name).owed]


def test_all_views_are_signalled_by_as_many_messages_as_it_takes(host: Host) -> None:
    """What there was no time for lies in the events queue when the event is acknowledged."""
    assert host.deliver(object_created("orders/1", host.clock.now())) == []
    assert signalled(host) == VIEWS[:10]
    turns = 0
    while bodies := waiting(host):
        assert host.deliver(*bodies) == []
        turns += 1
    assert signalled(host) == VIEWS
    assert turns == 2


def test_a_rest_that_cannot_be_sent_keeps_the_event_in_its_queue(host: Host) -> None:
    """It comes back, and concerns all of them again."""

    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no sqs:SendMessage"}}, "SendMessage")

    send = host.clients.sqs.send_message
    host.clients.sqs.send_message = refuse
    assert host.deliver(object_created("orders/1", host.clock.now())) == [0]
    host.clients.sqs.send_message = send
    assert waiting(host) == []


def test_without_a_queue_the_caller_hears_of_what_is_left(host: Host) -> None:
    """Lambda puts an asynchronous event that failed into the events queue."""
    with pytest.raises(NotDoneError, match="no time for all targets"):
        host.invoke(json.loads(object_created("orders/1", host.clock.now())))
