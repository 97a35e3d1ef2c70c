"""How costs grow with the number of targets: routing, loading, ticks, what stays due, `status`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.config import compiled
from shared.config.load import load
from shared.inbound.arrivals import ObjectArrived
from shared.inbound.routing import signals_of
from shared.platforms import glue
from shared.refresh import records, status
from shared.refresh.evidence import Evidence
from tests.bench import before, effort, processes
from tests.bench.events import glue_targets, policy, s3_event
from tests.bench.parts import Clock, Measured, Row, Skipped, curve
from tests.bench.simulated import Deployment

ROUTING_LIMIT, ROUTING_GROWTH = 0.003, 1.3
LOAD_LIMIT = 0.1
LINEAR = 12.0
"""Ten times the size may cost so many times as much where the cost is linear."""
IDLE_REQUESTS = 10
EVENTS = 200
DEFAULTS = policy(timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=2))


def measure() -> Iterator[Row]:
    """All of it; takes a minute."""
    with before.checked_out() as folder:
        yield from routing(folder)
        yield from loading(folder)
    yield from ticks()
    yield from rows_of_status()


def least(times: int, work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of so many: whatever else the machine does only adds to it."""
    found = []
    for _ in range(times):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


# --- Routing ---------------------------------------------------------------------------------------------------------

ROUTE_BEFORE = """
import json, sys, time
from datetime import datetime, UTC
from shared.config import load
from shared.model import ObjectArrived
from shared.routing import targets_of
configuration, count, events = load(open(sys.argv[1]).read()), int(sys.argv[2]), int(sys.argv[3])
arrivals = [ObjectArrived(datetime.now(UTC), "landing", f"t{n * 7919 % count}/x.parquet") for n in range(events)]
found = []
for _ in range(5):
    begun = time.process_time()
    for arrival in arrivals:
        [target] = targets_of(arrival, configuration)
    found.append((time.process_time() - begun) / events)
print(json.dumps(min(found)))
"""


def routing(folder: Path | None) -> Iterator[Row]:
    """One event to its target, all targets with prefixes in one bucket."""
    points = {size: _routed(size) * 1e6 for size in effort.chosen.sizes}
    yield from curve("routing one event among targets of one bucket", "us", points)
    what = "routing one event, instructions, targets"
    if processes.counts_instructions():
        yield from curve(what, "", _routing_instructions(), ROUTING_GROWTH)
    else:
        yield Skipped(what, "valgrind is not installed")
    what, largest = "routing, against the same at an earlier commit", max(points)
    if folder is None:
        yield Skipped(what, f"no history with commit {before.COMMIT}")
        return
    file = folder / "unstale.toml"
    file.write_text(glue_targets(largest), encoding="utf-8")
    theirs = before.tell(folder, ROUTE_BEFORE, str(file), str(largest), str(EVENTS)) * 1e6
    limit = ROUTING_LIMIT if largest == 10_000 else None
    yield Measured(f"{what}, {largest:,}", points[largest], "us", others={before.COMMIT: theirs}, ratio_limit=limit)


ROUTE = """
import sys
from datetime import UTC, datetime
from shared.config.load import Configuration
from shared.inbound.arrivals import ObjectArrived
from shared.inbound.routing import signals_of
from shared.targets import GlueView, S3ObjectCreated, Target
count, events, now = int(sys.argv[1]), int(sys.argv[2]), datetime.now(UTC)
targets = tuple(
    Target(f"t{n}", GlueView("123456789012", "sales", f"t{n}"), on=(S3ObjectCreated("landing", f"t{n}/"),))
    for n in range(count)
)
known = Configuration(targets)
known.listeners
for n in range(events):
    [_] = signals_of(ObjectArrived(now, "landing", f"t{n * 7919 % count}/x.parquet"), known)
"""


def _routing_instructions() -> dict[int, float]:
    """Of one event: a process that routes a thousand, less one that routes none."""
    process = processes.Process(ROUTE, before.path_of(processes.ROOT))
    asked = [(size, events) for size in effort.chosen.sizes for events in (0, 1_000)]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda each: processes.instructions(process, str(each[0]), str(each[1])), asked)
        counted = dict(zip(asked, found, strict=True))
    return {size: (counted[size, 1_000] - counted[size, 0]) * 1e6 / 1_000 for size in effort.chosen.sizes}


def _routed(size: int) -> float:
    known, now = load(glue_targets(size)), Clock.time
    arrivals = [ObjectArrived(now, "landing", f"t{n * 7919 % size}/x.parquet") for n in range(EVENTS)]

    def route() -> None:
        for arrival in arrivals:
            [_] = signals_of(arrival, known)

    route()
    return least(effort.chosen.repetitions, route) / EVENTS


# --- Loading ---------------------------------------------------------------------------------------------------------

LOAD_BEFORE = """
import json, sys, time
from shared.config import load
text, found = open(sys.argv[1]).read(), []
for _ in range(int(sys.argv[2])):
    begun = time.process_time()
    known = load(text)
    known.by_name, known.by_output, known.listeners, known.fingerprint, known.by_key
    found.append(time.process_time() - begun)
print(json.dumps(min(found, default=0)))
"""
LOAD = """
import gc, json, sys, time
gc.disable()
from pathlib import Path
from functions_aws.settings import Settings
from functions_aws.wiring import configuration
from shared.targets import Cloud
settings, found = Settings(config=Path(sys.argv[1]), table="unstale", queue_url="https://sqs/wakes"), []
for _ in range(int(sys.argv[2])):
    begun = time.process_time()
    known = configuration(settings)
    known.build()
    known.package(Cloud.AWS).by_key
    found.append(time.process_time() - begun)
print(json.dumps(min(found, default=0)))
"""
"""What a start does before the first event finds its target and its record, without collecting garbage, as `app` does;
a package has the configuration compiled, too. With 0 as its second argument the program only imports, which is what is
taken from its instructions."""


