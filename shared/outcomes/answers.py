"""The meaning of a destination's answer: sent, to be sent again, or refused for good."""

from __future__ import annotations

from http import HTTPStatus

from shared.values import Value

PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that pass (408, 425, 429); every other status from 400 to 499 is for good (design, section 10)."""

PASSING_CODES = frozenset({"InternalFailure", "InternalException", "KMSThrottling", "Throttled"})
"""Errors of AWS that pass though their status says 400; so does all that is called a throttling."""


class SendFailure(Value, frozen=True):
    """Why an event was not delivered."""

    why: str
    """The reason in words, without an address that may be a secret."""
    for_good: bool = False
    """Whether the destination would refuse the event every time."""


def read_status(status: int, why: str = "") -> SendFailure | None:
    """Read a status of HTTP; None where the event is delivered."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    for_good = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING
    return SendFailure(f"status {status}{': ' if why else ''}{why}", for_good)


def read_aws_error(status: int, code: str, message: str) -> SendFailure:
    """Read an error of AWS, by its status and its code."""
    passes = code in PASSING_CODES or "Throttl" in code or code == "RequestLimitExceeded"
    found = read_status(status)
    return SendFailure(f"{code}: {message}", for_good=bool(found and found.for_good) and not passes)
