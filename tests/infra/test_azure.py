"""The Bicep templates: relations to the code and to the configuration, on the resources that the compiler predicts."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import zlib
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

from functions_azure import settings, telemetry
from functions_azure.clouds import CLOUDS
from functions_azure.shell import REFRESH_BODY_LIMIT
from infra.packaging import azure as packaging
from infra.parameters.azure import MOST_FILTERS, SUBJECT, Filter, directories_for, filters_for, inputs
from local.cli import infra, main
from shared.config.load import Configuration, load
from shared.inbound.arrivals import BlobArrived
from shared.inbound.eventgrid import read
from shared.inbound.messages import Arrived
from shared.inbound.routing import targets_of
from shared.targets import BlobCreated, LakeViews, Target
from shared.workload.api import BODY_LIMIT
from tests.support.azure_host import SALES, WORKSPACE, function_names
from tests.support.locks import pins
from tests.support.once import once

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "azure"
PAGE, FABRIC_PAGE = ROOT / "docs" / "azure.md", ROOT / "docs" / "fabric.md"
BESIDE = ROOT.parent / "shared" / "tools" / "bicep" / "bicep"
FILES = sorted([*FOLDER.glob("*.bicep"), *FOLDER.glob("*.bicepparam")])
HOST = json.loads((ROOT / "functions_azure" / "host.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 23, tzinfo=UTC)

OVER_SOON = {"DOTNET_TieredPGO": "0", "DOTNET_gcConcurrent": "0", "DOTNET_TC_CallCountThreshold": "10000"}
"""The compiler runs for seconds: .NET need not make code better for a process that is over by then (a quarter less)."""


def bicep(*arguments: object) -> str:
    """Ask the compiler."""
    found = str(BESIDE) if BESIDE.is_file() else shutil.which("bicep")
    if not found:
        pytest.skip("the Bicep compiler is not here")
    command, environment = [found, *map(str, arguments)], os.environ | OVER_SOON
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predicted(folder: Path, file: str, group: str = "unstale") -> dict[str, Any]:
    """The compiler's snapshot of a parameter file."""
    where = {
        "subscription-id": "00000000-0000-4000-8000-000000000001",
        "tenant-id": "00000000-0000-4000-8000-000000000002",
        "resource-group": group,
        "location": "westeurope",
    }
    options = [text for name, value in where.items() for text in (f"--{name}", value)]
    bicep("snapshot", folder / file, "--mode", "overwrite", *options)
    found: dict[str, Any] = json.loads((folder / file).with_suffix(".snapshot.json").read_text(encoding="utf-8"))
    return found


SECRET = (
    "param fabric = { kind: 'service-principal', tenantId: 't', clientId: 'c', secret: { vault: 'v', name: 's' } }\n"
)
EVENTSTREAM = (
    "param stream = { kind: 'eventstream', fullyQualifiedNamespace: 'a.servicebus.windows.net'"
    ", eventHub: 'es', consumerGroup: 'cg' }\n"
)
KEY = (
    "param customerManagedKey = { vault: 'ours', name: 'k' }\nparam push = true\nparam cloud = 'usgov'\n"
    "param authority = 'https://login.test/t'\nparam fabricUrl = 'https://fabric.test/v1'\n"
    "param oneLakeUrl = 'https://onelake.test'\nparam logDailyCapGb = 3\n"
    "param page = { readers: [{ principalId: 'o', principalType: 'Group' }] }\n"
)
ACCESS = (
    "param vaultAccess = { subnetId: '/subscriptions/s/subnets/app', allowedAddresses: ['203.0.113.7']"
    ", auditLog: true }\n"
)
TELL = (
    "param tellTopics = [{ name: 'views', resourceGroup: 'events' }]\n"
    "param tellSecrets = [{ vault: 'contoso', name: 'teams-webhook' }]\n"
)
VARIANTS = {
    "plain": "",
    "own key, push, another cloud": KEY + TELL,
    "event hub, secret": f"param stream = {{ kind: 'own' }}\n{SECRET}",
    "eventstream, operators, user": (
        f"{EVENTSTREAM}{ACCESS}param operators = [{{ principalId: 'o', principalType: 'Group' }}]\n"
        "param fabric = { kind: 'user', tenantId: 't', clientId: 'c' }\n"
        "param workload = { audience: 'api://a', publisherTenant: 't', clientId: 'c' }\n"
    ),
}
"""Each call of the compiler takes a second or two, so options that have nothing to do with each other share one."""


PLACED = (
    "param placements = { contosolake: { resourceGroup: 'lake' }"
    ", other: { resourceGroup: 'elsewhere', systemTopic: 'theirs' } }\n"
)


@cache
def deployed(config: str, parameters: str, group: str = "unstale") -> tuple[dict[str, Any], ...]:
    """All that is deployed for a configuration, with parameters beside the sources."""

    def make(made: Path) -> None:
        folder = made / "azure"
        shutil.copytree(FOLDER, folder)
        (folder / "default.json").write_text(json.dumps(inputs(load(config))[0]), encoding="utf-8")
        (folder / "test.bicepparam").write_text(
            "using 'main.bicep'\nparam sources = loadJsonContent('default.json').sources\n" + parameters,
            encoding="utf-8",
        )
        predicted(folder, "test.bicepparam", group)

    digest = hashlib.sha256(f"{config}\n{parameters}\n{group}".encode()).hexdigest()
    snapshot = once(f"bicep {digest[:16]}", make) / "azure" / "test.snapshot.json"
    return tuple(json.loads(snapshot.read_text(encoding="utf-8"))["predictedResources"])


def built(file: str) -> dict[str, Any]:
    """The template that a file of ours becomes."""

    def make(made: Path) -> None:
        (made / "template.json").write_text(bicep("build", FOLDER / file, "--stdout"), encoding="utf-8")

    found: dict[str, Any] = json.loads((once(f"bicep {file}", make) / "template.json").read_text(encoding="utf-8"))
    return found


def resources(variant: str) -> tuple[dict[str, Any], ...]:
    """All that is deployed for two accounts, one of them elsewhere with a topic of its own."""
    return deployed(CONFIG, PLACED + VARIANTS[variant])


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


def test_the_compiler_finds_nothing() -> None:
    """No finding of any level in any file: a wrong property is only a warning, with exit status 0."""
    told, decoder, found = "", json.JSONDecoder(), []
    for end in (".bicep", ".bicepparam"):
        told += bicep("lint", "--pattern", FOLDER / f"*{end}", "--diagnostics-format", "sarif").strip()
    while told:
        document, length = decoder.raw_decode(told)
        found.append(document["runs"][0]["results"])
        told = told[length:].lstrip()
    assert found == [[]] * len(FILES)


def undescribed(text: str) -> list[str]:
    """Parameters, outputs and types whose decorators have no description, and properties of types without one."""
    lines, found, in_type = text.splitlines(), [], False
    for number, line in enumerate(lines):
        in_type = bool(re.match(r"type \w+ = \{$", line)) or (in_type and line != "}")
        named = re.match(r"(?:param|output|type) (\w+)", line) or (re.match(r"  (\w+): ", line) if in_type else None)
        above = []
        while number and lines[number - 1].lstrip().startswith("@"):
            number -= 1  # noqa: PLW2901 - up from here
            above.append(lines[number].lstrip())
        if named and named[1] != "kind" and not any(each.startswith("@description('") for each in above):
            found.append(named[1])
    return found


