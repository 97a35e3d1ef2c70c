"""The outbox as values: two times at most, how far followers were told, and which outcome event gives way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.inputs import Told
from shared.refresh.outbox import (
    TELL_AGAIN,
    has_more,
    note_success,
    note_told,
    take,
)
from shared.refresh.state import Notice, Outbox, State, Success
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


# --- Stored ----------------------------------------------------------------------------------------------------------


def test_an_outbox_is_stored_and_read() -> None:
    """As it was."""
    full = Outbox(Success(NOON, "k" * 500), at(5), at(9))
    body = records.write(State(outbox=full))
    assert records.read_state(body).outbox == full


def test_a_record_from_before_there_were_outboxes_has_nothing_to_tell() -> None:
    """And one that has nothing to tell is stored as it was before."""
    old: Any = {"format": 1, "record": {"failures": 1}}
    assert records.read_state(msgspec.json.encode(old)) == State(failures=1)
    assert b"outbox" not in records.write(State(failures=1))
