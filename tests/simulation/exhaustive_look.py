"""Every interleaving of a small world that looks, with the shipped loop and the shipped proofs.

One table, one view over it, two workers whose clocks are a minute apart. A commit, whose event may be lost; somebody
else's refresh; a look, the event and whatever is due, each taken up by a free worker at any time; a crash between any
two effects. In every state: if the record says proven as of T, the platform's journal has a run that read what the
table had at T. And from every state, once all is calm and looks go on, the view comes to hold what the table has.

As in `exhaustive`, a worker is not kept: it is the answers that its effects were given. To let it take one step, its
work begins anew, is given those answers, and stops at the next effect. What is read from the store is read at once.

    time 0          100 ...                              each commit and each foreign start is a second of its own
    run 0, fresh    commit? event? foreign run? look?
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import cache, partial
from typing import Any, NamedTuple

from shared.config.load import Configuration
from shared.refresh import records
from shared.refresh.deployment import Standing
from shared.refresh.inputs import Signalled
from shared.refresh.ports import Conflict, Document, Phase, Report, Started
from shared.refresh.state import Signal, State
from shared.sources.groups import GlueDatabase, SourceTable, encode
from shared.sources.memory import GroupRecord, IcebergVersion, SourceMemory, ViewMemory, read_group, write_group
from shared.sources.ports import NEVER, Known
from shared.targets import Policy
from tests.simulation.core import Core
from tests.simulation.exhaustive import Explored, breadth_first
from tests.simulation.platform import character
from tests.simulation.world import at, make_target, seconds

GROUP = GlueDatabase("123456789012", "sales")
ARN = "arn:aws:glue:r:123456789012:table/sales/a"
BEGIN, STEP, RUN_SECONDS, CALM = 100, 40, 20, 60
OFFSETS = (0, 60)
POLICY = Policy(
    quiet_period=timedelta(seconds=8),
    max_wait=timedelta(seconds=20),
    min_interval=timedelta(0),
    visibility_lag=timedelta(seconds=10),
    timeout=timedelta(hours=1),
    look=timedelta(seconds=60),
)
LOOK, DUE, EVENT = "look", "due", "event"
CURRENT = Standing(1, is_current=True, read_at=at(0))
"""Every worker here is of the one edition that there is."""


_state = cache(records.read_state)


@cache
def _due_at(body: bytes) -> datetime | None:
    """When the group is due."""
    return read_group(body).due_at


class Run(NamedTuple):
    """A run: when it was created, which reads the table, and how many commits it read."""

    created: int
    content: int
    ours: bool


class Worker(NamedTuple):
    """What a worker does, by which clock, and what its effects were answered."""

    work: str
    offset: int
    answers: tuple[Any, ...] = ()
    wants: tuple[Any, ...] = ()


class World(NamedTuple):
    """A state of the whole. `commits` are the times of commits; versions of records count their saves."""

    time: int
    target: tuple[int, bytes, datetime | None]
    group: tuple[int, bytes]
    commits: tuple[int, ...] = ()
    runs: tuple[Run, ...] = (Run(0, 0, ours=True),)
    events: int = 0
    workers: tuple[Worker | None, Worker | None] = (None, None)
    crashes: int = 0
    foreign: int = 0
    jumps: int = 0


class _Suspended(BaseException):
    """The next effect has no answer yet."""

    def __init__(self, *wants: Any) -> None:
        self.wants = wants


class _Ports:
    """All ports of a worker, and the calls of its catalog: gives the answers again, and stops where there is none."""

    reach, relays = timedelta(0), False

    def __init__(self, model: Model, worker: Worker, time: int) -> None:
        self.capabilities = model.character.capabilities
        self._model, self._worker, self._time = model, worker, time
        self.read: list[Any] = list(worker.answers)
        self._next = 0

    def _answer(self, *wants: Any) -> Any:
        if self._next == len(self.read):
            raise _Suspended(*wants)
        self._next += 1
        return self.read[self._next - 1]

    def _reading(self) -> int:
        """A clock is read in the same moment as the effect before it, and kept like an answer."""
        if self._next == len(self.read):
            self.read.append(self._time)
        found: int = self._answer()
        return found

    # --- Clock, store, platform

    def now(self) -> datetime:
        """The worker's clock."""
        return at(self._reading() + self._worker.offset)

    def monotonic(self) -> float:
        """Counts frozen time."""
        return self._reading()

    def token(self) -> str:
        """Another one for each worker and moment."""
        return f"claim-{self._worker.work}-{self._worker.offset}-{self._reading()}"

    def load(self, key: str) -> Document:
        """The records of deployment and identity are never written here: a queue of one target serves at once."""
        if _is_unwritten(key):
            return Document(key)
        version, body = self._answer("load", key)
        return Document(key, version, body)

    def load_many(self, keys: Any) -> list[Document]:
        """One after the other."""
        return [self.load(key) for key in keys]

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """May be a conflict."""
        if _is_unwritten(document.key):
            return document
        version = self._answer("save", document.key, document.version, body, wake_at)
        if not version:
            raise Conflict
        return Document(document.key, version, body)

    def append(self, *_: Any) -> None:
        """Nothing depends on it."""

    def send(self, *_: Any) -> None:
        """There are no wakes."""

    def start(self, _target: Any, *, full: bool) -> Any:
        """Send a start."""
        return self._answer("start")

    def get(self, _target: Any, run_id: str) -> Any:
        """Send a poll."""
        return self._answer("get", run_id)

    def list(self, _target: Any, _since: datetime) -> Any:
        """Send a look-up."""
        return self._answer("list")

    # --- Catalog

    def look(self, group: Any, known: Known, *, ends_at: float = NEVER) -> Any:
        """By the shipped driver."""
        return self._model.core.catalog.look_at_database(group, known, self)

    def get_tables(self, parameters: Mapping[str, Any]) -> Any:
        """GetTables."""
        return self._ask("tables", parameters["Expression"])

    def load_table(self, _path: str) -> Any:
        """LoadTable."""
        return self._ask("metadata", "")

    def _ask(self, call: str, names: str) -> Any:
        asked_at, began = self.now(), self.monotonic()
        time, text = self._answer(call, names)
        answered_at, ended = self.now(), self.monotonic()
        body = text.encode() if call == "metadata" else _parse(text)
        headers = {"Date": format_datetime(at(time), usegmt=True)}
        reply = self._model.core.replies.Reply
        return reply(body, asked_at, answered_at, timedelta(seconds=ended - began), headers=headers)


