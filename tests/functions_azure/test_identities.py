"""Every identity end to end: the staged function app with real msal, Entra and Fabric on loopback, storage by identity.

In Azure the secret of a service principal is a Key Vault reference in an app setting: the platform resolves it with the
app's identity before the worker starts, so what arrives is the variable UNSTALE_CLIENT_SECRET, as here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from functions_azure.tokens import STORAGE
from local.emulators.entra.emulator import App, Entra, Federation, Identity
from local.emulators.entra.tokens import Caller
from local.emulators.fabric.emulator import Exchange, FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.faults import IssueFor
from tests.support import swagger
from tests.support.azure_host import SALES, WORKSPACE, blob_created
from tests.support.azure_worker import Worker, one_package  # noqa: F401 - fixture
from tests.support.azurite_server import SecureAzurite
from tests.support.revocation import revoke

ROOT = Path(__file__).parents[2]
SECRET = "a planted secret, ~8Q"
SYSTEM = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)
ASSIGNED = Identity("5e7d9b30-0000-4000-8000-000000000001", "5e7d9b30-0000-4000-8000-00000000000a")
WITH_SECRET = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret=SECRET)
TRUSTING_ID, TRUSTING_OBJECT = "0a4f1c2e-0000-4000-8000-000000000002", "0a4f1c2e-0000-4000-8000-00000000000b"
VAULT = "https://vault.azure.net"
DAYS = timedelta(days=2)
"""Longer than any token lasts."""


class Way(NamedTuple):
    """As whom Fabric is called: what the configuration says, what the variables say, and who that is."""

    identity: str
    variables: Mapping[str, str]
    client_id: str
    object_id: str


STORAGE_IDENTITY = {"UNSTALE_STORAGE__clientId": ASSIGNED.client_id}
WAYS = {
    "system-assigned": Way("managed-identity", {}, SYSTEM.client_id, SYSTEM.object_id),
    "user-assigned": Way(
        "managed-identity",
        {"UNSTALE_CLIENT_ID": ASSIGNED.client_id, **STORAGE_IDENTITY},
        ASSIGNED.client_id,
        ASSIGNED.object_id,
    ),
    "secret": Way(
        "service-principal",
        {"UNSTALE_CLIENT_ID": WITH_SECRET.client_id, "UNSTALE_CLIENT_SECRET": SECRET, **STORAGE_IDENTITY},
        WITH_SECRET.client_id,
        WITH_SECRET.object_id,
    ),
    "federated": Way(
        "service-principal", {"UNSTALE_CLIENT_ID": TRUSTING_ID, **STORAGE_IDENTITY}, TRUSTING_ID, TRUSTING_OBJECT
    ),
}


class Clock:
    """The machine's clock, and how far something is ahead of it."""

    ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Tell that time."""
        return datetime.now(UTC) + self.ahead


class NotingEntra(Entra):
    """Keeps every token, so that it can be looked for where none must be."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, apps=[WITH_SECRET], identities=[ASSIGNED, SYSTEM])
        federation = Federation(self.tokens.issuer, ASSIGNED.object_id)
        self.apps[TRUSTING_ID] = App(TRUSTING_ID, TRUSTING_OBJECT, federations=(federation,))
        self.issued: list[str] = []
        issue = self.tokens.issue

        def noting(caller: Caller, audience: str, lifetime: timedelta) -> str:
            self.issued.append(issue(caller, audience, lifetime))
            return self.issued[-1]

        self.tokens.issue = noting  # type: ignore[method-assign]  # the same, noted
        self._time = clock

    def set_ahead(self, by: timedelta) -> None:
        """Let time pass for Entra, and for whoever judges its tokens."""
        self._time.ahead = by


