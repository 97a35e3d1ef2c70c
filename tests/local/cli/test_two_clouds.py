"""The command over both halves at once: moto and Azurite, one configuration, as its user meets it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from functions_aws.clients import Clients
from functions_aws.settings import read as read_aws
from functions_aws.wiring import make_ports as make_aws_ports
from functions_azure.settings import EVENTS_QUEUE, POISON
from functions_azure.settings import read as read_azure
from functions_azure.wiring import Parts
from functions_azure.wiring import make_ports as make_azure_ports
from local.cli import main
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh import records
from shared.refresh.outbox import note_event
from shared.refresh.ports import Document, Store
from shared.refresh.state import Addressee, Deployment, Ended, Outbox, Outcome, State
from shared.targets import Cloud
from tests.support.aws_host import NOON, living_in
from tests.support.azure_host import TEXT
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures

NOWHERE = "http://127.0.0.1:9"  # the port of Discard (RFC 863): nobody listens
VARIABLE = {"AWS": "UNSTALE_TABLE", "Azure": "UNSTALE_STORAGE"}
TARGETS = {"AWS": ["glue"], "Azure": ["sales", "other"]}
AWAY = pytest.mark.parametrize("away", TARGETS)


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture(name="aws", scope="module")
def one_aws() -> Iterator[LocalAws]:
    """One AWS for all tests; each has an account of Azure's, and a table of its own here."""
    with living_in(LocalAws()) as aws:
        yield aws


