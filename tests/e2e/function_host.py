"""Stands in for the Functions host: takes messages from real queues, calls worker processes, starts one where one died.

How often a message is tried, and that it goes into the poison queue then, is as in the host's QueueProcessor, with the
numbers of the package's own host.json. Only its times are not kept: what comes back does so at once, and the clocks of
the product and of Fabric stand still but between ticks, when they are turned on: a slow machine changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import requests
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient, QueueMessage

from functions_azure.settings import EVENTS_QUEUE, POISON, TABLE, WAKES_QUEUE
from local.emulators.entra.emulator import Entra, Identity
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType, resource_name
from local.emulators.http_server import Answer, LoopbackServer, Request
from local.emulators.journal import Arrival, PlatformRun, lost
from shared.refresh.records import read_state
from shared.refresh.state import Blocked, State
from tests.support import swagger
from tests.support.azure_host import OTHER, SALES, WORKSPACE, blob_created, packed
from tests.support.azure_worker import Died, Worker
from tests.support.azurite_server import Account

IDENTITY = Identity(
    "5e7d9b30-0000-4000-8000-000000000001", "5e7d9b30-0000-4000-8000-00000000000a", system_assigned=True
)
LAG = timedelta(seconds=2)
CONFIGURATION = f"""
[defaults]
quiet_period = "1s"
visibility_lag = "{LAG.seconds}s"
min_interval = "1s"
timeout = "1m"

