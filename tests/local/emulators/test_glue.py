"""The Glue emulator against botocore's model of Glue, its reference documents, and the clock it is given."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from moto import mock_aws
from moto.glue.responses import GlueResponse
from moto.server import ThreadedMotoServer

from local.emulators.faults import (
    ClockApart,
    FailRun,
    Fault,
    FaultScript,
    LoseResponse,
    NeverEnd,
    Refuse,
    ServerError,
    Slow,
    Throttle,
)
from local.emulators.glue.emulator import FAULTS_OF, FOREIGN_ACCESS_KEY, GlueEmulator, GlueSettings, resource_name
from local.emulators.glue.model import Call, GlueError
from local.emulators.glue.wire import COMMON_ERRORS, GET, LIST, START, STOP, GlueEvent
from local.emulators.journal import Arrival, Journal, PlatformRun, count_overlaps, lost

BEGIN = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUCKET_CATALOG = f"{ACCOUNT}:s3tablescatalog/lake"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/definer"
DEFINITION = {"Definer": ROLE, "SubObjects": [f"arn:aws:glue:{REGION}:{ACCOUNT}:table/sales/orders"]}
DAILY = {"CatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "daily"}
HOURLY = DAILY | {"TableName": "hourly"}
DAILY_NAME = resource_name(ACCOUNT, "sales", "daily")
RUNNING = "MaterializedViewRefreshTaskRunningException"
NO_ID = "00000000-0000-4000-8000-000000000000"

SETTINGS = GlueSettings(
    starting=timedelta(seconds=2), run_time=timedelta(seconds=60), stopping=timedelta(seconds=5), processed_bytes=7
)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@cache
def session() -> Any:
    """One for all clients: it reads Glue's model only once."""
    return boto3.session.Session()


@cache
def make_client(
    endpoint: str | None = None,
    access_key: str = "UNSTALELOCALPRODUCT1",
    region: str = REGION,
    read_timeout: float = 20,
) -> Any:
    """An ordinary client without retries, whose every answer is held against botocore's model."""
    client = session().client(
        "glue",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key="x",
        config=Config(
            retries={"total_max_attempts": 1},
            read_timeout=read_timeout,
            ignore_configured_endpoint_urls=True,  # a client is kept, and the module before may have its own AWS still
        ),
    )
    client.meta.events.register("before-parse.glue.*", check_answer)
    return client


def check_answer(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
    """Refuse an answer, on the wire, with a member, a type, a value or an error that the model does not have."""
    assert response_dict["headers"]["Content-Type"] == "application/x-amz-json-1.1"
    if operation_model.name not in FAULTS_OF:
        return
    body = json.loads(response_dict["body"])
    if response_dict["status_code"] < 300:
        assert deviations(body, operation_model.output_shape) == []
        return
    shapes = {shape.name: shape for shape in operation_model.error_shapes}
    code = body.pop("__type")
    if code in shapes:
        assert response_dict["status_code"] == 400
        assert deviations(body, shapes[code]) == []
        assert body.keys() == shapes[code].members.keys()
    else:
        assert code in COMMON_ERRORS
        assert body.keys() == {"message"}


PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "double": (int, float),
    "timestamp": (int, float),
}


def deviations(value: Any, shape: Any, path: str = "answer") -> list[str]:
    """Where JSON differs from a shape of botocore's: names, types, enumerations, patterns and limits."""
    if shape.type_name == "structure":
        found = [f"{path}.{name} is not in the model" for name in value if name not in shape.members]
        known = [(name, member) for name, member in value.items() if name in shape.members]
        return found + [d for name, member in known for d in deviations(member, shape.members[name], f"{path}.{name}")]
    if shape.type_name == "list":
        return [d for member in value for d in deviations(member, shape.member, f"{path}[]")]
    if not isinstance(value, PYTHON_TYPES[shape.type_name]):
        return [f"{path} is a {type(value).__name__}, not a {shape.type_name}"]
    return [f"{path} is {value!r}" for fits in limits(value, shape) if not fits]


def limits(value: Any, shape: Any) -> Iterator[bool]:
    """Whether a scalar keeps each of its shape's limits."""
    if shape.type_name == "timestamp":
        return
    if pattern := shape.metadata.get("pattern"):
        yield re.fullmatch(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"), value) is not None
    size = len(value) if isinstance(value, str) else value
    yield shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size)
    yield value in shape.metadata.get("enum", [value])


@pytest.fixture
def clock() -> Clock:
    """A clock at six in the morning."""
    return Clock()


@pytest.fixture
def slept() -> list[float]:
    """How long the emulator would have slept."""
    return []


@pytest.fixture
def told() -> list[GlueEvent]:
    """The events that the emulator emitted."""
    return []


@pytest.fixture
def emulator(clock: Clock, slept: list[float], told: list[GlueEvent]) -> Iterator[GlueEmulator]:
    """The emulator in an empty moto, in process."""
    with (
        mock_aws(),
        GlueEmulator(clock=clock, settings=SETTINGS, emit=told.append, sleep=slept.append) as emulator,
    ):
        yield emulator


