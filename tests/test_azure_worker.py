"""The packaged function app under Microsoft's worker library, on Azurite, with Fabric and Entra served on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from functions_azure.settings import EVENTS_QUEUE, POISON, WAKES_QUEUE, read
from functions_azure.world import engine
from local.entra import Entra, Identity
from local.fabric_emulator import FabricEmulator, FabricSettings
from local.fabric_jobs import LAKE_VIEWS, Item, JobType
from shared.model import State
from shared.records import read_state
from tests.azure_host import SALES, WORKSPACE, blob_created
from tests.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent
IDENTITY = Identity(
    "5e7d9b30-0000-4000-8000-000000000001", "5e7d9b30-0000-4000-8000-00000000000a", system_assigned=True
)
CONFIGURATION = f"""
[defaults]
quiet_period = "1s"
visibility_lag = "2s"
min_interval = "1s"

[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/" }} }}]
"""
PATIENCE_SECONDS = 60


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


class Worker:
    """The worker process with the app in it; use it as a context. `bindings` are by function."""

    def __init__(self, package: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.functions_worker", str(package)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PYTHONPATH": str(ROOT), **environment},
        )
        self.bindings: dict[str, list[dict[str, Any]]] = self._line()

    def invoke(self, name: str, kind: str, value: Any, **metadata: Any) -> dict[str, Any]:
        """Call a function; says whether it was done, and what it answered."""
        assert self._process.stdin
        request = {"name": name, "kind": kind, "value": value, "metadata": metadata}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = self._line()
        return found

    def queue(self, name: str, text: str) -> bool:
        """A message of a queue; whether it need not come back."""
        times = {key: utc_now().isoformat() for key in ("InsertionTime", "ExpirationTime", "NextVisibleTime")}
        metadata = {"QueueTrigger": text, "Id": "1", "PopReceipt": "p", "DequeueCount": 1, **times}
        return bool(self.invoke(name, "string", text, **metadata)["done"])

    def tick(self) -> bool:
        """The minute came round."""
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        return bool(self.invoke("tick", "json", json.dumps(timer))["done"])

    def refresh(self, target: str, body: str = "") -> dict[str, Any]:
        """A request over HTTP, its path as the host has it matched."""
        request = {"method": "POST", "url": "http://x/api/refresh", "params": {"target": target}, "body": body}
        answer: dict[str, Any] = self.invoke("refresh", "http", request)["http"]
        return answer

    def _line(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the worker died"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(name="package", scope="module")
def staged_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as packaging lays them: the entry and `host.json` at the root, packages and configuration beside."""
    pytest.importorskip("azure_functions_runtime", reason="the worker library needs Python 3.13")
    package = tmp_path_factory.mktemp("package")
    for name in ("shared", "functions_azure"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("function_app.py", "host.json"):
        (package / "functions_azure" / name).rename(package / name)
    (package / "unstale.toml").write_text(CONFIGURATION, encoding="utf-8")
    return package


@pytest.fixture(name="entra")
def tenant() -> Iterator[Entra]:
    """Entra, and the identity endpoint of the function app."""
    with Entra(utc_now, identities=[IDENTITY]) as entra:
        yield entra


@pytest.fixture(name="fabric")
def fabric_emulator(entra: Entra) -> Iterator[FabricEmulator]:
    """Fabric with the lakehouse."""
    with FabricEmulator(utc_now, entra.tokens.validate, settings=FabricSettings(start_retry_after_seconds=1)) as fabric:
        job = JobType(LAKE_VIEWS, run_time=timedelta(seconds=1))
        fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (job,)))
        yield fabric
        assert not fabric.unplanned


@pytest.fixture(name="environment")
def function_app_settings(account: Account, entra: Entra, fabric: FabricEmulator) -> dict[str, str]:
    """Those of the function app, and nothing else."""
    return {
        "UNSTALE_STORAGE": account.connection_string,
        "UNSTALE_FABRIC_URL": fabric.url,
        "UNSTALE_EVENTS__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
        "UNSTALE_EVENT_HUB": "es_contoso",
        **entra.identity_environment,
    }


@pytest.fixture(name="worker")
def worker_process(package: Path, environment: dict[str, str]) -> Iterator[Worker]:
    """The app, indexed."""
    with Worker(package, environment) as worker:
        yield worker


