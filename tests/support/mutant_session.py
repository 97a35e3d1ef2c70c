"""A plugin of pytest that tries mutants instead of running tests: `mutants.py` starts it where they were written.

    collect -> fork: all tests, noting which function each one calls, and how long it takes
            -> fork for each mutant: the tests that call its function, the fastest first, until one fails

A function that is called while modules are imported is mutated too late in a fork, so its mutants get a process each.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import wraps
from importlib import import_module
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

import pytest

from tests.support.surviving import NO_TEST, SURVIVED

WHICH = "MUTANT_UNDER_TEST"
"""The variable by which mutmut's own code chooses the mutant."""
CAUGHT, TIMED_OUT, BROKEN = 1, 36, 70
"""Exit codes: of mutmut's (its stats.py), and where it is not the mutant that failed."""
PATIENCE, TIMES_SLOWER = 2, 4
"""Seconds of the processor that a mutant may take in any case, and how many times as long as its tests take."""
WALL = 20
"""How many times as long it may take by the clock on the wall: it may wait for what never comes."""
SAVE_EACH = 5
"""Seconds after which what became of mutants is written."""
MEMORY = 4 << 30
"""Bytes that a mutant may take, for a loop may never end."""

Mutants = dict[str, Callable[..., Any]]
"""What mutmut keeps of a function: its mutants by their names, and itself as `_mutmut_orig`."""


@dataclass
class Chosen:
    """Chooses the mutant that this process tries, and notes calls; mutmut itself looks a variable up at each call."""

    function: Callable[..., Any] = id
    """The mutant."""
    instead_of: Mutants | None = None
    """The function that it stands for; None: the code is as it is."""
    called: set[Callable[..., Any]] = field(default_factory=set)
    """Functions that were called since this was cleared."""
    called_by_imports: set[str] = field(default_factory=set)
    """Names of functions that importing the modules called."""
    known: list[tuple[str, Mutants]] = field(default_factory=list)
    """All functions, with the modules that they are in."""

    def choose(self, name: str) -> None:
        """Let this mutant run from now on."""
        module, _, short = name.rpartition(".")
        self.instead_of = next(mutants for where, mutants in self.known if where == module and short in mutants)
        self.function = self.instead_of[short]

    def wrap(self, mutants: Mutants) -> Callable[..., Any]:
        """Wrap a function as mutmut's `wrap_in_trampoline` does."""

        def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
            self.known.append((function.__module__, mutants))

            @wraps(function)
            def call(*args: Any, **named: Any) -> Any:
                if self.instead_of is mutants:
                    return self.function(*args, **named)
                original = mutants["_mutmut_orig"]
                self.called.add(original)
                return original(*args, **named)

            return call

        return wrapped

    def names(self) -> set[str]:
        """The names of the functions that were called."""
        return {function_of(f"{each.__module__}.{each.__name__}") for each in self.called}


CHOSEN = Chosen()


def function_of(mutant: str) -> str:
    """`shared.refresh.decide.x_decide__mutmut_1` is one of `shared.refresh.decide.x_decide`."""
    return mutant.partition("__mutmut_")[0]


# --- Hooks -----------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which mutants, and how many at once."""
    group = parser.getgroup("mutants")
    group.addoption("--mutants", action="append", default=[], help="names of mutants, stars are wild")
    group.addoption("--children", type=int, default=1, help="try so many at once")
    group.addoption("--anew", action="store_true", help="try those again that were caught")
    group.addoption("--seconds", type=float, default=math.inf, help="run tests of so many seconds for each at most")


def pytest_load_initial_conftests() -> None:
    """Import all modules with mutants before anybody else does, and note which functions that calls."""
    from mutmut.mutation import trampoline

    vars(trampoline).update(wrap_in_trampoline=CHOSEN.wrap)
    for file in sorted(Path.cwd().rglob("*.py.meta")):
        import_module(".".join(file.relative_to(Path.cwd()).with_suffix("").with_suffix("").parts))
    CHOSEN.called_by_imports = CHOSEN.names()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Try the mutants instead of running the tests once."""
    if session.testsfailed:
        raise session.Interrupted("not all tests can be collected")
    factory = getattr(session.config, "_tmp_path_factory", None)
    if factory:
        factory.getbasetemp()  # one for all forks
    tests, took = tests_of_functions(session)
    results = Results(Path.cwd())
    results.load()
    forks = Forks(results, session.config.getoption("--children"))
    gc.freeze()
    for name in results.wanted(session.config.getoption("--mutants"), anew=session.config.getoption("--anew")):
        function = function_of(name)
        items = in_order(function, tests.get(function, []), forks.caught_by.get(function, {}))
        chosen = first_of(items, took, session.config.getoption("--seconds"))
        forks.begin(name, trial(session, name, chosen, took, by_import=function in CHOSEN.called_by_imports))
    forks.wait_for_all()
    return True


# --- Tests, and what they call ---------------------------------------------------------------------------------------


def run_tests(session: pytest.Session, items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, bool]]:
    """Run tests in this order, and say of each whether all went well."""
    failures, plugins = Failures(), session.config.pluginmanager
    plugins.register(failures)
    plugins.unregister(name="terminalreporter")
    for item, following in zip_longest(items, items[1:]):
        session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield item, not failures.seen


@dataclass
class Failures:
    """Notes that a test failed."""

    seen: bool = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at a test, its set-up or its end."""
        self.seen |= report.failed


