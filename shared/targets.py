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

    @property
    def is_table(self) -> bool:
        """Whether the path is `Tables/<table>` or `Tables/<schema>/<table>`, which can be looked at."""
        top, *names = self.path.strip("/").split("/")
        return top == "Tables" and 1 <= len(names) <= 2  # noqa: PLR2004 - a table, with its schema or without


class IcebergChanged(Value, frozen=True, tag="iceberg_changed", tag_field="type"):
    """An Iceberg table of the Data Catalog or of S3 Tables, which is looked at: no event tells of its commits."""

    database: str
    table: str
    catalog_id: str = ""
    visibility_lag: timedelta | None = None


Source = S3ObjectCreated | GlueTableChanged | GlueJobSucceeded | BlobCreated | OneLakeChanged | IcebergChanged
"""Sources of `on`. `visibility_lag` is that of the one entry, where its data can be read later than others'."""


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
    resource: Resource
    policy: Policy = Policy()
    on: tuple[Source, ...] = ()
    after: tuple[str, ...] = ()
    schedule: Schedule | None = None
    full_schedule: Schedule | None = None
    identity: str = ""
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
