"""`unstale check`: what the configuration means, target by target; with `--live`, what each cloud says of it.

Without `--live` nothing is asked of any cloud: the file is read, judged by every rule, and told in words, so that a
reader sees whether it says what was meant. With `--live` the rooms of `local.checks` look, and this module prints their
findings: one line each, and below them the cures. A target of a cloud that cannot be asked is a finding, too, so one
cloud does not hide the other. Exit code 1 where anything is not well or could not be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import structs

from local.checks.finding import Finding
from local.cli import stack
from local.cli.console import print_json, print_table
from local.cli.deployment import PLACES, clouds_of, read_config, read_file
from local.cli.errors import NotWellError, UsageError
from local.cli.variables import aws_session
from shared.config.load import Configuration, json_schema, load, warnings
from shared.refresh.status import kind_of
from shared.targets import Cloud, Target

CORRECT = "correct that variable in this shell"
"""The cure where a variable says what it must not say: an endpoint that is not https, say."""


def print_schema() -> None:
    """Print the JSON Schema of `unstale.toml`, as `unstale init` writes it beside the file."""
    print_json(json_schema())


def check(path: Path, *, as_json: bool, strict: bool = False) -> None:
    """Say what the configuration means, target by target; raises `ConfigurationError` where it means nothing.

    With `strict`, raises `NotWellError` where something in it is doubtful.
    """
    content = read_file(path)
    configuration = load(content, str(path))
    doubts = warnings(content, str(path))
    rows = [_check_row(target, configuration) for target in configuration.targets]
    if as_json:
        told = [structs.asdict(doubt) for doubt in doubts]
        # No key at all where the file has no such table: scripts can tell that from a table without tenants.
        workload = {"workload": {"tenants": configuration.workload.tenants}} if configuration.workload else {}
        print_json({"file": str(path), "targets": rows, "warnings": told, **workload})
    else:
        print_table(("target", "kind", "refreshed when"), [(row["name"], row["kind"], row["when"]) for row in rows])
        if askers := _askers(configuration):
            print(f"Fabric's jobs are taken for items {askers}")
        for doubt in doubts:
            print(f"warning: {doubt}")
        print(f"{path}: good, {len(rows)} targets" + (f", {len(doubts)} warnings" if doubts else ""))
    if strict and doubts:
        raise NotWellError


def _check_row(target: Target, configuration: Configuration) -> dict[str, str]:
    """A target's line: its name, kind and key, and all that makes it refresh. The key is that of its stored record."""
    when = [*_when(target, configuration), *_jobs_of(target, configuration)] or ["on request only"]
    return {"name": target.name, "kind": kind_of(target), "key": target.key, "when": "; ".join(when)}


def _when(target: Target, configuration: Configuration) -> Iterator[str]:
    """Everything that refreshes a target by itself: its sources, the targets before it, its schedules.

    A source is written as the file writes it, with what it leaves out left out, so that the two can be compared.
    """
    for source in target.on:
        fields = ", ".join(f"{name}={value}" for name, value in structs.asdict(source).items() if value)
        yield f"{type(source).__struct_config__.tag} ({fields})"
    if target.after:
        before = [configuration.by_name[name] for name in target.after]
        yield f"after {', '.join(_upstream(each, target) for each in before)}"
    for schedule, word in ((target.schedule, "at"), (target.full_schedule, "in full at")):
        if schedule:
            yield f"{word} {schedule.cron} {schedule.timezone}"


def _upstream(upstream: Target, follower: Target) -> str:
    """The name of a target that another one comes after, and its cloud where that is the other one."""
    return upstream.name if upstream.cloud is follower.cloud else f"{upstream.name} (on {upstream.cloud})"


def _jobs_of(target: Target, configuration: Configuration) -> Iterator[str]:
    """The jobs by which Fabric itself asks for the target, where `[workload]` names some."""
    for job in configuration.workload.jobs if configuration.workload else ():
        if job.target == target.name:
            yield f"Fabric's job {job.job_type} of {job.item or 'any'} {job.item_type}"


def _askers(configuration: Configuration) -> str:
    """Whose items may have jobs here; empty where Fabric is not served."""
    if configuration.workload is None:
        return ""
    tenants = configuration.workload.tenants
    return f"of tenant {', '.join(tenants)}" if tenants else "of the publisher's own tenant alone"


# --- check --live --------------------------------------------------------------------------------------------------


def check_live(config: Path, *, as_json: bool, only: Cloud | None = None) -> None:
    """Print what was found; raises `NotWellError` if anything is missing, or could not be looked at."""
    configuration = read_config(config)
    clouds = clouds_of(configuration, only)
    looks = {Cloud.AWS: _on_aws, Cloud.AZURE: _on_azure}
    findings = [each for cloud in looks if cloud in clouds for each in _findings(cloud, configuration, looks[cloud])]
    _show(findings, as_json=as_json)


def _findings(
    cloud: Cloud, configuration: Configuration, look: Callable[[Configuration, Mapping[str, str]], list[Finding]]
) -> list[Finding]:
    """Look at one cloud; a stack that is not to be found is a finding, so that it does not hide the other cloud."""
    try:
        environ = stack.find(cloud, configuration)
    except (UsageError, NotWellError) as failure:
        cure = f"{CORRECT}, or the name of the stack"
        return [Finding(PLACES[cloud], f"could not look: {failure}", cure, known=False)]
    return look(configuration, environ)


def _on_aws(configuration: Configuration, environ: Mapping[str, str]) -> list[Finding]:
    """Look at AWS, in the Region that the environment or the profile names."""
    from botocore.exceptions import BotoCoreError

    from functions_aws.clients import Clients
    from functions_aws.sources import Sources
    from functions_aws.wiring import SystemClock
    from local.checks import aws

    try:
        opened = aws_session(environ, environ.get("AWS_REGION", ""))
        region = opened.get_config_variable("region")
    except UsageError as bad:
        return [Finding("AWS", f"could not look: {bad}", CORRECT, known=False)]
    except BotoCoreError as error:
        return [Finding("AWS", f"{error}", "set AWS_PROFILE to one that is there, or unset it", known=False)]
    if region:
        sources = Sources(Clients(region), SystemClock())
        return list(aws.check_everything(configuration, opened.create_client, region, environ, sources.look))
    return [Finding("AWS", "no Region", "set AWS_REGION, as the deployment's output Environment does", known=False)]


def _on_azure(configuration: Configuration, environ: Mapping[str, str]) -> list[Finding]:
    """Look at Azure; an address that is not safe to send tokens to is a finding, not a traceback."""
    from functions_azure.settings import SettingsError
    from local.checks import azure

    try:
        return list(azure.check_everything(configuration, environ))
    except SettingsError as bad:
        return [Finding("Azure", f"could not look: {bad}", CORRECT, known=False)]


def _show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings; raises `NotWellError` if anything is missing, or could not be looked at."""
    if as_json:
        print_json({"findings": [_plain(finding) for finding in findings]})
    else:
        rows = [("ok" if one.well else "MISSING" if one.known else "?", one.what, one.found) for one in findings]
        print_table(("", "what", "found"), rows)
        for finding in findings:
            if finding.cure:
                print(f"\n{finding.what}: {finding.found}\n  cure: {finding.cure}")
    if not all(finding.well for finding in findings):
        raise NotWellError


def _plain(finding: Finding) -> dict[str, Any]:
    """A finding as scripts read it."""
    return {"what": finding.what, "well": finding.well, "found": finding.found, "cure": finding.cure}
