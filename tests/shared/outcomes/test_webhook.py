"""Webhooks: what is signed where a secret is named for that, and what is not sent at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from shared.destinations import Destination
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.webhook import Secrets, Webhook
from tests.support.core import NOON, HandClock

EVENT = EncodedEvent("k/1", "t", "s", "n", NOON, "application/json", b"{}", "h")
SIGNED = Destination("webhook", url="https://example.com/hook", signing_secret="the-key")


class Receiver:
    """Takes what is posted, and keeps the headers."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []

    def post(self, _url: str, headers: Mapping[str, str], _body: bytes) -> int:
        """Take it."""
        self.headers.append(headers)
        return 200

    def hook(self, secret: str) -> Webhook:
        """A webhook to here, where every secret has this value."""
        clock = HandClock()
        return Webhook(self.post, Secrets(lambda _name: secret, clock), clock)


@pytest.mark.parametrize("secret", ["", " \n", "whsec_"])
def test_an_empty_signing_secret_sends_nothing(secret: str) -> None:
    """A receiver that checks signatures must not be sent to without one, nor with one that anybody can make.

    The secret is named, and the event waits for it: somebody is about to fill it, or took the wrong kind of secret.
    """
    receiver = Receiver()
    failure = receiver.hook(secret).send(SIGNED, EVENT)
    assert failure == SendFailure("the secret the-key is empty: nothing is sent unsigned")
    assert receiver.headers == []


def test_a_signing_secret_that_cannot_be_read_sends_nothing() -> None:
    """The event waits, with the failure of whoever read it."""
    receiver, clock, failure = Receiver(), HandClock(), SendFailure("it may not be read")
    hook = Webhook(receiver.post, Secrets(lambda _name: failure, clock), clock)
    assert hook.send(SIGNED, EVENT) == failure
    assert receiver.headers == []


def test_a_letter_is_signed_where_a_secret_is_named_and_only_there() -> None:
    """Without `signing_secret` in the configuration nobody asked for a signature."""
    receiver = Receiver()
    assert receiver.hook("whsec_c2VjcmV0").send(SIGNED, EVENT) is None
    assert receiver.hook("").send(Destination("webhook", url=SIGNED.url), EVENT) is None
    assert ["webhook-signature" in headers for headers in receiver.headers] == [True, False]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_counts_for_good_by_fresh_secrets_alone(status: int) -> None:
    """Whoever changes an address or a key has five minutes in which events leave by the old one: they were dropped."""
    clock, values = HandClock(), ["https://example.com/old"]
    posted: list[str] = []

    def post(url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        posted.append(url.rpartition("/")[2])
        return 200 if url.endswith("/new") else status

    hook = Webhook(post, Secrets(lambda _name: values[-1], clock), clock)
    place = Destination("webhook", url_secret="the-address")
    assert hook.send(place, EVENT) == SendFailure(f"status {status}", for_good=True)
    values.append("https://example.com/new")
    clock.time += timedelta(seconds=299)
    assert hook.send(place, EVENT) == SendFailure(f"status {status}", for_good=False)
    clock.time += timedelta(seconds=1)
    assert hook.send(place, EVENT) is None
    assert posted == ["old", "old", "new"]


@pytest.mark.parametrize("place", [Destination("webhook", url_secret="the-address"), SIGNED])
def test_what_no_secret_would_mend_is_refused_for_good(place: Destination) -> None:
    """A body that the receiver does not take is the same body in five minutes."""
    clock = HandClock()
    hook = Webhook(lambda *_: 400, Secrets(lambda _name: "https://example.com/hook", clock), clock)
    assert [hook.send(place, EVENT) for _ in range(2)] == [SendFailure("status 400", for_good=True)] * 2


def test_an_address_that_cannot_be_read_or_is_none_sends_nothing() -> None:
    """The event waits; what the secret holds is not repeated."""
    clock, receiver, failure = HandClock(), Receiver(), SendFailure("it may not be read")
    place = Destination("webhook", url_secret="the-address")
    unread = Webhook(receiver.post, Secrets(lambda _name: failure, clock), clock)
    assert unread.send(place, EVENT) == failure
    assert receiver.hook("planted").send(place, EVENT) == SendFailure("the secret the-address holds no https address")
    assert receiver.headers == []


def test_whatever_posting_raises_shows_no_address() -> None:
    """An error's words may hold the secret address, so its kind alone is told."""
    clock = HandClock()

    def post(url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        raise ConnectionError(url)

    hook = Webhook(post, Secrets(lambda _name: "https://example.com/planted", clock), clock)
    assert hook.send(Destination("webhook", url_secret="x"), EVENT) == SendFailure("no answer: ConnectionError")
