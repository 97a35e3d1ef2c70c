"""Fabric's job API as values: requests out, answers and errors in. The shell adds a token and carries them.

Run, get, list and cancel: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler and, for the lake views,
https://learn.microsoft.com/rest/api/fabric/lakehouse/background-jobs. Nothing that an answer names is ever followed:
from `Location` only a job instance's id is taken, from `continuationUri` only the token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import msgspec

from shared.platforms.failures import (
    ANSWER_LIMIT,
    GONE,
    OVER,
    PERMANENT,
    THROTTLED,
    TRANSIENT,
    UNCERTAIN,
    FailureRow,
    Operation,
    header,
    retry_after,
)
from shared.platforms.paging import Page, concerns
from shared.redaction import plain
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Capabilities, Phase, Report, Started
from shared.targets import ItemJob, LakeViews
from shared.text import UUID
from shared.times import time_of
from shared.values import Value

CAPABILITIES = Capabilities(
    listing_delay=timedelta(seconds=60),  # a 404 right after a 202 was seen (apache-airflow-microsoft-fabric-plugin #4)
    call_timeout=timedelta(seconds=4),  # an invocation on Azure has 10 s (facts of the host), with store and wake in it
    foreign_covers=False,  # the same item and job type may run with other data
    skips=True,  # a start during a run is accepted, and skipped (materialized-lake-views/run-history)
)

POLL_BOUNDS = timedelta(seconds=5), timedelta(seconds=60)
"""For Retry-After of a start or a poll: 0 was seen on a run that went on, and nothing above 60."""

_T = TypeVar("_T")
UrlForm = Literal["query", "path"]
Resource = LakeViews | ItemJob
Headers = Mapping[str, str]

LAKE_VIEWS_JOB = "RefreshMaterializedLakeViews"
_ONE_JOB = (
    {
        "refreshmaterializedlakeviews",
        "materializedlakeviews",
    },  # as the history reports it (microsoft/skills-for-fabric)
    {"runnotebook", "execute"},  # query and path form of one operation, here and in the next two (specification)
    {"pipeline", "execute"},
    {"databuildtooljob", "execute"},
)
"""Names of one and the same type of job, in lower case: it is started under one, and may be reported under another."""

# --- Requests --------------------------------------------------------------------------------------------------------


class Request(Value, frozen=True):
    """A call of Fabric. `path` and `query` are percent-encoded, and relative to the base URL, which ends in `/v1`."""

    method: Literal["GET", "POST"]
    path: str
    query: str = ""
    body: bytes | None = None

    def url(self, base: str) -> str:
        """The whole URL, always at our own base."""
        return base.rstrip("/") + self.path + (f"?{self.query}" if self.query else "")

    @property
    def headers(self) -> dict[str, str]:
        """Without a body there is no content type."""
        content = {} if self.body is None else {"Content-Type": "application/json"}
        return {"Accept": "application/json", **content}


def start(resource: Resource, url_form: UrlForm) -> Request:
    """The start that fits the resource."""
    return run_lake_views(resource, url_form) if isinstance(resource, LakeViews) else run_item_job(resource, url_form)


def run_lake_views(views: LakeViews, url_form: UrlForm) -> Request:
    """Run On Demand Refresh Materialized Lake Views: no body, or the execution definition that names a subset."""
    definition = {"executionData": {"mlvExecutionDefinitionId": views.execution_definition}}
    body = msgspec.json.encode(definition) if views.execution_definition else None
    lakehouse = _path("workspaces", views.workspace, "lakehouses", views.lakehouse)
    if url_form == "path":
        return Request("POST", f"{lakehouse}/jobs/refreshMaterializedLakeViews/instances", body=body)
    return Request("POST", f"{lakehouse}/jobs/instances", f"jobType={LAKE_VIEWS_JOB}", body)


def run_item_job(job: ItemJob, url_form: UrlForm) -> Request:
    """Run On Demand Item Job: `{"executionData": {...}, "parameters": [...]}`, each as configured, or no body."""
    given = {"executionData": job.execution_data, "parameters": job.parameters}
    content = {key: value for key, value in given.items() if value is not None}
    body = msgspec.json.encode(content) if content else None
    job_type = quote(job.job_type, safe="")
    if url_form == "path":
        return Request("POST", f"{_item(job)}/jobs/{job_type}/instances", body=body)
    return Request("POST", f"{_item(job)}/jobs/instances", f"jobType={job_type}", body)


def get_item_job_instance(resource: Resource, run_id: str) -> Request:
    """Get Item Job Instance; a lakehouse is an item here."""
    return Request("GET", f"{_item(resource)}/jobs/instances/{quote(run_id, safe='')}")


def list_item_job_instances(resource: Resource) -> Request:
    """List Item Job Instances, first page: all active ones, and about a hundred that ended."""
    return Request("GET", f"{_item(resource)}/jobs/instances")


def cancel_item_job_instance(resource: Resource, run_id: str) -> Request:
    """Cancel Item Job Instance; the end shows in polls."""
    return Request("POST", f"{_item(resource)}/jobs/instances/{quote(run_id, safe='')}/cancel")


def _item(resource: Resource) -> str:
    item = resource.lakehouse if isinstance(resource, LakeViews) else resource.item
    return _path("workspaces", resource.workspace, "items", item)


def _path(*parts: str) -> str:
    return "".join("/" + quote(part, safe="") for part in parts)


# --- Answers ---------------------------------------------------------------------------------------------------------

_PHASES = {
    "notstarted": Phase.ACTIVE,
    "inprogress": Phase.ACTIVE,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
    "deduped": Phase.SKIPPED,
}
_ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED})

_LOCATION = re.compile(rf"/jobs/(?:[^/?#]+/)?instances/({UUID})(?:[/?#]|$)")
"""The id in `Location`, of an item's path (specification, wire) or a lakehouse's (guide), with a job type or not."""


class _Instance(msgspec.Struct, rename="camel"):
    id: Annotated[str, msgspec.Meta(pattern=rf"\A{UUID}\Z")]
    job_type: str | None = None
    status: str | None = None
    start_time_utc: str | None = None
    end_time_utc: str | None = None
    failure_reason: msgspec.Raw = msgspec.Raw(b"null")


class _Instances(msgspec.Struct, rename="camel"):
    value: list[_Instance]
    continuation_token: str | None = None
    continuation_uri: str | None = None


_instance = msgspec.json.Decoder(_Instance)
_instances = msgspec.json.Decoder(_Instances)


def read_start(status: int, headers: Headers, body: bytes, now: datetime) -> Started | Failure:
    """Read the answer to a start: 202 with an empty body, `Location` and `Retry-After`.

    An id that cannot be found is "", for the list to find.
    """
    if not _is_accepted(status):
        return failure(Operation.START, status, headers, body, now)
    found = _LOCATION.search(header(headers, "Location"))
    return Started(found[1].lower() if found else "", retry_after=retry_after(headers, now, POLL_BOUNDS))


def read_report(status: int, headers: Headers, body: bytes, now: datetime) -> Report | Failure:
    """Read the answer to a poll: 200 with one job instance."""
    if status != HTTPStatus.OK:
        return failure(Operation.GET, status, headers, body, now)
    instance = _decode(_instance, body)
    if instance is None:
        return _unreadable(headers, "a job instance")
    report = _report(instance)
    return msgspec.structs.replace(report, retry_after=retry_after(headers, now, POLL_BOUNDS))


def read_list(
    status: int, headers: Headers, body: bytes, now: datetime, *, resource: Resource, since: datetime
) -> Page[Request] | Failure:
    """Read a page of job instances: those of the resource's job type that a look-up needs, and the next request."""
    if status != HTTPStatus.OK:
        return failure(Operation.LIST, status, headers, body, now)
    page = _decode(_instances, body)
    if page is None:
        return _unreadable(headers, "a list of job instances")
    reports = (_report(instance) for instance in page.value if _is_of(instance, resource))
    query = _continuation(page)
    following = msgspec.structs.replace(list_item_job_instances(resource), query=query) if query else None
    return Page(tuple(report for report in reports if concerns(report, since)), following)


