"""Lambda's runtime API on loopback: hands out invocations, takes answers and errors.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:unstale:live"
NEXT = "/2018-06-01/runtime/invocation/next"


@dataclass
class Result:
    """What came of one invocation; `error` is the report that Lambda would log."""

    answer: Any = None
    error: Any = None


@dataclass
class RuntimeApi:
    """A server for one runtime. Use it as a context."""

    deadline_seconds: float = 60.0
    results: dict[str, Result] = field(default_factory=dict)
    _waiting: queue.Queue[tuple[str, Any]] = field(default_factory=queue.Queue)
    _done: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def invoke(self, event: Any, *, seconds: float = 60.0) -> Result:
        """Hand an event to the runtime, wait for what comes of it."""
        request_id = str(uuid.uuid4())
        self._waiting.put((request_id, event))
        with self._done:
            came = self._done.wait_for(lambda: request_id in self.results, seconds)
        assert came, f"no answer within {seconds} s"
        return self.results[request_id]

    def next(self) -> tuple[str, Any]:
        """Block until there is an invocation."""
        return self._waiting.get()

    def report(self, path: str, body: bytes) -> None:
        """`/runtime/invocation/<id>/response`, `.../<id>/error`, or `/runtime/init/error`."""
        *_, request_id, kind = path.split("/")
        told = json.loads(body) if body else None
        with self._done:
            self.results[request_id] = Result(error=told) if kind == "error" else Result(answer=told)
            self._done.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a runtime that hangs up: the test ends it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Next invocation."""
        assert self.path == NEXT
        request_id, event = self.server.api.next()
        body = json.dumps(event).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
        self.send_header(
            "Lambda-Runtime-Deadline-Ms", str(int((time.time() + self.server.api.deadline_seconds) * 1000))
        )
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", ARN)
        self.send_header("Content-Type", "application/json")
        # awslambdaric 4.2.2 crashes without one
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0")
        self._finish(body)

    def do_POST(self) -> None:
        """An answer or an error."""
        self.server.api.report(self.path, self._body())
        self.send_response(202)
        self._finish(b"{}")

    def _finish(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""
