"""The rules of `conftest.py`, seen from outside, in a session of its own on files that break them; and the locks'."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


SKIPS = """
import pytest
def test_plain(): pass
def test_skips(): pytest.skip("no compiler")
@pytest.mark.skip("no compiler")
def test_marked(): pass
@pytest.mark.parametrize("n", [1])
def test_of_many(n): pytest.skip("no compiler")
@pytest.mark.xfail(reason="no compiler")
def test_fails_as_expected(): assert False
@pytest.mark.xfail(reason="no compiler")
def test_passes_unexpectedly(): pass
"""
SKIPPED_MODULE = "import pytest\npytest.skip('no compiler', allow_module_level=True)\n"
NAMES = [
    "test_it.py::test_skips",
    "test_it.py::test_marked",
    "test_it.py::test_of_many[1]",
    "test_it.py::test_fails_as_expected",
    "test_it.py::test_passes_unexpectedly",
    "test_module.py",
]


def run_session(folder: Path, allowed: str, workers: int = 0) -> subprocess.CompletedProcess[str]:
    """A pytest session in `folder`, under the house rules, with tests that skip in every way and a list of what may."""
    shutil.copy(HERE / "conftest.py", folder)
    (folder / "allowed_skips.txt").write_text(allowed, encoding="utf-8")
    (folder / "test_it.py").write_text(SKIPS, encoding="utf-8")
    (folder / "test_module.py").write_text(SKIPPED_MODULE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    plugins = ["-p", "no:hypothesispytest", "-p", "no:pytest_cov", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-n", str(workers), *plugins]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def refused(session: subprocess.CompletedProcess[str]) -> list[str]:
    """The tests that the session names as skipped without being listed."""
    section = session.stdout.partition("not in allowed_skips.txt")[2]
    return [line.split("  ")[0] for line in section.splitlines() if line.startswith("test_")]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unlisted_skip_fails_the_session(tmp_path: Path, workers: int) -> None:
    """Whatever skips or is expected to fail without being listed fails the session, which names it; in parallel too."""
    session = run_session(tmp_path, "", workers)
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    assert refused(session) == sorted(NAMES)


@pytest.mark.parametrize("fuzzer", ["inbound/test_fuzz_events.py", "workload/test_fuzz_tokens.py"])
def test_every_portion_of_a_fuzzer_runs_without_coverage(fuzzer: str) -> None:
    """`make test ARGS=--no-cov`, as the Makefile's help says it: portions behind the first are no error."""
    flags = ["--cov=shared", "--no-cov", "--fuzz", "10001", "-k", "10000-1", "-p", "no:cacheprovider", "-q"]
    command = [sys.executable, "-m", "pytest", *flags, str(HERE / "shared" / fuzzer)]
    session = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    assert session.returncode == pytest.ExitCode.OK, session.stdout
    assert "1 passed" in session.stdout


def test_a_listed_skip_passes(tmp_path: Path) -> None:
    """A skip that is listed, by its id as it is printed or by a pattern, leaves the session green."""
    session = run_session(tmp_path, "".join(f"{name}  no compiler\n" for name in NAMES))
    assert session.returncode == pytest.ExitCode.OK, session.stdout
    assert refused(session) == []
    assert run_session(tmp_path, "# all\n\ntest_*  compiler").returncode == pytest.ExitCode.OK


def test_a_listed_skip_holds_for_its_test_and_reason_only(tmp_path: Path) -> None:
    """A test that may skip for one reason may not skip for another, and its neighbour not at all."""
    session = run_session(tmp_path, "test_it.py::test_marked  no network\ntest_it.py::test_skips  no compiler\n")
    assert session.returncode == pytest.ExitCode.TESTS_FAILED, session.stdout
    assert refused(session) == sorted(set(NAMES) - {"test_it.py::test_skips"})


def test_a_listed_skip_needs_a_reason(tmp_path: Path) -> None:
    """A line of the list without a reason is refused."""
    session = run_session(tmp_path, "test_it.py*\n")
    assert session.returncode == pytest.ExitCode.USAGE_ERROR
    assert "has no reason" in session.stderr


# 192.0.2.0/24 and .test are set aside for documentation and tests (RFC 5737, RFC 2606): nobody is there.
@pytest.mark.parametrize("host", ["192.0.2.1", "somewhere.test"])
def test_no_test_leaves_this_machine(host: str) -> None:
    """A connection to anywhere but loopback fails the test before a packet or a look-up is sent."""
    with pytest.raises(pytest.fail.Exception, match="network guard"):
        socket.create_connection((host, 443), timeout=1)
    with socket.socket() as bare, pytest.raises(pytest.fail.Exception, match="network guard"):
        bare.connect((host, 443))
    with socket.socket(type=socket.SOCK_DGRAM) as bare, pytest.raises(pytest.fail.Exception, match="network guard"):
        bare.connect_ex((host, 443))


def test_no_coroutine_leaves_this_machine() -> None:
    """The same holds for asyncio, which connects in its own way."""
    with pytest.raises(pytest.fail.Exception, match="network guard"):
        asyncio.run(asyncio.open_connection("192.0.2.1", 443))


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "localhost")])
def test_loopback_is_open(family: socket.AddressFamily, host: str) -> None:
    """A test reaches a server that it started itself."""
    with socket.socket(family) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection((host, server.getsockname()[1]), timeout=60) as client:
            assert client.getpeername()[1] == server.getsockname()[1]


def test_sockets_that_are_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket does not leave the machine."""
    monkeypatch.chdir(tmp_path)  # the whole path may be longer than such a socket's name can be
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("s")
        server.listen()
        client.connect("s")


def pins(lock: str) -> set[str]:
    """The lines of a lock that name a package, its version and where it is for."""
    lines = (HERE.parent / "requirements" / lock).read_text(encoding="utf-8").splitlines()
    return {line.removesuffix(" \\") for line in lines if re.match(r"\w", line)}


def test_one_environment_serves_demo_and_tests() -> None:
    """What the demo's lock names, the developers' lock names in the same version."""
    assert pins("demo.txt")
    assert pins("demo.txt") <= pins("dev.txt")


LOCKS = sorted(f"requirements/{file.name}" for file in (HERE.parent / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", [*LOCKS, "tests/azurite/package-lock.json"])
def test_a_lock_pins_content_and_leaves_the_source_to_the_machine(lock: str) -> None:
    """Every package of a lock has a hash, and none says which index it came from: mirrors work as configured."""
    text = (HERE.parent / lock).read_text(encoding="utf-8")
    packages = len(re.findall(r"^\w.*==|^    \"node_modules/", text, flags=re.MULTILINE))
    hashed = re.findall(r"(?:==.* \\\n    --hash=sha256:|\"integrity\": \"sha512-)", text)
    assert packages == len(hashed) > 0
    assert not re.search(r"index-url|find-links|\"resolved\"| @ ", text)
