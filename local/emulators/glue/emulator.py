"""Glue's four operations on refresh runs of materialized views, added to moto 5.2.5, which has none of them.

While a `GlueEmulator` is entered, moto's Glue answers Start-, Get-, List- and StopMaterializedViewRefreshTaskRun(s), in
process (`mock_aws`) and over HTTP (moto's server) alike. What a run does is in `model`, how it is told in `wire`; here
are scripted faults, evidence, and the places where moto is changed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from unittest.mock import patch

from botocore import xform_name
from botocore.exceptions import ConnectionClosedError
from moto.glue.exceptions import EntityNotFoundException
from moto.glue.models import FakeTable, GlueBackend, glue_backends
from moto.glue.responses import GlueResponse

from local.emulators.clock import utc_now
from local.emulators.faults import (
    Fault,
    FaultScript,
    LoseResponse,
    Operation,
    Refuse,
    ServerError,
    Slow,
    Throttle,
)
from local.emulators.glue.lake import page_of_tables, subobjects_read
from local.emulators.glue.model import Call, GlueError, GlueSettings, Refreshes, Run, resource_name
from local.emulators.glue.wire import (
    COMMON_ERRORS,
    GET,
    LIST,
    START,
    STOP,
    GlueEvent,
    error_body,
    events_of,
    place_after,
    status_of,
    table_changed,
    token_of,
    told_run,
    validate,
)
from local.emulators.http_server import drop_connection
from local.emulators.journal import Journal, RefusedStart

__all__ = ["FAULTS_OF", "FOREIGN_ACCESS_KEY", "GlueEmulator", "GlueSettings", "resource_name"]

FAULTS_OF: Final[Mapping[str, Operation]] = {START: "start", GET: "get", LIST: "list", STOP: "cancel"}
"""Under which name a fault script knows each operation."""

FOREIGN_ACCESS_KEY: Final = "UNSTALELOCALFOREIGN1"
"""A start signed with this key is someone else's; 20 characters, because moto reads no other length."""


