"""Records as bytes: `{"format": 2, "record": {...}}`.

Code reads the format before its own, too, and leaves a newer one alone: during an update both releases run.
"""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec

from shared.refresh.identity import Identity
from shared.refresh.state import Deployment, Ended, State
from shared.values import Value

FORMAT = 2
"""The format of records. It is raised when an older release would misread what this one writes."""

DEPLOYMENT_KEY = "deployment"
"""The record of the deployment lies beside those of the targets, whose keys all have a colon."""


_IDENTITY_PREFIX = f"{DEPLOYMENT_KEY}:identity:"
"""Key prefix of the records of identities. Planning and ticks skip them. Beside the record of the deployment, so that
one range of keys holds both, and no target's: a start reads the two together."""


_JOB_PREFIX = "workload-job:"
"""Key prefix of the records of Fabric's jobs. Planning skips them; the tick deletes one that is due."""


_GROUP_PREFIX = "group:"
"""Key prefix of the records of groups of sources. Planning skips them; the tick looks at one that is due."""


_DESTINATION_PREFIX = "destination:"
"""Key prefix of the records of destinations of outcome events. Planning skips them; they are never due."""


class NewerRecordError(Exception):
    """A later release wrote the record; its delivery must come back until that release takes it."""


class _Envelope(msgspec.Struct):
    format: int
    record: msgspec.Raw


_V = TypeVar("_V", bound=Value)
_envelope = msgspec.json.Decoder(_Envelope)


def read_state(body: bytes) -> State:
    """A target's record; an absent one is a state in which nothing is known."""
    return read_as(body, State) if body else State()


def read_deployment(body: bytes) -> Deployment:
    """The deployment's record."""
    return read_as(body, Deployment) if body else Deployment()


def read_identity(body: bytes) -> Identity:
    """The record of an identity."""
    return read_as(body, Identity) if body else Identity()


def identity_key(identity: str) -> str:
    """`deployment:identity:<who calls>`, by the name that `Target.identity` has."""
    return _IDENTITY_PREFIX + identity


def job_key(item: str, instance: str) -> str:
    """`workload-job:<item>:<job instance>`, both UUIDs in small letters."""
    return f"{_JOB_PREFIX}{item}:{instance}"


def is_job(key: str) -> bool:
    """Whether a key is that of a job's record."""
    return key.startswith(_JOB_PREFIX)


def group_key(kind: str, *parts: str) -> str:
    """`group:<kind>:<part>:...`, each part percent-encoded."""
    return _GROUP_PREFIX + ":".join((kind, *(quote(part, safe="") for part in parts)))


def is_group(key: str) -> bool:
    """Whether a key is that of the record of a group of sources."""
    return key.startswith(_GROUP_PREFIX)


def destination_key(digest: str) -> str:
    """`destination:<digest of the settings>`."""
    return f"{_DESTINATION_PREFIX}{digest}"


def is_other(key: str) -> bool:
    """Whether a record is of something else than a target."""
    others = (_IDENTITY_PREFIX, _JOB_PREFIX, _GROUP_PREFIX, _DESTINATION_PREFIX)
    return key == DEPLOYMENT_KEY or key.startswith(others)


def group_parts(key: str) -> tuple[str, ...]:
    """Kind and parts of the key of a group."""
    return tuple(map(unquote, key.removeprefix(_GROUP_PREFIX).split(":")))


def read_ended(body: bytes) -> Ended:
    """A line of history, from its stored bytes."""
    return read_as(body, Ended)


def write(value: Value) -> bytes:
    """Encode a record, or a line of history, with the number of its format."""
    return msgspec.json.encode(_Envelope(FORMAT, msgspec.Raw(msgspec.json.encode(value))))


def read_as(body: bytes, kind: type[_V]) -> _V:
    """A record of any kind. Raises `NewerRecordError` for one of a later release."""
    envelope = _envelope.decode(body)
    if envelope.format > FORMAT:
        message = f"the record has format {envelope.format}, this release writes {FORMAT}: a later release wrote it"
        raise NewerRecordError(message)
    return msgspec.json.decode(envelope.record, type=kind)
