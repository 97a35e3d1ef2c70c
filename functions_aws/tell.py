"""Where outcome events go on AWS: a bus of EventBridge, a topic of SNS, a webhook, our function on Azure.

Each event is sent once.

What an event says is written in `shared.outcomes`; what an answer means stands there, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from functions_aws.clients import Clients
from shared.destinations import Destination
from shared.outcomes.answers import SendFailure, read_aws_error
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.function_app import FunctionApp
from shared.outcomes.sending import Sender
from shared.outcomes.webhook import Secrets, Webhook
from shared.refresh.ports import Clock

LONGEST_SUBJECT = 99
"""Characters of a subject of SNS, which must be less than 100 and hold no control character; mail wants them in ASCII
(https://docs.aws.amazon.com/sns/latest/api/API_Publish.html)."""

SEND_SECONDS = 4.0
"""Seconds of a whole event: less than an invocation keeps back. One call of `clients.BRIEF` has as much.

An event to a webhook may be three calls, two of them for secrets. And time-outs bound each wait for bytes: neither the
look-up of a name, nor a receiver that sends a byte a second.
"""


def senders(
    clients: Clients, secrets: Secrets, clock: Clock, other_cloud: Sender | None = None
) -> Mapping[str, Sender]:
    """Make who sends, by the kind of destination, or take who signals Azure. Nothing is asked yet."""
    post = partial(_post, clients)
    made: Mapping[str, Sender] = {
        "eventbridge": EventBridge(clients),
        "sns": Topic(clients),
        "webhook": Webhook(post, secrets, clock),
        "azure": other_cloud or FunctionApp(post, secrets),
    }
    return {to: InTime(sender) for to, sender in made.items()}


def secrets_of(clients: Clients, clock: Clock) -> Secrets:
    """Make who reads Secrets Manager."""
    return Secrets(partial(_fetch_secret, clients), clock)


class InTime:
    """A sender whose events are over in time, or left behind in a thread of their own; then they may still arrive."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Send as the sender does, within `SEND_SECONDS`."""
        done: Future[SendFailure | None] = Future()

        def run() -> None:
            """Send the event, whoever still waits for the answer."""
            try:
                done.set_result(self._sender.send(destination, event))
            except BaseException as failure:  # noqa: BLE001 - whoever waits is handed it
                done.set_exception(failure)

        Thread(target=run, daemon=True).start()
        try:
            return done.result(SEND_SECONDS)
        except TimeoutError:
            return SendFailure(f"no answer in {SEND_SECONDS:g} s")


class EventBridge:
    """Puts events onto a bus."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """PutEvents with one entry, of source `unstale` and with the event's type as detail type."""
        entry = {
            "Source": "unstale",
            "DetailType": event.type,
            "Detail": event.body.decode(),
            "Time": event.at,
            "EventBusName": destination.bus or "default",
        }
        answer = _call(lambda: self._clients.events.put_events(Entries=[entry]))
        if isinstance(answer, SendFailure) or not answer.get("FailedEntryCount"):
            return answer if isinstance(answer, SendFailure) else None
        refused = answer["Entries"][0]
        return read_aws_error(400, refused.get("ErrorCode", ""), refused.get("ErrorMessage", ""))


class Topic:
    """Publishes to a topic of SNS."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Publish. A first-in-first-out topic keeps the order of each target, and drops a repetition."""
        parameters: dict[str, Any] = {
            "TopicArn": destination.topic,
            "Message": event.body.decode(),
            "Subject": _subject(event.headline),
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": event.type}},
        }
        if destination.topic.endswith(".fifo"):
            parameters["MessageGroupId"] = _digest(event.subject)
            parameters["MessageDeduplicationId"] = _digest(event.id)
        answer = _call(lambda: self._clients.sns.publish(**parameters))
        return answer if isinstance(answer, SendFailure) else None


def _fetch_secret(clients: Clients, name: str) -> str | SendFailure:
    """GetSecretValue of Secrets Manager, by name or ARN."""
    answer = _call(lambda: clients.secretsmanager.get_secret_value(SecretId=name))
    if isinstance(answer, SendFailure):
        return SendFailure(f"the secret {name} cannot be read: {answer.why}")
    return str(answer.get("SecretString", "")).strip()


def _post(clients: Clients, url: str, headers: Mapping[str, str], body: bytes) -> int:
    """POST with botocore's own session, which follows no redirect."""
    request = AWSRequest("POST", url, headers=headers, data=body, stream_output=True)
    response = clients.web(url).send(request.prepare())
    response.raw.close()
    return int(response.status_code)


def _call(send: Callable[[], Any]) -> Any:
    """Make one call of AWS; its answer, or what went wrong."""
    try:
        return send()
    except ClientError as error:
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return read_aws_error(status, said.get("Code", ""), said.get("Message", ""))
    except Exception as error:  # noqa: BLE001 - more than botocore's own: see `clients.attempt`
        return SendFailure(f"{type(error).__name__}: {error}")


def _subject(headline: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in headline)[:LONGEST_SUBJECT]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
