"""Pace: when a target may call the platform that it shares an identity for (design, section 4.1).

A platform counts the calls of an identity, whichever target they are about. So who is ready takes a number, once, and
the identity's record says when each number is served:

    number     40        41        42        43       next
                |---------|---------|---------|         .          one each 1 / rate
                ^ served now                            .
    refused:    40 . . . . silence . . . . 40 ---- 41 ---- 42      the refused one is served when the silence ends,
                                                                   and all those behind it follow a little more slowly

Nothing is held, so nothing can leak: a number for which nobody comes is a moment that passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta

from msgspec.structs import replace

from shared.refresh.identity import Call, Day, Identity, Place, Queue, RunningClaim
from shared.refresh.state import Blocked, Run, State
from shared.refresh.timing import CLOCK_DIFFERENCE, START_WINDOW
from shared.targets import Limits

FIRST_SHARE = 0.94
"""Share of the configured limit at which a queue begins: wakes are late by seconds, and must not add up beyond it."""
UNKNOWN_FIRST = 47 / 60
"""Calls a second at which a queue begins where no limit is configured: what Fabric's published one would begin with."""
SLOWEST = 1 / 120
"""Calls a second below which refusals lower no rate: one in two minutes, so that what a limit lets through is found."""
LOWER_KNOWN, LOWER_UNKNOWN = 1 - 1 / 20, 1 - 1 / 10
"""Factor of the rate after a refusal, where a limit is configured and where none is."""
RAISE_KNOWN, RAISE_UNKNOWN = 1 + 1 / 50, 1 + 1 / 25
"""Factor of the rate after a minute without refusal, likewise. Two raises make up for one refusal."""
MINUTE = timedelta(minutes=1)
"""A rate falls at most once in, and rises once after, this time: the window in which Fabric counts."""
PLACE_KEPT = timedelta(seconds=75)
"""How long after its time a place is good: a tick of a minute, and a worker's start, late."""
FAR = timedelta(minutes=15)
"""A place that is further away is looked at halfway. The longest delay of an SQS message is as long."""
FULL_WAIT = timedelta(seconds=15)
"""How long an identity starts nothing whose `max_running` runs go on: what is found by asking again, not told."""


# --- One queue -------------------------------------------------------------------------------------------------------


def bring_up_to_date(queue: Queue | None, limit: int | None, now: datetime) -> Queue:
    """A queue as it stands now: begun, within what is configured, and raised for each minute without refusal.

    Raises follow from the record and the time alone. So every worker sees the same queue, and none need be written.
    """
    if queue is None:
        return Queue(now, FIRST_SHARE * limit / 60 if limit else UNKNOWN_FIRST, quiet_since=now)
    most = _most(limit)
    if queue.rate > most:
        queue = replace(_reckoned_from(queue, now), rate=most)
    factor = RAISE_KNOWN if limit else RAISE_UNKNOWN
    while queue.rate < most and queue.quiet_since + MINUTE <= min(now, _busy_until(queue)):
        raise_at = queue.quiet_since + MINUTE
        rate = min(most, queue.rate * factor)
        queue = replace(_reckoned_from(queue, raise_at), rate=rate, quiet_since=raise_at)
    return queue


def time_of(queue: Queue, number: int) -> datetime:
    """When a number is served."""
    at = queue.serves_at + timedelta(seconds=(number - queue.serves) / queue.rate)
    return max(at, queue.silent_until) if queue.silent_until else at


def take_number(queue: Queue, now: datetime) -> tuple[Queue, int]:
    """Take the next number of a queue; an empty queue serves it at once, since numbers that nobody took have passed."""
    number = queue.next_number
    if time_of(queue, number) <= now:
        number = max(number, math.ceil(_number_served(queue, now)))
        queue = replace(queue, serves=number, serves_at=now, quiet_since=now)
    return replace(queue, next_number=number + 1), number


def is_stale(queue: Queue, number: int, now: datetime) -> bool:
    """Whether a place passed so long ago that it is taken anew."""
    return now - time_of(queue, number) > PLACE_KEPT


def is_good(queue: Queue, number: int, now: datetime) -> bool:
    """Whether a place is one of this queue that has not passed.

    A number that the queue never gave is of another one: the configuration gave the target another identity meanwhile.
    """
    return number < queue.next_number and not is_stale(queue, number, now)


