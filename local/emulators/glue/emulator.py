"""Glue's four operations on refresh runs of materialized views, added to moto 5.2.5, which has none of them.

While a `GlueEmulator` is entered, moto's Glue answers Start-, Get-, List- and StopMaterializedViewRefreshTaskRun(s), in
process (`mock_aws`) and over HTTP (moto's server) alike. A run is a value, and where it stands follows from the clock
at the moment somebody asks: no threads, no sleeping, so a test may turn the clock.

    created_at      starts_at                          ends_at
        |  STARTING     |            RUNNING               |  SUCCEEDED, FAILED or STOPPED
        +-- reads its sources here, so what arrives later is not in the view

What Glue does not publish is marked [assumed] where it is decided. Requests and answers are in `glue_wire`.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self
from unittest.mock import patch

from botocore import xform_name
from botocore.exceptions import ConnectionClosedError
from moto.glue.exceptions import EntityNotFoundException
from moto.glue.models import FakeTable, GlueBackend, glue_backends
from moto.glue.responses import GlueResponse

from local.emulators.clock import SystemClock
from local.emulators.faults import (
    ClockApart,
    FailRun,
    Fault,
    FaultScript,
    LoseResponse,
    NeverEnd,
    Operation,
    Refuse,
    ServerError,
    Slow,
    Throttle,
)
from local.emulators.glue.wire import (
    COMMON_ERRORS,
    GET,
    LIST,
    LONGEST_ERROR_MESSAGE,
    START,
    STOP,
    Call,
    GlueError,
    GlueEvent,
    Run,
    Status,
    events_of,
    place_after,
    resource_name,
    status_of,
    table_changed,
    token_of,
    told_run,
    validate,
)
from local.emulators.http_server import drop_connection
from local.emulators.journal import Journal, Outcome, PlatformRun, RefusedStart

__all__ = ["FAULTS_OF", "FOREIGN_ACCESS_KEY", "GlueEmulator", "GlueSettings", "resource_name"]

FAULTS_OF: Final[Mapping[str, Operation]] = {START: "start", GET: "get", LIST: "list", STOP: "cancel"}
"""Under which name a fault script knows each operation."""

FOREIGN_ACCESS_KEY: Final = "UNSTALELOCALFOREIGN1"
"""A start signed with this key is someone else's; 20 characters, because moto reads no other length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueSettings:
    """How the platform behaves where its documents leave it open.

    `run_time` counts from creation. `listing_delay` is how long after its creation a run is first listed. Only the
    newest `retained_runs` of a view are remembered, and `concurrent_runs` of an account and Region may go on at once.
    """

    starting: timedelta = timedelta(milliseconds=200)
    run_time: timedelta = timedelta(seconds=3)
    stopping: timedelta = timedelta(milliseconds=500)
    listing_delay: timedelta = timedelta(0)
    retained_runs: int = 1000
    concurrent_runs: int = 50
    page_size: int = 100
    newest_first: bool = True
    processed_bytes: int = 1_000_000


class ResponseLostError(Exception):
    """What was asked is done, and the connection is to be dropped."""


