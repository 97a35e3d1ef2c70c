"""An AWS account on loopback for the end-to-end stage: MiniStack, Glue by our emulator, and a record of who calls what.

The function calls the recorder; that calls MiniStack for SQS and DynamoDB, and moto with the Glue emulator for Glue.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import boto3
import pytest
import urllib3

from local.emulators.aws.emulator import LocalAws
from local.emulators.glue.emulator import GlueSettings
from local.emulators.http_server import Answer, LoopbackServer, Request
from tests.support.waiting import PATIENCE_SECONDS

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
HOP_BY_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "date", "server", "host"})
"""What a proxy makes anew."""


_CREDENTIAL: Final = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([a-z0-9-]+)/aws4_request")
"""The scope of a signature, whose third part is the service.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""
REST: Final = "GetTable"
"""What IAM asks for a request to Glue's Iceberg REST catalog, the one API in use whose requests name no operation."""


def _operation(request: Request) -> str:
    """The operation: of a JSON API in a header, of SNS in a form."""
    target = request.headers.get("x-amz-target", "").partition(".")[2]
    form = parse_qs(request.body.decode(errors="replace")) if not target and request.body else {}
    return target or form.get("Action", [REST])[0]


@dataclass
class Proxy:
    """Passes requests on, and answers back; a connection that is dropped behind it is dropped in front, too."""

    url_of: Callable[[str], str]
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def respond(self, request: Request) -> Answer | None:
        """One request, by the service that its signature is for."""
        signed = _CREDENTIAL.search(request.headers.get("authorization", ""))
        assert signed, f"{request.method} {request.path} is not signed"
        operation = _operation(request)
        self.note(signed[1], operation)
        return self.answer(signed[1], operation, request)

    def note(self, service: str, operation: str) -> None:
        """For those who want to know."""

    def answer(self, service: str, operation: str, request: Request) -> Answer | None:
        """Ask the service."""
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        url = self.url_of(service) + request.path
        try:
            answer = self._pool.request(request.method, url, body=request.body, headers=headers)
        except urllib3.exceptions.HTTPError:
            return None
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        return Answer(answer.status, kept, answer.data)


@dataclass
class Recorder(Proxy):
    """Notes `service:Operation` of each call that passes; a call of a service that is down gets no answer."""

    called: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, service: str, operation: str) -> None:
        """Keep it."""
        with self._lock:
            self.called.add(f"{service}:{operation}")

    def answer(self, service: str, operation: str, request: Request) -> Answer | None:
        """None, while it is down."""
        return None if service in self.down else super().answer(service, operation, request)


@dataclass
class MoveTasks(Proxy):
    """The two operations of SQS that a redrive needs, and MiniStack 1.5.33 has not; everything else passes.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """

    moved: dict[str, int] = field(default_factory=dict)

    def answer(self, service: str, operation: str, request: Request) -> Answer | None:
        """Move at once; the list then has one task that is done."""
        asked = json.loads(request.body or b"{}")
        if operation == "StartMessageMoveTask":
            self.moved[asked["SourceArn"]] = self._move(asked["SourceArn"], asked["DestinationArn"])
            return _json({"TaskHandle": "handle"})
        if operation == "ListMessageMoveTasks":
            count = self.moved.get(asked["SourceArn"])
            told = {
                "Status": "COMPLETED",
                "SourceArn": asked["SourceArn"],
                "ApproximateNumberOfMessagesMoved": count,
                "ApproximateNumberOfMessagesToMove": count,
            }
            return _json({"Results": [] if count is None else [told]})
        return super().answer(service, operation, request)

    def _move(self, source: str, destination: str) -> int:
        sqs = client("sqs", self.url_of("sqs"))
        into, out_of = (
            sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"] for arn in (destination, source)
        )
        found = sqs.receive_message(QueueUrl=out_of, MaxNumberOfMessages=10)  # what is there now; no more is asked for
        for message in found.get("Messages", ()):
            sqs.send_message(QueueUrl=into, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=out_of, ReceiptHandle=message["ReceiptHandle"])
        return len(found.get("Messages", ()))


def _json(value: object) -> Answer:
    return Answer(200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(value).encode())


def client(service: str, url: str) -> Any:
    """An ordinary client of this account."""
    session = boto3.session.Session(region_name=REGION)
    return session.client(service, endpoint_url=url, aws_access_key_id=ACCOUNT, aws_secret_access_key="none")


@dataclass(frozen=True)
class Account:
    """The account, for those who use it from outside."""

    url: str
    queues_url: str
    aws: LocalAws
    recorder: Recorder
    bin: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process that works in this account, Glue and redrives included."""
        apart = {"AWS_ENDPOINT_URL_GLUE": self.aws.url, "AWS_ENDPOINT_URL_SQS": self.queues_url}
        return clean_environment() | {"AWS_ENDPOINT_URL": self.url} | apart

    def client(self, service: str) -> Any:
        """An ordinary client."""
        return client(service, self.aws.url if service == "glue" else self.url)

    def run(self, *command: str, cwd: Path, answers: str = "") -> subprocess.CompletedProcess[str]:
        """A command in this account, and what is typed into it."""
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            input=answers,
            timeout=300,
        )


def clean_environment() -> dict[str, str]:
    """Nothing that leads out of this machine, or to the user's own account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "UNSTALE_", "SAM_"))}
    return kept | {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
    }


@contextmanager
def account(binaries: Path, folder: Path) -> Iterator[Account]:
    """An account that is empty, and gone afterwards."""
    with ExitStack() as stack:
        aws = stack.enter_context(LocalAws(region=REGION, glue_settings=FAST, refresh_events=False))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        recorder = Recorder(lambda service: aws.url if service == "glue" else url)
        proxy = stack.enter_context(LoopbackServer(recorder.respond, lambda: datetime.now(UTC)))
        moving = stack.enter_context(LoopbackServer(MoveTasks(lambda _: url).respond, lambda: datetime.now(UTC)))
        log = folder / "ministack.log"
        stack.enter_context(_ministack(binaries, port, proxy.url, log))
        yield Account(url, moving.url, aws, recorder, binaries, log)


FAST: Final = GlueSettings(starting=timedelta(milliseconds=100), run_time=timedelta(seconds=1))


@contextmanager
def _ministack(binaries: Path, port: int, functions_call: str, log: Path) -> Iterator[None]:
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LAMBDA_EXECUTOR": "local",
        "AWS_ENDPOINT_URL": functions_call,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [binaries / "ministack"], env=clean_environment() | settings, stdout=out, stderr=out, cwd=log.parent
        )
        try:
            until(lambda: _answers(port), "MiniStack answers", timedelta(seconds=30))
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)


def _answers(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/_ministack/health"
        return urllib3.PoolManager(retries=False).request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def free_port() -> int:
    """One that the system hands out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def until(holds: Callable[[], object], what: str, limit: timedelta = timedelta(seconds=60)) -> Any:
    """Wait for something; what it gives, or a failure that says what did not come."""
    ends = time.monotonic() + limit.total_seconds()
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.2)
    pytest.fail(f"within {limit}: {what}")


def outputs(account: Account, stack: str) -> Mapping[str, str]:
    """The outputs of a stack."""
    [found] = account.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", ())}
