"""`unstale demo --keep` and `unstale demo do`: the emulated clouds and the handlers stay, to be played with.

The first terminal shows what happens; in a second one the exported variables lead every command here: on AWS by the
emulated table and queues, on Azure by a state file, since nothing on loopback speaks for Azure's storage. Time is
true time. What a person lets happen goes over one more loopback server, whose address has a secret in it, since any web
page in a browser here could otherwise send the same request.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from shlex import quote
from threading import Event
from urllib.error import HTTPError
from urllib.request import Request as Asking
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress

from local.cli.errors import NotWellError, UsageError
from local.demo.aws import aws_stage
from local.demo.azure import azure_stage, tick
from local.demo.demo import Show
from local.demo.story import Patience, Stage
from local.emulators.aws.lambda_host import Every
from local.emulators.clock import FastClock
from local.emulators.fabric.emulator import FabricSettings
from local.emulators.faults import NeverEnd
from local.emulators.glue.emulator import GlueSettings
from local.emulators.http_server import Answer, LoopbackServer, Request, json_answer
from local.process.store import StateFile, Store
from shared.config.load import load
from shared.endpoints import refusal
from shared.refresh import ports
from shared.refresh.ports import Document, StoreDownError
from shared.targets import Cloud

ADDRESS = "UNSTALE_DEMO_URL"
"""The variable by which `demo do` finds the demo: an address on loopback, with the secret as its path."""
GLUE = GlueSettings(
    starting=timedelta(seconds=1),
    run_time=timedelta(seconds=10),
    stopping=timedelta(seconds=1),
    listing_delay=timedelta(seconds=1),
)
"""A Glue whose runs and delays are no trial of a person's patience: true ones take a minute and more."""
FABRIC = FabricSettings(start_retry_after_seconds=5, poll_hints=(5,), listing_delay=timedelta(seconds=1))
"""A Fabric whose hints and delays are seconds, so that a person need not wait for minutes."""
RUN_TIME = timedelta(seconds=10)
"""How long a job runs on that Fabric: true ones take a minute and more."""
NOTICE = timedelta(seconds=1)
"""Between two questions whether a command wrote into the state of the Azure half."""
EXPORTED = ("AWS_", "UNSTALE_", "IDENTITY_")
"""Beginnings of the variables that lead a second terminal here."""
TIMEOUT_SECONDS = 60.0
"""For what `demo do` lets happen: a start of somebody else's waits for ours to end."""


