"""`unstale demo`: the whole system on this machine, an eventful morning, and a verdict that is not our own.

What is lost and what overlaps is worked out from the emulators' journals and the objects put, never from our state.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Lock

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from local.cli.console import print_json, print_table
from local.cli.deployment import Side
from local.cli.errors import NotWellError, UsageError
from local.cli.page import read_side, write_values
from local.demo.aws import AwsStage, aws_stage
from local.demo.azure import AzureStage, azure_stage
from local.demo.chat import Chat
from local.demo.story import SPEED, START, STORY, Patience, Stage
from local.emulators.clock import FastClock
from local.emulators.journal import count_overlaps, lost
from local.page.document import chart_bundle, values_of
from local.page.picture import Picture
from shared.config.load import Configuration, load
from shared.refresh.engine import Engine, LogEvent, Ports
from shared.refresh.explain import SENTENCES
from shared.refresh.state import Situation

LENGTH = timedelta(seconds=500)
"""Demo time in which a machine that does nothing else tells the whole story."""
LONGEST = timedelta(minutes=50)
"""Demo time (five minutes of yours) after which what is not refreshed yet counts as lost, on the busiest machine."""
SETTLED = timedelta(seconds=20)
"""Demo time for which nothing may run and nothing be missing before the story is over."""
A_MOMENT = timedelta(seconds=1)
"""Demo time between two looks at the clock."""
STORM_SECONDS = 10.0
"""Demo time between two lines about signals that cost nothing."""
WAITED_FOR = {"", "NotStarted", "InProgress"}
"""States of a job that is not over; empty before Fabric was told any."""


Stages = dict[str, Stage]
"""The cloud of each target."""


@dataclass(frozen=True)
class Judged:
    """A target's line in the verdict."""

    name: str
    """The target's name."""
    signals: int
    """Reasons to refresh it, deliveries counted one by one."""
    runs: int
    """Runs that were ours."""
    calls_saved: int
    """Starts that one start for each signal would have sent besides."""
    spared: int
    """Refreshes that the product spared or did not need, for they would have read nothing new."""
    lost: int
    """Arrivals that no successful run has read."""
    overlapping: int
    """Pairs of our runs that went on at the same time."""
    fresh_as_of: datetime | None
    """When the newest successful run read its sources."""


def run(*, naive: bool, as_json: bool) -> None:
    """Play the story and judge it; raises `NotWellError` if anything is lost or overlaps, or a job did not complete."""
    logging.disable(logging.CRITICAL)  # the handler's JSON lines are for CloudWatch; what matters is shown
    file = Path(__file__).with_name("demo.toml")
    clock, patience = FastClock(START, SPEED), Patience()
    with _show(clock, quiet=as_json) as show, Chat(clock, show.line) as chat:
        configuration = load(file.read_text(encoding="utf-8") + chat.destination, file.name)
        teller = (lambda target, says: show.line(target, says, "dim")) if naive else None
        with (
            aws_stage(configuration, clock, patience, show.tell, teller) as aws,
            azure_stage(configuration, clock, patience, show.tell, teller) as azure,
        ):
            stages: Stages = {name: stage for stage in (aws, azure) for name in stage.targets}
            _play(stages, clock, show, patience, hopeful=not naive)
            judged = [_judge(stage, name) for name, stage in stages.items()]
            jobs = [*aws.job_states(), *azure.job_states()]
            page = "" if naive or as_json else _write_page(configuration, aws, azure)
    _report(judged, jobs, chat.messages, naive=naive, as_json=as_json)
    print(page, end="")
    if any(one.lost or one.overlapping for one in judged) or any(status != "Completed" for status in jobs):
        raise NotWellError


def _write_page(configuration: Configuration, *stages: AwsStage | AzureStage) -> str:
    """Write the page of what the product knows at the end, and say where; or what it needs."""
    try:
        bundle = chart_bundle()
    except UsageError as missing:
        return f"How it went, as a picture: {missing}\n"
    found = [_read_stage(configuration, stage.ports) for stage in stages if stage.ports]
    values = values_of([each for pictures in found for each in pictures], [], stages[0].now())
    into = Path(tempfile.mkdtemp(prefix="unstale-")) / "page.html"
    write_values(values, bundle, into)
    return f"How it went, as a picture: {into}\n"


