"""Scripted faults, shared by the emulators: what goes wrong, at which call, for which resource, how many times.

A test appends faults to a `FaultScript`; the emulator takes the first that fits each call. Faults of a run's life
(`FailRun`, `NeverEnd`, `ClockApart`) are bound to the operation "run", which stands for the run that an accepted start
makes, so that one start can meet a fault of the call and a fault of the run. Faults of a token (`IssueExpired`,
`IssueFor`, `RefuseToken`) are bound to "token", the one call of the identity platform.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from local.emulators.http_server import Answer

Operation = Literal["start", "get", "list", "cancel", "run", "token", "look"]
"""Calls, and what stands for the run or the token that a call makes; `look` is any call that looking makes."""


@dataclass(frozen=True, slots=True)
class LoseResponse:
    """Do what was asked, then drop the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """Refuse as throttled, with a Retry-After where it is given and the platform has one."""

    retry_after_seconds: float | None = None
    """The seconds of Retry-After; None for no such header."""


@dataclass(frozen=True, slots=True)
class ServerError:
    """Answer with an HTTP status of 500 or more; `done` says that what was asked is done all the same."""

    status: int = 500
    """The HTTP status."""
    done: bool = False
    """Whether what was asked is done all the same."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an error that the vendor documents, by its name; `done`: what was asked is done all the same."""

    code: str
    """The vendor's name of the error."""
    done: bool = False
    """Whether what was asked is done all the same."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Answer, but only after this long."""

    seconds: float
    """How long, by the true clock."""


@dataclass(frozen=True, slots=True)
class FailRun:
    """Let the run end as failed, with this message."""

    message: str
    """The platform's message about the failure."""


@dataclass(frozen=True, slots=True)
class NeverEnd:
    """Let the run go on until it is cancelled."""


@dataclass(frozen=True, slots=True)
class ClockApart:
    """Tell all times of the run this much later (negative: earlier) than they are; the journal keeps the true ones."""

    offset: timedelta
    """The time that is added to every time of the run."""


@dataclass(frozen=True, slots=True)
class IssueExpired:
    """Issue a token whose time is over, with an answer that promises the usual lifetime."""


@dataclass(frozen=True, slots=True)
class IssueFor:
    """Issue a token for this audience, whichever was asked for."""

    audience: str
    """Whom the token is for."""


@dataclass(frozen=True, slots=True)
class RefuseToken:
    """Refuse with an error of OAuth's, Microsoft's suberror where it has one, the number of its AADSTS text, claims."""

    error: str
    suberror: str = ""
    number: int = 0
    claims: str = ""


CallFault = LoseResponse | Throttle | ServerError | Refuse | Slow
"""Faults of a call."""
RunFault = FailRun | NeverEnd | ClockApart
"""Faults of a run."""
TokenFault = IssueExpired | IssueFor | RefuseToken
"""Faults of a token."""
Fault = CallFault | RunFault | TokenFault
"""Faults that a script can hold."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault, the operation and resource (None: any) it waits for, and how often it is still used (None: always)."""

    fault: Fault
    """The fault."""
    operation: Operation
    """The operation that it waits for."""
    resource: str | None
    """The resource that it waits for; None for any."""
    times: int | None
    """How often the fault is still used; None for always."""


class FaultScript:
    """A thread-safe list of planned faults, used from the front."""

    def __init__(self) -> None:
        """Begin empty: nothing goes wrong."""
        self._lock = threading.Lock()
        self._planned: list[PlannedFault] = []

    def add(
        self, fault: Fault, operation: Operation = "start", resource: str | None = None, times: int | None = 1
    ) -> None:
        """Append a fault; ValueError for one that the operation cannot meet."""
        if not _fits(fault, operation):
            msg = f"{fault} cannot be bound to the operation {operation!r}"
            raise ValueError(msg)
        with self._lock:
            self._planned.append(PlannedFault(fault, operation, resource, times))

    def take(self, operation: Operation, resource: str | None = None) -> Fault | None:
        """Return and use up the first fault planned for this call, None if there is none.

        A fault that is bound to a resource is not taken by a call that names none.
        """
        with self._lock:
            for index, planned in enumerate(self._planned):
                if planned.operation == operation and planned.resource in (None, resource):
                    self._use(index, planned)
                    return planned.fault
        return None

    def unused_faults(self) -> tuple[PlannedFault, ...]:
        """Return what has not been used up; a test that ends with something left did not test what it planned."""
        with self._lock:
            return tuple(self._planned)

    def _use(self, index: int, planned: PlannedFault) -> None:
        """Count one use of a planned fault, and drop it after the last."""
        if planned.times is None:
            return
        if planned.times > 1:
            self._planned[index] = replace(planned, times=planned.times - 1)
        else:
            del self._planned[index]


def _fits(fault: Fault, operation: Operation) -> bool:
    """Whether an operation can meet a fault of this kind."""
    if isinstance(fault, RunFault):
        return operation == "run"
    if isinstance(fault, TokenFault):
        return operation == "token"
    return operation != "run" and not (isinstance(fault, Refuse) and operation == "token")


def deliver(fault: Fault | None, answer: Answer) -> Answer | None:
    """The answer as it reaches the caller: lost, held back, or as it is."""
    if isinstance(fault, LoseResponse):
        return None
    return replace(answer, slow_seconds=fault.seconds) if isinstance(fault, Slow) else answer
