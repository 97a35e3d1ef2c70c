"""Histories written by hand about pace (design, section 4.1): crowds behind a limit, and the arithmetic of a queue.

Each says what is wrong with the code that it is given; with what ships, nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.identity import Call, Identity, Place, Queue, RunningClaim
from shared.refresh.inputs import ProbeAsked, ResumeAsked, Signalled
from shared.refresh.ports import Conflict, Document
from shared.refresh.state import Blocked, Owed, Run, Signal, Situation, State
from shared.targets import Limits
from tests.simulation.core import Core
from tests.simulation.crowd import KNOWN, POLICY, AtOnce, Crowd, DiedError, Minutely, Outcome, play, wrong
from tests.simulation.world import at, seconds

DAY = 86_400.0
NOON_TO_MIDNIGHT = 43_200.0
"""The simulated world begins at noon."""


def says(*wrongs: str | bool) -> list[str]:
    """What of these is wrong."""
    return [one if isinstance(one, str) else "the tale says so" for one in wrongs if one]


def starts(outcome: Outcome) -> list[float]:
    """When starts were accepted, in order."""
    return sorted(outcome.crowd.platform.started.values())


# --- Numbers and times -----------------------------------------------------------------------------------------------


def a_known_limit(core: Core) -> list[str]:
    """120 targets behind the limit that is configured: none is refused, and none is idle."""
    outcome = play("known", 120, core)
    return [*wrong("known", outcome), *says(outcome.crowd.platform.refused["start"] > 0 and "refused")]


def no_known_limit(core: Core) -> list[str]:
    """Where nothing is configured, 47 are started in the first minute, and from then on a little more."""
    outcome = Crowd(500, AtOnce(10_000, 60.0), Limits(), core=core).run()
    first = sum(time < starts(outcome)[0] + 60 for time in starts(outcome))
    took = starts(outcome)[-1] - starts(outcome)[0]
    return says(not 45 <= first <= 49 and f"{first} in the first minute", took > 615 and f"{took:.0f} s for 500")


def a_lone_target(core: Core) -> list[str]:
    """A queue that is empty serves at once, the first time and an hour later."""
    crowd = Crowd(1, Minutely(50), KNOWN, core=core)
    crowd.at(3600.0, lambda: crowd.signal(crowd.targets[0], 3600.0))
    crowd.run(until=3600.0)
    first = crowd.platform.started[crowd.targets[0].key]
    second = crowd.go_on().crowd.platform.started[crowd.targets[0].key]
    return says(first > 34 and f"started at {first:.0f}", second > 3634 and f"started at {second:.0f}")


def each_takes_one_place(core: Core) -> list[str]:
    """Who waits has a place, in its own record, and takes no other: 60 targets take 60 numbers."""
    outcome = Crowd(60, Minutely(50), KNOWN, core=core).run()
    taken = outcome.crowd.queue().next_number
    return says(taken > 60 and f"{taken} numbers", outcome.started < 60 and f"{outcome.started} started")


def in_the_order_of_places(core: Core) -> list[str]:
    """A second planning refresh waits behind all firsts (but that wakes are late by seconds)."""
    crowd = Crowd(60, Minutely(50), KNOWN, core=core)
    for target in crowd.targets[:10]:
        crowd.at(40.0, partial(crowd.signal, target, 40.0, "second"))
    order: list[str] = []
    start = crowd.platform.start

    def noting(target: Any, *, full: bool) -> Any:
        order.append(target.name)
        return start(target, full=full)

    crowd.platform.start = noting  # type: ignore[method-assign]
    crowd.run()
    refused = crowd.platform.refused["start"]
    return says(
        refused > 0 and f"{refused} refused",
        len(set(order[:57])) < 57 and "one was started again before all others were started once",
    )


def far_places_are_looked_at_halfway(core: Core) -> list[str]:
    """A queue that becomes faster meanwhile serves those far behind in time: they come halfway, and are there."""
    slow = Queue(at(0), 1 / 20, quiet_since=at(0), next_number=400)
    told = core.pace.reconcile_at(slow, 300, 50, at(0))
    soon = core.pace.reconcile_at(slow, 10, 50, at(0))
    return says(told != at(3000) and f"told {told}", soon != at(200) and f"told {soon}")


def passed_places(core: Core) -> list[str]:
    """A place that passed 75 s ago is taken anew: those who come back after a day do not all start at once."""
    crowd = Crowd(60, Minutely(50), KNOWN, core=core)
    for number, target in enumerate(crowd.targets):
        known = crowd.state(target)
        body = records.write(replace(known, place=Place(Call.START, number)))
        crowd.store.save(crowd.store.load(target.key), body, None)
    identity = Identity(Queue(at(-DAY), 47 / 60, quiet_since=at(-DAY), next_number=60))
    crowd.store.save(Document(records.identity_key("identity")), records.write(identity), None)
    outcome = crowd.run()
    return says(outcome.crowd.platform.refused["start"] > 0 and "all at once", *wrong("known", outcome))


def a_number_that_was_never_given(core: Core) -> list[str]:
    """A target has another identity than when it took its place: the other queue would never come to that number."""
    queue = core.pace.bring_up_to_date(None, 60, at(0))
    return says(core.pace.is_good(queue, 4120, at(80)), not core.pace.is_good(replace(queue, next_number=2), 1, at(0)))


def late_by_a_minute(core: Core) -> list[str]:
    """A place whose time was a minute ago is good: a tick may be that late."""
    queue = Queue(at(0), 1.0, quiet_since=at(0), next_number=50)
    return says(core.pace.is_stale(queue, 10, at(80)), not core.pace.is_stale(queue, 10, at(86)))


def two_at_once(core: Core) -> list[str]:
    """Others take places at the same moment: all get one, no two the same one, after a pause in between."""
    pauses: list[timedelta] = []
    crowd = Crowd(2, Minutely(50), KNOWN, core=core, pause=pauses.append)
    save, first = crowd.store.save, [True]

    def beaten(document: Document, body: bytes, wake_at: Any) -> Document:
        if document.key == records.identity_key("identity") and first:
            first.clear()
            after = records.read_identity(document.body)
            for _ in range(5):
                after, _place = core.pace.take_place(after, Call.START, KNOWN, at(crowd.clock.time))
            save(document, records.write(after), None)
            raise Conflict(document.key)
        return save(document, body, wake_at)

    crowd.store.save = beaten  # type: ignore[method-assign]
    outcome = crowd.run()
    return says(
        outcome.started != 2 and "not started",
        crowd.queue().next_number != 7 and f"{crowd.queue().next_number} numbers were taken",
        not pauses and "no pause",
    )


# --- Refusals --------------------------------------------------------------------------------------------------------


def a_lower_limit(core: Core) -> list[str]:
    """The platform allows half of what is configured: that is found, and nobody is woken often for it."""
    outcome = play("lower than configured", 200, core)
    refused = outcome.crowd.platform.refused["start"]
    return [*wrong("lower than configured", outcome), *says(refused > 12 and f"{refused} were refused")]


def an_unknown_limit(core: Core) -> list[str]:
    """Five runs at once, which no answer says."""
    return wrong("unknown", play("unknown", 120, core))


def the_refused_one_is_served_first(core: Core) -> list[str]:
    """When the silence ends, and all those behind it after it; not before, not all at once."""
    queue = Queue(at(0), 1.0, quiet_since=at(0), next_number=50)
    after = core.pace.refuse(queue, 10, at(70), 60, at(10))
    times = [seconds(core.pace.time_of(after, number)) for number in (5, 10, 11, 49)]
    return says(times[:2] != [70, 70] and f"{times}", not 71 <= times[2] < 71.1 and f"{times}")


def a_person_is_refused(core: Core) -> list[str]:
    """Whoever jumped the queue does not take those before along."""
    queue = Queue(at(0), 1.0, quiet_since=at(0), next_number=50)
    after = core.pace.refuse(queue, 49, at(70), 60, at(10))
    return says(seconds(core.pace.time_of(after, 40)) < 95 and "all at once")


def first_rates(core: Core) -> list[str]:
    """94 % of what is configured; 47 a minute where nothing is."""
    found = [core.pace.bring_up_to_date(None, limit, at(0)).rate * 60 for limit in (50, 100, None)]
    return says(any(abs(rate - right) > 1e-9 for rate, right in zip(found, (47, 94, 47), strict=True)) and f"{found}")


def rates(core: Core) -> list[str]:
    """Down by a twentieth or a tenth, at most once a minute; up by a fiftieth or a twenty-fifth after a minute."""
    return says(*_rates(core))


def _rates(core: Core) -> Iterator[str | bool]:
    for limit, down, up, most in ((60, 0.95, 1.02, 1.0), (None, 0.9, 1.04, 9.0)):
        queue = Queue(at(0), 0.5, quiet_since=at(0), next_number=100_000)
        once = core.pace.refuse(queue, 1, at(9), limit, at(5))
        yield abs(once.rate - 0.5 * down) > 1e-9 and f"{once.rate} after a refusal"
        yield core.pace.refuse(once, 1, at(69), limit, at(60)).rate != once.rate and "twice in a minute"
        raised = core.pace.bring_up_to_date(queue, limit, at(61))
        yield abs(raised.rate - 0.5 * up) > 1e-9 and f"{raised.rate} after a minute"
        later = core.pace.bring_up_to_date(queue, limit, at(9000)).rate
        yield (later > most if limit else later < most) and f"{later} after hours"
        yield core.pace.bring_up_to_date(once, limit, at(68)).rate != once.rate and "raised by a silence"
        lowest = replace(queue, rate=1 / 120)
        yield core.pace.refuse(lowest, 1, at(9), limit, at(5)).rate < 1 / 120 and "below one in two minutes"


def idle_minutes(core: Core) -> list[str]:
    """Starts that meet no queue show that there is room for them, not for more."""
    queue = core.pace.bring_up_to_date(None, None, at(0))
    for minute in range(30):
        queue, _ = core.pace.take_number(core.pace.bring_up_to_date(queue, None, at(minute * 61)), at(minute * 61))
    return says(queue.rate > 47.1 / 60 and f"{queue.rate * 60} a minute")


# --- Polls -----------------------------------------------------------------------------------------------------------


def more_runs_than_polls(core: Core) -> list[str]:
    """200 runs that go on for an hour, and 50 polls a minute: hardly one is refused, and starts go on meanwhile."""
    crowd = Crowd(200, Minutely(50), KNOWN, core=core, takes=3600.0, polls=Minutely(50))
    outcome = crowd.run(until=3000.0)
    return says(
        crowd.platform.refused["poll"] > 20 and f"{crowd.platform.refused['poll']} polls refused",
        crowd.platform.polled < 1500 and f"{crowd.platform.polled} polls in 50 minutes",
        *wrong("known", outcome),
    )


def polls_are_refused(core: Core) -> list[str]:
    """No poll is answered in the first minutes: the starts are as fast as if nobody polled."""
    crowd = Crowd(100, Minutely(50), KNOWN, core=core, polls=Minutely(0))
    outcome = crowd.run(until=900.0)
    return says(
        *wrong("known", outcome),
        crowd.platform.refused["start"] > 0 and "a start was refused",
        crowd.platform.refused["poll"] > 20 and f"{crowd.platform.refused['poll']} polls refused",
    )


# --- People and caps -------------------------------------------------------------------------------------------------


def a_person_asks(core: Core) -> list[str]:
    """Behind 100 others: the person's target takes a place, and is started without waiting for it."""
    crowd = Crowd(100, Minutely(100), KNOWN, core=core)
    target = crowd.targets[-1]

    def ask() -> None:
        asked = Signalled(Signal(at(40), "asked", asked=True))
        crowd.engine.reconcile(target, (asked, ProbeAsked()))

    for other in crowd.targets[:-1]:
        crowd.signal(other)
    crowd.at(40.0, ask)
    outcome = crowd.go_on()
    time = crowd.platform.started[target.key]
    taken = crowd.queue().next_number
    return says(time > 90 and f"started at {time:.0f}", taken < 100 and "no place", outcome.started < 100 and "lost")