def _read_stage(configuration: Configuration, ports: Ports) -> list[Picture]:
    """The pictures of one cloud's targets."""
    engine = Engine(configuration.package(ports.cloud), ports)
    return read_side(Side(ports.cloud, engine, ports, lambda: (), lambda _: ()))[1]


# --- The play --------------------------------------------------------------------------------------------------------


def _play(stages: Stages, clock: FastClock, show: Show, patience: Patience, *, hopeful: bool) -> None:
    """Let each incident happen at its time, beside the others, and wait until all of them have happened.

    An incident that waits does not hold up the next one: each has a thread of its own.
    """
    stop = Event()
    may_call: list[Future[None]] = []
    with ThreadPoolExecutor(max_workers=8) as players:
        try:
            for incident in sorted(STORY, key=lambda incident: incident.at):
                _pass_time(clock, START + incident.at, show, stop)
                show.line(incident.target, incident.says, "cyan")
                may_call.append(players.submit(incident.does, stages[incident.target]))
            while not all(act.done() for act in may_call):
                _pass_time(clock, clock.now() + A_MOMENT, show, stop)
            for act in may_call:
                act.result()  # an incident that did not happen would make the verdict worthless
            _until_settled(stages, clock, show, stop, hopeful=hopeful)
        finally:
            stop.set()
            patience.end()


def _pass_time(clock: FastClock, until: datetime, show: Show, stop: Event) -> None:
    """Wait until a moment of the demo's time, and move the bar meanwhile, in steps of a tenth of a real second."""
    while clock.now() < until and not stop.is_set():
        show.progress(clock.now())
        clock.wait_until(min(until, clock.now() + A_MOMENT), stop)


def _until_settled(stages: Stages, clock: FastClock, show: Show, stop: Event, *, hopeful: bool) -> None:
    """Wait until nothing runs and nothing is missing for a while, or the time is over.

    Without hope what is missing is not waited for: the obvious handler has forgotten it.
    """
    calm_since, latest = clock.now(), START + (LONGEST if hopeful else LENGTH)
    while clock.now() < latest and clock.now() - calm_since < SETTLED:
        busy = any(run.ended_at is None for stage in stages.values() for run in stage.journal.entries())
        busy |= any(status in WAITED_FOR for stage in stages.values() for status in stage.job_states())
        missing = [name for name, stage in stages.items() if lost(stage.arrivals(name), stage.journal.entries())]
        if busy or (hopeful and missing):
            calm_since = clock.now()
        _pass_time(clock, clock.now() + timedelta(seconds=2), show, stop)


# --- The verdict -----------------------------------------------------------------------------------------------------


def _judge(stage: Stage, name: str) -> Judged:
    """Work one target's line out of what the platform saw and what arrived.

    Nothing of ours is asked: a product that lost an arrival would hardly know of it.
    """
    resource = stage.resource_of(name)
    runs = [run for run in stage.journal.entries() if run.resource == resource]
    ours = [run for run in runs if not run.foreign]
    refused = [start for start in stage.journal.refused_starts() if start.resource == resource and not start.foreign]
    signals = stage.signals(name)
    return Judged(
        name=name,
        signals=signals,
        runs=len(ours),
        calls_saved=max(0, signals - len(ours) - len(refused)),  # a schedule or a retry may start more than arrived
        spared=stage.count_spared(name),
        lost=len(lost(stage.arrivals(name), runs)),
        overlapping=count_overlaps(runs),
        fresh_as_of=max((run.read_at for run in runs if run.outcome == "succeeded"), default=None),
    )


def _time(moment: datetime | None) -> str:
    """A time of the story's one morning."""
    return f"{moment:%H:%M:%S}Z" if moment else "never"


def _report(judged: list[Judged], jobs: list[str], messages: list[str], *, naive: bool, as_json: bool) -> None:
    """Print the verdict, a line for each target. `jobs`: what Fabric was told of those that it asked for.

    `messages` is what the chat was told.
    """
    if as_json:
        targets = [asdict(one) for one in judged]
        handler = "naive" if naive else "unstale"
        print_json({"handler": handler, "targets": targets, "jobs": jobs, "messages": messages})
        return
    columns = ("target", "signals", "runs", "saved", "spared", "lost", "overlaps", "fresh as of")  # 80 columns at most
    rows = [(*tuple(asdict(one).values())[:-1], _time(one.fresh_as_of)) for one in judged]
    styles = ["bold red" if one.lost or one.overlapping else "green" for one in judged]
    print()
    print_table(columns, rows, styles, ages=False)
    print()
    print(_moral(judged))


