"""The staged function app all the way: events in a real queue in, Fabric refreshed, and nothing lost on the way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from functions_azure.settings import EVENTS_QUEUE, POISON
from infra.packaging.azure import SITE_PACKAGES
from local.cli import main
from local.emulators.entra.tokens import TokenRefusal
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.faults import NeverEnd
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.refresh.timing import CLOCK_DIFFERENCE, WAKE_LATE
from tests.e2e.function_host import CONFIGURATION, RESOURCES, STEP, TRIES, TURNS, HostedApp, host_app
from tests.functions_azure.test_tell import refusal_of_topic
from tests.infra.test_azure import APP, BLOB_OWNER, METRICS, QUEUES, TABLES
from tests.support.azure_host import SALES, WORKSPACE
from tests.support.azure_worker import one_package  # noqa: F401 - fixture
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.waiting import wait_until

EVERY = 1 if "E2E_AZURE" in os.environ else 3
"""Of the effects, `make test` kills a worker process at each third, and `make e2e-azure` at each: a process takes
seconds to start. At each of them, and in more ways, the same code dies in `tests/functions_azure/test_crashes.py`."""
MOST_EFFECTS = 60
"""Far more than there are from a blob to the end; without a bound an app that never comes to rest would not end."""


@pytest.fixture(name="config", scope="module")
def configuration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two targets, one after the other."""
    path = tmp_path_factory.mktemp("configuration") / "unstale.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture(name="here")
def make_app(package: Path, account: Account, config: Path) -> Iterator[HostedApp]:
    """The app, at its beginning: nothing was ever refreshed."""
    with host_app(package, account, config) as found:
        yield found


def runs_of(here: HostedApp, target: str) -> list[str]:
    """How the runs of a target ended, oldest first."""
    return [run.outcome for run in here.runs if run.resource == RESOURCES[target]]


# --- The way in and out ----------------------------------------------------------------------------------------------


def test_a_blob_ends_up_in_the_views(package: Path, account: Account, config: Path) -> None:
    """Event Grid's message in, the views refreshed and, after them, what comes after; by wakes from the real queue, in
    real time, without a tick: it happens that a function app's timer stops for days.
    """
    with host_app(package, account, config, in_real_time=True) as here:
        here.arrive()
        wait_until(lambda: bool(here.runs) and not here.missing(), here.host.pump, pause_seconds=0.2)
        assert (runs_of(here, "sales"), runs_of(here, "report")) == (["succeeded"], ["succeeded"])
        assert list(here.violations()) == []


def unstale(here: HostedApp, config: Path, account: Account, *command: str) -> int:
    """The command line, by the account's own addresses; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTALE_STORAGE", account.connection_string)
        patch.setenv("UNSTALE_FABRIC_URL", here.fabric.url)
        return main([*command, "--config", str(config)])


def test_what_cannot_be_read_lies_aside_and_can_be_brought_back(
    here: HostedApp, account: Account, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unreadable message is in the poison queue at its first try. `redrive --dry-run` says why and moves nothing;
    `redrive` brings back that one, which is put aside again, and one that the host had given up, which is taken.
    """
    events, poison = here.host.queue(EVENTS_QUEUE), here.host.queue(EVENTS_QUEUE + POISON)
    here.settle()
    events.send_message("no JSON")
    here.host.pump()
    assert here.host.most_tries == 1
    assert [json.loads(letter.content)["body"] for letter in poison.peek_messages(32)] == ["no JSON"]
    here.arrive()
    [given_up] = events.receive_messages()
    poison.send_message(given_up.content)
    events.delete_message(given_up)
    assert unstale(here, config, account, "redrive", "--dry-run", "--json") == 1
    summary = json.loads(capsys.readouterr().out)["dead_letters"][0]
    assert (summary["queue"], summary["count"]) == (EVENTS_QUEUE, 2)
    assert "b'no JSON'" in summary["why"]
    assert "came back too often" in summary["why"]
    assert events.peek_messages() == []
    assert unstale(here, config, account, "redrive") == 0
    assert "2 of 2 moved back, completed" in capsys.readouterr().out
    here.drive()
    assert here.missing() == []
    assert [json.loads(letter.content)["body"] for letter in poison.peek_messages(32)] == ["no JSON"]