def test_every_parameter_and_output_is_described() -> None:
    """Whoever fills a parameter file reads no resources; `kind` is what tells types apart."""
    assert undescribed("@minLength(1)\nparam a string\n@description('b')\noutput b int = 1") == ["a"]
    assert undescribed("@description('t')\ntype t = {\n  kind: 'x'\n  a: string\n}") == ["a"]
    for file in FOLDER.glob("*.bicep"):
        assert undescribed(file.read_text(encoding="utf-8")) == [], file.name


def test_the_layout_is_the_formatters(tmp_path: Path) -> None:
    """One layout."""
    shutil.copytree(FOLDER, tmp_path / "azure")
    for end in (".bicep", ".bicepparam"):
        bicep("format", "--pattern", tmp_path / "azure" / f"*{end}")
    for file in FILES:
        assert (tmp_path / "azure" / file.name).read_bytes() == file.read_bytes()


def test_every_rule_of_the_linter_is_an_error_or_has_a_reason() -> None:
    """Those that are off have a comment above them."""
    lines = [line.strip() for line in (FOLDER / "bicepconfig.json").read_text(encoding="utf-8").splitlines()]
    levels = [re.match(r'"[a-z-]+": \{ "level": "(\w+)" \}', line) for line in lines]
    rules = [(number, found[1]) for number, found in enumerate(levels) if found]
    assert len(rules) > 40
    assert all(level == "error" or lines[number - 1].startswith("//") for number, level in rules)


def test_the_snapshot_in_the_repository_is_of_this_template(tmp_path: Path) -> None:
    """A review sees resources. If it is out of date, the README has the command that makes it again."""
    shutil.copytree(FOLDER, tmp_path / "azure")
    kept = json.loads((FOLDER / "main.snapshot.json").read_text(encoding="utf-8"))
    assert predicted(tmp_path / "azure", "main.example.bicepparam") == kept


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


def asked_for() -> set[str]:
    """The variables that the code asks for."""
    storage = {f"UNSTALE_STORAGE__{kind}ServiceUri": "https://a" for kind in ("table", "queue")}
    seen = Seen({**storage, "UNSTALE_EVENTS__fullyQualifiedNamespace": "n"})
    settings.read(seen)
    settings.event_hub(seen)
    settings.is_pushed(seen)
    workload = Seen({"UNSTALE_WORKLOAD_AUDIENCE": "a", "UNSTALE_WORKLOAD_PUBLISHER_TENANT": WORKSPACE})
    settings.workload(workload)
    return seen.asked | workload.asked


BY_HAND = ("UNSTALE_AUTHORITY", "UNSTALE_FABRIC_URL", "UNSTALE_ONELAKE_URL")


def test_the_app_is_told_its_cloud_and_only_addresses_that_were_given_by_hand() -> None:
    """All else follows from the cloud, in the code: an address that stood here would win over it."""
    plain, other = app_settings("plain"), app_settings("own key, push, another cloud")
    assert (plain["UNSTALE_CLOUD"], other["UNSTALE_CLOUD"]) == ("public", "usgov")
    assert not set(BY_HAND) & plain.keys()
    assert [other[name] for name in BY_HAND] == [
        "https://login.test/t",
        "https://fabric.test/v1",
        "https://onelake.test",
    ]


def test_the_template_knows_the_clouds_that_the_code_knows() -> None:
    """As values of one parameter, which is an output, too; the command line is told it with the rest."""
    template = built("main.bicep")
    assert template["parameters"]["cloud"]["allowedValues"] == list(CLOUDS)
    assert template["outputs"]["cloud"]["value"] == "[parameters('cloud')]"
    named = re.findall(r"export (\w+)=", template["outputs"]["environment"]["value"])
    assert {"UNSTALE_CLOUD", *BY_HAND} <= set(named)


