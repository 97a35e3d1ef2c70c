"""The page as one HTML file: values, drawing rules and the library for charts in it, so that no request leaves it.

Charts are Vega-Lite's. Its bundle comes out of `vl-convert-python`, by the authors of Vega, which holds it for drawing
without a browser; here the reader's browser draws. The page's Content-Security-Policy lets no request leave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

from local.cli.errors import UsageError
from local.page.picture import WINDOWS, Bar, Figures, Mark, Picture
from shared.version import VERSION

LONGEST_TEXT = 120
"""Characters of a reason or an error on the page; `unstale history` shows all. 10,000 runs are to fit into 4 MB."""
RENEW_SECONDS = 5
"""Between two renewals of the page that is served."""


def document(values: Mapping[str, Any], bundle: str) -> str:
    """The whole file. Where the values say that they are renewed, the page asks its own server, and nobody else."""
    parts = {
        "connect": "'self'" if values["renew_seconds"] else "'none'",
        "style": _file("page.css"),
        "version": VERSION,
        "data": json.dumps(values, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        "specs": json.dumps(json.loads(_file("specs.json")), separators=(",", ":")),
        "bundle": bundle.replace("</script", "<\\/script"),
        "script": _file("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def chart_bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script; a part that is not installed is wrong usage."""
    try:
        from vl_convert import javascript_bundle
    except ModuleNotFoundError as missing:
        raise UsageError("the page needs vl-convert-python: install unstale[page]") from missing
    bundle: str = javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _file(name: str) -> str:
    """A file beside this one."""
    return files("local.page").joinpath(name).read_text(encoding="utf-8")


# --- Values ----------------------------------------------------------------------------------------------------------


def values_of(
    pictures: Sequence[Picture], doubts: Sequence[str], now: datetime, *, renewed: bool = False
) -> dict[str, Any]:
    """The values that the page's script reads: times in seconds since 1970, the worst targets first."""
    worst_first = ["late", "held", "unknown", "stale", "proven", "fresh"]
    ordered = sorted(pictures, key=lambda each: worst_first.index(each.status.verdict))
    return {
        "now": _seconds(now),
        "since": _seconds(min((bar.begins for each in pictures for bar in each.bars), default=None)),
        "windows": [int(window.total_seconds()) for window in WINDOWS],
        "renew_seconds": RENEW_SECONDS if renewed else 0,
        "doubts": list(doubts),
        "targets": [_target(each) for each in ordered],
    }


def _target(picture: Picture) -> dict[str, Any]:
    """A target, as the script reads it. A mark whose reason stands with a run does not repeat it."""
    status = picture.status
    told = {bar.oldest for bar in picture.bars}
    return {
        "name": status.name,
        "verdict": status.verdict,
        "why": status.why,
        "stale_since": _seconds(status.stale_since),
        "fresh_as_of": _seconds(status.fresh_as_of),
        "objective": _length(picture.objective),
        "sources": [[each.title, each.version, _seconds(each.since), each.silent] for each in status.sources],
        "teeth": [[_seconds(each.since), _seconds(each.begins), _seconds(each.ends)] for each in picture.teeth],
        "runs": [_run(bar) for bar in picture.bars],
        "marks": [_mark(each, told) for each in picture.marks],
        "figures": [_figures(each) for each in picture.figures],
    }


def _run(bar: Bar) -> list[Any]:
    """A run, in the order that the script reads."""
    return [
        _seconds(bar.begins),
        _seconds(bar.ends),
        bar.outcome,
        int(bar.foreign),
        int(bar.full),
        bar.signals,
        _seconds(bar.oldest),
        _short(", ".join(bar.reasons)),
        bar.run_id,
        _short(bar.error),
        ", ".join(f"{source} at {version}" for source, version in bar.versions),
    ]


def _mark(mark: Mark, told: Container[datetime | None]) -> list[Any]:
    """An arrival: when, what told of it, and why, where no run says so."""
    short = [_seconds(mark.at), mark.told_by]
    return short if mark.at in told else [*short, _short(mark.reason)]


def _figures(figures: Figures) -> dict[str, Any]:
    """The figures of one window, durations in seconds."""
    return {
        "within": figures.within,
        "budget": figures.budget,
        "refreshes": figures.refreshes,
        "spared": figures.spared,
        "failed": figures.failed,
        "dpu_hours": figures.dpu_hours,
        "run_seconds": figures.run_seconds,
        "median_lag": _length(figures.median_lag),
        "worst_lag": _length(figures.worst_lag),
    }


def _seconds(moment: datetime | None) -> int | None:
    """Whole seconds since 1970."""
    return None if moment is None else int(moment.timestamp())


def _length(duration: timedelta | None) -> float | None:
    """Seconds, to a tenth."""
    return None if duration is None else round(duration.total_seconds(), 1)


def _short(text: str) -> str:
    """A text as long as the page shows it."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
