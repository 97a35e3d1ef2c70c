"""What a process does where a thread meets what nobody expected, or does not come back in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local.cli import run
from local.process.process import Half
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.inbound import dispatch
from shared.inbound.messages import Ticked
from shared.refresh.engine import LogEvent, Ports
from shared.targets import Cloud
from tests.support.core import HandClock
from tests.support.one_machine import LAKE


class ExitedError(Exception):
    """The process would be gone."""


def test_what_a_thread_raises_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception beside the verdicts is trouble: it was lost with its thread, and so was the sooner tick."""
    told: list[LogEvent] = []
    clock = HandClock()

    def fail(*_: object) -> Any:
        raise RuntimeError("nobody expected this")

    with StateFile(tmp_path / "unstale.db") as file:
        store = Store(file, Cloud.AWS, clock)

        def ports(waker: Any, emit: Any) -> Ports:
            nothing: Any = None
            return Ports(Cloud.AWS, store, nothing, waker, clock, lambda: "t", emit)

        half = Half(Cloud.AWS, Configuration(()), ports, told.append)
        monkeypatch.setattr(dispatch, "take", fail)
        assert half.take(Ticked()) is False
    assert [(event.what, event.fields["why"]) for event in told] == [
        ("trouble of ours", "RuntimeError: nobody expected this")
    ]


def test_a_thread_that_holds_the_file_holds_no_end_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the file waits for whoever uses it, and dying does not: what is under way after the grace is left."""
    closed: list[bool] = []

    def leave(code: int) -> None:
        raise ExitedError(code, tuple(closed))

    (tmp_path / "unstale.toml").write_text(LAKE)
    monkeypatch.setattr(run, "_live", lambda *_, **__: (True, False))
    monkeypatch.setattr(StateFile, "__exit__", lambda *_: closed.append(True))
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(ExitedError) as exited:
        run.run(tmp_path / "unstale.toml", tmp_path / "unstale.db", once=False)
    assert exited.value.args == (0, ())
