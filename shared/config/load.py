"""The configuration: `unstale.toml` as frozen values, or everything that is wrong with it, with line and key (G6).

text -> tables (`parse`) -> targets (here) -> rules across them (`rules`) -> Configuration
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from shared.config.across import sites_of
from shared.config.configuration import Configuration, DeploymentSettings, FabricSettings, SignalSource
from shared.config.followers import with_followers
from shared.config.parse import Mistake, read, show
from shared.config.rules import Entry, broken_rules, check_timing
from shared.config.schema import (
    LIMITS,
    AnyTarget,
    FabricTable,
    File,
    GlueTable,
    GlueViewTable,
    LakeViewsTable,
    OnTable,
    Timing,
    WorkloadTable,
    duration_of,
    json_schema,
)
from shared.config.tell import destination_of
from shared.config.toml_positions import Path, lines_of, nearest_line
from shared.destinations import SIGNAL_SOURCE
from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    LakeViews,
    Limits,
    OneLakeChanged,
    Policy,
    Resource,
    S3ObjectCreated,
    Schedule,
    Source,
    Target,
    Workload,
    WorkloadJob,
)
from shared.tenants import tenant_id
from shared.values import Value

__all__ = [
    "Configuration",
    "ConfigurationError",
    "DeploymentSettings",
    "FabricSettings",
    "Problem",
    "SignalSource",
    "Workload",
    "WorkloadJob",
    "json_schema",
    "load",
    "warnings",
]

_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
"""How the message of `tomllib` ends, unless it is "(at end of document)"."""
_BARE_KEY = re.compile("[A-Za-z0-9_-]+")


class Problem(Value, frozen=True):
    """A mistake of a configuration file, as people are told it."""

    file: str
    """The name of the file in messages."""
    line: int
    """The line of the key, from 1, or of the nearest thing around it that is there."""
    key: str
    """The key, dotted; empty where the whole file is meant."""
    found: str
    """The text of the file there, in words."""
    expected: str
    """The text to write instead, in words: the cure."""

    def __str__(self) -> str:
        """`unstale.toml:12: targets.daily.quiet_period: found 30, expected a duration such as "30s", "10m", "6h"`."""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}found {self.found}, expected {self.expected}"


class ConfigurationError(Exception):
    """The file cannot be used. `problems` are all that were found, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(content: str | bytes, file: str = "unstale.toml") -> Configuration:
    """Read a configuration, as text or as the bytes of the file; `file` is what messages call it.

    Raises `ConfigurationError`.
    """
    text = _decode(content, file)
    try:
        understood = _understand(_parse_toml(text, file))
        if understood.mistakes:
            raise ConfigurationError(_problems(understood.mistakes, text, file))
    except RecursionError:
        problem = Problem(file, 1, "", "values nested too deeply", "a few levels")
        raise ConfigurationError([problem]) from None
    return understood.configuration


def warnings(content: str | bytes, file: str = "unstale.toml") -> tuple[Problem, ...]:
    """Find entries that load and most likely are not meant, in the order of their lines."""
    from shared.config.warnings import find_doubts  # noqa: PLC0415 - only `check` pays for it

    text = _decode(content, file)
    understood = _understand(_parse_toml(text, file))
    found = find_doubts(understood.file, understood.entries, understood.defaults)
    return tuple(sorted(_problems(found, text, file), key=lambda problem: problem.line))


def _problems(mistakes: Iterable[Mistake], text: str, file: str) -> list[Problem]:
    """Mistakes with their lines."""
    lines = lines_of(text)
    return [
        Problem(file, nearest_line(lines, path), _path_text(path), found, expected)
        for path, found, expected in mistakes
    ]