@pytest.fixture(name="config")
def configuration_of_both(
    aws: LocalAws, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """`sales` and `other` on Fabric, `glue` on Glue; with the variables of both deployments."""
    config = tmp_path / "unstale.toml"
    text = TEXT.replace("[defaults]\n", '[defaults]\nlook = "off"\n', 1)  # what status says of looks: test_standing.py
    config.write_text(text, encoding="utf-8")
    monkeypatch.setenv("UNSTALE_STORAGE", account.connection_string)
    yield config
    table = aws.client("dynamodb")
    for item in table.scan(TableName=aws.table)["Items"]:
        table.delete_item(TableName=aws.table, Key={"pk": item["pk"], "sk": item["sk"]})


@pytest.fixture(name="unstale")
def run_command(config: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, run on that configuration."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = main([*arguments, "--config", str(config)])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(name="stores", autouse=True)
def real_stores(config: Path) -> dict[str, Store]:
    """As the functions have them, with targets that are fresh."""
    there = {**os.environ, "UNSTALE_CONFIG": str(config)}
    read = load(config.read_text(encoding="utf-8"))
    settings = read_azure(there)
    azure = make_azure_ports(settings, read, Parts(settings, lambda: read), lambda _: None)
    stores = {"AWS": make_aws_ports(read_aws(there), Clients(), lambda _: None).store, "Azure": azure.store}
    ticked = records.write(Deployment(ticked_at=datetime.now(UTC)))
    for cloud, names in TARGETS.items():
        stores[cloud].save(Document(records.DEPLOYMENT_KEY), ticked, None)
        for name in names:
            state = State(fresh_as_of=NOON, definition=read.by_name[name].definition)
            stores[cloud].save(Document(read.by_name[name].key), records.write(state), None)
    return stores


def take_away(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deployment does not answer: nobody listens where the variables lead."""
    if cloud == "AWS":
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
        return
    storage = read_azure(os.environ).storage
    monkeypatch.setenv("UNSTALE_STORAGE", re.sub(r"http://127\.0\.0\.1:\d+", NOWHERE, storage))


def verdicts(said: Said) -> dict[str, str]:
    """By target, from `status --json`."""
    return {row["name"]: row["verdict"] for row in json.loads(said.out)["targets"]}


def lines_of_table(said: Said) -> list[str]:
    """The lines of `status` below the heads of its columns; an empty line ends the table."""
    _, *lines = said.out.split("\n\n", maxsplit=1)[0].splitlines()
    return lines


# --- Both are there ---------------------------------------------------------------------------------------------------


def test_one_status_shows_both(unstale: Command) -> None:
    """Each target with its own verdict, in the order of the file; whoever needs a person decides the exit code."""
    for arguments in (("refresh", "sales"), ("refresh", "glue", "--full")):
        assert unstale(*arguments).code == 0
    assert unstale("status").code == 0
    assert unstale("refresh", "other").code == 0
    assert unstale("pause", "other").code == 0
    said = unstale("status")
    assert said.code == 1
    assert [line.split()[:2] for line in lines_of_table(said)] == [
        ["sales", "stale"],
        ["other", "held"],
        ["glue", "stale"],
    ]
    kinds = [row["kind"] for row in json.loads(unstale("status", "--json").out)["targets"]]
    assert kinds == ["fabric-lake-views", "fabric-lake-views", "glue-view"]
    assert unstale("resume", "other").code == 0
    assert unstale("status").code == 0


def test_each_history_comes_from_its_own_store(unstale: Command, stores: dict[str, Store], config: Path) -> None:
    """Newest first; what was never run says so."""
    targets = load(config.read_text(encoding="utf-8")).by_name
    for cloud, name in (("AWS", "glue"), ("Azure", "sales")):
        line = records.write(Ended("t", Outcome.SUCCEEDED, NOON, NOON + timedelta(minutes=1), run_id=f"run of {cloud}"))
        stores[cloud].append(targets[name].key, "1", line, NOON.replace(year=2099))
        [run] = json.loads(unstale("history", name, "--json").out)["runs"]
        assert run["run_id"] == f"run of {cloud}"
    assert unstale("history", "other").out == "other: no runs yet\n"


def test_all_are_paused_and_resumed_on_both(unstale: Command, stores: dict[str, Store]) -> None:
    """G7: one record of each deployment."""

    def paused() -> dict[str, bool]:
        documents = {cloud: store.load(records.DEPLOYMENT_KEY) for cloud, store in stores.items()}
        return {cloud: records.read_deployment(read.body).paused_since is not None for cloud, read in documents.items()}

    assert unstale("pause", "--all") == (0, "all targets: paused; whatever runs is followed to its end\n", "")
    assert paused() == {"AWS": True, "Azure": True}
    assert {row["hold"] for row in json.loads(unstale("status", "--json").out)["targets"]} == {"paused (all)"}
    assert unstale("resume", "--all") == (0, "all targets: resumed; the next ticks reconcile every target\n", "")
    assert paused() == {"AWS": False, "Azure": False}


def test_dead_letters_of_one_cloud_are_shown_beside_the_other(unstale: Command, account: Account) -> None:
    """They may name any target, so nothing that looks fresh is known to be."""
    from azure.storage.queue import QueueClient

    with QueueClient.from_connection_string(account.connection_string, EVENTS_QUEUE + POISON) as queue:
        queue.send_message(json.dumps({"queue": EVENTS_QUEUE, "why": "not JSON", "body": "?"}))
    said = unstale("status")
    assert said.code == 1
    assert said.out.count("unknown") == 3
    assert f"1 dead letters of {EVENTS_QUEUE} (not JSON)" in said.out


# --- One is away ------------------------------------------------------------------------------------------------------


@AWAY
def test_a_cloud_that_is_not_configured_here_hides_nothing_of_the_other(
    away: str, unstale: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its targets are unknown; the message names the cloud, the variable and where its value is; wrong usage."""
    monkeypatch.delenv(VARIABLE[away])
    said = unstale("status")
    assert said.code == 2
    assert said.err.startswith(f"unstale: {away}: ")
    assert VARIABLE[away] in said.err
    assert "output" in said.err
    data = unstale("status", "--json")
    assert data.code == 2
    assert verdicts(data) == {
        name: "unknown" if cloud == away else "fresh" for cloud, names in TARGETS.items() for name in names
    }
    assert VARIABLE[away] in json.loads(data.out)["away"][away]


@AWAY
def test_a_cloud_that_does_not_answer_hides_nothing_of_the_other(
    away: str, unstale: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be known is not well; the message names the cloud, the place, and what to look at."""
    take_away(away, monkeypatch)
    said = unstale("status")
    assert said.code == 1
    assert [line.split()[1] == "unknown" for line in lines_of_table(said)] == [
        name in TARGETS[away] for name in ("sales", "other", "glue")
    ]
    assert said.err.startswith(f"unstale: {away}: ")
    assert "127.0.0.1" in said.err
    assert VARIABLE[away] in said.err
    assert len(said.err.splitlines()) == 1


@AWAY
def test_the_brakes_work_on_the_other(
    away: str, unstale: Command, stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G7: who wants to stop everything stops what can be reached, and hears what could not."""
    take_away(away, monkeypatch)
    [there] = set(stores) - {away}
    said = unstale("pause", "--all")
    assert said.code == 1
    assert said.out == f"all targets on {there}: paused; whatever runs is followed to its end\n"
    assert said.err.startswith(f"unstale: {away}: ")
    assert records.read_deployment(stores[there].load(records.DEPLOYMENT_KEY).body).paused_since
    assert unstale("resume", "--all").out == f"all targets on {there}: resumed; the next ticks reconcile every target\n"


@AWAY
def test_the_dead_letters_of_the_other_are_shown(away: str, unstale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what could not be asked is told, and is not well."""
    there = len(unstale("redrive", "--dry-run").out.splitlines())
    take_away(away, monkeypatch)
    said = unstale("redrive", "--dry-run")
    assert 1 < len(said.out.splitlines()) < there
    assert said.code == 1
    assert said.err.startswith(f"unstale: {away}: ")


@AWAY
def test_what_names_one_target_asks_one_cloud(away: str, unstale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on one half needs nothing of the other."""
    monkeypatch.delenv(VARIABLE[away])
    for command in ("refresh", "pause", "resume", "history"):
        for cloud, [name, *_] in TARGETS.items():
            said = unstale(command, name)
            assert (said.code, bool(said.err)) == ((2, True) if cloud == away else (0, False)), command


def test_both_away_are_both_named(unstale: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known, so nothing is shown; one mistake on this machine makes it wrong usage."""
    monkeypatch.delenv("UNSTALE_TABLE")
    take_away("Azure", monkeypatch)
    said = unstale("status")
    assert (said.code, said.out) == (2, "")
    assert all(f"{cloud}: " in said.err for cloud in TARGETS)


def test_a_live_check_without_a_region_looks_at_azure_all_the_same(
    unstale: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be looked at is a finding with its cure."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UNSTALE_MANAGEMENT_URL", NOWHERE)
    said = unstale("check", "--live", "--json")
    found = {each["what"]: each for each in json.loads(said.out)["findings"]}
    assert said.code == 1
    assert "AWS_REGION" in found["AWS"]["cure"]
    assert "az login" in found["caller"]["cure"]


# --- One comes after the other ----------------------------------------------------------------------------------------

ACROSS = '\n[across.azure]\nurl = "https://unstale.azurewebsites.net"\nkey_secret = "unstale/azure"\n'


@pytest.fixture(name="crossing")
def a_follower_that_was_not_told(config: Path, stores: dict[str, Store]) -> None:
    """`sales` comes after `glue`, and Azure has refused the signal of noon three times."""
    text = config.read_text(encoding="utf-8").replace("[targets.sales]\n", '[targets.sales]\nafter = ["glue"]\n')
    config.write_text(text + ACROSS, encoding="utf-8")
    read, soon = load(text + ACROSS), datetime.now(UTC) + timedelta(minutes=10)
    for cloud, names in TARGETS.items():
        for name in names:
            document = stores[cloud].load(read.by_name[name].key)
            outbox = note_event(Outbox(), "refreshed", NOON, "", NOON) if name == "glue" else Outbox()
            state = replace(records.read_state(document.body), definition=read.by_name[name].definition, outbox=outbox)
            stores[cloud].save(document, records.write(state), soon)
    [destination] = read.package(Cloud.AWS).destinations
    refused = records.write(Addressee(3, soon, "status 401"))
    stores["AWS"].save(Document(records.destination_key(destination.site_digest)), refused, None)


UNTOLD = "sales on azure was not told that glue was refreshed, since 2026-01-31 12:00Z: status 401; tried again at "


@pytest.mark.usefixtures("crossing")
def test_a_follower_that_was_not_told_is_not_called_fresh(unstale: Command) -> None:
    """Its own record knows of nothing; the upstream's does, and both clouds are asked. The upstream is fresh."""
    said = unstale("status", "--json")
    rows = {row["name"]: row for row in json.loads(said.out)["targets"]}
    assert verdicts(said) == {"glue": "fresh", "sales": "unknown", "other": "fresh"}
    assert rows["sales"]["why"].startswith(UNTOLD)
    warned = {each["cloud"]: each["warnings"] for each in json.loads(said.out)["deployments"]}
    [warning] = warned["AWS"]
    assert warning.startswith(f"AWS: {UNTOLD}")
    assert (said.code, warned["Azure"]) == (1, [])
    assert f"warning: AWS: {UNTOLD}" in unstale("status").out


@pytest.mark.usefixtures("crossing")
def test_what_lies_across_is_shown_wherever_after_is(unstale: Command, tmp_path: Path) -> None:
    """By `explain` of either target, by `check`, and by the plan of a refresh."""
    assert UNTOLD in unstale("explain", "glue").out
    assert "targets on the other cloud come after glue, and are signalled: 1" in unstale("explain", "glue").out
    assert "sales comes after glue on the other cloud" in unstale("explain", "sales").out
    assert "after glue (on aws)" in unstale("check").out
    event = tmp_path / "event.json"
    event.write_text('{"refresh": "glue"}', encoding="utf-8")
    assert "after glue was refreshed on aws" in unstale("plan", str(event)).out
