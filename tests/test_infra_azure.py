"""The Bicep templates: relations to the code and to the configuration, on the resources that the compiler predicts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as playing
from hypothesis import strategies as st

from functions_azure import settings
from infra.packaging import azure as packaging
from infra.packaging import stage
from local import infra_azure
from local.cli import main
from local.infra_azure import SUBJECT, filters_for, inputs
from shared.config import load
from shared.eventgrid import read
from shared.model import BlobArrived, BlobCreated
from shared.readings import Arrived
from shared.routing import _names
from tests.azure_host import SALES, WORKSPACE

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "infra" / "azure"
BESIDE = ROOT.parent / "shared" / "tools" / "bicep" / "bicep"
FILES = sorted([*FOLDER.glob("*.bicep"), *FOLDER.glob("*.bicepparam")])
HOST = json.loads((ROOT / "functions_azure" / "host.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def bicep(*arguments: object) -> str:
    """Ask the compiler."""
    found = str(BESIDE) if BESIDE.is_file() else shutil.which("bicep")
    if not found:
        pytest.skip("the Bicep compiler is not here")
    done = subprocess.run([found, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predicted(folder: Path, file: str) -> dict[str, Any]:
    """The compiler's snapshot of a parameter file."""
    where = {
        "subscription-id": "00000000-0000-4000-8000-000000000001",
        "tenant-id": "00000000-0000-4000-8000-000000000002",
        "resource-group": "unstale",
        "location": "westeurope",
    }
    options = [text for name, value in where.items() for text in (f"--{name}", value)]
    bicep("snapshot", folder / file, "--mode", "overwrite", *options)
    found: dict[str, Any] = json.loads((folder / file).with_suffix(".snapshot.json").read_text(encoding="utf-8"))
    return found


VARIANTS = {
    "plain": "",
    "event hub": "param stream = { kind: 'own' }",
    "eventstream": (
        "param stream = { kind: 'eventstream', fullyQualifiedNamespace: 'a.servicebus.windows.net'"
        ", eventHub: 'es', consumerGroup: 'cg' }"
    ),
    "secret": (
        "param fabric = { kind: 'service-principal', tenantId: 't', clientId: 'c', secret: { vault: 'v', name: 's' } }"
    ),
}


@cache
def resources(variant: str) -> tuple[dict[str, Any], ...]:
    """All that is deployed for two accounts, one of them elsewhere with a topic of its own."""
    configuration = load(CONFIG)
    with TemporaryDirectory() as made:
        folder = Path(made) / "azure"
        shutil.copytree(FOLDER, folder)
        (folder / "default.json").write_text(json.dumps(inputs(configuration)[0]), encoding="utf-8")
        (folder / "test.bicepparam").write_text(
            "using 'main.bicep'\nparam sources = loadJsonContent('default.json').sources\n"
            "param placements = { other: { resourceGroup: 'elsewhere', systemTopic: 'theirs' } }\n" + VARIANTS[variant],
            encoding="utf-8",
        )
        return tuple(predicted(folder, "test.bicepparam")["predictedResources"])


def of_type(variant: str, kind: str) -> list[dict[str, Any]]:
    """The resources of one type."""
    return [each for each in resources(variant) if each["type"] == kind]


def app_settings(variant: str) -> dict[str, str]:
    """The application settings."""
    [found] = of_type(variant, "Microsoft.Web/sites/config")
    properties: dict[str, str] = found["properties"]
    return properties


CONFIG = f"""
[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [
  {{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/" }} }},
  {{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/2026/" }} }},
  {{ blob_created = {{ account = "other", container = "stock", suffix = ".parquet" }} }},
]
"""


# --- Judged by the compiler ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_compiler_finds_nothing(file: Path) -> None:
    """No finding of any level in any file: a wrong property is only a warning, with exit status 0."""
    [run] = json.loads(bicep("lint", file, "--diagnostics-format", "sarif"))["runs"]
    assert run["results"] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_layout_is_the_formatters(file: Path) -> None:
    """One layout."""
    assert bicep("format", file, "--stdout") == file.read_text(encoding="utf-8")


def test_the_snapshot_in_the_repository_is_of_this_template(tmp_path: Path) -> None:
    """A review sees resources. If it is out of date: `bicep snapshot infra/azure/main.bicepparam`, as above."""
    shutil.copytree(FOLDER, tmp_path / "azure")
    kept = json.loads((FOLDER / "main.snapshot.json").read_text(encoding="utf-8"))
    assert predicted(tmp_path / "azure", "main.bicepparam") == kept


# --- Relations to the code -------------------------------------------------------------------------------------------


class Seen(dict[str, str]):
    """An environment that notes what is asked of it."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__(found)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Note it."""
        self.asked.add(name)
        return super().get(name, default)


