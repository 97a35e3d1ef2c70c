"""Signatures of requests to AWS, version 4, for a POST with a body: all that the function on Azure sends there.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. The SDK would be 25 MB of
the package on Azure, for two requests; a test holds this page against the SDK's own signer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from urllib.parse import urlsplit

from shared.values import Value

ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Value, frozen=True):
    """Temporary credentials of a role."""

    key_id: str
    """The access key's id, which is no secret."""
    secret: str
    """The key that requests are signed with."""
    token: str
    """The session's token, which goes with each request."""
    expires_at: datetime
    """When the credentials end."""

    def __repr__(self) -> str:
        """Without what is in it: two of the fields are secrets."""
        return "Credentials(...)"


def sign(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    *,
    scope: tuple[str, str],
    now: datetime,
) -> dict[str, str]:
    """The headers, with those that sign a POST to an address without a query; `scope` is Region and service."""
    parts, time = urlsplit(url), f"{now:%Y%m%dT%H%M%SZ}"
    own = {"host": parts.netloc, "x-amz-date": time, "x-amz-security-token": credentials.token}
    every = {name.lower(): value for name, value in headers.items()} | own
    names = ";".join(sorted(every))
    lines = "".join(f"{name}:{every[name]}\n" for name in sorted(every))
    request = "\n".join(("POST", parts.path or "/", "", lines, names, hashlib.sha256(body).hexdigest()))
    scoped = (time[:8], *scope, "aws4_request")
    to_sign = "\n".join((ALGORITHM, time, "/".join(scoped), hashlib.sha256(request.encode()).hexdigest()))
    key = reduce(_hmac, scoped, f"AWS4{credentials.secret}".encode())
    credential = f"{credentials.key_id}/{'/'.join(scoped)}"
    signature = _hmac(key, to_sign).hex()
    every["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    del every["host"]  # whoever sends the request adds the same
    return every


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)
