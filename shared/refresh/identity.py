"""The record of an identity that many targets share, as frozen values; `pace.py` decides by the record."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from shared.values import Value


class Call(StrEnum):
    """The kinds of calls that a platform counts apart: a refused poll must not silence starts."""

    START = "start"
    POLL = "poll"  # a look-up and a cancel, too: each follows a run that was started


class Place(Value, frozen=True):
    """The number that a target took in one of the two queues of its identity."""

    call: Call
    """The kind of calls, which names the queue."""
    number: int
    """The place in that queue: smaller numbers are served sooner."""


class Queue(Value, frozen=True):
    """A queue of an identity: which number is served when, and at which rate.

    A number's time is `serves_at` + (number - `serves`) / `rate`, and no sooner than `silent_until`.
    """

    serves_at: datetime
    """When the number `serves` is served."""
    rate: float
    """Numbers served a second, as found so far."""
    quiet_since: datetime
    """Since when the queue has moved at this rate without a refusal and without running empty."""
    serves: int = 0
    """The number from which the times of all others are reckoned."""
    next_number: int = 0
    """The number that the next target takes."""
    silent_until: datetime | None = None
    """Until when the platform asked for no more calls of this kind."""
    lowered_at: datetime | None = None
    """When a refusal lowered the rate last; the next one lowers it no sooner than a minute later."""


class Day(Value, frozen=True):
    """How many starts there were on one day of UTC."""

    day: date
    """The day, in UTC."""
    starts: int
    """How many starts of all targets of the identity were claimed on that day."""


class RunningClaim(Value, frozen=True):
    """A start of an identity whose run may go on, where `max_running` caps how many do."""

    key: str
    """The key of the target's record."""
    token: str
    """The token of the claim in that record."""
    claimed_at: datetime
    """When the start was claimed."""
    ends_by: datetime
    """When the target's timeout is over: the entry leaves then, whatever became of the run."""


class Identity(Value, frozen=True):
    """The record of whoever calls a platform: on AWS the account, on Fabric the user, app or managed identity."""

    starts: Queue | None = None
    """The queue of starts; None until the first start."""
    polls: Queue | None = None
    """The queue of polls; None until the first poll, or, where no limit is configured, until a poll is refused."""
    today: Day | None = None
    """Starts of all its targets on the last day that had one, where the deployment caps them."""
    claims: tuple[RunningClaim, ...] = ()
    """Runs that may go on, one entry a target at most, where `max_running` caps how many do."""
