"""Listings in pages: how all pages of a list of runs become one answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Generic, TypeVar

from shared.platforms.failures import (
    TRANSIENT,
)
from shared.refresh.failure import Failure
from shared.refresh.ports import Phase, Report
from shared.values import Value

PAGE_LIMIT = 10
"""Pages of one listing. More is a platform that pages in circles, or a history that no function can read in time."""


_Request = TypeVar("_Request")


class Page(Value, Generic[_Request], frozen=True):
    """A page of a listing, and what asks for the next page; None after the last.

    `created`: when each of its runs was created, in the order of the page, those that nobody needs included.
    """

    reports: tuple[Report, ...]
    following: _Request | None = None
    created: tuple[datetime | None, ...] = ()


FALLING_LEAST = 10
"""Runs that must be listed newest first before a list counts as ordered so: by chance one list in 3.6 million is."""


def gather(
    first: _Request, ask: Callable[[_Request], Page[_Request] | Failure], since: datetime | None = None
) -> tuple[Report, ...] | Failure:
    """All pages that matter, or the first trouble: half a listing must not be taken for "none".

    Where `since` is given, reading ends early at a page that reaches back beyond it, if all runs of it and of the pages
    before were listed newest first; else a long history would make every look-up fail.
    """
    reports: list[Report] = []
    created: list[datetime | None] = []
    request = first
    for number in range(PAGE_LIMIT):
        page = ask(request)
        if isinstance(page, Failure):
            return page
        reports += page.reports
        created += page.created
        if page.following is None or (since and number and _falls_below(created, since)):
            return tuple(reports)
        request = page.following
    return TRANSIENT.failure("EndlessListing", f"the list of runs did not end after {PAGE_LIMIT} pages")


def _falls_below(created: Sequence[datetime | None], since: datetime) -> bool:
    times = [time for time in created if time]
    falls = all(earlier > later for earlier, later in pairwise(times))
    return len(created) == len(times) >= FALLING_LEAST and falls and times[-1] < since


def concerns(report: Report, since: datetime) -> bool:
    """Whether a look-up needs this run: it may be going on, or was created or ended at `since` or later.

    Ended ones count by their end as well: a run that began long before ours may be what ours was skipped for.
    """
    if report.phase in (Phase.ACTIVE, Phase.UNKNOWN) or report.created_at is None:
        return True
    return max(report.created_at, report.ended_at or report.created_at) >= since
