"""Fresh processes, measured from their start to their end: by the clock, and in instructions where valgrind is there.

Instructions are the client's alone, and do not vary with what else the machine does; times are medians of processes
that were started in turn.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Process(NamedTuple):
    """A Python that sees nothing but what is on its path, and how it is to be measured."""

    program: str
    path: str
    environment: Mapping[str, str] = {}

    def command(self, *arguments: str) -> list[str]:
        """No site, and no current folder."""
        return [sys.executable, "-S", "-P", "-c", self.program, *arguments]

    @property
    def variables(self) -> dict[str, str]:
        """Of the process; nothing is written beside the modules."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": self.path,
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }


def run(process: Process, *arguments: str, under: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run it to its end; what it says is kept. Raises with what it said if it fails."""
    done = subprocess.run(
        [*under, *process.command(*arguments)], check=False, env=process.variables, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{process.command()[-1][:200]} failed: {done.stderr[-2000:]}")
    return done


def medians(processes: Mapping[str, Process], times: int, argument: Callable[[], str]) -> dict[str, float]:
    """Seconds of each from its start to its end, started in turn so that what else goes on hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(times):
        for name, process in processes.items():
            given = argument()
            begun = time.perf_counter()
            run(process, *filter(None, [given]))
            found[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def counts_instructions() -> bool:
    """Whether valgrind is here."""
    return shutil.which("valgrind") is not None


def instructions(process: Process, *arguments: str) -> float:
    """Instructions of the whole process, in millions. Cachegrind without its caches is the quickest that counts."""
    with TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={folder}/out"]
        done = run(process, *arguments, under=tool)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if not found:
        raise RuntimeError(f"valgrind counted nothing: {done.stderr[-300:]}")
    return int(found[1].replace(",", "")) / 1e6
