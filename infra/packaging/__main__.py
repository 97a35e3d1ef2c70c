"""`python -m infra.packaging aws --config unstale.toml`: what `make package-aws` and `make package-azure` call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.packaging import aws, azure
from infra.packaging.stage import ROOT, PackageError
from shared.config.load import ConfigurationError


def main() -> int:
    """Make one package; exit code 1 says why not."""
    parser = argparse.ArgumentParser(prog="python -m infra.packaging", description=__doc__)
    parser.add_argument("cloud", choices=["aws", "azure"])
    parser.add_argument("--config", type=Path, default=Path("unstale.toml"), metavar="FILE")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="default: build/<cloud>")
    arguments = parser.parse_args()
    folder = arguments.into or (ROOT / "build" / arguments.cloud)
    try:
        if arguments.cloud == "aws":
            aws.package(arguments.config, folder)
        else:
            azure.package(arguments.config, folder)
    except (ConfigurationError, PackageError, OSError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
