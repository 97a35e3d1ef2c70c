"""G8 as its user meets it: `status` and `explain` say fresh only while somebody works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions_aws.clients import Clients
from functions_aws.settings import read
from functions_aws.shell import NotDoneError
from functions_aws.wiring import make_ports
from local.cli import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import Configuration, load
from shared.refresh import records
from shared.refresh.ports import Document
from shared.refresh.state import Deployment, Edition, JudgedBy, State
from tests.support.aws_host import CONFIGURATION, HandClock, Host, living_in, object_created

TEXT = f'[defaults]\nlook = "off"\n{CONFIGURATION}'


class Late:
    """A clock that is behind by as much as a test says, so that what is done now was done a while ago."""

    def __init__(self) -> None:
        self.behind = timedelta(0)

    def __call__(self) -> datetime:
        """The moment."""
        return datetime.now(UTC) - self.behind


class Deployed:
    """Two targets that are fresh, in an account of their own."""

    def __init__(self, aws: LocalAws, clock: Late, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.aws, self.clock, self._config, self._capsys = aws, clock, config, capsys
        self.store = make_ports(read(aws.environment()), Clients(), lambda _: None).store
        self.keep(fresh_as_of=datetime.now(UTC))

    @property
    def configuration(self) -> Configuration:
        """As the file has it now."""
        return load(self._config.read_text(encoding="utf-8"))

    def keep(self, ticked_ago: timedelta = timedelta(0), **fields: Any) -> None:
        """Write the records of both targets, and of the deployment, as a function writes them that works."""
        for target in self.configuration.targets:
            state = State(definition=target.definition, edition=1, **fields)
            self.store.save(self.store.load(target.key), records.write(state), state.wake_at)
        deployment = Deployment(
            edition=Edition(1, self.configuration.fingerprint, datetime.now(UTC)),
            ticked_at=datetime.now(UTC) - ticked_ago,
            version="0.0.9",
        )
        document: Document = self.store.load(records.DEPLOYMENT_KEY)
        self.store.save(document, records.write(deployment), None)

    def edit(self, old: str, new: str) -> None:
        """Change the file, and deploy nothing."""
        self._config.write_text(self._config.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a command."""
        self._capsys.readouterr()
        code = main([*arguments, "--config", str(self._config)])
        return code, self._capsys.readouterr().out

    def verdicts(self) -> tuple[int, dict[str, tuple[str, str]]]:
        """Exit code of `status`, and verdict and reason by target."""
        code, out = self.run("status", "--json")
        return code, {row["name"]: (row["verdict"], row["why"]) for row in json.loads(out)["targets"]}


def minutes(said: str, begins: str) -> int:
    """The number of minutes in a text that begins so; a busy machine may let one pass between two lines of a test."""
    found = re.match(re.escape(begins).replace(r"\{\}", r"(\d+)"), said)
    assert found, said
    return int(found[1])


@pytest.fixture
def deployed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployment whose function nobody calls: this test is the only one that works."""
    config, clock = tmp_path / "unstale.toml", Late()
    config.write_text(TEXT, encoding="utf-8")
    with living_in(LocalAws(clock=clock)) as aws:
        yield Deployed(aws, clock, config, capsys)


def test_a_deployment_that_works_is_fresh(deployed: Deployed) -> None:
    """Exit code 0, the last line says what waits; nothing is warned of."""
    code, found = deployed.verdicts()
    assert (code, found) == (0, {"daily": ("fresh", "nothing is owed"), "weekly": ("fresh", "nothing is owed")})
    code, out = deployed.run("status")
    assert "warning" not in out
    assert "AWS: unstale 0.0.9; the last tick came" in out
    assert "0 messages wait in events; 0 messages wait in wakes" in out
    [cloud] = json.loads(deployed.run("status", "--json")[1])["deployments"]
    assert cloud["version"] == "0.0.9", "the deployed one's, not the command's"


def test_objects_that_wait_for_a_poller_that_is_off_leave_everything_unknown(deployed: Deployed) -> None:
    """Fifty, ten minutes old; the age is CloudWatch's, and nothing was received for it."""
    deployed.clock.behind = timedelta(minutes=10)
    for number in range(50):
        deployed.aws.client("s3").put_object(Bucket="landing", Key=f"orders/{number}.parquet", Body=b"rows")
    deployed.clock.behind = timedelta(0)
    code, found = deployed.verdicts()
    assert code == 1
    assert found["daily"] == found["weekly"]
    assert minutes(found["daily"][1], "50 messages wait in events, the oldest for {} min") >= 10
    code, out = deployed.run("status")
    warning = "warning: AWS: 50 messages wait in events, the oldest for {} min: is the function (or unstale run) on"
    assert minutes(out, warning) >= 10
    [queue, _] = json.loads(deployed.run("status", "--json")[1])["deployments"][0]["queues"]
    assert (queue["queue"], queue["waiting"]) == ("events", 50)
    sqs = deployed.aws.client("sqs")
    message = sqs.receive_message(QueueUrl=deployed.aws.queues["events"].url, MessageSystemAttributeNames=["All"])
    assert message["Messages"][0]["Attributes"]["ApproximateReceiveCount"] == "1"


