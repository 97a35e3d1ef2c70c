"""`unstale run` as a user starts it, against the emulators of both clouds: real processes, real signals, one file."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from local.emulators.faults import Slow
from local.emulators.journal import Arrival, count_overlaps, lost
from local.process.process import GRACE_SECONDS, PAUSE_SECONDS, Process, is_unheard
from local.process.show import JsonLines
from local.process.store import StateFile, Store
from shared.config.load import load
from shared.redaction import Redactor
from shared.refresh import deployment
from shared.refresh.engine import LogEvent
from shared.refresh.state import Edition
from shared.targets import Cloud
from tests.support.core import NOON, HandClock
from tests.support.one_machine import APP, COMMAND, LAKE, US, OneMachine, glue_view, one_machine
from tests.support.waiting import PATIENCE_SECONDS, wait_until

ELSEWHERE = "0d1b7a5c-7f3a-4f0e-9a7e-2f6c1f1f8a10"


@pytest.fixture(name="machine")
def clouds_and_a_folder(tmp_path: Path) -> Iterator[OneMachine]:
    """Both clouds, and a folder with a configuration of one Glue view that has one source."""
    with one_machine(tmp_path) as machine:
        machine.configure(glue_view())
        machine.create_view()
        yield machine


def lines(out: str) -> list[dict[str, object]]:
    """The lines that a process wrote, each of them JSON."""
    return [json.loads(line) for line in out.splitlines()]


def test_a_view_is_kept_fresh(machine: OneMachine) -> None:
    """A new view is refreshed; a commit to its source that no event tells of is seen by a look, and refreshed; the end
    is told by SIGTERM, comes within ten seconds and with code 0; each line is JSON.
    """
    process = machine.start("run")
    (first,) = machine.wait_for_runs(1)
    machine.aws.commit("sales", "orders")
    arrived = Arrival(first.resource, datetime.now(UTC))
    machine.make_looks_due()
    runs = machine.wait_for_runs(2)
    assert lost([arrived], runs) == []
    assert count_overlaps(runs) == 0
    wait_until(lambda: machine.ended() == 2)
    code, out, err = machine.end(process)
    assert (code, err) == (0, "")
    told = [line["message"] for line in lines(out) if line["target"] == "daily"]
    assert told.count("run succeeded") == 2
    assert {"timestamp", "level", "message", "target", "detail", "version"} == set(lines(out)[0])


def test_three_commands_lead_from_nothing_to_a_fresh_view(machine: OneMachine) -> None:
    """After the installation (`test_installed.py`): `unstale init` finds the views of a database, `unstale run` keeps
    them fresh, and `unstale status` says so. Nobody writes a line of configuration.
    """
    machine.config.unlink()
    code, _, err = machine.do("init", "--glue-database", "sales")
    assert (code, err) == (0, "")
    process = machine.start("run")
    machine.wait_for_runs(1)
    wait_until(lambda: machine.ended() == 1)
    assert machine.end(process)[0] == 0


def test_both_clouds_are_served_by_one_process(machine: OneMachine) -> None:
    """One file names a view and a lakehouse: both are refreshed, and each cloud keeps its own records in one state."""
    machine.configure(glue_view(), LAKE)
    process = machine.start("run")
    machine.wait_for_runs(1)
    wait_until(lambda: any(run.outcome == "succeeded" for run in machine.fabric.journal().entries()))
    assert machine.end(process)[0] == 0
    kinds = {(key.partition(":")[0], cloud) for key, cloud in machine.records().items()}
    assert {("glue-view", "aws"), ("fabric-lake-views", "azure")} <= kinds


def test_commands_work_on_the_state_of_a_process(machine: OneMachine) -> None:
    """pause, refresh and resume are heard by the process, which ticks at once where somebody else wrote; status,
    explain and history read what it knows. A person's words go through the file alone.
    """
    process = machine.start("run")
    machine.wait_for_runs(1)
    wait_until(lambda: machine.do("status", "--state", "unstale.db", "--json")[1].count('"situation": "idle"') == 1)
    assert machine.do("pause", "daily", "--state", "unstale.db")[0] == 0
    assert machine.do("refresh", "daily", "--state", "unstale.db")[0] == 0
    code, out, _ = machine.do("status", "--state", "unstale.db", "--json")
    assert code == 1
    assert json.loads(out)["targets"][0]["verdict"] == "held"
    assert "paused" in machine.do("explain", "daily", UNSTALE_STATE="unstale.db")[1]
    assert len(machine.runs()) == 1
    assert machine.do("resume", "daily", "--state", "unstale.db")[0] == 0
    machine.wait_for_runs(2)
    wait_until(lambda: machine.ended() == 2)
    assert [run["reasons"] for run in _history(machine)] == [
        ["asked on the command line"],
        ["new in the configuration"],
    ]
    assert machine.end(process)[0] == 0


def test_an_end_waits_for_what_is_under_way_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever does not answer, the process is over within the ten seconds that are promised."""
    assert GRACE_SECONDS + PAUSE_SECONDS < 10
    monkeypatch.setattr("local.process.process.GRACE_SECONDS", 0.01)
    with StateFile(tmp_path / "unstale.db") as file:
        process = Process(file, (), Event())
        process._under_way = {Future()}
        assert process.end() is False


