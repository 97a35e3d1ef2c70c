"""How long things take, wait and last: every constant of the machine with its reason, and the arithmetic on them."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from shared.refresh.failure import Failure
from shared.refresh.ports import Capabilities
from shared.refresh.state import Run
from shared.targets import Policy, Schedule
from shared.values import Value

CLOCK_DIFFERENCE = timedelta(seconds=60)
"""Assumed: any two clocks (workers, sources, the platform) differ by at most this."""

START_WINDOW = timedelta(seconds=5)
"""A start is sent within this time of the moment its `claimed_at` was read, or not at all (design, rule 4). So is a
cancel, counted from the read of its record: later it could meet another run."""
POLL_FLOOR, POLL_CEILING = timedelta(seconds=5), timedelta(seconds=60)
"""Fabric answers Retry-After 0 to 60 and budgets 50 polls a minute an identity (throttling article, job scheduler)."""
EARLY_POLL, EARLY_POLL_MOST = timedelta(seconds=30), timedelta(minutes=10)
"""How often a run is polled before the time at which the last ones ended: after as long again as it has run, within
these bounds. So one that fails, or is skipped, at once is noticed soon (`SKIP_KNOWN`), and any within ten minutes."""
LIST_AGAIN = timedelta(seconds=15)
"""How soon to list again for a run that the platform speaks of and does not show yet."""
NOT_FOUND_GRACE = timedelta(minutes=5)
"""A 404 soon after a start is patience (Fabric: apache-airflow-microsoft-fabric-plugin, pull 4); later it is a loss."""
BACKOFF_FIRST, BACKOFF_LAST = timedelta(seconds=30), timedelta(hours=1)
"""How long a target waits after its first failure, and at most: the wait doubles in between. Half a minute
outlasts most passing trouble; an hour is the longest that a mended target goes unnoticed."""
PROBE_FIRST, PROBE_LAST = timedelta(minutes=5), timedelta(hours=1)
"""A blocked target is tried again after as long as it has been blocked, within these bounds."""
SKIP_KNOWN = timedelta(minutes=5)
"""A run that ended later than this after its creation was not skipped. A skip takes 20 ms (public API guide of the
lake views); where its end is not told, it is the time of the poll that shows it: `POLL_CEILING`, a tick and the
clock difference."""
TIMES_APART = timedelta(minutes=5)
"""The end of a run that a platform with skips tells may lie this much before the run was out of the way. Recorded of
Fabric: states that lag the end that they tell later by up to 100 s, starts 0.4 to 5.9 s after the answer (rule 9)."""
CANCEL_AGAIN = timedelta(minutes=5)
"""A run that goes on after its cancel was accepted is cancelled again this long after: Fabric's own end of a run lags
behind by up to 100 s (`TIMES_APART`)."""
UNREAD_MOST = timedelta(hours=1)
"""Polls and look-ups that fail for longer are no passing trouble, but a reason that `status` says: a list that never
ends fails each time. What throttles, or has no capacity, says how long to wait, and is waited for without end."""
THROTTLED_FOR = timedelta(seconds=60)
"""Where a throttled answer names no time: Fabric's quota window (throttling article)."""
NO_CAPACITY_FOR = timedelta(minutes=3)
"""While a capacity is paused, a target tries again this often, however long that lasts. With `SPREAD` and a tick it is
refreshed within five minutes of the resume; a capacity that is paused all night costs twenty calls an hour a target."""
SPREAD = timedelta(seconds=30)
"""Starts held up together are spread over this time."""
PAUSE_CHECK = timedelta(minutes=5)
"""While the whole deployment is paused, a target that would start checks this often whether the pause is over.
Resuming rolls out to all of them."""
WAKES_NAMED = 5
"""Wakes of one target that may be on their way at once: its rhythms (quiet period, minimum interval, poll, schedule,
watch) each need one at most (design, rule 13)."""
WAKE_LATE = timedelta(minutes=15)
"""A wake that is later than this is taken for lost. The longest delay of an SQS message is as long."""
WATCH = timedelta(minutes=5)
"""How often the record of a held target, or of one stale beyond its objective, is written: so its metrics go on."""


class Context(Value, frozen=True):
    """The facts about one target and its platform that the machine needs."""

    key: str
    """The key of the target's record. It decides by how much the target's starts are spread (`SPREAD`)."""
    policy: Policy
    """When to start, and for how long to wait."""
    capabilities: Capabilities
    """The platform's delays, and what its runs cover."""
    schedules: tuple[Schedule, ...] = ()
    """The target's calendar: `decide` makes the record due when it comes."""


def lease(capabilities: Capabilities) -> timedelta:
    """After this long, whatever a claim started is in the platform's list, or was never sent, by anyone's clock."""
    return (
        START_WINDOW + capabilities.call_timeout + capabilities.listing_delay + CLOCK_DIFFERENCE + timedelta(seconds=1)
    )


def settling_time(capabilities: Capabilities) -> timedelta:
    """After this long, what the list does not show is not there."""
    return capabilities.listing_delay + CLOCK_DIFFERENCE


def backoff(tries: int, first: timedelta = BACKOFF_FIRST, last: timedelta = BACKOFF_LAST) -> timedelta:
    """How long to wait after so many failures, doubling: of a target 30 s, 1 min, 2 min ... one hour."""
    return min(last, first * (1 << min(tries - 1, 10)))


def spread(key: str) -> timedelta:
    """A part of `SPREAD` that is always the same for one target."""
    return SPREAD * (zlib.crc32(key.encode()) / 2**32)


def throttled_until(failure: Failure, now: datetime) -> datetime:
    """How long the identity must be silent: what the platform says, at least."""
    return now + (failure.retry_after or THROTTLED_FOR)


def capacity_at(failure: Failure, now: datetime) -> datetime:
    """When to ask again what a paused or used-up capacity refused."""
    return now + (failure.retry_after or NO_CAPACITY_FOR)


def clamp(value: timedelta, least: timedelta, most: timedelta) -> timedelta:
    """`value`, within bounds."""
    return max(least, min(most, value))


def poll_at(run: Run, now: datetime, retry_after: timedelta | None) -> datetime:
    """When to poll: as the platform says, else after a fifth of the time that it has run."""
    wanted = (now - run.claimed_at) / 5 if retry_after is None else retry_after
    return now + clamp(wanted, POLL_FLOOR, POLL_CEILING)


def poll_at_usual_end(run: Run, now: datetime, retry_after: timedelta | None, usual: timedelta) -> datetime:
    """When to poll a run of which the last ones took `usual` at least: seldom before that, then as any other.

        claimed  30 s  1 min   2 min           usual
           |------+-----+-------+--------- ... --+--+--+--   a fifth of the time, or as the platform says

    The platform's Retry-After is waited for in any case.
    """
    ran = now - run.claimed_at
    if ran >= usual:
        return poll_at(run, now, retry_after)
    told = clamp(retry_after or timedelta(0), POLL_FLOOR, POLL_CEILING)
    return now + max(told, min(clamp(ran, EARLY_POLL, EARLY_POLL_MOST), usual - ran))


def probe_at(blocked_since: datetime, now: datetime) -> datetime:
    """A blocked target is tried again after as long as it has been blocked, within bounds."""
    return now + clamp(now - blocked_since, PROBE_FIRST, PROBE_LAST)


def past_timeout(run: Run, context: Context, now: datetime) -> bool:
    """Whether a run has taken longer than its target allows."""
    return now - run.claimed_at > context.policy.timeout
