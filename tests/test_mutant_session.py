"""The mutation runner: one session that collects the tests once, and a fork for each mutant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.mutant_session import Results, function_of
from tests.support.mutants import BESIDE, MUTATED, SESSION, copy_beside, is_written
from tests.support.surviving import NO_TEST, SURVIVED, tried

ROOT = Path(__file__).parents[1]

TRAMPOLINE = """
    import os

    def wrap_in_trampoline(mutants):  # of mutmut itself, for what is run in a process of its own
        def wrapped(function):
            def call(*args):
                name = os.environ.get("MUTANT_UNDER_TEST", "").rpartition(".")[2]
                return mutants.get(name, mutants["_mutmut_orig"])(*args)
            return call
        return wrapped
"""
BROKEN = """
    from mutmut.mutation.trampoline import wrap_in_trampoline

    def function(name, original, *mutants):
        known = {"_mutmut_orig": original}
        original.__name__ = f"x_{name}__mutmut_orig"
        original.__module__ = __name__
        known |= {f"x_{name}__mutmut_{number}": mutant for number, mutant in enumerate(mutants, 1)}
        return wrap_in_trampoline(known)(original)

    add = function("add", lambda a, b: a + b, lambda a, b: a - b, lambda a, b: b + a)
    unused = function("unused", lambda: 1, lambda: 2)
    early = function("early", lambda: 3, lambda: 4, lambda: 1 + 2)
    THREE = early()
"""
TESTS = """
    import broken

    def test_sums():
        assert broken.add(2, 1) == 3

    def test_three():
        assert broken.THREE == 3
"""


def test_each_mutant_gets_the_answer_of_its_tests(tmp_path: Path) -> None:
    """Caught, survived, untested; one of a function that importing calls is tried in a process of its own."""
    names = ["add__mutmut_1", "add__mutmut_2", "unused__mutmut_1", "early__mutmut_1", "early__mutmut_2"]
    codes = {f"broken.x_{name}": None for name in names}
    results = tmp_path / "broken.py.meta"
    results.write_text(json.dumps({"exit_code_by_key": codes, "durations_by_key": {}}))
    write(tmp_path, {"mutmut/mutation/trampoline.py": TRAMPOLINE, "broken.py": BROKEN, "test_broken.py": TESTS})
    write(tmp_path, {"mutmut/__init__.py": "", "mutmut/mutation/__init__.py": "", "pyproject.toml": ""})
    done = try_mutants(tmp_path)
    assert done.returncode == 0, done.stdout
    assert list(tried(tmp_path).values()) == [1, SURVIVED, NO_TEST, 1, SURVIVED]


def test_what_fails_without_any_mutant_is_said(tmp_path: Path) -> None:
    """A score over tests that fail anyway would be worth nothing."""
    write(tmp_path, {"mutmut/mutation/trampoline.py": TRAMPOLINE, "test_broken.py": "def test_no():\n    assert 0\n"})
    done = try_mutants(tmp_path)
    assert done.returncode != 0
    assert "test_broken.py::test_no fails without any mutant" in done.stdout


def try_mutants(folder: Path) -> subprocess.CompletedProcess[str]:
    """A session over the mutants in a folder."""
    command = [sys.executable, *SESSION, "-p", "no:cacheprovider", "--mutants=*", "--children=2", "test_broken.py"]
    paths = os.pathsep.join((str(folder), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))


@pytest.mark.parametrize(
    ("patterns", "anew", "wanted"),
    [
        (["*"], False, ["a.x_f__mutmut_2", "a.x_f__mutmut_3", "b.x_g__mutmut_2"]),
        (["*"], True, ["a.x_f__mutmut_2", "a.x_f__mutmut_1", "a.x_f__mutmut_3", "b.x_g__mutmut_1", "b.x_g__mutmut_2"]),
        (["b*", "*_3"], False, ["b.x_g__mutmut_2", "a.x_f__mutmut_3"]),
    ],
)
def test_what_was_caught_is_not_tried_again(tmp_path: Path, patterns: list[str], anew: bool, wanted: list[str]) -> None:
    """Unless somebody asks for that; what was never tried comes first, else patterns are tried in their order."""
    for file, codes in (("a", [1, None, 0]), ("b", [36, 33])):
        name = "f" if file == "a" else "g"
        of = {f"{file}.x_{name}__mutmut_{number}": code for number, code in enumerate(codes, 1)}
        (tmp_path / f"{file}.py.meta").write_text(json.dumps({"exit_code_by_key": of}))
    results = Results(tmp_path)
    results.load()
    assert results.wanted(patterns, anew=anew) == wanted


def test_the_function_of_a_mutant_is_in_its_name() -> None:
    """Of the original, too."""
    assert function_of("a.b.x_f__mutmut_12") == function_of("a.b.x_f__mutmut_orig") == "a.b.x_f"


def test_mutants_are_written_once_and_left_by_the_copy(tmp_path: Path) -> None:
    """The copy brings what is beside them; a source that changed since is written anew."""
    root, to = tmp_path / "root", tmp_path / "mutants"
    source = MUTATED / "a.py"
    write(root, {str(source): "source", "shared/b.py": "beside", **{name: "" for name in BESIDE if "." in name}})
    for name in BESIDE:
        if "." not in name:
            (root / name).mkdir(exist_ok=True)
    assert not is_written(source, root, to)
    write(to, {str(source): "mutants"})
    copy_beside(root, to)
    assert (to / source).read_text() == "mutants"
    assert (to / "shared/b.py").read_text() == "beside"
    os.utime(root / source, (1, 1))
    assert is_written(source, root, to)
    os.utime(root / source)
    os.utime(to / source, (2, 2))
    assert not is_written(source, root, to)
