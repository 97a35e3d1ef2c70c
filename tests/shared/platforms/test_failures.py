"""What the builders and readers of both clouds share."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from socket import create_server
from threading import Thread
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError
from botocore.parsers import ResponseParserError

from shared.platforms.failures import TRANSIENT, Operation, names_of, read_exception, retry_after
from shared.platforms.paging import Page, concerns, gather
from shared.refresh.failure import Delivery, Failure, Fault
from shared.refresh.ports import Phase, Report
from shared.times import time_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-04-27T07:11:35.2470885", datetime(2026, 4, 27, 7, 11, 35, 247089, tzinfo=UTC)),
        ("2026-04-27T06:42:22.37", datetime(2026, 4, 27, 6, 42, 22, 370000, tzinfo=UTC)),
        ("2026-04-27T06:42:22.370Z", datetime(2026, 4, 27, 6, 42, 22, 370000, tzinfo=UTC)),
        ("2026-04-27T08:42:22+02:00", datetime(2026, 4, 27, 6, 42, 22, tzinfo=UTC)),
        ("0001-01-01T00:00:00", None),
        ("9999-12-31T23:59:59.9999999Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("2026-04-27", None),
        ("", None),
        ("yesterday", None),
        ("\u0662\u0660\u0662\u0666-04-27T06:42:22Z", None),
    ],
)
def test_times_of_the_wire(text: str, expected: datetime | None) -> None:
    """With a zone or without, with two to seven digits of fraction; what stands for "none" is none."""
    assert time_of(text) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("60", 60),
        (" 7 ", 7),
        ("0", 5),
        ("-3", 5),
        ("3", 5),
        ("61", 60),
        ("9" * 5000, 60),
        ("1e400", 60),
        ("-inf", 5),
        ("12.5", 12.5),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 12:00:30 +0100", None),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 5),
        ("Sun, 01 Jan 2999 00:00:00 GMT", 60),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 5),
        ("Mon, 23 Nov 2026 25:00:30 GMT", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_clamped(value: str, seconds: float | None) -> None:
    """Seconds or a date, absent, zero, negative, absurd: within bounds, or None."""
    bounds = timedelta(seconds=5), timedelta(seconds=60)
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after({"retry-AFTER": value}, NOW, bounds) == expected


def test_retry_after_without_a_clock_or_a_header() -> None:
    """A date needs a clock; an absent header says nothing."""
    assert retry_after({"Retry-After": "Mon, 23 Nov 2026 12:00:30 GMT"}) is None
    assert retry_after({"Other": "1"}) is None
    assert retry_after({"Retry-After": "99999"}) == HOUR
    assert retry_after({"Retry-After": "0"}) == timedelta(seconds=1)


# --- Listings --------------------------------------------------------------------------------------------------------

RUN = Report("r", Phase.ACTIVE, "RUNNING")


def test_a_listing_is_all_its_pages() -> None:
    """Pages are followed to the last."""
    pages = {1: Page((RUN,), 2), 2: Page((), 3), 3: Page[int]((RUN, RUN))}
    assert gather(1, lambda number: pages[number]) == (RUN, RUN, RUN)


def test_half_a_listing_is_none() -> None:
    """Trouble on any page is the answer: a run might be on the page that is missing."""
    failure = TRANSIENT.failure("X", "x")
    pages: dict[int, Page[int] | Failure] = {1: Page((RUN,), 2), 2: failure}
    assert gather(1, lambda number: pages[number]) is failure


def pages_read(*pages: list[float | None], since: float) -> int:
    """How many pages are read of a list whose runs were created so many hours before now, if another one follows."""
    asked: list[int] = []

    def ask(number: int) -> Page[int]:
        asked.append(number)
        hours = pages[number] if number < len(pages) else []
        created = tuple(None if hour is None else NOW - hour * HOUR for hour in hours)
        return Page((), number + 1 if number <= len(pages) else None, created)

    assert gather(0, ask, NOW - since * HOUR) == ()
    return len(asked)


NEWEST_FIRST = [float(hour) for hour in range(10)]


@pytest.mark.parametrize(
    ("pages", "since", "read"),
    [
        ([NEWEST_FIRST[:5], NEWEST_FIRST[5:]], 8, 2),  # ordered, and the second page goes back beyond 8 hours
        ([NEWEST_FIRST[:5], NEWEST_FIRST[5:]], 9, 4),  # ... but not beyond 9
        ([NEWEST_FIRST, [10.0]], 5, 2),  # one page proves no order of pages
        ([[9.0]], 5, 3),  # one old run and a token
        ([[1.0, 9.0], [0.5, 10.0]], 5, 4),  # each page falls, the list does not
        ([NEWEST_FIRST[:4], NEWEST_FIRST[5:]], 8, 4),  # too few runs to tell
        ([NEWEST_FIRST[::-1], [20.0]], 5, 4),  # oldest first
        ([[*NEWEST_FIRST, None], [10.0]], 5, 4),  # a run without a time
    ],
)
def test_a_list_is_read_on_until_its_order_shows(pages: list[list[float | None]], since: float, read: int) -> None:
    """Only where all runs so far came newest first, over pages, does an old one say that no wanted one follows."""
    assert pages_read(*pages, since=since) == read


def test_a_listing_in_circles_ends() -> None:
    """A platform that pages without end is in trouble, for now."""
    answer = gather(1, lambda number: Page((RUN,), number + 1))
    assert isinstance(answer, Failure)
    assert answer.retry_safe
    assert not answer.permanent


@pytest.mark.parametrize(
    ("phase", "created_at", "ended_at", "wanted"),
    [
        (Phase.ACTIVE, NOW - HOUR, None, True),
        (Phase.UNKNOWN, NOW - HOUR, None, True),
        (Phase.SUCCEEDED, None, NOW - HOUR, True),
        (Phase.SUCCEEDED, NOW, None, True),
        (Phase.CANCELLED, NOW - HOUR, NOW, True),
        (Phase.CANCELLED, NOW - HOUR, None, False),
        (Phase.FAILED, NOW - 2 * HOUR, NOW - HOUR, False),
    ],
)
def test_what_a_look_up_needs(
    phase: Phase, created_at: datetime | None, ended_at: datetime | None, wanted: bool
) -> None:
    """What may be running, and what was created or ended since: an earlier run may be what ours was skipped for."""
    assert concerns(Report("r", phase, "", created_at, ended_at), NOW) is wanted


# --- Transport -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[Callable[[bytes | None], None], int]]:
    """A server on loopback that takes one connection, reads a little, and answers with bytes, or stays silent."""
    listener = create_server(("127.0.0.1", 0))
    connections = []

    def serve(answer: bytes | None) -> None:
        def once() -> None:
            connection, _ = listener.accept()
            connections.append(connection)
            connection.recv(65536)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

        Thread(target=once, daemon=True).start()

    yield serve, listener.getsockname()[1]
    for connection in connections:
        connection.close()
    listener.close()


def call_glue(port: int) -> None:
    """A start, as the Lambda sends it: once, with short time-outs."""
    client = boto3.client(
        "glue",
        region_name="eu-west-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(connect_timeout=2, read_timeout=0.3, retries={"total_max_attempts": 1}),
    )
    client.start_materialized_view_refresh_task_run(CatalogId="1", DatabaseName="d", TableName="t")


def call_fabric(port: int) -> None:
    """A start, as the Azure Function sends it."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(f"http://127.0.0.1:{port}/v1/x", timeout=(2, 0.3))


