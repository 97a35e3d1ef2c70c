"""Looking at a Delta table in OneLake: the log file last seen, the next ones by name, and what is data in them.

    GET <OneLake>/<workspace>/<item>/<path>/_delta_log/<N>.json        If-None-Match: <etag>    304: the same table
    GET <OneLake>/<workspace>/<item>/<path>/_delta_log/<N + 1>.json    Range: bytes=0-65535     404: nothing new

https://github.com/delta-io/delta/blob/master/PROTOCOL.md: versions are contiguous, and a commit is one put-if-absent.
A commit's time is its `Last-Modified`, which the server sets by that very write.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from shared.platforms.failures import TRANSIENT, header
from shared.refresh.failure import Failure, FailureKind
from shared.sources.groups import DeltaTable
from shared.sources.memory import DeltaVersion
from shared.sources.ports import Known, LogFiles, Observation, Seen
from shared.sources.replies import Reply, http_time, news_time
from shared.values import Value

FIRST_PART = 64 * 1024
"""Bytes of a commit that are read at first: in 2 MB of 5,000 files the first change came within 1.1 kB (measured)."""
COMMIT_LIMIT = 16 * 1024 * 1024
"""Bytes of a commit that are read at most; one without a change of data until there is taken for data."""
STEPS = 100
"""Commits that one look reads at most; the rest is due again at once. A checkpoint comes each 100."""
LIST_PAGES = 20
"""Pages of 5,000 names of the log at most."""

OK, PARTIAL, NOT_MODIFIED, NOT_FOUND = 200, 206, 304, 404
"""Statuses of HTTP by their names in RFC 9110."""
GONE = "gone, or not allowed to be seen"
"""The problem of a table without a log: OneLake answers 404 to whoever may not read, as it does where nothing is."""

_COMMIT = re.compile(r"(\d{20})\.json")


class Commit(Value, frozen=True):
    """The two facts that count of a file of the log: did it change data, and which shape did it give the table, if any.

    OPTIMIZE writes commits whose files say `dataChange: false`: a refresh after those would read nothing new.
    """

    data: bool
    shape: str = ""


class _File(msgspec.Struct, rename="camel"):
    data_change: bool = True  # the protocol demands it; where it is absent the safe side is a change


class _MetaData(msgspec.Struct, rename="camel"):
    id: str = ""
    schema_string: str = ""
    partition_columns: list[str] = []


class _Action(msgspec.Struct, rename="camel"):
    add: _File | None = None
    remove: _File | None = None
    meta_data: _MetaData | None = None


class _Checkpoint(msgspec.Struct):
    version: int


class _Path(msgspec.Struct):
    name: str


class _Listing(msgspec.Struct):
    paths: list[_Path]


_action = msgspec.json.Decoder(_Action)
_checkpoint = msgspec.json.Decoder(_Checkpoint)
_listing = msgspec.json.Decoder(_Listing)


# --- Requests --------------------------------------------------------------------------------------------------------


def file_name(version: int) -> str:
    """`00000000000000000042.json`."""
    return f"{version:020}.json"


def file_path(table: DeltaTable, name: str) -> str:
    """Path of a file of the log below OneLake's endpoint."""
    return "/" + quote(f"{table.workspace}/{table.item}/{table.path}/_delta_log/{name}")


def list_path(table: DeltaTable, continuation: str) -> str:
    """Path and query of a page of the log's names (ADLS Gen2, Path - List)."""
    directory = quote(f"{table.item}/{table.path}/_delta_log", safe="")
    following = f"&continuation={quote(continuation, safe='')}" if continuation else ""
    return (
        f"/{quote(table.workspace)}?resource=filesystem&recursive=false&directory={directory}"
        f"&maxResults=5000&getShortcutMetadata=true{following}"
    )


# --- Reading a commit ------------------------------------------------------------------------------------------------