class HidableStore:
    """A store that does not answer while it is hidden: `shared.refresh.ports.Store`.

    Hidden is not empty. Whoever asks is told that the store is down, and comes back, as when a table is throttled.
    """

    def __init__(self, store: ports.Store, hidden: Event) -> None:
        """`hidden` says whether the store is out of sight."""
        self._store = store
        self._hidden = hidden
        self.reads_together = store.reads_together

    def _store_or_raise(self) -> ports.Store:
        """The store, if it is in sight. Raises `StoreDownError`."""
        if self._hidden.is_set():
            raise StoreDownError("the store is hidden: unstale demo do show-store")
        return self._store

    def load(self, key: str) -> Document:
        """Read one record."""
        return self._store_or_raise().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace the record that was read."""
        return self._store_or_raise().save(document, body, wake_at)

    def remove(self, document: Document) -> None:
        """Forget the record that was read."""
        self._store_or_raise().remove(document)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """The keys that are due."""
        return self._store_or_raise().due(now, limit)

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of keys."""
        return self._store_or_raise().keys(cursor, limit)

    def load_many(self, keys: Iterable[str]) -> Sequence[Document]:
        """Read many records."""
        return self._store_or_raise().load_many(keys)

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep one line of history."""
        self._store_or_raise().append(key, entry_id, body, expires_at)

    def history(self, key: str, limit: int) -> Sequence[bytes]:
        """The newest lines of history."""
        return self._store_or_raise().history(key, limit)


# --- The first terminal ----------------------------------------------------------------------------------------------


def keep() -> None:
    """Build both clouds, print what leads here, and show what happens until Ctrl-C.

    The lines for the second terminal are also in a file that `.` reads, since pasting twenty lines is nobody's
    pleasure.
    """
    logging.disable(logging.CRITICAL)  # the handlers' JSON lines are for the clouds; what matters is shown
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with tempfile.TemporaryDirectory(prefix="unstale-demo-") as folder, _clouds(Path(folder)) as exports:
            print(exports, flush=True)
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    print("the demo is over: nothing of it is left")


@contextmanager
def _clouds(folder: Path) -> Iterator[str]:
    """Keep both clouds and their handlers until the context is left; gives the lines for a second terminal."""
    config, state = folder / "unstale.toml", folder / "unstale.db"
    config.write_bytes(Path(__file__).with_name("demo.toml").read_bytes())
    configuration = load(config.read_bytes(), config.name)
    clock, patience, hidden = FastClock(datetime.now(UTC), 1.0), Patience(), Event()
    show = Show(Progress(console=Console(file=sys.stdout, width=140)), clock)
    with ExitStack() as stack:
        file = stack.enter_context(StateFile(state))
        on_azure = HidableStore(Store(file, Cloud.AZURE, clock), hidden)
        hide = partial(HidableStore, hidden=hidden)
        aws = stack.enter_context(aws_stage(configuration, clock, patience, show.tell, glue=GLUE, wrap=hide))
        stage = partial(azure_stage, settings=FABRIC, run_time=RUN_TIME)
        azure = stack.enter_context(stage(configuration, clock, patience, show.tell, store=on_azure))
        stages: dict[str, Stage] = {name: each for each in (aws, azure) for name in each.targets}
        stack.enter_context(Every(NOTICE, partial(_notice, file, on_azure, clock, [file.changes_of_others()])))
        control = Control(stages, hidden)
        server = stack.enter_context(LoopbackServer(control.respond, clock.now))
        stack.callback(patience.end)
        yield _exports(config, state, f"{server.url}/{control.secret}")


def _notice(file: StateFile, store: ports.Store, clock: FastClock, known: list[int]) -> None:
    """Tick the function app at once where a command wrote what is due, as its queue of wakes would have it."""
    with suppress(StoreDownError):
        changes = file.changes_of_others()
        if changes != known[0] and any(store.due(clock.now(), 1)):
            tick()
        known[0] = changes


def _exports(config: Path, state: Path, address: str) -> str:
    """The variables that a second terminal needs, as lines that a shell reads."""
    known = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(EXPORTED) and not name.startswith("UNSTALE_STORAGE")
    }
    known |= {"UNSTALE_CONFIG": str(config), "UNSTALE_STATE": str(state), ADDRESS: address}
    lines = [f"export {name}={quote(value)}" for name, value in sorted(known.items())]
    script = config.with_name("env")
    script.write_text("\n".join([*lines, ""]), encoding="utf-8")
    what = ", ".join((*DEEDS, *COMMANDS, *HIDDEN))
    return "\n".join(
        [
            "# Both clouds run. In a second terminal:",
            *lines,
            f"# ... or all of it at once: . {script}",
            "# Then: unstale status; unstale explain daily_revenue; unstale page --serve",
            f"#       unstale demo do WHAT [TARGET], with WHAT one of {what}",
            "# Ctrl-C here ends it.",
        ]
    )


# --- What a person lets happen ---------------------------------------------------------------------------------------


def _put_file(stage: Stage, target: str) -> str:
    """Let an object or a blob arrive whose event is delivered."""
    stage.arrive(target)
    return "a file has arrived; its event is on its way"


def _drop_event(stage: Stage, target: str) -> str:
    """Commit to the table of a target's source, and lose the event."""
    stage.commit(target, told=False)
    return "a commit that no event tells of: the next look finds it, within a minute or two"