def note_calls(session: pytest.Session, items: Sequence[pytest.Item], to: Path) -> int:
    """Run tests, and write which functions each called and how long it took; 1 if one failed."""
    CHOSEN.called.clear()
    noted = {}
    begun = time.process_time()
    for item, passed in run_tests(session, items):
        if not passed:
            to.write_text(item.nodeid, encoding="utf-8")
            return 1
        took, begun = time.process_time() - begun, time.process_time()
        noted[item.nodeid] = {"of": digest(item), "took": took, "calls": sorted(CHOSEN.names())}
        CHOSEN.called.clear()
    to.write_text(json.dumps(noted), encoding="utf-8")
    return 0


def digest(item: pytest.Item) -> str:
    """What changes with the file of a test, and with the functions that there are."""
    functions = sorted(function_of(f"{module}.{max(mutants)}") for module, mutants in CHOSEN.known)
    return f"{zlib.crc32(item.path.read_bytes()):08x}-{zlib.crc32(repr(functions).encode()):08x}"


def tests_of_functions(session: pytest.Session) -> tuple[Mapping[str, list[pytest.Item]], Mapping[str, float]]:
    """The tests that call each function, the fastest first, and the seconds that each test takes.

    Tests whose file is as it was the last time are not run for that.
    """
    file, fresh = Path("calls.json"), Path("calls-new.json")
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    known = {item.nodeid: before[item.nodeid] for item in session.items if item.nodeid in before}
    unknown = [item for item in session.items if known.get(item.nodeid, {}).get("of") != digest(item)]
    if answer(in_child(lambda: note_calls(session, unknown, fresh))):
        raise session.Interrupted(f"{fresh.read_text(encoding='utf-8')} fails without any mutant")
    known |= json.loads(fresh.read_text(encoding="utf-8"))
    file.write_text(json.dumps(known), encoding="utf-8")
    tests: dict[str, list[pytest.Item]] = {}
    for item in sorted(session.items, key=lambda item: known[item.nodeid]["took"]):
        for function in known[item.nodeid]["calls"]:
            tests.setdefault(function, []).append(item)
    return tests, {test: noted["took"] for test, noted in known.items()}


def in_order(function: str, items: Sequence[pytest.Item], caught: Mapping[str, int]) -> list[pytest.Item]:
    """The tests of a function in the order in which they may catch its mutants soonest.

    First those that caught others of the function, then those of its module's own file, then one of each other file in
    turn; each the fastest first.
    """
    own, turn = own_file(function), Counter[Path]()

    def place(item: pytest.Item) -> tuple[int, int]:
        turn[item.path] += 1
        return -caught.get(item.nodeid, 0), 0 if item.path.name == own else turn[item.path]

    return sorted(items, key=place)


def own_file(function: str) -> str:
    """`test_decide.py` for what is in `shared.refresh.decide`."""
    return f"test_{function.split('.')[-2]}.py"


def first_of(items: Sequence[pytest.Item], took: Mapping[str, float], seconds: float) -> list[pytest.Item]:
    """As many of the tests as take so many seconds together."""
    until = accumulate(took[item.nodeid] for item in items)
    return [item for item, so_far in zip(items, until, strict=True) if so_far <= seconds]


# --- One mutant ------------------------------------------------------------------------------------------------------


def trial(
    session: pytest.Session, name: str, items: Sequence[pytest.Item], took: Mapping[str, float], *, by_import: bool
) -> Callable[[int], int]:
    """What a child does to try a mutant: the exit code is its answer, and it tells which test caught the mutant."""
    seconds = sum(took[item.nodeid] for item in items)

    def here(tell: int) -> int:
        return try_here(session, name, items, seconds, tell) if items else NO_TEST

    def here_and_anew(tell: int) -> int:
        code = answer(in_child(lambda: here(tell)))
        return try_anew(name, session, seconds) if code in {SURVIVED, NO_TEST} else code

    return here_and_anew if by_import else here


