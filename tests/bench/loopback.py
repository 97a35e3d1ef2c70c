"""The services that a handler calls, over TLS on loopback, in a process of their own: a client's CPU is its own.

    python -m tests.bench.loopback FOLDER       prints its port; leaves the roots that callers trust in FOLDER/roots.pem

DynamoDB keeps what is put, by its conditions; SQS and Glue accept; Fabric accepts a run and says where it is. What was
called is counted by name, so that whoever measures sees that a handler did its job. Connections are kept.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import sys
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.request import urlopen

import certifi
import trustme

ROOTS, COUNTS, FORGET = "roots.pem", "/counts", "/forget"
AMZ_JSON = "application/x-amz-json-1.0"
CONFLICT = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "it moved on"}


class Loopback:
    """The services, started and ended as a context."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="unstale-bench-")
        self.roots = Path(self._folder.name, ROOTS)
        """All public roots, and the one that signed these services' certificate."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__, self._folder.name]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = f"https://localhost:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def counts(self) -> Counter[str]:
        """How often each operation was called so far."""
        return Counter(ask(self.url + COUNTS, str(self.roots)))


def ask(url: str, roots: str) -> dict[str, int]:
    """What was counted so far, from a page of the services; that of `FORGET` makes them forget the views' records."""
    with urlopen(url, context=ssl.create_default_context(cafile=roots)) as answer:  # noqa: S310 - loopback
        counted: dict[str, int] = json.load(answer)
        return counted


class Services:
    """What the services keep."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._items: dict[str, dict[str, Any]] = {}

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer an operation of AWS's, by its name."""
        self.counts[operation] += 1
        answer = getattr(self, f"_{operation}", None)
        return answer(asked) if answer else (200, {})

    def forget(self) -> None:
        """Forget the records of views, and keep that of the deployment."""
        for name in [name for name in self._items if "glue-view" in name]:
            del self._items[name]

    def _GetItem(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802 - as DynamoDB names it
        found = self._items.get(_name(asked["TableName"], asked["Key"]))
        return 200, {"Item": found} if found else {}

    def _BatchGetItem(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802 - as above
        found = {
            table: [item for key in of["Keys"] if (item := self._items.get(_name(table, key)))]
            for table, of in asked["RequestItems"].items()
        }
        return 200, {"Responses": found, "UnprocessedKeys": {}}

    def _PutItem(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802 - as above
        item = asked["Item"]
        name = _name(asked["TableName"], {key: item[key] for key in ("pk", "sk", "id") if key in item})
        before = self._items.get(name)
        if asked.get("ConditionExpression") == "version = :read":
            wanted = asked["ExpressionAttributeValues"][":read"]
            if not before or before["version"] != wanted:
                return 400, CONFLICT
        elif before and "attribute_not_exists" in asked.get("ConditionExpression", ""):
            return 400, CONFLICT
        self._items[name] = item
        return 200, {}

    def _Query(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802 - as above
        return 200, {"Items": [], "Count": 0, "ScannedCount": 0}

    def _SendMessage(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802 - as SQS names it
        digest = hashlib.md5(asked["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        return 200, {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": digest}

    def _StartMaterializedViewRefreshTaskRun(self, _: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        return 200, {"MaterializedViewRefreshTaskRunId": str(uuid.uuid4())}

    def _GetMaterializedViewRefreshTaskRun(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        run_id = asked["MaterializedViewRefreshTaskRunId"]
        run = {"MaterializedViewRefreshTaskRunId": run_id, "Status": "RUNNING"}
        return 200, {"MaterializedViewRefreshTaskRun": run}


def _name(table: str, key: dict[str, Any]) -> str:
    return json.dumps([table, key], sort_keys=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    services: Services

    def setup(self) -> None:
        """Shake hands in the connection's own thread."""
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        """Tell what was counted; or, for Fabric, that a run goes on."""
        if self.path == FORGET:
            self.services.forget()
        self._send(200, dict(self.services.counts) if self.path in {COUNTS, FORGET} else {"status": "InProgress"})

    def do_POST(self) -> None:
        """Take an operation of AWS's, or accept a run as Fabric does."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation:
            self._send(*self.services.answer(operation, json.loads(body)))
        else:
            self.services.counts["start of Fabric"] += 1
            where = f"https://{self.headers['Host']}{self.path.partition('?')[0]}/{uuid.uuid4()}"
            self._send(202, {}, {"Location": where, "Retry-After": "60"})

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": AMZ_JSON, **(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        if self.headers.get("Connection", "").lower() == "close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: Path) -> None:
    """Serve until killed."""
    authority = trustme.CA()
    (folder / ROOTS).write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    _Handler.services = Services()
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
