"""The roots that a function trusts, in a folder in which OpenSSL finds each by name when it meets it: `roots/`.

    cacert.pem              of botocore, or certifi: more than 100 certificates, which a program parses all at once
    roots/<hash>.0          the same, one a file: a handshake parses the one that it needs

Whom the function trusts is the same either way. The names of the files are those that `openssl rehash` makes: the
first four bytes of a digest of the subject, spelled canonically, and a number that tells apart those of one subject.
https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/
"""

from __future__ import annotations

import hashlib
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"

_VERSION, _SET, _SEQUENCE, _UTF8 = 0xA0, 0x31, 0x30, 0x0C
"""Tags of X.690: the version of a certificate, SET, SEQUENCE, UTF8String."""
_LONG = 0x80
"""The bit of a length that does not fit into the other seven: those say how many bytes behind it are the length."""
_SUBJECT = 4
"""The subject's place in a certificate without its version: behind number, algorithm, issuer, validity (RFC 5280)."""
_TEXTS: Final = {
    _UTF8: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
"""Encodings of the types of text that OpenSSL spells canonically; it takes a TeletexString (0x14) for Latin-1."""


def write_roots(bundle: str, folder: Path) -> None:
    """Write each certificate of a bundle into the folder, under the name by which OpenSSL looks for it."""
    folder.mkdir()
    numbers: Counter[str] = Counter()
    for rest in bundle.split(_BEGIN)[1:]:
        certificate = f"{_BEGIN}{rest.partition(_END)[0]}{_END}\n"
        name = subject_hash(ssl.PEM_cert_to_DER_cert(certificate))
        (folder / f"{name}.{numbers[name]}").write_text(certificate, encoding="ascii")
        numbers[name] += 1


def subject_hash(certificate: bytes) -> str:
    """Work out what `openssl x509 -hash` prints of a certificate, given as DER."""
    [whole] = _elements(certificate)
    signed = next(_elements(whole.content))
    fields = [each for each in _elements(signed.content) if each.tag != _VERSION]
    canonical = b"".join(_canonical_names(each) for each in _elements(fields[_SUBJECT].content))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical_names(names: _Element) -> bytes:
    """Spell a set of names as OpenSSL compares them: in UTF-8, in lower case, without needless spaces, sorted."""
    return _encode(_SET, b"".join(sorted(_canonical_name(each) for each in _elements(names.content))))


def _canonical_name(name: _Element) -> bytes:
    kind, value = _elements(name.content)
    spelled = value.whole
    if value.tag in _TEXTS:
        text = value.content.decode(_TEXTS[value.tag]).encode()
        spelled = _encode(_UTF8, b" ".join(text.split()).lower())  # of bytes, so only what is ASCII is touched
    return _encode(_SEQUENCE, kind.whole + spelled)


class _Element(NamedTuple):
    """An element of DER."""

    tag: int
    content: bytes
    whole: bytes
    """Tag, length and content."""


def _elements(content: bytes) -> Iterator[_Element]:
    """Take DER apart, one level deep."""
    while content:
        start, length = 2, content[1]
        if length & _LONG:
            start += length - _LONG
            length = int.from_bytes(content[2:start])
        yield _Element(content[0], content[start : start + length], content[: start + length])
        content = content[start + length :]


def _encode(tag: int, content: bytes) -> bytes:
    """Write an element, with the shortest form of its length, as DER wants it."""
    length = len(content)
    if length < _LONG:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, _LONG | size]) + length.to_bytes(size) + content
