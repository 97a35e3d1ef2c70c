"""Fabric's job API as values, judged by Microsoft's published specification where that is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.platforms import fabric
from shared.platforms.fabric import Request, UrlForm
from shared.platforms.failures import ANSWER_LIMIT, Operation, token_refused
from shared.platforms.paging import Page
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Phase, Report, Started
from shared.targets import ItemJob, LakeViews
from tests.support.golden_folders import golden, read_json, told
from tests.support.swagger import published

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SINCE = datetime(2026, 4, 27, 6, 30, tzinfo=UTC)
WORKSPACE, ITEM = "4b218778-e7a5-4d73-8187-f10824047715", "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
RUN = "f2d65699-dd22-4889-980c-15226deb0e1b"
VIEWS = LakeViews(WORKSPACE, ITEM)
SUBSET = LakeViews(WORKSPACE, ITEM, "0c1d2e3f-0000-4000-8000-000000000000")
OPTIMIZE = ItemJob(WORKSPACE, ITEM, "DefaultJob", {"tableName": "Table1", "optimizeSettings": {"vOrder": True}}, None)
PARAMETERS = [{"name": "day", "type": "Text", "value": "2026-01-01"}]
BASE = "https://api.fabric.microsoft.com/v1"
LAKEHOUSE, AN_ITEM = f"/workspaces/{WORKSPACE}/lakehouses/{ITEM}", f"/workspaces/{WORKSPACE}/items/{ITEM}"


# --- Requests --------------------------------------------------------------------------------------------------------

REQUESTS: list[tuple[Request, str, Any]] = [
    (
        fabric.start(VIEWS, "query"),
        f"POST {LAKEHOUSE}/jobs/instances?jobType=RefreshMaterializedLakeViews",
        None,
    ),
    (fabric.start(VIEWS, "path"), f"POST {LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances", None),
    (
        fabric.start(SUBSET, "path"),
        f"POST {LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances",
        {"executionData": {"mlvExecutionDefinitionId": "0c1d2e3f-0000-4000-8000-000000000000"}},
    ),
    (
        fabric.start(OPTIMIZE, "query"),
        f"POST {AN_ITEM}/jobs/instances?jobType=DefaultJob",
        {"executionData": {"tableName": "Table1", "optimizeSettings": {"vOrder": True}}},
    ),
    (
        fabric.start(ItemJob(WORKSPACE, ITEM, "Run", parameters=PARAMETERS), "path"),
        f"POST {AN_ITEM}/jobs/Run/instances",
        {"parameters": PARAMETERS},
    ),
    (
        fabric.start(ItemJob(WORKSPACE, ITEM, "Run", {}, []), "path"),
        f"POST {AN_ITEM}/jobs/Run/instances",
        {"executionData": {}, "parameters": []},
    ),
    (
        fabric.start(ItemJob(WORKSPACE, ITEM, "a/b&c=d ü"), "query"),
        f"POST {AN_ITEM}/jobs/instances?jobType=a%2Fb%26c%3Dd%20%C3%BC",
        None,
    ),
    (fabric.start(ItemJob(WORKSPACE, ITEM, "a/b?c#d"), "path"), f"POST {AN_ITEM}/jobs/a%2Fb%3Fc%23d/instances", None),
    (fabric.get_item_job_instance(VIEWS, RUN), f"GET {AN_ITEM}/jobs/instances/{RUN}", None),
    (fabric.list_item_job_instances(OPTIMIZE), f"GET {AN_ITEM}/jobs/instances", None),
    (fabric.cancel_item_job_instance(OPTIMIZE, RUN), f"POST {AN_ITEM}/jobs/instances/{RUN}/cancel", None),
]


@pytest.mark.parametrize(("request_", "line", "content"), REQUESTS, ids=[f"{i} {r[1]}" for i, r in enumerate(REQUESTS)])
def test_requests_are_those_of_the_documents(request_: Request, line: str, content: Any) -> None:
    """The exact request lines in both URL forms, and bodies as configured, or none with no content type."""
    assert f"{request_.method} {request_.url('')}" == line
    assert (None if request_.body is None else json.loads(request_.body)) == content
    assert ("Content-Type" in request_.headers) is (content is not None)


def test_a_url_is_always_at_our_own_base() -> None:
    """With a slash at its end or without."""
    for base in (BASE, BASE + "/"):
        assert fabric.list_item_job_instances(VIEWS).url(base) == f"{BASE}{AN_ITEM}/jobs/instances"


def test_execution_data_is_passed_through_unchanged() -> None:
    """Whatever the configuration says is what is sent, in its order."""
    data = {"z": 1.0, "a": [None, True, {"ü": "💎"}], "big": 2**53, "empty": {}}
    request = fabric.run_item_job(ItemJob(WORKSPACE, ITEM, "x", data), "query")
    assert request.body is not None
    assert json.loads(request.body) == {"executionData": data}
    assert list(json.loads(request.body)["executionData"]) == list(data)


# --- Answers ---------------------------------------------------------------------------------------------------------


READERS: dict[str, Callable[..., Any]] = {
    "started": fabric.read_start,
    "reported": fabric.read_report,
    "cancelled": fabric.read_cancel,
}


def read(call: str, status: int, headers: dict[str, str], body: bytes) -> Any:
    """The reader of one kind of answer."""
    if call == "listed":
        return fabric.read_list(status, headers, body, NOW, resource=VIEWS, since=SINCE)
    return READERS[call](status, headers, body, NOW)


CALLS = {
    "started": Operation.START,
    "reported": Operation.GET,
    "listed": Operation.LIST,
    "cancelled": Operation.CANCEL,
}


@golden("fabric")
def test_bytes_of_the_wire_read_as_expected(folder: Path) -> None:
    """Answers as Microsoft publishes them and as they were recorded from the live service."""
    head = read_json(folder, "head.json")
    found = read(head["call"], head["status"], head["headers"], (folder / "body").read_bytes())
    assert told(found) == read_json(folder, "expected.json")


@golden("fabric_exchanges")
def test_exchanges_in_the_shapes_of_the_wire_read_as_expected(folder: Path) -> None:
    """Five answers of each kind, written anew in the shapes that were recorded of the live service."""
    files = sorted(folder.glob("*.json"))
    assert len(files) == 5
    for file in files:
        exchange = read_json(folder, file.name)
        body, expected = exchange["body"].encode(), exchange["expected"] or {}
        found = read(exchange["call"], exchange["status"], exchange["headers"], body)
        assert (found is None) is (exchange["expected"] is None), file
        assert {name: told(getattr(found, name)) for name in expected} == expected, file


@pytest.mark.parametrize(
    ("location", "run_id"),
    [
        (f"{BASE}{AN_ITEM}/jobs/instances/{RUN}", RUN),
        (f"{BASE}{LAKEHOUSE}/jobs/instances/{RUN}", RUN),
        (f"{BASE}{AN_ITEM}/jobs/RunNotebook/instances/{RUN}", RUN),
        (f"{BASE}{LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances/{RUN.upper()}", RUN),
        (f"https://elsewhere.example{AN_ITEM}/jobs/instances/{RUN}?x=1", RUN),
        (f"{AN_ITEM}/jobs/instances/{RUN}/", RUN),
        (f"{BASE}{AN_ITEM}/jobs/instances?jobType=Execute", ""),
        (f"{BASE}{AN_ITEM}/jobs/instances/", ""),
        (f"{BASE}{AN_ITEM}/jobs/instances/{RUN}0", ""),
        (f"{BASE}{AN_ITEM}/jobs/instances/latest", ""),
        (f"{BASE}/operations/{RUN}", ""),
        (f"{BASE}{AN_ITEM}?next=/jobs/other", ""),
        ("", ""),
        ("\x00", ""),
    ],
)
def test_location_is_only_a_source_of_an_id(location: str, run_id: str) -> None:
    """Item form, lakehouse form, with the job type, on any host; without a UUID the run is looked up by list."""
    assert fabric.read_start(202, {"location": location}, b"", NOW) == Started(run_id)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_accepted_start_needs_no_body(status: int) -> None:
    """202 comes with an empty octet-stream; nothing of a body is read."""
    headers = {"CONTENT-TYPE": "application/octet-stream", "RETRY-AFTER": "0"}
    assert fabric.read_start(status, headers, b"\xff<html>", NOW) == Started("", retry_after=timedelta(seconds=5))


def instance(**more: Any) -> dict[str, Any]:
    """A job instance."""
    return {
        "id": RUN,
        "jobType": "RefreshMaterializedLakeViews",
        "status": "InProgress",
        "startTimeUtc": "2026-04-27T07:00:00.22",
        **more,
    }


def report(**more: Any) -> Report:
    """How it reads."""
    found = fabric.read_report(200, {}, json.dumps(instance(**more)).encode(), NOW)
    assert isinstance(found, Report)
    return found


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("NotStarted", Phase.ACTIVE),
        ("InProgress", Phase.ACTIVE),
        ("inprogress", Phase.ACTIVE),
        ("Completed", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("Cancelled", Phase.CANCELLED),
        ("Deduped", Phase.SKIPPED),
        ("OwnerDisabled", Phase.UNKNOWN),
        ("Completed ", Phase.UNKNOWN),
        ("", Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
def test_statuses(status: str | None, phase: Phase) -> None:
    """The documented ones in any case; one added later is no end, and no success."""
    found = report(status=status, endTimeUtc="2026-04-27T07:10:00Z")
    assert found.phase is phase
    assert (found.ended_at is None) is (phase in (Phase.ACTIVE, Phase.UNKNOWN))


@pytest.mark.parametrize("time", [None, "", "0001-01-01T00:00:00", "soon"])
def test_times_that_are_none(time: str | None) -> None:
    """Null, and .NET's unset date."""
    found = report(status="Failed", startTimeUtc=time, endTimeUtc=time)
    assert (found.created_at, found.ended_at) == (None, None)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (None, ""),
        ({"errorCode": "MLV_NOT_FOUND", "message": "no view"}, "MLV_NOT_FOUND: no view"),
        ({"message": "no view"}, "no view"),
        ({"errorCode": "X"}, "X: "),
        ("just text", "just text"),
        (5, ""),
        ([], ""),
        (
            {
                "errorCode": "A",
                "message": "a",
                "relatedResource": {"resourceId": "1", "resourceType": "Lakehouse"},
                "moreDetails": [{"errorCode": "B", "message": "b"}, {"message": "c"}, {}, 5],
            },
            "A: a (Lakehouse 1); B: b; c",
        ),
    ],
)
def test_why_a_run_failed(reason: Any, error: str) -> None:
    """An ErrorResponse with all its parts, or whatever stands in its place."""
    assert report(status="Failed", failureReason=reason).error == error.strip()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"id": "',
        b"[]",
        b"null",
        b"{}",
        b'{"id": 5}',
        b'{"id": "no uuid"}',
        json.dumps({"id": RUN + "\n"}).encode(),
        b"\xff",
        b'{"id": "' + b"[" * 100_000,
        json.dumps(instance(x="y" * ANSWER_LIMIT)).encode(),
    ],
)
@pytest.mark.parametrize("call", ["reported", "listed"])
@pytest.mark.usefixtures("without_garbage")
def test_an_unreadable_success_is_trouble_for_now(call: str, body: bytes) -> None:
    """A 200 that is not what it should be never ends a run, and is never an empty list."""
    found = read(call, 200, {"requestid": "r-1"}, body)
    assert isinstance(found, Failure)
    assert found.code == "UnreadableAnswer"
    assert found.retry_safe
    assert found.request_id == "r-1"
    assert found.kind is FailureKind.OTHER


