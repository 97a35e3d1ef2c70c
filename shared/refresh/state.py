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
    """A reason to refresh a target."""

    time: datetime
    """When the data came, by the source's own clock; for a signal without such a time, when it was received."""
    reason: str
    """A few words for people, such as `s3://landing/orders/x.parquet`."""
    full: bool = False
    """Whether only a full refresh will do."""
    asked: bool = False
    """Whether the signal has no time of a source: a person, HTTP or a custom event asked. Only a run that we claim
    afterwards, and know as ours, covers it."""
    job: str = ""
    """The id of Fabric's job that asked with this signal; empty where none did."""
    looked: bool = False
    """Whether the source is looked at, so that a look can say later if a run read what the signal tells of."""
    prompt: bool = False
    """Whether the signal must not wait for the last moment that the objective allows: a schedule came due."""
    unseen: bool = False
    """No run in the record, nor the last success, is known to have read what it tells of: its time is raised beyond
    what those cover. A later run covers it, whoever starts that."""
    extra_lag: timedelta = timedelta(0)
    """How much later than the target's visibility lag says the data of its source can be read; added to `time`."""


class Owed(Value, frozen=True):
    """The signals that no run covers yet, folded into one small value."""

    oldest: datetime
    """The time of the oldest signal: since then the view is stale, and the maximum wait counts."""
    newest: datetime
    """The time of the newest signal, rounded up, so that a storm of signals moves it rarely; the quiet period counts
    from it, and what a run covers is computed from it."""
    at_least: int = 1
    """How many signals were stored; signals that changed nothing were absorbed and are not counted."""
    full: bool = False
    """Whether a signal among them asks for a full refresh."""
    asked: bool = False
    """Whether a signal among them has no time of a source (see `Signal`)."""
    reasons: tuple[str, ...] = ()
    """The first few different reasons, for people."""
    jobs: dict[str, datetime] = msgspec.field(default_factory=dict)
    """The times of the signals of Fabric's jobs, by the jobs' ids, so that a job can be withdrawn."""
    others: bool = True
    """Whether there are signals besides those of jobs; always in a record from before there were jobs."""
    looked: bool = False
    """Whether all signals came from sources that are looked at; never in a record from before there were looks."""
    prompt: bool = False
    """Whether a signal among them is not to wait for the last moment that the objective allows."""
    by_person: bool = False
    """A person's `refresh` asked for some of it: neither its place nor a cap of starts a day holds it up."""

    def __hash__(self) -> int:
        """Hash all fields but the jobs: a mapping has no hash, and values that differ in it alone may share theirs."""
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
    """A refresh on the platform, from our claim to its end."""

    token: str
    """The name of our claim, by which a worker knows its own claim again."""
    claimed_at: datetime
    """When the run reads its sources at the earliest: the time before our claim was written, or the platform's creation
    time where that is earlier. Signals later than this, less the visibility lag, are not covered."""
    situation: Situation
    """Where the run stands."""
    next_look_at: datetime
    """When to poll, look up, cancel or judge the run."""
    run_id: str = ""
    """The platform's id of the run; empty while the platform has told none."""
    full: bool = False
    """Whether the run refreshes everything; of a foreign run only if the platform says so."""
    covering: Owed | None = None
    """The signals that the run will have read when it succeeds, and that are owed again when it does not."""
    prior_claim_at: datetime | None = None
    """`State.last_claim_at` before this claim, which counts again for the minimum interval if nothing was started."""
    created_at: datetime | None = None
    """When the run was created, by the platform's clock; None while the platform has not told it."""
    ended_at: datetime | None = None
    """When the run ended, kept while it is `CANCEL_UNCLEAR`."""
    cancel_asked: bool = False
    """Whether we cancel the run ourselves, so that its end is not taken for a person's deed."""
    cancel_again_at: datetime | None = None
    """When to cancel again if the run goes on."""
    rival_since: datetime | None = None
    """When we claimed, where the list showed more than one run that may be what came of our claim: all of them must end
    before we start again."""
    status: str = ""
    """The platform's own word for the run's status, as last told."""
    status_known: bool = True
    """Whether that status is one that the platform documents."""
    withdrawn: tuple[str, ...] = ()
    """Ids of Fabric's jobs that the run was started for and that were taken back since; where it covers nothing else,
    the run is to be cancelled."""
    failing_since: datetime | None = None
    """Since when polls and look-ups of the run fail; None while the platform answers them."""
    hinted: bool = False
    """Whether an event told that the run may be over, so that its polls no longer wait for its usual end."""


