"""The generation of a package: the moment at which it was made, in one file of it (rule 12).

Two packages of one source differ in this file alone, so that the later of them is known as the later one.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

FILE = "unstale.generation"
"""Name of the file, at the root of a package beside `unstale.toml`. Content: one RFC 3339 time."""


class GenerationError(Exception):
    """The file of the generation holds no time; the package must be made anew."""


def write_generation(made_at: datetime) -> bytes:
    """The content of the file."""
    return made_at.astimezone(UTC).isoformat().encode() + b"\n"


def read_generation(content: bytes) -> datetime:
    """The moment in the file's content. Raises `GenerationError`."""
    try:
        made_at = msgspec.convert(content.decode().strip(), datetime)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise GenerationError(f"{FILE} holds {content[:40]!r}, which is no time: make the package anew") from error
    return made_at if made_at.tzinfo else made_at.replace(tzinfo=UTC)
