"""`unstale login`: a user signs in once, and the deployed function acts for that user from then on.

The token cache goes sealed into the deployment's storage, where only the function can open it: from here it can be
replaced, shown (who and when) and removed, not read.

    unstale login ──> Entra: device code or browser ──> refresh token ──> sealed for the key of the vault ──> a blob
                                                                           here: its public half alone encrypts
                                                                           the function: Unwrap Key decrypts

So whoever steals this machine later, or may read the storage account, has nothing in hand. What stands beside the
sealed part in the open is who signed in, when, for which scopes, and what Entra last refused: `--show` and `status`
read that.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msal
import requests
from msal.oauth2cli.oauth2 import BrowserInteractionTimeoutError

from functions_azure import telemetry
from functions_azure.settings import Settings, SettingsError, read, secrets
from functions_azure.sign_in.user import issued_at, public_client, require
from functions_azure.tokens import BoundedHttp, TokenAnswer
from functions_azure.wiring import Parts
from local import azure_login
from local.cli import stack
from local.cli.console import print_json
from local.cli.deployment import read_config
from local.cli.errors import NotWellError, UsageError
from local.cli.refresh import try_blocked
from shared import sign_in as entra
from shared.config.load import Configuration
from shared.redaction import Redactor, escape, plain
from shared.refresh.ports import StoreDownError
from shared.refresh.records import NewerRecordError
from shared.sign_in import DamagedSignInError, Remedy, SignIn
from shared.targets import Cloud

PATIENCE_SECONDS = 300
"""The longest wait for a person at a browser; a device code says itself how long it lasts."""
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
"""Time-outs of a call to Entra from wherever a person is: longer than in the cloud, where a queue waits meanwhile."""


class Deployment:
    """The parts of a deployment whose user signs in.

    They are the function's own, opened by the person at the command line instead of the managed identity: the same
    store reads and writes the sign-in from both ends, so that its form is known in one place.
    """

    def __init__(self, configuration: Configuration, path: Path, *, everything: bool = False) -> None:
        """Raises `UsageError` where the configuration or the variables do not speak of a user.

        Only who signs in needs `everything`; to look, the storage is enough.
        """
        self.wanted = entra.scopes(configuration.targets)
        if configuration.fabric.identity != "user" or not self.wanted:
            raise UsageError(
                f'{path}: nobody needs to sign in: there is no Fabric target with fabric.identity = "user"'
            )
        self.environ = environ = stack.environment(Cloud.AZURE, configuration)
        try:
            self.settings: Settings = read({**environ, "UNSTALE_CONFIG": str(path)})
            if everything or not (self.settings.storage or self.settings.blob_url):
                require(self.settings)
        except (SettingsError, ValueError) as bad:
            raise UsageError(f"{bad}. The deployment prints it in its output environment") from bad
        person = (azure_login.storage(environ), azure_login.vault(environ))
        self.sign_ins = Parts(self.settings, lambda: configuration, *person).sign_ins

    def load_sign_in(self) -> SignIn | None:
        """The sign-in that is kept. Raises `NotWellError` where that cannot be read."""
        try:
            found = self.sign_ins.look()
        except (DamagedSignInError, NewerRecordError, StoreDownError) as failure:
            raise NotWellError(f"what is kept of the sign-in cannot be read: {failure}") from failure
        return found[1].sign_in if found else None


# --- Commands --------------------------------------------------------------------------------------------------------


def run(path: Path, *, browser: bool) -> None:
    """Sign a user in and keep the sign-in; blocked targets are tried at once.

    The scopes are printed first: whoever signs in should know what for. They are exactly those that the configured
    targets need, so a target of another kind, added later, may need another sign-in, and `status` says so.
    """
    deployment = Deployment(read_config(path), path, everything=True)
    telemetry.install(Redactor(secrets(deployment.environ)))
    fabric = deployment.settings.cloud.fabric_audience
    print(f"asks for {', '.join(deployment.wanted)} of {fabric}, and to stay signed in")
    cache = msal.SerializableTokenCache()
    answer = answer_of_entra(deployment.settings, deployment.wanted, cache, _claims(deployment), browser=browser)
    account = str(answer.get("id_token_claims", {}).get("preferred_username") or "a user without a name")
    now = datetime.now(UTC)
    sign_in = SignIn(uuid.uuid4().hex, account, deployment.wanted, now, issued_at(answer, now))
    _keep(deployment, sign_in, cache.serialize())
    print(f"{escape(account)} is signed in; unused, it lasts until {sign_in.lasts_until:%Y-%m-%d} at the latest")
    _try_blocked(path)


def show(path: Path, *, as_json: bool) -> None:
    """Say who, since when, until when; raises `NotWellError` if nobody is, or Entra refuses."""
    sign_in = Deployment(read_config(path), path).load_sign_in()
    if as_json:
        print_json({"sign_in": as_data(sign_in)})
    elif sign_in:
        print(entra.age(sign_in, datetime.now(UTC)))
        print(f"for {', '.join(sign_in.scopes)}")
    if sign_in is None:
        raise NotWellError("" if as_json else entra.NOBODY.message)
    if sign_in.refusal:
        raise NotWellError


def remove(path: Path) -> None:
    """Sign out: the file goes, and each process of the function notices at its next look, every five minutes."""
    deployment = Deployment(read_config(path), path)
    try:
        was_there = deployment.sign_ins.remove()
    except StoreDownError as down:
        raise NotWellError(str(down)) from down
    print("signed out; the function stops within five minutes" if was_there else "nobody was signed in")


def as_data(sign_in: SignIn | None) -> dict[str, Any] | None:
    """The sign-in as scripts read it: never a token, nor anything that is sealed."""
    if sign_in is None:
        return None
    names = ("account", "scopes", "signed_in_at", "renewed_at", "lasts_until", "refusal")
    return {name: getattr(sign_in, name) for name in names}


# --- Entra -----------------------------------------------------------------------------------------------------------


def answer_of_entra(
    settings: Settings,
    wanted: tuple[str, ...],
    cache: msal.SerializableTokenCache,
    claims: str | None = None,
    *,
    browser: bool,
) -> TokenAnswer:
    """Entra's answer. `NotWellError` says what happened, and the cure, if that is not all that was asked for.

    Entra may grant fewer scopes than it was asked for, and call that a success. A refresh would fail with it later,
    when nobody looks, so it counts as a failure now, while the person who can mend it is there.
    """
    try:
        answer = _ask(settings, wanted, cache, claims, browser=browser)
    except BrowserInteractionTimeoutError:
        answer = {"error": "authorization_pending"}
    except (requests.RequestException, msal.exceptions.MsalError, ValueError, RuntimeError) as failure:
        raise NotWellError(f"nobody signed in: {type(failure).__name__}: {plain(str(failure))}") from failure
    if "access_token" not in answer:
        error, suberror, said = (str(answer.get(name) or "") for name in ("error", "suberror", "error_description"))
        raise NotWellError(entra.refuse_token(error, suberror, said, "", wanted).message)
    granted = {scope.rpartition("/")[2] for scope in str(answer.get("scope", "")).split()}
    lacking = [scope for scope in wanted if scope not in granted]
    if lacking:
        raise NotWellError(f"Entra granted no {', '.join(lacking)}: {Remedy.ADMINISTRATOR}")
    return answer


def _ask(
    settings: Settings,
    wanted: tuple[str, ...],
    cache: msal.SerializableTokenCache,
    claims: str | None,
    *,
    browser: bool,
) -> TokenAnswer:
    """By a device code, or by a browser on this machine: the authorization code with PKCE, sent to a loopback address.

    What a policy asked for when it last refused the function (`claims`) is passed on.
    """
    http = BoundedHttp(connect_seconds=CONNECT_SECONDS, read_seconds=READ_SECONDS)
    app = public_client(settings, cache, http)
    scopes = [f"{settings.cloud.fabric_audience}/{scope}" for scope in wanted]
    if browser:
        found: TokenAnswer = app.acquire_token_interactive(
            scopes,
            prompt="select_account",
            timeout=PATIENCE_SECONDS,
            claims_challenge=claims,
            auth_uri_callback=lambda url: print(f"open {url}"),
        )
        return found
    flow = app.initiate_device_flow(scopes, claims_challenge=claims)
    if "user_code" not in flow:
        refused: TokenAnswer = flow
        return refused
    print(flow["message"], flush=True)
    polled: TokenAnswer = app.acquire_token_by_device_flow(flow, claims_challenge=claims)
    return polled


def _claims(deployment: Deployment) -> str | None:
    """Claims that a policy asked for when Entra last refused the function; nothing where what is kept is damaged.

    A policy of conditional access may want another factor. Entra says so in its refusal, and asks for it only of a
    sign-in that brings those claims along.
    """
    try:
        found = deployment.sign_ins.look()
    except DamagedSignInError:
        return None
    except (NewerRecordError, StoreDownError) as failure:
        raise NotWellError(str(failure)) from failure
    return (found[1].sign_in.claims or None) if found else None


# --- The deployment --------------------------------------------------------------------------------------------------


def _keep(deployment: Deployment, sign_in: SignIn, cache: str) -> None:
    """Seal the token cache into the deployment's storage, in the place of whatever sign-in was there."""
    from functions_azure.sign_in.key_vault import VaultRefusedError

    try:
        deployment.sign_ins.begin(sign_in, cache)
    except (StoreDownError, VaultRefusedError) as failure:
        raise NotWellError(f"signed in, but it cannot be kept: {failure}") from failure


def _try_blocked(path: Path) -> None:
    """Let blocked targets be tried at once. The sign-in stands also where that fails, so it only says so."""
    try:
        tried = try_blocked(path)
    except NotWellError as failure:
        print(f"blocked targets are tried again within the hour: {failure}")
        return
    if tried:
        print(f"tried at once: {', '.join(tried)}")
