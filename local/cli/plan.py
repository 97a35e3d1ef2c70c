"""`unstale plan`: what events would do, if nothing else arrives or runs; nothing is sent.

Each event goes through the same readers, the same routing and the same decision as in the function, on a record that
knows nothing else. So the plan shows which targets an event means, when a start would be sent after quiet period and
visibility lag, and the very request. What it cannot show is what is owed already, or runs: `unstale status` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import structs

from local.cli.console import print_json, print_table
from local.cli.deployment import read_config
from local.cli.errors import NotWellError, UsageError
from shared.config.load import Configuration
from shared.inbound import eventbridge, eventgrid
from shared.inbound.messages import Arrived, Asked, Ignored, Malformed, Message
from shared.inbound.routing import reason, targets_of
from shared.platforms import fabric, glue
from shared.refresh.decide import Gate, Start, Wait, decide
from shared.refresh.failure import Failure
from shared.refresh.inputs import Signalled
from shared.refresh.machine import fold
from shared.refresh.state import Signal, State
from shared.refresh.timing import Context
from shared.targets import Cloud, GlueView, LakeViews, Target


@dataclass(frozen=True)
class Planned:
    """One line of a plan: what an event would do to one target that is idle and fresh."""

    event: str
    """What kind of message it is: an arrival, a request, a hint, ignored or malformed."""
    target: str | None
    """The target's name; None where the message concerns none."""
    why: str
    """The reason that would stand in the record, or why nothing happens."""
    start_at: datetime | None = None
    """When a start would be sent, if nothing else arrives."""
    request: dict[str, Any] | None = None
    """What would be sent to Glue or Fabric then."""


def plan(path: Path, event_file: str, *, as_json: bool) -> None:
    """Which targets, which request, when, if nothing else arrives or runs. Nothing is sent.

    An event counts as delivered at its own time, so that an old sample shows what it would have done.
    """
    configuration = read_config(path)
    now = datetime.now(UTC)
    lines = [line for body in _bodies(event_file) for line in _lines(configuration, body, now)]
    if as_json:
        print_json({"plan": [asdict(line) for line in lines]})
    else:
        _print(lines)
    if any(line.event == "malformed" for line in lines):
        raise NotWellError


def _bodies(event_file: str) -> list[Any]:
    """The events of a file: one, a list, or the bodies of an SQS batch."""
    try:
        text = sys.stdin.read() if event_file == "-" else Path(event_file).read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError) as failure:
        message = f"cannot read {event_file} as JSON: {failure}"
        raise UsageError(message) from failure
    if isinstance(content, dict) and isinstance(content.get("Records"), list):
        return [record.get("body") if isinstance(record, dict) else record for record in content["Records"]]
    return content if isinstance(content, list) else [content]


def _read(body: Any, now: datetime) -> Message:
    """Either cloud's reader: Event Grid's schemas are known by their own fields."""
    parsed = json.loads(body) if isinstance(body, str) and body.lstrip().startswith("{") else body
    is_event_grid = isinstance(parsed, dict) and bool({"specversion", "eventType"} & parsed.keys())
    return eventgrid.read(body, now) if is_event_grid else eventbridge.read(body, now)


def _lines(configuration: Configuration, body: Any, now: datetime) -> Iterator[Planned]:
    """What one event would do: a line for each target that it concerns, or one that says why it concerns none."""
    match reading := _read(body, now):
        case Malformed(why):
            yield Planned("malformed", None, f"goes to the dead letters: {why}")
        case Ignored(what):
            yield Planned("ignored", None, f"nothing that unstale acts on: {what}")
        case Arrived(arrivals):
            for arrival in arrivals:
                targets = targets_of(arrival, configuration)
                if not targets:
                    yield Planned("arrival", None, f"{reason(arrival)}: no target names it")
                signal = Signal(arrival.time, reason(arrival))
                yield from (_line("arrival", configuration, target, signal, arrival.time) for target in targets)
        case Asked(name):
            signal = Signal(now, reading.reason, full=reading.full, asked=True)
            target = configuration.by_name.get(name)
            yield (
                _line("request", configuration, target, signal, now)
                if target
                else Planned("malformed", None, f"goes to the dead letters: no target {name!r}")
            )
        case _:
            yield Planned("hint", None, "a look at what is due; starts nothing by itself")


def _line(event: str, configuration: Configuration, target: Target, signal: Signal, now: datetime) -> Planned:
    """Fold the signal into a state that knows nothing else, and ask when that starts."""
    capabilities = glue.CAPABILITIES if target.cloud is Cloud.AWS else fabric.CAPABILITIES
    terms = Context(target.key, target.policy, capabilities)
    state = fold(State(), Signalled(signal), terms, now).state
    action = decide(state, terms, now, Gate())
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
    return structs.asdict(request)


def _print(lines: list[Planned]) -> None:
    """Print the plan as a table."""
    columns = ("event", "target", "why", "starts at, if nothing else comes", "request")
    rows = [(line.event, line.target, line.why, line.start_at, _compact(line.request)) for line in lines]
    print_table(columns, rows)


def _compact(request: dict[str, Any] | None) -> str | None:
    """A request on one line; nothing where nothing would be sent."""
    return None if request is None else json.dumps(request, default=str)
