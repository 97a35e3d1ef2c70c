"""What the audit of the locks says when it finds something, nothing, or knows nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from infra import audit

KNOWN = {"name": "requests", "version": "2.0.0", "vulns": []}
BAD = {"name": "urllib3", "version": "2.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0.6"]}]}
UNKNOWN = {"name": "six", "skip_reason": "Dependency not found on PyPI and could not be audited: six (1.17.0)"}


def run(tmp_path: Path, answers: list[str], *options: str) -> int:
    """`make audit` over as many locks as there are answers; a stand-in for pip-audit prints each lock's own."""
    locks = []
    for number, answer in enumerate(answers):
        lock = tmp_path / f"{number}.txt"
        lock.write_text(answer, encoding="utf-8")
        locks.append(str(lock))
    fake = tmp_path / "pip-audit"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\nprint(open(sys.argv[-1]).read())\nsys.exit(1)\n", encoding="utf-8"
    )
    fake.chmod(0o755)
    return audit.main(["--pip-audit", str(fake), *options, *locks])


def answer(*packages: object) -> str:
    """As `pip-audit --format=json` prints it."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_a_failure_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the package, its version, and the one to take."""
    assert run(tmp_path, [answer(KNOWN, BAD)]) == 1
    assert "urllib3 2.0.0: PYSEC-1, mended in 2.0.6" in capsys.readouterr().out


def test_nothing_found_is_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many packages were looked up, in each lock."""
    assert run(tmp_path, [answer(KNOWN), answer(KNOWN, KNOWN)], "--strict") == 0
    assert capsys.readouterr().out.count("0 known vulnerabilities") == 2


@pytest.mark.parametrize(("said", "why"), [(answer(UNKNOWN), "nothing is known here about 1"), ("", "exit code 1")])
def test_what_could_not_be_looked_up_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, why: str
) -> None:
    """An index without a list, or no network: never "clean", a failure where one insists, and the end of the search."""
    assert run(tmp_path, [said, said]) == 0
    told = capsys.readouterr().out
    assert f"0.txt: NOT LOOKED UP: {why}" in told
    assert "1.txt" not in told
    assert run(tmp_path, [said], "--strict") == 1


def test_a_pip_audit_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the system's own words."""
    lock = tmp_path / "a.txt"
    lock.touch()
    assert audit.main(["--pip-audit", str(tmp_path / "none"), str(lock)]) == 0
    assert "No such file" in capsys.readouterr().out