# --- Trouble ---------------------------------------------------------------------------------------------------------


def tables_away(here: HostedApp) -> list[str]:
    """An event comes while the tables are away, which lasts for longer than the host's default of five tries."""
    here.settle()
    here.tables.cut = True
    here.arrive()
    for _ in range(TRIES):
        here.host.pump()
        here.host.tick()
    here.tables.cut = False
    here.drive()
    return list(here.violations())


def test_tables_away_for_long_poison_nothing_and_lose_nothing(here: HostedApp) -> None:
    """Every try fails, and the message comes back every time; once the tables are back, it is taken."""
    assert tables_away(here) == []
    assert here.host.most_tries > TRIES
    assert here.tables.refused > TRIES
    assert runs_of(here, "sales")[-1] == "succeeded"


def test_a_worker_killed_in_the_middle_of_a_run_starts_none_anew(here: HostedApp) -> None:
    """The next one polls the run to its end: one refresh, and what comes after it."""
    here.settle()
    here.fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (JobType(LAKE_VIEWS, run_time=2 * STEP),)))
    here.arrive()
    for _ in range(TRIES):
        here.host.pump()
        here.pass_time(timedelta(seconds=2))
    assert runs_of(here, "sales") == ["succeeded", "running"]
    here.host.kill()
    here.drive()
    assert here.host.deaths == 1
    assert runs_of(here, "sales") == ["succeeded", "succeeded"]
    assert list(here.violations()) == []


