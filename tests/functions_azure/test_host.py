"""What the host would look at, and no Python code checks: names, routes, bindings, `host.json`; and the settings.

With a mistake in one function the host turns that function off and goes on without a word; with one in `host.json`, or
in two names that differ in case, it turns everything off (seen with host 4.1037).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from cronsim import CronSim, CronSimError

from functions_azure import settings
from functions_azure.settings import EVENTS, POISON, STORAGE, EventHub, Settings, SettingsError
from shared.endpoints import refusal

ROOT = Path(__file__).parents[2]
HOST = json.loads((ROOT / "functions_azure/host.json").read_text(encoding="utf-8"))
README = (ROOT / "functions_azure/README.md").read_text(encoding="utf-8")

INDEX = """
import json
from functions_azure.function_app import app
print(json.dumps([
    {
        "name": each.get_function_name(),
        "retry": each.get_settings_dict("retry_policy"),
        "bindings": [json.loads(json.dumps(binding.get_dict_repr(), default=str)) for binding in each.get_bindings()],
    }
    for each in app.get_functions()
]))
"""

Function = Mapping[str, Any]
Rule = Callable[[list[Function]], list[str]]


@pytest.fixture(name="functions", scope="module")
def indexed_functions() -> list[Function]:
    """All functions with their bindings, as the worker tells the host of them; with an event hub."""
    environment = {"PYTHONPATH": str(ROOT), "UNSTALE_EVENTS": "x", "UNSTALE_PUSH": "true"}
    run = subprocess.run([sys.executable, "-c", INDEX], capture_output=True, text=True, check=True, env=environment)
    found: list[Function] = json.loads(run.stdout)
    return found


# --- The host's rules, each as a function from functions to what is wrong --------------------------------------------


def trigger(function: Function) -> Mapping[str, Any]:
    """The one binding that starts it."""
    [found] = [binding for binding in function["bindings"] if "Trigger" in binding["type"]]
    assert isinstance(found, dict)
    return found


def bad_names(functions: list[Function]) -> list[str]:
    """Letters, digits, `-` and `_`, a letter first; unique whatever the case (host, `Utility.IsValidFunctionName`)."""
    names = [function["name"] for function in functions]
    folded = [name.lower() for name in names]
    return [
        name
        for name in names
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,127}", name) or folded.count(name.lower()) > 1
    ]


def bad_queues(functions: list[Function]) -> list[str]:
    """3 to 63 of lower-case letters, digits and single dashes, with the host's suffix for the poison queue, too."""
    names = [queue for each in functions if (queue := trigger(each).get("queueName")) is not None]
    valid = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*")
    return [name for name in names if not (valid.fullmatch(name) and valid.fullmatch(name + POISON))]


def bad_schedules(functions: list[Function]) -> list[str]:
    """Six fields, seconds first (NCRONTAB); five would be read as well, and mean something else."""
    return [
        schedule
        for each in functions
        if (schedule := trigger(each).get("schedule")) is not None and not _is_ncrontab(schedule)
    ]


def _is_ncrontab(schedule: str) -> bool:
    seconds, _, rest = schedule.partition(" ")
    try:
        CronSim(rest, datetime(2026, 1, 1))  # noqa: DTZ001 - cron has no zone
    except CronSimError:
        return False
    return len(schedule.split()) == 6 and re.fullmatch(r"\d|[1-5]\d", seconds) is not None


def bad_connections(functions: list[Function]) -> list[str]:
    """A connection's name is that of a setting, not its value; these two are those that a template sets."""
    named = [connection for each in functions if (connection := trigger(each).get("connection")) is not None]
    return [name for name in named if name not in {STORAGE, EVENTS}]


