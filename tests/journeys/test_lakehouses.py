"""The second user: lakehouses of a Fabric workspace, found by name, with OneLake tables as sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.cli.main import main
from tests.support.arm_server import Fabric, serving
from tests.support.az import sign_in
from tests.support.kept_demo import Demo

WORKSPACE, LAKE, OTHER = (f"{number}b218778-e7a5-4d73-8187-f10824047715" for number in (5, 6, 7))


def test_lakehouses(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`init --fabric-workspace`; a source is named; `check`, `plan`, `infra`."""
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


def test_a_day_of_lakehouses_in_the_playground(demo_by_day: Demo) -> None:
    """The brakes of one lakehouse, by the records that its handlers write: paused, owed, resumed, refreshed."""
    demo = demo_by_day
    lake = "stock_lakehouse"
    read = demo.status()[lake]["fresh_as_of"]
    assert f"{lake}: paused" in demo.does("demo", "do", "pause", lake)
    demo.does("demo", "do", "file", lake)
    demo.wait(lambda found: found[lake]["verdict"] == "held")
    code, said, _ = demo.do("explain", lake)
    assert (code, f"unstale resume {lake} lets it start again" in said) == (1, True)
    assert "nothing will start" in demo.does("refresh", lake)
    assert f"{lake}: resumed" in demo.does("demo", "do", "resume", lake)
    demo.wait(lambda found: found[lake]["fresh_as_of"] > read)
    assert "succeeded after" in demo.does("refresh", lake, "--wait")
    assert len(json.loads(demo.does("history", lake, "--json"))["runs"]) >= 3
