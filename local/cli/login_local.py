"""`unstale login --local`: a user signs in for `unstale run` on this machine, where there is no `az login`.

The token cache is a file beside the state that only its owner reads (mode 600), not sealed: whoever can read it can
also read the state and use the machine as its user. Nothing of a deployment is asked or changed.
"""

from __future__ import annotations

import os
from pathlib import Path

import msal

from functions_azure.settings import read_without_storage
from local.cli.console import print_json
from local.cli.deployment import read_config
from local.cli.errors import NotWellError, UsageError
from local.cli.login import answer_of_entra
from local.cli.variables import wrong_usage
from local.process.caller import cache_of, read_cache, write_cache
from shared import sign_in as entra
from shared.redaction import escape

NOBODY = "nobody is signed in beside this state: unstale login --local, or az login"
"""The answer where there is no file with a sign-in."""


def run(path: Path, state: Path, *, browser: bool) -> None:
    """Sign a user in and keep the token cache beside the state.

    The scopes are those that the file's targets need, as for a deployment; `[fabric] identity` does not count here.
    """
    wanted = entra.scopes(read_config(path).targets)
    if not wanted:
        raise UsageError(f"{path}: nobody needs to sign in: there is no Fabric target")
    with wrong_usage():
        settings = read_without_storage(os.environ)
    if not (settings.client_id and settings.authority):
        raise UsageError(
            "set UNSTALE_CLIENT_ID and UNSTALE_TENANT_ID to the app registration that the user signs in to, "
            "or sign in with `az login` instead"
        )
    cache = msal.SerializableTokenCache()
    answer = answer_of_entra(settings, wanted, cache, browser=browser)
    write_cache(cache_of(state), cache)
    account = str(answer.get("id_token_claims", {}).get("preferred_username") or "a user without a name")
    print(f"{escape(account)} is signed in for `unstale run`, by {cache_of(state)}")


def show(state: Path, *, as_json: bool) -> None:
    """Say who is signed in; raises `NotWellError` if nobody is."""
    accounts = _accounts(state)
    if as_json:
        print_json({"accounts": accounts})
    else:
        for account in accounts:
            print(f"{escape(account)} is signed in, by {cache_of(state)}")
    if not accounts:
        raise NotWellError("" if as_json else NOBODY)


def _accounts(state: Path) -> list[str]:
    """The names of the accounts in the file; none where there is no file. msal keeps one for each who signed in."""
    file = cache_of(state)
    if not file.exists():
        return []
    found = read_cache(file).search(msal.TokenCache.CredentialType.ACCOUNT)
    return [str(account["username"]) for account in found]


def remove(state: Path) -> None:
    """Delete the sign-in; a process that has a token goes on with that for an hour at most.

    That is how long Entra's tokens last by default; only the refresh token, which is deleted here, lasts longer.
    """
    file = cache_of(state)
    if not file.exists():
        print("nobody was signed in")
        return
    file.unlink()
    print("signed out")
