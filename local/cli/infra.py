"""`unstale infra`: what the templates take from the configuration, printed, or written where a deployment reads it.

What the parameters are is decided in `infra.parameters`. With `--write` they go into samconfig.toml, of which all else
stays as it is, or into the parameter files of Bicep. Printed alone they show what would change.

    unstale.toml ──> infra.parameters ──┬── aws:   infra/aws/samconfig.toml, the table of the environment
                                        └── azure: infra/azure/<environment>.json, and a .bicepparam of the user's own

An environment is a stack, or a deployment, of its own: `--config unstale.staging.toml --environment staging`. `package`
does the same as `--write` before it packages, so that rules and package are of one configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.parameters import places
from infra.parameters.errors import ParameterError
from local.cli.console import print_json
from local.cli.deployment import read_config
from local.cli.errors import UsageError


def aws(
    config: Path,
    *,
    as_json: bool,
    write: bool,
    environment: str = "default",
    samconfig: Path | None = None,
) -> None:
    """Print the parameters; with `write`, put them where `sam deploy --config-env <environment>` reads them.

    What was there before counts: a configuration that changed turns the gradual rollout off, and a parameter that the
    template had once is named with the place where its value goes now.
    """
    import tomlkit

    from infra.parameters import aws as sam
    from infra.parameters import samconfig as samconfigs

    configuration = read_config(config)
    samconfig = samconfig or places.templates("aws", written=write) / "samconfig.toml"
    with _as_wrong_usage():
        samconfigs.check_environment(environment)
        document = samconfigs.read(samconfig)
        region = samconfigs.region_of(document, environment)
        found = sam.inputs(configuration, region)
        if write:
            before = samconfigs.overrides_of(document, environment)
            found = sam.note_unread(sam.end_gradual_rollout(found, before), before)
            samconfigs.write(document, environment, region, found.parameters)
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


def azure(
    config: Path, *, as_json: bool, write: bool, environment: str = "default", folder: Path | None = None
) -> None:
    """Print the parameters; with `write`, put them where the parameter file of this environment reads them.

    An environment that has no parameter file gets one, which is its owner's from then on: only the JSON beside it,
    which has nothing but what follows from the configuration, is written anew each time.
    """
    from infra.parameters import azure as bicep

    with _as_wrong_usage():
        bicep.check_environment(environment)
        parameters, notes = bicep.inputs(read_config(config))
        files: tuple[Path, ...] = ()
        if write:
            files = bicep.write(parameters, environment, folder or places.templates("azure", written=True))
    if as_json:
        print_json({"parameters": parameters, "notes": notes})
        return
    print(json.dumps(parameters, indent=2, ensure_ascii=False))
    for note in notes:
        print(f"note: {note}")
    for file in files:
        print(f"written to {file}")


@contextmanager
def _as_wrong_usage() -> Iterator[None]:
    """Word what keeps parameters from being made as the command's own error: exit code 2, and nothing is written."""
    try:
        yield
    except ParameterError as error:
        raise UsageError(str(error)) from error
