"""The page in a real browser, from the disk and from loopback: what a person reads agrees with the records.

Chromium is Debian's (`.ci/run` installs it); Playwright only drives it. Screenshots of three sizes go where
`UNSTALE_SCREENSHOTS` says, to be looked at, and nowhere without it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cli import page as command
from local.page.document import document, values_of
from shared.refresh.state import Outcome, Owed, Paused, State
from tests.support.core import NOON, at
from tests.support.pages import drawn, line, many
from tests.support.waiting import PATIENCE_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"phone": (360, 740), "desk": (1280, 900), "wall": (2000, 1100)}
PATIENCE = 1000 * PATIENCE_SECONDS
"""In milliseconds, as Playwright has it."""
NOW = 20_000.0
"""Seconds after noon at which these pages are written."""


@pytest.fixture(name="bundle", scope="module")
def charts() -> str:
    """The library for charts, as the page carries it."""
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    bundle: str = vl_convert.javascript_bundle()
    return bundle


@pytest.fixture(name="browser", scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests here."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(name="tab")
def watched_tab(browser: Any) -> Iterator[Any]:
    """A page of the browser that may say nothing on its console, and ask nobody but where it came from."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(PATIENCE)
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.asked = asked
    yield tab
    tab.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "http://127.0.0.1"))] == []


def pictures() -> list[Any]:
    """Three targets: one late, one held, one fresh with a failure, two successes and somebody else's run."""
    fresh = drawn(
        line(100, 130, 170, Outcome.FAILED, error="executor lost", run_id="jr_1", reasons=("landing/a.parquet",)),
        line(100, 200, 240, run_id="jr_2", reasons=("landing/a.parquet",), dpu_seconds=3600.0),
        line(None, 5000, 5060, run_id="jr_3", foreign=True, signals=0),
        line(
            9000,
            9100,
            9600,
            run_id="jr_4",
            full=True,
            signals=7,
            reasons=("new data in sales.orders",),
            versions={"sales.orders": "4711"},
        ),
        now=NOW,
        name="daily_revenue",
    )
    late = drawn(state=State(owed=Owed(at(15_000), at(15_000), reasons=("landing/b.parquet",))), now=NOW, name="late")
    held = State(owed=Owed(at(19_900), at(19_900)), hold=Paused(NOON))
    return [fresh, late, drawn(state=held, now=NOW, name="held")]


def write(folder: Path, bundle: str, shown: list[Any] | None = None) -> str:
    """A page on the disk; its address."""
    file = folder / "unstale.html"
    file.write_text(document(values_of(pictures() if shown is None else shown, [], at(NOW)), bundle), encoding="utf-8")
    return file.as_uri()


def test_the_written_page_says_what_the_records_say(tab: Any, bundle: str, tmp_path: Path) -> None:
    """At a glance each target's verdict and why, the worst first; opened, its figures and the table of its runs."""
    tab.goto(write(tmp_path, bundle))
    rows = [row.inner_text().split("\t") for row in tab.locator("#glance tbody tr").all()]
    assert [(name.strip(), verdict.split()[-1]) for name, verdict, *_ in rows] == [
        ("late", "late"),
        ("held", "held"),
        ("daily_revenue", "fresh"),
    ]
    assert "beyond its objective" in rows[0][2]
    box = tab.locator("details", has_text="daily_revenue")
    figures = dict(zip(box.locator("dt").all_inner_texts(), box.locator("dd").all_inner_texts(), strict=True))
    assert figures["refreshes"] == "3, 1 failed"
    assert figures["worst lag"] == "10 min"
    assert figures["DPU-hours"] == "1.00"
    box.get_by_role("button").click()
    cells = [row.locator("td").all_inner_texts() for row in box.locator(".wide tbody tr").all()]
    assert [(row[2], row[3], row[4], row[9]) for row in cells] == [
        ("succeeded", "ours", "full", "jr_4"),
        ("succeeded", "somebody else's", "", "jr_3"),
        ("succeeded", "ours", "", "jr_2"),
        ("failed", "ours", "", "jr_1"),
    ]
    assert cells[0][6] == "2026-01-31 14:30:00Z"
    assert [row[8] for row in cells] == ["sales.orders at 4711", "", "", ""]
    assert tab.asked == [tab.url]


