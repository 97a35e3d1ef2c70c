"""The house stands as `CONTRIBUTING.md` draws it: rooms, arrows, names, sentences; a planted file breaks each rule.

`tests/support/house.py` measures, `tests/support/house_rules.py` says what is against the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import pytest

from tests.support import house_rules
from tests.support.house import PRODUCT, Source, extent, is_participle, sources, total

FILES = sources(PRODUCT)
Rule = Callable[[Iterable[Source]], Iterator[str]]

PLANTED = {
    house_rules.wrong_arrows: [
        ("shared/refresh/planted.py", "from shared.config import load"),
        ("shared/refresh/planted.py", "def f():\n    import shared.platforms.glue"),
        ("shared/refresh/planted.py", "if TYPE_CHECKING:\n    from shared.inbound.messages import Message"),
        ("shared/targets.py", "from shared.refresh.state import State"),
        ("shared/redaction.py", "from shared import targets"),
        ("shared/inbound/planted.py", "from shared.config.load import Configuration"),
        ("shared/platforms/planted.py", "from shared.inbound import dispatch"),
        ("shared/config/planted.py", "from shared.refresh.machine import fold"),
        ("functions_aws/planted.py", "from functions_azure import store"),
        ("functions_azure/planted.py", "from local.emulators import clock"),
        ("infra/planted.py", "from functions_aws import settings"),
        ("shared/planted.py", "from functions_aws import app"),
    ],
    house_rules.imports_of_tests: [("local/planted.py", "def f():\n    from tests.support.house import ROOT")],
    house_rules.homeless: [("shared/planted.py", "")],
    house_rules.import_circles: [
        ("infra/planted.py", "def f():\n    from infra import planted_too"),
        ("infra/planted.py", "if TYPE_CHECKING:\n    from infra.planted_too import x"),
    ],
    house_rules.unreached_modules: [("shared/refresh/planted.py", "x = 1")],
    house_rules.unused_names: [("shared/refresh/planted.py", "def planted_for_nobody(): pass")],
    house_rules.misnamed_exceptions: [
        ("local/planted.py", "class Planted(Exception): pass"),
        ("local/planted.py", "class Planted(PlantedError): pass\nclass PlantedError(ValueError): pass"),
    ],
    house_rules.long_functions: [("infra/planted.py", "def f():\n" + "    x = 1\n" * house_rules.LONGEST_FUNCTION)],
    house_rules.participles: [("local/planted.py", "def _spared(): pass")],
    house_rules.worn_words: [
        ("shared/planted.py", "def planted(debt): pass"),
        ("local/planted.py", "class Planted:\n    def __init__(self):\n        self.planted_world = 1"),
    ],
    house_rules.silent_fields: [("shared/refresh/state.py", "class Planted:\n    planted: int = 0\n    x = 1")],
    house_rules.leaning_sentences: [
        ("local/planted.py", '"""They are no targets: nothing is planned for them."""'),
        ("local/planted.py", 'X = 1\n"""It counts only while the record has that run."""'),
        ("local/planted.py", 'def f():\n    """Nobody would look after a message that came alone."""'),
    ],
}
"""For each rule, files that break it."""
OTHERS = (Source("infra/planted_too.py", "from infra import planted"),)
"""The other half of a planted circle."""


def named(rule: Rule) -> str:
    """The name of a rule, as a test's id."""
    return rule.__name__


@pytest.mark.parametrize("rule", PLANTED, ids=named)
def test_nothing_is_against_the_rule(rule: Rule) -> None:
    """In no room; what the rule says is in its docstring."""
    assert sorted(rule(FILES)) == []


def test_tests_have_the_words_of_the_house() -> None:
    """A world is what the simulator plays in, and nothing else; all other words that the house gave up are gone."""
    worn = set(house_rules.worn_words(sources(("tests",))))
    assert sorted(line for line in worn if not (line.startswith(SIMULATED) and "world" in line.lower())) == []


SIMULATED = ("tests/simulation/", "tests/bench/limits.py")

CASES = [(rule, path, text) for rule, files in PLANTED.items() for path, text in files]


@pytest.mark.parametrize(("rule", "path", "text"), CASES)
def test_a_planted_file_breaks_the_rule(rule: Rule, path: str, text: str) -> None:
    """Each rule tells of a file that breaks it, and of that one alone."""
    planted = Source(path, text)
    others = (*OTHERS, *(Source(source.path, "") for source in FILES if source.path != path))
    told = set(rule([planted, *others])) - set(rule(others))
    assert told
    assert all("planted" in line or planted.module in line for line in told)


def test_every_room_of_the_list_is_there() -> None:
    """A rule about a room that is not there would hold for nothing."""
    modules = {source.module for source in FILES}
    rooms = house_rules.SHARED
    assert [
        room for room in rooms if not any(module == room or module.startswith(f"{room}.") for module in modules)
    ] == []


@pytest.mark.parametrize("name", ["_heard", "_spared", "_unowed", "told", "translated", "pending"])
def test_a_participle_is_known(name: str) -> None:
    """Names that say no deed."""
    assert is_participle(name)


@pytest.mark.parametrize("name", ["feed", "_need", "is_paused", "read", "bring", "run_ended", "deployed_at"])
def test_a_verb_is_no_participle(name: str) -> None:
    """Names that only end alike, and names of more than one word."""
    assert not is_participle(name)


def test_explanation_is_measured() -> None:
    """Docstrings of modules, functions and constants, and comments; not headings, orders to tools, and blank lines."""
    lines = [
        '"""One."""',
        "",
        "# --- Heading ---",
        "X = 1",
        '"""Two',
        'lines."""',
        "Y = 2  # why",
        "Z = 3  # noqa: E501",
    ]
    assert extent(Source("planted.py", "\n".join(lines))) == (7, 4)


EXPLAINED = (20, 30)
"""Percent of a room's non-blank lines that explain: at least, at most (house rules, section 4)."""
SMALL_ROOM = 100
"""Lines. In a smaller room a single docstring is several percent."""
ROOMS = sorted({source.room for source in FILES} | set(PRODUCT))
measured = cache(extent)


@pytest.mark.parametrize("room", ROOMS)
def test_explanation_has_its_share(room: str) -> None:
    """Neither riddles nor sermons, in any room; `make house` prints the share of each."""
    files = [source for source in FILES if room in {source.room, source.path.partition("/")[0]}]
    least, most = EXPLAINED
    found = total(map(measured, files))
    assert found.lines < SMALL_ROOM or least <= found.percent <= most
