"""Pictures for tests of the page: targets with a history, in seconds after noon."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from local.page.picture import Picture, picture
from shared.refresh.evidence import Evidence
from shared.refresh.state import Deployment, Ended, Outcome, State
from tests.support.core import GLUE, NOON, POLICY, a_target, at, seconds

DAY = 86_400
OUTCOMES = (Outcome.SUCCEEDED,) * 16 + (Outcome.FAILED, Outcome.SPARED, Outcome.SKIPPED, Outcome.CANCELLED)


def line(
    oldest: float | None, claimed: float, ended: float, outcome: Outcome = Outcome.SUCCEEDED, **more: Any
) -> Ended:
    """A line of history, in seconds after noon."""
    fields: dict[str, Any] = {"signals": 1, "oldest": None if oldest is None else at(oldest), **more}
    return Ended("t", outcome, at(claimed), at(ended), **fields)


def drawn(
    *lines: Ended, now: float = DAY, state: State | None = None, objective: float | None = 300, name: str = "daily"
) -> Picture:
    """The picture of a target with that history."""
    policy = replace(POLICY, objective=seconds(objective) if objective else None)
    known = state or State(fresh_as_of=NOON)
    return picture(Evidence(a_target(name, policy=policy), known, Deployment(), GLUE, at(now)), lines)


def many(targets: int, runs: int) -> list[Picture]:
    """Many targets with many runs in the 30 days before noon, with ids, reasons and errors as long as true ones."""
    random = Random(22)
    return [_one_of_many(f"view_{number:03}", runs, random) for number in range(targets)]


def _one_of_many(name: str, runs: int, random: Random) -> Picture:
    every = 30 * DAY / runs
    lines = []
    for number in range(runs):
        arrived = -30 * DAY + number * every + random.uniform(0, every / 10)
        claimed = arrived + random.uniform(30, every / 4)
        outcome = random.choice(OUTCOMES)
        lines.append(
            line(
                arrived,
                claimed,
                claimed + random.uniform(40, every / 4),
                outcome,
                run_id=str(UUID(int=random.getrandbits(128))),
                signals=random.randint(1, 500),
                reasons=(f"landing/orders/2026/11/28/part-{number:05}-c000.snappy.parquet", "new data in sales.orders"),
                error="an executor was lost, and the stage with it" if outcome is Outcome.FAILED else "",
                dpu_seconds=random.uniform(10, 4000),
                full=random.random() < 0.1,
                versions={"sales.orders": str(random.getrandbits(62))},
            )
        )
    return drawn(*lines, now=0, objective=timedelta(hours=1).total_seconds(), name=name)
