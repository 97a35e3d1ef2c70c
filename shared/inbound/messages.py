"""The content of a delivered message, as a value. `eventbridge.py` and `eventgrid.py` make it, `inbox.py` takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from shared.inbound.arrivals import Arrival
from shared.refresh.state import Signal, Wake
from shared.values import Value


class Arrived(Value, frozen=True):
    """Data arrived in these places; the configuration says whom that concerns."""

    arrivals: tuple[Arrival, ...]


class Rest(Value, frozen=True):
    """The rest of an event that concerns more targets than one invocation had time for: a message of ours."""

    arrivals: tuple[Arrival, ...]
    """The arrivals that the event told; the configuration says again whom that concerns."""
    first: str
    """The key of the first target that is left; targets are taken in the order of their keys."""
    last: str
    """The key of the last target that is left."""


class Asked(Value, frozen=True):
    """A refresh of one target was asked for, by name. `by_person`: probe a blocked target at once."""

    target: str
    received_at: datetime
    full: bool = False
    reason: str = "asked"
    by_person: bool = False
    sender: tuple[str, str] | None = None
    """AWS account and source of a custom event, which the configuration may restrict."""
    ended_at: datetime | None = None
    """The end of the upstream's run, where an upstream on the other cloud asks; None where anybody else does."""

    @property
    def signal(self) -> Signal:
        """The signal that the request means.

        An upstream's has the time at which its run ended, so that a repetition folds away; any other has that of its
        receipt, and only a run that is claimed afterwards covers it.
        """
        if self.ended_at:
            return Signal(self.ended_at, self.reason, full=self.full)
        return Signal(self.received_at, self.reason, full=self.full, asked=True)


class GlueRunEnded(Value, frozen=True):
    """Glue says that a refresh of a view ended: a hint to look, no more (best effort, unpublished detail)."""

    database: str
    table: str


class FabricRunEnded(Value, frozen=True):
    """Fabric says that a job of an item ended: a hint to look, no more."""

    workspace: str
    item: str
    run_id: str


class Ticked(Value, frozen=True):
    """The minute came round."""


class Woken(Value, frozen=True):
    """A wake that we sent arrived."""

    wake: Wake


class Ignored(Value, frozen=True):
    """Well formed, but nothing that we act on; counted under this name."""

    what: str


class Malformed(Value, frozen=True):
    """Cannot be read, and never will be: goes to the dead letters with this reason."""

    why: str


class Part(Value, frozen=True):
    """An event of a message that has several, with its own bytes for the dead letters."""

    reading: Single
    body: bytes


class Several(Value, frozen=True):
    """A message with several events, not all of which are arrivals."""

    parts: tuple[Part, ...]


Single = Arrived | Rest | Asked | GlueRunEnded | FabricRunEnded | Ticked | Woken | Ignored | Malformed
Message = Single | Several


def each(readings: Iterable[Message]) -> Iterator[Single]:
    """Every single reading, those of messages with several events included."""
    for reading in readings:
        if isinstance(reading, Several):
            yield from (part.reading for part in reading.parts)
        else:
            yield reading
