"""Where each key of a TOML document is: `tomllib` gives values, but no lines.

The document is known to be valid TOML, so this only tells keys from values, never good from bad.

    [targets.daily]                 ("targets",) and ("targets", "daily") are at line 1
    on = [                          ("targets", "daily", "on") at line 2
      { blob_created = {...} },     ("targets", "daily", "on", 0) and what is inside it, at line 3
    ]

Only a file with mistakes is read this way: a cold start with a good file never comes here.
"""

from __future__ import annotations

import re
import tomllib
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and, inside lists, positions: `("targets", "daily", "on", 0)`."""

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<quoted>  \"{3}(?:\\.|[^"\\]|"{1,2}(?!"))*+(?:"{3,5})?+  # up to two quotes may stand before the closing three
                 | '{3}(?:[^']|'{1,2}(?!'))*+(?:'{3,5})?+
                 | "(?:\\.|[^"\\])*+"?+  # ... and a text without an end, in a file that is no TOML, is looked at once
                 | '[^']*+'?+)
    | (?P<bare>[^\s\[\]{},=."'\#]+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
"""The tokens of TOML, as far as places need them. Possessive quantifiers (`*+`) keep what a hostile file costs in
proportion to its length: a text without an end is not tried again from each of its characters."""
_ENDS_A_VALUE = frozenset("\n,]}") | {""}
"""The kinds of tokens that follow a number, a date or a word; empty is the end of the document."""


class _Token(NamedTuple):
    """`kind` is `bare`, `quoted`, the mark itself, a line feed, or empty at the end of the document."""

    kind: str
    text: str
    line: int


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of each key, table and list entry; the document itself, `()`, is at line 1."""
    return _Reader(text).read()


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """The line of the key, or else of the nearest thing around it that is there."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _tokens(text: str) -> list[_Token]:
    """Cut a text into tokens, each with its line; strings and comments are one token each."""
    tokens, line = [], 1
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup or "", match.group()
        if kind != "blank":
            tokens.append(_Token(found if kind in {"mark", "newline"} else kind, found, line))
        line += found.count("\n")
    return [*tokens, _Token("", "", line)]


class _Reader:
    """Goes through the tokens once, as the grammar of TOML 1.0 has them (https://toml.io/en/v1.0.0)."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.lines: dict[Path, int] = {(): 1}
        self.last_of_list: dict[Path, int] = {}

    @property
    def next(self) -> _Token:
        """The next token, which stays."""
        return self.tokens[self.at]

    def take(self) -> _Token:
        """The next token, which is done with."""
        self.at += 1
        return self.tokens[self.at - 1]

    def read(self) -> dict[Path, int]:
        """Read a document: headers, and pairs below the last header."""
        table: Path = ()
        while self.next.kind:
            if self.next.kind == "\n":
                self.take()
            elif self.next.kind == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def header(self) -> Path:
        """`[a.b]` opens a table, `[[a.b]]` the next table of a list; an earlier part may name a list's last table."""
        line = self.take().line
        is_list = self.next.kind == "["
        path: Path = ()
        self.at += is_list
        *outer, name = self.key()
        for part in outer:
            path = self.inside_list((*path, part))
            self.lines.setdefault(path, line)
        path = (*path, name)
        if is_list:
            self.lines.setdefault(path, line)
            self.last_of_list[path] = self.last_of_list.get(path, -1) + 1
            path = self.inside_list(path)
        self.lines[path] = line
        self.at += 1 + is_list
        return path

    def inside_list(self, path: Path) -> Path:
        """The last table of a list, where the path names a list of tables; else the path itself."""
        return (*path, self.last_of_list[path]) if path in self.last_of_list else path

    def key(self) -> list[str]:
        """A dotted key: its parts, without the dots."""
        parts = [self.part()]
        while self.next.kind == ".":
            self.take()
            parts.append(self.part())
        return parts

    def part(self) -> str:
        """A part of a key, bare or quoted; `tomllib` resolves the escapes of a quoted part."""
        token = self.take()
        return str(tomllib.loads(f"key = {token.text}")["key"]) if token.kind == "quoted" else token.text

    def pair(self, table: Path) -> None:
        """A key and its value; every part of a dotted key is at the line of the key."""
        line, path = self.next.line, table
        for part in self.key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self.take()  # the equals sign
        self.value(path)

    def value(self, path: Path) -> None:
        """A value of any kind; only lists and inline tables have places inside."""
        if self.next.kind == "[":
            self.entries(path)
        elif self.next.kind == "{":
            self.inline_table(path)
        else:
            while self.next.kind not in _ENDS_A_VALUE:  # numbers and dates are several tokens
                self.take()

    def entries(self, path: Path) -> None:
        """A list: each entry has its own line."""
        self.take()
        position = 0
        while self.next.kind != "]":
            if self.next.kind in {"\n", ","}:
                position += self.take().kind == ","
            else:
                self.lines[*path, position] = self.next.line
                self.value((*path, position))
        self.take()

    def inline_table(self, path: Path) -> None:
        """An inline table: its pairs."""
        self.take()
        while self.next.kind != "}":
            if self.next.kind in {"\n", ","}:
                self.take()
            else:
                self.pair(path)
        self.take()
