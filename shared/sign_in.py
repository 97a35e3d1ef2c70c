"""A user who signed in once and is acted for from then on: scopes, what is kept of the sign-in, what a refusal means.

What is kept is one file. Its first line says in the clear who signed in and when, and how the rest is sealed; the rest
is msal's token cache, sealed together with that line, so that neither can be changed alone:

    {"format":1,"sign_in":{"account":"ada@contoso.example",...},"seal":{"key_version":"...",...}}
    <sealed cache>
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

import msgspec

from shared.platforms.failures import MISCONFIGURED, NO_CREDENTIALS_NOW
from shared.redaction import escape, plain
from shared.refresh.failure import Failure
from shared.refresh.records import NewerRecordError
from shared.targets import ItemJob, LakeViews, Target
from shared.values import Value

LASTS_UNUSED = timedelta(days=90)
"""https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime: each use gives another 90 days."""
RENEWED_EVERY = timedelta(days=7)
"""How often an idle sign-in is renewed: twelve attempts before it ends."""
FORMAT = 1
"""The format of the stored sign-in. It is raised when an older release would misread what this one writes."""


# --- Scopes ----------------------------------------------------------------------------------------------------------

ITEM_SCOPES = ("Item.Execute.All", "Item.Read.All")
LAKE_VIEW_SCOPES = ("Lakehouse.Execute.All", "Lakehouse.Read.All")
"""To run and cancel, then to get and list, as the documents of these operations name them; each operation takes the
generic scope or that of the item's type. https://learn.microsoft.com/rest/api/fabric/core/job-scheduler."""


def scopes(targets: Iterable[Target]) -> tuple[str, ...]:
    """The least that the Fabric targets need; an item job's item may be of any type, and then the generic ones do."""
    kinds = {type(target.resource) for target in targets}
    if ItemJob in kinds:
        return ITEM_SCOPES
    return LAKE_VIEW_SCOPES if LakeViews in kinds else ()


# --- What is kept ----------------------------------------------------------------------------------------------------


ZonedTime = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone. Without one, nobody could say when it is, so it is refused when read."""


class SignIn(Value, frozen=True):
    """A person's sign-in. None of its fields is a secret."""

    session: str
    """The id of the one `unstale login` that made it."""
    account: str
    """The account of the person, such as `ada@contoso.example`."""
    scopes: tuple[str, ...]
    """The scopes of Fabric that the person consented to."""
    signed_in_at: ZonedTime
    """When the person signed in."""
    renewed_at: ZonedTime
    """Entra's time of the last token."""
    refusal: str = ""
    """Why Entra last gave no token; empty while it gives them."""
    claims: str = ""
    """The claims that Entra then wants of the next sign-in: a conditional access challenge."""
    sign_outs: int = 0
    """How often somebody had signed out before: a file with fewer is a copy of one that was signed out of since."""

    @property
    def lasts_until(self) -> datetime:
        """When a sign-in ends if it is not used, at the latest: a policy may end it sooner."""
        return self.renewed_at + LASTS_UNUSED

    def outdates(self, kept: SignIn) -> bool:
        """Whether this is to replace what somebody else kept meanwhile: the newer token of one session.

        Another session is a later `unstale login`, which whoever renews an older one must not undo.
        """
        return self.session == kept.session and self.renewed_at > kept.renewed_at


class Seal(Value, frozen=True):
    """How the cache is sealed: AES-256-GCM with a data key, which is wrapped by a version of the Key Vault's key."""

    key_version: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-zA-Z]+\Z")]
    """The version of the Key Vault's key."""
    wrapped: bytes
    """The data key, as that version wrapped it."""
    nonce: bytes
    """The 12 bytes that AES-GCM must never see twice with one data key."""


class Kept(Value, frozen=True):
    """The file, read as far as it can be without the key."""

    sign_in: SignIn
    """The sign-in, as the head says it."""
    seal: Seal
    """How the rest is sealed."""
    head: bytes
    """The first line, byte by byte as it was sealed."""
    sealed: bytes
    """The rest: msal's token cache."""


class DamagedSignInError(Exception):
    """The file is not what was kept; only another sign-in mends it."""


class _Format(msgspec.Struct):
    format: int
    """The format of a file of any release."""


