"""The AWS half of the demo: the real Lambda handler, or the obvious one, among moto's queues and the Glue emulator.

    the story ──> S3, Glue's catalog ──> EventBridge ──> SQS ──> poller ──> Lambda's handler ──> Glue's emulator
                                                 schedule, wakes ──────────^                          |
                                                                          its journal: what ran, what each run read

The story puts files with the ordinary client of S3, and everything after that is by events, as in the cloud. Nothing is
told to the handler on a way of the demo's own, and the verdict is the journal's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from functions_aws import app, wiring
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.settings import read
from functions_aws.shell import Shell
from functions_aws.store import Store
from functions_aws.telemetry import Telemetry
from functions_aws.visibility import Visibility
from functions_aws.waker import Waker
from local.demo.naive import NaiveGlueHandler, Tell
from local.demo.story import FOREIGN_RUN_TIME, LATE, TICK, CloudStage, Emit, Patience, both, goes_on
from local.emulators.aws.emulator import LocalAws
from local.emulators.aws.lambda_host import Every
from local.emulators.clock import FastClock, UnhurriedClock
from local.emulators.glue.emulator import GlueSettings, resource_name
from local.emulators.journal import Arrival, Journal
from shared.config.load import Configuration
from shared.refresh import ports
from shared.targets import Cloud, GlueTableChanged, GlueView, S3ObjectCreated, Target

GLUE = GlueSettings(
    starting=timedelta(seconds=5),
    run_time=timedelta(seconds=40),
    stopping=timedelta(seconds=5),
    listing_delay=timedelta(seconds=5),
)
"""A platform whose runs take four seconds of real time, and which lists a run half a second after it began."""
QUIET = {"POWERTOOLS_METRICS_DISABLED": "true"}
"""Metrics are lines on standard output, which is the show's here."""


class AwsStage(CloudStage):
    """`story.Stage` for the Glue targets, and what the judges need: the arrivals and the journal."""

    def __init__(self, configuration: Configuration, clock: FastClock, patience: Patience, aws: LocalAws) -> None:
        """Take the configuration's targets on AWS. Nothing has arrived yet."""
        super().__init__(configuration, clock, patience, Cloud.AWS)
        self._aws = aws
        self._last_event: dict[str, str] = {}
        self._unheard: set[str] = set()
        aws.loses = lambda event: event["detail"].get("tableName") in self._unheard
        self.on_schedule: Callable[[Any], None] = lambda _event: None

    # --- What the story does

    def arrive(self, target: str, count: int = 1) -> None:
        """Put objects into the bucket of the target's source, with the ordinary client."""
        source = next(s for s in self.targets[target].on if isinstance(s, S3ObjectCreated))
        s3 = self._aws.client("s3")
        for number in range(count):
            key = f"{source.prefix}{self._clock.now():%H%M%S%f}-{number}.parquet"
            s3.put_object(Bucket=source.bucket, Key=key, Body=b"rows")
            self._arrivals.append(Arrival(self._resource(target), self._clock.now()))
            self.deliveries[target] += 1

    def replay(self, target: str) -> None:
        """Send the last event's message again."""
        self._send(target, self._last_delivery(target))

    def deliver_late(self, target: str) -> None:
        """Send an event that is an hour older than the last."""
        event = json.loads(self._last_delivery(target))
        long_ago = datetime.fromisoformat(event["time"]) - LATE
        self._send(target, json.dumps(event | {"time": f"{long_ago:%Y-%m-%dT%H:%M:%SZ}"}))

    def commit(self, target: str, *, told: bool, data: bool = True) -> None:
        """Commit to the Iceberg table of the target's source; the catalog's event may get lost on its way."""
        source = self._table(target)
        (self._unheard.discard if told else self._unheard.add)(source.table)
        self._aws.commit(source.database, source.table, "append" if data else "replace")
        if data:
            self._arrivals.append(Arrival(self._resource(target), self._clock.now()))
        self.deliveries[target] += 1

    def fault(self, target: str, fault: Any, operation: Any) -> None:
        """Script one fault of the platform."""
        self._aws.faults.add(fault, operation, resource=self._resource(target))

    def someone_else_starts(self, target: str, takes: timedelta = FOREIGN_RUN_TIME) -> None:
        """Start a run with someone else's credentials, once none goes on."""
        self.patience.until(lambda: self._someone_else_started(target, takes), f"start of {target} by someone else")

    def fabric_asks(self, target: str) -> None:
        """Glue's views have nothing to do with it."""
        raise NotImplementedError(target)

    def job_states(self) -> list[str]:
        """The states of jobs: none, since Glue has no workload."""
        return []

    def make_due(self, target: str, at: datetime) -> None:
        """A schedule time counts as data of that time: a run must read after it."""
        self._arrivals.append(Arrival(self._resource(target), at))
        self.deliveries[target] += 1
        self.on_schedule({"refresh": target})

    # --- What the judges ask

    @property
    def journal(self) -> Journal:
        """The platform's journal, up to now."""
        return self._aws.glue.journal()

    def arrivals(self, target: str) -> list[Arrival]:
        """Arrivals for a target, each with the time from which it could be read."""
        return [arrival for arrival in list(self._arrivals) if arrival.resource == self._resource(target)]

    def signals(self, target: str) -> int:
        """Objects, schedule times, and what was delivered once more or late."""
        return self.deliveries[target]

    def resource_of(self, target: str) -> str:
        """The target's name in the journal."""
        return self._resource(target)

    # --- Inside

    def remember_event(self, event: dict[str, Any]) -> None:
        """Remember the last event of each target, to be replayed; the product's own messages are no events.

        On a busy machine the rest of an event comes in a message that names the same object.
        """
        for record in event.get("Records", ()):
            if "detail-type" not in json.loads(record["body"]):
                continue
            for name, target in self.targets.items():
                if any(isinstance(s, S3ObjectCreated) and f'"{s.prefix}' in record["body"] for s in target.on):
                    self._last_event[name] = record["body"]

    def _last_delivery(self, target: str) -> str:
        """The last event of the target that the handler was called with."""
        self.patience.until(lambda: target in self._last_event, f"event for {target}")
        return self._last_event[target]

    def _someone_else_started(self, target: str, takes: timedelta) -> bool:
        """Whether a start was accepted. Between look and start one of ours may have come in between."""
        if goes_on(self, target):
            return False
        view, glue = self._view(target), self._aws.client("glue", foreign=True)
        self._aws.glue.set_run_time(self._resource(target), takes)
        try:
            glue.start_materialized_view_refresh_task_run(
                CatalogId=view.catalog_id, DatabaseName=view.database, TableName=view.table
            )
        except glue.exceptions.MaterializedViewRefreshTaskRunningException:
            return False
        finally:
            self._aws.glue.set_run_time(self._resource(target), GLUE.run_time)
        return True

    def _send(self, target: str, body: str) -> None:
        """Put a message into the queue of events, as EventBridge does, and count it."""
        self.deliveries[target] += 1
        self._aws.client("sqs").send_message(QueueUrl=self._aws.queues["events"].url, MessageBody=body)

    def _view(self, target: str) -> GlueView:
        """The view that a target refreshes."""
        return _view(self.targets[target])

    def _table(self, target: str) -> GlueTableChanged:
        """The Iceberg table that a target reads."""
        return next(source for source in self.targets[target].on if isinstance(source, GlueTableChanged))

    def _resource(self, target: str) -> str:
        """The name under which the journal has a target's view."""
        view = self._view(target)
        return resource_name(view.catalog_id, view.database, view.table)


