"""`unstale deploy`: all that puts one cloud's half into the cloud, each step printed before it runs.

A step is a command that a person could type. Commands of ours are carried out in this process, by the functions that
`package`, `check --live` and `status` are; `sam` and `az` are programs, whose own words are shown. A step may keep what
a program answers under a name, as a shell does (`app=$(az ...)`), for the steps after it. The first step that fails
ends the command with a sentence that names the step, and the cure.

    package ──> the template, by sam or az ──> publication (az) ──> check --live ──> the first tick, status

So `--dry-run` is a script: whoever wants a step otherwise copies the lines and changes one. Each step may be repeated,
and the whole as well: a template that changes nothing is no failure, and a package that is published twice is the later
one.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.parameters import azure as bicep
from infra.parameters import places
from infra.parameters.errors import ParameterError
from local.cli import check, package, stack, status
from local.cli.deployment import PLACES, open_side, reach, read_config
from local.cli.errors import NotWellError, UsageError
from shared.config.load import Configuration
from shared.refresh.evidence import deployed_fingerprint
from shared.refresh.records import DEPLOYMENT_KEY, read_deployment
from shared.targets import Cloud

PROGRAMS = {
    Cloud.AWS: ("sam", "pipx install aws-sam-cli"),
    Cloud.AZURE: ("az", "pipx install azure-cli, then az login"),
}
"""The program that deploys to each cloud, and how to get it."""

TICK_SECONDS = 300
"""Seconds that the first tick may take: one comes each minute, but a published app on Azure starts anew, in minutes."""
PAUSE_SECONDS = 5
"""Seconds between two looks for that tick, each of which reads one record."""


@dataclass(frozen=True)
class Step:
    """A command that a person could type, and what carries it out."""

    what: str
    """Name of the step: a deed."""
    words: tuple[str, ...]
    """The command; `$name` in a word stands for what an earlier step keeps under that name."""
    cure: str
    """The cure where the step fails: what a person can do, in the words of the pages."""
    own: Callable[[Mapping[str, str]], None] | None = None
    """The function of a command of ours; it gets what earlier steps kept. None for a program."""
    keeps: str = ""
    """The name under which the answer of a program is kept for later steps; empty for none."""

    @property
    def line(self) -> str:
        """The command as a shell takes it."""
        typed = " ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in self.words)
        return f"{self.keeps}=$({typed})" if self.keeps else typed


@dataclass(frozen=True)
class Asked:
    """The arguments of the command."""

    config: Path
    """The file of the configuration."""
    environment: str
    """The environment of infra/<cloud>, whose parameters count."""
    location: str = ""
    """The Azure region in which to make the resource group; empty where the group is there."""


def deploy(cloud: Cloud, asked: Asked, *, dry_run: bool) -> None:
    """Print each step, and carry it out unless `dry_run`. Raises `NotWellError` where one fails."""
    configuration = read_config(asked.config)
    make = _steps_of_aws if cloud is Cloud.AWS else _steps_of_azure
    try:
        steps, region = make(configuration, asked)
    except ParameterError as error:
        raise UsageError(str(error)) from error
    program, how = PROGRAMS[cloud]
    if not dry_run and not shutil.which(program):
        raise UsageError(f"{program} is not on the PATH, and nothing was done: {how}; --dry-run prints the steps")
    with stack.variable("AWS_REGION", region):
        _carry_out_all(steps, dry_run=dry_run)


def _carry_out_all(steps: Sequence[Step], *, dry_run: bool) -> None:
    """Print and carry out one step after the other, to the first that fails.

    Nothing is rolled back: what is deployed so far is what a second try begins with, and the cloud undoes its own
    halves.
    """
    kept: dict[str, str] = {}
    for number, step in enumerate(steps, start=1):
        print(f"# step {number} of {len(steps)}: {step.what}\n{step.line}", flush=True)
        if dry_run:
            continue
        try:
            kept |= _carry_out(step, kept)
        except (NotWellError, UsageError) as failure:
            why = str(failure) or "not all is well, as said above"
            raise NotWellError(
                f"step {number} of {len(steps)} failed ({step.what}): {why.rstrip('.')}. {step.cure}"
            ) from failure


def _carry_out(step: Step, kept: Mapping[str, str]) -> dict[str, str]:
    """Carry out one step; gives what it keeps. Raises `NotWellError` or `UsageError` where it fails."""
    if step.own:
        step.own(kept)
        return {}
    program, *words = (_fill(word, kept) for word in step.words)
    found = shutil.which(program) or program  # Windows has az.cmd
    done = subprocess.run([found, *words], check=False, text=True, stdout=subprocess.PIPE if step.keeps else None)
    if done.returncode:
        raise NotWellError(f"{program} ended with exit code {done.returncode}, and has said why")
    answer = done.stdout.strip() if step.keeps else ""
    if step.keeps and not answer:
        raise NotWellError(f"{program} did not tell what to take as {step.keeps}")
    return {step.keeps: answer} if step.keeps else {}


def _fill(word: str, kept: Mapping[str, str]) -> str:
    """Put what earlier steps kept into a word, each in the place of its name."""
    for name, value in kept.items():
        word = word.replace(f"${name}", value)
    return word


def _short_path(path: Path) -> str:
    """A path as a person would type it: from this folder, where it lies below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


