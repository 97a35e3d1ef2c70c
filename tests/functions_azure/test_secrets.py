"""No secret in any line or error: everything logs at DEBUG, one library tells all that it sends, and nothing shows.

With the redaction switched off the same run shows every one of them, so the test would see a leak.
"""

from __future__ import annotations

import json
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests

from functions_azure import wiring
from functions_azure.settings import EVENTS_QUEUE
from functions_azure.shell import Shell
from functions_azure.telemetry import LONGEST_TEXT, QUIET, Redaction, Telemetry, install
from local.emulators.entra.emulator import App, Entra, Federation, Identity
from local.emulators.entra.tokens import Tokens
from local.emulators.fabric.emulator import FabricEmulator
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.faults import RefuseToken, ServerError
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.engine import LogEvent
from shared.version import VERSION
from tests.support.azure_host import OTHER, SALES, T0, TEXT, WORKSPACE, HandClock
from tests.support.azurite_server import KEY, Account, new_account, one_azurite  # noqa: F401 - fixtures
from tests.support.revocation import revoke

SECRET = "a planted secret, ~8Q"
UNREADABLE = b'{"refresh": "nobody, password=planted-password"}'
SIGNATURE = "planted%2Bsignature%2Fof%3Da%2Bsas%3D"
WITH_SECRET = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret=SECRET)
TRUSTING = "0a4f1c2e-0000-4000-8000-000000000002"
SYSTEM = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)


class Sink(logging.Handler):
    """A handler of the root logger, as the worker has one."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what would leave the process."""
        self.lines.append(self.format(record))


@pytest.fixture(name="sink")
def root_handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """On the root logger, with every library's logger at DEBUG."""
    root, sink = logging.getLogger(), Sink()
    monkeypatch.setattr(root, "handlers", [sink])
    loggers = [root, *(logging.getLogger(name) for name in (*root.manager.loggerDict, *QUIET))]
    levels = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield sink
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture(name="chatty")
def telling_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that logs whatever is sent and answered, headers and bodies and all, in several manners."""
    send, log = requests.Session.send, logging.getLogger("chatty.library")

    def telling(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        headers = dict(request.headers)
        log.debug("%s %s %s", request.method, request.url, headers)
        log.debug("\n".join(f"{name}: {value!r}" for name, value in headers.items()))
        log.debug("body: %r", request.body)
        try:
            response = send(self, request, **options)
        except Exception:
            log.exception("failed: %s", headers)
            raise
        if not options.get("stream"):
            log.debug("answer: %s", response.text)
        return response

    monkeypatch.setattr(requests.Session, "send", telling)


@pytest.fixture(name="issued")
def issued_tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that the tenant hands out."""
    found: list[str] = []
    issue = Tokens.issue

    def noting(self: Tokens, *args: Any, **options: Any) -> str:
        found.append(issue(self, *args, **options))
        return found[-1]

    monkeypatch.setattr(Tokens, "issue", noting)
    return found


class Scene:
    """A deployment with its surroundings, run in several ways; `errors` are the exceptions as the worker shows them."""

    def __init__(self, entra: Entra, fabric: FabricEmulator, clock: HandClock, config: Path) -> None:
        self.entra, self.fabric, self.clock, self.config = entra, fabric, clock, config
        self.errors: list[str] = []

    def shell(self, identity: str, **environment: str) -> Shell:
        """The function app's own, with this environment."""
        self.config.write_text(f'[fabric]\nidentity = "{identity}"\n{TEXT}', encoding="utf-8")
        common = {"UNSTALE_CONFIG": str(self.config), "UNSTALE_FABRIC_URL": self.fabric.url}
        return wiring.shell({**common, **self.entra.identity_environment, **environment})

    def attempt(self, work: Callable[[], object]) -> None:
        """Do something; an error is kept as it would be told to the host."""
        try:
            answer = work()
            self.errors.append(str(getattr(answer, "content", "")))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            self.errors.append("".join(traceback.format_exception(error)))

    def play(self, shell: Shell) -> None:
        """Signals, ticks, a request, a dead letter."""
        self.attempt(shell.tick)
        self.attempt(lambda: shell.refresh("sales", b'{"full": true}'))
        self.attempt(lambda: shell.deliver(EVENTS_QUEUE, b64encode(json.dumps({"refresh": "other"}).encode())))
        self.attempt(lambda: shell.deliver(EVENTS_QUEUE, UNREADABLE))
        for _ in range(3):
            self.clock.move_on(minutes=2)
            self.attempt(shell.tick)