class _Head(msgspec.Struct):
    format: int
    """The format of the file, `FORMAT` or an earlier one."""
    sign_in: SignIn
    """The sign-in that is kept."""
    seal: Seal
    """How the rest is sealed."""


_format = msgspec.json.Decoder(_Format)
_head = msgspec.json.Decoder(_Head)


def write_head(sign_in: SignIn, seal: Seal) -> bytes:
    """The first line, without its end."""
    return msgspec.json.encode(_Head(FORMAT, sign_in, seal))


def read_kept(file: bytes) -> Kept:
    """Read a kept file's head. Raises `DamagedSignInError`, or `NewerRecordError` for what a later release wrote."""
    head, _, sealed = file.partition(b"\n")
    try:
        found = _format.decode(head).format
        if found > FORMAT:
            raise NewerRecordError(
                f"the kept sign-in has format {found}, this release writes {FORMAT}: a later one wrote it"
            )
        read = _head.decode(head)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DamagedSignInError(plain(str(error), 200)) from error
    return Kept(read.sign_in, read.seal, head, sealed)


def renewal_is_due(sign_in: SignIn, now: datetime) -> bool:
    """Whether to renew it although nothing needs it."""
    return now - sign_in.renewed_at >= RENEWED_EVERY


def age(sign_in: SignIn, now: datetime) -> str:
    """A sign-in in words for a person's terminal: an account's name is whatever its tenant made it."""
    days = (now - sign_in.signed_in_at).days
    told = (
        f"{sign_in.account} signed in at {sign_in.signed_in_at:%Y-%m-%d %H:%M}Z, {days} days ago; "
        f"last renewed at {sign_in.renewed_at:%Y-%m-%d %H:%M}Z, "
        f"lasts unused until {sign_in.lasts_until:%Y-%m-%d} at the latest"
    )
    return escape(f"{told}. Refused since: {sign_in.refusal}" if sign_in.refusal else told)


# --- What a refusal means --------------------------------------------------------------------------------------------


class Remedy(StrEnum):
    """The cure of a failed sign-in."""

    WAIT = "wait"
    SIGN_IN = "sign in again: unstale login"
    ADMINISTRATOR = "ask an administrator of the tenant, then sign in again: unstale login"


class Refusal(Value, frozen=True):
    """A row of the tables."""

    because: str
    """The reason in words for a person; `{who}` and `{scopes}` are filled in."""
    remedy: Remedy
    """The cure."""


PASSING = frozenset({"temporarily_unavailable", "server_error", "request_timeout", "slow_down"})
"""Errors of Entra that pass by themselves."""

SUBERRORS: Mapping[str, Refusal] = {
    # https://learn.microsoft.com/dotnet/api/microsoft.identity.client.uirequiredexceptionclassification
    "basic_action": Refusal(
        "{who} is asked for something that only a person can do, such as a second factor", Remedy.SIGN_IN
    ),
    "user_password_expired": Refusal("the password of {who} has expired and must be changed", Remedy.SIGN_IN),
    "consent_required": Refusal(
        "the app registration lacks consent for {scopes}, or it was withdrawn", Remedy.ADMINISTRATOR
    ),
    "additional_action": Refusal(
        "a policy wants something of the account or the device of {who}", Remedy.ADMINISTRATOR
    ),
    "message_only": Refusal("a policy keeps {who} out", Remedy.ADMINISTRATOR),
    # Those that msal hides from its callers (application.py of 1.39, "Suppress these suberrors"); Entra sends them.
    "bad_token": Refusal(
        "the sign-in of {who} was revoked: the password was changed, or somebody ended all sessions", Remedy.SIGN_IN
    ),
    "token_expired": Refusal(
        "the sign-in of {who} lay unused for too long, or a policy ended it by its age", Remedy.SIGN_IN
    ),
    "protection_policy_required": Refusal("an app protection policy keeps {who} out", Remedy.ADMINISTRATOR),
    "device_authentication_failed": Refusal("a policy wants a known device of {who}", Remedy.ADMINISTRATOR),
    "client_mismatch": Refusal("the sign-in of {who} was made for another app registration", Remedy.SIGN_IN),
}
"""By `suberror`, which says more than `error`. Numbers of AADSTS texts "must not be hard dependencies"
(https://learn.microsoft.com/entra/identity-platform/reference-error-codes), so they are only shown."""

