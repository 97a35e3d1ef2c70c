"""Where each key of a TOML document is: whatever the document holds, and however it is spelled."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.config.toml_positions import Path as Keys
from shared.config.toml_positions import lines_of, nearest_line
from tests.support.toml_text import places_in, toml

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "golden" / "config"
FILES = [
    pytest.param(path, id=path.relative_to(ROOT).as_posix())
    for path in sorted([*GOLDEN.rglob("*.toml"), ROOT / "unstale.example.toml", ROOT / "pyproject.toml"])
    if path.parent.name != "syntax"
]

LOOK_ALIKES = '''\
# [targets.x] = 1
top = 1 # top2 = 2
date = 1979-05-27 07:32:00.5Z
"quo.ted" . b = """
[no.table]
no = "key" \\""" """"
'li"t' = \'\'\'a
[no] \'\'\'\'
[ a . "b c" ]
k.z = [ # ] [[
  1, [ 2,
  3 ], { q = "}#\\"", r = [ ] }, '#',
]
e = [ ]
f = { }
[[w.jobs]]
i = 1
[[w.jobs]]
[w.jobs.sub]
i = -1.5e+3
[[w.jobs.deep]]
[[w.jobs.deep]]
i=inf
[a]
"\\u0041"=1\r
'''


def test_lines_of_look_alikes() -> None:
    """Comments, strings, dates and brackets that look like keys are none; the table's own header is its line."""
    assert lines_of(LOOK_ALIKES) == {
        (): 1,
        ("top",): 2,
        ("date",): 3,
        ("quo.ted",): 4,
        ("quo.ted", "b"): 4,
        ('li"t',): 7,
        ("a",): 24,
        ("a", "b c"): 9,
        ("a", "b c", "k"): 10,
        ("a", "b c", "k", "z"): 10,
        ("a", "b c", "k", "z", 0): 11,
        ("a", "b c", "k", "z", 1): 11,
        ("a", "b c", "k", "z", 1, 0): 11,
        ("a", "b c", "k", "z", 1, 1): 12,
        ("a", "b c", "k", "z", 2): 12,
        ("a", "b c", "k", "z", 2, "q"): 12,
        ("a", "b c", "k", "z", 2, "r"): 12,
        ("a", "b c", "k", "z", 3): 12,
        ("a", "b c", "e"): 14,
        ("a", "b c", "f"): 15,
        ("w",): 16,
        ("w", "jobs"): 16,
        ("w", "jobs", 0): 16,
        ("w", "jobs", 0, "i"): 17,
        ("w", "jobs", 1): 18,
        ("w", "jobs", 1, "sub"): 19,
        ("w", "jobs", 1, "sub", "i"): 20,
        ("w", "jobs", 1, "deep"): 21,
        ("w", "jobs", 1, "deep", 0): 21,
        ("w", "jobs", 1, "deep", 1): 22,
        ("w", "jobs", 1, "deep", 1, "i"): 23,
        ("a", "A"): 25,
    }


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    """A key that is missing is told at its table; one at the top at the first line."""
    lines = lines_of(LOOK_ALIKES)
    assert nearest_line(lines, ("a", "b c", "k", "z", 7, "x")) == 10
    assert nearest_line(lines, ("w", "jobs", 1, "target")) == 18
    assert nearest_line(lines, ("nothing", "at", "all")) == 1


@pytest.mark.parametrize("path", FILES)
def test_every_key_of_every_file_has_a_line(path: Path) -> None:
    """The keys that have lines are those that the parser finds, no more and no fewer, each on a line that says so."""
    text = path.read_bytes().decode()
    lines = lines_of(text)
    assert {keys for keys in lines if keys} == set(places_in(tomllib.loads(text)))
    for keys, line in lines.items():
        if keys and isinstance(keys[-1], str) and keys[-1].isascii() and keys[-1].isprintable():
            assert keys[-1] in text.split("\n")[line - 1], keys


class Writer:
    """Writes a random document, in whichever spelling is drawn, and notes the line of each key."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Keys, int] = {(): 1}

    @property
    def line(self) -> int:
        """The line that is written next."""
        return self.text.count("\n") + 1

    def one_of(self, *choices: str) -> str:
        """Draw one."""
        return self.draw(st.sampled_from(choices))

    def key(self, keys: Keys) -> None:
        """Write the last of the keys, bare or quoted."""
        self.lines[keys] = self.line
        name = str(keys[-1])
        self.text += self.one_of(toml(name), *([name] if re.fullmatch("[A-Za-z0-9_-]+", name) else []))

    def filler(self) -> None:
        """Write what stands between things, look-alikes of keys in comments included."""
        self.text += self.one_of("", "\n", "# [x] = {\n", "\t# \"'\n\n")

    def value(self, keys: Keys, depth: int) -> None:
        """Write any value."""
        kind = self.one_of("plain", "plain", "list", "table")
        if kind == "plain" or depth > 2:
            self.text += self.one_of(*PLAIN_VALUES)
        elif kind == "list":
            self.entries(keys, depth)
        else:
            self.inline_table(keys, depth)

    def entries(self, keys: Keys, depth: int) -> None:
        """Write a list, over several lines perhaps."""
        self.text += "["
        for position in range(self.draw(st.integers(0, 3))):
            self.filler()
            self.lines[*keys, position] = self.line
            self.value((*keys, position), depth + 1)
            self.filler()
            self.text += ","
        self.text += "]"

    def inline_table(self, keys: Keys, depth: int) -> None:
        """Write an inline table."""
        self.text += "{"
        for position, name in enumerate(self.names()):
            self.text += ", " if position else " "
            self.key((*keys, name))
            self.text += " = "
            self.value((*keys, name), depth + 1)
        self.text += "}"

    def names(self) -> list[str]:
        """Draw the keys of a table."""
        return self.draw(st.lists(KEY_NAMES, max_size=3, unique=True))

    def pairs(self, table: Keys) -> None:
        """Write the keys and values of a table, some keys dotted."""
        for name in self.names():
            keys: Keys = (*table, name)
            self.filler()
            self.key(keys)
            if self.draw(st.booleans()):
                self.text += self.one_of(".", " . ")
                keys = (*keys, "dotted")
                self.key(keys)
            self.text += self.one_of("=", " = ")
            self.value(keys, 0)
            self.text += self.one_of("\n", " # = 1\n", "\r\n")

    def document(self) -> str:
        """Write keys, then tables, each with a list of tables."""
        self.pairs(())
        for number in range(self.draw(st.integers(0, 3))):
            table: Keys = (f"table{number}",)
            self.filler()
            self.text += "["
            self.key(table)
            self.text += "]\n"
            self.pairs(table)
            for position in range(self.draw(st.integers(0, 2))):
                listed: Keys = (*table, "listed")
                self.lines.setdefault(listed, self.line)
                self.lines[*listed, position] = self.line
                self.text += f"[[table{number}. 'listed']]\n"
                self.pairs((*listed, position))
        return self.text


KEY_NAMES = st.sampled_from(["a", "b-1", "1", "", "c d", "e.f", 'g"', "h'", "#", "ä", "[x]", "\n", "a = 1"])
PLAIN_VALUES = [
    *("1", "-1.5", "1979-05-27 07:32:00.5Z", "true", '"a = 1"', "'[x]'", '"\\""', "''", '""', '"#"', "'\\'"),
    *('"""\n[x]\na = 1\n"""', '"""a"" """""', "'''\n'a'''''", '"""\\"""\\\n  """', "''''''"),
]


@st.composite
def documents(draw: st.DrawFn) -> Writer:
    """Random documents, with the line of each key."""
    writer = Writer(draw)
    writer.document()
    return writer


@given(documents())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_line_of_every_key_of_any_document(writer: Writer) -> None:
    """Whatever a document holds and however it is spelled, each key is found on the line where it was written."""
    assert {keys for keys in writer.lines if keys} == set(places_in(tomllib.loads(writer.text)))
    assert lines_of(writer.text) == writer.lines
