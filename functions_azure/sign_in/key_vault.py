"""The Key Vault over HTTP: the public half of one key, and data keys that only the vault can unwrap.

https://learn.microsoft.com/rest/api/keyvault/keys. Wrapping is done here, with the public half, which is all that the
vault's own Wrap Key would use; so whoever signs in only reads the key, and only the function's identity can unwrap.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, NamedTuple

import requests
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from functions_azure.sessions import WholeAnswer
from functions_azure.settings import SIGN_IN_KEY, VAULT_VERSION
from functions_azure.tokens import BoundedHttp, Tokens, send_with_token
from shared.platforms.failures import token_refused
from shared.refresh.failure import Failure
from shared.sign_in import report_vault

ALGORITHM = "RSA-OAEP-256"

_Send = Callable[[dict[str, str]], WholeAnswer]


class Wrapped(NamedTuple):
    """A data key that only this version of the vault's key unwraps."""

    version: str
    """The version of the vault's key that wrapped it: one that was rotated away still opens it, while it is enabled."""
    value: bytes
    """The wrapped bytes."""


class VaultRefusedError(Exception):
    """The Key Vault gave no key; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(str(failure))


class KeyVault:
    """A vault. `url` is the only place that its token is sent to. Both operations may raise `VaultRefusedError`."""

    def __init__(self, url: str, tokens: Tokens, http: BoundedHttp) -> None:
        """`tokens` are for https://vault.azure.net."""
        self._key_url = f"{url}/keys/{SIGN_IN_KEY}"
        self._tokens = tokens
        self._http = http

    def wrap(self, data_key: bytes) -> Wrapped:
        """Get Key, newest version: `{"key": {"kid": ".../keys/<name>/<version>", "kty", "n", "e"}}`; then encrypt."""
        key = self._ask(lambda headers: self._http.get(self._key_url, params=VAULT_VERSION, headers=headers))["key"]
        public = RSAPublicNumbers(e=_number(key["e"]), n=_number(key["n"])).public_key()
        return Wrapped(
            str(key["kid"]).rpartition("/")[2],
            public.encrypt(data_key, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)),
        )

    def unwrap(self, wrapped: Wrapped) -> bytes:
        """Unwrap Key: `{"alg", "value"}` gives `{"kid", "value"}`, both values base64url."""
        body = {"alg": ALGORITHM, "value": urlsafe_b64encode(wrapped.value).rstrip(b"=").decode()}
        url = f"{self._key_url}/{wrapped.version}/unwrapkey"
        answer = self._ask(lambda headers: self._http.post(url, params=VAULT_VERSION, json=body, headers=headers))
        return _bytes(answer["value"])

    def _ask(self, send: _Send) -> dict[str, Any]:
        """Send a request; where it is refused for its token, send it once more with a new one."""
        answer = send_with_token(
            self._tokens,
            lambda token: send({"Authorization": f"Bearer {token}"}),
            lambda answer: token_refused(answer.status_code),
        )
        if isinstance(answer, Failure):
            raise VaultRefusedError(answer)
        if answer.status_code != requests.codes.ok:
            raise VaultRefusedError(report_vault(answer.status_code, *_error(answer)))
        found: dict[str, Any] = answer.json()
        return found


def _error(answer: WholeAnswer) -> tuple[str, str]:
    """`{"error": {"code", "message", "innererror"}}`, or whatever stood in front."""
    try:
        error = answer.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        return "", ""


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))
