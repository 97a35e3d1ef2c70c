"""House rules of a test session: no test skips unseen, and nothing leaves this machine."""

from __future__ import annotations

import gc
import re
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial, wraps
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support.measured import Measurement
from tests.support.workers import pytest_collection_modifyitems, pytest_xdist_auto_num_workers  # noqa: F401 - hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")  # how long an example takes tells how busy the machine is, and nothing of the code

FOLDER = "FOLDER_OF_THE_TEST_SESSION"
"""The variable that tells all workers of a session where to put what they share (`tests/support/once.py`)."""
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


@dataclass(frozen=True)
class Allowance:
    """One line of the list: which tests may skip, and what their message must then contain."""

    tests: str
    reason: str

    def covers(self, nodeid: str, message: str) -> bool:
        """Whether the list allows this test this skip."""
        only_stars_are_wild = self.tests.replace("[", "[[]").replace("?", "[?]")
        return fnmatchcase(nodeid, only_stars_are_wild) and self.reason in message


def allowances(text: str) -> Iterator[Allowance]:
    """Read the list; a line without a reason is an error of usage."""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        tests, *reason = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        if not reason:
            message = f"{ALLOWED_SKIPS.name}: {line!r} has no reason (two spaces before it)"
            raise pytest.UsageError(message)
        yield Allowance(tests, reason[0])


def skip_message(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """What a skipped test, or an expected failure, gave as its reason; None for any other report."""
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    if report.skipped:
        return str(report.longrepr[2]) if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
    return None


@dataclass(eq=False)  # a plugin is one of a kind
class SkipPolicy:
    """Fails the session if a test skipped that the list does not allow. Lives where reports of all workers arrive."""

    allowed: list[Allowance]
    refused: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at a test."""
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Look at a module: it can skip as a whole."""
        self._look(report)

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        message = skip_message(report)
        if message is not None and not any(allowance.covers(report.nodeid, message) for allowance in self.allowed):
            self.refused.append(f"{report.nodeid}  {message}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a session that would pass into a failed one."""
        if self.refused and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the tests."""
        if self.refused:
            terminalreporter.section(f"skipped, and not in {ALLOWED_SKIPS.name}", red=True)
            for line in sorted(set(self.refused)):
                terminalreporter.line(line)


def is_loopback(host: object) -> bool:
    """Whether a host as `socket` takes it stays on this machine; None is this machine to `getaddrinfo`."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name == "localhost":
        return True
    try:
        return ip_address(str(name)).is_loopback
    except ValueError:
        return False


def refuse(where: object) -> None:
    """Fail the test by what no `except Exception` in the product swallows."""
    pytest.fail(f"the network guard: a test wanted to reach {where!r}, but tests stay on this machine's loopback")


def guarded_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    """`socket.connect` or `connect_ex`, for loopback and for sockets that are files."""

    @wraps(connect)
    def guard(self: socket.socket, address: Any) -> Any:
        internet = self.family in {socket.AF_INET, socket.AF_INET6}
        if self.family != socket.AF_UNIX and not (internet and is_loopback(address[0])):
            refuse(address)
        return connect(self, address)

    return guard


def guarded_getaddrinfo(getaddrinfo: Callable[..., Any]) -> Callable[..., Any]:
    """`socket.getaddrinfo`, for loopback: a name that is looked up has left the machine before anything connects."""

    @wraps(getaddrinfo)
    def guard(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_loopback(host):
            refuse(host)
        return getaddrinfo(host, *args, **kwargs)

    return guard


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much the simulator plays (`test_simulator.py`)."""
    group = parser.getgroup("simulator")
    group.addoption("--histories", type=int, default=1_000, help="play this many histories")
    group.addoption("--seed", type=int, help="play only this one, and show what happens in it")
    group.addoption("--world", help="... in this world: ticks-and-wakes, ticks-dead, wakes-dead")
    group.addoption("--whole-worlds", action="store_true", help="explore the small worlds with all faults together")
    group.addoption("--crowd", type=int, default=1000, help="so many targets behind one limit (test_crowd.py)")
    group.addoption("--playground", action="store_true", help="all journeys in `demo --keep`, not only a night there")
    group.addoption("--every-crash", action="store_true", help="die at each effect in each manner (test_crashes.py)")
    group = parser.getgroup("fuzzers", "tokens and events by chance (test_fuzz_*.py)")
    group.addoption("--fuzz", type=int, default=100_000, help="try this many cases with each")
    group.addoption("--fuzz-seed", type=int, help="try only this one")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to tell about their extent, with or without workers."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "tells":
                terminalreporter.line(str(value))


def pytest_configure(config: pytest.Config) -> None:
    """Set the rules up: the guard in every process, the policy where the reports of all workers arrive."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded_connect(getattr(socket.socket, name)))
    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo(socket.getaddrinfo))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell begins what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests interrupt processes, which inherit that
    patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # what tests start need not compile the product each time
    if config.pluginmanager.hasplugin("_cov"):
        config.pluginmanager.register(Measurement())
    if not hasattr(config, "workerinput"):  # a worker of xdist has it
        folder = tempfile.mkdtemp(prefix="unstale-tests-")
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
        patch.setenv(FOLDER, folder)
        config.pluginmanager.register(SkipPolicy(list(allowances(ALLOWED_SKIPS.read_text(encoding="utf-8")))))


@pytest.fixture
def without_garbage() -> Iterator[None]:
    """For what is nested so deeply that the stack ends: what other tests left must not be finalised down there.

    A finaliser that runs into the end of the stack is an unraisable error, and those are failures here. Nothing is
    collected before: in a worker that has run thousands of tests that takes seconds.
    """
    gc.disable()
    yield
    gc.enable()
