"""Where outcome events arrive in a simulated world: a place that always answers, and two that are dead for a while.

One of the two is a follower of every target on another cloud, whose function does not even know it at times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from shared.destinations import Destination
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.refresh import records
from shared.refresh.notices import ENDS
from tests.simulation.scheduler import Scheduler
from tests.simulation.worker import Worker
from tests.simulation.world import Simulation, seconds

BUS, HOOK = Destination("eventbridge"), Destination("webhook", url="https://example.com")
FOLLOWER = Destination("azure", ("refreshed",), "signal", url="https://app.example", follower="elsewhere")


PATIENCE = 3600.0 + 120.0
"""Seconds that an event may wait: a place is left alone for an hour at most, and then there is a tick."""


class PostOffice:
    """Both places, and what they took, in order."""

    def __init__(self, random: Random, scheduler: Scheduler, *, lost: float = 0.1) -> None:
        """`lost` is how often a letter arrives and its sender does not learn of it."""
        self.random, self.scheduler, self.lost = random, scheduler, lost
        self.destinations = (BUS, HOOK, FOLLOWER)
        self.dead_until = 300.0 + 2.0 ** random.uniform(4, 13)
        self.taken: dict[str, list[tuple[str, int, str, str]]] = {BUS.to: [], HOOK.to: []}
        self.signals: dict[str, list[str]] = {}

    def senders(self, worker: Worker) -> Mapping[str, Any]:
        """Who sends for one worker, which may freeze or die before and after a letter."""
        sender = _Sender(self, worker)
        return {BUS.to: sender, HOOK.to: sender, FOLLOWER.to: sender}

    def take(self, to: str, event: EncodedEvent) -> SendFailure | None:
        """Take a letter; the webhook takes none while it is dead."""
        if to == HOOK.to and self.scheduler.now < self.dead_until:
            return SendFailure("status 503")
        key, _, number = event.id.rpartition("/")
        if to == FOLLOWER.to:
            return self._signal(key, event)
        run = msgspec.json.decode(event.body)["data"].get("run", {})
        self.taken[to].append((key, int(number), event.type.removeprefix("unstale."), run.get("run_id", "")))
        return SendFailure("no answer") if self.random.random() < self.lost else None

    def _signal(self, key: str, event: EncodedEvent) -> SendFailure | None:
        """Take a signal; the other cloud takes none while it is dead, or says that it knows no such follower."""
        if self.scheduler.now < self.dead_until:
            return SendFailure("status 410", for_good=True) if self.random.random() < 0.5 else SendFailure("status 503")
        self.signals.setdefault(key, []).append(msgspec.json.decode(event.body)["time"])
        return SendFailure("no answer") if self.random.random() < self.lost else None


class _Sender:
    def __init__(self, post: PostOffice, worker: Worker) -> None:
        self._post, self._worker = post, worker

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Send a letter, with a pause before and after."""
        self._worker.pause("letter>")
        failure = self._post.take(destination.to, event)
        self._worker.pause("letter<")
        return failure


def undelivered(sim: Simulation, post: PostOffice) -> list[str]:
    """What is wrong with the letters of a history, some hours after it came to rest and both places answer again."""
    return [line for target in sim.configuration.targets for line in _wrong_of(sim, post, target.key)]


def _wrong_of(sim: Simulation, post: PostOffice, key: str) -> Iterator[str]:
    outbox = sim.state(key).outbox
    waiting = {notice.number for notice in outbox.notices}
    if any(seconds(notice.at) < sim.scheduler.now - PATIENCE for notice in outbox.notices):
        yield f"STUCK: {len(outbox.notices)} events of {key} wait: {outbox}"
    for to, taken in post.taken.items():
        numbers = [number for about, number, _, _ in taken if about == key]
        first = list(dict.fromkeys(numbers))
        if first != sorted(first):
            yield f"DISORDER: {to} got {first} of {key}"
        if set(first) | waiting != set(range(1, outbox.last_number + 1)):
            yield f"LOST: {to} got {first} of {outbox.last_number} events of {key}"
    kinds = {number: kind for about, number, kind, _ in post.taken[BUS.to] if about == key}
    swings = [kind for _, kind in sorted(kinds.items()) if kind in {"late", "recovered"}]
    if swings != (["late", "recovered"] * len(swings))[: len(swings)]:
        yield f"UNTRUE: {key} was {swings}"
    yield from _ends_wrong(sim, post, key)
    yield from _signals_wrong(sim, post, key)


def _ends_wrong(sim: Simulation, post: PostOffice, key: str) -> Iterator[str]:
    """Each end of a run that history knows is told, and told as that.

    History may have two lines about one run, where two workers followed it under two claims and one saved first.
    """
    told = {run_id: kind for about, _, kind, run_id in post.taken[BUS.to] if about == key and run_id}
    for (about, _), body in sim.store.history.items():
        ended = records.read_ended(body)
        kind = ENDS.get(ended.outcome, "")
        if about == key and kind in BUS.kinds and not ended.foreign and told.get(ended.run_id) != kind:
            yield f"LOST: {ended} of {key} was told as {told.get(ended.run_id)}"


def _signals_wrong(sim: Simulation, post: PostOffice, key: str) -> Iterator[str]:
    """The follower on another cloud was signalled at the end of the last run of ours that succeeded, or later."""
    lines = [records.read_ended(body) for (about, _), body in sim.store.history.items() if about == key]
    ends = [ended.ended_at for ended in lines if ENDS.get(ended.outcome) == "refreshed" and not ended.foreign]
    signals = [datetime.fromisoformat(time) for time in post.signals.get(key, ())]
    if ends and (not signals or max(signals) < max(ends)):
        yield f"LOST: the end of {key} at {max(ends)} was not told to its follower, which heard of {signals}"
