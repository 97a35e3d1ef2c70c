"""The AWS side: cold start, a warm batch, and a storm, each against the obvious handler or a bound."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSResponse

from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.shell import Shell
from functions_aws.store import Store
from functions_aws.telemetry import COUNTED, GAUGES, Telemetry
from functions_aws.visibility import Returns
from functions_aws.waker import Waker
from local.emulators.aws.lambda_host import Context, sqs_event
from shared.config.load import Configuration, load
from shared.platforms import glue
from shared.refresh.engine import Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Phase, Platform, Report, Started
from shared.refresh.state import Wake
from shared.targets import Cloud
from tests.bench import package_aws
from tests.bench.costs import Counted, ObviousCounted, StandingCounted, priced, standing
from tests.bench.parts import Clock, CountingStore, CountingWaker, Measured

ROOT = Path(__file__).parent.parent.parent

STARTS = 15
COLD_LIMIT, WARM_LIMIT = 0.50, 0.30
BATCHES = 40

ARRIVALS, TARGETS, BATCH = 100_000, 50, 100
STORM = timedelta(minutes=10)
QUIET, MIN_INTERVAL, MAX_WAIT = timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=2)
STEP = QUIET / 4
RUN_TIME = timedelta(minutes=1)
MOST_WAKES, MOST_READS, IDLE = 5, 10, 10_000

NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "UNSTALELOCALPRODUCT1",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "ERROR",
}


def measure() -> Iterator[Measured]:
    """Everything; takes two minutes, and more where valgrind is there to count instructions."""
    with patch.dict(os.environ, NOWHERE):
        yield from cold()
        yield from package_aws.measure(NOWHERE)
        yield from warm()
        yield from storm()
        yield from idle_tick()


# --- Cold ------------------------------------------------------------------------------------------------------------

ENTRIES = ("functions_aws.app", "tests.bench.obvious_aws")


def cold() -> Iterator[Measured]:
    """From the start of the process to a handler that can be called, ours and the obvious one's in turn."""
    times: dict[str, list[float]] = {entry: [] for entry in ENTRIES}
    for _ in range(STARTS):
        for entry, found in times.items():
            begun = time.perf_counter()
            subprocess.run(_start(entry), check=True, env=_environment())
            found.append(time.perf_counter() - begun)
    ours, obvious = (statistics.median(found) for found in times.values())
    yield Measured("cold start of the Lambda, whole process", ours * 1000, "ms")
    yield Measured("cold start of the obvious one, whole process", obvious * 1000, "ms")
    yield Measured("ours against the obvious one", ours / obvious, "times", COLD_LIMIT)
    if shutil.which("valgrind"):
        ours, obvious = (_instructions(entry) for entry in ENTRIES)
        yield Measured("instructions of our cold start", ours / 1e6, "M")
        yield Measured("instructions of the obvious one's", obvious / 1e6, "M")
        yield Measured("ours against the obvious one, in instructions", ours / obvious, "times", COLD_LIMIT)


def _start(entry: str) -> list[str]:
    return [sys.executable, "-c", f"from {entry} import handler"]


def _environment() -> dict[str, str]:
    return NOWHERE | {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}


