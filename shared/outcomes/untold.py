"""Events that wait for a destination for a while, as `unstale status` tells of a side that is away.

end of a run  12:00 . . . 12:03           now 14:31
|---- told by now ----|---- untold: since 12:00, why, tried again at 14:40
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from shared.destinations import Destination
from shared.outcomes.sending import numbers_for
from shared.refresh.evidence import PAST_DUE
from shared.refresh.outbox import position_of
from shared.refresh.state import Addressee, State
from shared.targets import Target
from shared.times import minute
from shared.values import Value


class Untold(Value, frozen=True):
    """Events of one target that wait for one destination."""

    target: str
    """The target's name."""
    destination: Destination
    """The destination of these events."""
    count: int
    """How many wait."""
    since: datetime
    """When the first of them happened."""
    addressee: Addressee
    """How often the destination failed, why, and until when nothing is sent there."""

    @property
    def sentence(self) -> str:
        """The whole in words, for `status` and `explain`."""
        to, since, known = self.destination, minute(self.since), self.addressee
        what = f"that {self.target} was refreshed" if to.follower else f"{self.count} events of {self.target}"
        why = f": {known.why}" if known.why else ""
        again = f"; tried again at {minute(known.alone_until)}" if known.why and known.alone_until else ""
        return f"{to.title} was not told {what}, since {since}{why}{again}"


def untold(
    destinations: Sequence[Destination],
    targets: Sequence[tuple[Target, State]],
    addressees: Mapping[str, Addressee],
    now: datetime,
) -> tuple[Untold, ...]:
    """List the events that wait for longer than a few ticks take; `addressees` by the digest of what answers there."""
    found = []
    for target, state in ((target, state) for target, state in targets if state.outbox.notices):
        for each in (each for each in destinations if each.serves(target.name)):
            number = position_of(state.outbox, each.digest)
            wanted = numbers_for(each, state.outbox.notices)
            waiting = [n.at for n in state.outbox.notices if n.number > number and n.number in wanted]
            if waiting and now - min(waiting) > PAST_DUE:
                known = addressees.get(each.site_digest, Addressee())
                found.append(Untold(target.name, each, len(waiting), min(waiting), known))
    return tuple(found)
