"""The rules of the house as functions: each takes files, and tells every place that breaks it.

`tests/test_house_rules.py` holds the product to them, and plants a file against each.
"""

from __future__ import annotations

import ast
import builtins
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import zip_longest

from tests.support.house import ROOT, Source, circles, docstrings, graph, is_participle, length, mentions

BASE = (
    *("shared.values", "shared.times", "shared.version", "shared.text"),
    *("shared.redaction", "shared.targets", "shared.places", "shared.endpoints", "shared.tenants"),
    "shared.destinations",
)
"""Modules that every room of the core may import."""

SHARED: Mapping[str, tuple[str, ...]] = {
    "shared.values": (),
    "shared.times": (),
    "shared.version": (),
    "shared.redaction": (),
    "shared.text": (),
    "shared.endpoints": (),
    "shared.tenants": (),
    "shared.destinations": ("shared.values",),
    "shared.targets": ("shared.values", "shared.destinations"),
    "shared.places": ("shared.values", "shared.targets"),
    "shared.refresh": BASE,
    "shared.config": (*BASE, "shared.refresh.schedule"),  # a calendar that loads is one that the engine can count by
    "shared.platforms": (*BASE, "shared.refresh"),
    "shared.inbound": (*BASE, "shared.refresh"),
    "shared.workload": (*BASE, "shared.refresh"),
    "shared.sources": (*BASE, "shared.refresh", "shared.platforms.failures"),
    "shared.outcomes": (*BASE, "shared.refresh"),
    "shared.sign_in": (*BASE, "shared.refresh", "shared.platforms.failures"),
}
"""What a room of the core may import besides itself (house.md, section 1)."""

TOP: Mapping[str, tuple[str, ...]] = {
    "shared": (),
    "functions_aws": ("shared",),
    "functions_azure": ("shared",),
    "infra": ("shared",),
    "local": ("shared", "infra", "functions_aws", "functions_azure"),
}
"""What a top folder may import of ours besides itself. Nobody imports the tests."""

OURS = (*TOP, "tests")

LONGEST_FUNCTION = 40
"""Lines, docstring included. The longest of the libraries that we read for style have about as many."""

ENTRIES = frozenset({"functions_aws.app", "functions_azure.function_app", "local.cli.entry"})
"""Where others call in: the two handlers, by the templates and the host, and the command, by pyproject.toml."""

CALLED_BY_LIBRARIES = frozenset(
    {"_get_ssl_context", "do_GET", "get_token", "log_request", "raise_for_status", "readable", "send_response"}
)
"""Methods that libraries call by these names: botocore, http.server, azure.core, werkzeug, msal and requests."""

EVIDENCE = "local/emulators/"
"""What an emulator shows and lets happen, such as a password that is changed, is for whoever tests with it."""


