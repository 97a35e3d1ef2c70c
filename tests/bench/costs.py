"""What a million arrivals cost on AWS, from calls that were counted, beside one function call and one start an event.

And what a deployment costs in which nothing happens. List prices of us-east-1 without free tiers, looked up on
2026-11-23 and 2026-11-25. What a refresh costs is in no sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.parts import Measured

MILLION = 1_000_000

SQS_REQUEST = 0.40 / MILLION
"""https://cloudburn.io/blog/amazon-sqs-pricing, March 2026: standard queues, each 64 KB of a request."""
LAMBDA_REQUEST = 0.20 / MILLION
LAMBDA_GB_SECOND = 0.0000133334
"""arm64: https://aws.amazon.com/lambda/pricing/."""
LAMBDA_GB_SECOND_X86 = 0.0000166667
"""The default architecture, which the obvious function has."""
WRITE_UNIT = 0.625 / MILLION
READ_UNIT = 0.125 / MILLION
"""https://airbyte.com/data-engineering-resources/dynamodb-pricing, July 2025: on demand, 1 KB written or 4 KB read."""
EVENT_OF_AWS = 0.0
"""https://cloudburn.io/blog/amazon-eventbridge-pricing, March 2026: events of AWS's own services on the default bus."""
TICK = 1.00 / MILLION
"""The same page: EventBridge Scheduler."""

ALARM = 0.10
METRIC = 0.30
"""A month each, of the first 10,000: plans/cloudwatch-plans-pricing.yml of https://github.com/api-evangelist/cloudwatch,
May 2026, which names https://aws.amazon.com/cloudwatch/pricing/ as its source."""
DASHBOARD = 3.00
LOG_GB = 0.50
"""https://www.factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards, June 2026."""

MINUTES_A_MONTH = 43_800
IDLE_RECEIVES = 15
"""A minute and queue: five pollers that wait 20 s each. AWS says only that Lambda polls long; the metrics of somebody's
queues said this: https://github.com/getlift/lift/issues/132, November 2021."""
TICK_LOG_BYTES = 1_000
"""Assumed: the line of metrics has some 300."""

POLL_BATCH = 10
"""Messages of one ReceiveMessage or DeleteMessageBatch, of which Lambda makes its larger batches."""
CALL_SECONDS = 0.005
"""Assumed: one call of DynamoDB or SQS within a Region; the function waits for it, and is paid while it waits."""
START_SECONDS = 0.1
"""Assumed: one call of Glue."""
MEMORY_GB = 0.5
OBVIOUS_MEMORY_GB = 0.25
"""The obvious function has less to hold."""
INDEX_WRITES = 2
"""A record that is due at another time than before is deleted from the index and put into it anew: two writes."""


class Counted(NamedTuple):
    """What a storm took. `cpu_seconds` is measured here, on another processor than Lambda's."""

    arrivals: int
    batches: int
    wakes: int
    ticks: int
    reads: int
    writes: int
    platform_calls: int
    cpu_seconds: float


class ObviousCounted(NamedTuple):
    """What one event takes of the obvious function."""

    store_writes: float
    starts: float
    cpu_seconds: float


class StandingCounted(NamedTuple):
    """What is there when nothing arrives. `reads` and `cpu_seconds` are of one tick, `metrics_a_view` of each view."""

    queues: int
    alarms: int
    dashboards: int
    metrics: int
    metrics_a_view: int
    reads: int
    cpu_seconds: float


def standing(counted: StandingCounted) -> Iterator[Measured]:
    """Dollars a month: for the deployment, of which for what watches it, and for each view besides."""
    seconds = counted.cpu_seconds + CALL_SECONDS * counted.reads
    tick = TICK + LAMBDA_REQUEST + seconds * MEMORY_GB * LAMBDA_GB_SECOND + counted.reads * READ_UNIT
    tick += TICK_LOG_BYTES / 1e9 * LOG_GB
    runs = MINUTES_A_MONTH * (tick + counted.queues * IDLE_RECEIVES * SQS_REQUEST)
    watches = counted.alarms * ALARM + counted.dashboards * DASHBOARD + counted.metrics * METRIC
    yield Measured("list price a month without arrivals: ticks, their log, polls", runs, "$")
    yield Measured(f"... {counted.alarms} alarms, the dashboard, {counted.metrics} metrics", watches, "$")
    yield Measured(f"... and for each view {counted.metrics_a_view} metrics", counted.metrics_a_view * METRIC, "$")


def priced(ours: Counted, obvious: ObviousCounted) -> Iterator[Measured]:
    """Requests and dollars per million arrivals, side by side."""
    scale = MILLION / ours.arrivals
    requests = _requests(ours)
    dollars = _dollars(ours)
    theirs = _obvious_dollars(obvious)
    yield Measured("requests per million arrivals: SQS, Lambda, DynamoDB, Glue", requests * scale, "")
    yield Measured("the obvious topology's, one call an event", _obvious_requests(obvious) * MILLION, "")
    yield Measured("list price per million arrivals", dollars * scale, "$")
    yield Measured("the obvious topology's", theirs * MILLION, "$")
    yield Measured("ours against the obvious one", dollars * scale / (theirs * MILLION), "times", 1.0)


def _sqs_requests(counted: Counted) -> float:
    """Each arrival is sent once; messages are received and deleted by tens; wakes are sent, received and deleted."""
    return counted.arrivals * (1 + 2 / POLL_BATCH) + 3 * counted.wakes


def _requests(counted: Counted) -> float:
    invocations = counted.batches + counted.wakes + counted.ticks
    return _sqs_requests(counted) + invocations + counted.reads + counted.writes + counted.platform_calls


def _dollars(counted: Counted) -> float:
    invocations = counted.batches + counted.wakes + counted.ticks
    waited_seconds = CALL_SECONDS * (counted.reads + counted.writes + counted.wakes)
    seconds = counted.cpu_seconds + waited_seconds + START_SECONDS * counted.platform_calls
    return (
        _sqs_requests(counted) * SQS_REQUEST
        + invocations * LAMBDA_REQUEST
        + seconds * MEMORY_GB * LAMBDA_GB_SECOND
        + counted.reads * READ_UNIT
        + counted.writes * (1 + INDEX_WRITES) * WRITE_UNIT
        + counted.ticks * TICK
        + counted.arrivals * EVENT_OF_AWS
    )


def _obvious_requests(counted: ObviousCounted) -> float:
    return 1 + counted.store_writes + counted.starts


def _obvious_dollars(counted: ObviousCounted) -> float:
    """A rule calls the function for each event: one invocation, what `@idempotent` writes, one start."""
    seconds = counted.cpu_seconds + CALL_SECONDS * counted.store_writes + START_SECONDS * counted.starts
    return (
        LAMBDA_REQUEST
        + seconds * OBVIOUS_MEMORY_GB * LAMBDA_GB_SECOND_X86
        + counted.store_writes * WRITE_UNIT
        + EVENT_OF_AWS
    )
