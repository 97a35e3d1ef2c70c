"""Sixty hours of the process on one state, by a clock that is moved: memory and files stay where they were."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import timedelta
from pathlib import Path

from local.process.process import Half
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.inbound.messages import Ticked
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Phase, Report, Started, Waker
from shared.targets import Cloud, Schedule, Target
from tests.support.core import GLUE, HandClock, a_target

MINUTE = timedelta(minutes=1)
HOURS, WARM_HOURS = 60, 6
MOST_BYTES = 5_000_000
"""What memory may grow by from hour 6 to hour 60."""
MOST_FILE_BYTES = 8_000_000
"""Of the state and its log. 240 lines of history are some 100 kB; the log is folded in at 1,000 pages of 4 kB."""
EVERY_HALF_HOUR = Schedule("*/30 * * * *")


class QuickPlatform:
    """Each start is a run that is over a minute later; the last hundred are kept, as a platform's list is bounded."""

    capabilities = GLUE

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.started = 0

    def start(self, target: Target, *, full: bool) -> Started | Failure:
        """One more run."""
        self.started += 1
        return Started(f"{target.name}-{self.clock.time.timestamp()}", self.clock.time)

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Succeeded, by now."""
        return Report(run_id, Phase.SUCCEEDED, "SUCCEEDED", self.clock.time - MINUTE, self.clock.time)

    def list(self, target: Target, since: object) -> tuple[Report, ...] | Failure:
        """No answer is ever lost here, so nothing is looked for."""
        raise NotImplementedError(target.name)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Nothing takes so long."""
        raise NotImplementedError(run_id)


def test_sixty_hours_leave_memory_and_files_where_they_were(tmp_path: Path) -> None:
    """Four targets with a schedule each half hour: 480 refreshes, 3,600 ticks, and every wake on its way."""
    clock, told = HandClock(), [0]
    platform = QuickPlatform(clock)
    targets = tuple(a_target(f"view_{number}", schedule=EVERY_HALF_HOUR) for number in range(4))

    def tell(happened: LogEvent) -> None:
        told[0] += happened.what == "run succeeded"

    with StateFile(tmp_path / "unstale.db") as file:
        file.execute("hurrying", "PRAGMA synchronous = OFF")  # nobody cuts the power here
        store = Store(file, Cloud.AWS, clock)

        def ports(waker: Waker, emit: object) -> Ports:
            return Ports(Cloud.AWS, store, platform, waker, clock, lambda: f"t{platform.started}", tell)

        half = Half(Cloud.AWS, Configuration(targets), ports, tell)
        tracemalloc.start()
        try:
            _live(half, clock, hours=WARM_HOURS)
            warm = _in_use()
            _live(half, clock, hours=HOURS - WARM_HOURS)
            grown = _in_use() - warm
        finally:
            tracemalloc.stop()
        assert store.keys("", 100)[0]
    assert told[0] >= 4 * 2 * (HOURS - 1)
    assert grown < MOST_BYTES, f"{grown:,} bytes"
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < MOST_FILE_BYTES


def _live(half: Half, clock: HandClock, *, hours: int) -> None:
    """Tick each minute, and take the wakes that came due meanwhile."""
    for _ in range(hours * 60):
        clock.time += MINUTE
        assert half.take(Ticked())
        for wake in half.take_wakes():
            assert half.take(wake)


def _in_use() -> int:
    """Bytes that Python holds, garbage aside."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
