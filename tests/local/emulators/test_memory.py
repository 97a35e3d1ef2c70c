"""The store and the waker in memory keep the contracts of their ports."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.refresh.ports import Store
from shared.refresh.state import Wake
from tests.support.store_contract import NOON, SECOND, VIEW, StoreContract


class TestMemoryStore(StoreContract):
    """The store in memory is a store."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty one."""
        return MemoryStore()


class StoppedClock:
    """A clock that stands where the test puts it."""

    time = NOON

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.time.timestamp()


def test_wakes_come_out_when_they_are_due() -> None:
    """Each once, none before its time, the earliest first; equal ones in the order of their sending."""
    clock = StoppedClock()
    waker = MemoryWaker(clock)
    near, same, far = (Wake(VIEW, NOON + n * SECOND, version) for n, version in ((1, "1"), (1, "2"), (2, "3")))
    waker.send(far, 2 * SECOND)
    waker.send(near, SECOND)
    waker.send(same, SECOND)
    assert waker.take_due() == []
    clock.time += timedelta(seconds=1)
    assert waker.take_due() == [near, same]
    clock.time += timedelta(seconds=1)
    assert waker.take_due() == [far]
    assert waker.take_due() == []
