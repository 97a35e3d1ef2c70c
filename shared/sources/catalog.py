"""Looking at AWS: the tables and views of a Glue database, and the tables of an S3 table bucket's namespace.

    every look           GetTables by names, 100 a page      metadata_location, UpdateTime, ViewDefinition
                         ListTables, 1,000 a page            modifiedAt
    only what moved      loadTable (both), after GetTableMetadataLocation (S3 Tables)

https://docs.aws.amazon.com/glue/latest/webapi/API_GetTables.html
https://docs.aws.amazon.com/AmazonS3/latest/API/API_s3TableBuckets_ListTables.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from shared.platforms.failures import TRANSIENT
from shared.redaction import plain
from shared.refresh.failure import Failure, FailureKind
from shared.sources.groups import GlueDatabase, TableBucket, named_by_view
from shared.sources.iceberg import is_news, load_table_path, read_table, to_version
from shared.sources.memory import IcebergVersion, SourceMemory
from shared.sources.ports import Catalog, Known, Observation, Seen, ViewSeen
from shared.sources.replies import Reply, news_time
from shared.times import instant
from shared.values import Value

EXPRESSION_LIMIT = 2048
"""Characters of GetTables' Expression at most (FilterString of the API)."""
GLUE_PAGE, S3_TABLES_PAGE = 100, 1000
"""Tables a page at most: MaxResults of GetTables, maxTables of ListTables."""
PAGES = 50
"""Pages of one list at most: more is a platform that pages in circles."""
LOADS = 40
"""Tables that one look loads at most: 8 s at 200 ms each. The rest is due again at once."""
SETTLED_AFTER = timedelta(seconds=5)
"""A stamp of S3 Tables that is older than this when it is read, by the platform's clock, is not given twice: stamps are
cut to the second, so a commit right after the look may have the same one."""

GONE = "gone, or not allowed to be seen"
"""The problem of a table that a list leaves out: catalogs tell what is gone and what is forbidden alike."""

JsonObject = Mapping[str, Any]


class _Listed(Value, frozen=True):
    """A table as a list shows it. `location` is None where only GetTableMetadataLocation tells it.

    `stamp` is when the platform says that the table changed; `settled`, that no later commit can have the same stamp.
    """

    location: str | None
    stamp: datetime | None
    when: datetime
    moment: datetime
    settled: bool = True
    view: ViewSeen | None = None


class _Load(Value, frozen=True):
    """The facts that loading a table takes: its address, and what the list and the memory say of it.

    `dated`: the location came with the list, so the list's stamp is that of the location's commit.
    """

    path: str
    location: str
    listed: _Listed
    known: IcebergVersion | None
    moment: datetime
    dated: bool = True


# --- A Glue database -------------------------------------------------------------------------------------------------


def look_at_database(group: GlueDatabase, known: Known, catalog: Catalog) -> Seen | Failure:
    """Look at tables and views of a database: all by GetTables, then load the tables whose metadata moved."""
    found: dict[str, _Listed] = {}
    for names in _chunks(sorted({*known.sources, *known.views})):
        for answer in _pages(catalog.get_tables, _tables_parameters(group, names), "NextToken"):
            if isinstance(answer, Failure):
                return answer
            found |= _tables(answer)

    def to_load(name: str, listed: _Listed, version: IcebergVersion | None, _: object) -> _Load | Observation:
        if not listed.location:
            return _without_metadata(listed, version)
        path = load_table_path(group.catalog_id, group.database, name)
        return _Load(path, listed.location, listed, version, listed.moment)

    views = {name: table.view for name, table in found.items() if name in known.views and table.view}
    return replace(_observe(known, found, to_load, catalog), views=views)


def _chunks(names: list[str]) -> list[list[str]]:
    """The names in portions whose expression is not too long."""
    chunks: list[list[str]] = [[]]
    for name in names:
        if chunks[-1] and len(_expression([*chunks[-1], name])) > EXPRESSION_LIMIT:
            chunks.append([])
        chunks[-1].append(name)
    return [chunk for chunk in chunks if chunk]


