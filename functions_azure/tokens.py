"""Tokens from Entra by `msal`, behind one small port: hands out one that is valid, and is told when one was refused.

Nothing is asked of the network before the first token is. What a signed-in user needs is in `user.py`, which is
imported only for that identity.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from msgspec.structs import replace
from urllib3 import Timeout

from functions_azure.clients import CONNECT_SECONDS, NEVER, READ_SECONDS, Deadline
from functions_azure.sessions import WholeAnswer, read_answer, session
from functions_azure.settings import Settings
from shared.endpoints import is_loopback
from shared.platforms.failures import (
    ANSWER_LIMIT,
    MISCONFIGURED,
    NO_CREDENTIALS_NOW,
    NOT_CONNECTED,
    TRANSPORT,
    names_of,
)
from shared.redaction import NOTHING_KNOWN, Redactor, plain
from shared.refresh.failure import Failure

if TYPE_CHECKING:
    import msal

STORAGE = "https://storage.azure.com"
"""The audience of Azure Storage, the same in every cloud; other audiences are in `functions_azure.clouds`.

https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory
"""

EVENT_GRID = "https://eventgrid.azure.net"
"""The audience of Event Grid, in every cloud the scope of Microsoft's own client (azure-eventgrid)."""

UNRESOLVED = "@Microsoft.KeyVault("
"""How the value of an application setting begins that was to be a secret: the reference itself is what the app sees.

https://learn.microsoft.com/azure/app-service/app-service-key-vault-references#troubleshoot-key-vault-references
"""

AT_ONCE_SECONDS = 10.0
"""Threads that ask within this time of each other had no token yet: as long as an invocation lasts."""

_T = TypeVar("_T")

TokenAnswer = Mapping[str, Any]
"""An answer of msal: `access_token` and `expires_in`, or `error` and `error_description`."""


class Tokens(Protocol):
    """Where a bearer token comes from."""

    def token(self) -> str | Failure:
        """A token that is valid for some minutes, or why there is none; nothing that needs it was sent then."""

    def forget(self, token: str) -> None:
        """The service rejected this token: the next one is to be a new one."""


def send_with_token(
    tokens: Tokens, send: Callable[[str], _T | Failure], is_token_refused: Callable[[_T], bool]
) -> _T | Failure:
    """Send a request with a token; where the token is refused, send the request once more with a new token.

    A request that is refused for its token has no effect. Without a token nothing is sent, and the failure says why.
    """
    answer = _send_once(tokens, send, is_token_refused)
    if isinstance(answer, Failure) or not is_token_refused(answer):
        return answer
    return _send_once(tokens, send, is_token_refused)


def _send_once(
    tokens: Tokens, send: Callable[[str], _T | Failure], is_token_refused: Callable[[_T], bool]
) -> _T | Failure:
    token = tokens.token()
    if isinstance(token, Failure):
        return token
    answer = send(token)
    if not isinstance(answer, Failure) and is_token_refused(answer):
        tokens.forget(token)
    return answer


class Issuer(Protocol):
    """A way to a token; both methods may raise whatever the network does."""

    def acquire(self) -> TokenAnswer | Failure:
        """A token out of its cache, or a new one; a trouble where the issuer knows more of it than `refusal` does."""

    def forget(self) -> None:
        """Empty the cache."""


class EntraTokens:
    """`Tokens` of one issuer, which is made when the first one is asked for. Safe between threads."""

    def __init__(self, make: Callable[[], Issuer], redactor: Redactor = NOTHING_KNOWN) -> None:
        self._make = make
        self._redactor = redactor
        self._lock = Lock()
        self._latest = ""

    @cached_property
    def _issuer(self) -> Issuer:
        return self._make()

    def token(self) -> str | Failure:
        """See `Tokens`."""
        issued = self.issue()
        return issued if isinstance(issued, Failure) else issued.token

    def issue(self) -> AccessToken | Failure:
        """Issue a token with the end of its life."""
        try:
            answer = self._issuer.acquire()
        except Exception as error:  # noqa: BLE001 - msal hands through whatever a session raises, and has errors of its own
            return read_token_exception(error, self._redactor.plain)
        if isinstance(answer, Failure):
            return replace(answer, message=self._redactor.plain(answer.message))
        if "access_token" not in answer:
            return refusal(answer, self._redactor.plain)
        self._latest = answer["access_token"]
        return AccessToken(self._latest, int(time.time()) + int(answer["expires_in"]))

    def forget(self, token: str) -> None:
        """Forget a token that a service refused, unless another thread has a newer one already."""
        with self._lock:
            if token == self._latest:
                self._issuer.forget()
                self._latest = ""


