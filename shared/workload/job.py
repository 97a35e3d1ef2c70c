"""A job that Fabric asked us for: the record of a job."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.refresh import records
from shared.values import Value


class JobStatus(StrEnum):
    """The status of a job, in Fabric's words (Workload API, ItemJobInstanceState)."""

    NOT_STARTED = "NotStarted"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Final(Value, frozen=True):
    """How a job ended."""

    status: JobStatus
    """The status that Fabric is told for good."""
    ended_at: datetime
    """When the job ended."""
    error: tuple[str, str] | None = None
    """A code and a reason, where the job did not complete."""


class Job(Value, frozen=True):
    """A job that Fabric asked us for: a signal with an id, and a record of its own beside that of its target.

    What Fabric was told once never changes: that the job started (`started_at`), and its end (`final`).
    """

    target: str
    """The key of the target's record."""
    place: str
    """A digest of where the job was asked for."""
    request: str
    """A digest of all that was asked."""
    accepted_at: datetime
    """When the job was accepted."""
    invoke_type: str
    """Why Fabric asks, in its own word, such as `Manual` or `Scheduled`."""
    full: bool = False
    """A full refresh was asked for."""
    started_at: datetime | None = None
    """When the run of the job was claimed; None until Fabric was told that it started."""
    cancel_asked_at: datetime | None = None
    """When somebody asked to cancel the job."""
    final: Final | None = None
    """How the job ended, as Fabric was told; None until then."""


def read_job(body: bytes) -> Job:
    """Read the record of a job. Raises `NewerRecordError` for one of a later release."""
    return records.read_as(body, Job)
