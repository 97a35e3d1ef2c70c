"""A deployment on AWS whose cloud is in memory and whose time is moved by hand: the shipped handler does all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.shell import Shell
from functions_aws.telemetry import Telemetry
from functions_aws.visibility import Visibility
from functions_aws.waker import Waker
from local.emulators.aws.lambda_host import Context
from shared.config.load import load
from shared.inbound.wakes import wake_message
from shared.platforms import glue
from shared.refresh import records
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.state import State, Wake
from shared.targets import Cloud
from tests.bench.events import batch
from tests.bench.parts import Clock, CountingWaker
from tests.support.billed_store import BilledStore

WAKES = "arn:aws:sqs:eu-central-1:123456789012:wakes"


class QuickGlue:
    """Accepts every start; a run takes as long as is said. Counts all calls, and when each target was started."""

    capabilities = glue.CAPABILITIES

    def __init__(self, clock: Clock, takes: timedelta) -> None:
        self._clock, self.takes = clock, takes
        self.runs: dict[str, list[datetime]] = {}
        self.starts = self.polls = 0

    def start(self, target: Any, *, full: bool) -> Started | Failure:
        """Accept."""
        self.starts += 1
        self.runs.setdefault(target.name, []).append(self._clock.now())
        return Started(f"{target.name}/{len(self.runs[target.name])}", self._clock.now())

    def list(self, target: Any, since: datetime) -> tuple[Report, ...] | Failure:
        """Nothing is ever in doubt here."""
        raise AssertionError(f"{target.name} was looked up since {since}")

    def cancel(self, target: Any, run_id: str) -> Failure | None:
        """Nothing takes too long."""
        raise AssertionError(f"{run_id} of {target.name} was cancelled")

    def get(self, target: Any, run_id: str) -> Report | Failure:
        """Done when its time is over."""
        self.polls += 1
        begun = self.runs[target.name][-1]
        done = self._clock.now() - begun >= self.takes
        ended_at = begun + self.takes if done else None
        return Report(run_id, Phase.SUCCEEDED if done else Phase.ACTIVE, "", begun, ended_at)


class Deployment:
    """The handler, its store and its queue of wakes."""

    def __init__(self, configuration: str, takes: timedelta = timedelta(minutes=1)) -> None:
        self.clock, self.store = Clock(), BilledStore()
        self.waker = CountingWaker(self.clock, reach=Waker.reach, relays=Waker.relays)
        self.platform = QuickGlue(self.clock, takes)
        self.wakes = self.ticks = self.batches = 0
        self.told: list[LogEvent] = []
        clients, telemetry = Clients(), Telemetry("bench")
        ports = Ports(Cloud.AWS, self.store, self.platform, self.waker, self.clock, _Tokens(), telemetry.emit)
        self.configuration = load(configuration)
        self.shell = Shell(self.configuration, ports, DeadLetters(clients), Visibility(clients), telemetry)

    def forget_counts(self) -> None:
        """Count from nothing."""
        self.store.forget_counts()
        self.waker.sent = self.platform.starts = self.platform.polls = 0
        self.wakes = self.ticks = self.batches = 0

    @property
    def calls(self) -> int:
        """Requests to store, queue and platform."""
        return self.store.requests + self.waker.sent + self.platform.starts + self.platform.polls

    def take(self, bodies: list[str]) -> None:
        """Take a batch of events."""
        self.batches += 1
        if self.shell.answer(batch(bodies), context()) != {"batchItemFailures": []}:
            raise RuntimeError("a message of the batch comes back")

    def tick(self) -> None:
        """Take a tick."""
        self.ticks += 1
        answered = self.shell.answer({"tick": True}, context())
        if answered != {"verdict": "done"}:
            raise RuntimeError(f"the tick answered {answered}")

    def wake(self, wake: Wake) -> None:
        """Take a wake."""
        self.wakes += 1
        if self.shell.answer(batch([wake_message(wake)], WAKES), context()) != {"batchItemFailures": []}:
            raise RuntimeError(f"the wake of {wake.key} comes back")

    def deliver_wakes(self) -> None:
        """Take the wakes that are due."""
        for wake in self.waker.take_due():
            self.wake(wake)

    def pass_time(self, span: timedelta, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass by seconds: wakes when they are due, a tick each minute, and whatever else."""
        ends_at = self.clock.time + span
        while self.clock.time < ends_at:
            self.clock.time += timedelta(seconds=1)
            self.deliver_wakes()
            each()
            if self.clock.time.second == 0:
                self.tick()

    def settle(self) -> None:
        """Refresh what is new, as the first ticks do, until nothing is owed."""
        for _ in range(8):
            self.tick()
            self.clock.time += timedelta(minutes=2)
            self.deliver_wakes()

    def have_all_fresh(self) -> None:
        """Write all records as they are when every target was planned, and refreshed just now; nothing is on its way.

        A thousand new targets take the identity's pace to be refreshed, which is no matter here.
        """
        for _ in range(3):
            self.tick()
            self.clock.time += timedelta(minutes=1)
        now = self.clock.now()
        for target in self.configuration.targets:
            fresh = State(definition=target.definition, planned_until=now, edition=1, fresh_as_of=now)
            self.store.save(self.store.load(target.key), records.write(fresh), None)
        self.clock.time += timedelta(hours=1)
        self.waker.take_due()


class _Tokens:
    """Names of claims, one after the other."""

    def __init__(self) -> None:
        self._given = 0

    def __call__(self) -> str:
        self._given += 1
        return f"token-{self._given}"


def context() -> Context:
    """An invocation with a minute left."""
    return Context("unstale", "arn", "512", "request", time.monotonic() + 60)
