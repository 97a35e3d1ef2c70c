"""Failures as facts: their words, and which of them happen again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shared.refresh.failure import Delivery, Failure, FailureKind
from tests.support.core import failure


def test_a_failure_has_the_vendors_words() -> None:
    """And the id by which its support finds the request, where there is one."""
    assert str(failure()) == "Code: words"
    assert str(replace(failure(), request_id="1-2-3")) == "Code: words (request 1-2-3)"


@pytest.mark.parametrize(
    ("given", "permanent"),
    [
        (failure(safe=False), True),
        (failure(safe=True), False),
        (failure(safe=False, delivery=Delivery.UNKNOWN), False),
        (failure(FailureKind.NOT_FOUND, safe=False), False),
    ],
)
def test_what_happens_again_until_somebody_mends_it_is_permanent(given: Failure, *, permanent: bool) -> None:
    """No retry is safe, the outcome is known, and it is none of the kinds that the machine treats on their own."""
    assert given.permanent is permanent
