"""Dead letters, counted, and how far bringing them back got: the same values for both clouds."""

from __future__ import annotations

from datetime import datetime

from shared.values import Value

GIVEN_UP = "came back too often: trouble of ours, see the log"
"""Why a message is there that the cloud moved, and not we with a reason."""
LOOKED_AT = 10
"""Messages of a dead-letter queue that are read for their age and reason: one ReceiveMessage, one Peek Messages."""


class DeadLetterSummary(Value, frozen=True):
    """The dead letters of one queue; `oldest` and `reasons` are of the few that were looked at."""

    queue: str
    count: int
    oldest: datetime | None = None
    reasons: tuple[str, ...] = ()


class Move(Value, frozen=True):
    """How far moving the dead letters of one queue back got; `status` is the cloud's word."""

    queue: str
    status: str
    moved: int
    to_move: int | None = None
    failure: str = ""
