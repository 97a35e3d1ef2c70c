"""The calls that looking makes of AWS, on loopback: Iceberg tables in moto's Glue and S3, and calls that moto lacks.

    GetTables            moto's, with pages, whole-second times, and what each view's last refresh read
    loadTable            GET /iceberg/v1/catalogs/<catalog>/namespaces/<database>/tables/<table>, and /iceberg/v1/config
    S3 Tables            GET /tables/<bucket ARN> and GET /tables/<bucket ARN>/<namespace>/<name>/metadata-location

A table is a Glue table whose `metadata_location` names an object of moto's S3, whoever wrote it: `commit` here, or
PyIceberg. Tables of a table bucket lie in the nested catalog `<account>:s3tablescatalog/<bucket>`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from moto.glue.exceptions import EntityNotFoundException
from moto.s3.exceptions import MissingKey
from moto.s3.models import s3_backends

from local.emulators.clock import utc_now
from local.emulators.faults import FaultScript, Refuse, Throttle

Backend = Callable[[str], Any]
"""moto's Glue of one catalog, by its id."""

PAGE: Final = 100
"""Tables a page at most (MaxResults of GetTables)."""

THROTTLED: Final = "ThrottlingException"
"""The code by which each of these calls asks for fewer calls."""

# Paths as the SDK and our own signed requests send them: names and ARNs are percent-encoded, so none holds a slash.
_LOAD = re.compile(r"/iceberg/v1/catalogs/(?P<catalog>[^/]+)/namespaces/(?P<database>[^/]+)/tables/(?P<table>[^/]+)")
_CONFIG = re.compile(r"/iceberg/v1/config")
_LIST = re.compile(r"/tables/(?P<bucket>arn[^/]+/[^/]+)")
_LOCATION = re.compile(r"/tables/(?P<bucket>arn[^/]+/[^/]+)/(?P<namespace>[^/]+)/(?P<name>[^/]+)/metadata-location")


