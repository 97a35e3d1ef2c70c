"""One simulated deployment: targets, queues, ticks, wakes, people, and the shipped loop that holds it together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.inbound import eventbridge
from shared.inbound.arrivals import ObjectArrived
from shared.inbound.messages import Arrived, Asked, FabricRunEnded, GlueRunEnded, Message, Ticked, Woken
from shared.refresh import records
from shared.refresh.inputs import Input, PauseAsked, ResumeAsked
from shared.refresh.ports import StoreDownError
from shared.refresh.state import Deployment, State, Wake
from shared.targets import Cloud, GlueView, ItemJob, LakeViews, Policy, Resource, S3ObjectCreated, Schedule, Target
from tests.simulation.core import Core
from tests.simulation.faults import Faults
from tests.simulation.platform import Character, FakePlatform, PlatformRun
from tests.simulation.scheduler import Crash, Scheduler
from tests.simulation.store import SimStore
from tests.simulation.worker import Worker

EARLIEST = datetime(2026, 1, 31, 12, tzinfo=UTC)
BATCH = 10
MINUTE = 60.0


def at(time: float) -> datetime:
    """True time as a datetime."""
    return EARLIEST + timedelta(seconds=time)


def seconds(time: datetime) -> float:
    """... and back."""
    return (time - EARLIEST).total_seconds()


def resource(name: str, platform: str) -> Resource:
    """A target's resource, of the kind that lives on that platform."""
    if platform == "glue":
        return GlueView("123456789012", "sales", name)
    return LakeViews("w", name) if platform == "fabric" else ItemJob("w", name, "DefaultJob")


def make_target(
    name: str,
    platform: str,
    policy: Policy,
    *,
    buckets: Sequence[str] = (),
    after: tuple[str, ...] = (),
    schedule: Schedule | None = None,
    full_schedule: Schedule | None = None,
) -> Target:
    """A target that listens to buckets; that no Fabric target does so in earnest is of no concern here."""
    on = tuple(S3ObjectCreated(bucket) for bucket in buckets or (name,))
    return Target(name, resource(name, platform), policy, on, after, schedule, full_schedule, "identity")


