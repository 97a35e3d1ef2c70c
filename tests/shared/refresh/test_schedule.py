"""Schedules: what comes due when, across daylight saving, and what is no schedule."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import cronsim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.refresh import schedule
from shared.refresh.schedule import latest_due, next_after
from shared.targets import Schedule


def at(text: str) -> datetime:
    """`03-29 01:00` is that time of 2026 in UTC; a year may stand before it."""
    return datetime.fromisoformat(text if text.count("-") > 1 else f"2026-{text}").replace(tzinfo=UTC)


def times(cron: str, timezone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """All times in (after, until], one `next_after` after the other."""
    while (due := next_after(Schedule(cron, timezone), after)) and due <= until:
        yield due
        after = due


# In 2026 Berlin skips 02:00-03:00 on 29 March and repeats 02:00-03:00 on 25 October, both at 01:00 UTC; New York skips
# 02:00-03:00 on 8 March (07:00 UTC) and repeats 01:00-02:00 on 1 November (06:00 UTC). Worked out by hand from that.
DAYLIGHT_SAVING = {
    "in the hour skipped, right after it": (
        ("Europe/Berlin", "30 2 * * *", "03-28 00:00", "03-30 12:00"),
        ["03-28 01:30", "03-29 01:00", "03-30 00:30"],
    ),
    "twice in the hour skipped, once after it": (
        ("Europe/Berlin", "15,45 2 * * *", "03-28 12:00", "03-30 12:00"),
        ["03-29 01:00", "03-30 00:15", "03-30 00:45"],
    ),
    "in the hour skipped and right after it, once": (
        ("Europe/Berlin", "0 2,3 * * *", "03-28 12:00", "03-30 12:00"),
        ["03-29 01:00", "03-30 00:00", "03-30 01:00"],
    ),
    "in the hour repeated, once, the first time": (
        ("Europe/Berlin", "30 2 * * *", "10-24 00:00", "10-26 12:00"),
        ["10-24 00:30", "10-25 00:30", "10-26 01:30"],
    ),
    "after the hour repeated": (
        ("Europe/Berlin", "0 3 * * *", "10-24 00:00", "10-26 12:00"),
        ["10-24 01:00", "10-25 02:00", "10-26 02:00"],
    ),
    "hourly, in real time over the gap": (
        ("Europe/Berlin", "30 * * * *", "03-29 00:00", "03-29 03:00"),
        ["03-29 00:30", "03-29 01:30", "03-29 02:30"],
    ),
    "hourly, in real time over the overlap": (
        ("Europe/Berlin", "30 * * * *", "10-25 00:00", "10-25 03:00"),
        ["10-25 00:30", "10-25 01:30", "10-25 02:30"],
    ),
    "every twenty minutes of the hour skipped, not at all": (
        ("Europe/Berlin", "*/20 2 * * *", "03-28 12:00", "03-30 00:30"),
        ["03-30 00:00", "03-30 00:20"],
    ),
    "every twenty minutes of the hour repeated, both times": (
        ("Europe/Berlin", "*/20 2 * * *", "10-24 12:00", "10-25 12:00"),
        ["10-25 00:00", "10-25 00:20", "10-25 00:40", "10-25 01:00", "10-25 01:20", "10-25 01:40"],
    ),
    "New York, in the hour skipped": (
        ("America/New_York", "30 2 * * *", "03-07 00:00", "03-09 12:00"),
        ["03-07 07:30", "03-08 07:00", "03-09 06:30"],
    ),
    "New York, in the hour repeated": (
        ("America/New_York", "30 1 * * *", "10-31 00:00", "11-02 12:00"),
        ["10-31 05:30", "11-01 05:30", "11-02 06:30"],
    ),
    "New York, hourly over the overlap": (
        ("America/New_York", "0 * * * *", "11-01 04:00", "11-01 08:00"),
        ["11-01 05:00", "11-01 06:00", "11-01 07:00", "11-01 08:00"],
    ),
    "no daylight saving": (
        ("Asia/Kolkata", "30 0 * * MON-WED", "01-04 00:00", "01-07 00:00"),
        ["01-04 19:00", "01-05 19:00", "01-06 19:00"],
    ),
}


@pytest.mark.parametrize("case", DAYLIGHT_SAVING)
def test_daylight_saving_is_as_in_debians_cron(case: str) -> None:
    """Fixed hours come due once, right after a gap; what runs every hour or every few minutes follows real time."""
    (timezone, cron, after, until), expected = DAYLIGHT_SAVING[case]
    assert [f"{time:%m-%d %H:%M}" for time in times(cron, timezone, at(after), at(until))] == expected


@pytest.mark.parametrize("case", DAYLIGHT_SAVING)
def test_the_latest_and_the_next_are_found_from_every_minute(case: str) -> None:
    """Whenever one looks, within a gap or either pass of an overlap too: the latest before and the next after."""
    (timezone, cron, after, _), listed = DAYLIGHT_SAVING[case]
    look = at(after)
    while look < at(listed[-1]):
        past = [time for time in map(at, listed) if time <= look]
        assert latest_due(Schedule(cron, timezone), at(after), look) == (past[-1] if past else None), look
        assert next_after(Schedule(cron, timezone), look) == at(listed[len(past)]), look
        look += timedelta(minutes=10)


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [
        ("03-01 05:59", "03-01 06:00", "03-01 06:00"),
        ("03-01 06:00", "03-01 06:00", None),
        ("03-01 06:00", "03-02 05:59:59.999999", None),
        ("03-01 06:00", "03-02 06:00", "03-02 06:00"),
        ("03-01 05:59:59.999999", "03-01 06:00:00.000001", "03-01 06:00"),
        ("03-01 06:00:00.000001", "03-01 12:00", None),
        ("03-02 06:00", "03-01 06:00", None),
        ("01-01 00:00", "12-31 05:00", "12-30 06:00"),
    ],
)
def test_the_interval_is_open_at_its_start_and_closed_at_its_end(after: str, until: str, expected: str | None) -> None:
    """A time counts if it is later than the first and not later than the second; of many, the latest."""
    assert latest_due(Schedule("0 6 * * *"), at(after), at(until)) == (at(expected) if expected else None)


@pytest.mark.parametrize("before", [timedelta(microseconds=1), timedelta(milliseconds=300), timedelta(seconds=1)])
def test_just_before_the_next_time_the_latest_is_the_one_before(before: timedelta) -> None:
    """Also within the last second: what is to come is not due, and hides nothing that is."""
    look = at("2026-01-05 12:00") - before
    assert latest_due(Schedule("* * * * *"), at("2026-01-05 11:55"), look) == at("2026-01-05 11:59")


def test_times_are_aware_utc() -> None:
    """What comes out can be stored and compared as it is."""
    daily = Schedule("0 6 * * *", "America/New_York")
    due = latest_due(daily, at("03-01 00:00"), at("03-05 00:00"))
    following = next_after(daily, at("03-05 00:00"))
    assert due is not None
    assert following is not None
    assert (due.tzinfo, following.tzinfo) == (UTC, UTC)


@pytest.mark.parametrize("cron", ["* * * * *", "*/7 * * * *", "0,20,40 0-23 * * *", "30 2 * * *", "0 0 29 2 *"])
@pytest.mark.parametrize("until", ["2026-10-25 00:59", "2026-10-25 01:59", "2026-03-29 01:00", "2026-07-01 00:00"])
def test_years_cost_no_more_than_minutes(cron: str, until: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nobody looked, a handful of schedule times are gone through, and not all that were missed.

    Where clocks change within two days, those of three hours.
    """
    steps = 0

    class Counted(cronsim.CronSim):
        def __next__(self) -> datetime:
            nonlocal steps
            steps += 1
            return super().__next__()

    monkeypatch.setattr(schedule, "CronSim", Counted)
    assert latest_due(Schedule(cron, "Europe/Berlin"), at("2016-01-01 00:00"), at(until)) is not None
    assert steps < (20 if until.startswith("2026-07") else 185)


