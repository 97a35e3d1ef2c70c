"""What the page costs a browser: the file's size, and the script and layout time until it is there.

Chromium counts both itself (the DevTools protocol's `Performance.getMetrics`). There is no limit to the times, since
machines differ; what is limited is how they grow with the history.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.cli.errors import UsageError
from local.page.document import chart_bundle, document, values_of
from tests.bench.parts import Measured, Row, Skipped
from tests.support.core import NOON
from tests.support.pages import many

TARGETS = 100
MOST_BYTES = 4_000_000
"""Of a page with 100 targets and 10,000 runs."""
MOST_GROWTH = 12.0
"""Times the script and layout time of 1,000 runs that ten times as many may take."""
TRIES = 3
"""Loads of each page; the quickest counts, since whatever else runs only adds to it."""


def measure() -> Iterator[Row]:
    """A page of 1,000 runs and one of 10,000; skipped where the browser or the library is missing."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        bundle = chart_bundle()
    except UsageError as missing:
        yield Skipped("what the page costs a browser", str(missing))
        return
    if chromium is None:
        yield Skipped("what the page costs a browser", "no Chromium here")
        return
    small, large = (document(values_of(many(TARGETS, runs), [], NOON), bundle) for runs in (10, 100))
    yield Measured("the file of 100 targets and 10,000 runs", len(large.encode()), "bytes", MOST_BYTES)
    seconds = [_seconds_of(chromium, page) for page in (small, large)]
    yield Measured("script and layout, 1,000 runs", seconds[0] * 1000, "ms")
    yield Measured("script and layout, 10,000 runs", seconds[1] * 1000, "ms")
    yield Measured("ten times the runs take so many times as long", seconds[1] / seconds[0], "times", MOST_GROWTH)


def _seconds_of(chromium: str, page: str) -> float:
    """Script and layout time of a page, with one target opened."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = min(_once(browser, file.as_uri()) for _ in range(TRIES))
        browser.close()
    return found


def _once(browser: Any, address: str) -> float:
    """Load the page in a new tab, open the first target, and ask the browser what that took."""
    tab = browser.new_page()
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable")
    tab.goto(address)
    tab.locator("details summary").first.click()
    tab.locator("details svg").nth(1).wait_for()
    counted = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    tab.close()
    return float(counted["ScriptDuration"] + counted["LayoutDuration"] + counted["RecalcStyleDuration"])
