"""The package as it ships: how fast it starts against the obvious handler, and how large it is."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import botocore

from infra.packaging.aws import GOAL_BYTES
from tests.bench.parts import Measured
from tests.support.staged import staged

ROOT = Path(__file__).parents[2]
STARTS = 15
COLD_LIMIT = 0.45


def measure(environment: Mapping[str, str]) -> Iterator[Measured]:
    """Stage it for this machine, then start both in turn, each with nothing on its path but what it needs."""
    with TemporaryDirectory() as folder:
        package = staged(Path(folder) / "aws", ROOT / "local" / "demo" / "demo.toml")
        installed = Path(botocore.__file__).parents[1]
        paths = {"functions_aws.app": str(package), "tests.bench.obvious_aws": f"{installed}{os.pathsep}{ROOT}"}
        yield from _cold(paths, environment)
        size = package.with_suffix(".zip").stat().st_size
        yield Measured("size of the zip", size / 1e6, "MB", GOAL_BYTES / 1e6)


def _cold(paths: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[Measured]:
    times: dict[str, list[float]] = {entry: [] for entry in paths}
    for _ in range(STARTS):
        for entry, path in paths.items():
            begun = time.perf_counter()
            subprocess.run(_start(entry), check=True, env=_with(environment, path))
            times[entry].append(time.perf_counter() - begun)
    ours, obvious = (statistics.median(found) for found in times.values())
    yield Measured("cold start of the staged package, whole process", ours * 1000, "ms")
    yield Measured("the staged package against the obvious handler", ours / obvious, "times", COLD_LIMIT)
    if shutil.which("valgrind"):
        ours, obvious = (_instructions(entry, _with(environment, path)) for entry, path in paths.items())
        yield Measured("instructions of the staged package's cold start", ours / 1e6, "M")
        yield Measured("... against the obvious handler's", ours / obvious, "times", COLD_LIMIT)


def _start(entry: str) -> list[str]:
    return [sys.executable, "-S", "-P", "-c", f"from {entry} import handler"]


def _with(environment: Mapping[str, str], path: str) -> dict[str, str]:
    return {**environment, "PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONHASHSEED": "0"}


def _instructions(entry: str, environment: Mapping[str, str]) -> float:
    with TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *_start(entry)]
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found:
        raise RuntimeError(f"callgrind counted nothing: {done.stderr[-300:]}")
    return float(found[1])
