"""An event that concerns more targets than there is time for: what is left is a message of ours."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.inbound import eventbridge, eventgrid
from shared.inbound.arrivals import (
    Arrival,
    BlobArrived,
    JobSucceeded,
    ObjectArrived,
    OneLakeArrived,
    TableChanged,
)
from shared.inbound.dispatch import DONE, NO_TIME, Judged, Verdict, take
from shared.inbound.messages import Arrived, Asked, Malformed, Message, Part, Rest, Several
from shared.inbound.wakes import REST_BYTES, rest_messages
from shared.refresh.ports import StoreDownError
from shared.refresh.state import State
from shared.targets import S3ObjectCreated
from tests.support.core import NOON, POLICY, Bench, a_target, at, seconds

SHARED = S3ObjectCreated("shared")
EVENT = Arrived((ObjectArrived(NOON, "shared", "orders/1"),))


def concerned(*names: str, room: int) -> Bench:
    """Targets that one bucket concerns; each save takes a second, and there is time for so many."""
    later = replace(POLICY, quiet_period=seconds(7200), max_wait=seconds(7200))
    bench = Bench(*(a_target(name, on=(S3ObjectCreated(name), SHARED), policy=later) for name in names))
    for name in names:
        bench.put(State(), name)
    bench.plan()
    bench.store.before_save = lambda _key: bench.at(bench.clock.monotonic() + 1)
    bench.engine._ends_at = room
    return bench


def next_invocation(bench: Bench, room: int) -> None:
    """Give the next invocation time for so many targets."""
    bench.engine._ends_at = bench.clock.monotonic() + room


def signalled(bench: Bench) -> list[str]:
    """The names of the targets that are owed a refresh."""
    return sorted(target.name for target in bench.configuration.targets if bench.state(target.name).owed)


def read(body: bytes) -> Message:
    """A message of the queue, as either cloud reads it."""
    found = eventbridge.read(body, NOON)
    assert found == eventgrid.read(body, NOON)
    return found


def key(bench: Bench, name: str) -> str:
    """The key of a target's record."""
    return bench.target(name).key


def test_what_is_left_names_the_event_and_the_next_key() -> None:
    """Targets are taken in the order of their keys, whatever the order of the file."""
    bench = concerned("d", "b", "c", "a", room=2)
    [judged] = take(bench.engine, bench.configuration, [EVENT])
    assert signalled(bench) == ["a", "b"]
    assert (judged.verdict, len(judged.rests)) == (Verdict.DONE, 1)
    assert read(judged.rests[0]) == Rest(EVENT.arrivals, key(bench, "c"), key(bench, "d"))


def test_the_rest_signals_whom_the_event_did_not() -> None:
    """With the event's own time and words; whom it did is not even read again."""
    bench = concerned("a", "b", "c", "d", room=2)
    [judged] = take(bench.engine, bench.configuration, [EVENT])
    next_invocation(bench, 9)
    saves = bench.store.saves
    assert take(bench.engine, bench.configuration, [read(judged.rests[0])]) == (DONE,)
    assert signalled(bench) == ["a", "b", "c", "d"]
    assert bench.store.saves - saves == 2
    first, last = bench.state("a").owed, bench.state("d").owed
    assert first
    assert last
    assert (last.oldest, last.reasons) == (first.oldest, first.reasons)


def test_a_thousand_targets_are_signalled_by_as_many_messages_as_it_takes() -> None:
    """Each invocation has time for 80; the rest of a rest is a rest again."""
    names = [f"t{number:04}" for number in range(1000)]
    bench = concerned(*names, room=80)
    messages: list[Message] = [EVENT]
    turns = 0
    while messages:
        next_invocation(bench, 80)
        [judged] = take(bench.engine, bench.configuration, messages)
        assert judged.verdict == Verdict.DONE
        messages = [read(rest) for rest in judged.rests]
        turns += 1
    assert signalled(bench) == names
    assert turns == 13


def test_one_target_is_signalled_even_if_no_time_is_left() -> None:
    """So that a message that always comes late gets on."""
    bench = concerned("a", "b", room=0)
    [judged] = take(bench.engine, bench.configuration, [EVENT])
    assert signalled(bench) == ["a"]
    assert judged.rests


def test_trouble_of_one_target_keeps_nobody_behind_it_waiting() -> None:
    """The target in trouble gets a message of its own, which comes back while the trouble lasts."""
    bench = concerned("a", "b", "c", "d", room=3)
    tick = bench.store.before_save

    def refuse(record: str) -> None:
        tick(record)
        if record == key(bench, "b"):
            raise StoreDownError("no answer")

    bench.store.before_save = refuse
    [judged] = take(bench.engine, bench.configuration, [EVENT])
    troubled, left = (read(rest) for rest in judged.rests)
    assert troubled == Rest(EVENT.arrivals, key(bench, "b"), key(bench, "b"))
    assert left == Rest(EVENT.arrivals, key(bench, "d"), key(bench, "d"))
    next_invocation(bench, 9)
    again, done = take(bench.engine, bench.configuration, [troubled, left])
    assert (again.verdict, again.rests, done) == (Verdict.RETRY, (), DONE)
    assert signalled(bench) == ["a", "c", "d"]