OF_THE_HOST = {f"{name}__{key}" for name in ("UNSTALE_STORAGE", "UNSTALE_EVENTS") for key in ("credential", "clientId")}
"""What the host reads of a connection, and we do not."""
OF_AWS = {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_EVENTBRIDGE"}
"""Where the other cloud is asked for credentials and told outcomes: botocore's names, for emulators only."""
NEVER_SET = {"UNSTALE_CONFIG", "UNSTALE_STORAGE", "UNSTALE_EVENTS", *OF_AWS}
"""One whose default is right, two that would be connection strings, and two that no deployment may turn elsewhere."""


def test_the_settings_are_those_that_the_code_reads() -> None:
    """Every setting of ours that is deployed is read, and every one that is read can be deployed."""
    seen = asked_for()
    found = {name for variant in VARIANTS for name in app_settings(variant) if name.startswith("UNSTALE_")}
    assert found - OF_THE_HOST == seen - OF_THE_HOST - NEVER_SET
    assert "UNSTALE_STORAGE__clientId" in found & seen


def test_the_output_for_the_command_line_is_what_it_reads() -> None:
    """Pasted into a shell, it says where the deployment is: each variable of it is read, none holds a secret."""
    value = built("main.bicep")["outputs"]["environment"]["value"]
    named = set(re.findall(r"export (\w+)=", value))
    assert named <= asked_for()
    storage = {f"UNSTALE_STORAGE__{kind}ServiceUri" for kind in ("table", "queue", "blob")}
    assert storage | {"UNSTALE_CLIENT_ID"} <= named
    assert not {name for name in named if "SECRET" in name}


TAKEN_IN_SITE_CONFIG = {"minTlsVersion", "http20Enabled"}
"""Properties of siteConfig that a Flex Consumption site is known to take; there is no published list.

The provider of Terraform sends both for every such app, and is tested in Azure: hashicorp/terraform-provider-azurerm,
website/docs/r/function_app_flex_consumption.html.markdown, `site_config` (`minimum_tls_version`, `http2_enabled`).
Known to be refused, with a failed deployment: ftpsState, use32BitWorkerProcess, netFrameworkVersion, linuxFxVersion,
functionsRuntimeScaleMonitoringEnabled, functionAppScaleLimit (microsoft/azure-pipelines-tasks issues 21032, 22254).
"""
TAKEN_AS_SETTINGS = {
    # Azure-Samples/azure-functions-flex-consumption-samples, IaC/bicep/main.bicep, commit 9519a36
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    # https://learn.microsoft.com/azure/azure-functions/functions-app-settings, which excepts neither from the Flex plan
    "PYTHON_THREADPOOL_THREAD_COUNT",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
}
"""Settings of the platform that are known to be taken; what begins with UNSTALE_ is our own."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_flex_site_is_told_only_what_it_is_known_to_take(variant: str) -> None:
    """The resource type allows more, and neither the compiler nor its snapshot knows: only a deployment would fail."""
    assert set(site_config(variant)) <= TAKEN_IN_SITE_CONFIG
    assert {name for name in app_settings(variant) if not name.startswith("UNSTALE_")} <= TAKEN_AS_SETTINGS


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
    [site] = of_type(variant, "Microsoft.Web/sites")
    runtime = site["properties"]["functionAppConfig"]["runtime"]
    assert runtime == {"name": "python", "version": packaging.FLEX.python}
    queues = HOST["extensions"]["queues"]
    assert found["PYTHON_THREADPOOL_THREAD_COUNT"] == str(queues["batchSize"] + queues["newBatchThreshold"])
    scale = site["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    assert scale["instanceMemoryMB"] in {512, 2048, 4096}
    assert 40 <= scale["maximumInstanceCount"] <= 1000


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_host_lets_in_every_body_that_we_take_and_not_much_more(variant: str) -> None:
    """The worker hands bodies over whole, so the host's limit bounds the memory, and ours answers with words: 413."""
    most = int(app_settings(variant)["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"])
    assert REFRESH_BODY_LIMIT <= BODY_LIMIT < most <= 2 * BODY_LIMIT


def test_one_python_from_lock_to_cloud() -> None:
    """The package's lock is worked out for the version that the app runs on, and that packaging asks wheels for."""
    [site] = of_type("plain", "Microsoft.Web/sites")
    version = site["properties"]["functionAppConfig"]["runtime"]["version"]
    compiled = re.search(r"COMPILE_AZURE = .*--python-version (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert compiled
    assert {version, packaging.FLEX.python} == {compiled[1]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_connection_of_a_trigger_is_deployed(variant: str) -> None:
    """By identity: the endpoint that the trigger needs, the kind of credential, and whose. Else it would be off."""
    found = app_settings(variant)
    for connection, endpoint in (("UNSTALE_STORAGE", "queueServiceUri"), ("UNSTALE_EVENTS", "fullyQualifiedNamespace")):
        if connection == "UNSTALE_STORAGE" or "param stream" in VARIANTS[variant]:
            assert found[f"{connection}__{endpoint}"]
            assert found[f"{connection}__credential"] == "managedidentity"
            assert found[f"{connection}__clientId"]
        else:
            assert not [name for name in found if name.startswith(connection)]


def test_queues_and_tables_have_the_names_of_the_code() -> None:
    """Both queues with their poison queues, the table, and the queue that Event Grid fills."""
    queues = {each["name"].rpartition("/")[2] for each in of_type("plain", f"{STORAGE}/queueServices/queues")}
    both = {settings.EVENTS_QUEUE, settings.WAKES_QUEUE}
    assert queues == both | {name + settings.POISON for name in both}
    [table] = of_type("plain", f"{STORAGE}/tableServices/tables")
    assert table["name"].rpartition("/")[2] == settings.TABLE
    containers = {each["name"].rpartition("/")[2] for each in of_type("plain", f"{STORAGE}/blobServices/containers")}
    assert containers == {settings.UNDELIVERED, PACKAGE}
    for subscription in subscriptions("plain"):
        destination = subscription["deliveryWithResourceIdentity"]["destination"]["properties"]
        assert destination["queueName"] == settings.EVENTS_QUEUE


STORAGE = "Microsoft.Storage/storageAccounts"
PACKAGE = "package"
"""The container of the package: of the template alone, since no code of ours reads it."""


def test_a_signed_in_user_has_a_container_and_a_key_that_only_roles_open() -> None:
    """By the names of the code, and only for that identity; a deleted key can be recovered."""
    variant = "eventstream, operators, user"
    containers = {each["name"].rpartition("/")[2] for each in of_type(variant, f"{STORAGE}/blobServices/containers")}
    assert containers == {settings.UNDELIVERED, PACKAGE, settings.SIGN_IN_CONTAINER}
    [vault] = of_type(variant, "Microsoft.KeyVault/vaults")
    assert vault["properties"]["enableRbacAuthorization"] is True
    assert vault["properties"]["enableSoftDelete"] is True
    assert "accessPolicies" not in vault["properties"]
    [key] = of_type(variant, "Microsoft.KeyVault/vaults/keys")
    assert key["name"].rpartition("/")[2] == settings.SIGN_IN_KEY
    assert key["properties"]["kty"] == "RSA"
    assert "unwrapKey" in key["properties"]["keyOps"]
    assert app_settings(variant)["UNSTALE_CLIENT_ID"] == "c"
    for other in VARIANTS.keys() - {variant}:
        assert not of_type(other, "Microsoft.KeyVault/vaults")
        assert "UNSTALE_KEY_VAULT_URL" not in app_settings(other)


# --- Nothing without a token -----------------------------------------------------------------------------------------


KEYLESS = {"workload_create", "workload_get", "workload_cancel", "workload_item", "workload_payload"}
"""Fabric calls them, and has no key of ours: its tokens are judged instead."""
LIST = """
from functions_azure.app import app
for each in app.get_functions():
    for binding in each.get_bindings():
        print(each.get_function_name(), binding.get_dict_repr().get("authLevel"))
"""


@pytest.mark.parametrize(("workload", "keyless"), [(False, set()), (True, KEYLESS)])
def test_routes_without_a_key_are_those_that_judge_tokens(tmp_path: Path, workload: bool, keyless: set[str]) -> None:
    """All others need the function's key; without `[workload]` these are not there at all."""
    job = '[[workload.jobs]]\nitem_type = "I"\njob_type = "J"\ntarget = "sales"\n'
    (tmp_path / "unstale.toml").write_text(CONFIG + job * workload, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"UNSTALE_CONFIG": str(tmp_path / "unstale.toml"), "PYTHONPATH": str(ROOT)},
    )
    routes = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if "None" not in line}
    assert {name for name, level in routes.items() if not level.endswith("FUNCTION")} == keyless
    assert "refresh" in routes
    page = (ROOT / "functions_azure" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in keyless)


HUBS = "Microsoft.EventHub/namespaces"


def site_config(variant: str) -> dict[str, Any]:
    """What the site says of itself."""
    [site] = of_type(variant, "Microsoft.Web/sites")
    found: dict[str, Any] = site["properties"]["siteConfig"]
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_key_opens_anything_and_nothing_goes_without_tls(variant: str) -> None:
    """Shared keys and local authentication are off, nothing asks for a key; plain transport is refused everywhere."""
    [account] = of_type(variant, STORAGE)
    assert account["properties"]["allowSharedKeyAccess"] is False
    assert account["properties"]["allowBlobPublicAccess"] is False
    assert account["properties"]["supportsHttpsTrafficOnly"] is True
    assert account["properties"]["minimumTlsVersion"] == "TLS1_2"
    assert {each["properties"]["minimumTlsVersion"] for each in of_type(variant, HUBS)} <= {"1.2"}
    assert site_config(variant)["minTlsVersion"] == "1.2"
    containers = of_type(variant, f"{STORAGE}/blobServices/containers")
    assert {each["properties"]["publicAccess"] for each in containers} == {"None"}
    [site] = of_type(variant, "Microsoft.Web/sites")
    assert site["properties"]["httpsOnly"] is True
    workspaces = of_type(variant, "Microsoft.OperationalInsights/workspaces")
    assert all(each["properties"]["features"]["disableLocalAuth"] is True for each in workspaces)
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


ACCOUNT, DEAD_LETTERS = r"storageAccounts/\w+", r"containers/dead-letters"
BLOB_OWNER, BLOBS = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
QUEUES, SENDER = "974c5e8b-45b9-4653-ba55-5f855dd0fb88", "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"
TABLES, METRICS = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "3913510d-42f4-4e42-8a64-420c390055eb"
HUB_SENDER, HUB_RECEIVER = "2b629674-e913-4c01-ae53-ef4638d8f975", "a638d3c7-ab3a-418d-83e6-5f17a39d4fde"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
TOPIC_SENDER = "d5a91429-5739-47e2-a06b-3470a27159e7"
UNWRAPS, READS_KEYS = "e147488a-f6f5-4113-8e2d-b22465e65bf6", "21090545-7ca7-4776-b22c-e363652d74d2"
READS_BLOBS = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
SIGN_IN_KEY = rf"vaults/unstale\w+/keys/{settings.SIGN_IN_KEY}"

Grant = tuple[str, str, str]
APP: list[Grant] = [
    ("app", BLOB_OWNER, ACCOUNT),
    ("package", BLOBS, rf"containers/{PACKAGE}"),
    ("app", QUEUES, ACCOUNT),
    ("app", TABLES, ACCOUNT),
    ("app", METRICS, r"components/unstale"),
]
BURIES: list[Grant] = [(topic, BLOBS, DEAD_LETTERS) for topic in ("unstale-contosolake", "theirs")]
DELIVERS: list[Grant] = [(topic, SENDER, r"queues/unstale-events") for topic in ("unstale-contosolake", "theirs")]
HUB = r"namespaces/unstale-\w+/eventhubs/unstale-events"
STREAMS: list[Grant] = [(topic, HUB_SENDER, HUB) for topic in ("unstale-contosolake", "theirs")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_runs_cannot_replace_what_runs(variant: str) -> None:
    """The app's identity has every blob but those of the package; those belong to an identity of the platform's use."""
    [site] = of_type(variant, "Microsoft.Web/sites")
    storage = site["properties"]["functionAppConfig"]["deployment"]["storage"]
    assert storage["authentication"]["userAssignedIdentityResourceId"].endswith("/unstale-package")
    assert site["properties"]["keyVaultReferenceIdentity"].endswith("/unstale")
    assert "'unstale-package'" not in json.dumps(app_settings(variant))
    ours = [each for each in of_type(variant, ASSIGNMENTS) if who_has(each) == "app"]
    [owner] = [each["properties"] for each in ours if each["properties"]["roleDefinitionId"].endswith(BLOB_OWNER)]
    but = f"@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringNotEquals '{PACKAGE}'"
    assert but in owner["condition"]
    assert "!(ActionMatches{'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*'})" in owner["condition"]
    assert owner["conditionVersion"] == "2.0"


ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"


def test_a_key_of_ones_own_encrypts_blobs_queues_and_tables() -> None:
    """By one parameter, as an identity that has nothing else; without it the account has no identity at all."""
    [account] = of_type("own key, push, another cloud", STORAGE)
    encryption = account["properties"]["encryption"]
    assert encryption["keySource"] == "Microsoft.Keyvault"
    assert encryption["keyvaultproperties"]["keyname"] == "k"
    assert {name: each["keyType"] for name, each in encryption["services"].items()} == dict.fromkeys(
        ("blob", "queue", "table"), "Account"
    )
    assert account["identity"]["type"] == "UserAssigned"
    [plain] = of_type("plain", STORAGE)
    assert not plain["properties"].get("encryption")
    assert not plain.get("identity")


def test_the_vault_of_a_sign_in_is_as_closed_as_it_was_asked_to_be() -> None:
    """With a subnet or addresses nobody else reaches it, no trusted service either; the app calls by that subnet."""
    variant = "eventstream, operators, user"
    [vault] = of_type(variant, "Microsoft.KeyVault/vaults")
    rules = vault["properties"]["networkAcls"]
    assert (rules["defaultAction"], rules["bypass"]) == ("Deny", "None")
    assert rules["ipRules"] == [{"value": "203.0.113.7"}]
    [site] = of_type(variant, "Microsoft.Web/sites")
    assert rules["virtualNetworkRules"] == [{"id": site["properties"]["virtualNetworkSubnetId"]}]
    logs = [each for each in of_type(variant, "Microsoft.Insights/diagnosticSettings") if "vaults" in each["id"]]
    assert [log["category"] for each in logs for log in each["properties"]["logs"]] == ["AuditEvent"]
    [site] = of_type("plain", "Microsoft.Web/sites")
    assert not site["properties"].get("virtualNetworkSubnetId")


GRANTS = {
    "plain": APP + BURIES + DELIVERS,
    "own key, push, another cloud": [
        *APP,
        *BURIES,
        *DELIVERS,
        ("encryption", UNWRAPS, r"vaults/ours/keys/k"),
        ("o", READS_BLOBS, r"containers/page"),
        ("app", TOPIC_SENDER, r"topics/views"),
        ("app", SECRETS_USER, r"vaults/contoso/secrets/teams-webhook"),
    ],
    "event hub, secret": [
        *APP,
        *BURIES,
        *STREAMS,
        ("app", HUB_RECEIVER, r"namespaces/unstale-\w+"),
        ("app", SECRETS_USER, r"vaults/v/secrets/s"),
    ],
    "eventstream, operators, user": [
        *APP,
        *BURIES,
        *DELIVERS,
        ("o", TABLES, r"tables/unstale"),
        ("o", QUEUES, ACCOUNT),
        ("o", BLOBS, DEAD_LETTERS),
        ("app", UNWRAPS, SIGN_IN_KEY),
        ("o", READS_KEYS, SIGN_IN_KEY),
        ("o", BLOBS, rf"containers/{settings.SIGN_IN_CONTAINER}"),
    ],
}


def who_has(assignment: dict[str, Any]) -> str:
    """The app, a topic by its name, or the id itself."""
    principal = str(assignment["properties"]["principalId"])
    identity = re.search(r"userAssignedIdentities/unstale(?:-(package|encryption))?'", principal)
    if identity:
        return identity[1] or "app"
    topic = re.search(r"systemTopics/([\w-]+)'", principal)
    return topic[1] if topic else principal


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_role_is_for_its_principal_at_its_scope(variant: str) -> None:
    """These and no other: what the app, each topic and each operator needs, where it works; options bring theirs."""
    expected = list(GRANTS[variant])
    for each in of_type(variant, "Microsoft.Authorization/roleAssignments"):
        role = each["properties"]["roleDefinitionId"].rpartition("/")[2]
        scopes = [scope for who, what, scope in expected if (who, what) == (who_has(each), role)]
        scopes = [scope for scope in scopes if re.search(rf"/{scope}(', '|/providers/)Microsoft.Auth", each["id"])]
        assert scopes, each["id"]
        expected.remove((who_has(each), role, scopes[0]))
        kind = "Group" if who_has(each) == "o" else "ServicePrincipal"
        assert each["properties"]["principalType"] == kind
    assert not expected


def test_the_role_at_a_topic_is_assigned_where_the_topic_is() -> None:
    """In the topic's resource group; the vault's is that of the deployment, where no other is named."""
    ids = [each["id"] for each in of_type("own key, push, another cloud", ASSIGNMENTS)]
    [topic] = [each for each in ids if "topics/views" in each]
    [secret] = [each for each in ids if "secrets/teams-webhook" in each]
    assert "'events'" in topic or "/resourceGroups/events/" in topic
    assert "events" not in secret


def test_what_outcome_events_need_is_noted() -> None:
    """`unstale infra azure` says which topics and secrets are to be named, each once."""
    telling = '[[tell]]\nto = "eventgrid"\ntopic = "https://views.westeurope-1.eventgrid.azure.net/api/events"\n'
    secret = '[[tell]]\nto = "webhook"\nurl_secret = "https://contoso.vault.azure.net/secrets/teams"\n'
    text = (ROOT / "unstale.example.toml").read_text(encoding="utf-8").partition("[[tell]]")[0]
    notes = inputs(load(f"{text}\n{telling}{secret}"))[1]
    assert [note for note in notes if "views.westeurope-1" in note and "tellTopics" in note]
    assert [note for note in notes if "secrets/teams" in note and "tellSecrets" in note]
    assert not [note for note in inputs(load(text))[1] if "tell" in note]


def test_every_role_has_its_reason_above_it_in_one_file() -> None:
    """A comment stands above each assignment. Two are elsewhere: storage cannot be made before the one, the other is at
    topics and secrets of the user's.
    """
    for file in FOLDER.glob("*.bicep"):
        lines = file.read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines) if "roleAssignments@" in line]
        assert bool(found) == (file.name in {"roles.bicep", "encryption.bicep", "tell.bicep"})
        assert all(lines[number - 1].startswith("//") for number in found)