def _parse(text: str) -> Any:
    """GetTables' answer, whose times are whole seconds."""
    found = json.loads(text)
    for table in found["TableList"]:
        table["UpdateTime"] = at(table["UpdateTime"])
    return found


class Model:
    """All that follows from a state, and whether the calm after it heals."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.character = character("glue", listing_delay=0, call_timeout=5)
        self.target = make_target("v", "glue", POLICY, buckets=("a",))
        self.configuration = Configuration((self.target,))
        state = State(
            definition=self.target.definition,
            planned_until=at(BEGIN),
            edition=CURRENT.number,
            fresh_as_of=at(0),
            last_claim_at=at(0),
        )
        memory = SourceMemory((self.target.key,), IcebergVersion("0", "u", (1,), (0, 1), at(0)), at(0), at(0), at(0))
        view = ViewMemory((encode(SourceTable(GROUP, "a")),), (), at(0))
        group = write_group(GroupRecord({"a": memory}, {"v": view}, due_at=at(BEGIN)))
        self.first = World(BEGIN, (1, records.write(state), None), (1, group))
        self._steps: dict[tuple[Worker, int], Worker | None] = {}
        self._calm: dict[World, str] = {}

    # --- One step of one worker

    def _advance(self, world: World, slot: int, worker: Worker) -> World:
        """Let a worker go on to its next effect that is none of reading a record."""
        while True:
            after = self._stepped(worker, world.time)
            if after is None or after.wants[0] != "load":
                return _with(world, slot, after)
            worker = after._replace(answers=(*after.answers, self._load(world, after.wants[1])), wants=())

    def _stepped(self, worker: Worker, time: int) -> Worker | None:
        known = (worker, time)
        if known not in self._steps:
            self._steps[known] = self._run(worker, time)
        return self._steps[known]

    def _run(self, worker: Worker, time: int) -> Worker | None:
        """The work from its beginning, as far as its answers go; None if it ended."""
        ports = _Ports(self, worker, time)
        engine = self.core.engine
        looking = partial(self._looking, ports)
        made = engine.Ports(self.target.cloud, ports, ports, ports, ports, ports.token, _silent, looking)
        loop = engine.Engine(self.configuration.package(self.target.cloud), made, standing=CURRENT)
        try:
            if worker.work == LOOK:
                looking(loop.targets, partial(loop.reconcile, may_call=False)).look(GROUP.key, CURRENT.number)
            else:
                event = Signalled(Signal(at(ports._reading()), "event")) if worker.work == EVENT else None
                loop.reconcile(self.target, (event,) if event else ())
        except _Suspended as suspended:
            return worker._replace(answers=tuple(ports.read), wants=suspended.wants)
        return None

    def _looking(self, ports: _Ports, targets: Any, reconcile: Callable[..., Any]) -> Any:
        parts: dict[str, Any] = {"store": ports, "sources": ports, "platform": ports, "clock": ports}
        return self.core.looking.Looking(targets, reconcile=reconcile, emit=_silent, **parts)

    def _load(self, world: World, key: str) -> tuple[str, bytes]:
        version, body = world.group if key == GROUP.key else world.target[:2]
        return str(version), body

    def step(self, world: World, slot: int) -> World:
        """The effect that a worker wants happens; a start follows its claim at once."""
        worker = world.workers[slot]
        assert worker
        world, answer = self._effect(world, worker)
        after = self._advance(world, slot, worker._replace(answers=(*worker.answers, answer), wants=()))
        following = after.workers[slot]
        is_claim = worker.wants[0] == "save" and following is not None and following.wants[0] == "start"
        return self.step(after, slot) if is_claim else after

    def _effect(self, world: World, worker: Worker) -> tuple[World, Any]:
        match worker.wants:
            case ("save", key, version, body, wake_at):
                return self._save(world, key, version, body, wake_at)
            case ("tables", names):
                return world, (world.time, json.dumps(self._tables(world, names)))
            case ("metadata", _):
                return world, (world.time, json.dumps(_metadata(len(world.commits))))
            case ("start",):
                run = Run(world.time, len(world.commits), ours=True)
                return world._replace(runs=(*world.runs, run)), Started(f"run-{len(world.runs)}")
            case ("get", run_id):
                return world, _report(world, int(run_id.removeprefix("run-")))
        return world, tuple(_report(world, number) for number in range(1, len(world.runs)))

    def _save(self, world: World, key: str, version: str, body: bytes, wake_at: datetime | None) -> tuple[World, str]:
        number = world.group[0] if key == GROUP.key else world.target[0]
        if version != str(number):
            return world, ""
        if key == GROUP.key:
            return world._replace(group=(number + 1, body)), str(number + 1)
        return world._replace(target=(number + 1, body, wake_at)), str(number + 1)

    def _tables(self, world: World, names: str) -> dict[str, Any]:
        stamp, number = (world.commits[-1] if world.commits else 0), len(world.commits)
        table = {"Name": "a", "UpdateTime": stamp, "Parameters": {"metadata_location": str(number)}}
        held = _held(world)
        ids = {"SubObjectVersionIds": [held.content + 1], "ViewVersionId": held.created + 1}
        view = {"Name": "v", "UpdateTime": 0, "ViewDefinition": {"SubObjects": [ARN], **ids}}
        return {"TableList": [each for each in (table, view) if each["Name"] in names.split("|")]}

    # --- All steps

    def successors(self, world: World) -> Iterator[World]:
        """Whatever can happen next."""
        if not world.commits:
            for told in (0, 1):  # its event is lost, or it is not
                yield world._replace(time=world.time + 1, commits=(world.time + 1,), events=told)
        if world.foreign and not any(_is_active(run, world.time) for run in world.runs):
            run = Run(world.time + 1, len(world.commits), ours=False)
            yield world._replace(time=world.time + 1, foreign=world.foreign - 1, runs=(*world.runs, run))
        if world.jumps:
            yield world._replace(time=world.time + STEP, jumps=world.jumps - 1)
        for slot, worker in enumerate(world.workers):
            if worker is None:
                yield from self._beginnings(world, slot)
                continue
            yield self.step(world, slot)
            if world.crashes:
                yield _with(world._replace(crashes=world.crashes - 1), slot, None, again=worker.work)

    def _beginnings(self, world: World, slot: int) -> Iterator[World]:
        others = {worker.work for worker in world.workers if worker}
        due_at, wake_at = _due_at(world.group[1]), world.target[2]
        if LOOK not in others and due_at and seconds(due_at) <= world.time + OFFSETS[slot]:
            yield self._advance(world, slot, Worker(LOOK, OFFSETS[slot]))
        if world.events:
            taken = world._replace(events=world.events - 1)
            yield self._advance(taken, slot, Worker(EVENT, OFFSETS[slot]))
        if wake_at and seconds(wake_at) <= world.time + OFFSETS[slot]:
            yield self._advance(world, slot, Worker(DUE, OFFSETS[slot]))

    # --- What is wrong

    def wrong(self, world: World) -> str:
        """A proof that no run justifies, or what the calm does not heal."""
        proven = _state(world.target[1]).proven_as_of
        if proven and not any(_reads(world, run, seconds(proven)) for run in world.runs):
            return f"proven as of {seconds(proven):.0f}, and no run has read that"
        return self._unhealed(world)

    def _unhealed(self, world: World) -> str:
        for slot, worker in enumerate(world.workers):
            world = _with(world, slot, None, again=worker.work if worker else "")
        world = world._replace(crashes=0, foreign=0, jumps=0)
        path: list[World] = []
        for _ in range(CALM):
            if world in self._calm or (_held(world).content == len(world.commits) and _is_quiet(world)):
                break
            path.append(world)
            world = self._calm_step(world)
        found = self._calm.get(world, "")
        if world not in self._calm and _held(world).content != len(world.commits):
            found = f"not healed: the view holds {_held(world).content} of {len(world.commits)} commits"
        for passed in path:
            self._calm[passed] = found
        return found

    def _calm_step(self, world: World) -> World:
        for begun in list(self._beginnings(world, 0))[:1]:
            world = begun
            while world.workers[0]:
                world = self.step(world, 0)
            return world._replace(time=world.time + 1)
        return world._replace(time=world.time + STEP)


def _metadata(commits: int) -> dict[str, Any]:
    """LoadTable's answer after so many commits."""
    snapshots = [{"snapshot-id": number + 1, "summary": {"operation": "append"}} for number in range(commits + 1)]
    log = [{"timestamp-ms": number, "snapshot-id": number + 1} for number in range(commits + 1)]
    found = {"table-uuid": "u", "current-snapshot-id": commits + 1, "snapshots": snapshots, "snapshot-log": log}
    return {"metadata-location": str(commits), "metadata": found}


