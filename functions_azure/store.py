r"""The store on one Azure table, in eight partitions by a digest of the key.

    RowKey                    properties
    record!<key>              key, body; wake_at while there is something to look at
    due!<time>!<key>          key: the index of what is due, one row for each record that has a `wake_at`
    run!<key>!<newest first>  body: a line of history
    old!<time>!<row>          row: the index of what may be forgotten, one row for each line of history

A table has no second index and no expiry, but one transaction for a partition. So a record and its place in the index
change together or not at all, and a tick asks each partition for one range: nine reads with that of the deployment,
however many targets there are. Keys are escaped: a table refuses `/`, `\`, `#`, `?` and control characters in them.
https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

import heapq
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode

from functions_azure.clients import NEVER, AbsentError, Clients, Deadline, ask
from shared.refresh.ports import Conflict, Document, StoreDownError
from shared.times import sortable

PARTITIONS = 8
"""A tick costs so many reads, and one; a partition takes some 2,000 writes a second. Never to be changed: what is there
would not be found."""

DUE_AT_ONCE = 250
"""Rows of the index in one page of a partition: a thousand records that are due, some 125 in each, are eight pages, and
a tick that has time for a few reads 2,000 rows at most."""

LONGEST_BODY = 60_000
"""Bytes. A property holds 64 KiB; a record has about one, and texts of others are cut before they get into it."""
LONGEST_KEY = 512
"""Characters of a row's key: 1 KiB in UTF-16."""

FEW = 11
"""Keys that are read one by one: as many as the deployment and the targets that are read ahead. A wake reads three."""

FORGOTTEN_AT_ONCE = 5
"""Old lines of history that one append removes: more than it adds, and few enough to be over in a moment."""

RECORD, DUE, RUN, OLD = "record!", "due!", "run!", "old!"
AFTER = '"'
"""The character that follows `!`: it ends the range of all rows that begin alike."""

BEHIND = "!"
"""The character that makes the name of a row the first one behind it: no key has a lower one, once it is escaped."""

log = logging.getLogger("unstale")

Entity = Mapping[str, Any]
Operation = tuple[Any, ...]