# --- Steps of both clouds --------------------------------------------------------------------------------------------


def _package(cloud: Cloud, asked: Asked) -> Step:
    """The step that writes the parameters of the template and makes the package: one configuration for both."""
    return Step(
        "write the parameters of the template, and make the package",
        ("unstale", "package", cloud.value, "--config", str(asked.config), "--environment", asked.environment),
        "Nothing was deployed",
        own=lambda _: package.package(cloud.value, asked.config, asked.environment),
    )


def _looks(cloud: Cloud, asked: Asked, name: str, *before: str) -> Iterator[Step]:
    """The two steps that look at what is deployed under this name; `before` are words before the command's own."""
    options = ("--cloud", cloud.value, "--config", str(asked.config), "--stack", name)
    explained = shlex.join(("unstale", "explain", "TARGET"))

    def is_connected(kept: Mapping[str, str]) -> None:
        with stack.name_stacks([_fill(name, kept)]):
            check.check_live(asked.config, as_json=False, only=cloud)

    def is_fresh(kept: Mapping[str, str]) -> None:
        with stack.name_stacks([_fill(name, kept)]):
            wait_for_tick(asked.config, cloud)
            status.status(asked.config, as_json=False, only=cloud)

    yield Step(
        "ask the cloud: is everything there, allowed and connected",
        (*before, "unstale", "check", "--live", *options),
        f"It is deployed. Do what the cures say, then type this step again; {GRANTS[cloud]}",
        own=is_connected,
    )
    yield Step(
        "wait for the first tick; is every view fresh, and if not, since when and why",
        (*before, "unstale", "status", *options),
        f"It is deployed. `{explained}` says what a view waits for and what you can do; then type this step again",
        own=is_fresh,
    )


GRANTS = {
    Cloud.AWS: "a grant of Lake Formation is yours to make",
    Cloud.AZURE: "role assignments take some minutes to hold, and the identity's role in Fabric is yours to give",
}
"""Things that a first look most often misses, and that no template can give: others own what they are granted on."""


