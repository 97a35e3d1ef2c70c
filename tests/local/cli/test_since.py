"""`plan --since`: which refreshes a day of events would have started, by the machine itself; or what history knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions_aws.clients import Clients
from functions_aws.settings import read
from functions_aws.wiring import make_ports
from local.cli.main import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh import records
from shared.refresh.state import Ended, Outcome
from tests.support.aws_host import CONFIGURATION, living_in, object_created

FOLLOWER = """
[targets.monthly]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "monthly"
after = ["daily"]
full_refresh = { cron = "30 * * * *" }
"""
NOW = datetime.now(UTC)


@pytest.fixture(name="config")
def a_file(tmp_path: Path) -> Path:
    """`daily` and `weekly`, and one that follows `daily` and has a schedule."""
    path = tmp_path / "unstale.toml"
    path.write_text(f'[defaults]\nlook = "off"\n{CONFIGURATION}{FOLLOWER}', encoding="utf-8")
    return path


def lines(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """The lines of `--json`, by target."""
    capsys.readouterr()
    assert main(["plan", "--config", str(config), "--json", *arguments]) == 0
    return {line["target"]: line for line in json.loads(capsys.readouterr().out)["since"]}


def put(folder: Path, name: str, *minutes_ago: float) -> None:
    """A file of events, one a line: objects of orders that came so long ago."""
    events = (object_created(f"orders/{at}", NOW - timedelta(minutes=at)) for at in minutes_ago)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(events), encoding="utf-8")


def test_a_storm_is_few_refreshes(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty objects within a minute, and one an hour later: two refreshes; nineteen are spared, with a price."""
    put(tmp_path / "events", "storm.jsonl", *(120 + number / 20 for number in range(20)), 60)
    put(tmp_path / "events", "old.jsonl", 3000, 2999)
    found = lines(capsys, config, "--since", "24h", str(tmp_path / "events"))
    daily = found["daily"]
    assert (daily["signals"], daily["refreshes"], daily["spared"]) == (21, 2, 19)
    assert daily["dollars"] == pytest.approx(2 * 120 * 4 / 3600 * 0.44)
    assert daily["obvious_dollars"] == pytest.approx(21 * 120 * 4 / 3600 * 0.44)
    assert found["weekly"]["refreshes"] == 0
    monthly = found["monthly"]
    assert monthly["signals"] == 26, "two ends of daily, and 24 hours of its schedule"
    assert 24 <= monthly["refreshes"] <= 26


def test_arrivals_during_a_run_lead_to_one_more(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the run could not read is refreshed after it, and the minimum interval holds the next start back."""
    put(tmp_path / "events", "e.jsonl", 120, 118, 117.9)
    found = lines(capsys, config, "--since", "1d", str(tmp_path / "events"), "--run", "10m", "--dpus", "1")
    assert (found["daily"]["signals"], found["daily"]["refreshes"]) == (3, 2)
    assert found["daily"]["dollars"] == pytest.approx(2 * 600 / 3600 * 0.44)


def test_people_are_told_what_was_assumed(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Since nothing measured it."""
    put(tmp_path / "events", "e.jsonl", 5)
    assert main(["plan", "--config", str(config), "--since", "1h", str(tmp_path / "events" / "e.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "assumed: a refresh takes 2 min, on Glue with 4 DPU (--run, --dpus)" in said
    assert "$0.06" in said


def test_events_of_another_time_are_wrong_usage(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to plan is said, not shown as nothing saved."""
    put(tmp_path / "events", "e.jsonl", 3000)
    assert main(["plan", "--config", str(config), "--since", "1h", str(tmp_path / "events")]) == 2
    assert "none of these events is of the time since" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", "--config", str(config), "--since", "soon"])
    assert "'soon' is no duration" in capsys.readouterr().err


@pytest.fixture(name="aws")
def an_account() -> Iterator[LocalAws]:
    """A deployment of the same file."""
    with living_in(LocalAws()) as aws:
        yield aws


def test_without_events_the_history_tells(config: Path, aws: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of ours within the while, the signals of all lines, and the platform's own DPU-seconds."""
    store = make_ports(read(aws.environment()), Clients(), lambda _: None).store
    key = load(config.read_text(encoding="utf-8")).by_name["daily"].key

    def ended(number: int, ago: timedelta, **fields: Any) -> None:
        at = NOW - ago
        line = Ended(f"t{number}", **{"outcome": Outcome.SUCCEEDED, "claimed_at": at, "ended_at": at, **fields})
        store.append(key, f"{number}", records.write(line), NOW + timedelta(days=1))

    ended(1, timedelta(hours=50), signals=9, dpu_seconds=999.0)
    ended(2, timedelta(hours=2), signals=10, dpu_seconds=1800.0)
    ended(3, timedelta(hours=1), signals=2, dpu_seconds=1800.0)
    ended(4, timedelta(minutes=5), signals=3, outcome=Outcome.SPARED)
    found = lines(capsys, config, "--since", "24h")
    daily = found["daily"]
    assert (daily["signals"], daily["refreshes"], daily["spared"]) == (15, 2, 13)
    assert daily["dollars"] == pytest.approx(0.44)
    assert daily["obvious_dollars"] == pytest.approx(0.44 / 2 * 15)
    assert found["weekly"]["dollars"] is None
