"""What may be shown of a text that others wrote: one short line without control characters and without secrets."""

import re

TEXT_LIMIT = 500
"""Characters of any text of others that we keep or show: a record must stay small."""

_SECRETS = re.compile(
    r"bearer\s+[^\s\"',;]+"  # an Authorization header
    r"|eyJ[\w-]{8,}(?:\.[\w-]*)+"  # a token without its header: base64url of {"
    r"|\b(?:sig|signature|sharedaccesskey|accountkey|client_secret|password)=[^&\s\"',;]+"  # SAS, connection string
    r"|\bcode=[\w=-]{20,}",  # a function key
    re.IGNORECASE,
)


def plain(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text of others, fit to be stored, logged and shown: one line, short, no control characters, no secrets."""
    short = text[: 8 * limit].encode(errors="replace").decode()
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in short).split())
    safe = _SECRETS.sub("***", line)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."
