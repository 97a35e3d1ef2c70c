"""The Fabric adapter against the emulator, and against servers that do what no emulator does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from functions_azure import settings
from functions_azure.clients import NEVER, Deadline
from functions_azure.platform import IDLE, Connection, Platform
from local.emulators.entra.tokens import FABRIC, Caller, Tokens
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.faults import CallFault, LoseResponse, Refuse, ServerError, Slow, Throttle
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.platforms import fabric
from shared.platforms.failures import ANSWER_LIMIT, MISCONFIGURED
from shared.redaction import Redactor
from shared.refresh.failure import Delivery, Failure, FailureKind
from shared.refresh.ports import Phase, Report, Started
from shared.targets import ItemJob, LakeViews, Target
from tests.support import swagger
from tests.support.revocation import revoke
from tests.support.waiting import PATIENCE_SECONDS

WORKSPACE = "4b218778-e7a5-4d73-8187-f10824047715"
LAKEHOUSE = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
NOTEBOOK = "090aeedc-1c66-4e70-bebe-01df1101fcf0"
VIEWS = Target("sales", LakeViews(WORKSPACE, LAKEHOUSE))
JOB = Target("optimize", ItemJob(WORKSPACE, NOTEBOOK, "Default/Job 1", {"tableName": "t"}))
ITEMS = (
    Item(WORKSPACE, LAKEHOUSE, "Lakehouse", (JobType(LAKE_VIEWS),)),
    Item(WORKSPACE, NOTEBOOK, "Notebook", (JobType("Default/Job 1"),)),
)
US = Caller("0a4f1c2e-0000-4000-8000-00000000000a", "0a4f1c2e-0000-4000-8000-000000000001")
T0 = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
RUN = "5d1c6a3e-9f40-4c5e-9d0a-3b1b6f0e7c21"


class Clock:
    """The platform's and ours; it stands still until it is turned."""

    time = T0

    def __call__(self) -> datetime:
        """For the emulator."""
        return self.time

    now = __call__

    def monotonic(self) -> float:
        """For the port."""
        return self.time.timestamp()


class Hand:
    """`functions_azure.tokens.Tokens` that notes what it hands out and what was refused."""

    def __init__(self, make: Callable[[], str | Failure]) -> None:
        self.make = make
        self.held: str | Failure | None = None
        self.refusals: list[str] = []

    def token(self) -> str | Failure:
        """The one that it holds, else a new one."""
        self.held = self.held or self.make()
        return self.held

    def forget(self, token: str) -> None:
        """Hold it no more."""
        self.refusals.append(token)
        self.held = None


@pytest.fixture(name="clock")
def stopped_clock() -> Clock:
    """One for both sides."""
    return Clock()


@pytest.fixture(name="tenant")
def tenant_tokens(clock: Clock) -> Tokens:
    """The tenant's tokens."""
    return Tokens(clock, "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935")


@pytest.fixture(name="hand")
def token_hand(tenant: Tokens) -> Hand:
    """Hands out good ones."""
    return Hand(lambda: tenant.issue(US, FABRIC, timedelta(hours=1)))


@pytest.fixture(name="emulator")
def fabric_emulator(clock: Clock, tenant: Tokens) -> Iterator[FabricEmulator]:
    """Fabric with a lakehouse and a notebook; in the end it must have been asked for what the API has only."""
    with FabricEmulator(clock, tenant.validate, settings=FabricSettings(page_size=2)) as emulator:
        for item in ITEMS:
            emulator.add_item(item)
        yield emulator
        assert not emulator.unplanned_requests
        assert not emulator.faults.unused_faults()
        swagger.assert_as_published(emulator.exchanges)


def adapter(
    url: str, hand: Hand, clock: Clock, *, url_form: fabric.UrlForm = "query", deadline: Deadline = NEVER
) -> Platform:
    """The product's own, with a connection of its own."""
    return Platform(Connection(), hand, clock, url=url, url_form=url_form, deadline=deadline)


@pytest.fixture(name="platform")
def product_platform(emulator: FabricEmulator, hand: Hand, clock: Clock) -> Platform:
    """Against the emulator."""
    return adapter(emulator.url, hand, clock)


# --- Operations