def test_objects_that_just_came_leave_no_doubt(deployed: Deployed) -> None:
    """A batch is on its way for some seconds."""
    deployed.aws.client("s3").put_object(Bucket="landing", Key="orders/1.parquet", Body=b"rows")
    code, found = deployed.verdicts()
    assert (code, found["daily"][0]) == (0, "fresh")


def test_an_age_that_nobody_may_read_is_not_known(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """While anything waits; with the cloud's own words."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:9")
    assert deployed.verdicts()[0] == 0
    deployed.aws.client("sqs").send_message(QueueUrl=deployed.aws.queues["events"].url, MessageBody="x")
    code, found = deployed.verdicts()
    assert code == 1
    assert found["daily"][1].startswith("nobody knows how long messages wait in events: ")
    assert "127.0.0.1:9" in found["daily"][1]


def test_an_events_queue_that_nobody_named_is_not_known_to_be_empty(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named, and where its value is."""
    monkeypatch.delenv("UNSTALE_EVENTS_QUEUE_URL")
    code, found = deployed.verdicts()
    assert code == 1
    assert "UNSTALE_EVENTS_QUEUE_URL is not set" in found["daily"][1]


def test_ticks_that_stopped_leave_everything_unknown(deployed: Deployed) -> None:
    """Three minutes of them are missing: the timer is off, or the function fails each time; the message says which."""
    deployed.keep(timedelta(minutes=4), fresh_as_of=datetime.now(UTC))
    code, found = deployed.verdicts()
    assert code == 1
    [(verdict, why)] = set(found.values())
    assert verdict == "unknown"
    assert minutes(why, "no tick came for {} min, and one is due each minute") >= 4
    out = deployed.run("status")[1]
    assert minutes(out, "warning: AWS: no tick came for {} min, and one is due each minute: is") >= 4
    deployed.keep(timedelta(minutes=1), fresh_as_of=datetime.now(UTC))
    assert deployed.verdicts()[0] == 0


def test_a_function_that_fails_each_call_leaves_everything_unknown(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ticks note nothing, and what it takes comes back: shown by the real handler, whose table is not there."""
    deployed.keep(timedelta(minutes=10), fresh_as_of=datetime.now(UTC))
    broken = Host(deployed.aws, HandClock(datetime.now(UTC)), "broken")
    monkeypatch.setattr(broken.ports.store, "_table", "gone")
    with pytest.raises(NotDoneError):
        broken.invoke({"tick": True})
    assert broken.deliver(object_created("orders/1.parquet", datetime.now(UTC))) == [0]
    assert {verdict for verdict, _ in deployed.verdicts()[1].values()} == {"unknown"}


def test_a_policy_that_is_not_deployed_makes_its_targets_unknown(deployed: Deployed) -> None:
    """What is shown is judged by what is deployed; that the file differs is said."""
    target = deployed.configuration.by_name["daily"]
    policy = target.policy
    judged_by = JudgedBy("daily", policy.objective, policy.look, policy.quiet_period, policy.max_wait)
    deployed.keep(fresh_as_of=datetime.now(UTC), judged_by=judged_by)
    assert deployed.verdicts()[0] == 0
    deployed.edit('table = "daily"', 'table = "daily"\nobjective = "5m"')
    code, found = deployed.verdicts()
    assert (code, found["weekly"][0]) == (1, "fresh")
    assert found["daily"] == (
        "unknown",
        "the file says otherwise how fresh it must be than what is deployed: package and deploy the file",
    )


def test_records_that_are_past_due_are_unknown(deployed: Deployed) -> None:
    """Neither a wake nor a tick came for them: the function is gone, or fails for each."""
    deployed.keep(fresh_as_of=datetime.now(UTC), wake_at=datetime.now(UTC) - timedelta(minutes=12))
    code, found = deployed.verdicts()
    assert code == 1
    assert found["daily"][0] == "unknown"
    assert minutes(found["daily"][1], "it was due {} min ago and nobody came: is the function (or") >= 12


def test_a_file_that_is_not_deployed_is_warned_of_and_its_targets_are_unknown(deployed: Deployed) -> None:
    """Those alone whose sources differ, or that are not deployed at all."""
    deployed.edit("invoices/", "bills/")
    code, found = deployed.verdicts()
    assert code == 1
    assert (found["daily"][0], found["weekly"][0]) == ("fresh", "unknown")
    assert "package and deploy the file" in found["weekly"][1]
    assert deployed.run("status")[1].startswith("warning: AWS runs another configuration than this file: package")
    deployed.edit('table = "weekly"', 'table = "monthly"')
    assert deployed.verdicts()[1]["weekly"] == (
        "unknown",
        "the deployed configuration does not name it: package and deploy this one",
    )


def test_explain_says_why_and_what_to_do(deployed: Deployed) -> None:
    """In headings for people, in topics for scripts; exit code 1 where somebody must do something."""
    code, out = deployed.run("explain", "daily")
    assert code == 0
    assert out.startswith("daily on AWS: fresh\nnothing is owed\n")
    assert "What you can do\n  nothing" in out
    assert deployed.run("refresh", "daily")[0] == 0
    assert deployed.run("pause", "daily")[0] == 0
    code, out = deployed.run("explain", "daily", "--json")
    told = json.loads(out)
    assert (code, told["verdict"], told["sentences"][0]["topic"]) == (1, "held", "why")
    assert told["sentences"][0]["text"] == told["why"]
    assert deployed.run("explain", "dialy")[0] == 2
