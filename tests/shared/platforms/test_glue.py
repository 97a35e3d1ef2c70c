"""Glue's API as values, judged by botocore's own model of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.retries import standard
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from shared.platforms import glue
from shared.platforms.failures import Operation
from shared.platforms.paging import Page
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Phase, Report, Started
from shared.targets import GlueView
from tests.support.golden_folders import golden, read_json, told

SESSION = botocore.session.get_session()
MODEL = SESSION.get_service_model("glue")
START = "StartMaterializedViewRefreshTaskRun"
GET = "GetMaterializedViewRefreshTaskRun"
LIST = "ListMaterializedViewRefreshTaskRuns"
STOP = "StopMaterializedViewRefreshTaskRun"
OPERATIONS = {START: Operation.START, GET: Operation.GET, LIST: Operation.LIST, STOP: Operation.CANCEL}

VIEW = GlueView("123456789012", "sales", "daily_revenue")
S3_TABLES = GlueView("123456789012:s3tablescatalog/bucket", "sales", "täglich 💎\t%")
LONGEST = GlueView("c" * 255, "d" * 255, "t" * 255)
RUN = "f2d65699-dd22-4889-980c-15226deb0e1b"
SINCE = datetime(2025, 12, 31, tzinfo=UTC)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def builders(view: GlueView) -> dict[str, Any]:
    """What each operation would send for a view; a start in both forms."""
    return {
        START: glue.start_parameters(view, full=False),
        START + " in full": glue.start_parameters(view, full=True),
        GET: glue.get_parameters(view, RUN),
        LIST: glue.list_parameters(view),
        STOP: glue.stop_parameters(view),
    }


@pytest.mark.parametrize("view", [VIEW, S3_TABLES, LONGEST, GlueView("1", "2", "3")])
def test_parameters_pass_the_model(view: GlueView) -> None:
    """Every parameter set is valid by botocore's own validation, and names the catalog."""
    for name, parameters in builders(view).items():
        assert isinstance(parameters, dict)
        assert parameters["CatalogId"] == view.catalog_id
        shape = MODEL.operation_model(name.split()[0]).input_shape
        report = ParamValidator().validate(parameters, shape)
        assert not report.has_errors(), report.generate_report()
        assert set(parameters) <= set(shape.members)


def test_a_full_refresh_only_when_asked() -> None:
    """`FullRefresh` is sent as true or not at all."""
    assert glue.start_parameters(VIEW, full=True) == {
        "CatalogId": "123456789012",
        "DatabaseName": "sales",
        "TableName": "daily_revenue",
        "FullRefresh": True,
    }
    assert "FullRefresh" not in builders(VIEW)[START]


@pytest.mark.parametrize("bad", ["", "x" * 256, "a\nb", "\x00", "\ud800", "\ufffe", "\x1f"])
@pytest.mark.parametrize("field", ["catalog_id", "database", "table"])
def test_what_the_pattern_forbids_is_never_sent(field: str, bad: str) -> None:
    """Pattern and lengths of the API reference are checked before anything is sent; it is the caller's to mend."""
    for found in builders(msgspec.structs.replace(VIEW, **{field: bad})).values():
        if isinstance(found, dict):
            assert field != "catalog_id"
            assert "DatabaseName" not in found
            continue
        assert found.delivery is Delivery.NOT_SENT
        assert found.fault is Fault.CALLER
        assert found.permanent


@pytest.mark.parametrize("bad", ["", "x", RUN[:-1], RUN + "\n", RUN + "0"])
def test_a_run_id_that_is_no_uuid_is_never_sent(bad: str) -> None:
    """Get takes a UUID."""
    found = glue.get_parameters(VIEW, bad)
    assert isinstance(found, Failure)
    assert found.delivery is Delivery.NOT_SENT
    assert found.permanent


ANSWERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    START: glue.start_answer,
    GET: glue.get_answer,
    LIST: lambda answer: glue.list_answer(answer, VIEW, SINCE),
    STOP: lambda answer: glue.stop_answer(),
}


class Raw(BytesIO):
    """The body of an answer, as urllib3 would hand it over."""

    def stream(self) -> Iterator[bytes]:
        """All at once."""
        yield self.read()


def read_by_the_sdk(folder: Path) -> Any:
    """What our readers make of a folder's bytes after a real client, which sends nothing, has parsed them."""
    head = read_json(folder, "head.json")
    raw = Raw((folder / "answer.json").read_bytes())
    client = SESSION.create_client(
        "glue",
        "eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send", lambda **_: AWSResponse("", head["status"], head["headers"], raw))
    operation = head["operation"]
    try:
        answer = getattr(client, xform_name(operation))(**builders(VIEW)[operation])
    except ClientError as error:
        if operation == STOP:
            return glue.stop_answer(error.response)
        return glue.failure(OPERATIONS[operation], error.response)
    return ANSWERS[operation](answer)