def _instructions(entry: str) -> float:
    with TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *_start(entry)]
        done = subprocess.run(command, check=True, env=_environment(), capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise RuntimeError(f"callgrind counted nothing: {done.stderr[-300:]}")
    return float(found[1])


# --- Warm ------------------------------------------------------------------------------------------------------------


def warm() -> Iterator[Measured]:
    """CPU time of a batch of ten new S3 events for one view. Every request is built, signed and answered at once."""
    ours, obvious = _our_batch(), _obvious_batch()
    times: dict[Callable[[int], None], list[float]] = {ours: [], obvious: []}
    for number in range(BATCHES):
        for batch, found in times.items():
            begun = time.process_time()
            batch(number)
            found.append(time.process_time() - begun)
    mine, theirs = (statistics.median(found) for found in times.values())
    yield Measured("a batch of ten events for one view, CPU", mine * 1000, "ms")
    yield Measured("the same with Powertools' parser and @idempotent, CPU", theirs * 1000, "ms")
    yield Measured("ours against the obvious one", mine / theirs, "times", WARM_LIMIT)


def _our_batch() -> Callable[[int], None]:
    """The record is new each time, so that the batch costs a read, a wake and a write: the most that it can."""
    clients = Clients()
    for client in (clients.dynamodb, clients.sqs):
        client.meta.events.register("before-send", _answer)
    clock, configuration = Clock(), load(_configuration(1))
    world = _world(clock, Store(clients, "unstale"), Waker(clients, "http://127.0.0.1:9/wakes"))
    shell = Shell(configuration, world, DeadLetters(clients), Returns(clients), Telemetry("bench"))
    return lambda number: _called(lambda: shell.answer(_batch(clock.now(), number), _context()))


def _obvious_batch() -> Callable[[int], None]:
    from tests.bench import obvious_aws

    warnings.filterwarnings("ignore", module="aws_lambda_powertools")  # its advice is right, and not about us
    for client in (obvious_aws.glue, obvious_aws.dynamodb):
        client.meta.events.register("before-send", _answer)
    clock = Clock()

    def batch(number: int) -> None:
        event = _batch(clock.now(), number)
        event["Records"] = [record | {"body": json.loads(record["body"])} for record in event["Records"]]
        obvious_aws.handler(event, _context())

    return batch


def _called(work: Callable[[], Any]) -> None:
    assert work() == {"batchItemFailures": []}


def _answer(request: Any, **_: object) -> AWSResponse:
    """An empty answer, from nowhere: no record, a message sent, a run started."""
    body = b'{"MessageId": "1", "MD5OfMessageBody": "", "MaterializedViewRefreshTaskRunId": "1"}'

    class Raw:
        def stream(self, **_: object) -> Iterator[bytes]:
            yield body

    return AWSResponse(request.url, 200, {"Content-Type": "application/x-amz-json-1.1"}, Raw())


def _batch(at: datetime, number: int) -> dict[str, Any]:
    messages = [
        {
            "MessageId": str(place),
            "ReceiptHandle": "r",
            "Body": _event(0, f"{number}-{place}", at),
            "Attributes": {},
            "MD5OfBody": "",
        }
        for place in range(10)
    ]
    return sqs_event(messages, "arn:aws:sqs:eu-central-1:123456789012:events")


def _context() -> Context:
    return Context("unstale", "arn", "256", "request", time.monotonic() + 60)


# --- A storm ---------------------------------------------------------------------------------------------------------


class QuickGlue:
    """Accepts every start; a run takes a minute. Counts them per target."""

    capabilities = glue.CAPABILITIES

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.runs: dict[str, list[datetime]] = {}

    def start(self, target: Any, *, full: bool) -> Started | Failure:
        """Accept."""
        self.runs.setdefault(target.name, []).append(self._clock.now())
        return Started(f"{target.name}/{len(self.runs[target.name])}", self._clock.now())

    def list(self, target: Any, since: datetime) -> tuple[Report, ...] | Failure:
        """Nothing is ever in doubt here."""
        raise AssertionError(f"{target.name} was looked up since {since}")

    def cancel(self, target: Any, run_id: str) -> Failure | None:
        """Nothing takes too long."""
        raise AssertionError(f"{run_id} of {target.name} was cancelled")

    def get(self, target: Any, run_id: str) -> Report | Failure:
        """Done after a minute."""
        begun = self.runs[target.name][-1]
        done = self._clock.now() - begun >= RUN_TIME
        ended_at = begun + RUN_TIME if done else None
        return Report(run_id, Phase.SUCCEEDED if done else Phase.ACTIVE, "", begun, ended_at)


def storm() -> Iterator[Measured]:
    """Arrivals for all targets in turn, evenly over ten minutes, through the real handler, with its ticks and wakes."""
    clock, store = Clock(), CountingStore()
    waker = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays)
    platform, in_flight, by_arrivals, wakes, ticks = QuickGlue(clock), 0, 0, 0, 0
    shell = _shell(load(_configuration(TARGETS)), _world(clock, store, waker, platform))
    _tick(shell)
    store.reads = store.writes = waker.sent = 0
    begins, taken, ticked, begun_cpu = clock.time, 0.0, clock.time, time.process_time()
    for first in range(0, ARRIVALS, BATCH):
        clock.time = begins + STORM * (first / ARRIVALS)
        for wake in waker.take_due():
            wakes += 1
            _wake(shell, wake)
        event = _storm_batch(clock.time, first)
        begun, before = time.perf_counter(), store.writes
        _called(partial(shell.answer, event, _context()))
        taken += time.perf_counter() - begun
        by_arrivals += store.writes - before
        if clock.time - ticked >= timedelta(minutes=1):
            ticked = clock.time
            ticks += 1
            _tick(shell)
        in_flight = max(in_flight, max(waker.in_flight().values(), default=0))
    cpu_seconds = time.process_time() - begun_cpu
    runs = max(len(found) for found in platform.runs.values())
    starts = sum(len(found) for found in platform.runs.values())
    steps, a_start = TARGETS * (STORM / STEP + 1), 2  # a claim and its answer, where an arrival ends the maximum wait
    yield Measured(f"{ARRIVALS:,} arrivals over {TARGETS} targets: events a second", ARRIVALS / taken, "1/s")
    yield Measured("store writes while arrivals are taken", by_arrivals, "", steps + a_start * starts)
    yield Measured("store writes, those of wakes, ticks and runs included", store.writes, "")
    yield Measured("store reads", store.reads, "")
    yield Measured("wakes in flight for one target, at most", in_flight, "", MOST_WAKES)
    yield Measured("runs of one target, at most", runs, "", 1 + STORM / MIN_INTERVAL + 1)
    batches, calls = ARRIVALS // BATCH, 3 * starts  # a start, and a poll or two of a run that takes a minute
    counted = Counted(ARRIVALS, batches, wakes, ticks, store.reads, store.writes, calls, cpu_seconds)
    yield from priced(counted, _obvious_event())


