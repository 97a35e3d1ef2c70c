"""The store in one SQLite file, for `unstale run` and for commands that are given `--state`.

    record   cloud, key                  version, body, wake_at
    history  cloud, key, entry_id        body, expires_at

Each cloud has rows of its own, since its engine forgets the records that none of its targets names. Any number of
processes may have the file open: each write is one statement with its condition in it, in SQLite's write-ahead log, and
is on the disk before the call returns (`synchronous = FULL`: a claim that a power failure took back would be an
overlap). What SQLite cannot do for now, such as with a full disk or a file that is locked, is a `StoreDownError`.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Self

from shared.refresh.ports import Clock, Conflict, Document, StoreDownError
from shared.targets import Cloud
from shared.times import sortable

FORMAT = 1
"""Format of the file, in SQLite's `user_version`. Raise it when an older release would misread what this one writes."""
APPLICATION_ID = 0x756E7374
"""The letters `unst` in SQLite's `application_id`, by which a file is known as ours: https://sqlite.org/fileformat2.html."""
PRIVATE = 0o600
"""Mode of the file: reasons and errors in it are for its owner. SQLite gives its log and index the same mode."""
WAIT_SECONDS = 5.0
"""For another process's write, before the store counts as down. A write takes some milliseconds."""
DUE_AT_ONCE = 500
"""Keys of what is due in one SELECT: little enough to hold up no other process."""
LOOK_SECONDS = 0.5
"""For its turn, before a look for changes gives way: it comes each second, in the thread that must end in time."""
KEYS_AT_ONCE = 500
"""Keys in one SELECT; SQLite takes 999 parameters at least: https://sqlite.org/limits.html#max_variable_number."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS record (
    cloud TEXT NOT NULL, key TEXT NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL, wake_at TEXT,
    PRIMARY KEY (cloud, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON record (cloud, wake_at) WHERE wake_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS history (
    cloud TEXT NOT NULL, key TEXT NOT NULL, entry_id TEXT NOT NULL, body BLOB NOT NULL, expires_at TEXT NOT NULL,
    PRIMARY KEY (cloud, key, entry_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiry ON history (expires_at);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
"""Tables of a new file. Two processes may make them at once: the second one finds all of them there."""


class UnusableFileError(Exception):
    """The file cannot hold the state: a later release wrote it, it is something else, or nobody may open it."""


class StateFile:
    """An open SQLite file, safe between threads; a context that closes it."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises `UnusableFileError` or `StoreDownError`."""
        self.path = path
        self._lock = Lock()
        _make_private(path)
        with self._in_words("opening the state"):
            self._connection = sqlite3.connect(
                path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        """Refuse a file that is not ours or of a later release; then set up the log and the tables."""
        try:
            application, version = self._pragma("application_id"), self._pragma("user_version")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise UnusableFileError(f"{self.path} is no SQLite file: name another one with --state") from error
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and tables:
            raise UnusableFileError(f"{self.path} is an SQLite file of something else: name another one with --state")
        if version > FORMAT:
            raise UnusableFileError(
                f"{self.path} has format {version}, and this release of unstale knows {FORMAT} at most: "
                "a later release wrote the file; use that one, or name another file with --state"
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if not tables:
            self._connection.executescript(SCHEMA)

    def _pragma(self, name: str) -> int:
        """Read a number that SQLite keeps in the file's head."""
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def execute(self, what: str, statement: str, *values: object) -> tuple[list[tuple[object, ...]], int]:
        """Run one statement; its rows, and how many rows it changed. Raises `StoreDownError`, which says `what`."""
        with self._turn(what, WAIT_SECONDS), self._in_words(what):
            cursor = self._connection.execute(statement, values)
            return cursor.fetchall(), cursor.rowcount

    @contextmanager
    def _turn(self, what: str, seconds: float) -> Iterator[None]:
        """Wait for this thread's turn. Each thread before it may wait for the file as long as SQLite lets it."""
        if not self._lock.acquire(timeout=seconds):
            raise StoreDownError(f"{what}: other calls have waited for {self.path} for {seconds:g} s")
        try:
            yield
        finally:
            self._lock.release()

    def changes_of_others(self) -> int:
        """A number that another process's write changes, and ours do not: https://sqlite.org/pragma.html#pragma_data_version."""
        what = "asking for changes"
        with self._turn(what, LOOK_SECONDS), self._in_words(what):
            return self._pragma("data_version")

    def close(self) -> None:
        """Close the file; the last process to close it folds the log into it."""
        with self._lock:
            self._connection.close()

    def __del__(self) -> None:
        """Close the file of a command that ends without doing so."""
        if hasattr(self, "_connection"):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """Turn what SQLite raises into the port's exception; the cause is kept."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreDownError(f"{what}: {error} ({self.path})") from error


def _make_private(path: Path) -> None:
    """Make the file where it is missing, and close it to everybody but its owner. Raises `UnusableFileError`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
        if path.stat().st_mode & 0o777 != PRIVATE:
            path.chmod(PRIVATE)
    except OSError as error:
        raise UnusableFileError(f"cannot open {path}: {error.strerror}. Name another file with --state") from error


class Store:
    """Records, their index and their history of one cloud in a state file: `shared.refresh.ports.Store`."""

    reads_together = True

    def __init__(self, file: StateFile, cloud: Cloud, clock: Clock) -> None:
        """`clock` says which lines of history are past their time."""
        self._file = file
        self._cloud = cloud.value
        self._clock = clock

    def load(self, key: str) -> Document:
        """Read one record; whatever any process saved before is seen."""
        select = "SELECT key, version, body FROM record WHERE cloud = ? AND key = ?"
        rows, _ = self._file.execute(f"reading {key}", select, self._cloud, key)
        return _document(rows[0]) if rows else Document(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace the record at the version that was read, or create it, in one statement."""
        version, due = secrets.token_hex(8), sortable(wake_at) if wake_at else None
        key, what = document.key, f"saving {document.key}"
        if document.version:
            update = "UPDATE record SET version = ?, body = ?, wake_at = ? WHERE cloud = ? AND key = ? AND version = ?"
            _, changed = self._file.execute(what, update, version, body, due, self._cloud, key, document.version)
        else:
            insert = (
                "INSERT INTO record (cloud, key, version, body, wake_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            )
            _, changed = self._file.execute(what, insert, self._cloud, key, version, body, due)
        if not changed:
            raise Conflict(key)
        return Document(key, version, body)

    def remove(self, document: Document) -> None:
        """Delete the record at the version that was read."""
        delete = "DELETE FROM record WHERE cloud = ? AND key = ? AND version = ?"
        what = f"removing {document.key}"
        _, changed = self._file.execute(what, delete, self._cloud, document.key, document.version)
        if not changed:
            raise Conflict(document.key)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Read the index, the most overdue first, page after page."""
        return islice(self._due(now, min(limit or DUE_AT_ONCE, DUE_AT_ONCE)), limit)

    def _due(self, now: datetime, size: int) -> Iterator[str]:
        """The keys of what is due, `size` with each SELECT, which begins behind the last row of the one before."""
        select = (
            "SELECT wake_at, key FROM record WHERE cloud = ? AND wake_at <= ? AND (wake_at, key) > (?, ?) "
            "ORDER BY wake_at, key LIMIT ?"
        )
        last: tuple[object, ...] = ("", "")
        while True:
            rows, _ = self._file.execute("asking what is due", select, self._cloud, sortable(now), *last, size)
            yield from (str(key) for _, key in rows)
            if len(rows) < size:
                return
            last = rows[-1]

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """Read a page of keys in their order; the cursor is the last key of the page before."""
        select = "SELECT key FROM record WHERE cloud = ? AND key > ? ORDER BY key LIMIT ?"
        rows, _ = self._file.execute("listing the records", select, self._cloud, cursor, limit + 1)
        page = [str(key) for (key,) in rows[:limit]]
        return page, page[-1] if len(rows) > limit else ""

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many records, some hundred with each statement, in the order of `keys`."""
        wanted = list(keys)
        found: dict[str, Document] = {}
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            part = wanted[start : start + KEYS_AT_ONCE]
            places = ", ".join("?" * len(part))
            select = f"SELECT key, version, body FROM record WHERE cloud = ? AND key IN ({places})"  # noqa: S608 - places only
            rows, _ = self._file.execute("reading many records", select, self._cloud, *part)
            found |= {document.key: document for document in map(_document, rows)}
        return [found.get(key, Document(key)) for key in wanted]

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Write a line of history, and delete those whose time is over, so that the file stays bounded."""
        insert = "INSERT OR REPLACE INTO history (cloud, key, entry_id, body, expires_at) VALUES (?, ?, ?, ?, ?)"
        what = f"appending to the history of {key}"
        self._file.execute(what, insert, self._cloud, key, entry_id, body, sortable(expires_at))
        self._file.execute(what, "DELETE FROM history WHERE expires_at < ?", sortable(self._clock.now()))

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """Read the newest lines first."""
        select = "SELECT body FROM history WHERE cloud = ? AND key = ? ORDER BY entry_id DESC LIMIT ?"
        rows, _ = self._file.execute(f"reading the history of {key}", select, self._cloud, key, limit)
        return [_bytes(body) for (body,) in rows]


def _document(row: tuple[object, ...]) -> Document:
    """A row of records as the port has it."""
    key, version, body = row
    return Document(str(key), str(version), _bytes(body))


def _bytes(value: object) -> bytes:
    """A BLOB, which SQLite hands out as bytes."""
    assert isinstance(value, bytes)  # noqa: S101 - tells the type checker what the schema says
    return value
