"""When a schedule comes due: five-field cron in a time zone, by `cronsim`, daylight saving as Debian's cron has it.

A job at fixed hours that falls into the hour that clocks skip comes due right after it, and in the hour that they
repeat it comes due once; a job of every hour or every few minutes follows real time (Debian's cron(8)). Times come in
and go out as aware UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import dropwhile, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from shared.model import Schedule

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
"""What lies among the time zones of one machine, and is missing or means something else on another."""
_INSTANT = timedelta(microseconds=1)


def latest_due(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """The latest schedule time later than `after` and not later than `until`: hours of missed ones are one."""
    latest = None
    since = max(after, _shortly_before(schedule, until) or after)
    for due in takewhile(lambda time: time <= until, _times(schedule, since)):
        latest = due
    return latest


def next_after(schedule: Schedule, after: datetime) -> datetime:
    """The first schedule time later than `after`; there is one for any schedule in which `check` finds no fault."""
    return next(_times(schedule, after))


def check(schedule: Schedule) -> str | None:
    """What is wrong with a schedule, in words; None if nothing is."""
    for found, expected in (
        (schedule.cron, expected_cron(schedule.cron)),
        (schedule.timezone, expected_timezone(schedule.timezone)),
    ):
        if expected:
            return f"found {found!r}, expected {expected}"
    return None


def expected_cron(cron: str) -> str | None:
    """What is expected instead of this cron expression; None if it is good. `cronsim` refuses days that never come."""
    if len(cron.split()) != len(FIELDS) or len(cron) > LONGEST_CRON:
        return f'five fields ({" ".join(FIELDS)}), such as "0 6 * * *"'
    try:
        CronSim(cron, datetime.min.replace(tzinfo=UTC))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        return f"another {field} ({FIELDS[field]})"
    return None


def expected_timezone(name: str) -> str | None:
    """What is expected instead of this time zone; None if it is known."""
    try:
        if not name.startswith(_ONLY_ON_SOME_MACHINES):
            ZoneInfo(name)
            return None
    except (LookupError, ValueError, OSError):  # unknown; a path or a file of another kind; a folder such as "Europe"
        pass
    return 'an IANA time zone such as "Europe/Berlin"'


def _times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """All schedule times later than `after`, in order.

    Started within a repeated hour, `cronsim` begins with that hour's first pass, which is over: hence the comparison.
    """
    local = CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone)))
    return dropwhile(lambda due: due <= after, (time.astimezone(UTC) for time in local))


def _shortly_before(schedule: Schedule, until: datetime) -> datetime | None:
    """A moment from which it is only a few schedule times to `until`, the latest one included.

    `cronsim` going back may pass over a time within an hour that clocks skip or repeat, so it tells where to start
    going forward, and no more.
    """
    back = CronSim(schedule.cron, until.astimezone(ZoneInfo(schedule.timezone)), reverse=True)
    return next((time.astimezone(UTC) - _INSTANT for time in back if time <= until), None)
