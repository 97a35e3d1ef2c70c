"""Tables and JSON for people and scripts: one way to print each.

A table is plain text of any width where standard output is no terminal, so that `grep` finds whole lines. Values come
from clouds and files, so nothing in them is taken for markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_json(value: object) -> None:
    """A JSON value on standard output; times in ISO 8601."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def _plain(value: object) -> str:
    """Word for JSON what JSON has no type for: times in ISO 8601, anything else as text."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], styles: Sequence[str] = ()) -> None:
    """A table; `styles` colours whole rows. Where nobody looks (a pipe), it is plain text of any width."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table(columns, rows, styles))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], styles: Sequence[str] = ()) -> Table:
    """The table itself. Values come from outside, so they are text, never markup."""
    made = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for number, row in enumerate(rows):
        made.add_row(*(Text(_cell(value)) for value in row), style=styles[number] if styles else None)
    return made


def _cell(value: object) -> str:
    """Word one value for people: nothing is a dash, a time has seconds and its zone."""
    if value is None:
        return "-"
    return f"{value:%Y-%m-%d %H:%M:%S}Z" if isinstance(value, datetime) else str(value)
