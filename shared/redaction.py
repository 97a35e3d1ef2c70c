"""Makes a text that others wrote fit to be shown: without secrets, known by their value or their shape, and short.

Every text that leaves passes here: records, answers, lines of the log, and words of exceptions that a cloud is handed.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

TEXT_LIMIT = 500
"""Characters of any text of others that we keep or show: a record must stay small."""
SHORTEST_SECRET = 8
"""Characters of a known secret that is looked for. What is shorter would blot out ordinary words, and no cloud issues
one: an AWS secret key has 40, a storage key 88, a client secret 40."""
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
"""Variables, in either case, that may hold the address of a proxy with a password in it
(https://requests.readthedocs.io/en/latest/user/advanced/#proxies)."""

_NAMED = re.compile(
    r"bearer\s+[^\s\"',;]+"  # an Authorization header
    r"|\b(?:sig|signature|sharedaccesskey|accountkey|client_secret|password)=[^&\s\"',;]+"  # SAS, connection string
    r"|\bcode=[\w=-]{20,}",  # a function key
    re.IGNORECASE,
)
"""Secrets that a word announces. A search takes steps in proportion to the text: tests/test_patterns.py."""

_FIELD = re.compile(
    r"(?P<name>[\"']?(?:access_token|refresh_token|id_token|client_secret|client_assertion|x-identity-header"
    r"|accountkey|sharedaccesskey|device_code|code_verifier|client_info|secret)[\"']?\s*[:=]\s*[\"']?)[^\s\"'&;,]+"
    r"|(?P<code>\bcode[\"']?\s*[:=]\s*[\"']?)[\w.~-]{60,}"
    r"|(?P<value>\bvalue[\"']?\s*[:=]\s*[\"']?)[\w-]{43,}"
    r"|(?P<scheme>\bsharedkey(?:lite)?\s+)\S+",
    re.IGNORECASE,
)
"""Fields of dictionaries and forms as exceptions show them, and storage's authorization: the name stays.

Many things are called code or value. An authorization code is longer than an error's code; a value of 43 characters
without a space is a key out of the Key Vault (256 bits in base64url).
"""

_TOKEN = re.compile(r"eyJ[\w-]{8,}+(?P<rest>(?:\.[\w-]*+)*+)", re.IGNORECASE)
"""A token without its header: base64url of `{"`, then parts behind dots.

A text without a dot is no token, but is matched all the same: otherwise a search would begin again at each `eyJ` in it.
"""

_ADDRESS = re.compile(r"//(?P<rest>[^\s\"']*+)")
"""An address after its slashes, up to a blank or a quote. A password in it may have any other character."""


def plain(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text of others, fit to be stored, logged and shown: one line, short, no control characters, no secrets."""
    short = text[: 8 * limit].encode(errors="replace").decode()
    if not short.isprintable():
        short = "".join(letter if letter.isprintable() else " " for letter in short)
    safe = _without_shapes(" ".join(short.split()))
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def escape(text: str) -> str:
    """The text with what would not print escaped, such as what moves a terminal's cursor or turns letters around."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _without_shapes(line: str) -> str:
    fields = _FIELD.sub(lambda found: f"{found[found.lastgroup or 0]}***", line)
    named = _NAMED.sub("***", _ADDRESS.sub(_without_password, fields))
    return _TOKEN.sub(lambda found: "***" if found["rest"] else found[0], named)


def _without_password(address: re.Match[str]) -> str:
    """Take `user:password` out of an address. A password may hold an @ of its own, so the last one counts."""
    user, at, rest = address["rest"].rpartition("@")
    return f"//***@{rest}" if at and ":" in user else address[0]


class Redactor:
    """Takes known secrets out of texts, beside what looks like one. `Redactor()` knows none."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Each secret is also looked for as JSON, code and addresses write it; the longest first."""
        found = {form for secret in secrets for form in _forms(secret)}
        self._secrets = sorted(found - {""}, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """The whole text, without the known secrets. What is cut, is cut afterwards: half a secret is not known."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def plain(self, text: str, limit: int = TEXT_LIMIT) -> str:
        """The same as the function `plain`, and without the known secrets."""
        return plain(self.clean(text), limit)

    def lines(self, text: str, longest_line: int, longest_text: int) -> str:
        """A text of several lines, such as a traceback: they stay lines, and keep their indentation."""
        return "\n".join(_indent(line, longest_line) for line in self.clean(text)[:longest_text].splitlines())


NOTHING_KNOWN = Redactor()
"""Takes out only what looks like a secret."""


def _forms(secret: str) -> tuple[str, ...]:
    return secret, unquote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]


def _indent(line: str, longest: int) -> str:
    bare = line.lstrip(" ")
    return " " * (len(line) - len(bare)) + plain(bare, longest)


# --- Secrets of the environment --------------------------------------------------------------------------------------


def secret_values(environ: Mapping[str, str], names: Iterable[str]) -> set[str]:
    """Return what the variables of these names hold, and the passwords of proxies, as far as it can be looked for."""
    found = {environ.get(name, "") for name in names}
    proxies = {value for name, value in environ.items() if name.lower() in PROXIES}
    return {value for value in found if len(value) >= SHORTEST_SECRET} | {
        secret for proxy in proxies for secret in _proxy_secrets(proxy)
    }


def _proxy_secrets(address: str) -> Iterator[str]:
    """Name all by which the password in a proxy's address may turn up.

    In one that is not percent-encoded, libraries see the end of a host or port at `/`, `?`, `#` and a backslash, and
    show what stands before it.
    """
    userinfo = (address.partition("://")[2] or address).rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    if not password:
        return
    first = re.split(r"[/?#\\]", password)[0]
    yield from (userinfo, b64encode(unquote(userinfo).encode()).decode())
    yield from (f"{user}:{first}", f"host='{user}', port={first}") if first else ()
    yield from (each for each in (password, unquote(password)) if len(each) >= SHORTEST_SECRET)
