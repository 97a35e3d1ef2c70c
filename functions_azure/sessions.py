"""HTTP sessions whose answers end in time and in size, whatever a server sends.

A time-out of `requests` bounds each wait for bytes, so a server that sends one byte a second is never late. Here it
bounds the whole answer, its head included:

    |--- connect ---|--- request sent ---|--- head, body: until the read time-out is over ---|
"""

from __future__ import annotations

import io
import json
import socket
import time
from functools import cache
from http import HTTPStatus
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from ssl import SSLContext
from typing import Any, NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import SSLError
from urllib3.util.ssl_ import create_urllib3_context

from functions_azure import settings

CONNECTIONS = 32
"""As many as the worker has threads, at most (PYTHON_THREADPOOL_THREAD_COUNT), so that none waits for another."""
CHUNK = 65_536
"""Bytes of a body that are read, and unpacked, between two looks at its length."""


def session() -> requests.Session:
    """Make a pool of connections that keeps no cookies, retries nothing, and honours the proxies of its surroundings.

    `trust_env` stays on, since that is how a network with a proxy or a certificate authority of its own is described.
    But `.netrc` belongs to it, which would put a password in place of a token: a session with an `auth` never looks.
    """
    made = requests.Session()
    made.auth = lambda request: request
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = _Adapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS, max_retries=0)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


def read_body(response: requests.Response, limit: int) -> bytes:
    """Read and unpack a streamed body up to `limit` bytes, and one more where there are more, so that a caller sees it.

    Raises what `requests` raises, also where the body takes longer than the read time-out of its request.
    """
    read = bytearray()
    for chunk in response.iter_content(CHUNK):
        read += chunk
        if len(read) > limit:
            break
    return bytes(read[: limit + 1])


class AnswerTooLongError(requests.RequestException):
    """An answer has more bytes than anything that we ask for."""


class WholeAnswer(NamedTuple):
    """An answer with its whole body, as far as `msal` and our own clients look at one."""

    status_code: int
    headers: CaseInsensitiveDict[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is shown as U+FFFD."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError`."""
        return json.loads(self.body)

    def raise_for_status(self) -> None:
        """Raise `requests.HTTPError` for an answer that is an error; `msal` asks for this."""
        if self.status_code >= HTTPStatus.BAD_REQUEST:
            raise requests.HTTPError(f"the answer has status {self.status_code}")


def read_answer(response: requests.Response, limit: int) -> WholeAnswer:
    """Read a streamed answer to its end. Raises `AnswerTooLongError`, or what `requests` raises."""
    with response:
        body = read_body(response, limit)
    if len(body) > limit:
        raise AnswerTooLongError(f"an answer of more than {limit} bytes")
    return WholeAnswer(response.status_code, response.headers, body)


# --- Answers that end in time ----------------------------------------------------------------------------------------


class _TimedReader(io.RawIOBase):
    """The reading end of a socket, until a number of seconds from now; every wait for bytes is as long as is left."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer that is to be over within the time-out that its socket has when the request was sent."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        seconds = sock.gettimeout()
        if seconds is not None:
            self.fp.close()
            self.fp = io.BufferedReader(_TimedReader(sock, seconds))


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _SecureConnection(HTTPSConnection):
    """A connection over TLS that shares its context, and with it the parsed roots, with all others of the process.

    urllib3 reads the bundle of roots anew for each connection, which is nearly all that a connection costs. Behind a
    proxy it still does, since there the roots are the proxy's, too.

    Of the package's folder none is read before a handshake needs it: OpenSSL finds it there by its name.
    """

    response_class = _TimedResponse

    def connect(self) -> None:
        if self.ca_certs and not self.proxy and not self.cert_file:
            self.ssl_context, self.ca_certs = context_with_roots(roots_of(self.ca_certs)), None
        super().connect()


def roots_of(bundle: str) -> str:
    """Where the certificates are: a bundle that somebody names, else the package's folder, else what `requests` has."""
    return str(settings.ROOTS) if bundle == DEFAULT_CA_BUNDLE_PATH and settings.ROOTS.is_dir() else bundle


@cache
def context_with_roots(roots: str) -> SSLContext:
    """Make urllib3's own context, which trusts the roots of a file or a folder. Raises `SSLError`, as urllib3 does."""
    made = create_urllib3_context()
    try:
        if roots == str(settings.ROOTS):
            made.load_verify_locations(capath=roots)
        else:
            made.load_verify_locations(roots)
    except OSError as error:
        raise SSLError(error) from error
    return made


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    """The transport of `requests` on these connections, directly and through proxies."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # which needs a package that is not installed, and has its own pools
            manager.pool_classes_by_scheme = _POOLS
        return manager