ERRORS: Mapping[str, Refusal] = {
    "invalid_grant": Refusal("the sign-in of {who} is no longer accepted", Remedy.SIGN_IN),
    "interaction_required": SUBERRORS["basic_action"],
    "login_required": SUBERRORS["basic_action"],
    "consent_required": SUBERRORS["consent_required"],
    "access_denied": Refusal("{who} may not sign in to the app registration", Remedy.ADMINISTRATOR),
    "invalid_client": Refusal(
        "the app registration does not allow public client flows, which a signed-in user needs", Remedy.ADMINISTRATOR
    ),
    "unauthorized_client": Refusal(
        "UNSTALE_CLIENT_ID and UNSTALE_TENANT_ID do not name an app registration that may do this", Remedy.ADMINISTRATOR
    ),
    "invalid_scope": Refusal("the app registration cannot ask for {scopes}", Remedy.ADMINISTRATOR),
    "invalid_resource": Refusal("the tenant does not know Microsoft Fabric", Remedy.ADMINISTRATOR),
    # Only `unstale login` can meet these.
    "authorization_declined": Refusal("the sign-in was declined", Remedy.SIGN_IN),
    "authorization_pending": Refusal("nobody completed the sign-in in time", Remedy.SIGN_IN),
    "expired_token": Refusal("nobody completed the sign-in in time", Remedy.SIGN_IN),
}
"""By `error`, where no suberror says more."""

UNKNOWN = Refusal("Entra refuses to let {who} sign in", Remedy.ADMINISTRATOR)
"""Every other."""


def row_of(error: str, suberror: str) -> Refusal:
    """Find the row for an error of the token endpoint."""
    if error in PASSING:
        return Refusal("Entra has trouble of its own", Remedy.WAIT)
    return SUBERRORS.get(suberror) or ERRORS.get(error) or UNKNOWN


def sentence(found: Refusal, account: str, wanted: Iterable[str]) -> str:
    """Tell the failure and its cure, without Entra's own words."""
    because = found.because.format(who=account or "the user", scopes=", ".join(wanted))
    return because if found.remedy is Remedy.WAIT else f"{because}: {found.remedy}"


def refuse_token(error: str, suberror: str, said: str, account: str, wanted: Iterable[str]) -> Failure:
    """Make a failure of a token that Entra did not give; whatever needed the token was not sent."""
    found = row_of(error, suberror)
    row = NO_CREDENTIALS_NOW if found.remedy is Remedy.WAIT else MISCONFIGURED
    told = sentence(found, account, wanted)
    return row.failure("/".join(filter(None, (error, suberror))), f"{told}. Entra says: {said}" if said else told)


NOBODY = MISCONFIGURED.failure("NotSignedIn", "nobody is signed in: unstale login")


def report_damage(why: str) -> Failure:
    """Make a failure of a stored sign-in that cannot be opened."""
    return MISCONFIGURED.failure("SignInDamaged", f"what is kept of the sign-in is damaged: {Remedy.SIGN_IN}. {why}")


KEY_ADVICE: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: f"what is kept of the sign-in is damaged: {Remedy.SIGN_IN}.",
    HTTPStatus.NOT_FOUND: "the key of the sign-in is gone: recover it (az keyvault key recover), or deploy again and "
    "sign in again: unstale login.",
    HTTPStatus.UNAUTHORIZED: "the Key Vault does not accept the identity: is UNSTALE_KEY_VAULT_URL in this tenant?",
    HTTPStatus.FORBIDDEN: "the Key Vault does not let the identity use the key: is the key enabled, does the identity "
    "have its role on it, and does the vault's firewall let it in?",
}
"""The cure that a person is told, by status. https://learn.microsoft.com/azure/key-vault/general/rest-error-codes."""


def report_vault(status: int, code: str, said: str) -> Failure:
    """Make a failure of a key that the Key Vault did not give, or not open."""
    advice = KEY_ADVICE.get(status)
    passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    row = NO_CREDENTIALS_NOW if passing else MISCONFIGURED
    told = advice or ("the Key Vault has trouble of its own." if passing else "the Key Vault refuses.")
    return row.failure(f"KeyVault {code or status}", f"{told} It says: {said}" if said else told)
