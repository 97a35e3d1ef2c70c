"""Tokens of a user whom nobody sees sign in: `functions_azure.tokens.Issuer` by the refresh token that is kept.

Imported only where `fabric.identity` is "user".

    a person: unstale login ──> the sealed file ──> any worker: opens it, asks Entra with the refresh token it holds
                                      ^                                     |
                                      └── saved before the answer is used ──┘   Entra gives a newer one each time

Entra gives a new refresh token with each answer, and ends one that lies idle for 90 days. So what was got is saved
first, and an idle sign-in is renewed each week, by whichever tick comes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from typing import Any

import msal
from msgspec.structs import replace

from functions_azure.settings import Settings
from functions_azure.sign_in.key_vault import VaultRefusedError
from functions_azure.sign_in.store import Opened, SignIns
from functions_azure.tokens import BoundedHttp, TokenAnswer, instance_discovery
from shared import sign_in as entra
from shared.platforms.failures import NO_CREDENTIALS_NOW, NOT_CONNECTED
from shared.refresh.failure import Failure
from shared.refresh.records import NewerRecordError
from shared.sign_in import NOBODY, DamagedSignInError

LOOK_SECONDS = 300.0
"""How often a process reads the file: so long, at most, it acts for somebody who was signed out."""
RENEWAL_LOOK_SECONDS = 6 * 3600.0
"""How often a process asks whether an idle sign-in is to be renewed."""
TURN_SECONDS = 60.0
"""The longest that one thread waits for another thread's answer, whatever the deadline."""