class GlueEmulator:
    """The state machine, and the context in which moto has it. One at a time in a process, as there is one moto.

    `emit` is called with each due event, by `pump` only, except for a table update, which is told at once.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        settings: GlueSettings | None = None,
        faults: FaultScript | None = None,
        emit: Callable[[GlueEvent], None] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        foreign_access_keys: frozenset[str] = frozenset({FOREIGN_ACCESS_KEY}),
    ) -> None:
        self.settings = settings or GlueSettings()
        self.faults = faults or FaultScript()
        self.calls: list[Call] = []
        self._clock = clock or SystemClock().now
        self._emit = emit
        self._sleep = sleep
        self._foreign_access_keys = foreign_access_keys
        self._lock = threading.RLock()
        self._runs: dict[str, Run] = {}
        self._journal = Journal()
        self._run_times: dict[str, timedelta] = {}
        self._told: dict[str, int] = {}
        self._installed = ExitStack()

    def __enter__(self) -> Self:
        self._installed = _install(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._installed.close()

    def set_run_time(self, resource: str, run_time: timedelta) -> None:
        """Let later runs of one view take their own time."""
        with self._lock:
            self._run_times[resource] = run_time

    def journal(self) -> Journal:
        """Bring the journal up to now and return it."""
        with self._lock:
            now = self._clock()
            for run in self._runs.values():
                self._journal.replace(_entry(run, now))
            return self._journal

    def answer(self, call: Call) -> dict[str, Any]:
        """Answer one call; raises GlueError for a refusal and ResponseLostError for an answer that nobody gets."""
        with self._lock:
            self.calls.append(call)
            fault = self.faults.take(FAULTS_OF[call.operation], self._resource_of(call))
        try:
            return self._answer_under(fault, call)
        finally:
            self._hinder(fault)

    def pump(self) -> int:
        """Emit the events that have come due since the last time, oldest first; returns how many."""
        with self._lock:
            now = self._clock()
            due = [event for run in self._runs.values() for event in self._take_due(run, now)]
        for event in sorted(due, key=lambda event: event.time):
            self.tell(event)
        return len(due)

    def table_updated(self, call: Call) -> None:
        """Emit what the catalog emits when somebody has updated a table."""
        database, table = call.parameters["DatabaseName"], call.parameters["TableInput"]["Name"]
        self.tell(table_changed(call.account, call.region, database, table, self._clock()))

    def tell(self, event: GlueEvent) -> None:
        """Emit one event now, if anybody listens."""
        if self._emit:
            self._emit(event)

    def _answer_under(self, fault: Fault | None, call: Call) -> dict[str, Any]:
        refusal = _scripted_refusal(call.operation, fault)
        if refusal and not (isinstance(fault, Refuse | ServerError) and fault.done):
            self._note(refusal, call)
            raise refusal
        answer = self._do(call)
        if refusal:
            raise refusal
        return answer

    def _resource_of(self, call: Call) -> str | None:
        run = self._runs.get(str(call.parameters.get("MaterializedViewRefreshTaskRunId")))
        return run.resource if run else call.resource

    def _hinder(self, fault: Fault | None) -> None:
        """What happens to an answer on its way, be it a refusal or not."""
        if isinstance(fault, Slow):
            self._sleep(fault.seconds)
        if isinstance(fault, LoseResponse):
            raise ResponseLostError

    def _do(self, call: Call) -> dict[str, Any]:
        operations = {START: self._start, GET: self._get, LIST: self._list, STOP: self._stop}
        with self._lock:
            try:
                validate(call)
                return operations[call.operation](call, self._clock())
            except GlueError as refusal:
                self._note(refusal, call)
                raise

    def _note(self, refusal: GlueError, call: Call) -> None:
        if call.operation == START and call.resource:
            foreign = call.access_key in self._foreign_access_keys
            self._journal.add(RefusedStart(call.resource, self._clock(), refusal.code, call.access_key, foreign))

    def _start(self, call: Call, now: datetime) -> dict[str, Any]:
        role = _role_of_view(call)
        account = (call.account, call.region)
        going_on = [run for run in self._runs.values() if (run.account, run.region) == account and not run.over(now)]
        if any(run.resource == call.resource for run in going_on):
            raise GlueError("MaterializedViewRefreshTaskRunningException", f"{call.resource} is being refreshed")
        if len(going_on) >= self.settings.concurrent_runs:
            raise GlueError("ResourceNumberLimitExceededException", f"{len(going_on)} refreshes are running")
        run = self._under_run_fault(self._new_run(call, role, now))
        self._runs[run.run_id] = run
        self._journal.add(_entry(run, now))
        self._forget_beyond_retention(run.resource, now)
        return {"MaterializedViewRefreshTaskRunId": run.run_id}

    def _get(self, call: Call, now: datetime) -> dict[str, Any]:
        run_id = call.parameters["MaterializedViewRefreshTaskRunId"]
        for run in self._of_caller(call):
            if run.run_id == run_id:
                return {"MaterializedViewRefreshTaskRun": told_run(run, now)}
        raise GlueError("EntityNotFoundException", f"there is no refresh task run {run_id}")

    def _list(self, call: Call, now: datetime) -> dict[str, Any]:
        wanted = [run for run in self._of_caller(call) if self._listed(run, call, now)]
        if self.settings.newest_first:  # the order is not published [assumed]
            wanted.reverse()
        rest = wanted[place_after(call.parameters.get("NextToken"), wanted) :]
        page = rest[: call.parameters.get("MaxResults", self.settings.page_size)]
        more = {"NextToken": token_of(page[-1])} if len(rest) > len(page) else {}
        return {"MaterializedViewRefreshTaskRuns": [told_run(run, now) for run in page]} | more

    def _stop(self, call: Call, now: datetime) -> dict[str, Any]:
        # The model lists no EntityNotFoundException for a stop: an unknown view has nothing running [assumed].
        for run in self._of_caller(call):
            if run.resource == call.resource and not run.over(now):
                if run.stop_asked:
                    raise GlueError("MaterializedViewRefreshTaskStoppingException", f"{call.resource} is stopping")
                ends_at = now + self.settings.stopping
                self._runs[run.run_id] = replace(run, stop_asked=True, ends_at=ends_at, ends_as="STOPPED", error=None)
                return {}
        raise GlueError("MaterializedViewRefreshTaskNotRunningException", f"{call.resource} is not being refreshed")

    def _of_caller(self, call: Call) -> list[Run]:
        """The runs that a caller can see, oldest first: those of the account, the Region and the catalog asked for."""
        scope = (call.account, call.region, call.parameters["CatalogId"])
        return [run for run in self._runs.values() if (run.account, run.region, run.catalog) == scope]

    def _listed(self, run: Run, call: Call, now: datetime) -> bool:
        database, table = call.parameters.get("DatabaseName"), call.parameters.get("TableName")
        named = database in (None, run.database) and table in (None, run.table)
        return named and run.created_at + self.settings.listing_delay <= now

    def _new_run(self, call: Call, role: str | None, now: datetime) -> Run:
        return Run(
            run_id=str(uuid.uuid4()),
            account=call.account,
            region=call.region,
            catalog=call.parameters["CatalogId"],
            database=call.parameters["DatabaseName"],
            table=call.parameters["TableName"],
            role=role,
            full=bool(call.parameters.get("FullRefresh")),
            access_key=call.access_key,
            foreign=call.access_key in self._foreign_access_keys,
            created_at=now,
            starts_at=now + self.settings.starting,
            ends_at=now + self._run_times.get(str(call.resource), self.settings.run_time),
            processed_bytes=self.settings.processed_bytes,
        )

    def _under_run_fault(self, run: Run) -> Run:
        match self.faults.take("run", run.resource):
            case FailRun(message):
                return replace(run, ends_as="FAILED", error=message[:LONGEST_ERROR_MESSAGE])
            case NeverEnd():
                return replace(run, ends_at=None)
            case ClockApart(offset):
                return replace(run, told_apart=offset)
            case _:
                return run

    def _forget_beyond_retention(self, resource: str, now: datetime) -> None:
        remembered = [run for run in self._runs.values() if run.resource == resource]
        for run in remembered[: -self.settings.retained_runs]:
            if run.over(now):
                self._journal.replace(_entry(run, now))
                del self._runs[run.run_id]

    def _take_due(self, run: Run, now: datetime) -> list[GlueEvent]:
        events = events_of(run)[self._told.get(run.run_id, 0) :]
        due = [event for event in events if event.time <= now]
        self._told[run.run_id] = self._told.get(run.run_id, 0) + len(due)
        return due


def _scripted_refusal(operation: str, fault: Fault | None) -> GlueError | None:
    match fault:
        case Throttle(retry_after_seconds):
            # Glue is not known to send Retry-After; the header is there only for a script that asks for it.
            after = {} if retry_after_seconds is None else {"Retry-After": f"{retry_after_seconds:g}"}
            return GlueError("ThrottlingException", "Rate exceeded", COMMON_ERRORS["ThrottlingException"], after)
        case ServerError(status):
            unavailable = status == COMMON_ERRORS["ServiceUnavailable"]
            return GlueError("ServiceUnavailable" if unavailable else "InternalFailure", "as scripted", status)
        case Refuse(code):
            return GlueError(code, "as scripted", status_of(operation, code))
        case _:
            return None


OUTCOMES: Final[Mapping[Status, Outcome]] = {
    "STARTING": "running",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}


def _entry(run: Run, now: datetime) -> PlatformRun:
    return PlatformRun(
        run_id=run.run_id,
        resource=run.resource,
        created_at=run.created_at,
        read_at=run.created_at,
        ended_at=run.ends_at if run.over(now) else None,
        outcome=OUTCOMES[run.status(now)],
        full=run.full,
        foreign=run.foreign,
        token=run.access_key,
    )


# From here on: how moto comes to have all this. moto looks operations up by name on its response class.

_moto_is_free = threading.Lock()


def _install(emulator: GlueEmulator) -> ExitStack:
    if not _moto_is_free.acquire(blocking=False):
        raise RuntimeError("moto is one per process, and a GlueEmulator has it already")
    with ExitStack() as stack:
        stack.callback(_moto_is_free.release)
        for operation in FAULTS_OF:
            handler = _handler(emulator, operation)
            stack.enter_context(patch.object(GlueResponse, xform_name(operation), handler, create=True))
        told_update = _telling(emulator, GlueResponse.update_table)
        stack.enter_context(patch.object(GlueResponse, "update_table", told_update))
        stack.enter_context(patch.object(GlueResponse, "glue_backend", property(_backend_asked_for)))
        stack.enter_context(patch.object(GlueResponse, "parameters", property(_parameters)))
        stack.enter_context(patch.object(FakeTable, "as_dict", _marking_views(FakeTable.as_dict)))
        return stack.pop_all()


def _handler(emulator: GlueEmulator, operation: str) -> Callable[[GlueResponse], tuple[str, dict[str, Any]]]:
    def handle(response: GlueResponse) -> tuple[str, dict[str, Any]]:
        try:
            return json.dumps(emulator.answer(_call(operation, response))), dict(JSON)
        except GlueError as refusal:
            return json.dumps(refusal.body(operation)), {**JSON, **refusal.headers, "status": refusal.status}
        except ResponseLostError:
            return _drop_connection(response)

    return handle


JSON: Final[Mapping[str, str]] = {"Content-Type": "application/x-amz-json-1.1"}
"""What Glue's answers are, refusals included; moto says so of its own operations only."""

