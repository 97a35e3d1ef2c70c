"""OneLake's files on loopback: the log of Delta tables, read by name and range, and listed; over http or https.

    GET /<workspace>/<item>/<path>                     200, 206, 304, 404, 416 as the DFS endpoint answers
    GET /<workspace>?resource=filesystem&directory=    a page of names, x-ms-continuation

Files come from a folder of this machine, where `deltalake` writes tables, or are put one by one.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

from local.emulators.clock import utc_now
from local.emulators.faults import FaultScript, Refuse, ServerError, Throttle
from local.emulators.http_server import Answer, LoopbackServer, Request, json_answer

PAGE: Final = 5000
"""Names a page at most (maxResults of Path - List)."""

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it lies there, and when it was written: by the server's clock, in whole seconds."""

    body: bytes
    at: datetime

    @property
    def etag(self) -> str:
        """A tag that is another one after each writing."""
        return f'"0x8D{int(self.at.timestamp() * 1_000_000):X}"'


class OneLake:
    """The files of some workspaces, and the server that gives them to whoever shows a token. Use it as a context."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        faults: FaultScript | None = None,
        accepts: Callable[[str], bool] = bool,
        secure: bool = False,
    ) -> None:
        """`accepts` judges a bearer token; any will do where nothing else is said."""
        self.faults = faults or FaultScript()
        self.calls: list[str] = []
        self._clock = clock or utc_now
        self._accepts = accepts
        self._lock = threading.Lock()
        self._files: dict[str, File] = {}
        self._folders: dict[str, Path] = {}
        self.server = LoopbackServer(self._respond, self._clock, secure=secure)

    @property
    def url(self) -> str:
        """The address at which the emulator answers."""
        return self.server.url

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def put(self, path: str, body: bytes) -> None:
        """Write a file, e.g. `<workspace>/<item>/Tables/orders/_delta_log/<N>.json`."""
        with self._lock:
            self._files[path] = File(body, self._clock())

    def delete(self, prefix: str) -> None:
        """Delete all files whose path begins so."""
        with self._lock:
            self._files = {path: file for path, file in self._files.items() if not path.startswith(prefix)}

    def serve(self, path: str, folder: Path) -> None:
        """Serve the files below a folder of this machine at a path, as they are at each request."""
        self._folders[path] = folder

    def append(self, workspace: str, item: str, table: str, *, data: bool = True) -> int:
        """Commit to a Delta table, which is made with its first commit; returns the version."""
        log = f"{workspace}/{item}/{table}/_delta_log/"
        version = sum(path.startswith(log) for path in self._files)
        lines: list[dict[str, object]] = [{"commitInfo": {"operation": "WRITE" if data else "OPTIMIZE"}}]
        if version == 0:
            lines.append({"metaData": {"id": table, "schemaString": "{}", "partitionColumns": []}})
        lines.append({"add": {"path": f"part-{version}.parquet", "dataChange": data}})
        self.put(f"{log}{version:020}.json", "\n".join(map(json.dumps, lines)).encode())
        return version

    # --- Answers -----------------------------------------------------------------------------------------------------

    def _respond(self, request: Request) -> Answer:
        self.calls.append(request.path)
        refusal = self._refusal(request)
        if refusal:
            return refusal
        query = dict(request.query)
        path = request.path.strip("/")
        return self._list(path, query) if query.get("resource") == "filesystem" else self._read(path, request.headers)

    def _refusal(self, request: Request) -> Answer | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token or not self._accepts(token):
            return _error(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationInfo")
        match self.faults.take("look", request.path):
            case Throttle():
                return _error(HTTPStatus.TOO_MANY_REQUESTS, "ServerBusy")
            case ServerError(status):
                return _error(HTTPStatus(status), "InternalError")
            case Refuse(code):
                return _error(HTTPStatus.FORBIDDEN, code)
        return None

    def _read(self, path: str, headers: Mapping[str, str]) -> Answer:
        file = self._find(path)
        if file is None:
            return _error(HTTPStatus.NOT_FOUND, "PathNotFound")
        told = {"ETag": file.etag, "Last-Modified": format_datetime(file.at.astimezone(UTC), usegmt=True)}
        if headers.get("if-none-match") == file.etag:
            return Answer(HTTPStatus.NOT_MODIFIED, told)
        found = _RANGE.fullmatch(headers.get("range", ""))
        if not found:
            return Answer(HTTPStatus.OK, told, file.body)
        first, last = int(found[1]), int(found[2])
        part = file.body[first : last + 1]
        if not part:
            return _error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange")
        told["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(file.body)}"
        return Answer(HTTPStatus.PARTIAL_CONTENT, told, part)

    def _list(self, workspace: str, query: Mapping[str, str]) -> Answer:
        folder = f"{workspace}/{query['directory']}/"
        names = sorted(name for name in self._names() if name.startswith(folder))
        if not names:
            return _error(HTTPStatus.NOT_FOUND, "PathNotFound")
        start, size = int(query.get("continuation") or 0), min(int(query.get("maxResults", PAGE)), PAGE)
        page = [{"name": name.removeprefix(f"{workspace}/")} for name in names[start : start + size]]
        more = {"x-ms-continuation": str(start + size)} if len(names) > start + size else {}
        return json_answer(HTTPStatus.OK, {"paths": page}, more)

    def _find(self, path: str) -> File | None:
        with self._lock:
            if path in self._files:
                return self._files[path]
        for place, folder in self._folders.items():
            found = folder / path.removeprefix(f"{place}/")
            if path.startswith(f"{place}/") and found.is_file():
                return File(found.read_bytes(), datetime.fromtimestamp(found.stat().st_mtime, UTC))
        return None

    def _names(self) -> list[str]:
        names = list(self._files)
        for place, folder in self._folders.items():
            names += [f"{place}/{each.relative_to(folder).as_posix()}" for each in folder.rglob("*") if each.is_file()]
        return names


def _error(status: HTTPStatus, code: str) -> Answer:
    return json_answer(status, {"error": {"code": code, "message": status.phrase}}, {"x-ms-error-code": code})