def wait_for_tick(config: Path, cloud: Cloud, sleep: Callable[[float], object] = time.sleep) -> None:
    """Wait until a tick of this configuration comes, later than this moment; raises `NotWellError` where none does.

    A tick of before, or of the package before, would show how things stood, and the deployment is what was asked about.
    """
    configuration, begun = read_config(config), datetime.now(UTC)
    side = open_side(cloud, configuration, config)
    for _ in range(TICK_SECONDS // PAUSE_SECONDS):
        found = reach(side, lambda here: read_deployment(here.ports.store.load(DEPLOYMENT_KEY).body))
        is_current = deployed_fingerprint(found) == configuration.package(cloud).fingerprint
        if is_current and found.ticked_at and found.ticked_at > begun:
            return
        sleep(PAUSE_SECONDS)
    raise NotWellError(f"no tick of this configuration came to {PLACES[cloud]} for {TICK_SECONDS} s: see its log")


# --- AWS -------------------------------------------------------------------------------------------------------------


def _steps_of_aws(configuration: Configuration, asked: Asked) -> tuple[list[Step], str]:
    """The steps, and the Region; `sam deploy` publishes the package together with everything else.

    Stack and Region are said in the command although `sam` would find them in its file: the steps after it ask the same
    stack, whatever the shell or a profile says, and a reader of the printed lines sees where they lead.
    """
    from infra.parameters import samconfig

    if asked.location:
        raise UsageError("--location is Azure's: on AWS set AWS_REGION, or region in samconfig.toml")
    samconfig.check_environment(asked.environment)
    folder = places.deployed_from("aws")
    document = samconfig.read(folder / "samconfig.toml")
    name, region = stack.name_of(Cloud.AWS, configuration), ""
    if name.startswith("arn:"):
        region, name = name.split(":")[3], name.split("/")[1]
    name = name or samconfig.stack_of(document, asked.environment)
    region = region or samconfig.region_of(document, asked.environment)
    options = ("--template-file", _short_path(folder / "template.yaml"), "--config-env", asked.environment)
    where = ("--stack-name", name, "--region", region)
    steps = [
        _package(Cloud.AWS, asked),
        Step(
            "deploy the stack, and publish the package with it",
            ("sam", "deploy", *options, *where, "--no-confirm-changeset", "--no-fail-on-empty-changeset"),
            "CloudFormation went back to what was there before. Mend what is said above, then type the command again; "
            f"a stack whose first deployment failed is removed by `sam delete --stack-name {name} --region {region}`",
        ),
        *_looks(Cloud.AWS, asked, name, "env", f"AWS_REGION={region}"),
    ]
    return steps, region


# --- Azure -----------------------------------------------------------------------------------------------------------


def _steps_of_azure(configuration: Configuration, asked: Asked) -> tuple[list[Step], str]:
    """The steps; where no subscription/group/deployment is named, the group follows from the environment.

    The subscription is asked for once and named in each step, so that an `az account set` in another shell moves
    nothing.
    """
    bicep.check_environment(asked.environment)
    is_default = asked.environment == "default"
    name = stack.name_of(Cloud.AZURE, configuration)
    group_of_environment = "unstale" if is_default else f"unstale-{asked.environment}"
    subscription, group, deployment = name.split("/") if name else ("$subscription", group_of_environment, "unstale")
    parameters = places.deployed_from("azure") / f"{'main' if is_default else asked.environment}.bicepparam"
    where = ("--subscription", subscription)
    steps = [
        *([] if name else [_subscription()]),
        _package(Cloud.AZURE, asked),
        *([_group(where, group, asked.location)] if asked.location else []),
        _deployment(where, group, deployment, parameters),
        _publication(where, group),
        *_looks(Cloud.AZURE, asked, f"{subscription}/{group}/{deployment}"),
    ]
    return steps, ""


def _subscription() -> Step:
    """The step that asks which subscription `az login` has chosen."""
    return Step(
        "ask which subscription is the one of this shell",
        ("az", "account", "show", "--query", "id", "--output", "tsv"),
        "Nothing was done: `az login`, or name the deployment with --stack subscription/group/deployment",
        keeps="subscription",
    )


def _group(where: tuple[str, ...], group: str, location: str) -> Step:
    """The step that makes the resource group, or finds it."""
    return Step(
        "make the resource group, if it is not there",
        ("az", "group", "create", *where, "--name", group, "--location", location, "--output", "none"),
        "Nothing was deployed: who deploys must be Contributor of the subscription, or leave --location out",
    )


def _deployment(where: tuple[str, ...], group: str, deployment: str, parameters: Path) -> Step:
    """The step that deploys the template."""
    named = ("--resource-group", group, "--name", deployment, "--parameters", _short_path(parameters))
    output = ("--query", "properties.outputs.functionAppName.value", "--output", "tsv")
    return Step(
        "deploy the template",
        ("az", "deployment", "group", "create", *where, *named, *output),
        "What was deployed before goes on. Mend what is said above, then type the command again; a resource group that "
        "is not there yet is made with --location",
        keeps="app",
    )


def _publication(where: tuple[str, ...], group: str) -> Step:
    """The step that publishes the package."""
    archive = places.build("azure").with_suffix(".zip")
    publish = ("az", "functionapp", "deployment", "source", "config-zip")
    return Step(
        "publish the package",
        (*publish, *where, "--resource-group", group, "--name", "$app", "--src", _short_path(archive)),
        "The template is deployed, the app has the package of before: type the command again. Nothing is lost",
    )
