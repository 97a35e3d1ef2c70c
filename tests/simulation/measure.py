"""Coverage is measured where tests are deterministic; ten thousand histories would make it slow, and luck."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unmeasured() -> Iterator[None]:
    """Take the tracer of `coverage` off: it also cannot follow workers that take turns in one thread."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
