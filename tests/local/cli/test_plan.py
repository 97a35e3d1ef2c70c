"""`unstale plan`: what is at hand is unwrapped, what would start is told, and what would not, why."""

from __future__ import annotations

import io
import json
import sys
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.cli import main
from local.cli.samples import KINDS
from tests.support.golden_folders import GOLDEN

FOLDER = GOLDEN / "plan"
CONFIG = ["--config", str(FOLDER / "unstale.toml")]


def planned(file: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of a plan, whatever its exit code says."""
    assert main(["plan", str(file), "--json", *CONFIG]) in {0, 1}
    lines: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["plan"]
    return lines


EXPECTED = {
    "aws-receive": [("arrival", "daily"), ("after", "weekly")],
    "az-peek": [("arrival", "lake")],
    "b64": [("arrival", "lake")],
    "list-str": [("malformed", None)],
    "poison": [("malformed", None)],
    "s3-notification": [
        ("malformed", None),
        *(
            (f"{event}, if S3 told EventBridge", target)
            for event, target in [("arrival", "daily"), ("after", "weekly")]
        ),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_people_have_at_hand_is_unwrapped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of both clouds' tools, our dead letters, base64, and what a bucket sends itself are opened."""
    lines = planned(FOLDER / f"{name}.json", capsys)
    assert [(line["event"], line["target"]) for line in lines] == EXPECTED[name]


def test_every_wrapped_case_has_an_expectation() -> None:
    """No file of the folder is left out."""
    assert {path.stem for path in FOLDER.glob("*.json")} == EXPECTED.keys()


def test_an_s3_notification_is_named_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    """Sent straight to the queue it is a dead letter; its key is decoded for what EventBridge would tell."""
    dead, arrival, _ = planned(FOLDER / "s3-notification.json", capsys)
    assert "switch on Amazon EventBridge for the bucket" in dead["why"]
    assert arrival["why"] == "s3://landing/orders/ä b+c/1.json"


def test_a_line_each_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON Lines are read, in any encoding of JSON, from a file or from standard input."""
    lines = '{"refresh": "daily"}\n\n{"refresh": "weekly"}\n'
    file = tmp_path / "events.jsonl"
    file.write_text(lines, encoding="utf-8-sig")
    assert [line["target"] for line in planned(file, capsys)] == ["daily", "weekly", "weekly"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO('{"refresh": "weekly"}'.encode("utf-16"))))
    assert main(["plan", "-", "--json", *CONFIG]) == 0
    assert "weekly" in capsys.readouterr().out


def test_why_nothing_matches_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An arrival beside what a target wants is told what is wanted there; one elsewhere, that nobody is there."""

    def why(bucket: str, key: str) -> str:
        file = tmp_path / "event.json"
        detail = {"bucket": {"name": bucket}, "object": {"key": key}}
        event = {"source": "aws.s3", "detail-type": "Object Created", "time": "2026-01-31T12:00:00Z", "detail": detail}
        file.write_text(json.dumps(event), encoding="utf-8")
        [line] = planned(file, capsys)
        assert line["target"] is None
        return str(line["why"])

    assert why("landing", "x") == 's3://landing/x: no target names it: daily wants prefix "orders/"'
    assert why("landing", "orders/_temporary/x").endswith("what lies in a folder _temporary is no arrival")
    assert why("elsewhere", "x") == "s3://elsewhere/x: no target names it, nor any other thing in that place"


def test_a_request_is_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The body of a request is what would be sent, and no Python bytes."""
    assert main(["plan", str(FOLDER / "az-peek.json"), *CONFIG]) == 0
    assert "b'" not in capsys.readouterr().out
    [line] = planned(FOLDER / "az-peek.json", capsys)
    body = {"executionData": {"mlvExecutionDefinitionId": "5b218778-e7a5-4d73-8187-f10824047718"}}
    assert line["request"]["body"] == body


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_signals_the_target_that_it_is_made_for(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `plan --sample` prints, `plan` reads, and it starts a refresh."""
    assert main(["plan", "--sample", kind, *CONFIG]) == 0
    file = tmp_path / "sample.json"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    first, *_ = planned(file, capsys)
    assert first["target"] in {"daily", "lake"}
    assert first["request"]


def test_a_sample_without_a_source_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And so are no file and no kind, or both."""
    file = tmp_path / "unstale.toml"
    view = 'kind = "glue-view"\ncatalog_id = "111122223333"\ndatabase = "sales"\ntable = "daily"\n'
    file.write_text(f"[targets.daily]\n{view}", encoding="utf-8")
    assert main(["plan", "--sample", "blob", "--config", str(file)]) == 2
    assert 'no target has a source "blob_created"' in capsys.readouterr().err
    assert main(["plan", "--config", str(file)]) == 2
    assert main(["plan", "x.json", "--sample", "blob", "--config", str(file)]) == 2


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("{broken"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Records", "Messages", "Body", "body", "why", "content", "s3"]), inner)
    ),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(content=ODD, packed=st.booleans())
def test_nothing_ends_in_a_traceback(content: Any, *, packed: bool, tmp_path: Path) -> None:
    """Whatever JSON the file holds, packed or not, it is planned or refused in words."""
    file = tmp_path / "odd.json"
    text = json.dumps(content)
    file.write_text(json.dumps(b64encode(text.encode()).decode()) if packed else text, encoding="utf-8")
    assert main(["plan", str(file), "--json", *CONFIG]) in {0, 1, 2}
