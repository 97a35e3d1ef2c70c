"""The shape of `unstale.toml`: its tables and keys, what each may hold, and the JSON Schema of all that.

What only makes sense across keys, an order of durations or a cycle, is in `rules.py`.

How a key is declared here, and who reads which part of the declaration:

    key: Annotated[str, _text(pattern, expected), _about(description)] | UnsetType = UNSET
                              |        |                  |                           |
                              |        |                  |     `load`: the file leaves the key out, so a default holds
                              |        |     editors, by the JSON Schema, and docs/options.md, which is made from it
                              |     `parse`: the words after "expected" in the message of a mistake
                              msgspec, and editors: what is refused

A docstring of a table is its description in the JSON Schema, so it speaks to whoever writes the file. What only readers
of this code need is a comment. `UNSET` is not None, since TOML has no null: a key is said, or it is not there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.targets import Policy

# --- Words -----------------------------------------------------------------------------------------------------------
# Each builds the annotations of a type. `expected` stands in `extra`, which msgspec carries along and leaves alone.


def _text(pattern: str, expected: str) -> Meta:
    """A text of this form as a whole. Python's `$` alone would let a line feed follow, which the look-ahead forbids."""
    return Meta(pattern=f"^(?:{pattern})(?!\\n)$", extra={"expected": expected})


def _whole(least: int, most: int) -> Meta:
    """A whole number within bounds."""
    return Meta(ge=least, le=most, extra={"expected": f"a whole number from {least:,} to {most:,}"})


def _about(description: str) -> Meta:
    """A description for the JSON Schema, which editors show."""
    return Meta(description=description)


# --- Durations -------------------------------------------------------------------------------------------------------

LIMITS = {
    "quiet_period": (timedelta(seconds=1), timedelta(days=30)),
    "max_wait": (timedelta(seconds=1), timedelta(days=30)),
    "min_interval": (timedelta(seconds=1), timedelta(days=30)),
    # A file that was written in the second of a claim may be older or younger than the claim, so one second is too few.
    "visibility_lag": (timedelta(seconds=2), timedelta(days=30)),  # event times of S3 have whole seconds
    "timeout": (timedelta(minutes=1), timedelta(days=30)),  # Fabric ends a job after 24 days (job scheduler)
    "objective": (timedelta(seconds=1), timedelta(days=366)),  # a view may be due once a quarter, or once a year
    "look": (timedelta(minutes=1), timedelta(days=30)),  # a tick, once a minute, makes the looks
}
"""The least and the most that a duration may be, by its key. The most is generous: it catches a unit that was mistyped,
`30d` for `30s`, and keeps sums of durations far from the end of what `timedelta` and a record can hold."""


def duration_of(text: str) -> timedelta:
    """Read a duration, which the file writes as `90s`, `5m` or `30d`.

    The text has been held to the pattern before, so nothing here can fail. Units do not mix: `1h30m` is written `90m`.
    """
    return timedelta(seconds=int(text[:-1]) * _SIZES[text[-1]])


def duration_text(duration: timedelta) -> str:
    """The duration as the file has it, in the largest unit that fits: `90s`, `5m`, `30d`.

    Ninety seconds stay `90s`, since no whole number of minutes is as long; sixty become `1m`.
    """
    seconds = duration // timedelta(seconds=1)
    return next(f"{seconds // size}{unit}" for unit, size in _UNITS if seconds % size == 0)


_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
"""Each unit with its seconds, the largest first, as `duration_text` tries them. A day is always 24 hours: time zones
concern schedules, which are reckoned in `shared/refresh/schedule.py`, and no duration."""
_SIZES = dict(_UNITS)
"""Seconds of each unit, by its letter."""


def within(key: str) -> str:
    """Say in words which durations the key of this name takes."""
    least, most = (duration_text(limit) for limit in LIMITS[key])
    or_off = ', or "off"' if key == "look" else ""
    return f'a duration from "{least}" to "{most}", in whole s, m, h or d{or_off}'


def _limits_of(key: str) -> Meta:
    """A duration within the limits of the key of this name."""
    return _text("[0-9]{1,8}[smhd]" + ("|off" if key == "look" else ""), within(key))