def enough_for_today(core: Core) -> list[str]:
    """Two starts a day: the third waits, blocked with that reason, for 00:00 UTC, and a person's refresh passes."""
    policy = replace(POLICY, max_starts_per_day=2, max_wait=timedelta(hours=2))
    crowd = Crowd(1, Minutely(50), KNOWN, core=core, policy=policy)
    (target,), started = crowd.targets, _noted_starts(crowd)
    for time in (0.0, 1000.0, 2000.0):
        crowd.at(time, partial(crowd.signal, target, time))
    crowd.go_on(until=3000.0)
    crowd.clock.time = 3000.0
    hold = crowd.state(target).hold
    held = isinstance(hold, Blocked) and "max_starts_per_day" in hold.reason and hold.probe_at == at(NOON_TO_MIDNIGHT)
    crowd.engine.reconcile(target, (ResumeAsked(),))
    yesterday = len(started)
    crowd.engine.reconcile(target, (Signalled(Signal(at(3000), "asked", asked=True)), ProbeAsked()))
    crowd.go_on(until=4000.0)
    asked = len(started)
    crowd.at(5000.0, lambda: crowd.signal(target, 5000.0))
    crowd.go_on(until=DAY)
    return says(
        not held and f"hold {hold}",
        yesterday != 2 and f"{yesterday} starts",
        asked != 3 and f"{asked} starts with the person's",
        len(started) != 4 and f"{len(started)} starts by the next day",
        bool(started[3:]) and started[3] < NOON_TO_MIDNIGHT and f"started at {started[3]:.0f}",
    )


