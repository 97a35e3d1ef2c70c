"""A regular expression matched by plain backtracking that counts its steps, so that a test can tell linear from not.

Python's own engine counts nothing, and seconds depend on what else the machine does. A `Backtracker` goes through the
parse tree that `re` compiles, in the same order; `re` takes short cuts (it skips to a literal, say), so the steps
counted here are an upper bound of its own. `test_patterns.py` compares what both find.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

# The parser and the compiler of `re` are private modules: only they tell how `re` understands a pattern.
from re import _compiler as compiler  # type: ignore[attr-defined]  # isort: skip
from re import _constants as op  # type: ignore[attr-defined]  # isort: skip
from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip

__all__ = ["Backtracker", "StepsExceededError", "compiled_node", "op", "parser"]

Continue = Callable[[int], int | None]
"""What is to match behind a place: the end of the whole match, or None."""
Matcher = Callable[[int, Continue], int | None]
"""A part of a pattern, at a place, with what is to match behind it."""
Fits = Callable[[int], bool]
"""Whether one character of the text fits a part that takes exactly one."""

_ONE_CHARACTER = {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN}
_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}


class StepsExceededError(Exception):
    """A search took more steps than it may."""


class Backtracker:
    """One pattern. `steps` counts each place where a part was tried, and each character that was looked at."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
        tree = parser.parse(source, pattern.flags & ~(re.UNICODE | re.DEBUG))
        self.steps = 0
        self._text, self._limit = "", 0
        self._whole = self._sequence(tree, tree.state.flags)

    def find_all(self, text: str, limit: int) -> Iterator[tuple[int, int]]:
        """Start and end of each match, as `re.finditer` gives them; an error after `limit` steps."""
        self.steps, self._text, self._limit = 0, text, limit
        start, taken = 0, -1
        while start <= len(text):
            end = self._whole(start, _all_but(taken))
            if end is None:
                start, taken = start + 1, -1
                continue
            yield start, end
            # After an empty match, the next one begins at the same place and is longer, or begins further on.
            start, taken = end, (end if end == start else -1)

    def count(self, how: str, text: str, limit: int) -> int:
        """The steps that a call of the pattern's method takes: `fullmatch`, `match`, or a search for all matches."""
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(before + 20 * len(text))  # each step of a repeat is some calls deep in Python's stack
        try:
            self._call(how, text, limit)
        finally:
            sys.setrecursionlimit(before)
        return self.steps

    def _call(self, how: str, text: str, limit: int) -> None:
        if how not in {"match", "fullmatch"}:
            deque(self.find_all(text, limit), maxlen=0)
            return
        self.steps, self._text, self._limit = 0, text, limit
        self._whole(0, lambda place: None if how == "fullmatch" and place < len(text) else place)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._limit:
            raise StepsExceededError(
                f"more than {self._limit} steps for {len(self._text)} characters: {self._text!r:.80}"
            )

    # --- Parts of a pattern ------------------------------------------------------------------------------------------

    def _sequence(self, nodes: Any, flags: int) -> Matcher:
        parts = [self._part(kind, about, flags) for kind, about in nodes]
        empty: Matcher = lambda at, then: then(at)  # noqa: E731 - the match of no part at all
        return reduce(_after, parts, empty)

    def _part(self, kind: Any, about: Any, flags: int) -> Matcher:
        if kind in _ONE_CHARACTER:
            fits = self._fits(kind, about, flags)
            return lambda at, then: then(at + 1) if fits(at) else None
        if kind in _REPEATS:
            return self._repeat(kind, about, flags)
        if kind is op.BRANCH:
            return self._branch([self._sequence(each, flags) for each in about[1]])
        if kind in {op.SUBPATTERN, op.ATOMIC_GROUP}:
            return self._nested(kind, about, flags)
        return self._edge(compiled_node(kind, about, flags)) if kind is op.AT else self._look(kind, about, flags)

    def _nested(self, kind: Any, about: Any, flags: int) -> Matcher:
        if kind is op.ATOMIC_GROUP:
            return _atomic(self._sequence(about, flags))
        _group, more, fewer, inner = about
        return self._sequence(inner, (flags | more) & ~fewer)

    def _fits(self, kind: Any, about: Any, flags: int) -> Fits:
        one, known = compiled_node(kind, about, flags), dict[str, bool]()

        def fits(at: int) -> bool:
            self._step()
            letter = self._text[at : at + 1]
            if letter not in known:
                known[letter] = one.fullmatch(letter) is not None
            return known[letter]

        return fits

    def _branch(self, ways: list[Matcher]) -> Matcher:
        def match(at: int, then: Continue) -> int | None:
            self._step()
            for way in ways:
                end = way(at, then)
                if end is not None:
                    return end
            return None

        return match

    def _edge(self, edge: re.Pattern[str]) -> Matcher:
        def match(at: int, then: Continue) -> int | None:
            self._step()
            return then(at) if edge.match(self._text, at) else None

        return match

    def _look(self, kind: Any, about: Any, flags: int) -> Matcher:
        """A look ahead or behind, for something or against it."""
        if kind not in {op.ASSERT, op.ASSERT_NOT}:
            raise NotImplementedError(f"no pattern of ours had {kind} when this was written")
        wanted, (direction, inner) = kind is op.ASSERT, about
        back = 0 if direction > 0 else inner.getwidth()[0]
        within = self._sequence(inner, flags)

        def match(at: int, then: Continue) -> int | None:
            self._step()
            found = at >= back and within(at - back, _end) is not None
            return then(at) if found is wanted else None

        return match

    # --- Repeats -----------------------------------------------------------------------------------------------------

    def _repeat(self, kind: Any, about: Any, flags: int) -> Matcher:
        least, most, inner = about
        lazy = kind is op.MIN_REPEAT
        if len(inner) == 1 and inner[0][0] in _ONE_CHARACTER:
            [(sort, what)] = inner
            fits = self._fits(sort, what, flags)
            match = self._lazy_character(fits, least, most) if lazy else self._greedy_character(fits, least, most)
        else:
            match = self._group(self._sequence(inner, flags), least, most, lazy=lazy)
        return _atomic(match) if kind is op.POSSESSIVE_REPEAT else match

    def _greedy_character(self, fits: Fits, least: int, most: int) -> Matcher:
        """As `re` has it: run as far as it goes, then give back one character after the other."""

        def match(at: int, then: Continue) -> int | None:
            end = at
            while end - at < most and fits(end):
                end += 1
            for place in range(end, at + least - 1, -1):
                self._step()
                found = then(place)
                if found is not None:
                    return found
            return None

        return match

    def _lazy_character(self, fits: Fits, least: int, most: int) -> Matcher:
        def match(at: int, then: Continue) -> int | None:
            place = at
            while place - at <= most:
                found = then(place) if place - at >= least else None
                if found is not None or not fits(place):
                    return found
                place += 1
            return None

        return match

    def _group(self, inner: Matcher, least: int, most: int, *, lazy: bool) -> Matcher:
        """Match a group once more, or go on: in this order if the repeat is greedy."""

        def match(at: int, then: Continue, done: int = 0) -> int | None:
            self._step()
            again: Continue = lambda place: None if place == at else match(place, then, done + 1)  # noqa: E731
            more = (lambda: inner(at, again)) if done < most else lambda: None
            enough = (lambda: then(at)) if done >= least else lambda: None
            first, second = (enough, more) if lazy else (more, enough)
            found = first()
            return second() if found is None else found

        return match


def _after(first: Matcher, second: Matcher) -> Matcher:
    return lambda at, then: first(at, lambda place: second(place, then))


def _end(place: int) -> int:
    return place


def _all_but(refused: int) -> Continue:
    return lambda place: None if place == refused else place


def _atomic(inner: Matcher) -> Matcher:
    """A part whose first match stands: it gives nothing back."""

    def match(at: int, then: Continue) -> int | None:
        end = inner(at, _end)
        return None if end is None else then(end)

    return match


def compiled_node(kind: Any, about: Any, flags: int) -> re.Pattern[str]:
    """One node of a pattern, compiled by `re` itself, which so says what a character class or an edge means."""
    state = parser.State()
    state.flags = flags
    return compiler.compile(parser.SubPattern(state, [(kind, about)]), 0)
