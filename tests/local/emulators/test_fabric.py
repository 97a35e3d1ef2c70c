"""The Fabric emulator, judged by Microsoft's own client package and by Microsoft's published specification.

Every test below runs in front of both: the client drives the calls and must understand each answer, and at the end of
each test everything that was said is held against the specification, if it is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from microsoft_fabric_api.client import FabricClient
from microsoft_fabric_api.generated.core.models import ItemJobInstance, Parameter, RunOnDemandItemJobRequest
from microsoft_fabric_api.generated.lakehouse.models import (
    RunOnDemandTableMaintenanceRequest,
    TableMaintenanceExecutionData,
)

from local.emulators.entra.tokens import EXCHANGE, FABRIC, Caller, Tokens
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import (
    LAKE_VIEWS,
    LONGEST_STALE_SECONDS,
    Instance,
    Item,
    Jobs,
    JobType,
    Timing,
    resource_name,
)
from local.emulators.fabric.wire import describe
from local.emulators.faults import (
    ClockApart,
    FailRun,
    FaultScript,
    LoseResponse,
    NeverEnd,
    Operation,
    Refuse,
    ServerError,
    Slow,
    Throttle,
)
from local.emulators.journal import PlatformRun, RefusedStart
from tests.support import swagger
from tests.support.golden_folders import GOLDEN
from tests.support.revocation import revoke

WORKSPACE = "4b218778-e7a5-4d73-8187-f10824047715"
TABLE_MAINTENANCE = "TableMaintenance"
LAKEHOUSE = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
NOTEBOOK = "090aeedc-1c66-4e70-bebe-01df1101fcf0"
NOBODY = "00000000-0000-4000-8000-00000000dead"
JOBS = f"/v1/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs"
DEFINITION = "5d1c6a3e-9f40-4c5e-9d0a-3b1b6f0e7c21"
US = Caller("0a4f1c2e-0000-4000-8000-00000000000a", "0a4f1c2e-0000-4000-8000-000000000001")
OTHERS = Caller(
    "0a4f1c2e-0000-4000-8000-00000000000b",
    "0a4f1c2e-0000-4000-8000-000000000002",
    "user",
    frozenset({"Item.Execute.All", "Item.Read.All"}),
)
HOUR = timedelta(hours=1)
ONLY_INFORM = {"home-cluster-uri", "request-redirected"}
"""Headers of the live service that say where it is; the emulator is nowhere."""
MOST_LISTED = 200  # so that a list without an end is a failure and not a wait
T0 = datetime(2026, 11, 23, 9, 30, 0, 123456, UTC)

ITEMS = (
    Item(WORKSPACE, LAKEHOUSE, "Lakehouse", (JobType(LAKE_VIEWS), JobType(TABLE_MAINTENANCE))),
    Item(WORKSPACE, NOTEBOOK, "Notebook", (JobType("RunNotebook", takes_parameters=True), JobType("Default/Job 1"))),
)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def turn(self, **by: float) -> None:
        """Turn it forward."""
        self.now += timedelta(**by)


class Credential:
    """A credential as azure-core wants it; its token never seems to end, so that the emulator is the one to judge."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Hand the token out, for Fabric only."""
        assert scopes == (f"{FABRIC}/.default",)
        return AccessToken(self.token, 4_102_444_800)


@pytest.fixture
def clock() -> Clock:
    """The clock of the emulator and of its tokens."""
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    """The tenant's tokens."""
    return Tokens(clock, "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935")


@pytest.fixture
def fabric(clock: Clock, tokens: Tokens) -> Iterator[FabricEmulator]:
    """An emulator with a lakehouse and a notebook; in the end it must have been asked for what the API has only."""
    with FabricEmulator(clock, tokens.validate, foreign_callers=[OTHERS.object_id]) as emulator:
        for item in ITEMS:
            emulator.add_item(item)
        yield emulator
        assert emulator.unplanned_requests == ()
        assert emulator.faults.unused_faults() == ()
        swagger.assert_as_published(emulator.exchanges)


class Client:
    """Microsoft's client, pointed at the emulator; `answers` are the raw ones, oldest first."""

    def __init__(self, fabric: FabricEmulator, token: str) -> None:
        base = fabric.url.removesuffix("v1")
        self._client = FabricClient(Credential(token), base, retry_total=0)
        self.answers: list[Any] = []
        # azure-core sends no bearer token over plain http, but where a call says that it may.
        self._options: dict[str, Any] = {"enforce_https": False, "raw_response_hook": self._keep}

    def _keep(self, response: Any) -> None:
        self.answers.append(response.http_response)

    def refresh(self, lakehouse: str = LAKEHOUSE, workspace: str = WORKSPACE) -> str:
        """Run On Demand Refresh Materialized Lake Views; returns the id in the Location."""
        jobs = self._client.lakehouse.background_jobs
        jobs.run_on_demand_refresh_materialized_lake_views(workspace, lakehouse, **self._options)
        return self._started()

    def maintain(self, table: str) -> str:
        """Run On Demand Table Maintenance."""
        data = TableMaintenanceExecutionData(table_name=table)
        body = RunOnDemandTableMaintenanceRequest(execution_data=data)
        jobs = self._client.lakehouse.background_jobs
        jobs.run_on_demand_table_maintenance(WORKSPACE, LAKEHOUSE, body, **self._options)
        return self._started()

    def run(self, item: str, job_type: str, body: RunOnDemandItemJobRequest | None = None) -> str:
        """Run On Demand Item Job."""
        self._client.core.job_scheduler.run_on_demand_item_job(WORKSPACE, item, job_type, body, **self._options)
        return self._started()

    def get(self, item: str, run_id: str) -> ItemJobInstance:
        """Get Item Job Instance."""
        return self._client.core.job_scheduler.get_item_job_instance(WORKSPACE, item, run_id, **self._options)

    def list(self, item: str) -> list[ItemJobInstance]:
        """List Item Job Instances, page after page."""
        pages = self._client.core.job_scheduler.list_item_job_instances(WORKSPACE, item, **self._options)
        return list(islice(pages, MOST_LISTED))

    def cancel(self, item: str, run_id: str) -> None:
        """Cancel Item Job Instance."""
        self._client.core.job_scheduler.cancel_item_job_instance(WORKSPACE, item, run_id, **self._options)

    def close(self) -> None:
        """Close the connections of both halves that are used here."""
        self._client.core._client.close()
        self._client.lakehouse._client.close()

    def _started(self) -> str:
        return urlsplit(self.answers[-1].headers["Location"]).path.rpartition("/")[2]


