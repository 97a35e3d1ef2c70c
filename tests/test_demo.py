"""`unstale demo`, run as its user runs it: a process of its own, judged by what it prints and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

UNSTALE = str(Path(sys.executable).with_name("unstale"))
FIELDS = {"name", "signals", "runs", "lost", "overlapping", "fresh_as_of"}
LONGEST_SECONDS = 240
"""Four times what it takes: a machine that is busy with other tests is no failure of the demo."""


def play(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and what was printed."""
    done = subprocess.run(
        [UNSTALE, "demo", "--json", *arguments], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_nothing_is_lost_and_nothing_overlaps() -> None:
    """Both halves of the system, judged from the platforms' journals: exit code 0."""
    code, said = play()
    targets = {target["name"]: target for target in said["targets"]}
    assert {name: (t["lost"], t["overlapping"]) for name, t in targets.items()} == dict.fromkeys(targets, (0, 0))
    assert code == 0
    assert all(target.keys() >= FIELDS for target in targets.values())
    assert said["jobs"] == ["Completed"]  # as Fabric was told; that a run covered it is in the line above
    assert targets["daily_revenue"]["signals"] > 500
    assert targets["daily_revenue"]["runs"] < 20
    assert targets["optimize_orders"]["runs"] >= targets["sales_lakehouse"]["runs"]  # it comes after
    assert all(target["fresh_as_of"] for target in targets.values())


def test_the_obvious_handler_loses_in_the_same_story() -> None:
    """A test that could not tell would be worthless: exit code 1, losses on both clouds."""
    code, said = play("--naive")
    lost = {target["name"]: target["lost"] for target in said["targets"]}
    assert code == 1
    assert said["jobs"] == []
    assert lost["stock_levels"] > 0  # refused while someone else's run went on
    assert lost["stock_lakehouse"] > 0  # accepted, and skipped


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    """Whatever it started is in its own process, and whatever it keeps is in memory."""
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [UNSTALE, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as demo:
        assert demo.stdout
        while "refresh started" not in demo.stdout.readline():
            assert demo.poll() is None
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children")
        assert not children.exists() or children.read_text() == ""
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=60)
    assert (demo.returncode, complaints) == (130, "")
    assert list(tmp_path.iterdir()) == []
