"""The Region: AWS_REGION first, for the function and for every command, whatever other variable or profile there is."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions_aws.clients import Clients, session
from functions_aws.settings import read
from functions_aws.store import Store
from local.cli import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh.records import write
from shared.refresh.state import State
from tests.support.aws_host import CONFIGURATION, living_in

ROOT = Path(__file__).parents[3]
ELSEWHERE = "us-west-2"

COMMANDS = {
    "status": (),
    "history": ("daily",),
    "refresh": ("daily",),
    "pause": ("--all",),
    "resume": ("--all",),
    "redrive": ("--dry-run",),
}
"""What asks the deployment; `check --live` and `infra aws`, which ask in other words, have tests of their own."""


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """One deployment for all, in the Region of the emulator; moto keeps the others apart and empty."""
    with living_in(LocalAws()) as there:
        settings = read({**there.environment({}), "AWS_REGION": there.region})
        store = Store(Clients(there.region), settings.table)
        for target in load(CONFIGURATION).targets:
            store.save(store.load(target.key), write(State(definition=target.definition, edition=1)), None)
        yield there


@pytest.fixture(name="config", autouse=True)
def configured(aws: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two targets, and a shell that knows the deployment, but no Region."""
    config = tmp_path / "unstale.toml"
    config.write_text(CONFIGURATION, encoding="utf-8")
    events = {"UNSTALE_EVENTS_QUEUE_URL": aws.queues["events"].url}
    for name, value in (aws.environment({}) | events).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return config


def shells(region: str) -> dict[str, dict[str, str]]:
    """Shells that mean this Region, each in another way."""
    return {
        "AWS_REGION alone": {"AWS_REGION": region},
        "AWS_DEFAULT_REGION alone": {"AWS_DEFAULT_REGION": region},
        "AWS_REGION before the other": {"AWS_REGION": region, "AWS_DEFAULT_REGION": ELSEWHERE},
    }


@pytest.mark.parametrize("shell", shells(""))
def test_every_command_finds_the_deployment(
    aws: LocalAws, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    """One variable is enough, and of two AWS_REGION counts: nothing is looked for in another Region."""
    for name, value in shells(aws.region)[shell].items():
        monkeypatch.setenv(name, value)
    for command, arguments in COMMANDS.items():
        main([command, *arguments, "--config", str(config)])
        assert "unstale: " not in capsys.readouterr().err, command


@pytest.mark.parametrize("shell", shells(""))
def test_a_live_check_says_which_region_it_asks(
    aws: LocalAws, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    """Its first finding is who asks and where."""
    for name, value in shells(aws.region)[shell].items():
        monkeypatch.setenv(name, value)
    main(["check", "--live", "--json", "--config", str(config)])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found[0]["what"] == "caller"
    assert found[0]["found"].endswith(f", Region {aws.region}")
    [table] = [each for each in found if each["what"].startswith("table ")]
    assert table["well"], table
    looked_at = [each["what"] for each in found if each["what"].startswith(("source ", "sources ", "database "))]
    assert looked_at, "the sources are looked at with the same credentials, in the same Region"


@pytest.mark.parametrize("shell", shells(""))
def test_parameters_are_for_the_region_that_is_asked(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    """The ARNs that the role gets name it, where samconfig.toml names none."""
    for name, value in shells("eu-south-2")[shell].items():
        monkeypatch.setenv(name, value)
    assert main(["infra", "aws", "--json", "--config", str(config)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["region"] == "eu-south-2"
    assert "arn:aws:glue:eu-south-2:" in said["parameters"]["GlueResources"]


@pytest.mark.parametrize("command", [*COMMANDS, "check"])
def test_without_a_region_the_variable_is_named(config: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A sentence that says what to set, and no traceback."""
    arguments = COMMANDS.get(command, ("--live",))
    assert main([command, *arguments, "--config", str(config)]) == 1
    said = capsys.readouterr()
    assert "AWS_REGION" in said.out + said.err


@pytest.mark.parametrize("command", [*COMMANDS, "check", "infra"])
def test_a_profile_that_does_not_exist_is_a_sentence(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """It is named, with the variable that names it, and said once."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    arguments = {"check": ("--live",), "infra": ("aws",)} | COMMANDS
    code = main([command, *arguments[command], "--config", str(config)])
    said = capsys.readouterr()
    text = said.out + said.err
    assert code == (2 if command == "infra" else 1)
    assert "nobody" in text
    assert "AWS_PROFILE" in text
    assert "Traceback" not in text


def test_the_function_goes_by_it_too() -> None:
    """Lambda sets both variables; the settings read the one, and the SDK's session is opened with it."""
    environ = {"UNSTALE_TABLE": "t", "UNSTALE_QUEUE_URL": "https://q", "AWS_REGION": "eu-west-3"}
    assert read(environ).region == "eu-west-3"
    assert session("eu-west-3").get_config_variable("region") == "eu-west-3"
    assert session("eu-west-3").create_client("sqs").meta.region_name == "eu-west-3"


def test_no_client_of_the_product_is_without_the_region() -> None:
    """`Clients` gets the Region of the settings wherever the product builds it; a new command is not forgotten."""
    for file in [*(ROOT / "local").rglob("*.py"), *(ROOT / "functions_aws").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Clients":
                assert node.args or node.keywords or "azure" in file.as_posix(), f"{file}:{node.lineno}"
