"""What a million arrivals cost on Azure, from calls that were counted, beside a function that starts a run an event.

List prices of East US without free grants, looked up on 2026-11-25. What a refresh costs is in no sum. Each execution
is priced as if it had an instance to itself, which is the most that it can cost: those that overlap share its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.parts import Measured

MILLION = 1_000_000

EXECUTION = 0.40 / MILLION
GB_SECOND = 0.000026
"""https://modal.com/blog/azure-function-pricing-guide, May 2025: Flex Consumption, on demand."""
LEAST_SECONDS = 1.0
"""https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#billing: at least, then by 100 ms."""
QUEUE_OPERATION = 0.004 / 10_000
"""Azure's retail prices, as infracost's tests have them (storage_queue_test.golden): StorageV2, locally redundant; both
classes of operations. Event Grid's Put Message is billed to the account, too."""
TABLE_OPERATION = 0.00036 / 10_000
"""Standard, locally redundant: quoted so in several places, as of prices.azure.com, and not seen there by us. It makes
less than a hundredth of the sum, so little hangs on it."""
EVENT_GRID_OPERATION = 0.06 / 100_000
"""The same tests (eventgrid_system_topic_test.golden)."""
EVENT_HUB_EVENT = 0.03 / MILLION
EVENT_HUB_HOUR = 0.03
"""The same tests (event_hubs_namespace_test.golden): Standard, one throughput unit."""

LOG_GB = 2.30
"""Analytics Logs, pay as you go, East US: https://azure.microsoft.com/pricing/details/monitor/, not looked up again."""

EVENT_GRID_OPERATIONS = 2
"""An event is taken in, and delivered (https://learn.microsoft.com/answers/questions/5830137/azure-event-grid-pricing)."""
OBVIOUS_LOG_BYTES = 150
"""A line with the event's subject and the answer's status; what the host writes of each execution is in no sum."""
MESSAGES_TAKEN_AT_ONCE = 16
"""`batchSize` in host.json: one Get Messages."""
MEMORY_GB, DEFAULT_MEMORY_GB = 0.5, 2.0
"""The instance size of the template; and the one that a function app has by default."""
FABRIC_SECONDS = 1.0
"""Assumed: one call of Fabric, which keeps its execution longer than the least that is billed anyway."""
MONTH_SECONDS = 30 * 86_400
POLLS_A_SECOND = 2 / 2
"""Two idle queues, each looked at every two seconds (`maxPollingInterval`) while an instance is up."""
TICK_READS = 9


MOST_DOLLARS = 3.0
"""For a million arrivals, one event a message."""


class Counted(NamedTuple):
    """What a storm took. `calls` are those of functions for events, one event or a batch each."""

    arrivals: int
    seconds: float
    calls: int
    wakes_sent: int
    wakes: int
    ticks: int
    reads: int
    writes: int
    platform_calls: int
    starts: int
    log_bytes: int

    @property
    def executions(self) -> int:
        """Of all functions."""
        return self.calls + self.wakes + self.ticks


def priced(way: str, counted: Counted, *, hub: bool) -> Iterator[Measured]:
    """Requests, starts and dollars per million arrivals of one way in."""
    scale = MILLION / counted.arrivals
    yield Measured(f"{way}: requests per million arrivals", _requests(counted, hub=hub) * scale, "")
    yield Measured(f"{way}: executions per million arrivals", counted.executions * scale, "")
    yield Measured(f"{way}: refreshes started per million arrivals", counted.starts * scale, "")
    others = {
        "obvious": obvious_dollars(MEMORY_GB),
        "obvious without idempotency": obvious_dollars(MEMORY_GB, idempotent=False),
    }
    limit = None if hub else MOST_DOLLARS
    name = f"{way}: list price per million arrivals"
    yield Measured(name, dollars(counted, hub=hub), "$", limit, others=others)


def obvious() -> Iterator[Measured]:
    """A function for each event: Event Grid, queue, one execution, one start; a row of a table where idempotent."""
    requests = EVENT_GRID_OPERATIONS + _queue_operations(1, 0) + 1 + 1
    yield Measured("the obvious: requests per million arrivals", (requests + 1) * MILLION, "")
    yield Measured("the obvious without idempotency: requests per million arrivals", requests * MILLION, "")
    yield Measured("the obvious: refreshes started per million arrivals", MILLION, "")
    for size in (MEMORY_GB, DEFAULT_MEMORY_GB):
        name = f"the obvious on {size * 1024:,.0f} MB: list price per million arrivals"
        yield Measured(name, obvious_dollars(size), "$")


def standing() -> Iterator[Measured]:
    """A month without an arrival: ticks, and polls of both queues if an instance is up all the time."""
    ticks = MONTH_SECONDS / 60
    each = EXECUTION + LEAST_SECONDS * MEMORY_GB * GB_SECOND + TICK_READS * TABLE_OPERATION
    polls = MONTH_SECONDS * POLLS_A_SECOND * QUEUE_OPERATION
    yield Measured("a month without an arrival, list price: ticks", ticks * each, "$")
    yield Measured("a month without an arrival, list price: polls, at most", polls, "$")


def dollars(counted: Counted, *, hub: bool) -> float:
    """Per million arrivals."""
    gb_seconds = (counted.executions * LEAST_SECONDS + counted.platform_calls * FABRIC_SECONDS) * MEMORY_GB
    way_in = counted.arrivals * EVENT_HUB_EVENT + counted.seconds / 3600 * EVENT_HUB_HOUR if hub else 0.0
    spent = (
        counted.arrivals * EVENT_GRID_OPERATIONS * EVENT_GRID_OPERATION
        + way_in
        + _queue_operations(0 if hub else counted.arrivals, counted.wakes_sent) * QUEUE_OPERATION
        + (counted.reads + counted.writes) * TABLE_OPERATION
        + counted.executions * EXECUTION
        + gb_seconds * GB_SECOND
        + counted.log_bytes / 1e9 * LOG_GB
    )
    return spent * MILLION / counted.arrivals


def obvious_dollars(memory_gb: float, *, idempotent: bool = True) -> float:
    """Per million arrivals; the start is over within the second that is billed, and each event writes one line."""
    each = (
        EVENT_GRID_OPERATIONS * EVENT_GRID_OPERATION
        + _queue_operations(1, 0) * QUEUE_OPERATION
        + EXECUTION
        + LEAST_SECONDS * memory_gb * GB_SECOND
        + TABLE_OPERATION * idempotent
        + OBVIOUS_LOG_BYTES / 1e9 * LOG_GB
    )
    return each * MILLION


def _queue_operations(events: int, wakes: int) -> float:
    """Each is put, taken with others of its queue or, a wake, alone, and deleted."""
    return events * (2 + 1 / MESSAGES_TAKEN_AT_ONCE) + 3 * wakes


def _requests(counted: Counted, *, hub: bool) -> float:
    queued = 0 if hub else counted.arrivals
    return (
        counted.arrivals * EVENT_GRID_OPERATIONS
        + _queue_operations(queued, counted.wakes_sent)
        + counted.executions
        + counted.reads
        + counted.writes
        + counted.platform_calls
    )