# Without limits of its own: a source's lag is held to those of its target in `rules.py`. Eight digits of days are a
# tenth of what `timedelta` holds, so no text of this form can fail to be read.
Duration = Annotated[str, _text("[0-9]{1,8}[smhd]", 'a duration in whole s, m, h or d, such as "30s" or "10m"')]

# --- Names and ids ---------------------------------------------------------------------------------------------------
# Each pattern is its vendor's, no wider: what a platform would refuse at the first call is refused here, with its line.
# Python and editors (ECMAScript) must read it alike, so none uses \w, \d, \Z or a look-behind.

StartsADay = Annotated[int, _whole(1, 1_000_000)]
# Ten thousand calls a minute are 6 ms apart: less than one call takes, so a larger number would mean no limit at all.
PerMinute = Annotated[int, _whole(1, 10_000)]
AtOnce = Annotated[int, _whole(1, 100)]  # the record of the identity lists them, and a record on Azure has 60 kB
Uuid = Annotated[
    str,
    _text("[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", "a UUID, as in the address of the item in Fabric"),
]
# Tokens and portals show a tenant's id bare, PowerShell's output in braces; `shared/tenants.py` makes both one.
TenantId = Annotated[
    str,
    _text(
        r"(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\{[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\})",
        "the id of a tenant, a UUID",
    ),
]
# A name is an argument of commands, a dimension of metrics and a part of addresses, so it needs quotes in none of them.
TargetName = Annotated[str, _text("[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, underscores and hyphens")]
CatalogName = Annotated[
    str,  # Glue's NameString; a class of what it leaves out reads alike in Python and in ECMAScript
    _text(
        "[^\\u0000-\\u0008\\u000a-\\u001f\\ufffe\\uffff]{1,255}",
        "1 to 255 characters, none of them a control character",
    ),
]
# Glue's catalog is the account's; each table bucket of S3 Tables is a catalog of its own below `s3tablescatalog`.
CatalogId = Annotated[
    str,
    _text(
        "[0-9]{12}(?::s3tablescatalog/[a-z0-9][a-z0-9-]{1,61}[a-z0-9])?",
        '12 digits, or those and a table bucket as in "123456789012:s3tablescatalog/bucket"',
    ),
]
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, but for the prefix of its own examples
BucketName = Annotated[
    str,
    _text(
        r"(?!xn--|sthree-)(?!.*\.\.)(?![0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$)"
        r"(?!.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "a general purpose S3 bucket: 3 to 63 lower-case letters, digits, hyphens and dots",
    ),
]
# A location ends with a slash, so that `s3://lake/view/` never takes what `s3://lake/view2/` wrote for its own output.
Location = Annotated[
    str,
    _text(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/(?:[^\n]*/)?",
        'a bucket and a prefix up to a slash, as in "s3://bucket/view/"',
    ),
]
# https://learn.microsoft.com/en-us/azure/storage/common/storage-account-overview#storage-account-name
AccountName = Annotated[str, _text("[a-z0-9]{3,24}", "a storage account: 3 to 24 lower-case letters and digits")]
# https://learn.microsoft.com/en-us/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
ContainerName = Annotated[
    str,
    _text(
        r"\$root|\$web|(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "a container: 3 to 63 lower-case letters, digits and single hyphens",
    ),
]
# The two folders of a lakehouse, as its events name them: tables, with or without a schema, and files of any kind.
OneLakePath = Annotated[
    str,
    _text(
        "(?:Tables|Files)(?:/[^/\\u0000-\\u001f]+)*/?",
        'a table or folder, as in "Tables/dbo/orders" or "Files/landing"',
    ),
]
TypeName = Annotated[str, _text("[A-Za-z0-9][A-Za-z0-9._-]{0,255}", 'a name such as "DefaultJob"')]
# S3's longest key has 1,024 bytes, a blob's name 1,024 characters: no longer prefix could begin one.
Affix = Annotated[str, Meta(max_length=1024, extra={"expected": "1,024 characters at most"})]


