"""Breaks `shared/refresh` in every way that mutmut knows, and tells what no test saw: `make mutants`.

    python -m tests.support.mutants [--anew] [PATTERN ...]

mutmut writes the mutants. Its own runner imports pytest and the tests for each of them, which takes seconds; here one
session collects all tests once, and each mutant is a fork of it (`mutant_session.py`): 40 ms of a processor. A mutant
that was caught is not tried again while mutmut finds its function unchanged, but with `--anew`. Patterns are names
of mutants, stars are wild: `shared.refresh.decide*`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.surviving import LEFT_BY_MUTMUT, table, tried

ROOT = Path(__file__).parents[2]
MUTATED = Path("shared", "refresh")
"""The folder that mutmut breaks: `source_paths` in pyproject.toml."""
BESIDE = (
    "shared",
    "functions_aws",
    "functions_azure",
    "local",
    "infra",
    "tests",
    "unstale.example.toml",
    "pyproject.toml",
)
"""What tests of that folder import or read, from the root of the repository."""
TESTS = (
    "tests/shared/refresh",
    "tests/shared/inbound/test_dispatch.py",
    "tests/shared/inbound/test_wide_events.py",
    "tests/shared/outcomes/test_sending.py",
    "tests/shared/sources/test_looking.py",
)
"""Tests that call the folder in this process, and are fast. Those that read the source of what ships, such as
`tests/simulation/test_mutants.py`, would see all mutants at once."""
SESSION = ("-m", "pytest", "-q", "-p", "tests.support.mutant_session")
QUICKLY = ("-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "--assert=plain", "--tb=native")
"""Nobody reads why a mutant was caught."""


def is_written(file: Path, root: Path = ROOT, to: Path = LEFT_BY_MUTMUT) -> bool:
    """Whether the mutants of a file are those of the file as it is now."""
    written = to / file
    return written.exists() and written.stat().st_mtime > (root / file).stat().st_mtime


def write_mutants() -> None:
    """Let mutmut write the mutants of each file that changed."""
    if all(is_written(file.relative_to(ROOT)) for file in (ROOT / MUTATED).glob("*.py")):
        return
    from mutmut.__main__ import create_mutants
    from mutmut.utils.file_utils import copy_src_dir

    copy_src_dir()
    create_mutants(max_children=os.cpu_count() or 1)


def copy_beside(root: Path = ROOT, to: Path = LEFT_BY_MUTMUT) -> None:
    """Copy what the tests need beside the mutants, and leave these as they are."""

    def passed_over(folder: str, names: list[str]) -> set[str]:
        within = Path(folder).relative_to(root)
        return {name for name in names if name == "__pycache__" or within / name == MUTATED}

    for name in BESIDE:
        if (root / name).is_dir():
            shutil.copytree(root / name, to / name, dirs_exist_ok=True, ignore=passed_over)
        else:
            shutil.copy2(root / name, to / name)


def main() -> int:
    """Write the mutants, try them, and print the score."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("patterns", nargs="*", default=["*"], metavar="PATTERN")
    parser.add_argument("--anew", action="store_true", help="try those again that were caught")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1, help="try so many at once")
    parser.add_argument("--seconds", default="inf", help="run tests of so many seconds for each at most")
    given = parser.parse_args()
    os.chdir(ROOT)
    LEFT_BY_MUTMUT.mkdir(exist_ok=True)
    write_mutants()
    copy_beside()
    options = [f"--mutants={pattern}" for pattern in given.patterns] + [
        f"--children={given.children}",
        f"--seconds={given.seconds}",
    ]
    options += ["--anew"] if given.anew else []
    command = [sys.executable, *SESSION, *QUICKLY, *options, *TESTS]
    done = subprocess.run(command, cwd=LEFT_BY_MUTMUT, check=False)
    sys.stdout.writelines(f"{line}\n" for line in table(tried()))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