def _parameter(name: str, value: Any) -> Parameter:
    """A text parameter; the client's type says that values are objects, and its serializer takes any."""
    return Parameter(name=name, type="Text", value=value)


@contextmanager
def _client(fabric: FabricEmulator, token: str) -> Iterator[Client]:
    client = Client(fabric, token)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(fabric: FabricEmulator, tokens: Tokens) -> Iterator[Client]:
    """Microsoft's client with our good token."""
    with _client(fabric, tokens.issue(US, FABRIC, 24 * HOUR)) as ours:
        yield ours


@pytest.fixture
def http(tokens: Tokens) -> Iterator[requests.Session]:
    """A plain session with our good token, for the forms that Microsoft's client does not send."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {tokens.issue(US, FABRIC, 24 * HOUR)}"
        yield session


def _refused(call: Callable[[], object], error: type[HttpResponseError] = HttpResponseError) -> tuple[int, str]:
    """The HTTP status and the error code that a call ends with; azure-core reads the body only for some statuses."""
    with pytest.raises(error) as raised:
        call()
    response: Any = raised.value.response
    body = json.loads(response.text())
    assert response.headers["x-ms-public-api-error-code"] == body["errorCode"]
    assert response.headers["RequestId"] == body["requestId"]
    model = getattr(raised.value, "model", None)
    assert model is None or (model.error_code, model.message) == (body["errorCode"], body["message"])
    return response.status_code, body["errorCode"]


# --- The life of a run -----------------------------------------------------------------------------------------------


def test_lake_views_from_start_to_end(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A refresh is accepted with an empty body, waits, goes on and is completed, each as the clock says."""
    run_id = client.refresh()
    accepted = client.answers[-1]
    assert (accepted.status_code, accepted.body()) == (202, b"")
    assert accepted.headers["Content-Type"] == "application/octet-stream"
    assert accepted.headers["Retry-After"] == "60"
    assert (
        accepted.headers["Location"] == f"{fabric.url}/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs/instances/{run_id}"
    )
    seen = []
    for seconds in (0, 0.2, 2.9, 0.1):
        clock.turn(seconds=seconds)
        seen.append(client.get(LAKEHOUSE, run_id))
    assert [one.status for one in seen] == ["NotStarted", "InProgress", "InProgress", "Completed"]
    last = seen[-1]
    assert (last.id, last.item_id, last.job_type, last.invoke_type) == (run_id, LAKEHOUSE, LAKE_VIEWS, "Manual")
    assert {one.root_activity_id for one in seen} == {accepted.headers["RequestId"]}
    assert [one.end_time_utc is None for one in seen] == [True, True, True, False]
    assert last.failure_reason is None
    assert UUID(accepted.headers["RequestId"]) != UUID(client.answers[-1].headers["RequestId"])


def test_journal_of_a_run(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """The journal says when a run read its sources and when it ended, in true time, and who started it."""
    run_id = client.refresh()
    running = PlatformRun(
        run_id, resource_name(WORKSPACE, LAKEHOUSE, LAKE_VIEWS), T0, T0 + timedelta(seconds=0.2), token=US.object_id
    )
    assert fabric.journal().entries() == (running,)
    clock.turn(minutes=1)
    ended = replace(running, outcome="succeeded", ended_at=T0 + timedelta(seconds=3.2))
    assert fabric.journal().entries() == (ended,)


def test_item_job_with_data_and_parameters(fabric: FabricEmulator, client: Client) -> None:
    """Execution data and parameters arrive as they are, and are part of what the journal says was run."""
    data = {"tableName": "Table1", "optimizeSettings": {"vOrder": True}}
    parameters = [_parameter("day", "2026-11-23")]
    client.run(NOTEBOOK, "RunNotebook", RunOnDemandItemJobRequest(execution_data=data, parameters=parameters))
    body = {"executionData": data, "parameters": [{"name": "day", "type": "Text", "value": "2026-11-23"}]}
    assert json.loads(fabric.exchanges[-1].request.body) == body
    (run,) = fabric.journal().entries()
    assert run.resource == resource_name(WORKSPACE, NOTEBOOK, "RunNotebook", body)
    assert run.resource != resource_name(WORKSPACE, NOTEBOOK, "RunNotebook")


def test_table_maintenance(fabric: FabricEmulator, client: Client) -> None:
    """The lakehouse's own path of a job leads to the same job type as the generic one."""
    assert client.get(LAKEHOUSE, client.maintain("orders")).job_type == TABLE_MAINTENANCE


def test_job_type_is_decoded(fabric: FabricEmulator, client: Client, http: requests.Session) -> None:
    """A job type may need percent-encoding, in the path and in the query."""
    client.run(NOTEBOOK, "Default/Job 1")
    url = f"{fabric.url}/workspaces/{WORKSPACE}/items/{NOTEBOOK}/jobs/instances?jobType=Default%2FJob%201"
    assert http.post(url, timeout=60).status_code == 202
    assert [run.resource for run in fabric.journal().entries()] == [f"{WORKSPACE}/{NOTEBOOK}/Default/Job 1"] * 2


@pytest.mark.parametrize(
    "path",
    [
        f"lakehouses/{LAKEHOUSE}/jobs/instances?jobType={LAKE_VIEWS}",
        f"lakehouses/{LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances",
        f"items/{LAKEHOUSE}/jobs/instances?jobType={LAKE_VIEWS}",
        f"items/{LAKEHOUSE}/jobs/{LAKE_VIEWS}/instances",
        f"items/{LAKEHOUSE.upper()}/jobs/{LAKE_VIEWS}/instances",
    ],
)
def test_every_form_of_a_start(fabric: FabricEmulator, http: requests.Session, path: str) -> None:
    """Both forms of the address, of the lakehouse and of the item, start the same job; ids have no case."""
    assert http.post(f"{fabric.url}/workspaces/{WORKSPACE}/{path}", timeout=60).status_code == 202
    assert [run.resource for run in fabric.journal().entries()] == [f"{WORKSPACE}/{LAKEHOUSE}/{LAKE_VIEWS}"]


def test_execution_definition(fabric: FabricEmulator, http: requests.Session) -> None:
    """The lake views' run takes the id of an execution definition, as the guide to the public API shows."""
    body = {"executionData": {"mlvExecutionDefinitionId": DEFINITION}}
    url = f"{fabric.url}/workspaces/{WORKSPACE}/lakehouses/{LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances"
    assert http.post(url, json=body, timeout=60).status_code == 202
    assert fabric.journal().entries()[0].resource == resource_name(WORKSPACE, LAKEHOUSE, LAKE_VIEWS, body)


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("item", f"/items/{LAKEHOUSE}/jobs/instances/"),
        ("lakehouse", f"/lakehouses/{LAKEHOUSE}/jobs/instances/"),
        ("job type", f"/items/{LAKEHOUSE}/jobs/{LAKE_VIEWS}/instances/"),
    ],
)
def test_location_forms(clock: Clock, tokens: Tokens, http: requests.Session, form: Any, path: str) -> None:
    """The Location of a start comes in each of the forms that Microsoft's documents show, and leads to the instance.

    The specification has only the first, so it is not asked here.
    """
    with FabricEmulator(clock, tokens.validate, settings=FabricSettings(location_form=form)) as fabric:
        fabric.add_item(ITEMS[0])
        answer = http.post(f"{fabric.url.removesuffix('/v1')}{JOBS}/{LAKE_VIEWS}/instances", timeout=60)
        (run,) = fabric.journal().entries()
        assert answer.headers["Location"] == f"{fabric.url}/workspaces/{WORKSPACE}{path}{run.run_id}"
        assert http.get(answer.headers["Location"], timeout=60).json()["id"] == run.run_id
        assert fabric.unplanned_requests == ()