@pytest.fixture(name="scene")
def deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Scene]:
    """A tenant, a Fabric, a configuration."""
    clock = HandClock()
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setattr(wiring, "SystemClock", lambda: clock)
    with Entra(clock.now, apps=[WITH_SECRET], identities=[SYSTEM], token_lifetime=timedelta(days=2000)) as entra:
        federation = Federation(entra.tokens.issuer, SYSTEM.object_id)
        entra.apps[TRUSTING] = App(TRUSTING, "0a4f1c2e-0000-4000-8000-00000000000b", federations=(federation,))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.certificate)
        for name, value in entra.identity_environment.items():
            monkeypatch.setenv(name, value)
        with FabricEmulator(clock.now, entra.tokens.validate) as fabric:
            for lakehouse in (SALES, OTHER):
                fabric.add_item(Item(WORKSPACE, lakehouse, "Lakehouse", (JobType(LAKE_VIEWS),)))
            yield Scene(entra, fabric, clock, tmp_path / "unstale.toml")


def run(scene: Scene, account: Account) -> None:
    """Every way to storage and to a token, and everything that goes wrong on them."""
    storage = {"UNSTALE_STORAGE": account.connection_string}
    app = {"UNSTALE_AUTHORITY": scene.entra.authority, "UNSTALE_CLIENT_ID": WITH_SECRET.client_id}
    scene.play(scene.shell("managed-identity", **storage))
    shell = scene.shell("service-principal", **storage, **app, UNSTALE_CLIENT_SECRET=SECRET)
    scene.play(shell)
    revoke(scene.entra.tokens)
    scene.play(shell)
    scene.fabric.faults.add(ServerError(500), "start", times=3)
    scene.play(scene.shell("service-principal", **storage, **app | {"UNSTALE_CLIENT_ID": TRUSTING}))
    scene.entra.faults.add(RefuseToken("invalid_client", number=7000215), "token", times=2)
    scene.play(scene.shell("service-principal", **storage, **app, UNSTALE_CLIENT_SECRET=SECRET))
    sas = (
        f"TableEndpoint={account.table_url};QueueEndpoint={account.queue_url};"
        f"SharedAccessSignature=sv=2024-11-04&ss=qt&srt=sco&sp=rwdlacu&se=2099-01-01T00:00:00Z&sig={SIGNATURE}"
    )
    scene.play(scene.shell("managed-identity", UNSTALE_STORAGE=sas))
    scene.play(scene.shell("managed-identity", UNSTALE_STORAGE=f"AccountName=;AccountKey={SECRET}"))
    scene.attempt(lambda: scene.shell("managed-identity", UNSTALE_STORAGE=f"AccountKey={SECRET};garbage"))


def planted(scene: Scene, issued: list[str]) -> dict[str, list[str]]:
    """What must not be seen, by kind."""
    return {
        "tokens": [token.rpartition(".")[2] for token in issued],
        "client secret": [SECRET, quote_plus(SECRET)],
        "identity header": [scene.entra.identity_environment["IDENTITY_HEADER"]],
        "signature of storage": [SIGNATURE, "planted+signature/of=a+sas="],
        "account key": [KEY],
        "password": ["planted-password"],
    }


def seen(secrets: dict[str, list[str]], texts: list[str]) -> set[str]:
    """The kinds of which one is to be found."""
    together = "\n".join(texts)
    return {kind for kind, values in secrets.items() if any(value in together for value in values)}


@pytest.mark.usefixtures("chatty")
def test_no_secret_is_to_be_seen(scene: Scene, account: Account, sink: Sink, issued: list[str]) -> None:
    """Tokens, secrets, signatures and keys are in no line of any library, and in no error that reaches the host."""
    run(scene, account)
    assert len(sink.lines) > 200
    assert len(issued) >= 4
    assert seen(planted(scene, issued), [*sink.lines, *scene.errors]) == set()
    assert any("***" in line for line in sink.lines)


