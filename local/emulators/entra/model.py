"""A tenant's directory: apps and managed identities, how each proves itself, and what a proof comes to."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from local.emulators.entra.tokens import EXCHANGE, FABRIC, POWER_BI, Caller, TokenRefusal, Tokens

Form = Mapping[str, str]
"""The fields of a form, or of a query."""

RESOURCES: Final = frozenset(
    {
        FABRIC,
        POWER_BI,
        EXCHANGE,
        "https://storage.azure.com",
        "https://vault.azure.net",
        "https://eventhubs.azure.net",
        "https://eventgrid.azure.net",
    }
)
"""Resources for which tokens are issued; asking for anything else is a mistake that a true tenant would name, too."""

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523, section 2.2."""


@dataclass(frozen=True, slots=True)
class Federation:
    """An app trusts tokens of this issuer and subject as its own proof; the defaults fit a managed identity."""

    issuer: str
    """Claim `iss` of the token that is handed in."""
    subject: str
    """Claim `sub`: for a managed identity its object id."""
    audience: str = EXCHANGE
    """Claim `aud`."""


@dataclass(frozen=True, slots=True)
class App:
    """An app registration with its service principal: a secret, federated credentials, or both.

    `public`: public client flows are allowed. `redirects` are those of the platform "mobile and desktop"; ports of
    loopback addresses are not compared. `consented` are the delegated scopes that it has consent for.
    """

    client_id: str
    """The id by which the app asks."""
    object_id: str
    """The id of its service principal, on which rights hang."""
    secret: str | None = None
    """Its client secret; None where it has none."""
    federations: tuple[Federation, ...] = ()
    """Tokens of others that it takes as its own proof."""
    public: bool = False
    """Whether public client flows are allowed: device code, and a browser with PKCE."""
    redirects: tuple[str, ...] = ()
    """Addresses that a browser may be sent to."""
    consented: frozenset[str] = frozenset()
    """Delegated scopes that somebody has consented to."""
    uris: tuple[str, ...] = ()
    """Its Application ID URIs, for which tokens can be asked as for a resource."""


@dataclass(frozen=True, slots=True)
class OAuthError:
    """A refusal in place of a token; `number` is that of its AADSTS text."""

    error: str
    """OAuth's name of the error."""
    number: int
    """The number of the AADSTS text."""
    text: str
    """The words of the text."""
    status: int = 400
    """The HTTP status."""
    suberror: str = ""
    """Microsoft's finer name, where there is one."""
    retry_after_seconds: float | None = None
    """The seconds of Retry-After; None for no such header."""
    claims: str = ""
    """The claims that a policy asks for, as JSON."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The outcome of a grant: a token for `audience` that speaks for `caller`; `beside` is answered beside it."""

    caller: Caller
    """Whom the token speaks for."""
    audience: str
    """The resource that it is for."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """More members of the answer, such as a refresh token."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A managed identity that is assigned to the Functions app."""

    client_id: str
    """The id by which it is asked for."""
    object_id: str
    """The id on which rights hang."""
    resource_id: str = ""
    """Its id as an Azure resource."""
    system_assigned: bool = False
    """Whether the identity is the app's own, which is meant where a request names none."""

    @property
    def caller(self) -> Caller:
        """Whom its tokens speak for."""
        return Caller(self.object_id, self.client_id, "managed-identity")


class Directory:
    """The apps and identities of one tenant, and what each of them may be given."""

    def __init__(self, tokens: Tokens, apps: Iterable[App], identities: Iterable[Identity]) -> None:
        """`tokens` judges assertions."""
        self.apps = {app.client_id: app for app in apps}
        self.identities = tuple(identities)
        self._tokens = tokens

    @property
    def resources(self) -> frozenset[str]:
        """Resources for which tokens are issued: Microsoft's own, and the tenant's apps that have a URI."""
        return RESOURCES | {uri for app in self.apps.values() for uri in app.uris}

    def client_credentials(self, form: Form) -> Granted | OAuthError:
        """Grant a token to an app that proves itself, or say why not."""
        app = self.apps.get(form.get("client_id", ""))
        if app is None:
            return OAuthError("unauthorized_client", 700016, "Application was not found in the directory.")
        denied = self._prove(app, form)
        if denied:
            return denied
        audience, dot, _ = form.get("scope", "").rpartition("/.default")
        if not dot:
            return OAuthError("invalid_scope", 1002012, "The scope must end in /.default.")
        if audience.rstrip("/") not in self.resources:
            return OAuthError("invalid_resource", 500011, "The resource principal was not found in the tenant.")
        return Granted(Caller(app.object_id, app.client_id), audience)

    def _prove(self, app: App, form: Form) -> OAuthError | None:
        """None if the caller is who it says."""
        if form.get("client_assertion_type") == JWT_BEARER:
            return self._prove_by_assertion(app, form.get("client_assertion", ""))
        if "client_secret" not in form:
            return OAuthError("invalid_client", 7000218, "A client_assertion or client_secret is required.", 401)
        if app.secret is None or not hmac.compare_digest(app.secret, form["client_secret"]):
            return OAuthError("invalid_client", 7000215, "Invalid client secret provided.", 401)
        return None

    def _prove_by_assertion(self, app: App, assertion: str) -> OAuthError | None:
        """https://learn.microsoft.com/entra/workload-id/workload-identity-federation: issuer, subject and audience."""
        claims = self._tokens.claims(assertion)
        if claims is TokenRefusal.EXPIRED:
            return OAuthError("invalid_client", 700024, "Client assertion is not within its valid time range.", 401)
        if isinstance(claims, TokenRefusal):
            return OAuthError("invalid_client", 700027, "Client assertion failed signature validation.", 401)
        if Federation(claims["iss"], claims["sub"], claims["aud"]) not in app.federations:
            return OAuthError("invalid_client", 700213, "No matching federated identity record found.", 401)
        return None

    def identity(self, query: Form) -> Identity | None:
        """The identity that a request names, else the system-assigned one; None if there is no such identity."""
        for identity in self.identities:
            names = {
                "client_id": identity.client_id,
                "object_id": identity.object_id,
                "mi_res_id": identity.resource_id,
            }
            named = {name: query[name] for name in names if name in query}
            if named.items() <= names.items() if named else identity.system_assigned:
                return identity
        return None


def identity_granted(identity: Identity | None, query: Form, resources: Collection[str]) -> Granted | OAuthError:
    """Grant a managed identity a token for the resource of its request, or say why not."""
    if identity is None:
        return OAuthError("no_identity", 0, "No User Assigned or Delegated Managed Identity found for specified id.")
    resource = query.get("resource", "")
    if resource.rstrip("/") not in resources:
        return OAuthError("invalid_resource", 0, "An unexpected error occurred while fetching the token.", 500)
    return Granted(identity.caller, resource)