def _within(module: str, rooms: Iterable[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _room(module: str, rooms: Iterable[str]) -> str:
    return next((room for room in rooms if _within(module, [room])), "")


def wrong_arrows(files: Iterable[Source]) -> Iterator[str]:
    """An import against the direction of its rooms, lazy ones and those for type checkers included."""
    for module, targets in sorted(graph(files).items()):
        for target in sorted(targets):
            if not _may_import(module, target):
                yield f"{module} imports {target}"


def _may_import(module: str, target: str) -> bool:
    top = _room(module, TOP)
    if not _within(target, [top, *TOP.get(top, ())]):
        return False
    room = _room(module, SHARED)
    return top != "shared" or module == "shared" or _within(target, [room, *SHARED.get(room, ())])


def imports_of_tests(files: Iterable[Source]) -> Iterator[str]:
    """A file of the product that imports from the tests."""
    for source in files:
        if any(_within(module, ["tests"]) for module, _ in mentions(source)):
            yield source.path


def import_circles(files: Iterable[Source]) -> Iterator[str]:
    """Modules that import each other in a circle."""
    yield from (" <-> ".join(group) for group in circles(graph(files)))


def homeless(files: Iterable[Source]) -> Iterator[str]:
    """A module of the core that stands in no room of the list."""
    for source in files:
        if _within(source.module, ["shared"]) and source.module != "shared" and not _room(source.module, SHARED):
            yield source.module


def unreached_modules(files: Iterable[Source]) -> Iterator[str]:
    """A module to which no entry leads: only tests use it, or nobody."""
    found = list(files)
    arrows = graph(found)
    left = [source.module for source in found if source.module in ENTRIES or _is_program(source)]
    reached: set[str] = set()
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += arrows[module]
    packages = {source.module for source in found if source.path.endswith("/__init__.py")}
    yield from sorted(arrows.keys() - reached - packages)


def _is_program(source: Source) -> bool:
    return '__name__ == "__main__"' in source.text or source.path.endswith("/__main__.py")


def unused_names(files: Iterable[Source]) -> Iterator[str]:
    """A function or class whose name stands nowhere in the product but where it is defined."""
    found = list(files)
    mentioned: Counter[str] = sum((_names(source) for source in found), Counter())
    defined = Counter(node.name for source in found for node in (*source.functions, *source.classes))
    for source in found:
        for node in (*source.functions, *source.classes):
            only_defined = mentioned[node.name] <= defined[node.name] and not node.name.startswith("__")
            if only_defined and node.name not in CALLED_BY_LIBRARIES and not source.path.startswith(EVIDENCE):
                yield f"{source.path} {node.name}"


@cache
def _names(source: Source) -> Counter[str]:
    """Count each name and each string of a file. The tree has them all; the tokens of Python 3.11 stop at f-strings."""
    return Counter(name for node in ast.walk(source.tree) for name in _names_in(node))


def _names_in(node: ast.AST) -> tuple[str, ...]:
    """The names that a node itself has."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            return (name,)
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Constant(value=str(name)):
            return (name,)
        case ast.alias(name=name):
            return tuple(name.split("."))
        case ast.MatchClass(kwd_attrs=names):
            return tuple(names)
    return ()


def misnamed_exceptions(files: Iterable[Source]) -> Iterator[str]:
    """A class of exceptions whose name does not end in Error, unless pyproject.toml says why (N818)."""
    found = [(source, node) for source in files for node in source.classes]
    names = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    size = 0
    while size != len(names):  # a base may be defined after what is derived from it
        size = len(names)
        names |= {node.name for _, node in found if names & set(map(_last_name, node.bases))}
    for source, node in found:
        derived = names & set(map(_last_name, node.bases)) and source.path not in _named_otherwise()
        if derived and not node.name.endswith("Error"):
            yield f"{source.path} {node.name}"


@cache
def _named_otherwise() -> frozenset[str]:
    """Files whose exceptions have other names, for a reason that pyproject.toml gives."""
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    return frozenset(path for path, rules in ruff["lint"]["per-file-ignores"].items() if "N818" in rules)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def long_functions(files: Iterable[Source]) -> Iterator[str]:
    """A function of more lines than one sees at once."""
    for source in files:
        for function in source.functions:
            if (lines := length(function)) > LONGEST_FUNCTION:
                yield f"{source.path}:{function.lineno} {function.name}: {lines} lines"


def participles(files: Iterable[Source]) -> Iterator[str]:
    """A function that is named by a participle alone."""
    for source in files:
        for function in source.functions:
            if is_participle(function.name):
                yield f"{source.path}:{function.lineno} {function.name}"


WORN = frozenset(
    {"world", "debt", "debts", "happening", "happenings", "readings", "inbox", "weather", "traits", "sight"}
    | {"grave", "graves", "terms", "meanings", "troubles"}
)
"""Words that had several meanings, or one that the field calls otherwise: CONTRIBUTING.md has the words instead."""


def worn_words(files: Iterable[Source]) -> Iterator[str]:
    """A name of ours that has a word in it which the house gave up."""
    for source in files:
        for node in ast.walk(source.tree):
            if (name := _name_given(node)) and WORN & set(name.lower().split("_")):
                yield f"{source.path}:{getattr(node, 'lineno', 1)} {name}"


def _name_given(node: ast.AST) -> str:
    """The name that a node gives to something of ours."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            return name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return name
    return ""


STORED = (
    "shared/inbound/arrivals.py",
    "shared/inbound/wakes.py",
    "shared/refresh/excerpt.py",
    "shared/refresh/identity.py",
    "shared/refresh/state.py",
    "shared/sign_in.py",
    "shared/sources/memory.py",
    "shared/targets.py",
    "shared/workload/job.py",
)
"""Files of what is stored: whoever reads a record must find what each of its fields means."""


def silent_fields(files: Iterable[Source]) -> Iterator[str]:
    """A field of what is stored without a docstring."""
    for source in files:
        for node in source.classes if source.path in STORED else ():
            for field, after in zip_longest(node.body, node.body[1:]):
                explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not explained:
                    yield f"{source.path} {node.name}.{getattr(field.target, 'id', '')}"


def leaning_sentences(files: Iterable[Source]) -> Iterator[str]:
    """A docstring whose first sentence begins with a word that stands for a noun elsewhere."""
    for source in files:
        for docstring in docstrings(source):
            if not docstring.stands_alone:
                yield f"{docstring.where}: {docstring.first}"
