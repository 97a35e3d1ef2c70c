"""The process: ticks each minute, wakes when they are due, and an end within seconds that loses nothing.

    every 0.2 s   wakes that are due         -> threads
    every second  did another process write, and is anything due now?  -> a tick at once
    every minute  a tick of each cloud       -> a thread; sooner after one that met trouble
    SIGTERM       no new work; engines begin no call any more; what is under way gets 6 s, then the process ends

A process may die at any line (`shared.refresh.engine` says why): the grace only saves the next one from looking a start
up. Several processes on one file are as safe as several workers in a cloud.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from threading import Event

from msgspec.structs import replace

from local.emulators.memory import MemoryWaker
from local.process.clouds import Emit, MakePorts, NoWaker
from local.process.store import StateFile
from shared.config.load import Configuration
from shared.inbound import dispatch
from shared.inbound.messages import Message, Ticked, Woken
from shared.refresh import deployment
from shared.refresh.engine import Engine, LogEvent, Ports
from shared.refresh.ports import StoreDownError
from shared.sources.groups import files_of, view_of
from shared.targets import Cloud, Target

TICK_SECONDS = 60.0
"""Between two ticks, as in the clouds; a tick begins nothing new when the next one is due."""
AGAIN_SECONDS = 10.0
"""From a tick that met trouble to the next one: a file that somebody holds, or a full disk, may be mended by then."""
PAUSE_SECONDS = 0.2
"""Between two looks at the wakes, which are due to the second: a heap in memory costs nothing to look at."""
NOTICE_SECONDS = 1.0
"""Between two questions whether another process wrote: how long a command's `refresh` waits for this process."""
GRACE_SECONDS = 6.0
"""For what is under way at the end: a call to Fabric takes 4 s at most, one to Glue 10 s, and the promise is ten."""
THREADS = 8
"""Wakes at once, of all clouds; each waits for a platform most of its time."""
UNHEARD = (
    "nothing tells of arrivals in some of its sources: `unstale run` receives no events, and looks at tables alone. "
    "Give it a schedule, or onelake_changed of a table, with look on"
)
"""The warning about a target that arrivals would not refresh here."""


class Half:
    """The half of the process that serves one cloud."""

    def __init__(self, cloud: Cloud, configuration: Configuration, make_ports: MakePorts, emit: Emit) -> None:
        """Take what was opened for this cloud. Nothing is begun. Raises `StoreDownError`."""
        ports = make_ports(NoWaker(), emit=emit)
        self.cloud = cloud
        self._make_ports = make_ports
        self._clock = ports.clock
        self._configuration = replace(configuration, generation=generation_of(configuration, ports))
        self._package = self._configuration.package(cloud)
        self._emit = emit
        self._waker = MemoryWaker(self._clock)
        self._engines: set[Engine] = set()
        self._ending = Event()

    def take(self, message: Message) -> bool:
        """Take a tick or a wake, as the deployed function does; False where it met trouble, which is told."""
        ports = self._make_ports(self._waker, emit=self._emit)
        engine = Engine(self._package, ports, ends_at=self._clock.monotonic() + TICK_SECONDS)
        self._engines.add(engine)
        if self._ending.is_set():  # after `end` went through the engines that it knew
            engine.end_by(self._clock.monotonic())
        judged = self._judge(engine, message)
        self._engines.discard(engine)
        if judged.verdict is not dispatch.Verdict.DONE:
            self._emit(LogEvent("trouble of ours", "", self._clock.now(), {"why": _in_one_line(judged)}))
        return judged.verdict is dispatch.Verdict.DONE

    def _judge(self, engine: Engine, message: Message) -> dispatch.Judged:
        """Judge one message; what is raised beside it, as a function's invocation would fail, is trouble all the same.

        Nobody sees the exception of a thread: the next tick would come as if this one had been well.
        """
        try:
            (judged,) = dispatch.take(engine, self._configuration, [message])
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is told, and the record is due still
            return dispatch.Judged(dispatch.Verdict.RETRY, f"{type(failure).__name__}: {failure}", failure)
        return judged

    def take_wakes(self) -> list[Message]:
        """The wakes that are due now."""
        return [Woken(wake) for wake in self._waker.take_due()]

    def is_due(self) -> bool:
        """Whether any record is to be reconciled by now."""
        return any(self._make_ports(self._waker, emit=self._emit).store.due(self._clock.now(), 1))

    def warn(self) -> None:
        """Tell of each target that arrivals would not refresh here."""
        for target in self._package.targets:
            if is_unheard(target):
                self._emit(LogEvent("not heard", target.name, self._clock.now(), {"why": UNHEARD}))

    def end(self) -> None:
        """Let engines that are at work begin no call any more."""
        self._ending.set()
        for engine in tuple(self._engines):
            engine.end_by(self._clock.monotonic())


