"""Finding a deployment by its name: the outputs of a CloudFormation stack, or of a deployment on Azure, as variables.

Each template has one output that holds what the command wants to know, as lines for a shell. A name without a slash (or
an ARN) is a stack in the Region of this shell; `subscription/group/deployment` is a deployment of a resource group. An
option or a variable names them for one call or one shell, the table `[deployment]` for everybody who has the file.

    --stack, else UNSTALE_STACK ──> the outputs of that stack               whatever else this shell says
    variables of this shell     ──> as they are                             pasted from an output, or set by the demo
    [deployment] stack          ──> the outputs of that stack               where the shell says nothing

Only names and addresses come out of it: the credentials are those of whoever runs the command.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from local.cli.errors import NotWellError, UsageError
from local.cli.variables import aws_session, wrong_usage
from shared.config.load import Configuration
from shared.redaction import plain
from shared.targets import Cloud
from shared.text import is_uuid

VARIABLE = "UNSTALE_STACK"
"""Names of stacks, separated by spaces; the option `--stack` sets it for one call."""

NEEDED = {
    Cloud.AWS: (("UNSTALE_TABLE", "UNSTALE_QUEUE_URL", "UNSTALE_EVENTS_QUEUE_URL"),),
    Cloud.AZURE: (("UNSTALE_STORAGE",), ("UNSTALE_STORAGE__tableServiceUri", "UNSTALE_STORAGE__queueServiceUri")),
}
"""Variables that lead to a deployment: any of these groups, all of it. The shells' settings read them."""

OUTPUTS = {Cloud.AWS: "Environment", Cloud.AZURE: "environment"}
"""The output of each template that holds the variables."""

ARM_VERSION = "2021-04-01"
"""Version of the API of deployments (https://learn.microsoft.com/rest/api/resources/deployments/get)."""
_NO_STACK = "ValidationError"
"""CloudFormation's code for a name that no stack has (API reference of DescribeStacks)."""


@contextmanager
def name_stacks(stacks: Sequence[str]) -> Iterator[None]:
    """Let the option name the stacks for as long as a command runs; without it the shell's own variable stands."""
    with variable(VARIABLE, " ".join(stacks)):
        yield


@contextmanager
def state(file: str) -> Iterator[None]:
    """Let `--state` name the state for one command; then the variables that lead to a deployment do not count."""
    groups = (group for each in NEEDED.values() for group in each) if file else ()
    hidden = {name: os.environ.pop(name) for group in groups for name in group if name in os.environ}
    try:
        with variable("UNSTALE_STATE", file):
            yield
    finally:
        os.environ.update(hidden)


@contextmanager
def variable(name: str, option: str) -> Iterator[None]:
    """Let an option stand in the place of a variable for as long as a command runs; an empty one changes nothing."""
    before = os.environ.get(name)
    if option:
        os.environ[name] = option
    try:
        yield
    finally:
        if option:
            os.environ.pop(name)
            os.environ.update({name: before} if before is not None else {})


def environment(cloud: Cloud, configuration: Configuration) -> dict[str, str]:
    """The variables that lead to one cloud's half of the deployment; one that is missing is wrong usage."""
    here = find(cloud, configuration)
    missing = missing_variables(cloud, here)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{' and '.join(missing)} {verb} not set. Name the deployment with --stack, {VARIABLE} or "
            f"[deployment] stack, or paste its output {OUTPUTS[cloud]} into this shell"
        )
    return here


def name_of(cloud: Cloud, configuration: Configuration) -> str:
    """The name that the option, the variable or the file gives a cloud's half of the deployment; empty for none."""
    return _of(cloud, os.environ.get(VARIABLE, "")) or _of(cloud, configuration.deployment.stack)


def find(cloud: Cloud, configuration: Configuration) -> dict[str, str]:
    """The variables of this shell, and those of one cloud's stack where one is named.

    What the option or the variable names counts before the shell's other variables; what the file names is asked only
    where these do not lead there. Raises `UsageError` for a name that is none, `NotWellError` where the cloud does not
    tell.
    """
    here = dict(os.environ)
    name = _of(cloud, here.get(VARIABLE, ""))
    if not name and missing_variables(cloud, here):
        name = _of(cloud, configuration.deployment.stack)
    if not name:
        return here
    return here | (_outputs_of_aws(name, here) if cloud is Cloud.AWS else _outputs_of_azure(name, here))


