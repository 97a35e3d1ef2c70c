"""The Azure CLI in a place of a test's own: somebody is signed in, and gets a token for whatever is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
printf '{"accessToken": "token-for-%s", "expires_on": 4102444800}' "$4"
"""
"""Answers `az account get-access-token --resource RESOURCE ...`; the token lasts until 2100."""


def sign_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `az` into the folder, and the folder before all others of the path."""
    program = folder / "az"
    program.write_text(SCRIPT, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