@pytest.fixture
def glue(emulator: GlueEmulator) -> Any:
    """A client, with two views in the account's catalog and one of the same name in a table bucket's."""
    client = make_client()
    furnish(client)
    return client


def furnish(client: Any) -> None:
    """Put views into the catalogs."""
    for catalog in (ACCOUNT, BUCKET_CATALOG):
        client.create_database(CatalogId=catalog, DatabaseInput={"Name": "sales"})
    for view in (DAILY, HOURLY, DAILY | {"CatalogId": BUCKET_CATALOG}):
        create_table(client, view, ViewDefinition=DEFINITION)


def create_table(client: Any, names: dict[str, str], **rest: Any) -> None:
    """Put a table into a catalog."""
    table = {"Name": names["TableName"], **rest}
    client.create_table(CatalogId=names["CatalogId"], DatabaseName=names["DatabaseName"], TableInput=table)


def start(client: Any, view: dict[str, str] = DAILY, **rest: Any) -> str:
    """Start a run and return its id."""
    run_id: str = client.start_materialized_view_refresh_task_run(**view, **rest)["MaterializedViewRefreshTaskRunId"]
    return run_id


def get(client: Any, run_id: str, catalog: str = ACCOUNT) -> dict[str, Any]:
    """Ask for a run."""
    answer = client.get_materialized_view_refresh_task_run(CatalogId=catalog, MaterializedViewRefreshTaskRunId=run_id)
    run: dict[str, Any] = answer["MaterializedViewRefreshTaskRun"]
    return run


def listed(client: Any, catalog: str = ACCOUNT, page_size: int | None = None, **names: str) -> list[str]:
    """The ids of the runs that the paginator finds."""
    paginator = client.get_paginator("list_materialized_view_refresh_task_runs")
    pages = paginator.paginate(CatalogId=catalog, PaginationConfig={"PageSize": page_size}, **names)
    return [
        run["MaterializedViewRefreshTaskRunId"] for page in pages for run in page["MaterializedViewRefreshTaskRuns"]
    ]


def stop(client: Any, view: dict[str, str] = DAILY) -> None:
    """Stop what runs for a view."""
    client.stop_materialized_view_refresh_task_run(**view)


def code_of(action: Callable[[], object]) -> str:
    """The code of the error that a call gives."""
    with pytest.raises(ClientError) as caught:
        action()
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_a_run_goes_from_starting_over_running_to_its_end_by_the_clock(glue: Any, clock: Clock) -> None:
    """A run is STARTING, RUNNING and SUCCEEDED as the clock says, and tells what has happened by then, no more."""
    run_id = start(glue)
    assert get(glue, run_id) == {
        "CustomerId": ACCOUNT,
        "MaterializedViewRefreshTaskRunId": run_id,
        **DAILY,
        "Role": ROLE,
        "Status": "STARTING",
        "CreationTime": BEGIN,
        "LastUpdated": BEGIN,
    }
    clock.forward(2)
    began = get(glue, run_id)
    assert began["Status"] == "RUNNING"
    assert began["StartTime"] == began["LastUpdated"] == BEGIN + timedelta(seconds=2)
    assert began["RefreshType"] == "INCREMENTAL"
    clock.forward(57.999)
    assert get(glue, run_id) == began
    clock.forward(0.001)
    end = BEGIN + timedelta(seconds=60)
    ended = {"Status": "SUCCEEDED", "EndTime": end, "LastUpdated": end, "DPUSeconds": 4 * 58.0, "ProcessedBytes": 7}
    assert get(glue, run_id) == began | ended


def test_times_are_told_in_milliseconds(glue: Any, clock: Clock) -> None:
    """A creation within a second is told as such: who compares it with a claim must not find it a second early."""
    clock.forward(0.1239)
    assert get(glue, start(glue))["CreationTime"] == BEGIN + timedelta(milliseconds=123)


