"""Groups: the sources that one request can see together; and which sources a target has by its configuration or view.

GlueDatabase     the tables and views of one database: GetTables, 100 a page
TableBucket      the tables of one namespace of an S3 table bucket: ListTables, 1,000 a page
DeltaTable       one Delta table in OneLake: its log, file by file
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import quote, unquote

from shared.refresh import records
from shared.targets import (
    BlobCreated,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    OneLakeChanged,
    S3ObjectCreated,
    Source,
    Target,
    catalog_of,
    extra_lag,
)
from shared.values import Value

TABLE_BUCKETS = "s3tablescatalog"
"""The catalog below an account's that federates its S3 table buckets: `<account>:s3tablescatalog/<bucket>`."""


class GlueDatabase(Value, frozen=True, tag="glue-database", tag_field="kind"):
    """A database of the Glue Data Catalog; `catalog_id` may be that of a nested catalog."""

    catalog_id: str
    database: str

    @property
    def key(self) -> str:
        """`group:glue-database:<catalog>:<database>`, each part percent-encoded."""
        return records.group_key("glue-database", self.catalog_id, self.database)

    def __str__(self) -> str:
        """`database sales`."""
        return f"database {self.database}"


class TableBucket(Value, frozen=True, tag="s3-table-bucket", tag_field="kind"):
    """A namespace of an S3 table bucket."""

    account: str
    bucket: str
    namespace: str

    @property
    def key(self) -> str:
        """`group:s3-table-bucket:<account>:<bucket>:<namespace>`, each part percent-encoded."""
        return records.group_key("s3-table-bucket", self.account, self.bucket, self.namespace)

    @property
    def catalog_id(self) -> str:
        """The same namespace as Glue names it: `<account>:s3tablescatalog/<bucket>`."""
        return f"{self.account}:{TABLE_BUCKETS}/{self.bucket}"

    def __str__(self) -> str:
        """`namespace sales of table bucket lake`."""
        return f"namespace {self.namespace} of table bucket {self.bucket}"


class DeltaTable(Value, frozen=True, tag="delta-table", tag_field="kind"):
    """A Delta table of a Fabric item; `path` is `Tables/<table>` or `Tables/<schema>/<table>`."""

    workspace: str
    item: str
    path: str

    @property
    def key(self) -> str:
        """`group:delta-table:<workspace>:<item>:<path>`, each part percent-encoded."""
        return records.group_key("delta-table", self.workspace, self.item, self.path)

    def __str__(self) -> str:
        """`Tables/orders`."""
        return self.path


Group = GlueDatabase | TableBucket | DeltaTable


class SourceTable(Value, frozen=True):
    """A source: a table by its name within its group; a Delta table is its whole group, and has no name in it."""

    group: Group
    name: str = ""

    @property
    def title(self) -> str:
        """The name that people are shown: `sales.orders`, or the path of a Delta table."""
        if isinstance(self.group, DeltaTable):
            return self.group.path
        space = self.group.database if isinstance(self.group, GlueDatabase) else self.group.namespace
        return f"{space}.{self.name}"


def group_of(key: str) -> Group | None:
    """The group that a record's key names; None for a key of a kind that only a later release knows."""
    kind, *parts = records.group_parts(key)
    makers = {
        "glue-database": (GlueDatabase, 2),
        "s3-table-bucket": (TableBucket, 3),
        "delta-table": (DeltaTable, 3),
    }
    maker, length = makers.get(kind, (None, 0))
    return maker(*parts) if maker and len(parts) == length else None


# --- Sources of a target ---------------------------------------------------------------------------------------------


def sources_of(target: Target) -> tuple[SourceTable, ...]:
    """The tables that a target's configuration names and that can be looked at, each once."""
    found = (_source_of(target, entry) for entry in target.on)
    return tuple(dict.fromkeys(source for source in found if source))