def test_the_saw_tooth_is_drawn(tab: Any, bundle: str, tmp_path: Path) -> None:
    """Charts are there, with a shaded stretch for each time that a source was ahead, and bars for runs."""
    tab.goto(write(tmp_path, bundle))
    box = tab.locator("details", has_text="daily_revenue")
    box.locator("svg").nth(1).wait_for()
    assert box.locator(".mark-rect.role-mark path").count() == 2 + 4  # two teeth; bars are rectangles, too


def test_the_pointer_reads_the_numbers(tab: Any, bundle: str, tmp_path: Path) -> None:
    """Over a run how it ended and for what, over the saw-tooth how far behind the view was, each with its time."""
    tab.goto(write(tmp_path, bundle))
    box = tab.locator("details", has_text="daily_revenue")
    box.locator("svg").nth(1).wait_for()
    said = [_said_over(tab, box.locator("svg").nth(number)) for number in (0, 1)]
    assert any("behind" in text and "2 min" in text for text in said[0])
    assert any("succeeded, full" in text and "7 signals or more" in text for text in said[1])


def _said_over(tab: Any, chart: Any) -> list[str]:
    """What the tooltip says over each point of a chart."""
    texts = []
    for point in chart.locator(".mark-symbol.role-mark path").all():
        point.hover(force=True)
        texts.append(tab.locator("#vg-tooltip-element").inner_text())
    return texts


def test_the_keyboard_reads_the_numbers(tab: Any, bundle: str, tmp_path: Path) -> None:
    """Arrow keys on the timeline go from one run or arrival to the other; what each says is announced."""
    tab.goto(write(tmp_path, bundle))
    figure = tab.locator("details", has_text="daily_revenue").locator("figure")
    figure.focus()
    tab.keyboard.press("ArrowLeft")
    says = figure.locator("output")
    assert "succeeded, full" in says.inner_text()
    assert "7 signals or more (new data in sales.orders)" in says.inner_text()
    tab.keyboard.press("ArrowLeft")
    assert "look, new data in sales.orders" in says.inner_text()


def test_another_window_shows_other_figures(tab: Any, bundle: str, tmp_path: Path) -> None:
    """30 days have the run of last week, 24 hours do not."""
    old = drawn(line(-6 * 86_400, -6 * 86_400 + 10, -6 * 86_400 + 50), now=NOW)
    tab.goto(write(tmp_path, bundle, [old]))
    refreshes = tab.locator("dd").nth(2)
    assert refreshes.inner_text() == "0"
    tab.get_by_label("30 days").check()
    assert refreshes.inner_text() == "1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_readable_at_each_size(browser: Any, bundle: str, tmp_path: Path, size: str, scheme: str) -> None:
    """From 360 to 2,000 pixels nothing is cut off sideways, in light and dark; axe-core finds nothing against WCAG."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    width, height = SIZES[size]
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab.set_default_timeout(PATIENCE)
    tab.goto(write(tmp_path, bundle))
    tab.locator("svg").nth(5).wait_for()
    tab.get_by_role("button").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert [violation["id"] for violation in found.response["violations"]] == [], found.generate_report()
    if folder := os.environ.get("UNSTALE_SCREENSHOTS"):
        tab.screenshot(path=Path(folder) / f"{size}-{scheme}.png", full_page=True)
    tab.close()


def test_the_served_page_renews_itself(tab: Any, bundle: str) -> None:
    """What is known by then is shown without a reload, from the same address and no other."""
    shown = [pictures()[0]]
    with command.server(lambda: values_of(shown, [], at(NOW), renewed=True), bundle, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            tab.goto(f"http://127.0.0.1:{serving.server_port}/")
            assert tab.locator("#glance tbody tr").count() == 1
            shown += pictures()[1:]
            tab.locator("#glance tbody tr").nth(2).wait_for()
        finally:
            tab.goto("about:blank")
            serving.shutdown()
            thread.join()


def test_a_hundred_targets_stay_light(tab: Any, bundle: str, tmp_path: Path) -> None:
    """Charts are drawn when a target is opened, not before: 10,000 runs make a page that is there at once."""
    tab.goto(write(tmp_path, bundle, many(100, 100)))
    assert tab.locator("#glance tbody tr").count() == 100
    assert tab.locator("svg").count() == 0
    tab.locator("details").first.locator("summary").click()
    tab.locator("details svg").nth(1).wait_for()
