"""The SDK's clients and their sessions, each made when first used; time-outs; and the table of what their errors mean.

Every call ends in time: an invocation has 10 s once the host is told to stop, and a call that outlasts it is cut off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from functions_azure.sessions import session
from functions_azure.settings import PAGE_BLOB, SIGN_IN_BLOB, SIGN_IN_CONTAINER, TABLE, UNDELIVERED, Settings
from shared.platforms.failures import Operation, read_exception
from shared.redaction import plain
from shared.refresh.failure import Failure
from shared.refresh.ports import Conflict, StoreDownError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.data.tables import TableClient
    from azure.storage.blob import BlobClient, ContainerClient
    from azure.storage.queue import QueueClient

CONNECT_SECONDS, READ_SECONDS = 1.0, 2.5
"""Of one storage call. Within a region one takes some ten milliseconds; the 99.9th percentile is below a second."""
LEAST_SECONDS = 0.1
"""With less than this left there is no point in beginning a call."""

_T = TypeVar("_T")


class AbsentError(Exception):
    """The row that was asked for does not exist."""


class Deadline:
    """When an invocation must be over. By the real clock, whatever the engine's: sockets know no other."""

    def __init__(self, seconds: float = math.inf) -> None:
        self._ends_at = time.monotonic() + seconds

    def seconds_left(self, most_seconds: float = math.inf) -> float:
        """Seconds that a call may still take: at most so many, 0 or less when it is over."""
        return min(most_seconds, self._ends_at - time.monotonic())


NEVER = Deadline()
"""The deadline of whoever has all the time: the command, and what is made before an invocation. Calls keep their own
time-outs."""


def attempt(operation: Operation, send: Callable[[], _T], words: Callable[[str], str]) -> _T | Failure:
    """Make one call of a platform, and turn whatever is raised into facts. `words` takes secrets out of what is said.

    `requests` lets through what urllib3 and urllib raise over an address, so nothing is known of what may come.
    """
    try:
        return send()
    except Exception as error:  # noqa: BLE001 - as above
        return read_exception(operation, error, words)


def ask(what: str, deadline: Deadline, send: Callable[..., _T]) -> _T:
    """Make one storage call, `send(**limits)`, and once more where the connection broke.

    The SDK's own retries are off, because they wait longer than an invocation lasts. Sending twice does no harm: a
    conditional write that took effect looks like somebody else's, so the loop reads the record and goes on from it; a
    wake that comes twice does nothing the second time. Raises `AbsentError`, `Conflict` or `StoreDownError`.
    """
    try:
        try:
            return send(**_limits(what, deadline))
        except (ServiceRequestError, ServiceResponseError):
            return send(**_limits(what, deadline))
    except HttpResponseError as error:
        raise _EXCEPTIONS_BY_CODE.get(_code(error), StoreDownError)(f"{what}: {plain(str(error))}") from error
    except AzureError as error:
        raise StoreDownError(f"{what}: {plain(_why(error))}") from error


def ask_existing(what: str, deadline: Deadline, send: Callable[..., _T]) -> _T:
    """Make one call as `ask` does, about what the deployment made: absent, it is trouble of ours like any other."""
    try:
        return ask(what, deadline, send)
    except AbsentError as absent:
        raise StoreDownError(str(absent)) from absent


def _why(error: AzureError) -> str:
    """The words of urllib3, taken out of those of `requests`, which begin with the whole URL."""
    inner = getattr(error.inner_exception, "args", ())[:1]
    return str(getattr(inner[0], "reason", None) or error) if inner else str(error)


_EXCEPTIONS_BY_CODE: Mapping[str, type[Exception]] = {
    "EntityAlreadyExists": Conflict,
    "UpdateConditionNotSatisfied": Conflict,
    "ConditionNotMet": Conflict,
    "BlobAlreadyExists": Conflict,
    "BlobNotFound": AbsentError,
    "ResourceNotFound": AbsentError,
    "EntityNotFound": AbsentError,
}
"""By error code (https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes, the same of blobs).
All others, a missing table or a missing permission among them, are trouble of ours: the message comes back."""


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", "")
    return str(getattr(code, "value", code))


def _limits(what: str, deadline: Deadline) -> dict[str, float]:
    left = deadline.seconds_left()
    if left < LEAST_SECONDS:
        raise StoreDownError(f"{what}: no time is left in this invocation")
    connect_seconds = min(CONNECT_SECONDS, left / 2)
    return {"connection_timeout": connect_seconds, "read_timeout": min(READ_SECONDS, left - connect_seconds)}


class Clients:
    """Clients of the storage account, one of a kind for the process; nothing is sent before the first call."""

    def __init__(self, settings: Settings, credential: Callable[[], TokenCredential]) -> None:
        """`credential` is only asked where no connection string is set."""
        self._settings = settings
        self._credential = credential
        self.queue = cache(self._queue)

    @cached_property
    def table(self) -> TableClient:
        """The client of the table with the records."""
        from azure.data.tables import TableClient

        if self._settings.storage:
            return TableClient.from_connection_string(self._settings.storage, TABLE, **self._common())
        return TableClient(self._settings.table_url, TABLE, credential=self._credential(), **self._common())

    def _queue(self, name: str) -> QueueClient:
        """Make the client of a queue: events, wakes or dead letters."""
        from azure.storage.queue import QueueClient

        if self._settings.storage:
            return QueueClient.from_connection_string(self._settings.storage, name, **self._common())
        return QueueClient(self._settings.queue_url, name, credential=self._credential(), **self._common())

    @cached_property
    def undelivered_blobs(self) -> ContainerClient | None:
        """The container for what Event Grid could not deliver, where one is known."""
        from azure.storage.blob import ContainerClient

        if self._settings.storage:
            return ContainerClient.from_connection_string(self._settings.storage, UNDELIVERED, **self._common())
        if not self._settings.blob_url:
            return None
        return ContainerClient(self._settings.blob_url, UNDELIVERED, credential=self._credential(), **self._common())

    @cached_property
    def sign_in(self) -> BlobClient:
        """The client of the blob that keeps a signed-in user's tokens."""
        return self._blob(SIGN_IN_CONTAINER, SIGN_IN_BLOB)

    @cached_property
    def page(self) -> BlobClient:
        """The blob that holds an excerpt of the records."""
        return self._blob(self._settings.page_container, PAGE_BLOB)

    def _blob(self, container: str, name: str) -> BlobClient:
        """The blob of that name in a container."""
        from azure.storage.blob import BlobClient

        if self._settings.storage:
            return BlobClient.from_connection_string(self._settings.storage, container, name, **self._common())
        return BlobClient(self._settings.blob_url, container, name, credential=self._credential(), **self._common())

    def _common(self) -> dict[str, Any]:
        return {"retry_total": 0, "transport": self._transport}

    @cached_property
    def _transport(self) -> Any:
        from azure.core.pipeline.transport import RequestsTransport

        return RequestsTransport(session=session(), session_owner=False)
