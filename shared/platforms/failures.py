"""Failures of calls, as rows of facts: the tables that both platforms share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from math import isnan

from msgspec.structs import replace

from shared.redaction import plain
from shared.refresh.failure import Delivery, Failure, FailureKind, Fault
from shared.values import Value

ANSWER_LIMIT = 1024 * 1024
"""Bytes that a client reads of an answer at most. A hundred Fabric job instances are some 60 kilobytes."""
THROTTLE_BOUNDS = timedelta(seconds=1), timedelta(hours=1)
"""A quota window is a minute on Fabric (throttling article); what claims more than an hour is not believed."""


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


class Operation(StrEnum):
    """An operation that a platform was asked for. Only a start takes effect twice if it is sent twice."""

    START = "start"
    GET = "get"
    LIST = "list"
    CANCEL = "cancel"


def token_refused(status: int) -> bool:
    """Whether to renew the token and send once more: what was refused for its token took no effect."""
    return status == HTTPStatus.UNAUTHORIZED


class FailureRow(Value, frozen=True):
    """A row of a table of errors: a `Failure` without its words."""

    fault: Fault
    delivery: Delivery
    retry_safe: bool
    kind: FailureKind = FailureKind.OTHER
    retry_after: timedelta | None = None

    def of(self, operation: Operation) -> FailureRow:
        """Allow a retry after an unknown outcome, except of a start: that is looked up first (design, rule 7)."""
        harmless = self.delivery is Delivery.UNKNOWN and operation is not Operation.START
        return replace(self, retry_safe=True) if harmless else self

    def failure(
        self, code: str, message: str, *, retry_after: timedelta | None = None, request_id: str = ""
    ) -> Failure:
        """Make a failure of this row with the platform's code and words; its own Retry-After wins over the row's."""
        return Failure(
            code=plain(code, 100),
            message=plain(message),
            fault=self.fault,
            delivery=self.delivery,
            retry_safe=self.retry_safe,
            kind=self.kind,
            retry_after=retry_after or self.retry_after,
            request_id=plain(request_id, 100),
        )


PERMANENT = FailureRow(Fault.CALLER, Delivery.REJECTED, retry_safe=False)
"""Refused until somebody changes something: do not ask again."""
TRANSIENT = FailureRow(Fault.PLATFORM, Delivery.REJECTED, retry_safe=True)
"""Refused for now, with nothing begun: ask again."""
RENEWABLE = FailureRow(Fault.CALLER, Delivery.REJECTED, retry_safe=True)
"""Refused for credentials that the next invocation has anew: ask again."""
THROTTLED = FailureRow(Fault.PLATFORM, Delivery.REJECTED, retry_safe=True, kind=FailureKind.THROTTLED)
"""Refused for too many calls: ask again, after the wait that the platform names."""
GONE = FailureRow(Fault.CALLER, Delivery.REJECTED, retry_safe=True, kind=FailureKind.NOT_FOUND)
"""The run is not found, perhaps not yet: ask again."""
OVER = FailureRow(Fault.CALLER, Delivery.REJECTED, retry_safe=False, kind=FailureKind.OVER)
"""The run has ended already, so there is nothing to cancel: do not ask again."""
UNCERTAIN = FailureRow(Fault.PLATFORM, Delivery.UNKNOWN, retry_safe=False)
"""Received, and perhaps carried out: look a start up before the next; ask again for anything else."""

NOT_CONNECTED = FailureRow(Fault.NETWORK, Delivery.NOT_SENT, retry_safe=True)
"""Not sent for want of a connection: ask again."""
BROKEN_OFF = FailureRow(Fault.NETWORK, Delivery.UNKNOWN, retry_safe=False)
"""Perhaps sent, and not answered: look a start up before the next; ask again for anything else."""
NO_CREDENTIALS_NOW = FailureRow(Fault.CALLER, Delivery.NOT_SENT, retry_safe=True)
"""Not sent for want of credentials, whose issuer did not answer: ask again."""
MISCONFIGURED = FailureRow(Fault.CALLER, Delivery.NOT_SENT, retry_safe=False)
"""Not sent for settings or credentials that somebody must mend: do not ask again."""

TRANSPORT: Mapping[str, FailureRow] = {
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
    "LocationParseError": MISCONFIGURED,  # urllib3: an address, or a proxy's, that it cannot read
    "ParamValidationError": MISCONFIGURED,
    # Before or after sending: it cannot be told.
    "SSLError": BROKEN_OFF,
    "ConnectionResetError": BROKEN_OFF,
    "BrokenPipeError": BROKEN_OFF,
    "TimeoutError": BROKEN_OFF,
}
"""The meaning of a transport's exceptions, by name, so that the core imports no SDK. The first row that fits counts."""


def read_exception(operation: Operation, error: BaseException, words: Callable[[str], str] = plain) -> Failure:
    """Make a failure of a call that ended in an exception. What no row names may have been sent.

    `words` takes out of its text what must not be stored.
    """
    names = names_of(error)
    code = next((name for name in TRANSPORT if name in names), "")
    row = TRANSPORT.get(code, BROKEN_OFF).of(operation)
    return row.failure(code or names[0], words(str(error)) or "no answer")


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
        waiting += _causes_of(each)
    return tuple(found)


def _causes_of(error: BaseException) -> Iterable[BaseException]:
    """`reason` is urllib3's MaxRetryError; requests and ProtocolError put the cause among their arguments."""
    candidates = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
    return (candidate for candidate in candidates if isinstance(candidate, BaseException))
