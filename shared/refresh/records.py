"""Records as bytes: `{"format": 1, "record": {...}}`.

Code reads the format before its own, too, and leaves a newer one alone: during an update both releases run.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from shared.refresh.state import Deployment, Ended, State
from shared.values import Value
from shared.workload.job import Job

FORMAT = 1
"""Raise it when an older release would misread what this one writes."""

DEPLOYMENT_KEY = "deployment"
"""The record of the deployment lies beside those of the targets, whose keys all have a colon."""


_JOB_PREFIX = "workload-job:"
"""The records of jobs, too. They are no targets': nothing is planned for them, and a look at one removes it."""


class NewerRecordError(Exception):
    """Written by a later release; the delivery must come back until that release takes it."""


class _Envelope(msgspec.Struct):
    format: int
    record: msgspec.Raw


_V = TypeVar("_V", bound=Value)
_envelope = msgspec.json.Decoder(_Envelope)


def read_state(body: bytes) -> State:
    """A target's record; an absent one is a state in which nothing is known."""
    return _read(body, State) if body else State()


def read_deployment(body: bytes) -> Deployment:
    """The deployment's record."""
    return _read(body, Deployment) if body else Deployment()


def read_job(body: bytes) -> Job:
    """The record of a job."""
    return _read(body, Job)


def job_key(item: str, instance: str) -> str:
    """`workload-job:<item>:<job instance>`, both UUIDs in small letters."""
    return f"{_JOB_PREFIX}{item}:{instance}"


def is_job(key: str) -> bool:
    """Whether it is the key of a job's record."""
    return key.startswith(_JOB_PREFIX)


def read_ended(body: bytes) -> Ended:
    """One line of history."""
    return _read(body, Ended)


def write(value: State | Deployment | Ended | Job) -> bytes:
    """The bytes of any of them."""
    return msgspec.json.encode(_Envelope(FORMAT, msgspec.Raw(msgspec.json.encode(value))))


def _read(body: bytes, kind: type[_V]) -> _V:
    envelope = _envelope.decode(body)
    if envelope.format > FORMAT:
        message = f"the record has format {envelope.format}, this release writes {FORMAT}: a later release wrote it"
        raise NewerRecordError(message)
    return msgspec.json.decode(envelope.record, type=kind)
