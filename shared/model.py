"""The words of the product as frozen values: what can be refreshed, why, how, and what is known about it.

Datetimes are aware UTC, durations are `timedelta`. Nothing here decides: `machine.py` does.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

import msgspec

CLOCK_DIFFERENCE = timedelta(seconds=60)
"""Assumed: any two clocks (workers, sources, the platform) differ by at most this."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A frozen value, compared by content, with a compact JSON form."""


# --- What can be refreshed -------------------------------------------------------------------------------------------


def _key(kind: str, *parts: str) -> str:
    """The name of a record, safe in every store: Azure Tables refuses slashes, `#` and `?` in keys."""
    return ":".join((kind, *(quote(part, safe="") for part in parts)))


class GlueView(Value, frozen=True, tag="glue-view", tag_field="kind"):
    """A materialized view in the Glue Data Catalog; `location` is the S3 prefix that a refresh writes to, if named."""

    catalog_id: str
    database: str
    table: str
    location: str = ""

    @property
    def key(self) -> str:
        """`glue-view:<catalog>:<database>:<table>`, each part percent-encoded."""
        return _key("glue-view", self.catalog_id, self.database, self.table)


class LakeViews(Value, frozen=True, tag="fabric-lake-views", tag_field="kind"):
    """The materialized lake views of a Fabric lakehouse: all of them, or those of one execution definition."""

    workspace: str
    lakehouse: str
    execution_definition: str = ""

    @property
    def key(self) -> str:
        """`fabric-lake-views:<workspace>:<lakehouse>[:<execution definition>]`."""
        subset = (self.execution_definition,) if self.execution_definition else ()
        return _key("fabric-lake-views", self.workspace, self.lakehouse, *subset)


class ItemJob(Value, frozen=True, tag="fabric-item-job", tag_field="kind"):
    """A job of a Fabric item. `execution_data` and `parameters` are sent as they are; other data is another target."""

    workspace: str
    item: str
    job_type: str
    execution_data: dict[str, Any] | None = None
    parameters: list[dict[str, Any]] | None = None

    @property
    def key(self) -> str:
        """`fabric-item-job:<workspace>:<item>:<job type>[:<digest of the data>]`."""
        data: tuple[str, ...] = ()
        if self.execution_data is not None or self.parameters is not None:
            canonical = msgspec.json.encode([self.execution_data, self.parameters], order="deterministic")
            data = (hashlib.sha256(canonical).hexdigest()[:16],)
        return _key("fabric-item-job", self.workspace, self.item, self.job_type, *data)


Resource = GlueView | LakeViews | ItemJob


class Cloud(StrEnum):
    """Where a target's function runs, and so where its record is kept."""

    AWS = "aws"
    AZURE = "azure"


# --- Why: sources, and what an event says arrived --------------------------------------------------------------------


class S3ObjectCreated(Value, frozen=True, tag="s3_object_created", tag_field="type"):
    """Objects of a bucket whose key has this prefix and suffix; keys are compared as S3 sends them, undecoded."""

    bucket: str
    prefix: str = ""
    suffix: str = ""
    visibility_lag: timedelta | None = None


class GlueTableChanged(Value, frozen=True, tag="glue_table_changed", tag_field="type"):
    """A table of the Data Catalog. Events carry no catalog, so `catalog_id` only says which one is meant."""

    database: str
    table: str
    catalog_id: str = ""
    visibility_lag: timedelta | None = None


class GlueJobSucceeded(Value, frozen=True, tag="glue_job_succeeded", tag_field="type"):
    """A Glue job, by name."""

    job: str
    visibility_lag: timedelta | None = None


class BlobCreated(Value, frozen=True, tag="blob_created", tag_field="type"):
    """Blobs of a container whose path has this prefix and suffix."""

    account: str
    container: str
    prefix: str = ""
    suffix: str = ""
    visibility_lag: timedelta | None = None


class OneLakeChanged(Value, frozen=True, tag="onelake_changed", tag_field="type"):
    """A table or folder of a Fabric item, e.g. `Tables/orders` (never the whole item: it may hold the view)."""

    workspace: str
    item: str
    path: str
    visibility_lag: timedelta | None = None


class IcebergChanged(Value, frozen=True, tag="iceberg_changed", tag_field="type"):
    """An Iceberg table of the Data Catalog or of S3 Tables, which is looked at: no event tells of its commits."""

    database: str
    table: str
    catalog_id: str = ""
    visibility_lag: timedelta | None = None


Source = S3ObjectCreated | GlueTableChanged | GlueJobSucceeded | BlobCreated | OneLakeChanged | IcebergChanged
"""What `on` names. `visibility_lag` is that of the one entry, where its data can be read later than others'."""


class ObjectArrived(Value, frozen=True):
    """S3 says that an object is there."""

    time: datetime
    bucket: str
    key: str


class TableChanged(Value, frozen=True):
    """The Data Catalog says that a table changed."""

    time: datetime
    database: str
    table: str


class JobSucceeded(Value, frozen=True):
    """Glue says that a job run succeeded."""

    time: datetime
    job: str


