"""Tables at every width: what does not fit is folded, nothing is cut, and a pipe gets whole lines."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from local.cli import console

LONG = "s3://landing/orders/2026/01/31/part-00000-4b218778-e7a5-4d73-8187-f10824047715.snappy.parquet"
COLUMNS = ("target", "verdict", "why")
ROWS = (
    ("daily", "late", f"12 min beyond its objective: {LONG} [bold]x[/bold]"),
    ("weekly", "fresh", "nothing is owed"),
)


def characters(text: str) -> str:
    """All that is no blank."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_nothing_is_cut_at_any_width(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every character of every cell is there, no line is wider than the terminal, and nothing is taken for markup."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    console.print_table(COLUMNS, ROWS)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert all(len(line.rstrip()) <= width for line in printed.splitlines())
    assert "…" not in printed
    owed = Counter(characters("".join(COLUMNS) + "".join(cell for row in ROWS for cell in row)))
    assert owed - Counter(characters(printed)) == Counter()


def test_a_pipe_gets_one_line_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """However long, so that grep finds it whole; without colours, and with nothing at its end."""
    monkeypatch.setenv("COLUMNS", "40")
    console.print_table(COLUMNS, ROWS, ["bold red", "green"])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == list(COLUMNS)
    assert first.endswith(ROWS[0][2])
    assert second.split(maxsplit=2) == list(ROWS[1])


def test_ages_stand_beside_times(capsys: pytest.CaptureFixture[str]) -> None:
    """Past and to come; a time that is not there is a dash, and a plan has no ages."""
    now = datetime.now(UTC)
    cells = (now - timedelta(minutes=7, seconds=5), now + timedelta(hours=3, seconds=5), None)
    console.print_table(("a", "b", "c"), [cells])
    printed = capsys.readouterr().out
    assert f"{cells[0]:%Y-%m-%d %H:%M:%S}Z (7 min ago)" in printed
    assert "(in 3 h)" in printed
    assert printed.rstrip().endswith("-")
    console.print_table(("a", "b", "c"), [cells], ages=False)
    assert "ago" not in capsys.readouterr().out
