"""How much an event of the engine matters in a log: one table for both clouds and for `unstale run`."""

from __future__ import annotations

from typing import Literal

Level = Literal["debug", "info", "warning"]

WARNINGS = frozenset(
    {
        "trouble",
        "held",
        "look failed",
        "run failed",
        "wake not sent",
        "not told",
        "outcome not sent",
        "outcome refused",
        "excerpt not written",
        # of the process alone (`local.process`)
        "trouble of ours",
        "not heard",
    }
)
"""Events that somebody may have to act on. A dashboard lists what has this level, and a terminal colours it."""
FREQUENT = frozenset({"signalled"})
"""Events of every target of every message: metrics, or the requests to a function, count them already."""


def level_of(what: str) -> Level:
    """Give the level of an event by its name; one that no table knows is `info`."""
    if what in WARNINGS:
        return "warning"
    return "debug" if what in FREQUENT else "info"
