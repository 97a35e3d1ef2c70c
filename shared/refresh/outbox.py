"""The outbox: what the end of a run has to tell, kept in the record until it is told (design, rule 10).

    a success ends ---- saved with its time ---- told: a, b, c ... in the order of their keys ---- next, or empty
                        |                        |
                        one conditional save     cut off anywhere: told again from the last key that was saved

A record keeps two times at most. A signal at a later time asks for all that one at an earlier time does, so of the
successes that end while one is being told only the latest need be told, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import starmap

import msgspec
from msgspec.structs import replace

from shared.refresh.inputs import Delivered, Told
from shared.refresh.state import Notice, Outbox, Position, Success

TELL_AGAIN = timedelta(seconds=10)
"""How far ahead who tells moves the time to tell: as long as an invocation on Azure can last (design, rule 10)."""
NOTICES_MOST = 100
"""Outcome events of a target that wait at once (design, section 10)."""
NOTICE_BYTES = 200
"""Bytes of one such event in the record (design, section 10)."""


def note_success(outbox: Outbox, ended_at: datetime, now: datetime) -> Outbox:
    """Note a success that followers are to be told of; who notes it is the first to tell it.

    Followers that were told of a later end need not hear of an earlier one.
    """
    telling = outbox.telling
    if telling is None:
        return replace(outbox, telling=Success(ended_at), next_at=_soon(outbox, now))
    if ended_at <= telling.at:
        return outbox
    return replace(outbox, waiting=max(outbox.waiting or ended_at, ended_at), next_at=_soon(outbox, now))


def _soon(outbox: Outbox, now: datetime) -> datetime:
    """When to tell what is new: not only when a destination that is left alone has its turn again."""
    return min(outbox.next_at or now + TELL_AGAIN, now + TELL_AGAIN)


def note_told(outbox: Outbox, told: Told) -> Outbox:
    """Note how far followers were told of a success, unless another one is being told by now."""
    telling = outbox.telling
    if telling is None or telling.at != told.at:
        return outbox
    if not told.all_told:
        further = replace(telling, told_up_to=max(telling.told_up_to, told.up_to))
        return replace(outbox, telling=further, next_at=told.next_at)
    following = Success(outbox.waiting) if outbox.waiting else None
    rest = replace(outbox, telling=following, waiting=None)
    return replace(rest, next_at=told.next_at if has_more(rest) else None)


def has_more(outbox: Outbox) -> bool:
    """Whether there is something to tell."""
    return outbox.telling is not None or bool(outbox.notices)


def keep_events(outbox: Outbox) -> Outbox:
    """Keep the events of a target that is gone: no target follows one that the configuration does not name."""
    return replace(outbox, telling=None, waiting=None, next_at=outbox.next_at if outbox.notices else None)


def take(outbox: Outbox, now: datetime) -> Outbox:
    """Take on the telling, where it is time to tell: nobody else does for a while after this was saved."""
    if not has_more(outbox) or (outbox.next_at is not None and now < outbox.next_at):
        return outbox
    return replace(outbox, next_at=now + TELL_AGAIN)


# --- Outcome events --------------------------------------------------------------------------------------------------


def note_event(outbox: Outbox, kind: str, at: datetime, token: str, now: datetime) -> Outbox:
    """Note an outcome event under the next number. Where too many wait, one gives way."""
    number = outbox.last_number + 1
    notices = (*outbox.notices, _shorten(Notice(number, kind, at, token)))
    if len(notices) > NOTICES_MOST:
        notices = _without_one(notices)
    return replace(outbox, notices=notices, last_number=number, next_at=_soon(outbox, now))


def note_delivered(outbox: Outbox, delivered: Delivered) -> Outbox:
    """Note how far each destination is; an event that all have is forgotten, and so are positions without events.

    Who does not know all destinations forgets nothing: others may not have the events yet.
    """
    known = {position.destination: position.number for position in outbox.positions}
    reached = {each.destination: max(each.number, known.get(each.destination, 0)) for each in delivered.positions}
    if not delivered.is_complete:
        return replace(outbox, positions=_positions(known | reached), next_at=delivered.next_at)
    least = min(reached.values(), default=outbox.last_number)
    notices = tuple(notice for notice in outbox.notices if notice.number > least)
    rest = replace(outbox, notices=notices, positions=_positions(reached) if notices else ())
    return replace(rest, next_at=delivered.next_at if has_more(rest) else None)


def _positions(reached: Mapping[str, int]) -> tuple[Position, ...]:
    return tuple(starmap(Position, reached.items()))


def position_of(outbox: Outbox, destination: str) -> int:
    """The number of the last event that a destination has; 0 for one that has none."""
    return next((each.number for each in outbox.positions if each.destination == destination), 0)


def _without_one(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """All but the oldest of the kind of which most wait, so that a rare event outlives a flood of another kind."""
    [(most, _)] = Counter(notice.kind for notice in notices).most_common(1)
    oldest = next(notice for notice in notices if notice.kind == most)
    return tuple(notice for notice in notices if notice is not oldest)


def _shorten(notice: Notice) -> Notice:
    """The notice with as much of its token as fits; a token's beginning is enough to find its line of history."""
    token = notice.token
    while len(msgspec.json.encode(notice)) > NOTICE_BYTES:
        token = token[: len(token) * 3 // 4]
        notice = replace(notice, token=token)
    return notice
