"""Iceberg tables: what `loadTable` answers, and whether it is news (design, section 9, rule 4).

GET <Glue>/iceberg/v1/catalogs/<catalog>/namespaces/<database>/tables/<table>, signed for the service `glue`
https://docs.aws.amazon.com/glue/latest/dg/iceberg-rest-apis.html, https://iceberg.apache.org/spec/#table-metadata

    A (append) <- B (replace) <- C (replace)     the same data: a view that read any of them is current
    A (append) <- D (append)                     news
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from shared.platforms.failures import header
from shared.sources.memory import IDS_KEPT, IcebergVersion
from shared.values import Value

METADATA_LIMIT = 32 * 1024 * 1024
"""Bytes of a `loadTable` answer that are read at most: some 40,000 snapshots at 0.73 kB each (measured, PyIceberg)."""

REPLACE = "replace"
"""The operation of a snapshot that changed no data: compaction, relocation, another file format (Iceberg spec)."""


class _Summary(msgspec.Struct):
    operation: str = ""


class TableSnapshot(msgspec.Struct, rename="kebab"):
    """An entry of `snapshots` in the metadata."""

    snapshot_id: int
    parent_snapshot_id: int | None = None
    summary: _Summary | None = None

    @property
    def source_of_data(self) -> int | None:
        """The snapshot whose data it holds unchanged; None for one with data of its own."""
        return self.parent_snapshot_id if self.summary and self.summary.operation == REPLACE else None


class _LogEntry(msgspec.Struct, rename="kebab"):
    timestamp_ms: int
    snapshot_id: int


class _Ref(msgspec.Struct, rename="kebab"):
    snapshot_id: int


class _Metadata(msgspec.Struct, rename="kebab"):
    table_uuid: str = ""
    current_snapshot_id: int | None = None
    snapshots: list[TableSnapshot] = []
    snapshot_log: list[_LogEntry] = []
    refs: dict[str, _Ref] = {}


class _Answer(msgspec.Struct, rename="kebab"):
    metadata_location: str
    metadata: _Metadata


class Metadata(Value, frozen=True):
    """The part of an Iceberg table's metadata that counts: its id, current snapshot, snapshots by id, and log."""

    location: str
    uuid: str
    current: int | None
    snapshots: dict[int, TableSnapshot]
    log: tuple[tuple[int, int], ...]

    def same_data(self, snapshot: int) -> tuple[int, ...]:
        """The snapshot and those before it that hold the same data, a parent that has expired included."""
        chain = [snapshot]
        while (known := self.snapshots.get(chain[-1])) and known.source_of_data is not None:
            if known.source_of_data in chain:
                break  # no table has a circle; one that does must not hold up the others
            chain.append(known.source_of_data)
        return tuple(chain)


_decoder = msgspec.json.Decoder(_Answer)


def load_table_path(catalog_id: str, database: str, table: str) -> str:
    """Path of `loadTable` below Glue's endpoint; a nested catalog has colons for slashes in its prefix.

    https://docs.aws.amazon.com/glue/latest/dg/connect-glu-iceberg-rest.html
    """
    prefix = quote(catalog_id.replace("/", ":"), safe=":")
    return f"/iceberg/v1/catalogs/{prefix}/namespaces/{quote(database, safe='')}/tables/{quote(table, safe='')}"


class _Error(msgspec.Struct):
    message: str = ""
    type: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


_error = msgspec.json.Decoder(_ErrorAnswer)


def error_of(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Code and message of an error of the REST catalog: `{"error": {"message", "type", "code"}}`, or another body.

    The header says what the status does not: throttling comes as 400 with `x-amzn-ErrorType: ThrottlingException`
    (github.com/apache/iceberg/issues/17824).
    """
    try:
        error = _error.decode(body).error
    except msgspec.MsgspecError:
        error = _Error()
    code = header(headers, "x-amzn-ErrorType").partition(":")[0] or error.type
    return code, error.message


def read_table(body: bytes) -> Metadata | str:
    """The answer of `loadTable`; a text that says what is wrong with one that does not read as such."""
    try:
        answer = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        return f"loadTable answered what does not read as Iceberg metadata: {error}"
    metadata = answer.metadata
    main = metadata.refs.get("main")
    current = main.snapshot_id if main else metadata.current_snapshot_id
    return Metadata(
        location=answer.metadata_location,
        uuid=metadata.table_uuid,
        current=None if current in {None, -1} else current,
        snapshots={snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots},
        log=tuple((entry.timestamp_ms, entry.snapshot_id) for entry in metadata.snapshot_log),
    )


def is_news(metadata: Metadata, known: IcebergVersion | None) -> bool:
    """Whether the table's data changed since it was remembered, there and back again included."""
    if known is None or known.uuid != metadata.uuid:
        return True
    if metadata.current is None:
        return bool(known.ids)
    seen = set(known.ids)
    current = (metadata.current, *_logged_since(metadata, known))
    return any(seen.isdisjoint(metadata.same_data(snapshot)) for snapshot in current)


def _logged_since(metadata: Metadata, known: IcebergVersion) -> Iterable[int]:
    """Snapshots that were current since the last look. Expiry cuts the log: without the last line, all count."""
    log = metadata.log
    if known.log_entry in log:
        last = len(log) - 1 - log[::-1].index(known.log_entry)
        log = log[last + 1 :]
    return (snapshot for _, snapshot in log)


def to_version(metadata: Metadata, known: IcebergVersion | None) -> IcebergVersion:
    """The version to remember. Ids of the same data stay known, the oldest above all: a view may have read it."""
    ids = metadata.same_data(metadata.current) if metadata.current is not None else ()
    same = known is not None and known.uuid == metadata.uuid and not set(ids).isdisjoint(known.ids)
    if same and known:
        ids = tuple(dict.fromkeys((*ids, *known.ids)))
    if len(ids) > IDS_KEPT:
        ids = (*ids[: IDS_KEPT - 1], ids[-1])
    return IcebergVersion(metadata.location, metadata.uuid, ids, metadata.log[-1] if metadata.log else None)
