"""Errors of OneLake and of Glue's Iceberg REST catalog, whatever of their bodies is there."""

from __future__ import annotations

from typing import Any

import pytest

from shared.refresh.failure import FailureKind
from shared.sources import iceberg, onelake
from tests.support.sources import reply


@pytest.mark.parametrize("status", [200, 206, 304, 404, 416])
def test_what_says_something_of_a_file_is_no_failure(status: int) -> None:
    """Absent, unchanged and past the end are answers."""
    assert onelake.failure(reply(b"", status=status)) is None


@pytest.mark.parametrize(
    ("status", "body", "code", "kind", "permanent"),
    [
        (403, b'{"error":{"code":"Forbidden","message":"no"}}', "Forbidden", FailureKind.OTHER, True),
        (429, b"", "HTTP 429", FailureKind.THROTTLED, False),
        (503, b"<html>", "HTTP 503", FailureKind.THROTTLED, False),
        (500, b"{}", "HTTP 500", FailureKind.OTHER, False),
        (401, b"", "HTTP 401", FailureKind.OTHER, False),
    ],
)
def test_failures_are_facts(status: int, body: bytes, code: str, kind: Any, *, permanent: bool) -> None:
    """By status; a body that is malformed or missing still maps."""
    failure = onelake.failure(reply(body, status=status))
    assert failure
    assert (failure.code, failure.kind, failure.permanent) == (code, kind, permanent)
    assert ("OneLake data role" in failure.message) is (status == 403)


def test_the_rest_catalog_says_it_in_a_header() -> None:
    """Throttling has status 400 there; without the header the body's type counts, or nothing."""
    body = b'{"error":{"message":"Rate exceeded","type":"Other"}}'
    assert iceberg.error_of({"X-Amzn-ErrorType": "ThrottlingException:"}, body) == (
        "ThrottlingException",
        "Rate exceeded",
    )
    assert iceberg.error_of({}, body) == ("Other", "Rate exceeded")
    assert iceberg.error_of({}, b"<html>") == ("", "")
