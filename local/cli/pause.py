"""`unstale pause` and `unstale resume`: start nothing, forget nothing; and start again.

While a target is paused whatever arrives is remembered, and a run that goes on is followed to its end. After a resume
one run covers all of it. With `--all` it is the record of the deployment that says so, which new targets heed as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from local.cli.deployment import PLACES, Side, ask, each_side, read_config, side_of, tell
from shared.refresh.inputs import PauseAsked, ResumeAsked
from shared.refresh.sweep import pause_all, resume_all
from shared.targets import Cloud


def pause(path: Path, name: str | None) -> None:
    """Start nothing, forget nothing."""
    if name is None:
        done = "paused; whatever runs is followed to its end"
        _ask_all(path, lambda side: pause_all(side.ports.store, side.ports.clock.now()), done)
        return
    side, target = side_of(path, name)
    ask(side, target, PauseAsked())
    print(f"{name}: paused; what arrives is remembered")


def resume(path: Path, name: str | None) -> None:
    """Start again."""
    if name is None:
        _ask_all(path, lambda side: resume_all(side.ports.store), "resumed; the next ticks reconcile every target")
        return
    side, target = side_of(path, name)
    ask(side, target, ResumeAsked())
    print(f"{name}: resumed")


def _ask_all(path: Path, ask: Callable[[Side], None], done: str) -> None:
    """Ask every cloud that has targets. Where one is away the other is asked, and what is said names it."""

    def ask_one(side: Side) -> Cloud:
        """Ask one cloud; the answer is its name, to be printed."""
        ask(side)
        return side.cloud

    clouds, away = each_side(read_config(path), path, ask_one)
    where = f" on {PLACES[clouds[0]]}" if away else ""
    print(f"all targets{where}: {done}")
    if away:
        tell(away)
