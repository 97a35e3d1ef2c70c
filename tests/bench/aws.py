"""A storm of arrivals on AWS, from the first batch to the end of the last run; what that costs, and a month without.

Time is simulated, the shipped handler does all the work. Every wake, tick, poll, line of log and metric is counted as
it is made; what the clients take of the processor is counted by call, as `tests.bench.warm` measures it over TLS.
"""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from typing import NamedTuple

from functions_aws.telemetry import COUNTED, GAUGES
from tests.bench import effort
from tests.bench.cold_aws import OBVIOUS, WITHOUT
from tests.bench.costs import (
    Counted,
    ObviousCounted,
    StandingCounted,
    dollars,
    obvious_dollars,
    obvious_requests,
    requests,
    standing,
)
from tests.bench.events import glue_targets, policy, s3_event
from tests.bench.parts import Measured, Row
from tests.bench.processes import ROOT
from tests.bench.simulated import Deployment
from tests.bench.warm import warm

TARGETS = 50
STORM = timedelta(minutes=10)
QUIET, MIN_INTERVAL, MAX_WAIT = timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=2)
STEP = QUIET / 4
AFTER = timedelta(minutes=15)
"""After the storm, until every run is over."""
MOST_WAKES, MOST_READS, IDLE = 5, 10, 10_000
MOST_DOLLARS = 0.60
"""For a million arrivals in batches of a thousand over fifty targets."""
PRICED_BATCH = 1_000


class Written(io.StringIO):
    """Standard output that keeps nothing, and counts what is written."""

    bytes = 0

    def write(self, text: str) -> int:
        """Count it."""
        self.bytes += len(text.encode())
        return len(text)


class Storm(NamedTuple):
    """What was counted of one, and its deployment."""

    counted: Counted
    deployment: Deployment
    by_arrivals: int
    """Writes of the store while arrivals were taken."""
    in_flight: int
    """The most wakes that one target had on their way."""
    seconds: float
    """CPU of batches alone."""


def measure() -> Iterator[Row]:
    """All of it; takes two minutes."""
    for batch in (100, PRICED_BATCH):
        yield from _told(storm(batch), batch)
    yield from idle_tick()


def _told(found: Storm, batch: int) -> Iterator[Row]:
    counted, platform = found.counted, found.deployment.platform
    steps, a_start = TARGETS * (STORM / STEP + 1), 2  # a claim and its answer, where an arrival ends the maximum wait
    runs = max(len(of) for of in platform.runs.values()) - 1  # one of each was the refresh of what was new
    what = f"{counted.arrivals:,} arrivals over {TARGETS} targets by {batch:,}"
    yield Measured(f"{what}: CPU an event, without clients", found.seconds / counted.arrivals * 1e6, "us")
    yield Measured(f"{what}: writes by arrivals", found.by_arrivals, "", steps + a_start * counted.starts)
    yield Measured(f"{what}: wakes in flight, at most", found.in_flight, "", MOST_WAKES)
    yield Measured(f"{what}: runs of one target", runs, "", 1 + STORM / MIN_INTERVAL + 1)
    yield Measured(f"{what}: polls a run", counted.polls / counted.starts, "")
    yield Measured(f"{what}: bytes of log an event", counted.log_bytes / counted.arrivals, "B")
    yield from _priced(counted, batch)


def _priced(counted: Counted, batch: int) -> Iterator[Row]:
    """A million arrivals, beside a function that is called for each, with and without idempotency."""
    scale = 1_000_000 / counted.arrivals
    theirs = {name: _obvious(name) for name in (OBVIOUS, WITHOUT)}
    limit = MOST_DOLLARS if batch == PRICED_BATCH else None
    yield Measured(
        f"requests for a million arrivals, by {batch:,}",
        requests(counted) * scale,
        "",
        others={name: obvious_requests(of) * 1_000_000 for name, of in theirs.items()},
    )
    yield Measured(
        f"list price of a million arrivals, by {batch:,}",
        dollars(counted) * scale,
        "$",
        limit,
        others={name: obvious_dollars(of) * 1_000_000 for name, of in theirs.items()},
    )