@dataclass(slots=True)
class Queued:
    """One delivery that comes again until somebody acknowledges it. `read` makes what it says, at its receipt."""

    read: Callable[[datetime], Message]
    done: bool = False
    visible: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """What the view must have in the end: a successful run created at `visible` or later, and full if so asked.

    `dated` is the earliest time that the signal may carry.
    """

    key: str
    visible: float
    dated: float
    full: bool
    why: str


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person did to one target, or to all (""): paused it or resumed it, from `begun` to `done`.

    `saved` is when the store had it: of two that overlap the later one to be saved holds, whichever ends last.
    Who finds it so writes nothing: then it is when the record was read.
    """

    key: str
    begun: float
    saved: float
    done: float
    paused: bool


@dataclass
class Simulation:
    """The deployment. A history puts what happens to it on the scheduler's agenda; `faults` say what goes wrong."""

    core: Core
    faults: Faults
    character: Character
    configuration: Configuration
    waker: tuple[timedelta, bool] = (timedelta(days=6), True)
    ticks: bool = True
    wakes: bool = True
    ends_within: float | None = None
    older: Configuration | None = None
    worked: Configuration | None = None
    is_older: Callable[[], bool] = lambda: False
    trace: Callable[[str], None] | None = None
    scheduler: Scheduler = field(default_factory=Scheduler)
    store: SimStore = field(default_factory=SimStore)
    needs: list[Need] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    crashes: int = 0
    wakes_in_flight: dict[str, int] = field(default_factory=dict)
    most_wakes_in_flight: dict[str, int] = field(default_factory=dict)
    active: int = 0
    dead: list[str] = field(default_factory=list)
    post: Any = None
    """Where outcome events arrive, as `post.PostOffice`; nowhere by default."""
    _of_idle_packages: list[Need] = field(default_factory=list)
    """What was new in packages whose workers did nothing yet: the next package takes it back."""
    _queue: list[Queued] = field(default_factory=list)
    _tokens: int = 0
    _next_tick: float | None = None
    _workers: int = 0
    undelivered: int = 0

    def __post_init__(self) -> None:
        """Build the platform, and let it tell the world when a run ends."""
        self.platform = FakePlatform(self.scheduler, self.faults, self.character, at, on_end=self._will_end)
        if self.trace:
            self.platform.trace = self._tell
        self.store.on_save = self._arm_tick_for_due
        self._arm_tick(0.0)

    def _tell(self, line: str) -> None:
        if self.trace:
            self.trace(f"{self.scheduler.now:10.3f}  {line}")

    # --- Invocations -------------------------------------------------------------------------------------------------

    def invoke(self, work: Callable[[Any, Worker], None], time: float, name: str) -> None:
        """Let a worker do something, with the configuration of that moment, or with the one before it."""
        self.scheduler.spawn(time, partial(self._invocation, work, name))

    def _invocation(self, work: Callable[[Any, Worker], None], name: str) -> None:
        worker = Worker(self.scheduler, self.faults, self.store, self.platform, self._post, at, self.waker)
        self._workers += 1
        tell: Callable[[Any], None] = _silent
        if self.trace:
            name = f"{name} {self._workers}"
            worker.trace = lambda line: self._tell(f"{name} ({worker.offset:+.0f} s): {line}")
            tell = worker.trace
            tell("begins")
        engine = self.core.engine
        world = engine.Ports(self._cloud(), worker, worker, worker, worker, self._token, tell, pause=worker.rest)
        ends_at = float("inf") if self.ends_within is None else self.scheduler.now + self.ends_within
        self.active += 1
        try:
            configuration = self.older if self.older and self.is_older() else self.configuration
            package = configuration.package(self._cloud())
            if self.post:
                package = replace(package, destinations=self.post.destinations)
                world = replace(world, outcomes=partial(self.core.sending.Sending, self._office(worker)))
            made = engine.Engine(package, world, ends_at=ends_at)
            made.configuration = configuration
            work(made, worker)
            if name.startswith("tick") or self._is_current(configuration):
                self.worked = configuration
                if configuration is self.configuration:
                    self._of_idle_packages.clear()
        except Crash:
            self.crashes += 1
            if self.trace:
                tell("crashes")
        except StoreDownError:
            if self.trace:
                tell("the store is down")
        finally:
            self.active -= 1

    def _office(self, worker: Worker) -> Any:
        """What sending works with in one worker."""
        capabilities = self.character.capabilities
        return self.core.sending.Office(worker, worker, self.post.senders(worker), "/unstale", capabilities, _silent)

    def _cloud(self) -> Cloud:
        return self.configuration.targets[0].cloud

    def _token(self) -> str:
        self._tokens += 1
        return f"claim-{self._tokens}"

    def _judged(self, judged: Sequence[object]) -> None:
        for verdict in judged:
            self._examine(getattr(verdict, "cause", None))

    def _examine(self, cause: BaseException | None) -> None:
        """The store may be down, and contended; whatever else an invocation ran into is a bug."""
        for leaf in _leaves(cause):
            if not isinstance(leaf, StoreDownError | self.core.engine.ContendedError):
                self.errors.append(leaf)

    # --- Events ------------------------------------------------------------------------------------------------------

    def send(self, read: Callable[[datetime], Message], kind: str = "event") -> None:
        """Put a message on the events queue, now: it arrives at least once."""
        message = Queued(read)
        self.undelivered += 1
        for delay in self.faults.deliveries(kind):
            self.scheduler.at(self.scheduler.now + delay, partial(self._show, message, again=True))

    def _show(self, message: Queued, *, again: bool = False) -> None:
        """A message becomes visible; whoever polls the queue takes it in a moment, with its neighbours."""
        if message.visible or (message.done and not again):
            return
        message.visible = True
        self._queue.append(message)
        if len(self._queue) == 1:
            self.invoke(self._take_batch, self.scheduler.now + 0.05, "events")

    def _take_batch(self, engine: Any, worker: Worker) -> None:
        batch, self._queue[:] = self._queue[:BATCH], self._queue[BATCH:]
        if self._queue:
            self.invoke(self._take_batch, self.scheduler.now + 0.05, "events")
        for message in batch:
            message.visible = False
            self.scheduler.at(self.scheduler.now + self.faults.comes_back_after(), partial(self._show, message))
        found = [message.read(worker.now()) for message in batch]
        judged = self.core.dispatch.take(engine, engine.configuration, found)
        self._judged(judged)
        for message, content, verdict in zip(batch, found, judged, strict=True):
            for rest in verdict.rests:
                self.send(partial(eventbridge.read, rest), "rest")
            if verdict.verdict == "dead":
                self.dead.append(f"{content}: {verdict.why}")
            if verdict.verdict != "retry" and not message.done:
                message.done = True
                self.undelivered -= 1

    def arrive(
        self, bucket: str, *, dated: float | None = None, visible_after: float = 0.0, key: str | None = None
    ) -> None:
        """Data arrives, by the source's clock at `dated`, and is visible a while later, within the lag of `dated`."""
        now, visible = self.scheduler.now, self.scheduler.now + visible_after
        event_time = now if dated is None else dated
        key = key or f"o{len(self.needs)}"
        reading = Arrived((ObjectArrived(at(event_time), bucket, key),))
        self._tell(f"world: an object arrives in {bucket}, dated {event_time:.3f}, visible at {visible:.3f}")
        for target in self.configuration.targets:
            if any(source.bucket == bucket for source in target.on if isinstance(source, S3ObjectCreated)):
                self.needs.append(Need(target.key, visible, min(now, event_time), full=False, why=f"object {key}"))
        self.send(lambda _received: reading)

    def ask(self, name: str, *, full: bool = False, by_person: bool = False) -> None:
        """Somebody wants a refresh of what is visible now."""
        target = self.configuration.by_name[name]
        self._tell(f"world: somebody asks for {name}, full: {full}")
        self.needs.append(Need(target.key, self.scheduler.now, self.scheduler.now - MINUTE, full, "asked"))
        self.send(lambda received: Asked(name, received, full, "asked", by_person), "asked")

    # --- Ticks and wakes ---------------------------------------------------------------------------------------------

    def tick(self, time: float) -> None:
        """The minute comes round at a time; if it finds trouble, the next one sees to it."""

        def deliver(engine: Any, _worker: Worker) -> None:
            self._judged(self.core.dispatch.take(engine, engine.configuration, [Ticked()]))

        self.invoke(deliver, time, "tick")

    def _tick_at(self, minute: float) -> None:
        """Ticks come every minute; those that would find nothing due are left out, for speed."""
        if self._next_tick != minute:
            return
        self._next_tick = None
        for delay in self.faults.deliveries("tick"):
            self.tick(self.scheduler.now + min(delay, MINUTE))
        self._arm_tick_for_due()

    def _arm_tick(self, time: float) -> None:
        if not self.ticks:
            return
        minute = (time // MINUTE + 1) * MINUTE
        if self._next_tick is None or minute < self._next_tick:
            self._next_tick = minute
            self.scheduler.at(minute, partial(self._tick_at, minute))

    def _arm_tick_for_due(self) -> None:
        """The next minute at which some worker may find something due, or a new configuration to plan."""
        if not self.ticks:
            return
        if not self.is_rolled_out():
            self._arm_tick(self.scheduler.now)
        elif self.store.wake_at:
            due = seconds(min(self.store.wake_at.values())) - MINUTE
            self._arm_tick(max(due, self.scheduler.now))

    def _post(self, wake: Wake, delay: float) -> None:
        """A wake is on its way; in a world without wakes it never arrives."""
        self._count_wake(wake.key, 1)
        self.scheduler.at(self.scheduler.now + delay, partial(self._count_wake, wake.key, -1))
        if not self.wakes:
            return
        message = Queued(lambda _received: Woken(wake))
        for late in self.faults.deliveries("wake"):
            self.scheduler.at(self.scheduler.now + delay + late, partial(self._show_wake, message, again=True))

    def _count_wake(self, key: str, change: int) -> None:
        count = self.wakes_in_flight.get(key, 0) + change
        self.wakes_in_flight[key] = count
        self.most_wakes_in_flight[key] = max(count, self.most_wakes_in_flight.get(key, 0))

    def _show_wake(self, message: Queued, *, again: bool = False) -> None:
        if message.done and not again:
            return
        self.scheduler.at(self.scheduler.now + self.faults.comes_back_after(), partial(self._show_wake, message))

        def deliver(engine: Any, worker: Worker) -> None:
            (verdict,) = self.core.dispatch.take(engine, engine.configuration, [message.read(worker.now())])
            self._judged([verdict])
            message.done = message.done or verdict.verdict == "done"

        self.invoke(deliver, self.scheduler.now, "wake")

    # --- People, and others ------------------------------------------------------------------------------------------

    def pause(self, name: str, *, paused: bool) -> None:
        """Somebody pauses a target, or everything (""), or resumes it; again and again until it is done."""
        target = self.configuration.by_name[name] if name else None
        begun = self.scheduler.now

        def command(engine: Any, worker: Worker) -> None:
            try:
                self._command(engine, worker, target, paused=paused)
            except (StoreDownError, self.core.engine.ContendedError, Crash):
                self.invoke(command, self.scheduler.now + 1, "person")
                raise
            saved = worker.read_at if worker.saved_at is None else worker.saved_at
            self.deeds.append(Deed(target.key if target else "", begun, saved, self.scheduler.now, paused))
            self._tell(f"person: paused {name or 'all'}: {paused}")

        self.invoke(command, self.scheduler.now, "person")

    def _command(self, engine: Any, worker: Worker, target: Target | None, *, paused: bool) -> None:
        """What a person types, with a file that says otherwise than what is deployed what refreshes the target."""
        happened: Input = PauseAsked() if paused else ResumeAsked()
        if target:
            known_otherwise = replace(target, on=(S3ObjectCreated("elsewhere"),), schedule=None, full_schedule=None)
            file = Configuration((known_otherwise,)).package(self._cloud())
            made = self.core.engine.Engine(file, engine.ports, standing=self.core.deployment.COMMAND)
            made.reconcile(known_otherwise, (happened,), may_call=False)
        elif paused:
            self.core.sweep.pause_all(worker, worker.now())
        else:
            self.core.sweep.resume_all(worker)

    def _is_current(self, configuration: Configuration) -> bool:
        package = configuration.package(self._cloud())
        return bool(self.core.deployment.standing_of(self.deployment(), package, at(self.scheduler.now)).is_current)

    def is_rolled_out(self) -> bool:
        """Whether the deployed package is the current edition, and its rollout is over."""
        return self._is_current(self.configuration) and self.deployment().rollout is None

    def is_paused(self, key: str) -> bool:
        """Whether people left the target so, or everything ("")."""
        deeds = sorted((deed for deed in self.deeds if deed.key == key), key=lambda deed: deed.saved)
        return deeds[-1].paused if deeds else False

    def configure(self, configuration: Configuration) -> None:
        """A new package is deployed: whoever begins from now on reads its configuration."""
        self._tell("world: a new package")
        self._deploy(replace(configuration, generation=at(self.scheduler.now)))

    def roll_back(self, configuration: Configuration, is_newer: Callable[[], bool] = lambda: False) -> None:
        """A package of before is put back as it was, and nobody packages anything; workers of the newer may go on."""
        self._tell("world: a rollback")
        self.older, self.is_older = self.configuration, is_newer
        self._deploy(configuration)

    def _deploy(self, configuration: Configuration) -> None:
        worked = self.worked or self.configuration  # a package whose workers did nothing yet ignored nothing
        known = {target.key: target for target in worked.targets}
        self.needs = [need for need in self.needs if need not in self._of_idle_packages]
        self._of_idle_packages.clear()
        for target in configuration.targets:
            before = known.get(target.key)
            if before is None or before.on != target.on or before.after != target.after:
                need = Need(
                    target.key, self.scheduler.now, self.scheduler.now - MINUTE, full=False, why="new or changed"
                )
                self._of_idle_packages.append(need)
        self.needs += self._of_idle_packages
        self.configuration = configuration
        self._arm_tick(self.scheduler.now)

    def roll_out(self, configuration: Configuration, is_older: Callable[[], bool]) -> None:
        """A new package is deployed gradually: some of the workers have the one before it, until `rolled_out`."""
        self.older, self.is_older = self.configuration, is_older
        self.configure(configuration)

    def rolled_out(self) -> None:
        """Whoever begins from now on has the new one."""
        self._tell("world: the new configuration is everywhere")
        self.older = None
        self._arm_tick(self.scheduler.now)

    def foreign_start(self, name: str, *, full: bool = False) -> None:
        """Somebody else starts a run."""
        key = self.configuration.by_name[name].key
        if not (self.character.refuses and self.platform.active(key)):
            self.platform.begin(key, ours=False, full=full)

    def _will_end(self, run: PlatformRun) -> None:
        """The platform may say that a run ended: a hint, early, late, or wrong."""
        if run.fate.hint_after is None or run.ends == float("inf"):
            return
        target = next((target for target in self.configuration.targets if target.key == run.key), None)
        if target is None:
            return
        hint: Message = FabricRunEnded("w", target.name, run.run_id)
        if isinstance(target.resource, GlueView):
            hint = GlueRunEnded("sales", target.name)
        self.scheduler.at(run.ends + run.fate.hint_after, lambda: self.send(lambda _received: hint, "hint"))

    # --- What is known -----------------------------------------------------------------------------------------------

    def state(self, key: str) -> State:
        """What the record says."""
        return records.read_state(self.store.load(key).body)

    def deployment(self) -> Deployment:
        """What the deployment's record says."""
        return records.read_deployment(self.store.load(records.DEPLOYMENT_KEY).body)


def _silent(_happened: object) -> None:
    pass


def _leaves(cause: BaseException | None) -> list[BaseException]:
    if isinstance(cause, BaseExceptionGroup):
        return [leaf for one in cause.exceptions for leaf in _leaves(one)]
    return [cause] if cause else []
