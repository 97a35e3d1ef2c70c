"""Measures of the house, read off its source: explanation, lengths of functions, names, first sentences, imports.

    python -m tests.support.house        prints them for each room; `make house` does the same

`tests/test_house_rules.py` holds limits to them.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PRODUCT = ("shared", "functions_aws", "functions_azure", "local", "infra")

Definition = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file. `module` is its dotted name: that of the folder for an `__init__.py`."""

    path: str
    text: str

    @property
    def module(self) -> str:
        """`shared/refresh/__init__.py` is `shared.refresh`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        """The folder."""
        return self.path.rpartition("/")[0]

    @cached_property
    def tree(self) -> ast.Module:
        """As Python reads it."""
        return ast.parse(self.text)

    @property
    def functions(self) -> Iterator[Definition]:
        """All of them, methods and functions in functions included."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Definition))

    @property
    def classes(self) -> Iterator[ast.ClassDef]:
        """All of them."""
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))


def sources(rooms: Iterable[str], root: Path = ROOT) -> tuple[Source, ...]:
    """Every file below these folders, in order."""
    files = (file for room in rooms for file in sorted((root / room).rglob("*.py")))
    return tuple(Source(file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")) for file in files)


# --- Explanation -----------------------------------------------------------------------------------------------------


class Extent(NamedTuple):
    """Lines that are not blank, and those of them that explain: docstrings, and lines with a comment."""

    lines: int
    explaining: int

    @property
    def percent(self) -> float:
        """The share of the second."""
        return 100 * self.explaining / self.lines if self.lines else 0.0


def extent(source: Source) -> Extent:
    """A string that stands alone is a docstring, that of a constant or a field included."""
    explaining = set(_lines_of_strings(source.tree)) | set(_lines_with_comment(source.text))
    full = {number for number, line in enumerate(source.text.splitlines(), 1) if line.strip()}
    return Extent(len(full), len(full & explaining))


def total(extents: Iterable[Extent]) -> Extent:
    """All of them together."""
    found = list(extents)
    return Extent(sum(each.lines for each in found), sum(each.explaining for each in found))


def _lines_of_strings(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _lines_with_comment(text: str) -> Iterator[int]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not NO_EXPLANATION.match(token.string):
            yield token.start[0]


NO_EXPLANATION = re.compile(r"# fmt:|#!|# -+$|# -{3} .* -{3,}$|# (?:type: ignore\[[a-z-]+\]|noqa: [A-Z0-9, ]+)$")
"""Orders to tools, lines that only divide, and headings."""


# --- Functions -------------------------------------------------------------------------------------------------------


def length(function: Definition) -> int:
    """Lines from `def` to the end, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


PARTICIPLE = re.compile(r"_*([a-z]+)$")
IRREGULAR = frozenset(
    {"built", "done", "found", "given", "gone", "got", "heard", "held", "kept", "known", "left", "made", "said", "seen"}
    | {
        "sent",
        "shown",
        "spent",
        "taken",
        "told",
        "written",
        "understood",
        "meant",
        "met",
        "shut",
        "drawn",
        "took",
        "saw",
    }
)
VERBS = frozenset(
    {"feed", "speed", "bring", "ring", "string", "need", "proceed", "exceed", "ping", "embed", "seed", "heed"}
    | {"succeed", "standing"}
)
"""Words that end like a participle and are none; a standing is a value (`deployment.Standing`)."""


def is_participle(name: str) -> bool:
    """Whether a function is named by a participle alone, such as `_spared`; `is_paused` asks something, and may be."""
    found = PARTICIPLE.match(name)
    word = found[1] if found else ""
    return word in IRREGULAR or (word.endswith(("ed", "ing")) and word not in VERBS)


# --- Sentences -------------------------------------------------------------------------------------------------------

PRONOUN = re.compile(
    r"(?:It|They|That|Those|There|One|Nobody|Somebody|He|She|Such|So|Another|Who|Whoever|What|Whatever|Both|Likewise|"
    r"Neither|Either|None, so)\b|(?:This|These|All|Each) (?:is|are|has|have|was)\b",
)
"""How a first sentence must not begin: with a word that stands for a noun of some other sentence."""

PRONOUN_TOO_SOON = re.compile(r"(?:[\w'`.]+,? ){1,2}(?:it|they|them|he|him|she)\b", re.IGNORECASE)
"""The same a word or two later, before a noun can have come: "When it ends.", "Keep them." """


class Docstring(NamedTuple):
    """Where it stands, and what it says."""

    where: str
    text: str

    @property
    def first(self) -> str:
        """The first sentence, in one line."""
        paragraph = " ".join(self.text.strip().partition("\n\n")[0].split())
        return re.split(r"(?<=[.:!?])\s", paragraph, maxsplit=1)[0]

    @property
    def stands_alone(self) -> bool:
        """Whether its first sentence can be read without another, as far as a machine can tell."""
        return bool(self.first) and not PRONOUN.match(self.first) and not PRONOUN_TOO_SOON.match(self.first)


def docstrings(source: Source) -> Iterator[Docstring]:
    """Of the module, of classes and functions, and of constants and fields, which stand below them."""
    for node in ast.walk(source.tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield Docstring(f"{source.path}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', '')}", text)
        for before, after in pairwise(getattr(node, "body", ()) if isinstance(node, ast.Module | ast.ClassDef) else ()):
            if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
                yield Docstring(f"{source.path}:{after.lineno}", str(getattr(after.value, "value", "")))


# --- Imports ---------------------------------------------------------------------------------------------------------


@cache
def mentions(source: Source) -> frozenset[tuple[str, str]]:
    """Every import of a file, lazy ones and those for type checkers included: the module, and the name taken of it."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(_base(source, node), alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {(str(argument.value), "") for argument in node.args if isinstance(argument, ast.Constant)}
    return frozenset(found)


def imports(source: Source, known: Collection[str]) -> set[str]:
    """The known modules that a file imports."""
    found = {f"{base}.{name}" if f"{base}.{name}" in known else base for base, name in mentions(source)}
    return (found & set(known)) - {source.module}


def _base(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = source.module if source.path.endswith("/__init__.py") else source.module.rpartition(".")[0]
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def graph(files: Iterable[Source]) -> dict[str, set[str]]:
    """Who imports whom."""
    found = list(files)
    names = frozenset(source.module for source in found)
    return {source.module: imports(source, names) for source in found}


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Each set of modules that import each other in a circle, by Tarjan's algorithm."""
    return [sorted(group) for group in _components(arrows) if len(group) > 1 or group[0] in arrows.get(group[0], ())]


def _components(arrows: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Modules that reach each other, by removing what reaches nothing, then what nothing reaches."""
    left = dict(arrows)
    while left:
        start = next(iter(left))
        group = _reached(start, left) & _reached(start, _turned(left))
        yield sorted(group)
        left = {name: targets for name, targets in left.items() if name not in group}


def _reached(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found, rest = {start}, [start]
    while rest:
        new = {name for name in arrows.get(rest.pop(), ()) if name in arrows} - found
        found |= new
        rest += new
    return found


def _turned(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    turned: dict[str, set[str]] = {name: set() for name in arrows}
    for name, targets in arrows.items():
        for target in targets & arrows.keys():
            turned[target].add(name)
    return turned


# --- The print -------------------------------------------------------------------------------------------------------


def row(name: str, files: Iterable[Source]) -> str:
    """One line of the table."""
    found = list(files)
    functions = [function for source in found for function in source.functions]
    lengths = sorted(map(length, functions)) or [0]
    said = [text for source in found for text in docstrings(source)]
    whole = total(map(extent, found))
    participles = sum(is_participle(function.name) for function in functions)
    alone = sum(not text.stands_alone for text in said)
    return (
        f"{name:32} {whole.lines:6} {whole.percent:6.1f} % {len(functions):6} {median(lengths):6.0f} {lengths[-1]:6}"
        f" {participles:6} {alone:6}"
    )


def table() -> Iterator[str]:
    """The lines: one for each top folder as a whole, and one for each room in it."""
    yield f"{'room':32} {'lines':>6} {'explained':>8} {'func.':>6} {'median':>6} {'most':>6} {'part.':>6} {'pron.':>6}"
    for top in PRODUCT:
        files = sources([top])
        yield row(top, files)
        for room in sorted({source.room for source in files} - {top}):
            yield row("  " + room, [source for source in files if source.room == room])


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table())