CALLS = pytest.mark.parametrize("call", [call_glue, call_fabric])


def outcome(call: Callable[[int], None], port: int) -> Failure:
    """What becomes of the call."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever the SDK raises
        call(port)
    assert not isinstance(raised.value, ClientError)
    return read_exception(Operation.START, raised.value)


@CALLS
def test_a_refused_connection_sent_nothing(call: Callable[[int], None]) -> None:
    """Real exceptions of the real SDKs: no connection, nothing sent."""
    with create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = outcome(call, port)
    assert (found.delivery, found.fault, found.retry_safe) == (Delivery.NOT_SENT, Fault.NETWORK, True)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (call_glue, None),
        (call_glue, b""),
        (call_fabric, None),
        (call_fabric, b""),
        (call_fabric, b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n{}"),
        (call_fabric, b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
    ],
)
def test_a_lost_answer_is_an_unknown_outcome(call: Callable[[int], None], answer: bytes | None, server: Any) -> None:
    """Silence, a closed connection, half an answer, or none that can be read: the request may have taken effect."""
    serve, port = server
    serve(answer)
    found = outcome(call, port)
    assert (found.delivery, found.retry_safe, found.permanent) == (Delivery.UNKNOWN, False, False)


@pytest.mark.parametrize(
    ("error", "sent", "retry_safe"),
    [
        (NoCredentialsError(), Delivery.NOT_SENT, False),
        (ParamValidationError(report="x"), Delivery.NOT_SENT, False),
        (ResponseParserError("x"), Delivery.UNKNOWN, False),
        (requests.ConnectTimeout("x"), Delivery.NOT_SENT, True),
        (requests.exceptions.InvalidURL("x"), Delivery.NOT_SENT, False),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("bad")), Delivery.NOT_SENT, False),
        (requests.exceptions.SSLError("broken in the middle"), Delivery.UNKNOWN, False),
        (requests.exceptions.ChunkedEncodingError("x"), Delivery.UNKNOWN, False),
        (ConnectionResetError("x"), Delivery.UNKNOWN, False),
        (ConnectionRefusedError("x"), Delivery.NOT_SENT, True),
        (RuntimeError(""), Delivery.UNKNOWN, False),
    ],
)
def test_exceptions_by_name(error: Exception, sent: Delivery, retry_safe: bool) -> None:
    """What nobody listed may have been sent."""
    found = read_exception(Operation.START, error)
    assert (found.delivery, found.retry_safe) == (sent, retry_safe)
    assert found.code
    assert found.message
    assert read_exception(Operation.GET, error).retry_safe is (retry_safe or sent is Delivery.UNKNOWN)


def test_names_of_exceptions_that_go_in_circles() -> None:
    """Causes may refer to each other."""
    one, other = ValueError("one"), TypeError("other")
    one.__cause__, other.__context__ = other, one
    assert names_of(one)[0] == "ValueError"
    assert "TypeError" in names_of(one)