class There:
    """The function app of one way, and what is around it."""

    def __init__(self, way: Way, worker: Worker, entra: NotingEntra, fabric: FabricEmulator, clock: Clock) -> None:
        self.way, self.worker, self.entra, self.fabric, self.clock = way, worker, entra, fabric, clock

    def ask(self) -> None:
        """Ask for the target over HTTP; that is stored, and nothing goes to Fabric yet."""
        assert self.worker.refresh("sales")["status"] == 202

    def pass_time(self, ticks: int = 6) -> None:
        """Let minutes pass, for us and for Fabric."""
        for _ in range(ticks):
            self.clock.ahead += timedelta(seconds=10)
            self.worker.set_ahead(self.clock.ahead.total_seconds())
            assert self.worker.tick()

    @property
    def held(self) -> list[str]:
        """Why the target was held, each time that it was, as the alarms read it."""
        lines = re.findall(r'\{"message":"held".*', self.worker.log)
        return [json.loads(line)["detail"]["reason"] for line in lines]

    @property
    def outcomes(self) -> list[str]:
        """Of all runs, oldest first."""
        return [run.outcome for run in self.fabric.journal().entries()]

    @property
    def refused(self) -> list[Exchange]:
        """Requests that Fabric refused for their token."""
        return [each for each in self.fabric.exchanges if each.answer and each.answer.status == 401]


@pytest.fixture(name="azurite", scope="module")
def secure_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureAzurite]:
    """One server for this module."""
    with SecureAzurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(name="there", params=list(WAYS))
def function_app(
    request: pytest.FixtureRequest, package: Path, azurite: SecureAzurite, tmp_path: Path
) -> Iterator[There]:
    """The function app of one way, with storage, Fabric and Entra of its own."""
    way, clock = WAYS[request.param], Clock()
    settings = FabricSettings(start_retry_after_seconds=1, poll_hints=(1,))
    with (
        NotingEntra(Clock()) as entra,
        FabricEmulator(clock, entra.tokens.validate, settings=settings) as fabric,
        Worker(package, environment(way, entra, fabric, azurite, tmp_path)) as worker,
    ):
        fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (JobType(LAKE_VIEWS, run_time=timedelta(seconds=3)),)))
        yield There(way, worker, entra, fabric, clock)
        assert not entra.unplanned_requests
        assert not fabric.unplanned_requests
        swagger.assert_as_published(fabric.exchanges)


def environment(
    way: Way, entra: NotingEntra, fabric: FabricEmulator, azurite: SecureAzurite, folder: Path
) -> dict[str, str]:
    """The application settings, and the certificates of what is on loopback."""
    config, bundle = folder / "unstale.toml", folder / "bundle.pem"
    config.write_text(
        f"""
[defaults]
quiet_period = "1s"
visibility_lag = "2s"
min_interval = "1s"

[fabric]
identity = "{way.identity}"

[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales" }} }}]
""",
        encoding="utf-8",
    )
    bundle.write_text(Path(entra.certificate).read_text() + azurite.certificate.read_text(), encoding="utf-8")
    storage = azurite.new_account()
    return {
        "UNSTALE_CONFIG": str(config),
        "UNSTALE_STORAGE__tableServiceUri": storage["table"],
        "UNSTALE_STORAGE__queueServiceUri": storage["queue"],
        "UNSTALE_FABRIC_URL": fabric.url,
        "UNSTALE_TENANT_ID": entra.tenant_id,
        "UNSTALE_AUTHORITY": entra.authority,
        "REQUESTS_CA_BUNDLE": str(bundle),
        **entra.identity_environment,
        **way.variables,
    }


# --- It works --------------------------------------------------------------------------------------------------------


def test_the_way_works_end_to_end(there: There) -> None:
    """An event is stored with the storage identity, Fabric is called as who was configured and nobody else, and the
    run is followed to its end. No token, and no secret, is in a line of the log.
    """
    event = json.dumps(blob_created("orders/1.parquet", there.clock()))
    assert there.worker.queue("events", event)
    there.pass_time()
    assert there.outcomes == ["succeeded"]
    callers = {each.caller.object_id for each in there.fabric.exchanges if each.caller}
    assert callers == {there.way.object_id}
    assert there.refused == []
    storage = {each.client_id for each in there.entra.token_requests if each.audience == STORAGE}
    assert storage == {there.way.variables.get("UNSTALE_STORAGE__clientId", SYSTEM.client_id)}
    assert len(there.entra.issued) <= 3, "one for storage, one for Fabric, and the assertion that stands for a secret"
    log = there.worker.log
    assert '"now running"' in log
    assert [each for each in (*there.entra.issued, SECRET) if each in log] == []


