"""When a run is polled, by numbers worked out by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.refresh.state import Situation
from shared.refresh.timing import poll_at_usual_end
from tests.support.core import a_run, at, seconds


@pytest.mark.parametrize(
    ("now", "retry_after", "polled"),
    [
        (0, None, 30),
        (40, None, 80),
        (700, None, 1000),
        (990, None, 1000),
        (998, None, 1003),
        (990, seconds(50), 1040),
        (1000, None, 1060),
        (1000, seconds(42), 1042),
        (1100, seconds(42), 1142),
        (1100, None, 1160),
    ],
)
def test_a_run_is_polled_seldom_before_its_usual_end(now: float, retry_after: timedelta | None, polled: float) -> None:
    """After as long again as it has run, up to the end of 1,000 s; from then on like any other; Retry-After counts."""
    run = a_run(Situation.RUNNING)
    assert poll_at_usual_end(run, at(now), retry_after, seconds(1000)) == at(polled)
