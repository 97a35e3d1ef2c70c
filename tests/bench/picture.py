"""The growth curves as a picture: one panel for each cost, both axes logarithmic, so that linear is a diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.parts import Curve
from tests.bench.processes import ROOT

BUILD = ROOT / "build"
WIDTH = 3
"""Panels in a row."""


def draw(curves: Sequence[Curve], folder: Path = BUILD) -> None:
    """Write bench.svg and bench.png; nothing where there is no curve, or no library that draws."""
    if not curves:
        return
    try:
        import vl_convert
    except ImportError:
        print("no picture: vl-convert-python is not installed")
        return
    folder.mkdir(parents=True, exist_ok=True)
    specification = chart(curves)
    (folder / "bench.svg").write_text(vl_convert.vegalite_to_svg(specification), encoding="utf-8")
    (folder / "bench.png").write_bytes(vl_convert.vegalite_to_png(specification, scale=2))
    print(f"the growth curves: {folder / 'bench.svg'}, {folder / 'bench.png'}")


def chart(curves: Sequence[Curve]) -> dict[str, Any]:
    """The Vega-Lite specification."""
    panels: dict[str, list[Curve]] = {}
    for each in curves:
        panels.setdefault(f"{each.what} ({each.unit})" if each.unit else each.what, []).append(each)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "concat": [_panel(title, found) for title, found in panels.items()],
        "columns": WIDTH,
        "resolve": {"scale": {"color": "shared"}},
    }


def _panel(title: str, curves: Sequence[Curve]) -> dict[str, Any]:
    values = [{"size": size, "cost": max(cost, 1e-9), "of": each.of} for each in curves for size, cost in each.points]
    sizes = sorted({size for each in curves for size, _ in each.points})
    return {
        "title": {"text": title, "fontSize": 11},
        "width": 240,
        "height": 180,
        "data": {"values": values},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {
                "field": "size",
                "type": "quantitative",
                "scale": {"type": "log"},
                "axis": {"values": sizes, "format": ",", "title": curves[0].over},
            },
            "y": {"field": "cost", "type": "quantitative", "scale": {"type": "log"}, "title": None},
            "color": {"field": "of", "type": "nominal", "title": None},
        },
    }
