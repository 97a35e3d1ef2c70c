"""The outbox as values: two times at most, how far followers were told, and which outcome event gives way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.inputs import Delivered, Told
from shared.refresh.outbox import (
    NOTICE_BYTES,
    NOTICES_MOST,
    TELL_AGAIN,
    has_more,
    keep_events,
    note_delivered,
    note_event,
    note_success,
    note_told,
    position_of,
    take,
)
from shared.refresh.state import Notice, Outbox, Position, State, Success
from tests.support.core import NOON, at

AGAIN = NOON + TELL_AGAIN


def told(time: float, up_to: str = "z", *, all_told: bool = False, next_at: datetime = NOON) -> Told:
    """Followers were told of the run that ended then."""
    return Told(at(time), up_to, all_told, next_at)


# --- Successes -------------------------------------------------------------------------------------------------------


def test_who_notes_a_success_is_the_first_to_tell_it() -> None:
    """Ten seconds long nobody else does."""
    assert note_success(Outbox(), at(-5), NOON) == Outbox(Success(at(-5)), next_at=AGAIN)


@pytest.mark.parametrize(
    ("ends", "waiting"),
    [((7,), 7), ((7, 9), 9), ((9, 7), 9), ((3,), None), ((5,), None), ((3, 9, 4), 9)],
    ids=["one", "the latest", "an earlier one after it", "before it", "the same", "many"],
)
def test_of_later_successes_the_latest_waits(ends: tuple[float, ...], waiting: float | None) -> None:
    """At most two times are kept; who was told of a time need not be told of an earlier one. The one that is being told
    stays as it is, with its key.
    """
    outbox = Outbox(Success(at(5), "k"), next_at=at(2))
    for end in ends:
        outbox = note_success(outbox, at(end), NOON)
    assert outbox == Outbox(Success(at(5), "k"), None if waiting is None else at(waiting), at(2))


def test_how_far_followers_were_told_is_kept() -> None:
    """By the key of the last one; a slower worker takes nothing back."""
    outbox = note_told(Outbox(Success(at(5), "k"), at(9), at(10)), told(5, "m", next_at=at(20)))
    assert outbox == Outbox(Success(at(5), "m"), at(9), at(20))
    assert note_told(outbox, told(5, "c", next_at=at(20))) == outbox


def test_a_success_that_waited_is_told_from_the_first_follower_on() -> None:
    """After the one before it was told to the end."""
    outbox = note_told(Outbox(Success(at(5), "k"), at(9), at(10)), told(5, all_told=True, next_at=at(20)))
    assert outbox == Outbox(Success(at(9)), None, at(20))
    assert note_told(outbox, told(9, all_told=True, next_at=at(30))) == Outbox()


def test_what_was_told_of_another_success_says_nothing_of_this_one() -> None:
    """A worker that froze tells what it told of a success that is over by now."""
    outbox = Outbox(Success(at(9), "c"), next_at=at(10))
    assert note_told(outbox, told(5, "z", all_told=True)) == outbox
    assert note_told(Outbox(), told(5, "z", all_told=True)) == Outbox()


def test_events_are_told_after_the_followers() -> None:
    """So an outbox that has events is not done."""
    outbox = Outbox(Success(at(5)), None, at(10), notices=(Notice(1, "late", NOON),), last_number=1)
    rest = note_told(outbox, told(5, all_told=True, next_at=at(20)))
    assert (rest.telling, rest.next_at, has_more(rest)) == (None, at(20), True)


@pytest.mark.parametrize(
    ("outbox", "taken"),
    [
        (Outbox(), False),
        (Outbox(Success(NOON), next_at=at(1)), False),
        (Outbox(Success(NOON), next_at=NOON), True),
        (Outbox(Success(NOON)), True),
        (Outbox(notices=(Notice(1, "late", NOON),), next_at=at(-1)), True),
    ],
    ids=["nothing to tell", "another one tells", "due", "not taken by anybody", "events"],
)
def test_one_worker_tells_at_a_time(outbox: Outbox, *, taken: bool) -> None:
    """Who tells moves the time ahead, which only one of several can save."""
    assert take(outbox, NOON) == (replace(outbox, next_at=AGAIN) if taken else outbox)


# --- Outcome events --------------------------------------------------------------------------------------------------


def test_events_are_counted() -> None:
    """One number each, also where some gave way."""
    outbox = note_event(Outbox(), "held", at(-5), "t", NOON)
    outbox = note_event(outbox, "released", at(-4), "", NOON)
    assert outbox == Outbox(
        next_at=AGAIN,
        notices=(Notice(1, "held", at(-5), "t"), Notice(2, "released", at(-4))),
        last_number=2,
    )


def filled(*kinds: str) -> Outbox:
    """An outbox with an event of each of these kinds, in this order."""
    outbox = Outbox()
    for kind in kinds:
        outbox = note_event(outbox, kind, NOON, "", NOON)
    return outbox


@pytest.mark.parametrize(
    ("kinds", "gone"),
    [
        (["held", *["refreshed"] * 60, *["failed"] * 39], 2),
        (["refreshed"] * NOTICES_MOST, 1),
        ([*["held"] * 50, *["late"] * 50], 51),
    ],
    ids=["the oldest of the most frequent kind", "all of one kind", "the new one counts"],
)
def test_the_oldest_of_the_kind_of_which_most_wait_gives_way(kinds: list[str], gone: int) -> None:
    """A hundred wait at most; what happens rarely outlives what happens often."""
    outbox = note_event(filled(*kinds), "late", NOON, "", NOON)
    numbers = [notice.number for notice in outbox.notices]
    assert numbers == [number for number in range(1, NOTICES_MOST + 2) if number != gone]
    assert outbox.last_number == NOTICES_MOST + 1


@pytest.mark.parametrize("token", ["t" * 32, "view-" + "7" * 500, "ü" * 500, '"\\\n' * 200, "\U0001f600" * 100])
def test_an_event_takes_two_hundred_bytes_at_most(token: str) -> None:
    """As it is stored, whatever the token; of that the beginning is kept, as much as fits."""
    far = datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    outbox = note_event(replace(Outbox(), last_number=10**12), "refreshed", far.astimezone(UTC), token, NOON)
    [notice] = outbox.notices
    assert len(msgspec.json.encode(notice)) <= NOTICE_BYTES
    assert token.startswith(notice.token)
    assert len(notice.token) >= min(len(token), 20)


@pytest.mark.parametrize("too_many", [0, 1])
def test_of_a_token_that_does_not_fit_three_quarters_are_kept(too_many: int) -> None:
    """One that just fits is kept whole."""
    [one] = note_event(Outbox(), "late", NOON, "t", NOON).notices
    room = NOTICE_BYTES - len(msgspec.json.encode(one)) + 1
    token = "t" * (room + too_many)
    [notice] = note_event(Outbox(), "late", NOON, token, NOON).notices
    assert notice.token == (token[: len(token) * 3 // 4] if too_many else token)


def test_what_is_new_does_not_wait_for_a_destination_that_is_left_alone() -> None:
    """Neither followers nor another event: in ten seconds somebody tells, and skips the one that has no turn yet."""
    alone = Outbox(notices=(Notice(1, "late", NOON),), last_number=1, next_at=at(3600))
    assert note_event(alone, "held", NOON, "", NOON).next_at == AGAIN
    assert note_success(alone, NOON, NOON).next_at == AGAIN
    telling = note_success(replace(alone, telling=Success(at(-9))), NOON, NOON)
    assert (telling.waiting, telling.next_at) == (NOON, AGAIN)
    assert note_event(replace(alone, next_at=at(3)), "held", NOON, "", NOON).next_at == at(3)


WAITING = replace(filled("refreshed", "held", "released"), next_at=AGAIN)


@pytest.mark.parametrize(
    ("numbers", "left"),
    [((3,), []), ((2,), [3]), ((3, 1), [2, 3]), ((0,), [1, 2, 3]), ((), [])],
    ids=["all", "up to the second", "as far as the last of two", "none", "nobody to send to"],
)
def test_an_event_that_all_have_is_forgotten(numbers: tuple[int, ...], left: list[int]) -> None:
    """And with the last one all positions: the next event has a higher number anyway."""
    positions = tuple(Position(f"d{number}", number) for number in numbers)
    rest = note_delivered(WAITING, Delivered(positions, at(60)))
    assert [notice.number for notice in rest.notices] == left
    assert rest.positions == (positions if left else ())
    assert (rest.next_at, rest.last_number) == (at(60) if left else None, 3)


def test_a_slower_worker_takes_no_delivery_back() -> None:
    """A position only rises."""
    outbox = note_delivered(WAITING, Delivered((Position("a", 2), Position("b", 0)), at(60)))
    again = note_delivered(outbox, Delivered((Position("a", 1), Position("b", 1)), at(60)))
    assert [position_of(again, name) for name in ("a", "b", "new")] == [2, 1, 0]


def test_who_does_not_know_all_destinations_forgets_nothing() -> None:
    """Rule 12: an older package told its own; the newer one's keeps its position, and the events wait for that."""
    outbox = note_delivered(WAITING, Delivered((Position("a", 1), Position("b", 1)), at(60)))
    older = note_delivered(outbox, Delivered((Position("a", 3),), at(90), is_complete=False))
    assert [notice.number for notice in older.notices] == [2, 3]
    assert [position_of(older, name) for name in ("a", "b")] == [3, 1]
    assert older.next_at == at(90)