@contextmanager
def aws_stage(
    configuration: Configuration,
    clock: FastClock,
    patience: Patience,
    tell: Emit,
    tell_naive: Tell | None = None,
    *,
    glue: GlueSettings = GLUE,
    wrap: Callable[[ports.Store], ports.Store] = lambda store: store,
) -> Iterator[AwsStage]:
    """Build this half of the demo and run the handler in it; leaving the context ends all of it.

    `wrap` is put around the store that the handler uses.
    """
    with ExitStack() as stack:
        aws = stack.enter_context(LocalAws(glue_settings=glue, clock=clock.now))
        stage = AwsStage(configuration, clock, patience, aws)
        stage.hopeful = tell_naive is None
        for target in stage.targets.values():
            _create_view(aws, target)
        stack.enter_context(patch.dict(os.environ, aws.environment() | QUIET, clear=True))
        told = both(tell, stage.count_event)
        handler = (
            NaiveGlueHandler(configuration, aws.client("glue"), tell_naive)
            if tell_naive
            else _ours(stage, configuration, clock, told, wrap)
        )
        function = aws.function(_watch(stage, handler))
        stack.enter_context(aws.pump("events", function, batch_size=100, window=timedelta(seconds=1)))
        if tell_naive:
            stage.on_schedule = function.fire
        else:
            stage.deliveries.update(list(stage.targets))  # each is new, and refreshed once
            stack.enter_context(aws.pump("wakes", function))
            stack.enter_context(Every(TICK / clock.speed, lambda: function.fire({"tick": True})))
        yield stage


def _view(target: Target) -> GlueView:
    """The view of a target; an error of ours where it is none."""
    if not isinstance(target.resource, GlueView):
        raise TypeError(f"{target.name} is no Glue view")
    return target.resource


def _create_view(aws: LocalAws, target: Target) -> None:
    """Put a target's view into the emulated catalog, with the Iceberg tables that it reads."""
    view = _view(target)
    tables = [source for source in target.on if isinstance(source, GlueTableChanged)]
    for table in tables:
        aws.commit(table.database, table.table)
    names = [f"arn:aws:glue:{aws.region}:{aws.account}:table/{table.database}/{table.table}" for table in tables]
    aws.create_view(view.database, view.table, catalog=view.catalog_id, sources=names)


def _ours(
    stage: AwsStage,
    configuration: Configuration,
    clock: FastClock,
    tell: Emit,
    wrap: Callable[[ports.Store], ports.Store],
) -> Any:
    """`functions_aws.app.handler` itself; only its clock is ours, and what it tells is shown, too."""
    settings = read(os.environ)
    clients = Clients(settings.region)
    stage.ports = wiring.ports(
        wrap(Store(clients, settings.table)),
        Waker(clients, settings.queue_url),
        clients=clients,
        emit=tell,
        clock=clock,
        looks_clock=UnhurriedClock(clock),
    )
    shell = Shell(
        configuration,
        stage.ports,
        DeadLetters(clients),
        Visibility(clients),
        Telemetry(settings.service),
    )
    app.use(shell)
    return app.handler


def _watch(stage: AwsStage, handler: Any) -> Any:
    """A handler that lets the stage see each event before it is handled."""

    def watch(event: dict[str, Any], context: object) -> Any:
        """Show the event to the stage, then handle it."""
        stage.remember_event(event)
        return handler(event, context)

    return watch
