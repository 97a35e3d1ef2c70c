"""`unstale deploy`: every step is printed before it runs, and the first that fails ends it with its name and a cure."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.parameters import places
from local.cli import check, deploy, main, package, stack, status
from local.cli.deployment import read_config
from local.cli.errors import NotWellError, UsageError
from shared.refresh import records
from shared.refresh.state import Deployment, Edition
from shared.targets import Cloud
from tests.local.cli.test_cli import Deployment as Deployed
from tests.local.cli.test_cli import aws, deployed  # noqa: F401 - fixtures

EXAMPLE = Path(__file__).parents[3] / "unstale.example.toml"
NAME = "00000000-0000-4000-8000-000000000001/sales/unstale"
STAND_IN = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
asked = " ".join(sys.argv[1:])
if os.environ.get("FAILS") and os.environ["FAILS"] in asked:
    sys.exit(os.environ["FAILS"] + " is refused")
if "account show" in asked:
    print("00000000-0000-4000-8000-00000000000f")
if "deployment group create" in asked:
    print(os.environ.get("APP", "unstale-4x2"))
"""
"""A stand-in for `sam` and `az`: it records its arguments, answers what is asked for, fails where it is told to."""


@pytest.fixture(name="calls")
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """`sam` and `az` on the PATH; gives what they were called with."""
    for program in ("sam", "az"):
        file = tmp_path / "bin" / program
        file.parent.mkdir(exist_ok=True)
        file.write_text(STAND_IN, encoding="utf-8")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for name in ("UNSTALE_STACK", "FAILS", "APP"):
        monkeypatch.delenv(name, raising=False)

    def called() -> list[list[str]]:
        file = tmp_path / "calls"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    return called


@pytest.fixture(name="ours")
def own_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Our own steps, which have tests of their own; gives which ran, for which stack."""
    ran: list[tuple[str, str]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *arguments, **options: ran.append((name, os.environ.get(stack.VARIABLE, "")))

    monkeypatch.setattr(package, "package", note("package"))
    monkeypatch.setattr(check, "check_live", note("check"))
    monkeypatch.setattr(status, "status", note("status"))
    monkeypatch.setattr(deploy, "wait_for_tick", note("tick"))
    return ran


def lines(printed: str) -> list[str]:
    """The commands among what was printed."""
    return [line for line in printed.splitlines() if not line.startswith("#")]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are typed from the folder in which a clone is."""
    monkeypatch.chdir(places.ROOT)


def run(*words: str) -> int:
    """`unstale deploy ...` with the example's configuration."""
    return main(["deploy", *words, "--config", str(EXAMPLE)])


