"""Every regular expression of ours takes steps in proportion to the text, whatever the text is."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from string import ascii_letters, punctuation
from typing import Any, NamedTuple

import pytest

from shared.redaction import plain
from tests.support.regex_steps import Backtracker, StepsExceededError, compiled_node, parser
from tests.support.regex_steps import op as kinds

ROOT = Path(__file__).parent.parent
ROOMS = ("shared", "functions_aws", "functions_azure", "infra", "local")

CALLS = {"finditer", "findall", "fullmatch", "match", "search", "split", "sub", "subn"}
NOT_OURS = {
    'Meta(pattern=f"^(?:{pattern})(?!\\\\n)$", extra={"expected": expected})',  # its texts are in a user's own file
    r'commands = re.compile(rf"(unstale [a-z]+(?: --[a-z-]+| {name}(?![\w-]))*)")',  # the user's own name, escaped
    "re.fullmatch(route, request.path)",  # the routes of an emulator, which meet the requests of tests
    "re.fullmatch(pattern, str(value))",  # the Glue emulator asks with the patterns of AWS's own model
}
"""Calls whose pattern is an argument, so that the source does not tell it."""

LENGTH = 100
"""Characters of the shorter of two hostile texts."""
TIMES, STEPS_TIMES = 3, 4
"""A text of so many times the length costs at most so many times the steps: nine times, if it were quadratic."""
ONCE = 1_000
"""Steps beside those, for a beginning that is quicker than what follows."""


class Found(NamedTuple):
    """A pattern, where it is written, and how it is used."""

    place: str
    pattern: re.Pattern[Any]
    how: str = "search"


@cache
def patterns() -> tuple[Found, ...]:
    """Each pattern that the source of the product names."""
    files = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    return tuple(found for file in files for found in patterns_of(file))


def patterns_of(file: Path) -> Iterator[Found]:
    """The patterns of one file. Its names are looked up in the module, which is imported only where it has some."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        wanted, how = _pattern_of(node, text)
        if wanted is None or ast.get_source_segment(text, node) in NOT_OURS:
            continue
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        expression = ast.fix_missing_locations(ast.Expression(wanted))
        try:
            made = eval(compile(expression, str(file), "eval"), vars(module))  # noqa: S307 - our own source
        except NameError as local:
            raise AssertionError(
                f"{file}:{wanted.lineno}: name the pattern in the module, or put it on NOT_OURS"
            ) from local
        yield Found(f"{module.__name__}:{wanted.lineno}", re.compile(made), how)


