"""The configuration as packaging compiled it, so that a start need not read TOML: `unstale.compiled`.

`unstale.toml` stays what counts. The compiled file begins with the release that made it and one digest over the TOML
that it was made from, of which all rules held then, and over what follows in the file itself: the values, and their
fingerprint, which takes several times as long to reckon as all else. A file that begins otherwise is not used: then the
TOML is read and judged, as without it. So nothing loads that the TOML does not say, or that breaks a rule.
"""

from __future__ import annotations

import hashlib

import msgspec

from shared.config.configuration import Configuration
from shared.version import VERSION

FILE = "unstale.compiled"
"""Name of the file, beside `unstale.toml` in a package."""


class Compiled(msgspec.Struct, array_like=True, frozen=True):
    """The values of a configuration, and what would take long to reckon from them."""

    fingerprint: str
    """The configuration's fingerprint."""
    configuration: Configuration
    """All values of the file."""


_decoder = msgspec.msgpack.Decoder(Compiled)


def compile_configuration(content: bytes, file: str) -> bytes:
    """Compile the content of a file; everything that a configuration may hold comes back as it is.

    Raises `ConfigurationError`.
    """
    from shared.config.load import load  # noqa: PLC0415 - only packaging pays for it

    loaded = load(content, file)
    values = msgspec.msgpack.encode(Compiled(loaded.fingerprint, loaded))
    return first_line(content, values) + values


def read_compiled(compiled: bytes, content: bytes) -> Configuration | None:
    """Read what was compiled from this very content, by this release; None for anything else."""
    values = memoryview(compiled)[compiled.find(b"\n") + 1 :]
    if not compiled.startswith(first_line(content, values)):
        return None
    try:
        read = _decoder.decode(values)
    except msgspec.DecodeError:
        return None
    return read.configuration.with_fingerprint(read.fingerprint)


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


def first_line(content: bytes, values: bytes | memoryview) -> bytes:
    """The beginning of what is compiled from a content: the release, and the digest of the content and the values."""
    digest = hashlib.sha256(hashlib.sha256(content).digest())
    digest.update(values)
    return f"{VERSION} {digest.hexdigest()}\n".encode()
