"""Answers end in time and in size, whatever a server sends: for Fabric's API, Entra's keys, and whatever msal asks."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
import requests
import trustme

from functions_azure import platform, sessions, settings
from functions_azure.clients import Deadline
from functions_azure.platform import Connection, Platform
from functions_azure.sessions import AnswerTooLongError, read_answer, read_body, session
from functions_azure.tokens import BoundedHttp
from functions_azure.workload import keys
from functions_azure.workload.keys import Keys, NoKeysError
from infra.packaging.roots import write_roots
from local.emulators.http_server import Answer, LoopbackServer, WsgiServer
from shared.platforms.failures import ANSWER_LIMIT
from shared.refresh.failure import Delivery, Failure
from shared.targets import LakeViews, Target
from tests.support.roots import counted_reads  # noqa: F401 - a fixture

SHORT_SECONDS = 0.3
"""How long an answer may take in these tests."""
PAUSE_SECONDS = 0.02
"""Between two pieces of an answer that drips: much less than a whole answer may take."""
HEAD = b"HTTP/1.1 200 OK\r\n"
VIEWS = Target("sales", LakeViews("4b218778-e7a5-4d73-8187-f10824047715", "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"))


def bytes_of(text: bytes) -> Iterator[bytes]:
    """One at a time."""
    yield from (text[position : position + 1] for position in range(len(text)))


DRIPS: dict[str, Callable[[], Iterator[bytes]]] = {
    "the status line": lambda: bytes_of(b"HTTP/1.1 200 " + b"O" * 150 + b"\r\nContent-Length: 0\r\n\r\n"),
    "the headers": lambda: bytes_of(HEAD + b"X-More: " + b"x" * 150 + b"\r\nContent-Length: 0\r\n\r\n"),
    "the body": lambda: iter([HEAD + b"Content-Length: 200\r\n\r\n", *bytes_of(b" " * 200)]),
    "the body of a connection that ends": lambda: iter([HEAD + b"Connection: close\r\n\r\n", *bytes_of(b" " * 200)]),
    "chunks": lambda: iter([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 200, b"0\r\n\r\n"]),
    "the length of a chunk": lambda: iter(
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *bytes_of(b"1;" + b"x" * 200 + b"\r\n \r\n0\r\n\r\n")]
    ),
    "what is packed": lambda: iter(
        [
            HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n",
            *bytes_of(gzip.compress(bytes(range(256)) * 2, 0)[:200]),
        ]
    ),
}


class DrippingServer:
    """Answers each connection with the same pieces, a pause between, until its client is gone."""

    def __init__(self, pieces: Callable[[], Iterator[bytes]]) -> None:
        self._pieces = pieces
        self._closing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._closing.is_set():
                connection, _ = self._server.accept()
                self._threads.append(threading.Thread(target=self._serve, args=[connection]))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            for piece in self._pieces():
                connection.sendall(piece)
                if self._closing.wait(PAUSE_SECONDS):
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture(name="server", params=DRIPS.values(), ids=list(DRIPS))
def dripping_server(request: pytest.FixtureRequest) -> Iterator[DrippingServer]:
    """One that sends a piece long before a wait for bytes is over, and its answer long after all of it should be."""
    with DrippingServer(request.param) as server:
        yield server


class Clock:
    """Ours."""

    def now(self) -> datetime:
        """The machine's."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Nobody asks."""
        raise AssertionError


class Hand:
    """A token."""

    def token(self) -> str:
        """Always this one."""
        return "t"

    def forget(self, token: str) -> None:
        """Never happens here."""
        raise AssertionError(token)


def test_an_answer_that_drips_is_late(server: DrippingServer) -> None:
    """A time-out bounds the whole answer, its head included, and not only each wait for bytes."""
    with pytest.raises(requests.RequestException, match=r"[Tt]imed out"):
        read_answer(session().get(server.url, timeout=(1, SHORT_SECONDS), stream=True), ANSWER_LIMIT)


