"""`make bench`: every measurement as a line, with its limit where it has one; exit code 1 if one is missed.

    ARGS="warm curves"     only the parts of these names
    ARGS=--quick           fewer repetitions and smaller sizes: some minutes, for a look
    ARGS=--thorough        more of both: an hour

The growth curves are drawn into build/bench.svg and build/bench.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from importlib import import_module

from tests.bench import effort, picture
from tests.bench.parts import Curve, Measured, Row, Skipped

PARTS = (
    "cold_aws",
    "cold_azure",
    "warm",
    "curves",
    "due",
    "calls",
    "limits",
    "latency",
    "aws",
    "azure",
    "looks",
    "page",
)


def main() -> int:
    """Measure all of it, or the parts that are named."""
    asked = _asked()
    effort.chosen = effort.by_name(quick=asked.quick, thorough=asked.thorough)
    begun, rows = time.monotonic(), list[Row]()
    for name in asked.parts or PARTS:
        print(name)
        rows += _told(import_module(f"tests.bench.{name}").measure())
    picture.draw([row for row in rows if isinstance(row, Curve)])
    return _summary(rows, time.monotonic() - begun)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure; see tests/bench.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="fewer repetitions, smaller sizes")
    how.add_argument("--thorough", action="store_true", help="more repetitions, larger sizes")
    asked = parser.parse_args()
    unknown = set(asked.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    return asked


def _told(measured: Iterable[Row]) -> Iterable[Row]:
    """Print each line as soon as it is there."""
    for one in measured:
        if isinstance(one, Measured):
            print(_line(one), flush=True)
        elif isinstance(one, Skipped):
            print(f"  {one.what:<66} skipped: {one.why}", flush=True)
        yield one


def _line(one: Measured) -> str:
    """Ours, the others and ours over them, growth, limits, and whether they are kept."""
    parts = [f"{one.value / other:.3g} of {name} ({other:,.2f})" for name, other in one.others.items() if other]
    if one.growth is not None:
        parts.append(f"growth {one.growth:.2f}")
    parts += [f"{words}: {'good' if kept else 'MISSED'}" for words, kept in one.limits]
    return f"  {one.what:<66} {one.value:>13,.2f} {one.unit:<6} {'; '.join(parts)}".rstrip()


def _summary(rows: Iterable[Row], seconds: float) -> int:
    """What was missed and what was skipped, once more; the exit code."""
    rows = list(rows)
    missed = [row for row in rows if isinstance(row, Measured) and not row.good]
    kept = [row for row in rows if isinstance(row, Measured) and row.good and row.limits]
    print(f"{len(kept)} limits kept, {len(missed)} missed, in {seconds / 60:.0f} minutes")
    for row in missed:
        print(_line(row))
    for skipped in [row for row in rows if isinstance(row, Skipped)]:
        print(f"  skipped: {skipped.what}: {skipped.why}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
