"""The Functions host before a Storage queue, in simulated time: which calls it makes, and how long instances are busy.

    Event Grid  ->  queue  ->  each instance takes `batchSize` messages at once, and calls the function once for each;
                               it takes more when no more than `newBatchThreshold` calls go on, at once if it may

Calls that go on at the same time are workers of one scheduler: each stands still while a request of its own is under
way, messages arrive meanwhile, and whoever asks the queue first gets what is in it, the host or one of the calls.

It polls as the host's listener does (QueueListener of azure-sdk-for-net): at once after it found something, else 100 ms
later, then ever later, up to `maxPollingInterval`. A call counts as one that goes on until its message is removed.
Instances come and go by the queue's length, hidden messages included, over the calls that one has at once
(QueueTargetScaler), and begin without delay.
https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue and
https://learn.microsoft.com/azure/azure-functions/functions-target-based-scaling.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tests.bench.processes import ROOT
from tests.simulation.scheduler import Scheduler

REQUEST_SECONDS = 0.02
"""Assumed: how long one request to storage takes."""
POLL_SECONDS = 0.1
"""QueuePollingIntervals.Minimum of the WebJobs SDK: the first wait after a poll that found nothing."""
SCALE_SECONDS = 10.0
"""How often it is seen how many instances are wanted: ScaleMetricsSampleInterval of the WebJobs SDK. What the scale
controller of a Flex plan does is not published."""
SCALED_OUT_AT_ONCE, SCALED_IN_AT_ONCE = 4, 1
"""How many instances come at most, by the page on target-based scaling; and go, which is assumed."""
LEAST_SECONDS, ROUNDED_SECONDS = 1.0, 0.1
"""An instance that is active is billed for so long at least, then by this much.

https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#billing
"""


class Listening(NamedTuple):
    """The settings of host.json that say how a queue is listened to."""

    at_once: int = 16
    """`batchSize`."""
    more_below: int = 8
    """`newBatchThreshold`: half of that where host.json says nothing."""
    longest_poll_seconds: float = 60.0
    """`maxPollingInterval`."""

    @property
    def most_at_once(self) -> int:
        """The most calls that go on at once on an instance."""
        return self.at_once + self.more_below


def settings() -> Listening:
    """Read our host.json; `Listening()` is what a host does where host.json says nothing."""
    found = json.loads((ROOT / "functions_azure" / "host.json").read_text(encoding="utf-8"))["extensions"]["queues"]
    longest = float(found["maxPollingInterval"].rpartition(":")[2])
    return Listening(found["batchSize"], found["newBatchThreshold"], longest)


# --- Time ------------------------------------------------------------------------------------------------------------


def stand(scheduler: Scheduler, seconds: float) -> None:
    """Let time pass in the call that is made; before the storm begins none does."""
    if scheduler.is_working:
        scheduler.sleep(seconds)


def arrive(scheduler: Scheduler, rate: float, seconds: float, put: Callable[[int], None]) -> int:
    """Have so many a second arrive, evenly, for so long; how many there will be."""
    numbers = range(int(rate * seconds))
    for number in numbers:
        scheduler.at((number + 1) / rate, partial(put, number))
    return len(numbers)


# --- The host --------------------------------------------------------------------------------------------------------


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
    """An instance with its calls that go on, and the spans in which there were any.

    A span is billed for a second at least. A call that begins within that second prolongs the span, so that no instance
    is billed for more seconds than pass. Billed otherwise, it is at most what each call costs on an instance of its
    own, which stands beside it.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.waits = 0.0
        self.is_full = False
        """Whether it took messages and polls again once few enough calls go on."""
        self.is_wanted = True
        """Whether it takes messages; an instance that is not wanted any more ends with its last call."""
        self._spans: list[tuple[float, float]] = []

    def add(self, begins: float, ends: float) -> None:
        """Note a call that is over, in the order of their ends."""
        while self._spans and begins <= self._billed_to(*self._spans[-1]):
            before, until = self._spans.pop()
            begins, ends = min(before, begins), max(until, ends)
        self._spans.append((begins, ends))

    @staticmethod
    def _billed_to(begins: float, ends: float) -> float:
        return begins + bill(ends - begins)

    @property
    def bill(self) -> float:
        """The seconds that this instance is billed for."""
        return sum(bill(ends - begins) for begins, ends in self._spans)


