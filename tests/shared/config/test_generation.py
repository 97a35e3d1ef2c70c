"""When a package was made, as its one file says it, and as both functions read it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType

import pytest

import functions_aws.settings
import functions_aws.wiring
import functions_azure.settings
import functions_azure.wiring
from shared.config.generation import GenerationError, read_generation, write_generation

MADE = datetime(2026, 1, 31, 12, 0, 0, 1234, tzinfo=UTC)


@pytest.mark.parametrize("made_at", [MADE, MADE.replace(microsecond=0), MADE.astimezone(timezone(timedelta(hours=5)))])
def test_what_is_written_is_what_is_read(made_at: datetime) -> None:
    """To the microsecond, so that two packages of one second are in order."""
    assert read_generation(write_generation(made_at)) == made_at
    assert read_generation(write_generation(made_at)).tzinfo is UTC


def test_a_time_without_a_zone_is_utc() -> None:
    """As everywhere."""
    assert read_generation(b"2026-01-31T12:00:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("content", [b"", b"yesterday", b"1769860800", b"\xff\xfe"])
def test_what_is_no_time_is_refused(content: bytes) -> None:
    """A package whose generation nobody knows could undo a later one, so it does not start."""
    with pytest.raises(GenerationError, match=r"unstale\.generation holds .* make the package anew"):
        read_generation(content)


SHELLS: list[tuple[ModuleType, Callable[[Path], datetime]]] = [
    (functions_aws.settings, functions_aws.wiring.generation),
    (functions_azure.settings, functions_azure.wiring.generation),
]


@pytest.mark.parametrize(("settings", "generation"), SHELLS)
def test_both_functions_read_it(
    settings: ModuleType, generation: Callable[[Path], datetime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the package; where nobody packaged anything, a configuration that was written later is later."""
    config = tmp_path / "unstale.toml"
    config.write_text("", encoding="utf-8")
    os.utime(config, (5.0, 5.0))
    monkeypatch.setattr(settings, "GENERATION", tmp_path / "unstale.generation")
    assert generation(config) == datetime.fromtimestamp(5, UTC)
    (tmp_path / "unstale.generation").write_bytes(write_generation(MADE))
    assert generation(config) == MADE
