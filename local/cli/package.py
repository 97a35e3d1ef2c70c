"""`unstale package`: a package for a cloud, and what its template takes from the configuration."""

from __future__ import annotations

from pathlib import Path

from infra.packaging import aws, azure
from infra.packaging.stage import PackageError
from infra.parameters import places
from local.cli import infra
from local.cli.errors import NotWellError


def package(cloud: str, config: Path, environment: str, into: Path | None = None) -> None:
    """Write the parameters beside the templates, then make build/<cloud>.zip, or the zip beside `into`.

    The parameters come first: where nothing is to be deployed to a cloud, nothing is packaged for it either.
    """
    write = infra.aws if cloud == "aws" else infra.azure
    write(config, as_json=False, write=True, environment=environment)
    make = aws.package if cloud == "aws" else azure.package
    try:
        make(config, into or places.build(cloud))
    except (PackageError, OSError) as failure:
        raise NotWellError(str(failure)) from failure
