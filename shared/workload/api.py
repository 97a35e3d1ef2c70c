"""Fabric asks us: what its Workload API sends, and what it wants to hear. Bytes in, values out, and back again.

    POST   .../workspaces/{workspaceId}/items/{itemType}/{itemId}                    an item was made
    PATCH  ... the same                                                              it was changed
    DELETE ... the same                                                              it was deleted
    GET    ... the same, and /payload                                                what its editor shows

    POST .../workspaces/{workspaceId}/items/{itemType}/{itemId}/jobTypes/{jobType}/instances/{jobInstanceId}   create
    GET  ... the same                                                                                       get state
    POST ... the same, and /cancel                                                                             cancel

A create has the body `{"invokeType": "Scheduled", "creationPayload": {...}}`. States and errors are JSON, too.
https://learn.microsoft.com/rest/api/fabric/workload/workloadapi/jobs; what a job is for us says `jobs.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec

from shared.redaction import plain
from shared.targets import GlueView, ItemJob, Target, Workload
from shared.tenants import tenant_id
from shared.text import BYTE_ORDER_MARK, is_uuid
from shared.values import Value
from shared.workload.job import JobStatus

BODY_LIMIT = 1024 * 1024
"""Bytes. The largest body that Fabric sends is the definition of an item, which we do not keep; one of a job has less
than a kilobyte. The host lets no more than twice as much in (FUNCTIONS_REQUEST_BODY_SIZE_LIMIT in the template)."""
RETRY_AFTER_SECONDS = 60
"""Fabric polls once a minute (monitoring hub), so there is no point in asking it to come back sooner."""

_LONGEST_TYPE = 255
"""Characters of the name of an item's or a job's type, generously: Fabric's own have some thirty."""


# --- What we answer --------------------------------------------------------------------------------------------------


class Source(StrEnum):
    """The party that an error is due to, in Fabric's words."""

    SYSTEM = "System"  # ours
    USER = "User"
    EXTERNAL = "External"  # of what we call: the platform that refreshes


class NameValuePair(Value, frozen=True, omit_defaults=False):
    """A name and a value."""

    name: str
    value: str


class Detail(Value, frozen=True, omit_defaults=False, rename="camel"):
    """ErrorExtendedInformation."""

    error_code: str
    message: str
    message_parameters: tuple[str, ...] = ()
    additional_parameters: tuple[NameValuePair, ...] = ()


class Problem(Value, frozen=True, omit_defaults=False, rename="camel"):
    """ErrorResponse, and the errorDetails of a state."""

    error_code: str
    message: str
    source: Source
    is_permanent: bool
    message_parameters: tuple[str, ...] = ()
    more_details: tuple[Detail, ...] = ()


class JobState(Value, frozen=True, rename="camel"):
    """ItemJobInstanceState."""

    status: JobStatus
    start_time_utc: datetime
    end_time_utc: datetime | None = None
    error_details: Problem | None = None


class ItemPayload(Value, frozen=True, omit_defaults=False, rename="camel"):
    """GetItemPayloadResponse."""

    item_payload: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Answer(Value, frozen=True):
    """The answer that Fabric gets. `headers` are those beside the type of the content."""

    status: HTTPStatus
    content: Problem | JobState | ItemPayload | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """JSON, or nothing."""
        return b"" if self.content is None else msgspec.json.encode(self.content)


def refuse(status: HTTPStatus, code: str, message: str, *parameters: str, details: tuple[Detail, ...] = ()) -> Answer:
    """A request that will never be answered otherwise."""
    return Answer(status, Problem(code, message, Source.USER, True, parameters, details))  # noqa: FBT003 - isPermanent


