"""The packages of both clouds, staged for this machine by the code that stages them for theirs, and run alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import distribution
from pathlib import Path

from infra.packaging import aws, azure, stage
from tests.support.locks import pins

RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""What Lambda itself brings: its runtime client."""

OURS = ("AWS_", "UNSTALE_", "IDENTITY_", "MSI_", "PYTHON")
"""Variables that would change what a function does."""

HERE = "{}.{}".format(*sys.version_info[:2])


def staged(folder: Path, config: Path, made_at: datetime | None = None) -> Path:
    """Stage and zip for the Python that runs the tests; gives the folder."""
    aws.package(config, folder, third_party=installed_here, python=HERE, tell=lambda _: None, made_at=made_at)
    return folder


def staged_azure(folder: Path, config: Path) -> Path:
    """The function app's, likewise."""
    azure.package(config, folder, third_party=installed_here, python=HERE, tell=lambda _: None)
    return folder


def runtime(folder: Path) -> Path:
    """Lambda's runtime client in a folder of its own."""
    for name in RUNTIME:
        for file in distribution(name).files or ():
            if ".." not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), folder / file)
    return folder


def command(package: Path, *arguments: str, path: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """A Python that sees the package and nothing of this environment or the source tree: no site, no current folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    found = os.pathsep.join(str(each) for each in (package, path) if each)
    return [sys.executable, "-S", "-P", *arguments], {**kept, "PYTHONPATH": found, "PYTHONDONTWRITEBYTECODE": "1"}


def run(package: Path, program: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program on the package."""
    line, clean = command(package, "-c", program)
    return subprocess.run(
        line, env={**clean, **environment}, cwd=package, check=False, capture_output=True, text=True, timeout=120
    )


def installed_here(lock: Path, into: Path) -> None:
    """Copy the distributions that a lock names, as this environment has them installed from a lock of its own."""
    for name, version in pins(lock):
        found = distribution(name)
        if found.version != version:
            raise stage.PackageError(f"{name} is here in version {found.version}, but {lock.name} names {version}")
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = into / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), target)