def _hang(stage: Stage, target: str) -> str:
    """Let the next run go on until it is cancelled."""
    stage.fault(target, NeverEnd(), "run")
    stage.arrive(target)
    return "a file has arrived, and the run for it will not end: it is cancelled when its timeout is over"


DEEDS: Mapping[str, tuple[str, Callable[[Stage, str], str]]] = {
    "file": ("daily_revenue", _put_file),
    "drop-event": ("clicks_by_hour", _drop_event),
    "hang": ("returns", _hang),
}
"""The things that can be let happen to a target: the target where none is named, and what does it."""
COMMANDS = ("pause", "resume")
"""The things that the command of the same name does, in its own terminal."""
HIDDEN = {
    "hide-store": (True, "the handlers' stores do not answer any more: messages come back, and nothing is lost"),
    "show-store": (False, "the handlers' stores answer again: the next ticks make up for it"),
}
"""The things that happen to the stores of both clouds, and the sentence for each."""


class Control:
    """The server side of `demo do`: one path for each deed, below a secret."""

    def __init__(self, stages: Mapping[str, Stage], hidden: Event) -> None:
        """Take the cloud of each target, and what hides the stores."""
        self.secret = secrets.token_urlsafe(16)
        self._stages = stages
        self._hidden = hidden

    def respond(self, request: Request) -> Answer:
        """Let a thing happen, and say what happens; what cannot be is said, too."""
        secret, _, rest = request.path.removeprefix("/").partition("/")
        what, _, target = rest.partition("/")
        if request.method != "POST" or not secrets.compare_digest(secret, self.secret):
            return json_answer(404, {"error": "there is nothing here"})
        if what in HIDDEN:
            is_hidden, says = HIDDEN[what]
            (self._hidden.set if is_hidden else self._hidden.clear)()
            return json_answer(200, {"says": says})
        return self._let_happen(what, target)

    def _let_happen(self, what: str, target: str) -> Answer:
        """Do one of the deeds to a target."""
        target = target or DEEDS[what][0]
        stage = self._stages.get(target)
        if stage is None:
            return json_answer(400, {"error": f"there is no target {target!r}; there is {', '.join(self._stages)}"})
        try:
            says = DEEDS[what][1](stage, target)
        except StopIteration:  # no source of the kind that the deed needs
            return json_answer(400, {"error": f"{target} has no source that {what} is about; try {DEEDS[what][0]}"})
        return json_answer(200, {"says": f"{target}: {says}"})


# --- The second terminal ---------------------------------------------------------------------------------------------


def do(words: Sequence[str], environ: Mapping[str, str]) -> None:
    """`unstale demo do WHAT [TARGET]`: let something happen in the demo that runs in another terminal."""
    known = (*DEEDS, *COMMANDS, *HIDDEN)
    what, target = [*words, "", ""][:2]
    if what not in known or len(words) > 2:  # noqa: PLR2004 - a deed and a target
        raise UsageError(f"demo do WHAT [TARGET]: WHAT is one of {', '.join(known)}")
    address = environ.get(ADDRESS, "")
    if not address:
        raise UsageError(f"{ADDRESS} is not set: paste what `unstale demo --keep` prints into this shell")
    if what in COMMANDS:
        from local.cli import pause

        (pause.pause if what == "pause" else pause.resume)(Path(environ["UNSTALE_CONFIG"]), target or "daily_revenue")
        return
    print(_ask(f"{address}/{what}" + (f"/{target}" if target else "")))


def _ask(url: str) -> str:
    """Ask the demo; raises `UsageError` for what cannot be, and `NotWellError` where nobody answers."""
    if why := refusal(url):
        raise UsageError(f"{ADDRESS} {why}")
    try:
        with urlopen(Asking(url, method="POST"), timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
            says: str = json.load(answer)["says"]
            return says
    except HTTPError as refused:
        with refused:
            raise UsageError(json.load(refused)["error"]) from refused
    except OSError as gone:
        raise NotWellError(f"the demo does not answer: {gone}. Does it still run?") from gone
