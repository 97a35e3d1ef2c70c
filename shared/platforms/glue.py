"""AWS Glue's materialized-view API as values: parameters out, answers and errors in. The shell only carries them.

Operations and types: https://docs.aws.amazon.com/glue/latest/webapi/API_StartMaterializedViewRefreshTaskRun.html and
its three siblings. Answers are what botocore makes of the JSON: strings, numbers, datetimes; any member may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.platforms.failures import (
    GONE,
    MISCONFIGURED,
    OVER,
    PERMANENT,
    RENEWABLE,
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
from shared.targets import GlueView
from shared.text import is_uuid
from shared.times import instant

CAPABILITIES = Capabilities(
    listing_delay=timedelta(seconds=30),  # unpublished; a start is written before it is answered, so this is generous
    call_timeout=timedelta(seconds=10),  # the SDK's read time-out is set to it; a start is answered in well under 1 s
    foreign_covers=True,  # a view has one definition, so anyone's run reads the same sources
    skips=False,  # a start during a run is refused: MaterializedViewRefreshTaskRunningException
)

PAGE_SIZE = 1000
"""The most that ListMaterializedViewRefreshTaskRuns gives at once; how many runs are kept is not published."""

CONCURRENCY_WAIT = timedelta(seconds=15)
"""After ResourceNumberLimitExceededException, for the account: how many refreshes may go on at once is not published,
and no answer says when one ends. Simulated with 5 to 50 at once that take 30 s to 5 min (tests/simulation/crowd.py): a
minute leaves what ended meanwhile unused, and takes up to 1.6 times as long as could be; 15 s up to 1.25 times."""

Parameters = dict[str, Any]


# --- Parameters ------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[^\x00-\x08\x0a-\x1f\ud800-\udfff\ufffe\uffff]{1,255}")
"""Pattern and length of CatalogId, DatabaseName and TableName in the API reference, which names what is allowed. Here
it says what is not, which is little: `re` goes through each character of a range, 60,000, at each start."""


def start_parameters(view: GlueView, *, full: bool) -> Parameters | Failure:
    """StartMaterializedViewRefreshTaskRun: `{CatalogId, DatabaseName, TableName[, FullRefresh: true]}`.

    The catalog is always named (`123456789012` or `123456789012:s3tablescatalog/bucket`): botocore requires it.
    """
    parameters: Parameters = {**_view_parameters(view), **({"FullRefresh": True} if full else {})}
    return _check(view) or parameters


def get_parameters(view: GlueView, run_id: str) -> Parameters | Failure:
    """GetMaterializedViewRefreshTaskRun: `{CatalogId, MaterializedViewRefreshTaskRunId}`."""
    if not is_uuid(run_id):
        return _invalid("MaterializedViewRefreshTaskRunId", "a UUID", run_id)
    return _check(view) or {"CatalogId": view.catalog_id, "MaterializedViewRefreshTaskRunId": run_id}


def list_parameters(view: GlueView) -> Parameters | Failure:
    """ListMaterializedViewRefreshTaskRuns, first page: `{CatalogId, DatabaseName, TableName, MaxResults}`."""
    return _check(view) or {**_view_parameters(view), "MaxResults": PAGE_SIZE}


def stop_parameters(view: GlueView) -> Parameters | Failure:
    """StopMaterializedViewRefreshTaskRun: `{CatalogId, DatabaseName, TableName}`; whatever run the view has ends."""
    return _check(view) or _view_parameters(view)


def _view_parameters(view: GlueView) -> Parameters:
    return {"CatalogId": view.catalog_id, "DatabaseName": view.database, "TableName": view.table}


def _check(view: GlueView) -> Failure | None:
    for name, value in _view_parameters(view).items():
        if not _NAME.fullmatch(value):
            return _invalid(name, "1 to 255 characters without control characters", value)
    return None


def _invalid(name: str, expected: str, found: str) -> Failure:
    message = f"{name}: expected {expected}, found {len(found)} characters: {found[:60]!r}"
    return MISCONFIGURED.failure("InvalidParameter", message)


# --- Answers ---------------------------------------------------------------------------------------------------------

_PHASES = {
    "STARTING": Phase.ACTIVE,
    "RUNNING": Phase.ACTIVE,
    "SUCCEEDED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "STOPPED": Phase.CANCELLED,
}
_FULL = {"FULL": True, "INCREMENTAL": False}
_ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})


def start_answer(answer: Mapping[str, Any]) -> Started:
    """`{MaterializedViewRefreshTaskRunId}`."""
    run_id = _text(answer, "MaterializedViewRefreshTaskRunId")
    return Started(run_id if is_uuid(run_id) else "")


def get_answer(answer: Mapping[str, Any]) -> Report:
    """`{MaterializedViewRefreshTaskRun: {...}}`."""
    return _report(_part(answer, "MaterializedViewRefreshTaskRun"))


def list_answer(answer: Mapping[str, Any], view: GlueView, since: datetime) -> Page[Parameters]:
    """`{MaterializedViewRefreshTaskRuns: [...], NextToken}`: what a look-up needs, and what asks for the next page.

    Neither the order nor how many runs are kept is published: `gather` ends early only where the order shows.
    """
    runs = [run for run in answer.get("MaterializedViewRefreshTaskRuns") or () if isinstance(run, Mapping)]
    reports = [_report(run) for run in runs if _is_of(run, view)]
    token = _text(answer, "NextToken")
    following = {**_view_parameters(view), "MaxResults": PAGE_SIZE, "NextToken": token} if token else None
    wanted = tuple(report for report in reports if concerns(report, since))
    return Page(wanted, following, tuple(report.created_at for report in reports))


def stop_answer(error: Mapping[str, Any] | None = None) -> Failure | None:
    """None if the run will end, which it also will where it is being stopped already; `error` as for `failure`."""
    if error is None:
        return None
    refused = failure(Operation.CANCEL, error)
    return None if refused.code == "MaterializedViewRefreshTaskStoppingException" else refused


def _report(run: Mapping[str, Any]) -> Report:
    status = _text(run, "Status")
    phase = _PHASES.get(status, Phase.UNKNOWN)
    return Report(
        run_id=_text(run, "MaterializedViewRefreshTaskRunId"),
        phase=phase,
        status=plain(status, 100),
        created_at=_time(run, "CreationTime") or _time(run, "StartTime"),
        ended_at=_time(run, "EndTime") or _time(run, "LastUpdated") if phase in _ENDED else None,
        full=_FULL.get(_text(run, "RefreshType")),
        error=plain(_text(run, "ErrorMessage")),
        dpu_seconds=_number(run, "DPUSeconds"),
    )


def _is_of(run: Mapping[str, Any], view: GlueView) -> bool:
    """The list was asked for one view; a run that names another is none of ours. Glue keeps names in lower case."""
    named = (_text(run, "DatabaseName") or view.database, _text(run, "TableName") or view.table)
    return tuple(map(str.lower, named)) == (view.database.lower(), view.table.lower())


def _part(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def _time(answer: Mapping[str, Any], name: str) -> datetime | None:
    value = answer.get(name)
    return instant(value) if isinstance(value, datetime) else None


def _number(answer: Mapping[str, Any], name: str) -> float | None:
    value = answer.get(name)
    return float(value) if isinstance(value, int | float) else None


# --- Errors ----------------------------------------------------------------------------------------------------------

RUNNING = FailureRow(Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, kind=FailureKind.ALREADY_RUNNING)
"""Refused because a run of the view goes on: ask again when it ends."""
AT_LIMIT = FailureRow(
    Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, kind=FailureKind.THROTTLED, retry_after=CONCURRENCY_WAIT
)
"""Refused because the account has as many runs as it may: ask again after `CONCURRENCY_WAIT`."""

ERRORS: Mapping[str, FailureRow] = {
    # The four operations' own.
    "AccessDeniedException": PERMANENT,
    "EntityNotFoundException": PERMANENT,
    "InvalidInputException": PERMANENT,
    "MaterializedViewRefreshTaskRunningException": RUNNING,
    "MaterializedViewRefreshTaskNotRunningException": OVER,
    "MaterializedViewRefreshTaskStoppingException": TRANSIENT,  # `stop_answer` makes it "it will end"
    "OperationTimeoutException": UNCERTAIN,  # Glue gave up on something that it had begun
    "ResourceNumberLimitExceededException": AT_LIMIT,
    # Of other Glue operations, where a view's tables are encrypted, federated or changed meanwhile.
    "ConcurrentModificationException": TRANSIENT,
    "FederationSourceException": PERMANENT,
    "FederationSourceRetryableException": TRANSIENT,
    "GlueEncryptionException": PERMANENT,
    # The service failed after it took the request in; whether it had begun the run by then, it does not say.
    "InternalServiceException": UNCERTAIN,
    "InternalServerException": UNCERTAIN,
    "InternalFailure": UNCERTAIN,
    "ServiceUnavailable": UNCERTAIN,
    "ServiceUnavailableException": UNCERTAIN,
    "RequestTimeout": UNCERTAIN,
    "RequestTimeoutException": UNCERTAIN,
    # Throttling: the codes that botocore retries as such (botocore.retries.standard); a test compares.
    "BandwidthLimitExceeded": THROTTLED,
    "EC2ThrottledException": THROTTLED,
    "LimitExceededException": THROTTLED,
    "PriorRequestNotComplete": THROTTLED,
    "ProvisionedThroughputExceededException": THROTTLED,
    "RequestLimitExceeded": THROTTLED,
    "RequestThrottled": THROTTLED,
    "RequestThrottledException": THROTTLED,
    "SlowDown": THROTTLED,
    "ThrottledException": THROTTLED,
    "Throttling": THROTTLED,
    "ThrottlingException": THROTTLED,
    "TooManyRequestsException": THROTTLED,
    "TransactionInProgressException": THROTTLED,
    # Credentials that the next invocation has anew, and clocks that are set right again.
    "ExpiredToken": RENEWABLE,
    "ExpiredTokenException": RENEWABLE,
    "RequestExpired": RENEWABLE,
    "RequestTimeTooSkewed": RENEWABLE,
    # Credentials, permissions or a Region that somebody must mend (common errors of every AWS API).
    "AccessDenied": PERMANENT,
    "IncompleteSignature": PERMANENT,
    "InvalidAction": PERMANENT,
    "InvalidClientTokenId": PERMANENT,
    "InvalidSignatureException": PERMANENT,
    "MissingAuthenticationToken": PERMANENT,
    "MissingAuthenticationTokenException": PERMANENT,
    "NotAuthorized": PERMANENT,
    "OptInRequired": PERMANENT,
    "SignatureDoesNotMatch": PERMANENT,
    "UnknownOperationException": PERMANENT,
    "UnrecognizedClientException": PERMANENT,
    "ValidationError": PERMANENT,
    "ValidationException": PERMANENT,
}
"""The meaning of each error code. `_by_status` is the row for every other."""

EXCEPTIONS: Mapping[tuple[Operation, str], FailureRow] = {
    (Operation.GET, "EntityNotFoundException"): GONE,  # the run, not the view
}
"""Codes whose meaning depends on what was asked."""


def failure(operation: Operation, error: Mapping[str, Any]) -> Failure:
    """An error answer: `{"Error": {"Code", "Message"}, "ResponseMetadata": {"HTTPStatusCode", ...}, <members>}`.

    That is botocore's `ClientError.response`, whatever of it is there.
    """
    metadata = _part(error, "ResponseMetadata")
    code = _text(_part(error, "Error"), "Code")
    row = EXCEPTIONS.get((operation, code)) or ERRORS.get(code) or _by_status(metadata.get("HTTPStatusCode"))
    headers = {key: value for key, value in _part(metadata, "HTTPHeaders").items() if isinstance(value, str)}
    return row.of(operation).failure(
        code or f"HTTP {metadata.get('HTTPStatusCode')}",
        _message(error),
        retry_after=retry_after(headers),
        request_id=_text(metadata, "RequestId") or header(headers, "x-amzn-RequestId"),
    )


def _by_status(status: object) -> FailureRow:
    """The row for an answer whose error code no document names, by its HTTP status.

    Only a clear 4xx says that nothing was begun.
    """
    if status == 429:  # noqa: PLR2004 - the number is the name
        return THROTTLED
    return PERMANENT if isinstance(status, int) and 400 <= status < 500 else UNCERTAIN  # noqa: PLR2004 - 4xx


def _message(error: Mapping[str, Any]) -> str:
    message = _text(_part(error, "Error"), "Message") or _text(error, "Message") or "no message"
    return f"{message} (says the federated source)" if error.get("FromFederationSource") is True else message
