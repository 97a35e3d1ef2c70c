"""What becomes of each delivered message: done, to come back, or a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from shared.config.load import DeploymentSettings, SignalSource
from shared.inbound.arrivals import JobSucceeded, ObjectArrived
from shared.inbound.dispatch import DONE, READ_AHEAD, Judged, Verdict, stays_away, take
from shared.inbound.messages import (
    Arrived,
    Asked,
    FabricRunEnded,
    GlueRunEnded,
    Ignored,
    Malformed,
    Message,
    Part,
    Several,
    Ticked,
    Woken,
)
from shared.refresh.ports import Document, StoreDownError
from shared.refresh.records import DEPLOYMENT_KEY
from shared.refresh.state import Owed, State, Wake
from tests.support.core import NOON, Bench, a_target, at


@pytest.fixture
def bench() -> Bench:
    """Two targets of which nothing is owed."""
    found = Bench(a_target("a"), a_target("b"))
    found.plan()
    for name in ("a", "b"):
        found.put(State(), name)
    return found


def arrival(bucket: str) -> Arrived:
    """An object in the bucket of that target."""
    return Arrived((ObjectArrived(NOON, bucket, "key"),))


def breaking(bench: Bench, name: str) -> None:
    """The store does not take that target's record."""

    def refuse(key: str) -> None:
        if key == bench.target(name).key:
            raise StoreDownError("no answer")

    bench.store.before_save = refuse


def test_a_batch_is_one_write_for_each_target_that_it_concerns(bench: Bench) -> None:
    """However many messages there are."""
    saves = bench.store.saves
    assert take(bench.engine, bench.configuration, [arrival("a")] * 10 + [arrival("b")]) == (DONE,) * 11
    assert bench.store.saves == saves + 2
    assert ("signalled", {"signals": 10, "absorbed": 9}) in [(h.what, dict(h.fields)) for h in bench.told]


def reads_of(bench: Bench, refuse: str = "") -> list[tuple[str, ...]]:
    """What the store is asked for from now on; a request for several records with that key is refused."""
    asked: list[tuple[str, ...]] = []
    load = bench.store.load

    def together(keys: Iterable[str]) -> list[Document]:
        asked.append(tuple(keys))
        if refuse in asked[-1]:
            raise StoreDownError("no answer")
        return [load(key) for key in asked[-1]]

    def one(key: str) -> Document:
        asked.append((key,))
        return load(key)

    bench.store.load_many, bench.store.load = together, one  # type: ignore[method-assign]
    return asked


def test_a_batch_reads_the_records_of_ten_targets_together() -> None:
    """The deployment's record comes with them; no record is read again that nobody else saved."""
    bench = Bench(*(a_target(f"t{n:02}") for n in range(READ_AHEAD + 2)))
    bench.plan()
    asked = reads_of(bench)
    arrivals = [arrival(name) for name in bench.configuration.by_name]
    assert take(bench.engine, bench.configuration, arrivals) == (DONE,) * len(arrivals)
    keys = sorted(bench.engine.targets)
    assert asked == [(DEPLOYMENT_KEY, *keys[:READ_AHEAD]), (DEPLOYMENT_KEY, *keys[READ_AHEAD:])]


def test_a_record_that_is_saved_after_it_was_read_ahead_is_read_again(bench: Bench) -> None:
    """Somebody else saves b's record while a's turn lasts: what came is folded into what b's record is then."""

    def meanwhile(key: str) -> None:
        if key == bench.target("a").key:
            bench.store.before_save = lambda _: None
            bench.put(State(owed=Owed(at(-60), at(-50), 7)), "b")

    bench.store.before_save = meanwhile
    assert take(bench.engine, bench.configuration, [arrival("a"), arrival("b")]) == (DONE, DONE)
    owed = bench.state("b").owed
    assert owed
    assert (owed.oldest, owed.at_least) == (at(-60), 8)


def test_where_records_cannot_be_read_together_each_is_read_by_itself(bench: Bench) -> None:
    """One record that cannot be read must not hold up the targets that are read with it."""
    deployment, first, second = DEPLOYMENT_KEY, bench.target("a").key, bench.target("b").key
    asked = reads_of(bench, refuse=first)
    assert take(bench.engine, bench.configuration, [arrival("a"), arrival("b")]) == (DONE, DONE)
    assert asked == [(deployment, first, second), (first,), (deployment,), (second,)]


def test_trouble_with_one_target_sends_back_its_messages_alone(bench: Bench) -> None:
    """With the exception, for the log."""
    breaking(bench, "a")
    first, second, third = take(bench.engine, bench.configuration, [arrival("a"), arrival("b"), arrival("a")])
    assert (first.verdict, second, third) == (Verdict.RETRY, DONE, first)
    assert isinstance(first.cause, StoreDownError)
    assert bench.state("b").owed


@pytest.mark.parametrize(
    "message",
    [
        Ignored("Object Tags Added"),
        arrival("elsewhere"),
        Arrived((JobSucceeded(NOON, "job"),)),
        GlueRunEnded("sales", "elsewhere"),
        FabricRunEnded("w", "i", "r"),
    ],
)
def test_what_concerns_nobody_is_done(bench: Bench, message: Message) -> None:
    """And costs nothing."""
    saves = bench.store.saves
    assert take(bench.engine, bench.configuration, [message]) == (DONE,)
    assert bench.store.saves == saves