def killed_at_each_effect(
    here: HostedApp, arrive: Callable[[], None] | None = None, rest: Callable[[], None] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """A blob for each effect: the worker dies when the first was done, when the second was done (or the fourth, see
    `EVERY`), and so on, until a blob needs fewer. Gives the number of the effect, and what was wrong when all had come
    to rest.
    """
    here.settle()
    for effect in count(1, EVERY):
        (arrive or here.arrive)()
        here.host.worker.die_at(effect)
        deaths = here.host.deaths
        (rest or here.drive)()
        yield effect, list(here.violations())
        if here.host.deaths == deaths:
            return
        assert effect < MOST_EFFECTS, "it never comes to rest"


def test_killed_at_any_effect_nothing_is_lost_and_nothing_overlaps(here: HostedApp) -> None:
    """Whatever is written, sent or started last before the process dies: the next one goes on from there."""
    seen = dict(killed_at_each_effect(here))
    assert {effect: found for effect, found in seen.items() if found} == {}
    assert len(seen) > 10 / EVERY, (
        "a wake, a claim, a start, its answer, the end, its history, and the same for the target after"
    )
    assert here.host.deaths == len(seen) - 1


def test_killed_when_it_has_put_a_message_aside_it_puts_it_aside_again(here: HostedApp) -> None:
    """The message is still in its queue then; twice in the poison queue is better than in neither."""
    here.host.queue(EVENTS_QUEUE).send_message("no JSON")
    here.host.worker.die_at(1)
    here.host.pump()
    assert here.host.deaths == 1
    here.host.pump()
    letters = here.host.queue(EVENTS_QUEUE + POISON).peek_messages(32)
    assert [json.loads(letter.content)["body"] for letter in letters] == ["no JSON"] * 2
    assert here.host.queue(EVENTS_QUEUE).peek_messages() == []


@pytest.mark.e2e
@pytest.mark.skipif("E2E_AZURE" not in os.environ, reason="a minute more: make e2e-azure")
def test_killed_at_any_effect_of_a_cancel_nothing_is_lost_and_nothing_overlaps(here: HostedApp) -> None:
    """The first run for each blob never ends: past its timeout it is cancelled, polled to its end, and started anew.

    Our own cancel is never taken for a person's, which would hold the target. A run whose start nobody heard the answer
    of may be somebody else's, and is not cancelled: the target is held and says so, until a person ends the run.
    """
    ended_by_a_person = []

    def arrive() -> None:
        here.fabric.faults.add(NeverEnd(), "run", resource=SALES)
        here.arrive()

    def rest() -> None:
        here.drive()
        for run in [run for run in here.runs if run.outcome == "running"]:
            assert here.is_blocked()
            ended_by_a_person.append(run)
            here.fabric.cancel_by_person(run.run_id)
        if here.missing():  # a cancel that was perhaps not sent is sent again after five minutes
            here.drive()

    seen = dict(killed_at_each_effect(here, arrive, rest))
    assert {effect: found for effect, found in seen.items() if found} == {}
    assert runs_of(here, "sales").count("cancelled") == len(seen), "each blob's first run"
    # Calls go on side by side, and threads say which effect is the start: it may be passed over. Over Azurite the same
    # code dies at each effect in order (tests/functions_azure/test_crashes.py --every-crash).
    assert len(ended_by_a_person) <= 3, "the start was sent, and its answer not saved"
    assert not here.fabric.faults.unused_faults()


# --- Outcome events --------------------------------------------------------------------------------------------------


TOPIC = "views.westeurope-1.eventgrid.azure.net"
"""Host of a custom topic, which leads to this machine here."""


class Listener:
    """A custom topic of Event Grid over https, and a webhook: each keeps what it took. The topic is away at first."""

    def __init__(self) -> None:
        self.here: HostedApp | None = None
        self.events: list[dict[str, Any]] = []
        self.cards: list[dict[str, Any]] = []
        self.refusals = 0

    def topic(self, request: Request) -> Answer:
        """Take a batch that Event Grid would take, by a token for Event Grid of the app's own identity."""
        assert self.here
        caller = self.here.tokens.validate(request.headers.get("authorization", ""), {"https://eventgrid.azure.net"})
        assert not isinstance(caller, TokenRefusal), caller
        if not self.refusals:
            self.refusals += 1
            return Answer(503)
        with_token = {**request.headers, "authorization": "Bearer grid token"}
        status = refusal_of_topic(replace(request, headers=with_token))
        assert status == 0, status
        self.events += json.loads(request.body)
        return Answer(200)

    def webhook(self, request: Request) -> Answer:
        """Take a message."""
        self.cards.append(json.loads(request.body))
        return Answer(200)

    def is_told(self, target: str) -> bool:
        """Whether both know that a target was refreshed."""
        by_event = [each for each in self.events if (each["subject"], each["type"]) == (target, "unstale.refreshed")]
        return bool(by_event) and any(f"{target} was refreshed" in json.dumps(card) for card in self.cards)


@pytest.mark.e2e
@pytest.mark.skipif("E2E_AZURE" not in os.environ, reason="half a minute more: make e2e-azure")
def test_what_became_of_views_reaches_a_topic_and_a_webhook(package: Path, account: Account, tmp_path: Path) -> None:
    """The package as it ships sends CloudEvents to a custom topic as its own identity, and cards to a webhook: each
    event at least once and none left out, in order for one view, although the topic was away when the first came.
    """
    listener = Listener()
    with (
        LoopbackServer(listener.topic, lambda: datetime.now(UTC), secure=True, names=[TOPIC]) as topic,
        LoopbackServer(listener.webhook, lambda: datetime.now(UTC)) as webhook,
    ):
        config = tmp_path / "unstale.toml"
        grid = f'[[tell]]\nto = "eventgrid"\ntopic = "https://{TOPIC}/api/events"\n'
        cards = f'[[tell]]\nto = "webhook"\nurl = "{webhook.url}/cards"\nformat = "teams"\n'
        config.write_text(f"{CONFIGURATION}\n{grid}\n{cards}", encoding="utf-8")
        with host_app(package, account, config, certificate=topic.certificate) as here:
            listener.here = here
            here.host.worker.lead(TOPIC, topic.port)
            here.settle()
            here.arrive()
            here.drive()
            for _ in range(TURNS):
                if all(listener.is_told(target) for target in RESOURCES):
                    break
                here.pass_time(STEP)
                here.host.pump()
            assert list(here.violations()) == []
    assert listener.refusals == 1
    for target in RESOURCES:
        assert listener.is_told(target), (target, listener.events)
        numbers = [int(e["id"].rpartition("/")[2]) for e in listener.events if e["subject"] == target]
        assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers) + 1))
    assert {card["attachments"][0]["content"]["type"] for card in listener.cards} == {"AdaptiveCard"}


# --- Roles -----------------------------------------------------------------------------------------------------------

HOSTS_OWN = {BLOB_OWNER, METRICS}
"""Roles of the app's identity that the host uses: for locks, keys and the package; for requests and log lines."""