# --- Events ----------------------------------------------------------------------------------------------------------


def subscriptions(variant: str) -> list[dict[str, Any]]:
    """Their properties."""
    return [each["properties"] for each in of_type(variant, "Microsoft.EventGrid/systemTopics/eventSubscriptions")]


def test_subscriptions_deliver_by_identity_retry_for_a_day_and_keep_what_fails() -> None:
    """One for each filter; an account that has a topic gets no other one."""
    assert len(subscriptions("plain")) == 4
    [topic] = of_type("plain", "Microsoft.EventGrid/systemTopics")
    assert topic["identity"] == {"type": "SystemAssigned"}
    assert topic["properties"]["source"].endswith("/contosolake")
    for each in subscriptions("plain") + subscriptions("event hub, secret"):
        assert "destination" not in each
        queue = each["deliveryWithResourceIdentity"]["destination"]
        assert queue["endpointType"] == "EventHub" or queue["properties"]["queueMessageTimeToLiveInSeconds"] == -1
        assert each["deliveryWithResourceIdentity"]["identity"] == {"type": "SystemAssigned"}
        dead = each["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]
        names = {found["name"].rpartition("/")[2] for found in of_type("plain", f"{STORAGE}/blobServices/containers")}
        assert dead["blobContainerName"] in names
        assert each["retryPolicy"] == {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440}
    kinds = [
        kind.rpartition(".")[2] for each in subscriptions("plain") for kind in each["filter"]["includedEventTypes"]
    ]
    assert sorted(kinds) == sorted(["BlobCreated", "BlobRenamed", "DirectoryRenamed"] * 2)
    [hub] = of_type("event hub, secret", "Microsoft.EventHub/namespaces/eventhubs")
    for each in subscriptions("event hub, secret"):
        assert each["deliveryWithResourceIdentity"]["destination"]["properties"]["resourceId"] == hub["id"]


names_in_use = st.text("aB/.=% é\U0001f600", max_size=4)
blobs = st.builds(BlobCreated, st.just("a"), st.sampled_from(["c", "cc"]), names_in_use, names_in_use)


@playing(deadline=None)
@given(st.lists(blobs, min_size=1, max_size=4), st.data(), st.integers(1, 3), st.booleans())
def test_filters_let_through_every_event_that_a_target_names(
    sources: list[BlobCreated], data: st.DataObject, most: int, directory: bool
) -> None:
    """Whatever our own reading of an event would signal passes a filter: renamed directories, too, whose subject has no
    slash at its end, no suffix, and perhaps less than the prefix; and names of which Event Grid loses characters.
    """
    source = data.draw(st.sampled_from(sources))
    file = source.prefix + data.draw(names_in_use) + source.suffix
    path = data.draw(directories_about(source)) if directory else file
    subject = f"{SUBJECT}{source.container}/blobs/{path.replace(chr(0x1F600), chr(0xFFFD) * 2)}"
    url = f"https://a.blob.core.windows.net/{source.container}/{quote(path)}"
    kind = "Microsoft.Storage.DirectoryRenamed" if directory else "Microsoft.Storage.BlobCreated"
    event = {"type": kind, "source": "/storageAccounts/a", "subject": subject, "time": "2026-11-23T00:00:00Z"}
    message = read({**event, "id": "1", "specversion": "1.0", "data": {"api": "PutBlob", "url": url}}, NOW)
    if isinstance(message, Arrived) and signals(sources, message):
        filters = directories_for(sources, most) if directory else filters_for(sources, most)[0]
        assert len(filters) <= most
        assert any(passes_filter(each, subject) for each in filters)


def directories_about(source: BlobCreated) -> st.SearchStrategy[str]:
    """Names of directories: within the prefix, the prefix itself, or a parent of it."""
    within = st.builds(lambda name: f"{source.prefix}{name}".strip("/"), names_in_use)
    parts = source.prefix.strip("/").split("/")
    parents = st.integers(1, len(parts)).map(lambda number: "/".join(parts[:number]))
    return within | parents


def passes_filter(found: Filter, subject: str) -> bool:
    """Whether Event Grid lets a subject through; it pays no heed to case unless it is asked to."""
    folded = subject.lower()
    return folded.startswith(found.begins_with.lower()) and folded.endswith(found.ends_with.lower())


def signals(sources: list[BlobCreated], message: Arrived) -> bool:
    """Whether one of the sources means it."""
    [arrival] = message.arrivals
    assert isinstance(arrival, BlobArrived)
    lake = Target("lake", LakeViews("w", "l"), on=tuple(sources))
    return bool(targets_of(arrival, Configuration((lake,))))


def lakehouse(name: str, *sources: str) -> str:
    """A target with these sources, and a lakehouse of its own."""
    item = f"431e8d7b-4a95-4c02-8ccd-{zlib.crc32(name.encode()):012x}"
    head = f'[targets.{name}]\nkind = "fabric-lake-views"\nworkspace = "{WORKSPACE}"\nlakehouse = "{item}"\n'
    return f"{head}on = [{', '.join(sources)}]\n"


def blob(**fields: str) -> str:
    """A source in TOML."""
    named = ", ".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
    return f"{{ blob_created = {{ {named} }} }}"


ORDERS = blob(account="lake", container="silver", prefix="sales/orders/_delta_log/", suffix=".json")
ICEBERG = blob(account="lake", container="silver", prefix="sales/stock/metadata/", suffix=".metadata.json")
COMMIT_FILES = lakehouse("sales", ORDERS, ICEBERG) + lakehouse("stock", ORDERS)
TOO_MANY = "".join(
    lakehouse(f"t{number}", blob(account="big", container=f"raw{number % 7}", prefix=f"t{number}/", suffix=".parquet"))
    for number in range(MOST_FILTERS + 20)
)


@pytest.mark.parametrize("name", ["the example", "commit files, and more sources than filters"])
def test_the_deployed_subscriptions_let_through_what_targets_name(name: str) -> None:
    """From file to resource: an event of every source passes a subscription of its own account's topic, and is a signal
    to our reader. What a target writes (OneLake) has no topic, and nothing of our own storage has one.
    """
    text = (ROOT / "unstale.example.toml").read_text(encoding="utf-8")
    found: tuple[dict[str, Any], ...]
    if name == "the example":
        found = tuple(json.loads((FOLDER / "main.snapshot.json").read_text(encoding="utf-8"))["predictedResources"])
    else:
        text = COMMIT_FILES + TOO_MANY
        found = deployed(text, "")
    topics = {each["properties"]["source"] for each in found if each["type"] == "Microsoft.EventGrid/systemTopics"}
    sources = [each for target in load(text).targets for each in target.on if isinstance(each, BlobCreated)]
    assert {topic.rpartition("/")[2] for topic in topics} == {source.account for source in sources}
    for source in sources:
        path = f"{source.prefix}x{source.suffix}"
        subject = f"{SUBJECT}{source.container}/blobs/{path}"
        url = f"https://{source.account}.blob.core.windows.net/{source.container}/{quote(path)}"
        event = {"id": "1", "type": "Microsoft.Storage.BlobCreated", "source": f"/storageAccounts/{source.account}"}
        rest = {"specversion": "1.0", "time": "2026-11-23T00:00:00Z", "data": {"api": "PutBlob", "url": url}}
        message = read({**event, **rest, "subject": subject}, NOW)
        assert isinstance(message, Arrived)
        assert signals([source], message)
        assert any(passes(each, source.account, event["type"], subject) for each in found), path
        elsewhere = f"{SUBJECT}elsewhere/blobs/{path}"
        assert not any(passes(each, source.account, event["type"], elsewhere) for each in found)
        renamed = "Microsoft.Storage.DirectoryRenamed"
        for directory in (f"{source.prefix}x", source.prefix.rstrip("/"), source.prefix.partition("/")[0]):
            there = f"{SUBJECT}{source.container}/blobs/{directory}"
            assert any(passes(each, source.account, renamed, there) for each in found), directory


def test_what_lands_in_onelake_needs_no_topic() -> None:
    """It comes through an eventstream, and the command says so."""
    source = f'{{ onelake_changed = {{ workspace = "{WORKSPACE}", item = "{SALES}", path = "Tables/dbo/customers" }} }}'
    parameters, notes = inputs(load(lakehouse("sales", source)))
    assert parameters == {"sources": []}
    assert any("eventstream" in note for note in notes)


def passes(resource: dict[str, Any], account: str, kind: str, subject: str) -> bool:
    """Whether a resource is a subscription of this account's topic that lets such an event through."""
    if resource["type"] != "Microsoft.EventGrid/systemTopics/eventSubscriptions":
        return False
    wanted = resource["properties"]["filter"]
    found = Filter(wanted["subjectBeginsWith"], wanted["subjectEndsWith"])
    assert wanted["isSubjectCaseSensitive"] is False
    of_the_account = f"/systemTopics/unstale-{account}/" in resource["id"]
    return of_the_account and kind in wanted["includedEventTypes"] and passes_filter(found, subject)


def test_push_delivers_the_same_events_to_the_function_that_takes_them() -> None:
    """Deployed after publishing, beside the queue: it names a function that the app has, and the queue's kinds."""
    template = built("push.bicep")
    [push] = [each for each in template["resources"].values() if "eventSubscriptions" in each["type"]]
    [ours, *_] = subscriptions("plain")
    assert push["properties"]["filter"]["isSubjectCaseSensitive"] is ours["filter"]["isSubjectCaseSensitive"]
    kinds = {tuple(each["filter"]["includedEventTypes"]) for each in subscriptions("plain")}
    listed = re.findall(r"createArray\('(Microsoft\.Storage[^)]*)'\)", json.dumps(template))
    assert {tuple(each.split("', '")) for each in listed} == kinds
    for part in ("retryPolicy", "eventDeliverySchema"):
        assert push["properties"][part] == ours[part]
    assert push["properties"]["deadLetterWithResourceIdentity"]["identity"] == {"type": "SystemAssigned"}
    destination = push["properties"]["destination"]["properties"]
    assert destination["maxEventsPerBatch"] == 1
    [named] = re.findall(r"'([a-z_]+)'\)\]$", destination["resourceId"])
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"UNSTALE_PUSH": app_settings("own key, push, another cloud")["UNSTALE_PUSH"], "PYTHONPATH": str(ROOT)},
    )
    assert named in {line.split()[0] for line in done.stdout.splitlines()}
    assert "UNSTALE_PUSH" not in app_settings("plain")
    assert named not in function_names()