def read_commit(body: bytes, *, whole: bool) -> Commit | None:
    """A commit, as far as its beginning tells; None where only more of the file can.

    The first file that changes data decides, so of a commit with thousands of files a few lines are enough.
    """
    *lines, rest = body.split(b"\n")
    shape = ""
    for line in (*lines, rest) if whole else lines:
        if not line.strip():
            continue
        try:
            action = _action.decode(line)
        except (msgspec.MsgspecError, UnicodeError):
            return Commit(data=True)  # what nobody can read may be data
        if any(file and file.data_change for file in (action.add, action.remove)):
            return Commit(data=True, shape=shape or _shape_further_on(body))
        if action.meta_data:
            shape = _shape(action.meta_data)
    return Commit(data=False, shape=shape) if whole else None


def _shape_further_on(body: bytes) -> str:
    """The shape that a line after the first change of data gives; protocol and metaData may stand anywhere."""
    for line in body.split(b"\n"):
        if line.startswith(b'{"metaData"'):
            try:
                meta_data = _action.decode(line).meta_data
            except msgspec.MsgspecError:
                return ""
            return _shape(meta_data) if meta_data else ""
    return ""


def _shape(meta_data: _MetaData) -> str:
    """Digest of id, schema and partitioning: SET TBLPROPERTIES writes a `metaData` line without changing these."""
    parts = msgspec.json.encode((meta_data.id, meta_data.schema_string, meta_data.partition_columns))
    return hashlib.sha256(parts).hexdigest()[:16]


# --- A look ----------------------------------------------------------------------------------------------------------


class _Trail(Value, frozen=True):
    """How far a look followed the log.

    `newest`: the reply that showed the newest file; `data`: the one that showed the newest change of data. `is_news`:
    something else says that the data changed. `failure`: what ended the look early; `complete`: the end was reached.
    """

    version: DeltaVersion
    first: Reply[bytes]
    newest: Reply[bytes] | None = None
    data: Reply[bytes] | None = None
    is_news: bool = False
    failure: Failure | None = None
    complete: bool = False

    @property
    def news(self) -> Reply[bytes] | None:
        """The reply that dates the news; None where there are none."""
        return self.data or (self.newest if self.is_news else None)


def look_at_table(table: DeltaTable, known: Known, files: LogFiles) -> Seen | Failure:
    """Look at one Delta table, from the file last seen to the newest."""
    version = known.sources[""].version
    start = _confirm(table, version, files) if isinstance(version, DeltaVersion) else _begin(table, files)
    if isinstance(start, Failure):
        return start
    if start is None:
        return Seen({"": Observation(problem=GONE)})
    trail = _follow(table, start, files)
    throttled = trail.failure is not None and trail.failure.kind is FailureKind.THROTTLED
    return Seen({"": _observe(trail)}, throttled=throttled)


def _observe(trail: _Trail) -> Observation:
    """The observation that a trail makes. A trail that did not reach the end has no `when`: it is no look.

    Its version is remembered all the same, so that the next look goes on where this one ended.
    """
    news = trail.news
    return Observation(
        version=trail.version,
        when=trail.first.when if trail.complete else None,
        moment=news.moment if news else trail.first.moment,
        news_at=news_time(news.moment, http_time(header(news.headers, "Last-Modified"))) if news else None,
        problem=str(trail.failure) if trail.failure else "",
        complete=trail.complete or trail.failure is not None,
    )


def _begin(table: DeltaTable, files: LogFiles) -> _Trail | Failure | None:
    """The first look: from the last checkpoint, or from the beginning of a young table."""
    reply = files.get_file(table, "_last_checkpoint", 0, FIRST_PART - 1, "")
    if isinstance(reply, Failure):
        return reply
    start = _checkpoint_version(reply) if reply.status in {OK, PARTIAL} else 0
    found = files.get_file(table, file_name(start), 0, FIRST_PART - 1, "")
    if isinstance(found, Failure):
        return found
    if found.status == NOT_FOUND:
        return _list(table, reply, files)
    return _Trail(DeltaVersion(start - 1), found, is_news=True)


def _checkpoint_version(reply: Reply[bytes]) -> int:
    """The version of the last checkpoint, whose commit is there; 0, the first one, where the file cannot be read."""
    try:
        return max(0, _checkpoint.decode(reply.body).version)
    except msgspec.MsgspecError:
        return 0