def _noted_starts(crowd: Crowd) -> list[float]:
    """When starts reach the platform of a crowd from now on."""
    started: list[float] = []
    start = crowd.platform.start

    def noting(target: Any, *, full: bool) -> Any:
        started.append(crowd.clock.time)
        return start(target, full=full)

    crowd.platform.start = noting  # type: ignore[method-assign]
    return started


def enough_for_all(core: Core) -> list[str]:
    """Seven starts a day for ten targets: three wait for the next day."""
    crowd = Crowd(10, Minutely(50), replace(KNOWN, max_starts_per_day=7), core=core)
    crowd.run(until=3000.0)
    first = len(crowd.platform.started)
    held = sum(isinstance(crowd.state(target).hold, Blocked) for target in crowd.targets)
    crowd.go_on(until=DAY)
    return says(first != 7 and f"{first} starts", held != 3 and f"{held} held", len(crowd.platform.started) != 10)


def refused_starts_are_no_starts(core: Core) -> list[str]:
    """A start that the platform refused, or that was never sent, does not count for the day."""
    limits = replace(KNOWN, max_starts_per_day=30, max_running=30)
    crowd = Crowd(30, Minutely(5), limits, core=core, policy=replace(POLICY, max_starts_per_day=1))
    outcome = crowd.run(until=3000.0)
    return says(outcome.started != 30 and f"{outcome.started} of 30")


