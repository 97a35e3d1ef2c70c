"""Where templates, parameters and packages are: in the clone, or in the working folder of an installed command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The clone, or the folder `unstale` of an installed wheel."""


def is_clone() -> bool:
    """Whether this is a clone of the repository; a wheel has no such file."""
    return (ROOT / "pyproject.toml").is_file()


def build(cloud: str) -> Path:
    """The folder in which a package is staged; the zip is beside it."""
    return (ROOT if is_clone() else Path()) / "build" / cloud


def deployed_from(cloud: str) -> Path:
    """The folder of the templates from which a deployment is made: where `templates` puts what is written."""
    return (ROOT if is_clone() else Path()) / "infra" / cloud


def templates(cloud: str, *, written: bool) -> Path:
    """The folder of the templates and of the parameters of each environment; `written`: it is about to be written to.

    An installed command has them in its own wheel, where nothing may be written: `infra/<cloud>` of the working folder
    gets a copy, in which the templates are this release's, and what users change is theirs.
    """
    own = ROOT / "infra" / cloud
    mine = Path("infra", cloud)
    if is_clone() or not (written or mine.exists()):
        return own
    if written:
        copy(own, mine)
    return mine


def copy(own: Path, mine: Path) -> None:
    """Copy the templates and the examples. What users change has other names, which no release has."""
    shutil.copytree(own, mine, dirs_exist_ok=True)
