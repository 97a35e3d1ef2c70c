"""Where outcome events go on AWS: an EventBridge bus, an SNS topic, a webhook. Each letter is sent once.

What a letter says is written in `shared.outcomes`; what an answer means stands there, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError

from functions_aws.clients import Clients
from shared.destinations import Destination
from shared.endpoints import is_loopback
from shared.outcomes.answers import Trouble, trouble_of, trouble_of_aws
from shared.outcomes.formats import Letter
from shared.outcomes.sending import Sender
from shared.outcomes.signing import signed_headers
from shared.refresh.ports import Clock

SECRET_SECONDS = 300.0
"""How long a secret is kept: read at most every five minutes (design, section 10), so a new one is used that soon."""
LONGEST_SUBJECT = 100
"""Characters of a subject of SNS, ASCII alone (Publish)."""


def senders(clients: Clients, clock: Clock) -> Mapping[str, Sender]:
    """Make who sends, by the kind of destination. Nothing is asked yet."""
    return {
        "eventbridge": EventBridge(clients),
        "sns": Topic(clients),
        "webhook": Webhook(clients, Secrets(clients, clock), clock),
    }


class EventBridge:
    """Puts events onto a bus."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, destination: Destination, letter: Letter) -> Trouble | None:
        """PutEvents with one entry, of source `unstale` and with the event's type as detail type."""
        entry = {
            "Source": "unstale",
            "DetailType": letter.type,
            "Detail": letter.body.decode(),
            "Time": letter.at,
            "EventBusName": destination.bus or "default",
        }
        answer = _asked(lambda: self._clients.events.put_events(Entries=[entry]))
        if isinstance(answer, Trouble) or not answer.get("FailedEntryCount"):
            return answer if isinstance(answer, Trouble) else None
        refused = answer["Entries"][0]
        return trouble_of_aws(400, refused.get("ErrorCode", ""), refused.get("ErrorMessage", ""))


class Topic:
    """Publishes to a topic of SNS."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def send(self, destination: Destination, letter: Letter) -> Trouble | None:
        """Publish. A first-in-first-out topic keeps the order of each target, and drops a repetition."""
        subject = letter.headline.encode("ascii", errors="replace").decode()[:LONGEST_SUBJECT]
        parameters: dict[str, Any] = {
            "TopicArn": destination.topic,
            "Message": letter.body.decode(),
            "Subject": subject,
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": letter.type}},
        }
        if destination.topic.endswith(".fifo"):
            parameters["MessageGroupId"] = _digest(letter.subject)
            parameters["MessageDeduplicationId"] = _digest(letter.id)
        answer = _asked(lambda: self._clients.sns.publish(**parameters))
        return answer if isinstance(answer, Trouble) else None


class Secrets:
    """Secrets Manager, asked for each secret once in five minutes."""

    def __init__(self, clients: Clients, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}

    def read(self, name: str) -> str | Trouble:
        """GetSecretValue, by name or ARN. A secret that cannot be read is no refusal of the destination's."""
        now = self._clock.monotonic()
        read_at, value = self._known.get(name, (-SECRET_SECONDS, ""))
        if now - read_at < SECRET_SECONDS:
            return value
        answer = _asked(lambda: self._clients.secretsmanager.get_secret_value(SecretId=name))
        if isinstance(answer, Trouble):
            return Trouble(f"the secret {name} cannot be read: {answer.why}")
        self._known[name] = (now, str(answer.get("SecretString", "")).strip())
        return self._known[name][1]


class Webhook:
    """Posts to an address; the address, and what it is signed with, may be secrets."""

    def __init__(self, clients: Clients, secrets: Secrets, clock: Clock) -> None:
        self._clients = clients
        self._secrets = secrets
        self._clock = clock

    def send(self, destination: Destination, letter: Letter) -> Trouble | None:
        """POST. No redirect is followed, and what an exception says is not repeated: it may show the address."""
        url = self._secrets.read(destination.url_secret) if destination.url_secret else destination.url
        secret = self._secrets.read(destination.signing_secret) if destination.signing_secret else ""
        if isinstance(url, Trouble) or isinstance(secret, Trouble):
            return url if isinstance(url, Trouble) else secret if isinstance(secret, Trouble) else None
        if not _is_safe(url):
            return Trouble(f"the secret {destination.url_secret} holds no https address")
        headers = {"Content-Type": letter.content_type}
        if secret:
            headers |= signed_headers(letter, secret, self._clock.now())
        request = AWSRequest("POST", url, headers=headers, data=letter.body, stream_output=True)
        try:
            response = self._clients.web(url).send(request.prepare())
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show the address
            return Trouble(f"no answer: {type(error).__name__}")
        response.raw.close()
        return trouble_of(response.status_code)


def _asked(send: Callable[[], Any]) -> Any:
    """Make one call of AWS; its answer, or what went wrong."""
    try:
        return send()
    except ClientError as error:
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return trouble_of_aws(status, said.get("Code", ""), said.get("Message", ""))
    except BotoCoreError as error:
        return Trouble(f"{type(error).__name__}: {error}")


def _is_safe(url: str) -> bool:
    """Tell whether an address that a secret holds may be posted to: by https, or on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
