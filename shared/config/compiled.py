"""The configuration as packaging compiled it, so that a start need not read TOML: `unstale.compiled`.

`unstale.toml` stays what counts. The compiled file begins with the release that made it and the digest of the TOML that
it was made from, of which all rules held then. A file that begins otherwise is not used: then the TOML is read and
judged, as without it. So nothing loads that the TOML does not say, or that breaks a rule.
"""

from __future__ import annotations

import hashlib

import msgspec

from shared.config.configuration import Configuration
from shared.version import VERSION

FILE = "unstale.compiled"
"""Name of the file, beside `unstale.toml` in a package."""

_decoder = msgspec.msgpack.Decoder(Configuration)


def compile_configuration(content: bytes, file: str) -> bytes:
    """Compile the content of a file; everything that a configuration may hold comes back as it is.

    Raises `ConfigurationError`.
    """
    from shared.config.load import load  # noqa: PLC0415 - only packaging pays for it

    return _first_line(content) + msgspec.msgpack.encode(load(content, file))


def read_compiled(compiled: bytes, content: bytes) -> Configuration | None:
    """Read what was compiled from this very content, by this release; None for anything else."""
    first_line = _first_line(content)
    if not compiled.startswith(first_line):
        return None
    try:
        return _decoder.decode(memoryview(compiled)[len(first_line) :])
    except msgspec.DecodeError:
        return None


def read_configuration(content: bytes, compiled: bytes | None, file: str) -> tuple[Configuration, str]:
    """Read the content of a file, the quicker way if it was compiled; and say why what was compiled is not used, or "".

    Raises `ConfigurationError`.
    """
    read = read_compiled(compiled, content) if compiled is not None else None
    if read is not None:
        return read, ""
    from shared.config.load import load  # noqa: PLC0415 - a cold start reads what was compiled, and pays nothing

    unused = f"{FILE} was not made from {file} by this release, so {file} is read" if compiled is not None else ""
    return load(content, file), unused


def _first_line(content: bytes) -> bytes:
    """The beginning of what is compiled from a content: release and digest."""
    return f"{VERSION} {hashlib.sha256(content).hexdigest()}\n".encode()