def _decode(content: str | bytes, file: str) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark; another encoding is named."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:4]:
        raise ConfigurationError([Problem(file, 1, "", "UTF-16", "UTF-8: save the file in that encoding")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{content[error.start]:02x}, as Latin-1 and Windows-1252 have it"
        raise ConfigurationError([Problem(file, line, "", found, "UTF-8: save the file in that encoding")]) from error


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    """Parse TOML. What `tomllib` refuses is told with its line; a number of thousands of digits is refused, too."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits is one, too
        place = _LINE.search(str(error))
        line = int(place[1]) if place else len(text.splitlines()) or 1
        raise ConfigurationError([Problem(file, line, "", f"broken TOML: {error}", "TOML 1.0")]) from error


class _Understood(NamedTuple):
    """A document as it was understood: the configuration is to be used only if there are no mistakes."""

    configuration: Configuration
    """The configuration, which lacks what could not be read."""
    mistakes: list[Mistake]
    """All mistakes, in no order."""
    file: File
    """The tables, as far as they could be read."""
    entries: list[Entry]
    """The targets, as far as they could be read."""
    defaults: Policy
    """The policy of targets that say nothing else."""


def _understand(document: dict[str, Any]) -> _Understood:
    """Read the tables, make targets of them, and hold them to the rules; mistakes do not end the reading."""
    file, mistakes = read(document)
    defaults = _policy(file.defaults, Policy())
    entries = _with_followers([_entry(name, table, file, defaults) for name, table in file.targets.items()])
    names = document.get("targets")
    mistakes.extend(check_timing(("defaults",), file.defaults, defaults))
    mistakes.extend(broken_rules(file, entries, names if isinstance(names, dict) else ()))
    configuration = Configuration(
        targets=tuple(entry.target for entry in entries),
        fabric=FabricSettings(file.fabric.identity, file.fabric.url_form, _pace(file.fabric)),
        workload=_workload(file.workload) if file.workload else None,
        glue=_pace(file.glue),
        deployment=_deployment(file),
        destinations=tuple(destination_of(table) for table in file.tell or ()),
        across=sites_of(file.across),
    )
    return _Understood(configuration, mistakes, file, entries, defaults)


def _entry(name: str, table: AnyTarget, file: File, defaults: Policy) -> Entry:
    """A target with everything that the file says of it; the defaults fill in what it leaves out."""
    sources = tuple((position, source) for position, on in enumerate(table.on or []) for source in _sources(on))
    policy, full_schedule = _policy(table, defaults), None
    if isinstance(table, GlueViewTable) and table.full_refresh:
        policy = msgspec.structs.replace(policy, after_failures=table.full_refresh.after_failures or None)
        full_schedule = _schedule(table.full_refresh.cron, table.full_refresh.timezone)
    target = Target(
        name=name,
        resource=_resource(table),
        policy=policy,
        on=tuple(source for _, source in sources),
        after=tuple(table.after or ()),
        schedule=_schedule(table.schedule.cron, table.schedule.timezone) if table.schedule else None,
        full_schedule=full_schedule,
        identity="aws" if isinstance(table, GlueViewTable) else file.fabric.identity,
    )
    return Entry(table, target, sources)


def _with_followers(entries: list[Entry]) -> list[Entry]:
    """The same targets, of which each knows its followers on the other cloud."""
    targets = with_followers([entry.target for entry in entries])
    return [msgspec.structs.replace(entry, target=target) for entry, target in zip(entries, targets, strict=True)]


def _policy(table: Timing, base: Policy) -> Policy:
    """Put what a table says over what holds anyway; `off` is no look at all."""
    said: dict[str, Any] = {key: getattr(table, key) for key in Timing.__struct_fields__}
    said = {key: value for key, value in said.items() if value is not UNSET}
    for key in LIMITS.keys() & said.keys():
        said[key] = None if said[key] == "off" else duration_of(said[key])
    return msgspec.structs.replace(base, **said)


def _pace(table: FabricTable | GlueTable) -> Limits:
    """Read the limits of one identity; a limit that the file leaves out is none."""
    said = (table.starts_per_minute, table.polls_per_minute, table.max_running)
    return Limits(*(limit or None for limit in said))


def _deployment(file: File) -> DeploymentSettings:
    """Read the settings of the deployment; whatever the file leaves out is empty, or no limit.

    Where senders of signals are named, the function on Azure is one of them, if it is to reach the one on AWS.
    """
    table = file.deployment
    senders = [SignalSource(sender.account, sender.source) for sender in table.signal_sources or ()]
    if senders and file.across and file.across.aws:
        senders.append(SignalSource(file.across.aws.role.split(":")[4], SIGNAL_SOURCE))
    return DeploymentSettings(table.stack or "", tuple(dict.fromkeys(senders)), table.max_starts_per_day or None)


def _schedule(cron: str | UnsetType, timezone: str | UnsetType) -> Schedule | None:
    """Make a schedule, if there is a cron expression; the time zone is UTC where the file names none."""
    if not cron:
        return None
    # Encoding leaves out a default only if it is the very object: UTC that is spelled out must have the same digest.
    return Schedule(cron, timezone) if timezone and timezone != "UTC" else Schedule(cron)


def _resource(table: AnyTarget) -> Resource:
    """The resource of an entry of `targets`. UUIDs have no case, so one lakehouse spelled in two ways is one."""
    if isinstance(table, GlueViewTable):
        return GlueView(table.catalog_id, table.database, table.table, table.location or "")
    if isinstance(table, LakeViewsTable):
        definition = (table.execution_definition or "").lower()
        return LakeViews(table.workspace.lower(), table.lakehouse.lower(), definition)
    parameters = None if table.parameters is UNSET else [msgspec.structs.asdict(one) for one in table.parameters]
    data = None if table.execution_data is UNSET else table.execution_data
    return ItemJob(table.workspace.lower(), table.item.lower(), table.job_type, data, parameters)


def _sources(on: OnTable) -> list[Source]:
    """The sources that an entry of `on` names: one source, if it is good."""
    lag = duration_of(on.visibility_lag) if on.visibility_lag else None
    found: list[Source] = []
    if s3 := on.s3_object_created:
        found.append(S3ObjectCreated(s3.bucket, s3.prefix, s3.suffix, lag))
    if table := on.glue_table_changed:
        found.append(GlueTableChanged(table.database, table.table, table.catalog_id or "", lag))
    if job := on.glue_job_succeeded:
        found.append(GlueJobSucceeded(job.job, lag))
    if blob := on.blob_created:
        found.append(BlobCreated(blob.account, blob.container, blob.prefix, blob.suffix, lag))
    if lake := on.onelake_changed:
        found.append(OneLakeChanged(lake.workspace.lower(), lake.item.lower(), lake.path.rstrip("/"), lag))
    if iceberg := on.iceberg_changed:
        found.append(IcebergChanged(iceberg.database, iceberg.table, iceberg.catalog_id or "", lag))
    return found


def _workload(table: WorkloadTable) -> Workload:
    """Read the jobs of Fabric. Ids have no case, so they are compared in lower case."""
    jobs = [WorkloadJob(job.item_type, job.job_type, job.target, (job.item or "").lower()) for job in table.jobs]
    return Workload(tuple(jobs), tuple(dict.fromkeys(tenant_id(tenant) for tenant in table.tenants or ())))


def _path_text(path: Path) -> str:
    """`targets.daily.on[0].job`, with quotes around what is no bare key."""
    parts = ""
    for part in path:
        if isinstance(part, int):
            parts += f"[{part}]"
        else:
            parts += f".{part}" if _BARE_KEY.fullmatch(part) else f".{show(part)}"
    return parts.removeprefix(".")