def _history(machine: OneMachine) -> list[dict[str, object]]:
    out = machine.do("history", "daily", "--state", "unstale.db", "--json")[1]
    runs: list[dict[str, object]] = json.loads(out)["runs"]
    return runs


def test_an_end_in_the_middle_of_a_start_loses_nothing(machine: OneMachine) -> None:
    """The platform does not answer a start; the process is told to end meanwhile and does so in time. The next process
    looks the start up instead of sending it again, and the view is fresh.
    """
    machine.aws.faults.add(Slow(30), "start")
    process = machine.start("run")
    wait_until(machine.runs)
    assert machine.end(process)[0] == 0
    (key,) = [key for key in machine.records() if key.startswith("glue-view")]
    machine.let_time_pass(key, timedelta(minutes=3))  # the lease of the claim
    machine.start("run")
    wait_until(machine.ended)
    assert "succeeded" in machine.do("history", "daily", "--state", "unstale.db")[1]
    assert _history(machine)[-1]["run_id"] == machine.runs()[0].run_id
    assert count_overlaps(machine.runs()) == 0


def test_once_does_what_is_due_and_ends(machine: OneMachine) -> None:
    """As cron calls it: each call ends by itself, and some calls later the view is refreshed and known to be."""
    code, out, err = machine.do("run", "--once")
    assert (code, err) == (0, "")
    assert lines(out)
    assert machine.runs() == []  # the data of now can be read for certain in two seconds
    for done in (machine.runs, machine.ended):
        wait_until(done, lambda: machine.do("run", "--once"))
    assert len(machine.runs()) == 1


def _edition(machine: OneMachine) -> Edition:
    with StateFile(machine.state) as file:
        found = deployment.load(Store(file, Cloud.AWS, HandClock())).edition
    assert found
    return found


def test_a_changed_file_counts_from_the_next_start(machine: OneMachine) -> None:
    """There and back again, whichever has the greater digest; a restart with the same file changes nothing."""
    files = ["", 'full_refresh = { cron = "0 3 * * 0" }\n']
    numbers, fingerprints = [], []
    for extra in (files[0], files[0], files[1], files[0]):
        machine.configure(glue_view() + extra)
        assert machine.do("run", "--once")[0] == 0
        edition = _edition(machine)
        numbers.append(edition.number)
        fingerprints.append(edition.fingerprint == load(machine.config.read_text()).fingerprint)
    assert fingerprints == [True] * 4
    assert numbers[0] == numbers[1] < numbers[2] < numbers[3]


def test_two_processes_share_one_state(machine: OneMachine) -> None:
    """... and start one run, not two."""
    processes = [machine.start("run"), machine.start("run")]
    machine.wait_for_runs(1)
    wait_until(machine.ended)
    codes = [machine.end(process)[0] for process in processes]
    assert (codes, len(machine.runs())) == ([0, 0], 1)


