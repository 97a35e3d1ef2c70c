"""`after` across clouds, end to end: a refresh on one cloud is followed by one on the other, once, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from shared.inbound.messages import Asked
from shared.outcomes.sending import Sending
from shared.refresh.state import Signal
from shared.targets import Package
from tests.support.two_clouds import KEY, US, TwoClouds, two_clouds

ON_AWS = ("orders", "local", "summary")


@pytest.fixture(name="clouds", scope="module")
def both_sides() -> Iterator[TwoClouds]:
    """Both sides, for all tests of this file: each begins where the one before it came to rest."""
    with two_clouds() as here:
        yield here


@pytest.fixture(name="here")
def at_rest(clouds: TwoClouds) -> TwoClouds:
    """Both sides, where nothing is owed, goes on or waits to be told."""
    clouds.mend()
    clouds.settle()
    return clouds


class Count:
    """Runs that the platforms saw since then, by their own journals."""

    def __init__(self, here: TwoClouds) -> None:
        self._here = here
        self._before = self._all()

    def _all(self) -> dict[str, int]:
        return {name: self._here.starts(name) for name in ON_AWS} | {"report": self._here.azure.starts()}

    def now(self) -> dict[str, int]:
        """How many there were of each."""
        return {name: number - self._before[name] for name, number in self._all().items()}


ONCE = {"orders": 1, "local": 1, "summary": 1, "report": 1}


def chain(here: TwoClouds) -> None:
    """One arrival: each target is refreshed once, after the end of the one before it."""
    count = Count(here)
    here.arrive()
    here.settle()
    assert count.now() == ONCE
    orders, report, summary = here.aws.state("orders"), here.azure.state("report"), here.aws.state("summary")
    assert orders.fresh_as_of
    assert report.fresh_as_of
    assert summary.fresh_as_of
    assert orders.fresh_as_of < report.fresh_as_of < summary.fresh_as_of


def test_a_refresh_on_aws_is_followed_on_azure_and_that_one_on_aws(here: TwoClouds) -> None:
    """Each once. The signals carry the upstream's name and the end of its run, and go where each should."""
    chain(here)
    [request], [entry] = here.host.requests, here.account.entries
    told = json.loads(request.body)
    assert (request.path, told.keys(), told["upstream"]) == ("/api/refresh/report", {"upstream", "time"}, "orders")
    signal = json.loads(entry["Detail"])
    assert (signal["target"], signal["upstream"]) == ("summary", "report")
    assert here.aws.state("summary").outbox.notices == here.azure.state("report").outbox.notices == ()


def repeated(here: TwoClouds) -> None:
    """The same signals again and again, before, during and after the followers' runs."""
    count = Count(here)
    here.arrive()
    situations: set[tuple[bool, bool]] = set()
    for _ in range(28):
        here.seconds(20)
        for request in here.host.requests[:1]:
            assert here.host.respond(request).status == 202  # type: ignore[union-attr]
        for entry in here.account.entries[:1]:
            here.aws.aws.client("events").put_events(Entries=[entry])
        situations |= {(here.azure.state("report").run is not None, here.aws.state("summary").run is not None)}
    here.settle()
    assert situations == {(False, False), (True, False), (False, True)}
    assert count.now() == ONCE


def test_a_repetition_starts_nothing(here: TwoClouds) -> None:
    """Neither during the follower's run nor after it: on both clouds it folds away."""
    repeated(here)


def repeated_afterwards(here: TwoClouds) -> None:
    """The follower's signal once more, after its run."""
    chain(here)
    count = Count(here)
    here.host.respond(here.host.requests[0])
    here.minutes(3)
    assert count.now()["report"] == 0


def other_side_away(here: TwoClouds) -> None:
    """Azure is away for hours, then AWS is: what is told later is told once, and nothing waits for it."""
    here.host.away = True
    count = Count(here)
    here.arrive()
    here.minutes(6)
    assert count.now() == {"orders": 1, "local": 1, "summary": 0, "report": 0}
    here.arrive()
    here.minutes(90, coarse=True)
    assert count.now() == {"orders": 2, "local": 2, "summary": 0, "report": 0}
    assert len(here.aws.state("orders").outbox.notices) == 1
    assert len(here.host.requests) < 10
    here.host.away, here.account.away = False, True
    here.forget_sessions()
    here.minutes(65, coarse=True)
    assert count.now() == {"orders": 2, "local": 2, "summary": 0, "report": 1}
    here.account.away = False
    here.minutes(65, coarse=True)
    here.settle()
    assert count.now() == {"orders": 2, "local": 2, "summary": 1, "report": 1}


