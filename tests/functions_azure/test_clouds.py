"""National clouds: one name says where Entra, Fabric and OneLake are, and whose tokens count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from functions_azure import settings, wiring
from functions_azure.clouds import CLOUDS, PUBLIC
from functions_azure.settings import Settings, SettingsError
from functions_azure.tokens import BoundedHttp, EntraTokens, issuer_of
from functions_azure.wiring import Parts
from local import azure_login
from shared.config.load import Configuration
from shared.workload.tokens import CHECKS, Seen, Signed

WHERE = {
    "UNSTALE_STORAGE__tableServiceUri": "https://a.table.x",
    "UNSTALE_STORAGE__queueServiceUri": "https://a.queue.x",
}
ADDRESSES = {
    "": ("login.microsoftonline.com", "api.fabric.microsoft.com", "onelake.dfs.fabric.microsoft.com"),
    "public": ("login.microsoftonline.com", "api.fabric.microsoft.com", "onelake.dfs.fabric.microsoft.com"),
    "usgov": ("login.microsoftonline.us", "api.fabric.microsoft.us", "onelake.dfs.fabric.microsoft.us"),
    "china": ("login.partner.microsoftonline.cn", "api.fabric.microsoft.cn", "onelake.dfs.fabric.microsoft.cn"),
}


def in_cloud(name: str, **variables: str) -> dict[str, str]:
    """The variables of a deployment in that cloud."""
    return {**WHERE, "UNSTALE_CLOUD": name, "UNSTALE_TENANT_ID": "t", **variables}


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses_follow_from_the_cloud(name: str) -> None:
    """The function and the command read the same variables; without a name it is the public cloud."""
    login, fabric, onelake = ADDRESSES[name]
    found = settings.read(in_cloud(name))
    assert found.authority == f"https://{login}/t"
    assert found.fabric_url == f"https://{fabric}/v1"
    assert found.onelake_url == f"https://{onelake}"


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_explicit_address_wins(name: str) -> None:
    """Of each of the three, over any cloud."""
    named = {
        "UNSTALE_AUTHORITY": "https://login.test/t",
        "UNSTALE_FABRIC_URL": "https://fabric.test/v1",
        "UNSTALE_ONELAKE_URL": "https://onelake.test",
    }
    found = settings.read(in_cloud(name, **named))
    assert [found.authority, found.fabric_url, found.onelake_url] == list(named.values())


@pytest.mark.parametrize("name", ["USGov", "AzureUSGovernment", "public "])
def test_a_cloud_that_nobody_knows_is_refused(name: str) -> None:
    """By the variable's name, with the names that there are: tokens would leave for addresses of another cloud."""
    with pytest.raises(SettingsError, match=r"UNSTALE_CLOUD is .* must be one of public, usgov, china"):
        settings.read(in_cloud(name))


def test_an_onelake_that_a_token_must_not_go_to_is_refused() -> None:
    """As every other address: a token for storage leaves for it."""
    with pytest.raises(SettingsError, match="UNSTALE_ONELAKE_URL"):
        settings.read(in_cloud("usgov", UNSTALE_ONELAKE_URL="http://onelake.test"))


def test_no_address_of_one_cloud_is_in_another() -> None:
    """Each field of a national cloud is its own, but for the one that Entra shares."""
    shared = {"issuer_v1"}
    for name, cloud in CLOUDS.items():
        others = [each for other, each in CLOUDS.items() if other != name]
        same = {
            field
            for field in cloud.__struct_fields__
            for each in others
            if getattr(cloud, field) == getattr(each, field)
        }
        assert same <= shared
        assert all(urlsplit(url).scheme == "https" for url in (cloud.login_url, cloud.fabric_url, cloud.onelake_url))


# --- Whose tokens ----------------------------------------------------------------------------------------------------


