"""Golden cases are folders: the bytes of a vendor, and beside them what they must give. They are found by walking."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(area: str) -> pytest.MarkDecorator:
    """Parametrize a test with every folder of `tests/golden/<area>`, of which there must be some."""
    folders = sorted(folder for folder in (GOLDEN / area).iterdir() if folder.is_dir())
    assert folders
    return pytest.mark.parametrize("folder", folders, ids=[folder.name for folder in folders])


def read_json(folder: Path, name: str) -> Any:
    """One JSON file of a folder."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def told(value: object) -> Any:
    """A value as `expected.json` has it: `{"ClassName": {fields that differ from their default}}`, plain within."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        given = {field.name: getattr(value, field.name) for field in fields}
        return {
            type(value).__name__: {
                field.name: told(given[field.name]) for field in fields if given[field.name] != field.default
            }
        }
    if isinstance(value, tuple | list):
        return [told(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value
