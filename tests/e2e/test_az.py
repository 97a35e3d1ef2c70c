"""Each command line of `az` that a deployment types, parsed by the real azure-cli; nothing is sent to anybody."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.cli import main
from tests.infra.test_azd import a_project, hook, outputs_of_azd  # noqa: F401 - a fixture
from tests.infra.test_azure import FABRIC_PAGE, PAGE, typed
from tests.infra.test_deploy import a_clone  # noqa: F401 - a fixture
from tests.local.cli.test_deploy import EXAMPLE, stand_ins  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("E2E_AZ" not in os.environ, reason="the Azure CLI is apart: make e2e-az"),
]

ROOT = Path(__file__).parents[2]
AZ_PARSER = ROOT / "tests" / "support" / "az_parser.py"
PYTHON = Path(os.environ.get("E2E_AZ") or ROOT / "nowhere").resolve() / "python"


@pytest.fixture(name="az")
def real_az(tmp_path: Path) -> Callable[[list[list[str]]], subprocess.CompletedProcess[str]]:
    """The parser of azure-cli, with a configuration of its own: nobody is signed in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "PYTHON"))}
    environ = kept | {"AZURE_CONFIG_DIR": str(tmp_path / "azure"), "AZURE_CORE_COLLECT_TELEMETRY": "0"}

    def parse(calls: list[list[str]]) -> subprocess.CompletedProcess[str]:
        lines = "".join(f"{json.dumps(call)}\n" for call in calls)
        command = [PYTHON, AZ_PARSER]
        return subprocess.run(
            command, env=environ, input=lines, capture_output=True, text=True, check=False, timeout=300
        )

    return parse


Parse = Callable[[list[list[str]]], "subprocess.CompletedProcess[str]"]


def values(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What azure-cli took from each line."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_line_of_deploy_is_one_of_azure_cli(clone: Path, calls: Callable[[], list[list[str]]], az: Parse) -> None:
    """With the values where they belong."""
    assert main(["deploy", "azure", "--location", "westeurope", "--config", str(EXAMPLE)]) == 0
    account, group, deploying, publishing = values(az([call[1:] for call in calls()]))
    assert account["command"] == "account show"
    assert (group["command"], group["rg_name"], group["location"]) == ("group create", "unstale", "westeurope")
    assert (deploying["command"], deploying["deployment_name"]) == ("deployment group create", "unstale")
    assert deploying["parameters"] == [[str(clone / "infra" / "azure" / "main.bicepparam")]]
    assert publishing["command"] == "functionapp deployment source config-zip"
    assert (publishing["name"], publishing["src"]) == ("unstale-4x2", str(clone / "build" / "azure.zip"))
    assert deploying["_subscription"] == publishing["_subscription"] == "00000000-0000-4000-8000-00000000000f"


def test_each_line_of_the_pages_is_one_of_azure_cli(az: Parse) -> None:
    """What a reader types by hand, alone or inside `$(...)`."""
    typed_lines = [line for page in (PAGE, FABRIC_PAGE) for line in typed(page) if not line.endswith("\\")]
    found = [match[1] for line in typed_lines if (match := re.search(r"(?:^|\$\()az ([^)]*)", line))]
    calls = [shlex.split(words) for words in found if words != "login"]
    assert len(calls) >= 6
    assert all(each["command"] for each in values(az(calls)))


def test_the_line_that_azds_hook_types_is_one_of_azure_cli(project: Path, az: Parse) -> None:
    """After provisioning: the package into the app."""
    _, calls = hook(project, "postprovision", **outputs_of_azd())
    [published] = values(az([call[1:] for call in calls if call[0] == "az"]))
    assert published["command"] == "functionapp deployment source config-zip"
    assert (published["name"], published["src"]) == ("value-of-UNSTALE_APP", "build/azure.zip")


def test_what_is_no_line_of_azure_cli_is_refused(az: Parse) -> None:
    """So that the test above can fail: an option that is none, and one that is missing."""
    assert az([["group", "create", "--name", "g", "--place", "westeurope"]]).returncode != 0
    done = az([["functionapp", "deployment", "source", "config-zip", "--name", "a"]])
    assert done.returncode != 0
    assert "--src" in done.stderr
