"""`azd up`: its hooks are run, and what it provisions compiles. azd itself is not run by any test, as the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.parameters import places
from local.cli import stack
from local.cli.main import parser
from shared.targets import Cloud
from tests.infra.test_azure import FOLDER, ROOT, bicep
from tests.local.cli.test_deploy import STAND_IN

GIVEN = {
    "AZURE_ENV_NAME": "sales",
    "AZURE_LOCATION": "westeurope",
    "AZURE_PRINCIPAL_ID": "0a4f1c2e-0000-4000-8000-00000000000a",
    "AZURE_SUBSCRIPTION_ID": "00000000-0000-4000-8000-000000000001",
}
"""What azd sets: the user answered name, subscription and region."""
MAIN = FOLDER / "azd" / "main.bicep"


@pytest.fixture(name="project")
def a_project(tmp_path: Path) -> Path:
    """A clone's files that azd reads, with the parameters that a package writes; nothing of azd was run there."""
    for name in ("aws", "azure"):
        shutil.copytree(ROOT / "infra" / name, tmp_path / "infra" / name, ignore=shutil.ignore_patterns("*.json"))
    for file in ("bicepconfig.json", "default.example.json"):
        shutil.copy(FOLDER / file, tmp_path / "infra" / "azure" / file)
    shutil.copytree(FOLDER / "queries", tmp_path / "infra" / "azure" / "queries", dirs_exist_ok=True)
    shutil.copy(FOLDER / "default.example.json", tmp_path / "infra" / "azure" / "default.json")
    (tmp_path / "infra" / "azure" / "azd" / "main.bicepparam").unlink(missing_ok=True)
    return tmp_path


def hook(project: Path, name: str, **more: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run a hook as azd does, in the folder of azure.yaml, by its own shell; gives it, and which commands it typed."""
    for program in ("unstale", "az"):
        file = project / "bin" / program
        file.parent.mkdir(exist_ok=True)
        file.write_text(STAND_IN, encoding="utf-8")
        file.chmod(0o755)
    named = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))["hooks"][name]
    calls = project / "calls"
    calls.unlink(missing_ok=True)
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": path, "CALLS": str(calls), **GIVEN, **more}
    command = [str(shutil.which(named["shell"])), named["run"]]
    done = subprocess.run(command, cwd=project, env=environ, check=False, capture_output=True, text=True, timeout=60)
    typed = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
    return done, [json.loads(line) for line in typed]


def outputs_of_azd() -> dict[str, str]:
    """What azd hands to the hooks after provisioning: each output of the template under its name."""
    names = re.findall(r"^output (\w+) ", MAIN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: f"value-of-{name}" for name in names}


def test_azd_finds_its_files() -> None:
    """The template where azure.yaml says, and hooks that can be run."""
    project = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
    assert (ROOT / project["infra"]["path"] / f"{project['infra']['module']}.bicep") == MAIN
    for each in project["hooks"].values():
        assert os.access(ROOT / each["run"], os.X_OK)


def test_before_provisioning_parameters_and_package_are_made(project: Path) -> None:
    """By a command that there is; and the parameter file, which is the user's from then on."""
    done, calls = hook(project, "preprovision", UNSTALE_CONFIG="unstale.sales.toml")
    assert done.returncode == 0, done.stderr
    [[_, *words]] = calls
    given = parser().parse_args(words)
    assert (given.command, given.cloud, given.config, given.environment) == (
        "package",
        "azure",
        "unstale.sales.toml",
        "default",
    )
    mine = project / "infra" / "azure" / "azd" / "main.bicepparam"
    assert mine.read_text(encoding="utf-8").startswith("using 'main.bicep'")
    mine.write_text("mine", encoding="utf-8")
    hook(project, "preprovision")
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_package_that_cannot_be_made_ends_it(project: Path) -> None:
    """Azd goes no further where a hook fails."""
    done, _ = hook(project, "preprovision", FAILS="package")
    assert done.returncode != 0


def test_what_it_provisions_compiles(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the user answered and what was packaged; whoever runs azd may use the command afterwards."""
    hook(project, "preprovision")
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    file = project / "infra" / "azure" / "azd" / "main.bicepparam"
    built = json.loads(bicep("build-params", file, "--stdout"))
    values = {name: each["value"] for name, each in json.loads(built["parametersJson"])["parameters"].items()}
    assert (values["environmentName"], values["location"]) == ("sales", "westeurope")
    assert values["sources"][0]["account"] == "contosolake"
    assert values["operators"] == [{"principalId": GIVEN["AZURE_PRINCIPAL_ID"], "principalType": "User"}]
    [module] = [
        each
        for each in json.loads(built["templateJson"])["resources"].values()
        if each["type"] == "Microsoft.Resources/deployments"
    ]
    assert module["name"] == "unstale"
    assert stack.OUTPUTS[Cloud.AZURE] in module["properties"]["template"]["outputs"]


def test_after_provisioning_the_package_is_published_and_looked_at(project: Path) -> None:
    """Into the app that the template made; what is not well yet is said, and is no failure of azd's."""
    outputs = outputs_of_azd()
    done, calls = hook(project, "postprovision", **outputs)
    assert done.returncode == 0, done.stderr
    done, again = hook(project, "postprovision", **outputs, FAILS="check")
    assert done.returncode == 0, done.stderr
    assert again == calls
    [published, looked] = calls
    assert published == [
        "az", "functionapp", "deployment", "source", "config-zip", "--subscription", GIVEN["AZURE_SUBSCRIPTION_ID"],
        "--resource-group", "value-of-AZURE_RESOURCE_GROUP", "--name", "value-of-UNSTALE_APP",
        "--src", "build/azure.zip",
    ]  # fmt: skip
    assert places.build("azure").with_suffix(".zip") == ROOT / published[-1]
    given = parser().parse_args(looked[1:])
    assert (given.command, given.live, given.cloud, given.stack) == ("check", True, "azure", ["value-of-UNSTALE_STACK"])
    assert "Once the cures are done: unstale check --live" in done.stdout
    assert hook(project, "postprovision", **outputs, FAILS="config-zip")[0].returncode != 0
    assert hook(project, "postprovision")[0].returncode != 0
