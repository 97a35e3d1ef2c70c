"""From an arrival to the start of the run that covers it, in simulated time: p50 and p99, alone and in a storm."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from statistics import quantiles

from shared.targets import Policy
from tests.bench.events import glue_targets, policy, s3_event
from tests.bench.parts import Measured, Row
from tests.bench.simulated import Deployment

QUIET, INTERVAL, LONGEST = timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=2)
TARGETS = 10
LATE = timedelta(seconds=10)
"""What a wake may add to the policy's own times: a step of the quiet period, and whole seconds of the queue."""
HOURS = 2


def measure() -> Iterator[Row]:
    """Arrivals that are far apart wait for the quiet period; those of a storm for the maximum wait, or the interval."""
    alone = _waits(timedelta(minutes=12))
    storm = _waits(timedelta(seconds=20))
    yield from _told("arrival to start, 12 minutes apart", alone, QUIET + LATE)
    yield from _told("arrival to start, 20 seconds apart", storm, INTERVAL + LATE)


def _told(what: str, waits: list[float], most: timedelta) -> Iterator[Measured]:
    cuts = quantiles(waits, n=100)
    yield Measured(f"{what}, p50", cuts[49], "s")
    yield Measured(f"{what}, p99", cuts[98], "s", most.total_seconds())


def _waits(apart: timedelta) -> list[float]:
    """Seconds from each arrival to the start that covers it, over all targets."""
    with redirect_stdout(StringIO()):
        made = Deployment(glue_targets(TARGETS, policy(QUIET, INTERVAL, LONGEST)))
        made.settle()
        made.pass_time(timedelta(minutes=10))
        arrivals = _arrive(made, apart)
        made.pass_time(timedelta(minutes=15))
    return [_wait(at, made.platform.runs[f"t{target}"]) for target, at in arrivals]


def _arrive(made: Deployment, apart: timedelta) -> list[tuple[int, datetime]]:
    """Have data arrive at each target, so far apart, give or take a quarter."""
    chance, arrivals = random.Random(1), list[tuple[int, datetime]]()
    due = {target: made.clock.now() + apart * chance.random() for target in range(TARGETS)}

    def each() -> None:
        now = made.clock.now()
        for target in [target for target, at in due.items() if at <= now]:
            due[target] = now + apart * chance.uniform(0.75, 1.25)
            arrivals.append((target, now))
            made.take([s3_event(target, str(len(arrivals)), now)])

    made.pass_time(timedelta(hours=HOURS), each)
    return arrivals


def _wait(arrived_at: datetime, starts: list[datetime]) -> float:
    """Until the first start that reads what arrived, which is to be read a visibility lag later."""
    readable_at = arrived_at + Policy().visibility_lag
    return (min(start for start in starts if start >= readable_at) - arrived_at).total_seconds()
