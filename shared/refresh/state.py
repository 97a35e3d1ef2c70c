"""All known about a target, as frozen values: what is owed, the run, the hold, and the record that has them all.

Datetimes are aware UTC, durations are `timedelta`. Nothing here decides: `machine.py` does.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from shared.refresh.identity import Day, Place
from shared.values import Value


class Signal(Value, frozen=True):
    """One reason to refresh a target.

    `time` is the source's own; `asked` marks one without (a person, HTTP, a custom event): its time is that of its
    receipt, and only a run that we claim afterwards and know as ours covers it. `job` is the id of the one that Fabric
    asked for with it.
    """

    time: datetime
    reason: str
    full: bool = False
    asked: bool = False
    job: str = ""
    looked: bool = False
    """Its source is looked at, so that a look can say later whether a run read what it tells of."""
    prompt: bool = False
    """It is not to wait for the last moment that the objective allows: a schedule came due."""
    unseen: bool = False
    """No run in the record, nor the last success, is known to have read what it tells of: its time is raised beyond
    what those cover. A later run covers it, whoever starts that."""
    extra_lag: timedelta = timedelta(0)
    """How much later than the target's visibility lag says the data of its source can be read; added to `time`."""


class Owed(Value, frozen=True):
    """The signals that no run covers yet, folded: `newest` is rounded up, `at_least` counts those that were stored.

    `jobs`: the signals of Fabric's jobs, by id, each with its own time, so that one can be withdrawn. `others`: it
    holds signals besides those. A record from before there were jobs has neither, and so no jobs, and others.
    """

    oldest: datetime
    newest: datetime
    at_least: int = 1
    full: bool = False
    asked: bool = False
    reasons: tuple[str, ...] = ()
    jobs: dict[str, datetime] = msgspec.field(default_factory=dict)
    others: bool = True
    looked: bool = False
    """All of it came from sources that are looked at; a record from before there were looks does not say so."""
    prompt: bool = False
    """Some of it is not to wait for the last moment that the objective allows."""
    by_person: bool = False
    """A person's `refresh` asked for some of it: neither its place nor a cap of starts a day holds it up."""

    def __hash__(self) -> int:
        """Of all but the jobs: a mapping has none, and values that differ in it alone may share theirs."""
        return hash((self.oldest, self.newest, self.at_least, self.full, self.asked, self.reasons, self.others))


class Situation(StrEnum):
    """Where the one run of a target stands. `machine.TRANSITIONS` says what may happen in each."""

    IDLE = "idle"  # no run
    CLAIMED = "claimed"  # a start was claimed; whether it reached the platform is not known before its answer
    RUNNING = "running"  # accepted, ours, followed by polls
    OVERDUE = "overdue"  # a poll showed it past its timeout, or nobody wants it any more: a cancel is due
    CANCELLING = "cancelling"  # our intent to cancel is saved; polled to its end
    CANCEL_UNCLEAR = "doubted"  # ended Cancelled where that may mean "skipped": the list decides (the value is stored)
    SEEKING = "sought"  # the platform says that another run is there; it is looked for (the value is stored)
    FOREIGN = "foreign"  # someone else's, or one that cannot be told from it; followed, never cancelled


class Run(Value, frozen=True):
    """One refresh on the platform, from our claim to its end.

    `token` names the claim, `claimed_at` is when the sources are read at the earliest. `prior_claim_at` gives the
    minimum interval back when nothing was started. `next_look_at` is when to poll, look up or judge it. `rival_since`:
    we claimed then, and the list showed other runs, too, that may be what came of it; they must end before we start.
    `withdrawn`: the jobs that it was started for, taken back since, and nothing but those; it is to be cancelled.
    """

    token: str
    claimed_at: datetime
    situation: Situation
    next_look_at: datetime
    run_id: str = ""
    full: bool = False
    covering: Owed | None = None
    prior_claim_at: datetime | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_asked: bool = False
    cancel_again_at: datetime | None = None
    rival_since: datetime | None = None
    status: str = ""
    status_known: bool = True
    withdrawn: tuple[str, ...] = ()
    failing_since: datetime | None = None
    """Since when polls and look-ups of the run fail; None while the platform answers them."""


