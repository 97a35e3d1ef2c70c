"""The Azure half of the demo: the function app's own triggers, or the obvious one, before the Fabric emulator.

State and wakes are in memory here, so that the demo needs no storage server; tests run the same triggers on Azurite.

    the story ──> Event Grid's queue, OneLake's event hub ──> app.py's triggers ──> engine ──> Fabric's emulator
                                                 a timer, ──^                          |            |
                                                 wakes ─────^──────────────────────────'            v
                                                                          its journal: what ran, what each run read

What is not Azure's or Fabric's own here is the code that ships: triggers, shell, engine, HTTP to Fabric, tokens by
msal.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any
from unittest.mock import patch

import azure.functions as func

from functions_azure import app, settings, wiring
from functions_azure.clients import NEVER, Deadline
from functions_azure.shell import ComesBackError, Shell
from functions_azure.telemetry import Telemetry
from local.demo.naive import NaiveFabricFunction, Tell
from local.demo.story import FOREIGN_RUN_TIME, LATE, TICK, CloudStage, Emit, Patience, both, goes_on
from local.emulators.aws.lambda_host import Every
from local.emulators.clock import FastClock, UnhurriedClock
from local.emulators.entra.emulator import Entra, Identity
from local.emulators.entra.tokens import FABRIC as FABRIC_AUDIENCE
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType, resource_name
from local.emulators.fabric.onelake import OneLake
from local.emulators.fabric.workload import Caller, Registration, WorkloadFabric, function_host
from local.emulators.journal import Arrival, Journal
from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, WorkloadJob
from shared.inbound.wakes import wake_message
from shared.refresh.engine import Ports
from shared.refresh.ports import Store
from shared.targets import BlobCreated, Cloud, ItemJob, LakeViews, OneLakeChanged, Target

FABRIC = FabricSettings(start_retry_after_seconds=20, poll_hints=(20, None, 10), listing_delay=timedelta(seconds=5))
"""A platform whose hints and delays fit into the demo's short day."""
RUN_TIME = timedelta(seconds=40)
"""How long a job runs, in the demo's time: as long as a refresh on the other cloud."""
PAUSE_SECONDS = 0.05
"""Real seconds between two looks into a queue: half a second of the demo's time, as the host looks every two."""
REGISTRATION = Registration(
    "api://contoso.com/unstale", "7a1d0000-0000-4000-8000-000000000001", "7a1d0000-0000-4000-8000-000000000002"
)
"""Claims of Fabric's tokens: the workload, and the customer whose item it is."""
ITEM = "b14cb7e7-d346-4751-9cfd-8c2767d53111"
"""The id of the workload's item, of whose jobs Fabric asks."""
US = Identity("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", system_assigned=True)
"""The managed identity of the function app."""


class KeptDeadLetters:
    """The poison queue of a function app without storage; nothing in the story belongs there."""

    def __init__(self) -> None:
        """Begin empty."""
        self.kept: list[str] = []

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Keep a message in sight."""
        self.kept.append(f"{queue}: {why}: {body[:200]!r}")

    def return_to(self, queue: str, body: bytes) -> None:
        """Only an event hub's trigger asks for this."""
        raise NotImplementedError(f"{queue} {body!r}")


