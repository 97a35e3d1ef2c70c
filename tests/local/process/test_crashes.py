"""A process on a state file is killed at each effect, and the next one goes on: nothing is lost, nothing overlaps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.killed_process import CALM_SECONDS, next_process, violations


def killed_in(folder: Path, *mutant: str) -> list[Path]:
    """Have processes killed at each effect; the folders that they left, the last one of a process that was not."""
    command = [sys.executable, "-m", "tests.support.killed_process", str(folder), *mutant]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(folder.iterdir())


def judged(folders: list[Path]) -> dict[str, list[str]]:
    """What is wrong in each folder once the next process has worked there."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        with next_process(folder) as machine:
            machine.live(CALM_SECONDS)
            found[folder.name] = list(violations(machine))
    return found


def test_a_process_may_die_at_any_effect(tmp_path: Path) -> None:
    """After each write, start and wake of a story with four refreshes: whoever comes next, all is covered."""
    folders = killed_in(tmp_path)
    assert len(folders) > 40
    assert not any(judged(folders).values())


def test_a_store_that_forgets_is_caught(tmp_path: Path) -> None:
    """The judge sees a store whose writes are told before they are on the disk: the kills prove something."""
    found = [wrong for each in judged(killed_in(tmp_path, "forgetful")).values() for wrong in each]
    assert any("OVERLAP" in wrong or "LOST" in wrong for wrong in found)