def _confirm(table: DeltaTable, version: DeltaVersion, files: LogFiles) -> _Trail | Failure | None:
    """Rule 4: is the file last seen still the same? Another one, or none and no next one, is another table by now."""
    reply = files.get_file(table, file_name(version.file), 0, FIRST_PART - 1, version.etag)
    if isinstance(reply, Failure):
        return reply
    if reply.status == NOT_MODIFIED:
        return _Trail(version, reply)
    if reply.status == NOT_FOUND:
        following = files.get_file(table, file_name(version.file + 1), 0, FIRST_PART - 1, "")
        if isinstance(following, Failure):
            return following
        if following.status != NOT_FOUND:
            return _Trail(version, reply)  # the log was cleaned up
    return _list(table, reply, files)


def _list(table: DeltaTable, first: Reply[bytes], files: LogFiles) -> _Trail | Failure | None:
    """The trail from before the newest file of the log, found by listing; None where the log has none."""
    newest, continuation = -1, ""
    for _ in range(LIST_PAGES):
        reply = files.list_files(table, continuation)
        if isinstance(reply, Failure):
            return reply
        if reply.status == NOT_FOUND:
            return None
        newest = max([newest, *_versions(reply.body)])
        continuation = header(reply.headers, "x-ms-continuation")
        if not continuation:
            return _Trail(DeltaVersion(newest - 1), first, is_news=True) if newest >= 0 else None
    return TRANSIENT.failure("EndlessListing", f"the log of {table} did not end after {LIST_PAGES} pages")


def _versions(body: bytes) -> Iterator[int]:
    """The versions that a page names. Checkpoints, checksums and temporary files have other names."""
    try:
        paths = _listing.decode(body).paths
    except msgspec.MsgspecError:
        return
    for path in paths:
        found = _COMMIT.fullmatch(path.name.rpartition("/")[2])
        if found:
            yield int(found[1])


def _follow(table: DeltaTable, trail: _Trail, files: LogFiles) -> _Trail:
    """Read the next files until there is none, one cannot be read, or the look has read enough of them."""
    for _ in range(STEPS):
        name = file_name(trail.version.file + 1)
        reply = files.get_file(table, name, 0, FIRST_PART - 1, "")
        if isinstance(reply, Failure):
            return replace(trail, failure=reply)
        if reply.status == NOT_FOUND:
            return replace(trail, complete=True)
        commit = _read_on(table, name, reply, files)
        if isinstance(commit, Failure):
            return replace(trail, failure=commit)
        trail = _step(trail, commit, reply)
    return trail


def _step(trail: _Trail, commit: Commit, reply: Reply[bytes]) -> _Trail:
    """The trail with one more file. Another shape is a change of data, too: it may fail the next refresh."""
    known, number = trail.version, trail.version.file + 1
    reshaped = bool(commit.shape) and commit.shape != known.shape
    is_data = commit.data or reshaped
    version = DeltaVersion(
        file=number,
        etag=header(reply.headers, "ETag"),
        shape=commit.shape or known.shape,
        data=number if is_data or (trail.is_news and known.data < 0) else known.data,
    )
    return replace(trail, version=version, newest=reply, data=reply if is_data else trail.data)


def _read_on(table: DeltaTable, name: str, reply: Reply[bytes], files: LogFiles) -> Commit | Failure:
    """Read a commit to its end where its beginning does not tell what it is, up to `COMMIT_LIMIT`.

    Beyond the limit the commit counts as a change of data: a signal too many costs one refresh.
    """
    if reply.status not in {OK, PARTIAL}:
        return Commit(data=True)  # 416: the file is there and empty, which no commit is
    body, size = reply.body, _size(reply)
    commit = read_commit(body, whole=len(body) >= size)
    if commit is not None:
        return commit
    rest = files.get_file(table, name, len(body), COMMIT_LIMIT - 1, "")
    if isinstance(rest, Failure):
        return rest
    body += rest.body if rest.status in {OK, PARTIAL} else b""
    return read_commit(body, whole=len(body) >= size) or Commit(data=True)


def _size(reply: Reply[bytes]) -> int:
    """Bytes of the whole file: from `Content-Range: bytes 0-65535/4200000`, or what came."""
    total = header(reply.headers, "Content-Range").rpartition("/")[2]
    return int(total) if total.isdigit() else len(reply.body)
