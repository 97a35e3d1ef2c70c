"""`unstale page`: how fresh every view is and was, written as one file or shown on loopback and renewed.

The page is made of the records and the history, as `status` and `history` read them; what cannot be read is said on it.
It is one file without a request to anywhere: it can be mailed, kept, and opened where there is no network. `--serve`
binds to loopback alone, since the page shows names of views and errors to whoever can reach it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import MsgspecError, structs

from local.cli.deployment import PLACES, Kept, Side, each_side, read_config
from local.cli.errors import NotWellError, UsageError
from local.cli.status import CloudStatus, gather
from local.page.document import chart_bundle, document, values_of
from local.page.picture import Picture, picture, unread
from shared.endpoints import is_loopback
from shared.refresh.evidence import Evidence, Liveness
from shared.refresh.excerpt import EVERY, Excerpt, read_excerpt
from shared.refresh.ports import StoreDownError
from shared.refresh.records import read_ended
from shared.refresh.state import State
from shared.refresh.status import status_unread
from shared.times import span
from shared.version import VERSION

LINES = 1000
"""Of each target's history: as many as one page of DynamoDB's answer holds."""

OVERDUE = 3 * EVERY
"""An excerpt older than this is no picture of now: no tick has written the next one. So views are judged by the clock
of the reader then, and become `unknown` for want of ticks instead of staying fresh for ever."""

Reading = tuple[CloudStatus, list[Picture], str]
"""The words of one cloud: its records, the picture of each of its targets, and what to know of how that was read."""


def write(path: Path, into: Path) -> None:
    """Write the page to a file, whatever was there: it is made anew from the records each time."""
    bundle = chart_bundle()
    size = write_values(_read(path), bundle, into)
    print(f"{into}: {size / 1_000_000:.1f} MB; open it in a browser")


def write_values(values: dict[str, Any], bundle: str, into: Path) -> int:
    """Write a page of these values to a file; its size in bytes."""
    page = document(values, bundle).encode()
    try:
        into.write_bytes(page)
    except OSError as failure:
        raise UsageError(f"cannot write {into}: {failure.strerror}. Name another file with --into") from failure
    return len(page)


def serve(path: Path, port: int) -> None:
    """Show the page on loopback until Ctrl-C; each renewal reads the records anew."""
    bundle, kept = chart_bundle(), Kept()
    _read(path, kept)  # what is wrong with the configuration or the deployment is said before anything is served
    with server(lambda: _read(path, kept, renewed=True), bundle, port) as serving:
        print(f"http://127.0.0.1:{serving.server_port}/ shows the page; Ctrl-C ends it", flush=True)
        serving.serve_forever()


class Handler(BaseHTTPRequestHandler):
    """Answers requests that come to a loopback address by that name, so that no other site reads the page."""

    server_version = f"unstale/{VERSION}"

    def __init__(self, read: Callable[[], dict[str, Any]], bundle: str, *connection: Any) -> None:
        """`read` reads the values; the rest is what the server hands over for a connection, and answers it."""
        self._read = read
        self._bundle = bundle
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer with the page or its values."""
        if not is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for this machine")
        elif self.path == "/":
            self._answer_with("text/html; charset=utf-8", lambda values: document(values, self._bundle))
        elif self.path == "/data.json":
            self._answer_with("application/json", json.dumps)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is only /")

    def _answer_with(self, kind: str, write: Callable[[dict[str, Any]], str]) -> None:
        """Read the values, and answer with what is made of them, or with why they cannot be read."""
        try:
            body = write(self._read()).encode()
        except (NotWellError, UsageError) as failure:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", str(failure).encode())
            return
        self._answer(HTTPStatus.OK, kind, body)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        """Send an answer that nothing keeps."""
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in (headers | {"X-Content-Type-Options": "nosniff"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        """Say nothing: a page that renews itself would fill the terminal."""


def server(read: Callable[[], dict[str, Any]], bundle: str, port: int) -> ThreadingHTTPServer:
    """The server: the page, and the values that it renews itself with. Raises `UsageError` where the port is taken."""
    handler = partial(Handler, read, bundle)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as failure:
        raise UsageError(f"port {port}: {failure.strerror}. Name another one with --port") from failure


def _read(path: Path, kept: Kept | None = None, *, renewed: bool = False) -> dict[str, Any]:
    """The values of the page. A cloud that is away does not hide the other: its targets are unknown, and why."""
    configuration = read_config(path)
    seen, away = each_side(configuration, path, read_side, kept=kept)
    found = {each.status.name: each for _, pictures, _ in seen for each in pictures}
    missing = [target for target in configuration.targets if target.name not in found]
    pictures = [*found.values(), *(unread(status_unread(t, str(away[t.cloud])), t.policy.objective) for t in missing)]
    doubts = [warning for one, _, _ in seen for warning in one.warnings]
    doubts += [doubt for _, _, doubt in seen if doubt]
    doubts += [f"{PLACES[cloud]}: {failure}" for cloud, failure in away.items()]
    doubts += _dead_letters([one for one, _, _ in seen])
    now = max(one.side.ports.clock.now() for one, _, _ in seen)
    return values_of(pictures, doubts, now, renewed=renewed)


def read_side(side: Side) -> Reading:
    """The records and the history of one cloud; an excerpt of them where the store does not let the reader in."""
    try:
        one = gather(side)
        dead = sum(summary.count for summary in one.summaries)
        return one, [_picture(side, evidence) for evidence in one.evidence(dead)], ""
    except StoreDownError as down:
        if side.excerpt is None:
            raise
        return _from_excerpt(side, _read_excerpt(side.excerpt, down), str(down))


def _picture(side: Side, evidence: Evidence) -> Picture:
    """The picture of one target, by all the history that one answer holds."""
    lines = [read_ended(body) for body in side.ports.store.history(evidence.target.key, LINES)]
    return picture(evidence, lines)


# --- What a tick wrote for readers who may not read the store --------------------------------------------------------


def _read_excerpt(read: Callable[[], bytes], down: StoreDownError) -> Excerpt:
    """The excerpt. Raises `StoreDownError` where the reader may not read that either, or there is none yet."""
    try:
        return read_excerpt(read())
    except (StoreDownError, MsgspecError) as failure:
        raise StoreDownError(f"{down}; and of what ticks write for the page: {failure}") from failure


def _from_excerpt(side: Side, found: Excerpt, why: str) -> Reading:
    """The reading of an excerpt: as of its moment, or as of now where the next one should long have come."""
    now = side.ports.clock.now()
    at = found.at if now - found.at < OVERDUE else now
    side = replace(side, ports=structs.replace(side.ports, clock=StoppedClock(at)))
    states = [found.states.get(key, State()) for key in side.engine.targets]
    liveness = Liveness(is_asked=True, ticked_at=found.deployment.ticked_at)
    one = CloudStatus(side, (), found.deployment, states, found.sources, liveness, found.identities)
    pictures = [picture(each, found.history.get(each.target.key, ())) for each in one.evidence(0)]
    wrote = f"{PLACES[side.cloud]}: as a tick wrote it down {span(now - found.at)} ago, without queues and dead letters"
    return one, pictures, f"{wrote}, because {why}"


class StoppedClock:
    """A clock that stands at one moment: `shared.refresh.ports.Clock`."""

    def __init__(self, at: datetime) -> None:
        """Take the moment at which the clock stands."""
        self._at = at

    def now(self) -> datetime:
        """Always the moment."""
        return self._at

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self._at.timestamp()


def _dead_letters(seen: list[CloudStatus]) -> list[str]:
    """A sentence about messages that nobody could read."""
    count = sum(summary.count for one in seen for summary in one.summaries)
    return [f"{count} dead letters: a signal may be among them (unstale redrive)"] if count else []