def test_a_locked_file_is_waited_for(machine: OneMachine) -> None:
    """While another program holds the file the process tells of it and lives on; then it goes on where it stood."""
    assert machine.do("run", "--once")[0] == 0
    with closing(sqlite3.connect(machine.state, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = machine.start("run")
        assert process.stdout
        line = next(line for line in process.stdout if "locked" in line)
        other.execute("ROLLBACK")
    assert json.loads(line)["level"] == "warning"
    machine.wait_for_runs(1)
    assert machine.end(process)[0] == 0


# --- What is refused -------------------------------------------------------------------------------------------------


def test_a_state_of_a_later_release_is_refused(machine: OneMachine) -> None:
    """With the file, what to do, and the code for wrong usage; by `run` and by commands alike."""
    assert machine.do("run", "--once")[0] == 0
    with closing(sqlite3.connect(machine.state)) as file:
        file.execute("PRAGMA user_version = 99")
    for command in (["run"], ["status", "--state", "unstale.db"]):
        code, out, err = machine.do(*command)
        assert (code, out) == (2, "")
        assert "unstale.db has format 99" in err
        assert "a later release wrote the file" in err


def test_a_state_that_is_not_there_is_not_made_by_a_question(machine: OneMachine) -> None:
    """`status` of a file that nobody wrote says so; only `run` makes one."""
    code, _, err = machine.do("status", "--state", "other.db")
    assert code == 2
    assert "there is no other.db: `unstale run` makes it" in err
    assert not (machine.folder / "other.db").exists()


def test_a_region_that_nobody_named_is_wrong_usage(machine: OneMachine) -> None:
    """Before anything is begun: there is no file yet."""
    code, _, err = machine.do("run", AWS_REGION="", AWS_DEFAULT_REGION="")
    assert code == 2
    assert "AWS_REGION" in err
    assert not machine.state.exists()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "UNSTALE_FABRIC_URL"])
def test_tokens_leave_for_no_unsafe_address(machine: OneMachine, name: str) -> None:
    """An endpoint that is neither https nor on loopback is refused by the name of its variable."""
    machine.configure(glue_view(), LAKE)
    code, _, err = machine.do("run", **{name: "http://example.com"})
    assert code == 2
    assert name in err


# --- As whom Fabric is called ----------------------------------------------------------------------------------------


def _refreshed_on_fabric(machine: OneMachine) -> bool:
    return any(run.outcome == "succeeded" for run in machine.fabric.journal().entries())


def test_fabric_is_called_with_the_token_of_az(machine: OneMachine) -> None:
    """On one's own machine: `az account get-access-token` for Fabric, whatever `[fabric] identity` says."""
    token = machine.entra.tokens.issue(US.caller, "https://api.fabric.microsoft.com", timedelta(hours=1))
    answer = json.dumps({"accessToken": token, "expires_on": 4_000_000_000})
    az = machine.folder / "az"
    az.write_text(f"#!/bin/sh\necho \"$@\" >> {machine.folder}/asked\necho '{answer}'\n")
    az.chmod(0o755)
    machine.configure('[fabric]\nidentity = "service-principal"\n', LAKE)
    process = machine.start("run", IDENTITY_ENDPOINT="", PATH=f"{machine.folder}:/usr/bin:/bin")
    wait_until(lambda: _refreshed_on_fabric(machine))
    assert machine.end(process)[0] == 0
    assert "--resource https://api.fabric.microsoft.com" in (machine.folder / "asked").read_text()


def test_fabric_is_called_by_who_signed_in_beside_the_state(machine: OneMachine) -> None:
    """`login --local` shows a device code and keeps the sign-in in a file that only its owner reads; `run` calls as
    that person; `--show` names the account; after `--remove` the file is gone.
    """
    machine.configure(LAKE)
    person = {
        "IDENTITY_ENDPOINT": "",
        "UNSTALE_AUTHORITY": machine.entra.authority,
        "UNSTALE_CLIENT_ID": APP.client_id,
        "REQUESTS_CA_BUNDLE": machine.entra.certificate,
    }
    code, out, err = machine.do("login", "--local", **person)
    assert (code, err) == (0, "")
    assert "enter the code" in out
    cache = machine.folder / "unstale.db.sign-in"
    assert cache.stat().st_mode & 0o777 == 0o600
    assert "ada@contoso.example" in machine.do("login", "--local", "--show", **person)[1]
    process = machine.start("run", **person)
    wait_until(lambda: _refreshed_on_fabric(machine))
    code, out, _ = machine.end(process)
    assert code == 0
    assert json.loads(cache.read_text())["RefreshToken"]
    assert not any(secret in out for secret in _secrets_in(cache))
    assert machine.do("login", "--local", "--remove")[1] == "signed out\n"
    assert not cache.exists()
    assert machine.do("login", "--local", "--show")[0] == 1


