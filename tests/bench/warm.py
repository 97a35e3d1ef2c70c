"""Batches of the warm handler: CPU of everything that it does, its clients over TLS included, beside the obvious ones'.

Each handler has a process of its own, and the services another one, so that CPU is the handler's alone. Each batch
finds nothing that would absorb it, which is the most that it can cost.

Limits on ratios are about instructions: the processes run one after the other, so that CPU also tells what else the
machine did meanwhile. Valgrind counts what a program does itself, and not what the kernel does for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.bench import before, effort, processes, warm_process
from tests.bench.cold_aws import OBVIOUS, OURS, PLAIN, WITHOUT, environment
from tests.bench.loopback import Loopback
from tests.bench.parts import Curve, Measured, Row, Skipped
from tests.bench.processes import ROOT, Process

HANDLERS = {
    OURS: "ours",
    OBVIOUS: "tests.bench.obvious_aws:handler",
    WITHOUT: "tests.bench.obvious_aws:handler_without",
    PLAIN: "tests.bench.plain_aws:handler",
}
START = "StartMaterializedViewRefreshTaskRun"
"""The operation by which the others do their job."""
TEN_LIMIT = 0.12
"""Instructions of a batch of ten events for one target, over the obvious handler's."""
READ_LIMIT = 20.0
"""Milliseconds of a read on loopback, by the clock: one that waits for a delayed acknowledgement takes 40 more."""
GLUE_LIMIT = 0.06
"""Instructions of a call to Glue, over the same at the earlier commit; of CPU, 0.14 was promised, kernel included."""

COUNTED_CALLS = 5
"""Calls by which two processes differ whose instructions are counted."""


class Warm(NamedTuple):
    """What was measured: CPU seconds and bytes of log of a batch by handler and shape, seconds of our calls."""

    batches: Mapping[str, Mapping[tuple[int, int], tuple[float, float]]]
    calls: Mapping[str, float]
    operations: Mapping[str, dict[str, float]]
    """Calls that each handler made for one event, by the operation's name."""
    glue_before: float | None
    """CPU seconds of a call to Glue at the earlier commit; None where there is no such history."""


def measure() -> Iterator[Row]:
    """All of it; takes one to two minutes."""
    found = warm()
    for events, targets in shapes():
        others = {name: of[events, targets][0] * 1000 for name, of in found.batches.items()}
        ours = others.pop(OURS)
        what = f"batch of {events:,} events over {targets} targets, CPU"
        yield Measured(what, ours, "ms", others=others)
    yield from _counted_batches()
    for name, of in found.batches.items():
        points = tuple((events, of[events, 50][0] * 1000) for events in effort.chosen.batches)
        yield Curve("CPU of a batch over 50 targets", "ms", name, points, "events")
    for name, what in (("read", "read"), ("write", "write"), ("send", "message sent")):
        yield Measured(f"client CPU of a {what}", found.calls[name] * 1000, "ms")
    yield Measured("a read, by the clock", found.calls["read by the clock"] * 1000, "ms", READ_LIMIT)
    what = "client CPU of a call to Glue, with a connection of its own"
    if found.glue_before is None:
        yield Measured(what, found.calls["glue"] * 1000, "ms")
        yield Skipped("a call to Glue against the earlier commit", f"no history with {before.COMMIT}")
    else:
        theirs = {before.COMMIT: found.glue_before * 1000}
        yield Measured(what, found.calls["glue"] * 1000, "ms", others=theirs)
    yield from _counted_calls()


def shapes() -> list[tuple[int, int]]:
    """Events of a batch, and targets that they are spread over."""
    return [(events, targets) for targets in (1, 50) for events in effort.chosen.batches]


@cache
def warm() -> Warm:
    """Measure each handler once; prices are worked out from the same figures."""
    with Loopback() as services, TemporaryDirectory() as folder:
        variables = {**environment(services), "AWS_CA_BUNDLE": str(services.roots)}
        answers, operations = {}, {}
        for name, handler in HANDLERS.items():
            counted = services.counts()
            answers[name] = _run(handler, Path(folder), variables)
            made = services.counts() - counted
            operations[name] = {each: times / answers[name]["events"] for each, times in made.items()}
            _did_its_job(name, operations[name])
        glue_before = _glue_before(variables)
    batches = {
        name: {shape: (seconds, logged) for shape, (seconds, logged) in zip(shapes(), of["batches"], strict=True)}
        for name, of in answers.items()
    }
    return Warm(batches, answers[OURS]["calls"], operations, glue_before)