def test_whom_somebody_asked_for_comes_first() -> None:
    """A request cannot be split: its target has its turn before those that data arrived for."""
    bench = concerned("a", "b", "z", room=1)
    asked, arrived = take(bench.engine, bench.configuration, [Asked("z", NOON), EVENT])
    assert asked == DONE
    assert signalled(bench) == ["z"]
    assert read(arrived.rests[0]) == Rest(EVENT.arrivals, key(bench, "a"), key(bench, "b"))


def test_an_event_beside_a_request_is_split_once_that_is_done() -> None:
    """In one message: only what is left of the event goes on."""
    bench = concerned("a", "z", room=1)
    several = Several((Part(Asked("z", NOON), b"{}"), Part(EVENT, b"{}")))
    [judged] = take(bench.engine, bench.configuration, [several])
    assert judged == replace(DONE, rests=rest_messages(EVENT.arrivals, key(bench, "a"), key(bench, "a")))


def test_a_request_that_there_was_no_time_for_comes_back_whole() -> None:
    """It is acknowledged to nobody."""
    bench = concerned("a", "b", room=1)
    assert take(bench.engine, bench.configuration, [Asked("a", NOON), Asked("b", NOON)]) == (DONE, NO_TIME)


def test_a_message_with_unreadable_events_is_split_and_buried_in_part() -> None:
    """What is left goes into the queue, what is refused into the dead letters."""
    bench = concerned("a", "b", room=1)
    several = Several((Part(EVENT, b"{}"), Part(Malformed("unreadable"), b"[]")))
    [judged] = take(bench.engine, bench.configuration, [several])
    assert judged == Judged(
        Verdict.DEAD,
        "1 of 2 events: unreadable",
        dead=b"[[]]",
        rests=rest_messages(EVENT.arrivals, key(bench, "b"), key(bench, "b")),
    )


def test_the_rest_names_only_the_arrivals_that_concern_whom_is_left() -> None:
    """An array of events may be long."""
    bench = concerned("a", "b", room=1)
    own = [ObjectArrived(NOON, name, "1") for name in ("a", "b", "elsewhere")]
    [judged] = take(bench.engine, bench.configuration, [Arrived((*own, *EVENT.arrivals))])
    assert read(judged.rests[0]) == Rest((own[1], *EVENT.arrivals), key(bench, "b"), key(bench, "b"))


# --- The message -----------------------------------------------------------------------------------------------------

ARRIVALS: tuple[Arrival, ...] = (
    ObjectArrived(NOON, "b", "k"),
    TableChanged(NOON, "d", "t"),
    JobSucceeded(at(0.25), "j"),
    BlobArrived(NOON, "a", "c", "p/", folder=True),
    OneLakeArrived(NOON, "w", "i", "Tables/t/_delta_log/1.json"),
)


def test_every_kind_of_arrival_is_carried() -> None:
    """With its kind."""
    [body] = rest_messages(ARRIVALS, "a", "b")
    assert read(body) == Rest(ARRIVALS, "a", "b")


@pytest.mark.parametrize("name", ["k" * 1024, "&" * 1024, '"\\' * 512, "\u0001" * 1024, "\U0001f600" * 256])
def test_a_message_fits_into_any_queue(name: str) -> None:
    """A Storage queue takes 64 KiB of XML; of many arrivals with the longest names some go into each message."""
    arrivals = tuple(ObjectArrived(NOON, "bucket", f"{name}{number}"[-1024:]) for number in range(100))
    bodies = rest_messages(arrivals, "f" * 500, "l" * 500)
    read_again: list[Arrival] = []
    for body in bodies:
        assert len(body.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")) <= 65_536
        found = read(body)
        assert isinstance(found, Rest)
        read_again += found.arrivals
    assert tuple(read_again) == arrivals
    assert len(bodies) >= 100 * 1024 // REST_BYTES // 2


@pytest.mark.parametrize(
    "rest",
    [
        {"first": "a", "last": "b"},
        {"arrivals": [], "first": "a"},
        {"arrivals": [{"what": "tree", "time": "2026-01-31T12:00:00Z"}], "first": "a", "last": "b"},
        {"arrivals": [{"what": "job", "job": "j", "time": "2026-01-31T12:00:00"}], "first": "a", "last": "b"},
        {"arrivals": [{"what": "job", "job": "j", "time": "now"}], "first": "a", "last": "b"},
    ],
    ids=["no arrivals", "no last key", "another kind", "a time without a zone", "no time"],
)
def test_a_rest_that_nobody_wrote_is_refused(rest: Any) -> None:
    """With the place."""
    found = read(msgspec.json.encode({"rest": rest}))
    assert isinstance(found, Malformed)
    assert "$.rest" in found.why
