"""`unstale refresh`: owe a target a refresh, and with `--wait` follow it to its end.

The command writes a signal into the record and sends the wake by which the deployed function sees it; it calls neither
Glue nor Fabric, and needs no right to. A target that is blocked or was cancelled by a person is tried at once: whoever
asks has seen why it stood still. `unstale login` uses the same way for what a new sign-in may have mended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from local.cli.deployment import Side, ask, open_side, reach, read_config, side_of
from local.cli.errors import NotWellError, UsageError
from local.cli.progress import FollowedRefresh
from shared.refresh.evidence import PAST_DUE, WORK_CURE, Evidence, evidence_on
from shared.refresh.explain import held_because, step
from shared.refresh.inputs import ProbeAsked, Signalled
from shared.refresh.records import read_ended, read_state
from shared.refresh.state import Blocked, Ended, Outcome, Paused, Signal
from shared.targets import Cloud, Target
from shared.times import span

POLL_SECONDS = 2.0
"""Between two reads of the record while a refresh is followed. A run takes a minute or more; a read costs little: a
minute of watching is thirty of them."""
LINES = 5
"""Lines of history that are looked at: one run ends at a time, and the read comes every two seconds."""


def refresh(
    path: Path, name: str, *, full: bool, wait: bool = False, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Owe the target a refresh; a blocked one is tried at once. With `wait`, raises `NotWellError` if it fails.

    The runs that are known already are noted before the question is asked: the one that ends next may be one of those,
    which read its sources too early to count for whoever asks now.
    """
    side, target = side_of(path, name)
    if full and side.cloud is Cloud.AZURE:
        message = f"{name}: Fabric decides by itself whether a refresh is full; an execution definition can say so"
        raise UsageError(message)
    before = reach(side, lambda here: _tokens(here, target))
    signal = Signal(side.ports.clock.now(), "asked on the command line", full=full, asked=True)
    ask(side, target, Signalled(signal), ProbeAsked())
    evidence = reach(side, lambda here: _read(here, target))
    if _is_paused(evidence):
        print(f"{name}: asked, but nothing will start: {held_because(evidence)}")
        if wait:
            raise NotWellError
        return
    if wait:
        print(f"{name}: asked", flush=True)
        _follow(side, target, before, sleep)
    else:
        print(f"{name}: asked; `unstale status` shows how it goes")


def _read(side: Side, target: Target) -> Evidence:
    """Read what the records say of a target now."""
    ports = side.ports
    return evidence_on(target, ports.store, ports.platform.capabilities, ports.clock.now())


def _is_paused(evidence: Evidence) -> bool:
    """Whether a person wants no starts, of this target or of all: then `refresh` is remembered and starts nothing."""
    return isinstance(evidence.state.hold, Paused) or evidence.deployment.paused_since is not None


# --- Following -------------------------------------------------------------------------------------------------------


def _tokens(side: Side, target: Target) -> frozenset[str]:
    """The runs that are known already: the one that goes on read its sources before this refresh was asked for."""
    run = read_state(side.ports.store.load(target.key).body).run
    ended = (read_ended(body).token for body in side.ports.store.history(target.key, LINES))
    return frozenset({*ended, *([run.token] if run else ())})


def _follow(side: Side, target: Target, before: frozenset[str], sleep: Callable[[float], object]) -> None:
    """Show how the refresh goes until it has ended; raises `NotWellError` unless it succeeded."""
    with FollowedRefresh(target.name) as progress:
        while True:
            ended = reach(side, lambda here: _first_end(here, target, before))
            if ended:
                break
            evidence = reach(side, lambda here: _read(here, target))
            _give_up(evidence)
            run = evidence.state.run
            took = evidence.now - run.claimed_at if run and run.token not in before else None
            progress.show(step(evidence), took, max(evidence.state.run_times, default=None))
            sleep(POLL_SECONDS)
    said = f"{target.name}: {ended.outcome} after {span(ended.ended_at - ended.claimed_at)}"
    if ended.outcome is not Outcome.SUCCEEDED:
        raise NotWellError(f"{said}: {ended.error or 'the platform gave no reason'}")
    print(said)


def _first_end(side: Side, target: Target, before: frozenset[str]) -> Ended | None:
    """The first run that ended since, and is ours. What a look found to be fresh or not needed was no run.

    A run of somebody else does not count: nobody knows whether it read what this refresh was asked for.
    """
    lines = map(read_ended, reversed(side.ports.store.history(target.key, LINES)))
    no_run = {Outcome.PROVEN, Outcome.SPARED}
    ours = (line for line in lines if not line.foreign and line.outcome not in no_run)
    return next((line for line in ours if line.token not in before), None)


def _give_up(evidence: Evidence) -> None:
    """Raise where nothing is to be waited for: a hold, or nobody who works.

    Waiting has no limit of its own. A refresh may take hours, and whoever waits may press Ctrl-C: it goes on all the
    same.
    """
    state, name = evidence.state, evidence.target.name
    held = held_because(evidence)
    if held and not (state.run or _is_tried(evidence)):
        raise NotWellError(f"{name}: {held}")
    if state.wake_at and evidence.now - state.wake_at > PAST_DUE:
        raise NotWellError(f"{name}: nobody came for {span(evidence.now - state.wake_at)}: {WORK_CURE}")


def _is_tried(evidence: Evidence) -> bool:
    """Whether a blocked target is about to be tried, which the question itself brings about."""
    hold = evidence.state.hold
    return isinstance(hold, Blocked) and hold.probe_at <= evidence.now


# --- After a sign-in -------------------------------------------------------------------------------------------------


def try_blocked(path: Path) -> list[str]:
    """Let the blocked Fabric targets be tried at once, because what blocked them may be mended; their names.

    All of them, since the record does not say which were blocked for the sign-in; a probe too many is one call.
    """
    configuration = read_config(path)
    side = open_side(Cloud.AZURE, configuration, path)
    targets = list(side.engine.targets.values())
    found = reach(side, lambda here: here.ports.store.load_many([target.key for target in targets]))
    blocked = [
        target
        for target, document in zip(targets, found, strict=True)
        if isinstance(read_state(document.body).hold, Blocked)
    ]
    for target in blocked:
        ask(side, target, ProbeAsked())
    return [target.name for target in blocked]