def test_a_full_refresh_is_told_as_full(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """FullRefresh makes a run of type FULL, on the wire and in the journal."""
    run_id = start(glue, FullRefresh=True)
    clock.forward(2)
    assert get(glue, run_id)["RefreshType"] == "FULL"
    assert [run.full for run in emulator.journal().entries()] == [True]


def test_a_view_may_take_its_own_time(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """The run time of one view can be set apart from the others'."""
    emulator.set_run_time(DAILY_NAME, timedelta(seconds=10))
    quick, usual = start(glue), start(glue, HOURLY)
    clock.forward(10)
    assert [get(glue, run_id)["Status"] for run_id in (quick, usual)] == ["SUCCEEDED", "RUNNING"]


def test_a_second_start_is_refused_while_one_runs(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """One run per view at a time, from its first moment up to its end; a refusal makes no run and is in the journal."""
    start(glue)
    assert code_of(lambda: start(glue)) == RUNNING
    clock.forward(59.999)
    assert code_of(lambda: start(glue)) == RUNNING
    clock.forward(0.001)
    start(glue)
    journal = emulator.journal()
    ends = [(run.outcome, run.ended_at) for run in journal.entries()]
    assert ends == [("succeeded", BEGIN + timedelta(seconds=60)), ("running", None)]
    refused = [(refusal.resource, refusal.at - BEGIN, refusal.code) for refusal in journal.refused_starts()]
    assert refused == [(DAILY_NAME, timedelta(0), RUNNING), (DAILY_NAME, timedelta(seconds=59.999), RUNNING)]


def test_other_views_are_not_held_up(glue: Any) -> None:
    """A run of one view blocks neither its neighbour nor the view of the same name in another catalog."""
    start(glue)
    start(glue, HOURLY)
    start(glue, DAILY | {"CatalogId": BUCKET_CATALOG})


def test_catalogs_are_kept_apart(glue: Any) -> None:
    """Databases, tables and runs belong to the catalog that was named; none named is the account's own."""
    create_table(glue, DAILY | {"CatalogId": BUCKET_CATALOG, "TableName": "orders"})
    assert tables(glue, CatalogId=BUCKET_CATALOG) == {"daily": BUCKET_CATALOG, "orders": BUCKET_CATALOG}
    assert tables(glue) == tables(glue, CatalogId=ACCOUNT) == {"daily": ACCOUNT, "hourly": ACCOUNT}
    run_id = start(glue, DAILY | {"CatalogId": BUCKET_CATALOG})
    assert get(glue, run_id, BUCKET_CATALOG)["CatalogId"] == BUCKET_CATALOG
    assert code_of(lambda: get(glue, run_id)) == "EntityNotFoundException"
    assert listed(glue, BUCKET_CATALOG) == [run_id]
    assert listed(glue) == []
    assert code_of(lambda: stop(glue)) == "MaterializedViewRefreshTaskNotRunningException"
    assert code_of(lambda: start(glue, HOURLY | {"CatalogId": BUCKET_CATALOG})) == "EntityNotFoundException"


def tables(client: Any, **catalog: str) -> dict[str, str]:
    """The tables of a catalog's database, and the catalog that each says to be in."""
    return {
        table["Name"]: table["CatalogId"] for table in client.get_tables(DatabaseName="sales", **catalog)["TableList"]
    }


@pytest.mark.parametrize("other", [{"account": "111122223333"}, {"region": "us-east-1"}])
def test_accounts_and_regions_are_kept_apart(glue: Any, emulator: GlueEmulator, other: dict[str, Any]) -> None:
    """Nobody sees runs of another account or Region."""
    which = {"CatalogId": ACCOUNT, "MaterializedViewRefreshTaskRunId": start(glue)}
    here = Call(LIST, {"CatalogId": ACCOUNT}, ACCOUNT, REGION, "x")
    assert len(emulator.answer(here)["MaterializedViewRefreshTaskRuns"]) == 1
    there = replace(here, **other)
    assert emulator.answer(there) == {"MaterializedViewRefreshTaskRuns": []}
    with pytest.raises(GlueError, match="EntityNotFoundException"):
        emulator.answer(replace(there, operation=GET, parameters=which))


def test_a_limit_is_of_one_region(glue: Any, emulator: GlueEmulator) -> None:
    """Runs of another Region do not count against the limit, nor block the view of the same name."""
    emulator.settings = replace(SETTINGS, concurrent_runs=1)
    abroad = make_client(region="us-east-1")
    furnish(abroad)
    start(glue)
    start(abroad)


def test_names_are_folded_to_lower_case(glue: Any, emulator: GlueEmulator) -> None:
    """Databases and tables are stored in lower case and found in any: by the catalog, by starts, by lists and stops."""
    glue.create_database(DatabaseInput={"Name": "Finance"})
    view = {"CatalogId": ACCOUNT, "DatabaseName": "FINANCE", "TableName": "MonthEnd"}
    create_table(glue, view, ViewDefinition=DEFINITION)
    assert glue.get_database(Name="FinancE")["Database"]["Name"] == "finance"
    assert glue.get_table(DatabaseName="Finance", Name="MONTHEND")["Table"]["Name"] == "monthend"
    run_id = start(glue, view)
    assert get(glue, run_id)["TableName"] == "monthend"
    lower = view | {"DatabaseName": "finance", "TableName": "monthend"}
    for named in (view, lower):
        assert listed(glue, DatabaseName=named["DatabaseName"], TableName=named["TableName"]) == [run_id]
    assert code_of(lambda: start(glue, lower)) == RUNNING
    assert emulator.journal().entries()[0].resource == resource_name(ACCOUNT, "finance", "monthend")
    stop(glue, view)


def test_only_materialized_views_can_be_refreshed(glue: Any) -> None:
    """No such database, no such table, a plain table, a plain view: EntityNotFoundException, of no federated source."""
    create_table(glue, DAILY | {"TableName": "orders"})
    create_table(glue, DAILY | {"TableName": "plain"}, ViewDefinition=DEFINITION, TableType="VIRTUAL_VIEW")
    absent = [DAILY | {"DatabaseName": "none"}, *(DAILY | {"TableName": name} for name in ("none", "orders", "plain"))]
    for names in absent:
        with pytest.raises(glue.exceptions.EntityNotFoundException) as caught:
            start(glue, names)
        assert caught.value.response["FromFederationSource"] is False
    marks = {t["Name"]: t["IsMaterializedView"] for t in glue.get_tables(DatabaseName="sales")["TableList"]}
    assert marks == {"daily": True, "hourly": True, "orders": False, "plain": False}
    assert glue.get_table(DatabaseName="sales", Name="daily")["Table"]["IsMaterializedView"] is True


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "a\x00b", "a\x7f\ud7ff\u0008"])
@pytest.mark.parametrize("parameter", ["CatalogId", "DatabaseName", "TableName"])
def test_names_outside_the_pattern_or_the_length_are_refused(glue: Any, parameter: str, name: str) -> None:
    """What the reference document does not allow is InvalidInputException, by start, list and stop alike."""
    named = DAILY | {parameter: name}
    assert code_of(lambda: start(glue, named)) == "InvalidInputException"
    assert code_of(lambda: glue.list_materialized_view_refresh_task_runs(**named)) == "InvalidInputException"
    assert code_of(lambda: stop(glue, named)) == "InvalidInputException"


@pytest.mark.parametrize("name", ["x" * 255, "a\tb", " ", "täglich", "\U0001f4c8"])
def test_names_inside_the_pattern_and_the_length_are_taken(glue: Any, name: str) -> None:
    """What the reference document allows goes through, characters beyond the first 65,536 included."""
    create_table(glue, DAILY | {"TableName": name}, ViewDefinition=DEFINITION)
    start(glue, DAILY | {"TableName": name})


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        (START, DAILY | {"ClientRequestToken": "x"}),
        (START, DAILY | {"FullRefresh": "true"}),
        (START, {"CatalogId": ACCOUNT, "TableName": "daily"}),
        (START, DAILY | {"DatabaseName": ""}),
        (GET, {"CatalogId": ACCOUNT, "MaterializedViewRefreshTaskRunId": "no-uuid"}),
        (GET, {"CatalogId": ACCOUNT}),
        (LIST, {"CatalogId": ACCOUNT, "MaxResults": 1001}),
        (LIST, {"CatalogId": ACCOUNT, "MaxResults": 0}),
        (LIST, {"CatalogId": ACCOUNT, "MaxResults": True}),
        (LIST, {"CatalogId": ACCOUNT, "NextToken": "x"}),
        (LIST, {}),
        (STOP, {"CatalogId": ACCOUNT}),
    ],
)
def test_a_request_that_no_client_of_aws_would_send_is_refused(
    glue: Any, emulator: GlueEmulator, operation: str, parameters: dict[str, Any]
) -> None:
    """The service looks for itself: unknown, missing and mistyped members are InvalidInputException."""
    with pytest.raises(GlueError, match="InvalidInputException"):
        emulator.answer(Call(operation, parameters, ACCOUNT, REGION, "x"))
    assert emulator.journal().entries() == ()


