"""`python -m infra.audit`: which versions in the locks have known vulnerabilities, as `pip-audit` says.

What cannot be looked up (no network, or an index that keeps no list of vulnerabilities) is not called clean: the answer
says so. With `--strict` it is a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

LOCKS: Final = Path(__file__).parents[1] / "requirements"
"""Every lock of the repository. Tools are looked up as well as what is deployed: they run where secrets are at hand."""

PATIENCE_SECONDS: Final = 120
"""The longest that one lock may take: its packages, some hundred, are asked for one after the other."""


class Exit(IntEnum):
    """Exit codes, as those of `unstale`."""

    CLEAN = 0
    VULNERABLE = 1


class Audit(NamedTuple):
    """An answer about one lock: vulnerabilities found, packages that were looked up, and those that were not."""

    found: tuple[str, ...] = ()
    known: int = 0
    unknown: int = 0
    failure: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Look every lock up, the smallest first; the first that nothing is known of ends the search."""
    parser = argparse.ArgumentParser(prog="python -m infra.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="what could not be looked up is a failure")
    parser.add_argument("--pip-audit", default="pip-audit", metavar="COMMAND")
    parser.add_argument("locks", nargs="*", type=Path, help="default: all in requirements/")
    given = parser.parse_args(arguments)
    locks = given.locks or sorted(LOCKS.glob("*.txt"), key=lambda lock: lock.stat().st_size)
    verdict = Exit.CLEAN
    for lock in locks:
        audit = audit_of(given.pip_audit, lock)
        verdict = max(verdict, report(lock, audit, strict=given.strict))
        if not audit.known:
            print("so the other locks were not looked at")
            break
    return verdict


def audit_of(command: str, lock: Path) -> Audit:
    """Ask `pip-audit` about one lock, which has all versions and hashes, so that nothing is resolved or installed.

    Its exit code says only that there is something to tell, so what counts is the JSON; without any, its last line.
    """
    call = [command, "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", "-r", str(lock)]
    try:
        done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as failure:
        return Audit(failure=str(failure))
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        return Audit(failure=done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")


def read(answer: dict[str, Any]) -> Audit:
    """Read `pip-audit`'s own format: a package has `vulns`, or a `skip_reason`."""
    looked_up = [each for each in answer["dependencies"] if "skip_reason" not in each]
    found = tuple(in_words(package, each) for package in looked_up for each in package["vulns"])
    return Audit(found, len(looked_up), len(answer["dependencies"]) - len(looked_up))


def in_words(package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    """A vulnerability of a package, with the version to take."""
    mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
    return f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {mended}"


def report(lock: Path, audit: Audit, *, strict: bool) -> Exit:
    """Print what is known about one lock, and judge it."""
    for each in audit.found:
        print(f"{lock.name}: {each}")
    if audit.unknown or audit.failure:
        why = audit.failure or f"nothing is known here about {audit.unknown} of its packages"
        print(f"{lock.name}: NOT LOOKED UP: {why}")
    if audit.known:
        print(f"{lock.name}: {audit.known} packages looked up, {len(audit.found)} known vulnerabilities")
    incomplete = bool(audit.unknown or audit.failure)
    return Exit.VULNERABLE if audit.found or (strict and incomplete) else Exit.CLEAN


if __name__ == "__main__":
    sys.exit(main())