def bad_routes(functions: list[Function]) -> list[str]:
    """A relative path of plain words and `{parameters}`, none of the host's own."""
    routes = [route for each in functions if (route := trigger(each).get("route")) is not None]
    word = r"(?:[a-z][a-z0-9-]*|\{[a-z][A-Za-z0-9]*\})"
    return [
        route
        for route in routes
        if not re.fullmatch(rf"{word}(?:/{word})*", route) or route.startswith(("admin", "runtime"))
    ]


def retried(functions: list[Function]) -> list[str]:
    """A retry policy multiplies with the queue's own, and the host wants to do without them."""
    return [each["name"] for each in functions if each["retry"]]


RULES = [bad_names, bad_queues, bad_schedules, bad_connections, bad_routes, retried]


@pytest.mark.parametrize("rule", RULES)
def test_the_host_finds_nothing_to_turn_off(functions: list[Function], rule: Rule) -> None:
    """Every function would run."""
    assert rule(functions) == []


def spoiled(name: str = "f", *, retry: object = None, **binding: object) -> list[Function]:
    """Functions with one mistake."""
    return [{"name": name, "retry": retry, "bindings": [{"type": "aTrigger", **binding}]}]


@pytest.mark.parametrize(
    ("rule", "functions"),
    [
        (bad_names, spoiled("1st")),
        (bad_names, [*spoiled("tick"), *spoiled("Tick")]),
        (bad_queues, spoiled(queueName="Unstale")),
        (bad_queues, spoiled(queueName="a--b")),
        (bad_queues, spoiled(queueName="q" * 60)),
        (bad_schedules, spoiled(schedule="banana")),
        (bad_schedules, spoiled(schedule="* * * * *")),
        (bad_schedules, spoiled(schedule="60 * * * * *")),
        (bad_schedules, spoiled(schedule="0 61 * * * *")),
        (bad_connections, spoiled(connection="AccountName=a;AccountKey=b")),
        (bad_routes, spoiled(route="/refresh")),
        (bad_routes, spoiled(route="admin/refresh")),
        (bad_routes, spoiled(route="refresh/{target")),
        (retried, spoiled(retry={"max_retry_count": "3"})),
    ],
)
def test_the_rules_find_mistakes(rule: Rule, functions: list[Function]) -> None:
    """A rule that finds nothing would prove nothing."""
    assert rule(functions)


def test_each_way_in_is_what_the_design_says(functions: list[Function]) -> None:
    """By trigger; the keys of HTTP and the whole batches of the event hub, too."""
    triggers = {each["name"]: trigger(each) for each in functions}
    assert {name: each["type"] for name, each in triggers.items()} == {
        "events": "queueTrigger",
        "wakes": "queueTrigger",
        "event_grid": "eventGridTrigger",
        "tick": "timerTrigger",
        "refresh": "httpTrigger",
        "stream": "eventHubTrigger",
    }
    assert triggers["refresh"]["authLevel"].endswith("FUNCTION")
    assert re.findall("GET|POST|PUT|DELETE", str(triggers["refresh"]["methods"])) == ["POST"]
    assert triggers["stream"]["cardinality"].endswith("MANY")
    assert triggers["tick"]["schedule"] == "0 * * * * *"


# --- host.json -------------------------------------------------------------------------------------------------------


