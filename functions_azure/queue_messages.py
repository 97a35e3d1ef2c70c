"""The form of a message that a Storage queue takes: text in an XML document, of 64 KiB at most.

https://learn.microsoft.com/rest/api/storageservices/put-message
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from shared.refresh.ports import StoreDownError

LONGEST_MESSAGE = 65_536
"""Bytes of a message as it stands in the document, in which `&`, `<` and `>` take more than one."""

_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML document may hold, however they are written (https://www.w3.org/TR/xml/#charsets). Those
are few. The others are not to be named here: `re` goes through each character of a range, 60,000, at each start."""


class UnfitMessageError(StoreDownError):
    """A body can never be a message of a queue: it is no text, too long, or has a character that XML has none of."""


def message_text(body: bytes) -> str:
    """Return the body as the text of a message. Raises `UnfitMessageError`; nothing is ever cut."""
    text = xml_text(body)
    size = len(escape(text).encode())
    if size > LONGEST_MESSAGE:
        raise UnfitMessageError(f"a message of {size} bytes does not fit into a queue, which takes {LONGEST_MESSAGE}")
    return text


def xml_text(body: bytes) -> str:
    """Return the body as text that an XML document may hold, however long. Raises `UnfitMessageError`."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UnfitMessageError(f"bytes that are no UTF-8 cannot be put into a queue: {error.reason}") from None
    found = _NOT_IN_XML.search(text)
    if found:
        raise UnfitMessageError(f"the character U+{ord(found[0]):04X} cannot be put into a queue")
    return text
