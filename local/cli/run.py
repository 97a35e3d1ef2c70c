"""`unstale run`: the engine as a process on this machine, with its state in one SQLite file.

Signals come from looking at sources, from schedules and from people; events need a deployment. The process ends within
ten seconds of SIGTERM or Ctrl-C, and `--once` does what is due and ends, for cron.

    main thread     opens the state, then every 0.2 s: wakes that are due, a tick a minute, the lines of the terminal
    other threads   one for each wake or tick under way, since each waits for a platform most of its time
    a signal        sets `stop`: nothing new is begun, what is under way gets six seconds, then the process ends

`local.process` has the loop; this module opens and closes things around it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from local.cli.deployment import STATE_CURE, Side, local_side, open_state, read_config
from local.cli.errors import NotWellError
from local.cli.status import gather
from local.emulators.clock import utc_now
from local.process.clouds import Neighbour, check_region, open_cloud, secrets_of
from local.process.process import PAUSE_SECONDS, Half, Process
from local.process.show import Show, open_show
from local.process.store import StateFile
from shared.config.load import Configuration
from shared.redaction import Redactor
from shared.refresh.ports import StoreDownError
from shared.refresh.status import TargetStatus, status_of
from shared.targets import Cloud

RENEWED_EVERY = 5
"""Steps of the process between two renewals of the terminal's lines: a second."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""How a process is told to end: by systemd and containers, and by Ctrl-C."""


def run(path: Path, state: Path, *, once: bool) -> None:
    """Keep the targets fresh until told to stop, or do what is due once; raises `NotWellError` if that met trouble."""
    configuration = read_config(path)
    clouds = tuple(dict.fromkeys(target.cloud for target in configuration.targets))
    if Cloud.AWS in clouds:
        check_region(os.environ)
    try:
        with open_state(state) as file:
            well, is_over = _live(configuration, clouds, file, once=once)
            if not is_over:  # a thread in a call would hold the process up, and the file with it: dying loses nothing
                with suppress(OSError):
                    sys.stdout.flush()
                os._exit(0 if well else 1)
    except StoreDownError as down:
        raise NotWellError(f"{down}. {STATE_CURE}") from down
    sys.stdout.flush()
    if not well:
        raise NotWellError("not all that is due was done, as the lines above say")


def _live(configuration: Configuration, clouds: tuple[Cloud, ...], file: StateFile, *, once: bool) -> tuple[bool, bool]:
    """Run the process to its end: whether all went well, and whether all that was under way is over.

    Secrets of the variables are known to the redactor before anything is shown, since errors quote what was sent.
    """
    stop = Event()
    redactor = Redactor(secrets_of(clouds, os.environ))
    ways = {cloud: Neighbour(utc_now) for cloud in clouds}
    opened = {cloud: open_cloud(cloud, configuration, file, os.environ, ways[cloud]) for cloud in clouds}
    sides = [local_side(make_ports, configuration) for make_ports in opened.values()]
    with _stopped_by_signals(stop), open_show(lambda: _rows(sides), redactor, stop.set) as show:
        halves = [Half(cloud, configuration, make_ports, show.emit) for cloud, make_ports in opened.items()]
        for half in halves:
            ways[half.cloud].half = next((other for other in halves if other is not half), None)
            half.warn()
        process = Process(file, halves, stop)
        well = process.once() if once else _step_until(stop, process, show)
        is_over = process.end()
        if is_over:  # else the file may be what is waited for
            show.renew()
    return well, is_over


def _step_until(stop: Event, process: Process, show: Show) -> bool:
    """Do what is due, again and again, until told to stop; that is how it goes well."""
    steps = 0
    while not stop.wait(PAUSE_SECONDS):
        process.step()
        steps += 1
        if steps % RENEWED_EVERY == 0:
            show.renew()
    return True


def _rows(sides: Sequence[Side]) -> list[TargetStatus]:
    """How each target stands by the state; nothing while the file does not answer, since the ticks tell of that."""
    with suppress(StoreDownError):
        return [status_of(evidence) for side in sides for evidence in gather(side).evidence(0)]
    return []


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[None]:
    """Let the signals set `stop`; the second one of a kind ends the process as it does without this.

    So Ctrl-C twice ends a process that hangs in a call, and loses nothing: each step is saved before the next one.
    """

    def tell(number: int, _frame: FrameType | None) -> None:
        """Note the signal."""
        stop.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, tell) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
