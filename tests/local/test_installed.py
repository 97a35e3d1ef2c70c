"""The wheel, installed into an empty environment with one extra or another: what users type works from any folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local.process.store import StateFile
from shared.version import VERSION

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 120


@pytest.fixture(name="wheel", scope="session")
def a_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the clone, without a network."""
    into = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=LONGEST_SECONDS)
    [wheel] = into.glob("*.whl")
    return wheel


class Installed:
    """An environment that has the wheel, what one extra of it needs, and nothing else."""

    def __init__(self, folder: Path, wheel: Path, extra: str) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / "bin"
        self.packages = Path(self.run("python", "-c", "import site; print(site.getsitepackages()[0])").stdout.strip())
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--disable-pip-version-check"]
        install = [*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
        subprocess.run(install, check=True, capture_output=True, timeout=LONGEST_SECONDS)
        for top in tops(extra):
            (self.packages / top.name).symlink_to(top)

    def run(self, command: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, without an index for pip and without the variables of the tests."""
        ours = ("UNSTALE_", "AWS_", "PYTHON", "COV_", "COVERAGE_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        offline = {**clean, "PIP_NO_INDEX": "1", "AWS_REGION": "eu-central-1", "COLUMNS": "120"}
        line = [str(self.bin / command), *arguments]
        return subprocess.run(
            line, cwd=cwd, env=offline, check=False, capture_output=True, text=True, timeout=LONGEST_SECONDS
        )


def tops(extra: str) -> Iterator[Path]:
    """What the distributions that the extra needs have at the top of this environment's packages."""
    found: dict[str, set[str]] = {}
    waiting = [("unstale", frozenset({extra}))]
    while waiting:
        name, extras = waiting.pop()
        new = extras | {""} if name not in found else extras - found[name]
        found.setdefault(name, set()).update(new)
        waiting += [each for one in new for each in needs(name, one)]
    seen: set[Path] = set()
    for name in found.keys() - {"unstale"}:
        for file in distribution(name).files or ():
            top = Path(str(distribution(name).locate_file(file.parts[0])))
            if ".." not in file.parts and file.parts[0] != "__pycache__" and top not in seen and top.exists():
                seen.add(top)
                yield top


def needs(name: str, extra: str) -> Iterator[tuple[str, frozenset[str]]]:
    """What a distribution needs here for an extra; ours by the project file, since this environment's may be older."""
    for text in requirements(name):
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield one.name.lower().replace("_", "-"), frozenset(one.extras)


def requirements(name: str) -> list[str]:
    """As `Requires-Dist` has them."""
    if name != "unstale":
        return distribution(name).requires or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return project["dependencies"] + [with_extra(text, extra) for extra, texts in extras for text in texts]


def with_extra(text: str, extra: str) -> str:
    """The requirement, where this extra is asked for."""
    requirement, _, marker = text.partition(";")
    always = "python_version >= '3.11'"
    return f"{requirement}; ({marker or always}) and extra == '{extra}'"


@pytest.fixture(name="installed", scope="session")
def with_all(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    """With everything."""
    return Installed(tmp_path_factory.mktemp("all"), wheel, "all")


@pytest.fixture(name="home")
def a_working_folder(tmp_path: Path) -> Path:
    """A folder of a user's, with a configuration, and an event."""
    shutil.copyfile(ROOT / "unstale.example.toml", tmp_path / "unstale.toml")
    return tmp_path


TARGET = "daily_revenue"
"""A target of the example."""
STATE = ("--state", "unstale.db")
COMMANDS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "check": ((), 0, "good, 3 targets"),
    "plan": (("--sample", "s3"), 0, "PutObject"),
    "init": ((), 2, "is there already"),
    "demo": (("do", "nonsense"), 2, "WHAT is one of"),
    "status": (STATE, 1, "no tick was noted"),
    "explain": ((TARGET, *STATE), 1, "What you can do"),
    "history": ((TARGET, *STATE), 0, "no runs yet"),
    "refresh": ((TARGET, *STATE), 1, "does not name"),
    "pause": ((TARGET, *STATE), 1, "does not name"),
    "resume": ((TARGET, *STATE), 1, "does not name"),
    "redrive": (("--dry-run", *STATE), 0, "dead letters"),
    "infra": (("aws",), 0, "ConfigFingerprint="),
    "package": (("aws", "--environment", "x y"), 2, "x y"),
    "login": ((), 2, "nobody needs to sign in"),
    "completion": (("bash",), 0, "complete"),
    "run": (("--state", "nowhere/unstale.db"), 2, "cannot open nowhere/unstale.db"),
    "page": (STATE, 0, "open it in a browser"),
    "deploy": (("aws", "--dry-run"), 0, "step 1 of"),
}
"""A use of each command that needs no cloud, on a state that nobody has written to: exit code, and what it says."""


def test_nothing_of_ours_has_a_common_name_there(installed: Installed, home: Path) -> None:
    """`import shared` finds nothing in somebody else's environment: the wheel has one folder, `unstale`."""
    for name in ("shared", "local", "infra", "functions_aws", "functions_azure"):
        done = installed.run("python", "-c", f"import {name}", cwd=home)
        assert "ModuleNotFoundError" in done.stderr, name
    ours = {each.name for each in installed.packages.iterdir() if not each.is_symlink()}
    assert ours - {"__pycache__"} == {"unstale", f"unstale-{VERSION}.dist-info"}


def test_it_says_its_version(installed: Installed) -> None:
    """`unstale --version`."""
    assert installed.run("unstale", "--version").stdout == f"unstale {VERSION}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(installed: Installed, home: Path, command: str) -> None:
    """Every one does something there, and says it in its own words."""
    with StateFile(home / "unstale.db"):
        pass
    arguments, code, said = COMMANDS[command]
    done = installed.run("unstale", command, *arguments, cwd=home)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_all_commands_are_tried(installed: Installed) -> None:
    """The list above is that of `unstale --help`."""
    told = installed.run("unstale", "--help").stdout.partition("COMMAND")[2]
    assert set(re.findall(r"^    (\w+) ", told, flags=re.MULTILINE)) == set(COMMANDS)


def test_check_infra_and_plan_work_there(installed: Installed, home: Path) -> None:
    """From a folder that has a configuration alone."""
    checked = installed.run("unstale", "check", cwd=home)
    assert checked.returncode == 0, checked.stderr
    for cloud in ("aws", "azure"):
        done = installed.run("unstale", "infra", cloud, "--json", cwd=home)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["parameters"]
    assert not (home / "infra").exists()
    (home / "event.json").write_text('{"tick": true}', encoding="utf-8")
    planned = installed.run("unstale", "plan", "event.json", cwd=home)
    assert planned.returncode == 0, planned.stderr


def test_what_is_written_is_written_into_the_working_folder(installed: Installed, home: Path) -> None:
    """The templates come along, this release's; what a user has changed beside them stays."""
    (home / "infra/azure").mkdir(parents=True)
    (home / "infra/azure/main.bicepparam").write_text("mine", encoding="utf-8")
    (home / "infra/azure/main.bicep").write_text("old", encoding="utf-8")
    for cloud, template in (("aws", "template.yaml"), ("azure", "main.bicep")):
        done = installed.run("unstale", "infra", cloud, "--write", cwd=home)
        assert done.returncode == 0, done.stderr
        assert (home / "infra" / cloud / template).read_bytes() == (ROOT / "infra" / cloud / template).read_bytes()
    assert (home / "infra/azure/main.bicepparam").read_text(encoding="utf-8") == "mine"
    assert "parameter_overrides" in (home / "infra/aws/samconfig.toml").read_text(encoding="utf-8")
    assert json.loads((home / "infra/azure/default.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_package_finds_the_lock_and_says_what_is_missing(installed: Installed, home: Path, cloud: str) -> None:
    """Here pip is not there, as with some installers, and there is no index either: one sentence, exit code 1."""
    done = installed.run("unstale", "package", cloud, cwd=home)
    assert done.returncode == 1
    assert f"pip could not install {cloud}.txt" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "build" / f"{cloud}.zip").exists()


def test_the_wheel_has_the_templates_and_the_locks(installed: Installed) -> None:
    """As the clone has them."""
    folder = installed.packages / "unstale"
    for file in ("requirements/aws.txt", "infra/aws/template.yaml", "infra/azure/main.bicep", "local/demo/demo.toml"):
        assert (folder / file).read_bytes() == (ROOT / file).read_bytes(), file
    assert not (folder / "tests").exists()


@pytest.mark.parametrize(("extra", "absent"), [("aws", "azure"), ("azure", "boto3")])
def test_one_cloud_alone_is_enough(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, home: Path, extra: str, absent: str
) -> None:
    """With the extra of one cloud, its commands work; another's say what to install."""
    one = Installed(tmp_path_factory.mktemp(extra), wheel, extra)
    assert "ModuleNotFoundError" in one.run("python", "-c", f"import {absent}").stderr
    assert one.run("unstale", "check", cwd=home).returncode == 0
    assert one.run("unstale", "infra", extra, cwd=home).returncode == 0
    done = one.run("unstale", "demo", cwd=home)
    assert done.returncode == 1
    assert "install unstale[all]" in done.stderr