def _did_its_job(name: str, made: Mapping[str, float]) -> None:
    """Each of the others starts a refresh for each event; ours stores what came, and sends wakes."""
    did = {"PutItem", "SendMessage"} <= made.keys() if name == OURS else made.get(START) == 1
    if not did:
        raise RuntimeError(f"for one event {name} called {made}")


def _run(handler: str, folder: Path, variables: Mapping[str, str]) -> Any:
    """One handler's process, whose log goes to a file."""
    answer, log = folder / "answer.json", folder / "log"
    arguments = [handler, json.dumps(shapes()), str(effort.chosen.repetitions), str(answer)]
    with log.open("wb") as out:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.bench.warm_process", *arguments],
            check=True,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **variables},
            stdout=out,
        )
    return json.loads(answer.read_text(encoding="utf-8"))


def _counted_batches() -> Iterator[Row]:
    what = "batch of 10 events over 1 targets, instructions"
    if not processes.counts_instructions():
        yield Skipped(what, "valgrind is not installed")
        return
    with Loopback() as services, ThreadPoolExecutor(2) as pool:
        variables = {**environment(services), "AWS_CA_BUNDLE": str(services.roots)}
        process = Process(TAKE, before.path_of(ROOT), variables)
        processes.run(process, HANDLERS[OURS], "0", "1")  # the deployment's record, which every later start finds
        counted = services.counts()
        ours, obvious = pool.map(lambda name: _of_a_batch(process, HANDLERS[name]), (OURS, OBVIOUS))
        made = services.counts() - counted
    batches = warm_process.COUNTED_BATCHES + 2
    if made[START] != batches * warm_process.TEN or made["SendMessage"] != batches:
        raise RuntimeError(f"in {batches} batches of each this was called: {made}")
    yield Measured(what, ours, "M", others={OBVIOUS: obvious}, ratio_limit=TEN_LIMIT)


TAKE = """
import sys
from tests.bench.warm_process import take
take(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def _of_a_batch(process: Process, handler: str) -> float:
    """Millions of instructions: of a process that takes one batch, and of one that takes more."""
    one = processes.instructions(process, handler, "1", "1")
    many = processes.instructions(process, handler, "2", str(1 + warm_process.COUNTED_BATCHES))
    return (many - one) / warm_process.COUNTED_BATCHES


GLUE = """
import json, statistics, sys, time
from functions_aws.clients import Clients
clients, found = Clients(), []
view = {"CatalogId": "123456789012", "DatabaseName": "sales", "TableName": "t0"}
for _ in range(int(sys.argv[1])):
    begun = time.process_time()
    clients.glue.start_materialized_view_refresh_task_run(**view)
    found.append(time.process_time() - begun)
print(json.dumps(statistics.median(found)))
"""


def _glue_before(variables: Mapping[str, str]) -> float | None:
    """CPU seconds of a call to Glue at the earlier commit."""
    with before.checked_out() as folder:
        return float(before.tell(folder, GLUE, "31", environment=variables)) if folder else None


def _counted_calls() -> Iterator[Row]:
    what = "a call to Glue, instructions"
    if not processes.counts_instructions():
        yield Skipped(what, "valgrind is not installed")
        return
    with Loopback() as services, before.checked_out() as folder, ThreadPoolExecutor(2) as pool:
        if folder:
            variables = {**environment(services), "AWS_CA_BUNDLE": str(services.roots)}
            asked = [Process(GLUE, before.path_of(each), variables) for each in (ROOT, folder)]
            ours, theirs = pool.map(_of_a_call, asked)
            yield Measured(what, ours, "M", others={before.COMMIT: theirs}, ratio_limit=GLUE_LIMIT)


def _of_a_call(process: Process) -> float:
    """Millions of instructions: of a process that calls once, and of one that calls more often."""
    one, many = (processes.instructions(process, str(calls)) for calls in (1, 1 + COUNTED_CALLS))
    return (many - one) / COUNTED_CALLS
