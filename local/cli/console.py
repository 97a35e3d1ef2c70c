"""Tables and JSON for people and scripts: one way to print each.

A table folds what does not fit and cuts nothing. In a pipe each row is one line, however long, so that `grep` finds
whole lines; in a terminal that is too narrow for the columns, each row is a block of its own. Values come from clouds
and files, so nothing in them is taken for markup. Beside a time stands how long ago it was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.times import span

WIDEST = 100_000
"""Columns of a table that nobody looks at: wide enough for any row, of which a cell has some hundred characters."""


TEXT_COLUMNS = 24
"""How narrow the last column may get, which has the sentences, before rows are blocks. The others are never folded."""
GAP = 2
"""Blanks between two columns of a table: one is lost among those of a sentence, three cost a narrow terminal a word."""


class Answers:
    """How many JSON values this process has printed: a command prints one, whether or not it ends well."""

    printed: ClassVar[int] = 0


def print_json(value: object) -> None:
    """A JSON value on standard output; times in ISO 8601."""
    Answers.printed += 1
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def _plain(value: object) -> str:
    """Word for JSON what JSON has no type for: times in ISO 8601, anything else as text."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], styles: Sequence[str] = (), *, ages: bool = True
) -> None:
    """A table; `styles` colours whole rows, `ages` says how long ago each time was."""
    console = Console()
    now = datetime.now(UTC) if ages else None
    cells = [[_cell(value, now) for value in row] for row in rows]
    *widths, longest = (max(map(len, column)) for column in zip(columns, *cells, strict=True))
    left = console.width - sum(widths) - GAP * len(widths)
    if not console.is_terminal:
        for line in _lines(table(columns, cells, styles)):
            print(line)
    elif left >= min(longest, TEXT_COLUMNS):
        console.print(table(columns, cells, styles, [*widths, min(longest, left)]))
    else:
        for number, row in enumerate(cells):
            console.print(*([""] if number else ()), _block(columns, row, styles[number] if styles else ""), sep="\n")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    styles: Sequence[str] = (),
    widths: Sequence[int] = (),
) -> Table:
    """The table itself. Values come from outside, so they are text, never markup."""
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        made.add_column(column, overflow="fold", width=widths[place] if widths else None)
    for number, row in enumerate(rows):
        made.add_row(*(Text(_cell(value)) for value in row), style=styles[number] if styles else None)
    return made


def _lines(made: Table) -> list[str]:
    """A table as plain lines, as wide as its widest row; nothing is left at their ends."""
    console = Console(width=WIDEST, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(made)
    return [line.rstrip() for line in captured.get().splitlines()]


def _block(columns: Sequence[str], row: Sequence[str], style: str) -> Table:
    """Make a row for a narrow terminal: its first value, and below it a line for each other that says something."""
    made = Table.grid(padding=(0, 1), pad_edge=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in zip(columns, row, strict=True):
        if value not in {"", "-"}:
            made.add_row(Text(name or "what", style="bold"), Text(value, style=style))
    return made


def _cell(value: object, now: datetime | None = None) -> str:
    """Word one value for people: nothing is a dash, a time has its zone, and its age where `now` is told."""
    if value is None:
        return "-"
    if not isinstance(value, datetime):
        return str(value)
    return f"{value:%Y-%m-%d %H:%M:%S}Z" + (f" ({age(value, now)})" if now else "")


def age(time: datetime, now: datetime) -> str:
    """How long ago a time was, or in how long it comes."""
    return f"{span(now - time)} ago" if time <= now else f"in {span(time - now)}"
