"""An Entra tenant on loopback that `msal` accepts, and the identity endpoint of a Functions app beside it.

Two ways lead to its token endpoint: https on `localhost` with a certificate made for the run (`authority`,
`certificate`) and, for managed identities, the two variables that a Functions app finds in its environment
(`identity_environment`).

Lifetimes run on the clock that the tenant is given. Secrets and assertions are checked, never kept; `tokens` judges
what was issued.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self
from urllib.parse import parse_qsl, urlsplit

from local.emulators.entra.model import (
    App,
    Directory,
    Federation,
    Form,
    Granted,
    Identity,
    OAuthError,
    identity_granted,
)
from local.emulators.entra.tokens import Tokens
from local.emulators.entra.users import Users
from local.emulators.entra.wire import identity_refused, openid_configuration, page_or, refusal
from local.emulators.faults import (
    Fault,
    FaultScript,
    IssueExpired,
    IssueFor,
    RefuseToken,
    ServerError,
    Throttle,
    deliver,
)
from local.emulators.http_server import Answer, Clock, LoopbackServer, Request, json_answer

__all__ = ["App", "Entra", "Federation", "Identity", "TokenRequest"]

TRUE_HOST: Final = "login.microsoftonline.com"
"""Where the true Entra is; instance discovery knows it as its own. No call goes there: a test fails on any that leaves
this machine."""


IDENTITY_API_VERSION: Final = "2019-08-01"
"""The version that callers must name:
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request for a token. `outcome` is "issued" or the error; what proved the caller is not kept."""

    grant: str
    """The grant type, or "managed_identity" for the identity endpoint."""
    client_id: str
    """The app or identity that asked."""
    audience: str
    """The resource that the token was to be for."""
    outcome: str
    """"issued", or OAuth's name of the error."""