def _obvious_event() -> ObviousCounted:
    """Calls and CPU time of one event, of forty in batches of ten."""
    calls: Counter[str] = Counter()
    from tests.bench import obvious_aws

    batch, begun = _obvious_batch(), time.process_time()
    for client in (obvious_aws.glue, obvious_aws.dynamodb):
        client.meta.events.register_first("before-call", lambda model, **_: calls.update([model.name]))
    for number in range(4):
        batch(number + BATCHES)
    events = 40
    starts = calls["StartMaterializedViewRefreshTaskRun"] / events
    return ObviousCounted(sum(calls.values()) / events - starts, starts, (time.process_time() - begun) / events)


def idle_tick() -> Iterator[Measured]:
    """A tick when ten thousand targets have nothing to do."""
    clock, store = Clock(), CountingStore()
    waker = CountingWaker(clock, reach=Waker.reach, relays=Waker.relays)
    shell = _shell(load(_configuration(IDLE)), _world(clock, store, waker, QuickGlue(clock)))
    for _ in range(6):  # all are new, and are refreshed once
        _tick(shell)
        clock.time += timedelta(minutes=2)
    store.reads, begun = 0, time.process_time()
    _tick(shell)
    cpu_seconds = time.process_time() - begun
    yield Measured(f"a tick with {IDLE:,} idle targets: reads", store.reads, "", MOST_READS)
    yield from standing(_standing(store.reads, cpu_seconds))


def _standing(reads: int, cpu_seconds: float) -> StandingCounted:
    """What the template has, and the metrics that the telemetry writes."""
    from tests.support.sam_template import resources, written

    source = (ROOT / "functions_aws" / "telemetry.py").read_text(encoding="utf-8")
    counts = {name for counts in COUNTED.values() for name in counts} | set(re.findall(r'_counts\["(\w+)"\]', source))
    kinds = Counter(resource["Type"] for resource in written()["Resources"].values())
    return StandingCounted(
        queues=sum("RedrivePolicy" in queue for queue in resources("AWS::SQS::Queue", written()).values()),
        alarms=kinds["AWS::CloudWatch::Alarm"],
        dashboards=kinds["AWS::CloudWatch::Dashboard"],
        metrics=len(counts) + len(GAUGES),  # how the worst target stands, too
        metrics_a_view=len(GAUGES),
        reads=reads,
        cpu_seconds=cpu_seconds,
    )


def _tick(shell: Shell) -> None:
    answered = shell.answer({"tick": True}, _context())
    if answered != {"verdict": "done"}:
        raise RuntimeError(f"the tick answered {answered}")


def _wake(shell: Shell, wake: Wake) -> None:
    from shared.inbound.wakes import wake_message

    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": wake_message(wake), "Attributes": {}, "MD5OfBody": ""}
    shell.answer(sqs_event([message], "arn:aws:sqs:eu-central-1:123456789012:wakes"), _context())


def _storm_batch(at: datetime, first: int) -> dict[str, Any]:
    messages = [
        {
            "MessageId": str(number),
            "ReceiptHandle": "r",
            "Body": _event(number % TARGETS, str(number), at),
            "Attributes": {},
            "MD5OfBody": "",
        }
        for number in range(first, first + BATCH)
    ]
    return sqs_event(messages, "arn:aws:sqs:eu-central-1:123456789012:events")


# --- What both need --------------------------------------------------------------------------------------------------


def _shell(configuration: Configuration, world: Ports) -> Shell:
    clients = Clients()
    return Shell(configuration, world, DeadLetters(clients), Returns(clients), Telemetry("bench"))


def _world(clock: Clock, store: Any, waker: Any, platform: Platform | None = None) -> Ports:
    return Ports(Cloud.AWS, store, platform or QuickGlue(clock), waker, clock, lambda: "token", lambda _: None)


def _configuration(targets: int) -> str:
    target = """
[targets.t{n}]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "t{n}"
on = [{{ s3_object_created = {{ bucket = "landing", prefix = "t{n}/" }} }}]
"""
    defaults = f"""
[defaults]
quiet_period = "{QUIET.seconds}s"
min_interval = "{MIN_INTERVAL.seconds}s"
max_wait = "{MAX_WAIT.seconds}s"
"""
    return defaults + "".join(target.format(n=n) for n in range(targets))


def _event(target: int, name: str, at: datetime) -> str:
    return json.dumps(
        {
            "version": "0",
            "id": f"17793124-05d4-b198-2fde-{name}",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "123456789012",
            "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "region": "eu-central-1",
            "resources": ["arn:aws:s3:::landing"],
            "detail": {
                "version": "0",
                "bucket": {"name": "landing"},
                "object": {"key": f"t{target}/{name}.parquet", "size": 5, "etag": "b1946ac9", "sequencer": "617f08"},
                "request-id": "N4N7GDK58NMKJ12R",
                "requester": "123456789012",
                "source-ip-address": "1.2.3.4",
                "reason": "PutObject",
            },
        }
    )
