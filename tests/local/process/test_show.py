"""What is worth a warning: the same on both clouds and on one's own machine."""

from __future__ import annotations

import json
import logging

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