def missing_variables(cloud: Cloud, environ: Mapping[str, str]) -> list[str]:
    """Variables that are missing; of several ways to say where the deployment is, those of the one begun, or the last.

    What only `status` wants, to tell whether events wait, is named together with others, and is not missing alone.
    """
    groups = [[name for name in group if not environ.get(name)] for group in NEEDED[cloud]]
    if any(not group for group in groups):
        return []
    return [] if groups[-1] == ["UNSTALE_EVENTS_QUEUE_URL"] else groups[-1]


def _of(cloud: Cloud, names: str) -> str:
    """The name, among several, that is of this cloud. Raises `UsageError` for one that is of neither."""
    for name in names.split():
        parts = name.split("/")
        is_aws = len(parts) == 1 or name.startswith("arn:")
        if not is_aws and (len(parts) != 3 or not all(parts)):  # noqa: PLR2004 - subscription/group/deployment
            raise UsageError(f"{name!r} names no stack: expected a stack's name, or subscription/group/deployment")
        if is_aws is (cloud is Cloud.AWS):
            return name
    return ""


# --- AWS -------------------------------------------------------------------------------------------------------------


def _outputs_of_aws(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """DescribeStacks, in the Region of an ARN, or of this shell."""
    from botocore.exceptions import BotoCoreError, ClientError

    from functions_aws.clients import PATIENT

    region = name.split(":")[3] if name.startswith("arn:") else environ.get("AWS_REGION", "")
    try:
        opened = aws_session(environ, region)
        region = region or opened.get_config_variable("region") or ""
        client = opened.create_client("cloudformation", config=PATIENT)
        [found] = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        why = plain(str(error))
        if error.response.get("Error", {}).get("Code") == _NO_STACK:
            raise UsageError(f"no stack {name} in {region}: {why}. Is AWS_REGION the Region of the stack?") from error
        raise NotWellError(f"cannot read the outputs of stack {name}: {why}") from error
    except BotoCoreError as error:
        raise UsageError(f"cannot read the outputs of stack {name}: {plain(str(error))}") from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
    page = _variables(name, outputs["PageEnvironment"]) if "PageEnvironment" in outputs else {}
    return {"AWS_REGION": region, **_variables(name, outputs.get("Environment")), **page}


# --- Azure -----------------------------------------------------------------------------------------------------------


def _outputs_of_azure(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Get a deployment of a resource group from Resource Manager, as whoever signed in with `az login`."""
    from functions_azure import settings
    from local import azure_login
    from local.checks.rest import NoAnswerError, NotFoundError, Rest

    with wrong_usage():
        management = settings.cloud(environ).management_url
        url = settings.endpoint(environ, "UNSTALE_MANAGEMENT_URL", management)
    arm = Rest(url, azure_login.tokens(management))
    subscription, group, deployment = name.split("/")
    try:
        identity = subscription if is_uuid(subscription) else _subscription_id(arm, subscription)
        path = f"/subscriptions/{identity}/resourceGroups/{group}/providers/Microsoft.Resources/deployments"
        found = arm.get(f"{path}/{deployment}", **{"api-version": ARM_VERSION})
    except NotFoundError as error:
        raise UsageError(f"no deployment {name}: {error}") from error
    except NoAnswerError as error:
        raise NotWellError(f"cannot read the outputs of deployment {name}: {error}") from error
    outputs = found.get("properties", {}).get("outputs") or {}
    return _variables(name, (outputs.get("environment") or {}).get("value"))


def _subscription_id(arm: Any, title: str) -> str:
    """The id of a subscription that is named by its title. Raises `UsageError` where none, or more than one, has it."""
    every = arm.every("/subscriptions", **{"api-version": "2022-12-01"})
    found = [str(each["subscriptionId"]) for each in every if each.get("displayName") == title]
    if len(found) != 1:
        raise UsageError(f"{len(found)} subscriptions that you may read are called {title!r}: name it by its id")
    return found[0]


def _variables(name: str, output: object) -> dict[str, str]:
    """The variables that an output sets. Raises `UsageError` where there is no such output."""
    if not isinstance(output, str) or not output:
        raise UsageError(f"{name} has no output that names variables: is it a deployment of unstale?")
    words = (word.partition("=") for word in shlex.split(output) if word != "export")
    return {key: value for key, sign, value in words if sign and key.startswith(("UNSTALE_", "AWS_REGION"))}