def wait_until(met: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    """Do something again and again until it has led where it should."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < ends_at, "it did not get there"
        meanwhile()
        time.sleep(0.3)


def messages(account: Account, queue: str) -> list[Any]:
    """What is to be seen in a queue, taken out of it."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, queue) as client:
        found = list(client.receive_messages(messages_per_page=32))
        for message in found:
            client.delete_message(message)
        return found


def test_the_host_is_told_of_every_function(worker: Worker) -> None:
    """Names and bindings as the worker passes them on, types checked, nothing asked of the network."""
    [stream] = worker.bindings["stream"]
    assert (stream["type"], stream["cardinality"], stream["eventHubName"]) == ("eventHubTrigger", "MANY", "es_contoso")
    assert (stream["connection"], stream["consumerGroup"]) == ("UNSTALE_EVENTS", "$Default")
    [events], [wakes] = worker.bindings["events"], worker.bindings["wakes"]
    assert [(each["queueName"], each["connection"]) for each in (events, wakes)] == [
        (EVENTS_QUEUE, "UNSTALE_STORAGE"),
        (WAKES_QUEUE, "UNSTALE_STORAGE"),
    ]
    [tick] = worker.bindings["tick"]
    assert (tick["schedule"], tick["useMonitor"]) == ("0 * * * * *", False)
    refresh = next(each for each in worker.bindings["refresh"] if each["type"] == "httpTrigger")
    assert (refresh["route"], refresh["methods"], refresh["authLevel"]) == ("refresh/{target}", ["POST"], "FUNCTION")
    assert worker.bindings.keys() == {"events", "wakes", "event_grid", "tick", "refresh", "stream"}


@pytest.fixture(name="state")
def state_of_the_target(environment: dict[str, str], package: Path) -> Callable[[], State]:
    """Reads the record, as the command line would."""
    deployed = engine(read(environment | {"UNSTALE_CONFIG": str(package / "unstale.toml")}))
    key = deployed.configuration.by_name["sales"].key
    return lambda: read_state(deployed._world.store.load(key).body)


def test_a_blob_ends_up_in_the_views(
    worker: Worker, account: Account, fabric: FabricEmulator, entra: Entra, state: Callable[[], State]
) -> None:
    """The whole way on real protocols: queue, table, wake, token, start, poll, success; wakes alone do it, no tick.

    Only the first tick is there, which plans the new configuration. The run that covers the blob is the last one.
    """
    assert worker.tick()

    def deliver_wakes() -> None:
        for message in messages(account, WAKES_QUEUE):
            assert worker.queue("wakes", message.content)

    wait_until(lambda: state().fresh_as_of is not None, deliver_wakes)
    at = utc_now()
    event = json.dumps(blob_created("orders/1.parquet", at))
    assert worker.queue("events", b64encode(event.encode()).decode())
    assert worker.queue("events", event)
    wait_until(lambda: (state().fresh_as_of or at) > at and not (state().owed or state().run), deliver_wakes)
    runs = fabric.journal().entries()
    assert [run.outcome for run in runs] == ["succeeded", "succeeded"]
    assert runs[-1].created_at > at + timedelta(seconds=2)
    assert {asked.client_id for asked in entra.asked} == {IDENTITY.client_id}
    assert messages(account, EVENTS_QUEUE + POISON) == []


@pytest.mark.parametrize("cloud_event", [False, True])
def test_a_push_is_one_event(worker: Worker, account: Account, cloud_event: bool) -> None:
    """As the extension calls, once for each event of a delivery; one that cannot be read is in the poison queue."""
    event = json.dumps(blob_created("orders/1.parquet", utc_now(), cloud_event=cloud_event))
    assert worker.invoke("event_grid", "json", event, data={"url": "u"})["done"]
    assert json.loads(worker.refresh("sales")["body"])["signals_owed"] >= 1
    broken = json.dumps(json.loads(event) | {"time": "yesterday", "eventTime": "yesterday"})
    assert worker.invoke("event_grid", "json", broken)["done"]
    [letter] = messages(account, EVENTS_QUEUE + POISON)
    assert "yesterday" in json.loads(letter.content)["why"]


def test_a_batch_of_an_event_hub_is_stored(worker: Worker, account: Account) -> None:
    """Whole, as the extension sends it; what cannot be read does not keep the others from it."""
    bodies = [json.dumps(blob_created(f"orders/{number}", utc_now())) for number in range(50)]
    bodies.insert(7, "no JSON")
    properties = [{"SequenceNumber": number, "Offset": str(number), "PartitionKey": None} for number in range(51)]
    answer = worker.invoke("stream", "collection_bytes", bodies, SystemPropertiesArray=properties)
    assert answer == {"done": True, "error": None, "trace": None, "http": None}
    [letter] = messages(account, EVENTS_QUEUE + POISON)
    assert json.loads(letter.content)["body"] == "no JSON"
    assert json.loads(worker.refresh("sales")["body"])["signals_owed"] >= 1


def test_http_has_its_answers(worker: Worker) -> None:
    """202 with the row, 404 with the names, 400 for a body that cannot be read, each as JSON."""
    found = {
        "asked": worker.refresh("sales", '{"full": true}'),
        "unknown": worker.refresh("nobody"),
        "broken": worker.refresh("sales", "{"),
    }
    assert {name: answer["status"] for name, answer in found.items()} == {"asked": 202, "unknown": 404, "broken": 400}
    assert json.loads(found["asked"]["body"])["target"] == "sales"
    assert json.loads(found["unknown"]["body"])["targets"] == ["sales"]
    assert {answer["headers"]["content-type"].partition(";")[0] for answer in found.values()} == {"application/json"}


def test_trouble_of_ours_fails_the_invocation(package: Path, environment: dict[str, str], account: Account) -> None:
    """The table is gone: the host hears of a failure, with words and without secrets, and brings the message back."""
    from azure.data.tables import TableServiceClient

    with TableServiceClient.from_connection_string(account.connection_string) as tables:
        tables.delete_table("unstale")
    with Worker(package, environment) as worker:
        event = json.dumps(blob_created("orders/1.parquet", utc_now()))
        assert not worker.queue("events", event)
        assert not worker.tick()
        failed = worker.invoke("event_grid", "json", event)
        assert "ComesBack" in failed["error"]
        assert "AccountKey" not in failed["trace"]
        response = worker.refresh("sales")
        assert (response["status"], response["headers"]["Retry-After"]) == (503, "30")
        assert "does not exist" in json.loads(response["body"])["error"]
    assert messages(account, EVENTS_QUEUE + POISON) == []


def test_a_bad_configuration_fails_every_invocation_with_its_line(package: Path, environment: dict[str, str]) -> None:
    """Functions are indexed all the same, so that the failure is seen, and events wait."""
    bad = package / "bad.toml"
    bad.write_text(CONFIGURATION.replace('"1s"', '"1 parsec"', 1), encoding="utf-8")
    with Worker(package, environment | {"UNSTALE_CONFIG": str(bad)}) as worker:
        assert len(worker.bindings) == 6
        failed = worker.invoke("tick", "json", "{}")
        assert "bad.toml:3: defaults.quiet_period" in failed["error"]
