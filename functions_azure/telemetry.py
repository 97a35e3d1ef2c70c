"""Logs and metrics of the deployment: JSON lines, and a filter that keeps secrets out of every library's lines.

The worker sends what is logged to the host, and the host to Application Insights, where a line is the `message` of a
trace. So queries begin with `traces | extend line = parse_json(message)`; see the README.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from functions_azure.correlation import current
from shared.redaction import Redactor, plain
from shared.refresh.engine import LogEvent
from shared.refresh.levels import Level, level_of
from shared.version import VERSION

LEVELS: Mapping[Level, int] = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
"""The levels of Python's logging, by the words of `shared.refresh.levels`."""

QUIET = ("azure.core.pipeline.policies.http_logging_policy", "urllib3.connectionpool")
"""Loggers that tell of each request, in several lines; where nobody chose a level, only their warnings are kept."""

REFUSALS_EVERY_SECONDS = 60.0
"""Between two lines about calls that were not let in: 1,440 a day for each instance, however many calls there are."""
CHECKS_TOLD = 50
"""Names of checks in one such line. There are some 40, and a few with the name of an exception behind them."""

LOOKS = {
    "answered": "answered",
    "failed": "failed",
    "throttled": "throttled",
    "spared": "spared",
    "not spared": "not_spared",
}
"""Outcomes of looks, and the fields of the line that counts them: two are of looks before a start."""

LONGEST_LINE, LONGEST_TEXT = 8_000, 30_000
"""Characters. A traceback of many targets at once ends here; a trace's message holds 32,768."""

log = logging.getLogger("unstale")


class Telemetry:
    """The log of the process, one JSON line for each thing that happens; Application Insights counts the lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._refusals = MinuteCounts(clock)
        self._looks = MinuteCounts(clock)

    def emit(self, event: LogEvent) -> None:
        """Log an event of the engine. Looks are counted by outcome: a line for each would be most of the log."""
        if event.what == "looked":
            self._looks.add(str(event.fields["outcome"]))
            self._tell_looks()
            if event.fields["outcome"] == "answered":
                return
        _write(LEVELS[level_of(event.what)], event.what, target=event.target, detail=dict(event.fields))

    def note_ignored(self, what: str) -> None:
        """Log an event of a kind that nobody acts on."""
        _write(logging.DEBUG, "ignored", detail={"what": what})

    def note_dead_letter(self, queue: str, why: str) -> None:
        """Log a message that was put into the dead letters."""
        _write(logging.ERROR, "dead letter", detail={"queue": queue, "why": plain(why)})

    def note_refusal(self, check: str) -> None:
        """Count a call of Fabric's, or of somebody who says so, that was not let in. The answer does not say why.

        Anybody can make such calls, and each line costs: so they are counted, and told of together.
        """
        self._refusals.add(check)
        self.tell_refusals()

    def note_unjudged(self, trouble: Exception) -> None:
        """Count a call that could not be judged, such as for want of signing keys: anybody can make such calls, too."""
        self._refusals.add(f"not judged: {type(trouble).__name__}: {plain(str(trouble), 200)}")
        self.tell_refusals()

    def tell_refusals(self) -> None:
        """Write one line for all calls since the last one that were not let in, at most once a minute.

        `check` is the one that refused most of them.
        """
        counts = self._refusals.due()
        if counts:
            most = max(counts, key=lambda check: counts[check])
            detail = {"check": most, "calls": sum(counts.values()), "checks": counts}
            _write(logging.WARNING, "call refused", detail=detail)

    def _tell_looks(self) -> None:
        """Write one line for all looks since the last one, at most once a minute."""
        counts = self._looks.due()
        if counts:
            detail = {name: counts.get(outcome, 0) for outcome, name in LOOKS.items()}
            _write(logging.INFO, "looks", detail=detail)

    def note_returned(self, messages: int, why: str, cause: BaseException | None) -> None:
        """Log that messages will come back, because of trouble of ours."""
        _write(logging.ERROR, "trouble of ours", cause, detail={"messages": messages, "why": plain(why)})


class MinuteCounts:
    """Counts what happens often, by its kind, to be told of together once a minute. Safe between threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._told_at = -math.inf

    def add(self, kind: str) -> None:
        """Count one. Beyond so many kinds, the rest are counted together."""
        with self._lock:
            known = kind in self._counts or len(self._counts) < CHECKS_TOLD
            self._counts[kind if known else "other"] += 1

    def due(self) -> Mapping[str, int]:
        """Return what is to be told now, and count anew; nothing within a minute after the last time."""
        with self._lock:
            now = self._clock()
            if not self._counts or now - self._told_at < REFUSALS_EVERY_SECONDS:
                return {}
            counts, self._counts, self._told_at = dict(self._counts), Counter(), now
            return counts


def _write(level: int, what: str, cause: BaseException | None = None, **fields: Any) -> None:
    if log.isEnabledFor(level):
        line = json.dumps(
            {"message": what, "version": VERSION, **fields, **current()}, default=str, separators=(",", ":")
        )
        log.log(level, "%s", line, exc_info=cause)


class Redaction(logging.Filter):
    """Takes secrets out of a record's text, its traceback included."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, made safe."""
        record.msg, record.args = self._safe(_text_of(record)), ()
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        record.exc_text = self._safe(record.exc_text) if record.exc_text else None
        record.stack_info = self._safe(record.stack_info) if record.stack_info else None
        return True

    def _safe(self, text: str) -> str:
        """Without secrets, and without characters that do something to a terminal."""
        return self._redactor.lines(text, LONGEST_LINE, LONGEST_TEXT)


def _text_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a library's own mistake must not cost the line
        return f"{record.msg} {record.args}"


def install(redactor: Redactor) -> None:
    """Put the filter before each handler of the root logger that has none: the worker's, which sends to the host."""
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler and not any(isinstance(each, Redaction) for each in handler.filters):
            handler.addFilter(Redaction(redactor))
    for name in QUIET:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
