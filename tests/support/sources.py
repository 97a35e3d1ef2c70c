"""What tests of looking share: a catalog and a Delta log that a test writes by hand, behind the true interfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.sources.groups import DeltaTable
from shared.sources.replies import Reply
from tests.support.core import NOON, at, seconds

DENIED = Failure("AccessDeniedException", "not allowed", Fault.CALLER, Delivery.REJECTED, retry_safe=False)
THROTTLED = Failure("ThrottlingException", "slow", Fault.PLATFORM, Delivery.REJECTED, True, FailureKind.THROTTLED)


def reply(body: Any, *, asked: float = 0, took: float = 0.2, status: int = 200, **headers: str) -> Any:
    """An answer that was asked for so many seconds after noon; the platform's clock is ours, cut to the second."""
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    found["Date"] = http_date(at(asked + took))
    return Reply(body, at(asked), at(asked + took), seconds(took), status, found)


def http_date(time: datetime) -> str:
    """An HTTP date."""
    return format_datetime(time, usegmt=True)


# --- Iceberg ---------------------------------------------------------------------------------------------------------


def table(name: str, location: str = "", *, updated: datetime = NOON, **definition: Any) -> dict[str, Any]:
    """A table as GetTables has it; with a definition it is a view."""
    view = {"ViewDefinition": definition, "IsMaterializedView": True} if definition else {}
    parameters = {"Parameters": {"metadata_location": location}} if location else {}
    return {"Name": name, "UpdateTime": updated, **parameters, **view}


def metadata(location: str, *snapshots: int, uuid: str = "u1", replaces: Mapping[int, int] = {}) -> bytes:
    """What loadTable answers of a table with these snapshots, the last one current."""
    listed = [
        {
            "snapshot-id": number,
            "parent-snapshot-id": replaces.get(number, snapshots[index - 1] if index else None),
            "summary": {"operation": "replace" if number in replaces else "append"},
        }
        for index, number in enumerate(snapshots)
    ]
    found = {
        "table-uuid": uuid,
        "current-snapshot-id": snapshots[-1] if snapshots else None,
        "snapshots": listed,
        "snapshot-log": [{"timestamp-ms": number, "snapshot-id": number} for number in snapshots],
    }
    return json.dumps({"metadata-location": location, "metadata": found}).encode()


class FakeCatalog:
    """Tables, metadata and listings as a test put them; each call is kept, and may fail."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.loads: dict[str, bytes] = {}
        self.listed: dict[str, datetime] = {}
        self.locations: dict[str, str] = {}
        self.failures: dict[str, Failure] = {}
        self.calls: list[tuple[str, Any]] = []
        self.page = 100
        self.clock = 0.0

    def put(self, name: str, location: str = "", *snapshots: int, uuid: str = "u1", **more: Any) -> None:
        """A table with this metadata."""
        replaces = more.pop("replaces", {})
        self.tables[name] = table(name, location, **more)
        self.loads[name] = metadata(location, *snapshots, uuid=uuid, replaces=replaces)

    def _reply(self, call: str, asked: Any, body: Any) -> Any:
        self.calls.append((call, asked))
        self.clock += 1
        failure = self.failures.get(call)
        return failure or reply(body, asked=self.clock)

    def get_tables(self, parameters: Mapping[str, Any]) -> Any:
        """A page, found by prefix as moto does."""
        wanted = parameters["Expression"].split("|")
        found = [each for name, each in sorted(self.tables.items()) if any(name.startswith(w) for w in wanted)]
        start = int(parameters.get("NextToken", 0))
        rest = {"NextToken": str(start + self.page)} if len(found) > start + self.page else {}
        return self._reply("get_tables", parameters, {"TableList": found[start : start + self.page], **rest})

    def load_table(self, path: str) -> Any:
        """The table that the path names."""
        return self._reply("load_table", path, self.loads[path.rpartition("/")[2]])

    def list_tables(self, parameters: Mapping[str, Any]) -> Any:
        """All in one page."""
        namespace = [parameters["namespace"]]
        tables = [{"namespace": namespace, "name": n, "modifiedAt": time} for n, time in self.listed.items()]
        return self._reply("list_tables", parameters, {"tables": tables})

    def get_table_metadata_location(self, parameters: Mapping[str, Any]) -> Any:
        """Where the metadata lies."""
        return self._reply("locate", parameters, {"metadataLocation": self.locations.get(parameters["name"])})

    def names(self) -> list[str]:
        """The calls so far, which are then forgotten."""
        found = [call for call, _ in self.calls]
        self.calls.clear()
        return found


# --- Delta -----------------------------------------------------------------------------------------------------------


def data_commit(number: int = 0) -> bytes:
    """An append."""
    return b'{"commitInfo":{"operation":"WRITE"}}\n{"add":{"path":"%d","dataChange":true}}' % number


def optimize_commit(files: int = 1) -> bytes:
    """A compaction of so many files."""
    return b"\n".join(b'{"remove":{"path":"%060d","dataChange":false}}' % number for number in range(files))


def metadata_commit(identifier: str = "t1", schema: str = "a") -> bytes:
    """What a table is."""
    return json.dumps({"metaData": {"id": identifier, "schemaString": schema, "partitionColumns": []}}).encode()


class FakeLog:
    """The log of one Delta table, served as OneLake serves it."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, datetime]] = {}
        self.failures: dict[str, Failure] = {}
        self.gone = False
        self.page = 5000
        self.calls: list[str] = []
        self.clock: float | None = None

    def commit(self, number: int, body: bytes, time: float = 0) -> None:
        """A commit at so many seconds after noon."""
        self.files[f"{number:020}.json"] = (body, at(time))

    def get_file(self, _table: DeltaTable, name: str, first: int, last: int, etag: str) -> Any:
        """A range of a file."""
        self.calls.append(name)
        if name in self.failures:
            return self.failures[name]
        asked = self.clock or 0
        if name not in self.files:
            return reply(b"", status=404, asked=asked)
        body, time = self.files[name]
        tag = f'"{time.timestamp()}-{len(body)}"'
        if etag == tag:
            return reply(b"", status=304, asked=asked)
        part = body[first : last + 1]
        if not part:
            return reply(b"{}", status=416, asked=asked)
        return reply(
            part,
            status=206,
            asked=asked if self.clock else (time - NOON) / seconds(1) + 5,
            ETag=tag,
            Last_Modified=http_date(time),
            Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(body)}",
        )

    def list_files(self, _table: DeltaTable, continuation: str) -> Any:
        """A page of names."""
        self.calls.append("list")
        if "list" in self.failures:
            return self.failures["list"]
        if self.gone:
            return reply(b"", status=404)
        names = sorted(self.files)
        start = int(continuation or 0)
        paths = [{"name": f"lh/Tables/orders/_delta_log/{name}"} for name in names[start : start + self.page]]
        following = str(start + self.page) if len(names) > start + self.page else ""
        return reply(json.dumps({"paths": paths}).encode(), x_ms_continuation=following)

    def numbers(self) -> list[str]:
        """What was asked for so far, in short; it is then forgotten."""
        found = [call.removesuffix(".json").lstrip("0") or "0" for call in self.calls]
        self.calls.clear()
        return found


def hours(number: float) -> timedelta:
    """A duration."""
    return timedelta(hours=number)