def loading(folder: Path | None) -> Iterator[Row]:
    """The configuration from its file to all of its indexes, of ours and of what was at an earlier commit."""
    with TemporaryDirectory() as package:
        files = {size: _packaged(Path(package, str(size)), size) for size in effort.chosen.sizes}
        points = {size: before.tell(processes.ROOT, LOAD, str(file), "3") * 1000 for size, file in files.items()}
        yield from curve("loading a configuration at start, targets", "ms", points)
        what = "loading a configuration, instructions, targets"
        if not processes.counts_instructions():
            yield Skipped(what, "valgrind is not installed")
            return
        ours = _loading_instructions(processes.ROOT, LOAD, files)
        yield from curve(what, "M", ours, LINEAR)
        what = "loading, instructions, against the same at an earlier commit"
        if folder is None:
            yield Skipped(what, f"no history with commit {before.COMMIT}")
            return
        largest = dict(list(files.items())[-2:])
        for size, theirs in _loading_instructions(folder, LOAD_BEFORE, largest).items():
            others = {before.COMMIT: theirs}
            yield Measured(f"{what}, {size:,}", ours[size], "M", others=others, ratio_limit=LOAD_LIMIT)


def _packaged(folder: Path, size: int) -> Path:
    """The configuration of so many targets, as a package has it."""
    folder.mkdir()
    file = folder / "unstale.toml"
    file.write_text(glue_targets(size), encoding="utf-8")
    file.with_name(compiled.FILE).write_bytes(compiled.compile_configuration(file.read_bytes(), str(file)))
    return file


def _loading_instructions(folder: Path, program: str, files: Mapping[int, Path]) -> dict[int, float]:
    """Millions, by size: of a process that loads once, less one that only imports what loading needs."""
    process = processes.Process(program, before.path_of(folder))
    anything = str(next(iter(files.values())))
    with ThreadPoolExecutor(2) as pool:
        none = pool.submit(processes.instructions, process, anything, "0")
        found = list(pool.map(lambda file: processes.instructions(process, str(file), "1"), files.values()))
    return {size: count - none.result() for size, count in zip(files, found, strict=True)}


# --- Ticks -----------------------------------------------------------------------------------------------------------


def ticks() -> Iterator[Row]:
    """A tick that finds nothing due, and one that finds all targets due at once, whose wakes were all lost.

    The first starts, those behind it take their places in the identity's queue: each costs what it costs a target.
    """
    idle, due, requests = {}, {}, {}
    for size in effort.chosen.sizes:
        made = _settled(size)
        idle[size] = _requests_of_tick(made)
        if size <= 1_000:
            due[size], requests[size] = _tick_with_all_due(made, size)
    for size, count in idle.items():
        yield Measured(f"tick with {size:,} idle targets: requests", count, "", IDLE_REQUESTS)
    yield from curve("tick with all targets due: requests", "", requests, LINEAR)
    yield from curve("tick with all targets due: CPU", "ms", due)


def _settled(size: int) -> Deployment:
    with redirect_stdout(StringIO()):
        made = Deployment(glue_targets(size, DEFAULTS))
        made.have_all_fresh()
    return made


def _requests_of_tick(made: Deployment) -> int:
    made.forget_counts()
    with redirect_stdout(StringIO()):
        made.tick()
    return made.store.requests


def _tick_with_all_due(made: Deployment, size: int) -> tuple[float, float]:
    """CPU in milliseconds, and requests to store, queue and platform."""
    with redirect_stdout(StringIO()):
        made.take([s3_event(target, "late", made.clock.now()) for target in range(size)])
        made.clock.time += timedelta(minutes=20)
        made.waker.take_due()
        made.forget_counts()
        begun = time.process_time()
        made.tick()
        seconds = time.process_time() - begun
    left = list(made.store.due(made.clock.now(), size))
    if left or not made.platform.starts:
        raise RuntimeError(f"a tick left {len(left)} of {size}, and started {made.platform.starts}")
    return seconds * 1000, made.calls


# --- Status ----------------------------------------------------------------------------------------------------------


def rows_of_status() -> Iterator[Row]:
    """The rows of `unstale status`, from records that were read."""
    points = {size: _rows(size) * 1000 for size in effort.chosen.sizes}
    yield from curve("the rows of status, targets", "ms", points, LINEAR)


def _rows(size: int) -> float:
    made = Deployment(glue_targets(size, DEFAULTS))
    with redirect_stdout(StringIO()):
        made.take([s3_event(target, "1", made.clock.now()) for target in range(size)])
    targets = made.configuration.targets

    def rows() -> None:
        *found, known = made.store.load_many([*(target.key for target in targets), records.DEPLOYMENT_KEY])
        deployment = records.read_deployment(known.body)
        for target, document in zip(targets, found, strict=True):
            state = records.read_state(document.body)
            status.status_of(Evidence(target, state, deployment, glue.CAPABILITIES, made.clock.now()))

    return least(3, rows)