def test_a_side_that_is_away_loses_nothing_and_delays_nothing(here: TwoClouds) -> None:
    """One signal waits, however often the upstream is refreshed, and is tried a few times in hours."""
    other_side_away(here)


def wrong_proof(here: TwoClouds) -> None:
    """The key is not the function's, then the role trusts another identity: nothing starts until each is right."""
    here.host.key = "another key"
    count = Count(here)
    here.arrive()
    here.minutes(10, coarse=True)
    assert count.now() == {"orders": 1, "local": 1, "summary": 0, "report": 0}
    assert here.host.requests
    here.host.key, here.account.principal = KEY, "5e7d9b30-0000-4000-8000-00000000dead"
    here.forget_sessions()
    here.minutes(40, coarse=True)
    assert count.now() == {"orders": 1, "local": 1, "summary": 0, "report": 1}
    assert set(here.account.refusals) == {"AccessDenied"}
    assert here.account.entries == []
    here.account.principal = US.object_id
    here.minutes(65, coarse=True)
    here.settle()
    assert count.now() == ONCE


def test_who_proves_nothing_starts_nothing_and_what_is_refused_waits(
    here: TwoClouds, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither key nor token nor session is in a line of the log or in a record."""
    wrong_proof(here)
    printed = capsys.readouterr().out
    assert "outcome not sent" in printed
    stored = b"".join(here.aws.ports.store.load(key).body for key in here.aws.ports.store.keys("", 100)[0])
    said = printed + stored.decode() + str(here.azure.told) + "".join(here.azure.bodies())
    assert "does the role trust this identity" in said
    for secret in (KEY, *here.account.secrets):
        assert secret not in said


def test_a_call_without_the_key_reaches_no_trigger(here: TwoClouds) -> None:
    """The gate is the host's: the route has a function key."""
    count = Count(here)
    for headers in ({}, {"x-functions-key": ""}, {"x-functions-key": KEY[:-1]}):
        answer = here.host.respond(here.request("/api/refresh/report", b"{}", headers))
        assert answer
        assert answer.status == 401
    here.minutes(3)
    assert count.now()["report"] == 0


def test_a_follower_that_is_not_there_is_told_to_come_back(here: TwoClouds) -> None:
    """410 is for upstreams, which ask again; a person who asks for it is told 404, as always."""
    key = {"x-functions-key": KEY}
    told = b'{"upstream":"orders","time":"2026-11-23T09:30:00Z"}'
    statuses = []
    for body in (told, b"{}"):
        answer = here.host.respond(here.request("/api/refresh/nobody", body, key))
        assert answer
        statuses.append(answer.status)
    assert statuses == [410, 404]


# --- Mutants ---------------------------------------------------------------------------------------------------------

Break = Callable[[pytest.MonkeyPatch], None]


def signals(signal: Callable[[Asked], Signal]) -> Break:
    """A follower's signal is another one."""
    return lambda patch: patch.setattr(Asked, "signal", property(signal))


def dropping(patch: pytest.MonkeyPatch) -> None:
    """What is refused is taken for delivered."""
    sends = Sending._send
    patch.setattr(Sending, "_send", lambda self, *given: sends(self, *given) and None)


MUTANTS: dict[str, tuple[Break, Callable[[TwoClouds], None]]] = {
    "a follower's signal is not asked": (
        signals(lambda asked: Signal(asked.received_at, asked.reason, asked=True)),
        repeated_afterwards,
    ),
    "it has the time of the upstream's end": (
        signals(lambda asked: Signal(asked.received_at, asked.reason)),
        repeated_afterwards,
    ),
    "the end of a run is noted for followers elsewhere": (
        lambda patch: patch.setattr(Package, "kinds_of", lambda *_: frozenset()),
        chain,
    ),
    "what is refused, or not answered, waits": (dropping, wrong_proof),
}
"""Sentences, how each is broken, and the scene that must show it."""


@pytest.mark.parametrize("sentence", MUTANTS)
def test_a_broken_sentence_is_caught(here: TwoClouds, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something starts twice, or never."""
    breaks, scene = MUTANTS[sentence]
    breaks(monkeypatch)
    with pytest.raises(AssertionError):
        scene(here)
