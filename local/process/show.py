"""The lines of the process: on a terminal a line for each target and what happens to it, otherwise a line of JSON each.

A line of JSON has the fields of the deployed functions' lines: `message`, `target`, `detail`, `version`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from rich.console import Console
from rich.live import Live

from local.cli.console import table
from local.cli.status import STYLES
from shared.redaction import NOTHING_KNOWN, TEXT_LIMIT, Redactor
from shared.refresh.engine import LogEvent
from shared.refresh.levels import level_of
from shared.refresh.status import TargetStatus
from shared.version import VERSION

UNSEEN = frozenset({"saved", "looked", "signalled"})
"""Events that happen all the time: on a terminal the line of its target shows what came of it."""
LONGEST_TEXT = 20_000
"""Characters of one text in a line of JSON, as on AWS."""

Rows = Callable[[], Sequence[TargetStatus]]
"""Reads how each target stands."""


class JsonLines:
    """A line of JSON for each thing that happens, written at once."""

    def __init__(self, redactor: Redactor = NOTHING_KNOWN, stop: Callable[[], None] = lambda: None) -> None:
        """`redactor` takes secrets out of each line; `stop` ends the process where nobody reads them any more."""
        self._redactor = redactor
        self._stop = stop
        self._lock = Lock()

    def emit(self, event: LogEvent) -> None:
        """Write one line."""
        line = {
            "timestamp": event.at.isoformat().replace("+00:00", "Z"),
            "level": "warning" if level_of(event.what) == "warning" else "info",
            "message": event.what,
            "target": event.target,
            "detail": {name: self._safe(value) for name, value in event.fields.items()},
            "version": VERSION,
        }
        with self._lock:
            self._write(json.dumps(line, separators=(",", ":")))

    def _write(self, line: str) -> None:
        """Write a line. Nothing is raised into the engine, whose claim would go without its start for want of a log."""
        try:
            print(line, flush=True)
        except BrokenPipeError:  # `unstale run | head`: nobody reads on, so the process ends, as others do
            self._stop()
        except OSError:  # a full disk: the work goes on, and the next line is tried
            return

    def renew(self) -> None:
        """Do nothing: lines are written as things happen."""

    def _safe(self, value: str | float | None) -> str | float | None:
        """Take secrets out of a text, and characters that do something to a terminal."""
        return self._redactor.lines(value, TEXT_LIMIT, LONGEST_TEXT) if isinstance(value, str) else value


class Terminal:
    """A line for each target, renewed in place, below what happened."""

    def __init__(self, live: Live, rows: Rows, redactor: Redactor = NOTHING_KNOWN) -> None:
        """`live` is the region of the terminal that the lines of the targets take."""
        self._live = live
        self._rows = rows
        self._redactor = redactor

    def emit(self, event: LogEvent) -> None:
        """Print one thing that happened, above the lines of the targets."""
        if event.what in UNSEEN:
            return
        detail = " ".join(f"{name}={value}" for name, value in event.fields.items() if value not in {None, "", 0})
        text = f"{event.at:%H:%M:%S}Z  {event.target}  {event.what}  {detail}"
        style = "yellow" if level_of(event.what) == "warning" else "dim"
        safe = self._redactor.plain(text, TEXT_LIMIT)
        self._live.console.print(safe, style=style, markup=False, highlight=False)

    def renew(self) -> None:
        """Renew the line of each target."""
        rows = self._rows()
        cells = [(one.name, one.verdict, one.stale_since, one.fresh_as_of, one.why) for one in rows]
        columns = ("target", "verdict", "stale since", "fresh as of", "why")
        self._live.update(table(columns, cells, [STYLES[one.verdict] for one in rows]), refresh=True)


Show = JsonLines | Terminal
"""An output of either form."""


@contextmanager
def open_show(
    rows: Rows, redactor: Redactor = NOTHING_KNOWN, stop: Callable[[], None] = lambda: None
) -> Iterator[Show]:
    """Show on a terminal, or write lines of JSON where standard output is none; `stop` is as for these."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        yield JsonLines(redactor, stop)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Terminal(live, rows, redactor)
