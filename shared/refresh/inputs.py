"""Inputs of the machine: all that can happen to a target, as values; `machine.py` says what each leads to."""

from __future__ import annotations

from datetime import datetime

from shared.refresh.failure import Failure
from shared.refresh.identity import Place
from shared.refresh.ports import Report, Started
from shared.refresh.state import JudgedBy, Position, Signal
from shared.values import Value


class Signalled(Value, frozen=True):
    """A reason to refresh arrived."""

    signal: Signal


class Planned(Value, frozen=True):
    """A current edition planned the target: schedule times up to `until` are signals already.

    The fields are those of `State` with the same names; `until` becomes `planned_until`.
    """

    definition: str
    until: datetime
    again_at: datetime | None
    edition: int
    judged_by: JudgedBy


class WakeSpent(Value, frozen=True):
    """The wake that was due then has arrived: nobody else will come for it."""

    due: datetime


class Withdrawn(Value, frozen=True):
    """A job of Fabric's is not wanted any more: its signal is taken back, and only that."""

    job: str


class Hinted(Value, frozen=True):
    """An event says that the run ended, so it is to be polled now."""


class PauseAsked(Value, frozen=True):
    """A person wants no starts."""


class ResumeAsked(Value, frozen=True):
    """A person lifts any hold."""


class ProbeAsked(Value, frozen=True):
    """A person asked for a refresh: what waits for a repair is tried at once."""


class Placed(Value, frozen=True):
    """The target took a place in a queue of its identity."""

    place: Place


class CapReached(Value, frozen=True):
    """A start is due, and a cap of starts a day is reached; `until` is the end of the day."""

    reason: str
    until: datetime


class Claimed(Value, frozen=True):
    """We are about to start; `at` is read before the claim is written."""

    token: str
    at: datetime
    full: bool


class Unsent(Value, frozen=True):
    """The winner of the claim was too slow and sent nothing."""


class Answered(Value, frozen=True):
    """The answer to our start."""

    answer: Started | Failure


class Reported(Value, frozen=True):
    """The answer to a poll."""

    answer: Report | Failure


class Listed(Value, frozen=True):
    """The answer to a look-up."""

    answer: tuple[Report, ...] | Failure


class CancelIntended(Value, frozen=True):
    """The worker is about to cancel its run: saved before the call, so that its end is not taken for a person's."""


class CancelAnswered(Value, frozen=True):
    """The answer to our cancel: None if the platform will end the run."""

    answer: Failure | None


class Proven(Value, frozen=True):
    """The platform's metadata says that the view holds what its sources had at `at`.

    `view` is the view's version, `moment` that of the answer that showed it.
    """

    at: datetime
    view: str
    moment: datetime


class Disproved(Value, frozen=True):
    """The platform's metadata says that the view lacks what `source` had at `at`."""

    at: datetime
    source: str


class Spared(Value, frozen=True):
    """Each source had at `at` the data that the last successful run read: a refresh would read nothing new."""

    at: datetime
    moment: datetime


class SourcesHeard(Value, frozen=True):
    """A look found out whether a source of the target has given no answer for three of its intervals (section 10)."""

    is_silent: bool


class Told(Value, frozen=True):
    """Followers were told of the success whose run ended at `at`: all up to this key, or all there are.

    `next_at` is when the rest is to be told: ahead where the same worker goes on, now where its time is over.
    """

    at: datetime
    up_to: str
    all_told: bool
    next_at: datetime


class Delivered(Value, frozen=True):
    """Outcome events were sent: how far each destination is, and when the rest is to be sent."""

    positions: tuple[Position, ...]
    next_at: datetime
    is_complete: bool = True
    """Whether these are all destinations of the current edition: an older package may not know one that it names."""


Input = (
    Signalled
    | Planned
    | WakeSpent
    | Withdrawn
    | Hinted
    | PauseAsked
    | ResumeAsked
    | ProbeAsked
    | Placed
    | CapReached
    | Claimed
    | Unsent
    | Answered
    | Reported
    | Listed
    | CancelIntended
    | CancelAnswered
    | Proven
    | Disproved
    | Spared
    | SourcesHeard
    | Told
    | Delivered
)
