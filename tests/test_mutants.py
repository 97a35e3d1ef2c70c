"""Every rule that keeps data from being lost has a mutant here: the shipped code with just that broken.

The simulator must catch each within a few histories; a patch whose text is no longer in the code fails loudly.
"""

# ruff: noqa: E501 - a patch is a text of the source, as it stands there

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.sim.core import Patch, broken
from tests.sim.history import WORLDS, play
from tests.sim.measure import unmeasured

HISTORIES = 400


class Mutant(NamedTuple):
    """The rule, the sentence that is broken, and how."""

    rule: int
    sentence: str
    patch: Patch


MUTANTS = (
    Mutant(
        1,
        "a run covers what was visible when it was claimed",
        Patch("debt", "return time + lag <= claimed_at", "return True"),
    ),
    Mutant(
        1,
        "a finished run covers by the inequality only",
        Patch("machine", "return as_of is not None and covers(as_of, time, lag)", "return as_of is not None"),
    ),
    Mutant(4, "what it cannot cover stays owed", Patch("debt", "if owed is None or owed.newest <= cut:", "if True:")),
    Mutant(
        5,
        "failure: the covered debt is owed again",
        Patch(
            "machine",
            "    failures = state.failures + 1\n    owed = merge(run.covering, state.owed)",
            "    failures = state.failures + 1\n    owed = state.owed",
        ),
    ),
    Mutant(
        5,
        "the platform's creation time lowers the claim",
        Patch("machine", "if created_at < run.claimed_at:", "if False:"),
    ),
    Mutant(
        6,
        "already running is owed, not done",
        Patch(
            "machine", "    return replace(_given_back(state), run=_sought(", "    return replace(state, run=_sought("
        ),
    ),
    Mutant(
        7,
        "an unknown outcome is looked up before anything is sent",
        Patch(
            "machine",
            "        return Folded(state)  # claimed still: rule 7 looks it up after the lease",
            "        return Folded(_given_back(state))",
        ),
    ),
    Mutant(
        7,
        "none found: owed again",
        Patch(
            "machine",
            "    if found is None:\n        return Folded(_given_back(state))",
            "    if found is None:\n        return Folded(replace(state, run=None))",
        ),
    ),
    Mutant(
        3,
        "nothing is running",
        Patch(
            "decision",
            "_next_of_run(state.run) if state.run else _next_start(state, terms)",
            "_next_start(state, terms) if state.owed else (_next_of_run(state.run) if state.run else (None, Wait(None)))",
        ),
    ),
    Mutant(
        3,
        "the minimum interval since the last claim",
        Patch("decision", "return max(ready, interval_over, state.not_before or ready), start", "return ready, start"),
    ),
    Mutant(
        10,
        "a success is a signal for those that come after",
        Patch(
            "engine",
            "        for follower in self.configuration.followers(sight.target.name):",
            "        for follower in ():",
        ),
    ),
    Mutant(
        12,
        "schedule times that came due are signals",
        Patch(
            "planning",
            "    return (*happened, Planned(definition, now)) if happened else ()",
            "    return (Planned(definition, now),) if happened else ()",
        ),
    ),
    Mutant(
        13,
        "the record is saved with the wake that was sent",
        Patch("decision", "    return look_at, (look_at, *((max(named),) if named else ()))", "    return None, named"),
    ),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"rule {mutant.rule}: {mutant.sentence}")
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    """Lost, overlapping, multiplied or stuck, by the platform's journal."""
    core = broken(f"mutant_{MUTANTS.index(mutant)}", mutant.patch)
    with unmeasured():
        caught = any(_violates(seed, core) for seed in range(HISTORIES))
    assert caught, f"{HISTORIES} histories did not notice: {mutant.sentence}"


def _violates(seed: int, core: object) -> bool:
    try:
        return bool(play(seed, WORLDS[seed % len(WORLDS)], core).violations)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - a mutant may break down, too
        return True
