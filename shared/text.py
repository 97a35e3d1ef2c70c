"""Text of others: on one line, for people; and the forms that several rooms know.

A room of its own, because `redaction` imports json, and a cold start that only reads the configuration need not pay it.
"""

from __future__ import annotations

import re

UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""Pattern of a UUID, in letters of either case."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The byte-order mark that .NET and PowerShell write before UTF-8 (RFC 8259, 8.1: a reader may pass over it)."""


def is_uuid(text: str) -> bool:
    """Whether the whole text is a UUID."""
    return re.fullmatch(UUID, text) is not None


def printable(text: str, longest: int) -> str:
    """The text on one line, with what would not print escaped, cut to `longest` characters."""
    if text.isprintable() and len(text) <= longest:
        return text
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
