"""Webhooks: what is signed where a secret is named for that, and what is not sent at all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from shared.destinations import Destination
from shared.outcomes.answers import Trouble
from shared.outcomes.formats import Letter
from shared.outcomes.webhook import Secrets, Webhook
from tests.support.core import NOON, HandClock

LETTER = Letter("k/1", "t", "s", "n", NOON, "application/json", b"{}", "h")
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

    The secret is named, and the letter waits for it: somebody is about to fill it, or took the wrong kind of secret.
    """
    receiver = Receiver()
    trouble = receiver.hook(secret).send(SIGNED, LETTER)
    assert trouble == Trouble("the secret the-key is empty: nothing is sent unsigned")
    assert receiver.headers == []


def test_a_signing_secret_that_cannot_be_read_sends_nothing() -> None:
    """The letter waits, with the trouble of whoever read it."""
    receiver, clock, trouble = Receiver(), HandClock(), Trouble("it may not be read")
    hook = Webhook(receiver.post, Secrets(lambda _name: trouble, clock), clock)
    assert hook.send(SIGNED, LETTER) == trouble
    assert receiver.headers == []


def test_a_letter_is_signed_where_a_secret_is_named_and_only_there() -> None:
    """Without `signing_secret` in the configuration nobody asked for a signature."""
    receiver = Receiver()
    assert receiver.hook("whsec_c2VjcmV0").send(SIGNED, LETTER) is None
    assert receiver.hook("").send(Destination("webhook", url=SIGNED.url), LETTER) is None
    assert ["webhook-signature" in headers for headers in receiver.headers] == [True, False]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_counts_for_good_by_fresh_secrets_alone(status: int) -> None:
    """Whoever changes an address or a key has five minutes in which letters leave by the old one: they were dropped."""
    clock, values = HandClock(), ["https://example.com/old"]
    posted: list[str] = []

    def post(url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        posted.append(url.rpartition("/")[2])
        return 200 if url.endswith("/new") else status

    hook = Webhook(post, Secrets(lambda _name: values[-1], clock), clock)
    place = Destination("webhook", url_secret="the-address")
    assert hook.send(place, LETTER) == Trouble(f"status {status}", for_good=True)
    values.append("https://example.com/new")
    clock.time += timedelta(seconds=299)
    assert hook.send(place, LETTER) == Trouble(f"status {status}", for_good=False)
    clock.time += timedelta(seconds=1)
    assert hook.send(place, LETTER) is None
    assert posted == ["old", "old", "new"]


@pytest.mark.parametrize("place", [Destination("webhook", url_secret="the-address"), SIGNED])
def test_what_no_secret_would_mend_is_refused_for_good(place: Destination) -> None:
    """A body that the receiver does not take is the same body in five minutes."""
    clock = HandClock()
    hook = Webhook(lambda *_: 400, Secrets(lambda _name: "https://example.com/hook", clock), clock)
    assert [hook.send(place, LETTER) for _ in range(2)] == [Trouble("status 400", for_good=True)] * 2


def test_an_address_that_cannot_be_read_or_is_none_sends_nothing() -> None:
    """The letter waits; what the secret holds is not repeated."""
    clock, receiver, trouble = HandClock(), Receiver(), Trouble("it may not be read")
    place = Destination("webhook", url_secret="the-address")
    unread = Webhook(receiver.post, Secrets(lambda _name: trouble, clock), clock)
    assert unread.send(place, LETTER) == trouble
    assert receiver.hook("planted").send(place, LETTER) == Trouble("the secret the-address holds no https address")
    assert receiver.headers == []


def test_whatever_posting_raises_shows_no_address() -> None:
    """An error's words may hold the secret address, so its kind alone is told."""
    clock = HandClock()

    def post(url: str, _headers: Mapping[str, str], _body: bytes) -> int:
        raise ConnectionError(url)

    hook = Webhook(post, Secrets(lambda _name: "https://example.com/planted", clock), clock)
    assert hook.send(Destination("webhook", url_secret="x"), LETTER) == Trouble("no answer: ConnectionError")
