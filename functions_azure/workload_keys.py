"""Signatures of Fabric's tokens: Entra's public keys, fetched once and kept, and RS256 whatever a token asks for.

Imported by the first call of Fabric's, and by nothing else.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from functions_azure.clients import CONNECT_SECONDS, READ_SECONDS, session
from shared.redaction import plain
from shared.workload_tokens import Claims, Expected, Seen, points_nowhere, read_header, refusal

if TYPE_CHECKING:
    from jwt.types import Options

ALGORITHMS = ["RS256"]
"""What Entra signs with (https://learn.microsoft.com/entra/identity-platform/access-tokens): no token chooses."""
LEAST_BITS = 2048

TRY_AGAIN_SECONDS = 30.0
"""Between two requests for keys, whatever asks for them: an unknown key id, or a key server that is away. As long as
PyJWT's own client waits. Entra publishes a key days before it signs with it."""
REFRESH_SECONDS = 12 * 3600.0
"""Entra asks to look for new keys once a day (signing-key rollover)."""
KEPT_SECONDS = 36 * 3600.0
"""How long keys are served on while the key server is away: a day of trouble more than they are fresh. A key that was
withdrawn for cause must not be good for ever."""
ANSWER_LIMIT = 256 * 1024
"""Bytes. Entra's keys, certificates and all, are some 20 kilobytes."""

_SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""What the claims say is judged by `shared.workload_tokens`, check by check."""

log = logging.getLogger("unstale")


class NoKeys(Exception):  # noqa: N818 - named for what happened
    """No keys could be had, or only ones that are too old: trouble of ours, not of the caller's."""


class Refused(Exception):  # noqa: N818 - as above
    """A token is not good; says which check failed."""


class Keys:
    """Entra's public keys by their ids. Safe between threads; nothing is asked for before the first key is."""

    def __init__(
        self, url: str, http: requests.Session | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`url` is the only place that keys come from: no token has a say in it."""
        self._url = url
        self._http = http or session()
        self._clock = clock
        self._lock = Lock()
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._fetched_at = self._tried_at = -math.inf

    def find(self, key_id: str) -> RSAPublicKey | None:
        """The key, or None where there is none of that id. Raises `NoKeys`.

        Who sends unknown ids holds up nobody whose key is known and fresh.
        """
        known = self._keys.get(key_id)
        if known and self._clock() - self._fetched_at <= REFRESH_SECONDS:
            return known
        with self._lock:
            now = self._clock()
            wanted = key_id not in self._keys or now - self._fetched_at > REFRESH_SECONDS
            if wanted and now - self._tried_at >= TRY_AGAIN_SECONDS:
                self._tried_at = now
                self._refresh(now)
            if now - self._fetched_at > KEPT_SECONDS:
                raise NoKeys(f"no signing keys from {self._url}")
            return self._keys.get(key_id)

    def _refresh(self, now: float) -> None:
        """What cannot be fetched, or is no key set, leaves the keys as they are."""
        try:
            found = _parsed(self._fetched())
        except (requests.RequestException, ValueError) as trouble:
            log.warning("signing keys not fetched: %s: %s", type(trouble).__name__, plain(str(trouble)))
            return
        self._keys, self._fetched_at = found, now

    def _fetched(self) -> bytes:
        with self._http.get(
            self._url, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, stream=True
        ) as response:
            if response.status_code != HTTPStatus.OK:
                raise ValueError(f"the key server answered {response.status_code}")
            ends_at = time.monotonic() + CONNECT_SECONDS + READ_SECONDS
            read = bytearray()
            for chunk in response.iter_content(ANSWER_LIMIT):
                read += chunk
                if len(read) > ANSWER_LIMIT or time.monotonic() > ends_at:
                    raise ValueError("the answer of the key server is too long, or took too long")
            return bytes(read)


def _parsed(body: bytes) -> Mapping[str, RSAPublicKey]:
    """The keys that sign with RSA; others are none of ours. Raises `ValueError` if there are none."""
    found: dict[str, RSAPublicKey] = {}
    try:
        for each in json.loads(body)["keys"]:
            with suppress(jwt.PyJWTError):
                key = jwt.PyJWK(each, algorithm=ALGORITHMS[0]).key
                if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_BITS and each.get("use", "sig") == "sig":
                    found[str(each["kid"])] = key
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no key set: {error!r}") from error
    if not found:
        raise ValueError("a key set without a key that signs")
    return found


class Gate:
    """Says who is let in."""

    def __init__(self, expected: Expected, keys: Keys, now: Callable[[], float]) -> None:
        """`now` is epoch seconds."""
        self._expected = expected
        self._keys = keys
        self._now = now

    def refusal(self, authorization: str, tenant: str) -> str:
        """Which check fails; empty if none does. Raises `NoKeys`, and nothing else."""
        pair = read_header(authorization)
        if pair is None:
            return "authorization header"
        try:
            app = self._claims("app token", pair.app)
            subject = self._claims("subject token", pair.subject) if pair.subject else None
        except Refused as refused:
            return str(refused)
        return refusal(Seen(app, subject, tenant, self._now(), self._expected))

    def _claims(self, which: str, token: str) -> Claims:
        """Of a token that Entra signed."""
        header = _opened(f"{which}: form", lambda: jwt.get_unverified_header(token))
        if not points_nowhere(header):
            raise Refused(f"{which}: header")
        key = self._keys.find(str(header.get("kid", "")))
        if key is None:
            raise Refused(f"{which}: key")
        return _opened(
            f"{which}: signature", lambda: jwt.decode(token, key, algorithms=ALGORITHMS, options=_SIGNATURE_ONLY)
        )


def _opened(what: str, read: Callable[[], Claims]) -> Claims:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - whatever a parser raises on hostile bytes is a refusal
        raise Refused(f"{what} ({type(error).__name__})") from None