def read_cancel(status: int, headers: Headers, body: bytes, now: datetime) -> Failure | None:
    """Read the answer to a cancel: None if the platform will end the run."""
    return None if _is_accepted(status) else failure(Operation.CANCEL, status, headers, body, now)


def _is_accepted(status: int) -> bool:
    """202 is what is documented; any other success means that it was taken, too."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T | None:
    try:
        return decoder.decode(body) if len(body) <= ANSWER_LIMIT else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _report(instance: _Instance) -> Report:
    """`startTimeUtc` is there as soon as the instance is; on the wire it moves a little when the job begins."""
    status = instance.status or ""
    phase = _PHASES.get(status.lower(), Phase.UNKNOWN)
    return Report(
        run_id=instance.id.lower(),
        phase=phase,
        status=plain(status, 100),
        created_at=time_of(instance.start_time_utc),
        ended_at=time_of(instance.end_time_utc) if phase in _ENDED else None,
        error=_failure(instance.failure_reason),
    )


def _failure(raw: msgspec.Raw) -> str:
    """Word `failureReason`: an ErrorResponse, a text (seen in semantic-link-labs #375), or null."""
    reason = _json(raw)
    if isinstance(reason, dict):
        error = _error_of(reason)
        return plain(f"{error.code}: {error.message}" if error.code else error.message)
    return plain(reason) if isinstance(reason, str) else ""


def _is_of(instance: _Instance, resource: Resource) -> bool:
    """Job types differ in case between documents. An instance without one may be ours, so it counts."""
    wanted = (LAKE_VIEWS_JOB if isinstance(resource, LakeViews) else resource.job_type).lower()
    found = (instance.job_type or wanted).lower()
    return found == wanted or any({wanted, found} <= names for names in _ONE_JOB)


_TOKEN = re.compile(r"(?:^|&)continuationToken=([^&]+)")


def _continuation(page: _Instances) -> str:
    """The query of the next page, with the token that the URI has, for there it is surely percent-encoded.

    In the other field it is seen both encoded and not (Fabric's pagination article, the lakehouse guide).
    """
    found = _TOKEN.search((page.continuation_uri or "").partition("?")[2].partition("#")[0])
    token = found[1] if found else page.continuation_token
    return f"continuationToken={quote(token, safe='%')}" if token else ""


# --- Errors ----------------------------------------------------------------------------------------------------------

NO_CAPACITY = FailureRow(Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, kind=FailureKind.NO_CAPACITY)
"""Refused for want of capacity, with nothing begun: ask again."""
CAPACITY_CODES = ("CapacityNotActive", "CapacityLimitExceeded")
"""The capacity of the workspace is paused, or has no compute left. Nothing was begun, whichever status says so: seen
with 404 (for whatever is asked for), 500 and 503, as the error's own code, as that of a detail, or in its message."""

AT_CAPACITY = msgspec.structs.replace(TRANSIENT, retry_after=timedelta(minutes=1))
"""Refused for now, for this item or its capacity; the identity may go on with others."""

ERRORS: Mapping[str, FailureRow] = {
    # One fact in three spellings: core, lakehouse, and lakehouse as it was misspelled until 2025.
    "InsufficientPrivileges": PERMANENT,
    "MissingMinimalPermissions": PERMANENT,
    "MissingMinimalPermisisons": PERMANENT,
    # The request is wrong for what it is sent to, until someone changes one of the two.
    "ComputeTypeMismatch": PERMANENT,
    "CorruptedPayload": PERMANENT,
    "FeatureNotAvailable": PERMANENT,
    "InvalidJobType": PERMANENT,
    "InvalidRequest": PERMANENT,
    "ItemNotFound": PERMANENT,
    "OperationNotSupportedForItem": PERMANENT,
    "WorkspaceNotFound": PERMANENT,
    # Quotas of the identity.
    "MLV_TOO_MANY_REQUESTS": THROTTLED,
    "RequestBlocked": THROTTLED,
    "TooManyRequests": THROTTLED,
    "TooManyRequestsForJobs": THROTTLED,
    # The lake views' engine: a lineage or a definition just made is found a little later.
    "MLV_LINEAGE_NOT_FOUND": AT_CAPACITY,
    "MLV_NOT_FOUND": AT_CAPACITY,
    "MLV_SELECTED_NOT_FOUND": AT_CAPACITY,
    "MLV_SPARK_JOB_CAPACITY_THROTTLING": AT_CAPACITY,
    "MLV_SPARK_SESSION_REQUEST_SUBMISSION_FAILED": AT_CAPACITY,
    # A cancel that comes too late.
    "JobAlreadyCompleted": OVER,
}
"""The meaning of each `errorCode`, below HTTP 500. `_by_status` is the row for every other."""

EXCEPTIONS: Mapping[tuple[Operation, str], FailureRow] = {
    (Operation.GET, "ItemNotFound"): GONE,  # what is asked for is the instance
    (Operation.CANCEL, "ItemNotFound"): GONE,
}
"""Codes whose meaning depends on what was asked."""

STATUSES: Mapping[int, FailureRow] = {
    HTTPStatus.UNAUTHORIZED: PERMANENT,  # the token was renewed once by then: see `token_refused`
    HTTPStatus.FORBIDDEN: PERMANENT,
    HTTPStatus.REQUEST_TIMEOUT: UNCERTAIN,
    HTTPStatus.CONFLICT: TRANSIENT,
    HTTPStatus.TOO_MANY_REQUESTS: THROTTLED,
    430: THROTTLED,  # Spark on Fabric: the capacity has no room
}

_SERVER_ERROR = 500


class _Error(Value, frozen=True):
    """An ErrorResponse, as much of it as there was."""

    code: str = ""
    message: str = ""
    request_id: str = ""
    retriable: bool = False


def failure(operation: Operation, status: int, headers: Headers, body: bytes, now: datetime) -> Failure:
    """Any answer that is not a success, from its ErrorResponse or, where there is none, from its status."""
    error = _error_of(_json(body)) if len(body) <= ANSWER_LIMIT else _Error()
    code = error.code or header(headers, "x-ms-public-api-error-code")
    row = _row_for(operation, status, code)
    if code in CAPACITY_CODES or any(name in error.message for name in CAPACITY_CODES):
        row = NO_CAPACITY
    if error.retriable and row is PERMANENT:
        row = TRANSIENT
    return row.of(operation).failure(
        code or f"HTTP {status}",
        _message(status, error),
        retry_after=retry_after(headers, now),
        request_id=header(headers, "RequestId") or error.request_id,
    )


def _row_for(operation: Operation, status: int, code: str) -> FailureRow:
    """A 5xx says nothing certain about a start, whatever code it carries."""
    if status >= _SERVER_ERROR:
        return UNCERTAIN
    return EXCEPTIONS.get((operation, code)) or ERRORS.get(code) or _by_status(operation, status)


def _by_status(operation: Operation, status: int) -> FailureRow:
    """The row for an answer whose error code no document names, by its HTTP status.

    A redirect is never followed: the token is for our base URL alone.
    """
    if status == HTTPStatus.NOT_FOUND:
        return GONE if operation in (Operation.GET, Operation.CANCEL) else PERMANENT
    refused = HTTPStatus.MULTIPLE_CHOICES <= status < _SERVER_ERROR
    return STATUSES.get(status, PERMANENT if refused else UNCERTAIN)


def _message(status: int, error: _Error) -> str:
    if error.message:
        return error.message
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return "a redirect, which is not followed: is the base URL right?"
    return f"HTTP {status} without an error that can be read"


def _unreadable(headers: Headers, expected: str) -> Failure:
    """A success that is not what it should be says nothing about the run; asking again is all there is to do."""
    message = f"expected {expected}, found something else"
    return TRANSIENT.failure("UnreadableAnswer", message, request_id=header(headers, "RequestId"))


def _error_of(content: Any) -> _Error:
    """`{errorCode, message, requestId, isRetriable, relatedResource, moreDetails}`; any part may be absent or odd.

    Before the API stands a gateway, which answers `{"error": {"code", "message"}}`.
    """
    if not isinstance(content, dict):
        return _Error()
    if isinstance(content.get("error"), dict):
        content = content["error"]
    details = content.get("moreDetails")
    texts = [_detail(content), *(map(_code_of, details) if isinstance(details, list) else ())]
    return _Error(
        code=_text(content, "errorCode") or _text(content, "code"),
        message="; ".join(text for text in texts if text),
        request_id=_text(content, "requestId"),
        retriable=content.get("isRetriable") is True,
    )


def _code_of(detail: Any) -> str:
    if not isinstance(detail, dict):
        return ""
    return ": ".join(text for text in (_text(detail, "errorCode"), _detail(detail)) if text)


def _detail(content: dict[str, Any]) -> str:
    """`message (Lakehouse 431e8d7b-...)`."""
    related = content.get("relatedResource")
    named = (_text(related, "resourceType"), _text(related, "resourceId")) if isinstance(related, dict) else ()
    resource = " ".join(text for text in named if text)
    return " ".join(text for text in (_text(content, "message"), resource and f"({resource})") if text)


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _json(body: bytes | msgspec.Raw) -> Any:
    """Decode any JSON; None where a body is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
