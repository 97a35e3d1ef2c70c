"""Refresh runs of materialized views on a clock: where a run stands follows from the moment at which somebody asks.

    created_at      starts_at                          ends_at
        |  STARTING     |            RUNNING               |  SUCCEEDED, FAILED or STOPPED
        +-- reads its sources here, so what arrives later is not in the view

No threads and no sleeping, so a test may turn the clock. What Glue does not publish is marked [assumed].
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from local.emulators.faults import ClockApart, FailRun, FaultScript, NeverEnd
from local.emulators.journal import Journal, Outcome, PlatformRun

LONGEST_ERROR_MESSAGE: Final = 2048
"""Characters: https://docs.aws.amazon.com/glue/latest/webapi/API_MaterializedViewRefreshTaskRun.html."""

Status = Literal["STARTING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
"""Where a run can stand, in Glue's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueSettings:
    """How the platform behaves where its documents leave it open.

    `run_time` counts from creation. `listing_delay` is how long after its creation a run is first listed. Only the
    newest `retained_runs` of a view are remembered, and `concurrent_runs` of an account and Region may go on at once.
    """

    starting: timedelta = timedelta(milliseconds=200)
    """How long a run is STARTING."""
    run_time: timedelta = timedelta(seconds=3)
    """How long a run takes, counted from its creation."""
    stopping: timedelta = timedelta(milliseconds=500)
    """How long a stop takes to have its effect."""
    listing_delay: timedelta = timedelta(0)
    """How long after its creation a run is first listed."""
    retained_runs: int = 1000
    """How many runs of a view are remembered."""
    concurrent_runs: int = 50
    """How many runs of an account and Region may go on at once."""
    page_size: int = 100
    """Runs on a page where a request names no size."""
    newest_first: bool = True
    """The order of a list, which is not published."""
    processed_bytes: int = 1_000_000
    """The bytes that a successful run says to have processed."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and who sent it."""

    operation: str
    """The operation's name, as the wire has it."""
    parameters: Mapping[str, Any]
    """The parameters of the request."""
    account: str
    """The caller's account."""
    region: str
    """The Region that was asked."""
    access_key: str
    """The key that signed the request."""

    @property
    def resource(self) -> str | None:
        """The view that the parameters name, as journals write it; None if they name none."""
        named = self.parameters
        if not {"CatalogId", "DatabaseName", "TableName"} <= named.keys():
            return None
        return resource_name(named["CatalogId"], named["DatabaseName"], named["TableName"])


class GlueError(Exception):
    """A documented refusal, on its way to the wire."""

    def __init__(self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        """Keep the parts; `status` is the HTTP status, 400 for all errors of the operation's own model."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Run:
    """A refresh task run; `ends_at` is None if it never ends, `told_apart` is what a scripted clock adds."""

    run_id: str
    """Its id."""
    account: str
    """The account that it runs in."""
    region: str
    """The Region that it runs in."""
    catalog: str
    """The catalog of the view."""
    database: str
    """The database of the view."""
    table: str
    """The view."""
    role: str | None
    """The definer's role, under which it runs."""
    full: bool
    """Whether a full refresh was asked for."""
    access_key: str
    """The key that signed its start."""
    foreign: bool
    """Whether someone else started it."""
    created_at: datetime
    """When the start was accepted; it reads its sources then."""
    starts_at: datetime
    """When the run leaves STARTING."""
    ends_at: datetime | None
    """When the run ends; None for never."""
    ends_as: Literal["SUCCEEDED", "FAILED", "STOPPED"] = "SUCCEEDED"
    """How the run ends."""
    processed_bytes: int = 0
    """The bytes that the run says to have processed."""
    error: str | None = None
    """Why the run failed."""
    stop_asked: bool = False
    """Whether the run is being stopped."""
    told_apart: timedelta = timedelta(0)
    """The time that a scripted clock adds to all its times."""

    @property
    def resource(self) -> str:
        """The view, as journals write it."""
        return resource_name(self.catalog, self.database, self.table)

    def over(self, now: datetime) -> bool:
        """Whether the run has ended."""
        return self.ends_at is not None and self.ends_at <= now

    def began(self, now: datetime) -> bool:
        """Whether the run has left STARTING for RUNNING; a run that is stopped at once never does."""
        return self.starts_at <= now and (self.ends_at is None or self.starts_at <= self.ends_at)

    def status(self, now: datetime) -> Status:
        """The status of the run; while a run is being stopped, RUNNING: the documents list no other word [assumed]."""
        if self.over(now):
            return self.ends_as
        return "RUNNING" if self.began(now) else "STARTING"


def resource_name(catalog: str, database: str, table: str) -> str:
    """Name a view as journals and fault scripts do: `catalog/database/table`."""
    return f"{catalog}/{database}/{table}"


OUTCOMES: Final[Mapping[Status, Outcome]] = {
    "STARTING": "running",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}
"""How the journal names each status."""


def _entry(run: Run, now: datetime) -> PlatformRun:
    """The journal's entry of a run at this moment."""
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


class Refreshes:
    """The runs of all accounts, and what the platform allows. Not thread-safe: whoever serves it takes turns."""

    def __init__(self, settings: GlueSettings, faults: FaultScript, foreign_access_keys: frozenset[str]) -> None:
        """Begin without runs. Starts signed with a foreign key are someone else's."""
        self.settings = settings
        self.runs: dict[str, Run] = {}
        self._faults = faults
        self._foreign_access_keys = foreign_access_keys
        self._journal = Journal()
        self._run_times: dict[str, timedelta] = {}

    def journal(self, now: datetime) -> Journal:
        """Bring the journal up to now and return it."""
        for run in self.runs.values():
            self._journal.replace(_entry(run, now))
        return self._journal

    def is_foreign(self, call: Call) -> bool:
        """Whether someone else asks."""
        return call.access_key in self._foreign_access_keys

    def set_run_time(self, resource: str, run_time: timedelta) -> None:
        """Let later runs of one view take their own time."""
        self._run_times[resource] = run_time

    def start(self, call: Call, role: str | None, now: datetime) -> Run:
        """Begin a run of the view, unless one goes on or the account's limit is reached."""
        account = (call.account, call.region)
        going_on = [run for run in self.runs.values() if (run.account, run.region) == account and not run.over(now)]
        if any(run.resource == call.resource for run in going_on):
            raise GlueError("MaterializedViewRefreshTaskRunningException", f"{call.resource} is being refreshed")
        if len(going_on) >= self.settings.concurrent_runs:
            raise GlueError("ResourceNumberLimitExceededException", f"{len(going_on)} refreshes are running")
        run = self._under_run_fault(self._new_run(call, role, now))
        self.runs[run.run_id] = run
        self._journal.add(_entry(run, now))
        self._forget_beyond_retention(run.resource, now)
        return run

    def get(self, call: Call) -> Run:
        """Find a run by its id."""
        run_id = call.parameters["MaterializedViewRefreshTaskRunId"]
        for run in self._of_caller(call):
            if run.run_id == run_id:
                return run
        raise GlueError("EntityNotFoundException", f"there is no refresh task run {run_id}")

    def list_runs(self, call: Call, now: datetime) -> list[Run]:
        """The runs that a list has, all its pages together."""
        wanted = [run for run in self._of_caller(call) if self._is_listed(run, call, now)]
        if self.settings.newest_first:  # the order is not published [assumed]
            wanted.reverse()
        return wanted

    def stop(self, call: Call, now: datetime) -> None:
        """End what runs of the view, a moment later."""
        # The model lists no EntityNotFoundException for a stop: an unknown view has nothing running [assumed].
        for run in self._of_caller(call):
            if run.resource == call.resource and not run.over(now):
                if run.stop_asked:
                    raise GlueError("MaterializedViewRefreshTaskStoppingException", f"{call.resource} is stopping")
                ends_at = now + self.settings.stopping
                self.runs[run.run_id] = replace(run, stop_asked=True, ends_at=ends_at, ends_as="STOPPED", error=None)
                return
        raise GlueError("MaterializedViewRefreshTaskNotRunningException", f"{call.resource} is not being refreshed")

    def _of_caller(self, call: Call) -> list[Run]:
        """The runs that a caller can see, oldest first: those of the account, the Region and the catalog asked for."""
        scope = (call.account, call.region, call.parameters["CatalogId"])
        return [run for run in self.runs.values() if (run.account, run.region, run.catalog) == scope]

    def _is_listed(self, run: Run, call: Call, now: datetime) -> bool:
        """Whether a list that was asked for by these names shows the run by now."""
        database, table = call.parameters.get("DatabaseName"), call.parameters.get("TableName")
        named = database in (None, run.database) and table in (None, run.table)
        return named and run.created_at + self.settings.listing_delay <= now

    def _new_run(self, call: Call, role: str | None, now: datetime) -> Run:
        """A run of the view that a call names, beginning now."""
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
            foreign=self.is_foreign(call),
            created_at=now,
            starts_at=now + self.settings.starting,
            ends_at=now + self._run_times.get(str(call.resource), self.settings.run_time),
            processed_bytes=self.settings.processed_bytes,
        )

    def _under_run_fault(self, run: Run) -> Run:
        """The run with the scripted fault of a run, if one waits for its view."""
        match self._faults.take("run", run.resource):
            case FailRun(message):
                return replace(run, ends_as="FAILED", error=message[:LONGEST_ERROR_MESSAGE])
            case NeverEnd():
                return replace(run, ends_at=None)
            case ClockApart(offset):
                return replace(run, told_apart=offset)
            case _:
                return run

    def _forget_beyond_retention(self, resource: str, now: datetime) -> None:
        """Forget the oldest runs of a view that are over; the journal keeps them."""
        remembered = [run for run in self.runs.values() if run.resource == resource]
        for run in remembered[: -self.settings.retained_runs]:
            if run.over(now):
                self._journal.replace(_entry(run, now))
                del self.runs[run.run_id]
