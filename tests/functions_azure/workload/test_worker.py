"""Fabric's three calls to the packaged function app, under Microsoft's worker library and on real protocols."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions_azure.settings import WAKES_QUEUE
from local.emulators.entra.emulator import Entra, Identity
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.fabric.workload import Caller, Registration
from shared.workload.api import BODY_LIMIT
from tests.support.azure_host import SALES, WORKSPACE
from tests.support.azure_worker import Worker, one_package  # noqa: F401 - fixture
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.waiting import PATIENCE_SECONDS

IDENTITY = Identity(
    "5e7d9b30-0000-4000-8000-000000000001", "5e7d9b30-0000-4000-8000-00000000000a", system_assigned=True
)
REGISTRATION = Registration(
    "api://contoso.com/unstale", "10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002"
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

[workload]
tenants = ["{REGISTRATION.customer_tenant}"]

[[workload.jobs]]
item_type = "Contoso.Views.Sales"
job_type = "Contoso.Views.Sales.Refresh"
target = "sales"
"""
JOB = {
    "workspaceId": WORKSPACE,
    "itemType": "Contoso.Views.Sales",
    "itemId": "b14cb7e7-d346-4751-9cfd-8c2767d53111",
    "jobType": "Contoso.Views.Sales.Refresh",
    "jobInstanceId": "63f77191-432d-4ee6-9c5f-31a1a6987072",
}
SCHEDULED = '{"invokeType": "Scheduled"}'


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


@pytest.fixture(name="entra")
def tenant() -> Iterator[Entra]:
    """Entra's keys, and the identity endpoint of the function app."""
    with Entra(utc_now, identities=[IDENTITY]) as entra:
        yield entra


@pytest.fixture(name="fabric")
def fabric_emulator(entra: Entra) -> Iterator[FabricEmulator]:
    """Fabric with the lakehouse."""
    with FabricEmulator(utc_now, entra.tokens.validate, settings=FabricSettings(start_retry_after_seconds=1)) as fabric:
        fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (JobType(LAKE_VIEWS, run_time=timedelta(seconds=1)),)))
        yield fabric
        assert not fabric.unplanned_requests


@pytest.fixture(name="environment")
def function_app_settings(account: Account, entra: Entra, fabric: FabricEmulator, tmp_path: Path) -> dict[str, str]:
    """Those of the function app, and nothing else."""
    file = tmp_path / "unstale.toml"
    file.write_text(CONFIGURATION, encoding="utf-8")
    return {
        "UNSTALE_CONFIG": str(file),
        "UNSTALE_STORAGE": account.connection_string,
        "UNSTALE_FABRIC_URL": fabric.url,
        "UNSTALE_AUTHORITY": entra.plain_authority,
        "UNSTALE_WORKLOAD_AUDIENCE": REGISTRATION.audience,
        "UNSTALE_WORKLOAD_PUBLISHER_TENANT": REGISTRATION.publisher_tenant,
        **entra.identity_environment,
    }


def ask(
    worker: Worker, name: str, headers: dict[str, str], body: str | Sequence[tuple[str, int]] = ""
) -> dict[str, Any]:
    """A call of Fabric's, its path as the host has it matched; the body may be texts, each so often."""
    request = {"method": "POST", "url": "https://x/api/workload", "params": JOB, "headers": headers, "body": body}
    answer: dict[str, Any] = worker.invoke(f"workload_{name}", "http", request, **JOB)["http"]
    return answer