# --- The pages ------------------------------------------------------------------------------------------------------


def typed(page: Path) -> list[str]:
    """What a reader of the page types, in order."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line[2:].partition("#")[0].strip() for block in blocks for line in block.splitlines() if line[:2] == "$ "]


def first(lines: list[str], begin: str) -> int:
    """Where the first line begins like this."""
    return next(number for number, line in enumerate(lines) if line.startswith(begin))


def test_what_the_page_has_one_type_works_in_that_order() -> None:
    """The group is there before it is deployed into, the package before it is published; `unstale` is on the PATH and
    its user an operator before the first command that needs either. Each command is one that there is.
    """
    lines = typed(PAGE)
    steps = ("az login", "az group create", "make package-azure", "az deployment group create", "az functionapp deploy")
    assert [first(lines, step) for step in steps] == sorted(first(lines, step) for step in steps)
    assert first(lines, "make env") < first(lines, 'export PATH="$PWD/.venv/bin:$PATH"') < first(lines, "unstale")
    assert first(lines, "az functionapp deploy") < first(lines, "export UNSTALE_STACK=") < first(lines, "unstale check")
    text = PAGE.read_text(encoding="utf-8")
    assert text.index("param operators =") < text.index("$ az deployment group create")
    outputs = built("main.bicep")["outputs"]
    assert set(re.findall(r"properties\.outputs\.(\w+)\.value", text)) <= outputs.keys()
    for command in {
        line.split()[1] for page in (PAGE, FABRIC_PAGE) for line in typed(page) if line.startswith("unstale ")
    }:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0, command


def test_every_parameter_is_on_the_page() -> None:
    """What can be chosen is said, with what it is for."""
    text = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"^param (\w+)", (FOLDER / "main.bicep").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(names) > 15
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_page_of_onelake_says_where_the_three_names_are_read() -> None:
    """The parameter `stream` as it stands there compiles, but for what only Fabric shows."""
    block = re.search(r"```bicep\n(param stream = .*?)```", FABRIC_PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert block
    with TemporaryDirectory() as made:
        shutil.copytree(FOLDER, Path(made) / "azure")
        file = Path(made) / "azure" / "page.bicepparam"
        file.write_text("using 'main.bicep'\nparam sources = []\n" + block[1], encoding="utf-8")
        parameters = json.loads(json.loads(bicep("build-params", file, "--stdout"))["parametersJson"])["parameters"]
    assert parameters["stream"]["value"].keys() == {"kind", "fullyQualifiedNamespace", "eventHub", "consumerGroup"}


def test_the_picture_sends_onelake_through_an_eventstream() -> None:
    """Event Grid is told nothing of it."""
    picture = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    [line] = [line for line in picture.splitlines() if "OneLake" in line]
    assert "eventstream" in line
    assert "Event Grid" not in line


# --- Several environments --------------------------------------------------------------------------------------------

SHARED = {"Microsoft.EventGrid/systemTopics"}
"""What two environments that listen to one account deploy both, the same to the letter."""


@pytest.mark.parametrize(
    ("name", "group"),
    [("unstale", "prod"), ("staging", "unstale")],
    ids=["one name, two groups", "two names, one group"],
)
def test_environments_live_side_by_side(name: str, group: str) -> None:
    """In one subscription, listening to the same accounts: nothing of one overwrites anything of the other, and what
    all of Azure shares (the app's name, the storage account's) is another one.
    """
    first = {each["id"]: each for each in resources("plain")}
    second = {each["id"]: each for each in deployed(CONFIG, f"param name = '{name}'\n{PLACED}", group)}
    assert len(first) == len(second)
    both = first.keys() & second.keys()
    assert {first[each]["type"] for each in both} == SHARED
    assert [first[each] for each in both] == [second[each] for each in both]
    for kind in ("Microsoft.Web/sites", STORAGE):
        names = {each["name"] for found in (first, second) for each in found.values() if each["type"] == kind}
        assert len(names) == 2


def test_filters_name_container_prefix_and_suffix_and_no_two_pass_the_same_event() -> None:
    """As exact as Event Grid can be, and one delivery an event where one filter covers another."""
    found = filters_for([BlobCreated("a", "c", "x/y/", ".p"), BlobCreated("a", "c", "x/", ".p")])
    assert found == ((Filter(f"{SUBJECT}c/blobs/x/", ".p"),), "")


def test_directories_pass_by_container_whatever_prefix_and_suffix_say() -> None:
    """A renamed parent is shorter than the prefix, and no directory ends in a suffix; one filter a container."""
    blobs = [BlobCreated("a", "c", "x/y/", ".p"), BlobCreated("a", "c", "z/"), BlobCreated("a", "d")]
    assert directories_for(blobs) == (Filter(f"{SUBJECT}c/blobs/"), Filter(f"{SUBJECT}d/blobs/"))
    assert directories_for(blobs, most=1) == (Filter(SUBJECT),)


# --- The command -----------------------------------------------------------------------------------------------------


def test_infra_writes_what_the_parameter_file_reads(tmp_path: Path) -> None:
    """One file an environment; the committed one is of the example configuration."""
    infra.azure(ROOT / "unstale.example.toml", as_json=True, write=True, folder=tmp_path)
    infra.azure(ROOT / "unstale.example.toml", as_json=True, write=True, environment="staging", folder=tmp_path)
    made = {"default.json", "main.bicepparam", "staging.json", "staging.bicepparam"}
    assert {file.name for file in tmp_path.iterdir()} == made
    assert (tmp_path / "default.json").read_bytes() == (FOLDER / "default.example.json").read_bytes()


def test_an_environment_gets_a_parameter_file_that_is_then_its_own(tmp_path: Path) -> None:
    """Made once, it compiles, with a name that no other environment has; what is written into it stays."""
    shutil.copytree(FOLDER, tmp_path / "azure")
    own = tmp_path / "azure" / "Acceptance-test.bicepparam"
    for _ in range(2):
        infra.azure(
            ROOT / "unstale.example.toml",
            as_json=True,
            write=True,
            environment="Acceptance-test",
            folder=tmp_path / "azure",
        )
        assert "param name = 'unstale-acceptance-t'" in own.read_text(encoding="utf-8")
        assert bicep("format", own, "--stdout") == own.read_text(encoding="utf-8")
        own.write_text(own.read_text(encoding="utf-8").replace("alertEmail = ''", "alertEmail = 'a@b.c'"))
    text = json.loads(bicep("build-params", own, "--stdout"))["parametersJson"]
    assert json.loads(text)["parameters"]["alertEmail"]["value"] == "a@b.c"


def test_infra_says_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No target on Azure, or a name that is a path: wrong usage."""
    config = tmp_path / "unstale.toml"
    config.write_text(
        '[targets.a]\nkind = "glue-view"\ncatalog_id = "123456789012"\ndatabase = "d"\ntable = "t"\n', encoding="utf-8"
    )
    assert main(["infra", "azure", "--config", str(config)]) == 2
    assert "no target is on Azure" in capsys.readouterr().err
    for name in ("../x", "bicepconfig"):
        assert main(["infra", "azure", "--config", str(ROOT / "unstale.example.toml"), "--environment", name]) == 2


