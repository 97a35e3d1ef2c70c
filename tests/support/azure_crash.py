"""One deployment on Azure whose worker dies at one request: the product's own shell, store, waker and Fabric client.

Storage is Azurite and Fabric its emulator, both over real HTTP; time is virtual, that of deadlines included, so that a
busy machine changes nothing. What stands in for the cloud is the host: it delivers what came, brings back after half a
minute what was not acknowledged, and ticks every minute.

    the loop -> the SDK, `requests` -> Wire -> Azurite, Fabric
                                        |
                 the n-th request that changes something, or asks Fabric:
                 the worker dies before it leaves / dies with the answer under way / lives on without the answer
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace as replaced
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self
from unittest.mock import patch

import requests
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueClient
from msgspec.structs import replace
from requests.adapters import HTTPAdapter

from functions_azure import clients, shell, store, wiring
from functions_azure.clients import Deadline
from functions_azure.platform import Connection
from functions_azure.settings import EVENTS_QUEUE, TABLE, WAKES_QUEUE, Settings
from functions_azure.shell import ComesBackError, Shell
from functions_azure.telemetry import Telemetry
from local.emulators.entra.tokens import FABRIC, Tokens
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType, Timing, resource_name
from local.emulators.journal import Arrival, PlatformRun, count_overlaps, lost
from shared.config.load import Configuration, load
from shared.refresh import planning
from shared.refresh.engine import Ports
from shared.refresh.ports import Waker
from shared.refresh.records import DEPLOYMENT_KEY, read_deployment, read_state
from shared.refresh.state import Blocked, State, Wake
from shared.targets import Cloud, ItemJob
from tests.support import swagger
from tests.support.azure_host import SALES, US, WORKSPACE, HandClock, blob_created
from tests.support.azurite_server import Account
from tests.support.core import is_rolled_out

JOBS = {"sales": JobType(LAKE_VIEWS, timedelta(seconds=40)), "report": JobType("DefaultJob", timedelta(seconds=55))}
LAG = timedelta(seconds=5)
POLICY = f"""
[defaults]
quiet_period = "10s"
visibility_lag = "{LAG.seconds}s"
min_interval = "1s"
"""
SALES_VIEWS = f"""
[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales" }} }}]
"""
REPORT_JOB = f"""
[targets.report]
kind = "fabric-item-job"
workspace = "{WORKSPACE}"
item = "{SALES}"
job_type = "{JOBS["report"].name}"
"""
FABRIC_SETTINGS = FabricSettings(start_retry_after_seconds=45, poll_hints=(20,), listing_delay=timedelta(seconds=3))
NOT_LONG = timedelta(milliseconds=200)
"""In Fabric's queue."""
MINUTE, COMES_BACK = timedelta(minutes=1), timedelta(seconds=30)
PATIENCE = timedelta(hours=2)
"""A deployment that is not at rest by then never will be."""


class Crash(BaseException):
    """The worker is gone. No `except Exception` of the product or of an SDK survives it."""


class Manner(StrEnum):
    """What goes wrong at a request."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    UNANSWERED = "lives on unanswered"


class Fault(NamedTuple):
    """At which request, counted from 1, and how."""

    number: int
    manner: Manner


class Planned(NamedTuple):
    """How a deployment stands after its first tick, which plans it: the next telling may go on from here."""

    time: datetime
    rows: Sequence[Mapping[str, Any]]
    wakes: Sequence[tuple[datetime, bytes]]
    effects: Sequence[str]


class VirtualDeadline(Deadline):
    """`functions_azure.clients.Deadline` by the clock of the test: sockets are quick enough in any case."""

    def __init__(self, clock: HandClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._until = clock.monotonic() + seconds

    def seconds_left(self, most_seconds: float = math.inf) -> float:
        """Seconds until the invocation must be over."""
        return min(most_seconds, self._until - self._clock.monotonic())


class Wire(HTTPAdapter):
    """All requests of the product pass here; those that have an effect, or are Fabric's, are counted.

    `last` are the numbers of those with which an invocation ended.
    """

    def __init__(self, clock: HandClock, fault: Fault | None) -> None:
        super().__init__(max_retries=0)
        self.effects: list[str] = []
        self.last: set[int] = set()
        self._clock = clock
        self._fault = fault

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send it, unless this is the one. It takes a moment of virtual time."""
        manner = self._manner(_effect(request))
        if manner is Manner.DIES_BEFORE:
            raise Crash
        try:
            answer = super().send(request, *args, **options)
        except requests.ConnectionError:
            if manner is Manner.DIES_AFTER:
                raise Crash from None
            raise
        self._clock.move_on(milliseconds=10)
        if manner:
            answer.close()
            raise Crash if manner is Manner.DIES_AFTER else requests.ConnectionError("no answer", request=request)
        return answer

    def _manner(self, effect: str) -> Manner | None:
        if not effect:
            return None
        self.effects.append(effect)
        return self._fault.manner if self._fault and self._fault.number == len(self.effects) else None


def _effect(request: requests.PreparedRequest) -> str:
    """What a request does, "" for a read of the table: dying there is dying after the effect before."""
    method, path = request.method or "", request.path_url.partition("?")[0]
    if "/workspaces/" in path:
        return _OPERATIONS[method, path.rpartition("/")[2] if path.endswith(("/instances", "/cancel")) else "run"]
    if path.endswith("/$batch"):
        return "append" if b"run!" in _bytes(request.body) else "save"
    if method == "POST" and WAKES_QUEUE in path:
        return "wake"
    return "" if method == "GET" else f"{method} {path}"


_OPERATIONS = {
    ("POST", "instances"): "start",
    ("GET", "instances"): "list",
    ("GET", "run"): "get",
    ("POST", "cancel"): "cancel",
}


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body or b"")