def _is_unwritten(key: str) -> bool:
    """Whether a record is neither of a target nor of a group."""
    return records.is_other(key) and not records.is_group(key)


def _is_active(run: Run, time: int) -> bool:
    return run.created <= time < run.created + RUN_SECONDS


def _held(world: World) -> Run:
    """The run that wrote the view last."""
    return max((run for run in world.runs if not _is_active(run, world.time)), key=lambda run: run.created)


def _is_quiet(world: World) -> bool:
    state = _state(world.target[1])
    return state.owed is None and state.run is None and not world.events


def _reads(world: World, run: Run, since: float) -> bool:
    """Whether a run that ended well read what the table had then, or later."""
    at_least = sum(commit <= since for commit in world.commits)
    return not _is_active(run, world.time) and run.content >= at_least


def _report(world: World, number: int) -> Report:
    run = world.runs[number]
    ended = not _is_active(run, world.time)
    phase, ended_at = (Phase.SUCCEEDED, at(run.created + RUN_SECONDS)) if ended else (Phase.ACTIVE, None)
    return Report(f"run-{number}", phase, phase, created_at=at(run.created), ended_at=ended_at, full=False)


def _with(world: World, slot: int, worker: Worker | None, again: str = "") -> World:
    """The world with another worker in a slot; the event that one who is gone was to deliver comes again."""
    workers = (worker, world.workers[1]) if slot == 0 else (world.workers[0], worker)
    return world._replace(workers=workers, events=world.events + (again == EVENT))


def _silent(_happened: object) -> None:
    pass


def explore(core: Core, *, crashes: int = 0, foreign: int = 0, jumps: int = 0) -> Explored:
    """Explore the small world that looks, with at most so many of each that may happen."""
    model = Model(core)
    first = model.first._replace(crashes=crashes, foreign=foreign, jumps=jumps)
    return breadth_first(first, model.wrong, model.successors)