# --- The package -----------------------------------------------------------------------------------------------------


def test_the_package_carries_what_the_tests_run() -> None:
    """What the package's lock names, the developers' lock names in the same version, the worker's library included."""
    dev = dict(pins(ROOT / "requirements" / "dev.txt"))
    text = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    carried = dict(pins(packaging.LOCK))
    assert "azure-functions-runtime" in carried
    several = re.findall(r"^azure-functions==([\w.]+) ; python_full_version >= '3.13'", text, flags=re.MULTILINE)
    assert [carried.pop("azure-functions")] == several
    assert {name: dev[name] for name in carried} == carried


@pytest.mark.parametrize(("variant", "most"), [("plain", 1), ("own key, push, another cloud", 3)])
def test_the_log_has_a_cap_and_an_alert_says_when_it_is_reached(variant: str, most: int) -> None:
    """Whoever calls the app's address writes lines: the cap is what they can make it cost. The page reckons it."""
    [workspace] = of_type(variant, "Microsoft.OperationalInsights/workspaces")
    assert workspace["properties"]["workspaceCapping"] == {"dailyQuotaGb": most}
    [alert] = [each["properties"] for each in of_type(variant, RULES) if each["name"].endswith("-LogCapReached")]
    assert f"its {most} GB of the day" in alert["description"]
    assert "OverQuota" in alert["criteria"]["allOf"][0]["query"]
    assert "`logDailyCapGb`" in PAGE.read_text(encoding="utf-8")