class Undelayed:
    """The product's waker, but for the delay: a queue's clock is the real one, so the host does the waiting here."""

    def __init__(self, waker: Waker) -> None:
        self.reach, self.relays = waker.reach, waker.relays
        self._waker = waker

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Send it at once."""
        self._waker.send(wake, timedelta(0))


class GoodTokens:
    """`functions_azure.tokens.Tokens`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def token(self) -> str:
        """A good one."""
        return self._tokens.issue(US, FABRIC, timedelta(hours=1))

    def forget(self, token: str) -> None:
        """Never happens here."""
        raise AssertionError(token)


class Storage:
    """An account as the host and the judges see it: past the wire. Use it as a context."""

    def __init__(self, account: Account) -> None:
        self.connection_string = account.connection_string
        self._tables = TableServiceClient.from_connection_string(account.connection_string)
        self._queue = QueueClient.from_connection_string(account.connection_string, WAKES_QUEUE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.close()
        self._queue.close()

    def empty(self) -> None:
        """Make the table anew, and take all messages out."""
        self._tables.delete_table(TABLE)
        self._tables.create_table(TABLE)
        self._queue.clear_messages()

    def fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put rows into the empty table, which has one partition here."""
        self._tables.get_table_client(TABLE).submit_transaction([("create", row) for row in rows])

    def rows(self) -> dict[str, Mapping[str, Any]]:
        """All rows of the table, by their keys."""
        return {str(row["RowKey"]): row for row in self._tables.get_table_client(TABLE).list_entities()}

    def new_wakes(self) -> list[str]:
        """The messages that were not taken yet. They stay hidden for good: the host delivers them from its agenda."""
        pages = self._queue.receive_messages(messages_per_page=32, visibility_timeout=86_400).by_page()
        return [message.content for message in next(pages, ())]


class Deployment:
    """The host, its clock, and what the judges need."""

    def __init__(  # noqa: PLR0917 - what a deployment is made of
        self, text: str, storage: Storage, fabric: FabricEmulator, clock: HandClock, tokens: Tokens, wire: Wire
    ) -> None:
        self.configuration = load(text)
        self.fabric, self.clock, self.wire = fabric, clock, wire
        self.arrivals: list[Arrival] = []
        self.crashes = 0
        self.planned: Planned | None = None
        self._storage = storage
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = count()
        self._wakes: list[tuple[datetime, bytes]] = []
        self._found = Settings(Path("unstale.toml"), storage=storage.connection_string, fabric_url=fabric.url)
        self._parts = wiring.Parts(self._found, lambda: self.configuration)
        self._parts.tokens = GoodTokens(tokens)  # type: ignore[assignment]
        self._parts.connection = Connection(_session(wire))
        self._shell = Shell(lambda: self.configuration, self._make_ports, _no_dead_letters, Telemetry())

    def _make_ports(self, read: Configuration, deadline: Deadline) -> Ports:
        made = wiring.make_ports(self._found, read, self._parts, lambda _: None, clock=self.clock, deadline=deadline)
        return replace(made, waker=Undelayed(made.waker))

    # --- The host ----------------------------------------------------------------------------------------------------

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen, so many seconds from now."""
        heapq.heappush(self._agenda, (self.clock.time + timedelta(seconds=seconds), next(self._order), do))

    def run(self, planned: Planned | None = None) -> None:
        """Deploy, and let time pass until nothing is to come any more and nothing is owed; or for hours in vain.

        With `planned` it goes on from where another telling of the same story was after its first tick.
        """
        self.arrivals += [Arrival(self.resource(name), self.clock.time) for name in self.configuration.by_name]
        ends = self.clock.time + PATIENCE
        if planned:
            self._go_on(planned)
        else:
            self._tick()
            self.planned = self._as_planned()
        while self.clock.time < ends and not (self._is_calm(ends) and self.rests()):
            moment, _, do = heapq.heappop(self._agenda)
            self.clock.time = max(moment, self.clock.time)
            do()

    def _as_planned(self) -> Planned:
        rows = [dict(row) for row in self._storage.rows().values()]
        return Planned(self.clock.time, rows, tuple(self._wakes), tuple(self.wire.effects))

    def _go_on(self, planned: Planned) -> None:
        self.at(MINUTE.total_seconds(), self._tick)
        self.clock.time = planned.time
        self._storage.fill(planned.rows)
        self.wire.effects += planned.effects
        self.wire.last.add(len(planned.effects))
        for due, body in planned.wakes:
            self._await(due, body)

    def _is_calm(self, ends: datetime) -> bool:
        """Whether nothing but the tick is to come."""
        return sum(moment <= ends for moment, _, _ in self._agenda) == 1

    def _tick(self) -> None:
        """The one-minute timer fires. A tick that would find nothing to do is left out, for speed: it only reads."""
        self.at(MINUTE.total_seconds(), self._tick)
        due = f"due!{self.clock.time:%Y-%m-%dT%H:%M:%S.%fZ}"
        rows = self._storage.rows()
        if not self._is_planned(rows) or any("due!" < name <= due for name in rows):
            self._invoke(self._shell.tick)

    def _deliver(self, queue: str, body: bytes) -> None:
        if not self._invoke(lambda: self._shell.deliver(queue, body)):
            self.at(COMES_BACK.total_seconds(), partial(self._deliver, queue, body))

    def _invoke(self, work: Callable[[], None]) -> bool:
        """One invocation: whether it was acknowledged."""
        try:
            work()
        except Crash:
            self.crashes += 1
            return False
        except ComesBackError:
            return False
        finally:
            self.wire.last.add(len(self.wire.effects))
            self._take_wakes()
        return True

    def _take_wakes(self) -> None:
        """Out of the queue with what is new in it, and onto the agenda."""
        if self.wire.effects.count("wake") == len(self._wakes):
            return
        for content in self._storage.new_wakes():
            self._await(datetime.fromisoformat(json.loads(content)["wake"]["due"]), content.encode())

    def _await(self, due: datetime, body: bytes) -> None:
        self._wakes.append((due, body))
        delay = max(0, math.ceil((due - self.clock.time).total_seconds()))
        self.at(delay, partial(self._deliver, WAKES_QUEUE, body))

    # --- What happens ------------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """A blob is there; it can be read `LAG` later at the latest."""
        self.arrivals.append(Arrival(self.resource("sales"), self.clock.time))
        event = blob_created(f"{len(self.arrivals)}.parquet", self.clock.time)
        self._deliver(EVENTS_QUEUE, json.dumps(event).encode())

    def foreign_start(self, name: str, *, queued: timedelta = NOT_LONG) -> None:
        """Someone else starts a target's job, which may have to wait in Fabric's queue."""
        self.fabric.add_item(_item(queued))
        self.fabric.start_foreign(WORKSPACE, SALES, JOBS[name].name)
        self.fabric.add_item(_item())

    # --- What is known, read past the wire ---------------------------------------------------------------------------

    def resource(self, name: str) -> str:
        """A target, as the journal calls it."""
        resource = self.configuration.by_name[name].resource
        data = resource.execution_data if isinstance(resource, ItemJob) else None
        job = JOBS["report" if isinstance(resource, ItemJob) else "sales"]
        return resource_name(WORKSPACE, SALES, job.name, {"executionData": data} if data else None)

    def _is_planned(self, rows: Mapping[str, Mapping[str, Any]]) -> bool:
        return is_rolled_out(read_deployment(_body(rows, DEPLOYMENT_KEY)), self.configuration.package(Cloud.AZURE))

    def states(self) -> dict[str, State]:
        """What the records say, by target."""
        rows = self._storage.rows()
        return {target.name: read_state(_body(rows, target.key)) for target in self.configuration.targets}

    def rests(self) -> bool:
        """Whether all targets are planned, nothing is owed and nothing runs."""
        return all(state.definition and not (state.owed or state.run) for state in self.states().values())

    def violations(self) -> list[str]:
        """What is lost or overlaps by the journal of Fabric; and what never came to rest, or is held for no reason."""
        runs = [run for run in self.fabric.journal().entries() if not run.foreign]
        found = [f"OVERLAP: {count_overlaps(runs)} pairs"] * bool(count_overlaps(runs))
        found += [f"OVERLAP: {run} was started during a run of ours" for run in runs if _during_another(run, runs)]
        missing = lost([*self.arrivals, *self._ends(runs)], runs, LAG)
        for name, state in self.states().items():
            if self._is_blocked(name, state, runs):
                continue
            found += [f"LOST: {arrival}" for arrival in missing if arrival.resource == self.resource(name)]
            found += [f"NOT AT REST: {name}: {state}"] * bool(state.owed or state.run or state.hold)
        return found

    def _is_blocked(self, name: str, state: State, runs: Sequence[PlatformRun]) -> bool:
        """Visibly held, with reason: a run that may be anybody's goes on past the timeout (rule 8)."""
        goes_on = any(run.resource == self.resource(name) and run.ended_at is None for run in runs)
        return goes_on and isinstance(state.hold, Blocked) and state.hold.stuck

    def _ends(self, runs: Sequence[PlatformRun]) -> Iterator[Arrival]:
        """The last success of a target is a reason for those that come after it."""
        for target in self.configuration.targets:
            for name in target.after:
                resource = self.resource(name)
                done = (run for run in runs if run.resource == resource and run.outcome == "succeeded")
                ends = [run.ended_at for run in done if run.ended_at]
                yield Arrival(self.resource(target.name), max(ends, default=self.clock.time))


def _during_another(run: PlatformRun, runs: Sequence[PlatformRun]) -> bool:
    """Whether it was started while another one went on, even if Fabric skipped it."""
    others = (one for one in runs if one.resource == run.resource and one is not run and one.outcome != "skipped")
    return any(one.created_at <= run.created_at < (one.ended_at or run.created_at) for one in others)


def _body(rows: Mapping[str, Mapping[str, Any]], key: str) -> bytes:
    found = [row["body"] for name, row in rows.items() if name.startswith("record!") and row["key"] == key]
    return found[0] if found else b""


def _session(wire: Wire) -> requests.Session:
    made = requests.Session()
    made.trust_env = False  # proxies and `.netrc` are looked for before each request
    made.mount("http://", wire)
    return made


def _item(queue_time: timedelta = NOT_LONG) -> Item:
    """The lakehouse, with its jobs."""
    return Item(WORKSPACE, SALES, "Lakehouse", tuple(replaced(job, queue_time=queue_time) for job in JOBS.values()))


def _no_dead_letters(_deadline: Deadline) -> Any:
    raise AssertionError("nothing in the story cannot be read")


@contextmanager
def deployed(text: str, storage: Storage, fault: Fault | None, inexact_seed: int | None = None) -> Iterator[Deployment]:
    """A deployment with an empty account, before its first tick: its targets are new, and so to be refreshed.

    With a seed, Fabric tells times as inexactly as they were recorded.
    """
    settings = replaced(FABRIC_SETTINGS, timing=Timing(seed=inexact_seed))
    clock = HandClock()
    wire = Wire(clock, fault)
    tokens = Tokens(clock.now, "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935")
    storage.empty()
    with (
        FabricEmulator(clock.now, tokens.validate, settings=settings) as fabric,
        patch.object(clients, "session", partial(_session, wire)),
        patch.object(clients, "READ_SECONDS", 60.0),  # what is slow here is the machine
        patch.object(shell, "Deadline", partial(VirtualDeadline, clock)),
        patch.object(store, "PARTITIONS", 1),  # a tick asks each of eight: seven answers that say nothing
        patch.object(planning, "ROLLED_OUT", 2 * PATIENCE),  # what that catches must not hide what is lost here
        closing(wire),
    ):
        fabric.add_item(_item())
        yield Deployment(text, storage, fabric, clock, tokens, wire)
        assert not fabric.unplanned_requests
        swagger.assert_as_published(fabric.exchanges)