class Store:
    """`shared.refresh.ports.Store` on Azure Tables."""

    reads_together = False  # records of several partitions: a request for each

    def __init__(self, clients: Clients, now: Callable[[], datetime], deadline: Deadline = NEVER) -> None:
        """`now` says whether a line of history is old."""
        self._clients = clients
        self._now = now
        self._deadline = deadline

    def load(self, key: str) -> Document:
        """Get Entity; always consistent."""

        def send(**limits: Any) -> Entity:
            return self._clients.table.get_entity(_partition(key), RECORD + _escape(key), **limits)

        try:
            return _document(ask(f"reading {key}", self._deadline, send))
        except AbsentError:
            return Document(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace the record in one transaction, on the condition that it is still at the version that was read.

        The row in the index of due records goes with it, so the two never disagree: both change, or neither does.
        """
        etag, _, known = document.version.partition(" ")
        due = sortable(wake_at) if wake_at else ""
        record = _row(document.key, RECORD + _escape(document.key)) | {"body": _check_size(body)}
        record |= {"wake_at": due} if due else {}
        change = _replacement(record, etag) if etag else ("create", record)
        try:
            try:
                answers = self._transact(f"saving {document.key}", [change, *_reindex(document.key, known, due)])
            except AbsentError:  # the record, which is a conflict; or its row in the index, if a person removed it
                answers = self._transact(f"saving {document.key}", [change, *_reindex(document.key, "", due)])
        except AbsentError:
            raise Conflict(document.key) from None
        return Document(document.key, f"{answers[0]['etag']} {due}", body)

    def remove(self, document: Document) -> None:
        """Remove the record in one transaction, as a save. A record that is not there any more has moved on."""
        etag, _, known = document.version.partition(" ")
        if not etag:
            raise Conflict(document.key)
        condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        row = _row(document.key, RECORD + _escape(document.key))
        change: Operation = ("delete", row, condition)
        what = f"removing {document.key}"
        try:
            try:
                self._transact(what, [change, *_reindex(document.key, known, "")])
            except AbsentError:  # the record, or only its row in the index
                self._transact(what, [change])
        except AbsentError:
            raise Conflict(document.key) from None

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """The keys that are due, by a query for each page of each partition, which are merged: no row is read twice."""
        size = min(limit or DUE_AT_ONCE, DUE_AT_ONCE)
        partitions = [self._due_rows(str(partition), now, size) for partition in range(PARTITIONS)]
        rows = heapq.merge(*partitions, key=lambda row: str(row["RowKey"]))
        return (row["key"] for row in islice(rows, limit))

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of keys, partition after partition; the cursor is `<partition> <row to go on at>`."""
        first, _, row = cursor.partition(" ")
        for partition in range(int(first or 0), PARTITIONS):
            rows = self._query("listing the records", str(partition), row or RECORD, RECORD[:-1] + AFTER, limit + 1)
            page = [found["key"] for found in rows[:limit]]
            if len(rows) > limit:
                return page, f"{partition} {rows[limit]['RowKey']}"
            if page:
                return page, f"{partition + 1} " if partition + 1 < PARTITIONS else ""
            row = ""
        return [], ""

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many records: a query for each partition, over the range that holds all the keys; a few one by one.

        Between a few keys may lie thousands of others: those of the deployment and of a target, say.
        """
        wanted = list(keys)
        if len(wanted) <= FEW:
            return [self.load(key) for key in wanted]
        rows: dict[str, list[str]] = {}
        for key in wanted:
            rows.setdefault(_partition(key), []).append(RECORD + _escape(key))
        found = {
            row["key"]: _document(row)
            for partition, names in rows.items()
            for row in self._query("reading many records", partition, min(names), max(names) + AFTER)
        }
        return [found.get(key, Document(key)) for key in wanted]

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep a line in one transaction; then remove a few old lines, of whatever record in the partition."""
        name = f"{RUN}{_escape(key)}!{_newest_first(entry_id)}"
        line = _row(key, name) | {"body": _check_size(body)}
        old = _row(key, f"{OLD}{sortable(expires_at)}!{name}") | {"row": name}
        self._transact(f"appending to the history of {key}", [_replacement(line), _replacement(old)])
        self._forget(_partition(key))

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """The newest lines, by one query: rows are stored in the order that is asked for."""
        start = f"{RUN}{_escape(key)}!"
        rows = self._query(f"reading the history of {key}", _partition(key), start, start[:-1] + AFTER, limit)
        return [row["body"] for row in rows]

    def _forget(self, partition: str) -> None:
        """Remove lines whose time is over, each before its row in the index. What fails is left to the next append.

        Row by row, and missing ones are passed over: two workers may be at it, or one line have two rows in the index.
        """
        try:
            end = OLD + sortable(self._now())
            for row in self._query("looking for old history", partition, OLD, end, FORGOTTEN_AT_ONCE):
                self._delete("removing old history", partition, row["row"])
                self._delete("removing old history", partition, row["RowKey"])
        except StoreDownError as down:
            log.warning("%s", down)

    def _delete(self, what: str, partition: str, name: str) -> None:
        def send(**limits: Any) -> None:
            self._clients.table.delete_entity(partition, name, **limits)

        ask(what, self._deadline, send)

    def _due_rows(self, partition: str, now: datetime, size: int) -> Iterator[Entity]:
        """The rows of what is due in one partition, in order. A page begins behind the last row of the one before."""
        start, end = DUE, DUE + sortable(now) + AFTER
        while True:
            rows = self._query("asking what is due", partition, start, end, size)
            yield from rows
            if len(rows) < size:
                return
            start = rows[-1]["RowKey"] + BEHIND

    def _query(self, what: str, partition: str, start: str, end: str, limit: int | None = None) -> list[Entity]:
        """Query Entities: those from `start`, before `end`, in order; a page holds a thousand at most."""

        def send(**limits: Any) -> list[Entity]:
            pages: Iterator[Entity] = self._clients.table.query_entities(
                "PartitionKey eq @partition and RowKey ge @start and RowKey lt @end",
                parameters={"partition": partition, "start": start, "end": end},
                results_per_page=min(limit or 1000, 1000),
                **limits,
            )
            return list(islice(pages, limit))

        return ask(what, self._deadline, send)

    def _transact(self, what: str, operations: Sequence[Operation]) -> Sequence[Mapping[str, Any]]:
        def send(**limits: Any) -> Sequence[Mapping[str, Any]]:
            return self._clients.table.submit_transaction(operations, **limits)

        return ask(what, self._deadline, send)


# --- Rows ------------------------------------------------------------------------------------------------------------


def _partition(key: str) -> str:
    return str(zlib.crc32(key.encode()) % PARTITIONS)


def _escape(key: str) -> str:
    """Letters, digits and `-_.:;` as they are, every other byte as `=XX`: no `!` in a key, so ranges are sure."""
    return re.sub(rb"[^A-Za-z0-9_.:;-]", lambda found: b"=%02X" % found[0][0], key.encode()).decode()


def _newest_first(entry_id: str) -> str:
    """The complement of its bytes, in hexadecimal; `z` ends it, so that an id comes before one that it continues."""
    return bytes(255 - byte for byte in entry_id.encode()).hex() + "z"


def _row(key: str, name: str) -> dict[str, Any]:
    if len(name) > LONGEST_KEY:
        raise ValueError(f"the key of a row would have {len(name)} characters, a table takes {LONGEST_KEY}: {name}")
    return {"PartitionKey": _partition(key), "RowKey": name, "key": key}


def _check_size(body: bytes) -> bytes:
    if len(body) > LONGEST_BODY:
        raise ValueError(f"a record of {len(body)} bytes: more than {LONGEST_BODY}, so something is wrong with it")
    return body


def _document(row: Any) -> Document:
    """The version holds the time at which the index has the record, so that a save knows what to take out there."""
    return Document(row["key"], f"{row.metadata['etag']} {row.get('wake_at', '')}", row["body"])


def _reindex(key: str, known: str, due: str) -> Iterator[Operation]:
    """The operations that move a record within the index; "" is no place."""
    if known and known != due:
        yield _removal(_partition(key), _due_row(key, known))
    if due:
        yield _replacement(_row(key, _due_row(key, due)))


def _due_row(key: str, due: str) -> str:
    return f"{DUE}{due}!{_escape(key)}"


def _replacement(row: Entity, etag: str = "") -> Operation:
    """Insert Or Replace; with an ETag, Update Entity on the condition that it is still that one."""
    if not etag:
        return ("upsert", row, {"mode": UpdateMode.REPLACE})
    condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return ("update", row, {"mode": UpdateMode.REPLACE, **condition})


def _removal(partition: str, name: str) -> Operation:
    return ("delete", {"PartitionKey": partition, "RowKey": name})