def test_an_event_that_came_during_the_sending_waits() -> None:
    """It has a higher number than all that was sent."""
    outbox = note_event(WAITING, "late", NOON, "", NOON)
    rest = note_delivered(outbox, Delivered((Position("a", 3),), at(60)))
    assert ([notice.kind for notice in rest.notices], rest.next_at) == (["late"], at(60))


# --- Stored ----------------------------------------------------------------------------------------------------------


def test_an_outbox_is_stored_and_read() -> None:
    """The full one, too: a target's record stays far below what any store takes (64 kB, 400 kB)."""
    full = replace(filled(*["refreshed"] * 150), telling=Success(NOON, "k" * 500), waiting=at(5))
    body = records.write(State(outbox=full))
    assert records.read_state(body).outbox == full
    assert len(body) < 25_000


def test_a_record_from_before_there_were_outboxes_has_nothing_to_tell() -> None:
    """And one that has nothing to tell is stored as it was before."""
    old: Any = {"format": 1, "record": {"failures": 1}}
    assert records.read_state(msgspec.json.encode(old)) == State(failures=1)
    assert b"outbox" not in records.write(State(failures=1))


@pytest.mark.parametrize(("notices", "next_at"), [((Notice(1, "refreshed", NOON),), at(5)), ((), None)])
def test_a_target_that_is_gone_has_only_events_to_tell(notices: tuple[Notice, ...], next_at: datetime | None) -> None:
    """Nobody follows what the configuration does not name; where no event waits either, nothing is due."""
    outbox = Outbox(telling=Success(NOON), waiting=at(3), next_at=at(5), notices=notices, last_number=1)
    assert keep_events(outbox) == Outbox(notices=notices, next_at=next_at, last_number=1)
