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
"""arm64, which both functions run on: https://aws.amazon.com/lambda/pricing/."""
PROCESSOR_GB = 1.769
"""Memory at which a function has one whole processor; with less it has a part of one, and takes longer.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""
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

POLL_BATCH = 10
"""Messages of one ReceiveMessage or DeleteMessageBatch, of which Lambda makes its larger batches."""
CALL_SECONDS = 0.005
"""Assumed: one call of DynamoDB or SQS within a Region; the function waits for it, and is paid while it waits."""
START_SECONDS = 0.1
"""Assumed: one call of Glue."""
MEMORY_GB = 0.5
OBVIOUS_MEMORY_GB = 0.25
"""The obvious function has less to hold."""


class Counted(NamedTuple):
    """What a storm took. `cpu_seconds` is measured here, on another processor than Lambda's, clients included."""

    arrivals: int
    batches: int
    wakes: int
    ticks: int
    reads: int
    """Records read, each below 4 KB."""
    write_units: int
    """Units written, as `tests.support.billed_store` counts them."""
    requests: int
    """Requests to the store."""
    sent: int
    starts: int
    polls: int
    cpu_seconds: float
    log_bytes: int


class ObviousCounted(NamedTuple):
    """What one event takes of the obvious function."""

    store_writes: float
    starts: float
    cpu_seconds: float
    log_bytes: float


class StandingCounted(NamedTuple):
    """What is there when nothing arrives: of the template, of one tick, and `metrics_a_view` of each view."""

    queues: int
    alarms: int
    dashboards: int
    metrics: int
    metrics_a_view: int
    reads: int
    writes: int
    cpu_seconds: float
    log_bytes: int


def standing(counted: StandingCounted) -> Iterator[Measured]:
    """Dollars a month: for the deployment, of which for what watches it, and for each view besides."""
    seconds = _lasts(counted.cpu_seconds, MEMORY_GB) + CALL_SECONDS * (counted.reads + counted.writes)
    tick = TICK + LAMBDA_REQUEST + seconds * MEMORY_GB * LAMBDA_GB_SECOND
    tick += counted.reads * READ_UNIT + counted.writes * WRITE_UNIT + counted.log_bytes / 1e9 * LOG_GB
    runs = MINUTES_A_MONTH * (tick + counted.queues * IDLE_RECEIVES * SQS_REQUEST)
    watches = counted.alarms * ALARM + counted.dashboards * DASHBOARD + counted.metrics * METRIC
    yield Measured("list price a month without arrivals: ticks, their log, polls", runs, "$")
    yield Measured(f"... {counted.alarms} alarms, the dashboard, {counted.metrics} metrics", watches, "$")
    yield Measured(f"... and for each view {counted.metrics_a_view} metrics", counted.metrics_a_view * METRIC, "$")


def requests(counted: Counted) -> float:
    """Requests to SQS, Lambda, DynamoDB and Glue."""
    platform_calls = counted.starts + counted.polls
    return _sqs_requests(counted) + _invocations(counted) + counted.requests + platform_calls


def dollars(counted: Counted) -> float:
    """List price of all of it."""
    waited_seconds = CALL_SECONDS * (counted.requests + counted.sent)
    waited_seconds += START_SECONDS * (counted.starts + counted.polls)
    return (
        _sqs_requests(counted) * SQS_REQUEST
        + _invocations(counted) * LAMBDA_REQUEST
        + (_lasts(counted.cpu_seconds, MEMORY_GB) + waited_seconds) * MEMORY_GB * LAMBDA_GB_SECOND
        + counted.reads * READ_UNIT
        + counted.write_units * WRITE_UNIT
        + counted.ticks * TICK
        + counted.log_bytes / 1e9 * LOG_GB
        + counted.arrivals * EVENT_OF_AWS
    )


def obvious_requests(counted: ObviousCounted) -> float:
    """Of one event."""
    return 1 + counted.store_writes + counted.starts


def obvious_dollars(counted: ObviousCounted) -> float:
    """Of one event: a rule calls the function, which writes what `@idempotent` writes, and starts a refresh."""
    seconds = _lasts(counted.cpu_seconds, OBVIOUS_MEMORY_GB)
    seconds += CALL_SECONDS * counted.store_writes + START_SECONDS * counted.starts
    return (
        LAMBDA_REQUEST
        + seconds * OBVIOUS_MEMORY_GB * LAMBDA_GB_SECOND
        + counted.store_writes * WRITE_UNIT
        + counted.log_bytes / 1e9 * LOG_GB
        + EVENT_OF_AWS
    )


def _lasts(cpu_seconds: float, memory_gb: float) -> float:
    """Seconds that CPU seconds take on the part of a processor that comes with the memory."""
    return cpu_seconds / min(1.0, memory_gb / PROCESSOR_GB)


def _invocations(counted: Counted) -> int:
    return counted.batches + counted.wakes + counted.ticks


def _sqs_requests(counted: Counted) -> float:
    """Each arrival is sent once; messages are received and deleted by tens; wakes are sent, received and deleted."""
    return counted.arrivals * (1 + 2 / POLL_BATCH) + counted.sent + 2 * counted.wakes