def reconcile_at(queue: Queue, number: int, limit: int | None, now: datetime) -> datetime:
    """When to reconcile a target that waits for its place.

    At its time; halfway, if that is far. No later than a minute after the soonest that raises can bring the place
    about: who came later would find that it had passed.
    """
    at = time_of(queue, number)
    if at - now > FAR:
        return now + (at - now) / 2
    return min(at, now + _soonest(queue, at - now, limit) + MINUTE)


def _soonest(queue: Queue, wait: timedelta, limit: int | None) -> timedelta:
    """How soon a queue gets through what takes it `wait` at today's rate, if each minute raises that rate."""
    growth = (RAISE_KNOWN if limit else RAISE_UNKNOWN) - 1
    minutes = wait / MINUTE
    return max(math.log1p(growth * minutes) / growth, minutes * queue.rate / _most(limit)) * MINUTE


def refuse(
    queue: Queue, number: int | None, until: datetime, limit: int | None, now: datetime, *, lowers: bool = True
) -> Queue:
    """Slow a queue down after the platform refused a call, at most once a minute, and silence it until then.

    `lowers` is for a refusal by the platform; a cap of ours that is full says nothing of the platform's rate.

    The refused number is the one that is served when the silence ends; of several that were on their way together, the
    first. A call that did not wait for its place, or had none, puts the queue off where it is.
    """
    first = min(queue.next_number, max(queue.serves, math.ceil(_number_served(queue, now))))
    if number is not None:
        first = min(first, number)
    if queue.silent_until and queue.silent_until > now:
        first, until = min(first, queue.serves), max(until, queue.silent_until)
    queue = replace(queue, serves=first, serves_at=until, silent_until=until, quiet_since=until)
    if not lowers or (queue.lowered_at and now - queue.lowered_at < MINUTE):
        return queue
    rate = max(SLOWEST, queue.rate * (LOWER_KNOWN if limit else LOWER_UNKNOWN))
    return replace(queue, rate=rate, lowered_at=now)


def _most(limit: int | None) -> float:
    """Numbers a second beyond which nothing raises the rate."""
    return limit / 60 if limit else math.inf


def _number_served(queue: Queue, now: datetime) -> float:
    """How far the queue is: the number whose time is now, with a fraction."""
    return queue.serves + (now - queue.serves_at).total_seconds() * queue.rate


def _busy_until(queue: Queue) -> datetime:
    """When the last number that was taken is served."""
    return time_of(queue, queue.next_number - 1)


def _reckoned_from(queue: Queue, at: datetime) -> Queue:
    """The same queue, reckoned from the number that is served last before `at`: a new rate moves only those to come."""
    number = math.floor(_number_served(queue, at))
    if number <= queue.serves:
        return queue
    return replace(queue, serves=number, serves_at=time_of(queue, number))


# --- An identity -----------------------------------------------------------------------------------------------------


def may_call_at(identity: Identity, place: Place | None, call: Call, limits: Limits, now: datetime) -> datetime | None:
    """When a target may make a call, as far as its identity is concerned. None: it must take a place first."""
    if call is Call.POLL and identity.polls is None and not limits.polls_per_minute:
        return now  # nobody knows of a limit, and none was met
    queue = queue_of(identity, call, limits, now)
    if place is None or place.call is not call or not is_good(queue, place.number, now):
        return None
    return time_of(queue, place.number)


def queue_of(identity: Identity, call: Call, limits: Limits, now: datetime) -> Queue:
    """The queue of one kind of call, as it stands now."""
    if call is Call.START:
        return bring_up_to_date(identity.starts, limits.starts_per_minute, now)
    return bring_up_to_date(identity.polls, limits.polls_per_minute, now)


def silent_until(identity: Identity, call: Call) -> datetime | None:
    """Until when the platform asked an identity for no more calls of this kind."""
    queue = identity.starts if call is Call.START else identity.polls
    return queue.silent_until if queue else None


def take_place(identity: Identity, call: Call, limits: Limits, now: datetime) -> tuple[Identity, Place]:
    """An identity that gave out one more place, and the place."""
    queue, number = take_number(queue_of(identity, call, limits, now), now)
    return _with_queue(identity, call, queue), Place(call, number)


def refuse_call(
    identity: Identity,
    call: Call,
    place: Place | None,
    *,
    until: datetime,
    limits: Limits,
    now: datetime,
    lowers: bool = True,
) -> Identity:
    """An identity of which a call was refused; the other kind of call goes on. `lowers`: see `refuse`."""
    number = place.number if place and place.call is call else None
    queue = queue_of(identity, call, limits, now)
    return _with_queue(identity, call, refuse(queue, number, until, _limit(call, limits), now, lowers=lowers))


