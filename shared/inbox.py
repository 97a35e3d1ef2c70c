"""What becomes of each delivered message: done, to come back, or a dead letter. The shells only carry it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum

from shared.engine import Engine
from shared.happenings import Happening, Hinted, ProbeAsked, Signalled
from shared.model import Signal, Target, Value
from shared.readings import Arrived, Asked, FabricRunEnded, GlueRunEnded, Malformed, Reading, Ticked, Woken
from shared.routing import ended, reason, targets_of


class Verdict(StrEnum):
    """What the shell does with a message."""

    DONE = "done"  # acknowledge it
    RETRY = "retry"  # trouble of ours: leave it where it is, it comes back
    DEAD = "dead"  # cannot be read, and never will be: into the dead letters, at once, with the reason


class Judged(Value, frozen=True):
    """The verdict on one message, with the reason and the exception where it is not `DONE`."""

    verdict: Verdict
    why: str = ""
    cause: Exception | None = None


DONE = Judged(Verdict.DONE)

SOON, SOON_TIMES = timedelta(seconds=30), 60
LATER = timedelta(minutes=5)
"""How long a message that comes back stays away: mostly the trouble is over within the first half hour. It must not be
half a minute for ever where a queue gives a message up after so many receives, which SQS does after 1,000 at the latest
(maxReceiveCount): that would be over within nine hours. Like this it takes more than three days, a long weekend.
"""

Concerns = Sequence[tuple[Target, Happening]]
"""Whom a message concerns, and what it means for them."""


def take(engine: Engine, readings: Sequence[Reading]) -> tuple[Judged, ...]:
    """Take a batch: one look at each target that it concerns, however many messages do. Verdicts are in order.

    One target's trouble sends back only the messages that concern it.
    """
    concerns = [_concerns(engine, reading) for reading in readings]
    judged = {target.key: _look(engine, target, happened) for target, happened in _by_target(concerns)}
    return tuple(
        _unowed(engine, reading) if not owed else _worst([judged[target.key] for target, _ in owed])
        for reading, owed in zip(readings, concerns, strict=True)
    )


def stays_away(receives: int) -> timedelta:
    """How long a message stays away that comes back after it was received so often."""
    return SOON if receives < SOON_TIMES else LATER


def _concerns(engine: Engine, reading: Reading) -> Concerns:
    happened: list[tuple[Target, Happening]] = []
    match reading:
        case Arrived(arrivals):
            found = [(target, arrival) for arrival in arrivals for target in targets_of(arrival, engine.configuration)]
            happened.extend((target, Signalled(Signal(arrival.time, reason(arrival)))) for target, arrival in found)
        case Asked(name):
            target = engine.configuration.by_name.get(name)
            happened.extend((target, happening) for happening in _asked(reading) if target)
        case GlueRunEnded() | FabricRunEnded():
            happened.extend((target, Hinted()) for target in ended(reading, engine.configuration))
        case _:
            return ()
    return [(target, happening) for target, happening in happened if target.key in engine.targets]


def _asked(asked: Asked) -> tuple[Happening, ...]:
    signal = Signalled(Signal(asked.received_at, asked.reason, full=asked.full, asked=True))
    return (signal, ProbeAsked()) if asked.by_person else (signal,)


def _by_target(concerns: Sequence[Concerns]) -> list[tuple[Target, list[Happening]]]:
    happened: dict[str, tuple[Target, list[Happening]]] = {}
    for concern in concerns:
        for target, happening in concern:
            happened.setdefault(target.key, (target, []))[1].append(happening)
    return list(happened.values())


def _look(engine: Engine, target: Target, happened: Sequence[Happening]) -> Judged:
    signals = sum(isinstance(happening, Signalled) for happening in happened)
    return _spared(lambda: engine.signalled(target, signals, written=engine.look(target, happened)))


def _unowed(engine: Engine, reading: Reading) -> Judged:
    """The verdict on a message that concerns no target by name or source."""
    match reading:
        case Malformed(why):
            return Judged(Verdict.DEAD, why)
        case Asked(name):
            return Judged(Verdict.DEAD, f"the configuration of this function has no target {name!r}")
        case Woken(wake):
            return _spared(lambda: engine.wake(wake))
        case Ticked():
            return _spared(engine.tick)
        case _:
            return DONE


def _spared(work: Callable[[], object]) -> Judged:
    try:
        work()
    except Exception as trouble:  # noqa: BLE001 - whatever it is, it is ours: the message comes back
        return Judged(Verdict.RETRY, f"{type(trouble).__name__}: {trouble}", trouble)
    return DONE


def _worst(judged: Sequence[Judged]) -> Judged:
    return next((one for one in judged if one.verdict is not Verdict.DONE), DONE)
