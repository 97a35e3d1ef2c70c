"""Signatures of Fabric's tokens: Entra's public keys, fetched once and kept, and RS256 whatever a token asks for.

Imported by the first call of Fabric's, and by nothing else.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from functions_azure.clients import CONNECT_SECONDS, READ_SECONDS
from functions_azure.sessions import read_answer, session
from shared.redaction import plain
from shared.workload.tokens import Claims, Expected, Seen, Signed, points_nowhere, read_header, refusal

if TYPE_CHECKING:
    from jwt.types import Options

ALGORITHMS = ["RS256"]
"""Entra's algorithm (https://learn.microsoft.com/entra/identity-platform/access-tokens): no token chooses."""
LEAST_BITS = 2048
"""Bits of the smallest RSA key that is used (NIST SP 800-131A, table 2)."""
LEAST_EXPONENT, EXPONENT_BITS = 65_537, 256
"""Bounds of a key's public exponent (NIST SP 800-56B, 6.2). A larger one would only cost time for each signature."""

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
"""Claims are judged by `shared.workload.tokens`, check by check."""

log = logging.getLogger("unstale")


class NoKeysError(Exception):
    """No keys could be had, or only ones that are too old: trouble of ours, not of the caller's."""


class RefusedError(Exception):
    """A token is not good; says which check failed."""


class Key(NamedTuple):
    """A public key of Entra's, with the issuer whose tokens it signs: an address, in which `{tenantid}` may stand."""

    public: RSAPublicKey
    """The RSA key that a token's signature is verified with."""
    issuer: str
    """Whose tokens count if this key signed them, written as in tokens of version 2.0."""


class KeySet(NamedTuple):
    """Keys by their ids, and when they were fetched, in seconds of the monotonic clock."""

    keys: Mapping[str, Key]
    """By `kid`, the id that the header of a token names."""
    fetched_at: float
    """When the request was sent that brought them."""


class Keys:
    """Entra's public keys by their ids. Safe between threads; nothing is asked for before the first key is."""

    def __init__(
        self, url: str, http: requests.Session | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`url` is the only place that keys come from: no token has a say in it."""
        self._url = url
        self._http = http or session()
        self._clock = clock
        self._turn = Lock()
        self._known = KeySet({}, -math.inf)
        self._tried_at = -math.inf
        self._answered = Event()

    def find(self, key_id: str) -> Key | None:
        """Return the key of this id, or None where there is none. Raises `NoKeysError`.

        One thread asks the key server. Meanwhile the others go on with the keys that are known; only while none are do
        they wait for the first answer.
        """
        if self._is_to_fetch(key_id):
            self._refresh()
        elif not self._known.keys:
            self._answered.wait(CONNECT_SECONDS + READ_SECONDS)
        known = self._known
        if self._clock() - known.fetched_at > KEPT_SECONDS:
            raise NoKeysError(f"no signing keys from {self._url}")
        return known.keys.get(key_id)

    def _is_to_fetch(self, key_id: str) -> bool:
        """Tell whether this thread is to ask the key server, and note that it does."""
        with self._turn:
            now, known = self._clock(), self._known
            wanted = key_id not in known.keys or now - known.fetched_at > REFRESH_SECONDS
            if not wanted or now - self._tried_at < TRY_AGAIN_SECONDS:
                return False
            self._tried_at = now
            return True

    def _refresh(self) -> None:
        """Replace the keys. An answer that does not come, or is no key set, leaves them as they are."""
        began = self._clock()
        try:
            self._known = KeySet(parse_keys(self._fetch()), began)
        except (requests.RequestException, ValueError) as failure:
            log.warning("signing keys not fetched: %s: %s", type(failure).__name__, plain(str(failure)))
        finally:
            self._answered.set()

    def _fetch(self) -> bytes:
        limits: dict[str, Any] = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False, "stream": True}
        answer = read_answer(self._http.get(self._url, **limits), ANSWER_LIMIT)
        if answer.status_code != HTTPStatus.OK:
            raise ValueError(f"the key server answered {answer.status_code}")
        return answer.body


def parse_keys(body: bytes) -> Mapping[str, Key]:
    """Read the keys that sign with RSA, with their issuers; others are none of ours. Raises `ValueError` without any.

    Two keys with one id contradict each other, so neither is used. A key that cannot be read takes no other with it.
    """
    try:
        entries = json.loads(body)["keys"]
        found = [(entry["kid"], entry) for entry in entries if isinstance(entry, dict) and _is_text(entry.get("kid"))]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no key set: {type(error).__name__}") from error
    counts = Counter(key_id for key_id, _ in found)
    keys = dict(_usable((key_id, entry) for key_id, entry in found if counts[key_id] == 1))
    if not keys:
        raise ValueError("a key set without a key that signs")
    return keys


def _usable(entries: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, Key]]:
    for key_id, entry in entries:
        public = _read_key(entry)
        if public and _is_text(entry.get("issuer")):
            yield key_id, Key(public, entry["issuer"])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _read_key(entry: dict[str, Any]) -> RSAPublicKey | None:
    """Read a JSON Web Key (RFC 7517, section 4); None for one that is not for RS256 signatures, or too weak."""
    if entry.get("alg", "RS256") not in ALGORITHMS or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = jwt.PyJWK(entry, algorithm=ALGORITHMS[0]).key
    except Exception:  # noqa: BLE001 - whatever a parser raises on a field that is none: this key is not used
        return None
    return key if isinstance(key, RSAPublicKey) and _is_strong(key) else None


def _is_strong(key: RSAPublicKey) -> bool:
    exponent = key.public_numbers().e
    return key.key_size >= LEAST_BITS and LEAST_EXPONENT <= exponent < 2**EXPONENT_BITS


class Gate:
    """Says who is let in."""

    def __init__(self, expected: Expected, keys: Keys, now: Callable[[], float]) -> None:
        """`now` is epoch seconds."""
        self._expected = expected
        self._keys = keys
        self._now = now

    def refusal(self, authorization: str, tenant: str) -> str:
        """Which check fails; empty if none does. Raises `NoKeysError`, and nothing else."""
        pair = read_header(authorization)
        if pair is None:
            return "authorization header"
        try:
            app = self._open("app token", pair.app)
            subject = self._open("subject token", pair.subject) if pair.subject else None
        except RefusedError as refused:
            return str(refused)
        return refusal(Seen(app, subject, tenant, self._now(), self._expected))

    def _open(self, which: str, token: str) -> Signed:
        """Read a token that Entra signed. Raises `RefusedError`."""
        header = _open_token(f"{which}: form", lambda: jwt.get_unverified_header(token))
        if not points_nowhere(header):
            raise RefusedError(f"{which}: header")
        key = self._keys.find(str(header.get("kid", "")))
        if key is None:
            raise RefusedError(f"{which}: key")
        claims = _open_token(
            f"{which}: signature", lambda: jwt.decode(token, key.public, algorithms=ALGORITHMS, options=_SIGNATURE_ONLY)
        )
        return Signed(claims, key.issuer)


def _open_token(what: str, read: Callable[[], Claims]) -> Claims:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - whatever a parser raises on hostile bytes is a refusal
        raise RefusedError(f"{what} ({type(error).__name__})") from None