class BlobArrived(Value, frozen=True):
    """Storage says that a blob is there; `path` is the name within the container."""

    time: datetime
    account: str
    container: str
    path: str
    folder: bool = False
    """Whether a whole directory came at once, by a rename: `path` then ends in a slash."""


class OneLakeArrived(Value, frozen=True):
    """Fabric says that a file changed; `path` begins with `Tables/` or `Files/`."""

    time: datetime
    workspace: str
    item: str
    path: str
    folder: bool = False
    """Whether a whole folder came at once, by a rename: `path` then ends in a slash."""


Arrival = ObjectArrived | TableChanged | JobSucceeded | BlobArrived | OneLakeArrived


# --- How -------------------------------------------------------------------------------------------------------------


class Schedule(Value, frozen=True):
    """Five-field cron in an IANA time zone."""

    cron: str
    timezone: str = "UTC"


class Policy(Value, frozen=True):
    """When to start, as the configuration says it."""

    quiet_period: timedelta = timedelta(seconds=30)
    max_wait: timedelta = timedelta(minutes=10)
    min_interval: timedelta = timedelta(minutes=5)
    visibility_lag: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(hours=6)
    objective: timedelta | None = None
    after_failures: int | None = None
    look: timedelta | None = timedelta(minutes=5)
    """How often the sources are looked at (design, section 9); None is `"off"`: no signals and no proofs from looks."""
    start: Literal["quiet", "just-in-time"] = "quiet"
    max_starts_per_day: int | None = None
    """Starts of one target on one day of UTC; None is no limit."""


class Target(Value, frozen=True, dict=True):
    """One thing that can be refreshed, with everything that its configuration says."""

    name: str
    resource: Resource
    policy: Policy = Policy()
    on: tuple[Source, ...] = ()
    after: tuple[str, ...] = ()
    schedule: Schedule | None = None
    full_schedule: Schedule | None = None
    identity: str = ""

    @cached_property
    def key(self) -> str:
        """The key of its record: the resource, not the name, so that renaming keeps the record."""
        return self.resource.key

    @property
    def cloud(self) -> Cloud:
        """The cloud whose function refreshes it."""
        return Cloud.AWS if isinstance(self.resource, GlueView) else Cloud.AZURE

    @cached_property
    def definition(self) -> str:
        """`<digest of the sources>.<digest of the schedules>`: what the record was planned for."""
        parts = ((self.on, sorted(self.after)), (self.schedule, self.full_schedule))
        return ".".join(hashlib.sha256(msgspec.json.encode(part)).hexdigest()[:12] for part in parts)


# --- What is known: the record of a target ---------------------------------------------------------------------------


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
    DOUBTED = "doubted"  # ended Cancelled where that may mean "skipped": the list decides
    SOUGHT = "sought"  # the platform says that another run is there; it is looked for
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


class Paused(Value, frozen=True, tag="paused", tag_field="hold"):
    """A person paused it: nothing is started, nothing forgotten."""

    since: datetime


class Blocked(Value, frozen=True, tag="blocked", tag_field="hold"):
    """Something must be repaired; probed again at `probe_at`. `stuck`: by a run that does not end, until it does."""

    since: datetime
    reason: str
    probe_at: datetime
    stuck: bool = False


class Cancelled(Value, frozen=True, tag="cancelled", tag_field="hold"):
    """A person cancelled our run; `since` is its end. A later signal, `refresh` or `resume` lifts it."""

    since: datetime


Hold = Paused | Blocked | Cancelled


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

    @property
    def situation(self) -> Situation:
        """Where its run stands; `IDLE` without one."""
        return self.run.situation if self.run else Situation.IDLE


class Walk(Value, frozen=True):
    """How far the planning of a configuration got: over its targets first, then over the records it no longer names."""

    fingerprint: str
    done_up_to: str = ""
    targets_done: bool = False
    failed: bool = False
    over: bool = False


class Deployment(Value, frozen=True):
    """The one record of the deployment: pause-all, planning, and until when an identity must not send."""

    paused_since: datetime | None = None
    planned: str = ""
    walk: Walk | None = None
    quiet_until: dict[str, datetime] = msgspec.field(default_factory=dict)


class JobStatus(StrEnum):
    """Of a job, in Fabric's words (Workload API, ItemJobInstanceState)."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Final(Value, frozen=True):
    """How a job ended; `error` is a code and a reason where it did not complete."""

    status: JobStatus
    ended_at: datetime
    error: tuple[str, str] | None = None


class Job(Value, frozen=True):
    """What Fabric asked us for: a signal with an id, and a record of its own beside that of its target.

    `request` is a digest of all that was asked, `place` of where. What Fabric was told once never changes: that it
    started (`started_at`, which is when its run was claimed), and its end (`final`).
    """

    target: str
    place: str
    request: str
    accepted_at: datetime
    invoke_type: str
    full: bool = False
    started_at: datetime | None = None
    cancel_asked_at: datetime | None = None
    final: Final | None = None


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
