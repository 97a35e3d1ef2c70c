"""Text of others on one line, for people.

A room of its own, because `redaction` imports json, and a cold start that only reads the configuration need not pay it.
"""

from __future__ import annotations


def printable(text: str, longest: int) -> str:
    """The text on one line, with what would not print escaped, cut to `longest` characters."""
    if text.isprintable() and len(text) <= longest:
        return text
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: longest + 1]
    )
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