def two_at_a_time(core: Core) -> list[str]:
    """`max_running = 2`: no more run at once, though the platform would let them, and all get their turn."""
    limits = replace(KNOWN, max_running=2)
    crowd = Crowd(12, Minutely(50), limits, core=core)
    outcome = crowd.run(until=6000.0)
    times = starts(outcome)
    at_once = max(sum(time <= other < time + 59 for other in times) for time in times)
    return says(at_once > 2 and f"{at_once} at once", outcome.started != 12 and f"{outcome.started} started")


def a_claim_that_died(core: Core) -> list[str]:
    """An entry leaves when its target's record has another claim, or none, or its timeout is over."""
    listed = Identity(claims=(RunningClaim("a", "t1", at(0), at(3600)),))
    running = State(run=Run("t1", at(0), Situation.RUNNING, at(60), run_id="r"), last_claim_at=at(0))
    another = replace(running, run=Run("t2", at(90), Situation.CLAIMED, at(190)), last_claim_at=at(90))
    unsaved = State(owed=Owed(at(0), at(0)))

    def stays(state: State, time: float) -> bool:
        return bool(core.pace.without_ended(listed, {"a": state}, at(time)).claims)

    return says(
        not stays(running, 3000) and "a run was forgotten",
        stays(running, 3601) and "past its timeout",
        stays(another, 100) and "another claim",
        not stays(unsaved, 3) and "about to be claimed",
        stays(unsaved, 100) and "never claimed",
    )


def nothing_leaks(core: Core) -> list[str]:
    """Workers that die after they took a place, of 30 targets each the first: all are started in time all the same."""
    crowd = Crowd(30, Minutely(50), KNOWN, core=core)
    died = Counter[str]()
    save = crowd.store.save

    def dying(document: Document, body: bytes, wake_at: Any) -> Document:
        if document.key in {target.key for target in crowd.targets} and b'"place"' in body and not died[document.key]:
            died[document.key] += 1
            crowd.at(crowd.clock.time + 20.0, lambda: crowd.engine.reconcile(_of(crowd, document.key), force=True))
            raise DiedError
        return save(document, body, wake_at)

    crowd.store.save = dying  # type: ignore[method-assign]
    outcome = crowd.run()
    return says(outcome.started != 30 and f"{outcome.started} of 30", outcome.took > 60 and f"{outcome.took:.0f} s")


def _of(crowd: Crowd, key: str) -> Any:
    return next(target for target in crowd.targets if target.key == key)