# --- Tokens that Fabric does not take --------------------------------------------------------------------------------


def succeed_once(there: There) -> None:
    """A refresh, after which the process has a token in its cache."""
    there.ask()
    there.pass_time()
    assert there.outcomes == ["succeeded"]


def test_a_token_that_expired_in_the_cache_is_renewed(there: There) -> None:
    """Fabric says so, and the same start is sent once more with a new one, which is the only run."""
    succeed_once(there)
    there.entra.set_ahead(DAYS)
    there.ask()
    there.pass_time()
    assert there.outcomes == ["succeeded", "succeeded"]
    assert len(there.refused) == 1
    assert b"TokenExpired" in there.refused[0].answer.body  # type: ignore[union-attr]  # None fails the test here


def test_a_token_that_was_revoked_is_renewed(there: There) -> None:
    """Fabric says nothing but 401; the same."""
    succeed_once(there)
    revoke(there.entra.tokens, there.way.object_id)
    there.ask()
    there.pass_time()
    assert there.outcomes == ["succeeded", "succeeded"]
    assert len(there.refused) == 1


def test_a_token_for_somebody_else_is_shown_to_fabric_once(there: There) -> None:
    """The first one is for another audience: it is forgotten, and the next one is good."""
    there.ask()
    there.entra.faults.add(IssueFor(VAULT), "token", resource=there.way.client_id)
    there.pass_time()
    assert there.outcomes == ["succeeded"]
    assert len(there.refused) == 1
    assert not there.entra.faults.unused_faults()


def test_an_identity_whose_tokens_are_no_good_holds_the_target_until_they_are(there: There) -> None:
    """Refused with a new token, too, it is blocked, with the reason, and nothing more is sent. What is owed stays:
    asked for again when tokens are good, it is refreshed.
    """
    there.ask()
    there.entra.faults.add(IssueFor(VAULT), "token", resource=there.way.client_id, times=2)
    there.pass_time()
    assert there.outcomes == []
    assert [reason.startswith("HTTP 401") for reason in there.held] == [True]
    there.pass_time()
    assert len(there.refused) == 2
    there.ask()
    there.pass_time()
    assert set(there.outcomes) == {"succeeded"}


# --- Secrets that are none -------------------------------------------------------------------------------------------

REFERENCE = "@Microsoft.KeyVault(VaultName=contoso;SecretName=fabric)"
REFUSED = {
    "rotated": ({"UNSTALE_CLIENT_SECRET": "the old one"}, "is UNSTALE_CLIENT_SECRET the current one"),
    "unresolved": ({"UNSTALE_CLIENT_SECRET": REFERENCE}, "is a Key Vault reference that the platform did not resolve"),
    "untrusted": ({"UNSTALE_CLIENT_SECRET": ""}, "does the app registration trust"),
}
WAYS |= {
    name: WAYS["secret"]._replace(variables={**WAYS["secret"].variables, **variables})
    for name, (variables, _) in REFUSED.items()
}


@pytest.mark.parametrize(("there", "says"), [(name, says) for name, (_, says) in REFUSED.items()], indirect=["there"])
def test_a_secret_that_is_none_holds_the_target_and_says_what_to_do(there: There, says: str) -> None:
    """One that was rotated; a Key Vault reference that arrives as it stands, because the platform could not read the
    vault, and goes to nobody; none, where the app registration does not trust the managed identity either.
    """
    there.ask()
    there.pass_time()
    assert there.fabric.exchanges == ()
    [reason] = there.held
    assert says in reason
    asked = [each.client_id for each in there.entra.token_requests if each.grant == "client_credentials"]
    assert bool(asked) == (there.way.variables["UNSTALE_CLIENT_SECRET"] != REFERENCE)
    assert "the old one" not in there.worker.log


def test_the_secret_comes_from_key_vault() -> None:
    """The template gives the variable as a reference, which the platform resolves; nothing else names a secret."""
    template = (ROOT / "infra" / "azure" / "functionApp.bicep").read_text(encoding="utf-8")
    assert "UNSTALE_CLIENT_SECRET: '@Microsoft.KeyVault(" in template
    assert template.count("CLIENT_SECRET") == 1