class AzureStage(CloudStage):
    """`story.Stage` for the Fabric targets, and what the judges need: the arrivals and the journal."""

    def __init__(
        self,
        configuration: Configuration,
        clock: FastClock,
        patience: Patience,
        fabric: FabricEmulator,
        onelake: OneLake | None = None,
    ) -> None:
        """Take the configuration's targets on Azure. Nothing has arrived yet; tables need a OneLake."""
        super().__init__(configuration, clock, patience, Cloud.AZURE)
        self.queue: SimpleQueue[str] = SimpleQueue()
        self.hub: SimpleQueue[str] = SimpleQueue()
        self._onelake = onelake
        self._configuration = configuration
        self._fabric = fabric
        self._last_event: dict[str, dict[str, Any]] = {}
        self.workload: WorkloadFabric | None = None

    # --- What the story does -----------------------------------------------------------------------------------------

    def arrive(self, target: str, count: int = 1) -> None:
        """Let Event Grid tell of blobs, in the form that it puts into a queue."""
        source = next(s for s in self.targets[target].on if isinstance(s, BlobCreated))
        for number in range(count):
            name = f"{source.prefix}{self._clock.now():%H%M%S%f}-{number}.parquet"
            self._last_event[target] = _blob_created(source, name, self._clock.now())
            self._arrivals.append(Arrival(self.resource_of(target), self._clock.now()))
            self._send(target, self._last_event[target])

    def replay(self, target: str) -> None:
        """Deliver the last event again."""
        self._send(target, self._last_event[target])

    def deliver_late(self, target: str) -> None:
        """Deliver an event that is an hour older than the last."""
        event = self._last_event[target]
        long_ago = datetime.fromisoformat(event["eventTime"]) - LATE
        self._send(target, event | {"eventTime": _text(long_ago)})

    def commit(self, target: str, *, told: bool, data: bool = True) -> None:
        """Commit to the Delta table of the target's source; an eventstream that is paused tells of nothing."""
        source = self._table(target)
        assert self._onelake  # noqa: S101 - the story commits where there is one
        version = self._onelake.append(source.workspace, source.item, source.path, data=data)
        if data:
            self._arrivals.append(Arrival(self.resource_of(target), self._clock.now()))
        self.deliveries[target] += 1
        if told:
            self.hub.put(json.dumps(_file_created(source, version, self._clock.now())))

    def _table(self, target: str) -> OneLakeChanged:
        """The Delta table that a target reads."""
        return next(source for source in self.targets[target].on if isinstance(source, OneLakeChanged))

    def fault(self, target: str, fault: Any, operation: Any) -> None:
        """Script one fault of the platform."""
        self._fabric.faults.add(fault, operation, resource=_place(self.targets[target])[1])

    def someone_else_starts(self, target: str, takes: timedelta = FOREIGN_RUN_TIME) -> None:
        """Let a schedule of Fabric's own start a run, once none goes on."""
        self.patience.until(lambda: self._schedule_started(target, takes), f"start of {target} by a schedule")

    def fabric_asks(self, target: str) -> None:
        """A job counts as data of the moment when it is asked for. Nothing but the product serves such calls.

        To the obvious handler it is one more event, as the obvious workload starts a run and forgets it.
        """
        if self.workload is None:
            self.arrive(target)
            return
        self._arrivals.append(Arrival(self.resource_of(target), self._clock.now()))
        self.deliveries[target] += 1
        job = self._workload_job(target)
        self.workload.ask((_place(self.targets[target])[0], job.item_type, ITEM), job.job_type)

    def job_states(self) -> list[str]:
        """The state of each job as Fabric was told it last; a job that Fabric gave up is waited for no more."""
        jobs = self.workload.jobs.values() if self.workload else ()
        return ["given up" if job.given_up else job.status for job in jobs]

    def make_due(self, target: str, at: datetime) -> None:
        """A schedule time counts as data of that time."""
        self._arrivals.append(Arrival(self.resource_of(target), at))
        self.deliveries[target] += 1

    # --- What the judges ask -----------------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """The platform's journal, up to now."""
        return self._fabric.journal()

    def arrivals(self, target: str) -> list[Arrival]:
        """Arrivals for a target: blobs, and the ends of our own runs of the targets that it comes after."""
        resource = self.resource_of(target)
        ends = [Arrival(resource, at) for at in self._ends_before(target)]
        return [arrival for arrival in list(self._arrivals) if arrival.resource == resource] + ends

    def _ends_before(self, target: str) -> list[datetime]:
        """When runs of ours ended well of the targets that this one comes after: each is a reason to refresh it."""
        before = {self.resource_of(name) for name in self.targets[target].after}
        return [
            run.ended_at
            for run in self.journal.entries()
            if run.resource in before and run.ended_at and run.outcome == "succeeded" and not run.foreign
        ]

    def signals(self, target: str) -> int:
        """Blobs, what was delivered once more or late, and the ends of what it comes after."""
        return self.deliveries[target] + len(self._ends_before(target))

    def resource_of(self, target: str) -> str:
        """The target's name in the journal."""
        resource = self.targets[target].resource
        data = resource.execution_data if isinstance(resource, ItemJob) else None
        body = {"executionData": data} if data else None
        return resource_name(*_place(self.targets[target]), body)

    def _schedule_started(self, target: str, takes: timedelta) -> bool:
        """Whether a run began. Fabric accepts a start beside one of ours, too, and skips it."""
        if goes_on(self, target):
            return False
        run_id = self._fabric.start_foreign(*_place(self.targets[target]), run_time=takes)
        return not self._fabric.is_skipped(run_id)

    def _workload_job(self, target: str) -> WorkloadJob:
        """The job of the workload by which Fabric asks for this target."""
        jobs = self._configuration.workload.jobs if self._configuration.workload else ()
        return next(job for job in jobs if job.target == target)

    def _send(self, target: str, event: dict[str, Any]) -> None:
        """Put an event into the queue, as Event Grid does, and count it."""
        self.deliveries[target] += 1
        self.queue.put(json.dumps(event))