def test_the_page_reckons_the_cap_rightly() -> None:
    """Each sum of its table is what a line, the lines of a day and the price of a gigabyte make, to two places."""
    text = PAGE.read_text(encoding="utf-8")
    [section] = re.findall(r"\*\*The log's cap\.\*\*.*?(?=\n## )", text, flags=re.DOTALL)
    gigabyte, free = numbers(text, r"\$([\d.]+) a GB, (\d+) GB of a month free \(monitoringcost")
    [line] = numbers(section, r"Reckoned with ([\d.]+) kB a line")
    ticks, megabytes = numbers(section, r"ticks alone, ([\d,]+) lines \| (\d+) MB")
    assert ticks == 24 * 60
    assert near(megabytes, ticks * line / 1e3)
    events, megabytes = numbers(section, r"\| ([\d,]+) events by the queue: put, .* \| (\d+) MB")
    assert near(megabytes, events * LINES_OF_AN_EVENT * line / 1e3)
    events, cap = numbers(section, r"\| ([\d,]+) events by the queue \| (\d+) GB")
    assert near(cap, events * LINES_OF_AN_EVENT * line / 1e6)
    calls, gigabytes, dollars, capped = numbers(
        section, r"\| ([\d,]+) calls a second by a stranger \| (\d+) GB, \$(\d+); with the cap 1 GB, \$([\d.]+)"
    )
    assert near(gigabytes, calls * 86_400 * line / 1e6)
    assert near(dollars, gigabytes * gigabyte)
    assert capped == cap * gigabyte
    minutes = cap * 1e6 / line / calls / 60
    assert f"after {NUMBER_WORDS[math.ceil(minutes)]} minutes" in section
    month, of_them, most = numbers(section, r"A month at the cap is (\d+) GB, of which (\d+) are free: \$(\d+) at most")
    assert (month, of_them) == (31 * cap, free)
    assert near(most, (month - free) * gigabyte)