class Paused(Value, frozen=True, tag="paused", tag_field="hold"):
    """A person paused the target: nothing is started, nothing forgotten."""

    since: datetime
    """When the pause began."""


class Blocked(Value, frozen=True, tag="blocked", tag_field="hold"):
    """Something must be repaired before a start can succeed; the target probes by itself whether it was."""

    since: datetime
    """When the block began: the longer it lasts, the less often it is probed."""
    reason: str
    """The platform's refusal, in words for people."""
    probe_at: datetime
    """When to try again."""
    stuck: bool = False
    """Whether a run that does not end is the reason: then the block lasts until that run ends."""
    capped: bool = False
    """Nothing is wrong: a cap of starts a day is reached. The block is over when the day is, or the cap is raised."""


class Cancelled(Value, frozen=True, tag="cancelled", tag_field="hold"):
    """A person cancelled our run. A later signal, `refresh` or `resume` lifts the hold."""

    since: datetime
    """The end of the run that was cancelled."""


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
    """When the event happened."""
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
    """The measure by which `status` judges a target, as the current edition has it."""

    name: str
    """The name of the target in the configuration."""
    objective: timedelta | None
    """How stale the view may be; None: no objective."""
    look: timedelta | None
    """How often the target's sources are looked at; None: never."""
    quiet_period: timedelta
    """How long a start waits after the last arrival."""
    max_wait: timedelta
    """How long a start waits after the first arrival at most."""


class State(Value, frozen=True):
    """All that is known about one target; stored as one record under optimistic concurrency."""

    owed: Owed | None = None
    """The signals that neither the run nor a finished run covers; None: there are none."""
    run: Run | None = None
    """The one run of the target; None: none is claimed, goes on or is looked for."""
    fresh_as_of: datetime | None = None
    """The claim of the last successful run: the view has what its sources had then; None: no run succeeded yet."""
    full_as_of: datetime | None = None
    """The same of the last successful run that was full."""
    last_claim_at: datetime | None = None
    """When a start was claimed last, from which the minimum interval counts."""
    failures: int = 0
    """Runs that failed since the last success, for the backoff and for `after_failures`."""
    refusals: int = 0
    """Starts that were refused since one was accepted last, for the backoff."""
    not_before: datetime | None = None
    """Before this nothing is started: a backoff, or a time that the platform asked for."""
    hold: Hold | None = None
    """Why nothing is started until somebody, or something, lifts the hold; None: starts go on."""
    last_error: str = ""
    """The last error of a start, a poll, a look-up or a run, in words for people; a success clears it."""
    planned_until: datetime | None = None
    """Up to when the target's schedules were turned into signals; None: never."""
    definition: str = ""
    """Digests of the sources and schedules that the record was planned for (`Target.definition`); empty: none yet."""
    again_at: datetime | None = None
    """When to signal again after the sources changed: by then no worker of an older package is left that ignores their
    events."""
    wake_at: datetime | None = None
    """When the record is due, as the store's index has it; None: only when something happens."""
    wakes: tuple[datetime, ...] = ()
    """When the wakes that are on their way come due (rule 13)."""
    known_ends: dict[str, datetime] = msgspec.field(default_factory=dict)
    """When an answer told us the end of each run of the last minutes, the newest first, by the run's id: a later run of
    ours was skipped for none of these (rule 9)."""
    proven_as_of: datetime | None = None
    """When the view held what its sources had, by the platform's own metadata; later signals are not covered."""
    told_of: str = ""
    """The version of the view whose proof followers were told of last."""
    disproved: bool = False
    """The view lacked a source's version, and was signalled for it; not again before the next proof."""
    startable_since: datetime | None = None
    """Since when something is owed and neither a run nor a hold is in the way."""
    edition: int = 0
    """The number of the edition that planned this record last; 0 in records of release 1, which had no editions."""
    judged_by: JudgedBy | None = None
    """The measure by which `status` judges the target; None until an edition planned this record."""
    run_times: tuple[timedelta, ...] = ()
    """How long the last successful runs of ours took, the newest last; five at most."""
    outbox: Outbox = Outbox()
    """All that a run's end still has to tell; a record from before there were outboxes has nothing to tell."""
    told_late: bool = False
    """Whether the outcome event was sent that says that the target is beyond its objective, and not yet its end."""
    told_silent: bool = False
    """Whether a look found a source of the target without an answer for so long that its verdict is unknown."""
    place: Place | None = None
    """The target's number in its identity's queue (design, section 4.1), while it waits to start or to poll a run."""
    today: Day | None = None
    """How often the target was started on the last day of UTC that had a start, for `max_starts_per_day`."""

    @property
    def situation(self) -> Situation:
        """The run's situation; `IDLE` where there is no run."""
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
    why: str = ""
    """The last trouble, in words without a secret; empty while there is none."""


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
    ticked_at: datetime | None = None
    """When a tick came last, of whatever package."""
    quiet_until: dict[str, datetime] = msgspec.field(default_factory=dict)
    """Until when each identity must send nothing."""
    version: str = ""
    """The release of the current edition's package, noted by its ticks; empty until one of a release that notes it."""
    excerpt_at: datetime | None = None
    """When an excerpt of the records was begun last (`shared.refresh.excerpt`)."""
    older_ticks: dict[str, datetime] = msgspec.field(default_factory=dict)
    """When each older package ticked last, by its fingerprint: those of the last quarter of an hour, and the one before
    the current edition. What ticked before an edition was made is older from then on."""


