"""`unstale plan --since`: which refreshes the events of a while would have started, spared how many, at what price.

With a file or a folder of events, each is read and routed as the function does, and the machine itself is played over
the signals, target by target: so quiet periods, minimum intervals and `after` have their say. How long a refresh takes
and how many workers it has is assumed, and said. Without events, the deployment's own history tells what was.

    signals of a target, in order of time
    |  |||   |         ||                      each is folded in when the played clock comes to it
    '--quiet--> start == run ==> success       `decide` says when to start; `fold` what the success covers
                                     '-------> a signal for each target that follows it, before those are played

Nothing waits and nothing is called: a day of events is played in the time that reading them takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.cli.console import print_json, print_table
from local.cli.deployment import Side, each_side, read_config, tell
from local.cli.errors import UsageError
from local.cli.events import Event, events_of
from local.cli.plan import read_event
from shared.config.load import Configuration
from shared.inbound.messages import Arrived, Asked, each
from shared.inbound.routing import signals_of
from shared.platforms import fabric, glue
from shared.refresh.decide import Gate, Start, Wait, decide
from shared.refresh.inputs import Answered, Claimed, Reported, Signalled
from shared.refresh.machine import fold
from shared.refresh.ports import Phase, Report, Started
from shared.refresh.records import read_ended
from shared.refresh.schedule import next_after
from shared.refresh.state import Outcome, Signal, State
from shared.refresh.timing import Context
from shared.targets import Cloud, Target

DPU_HOUR_DOLLARS = 0.44
"""Of Glue in us-east-1, as of October 2026 (https://aws.amazon.com/glue/pricing/); it names no other for views."""
HISTORY = 1000
"""Lines of history that are read of a target: a refresh every two minutes for a day and a half."""


@dataclass(frozen=True)
class Assumed:
    """How long a refresh takes and how many workers it has, where nothing tells."""

    run_time: timedelta = timedelta(minutes=2)
    """How long one takes."""
    dpus: float = 4
    """Workers of a refresh on Glue, in data processing units."""

    def dollars(self, refreshes: int) -> float:
        """The price of so many refreshes on Glue."""
        return refreshes * self.run_time.total_seconds() * self.dpus / 3600 * DPU_HOUR_DOLLARS


@dataclass(frozen=True)
class Line:
    """The fate of one target's signals, as it was or would have been."""

    target: str
    """The target's name."""
    signals: int
    """Reasons to refresh it: with the obvious handler, each is a start."""
    refreshes: int
    """Refreshes that started."""
    spared: int
    """Signals that needed no refresh of their own."""
    dollars: float | None
    """The price of the refreshes; None where nobody knows it."""
    obvious_dollars: float | None
    """The price of one refresh a signal."""


def since(path: Path, events: str | None, ago: timedelta, assumed: Assumed, *, as_json: bool) -> None:
    """Print a line a target: from the events, or from what the deployment's history knows."""
    configuration, until = read_config(path), datetime.now(UTC)
    begin = until - ago
    if events is None:
        found, away = each_side(configuration, path, lambda side: list(_from_history(side, begin)))
        lines = [line for of_side in found for line in of_side]
        if away:
            tell(away)
    else:
        lines = list(_from_events(configuration, _events_in(events), begin, until, assumed))
    _show(lines, assumed if events is not None else None, as_json=as_json)


def _show(lines: list[Line], assumed: Assumed | None, *, as_json: bool) -> None:
    """Print the lines and what was assumed."""
    if as_json:
        told = {"run_seconds": assumed.run_time.total_seconds(), "dpus": assumed.dpus} if assumed else None
        print_json({"since": [asdict(line) for line in lines], "assumed": told, "dpu_hour_dollars": DPU_HOUR_DOLLARS})
        return
    columns = ("target", "signals", "refreshes", "spared", "price", "one start a signal")
    cells = [
        (one.target, one.signals, one.refreshes, one.spared, _price(one.dollars), _price(one.obvious_dollars))
        for one in lines
    ]
    print_table(columns, cells)
    if assumed:
        minutes = assumed.run_time.total_seconds() / 60
        print(f"assumed: a refresh takes {minutes:g} min, on Glue with {assumed.dpus:g} DPU (--run, --dpus)")


def _price(dollars: float | None) -> str:
    """A price for people; a dash where nobody knows it. Refreshes on Fabric have none: capacity is paid by the hour."""
    return "-" if dollars is None else f"${dollars:,.2f}"


# --- History ---------------------------------------------------------------------------------------------------------


def _from_history(side: Side, begin: datetime) -> Iterator[Line]:
    """Read what the runs that ended since tell: their signals, their price by the platform's own DPU-seconds.

    Runs of others, and looks that spared a run, started nothing of ours: they count for signals, and not as refreshes.
    """
    for target in side.engine.targets.values():
        every = map(read_ended, side.ports.store.history(target.key, HISTORY))
        lines = [line for line in every if line.ended_at >= begin]
        ours = [line for line in lines if not line.foreign and line.outcome not in {Outcome.PROVEN, Outcome.SPARED}]
        signals = sum(line.signals for line in lines)
        used = [line.dpu_seconds for line in ours if line.dpu_seconds is not None]
        dollars = sum(used) / 3600 * DPU_HOUR_DOLLARS if used else None
        obvious = dollars / len(ours) * signals if dollars is not None and ours else None
        yield Line(target.name, signals, len(ours), max(0, signals - len(ours)), dollars, obvious)


# --- Events ----------------------------------------------------------------------------------------------------------


def _events_in(place: str) -> Iterator[Event]:
    """The events of a file, or of every file of a folder."""
    folder = Path(place)
    files = sorted(str(file) for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [place]
    for file in files:
        yield from events_of(file)


def _from_events(
    configuration: Configuration, events: Iterable[Event], begin: datetime, until: datetime, assumed: Assumed
) -> Iterator[Line]:
    """Play the events of the while, target by target, those that others follow first.

    Events of before the while, or of after it, are read and left out: a folder of a month may be asked about a day.
    """
    signals: dict[str, list[Signal]] = {target.name: [] for target in configuration.targets}
    total = 0
    for event in events:
        for target, signal in _signals_of(configuration, event, until):
            if begin <= signal.time <= until:
                total += 1
                signals[target.name].append(signal)
    if not total:
        raise UsageError(f"none of these events is of the time since {begin:%Y-%m-%d %H:%M}Z and signals a target")
    for target in _in_order(configuration):
        signals[target.name] += _schedule_signals(target, begin, until)
        known = sorted(signals[target.name], key=lambda signal: signal.time)
        ends = list(_ends(target, known, assumed.run_time))
        for follower in configuration.followers(target.name):
            signals[follower.name] += [Signal(end, f"after {target.name}") for end in ends]
        on_glue = target.cloud is Cloud.AWS
        yield Line(
            target.name,
            len(known),
            len(ends),
            max(0, len(known) - len(ends)),
            assumed.dollars(len(ends)) if on_glue else None,
            assumed.dollars(len(known)) if on_glue else None,
        )


def _signals_of(configuration: Configuration, event: Event, now: datetime) -> Iterator[tuple[Target, Signal]]:
    """Tell what one event signals, as the function reads and routes it."""
    for message in each([read_event(event, now)]):
        if isinstance(message, Arrived):
            for arrival in message.arrivals:
                yield from signals_of(arrival, configuration)
        elif isinstance(message, Asked) and message.target in configuration.by_name:
            target = configuration.by_name[message.target]
            yield target, Signal(now, message.reason, full=message.full, asked=True)


def _in_order(configuration: Configuration) -> list[Target]:
    """The targets, each after those that it follows. The configuration has no circles."""
    left, ordered = list(configuration.targets), list[Target]()
    while left:
        placed = {target.name for target in ordered}
        ordered += [target for target in left if set(target.after) <= placed]
        left = [target for target in left if target not in ordered]
    return ordered


def _schedule_signals(target: Target, begin: datetime, until: datetime) -> Iterator[Signal]:
    """The target's own schedule times in the while: they start a refresh whether or not an event came."""
    for schedule, full in ((target.schedule, False), (target.full_schedule, True)):
        due = next_after(schedule, begin) if schedule else None
        while schedule and due is not None and due <= until:
            yield Signal(due, f"scheduled at {due:%Y-%m-%d %H:%M}Z", full=full, prompt=True)
            due = next_after(schedule, due)


def _ends(target: Target, signals: list[Signal], run_time: timedelta) -> Iterator[datetime]:
    """When each run of the target ends, if the machine is given these signals and every run succeeds.

    The played clock only jumps: to the end of a run, to the next signal, or to when `decide` wants to look again. No
    limit of an identity is played (an open `Gate`), and no failure: both would need more assumptions than they tell.
    """
    capabilities = glue.CAPABILITIES if target.cloud is Cloud.AWS else fabric.CAPABILITIES
    context = Context(target.key, target.policy, capabilities)
    state, waiting = State(), list(signals)
    now = waiting[0].time if waiting else datetime.max.replace(tzinfo=UTC)
    while True:
        action = decide(state, context, now, Gate()).action
        if isinstance(action, Start):
            ends_at = now + run_time
            state = _after_start(state, context, now, full=action.full)
            state = _arrive(state, waiting, ends_at, context)
            report = Report("run", Phase.SUCCEEDED, "SUCCEEDED", ended_at=ends_at)
            state = fold(state, Reported(report), context, ends_at).state
            now = ends_at
            yield ends_at
            continue
        until = action.until if isinstance(action, Wait) else None
        if waiting and (until is None or waiting[0].time <= until):
            now = max(now, waiting[0].time)
            state = _arrive(state, waiting, now, context)
        elif until is None:
            return
        else:
            now = until


def _after_start(state: State, context: Context, now: datetime, *, full: bool) -> State:
    """The state after a start that the platform accepted: the claim, then the answer, as the engine folds them."""
    state = fold(state, Claimed(f"{now:%Y%m%dT%H%M%S%f}", now, full), context, now).state
    return fold(state, Answered(Started("run")), context, now).state


def _arrive(state: State, waiting: list[Signal], until: datetime, context: Context) -> State:
    """The state after all signals up to a moment, which are taken off the list."""
    while waiting and waiting[0].time <= until:
        signal = waiting.pop(0)
        state = fold(state, Signalled(signal), context, signal.time).state
    return state