def span(text: str) -> timedelta:
    """`hh:mm:ss`."""
    hours, minutes, seconds = map(int, text.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def queue_mistakes(queues: Mapping[str, Any]) -> list[str]:
    """The ranges of `QueuesOptions` (azure-sdk-for-net); out of them the host does not start."""
    ranges = {
        "batchSize": 1 <= queues["batchSize"] <= 32,
        "newBatchThreshold": queues["newBatchThreshold"] >= 0,
        "maxDequeueCount": 1 <= queues["maxDequeueCount"] < 2**31,
        "maxPollingInterval": span(queues["maxPollingInterval"]) >= timedelta(milliseconds=100),
        "visibilityTimeout": timedelta(0) <= span(queues["visibilityTimeout"]) <= timedelta(days=7),
        "messageEncoding": queues["messageEncoding"] in {"none", "base64"},
    }
    return [name for name in (*ranges, *queues) if not ranges.get(name)]


def test_host_json_is_within_its_ranges() -> None:
    """Those of the storage and the event hub extension; and nothing in it is a name that no one reads."""
    assert queue_mistakes(HOST["extensions"]["queues"]) == []
    hubs = HOST["extensions"]["eventHubs"]
    assert 1 <= hubs["maxEventBatchSize"] <= hubs["prefetchCount"]
    assert hubs["batchCheckpointFrequency"] == 1
    assert HOST["version"] == "2.0"
    assert HOST["functionTimeout"] == "-1"
    assert HOST["extensionBundle"]["version"] == "[4.*, 5.0.0)"
    assert HOST["extensions"].keys() == {"http", "queues", "eventHubs"}
    assert HOST.keys() == {"version", "functionTimeout", "extensionBundle", "extensions", "logging"}


@pytest.mark.parametrize(
    "change", [{"batchSize": 33}, {"maxDequeueCount": 0}, {"maxPollingInterval": "00:00:00"}, {"visibiltyTimeout": "1"}]
)
def test_the_ranges_are_looked_at(change: dict[str, Any]) -> None:
    """A value outside, or a name that nobody knows, is found."""
    assert queue_mistakes(HOST["extensions"]["queues"] | change)


def test_a_day_of_trouble_poisons_nothing() -> None:
    """A message that comes back for 24 hours, as soon as it may each time, stays below what the host gives up at."""
    queues = HOST["extensions"]["queues"]
    assert queues["maxDequeueCount"] * span(queues["visibilityTimeout"]) >= timedelta(hours=24)
    assert span(queues["visibilityTimeout"]) >= timedelta(seconds=30)


def test_plain_text_is_not_poison() -> None:
    """With base64 the host throws our own messages away before the code is asked."""
    assert HOST["extensions"]["queues"]["messageEncoding"] == "none"


def test_the_host_leaves_to_a_call_what_comes_while_that_goes_on() -> None:
    """It polls again when no call goes on: else it would call once for each message, and nothing be taken along."""
    assert HOST["extensions"]["queues"]["newBatchThreshold"] == 0


def test_a_wake_is_not_late() -> None:
    """A queue that lay idle is looked at every few seconds (G4: plus one wake)."""
    assert span(HOST["extensions"]["queues"]["maxPollingInterval"]) <= timedelta(seconds=5)


def test_no_line_is_sampled() -> None:
    """Alarms read them, at the level at which they are written."""
    assert HOST["logging"]["applicationInsights"]["samplingSettings"]["isEnabled"] is False
    assert HOST["logging"]["logLevel"]["Function"] == "Information"
    assert "retry" not in HOST


def test_each_value_has_its_reason() -> None:
    """The README gives it, with the number; one that changes in one place only is found."""
    table = README.partition("## host.json")[2].partition("## Logs")[0]
    values = {**HOST["extensions"]["queues"], **HOST["extensions"]["eventHubs"]}
    for name, value in values.items():
        assert f"`{name}`" in table
        if isinstance(value, int):
            assert f"`{name}` {value}" in table


# --- Settings --------------------------------------------------------------------------------------------------------

BARE = {"UNSTALE_STORAGE": "AccountName=a;AccountKey=planted-key-of-a"}
BY_IDENTITY = {
    "UNSTALE_STORAGE__tableServiceUri": "https://a.table.core.windows.net/",
    "UNSTALE_STORAGE__queueServiceUri": "https://a.queue.core.windows.net",
    "UNSTALE_STORAGE__clientId": "c",
}


def test_defaults_are_those_of_the_design() -> None:
    """With nothing but storage: Fabric's public address, no authority, the file at the root of the package."""
    found = settings.read(BARE)
    assert found == Settings(config=ROOT / "unstale.toml", storage=BARE["UNSTALE_STORAGE"])
    assert found.fabric_url == "https://api.fabric.microsoft.com/v1"


def test_storage_is_found_by_identity() -> None:
    """Endpoints, that of blobs if there is one, and the identity's client id; a connection string goes before them."""
    found = settings.read(BY_IDENTITY)
    assert (found.storage, found.storage_client_id) == ("", "c")
    assert (found.table_url, found.queue_url) == (
        "https://a.table.core.windows.net",
        "https://a.queue.core.windows.net",
    )
    assert settings.read(BARE | BY_IDENTITY).table_url == ""
    assert found.blob_url == ""
    blobs = {"UNSTALE_STORAGE__blobServiceUri": "https://a.blob.core.windows.net/"}
    assert settings.read(BY_IDENTITY | blobs).blob_url == "https://a.blob.core.windows.net"
    assert settings.read(BARE | blobs).blob_url == ""


def test_the_authority_follows_from_the_tenant() -> None:
    """Unless it is named: another cloud, or loopback."""
    assert settings.read(BARE | {"UNSTALE_TENANT_ID": "t"}).authority == "https://login.microsoftonline.com/t"
    named = BARE | {"UNSTALE_TENANT_ID": "t", "UNSTALE_AUTHORITY": "https://login.microsoftonline.us/t"}
    assert settings.read(named).authority == "https://login.microsoftonline.us/t"


@pytest.mark.parametrize("missing", ["UNSTALE_STORAGE__tableServiceUri", "UNSTALE_STORAGE__queueServiceUri"])
def test_missing_storage_is_refused(missing: str) -> None:
    """By the name of the variable."""
    with pytest.raises(SettingsError, match=missing):
        settings.read({name: value for name, value in BY_IDENTITY.items() if name != missing})


@pytest.mark.parametrize(
    "value", ["contosostate", "https://contosostate.table.core.windows.net", "AccountName=a;planted"]
)
def test_storage_that_is_no_connection_string_is_refused(value: str) -> None:
    """By the name of the variable, before the SDK does so with a traceback; it may be a key, so it is not shown."""
    with pytest.raises(SettingsError, match=r"^UNSTALE_STORAGE is no connection string") as refused:
        settings.read({"UNSTALE_STORAGE": value})
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "UNSTALE_FABRIC_URL",
        "UNSTALE_AUTHORITY",
        "UNSTALE_STORAGE__tableServiceUri",
        "UNSTALE_STORAGE__queueServiceUri",
        "UNSTALE_STORAGE__blobServiceUri",
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "http://api.fabric.microsoft.com/v1",
        "http://127.0.0.1.example.com",
        "ftp://127.0.0.1",
        "api.fabric.microsoft.com",
        "https://",
        "https://user:planted@host/v1",
        "https://:planted@host",
        "http://[::1",
        "https://host:port",
        "https://host/v1?sig=planted",
    ],
)
def test_an_address_that_a_token_must_not_go_to_is_refused(name: str, url: str) -> None:
    """Without TLS only this machine is good enough; and nothing of the value is repeated but the host."""
    with pytest.raises(SettingsError, match=name) as caught:
        settings.read(BY_IDENTITY | {name: url})
    assert str(caught.value) == f"{name} {refusal(url)}", "the words of both clouds"
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000/v1", "http://localhost:5000", "http://[::1]:1/v1"])
def test_loopback_may_be_plain(url: str) -> None:
    """For emulators."""
    assert settings.read(BARE | {"UNSTALE_FABRIC_URL": url}).fabric_url == url