def test_a_start_that_drips_has_an_unknown_outcome(server: DrippingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fabric's API."""
    monkeypatch.setattr(platform, "READ_SECONDS", SHORT_SECONDS)
    monkeypatch.setattr(platform, "LEAST_SECONDS", 0.1)
    fabric = Platform(Connection(), Hand(), Clock(), url=server.url, url_form="query")
    found = fabric.start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert found.delivery is Delivery.UNKNOWN


def test_keys_that_drip_are_no_keys(server: DrippingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key server."""
    monkeypatch.setattr(keys, "READ_SECONDS", SHORT_SECONDS)
    with pytest.raises(NoKeysError):
        Keys(server.url).find("loopback")


def test_what_msal_asks_ends_in_time(server: DrippingServer) -> None:
    """Entra, the identity endpoint, a Key Vault: by their own time-outs, or by the deadline of the invocation."""
    bounded = BoundedHttp(read_seconds=SHORT_SECONDS)
    with pytest.raises(requests.RequestException, match=r"[Tt]imed out"):
        bounded.get(server.url)
    patient = BoundedHttp(connect_seconds=60, read_seconds=60)
    patient.deadline = Deadline(SHORT_SECONDS)
    with pytest.raises(requests.RequestException, match=r"[Tt]imed out"):
        patient.post(server.url, data={})


def packed(size: int) -> Callable[[], Iterator[bytes]]:
    """An answer of so many zeros, which is a thousandth of it on its way."""
    body = gzip.compress(bytes(size))
    head = HEAD + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda: iter([head + body])


def test_the_limit_of_an_answer_is_that_of_what_it_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 MB of zeros are 100 kB of gzip: nobody unpacks them."""
    unpacked: list[int] = []
    iterate = requests.Response.iter_content

    def counted(response: requests.Response, *args: Any) -> Iterator[bytes]:
        for chunk in iterate(response, *args):
            unpacked.append(len(chunk))
            yield chunk

    monkeypatch.setattr(requests.Response, "iter_content", counted)
    with DrippingServer(packed(100_000_000)) as server:
        with pytest.raises(AnswerTooLongError, match=str(ANSWER_LIMIT)):
            BoundedHttp().get(server.url)
        with pytest.raises(NoKeysError):
            Keys(server.url).find("loopback")
        found = Platform(Connection(), Hand(), Clock(), url=server.url, url_form="query").get(VIEWS, "r")
        assert isinstance(found, Failure)
    assert sum(unpacked) < 4 * ANSWER_LIMIT


def test_a_body_is_read_up_to_its_limit_and_a_byte_more() -> None:
    """So that its reader sees that there is more; one of just that length is whole."""
    with DrippingServer(packed(1000)) as server:
        for limit, expected in ((999, 1000), (1000, 1000), (10, 11)):
            response = session().get(server.url, timeout=5, stream=True)
            assert len(read_body(response, limit)) == expected
            response.close()


def test_an_answer_in_time_is_whole() -> None:
    """Through a pool, one after the other: what msal and our clients look at."""
    answer = HEAD + b'Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
    with DrippingServer(lambda: iter([answer])) as server:
        found = BoundedHttp().get(server.url)
        assert (found.status_code, found.text, found.json(), found.headers["content-type"]) == (
            200,
            '{"a": 1}',
            {"a": 1},
            "application/json",
        )
        found.raise_for_status()
    with pytest.raises(requests.HTTPError, match="404"):
        found._replace(status_code=404).raise_for_status()


# --- One TLS context -------------------------------------------------------------------------------------------------


@pytest.fixture(name="secure")
def server_over_tls(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """A server whose authority is trusted by REQUESTS_CA_BUNDLE; no context of another test is kept."""
    for name in (*(name for name in os.environ if name.lower().endswith("_proxy")), "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    sessions.context_with_roots.cache_clear()
    with LoopbackServer(lambda _: Answer(200, {}, b"{}"), lambda: datetime.now(UTC), secure=True) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        yield server


def test_roots_are_read_once_for_all_sessions_and_connections(secure: LoopbackServer, reads: list[object]) -> None:
    """Also where a connection was closed meanwhile, as those are that lay idle."""
    one, other = session(), session()
    for http in (one, one, other):
        assert http.get(secure.url, timeout=5).status_code == 200
        http.close()
    assert reads == [str(secure.certificate)]


def test_requests_itself_would_read_them_for_each_connection(secure: LoopbackServer, reads: list[object]) -> None:
    """What is replaced is still there to be replaced: where this fails, `requests` or urllib3 may have mended it."""
    with requests.Session() as http:
        for _ in range(3):
            http.get(secure.url, timeout=5)
            http.close()
    assert len(reads) == 3


def test_an_unknown_authority_is_not_trusted(secure: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the roots are those of the libraries, also where another context was made before."""
    session().get(secure.url, timeout=5)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session().get(secure.url, timeout=5)


def test_the_packages_folder_of_roots_is_trusted_where_nobody_names_a_bundle(
    secure: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[object]
) -> None:
    """Of it nothing is read before a handshake; a bundle that somebody names goes first, and the folder is no part."""
    assert secure.certificate
    write_roots(secure.certificate.read_text(encoding="utf-8"), tmp_path / "roots")
    monkeypatch.setattr(settings, "ROOTS", tmp_path / "roots")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session().get(secure.url, timeout=5)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    reads.clear()
    assert session().get(secure.url, timeout=5).status_code == 200
    assert reads == [None], "no file was read into the context, whose folder is searched"


@pytest.mark.usefixtures("secure")
def test_a_certificate_for_another_host_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is trusted, but the name is not that of the address."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.test").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    with (
        WsgiServer(lambda *_: (), tls=context) as other,
        pytest.raises(requests.exceptions.SSLError, match="localhost"),
    ):
        session().get(f"https://localhost:{other.port}", timeout=5)


def test_a_bundle_without_a_root_is_trouble_with_certificates(
    secure: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `requests` says it: the table of failures knows it by that name."""
    (tmp_path / "empty.pem").write_text("nothing", encoding="utf-8")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "empty.pem"))
    with pytest.raises(requests.exceptions.SSLError):
        session().get(secure.url, timeout=5)


def test_a_proxy_is_used(secure: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at this proxy, and the request does not pass it by."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(requests.exceptions.ProxyError):
        session().get(secure.url, timeout=5)
