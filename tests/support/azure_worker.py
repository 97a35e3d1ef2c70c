"""The function app's package, staged once for a test session, and worker processes with it in them.

A module that wants it imports the fixture: `from tests.azure_worker import one_package  # noqa: F401`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from infra.packaging.azure import SITE_PACKAGES
from tests.support.once import once
from tests.support.staged import command, staged_azure

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "unstale.example.toml"
DRIVER = Path(__file__).with_name("functions_worker.py")


@pytest.fixture(name="package", scope="session")
def one_package() -> Path:
    """The staged folder; the zip is beside it."""
    pytest.importorskip("azure_functions_runtime", reason="the worker library needs Python 3.13")
    return once("package for Azure", lambda folder: staged_azure(folder / "azure", EXAMPLE)) / "azure"


PATIENCE = 10.0
"""How much longer than in the cloud an invocation may take here, so that a busy machine makes none fail."""


class Died(Exception):  # noqa: N818 - named for what happened
    """The worker process ended before it answered."""


class Worker:
    """A worker process with the package in it, and nothing of the source tree or of this environment in sight.

    Use it as a context. `bindings` are by function. With a `patience` of 1 it has no more time than in the cloud.
    """

    def __init__(self, package: Path, environment: Mapping[str, str], *, patience: float = PATIENCE) -> None:
        line, clean = command(package, str(DRIVER), str(package), path=package / SITE_PACKAGES)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=package,
            env={**clean, **environment},
        )
        try:
            self.bindings: dict[str, list[dict[str, Any]]] = self._line()
            self._ask(patience=patience)
        except Died:
            self.__exit__()
            raise

    # --- As the host calls -------------------------------------------------------------------------------------------

    def invoke(self, name: str, kind: str, value: Any, **metadata: Any) -> dict[str, Any]:
        """Call a function; says whether it was done, and what it answered. Raises `Died`."""
        # Every call comes with this (host, ScriptInvocationContextExtensions).
        sys = {"MethodName": name, "UtcNow": datetime.now(UTC).isoformat(), "RandGuid": "5e7d9b30"}
        found: dict[str, Any] = self._ask(name=name, kind=kind, value=value, metadata={**metadata, "sys": sys})
        return found

    def queue(self, name: str, text: str, *, tried: int = 1) -> bool:
        """A message of a queue; whether it need not come back."""
        times = {key: datetime.now(UTC).isoformat() for key in ("InsertionTime", "ExpirationTime", "NextVisibleTime")}
        metadata = {"QueueTrigger": text, "Id": "1", "PopReceipt": "p", "DequeueCount": tried, **times}
        return bool(self.invoke(name, "string", text, **metadata)["done"])

    def tick(self) -> bool:
        """The one-minute timer fires."""
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        return bool(self.invoke("tick", "json", json.dumps(timer))["done"])

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """One event, as the webhook's extension hands it over."""
        return self.invoke("event_grid", "json", json.dumps(event), data=event.get("data"))

    def batch(self, bodies: list[str], kind: str = "collection_bytes") -> dict[str, Any]:
        """A batch of an event hub, with the properties that the extension reads."""
        each = [
            {"SequenceNumber": number, "Offset": str(number), "PartitionKey": None} for number in range(len(bodies))
        ]
        partition = {"PartitionId": "0", "EventHubName": "es_contoso"}
        return self.invoke(
            "stream",
            kind,
            bodies,
            SystemPropertiesArray=each,
            PropertiesArray=[{} for _ in bodies],
            PartitionContext=partition,
        )

    def refresh(self, target: str, body: str | Sequence[tuple[str, int]] = "") -> dict[str, Any]:
        """A request over HTTP, its path as the host has it matched; the body may be texts, each so often."""
        request = {
            "method": "POST",
            "url": f"https://contoso.azurewebsites.net/api/refresh/{target}",
            "params": {"target": target},
            "headers": {"content-type": "application/json", "host": "contoso.azurewebsites.net"},
            "query": {},
            "body": body,
        }
        answer: dict[str, Any] = self.invoke("refresh", "http", request, target=target)["http"]
        return answer

    # --- Orders to the process ---------------------------------------------------------------------------------------

    def set_ahead(self, seconds: float) -> None:
        """How far the product's clock is ahead of the machine's."""
        self._ask(ahead=seconds)

    def set_time(self, moment: datetime) -> None:
        """Let the product's clock stand still there."""
        self._ask(at=moment.isoformat())

    def shorten_pauses(self, most_seconds: float) -> None:
        """Let a batch of an event hub that can go nowhere be tried again soon."""
        self._ask(pauses=most_seconds)

    def die_at(self, effect: int) -> None:
        """End when the n-th effect from now was done, its answer unseen: whatever is sent and does not only read."""
        self._ask(die_at=effect)

    def sent(self) -> list[str]:
        """Method and address of the requests since this was asked last."""
        found: list[str] = self._ask(sent=True)
        return found

    def lead(self, host: str, port: int) -> None:
        """Let the name of a host lead to a port of this machine."""
        self._ask(lead=(host, port))

    def peak(self) -> int:
        """The most memory that the process had so far, in kilobytes."""
        found: int = self._ask(peak=True)
        return found

    def unanswered(self) -> list[float]:
        """For how many seconds each request waited that got no answer, since this was asked last."""
        found: list[float] = self._ask(unanswered=True)
        return found

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    @property
    def exit_status(self) -> int:
        """How it ended."""
        return self._process.wait()

    @property
    def log(self) -> str:
        """Everything that it logged so far. Read past the place where the process goes on to write: they share one."""
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def _ask(self, **asked: Any) -> Any:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as broken:
            raise Died from broken
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Died(self.log[-3000:])
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()