def test_the_event_hub_is_the_one_that_is_named() -> None:
    """With Fabric's own names or with ours."""
    assert settings.event_hub({}) is None
    named = {"UNSTALE_EVENT_HUB": "es_1", "UNSTALE_EVENT_HUB_CONSUMER_GROUP": "g"}
    assert settings.event_hub(named) is None
    assert settings.event_hub({EVENTS: "Endpoint=sb://x"}) == EventHub("unstale-events", "$Default")
    assert settings.event_hub({f"{EVENTS}__fullyQualifiedNamespace": "x", **named}) == EventHub("es_1", "g")


def test_settings_do_not_show_their_secrets() -> None:
    """However they come to be printed."""
    found = settings.read(BARE | {"UNSTALE_CLIENT_SECRET": "planted-secret"})
    assert "planted" not in f"{found!r} {found}"


def test_the_secrets_of_the_environment_are_known() -> None:
    """Keys and signatures within connection strings, as they are and decoded; whole values of the others."""
    found = settings.secrets(
        {
            "UNSTALE_CLIENT_SECRET": "planted-secret",
            "IDENTITY_HEADER": "planted-header",
            "UNSTALE_STORAGE": "BlobEndpoint=https://a;SharedAccessSignature=sv=2024&sig=planted%2Bsig%3D&se=2026",
            "UNSTALE_EVENTS": "Endpoint=sb://x/;SharedAccessKeyName=name-of-key;SharedAccessKey=planted-events==",
            "AzureWebJobsStorage": "AccountName=contoso-account;AccountKey=planted-key==;EndpointSuffix=example.org",
            "UNSTALE_TENANT_ID": "a-tenant-id",
        }
    )
    assert set(found) == {
        "planted-secret",
        "planted-header",
        "planted%2Bsig%3D",
        "planted-events==",
        "planted-key==",
    }


