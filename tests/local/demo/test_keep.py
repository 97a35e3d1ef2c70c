"""`unstale demo --keep` in one terminal, every command in a second one: two processes, and nothing left at the end."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from local.cli.errors import NotWellError, UsageError
from local.demo import keep
from local.demo.keep import HidableStore
from local.emulators.memory import MemoryStore
from shared.refresh.ports import Document, StoreDownError
from tests.support.one_machine import COMMAND
from tests.support.store_contract import LATER, NOON, VIEW, StoreContract, body
from tests.support.waiting import PATIENCE_SECONDS, wait_until

PLAYED = ("returns", "stock_lakehouse")
"""A target on either cloud."""
HERE = str(Path(__file__).parents[3])


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


def test_every_command_works_in_a_second_terminal(tmp_path: Path) -> None:
    """Status and history read both clouds, pause and refresh are heard by the handlers, deeds happen, a hidden store
    loses nothing; Ctrl-C ends all of it with code 0, and no file is left.
    """
    with running_demo(tmp_path) as demo:
        kinds = {target["kind"] for target in demo.status().values()}
        assert {"glue-view", "fabric-lake-views", "fabric-item-job"} <= kinds
        demo.wait(lambda found: all(found[name]["fresh_as_of"] for name in PLAYED))
        read = {name: demo.status()[name]["fresh_as_of"] for name in PLAYED}
        # A person's brakes, and a deed that they hold back.
        assert demo.do("demo", "do", "pause", "stock_lakehouse")[0] == 0
        assert demo.do("demo", "do", "file", "stock_lakehouse")[0] == 0
        demo.wait(lambda found: found["stock_lakehouse"]["verdict"] == "held")
        # A file while the store is hidden: its message comes back.
        code, out, _ = demo.do("demo", "do", "hide-store")
        assert (code, "nothing is lost" in out) == (0, True)
        assert demo.do("demo", "do", "file", "returns")[0] == 0
        assert demo.do("demo", "do", "show-store")[0] == 0
        assert demo.do("demo", "do", "resume", "stock_lakehouse")[0] == 0
        demo.wait(lambda found: all(found[name]["fresh_as_of"] > read[name] for name in PLAYED))
        assert len(json.loads(demo.do("history", "stock_lakehouse", "--json")[1])["runs"]) >= 2
        # What cannot be is said.
        code, _, err = demo.do("demo", "do", "drop-event", "returns")
        assert (code, "try clicks_by_hour" in err) == (2, True)
        assert "there is no target 'nobody'" in demo.do("demo", "do", "file", "nobody")[2]
        assert demo.do("demo", "do", "drop-event")[0] == 0
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(PATIENCE_SECONDS) == 0
        assert list(demo.folder.iterdir()) == []
    assert any("nothing of it is left" in line for line in demo.shown)
    assert not any("Traceback" in line for line in demo.shown)


@pytest.mark.parametrize("words", [[], ["nonsense"], ["file", "a", "b"]])
def test_a_deed_that_there_is_not_is_wrong_usage(words: list[str]) -> None:
    """The message lists what there is."""
    with pytest.raises(UsageError, match="file, drop-event, hang, pause, resume, hide-store, show-store"):
        keep.do(words, {"UNSTALE_DEMO_URL": "http://127.0.0.1:9/x"})


def test_without_a_demo_there_is_nothing_to_do() -> None:
    """Nobody exported its address, it is no address that a request may go to, or nobody answers there any more."""
    with pytest.raises(UsageError, match="demo --keep"):
        keep.do(["file"], {})
    with pytest.raises(UsageError, match="must be https"):
        keep.do(["file"], {"UNSTALE_DEMO_URL": "http://example.com/x"})
    with pytest.raises(NotWellError, match="Does it still run"):
        keep.do(["file"], {"UNSTALE_DEMO_URL": "http://127.0.0.1:9/x"})


class TestHidableStore(StoreContract):
    """While it is in sight it is a store like any other."""

    @pytest.fixture
    def store(self) -> HidableStore:
        """One in sight."""
        return HidableStore(MemoryStore(), Event())


def test_a_hidden_store_does_not_answer() -> None:
    """Each of its methods says how to bring it back."""
    hidden = Event()
    store = HidableStore(MemoryStore(), hidden)
    hidden.set()
    for call in (
        lambda: store.load(VIEW),
        lambda: store.save(Document(VIEW), body(1), NOON),
        lambda: store.remove(Document(VIEW)),
        lambda: list(store.due(NOON, 1)),
        lambda: store.keys("", 1),
        lambda: store.load_many([VIEW]),
        lambda: store.append(VIEW, "1", body(1), LATER),
        lambda: store.history(VIEW, 1),
    ):
        with pytest.raises(StoreDownError, match=re.escape("unstale demo do show-store")):
            call()