@golden("glue")
def test_bytes_of_the_wire_read_as_expected(folder: Path) -> None:
    """Answers and errors as they come over the wire, parsed by botocore with its own model."""
    assert told(read_by_the_sdk(folder)) == read_json(folder, "expected.json")


# --- Answers ---------------------------------------------------------------------------------------------------------


def run(**more: Any) -> dict[str, Any]:
    """A run as botocore gives it; fields of `more` that are None are left out."""
    fields = {
        "MaterializedViewRefreshTaskRunId": RUN,
        "DatabaseName": "sales",
        "TableName": "daily_revenue",
        "Status": "RUNNING",
        "CreationTime": NOON,
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None}


def report(**more: Any) -> Report:
    """How it reads."""
    found = glue.get_answer({"MaterializedViewRefreshTaskRun": run(**more)})
    assert isinstance(found, Report)
    return found


def test_every_status_of_the_model_is_known() -> None:
    """No status that Glue documents is unknown, and only SUCCEEDED is a success."""
    statuses = MODEL.shape_for("MaterializedViewRefreshTaskRun").members["Status"].enum
    phases = {status: report(Status=status).phase for status in statuses}
    assert phases == {
        "STARTING": Phase.ACTIVE,
        "RUNNING": Phase.ACTIVE,
        "SUCCEEDED": Phase.SUCCEEDED,
        "FAILED": Phase.FAILED,
        "STOPPED": Phase.CANCELLED,
    }


@pytest.mark.parametrize("status", ["STOPPING", "succeeded", "", 5, None])
def test_an_undocumented_status_is_no_end(status: Any) -> None:
    """It does not crash, and does not count as success."""
    found = report(Status=status, EndTime=NOON)
    assert (found.phase, found.ended_at) == (Phase.UNKNOWN, None)


@pytest.mark.parametrize(("kind", "full"), [("FULL", True), ("INCREMENTAL", False), ("OTHER", None), (None, None)])
def test_only_the_platform_says_whether_it_was_full(kind: str | None, full: bool | None) -> None:
    """RefreshType, or nothing known."""
    assert report(RefreshType=kind).full is full


@pytest.mark.parametrize(
    ("fields", "created_at", "ended_at"),
    [
        ({"Status": "FAILED", "EndTime": NOON + timedelta(1)}, NOON, NOON + timedelta(1)),
        ({"Status": "FAILED", "LastUpdated": NOON}, NOON, NOON),
        ({"Status": "FAILED"}, NOON, None),
        ({"EndTime": NOON, "LastUpdated": NOON}, NOON, None),
        ({"CreationTime": None, "StartTime": NOON}, NOON, None),
        ({"CreationTime": None}, None, None),
        ({"CreationTime": "2026-01-01"}, None, None),
        ({"CreationTime": datetime(2026, 1, 1, 12)}, NOON, None),  # noqa: DTZ001 - naive is the point
        ({"CreationTime": datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))}, NOON, None),
        ({"CreationTime": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, None, None),
    ],
)
def test_times_of_a_run(fields: dict[str, Any], created_at: datetime | None, ended_at: datetime | None) -> None:
    """Aware UTC, naive ones being UTC; an end only for what ended; an unset time is none."""
    found = report(**fields)
    assert (found.created_at, found.ended_at) == (created_at, ended_at)
    assert all(time.tzinfo is UTC for time in (found.created_at, found.ended_at) if time)


def test_every_member_is_optional() -> None:
    """The model requires none."""
    assert glue.start_answer({}) == Started()
    assert glue.start_answer({"MaterializedViewRefreshTaskRunId": "not a uuid"}) == Started()
    assert glue.get_answer({}) == Report("", Phase.UNKNOWN, "")
    assert glue.get_answer({"MaterializedViewRefreshTaskRun": {}}) == Report("", Phase.UNKNOWN, "")
    assert glue.list_answer({}, VIEW, SINCE) == Page(())


def listing(*runs: dict[str, Any], token: str | None = None, since: datetime = SINCE) -> Page[glue.Parameters]:
    """A page of these runs."""
    answer = {"MaterializedViewRefreshTaskRuns": list(runs), **({"NextToken": token} if token else {})}
    return glue.list_answer(answer, VIEW, since)


def test_a_list_has_only_runs_of_the_view() -> None:
    """Glue keeps names in lower case; a run that names no table is taken for what was asked."""
    upper = run(DatabaseName="SALES", TableName="Daily_Revenue")
    runs = (upper, run(TableName=None), run(DatabaseName=None), run(TableName="other"), run(DatabaseName="other"))
    assert len(listing(*runs).reports) == 3
    answer = {"MaterializedViewRefreshTaskRuns": [run()]}
    assert len(glue.list_answer(answer, GlueView("123456789012", "Sales", "DAILY_revenue"), SINCE).reports) == 1


