"""A handler in a process of its own, batch after batch: the CPU that each takes, and the bytes of its log.

    python -m tests.bench.warm_process HANDLER SHAPES REPETITIONS ANSWER

SHAPES is JSON, `[[events of a batch, targets], ...]`; what was measured is written into the file ANSWER, as JSON. The
process's standard output is a file, whose growth is what the log takes.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from functions_aws import settings, wiring
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.shell import Shell
from functions_aws.telemetry import Telemetry
from functions_aws.visibility import Visibility
from shared.config.load import load
from tests.bench.events import batch, glue_targets, s3_event
from tests.bench.loopback import FORGET, ask
from tests.bench.parts import Clock
from tests.bench.simulated import context

TARGETS = 50
APART = timedelta(hours=1)
"""Between two batches. What the one before it left is forgotten, so that nothing is absorbed: each batch writes."""
MOST_EVENTS = 400
"""Events of all repetitions of a shape together, at least one batch."""
CALLS = 60
TEN = 10
"""Events of a batch that is counted by instructions."""
COUNTED_BATCHES = 5
"""Batches by which two processes differ whose instructions are counted; more of them give the same figure."""

Handler = Callable[[Any, Any], Any]


def ours(clock: Clock) -> Handler:
    """The shipped shell with its real clients; only the clock is moved by hand."""
    found = settings.read(os.environ)
    clients, telemetry = Clients(found.region), Telemetry(found.service)
    clients.build()
    ports = wiring.make_ports(found, clients, telemetry.emit, clock=clock)
    return Shell(load(glue_targets(TARGETS)), ports, DeadLetters(clients), Visibility(clients), telemetry).answer


def handler_of(name: str, clock: Clock) -> Handler:
    """Ours, or `module:function` of another one."""
    if name == "ours":
        return ours(clock)
    module, _, function = name.partition(":")
    found: Handler = getattr(import_module(module), function)
    return found


def measure(name: str, shapes: list[list[int]], repetitions: int) -> dict[str, Any]:
    """Seconds of CPU and bytes of log for a batch of each shape; seconds of CPU for a call of each client of ours."""
    clock, numbers, found = Clock(), count(), []
    clock.time = datetime.now(UTC)
    handler = handler_of(name, clock)
    _batch(handler, clock, 1, 1, numbers)
    events_taken = 1
    for events, targets in shapes:
        before = _logged()
        times = [
            _batch(handler, clock, events, targets, numbers)
            for _ in range(max(1, min(repetitions, MOST_EVENTS // events)))
        ]
        events_taken += events * len(times)
        found.append([statistics.median(times), (_logged() - before) / len(times)])
    return {"batches": found, "events": events_taken, "calls": _calls() if name == "ours" else {}}


def take(name: str, first: int, count: int) -> None:
    """Take batches of ten events, which are numbered, for a process whose instructions are counted.

    Each is for the target of its number, of which no record is there, so that nothing is absorbed and nothing has to
    be forgotten between them. All are made before the first, whatever `count` is, so that the difference of two such
    processes is the handler's alone.
    """
    clock = Clock()
    handler, begin = handler_of(name, clock), datetime.now(UTC)
    times = [begin + (first + place) * APART for place in range(COUNTED_BATCHES + 1)]
    batches = [
        batch([s3_event(first + place, f"{first + place}-{number}", at) for number in range(TEN)])
        for place, at in enumerate(times)
    ]
    for at, event in list(zip(times, batches, strict=True))[:count]:
        clock.time = at
        _expect_taken(handler(event, context()))


def _batch(handler: Handler, clock: Clock, events: int, targets: int, numbers: count[int]) -> float:
    ask(os.environ["AWS_ENDPOINT_URL"] + FORGET, os.environ["AWS_CA_BUNDLE"])
    clock.time += APART
    event = batch([s3_event(place % targets, str(next(numbers)), clock.now()) for place in range(events)])
    begun = time.process_time()
    answer = handler(event, context())
    seconds = time.process_time() - begun
    _expect_taken(answer)
    return seconds


def _expect_taken(answer: object) -> None:
    if answer not in (None, {"batchItemFailures": []}):
        raise RuntimeError(f"the handler answered {answer}")


def _logged() -> int:
    sys.stdout.flush()
    return os.fstat(1).st_size


def _calls() -> dict[str, float]:
    """The clients alone, as the ports use them: over connections that are kept, but for Glue's."""
    clients = Clients(os.environ["AWS_REGION"])
    clients.build()
    key = {"pk": {"S": "key"}, "sk": {"S": "record"}}
    view = {"CatalogId": "123456789012", "DatabaseName": "sales", "TableName": "t0"}
    works: dict[str, Callable[[], object]] = {
        "read": lambda: clients.dynamodb.get_item(TableName="unstale", Key=key, ConsistentRead=True),
        "write": lambda: clients.dynamodb.put_item(TableName="unstale", Item=key | {"body": {"B": b"x" * 1000}}),
        "send": lambda: clients.sqs.send_message(QueueUrl=os.environ["UNSTALE_QUEUE_URL"], MessageBody="x" * 200),
        "glue": lambda: clients.glue.start_materialized_view_refresh_task_run(**view),
    }
    found = {name: _median(work, time.process_time) for name, work in works.items()}
    return {**found, "read by the clock": _median(works["read"], time.perf_counter)}


def _median(work: Callable[[], object], clock: Callable[[], float]) -> float:
    work()
    times = []
    for _ in range(CALLS):
        begun = clock()
        work()
        times.append(clock() - begun)
    return statistics.median(times)


if __name__ == "__main__":
    answer = measure(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
    Path(sys.argv[4]).write_text(json.dumps(answer), encoding="utf-8")
