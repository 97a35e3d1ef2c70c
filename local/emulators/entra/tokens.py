"""Access tokens of one tenant on loopback: signed as Entra signs them, and judged as a resource should judge them.

Times are those of the clock that the tenant is given, not the machine's.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from local.emulators.http_server import Clock

FABRIC: Final = "https://api.fabric.microsoft.com"
"""The audience of Fabric's API."""
POWER_BI: Final = "https://analysis.windows.net/powerbi/api"
"""The audience of Power BI's API."""
FABRIC_AUDIENCES: Final = frozenset({FABRIC, POWER_BI})
"""Fabric takes both (https://github.com/microsoft/semantic-link-labs/issues/782)."""

EXCHANGE: Final = "api://AzureADTokenExchange"
"""The audience of a token that is to be handed in as an assertion (workload identity federation)."""

IDENTITY_PREFIX: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/loopback"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
)
"""Where the identities of tokens live; only tokens of managed identities name a place (claim `xms_mirid`)."""

KEY_ID: Final = "loopback"
"""The name of the one key, in token headers and in the key set."""
ANY_TENANT: Final = "https://login.microsoftonline.com/{tenantid}/v2.0"
"""The `issuer` of a key that signs for every tenant, as Entra's key set has it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a token speaks for; `object_id` is what quotas and permissions hang on, `scopes` what a user delegated."""

    object_id: str
    """The id of the principal or user."""
    app_id: str
    """The client id of the app that asked for the token."""
    kind: Literal["managed-identity", "application", "user"] = "application"
    """The kind of caller."""
    scopes: frozenset[str] = frozenset()
    """The scopes that a user delegated; empty for apps."""


class TokenRefusal(StrEnum):
    """Why a token is not accepted."""

    MISSING = "no bearer token"
    MALFORMED = "not a token"
    SIGNATURE = "not signed by this tenant"
    NOT_YET = "not valid yet"
    EXPIRED = "expired"
    AUDIENCE = "meant for someone else"
    REVOKED = "revoked"


class Tokens:
    """The tenant's key, and what a resource makes of tokens that were signed with it. Thread-safe."""

    def __init__(self, clock: Clock, tenant_id: str) -> None:
        """Begin with nothing issued; the key is the tenant's for as long as the process lives."""
        self.tenant_id = tenant_id
        self.issuer = f"https://login.microsoftonline.com/{tenant_id}/v2.0"
        self._clock = clock
        self._key = _key_of(tenant_id)

    def issue(self, caller: Caller, audience: str, lifetime: timedelta) -> str:
        """Sign a token that speaks for `caller`; a negative lifetime makes one that has expired already."""
        expires = self._clock() + lifetime
        begins = min(self._clock(), expires)
        token_id = uuid.uuid4().hex
        # Resources as old as Fabric and Storage take tokens of version 1.0; those handed in as assertions are 2.0.
        second = audience == EXCHANGE
        claims = {
            "aud": audience,
            "iss": self.issuer if second else f"https://sts.windows.net/{self.tenant_id}/",
            "iat": int(begins.timestamp()),
            "nbf": int(begins.timestamp()),
            "exp": int(expires.timestamp()),
            "appid": caller.app_id,
            "idtyp": "user" if caller.kind == "user" else "app",
            "oid": caller.object_id,
            "sub": caller.object_id,
            "tid": self.tenant_id,
            "uti": token_id,
            "ver": "2.0" if second else "1.0",
        }
        if caller.kind == "managed-identity":
            claims["xms_mirid"] = f"{IDENTITY_PREFIX}/{caller.app_id}"
        if caller.kind == "user":
            claims["scp"] = " ".join(sorted(caller.scopes))
        return self.sign(claims)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Sign any claims with the tenant's key."""
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"kid": KEY_ID})

    def validate(self, authorization: str, audiences: Collection[str]) -> Caller | TokenRefusal:
        """Say whom an Authorization header speaks for, or why a resource with these names does not accept it."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return TokenRefusal.MISSING
        claims = self.claims(token)
        if isinstance(claims, TokenRefusal):
            return claims
        if claims["aud"].rstrip("/") not in audiences:
            return TokenRefusal.AUDIENCE
        return _caller(claims)

    def claims(self, token: str) -> dict[str, Any] | TokenRefusal:
        """Return the claims of a token that is ours and in its time; the library knows only the machine's clock."""
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidSignatureError:
            return TokenRefusal.SIGNATURE
        except jwt.InvalidTokenError:
            return TokenRefusal.MALFORMED
        now = self._clock().timestamp()
        if now >= claims["exp"]:
            return TokenRefusal.EXPIRED
        return TokenRefusal.NOT_YET if now < claims["nbf"] else claims

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "use": "sig", "kid": KEY_ID, "alg": "RS256", "issuer": ANY_TENANT}]}


@cache
def _key_of(tenant_id: str) -> rsa.RSAPrivateKey:  # noqa: ARG001 - one key each
    """Make the tenant's key, which takes a quarter of a second, once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _caller(claims: Mapping[str, Any]) -> Caller:
    """Whom claims speak for; only tokens of managed identities say which Azure resource they belong to."""
    if claims["idtyp"] == "user":
        return Caller(claims["oid"], claims["appid"], "user", frozenset(claims["scp"].split()))
    return Caller(claims["oid"], claims["appid"], "managed-identity" if "xms_mirid" in claims else "application")
