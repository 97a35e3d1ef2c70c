"""Where outcome events go on Azure: a custom topic of Event Grid, a webhook. Each letter is sent once.

What a letter says is written in `shared.outcomes`; what an answer means stands there, too. All calls keep the deadline
of their invocation, and follow no redirect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from functions_azure.sessions import WholeAnswer
from functions_azure.tokens import BoundedHttp, Tokens
from shared.destinations import Destination
from shared.endpoints import is_loopback
from shared.outcomes.answers import Trouble, trouble_of
from shared.outcomes.formats import Letter
from shared.outcomes.sending import Sender
from shared.outcomes.signing import signed_headers
from shared.platforms.fabric import token_refused
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock

EVENT_GRID = "https://eventgrid.azure.net"
"""Audience of tokens for Event Grid, in every cloud the scope of Microsoft's own client (azure-eventgrid)."""
TOPIC_VERSION = {"api-version": "2018-01-01"}
"""The one version of publishing to a custom topic (https://learn.microsoft.com/rest/api/eventgrid/dataplane)."""
SECRET_VERSION = {"api-version": "7.4"}
"""Get Secret, generally available since 2023."""
BATCH = "application/cloudevents-batch+json"
"""An array of CloudEvents, which is what a topic of that schema takes."""
SECRET_SECONDS = 300.0
"""How long a secret is kept: read at most every five minutes (design, section 10), so a new one is used that soon."""


def senders(http: BoundedHttp, grid: Tokens, secrets: Secrets, clock: Clock) -> Mapping[str, Sender]:
    """Make who sends, by the kind of destination. Nothing is asked yet."""
    return {"eventgrid": EventGrid(http, grid), "webhook": Webhook(http, secrets, clock)}


class EventGrid:
    """Publishes to custom topics of the CloudEvents schema."""

    def __init__(self, http: BoundedHttp, tokens: Tokens) -> None:
        """`tokens` are for Event Grid, and are shown to topics alone."""
        self._http = http
        self._tokens = tokens

    def send(self, destination: Destination, letter: Letter) -> Trouble | None:
        """Publish one event. Refused for its token, it is sent again later, with a new one."""
        token = self._tokens.token()
        if isinstance(token, Failure):
            return Trouble(f"no token for the topic: {token}")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": BATCH}
        body = b"[%b]" % letter.body
        answer = _posted(self._http, destination.topic, params=TOPIC_VERSION, headers=headers, data=body)
        if isinstance(answer, Trouble):
            return answer
        if token_refused(answer.status_code):
            self._tokens.refused(token)
            return Trouble(f"status {answer.status_code}: the token was refused")
        return trouble_of(answer.status_code)


class Secrets:
    """A Key Vault, asked for each secret once in five minutes. One for the process; safe between threads."""

    def __init__(self, http: BoundedHttp, tokens: Tokens, clock: Clock) -> None:
        """`tokens` are for Key Vault. A secret is named by its URI; the configuration takes those of vaults alone."""
        self._http = http
        self._tokens = tokens
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}

    def read(self, uri: str) -> str | Trouble:
        """Get Secret: `{"value": ...}`. A secret that cannot be read is no refusal of the destination's."""
        now = self._clock.monotonic()
        read_at, value = self._known.get(uri, (-SECRET_SECONDS, ""))
        if now - read_at < SECRET_SECONDS:
            return value
        token = self._tokens.token()
        if isinstance(token, Failure):
            return Trouble(f"no token for the vault: {token}")
        found = self._ask(uri, token)
        if isinstance(found, str):
            self._known[uri] = (now, found)
        return found

    def _ask(self, uri: str, token: str) -> str | Trouble:
        try:
            answer = self._http.get(uri, params=SECRET_VERSION, headers={"Authorization": f"Bearer {token}"})
            if token_refused(answer.status_code):
                self._tokens.refused(token)
            trouble = trouble_of(answer.status_code)
            if trouble:
                return Trouble(f"the secret {uri} cannot be read: {trouble.why}")
            return str(answer.json()["value"]).strip()
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show what the vault answered
            return Trouble(f"the secret {uri} cannot be read: {type(error).__name__}")


class Webhook:
    """Posts to an address; the address, and what it is signed with, may be secrets."""

    def __init__(self, http: BoundedHttp, secrets: Secrets, clock: Clock) -> None:
        self._http = http
        self._secrets = secrets
        self._clock = clock

    def send(self, destination: Destination, letter: Letter) -> Trouble | None:
        """POST the letter, signed where there is a secret for that."""
        url = self._secrets.read(destination.url_secret) if destination.url_secret else destination.url
        secret = self._secrets.read(destination.signing_secret) if destination.signing_secret else ""
        if isinstance(url, Trouble) or isinstance(secret, Trouble):
            return url if isinstance(url, Trouble) else secret if isinstance(secret, Trouble) else None
        if not _is_safe(url):
            return Trouble(f"the secret {destination.url_secret} holds no https address")
        headers = {"Content-Type": letter.content_type}
        if secret:
            headers |= signed_headers(letter, secret, self._clock.now())
        answer = _posted(self._http, url, headers=headers, data=letter.body)
        return answer if isinstance(answer, Trouble) else trouble_of(answer.status_code)


def _posted(http: BoundedHttp, url: str, **options: Any) -> WholeAnswer | Trouble:
    """POST once; what an exception says is not repeated, because it may show the address."""
    try:
        return http.post(url, **options)
    except Exception as error:  # noqa: BLE001 - see above
        return Trouble(f"no answer: {type(error).__name__}")


def _is_safe(url: str) -> bool:
    """Whether an address that a secret holds may be posted to: by https, or on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
