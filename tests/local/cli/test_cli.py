"""The `unstale` command, as its user meets it: what it prints, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from functions_aws.clients import Clients
from functions_aws.settings import read
from functions_aws.wiring import make_ports
from local.cli import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh import records
from shared.refresh.records import read_state
from shared.refresh.state import Deployment as DeploymentRecord
from shared.refresh.state import Ended, Outcome, Owed, State
from tests.support.aws_host import CONFIGURATION, living_in

EXAMPLE = ["--config", str(Path(__file__).parents[3] / "unstale.example.toml")]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Deployment:
    """A deployment in moto, and the command run against it."""

    def __init__(self, config: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        self.config = config
        self.targets = load(config.read_text(encoding="utf-8")).by_name
        self.store = make_ports(read(environ), Clients(), lambda _: None).store
        ticked = records.write(DeploymentRecord(ticked_at=datetime.now(UTC)))
        self.store.save(self.store.load(records.DEPLOYMENT_KEY), ticked, None)
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._capsys.readouterr()
        code = main([*arguments, "--config", str(self.config)])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def json(self, *arguments: str) -> tuple[int, Any]:
        """Exit code, and what `--json` printed."""
        code, out, _ = self.run(*arguments, "--json")
        return code, json.loads(out)

    def state(self, name: str) -> State:
        """What the store has of a target."""
        return read_state(self.store.load(self.targets[name].key).body)

    def plan(self, *names: str) -> None:
        """Have the deployed edition name targets."""
        for name in names:
            self.keep(name, State(definition=self.targets[name].definition, planned_until=NOON, edition=1))

    def keep(self, name: str, state: State) -> None:
        """Put a state into the store."""
        self.store.save(self.store.load(self.targets[name].key), records.write(state), state.wake_at)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """One AWS for all: each test has a table of its own content."""
    with living_in(LocalAws()) as emulated:
        yield emulated


@pytest.fixture
def deployed(
    aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """Two targets of which nothing is known."""
    config = tmp_path / "unstale.toml"
    config.write_text(
        f'[defaults]\nlook = "off"\n{CONFIGURATION}', encoding="utf-8"
    )  # status of looks: test_standing.py
    environ = aws.environment({}) | {
        "UNSTALE_CONFIG": str(config),
        "UNSTALE_EVENTS_QUEUE_URL": aws.queues["events"].url,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield Deployment(config, environ, capsys)
    table = aws.client("dynamodb")
    for item in table.scan(TableName=aws.table)["Items"]:
        table.delete_item(TableName=aws.table, Key={"pk": item["pk"], "sk": item["sk"]})
    sqs, dead = aws.client("sqs"), aws.queues["events-dead"].url
    for message in sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", ()):
        sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])


# --- check, plan ------------------------------------------------------------------------------------------------------


def test_check_says_what_a_good_configuration_means(capsys: pytest.CaptureFixture[str]) -> None:
    """Each target with what refreshes it; exit code 0."""
    assert main(["check", "--json", *EXAMPLE]) == 0
    targets = json.loads(capsys.readouterr().out)["targets"]
    assert {target["name"] for target in targets} >= {"sales_lakehouse", "optimize_table1", "daily_revenue"}
    assert any("after sales_lakehouse" in target["when"] for target in targets)


def test_check_says_who_asks_where_nothing_arrives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that only Fabric's jobs refresh, for one item or for any; and one that waits for a person."""
    file = tmp_path / "unstale.toml"
    lakehouse = '[targets.{0}]\nkind = "fabric-lake-views"\nworkspace = "{1}"\nlakehouse = "{2}"\n'
    ids = [f"{number}b218778-e7a5-4d73-8187-f10824047715" for number in range(4)]
    text = lakehouse.format("asked", ids[0], ids[1]) + lakehouse.format("alone", ids[0], ids[2])
    job = '[[workload.jobs]]\nitem_type = "I"\njob_type = "J"\ntarget = "asked"\n'
    file.write_text(f'{text}{job}{job}item = "{ids[3]}"\n', encoding="utf-8")
    assert main(["check", "--config", str(file), "--json"]) == 0
    when = {target["name"]: target["when"] for target in json.loads(capsys.readouterr().out)["targets"]}
    assert when == {
        "asked": f"Fabric's job J of any I; Fabric's job J of {ids[3]} I",
        "alone": "on request only",
    }