class Recorder:
    """An identity endpoint that notes for whom tokens are asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resources: list[str] = []
        monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "h")
        monkeypatch.delenv("IDENTITY_SERVER_THUMBPRINT", raising=False)

    def get(self, _url: str, *, params: Mapping[str, str], **_options: Any) -> SimpleNamespace:
        """Refuse, once noted."""
        self.resources.append(params["resource"])
        return SimpleNamespace(status_code=400, text='{"statusCode": 400, "message": "noted"}', headers={})


@pytest.fixture(name="recorder")
def a_recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """In the environment of a function app."""
    return Recorder(monkeypatch)


@pytest.mark.parametrize("name", CLOUDS)
def test_tokens_are_asked_for_the_services_of_the_cloud(
    name: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fabric, the Key Vault, and the exchange for an app registration; storage and topics of Event Grid have one
    audience everywhere.
    """
    cloud = CLOUDS[name]
    found = Settings(Path("unstale.toml"), cloud=cloud, client_id="c", authority=f"{cloud.login_url}/t")
    http: BoundedHttp = recorder  # type: ignore[assignment]  # it records what it would send
    EntraTokens(lambda: issuer_of("managed-identity", found, http)).token()
    issuer: Any = issuer_of("service-principal", found, http)
    with pytest.raises(Exception, match="invalid_scope"):
        issuer._assertion()
    parts = Parts(found, lambda: pytest.fail("not read"))
    monkeypatch.setattr(parts, "http", recorder)
    parts._vault.token()
    parts.clients._credential()._tokens.token()  # type: ignore[attr-defined]  # the SDK's type hides ours
    parts.grid_tokens.token()
    services = [cloud.fabric_audience, cloud.exchange_audience, cloud.vault_audience]
    assert recorder.resources == [*services, "https://storage.azure.com", "https://eventgrid.azure.net"]


TENANT = "10000000-0000-4000-8000-000000000001"
ISSUERS = {
    "public": {"1.0": f"https://sts.windows.net/{TENANT}/", "2.0": f"https://login.microsoftonline.com/{TENANT}/v2.0"},
    "usgov": {"1.0": f"https://sts.windows.net/{TENANT}/", "2.0": f"https://login.microsoftonline.us/{TENANT}/v2.0"},
    "china": {
        "1.0": f"https://sts.chinacloudapi.cn/{TENANT}/",
        "2.0": f"https://login.partner.microsoftonline.cn/{TENANT}/v2.0",
    },
}
"""As Entra writes them for this tenant, by cloud and version of the token."""
WORKLOAD = {"UNSTALE_WORKLOAD_AUDIENCE": "api://a", "UNSTALE_WORKLOAD_PUBLISHER_TENANT": TENANT}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("name", CLOUDS)
def test_workload_tokens_are_of_the_cloud_that_the_app_is_in(name: str, version: str) -> None:
    """By issuer and keys: a token of another cloud's Entra is refused, whatever else it says."""
    environ = {**WORKLOAD, "UNSTALE_CLOUD": name}
    assert settings.workload(environ).keys_url == f"{CLOUDS[name].login_url}/common/discovery/v2.0/keys"
    expected = wiring.gate(environ, Configuration(()))._expected
    for issuers in ISSUERS.values():
        claims = {"iss": issuers[version], "tid": TENANT, "ver": version}
        of_key = issuers["2.0"].replace(TENANT, "{tenantid}")
        seen = Seen(Signed(claims, of_key), None, "", 0.0, expected)
        ours = issuers == ISSUERS[name]
        assert CHECKS["app token: issuer"](seen) is (issuers[version] == ISSUERS[name][version])
        assert CHECKS["app token: issuer of the key"](seen) is (ours or (version == "2.0"))


def test_a_person_reads_the_vault_of_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """`unstale login` and `check --live` ask the Azure CLI for tokens of the same cloud."""
    monkeypatch.setattr(azure_login, "_ask_cli", lambda resource: {"error": resource})
    for name, cloud in CLOUDS.items():
        issuer = azure_login.vault({"UNSTALE_CLOUD": name})
        assert issuer is not None
        assert issuer().acquire() == {"error": cloud.vault_audience}
    assert PUBLIC.vault_audience == "https://vault.azure.net"
