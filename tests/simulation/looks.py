"""Histories of looking: events are lost, looks fail or come late, tables are compacted, rolled back and recreated.

Each target is a view over one or two tables. What judges is the lake and the platform's journal: a proof is never
wrong, and when all is calm each view holds what its tables have, whatever events were lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.inbound.arrivals import ObjectArrived
from shared.inbound.messages import Arrived
from shared.refresh import records
from shared.refresh.ports import StoreDownError
from shared.sources.groups import GlueDatabase
from shared.targets import Policy, S3ObjectCreated, Target
from tests.simulation.core import Core, shipped
from tests.simulation.faults import Storm, some_rates
from tests.simulation.judge import at_rest, excused_by_world, violations
from tests.simulation.lake import Lake, LakeSources
from tests.simulation.platform import PlatformRun, character
from tests.simulation.scheduler import Crash
from tests.simulation.worker import Worker
from tests.simulation.world import Simulation, at, make_target, seconds

HOUR = 3600.0
GROUP = GlueDatabase("123456789012", "sales")
"""Where all tables and views of a simulated lake are."""
CALM_HOURS = 9
"""How long a lake is given to heal, where nothing goes wrong any more: longer than any backoff, probe and look."""


class LakeWorker(Worker):
    """A worker that calls the catalog as it calls the platform."""

    def call_platform(self, operation: str, do: Callable[[], Any]) -> Any:
        """As calls to the platform are made."""
        return self._call(operation, do)


@dataclass
class LakeSimulation(Simulation):
    """A deployment whose sources are tables."""

    lake: Lake = field(init=False)
    loses: Callable[[], bool] = lambda: False
    wrong: list[str] = field(default_factory=list)
    spared: int = 0
    proofs: int = 0
    lost_events: int = 0
    looks: int = 0
    _proven: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the lake beside the platform, and watch every record that is saved."""
        super().__post_init__()
        self.lake = Lake(self.scheduler)
        self.platform.on_end = self._read_and_hint
        arm = self.store.on_save

        def saved() -> None:
            self._check_proofs()
            arm()

        self.store.on_save = saved

    def _read_and_hint(self, run: PlatformRun) -> None:
        if run.run_id not in self.lake.read and not run.skipped:
            target = next(target for target in self.configuration.targets if target.key == run.key)
            self.lake.run_began(run, target.name)
        self._will_end(run)

    def _invocation(self, work: Callable[[object, Any], None], name: str) -> None:
        """Like any other, with sources to look at."""
        worker = LakeWorker(self.scheduler, self.faults, self.store, self.platform, self._post, at, self.waker)
        engine = self.core.engine
        tell: Callable[[Any], None] = self._count
        if self.trace:
            self._workers += 1
            label = f"{name} {self._workers}"
            worker.trace = lambda line: self._tell(f"{label} ({worker.offset:+.0f} s): {line}")

        looks = partial(self._looking, worker, tell)
        ports = (worker, worker, worker, worker, self._token, tell, looks)
        world = engine.Ports(self._cloud(), *ports, pause=worker.rest)
        self.active += 1
        try:
            made = engine.Engine(self.configuration.package(self._cloud()), world)
            made.configuration = self.configuration
            work(made, worker)
        except Crash:
            self.crashes += 1
        except StoreDownError:
            pass
        finally:
            self.active -= 1

    def _looking(self, worker: LakeWorker, tell: Callable[[Any], None], targets: Any, reconcile: Any) -> Any:
        sources = LakeSources(worker, self.lake, targets, self.core)
        ports = {"store": worker, "sources": sources, "platform": worker, "clock": worker}
        return self.core.looking.Looking(targets, reconcile=reconcile, emit=tell, **ports)

    def look(self, time: float) -> None:
        """Let a worker look at the tables of all targets, at a time, whether they are due or not."""

        def work(engine: Any, worker: Any) -> None:
            reconcile = partial(engine.reconcile, may_call=False)
            self._looking(worker, self._count, engine.targets, reconcile).look(GROUP.key, engine.standing.number)

        self.invoke(work, time, "look")

    def _count(self, happened: Any) -> None:
        if self.trace:
            self._tell(f"told: {happened.what} {dict(happened.fields)}")
        if happened.what == "looked":
            self.looks += 1
        self.spared += happened.what in {"run spared", "run proven"}

    # --- What happens ------------------------------------------------------------------------------------------------

    def commit(self, table: str) -> None:
        """New data, and an event about it, which may be lost."""
        self.lake.commit(table)
        self._tell(f"lake: {table} has {self.lake.current(table)}")
        if self.loses():
            self.lost_events += 1
            return
        reading = Arrived((ObjectArrived(at(self.scheduler.now), table, f"o{len(self.lake.commits[table])}"),))
        self.send(lambda _received: reading)

    def change(self, what: str, table: str, **options: Any) -> None:
        """Something that no event tells of."""
        getattr(self.lake, what)(table, **options)
        self._tell(f"lake: {what}: {table} has {self.lake.current(table)}")

    # --- Judging -----------------------------------------------------------------------------------------------------

    def _check_proofs(self) -> None:
        """Whenever a record says "proven as of T", some run read, of each table, what it had at T or later."""
        for target in self.configuration.targets:
            proven = records.read_state(self.store.load(target.key).body).proven_as_of
            if proven and proven != self._proven.get(target.key):
                self._proven[target.key] = proven
                self.proofs += 1
                if not any(self._reads_all(run, target, seconds(proven)) for run in self.platform.of(target)):
                    self.wrong.append(
                        f"WRONG PROOF: {target.name} as of {seconds(proven):.3f}, at {self.scheduler.now:.3f}"
                    )

    def _reads_all(self, run: PlatformRun, target: Target, since: float) -> bool:
        if not run.succeeded or run.ends > self.scheduler.now:
            return False
        read = self.lake.read[run.run_id]
        return all(
            table in read and self._had(table, read[table].content, since) for table in self.lake.views[target.name]
        )

    def _had(self, table: str, content: int, since: float) -> bool:
        later = [commit for commit in self.lake.commits[table] if commit.time > since]
        return any(commit.content == content for commit in (self.lake.current(table, since), *later))

    def unhealed(self) -> list[str]:
        """Views that do not hold what their tables have, and are not visibly held."""
        found = []
        for target in self.configuration.targets:
            held = self.lake.held(self.platform.of(target))
            read = held[1] if held else {}
            for table in self.lake.views[target.name]:
                current = self.lake.current(table)
                fits = table in read and read[table].content == current.content
                if not fits and not excused_by_world(self, target, self.state(target.key).hold):
                    found.append(f"NOT HEALED: {target.name} lacks {table} of {current.time:.0f}")
        return found


