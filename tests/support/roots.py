"""The roots that TLS contexts trust: how often they are read, whoever makes the context."""

from __future__ import annotations

import ssl

import pytest


@pytest.fixture(name="reads")
def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each file of roots that is read into a context, with None for a folder that is only searched."""
    reads: list[object] = []
    real = ssl.SSLContext.load_verify_locations

    def load(context: ssl.SSLContext, cafile: str | None = None, *arguments: object, **named: object) -> None:
        reads.append(cafile)
        real(context, cafile, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    return reads
