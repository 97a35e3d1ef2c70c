"""Webhooks: where an event is posted to, how it is signed, and how often the secrets for both are asked for.

The shells only post, and fetch secrets from where their cloud keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from msgspec.structs import replace

from shared.destinations import Destination
from shared.endpoints import is_private
from shared.outcomes.answers import SendFailure, read_status
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.signing import PREFIX, signed_headers
from shared.refresh.ports import Clock

SECRET_SECONDS = 300.0
"""How long a secret is kept: read at most every five minutes (design, section 10), so a new one is used that soon."""

BY_SECRET = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""Refusals that another address or another signature would mend."""

Fetch = Callable[[str], str | SendFailure]
"""Fetches a secret by its name. One that cannot be read is no refusal of the destination's."""
Post = Callable[[str, Mapping[str, str], bytes], int]
"""Posts a body with headers to an address, once, following no redirect; gives the answer's status, or raises."""


class Secrets:
    """Secrets by name, each fetched once in five minutes. One for the process; safe between threads."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, tuple[float, str]] = {}

    def keeps(self, name: str) -> bool:
        """Whether the secret of that name was read a while ago: there may be another one by now."""
        read_at, _ = self._known.get(name, (-SECRET_SECONDS, ""))
        return self._clock.monotonic() - read_at < SECRET_SECONDS

    def read(self, name: str) -> str | SendFailure:
        """Return the secret of that name, or why there is none now."""
        if self.keeps(name):
            return self._known[name][1]
        now = self._clock.monotonic()
        found = self._fetch(name)
        if isinstance(found, str):
            self._known[name] = (now, found)
        return found


class Webhook:
    """Posts events to addresses; the address, and what an event is signed with, may be secrets."""

    def __init__(self, post: Post, secrets: Secrets, clock: Clock) -> None:
        self._post = post
        self._secrets = secrets
        self._clock = clock

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Post an event, signed where there is a secret for that. Its words never repeat a secret address.

        A refusal counts for good only by secrets that were read for this event: they may have been changed meanwhile.
        """
        may_be_old = any(self._secrets.keeps(name) for name in destination.secrets)
        url = self._secrets.read(destination.url_secret) if destination.url_secret else destination.url
        if isinstance(url, SendFailure):
            return url
        secret = self._secrets.read(destination.signing_secret) if destination.signing_secret else ""
        if isinstance(secret, SendFailure):
            return secret
        if destination.signing_secret and not secret.strip().removeprefix(PREFIX):
            return SendFailure(f"the secret {destination.signing_secret} is empty: nothing is sent unsigned")
        if not is_private(url):
            return SendFailure(f"the secret {destination.url_secret} holds no https address")
        headers = {"Content-Type": event.content_type}
        if secret:
            headers |= signed_headers(event, secret, self._clock.now())
        try:
            status = self._post(url, headers, event.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show the address
            return SendFailure(f"no answer: {type(error).__name__}")
        failure = read_status(status)
        return replace(failure, for_good=False) if failure and may_be_old and status in BY_SECRET else failure
