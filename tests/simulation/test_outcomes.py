"""Outcome events through simulated histories: crashes at every effect, lost answers, a destination that is dead."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest

from tests.simulation.core import Core, broken, patches, shipped
from tests.simulation.history import ANYWHERE, WORLDS, Plot
from tests.simulation.judge import violations
from tests.simulation.measure import unmeasured
from tests.simulation.post import PostOffice, undelivered

HISTORIES = 40
AFTERWARDS = 5 * 3600.0
"""Seconds after a history in which both places answer: a place is left alone for an hour at most."""


def play(seed: int, core: Core) -> list[str]:
    """One history with both places; what is wrong in the end."""
    world = WORLDS[seed % len(WORLDS)]
    plot = Plot(Random(f"{seed} {world}"), world, core, None, ANYWHERE)
    post = plot.sim.post = PostOffice(Random(seed), plot.sim.scheduler)
    plot.run()
    plot.sim.scheduler.run(max(plot.sim.scheduler.now, post.dead_until) + AFTERWARDS)
    return [*violations(plot.sim), *undelivered(plot.sim, post)]


@pytest.mark.parametrize("first", range(0, HISTORIES, 10))
def test_every_event_arrives_in_order_and_no_refresh_waits_for_it(first: int) -> None:
    """At least once at each place, one id each, also where workers die at any effect; refreshes are as without."""
    for seed in range(first, first + 10):
        with unmeasured():
            assert play(seed, shipped()) == [], seed


MUTANTS = {
    "the save that makes a change notes its event": """
        notices:
        - return replace(after, outbox=outbox, told_late=late)
        + return replace(after, told_late=late)
        """,
    "the save that ends lateness makes recovered": """
        notices:
        - if told_late and not late:
        + if False:
        """,
    "delivered at least once": """
        sending:
        - return number, self._leave_alone(destination, now, failure.why)
        + pass
        """,
    "in order for one target": """
        sending:
        - for notice in state.outbox.notices:
        + for notice in reversed(state.outbox.notices):
        """,
    "each destination has its own position": """
        outbox:
        - least = min(reached.values(), default=outbox.last_number)
        + least = max(reached.values(), default=outbox.last_number)
        """,
    "a destination that failed gets the rest later": """
        outbox:
        - return replace(rest, next_at=delivered.next_at if has_more(rest) else None)
        + return replace(rest, next_at=None)
        """,
    "a follower on another cloud is told the last end": """
        sending:
        ~ numbers[-1:] => numbers[:1]
        """,
    "a follower that is not known there is told again": """
        sending:
        - if failure and failure.for_good and destination.follower:
        + if False:
        """,
    "a success is noted for followers on another cloud": """
        notices:
        - Outcome.SUCCEEDED: "refreshed",
        + Outcome.SUCCEEDED: "",
        """,
    "the number counts the events of the target": """
        outbox:
        - number = outbox.last_number + 1
        + number = len(outbox.notices) + 1
        """,
}
"""Sentences of section 10, and words that break each."""


@pytest.mark.parametrize("sentence", MUTANTS)
def test_a_broken_sentence_is_caught(sentence: str) -> None:
    """In one of the first histories."""
    core = broken(*patches(MUTANTS[sentence]))
    with unmeasured():
        assert any(map(partial(_shows, core), range(HISTORIES)))


def _shows(core: Core, seed: int) -> bool:
    try:
        return bool(play(seed, core))
    except Exception:  # noqa: BLE001 - a mutant may break down, too
        return True
