"""`make bench`: every measurement as a line, with its limit where it has one; exit code 1 if one is missed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.bench import aws, azure, looks, page
from tests.bench.parts import Measured


def _lines(measured: Iterator[Measured]) -> Iterator[bool]:
    for one in measured:
        limit = "" if one.limit is None else f"at most {one.limit:g}"
        word = "" if one.limit is None else "good" if one.good else "MISSED"
        print(f"  {one.what:<72} {one.value:>12,.2f} {one.unit:<6} {limit:<16} {word}", flush=True)
        yield one.good


def main() -> int:
    """Measure all of it, or the parts that are named: aws, azure, looks, page."""
    good = True
    for part in (aws, azure, looks, page):
        name = part.__name__.rpartition(".")[2]
        if not sys.argv[1:] or name in sys.argv[1:]:
            print(name)
            good = all(list(_lines(part.measure()))) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