# --- Building it ------------------------------------------------------------------------------------------------------


@contextmanager
def azure_stage(
    configuration: Configuration,
    clock: FastClock,
    patience: Patience,
    tell: Emit,
    tell_naive: Tell | None = None,
    *,
    store: Store | None = None,
    settings: FabricSettings = FABRIC,
    run_time: timedelta = RUN_TIME,
) -> Iterator[AzureStage]:
    """Build this half of the demo and run the function app in it; leaving the context ends all of it.

    `store` is where the function app keeps its state; without one it is in memory. `settings` and `run_time` are
    Fabric's.
    """
    with ExitStack() as stack:
        entra = stack.enter_context(Entra(clock.now, identities=[US]))
        fabric = stack.enter_context(FabricEmulator(clock.now, entra.tokens.validate, settings=settings))
        onelake = stack.enter_context(OneLake(clock=clock.now))
        stage = AzureStage(configuration, clock, patience, fabric, onelake)
        stage.hopeful = tell_naive is None
        for item in items_of(stage.targets.values(), run_time):
            fabric.add_item(item)
        for source in (source for target in stage.targets.values() for source in target.on):
            if isinstance(source, OneLakeChanged):
                onelake.append(source.workspace, source.item, source.path)
        if tell_naive:
            naive = NaiveFabricFunction(configuration, fabric.url, lambda: _token(entra), tell_naive)
            stack.enter_context(_pump(stage.queue, naive))
            stack.enter_context(_pump(stage.hub, naive))
        else:
            addresses = _environment(entra, fabric) | {"UNSTALE_ONELAKE_URL": onelake.url}
            stack.enter_context(patch.dict(os.environ, addresses))
            stack.enter_context(
                _deploy(stage, configuration, clock, both(tell, stage.count_event), store or MemoryStore())
            )
            stack.enter_context(_asked_by_fabric(stage, entra, clock))
        yield stage


def _environment(entra: Entra, fabric: FabricEmulator) -> dict[str, str]:
    """The application settings of the function app, with every address on loopback."""
    unused = "http://127.0.0.1:9"  # the discard port: nothing of the demo goes to storage
    return entra.identity_environment | {
        "UNSTALE_FABRIC_URL": fabric.url,
        "UNSTALE_STORAGE__tableServiceUri": unused,
        "UNSTALE_STORAGE__queueServiceUri": unused,
        "UNSTALE_AUTHORITY": entra.plain_authority,
        "UNSTALE_WORKLOAD_AUDIENCE": REGISTRATION.audience,
        "UNSTALE_WORKLOAD_PUBLISHER_TENANT": REGISTRATION.publisher_tenant,
    }


@contextmanager
def _asked_by_fabric(stage: AzureStage, entra: Entra, clock: FastClock) -> Iterator[None]:
    """A Fabric that calls the triggers over HTTP, for a workload that is registered with it."""
    with function_host(app, clock.now) as host:
        caller = Caller(entra.tokens, REGISTRATION, clock.now)
        stage.workload = fabric = WorkloadFabric(f"{host.url}/api/workload", caller, clock.now)
        with Every(timedelta(seconds=PAUSE_SECONDS), fabric.tick):
            yield
        fabric.close()
        if fabric.broken:
            raise RuntimeError(f"the workload broke its word: {fabric.broken[0]}")


@contextmanager
def _deploy(
    stage: AzureStage, configuration: Configuration, clock: FastClock, tell: Emit, store: Store
) -> Iterator[None]:
    """The triggers as deployed, on the real Fabric client; the clock, the store and the wakes are the demo's."""
    found = settings.read(os.environ)
    parts = wiring.Parts(found, lambda: configuration)
    waker, kept_dead_letters = MemoryWaker(clock), KeptDeadLetters()

    def here(read: Configuration, deadline: Deadline) -> Ports:
        """The true parts, with the demo's store and waker in place of those in storage."""
        return wiring.ports(
            store,
            waker,
            found=found,
            configuration=read,
            parts=parts,
            emit=tell,
            clock=clock,
            looks_clock=UnhurriedClock(clock),
            deadline=deadline,
        )

    stage.ports = here(configuration, NEVER)
    gate = cache(lambda: wiring.gate(os.environ, configuration, lambda: clock.now().timestamp()))
    app.use(Shell(lambda: configuration, here, lambda _deadline: kept_dead_letters, Telemetry(), gate=gate))
    stage.deliveries.update(list(stage.targets))  # each is new, and refreshed once
    with (
        _pump(stage.queue, lambda body: _call(app.events, _message(body))),
        _pump(stage.hub, lambda body: app.stream([func.EventHubEvent(body=body.encode())])),
        Every(timedelta(seconds=PAUSE_SECONDS), lambda: _deliver_wakes(waker)),
        Every(TICK / clock.speed, tick),
    ):
        yield


