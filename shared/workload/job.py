"""A job that Fabric asked us for: the record of a job."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.refresh import records
from shared.values import Value


class JobStatus(StrEnum):
    """Of a job, in Fabric's words (Workload API, ItemJobInstanceState)."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Final(Value, frozen=True):
    """How a job ended; `error` is a code and a reason where it did not complete."""

    status: JobStatus
    ended_at: datetime
    error: tuple[str, str] | None = None


class Job(Value, frozen=True):
    """A job that Fabric asked us for: a signal with an id, and a record of its own beside that of its target.

    `request` is a digest of all that was asked, `place` of where. What Fabric was told once never changes: that it
    started (`started_at`, which is when its run was claimed), and its end (`final`).
    """

    target: str
    place: str
    request: str
    accepted_at: datetime
    invoke_type: str
    full: bool = False
    started_at: datetime | None = None
    cancel_asked_at: datetime | None = None
    final: Final | None = None


def read_job(body: bytes) -> Job:
    """Read the record of a job. Raises `NewerRecordError` for one of a later release."""
    return records.read_as(body, Job)