def test_check_warns_and_is_strict_only_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is doubtful is told with file, line and key, as text and as JSON; `--strict` makes it count."""
    file = tmp_path / "mine.toml"
    view = 'kind = "glue-view"\ncatalog_id = "111122223333"\ndatabase = "sales"\ntable = "daily"\n'
    good = f'[targets.daily]\n{view}on = [{{ s3_object_created = {{ bucket = "landing" }} }}]\n'
    file.write_text(good, encoding="utf-8")
    assert main(["check", "--config", str(file), "--strict"]) == 0
    assert "warning" not in capsys.readouterr().out
    file.write_text(good.replace('"landing"', '"landing", prefix = "/orders/"'), encoding="utf-8")
    assert main(["check", "--config", str(file)]) == 0
    told = capsys.readouterr().out
    assert f"warning: {file}:6: targets.daily.on[0].s3_object_created.prefix: found" in told
    assert "1 targets, 1 warnings" in told
    assert main(["check", "--config", str(file), "--strict", "--json"]) == 1
    [warning] = json.loads(capsys.readouterr().out)["warnings"]
    assert (warning["line"], warning["found"]) == (6, '"/orders/"')


@pytest.mark.parametrize(
    ("tenants", "says"),
    [
        ("", "of the publisher's own tenant alone"),
        ('tenants = ["{4B218778-E7A5-4D73-8187-F10824047715}"]', "of tenant 4b218778-e7a5-4d73-8187-f10824047715"),
    ],
)
def test_check_says_whose_items_fabric_may_ask_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tenants: str, says: str
) -> None:
    """In words, and for scripts; nothing where Fabric is not served."""
    file = tmp_path / "unstale.toml"
    ids = [f"{number}b218778-e7a5-4d73-8187-f10824047715" for number in range(2)]
    target = f'[targets.a]\nkind = "fabric-lake-views"\nworkspace = "{ids[0]}"\nlakehouse = "{ids[1]}"\n'
    file.write_text(target, encoding="utf-8")
    assert main(["check", "--config", str(file)]) == 0
    assert "Fabric's jobs" not in capsys.readouterr().out
    job = '[[workload.jobs]]\nitem_type = "I"\njob_type = "J"\ntarget = "a"\n'
    file.write_text(f"{target}[workload]\n{tenants}\n{job}", encoding="utf-8")
    assert main(["check", "--config", str(file)]) == 0
    assert f"Fabric's jobs are taken for items {says}" in capsys.readouterr().out
    assert main(["check", "--config", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workload"] == {
        "tenants": [says.rsplit(maxsplit=1)[-1]] if tenants else []
    }


def test_check_names_line_key_and_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G6: all that is wrong, on standard error; exit code 1."""
    bad = tmp_path / "bad.toml"
    bad.write_text(CONFIGURATION.replace('table = "daily"', 'tabel = "daily"\nquiet_period = 30'), encoding="utf-8")
    assert main(["check", "--config", str(bad)]) == 1
    said = capsys.readouterr().err
    assert f'{bad}:6: targets.daily.tabel: found an unknown key, expected a known one: did you mean "table"?' in said
    assert (
        f'{bad}:7: targets.daily.quiet_period: found 30, expected a duration from "1s" to "30d", in whole s, m, h or d'
        in said
    )


def test_a_configuration_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, how to name the file, and how to make the first."""
    assert main(["check", "--config", "nowhere.toml"]) == 2
    said = capsys.readouterr().err
    assert "there is no nowhere.toml: `unstale init` makes one" in said
    assert "--config or UNSTALE_CONFIG" in said


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For editors; needs no file."""
    assert main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "unstale.toml"