# --- Tables ----------------------------------------------------------------------------------------------------------


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table in which every key is known."""


class Timing(Table, frozen=True, kw_only=True):
    """When to start, and how long to wait for what."""

    # One arrival after the other, and when the start comes that covers them:
    #
    #     first      second   last                                   the start: `quiet_period` after the last arrival,
    #     |----------|--------|------ quiet_period ------> start     or `max_wait` after the first, whichever is sooner,
    #     |------------------ max_wait ------------------------>|    and `min_interval` after the start before at least

    quiet_period: (
        Annotated[str, _limits_of("quiet_period"), _about("Wait this long after the last arrival.")] | UnsetType
    ) = UNSET
    max_wait: (
        Annotated[str, _limits_of("max_wait"), _about("... but never longer than this after the first arrival.")]
        | UnsetType
    ) = UNSET
    min_interval: (
        Annotated[str, _limits_of("min_interval"), _about("At least this long between two starts.")] | UnsetType
    ) = UNSET
    visibility_lag: (
        Annotated[
            str,
            _limits_of("visibility_lag"),
            _about("Data can be read at most this long after its event, clocks included."),
        ]
        | UnsetType
    ) = UNSET
    timeout: Annotated[str, _limits_of("timeout"), _about("A run that takes longer is cancelled.")] | UnsetType = UNSET
    objective: (
        Annotated[str, _limits_of("objective"), _about("How stale a target may be before status and alarms say so.")]
        | UnsetType
    ) = UNSET

    look: Annotated[str, _limits_of("look"), _about("How often the sources are looked at; off: never.")] | UnsetType = (
        UNSET
    )
    start: (
        Annotated[
            Literal["quiet", "just-in-time"],
            _about("After the quiet period, or as late as the objective allows, which it then needs."),
        ]
        | UnsetType
    ) = UNSET
    max_starts_per_day: Annotated[StartsADay, _about("Starts of the target on one day of UTC.")] | UnsetType = UNSET


class DefaultsTable(Timing, frozen=True, kw_only=True):
    """The policy of every target that says nothing else."""


class PaceTable(Table, frozen=True, kw_only=True):
    """How fast one identity calls a platform (design, section 4.1)."""

    starts_per_minute: Annotated[PerMinute, _about("Starts that one identity sends a minute.")] | UnsetType = UNSET
    polls_per_minute: Annotated[PerMinute, _about("Polls that one identity sends a minute.")] | UnsetType = UNSET
    max_running: Annotated[AtOnce, _about("Runs of one identity that go on at once.")] | UnsetType = UNSET


class GlueTable(PaceTable, frozen=True, kw_only=True):
    """How AWS Glue is called; the identity is the account."""


class FabricTable(PaceTable, frozen=True, kw_only=True):
    """How Microsoft Fabric is called."""

    identity: Annotated[Literal["managed-identity", "service-principal", "user"], _about("Who calls Fabric.")] = (
        "managed-identity"
    )
    url_form: Annotated[
        Literal["query", "path"], _about("As in the reference documents, or the newer form of the same calls.")
    ] = "query"
    # https://learn.microsoft.com/en-us/fabric/fundamentals/job-scheduler: 50 submissions and 50 polls a minute and user
    starts_per_minute: Annotated[PerMinute, _about("Starts that one identity sends a minute.")] = 50
    polls_per_minute: Annotated[PerMinute, _about("Polls that one identity sends a minute.")] = 50


# An account's id may begin with zeros, so it is text, and a number in the file is refused.
AccountId = Annotated[str, _text("[0-9]{12}", "12 digits")]
EventSource = Annotated[
    str,  # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
    _text(r"(?!aws\.)[^\u0000-\u001f]{1,256}", 'the source of a custom event, such as "contoso.etl"'),
]


# One name, or one of each cloud: two words. Azure's has two slashes in it, which no name of a stack on AWS can have.
StackNames = Annotated[
    str,
    _text(
        r"[^/\s]+(?:/[^/\s]+/[^/\s]+)?(?: [^/\s]+(?:/[^/\s]+/[^/\s]+)?)?",
        'the name of a CloudFormation stack, "subscription/group/deployment", or both with a space between them',
    ),
]


class SignalSourceTable(Table, frozen=True, kw_only=True):
    """A sender of custom events."""

    account: Annotated[AccountId, _about("The AWS account that sends.")]
    source: Annotated[EventSource, _about("The source that its events name.")]


class DeploymentTable(Table, frozen=True, kw_only=True):
    """Settings that hold for the deployment as a whole."""

    stack: (
        Annotated[
            StackNames,
            _about("How the command finds the deployment; --stack and UNSTALE_STACK come first."),
        ]
        | UnsetType
    ) = UNSET
    max_starts_per_day: (
        Annotated[StartsADay, _about("Starts of all targets together on one day of UTC.")] | UnsetType
    ) = UNSET
    signal_sources: (
        Annotated[
            list[SignalSourceTable],
            Meta(min_length=1, extra={"expected": "a list with one entry at least"}),
            _about("Who may send unstale.signal. Whoever may put events on the bus by default."),
        ]
        | UnsetType
    ) = UNSET


_CRON = Annotated[
    str,
    Meta(min_length=1, extra={"expected": 'five fields, such as "0 6 * * *"'}),
    _about("Five fields: minute, hour, day of month, month, day of week."),
]
_TIMEZONE = Annotated[
    str,
    Meta(min_length=1, extra={"expected": 'an IANA time zone such as "Europe/Berlin"'}),
    _about("IANA time zone, such as Europe/Berlin; UTC by default."),
]


class ScheduleTable(Table, frozen=True, kw_only=True):
    """When a refresh is due, whether or not data arrived."""

    cron: _CRON
    timezone: _TIMEZONE = "UTC"


class FullRefreshTable(Table, frozen=True, kw_only=True):
    """When the view is to be computed anew, instead of brought up to date."""

    cron: _CRON | UnsetType = UNSET
    timezone: _TIMEZONE | UnsetType = UNSET
    after_failures: (
        Annotated[
            int,
            Meta(ge=1, le=1000, extra={"expected": "a whole number from 1 to 1000"}),
            _about("Try one after every so many failures in a row."),
        ]
        | UnsetType
    ) = UNSET


# Sources. Each table is one kind of event, or of look, under the key of its name in `OnTable`. `load` makes values of
# `shared/targets.py` from them; `inbound/routing.py` and `sources/looking.py` compare arrivals and looks with those.


class S3ObjectCreatedTable(Table, frozen=True, kw_only=True):
    """Objects that are created in a bucket; the bucket must send its events to EventBridge."""

    bucket: Annotated[BucketName, _about("Name of the bucket.")]
    prefix: Annotated[Affix, _about("What the key begins with, undecoded.")] = ""
    suffix: Annotated[Affix, _about("What the key ends with, undecoded.")] = ""


class GlueTableChangedTable(Table, frozen=True, kw_only=True):
    """Changes of a table in the Glue Data Catalog."""

    database: Annotated[CatalogName, _about("Name of the database.")]
    table: Annotated[CatalogName, _about("Name of the table.")]
    catalog_id: (
        Annotated[CatalogId, _about("Says which catalog is meant; events carry none, so it tells nothing apart.")]
        | UnsetType
    ) = UNSET


class GlueJobSucceededTable(Table, frozen=True, kw_only=True):
    """Runs of a Glue job that succeed."""

    job: Annotated[CatalogName, _about("Name of the job.")]


class BlobCreatedTable(Table, frozen=True, kw_only=True):
    """Blobs that are created in a container of a storage account."""

    account: Annotated[AccountName, _about("Name of the storage account.")]
    container: Annotated[ContainerName, _about("Name of the container.")]
    prefix: Annotated[Affix, _about("What the path within the container begins with.")] = ""
    suffix: Annotated[Affix, _about("What the path within the container ends with.")] = ""


class OneLakeChangedTable(Table, frozen=True, kw_only=True):
    """Files that change in a Fabric item."""

    workspace: Annotated[Uuid, _about("Id of the workspace.")]
    item: Annotated[Uuid, _about("Id of the item, such as a lakehouse.")]
    path: Annotated[
        OneLakePath, _about("A table or folder: Tables/<schema>/<table>, Tables/<table> or Files/<folder>.")
    ]


class IcebergChangedTable(Table, frozen=True, kw_only=True):
    """Commits to an Iceberg table, S3 Tables included, found by looking."""

    database: Annotated[CatalogName, _about("Name of the database; of the namespace in S3 Tables.")]
    table: Annotated[CatalogName, _about("Name of the table.")]
    catalog_id: (
        Annotated[CatalogId, _about("The catalog that holds the table. The view's own by default.")] | UnsetType
    ) = UNSET


class OnTable(Table, frozen=True, kw_only=True):
    """A source of arrivals: exactly one of these keys, and its own visibility lag if that is longer."""

    # A table with one key, not a `kind` beside others: `on = [{ blob_created = {...} }]` names the kind once, and an
    # editor that completes the key offers that kind's own keys next. `_ONE_KEY` says "exactly one" to editors, and
    # `rules.check_sources` to everybody else.

    s3_object_created: S3ObjectCreatedTable | UnsetType = UNSET
    glue_table_changed: GlueTableChangedTable | UnsetType = UNSET
    glue_job_succeeded: GlueJobSucceededTable | UnsetType = UNSET
    blob_created: BlobCreatedTable | UnsetType = UNSET
    onelake_changed: OneLakeChangedTable | UnsetType = UNSET
    iceberg_changed: IcebergChangedTable | UnsetType = UNSET
    visibility_lag: (
        Annotated[Duration, _about("Where the data of this one source can be read later than the target's lag says.")]
        | UnsetType
    ) = UNSET


class ParameterTable(Table, frozen=True, kw_only=True):
    """A parameter of an item job."""

    name: Annotated[
        str,
        Meta(min_length=1, max_length=256, extra={"expected": "1 to 256 characters"}),
        _about("Unique within the job, whatever its case."),
    ]
    type: Annotated[
        Literal["VariableReference", "Integer", "Number", "Text", "Boolean", "DateTime", "Guid", "Automatic"],
        _about("The type, in Fabric's words."),
    ]
    value: Annotated[Any, Meta(extra={"expected": "a value of that type"}), _about("The value, of that type.")]


# What JSON Schema can say across keys, for editors alone. `rules.py` says the same again, with a cure.
_SAYS_WHEN = Meta(extra_json_schema={"minProperties": 1, "dependentRequired": {"timezone": ["cron"]}})
_ONE_KEY = Meta(
    extra_json_schema={
        "if": {"required": ["visibility_lag"]},
        "then": {"minProperties": 2, "maxProperties": 2},
        "else": {"minProperties": 1, "maxProperties": 1},
    }
)
_SOME = Meta(min_length=1, extra={"expected": "a list with one entry at least"})


class TargetTable(Timing, frozen=True, kw_only=True):
    """The keys that all kinds of targets have."""

    schedule: Annotated[ScheduleTable, _about("When it is due even if nothing arrives.")] | UnsetType = UNSET
    on: Annotated[list[Annotated[OnTable, _ONE_KEY]], _SOME, _about("Arrivals that signal it.")] | UnsetType = UNSET
    after: (
        Annotated[
            list[TargetName], _SOME, _about("Targets whose refresh signals it; on the other cloud, too, with [across].")
        ]
        | UnsetType
    ) = UNSET


class GlueViewTable(TargetTable, frozen=True, kw_only=True, tag="glue-view", tag_field="kind"):
    """A materialized view in the Glue Data Catalog."""

    catalog_id: Annotated[CatalogId, _about("The account, or its S3 Tables catalog.")]
    database: Annotated[CatalogName, _about("Name of the database.")]
    table: Annotated[CatalogName, _about("Name of the view.")]
    location: (
        Annotated[Location, _about("Where its files are written, so that its own output never signals it.")] | UnsetType
    ) = UNSET
    full_refresh: Annotated[FullRefreshTable, _SAYS_WHEN, _about("When to compute it anew.")] | UnsetType = UNSET


class LakeViewsTable(TargetTable, frozen=True, kw_only=True, tag="fabric-lake-views", tag_field="kind"):
    """The materialized lake views of a Fabric lakehouse."""

    workspace: Annotated[Uuid, _about("Id of the workspace.")]
    lakehouse: Annotated[Uuid, _about("Id of the lakehouse.")]
    execution_definition: (
        Annotated[Uuid, _about("Id of an execution definition: a subset of the views. All of them by default.")]
        | UnsetType
    ) = UNSET


class ItemJobTable(TargetTable, frozen=True, kw_only=True, tag="fabric-item-job", tag_field="kind"):
    """A job of a Fabric item."""

    workspace: Annotated[Uuid, _about("Id of the workspace.")]
    item: Annotated[Uuid, _about("Id of the item.")]
    job_type: Annotated[TypeName, _about("The type of job, such as DefaultJob, RunNotebook or Pipeline.")]
    execution_data: Annotated[dict[str, Any], _about("Sent as it is, as JSON.")] | UnsetType = UNSET
    parameters: Annotated[list[ParameterTable], _SOME, _about("Sent as they are.")] | UnsetType = UNSET


BusName = Annotated[
    str,  # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
    _text(
        r"(?:arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}:event-bus/)?[A-Za-z0-9._/-]{1,256}",
        'the name or the ARN of a bus, such as "orders"',
    ),
]
Topic = Annotated[
    str,
    _text(
        r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?"
        r"|https://[a-z0-9.-]+\.eventgrid\.azure\.(?:net|us|cn)/api/events",
        'the ARN of a topic, such as "arn:aws:sns:eu-central-1:123456789012:views", or the endpoint of a custom topic, '
        'such as "https://views.westeurope-1.eventgrid.azure.net/api/events"',
    ),
]
SecretName = Annotated[
    str,  # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
    _text(
        r"(?:arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?[A-Za-z0-9/_+=.@-]{1,512}"
        r"|https://[a-zA-Z0-9-]+\.vault\.(?:azure\.net|usgovcloudapi\.net|azure\.cn)/secrets/[A-Za-z0-9-]{1,127}(?:/[0-9a-f]{32})?",
        "the name or the ARN of a secret in Secrets Manager, or the URI of one in a Key Vault",
    ),
]
WebAddress = Annotated[str, _text(r"https?://[!-~]{1,2000}", 'an address such as "https://example.com/unstale"')]


class TellTable(Table, frozen=True, kw_only=True):
    """A place that outcome events are sent to."""

    # One table for four kinds of places: what each needs and must not have is told in `config/tell.py`, in sentences
    # that name the kind, which a union of four tables could not do for a file whose `to` is mistyped.

    to: Annotated[Literal["eventbridge", "sns", "eventgrid", "webhook"], _about("The kind of place.")]
    on: (
        Annotated[
            list[Literal["refreshed", "failed", "held", "released", "late", "recovered"]],
            _SOME,
            _about("The kinds of events that are sent there. All by default."),
        ]
        | UnsetType
    ) = UNSET
    format: Annotated[
        Literal["cloudevents", "slack", "teams", "openlineage"],
        _about("How events are written. Lineage tells the ends of runs, and nothing else."),
    ] = "cloudevents"
    bus: Annotated[BusName, _about("eventbridge: another bus than the account's default one.")] | UnsetType = UNSET
    topic: Annotated[Topic, _about("sns, eventgrid: the topic.")] | UnsetType = UNSET
    url: Annotated[WebAddress, _about("webhook: https, an address without a secret in it.")] | UnsetType = UNSET
    url_secret: (
        Annotated[SecretName, _about("webhook: the secret that holds the address, where the address is one.")]
        | UnsetType
    ) = UNSET
    signing_secret: (
        Annotated[SecretName, _about("webhook: the secret that messages are signed with (Standard Webhooks).")]
        | UnsetType
    ) = UNSET


Role = Annotated[
    str,  # https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html; the partitions that have EventBridge
    _text(
        r"arn:(?:aws|aws-cn|aws-us-gov):iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}",
        'the ARN of a role, such as "arn:aws:iam::123456789012:role/unstale-from-azure"',
    ),
]
Region = Annotated[str, _text("[a-z]{2}(?:-[a-z]+){1,2}-[0-9]", 'a Region, such as "eu-central-1"')]
Audience = Annotated[
    str,  # the identifierUris of an app registration, https://learn.microsoft.com/entra/identity-platform/reference-app-manifest
    _text("api://[!-~]{1,249}", 'the Application ID URI of an app registration, such as "api://unstale-aws"'),
]


class AzureSideTable(Table, frozen=True, kw_only=True):
    """How the function on AWS reaches the one on Azure: over HTTP, with a key of the function `refresh`."""

    url: Annotated[WebAddress, _about("https, the function app's host alone.")]
    key_secret: Annotated[SecretName, _about("Name or ARN of the secret in Secrets Manager that holds the key.")]


class AwsSideTable(Table, frozen=True, kw_only=True):
    """How the function on Azure reaches the one on AWS: by the default bus, in a role that its identity assumes."""

    role: Annotated[Role, _about("The role, which the stack has where it was given AzurePrincipal.")]
    region: Annotated[Region, _about("The Region of the stack.")]
    audience: Annotated[Audience, _about("The audience of the token by which the identity assumes the role.")]


class AcrossTable(Table, frozen=True, kw_only=True):
    """How the functions on two clouds reach each other, for targets that come after one on the other cloud."""

    azure: Annotated[AzureSideTable, _about("How the function on AWS reaches the one on Azure.")] | UnsetType = UNSET
    aws: Annotated[AwsSideTable, _about("How the function on Azure reaches the one on AWS.")] | UnsetType = UNSET


class JobTable(Table, frozen=True, kw_only=True):
    """Which target a job of a Fabric workload refreshes."""

    item_type: Annotated[TypeName, _about("The type of item, as the workload's manifest names it.")]
    job_type: Annotated[TypeName, _about("The type of job, as the workload's manifest names it.")]
    target: Annotated[TargetName, _about("The target to refresh.")]
    item: Annotated[Uuid, _about("Only for the item with this id. Any item by default.")] | UnsetType = UNSET


class WorkloadTable(Table, frozen=True, kw_only=True):
    """Jobs that Fabric asks us for; without this table the endpoints are off."""

    jobs: Annotated[list[JobTable], _SOME, _about("What each job refreshes.")]
    tenants: (
        Annotated[list[TenantId], _SOME, _about("Tenants that may ask for jobs. The publisher's own by default.")]
        | UnsetType
    ) = UNSET


AnyTarget = GlueViewTable | LakeViewsTable | ItemJobTable


class File(Table, frozen=True, kw_only=True):
    """Configuration of unstale: what to keep fresh, and why and when to refresh it."""

    targets: Annotated[
        dict[TargetName, AnyTarget],
        Meta(min_length=1, extra={"expected": "a table for each target, one at least"}),
        _about("What to keep fresh, by name."),
    ]
    defaults: Annotated[DefaultsTable, _about("What holds for every target that says nothing else.")] = DefaultsTable()
    fabric: Annotated[FabricTable, _about("How Microsoft Fabric is called.")] = FabricTable()
    glue: Annotated[GlueTable, _about("How AWS Glue is called.")] = GlueTable()
    deployment: Annotated[DeploymentTable, _about("What holds for the deployment as a whole.")] = DeploymentTable()
    workload: Annotated[WorkloadTable, _about("Jobs that Fabric asks us for.")] | UnsetType = UNSET
    tell: Annotated[list[TellTable], _SOME, _about("Where to send what becomes of targets.")] | UnsetType = UNSET
    across: Annotated[AcrossTable, _about("How the functions on two clouds reach each other.")] | UnsetType = UNSET


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors that check and complete TOML.

    msgspec makes it of the types above. Three things are put in by hand: a target's schema by its kind, the built-in
    defaults, and the description of each source, which msgspec leaves at the definition that the source refers to.
    """
    schema = msgspec.json.schema(File)
    definitions = schema["$defs"]
    targets = definitions["File"]["properties"]["targets"]
    targets["additionalProperties"] = _by_kind(targets["additionalProperties"]["discriminator"]["mapping"])
    for key, value in _built_in().items():
        definitions["DefaultsTable"]["properties"][key]["default"] = value
    for source in definitions["OnTable"]["properties"].values():
        source.setdefault(
            "description", definitions.get(source.get("$ref", "").rpartition("/")[2], {}).get("description")
        )
    _set_apart(definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "unstale.toml", **schema}


def _set_apart(node: Any) -> None:
    """Put each `$ref` that has neighbours into an `allOf`: tools of older drafts, as `taplo`, pass those over."""
    if isinstance(node, dict) and "$ref" in node and len(node) > 1:
        node["allOf"] = [{"$ref": node.pop("$ref")}]
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _set_apart(inner)


def _by_kind(mapping: dict[str, str]) -> dict[str, Any]:
    """The schema of a target whose kind is known, so that an editor marks the wrong key and not the whole target."""
    return {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"description": "What is refreshed.", "enum": [*mapping]}},
        "allOf": [
            {
                "if": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": kind}}},
                "then": {"$ref": reference},
            }
            for kind, reference in mapping.items()
        ],
    }


def _built_in() -> dict[str, str]:
    """The defaults where a file says nothing, as a file would say it.

    They are read off `Policy`, so that what an editor shows is what holds. An objective has none: it stays out.
    """
    policy = Policy()
    durations = {key: getattr(policy, key) for key in LIMITS}
    said = {key: duration_text(duration) for key, duration in durations.items() if duration is not None}
    return {**said, "start": policy.start}
