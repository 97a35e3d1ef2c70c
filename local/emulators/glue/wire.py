"""Glue's materialized-view refreshes as its wire has them: requests, runs, refusals and events, by botocore's model.

What Glue does not publish is marked [assumed] where it is decided.
Reference: https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-materialized-views.html
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

from moto.core.utils import get_service_model

from local.emulators.glue.model import Call, GlueError, Run

START: Final = "StartMaterializedViewRefreshTaskRun"
GET: Final = "GetMaterializedViewRefreshTaskRun"
LIST: Final = "ListMaterializedViewRefreshTaskRuns"
STOP: Final = "StopMaterializedViewRefreshTaskRun"

COMMON_ERRORS: Final[Mapping[str, int]] = {
    "AccessDeniedException": 400,
    "ExpiredTokenException": 403,
    "IncompleteSignature": 403,
    "InternalFailure": 500,
    "NotAuthorized": 401,
    "OptInRequired": 403,
    "RequestExpired": 400,
    "RequestTimeoutException": 408,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "UnrecognizedClientException": 403,
    "ValidationError": 400,
}
"""HTTP statuses of errors that any operation may give; AccessDeniedException as Glue's own pages have it.

https://docs.aws.amazon.com/awsconsolehelpdocs/latest/gsg/common-errors.html
"""

PATTERN_SURROGATES: Final = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
"""AWS writes patterns for Java, which reads these surrogate pairs as the characters beyond the first 65,536."""

DPUS_PER_RUN: Final = 4
"""Price pages speak of runs of a few DPUs; any number does."""


@dataclass(frozen=True, slots=True)
class GlueEvent:
    """An event of source `aws.glue`, for whoever plays EventBridge."""

    detail_type: str
    """EventBridge's name of the kind of event."""
    detail: Mapping[str, Any]
    """The content of the event."""
    resources: tuple[str, ...]
    """ARNs of what it concerns."""
    time: datetime
    """When the event happened."""
    account: str
    """The account whose bus gets it."""
    region: str
    """The Region whose bus gets it."""


def error_body(error: GlueError, operation: str) -> dict[str, Any]:
    """The JSON body of a refusal, with the members that the operation's model gives this error."""
    told: dict[str, Any] = {"__type": error.code}
    members = _modelled_errors(operation).get(error.code, ("message",))
    return told | {name: False if name == "FromFederationSource" else error.message for name in members}


def status_of(operation: str, code: str) -> int:
    """The HTTP status of an error; ValueError if an operation never gives it."""
    if code in _modelled_errors(operation):
        return 400  # the reference document has this status at each of them
    if code in COMMON_ERRORS:
        return COMMON_ERRORS[code]
    raise ValueError(f"{code} is neither an error of {operation} nor one that is common to all operations")


@cache
def _model(operation: str) -> Any:
    """Botocore's model of an operation, which is AWS's own description of the wire."""
    return get_service_model("glue").operation_model(operation)


@cache
def _modelled_errors(operation: str) -> dict[str, tuple[str, ...]]:
    """The errors that botocore's model gives an operation, each with its members."""
    return {shape.name: tuple(shape.members) for shape in _model(operation).error_shapes}


def validate(call: Call) -> None:
    """Hold the parameters against the model; botocore's client leaves patterns and upper limits to the service."""
    shape = _model(call.operation).input_shape
    missing = [name for name in shape.required_members if name not in call.parameters]
    unknown = [name for name in call.parameters if name not in shape.members]
    wrong = [
        name
        for name, value in call.parameters.items()
        if name in shape.members and not _fits(shape.members[name], value)
    ]
    if missing or unknown or wrong:
        raise GlueError("InvalidInputException", f"missing {missing}, unknown {unknown}, not as specified {wrong}")


def _fits(member: Any, value: object) -> bool:
    """Whether a value has the type, the pattern and the limits that the model gives a member."""
    limits = member.metadata
    match member.type_name, value:
        case "boolean", bool():
            return True
        case "integer", int() if not isinstance(value, bool):
            size = value
        case "string", str():
            size = len(value)
        case _:
            return False
    pattern = limits.get("pattern", "(?s:.*)").replace(*PATTERN_SURROGATES)
    return limits.get("min", size) <= size <= limits.get("max", size) and bool(re.fullmatch(pattern, str(value)))