def test_plan_shows_target_request_and_time_and_sends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event counts as delivered at its own time; newest is rounded up to a quarter of the quiet period."""
    event = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2026-01-31T12:00:00Z",
        "detail": {"bucket": {"name": "landing"}, "object": {"key": "orders/a+b%20c.parquet"}},
    }
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"Records": [{"body": json.dumps(event)}]}), encoding="utf-8")
    assert main(["plan", str(file), "--json", *EXAMPLE]) == 0
    [line] = json.loads(capsys.readouterr().out)["plan"]
    assert line["target"] == "daily_revenue"
    assert line["why"] == "s3://landing/orders/a+b%20c.parquet"
    assert line["start_at"] == "2026-01-31T12:00:30Z"
    assert line["request"] == {"CatalogId": "123456789012", "DatabaseName": "sales", "TableName": "daily_revenue"}


def test_plan_of_what_cannot_be_read_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be a dead letter: exit code 1. No file at all is wrong usage."""
    file = tmp_path / "event.json"
    file.write_text('{"detail-type": "Object Created", "source": "aws.s3"}', encoding="utf-8")
    assert main(["plan", str(file), *EXAMPLE]) == 1
    assert "dead letters" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "none.json"), *EXAMPLE]) == 2
    assert main(["plan"]) == 2


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["history"]])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    """As argparse has it, with the usage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


# --- status, history --------------------------------------------------------------------------------------------------


def test_status_of_fresh_targets_is_well(deployed: Deployment) -> None:
    """Nothing owed, no dead letters: exit code 0."""
    for name in ("daily", "weekly"):
        deployed.keep(name, State(fresh_as_of=NOON))
    code, said = deployed.json("status")
    assert code == 0
    assert [row["verdict"] for row in said["targets"]] == ["fresh", "fresh"]


def test_a_target_that_the_function_never_looked_at_is_not_fresh(deployed: Deployment) -> None:
    """An empty table, such as one of a deployment that never ticked, or the wrong one: nothing is known."""
    deployed.keep("daily", State(fresh_as_of=NOON))
    code, said = deployed.json("status")
    assert code == 1
    assert [row["verdict"] for row in said["targets"]] == ["fresh", "unknown"]


def test_status_says_since_when_and_why(deployed: Deployment) -> None:
    """A paused target needs a person: exit code 1; the table names the cure."""
    definition = deployed.targets["daily"].definition
    deployed.keep("daily", State(owed=Owed(NOON, NOON, reasons=("s3://landing/orders/1",)), definition=definition))
    assert deployed.run("pause", "daily")[0] == 0
    code, out, _ = deployed.run("status")
    assert code == 1
    assert "2026-01-31 12:00:00Z" in out
    assert "unstale resume" in out


def test_dead_letters_make_freshness_unknown(aws: LocalAws, deployed: Deployment) -> None:
    """G1: what lies there is not accepted, so nothing that looks fresh is known to be."""
    aws.client("sqs").send_message(QueueUrl=aws.queues["events-dead"].url, MessageBody="nonsense")
    code, said = deployed.json("status")
    assert code == 1
    assert [row["verdict"] for row in said["targets"]] == ["unknown", "unknown"]
    assert sum(summary["count"] for summary in said["dead_letters"]) == 1


def test_history_shows_the_newest_run_first(deployed: Deployment) -> None:
    """From the store's own lines."""
    for minute in (1, 2):
        at = NOON.replace(minute=minute)
        versions = {"sales.orders": "4711"} if minute == 1 else {}
        line = Ended("t", Outcome.SUCCEEDED, at, at.replace(second=30), signals=minute, versions=versions)
        key, body = deployed.targets["daily"].key, records.write(line)
        deployed.store.append(key, f"{minute}", body, NOON.replace(year=2099))
        code, printed, _ = deployed.run("history", "daily")
        assert (code, "sales.orders" in printed, "4711" in printed) == (0, True, True), "the versions that it has read"
    code, said = deployed.json("history", "daily")
    assert code == 0
    assert [run["signals"] for run in said["runs"]] == [2, 1]
    assert [run.get("versions") for run in said["runs"]] == [None, {"sales.orders": "4711"}]


