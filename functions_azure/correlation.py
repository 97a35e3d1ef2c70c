"""The ids by which Fabric knows a call of its own: in each line of our log, and in each call that we make for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from shared.platforms.failures import header

NAMES = ("ActivityId", "RequestId")
"""Headers of Fabric's calls to a workload."""

_ID = re.compile("[A-Za-z0-9_-]{1,64}")
"""UUIDs as far as is known; whatever else comes is nobody's id, and goes no further."""

_current: ContextVar[Mapping[str, str]] = ContextVar("correlation", default=MappingProxyType({}))


def current() -> Mapping[str, str]:
    """The ids of the invocation that this thread works on; none for an invocation that Fabric did not make."""
    return _current.get()


@contextmanager
def correlate(headers: Mapping[str, str]) -> Iterator[None]:
    """Carry these headers' ids while an invocation lasts."""
    found = {name: header(headers, name) for name in NAMES}
    token = _current.set({name: value for name, value in found.items() if _ID.fullmatch(value)})
    try:
        yield
    finally:
        _current.reset(token)