class StorageCredential:
    """The SDK's `TokenCredential` on top of that: a page instead of a package. For one client."""

    def __init__(self, tokens: EntraTokens) -> None:
        self._tokens = tokens
        self._handed, self._handed_at = "", 0.0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ARG002 - the SDK's signature
        """For storage, whatever scope is named. Raises what the SDK knows as a failed authentication.

        The SDK keeps a token until it ends, or until storage refuses it: so one asked for again was refused.
        """
        if time.monotonic() - self._handed_at > AT_ONCE_SECONDS:
            self._tokens.forget(self._handed)
        issued = self._tokens.issue()
        if isinstance(issued, Failure):
            raise ClientAuthenticationError(str(issued))
        self._handed, self._handed_at = issued.token, time.monotonic()
        return issued


# --- Ways to a token -------------------------------------------------------------------------------------------------


def issuer_of(identity: str, settings: Settings, http: BoundedHttp, resource: str = "") -> Issuer:
    """Choose the issuer that `fabric.identity` names, unless it is a user. Raises `ValueError` for missing settings."""
    if identity == "managed-identity":
        return ManagedIdentity(settings.client_id, resource or settings.cloud.fabric_audience, http)
    missing = [
        name
        for name, value in (("UNSTALE_CLIENT_ID", settings.client_id), ("UNSTALE_TENANT_ID", settings.authority))
        if not value
    ]
    if missing:
        raise ValueError(f'fabric.identity is "{identity}", but {" and ".join(missing)} is not set')
    if settings.client_secret.startswith(UNRESOLVED):
        raise ValueError(
            "UNSTALE_CLIENT_SECRET is a Key Vault reference that the platform did not resolve: may the function app's "
            "identity read secrets of that vault, and does the vault's firewall let it in?"
        )
    return ServicePrincipal(settings, http, resource)


class ManagedIdentity:
    """The identity of the function app: a user-assigned one by its client id, else the system-assigned one."""

    def __init__(self, client_id: str, resource: str, http: BoundedHttp) -> None:
        self._client_id = client_id
        self._resource = resource
        self._http = http

    @cached_property
    def _client(self) -> msal.ManagedIdentityClient:
        import msal

        if self._client_id:
            identity = msal.UserAssignedManagedIdentity(client_id=self._client_id)
        else:
            identity = msal.SystemAssignedManagedIdentity()
        return msal.ManagedIdentityClient(identity, http_client=self._http)

    def acquire(self) -> TokenAnswer:
        """From the identity endpoint of the function app, or of the virtual machine that we are on."""
        answer: TokenAnswer = self._client.acquire_token_for_client(resource=self._resource)
        return answer

    def forget(self) -> None:
        """Drop the client and its cache; the endpoint has a cache of its own, which only time empties."""
        self.__dict__.pop("_client", None)


class ServicePrincipal:
    """An app registration that proves itself by its secret or, without one, by the function app's managed identity."""

    def __init__(self, settings: Settings, http: BoundedHttp, resource: str = "") -> None:
        self._settings = settings
        self._http = http
        self._identity = ManagedIdentity(settings.storage_client_id, settings.cloud.exchange_audience, http)
        self._resource = resource or settings.cloud.fabric_audience

    @cached_property
    def _app(self) -> msal.ConfidentialClientApplication:
        """Make msal's client of the app registration; its constructor asks the authority for its endpoints."""
        import msal

        return msal.ConfidentialClientApplication(
            self._settings.client_id,
            client_credential=self._settings.client_secret or {"client_assertion": self._assertion},
            authority=self._settings.authority,
            instance_discovery=instance_discovery(self._settings.authority),
            http_client=self._http,
        )

    def _assertion(self) -> str:
        """Get the managed identity's token, by which the app registration is proven.

        https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
        """
        answer = self._identity.acquire()
        if "access_token" not in answer:
            raise NoAssertionError(answer)
        return str(answer["access_token"])

    def acquire(self) -> TokenAnswer:
        """The client credentials grant."""
        try:
            answer: TokenAnswer = self._app.acquire_token_for_client(scopes=[f"{self._resource}/.default"])
        except NoAssertionError as none:
            return none.answer
        if "access_token" not in answer:
            self._identity.forget()  # what proved us may be what was refused
        return answer

    def forget(self) -> None:
        """Its tokens, and what it proved itself with: where the endpoints are stays known."""
        self._identity.forget()
        self._app.remove_tokens_for_client()


