"""Inputs that showed a fault: what a cloud or a person sent, and what is right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shared.config.load import load
from shared.inbound import eventbridge, eventgrid
from shared.inbound.messages import Arrived, Malformed, each
from shared.inbound.routing import signals_of
from tests.support.golden_folders import golden, read_json

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@golden("cases")
def test_what_showed_a_fault_is_taken_as_is_right(folder: Path) -> None:
    """An event signals the targets that it should, as of the right time, and dead letters say what they are."""
    configuration = load((folder / "unstale.toml").read_text(encoding="utf-8"))
    reader = eventbridge if folder.name.startswith("aws") else eventgrid
    messages = list(each([reader.read((folder / "event.json").read_bytes(), NOW)]))
    signals = {
        target.name: (signal.time + signal.extra_lag).isoformat()
        for message in messages
        if isinstance(message, Arrived)
        for arrival in message.arrivals
        for target, signal in signals_of(arrival, configuration)
    }
    dead = [message.why for message in messages if isinstance(message, Malformed)]
    assert {"signals": signals, "dead": dead} == read_json(folder, "expected.json")
