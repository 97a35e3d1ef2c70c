"""The Glue client: what it sends, once, and that every answer and exception comes back as facts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from functions_aws import settings
from functions_aws.clients import ONCE, Clients
from functions_aws.platform import Platform
from local.emulators.aws.emulator import LocalAws
from local.emulators.faults import LoseResponse, ServerError, Throttle
from local.emulators.glue.emulator import FAULTS_OF
from shared.platforms import glue
from shared.platforms.failures import Operation
from shared.redaction import Redactor
from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.refresh.ports import Phase, Report, Started
from shared.targets import GlueView, Target
from tests.support.aws_host import NOWHERE, clients_to_nowhere, living_in

VIEW = GlueView("123456789012:s3tablescatalog/bucket", "sales", "daily_revenue")
TARGET = Target("daily_revenue", VIEW)
PLAIN = Target("plain", GlueView("123456789012", "sales", "plain"))
NAMED = {"CatalogId": VIEW.catalog_id, "DatabaseName": "sales", "TableName": "daily_revenue"}
RUN_ID = "8e5a1b9c-3f41-4f6e-9d0a-0a1b2c3d4e5f"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

Call = Callable[[Platform], Any]
CALLS: dict[Operation, tuple[str, Call]] = {
    Operation.START: ("start_materialized_view_refresh_task_run", lambda glue: glue.start(TARGET, full=False)),
    Operation.GET: ("get_materialized_view_refresh_task_run", lambda glue: glue.get(TARGET, RUN_ID)),
    Operation.LIST: ("list_materialized_view_refresh_task_runs", lambda glue: glue.list(TARGET, NOON)),
    Operation.CANCEL: ("stop_materialized_view_refresh_task_run", lambda glue: glue.cancel(TARGET, RUN_ID)),
}


@pytest.fixture(name="nowhere", scope="module")
def unreachable() -> Clients:
    """Clients that reach nobody."""
    return clients_to_nowhere("glue")


@pytest.fixture(name="stub")
def stubbed_glue(nowhere: Clients) -> Iterator[Stubber]:
    """Glue as a list of expected calls; botocore's own model judges parameters and answers."""
    with Stubber(nowhere.glue) as stub:
        stub.platform = Platform(nowhere)
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture(name="aws", scope="module")
def emulated_aws() -> Iterator[LocalAws]:
    """An AWS with a view."""
    with living_in(LocalAws()) as aws:
        aws.create_view("sales", "plain", catalog="123456789012")
        yield aws


@pytest.fixture(name="platform", scope="module")
def platform_in_that_aws(aws: LocalAws) -> Platform:
    """The product's own client, in that AWS."""
    return Platform(Clients())


@pytest.mark.parametrize(("full", "sent"), [(False, {}), (True, {"FullRefresh": True})])
def test_a_start_names_the_view_and_answers_with_the_run(stub: Stubber, full: bool, sent: dict[str, Any]) -> None:
    """Catalog, database and table are always sent, a full refresh only when it is asked for."""
    answer = {"MaterializedViewRefreshTaskRunId": RUN_ID}
    stub.add_response("start_materialized_view_refresh_task_run", answer, NAMED | sent)
    assert stub.platform.start(TARGET, full=full) == Started(RUN_ID)


def test_a_run_is_asked_for_by_its_id(stub: Stubber) -> None:
    """The platform's times and words come back as it told them."""
    told = {
        "MaterializedViewRefreshTaskRunId": RUN_ID,
        "Status": "SUCCEEDED",
        "CreationTime": NOON,
        "EndTime": NOON + timedelta(minutes=2),
        "RefreshType": "FULL",
        "DPUSeconds": 480.0,
    }
    sent = {"CatalogId": VIEW.catalog_id, "MaterializedViewRefreshTaskRunId": RUN_ID}
    stub.add_response("get_materialized_view_refresh_task_run", {"MaterializedViewRefreshTaskRun": told}, sent)
    report = stub.platform.get(TARGET, RUN_ID)
    assert report == Report(
        RUN_ID,
        Phase.SUCCEEDED,
        "SUCCEEDED",
        created_at=NOON,
        ended_at=NOON + timedelta(minutes=2),
        full=True,
        dpu_seconds=480.0,
    )


def test_a_list_is_read_to_its_end(stub: Stubber) -> None:
    """Every page is asked for: no order is published, so the run that matters may be on the last."""
    method, first = "list_materialized_view_refresh_task_runs", NAMED | {"MaxResults": 1000}
    page = {"MaterializedViewRefreshTaskRuns": [], "NextToken": "more"}
    stub.add_response(method, page, first)
    told = [{"MaterializedViewRefreshTaskRunId": RUN_ID, "Status": "RUNNING", "CreationTime": NOON}]
    stub.add_response(method, {"MaterializedViewRefreshTaskRuns": told}, first | {"NextToken": "more"})
    assert [report.run_id for report in stub.platform.list(TARGET, NOON)] == [RUN_ID]


def test_half_a_list_is_no_list(stub: Stubber) -> None:
    """A page that cannot be had makes the whole list unknown: it must not be taken for "none"."""
    method = "list_materialized_view_refresh_task_runs"
    stub.add_response(method, {"MaterializedViewRefreshTaskRuns": [], "NextToken": "more"})
    stub.add_client_error(method, "InternalServiceException", "try later", 500)
    assert isinstance(stub.platform.list(TARGET, NOON), Failure)


