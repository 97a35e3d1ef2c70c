"""What is worth a warning: the same on both clouds and on one's own machine."""

from __future__ import annotations

import json
import logging
import sys
from errno import ENOSPC
from io import StringIO

import pytest

from functions_aws.telemetry import Telemetry as OnAws
from functions_azure.telemetry import Telemetry as OnAzure
from local.process.show import JsonLines
from shared.refresh.engine import LogEvent
from shared.refresh.levels import FREQUENT, WARNINGS, level_of
from tests.support.core import NOON


@pytest.mark.parametrize("what", [*sorted(WARNINGS), *sorted(FREQUENT), "saved", "run succeeded", "of a later release"])
def test_an_event_has_one_level_wherever_it_is_written(
    what: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There were three tables, and outcome events that nobody could send were no warning in one of them."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    caplog.set_level(logging.DEBUG, "unstale")
    event = LogEvent(what, "daily", NOON, {})
    JsonLines().emit(event)
    OnAws(f"levels-{what}").emit(event)
    OnAzure().emit(event)
    of_run, of_lambda = (json.loads(line)["level"].lower() for line in capsys.readouterr().out.splitlines())
    of_app = caplog.records[-1].levelname.lower()
    assert (of_lambda, of_app) == (level_of(what), level_of(what))
    assert (of_run == "warning") == (level_of(what) == "warning")


@pytest.mark.parametrize(("failure", "stopped"), [(BrokenPipeError(), 1), (OSError(ENOSPC, "full"), 0)])
def test_a_line_that_cannot_be_written_is_no_trouble_of_the_engine(
    failure: OSError, stopped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was raised between a claim and its start, again and again: nothing was refreshed, and nobody was told. Where
    nobody reads the lines any more the process ends; on a full disk the work goes on.
    """
    stops: list[None] = []

    class Broken(StringIO):
        """What nothing can be written to."""

        def write(self, _: str) -> int:
            """Fail."""
            raise failure

    monkeypatch.setattr(sys, "stdout", Broken())
    JsonLines(stop=lambda: stops.append(None)).emit(LogEvent("saved", "daily", NOON, {}))
    assert len(stops) == stopped