def instance_discovery(authority: str) -> bool | None:
    """Tell msal whether to ask Microsoft about an authority: not of one on loopback; None leaves the choice to msal."""
    host = authority.partition("://")[2].partition("/")[0].partition(":")[0]
    return False if is_loopback(host) else None


class NoAssertionError(Exception):
    """The managed identity gave no token to hand in."""

    def __init__(self, answer: TokenAnswer) -> None:
        self.answer = answer
        super().__init__(str(answer.get("error")))


class BoundedHttp:
    """Session of msal's requests. Calls keep the deadline of their thread's invocation, and follow no redirect."""

    def __init__(self, *, connect_seconds: float = CONNECT_SECONDS, read_seconds: float = READ_SECONDS) -> None:
        self._http = session()
        self._seconds = (connect_seconds, read_seconds)
        self._local = local()

    @property
    def deadline(self) -> Deadline:
        """The deadline of the calling thread's invocation."""
        found: Deadline = getattr(self._local, "deadline", NEVER)
        return found

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._local.deadline = deadline

    def get(self, url: str, **options: Any) -> WholeAnswer:
        """Send a GET: discovery documents, the identity endpoint, keys. Raises what `requests` raises."""
        return read_answer(self._http.get(url, **options, **self._limits()), ANSWER_LIMIT)

    def post(self, url: str, **options: Any) -> WholeAnswer:
        """Send a POST: the token endpoint, a key's operations. Raises what `requests` raises."""
        return read_answer(self._http.post(url, **options, **self._limits()), ANSWER_LIMIT)

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def _limits(self) -> dict[str, Any]:
        left = self.deadline.seconds_left()
        if left <= 0:
            raise requests.ConnectTimeout("no time is left in this invocation")
        connect_seconds, read_seconds = (min(most, left) for most in self._seconds)
        timeout = Timeout(connect=connect_seconds, read=read_seconds, total=left)
        return {"timeout": timeout, "allow_redirects": False, "stream": True}


# --- Errors as facts -------------------------------------------------------------------------------------------------

TRANSIENT = frozenset({"temporarily_unavailable", "server_error", "request_timeout"})
"""https://learn.microsoft.com/entra/identity-platform/reference-error-codes; every other error needs a person."""

ADVICE: Mapping[str, str] = {
    "invalid_client": "is UNSTALE_CLIENT_SECRET the current one of UNSTALE_CLIENT_ID? Without a secret, does the app "
    "registration trust the function app's managed identity (federated credential)?",
    "unauthorized_client": "are UNSTALE_CLIENT_ID and UNSTALE_TENANT_ID those of the app registration?",
    "invalid_tenant": "is UNSTALE_TENANT_ID the tenant's?",
    "invalid_instance": "is UNSTALE_AUTHORITY an authority of Entra?",
    "invalid_resource": "does the tenant have Microsoft Fabric?",
    "invalid_scope": "does the function app have the managed identity that UNSTALE_CLIENT_ID names (none: the "
    "system-assigned one)?",
}
"""The cure that a person is told, by error. `invalid_scope` is what msal calls any refusal of the identity endpoint."""


def refusal(answer: TokenAnswer, words: Callable[[str], str] = plain) -> Failure:
    """Entra's own error as facts; whatever needed the token was not sent. `words` takes secrets out of its text."""
    error = str(answer.get("error") or "no_token")
    said = words(str(answer.get("error_description") or "no token, and no reason"))
    if error in TRANSIENT or _is_passing(said):
        return NO_CREDENTIALS_NOW.failure(error, said)
    advice = ADVICE.get(error)
    return MISCONFIGURED.failure(error, f"{advice} Entra says: {said}" if advice else said)


def _is_passing(said: str) -> bool:
    """The identity endpoint's errors begin with an HTTP status: `500, An unexpected error occurred ...`."""
    status = said.partition(",")[0]
    if not status.isdecimal():
        return False
    return int(status) >= HTTPStatus.INTERNAL_SERVER_ERROR or int(status) == HTTPStatus.TOO_MANY_REQUESTS


def read_token_exception(error: Exception, words: Callable[[str], str] = plain) -> Failure:
    """An exception on the way to a token. Mended by itself, unless it is a matter of addresses or certificates."""
    said = f"no token: {words(str(error))}"
    names = names_of(error)
    code = next((name for name in TRANSPORT if name in names), names[0])
    if TRANSPORT.get(code) is MISCONFIGURED or code == "ValueError":
        return MISCONFIGURED.failure(code, said)
    facts = NOT_CONNECTED if TRANSPORT.get(code) is NOT_CONNECTED else NO_CREDENTIALS_NOW
    return facts.failure(code, said)
