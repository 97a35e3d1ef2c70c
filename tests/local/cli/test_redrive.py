"""`unstale redrive`: what it shows, how it follows the move, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.cli import redrive
from local.cli.errors import NotWellError
from shared.config.load import load
from shared.inbound.dead_letters import DeadLetterSummary, Move
from shared.refresh.ports import StoreDownError

CONFIG = '[targets.a]\nkind = "glue-view"\ncatalog_id = "123456789012"\ndatabase = "d"\ntable = "v"\n'


class Letters:
    """Two queues; `told` is what each look at the move gives."""

    def __init__(self, count: int, *told: Sequence[Move]) -> None:
        self.count, self.began = count, 0
        self._told: Iterator[Sequence[Move]] = iter(told)

    def summaries(self) -> Sequence[DeadLetterSummary]:
        """Some in one of them."""
        since = datetime(2026, 11, 23, tzinfo=UTC) if self.count else None
        return [
            DeadLetterSummary("events", self.count, since, ("not JSON",) if self.count else ()),
            DeadLetterSummary("wakes", 0),
        ]

    def redrive(self) -> None:
        """Begin."""
        self.began += 1

    def moves(self) -> Sequence[Move]:
        """The next look."""
        return next(self._told)


LONG_AGO = Move("wakes", "FAILED", 0, 3, "of last year")


def run(monkeypatch: pytest.MonkeyPatch, letters: Letters, *, dry_run: bool = False, as_json: bool = False) -> None:
    """The command on these letters."""
    monkeypatch.setattr(redrive, "_open", lambda *_: letters)
    monkeypatch.setattr(redrive, "read_config", lambda _: load(CONFIG))
    redrive.run(Path("unstale.toml"), dry_run=dry_run, as_json=as_json, sleep=lambda _: None)


def test_a_dry_run_shows_and_moves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """How many, since when and why; not well while there are any."""
    letters = Letters(2)
    with pytest.raises(NotWellError):
        run(monkeypatch, letters, dry_run=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["dead_letters"][0] == {
        "queue": "events",
        "count": 2,
        "oldest": "2026-11-23T00:00:00Z",
        "why": "not JSON",
    }
    assert letters.began == 0


def test_nothing_to_move_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dead letters nothing is begun, and a move that failed long ago is no news."""
    letters = Letters(0)
    run(monkeypatch, letters)
    run(monkeypatch, letters, dry_run=True)
    assert letters.began == 0


def test_progress_is_shown_until_it_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per change, of the queues that had any."""
    told = [
        [Move("events", status, moved, 2), LONG_AGO]
        for status, moved in (("RUNNING", 0), ("RUNNING", 1), ("RUNNING", 1), ("COMPLETED", 2))
    ]
    letters = Letters(2, *told)
    run(monkeypatch, letters)
    lines = [line for line in capsys.readouterr().out.splitlines() if "moved back" in line]
    assert lines == [
        "events: 0 of 2 moved back, running",
        "events: 1 of 2 moved back, running",
        "events: 2 of 2 moved back, completed",
    ]
    assert letters.began == 1


def test_json_is_json_whatever_is_moved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """How far the move is goes where it does not stand in the way of a script."""
    run(monkeypatch, Letters(2, [Move("events", "COMPLETED", 2, 2)]), as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["dead_letters"][0]["count"] == 2
    assert "events: 2 of 2 moved back, completed" in printed.err


def test_a_move_that_fails_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SQS's reason."""
    with pytest.raises(NotWellError, match="events: failed AccessDenied"):
        run(monkeypatch, Letters(2, [Move("events", "FAILED", 1, 2, "AccessDenied")]))


def test_queues_that_do_not_answer_are_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer, not a traceback."""

    class Down(Letters):
        def summaries(self) -> Sequence[DeadLetterSummary]:
            raise StoreDownError("counting dead letters: no credentials")

    with pytest.raises(NotWellError, match="no credentials"):
        run(monkeypatch, Down(1))


def test_a_process_has_no_dead_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose state is a file has no queues: nothing to move, and nothing that is missing."""
    (tmp_path / "unstale.toml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.delenv("UNSTALE_TABLE", raising=False)
    monkeypatch.setenv("UNSTALE_STATE", str(tmp_path / "unstale.db"))
    redrive.run(tmp_path / "unstale.toml", dry_run=False, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"dead_letters": []}
    none = redrive.NoDeadLetters()
    none.redrive()
    assert none.moves() == ()
