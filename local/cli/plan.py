"""`unstale plan`: what events would do, if nothing else arrives or runs; nothing is sent.

Each event goes through the same readers, the same routing and the same decision as in the function, on a record that
knows nothing else. So the plan shows which targets an event means, when a start would be sent after quiet period and
visibility lag, and the very request. What it cannot show is what is owed already, or runs: `unstale status` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from local.cli.console import print_json, print_table
from local.cli.deployment import read_config
from local.cli.errors import NotWellError
from local.cli.events import Event, events_of, through_eventbridge
from local.cli.samples import sample
from shared.config.load import Configuration
from shared.inbound import eventbridge, eventgrid
from shared.inbound.arrivals import Arrival
from shared.inbound.messages import Arrived, Asked, Ignored, Malformed, Message, Single, each
from shared.inbound.routing import place_of, reason, signals_of
from shared.platforms import fabric, glue
from shared.refresh.decide import Start, Wait, decide
from shared.refresh.failure import Failure
from shared.refresh.inputs import Signalled
from shared.refresh.machine import fold
from shared.refresh.state import Signal, State
from shared.refresh.timing import Context
from shared.targets import Cloud, GlueView, IcebergChanged, LakeViews, Source, Target

SHOWN_SOURCES = 3
"""Sources that a line names, of those that an arrival just missed: three show the way, of hundreds perhaps."""


@dataclass(frozen=True)
class Planned:
    """A line of a plan: what an event would do to one target that is idle and fresh."""

    event: str
    """The kind of message: an arrival, a request, a hint, ignored or malformed."""
    target: str | None
    """The target's name; None where the message concerns none."""
    why: str
    """The reason that would stand in the record, or why nothing happens."""
    start_at: datetime | None = None
    """When a start would be sent, if nothing else arrives."""
    request: dict[str, Any] | None = None
    """The request that would be sent to Glue or Fabric then."""


def plan(path: Path, event_file: str, *, as_json: bool) -> None:
    """Which targets, which request, when, if nothing else arrives or runs. Nothing is sent.

    An event counts as delivered at its own time, so that an old sample shows what it would have done.
    """
    configuration = read_config(path)
    now = datetime.now(UTC)
    lines = [line for event in events_of(event_file) for line in _lines(configuration, event, now)]
    if as_json:
        print_json({"plan": [asdict(line) for line in lines]})
    else:
        _print(lines)
    if any(line.event == "malformed" for line in lines):
        raise NotWellError


def print_sample(path: Path, kind: str) -> None:
    """Print an event of this kind for the first target that it would signal."""
    print_json(sample(kind, read_config(path), datetime.now(UTC)))


def _lines(configuration: Configuration, event: Event, now: datetime) -> Iterator[Planned]:
    """Tell what becomes of one event; of an S3 notification also what the same objects do through EventBridge."""
    yield from _read_lines(configuration, event, now)
    for told in through_eventbridge(event):
        for line in _read_lines(configuration, told, now):
            yield replace(line, event=f"{line.event}, if S3 told EventBridge")


def read_event(event: Event, now: datetime) -> Message:
    """Read an event by its cloud's reader: Event Grid's schemas are known by their own fields.

    A function knows its cloud; a file on a person's disk does not say where its events came from.
    """
    of_event_grid = isinstance(event, Mapping) and bool({"specversion", "eventType"} & event.keys())
    body = event if isinstance(event, str) else dict(event)
    return eventgrid.read(body, now) if of_event_grid else eventbridge.read(body, now)


def _read_lines(configuration: Configuration, event: Event, now: datetime) -> Iterator[Planned]:
    """Tell what each message in an event would do."""
    for single in each([read_event(event, now)]):
        yield from _lines_of(configuration, single, now)


def _lines_of(configuration: Configuration, message: Single, now: datetime) -> Iterator[Planned]:
    """Tell what one message would do: a line for each target that it concerns, or why it concerns none."""
    match message:
        case Malformed(why):
            yield Planned("malformed", None, f"goes to the dead letters: {why}")
        case Ignored(what):
            yield Planned("ignored", None, f"nothing that unstale acts on: {what}")
        case Arrived(arrivals):
            for arrival in arrivals:
                yield from _arrival_lines(configuration, arrival)
        case Asked(name):
            signal = message.signal
            target = configuration.by_name.get(name)
            if target:
                yield from _line_and_after("request", configuration, target, signal, now)
            else:
                yield Planned("malformed", None, f"goes to the dead letters: no target {name!r}")
        case _:
            yield Planned("hint", None, "a hint: what is due is reconciled; starts nothing by itself")


