"""A deployment is found by its name: the outputs of a stack, or of a deployment on Azure, stand for variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.cli import stack
from local.cli.errors import NotWellError, UsageError
from local.cli.main import main
from local.emulators.http_server import LoopbackServer
from shared.config.load import Configuration, load
from shared.targets import Cloud
from tests.support.arm_server import SUBSCRIPTION, Arm, serving
from tests.support.aws_host import CONFIGURATION, NOWHERE
from tests.support.az import sign_in
from tests.support.cloudformation_server import CloudFormation, environment_output

KIND = "Microsoft.Resources/deployments"
NAME = f"{SUBSCRIPTION}/sales/unstale"
VALUES = {
    "AWS::Region": "eu-west-1",
    "Table": "the-table",
    "Wakes": "https://sqs.eu-west-1.amazonaws.com/1/wakes",
    "Events": "https://sqs.eu-west-1.amazonaws.com/1/events",
}
BICEP = Path(__file__).parents[3] / "infra" / "azure" / "main.bicep"
EXPORTED = re.findall(r"'export (\w+)=", BICEP.read_text(encoding="utf-8"))
"""The variables that the template's output `environment` has."""


@pytest.fixture(name="aws")
def a_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    """A Region with one stack of the template, called `sales`; no variable of a deployment is set."""
    for name in [name for name in os.environ if name.startswith(("UNSTALE_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    there = CloudFormation()
    there.stacks["sales"] = {"Environment": environment_output(VALUES), "Log": "aws logs tail"}
    with LoopbackServer(there.respond, lambda: datetime.now(UTC)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.url)
        yield there


@pytest.fixture(name="azure")
def a_deployment(aws: CloudFormation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arm]:
    """A resource group with one deployment of the template, called `unstale`, for whom `az login` signed in."""
    arm = Arm("unstalestore")
    lines = "\n".join(f"export {name}={name.lower()}" for name in EXPORTED)
    arm.add(
        {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/sales/providers/{KIND}/unstale",
            "type": KIND,
            "properties": {"outputs": {"environment": {"type": "String", "value": lines}}},
        }
    )
    sign_in(tmp_path, monkeypatch)
    with serving(arm) as [url]:
        monkeypatch.setenv("UNSTALE_MANAGEMENT_URL", url)
        yield arm


def configured(name: str = "") -> Configuration:
    """A configuration whose file names this stack."""
    return load(CONFIGURATION + (f'\n[deployment]\nstack = "{name}"\n' if name else ""))


def test_the_option_leads_to_the_stack(aws: CloudFormation, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four variables, whatever this shell has; when the command is over, the shell's own variable stands again."""
    monkeypatch.setenv("UNSTALE_TABLE", "another")
    monkeypatch.setenv("UNSTALE_STACK", "elsewhere")
    with stack.name_stacks(["sales"]):
        found = stack.environment(Cloud.AWS, configured("third"))
    assert os.environ["UNSTALE_STACK"] == "elsewhere"
    assert {name: found[name] for name in ("AWS_REGION", "UNSTALE_TABLE", "UNSTALE_QUEUE_URL")} == {
        "AWS_REGION": "eu-west-1",
        "UNSTALE_TABLE": "the-table",
        "UNSTALE_QUEUE_URL": VALUES["Wakes"],
    }
    assert found["UNSTALE_EVENTS_QUEUE_URL"] == VALUES["Events"]
    with stack.name_stacks(()):
        assert os.environ["UNSTALE_STACK"] == "elsewhere"


def test_an_arn_names_its_region(aws: CloudFormation) -> None:
    """So that a shell for one Region can look at another."""
    arn = "arn:aws:cloudformation:us-east-2:123456789012:stack/sales/0a4f1c2e"
    aws.stacks[arn] = aws.stacks["sales"]
    with stack.name_stacks([arn]):
        stack.environment(Cloud.AWS, configured())
    assert "/us-east-2/cloudformation/" in aws.asked[0]["authorization"]


def test_what_the_file_names_gives_way_to_pasted_variables(
    aws: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked only where these do not lead to a deployment: no call is made for nothing."""
    found = stack.environment(Cloud.AWS, configured("sales"))
    assert (found["UNSTALE_TABLE"], len(aws.asked)) == ("the-table", 1)
    for name in ("UNSTALE_TABLE", "UNSTALE_QUEUE_URL", "UNSTALE_EVENTS_QUEUE_URL"):
        monkeypatch.setenv(name, "pasted")
    found = stack.environment(Cloud.AWS, configured("sales"))
    assert (found["UNSTALE_TABLE"], len(aws.asked)) == ("pasted", 1)


def test_missing_variables_are_named_all_at_once(aws: CloudFormation, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the three ways to name the deployment, and the output that has them."""
    with pytest.raises(UsageError, match=r"UNSTALE_TABLE and .*_QUEUE_URL and UNSTALE_EVENTS_QUEUE_URL are"):
        stack.environment(Cloud.AWS, configured())
    with pytest.raises(UsageError, match=r"--stack, UNSTALE_STACK or \[deployment\] stack, or paste its output env"):
        stack.environment(Cloud.AZURE, configured())
    monkeypatch.setenv("UNSTALE_STORAGE__tableServiceUri", "https://x")
    with pytest.raises(UsageError, match=r"UNSTALE_STORAGE__queueServiceUri is not set"):
        stack.environment(Cloud.AZURE, configured())
    monkeypatch.setenv("UNSTALE_STORAGE", "connection")
    assert stack.environment(Cloud.AZURE, configured())
    monkeypatch.setenv("UNSTALE_TABLE", "t")
    monkeypatch.setenv("UNSTALE_QUEUE_URL", "q")
    assert stack.environment(Cloud.AWS, configured()), "scripts of release 1 go on; status says what it cannot know"


def test_a_name_that_no_stack_has_is_wrong_usage(aws: CloudFormation) -> None:
    """With the Region that was asked; what may not be read is not well; what has no such output is none of ours."""
    with (
        stack.name_stacks(["seles"]),
        pytest.raises(UsageError, match=r"no stack seles in eu-central-1: .* AWS_REGION"),
    ):
        stack.environment(Cloud.AWS, configured())
    aws.stacks["other"] = {"Log": "x"}
    with stack.name_stacks(["other"]), pytest.raises(UsageError, match=r"other has no output that names variables"):
        stack.environment(Cloud.AWS, configured())
    aws.refusal = "User is not authorized"
    with stack.name_stacks(["sales"]), pytest.raises(NotWellError, match=r"AccessDenied"):
        stack.environment(Cloud.AWS, configured())
    with (
        stack.name_stacks(["a/b"]),
        pytest.raises(UsageError, match=r"expected a stack's name, or subscription/group/"),
    ):
        stack.environment(Cloud.AWS, configured())


def test_a_deployment_on_azure_is_read_with_the_token_of_az_login(azure: Arm) -> None:
    """Every variable of the template's output; the other cloud's name beside it is left to the other cloud."""
    with stack.name_stacks(["sales", NAME]):
        found = stack.environment(Cloud.AZURE, configured())
    assert {name: found[name] for name in EXPORTED} == {name: name.lower() for name in EXPORTED}
    assert {authorization for _, authorization in azure.asked} == {"Bearer token-for-https://management.azure.com"}


def test_a_deployment_on_azure_that_is_not_there_is_said_so(azure: Arm) -> None:
    """As Resource Manager words it; a subscription may go by its title, if one alone has it."""
    with (
        stack.name_stacks([f"{NAME}-old"]),
        pytest.raises(UsageError, match=r"no deployment .*unstale-old: ResourceNotFound"),
    ):
        stack.environment(Cloud.AZURE, configured())
    with (
        stack.name_stacks(["Sales/sales/unstale"]),
        pytest.raises(UsageError, match=r"0 subscriptions .* called 'Sales'"),
    ):
        stack.environment(Cloud.AZURE, configured())
    azure.refuses["/deployments/"] = (403, {"error": {"code": "AuthorizationFailed", "message": "no"}})
    with stack.name_stacks([NAME]), pytest.raises(NotWellError, match=r"AuthorizationFailed"):
        stack.environment(Cloud.AZURE, configured())


def test_a_subscription_may_go_by_its_title(azure: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """People know that better than an id."""
    listed = [{"subscriptionId": SUBSCRIPTION, "displayName": "Sales"}]
    answered = azure._listed
    monkeypatch.setattr(
        azure, "_listed", lambda path, wanted: listed if path == "/subscriptions" else answered(path, wanted)
    )
    with stack.name_stacks(["Sales/sales/unstale"]):
        assert stack.environment(Cloud.AZURE, configured())["UNSTALE_CLIENT_ID"] == "unstale_client_id"


def test_commands_take_the_name(
    aws: CloudFormation, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an option, a variable, or from the file; `check --live` makes a finding of one that is not there."""
    file = tmp_path / "unstale.toml"
    file.write_text(CONFIGURATION, encoding="utf-8")
    for command in (["status"], ["history", "daily"], ["refresh", "daily"], ["pause", "--all"], ["redrive"]):
        assert main([*command, "--config", str(file), "--stack", "seles"]) == 2, command
        assert "no stack seles" in capsys.readouterr().err
    monkeypatch.setenv("UNSTALE_STACK", "seles")
    assert main(["explain", "daily", "--config", str(file)]) == 2
    assert main(["check", "--live", "--config", str(file)]) == 1
    assert "no stack seles" in capsys.readouterr().out


# --- Variables that lead to where nothing may be sent ----------------------------------------------------------------

UNSAFE = "http://example.com"


@pytest.mark.parametrize("command", [["status"], ["init", "--glue-database", "sales"], ["check", "--live"]])
def test_no_signed_request_leaves_for_an_unsafe_endpoint(
    aws: CloudFormation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    """The variable is named and nothing is asked, in every command that asks before it has the settings."""
    sent: list[str] = []
    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", lambda _self, request: sent.append(request.url))
    file = tmp_path / ("new.toml" if command[0] == "init" else "unstale.toml")
    (tmp_path / "unstale.toml").write_text(CONFIGURATION, encoding="utf-8")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLOUDFORMATION", "AWS_ENDPOINT_URL_GLUE"):
        monkeypatch.setenv(name, UNSAFE)
    if command[0] == "status":
        monkeypatch.setenv("UNSTALE_STACK", "sales")
    assert main([*command, "--config", str(file)]) == (1 if command[0] == "check" else 2)
    said = capsys.readouterr()
    assert "AWS_ENDPOINT_URL" in said.out + said.err
    assert "must be https" in " ".join((said.out + said.err).split())
    assert sent == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("UNSTALE_CLOUD", "pubic", "must be one of"), ("UNSTALE_MANAGEMENT_URL", UNSAFE, "must be https")],
)
def test_a_wrong_variable_of_azure_is_wrong_usage(
    azure: Arm, monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str
) -> None:
    """Where a name leads to the deployment, too: a sentence, and no token leaves."""
    monkeypatch.setenv(name, value)
    with stack.name_stacks([NAME]), pytest.raises(UsageError, match=f"{name} .*{word}"):
        stack.environment(Cloud.AZURE, configured())
    assert azure.asked == []