@pytest.mark.usefixtures("chatty")
def test_without_the_redaction_they_are(
    scene: Scene,
    account: Account,
    sink: Sink,
    issued: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same run, and the same look at its lines: so it would find what the redaction lets through."""
    monkeypatch.setattr(Redaction, "filter", lambda *_: True)
    run(scene, account)
    found = seen(planted(scene, issued), sink.lines)
    assert found >= {"tokens", "client secret", "identity header", "signature of storage"}


# --- The filter ------------------------------------------------------------------------------------------------------


def logged(sink: Sink, work: Callable[[logging.Logger], object]) -> str:
    """What one call leaves behind."""
    sink.lines.clear()
    work(logging.getLogger("some.library"))
    [line] = sink.lines
    return line


LEAKS = [
    "Authorization: Bearer abc.def-planted",
    "{'Authorization': 'Bearer planted'}",
    "authorization: SharedKey account:planted/+=",
    "token eyJ0eXAiOiJKV1QiLCJhbGciOi.eyJhdWQiOiJ.planted",
    '{"access_token": "planted", "expires_in": 3599}',
    "{'refresh_token': 'planted'}",
    "grant_type=client_credentials&client_secret=planted&scope=x",
    "'X-IDENTITY-HEADER': 'planted'",
    "GET /a?sv=2024&sig=planted&se=2026",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=planted==;EndpointSuffix=x",
    "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=planted=",
    "POST /api/refresh/sales?code=planted-0123456789abcdefghij==",
    '{"credential_type": "RefreshToken", "secret": "planted"}',
    "client_id=a&device_code=planted&grant_type=b",
    "code_verifier=planted&client_info=planted",
    f"Got auth response: {{'code': '0.AX{'a' * 60}.planted'}}",
    f'{{"kid": "https://v/keys/k/1", "value": "{"a" * 36}planted"}}',
]


@pytest.mark.parametrize("leak", LEAKS)
def test_a_secret_is_known_by_its_looks(sink: Sink, leak: str) -> None:
    """In the message, among its arguments, in a traceback, in the stack: also where nobody knows its value."""
    install(NOTHING_KNOWN)
    assert "planted" not in logged(sink, lambda log: log.warning(leak.replace("%", "%%")))
    assert "planted" not in logged(sink, lambda log: log.warning("said: %s", leak))

    assert "planted" not in logged(sink, lambda log: log.error("failed", exc_info=StoreError(leak)))
    assert "StoreError" in sink.lines[0], "the traceback itself is worth having"


def test_a_known_secret_is_taken_out_wherever_it_is(sink: Sink) -> None:
    """By its value alone, with nothing around it that says what it is."""
    install(Redactor(["hunter2-hunter2"]))
    assert logged(sink, lambda log: log.error("it was hunter2-hunter2!")) == "it was ***!"


def test_lines_stay_readable(sink: Sink) -> None:
    """Harmless text is left as it is; lines stay lines; a terminal's control characters do not get through."""
    install(NOTHING_KNOWN)
    assert logged(sink, lambda log: log.error("a target:\n  File %d\n\tdone", 7)) == "a target:\n  File 7\ndone"
    assert "\x1b" not in logged(sink, lambda log: log.error("\x1b[31mred"))
    assert logged(sink, lambda log: log.error("%d parts", "no number")) == "%d parts ('no number',)"
    assert len(logged(sink, lambda log: log.error("x" * 100_000))) <= LONGEST_TEXT


def test_what_happens_is_told_as_json(sink: Sink) -> None:
    """One object a line, with numbers as numbers, so that a query can tell targets apart."""
    install(NOTHING_KNOWN)
    telemetry = Telemetry()
    telemetry.emit(LogEvent("saved", "sales", T0, {"owed_age_seconds": 1.5, "held": 0, "why": "Bearer planted"}))
    telemetry.note_returned(3, "the store\nis down", StoreError("sig=planted"))
    telemetry.note_dead_letter(EVENTS_QUEUE, "not JSON")
    telemetry.note_ignored("Microsoft.Storage.BlobDeleted")
    saved, returned, dead, ignored = sink.lines
    assert json.loads(saved) == {
        "message": "saved",
        "version": VERSION,
        "target": "sales",
        "detail": {"owed_age_seconds": 1.5, "held": 0, "why": "***"},
    }
    assert json.loads(returned.splitlines()[0]) == {
        "message": "trouble of ours",
        "version": VERSION,
        "detail": {"messages": 3, "why": "the store is down"},
    }
    assert "StoreError: ***" in returned
    assert json.loads(dead)["detail"] == {"queue": EVENTS_QUEUE, "why": "not JSON"}
    assert json.loads(ignored)["message"] == "ignored"


class StoreError(Exception):
    """An error of a library."""


def test_the_filter_is_put_on_once(sink: Sink) -> None:
    """Before each handler, however often a shell is made."""
    install(NOTHING_KNOWN)
    install(NOTHING_KNOWN)
    assert len([each for each in sink.filters if isinstance(each, Redaction)]) == 1
