"""Histories of looking: nothing is lost though events are, no proof is wrong, everything is healed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.core import broken, patches, shipped
from tests.simulation.look_mutants import LOOK_MUTANTS, LookMutant
from tests.simulation.look_scenarios import THIRTEEN, Tale
from tests.simulation.looks import play
from tests.simulation.measure import unmeasured

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize("tale", THIRTEEN, ids=lambda tale: tale.__name__)
def test_what_random_histories_rarely_draw(tale: Tale) -> None:
    """The thirteen histories by hand: each says by itself what is right in it."""
    with unmeasured():
        assert tale(shipped()) == []


TOLD = [mutant for mutant in LOOK_MUTANTS if not mutant.elsewhere]


@pytest.mark.parametrize("mutant", TOLD, ids=[mutant.sentence[:40] for mutant in TOLD])
def test_code_without_a_sentence_is_told(mutant: LookMutant) -> None:
    """A history of looks shows what each of these sentences is for."""
    core = broken(f"look_{LOOK_MUTANTS.index(mutant)}", *patches(mutant.change))
    with unmeasured():
        assert any(play(seed, core).violations for seed in range(mutant.histories)), mutant.sentence


ELSEWHERE = [mutant for mutant in LOOK_MUTANTS if mutant.elsewhere]


@pytest.mark.parametrize("mutant", ELSEWHERE, ids=[mutant.sentence[:40] for mutant in ELSEWHERE])
def test_a_sentence_that_others_cover_has_a_test_of_its_own(mutant: LookMutant) -> None:
    """Its words are still in the code, and the test that stands for it exists."""
    assert broken(f"looks_{LOOK_MUTANTS.index(mutant)}", *patches(mutant.change))
    path, _, name = mutant.elsewhere.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
