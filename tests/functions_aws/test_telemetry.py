"""What the Lambda tells: each line JSON without secrets, and metrics that sum up an invocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from functions_aws.telemetry import Telemetry
from shared.redaction import Redactor
from shared.refresh.engine import LogEvent

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVICES = count(1)
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"

Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture(name="telemetry")
def new_telemetry(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Telemetry]:
    """Makes one; it must be made by the test itself, whose standard output it then writes to."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    return lambda: Telemetry(f"telemetry-{next(SERVICES)}", Redactor([SECRET]))


@pytest.fixture(name="told")
def told_lines(capsys: pytest.CaptureFixture[str]) -> Told:
    """What was written so far, line by line."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def happened(what: str, target: str = "daily", **fields: Any) -> LogEvent:
    """Something that the engine says."""
    return LogEvent(what, target, AT, fields)


def test_an_invocation_is_one_line_of_counts(telemetry: Callable[[], Telemetry], told: Told) -> None:
    """However many things happen, each count is written once, as their sum, for the whole deployment."""
    tells = telemetry()
    with tells.invocation("id"):
        for _ in range(3):
            tells.emit(happened("signalled", signals=10, absorbed=9))
        tells.emit(happened("now running", run_id="r"))
        tells.emit(happened("run succeeded", dpu_seconds=1.5))
        tells.emit(happened("run failed", dpu_seconds=None))
        tells.note_ignored("aws.s3 Object Tags Added")
        tells.note_dead_letter("m", "why")
        tells.note_returned(["a", "b"], "why", None)
    [line] = [line for line in told() if "_aws" in line]
    [described] = line["_aws"]["CloudWatchMetrics"]
    assert (described["Namespace"], described["Dimensions"]) == ("unstale", [["service"]])
    values = {metric["Name"]: line[metric["Name"]] for metric in described["Metrics"]}
    assert values == {
        "Signals": [30],
        "AbsorbedSignals": [27],
        "Starts": [1],
        "Successes": [1],
        "Failures": [1],
        "DPUSeconds": [1.5],
        "IgnoredEvents": [1],
        "DeadLetters": [1],
        "ReturnedMessages": [2],
    }


def test_how_a_target_stands_is_told_for_it_and_for_all(telemetry: Callable[[], Telemetry], told: Told) -> None:
    """The last standing of each target counts; without dimensions of its own no alarm could see the worst of all."""
    tells = telemetry()
    with tells.invocation("id"):
        tells.emit(happened("saved", owed_age_seconds=5.0, held=0))
        tells.emit(happened("saved", owed_age_seconds=0.0, held=1, fresh_age_seconds=7.0))
        tells.emit(happened("saved", "weekly", owed_age_seconds=9.0, held=0))
    daily, weekly = (line for line in told() if "_aws" in line)
    assert daily["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"], ["service", "target"]]
    assert (daily["target"], daily["OwedAge"], daily["FreshAge"], daily["Held"]) == ("daily", [0], [7], [1])
    assert (weekly["target"], weekly["OwedAge"], "FreshAge" in weekly) == ("weekly", [9], False)


@pytest.mark.parametrize(("metrics", "lines"), [("per-view", 4), ("total", 4), ("off", 0)])
def test_metrics_cost_as_much_as_is_wanted(
    metrics: str, lines: int, capsys: pytest.CaptureFixture[str], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`total` writes the same values without the view, so that there are five metrics however many views; `off` none.

    The log has the same lines each time.
    """
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    tells = Telemetry(f"telemetry-{next(SERVICES)}", metrics=metrics)
    with tells.invocation("id"):
        tells.emit(happened("signalled", signals=1, absorbed=0))
        tells.emit(happened("looked", "", outcome="answered"))
        for number in range(2):
            tells.emit(happened("saved", f"v{number}", owed_age_seconds=number, held=0, fresh_age_seconds=7.0, late=0))
    written = told()
    measured = [line for line in written if "_aws" in line]
    assert len(written) - len(measured) == 4
    assert len(measured) == lines
    standings = [line for line in measured if "OwedAge" in line]
    assert [line["OwedAge"] for line in standings] == ([[0], [1]] if lines else [])
    names = {name for line in standings for name in line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][-1]}
    assert names == {"per-view": {"service", "target"}, "total": {"service"}, "off": set()}[metrics]


def test_an_invocation_leaves_nothing_to_the_next(telemetry: Callable[[], Telemetry], told: Told) -> None:
    """Metrics are written even where the invocation fails; then counts and the correlation id begin anew."""
    tells = telemetry()

    def fail() -> None:
        with tells.invocation("first"):
            tells.emit(happened("signalled", signals=1, absorbed=0))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert [line["Signals"] for line in told() if "_aws" in line] == [[1]]
    with tells.invocation("second"):
        tells.emit(happened("now running"))
    lines = told()
    assert [line["correlation_id"] for line in lines if "message" in line] == ["second"]
    assert [line for line in lines if "Signals" in line] == []


def test_lines_say_what_happened_to_whom(telemetry: Callable[[], Telemetry], told: Told) -> None:
    """One JSON object each, with the target and the plain values that the engine gave."""
    tells = telemetry()
    with tells.invocation("id"):
        tells.emit(happened("trouble", code="AccessDeniedException", message="no", sent="rejected"))
    [line] = [line for line in told() if "message" in line]
    assert (line["level"], line["message"], line["target"]) == ("WARNING", "trouble", "daily")
    assert line["detail"] == {"code": "AccessDeniedException", "message": "no", "sent": "rejected"}


def test_signals_of_a_storm_are_counted_and_not_written(
    telemetry: Callable[[], Telemetry], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the level that deployments run with, a batch of absorbed signals is one line: that of its metrics."""
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "INFO")
    tells = telemetry()
    with tells.invocation("id"):
        for number in range(50):
            tells.emit(happened("signalled", f"t{number}", signals=10, absorbed=10))
    assert len(told()) == 1


def fail_with(text: str) -> None:
    """Fail, with a cause."""
    try:
        _refuse(text)
    except ValueError as cause:
        raise RuntimeError("outer") from cause


def _refuse(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize(
    "hidden", [SECRET, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", "Bearer abc.def", "\x1b[2J", "\x7f", "\u202e", "\r"]
)
def test_no_line_shows_a_secret_or_does_something_to_a_terminal(
    telemetry: Callable[[], Telemetry], capsys: pytest.CaptureFixture[str], hidden: str
) -> None:
    """In messages, in fields, however nested, in notes and in tracebacks with their causes; they stay readable."""
    tells = telemetry()
    with pytest.raises(RuntimeError) as caught:
        fail_with(f'it said "{hidden}", and then went')
    caught.value.add_note(f"target {hidden}")
    with tells.invocation(f"id {hidden}"):
        tells.emit(happened("trouble", hidden, message=f'"{hidden}"'))
        tells.note_dead_letter(hidden, f"why {hidden}")
        tells.note_returned([hidden], f"why {hidden}", caught.value)
    lines = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' not in line]
    assert len(lines) == 3
    for line in lines:
        assert hidden not in line
        assert hidden not in str(json.loads(line))
    traceback = json.loads(lines[-1])["exception"]
    assert traceback.startswith("Traceback")
    assert '\n  File "' in traceback
    assert "ValueError: it said" in traceback
