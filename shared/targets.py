"""Targets: resources, the sources that signal them, policies, and targets made of these."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote, unquote

import msgspec

from shared.destinations import Destination
from shared.values import Value

_AS_IT_IS = re.compile("[A-Za-z0-9_.~-]*")
"""A text that percent-encoding leaves as it is (RFC 3986, section 2.3): a quarter of the time of encoding."""


def _key(kind: str, *parts: str) -> str:
    """The name of a record, safe in every store: Azure Tables refuses slashes, `#` and `?` in keys."""
    if not _AS_IT_IS.fullmatch("".join(parts)):
        parts = tuple(quote(part, safe="") for part in parts)
    return ":".join((kind, *parts))


class GlueView(Value, frozen=True, tag="glue-view", tag_field="kind"):
    """A materialized view in the Glue Data Catalog."""

    catalog_id: str
    """The account, or its catalog of S3 Tables."""
    database: str
    """Name of the database."""
    table: str
    """Name of the view."""
    location: str = ""
    """The S3 prefix that a refresh writes to; empty where none is named."""

    @property
    def key(self) -> str:
        """`glue-view:<catalog>:<database>:<table>`, each part percent-encoded."""
        return _key("glue-view", self.catalog_id, self.database, self.table)


class LakeViews(Value, frozen=True, tag="fabric-lake-views", tag_field="kind"):
    """The materialized lake views of a Fabric lakehouse: all of them, or those of one execution definition."""

    workspace: str
    """Id of the workspace, in lower case."""
    lakehouse: str
    """Id of the lakehouse, in lower case."""
    execution_definition: str = ""
    """Id of an execution definition, a subset of the views; empty for all of them."""

    @property
    def key(self) -> str:
        """`fabric-lake-views:<workspace>:<lakehouse>[:<execution definition>]`."""
        subset = (self.execution_definition,) if self.execution_definition else ()
        return _key("fabric-lake-views", self.workspace, self.lakehouse, *subset)


class ItemJob(Value, frozen=True, tag="fabric-item-job", tag_field="kind"):
    """A job of a Fabric item; with other data it is another target."""

    workspace: str
    """Id of the workspace, in lower case."""
    item: str
    """Id of the item, in lower case."""
    job_type: str
    """The type of job, such as `DefaultJob`, `RunNotebook` or `Pipeline`."""
    execution_data: dict[str, Any] | None = None
    """Data of the job, sent as it is, as JSON; None: none is sent."""
    parameters: list[dict[str, Any]] | None = None
    """Parameters of the job, each with name, type and value, sent as they are; None: none are sent."""

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


class S3ObjectCreated(Value, frozen=True, tag="s3_object_created", tag_field="type"):
    """Objects that are created in a bucket."""

    bucket: str
    """Name of the bucket."""
    prefix: str = ""
    """Beginning of the keys, compared as S3 sends them, undecoded."""
    suffix: str = ""
    """End of the keys, undecoded."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""


class GlueTableChanged(Value, frozen=True, tag="glue_table_changed", tag_field="type"):
    """A table of the Data Catalog, which changes."""

    database: str
    """Name of the database."""
    table: str
    """Name of the table."""
    catalog_id: str = ""
    """The catalog that is meant; events carry none, so it tells nothing apart. Empty: the view's own."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""


class GlueJobSucceeded(Value, frozen=True, tag="glue_job_succeeded", tag_field="type"):
    """A Glue job, whose runs succeed."""

    job: str
    """Name of the job."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""


class BlobCreated(Value, frozen=True, tag="blob_created", tag_field="type"):
    """Blobs that are created in a container."""

    account: str
    """Name of the storage account."""
    container: str
    """Name of the container."""
    prefix: str = ""
    """Beginning of the path within the container."""
    suffix: str = ""
    """End of the path within the container."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""


class OneLakeChanged(Value, frozen=True, tag="onelake_changed", tag_field="type"):
    """Files of a Fabric item, which change."""

    workspace: str
    """Id of the workspace, in lower case."""
    item: str
    """Id of the item, such as a lakehouse, in lower case."""
    path: str
    """A table or folder, such as `Tables/orders`; never the whole item, which may hold the view."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""

    @property
    def is_table(self) -> bool:
        """Whether the path is `Tables/<table>` or `Tables/<schema>/<table>`, which can be looked at."""
        top, *names = self.path.strip("/").split("/")
        return top == "Tables" and 1 <= len(names) <= 2  # noqa: PLR2004 - a table, with its schema or without


