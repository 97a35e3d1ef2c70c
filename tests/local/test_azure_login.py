"""As whom the command line calls Azure: the Azure CLI's token, or the identity at hand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from functions_azure.clouds import PUBLIC
from functions_azure.settings import Settings
from functions_azure.tokens import STORAGE
from functions_azure.wiring import Parts
from local import azure_login
from shared.refresh.failure import Delivery, Failure

Az = Callable[..., Path]


@pytest.fixture(name="az")
def fake_az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Az:
    """An `az` that notes what it was asked, and says what it is told to."""

    def make(stdout: str, *, stderr: str = "", code: int = 0) -> Path:
        asked = tmp_path / "asked"
        script = tmp_path / "az"
        (tmp_path / "stdout").write_text(stdout, encoding="utf-8")
        (tmp_path / "stderr").write_text(stderr, encoding="utf-8")
        script.write_text(
            f'#!/bin/sh\necho "$@" >> "{asked}"\ncat "{tmp_path}/stdout"\ncat "{tmp_path}/stderr" >&2\nexit {code}\n',
            encoding="utf-8",
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return asked

    return make


def answer(token: str, seconds: float) -> str:
    """What the CLI prints."""
    return json.dumps({"accessToken": token, "expires_on": int(time.time() + seconds), "tokenType": "Bearer"})


def test_the_token_is_the_clis(az: Az) -> None:
    """Asked once for its audience, kept while it is valid, asked again when it was refused."""
    asked = az(answer("from-az", 3600))
    tokens = azure_login.tokens(PUBLIC.management_url)
    assert [tokens.token(), tokens.token()] == ["from-az"] * 2
    line = "account get-access-token --resource https://management.azure.com --output json"
    assert asked.read_text().splitlines() == [line]
    tokens.forget("from-az")
    tokens.token()
    assert asked.read_text().splitlines() == [line] * 2


def test_threads_that_ask_at_once_ask_the_cli_once(az: Az) -> None:
    """`unstale run` has eight of them, and each call of the CLI is a process of a second or two."""
    asked = az(answer("from-az", 3600))
    tokens = azure_login.tokens(STORAGE)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: tokens.token(), range(8))) == ["from-az"] * 8
    assert len(asked.read_text().splitlines()) == 1


def test_a_token_that_soon_ends_is_asked_for_again(az: Az) -> None:
    """The CLI renews it, not we."""
    asked = az(answer("short", 30))
    tokens = azure_login.tokens(STORAGE)
    tokens.token()
    tokens.token()
    assert len(asked.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "says"),
    [
        ("", "Please run 'az login' to setup account.", 1, "Please run 'az login'"),
        ("no json", "", 0, "az gave no token"),
        (json.dumps({"accessToken": "x", "expiresOn": "2026-11-25 12:00:00.000000"}), "", 0, "older than 2.54"),
        ("null", "", 0, "az login"),
    ],
)
def test_no_token_says_what_to_do(az: Az, stdout: str, stderr: str, code: int, says: str) -> None:
    """Nothing was sent then, and it is a person's to mend."""
    az(stdout, stderr=stderr, code=code)
    failure = azure_login.tokens(STORAGE).token()
    assert isinstance(failure, Failure)
    assert says in failure.message
    assert failure.delivery is Delivery.NOT_SENT


def test_without_the_cli_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And names the command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    failure = azure_login.tokens(STORAGE).token()
    assert isinstance(failure, Failure)
    assert "install the Azure CLI" in failure.message


def test_a_person_opens_the_storage_unless_the_identity_is_at_hand(az: Az) -> None:
    """Keys open nothing: on a person's machine `status` and `redrive` come with the person's token."""
    az(answer("from-az", 3600))
    settings = Settings(Path("unstale.toml"), table_url="https://t", queue_url="https://q")
    parts = Parts(settings, lambda: pytest.fail("not read"), azure_login.storage({}))
    assert parts.clients._credential().get_token("https://storage.azure.com/.default").token == "from-az"
    assert azure_login.storage({"IDENTITY_ENDPOINT": "http://169.254.129.2:8081/msi/token"}) is None
