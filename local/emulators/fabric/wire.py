"""How Fabric's job API words things: requests read, answers written. Values in, values out.

References: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler,
https://learn.microsoft.com/rest/api/fabric/lakehouse/background-jobs and, for the forms of answers, recordings of the
live service in https://github.com/microsoft/fabric-cli. What neither publishes is marked [assumed].
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from local.emulators.entra.tokens import Caller
from local.emulators.fabric.model import LAKE_VIEWS, Instance, JobType
from local.emulators.http_server import Answer, Request, json_answer

JOBS_PATH: Final = re.compile(r"/v1/workspaces/([^/]+)/(items|lakehouses)/([^/]+)/jobs/(.+)")
"""The paths of the job API: workspace, collection, item, and what is wanted of its jobs."""

LocationForm = Literal["item", "lakehouse", "job type", "no id"]
"""The forms that the Location of a start has in Microsoft's documents."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the API, read from a request."""

    operation: Literal["start", "get", "list", "cancel"]
    """Which of the four operations."""
    workspace: str
    """The workspace's id, in lower case."""
    collection: str
    """`items` or `lakehouses`, as the path has it."""
    item: str
    """The item's id, in lower case."""
    job_type: str = ""
    """The job type of a start."""
    run_id: str = ""
    """The instance of a get or a cancel."""
    continuation: str = ""
    """Where a list goes on; empty for its first page."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of the API; `about` is the id and the type of what it concerns."""

    code: str
    """The API's code of the error."""
    retry_after_seconds: float | None = None
    """The seconds of Retry-After; None for no such header."""
    about: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """How the API words one of its errors."""

    status: int
    """The HTTP status."""
    message: str
    """The text; `{until}` is filled in."""
    retriable: bool = False
    """Whether the answer says that the request can be tried again."""


PROBLEMS: Final[Mapping[str, Problem]] = {
    "FeatureNotAvailable": Problem(400, "Parameter is not allowed for this item type or this item job type"),
    "InsufficientPrivileges": Problem(403, "The caller does not have sufficient permissions"),
    "InsufficientScopes": Problem(403, "The caller does not have sufficient scopes to perform this operation"),
    "InvalidInput": Problem(400, "The request could not be processed due to missing or invalid information"),
    "InvalidJobType": Problem(400, "The requested job type is invalid"),
    "ItemNotFound": Problem(404, "The requested item could not be found"),
    "JobAlreadyCompleted": Problem(400, "The job instance is already completed"),
    "MissingMinimalPermisisons": Problem(403, "The caller does not have sufficient permissions to run job instance"),
    "MissingMinimalPermissions": Problem(403, "The caller does not have sufficient permissions to run job instance"),
    "NotFound": Problem(404, "There is nothing here"),
    "RequestBlocked": Problem(429, "Request is blocked by the upstream service until: {until} (UTC)", retriable=True),
    "TokenExpired": Problem(401, "Access token has expired, resubmit with a new access token"),
    "TooManyRequestsForJobs": Problem(429, "Too many run on-demand job requests", retriable=True),
}
"""Error codes. Their HTTP statuses are published for 401, 403, 404 and 429; 400 is [assumed] for the rest.

InsufficientScopes was seen (terraform-provider-fabric #377); that it is a 403 is [assumed].
"""


def delegates(caller: Caller, call: Call, kind: str) -> bool:
    """Whether a user delegated what the call needs, for items of any type or of this; apps need no scopes.

    https://learn.microsoft.com/rest/api/fabric/articles/scopes, and each operation's page.
    """
    allows = ("Execute",) if call.operation in ("start", "cancel") else ("Read", "ReadWrite")
    wanted = {f"{item}.{verb}.All" for item in ("Item", kind) for verb in allows}
    return caller.kind != "user" or bool(wanted & caller.scopes)


# --- Requests --------------------------------------------------------------------------------------------------------


def read(request: Request) -> Call | Refusal:
    """Understand path and query, or say why there is no such operation."""
    match = JOBS_PATH.fullmatch(request.path)
    if match is None:
        return Refusal("NotFound")
    workspace, collection, item, rest = match.groups()
    place = (unquote(workspace).lower(), collection, unquote(item).lower())
    query = dict(request.query)
    twice = len(query) < len(request.query)
    call = _read_rest(request.method, [unquote(part) for part in rest.split("/")], query, place)
    unread = query or (request.body and isinstance(call, Call) and call.operation != "start")
    return Refusal("InvalidInput") if isinstance(call, Call) and (twice or unread) else call


def _read_rest(method: str, parts: list[str], query: dict[str, str], place: tuple[str, str, str]) -> Call | Refusal:
    """Read what follows `jobs/`. What is understood of the query is taken out of it."""
    match method, parts:
        case "POST", ["instances"] if "jobType" in query:
            return Call("start", *place, job_type=query.pop("jobType"))
        case "POST", [job_type, "instances"]:
            return Call("start", *place, job_type=_full_name(job_type, place[1]))
        case "GET", ["instances"]:
            return Call("list", *place, continuation=query.pop("continuationToken", ""))
        case "GET", ["instances", run_id] | [_, "instances", run_id]:
            return Call("get", *place, run_id=run_id)
        case "POST", ["instances", run_id, "cancel"]:
            return Call("cancel", *place, run_id=run_id)
    return Refusal("NotFound")


