"""What the function app writes of looks: a line for what a person wants to know, and counts for the rest."""

from __future__ import annotations

import json
import logging

import pytest

from functions_azure.telemetry import LOOKS, Telemetry
from shared.refresh.engine import LogEvent
from tests.support.core import NOON


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        """Where it stands."""
        return self.time


def looked(outcome: str) -> LogEvent:
    """A look, as the core tells of it."""
    return LogEvent("looked", "", NOON, {"group": "Tables/orders", "outcome": outcome})


def test_looks_are_counted_by_outcome(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand tables each five minutes would fill the log: one line a minute counts them; trouble has its own."""
    caplog.set_level(logging.INFO, "unstale")
    clock = Clock()
    telemetry = Telemetry(clock)
    telemetry.emit(looked("answered"))
    for _ in range(1000):
        telemetry.emit(looked("answered"))
    telemetry.emit(looked("failed"))
    telemetry.emit(looked("spared"))
    clock.time = 60.0
    telemetry.emit(looked("not spared"))
    lines = [json.loads(record.message) for record in caplog.records]
    counts = [line["detail"] for line in lines if line["message"] == "looks"]
    assert counts == [
        dict.fromkeys(LOOKS.values(), 0) | {"answered": 1},
        {"answered": 1000, "failed": 1, "throttled": 0, "spared": 1, "not_spared": 1},
    ]
    told = [line["detail"]["outcome"] for line in lines if line["message"] == "looked"]
    assert told == ["failed", "spared", "not spared"]
