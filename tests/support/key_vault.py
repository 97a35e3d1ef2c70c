"""A Key Vault on loopback, with one RSA key: Get Key and Unwrap Key, as its reference words them.

https://learn.microsoft.com/rest/api/keyvault/keys (get-key, unwrap-key; definitions KeyBundle, KeyOperationsParameters,
KeyOperationResult, KeyVaultError), https://learn.microsoft.com/azure/key-vault/general/rest-error-codes. Nobody but who
has been let in gets anything; private halves never leave.
"""

from __future__ import annotations

import json
import threading
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from local.emulators.entra.tokens import Caller, TokenRefusal
from local.emulators.http_server import Answer, Clock, LoopbackServer, Request, json_answer

VAULT: Final = "https://vault.azure.net"
API_VERSIONS: Final = frozenset({"7.4", "7.5", "7.6", "2025-07-01"})

Validate = Callable[[str, Collection[str]], Caller | TokenRefusal]
"""Judges an Authorization header for a resource with these names: `Tokens.validate`."""


class KeyVault:
    """One vault with one key; use it as a context. `may` says who may do what: object id to permissions."""

    def __init__(self, clock: Clock, validate: Validate, key_name: str) -> None:
        """The key has one version; `rotate` adds another."""
        self.may: dict[str, frozenset[str]] = {}
        self.asked: list[str] = []
        self.unplanned_requests: list[str] = []
        self.enabled = True
        self.deleted = False
        self._name = key_name
        self._validate = validate
        self._lock = threading.Lock()
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self._server = LoopbackServer(self._respond, clock)
        self.rotate()

    @property
    def url(self) -> str:
        """The vault's address."""
        return self._server.url

    def rotate(self) -> None:
        """Make a new version; old ones still unwrap."""
        self._keys[uuid.uuid4().hex] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    # --- From request to answer ------------------------------------------------------------------------------------

    def _respond(self, request: Request) -> Answer:
        with self._lock:
            caller = self._validate(request.headers.get("authorization", ""), {VAULT})
            if isinstance(caller, TokenRefusal):
                return _unauthorized(caller)
            return self._do(request, caller)

    def _do(self, request: Request, caller: Caller) -> Answer:
        match (request.method, *request.path.strip("/").split("/")):
            case ("GET", "keys", self._name):
                return self._allowed(request, caller, "get") or self._bundle()
            case ("POST", "keys", self._name, version, "unwrapkey"):
                return self._allowed(request, caller, "unwrapKey") or self._unwrap(version, request.body)
        self.unplanned_requests.append(f"{request.method} {request.path}")
        return _error(404, "KeyNotFound", f"A key with (name/id) {request.path} was not found in this key vault.")

    def _allowed(self, request: Request, caller: Caller, action: str) -> Answer | None:
        """None if it may go on."""
        self.asked.append(action)
        if dict(request.query).get("api-version") not in API_VERSIONS:
            return _error(400, "BadParameter", "api-version must be specified")
        if action not in self.may.get(caller.object_id, ()):
            return _error(
                403, "Forbidden", "Caller is not authorized to perform action on resource.", "ForbiddenByRbac"
            )
        if self.deleted:
            return _error(404, "KeyNotFound", f"A key with (name/id) {self._name} was not found in this key vault.")
        return None

    def _bundle(self) -> Answer:
        """KeyBundle of the newest version."""
        version, key = list(self._keys.items())[-1]
        numbers = key.public_key().public_numbers()
        web_key = {
            "kid": f"{self.url}/keys/{self._name}/{version}",
            "kty": "RSA",
            "key_ops": ["wrapKey", "unwrapKey"],
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        attributes = {"enabled": self.enabled, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
        return json_answer(200, {"key": web_key, "attributes": attributes})

    def _unwrap(self, version: str, body: bytes) -> Answer:
        """KeyOperationsParameters in, KeyOperationResult out."""
        key = self._keys.get(version)
        if key is None:
            return _error(404, "KeyNotFound", f"A key with (name/id) {self._name}/{version} was not found.")
        if not self.enabled:
            return _error(403, "Forbidden", "Operation unwrapKey is not allowed on a disabled key.", "KeyDisabled")
        asked = json.loads(body)
        if asked.get("alg") != "RSA-OAEP-256":
            return _error(400, "BadParameter", "The algorithm is not supported by this key.")
        value = urlsafe_b64decode(asked["value"] + "=" * (-len(asked["value"]) % 4))
        try:
            plain = key.decrypt(value, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
        except ValueError:
            return _error(400, "BadParameter", "Property value has invalid value")
        result = {"kid": f"{self.url}/keys/{self._name}/{version}", "value": _base64url(plain)}
        return json_answer(200, result)


def _unauthorized(refusal: TokenRefusal) -> Answer:
    """With the challenge that names the resource to get a token for; we know it already."""
    answer = _error(401, "Unauthorized", f"AKV10000: {refusal}")
    challenge = f'Bearer authorization="https://login.microsoftonline.com/common", resource="{VAULT}"'
    return Answer(answer.status, {**answer.headers, "WWW-Authenticate": challenge}, answer.body)


def _error(status: int, code: str, message: str, inner: str = "") -> Answer:
    """KeyVaultError."""
    return json_answer(
        status, {"error": {"code": code, "message": message, **({"innererror": {"code": inner}} if inner else {})}}
    )


def _number(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8))


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
