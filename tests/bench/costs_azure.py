"""What a million arrivals cost on Azure, from calls that were counted, beside a function that starts a run an event.

List prices of East US without free grants, looked up on 2026-11-25. What a refresh costs is in no sum. An instance is
billed for the time in which at least one of its calls goes on; beside it stands what the same costs if each call had an
instance to itself, which is the most that it can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.bench.parts import Measured, Row
from tests.bench.queue_host import LEAST_SECONDS, REQUEST_SECONDS, Listening, QueueHost, arrive
from tests.simulation.scheduler import Scheduler

MILLION = 1_000_000

EXECUTION = 0.40 / MILLION
GB_SECOND = 0.000026
"""https://modal.com/blog/azure-function-pricing-guide, May 2025: Flex Consumption, on demand."""
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
MEMORY_GB, DEFAULT_MEMORY_GB = 0.5, 2.0
"""The instance size of the template; and the one that a function app has by default."""
FABRIC_SECONDS = 1.0
"""Assumed: how long one call of Fabric takes."""
MONTH_SECONDS = 30 * 86_400
POLLS_A_SECOND = 2 / 2
"""Two idle queues, each looked at every two seconds (`maxPollingInterval`) while an instance is up."""
TICK_READS = 9


MOST_DOLLARS = 3.0
"""For a million arrivals, one event a message."""


class Counted(NamedTuple):
    """What a storm took, to the end of the last run that it brought about."""

    arrivals: int
    executions: int
    """Calls of all functions."""
    active_seconds: float
    """Seconds for which instances are billed."""
    alone_seconds: float
    """The same if each execution had an instance to itself."""
    queue_operations: int
    table_operations: int
    platform_calls: int
    starts: int
    log_bytes: int
    hub_seconds: float = 0.0
    """How long there is an event hub; 0 where there is none."""


def priced(way: str, counted: Counted, obvious: Counted, without: Counted, limit: float | None = None) -> Iterator[Row]:
    """Requests, executions, starts and dollars per million arrivals of one way in, against the obvious functions."""
    scale = MILLION / counted.arrivals
    for name, each in (("", counted), (", the obvious", obvious), (", the obvious without idempotency", without)):
        yield Measured(f"{way}{name}: requests per million arrivals", _requests(each) * MILLION / each.arrivals, "")
    yield Measured(f"{way}: executions per million arrivals", counted.executions * scale, "")
    yield Measured(f"{way}: refreshes started per million arrivals", counted.starts * scale, "")
    others = {"obvious": dollars(obvious), "obvious without idempotency": dollars(without)}
    yield Measured(f"{way}: list price per million arrivals", dollars(counted), "$", limit, others=others)
    others = {"obvious": dollars(obvious, alone=True), "obvious without idempotency": dollars(without, alone=True)}
    alone = dollars(counted, alone=True)
    yield Measured(f"{way}: the same, each call on an instance of its own", alone, "$", others=others)


def standing() -> Iterator[Measured]:
    """A month without an arrival: ticks, and polls of both queues if an instance is up all the time."""
    ticks = MONTH_SECONDS / 60
    each = EXECUTION + LEAST_SECONDS * MEMORY_GB * GB_SECOND + TICK_READS * TABLE_OPERATION
    polls = MONTH_SECONDS * POLLS_A_SECOND * QUEUE_OPERATION
    yield Measured("a month without an arrival, list price: ticks", ticks * each, "$")
    yield Measured("a month without an arrival, list price: polls, at most", polls, "$")


def dollars(counted: Counted, memory_gb: float = MEMORY_GB, *, alone: bool = False) -> float:
    """Per million arrivals."""
    seconds = counted.alone_seconds if alone else counted.active_seconds
    way_in = counted.arrivals * EVENT_HUB_EVENT + counted.hub_seconds / 3600 * EVENT_HUB_HOUR
    spent = (
        counted.arrivals * EVENT_GRID_OPERATIONS * EVENT_GRID_OPERATION
        + (way_in if counted.hub_seconds else 0.0)
        + counted.queue_operations * QUEUE_OPERATION
        + counted.table_operations * TABLE_OPERATION
        + counted.executions * EXECUTION
        + seconds * memory_gb * GB_SECOND
        + counted.log_bytes / 1e9 * LOG_GB
    )
    return spent * MILLION / counted.arrivals


@cache
def obvious(rate: float, seconds: float, *, idempotent: bool) -> Counted:
    """A function for each event: a row of a table where idempotent, one start, one line of the log.

    It has the settings of a host.json that says nothing: with ours, by which a call takes along what waits, the slowest
    of many starts would keep the next ones waiting.
    """
    scheduler = Scheduler()
    took = FABRIC_SECONDS + REQUEST_SECONDS * idempotent
    host = QueueHost(scheduler, lambda _: scheduler.sleep(took), Listening())
    put = arrive(scheduler, rate, seconds, lambda _: host.put(b""))
    scheduler.run(seconds * 2)  # what is left when the last has arrived is called for in the second half
    busy = host.busy
    if busy.calls != put:
        raise RuntimeError(f"{busy.calls} calls for {put} messages")
    return Counted(
        arrivals=put,
        executions=busy.calls,
        active_seconds=busy.active_seconds,
        alone_seconds=busy.alone_seconds,
        queue_operations=busy.operations,
        table_operations=put * idempotent,
        platform_calls=put,
        starts=put,
        log_bytes=put * OBVIOUS_LOG_BYTES,
    )


def _requests(counted: Counted) -> float:
    return (
        counted.arrivals * EVENT_GRID_OPERATIONS
        + counted.queue_operations
        + counted.executions
        + counted.table_operations
        + counted.platform_calls
    )