[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/" }} }}]

[targets.report]
kind = "fabric-item-job"
workspace = "{WORKSPACE}"
item = "{OTHER}"
job_type = "RunNotebook"
after = ["sales"]
"""
RESOURCES = {
    "sales": resource_name(WORKSPACE, SALES, LAKE_VIEWS),
    "report": resource_name(WORKSPACE, OTHER, "RunNotebook"),
}
HIDDEN_SECONDS = 600
"""How long the host hides a message that it works on (QueueProcessor)."""
STEP = timedelta(seconds=20)
"""Between two ticks here: as short as any wait of the product's that matters, so that little is passed over."""
TURNS = 20
"""Of those, at most, until everything is done: twice the leases and pauses of a start that was lost."""

TRIES = 12
"""How often the queues are looked at between two ticks, if there is something in them: more than the host's default of
five tries, and an end to messages that bring about messages.
"""


class StandingClock:
    """A clock that stands still until it is turned on, but for what keeps two readings apart."""

    def __init__(self) -> None:
        self._time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Tell the host's time."""
        self._time += timedelta(microseconds=10)
        return self._time

    def turn_on(self, step: timedelta) -> None:
        """Let time pass."""
        self._time += step

    def share(self, worker: Worker) -> None:
        """Let the product in a worker see the same time."""
        worker.set_time(self())


class RealClock:
    """The machine's, which stands still for nobody: workers have the same."""

    def __call__(self) -> datetime:
        """Tell the machine's time."""
        return datetime.now(UTC)

    def turn_on(self, step: timedelta) -> None:
        """Must not be asked for."""
        raise AssertionError(step)

    def share(self, worker: Worker) -> None:
        """Nothing to do."""


Clock = StandingClock | RealClock


class Relay:
    """A way to one service of the storage account that can be cut. Use it as a context."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.cut = False
        self.refused = 0
        self._url = url
        self._http = requests.Session()
        self._server = LoopbackServer(self._respond, clock)

    @property
    def url(self) -> str:
        """What to call in its place."""
        return self._server.url

    def _respond(self, request: Request) -> Answer | None:
        if self.cut:
            self.refused += 1
            return None
        query = f"?{urlencode(request.query)}" if request.query else ""
        kept = {name: value for name, value in request.headers.items() if name not in {"host", "content-length"}}
        answer = self._http.request(
            request.method, f"{self._url}{request.path}{query}", data=request.body, headers=kept
        )
        dropped = {"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive", "date"}
        told = {name: value for name, value in answer.headers.items() if name.lower() not in dropped}
        return Answer(answer.status_code, told, answer.content)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._http.close()


class FunctionHost:
    """One instance of the function app. Use it as a context."""

    def __init__(self, package: Path, environment: Mapping[str, str], account: Account, clock: Clock) -> None:
        self.deaths = 0
        self.most_tries = 0
        self.max_dequeue_count: int = json.loads((package / "host.json").read_text())["extensions"]["queues"][
            "maxDequeueCount"
        ]
        self._start: Callable[[], Worker] = lambda: Worker(package, environment)
        self.account, self._clock = account, clock
        self._queues: dict[str, QueueClient] = {}
        self.worker = self._start()

    def queue(self, name: str) -> QueueClient:
        """A queue of the account, as the SDK alone sees it."""
        if name not in self._queues:
            self._queues[name] = QueueClient.from_connection_string(self.account.connection_string, name)
        return self._queues[name]

    def pump(self) -> int:
        """Take what is to be seen in both queues now, once; how many messages that were."""
        taken = 0
        for queue, function in ((EVENTS_QUEUE, "events"), (WAKES_QUEUE, "wakes")):
            found = self.queue(queue).receive_messages(messages_per_page=32, visibility_timeout=HIDDEN_SECONDS)
            for message in list(found):
                taken += 1
                self._deliver(queue, function, message)
        return taken

    def _deliver(self, queue: str, function: str, message: QueueMessage) -> None:
        tries = int(message.dequeue_count or 0)
        self.most_tries = max(self.most_tries, tries)
        done = self._survived(lambda worker: worker.queue(function, message.content, tried=tries))
        if not done and tries < self.max_dequeue_count:
            self.queue(queue).update_message(message, visibility_timeout=0)
            return
        if not done:
            self.queue(queue + POISON).send_message(message.content)
        self.queue(queue).delete_message(message)

    def tick(self) -> bool:
        """The one-minute timer fires; whether the tick was done."""
        return self._survived(lambda worker: worker.tick())

    def _survived(self, call: Callable[[Worker], bool]) -> bool:
        """A call to a worker that dies has failed, and another worker is started."""
        try:
            self._clock.share(self.worker)
            return call(self.worker)
        except Died:
            self.deaths += 1
            self.worker.__exit__()
            self.worker = self._start()
            return False

    def kill(self) -> None:
        """As the platform does, at any moment; the next call finds it dead."""
        self.worker.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.__exit__()
        for client in self._queues.values():
            client.close()


class HostedApp:
    """The function app, its storage on Azurite, Fabric and Entra on loopback; and what came, for the judges."""

    def __init__(self, host: FunctionHost, fabric: FabricEmulator, tables: Relay, clock: Clock, entra: Entra) -> None:
        self.host, self.fabric, self.tables, self.clock = host, fabric, tables, clock
        self.identity_endpoint = entra.identity_environment["IDENTITY_ENDPOINT"]
        self.tokens = entra.tokens
        self.arrivals: list[Arrival] = []

    def arrive(self) -> None:
        """A blob is put, and Event Grid puts its event into the queue."""
        at = self.clock()
        self.arrivals.append(Arrival(RESOURCES["sales"], at))
        event = blob_created(f"orders/{len(self.arrivals)}.parquet", at)
        self.host.queue(EVENTS_QUEUE).send_message(packed(event).decode())

    def settle(self) -> None:
        """Let the first tick plan the configuration, and what is new be refreshed: that would cover a blob, too."""
        self.pass_time(STEP)
        self.drive()

    def drive(self) -> None:
        """Let messages be taken and minutes pass, until no data is missing and nothing runs, or it is too late."""
        for _ in range(TURNS):
            for _ in range(TRIES):
                if not self.host.pump():
                    break
            if not self.missing() and all(run.ended_at for run in self.runs) and not self.is_owing():
                return
            self.pass_time(STEP)

    def pass_time(self, step: timedelta) -> None:
        """Turn the clocks on, and tick."""
        self.clock.turn_on(step)
        self.host.tick()

    def is_owing(self) -> bool:
        """Whether something is left to do by our own records; no verdict, but when to look for the next."""
        return any(state.owed or state.run for state in self._states())

    def is_blocked(self) -> bool:
        """Whether people see a target that is held because it needs one of them."""
        return any(isinstance(state.hold, Blocked) for state in self._states())

    def _states(self) -> list[State]:
        with TableClient.from_connection_string(self.host.account.connection_string, TABLE) as table:
            rows = list(table.query_entities("RowKey ge 'record!f' and RowKey lt 'record!g'"))  # those on Fabric
        return [read_state(row["body"]) for row in rows]

    # --- Verdicts: from Fabric's journal and the blobs put -----------------------------------------------------------

    @property
    def runs(self) -> tuple[PlatformRun, ...]:
        """All runs, oldest first."""
        return self.fabric.journal().entries()

    def missing(self) -> list[Arrival]:
        """Blobs that no successful run read, and successes that the target after it did not follow."""
        ends = [
            Arrival(RESOURCES["report"], run.ended_at)
            for run in self.runs
            if run.resource == RESOURCES["sales"] and run.outcome == "succeeded" and run.ended_at
        ]
        return [*lost(self.arrivals, self.runs, LAG), *lost(ends, self.runs, LAG)]

    def violations(self) -> Iterator[str]:
        """What must never be."""
        for arrival in self.missing():
            yield f"LOST: {arrival}"
        for run in self.runs:
            # Nobody else starts anything here, so a start that Fabric skipped was one during a run of ours.
            if run.outcome == "skipped":
                yield f"OVERLAP: {run}"
        for queue in (EVENTS_QUEUE, WAKES_QUEUE):
            for letter in self.host.queue(queue + POISON).peek_messages(32):
                yield f"POISONED: {letter.content}"


@contextmanager
def host_app(
    package: Path, account: Account, config: Path, *, in_real_time: bool = False, certificate: Path | None = None
) -> Iterator[HostedApp]:
    """Everything; over when the context is left. `certificate` is of a server that speaks https beside it."""
    clock = RealClock() if in_real_time else StandingClock()
    settings = FabricSettings(start_retry_after_seconds=1, poll_hints=(1,), listing_delay=timedelta(seconds=5))
    with ExitStack() as stack:
        entra = stack.enter_context(Entra(clock, identities=[IDENTITY]))
        fabric = stack.enter_context(FabricEmulator(clock, entra.tokens.validate, settings=settings))
        tables = stack.enter_context(Relay(account.table_url.rpartition("/")[0], clock))
        run_time = timedelta(seconds=3)
        fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (JobType(LAKE_VIEWS, run_time=run_time),)))
        fabric.add_item(Item(WORKSPACE, OTHER, "Notebook", (JobType("RunNotebook", run_time=run_time),)))
        through = f"TableEndpoint={tables.url}/{account.name}"
        environment = {
            "UNSTALE_CONFIG": str(config),
            "UNSTALE_STORAGE": re.sub("TableEndpoint=[^;]*", through, account.connection_string),
            "UNSTALE_FABRIC_URL": fabric.url,
            **entra.identity_environment,
            **({"REQUESTS_CA_BUNDLE": str(certificate)} if certificate else {}),
        }
        host = stack.enter_context(FunctionHost(package, environment, account, clock))
        yield HostedApp(host, fabric, tables, clock, entra)
        assert not fabric.unplanned_requests
        swagger.assert_as_published(fabric.exchanges)