@pytest.mark.parametrize("cloud", ["aws", "azure"])
def test_a_dry_run_prints_each_step_and_runs_none(
    cloud: str, calls: Callable[[], list[list[str]]], ours: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbered, each a line that a shell takes; no program is needed for it, and nothing is written."""
    assert run(cloud, "--dry-run") == 0
    printed = capsys.readouterr().out
    steps = lines(printed)
    assert printed.count("# step ") == len(steps)
    assert f"# step {len(steps)} of {len(steps)}: " in printed
    programs = [shlex.split(step.partition("$(")[2].rstrip(")") or step)[0] for step in steps]
    assert (
        programs
        == {
            "aws": ["unstale", "sam", "env", "env"],
            "azure": ["az", "unstale", "az", "az", "unstale", "unstale"],
        }[cloud]
    )
    assert calls() == []
    assert ours == []


def test_on_aws_the_steps_run_in_their_order(
    calls: Callable[[], list[list[str]]], ours: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Package, `sam deploy` with the environment's parameters, and both looks at that stack, in its Region."""
    assert run("aws", "--environment", "staging") == 0
    assert ours == [
        ("package", ""),
        ("check", "unstale-staging"),
        *[(n, "unstale-staging") for n in ("tick", "status")],
    ]
    [sam] = calls()
    template = "infra/aws/template.yaml"
    assert sam == [
        "sam", "deploy", "--template-file", template, "--config-env", "staging", "--stack-name", "unstale-staging",
        "--region", "eu-central-1", "--no-confirm-changeset", "--no-fail-on-empty-changeset",
    ]  # fmt: skip
    assert shlex.split(lines(capsys.readouterr().out)[1]) == sam


def test_from_another_folder_paths_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what is printed can be typed there."""
    monkeypatch.chdir(tmp_path)
    assert run("azure", "--dry-run") == 0
    assert str(places.ROOT / "infra" / "azure" / "main.bicepparam") in capsys.readouterr().out


def test_on_aws_an_arn_names_stack_and_region(
    calls: Callable[[], list[list[str]]], ours: list[tuple[str, str]]
) -> None:
    """Which counts before this shell's Region."""
    assert run("aws", "--stack", "arn:aws:cloudformation:us-east-2:123456789012:stack/sales/0a4f1c2e") == 0
    assert calls()[0][calls()[0].index("--stack-name") :][:4] == ["--stack-name", "sales", "--region", "us-east-2"]
    assert ours[-1] == ("status", "sales")


def test_on_azure_what_a_step_tells_is_what_the_next_ones_use(
    calls: Callable[[], list[list[str]]], ours: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The subscription of `az login` where none is named, and the name of the app that the deployment made."""
    assert run("azure", "--location", "westeurope") == 0
    subscription = "00000000-0000-4000-8000-00000000000f"
    deployment = f"{subscription}/unstale/unstale"
    assert ours == [("package", ""), ("check", deployment), ("tick", deployment), ("status", deployment)]
    account, group, deploying, publishing = calls()
    assert account[1:3] == ["account", "show"]
    assert group[1:] == [
        "group", "create", "--subscription", subscription, "--name", "unstale",
        "--location", "westeurope", "--output", "none",
    ]  # fmt: skip
    assert deploying[deploying.index("--parameters") + 1] == "infra/azure/main.bicepparam"
    assert publishing[publishing.index("--name") + 1] == "unstale-4x2"
    assert publishing[publishing.index("--src") + 1] == "build/azure.zip"
    assert 'app=$(az deployment group create --subscription "$subscription"' in capsys.readouterr().out


def test_on_azure_a_named_deployment_is_that_one(
    calls: Callable[[], list[list[str]]], ours: list[tuple[str, str]]
) -> None:
    """Nobody is asked for the subscription, and no group is made that nobody asked for."""
    assert run("azure", "--stack", NAME, "--environment", "staging") == 0
    deploying, publishing = calls()
    assert [deploying[deploying.index(option) + 1] for option in ("--subscription", "--resource-group", "--name")] == (
        NAME.split("/")
    )
    assert deploying[deploying.index("--parameters") + 1].endswith("staging.bicepparam")
    assert publishing[publishing.index("--resource-group") + 1] == "sales"


FAILURES = {
    "account show": ("step 1 of 6 failed (ask which subscription", "az login"),
    "group create": ("step 3 of 6 failed (deploy the template)", "--location"),
    "config-zip": ("step 4 of 6 failed (publish the package)", "package of before"),
}


@pytest.mark.parametrize("part", FAILURES)
def test_a_program_that_fails_ends_it(
    part: str,
    calls: Callable[[], list[list[str]]],
    ours: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1, with the step, the program's exit code and the cure; no later step is printed or runs."""
    monkeypatch.setenv("FAILS", part)
    assert run("azure") == 1
    printed = capsys.readouterr()
    step, cure = FAILURES[part]
    assert step in printed.err
    assert "az ended with exit code 1" in printed.err
    assert cure in printed.err
    assert part in " ".join(calls()[-1])
    assert printed.out.count("# step ") == int(step[5])
    assert not {"check", "status"} & {name for name, _ in ours}


def test_a_program_that_answers_nothing_ends_it(
    calls: Callable[[], list[list[str]]],
    ours: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A template without the app's name as output must not publish to an app without a name."""
    monkeypatch.setenv("APP", "")
    assert run("azure") == 1
    assert "az did not tell what to take as app" in capsys.readouterr().err
    assert "config-zip" not in calls()[-1]


OWN_FAILURES: Mapping[str, tuple[object, str, Exception, tuple[str, ...]]] = {
    "package": (
        package,
        "package",
        NotWellError("pip could not install aws.txt"),
        ("step 1 of 4", "aws.txt. Nothing was"),
    ),
    "check": (check, "check_live", NotWellError(), ("step 3 of 4", "said above. It is deployed", "Lake Formation")),
    "status": (
        status,
        "status",
        UsageError("no stack"),
        ("step 4 of 4", "no stack. It is deployed", "unstale explain"),
    ),
    "tick": (deploy, "wait_for_tick", NotWellError("no tick"), ("step 4 of 4", "no tick. It is deployed")),
}


@pytest.mark.parametrize("name", OWN_FAILURES)
def test_a_step_of_ours_that_fails_ends_it_likewise(
    name: str,
    calls: Callable[[], list[list[str]]],
    ours: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says whether anything was deployed."""
    module, function, failure, words = OWN_FAILURES[name]

    def fail(*arguments: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(module, function, fail)
    assert run("aws") == 1
    told = capsys.readouterr().err
    assert [word for word in words if word not in told] == []
    assert (calls() == []) is (name == "package")


def test_without_the_program_nothing_is_begun(
    ours: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage, with how to get it; the package is not made in vain."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for cloud, word in (("aws", "aws-sam-cli"), ("azure", "azure-cli")):
        assert run(cloud) == 2
        assert word in capsys.readouterr().err
    assert ours == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["aws", "--location", "westeurope"], "AWS_REGION"),
        (["azure", "--environment", "a b"], "letters, digits and hyphens"),
        (["aws", "--environment", "a b"], "letters, digits, hyphens and underscores"),
        (["azure", "--stack", "a/b"], "subscription/group/deployment"),
    ],
)
def test_what_cannot_be_is_wrong_usage(
    words: list[str],
    told: str,
    calls: Callable[[], list[list[str]]],
    ours: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before any step is printed."""
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""


# --- The first tick --------------------------------------------------------------------------------------------------


def test_the_first_tick_of_the_new_configuration_is_waited_for(deployed: Deployed) -> None:  # noqa: F811 - a fixture
    """One of before, or of another configuration, does not count: `status` would say what was."""
    configuration = read_config(deployed.config)
    now = configuration.package(Cloud.AWS).fingerprint
    later = datetime.now(UTC) + timedelta(seconds=30)
    come = iter([(later, "another"), (later, now)])

    def sleep(_: float) -> None:
        ticked_at, fingerprint = next(come)
        document = deployed.store.load(records.DEPLOYMENT_KEY)
        deployed.store.save(
            document, records.write(Deployment(edition=Edition(1, fingerprint, ticked_at), ticked_at=ticked_at)), None
        )

    deploy.wait_for_tick(deployed.config, Cloud.AWS, sleep)
    assert list(come) == []


def test_a_tick_that_does_not_come_is_no_endless_wait(
    deployed: Deployed,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends with a sentence when the time is over, all of which was spent in pauses."""
    monkeypatch.setattr(deploy, "TICK_SECONDS", 15)
    pauses: list[float] = []
    with pytest.raises(NotWellError, match="no tick of this configuration came to AWS for 15 s"):
        deploy.wait_for_tick(deployed.config, Cloud.AWS, pauses.append)
    assert sum(pauses) == deploy.TICK_SECONDS
