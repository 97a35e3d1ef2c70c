"""As whom the command line calls Azure: whoever signed in with `az login`, or the app's identity where that is at hand.

Keys open nothing in a deployment, so a person needs a token, too. The Azure CLI has one for everybody who deployed.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final

from functions_azure import settings
from functions_azure.tokens import STORAGE, EntraTokens, Issuer, TokenAnswer

SECONDS: Final = 60.0
"""The CLI takes a second or two, and longer where it must renew its own sign-in."""

AT_HAND: Final = "IDENTITY_ENDPOINT"
"""Where a managed identity is, the platform sets it.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""


class AzureCli:
    """`functions_azure.tokens.Issuer` of the signed-in person, for one audience."""

    def __init__(self, resource: str) -> None:
        """Ask for tokens of this audience; none is asked for before it is needed."""
        self._resource = resource
        self._found: tuple[str, float] | None = None
        self._turn = Lock()

    def acquire(self) -> TokenAnswer:
        """`az account get-access-token`; the CLI has a cache of its own, asking it costs a second."""
        with self._turn:
            if self._found is None or self._found[1] - time.time() < SECONDS:
                answer = _ask_cli(self._resource)
                if "error" in answer:
                    return answer
                self._found = (answer["accessToken"], float(answer["expires_on"]))
            token, ends_at = self._found
        return {"access_token": token, "expires_in": ends_at - time.time()}

    def forget(self) -> None:
        """The next one is asked of the CLI."""
        with self._turn:
            self._found = None


def _ask_cli(resource: str) -> TokenAnswer:
    """Run the Azure CLI once. Its answer, or an OAuth error that says what to do where there is none."""
    command = ["az", "account", "get-access-token", "--resource", resource, "--output", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
        found: TokenAnswer = json.loads(done.stdout or "null") or {}
    except FileNotFoundError:
        return _none("no az here: install the Azure CLI, then `az login`")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return _none(f"az gave no token: {error}")
    if done.returncode or not {"accessToken", "expires_on"} <= found.keys():
        said = done.stderr.strip() or "the answer has no expires_on: the CLI is older than 2.54"
        return _none(f"az gave no token: {said}. Sign in with `az login`")
    return found


def _none(why: str) -> TokenAnswer:
    """Word a failure as Entra words a refusal, so that callers have one way to read both."""
    return {"error": "not_signed_in", "error_description": why}


def storage(environ: Mapping[str, str]) -> Callable[[], Issuer] | None:
    """The credential for the deployment's storage: None for the managed identity, where this runs beside one."""
    return None if environ.get(AT_HAND) else lambda: AzureCli(STORAGE)


def vault(environ: Mapping[str, str]) -> Callable[[], Issuer] | None:
    """The credential for the Key Vault, found in the same way."""
    return None if environ.get(AT_HAND) else lambda: AzureCli(settings.cloud(environ).vault_audience)


def tokens(resource: str) -> EntraTokens:
    """The person's tokens for one audience."""
    return EntraTokens(lambda: AzureCli(resource))