class IcebergChanged(Value, frozen=True, tag="iceberg_changed", tag_field="type"):
    """An Iceberg table of the Data Catalog or of S3 Tables, which is looked at: no event tells of its commits."""

    database: str
    """Name of the database; of the namespace in S3 Tables."""
    table: str
    """Name of the table."""
    catalog_id: str = ""
    """The catalog that holds the table; empty: the view's own."""
    visibility_lag: timedelta | None = None
    """How long after its event the data can be read at the latest; None: the target's lag."""


Source = S3ObjectCreated | GlueTableChanged | GlueJobSucceeded | BlobCreated | OneLakeChanged | IcebergChanged
"""Sources of `on`."""


class Schedule(Value, frozen=True):
    """When a refresh is due, whether or not data arrived."""

    cron: str
    """Five fields: minute, hour, day of month, month, day of week."""
    timezone: str = "UTC"
    """IANA time zone in which the fields are read."""


class Policy(Value, frozen=True):
    """When to start, as the configuration says it."""

    quiet_period: timedelta = timedelta(seconds=30)
    """The wait after the last arrival."""
    max_wait: timedelta = timedelta(minutes=10)
    """The longest wait after the first arrival."""
    min_interval: timedelta = timedelta(minutes=5)
    """The least time between two starts."""
    visibility_lag: timedelta = timedelta(seconds=10)
    """How long after its event data can be read at the latest, differences between clocks included."""
    timeout: timedelta = timedelta(hours=6)
    """How long a run may take before it is cancelled."""
    objective: timedelta | None = None
    """How stale the target may be before status and alarms say so; None: they never do."""
    after_failures: int | None = None
    """After every so many failures in a row a full refresh is tried; None: never."""
    look: timedelta | None = timedelta(minutes=5)
    """How often the sources are looked at (design, section 9); None is `"off"`: no signals and no proofs from looks."""
    start: Literal["quiet", "just-in-time"] = "quiet"
    """When to start: after the quiet period, or as late as the objective allows."""
    max_starts_per_day: int | None = None
    """Starts of one target on one day of UTC; None is no limit."""


class Limits(Value, frozen=True):
    """How much one identity sends to its platform (design, section 4.1); None is no limit that is known or wanted."""

    starts_per_minute: int | None = None
    """Starts that the platform takes a minute."""
    polls_per_minute: int | None = None
    """Questions about runs that the platform answers a minute."""
    max_running: int | None = None
    """Runs that go on at once."""
    max_starts_per_day: int | None = None
    """Starts of all targets together on one day of UTC."""


def _digest(part: object) -> str:
    return hashlib.sha256(msgspec.json.encode(part)).hexdigest()[:12]


class Target(Value, frozen=True, dict=True):
    """A thing that can be refreshed, with everything that its configuration says."""

    name: str
    """The name that the configuration gives it."""
    resource: Resource
    """The thing to refresh."""
    policy: Policy = Policy()
    """When to start."""
    on: tuple[Source, ...] = ()
    """The sources whose arrivals signal it."""
    after: tuple[str, ...] = ()
    """Names of the targets whose refresh signals it."""
    schedule: Schedule | None = None
    """When a refresh is due even if nothing arrives."""
    full_schedule: Schedule | None = None
    """When a full refresh is due, which computes the view anew."""
    identity: str = ""
    """The identity that calls the platform: `aws`, or `fabric.identity` of the configuration."""
    followers_across: tuple[str, ...] = ()
    """Keys of the targets on the other cloud that come after this one."""

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
        """`<digest of the sources>.<of the schedule>.<of the full schedule>`: what the record was planned for.

        A visibility lag decides which data a run covers, as sources do; the default one leaves no trace in the digest,
        so that targets of the release before, which did not count it, are not taken for changed. Followers on the other
        cloud count as well: what ended while only the package over there knew such a follower was told to nobody.
        """
        lag = () if self.policy.visibility_lag == Policy().visibility_lag else (self.policy.visibility_lag,)
        across = (("followed by", *sorted(self.followers_across)),) if self.followers_across else ()
        sources = (self.on, sorted(self.after), *lag, *across)
        return ".".join(_digest(part) for part in (sources, self.schedule, self.full_schedule))

    @cached_property
    def schedules(self) -> tuple[Schedule, ...]:
        """The schedule and the full schedule, where the target has them."""
        return tuple(schedule for schedule in (self.schedule, self.full_schedule) if schedule)

    @cached_property
    def schedules_of_release_1(self) -> str:
        """The digest of both schedules together, as records of release 1 have it in their `definition`."""
        return _digest((self.schedule, self.full_schedule))