class SignedInUser:
    """`Issuer` of the signed-in user. Safe between threads: one asks, the others wait for what it gets."""

    def __init__(
        self,
        settings: Settings,
        wanted: tuple[str, ...],
        sign_ins: SignIns,
        http: BoundedHttp,
        now: Callable[[], datetime],
    ) -> None:
        """`wanted` are the scopes that the configured targets need. Raises `ValueError` where settings are missing."""
        require(settings)
        self._settings = settings
        self._wanted = wanted
        self._sign_ins = sign_ins
        self._http = http
        self._now = now
        self._turn = Lock()
        self._cache = msal.SerializableTokenCache()
        # The file as it was read or saved last; None while nobody is signed in.
        self._opened: Opened | None = None
        # What Entra gave and could not be saved yet: newer than the file.
        self._pending: Opened | None = None
        # Why the last renewal failed, if only a person can mend that.
        self._unrenewed: Failure | None = None
        # When the file is read again, and when an idle sign-in is looked at again; seconds of the monotonic clock.
        self._look_at = self._renewal_look_at = 0.0
        # The token that was handed out last, and the one that a service refused.
        self._given = self._refused = ""

    @cached_property
    def _app(self) -> msal.PublicClientApplication:
        return public_client(self._settings, self._cache, self._http)

    def acquire(self) -> TokenAnswer | Failure:
        """A token out of the cache, or a new one by the refresh token; else what is to be done, and by whom."""
        with self._alone() as mine:
            if not mine:
                return NOT_CONNECTED.failure("NoTimeLeft", "another call was still asking for the token")
            answer: TokenAnswer | Failure = self._outcome_of(self._acquire)
            return answer

    def forget(self) -> None:
        """The token that was given was refused: look at the file, and take none that is the same."""
        self._refused = self._given
        self._look_at = 0.0

    def renew(self) -> Failure | None:
        """Renew an idle sign-in when its week is over; why that failed, if it did.

        What only a person can mend is told by every call until it is mended, because an alert counts failures.
        """
        if time.monotonic() < self._renewal_look_at and self._unrenewed is None:
            return None
        with self._alone() as mine:
            if not mine:
                return None  # somebody asks for a token; the next tick asks again
            answer = self._outcome_of(self._renew)
        failure = answer if isinstance(answer, Failure) else None
        if failure is None or (failure.permanent and failure is not self._unrenewed):
            self._renewal_look_at = time.monotonic() + RENEWAL_LOOK_SECONDS
        self._unrenewed = failure if failure and failure.permanent else None
        return failure

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Take turns: gives whether this thread came to its turn before its invocation is over."""
        mine = self._turn.acquire(timeout=max(self._http.deadline.seconds_left(TURN_SECONDS), 0.0))
        try:
            yield mine
        finally:
            if mine:
                self._turn.release()

    def _outcome_of(self, work: Callable[[], TokenAnswer | Failure | None]) -> Any:
        """The outcome of a sign-in, with all that may be wrong with the file or its key as facts."""
        try:
            return work()
        except VaultRefusedError as refused:
            return refused.failure
        except DamagedSignInError as why:
            return entra.report_damage(str(why))
        except NewerRecordError as newer:
            return NO_CREDENTIALS_NOW.failure("NewerSignIn", str(newer))

    def _acquire(self) -> TokenAnswer | Failure:
        """A token by what this process knows; where that fails, once more by what the file says by now.

        Another worker may have renewed the sign-in, or a person signed in again, since this process read the file.
        """
        self._settle()
        looked = time.monotonic() >= self._look_at
        if looked:
            self._look()
        asked_with = self._opened
        answer = self._ask()
        if not isinstance(answer, Failure):
            return answer
        if not looked:
            self._look()
        out_of_date = asked_with is None or self._opened is None or asked_with.cache != self._opened.cache
        return self._ask() if out_of_date else answer  # somebody renewed it, signed in again, or signed out

    def _renew(self) -> TokenAnswer | Failure | None:
        self._settle()
        found = self._sign_ins.look()
        if found is None or not entra.renewal_is_due(found[1].sign_in, self._now()):
            return None
        unchanged = self._opened is not None and found[0] == self._opened.etag
        if self._unrenewed and unchanged and time.monotonic() < self._renewal_look_at:
            return self._unrenewed
        self._look()
        return self._ask(force=True)

    # --- The file ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read the file, and open it where it changed."""
        found = self._sign_ins.look()
        if found is None or self._opened is None or found[0] != self._opened.etag:
            self._take(self._sign_ins.open(*found, self._opened) if found else None)
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _take(self, opened: Opened | None) -> None:
        """Go on with what was read or saved; msal's cache in memory is exactly what the file holds."""
        self._opened = opened
        self._pending = None
        self._cache.deserialize(opened.cache if opened else "{}")

    def _settle(self) -> None:
        """Save what was got. Where that fails, the next call does it: what is in memory is newer than what is kept."""
        if self._pending:
            self._take(self._sign_ins.save(self._pending))

    # --- Entra -------------------------------------------------------------------------------------------------------

    def _ask(self, *, force: bool = False) -> TokenAnswer | Failure:
        """Ask msal, which asks Entra for what is not in its cache. What it gets is saved before anybody uses it."""
        if self._opened is None:
            return NOBODY
        answer = self._silent(force=force)
        if answer.get("access_token") == self._refused:
            answer = self._silent(force=True)
        if "access_token" not in answer:
            return self._note_refusal(answer, self._opened)
        if self._cache.has_state_changed:
            self._pend(answer, self._opened)
            self._settle()
        self._given = answer["access_token"]
        return answer

    def _silent(self, *, force: bool) -> TokenAnswer:
        """Ask without a person: from the cache, or by the refresh token. Raises `DamagedSignInError` without either."""
        accounts = self._app.get_accounts()
        if not accounts:
            raise DamagedSignInError("it holds no account of this app registration")
        scopes = [f"{self._settings.cloud.fabric_audience}/{scope}" for scope in self._wanted]
        answer: TokenAnswer | None = self._app.acquire_token_silent_with_error(scopes, accounts[0], force_refresh=force)
        if answer is None:
            raise DamagedSignInError("it holds no refresh token of this app registration")
        return answer

    def _pend(self, answer: TokenAnswer, opened: Opened) -> None:
        """Keep what Entra gave until it is saved. An answer ends what a refusal before it said."""
        at = issued_at(answer, self._now())
        sign_in = replace(opened.sign_in, scopes=self._wanted, renewed_at=at, refusal="", claims="")
        self._pending = replace(opened, sign_in=sign_in, cache=self._cache.serialize())

    def _note_refusal(self, answer: TokenAnswer, opened: Opened) -> Failure:
        """Tell, and keep what only a person can mend beside the sign-in, where `unstale status` and `login` see it."""
        error, suberror = str(answer.get("error") or "no_token"), str(answer.get("suberror") or "")
        who = opened.sign_in.account
        told = entra.refuse_token(error, suberror, str(answer.get("error_description") or ""), who, self._wanted)
        refusal = entra.sentence(entra.row_of(error, suberror), who, self._wanted)
        if told.permanent and opened.sign_in.refusal != refusal:
            noted = replace(opened.sign_in, refusal=refusal, claims=str(answer.get("claims") or ""))
            self._take(self._sign_ins.save(replace(opened, sign_in=noted)))
        return told


def require(settings: Settings) -> None:
    """Raise `ValueError` where settings that a signed-in user needs are missing."""
    needed = {
        "UNSTALE_CLIENT_ID": settings.client_id,
        "UNSTALE_TENANT_ID": settings.authority,
        "UNSTALE_KEY_VAULT_URL": settings.key_vault_url,
        "UNSTALE_STORAGE__blobServiceUri": settings.storage or settings.blob_url,
    }
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise ValueError(f'fabric.identity is "user", but {" and ".join(missing)} is not set')


def public_client(settings: Settings, cache: msal.SerializableTokenCache, http: Any) -> msal.PublicClientApplication:
    """The app registration that the user signs in to. Its constructor asks the authority for its endpoints."""
    return msal.PublicClientApplication(
        settings.client_id,
        authority=settings.authority,
        token_cache=cache,
        instance_discovery=instance_discovery(settings.authority),
        http_client=http,
    )


def issued_at(answer: TokenAnswer, now: datetime) -> datetime:
    """When Entra issued the tokens, by its clock, so that those of two instances can be told apart."""
    at = answer.get("id_token_claims", {}).get("iat")
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else now
