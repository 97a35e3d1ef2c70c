"""What `unstale deploy azure` hands to `az`, judged by the Bicep compiler: its parameters, the outputs it asks for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.packaging import azure as packaging
from infra.parameters import places
from local.cli import check, deploy, main, stack, status
from shared.targets import Cloud
from tests.infra.test_azure import bicep
from tests.local.cli.test_deploy import EXAMPLE, stand_ins  # noqa: F401 - a fixture

OUTPUT = re.compile(r"properties\.outputs\.(\w+)\.value")


@pytest.fixture(name="clone")
def a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which nothing was deployed yet; what is packaged there is empty, and nothing is looked at."""
    shutil.copytree(places.ROOT / "infra" / "azure", tmp_path / "infra" / "azure")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(places, "ROOT", tmp_path)

    def package(_config: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.with_suffix(".zip").touch()

    monkeypatch.setattr(packaging, "package", package)
    for module, name in ((check, "check_live"), (status, "status"), (deploy, "wait_for_tick")):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    return tmp_path


def test_the_first_deployment_of_an_environment_compiles(clone: Path, calls: Callable[[], list[list[str]]]) -> None:
    """The step before made the parameter file and the package, and the template has each output that is taken."""
    assert main(["deploy", "azure", "--environment", "staging", "--config", str(EXAMPLE)]) == 0
    [deploying] = [call for call in calls() if call[1:4] == ["deployment", "group", "create"]]
    [publishing] = [call for call in calls() if "config-zip" in call]
    assert Path(publishing[publishing.index("--src") + 1]).is_file()
    file = deploying[deploying.index("--parameters") + 1]
    built = json.loads(bicep("build-params", file, "--stdout"))
    parameters = json.loads(built["parametersJson"])["parameters"]
    assert parameters["sources"]["value"][0]["account"] == "contosolake"
    assert parameters["name"]["value"] == "unstale-staging"
    [taken] = OUTPUT.findall(" ".join(deploying))
    assert {taken, stack.OUTPUTS[Cloud.AZURE]} <= json.loads(built["templateJson"])["outputs"].keys()
