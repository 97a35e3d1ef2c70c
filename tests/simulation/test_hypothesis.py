"""The shipped loop against a model of thirty lines: whatever happens in whatever order, no arrival goes missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from shared.refresh.decide import stale_since
from shared.refresh.engine import Engine
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.inputs import PauseAsked, ResumeAsked, Signalled
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.state import Signal
from shared.refresh.sweep import Sweep
from tests.support.core import GLUE, Bench, seconds

LOST = Failure("ReadTimeout", "no answer", Fault.NETWORK, Delivery.UNKNOWN, retry_safe=False)
RUNNING = Failure("Running", "is running", Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.ALREADY_RUNNING)
PHASES = {"active": Phase.ACTIVE, "succeeded": Phase.SUCCEEDED, "failed": Phase.FAILED}


class Model:
    """One view on a platform that refuses a start while a run is there; data can be read from its arrival on."""

    capabilities = GLUE

    def __init__(self, now: Any) -> None:
        self.now, self.arrivals, self.loses_answer = now, list[datetime](), False
        self.runs: list[Any] = []  # [read at, ended at, "active", "succeeded" or "failed"]

    def start(self, _target: Any, *, full: bool) -> Any:
        """Accept, or refuse while a run goes on; the next answer may get lost."""
        if self.active:
            return RUNNING
        self.runs.append([self.now(), None, "active"])
        lost, self.loses_answer = self.loses_answer, False
        return LOST if lost else Started(str(len(self.runs) - 1), self.now())

    def get(self, _target: Any, run_id: str) -> Any:
        """What it says of one run."""
        read_at, ended_at, status = self.runs[int(run_id)]
        return Report(run_id, PHASES[status], status, read_at, ended_at)

    def list(self, target: Any, _since: datetime) -> Any:
        """All of them."""
        return tuple(self.get(target, str(number)) for number in range(len(self.runs)))

    def cancel(self, _target: Any, _run_id: str) -> None:
        """End what goes on."""
        self.end("failed")

    def end(self, status: str) -> None:
        """Let the run end so."""
        for run in self.active:
            run[1:] = [self.now(), status]

    @property
    def active(self) -> Sequence[Any]:
        """What goes on."""
        return [run for run in self.runs if run[2] == "active"]

    @property
    def missing(self) -> Sequence[datetime]:
        """Arrivals that no successful run read."""
        read = max((run[0] for run in self.runs if run[2] == "succeeded"), default=None)
        return [at for at in self.arrivals if read is None or read < at]


class View(RuleBasedStateMachine):
    """Arrivals, late and repeated events, ticks, ends, lost answers and pauses in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.model = Model(self.bench.clock.now)
        world = replace(self.bench.ports, platform=self.model)
        self.engine = Engine(self.bench.configuration.package(world.cloud), world)
        Sweep(self.engine).tick()

    @rule(late=st.integers(0, 300))
    def data_arrives(self, late: int) -> None:
        """Its event is delivered this much later."""
        arrived = self.bench.clock.now()
        self.model.arrivals.append(arrived)
        self.bench.clock.time += seconds(late)
        self.deliver(arrived)

    @precondition(lambda self: self.model.arrivals)
    @rule(data=st.data())
    def an_event_is_repeated(self, data: st.DataObject) -> None:
        """Any of them, at any time."""
        self.deliver(data.draw(st.sampled_from(self.model.arrivals)))

    @rule(after=st.integers(1, 200))
    def a_tick_comes(self, after: int) -> None:
        """The clock moves, and whatever is due is done."""
        self.bench.clock.time += seconds(after)
        Sweep(self.engine).tick()

    @rule(status=st.sampled_from(["succeeded", "failed"]))
    def the_run_ends(self, status: str) -> None:
        """Well or not."""
        self.model.end(status)

    @rule()
    def the_next_answer_is_lost(self) -> None:
        """The start takes effect all the same."""
        self.model.loses_answer = True

    @rule(paused=st.booleans())
    def a_person_pauses_or_resumes(self, *, paused: bool) -> None:
        """Nothing is forgotten."""
        self.engine.reconcile(self.bench.target(), [PauseAsked() if paused else ResumeAsked()])

    def deliver(self, at: datetime) -> None:
        """An event that carries its source's time."""
        self.engine.reconcile(self.bench.target(), [Signalled(Signal(at, "arrival"))])

    @invariant()
    def what_is_missing_is_owed(self) -> None:
        """G1, at every moment."""
        assert not self.model.missing or stale_since(self.bench.state()) is not None

    @invariant()
    def at_most_one_run_goes_on(self) -> None:
        """G2."""
        assert len(self.model.active) <= 1

    def teardown(self) -> None:
        """G1, in the end: resumed, and with runs that succeed, all is refreshed within hours."""
        self.engine.reconcile(self.bench.target(), [ResumeAsked()])
        for _ in range(240):
            self.bench.clock.time += timedelta(minutes=1)
            Sweep(self.engine).tick()
            self.model.end("succeeded")
        assert self.model.missing == []
        assert stale_since(self.bench.state()) is None


TestView = View.TestCase
TestView.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
