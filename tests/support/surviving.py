"""The score of `make mutants`, and the mutants that no test caught: read from what mutmut left in `mutants/`.

    python -m tests.support.surviving

What survives is to be caught by a test, or judged in `tests/surviving_mutants.md`; `mutmut show NAME` shows a mutant.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

LEFT_BY_MUTMUT = Path(__file__).parents[2] / "mutants"
SURVIVED, NO_TEST, NOT_TRIED = 0, 33, None
"""Exit codes of mutmut's children (its stats.py): all tests passed, no test comes by, never run. Others are catches."""


def tried(folder: Path = LEFT_BY_MUTMUT) -> dict[str, int]:
    """The exit code of each mutant that was tried, by its name."""
    found: dict[str, int | None] = {}
    for file in sorted(folder.rglob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return {name: code for name, code in found.items() if code is not NOT_TRIED}


def module(name: str) -> str:
    """`shared.refresh.decide.x_decide__mutmut_1` is of `shared.refresh.decide`."""
    return name.rpartition(".")[0]


def score(codes: Mapping[str, int]) -> float:
    """Percent of the mutants that some test caught."""
    caught = sum(code not in {SURVIVED, NO_TEST} for code in codes.values())
    return 100 * caught / len(codes) if codes else 0.0


def table(codes: Mapping[str, int]) -> Iterator[str]:
    """One line for each module, one for all, and then the survivors."""
    for name in sorted({module(name) for name in codes}):
        own = {each: code for each, code in codes.items() if module(each) == name}
        counts = Counter(own.values())
        yield f"{name}: {len(own)} mutants, {counts[SURVIVED]} survived, {counts[NO_TEST]} untested: {score(own):.1f} %"
    yield f"together: {len(codes)} mutants: {score(codes):.1f} %"
    yield from (f"survived: {name}" for name, code in codes.items() if code == SURVIVED)
    yield from (f"untested: {name}" for name, code in codes.items() if code == NO_TEST)


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table(tried()))