class QueueHost:
    """A queue, and the instances that the host runs before it."""

    def __init__(self, scheduler: Scheduler, call: Callable[[bytes], None], listening: Listening) -> None:
        """`call` calls the function for one message, in a worker of the scheduler."""
        self._scheduler, self._call, self._listening = scheduler, call, listening
        self._waiting: deque[bytes] = deque()
        self._instances: list[Instance] = []
        self._length = 0
        """Messages that are not removed, whether they wait or not."""
        self._calls, self._alone, self._operations = 0, 0.0, 0
        self._add_instance()
        scheduler.at(scheduler.now + SCALE_SECONDS, self._scale)

    def put(self, body: bytes) -> None:
        """Put a message, as Event Grid does."""
        self._operations += 1
        self._length += 1
        self._waiting.append(body)

    def take(self, most: int) -> Sequence[bytes]:
        """Get Messages, of a function: counted also where nothing is there."""
        self._operations += 1
        found = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        stand(self._scheduler, REQUEST_SECONDS)
        return found

    def remove(self) -> None:
        """Delete Message, of a function or of the host."""
        self._operations += 1
        self._length -= 1
        stand(self._scheduler, REQUEST_SECONDS)

    @property
    def busy(self) -> Busy:
        """All calls that are over so far."""
        active = sum(each.bill for each in self._instances)
        return Busy(self._calls, len(self._instances), active, self._alone, self._operations)

    def _scale(self) -> None:
        """Have as many instances as the queue's length asks for, and one at least: it is up all the time."""
        up = [each for each in self._instances if each.is_wanted]
        wanted = max(math.ceil(self._length / self._listening.most_at_once), 1) if self._waiting else 1
        for _ in range(min(wanted - len(up), SCALED_OUT_AT_ONCE)):
            self._add_instance()
        for instance in up[max(wanted, len(up) - SCALED_IN_AT_ONCE) :]:
            instance.is_wanted = False
        self._scheduler.at(self._scheduler.now + SCALE_SECONDS, self._scale)

    def _add_instance(self) -> None:
        instance = Instance()
        self._instances.append(instance)
        self._scheduler.spawn(self._scheduler.now, partial(self._poll, instance))

    def _poll(self, instance: Instance) -> None:
        """Get Messages, again and again as long as that finds something and the calls that go on are few.

        Counted until nothing was found for so long that it waits the longest: polls of an idle queue cost what they
        cost anyway.
        """
        while instance.is_wanted and not instance.is_full:
            is_idle = instance.waits >= self._listening.longest_poll_seconds and not self._waiting
            found = self.take(self._listening.at_once)
            self._operations -= is_idle
            instance.calls += len(found)
            for body in found:
                self._scheduler.spawn(self._scheduler.now, partial(self._process, instance, body))
            if not found:
                instance.waits = min(max(instance.waits * 2, POLL_SECONDS), self._listening.longest_poll_seconds)
                stand(self._scheduler, instance.waits)
            else:
                instance.waits = 0.0
                instance.is_full = instance.calls > self._listening.more_below

    def _process(self, instance: Instance, body: bytes) -> None:
        """Call the function for a message, and remove that."""
        begins = self._scheduler.now
        self._call(body)
        ends = self._scheduler.now
        self._calls += 1
        self._alone += bill(ends - begins)
        instance.add(begins, ends)
        self.remove()
        instance.calls -= 1
        if instance.is_full and instance.calls <= self._listening.more_below:
            instance.is_full = False
            self._scheduler.spawn(self._scheduler.now, partial(self._poll, instance))


def bill(seconds: float) -> float:
    """The seconds that are billed for an instance that was active for so long."""
    return max(LEAST_SECONDS, math.ceil(round(seconds / ROUNDED_SECONDS, 6)) * ROUNDED_SECONDS)