class ResponseLostError(Exception):
    """The call is done, and its connection is to be dropped."""


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
        """Begin without runs; moto is changed only while the context lasts."""
        self.faults = faults or FaultScript()
        self._refreshes = Refreshes(settings or GlueSettings(), self.faults, foreign_access_keys)
        self.calls: list[Call] = []
        self._clock = clock or utc_now
        self._emit = emit
        self._sleep = sleep
        self._lock = threading.RLock()
        self._told: dict[str, int] = {}
        self._read: dict[str, tuple[int, ...]] = {}
        self._installed = ExitStack()

    def __enter__(self) -> Self:
        self._installed = _install(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._installed.close()

    @property
    def settings(self) -> GlueSettings:
        """How the platform behaves; a test may change it while the emulator goes on."""
        return self._refreshes.settings

    @settings.setter
    def settings(self, settings: GlueSettings) -> None:
        """Let the platform behave otherwise from now on."""
        self._refreshes.settings = settings

    def set_run_time(self, resource: str, run_time: timedelta) -> None:
        """Let later runs of one view take their own time."""
        with self._lock:
            self._refreshes.set_run_time(resource, run_time)

    def journal(self) -> Journal:
        """Bring the journal up to now and return it."""
        with self._lock:
            return self._refreshes.journal(self._clock())

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
            due = [event for run in self._refreshes.runs.values() for event in self._take_due(run, now)]
        for event in sorted(due, key=lambda event: event.time):
            self.emit(event)
        return len(due)

    def table_updated(self, call: Call) -> None:
        """Emit what the catalog emits when somebody has updated a table."""
        database, table = call.parameters["DatabaseName"], call.parameters["TableInput"]["Name"]
        self.emit(table_changed(call.account, call.region, database, table, self._clock()))

    def emit(self, event: GlueEvent) -> None:
        """Emit one event now, if anybody listens."""
        if self._emit:
            self._emit(event)

    def catalog(self, account: str, region: str) -> Callable[[str], GlueBackend]:
        """Moto's state of each catalog of an account and Region, by the catalog's id."""
        return lambda catalog: _backend(account, region, catalog)

    def told_of_view(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The words of the catalog about a view's last refresh: the snapshots that it read, and the view's own."""
        place = (table["CatalogId"], table["DatabaseName"], table["Name"])
        with self._lock:
            now = self._clock()
            ended = [
                run
                for run in self._refreshes.runs.values()
                if (run.catalog, run.database, run.table) == place and run.status(now) == "SUCCEEDED"
            ]
            last = max(ended, key=lambda run: run.created_at, default=None)
        if last is None:
            return {}
        return {
            "SubObjectVersionIds": sorted(set(self._read.get(last.run_id, ()))),
            "ViewVersionId": int(last.created_at.timestamp() * 1_000_000),
            "LastRefreshType": "FULL" if last.full else "INCREMENTAL",
        }

    def throttled_look(self) -> GlueError | None:
        """A refusal of GetTables, if one is scripted."""
        return _scripted_refusal(GET, self.faults.take("look"))

    def _answer_under(self, fault: Fault | None, call: Call) -> dict[str, Any]:
        """Answer as the script wants: refused without the deed, refused after it, or truly."""
        refusal = _scripted_refusal(call.operation, fault)
        if refusal and not (isinstance(fault, Refuse | ServerError) and fault.done):
            self._note(refusal, call)
            raise refusal
        answer = self._do(call)
        if refusal:
            raise refusal
        return answer

    def _resource_of(self, call: Call) -> str | None:
        """The view that a call concerns, be it named or meant by the id of a run."""
        run = self._refreshes.runs.get(str(call.parameters.get("MaterializedViewRefreshTaskRunId")))
        return run.resource if run else call.resource

    def _hinder(self, fault: Fault | None) -> None:
        """Delay or lose an answer on its way, be it a refusal or not."""
        if isinstance(fault, Slow):
            self._sleep(fault.seconds)
        if isinstance(fault, LoseResponse):
            raise ResponseLostError

    def _do(self, call: Call) -> dict[str, Any]:
        """Judge the parameters, then do what the operation does; a refused start is kept."""
        operations = {START: self._start, GET: self._get, LIST: self._list, STOP: self._stop}
        with self._lock:
            try:
                validate(call)
                return operations[call.operation](call, self._clock())
            except GlueError as refusal:
                self._note(refusal, call)
                raise

    def _note(self, refusal: GlueError, call: Call) -> None:
        """Keep a start that made no run."""
        if call.operation == START and call.resource:
            now, foreign = self._clock(), self._refreshes.is_foreign(call)
            refused = RefusedStart(call.resource, now, refusal.code, call.access_key, foreign)
            self._refreshes.journal(now).add(refused)

    def _start(self, call: Call, now: datetime) -> dict[str, Any]:
        """StartMaterializedViewRefreshTaskRun."""
        run = self._refreshes.start(call, _role_of_view(call), now)
        self._read[run.run_id] = _read_by_refresh(call)
        return {"MaterializedViewRefreshTaskRunId": run.run_id}

    def _get(self, call: Call, now: datetime) -> dict[str, Any]:
        """GetMaterializedViewRefreshTaskRun."""
        return {"MaterializedViewRefreshTaskRun": told_run(self._refreshes.get(call), now)}

    def _list(self, call: Call, now: datetime) -> dict[str, Any]:
        """ListMaterializedViewRefreshTaskRuns, one page."""
        wanted = self._refreshes.list_runs(call, now)
        rest = wanted[place_after(call.parameters.get("NextToken"), wanted) :]
        page = rest[: call.parameters.get("MaxResults", self.settings.page_size)]
        more = {"NextToken": token_of(page[-1])} if len(rest) > len(page) else {}
        return {"MaterializedViewRefreshTaskRuns": [told_run(run, now) for run in page]} | more

    def _stop(self, call: Call, now: datetime) -> dict[str, Any]:
        """StopMaterializedViewRefreshTaskRun."""
        self._refreshes.stop(call, now)
        return {}

    def _take_due(self, run: Run, now: datetime) -> list[GlueEvent]:
        """The events of a run that have come due and were not emitted yet."""
        events = events_of(run)[self._told.get(run.run_id, 0) :]
        due = [event for event in events if event.time <= now]
        self._told[run.run_id] = self._told.get(run.run_id, 0) + len(due)
        return due


def _scripted_refusal(operation: str, fault: Fault | None) -> GlueError | None:
    """The refusal that a script wants, if it wants one."""
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


# From here on: how moto comes to have all this. moto looks operations up by name on its response class.

_moto_is_free = threading.Lock()


def _install(emulator: GlueEmulator) -> ExitStack:
    """Put the operations, the catalogs and the names into moto, for one emulator at a time."""
    if not _moto_is_free.acquire(blocking=False):
        raise RuntimeError("moto is one per process, and a GlueEmulator has it already")
    with ExitStack() as stack:
        stack.callback(_moto_is_free.release)
        for operation in FAULTS_OF:
            handler = _handler(emulator, operation)
            stack.enter_context(patch.object(GlueResponse, xform_name(operation), handler, create=True))
        told_update = _tell_updates(emulator, GlueResponse.update_table)
        stack.enter_context(patch.object(GlueResponse, "update_table", told_update))
        stack.enter_context(patch.object(GlueResponse, "glue_backend", property(_backend_asked_for)))
        stack.enter_context(patch.object(GlueResponse, "parameters", property(_parameters)))
        stack.enter_context(patch.object(FakeTable, "as_dict", _marking_views(emulator, FakeTable.as_dict)))
        stack.enter_context(patch.object(GlueResponse, "get_tables", _make_paging(emulator)))
        return stack.pop_all()


def _handler(emulator: GlueEmulator, operation: str) -> Callable[[GlueResponse], tuple[str, dict[str, Any]]]:
    """A method for moto's response class that answers one operation."""

    def handle(response: GlueResponse) -> tuple[str, dict[str, Any]]:
        """Answer as JSON, refuse as JSON, or leave the caller without an answer."""
        try:
            return json.dumps(emulator.answer(_call(operation, response))), dict(JSON)
        except GlueError as refusal:
            return json.dumps(error_body(refusal, operation)), {**JSON, **refusal.headers, "status": refusal.status}
        except ResponseLostError:
            return _drop_connection(response)

    return handle


JSON: Final[Mapping[str, str]] = {"Content-Type": "application/x-amz-json-1.1"}
"""The type of Glue's answers, refusals included; moto says so of its own operations only."""

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
    """Fold the values of these keys to lower case."""
    for key in keys:
        if isinstance(named.get(key), str):
            named[key] = named[key].lower()


def _call(operation: str, response: GlueResponse) -> Call:
    """A request as the emulator sees it, whoever sent it."""
    given = {name: value for name, value in response.parameters.items() if value is not None}
    return Call(operation, given, response.current_account, response.region, response.access_key)


def _drop_connection(response: GlueResponse) -> tuple[str, dict[str, Any]]:
    """Leave the caller without an answer, as a broken network does: over HTTP the socket is shut under the server."""
    environ = response.normalized_request.environ
    if "werkzeug.socket" not in environ:
        raise ConnectionClosedError(endpoint_url=response.uri)
    drop_connection(environ)
    return "", {}  # werkzeug finds the socket shut when it writes this


def _tell_updates(emulator: GlueEmulator, update_table: Callable[[GlueResponse], Any]) -> Callable[[GlueResponse], Any]:
    """UpdateTable as moto has it, told to the catalog's listeners besides."""

    def update_and_tell(response: GlueResponse) -> Any:
        """Update, then tell."""
        answer = update_table(response)
        emulator.table_updated(_call("UpdateTable", response))
        return answer

    return update_and_tell


def _marking_views(emulator: GlueEmulator, as_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A table's description as moto has it, with what Glue says of materialized views."""

    def as_dict_with_mark(table: FakeTable, version: str | None = None) -> dict[str, Any]:
        """Describe the table, and mark it."""
        told = as_dict(table, version)
        if not _is_materialized_view(told):
            return told | {"IsMaterializedView": False}
        definition = told["ViewDefinition"] | emulator.told_of_view(told)
        return told | {"IsMaterializedView": True, "ViewDefinition": definition}

    return as_dict_with_mark


def _make_paging(emulator: GlueEmulator) -> Callable[[GlueResponse], tuple[str, dict[str, Any]]]:
    """GetTables with pages and whole-second times; moto has neither."""

    def get_tables(response: GlueResponse) -> tuple[str, dict[str, Any]]:
        refusal = emulator.throttled_look()
        if refusal:
            return json.dumps(error_body(refusal, GET)), {**JSON, **refusal.headers, "status": refusal.status}
        asked = response.parameters
        tables = response.glue_backend.get_tables(asked["DatabaseName"], asked.get("Expression"))
        page = page_of_tables([table.as_dict() for table in tables], asked)
        return json.dumps(page, default=_epoch_seconds), dict(JSON)

    return get_tables


def _epoch_seconds(time: datetime) -> float:
    """A time of moto's, which is UTC and does not say so, as Glue writes it."""
    return time.replace(tzinfo=UTC).timestamp()


def _read_by_refresh(call: Call) -> tuple[int, ...]:
    """The snapshots that a refresh reads, which it does when it is created."""
    named = call.parameters

    def backend(catalog: str) -> GlueBackend:
        return _backend(call.account, call.region, catalog)

    view = backend(named["CatalogId"]).get_table(named["DatabaseName"], named["TableName"]).as_dict()
    return subobjects_read(call.account, backend, view)


def _is_materialized_view(table: Mapping[str, Any]) -> bool:
    """Judge by the ViewDefinition, which moto keeps; views in several dialects have one, too, and a type [assumed]."""
    return bool(table.get("ViewDefinition")) and table.get("TableType") != "VIRTUAL_VIEW"


def _backend_asked_for(response: GlueResponse) -> GlueBackend:
    """The state of the catalog that a request names, or of the account's own."""
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
