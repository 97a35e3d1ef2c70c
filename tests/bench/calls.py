"""Calls that one step costs: requests to store, queue and platform, counted as the clouds count them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from io import StringIO

from tests.bench.events import glue_targets, policy, s3_event
from tests.bench.parts import Measured, Row
from tests.bench.simulated import Deployment

MOST_OF_A_START, MOST_OF_A_POLL = 6, 4
MOST_POLLS = {timedelta(minutes=1): 5, timedelta(hours=1): 20}
"""Polls of a run that takes so long, where the runs before took as long."""
DEFAULTS = policy(timedelta(seconds=30), timedelta(minutes=5), timedelta(minutes=2))
BEFORE = 4
"""Runs before the one whose polls are counted, from whose times the first poll follows."""


def measure() -> Iterator[Row]:
    """All of it; takes some seconds."""
    with redirect_stdout(StringIO()):
        steps, polls = _wake_steps(), {takes: _polls_of(takes) for takes in MOST_POLLS}
    yield Measured("calls of a wake that starts", steps["start"], "", MOST_OF_A_START)
    yield Measured("calls of a wake that polls", steps["poll"], "", MOST_OF_A_POLL)
    yield Measured("calls of an arrival that is stored", steps["arrival"], "")
    yield Measured("calls of an arrival that is absorbed", steps["absorbed"], "")
    yield Measured("calls of a wake that ends a run", steps["end"], "")
    for takes, count in polls.items():
        yield Measured(f"polls of a run of {takes.total_seconds() / 60:.0f} minutes", count, "", MOST_POLLS[takes])


def _wake_steps() -> dict[str, int]:
    """The calls of each step of one refresh, from the arrival to the end of the run."""
    made = Deployment(glue_targets(1, DEFAULTS), takes=timedelta(minutes=5))
    made.settle()
    made.pass_time(timedelta(minutes=10))
    steps = {"arrival": _arrival(made, "1"), "absorbed": _arrival(made, "2")}
    while {"start", "poll", "end"} - steps.keys():
        made.clock.time += timedelta(seconds=1)
        for wake in made.waker.take_due():
            made.forget_counts()
            runs = made.store.history(wake.key, 100)
            made.wake(wake)
            ended = len(made.store.history(wake.key, 100)) > len(runs)
            kind = "start" if made.platform.starts else "end" if ended else "poll" if made.platform.polls else "other"
            steps.setdefault(kind, made.calls)
    return steps


def _arrival(made: Deployment, name: str) -> int:
    made.forget_counts()
    made.take([s3_event(0, name, made.clock.now())])
    return made.calls


def _polls_of(takes: timedelta) -> int:
    """Polls of a run, by wakes and ticks alike, after some that took as long."""
    made = Deployment(glue_targets(1, DEFAULTS), takes)
    for number in range(BEFORE + 1):
        made.forget_counts()
        made.take([s3_event(0, str(number), made.clock.now())])
        made.pass_time(takes + timedelta(minutes=10))
    if made.platform.starts != 1:
        raise RuntimeError(f"{made.platform.starts} runs of one arrival")
    return made.platform.polls