def generation_of(configuration: Configuration, ports: Ports) -> datetime:
    """The moment at which the file was read (rule 12); that of the current edition where the file still says the same.

    So a change of the file counts from the next start on, whatever it changes, and a restart rolls nothing out.
    """
    edition = deployment.load(ports.store).edition
    same = edition is not None and edition.fingerprint == configuration.fingerprint
    return edition.generation if edition and same else ports.clock.now()


def is_unheard(target: Target) -> bool:
    """Whether some source of a target tells by events alone: no look sees it, and no schedule or target helps.

    Of a view on Glue the looks see the tables that the view itself names, whatever tells of arrivals there.
    """
    sees_all = view_of(target) is not None or not files_of(target)
    is_seen = sees_all and target.policy.look is not None
    return bool(target.on) and not (is_seen or target.schedule or target.full_schedule or target.after)


def _in_one_line(judged: dispatch.Judged) -> str:
    """The trouble in one line, each target's own included."""
    cause: BaseException | None = judged.cause
    leaves = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
    return "; ".join([judged.why, *(f"{type(leaf).__name__}: {leaf}" for leaf in leaves)])


class Process:
    """All halves on one file, until `stop` is set."""

    def __init__(self, file: StateFile, halves: Sequence[Half], stop: Event) -> None:
        """Take the open file and the halves. Nothing is begun."""
        self._file = file
        self._halves = halves
        self._stop = stop
        self._pool = ThreadPoolExecutor(THREADS + len(halves), thread_name_prefix="unstale")
        self._ticks: dict[Cloud, Future[bool]] = {}
        self._tick_at = {half.cloud: time.monotonic() for half in halves}
        self._notice_at = time.monotonic()
        self._changes = file.changes_of_others()
        self._under_way: set[Future[bool]] = set()

    def once(self) -> bool:
        """Tick each cloud once; True if nothing met trouble."""
        ticks = [self._submit(half, Ticked()) for half in self._halves]
        while not self._stop.is_set() and not all(tick.done() for tick in ticks):
            wait(ticks, PAUSE_SECONDS)
        return all(tick.done() and tick.result() for tick in ticks)

    def step(self) -> None:
        """Do what is due now."""
        self._notice()
        for half in self._halves:
            for wake in half.take_wakes():
                self._submit(half, wake)
            last = self._ticks.get(half.cloud)
            if time.monotonic() >= self._tick_at[half.cloud] and (last is None or last.done()):
                self._tick(half)

    def _tick(self, half: Half) -> None:
        """Begin a tick of one cloud, and see to the next one; it comes sooner where this one meets trouble."""

        def come_again(tick: Future[bool]) -> None:
            """Have the next tick sooner."""
            if not tick.cancelled() and not tick.result():
                self._tick_at[half.cloud] = min(self._tick_at[half.cloud], time.monotonic() + AGAIN_SECONDS)

        self._tick_at[half.cloud] = time.monotonic() + TICK_SECONDS
        self._ticks[half.cloud] = tick = self._submit(half, Ticked())
        tick.add_done_callback(come_again)

    def _notice(self) -> None:
        """Tick at once where another process wrote something that is due: a person asked for a refresh."""
        if time.monotonic() < self._notice_at:
            return
        self._notice_at = time.monotonic() + NOTICE_SECONDS
        try:
            changes = self._file.changes_of_others()
            if changes != self._changes:
                for half in self._halves:
                    if half.is_due():
                        self._tick_at[half.cloud] = time.monotonic()
            self._changes = changes
        except StoreDownError:
            return  # the tick meets the same trouble, and tells of it

    def _submit(self, half: Half, message: Message) -> Future[bool]:
        """Let a thread take it."""
        work = self._pool.submit(half.take, message)
        self._under_way = {each for each in self._under_way if not each.done()} | {work}
        return work

    def end(self) -> bool:
        """Begin nothing new, and wait a little for what is under way; True if all of it is over."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for half in self._halves:
            half.end()
        _, late = wait(self._under_way, GRACE_SECONDS)
        return not late
