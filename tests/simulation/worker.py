"""One invocation of the function: all ports of the core in one, each effect a place to stand still, freeze or die."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.refresh.ports import Capabilities, Document, Report, Started, StoreDownError
from shared.refresh.state import Wake
from shared.targets import Target
from tests.simulation.faults import Faults
from tests.simulation.platform import FakePlatform
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import SimStore

T = TypeVar("T")

HOT = 40
"""Calls to the platform in one invocation, beyond which it does not wait for anything any more."""


class Hot(AssertionError):  # noqa: N818 - named for what happened
    """A worker asks the platform over and over."""


class Worker:
    """Store, platform, waker and clock as one worker has them; its clock is ahead of true time by `offset`."""

    def __init__(  # noqa: PLR0917 - what a worker is made of
        self,
        scheduler: Scheduler,
        faults: Faults,
        store: SimStore,
        platform: FakePlatform,
        post: Callable[[Wake, float], None],
        at: Callable[[float], datetime],
        waker: tuple[timedelta, bool],
    ) -> None:
        self.scheduler, self.faults = scheduler, faults
        self.records, self.service = store, platform
        self.post, self._at = post, at
        self.reach, self.relays = waker
        self.offset = faults.offset()
        scheduler.workers += 1
        self.number = scheduler.workers
        self.capabilities: Capabilities = platform.character.capabilities
        self.reads_together = self.capabilities.foreign_covers
        """As the store of the cloud that has this platform: DynamoDB does, Tables do not."""
        self.calls = 0
        self.trace: Callable[[str], None] | None = None
        self.saved_at: float | None = None
        self.read_at = 0.0
        """When a record was read last by itself, as one is that may be saved: what is as it should be then is not."""

    def pause(self, effect: str) -> None:
        """Stand still at an effect of somebody else's, such as a letter."""
        self._pause(effect)

    def _pause(self, effect: str) -> None:
        if self.trace:
            self.trace(effect)
        self.scheduler.sleep(self.faults.pause(effect))

    # --- Clock -------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """What this worker takes for the time."""
        return self._at(self.scheduler.now + self.offset)

    def monotonic(self) -> float:
        """Counts frozen time."""
        return self.scheduler.now

    def rest(self, most: timedelta) -> None:
        """A part of it that differs from worker to worker."""
        self.scheduler.sleep(most.total_seconds() * (self.number * 0.618034 % 1))

    # --- Store -------------------------------------------------------------------------------------------------------

    def load(self, key: str) -> Document:
        """One moment, between two pauses."""
        self._pause("load>")
        if self.faults.store("load"):
            raise StoreDownError
        document = self.records.load(key)
        self.read_at = self.scheduler.now
        self._pause("load<")
        return document

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """The store may be down before, or after: then nobody knows that it is saved."""
        return self._write("save", lambda: self._save(document, body, wake_at))

    def _save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        saved = self.records.save(document, body, wake_at)
        self.saved_at = self.scheduler.now
        return saved

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """One moment for all of them: each has its own in a store, but here that is one thing to go wrong less."""
        self._pause("load>")
        if self.faults.store("load"):
            raise StoreDownError
        documents = [self.records.load(key) for key in keys]
        self._pause("load<")
        return documents

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """A line of history."""
        self._write("append", lambda: self.records.append(key, entry_id, body, expires_at))

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """One moment."""
        self._pause("history>")
        lines = sorted((entry, body) for (about, entry), body in self.records.history.items() if about == key)
        return [body for _, body in reversed(lines)][:limit]

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """One moment."""
        self._pause("due>")
        return self.records.due(now, limit)

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """One moment."""
        self._pause("keys>")
        return self.records.keys(cursor, limit)

    def _write(self, effect: str, write: Callable[[], T]) -> T:
        self._pause(f"{effect}>")
        down = self.faults.store(effect)
        if down == "before":
            raise StoreDownError
        written = write()
        self._pause(f"{effect}<")
        if down:
            raise StoreDownError
        return written

    # --- Waker -------------------------------------------------------------------------------------------------------

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Post a wake."""
        self._write("send", lambda: self.post(wake, delay.total_seconds()))

    # --- Platform ----------------------------------------------------------------------------------------------------

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """Send a start."""
        return self._call("start", lambda: self.service.start(target, full=full))

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Send a poll."""
        return self._call("get", lambda: self.service.get(target, run_id))

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """Send a look-up."""
        return self._call("list", lambda: self.service.list(target, since))

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Send a cancel."""
        return self._call("cancel", lambda: self.service.cancel(target, run_id))

    def _call(self, operation: str, do: Callable[[], T]) -> T | Failure:
        """Once sent it takes effect whatever becomes of the worker, and the worker waits no longer than the time-out.

        sent       takes effect                answered
          |-- effect_after --|-- answer_after --|
          |--------------- call_timeout -------------|  later: outcome unknown
        """
        self.calls += 1
        if self.calls > HOT:
            raise Hot(f"{self.calls} calls in one invocation")
        fault, timeout = self.faults.call(operation), self.capabilities.call_timeout.total_seconds()
        refused = _refused(fault.failure, fault.retry_after)
        answers: list[T] = []
        if fault.failure != "lost on the way" and refused is None:
            self.scheduler.at(self.scheduler.now + fault.effect_after, lambda: answers.append(do()))
        if self.trace:
            self.trace(f"{operation}> {fault}")
        takes = fault.effect_after + fault.answer_after
        self.scheduler.sleep(min(takes + 0.001, timeout) + self.faults.pause(f"{operation}<"))
        if refused is not None:
            return refused
        if takes > timeout or not answers or fault.failure:
            return LOST
        if self.trace:
            self.trace(f"{operation}< {answers[0]}")
        return answers[0]


LOST = Failure("ReadTimeout", "no answer", Fault.NETWORK, Delivery.UNKNOWN, retry_safe=False)


def _refused(kind: str, retry_after: float | None) -> Failure | None:
    wait = None if retry_after is None else timedelta(seconds=retry_after)
    match kind:
        case "not sent":
            return Failure("ConnectTimeout", "not connected", Fault.NETWORK, Delivery.NOT_SENT, retry_safe=True)
        case "rejected":
            return Failure("Busy", "try again", Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, retry_after=wait)
        case "throttled":
            throttled = FailureKind.THROTTLED
            return Failure("Throttling", "slow down", Fault.PLATFORM, Delivery.REJECTED, True, throttled, wait)
        case _:
            return None