def test_location_without_an_id(fabric: FabricEmulator, client: Client) -> None:
    """The Location may be of no use at all, and it may name another host."""
    fabric.settings = FabricSettings(location_form="no id", public_url="https://api.fabric.microsoft.com/v1")
    assert client.refresh() == "instances"
    assert client.answers[-1].headers["Location"] == (
        "https://api.fabric.microsoft.com/v1"
        f"/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs/instances?jobType={LAKE_VIEWS}"
    )


def test_times_as_on_the_wire(fabric: FabricEmulator, client: Client) -> None:
    """Times have no zone and two to seven digits of fraction, the same ones each time that an instance is told."""
    ids = [client.refresh() for _ in range(6)]
    times = [str(client.get(LAKEHOUSE, run_id).start_time_utc) for run_id in ids]
    assert sorted(len(time.partition(".")[2]) for time in times) == [2, 3, 4, 5, 6, 7]
    assert all("2026-11-23T09:30:00.123456".startswith(time[:26]) for time in times)
    assert times == [client.get(LAKEHOUSE, run_id).start_time_utc for run_id in ids]


def inexact_times(seed: int, clock: Clock) -> list[tuple[float, float, float]]:
    """Of fifty runs, in seconds: how late each start is told, how far it moves, and how long InProgress is told on."""
    jobs = Jobs(clock, FaultScript(), Timing(seed=seed))
    seen = []
    for _ in range(50):
        instance = jobs.start(ITEMS[0], ITEMS[0].jobs[0], None, activity="", caller=None)
        begun = clock.now
        first = start_told(instance, clock)
        clock.turn(seconds=2)
        moved = start_told(instance, clock) - first
        clock.turn(seconds=4)
        assert instance.over(clock.now)
        ended, waited = instance.ends_at, 6.0
        while describe(instance, clock.now, "")["status"] == "InProgress":
            assert describe(instance, clock.now, "")["endTimeUtc"] is None
            clock.turn(seconds=0.2)
            waited += 0.2
        assert describe(instance, clock.now, "")["status"] == "Completed"
        assert jobs.journal().entries()[-1].ended_at == ended
        seen.append(((first - begun).total_seconds(), moved.total_seconds(), waited - 3.2))
        clock.turn(minutes=2)
    return seen


def start_told(instance: Instance, clock: Clock) -> datetime:
    """The start that an answer would have now."""
    return datetime.fromisoformat(describe(instance, clock.now, "")["startTimeUtc"] + "Z")


def test_times_are_told_as_inexactly_as_recorded(clock: Clock) -> None:
    """Starts are told 0.37 to 5.85 s late, some move again, and an end is told up to 99.6 s late, with its true time.

    A seed says how, so that a history can be repeated; the journal has the true times all the while.
    """
    seen = inexact_times(7, clock)
    late, moved, stale = zip(*seen, strict=True)
    assert 0.36 <= min(late) < 1.0
    assert 5.0 < max(late) <= 5.85
    assert 1 <= sum(by > 0 for by in moved) <= 15
    assert 50.0 < max(stale) <= 99.6 + 3.0
    clock.now = T0
    assert inexact_times(7, clock) == seen
    clock.now = T0
    assert inexact_times(8, clock) != seen


def test_inexact_times_are_those_of_the_api(clock: Clock, tokens: Tokens) -> None:
    """Over HTTP, too, an instance that has ended goes on as InProgress with a hint when to ask again, for its while."""
    settings = FabricSettings(timing=Timing(seed=1), poll_hints=(20,))
    with FabricEmulator(clock, tokens.validate, settings=settings) as fabric:
        fabric.add_item(ITEMS[0])
        client = Client(fabric, tokens.issue(US, FABRIC, HOUR))
        run_id = client.refresh()
        clock.turn(seconds=4)
        assert fabric.journal().entries()[0].outcome == "succeeded"
        assert client.get(LAKEHOUSE, run_id).status == "InProgress"
        assert client.answers[-1].headers["Retry-After"] == "20"
        clock.turn(seconds=LONGEST_STALE_SECONDS)
        assert client.get(LAKEHOUSE, run_id).status == "Completed"
        swagger.assert_as_published(fabric.exchanges)


def shape_on_the_wire(kind: str) -> tuple[set[str], set[str]]:
    """The names of headers and of members that an answer of this kind has, as recorded."""
    exchange = json.loads((GOLDEN / "fabric_exchanges" / kind / "1.json").read_text(encoding="utf-8"))
    return set(exchange["headers"]) - ONLY_INFORM, set(json.loads(exchange["body"] or "{}"))


def shape_of(answer: requests.Response) -> tuple[set[str], set[str]]:
    """Likewise, of the emulator's."""
    headers = {name for name in answer.headers if name not in {"Date", "Connection"}}
    return headers - ({"Content-Length"} if answer.content else set()), set(answer.json() if answer.content else {})


