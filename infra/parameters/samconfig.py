"""`samconfig.toml`: where `sam deploy` reads the parameters of each environment, and where they are put.

    [staging.global.parameters]      stack_name, region
    [staging.deploy.parameters]      parameter_overrides: a list of `Name="value"`, ours and those of the file's owner

The file belongs to whoever deploys. Only the values of our own parameters are replaced; comments, order and every other
key come back as they were (`tomlkit` keeps them), and a file that cannot be read is left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import tomlkit
from botocore.exceptions import BotoCoreError
from tomlkit.exceptions import TOMLKitError

from infra.parameters.errors import ParameterError

DEPLOY: Final = ("deploy", "parameters")

GLOBAL: Final = ("global", "parameters")
"""Where `sam deploy` looks, within the table of a configuration environment."""


def read(samconfig: Path) -> tomlkit.TOMLDocument:
    """The document with its comments; where there is none yet, the example beside it, without the lines on that."""
    try:
        return tomlkit.parse(samconfig.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _example(samconfig.with_name("samconfig.example.toml"))
    except (OSError, UnicodeDecodeError, TOMLKitError) as failure:
        message = f"cannot read {samconfig}: {failure}"
        raise ParameterError(message) from failure


def _example(file: Path) -> tomlkit.TOMLDocument:
    """The first document of an environment; an empty one where there is no example."""
    text = file.read_text(encoding="utf-8") if file.exists() else "version = 0.1\n"
    head, mark, rest = text.partition("#\n")
    return tomlkit.parse(rest if mark and head.startswith("# An example") else text)


def check_environment(name: str) -> None:
    """Raise where an environment's name cannot be that of a table of `samconfig.toml`."""
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise ParameterError(f"the name of an environment is letters, digits, hyphens and underscores, not {name!r}")


def region_of(document: Mapping[str, Any], environment: str) -> str:
    """Where the deployment goes: as `sam deploy` finds it, its configuration file first."""
    for section in (DEPLOY, GLOBAL):
        region = _inside(document, (environment, *section)).get("region")
        if region:
            return str(region)
    found = os.environ.get("AWS_REGION") or _region_of_the_sdk()
    if not found:
        raise ParameterError(
            f"no Region: set AWS_REGION, or region in [{environment}.global.parameters] of samconfig.toml"
        )
    return str(found)


def stack_of(document: Mapping[str, Any], environment: str) -> str:
    """Name the stack of an environment: as its table has it, else as `write` would name it."""
    tables = (_inside(document, (environment, *section)) for section in (DEPLOY, GLOBAL))
    found = next((str(table["stack_name"]) for table in tables if table.get("stack_name")), "")
    return found or ("unstale" if environment == "default" else f"unstale-{environment}")


def _region_of_the_sdk() -> str | None:
    """The Region of AWS_DEFAULT_REGION or of the profile; raises `ParameterError` where there is no such profile."""
    try:
        region: str | None = boto3.session.Session().region_name
    except BotoCoreError as error:
        raise ParameterError(f"{error}: set AWS_PROFILE to one that is there, or unset it") from error
    return region


def overrides_of(document: Mapping[str, Any], environment: str) -> dict[str, str]:
    """The parameters that an environment of the document holds."""
    return overrides(_inside(document, (environment, *DEPLOY)).get("parameter_overrides"))


def _inside(document: Mapping[str, Any], path: Iterable[str]) -> Mapping[str, Any]:
    """The table at a path; an empty one where the document has none, or something else than a table there."""
    found: Any = document
    for name in path:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def write(document: Any, environment: str, region: str, parameters: Mapping[str, str]) -> None:
    """Replace our parameters; everybody else's, other keys, their order and the comments stay as they are."""
    if environment not in document:
        document.add(environment, _new_environment(environment))
    table = document
    for name in (environment, *DEPLOY):
        if name not in table:
            table.add(name, tomlkit.table())
        table = table[name]
    found = overrides_of(document, environment)
    kept = {name: value for name, value in found.items() if name not in parameters}
    listed = tomlkit.array().multiline(multiline=True)
    for name, value in (kept | dict(parameters)).items():
        pair = f"{name}={_quote(value)}"
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


def _quote(value: str) -> str:
    """A value as the SAM CLI takes it. Backslashes stay single: `plain_json` has none that would need another."""
    return '"' + value.replace('"', '\\"') + '"'


_OVERRIDE = re.compile(
    r"""(?<![A-Za-z0-9])(?:ParameterKey=)?(?P<name>[A-Za-z0-9]+)(?:,ParameterValue)?="""
    r"""(?P<value>"(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'|\S*)"""
)
"""As the SAM CLI reads them (samcli/cli/types.py): a pair, its value in quotes or without blanks."""


def overrides(found: Any) -> dict[str, str]:
    """Parameters in `parameter_overrides`: one text as `sam deploy --guided` writes it, a list of them, or a table."""
    if isinstance(found, Mapping):
        return {str(name): ",".join(value) if isinstance(value, list) else str(value) for name, value in found.items()}
    texts = [found] if isinstance(found, str) else list(found or ())
    files = [text for text in texts if str(text).startswith("file://")]
    if files:
        raise ParameterError(
            f"parameter_overrides names {files[0]}: write into that by hand, or list the parameters here"
        )
    pairs = (match for text in texts for match in _OVERRIDE.finditer(text))
    return {match["name"]: _unquote(match["value"]) for match in pairs}


def _unquote(value: str) -> str:
    """The value that a pair means, by the SAM CLI's own rule: quotes around, and three escapes inside."""
    inner = value[1:-1] if value[:1] in {'"', "'"} and value[-1:] == value[:1] and len(value) > 1 else value
    return inner.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")
