"""Waiting for a condition, in tests whose other half is a thread or a process: never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

PATIENCE_SECONDS = 120.0
"""When waiting was in vain. Far longer than anything takes, even where other programs have most of the machine."""
PAUSE_SECONDS = 0.02


def wait_until(
    met: Callable[[], object],
    meanwhile: Callable[[], object] = lambda: None,
    *,
    pause_seconds: float = PAUSE_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return as soon as the condition is met; do something between two looks, if there is something to do."""
    ends_at = time.monotonic() + patience_seconds
    while not met():
        if time.monotonic() > ends_at:
            pytest.fail("waited in vain")
        meanwhile()
        time.sleep(pause_seconds)
