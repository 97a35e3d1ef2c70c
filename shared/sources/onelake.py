"""OneLake's DFS endpoint as values: what every request carries, and what its errors say.

https://learn.microsoft.com/rest/api/storageservices/datalakestoragegen2/path/read
"""

from __future__ import annotations

import msgspec

from shared.platforms.failures import (
    PERMANENT,
    RENEWABLE,
    THROTTLED,
    UNCERTAIN,
    FailureRow,
    Operation,
    header,
    retry_after,
)
from shared.refresh.failure import Failure
from shared.sources.replies import Reply

HEADERS = {"x-ms-version": "2023-11-03", "Accept-Encoding": "identity"}
"""The version of the API that Microsoft's own command line uses; ranges are of the bytes as they lie there."""

ANSWERS = frozenset({200, 206, 304, 404, 416})
"""Statuses that say something of a file; every other is a failure."""


class _Detail(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Error(msgspec.Struct):
    error: _Detail = msgspec.field(default_factory=_Detail)


_error = msgspec.json.Decoder(_Error)


def failure(reply: Reply[bytes]) -> Failure | None:
    """The failure that an answer is, if any: `{"error": {"code", "message"}}`, as far as the answer has that."""
    if reply.status in ANSWERS:
        return None
    detail = _detail(reply.body)
    code = header(reply.headers, "x-ms-error-code") or detail.code or f"HTTP {reply.status}"
    advice = _ADVICE.get(reply.status, "")
    message = f"{detail.message or 'no message'}{advice}"
    wait = retry_after(reply.headers)
    return _row_for(reply.status).of(Operation.LIST).failure(code, message, retry_after=wait)


_ADVICE = {403: ". The identity needs Contributor in the workspace, or ReadAll or a OneLake data role on the table"}
"""Advice to a person, by the status of the answer: no role of Azure opens OneLake."""


def _detail(body: bytes) -> _Detail:
    try:
        return _error.decode(body).error
    except msgspec.MsgspecError:
        return _Detail()


def _row_for(status: int) -> FailureRow:
    if status in {429, 503}:  # ServerBusy, OperationTimedOut: slow down
        return THROTTLED
    if status == 401:  # noqa: PLR2004 - the number is the name
        return RENEWABLE
    return PERMANENT if 400 <= status < 500 else UNCERTAIN  # noqa: PLR2004 - classes of HTTP