def test_a_stop_names_the_view(stub: Stubber) -> None:
    """Glue stops by view. One that is being stopped already is as good as stopped; one that is over says so."""
    method = "stop_materialized_view_refresh_task_run"
    stub.add_response(method, {}, NAMED)
    assert stub.platform.cancel(TARGET, RUN_ID) is None
    stub.add_client_error(method, "MaterializedViewRefreshTaskStoppingException")
    assert stub.platform.cancel(TARGET, RUN_ID) is None
    stub.add_client_error(method, "MaterializedViewRefreshTaskNotRunningException")
    failure = stub.platform.cancel(TARGET, RUN_ID)
    assert (failure.kind, failure.delivery) == (FailureKind.OVER, Delivery.REJECTED)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("code", ["AccessDeniedException", "OperationTimeoutException", "ThrottlingException"])
def test_an_error_answer_is_what_the_table_says(stub: Stubber, operation: Operation, code: str) -> None:
    """The client adds nothing to what the core reads in an error, and loses nothing of it."""
    method, call = CALLS[operation]
    stub.add_client_error(method, code, "no", 400, response_meta={"RequestId": "r-1"})
    error = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "r-1"},
    }
    assert call(stub.platform) == glue.failure(operation, error)


@pytest.mark.parametrize("operation", CALLS)
def test_nobody_there_is_not_sent(nowhere: Clients, operation: Operation) -> None:
    """A connection that nobody accepts means that nothing was sent: it may be tried again."""
    failure = CALLS[operation][1](Platform(nowhere))
    assert (failure.delivery, failure.retry_safe) == (Delivery.NOT_SENT, True)


@pytest.mark.parametrize("operation", CALLS)
def test_a_region_that_is_not_named_is_told(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that cannot even be built is a fact like any other: somebody must mend it."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    failure = CALLS[operation][1](Platform(Clients()))
    assert (failure.code, failure.delivery, failure.permanent) == ("NoRegionError", Delivery.NOT_SENT, True)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("password", ["pa/ss-word", "pa#ss-word", "pa\\ss-word", "12/ss-word", "[ss"])
def test_the_password_of_a_proxy_is_in_no_trouble(
    operation: Operation, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """Nothing raises, whatever botocore lets through of urllib3's; and what is stored, answered and logged is clean."""
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://localhost:{password}@127.0.0.1:9")
    trouble = CALLS[operation][1](Platform(Clients(), Redactor(settings.secrets(os.environ))))
    assert isinstance(trouble, Failure)
    assert not any(part in str(trouble) for part in ("pa'", "ss-word", "[ss", "port=12"))


def test_what_the_api_would_refuse_is_not_sent(nowhere: Clients) -> None:
    """A name that its pattern does not allow never leaves; the client is not even asked."""
    wrong = Target("wrong", GlueView("123456789012", "sales", "a\nb"))
    platform = Platform(nowhere)
    with Stubber(nowhere.glue):
        answers: list[Any] = [
            platform.start(wrong, full=False),
            platform.get(TARGET, "not a run id"),
            platform.list(wrong, NOON),
            platform.cancel(wrong, RUN_ID),
        ]
    assert [(answer.code, answer.delivery) for answer in answers] == [("InvalidParameter", Delivery.NOT_SENT)] * 4


@pytest.mark.parametrize("fault", [LoseResponse(), ServerError(500), ServerError(503), Throttle()])
@pytest.mark.parametrize("operation", ["start", "list", "get", "cancel"])
def test_nothing_is_sent_twice(aws: LocalAws, platform: Platform, fault: Any, operation: Any) -> None:
    """The SDK's own retries are off, whatever goes wrong: a start that is sent again may be a second run (rule 4)."""
    calls: dict[str, Call] = {
        "start": lambda platform: platform.start(PLAIN, full=False),
        "get": lambda platform: platform.get(PLAIN, RUN_ID),
        "list": lambda platform: platform.list(PLAIN, NOON),
        "cancel": lambda platform: platform.cancel(PLAIN, RUN_ID),
    }
    aws.glue.calls.clear()
    aws.faults.add(fault, operation)
    failure = calls[operation](platform)
    assert isinstance(failure, Failure)
    assert [FAULTS_OF[call.operation] for call in aws.glue.calls] == [operation]
    assert (failure.delivery is Delivery.UNKNOWN) == (fault != Throttle())
    assert not aws.faults.unused_faults()


def test_each_call_has_a_connection_of_its_own(aws: LocalAws) -> None:
    """A connection kept over a freeze would make the outcome of the next start unknown."""
    clients = Clients()
    sent: list[str | None] = []
    clients.glue.meta.events.register_last(
        "before-send.glue", lambda request, **_: sent.append(request.headers.get("Connection"))
    )
    for _ in range(2):
        Platform(clients).list(PLAIN, NOON)
    assert sent == ["close", "close"]


def test_a_call_gives_up_in_time() -> None:
    """Connecting and reading together take no longer than the lease of a claim reckons with."""
    assert ONCE.connect_timeout + ONCE.read_timeout <= glue.CAPABILITIES.call_timeout.total_seconds()
