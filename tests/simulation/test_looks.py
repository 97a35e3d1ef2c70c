"""Histories of looking: nothing is lost though events are, no proof is wrong, everything is healed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.core import Core, broken, patches, shipped
from tests.simulation.look_mutants import LOOK_MUTANTS, LookMutant
from tests.simulation.look_scenarios import THIRTEEN, Tale
from tests.simulation.looks import play
from tests.simulation.measure import unmeasured

PORTION = 50
"""Histories of one test, so that workers can share them."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each portion of a fifth of the histories asked for; or the one of a replay line."""
    config = metafunc.config
    if "first" not in metafunc.fixturenames:
        return
    if config.getoption("--seed") is not None:
        metafunc.parametrize(("first", "count"), [(config.getoption("--seed"), 1)])
    else:
        total = max(1, config.getoption("--histories") // 5)  # they cost more than the others: make test has its time
        metafunc.parametrize(("first", "count"), [(n, min(PORTION, total - n)) for n in range(0, total, PORTION)])


def test_lakes_heal(first: int, count: int, request: pytest.FixtureRequest) -> None:
    """Events lost, looks that fail, late answers, workers that die, others' refreshes, roll-backs, compactions."""
    alone = request.config.getoption("--seed") is not None
    for seed in range(first, first + count):
        lines: list[str] = []
        with unmeasured():
            verdict = play(seed, trace=lines.append if alone else None)
        assert not verdict.violations, "\n".join(["", *lines, str(verdict)])


def test_a_slow_clock_proves_a_time_before_the_history_begins() -> None:
    """Seed 107752: the judge of proofs knew of no content at that time, and broke down."""
    with unmeasured():
        assert not play(107752).violations


@pytest.mark.parametrize("mutant", LOOK_MUTANTS, ids=[mutant.says[:60] for mutant in LOOK_MUTANTS])
def test_code_without_a_sentence_is_told(mutant: LookMutant) -> None:
    """A history shows what each sentence of section 9 is for; a patch whose text has left the code fails."""
    core = broken(*patches(mutant.patch))
    with unmeasured():
        assert _shows(mutant.caught, core), mutant.says


def _shows(caught: Tale | int, core: Core) -> bool:
    try:
        if isinstance(caught, int):
            return any(play(seed, core).violations for seed in range(caught))
        return bool(caught(core))
    except Exception:  # noqa: BLE001 - a mutant may break down, too
        return True


def _tales() -> Iterator[Tale]:
    """Those that a mutant is caught by; another would be a tale about nothing."""
    return (mutant.caught for mutant in LOOK_MUTANTS if not isinstance(mutant.caught, int))


@pytest.mark.parametrize("tale", dict.fromkeys((*THIRTEEN, *_tales())), ids=lambda tale: tale.__name__)
def test_what_ships_comes_through(tale: Tale) -> None:
    """The thirteen histories that random ones rarely draw, and each that catches a mutant: nothing is wrong in it."""
    with unmeasured():
        assert tale(shipped()) == []
