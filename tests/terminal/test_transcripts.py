"""Each command is typed in a real terminal of 60, 80 and 200 columns, without colour, and in a pipe.

The transcripts are in `tests/golden/terminal`; `UNSTALE_GOLDEN=write` makes them anew, to be read before they are kept.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pexpect
import pytest

from functions_aws.clients import Clients
from functions_aws.settings import read
from functions_aws.wiring import make_ports
from local.cli.main import parser
from local.emulators.aws.emulator import LocalAws
from shared.config.load import load
from shared.refresh import records
from shared.refresh.records import DEPLOYMENT_KEY
from shared.refresh.state import Deployment, Edition, Ended, Outcome, Owed, Paused, Run, Situation, State
from shared.version import VERSION
from tests.support.aws_host import living_in, object_created

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "terminal"
CONFIG = """
[defaults]
look = "off"
objective = "1h"

[targets.daily_revenue]
kind = "glue-view"
catalog_id = "210987654321"
database = "sales"
table = "daily_revenue"
on = [{ s3_object_created = { bucket = "landing", prefix = "orders/", suffix = ".parquet" } }]

[targets.weekly]
kind = "glue-view"
catalog_id = "210987654321"
database = "sales"
table = "weekly"
after = ["daily_revenue"]

[targets.customers_with_a_long_name]
kind = "glue-view"
catalog_id = "210987654321"
database = "sales"
table = "customers"
schedule = { cron = "0 6 * * *", timezone = "Europe/Berlin" }
"""
COMMANDS = (
    "unstale --version",
    "unstale",
    "unstale check",
    "unstale check --config nowhere.toml",
    "unstale check --config bad.toml",
    "unstale plan event.json",
    "unstale plan --sample s3",
    "unstale plan --since 24h",
    "unstale init",
    "unstale status",
    "unstale explain daily_revenue",
    "unstale explain weekly",
    "unstale history daily_revenue",
    "unstale history weekly --limit 0",
    "unstale refresh weekly",
    "unstale pause weekly",
    "unstale refresh weekly",
    "unstale resume weekly",
    "unstale redrive --dry-run",
    "unstale infra aws --environment 'x y'",
    "unstale package aws --environment 'x y'",
    "unstale deploy aws --location westeurope",
    "unstale login",
    "unstale status --stack sales/unstale",
    "unstale status --watch 0",
    "unstale dialy",
)
ELSEWHERE = {"demo", "completion", "run", "page"}
"""Commands whose output is another test's: a show, a script for a shell, a process."""

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TIMES = {
    re.compile(r"\d{4}-\d\d-\d\d"): "2026-01-31",
    re.compile(r"\d\d:\d\d:\d\dZ"): "12:00:00Z",
    re.compile(r"(?<![\d:])\d\d:\d\dZ"): "12:00Z",
}
"""What changes from one day to the next, as long as it was, so that lines fold where they did."""


USAGE = re.compile(r"^usage: .*?(?=^unstale: )|(?<=choose from )[^)]*", re.DOTALL | re.MULTILINE)
"""What argparse words, each release of Python in its own way."""


