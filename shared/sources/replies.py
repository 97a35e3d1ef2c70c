"""An answer of a platform with the clocks around it: looking needs them to say when a version was there.

    our clock        :  asked_at . . . . . . . . . . answered_at
    monotonic        :     |--------- took ---------|
    platform's Date  :                 Date              cut to the second

For a proof an earlier time is the safe one, for a signal a later one: an answer has both (design, section 9).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from shared.platforms.failures import header
from shared.values import Value

SECOND = timedelta(seconds=1)
"""How much HTTP's Date, Last-Modified, Glue's UpdateTime and S3 Tables' modifiedAt lose: they are cut to the second."""

Body = TypeVar("Body")


class Reply(Value, Generic[Body], frozen=True):
    """An answer: its body, its HTTP status and headers, and the clocks around the request."""

    body: Body
    asked_at: datetime
    answered_at: datetime
    took: timedelta
    status: int = 200
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def date(self) -> datetime | None:
        """The platform's own clock when it answered; None where the answer names none."""
        return http_time(header(self.headers, "Date"))

    @property
    def when(self) -> datetime:
        """The moment before the request, by our clock or the platform's, whichever is earlier."""
        return min(self.asked_at, self.date - self.took) if self.date else self.asked_at

    @property
    def moment(self) -> datetime:
        """The moment of the answer, by our clock or the platform's, whichever is later."""
        return max(self.answered_at, self.date + SECOND) if self.date else self.answered_at


def news_time(moment: datetime, stamp: datetime | None) -> datetime:
    """When a version came: the platform's stamp rounded up to the next second, never later than the answer's moment."""
    return min(moment, stamp + SECOND) if stamp else moment


def http_time(text: str) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7) as aware UTC; None for one that is absent or unreadable."""
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None
