"""When a schedule comes due: five-field cron in a time zone, daylight saving as Debian's cron has it.

`cronsim` says which minutes of the calendar a cron expression means. What becomes of such a minute on the clocks of a
zone is said here, for each minute on its own, so that it does not matter where a search begins (Debian's cron(8)):

    minute          fixed hours, such as 30 2 * * *     every hour or every few minutes: minute or hour begins with *
    on the clock    due                                 due
    skipped         due when the clocks go on           not due
    repeated        due the first time                  due both times

Times come in and go out as aware UTC.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from shared.targets import Schedule
from shared.times import INSTANT

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, within its months",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT",
}
LONGEST_CRON = 256
"""Characters. Lists of every minute and every day fit; what is longer is a mistake."""

_ONLY_ON_SOME_MACHINES = ("localtime", "posixrules", "Factory", "posix/", "right/")
"""Names among one machine's time zones that are missing, or mean something else, on another."""
FURTHEST = timedelta(days=366 * 50)
"""A search ends here. 29 February on one day of the week comes within 40 years; what is not due by then never is, such
as what is due every few minutes of an hour that clocks skip each year."""


def latest_due(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """The latest schedule time later than `after` and not later than `until`: hours of missed ones are one."""
    latest = None
    since = max(after, _shortly_before(schedule, until) or after)
    for due in takewhile(lambda time: time <= until, _times(schedule, since)):
        latest = due
    return latest


def next_after(schedule: Schedule, after: datetime) -> datetime | None:
    """The first schedule time later than `after`; None if there is none, as where clocks always skip that hour."""
    return next(_times(schedule, after), None)


def expected_cron(cron: str) -> str | None:
    """Say which cron expressions are good; None if this expression is. `cronsim` refuses days that never come."""
    if len(cron.split()) != len(FIELDS) or len(cron) > LONGEST_CRON:
        return f'five fields ({" ".join(FIELDS)}), such as "0 6 * * *"'
    try:
        CronSim(cron, datetime.min.replace(tzinfo=UTC))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        return f"another {field} ({FIELDS[field]})"
    return None


def expected_timezone(name: str) -> str | None:
    """Say which time zones are known; None if this zone is."""
    try:
        if not name.startswith(_ONLY_ON_SOME_MACHINES):
            ZoneInfo(name)
            return None
    except (LookupError, ValueError, OSError):  # unknown; a path or a file of another kind; a folder such as "Europe"
        pass
    return 'an IANA time zone such as "Europe/Berlin"'


def _times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """All schedule times later than `after`, in order."""
    zone = ZoneInfo(schedule.timezone)
    first_wall = _wall(after, zone) - _shift(after, zone)
    walls = takewhile(lambda wall: wall < first_wall + FURTHEST, CronSim(schedule.cron, first_wall))
    for time in _in_order(_instants(schedule.cron, wall, zone) for wall in walls):
        if time > after:
            yield time
            after = time  # several minutes that clocks skip are due at one and the same moment


def _shortly_before(schedule: Schedule, until: datetime) -> datetime | None:
    """A moment from which it is only a few schedule times to `until`, the latest one included.

    Where clocks change nearby, it lies before the hour that they skip or repeat, so that what is due in it is gone
    through in order.
    """
    zone = ZoneInfo(schedule.timezone)
    last_wall = _wall(until, zone) - _shift(until, zone) + INSTANT  # going back, `cronsim` leaves out where it begins
    walls = takewhile(lambda wall: wall > last_wall - FURTHEST, CronSim(schedule.cron, last_wall, reverse=True))
    for wall in walls:
        if instants := _instants(schedule.cron, wall, zone):
            return instants[0] - INSTANT
    return None


def _wall(time: datetime, zone: ZoneInfo) -> datetime:
    """The local time of the zone, written as a time of UTC, in which `cronsim` only counts."""
    return time.astimezone(zone).replace(tzinfo=UTC)


def _shift(time: datetime, zone: ZoneInfo) -> timedelta:
    """By how much the clocks of the zone change around this time; mostly not at all.

    Two days each way are more than any two clocks differ by, so that nothing further away can be out of order.
    """
    offsets = [_wall(near, zone) - near for near in (time + timedelta(days=days) for days in range(-2, 3))]
    return max(offsets) - min(offsets)


def _instants(cron: str, wall: datetime, zone: ZoneInfo) -> tuple[datetime, ...]:
    """When what is due at this minute of the clocks is due: once, twice where they repeat it, or not at all."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return (first,)
    minute, hour, *_ = cron.split()
    at_fixed_hours = not minute.startswith("*") and not hour.startswith("*")
    if first < second:
        return (first,) if at_fixed_hours else (first, second)
    return (_after_gap(wall, zone),) if at_fixed_hours else ()


def _after_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after the minutes that clocks skip."""
    while _wall(wall.replace(tzinfo=zone).astimezone(UTC), zone) != wall:
        wall += timedelta(minutes=1)
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _in_order(instants: Iterable[tuple[datetime, ...]]) -> Iterator[datetime]:
    """The moments in order: what is due the second time in a repeated hour comes after all of the first time."""
    second_time: deque[datetime] = deque()
    for due in instants:
        while due and second_time and second_time[0] < due[0]:
            yield second_time.popleft()
        yield from due[:1]
        second_time.extend(due[1:])
    yield from second_time