def _expression(names: list[str]) -> str:
    """A pattern that finds the names. It has no anchors, because no document says whether Glue takes them.

    Without them `orders` finds `orders_by_region` as well, which costs a few lines of an answer and is left aside.
    """
    return "|".join(re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", name) for name in names)


def _tables_parameters(group: GlueDatabase, names: list[str]) -> JsonObject:
    return {
        "CatalogId": group.catalog_id,
        "DatabaseName": group.database,
        "Expression": _expression(names),
        "MaxResults": GLUE_PAGE,
    }


def _tables(answer: Reply[JsonObject]) -> dict[str, _Listed]:
    """A page of GetTables, by name. A name that nobody asked for is no harm: the expression finds prefixes, too."""
    tables = [table for table in answer.body.get("TableList") or () if isinstance(table, Mapping)]
    return {str(table.get("Name", "")).lower(): _table(table, answer) for table in tables}


def _table(table: JsonObject, answer: Reply[JsonObject]) -> _Listed:
    location = _part(table, "Parameters").get("metadata_location")
    update_time = table.get("UpdateTime")
    return _Listed(
        location=location if isinstance(location, str) else "",
        stamp=instant(update_time) if isinstance(update_time, datetime) else None,
        when=answer.when,
        moment=answer.moment,
        view=_view(_part(table, "ViewDefinition"), answer),
    )


def _view(definition: JsonObject, answer: Reply[JsonObject]) -> ViewSeen | None:
    """`{SubObjects: [ARN, ...], SubObjectVersionIds: [63-bit, ...], ViewVersionId: 63-bit}`; absent of a table.

    The ids are the snapshots that the last refresh read of the sources: by them a view is proven fresh (`proof`).
    """
    if not definition:
        return None
    sources, unreadable = named_by_view(text for text in definition.get("SubObjects") or () if isinstance(text, str))
    return ViewSeen(
        sources=sources,
        unreadable=tuple(plain(text, 200) for text in unreadable),
        ids=frozenset(number for number in definition.get("SubObjectVersionIds") or () if isinstance(number, int)),
        version=str(definition.get("ViewVersionId", "")),
        when=answer.when,
        moment=answer.moment,
    )


def _without_metadata(listed: _Listed, known: IcebergVersion | None) -> Observation:
    """A view that names no metadata is known by its own version; any other table without is no Iceberg table."""
    if listed.view is None or not listed.view.version.removeprefix("-").isdigit():
        return Observation(problem="no Iceberg table")
    current = int(listed.view.version)
    version = IcebergVersion("", ids=(current,), stamp=listed.stamp)
    news = known is None or current not in known.ids
    news_at = news_time(listed.moment, listed.stamp) if news else None
    return Observation(version, listed.when, listed.moment, news_at)


# --- A namespace of an S3 table bucket -------------------------------------------------------------------------------


def look_at_bucket(group: TableBucket, known: Known, catalog: Catalog) -> Seen | Failure:
    """Look at the tables of a namespace: all by ListTables, then ask for and load what was modified."""
    found: dict[str, _Listed] = {}
    parameters = {"namespace": group.namespace, "maxTables": S3_TABLES_PAGE}
    for answer in _pages(catalog.list_tables, parameters, "continuationToken"):
        if isinstance(answer, Failure):
            return answer
        found |= _bucket_tables(answer, group.namespace)

    def to_load(
        name: str, listed: _Listed, version: IcebergVersion | None, calls: _SingleCalls
    ) -> _Load | Observation | Failure:
        if version and version.settled and version.stamp == listed.stamp and listed.stamp:
            return _observe_same(version, listed)
        return _locate(group, name, listed, version, calls)

    return _observe(known, found, to_load, catalog)


def _bucket_tables(answer: Reply[JsonObject], namespace: str) -> dict[str, _Listed]:
    tables = [table for table in answer.body.get("tables") or () if isinstance(table, Mapping)]
    wanted = [table for table in tables if [namespace] == [str(part).lower() for part in table.get("namespace") or ()]]
    return {str(table.get("name", "")).lower(): _bucket_table(table, answer) for table in wanted}


def _bucket_table(table: JsonObject, answer: Reply[JsonObject]) -> _Listed:
    modified_at = table.get("modifiedAt")
    stamp = instant(modified_at) if isinstance(modified_at, datetime) else None
    settled = stamp is not None and answer.date is not None and answer.date > stamp + SETTLED_AFTER
    return _Listed(None, stamp, answer.when, answer.moment, settled)


def _locate(
    group: TableBucket, name: str, listed: _Listed, known: IcebergVersion | None, calls: _SingleCalls
) -> _Load | Observation | Failure:
    """GetTableMetadataLocation; its answer comes after the list's, so a version that it shows is as late as itself."""
    answer = calls.get_table_metadata_location({"namespace": group.namespace, "name": name})
    if isinstance(answer, Failure):
        return answer
    location = answer.body.get("metadataLocation")
    if not isinstance(location, str) or not location:
        return Observation(problem="no Iceberg table")
    if known and known.location == location:
        return _observe_same(replace(known, stamp=listed.stamp, settled=listed.settled), listed)
    path = load_table_path(group.catalog_id, group.namespace, name)
    return _Load(path, location, listed, known, answer.moment, dated=False)


# --- Both ------------------------------------------------------------------------------------------------------------


class _SingleCalls:
    """Calls that are about one table; counted, because a look must end."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.count = 0

    def load_table(self, path: str) -> Reply[bytes] | Failure:
        """As the catalog has it."""
        self.count += 1
        return self._catalog.load_table(path)

    def get_table_metadata_location(self, parameters: JsonObject) -> Reply[JsonObject] | Failure:
        """As the catalog has it."""
        self.count += 1
        return self._catalog.get_table_metadata_location(parameters)


ToLoad = Callable[[str, _Listed, IcebergVersion | None, _SingleCalls], _Load | Observation | Failure]


def _pages(
    call: Callable[[JsonObject], Reply[JsonObject] | Failure], parameters: JsonObject, token: str
) -> Iterator[Reply[JsonObject] | Failure]:
    """All pages of a list, or as far as a failure: half a list must not be taken for "gone"."""
    for _ in range(PAGES):
        answer = call(parameters)
        yield answer
        following = None if isinstance(answer, Failure) else answer.body.get(token)
        if not following:
            return
        parameters = {**parameters, token: following}
    yield TRANSIENT.failure("EndlessListing", f"the list of tables did not end after {PAGES} pages")


def _observe(known: Known, found: Mapping[str, _Listed], to_load: ToLoad, catalog: Catalog) -> Seen:
    """Say of each source what the list, or loading it, shows. One that fails says nothing of the others.

    Those that had a problem come last, so that they cannot use up what a look may load.
    """
    observations: dict[str, Observation] = {}
    throttled, single = False, _SingleCalls(catalog)
    for name, memory in sorted(known.sources.items(), key=lambda item: (bool(item[1].problem), item[0])):
        listed = found.get(name)
        if listed is None:
            observations[name] = Observation(problem=GONE)
        elif throttled or single.count >= LOADS:
            observations[name] = Observation(complete=throttled)
        else:
            observed = _observe_one(name, listed, memory, to_load, single)
            throttled = isinstance(observed, Failure) and observed.kind is FailureKind.THROTTLED
            if isinstance(observed, Failure):  # throttling is no problem of the source: the whole group is asked later
                observed = Observation(problem="" if throttled else str(observed))
            observations[name] = observed
    return Seen(observations, throttled=throttled)


def _observe_one(
    name: str, listed: _Listed, memory: SourceMemory, to_load: ToLoad, calls: _SingleCalls
) -> Observation | Failure:
    known = memory.version if isinstance(memory.version, IcebergVersion) else None
    load = to_load(name, listed, known, calls)
    if not isinstance(load, _Load):
        return load
    if known and known.location == load.location:
        return _observe_same(replace(known, stamp=listed.stamp), listed)
    answer = calls.load_table(load.path)
    return answer if isinstance(answer, Failure) else _observe_loaded(load, answer)


def _observe_same(known: IcebergVersion, listed: _Listed) -> Observation:
    """The same metadata file as last time is the same table: no call is needed, and there are no news."""
    return Observation(known, listed.when, listed.moment)


def _observe_loaded(load: _Load, answer: Reply[bytes]) -> Observation:
    """An observation made of `loadTable`. Where that names another location than the list did, a commit came between.

    Then the stamp of the list belongs to the commit before, so the news is dated by the answer's own moment.
    """
    metadata = read_table(answer.body)
    if isinstance(metadata, str):
        return Observation(problem=plain(metadata))
    listed, as_known = load.listed, metadata.location == load.location
    moment = load.moment if as_known else answer.moment
    stamp = listed.stamp if as_known and load.dated else None
    news_at = news_time(moment, stamp) if is_news(metadata, load.known) else None
    version = replace(to_version(metadata, load.known), stamp=listed.stamp, settled=listed.settled)
    return Observation(version, listed.when, moment, news_at)


def _part(answer: JsonObject, name: str) -> JsonObject:
    """An object inside an answer; an empty one where the platform leaves the field out, or has another type there."""
    value = answer.get(name)
    return value if isinstance(value, Mapping) else {}
