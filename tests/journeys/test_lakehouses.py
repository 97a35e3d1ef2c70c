"""The second user: lakehouses of a Fabric workspace, found by name, with OneLake tables as sources."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from functions_azure.settings import read
from functions_azure.wiring import Parts, world
from local.cli.main import main
from shared.config.load import load
from shared.refresh import records
from shared.refresh.state import State
from tests.support.arm_server import Fabric, serving
from tests.support.aws_host import NOON
from tests.support.az import sign_in
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

WORKSPACE, LAKE, OTHER = (f"{number}b218778-e7a5-4d73-8187-f10824047715" for number in (5, 6, 7))


def test_lakehouses(
    account: Account, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init --fabric-workspace`; a source is named; `check`, `plan`, `infra`; then the brakes on the deployment."""
    monkeypatch.chdir(tmp_path)
    sign_in(tmp_path, monkeypatch)

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == code, arguments
        return capsys.readouterr().out

    fabric = Fabric()
    fabric.workspaces, fabric.lakehouses = {WORKSPACE: "Sales"}, {LAKE: "lake", OTHER: "other"}
    with serving(fabric) as [url]:
        monkeypatch.setenv("UNSTALE_FABRIC_URL", f"{url}/v1")
        assert "2 targets" in run("init", "--fabric-workspace", "Sales")
    file = Path("unstale.toml")
    assert "good, 2 targets" in run("check", "--strict")
    named = (
        file.read_text(encoding="utf-8").replace("# on      =", "on        =", 1).replace("<id of the source>", OTHER)
    )
    file.write_text(named, encoding="utf-8")
    assert "onelake_changed" in run("check", "--strict")
    Path("event.json").write_text(run("plan", "--sample", "onelake"), encoding="utf-8")
    planned = json.loads(run("plan", "event.json", "--json"))["plan"]
    assert [line["target"] for line in planned] == ["lake"]
    assert json.loads(run("infra", "azure", "--json"))["notes"], "the eventstream is to be named in the parameters"

    monkeypatch.setenv("UNSTALE_STORAGE", account.connection_string)
    configuration, settings = load(named), read(os.environ)
    store = world(settings, configuration, Parts(settings, lambda: configuration), lambda _: None).store
    for target in configuration.targets:
        state = State(fresh_as_of=NOON, definition=target.definition)
        store.save(store.load(target.key), records.write(state), None)
    assert "lake: asked" in run("refresh", "lake")
    assert "lake: paused" in run("pause", "lake")
    assert "held" in run("status", code=1)
    assert "unstale resume lake lets it start again" in run("explain", "lake", code=1)
    assert "lake: resumed" in run("resume", "lake")
