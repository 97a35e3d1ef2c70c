"""Everything that is left to chance: how long, in what order, and what goes wrong. From a seed, or written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.simulation.scheduler import Crash

FORGOTTEN = 150.0
"""A platform may forget a run, but not while we may still have to look it up: its first two minutes are in the list."""
SETTLED = 0.02
"""How long an effect takes while nothing is wrong."""


class Fate(NamedTuple):
    """What becomes of one run on the platform. Times are seconds after its creation."""

    seconds: float = 60.0
    outcome: str = "succeeded"  # failed, odd (ends with a status that nobody knows)
    listed_after: float = 0.0
    shown_after: float = 0.0  # `get` says 404 before
    dated_after: float = 0.0  # reports carry no creation time before
    odd: tuple[float, float] = (0.0, 0.0)  # a status that nobody knows in between
    cancelled_by_person_after: float = float("inf")
    vanishes_after: float = float("inf")
    cancel_takes: float = 3.0
    cancel_ignored: bool = False  # the first one
    cancel_refused: bool = False
    full: bool = False  # by the platform's own choice
    hint_after: float | None = None


class CallFault(NamedTuple):
    """What becomes of one call: it takes effect after one time and is answered after another, unless ..."""

    effect_after: float = SETTLED
    answer_after: float = SETTLED
    failure: str = ""  # "not sent", "throttled", "rejected", "lost" (took effect), "lost on the way" (did not)
    retry_after: float | None = None


class Faults:
    """Nothing goes wrong and everything takes no time worth speaking of: what other faults begin with."""

    def pause(self, effect: str) -> float:
        """How long a worker stands still at an effect (`save>` before, `save<` after); raises `Crash`."""
        return SETTLED

    def store(self, effect: str) -> str:
        """Whether the store is down for this effect: "", "before" it or "after" it."""
        return ""

    def call(self, operation: str) -> CallFault:
        """What becomes of a call to the platform."""
        return CallFault()

    def fate(self, *, ours: bool) -> Fate:
        """What becomes of a run."""
        return Fate()

    def deliveries(self, kind: str) -> tuple[float, ...]:
        """When a message arrives, in seconds after it was sent, once for each time that it does."""
        return (SETTLED,)

    def offset(self) -> float:
        """How far the clock of the next worker is ahead of true time."""
        return 0.0

    def comes_back_after(self) -> float:
        """After how long an unacknowledged message is seen again."""
        return 30.0


@dataclass
class Script(Faults):
    """A history written by hand: at the n-th occurrence of an effect something happens, else nothing does.

    `pauses[("save<", 2)]` is how long the second save's answer takes, or `Crash`; `stores`, `calls`, `fates` likewise,
    and `otherwise` for all other calls of an operation. `clock` is how far workers that begin now are ahead of true
    time. The worker that first pauses when `crash_when()` holds is gone, or frozen for `freeze` seconds where there are
    any.
    """

    pauses: Mapping[tuple[str, int], float | type[Crash]] = field(default_factory=dict)
    stores: Mapping[tuple[str, int], str] = field(default_factory=dict)
    calls: Mapping[tuple[str, int], CallFault] = field(default_factory=dict)
    fates: Mapping[int, Fate] = field(default_factory=dict)
    sent: Mapping[tuple[str, int], tuple[float, ...]] = field(default_factory=dict)
    otherwise: dict[str, CallFault] = field(default_factory=dict)
    clock: float = 0.0
    crash_when: Callable[[], bool] | None = None
    freeze: float = 0.0
    _seen: dict[str, int] = field(default_factory=dict)

    def called(self, operation: str) -> int:
        """How many calls of an operation there were."""
        return self._seen.get(f"call {operation}", 0)

    def _number(self, what: str) -> int:
        self._seen[what] = self._seen.get(what, 0) + 1
        return self._seen[what]

    def pause(self, effect: str) -> float:
        """As written."""
        if self.crash_when and self.crash_when():
            self.crash_when = None
            if self.freeze:
                return self.freeze
            raise Crash
        pause = self.pauses.get((effect, self._number(effect)), SETTLED)
        if isinstance(pause, type):
            raise pause
        return pause

    def store(self, effect: str) -> str:
        """As written."""
        return self.stores.get((effect, self._number(f"store {effect}")), "")

    def call(self, operation: str) -> CallFault:
        """As written."""
        otherwise = self.otherwise.get(operation, CallFault())
        return self.calls.get((operation, self._number(f"call {operation}")), otherwise)

    def fate(self, *, ours: bool) -> Fate:
        """As written; all runs are counted together."""
        return self.fates.get(self._number("fate"), Fate())

    def deliveries(self, kind: str) -> tuple[float, ...]:
        """As written."""
        return self.sent.get((kind, self._number(f"sent {kind}")), (SETTLED,))

    def offset(self) -> float:
        """As written."""
        return self.clock


@dataclass
class Rates:
    """How often what goes wrong in one history; most things do not, so that each shows by itself."""

    crash: float = 0.0
    freeze: float = 0.0
    slow: float = 0.0
    store_down: float = 0.0
    lost: float = 0.0
    lost_on_the_way: float = 0.0
    not_sent: float = 0.0
    throttled: float = 0.0
    rejected: float = 0.0
    slow_calls: float = 0.0
    failed: float = 0.0
    endless: float = 0.0
    odd: float = 0.0
    vanishes: float = 0.0
    person_cancels: float = 0.0
    cancel_trouble: float = 0.0
    duplicates: float = 0.0
    late: float = 0.0
    unlisted: float = 0.0
    undated: float = 0.0
    hints: float = 0.0


_WORST = Rates(
    crash=0.04,
    freeze=0.03,
    slow=0.2,
    store_down=0.05,
    lost=0.4,
    lost_on_the_way=0.3,
    not_sent=0.3,
    throttled=0.3,
    rejected=0.3,
    slow_calls=0.5,
    failed=0.6,
    endless=0.4,
    odd=0.4,
    vanishes=0.3,
    person_cancels=0.4,
    cancel_trouble=0.7,
    duplicates=0.5,
    late=0.4,
    unlisted=0.8,
    undated=0.6,
    hints=0.6,
)


def some_rates(random: Random, often: tuple[str, ...] = ()) -> Rates:
    """A few things go wrong in one history, each more or less often; some are asked for."""
    share = random.choice((0.15, 0.3, 0.6))
    rates = Rates()
    for name, worst in vars(_WORST).items():
        if random.random() < share:
            setattr(rates, name, worst * random.random())
        if name in often:
            setattr(rates, name, worst * (0.5 + random.random() / 2))
    return rates


@dataclass
class Storm(Faults):
    """Faults drawn from a seed, until they end."""

    random: Random
    rates: Rates
    call_timeout: float
    listing_delay: float
    clocks: tuple[float, float]  # how far the slowest and the fastest clock are ahead of true time
    clear: bool = False
    sure: set[str] = field(default_factory=set)  # effects for which the store is always there

    def _happens(self, rate: float) -> bool:
        return rate > 0 and not self.clear and self.random.random() < rate

    def pause(self, effect: str) -> float:
        """Mostly milliseconds, sometimes seconds, rarely an hour, or the end."""
        rates, random = self.rates, self.random
        if self.clear:
            return SETTLED
        chance = random.random()
        if chance < rates.crash:
            raise Crash
        chance -= rates.crash
        if chance < rates.freeze:
            return 2.0 ** random.uniform(0, 13)
        if chance - rates.freeze < rates.slow:
            return 4 * random.random() ** 2
        return random.random() * 0.04

    def store(self, effect: str) -> str:
        """Down before or after an effect that changes something."""
        down = effect not in self.sure and self._happens(self.rates.store_down)
        return self.random.choice(("before", "after")) if down else ""

    def call(self, operation: str) -> CallFault:
        """A call may fail in one of five ways, and may take as long as it is allowed to."""
        rates = self.rates
        if self.clear:
            return CallFault()
        effect, answer = 0.1, 0.1
        if self._happens(rates.slow_calls):
            effect, answer = (self._up_to(self.call_timeout) for _ in range(2))
        failure, retry_after = "", None
        if self._happens(rates.lost):
            failure = "lost"
        elif self._happens(rates.lost_on_the_way):
            failure = "lost on the way"
        elif self._happens(rates.not_sent):
            failure = "not sent"
        elif self._happens(rates.rejected):
            failure = "rejected"
        elif self._happens(rates.throttled):
            failure, retry_after = "throttled", self.random.choice((None, 5.0, 90.0, 400.0))
        return CallFault(effect, answer, failure, retry_after)

    def _up_to(self, most: float) -> float:
        """The extremes are where mistakes show."""
        return most if self.random.random() < 0.4 else self.random.random() * most

    def fate(self, *, ours: bool) -> Fate:
        """Runs take seconds to minutes; what else becomes of them depends on the day."""
        random, rates = self.random, self.rates
        seconds = random.choice((2, 20, 20, 60, 60, 150, 400)) * (0.5 + random.random())
        if self.clear:
            return Fate(seconds)
        start = random.random() * seconds
        return Fate(
            seconds=float("inf") if self._happens(rates.endless) else seconds,
            outcome=self._outcome(),
            listed_after=self._up_to(self.listing_delay) if self._happens(rates.unlisted) else 0.0,
            shown_after=self._up_to(200.0) if self._happens(rates.unlisted / 2) else 0.0,
            dated_after=random.random() * seconds if self._happens(rates.undated) else 0.0,
            odd=(start, start + 2.0 ** random.uniform(2, 13)) if self._happens(rates.odd) else (0.0, 0.0),
            cancelled_by_person_after=start if self._happens(rates.person_cancels) else float("inf"),
            vanishes_after=FORGOTTEN + 2 * start if ours and self._happens(rates.vanishes) else float("inf"),
            cancel_takes=random.random() * 30,
            cancel_ignored=self._happens(rates.cancel_trouble),
            cancel_refused=self._happens(rates.cancel_trouble / 2),
            full=random.random() < 0.2,
            hint_after=random.random() * 20 - 5 if self._happens(rates.hints) else None,
        )

    def _outcome(self) -> str:
        if self._happens(self.rates.failed):
            return "failed"
        return "odd" if self._happens(self.rates.odd / 2) else "succeeded"

    def deliveries(self, kind: str) -> tuple[float, ...]:
        """At least once, sometimes late, sometimes twice, sometimes a replay hours later."""
        first = self._delay()
        if not self._happens(self.rates.duplicates):
            return (first,)
        return (first, self.random.choice((self._delay(), 2.0 ** self.random.uniform(0, 13))))

    def _delay(self) -> float:
        if self._happens(self.rates.late):
            return 2.0 ** self.random.uniform(0, 10)
        return 0.05 + self.random.random() * 0.5

    def offset(self) -> float:
        """Clocks stay as far apart as they are when the sky clears up."""
        slow, fast = self.clocks
        return self.random.choice((slow, fast, 0.0, self.random.uniform(slow, fast)))

    def comes_back_after(self) -> float:
        """Half a minute or so."""
        return 20 + self.random.random() * 40