class RefusedError(Exception):
    """A refusal as the REST catalog and S3 Tables word it: a status, a code, and a message for people."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


_EMPTY: Final = {
    "format-version": 2,
    "location": "s3://lake",
    "last-column-id": 1,
    "schemas": [
        {"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
    ],
    "current-schema-id": 0,
    "partition-specs": [{"spec-id": 0, "fields": []}],
    "default-spec-id": 0,
    "last-partition-id": 999,
    "sort-orders": [{"order-id": 0, "fields": []}],
    "default-sort-order-id": 0,
    "properties": {},
    "snapshots": [],
    "snapshot-log": [],
}
"""The metadata that the specification demands of a table without a snapshot (https://iceberg.apache.org/spec/)."""


# --- Tables ----------------------------------------------------------------------------------------------------------


def read_metadata(account: str, location: str) -> dict[str, Any] | None:
    """The metadata that lies there; None where nothing does: a catalog may name a file that somebody removed."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        stored = s3_backends[account]["aws"].get_object(bucket, key)
    except MissingKey:
        return None
    found: dict[str, Any] = json.loads(stored.value) if stored else {}
    return found or None


def current_snapshot(account: str, table: Mapping[str, Any]) -> int | None:
    """The snapshot that a refresh would read of a table now; None for a table without data, or without metadata."""
    location = table.get("Parameters", {}).get("metadata_location", "")
    metadata = read_metadata(account, location) if location else None
    return metadata.get("current-snapshot-id") if metadata else None


def next_metadata(before: Mapping[str, Any] | None, operation: str, number: int, now: datetime) -> dict[str, Any]:
    """Metadata after one more commit: a snapshot of this operation, or `rollback` to the one before.

    A rollback makes no snapshot. It only adds a line to `snapshot-log`, which is how a look can tell it from nothing.
    """
    found = dict(before or _EMPTY | {"table-uuid": str(uuid.uuid4())})
    stamp = int(now.timestamp() * 1000)
    snapshots, current = found["snapshots"], found.get("current-snapshot-id")
    if operation == "rollback":
        parents = {each["snapshot-id"]: each.get("parent-snapshot-id") for each in snapshots}
        current = parents[current]
    else:
        made: dict[str, Any] = {"snapshot-id": number, "sequence-number": len(snapshots) + 1, "timestamp-ms": stamp}
        made |= {"manifest-list": f"s3://lake/snap-{number}.avro", "schema-id": 0}
        parent = {} if current is None else {"parent-snapshot-id": current}
        snapshots = [*snapshots, made | parent | {"summary": {"operation": operation}}]
        current = number
    log = [*found["snapshot-log"], {"timestamp-ms": stamp, "snapshot-id": current}]
    return found | {
        "last-sequence-number": len(snapshots),
        "last-updated-ms": stamp,
        "current-snapshot-id": current,
        "refs": {"main": {"snapshot-id": current, "type": "branch"}},
        "snapshots": snapshots,
        "snapshot-log": log,
    }


def subobjects_read(account: str, backend: Backend, view: Mapping[str, Any]) -> tuple[int, ...]:
    """The snapshots that a refresh of a view reads now, -1 for a source without one [assumed].

    They become the view's `SubObjectVersionIds`, by which the product proves a view fresh; so they are read at the
    moment at which a run begins to read, and from the metadata itself.
    """
    found = []
    for arn in view.get("ViewDefinition", {}).get("SubObjects", ()):
        parts = arn.partition(":table/")[2].split("/")
        if len(parts) < 2:  # noqa: PLR2004 - a database and a table
            continue
        *catalogs, database, name = parts
        catalog = f"{account}:{'/'.join(catalogs)}" if catalogs else account
        try:
            table = backend(catalog).get_table(database, name).as_dict()
        except EntityNotFoundException:
            continue  # a view may name what is gone, or never was: whoever made it here did not care
        current = current_snapshot(account, table)
        found.append(-1 if current is None else current)
    return tuple(found)


def page_of_tables(tables: list[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A page of GetTables, with times cut to the second as Glue's are; moto gives all, with milliseconds."""
    size = min(parameters.get("MaxResults") or PAGE, PAGE)
    start = int(parameters.get("NextToken") or 0)
    page = [table | _whole_seconds(table) for table in tables[start : start + size]]
    more = {"NextToken": str(start + size)} if len(tables) > start + size else {}
    return {"TableList": page} | more


def _whole_seconds(table: Mapping[str, Any]) -> dict[str, Any]:
    update_time = table.get("UpdateTime") or table.get("CreateTime")
    return {"UpdateTime": update_time.replace(microsecond=0)} if update_time else {}


# --- Calls -----------------------------------------------------------------------------------------------------------


class LakeCalls:
    """A WSGI application before moto's, which answers what moto does not know and hands on all else."""

    def __init__(
        self, app: Any, account: str, backend: Backend, faults: FaultScript, clock: Callable[[], datetime] = utc_now
    ) -> None:
        """`clock` is what the Date header of every answer tells, those of moto included."""
        self._app = app
        self._clock = clock
        self._account = account
        self._backend = backend
        self._faults = faults
        self.calls: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer one request."""
        path = unquote(environ["PATH_INFO"])
        answers: dict[re.Pattern[str], Callable[..., dict[str, Any]]] = {
            _LOAD: self._load,
            _CONFIG: self._config,
            _LOCATION: self._location,
            _LIST: self._list,
        }
        for pattern, answer in answers.items():
            found = pattern.fullmatch(path)
            if found and environ["REQUEST_METHOD"] == "GET":
                self.calls.append(path)
                query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
                return self._answer(lambda: answer(**found.groupdict(), **query), start_response)  # noqa: B023 - at once
        return self._app(environ, self._start_with_date(start_response))

    def _start_with_date(self, start_response: Any) -> Any:
        """The same, with a Date by our clock: the server's own would tell this machine's time."""

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            others = [(name, value) for name, value in headers if name.lower() != "date"]
            return start_response(status, [*others, ("Date", self._date())], *more)

        return start

    def _date(self) -> str:
        return format_datetime(self._clock().astimezone(UTC), usegmt=True)

    def _answer(self, make: Callable[[], dict[str, Any]], start_response: Any) -> Any:
        headers = {"Content-Type": "application/json", "Date": self._date()}
        status, body = HTTPStatus.OK, dict[str, Any]()
        try:
            _refuse(self._faults)
            body = make()
        except RefusedError as refusal:
            status = refusal.status
            headers["x-amzn-ErrorType"] = f"{refusal.code}:"
            error = {"message": refusal.message, "type": refusal.code, "code": status.value}
            body |= {"error": error, "message": refusal.message}
        encoded = json.dumps(body).encode()
        start_response(f"{status.value} {status.phrase}", [*headers.items(), ("Content-Length", str(len(encoded)))])
        return _Body([encoded])

    def _config(self, warehouse: str = "", **_: str) -> dict[str, Any]:
        prefix = warehouse.replace("/", ":") or self._account
        return {"defaults": {}, "overrides": {"prefix": f"catalogs/{prefix}"}}

    def _load(self, catalog: str, database: str, table: str, **_: str) -> dict[str, Any]:
        account, nested = (*catalog.split(":", 1), "")[:2]
        found = self._table(f"{account}:{nested.replace(':', '/')}" if nested else account, database, table)
        location = found.get("Parameters", {}).get("metadata_location", "")
        metadata = read_metadata(self._account, location) if location else None
        if metadata is None:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "InvalidInputException", f"{database}.{table} is no Iceberg table"
            )
        return {"metadata-location": location, "metadata": metadata, "config": {}}

    def _list(self, bucket: str, namespace: str = "", **_: str) -> dict[str, Any]:
        tables = self._backend(_catalog_of(bucket, self._account)).get_tables(namespace, "")
        return {"tables": [_s3_table(bucket, table.as_dict()) for table in tables]}

    def _location(self, bucket: str, namespace: str, name: str, **_: str) -> dict[str, Any]:
        found = self._table(_catalog_of(bucket, self._account), namespace, name)
        location = found.get("Parameters", {}).get("metadata_location", "")
        return {"versionToken": location, "metadataLocation": location, "warehouseLocation": "s3://lake"}

    def _table(self, catalog: str, database: str, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._backend(catalog).get_table(database, name).as_dict()
        except EntityNotFoundException as error:
            raise RefusedError(HTTPStatus.NOT_FOUND, "EntityNotFoundException", error.message) from None
        return found


class _Body(list[bytes]):
    """An answer's body; WSGI servers close it."""

    def close(self) -> None:
        """Nothing is open."""


def _refuse(faults: FaultScript) -> None:
    """Refuse as scripted. Throttling has status 400 here (github.com/apache/iceberg/issues/17824)."""
    match faults.take("look"):
        case Throttle():
            raise RefusedError(HTTPStatus.BAD_REQUEST, THROTTLED, "Rate exceeded")
        case Refuse(code):
            raise RefusedError(HTTPStatus.FORBIDDEN, code, "as scripted")


def _catalog_of(bucket_arn: str, account: str) -> str:
    return f"{account}:s3tablescatalog/{bucket_arn.rpartition('/')[2]}"


def _s3_table(bucket: str, table: Mapping[str, Any]) -> dict[str, Any]:
    modified = table.get("UpdateTime") or table["CreateTime"]
    return {
        "namespace": [table["DatabaseName"]],
        "name": table["Name"],
        "type": "customer",
        "tableARN": f"{bucket}/table/{table['Name']}",
        "createdAt": f"{table['CreateTime']:%Y-%m-%dT%H:%M:%SZ}",
        "modifiedAt": f"{modified:%Y-%m-%dT%H:%M:%SZ}",
    }