def page(*instances: Any, resource: fabric.Resource = VIEWS, **more: Any) -> Page[Request]:
    """How a page of them reads."""
    body = json.dumps({"value": list(instances), **more}).encode()
    found = fabric.read_list(200, {}, body, NOW, resource=resource, since=SINCE)
    assert isinstance(found, Page)
    return found


@pytest.mark.parametrize(
    ("resource", "job_type", "is_ours"),
    [
        (VIEWS, "RefreshMaterializedLakeViews", True),
        (VIEWS, "refreshMaterializedLakeViews", True),
        (VIEWS, "MaterializedLakeViews", True),
        (VIEWS, "TableMaintenance", False),
        (VIEWS, None, True),
        (ItemJob(WORKSPACE, ITEM, "RunNotebook"), "runnotebook", True),
        (ItemJob(WORKSPACE, ITEM, "RunNotebook"), "MaterializedLakeViews", False),
        (ItemJob(WORKSPACE, ITEM, "refreshmaterializedlakeviews"), "MaterializedLakeViews", True),
        (ItemJob(WORKSPACE, ITEM, "RunNotebook"), "Execute", True),
        (ItemJob(WORKSPACE, ITEM, "execute"), "RunNotebook", True),
        (ItemJob(WORKSPACE, ITEM, "Pipeline"), "Execute", True),
        (ItemJob(WORKSPACE, ITEM, "Execute"), "Pipeline", True),
        (ItemJob(WORKSPACE, ITEM, "RunNotebook"), "Pipeline", False),
        (ItemJob(WORKSPACE, ITEM, "DefaultJob"), "Execute", False),
    ],
)
def test_a_list_has_only_runs_of_the_job_type(resource: fabric.Resource, job_type: str | None, is_ours: bool) -> None:
    """In any case, and under every name that the history has for what was started."""
    assert bool(page(instance(jobType=job_type), resource=resource).reports) is is_ours


