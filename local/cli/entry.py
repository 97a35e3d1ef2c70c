"""The command `unstale`, as a wheel installs it.

In the wheel this file is `unstale/__init__.py`, and the repository's folders lie beside it, so that nothing of ours can
be imported by others in that environment under a name as common as `shared`. This process alone puts the folder first
on its path. In a clone nothing lies beside it, and the folders are found where the clone is.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent

OURS = ("shared", "functions_aws", "functions_azure", "infra", "local")


def main() -> int:
    """Run the command; say what to install where a part of it was left out."""
    if (HERE / "shared").is_dir():
        sys.path.insert(0, str(HERE))
    try:
        from local.cli.main import main as run

        return run()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in OURS:
            raise
        cure = "install unstale[all], or one of its extras aws, azure, demo and page"
        print(f"unstale: this needs {missing.name}: {cure}", file=sys.stderr)
        return 1
