"""Every interleaving of a small world, with the shipped loop: not some histories, all of them.

One target; two workers whose clocks are a minute apart; three signals, delivered at any time after they were sent; a
crash between any two effects, a lost answer, a duplicate, a freeze: a worker that does not move while time does.

A worker cannot be copied while it runs, so it is not kept: it is the turn of its look, a value, and the answers that
its effects were given in this turn. To let it take one step, the shipped turn begins anew, is given those answers, and
stops at the next effect. States that differ only in which of two equal signals is which are one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.refresh import records
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.inputs import Input, Placed, Signalled
from shared.refresh.ports import Conflict, Document, Phase, Report, Started
from shared.refresh.state import Signal, State, Wake
from shared.targets import Policy, Target
from tests.simulation.core import Core
from tests.simulation.platform import character
from tests.simulation.world import at, make_target, seconds

STEP = 40
"""Seconds that pass at a time."""
HORIZON = 3
"""Steps with faults; after each state that can be reached in them, the calm is tried."""
SENT = {0: 2, 80: 1}
"""When the three signals are dated, and how many at a time. They may be delivered at any time from then on."""
TIMES = tuple(SENT)
NOTHING = (0,) * len(SENT)
RUN_SECONDS = 45
OFFSETS = (0, 60)
LAG = 10
CALM = 40
"""Steps within which all must be covered, once nothing goes wrong any more."""

POLICY = Policy(
    quiet_period=timedelta(seconds=8),
    max_wait=timedelta(seconds=20),
    min_interval=timedelta(0),
    visibility_lag=timedelta(seconds=LAG),
    timeout=timedelta(hours=1),
)
UNKNOWN = Failure("ReadTimeout", "no answer", Fault.NETWORK, Delivery.UNKNOWN, retry_safe=False)
RUNNING = Failure("Running", "", Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, kind=FailureKind.ALREADY_RUNNING)
LOOK = -1
"""What a worker does that a tick or a wake started; else the time of the signal that it delivers."""

SLOTS = (0, 1)
FREE = -1

Answers = tuple[Any, ...]


class Worker(NamedTuple):
    """Where one worker stands: what it does, by which clock, its turn, what it was answered, and what it wants next."""

    work: int
    offset: int
    turn: Any
    answers: Answers
    wants: tuple[Any, ...]


class World(NamedTuple):
    """A state of the whole. Workers and records are kept apart and numbered, so that states are small.

    `workers` are 0 for a free one; `fresh`: the record in its hand, as it loaded or saved it
    last, is the one that is stored; `runs` are the times at which runs of ours
    were created; `waiting` and, as long as one may come twice, `done` count signals by their time; `overlaps` must stay
    0. Once the worker that froze may go on again, `frozen` is free for no other.
    """

    time: int = 0
    record: int = 0
    runs: tuple[int, ...] = ()
    waiting: tuple[int, ...] = tuple(SENT.values())
    done: tuple[int, ...] = NOTHING
    workers: tuple[int, int] = (0, 0)
    fresh: tuple[bool, bool] = (False, False)
    crashes: int = 0
    losses: int = 0
    duplicates: int = 0
    freezes: int = 0
    frozen: int = FREE
    overlaps: int = 0


class _Suspended(BaseException):
    """The next effect has no answer yet."""

    def __init__(self, *wants: Any) -> None:
        self.wants = wants


T = TypeVar("T", bound=Hashable)


class _TurnOver(BaseException):
    """The shipped loop would begin its next turn."""

    def __init__(self, turn: Any) -> None:
        self.turn = turn


class Numbered(Generic[T]):
    """Things and their numbers, from 1 on."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self._things: list[T] = []

    def number(self, thing: T) -> int:
        """Always the same one for equal things."""
        number = self._numbers.setdefault(thing, len(self._things) + 1)
        if number > len(self._things):
            self._things.append(thing)
        return number

    def __getitem__(self, number: int) -> T:
        """The thing of that number."""
        return self._things[number - 1]


