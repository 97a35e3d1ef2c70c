"""Writing TOML in tests, and telling what is in a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from shared.config.toml_positions import Path


def toml(value: object) -> str:
    """A value as TOML writes it on one line."""
    match value:
        case dict():
            return "{ " + ", ".join(f"{toml(key)} = {toml(entry)}" for key, entry in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case datetime() | date() | time():
            return value.isoformat()
    return str(value)


def toml_document(document: dict[str, Any]) -> str:
    """A document, each of its top keys on one line."""
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())


def places_in(value: object, keys: Path = ()) -> Iterator[Path]:
    """Every key and list entry of a document, but not the document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*keys, key)
        yield from places_in(entry, (*keys, key))
