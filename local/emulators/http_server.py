"""An HTTP server on 127.0.0.1 for an emulator: one function from request to answer, over plain http or https.

What that function raises is a bug of the emulator: the caller sees a bare 500, and closing the server raises it again,
so that no test passes over it.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Clock = Callable[[], datetime]

LARGEST_BODY_BYTES: Final = 1_048_576
"""Nothing that an emulator is asked comes near it."""

CLOSING_SECONDS: Final = 5.0
"""How long closing waits for answers that are under way; their connections are cut first, so it is not reached."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case, the query is decoded and in order, the path is as it was sent."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    secure: bool

    @property
    def host(self) -> str:
        """The host, and port, that the caller believes to be talking to."""
        return self.headers.get("host", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, held back for `slow_seconds`. Content-Length and Date are added to its headers."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    slow_seconds: float = 0.0


Respond = Callable[[Request], Answer | None]
"""None drops the connection: whatever was asked is done, and nobody hears of it."""


class LoopbackServer:
    """Serves `respond` from a thread of its own; every connection has one, too. Use it as a context."""

    def __init__(self, respond: Respond, clock: Clock, *, secure: bool = False) -> None:
        """Bind a free port. `clock` is what the Date header tells."""
        self.respond = respond
        self.clock = clock
        self.errors: list[Exception] = []
        self.closing = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="unstale-") if secure else None
        self.certificate = Path(self._folder.name, "certificate.pem") if self._folder else None
        self._server = _Server(self, _self_signed(self.certificate) if self.certificate else None)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """The port; free ones are handed out by the system."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Scheme, host and port. A certificate names `localhost`, so https is reached by name."""
        return f"https://localhost:{self.port}" if self.certificate else f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Cut every connection and end; raises the first error that `respond` raised."""
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.cut_connections()
        self._server.server_close()
        if self._folder:
            self._folder.cleanup()
        if self.errors:
            raise RuntimeError(f"the emulator failed: {self.errors[0]!r}") from self.errors[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    """The standard library's server, with connections that can be cut and TLS that shakes hands in their threads."""

    daemon_threads = True  # an interrupted demo must not hang on a connection that is kept alive

    def __init__(self, owner: LoopbackServer, tls: ssl.SSLContext | None) -> None:
        self.owner = owner
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the resolver for a name of 127.0.0.1, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the TLS handshake is left to the first read, so that a slow one holds up nobody else."""
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._changed:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, however it ended."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def cut_connections(self) -> None:
        """End what is still open, kept-alive connections mostly, and wait until their threads let go of them."""
        with self._changed:
            for connection in self._open:
                _cut(connection)
            self._changed.wait_for(lambda: not self._open, CLOSING_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over what the other side of a connection does to it: refuse a certificate, hang up."""


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # gone already


class _Handler(BaseHTTPRequestHandler):
    """Bytes to `Request`, `Answer` to bytes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for header and body: two of them wait for each other's acknowledgement
    server: _Server

    def _serve(self) -> None:
        owner = self.server.owner
        answer = self._respond(owner)
        if answer and answer.slow_seconds:
            owner.closing.wait(answer.slow_seconds)
        if answer is None or owner.closing.is_set():
            self.close_connection = True
        else:
            self._send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _respond(self, owner: LoopbackServer) -> Answer | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > LARGEST_BODY_BYTES:
            self.close_connection = True
            return Answer(HTTPStatus.LENGTH_REQUIRED)
        try:
            return owner.respond(self._request(self.rfile.read(int(length))))
        except Exception as error:  # noqa: BLE001 - raised again when the server is closed
            owner.errors.append(error)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _request(self, body: bytes) -> Request:
        parts = urlsplit(self.path)
        return Request(
            method=self.command,
            path=parts.path,
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            secure=isinstance(self.connection, ssl.SSLSocket),
        )

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        self.send_header("Date", format_datetime(self.server.owner.clock().astimezone(UTC), usegmt=True))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing: emulators keep what they were asked."""


def _self_signed(path: Path) -> ssl.SSLContext:
    """Make a key and a certificate for this run, leave the certificate at `path`, give what a server needs.

    Valid by the real clock, which is the one that TLS looks at. Python 3.13 verifies strictly: key usage, basic
    constraints and the subject key identifier must all be there.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, datetime.now(UTC))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path.write_bytes(secret + public)  # the standard library reads a key from a file only
    context.load_cert_chain(path)
    path.write_bytes(public)
    return context


def _certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