class Paused(Value, frozen=True, tag="paused", tag_field="hold"):
    """A person paused it: nothing is started, nothing forgotten."""

    since: datetime


class Blocked(Value, frozen=True, tag="blocked", tag_field="hold"):
    """Something must be repaired; probed again at `probe_at`. `stuck`: by a run that does not end, until it does."""

    since: datetime
    reason: str
    probe_at: datetime
    stuck: bool = False
    capped: bool = False
    """Nothing is wrong: a cap of starts a day is reached. The block is over when the day is, or the cap is raised."""


class Cancelled(Value, frozen=True, tag="cancelled", tag_field="hold"):
    """A person cancelled our run; `since` is its end. A later signal, `refresh` or `resume` lifts it."""

    since: datetime


Hold = Paused | Blocked | Cancelled


class Success(Value, frozen=True):
    """A success that the targets which come after are being told of."""

    at: datetime
    """The end of the run, which is the time of the signal that each follower gets."""
    told_up_to: str = ""
    """The key of the last follower told; followers are told in the order of their keys."""


class Notice(Value, frozen=True):
    """An outcome event that waits to be sent; what else the event says is read when it is sent (design, section 10)."""

    number: int
    """Counts the events of the target, so that a repetition is recognised and a gap is seen."""
    kind: str
    """The outcome, as the last part of the event's type: `refreshed`, `failed`, `held` and so on."""
    at: datetime
    """When it happened."""
    token: str = ""
    """The token of the run that it is about, or the beginning of a long one; empty where it is about none."""


class Position(Value, frozen=True):
    """How far the events of one target were delivered to one destination."""

    destination: str
    """A digest of the destination's settings: one whose settings change is another destination."""
    number: int
    """The number of the last event that was delivered, or dropped because the destination refuses it for good."""


class Outbox(Value, frozen=True):
    """All that a target still has to tell after a run's end, until it is delivered (design, rule 10)."""

    telling: Success | None = None
    """The success that followers are being told of."""
    waiting: datetime | None = None
    """The end of the latest success that waits for its turn; one between the two need not be told."""
    next_at: datetime | None = None
    """When somebody is to tell next. Who tells moves it ahead first, so that one worker tells at a time."""
    notices: tuple[Notice, ...] = ()
    """Outcome events that not every destination has yet, in the order of their numbers."""
    last_number: int = 0
    """The number of the last outcome event of the target."""
    positions: tuple[Position, ...] = ()
    """How far each destination is."""


class JudgedBy(Value, frozen=True):
    """What `status` judges a target by, as the current edition has it."""

    name: str
    """What the configuration calls the target."""
    objective: timedelta | None
    """How stale the view may be; None: no objective."""
    look: timedelta | None
    """How often the target's sources are looked at; None: never."""
    quiet_period: timedelta
    """How long a start waits after the last arrival."""
    max_wait: timedelta
    """How long a start waits after the first arrival at most."""


