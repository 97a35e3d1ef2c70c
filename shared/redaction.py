"""What may be shown of a text that others wrote: one short line without control characters and without secrets."""

import re

TEXT_LIMIT = 500
"""Characters of any text of others that we keep or show: a record must stay small."""

_NAMED = re.compile(
    r"bearer\s+[^\s\"',;]+"  # an Authorization header
    r"|\b(?:sig|signature|sharedaccesskey|accountkey|client_secret|password)=[^&\s\"',;]+"  # SAS, connection string
    r"|\bcode=[\w=-]{20,}",  # a function key
    re.IGNORECASE,
)
"""Secrets that a word announces. A search takes steps in proportion to the text: tests/test_patterns.py."""

_TOKEN = re.compile(r"eyJ[\w-]{8,}+(?P<rest>(?:\.[\w-]*+)*+)", re.IGNORECASE)
"""A token without its header: base64url of `{"`, then parts behind dots.

A text without a dot is no token, but is matched all the same: otherwise a search would begin again at each `eyJ` in it.
"""


def plain(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text of others, fit to be stored, logged and shown: one line, short, no control characters, no secrets."""
    short = text[: 8 * limit].encode(errors="replace").decode()
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in short).split())
    named = _NAMED.sub("***", line)
    safe = _TOKEN.sub(lambda found: "***" if found["rest"] else found[0], named)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."
