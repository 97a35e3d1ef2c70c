"""What readers and builders of both clouds have in common: limits, times, Retry-After, paging, facts about failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from math import isnan
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from shared.model import Value
from shared.ports import Phase, Report
from shared.readings import Arrived, Malformed, Part, Reading, Several, Single
from shared.redaction import plain
from shared.trouble import Fault, Meaning, Sent, Trouble

EVENT_LIMIT = 256 * 1024
"""Bytes. The most that EventBridge takes; an event that we act on has about one kilobyte."""
ANSWER_LIMIT = 1024 * 1024
"""Bytes that a client reads of an answer at most. A hundred Fabric job instances are some 60 kilobytes."""
PAGE_LIMIT = 10
"""Pages of one listing. More is a platform that pages in circles, or a history that no function can read in time."""
THROTTLE_BOUNDS = timedelta(seconds=1), timedelta(hours=1)
"""A quota window is a minute on Fabric (throttling article); what claims more than an hour is not believed."""

EARLIEST_YEAR, LATEST_YEAR = 2000, 8999
"""No platform here is older; and sums with the first or the last days of the calendar overflow."""

_T = TypeVar("_T")


# --- Messages that arrive --------------------------------------------------------------------------------------------


def read_guarded(read: Callable[[bytes, datetime], Reading], body: object, received_at: datetime) -> Reading:
    """Run a reader over a body (JSON text, its bytes, or what a runtime parsed already). Raises nothing."""
    try:
        return read(_encoded(body), received_at)
    except msgspec.ValidationError as error:
        return Malformed(plain(str(error)))
    except msgspec.MsgspecError as error:
        return Malformed(plain(f"not JSON: {error}"))
    except RecursionError:
        return Malformed("nested too deeply to be an event")
    except (UnicodeError, TypeError, OverflowError) as error:
        return Malformed(plain(f"not JSON text: {error}"))


def read_array(read: Callable[[bytes, datetime], Single], encoded: bytes, received_at: datetime) -> Reading:
    """Read a JSON array of events, each of which is read, or is unreadable, on its own."""
    parts = tuple(
        Part(_read_part(read, bytes(raw), received_at), bytes(raw)) for raw in msgspec.json.decode(encoded, type=_RAWS)
    )
    if not parts:
        raise misfit("at least one event", [])
    arrived = [part.reading for part in parts if isinstance(part.reading, Arrived)]
    if len(arrived) == len(parts):
        return Arrived(tuple(arrival for reading in arrived for arrival in reading.arrivals))
    return parts[0].reading if len(parts) == 1 else Several(parts)


_RAWS = list[msgspec.Raw]


def _read_part(read: Callable[[bytes, datetime], Single], encoded: bytes, received_at: datetime) -> Single:
    try:
        return read(encoded, received_at)
    except msgspec.ValidationError as error:
        return Malformed(plain(str(error)))


def _encoded(body: object) -> bytes:
    if isinstance(body, str):
        encoded = body.encode()
    elif isinstance(body, bytes):
        encoded = body
    else:
        encoded = msgspec.json.encode(body)
    if len(encoded) > EVENT_LIMIT:
        raise misfit(f"at most {EVENT_LIMIT} bytes", len(encoded))
    return encoded


def misfit(expected: str, found: object, at: str = "$") -> msgspec.ValidationError:
    """What a reader raises for `read_guarded` to turn into `Malformed`, worded as msgspec words its own."""
    return msgspec.ValidationError(f"Expected {expected}, got {found!r:.200} - at `{at}`")


def missing(field: str) -> msgspec.ValidationError:
    """The same for a field that must be there."""
    return msgspec.ValidationError(f"Object missing required field `{field}`")


def decode_part(decoder: msgspec.json.Decoder[_T], part: msgspec.Raw, at: str) -> _T:
    """Decode a part that was kept raw; an error names its place in the whole message, e.g. `$.detail.bucket.name`."""
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        raise msgspec.ValidationError(f"{why} - at `{at}{place.removesuffix('`')}`") from None


def time_at(text: str | msgspec.UnsetType, at: str) -> datetime:
    """The time that a message must have at this place; refused with the place, what was found and what is expected."""
    if text is msgspec.UNSET:
        raise missing(at.removeprefix("$."))
    time = time_of(text)
    if time is None:
        raise misfit("a time like 2026-01-31T12:00:00Z", text, at)
    return time


def time_of(text: str | None) -> datetime | None:
    """An RFC 3339 time as `instant` has it, else None. Any number of fraction digits: Fabric writes two to seven."""
    try:
        return instant(msgspec.convert(text, datetime))
    except msgspec.ValidationError:
        return None


def instant(time: datetime) -> datetime | None:
    """Aware UTC; a naive time is UTC already (Fabric). None for one that stands for "none", as 0001-01-01 in .NET."""
    if not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


# --- Headers ---------------------------------------------------------------------------------------------------------


def header(headers: Mapping[str, str], name: str) -> str:
    """A header by its name in any case; empty if it is absent."""
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")


def retry_after(
    headers: Mapping[str, str],
    now: datetime | None = None,
    bounds: tuple[timedelta, timedelta] = THROTTLE_BOUNDS,
) -> timedelta | None:
    """`Retry-After` in seconds, or as an HTTP date if there is a `now`, within bounds; None if absent or unreadable.

    RFC 9110, 10.2.3.
    """
    seconds = _seconds(header(headers, "Retry-After"), now)
    if seconds is None:
        return None
    least, most = (bound.total_seconds() for bound in bounds)
    return timedelta(seconds=max(least, min(most, seconds)))


def _seconds(text: str, now: datetime | None) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text, now) if now else None
    return None if isnan(seconds) else seconds


def _seconds_until(date: str, now: datetime) -> float | None:
    """The one form of a date that a server may send (RFC 9110, 5.6.7)."""
    try:
        time = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
    return (time - now).total_seconds()


# --- Listings --------------------------------------------------------------------------------------------------------

_Request = TypeVar("_Request")


class Page(Value, Generic[_Request], frozen=True):
    """One page of a listing, and what asks for the next; None after the last.

    `created`: when each of its runs was created, in the order of the page, those that nobody needs included.
    """

    reports: tuple[Report, ...]
    following: _Request | None = None
    created: tuple[datetime | None, ...] = ()


FALLING_LEAST = 10
"""Runs that must be listed newest first before a list counts as ordered so: by chance one list in 3.6 million is."""


def gather(
    first: _Request, ask: Callable[[_Request], Page[_Request] | Trouble], since: datetime | None = None
) -> tuple[Report, ...] | Trouble:
    """All pages that matter, or the first trouble: half a listing must not be taken for "none".

    Where `since` is given, reading ends early at a page that reaches back beyond it, if all runs of it and of the pages
    before were listed newest first; else a long history would make every look-up fail.
    """
    reports: list[Report] = []
    created: list[datetime | None] = []
    request = first
    for number in range(PAGE_LIMIT):
        page = ask(request)
        if isinstance(page, Trouble):
            return page
        reports += page.reports
        created += page.created
        if page.following is None or (since and number and _falls_below(created, since)):
            return tuple(reports)
        request = page.following
    return TRANSIENT.trouble("EndlessListing", f"the list of runs did not end after {PAGE_LIMIT} pages")


def _falls_below(created: Sequence[datetime | None], since: datetime) -> bool:
    times = [time for time in created if time]
    falls = all(earlier > later for earlier, later in pairwise(times))
    return len(created) == len(times) >= FALLING_LEAST and falls and times[-1] < since


def concerns(report: Report, since: datetime) -> bool:
    """Whether a look-up needs this run: it may be going on, or was created or ended at `since` or later.

    Ended ones count by their end as well: a run that began long before ours may be what ours was skipped for.
    """
    if report.phase in (Phase.ACTIVE, Phase.UNKNOWN) or report.created_at is None:
        return True
    return max(report.created_at, report.ended_at or report.created_at) >= since


# --- Facts about failures --------------------------------------------------------------------------------------------


class Operation(StrEnum):
    """What was asked of a platform. Only a start takes effect twice if it is sent twice."""

    START = "start"
    GET = "get"
    LIST = "list"
    CANCEL = "cancel"


class Facts(Value, frozen=True):
    """One row of a table of errors: a `Trouble` without its words."""

    fault: Fault
    sent: Sent
    retry_safe: bool
    meaning: Meaning = Meaning.OTHER
    retry_after: timedelta | None = None

    def of(self, operation: Operation) -> Facts:
        """An unknown outcome may be asked for again, except that of a start: it is looked up first (design, rule 7)."""
        harmless = self.sent is Sent.UNKNOWN and operation is not Operation.START
        return replace(self, retry_safe=True) if harmless else self

    def trouble(
        self, code: str, message: str, *, retry_after: timedelta | None = None, request_id: str = ""
    ) -> Trouble:
        """With its words; the platform's own Retry-After wins over the row's."""
        return Trouble(
            code=plain(code, 100),
            message=plain(message),
            fault=self.fault,
            sent=self.sent,
            retry_safe=self.retry_safe,
            meaning=self.meaning,
            retry_after=retry_after or self.retry_after,
            request_id=plain(request_id, 100),
        )


PERMANENT = Facts(Fault.CALLER, Sent.REJECTED, retry_safe=False)
TRANSIENT = Facts(Fault.PLATFORM, Sent.REJECTED, retry_safe=True)
RENEWABLE = Facts(Fault.CALLER, Sent.REJECTED, retry_safe=True)
THROTTLED = Facts(Fault.PLATFORM, Sent.REJECTED, retry_safe=True, meaning=Meaning.THROTTLED)
GONE = Facts(Fault.CALLER, Sent.REJECTED, retry_safe=True, meaning=Meaning.NOT_FOUND)
OVER = Facts(Fault.CALLER, Sent.REJECTED, retry_safe=False, meaning=Meaning.OVER)
UNCERTAIN = Facts(Fault.PLATFORM, Sent.UNKNOWN, retry_safe=False)

NOT_CONNECTED = Facts(Fault.NETWORK, Sent.NOT_SENT, retry_safe=True)
BROKEN_OFF = Facts(Fault.NETWORK, Sent.UNKNOWN, retry_safe=False)
NO_CREDENTIALS_NOW = Facts(Fault.CALLER, Sent.NOT_SENT, retry_safe=True)
MISCONFIGURED = Facts(Fault.CALLER, Sent.NOT_SENT, retry_safe=False)

TRANSPORT: Mapping[str, Facts] = {
    # Something was on its way. First, because the causes of these may have names that stand further down.
    "ReadTimeout": BROKEN_OFF,  # requests
    "ReadTimeoutError": BROKEN_OFF,  # botocore, urllib3
    "ConnectionClosedError": BROKEN_OFF,  # botocore, for the next one
    "ProtocolError": BROKEN_OFF,  # urllib3: reset or closed before the answer
    "ChunkedEncodingError": BROKEN_OFF,  # requests
    "ResponseStreamingError": BROKEN_OFF,  # botocore
    "IncompleteReadError": BROKEN_OFF,  # botocore
    "IncompleteRead": BROKEN_OFF,  # http.client, urllib3
    "ResponseParserError": UNCERTAIN,  # botocore: an answer that is not the service's
    "DecodeError": UNCERTAIN,  # urllib3, as is the next one of requests: an answer that cannot be unpacked
    "ContentDecodingError": UNCERTAIN,
    # Nothing was sent: no connection.
    "ConnectTimeout": NOT_CONNECTED,  # requests
    "ConnectTimeoutError": NOT_CONNECTED,  # botocore, urllib3
    "EndpointConnectionError": NOT_CONNECTED,  # botocore
    "NewConnectionError": NOT_CONNECTED,  # urllib3: refused, unreachable, no such host
    "NameResolutionError": NOT_CONNECTED,  # urllib3
    "ProxyConnectionError": NOT_CONNECTED,  # botocore
    "ProxyError": NOT_CONNECTED,  # requests, urllib3: the proxy gave no tunnel
    "ConnectionRefusedError": NOT_CONNECTED,
    "gaierror": NOT_CONNECTED,
    "SSLCertVerificationError": MISCONFIGURED,  # the handshake comes before the request
    # Nothing was sent: no credentials, or nowhere to send to.
    "MetadataRetrievalError": NO_CREDENTIALS_NOW,  # botocore: the platform's own endpoint for them did not answer
    "CredentialRetrievalError": NO_CREDENTIALS_NOW,
    "TokenRetrievalError": NO_CREDENTIALS_NOW,
    "NoCredentialsError": MISCONFIGURED,
    "PartialCredentialsError": MISCONFIGURED,
    "NoAuthTokenError": MISCONFIGURED,
    "NoRegionError": MISCONFIGURED,
    "UnknownEndpointError": MISCONFIGURED,
    "EndpointProviderError": MISCONFIGURED,
    "InvalidURL": MISCONFIGURED,
    "MissingSchema": MISCONFIGURED,
    "InvalidSchema": MISCONFIGURED,
    "ParamValidationError": MISCONFIGURED,
    # Before or after sending: it cannot be told.
    "SSLError": BROKEN_OFF,
    "ConnectionResetError": BROKEN_OFF,
    "BrokenPipeError": BROKEN_OFF,
    "TimeoutError": BROKEN_OFF,
}
"""What a transport's exceptions say, by name, so that the core imports no SDK. The first row that fits counts."""


def broken(operation: Operation, error: BaseException) -> Trouble:
    """A call that ended in an exception instead of an answer. What no row names may have been sent."""
    names = names_of(error)
    code = next((name for name in TRANSPORT if name in names), "")
    facts = TRANSPORT.get(code, BROKEN_OFF).of(operation)
    return facts.trouble(code or names[0], str(error) or "no answer")


def names_of(error: BaseException) -> tuple[str, ...]:
    """Class names of an exception, of its bases, and of whatever it wraps or was raised from, the outermost first."""
    found: dict[str, None] = {}
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting:
        each = waiting.pop(0)
        if any(each is other for other in seen):
            continue
        seen.append(each)
        found.update(dict.fromkeys(kind.__name__ for kind in type(each).__mro__))
        waiting += _wrapped(each)
    return tuple(found)


def _wrapped(error: BaseException) -> Iterable[BaseException]:
    """`reason` is urllib3's MaxRetryError; requests and ProtocolError put the cause among their arguments."""
    candidates = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
    return (candidate for candidate in candidates if isinstance(candidate, BaseException))