NAMED_BY_NAME: Final = frozenset({"DeleteDatabase", "DeleteTable", "GetDatabase", "GetTable", "UpdateDatabase"})
"""Operations in which `Name` is that of a database or a table."""


def _parameters(response: GlueResponse) -> dict[str, Any]:
    """The parameters of a request. Names of databases and tables are folded to lower case, as Glue stores them.

    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-databases.html#aws-glue-api-catalog-databases-DatabaseInput
    """
    given: dict[str, Any] = json.loads(response.body)
    operation = str(response.headers.get("X-Amz-Target", "")).rpartition(".")[2]
    _fold(given, "DatabaseName", "TableName", *(["Name"] if operation in NAMED_BY_NAME else ()))
    for part in ("DatabaseInput", "TableInput"):
        if isinstance(given.get(part), dict):
            _fold(given[part], "Name")
    return given


def _fold(named: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if isinstance(named.get(key), str):
            named[key] = named[key].lower()


def _call(operation: str, response: GlueResponse) -> Call:
    given = {name: value for name, value in response.parameters.items() if value is not None}
    return Call(operation, given, response.current_account, response.region, response.access_key)


def _drop_connection(response: GlueResponse) -> tuple[str, dict[str, Any]]:
    """Leave the caller without an answer, as a broken network does: over HTTP the socket is shut under the server."""
    environ = response.normalized_request.environ
    if "werkzeug.socket" not in environ:
        raise ConnectionClosedError(endpoint_url=response.uri)
    drop_connection(environ)
    return "", {}  # werkzeug finds the socket shut when it writes this


def _telling(emulator: GlueEmulator, update_table: Callable[[GlueResponse], Any]) -> Callable[[GlueResponse], Any]:
    def update_and_tell(response: GlueResponse) -> Any:
        answer = update_table(response)
        emulator.table_updated(_call("UpdateTable", response))
        return answer

    return update_and_tell


def _marking_views(as_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def as_dict_with_mark(table: FakeTable, version: str | None = None) -> dict[str, Any]:
        told = as_dict(table, version)
        return told | {"IsMaterializedView": _is_materialized_view(told)}

    return as_dict_with_mark


def _is_materialized_view(table: Mapping[str, Any]) -> bool:
    """Judge by the ViewDefinition, which moto keeps; views in several dialects have one, too, and a type [assumed]."""
    return bool(table.get("ViewDefinition")) and table.get("TableType") != "VIRTUAL_VIEW"


def _backend_asked_for(response: GlueResponse) -> GlueBackend:
    catalog = response.parameters.get("CatalogId") or response.current_account
    return _backend(response.current_account, response.region, catalog)


def _backend(account: str, region: str, catalog: str) -> GlueBackend:
    """Moto's state of one catalog. moto itself ignores catalogs: here each but the account's root has its own state.

    It lives in the root's backend, so that moto's reset forgets it.
    """
    root: GlueBackend = glue_backends[account][region]
    if catalog == account:
        return root
    catalogs: dict[str, GlueBackend] = root.__dict__.setdefault("unstale_catalogs", {})
    if catalog not in catalogs:
        catalogs[catalog] = GlueBackend(region, catalog)
    return catalogs[catalog]


def _role_of_view(call: Call) -> str | None:
    """The definer's role, under which a refresh runs; EntityNotFoundException if there is no such view."""
    named = call.parameters
    try:
        table = _backend(call.account, call.region, named["CatalogId"]).get_table(
            named["DatabaseName"], named["TableName"]
        )
    except EntityNotFoundException as error:
        raise GlueError("EntityNotFoundException", error.message) from None
    told = table.as_dict()
    if not _is_materialized_view(told):
        raise GlueError("EntityNotFoundException", f"{call.resource} is not a materialized view")
    definer: str | None = told["ViewDefinition"].get("Definer")
    return definer
