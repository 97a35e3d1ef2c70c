"""`unstale infra aws`: what the SAM template takes from the configuration, printed, or written to `samconfig.toml`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from local.event_patterns import SLOTS, patterns_for
from local.offline import read_config
from local.tables import print_json
from local.usage import WrongUsage
from shared.config import Configuration
from shared.model import Cloud, GlueView, S3ObjectCreated, Value

SAMCONFIG: Final = Path(__file__).parents[1] / "infra" / "aws" / "samconfig.toml"

LONGEST_PARAMETER: Final = 4096
"""Bytes: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html."""

DEPLOY: Final = ("deploy", "parameters")
GLOBAL: Final = ("global", "parameters")
"""Where `sam deploy` looks, within the table of a configuration environment."""


class Inputs(Value, frozen=True):
    """Parameters of the template, and what their reader should know about them."""

    parameters: Mapping[str, str]
    notes: tuple[str, ...] = ()


def aws(config: Path, *, as_json: bool, write: bool, environment: str = "default", samconfig: Path = SAMCONFIG) -> None:
    """Print the parameters; with `write`, put them where `sam deploy --config-env <environment>` reads them."""
    configuration = read_config(config)
    document = _read(samconfig)
    region = _region(document, environment)
    found = inputs(configuration, region)
    if write:
        found = _at_once(found, _overrides(document, environment))
        _write(document, environment, region, found.parameters)
        samconfig.write_text(tomlkit.dumps(document), encoding="utf-8")
    if as_json:
        print_json({"region": region, "parameters": found.parameters, "notes": found.notes})
        return
    for name, value in found.parameters.items():
        print(f"{name}={value}")
    for note in found.notes:
        print(f"note: {note}")
    if write:
        print(f"written to {samconfig}, environment {environment}, Region {region}")


def inputs(configuration: Configuration, region: str) -> Inputs:
    """The parameters for a deployment in this Region."""
    views = [target.resource for target in configuration.targets if isinstance(target.resource, GlueView)]
    if not views:
        raise WrongUsage('no target is on AWS (kind = "glue-view"), so there is nothing to deploy there')
    patterns = patterns_for(configuration)
    resources, wider = glue_resources(views, region)
    texts = [*patterns.texts, *[""] * (SLOTS - len(patterns.texts))]
    parameters = {
        "Buckets": ",".join(buckets(configuration)),
        "GlueResources": ",".join(resources),
        **{f"EventPattern{number}": text for number, text in enumerate(texts, start=1)},
        "ConfigFingerprint": configuration.fingerprint,
    }
    coarser = [f"the rules also let through {what}: the exact patterns do not fit" for what in patterns.coarser]
    return Inputs(parameters, (*coarser, *wider))


def _at_once(found: Inputs, before: Mapping[str, str]) -> Inputs:
    """Another configuration than the one before is not rolled out gradually.

    Both versions would run side by side, and the older one would take events of targets that only the newer one names
    for nobody's.
    """
    known = before.get("ConfigFingerprint", "")
    if known in {"", found.parameters["ConfigFingerprint"]} or before.get("GradualRollout") == "false":
        return found
    note = "the configuration changed, so GradualRollout is now false; true is for updates that leave it as it is"
    return Inputs({**found.parameters, "GradualRollout": "false"}, (*found.notes, note))


def buckets(configuration: Configuration) -> tuple[str, ...]:
    """The buckets that must send their events to EventBridge."""
    sources = (source for target in configuration.targets if target.cloud is Cloud.AWS for source in target.on)
    return tuple(sorted({source.bucket for source in sources if isinstance(source, S3ObjectCreated)}))


# --- Glue's resources ------------------------------------------------------------------------------------------------


def glue_resources(views: Iterable[GlueView], region: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ARNs of the catalogs, databases and views for the role's policy, and a note where they name more than that.

    https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
    """
    found = list(views)
    for tables, note in (
        (_table_parts, ()),
        (_any_table_parts, ("the role may refresh every view of the databases: the ARNs of each do not fit",)),
    ):
        arns = tuple(dict.fromkeys(arn for view in found for arn in _arns(view, region, tables(view))))
        if len(",".join(arns)) <= LONGEST_PARAMETER:
            return arns, note
    accounts = sorted({_account(view) for view in found})
    arns = tuple(f"{_prefix(account, region)}:{kind}" for account in accounts for kind in ("catalog*", "*/*"))
    return arns, ("the role may refresh every view of the account: the ARNs of each do not fit",)


def _arns(view: GlueView, region: str, tables: Iterable[str]) -> list[str]:
    """Of each name both the spelling of the file and Glue's, which is lower case: which one IAM sees, nobody says."""
    catalog = view.catalog_id.partition(":")[2]
    levels = catalog.split("/") if catalog else []
    catalogs = ["catalog", *("/".join(["catalog", *levels[:depth]]) for depth in range(1, len(levels) + 1))]
    databases = ["/".join(["database", *levels, _literal(name)]) for name in _spellings(view.database)]
    prefix = _prefix(_account(view), region)
    return [f"{prefix}:{part}" for part in (*catalogs, *databases, *("/".join(["table", *levels, t]) for t in tables))]