def tick() -> None:
    """Fire the one-minute timer of the function app."""
    _try(app.tick, None)


def _deliver_wakes(waker: MemoryWaker) -> None:
    """Deliver the wakes that are due; one that fails is made up for by the next tick."""
    for wake in waker.take_due():
        _try(app.wakes, _message(wake_message(wake)))


def _call(function: Any, argument: Any) -> None:
    """Call what the decorators wrapped, as the worker does."""
    function.build().get_user_function()(argument)


def _try(function: Any, argument: Any) -> None:
    """Call a function, and leave what would come back to the next tick."""
    with suppress(ComesBackError):
        _call(function, argument)


def _message(body: str) -> func.QueueMessage:
    """A queue message as the host hands it to a trigger."""
    return func.QueueMessage(id=str(uuid.uuid4()), body=body)


def _pump(queue: SimpleQueue[str], take: Callable[[str], None]) -> Every:
    """The host's listener of a queue, or of an event hub: one message a call, and one that fails comes back."""

    def work() -> None:
        """Take what lies in the queue, and put back what failed."""
        again: list[str] = []
        with suppress(Empty):
            while True:
                body = queue.get_nowait()
                try:
                    take(body)
                except ComesBackError:
                    again.append(body)
        for body in again:
            queue.put(body)

    return Every(timedelta(seconds=PAUSE_SECONDS), work)


def _token(entra: Entra) -> str:
    """A token of the app's own identity, which the obvious function asks for itself."""
    return entra.tokens.issue(US.caller, FABRIC_AUDIENCE, timedelta(hours=1))


def items_of(targets: Iterable[Target], run_time: timedelta = RUN_TIME) -> Iterator[Item]:
    """The items that the targets name, each with all its jobs."""
    jobs: dict[tuple[str, str], set[str]] = {}
    for target in targets:
        workspace, item, job_type = _place(target)
        jobs.setdefault((workspace, item), set()).add(job_type)
    for (workspace, item), names in jobs.items():
        yield Item(workspace, item, "Lakehouse", tuple(JobType(name, run_time=run_time) for name in sorted(names)))


def _place(target: Target) -> tuple[str, str, str]:
    """Workspace, item and job type."""
    resource = target.resource
    if isinstance(resource, LakeViews):
        return resource.workspace, resource.lakehouse, LAKE_VIEWS
    if isinstance(resource, ItemJob):
        return resource.workspace, resource.item, resource.job_type
    raise TypeError(f"{target.name} is not on Fabric")


def _blob_created(source: BlobCreated, name: str, at: datetime) -> dict[str, Any]:
    """https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage."""
    return {
        "topic": "/subscriptions/0/resourceGroups/demo/providers/Microsoft.Storage/storageAccounts/" + source.account,
        "subject": f"/blobServices/default/containers/{source.container}/blobs/{name}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": str(uuid.uuid4()),
        "eventTime": _text(at),
        "data": {
            "api": "PutBlob",
            "url": f"https://{source.account}.blob.core.windows.net/{source.container}/{name}",
            "blobType": "BlockBlob",
            "contentLength": 4,
            "sequencer": "0",
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }


def _file_created(source: OneLakeChanged, version: int, at: datetime) -> dict[str, Any]:
    """https://learn.microsoft.com/fabric/real-time-hub/explore-fabric-onelake-events: a file of a table's log."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": "Microsoft.Fabric.OneLake.FileCreated",
        "source": f"/tenant/workspaces/{source.workspace}/items/{source.item}",
        "subject": f"/{source.path}/_delta_log/{version:020}.json",
        "time": _text(at),
        "data": {"api": "CreateFile"},
    }


def _text(moment: datetime) -> str:
    """A time as Event Grid writes it, with seven digits of fraction."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0Z"