def _full_name(job_type: str, collection: str) -> str:
    """Paths of lakehouses write the first letter of a job type small."""
    return job_type[:1].upper() + job_type[1:] if collection == "lakehouses" else job_type


def start_data(request: Request, job: JobType) -> dict[str, Any] | Refusal | None:
    """Read the body of a start (RunOnDemandItemJobRequest), None if it has none."""
    if not request.body:
        return None
    data = object_in(request.body)
    is_json = request.headers.get("content-type", "").partition(";")[0] == "application/json"
    if not is_json or data is None or not data.keys() <= {"executionData", "parameters"}:
        return Refusal("InvalidInput")
    execution, parameters = data.get("executionData", {}), data.get("parameters", [])
    are_parameters = isinstance(parameters, list) and all(
        isinstance(each, dict) and each.keys() == {"name", "type", "value"} for each in parameters
    )
    if not isinstance(execution, dict) or not are_parameters:
        return Refusal("InvalidInput")
    if job.name == LAKE_VIEWS and not execution.keys() <= {"mlvExecutionDefinitionId"}:
        return Refusal("InvalidInput")
    return Refusal("FeatureNotAvailable") if "parameters" in data and not job.takes_parameters else data


def object_in(body: bytes) -> dict[str, Any] | None:
    """Parse a JSON object, None for anything else."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def number_in(token: str) -> float | None:
    """Read before which instance a page begins: infinity for the first page, None if the token is not ours."""
    if not token:
        return math.inf
    try:
        return int(base64.b64decode(token, validate=True))
    except ValueError:
        return None


# --- Answers ---------------------------------------------------------------------------------------------------------


def acceptance(location: str, retry_after_seconds: int) -> Answer:
    """Write the answer to a start or a cancel: no body, and a content type all the same, as recorded."""
    headers = {"Content-Type": "application/octet-stream", "Location": location}
    return Answer(202, {**headers, "Retry-After": str(retry_after_seconds)})


def location(base: str, instance: Instance, form: LocationForm) -> str:
    """Address an instance. Microsoft's documents have all four forms; the one without an id is in their examples."""
    item, job = instance.item, quote(instance.job.name)
    workspace = f"{base}/workspaces/{item.workspace}"
    match form:
        case "item":
            return f"{workspace}/items/{item.item}/jobs/instances/{instance.run_id}"
        case "lakehouse":
            return f"{workspace}/lakehouses/{item.item}/jobs/instances/{instance.run_id}"
        case "job type":
            return f"{workspace}/items/{item.item}/jobs/{job}/instances/{instance.run_id}"
        case "no id":
            return f"{workspace}/items/{item.item}/jobs/instances?jobType={job}"


def describe(instance: Instance, now: datetime, request_id: str, *, with_end: bool = True) -> dict[str, Any]:
    """Write an instance. The requestId in a failure is that of the request which tells of it, so it changes."""
    end = instance.told_end(now)
    failure = {
        "requestId": request_id,
        "errorCode": "JobInstanceStatusFailed",
        "message": instance.error,
        "isRetriable": False,
    }
    return {
        "id": instance.run_id,
        "itemId": instance.item.item,
        "jobType": instance.job.told_as or instance.job.name,
        "invokeType": instance.invoke_type,
        "status": instance.told_status or instance.status(now),
        "failureReason": failure if end and instance.ends_as == "Failed" else None,
        "rootActivityId": instance.activity,
        "startTimeUtc": _time(instance.starts_at(now), instance),
        "endTimeUtc": _time(end, instance) if end and with_end else None,
    }


def page(instances: list[dict[str, Any]], next_before: int | None, url: str) -> Answer:
    """Write one page of a list, with the way to the next one if there is one."""
    token = base64.b64encode(str(next_before).encode()).decode() if next_before else None
    uri = f"{url}?continuationToken={quote(token, safe='')}" if token else None
    return json_answer(200, {"value": instances, "continuationToken": token, "continuationUri": uri})


def error_answer(refusal: Refusal, now: datetime, request_id: str) -> Answer:
    """Write an ErrorResponse: a flat object, and its code once more as a header."""
    problem = PROBLEMS[refusal.code]
    seconds = refusal.retry_after_seconds
    body: dict[str, Any] = {
        "requestId": request_id,
        "errorCode": refusal.code,
        "message": problem.message.format(until=_american(now + timedelta(seconds=seconds or 0))),
        "isRetriable": problem.retriable,
    }
    if refusal.about:
        body["relatedResource"] = dict(zip(("resourceId", "resourceType"), refusal.about, strict=True))
    answer = with_header(json_answer(problem.status, body), "x-ms-public-api-error-code", refusal.code)
    return answer if seconds is None else with_header(answer, "Retry-After", f"{seconds:.0f}")


def with_header(answer: Answer, name: str, value: str) -> Answer:
    """Add a header."""
    return replace(answer, headers={**answer.headers, name: value})


def _time(moment: datetime, instance: Instance) -> str:
    """Tell a time as Fabric does: UTC without saying so, two to seven digits of fraction, as many for each instance."""
    shown = (moment + instance.told_apart).astimezone(UTC)
    digits = f"{shown.microsecond:06d}{instance.number % 9 + 1}"[: 2 + instance.number % 6]
    return f"{shown:%Y-%m-%dT%H:%M:%S}.{digits}"


def _american(moment: datetime) -> str:
    """`5/5/2025 1:56:41 PM`."""
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"
