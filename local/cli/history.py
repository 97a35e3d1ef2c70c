"""`unstale history`: the runs of a target, newest first, and before them the one that goes on.

Lines are written when a run ends and kept for a while; they are for people and decide nothing. A run that somebody else
started is among them where a start of ours had to give way to it.

A line has what the run was to cover, by its number and a few reasons, since a storm of a million events has one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from local.cli.console import print_json, print_table
from local.cli.deployment import Side, reach, side_of
from shared.refresh.records import read_ended, read_state
from shared.refresh.state import Ended, Run, Situation
from shared.targets import Target


def history(path: Path, name: str, *, limit: int, as_json: bool) -> None:
    """The run that goes on, and the runs of a target that ended, newest first."""
    side, target = side_of(path, name)
    run, bodies = reach(side, lambda here: _read(here, target, limit))
    lines: list[Ended] = [read_ended(body) for body in bodies]
    if as_json:
        running = msgspec.to_builtins(run) if run else None
        print_json({"target": name, "running": running, "runs": [msgspec.to_builtins(line) for line in lines]})
        return
    if not (run or lines):
        print(f"{name}: no runs yet")
        return
    columns: tuple[str, ...] = ("claimed at", "ended at", "outcome", "whose", "full", "signals", "why", "error")
    rows: list[tuple[object, ...]] = [*([_running_cells(run)] if run else ()), *map(_ended_cells, lines)]
    if any(line.versions for line in lines):
        # Known only where looks at the sources tell of it: a snapshot of Iceberg, a commit of Delta.
        versions = [", ".join(f"{source} {version}" for source, version in line.versions.items()) for line in lines]
        read = [*([""] if run else ()), *versions]
        columns, rows = (*columns, "read"), [(*row, cell) for row, cell in zip(rows, read, strict=True)]
    print_table(columns, rows)


def _read(side: Side, target: Target, limit: int) -> tuple[Run | None, Sequence[bytes]]:
    """The run in the target's record, and the lines that the store keeps of those that ended."""
    store = side.ports.store
    return read_state(store.load(target.key).body).run, store.history(target.key, limit)


def _running_cells(run: Run) -> tuple[object, ...]:
    """The line of a run that goes on: it has no end yet, and no error."""
    covering = run.covering
    whose = "someone else's" if run.situation is Situation.FOREIGN else "ours"
    reasons = ", ".join(covering.reasons) if covering else ""
    signals = covering.at_least if covering else 0
    return (run.claimed_at, None, "running", whose, "full" if run.full else "", signals, reasons, "")


def _ended_cells(line: Ended) -> tuple[object, ...]:
    """The line of a run that ended, with what the platform said where it failed."""
    return (
        line.claimed_at,
        line.ended_at,
        line.outcome,
        "someone else's" if line.foreign else "ours",
        "full" if line.full else "",
        line.signals,
        ", ".join(line.reasons),
        line.error,
    )
