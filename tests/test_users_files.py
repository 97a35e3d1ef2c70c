"""What users change is theirs: git knows the examples alone, and ignores what is made of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OF_USERS = (
    "unstale.toml",
    "unstale.staging.toml",
    "unstale.db",
    "infra/aws/samconfig.toml",
    "infra/azure/main.bicepparam",
    "infra/azure/default.json",
    "infra/azure/staging.bicepparam",
    "infra/azure/staging.json",
    "infra/azure/azd/main.bicepparam",
    ".azure/sales/.env",
)
EXAMPLES = (
    "unstale.example.toml",
    "infra/aws/samconfig.example.toml",
    "infra/azure/main.example.bicepparam",
    "infra/azure/azd/main.example.bicepparam",
    "infra/azure/default.example.json",
    "infra/azure/bicepconfig.json",
    "infra/azure/main.snapshot.json",
)


GIT = shutil.which("git") or ""


def is_ignored(folder: Path, path: str) -> bool:
    """Whether git, with the rules of this repository, ignores a file there."""
    done = subprocess.run([GIT, "-C", str(folder), "check-ignore", "--quiet", path], check=False)
    assert done.returncode in {0, 1}
    return done.returncode == 0


@pytest.fixture(name="clone", scope="module")
def a_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository with this one's rules; the suite may run where there is no clone."""
    if not GIT:
        pytest.skip("no git here")
    folder = tmp_path_factory.mktemp("clone")
    subprocess.run([GIT, "init", "--quiet", str(folder)], check=True)
    shutil.copyfile(ROOT / ".gitignore", folder / ".gitignore")
    return folder


@pytest.mark.parametrize("path", OF_USERS)
def test_what_users_change_is_ignored(clone: Path, path: str) -> None:
    """So that no pull collides with it, and no commit carries it."""
    assert is_ignored(clone, path)


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples_are_tracked(clone: Path, path: str) -> None:
    """They are there, and git sees a change of them."""
    assert (ROOT / path).is_file()
    assert not is_ignored(clone, path)