def test_a_hint_about_a_target_is_a_look(bench: Bench) -> None:
    """It signals nothing."""
    assert take(bench.engine, bench.configuration, [GlueRunEnded("sales", "a")]) == (DONE,)
    assert bench.state("a").owed is None


@pytest.mark.parametrize(("message", "why"), [(Malformed("no key"), "no key"), (Asked("c", NOON), "has no target 'c'")])
def test_what_can_never_be_carried_out_is_a_dead_letter(bench: Bench, message: Message, why: str) -> None:
    """At once, with the reason."""
    [judged] = take(bench.engine, bench.configuration, [message])
    assert (judged.verdict, why in judged.why) == (Verdict.DEAD, True)


def several(*messages: Any) -> Several:
    """A message with these events, whose bytes are their numbers."""
    return Several(tuple(Part(message, str(number).encode()) for number, message in enumerate(messages)))


def test_all_requests_of_one_message_are_taken(bench: Bench) -> None:
    """One message may ask for several targets, and have arrivals and wakes beside that."""
    message = several(Asked("a", at(0)), Asked("b", at(0)), Woken(Wake("k", NOON, "7")), Ignored("x"))
    assert take(bench.engine, bench.configuration, [message]) == (DONE,)
    assert bench.state("a").owed
    assert bench.state("b").owed


def test_requests_of_one_message_are_refused_together(bench: Bench) -> None:
    """Where one can never be carried out, none is, and the dead letter has them all, so that it can be sent again."""
    message = several(Asked("a", at(0)), Asked("c", at(0)), arrival("b"))
    why = "2 of 3 events: the configuration of this function has no target 'c'"
    assert take(bench.engine, bench.configuration, [message]) == (Judged(Verdict.DEAD, why, dead=b"[0,1]"),)
    assert bench.state("a").owed is None
    assert bench.state("b").owed


def test_only_what_cannot_be_read_of_a_message_is_a_dead_letter(bench: Bench) -> None:
    """The arrivals beside it are signals."""
    message = several(arrival("a"), Malformed("no key"), arrival("b"))
    assert take(bench.engine, bench.configuration, [message]) == (
        Judged(Verdict.DEAD, "1 of 3 events: no key", dead=b"[1]"),
    )
    assert bench.state("a").owed
    assert bench.state("b").owed


def test_a_message_comes_back_whole_where_a_part_meets_trouble(bench: Bench) -> None:
    """Nothing of it goes to the dead letters before the rest is stored."""
    breaking(bench, "a")
    [judged] = take(bench.engine, bench.configuration, [several(arrival("a"), Malformed("no key"))])
    assert (judged.verdict, judged.dead) == (Verdict.RETRY, None)


def test_only_those_whom_the_configuration_names_may_send_signals(bench: Bench) -> None:
    """Everybody by default; a person's own request names no sender and is always taken."""
    senders = (SignalSource("123456789012", "contoso.etl"),)
    bench.configuration = replace(bench.configuration, deployment=DeploymentSettings(signal_sources=senders))
    allowed, foreign = Asked("a", at(0), sender=("123456789012", "contoso.etl")), ("210987654321", "contoso.etl")
    other, person = Asked("a", at(0), sender=foreign), Asked("a", at(0), by_person=True)
    first, second, third = take(bench.engine, bench.configuration, [allowed, other, person])
    assert (first, third) == (DONE, DONE)
    assert second.verdict is Verdict.DEAD
    assert "account 210987654321 and source contoso.etl may not ask" in second.why


@pytest.mark.parametrize("by_person", [False, True])
def test_a_refresh_that_is_asked_for_is_owed(bench: Bench, *, by_person: bool) -> None:
    """And marked, so that only a run of ours from now on covers it."""
    assert take(bench.engine, bench.configuration, [Asked("a", at(0), full=True, by_person=by_person)]) == (DONE,)
    owed = bench.state("a").owed
    assert owed
    assert (owed.full, owed.asked) == (True, True)


@pytest.mark.parametrize("message", [Ticked(), Woken(Wake("k", NOON, "7"))])
def test_ticks_and_wakes_are_done_or_come_back(bench: Bench, message: Any) -> None:
    """Nothing else would bring them."""
    assert take(bench.engine, bench.configuration, [message]) == (DONE,)

    def down(_key: str) -> Any:
        raise StoreDownError("no answer")

    bench.store.load = down  # type: ignore[method-assign, assignment]
    [judged] = take(bench.engine, bench.configuration, [message])
    assert judged == Judged(Verdict.RETRY, "StoreDownError: no answer", judged.cause)


# --- Coming back -----------------------------------------------------------------------------------------------------


def test_a_message_comes_back_soon_for_half_an_hour_and_then_less_often() -> None:
    """Half a minute each time at first, and never longer than what a person who mended the cause would wait for."""
    assert sum((stays_away(receives) for receives in range(1, 60)), timedelta(0)) == timedelta(minutes=29, seconds=30)
    assert {stays_away(receives) for receives in range(1, 60)} == {timedelta(seconds=30)}
    assert {stays_away(receives) for receives in (60, 61, 1000)} == {timedelta(minutes=5)}