def test_a_list_has_what_may_run_and_what_is_recent() -> None:
    """Long-ended runs are left out; active and unknown ones never, nor those that ended since."""
    old, older = NOON - timedelta(days=1), NOON - timedelta(days=2)
    wanted = [
        run(CreationTime=older),
        run(CreationTime=older, Status="STOPPING"),
        run(CreationTime=older, Status="SUCCEEDED", EndTime=NOON),
        run(CreationTime=NOON, Status="SUCCEEDED", EndTime=NOON),
        run(CreationTime=None, Status="SUCCEEDED"),
    ]
    unwanted = [run(CreationTime=older, Status="FAILED", EndTime=old), run(CreationTime=older, Status="FAILED")]
    assert len(listing(*wanted, *unwanted, since=NOON).reports) == len(wanted)


def test_the_next_page_is_asked_for_with_the_token() -> None:
    """Whatever the page holds: it says when its runs were created, and who gathers the pages judges by that."""
    old = NOON - timedelta(days=1)
    following = {
        "CatalogId": "123456789012",
        "DatabaseName": "sales",
        "TableName": "daily_revenue",
        "MaxResults": 1000,
        "NextToken": "t",
    }
    runs = (run(CreationTime=NOON), run(CreationTime=old, Status="FAILED"), run(CreationTime=None))
    assert listing(*runs, since=NOON).following is None
    found = listing(*runs, run(TableName="other"), token="t", since=NOON)
    assert (found.following, found.created) == (following, (NOON, old, None))
    assert listing(token="t").following == following
    assert not ParamValidator().validate(following, MODEL.operation_model(LIST).input_shape).has_errors()


# --- Errors ----------------------------------------------------------------------------------------------------------


