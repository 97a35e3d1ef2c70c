"""The outbox: what the end of a run has to tell, kept in the record until it is told (design, rule 10).

    a success ends ---- saved with its time ---- told: a, b, c ... in the order of their keys ---- next, or empty
                        |                        |
                        one conditional save     cut off anywhere: told again from the last key that was saved

A record keeps two times at most. A signal at a later time asks for all that one at an earlier time does, so of the
successes that end while one is being told only the latest need be told, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.refresh.inputs import Told
from shared.refresh.state import Outbox, Success

TELL_AGAIN = timedelta(seconds=10)
"""How far ahead who tells moves the time to tell: as long as an invocation on Azure can last (design, rule 10)."""


def note_success(outbox: Outbox, ended_at: datetime, now: datetime) -> Outbox:
    """Note a success that followers are to be told of; who notes it is the first to tell it.

    Followers that were told of a later end need not hear of an earlier one.
    """
    telling = outbox.telling
    if telling is None:
        return replace(outbox, telling=Success(ended_at), next_at=outbox.next_at or now + TELL_AGAIN)
    if ended_at <= telling.at:
        return outbox
    return replace(outbox, waiting=max(outbox.waiting or ended_at, ended_at))


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


def take(outbox: Outbox, now: datetime) -> Outbox:
    """Take it upon oneself to tell, where it is time to: nobody else does for a while after this was saved."""
    if not has_more(outbox) or (outbox.next_at is not None and now < outbox.next_at):
        return outbox
    return replace(outbox, next_at=now + TELL_AGAIN)
