"""Logs and metrics of the deployment: JSON lines (Powertools Logger) and metrics (EMF, Powertools Metrics) on stdout.

Counts are of the whole deployment, because each metric of each target costs money every month; how a target stands is
told for each, and for all of them together, so that one alarm sees the worst. Lines have the rest.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from shared.redaction import NOTHING_KNOWN, TEXT_LIMIT, Redactor
from shared.refresh.engine import LogEvent
from shared.refresh.levels import level_of
from shared.version import VERSION

NAMESPACE = "unstale"
"""CloudWatch's namespace of all our metrics, as the template's alarms name it."""

COUNTED: Mapping[str, Mapping[str, str]] = {
    "signalled": {"Signals": "signals", "AbsorbedSignals": "absorbed"},
    "now running": {"Starts": ""},
    "run succeeded": {"Successes": "", "DPUSeconds": "dpu_seconds"},
    "run failed": {"Failures": "", "DPUSeconds": "dpu_seconds"},
    "run cancelled": {"DPUSeconds": "dpu_seconds"},
    "trouble": {"PlatformTroubles": ""},
}
"""Events of the engine by name: the metrics that each adds to, with the field that says how much; without one, 1."""

GAUGES: Mapping[str, tuple[str, str]] = {
    "owed_age_seconds": ("OwedAge", "Seconds"),
    "fresh_age_seconds": ("FreshAge", "Seconds"),
    "held": ("Held", "Count"),
    "late": ("Late", "Count"),
    "source_ahead_seconds": ("SourceAhead", "Seconds"),
}
"""How a target stands, by the field of a `saved` event: name and unit of the metric."""

QUIET = ("botocore", "urllib3")
"""Libraries whose lines count from a warning on, whatever LogLevel says: at DEBUG they show the answers of Secrets
Manager and the addresses of webhooks. Lambda's runtime gives the root logger the level, which these would inherit."""

LONGEST_TEXT = 20_000
"""Characters. A traceback of many targets at once ends here; CloudWatch takes 256 KB a line."""


class Telemetry:
    """The log and the metrics of the process. Counts are kept until the invocation ends, and written as one line."""

    def __init__(self, service: str, redactor: Redactor = NOTHING_KNOWN, metrics: str = "per-view") -> None:
        """`redactor` takes secrets out of each line; `metrics` is one of `settings.METRICS`."""
        self._service = service
        self._metrics = metrics
        self._redactor = redactor
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._standings: dict[str, dict[str, float]] = {}
        self._looks: defaultdict[str, int] = defaultdict(int)
        self._logger = Logger(
            service=service,
            json_serializer=self._line,
            serialize_stacktrace=False,
            utc=True,
            location=None,
            version=VERSION,
        )
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)

    def emit(self, event: LogEvent) -> None:
        """Count and log what the engine says; of a saved record keep how its target stands, for the metrics."""
        for metric, field in COUNTED.get(event.what, {}).items():
            self._counts[metric] += float(event.fields.get(field) or 0) if field else 1
        if event.what == "looked":
            self._looks[str(event.fields["outcome"])] += 1
        if event.what == "saved":
            self._standings[event.target] = {
                name: float(value) for name, value in event.fields.items() if isinstance(value, int | float)
            }
        # Looks are several for every tick: the metrics count them.
        log = getattr(self._logger, "debug" if event.what == "looked" else level_of(event.what))
        log(event.what, extra={"target": event.target, "detail": dict(event.fields)})

    def note_ignored(self, what: str) -> None:
        """Count an event of a kind that nobody acts on."""
        self._counts["IgnoredEvents"] += 1
        self._logger.debug("ignored", extra={"detail": {"what": what}})

    def note_tick(self) -> None:
        """Count a tick. An alarm goes off where none is counted for ten minutes."""
        self._counts["Ticks"] += 1

    def note_dead_letter(self, message_id: str, why: str) -> None:
        """Count and log a message that was put into the dead letters."""
        self._counts["DeadLetters"] += 1
        self._logger.error("dead letter", extra={"message_id": message_id, "detail": {"why": why}})

    def note_returned(self, message_ids: list[str], why: str, cause: Exception | None) -> None:
        """Count and log messages that come back because of trouble of ours; none, where a caller is told instead."""
        if message_ids:
            self._counts["ReturnedMessages"] += len(message_ids)
        self._logger.error(
            "trouble of ours", exc_info=cause, extra={"message_ids": message_ids, "detail": {"why": why}}
        )

    def note_late_return(self, why: str) -> None:
        """Log that messages come back when their queue says, and not sooner."""
        self._logger.warning("messages come back later", extra={"detail": {"why": why}})

    @contextmanager
    def invocation(self, correlation_id: str) -> Iterator[None]:
        """Let all lines within carry the id, and write the metrics at the end, however the invocation ends."""
        self._logger.set_correlation_id(correlation_id)
        try:
            yield
        finally:
            self._write_metrics()

    def _write_metrics(self) -> None:
        """Write the metrics that are wanted, if any; then begin to count anew."""
        if self._metrics != "off":
            self._write_counts()
            self._write_standings()
        self._counts.clear()
        self._looks.clear()
        self._standings.clear()

    def _write_counts(self) -> None:
        """Write a line of counts, and one for each outcome of looks."""
        if self._counts:
            metrics = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
            for name, count in self._counts.items():
                metrics.add_metric(name, "Count", count)
            metrics.flush_metrics()
        for outcome, count in self._looks.items():
            metrics = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
            metrics.add_dimensions(service=self._service, outcome=outcome)
            metrics.add_metric("Looks", "Count", count)
            metrics.flush_metrics()

    def _write_standings(self) -> None:
        """Write a line for each target that was saved.

        It is of the deployment, which alarms watch the worst of; and of the target, too, unless that costs too much.
        """
        for target, standing in self._standings.items():
            metrics = EphemeralMetrics(namespace=NAMESPACE, service=self._service)
            if self._metrics == "per-view":
                metrics.add_dimensions(service=self._service, target=target)
            for field, (name, unit) in GAUGES.items():
                if field in standing:
                    metrics.add_metric(name, unit, standing[field])
            metrics.flush_metrics()

    def _line(self, record: Mapping[str, Any]) -> str:
        """Write a record of the log as one line of JSON, made safe to show."""
        return json.dumps(self._safe(record), default=str, separators=(",", ":"))

    def _safe(self, value: Any) -> Any:
        """Take secrets out of a value, and characters that do something to a terminal, at any depth."""
        if isinstance(value, Mapping):
            return {key: self._safe(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._safe(each) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._redactor.lines(str(value), TEXT_LIMIT, LONGEST_TEXT)