def test_a_run_is_followed_by_its_id_whatever_its_type_is_called() -> None:
    """A poll asks for one instance, so the name of its type decides nothing."""
    body = json.dumps(instance(jobType="SomethingNew")).encode()
    found = fabric.read_report(200, {}, body, NOW)
    assert isinstance(found, Report)
    assert found.run_id == RUN


WITHOUT_CAPACITY = (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.NO_CAPACITY)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (404, {}, {"errorCode": "CapacityNotActive", "message": "m"}),
        (404, {"x-ms-public-api-error-code": "CapacityNotActive"}, {}),
        (500, {}, {"error": {"code": "CapacityNotActive", "message": "m"}}),
        (503, {}, {"errorCode": "Failed", "message": "m", "moreDetails": [{"errorCode": "CapacityNotActive"}]}),
        (500, {}, {"errorCode": "Failed", "message": "Capacity operation failed with error code CapacityNotActive"}),
        (400, {}, {"errorCode": "CapacityLimitExceeded", "message": "m"}),
        (430, {}, {"errorCode": "CapacityLimitExceeded", "message": "m"}),
    ],
)
def test_a_capacity_that_is_paused_or_used_up_is_that(
    call: str, status: int, headers: dict[str, str], content: dict[str, Any]
) -> None:
    """It is not permanent, and says neither that a run vanished nor that one may have begun, whatever the status."""
    found = read(call, status, headers, json.dumps(content).encode())
    assert isinstance(found, Failure)
    assert (found.fault, found.delivery, found.retry_safe, found.kind) == WITHOUT_CAPACITY
    assert not found.permanent
    assert "Capacity" in str(found)