class Wake(Value, frozen=True):
    """A delayed message to reconcile one target."""

    key: str
    """The key of the target's record."""
    due: datetime
    """When the message is to arrive; the record names the wake by this time."""
    version: str
    """The version of the record that the sender read: a wake that overtakes its save finds the record at it."""


class Outcome(StrEnum):
    """How a run ended for us."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # also ours past its timeout, which we cancelled, and ours that vanished
    SKIPPED = "skipped"  # the platform did not run it, because another run was there
    CANCELLED = "cancelled"  # by a person, or by us because its jobs were withdrawn
    LOST = "lost"  # a foreign run that can no longer be followed
    PROVEN = "proven"  # no run of ours: the view holds what was owed, by the platform's own metadata
    SPARED = "spared"  # no run at all: a refresh would have read nothing new


class Ended(Value, frozen=True):
    """A line of a target's history: a run that ended, or a refresh that was not needed."""

    token: str
    """The token of the claim; for a refresh that was not needed, what showed that."""
    outcome: Outcome
    """How the run ended."""
    claimed_at: datetime
    """`Run.claimed_at`; for a refresh that was not needed, the time as of which the view was fresh."""
    ended_at: datetime
    """When the run ended, by the platform's clock where the platform told it, else when we heard of it."""
    run_id: str = ""
    """The platform's id of the run; empty where there was none."""
    foreign: bool = False
    """Whether the run was someone else's, or could not be told from such a run."""
    full: bool = False
    """Whether the run refreshed everything."""
    signals: int = 0
    """How many signals the run was to cover, at least (`Owed.at_least`)."""
    reasons: tuple[str, ...] = ()
    """The first few different reasons of those signals."""
    error: str = ""
    """Why the run failed, in the platform's words; empty where it did not."""
    dpu_seconds: float | None = None
    """The seconds of DPUs that Glue charges the run by; None where the platform tells no cost."""
    jobs: tuple[str, ...] = ()
    """Ids of Fabric's jobs whose signals the run was to cover."""
    oldest: datetime | None = None
    """When the oldest signal came that the run was to cover; a line from before there was this field does not say."""
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    """The versions of sources that the run is known to have read, by the sources' names; empty where nobody looks."""
