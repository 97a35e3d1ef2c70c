"""The core is values in, values out, and dependencies point one way: read off the source, so that nothing hides it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = sorted((ROOT / "shared").rglob("*.py"))

PURE = {
    "__future__", "base64", "bisect", "codecs", "collections", "cronsim", "datetime", "difflib", "enum", "functools",
    "graphlib", "hashlib", "hmac", "http", "ipaddress", "itertools", "json", "math", "msgspec", "re", "shared",
    "tomllib", "types", "typing", "urllib", "zlib", "zoneinfo",
}  # fmt: skip
"""What the core may import: libraries that compute. No SDK, nothing that reads a file, a clock or the environment."""

IMPURE_PARTS = {"urllib.request", "http.client", "http.server", "email.mime"}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "exec", "eval", "getenv"}

MAY_IMPORT = {
    "shared": {"shared"},
    "functions_aws": {"functions_aws", "shared"},
    "functions_azure": {"functions_azure", "shared"},
}


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def calls(tree: ast.AST) -> Iterator[str]:
    """The last names of what a file calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@pytest.mark.parametrize("file", SHARED, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_core_imports_only_what_computes(file: Path) -> None:
    """No I/O, no clock, no randomness, no environment, no cloud SDK."""
    found = set(imports(ast.parse(file.read_text(encoding="utf-8"))))
    assert {name.partition(".")[0] for name in found} <= PURE
    assert not found & IMPURE_PARTS


LOOPS = (
    "refresh/engine.py",
    "refresh/admission.py",
    "refresh/sweep.py",
    "refresh/telling.py",
    "workload/jobs.py",
    "sources/looking.py",
    "outcomes/sending.py",
    "outcomes/signal_bus.py",
    "outcomes/webhook.py",
)
"""What is written against the ports, of which one is the clock."""


@pytest.mark.parametrize(
    "file",
    [f for f in SHARED if str(f.relative_to(ROOT / "shared")) not in LOOPS],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_the_core_asks_no_clock_and_opens_nothing(file: Path) -> None:
    """Time, randomness and ids are arguments. The loops ask the clock port, and only that (the next test)."""
    assert not set(calls(ast.parse(file.read_text(encoding="utf-8")))) & IMPURE_CALLS


@pytest.mark.parametrize("name", LOOPS)
def test_the_loop_asks_only_the_clock_that_it_is_given(name: str) -> None:
    """Each `now()` in the loop is the port's."""
    source = (ROOT / "shared" / name).read_text(encoding="utf-8")
    assert source.count(".now()") == source.count("clock.now()") > 0
    assert not {"open", "uuid4", "utcnow", "today"} & set(calls(ast.parse(source)))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_dependencies_point_one_way(package: str) -> None:
    """The shells import the core and never each other; the core imports nobody."""
    ours = {"shared", "functions_aws", "functions_azure", "local", "infra", "tests"}
    for file in (ROOT / package).rglob("*.py"):
        found = {name.partition(".")[0] for name in imports(ast.parse(file.read_text(encoding="utf-8")))}
        assert found & ours <= MAY_IMPORT[package], file