def test_a_list_has_what_may_run_and_what_is_recent() -> None:
    """What ended before is left out; what was running since is not: ours may have been skipped for it."""
    old = "2026-04-27T05:00:00"
    recent = instance(status="Completed", startTimeUtc=old, endTimeUtc="2026-04-27T06:31:00")
    ended = instance(status="Completed", startTimeUtc=old, endTimeUtc="2026-04-27T06:29:00")
    assert len(page(recent, ended, instance(startTimeUtc=old)).reports) == 2


TOKEN = "+RID:~HTs==#RT:1"
ENCODED = "%2BRID%3A~HTs%3D%3D%23RT%3A1"


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({}, None),
        ({"continuationToken": None, "continuationUri": None}, None),
        ({"continuationToken": "", "continuationUri": ""}, None),
        ({"continuationToken": TOKEN}, f"continuationToken={ENCODED}"),
        ({"continuationToken": "LDEsMTAwMDAwLDA%3D"}, "continuationToken=LDEsMTAwMDAwLDA%3D"),
        (
            {"continuationToken": TOKEN, "continuationUri": f"{BASE}/x?a=1&continuationToken={ENCODED}#f"},
            f"continuationToken={ENCODED}",
        ),
        ({"continuationUri": "https://evil.example/steal?continuationToken=a b"}, "continuationToken=a%20b"),
        ({"continuationUri": "https://evil.example/steal"}, None),
        ({"continuationUri": "https://evil.example/?notcontinuationToken=1"}, None),
    ],
)
def test_the_next_page_is_asked_for_at_our_own_address(fields: dict[str, Any], query: str | None) -> None:
    """Of the continuation only the token is taken, never a host or a path."""
    following = page(instance(), **fields).following
    if query is None:
        assert following is None
        return
    assert following is not None
    assert following.url(BASE) == f"{BASE}{AN_ITEM}/jobs/instances?{query}"


