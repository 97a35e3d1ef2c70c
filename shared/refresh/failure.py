"""Failures as facts: whose fault, may it be tried again and when, and did the request take effect.

Each platform has one table from its wire errors to these facts (`glue.py`, `fabric.py`), with a default row.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from shared.values import Value


class Delivery(StrEnum):
    """The fate of a failed request. A start whose outcome is unknown is looked up before anything is sent again."""

    NOT_SENT = "not sent"
    REJECTED = "rejected"
    UNKNOWN = "outcome unknown"


class Fault(StrEnum):
    """The party that must mend a failure."""

    CALLER = "caller"
    PLATFORM = "platform"
    NETWORK = "network"


class FailureKind(StrEnum):
    """The kinds of refusal that the machine treats differently."""

    OTHER = "other"
    ALREADY_RUNNING = "already running"
    THROTTLED = "throttled"
    NO_CAPACITY = "no capacity"  # what the target runs on is paused or used up; other targets may go on
    NOT_FOUND = "not found"
    OVER = "over"


class Failure(Value, frozen=True):
    """A call that did not go well.

    `code` is the vendor's (or ours, for what never reached it), `message` is for a person, `retry_after` is what the
    platform asked for, already clamped, `request_id` helps its support.
    """

    code: str
    message: str
    fault: Fault
    delivery: Delivery
    retry_safe: bool
    kind: FailureKind = FailureKind.OTHER
    retry_after: timedelta | None = None
    request_id: str = ""

    @property
    def permanent(self) -> bool:
        """Certain to happen again until someone repairs something."""
        return not self.retry_safe and self.delivery is not Delivery.UNKNOWN and self.kind is FailureKind.OTHER

    def __str__(self) -> str:
        """`AccessDeniedException: not allowed (request 1-2-3)`."""
        return f"{self.code}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")