def test_an_unknown_target_is_wrong_usage(deployed: Deployment) -> None:
    """With the names that there are."""
    code, _, err = deployed.run("history", "dialy")
    assert code == 2
    assert "daily, weekly" in err


def test_a_store_that_does_not_answer_is_said_so(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback; exit code 1."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    code, _, err = deployed.run("history", "daily")
    assert code == 1
    assert "127.0.0.1:9" in err


def test_a_missing_variable_is_named(deployed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where its value comes from."""
    monkeypatch.delenv("UNSTALE_TABLE")
    code, _, err = deployed.run("status")
    assert code == 2
    assert "UNSTALE_TABLE" in err


# --- refresh, pause, resume -------------------------------------------------------------------------------------------


def test_refresh_owes_the_target_and_sends_the_wake_only(aws: LocalAws, deployed: Deployment) -> None:
    """From here nothing goes to Glue: the deployed function acts."""
    deployed.plan("daily")
    assert deployed.run("refresh", "daily", "--full")[0] == 0
    state = deployed.state("daily")
    assert state.owed
    assert (state.owed.full, state.owed.asked, state.run) == (True, True, None)
    assert state.wakes
    assert aws.glue.journal().entries() == ()


def test_pause_and_resume_change_the_hold_and_nothing_else(deployed: Deployment) -> None:
    """G7: nothing is forgotten."""
    deployed.plan("daily")
    deployed.run("refresh", "daily")
    owed = deployed.state("daily").owed
    deployed.run("pause", "daily")
    assert deployed.state("daily").hold
    deployed.run("resume", "daily")
    assert (deployed.state("daily").hold, deployed.state("daily").owed) == (None, owed)


@pytest.mark.parametrize("command", ["refresh", "pause", "resume"])
@pytest.mark.parametrize("definition", ["", None])
def test_a_target_that_is_not_deployed_is_refused(deployed: Deployment, command: str, definition: str | None) -> None:
    """Rule 12: nobody would act on it. Neither is it deployed where the current edition has forgotten it."""
    if definition is not None:
        deployed.keep("daily", State(definition=definition, edition=3))
    before = deployed.state("daily")
    code, _, error = deployed.run(command, "daily")
    assert code == 1
    assert "does not name daily" in error
    assert "package and deploy" in error
    assert deployed.state("daily") == before


def test_the_command_line_with_an_older_file_ends_no_schedule(deployed: Deployment) -> None:
    """Rule 12: `pause` and `resume` from a checkout without the new schedule leave what is planned."""
    planned = State(definition="sources.of-a-newer.file", planned_until=NOON, edition=7)
    deployed.keep("daily", planned)
    assert deployed.run("pause", "daily")[0] == 0
    assert deployed.run("resume", "daily")[0] == 0
    after = deployed.state("daily")
    assert (after.definition, after.planned_until, after.edition) == (planned.definition, NOON, 7)
    assert after.wake_at is not None


def test_pause_all_is_one_record(deployed: Deployment) -> None:
    """`--all` is of the deployment; `status` then says so of every target, and is not well while one is owed."""
    for name in ("daily", "weekly"):
        deployed.keep(name, State(fresh_as_of=NOON))
    assert deployed.run("pause", "--all")[0] == 0
    assert deployed.json("status")[0] == 0
    deployed.keep("daily", State(owed=Owed(NOON, NOON)))
    code, said = deployed.json("status")
    assert code == 1
    assert [row["verdict"] for row in said["targets"]] == ["held", "fresh"]
    assert {row["hold"] for row in said["targets"]} == {"paused (all)"}
    deployed.run("resume", "--all")
    assert deployed.json("status")[0] == 0


@pytest.mark.parametrize("arguments", [["pause"], ["resume", "daily", "--all"]])
def test_one_target_or_all_must_be_said(deployed: Deployment, arguments: list[str]) -> None:
    """Neither and both are wrong usage."""
    assert deployed.run(*arguments)[0] == 2
