"""Tokens that are revoked before their time: what the tenant in the emulator does not know, and some tests want."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from local.emulators.entra.tokens import Caller, TokenRefusal, Tokens


def revoke(tokens: Tokens, object_id: str | None = None) -> None:
    """Refuse every token issued up to now, or those of one identity; newly issued ones are good."""
    issue, claims_of = tokens.issue, tokens.claims
    good: set[str] = set()

    def issue_good(caller: Caller, audience: str, lifetime: timedelta) -> str:
        token = issue(caller, audience, lifetime)
        good.add(token)
        return token

    def claims_unless_revoked(token: str) -> dict[str, Any] | TokenRefusal:
        claims = claims_of(token)
        if isinstance(claims, TokenRefusal) or token in good or object_id not in (None, claims["oid"]):
            return claims
        return TokenRefusal.REVOKED

    tokens.issue = issue_good  # type: ignore[method-assign]
    tokens.claims = claims_unless_revoked  # type: ignore[method-assign]
