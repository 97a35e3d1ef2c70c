"""Costly things that all workers of a test session read: the first who needs one makes it, the others take it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

FOLDER = "FOLDER_OF_THE_TEST_SESSION"
"""The variable that tells workers where the folder of all is, which the session makes and removes (`conftest.py`)."""


def once(name: str, make: Callable[[Path], object]) -> Path:
    """Give the folder of this name, with what `make` puts into it: in one worker, while the others wait.

    Nobody may change what is in it. If `make` fails, whoever comes next tries it again.
    """
    root = Path(os.environ[FOLDER])
    made, making = root / name, root / f"{name}.making"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(made)
    return made