def _pattern_of(node: ast.AST, text: str) -> tuple[ast.expr | None, str]:
    """What makes the pattern (the whole call of `re.compile`, for its flags, or an argument), and how it is used."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and "re.compile" in ast.unparse(node.value or node)[:10]:
        name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        used = set(re.findall(rf"\b{name}\.(\w+)", text))
        return node.value, (used.pop() if len(used) == 1 else "search")
    if not isinstance(node, ast.Call):
        return None, ""
    module, _, called = ast.unparse(node.func).rpartition(".")
    if module == "re" and called in CALLS:
        flags = [each for each in node.keywords if each.arg == "flags"]
        return ast.copy_location(
            ast.Call(ast.parse("re.compile", mode="eval").body, node.args[:1], flags), node
        ), called
    return next((each.value for each in node.keywords if called == "Meta" and each.arg == "pattern"), None), "search"


# --- Texts that hurt -------------------------------------------------------------------------------------------------


def pieces(nodes: Any) -> list[str]:
    """What a text must be made of to get far into a pattern: its words, and one letter of each class, in order."""
    found: list[str] = []
    word = ""
    for kind, about in nodes:
        if kind is kinds.LITERAL:
            word += chr(about)
            continue
        found, word = [*found, word, *_inner(kind, about)], ""
    return [piece for piece in [*found, word] if piece]


def _inner(kind: Any, about: Any) -> list[str]:
    if kind in {kinds.IN, kinds.ANY, kinds.NOT_LITERAL}:
        return [_a_letter(kind, about)]
    if kind is kinds.BRANCH:
        return [piece for each in about[1] for piece in pieces(each)]
    if kind is kinds.ATOMIC_GROUP:
        return pieces(about)
    if kind in {kinds.AT, kinds.GROUPREF}:
        return []
    return pieces(about[-1])


def _a_letter(kind: Any, about: Any) -> str:
    one = compiled_node(kind, about, re.UNICODE)
    return next(letter for letter in f"a0 /.-{punctuation}{ascii_letters}\n\x00\u20ac" if one.fullmatch(letter))


class Hostile(NamedTuple):
    """A text of any length: a beginning, something again and again, and an end that no match has."""

    head: str
    pump: str

    def text(self, length: int) -> str:
        """With so many characters of what is repeated."""
        return self.head + (self.pump * length)[:length] + "\x01"


def hostile(pattern: re.Pattern[Any]) -> Iterator[Hostile]:
    """The way into a match up to each piece, which is then repeated, alone or with the next; and mixtures by chance."""
    source = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    parts = pieces(parser.parse(source, pattern.flags & ~(re.UNICODE | re.DEBUG)))
    chance = random.Random(source)
    ways = [Hostile("".join(parts[:at]), "".join(parts[at : at + many])) for at in range(len(parts)) for many in (1, 2)]
    mixed = [Hostile("", "".join(chance.choices([*parts, " ", "\\"], k=chance.randint(2, 4)))) for _ in range(8)]
    yield from chance.sample(ways, min(len(ways), 12))
    yield from [Hostile("", "".join(parts)), *(Hostile("", each) for each in dict.fromkeys(parts[:10])), *mixed]


def judge(pattern: re.Pattern[Any], how: str) -> None:
    """Raise `StepsExceededError` if one of the texts costs more than in proportion."""
    search = Backtracker(pattern)
    for each in hostile(pattern):
        steps = search.count(how, each.text(LENGTH), limit=5 * LENGTH**2)
        search.count(how, each.text(TIMES * LENGTH), limit=STEPS_TIMES * steps + ONCE)


@pytest.mark.parametrize("found", patterns(), ids=lambda found: found.place)
def test_a_search_takes_steps_in_proportion_to_the_text(found: Found) -> None:
    """Three times the text costs at most four times the steps, for each text built from the pattern's own pieces."""
    judge(found.pattern, found.how)


BEFORE = r"bearer\s+[^\s\"',;]+|eyJ[\w-]{8,}(?:\.[\w-]*)+"
"""What redaction looked for once: 45 ms for 4,000 characters."""


@pytest.mark.parametrize("pattern", [BEFORE, r"(?:a+)+b", r"(?:a|ab|b)*c", r"\s+$", r"x.*y.*z", r"=[^;]*;="])
def test_what_is_not_linear_is_found(pattern: str) -> None:
    """The texts and the limit tell: one of the texts costs more, whatever the repeat that begins again is."""
    with pytest.raises(StepsExceededError):
        judge(re.compile(pattern), "search")


def test_the_patterns_are_all_there() -> None:
    """Those that meet the most foreign texts are among those that are looked at."""
    rooms = {found.place.partition(":")[0] for found in patterns()}
    assert {plain.__module__, "functions_azure.settings"} <= rooms
    assert len(patterns()) > 20


SAMPLES = (
    r"a*b|ab*c", r"(?:a|b)*?c", r"(a+)+b", r"\ba\w*\b", r"x?y{1,2}|", r"(?:ab?){2,3}(?!c)", r"(?<=a)b+", r"a*+b|c",
    r"(?>a|ab)c", r"(?:ab|a)++b?", r"^a|b$", r"[^a]+?b", "", "a*?", r"(?i:A)b", r"(?:a*)*b", r"(?:a|)*b",
)  # fmt: skip


@pytest.mark.parametrize("sample", [*SAMPLES, *patterns()], ids=lambda sample: getattr(sample, "place", sample))
def test_the_counting_search_finds_what_re_finds(sample: str | Found) -> None:
    """The steps are those of the same search: every match is at the same place."""
    pattern = re.compile(sample) if isinstance(sample, str) else sample.pattern
    search, chance = Backtracker(pattern), random.Random(str(sample))
    texts = ["".join(chance.choices("abcxy \nA", k=chance.randint(0, 12))) for _ in range(200)]
    for text in texts if isinstance(sample, str) else [each.text(20) for each in hostile(pattern)]:
        own: Any = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
        assert list(search.find_all(text, 10**6)) == [match.span() for match in pattern.finditer(own)], text
