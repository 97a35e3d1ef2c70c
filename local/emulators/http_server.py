"""An HTTP server on 127.0.0.1 for an emulator: one function from request to answer, over plain http or https.

werkzeug serves, each request on a connection of its own, and trustme makes the certificate. What the function raises
is a bug of the emulator: the caller sees a bare 500, and closing the server raises the error again, so that no test
passes over it.
"""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import trustme
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request as WsgiRequest
from werkzeug.wrappers import Response as WsgiResponse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Clock = Callable[[], datetime]
"""Tells the time of day, in UTC."""

POLL_SECONDS: Final = 0.05
"""How late a server may notice that it is to close, which every test waits for."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Header names are in lower case, the query is decoded and in order, the path is as it was sent."""

    method: str
    """In upper case."""
    path: str
    """The path as the caller sent it, percent-encoded."""
    query: tuple[tuple[str, str], ...]
    """Names and values, decoded and in order."""
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes
    """Empty where there is none."""
    secure: bool
    """Whether the request came over https."""

    @property
    def host(self) -> str:
        """The host, and port, that the caller believes to be talking to."""
        return self.headers.get("host", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, held back for `slow_seconds`. Content-Length and Date are added to its headers."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides Content-Length and Date, which are added."""
    body: bytes = b""
    """Empty for none."""
    slow_seconds: float = 0.0
    """How long the answer is held back, by the true clock."""


def json_answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """An answer of JSON, as Microsoft's services word its type; `headers` are those beside the type."""
    return Answer(
        status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(body).encode()
    )


Respond = Callable[[Request], Answer | None]
"""From a request to its answer. None drops the connection: what was asked is done, but the caller is not told."""


class _Handler(WSGIRequestHandler):
    """werkzeug's handler, without a line for each request, and without the machine's date."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer with its status alone."""
        self.send_response_only(code, message)


class _Response(WsgiResponse):
    """werkzeug's, without a Content-Type that nobody gave."""

    default_mimetype = None


class WsgiServer:
    """Serves a WSGI application on a free port of 127.0.0.1 from a thread of its own. Use it as a context."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        handler: type[WSGIRequestHandler] = _Handler,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind a free port; with `tls` the server speaks https."""
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler, ssl_context=tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True)

    @property
    def port(self) -> int:
        """The port; the system hands out free ones."""
        return self._server.port

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Take no more requests. Threads of answers that are under way end with the process at the latest."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LoopbackServer(WsgiServer):
    """Serves `respond`, and keeps what it raises in `errors`. Use it as a context."""

    def __init__(self, respond: Respond, clock: Clock, *, secure: bool = False, names: Iterable[str] = ()) -> None:
        """Bind a free port. `clock` is what the Date header tells; `names` has the certificate beside `localhost`."""
        self.respond = respond
        self.clock = clock
        self.errors: list[Exception] = []
        self.closing = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="unstale-") if secure else None
        self.certificate = Path(self._folder.name, "certificate.pem") if self._folder else None
        tls = _tls_context(self.certificate, names) if self.certificate else None
        super().__init__(self._serve, tls=tls)

    @property
    def url(self) -> str:
        """Scheme, host and port. The certificate is for `localhost`, so https is reached by name."""
        return f"https://localhost:{self.port}" if self.certificate else f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End, also the answers that are held back; raises the first error that `respond` raised."""
        self.closing.set()
        super().close()
        if self._folder:
            self._folder.cleanup()
        if self.errors:
            raise RuntimeError(f"the emulator failed: {self.errors[0]!r}") from self.errors[0]

    def _serve(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request as WSGI wants it: hold the answer back, or drop the connection, where that is wanted."""
        answer = self._answer(_request(environ))
        if answer and answer.slow_seconds:
            self.closing.wait(answer.slow_seconds)
        if answer is None or self.closing.is_set():
            drop_connection(environ)
            raise ConnectionAbortedError("dropped on purpose")  # which werkzeug passes over
        date = format_datetime(self.clock().astimezone(UTC), usegmt=True)
        return _Response(answer.body, answer.status, {"Date": date, **answer.headers})(environ, start_response)

    def _answer(self, request: Request) -> Answer | None:
        """Ask `respond`, and keep what it raises."""
        try:
            return self.respond(request)
        except Exception as error:  # noqa: BLE001 - raised again when the server is closed
            self.errors.append(error)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR)


def drop_connection(environ: Mapping[str, Any]) -> None:
    """Leave the caller without an answer, as a broken network does: shut the socket under the server."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def _request(environ: WSGIEnvironment) -> Request:
    """Read a request from WSGI's environment; path and query are as they were sent."""
    found = WsgiRequest(environ)
    sent = urlsplit(environ["RAW_URI"])
    return Request(
        method=found.method,
        path=sent.path,
        query=tuple(parse_qsl(sent.query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in found.headers.items()},
        body=found.get_data(),
        secure=found.is_secure,
    )


def _tls_context(path: Path, names: Iterable[str]) -> ssl.SSLContext:
    """Make an authority and a certificate for this run; leave the authority's, which callers trust, at `path`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", *names).configure_cert(context)
    return context