# --- Errors ----------------------------------------------------------------------------------------------------------

PERMANENT = (Fault.CALLER, Delivery.REJECTED, False, FailureKind.OTHER)
TRANSIENT = (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.OTHER)
THROTTLED = (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.THROTTLED)
GONE = (Fault.CALLER, Delivery.REJECTED, True, FailureKind.NOT_FOUND)
OVER = (Fault.CALLER, Delivery.REJECTED, False, FailureKind.OVER)
UNKNOWN = (Fault.PLATFORM, Delivery.UNKNOWN, False, FailureKind.OTHER)
ASK_AGAIN = (Fault.PLATFORM, Delivery.UNKNOWN, True, FailureKind.OTHER)


def failure(call: str, status: int, error: Any = None, **headers: str) -> Failure:
    """What an error answer says; `error` is the JSON of its body, or bytes."""
    body = error if isinstance(error, bytes) else b"" if error is None else json.dumps(error).encode()
    found = read(call, status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
    assert isinstance(found, Failure)
    return found


def facts(found: Failure) -> tuple[Fault, Delivery, bool, FailureKind]:
    """The facts without the words."""
    return found.fault, found.delivery, found.retry_safe, found.kind


@pytest.mark.parametrize(
    ("call", "status", "code", "expected"),
    [
        ("started", 403, "InsufficientPrivileges", PERMANENT),
        ("started", 403, "MissingMinimalPermissions", PERMANENT),
        ("started", 403, "MissingMinimalPermisisons", PERMANENT),
        ("reported", 403, "InsufficientPrivileges", PERMANENT),
        ("started", 400, "InvalidJobType", PERMANENT),
        ("started", 400, "FeatureNotAvailable", PERMANENT),
        ("started", 400, "InvalidRequest", PERMANENT),
        ("started", 404, "ItemNotFound", PERMANENT),
        ("listed", 404, "ItemNotFound", PERMANENT),
        ("reported", 404, "ItemNotFound", GONE),
        ("cancelled", 404, "ItemNotFound", GONE),
        ("started", 404, "MLV_LINEAGE_NOT_FOUND", TRANSIENT),
        ("started", 400, "MLV_SPARK_JOB_CAPACITY_THROTTLING", TRANSIENT),
        ("started", 429, "RequestBlocked", THROTTLED),
        ("started", 400, "TooManyRequestsForJobs", THROTTLED),
        ("cancelled", 400, "JobAlreadyCompleted", OVER),
        ("started", 500, "InternalError", UNKNOWN),
        ("started", 503, "InvalidRequest", UNKNOWN),
        ("started", 400, "UnheardOf", PERMANENT),
        ("reported", 500, "InternalError", ASK_AGAIN),
        # Without a code that can be read, the status says it.
        ("started", 300, None, PERMANENT),
        ("started", 302, None, PERMANENT),
        ("started", 400, None, PERMANENT),
        ("started", 401, None, PERMANENT),
        ("started", 403, None, PERMANENT),
        ("started", 404, None, PERMANENT),
        ("reported", 404, None, GONE),
        ("started", 408, None, UNKNOWN),
        ("started", 409, None, TRANSIENT),
        ("started", 429, None, THROTTLED),
        ("started", 430, None, THROTTLED),
        ("started", 502, None, UNKNOWN),
        ("listed", 503, None, ASK_AGAIN),
        ("cancelled", 504, None, ASK_AGAIN),
        ("started", 101, None, UNKNOWN),
        ("reported", 202, None, ASK_AGAIN),
        ("listed", 204, None, ASK_AGAIN),
    ],
)
def test_what_an_error_says(call: str, status: int, code: str | None, expected: tuple[Any, ...]) -> None:
    """Whose fault it is, whether it took effect, whether it may be tried again, what it means."""
    found = failure(call, status, code and {"errorCode": code, "message": "because"})
    assert facts(found) == expected
    assert found.code == (code or f"HTTP {status}")


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad Gateway</html>", b'{"errorCode": "Insuff', b"[]", b"5", b"\xff", b"[" * 99999]
)
@pytest.mark.usefixtures("without_garbage")
def test_an_error_without_a_readable_body(body: bytes) -> None:
    """Empty, HTML, truncated, another shape: the header's code if there is one, else the status."""
    assert facts(failure("started", 403, body)) == PERMANENT
    assert failure("started", 403, body).message == "HTTP 403 without an error that can be read"
    found = failure("started", 400, body, x_ms_public_api_error_code="TooManyRequestsForJobs")
    assert (found.code, found.kind) == ("TooManyRequestsForJobs", FailureKind.THROTTLED)