def _table_parts(view: GlueView) -> list[str]:
    names = zip(_spellings(view.database), _spellings(view.table), strict=True)
    return list(dict.fromkeys(f"{_literal(database)}/{_literal(table)}" for database, table in names))


def _any_table_parts(view: GlueView) -> list[str]:
    return list(dict.fromkeys(f"{_literal(database)}/*" for database in _spellings(view.database)))


def _spellings(name: str) -> tuple[str, str]:
    return name, name.lower()


def _account(view: GlueView) -> str:
    return view.catalog_id.partition(":")[0]


def _prefix(account: str, region: str) -> str:
    return f"arn:{_partition(region)}:glue:{region}:{account}"


@cache
def _partition(region: str) -> str:
    from botocore.session import get_session

    return str(get_session().get_partition_for_region(region))


def _literal(name: str) -> str:
    """A name within an ARN of a policy, where `*`, `?` and `$` are special; what a parameter cannot carry is any one.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    """
    return "".join(map(_literal_character, name))


def _literal_character(character: str) -> str:
    if character in "*?$":
        return f"${{{character}}}"
    carried = "!" <= character <= "~" and character not in "\"'\\,"
    return character if carried else "?"


# --- samconfig.toml --------------------------------------------------------------------------------------------------


def _read(samconfig: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(samconfig.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.parse("version = 0.1\n")
    except (OSError, UnicodeDecodeError, TOMLKitError) as trouble:
        message = f"cannot read {samconfig}: {trouble}"
        raise WrongUsage(message) from trouble


def _region(document: Mapping[str, Any], environment: str) -> str:
    """Where the deployment goes: as `sam deploy` finds it, its configuration file first."""
    import boto3

    for section in (DEPLOY, GLOBAL):
        region = _inside(document, (environment, *section)).get("region")
        if region:
            return str(region)
    found = os.environ.get("AWS_REGION") or boto3.session.Session().region_name
    if not found:
        raise WrongUsage(f"no Region: set AWS_REGION, or region in [{environment}.global.parameters] of samconfig.toml")
    return str(found)


def _overrides(document: Mapping[str, Any], environment: str) -> dict[str, str]:
    return overrides(_inside(document, (environment, *DEPLOY)).get("parameter_overrides"))


def _inside(document: Mapping[str, Any], path: Iterable[str]) -> Mapping[str, Any]:
    found: Any = document
    for name in path:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _write(document: Any, environment: str, region: str, parameters: Mapping[str, str]) -> None:
    """Replace our parameters; everybody else's, other keys, their order and the comments stay as they are."""
    if environment not in document:
        document.add(environment, _new_environment(environment))
    table = document
    for name in (environment, *DEPLOY):
        if name not in table:
            table.add(name, tomlkit.table())
        table = table[name]
    found = _overrides(document, environment)
    kept = {name: value for name, value in found.items() if name not in parameters}
    listed = tomlkit.array().multiline(multiline=True)
    for name, value in (kept | dict(parameters)).items():
        pair = f"{name}={_quoted(value)}"
        listed.append(tomlkit.string(pair, literal="'" not in pair))  # literal: without a second layer of backslashes
    table["parameter_overrides"] = listed
    if not any(_inside(document, (environment, *section)).get("region") for section in (DEPLOY, GLOBAL)):
        table["region"] = region


def _new_environment(environment: str) -> Any:
    """A stack of its own, beside those of the other environments."""
    made = tomlkit.parse(
        f"[{environment}.global.parameters]\n"
        f'stack_name = "unstale-{environment}"\n\n'
        f"[{environment}.deploy.parameters]\n"
        "resolve_s3 = true\n"
        'capabilities = "CAPABILITY_IAM"\n'
        "confirm_changeset = true\n"
    )
    return made[environment]


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


_OVERRIDE = re.compile(
    r"""(?:ParameterKey=)?(?P<name>[A-Za-z0-9]+)(?:,ParameterValue)?=(?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\S*)"""
)
"""As the SAM CLI reads them (samcli/cli/types.py): a pair, its value in quotes or without blanks."""


def overrides(found: Any) -> dict[str, str]:
    """What `parameter_overrides` holds: one text as `sam deploy --guided` writes it, a list of them, or a table."""
    if isinstance(found, Mapping):
        return {str(name): ",".join(value) if isinstance(value, list) else str(value) for name, value in found.items()}
    texts = [found] if isinstance(found, str) else list(found or ())
    files = [text for text in texts if str(text).startswith("file://")]
    if files:
        raise WrongUsage(f"parameter_overrides names {files[0]}: write into that by hand, or list the parameters here")
    pairs = (match for text in texts for match in _OVERRIDE.finditer(text))
    return {match["name"]: _unquoted(match["value"]) for match in pairs}


def _unquoted(value: str) -> str:
    inner = value[1:-1] if value[:1] in {'"', "'"} and value[-1:] == value[:1] and len(value) > 1 else value
    return inner.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")
