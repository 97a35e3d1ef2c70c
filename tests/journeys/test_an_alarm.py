"""The third user: woken at three by an alarm that names a view, with a shell and the name of the stack."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.cli.main import main
from local.emulators.aws.emulator import LocalAws
from local.emulators.faults import NeverEnd
from local.emulators.http_server import LoopbackServer
from tests.support.aws_host import CONFIGURATION, HandClock, Host, living_in, object_created
from tests.support.cloudformation_server import CloudFormation, environment_output
from tests.support.kept_demo import Demo

TEXT = f'[defaults]\nlook = "off"\nobjective = "1h"\ntimeout = "2h"\n{CONFIGURATION}'


def test_a_run_hangs_at_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status --stack`, `explain`, `history`, dead letters; past its timeout the run is cancelled, and all is well."""
    monkeypatch.chdir(tmp_path)
    Path("unstale.toml").write_text(TEXT, encoding="utf-8")
    clock = HandClock(datetime.now(UTC) - timedelta(hours=8))

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main([*arguments, "--stack", "night"]) == code, arguments
        return capsys.readouterr().out

    def pass_by(host: Host, hours: float) -> None:
        until = clock.now() + timedelta(hours=hours)
        while clock.now() < until:
            clock.move_on(minutes=5)
            host.tick()
            host.poll()

    with living_in(LocalAws(clock=clock.now)) as aws:
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        host = Host(aws, clock, "night", TEXT)
        pass_by(host, 1)
        aws.faults.add(NeverEnd(), "run")
        assert host.deliver(object_created("orders/1.parquet", clock.now())) == []
        pass_by(host, 1.5)
        came_back_too_often = object_created("invoices/1.parquet", clock.now())
        aws.client("sqs").send_message(QueueUrl=aws.queues["events-dead"].url, MessageBody=came_back_too_often)

        stacks = CloudFormation()
        values = {"AWS::Region": aws.region, "Table": aws.table}
        values |= {"Wakes": aws.queues["wakes"].url, "Events": aws.queues["events"].url}
        stacks.stacks["night"] = {"Environment": environment_output(values)}
        for name in [name for name in os.environ if name.startswith("UNSTALE_")]:
            monkeypatch.delenv(name)
        with LoopbackServer(stacks.respond, lambda: datetime.now(UTC)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", server.url)
            rows = {row["name"]: row for row in json.loads(run("status", "--json", code=1))["targets"]}
            assert (rows["daily"]["verdict"], rows["weekly"]["verdict"]) == ("late", "unknown")
            assert "a refresh is running, since" in rows["daily"]["why"]
            said = run("explain", "daily", code=1)
            assert "look at the run on the platform; one that hangs is cancelled after 2 h" in said
            assert "s3://landing/orders/1.parquet" in said
            first, *_ = run("history", "daily").splitlines()[1:]
            assert "running" in first

            assert "1" in run("redrive", "--dry-run", code=1)
            assert "events: 1 of 1 moved back, completed" in run("redrive")
            assert host.poll() == 1
            pass_by(host, 5.6)
            while clock.now() < datetime.now(UTC):
                pass_by(host, 0.1)
            assert "daily" in run("status")
            outcomes = [line["outcome"] for line in json.loads(run("history", "daily", "--json"))["runs"]]
            assert outcomes[0] == "succeeded"
            assert set(outcomes[1:2]) & {"failed", "cancelled"}
            [newest, *_] = json.loads(run("history", "weekly", "--json"))["runs"]
            assert (newest["outcome"], newest["reasons"]) == ("succeeded", ["s3://landing/invoices/1.parquet"])


def test_a_night_in_the_playground(demo: Demo) -> None:
    """A run hangs: `status`, `explain` and `history` name it, since when, and when it is cancelled."""
    assert "will not end" in demo.does("demo", "do", "hang", "orders_by_region")
    demo.wait(lambda found: found["orders_by_region"]["situation"] == "running")
    assert "a refresh is running, since" in demo.status()["orders_by_region"]["why"]
    assert "the run is cancelled if it goes on past" in demo.does("explain", "orders_by_region")
    assert "running" in demo.does("history", "orders_by_region").splitlines()[1]
    assert "events" in demo.does("redrive", "--dry-run")