@pytest.mark.parametrize("url_form", ["query", "path"])
@pytest.mark.parametrize("target", [VIEWS, JOB])
def test_a_run_goes_through_its_life(
    emulator: FabricEmulator, hand: Hand, clock: Clock, target: Target, url_form: fabric.UrlForm
) -> None:
    """Started, followed, listed, ended, in both URL forms; what ran is what the target names."""
    platform = adapter(emulator.url, hand, clock, url_form=url_form)
    started = platform.start(target, full=False)
    assert isinstance(started, Started)
    assert started.run_id
    assert started.retry_after == timedelta(seconds=60)
    seen = []
    for _ in range(2):
        report = platform.get(target, started.run_id)
        assert isinstance(report, Report)
        seen.append(report.phase)
        clock.time += timedelta(minutes=1)
    assert seen == [Phase.ACTIVE, Phase.SUCCEEDED]
    listed = platform.list(target, T0)
    assert isinstance(listed, tuple)
    assert [report.run_id for report in listed] == [started.run_id]
    assert len(emulator.journal().entries()) == 1


def test_a_run_is_cancelled(platform: Platform, clock: Clock) -> None:
    """Accepted at first, then shown; once it is over, a cancel says so."""
    started = platform.start(VIEWS, full=True)
    assert isinstance(started, Started)
    assert platform.cancel(VIEWS, started.run_id) is None
    clock.time += timedelta(minutes=1)
    report = platform.get(VIEWS, started.run_id)
    assert isinstance(report, Report)
    assert report.phase is Phase.CANCELLED
    again = platform.cancel(VIEWS, started.run_id)
    assert isinstance(again, Failure)
    assert again.kind is FailureKind.OVER


def test_a_list_is_read_to_its_end(platform: Platform, clock: Clock) -> None:
    """Page by page, at our own base, whatever address the answer names for the next one."""
    for _ in range(5):
        assert isinstance(platform.start(JOB, full=False), Started)
        clock.time += timedelta(minutes=1)
    listed = platform.list(JOB, T0)
    assert isinstance(listed, tuple)
    assert len(listed) == 5


def test_half_a_list_is_trouble(emulator: FabricEmulator, platform: Platform, clock: Clock) -> None:
    """A page that fails fails the list: half of it must not be taken for "none"."""
    for _ in range(3):
        platform.start(JOB, full=False)
        clock.time += timedelta(minutes=1)
    emulator.faults.add(Slow(0), "list")
    emulator.faults.add(ServerError(500), "list")
    found = platform.list(JOB, T0)
    assert isinstance(found, Failure)
    assert found.retry_safe


# --- Errors


@pytest.mark.parametrize(
    ("fault", "delivery", "kind"),
    [
        (Refuse("InsufficientPrivileges"), Delivery.REJECTED, FailureKind.OTHER),
        (Refuse("TooManyRequestsForJobs"), Delivery.REJECTED, FailureKind.THROTTLED),
        (Throttle(53), Delivery.REJECTED, FailureKind.THROTTLED),
        (ServerError(500), Delivery.UNKNOWN, FailureKind.OTHER),
        (ServerError(502, done=True), Delivery.UNKNOWN, FailureKind.OTHER),
        (LoseResponse(), Delivery.UNKNOWN, FailureKind.OTHER),
    ],
)
def test_errors_of_a_start_are_facts(
    emulator: FabricEmulator, platform: Platform, fault: CallFault, delivery: Delivery, kind: FailureKind
) -> None:
    """What the loop must know of each: whether it was sent, and whether it may be sent again."""
    emulator.faults.add(fault, "start")
    found = platform.start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert (found.delivery, found.kind) == (delivery, kind)
    assert found.permanent == isinstance(fault, Refuse) * (kind is FailureKind.OTHER)


def test_a_start_that_takes_too_long_has_an_unknown_outcome(emulator: FabricEmulator, hand: Hand, clock: Clock) -> None:
    """It gives up in time, says that it may have been sent, and never sends it a second time."""
    emulator.faults.add(Slow(3600), "start")
    platform = adapter(emulator.url, hand, clock, deadline=Deadline(2.2))
    found = platform.start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert (found.delivery, found.code) == (Delivery.UNKNOWN, "ReadTimeout")
    assert len(emulator.journal().entries()) == 1