def told_run(run: Run, now: datetime) -> dict[str, Any]:
    """A run as the wire tells it. Every member is optional there, so what does not apply yet is left out."""
    told: dict[str, Any] = {
        "CustomerId": run.account,
        "MaterializedViewRefreshTaskRunId": run.run_id,
        "DatabaseName": run.database,
        "TableName": run.table,
        "CatalogId": run.catalog,
        "Status": run.status(now),
        "CreationTime": _told_time(run, run.created_at),
        "LastUpdated": _told_time(run, _last_change(run, now)),
    }
    if run.role:
        told["Role"] = run.role
    if run.began(now):
        told |= {"StartTime": _told_time(run, run.starts_at), "RefreshType": "FULL" if run.full else "INCREMENTAL"}
    return told | _told_end(run, now)


def _told_end(run: Run, now: datetime) -> dict[str, Any]:
    """The members that a run has only once it is over."""
    if run.ends_at is None or not run.over(now):
        return {}
    working_seconds = max((run.ends_at - run.starts_at).total_seconds(), 0.0)
    told = {"EndTime": _told_time(run, run.ends_at), "DPUSeconds": DPUS_PER_RUN * working_seconds}
    if run.ends_as == "SUCCEEDED":
        told["ProcessedBytes"] = run.processed_bytes
    return told | ({"ErrorMessage": run.error} if run.error else {})


def _last_change(run: Run, now: datetime) -> datetime:
    """When a run last changed its status."""
    if run.ends_at is not None and run.over(now):
        return run.ends_at
    return run.starts_at if run.began(now) else run.created_at


def _told_time(run: Run, moment: datetime) -> float:
    """Seconds since 1970, in whole milliseconds: what is finer is cut off (Smithy's serialization of timestamps)."""
    told = moment + run.told_apart
    return told.replace(microsecond=told.microsecond // 1000 * 1000).timestamp()


def token_of(last: Run) -> str:
    """Continue after this run: a number of places would repeat or skip some when a new run appears."""
    return base64.urlsafe_b64encode(last.run_id.encode()).decode()


def place_after(token: str | None, runs: list[Run]) -> int:
    """Where a page begins that follows this token, InvalidInputException if there is no such place."""
    if token is None:
        return 0
    tokens = [token_of(run) for run in runs]
    if token not in tokens:
        raise GlueError("InvalidInputException", "NextToken is not one of ours, or its run is forgotten")
    return tokens.index(token) + 1


def events_of(run: Run) -> list[GlueEvent]:
    """All events of a run's life. Their detail is not published: the keys are those of statistics tasks [assumed].

    A stop has no event in the list of the Lake Formation guide. A success commits to the view's own table, which the
    catalog tells like any other update of a table [assumed].
    """
    events = []
    if run.ends_at is None or run.starts_at <= run.ends_at:
        events.append(_refresh_event(run, "Started", run.starts_at))
    if run.ends_at is not None and run.ends_as == "SUCCEEDED":
        events.append(table_changed(run.account, run.region, run.database, run.table, run.ends_at))
        events.append(_refresh_event(run, "Succeeded", run.ends_at))
    if run.ends_at is not None and run.ends_as == "FAILED":
        events.append(_refresh_event(run, "Failed", run.ends_at))
    return events


def _refresh_event(run: Run, what: str, moment: datetime) -> GlueEvent:
    """An event of a refresh task: Started, Succeeded or Failed."""
    detail = {"catalogId": run.catalog, "databaseName": run.database, "tableName": run.table}
    if what == "Failed":
        detail["errorMessage"] = run.error or ""
    kind = f"Glue Materialized View Refresh Task {what}"
    return GlueEvent(
        kind, detail, (_table_arn(run.account, run.region, run.database, run.table),), moment, run.account, run.region
    )


def table_changed(account: str, region: str, database: str, table: str, moment: datetime) -> GlueEvent:
    """https://docs.aws.amazon.com/glue/latest/dg/automating-awsglue-with-cloudwatch-events.html."""
    detail = {"databaseName": database, "tableName": table, "typeOfChange": "UpdateTable", "changedPartitions": []}
    arn = _table_arn(account, region, database, table)
    return GlueEvent("Glue Data Catalog Table State Change", detail, (arn,), moment, account, region)


def _table_arn(account: str, region: str, database: str, table: str) -> str:
    """The ARN of a table, by which events name it."""
    return f"arn:aws:glue:{region}:{account}:table/{database}/{table}"