OF_THE_HOST = {f"{name}__{key}" for name in ("UNSTALE_STORAGE", "UNSTALE_EVENTS") for key in ("credential", "clientId")}
"""What the host reads of a connection, and we do not."""
NEVER_SET = {"UNSTALE_CONFIG", "UNSTALE_AUTHORITY", "UNSTALE_STORAGE", "UNSTALE_EVENTS"}
"""Two whose defaults are right, and two that would be connection strings."""


def test_the_settings_are_those_that_the_code_reads() -> None:
    """Every setting of ours that is deployed is read, and every one that is read can be deployed."""
    everything = {"UNSTALE_STORAGE__tableServiceUri": "https://t", "UNSTALE_STORAGE__queueServiceUri": "https://q"}
    seen = Seen({**everything, "UNSTALE_EVENTS__fullyQualifiedNamespace": "n"})
    settings.read(seen)
    settings.event_hub(seen)
    deployed = {name for variant in VARIANTS for name in app_settings(variant) if name.startswith("UNSTALE_")}
    assert deployed - OF_THE_HOST == seen.asked - OF_THE_HOST - NEVER_SET
    assert "UNSTALE_STORAGE__clientId" in deployed & seen.asked


REFUSED = re.compile(
    "FUNCTIONS_WORKER_RUNTIME|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|SCM_DO_BUILD_DURING_DEPLOYMENT"
    "|ENABLE_ORYX_BUILD|WEBSITE_CONTENT.*|WEBSITE_TIME_ZONE|AzureWebJobsStorage"
)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_that_flex_consumption_refuses_is_set(variant: str) -> None:
    """Runtime, scale and deployment are in functionAppConfig, host storage by identity."""
    found = app_settings(variant)
    assert not [name for name in found if REFUSED.fullmatch(name)]
    assert found["AzureWebJobsStorage__credential"] == "managedidentity"
    [app] = of_type(variant, "Microsoft.Web/sites")
    runtime = app["properties"]["functionAppConfig"]["runtime"]
    assert runtime == {"name": "python", "version": packaging.FLEX.python}
    queues = HOST["extensions"]["queues"]
    assert found["PYTHON_THREADPOOL_THREAD_COUNT"] == str(queues["batchSize"] + queues["newBatchThreshold"])


def test_queues_and_tables_have_the_names_of_the_code() -> None:
    """Both queues with their poison queues, the table, and the queue that Event Grid fills."""
    queues = {each["name"].rpartition("/")[2] for each in of_type("plain", f"{STORAGE}/queueServices/queues")}
    both = {settings.EVENTS_QUEUE, settings.WAKES_QUEUE}
    assert queues == both | {name + settings.POISON for name in both}
    [table] = of_type("plain", f"{STORAGE}/tableServices/tables")
    assert table["name"].rpartition("/")[2] == settings.TABLE
    for subscription in subscriptions("plain"):
        destination = subscription["deliveryWithResourceIdentity"]["destination"]["properties"]
        assert destination["queueName"] == settings.EVENTS_QUEUE


STORAGE = "Microsoft.Storage/storageAccounts"


