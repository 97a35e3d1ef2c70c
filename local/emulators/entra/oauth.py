"""What the parts of the loopback tenant hand each other: who asks, what was granted, how it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.emulators.entra.tokens import EXCHANGE, Caller

Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Federation:
    """An app trusts tokens of this issuer and subject as its own proof; the defaults fit a managed identity."""

    issuer: str
    subject: str
    audience: str = EXCHANGE


@dataclass(frozen=True, slots=True)
class App:
    """An app registration with its service principal: a secret, federated credentials, or both.

    `public`: public client flows are allowed. `redirects` are those of the platform "mobile and desktop"; ports of
    loopback addresses are not compared. `consented` are the delegated scopes that it has consent for.
    """

    client_id: str
    object_id: str
    secret: str | None = None
    federations: tuple[Federation, ...] = ()
    public: bool = False
    redirects: tuple[str, ...] = ()
    consented: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OAuthError:
    """What an endpoint answers instead of a token; `number` is that of its AADSTS text."""

    error: str
    number: int
    text: str
    status: int = 400
    suberror: str = ""
    retry_after_seconds: float | None = None
    claims: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a grant came to: a token for `audience` that speaks for `caller`; `beside` is answered beside it."""

    caller: Caller
    audience: str
    beside: Mapping[str, Any] = field(default_factory=dict)