def test_what_clocks_skip_each_time_is_never_due() -> None:
    """The search for it ends, both ways: each year Berlin skips this hour on the last Sunday of March."""
    never = Schedule("*/30 2 * 3 0L", "Europe/Berlin")
    assert next_after(never, at("01-01 00:00")) is None
    assert latest_due(never, at("2025-01-01 00:00"), at("12-31 00:00")) is None
    assert latest_due(never, at("2039-01-01 00:00"), at("2040-12-31 00:00")) is None  # none since 1980 either


# --- Every zone in which clocks change -------------------------------------------------------------------------------

WINDOW_MINUTES = 25 * 60
"""On both sides of a change: more than a day, so that daily schedules come due before and after it."""
SHAPES = [
    *("* * * * *", "*/7 * * * *", "0 */2 * * *", "* */5 * * *", "30 * * * *", "*/20 2 * * *"),
    *("30 2 * * *", "0,15,45 0-3 * * *", "0 0 * * *", "5 1-4/2 * * 0-6", "59 23 * * *", "0 3,4 1-31/1 * *"),
]
EVERY_ZONE = os.environ.get("UNSTALE_TEST_EVERY_ZONE") == "1"
"""All zones take minutes. By default each test takes one, and one of those that showed faults."""
ODD_ZONES = {"Pacific/Chatham", "Australia/Lord_Howe", "America/Nuuk", "Antarctica/Troll", "Africa/Casablanca"}