def test_an_unknown_run_is_not_found(glue: Any) -> None:
    """Get of an id that was never given out, or by another name, is EntityNotFoundException."""
    start(glue)
    assert code_of(lambda: get(glue, NO_ID)) == "EntityNotFoundException"


def test_an_account_runs_so_many_at_once(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """Beyond the account's limit a start is ResourceNumberLimitExceededException, until a run has ended."""
    emulator.settings = replace(SETTINGS, concurrent_runs=1)
    start(glue, DAILY | {"CatalogId": BUCKET_CATALOG})
    assert code_of(lambda: start(glue)) == "ResourceNumberLimitExceededException"
    clock.forward(60)
    start(glue)


def test_a_stop_takes_its_time_and_ends_as_stopped(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """A run that is being stopped still runs, cannot be stopped again, blocks a start, and ends as STOPPED."""
    run_id = start(glue)
    clock.forward(10)
    stop(glue)
    assert get(glue, run_id)["Status"] == "RUNNING"
    assert code_of(lambda: stop(glue)) == "MaterializedViewRefreshTaskStoppingException"
    assert code_of(lambda: start(glue)) == RUNNING
    clock.forward(5)
    stopped = get(glue, run_id)
    assert stopped["Status"] == "STOPPED"
    assert stopped["EndTime"] == BEGIN + timedelta(seconds=15)
    assert "ProcessedBytes" not in stopped
    assert code_of(lambda: stop(glue)) == "MaterializedViewRefreshTaskNotRunningException"
    assert [run.outcome for run in emulator.journal().entries()] == ["stopped"]
    start(glue)


def test_a_run_stopped_while_starting_never_began(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """A run that ends before it began tells no start, no kind of refresh, and no work."""
    emulator.settings = replace(SETTINGS, stopping=timedelta(0))
    run_id = start(glue)
    clock.forward(1)
    stop(glue)
    clock.forward(60)
    run = get(glue, run_id)
    assert (run["Status"], run["DPUSeconds"]) == ("STOPPED", 0)
    assert not {"StartTime", "RefreshType"} & run.keys()


def test_nothing_to_stop(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """A stop is refused where nothing runs: before the first run, after the last, for an unknown view."""
    not_running = "MaterializedViewRefreshTaskNotRunningException"
    assert code_of(lambda: stop(glue)) == not_running
    start(glue)
    clock.forward(60)
    assert code_of(lambda: stop(glue)) == not_running
    assert code_of(lambda: stop(glue, DAILY | {"TableName": "none"})) == not_running
    assert emulator.journal().refused_starts() == ()


def test_runs_are_listed_newest_first_page_by_page(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """The paginator finds every run once, newest first, whatever the page size; oldest first is a setting."""
    runs = started_one_after_another(glue, clock, 5)
    for page_size in (None, 1, 2, 5):
        assert listed(glue, page_size=page_size) == runs[::-1]
    emulator.settings = replace(SETTINGS, newest_first=False, page_size=2)
    assert listed(glue) == runs


def started_one_after_another(client: Any, clock: Clock, number: int) -> list[str]:
    """Start runs of one view, each after the end of the one before."""
    runs = []
    for _ in range(number):
        runs.append(start(client))
        clock.forward(60)
    return runs


def test_a_run_that_starts_between_two_pages_repeats_nothing(glue: Any, clock: Clock) -> None:
    """A page goes on after the last run of the page before, so that a new run neither doubles nor hides one."""
    runs = started_one_after_another(glue, clock, 4)
    first = glue.list_materialized_view_refresh_task_runs(CatalogId=ACCOUNT, MaxResults=2)
    start(glue)
    second = glue.list_materialized_view_refresh_task_runs(
        CatalogId=ACCOUNT, MaxResults=2, NextToken=first["NextToken"]
    )
    pages = [first, second]
    found = [r["MaterializedViewRefreshTaskRunId"] for page in pages for r in page["MaterializedViewRefreshTaskRuns"]]
    assert found == runs[::-1]
    assert "NextToken" not in second


def test_a_list_can_be_of_one_database_or_table(glue: Any) -> None:
    """Names narrow a list; a view that does not exist has no runs, which is no error of this operation."""
    daily, hourly = start(glue), start(glue, HOURLY)
    assert listed(glue, DatabaseName="sales") == [hourly, daily]
    assert listed(glue, DatabaseName="sales", TableName="daily") == [daily]
    assert listed(glue, DatabaseName="none") == []
    assert listed(glue, DatabaseName="sales", TableName="none") == []


def test_a_new_run_may_be_listed_late(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """With a listing delay a run can be asked for by its id at once, but is not listed before the delay is over."""
    emulator.settings = replace(SETTINGS, listing_delay=timedelta(seconds=5))
    run_id = start(glue)
    clock.forward(4.999)
    assert listed(glue) == []
    assert get(glue, run_id)["Status"] == "RUNNING"
    clock.forward(0.001)
    assert listed(glue) == [run_id]


def test_old_runs_are_forgotten(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """Of each view only so many runs are remembered; the journal has them all, with their ends."""
    emulator.settings = replace(SETTINGS, retained_runs=2)
    other = start(glue, HOURLY)
    runs = started_one_after_another(glue, clock, 4)
    assert listed(glue) == [*runs[:1:-1], other]
    assert code_of(lambda: get(glue, runs[0])) == "EntityNotFoundException"
    entries = [run for run in emulator.journal().entries() if run.resource == DAILY_NAME]
    assert [run.run_id for run in entries] == runs
    assert {run.outcome for run in entries} == {"succeeded"}


def test_a_throttled_start_starts_nothing(glue: Any, emulator: GlueEmulator) -> None:
    """ThrottlingException comes with Retry-After only if the script has it, and the next start goes through."""
    emulator.faults.add(Throttle(retry_after_seconds=7))
    emulator.faults.add(Throttle())
    answers = [refusal_of(lambda: start(glue)) for _ in range(2)]
    assert [answer["Error"]["Code"] for answer in answers] == ["ThrottlingException"] * 2
    headers = [answer["ResponseMetadata"]["HTTPHeaders"].get("retry-after") for answer in answers]
    assert headers == ["7", None]
    assert [refusal.code for refusal in emulator.journal().refused_starts()] == ["ThrottlingException"] * 2
    start(glue)


def refusal_of(action: Callable[[], object]) -> dict[str, Any]:
    """The whole answer of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        action()
    answer: dict[str, Any] = caught.value.response
    return answer


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (ServerError(500), "InternalFailure", 500),
        (ServerError(503), "ServiceUnavailable", 503),
        (Refuse("OperationTimeoutException"), "OperationTimeoutException", 400),
        (Refuse("ExpiredTokenException"), "ExpiredTokenException", 403),
    ],
)
def test_an_error_may_come_after_the_deed(
    glue: Any, emulator: GlueEmulator, *, fault: ServerError | Refuse, code: str, status: int, done: bool
) -> None:
    """An error answer says nothing about the run: with `done` there is one, without there is none."""
    emulator.faults.add(replace(fault, done=done))
    answer = refusal_of(lambda: start(glue))
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert len(emulator.journal().entries()) == len(listed(glue)) == int(done)
    assert [refusal.code for refusal in emulator.journal().refused_starts()] == ([] if done else [code])


def asked(client: Any) -> dict[str, Callable[[], object]]:
    """A call of each operation."""
    return {
        START: lambda: start(client),
        GET: lambda: get(client, NO_ID),
        LIST: lambda: listed(client),
        STOP: lambda: stop(client),
    }


@pytest.mark.parametrize("operation", FAULTS_OF)
def test_every_documented_error_can_be_had(glue: Any, emulator: GlueEmulator, operation: str) -> None:
    """Each error that botocore's model gives an operation arrives as the client's own exception, with all members."""
    documented = [shape.name for shape in glue.meta.service_model.operation_model(operation).error_shapes]
    assert {"AccessDeniedException", "InvalidInputException", "OperationTimeoutException"} <= {*documented}
    for code in documented:
        emulator.faults.add(Refuse(code), FAULTS_OF[operation])
        with pytest.raises(getattr(glue.exceptions, code)):
            asked(glue)[operation]()
    assert emulator.faults.unused_faults() == ()


def test_an_error_that_an_operation_does_not_have_is_a_mistake_of_the_script(glue: Any, emulator: GlueEmulator) -> None:
    """A script cannot make the emulator say what Glue never says."""
    emulator.faults.add(Refuse(RUNNING), "list")
    with pytest.raises(ValueError, match=RUNNING):
        listed(glue)


def test_a_lost_response_leaves_a_run(glue: Any, emulator: GlueEmulator) -> None:
    """The caller sees the connection closed, and the run is there to be found; a refusal can be lost as well."""
    emulator.faults.add(LoseResponse(), times=2)
    for _ in range(2):
        with pytest.raises(ConnectionClosedError):
            start(glue)
    assert len(listed(glue)) == 1
    assert [refusal.code for refusal in emulator.journal().refused_starts()] == [RUNNING]


def test_a_slow_answer_is_late_and_right(glue: Any, emulator: GlueEmulator, slept: list[float]) -> None:
    """The run begins before the answer is held up."""
    emulator.faults.add(Slow(3.5))
    start(glue)
    assert slept == [3.5]


def test_a_run_can_fail(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """A run that is scripted to fail runs its time and ends as FAILED with the message, cut to what the API has."""
    emulator.faults.add(FailRun("no access to the source" + "!" * 3000), "run")
    run_id = start(glue)
    clock.forward(59)
    assert get(glue, run_id)["Status"] == "RUNNING"
    clock.forward(1)
    run = get(glue, run_id)
    assert (run["Status"], len(run["ErrorMessage"])) == ("FAILED", 2048)
    assert run["ErrorMessage"].startswith("no access to the source!")
    assert "ProcessedBytes" not in run
    assert [run.outcome for run in emulator.journal().entries()] == ["failed"]


def test_a_run_can_go_on_for_ever(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """A run that never ends is RUNNING after a year, and can be stopped."""
    emulator.faults.add(NeverEnd(), "run")
    run_id = start(glue)
    clock.forward(365 * 86400)
    assert get(glue, run_id)["Status"] == "RUNNING"
    stop(glue)
    clock.forward(5)
    assert get(glue, run_id)["Status"] == "STOPPED"


def test_the_platforms_clock_can_be_apart(glue: Any, clock: Clock, emulator: GlueEmulator) -> None:
    """All times of a run are told by a clock that differs, while its life and the journal go by the true one."""
    emulator.faults.add(ClockApart(timedelta(seconds=-45)), "run")
    run_id = start(glue)
    clock.forward(60)
    run = get(glue, run_id)
    assert run["Status"] == "SUCCEEDED"
    apart = [run[name] - BEGIN for name in ("CreationTime", "StartTime", "EndTime", "LastUpdated")]
    assert [each.total_seconds() for each in apart] == [-45, -43, 15, 15]
    entry = emulator.journal().entries()[0]
    assert (entry.created_at, entry.read_at, entry.ended_at) == (BEGIN, BEGIN, BEGIN + timedelta(seconds=60))


def test_faults_wait_for_their_operation_and_view(glue: Any, emulator: GlueEmulator) -> None:
    """A fault bound to a view meets the calls about it, a get of one of its runs included, and no other call."""
    run_id = start(glue)
    for operation in FAULTS_OF.values():
        emulator.faults.add(Throttle(), operation, DAILY_NAME)
    start(glue, HOURLY)
    listed(glue)
    listed(glue, DatabaseName="sales", TableName="hourly")
    assert len(emulator.faults.unused_faults()) == 4
    calls = [lambda: start(glue), lambda: get(glue, run_id), lambda: stop(glue)]
    calls.append(lambda: listed(glue, DatabaseName="sales", TableName="daily"))
    assert [code_of(call) for call in calls] == ["ThrottlingException"] * 4


def test_a_start_by_someone_else_is_foreign(glue: Any, emulator: GlueEmulator) -> None:
    """The journal tells whose a run is by the key that signed its start; on the wire it looks like any other."""
    start(make_client(access_key=FOREIGN_ACCESS_KEY))
    ours = start(glue, HOURLY)
    journal = [(run.resource, run.foreign, run.token) for run in emulator.journal().entries()]
    assert journal[0] == (DAILY_NAME, True, FOREIGN_ACCESS_KEY)
    assert journal[1] == (resource_name(ACCOUNT, "sales", "hourly"), False, "UNSTALELOCALPRODUCT1")
    assert len(listed(glue)) == 2
    assert get(glue, ours).keys() == get(glue, listed(glue)[1]).keys()


def test_calls_are_kept(glue: Any, emulator: GlueEmulator) -> None:
    """Every request is recorded with its parameters, so that a test can count what was really sent."""
    start(glue)
    code_of(lambda: start(glue, FullRefresh=True))
    assert [(call.operation, dict(call.parameters)) for call in emulator.calls] == [
        (START, DAILY),
        (START, DAILY | {"FullRefresh": True}),
    ]


def test_events_are_emitted_when_they_are_due(
    glue: Any, clock: Clock, emulator: GlueEmulator, told: list[GlueEvent]
) -> None:
    """Each event is emitted once, at the first pump after its time; a success also changes the view's table."""
    start(glue)
    emulator.faults.add(FailRun("out of memory"), "run")
    start(glue, HOURLY)
    assert emulator.pump() == 0
    clock.forward(2)
    assert emulator.pump() == 2
    assert {event.time for event in told} == {BEGIN + timedelta(seconds=2)}
    clock.forward(3600)
    assert emulator.pump() == 3
    assert emulator.pump() == 0
    refresh = "Glue Materialized View Refresh Task"
    assert [event.detail_type for event in told[:2]] == [f"{refresh} Started"] * 2
    names = {"databaseName": "sales", "tableName": "daily"}
    ended = {event.detail_type: event.detail for event in told[2:]}
    assert ended == {
        f"{refresh} Succeeded": {"catalogId": ACCOUNT} | names,
        f"{refresh} Failed": {"catalogId": ACCOUNT} | names | {"tableName": "hourly", "errorMessage": "out of memory"},
        "Glue Data Catalog Table State Change": names | {"typeOfChange": "UpdateTable", "changedPartitions": []},
    }
    assert told[2].resources == (f"arn:aws:glue:{REGION}:{ACCOUNT}:table/sales/daily",)


def test_a_stop_has_no_event(glue: Any, clock: Clock, emulator: GlueEmulator, told: list[GlueEvent]) -> None:
    """Glue lists no event for a run that was stopped: who waits for one waits for ever."""
    start(glue)
    clock.forward(2)
    stop(glue)
    clock.forward(3600)
    emulator.pump()
    assert [event.detail_type for event in told] == ["Glue Materialized View Refresh Task Started"]


def test_an_update_of_a_table_is_told_at_once(glue: Any, told: list[GlueEvent]) -> None:
    """UpdateTable, which every Iceberg commit is, emits the catalog's event."""
    create_table(glue, DAILY | {"TableName": "orders"})
    glue.update_table(CatalogId=ACCOUNT, DatabaseName="sales", TableInput={"Name": "orders"})
    assert [(event.detail["tableName"], event.detail["typeOfChange"]) for event in told] == [("orders", "UpdateTable")]


def test_moto_is_left_as_it_was(clock: Clock) -> None:
    """Leaving puts everything back, whatever happened inside; two emulators at once are refused."""
    before = dict(vars(GlueResponse))
    with pytest.raises(KeyboardInterrupt), GlueEmulator(clock=clock):
        interrupted_inside()
    assert dict(vars(GlueResponse)) == before
    with GlueEmulator(clock=clock):
        pass


def interrupted_inside() -> None:
    """What happens while an emulator is entered: a second one is tried, and the user loses patience."""
    assert hasattr(GlueResponse, "start_materialized_view_refresh_task_run")
    with pytest.raises(RuntimeError, match="one per process"):
        GlueEmulator().__enter__()
    raise KeyboardInterrupt


@pytest.fixture
def served(clock: Clock) -> Iterator[tuple[GlueEmulator, str]]:
    """The emulator in moto's own server, with its address."""
    holding = threading.Event()
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    with mock_aws(), GlueEmulator(clock=clock, settings=SETTINGS, sleep=holding.wait) as emulator:
        server.start()
        try:
            yield emulator, "http://{}:{}".format(*server.get_host_and_port())
        finally:
            holding.set()
            server.stop()
            if server._server:
                server._server.server_close()  # moto leaves its socket open


def test_all_operations_go_over_http(served: tuple[GlueEmulator, str], clock: Clock) -> None:
    """The four operations, their errors and the paginator are the same over moto's server."""
    glue = make_client(served[1])
    furnish(glue)
    run_id = start(glue)
    assert code_of(lambda: start(glue)) == RUNNING
    clock.forward(60)
    assert get(glue, run_id)["Status"] == "SUCCEEDED"
    second = start(glue, FullRefresh=True)
    assert listed(glue, page_size=1) == [second, run_id]
    stop(glue)
    assert code_of(lambda: stop(glue)) == "MaterializedViewRefreshTaskStoppingException"


def test_a_lost_response_drops_the_connection(
    served: tuple[GlueEmulator, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP the connection is really dropped after the start was accepted, and the server does not complain."""
    emulator, address = served
    glue = make_client(address)
    furnish(glue)
    emulator.faults.add(LoseResponse())
    with pytest.raises(ConnectionClosedError):
        start(glue)
    assert len(listed(glue)) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_a_slow_answer_runs_into_the_clients_timeout(served: tuple[GlueEmulator, str]) -> None:
    """Over HTTP a client that does not wait long enough has a read time-out, and a run that it does not know."""
    emulator, address = served
    furnish(make_client(address))
    emulator.faults.add(Slow(seconds=60))
    with pytest.raises(ReadTimeoutError):
        start(make_client(address, read_timeout=0.2))
    assert [run.outcome for run in emulator.journal().entries()] == ["running"]


# From here on: the journal, its judges, and the script.


def moment(seconds: float) -> datetime:
    """A time of the tables below."""
    return BEGIN + timedelta(seconds=seconds)


def run_of(
    begin: float, end: float | None, outcome: str = "succeeded", resource: str = "v", **rest: Any
) -> PlatformRun:
    """A run of the tables below."""
    ended_at = None if end is None else moment(end)
    return PlatformRun(f"{resource}{begin}-{end}", resource, moment(begin), moment(begin), ended_at, outcome, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runs", "lost_at"),
    [
        ([], [0, 10]),
        ([run_of(10, 20)], []),
        ([run_of(9.999, 20)], [10]),
        ([run_of(0, 5)], [10]),
        ([run_of(-1, 5)], [0, 10]),
        ([run_of(10, None, "running")], [0, 10]),
        ([run_of(10, 20, "failed"), run_of(20, 21, "stopped"), run_of(21, 21, "skipped")], [0, 10]),
        ([run_of(10, 20, resource="w")], [0, 10]),
        ([run_of(15, 20, foreign=True), run_of(1, 2)], []),
        ([replace(run_of(20, 30), read_at=moment(5))], [10]),
    ],
)
def test_lost_is_what_no_successful_run_read(runs: list[PlatformRun], lost_at: list[float]) -> None:
    """An arrival is lost unless a run of its view that succeeded, whoever started it, read at or after its time."""
    arrivals = [Arrival("v", moment(0)), Arrival("v", moment(10))]
    assert lost(arrivals, runs) == [Arrival("v", moment(seconds)) for seconds in lost_at]


def test_what_becomes_visible_late_must_be_read_late() -> None:
    """With a lag, a run must have read when the data could be seen."""
    arrivals = [Arrival("v", moment(0))]
    assert lost(arrivals, [run_of(5, 9)], timedelta(seconds=5)) == []
    assert lost(arrivals, [run_of(5, 9)], timedelta(seconds=5.001)) == arrivals


@pytest.mark.parametrize(
    ("runs", "pairs"),
    [
        ([], 0),
        ([run_of(0, 10), run_of(10, 20)], 0),
        ([run_of(10, 20), run_of(0, 10)], 0),
        ([run_of(0, 10), run_of(9.999, 20)], 1),
        ([run_of(0, None, "running"), run_of(100, 110, "failed")], 1),
        ([run_of(0, 10), run_of(2, 3), run_of(1, 4)], 3),
        ([run_of(0, 10), run_of(2, 3), run_of(4, 5)], 2),
        ([run_of(0, 10), run_of(5, 15, resource="w")], 0),
        ([run_of(0, 10), run_of(5, 15, foreign=True)], 0),
        ([run_of(0, 10), run_of(5, 5, "skipped")], 0),
        ([run_of(5, 5, "stopped"), run_of(5, 10)], 0),
        ([run_of(5, 10), run_of(5, 5, "stopped")], 0),
    ],
)
def test_overlaps_are_pairs_of_our_runs_of_one_view(runs: list[PlatformRun], pairs: int) -> None:
    """Runs last up to, not including, their end; foreign ones and ones that never went on do not count."""
    assert count_overlaps(runs) == pairs


def test_a_journal_keeps_its_order_and_refuses_what_it_does_not_know() -> None:
    """A run is added once and replaced in its place."""
    journal = Journal()
    first, second = run_of(0, None, "running"), run_of(20, None, "running")
    journal.add(first)
    journal.add(second)
    ended = replace(first, ended_at=moment(10), outcome="succeeded")
    journal.replace(ended)
    assert journal.entries() == (ended, second)
    with pytest.raises(ValueError, match="already"):
        journal.add(first)
    with pytest.raises(KeyError):
        journal.replace(run_of(1, 2))


def test_faults_are_used_in_order_and_as_often_as_planned() -> None:
    """The first that fits is taken; one without a count never ends; what is left can be seen."""
    script = FaultScript()
    script.add(Throttle(), resource="v", times=2)
    script.add(ServerError(), times=None)
    taken: list[Fault | None] = [script.take("start", resource) for resource in ("v", "w", None, "v", "v")]
    assert taken == [Throttle(), ServerError(), ServerError(), Throttle(), ServerError()]
    assert script.take("get", "v") is None
    assert [planned.fault for planned in script.unused_faults()] == [ServerError()]


@pytest.mark.parametrize(("fault", "operation"), [(FailRun("x"), "start"), (Throttle(), "run")])
def test_a_fault_fits_its_operation(fault: Fault, operation: Any) -> None:
    """What happens to a run cannot happen to a call, nor the other way round."""
    with pytest.raises(ValueError, match=operation):
        FaultScript().add(fault, operation)


def test_a_fault_is_taken_by_one_caller_only() -> None:
    """Callers at the same time take no fault twice."""
    script = FaultScript()
    script.add(Throttle(), times=200)
    taken: list[Fault | None] = []
    threads = [threading.Thread(target=lambda: taken.extend(script.take("start") for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 400
    assert sum(fault is not None for fault in taken) == 200
