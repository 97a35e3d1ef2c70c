"""A deployment whose user signs in: tenant, Key Vault, Azurite and Fabric on loopback, and the person at a browser.

A module that wants it imports the fixtures: `from tests.support.signed_in import user_setup  # noqa: F401`.
"""

from __future__ import annotations

import re
import ssl
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from functions_azure import settings as variables
from functions_azure import wiring
from functions_azure.clouds import PUBLIC
from functions_azure.settings import SIGN_IN_KEY, Settings
from functions_azure.shell import Shell
from functions_azure.tokens import BoundedHttp, EntraTokens
from functions_azure.wiring import Parts
from local.cli import main
from local.emulators.entra.emulator import App, Entra, Identity
from local.emulators.fabric.emulator import FabricEmulator
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from shared.refresh.failure import Failure
from shared.refresh.records import read_state
from shared.refresh.state import State
from shared.sign_in import LAKE_VIEW_SCOPES
from tests.support.azure_host import OTHER, SALES, TEXT, WORKSPACE
from tests.support.azurite_server import Account
from tests.support.functions_worker import BOUNDS
from tests.support.key_vault import KeyVault

SYSTEM = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)
CONSENTED = frozenset(f"{PUBLIC.fabric_audience}/{scope}" for scope in LAKE_VIEW_SCOPES)
APP = App(
    "0a4f1c2e-0000-4000-8000-000000000003",
    "0a4f1c2e-0000-4000-8000-00000000000c",
    public=True,
    redirects=("http://localhost",),
    consented=CONSENTED,
)
ADA = "ada@contoso.example"
PATIENCE_SECONDS = 60.0


class Clock:
    """The machine's clock, and how far the tenant's, and the function's, are from it."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.now().timestamp()


@dataclass
class SignInSetup:
    """All of it. `environment` is what the function app and the command line find."""

    entra: Entra
    vault: KeyVault
    fabric: FabricEmulator
    account: Account
    clock: Clock
    config: Path
    environment: dict[str, str]
    opened: list[str] = field(default_factory=list)

    def unstale(self, *arguments: str) -> int:
        """Run the command."""
        return main([*arguments, "--config", str(self.config)])

    def signs_in(self) -> None:
        """A user signs in by device code."""
        assert self.unstale("login") == 0

    @property
    def settings(self) -> Settings:
        """The function app's."""
        return variables.read(self.environment)

    def parts(self) -> Parts:
        """Those of one instance of the function app."""
        found = self.settings
        return Parts(found, lambda: wiring.configuration(found))

    def shell(self) -> Shell:
        """What the triggers of one instance call."""
        return wiring.shell(self.environment)

    def state(self, target: str = "sales") -> State:
        """What is known of a target."""
        found = self.settings
        configuration = wiring.configuration(found)
        here = wiring.make_ports(found, configuration, self.parts(), lambda _: None)
        return read_state(here.store.load(configuration.by_name[target].key).body)

    @property
    def blob(self) -> Any:
        """The file itself, past all code of the product's."""
        from azure.storage.blob import BlobClient

        place = (variables.SIGN_IN_CONTAINER, variables.SIGN_IN_BLOB)
        return BlobClient.from_connection_string(self.account.connection_string, *place)

    def file(self) -> bytes:
        """What is kept."""
        with self.blob as blob:
            content: bytes = blob.download_blob().readall()
            return content

    def put(self, content: bytes) -> None:
        """Keep something else."""
        with self.blob as blob:
            blob.upload_blob(content, overwrite=True)


@pytest.fixture(name="setup")
def user_setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, account: Account) -> Iterator[SignInSetup]:
    """A deployment for a user, with the rights that the template gives; nobody is signed in."""
    clock = Clock()
    for name in ("CURL_CA_BUNDLE", "MSI_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wiring, "SystemClock", lambda: clock)
    be_patient(monkeypatch)
    config = tmp_path / "unstale.toml"
    config.write_text(f'[fabric]\nidentity = "user"\n{TEXT.partition("[targets.glue]")[0]}', encoding="utf-8")
    with (
        Entra(clock.now, apps=[APP], identities=[SYSTEM]) as entra,
        KeyVault(clock.now, entra.tokens.validate, SIGN_IN_KEY) as vault,
        FabricEmulator(clock.now, entra.tokens.validate) as fabric,
    ):
        vault.may[SYSTEM.object_id] = frozenset({"get", "unwrapKey"})
        for lakehouse in (SALES, OTHER):
            fabric.add_item(Item(WORKSPACE, lakehouse, "Lakehouse", (JobType(LAKE_VIEWS),)))
        environment = {
            "UNSTALE_CONFIG": str(config),
            "UNSTALE_FABRIC_URL": fabric.url,
            "UNSTALE_STORAGE": account.connection_string,
            "UNSTALE_AUTHORITY": entra.authority,
            "UNSTALE_CLIENT_ID": APP.client_id,
            "UNSTALE_KEY_VAULT_URL": vault.url,
            "REQUESTS_CA_BUNDLE": entra.certificate,
            **entra.identity_environment,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        setup = SignInSetup(entra, vault, fabric, account, clock, config, environment)
        monkeypatch.setattr(webbrowser, "open", lambda url, *_, **__: browse(url, setup))
        monkeypatch.setattr("msal.application._preferred_browser", lambda: None)
        yield setup
        assert not entra.unplanned_requests
        assert not vault.unplanned_requests


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give calls over loopback a minute: 2.5 s were too few once, where other programs had the machine."""
    seconds: Any = BoundedHttp.__init__.__kwdefaults__
    for name in ("connect_seconds", "read_seconds"):
        monkeypatch.setitem(seconds, name, PATIENCE_SECONDS)
    for bound in BOUNDS:
        monkeypatch.setattr(bound, PATIENCE_SECONDS)


def browse(url: str, setup: SignInSetup) -> bool:
    """A browser: fetch the page, and send the form on it by itself, as pages of Entra do."""
    setup.opened.append(url)

    def visit() -> None:
        context = ssl.create_default_context(cafile=setup.entra.certificate)
        with urlopen(url, timeout=60, context=context) as answer:  # noqa: S310 - the tenant's, past the product's library
            page = answer.read().decode()
        action = re.findall(r'action="([^"]*)"', page)[0]
        fields = {name: unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', page)}
        if action:
            urlopen(unescape(action), urlencode(fields).encode(), timeout=60).close()  # noqa: S310 - likewise

    threading.Thread(target=visit, daemon=True).start()
    return True


def token(tokens: EntraTokens) -> str:
    """One that there must be."""
    found = tokens.token()
    assert isinstance(found, str), found
    return found


def no_token(tokens: EntraTokens) -> Failure:
    """Why there is none."""
    found = tokens.token()
    assert isinstance(found, Failure), found
    return found


def until(done: Callable[[], bool], turn: Callable[[], object], turns: int = 30) -> None:
    """Take turns until it is so."""
    for _ in range(turns):
        if done():
            return
        turn()
    assert done()
