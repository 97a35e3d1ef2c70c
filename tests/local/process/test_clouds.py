"""What a process on one's own machine opens once, and how its outcome events name it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.cli import run
from local.cli.deployment import side_on
from local.process.clouds import Neighbour, NoWaker, open_cloud, service_of
from local.process.show import JsonLines
from local.process.store import StateFile
from shared.config.load import load
from shared.destinations import Destination
from shared.inbound.messages import Asked, Message
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.sending import Office
from shared.refresh import deployment
from shared.refresh.inputs import Signalled
from shared.refresh.records import read_state
from shared.refresh.state import Signal
from shared.refresh.status import TargetStatus
from shared.targets import Cloud
from tests.support.core import NOON
from tests.support.one_machine import ACCOUNT, LAKE, WORKSPACE, glue_view

TENANT = "0a4f1c2e-0000-4000-8000-00000000000f"
BOTH = load(glue_view() + LAKE)


def office_of(cloud: Cloud, file: StateFile, environ: Mapping[str, str]) -> Office:
    """What sending outcome events works with, in the ports for one message."""
    ports = open_cloud(cloud, BOTH, file, environ)(NoWaker(), emit=lambda _: None)
    sending: Any = ports.outcomes
    office: Office = sending(BOTH.package(cloud))._office
    return office


@pytest.mark.parametrize(
    ("cloud", "environ", "name"),
    [
        (Cloud.AWS, {"AWS_REGION": "eu-central-1"}, f"/unstale/aws/{ACCOUNT}/local"),
        (Cloud.AZURE, {}, f"/unstale/azure/{WORKSPACE}/local"),
        (Cloud.AZURE, {"UNSTALE_TENANT_ID": TENANT}, f"/unstale/azure/{TENANT}/local"),
    ],
)
def test_outcome_events_name_the_account_or_the_tenant(
    tmp_path: Path, cloud: Cloud, environ: Mapping[str, str], name: str
) -> None:
    """All processes on machines had one name, so that receivers took events of two accounts for repetitions."""
    with StateFile(tmp_path / "unstale.db") as file:
        assert office_of(cloud, file, environ).source == name


def test_a_nested_catalog_is_in_its_account() -> None:
    """The account alone counts, wherever in it the views lie."""
    nested = glue_view().replace(ACCOUNT, f"{ACCOUNT}:s3tablescatalog/lake")
    assert service_of(Cloud.AWS, load(nested), {}) == f"{ACCOUNT}/local"


@pytest.mark.parametrize("cloud", list(Cloud))
def test_secrets_are_kept_from_one_message_to_the_next(tmp_path: Path, cloud: Cloud) -> None:
    """Each message has ports of its own; secrets that these kept were read anew for each."""
    with StateFile(tmp_path / "unstale.db") as file:
        make_ports = open_cloud(cloud, BOTH, file, {"AWS_REGION": "eu-central-1"})
        first, second = (make_ports(NoWaker(), emit=lambda _: None) for _ in range(2))
        hooks = [_senders(ports, cloud)["webhook"] for ports in (first, second)]
        kept = [getattr(hook, "_sender", hook)._secrets for hook in hooks]
    assert kept[0] is kept[1]


def _senders(ports: Any, cloud: Cloud) -> Any:
    return ports.outcomes(BOTH.package(cloud))._office.senders


def test_a_command_on_a_state_plans_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be another one than the process works by, as on a deployment: what it writes for a person is a
    signal that is due at once, and no more.
    """
    for name in tuple(os.environ):
        if name.startswith("UNSTALE_"):
            monkeypatch.delenv(name)
    configuration = load(LAKE)
    (target,) = configuration.targets
    with StateFile(tmp_path / "unstale.db") as file:
        side = side_on(file, Cloud.AZURE, configuration)
        package, now = configuration.package(Cloud.AZURE), side.ports.clock.now()
        deployment.change(side.ports.store, lambda known: deployment.join(known, package))
        side.engine.reconcile(target, (Signalled(Signal(now, "a person", asked=True)),), may_call=False)
        state = read_state(side.ports.store.load(target.key).body)
    assert (state.owed and state.owed.reasons, state.definition) == (("a person",), "")
    assert state.wake_at is not None
    assert state.wake_at <= side.ports.clock.now()


def test_a_terminal_that_is_renewed_opens_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`unstale run` renews the lines of its targets each second: each renewal made clients and sessions of its own."""
    opened: list[Cloud] = []
    renewed: list[list[TargetStatus]] = []

    def count(cloud: Cloud, *others: Any) -> Any:
        opened.append(cloud)
        return open_cloud(cloud, *others)

    @contextmanager
    def shown(rows: Callable[[], list[TargetStatus]], *_: object) -> Iterator[JsonLines]:
        renewed.extend(rows() for _ in range(3))
        yield JsonLines()

    (tmp_path / "unstale.toml").write_text(LAKE)
    monkeypatch.setenv("PATH", "")  # there is no az
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)
    monkeypatch.setattr("local.process.clouds.open_cloud", count)
    monkeypatch.setattr(run, "open_cloud", count)
    monkeypatch.setattr(run, "open_show", shown)
    run.run(tmp_path / "unstale.toml", tmp_path / "unstale.db", once=True)
    assert [[each.name for each in rows] for rows in renewed] == [["lake"]] * 3
    assert opened == [Cloud.AZURE]


# --- From one cloud to the other --------------------------------------------------------------------------------------

FOLLOWER = Destination("azure", ("refreshed",), "signal", follower="lake", upstreams=("daily",))
SIGNAL = b'{"upstream":"daily","time":"2026-01-31T12:00:00Z"}'
EVENT = EncodedEvent("k/1", "unstale.refreshed", "/unstale", "daily", NOON, "application/json", SIGNAL, "")


class OtherHalf:
    """The half that serves the other cloud."""

    def __init__(self, *, well: bool) -> None:
        self.well = well
        self.taken: list[Message] = []

    def take(self, message: Message) -> bool:
        """Take a message, or meet trouble."""
        self.taken.append(message)
        return self.well


@pytest.mark.parametrize("well", [True, False])
def test_a_follower_on_the_other_cloud_is_signalled_within_the_process(well: bool) -> None:
    """As its own function would be: at the end of the upstream's run, and by nobody who asks. Trouble is no refusal."""
    neighbour, half = Neighbour(lambda: NOON), OtherHalf(well=well)
    neighbour.half = half
    failure = neighbour.send(FOLLOWER, EVENT)
    assert failure == (None if well else SendFailure("trouble in the half of the process that serves azure"))
    [asked] = half.taken
    assert isinstance(asked, Asked)
    assert (asked.target, asked.signal) == ("lake", Signal(NOON, "after daily"))


@pytest.mark.parametrize("cloud", list(Cloud))
def test_a_command_signals_nobody_on_the_other_cloud(tmp_path: Path, cloud: Cloud) -> None:
    """Not the deployed function either, which may be of another file: what is to be told waits for the process."""
    with StateFile(tmp_path / "unstale.db") as file:
        ports = open_cloud(cloud, BOTH, file, {"AWS_REGION": "eu-central-1"})(NoWaker(), emit=lambda _: None)
        sender = _senders(ports, cloud)["azure" if cloud is Cloud.AWS else "aws"]
        assert sender.send(FOLLOWER, EVENT) == SendFailure("this process does not serve azure")
