"""Fabric's calls over HTTP: who asks, what for, and the answer of `shared.workload`. It decides nothing itself.

Imported by the first call of Fabric's, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from functions_azure.correlation import correlate
from functions_azure.telemetry import Telemetry
from shared.config.configuration import Configuration
from shared.platforms.failures import header
from shared.refresh.engine import Engine, Ports
from shared.values import Value
from shared.workload.api import (
    UNAUTHORIZED,
    Answer,
    Call,
    answer_about_item,
    read_call,
    read_creation,
    refuse_oversized,
    refuse_unavailable,
)
from shared.workload.jobs import Jobs

TENANT_HEADERS = ("x-ms-client-tenant-id", "ms-client-tenant-id")
"""The name in the API's specification, and that in the toolkit's documents."""


class Request(Value, frozen=True):
    """The HTTP request as the host hands it over. `operation` is item, or create, get or cancel of a job."""

    operation: str
    """Which of the triggers was called."""
    path: Mapping[str, str]
    """Parts of the path by the names in the route, decoded by the host."""
    headers: Mapping[str, str]
    """All headers; their names have no case."""
    body: bytes = b""
    """The whole body, undecoded: nothing of it is looked at before the caller is known."""
    method: str = ""
    """HTTP's word, which tells calls about an item apart."""


class Gate(Protocol):
    """Says who is let in."""

    def refusal(self, authorization: str, tenant: str) -> str:
        """Which check fails; empty if none does."""


def answer(
    request: Request,
    gate: Callable[[], Gate],
    here: Callable[[], tuple[Configuration, Engine, Ports]],
    telemetry: Telemetry,
) -> Answer:
    """Answer one call. Raises nothing: what an exception leaves behind is an empty 500, and no error of ours.

    Nothing is read of a call, nor its ids logged, before it is known whose it is.
    """
    tenant = next((found for name in TENANT_HEADERS if (found := header(request.headers, name))), "")
    try:
        failed = gate().refusal(header(request.headers, "Authorization"), tenant)
    except Exception as trouble:  # noqa: BLE001 - whatever it is, it is ours: Fabric may ask again
        telemetry.note_unjudged(trouble)
        return refuse_unavailable(trouble)
    if failed:
        telemetry.note_refusal(failed)
        return UNAUTHORIZED
    with correlate(request.headers):
        try:
            return _answer(request, tenant, here)
        except Exception as trouble:  # noqa: BLE001 - as above
            telemetry.note_returned(0, f"{type(trouble).__name__}: {trouble}", trouble)
            return refuse_unavailable(trouble)


def _answer(request: Request, tenant: str, here: Callable[[], tuple[Configuration, Engine, Ports]]) -> Answer:
    """Answer a call that is let in. Its body is looked at by its length first."""
    too_long = refuse_oversized(request.body)
    if too_long:
        return too_long
    if request.operation == "item":
        return answer_about_item(request.method, request.path)
    call = read_call(request.path, tenant)
    if isinstance(call, Answer):
        return call
    return _OPERATIONS[request.operation](Jobs(*here()), call, request.body)


def _create(jobs: Jobs, call: Call, body: bytes) -> Answer:
    """Start a job; the body says how it was invoked, and what it is to do."""
    creation = read_creation(body)
    return creation if isinstance(creation, Answer) else jobs.create(call, creation)


def _get(jobs: Jobs, call: Call, _body: bytes) -> Answer:
    """Tell how a job stands."""
    return jobs.get(call)


def _cancel(jobs: Jobs, call: Call, _body: bytes) -> Answer:
    """Take a job back, and tell how it stands then."""
    return jobs.cancel(call)


_OPERATIONS: Mapping[str, Callable[[Jobs, Call, Any], Answer]] = {"create": _create, "get": _get, "cancel": _cancel}
