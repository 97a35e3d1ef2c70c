"""The fate of each delivered message: done, to come back, or a dead letter. The shells only carry it out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum

from msgspec.structs import replace

from shared.inbound.arrivals import Arrival
from shared.inbound.messages import (
    Arrived,
    Asked,
    FabricRunEnded,
    GlueRunEnded,
    Malformed,
    Message,
    Rest,
    Several,
    Single,
    Ticked,
    Woken,
)
from shared.inbound.routing import Routes, signals_of, targets_of, targets_of_end
from shared.inbound.wakes import rest_messages
from shared.redaction import plain
from shared.refresh.engine import Engine
from shared.refresh.inputs import Hinted, Input, ProbeAsked, Signalled
from shared.refresh.ports import Document
from shared.refresh.sweep import Sweep
from shared.targets import Target
from shared.values import Value


class Verdict(StrEnum):
    """The verdict on a message, which the shell carries out."""

    DONE = "done"  # acknowledge it
    RETRY = "retry"  # trouble of ours: leave it where it is, it comes back
    DEAD = "dead"  # cannot be read, and never will be: into the dead letters, at once, with the reason


class Judged(Value, frozen=True):
    """The verdict on one message, with the reason and the exception where it is not `DONE`.

    `dead`: what of the message goes to the dead letters, where that is a part of it; None is the message as it came.
    `rests`: messages that go into the events queue before this one is acknowledged, for the targets that it concerns
    and that this invocation had no time for. Where they cannot be sent, the message comes back.
    """

    verdict: Verdict
    why: str = ""
    cause: Exception | None = None
    dead: bytes | None = None
    rests: tuple[bytes, ...] = ()


DONE = Judged(Verdict.DONE)
NO_TIME = Judged(Verdict.RETRY, "the invocation had no time for all targets that the message concerns")
"""The verdict where time is over and a message cannot be split: the message comes back, what was done folds away."""

SOON, SOON_TIMES = timedelta(seconds=30), 60
LATER = timedelta(minutes=5)
"""How long a message that comes back stays away: mostly the trouble is over within the first half hour. It must not be
half a minute for ever where a queue gives a message up after so many receives, which SQS does after 1,000 at the latest
(maxReceiveCount): that would be over within nine hours. Like this it takes more than three days, a long weekend.
"""

READ_AHEAD = 10
"""Targets whose records are read together: few, so that the last is not old when its turn comes after nine starts."""

Concerns = Sequence[tuple[Target, Input]]
"""Whom a message concerns, and what it means for them."""


class _Delivery(Value, frozen=True):
    """A message: the parts that are taken, each with whom it concerns, and those that can never be, with the reason.

    Of a message with several events the readable arrivals are taken whatever the others are. Requests that come
    together are taken all or none, so that who repeats a refused message repeats nothing that was done.
    """

    taken: tuple[tuple[Single, Concerns], ...]
    refused: tuple[bytes, ...] = ()
    why: str = ""


def take(engine: Engine, configuration: Routes, messages: Sequence[Message]) -> tuple[Judged, ...]:
    """Take a batch: reconcile each target once, however many messages concern it. Verdicts are in order.

    One target's trouble sends back only the messages that concern it. An event that concerns more targets than there is
    time for is split: what is left of it is a message of its own.
    """
    deliveries = [_delivery(engine, configuration, message) for message in messages]
    concerns = [concern for delivery in deliveries for _, concern in delivery.taken]
    judged = _reconcile_each(engine, _by_target(concerns))
    verdicts = tuple(_verdict(engine, configuration, delivery, judged) for delivery in deliveries)
    engine.tell()
    return verdicts


def _delivery(engine: Engine, configuration: Routes, message: Message) -> _Delivery:
    if not isinstance(message, Several):
        why = _refusal(engine, configuration, message)
        return _Delivery((), (), why) if why else _Delivery(((message, _concerns(engine, configuration, message)),))
    reasons = [_refusal(engine, configuration, part.message) for part in message.parts]
    why = next(filter(None, reasons), "")
    kept = [
        part
        for part, refusal in zip(message.parts, reasons, strict=True)
        if not refusal and not (why and isinstance(part.message, Asked))
    ]
    refused = tuple(part.body for part in message.parts if part not in kept)
    taken = tuple((part.message, _concerns(engine, configuration, part.message)) for part in kept)
    return _Delivery(taken, refused, f"{len(refused)} of {len(message.parts)} events: {why}" if why else "")


def _verdict(engine: Engine, configuration: Routes, delivery: _Delivery, judged: Mapping[str, Judged]) -> Judged:
    """The worst that was met with what is taken, else done, or a dead letter with what is refused."""
    if any(target.key not in judged for _, concerns in delivery.taken for target, _ in concerns):
        return _split(configuration, delivery, judged)
    worst = _worst(
        [one for message, concerns in delivery.taken for one in _verdicts_on(engine, message, concerns, judged)]
    )
    return _refused_part(delivery) if worst.verdict is Verdict.DONE else worst


def _refused_part(delivery: _Delivery) -> Judged:
    """Done, or a dead letter with what of the message is refused."""
    if not delivery.why:
        return DONE
    parts = b",".join(delivery.refused)
    return Judged(Verdict.DEAD, delivery.why, dead=b"[%b]" % parts if parts else None)


def _split(configuration: Routes, delivery: _Delivery, judged: Mapping[str, Judged]) -> Judged:
    """Done with the targets that there was time for, and a message for those that are left.

    Targets that met trouble have a message of their own, so that their trouble keeps nobody behind them waiting.

        a, b done . c in trouble . d done | e, f left      ->     rest c to c,  rest e to f
    """
    arrivals: list[Arrival] = []
    open_keys: set[str] = set()
    for message, concerns in delivery.taken:
        keys = {target.key for target, _ in concerns if judged.get(target.key, NO_TIME).verdict is not Verdict.DONE}
        if keys and not isinstance(message, Arrived | Rest):
            return NO_TIME
        if isinstance(message, Arrived | Rest):
            arrivals += message.arrivals
        open_keys |= keys
    left = {key for key in open_keys if key not in judged}
    rests = [rest for keys in (open_keys - left, left) if keys for rest in _rests(configuration, arrivals, keys)]
    return replace(_refused_part(delivery), rests=tuple(rests))


def _rests(configuration: Routes, arrivals: Sequence[Arrival], keys: Collection[str]) -> tuple[bytes, ...]:
    """The messages that name what arrived for these targets, and the first and the last of the targets."""
    theirs = [each for each in arrivals if any(target.key in keys for target in targets_of(each, configuration))]
    return rest_messages(theirs, min(keys), max(keys))


def stays_away(receives: int) -> timedelta:
    """How long a message stays away that comes back after it was received so often."""
    return SOON if receives < SOON_TIMES else LATER


def _verdicts_on(engine: Engine, message: Single, concerns: Concerns, judged: Mapping[str, Judged]) -> list[Judged]:
    return [judged[target.key] for target, _ in concerns] or [_take_wake_or_tick(engine, message)]


def _refusal(engine: Engine, configuration: Routes, message: Single) -> str:
    """Why a message can never be taken, or ""."""
    match message:
        case Malformed(why):
            return why
        case Asked(name, sender=sender):
            if sender and configuration.senders and sender not in configuration.senders:
                return plain(
                    f"account {sender[0]} and source {sender[1]} may not ask for a refresh: "
                    "[deployment] signal_sources in the configuration says who may"
                )
            target = configuration.by_name.get(name)
            if target is None or target.key not in engine.targets:
                return f"the configuration of this function has no target {name!r}"
    return ""


def _concerns(engine: Engine, configuration: Routes, message: Single) -> Concerns:
    inputs: list[tuple[Target, Input]] = []
    match message:
        case Arrived(arrivals) | Rest(arrivals):
            found = (signal for arrival in arrivals for signal in signals_of(arrival, configuration))
            inputs.extend((target, Signalled(signal)) for target, signal in found)
        case Asked(name):
            inputs.extend((configuration.by_name[name], given) for given in _inputs_of_request(message))
        case GlueRunEnded() | FabricRunEnded():
            inputs.extend((target, Hinted()) for target in targets_of_end(message, configuration))
    first, last = (message.first, message.last) if isinstance(message, Rest) else ("", None)
    return [
        (target, given)
        for target, given in inputs
        if target.key in engine.targets and target.key >= first and (last is None or target.key <= last)
    ]


def _inputs_of_request(asked: Asked) -> tuple[Input, ...]:
    signal = Signalled(asked.signal)
    return (signal, ProbeAsked()) if asked.by_person else (signal,)


def _by_target(concerns: Sequence[Concerns]) -> list[tuple[Target, list[Input]]]:
    inputs: dict[str, tuple[Target, list[Input]]] = {}
    for concern in concerns:
        for target, given in concern:
            inputs.setdefault(target.key, (target, []))[1].append(given)
    return list(inputs.values())


def _reconcile_each(engine: Engine, concerned: Sequence[tuple[Target, list[Input]]]) -> dict[str, Judged]:
    """Reconcile targets while there is time, one in any case.

    First come those of which more is said than that data arrived, since only arrivals can be split; then the others, in
    the order of their keys.
    """
    judged: dict[str, Judged] = {}
    in_hand: dict[str, Document] = {}
    ordered = sorted(concerned, key=_turn_of)
    for place, (target, inputs) in enumerate(ordered):
        if judged and engine.is_out_of_time():
            break
        if place % READ_AHEAD == 0:
            in_hand |= engine.read_ahead([each for each, _ in ordered[place : place + READ_AHEAD]])
        judged[target.key] = _reconcile(engine, target, inputs, in_hand.pop(target.key, None))
    return judged


def _turn_of(concerned: tuple[Target, list[Input]]) -> tuple[bool, str]:
    target, inputs = concerned
    return all(isinstance(given, Signalled) and not given.signal.asked for given in inputs), target.key


def _reconcile(engine: Engine, target: Target, inputs: Sequence[Input], in_hand: Document | None) -> Judged:
    signals = sum(isinstance(given, Signalled) for given in inputs)
    return _guard(
        lambda: engine.note_signals(target, signals, written=engine.reconcile(target, inputs, in_hand=in_hand))
    )


def _take_wake_or_tick(engine: Engine, message: Single) -> Judged:
    """The verdict on a message that concerns no target by name or source."""
    match message:
        case Woken(wake):
            return _guard(lambda: engine.wake(wake))
        case Ticked():
            return _guard(Sweep(engine).tick)
    return DONE


def _guard(work: Callable[[], object]) -> Judged:
    try:
        work()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is ours: the message comes back
        return Judged(Verdict.RETRY, f"{type(failure).__name__}: {failure}", failure)
    return DONE


def _worst(judged: Sequence[Judged]) -> Judged:
    return next((one for one in judged if one.verdict is not Verdict.DONE), DONE)
