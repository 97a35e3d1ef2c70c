"""As whom a process on one's own machine calls Fabric and OneLake.

A managed identity where there is one, else whoever signed in by `unstale login --local`, else whoever signed in with
`az login`. The sign-in is msal's token cache in a file beside the state, which only its owner reads; each renewal is
written back, because Entra may give a new refresh token with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

import msal

from functions_azure.settings import Settings
from functions_azure.sign_in.user import public_client
from functions_azure.tokens import STORAGE, BoundedHttp, Issuer, ManagedIdentity, TokenAnswer
from local.azure_login import AT_HAND, AzureCli
from local.process.store import PRIVATE

NOT_SIGNED_IN: TokenAnswer = {
    "error": "not_signed_in",
    "error_description": "the sign-in beside the state is over: unstale login --local",
}
"""The answer instead of a token where the cache has nobody, or Entra renews nothing any more."""


def cache_of(state: Path) -> Path:
    """The file of the sign-in beside a state: `unstale.db` has `unstale.db.sign-in`."""
    return state.with_name(f"{state.name}.sign-in")


def caller_of(
    found: Settings, scopes: Sequence[str], state: Path, environ: Mapping[str, str]
) -> Callable[[str], Issuer]:
    """Choose who calls, once; the answer gives the issuer of tokens for an audience.

    `scopes` are the permissions in Fabric that the targets need, which a signed-in person has consented to.
    """
    http = BoundedHttp()
    if environ.get(AT_HAND):
        return lambda audience: ManagedIdentity(found.client_id, audience, http)
    if cache_of(state).exists():
        signed_in = SignedIn(found, scopes, cache_of(state), http)
        return lambda audience: OneAudience(signed_in, audience)
    return AzureCli


def read_cache(path: Path) -> msal.SerializableTokenCache:
    """The cache in a file."""
    cache = msal.SerializableTokenCache()
    cache.deserialize(path.read_text(encoding="utf-8"))
    return cache


def write_cache(path: Path, cache: msal.SerializableTokenCache) -> None:
    """Put the cache into its file, in one step, closed to everybody but its owner."""
    beside = path.with_name(f"{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(cache.serialize())
    beside.chmod(PRIVATE)
    beside.replace(path)


class SignedIn:
    """The person of a cache file. Safe between threads; another process may renew the same file."""

    def __init__(self, found: Settings, scopes: Sequence[str], path: Path, http: BoundedHttp) -> None:
        """Read nothing yet."""
        self._found = found
        self._scopes = {
            found.cloud.fabric_audience: [f"{found.cloud.fabric_audience}/{scope}" for scope in scopes],
            STORAGE: [f"{STORAGE}/user_impersonation"],
        }
        self._path = path
        self._http = http
        self._lock = Lock()
        self._cache = msal.SerializableTokenCache()

    @cached_property
    def _app(self) -> msal.PublicClientApplication:
        """The app registration, kept for the process: making one asks Entra for its endpoints."""
        return public_client(self._found, self._cache, self._http)

    def acquire(self, audience: str) -> TokenAnswer:
        """Give a token out of the file, or one that Entra renews for it.

        The file is read each time, since another process may have renewed it, or somebody signed out.
        """
        with self._lock:
            try:
                self._cache.deserialize(self._path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                return NOT_SIGNED_IN
            accounts = self._app.get_accounts()
            answer = self._silent(audience, accounts[0]) if accounts else None
        return answer or NOT_SIGNED_IN

    def _silent(self, audience: str, account: dict[str, str]) -> TokenAnswer | None:
        """Ask msal, which asks Entra for what its cache has not; what that gave is in the file before it is used."""
        answer: TokenAnswer | None = self._app.acquire_token_silent_with_error(self._scopes[audience], account)
        if self._cache.has_state_changed:
            write_cache(self._path, self._cache)
        return answer


class OneAudience:
    """`functions_azure.tokens.Issuer` of that person for one audience."""

    def __init__(self, signed_in: SignedIn, audience: str) -> None:
        """Ask for nothing yet."""
        self._signed_in = signed_in
        self._audience = audience

    def acquire(self) -> TokenAnswer:
        """A token for the audience."""
        return self._signed_in.acquire(self._audience)

    def forget(self) -> None:
        """Nothing: msal renews what has ended, and a token that Entra took back needs a new sign-in."""