@dataclass
class LakeVerdict:
    """What became of a history of looks."""

    seed: int
    violations: list[str]
    lost: int
    proofs: int
    spared: int
    starts: int

    def __str__(self) -> str:
        """What is wrong, and how to see it again."""
        return "\n".join([*self.violations, f"replay: pytest tests/simulation/test_looks.py --seed {self.seed}"])


def play(seed: int, core: Core | None = None, trace: Callable[[str], None] | None = None) -> LakeVerdict:
    """One history, from a seed."""
    plot = Plot(Random(f"lake {seed}"), core or shipped(), trace)
    found = plot.run()
    sim = plot.sim
    return LakeVerdict(seed, found, sim.lost_events, sim.proofs, sim.spared, len(sim.platform.attempts))


class Plot:
    """What happens to a lake and its views, when."""

    def __init__(self, random: Random, core: Core, trace: Callable[[str], None] | None) -> None:
        self.random = random
        behind = random.uniform(-60, 0)
        clocks = random.choice(((0.0, 0.0), (behind, behind + 60), (-60.0, 0.0), (0.0, 60.0)))
        call_timeout = random.choice((4.0, 10.0))
        self.storm = Storm(random, some_rates(random), call_timeout, 5.0, clocks)
        targets = tuple(self._target(f"v{number}") for number in range(random.choice((1, 1, 2))))
        self.until = random.choice((900.0, 1800.0, 5400.0))
        share = random.choice((0.3, 0.3, 1.0))
        self.sim = LakeSimulation(
            core, self.storm, character("glue", 5.0, call_timeout), Configuration(targets), trace=trace
        )
        self.sim.loses = lambda: random.random() < share
        for target in targets:
            tables = [source.bucket for source in target.on if isinstance(source, S3ObjectCreated)]
            self.sim.lake.views[target.name] = tables
            for table in tables:
                if table not in self.sim.lake.commits:
                    self.sim.lake.commit(table)

    def _target(self, name: str) -> Target:
        choice, second = self.random.choice, timedelta(seconds=1)
        lag = choice((2, 10))
        policy = Policy(
            quiet_period=choice((1, 10, 30)) * second,
            max_wait=max(lag, choice((60, 600))) * second,
            min_interval=choice((0, 60)) * second,
            visibility_lag=lag * second,
            timeout=choice((600, 1800)) * second,
            look=choice((60, 60, 300)) * second,
        )
        target = make_target(name, "glue", policy, buckets=choice((["a"], ["a", "b"], [f"{name}t"])))
        return replace(target, identity="one")

    def run(self) -> list[str]:
        """Play, let it clear up, wait until all is healed, judge."""
        sim, scheduler = self.sim, self.sim.scheduler
        self.storm.clear = True
        sim.tick(0.0)
        scheduler.run(120.0)
        self.storm.clear = False
        for table in sim.lake.commits:
            self._draw_up(table)
        for target in sim.configuration.targets:
            for _ in range(self.random.choice((0, 0, 1, 3))):
                scheduler.at(self._when(), partial(sim.foreign_start, target.name))
        scheduler.run(self.until)
        self.storm.clear = True
        for _ in range(CALM_HOURS * 6):
            scheduler.run(scheduler.now + HOUR / 6)
            if at_rest(sim) and not sim.unhealed():
                break
        return [*violations(sim), *sim.wrong, *sim.unhealed()]

    def _when(self) -> float:
        return self.random.uniform(130.0, self.until)

    def _draw_up(self, table: str) -> None:
        random, sim = self.random, self.sim
        for _ in range(random.choice((1, 2, 5))):
            begin = self._when()
            sim.scheduler.at(begin, partial(sim.commit, table))
            if random.random() < 0.3:
                sim.scheduler.at(begin + random.random() * 90, partial(sim.change, "roll_back", table))
            if random.random() < 0.15:
                sim.scheduler.at(begin + 100 * random.random(), partial(sim.change, "roll_back", table, back=2))
        for _ in range(random.choice((0, 1, 4))):
            expire = random.random() < 0.4
            sim.scheduler.at(self._when(), partial(sim.change, "compact", table, expire=expire))
        if random.random() < 0.1:
            sim.scheduler.at(self._when(), partial(sim.change, "recreate", table))