def _moral(judged: list[Judged]) -> str:
    """The verdict in one sentence."""
    gone, twice = sum(one.lost for one in judged), sum(one.overlapping for one in judged)
    if gone or twice:
        return f"{gone} arrivals are in no refresh, and nothing will bring them there; {twice} runs overlapped."
    signals, runs = sum(one.signals for one in judged), sum(one.runs for one in judged)
    spared = sum(one.spared for one in judged)
    return f"Nothing lost, nothing overlapped: {signals} signals, {runs} runs, {spared} refreshes spared."


# --- The show --------------------------------------------------------------------------------------------------------


class Show:
    """A line for each thing that happens, and a bar for the time; neither where only the JSON is wanted."""

    def __init__(self, progress: Progress | None, clock: FastClock) -> None:
        """Without a progress bar nothing is shown."""
        self._progress = progress
        self._clock = clock
        self._storms: dict[str, tuple[float, int]] = {}
        self._lock = Lock()
        self._task = progress.add_task("the story", total=LENGTH.total_seconds()) if progress else None

    def line(self, target: str, says: str, style: str) -> None:
        """Tell one thing, at the demo's time."""
        if self._progress:
            text = f"{self._clock.now():%H:%M:%S}  {target:<17} {says}"
            self._progress.console.print(text, style=style, markup=False, highlight=False)

    def progress(self, now: datetime) -> None:
        """Move the bar."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=(now - START).total_seconds())

    def tell(self, event: LogEvent) -> None:
        """Tell what the engine tells, if a person would want to know."""
        told = _WORDS.get(event.what)
        if event.what == "signalled":
            self._count_absorbed(event.target, int(event.fields["absorbed"] or 0))
        elif told:
            says, style = told
            fields = {name: "" if value is None else value for name, value in event.fields.items()}
            self.line(event.target, says.format_map(_Blank(fields)), style)

    def _count_absorbed(self, target: str, count: int) -> None:
        """Signals that cost one read each, and no write; told now and then, because they come in storms."""
        now = self._clock.monotonic()
        with self._lock:
            since, total = self._storms.get(target, (-STORM_SECONDS, 0))
            total += count
            tells = total > 0 and now - since >= STORM_SECONDS
            self._storms[target] = (now, 0) if tells else (since, total)
        if tells:
            self.line(target, f"{total} signals cost no write: owed already, or covered", "dim")


class _Blank(dict[str, object]):
    def __missing__(self, _key: str) -> str:
        return ""


_COLOURS = {
    Situation.CLAIMED: "dim",
    Situation.RUNNING: "green",
    Situation.SEEKING: "yellow",
    Situation.FOREIGN: "yellow",
    Situation.CANCEL_UNCLEAR: "yellow",
    Situation.CANCELLING: "yellow",
}
"""The colour of the line for each situation of a run: what is sure is dim or green, what must be found out yellow."""
_WORDS = {
    **{f"now {situation}": (SENTENCES[situation], colour) for situation, colour in _COLOURS.items()},
    "run succeeded": ("refreshed: {signals} signals or more covered, read at {claimed_at:.19}", "bold green"),
    "run proven": ("not refreshed: the platform's metadata proves that the view holds the data", "bold green"),
    "run spared": ("not refreshed: its tables have no data that the last run has not read", "bold green"),
    "run failed": ("the run failed ({error}); its signals are owed again", "red"),
    "run skipped": ("the platform skipped the run; its signals are owed again", "yellow"),
    "trouble": ("{code}: {message:.70}", "red"),
    "job accepted": ("Fabric's job is accepted, and its refresh owed", "green"),
    "job Completed": ("Fabric was told that its job is Completed", "bold green"),
    "held": ("held: {hold} {reason}", "red"),
    "released": ("released", "green"),
}
"""The sentence and the colour for what the engine tells; what is not named here is not shown."""


@contextmanager
def _show(clock: FastClock, *, quiet: bool) -> Iterator[Show]:
    """Show the story on a terminal with a bar, in a pipe as plain lines, and not at all where JSON is wanted."""
    if quiet:
        yield Show(None, clock)
        return
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=140)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Show(progress, clock)
