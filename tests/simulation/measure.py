"""Coverage is measured where tests are deterministic; ten thousand histories would make it slow, and luck."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unmeasured() -> Iterator[None]:
    """Take the tracer of `coverage` off: it also cannot follow workers that take turns in one thread.

    A thread that is started meanwhile is not traced either.
    """
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        threading.settrace(of_threads)