def test_an_oversized_error_is_not_read() -> None:
    """More than a megabyte is no error of Fabric's."""
    large = {"errorCode": "InvalidRequest", "message": "x" * ANSWER_LIMIT}
    assert failure("started", 400, large).code == "HTTP 400"


def test_an_error_keeps_what_its_reader_needs() -> None:
    """Code, words with details and resources, the id of the request, when to try again."""
    body = {
        "errorCode": "InvalidRequest",
        "message": "The request is bad",
        "requestId": "r-1",
        "isRetriable": False,
        "relatedResource": {"resourceId": ITEM, "resourceType": "Lakehouse"},
        "moreDetails": [{"errorCode": "BadParameter", "message": "day"}],
    }
    found = failure("started", 400, body)
    assert str(found) == f"InvalidRequest: The request is bad (Lakehouse {ITEM}); BadParameter: day (request r-1)"
    assert failure("started", 400, body, RequestId="r-2").request_id == "r-2"
    assert failure("started", 429, None, retry_after="86400").retry_after == timedelta(hours=1)
    assert failure("started", 429, None, Retry_After="0").retry_after == timedelta(seconds=1)
    assert failure("started", 429).retry_after is None
    assert failure("started", 404, {"errorCode": "MLV_NOT_FOUND"}).retry_after == timedelta(minutes=1)


def test_what_the_platform_calls_retriable_is_tried_again() -> None:
    """A refusal that says so blocks nothing; an unknown outcome stays one."""
    assert failure("started", 400, {"errorCode": "Odd", "message": "x", "isRetriable": True}).retry_safe
    assert not failure("started", 400, {"errorCode": "Odd", "message": "x", "isRetriable": "true"}).retry_safe
    assert facts(failure("started", 500, {"errorCode": "Odd", "message": "x", "isRetriable": True})) == UNKNOWN


def test_the_gateways_shape_of_an_error() -> None:
    """What stands before the API answers in another shape."""
    found = failure("started", 403, {"error": {"code": "Forbidden", "message": "no"}})
    assert (found.code, found.message) == ("Forbidden", "no")


def test_a_refused_token_is_renewed() -> None:
    """401 alone says that the token was refused; a second one is for a person to mend."""
    assert [status for status in range(100, 600) if token_refused(status)] == [401]
    assert failure("started", 401).permanent


def test_a_redirect_is_never_followed() -> None:
    """It is trouble that says so, without its address, for that may hold secrets."""
    found = failure("reported", 307, b"", Location="https://evil.example/?sig=secret")
    assert found.permanent
    assert found.message == "a redirect, which is not followed: is the base URL right?"


