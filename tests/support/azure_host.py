"""The function app's triggers in one process: objects of `azure.functions` in, Fabric on loopback, state in memory."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import azure.functions as func
import pytest
from msgspec.structs import replace

from functions_azure import app
from functions_azure.clients import Deadline
from functions_azure.platform import Connection, Platform
from functions_azure.queue_behind import TAKEN_AT_ONCE, Waiting
from functions_azure.queue_messages import UnfitMessageError
from functions_azure.settings import EVENTS_QUEUE, WAKES_QUEUE
from functions_azure.shell import Shell
from functions_azure.sources import Sources
from functions_azure.telemetry import Telemetry
from local.emulators.entra.tokens import FABRIC, Caller, Tokens
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, load
from shared.destinations import Destination
from shared.redaction import Redactor
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import Document, StoreDownError
from shared.refresh.records import read_state
from shared.refresh.state import State
from shared.refresh.telling import Outcomes, Reconcile
from shared.sources.looking import Looking
from shared.targets import Cloud, Target
from tests.support import swagger


@cache
def function_names() -> frozenset[str | None]:
    """Names of the app's functions. They can be asked for only once in a process."""
    return frozenset(each.get_function_name() for each in app.app.get_functions())


WORKSPACE = "4b218778-e7a5-4d73-8187-f10824047715"
SALES, OTHER = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7", "531e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
TEXT = f"""
[defaults]
quiet_period = "30s"
min_interval = "1m"

[targets.sales]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{SALES}"
on = [{{ blob_created = {{ account = "contosolake", container = "sales", prefix = "orders/" }} }}]

[targets.other]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{OTHER}"
on = [{{ blob_created = {{ account = "contosolake", container = "other" }} }}]

[targets.glue]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "daily"
"""
T0 = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
US = Caller("0a4f1c2e-0000-4000-8000-00000000000a", "0a4f1c2e-0000-4000-8000-000000000001")


PLANTED_SECRET = "planted Value of a known secret"
"""What no shape betrays, so that only who knows it can take it out."""


class HandClock:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        """Where it stands."""
        return self.time

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.time.timestamp()

    def move_on(self, **by: float) -> None:
        """Turn it."""
        self.time += timedelta(**by)