def offset(zone: str, time: datetime) -> timedelta:
    """What the clocks of the zone show, less UTC."""
    found = time.astimezone(ZoneInfo(zone)).utcoffset()
    assert found is not None
    return found


def changes(zone: str) -> list[datetime]:
    """When the clocks of a zone change in the next three years, to the minute."""
    day, found = datetime(2026, 1, 1, tzinfo=UTC), []
    for early in (day + timedelta(days=n) for n in range(3 * 366)):
        low, high = early, early + timedelta(days=1)
        if offset(zone, low) == offset(zone, high):
            continue
        while high - low > timedelta(minutes=1):
            middle = low + (high - low) // timedelta(minutes=2) * timedelta(minutes=1)
            low, high = (middle, high) if offset(zone, middle) == offset(zone, low) else (low, middle)
        found.append(high)
    return found


class Minute(NamedTuple):
    """One minute of real time: what the clocks show, what they skipped just before, whether they showed it before."""

    time: datetime
    wall: datetime
    skipped: list[datetime]
    repeated: bool


def minutes_around(change: datetime, zone: str) -> list[Minute]:
    """Each minute of the window, by looking at the clocks."""
    walls = [
        (time, time + offset(zone, time))
        for time in (change + timedelta(minutes=n) for n in range(-WINDOW_MINUTES, WINDOW_MINUTES + 1))
    ]
    shown: set[datetime] = set()
    found = []
    for (_, before), (time, wall) in pairwise(walls):
        shown.add(before)
        skipped = [before + timedelta(minutes=n) for n in range(1, (wall - before) // timedelta(minutes=1))]
        found.append(Minute(time, wall, skipped, wall in shown))
    return found


def due_by_the_minute(cron: str, minutes: list[Minute]) -> list[datetime]:
    """What comes due, minute by minute, as cron(8) has it; fixed hours are all but those with a star in front."""
    fields = tuple(cron.split())
    if fields[0].startswith("*") or fields[1].startswith("*"):
        return [minute.time for minute in minutes if matches(fields, minute.wall)]
    return [
        minute.time
        for minute in minutes
        if any(matches(fields, wall) for wall in minute.skipped)
        or (not minute.repeated and matches(fields, minute.wall))
    ]


ZONES_THAT_CHANGE = sorted(zone for zone in available_timezones() if not schedule.expected_timezone(zone))


@pytest.mark.parametrize("part", range(6))
def test_a_schedule_has_the_same_times_wherever_the_search_begins(part: int) -> None:
    """In each zone, around each change of its clocks, by twelve shapes of cron: the latest and the next from anywhere.

    What is right is told minute by minute, without `cronsim`. Zones that are one and the same by now are tried once.
    """
    tried: set[tuple[datetime, timedelta, timedelta]] = set()
    zones = ZONES_THAT_CHANGE[part::6]
    for zone in zones if EVERY_ZONE else [*sorted(ODD_ZONES)[part : part + 1], zones[len(zones) * part // 6]]:
        for change in changes(zone):
            shift = (change, offset(zone, change - timedelta(minutes=1)), offset(zone, change))
            if shift in tried or (not EVERY_ZONE and len(tried) == 2):
                continue
            tried.add(shift)
            minutes = minutes_around(change, zone)
            for cron in SHAPES:
                _compare(Schedule(cron, zone), change, due_by_the_minute(cron, minutes))


def _compare(written: Schedule, change: datetime, listed: list[datetime]) -> None:
    begin, end = (change + timedelta(minutes=minutes) for minutes in (-WINDOW_MINUTES, WINDOW_MINUTES))
    found = takewhile(lambda time: time <= end, schedule._times(written, begin))
    assert list(found) == listed, (written, change)
    for minutes in (-1, 1, *range(-90, 91, 30)):
        look = change + timedelta(minutes=minutes)
        past = [time for time in listed if time <= look]
        assert latest_due(written, begin, look) == (past[-1] if past else None), (written, look)
        coming = next_after(written, look)
        assert coming == listed[len(past)] if len(past) < len(listed) else coming is None or coming > end


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "30", "*/20", "0,59", "10-12"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/6", "23"]),
    st.sampled_from(["*", "*", "1", "29", "*/2", "25-31"]),
    st.sampled_from(["*", "*", "3", "10-12"]),
    st.sampled_from(["*", "*", "0", "1-5", "*/3"]),
)
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Africa/Cairo", "Pacific/Apia"]
)


@given(FIELDS, ZONES, st.integers(0, 500_000), st.integers(0, 3_000), st.integers(0, 61))
def test_the_latest_is_the_last_of_all(
    fields: tuple[str, ...], timezone: str, start: int, minutes: int, seconds: int
) -> None:
    """Going back for the latest time gives what going forward through all of them gives, in any zone."""
    after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    until = after + timedelta(minutes=minutes, seconds=seconds)
    cron = " ".join(fields)
    expected = max(times(cron, timezone, after, until), default=None)
    assert latest_due(Schedule(cron, timezone), after, until) == expected


def in_field(field: str, value: int, first: int, last: int) -> bool:
    """Whether one field of a cron expression has this value: lists, ranges and steps, as crontab(5) has them."""
    for term in field.split(","):
        span, _, step = term.partition("/")
        low, _, high = span.partition("-") if span != "*" else (str(first), "-", str(last))
        if int(low) <= value <= int(high or low) and (value - int(low)) % int(step or 1) == 0:
            return True
    return False


def matches(fields: tuple[str, ...], time: datetime) -> bool:
    """Whether this minute is one of the schedule: a day by its number or its name, both where either has a star."""
    minute, hour, day, month, weekday = fields
    days = in_field(day, time.day, 1, 31), in_field(weekday, time.isoweekday() % 7, 0, 6)
    return (
        in_field(minute, time.minute, 0, 59)
        and in_field(hour, time.hour, 0, 23)
        and in_field(month, time.month, 1, 12)
        and (all(days) if day.startswith("*") or weekday.startswith("*") else any(days))
    )


@given(FIELDS, st.integers(0, 500_000), st.integers(0, 2_000))
def test_in_utc_each_minute_is_judged_by_its_fields(fields: tuple[str, ...], start: int, minutes: int) -> None:
    """What comes due is what a plain reading of the five fields says, minute by minute."""
    after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    until = after + timedelta(minutes=minutes)
    plain = [time for n in range(1, minutes + 1) if matches(fields, time := after + timedelta(minutes=n))]
    assert list(times(" ".join(fields), "UTC", after, until)) == plain


def fault_of(written: Schedule) -> str | None:
    """What a person is told of a schedule; None if it is good."""
    for found, expected in (
        (written.cron, schedule.expected_cron(written.cron)),
        (written.timezone, schedule.expected_timezone(written.timezone)),
    ):
        if expected:
            return f"found {found!r}, expected {expected}"
    return None


def test_what_is_wrong_is_said_in_words() -> None:
    """The words name what was found, and what to write instead."""
    assert fault_of(Schedule("0 6 * * *", "Europe/Berlin")) is None
    assert fault_of(Schedule("0 25 * * *")) == "found '0 25 * * *', expected another hour (0-23)"
    assert (
        fault_of(Schedule("0 6 * * *", "Mars")) == "found 'Mars', expected an IANA time zone such as \"Europe/Berlin\""
    )


@given(st.text("*/-,0123456789 LWMONJAN#?", max_size=20) | st.text(max_size=300), st.text(max_size=40))
def test_whatever_is_written_is_judged(cron: str, timezone: str) -> None:
    """Any text is a schedule that comes due, or told to be none; it never breaks what reads it."""
    for written in (Schedule(cron, timezone), Schedule(cron)):
        if fault_of(written) is None:
            due = next_after(written, at("01-01 00:00"))
            assert due
            assert due > at("01-01 00:00")


def test_only_zones_that_every_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies among the zones of some machines only is refused, though this one may have it."""

    def any_zone(name: str) -> Any:
        return name

    monkeypatch.setattr(schedule, "ZoneInfo", any_zone)
    for name in ("localtime", "posixrules", "Factory", "posix/UTC", "right/UTC"):
        assert schedule.expected_timezone(name), name
    assert schedule.expected_timezone("UTC") is None


@pytest.mark.parametrize(("length", "good"), [(256, True), (257, False)])
def test_a_cron_expression_has_an_end(length: int, good: bool) -> None:
    """An expression of 256 characters is long enough for any list; more is refused, unread."""
    cron = "0".rjust(length - len(" 0 * * *"), "0") + " 0 * * *"
    assert (schedule.expected_cron(cron) is None) is good


def test_what_a_schedule_must_be_is_said_in_words() -> None:
    """With the names of the fields, and one that is good."""
    fields = "minute hour day-of-month month day-of-week"
    assert schedule.expected_cron("* * *") == f'five fields ({fields}), such as "0 6 * * *"'
    assert schedule.expected_cron("99 6 * * *") == "another minute (0-59)"
    assert schedule.expected_timezone("Mars/Olympus") == 'an IANA time zone such as "Europe/Berlin"'