def error(code: str, status: int | None = 400, **more: Any) -> dict[str, Any]:
    """What botocore's `ClientError.response` holds."""
    metadata = {"RequestId": "r-1", "HTTPHeaders": {}, "RetryAttempts": 0}
    if status is not None:
        metadata["HTTPStatusCode"] = status
    return {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": metadata, **more}


def facts(found: Failure | None) -> tuple[Fault, Delivery, bool, FailureKind]:
    """The facts without the words."""
    assert found is not None
    return found.fault, found.delivery, found.retry_safe, found.kind


PERMANENT = (Fault.CALLER, Delivery.REJECTED, False, FailureKind.OTHER)
TRANSIENT = (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.OTHER)
RENEWABLE = (Fault.CALLER, Delivery.REJECTED, True, FailureKind.OTHER)
THROTTLED = (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.THROTTLED)
UNKNOWN = (Fault.PLATFORM, Delivery.UNKNOWN, False, FailureKind.OTHER)
ASK_AGAIN = (Fault.PLATFORM, Delivery.UNKNOWN, True, FailureKind.OTHER)


@pytest.mark.parametrize(
    ("operation", "code", "status", "expected"),
    [
        (Operation.START, "AccessDeniedException", 400, PERMANENT),
        (Operation.GET, "AccessDeniedException", 400, PERMANENT),
        (Operation.START, "EntityNotFoundException", 400, PERMANENT),
        (Operation.LIST, "EntityNotFoundException", 400, PERMANENT),
        (Operation.GET, "EntityNotFoundException", 400, (Fault.CALLER, Delivery.REJECTED, True, FailureKind.NOT_FOUND)),
        (Operation.START, "InvalidInputException", 400, PERMANENT),
        (
            Operation.START,
            "MaterializedViewRefreshTaskRunningException",
            400,
            (Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.ALREADY_RUNNING),
        ),
        (Operation.START, "OperationTimeoutException", 400, UNKNOWN),
        (Operation.GET, "OperationTimeoutException", 400, ASK_AGAIN),
        (Operation.CANCEL, "OperationTimeoutException", 400, ASK_AGAIN),
        (Operation.START, "ResourceNumberLimitExceededException", 400, THROTTLED),
        (Operation.START, "ThrottlingException", 400, THROTTLED),
        (Operation.LIST, "TooManyRequestsException", 429, THROTTLED),
        (Operation.START, "SlowDown", 503, THROTTLED),
        (Operation.START, "ExpiredTokenException", 400, RENEWABLE),
        (Operation.START, "UnrecognizedClientException", 400, PERMANENT),
        (Operation.START, "InternalServiceException", 500, UNKNOWN),
        (Operation.GET, "InternalServiceException", 500, ASK_AGAIN),
        (Operation.START, "ServiceUnavailableException", 503, UNKNOWN),
        (Operation.START, "UnheardOf", 400, PERMANENT),
        (Operation.START, "UnheardOf", 429, THROTTLED),
        (Operation.START, "UnheardOf", 500, UNKNOWN),
        (Operation.START, "", 502, UNKNOWN),
        (Operation.START, "", None, UNKNOWN),
        (Operation.LIST, "", 404, PERMANENT),
        (
            Operation.CANCEL,
            "MaterializedViewRefreshTaskNotRunningException",
            400,
            (Fault.CALLER, Delivery.REJECTED, False, FailureKind.OVER),
        ),
    ],
)
def test_what_an_error_says(operation: Operation, code: str, status: int | None, expected: tuple[Any, ...]) -> None:
    """Whose fault it is, whether it took effect, whether it may be tried again, what it means."""
    assert facts(glue.failure(operation, error(code, status))) == expected


def test_an_uncertain_start_is_not_permanent() -> None:
    """A start whose outcome is unknown blocks nothing: it is looked up."""
    assert not glue.failure(Operation.START, error("OperationTimeoutException")).permanent
    assert glue.failure(Operation.START, error("InvalidInputException")).permanent


def test_every_documented_error_has_a_row() -> None:
    """Walks botocore's model of the four operations."""
    codes = {shape.name for name in OPERATIONS for shape in MODEL.operation_model(name).error_shapes}
    assert len(codes) >= 8
    assert codes <= set(glue.ERRORS)


def test_every_throttling_code_of_botocore_is_throttling() -> None:
    """What the SDK would wait for and send again, we wait for."""
    for code in standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES:
        assert glue.failure(Operation.START, error(code)).kind is FailureKind.THROTTLED, code


def test_an_error_keeps_what_its_reader_needs() -> None:
    """The vendor's code and words, the federated source, the id of the request, when to try again."""
    found = glue.failure(Operation.START, error("InvalidInputException", FromFederationSource=True))
    assert str(found) == "InvalidInputException: because (says the federated source) (request r-1)"
    plain = glue.failure(Operation.START, error("InvalidInputException", FromFederationSource=False))
    assert plain.message == "because"
    throttled = error("ThrottlingException")
    assert glue.failure(Operation.START, throttled).retry_after is None
    throttled["ResponseMetadata"]["HTTPHeaders"] = {"retry-after": "7", "x-amzn-requestid": "r-2"}
    del throttled["ResponseMetadata"]["RequestId"]
    found = glue.failure(Operation.START, throttled)
    assert (found.retry_after, found.request_id) == (timedelta(seconds=7), "r-2")
    limit = glue.failure(Operation.START, error("ResourceNumberLimitExceededException"))
    assert limit.retry_after == glue.CONCURRENCY_WAIT
    assert glue.failure(Operation.START, {}).code == "HTTP None"
    assert glue.failure(Operation.START, {"Error": {"Code": "X"}, "Message": "at the top"}).message == "at the top"


def test_a_run_that_is_being_stopped_will_end() -> None:
    """A stop is accepted where the run is being stopped already; anything else is what it says."""
    assert glue.stop_answer() is None
    assert glue.stop_answer(error("MaterializedViewRefreshTaskStoppingException")) is None
    assert facts(glue.stop_answer(error("MaterializedViewRefreshTaskNotRunningException")))[3] is FailureKind.OVER
    assert facts(glue.stop_answer(error("AccessDeniedException"))) == PERMANENT


def test_what_kind_of_platform_it_is() -> None:
    """Rules 6 and 9 rest on these: anyone's run reads the same sources, and an overlapping start is refused."""
    assert (glue.CAPABILITIES.foreign_covers, glue.CAPABILITIES.skips) == (True, False)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MEMBERS = st.dictionaries(
    st.sampled_from(sorted(MODEL.shape_for("MaterializedViewRefreshTaskRun").members)), ANYTHING, max_size=6
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "MaterializedViewRefreshTaskRun": MEMBERS | ANYTHING,
            "MaterializedViewRefreshTaskRuns": st.lists(MEMBERS | ANYTHING) | st.none(),
            "NextToken": ANYTHING,
            "MaterializedViewRefreshTaskRunId": ANYTHING,
            "Error": st.dictionaries(st.sampled_from(["Code", "Message"]), ANYTHING) | ANYTHING,
            "ResponseMetadata": st.dictionaries(st.sampled_from(["HTTPStatusCode", "HTTPHeaders"]), ANYTHING),
        },
    )
)
def test_no_answer_raises(answer: dict[str, Any]) -> None:
    """Whatever a service or an emulator puts into an answer, it reads, and can be stored."""
    for read in ANSWERS.values():
        assert json.dumps(told(read(answer)))
    for operation in Operation:
        assert json.dumps(told(glue.failure(operation, answer)))
