"""Where outcome events go on Azure: a custom topic of Event Grid, a webhook. Each event is sent once.

What an event says is written in `shared.outcomes`; what an answer means stands there, too. All calls keep the deadline
of their invocation, and follow no redirect.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from functions_azure.settings import VAULT_VERSION, Settings
from functions_azure.tokens import BoundedHttp, Tokens
from shared.destinations import Destination
from shared.outcomes.answers import SendFailure, read_status
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.sending import Sender
from shared.outcomes.signal_bus import Endpoints, SignalBus
from shared.outcomes.webhook import Secrets, Webhook
from shared.platforms.failures import token_refused
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock

TOPIC_VERSION = {"api-version": "2018-01-01"}
"""The one version of publishing to a custom topic (https://learn.microsoft.com/rest/api/eventgrid/dataplane)."""
BATCH = "application/cloudevents-batch+json"
"""An array of CloudEvents, which is what a topic of that schema takes."""


def senders(http: BoundedHttp, grid: Tokens, secrets: Secrets, bus: Sender, clock: Clock) -> Mapping[str, Sender]:
    """Make who sends, by the kind of destination. Nothing is asked yet."""
    webhook = Webhook(partial(_post, http), secrets, clock)
    return {"eventgrid": EventGrid(http, grid), "webhook": webhook, "aws": bus}


def signal_bus(http: BoundedHttp, tokens: Tokens, clock: Clock, found: Settings) -> SignalBus:
    """Make who signals followers on AWS. `tokens` are for the audience that the role there trusts."""
    return SignalBus(partial(_exchange, http), tokens, clock, Endpoints(found.sts_url, found.events_url))


class EventGrid:
    """Publishes to custom topics of the CloudEvents schema."""

    def __init__(self, http: BoundedHttp, tokens: Tokens) -> None:
        """`tokens` are for Event Grid, and are shown to topics alone."""
        self._http = http
        self._tokens = tokens

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Publish one event. Refused for its token, it is sent again later, with a new one."""
        token = self._tokens.token()
        if isinstance(token, Failure):
            return SendFailure(f"no token for the topic: {token}")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": BATCH}
        body = b"[%b]" % event.body
        try:
            answer = self._http.post(destination.topic, params=TOPIC_VERSION, headers=headers, data=body)
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show the token
            return SendFailure(f"no answer: {type(error).__name__}")
        if token_refused(answer.status_code):
            self._tokens.forget(token)
            return SendFailure(f"status {answer.status_code}: the token was refused")
        return read_status(answer.status_code)


class Vault:
    """Fetches secrets from Key Vault, by their URIs: the configuration takes those of vaults alone."""

    def __init__(self, http: BoundedHttp, tokens: Tokens) -> None:
        """`tokens` are for Key Vault."""
        self._http = http
        self._tokens = tokens

    def fetch(self, uri: str) -> str | SendFailure:
        """Get Secret: `{"value": ...}`."""
        token = self._tokens.token()
        if isinstance(token, Failure):
            return SendFailure(f"no token for the vault: {token}")
        try:
            answer = self._http.get(uri, params=VAULT_VERSION, headers={"Authorization": f"Bearer {token}"})
            if token_refused(answer.status_code):
                self._tokens.forget(token)
            failure = read_status(answer.status_code)
            if failure:
                return SendFailure(f"the secret {uri} cannot be read: {failure.why}")
            return str(answer.json()["value"]).strip()
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show what the vault answered
            return SendFailure(f"the secret {uri} cannot be read: {type(error).__name__}")


def _post(http: BoundedHttp, url: str, headers: Mapping[str, str], body: bytes) -> int:
    return http.post(url, headers=headers, data=body).status_code


def _exchange(http: BoundedHttp, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    answer = http.post(url, headers=headers, data=body)
    return answer.status_code, answer.body