# --- Nothing without a token -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_key_opens_anything(variant: str) -> None:
    """Shared keys and local authentication are off, and nothing asks for a key."""
    [account] = of_type(variant, STORAGE)
    assert account["properties"]["allowSharedKeyAccess"] is False
    assert account["properties"]["allowBlobPublicAccess"] is False
    assert all(
        each["properties"]["DisableLocalAuth"] is True for each in of_type(variant, "Microsoft.Insights/components")
    )
    assert all(
        each["properties"]["disableLocalAuth"] is True for each in of_type(variant, "Microsoft.EventHub/namespaces")
    )
    policies = of_type(variant, "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert [policy["properties"] for policy in policies] == [{"allow": False}] * 2
    assert not re.search("listKeys|AccountKey|SharedAccessKey|listAccountSas", json.dumps(resources(variant)))
    secrets = {name: value for name, value in app_settings(variant).items() if "SECRET" in name}
    assert all(value.startswith("@Microsoft.KeyVault(") for value in secrets.values())


ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": ("app", r"storageAccounts/\w+"),
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": ("app", r"storageAccounts/\w+"),
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": ("app", r"storageAccounts/\w+"),
    "3913510d-42f4-4e42-8a64-420c390055eb": ("app", r"components/unstale"),
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": ("topic", r"queues/unstale-events"),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": ("topic", r"containers/dead-letters"),
    "2b629674-e913-4c01-ae53-ef4638d8f975": ("topic", r"namespaces/unstale-\w+"),
    "a638d3c7-ab3a-418d-83e6-5f17a39d4fde": ("app", r"namespaces/unstale-\w+"),
    "4633458b-17de-408a-b874-0445c86b69e6": ("app", r"vaults/v/secrets/s"),
}
MORE = {
    "event hub": {"2b629674-e913-4c01-ae53-ef4638d8f975", "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"},
    "secret": {"4633458b-17de-408a-b874-0445c86b69e6"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_role_is_for_its_principal_at_its_scope(variant: str) -> None:
    """The identity of the app, and the topics', each where it works; what an option needs comes with it."""
    found = of_type(variant, "Microsoft.Authorization/roleAssignments")
    given_to: dict[str, int] = {}
    for each in found:
        role = each["properties"]["roleDefinitionId"].rpartition("/")[2]
        who, scope = ROLES[role]
        principal = each["properties"]["principalId"]
        assert ("userAssignedIdentities/unstale'" if who == "app" else "EventGrid/systemTopics") in principal
        assert re.match(rf"\[extensionResourceId\('[^']*/{scope}',", each["id"]), each["id"]
        assert each["properties"]["principalType"] == "ServicePrincipal"
        given_to[role] = given_to.get(role, 0) + 1
    optional = set().union(*MORE.values())
    expected = (set(ROLES) - optional) | MORE.get(variant, set())
    assert given_to == {role: 2 if ROLES[role][0] == "topic" else 1 for role in expected}


def test_every_role_has_its_reason_above_it_in_one_file() -> None:
    """A comment stands above each assignment, and no other file has one."""
    for file in FOLDER.glob("*.bicep"):
        lines = file.read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines) if "roleAssignments@" in line]
        assert bool(found) == (file.name == "roles.bicep")
        assert all(lines[number - 1].startswith("//") for number in found)


# --- Events ----------------------------------------------------------------------------------------------------------


def subscriptions(variant: str) -> list[dict[str, Any]]:
    """Their properties."""
    return [each["properties"] for each in of_type(variant, "Microsoft.EventGrid/systemTopics/eventSubscriptions")]


