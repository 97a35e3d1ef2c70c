"""`unstale refresh`: owe a target a refresh.

The command writes a signal into the record and sends the wake by which the deployed function sees it; it calls neither
Glue nor Fabric, and needs no right to. A target that is blocked or was cancelled by a person is tried at once: whoever
asks has seen why it stood still. `unstale login` uses the same way for what a new sign-in may have mended.
"""

from __future__ import annotations

from pathlib import Path

from local.cli.deployment import ask, open_side, reach, read_config, side_of
from local.cli.errors import UsageError
from shared.refresh.inputs import ProbeAsked, Signalled
from shared.refresh.records import read_state
from shared.refresh.state import Blocked, Signal
from shared.targets import Cloud


def refresh(path: Path, name: str, *, full: bool) -> None:
    """Owe the target a refresh; a blocked one is tried at once."""
    side, target = side_of(path, name)
    if full and side.cloud is Cloud.AZURE:
        message = f"{name}: Fabric decides by itself whether a refresh is full; an execution definition can say so"
        raise UsageError(message)
    signal = Signal(side.world.clock.now(), "asked on the command line", full=full, asked=True)
    ask(side, target, Signalled(signal), ProbeAsked())
    print(f"{name}: asked; `unstale status` shows how it goes")


def try_blocked(path: Path) -> list[str]:
    """Let the blocked Fabric targets be tried at once, because what blocked them may be mended; their names."""
    configuration = read_config(path)
    side = open_side(Cloud.AZURE, configuration, path)
    targets = list(side.engine.targets.values())
    found = reach(side, lambda here: here.world.store.load_many([target.key for target in targets]))
    blocked = [
        target
        for target, document in zip(targets, found, strict=True)
        if isinstance(read_state(document.body).hold, Blocked)
    ]
    for target in blocked:
        ask(side, target, ProbeAsked())
    return [target.name for target in blocked]