def files_of(target: Target) -> tuple[str, ...]:
    """The sources that a target's configuration names and no look can see: prefixes and folders of files, by name."""
    found = (_files_named_by(entry) for entry in target.on)
    return tuple(dict.fromkeys(name for name in found if name))


def _files_named_by(entry: Source) -> str:
    match entry:
        case S3ObjectCreated():
            return f"s3://{entry.bucket}/{entry.prefix}"
        case BlobCreated():
            return f"blobs of {entry.account}/{entry.container}/{entry.prefix}"
        case OneLakeChanged() if not entry.is_table:
            return entry.path
    return ""


def lag_of(target: Target, source: SourceTable) -> timedelta:
    """How much longer than the target's visibility lag that of one source is, by the entries of `on` that name it."""
    named = (entry for entry in target.on if _names(entry, source, target))
    return max((extra_lag(entry, target) for entry in named), default=timedelta(0))


def _names(entry: Source, source: SourceTable, target: Target) -> bool:
    """Whether an entry of `on` means a table; Glue's events name no catalog, so a table of any may be meant."""
    if isinstance(entry, GlueTableChanged):
        return source.title == f"{entry.database}.{entry.table}".lower()
    return _source_of(target, entry) == source


def _source_of(target: Target, entry: Source) -> SourceTable | None:
    """The table that an entry of `on` has looked at."""
    view = target.resource
    if isinstance(entry, IcebergChanged) and isinstance(view, GlueView):
        return table_of(catalog_of(entry, view), entry.database, entry.table)
    if isinstance(entry, OneLakeChanged) and entry.is_table:
        return SourceTable(DeltaTable(entry.workspace.lower(), entry.item.lower(), entry.path.strip("/")))
    return None


def view_of(target: Target) -> SourceTable | None:
    """The view itself as something to look at: only on Glue does a view say what it was made of."""
    view = target.resource
    if not isinstance(view, GlueView):
        return None
    return SourceTable(GlueDatabase(view.catalog_id, view.database.lower()), view.table.lower())


def table_of(catalog_id: str, database: str, table: str) -> SourceTable:
    """A table of the Data Catalog in the group that sees it: one in a table bucket is listed by S3 Tables."""
    account, _, nested = catalog_id.partition(":")
    catalog, _, bucket = nested.partition("/")
    if catalog == TABLE_BUCKETS and bucket and "/" not in bucket:
        return SourceTable(TableBucket(account, bucket, database.lower()), table.lower())
    return SourceTable(GlueDatabase(catalog_id, database.lower()), table.lower())


_ARN = re.compile(
    r"arn:[^:]+:glue:[^:]*:(?P<account>\d+):table/(?P<catalog>(?:[^/]+/)*)(?P<database>[^/]+)/(?P<table>[^/]+)"
)


def named_by_view(arns: Iterable[str]) -> tuple[tuple[SourceTable, ...], tuple[str, ...]]:
    """The tables that `ViewDefinition.SubObjects` names, and the entries that do not read as tables.

    `arn:aws:glue:R:A:table/db/t`, or `.../table/s3tablescatalog/bucket/ns/t` in a nested catalog. No vendor's page
    shows an example, so what reads otherwise is handed back, to be shown by name.
    """
    tables: list[SourceTable] = []
    others: list[str] = []
    for arn in arns:
        found = _ARN.fullmatch(arn)
        if found:
            catalog_id = found["account"] + (f":{found['catalog'][:-1]}" if found["catalog"] else "")
            tables.append(table_of(catalog_id, found["database"], found["table"]))
        else:
            others.append(arn)
    return tuple(dict.fromkeys(tables)), tuple(others)


def encode(source: SourceTable) -> str:
    """A source as a key of a mapping: `<key of its group>|<name>`."""
    return f"{source.group.key}|{quote(source.name, safe='')}"


def decode(text: str) -> SourceTable | None:
    """The source that such a key names; None for one of a later release."""
    key, _, name = text.partition("|")
    group = group_of(key)
    return SourceTable(group, unquote(name)) if group else None
