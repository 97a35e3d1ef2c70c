"""The first user: ten materialized views in Glue, from no file at all to views that follow their source."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.cli.main import main
from local.emulators.aws.emulator import LocalAws
from tests.support.aws_host import HandClock, Host, living_in
from tests.support.kept_demo import Demo

SOURCE = "arn:aws:glue:eu-central-1:123456789012:table/sales/orders"


def test_ten_glue_views(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`init`, `check`, `plan`; deployed; data comes; `status`, `explain`, `history` say what became of it."""
    monkeypatch.chdir(tmp_path)
    clock = HandClock(datetime.now(UTC) - timedelta(hours=1))

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == code, arguments
        return capsys.readouterr().out

    def verdicts() -> set[str]:
        return {row["verdict"] for row in json.loads(run("status", "--json"))["targets"]}

    with living_in(LocalAws(clock=clock.now)) as aws:
        aws.commit("sales", "orders")
        for number in range(10):
            aws.create_view("sales", f"view_{number}", sources=[SOURCE])
        assert "10 targets" in run("init", "--glue-database", "sales")
        assert "good, 10 targets" in run("check")
        Path("event.json").write_text(run("plan", "--sample", "glue-table"), encoding="utf-8")
        planned = json.loads(run("plan", "event.json", "--json"))["plan"]
        assert {line["target"] for line in planned} == {f"view_{number}" for number in range(10)}
        assert "table/sales/view_3" in run("infra", "aws"), "what the template takes is printed"

        host = Host(aws, clock, "ten-views", Path("unstale.toml").read_text(encoding="utf-8"))
        while clock.now() < datetime.now(UTC):
            clock.move_on(minutes=3)
            host.tick()
            host.poll()
        assert verdicts() <= {"fresh", "proven"}

        aws.commit("sales", "orders")
        assert host.poll() == 1
        assert verdicts() == {"stale"}
        said = run("explain", "view_3")
        assert "sales.orders" in said
        assert "nothing: it becomes fresh by itself" in said
        for _ in range(12):
            clock.move_on(seconds=30)
            host.tick()
            host.poll()
        assert verdicts() <= {"fresh", "proven"}
        newest = json.loads(run("history", "view_3", "--json"))["runs"][0]
        assert newest["outcome"] == "succeeded"


def test_a_day_of_views_in_the_playground(demo_by_day: Demo) -> None:
    """A file comes while the store is hidden, and is not lost; an event is lost, and the next look finds the commit."""
    demo = demo_by_day
    kinds = {target["kind"] for target in demo.status().values()}
    assert {"glue-view", "fabric-lake-views", "fabric-item-job"} <= kinds
    read = {name: demo.status()[name]["fresh_as_of"] for name in ("returns", "clicks_by_hour")}
    assert "the next look finds it" in demo.does("demo", "do", "drop-event")
    assert "nothing is lost" in demo.does("demo", "do", "hide-store")
    demo.does("demo", "do", "file", "returns")
    demo.does("demo", "do", "show-store")
    demo.wait(lambda found: all(found[name]["fresh_as_of"] > before for name, before in read.items()))
    assert "clicks_by_hour" in demo.does("plan", "--since", "1h")
    assert "new data in web.clicks" in demo.does("history", "clicks_by_hour")
    for words, said in ((("drop-event", "returns"), "try clicks_by_hour"), (("file", "nobody"), "no target 'nobody'")):
        code, _, error = demo.do("demo", "do", *words)
        assert (code, said in error) == (2, True)