class _Replay:
    """All ports: gives the answers again, and stops where there is none."""

    reach = timedelta(0)  # any worker may look at any time that the record says: this stands for wakes and ticks alike
    relays = False
    reads_together = False

    def __init__(self, model: Model, worker: Worker, time: int) -> None:
        self.capabilities = model.character.capabilities
        self._model, self._worker, self._time = model, worker, time
        self._next = 0
        self.read: list[Any] = list(worker.answers)

    def _answer(self, *wants: Any) -> Any:
        if self._next == len(self.read):
            raise _Suspended(*wants)
        self._next += 1
        return self.read[self._next - 1]

    def _reading(self, value: int) -> int:
        """Clocks and ids are read in the same moment as the effect before them, and kept like answers."""
        if self._next == len(self.read):
            self.read.append(value)
        read: int = self._answer()
        return read

    def now(self) -> datetime:
        """The worker's clock."""
        return at(self._reading(self._time) + self._worker.offset)

    def monotonic(self) -> float:
        """Counts frozen time."""
        return self._reading(self._time)

    def token(self) -> str:
        """A new id: no two workers have the same clock and the same answers, unless one of them is gone."""
        here = self._worker._replace(answers=tuple(self.read[: self._next]))
        return f"claim-{self._reading(self._model.tokens.number(here))}"

    def load(self, key: str) -> Document:
        """The records of deployment and identity are never written here: a queue of one target serves at once."""
        if records.is_other(key):
            return Document(key)
        return Document(key, "read", self._answer("load"))

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """The same for each."""
        return [self.load(key) for key in keys]

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """May be a conflict."""
        if records.is_other(document.key):
            return document
        if not self._answer("save", body, wake_at):
            raise Conflict
        return Document(document.key, "saved", body)

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Nothing depends on it."""

    def send(self, wake: Wake, delay: timedelta) -> None:
        """There are none."""

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Send a start."""
        return self._answer("start")

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Send a poll."""
        return self._answer("get", run_id)

    def list(self, target: Target, since: datetime) -> tuple[Report, ...]:
        """Send a look-up."""
        return self._answer("list", since)


class Model:
    """All that follows from a state, and whether the calm after it covers everything."""

    def __init__(self, core: Core, platform: str) -> None:
        self.core = core
        self.character = character(platform, listing_delay=0, call_timeout=5)
        self.target = make_target("v", platform, POLICY)
        self.configuration = Configuration((self.target,))
        planned = records.write(State(definition=self.target.definition))
        self.tokens = Numbered[Worker]()
        self.workers = Numbered[Worker]()
        self.records = Numbered[tuple[bytes, datetime | None]]()
        self.first = World(record=self.records.number((planned, None)))
        self._steps: dict[tuple[Worker, int], int] = {}
        self._calm: dict[World, str] = {}

    # --- One step of one worker --------------------------------------------------------------------------------------

    def _advance(self, worker: Worker, time: int) -> int:
        """Run the shipped code up to the effect after these answers; 0 if it returned."""
        known = (worker, time)
        if known not in self._steps:
            self._steps[known] = self._advanced(worker, time)
        return self._steps[known]

    def _advanced(self, worker: Worker, time: int) -> int:
        replay = _Replay(self, worker, time)
        try:
            turn = self._turn(worker, replay)
        except _Suspended as suspended:
            return self.workers.number(worker._replace(answers=tuple(replay.read), wants=suspended.wants))
        if turn.done:
            return 0
        if not any(isinstance(given, Placed) for given in turn.pending):
            turn = replace(turn, known=None)  # read again by the next turn: an identity of one target tells nothing new
        return self._advance(worker._replace(turn=turn, answers=()), time)

    def _turn(self, worker: Worker, replay: _Replay) -> Any:
        """One turn of the shipped loop, from any turn before it."""
        engine = self.core.engine
        ports = engine.Ports(self.target.cloud, replay, replay, replay, replay, replay.token, _silent)
        looking = engine.Engine(self.configuration.package(self.target.cloud), ports)
        turn_of_engine = looking._advance

        def only_one(target: Target, turn: Any, **how: Any) -> None:
            raise _TurnOver(turn_of_engine(target, worker.turn or turn, **how))

        looking._advance = only_one
        try:
            looking.reconcile(self.target, _happened(worker.work))
        except _TurnOver as over:
            return over.turn
        raise AssertionError("a look has at least one turn")

    def begin(self, world: World, slot: int, work: int) -> World:
        """A free worker takes something up."""
        worker = Worker(work, OFFSETS[slot], None, (), ())
        return self._reading(_with_worker(world, slot, self._advance(worker, world.time), fresh=False), slot)

    def step(self, world: World, slot: int, lost: str = "") -> World:
        """The effect that a worker wants happens, and it goes on to the next. A start follows its claim at once."""
        worker = self.workers[world.workers[slot]]
        world, answer = self._effect(world, slot, worker, lost)
        after = self._advance(worker._replace(answers=(*worker.answers, answer)), world.time)
        if not after and worker.work != LOOK and world.duplicates:
            world = world._replace(done=_changed(world.done, TIMES.index(worker.work), 1))
        fresh = after > 0 and (worker.wants[0] == "load" or world.fresh[slot])
        world = _with_worker(world, slot, after, fresh=fresh)
        if after and worker.wants[0] == "save" and self.workers[after].wants[0] == "start":
            return self.step(world, slot, lost)
        return self._reading(world, slot)

    def _reading(self, world: World, slot: int) -> World:
        """A worker that wants to read does so at once: if the record moves on later, its save shows that."""
        worker = world.workers[slot]
        return self.step(world, slot) if worker and self.workers[worker].wants[0] == "load" else world

    def _effect(self, world: World, slot: int, worker: Worker, lost: str) -> tuple[World, object]:
        match worker.wants:
            case ("load",):
                return world, self.records[world.record][0]
            case ("save", body, wake_at):
                if not world.fresh[slot]:
                    return world, False
                fresh = (slot == 0, slot == 1)
                return world._replace(record=self.records.number((body, wake_at)), fresh=fresh), True
            case ("start",):
                return self._start(world, lost)
            case ("get", run_id):
                return world, self._report(world, int(run_id.removeprefix("run-")))
            case _:
                return world, tuple(self._report(world, number) for number in range(len(world.runs)))

    def _start(self, world: World, lost: str) -> tuple[World, object]:
        world = world._replace(losses=world.losses - bool(lost))
        if lost == "on the way":
            return world, UNKNOWN
        if any(created + RUN_SECONDS > world.time for created in world.runs):
            world = world._replace(overlaps=world.overlaps + 1)
            if self.character.refuses:
                return world, RUNNING
        world = world._replace(runs=(*world.runs, world.time))
        return world, UNKNOWN if lost else Started(f"run-{len(world.runs) - 1}")

    def _report(self, world: World, number: int) -> Report:
        created = world.runs[number]
        ended = created + RUN_SECONDS <= world.time
        phase, ended_at = (Phase.SUCCEEDED, at(created + RUN_SECONDS)) if ended else (Phase.ACTIVE, None)
        return Report(f"run-{number}", phase, phase, created_at=at(created), ended_at=ended_at, full=False)

    # --- All steps ---------------------------------------------------------------------------------------------------

    def successors(self, world: World) -> Iterator[World]:
        """Whatever can happen next."""
        moving = [slot for slot in SLOTS if world.workers[slot] and slot != world.frozen]
        if world.time < STEP * HORIZON and not moving:
            yield world._replace(time=world.time + STEP)
        for slot, worker in enumerate(world.workers):
            if slot == world.frozen:
                yield world._replace(frozen=FREE)
            elif worker:
                yield from self._continuations(world, slot)
            else:
                yield from self._beginnings(world, slot)

    def _beginnings(self, world: World, slot: int) -> Iterator[World]:
        for number, sent in enumerate(TIMES):
            if sent > world.time:
                continue
            if world.waiting[number]:
                taken = world._replace(waiting=_changed(world.waiting, number, -1))
                yield self.begin(taken, slot, sent)
            if world.done[number] and world.duplicates:
                yield self.begin(world._replace(duplicates=0, done=NOTHING), slot, sent)
        if self._is_due(world, OFFSETS[slot]):
            yield self.begin(world, slot, LOOK)

    def _continuations(self, world: World, slot: int) -> Iterator[World]:
        yield self.step(world, slot)
        if world.freezes:
            yield world._replace(freezes=0, frozen=slot)
        saves = self.workers[world.workers[slot]].wants[0] == "save"
        if world.losses and saves:
            for lost in ("answer", "on the way"):
                after = self.step(world, slot, lost)
                if after.losses < world.losses:
                    yield after
        if world.crashes:
            world = world._replace(crashes=world.crashes - 1)
            yield self._crashed(world, slot)
            if saves and world.fresh[slot]:  # saved, and gone before anything came of it
                saved, _ = self._effect(world, slot, self.workers[world.workers[slot]], "")
                yield self._crashed(saved, slot)

    def _crashed(self, world: World, slot: int) -> World:
        """The worker is gone; what it was to deliver comes again."""
        work = self.workers[world.workers[slot]].work if world.workers[slot] else LOOK
        if work != LOOK:
            world = world._replace(waiting=_changed(world.waiting, TIMES.index(work), 1))
        return _with_worker(world, slot, 0, fresh=False)

    def _is_due(self, world: World, offset: int) -> bool:
        wake_at = self.records[world.record][1]
        return wake_at is not None and seconds(wake_at) <= world.time + offset

    # --- The calm ----------------------------------------------------------------------------------------------------

    def loses(self, world: World) -> str:
        """What is not covered once everybody is gone, every message has come again, and ticks have gone on for a while.

        Follows one path, so that all the states on it, too, are known afterwards.
        """
        for slot in SLOTS:
            world = self._crashed(world, slot)
        world = world._replace(crashes=0, losses=0, duplicates=0, freezes=0, frozen=FREE, done=NOTHING)
        path = []
        for _ in range(CALM):
            if world in self._calm:
                break
            path.append(world)
            world = self._calm_step(world)
        if world not in self._calm:
            self._calm[world] = self._uncovered(world)
        for passed in path:
            self._calm[passed] = self._calm[world]
        return self._calm[world]

    def _calm_step(self, world: World) -> World:
        for number, sent in enumerate(TIMES):
            while world.waiting[number] and sent <= world.time:
                world = world._replace(waiting=_changed(world.waiting, number, -1))
                world = self._worked_off(self.begin(world, 0, sent))
        if self._is_due(world, OFFSETS[0]):
            world = self._worked_off(self.begin(world, 0, LOOK))
        return world._replace(time=world.time + STEP)

    def _worked_off(self, world: World) -> World:
        while world.workers[0]:
            world = self.step(world, 0)
        return world

    def _uncovered(self, world: World) -> str:
        lost = [sent for sent in TIMES if not any(created >= sent + LAG for created in world.runs)]
        state = records.read_state(self.records[world.record][0])
        owes = state.owed is not None or state.run is not None
        if lost or owes or world.overlaps:
            return f"signals of {lost} s are lost, owing: {owes}, {world.overlaps} starts during a run"
        return ""


def _happened(work: int) -> tuple[Input, ...]:
    return () if work == LOOK else (Signalled(Signal(at(work), "data")),)


def _silent(_happened: object) -> None:
    pass


def _changed(counts: tuple[int, ...], number: int, by: int) -> tuple[int, ...]:
    return (*counts[:number], counts[number] + by, *counts[number + 1 :])


def _with_worker(world: World, slot: int, worker: int, *, fresh: bool) -> World:
    if slot == 0:
        return world._replace(workers=(worker, world.workers[1]), fresh=(fresh, world.fresh[1]))
    return world._replace(workers=(world.workers[0], worker), fresh=(world.fresh[0], fresh))


class Explored(NamedTuple):
    """What came of it; what is wrong is told with the state in which it shows."""

    states: int
    wrong: str


def breadth_first(first: T, wrong: Callable[[T], str], successors: Callable[[T], Iterable[T]]) -> Explored:
    """Explore all that can follow; breadth first, so that the violation found is one that needs the fewest steps."""
    seen, front = {first}, [first]
    while front:
        reached: list[T] = []
        for world in front:
            if found := wrong(world):
                return Explored(len(seen), f"{found}, after {world}")
            for after in successors(world):
                if after not in seen:
                    seen.add(after)
                    reached.append(after)
        front = reached
    return Explored(len(seen), "")


def explore(
    core: Core, platform: str, *, crashes: int = 0, losses: int = 0, duplicates: int = 0, freezes: int = 0
) -> Explored:
    """Explore the small world on a platform, with at most so many faults of each kind."""
    model = Model(core, platform)
    first = model.first._replace(crashes=crashes, losses=losses, duplicates=duplicates, freezes=freezes)
    return breadth_first(first, model.loses, model.successors)
