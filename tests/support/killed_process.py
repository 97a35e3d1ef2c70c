"""Processes that are killed (SIGKILL) at each effect of a short story, on one state file and one platform each.

    python -m tests.support.killed_process FOLDER [MUTANT]

forks a process for each effect (each third one of a mutant's), which works in FOLDER/<number> until it dies there; the
last one tells the story to its end. Whoever judges goes on in each folder with `Machine`, as the next process would,
and reads the platform's journal. The platform is a file: what was sent stays sent, whoever
dies. Time is virtual, and goes on from the last effect.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from local.emulators.memory import MemoryWaker
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.inbound.dispatch import take
from shared.inbound.messages import Message, Ticked, Woken
from shared.refresh import records
from shared.refresh.engine import Engine, Ports
from shared.refresh.failure import Failure
from shared.refresh.inputs import Signalled
from shared.refresh.ports import Document, Phase, Report, Started
from shared.refresh.state import Signal, Situation, Wake
from shared.targets import Cloud, Target
from tests.support.core import GLUE, NOON, HandClock, a_target, seconds

RUN_TIME = seconds(40)
TICK = seconds(60)
POLLED_AFTER = seconds(30)
"""What the platform says of when to ask again."""
ARRIVALS = (30.0, 40.0)
"""Seconds after noon: both in the middle of the first refresh, which covers neither."""
STORY_SECONDS, CALM_SECONDS = 150.0, 600.0
"""Length of the story, by the end of which the second refresh is over; and after what time all must be at rest."""
STEP = seconds(5)
"""How far the clock moves at once."""
FIRST, LAST = a_target("first"), a_target("last", after=("first",))


class Sent(NamedTuple):
    """A start that reached the platform."""

    key: str
    at: datetime


class Journal:
    """Lines in a file, each written at once: what the platform did, and which arrivals were taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def add(self, kind: str, key: str, at: datetime) -> None:
        """Write one line."""
        with self._path.open("a") as file:
            file.write(json.dumps([kind, key, at.isoformat()]) + "\n")

    def lines(self, kind: str) -> list[Sent]:
        """Read all lines of a kind."""
        found = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [Sent(key, datetime.fromisoformat(at)) for name, key, at in found if name == kind]

    def latest(self) -> datetime:
        """The time of the last line of any kind."""
        found = [json.loads(line)[2] for line in self._path.read_text().splitlines()]
        return max(map(datetime.fromisoformat, found), default=NOON)


class FilePlatform:
    """Accepts every start, whatever else is running: an overlap shows in the journal."""

    capabilities = GLUE

    def __init__(self, journal: Journal, clock: HandClock, effect: Callable[[], None]) -> None:
        self._journal, self._clock, self._effect = journal, clock, effect

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Journal it, and die with the answer under way. To die before it is to die after the claim's save."""
        self._journal.add("start", target.key, self._clock.now())
        self._effect()
        return Started(f"{self._clock.now().timestamp()}", self._clock.now(), POLLED_AFTER)

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """One run, by its id."""
        return next(report for report in self._reports(target) if report.run_id == run_id)

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """All that have not ended before `since`."""
        return tuple(each for each in self._reports(target) if each.ended_at is None or each.ended_at >= since)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Nothing in the story takes so long."""
        raise NotImplementedError(run_id)

    def _reports(self, target: Target) -> Iterator[Report]:
        for run in self._journal.lines("start"):
            if run.key == target.key:
                ended = run.at + RUN_TIME if self._clock.now() >= run.at + RUN_TIME else None
                phase = Phase.SUCCEEDED if ended else Phase.ACTIVE
                yield Report(f"{run.at.timestamp()}", phase, phase, run.at, ended)


class DyingStore(Store):
    """The product's store with a place to die after each write."""

    effect: Callable[[], None] = staticmethod(lambda: None)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Save, and die with that on the disk."""
        saved = super().save(document, body, wake_at)
        self.effect()
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Append, and die with that on the disk."""
        super().append(key, entry_id, body, expires_at)
        self.effect()