MANIFEST = {
    "WorkloadManifestConfiguration": ["Workload"],
    "Workload": ["Version", "RemoteServiceConfiguration"],
    "RemoteServiceConfiguration": ["CloudServiceConfiguration"],
    "CloudServiceConfiguration": ["Cloud", "AADApp", "Endpoints"],
    "AADApp": ["AppId", "RedirectUri", "ResourceId"],
    "Endpoints": ["ServiceEndpoint", "ServiceEndpoint"],
    "ServiceEndpoint": ["Name", "Url", "IsEndpointResolutionService"],
}
"""Elements in their order, each there once, endpoints at least twice (WorkloadDefinition.xsd, SchemaVersion 1.500.0:
https://github.com/microsoft/Microsoft-Fabric-workload-development-sample/tree/main/Backend/src/Packages/manifest)."""


def test_the_manifest_in_the_readme_is_as_microsofts_schema_has_it() -> None:
    """Whoever registers the workload copies it: element by element, with a name and an id of the schema's form."""
    text = README.partition("```xml\n")[2].partition("```")[0].partition("?>")[2].strip()
    root = ET.fromstring(text)  # noqa: S314 - a page of ours
    elements = [root, *root.iter()]
    assert all([child.tag for child in each] == MANIFEST.get(each.tag, []) for each in elements)
    assert root.attrib == {"SchemaVersion": "1.500.0"}
    [workload] = root
    assert re.fullmatch(r"[A-Za-z0-9-]+\.[A-Za-z0-9-]+", workload.attrib["WorkloadName"])
    assert workload.attrib["HostingType"] == "Remote"
    said = {name: [each.text for each in root.iter(name)] for name in ("Name", "IsEndpointResolutionService", "AppId")}
    assert said["Name"] == ["Workload", "Frontend"]
    assert said["IsEndpointResolutionService"] == ["false", "false"]
    assert re.fullmatch("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(said["AppId"][0]))


def test_every_variable_is_in_the_readme() -> None:
    """The settings module and its page name the same variables."""
    source = (ROOT / "functions_azure/settings.py").read_text(encoding="utf-8")
    literal = set(re.findall(r'"(UNSTALE_[A-Z_]+)"', source))
    suffixes = re.findall(r"\{(STORAGE|EVENTS)\}(__\w+)", source)
    names = literal | {f"UNSTALE_{kind}{suffix}" for kind, suffix in suffixes}
    assert len(names) > 10
    assert [name for name in sorted(names) if f"`{name}`" not in README] == []