class State(Value, frozen=True):
    """All that is known about one target; stored as one record under optimistic concurrency.

    `again_at`: its sources are new since a while before, and then no older release takes their events for nobody's.
    """

    owed: Owed | None = None
    run: Run | None = None
    fresh_as_of: datetime | None = None
    full_as_of: datetime | None = None
    last_claim_at: datetime | None = None
    failures: int = 0
    refusals: int = 0
    not_before: datetime | None = None
    hold: Hold | None = None
    last_error: str = ""
    planned_until: datetime | None = None
    definition: str = ""
    again_at: datetime | None = None
    wake_at: datetime | None = None
    wakes: tuple[datetime, ...] = ()
    known_over: tuple[str, ...] = ()
    """Ids of the last runs whose end an answer told us: a later run of ours was skipped for none of these (rule 9)."""
    proven_as_of: datetime | None = None
    """The view held what its sources had then, by the platform's own metadata; it covers no later signal."""
    told_of: str = ""
    """The version of the view whose proof followers were told of last."""
    disproved: bool = False
    """The view lacked a source's version, and was signalled for it; not again before the next proof."""
    startable_since: datetime | None = None
    """Since when something is owed and neither a run nor a hold is in the way."""
    edition: int = 0
    """The number of the edition that planned this record last; 0 in records of release 1, which had no editions."""
    judged_by: JudgedBy | None = None
    """What `status` judges by; None until an edition planned this record."""
    run_times: tuple[timedelta, ...] = ()
    """How long the last successful runs of ours took, the newest last; five at most."""
    outbox: Outbox = Outbox()
    """All that a run's end still has to tell; a record from before there were outboxes has nothing to tell."""
    told_late: bool = False
    """Somebody was told that the target is beyond its objective, and not yet that it no longer is."""
    place: Place | None = None
    """Its number in the queue of its identity (design, section 4.1), while it waits to start or to poll a run."""
    today: Day | None = None
    """How often it was started on the last day of UTC that had a start, for `max_starts_per_day`."""

    @property
    def situation(self) -> Situation:
        """Where its run stands; `IDLE` without one."""
        return self.run.situation if self.run else Situation.IDLE


class Edition(Value, frozen=True):
    """A configuration as it is deployed, numbered in order (rule 12)."""

    number: int
    """1 for the first; each that follows, a rollback included, has the next."""
    fingerprint: str
    """The digest of the configuration (`Configuration.fingerprint`)."""
    generation: datetime
    """When the package was made."""


class Rollout(Value, frozen=True):
    """How far an edition got: over its targets first, then over the records that it no longer names."""

    done_up_to: str = ""
    """The last key that was reconciled; in the second half the store's cursor."""
    targets_done: bool = False
    """Whether the second half has begun."""
    failed: bool = False
    """Whether a record met trouble: then the rollout begins anew."""
    over: bool = False
    """Whether both halves are done."""


class Addressee(Value, frozen=True):
    """The record of one destination of outcome events: how long it is left alone, for all targets."""

    failures: int = 0
    """How often in a row it failed."""
    alone_until: datetime | None = None
    """Until when nothing is sent there."""


class Deployment(Value, frozen=True):
    """The one record of the deployment: pause-all, the current edition and its rollout, when ticks came."""

    paused_since: datetime | None = None
    """Since when nothing may be started; None: starts go on."""
    edition: Edition | None = None
    """The current edition; None in a record of release 1, which any package succeeds."""
    rollout: Rollout | None = None
    """The rollout of the current edition; None when it is over."""
    older_since: datetime | None = None
    """Since when ticks of an older package come and none of the current one."""
    older_at: datetime | None = None
    """When a tick of an older package came last."""
    ticked_at: datetime | None = None
    """When a tick came last, of whatever package."""
    quiet_until: dict[str, datetime] = msgspec.field(default_factory=dict)
    """Until when each identity must send nothing."""


class Wake(Value, frozen=True):
    """A delayed message to look at one target at `due`; `version` is that of the record its sender read."""

    key: str
    due: datetime
    version: str


class Outcome(StrEnum):
    """How a run ended for us."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    LOST = "lost"  # a foreign run that can no longer be followed
    PROVEN = "proven"  # no run of ours: the view holds what was owed, by the platform's own metadata
    SPARED = "spared"  # no run at all: a refresh would have read nothing new


class Ended(Value, frozen=True):
    """One line of a target's history. `jobs`: Fabric's, whose signals the run was to cover."""

    token: str
    outcome: Outcome
    claimed_at: datetime
    ended_at: datetime
    run_id: str = ""
    foreign: bool = False
    full: bool = False
    signals: int = 0
    reasons: tuple[str, ...] = ()
    error: str = ""
    dpu_seconds: float | None = None
    jobs: tuple[str, ...] = ()
    oldest: datetime | None = None
    """When the oldest signal came that the run was to cover; a line from before there was this field does not say."""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    """The versions of sources that the run is known to have read, by the sources' names; empty where nobody looks."""
