"""The Key Vault on loopback, by its published reference; and our client against it.

The shapes are those of the definitions in Microsoft's specification of the keys API, version 7.4
(github.com/Azure/azure-rest-api-specs, specification/keyvault/data-plane/Microsoft.KeyVault/stable/7.4/keys.json).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
import requests

from functions_azure.sign_in.key_vault import KeyVault as Client
from functions_azure.sign_in.key_vault import VaultRefusedError, Wrapped
from functions_azure.tokens import BoundedHttp
from local.emulators.entra.tokens import FABRIC, Caller, Tokens
from tests.support.key_vault import VAULT, KeyVault

US = Caller("5e7d9b30-0000-4000-8000-00000000000b", "5e7d9b30-0000-4000-8000-000000000002", "managed-identity")
DATA_KEY = bytes(range(32))

BASE64URL = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
KEY_BUNDLE = {
    "required": ["key", "attributes"],
    "properties": {
        "key": {
            "required": ["kid", "kty", "n", "e"],
            "properties": {
                "kid": {"pattern": "^http://[^/]+/keys/[0-9A-Za-z-]+/[0-9a-f]{32}$"},
                "kty": {"enum": ["RSA"]},
                "key_ops": {"type": "array", "items": {"type": "string"}},
                "n": BASE64URL,
                "e": BASE64URL,
            },
            "additionalProperties": False,
        },
        "attributes": {
            "properties": {
                "enabled": {"type": "boolean"},
                "recoveryLevel": {"enum": ["Recoverable+Purgeable"]},
                "recoverableDays": {"type": "integer", "minimum": 7, "maximum": 90},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
OPERATION_PARAMETERS = {
    "required": ["alg", "value"],
    "properties": {"alg": {"enum": ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"]}, "value": BASE64URL},
    "additionalProperties": False,
}
OPERATION_RESULT = {
    "required": ["kid", "value"],
    "properties": {"kid": {"type": "string"}, "value": BASE64URL},
    "additionalProperties": False,
}
ERROR = {
    "required": ["error"],
    "properties": {
        "error": {
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "innererror": {"type": "object"}},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}


class Source:
    """`functions_azure.tokens.Tokens`: good ones, or whatever a test wants."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.audience, self.lifetime = VAULT, timedelta(hours=1)
        self.refusals = 0

    def token(self) -> str:
        """One for the vault."""
        return self.tokens.issue(US, self.audience, self.lifetime)

    def forget(self, token: str) -> None:
        """The next one is a good one."""
        self.refusals += 1
        self.lifetime = timedelta(hours=1)


@pytest.fixture(name="source")
def source_of_tokens() -> Source:
    """Of one tenant."""
    return Source(Tokens(lambda: datetime.now(UTC), "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935"))


@pytest.fixture(name="vault")
def vault_on_loopback(source: Source) -> Iterator[KeyVault]:
    """With everything allowed."""
    with KeyVault(lambda: datetime.now(UTC), source.tokens.validate, "sign-in") as vault:
        vault.may[US.object_id] = frozenset({"get", "unwrapKey"})
        yield vault
        assert not vault.unplanned_requests


@pytest.fixture(name="client")
def our_client(vault: KeyVault, source: Source) -> Client:
    """The product's."""
    return Client(vault.url, source, BoundedHttp())


@pytest.fixture(name="wire")
def judged_wire(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every answer, judged by the published definitions, and every request."""
    seen: list[tuple[str, Any]] = []
    send = requests.Session.send

    def judging(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(self, request, **options)
        operation = "unwrapkey" if request.url and "/unwrapkey?" in request.url else "get"
        good = {"get": KEY_BUNDLE, "unwrapkey": OPERATION_RESULT}[operation]
        jsonschema.validate(response.json(), good if response.ok else ERROR)
        if isinstance(request.body, bytes):
            jsonschema.validate(json.loads(request.body), OPERATION_PARAMETERS)
        seen.append((f"{request.method} {request.path_url}", response.status_code))
        return response

    monkeypatch.setattr(requests.Session, "send", judging)
    return seen


def test_what_is_wrapped_is_unwrapped(client: Client, vault: KeyVault, wire: list[tuple[str, Any]]) -> None:
    """With the version that wrapped it, whichever is the newest by then."""
    wrapped = client.wrap(DATA_KEY)
    vault.rotate()
    assert client.unwrap(wrapped) == DATA_KEY
    assert client.wrap(DATA_KEY).version != wrapped.version
    assert [path for path, _ in wire] == [
        "GET /keys/sign-in?api-version=7.4",
        f"POST /keys/sign-in/{wrapped.version}/unwrapkey?api-version=7.4",
        "GET /keys/sign-in?api-version=7.4",
    ]


def test_a_token_that_is_refused_is_replaced_once(client: Client, source: Source, wire: list[tuple[str, Any]]) -> None:
    """As at Fabric: a 401 took no effect."""
    source.lifetime = -timedelta(hours=1)
    client.wrap(DATA_KEY)
    assert [status for _, status in wire] == [401, 200]
    source.audience = FABRIC
    with pytest.raises(VaultRefusedError, match="Unauthorized"):
        client.wrap(DATA_KEY)
    assert [status for _, status in wire[2:]] == [401, 401]


def test_what_is_refused_says_why(client: Client, vault: KeyVault, wire: list[tuple[str, Any]]) -> None:
    """A key that is gone, disabled, of another version; a wrapped key that is none; somebody without a role."""
    wrapped = client.wrap(DATA_KEY)
    for spoiled, code in (
        (Wrapped("0" * 32, wrapped.value), "KeyNotFound"),
        (Wrapped(wrapped.version, b"nothing"), "BadParameter"),
    ):
        with pytest.raises(VaultRefusedError, match=code):
            client.unwrap(spoiled)
    vault.enabled = False
    with pytest.raises(VaultRefusedError, match="disabled key"):
        client.unwrap(wrapped)
    vault.deleted = True
    with pytest.raises(VaultRefusedError, match="the key of the sign-in is gone"):
        client.wrap(DATA_KEY)
    vault.may.clear()
    with pytest.raises(VaultRefusedError, match="Forbidden"):
        client.unwrap(wrapped)
    assert vault.asked == ["get", "unwrapKey", "unwrapKey", "unwrapKey", "get", "unwrapKey"]