def test_what_reaches_nobody_was_not_sent(hand: Hand, clock: Clock) -> None:
    """No connection: the claim is given back, and nothing need be looked up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    found = adapter(f"http://127.0.0.1:{closed}/v1", hand, clock).start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert (found.delivery, found.retry_safe) == (Delivery.NOT_SENT, True)


def test_too_little_time_is_no_start(emulator: FabricEmulator, hand: Hand, clock: Clock) -> None:
    """Less than a call needs is left of the invocation: nothing is sent that might be cut off."""
    found = adapter(emulator.url, hand, clock, deadline=Deadline(1.5)).start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert (found.delivery, found.retry_safe) == (Delivery.NOT_SENT, True)
    assert emulator.exchanges == ()


def test_without_a_token_nothing_is_sent(emulator: FabricEmulator, clock: Clock) -> None:
    """The reason for having none is the answer."""
    why = MISCONFIGURED.failure("invalid_client", "is the secret the current one?")
    assert adapter(emulator.url, Hand(lambda: why), clock).start(VIEWS, full=False) == why
    assert emulator.exchanges == ()


# --- Tokens


@pytest.mark.parametrize("operation", ["start", "get", "list", "cancel"])
def test_a_refused_token_is_renewed_once(
    emulator: FabricEmulator, platform: Platform, tenant: Tokens, hand: Hand, operation: str
) -> None:
    """Revoked, or over too early: the same call goes out again with a new one, a start too: a 401 takes no effect."""
    started = platform.start(VIEWS, full=False)
    assert isinstance(started, Started)
    revoke(tenant)
    calls: dict[str, Callable[[], object]] = {
        "start": lambda: platform.start(JOB, full=False),
        "get": lambda: platform.get(VIEWS, started.run_id),
        "list": lambda: platform.list(VIEWS, T0),
        "cancel": lambda: platform.cancel(VIEWS, started.run_id),
    }
    assert not isinstance(calls[operation](), Failure)
    assert len(hand.refusals) == 1
    statuses = [exchange.answer.status for exchange in emulator.exchanges if exchange.answer]
    assert (statuses[1], len(statuses)) == (401, 3)


def test_a_token_that_is_refused_twice_blocks(emulator: FabricEmulator, clock: Clock, tenant: Tokens) -> None:
    """A token for somebody else, say: asked for anew once, not for ever; then it is a fact for a person."""
    hand = Hand(lambda: tenant.issue(US, "https://storage.azure.com", timedelta(hours=1)))
    found = adapter(emulator.url, hand, clock).start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert found.permanent
    assert len(hand.refusals) == len(emulator.exchanges) == 2
    assert len(emulator.journal().entries()) == 0


# --- What leaves, and where to

PAGE = f'{{"id": "{RUN}", "status": "InProgress"}}'.encode()


class Servers:
    """Servers that keep what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.elsewhere: list[Request] = []

    def keep(self, request: Request) -> Answer:
        """Answer as Fabric would."""
        self.asked.append(request)
        return Answer(200, {"Set-Cookie": "session=1; Path=/"}, PAGE)

    def stray(self, request: Request) -> Answer:
        """Nobody should come here."""
        self.elsewhere.append(request)
        return Answer(200, {}, PAGE)


def now() -> datetime:
    """A loopback server wants a clock."""
    return T0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(clock: Clock, status: int) -> None:
    """A token is for our base URL alone."""
    servers = Servers()
    with LoopbackServer(servers.stray, now) as elsewhere:
        answer = Answer(status, {"Location": f"{elsewhere.url}/v1"})
        with LoopbackServer(lambda _: answer, now) as server:
            found = adapter(f"{server.url}/v1", Hand(lambda: "t"), clock).get(VIEWS, RUN)
    assert isinstance(found, Failure)
    assert "redirect" in found.message
    assert servers.elsewhere == []


def test_no_answer_names_the_next_address(clock: Clock) -> None:
    """Neither `Location` nor `continuationUri` leads anywhere but to our own base."""
    servers = Servers()

    def respond(request: Request) -> Answer:
        servers.asked.append(request)
        if request.method == "POST":
            return Answer(202, {"Location": f"{elsewhere.url}/v1/workspaces/w/items/i/jobs/instances/{RUN}"})
        uri = f"{elsewhere.url}/v1/next?continuationToken=abc"
        more = f', "continuationToken": "abc", "continuationUri": "{uri}"' if len(servers.asked) < 4 else ""
        return Answer(200, {}, f'{{"value": []{more}}}'.encode())

    with LoopbackServer(servers.stray, now) as elsewhere, LoopbackServer(respond, now) as server:
        platform = adapter(f"{server.url}/v1", Hand(lambda: "t"), clock)
        assert platform.start(VIEWS, full=False) == Started(RUN)
        platform.get(VIEWS, RUN)
        assert platform.list(VIEWS, T0) == ()
    assert servers.elsewhere == []
    assert len(servers.asked) == 4


