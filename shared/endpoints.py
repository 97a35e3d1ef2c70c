"""Addresses that variables give: to which of them a request with credentials may be sent, in words of both clouds."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_WRITTEN = re.compile(r"[!-\[\]-~]*")
"""Printable ASCII but blank and backslash: of other characters, libraries disagree on what host an address names."""


def refusal(url: str) -> str:
    """Say why an address may not be an endpoint, as the rest of a sentence that begins with its variable; "" if it may.

    Credentials leave for it, so it is https, or http on this machine, and bare. A password in it is never repeated.
    """
    parts = _split(url)
    if parts is None:
        return "is no address, such as https://example.com"
    if not parts.hostname:
        return "names no host: it must be https, or http on a loopback address"
    if not is_private(url):
        return f"is at {parts.scheme}://{parts.hostname}: it must be https, or http on a loopback address"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return "must be a bare address: no user, no password, no query, no fragment"
    return ""


def is_private(url: str) -> bool:
    """Tell whether nobody on the way reads what is sent to an address: it is at https, or at http on this machine."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(url: str) -> SplitResult | None:
    """Take an address apart; None if it cannot be: a bracket that is not closed, a port that is no port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if _WRITTEN.fullmatch(url) else None