def plain(text: str) -> str:
    """A transcript as it is kept: without colours, times of another day, and blanks at the end of lines."""
    text = USAGE.sub("...\n", ANSI.sub("", text.replace("\r\n", "\n")))
    for pattern, constant in TIMES.items():
        text = pattern.sub(constant, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


@pytest.fixture(name="aws")
def an_account() -> Iterator[LocalAws]:
    """One of its own for each transcript."""
    with living_in(LocalAws()) as aws:
        yield aws


@pytest.fixture(name="home")
def a_deployment(aws: LocalAws, tmp_path: Path) -> Path:
    """A folder with a configuration and an event; deployed is one view that hangs, one that is fresh, one paused."""
    home = tmp_path
    (home / "unstale.toml").write_text(CONFIG, encoding="utf-8")
    (home / "bad.toml").write_text(CONFIG.replace("prefix", "prefx").replace('"1h"', '"1 hour"'), encoding="utf-8")
    event = object_created("orders/part-00000-4b218778-e7a5-4d73-8187-f10824047715.snappy.parquet", datetime.now(UTC))
    (home / "event.json").write_text(event, encoding="utf-8")
    write_records(aws)
    return home


def write_records(aws: LocalAws) -> None:
    """The records as a function has left them; ages are some hours and a half, so that they stay the same meanwhile."""
    store = make_ports(read(aws.environment()), Clients(), lambda _: None).store
    configuration = load(CONFIG)
    now = datetime.now(UTC)

    def ago(hours: float) -> datetime:
        return now - timedelta(hours=hours)

    arrived = Owed(ago(4.5), ago(4.4), 12, reasons=("s3://landing/orders/2026/01/31/part-00000.snappy.parquet",))
    run = Run("t3", ago(3.5), Situation.RUNNING, now + timedelta(hours=1), run_id="97873661", covering=arrived)
    asked = Owed(ago(2.5), ago(2.5), reasons=("scheduled",))
    states = {
        "daily_revenue": State(run=run, fresh_as_of=ago(26.5), last_claim_at=ago(3.5)),
        "weekly": State(fresh_as_of=ago(5.5)),
        "customers_with_a_long_name": State(owed=asked, fresh_as_of=ago(26.5), hold=Paused(ago(20.5))),
    }
    for name, state in states.items():
        target = configuration.by_name[name]
        kept = State(
            **{
                **{key: getattr(state, key) for key in State.__struct_fields__},
                "definition": target.definition,
                "edition": 1,
            }
        )
        store.save(store.load(target.key), records.write(kept), None)
    edition, ticked_at = Edition(1, configuration.fingerprint, now), now + timedelta(minutes=10)
    deployment = Deployment(edition=edition, ticked_at=ticked_at, version=VERSION)
    store.save(store.load(DEPLOYMENT_KEY), records.write(deployment), None)
    for number, outcome, error in (
        (1, Outcome.SUCCEEDED, ""),
        (2, Outcome.FAILED, "ExecutorLostFailure: container killed"),
    ):
        at = ago(26.5 - number)
        line = Ended(
            f"t{number}", outcome, at, at + timedelta(minutes=7), signals=40, reasons=("s3://landing/a",), error=error
        )
        store.append(
            configuration.by_name["daily_revenue"].key, f"{number}", records.write(line), now + timedelta(days=1)
        )


def shell(**more: str) -> dict[str, str]:
    """The environment of the shell: this one's, which leads to the emulated account."""
    without = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM"}
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "TZ": "UTC", **more}


def typed(home: Path, columns: int, **more: str) -> str:
    """All commands, typed one after the other into a terminal of so many columns."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tests.terminal.shell"],
        cwd=str(home),
        env=shell(**more),
        dimensions=(50, columns),
        encoding="utf-8",
        timeout=120,
    )
    said = []
    child.expect_exact("$ ")
    for command in COMMANDS:
        child.sendline(command)
        child.expect(r"\r\n\$ ")
        said.append(f"$ {child.before}")
    child.sendeof()
    child.expect(pexpect.EOF)
    return "\n".join(said)


def check_golden(name: str, found: str) -> None:
    """What a person read and kept; written anew where that is asked for."""
    file = GOLDEN / name
    if os.environ.get("UNSTALE_GOLDEN") == "write":
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_each_command_in_a_terminal(home: Path, columns: int) -> None:
    """As the golden file has it; what needs a person stands out in red."""
    said = typed(home, columns)
    assert "\x1b[31m" in said or "\x1b[1;31m" in said
    check_golden(f"{columns}-columns.txt", plain(said))


def test_each_command_without_colour(home: Path) -> None:
    """NO_COLOR is heeded (https://no-color.org): the same words."""
    said = typed(home, 80, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", said)
    check_golden("80-columns.txt", plain(said))


def test_each_command_in_a_pipe(home: Path) -> None:
    """No escape at all, and each row of a table on one line; errors are on standard error, here beside it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.terminal.shell"],
        cwd=home,
        env=shell(COLUMNS="40", PYTHONUNBUFFERED="1"),
        input="\n".join(COMMANDS) + "\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=120,
    )
    assert "\x1b" not in done.stdout
    check_golden("pipe.txt", plain(done.stdout))


def test_every_command_is_typed() -> None:
    """Those whose output is a show or a script are elsewhere."""
    [commands] = [action.choices for action in parser()._actions if action.choices]
    assert isinstance(commands, dict)
    typed_commands = {line.split()[1] for line in COMMANDS if len(line.split()) > 1}
    assert set(commands) > ELSEWHERE
    assert set(commands) - ELSEWHERE <= typed_commands
