"""A history: a deployment, what happens to it and what goes wrong, all drawn from a seed; then calm; then judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.targets import Policy, S3ObjectCreated, Schedule, Target
from tests.simulation.core import Core, shipped
from tests.simulation.faults import Storm, some_rates
from tests.simulation.judge import at_rest, violations
from tests.simulation.platform import character
from tests.simulation.world import Need, Simulation, make_target

WORLDS = ("ticks-and-wakes", "ticks-dead", "wakes-dead")
REST = 600.0
"""After the calm has begun, rest is looked for this often, ..."""
RESTS = 180
"""... this many times: 30 hours."""


AT_ONCE = 150.0
"""In half of the histories everything happens within these seconds, and then no more."""


class Verdict(NamedTuple):
    """What became of a history."""

    seed: int
    world: str
    violations: list[str]
    starts: int

    def __str__(self) -> str:
        """Everything that is wrong, and the line that replays it."""
        replay = f"replay: pytest tests/simulation/test_simulator.py --seed {self.seed} --world {self.world}"
        return "\n".join([*self.violations, replay])


class Focus(NamedTuple):
    """Where to look for one kind of mistake: on which platform, and what must happen often (`Rates`, `_draw_up`)."""

    kind: str = ""
    often: tuple[str, ...] = ()


ANYWHERE = Focus()


def play(
    seed: int,
    world: str,
    core: Core | None = None,
    trace: Callable[[str], None] | None = None,
    focus: Focus = ANYWHERE,
) -> Verdict:
    """One history, from its first arrival to its judgement."""
    plot = Plot(Random(f"{seed} {world}"), world, core or shipped(), trace, focus)
    return Verdict(seed, world, plot.run(), len(plot.sim.platform.attempts))


class Plot:
    """What happens, when. It is drawn up before, and lies on the scheduler's agenda."""

    def __init__(
        self, random: Random, world: str, core: Core, trace: Callable[[str], None] | None, focus: Focus
    ) -> None:
        self.random, self.world, self.often = random, world, focus.often
        self.kind = focus.kind or random.choice(("glue", "glue", "fabric", "dedupes", "lax"))
        self.listing_delay, self.call_timeout = random.choice((0.0, 5.0, 30.0)), random.choice((4.0, 10.0, 30.0))
        behind = random.uniform(-60, 0)
        clocks = random.choice(((0.0, 0.0), (behind, behind + 60), (-60.0, 0.0), (0.0, 60.0)))
        self.rates = some_rates(random, focus.often)
        self.storm = Storm(random, self.rates, self.call_timeout, self.listing_delay, clocks)
        if world == "ticks-dead":
            self.storm.sure.add("send")  # a wake that cannot be sent is the ticks' to make up for
            waker = random.choice(((timedelta(days=6), True), (timedelta(minutes=15), True)))
        else:
            waker = random.choice(((timedelta(days=6), True), (timedelta(minutes=15), False)))
        self.sim = Simulation(
            core,
            self.storm,
            character(self.kind, self.listing_delay, self.call_timeout),
            Configuration(self._targets()),
            waker,
            ticks=world != "ticks-dead",
            wakes=world != "wakes-dead",
            ends_within=random.choice((None, 10 + self.call_timeout)),
            trace=trace,
        )
        self.at_once = random.random() < 0.5  # what comes last must be covered, too: then nothing comes after it
        self.fleeting = ""  # who asks for a target that is gone by then has a dead letter
        self.until = random.choice((400.0, 400.0, 900.0, 900.0, 1800.0, 5400.0))

    def run(self) -> list[str]:
        """Play, let it clear up, wait for rest, judge."""
        scheduler = self.sim.scheduler
        self._begin_calmly()
        self._draw_up()
        scheduler.run(self.until)
        self._clear_up()
        for _ in range(RESTS):
            scheduler.run(scheduler.now + REST)
            if at_rest(self.sim):
                break
        return violations(self.sim)

    # --- The deployment ----------------------------------------------------------------------------------------------

    def _targets(self) -> tuple[Target, ...]:
        count = self.random.choice((1, 1, 1, 1, 1, 1, 2, 2, 3))
        return tuple(self._target(number) for number in range(count))

    def _target(self, number: int) -> Target:
        random = self.random
        often = 10 if "schedules" in self.often else 1
        schedule = Schedule("*/10 * * * *") if random.random() < 0.06 * often else None
        full_schedule = Schedule("7,37 * * * *") if random.random() < 0.04 * often else None
        upstream = (f"v{number - 1}",) if number and random.random() < 0.6 else ()
        target = make_target(
            f"v{number}",
            "glue" if self.kind == "glue" else "fabric",
            self._policy(),
            after=upstream,
            schedule=schedule,
            full_schedule=full_schedule,
        )
        return replace(target, identity=random.choice(("one", "one", "other")))

    def _policy(self) -> Policy:
        choice, second = self.random.choice, timedelta(seconds=1)
        lag = choice((2, 10, 10, 45))
        return Policy(
            quiet_period=choice((1, 10, 30, 60)) * second,
            max_wait=max(lag, choice((10, 60, 600))) * second,
            min_interval=choice((0, 0, 60, 300)) * second,
            visibility_lag=lag * second,
            timeout=choice((300, 600, 1800)) * second,
            after_failures=choice((None, None, 1, 2)),
            objective=choice((None, 600 * second)),
        )

    # --- What happens ------------------------------------------------------------------------------------------------

    def _begin_calmly(self) -> None:
        """The deployment is planned by a tick, and then the faults begin."""
        self.storm.clear = True
        self.sim.tick(0.0)
        self.sim.scheduler.run(30.0)
        self.storm.clear = False

    def _draw_up(self) -> None:
        for target in self.sim.configuration.targets:
            self._arrivals(target)
            self._sometimes("asks", 0.4, partial(self._asks, target))
            self._sometimes("foreign", 0.3, partial(self._foreign_runs, target))
            self._sometimes("pauses", 0.2, partial(self._pauses, target.name))
            self._schedules(target)
        self._sometimes("pauses", 0.1, lambda: self._pauses(""))
        self._sometimes("denials", 0.25, self._denials)
        if self.world != "ticks-dead":
            self._sometimes("reconfigurations", 0.2, self._reconfigurations)
            self._sometimes("releases", 0.1, self._releases)

    def _sometimes(self, what: str, chance: float, do: Callable[[], None]) -> None:
        if self.random.random() < (0.9 if what in self.often else chance):
            do()

    def _when(self) -> float:
        if self.at_once:
            return self.random.uniform(self.until - AT_ONCE, self.until)
        return self.random.uniform(self.sim.scheduler.now, self.until)

    def _at(self, time: float, do: Callable[[], object]) -> None:
        self.sim.scheduler.at(time, do)

    def _arrivals(self, target: Target) -> None:
        """Single ones, bursts, and long storms."""
        random, lag = self.random, target.policy.visibility_lag.total_seconds()
        for _ in range(random.choice((1, 2, 3) if self.at_once else (1, 2, 4))):
            begin = self._when()
            for _ in range(1 if self.at_once else random.choice((1, 1, 1, 5, 12))):
                begin += random.choice((0.1, 3.0, 30.0)) * random.random()
                self._at(begin, self._arrival(target.name, begin, lag))

    def _arrival(self, bucket: str, time: float, lag: float) -> Callable[[], None]:
        """The source's clock is ahead, or behind by a part of the lag; the rest is how long until it is visible."""
        random = self.random
        behind = lag * random.choice((0.0, 0.0, random.random()))
        visible_after = (lag - behind) * random.choice((0.0, random.random(), 1.0))
        dated = time + 60 * random.random() if random.random() < 0.1 else time - behind
        return partial(self.sim.arrive, bucket, dated=dated, visible_after=visible_after)

    def _asks(self, target: Target) -> None:
        random = self.random
        for _ in range(random.choice((1, 2))):
            full, by_person = random.random() < 0.3, random.random() < 0.5
            self._at(self._when(), partial(self._ask, target.name, full=full, by_person=by_person))

    def _ask(self, name: str, *, full: bool, by_person: bool) -> None:
        if name in self.sim.configuration.by_name and name != self.fleeting:
            self.sim.ask(name, full=full, by_person=by_person)

    def _foreign_runs(self, target: Target) -> None:
        for _ in range(self.random.choice((1, 3, 8))):
            full = self.random.random() < 0.3
            self._at(self._when(), partial(self._foreign_start, target.name, full=full))

    def _foreign_start(self, name: str, *, full: bool) -> None:
        if name in self.sim.configuration.by_name:
            self.sim.foreign_start(name, full=full)

    def _pauses(self, name: str) -> None:
        """Sometimes nobody resumes it."""
        begin = self._when()
        self._at(begin, partial(self._pause, name, paused=True))
        if self.random.random() < 0.8:
            self._at(begin + self.random.random() * 1800, partial(self._pause, name, paused=False))

    def _pause(self, name: str, *, paused: bool) -> None:
        if not name or name in self.sim.configuration.by_name:
            self.sim.pause(name, paused=paused)

    def _denials(self) -> None:
        begin = self._when()
        what = frozenset(self.random.sample(("start", "get", "list", "cancel"), self.random.choice((1, 2, 4))))
        self.sim.platform.denied.append((begin, begin + 2.0 ** self.random.uniform(4, 13), what))

    def _schedules(self, target: Target) -> None:
        """What the calendar owes: the deployment begins at a full hour, and its schedules were seen by then."""
        for schedule, minutes, full in (
            (target.schedule, range(0, 60, 10), False),
            (target.full_schedule, (7, 37), True),
        ):
            if schedule is None:
                continue
            for hour in range(3):
                for minute in minutes:
                    due = hour * 3600.0 + minute * 60.0
                    if 120 < due < self.until:
                        need = Need(target.key, due, due, full, f"scheduled at {due:.0f}")
                        self._at(due, partial(self._come_due, target, need))

    def _come_due(self, target: Target, need: Need) -> None:
        if target.name != self.fleeting:
            self.sim.needs.append(need)

    def _reconfigurations(self) -> None:
        """A target goes and comes back, or its sources change. Between two deployments there is a tick."""
        sim, random = self.sim, self.random
        before = sim.configuration
        changed = random.choice(before.targets)
        begin = max(60.0, self._when() - 150)
        others = tuple(target for target in before.targets if target.key != changed.key)
        if random.random() < 0.5 and others:
            self.fleeting = changed.name
            self._at(begin, lambda: sim.configure(Configuration(others)))
            self._at(begin + random.uniform(180, 900), lambda: sim.configure(before))
            return
        if random.random() < 0.5:
            self._gradual_update(begin, Configuration((*before.targets, self._new_target())))
            return
        more = replace(changed, on=(*changed.on, S3ObjectCreated("more")))
        self._at(begin, lambda: sim.configure(Configuration((*others, more))))
        self._at(begin + random.random() * 100, lambda: sim.arrive("more"))

    def _releases(self) -> None:
        """Packages alternate, overlap and are taken back, within minutes: of other targets, schedules and policies."""
        sim, random = self.sim, self.random
        packages = [sim.configuration]
        time = max(60.0, self._when() - 150)
        for _ in range(random.choice((1, 2, 3, 5))):
            self._at(time, partial(self._release, packages))
            time += random.choice((5.0, 61.0, 200.0, 900.0)) * random.uniform(0.5, 1.5)
        self._at(time, sim.rolled_out)

    def _release(self, packages: list[Configuration]) -> None:
        """The next package, at once or while workers of the one before go on; or one of before, as it was."""
        sim, random = self.sim, self.random
        share = random.choice((0.0, 0.5, 0.8))
        if len(packages) > 1 and random.random() < 0.4:
            sim.roll_back(random.choice(packages[:-1]), lambda: random.random() < share)
        else:
            sim.roll_out(self._variant(packages[0]), lambda: random.random() < share)
        packages.append(sim.configuration)
        for target in sim.configuration.targets:
            if random.random() < 0.5:
                self._at(sim.scheduler.now + random.uniform(0, 90), partial(self._arrive, target))

    def _arrive(self, target: Target) -> None:
        """Data of one of a target's sources arrives, whoever is there to take its event."""
        source = self.random.choice(target.on)
        assert isinstance(source, S3ObjectCreated)
        self.sim.arrive(source.bucket)

    def _variant(self, configuration: Configuration) -> Configuration:
        """The configuration with one more target, one less, other sources, another policy, or another full schedule."""
        random = self.random
        *others, changed = random.sample(configuration.targets, len(configuration.targets))
        choices: list[tuple[Target, ...]] = [
            (*configuration.targets, self._new_target()),
            (*others, replace(changed, on=(*changed.on, S3ObjectCreated("more")))),
            (*others, replace(changed, policy=replace(changed.policy, quiet_period=timedelta(seconds=20)))),
        ]
        if changed.full_schedule is None:
            choices.append((*others, replace(changed, full_schedule=Schedule("23 * * * *"))))
        return Configuration(random.choice(choices))

    def _new_target(self) -> Target:
        """One that starts at once, so that no run for its being new covers what comes later by chance."""
        target, at_once = self._target(9), timedelta(seconds=2)
        policy = replace(target.policy, quiet_period=at_once, visibility_lag=at_once, min_interval=at_once)
        return replace(target, on=(S3ObjectCreated("more"),), after=(), policy=policy)

    def _gradual_update(self, begin: float, configuration: Configuration) -> None:
        """Some of the workers have the older configuration for a while, and get what only the newer one names."""
        sim, random = self.sim, self.random
        share, takes = random.choice((0.5, 0.8)), random.uniform(60, 400)
        self._at(begin, lambda: sim.roll_out(configuration, lambda: random.random() < share))
        for before_end in (random.random() * takes, random.random() * 20):
            self._at(begin + takes - before_end, lambda: sim.arrive("more"))
        self._at(begin + takes, sim.rolled_out)

    def _clear_up(self) -> None:
        """From now on nothing new goes wrong; what was broken is mended."""
        self.storm.clear = True
        self.sim.platform.denied.clear()