class Entra:
    """A tenant; use it as a context. Faults wait for the operation "token", their resource is the client id."""

    def __init__(
        self,
        clock: Clock,
        *,
        apps: Iterable[App] = (),
        identities: Iterable[Identity] = (),
        faults: FaultScript | None = None,
        tenant_id: str = "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935",
        token_lifetime: timedelta = timedelta(hours=1),
        identity_token_lifetime: timedelta = timedelta(hours=24),
    ) -> None:
        """Lifetimes are those that Entra gives: about an hour, and a day for managed identities."""
        self.tenant_id = tenant_id
        self.tokens = Tokens(clock, tenant_id)
        self.users = Users(clock, self.tokens)
        self.faults = faults or FaultScript()
        self.token_lifetime = token_lifetime
        self.identity_token_lifetime = identity_token_lifetime
        self.directory = Directory(self.tokens, apps, identities)
        self.apps = self.directory.apps
        self._clock = clock
        self._identity_header = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._asked: list[TokenRequest] = []
        self._unplanned: list[str] = []
        self._routes: Mapping[tuple[str, str], Callable[[Request], Answer | None]] = {
            ("GET", "/common/discovery/instance"): self._instance_discovery,
            ("GET", "/{tenant}/v2.0/.well-known/openid-configuration"): self._configuration,
            ("GET", "/{tenant}/discovery/v2.0/keys"): self._keys,
            ("GET", "/common/discovery/v2.0/keys"): self._keys,
            ("POST", "/{tenant}/oauth2/v2.0/token"): self._token,
            ("POST", "/{tenant}/oauth2/v2.0/devicecode"): self._device_code,
            ("GET", "/{tenant}/oauth2/v2.0/authorize"): self._authorize,
            ("GET", "/msi/token"): self._identity_token,
        }
        self._grants: Mapping[str, Callable[[Form], Granted | OAuthError]] = {
            "client_credentials": self.directory.client_credentials,
        }
        self._plain = LoopbackServer(self._respond, clock)
        self._secure = LoopbackServer(self._respond, clock, secure=True)

    # --- How to reach it -------------------------------------------------------------------------------------------

    @property
    def authority(self) -> str:
        """The authority on loopback; its certificate is at `certificate`, and msal needs `instance_discovery=False`."""
        return f"{self._secure.url}/{self.tenant_id}"

    @property
    def plain_authority(self) -> str:
        """The same over http, for those who take that on loopback; msal does not."""
        return f"{self._plain.url}/{self.tenant_id}"

    @property
    def certificate(self) -> str:
        """Path of the certificate, in PEM: for `verify`, or for the variable REQUESTS_CA_BUNDLE, which outranks it."""
        return str(self._secure.certificate)

    @property
    def identity_environment(self) -> dict[str, str]:
        """The variables by which a Functions app finds its managed identity."""
        return {"IDENTITY_ENDPOINT": f"{self._plain.url}/msi/token", "IDENTITY_HEADER": self._identity_header}

    def __enter__(self) -> Self:
        self._plain.start()
        self._secure.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._plain.close()
        finally:
            self._secure.close()

    # --- What it saw -----------------------------------------------------------------------------------------------

    @property
    def token_requests(self) -> tuple[TokenRequest, ...]:
        """The requests for tokens so far, oldest first."""
        with self._lock:
            return tuple(self._asked)

    @property
    def unplanned_requests(self) -> tuple[str, ...]:
        """Requests that no identity platform has an answer for; a test asserts that there are none."""
        with self._lock:
            return tuple(self._unplanned)

    # --- The identity platform's endpoints -------------------------------------------------------------------------

    def _respond(self, request: Request) -> Answer | None:
        """Find the endpoint of a request. Another tenant is refused as by Entra; anything else is unplanned."""
        handler = self._routes.get((request.method, request.path.replace(f"/{self.tenant_id}/", "/{tenant}/", 1)))
        if handler:
            return handler(request)
        _, tenant, rest = (request.path + "//").split("/", 2)
        if tenant and (request.method, "/{tenant}/" + rest.removesuffix("//")) in self._routes:
            return refusal(OAuthError("invalid_tenant", 90002, f"Tenant '{tenant}' not found."), self._clock())
        with self._lock:
            self._unplanned.append(f"{request.method} {request.path}")
        return json_answer(404, {"error": "not_found"})

    def _base(self, request: Request) -> str:
        """The address that the caller used, so that what it is told next leads back here in the same way."""
        return f"{'https' if request.secure or request.host == TRUE_HOST else 'http'}://{request.host}"

    def _instance_discovery(self, request: Request) -> Answer:
        """Say whether an authority is a known one: the true host, or our own, which msal asks for without its port."""
        ours = urlsplit(self._secure.url)
        hosts = {TRUE_HOST: TRUE_HOST, str(ours.hostname): ours.netloc, ours.netloc: ours.netloc}
        asked = urlsplit(dict(request.query).get("authorization_endpoint", ""))
        if asked.scheme != "https" or asked.netloc not in hosts:
            return refusal(OAuthError("invalid_instance", 50049, "Unknown or invalid instance."), self._clock())
        tenant = f"https://{hosts[asked.netloc]}/{asked.path.split('/')[1]}"
        groups = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]} for host in hosts]
        endpoint = f"{tenant}/v2.0/.well-known/openid-configuration"
        return json_answer(200, {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": groups})

    def _configuration(self, request: Request) -> Answer:
        """The tenant's OpenID configuration, with addresses at which the caller is already."""
        return openid_configuration(f"{self._base(request)}/{self.tenant_id}")

    def _keys(self, _: Request) -> Answer:
        """The public keys, which are those of all tenants."""
        return json_answer(200, self.tokens.key_set())

    def _token(self, request: Request) -> Answer | None:
        """https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow."""
        form = dict(parse_qsl(request.body.decode()))
        grant, client_id = form.get("grant_type", ""), form.get("client_id", "")
        fault = self.faults.take("token", client_id)
        outcome = _refused_by(fault) or self._decide(grant, form)
        self._note(grant, client_id, form.get("scope", ""), outcome)
        if isinstance(outcome, OAuthError):
            return deliver(fault, refusal(outcome, self._clock()))
        token = self._issue(outcome, fault, self.token_lifetime)
        seconds = int(self.token_lifetime.total_seconds()) - 1
        body = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}
        return deliver(fault, json_answer(200, {**body, **outcome.beside}))

    def _decide(self, grant: str, form: Form) -> Granted | OAuthError:
        """Decide on a request for a token: an app's own proof, or a user's."""
        decide, of_user = self._grants.get(grant), self.users.grants.get(grant)
        if decide:
            return decide(form)
        app = self.directory.apps.get(form.get("client_id", ""))
        if of_user and app and app.public:
            with self._lock:
                return of_user(app, form)
        return OAuthError("unsupported_grant_type", 70003, "Unsupported grant.")

    def _device_code(self, request: Request) -> Answer:
        """Begin a sign-in by device code."""
        form = dict(parse_qsl(request.body.decode()))
        with self._lock:
            answer = self.users.device_authorization(self.directory.apps.get(form.get("client_id", "")), form)
        return refusal(answer, self._clock()) if isinstance(answer, OAuthError) else json_answer(200, answer)

    def _authorize(self, request: Request) -> Answer:
        """Show what a browser gets that begins a sign-in."""
        query = dict(request.query)
        with self._lock:
            return self.users.authorize(self.directory.apps.get(query.get("client_id", "")), query)

    def _identity_token(self, request: Request) -> Answer | None:
        """The identity endpoint of App Service; errors are flat, with a statusCode."""
        query = dict(request.query)
        if request.headers.get("x-identity-header") != self._identity_header:
            return identity_refused(401, "The identity header is missing or wrong.")
        if query.get("api-version") != IDENTITY_API_VERSION:
            return identity_refused(400, "Unsupported api-version.")
        identity = self.directory.identity(query)
        client_id = identity.client_id if identity else ""
        fault = self.faults.take("token", client_id)
        outcome = _refused_by(fault) or identity_granted(identity, query, self.directory.resources)
        self._note("managed_identity", client_id, query.get("resource", ""), outcome)
        if isinstance(outcome, OAuthError):
            return deliver(fault, page_or(outcome, identity_refused(outcome.status, outcome.text)))
        # msal takes the machine's time from this to know how long the token lasts, whatever clock the tenant is on.
        expires = datetime.now(UTC) + self.identity_token_lifetime
        body = {
            "access_token": self._issue(outcome, fault, self.identity_token_lifetime),
            "expires_on": str(int(expires.timestamp())),
            "resource": outcome.audience,
            "token_type": "Bearer",
            "client_id": outcome.caller.app_id,
        }
        return deliver(fault, json_answer(200, body))

    # --- Records and answers ---------------------------------------------------------------------------------------

    def _issue(self, granted: Granted, fault: Fault | None, lifetime: timedelta) -> str:
        """Issue what was granted, or what the script wants instead."""
        audience = fault.audience if isinstance(fault, IssueFor) else granted.audience
        return self.tokens.issue(granted.caller, audience, -lifetime if isinstance(fault, IssueExpired) else lifetime)

    def _note(self, grant: str, client_id: str, audience: str, outcome: Granted | OAuthError) -> None:
        """Keep what was asked for and how it ended, without what proved the caller."""
        said = outcome.error if isinstance(outcome, OAuthError) else "issued"
        with self._lock:
            self._asked.append(TokenRequest(grant, client_id, audience.removesuffix("/.default"), said))


def _refused_by(fault: Fault | None) -> OAuthError | None:
    """The refusal that a script wants, if it wants one."""
    match fault:
        case RefuseToken(error=error, suberror=suberror, number=number, claims=claims):
            return OAuthError(error, number, "Refused by the script.", suberror=suberror, claims=claims)
        case ServerError(status=status):
            return OAuthError("server_error", 90033, "A transient error has occurred.", status)
        case Throttle(retry_after_seconds=seconds):
            return OAuthError("temporarily_unavailable", 90033, "Throttled.", 429, retry_after_seconds=seconds)
    return None