def refuse_for_now(status: HTTPStatus, code: str, message: str) -> Answer:
    """A refusal of a call that may be made again."""
    problem = Problem(code, message, Source.SYSTEM, False)  # noqa: FBT003 - isPermanent
    return Answer(status, problem, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def refuse_unavailable(failure: Exception) -> Answer:
    """Trouble of ours: nothing is known to have happened. What it was is in the log."""
    message = f"The workload cannot answer for now ({type(failure).__name__}). Try again."
    return refuse_for_now(HTTPStatus.SERVICE_UNAVAILABLE, "TemporarilyUnavailable", message)


UNAUTHORIZED = Answer(
    HTTPStatus.UNAUTHORIZED,
    Problem("Unauthorized", "The authorization header was not accepted.", Source.USER, True),  # noqa: FBT003 - as above
    {"WWW-Authenticate": "SubjectAndAppToken1.0"},
)
"""The one answer to every call that is not let in, whatever was wrong: who guesses at tokens learns nothing.

The log names the check.
"""


ITEM_ANSWERS: Mapping[str, Answer] = {
    "POST": Answer(HTTPStatus.CREATED),
    "PATCH": Answer(HTTPStatus.OK),
    "DELETE": Answer(HTTPStatus.OK),
    "GET": Answer(HTTPStatus.OK, ItemPayload()),
}
"""The answer to a call about an item, by the call's method. Nothing is stored: a job names the item it is for, and what
it refreshes is in the configuration. But where these calls fail, no item can be made (Workload API, ItemLifecycle)."""


# --- What we are asked -----------------------------------------------------------------------------------------------


class Call(Value, frozen=True):
    """Which job is meant; ids are in small letters. `tenant` is the customer's, whose item it is."""

    workspace: str
    item_type: str
    item: str
    job_type: str
    instance: str
    tenant: str = ""

    @property
    def place(self) -> str:
        """A digest of all but the instance: a job is only to be seen where it was created."""
        return _digest([self.tenant, self.workspace, self.item_type, self.item, self.job_type])


class Creation(Value, frozen=True):
    """The content of a create call. `digest` is that of its whole body, however its keys are ordered and spaced."""

    invoke_type: str
    payload: Payload
    digest: str


class Payload(Value, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`creationPayload`: whether the refresh is to be full, and the data of the target's job."""

    full: bool = False
    execution_data: dict[str, Any] | None = None


class _Body(msgspec.Struct, rename="camel"):
    """A field that Fabric may add one day is no mistake of its; nor is a new `invokeType`."""

    invoke_type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    creation_payload: Payload | None = None


def answer_about_item(method: str, parameters: Mapping[str, str]) -> Answer:
    """Answer a call about an item, whatever its body says; refuse one whose path cannot be meant."""
    return _wrong(parameters, ("workspaceId", "itemId"), ("itemType",)) or ITEM_ANSWERS[method]


def read_call(parameters: Mapping[str, str], tenant: str) -> Call | Answer:
    """The parts of the path, as the host matched them, and the header that names the tenant."""
    names, types = ("workspaceId", "itemId", "jobInstanceId"), ("itemType", "jobType")
    wrong = _wrong(parameters, names, types)
    if wrong:
        return wrong
    workspace, item, instance = (parameters[name].lower() for name in names)
    item_type, job_type = (parameters[name] for name in types)
    return Call(workspace, item_type, item, job_type, instance, tenant_id(tenant))


def _wrong(parameters: Mapping[str, str], ids: tuple[str, ...], types: tuple[str, ...]) -> Answer | None:
    """Refuse a path in which an id is no UUID, or a type no name; None if all may be meant."""
    wrong = [name for name in ids if not is_uuid(parameters.get(name, ""))]
    wrong += [name for name in types if not 0 < len(parameters.get(name, "")) <= _LONGEST_TYPE]
    if not wrong:
        return None
    details = tuple(_detail("InvalidParameter", f"{name} is not as it must be.", "parameter", name) for name in wrong)
    message = f"Not a UUID, or not a name, in the path: {', '.join(wrong)}."
    return refuse(HTTPStatus.BAD_REQUEST, "InvalidParameter", message, *wrong, details=details)


def read_creation(body: bytes) -> Creation | Answer:
    """The body of a create; whatever is wrong with it, in words that lead to the place."""
    try:
        document = msgspec.json.decode(body.removeprefix(BYTE_ORDER_MARK))
        digest = _digest(document)
        read = msgspec.convert(document, _Body)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `")
        return _bad_body(why, place.removesuffix("`") or "$")
    except (msgspec.MsgspecError, UnicodeError) as error:
        return _bad_body(f"not JSON: {error}", "$")
    except RecursionError:
        return _bad_body("nested too deeply", "$")
    return Creation(read.invoke_type, read.creation_payload or Payload(), digest)


def refuse_oversized(body: bytes) -> Answer | None:
    """Refuse a body that is too long, by its length alone; None if it may be decoded."""
    if len(body) <= BODY_LIMIT:
        return None
    message = f"A body of {len(body)} bytes, where {BODY_LIMIT} are allowed."
    return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestBodyTooLarge", message, str(BODY_LIMIT))


def _bad_body(why: str, at: str) -> Answer:
    why = plain(why)
    details = (_detail("InvalidRequestBody", why, "at", at),)
    return refuse(HTTPStatus.BAD_REQUEST, "InvalidRequestBody", f"{why}, at {at}.", why, at, details=details)


def _detail(code: str, message: str, name: str, value: str) -> Detail:
    return Detail(code, message, (value,), (NameValuePair(name, value),))


def _digest(content: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:32]


# --- What it means here ----------------------------------------------------------------------------------------------


class JobTargets(Protocol):
    """The parts of a configuration that Fabric's jobs need."""

    @property
    def by_name(self) -> Mapping[str, Target]:
        """The targets by the name that the file gives them."""

    @property
    def workload(self) -> Workload | None:
        """The jobs that Fabric may ask us for; None: none at all."""


def target_of(configuration: JobTargets, call: Call) -> Target | None:
    """The target that `[workload]` names for this item, or for any item of its type."""
    jobs = configuration.workload.jobs if configuration.workload else ()
    named = [job for job in jobs if (job.item_type, job.job_type) == (call.item_type, call.job_type)]
    found = {job.item: job.target for job in named}
    name = found.get(call.item) or found.get("")
    return configuration.by_name[name] if name else None


def refuse_unknown_job(call: Call) -> Answer:
    """The answer where the configuration names no target for a job."""
    message = (
        f"No target is configured for job type {plain(call.job_type, 100)} of item type {plain(call.item_type, 100)}."
    )
    details = (_detail("JobTypeNotConfigured", "Name it in [workload] of unstale.toml.", "jobType", call.job_type),)
    return refuse(HTTPStatus.NOT_FOUND, "JobTypeNotConfigured", message, call.job_type, call.item_type, details=details)


def refuse_unfit(target: Target, payload: Payload) -> Answer | None:
    """The refusal of a payload beyond what the target can do: it would be folded into runs of others, and be lost.

    Empty data asks for nothing, as if the field were not there.
    """
    if payload.full and not isinstance(target.resource, GlueView):
        return _unfit("full", "The platform decides by itself whether a refresh is full.")
    own = target.resource.execution_data if isinstance(target.resource, ItemJob) else None
    if payload.execution_data and payload.execution_data != own:
        return _unfit(
            "executionData", "Other data is another target: add one to unstale.toml, and name it in [workload]."
        )
    return None


def _unfit(name: str, why: str) -> Answer:
    message = f"creationPayload.{name} cannot be honoured. {why}"
    details = (_detail("UnsupportedPayload", why, "at", f"$.creationPayload.{name}"),)
    return refuse(HTTPStatus.BAD_REQUEST, "UnsupportedPayload", message, name, details=details)