def test_answers_have_the_shapes_of_the_wire(fabric: FabricEmulator, http: requests.Session, clock: Clock) -> None:
    """Header names and members of start, poll, cancel and refusal are those of the golden exchanges."""
    jobs = f"{fabric.url}/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs"
    started = http.post(f"{jobs}/instances?jobType={LAKE_VIEWS}", timeout=60)
    assert shape_of(started) == shape_on_the_wire("start")
    run = started.headers["Location"]
    assert shape_of(http.get(run, timeout=60)) == shape_on_the_wire("poll_not_started_with_retry_after")
    assert shape_of(http.get(run, timeout=60)) == shape_on_the_wire("poll_not_started_without_retry_after")
    assert shape_of(http.post(f"{run}/cancel", timeout=60)) == shape_on_the_wire("cancel")
    clock.turn(minutes=5)
    assert shape_of(http.get(run, timeout=60)) == shape_on_the_wire("poll_cancelled")
    refused = http.post(f"{jobs}/instances?jobType=Nothing", timeout=60)
    assert shape_of(refused) == shape_on_the_wire("error_invalid_job_type")


def test_poll_hints(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """An unfinished instance comes with a Retry-After, with none, or with zero; an ended one always with none."""
    run_id = client.refresh()
    for _ in range(5):
        client.get(LAKEHOUSE, run_id)
    clock.turn(minutes=1)
    client.get(LAKEHOUSE, run_id)
    hints = [answer.headers.get("Retry-After") for answer in client.answers[1:]]
    assert hints == ["59", None, "20", "0", None, None]


# --- One at a time ---------------------------------------------------------------------------------------------------


def test_lake_views_skip_what_overlaps(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A second refresh is accepted like the first, and is Cancelled a moment later; after the first, one runs again."""
    first, second = client.refresh(), client.refresh()
    assert client.answers[-1].status_code == 202
    assert client.get(LAKEHOUSE, second).status == "NotStarted"
    clock.turn(milliseconds=22)
    skipped: Any = client.get(LAKEHOUSE, second)
    assert (skipped.status, skipped.failure_reason) == ("Cancelled", None)
    assert skipped.start_time_utc[:19] == skipped.end_time_utc[:19]
    clock.turn(minutes=1)
    third = client.refresh()
    clock.turn(minutes=1)
    assert [client.get(LAKEHOUSE, run).status for run in (first, second, third)] == [
        "Completed",
        "Cancelled",
        "Completed",
    ]
    assert [run.outcome for run in fabric.journal().entries()] == ["succeeded", "skipped", "succeeded"]


def test_other_jobs_are_deduped(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """Of other jobs the skipped instance is Deduped, whatever data it had; another job type of the item runs."""
    data = RunOnDemandItemJobRequest(execution_data={"other": "data"})
    runs = [client.run(NOTEBOOK, "RunNotebook"), client.run(NOTEBOOK, "RunNotebook", data)]
    runs.append(client.run(NOTEBOOK, "Default/Job 1"))
    clock.turn(minutes=1)
    assert [client.get(NOTEBOOK, run).status for run in runs] == ["Completed", "Deduped", "Completed"]


def test_a_foreign_run_skips_ours(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """Someone else's run blocks like ours; it shows as Scheduled, and the journal knows it as foreign."""
    foreign = fabric.start_foreign(WORKSPACE, LAKEHOUSE, LAKE_VIEWS)
    ours = client.refresh()
    clock.turn(minutes=1)
    assert client.get(LAKEHOUSE, foreign).invoke_type == "Scheduled"
    assert client.get(LAKEHOUSE, ours).status == "Cancelled"
    assert [(run.foreign, run.outcome) for run in fabric.journal().entries()] == [
        (True, "succeeded"),
        (False, "skipped"),
    ]


def test_what_is_skipped_blocks_nothing(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A start is skipped by what runs, not by another start that is about to be skipped."""
    client.refresh()
    clock.turn(seconds=3.19)
    skipped = client.refresh()
    clock.turn(seconds=0.01)
    assert client.get(LAKEHOUSE, skipped).status == "NotStarted"
    client.refresh()
    clock.turn(minutes=1)
    assert [run.outcome for run in fabric.journal().entries()] == ["succeeded", "skipped", "succeeded"]


def test_names_in_journals(fabric: FabricEmulator) -> None:
    """What a run refreshes has one name, however its ids are written and its data is ordered."""
    data = {"executionData": {"a": 1, "b": {"c": 2, "d": 3}}}
    same = {"executionData": {"b": {"d": 3, "c": 2}, "a": 1}}
    fabric.start_foreign(WORKSPACE.upper(), NOTEBOOK.upper(), "RunNotebook", same)
    (run,) = fabric.journal().entries()
    assert run.resource == resource_name(WORKSPACE.upper(), NOTEBOOK.upper(), "RunNotebook", data)
    assert run.resource == f"{WORKSPACE}/{NOTEBOOK}/RunNotebook#{json.dumps(data, separators=(',', ':'))}"


def test_foreign_callers(fabric: FabricEmulator, tokens: Tokens) -> None:
    """A start over the API by an identity that is not ours is foreign, too."""
    with _client(fabric, tokens.issue(OTHERS, FABRIC, HOUR)) as other:
        other.refresh()
    (run,) = fabric.journal().entries()
    assert (run.foreign, run.token) == (True, OTHERS.object_id)


def test_starting_what_is_not_there(fabric: FabricEmulator) -> None:
    """A scene that lets others start what does not exist is told so."""
    for item, job_type in ((LAKEHOUSE, "RunNotebook"), (NOBODY, LAKE_VIEWS)):
        with pytest.raises(LookupError, match=job_type):
            fabric.start_foreign(WORKSPACE, item, job_type)


# --- Cancel, fail, vanish --------------------------------------------------------------------------------------------


def test_cancel_takes_a_moment(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A cancel is accepted, the instance goes on for a moment, then it is Cancelled; a second cancel does nothing."""
    run_id = client.refresh()
    clock.turn(seconds=1)
    client.cancel(LAKEHOUSE, run_id)
    answer = client.answers[-1]
    assert (answer.status_code, answer.body(), answer.headers["Retry-After"]) == (202, b"", "60")
    assert answer.headers["Location"].endswith(f"/items/{LAKEHOUSE}/jobs/instances/{run_id}")
    clock.turn(seconds=0.9)
    client.cancel(LAKEHOUSE, run_id)
    assert client.get(LAKEHOUSE, run_id).status == "InProgress"
    clock.turn(seconds=0.1)
    cancelled = client.get(LAKEHOUSE, run_id)
    assert (cancelled.status, cancelled.failure_reason) == ("Cancelled", None)
    assert cancelled.end_time_utc is not None
    assert _refused(lambda: client.cancel(LAKEHOUSE, run_id)) == (400, "JobAlreadyCompleted")
    (run,) = fabric.journal().entries()
    assert (run.outcome, run.ended_at) == ("cancelled", T0 + timedelta(seconds=2))


def test_cancel_that_comes_too_late(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """An instance that ends before a cancel takes effect ends as it would have."""
    run_id = client.refresh()
    clock.turn(seconds=3)
    client.cancel(LAKEHOUSE, run_id)
    clock.turn(minutes=1)
    assert client.get(LAKEHOUSE, run_id).status == "Completed"


def test_cancel_by_a_person(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A person's cancel looks like any other; its end may be missing, as it was in one recording of three."""
    fabric.settings = FabricSettings(cancelled_without_end=True)
    run_id, skipped = client.refresh(), client.refresh()
    fabric.cancel_by_person(run_id)
    clock.turn(seconds=1)
    cancelled = client.get(LAKEHOUSE, run_id)
    assert (cancelled.status, cancelled.end_time_utc) == ("Cancelled", None)
    assert client.get(LAKEHOUSE, skipped).end_time_utc is not None


def test_failed_run(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A failed run says why, under the request id of whoever asks."""
    fabric.faults.add(FailRun("no such table"), "run", LAKEHOUSE)
    run_id = client.refresh()
    clock.turn(seconds=1)
    assert client.get(LAKEHOUSE, run_id).failure_reason is None
    clock.turn(minutes=1)
    failed = client.get(LAKEHOUSE, run_id)
    reason: Any = failed.failure_reason
    assert (failed.status, reason.error_code, reason.message) == ("Failed", "JobInstanceStatusFailed", "no such table")
    assert reason.request_id == client.answers[-1].headers["RequestId"]
    assert fabric.journal().entries()[0].outcome == "failed"


def test_run_that_never_ends(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A run may go on for days, until it is cancelled."""
    fabric.faults.add(NeverEnd(), "run")
    run_id = client.refresh()
    clock.turn(hours=23)
    assert client.get(LAKEHOUSE, run_id).status == "InProgress"
    client.cancel(LAKEHOUSE, run_id)
    clock.turn(seconds=1)
    assert client.get(LAKEHOUSE, run_id).status == "Cancelled"


def test_clock_apart(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A platform whose clock is apart tells other times, and the journal keeps the true ones."""
    fabric.faults.add(ClockApart(timedelta(seconds=-45)), "run")
    run_id = client.refresh()
    clock.turn(minutes=1)
    told: Any = client.get(LAKEHOUSE, run_id)
    assert (told.start_time_utc[:19], told.end_time_utc[:19]) == ("2026-11-23T09:29:15", "2026-11-23T09:29:18")
    assert fabric.journal().entries()[0].created_at == T0


def test_vanished_instance(fabric: FabricEmulator, client: Client) -> None:
    """An instance that vanished is neither found nor listed; the journal keeps what it knew."""
    run_id = client.refresh()
    fabric.forget(run_id)
    assert _refused(lambda: client.get(LAKEHOUSE, run_id), ResourceNotFoundError) == (404, "ItemNotFound")
    assert client.list(LAKEHOUSE) == []
    assert len(fabric.journal().entries()) == 1


def test_status_of_the_future(clock: Clock, tokens: Tokens) -> None:
    """A status that was added later is told as it is, and Microsoft's client takes it."""
    with FabricEmulator(clock, tokens.validate) as fabric, _client(fabric, tokens.issue(US, FABRIC, HOUR)) as client:
        fabric.add_item(ITEMS[0])
        run_id = client.refresh()
        fabric.tell_status(run_id, "Dehydrated")
        assert client.get(LAKEHOUSE, run_id).status == "Dehydrated"


# --- The list --------------------------------------------------------------------------------------------------------


def test_list_goes_page_by_page(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """The list is handed out in pages, newest first; what is started meanwhile neither repeats nor hides anything."""
    fabric.settings = FabricSettings(page_size=2)
    runs = [client.refresh() for _ in range(5)]
    listed = [one.id for one in client.list(LAKEHOUSE)]
    assert listed == runs[::-1]
    assert [exchange.request.path for exchange in fabric.exchanges[-3:]] == [
        f"/v1/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs/instances"
    ] * 3
    assert client.list(NOTEBOOK) == []


def test_list_keeps_its_place(fabric: FabricEmulator, client: Client, http: requests.Session) -> None:
    """A page begins where the one before ended, even if a run was started in between."""
    fabric.settings = FabricSettings(page_size=2)
    runs = [client.refresh() for _ in range(4)]
    url = f"{fabric.url}/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs/instances"
    first = http.get(url, timeout=60).json()
    client.refresh()
    second = http.get(url, params={"continuationToken": first["continuationToken"]}, timeout=60).json()
    assert [one["id"] for one in first["value"] + second["value"]] == runs[::-1]
    assert first["continuationUri"].startswith(f"{url}?continuationToken=")
    assert (second["continuationToken"], second["continuationUri"]) == (None, None)


def test_list_remembers_a_hundred_that_ended(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """Of what ended, the last hundred are listed; what goes on is listed however old it is."""
    fabric.faults.add(NeverEnd(), "run")
    eternal = client.refresh()
    for _ in range(103):
        fabric.start_foreign(WORKSPACE, LAKEHOUSE, LAKE_VIEWS)
        clock.turn(seconds=1)
    listed = [one.id for one in client.list(LAKEHOUSE)]
    assert len(listed) == 101
    assert listed[-1] == eternal
    created = [run.run_id for run in fabric.journal().entries()]
    assert listed == [*created[::-1][:100], eternal]


def test_list_lags(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A new instance is not found and not listed at first, each for its own time."""
    fabric.settings = FabricSettings(get_delay=timedelta(seconds=2), listing_delay=timedelta(seconds=3))
    run_id = client.refresh()
    clock.turn(seconds=1.9)
    assert _refused(lambda: client.get(LAKEHOUSE, run_id), ResourceNotFoundError) == (404, "ItemNotFound")
    clock.turn(seconds=0.1)
    assert client.get(LAKEHOUSE, run_id).id == run_id
    assert client.list(LAKEHOUSE) == []
    clock.turn(seconds=1)
    assert [one.id for one in client.list(LAKEHOUSE)] == [run_id]


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_unknown_things(fabric: FabricEmulator, client: Client) -> None:
    """An item that is not there, or not a lakehouse, a job type that it has not, an instance of another item."""
    assert _refused(lambda: client.refresh(NOBODY), ResourceNotFoundError) == (404, "ItemNotFound")
    assert _refused(lambda: client.refresh(LAKEHOUSE, NOBODY), ResourceNotFoundError) == (404, "ItemNotFound")
    assert _refused(lambda: client.refresh(NOTEBOOK), ResourceNotFoundError) == (404, "ItemNotFound")
    assert _refused(lambda: client.list(NOBODY), ResourceNotFoundError) == (404, "ItemNotFound")
    assert _refused(lambda: client.run(LAKEHOUSE, "MaterializedLakeViews")) == (400, "InvalidJobType")
    assert _refused(lambda: client.run(LAKEHOUSE, "refreshMaterializedLakeViews")) == (400, "InvalidJobType")
    run_id = client.refresh()
    assert _refused(lambda: client.get(NOTEBOOK, run_id), ResourceNotFoundError) == (404, "ItemNotFound")
    assert _refused(lambda: client.cancel(NOTEBOOK, run_id), ResourceNotFoundError) == (404, "ItemNotFound")
    assert [refused.code for refused in fabric.journal().refused_starts()] == ["ItemNotFound"] * 3 + [
        "InvalidJobType"
    ] * 2


def test_parameters_where_there_are_none(fabric: FabricEmulator, client: Client) -> None:
    """A job type without parameters refuses them."""
    body = RunOnDemandItemJobRequest(parameters=[_parameter("day", "x")])
    assert _refused(lambda: client.run(NOTEBOOK, "Default/Job 1", body)) == (400, "FeatureNotAvailable")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InsufficientPrivileges", 403),
        ("MissingMinimalPermissions", 403),
        ("MissingMinimalPermisisons", 403),
        ("TooManyRequestsForJobs", 429),
    ],
)
def test_scripted_refusal(fabric: FabricEmulator, client: Client, code: str, status: int) -> None:
    """A script refuses with any documented error, once, for one item, and no run comes of it."""
    fabric.faults.add(Refuse(code), "start", LAKEHOUSE)
    client.run(NOTEBOOK, "RunNotebook")
    assert _refused(client.refresh) == (status, code)
    assert (client.answers[-1].headers.get("Retry-After") == "60") == (status == 429)
    resource = resource_name(WORKSPACE, LAKEHOUSE, LAKE_VIEWS)
    assert fabric.journal().refused_starts() == (RefusedStart(resource, T0, code, US.object_id),)
    assert len(fabric.journal().entries()) == 1
    client.refresh()


@pytest.mark.parametrize("operation", ["start", "get", "list", "cancel"])
def test_scripted_throttle(fabric: FabricEmulator, client: Client, operation: Operation) -> None:
    """Any call can be blocked by the service in front, which says until when."""
    run_id = client.refresh()
    fabric.faults.add(Throttle(53), operation)
    calls: dict[str, Callable[[], object]] = {
        "start": client.refresh,
        "get": lambda: client.get(LAKEHOUSE, run_id),
        "list": lambda: client.list(LAKEHOUSE),
        "cancel": lambda: client.cancel(LAKEHOUSE, run_id),
    }
    assert _refused(calls[operation]) == (429, "RequestBlocked")
    assert client.answers[-1].headers["Retry-After"] == "53"
    blocked = json.loads(client.answers[-1].text())
    assert blocked["message"] == "Request is blocked by the upstream service until: 11/23/2026 9:30:53 AM (UTC)"
    assert blocked["isRetriable"] is True
    calls[operation]()


@pytest.mark.parametrize(
    ("hours", "told"), [(4, "11/23/2026 1:30:05 PM"), (15, "11/24/2026 12:30:05 AM"), (3, "11/23/2026 12:30:05 PM")]
)
def test_blocked_until(fabric: FabricEmulator, client: Client, clock: Clock, hours: int, told: str) -> None:
    """The blocked call says until when in American, as recorded: no zeros in front, twelve hours."""
    clock.turn(hours=hours)
    fabric.faults.add(Throttle(5), "list")
    with pytest.raises(HttpResponseError) as raised:
        client.list(LAKEHOUSE)
    model: Any = raised.value.model
    assert model.message == f"Request is blocked by the upstream service until: {told} (UTC)"


def test_quota_of_an_identity(fabric: FabricEmulator, client: Client, tokens: Tokens, clock: Clock) -> None:
    """Each identity has so many calls in a fixed minute; then it is blocked until the minute is over."""
    fabric.settings = FabricSettings(calls_per_window=3)
    run_id = client.refresh()
    client.get(LAKEHOUSE, run_id)
    client.list(LAKEHOUSE)
    clock.turn(seconds=20)
    assert _refused(client.refresh) == (429, "RequestBlocked")
    assert client.answers[-1].headers["Retry-After"] == "40"
    assert [refused.code for refused in fabric.journal().refused_starts()] == ["RequestBlocked"]
    with _client(fabric, tokens.issue(OTHERS, FABRIC, HOUR)) as other:
        other.list(LAKEHOUSE)
    clock.turn(seconds=40)
    client.refresh()


def test_scripted_server_error(fabric: FabricEmulator, client: Client) -> None:
    """A 5xx comes as a page of HTML; nothing was done, or everything, as the script says."""
    fabric.faults.add(ServerError(502))
    fabric.faults.add(ServerError(503, done=True))
    for status in (502, 503):
        with pytest.raises(HttpResponseError) as raised:
            client.refresh()
        assert raised.value.status_code == status
        assert client.answers[-1].headers["Content-Type"] == "text/html"
    assert len(fabric.journal().entries()) == 1
    assert [refused.code for refused in fabric.journal().refused_starts()] == ["502"]
    assert len(client.list(LAKEHOUSE)) == 1


def test_refusal_that_is_a_lie(fabric: FabricEmulator, client: Client) -> None:
    """A start may be refused and made all the same."""
    fabric.faults.add(Refuse("TooManyRequestsForJobs", done=True))
    assert _refused(client.refresh) == (429, "TooManyRequestsForJobs")
    assert len(client.list(LAKEHOUSE)) == 1
    assert fabric.journal().refused_starts() == ()


def test_lost_response(fabric: FabricEmulator, client: Client) -> None:
    """A lost response is a dropped connection, and the run is there."""
    fabric.faults.add(LoseResponse())
    with pytest.raises(ServiceResponseError):
        client.refresh()
    assert len(client.list(LAKEHOUSE)) == 1
    assert fabric.exchanges[0].answer is None


def test_slow_answer(fabric: FabricEmulator, client: Client, http: requests.Session) -> None:
    """A slow answer comes after its caller has given up, and what was asked is done."""
    fabric.faults.add(Slow(60))
    url = f"{fabric.url}/workspaces/{WORKSPACE}/lakehouses/{LAKEHOUSE}/jobs/refreshMaterializedLakeViews/instances"
    with pytest.raises(requests.ReadTimeout):
        http.post(url, timeout=0.2)
    assert len(client.list(LAKEHOUSE)) == 1


# --- Tokens ----------------------------------------------------------------------------------------------------------


def test_expired_token_is_named(fabric: FabricEmulator, client: Client, clock: Clock) -> None:
    """A token is good for its time; afterwards the answer says that it has expired."""
    clock.turn(hours=23.9)
    client.list(LAKEHOUSE)
    clock.turn(hours=0.1)
    assert _refused(lambda: client.list(LAKEHOUSE), ClientAuthenticationError) == (401, "TokenExpired")


@pytest.mark.parametrize("wrong", ["audience", "tenant", "form", "revoked"])
def test_bad_tokens_stop_in_front(fabric: FabricEmulator, tokens: Tokens, clock: Clock, wrong: str) -> None:
    """A token for someone else, of another tenant, of no form or revoked is a bare 401: nothing is done."""
    token = tokens.issue(US, FABRIC, HOUR)
    if wrong == "audience":
        token = tokens.issue(US, EXCHANGE, HOUR)
    elif wrong == "tenant":
        token = Tokens(clock, "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a9ff").issue(US, FABRIC, HOUR)
    elif wrong == "form":
        token = "nonsense"
    else:
        revoke(tokens)
    with _client(fabric, token) as other, pytest.raises(ClientAuthenticationError):
        other.refresh()
    assert fabric.journal().entries() == ()
    answer: Any = fabric.exchanges[-1].answer
    assert (answer.status, answer.body) == (401, b"")


def test_no_token(fabric: FabricEmulator) -> None:
    """Without a token there is nothing to be had."""
    answer = requests.get(f"{fabric.url}/workspaces/{WORKSPACE}/items/{LAKEHOUSE}/jobs/instances", timeout=60)
    assert answer.status_code == 401


def test_no_token_is_kept(fabric: FabricEmulator, client: Client, tokens: Tokens) -> None:
    """What the emulator keeps names the caller and holds no token, good or bad."""
    client.refresh()
    bad = tokens.issue(US, EXCHANGE, HOUR)
    with _client(fabric, bad) as other, pytest.raises(ClientAuthenticationError):
        other.refresh()
    kept = repr(fabric.exchanges)
    assert f"Bearer of {US.object_id}" in kept
    assert "eyJ" in bad
    assert "eyJ" not in kept


# --- Strictness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (("GET", "/v1/workspaces", None), 404),
        (("PUT", f"{JOBS}/instances", None), 404),
        (("POST", f"{JOBS}/instances", None), 404),
        (("DELETE", f"{JOBS}/instances/{NOBODY}", None), 404),
        (("GET", f"{JOBS}/instances/{NOBODY}/cancel", None), 404),
        (("POST", f"{JOBS}/instances?jobType={LAKE_VIEWS}&jobType={LAKE_VIEWS}", None), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances?jobType={LAKE_VIEWS}", None), 400),
        (("POST", f"{JOBS}/instances?jobType={LAKE_VIEWS}&beta=true", None), 400),
        (("GET", f"{JOBS}/instances?top=5", None), 400),
        (("GET", f"{JOBS}/instances?continuationToken=bm9uc2Vuc2U=", None), 400),
        (("GET", f"{JOBS}/instances?continuationToken=%21", None), 400),
        (("POST", f"{JOBS}/instances/{NOBODY}/cancel", {}), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", []), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", {"full": True}), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", {"executionData": "all"}), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", {"executionData": {"views": ["a"]}}), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", {"parameters": {"a": 1}}), 400),
        (("POST", f"{JOBS}/{LAKE_VIEWS}/instances", {"parameters": [{"name": "a"}]}), 400),
    ],
)
def test_what_the_api_does_not_have(
    clock: Clock, tokens: Tokens, http: requests.Session, asked: tuple[str, str, Any], status: int
) -> None:
    """An unknown path, method, parameter, body or token fails, does nothing, and is reported."""
    method, path, body = asked
    with FabricEmulator(clock, tokens.validate) as fabric:
        fabric.add_item(ITEMS[0])
        answer = http.request(method, fabric.url.removesuffix("/v1") + path, json=body, timeout=60)
        assert answer.status_code == status
        assert answer.json()["errorCode"] == ("NotFound" if status == 404 else "InvalidInput")
        assert len(fabric.unplanned_requests) == 1
        assert fabric.unplanned_requests[0].startswith(f"{method} {path.partition('?')[0]}")
        assert fabric.journal().entries() == ()


@pytest.mark.parametrize(("content_type", "body"), [("text/plain", b"{}"), ("application/json", b"{"), ("", b"{}")])
def test_bodies_that_are_no_json(
    clock: Clock, tokens: Tokens, http: requests.Session, content_type: str, body: bytes
) -> None:
    """A body that is not JSON, or does not say so, is refused and reported."""
    with FabricEmulator(clock, tokens.validate) as fabric:
        fabric.add_item(ITEMS[0])
        url = f"{fabric.url.removesuffix('/v1')}{JOBS}/{LAKE_VIEWS}/instances"
        assert http.post(url, data=body, headers={"Content-Type": content_type}, timeout=60).status_code == 400
        assert len(fabric.unplanned_requests) == 1


def test_a_mistake_of_the_script_is_not_passed_over(clock: Clock, tokens: Tokens, http: requests.Session) -> None:
    """A script that wants an error which nobody documents fails the test that wrote it."""
    fabric = FabricEmulator(clock, tokens.validate)
    fabric.add_item(ITEMS[0])
    fabric.faults.add(Refuse("NoSuchError"), "list")
    with pytest.raises(RuntimeError, match="NoSuchError"), fabric:
        assert http.get(f"{fabric.url.removesuffix('/v1')}{JOBS}/instances", timeout=60).status_code == 500


# --- The judge itself ------------------------------------------------------------------------------------------------


def test_the_specification_judges_requests() -> None:
    """The specification finds fault with requests that the API does not have, and none with those it has."""
    spec = swagger.published()
    lakehouse = f"/v1/workspaces/{WORKSPACE}/lakehouses/{LAKEHOUSE}/jobs"
    as_json = {"Content-Type": "application/json"}
    definition = json.dumps({"executionData": {"mlvExecutionDefinitionId": DEFINITION}}).encode()
    good: list[tuple[str, str, dict[str, str], bytes]] = [
        ("POST", f"{lakehouse}/instances?jobType={LAKE_VIEWS}", {}, b""),
        ("POST", f"{lakehouse}/refreshMaterializedLakeViews/instances", {}, b""),
        ("POST", f"{lakehouse}/refreshMaterializedLakeViews/instances", as_json, definition),
        (
            "POST",
            f"https://api.fabric.microsoft.com{JOBS}/instances?jobType=DefaultJob",
            as_json,
            b'{"executionData":{}}',
        ),
        ("POST", f"{lakehouse}/tableMaintenance/instances", as_json, b'{"executionData":{"tableName":"a"}}'),
        ("GET", f"{JOBS}/instances?continuationToken=x", {}, b""),
        ("POST", f"{JOBS}/instances/{NOBODY}/cancel", {}, b""),
    ]
    bad: list[tuple[str, str, dict[str, str], bytes]] = [
        ("POST", f"{lakehouse}/instances?jobType=Other", {}, b""),
        ("PUT", f"{JOBS}/instances", {}, b""),
        ("GET", "/v1/workspaces/not-a-uuid/items/x/jobs/instances", {}, b""),
        ("GET", f"{JOBS}/instances?top=5", {}, b""),
        ("POST", f"{lakehouse}/refreshMaterializedLakeViews/instances", as_json, b'{"views":[]}'),
        ("POST", f"{lakehouse}/tableMaintenance/instances", {}, b""),
        ("POST", f"{lakehouse}/tableMaintenance/instances", as_json, b'{"executionData":{}}'),
        ("POST", f"{lakehouse}/tableMaintenance/instances", as_json, b'{"executionData":{"tableName":"a","x":1}}'),
        ("POST", f"{lakehouse}/tableMaintenance/instances", as_json, b'{"executionData":{"tableName":"a b"}}'),
        ("POST", f"{JOBS}/X/instances", {}, b"{}"),
        ("POST", f"{JOBS}/X/instances", as_json, b"{"),
        ("POST", f"{JOBS}/X/instances", as_json, b'{"parameters":[{"name":"a","type":"String","value":"b"}]}'),
        ("POST", f"{JOBS}/instances/{NOBODY}/cancel", as_json, b"{}"),
    ]
    assert [spec.problems_of_request(*request) for request in good] == [[]] * len(good)
    assert [request for request in bad if not spec.problems_of_request(*request)] == []


def test_the_specification_judges_answers() -> None:
    """The specification finds fault with answers that the API does not give, and takes null for what is absent."""
    spec = swagger.published()
    as_json = {"Content-Type": "application/json; charset=utf-8"}
    one, many, run, cancel = (f"{JOBS}/instances/{NOBODY}", f"{JOBS}/instances", f"{JOBS}/X/instances", "/cancel")
    later = {"Location": "https://x", "Retry-After": "60"}
    instance = {"id": NOBODY, "status": "Completed", "failureReason": None, "endTimeUtc": None}
    error = {"errorCode": "X", "message": "x", "requestId": NOBODY, "isRetriable": False, "moreDetails": []}
    good: list[tuple[str, str, int, dict[str, str], Any]] = [
        ("GET", one, 200, as_json, instance),
        ("GET", many, 200, as_json, {"value": [instance], "continuationToken": None, "continuationUri": None}),
        ("POST", run, 202, later, None),
        ("POST", one + cancel, 202, later, None),
        ("POST", run, 429, as_json | {"Retry-After": "60"}, error),
        ("GET", one, 404, as_json, error | {"relatedResource": {"resourceId": "a", "resourceType": "b"}}),
    ]
    bad: list[tuple[str, str, int, dict[str, str], Any]] = [
        ("GET", one, 201, as_json, instance),
        ("GET", one, 206, as_json, error),
        ("GET", one, 200, {}, instance),
        ("GET", one, 200, as_json, instance | {"id": "1"}),
        ("GET", one, 200, as_json, instance | {"status": "Canceled"}),
        ("GET", one, 200, as_json, instance | {"state": "Completed"}),
        ("GET", one, 200, as_json, instance | {"failureReason": {"errorCode": "X"}}),
        ("GET", many, 200, as_json, {"continuationToken": None}),
        ("GET", many, 200, as_json, {"value": None}),
        ("POST", run, 202, later, {}),
        ("POST", one + cancel, 202, {"Location": "https://x"}, None),
        ("POST", run, 429, as_json | {"Retry-After": "soon"}, error),
        ("GET", one, 404, as_json, {"error": error}),
        ("GET", one, 404, as_json, error | {"message": None}),
        ("GET", one, 500, {}, None),
    ]

    def problems(method: str, url: str, status: int, headers: dict[str, str], body: Any) -> list[str]:
        return spec.problems_of_answer(method, url, status, headers, b"" if body is None else json.dumps(body).encode())

    assert [problems(*answer) for answer in good] == [[]] * len(good)
    assert [answer for answer in bad if not problems(*answer)] == []


def test_the_specification_sees_every_exchange(fabric: FabricEmulator, client: Client) -> None:
    """What the emulator keeps is judged whole: a changed answer is found."""
    client.refresh()
    client.list(LAKEHOUSE)
    (run, listed) = fabric.exchanges
    answer: Any = listed.answer
    broken = replace(listed, answer=replace(answer, body=answer.body.replace(b'"itemId"', b'"itemID"')))
    spec = swagger.published()
    assert spec.problems_of([run, listed]) == []
    assert len(spec.problems_of([run, broken])) > 0
    assert len(spec.problems_of([replace(run, request=replace(run.request, body=b"{}"))])) > 0