def test_no_message_holds_a_token() -> None:
    """Not even where the platform echoes one."""
    echoed = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln is not valid"
    for found in (
        failure("started", 403, {"errorCode": echoed, "message": echoed, "moreDetails": [{"message": echoed}]}),
        report(status="Failed", failureReason={"message": echoed}),
    ):
        assert "eyJ" not in str(told(found))


def test_what_kind_of_platform_it_is() -> None:
    """Rules 6 and 9 rest on these: another run may have other data, and an overlapping start is skipped."""
    assert (fabric.CAPABILITIES.foreign_covers, fabric.CAPABILITIES.skips) == (False, True)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PARTS = [
    "errorCode",
    "message",
    "moreDetails",
    "relatedResource",
    "isRetriable",
    "value",
    "continuationUri",
    "status",
    "failureReason",
    "startTimeUtc",
]
BODIES = st.dictionaries(st.sampled_from(PARTS), ANYTHING).map(lambda fields: {"id": RUN, **fields})
HEADERS = st.dictionaries(st.sampled_from(["Location", "Retry-After", "RequestId"]), st.text())


@given(st.sampled_from(sorted(CALLS)), st.integers(0, 999), HEADERS, st.binary() | (BODIES | ANYTHING).map(json.dumps))
def test_no_answer_raises(call: str, status: int, headers: dict[str, str], body: bytes | str) -> None:
    """Whatever comes back is read, and can be stored."""
    content = body if isinstance(body, bytes) else body.encode()
    assert json.dumps(told(read(call, status, headers, content)), default=repr)


# --- The published specification -------------------------------------------------------------------------------------

URLS = {
    "started": ("POST", fabric.start(VIEWS, "path").url("/v1")),
    "reported": ("GET", fabric.get_item_job_instance(VIEWS, RUN).url("/v1")),
    "listed": ("GET", fabric.list_item_job_instances(VIEWS).url("/v1")),
    "cancelled": ("POST", fabric.cancel_item_job_instance(VIEWS, RUN).url("/v1")),
}


@pytest.mark.parametrize("url_form", ["query", "path"])
@pytest.mark.parametrize("resource", [VIEWS, SUBSET, OPTIMIZE, ItemJob(WORKSPACE, ITEM, "Run", None, PARAMETERS)])
def test_starts_fit_the_specification(resource: fabric.Resource, url_form: UrlForm) -> None:
    """Path, method, query, headers and body of every kind of start, in both URL forms."""
    assert problems_of(fabric.start(resource, url_form)) == []


@pytest.mark.parametrize("resource", [VIEWS, OPTIMIZE])
def test_other_requests_fit_the_specification(resource: fabric.Resource) -> None:
    """Get, list, the next page of a list, and cancel."""
    following = page(continuationToken="t", resource=resource).following
    assert following is not None
    for request in (
        fabric.get_item_job_instance(resource, RUN),
        fabric.list_item_job_instances(resource),
        following,
        fabric.cancel_item_job_instance(resource, RUN),
    ):
        assert problems_of(request) == []


def problems_of(request: Request) -> list[str]:
    """What the specification says against a request."""
    return published().problems_of_request(request.method, request.url(BASE), request.headers, request.body or b"")


@golden("fabric")
def test_golden_answers_fit_the_specification(folder: Path) -> None:
    """What our readers were tried on is what the specification describes."""
    head = read_json(folder, "head.json")
    body = (folder / "body").read_bytes()
    problems = published().problems_of_answer(*URLS[head["call"]], head["status"], head["headers"], body)
    assert problems == []


@golden("fabric_exchanges")
def test_golden_exchanges_fit_the_specification(folder: Path) -> None:
    """What was written anew is what the specification describes, too."""
    for file in sorted(folder.glob("*.json")):
        exchange = read_json(folder, file.name)
        answer = exchange["status"], exchange["headers"], exchange["body"].encode()
        assert published().problems_of_answer(*URLS[exchange["call"]], *answer) == [], file