class Store(MemoryStore):
    """The store in memory, which can be down for some keys, and counts."""

    reads_together = False

    def __init__(self) -> None:
        super().__init__()
        self.down_for: Callable[[str], bool] = lambda _: False
        self.reads = self.writes = 0

    def load(self, key: str) -> Document:
        """As always, unless it is down."""
        self.reads += 1
        if self.down_for(key):
            raise StoreDownError(f"reading {key}: nobody there, Bearer planted-token")
        return super().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Count what is written."""
        self.writes += 1
        return super().save(document, body, wake_at)


def _is_text(body: bytes) -> bool:
    try:
        return all(letter in "\t\n\r" or letter >= " " for letter in body.decode())
    except UnicodeDecodeError:
        return False


class Yard:
    """Where dead letters end, and what goes to the queue; it can be down, too."""

    def __init__(self) -> None:
        self.down = False
        self.buried: list[tuple[str, bytes, str]] = []
        self.returned: list[tuple[str, bytes]] = []

    def send(self, queue: str, body: bytes, why: str) -> None:
        """Bury."""
        self._check()
        self.buried.append((queue, body, why))

    def return_to(self, queue: str, body: bytes) -> None:
        """Keep for later what a Storage queue takes: text of 64 KiB, without characters that XML has none of."""
        self._check()
        if len(body) > 65_536 or not _is_text(body):
            raise UnfitMessageError("no queue takes this")
        self.returned.append((queue, body))

    def _check(self) -> None:
        if self.down:
            raise StoreDownError("the queue is down, sig=planted-signature")


class Line:
    """What waits in a queue behind the message that a call is for; it can be down, too."""

    def __init__(self, most: int) -> None:
        self.down = self.down_after_taking = False
        self.waiting: list[bytes] = []
        self.removed: list[bytes] = []
        self.takes = 0
        self.after_taking: Callable[[], None] = lambda: None
        self._most = most

    def take(self) -> list[Waiting]:
        """Take as much as is taken at once: it is hidden until a test says otherwise."""
        self.takes += 1
        if self.down:
            raise StoreDownError("the queue is down")
        taken, self.waiting = self.waiting[: self._most], self.waiting[self._most :]
        self.down = self.down_after_taking
        self.after_taking()
        return [Waiting(body, None) for body in taken]

    def remove(self, waiting: Waiting) -> None:
        """Note what need not come again."""
        if self.down:
            raise StoreDownError("the queue is down")
        self.removed.append(waiting.body)


class Host:
    """The triggers by their names, and all that stands around them."""

    def __init__(self, emulator: FabricEmulator, tokens: Tokens, clock: HandClock) -> None:
        self.clock, self.fabric, self.tokens = clock, emulator, tokens
        self.store, self.waker, self.yard = Store(), MemoryWaker(clock), Yard()
        self.lines = {queue: Line(most) for queue, most in TAKEN_AT_ONCE.items()}
        self.line = self.lines[EVENTS_QUEUE]
        self.configuration: Callable[[], Configuration] = lambda: load(TEXT)
        self.told: list[LogEvent] = []
        self.onelake_url = ""
        self.outcomes: Callable[[Sequence[Destination]], Outcomes] | None = None
        self._connection = Connection()
        self.shell = Shell(
            self._read,
            self._make_ports,
            lambda _: self.yard,
            Telemetry(),
            behind=lambda queue, _: self.lines[queue],
            redactor=Redactor([PLANTED_SECRET]),
        )

    def _read(self) -> Configuration:
        return self.configuration()

    def _make_ports(self, configuration: Configuration, deadline: Deadline) -> Ports:
        platform = Platform(
            self._connection,
            self,
            self.clock,
            url=self.fabric.url,
            url_form=configuration.fabric.url_form,
            deadline=deadline,
        )
        ports = Ports(Cloud.AZURE, self.store, platform, self.waker, self.clock, lambda: "token", self.told.append)
        ports = replace(ports, outcomes=self.outcomes)
        return replace(ports, looks=partial(self._looking, platform)) if self.onelake_url else ports

    def _looking(self, platform: Platform, targets: Mapping[str, Target], reconcile: Reconcile) -> Looking:
        """Look at the tables of an emulated OneLake."""
        return Looking(
            targets,
            store=self.store,
            sources=Sources(self, self.clock, url=self.onelake_url),
            platform=platform,
            clock=self.clock,
            reconcile=reconcile,
            emit=self.told.append,
        )

    def token(self) -> str:
        """`functions_azure.tokens.Tokens`: a good one."""
        return self.tokens.issue(US, FABRIC, timedelta(hours=1))

    def forget(self, token: str) -> None:
        """Never happens here."""
        raise AssertionError(token)

    # --- As the host calls

    def queue(self, body: bytes | str, *, name: str = EVENTS_QUEUE) -> None:
        """A message of a queue."""
        call({EVENTS_QUEUE: "events", WAKES_QUEUE: "wakes"}[name], func.QueueMessage(id="1", body=body))

    def tick(self) -> None:
        """The one-minute timer fires."""
        call("tick", None)

    def refresh(self, target: str, body: bytes = b"") -> func.HttpResponse:
        """A request over HTTP."""
        request = func.HttpRequest(
            "POST", f"http://localhost/api/refresh/{target}", route_params={"target": target}, body=body
        )
        response: func.HttpResponse = call("refresh", request)
        return response

    def state(self, target: str) -> State:
        """What is known of a target."""
        key = self.configuration().by_name[target].key
        return read_state(MemoryStore.load(self.store, key).body)

    def starts(self) -> int:
        """Runs that Fabric saw."""
        return len(self.fabric.journal().entries())


def call(name: str, argument: Any) -> Any:
    """One of the app's functions, with what the worker hands it."""
    return getattr(app, name)(argument)


@contextmanager
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with its Fabric, a while after both targets were refreshed for being new, and once more."""
    clock = HandClock()
    tokens = Tokens(clock.now, "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935")
    with FabricEmulator(clock.now, tokens.validate, settings=FabricSettings(poll_hints=(5,))) as emulator:
        for lakehouse in (SALES, OTHER):
            emulator.add_item(
                Item(WORKSPACE, lakehouse, "Lakehouse", (JobType(LAKE_VIEWS, run_time=timedelta(seconds=20)),))
            )
        host = Host(emulator, tokens, clock)
        monkeypatch.setattr(app, "_made", {"shell": host.shell})
        for _ in range(24):
            host.tick()
            clock.move_on(minutes=1)
        for state in map(host.state, ("sales", "other")):
            assert state.fresh_as_of
            assert (state.owed, state.run, state.again_at) == (None, None, None)
        clock.move_on(minutes=10)
        host.told.clear()
        host.store.reads = host.store.writes = 0
        yield host
        assert not emulator.unplanned_requests
        swagger.assert_as_published(emulator.exchanges)


def blob_created(path: str, at: datetime, *, container: str = "sales", cloud_event: bool = False) -> dict[str, Any]:
    """An event of Azure Storage, in either of Event Grid's schemas."""
    topic = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/contosolake"
    data = {"api": "PutBlob", "url": f"https://contosolake.blob.core.windows.net/{container}/{path}"}
    subject = f"/blobServices/default/containers/{container}/blobs/{path}"
    common = {"id": "831e1650-001e-001b-66ab-eeb76e069631", "subject": subject, "data": data}
    kind, time = "Microsoft.Storage.BlobCreated", at.isoformat()
    if cloud_event:
        return {"specversion": "1.0", "type": kind, "source": topic, "time": time, **common}
    return {"topic": topic, "eventType": kind, "eventTime": time, "dataVersion": "", "metadataVersion": "1", **common}


def packed(event: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """As Event Grid puts it into a queue."""
    return b64encode(json.dumps(event).encode())