def try_here(session: pytest.Session, name: str, items: Sequence[pytest.Item], seconds: float, tell: int) -> int:
    """Run a mutant's tests in this process, a fork."""
    limit(seconds)
    CHOSEN.choose(name)
    with suppress(BaseException):  # whatever a mutant raises
        for item, passed in run_tests(session, items):
            if not passed:
                os.write(tell, f"{function_of(name)}\t{item.nodeid}\n".encode())
                return CAUGHT
        return SURVIVED
    return CAUGHT


def limit(seconds: float) -> None:
    """Let this process end when it takes too long, or too much memory."""
    most = math.ceil(PATIENCE + TIMES_SLOWER * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(WALL * most)


def try_anew(name: str, session: pytest.Session, seconds: float) -> int:
    """Run tests on a mutant in a new process: those of its module's own file, or all where it has none."""
    own = sorted({str(item.path) for item in session.items if item.path.name == own_file(name)})
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(own or session.config.args)]
    which = os.environ | {WHICH: name}
    patience = WALL * (PATIENCE + seconds)
    try:
        done = subprocess.run(command, env=which, capture_output=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    return SURVIVED if done.returncode == 0 else CAUGHT


def answer(child: int) -> int:
    """Wait for a child, and give its exit code."""
    return meaning(os.waitpid(child, 0)[1])


def meaning(status: int) -> int:
    """The exit code that a wait status means. A signal ended what took too long."""
    code = os.waitstatus_to_exitcode(status)
    return TIMED_OUT if code < 0 else code


def in_child(do: Callable[[], int]) -> int:
    """Do it in a child, and give the child's process id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = BROKEN
        with suppress(BaseException):
            code = do()
        os._exit(code)
    return child


# --- All of them -----------------------------------------------------------------------------------------------------


@dataclass
class Results:
    """What became of each mutant, in the files where mutmut keeps that."""

    folder: Path
    by_file: dict[Path, dict[str, dict[str, Any]]] = field(default_factory=dict)
    file_of: dict[str, Path] = field(default_factory=dict)
    changed: set[Path] = field(default_factory=set)
    saved_at: float = 0

    def load(self) -> None:
        """Read the files."""
        for file in sorted(self.folder.rglob("*.meta")):
            self.by_file[file] = json.loads(file.read_text(encoding="utf-8"))
            self.file_of |= dict.fromkeys(self.by_file[file]["exit_code_by_key"], file)

    def note(self, name: str, code: int, seconds: float) -> None:
        """Keep the exit code of a mutant, and how many seconds of the processor it took."""
        file = self.file_of[name]
        self.by_file[file]["exit_code_by_key"][name] = code
        self.by_file[file]["durations_by_key"][name] = round(seconds, 3)
        self.changed.add(file)
        if time.monotonic() > self.saved_at + SAVE_EACH:
            self.save()

    def save(self) -> None:
        """Write the files that changed."""
        for file in self.changed:
            anew = file.with_suffix(".anew")
            anew.write_text(json.dumps(self.by_file[file], indent=4), encoding="utf-8")
            anew.replace(file)
        self.changed.clear()
        self.saved_at = time.monotonic()

    def wanted(self, patterns: Sequence[str], *, anew: bool) -> list[str]:
        """The mutants to try, in the order of the patterns: all with `anew`, else those that were not caught yet.

        What was never tried comes first.
        """
        named = dict.fromkeys(name for each in patterns for name in self.file_of if fnmatchcase(name, each))
        codes = {name: self.by_file[self.file_of[name]]["exit_code_by_key"][name] for name in named}
        wanted = [name for name, code in codes.items() if anew or code in {None, SURVIVED, NO_TEST}]
        return sorted(wanted, key=lambda name: codes[name] is not None)


@dataclass
class Forks:
    """The mutants that are being tried."""

    results: Results
    at_once: int
    running: dict[int, str] = field(default_factory=dict)
    caught_by: dict[str, Counter[str]] = field(default_factory=dict)
    """How many mutants of each function each test caught."""

    def __post_init__(self) -> None:
        self.told, self.tell = os.pipe()
        os.set_blocking(self.told, False)

    def begin(self, name: str, do: Callable[[int], int]) -> None:
        """Try one more, as soon as there is room."""
        while len(self.running) >= self.at_once:
            self.wait()
        self.running[in_child(lambda: do(self.tell))] = name

    def wait(self) -> None:
        """Wait for one of them."""
        child, status, used = os.wait4(-1, 0)
        code, name = meaning(status), self.running.pop(child)
        if code == BROKEN:
            raise RuntimeError(f"{name} could not be tried")
        self.results.note(name, code, used.ru_utime + used.ru_stime)
        with suppress(BlockingIOError):
            for line in os.read(self.told, 1 << 16).decode().splitlines():
                function, _, test = line.partition("\t")
                self.caught_by.setdefault(function, Counter())[test] += 1

    def wait_for_all(self) -> None:
        """Wait for the last ones."""
        while self.running:
            self.wait()
        self.results.save()