def _obvious(name: str) -> ObviousCounted:
    """What one event takes of the obvious function: as it did with the services on loopback."""
    found = warm()
    seconds, logged = found.batches[name][1, TARGETS]
    calls = dict(found.operations[name])  # a copy: what is measured once is priced for each batch
    starts = calls.pop("StartMaterializedViewRefreshTaskRun", 0.0)
    return ObviousCounted(sum(calls.values()), starts, seconds, logged)


def storm(batch: int) -> Storm:
    """Arrivals for all targets in turn, evenly over ten minutes; then until the last run is over."""
    with redirect_stdout(Written()) as out:
        made = Deployment(glue_targets(TARGETS, policy(QUIET, MIN_INTERVAL, MAX_WAIT)))
        made.settle()
        made.forget_counts()
        before = out.bytes
        arrivals, begun = effort.chosen.arrivals, time.process_time()
        by_arrivals, in_flight, seconds = _deliver(made, batch, arrivals)
        made.pass_time(AFTER)
        cpu_seconds = time.process_time() - begun
    counted = Counted(
        arrivals,
        made.batches,
        made.wakes,
        made.ticks,
        made.store.reads,
        made.store.write_units,
        made.store.requests,
        made.waker.sent,
        made.platform.starts,
        made.platform.polls,
        cpu_seconds + _client_seconds(made),
        out.bytes - before,
    )
    return Storm(counted, made, by_arrivals, in_flight, seconds)


def _deliver(made: Deployment, batch: int, arrivals: int) -> tuple[int, int, float]:
    """Writes by arrivals, the most wakes in flight for one target, and CPU seconds of the batches."""
    begins, first = made.clock.time, 0
    by_arrivals, in_flight, seconds = 0, 0, 0.0
    while first < arrivals:
        made.pass_time(timedelta(seconds=1))
        until = min(arrivals, int(arrivals * ((made.clock.time - begins) / STORM)))
        while first + batch <= until or (first < until == arrivals):
            numbers = range(first, min(first + batch, arrivals))
            bodies = [s3_event(number % TARGETS, str(number), made.clock.time) for number in numbers]
            before, begun = made.store.writes, time.process_time()
            made.take(bodies)
            seconds += time.process_time() - begun
            by_arrivals += made.store.writes - before
            in_flight = max(in_flight, max(made.waker.in_flight().values(), default=0))
            first = numbers[-1] + 1
    return by_arrivals, in_flight, seconds


def _client_seconds(made: Deployment) -> float:
    """CPU of the clients, by what each call takes over TLS."""
    each, store = warm().calls, made.store
    reads = store.requests - store.writes
    seconds = reads * each["read"] + store.writes * each["write"] + made.waker.sent * each["send"]
    return seconds + (made.platform.starts + made.platform.polls) * each["glue"]


def idle_tick() -> Iterator[Row]:
    """A tick when ten thousand targets have nothing to do, and what a month of such ticks costs."""
    with redirect_stdout(Written()) as out:
        made = Deployment(glue_targets(IDLE))
        made.have_all_fresh()
        made.forget_counts()
        before, begun = out.bytes, time.process_time()
        made.tick()
        cpu_seconds = time.process_time() - begun
    yield Measured(f"a tick with {IDLE:,} idle targets: reads", made.store.reads, "", MOST_READS)
    yield from standing(_standing(made, cpu_seconds + _client_seconds(made), out.bytes - before))


def _standing(made: Deployment, cpu_seconds: float, log_bytes: int) -> StandingCounted:
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
        reads=made.store.reads,
        writes=made.store.writes,
        cpu_seconds=cpu_seconds,
        log_bytes=log_bytes,
    )