def _arrival_lines(configuration: Configuration, arrival: Arrival) -> Iterator[Planned]:
    """Tell what one arrival starts, or why it starts nothing."""
    signals = signals_of(arrival, configuration)
    if not signals:
        yield Planned("arrival", None, f"{reason(arrival)}: {why_nobody(arrival, configuration)}")
    for target, signal in signals:
        yield from _line_and_after("arrival", configuration, target, signal, arrival.time)


def why_nobody(arrival: Arrival, configuration: Configuration) -> str:
    """Why an arrival signals no target: what the sources at its place want instead, if there are any.

    Most files that start nothing miss by a prefix, so the prefixes that would have matched are what helps.
    """
    here = [
        (target, source)
        for target in configuration.targets
        for source in target.on
        if not isinstance(source, IcebergChanged) and place_of(source) == place_of(arrival)
    ]
    if not here:
        return "no target names it, nor any other thing in that place"
    wanted = [f"{target.name} wants {_words_for_names(source)}" for target, source in here[:SHOWN_SOURCES]]
    more = [f"and {len(here) - SHOWN_SOURCES} more"] if len(here) > SHOWN_SOURCES else []
    temporary = ["what lies in a folder _temporary is no arrival"] if "/_temporary/" in reason(arrival) else []
    return f"no target names it: {'; '.join([*wanted, *more, *temporary])}"


def _words_for_names(source: Source) -> str:
    """Word what a source wants of the names of what arrives, in words."""
    fields = structs.asdict(source)
    said = [f'{key} "{fields[key]}"' for key in ("prefix", "suffix", "path") if fields.get(key)]
    return f"{' and '.join(said) or 'all but its own output'}"


def _line_and_after(
    event: str, configuration: Configuration, target: Target, signal: Signal, now: datetime
) -> Iterator[Planned]:
    """Tell what starts, and what follows when it has ended well."""
    yield _line(event, configuration, target, signal, now)
    waiting, seen = [target], {target.name}
    while waiting:
        upstream = waiting.pop(0)
        for follower in configuration.followers(upstream.name):
            if follower.name not in seen:
                seen.add(follower.name)
                waiting.append(follower)
                request = request_of(configuration, follower, full=False)
                where = f" on {upstream.cloud}" if upstream.cloud is not follower.cloud else ""
                yield Planned("after", follower.name, f"after {upstream.name} was refreshed{where}", None, request)


def _line(event: str, configuration: Configuration, target: Target, signal: Signal, now: datetime) -> Planned:
    """Fold the signal into a state that knows nothing else, and ask when that starts.

    The same two functions that decide in the cloud are asked, so the plan cannot promise what they would not do.
    """
    capabilities = glue.CAPABILITIES if target.cloud is Cloud.AWS else fabric.CAPABILITIES
    context = Context(target.key, target.policy, capabilities)
    state = fold(State(), Signalled(signal), context, now).state
    action = decide(state, context, now).action
    start_at = action.until if isinstance(action, Wait) else now
    full = signal.full or (isinstance(action, Start) and action.full)
    return Planned(event, target.name, signal.reason, start_at, request_of(configuration, target, full=full))


def request_of(configuration: Configuration, target: Target, *, full: bool) -> dict[str, Any]:
    """The very request that a start would send."""
    if isinstance(target.resource, GlueView):
        parameters = glue.start_parameters(target.resource, full=full)
        return {"error": str(parameters)} if isinstance(parameters, Failure) else dict(parameters)
    url_form = configuration.fabric.url_form
    if isinstance(target.resource, LakeViews):
        request = fabric.run_lake_views(target.resource, url_form)
    else:
        request = fabric.run_item_job(target.resource, url_form)
    body = None if request.body is None else json.loads(request.body)
    return {**structs.asdict(request), "body": body}


def _print(lines: list[Planned]) -> None:
    """Print the plan as a table."""
    columns = ("event", "target", "why", "starts at, if nothing else comes", "request")
    dumps = partial(json.dumps, ensure_ascii=False, default=str)
    rows = [(each.event, each.target, each.why, each.start_at, each.request and dumps(each.request)) for each in lines]
    print_table(columns, rows, ages=False)
