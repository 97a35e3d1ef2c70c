"""Both clouds on loopback, quick ones, and `unstale` as a user starts it: a process of its own in its own folder."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from functions_azure.clouds import PUBLIC
from local.emulators.aws.emulator import LocalAws
from local.emulators.entra.emulator import App, Entra, Identity
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.glue.emulator import GlueSettings, resource_name
from local.emulators.journal import PlatformRun
from local.process.store import StateFile, Store
from shared.refresh.records import read_state, write
from shared.sign_in import LAKE_VIEW_SCOPES
from shared.targets import Cloud
from tests.support.core import HandClock
from tests.support.waiting import PATIENCE_SECONDS, wait_until

SHORT = timedelta(seconds=0.3)
GLUE = GlueSettings(starting=SHORT, run_time=timedelta(seconds=1), stopping=SHORT, listing_delay=SHORT)
FABRIC = FabricSettings(start_retry_after_seconds=1, poll_hints=(1,))
ACCOUNT, REGION = "123456789012", "eu-central-1"
WORKSPACE, LAKEHOUSE = "4b218778-e7a5-4d73-8187-f10824047715", "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
US = Identity("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", system_assigned=True)
APP = App(
    "0a4f1c2e-0000-4000-8000-000000000003",
    "0a4f1c2e-0000-4000-8000-00000000000c",
    public=True,
    consented=frozenset(f"{PUBLIC.fabric_audience}/{scope}" for scope in LAKE_VIEW_SCOPES),
)
COMMAND = "import sys; from local.cli.entry import main; sys.exit(main())"
"""What the installed script does."""

DEFAULTS = """
[defaults]
quiet_period = "1s"
visibility_lag = "2s"
min_interval = "1s"
look = "1m"
"""


def glue_view(name: str = "daily") -> str:
    """A target: the view of that name, whose sources the view itself names."""
    return f'\n[targets.{name}]\nkind = "glue-view"\ncatalog_id = "{ACCOUNT}"\ndatabase = "sales"\ntable = "{name}"\n'


LAKE = f"""
[targets.lake]
kind = "fabric-lake-views"
workspace = "{WORKSPACE}"
lakehouse = "{LAKEHOUSE}"
"""
"""A target on Fabric, refreshed once because it is new."""


@dataclass
class OneMachine:
    """The clouds, and processes that live among them. `config` and `state` lie in `folder`."""

    aws: LocalAws
    entra: Entra
    fabric: FabricEmulator
    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "unstale.toml"

    @property
    def state(self) -> Path:
        """The state, where `unstale run` makes it."""
        return self.folder / "unstale.db"

    def configure(self, *targets: str) -> None:
        """Write the configuration; a Glue view is made with one source that has one commit."""
        self.config.write_text(DEFAULTS + "".join(targets), encoding="utf-8")

    def create_view(self, name: str = "daily", source: str = "orders") -> None:
        """Put a view with one source into the catalog."""
        self.aws.commit("sales", source)
        self.aws.create_view("sales", name, sources=[f"arn:aws:glue:{REGION}:{ACCOUNT}:table/sales/{source}"])

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command."""
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def do(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run the command to its end: its exit code, what it printed, what it complained about."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, out, err

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Tell a process to end, and wait until it did."""
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, out, err

    def runs(self, name: str = "daily") -> list[PlatformRun]:
        """The runs of a Glue view, by the platform's journal."""
        resource = resource_name(ACCOUNT, "sales", name)
        return [run for run in self.aws.glue.journal().entries() if run.resource == resource]

    def wait_for_runs(self, count: int, name: str = "daily") -> list[PlatformRun]:
        """Wait until so many runs have succeeded; all runs."""
        wait_until(lambda: sum(run.outcome == "succeeded" for run in self.runs(name)) >= count)
        return self.runs(name)

    def records(self) -> dict[str, Any]:
        """The keys of the records in the state, each with its cloud."""
        with closing(sqlite3.connect(self.state)) as file:
            return dict(file.execute("SELECT key, cloud FROM record").fetchall())

    def ended(self) -> int:
        """How many runs the history in the state has, read without a process: a loop may ask again and again."""
        with closing(sqlite3.connect(self.state, timeout=30)) as file:
            [(number,)] = file.execute("SELECT count(*) FROM history").fetchall()
        return int(number)

    def make_looks_due(self) -> None:
        """Let a minute pass for the sources: they are looked at once a minute at most, and a test has no minute."""
        long_ago = f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%S.%fZ}"
        with closing(sqlite3.connect(self.state, timeout=30)) as file, file:
            moved = file.execute("UPDATE record SET wake_at = ? WHERE key LIKE 'group:%'", (long_ago,)).rowcount
        assert moved

    def let_time_pass(self, key: str, duration: timedelta) -> None:
        """Let the claim in a record be so much older, as if nobody had worked for that long."""
        with StateFile(self.state) as file:
            store = Store(file, Cloud.AWS, HandClock())
            document = store.load(key)
            state = read_state(document.body)
            assert state.run
            run = replace(state.run, claimed_at=state.run.claimed_at - duration)
            run = replace(run, next_look_at=run.next_look_at - duration)
            assert state.wake_at
            state = replace(state, run=run, wake_at=state.wake_at - duration, wakes=())
            store.save(document, write(state), state.wake_at)


@contextmanager
def one_machine(folder: Path) -> Iterator[OneMachine]:
    """Build the clouds; what was started ends with them."""

    def now() -> datetime:
        return datetime.now(UTC)

    with ExitStack() as stack:
        aws = stack.enter_context(LocalAws(glue_settings=GLUE, region=REGION))
        entra = stack.enter_context(Entra(now, apps=[APP], identities=[US]))
        fabric = stack.enter_context(FabricEmulator(now, entra.tokens.validate, settings=FABRIC))
        fabric.add_item(Item(WORKSPACE, LAKEHOUSE, "Lakehouse", (JobType(LAKE_VIEWS, run_time=timedelta(seconds=1)),)))
        environment = {
            **{name: value for name, value in aws.environment(os.environ).items() if not name.startswith("UNSTALE_")},
            **entra.identity_environment,
            "UNSTALE_FABRIC_URL": fabric.url,
        }
        machine = OneMachine(aws, entra, fabric, folder, environment)
        try:
            yield machine
        finally:
            for process in machine.started:
                process.kill()
                process.communicate()