def test_the_roles_are_those_that_the_calls_need(here: HostedApp) -> None:
    """The app calls tables and queues of its own account, with the roles that the template grants it, and no other
    service that Azure has a role for: what is not asked for here must not be granted there.
    """
    here.arrive()
    here.host.queue(EVENTS_QUEUE).send_message("no JSON")
    here.drive()
    account = here.host.account
    services = {
        f"{here.tables.url}/{account.name}": TABLES,
        account.queue_url: QUEUES,
        here.fabric.url: "Fabric's own permissions",
        here.identity_endpoint: "none: it is the app's own",
    }
    sent = [call.partition(" ")[2] for call in here.host.worker.sent()]
    needed = {next((role for url, role in services.items() if call.startswith(url)), call) for call in sent}
    assert needed == set(services.values())
    assert {TABLES, QUEUES} == {role for who, role, _ in APP if who == "app"} - HOSTS_OWN


# --- The judges can fail ---------------------------------------------------------------------------------------------


def mutated(package: Path, folder: Path, file: str, changes: Mapping[str, str]) -> Path:
    """The package with a file of its source changed; third-party code is only pointed at."""
    shutil.copytree(package, folder, ignore=shutil.ignore_patterns(SITE_PACKAGES.parts[0], "__pycache__"))
    (folder / SITE_PACKAGES.parts[0]).symlink_to(package / SITE_PACKAGES.parts[0])
    source = (folder / file).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    (folder / file).write_text(source, encoding="utf-8")
    return folder


def first_violation(here: HostedApp) -> list[str]:
    """Of the worker being killed.

    Time passes before each blob comes: a run that had begun within the difference of clocks could be taken for the one
    that was claimed, and then the machine goes another way than the one that is broken here.
    """

    def arrive() -> None:
        here.clock.turn_on(WAKE_LATE + 2 * CLOCK_DIFFERENCE)  # wakes of killed workers are named no longer, too
        here.arrive()

    return next((found for _, found in killed_at_each_effect(here, arrive) if found), [])


def first_overlap(here: HostedApp) -> list[str]:
    """The same, where a refresh takes longer than the next worker waits for a place of its own."""
    here.fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (JobType(LAKE_VIEWS, run_time=2 * STEP),)))
    return first_violation(here)


class Mutant(NamedTuple):
    """One mistake, the scene in which it shows, and what it shows as."""

    file: str
    changes: Mapping[str, str]
    scene: Callable[[HostedApp], list[str]]
    shows_as: str


MUTANTS = {
    "a start before its claim is saved": Mutant(
        "shared/refresh/engine.py",
        {
            "        answer = ports.platform.start(snapshot.target, full=start.full)\n": "",
            "        saved = self._save_first(snapshot, claimed, sends_wake=not called_by)\n": (
                "        answer = ports.platform.start(snapshot.target, full=start.full)\n"
                "        saved = self._save_first(snapshot, claimed, sends_wake=not called_by)\n"
            ),
        },
        first_overlap,
        "OVERLAP",
    ),
    "a claim of which nothing came covers": Mutant(
        "shared/refresh/machine.py",
        {
            "    if found is None:\n        return Folded(_give_back(state, run))\n    rivals": (
                "    if found is None:\n        return Folded(replace(state, run=None))\n    rivals"
            )
        },
        first_violation,
        "LOST",
    ),
    "trouble of ours is no failure": Mutant(
        "functions_azure/shell.py",
        {"        if why:\n            raise ComesBackError(why) from None": "        del why"},
        tables_away,
        "LOST",
    ),
    "the host's default number of tries": Mutant(
        "host.json", {'"maxDequeueCount": 3000': '"maxDequeueCount": 5'}, tables_away, "POISONED"
    ),
}


@pytest.mark.e2e
@pytest.mark.skipif("E2E_AZURE" not in os.environ, reason="two minutes more: make e2e-azure")
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_stage_finds_it(package: Path, account: Account, config: Path, tmp_path: Path, mutant: Mutant) -> None:
    """A hosted app that finds nothing wrong with these would prove nothing."""
    changed = mutated(package, tmp_path / "mutant", mutant.file, mutant.changes)
    with host_app(changed, account, config) as here:
        found = mutant.scene(here)
    assert any(each.startswith(mutant.shows_as) for each in found), found
