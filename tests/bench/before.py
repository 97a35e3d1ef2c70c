"""The same work as it was done at an earlier commit, taken out of the repository's history and run beside ours."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.processes import ROOT

COMMIT = "5ab0f9f"
"""The commit that the ratios of routing, loading and a call to Glue are about."""
PACKAGES = ("shared", "functions_aws")


@contextmanager
def checked_out() -> Iterator[Path | None]:
    """A folder with the packages of that commit; None where there is no such history."""
    command = ["git", "archive", COMMIT, *PACKAGES]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    with TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(done.stdout)) as packed:
        packed.extractall(folder, filter="data")
        yield Path(folder)


def path_of(folder: Path) -> str:
    """The packages in a folder, and the libraries of this environment."""
    return os.pathsep.join([str(folder), *(path for path in sys.path if path.endswith("site-packages"))])


def tell(folder: Path, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
    """Run a program on those packages and on the libraries of this environment; what it printed, as JSON."""
    variables = {"PYTHONPATH": path_of(folder), "PATH": "/usr/bin:/bin", **(environment or {})}
    command = [sys.executable, "-S", "-P", "-c", program, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=variables, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"in {folder}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
