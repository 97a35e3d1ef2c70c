"""`unstale demo --keep` in one terminal, and a second one in which commands are typed: two processes."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.one_machine import COMMAND
from tests.support.waiting import PATIENCE_SECONDS, wait_until

HERE = str(Path(__file__).parents[2])


@dataclass
class Demo:
    """A demo in its own terminal, and what it exports to a second one."""

    process: subprocess.Popen[str]
    exported: dict[str, str]
    folder: Path
    shown: list[str]

    def do(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command in the second terminal."""
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": HERE, **self.exported},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return done.returncode, done.stdout, done.stderr

    def does(self, *arguments: str) -> str:
        """What a command prints that ends well."""
        code, out, error = self.do(*arguments)
        assert code == 0, (arguments, out, error)
        return out

    def end(self) -> None:
        """Ctrl-C: it ends with code 0 and leaves no file, no message of trouble, no traceback."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0
        assert list(self.folder.iterdir()) == []

    def status(self) -> dict[str, dict[str, Any]]:
        """How each target stands, by its name."""
        found = json.loads(self.do("status", "--json")[1])
        assert "away" not in found
        return {target["name"]: target for target in found["targets"]}

    def wait(self, met: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        """Wait until the targets stand so; each look is a process of its own."""
        wait_until(lambda: met(self.status()), pause_seconds=2)


@contextmanager
def running_demo(folder: Path) -> Iterator[Demo]:
    """Start it, and read what it exports; whatever happens it ends with the context."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "demo", "--keep"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": HERE, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        head: list[str] = []
        for line in process.stdout:
            head.append(line)
            if "Ctrl-C here ends it" in line:
                break
        exports = [shlex.split(line)[1] for line in head if line.startswith("export ")]
        exported = dict(each.split("=", 1) for each in exports)
        lines = process.stdout
        reader = threading.Thread(target=lambda: head.extend(lines))
        reader.start()
        yield Demo(process, exported, folder, head)
        reader.join()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