def wait_until(identity: Identity, place: Place, limits: Limits, now: datetime) -> datetime:
    """When to reconcile a target that waits for its place in a queue of its identity."""
    return reconcile_at(queue_of(identity, place.call, limits, now), place.number, _limit(place.call, limits), now)


def _limit(call: Call, limits: Limits) -> int | None:
    return limits.starts_per_minute if call is Call.START else limits.polls_per_minute


def _with_queue(identity: Identity, call: Call, queue: Queue) -> Identity:
    return replace(identity, starts=queue) if call is Call.START else replace(identity, polls=queue)


# --- Starts on a day -------------------------------------------------------------------------------------------------


def starts_on(day: Day | None, now: datetime) -> int:
    """How many starts were counted on the day of UTC that it is now."""
    return day.starts if day and day.day == now.date() else 0


def count_start(day: Day | None, now: datetime) -> Day:
    """The count with one start more; the first of a day begins it anew."""
    return Day(now.date(), starts_on(day, now) + 1)


def uncount_start(day: Day | None, counted_at: datetime) -> Day | None:
    """The count without a start that was counted at that time and never came to be."""
    return replace(day, starts=starts_on(day, counted_at) - 1) if day and starts_on(day, counted_at) else day


def day_over(now: datetime) -> datetime:
    """The next 00:00 UTC."""
    return datetime.combine(now.date() + timedelta(days=1), time(), tzinfo=UTC)


def cap_reached(state: State, most: int | None, identity: Identity, limits: Limits, now: datetime) -> str:
    """Why a target starts no more today: its own `max_starts_per_day`, or the deployment's; empty while it may."""
    if most is not None and starts_on(state.today, now) >= most:
        return f"it was started {most} times today (UTC), its max_starts_per_day"
    most = limits.max_starts_per_day
    if most is not None and starts_on(identity.today, now) >= most:
        return f"all targets together were started {most} times today (UTC), [deployment] max_starts_per_day"
    return ""


def lift_cap(state: State, now: datetime) -> State:
    """The state without a block by a cap, once the day is over, or nothing is owed any more."""
    hold = state.hold
    is_over = isinstance(hold, Blocked) and hold.capped and (state.owed is None or now >= hold.probe_at)
    return replace(state, hold=None) if is_over else state


# --- Runs at once ----------------------------------------------------------------------------------------------------


def is_full(identity: Identity, limits: Limits) -> bool:
    """Whether as many runs may be going on as `max_running` allows."""
    return limits.max_running is not None and len(identity.claims) >= limits.max_running


def admit(identity: Identity, claim: RunningClaim, limits: Limits) -> Identity:
    """An identity that counts one start more: for the day, and among what runs, as far as either is capped."""
    if limits.max_starts_per_day is not None:
        identity = replace(identity, today=count_start(identity.today, claim.claimed_at))
    if limits.max_running is None:
        return replace(identity, claims=())
    others = (one for one in identity.claims if one.key != claim.key)
    return replace(identity, claims=(*others, claim))


def give_back(identity: Identity, run: Run) -> Identity:
    """An identity of which a start that was counted came to nothing: unsent, or refused."""
    claims = tuple(claim for claim in identity.claims if claim.token != run.token)
    return replace(identity, claims=claims, today=uncount_start(identity.today, run.claimed_at))


def without_ended(identity: Identity, states: Mapping[str, State], now: datetime) -> Identity:
    """An identity without the entries of what does not run any more, by the records of the targets.

    An entry leaves when its target's record has another claim, or none, or when the target's timeout is over.
    """
    claims = tuple(claim for claim in identity.claims if _may_run(claim, states.get(claim.key), now))
    return replace(identity, claims=claims)


def _may_run(claim: RunningClaim, state: State | None, now: datetime) -> bool:
    """Whether a claim may stand for a run.

    The entry is written first, then the claim into the target's record, then the start is sent:

        entry -- claim saved -- start sent        no later than START_WINDOW after the entry, or it is given back
    """
    if state is None or now >= claim.ends_by:
        return False
    if state.run and state.run.token == claim.token:
        return True
    is_new = now - claim.claimed_at <= START_WINDOW + CLOCK_DIFFERENCE
    return is_new and (state.last_claim_at is None or state.last_claim_at < claim.claimed_at)
