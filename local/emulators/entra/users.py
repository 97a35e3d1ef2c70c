"""Users of the loopback tenant: device code, authorization code with PKCE, refresh tokens, and what ends a sign-in.

https://learn.microsoft.com/entra/identity-platform: v2-oauth2-device-code, v2-oauth2-auth-code-flow, refresh-tokens.
The person is played by the scene: `person` is asked what to do with each device code and each visit of a browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from local.emulators.entra.model import App, Form, Granted, OAuthError
from local.emulators.entra.tokens import Caller, Tokens
from local.emulators.entra.wire import browser_page
from local.emulators.http_server import Answer, Clock

REFRESH_LIFETIME: Final = timedelta(days=90)
"""https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime; each use gives a new one."""

OPENID_SCOPES: Final = frozenset({"openid", "profile", "offline_access"})
"""Scopes that are no resource's: https://learn.microsoft.com/entra/identity-platform/scopes-oidc."""
CODE_LIFETIME: Final = timedelta(minutes=10)
"""How long an authorization code is good: about ten minutes, says v2-oauth2-auth-code-flow."""

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628, section 3.4."""
CHALLENGE: Final = '{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}'
"""The claims by which a conditional access policy asks for a stronger sign-in, as Entra words them."""

Does = Literal["signs in", "declines", "nothing"]
"""The deed of a person who is asked to sign in."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who can sign in."""

    name: str
    """The name to sign in with."""
    object_id: str
    """The id in the directory."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The request that a person is asked to agree to: app, scopes, and the claims that a policy asked for before."""

    app: App
    """The app that asks."""
    scopes: frozenset[str]
    """The scopes that are asked for."""
    claims: str
    """The claims that a policy asked for before, as JSON; empty for none."""
    nonce: str = ""
    """The nonce that the id token must repeat."""
    redirect: str = ""
    """Where the browser is sent in the end."""
    challenge: str = ""
    """The challenge of PKCE (RFC 7636)."""

    @property
    def resource_scopes(self) -> list[str]:
        """Without those of OpenID Connect."""
        return sorted(self.scopes - OPENID_SCOPES)


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token that was issued. `number` counts up, so that one can say which is newer."""

    number: int
    """How many were issued before."""
    value: str
    """The token itself."""
    user: User
    """The user who signed in."""
    wish: Wish
    """The request that was agreed to."""
    issued_at: datetime
    """When the token was issued; unused, it ends some time after."""


@dataclass(slots=True)
class Code:
    """A device code or an authorization code."""

    wish: Wish
    """The request that the code was given for."""
    ends_at: datetime
    """When the code is good no more."""
    does: Does = "signs in"
    """The deed of its user."""
    spent: bool = field(default=False)
    """Whether the code was used: each is good once."""


class Users:
    """The users' side of the tenant; its caller holds the lock. Grants are functions from form to outcome."""

    def __init__(self, clock: Clock, tokens: Tokens) -> None:
        """Begin with one user, who signs in whenever asked. Scopes that are `withheld` are missing in what is given."""
        self.user = User("ada@contoso.example", "7c0e5a11-0000-4000-8000-000000000001")
        self.person: Callable[[Wish], Does] = lambda _: "signs in"
        self.device_code_lifetime = timedelta(minutes=15)
        self.device_poll_seconds = 1
        self.withheld: frozenset[str] = frozenset()
        self.refreshes: list[Refresh] = []
        self._clock = clock
        self._tokens = tokens
        self._codes: dict[str, Code] = {}
        self._revoked_because: dict[int, OAuthError] = {}
        self._demanded = ""

    @property
    def grants(self) -> Mapping[str, Callable[[App, Form], Granted | OAuthError]]:
        """The grants by `grant_type`."""
        return {DEVICE_GRANT: self._device, "authorization_code": self._redeem_code, "refresh_token": self._refresh}

    # --- What happens to a user --------------------------------------------------------------------------------------

    def change_password(self) -> None:
        """Every refresh token issued so far is worth nothing."""
        self._revoke(
            OAuthError("invalid_grant", 50173, "The provided grant has expired: revoked.", suberror="bad_token")
        )

    def expire(self) -> None:
        """A policy ends every sign-in by its age."""
        said = "The refresh token has expired due to sign-in frequency checks by conditional access."
        self._revoke(OAuthError("invalid_grant", 70043, said, suberror="token_expired"))

    def demand(self, claims: str = CHALLENGE) -> None:
        """A policy wants these claims from now on: refresh tokens do not do any more, nor a sign-in without them."""
        self._demanded = claims

    def _revoke(self, because: OAuthError) -> None:
        """End all refresh tokens issued so far, for this reason."""
        self._revoked_because |= {each.number: because for each in self.refreshes}

    # --- Device code -------------------------------------------------------------------------------------------------

    def device_authorization(self, app: App | None, form: Form) -> dict[str, Any] | OAuthError:
        """Answer with a code for the device and one for its user; the user acts at once."""
        wish = self._wish(app, form)
        if isinstance(wish, OAuthError):
            return wish
        code = f"0.AX-planted-device-{secrets.token_urlsafe(60)}"
        self._codes[code] = Code(wish, self._clock() + self.device_code_lifetime, self.person(wish))
        user_code = secrets.token_hex(5)[:9].upper()
        return {
            "user_code": user_code,
            "device_code": code,
            "verification_uri": "https://microsoft.com/devicelogin",
            "expires_in": int(self.device_code_lifetime.total_seconds()),
            "interval": self.device_poll_seconds,
            "message": f"To sign in, open https://microsoft.com/devicelogin and enter the code {user_code}.",
        }

    def _device(self, app: App, form: Form) -> Granted | OAuthError:
        """The grant of a device code: what its user did, and whether it is still in its time."""
        code = self._codes.get(form.get("device_code", ""))
        if code is None or code.wish.app != app or code.spent:
            return OAuthError("bad_verification_code", 70018, "Invalid verification code.")
        if self._clock() >= code.ends_at:
            return OAuthError("expired_token", 70020, "The code has expired.")
        if code.does == "nothing":
            return OAuthError("authorization_pending", 70016, "The user has not finished yet.")
        if code.does == "declines":
            return OAuthError("authorization_declined", 70000, "The user declined.")
        code.spent = True
        return self._signed_in(code.wish)

    # --- Authorization code ------------------------------------------------------------------------------------------

    def authorize(self, app: App | None, query: Form) -> Answer:
        """Show what a browser gets: a page that posts the code, or the error, to the redirect address."""
        wish = self._wish(app, query)
        wanted = {"response_type": "code", "response_mode": "form_post", "code_challenge_method": "S256"}
        redirect = query.get("redirect_uri", "")
        if isinstance(wish, Wish) and (wanted.items() > query.items() or not query.get("code_challenge")):
            wish = OAuthError("invalid_request", 900144, "A code, form_post and PKCE are wanted.")
        elif app and _without_port(redirect) not in app.redirects:
            return browser_page("", {"error": "AADSTS50011: the redirect URI does not match those of the application"})
        if isinstance(wish, OAuthError):
            return browser_page(redirect, {"error": wish.error, "error_description": wish.text, **_state(query)})
        does = self.person(wish)
        if does == "nothing":
            return browser_page("", {})
        if does == "declines":
            return browser_page(redirect, {"error": "access_denied", "error_description": "Declined.", **_state(query)})
        code = f"0.AX-planted-authorization-{secrets.token_urlsafe(300)}"
        self._codes[code] = Code(wish, self._clock() + CODE_LIFETIME)
        return browser_page(redirect, {"code": code, **_state(query)})

    def _redeem_code(self, app: App, form: Form) -> Granted | OAuthError:
        """The grant of an authorization code: once, in its time, by whoever began (PKCE, RFC 7636)."""
        code = self._codes.get(form.get("code", ""))
        if code is None or code.wish.app != app or code.spent or self._clock() >= code.ends_at:
            return OAuthError("invalid_grant", 70008, "The authorization code has expired.", suberror="bad_token")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if _base64url(digest) != code.wish.challenge or form.get("redirect_uri") != code.wish.redirect:
            return OAuthError("invalid_grant", 50148, "The code_verifier does not match.", suberror="bad_token")
        code.spent = True
        return self._signed_in(code.wish)

    # --- Refresh tokens ----------------------------------------------------------------------------------------------

    def _refresh(self, app: App, form: Form) -> Granted | OAuthError:
        """Grant by a refresh token, which stays good beside the new one."""
        known = next((each for each in self.refreshes if each.value == form.get("refresh_token")), None)
        if known is None or known.wish.app.client_id != app.client_id:
            return OAuthError("invalid_grant", 9002313, "Invalid request.", suberror="bad_token")
        because = self._revoked_because.get(known.number)
        if because:
            return because
        if self._clock() >= known.issued_at + REFRESH_LIFETIME:
            said = "The refresh token has expired due to inactivity."
            return OAuthError("invalid_grant", 700082, said, suberror="token_expired")
        if self._demanded and known.wish.claims != self._demanded:
            said = "Due to a configuration change made by your administrator you must use multi-factor authentication."
            return OAuthError("interaction_required", 50076, said, suberror="basic_action", claims=self._demanded)
        wish = self._wish(app, form)
        if isinstance(wish, OAuthError):
            return wish
        return self._issue(known.user, replace(wish, claims=known.wish.claims))

    # --- What they have in common ------------------------------------------------------------------------------------

    def _wish(self, app: App | None, form: Form) -> Wish | OAuthError:
        """Read what an app asks a user to agree to, or say why it may not ask."""
        if app is None:
            return OAuthError("unauthorized_client", 700016, "Application was not found in the directory.")
        if not app.public:
            said = "The request body must contain: client_assertion or client_secret."
            return OAuthError("invalid_client", 7000218, said, 401)
        asked = frozenset(form.get("scope", "").split())
        wish = Wish(
            app,
            asked,
            form.get("claims", ""),
            form.get("nonce", ""),
            form.get("redirect_uri", ""),
            form.get("code_challenge", ""),
        )
        if not wish.resource_scopes:
            return OAuthError("invalid_scope", 70011, "The scope is not valid.")
        if not set(wish.resource_scopes) <= app.consented:
            said = "The user or administrator has not consented to use the application."
            return OAuthError("invalid_grant", 65001, said, suberror="consent_required")
        return wish

    def _signed_in(self, wish: Wish) -> Granted | OAuthError:
        """Give tokens for a sign-in, unless a policy wants more of it."""
        if self._demanded and wish.claims != self._demanded:
            said = "Due to a configuration change made by your administrator you must use multi-factor authentication."
            return OAuthError("interaction_required", 50076, said, suberror="basic_action", claims=self._demanded)
        return self._issue(self.user, wish)

    def _issue(self, user: User, wish: Wish) -> Granted:
        """Issue a refresh token and what stands beside it in the answer."""
        value = f"1.AX-planted-refresh-{secrets.token_urlsafe(120)}"
        refresh = Refresh(len(self.refreshes), value, user, wish, self._clock())
        self.refreshes.append(refresh)
        audience = wish.resource_scopes[0].rpartition("/")[0]
        given = [scope for scope in wish.resource_scopes if scope not in self.withheld]
        short = frozenset(scope.rpartition("/")[2] for scope in given)
        beside = {
            "scope": " ".join(given),
            "refresh_token": value,
            "id_token": self._id_token(user, wish),
            "client_info": _base64url(json.dumps({"uid": user.object_id, "utid": self._tokens.tenant_id}).encode()),
        }
        return Granted(Caller(user.object_id, wish.app.client_id, "user", short), audience, beside)

    def _id_token(self, user: User, wish: Wish) -> str:
        """Sign who the user is, for the app (OpenID Connect Core 1.0)."""
        now = int(self._clock().timestamp())
        claims = {
            "aud": wish.app.client_id,
            "iss": self._tokens.issuer,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "oid": user.object_id,
            "sub": user.object_id,
            "tid": self._tokens.tenant_id,
            "preferred_username": user.name,
            "ver": "2.0",
        }
        return self._tokens.sign(claims | ({"nonce": wish.nonce} if wish.nonce else {}))


def _state(query: Form) -> dict[str, str]:
    """The state that a client wants back, if it gave one."""
    return {"state": query["state"]} if "state" in query else {}


def _without_port(url: str) -> str:
    """https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"


def _base64url(content: bytes) -> str:
    """Encode without padding, as JSON Web Tokens do (RFC 7515)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