def test_subscriptions_deliver_by_identity_retry_for_a_day_and_keep_what_fails() -> None:
    """One for each filter; an account that has a topic gets no other one."""
    assert len(subscriptions("plain")) == 2
    [topic] = of_type("plain", "Microsoft.EventGrid/systemTopics")
    assert topic["identity"] == {"type": "SystemAssigned"}
    assert topic["properties"]["source"].endswith("/contosolake")
    for each in subscriptions("plain") + subscriptions("event hub"):
        assert "destination" not in each
        assert each["deliveryWithResourceIdentity"]["identity"] == {"type": "SystemAssigned"}
        dead = each["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]
        names = {found["name"].rpartition("/")[2] for found in of_type("plain", f"{STORAGE}/blobServices/containers")}
        assert dead["blobContainerName"] in names
        assert each["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
        kinds = {kind.rpartition(".")[2] for kind in each["filter"]["includedEventTypes"]}
        assert kinds == {"BlobCreated", "BlobRenamed", "DirectoryRenamed"}
    for each in subscriptions("event hub"):  # an expression, because the hub's id is known to the cloud only
        destination = str(each["deliveryWithResourceIdentity"]["destination"])
        assert "outputs.hubId" in destination


names_in_use = st.text("aB/.=% é\U0001f600", max_size=4)
blobs = st.builds(BlobCreated, st.just("a"), st.sampled_from(["c", "cc"]), names_in_use, names_in_use)


@playing(deadline=None)
@given(st.lists(blobs, min_size=1, max_size=4), st.data(), st.integers(1, 3), st.booleans())
def test_filters_let_through_every_event_that_a_target_names(
    sources: list[BlobCreated], data: st.DataObject, most: int, directory: bool
) -> None:
    """Whatever our own reading of an event would signal passes a filter: renamed directories, too, whose subject has no
    slash at its end, and names of which Event Grid loses characters.
    """
    source = data.draw(st.sampled_from(sources))
    path = source.prefix + data.draw(names_in_use) + source.suffix
    path = path.strip("/") if directory else path
    subject = f"{SUBJECT}{source.container}/blobs/{path.replace(chr(0x1F600), chr(0xFFFD) * 2)}"
    url = f"https://a.blob.core.windows.net/{source.container}/{quote(path)}"
    kind = "Microsoft.Storage.DirectoryRenamed" if directory else "Microsoft.Storage.BlobCreated"
    event = {"type": kind, "source": "/storageAccounts/a", "subject": subject, "time": "2026-11-23T00:00:00Z"}
    reading = read({**event, "id": "1", "specversion": "1.0", "data": {"api": "PutBlob", "url": url}}, NOW)
    if isinstance(reading, Arrived) and signals(sources, reading):
        filters, _ = filters_for(sources, most)
        assert len(filters) <= most
        assert any(each.passes(subject) for each in filters)


def signals(sources: list[BlobCreated], reading: Arrived) -> bool:
    """Whether one of the sources means it."""
    [arrival] = reading.arrivals
    assert isinstance(arrival, BlobArrived)
    return any(source.container == arrival.container and _names(source, arrival) for source in sources)


def test_filters_name_container_prefix_and_suffix_and_no_two_pass_the_same_event() -> None:
    """As exact as Event Grid can be, and one delivery an event where one filter covers another."""
    found = filters_for([BlobCreated("a", "c", "x/y/", ".p"), BlobCreated("a", "c", "x/", ".p")])
    assert found == ((infra_azure.Filter(f"{SUBJECT}c/blobs/x", ".p"),), "")


# --- The command -----------------------------------------------------------------------------------------------------


def test_infra_writes_what_the_parameter_file_reads(tmp_path: Path) -> None:
    """One file an environment; the committed one is of the example configuration."""
    infra_azure.azure(ROOT / "unstale.toml", as_json=True, write=True, folder=tmp_path)
    infra_azure.azure(ROOT / "unstale.toml", as_json=True, write=True, environment="staging", folder=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"default.json", "staging.json"}
    assert (tmp_path / "default.json").read_bytes() == (FOLDER / "default.json").read_bytes()


def test_infra_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No target on Azure, or a name that is a path: wrong usage."""
    config = tmp_path / "unstale.toml"
    config.write_text(
        '[targets.a]\nkind = "glue-view"\ncatalog_id = "123456789012"\ndatabase = "d"\ntable = "t"\n', encoding="utf-8"
    )
    assert main(["infra", "azure", "--config", str(config)]) == 2
    assert "no target is on Azure" in capsys.readouterr().err
    assert main(["infra", "azure", "--config", str(ROOT / "unstale.toml"), "--environment", "../x"]) == 2


# --- The package -----------------------------------------------------------------------------------------------------


def test_the_package_carries_what_the_tests_run() -> None:
    """What the package's lock names, the developers' lock names in the same version, the worker's library included."""
    dev = dict(stage.pins(ROOT / "requirements" / "dev.txt"))
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    carried = dict(stage.pins(packaging.LOCK))
    assert "azure-functions-runtime" in carried
    several = re.findall(r"^azure-functions==([\w.]+) ; python_full_version >= '3.13'", text, flags=re.MULTILINE)
    assert [carried.pop("azure-functions")] == several
    assert {name: dev[name] for name in carried} == carried


def test_the_package_is_indexed_by_the_real_worker_and_never_varies(tmp_path: Path) -> None:
    """Staged twice, the zip has the same bytes. With the source tree and every environment out of the way, the worker's
    library finds the functions in it, with the third-party code that it carries.
    """
    pytest.importorskip("azure_functions_runtime", reason="the worker library needs Python 3.13")
    made = [
        packaging.package(ROOT / "unstale.toml", tmp_path / name, third_party=stage.from_here, tell=lambda _: None)
        for name in ("once", "again")
    ]
    assert made[0].read_bytes() == made[1].read_bytes()
    package = tmp_path / "once"
    at_root = {entry.name for entry in package.iterdir()}
    expected = {".python_packages", "host.json", "function_app.py", "shared", "functions_azure", "unstale.toml"}
    assert at_root == expected
    driver = shutil.copyfile(ROOT / "tests" / "functions_worker.py", tmp_path / "driver.py")
    done = subprocess.run(
        [sys.executable, "-S", str(driver), str(package)],
        check=False,
        capture_output=True,
        text=True,
        input="",
        cwd=tmp_path,
        env={"PYTHONPATH": str(package / packaging.SITE_PACKAGES)},
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"events", "wakes", "event_grid", "tick", "refresh"}


# --- Alerts ----------------------------------------------------------------------------------------------------------


def test_every_alert_tells_somebody_what_it_means_and_what_to_do() -> None:
    """All go to the action group; each names a command or the log, and stands in the README."""
    rules = of_type("plain", "Microsoft.Insights/scheduledQueryRules")
    metrics = of_type("plain", "Microsoft.Insights/metricAlerts")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(rules) == 7
    assert len(metrics) == 4
    for alert in [*rules, *metrics]:
        assert re.search("unstale (status|redrive|check|refresh)", alert["properties"]["description"])
        assert "actionGroups/unstale" in json.dumps(alert["properties"]["actions"]) or "actionGroupId" in json.dumps(
            alert["properties"]["actions"]
        )
        assert f"`{alert['name'].rpartition('-')[2]}`" in readme
