"""`unstale history`: the runs of a target, newest first.

Lines are written when a run ends and kept for a while; they are for people and decide nothing. A run that somebody else
started is among them where a start of ours had to give way to it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from local.cli.console import print_json, print_table
from local.cli.deployment import reach, side_of
from shared.refresh.records import read_ended
from shared.refresh.state import Ended


def history(path: Path, name: str, *, limit: int, as_json: bool) -> None:
    """The runs of a target, newest first."""
    side, target = side_of(path, name)
    bodies = reach(side, lambda here: here.world.store.history(target.key, limit))
    lines: list[Ended] = [read_ended(body) for body in bodies]
    if as_json:
        print_json({"target": name, "runs": [msgspec.to_builtins(line) for line in lines]})
        return
    if not lines:
        print(f"{name}: no runs yet")
        return
    columns = ("claimed at", "ended at", "outcome", "whose", "full", "signals", "why", "error")
    rows = [
        (
            line.claimed_at,
            line.ended_at,
            line.outcome,
            "someone else's" if line.foreign else "ours",
            "full" if line.full else "",
            line.signals,
            ", ".join(line.reasons),
            line.error,
        )
        for line in lines
    ]
    print_table(columns, rows)