def test_what_is_sent_is_the_request_and_the_token(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No cookie of an earlier answer, and no password of a `.netrc` in place of the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password planted\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    servers = Servers()
    with LoopbackServer(servers.keep, now) as server:
        platform = adapter(f"{server.url}/v1", Hand(lambda: "good"), clock)
        platform.get(VIEWS, RUN)
        platform.get(VIEWS, RUN)
        requests.get(server.url, timeout=PATIENCE_SECONDS)
    *ours, bare = [request.headers["authorization"] for request in servers.asked]
    assert ours == ["Bearer good"] * 2
    assert bare.startswith("Basic "), "the file must be one that would be read"
    assert not any("cookie" in request.headers for request in servers.asked)


def test_a_proxy_of_the_surroundings_is_used(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that only lets a proxy out must work: `trust_env` is on."""
    servers = Servers()
    with LoopbackServer(servers.keep, now) as proxy:
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        found = adapter("http://127.0.0.1:9/v1", Hand(lambda: "t"), clock).get(VIEWS, RUN)
    assert isinstance(found, Report)
    assert len(servers.asked) == 1


BROKEN_ADDRESSES = {
    "a label that is empty": "https://a..b",
    "a label that is too long": f"https://{'a' * 70}.example",
    "no host": "https://",
    "a bracket that is not closed": "http://[::1",
    "a port that is none": "http://localhost:99999",
}


@pytest.mark.parametrize("address", BROKEN_ADDRESSES.values(), ids=list(BROKEN_ADDRESSES))
def test_an_address_that_is_refused_is_trouble(clock: Clock, address: str) -> None:
    """Nothing raises out of a start, whose claim is saved by then. It was not sent; somebody must mend a setting."""
    found = adapter(f"{address}/v1", Hand(lambda: "t"), clock).start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert (found.delivery, found.retry_safe) == (Delivery.NOT_SENT, False)


@pytest.mark.parametrize("password", ["pa/ss-word", "pa#ss-word", "pa?ss-word", "pa\\ss-word", "12/ss-word", "[ss"])
def test_the_password_of_a_proxy_is_in_no_trouble(clock: Clock, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """A trouble is stored, answered and logged. What cannot be read as an address is shown by its first part."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://localhost:{password}@127.0.0.1:9")
    platform = Platform(
        Connection(),
        Hand(lambda: "t"),
        clock,
        url="https://fabric.example/v1",
        url_form="query",
        redactor=Redactor(settings.secrets(os.environ)),
    )
    found = platform.start(VIEWS, full=False)
    assert isinstance(found, Failure)
    assert not any(part in str(found) for part in ("pa'", "ss-word", "[ss", "port=12"))


def test_an_answer_that_is_too_long_is_trouble(clock: Clock) -> None:
    """Nothing that Fabric says comes near it."""
    with LoopbackServer(lambda _: Answer(200, {}, b" " * (ANSWER_LIMIT + 1)), now) as server:
        found = adapter(f"{server.url}/v1", Hand(lambda: "t"), clock).get(VIEWS, RUN)
    assert isinstance(found, Failure)
    assert found.retry_safe


class KeepsConnections(BaseHTTPRequestHandler):
    """Answers on one connection as long as the caller likes, as the service does and the emulators do not."""

    protocol_version = "HTTP/1.1"
    timeout = 30.0

    def do_GET(self) -> None:
        """One page."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


class CountsConnections(ThreadingHTTPServer):
    """A server that counts who connects."""

    connections = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept one more."""
        self.connections += 1
        return super().get_request()


def test_connections_are_kept_but_no_idle_one_is_used(clock: Clock) -> None:
    """Calls in a row share a connection; after a pause a new one is made, since the old one may be cut unnoticed."""
    with CountsConnections(("127.0.0.1", 0), KeepsConnections) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        platform = adapter(f"http://127.0.0.1:{server.server_port}/v1", Hand(lambda: "t"), clock)
        platform.get(VIEWS, RUN)
        platform.get(VIEWS, RUN)
        assert server.connections == 1
        platform._connection._used_at -= IDLE.total_seconds() + 1
        platform.get(VIEWS, RUN)
        server.shutdown()
    assert server.connections == 2