LINES_OF_AN_EVENT = 4
"""As the page says: put, deleted, one request, one line of ours."""
NUMBER_WORDS = {11: "eleven", 12: "twelve", 13: "thirteen"}


def numbers(text: str, pattern: str) -> list[float]:
    """The numbers in the one place that fits."""
    [found] = re.findall(pattern, text)
    return [float(each.replace(",", "")) for each in ([found] if isinstance(found, str) else found)]


def near(said: float, reckoned: float) -> bool:
    """Whether a rounded sum is the one that it stands for: within a tenth."""
    return abs(said - reckoned) <= reckoned / 10


# --- Alerts ----------------------------------------------------------------------------------------------------------


def test_every_alert_tells_somebody_what_it_means_and_what_to_do() -> None:
    """All go to the action group; each names a command or the log, and stands on the page."""
    rules = of_type("event hub, secret", "Microsoft.Insights/scheduledQueryRules")
    metrics = of_type("event hub, secret", "Microsoft.Insights/metricAlerts")
    readme = PAGE.read_text(encoding="utf-8")
    names = {each["name"].rpartition("-")[2] for each in [*rules, *metrics]}
    assert names == {
        "DeadLetteredCount",
        "DroppedEventCount",
        "EventsNotRead",
        "EventsNotTaken",
        "FunctionFailures",
        "LogCapReached",
        "TargetHeld",
        "TargetLate",
        "TickMissing",
        "UnreadableEvents",
        "UnreadableWakes",
    }
    assert all(f"`{name}`" in readme for name in names)
    for alert in [*rules, *metrics]:
        assert re.search("unstale (status|redrive|check|refresh)", alert["properties"]["description"])
        actions = json.dumps(alert["properties"]["actions"])
        assert "actionGroups/unstale" in actions or "outputs.actionGroupId" in actions


@pytest.mark.parametrize("name", ["TargetLate", "TargetHeld"])
def test_a_mail_about_a_view_names_it(name: str) -> None:
    """Which, since when, why and what to type: dimensions of the alert, so they stand in the mail."""
    [rule] = [each["properties"] for each in of_type("plain", RULES) if each["name"] == f"unstale-{name}"]
    [criterion] = rule["criteria"]["allOf"]
    columns = [each["name"] for each in criterion["dimensions"]]
    assert columns == ["Target", "Since", "Why", "Do"]
    assert all((each["operator"], each["values"]) == ("Include", ["*"]) for each in criterion["dimensions"])
    shown = criterion["query"].rpartition("| project\n")[2]
    assert re.findall(r"^ +(\w+)(?: =|,|$)", shown, flags=re.MULTILINE) == columns
    [typed_by_whoever_reads] = re.findall(r'Do = strcat\("([^"]*) ", Target\)', shown)
    assert all(part.partition("unstale ")[2].split()[0] in COMMANDS for part in typed_by_whoever_reads.split(";"))


COMMANDS = {"status", "history", "resume"}
"""What a mail may tell people to type; each is one that there is."""


def test_what_mails_say_can_be_typed() -> None:
    """By the command's own help."""
    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0


def test_every_topic_that_delivers_to_us_has_its_alerts() -> None:
    """One that was there before, too: what could not be delivered, and what was dropped."""
    topics = {each["id"].partition("/eventSubscriptions/")[0] for each in of_type("plain", SUBSCRIPTIONS)}
    alerts = [each["properties"] for each in of_type("plain", "Microsoft.Insights/metricAlerts")]
    watched = {(alert["scopes"][0], alert["criteria"]["allOf"][0]["metricName"]) for alert in alerts}
    assert watched == {(topic, name) for topic in topics for name in ("DeadLetteredCount", "DroppedEventCount")}


SUBSCRIPTIONS = "Microsoft.EventGrid/systemTopics/eventSubscriptions"


def test_alerts_and_workbook_read_what_the_code_writes() -> None:
    """Queries name functions, queues and fields of lines; a name that the code no longer has would be an alert that is
    never raised.
    """
    texts = [each["properties"]["criteria"]["allOf"][0]["query"] for each in of_type("plain", RULES)]
    texts += [file.read_text(encoding="utf-8") for file in (FOLDER / "queries").glob("*.kql")]
    fields = {name for text in texts for name in re.findall(r"line\.detail\.(\w+)", text)}
    engine = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "shared" / "refresh").glob("*.py"))
    assert {"late", "held", "owed_age_seconds", "objective_seconds", "source_ahead_seconds"} <= fields
    assert set(telemetry.LOOKS.values()) <= fields
    assert all(f'"{name}"' in engine for name in fields - set(telemetry.LOOKS.values()))
    looking = (ROOT / "shared" / "sources" / "looking.py").read_text(encoding="utf-8")
    assert all(f'"{outcome}"' in looking for outcome in telemetry.LOOKS)
    assert any('Name == "tick"' in text for text in texts)
    poison = {name + settings.POISON for name in (settings.EVENTS_QUEUE, settings.WAKES_QUEUE)}
    assert all(any(f'"/{queue}/"' in text for text in texts) for queue in {settings.EVENTS_QUEUE} | poison)
    for rule in of_type("plain", RULES):
        minutes = {"PT10M": 10, "PT15M": 15, "P1D": 1440, "P2D": 2880}[rule["properties"]["windowSize"]]
        assert minutes >= 10
        assert rule["properties"]["evaluationFrequency"] == "PT5M"


RULES = "Microsoft.Insights/scheduledQueryRules"