class ForgetfulStore(DyingStore):
    """A mutant: tells of a write as done that is on the disk only with the next one, as without `synchronous`."""

    _late: Callable[[], Document] | None = None
    _seen: dict[str, Document]

    def load(self, key: str) -> Document:
        """What this process believes to be there."""
        self._flush()
        return super().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Keep the write for later."""
        self._flush()
        saved = Document(document.key, document.version, body)
        self._late = lambda: Store.save(self, document, body, wake_at)
        self.effect()
        return saved

    def _flush(self) -> None:
        late, self._late = self._late, None
        if late:
            late()


MUTANTS: dict[str, type[DyingStore]] = {"": DyingStore, "forgetful": ForgetfulStore}


class DyingWaker(MemoryWaker):
    """Wakes in memory, with a place to die after each."""

    effect: Callable[[], None] = staticmethod(lambda: None)

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Send, and die with the wake."""
        super().send(wake, delay)
        self.effect()


class Machine:
    """One process on the state and the platform in a folder: it ticks each minute and takes its own wakes."""

    def __init__(self, folder: Path, store: type[DyingStore] = DyingStore, dies_at: int = -1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(folder / "journal")
        self.clock = HandClock()
        self.clock.time = self.journal.latest()
        self._dies_at = dies_at
        self._effects = count()
        self.file = StateFile(folder / "unstale.db")
        self.store = store(self.file, Cloud.AWS, self.clock)
        self._waker = DyingWaker(self.clock)
        self.store.effect = self._waker.effect = self._effect
        platform = FilePlatform(self.journal, self.clock, self._effect)
        tokens = (f"{os.getpid()}-{number}" for number in count())
        self._ports = Ports(
            Cloud.AWS, self.store, platform, self._waker, self.clock, lambda: next(tokens), lambda _: None
        )
        self._configuration = Configuration((FIRST, LAST))

    def _engine(self) -> Engine:
        return Engine(self._configuration.package(Cloud.AWS), self._ports)

    def _take(self, message: Message) -> None:
        """Take a message as the process does. One that a mutant's trouble sends back is left to the next tick."""
        take(self._engine(), self._configuration, [message])

    def _effect(self) -> None:
        if next(self._effects) == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def live(self, seconds_long: float) -> None:
        """Tick each minute, deliver wakes when they are due, and deliver arrivals until they are taken."""
        ends_at = NOON + seconds(seconds_long)
        next_tick = self.clock.now()
        while self.clock.now() < ends_at:
            if self.clock.now() >= next_tick:
                self._take(Ticked())
                next_tick = self.clock.now() + TICK
            for wake in self._waker.take_due():
                self._take(Woken(wake))
            self._deliver()
            self.clock.time += STEP

    def _deliver(self) -> None:
        taken = {line.at for line in self.journal.lines("taken")}
        for after in ARRIVALS:
            at = NOON + seconds(after)
            if self.clock.now() >= at and at not in taken:
                self._engine().reconcile(FIRST, (Signalled(Signal(at, "data")),), may_call=False)
                self.journal.add("taken", FIRST.key, at)


@contextmanager
def next_process(folder: Path) -> Iterator[Machine]:
    """The process that goes on where one was killed."""
    machine = Machine(folder)
    with machine.file:
        yield machine


def violations(machine: Machine) -> Iterator[str]:
    """What the platform's journal says against the promises, and who has not come to rest."""
    runs = machine.journal.lines("start")
    for key in (FIRST.key, LAST.key):
        own = sorted(run.at for run in runs if run.key == key)
        yield from (f"OVERLAP of {key} at {b}" for a, b in pairwise(own) if b < a + RUN_TIME)
        if records.read_state(machine.store.load(key).body).situation is not Situation.IDLE:
            yield f"STUCK {key}"
    first = [run.at for run in runs if run.key == FIRST.key]
    for arrival in (NOON, *(NOON + seconds(after) for after in ARRIVALS)):
        if not any(at >= arrival for at in first):
            yield f"LOST {arrival}"
    last = [run.at for run in runs if run.key == LAST.key]
    if not any(at >= max(first, default=NOON) + RUN_TIME for at in last):
        yield "LOST the follower's signal"


def kill_at_effects(folder: Path, store: type[DyingStore], every: int) -> None:
    """Fork one process for each effect, or each third and so on, until one tells the story to its end."""
    for number in count(0, every):
        child = os.fork()
        if not child:
            Machine(folder / f"{number:03}", store, number).live(STORY_SECONDS)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


def main(arguments: Any) -> None:
    """As the head of this file says."""
    folder, *mutant = arguments
    kill_at_effects(Path(folder), MUTANTS[mutant[0] if mutant else ""], every=3 if mutant else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