def target_of(key: str) -> Target:
    """A target as the key of its record says, when no configuration names it any more: its resource, no name."""
    kind, first, second, third, *_ = (*map(unquote, key.split(":")), "")
    if kind == "glue-view":
        return Target(key, GlueView(first, second, third))
    if kind == "fabric-lake-views":
        return Target(key, LakeViews(first, second, third))
    return Target(key, ItemJob(first, second, third))


class Package(Value, frozen=True, dict=True):
    """A configuration for the machine: the targets of one cloud, and which configuration they are from."""

    targets: tuple[Target, ...]
    """All targets that this cloud's function refreshes."""
    fingerprint: str
    """Digest of all that planning depends on (`Configuration.fingerprint`)."""
    generation: datetime
    """When the package was made: a later one succeeds it (rule 12)."""
    destinations: tuple[Destination, ...] = ()
    """Where this cloud's function sends outcome events."""
    limits: Limits = Limits()
    """How much the identity that calls this cloud's platform may send."""

    @cached_property
    def by_key(self) -> Mapping[str, Target]:
        """The targets by the keys of their records."""
        return {target.key: target for target in self.targets}

    def followers(self, name: str) -> tuple[Target, ...]:
        """The targets of this cloud that a refresh of the target called `name` signals."""
        return tuple(target for target in self.targets if name in target.after)

    def kinds_of(self, name: str) -> frozenset[str]:
        """The kinds of outcome events that anybody wants of the target called `name`."""
        return self._kinds_of_some.get(name, self._kinds_of_all)

    @cached_property
    def _kinds_of_all(self) -> frozenset[str]:
        return frozenset(kind for each in self.destinations if not each.upstreams for kind in each.kinds)

    @cached_property
    def _kinds_of_some(self) -> Mapping[str, frozenset[str]]:
        """Of each target that has followers on another cloud, what those want included."""
        found: dict[str, frozenset[str]] = {}
        for each in self.destinations:
            for name in each.upstreams:
                found[name] = found.get(name, self._kinds_of_all).union(each.kinds)
        return found


class WorkloadJob(Value, frozen=True):
    """The target that a job of a Fabric workload refreshes."""

    item_type: str
    """The type of the workload's item, such as `Contoso.Views.Sales`."""
    job_type: str
    """The type of the job, which begins with the item's."""
    target: str
    """The name of the target."""
    item: str = ""
    """The id of the item, in lower case; empty where any item of that type means this target."""


class Workload(Value, frozen=True):
    """The jobs that Fabric may ask us for."""

    jobs: tuple[WorkloadJob, ...]
    """Which job refreshes which target."""
    tenants: tuple[str, ...] = ()
    """Ids of the tenants whose items may ask; empty: the publisher's own tenant alone."""


def catalog_of(source: GlueTableChanged | IcebergChanged, view: Resource) -> str:
    """The catalog of a table that an entry of `on` names: the view's own where the entry has none."""
    return source.catalog_id or (view.catalog_id if isinstance(view, GlueView) else "")


NO_TIME = timedelta(0)
"""No time at all: one value for all sources, of which there may be ten thousand."""


def extra_lag(source: Source, target: Target) -> timedelta:
    """How much longer than the target's visibility lag that of one entry of its `on` is."""
    own = source.visibility_lag
    return max(own - target.policy.visibility_lag, NO_TIME) if own else NO_TIME