def deliver_wakes(worker: Worker, account: Account) -> None:
    """Those that are to be seen."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, WAKES_QUEUE) as client:
        for message in client.receive_messages(messages_per_page=32):
            client.delete_message(message)
            assert worker.queue("wakes", message.content)


def test_the_endpoints_of_a_workload_are_there_only_with_one(package: Path, environment: dict[str, str]) -> None:
    """Five routes under one base, without a function key: Fabric has none, and its tokens are judged instead."""
    with Worker(package, environment) as worker:
        found = {name: worker.bindings[name][0] for name in worker.bindings if name.startswith("workload")}
    with Worker(package, environment | {"UNSTALE_CONFIG": str(package / "unstale.toml")}) as worker:
        assert not [name for name in worker.bindings if name.startswith("workload")]
    item = "workload/workspaces/{workspaceId}/items/{itemType}/{itemId}"
    job = f"{item}/jobTypes/{{jobType}}/instances/{{jobInstanceId}}"
    assert {name: (each["route"], each["methods"], each["authLevel"]) for name, each in found.items()} == {
        "workload_create": (job, ["POST"], "ANONYMOUS"),
        "workload_get": (job, ["GET"], "ANONYMOUS"),
        "workload_cancel": (f"{job}/cancel", ["POST"], "ANONYMOUS"),
        "workload_item": (item, ["POST", "PATCH", "DELETE"], "ANONYMOUS"),
        "workload_payload": (f"{item}/payload", ["GET"], "ANONYMOUS"),
    }


MORE_KILOBYTES = 4 * 1024
"""What answering a request may take, for whatever else a process does meanwhile. Brackets are 27 times as much once
decoded: two megabytes of them would take 54."""


def test_a_huge_body_is_refused_before_it_is_decoded(package: Path, environment: dict[str, str], entra: Entra) -> None:
    """413 to whom Fabric's tokens let in, 401 to a stranger; neither takes more memory than the body itself."""
    mine = Caller(entra.tokens, REGISTRATION, utc_now).headers(on_behalf=True)
    size = 2 * BODY_LIMIT  # what the host lets through
    with Worker(package, environment) as worker:
        for headers, status in ((mine, 413), ({"Authorization": "Bearer x"}, 401)):
            assert ask(worker, "create", headers, [("x", 2 * size)])["status"] == status  # there is room for a body now
            before = worker.peak()
            assert ask(worker, "create", headers, [("[[]", 1), (",[]", size // 3), ("]", 1)])["status"] == status
            assert worker.peak() - before < MORE_KILOBYTES


def test_a_job_outlives_the_worker_that_accepted_it(
    package: Path, environment: dict[str, str], account: Account, entra: Entra, fabric: FabricEmulator
) -> None:
    """Created on behalf of a user, the worker dies, another one is asked by Fabric alone: Completed, by a real run.

    On real protocols: tokens, keys, table, queue, job API. A cancel then is told the truth, and a stranger nothing.
    """
    caller = Caller(entra.tokens, REGISTRATION, utc_now)
    with Worker(package, environment) as worker:
        assert ask(worker, "create", {"Authorization": "Bearer x"}, SCHEDULED)["status"] == 401
        assert ask(worker, "get", caller.headers(on_behalf=False))["status"] == 404
        accepted = ask(worker, "create", caller.headers(on_behalf=True), SCHEDULED)
        assert (accepted["status"], accepted["body"]) == (202, "")
        worker.kill()
    with Worker(package, environment) as worker:
        assert ask(worker, "create", caller.headers(on_behalf=True), SCHEDULED)["status"] == 202
        assert ask(worker, "create", caller.headers(on_behalf=True), '{"invokeType": "Manual"}')["status"] == 409
        states: list[dict[str, Any]] = []
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while not states or states[-1]["status"] != "Completed":
            assert time.monotonic() < ends_at, states
            deliver_wakes(worker, account)
            answer = ask(worker, "get", caller.headers(on_behalf=False))
            assert (answer["status"], answer["headers"]["content-type"]) == (200, "application/json")
            states.append(json.loads(answer["body"]))
            time.sleep(0.3)
        assert json.loads(ask(worker, "cancel", caller.headers(on_behalf=True))["body"]) == states[-1]
    order = ["NotStarted", "InProgress", "Completed"]
    ranks = [order.index(state["status"]) for state in states]
    assert ranks == sorted(ranks)
    assert "succeeded" in [run.outcome for run in fabric.journal().entries()]
    assert states[-1]["startTimeUtc"] < states[-1]["endTimeUtc"]