def _secrets_in(cache: Path) -> list[str]:
    kept = json.loads(cache.read_text())
    return [each["secret"] for kind in ("RefreshToken", "AccessToken") for each in kept[kind].values()]


def test_a_sign_in_that_is_over_is_told(machine: OneMachine) -> None:
    """Entra renews nothing any more: the target is blocked with the reason, and the reason names the cure."""
    machine.configure(LAKE)
    (machine.folder / "unstale.db.sign-in").write_text("{}")
    process = machine.start(
        "run",
        IDENTITY_ENDPOINT="",
        UNSTALE_AUTHORITY=machine.entra.authority,
        UNSTALE_CLIENT_ID=APP.client_id,
        REQUESTS_CA_BUNDLE=machine.entra.certificate,
    )
    wait_until(lambda: "login --local" in machine.do("status", "--state", "unstale.db")[1])
    assert machine.end(process)[0] == 0


# --- What is shown ---------------------------------------------------------------------------------------------------


def test_a_terminal_shows_a_line_for_each_target(machine: OneMachine) -> None:
    """The line of a target says how it stands and is renewed in place; above it stands what happened."""
    import pexpect

    child = pexpect.spawn(
        sys.executable,
        ["-c", COMMAND, "run"],
        cwd=str(machine.folder),
        env={**machine.environment, "PYTHONPATH": str(Path(__file__).parents[3]), "TERM": "xterm"},
        encoding="utf-8",
        dimensions=(30, 160),
        timeout=PATIENCE_SECONDS,
    )
    try:
        child.expect("target.*verdict.*stale since.*fresh as of.*why")
        child.expect("daily.*stale")
        child.expect("daily.*run succeeded")
        child.expect("daily.*20[0-9-]+ [0-9:]+Z")
        child.sendintr()
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0


def test_lines_hold_no_secret_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Texts come from clouds and files: what is secret is taken out, and what does something to a terminal."""
    JsonLines(Redactor(["s3cr3t-value"])).emit(
        LogEvent("trouble", "daily", NOON, {"message": "denied for s3cr3t-value \x1b[31m", "code": 7})
    )
    line = json.loads(capsys.readouterr().out)
    assert "s3cr3t" not in line["detail"]["message"]
    assert "\x1b" not in line["detail"]["message"]
    assert (line["level"], line["detail"]["code"]) == ("warning", 7)


TABLE, FILES = (
    f'{{ onelake_changed = {{ workspace = "{ELSEWHERE}", item = "{ELSEWHERE}", path = "{path}" }} }}'
    for path in ("Tables/orders", "Files/landing")
)


@pytest.mark.parametrize(
    ("on", "unheard"),
    [
        ('[{ blob_created = { account = "contosolake", container = "sales" } }]', True),
        (f"[{TABLE}]", False),
        (f"[{FILES}]", True),
        (f"[{TABLE}, {FILES}]", True),
    ],
)
def test_a_target_that_only_events_tell_of_is_named(on: str, unheard: bool) -> None:
    """No event reaches this process, and looks see tables alone: without a word, nobody would know why such a target is
    not refreshed when data arrives in its files.
    """
    (target,) = load(f"{LAKE}on = {on}\n").targets
    assert is_unheard(target) is unheard
    (scheduled,) = load(f'{LAKE}on = {on}\nschedule = {{ cron = "0 6 * * *" }}\n').targets
    assert not is_unheard(scheduled)


def test_a_view_on_one_cloud_is_followed_on_the_other_within_the_process(machine: OneMachine) -> None:
    """The functions that `[across]` names are others', and are asked nothing: nobody listens there."""
    across = '\n[across.azure]\nurl = "https://127.0.0.1:9"\nkey_secret = "nobody-made-this"\n'
    machine.configure(across, glue_view(), LAKE + 'after = ["daily"]\n')
    process = machine.start("run")
    (first,) = machine.wait_for_runs(1)
    ended_at = first.ended_at
    assert ended_at
    wait_until(lambda: any(run.created_at > ended_at for run in machine.fabric.journal().entries()))
    code, out, err = machine.end(process)
    assert (code, err) == (0, "")
    told = [line for line in lines(out) if line["message"] == "outcome sent"]
    assert [(line["target"], line["detail"]["to"]) for line in told] == [("daily", "lake on azure")]  # type: ignore[index]
