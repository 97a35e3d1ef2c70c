"""The Functions host before a Storage queue, in simulated time: which calls it makes, and how long instances are busy.

    Event Grid  ->  queue  ->  each instance takes `batchSize` messages at once, and calls the function once for each;
                               it takes more when no more than `newBatchThreshold` calls go on

It polls as the host's listener does: 100 ms after it found something, then ever later, up to `maxPollingInterval`. What
waits too long gets one instance more. https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue
and https://learn.microsoft.com/azure/azure-functions/functions-target-based-scaling. Settings are those of host.json.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.bench.processes import ROOT

SETTINGS = json.loads((ROOT / "functions_azure" / "host.json").read_text(encoding="utf-8"))["extensions"]["queues"]
AT_ONCE: int = SETTINGS["batchSize"]
MORE_BELOW: int = SETTINGS["newBatchThreshold"]
POLL_SECONDS = 0.1
"""QueuePollingIntervals.Minimum of the WebJobs SDK: between two polls of which the first found something."""
LONGEST_POLL_SECONDS = float(SETTINGS["maxPollingInterval"].rpartition(":")[2])
STEP_SECONDS = 0.05
SCALE_SECONDS = 1.0
"""Assumed: how often an instance may be added. Slower scaling lets more wait, which then is taken along."""
LEAST_SECONDS, ROUNDED_SECONDS = 1.0, 0.1
"""An instance that is active is billed for so long at least, then by this much.

https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#billing
"""

Call = Callable[[bytes], float]
"""Calls the function for one message; returns the seconds that the call takes."""


class Busy(NamedTuple):
    """What the calls of one function took."""

    calls: int
    instances: int
    active_seconds: float
    """Seconds for which instances are billed: the time in which at least one call goes on, for each instance."""
    alone_seconds: float
    """The same if each call had an instance to itself, which is the most that it can be."""
    operations: int
    """Requests to the queue: by Event Grid, which puts, by the host and by the function."""


class Instance:
    """An instance with its calls that go on, and the spans in which there were any."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.spans: list[list[float]] = []
        self.polls_at = 0.0
        self.waits = POLL_SECONDS

    def begin(self, now: float, seconds: float) -> None:
        """Begin a call; a span that it overlaps becomes longer."""
        self.ends.append(now + seconds)
        if self.spans and now <= self.spans[-1][1]:
            self.spans[-1][1] = max(self.spans[-1][1], now + seconds)
        else:
            self.spans.append([now, now + seconds])

    @property
    def bill(self) -> float:
        """The seconds that this instance is billed for."""
        return sum(bill(end - begin) for begin, end in self.spans)

    def in_flight(self, now: float) -> int:
        """How many calls go on."""
        self.ends = [end for end in self.ends if end > now]
        return len(self.ends)


class QueueHost:
    """A queue, and the instances that the host runs before it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._waiting: deque[bytes] = deque()
        self._instances = [Instance()]
        self._scaled_at = 0.0
        self._calls, self._alone, self._operations = 0, 0.0, 0

    def put(self, body: bytes) -> None:
        """Put a message, as Event Grid does."""
        self._operations += 1
        self._waiting.append(body)

    def take(self, most: int) -> Sequence[bytes]:
        """Get Messages, of a function: counted also where nothing is there."""
        self._operations += 1
        return self._taken(most)

    def remove(self) -> None:
        """Delete Message."""
        self._operations += 1

    def step(self, now: float) -> None:
        """Have each instance poll that may, and add an instance where too much waits."""
        for instance in self._instances:
            if now >= instance.polls_at and instance.in_flight(now) <= MORE_BELOW:
                self._poll(instance, now)
        if len(self._waiting) > (AT_ONCE + MORE_BELOW) * len(self._instances) and now - self._scaled_at > SCALE_SECONDS:
            self._instances.append(Instance())
            self._scaled_at = now

    @property
    def busy(self) -> Busy:
        """All calls so far."""
        active = sum(each.bill for each in self._instances)
        return Busy(self._calls, len(self._instances), active, self._alone, self._operations)

    def _taken(self, most: int) -> Sequence[bytes]:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _poll(self, instance: Instance, now: float) -> None:
        """Get Messages; counted only where there are some: polls of an idle queue cost what they cost anyway."""
        found = self._taken(AT_ONCE)
        self._operations += bool(found)
        instance.waits = POLL_SECONDS if found else min(instance.waits * 2, LONGEST_POLL_SECONDS)
        instance.polls_at = now + instance.waits
        for body in found:
            seconds = self._call(body)
            self.remove()
            self._calls += 1
            self._alone += bill(seconds)
            instance.begin(now, seconds)


def moments(seconds: float) -> Iterator[float]:
    """The moments of so long a time."""
    return (number * STEP_SECONDS for number in range(1, round(seconds / STEP_SECONDS) + 1))


def bill(seconds: float) -> float:
    """The seconds that are billed for an instance that was active for so long."""
    return max(LEAST_SECONDS, math.ceil(round(seconds / ROUNDED_SECONDS, 6)) * ROUNDED_SECONDS)
