"""What tests of the Lambda have in common: an environment that leads into an emulated AWS, unreachable clients."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from functions_aws import settings, wiring
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.shell import Shell
from functions_aws.telemetry import Telemetry
from functions_aws.visibility import Visibility
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.lambda_host import Context, sqs_event
from shared.config.load import Configuration, load
from shared.refresh import records
from shared.refresh.state import State

NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # the port of Discard (RFC 863): nobody listens
    "AWS_ACCESS_KEY_ID": "UNSTALELOCALPRODUCT1",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def living_in(aws: LocalAws) -> Iterator[LocalAws]:
    """Enter an emulated AWS, with the environment of a process that lives there."""
    with aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment({}).items():
            patch.setenv(name, value)
        yield aws


def clients_to_nowhere(*services: str) -> Clients:
    """Clients whose calls are to be stubbed, or to fail; those of `services` are built, and must be."""
    clients = Clients()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NOWHERE.items():
            patch.setenv(name, value)
        for service in services:
            getattr(clients, service)
    return clients


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONFIGURATION = """
[targets.daily]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "daily"
on = [{ s3_object_created = { bucket = "landing", prefix = "orders/" } }]

[targets.weekly]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "weekly"
on = [{ s3_object_created = { bucket = "landing", prefix = "invoices/" } }]
"""


class HandClock:
    """A clock that a test moves on by hand."""

    def __init__(self, time: datetime = NOON) -> None:
        self.time = time

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.time.timestamp()

    def move_on(self, **duration: float) -> None:
        """Let time pass."""
        self.time += timedelta(**duration)


class StandardOutput:
    """Whatever standard output is when something is written: pytest has one for the set-up and one for the test."""

    def write(self, text: str) -> int:
        """Write."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush."""
        sys.stdout.flush()


class Host:
    """The Lambda's shell with two targets, `daily` and `weekly`, in an emulated AWS, on a clock moved by hand."""

    def __init__(self, aws: LocalAws, clock: HandClock, service: str, text: str = CONFIGURATION) -> None:
        """`service` names the logger; one that is new writes to what is standard output now."""
        self.aws = aws
        self.clock = clock
        self.settings = settings.read({**aws.environment({}), "POWERTOOLS_SERVICE_NAME": service})
        self.clients = Clients()
        self.telemetry = Telemetry(service)
        [handler] = logging.getLogger(service).handlers
        handler.setStream(StandardOutput())  # type: ignore[attr-defined]
        self.ports = wiring.make_ports(self.settings, self.clients, self.telemetry.emit, clock)
        self.deploy(load(text, "unstale.toml"))

    def configure(self, text: str) -> None:
        """Deploy another configuration, packaged now: from now on a new process answers."""
        self.deploy(replace(load(text, "unstale.toml"), generation=self.clock.now()))

    def deploy(self, configuration: Configuration) -> None:
        """Have a new process answer, with this configuration."""
        self.configuration = configuration
        self.shell = Shell(
            self.configuration, self.ports, DeadLetters(self.clients), Visibility(self.clients), self.telemetry
        )

    def invoke(self, event: Any, seconds: float = 60) -> Any:
        """Call the handler's work with this much time left."""
        context = Context(
            function_name="unstale",
            invoked_function_arn="arn:aws:lambda:eu-central-1:123456789012:function:unstale",
            memory_limit_in_mb="256",
            aws_request_id="request-1",
            deadline=time.monotonic() + seconds,
        )
        answer = self.shell.answer(json.loads(json.dumps(event)), context)
        return json.loads(json.dumps(answer))

    def deliver(self, *bodies: str, queue: str = "events") -> list[int]:
        """Hand over a batch; the places of the messages in it that are to come back."""
        messages = [
            {"MessageId": str(place), "ReceiptHandle": "r", "Body": body, "Attributes": {}, "MD5OfBody": ""}
            for place, body in enumerate(bodies)
        ]
        answer = self.invoke(sqs_event(messages, self.aws.queues[queue].arn))
        assert answer.keys() == {"batchItemFailures"}
        return sorted(int(failure["itemIdentifier"]) for failure in answer["batchItemFailures"])

    def poll(self) -> int:
        """Take what waits in both queues, as Lambda's pollers do; how many events there were."""
        return [self._poll(queue) for queue in ("wakes", "events")][1]

    def _poll(self, queue: str) -> int:
        sqs, url, count = self.aws.client("sqs"), self.aws.queues[queue].url, 0
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ()):
            assert self.deliver(*(message["Body"] for message in messages), queue=queue) == []
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            count += len(messages)
        return count

    def tick(self) -> None:
        """The one-minute timer fires."""
        assert self.invoke({"tick": True}) == {"verdict": "done"}

    def state(self, name: str) -> State:
        """What the store knows of a target."""
        return records.read_state(self.ports.store.load(self.configuration.by_name[name].key).body)

    def dead_letters(self, queue: str = "events") -> list[tuple[str, str]]:
        """Body and reason of what lies in the dead-letter queue of a queue."""
        received = self.aws.client("sqs").receive_message(
            QueueUrl=self.aws.queues[f"{queue}-dead"].url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return [
            (message["Body"], message["MessageAttributes"]["why"]["StringValue"])
            for message in received.get("Messages", ())
        ]


def object_created(key: str, at: datetime, bucket: str = "landing") -> str:
    """An event of S3, as EventBridge puts it into a queue."""
    event = {
        "version": "0",
        "id": f"event-{key}",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "region": "eu-central-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": 1, "etag": "e", "sequencer": "0"},
            "request-id": "R",
            "requester": "123456789012",
            "reason": "PutObject",
        },
    }
    return json.dumps(event)
