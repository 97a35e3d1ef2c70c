"""Fabric's three calls, from its HTTP request to our answer: the triggers themselves, who is let in, what is logged.

Golden cases lie in `golden/workload`, a folder each: `given` says how things stand, `request.http` is what comes, but
for its tokens, `answer.http` what must go back. And a small Fabric (local/emulators/fabric/workload.py) asks over HTTP.
"""

from __future__ import annotations

import json
import logging
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from msgspec.structs import replace

from functions_azure import app, settings
from functions_azure.clients import Deadline
from functions_azure.settings import ITEM_ROUTE, JOB_ROUTE, SettingsError
from functions_azure.shell import Shell
from functions_azure.telemetry import CHECKS_TOLD, Telemetry
from functions_azure.workload import keys
from functions_azure.workload.keys import Gate, Keys, NoKeysError
from local.emulators.entra.emulator import Entra
from local.emulators.entra.tokens import Tokens
from local.emulators.fabric.workload import Caller, Registration, WorkloadFabric, function_host
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.config.load import Configuration, Workload, WorkloadJob
from shared.refresh import records
from shared.refresh.engine import Ports
from shared.refresh.owed import JOBS_OPEN_MOST
from shared.refresh.ports import Phase
from shared.refresh.state import Paused
from shared.workload.api import BODY_LIMIT
from shared.workload.tokens import Expected
from tests.support.azure_host import Host, hosted
from tests.support.core import DENIED, POLICY
from tests.support.golden_folders import golden
from tests.support.jobs_bench import CALL, INSTANCE, ITEM, WORKSPACE, JobsBench, a_target, settle

PUBLISHER, CUSTOMER = "10000000-0000-4000-8000-000000000001", "20000000-0000-4000-8000-000000000002"
REGISTRATION = Registration("api://contoso.com/unstale", PUBLISHER, CUSTOMER)
IDS = {"ActivityId": "c5d1a7b0-0000-4000-8000-0000000000aa", "RequestId": "c5d1a7b0-0000-4000-8000-0000000000bb"}


class Desk:
    """The triggers on a bench in memory; Entra's keys come over HTTP, as the tokens' tenant signs."""

    def __init__(self, bench: JobsBench, entra: Entra) -> None:
        self.bench = bench
        self.caller = Caller(entra.tokens, REGISTRATION, bench.clock.now)
        self.entra = entra
        self.use()

    def use(self) -> None:
        """A new worker: nothing of the one before is left."""
        keys = Keys(f"{self.entra.plain_authority.rpartition('/')[0]}/common/discovery/v2.0/keys")
        expected = Expected(REGISTRATION.audience, REGISTRATION.publisher_tenant, tenants=frozenset({CUSTOMER}))
        gate = Gate(expected, keys, lambda: self.bench.clock.now().timestamp())

        def here(configuration: Configuration, deadline: Deadline) -> Ports:
            del configuration, deadline
            return self.bench.ports

        app.use(Shell(lambda: self.bench.configuration, here, lambda _: None, Telemetry(), gate=lambda: gate))  # type: ignore[arg-type, return-value]  # no sink and no invocation's own parts are asked for

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> func.HttpResponse:
        """A request, let in unless its headers say otherwise, at the trigger whose route it fits."""
        given = {**self.caller.headers(on_behalf=True), **IDS, **(headers or {})}
        for trigger, verb, route in TRIGGERS:
            found = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]*)", re.escape(f"/api/{route}")), path)
            if verb == method and found:
                request = func.HttpRequest(method, path, headers=given, route_params=found.groupdict(), body=body)
                return trigger(request)
        raise LookupError(f"no trigger for {method} {path}")

    def create(self, body: bytes = b'{"invokeType": "Scheduled"}', **headers: str) -> func.HttpResponse:
        """Of the one job that these tests are about."""
        return self.ask("POST", PATH, headers, body)


TRIGGERS: list[tuple[Callable[[func.HttpRequest], func.HttpResponse], str, str]] = [
    (app.workload_create, "POST", JOB_ROUTE),
    (app.workload_get, "GET", JOB_ROUTE),
    (app.workload_cancel, "POST", f"{JOB_ROUTE}/cancel"),
    *((app.workload_item, method, ITEM_ROUTE) for method in ("POST", "PATCH", "DELETE")),
    (app.workload_payload, "GET", f"{ITEM_ROUTE}/payload"),
]
PATH = (
    f"/api/workload/workspaces/{WORKSPACE}/items/{CALL.item_type}/{ITEM}/jobTypes/{CALL.job_type}/instances/{INSTANCE}"
)


@pytest.fixture(name="desk")
def triggers_and_bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Everything is fresh and quiet."""
    monkeypatch.setattr(app, "_made", {})
    bench = JobsBench()
    settle(bench)
    with Entra(bench.clock.now) as entra:
        yield Desk(bench, entra)


# --- Golden cases ----------------------------------------------------------------------------------------------------


def running(desk: Desk) -> None:
    """Its run goes on."""
    assert desk.create().status_code == 202
    desk.bench.wait(60, poll=False)
    assert desk.bench.fabric.active()


def completed(desk: Desk) -> None:
    """Its run succeeded."""
    running(desk)
    desk.bench.wait(300, poll=False)


def failed(desk: Desk) -> None:
    """Its runs fail, one after the other."""
    desk.bench.fabric.outcomes = [Phase.FAILED] * 9
    desk.create()
    desk.bench.wait(3600, poll=False)


def blocked(desk: Desk) -> None:
    """Its start is refused for good."""
    desk.bench.fabric.refusal = DENIED
    desk.create()
    desk.bench.wait(60, poll=False)


def cancelled_on_the_platform(desk: Desk) -> None:
    """By a person, in Fabric's own page of runs."""
    running(desk)
    [run] = desk.bench.fabric.runs
    run.phase, run.ended_at = Phase.CANCELLED, desk.bench.clock.now()
    desk.bench.wait(300, poll=False)


def full(desk: Desk) -> None:
    """There are as many jobs as may be."""
    for number in range(JOBS_OPEN_MOST):
        path = PATH.replace(INSTANCE, f"{number:08}-432d-4ee6-9c5f-31a1a6987072")
        assert desk.ask("POST", path, body=b'{"invokeType": "Scheduled"}').status_code == 202


def store_down(desk: Desk) -> None:
    """Nothing can be read."""

    def down(*_: object) -> Any:
        raise ConnectionError("AccountKey=planted-secret-of-the-store")

    desk.bench.store.load = down  # type: ignore[assignment, method-assign]  # a store that is down


GIVEN: dict[str, Callable[[Desk], object]] = {
    "nothing": lambda _: None,
    "created": Desk.create,
    "running": running,
    "completed": completed,
    "failed": failed,
    "blocked": blocked,
    "cancelled on the platform": cancelled_on_the_platform,
    "as many jobs as may be": full,
    "the store is down": store_down,
}


def read_request(folder: Path) -> tuple[str, str, dict[str, str], bytes]:
    """Method, path, headers and body of `request.http`."""
    head, _, body = (folder / "request.http").read_bytes().partition(b"\n\n")
    line, *lines = head.decode().splitlines()
    method, path, _ = line.split(" ")
    return method, path, dict(each.split(": ", 1) for each in lines), body.removesuffix(b"\n")


def written(answer: func.HttpResponse) -> str:
    """An answer as `answer.http` has it, its JSON with line breaks."""
    lines = [f"HTTP/1.1 {answer.status_code} {HTTPStatus(answer.status_code).phrase}"]
    lines += [f"{name}: {value}" for name, value in sorted(answer.headers.items())]
    body = answer.get_body()
    content = json.dumps(json.loads(body), indent=2) + "\n" if body else ""
    return "\n".join([*lines, "", content])


@golden("workload")
def test_golden_requests_have_their_golden_answers(folder: Path, desk: Desk) -> None:
    """Byte for byte, but for line breaks."""
    GIVEN[(folder / "given").read_text(encoding="utf-8").strip()](desk)
    answer = desk.ask(*read_request(folder))
    assert written(answer) == (folder / "answer.http").read_text(encoding="utf-8")
    assert answer.mimetype == "application/json"


# --- Who is let in ---------------------------------------------------------------------------------------------------


def test_a_stranger_learns_nothing_and_the_log_says_why(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is asked, and whatever is wrong with the tokens: the same bytes. The log names the check, no token."""
    good = desk.caller.headers(on_behalf=True)
    app_token = good["Authorization"].rpartition('appToken="')[2].rstrip('"')
    broken = [
        {"Authorization": ""},
        {"Authorization": f"Bearer {app_token}"},
        {"Authorization": good["Authorization"][:-9] + 'AAAAAAAA"'},
        {"x-ms-client-tenant-id": PUBLISHER},
    ]
    elsewhere = PATH.replace(WORKSPACE, "no-uuid")
    with caplog.at_level(logging.WARNING, "unstale"):
        answers = [
            desk.ask(method, path, headers, b"\xff")
            for headers in broken
            for method, path in (("POST", PATH), ("GET", PATH), ("POST", f"{PATH}/cancel"), ("GET", elsewhere))
        ]
    assert {(each.status_code, each.get_body(), each.headers["WWW-Authenticate"]) for each in answers} == {
        (401, answers[0].get_body(), "SubjectAndAppToken1.0")
    }
    app.shell()._telemetry._refusals._told_at = -math.inf  # a minute later
    with caplog.at_level(logging.WARNING, "unstale"):
        app.shell()._telemetry.tell_refusals()
    first, rest = [json.loads(record.message) for record in caplog.records]
    assert first["message"] == "call refused"
    assert first["detail"] == {"check": "authorization header", "calls": 1, "checks": {"authorization header": 1}}
    assert rest["detail"]["calls"] == len(answers) - 1
    assert {check.partition(" (")[0]: count for check, count in rest["detail"]["checks"].items()} == {
        "authorization header": 7,
        "app token: signature": 4,
        "tenant": 4,
    }
    assert not any(value in caplog.text for value in ("eyJ", *IDS.values())), "ids of strangers are theirs to choose"
    assert not records_of_jobs(desk)


def test_two_thousand_strangers_are_one_line_a_minute(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A wallet is not emptied by lines: calls are counted by the check that failed, and told of together, by ticks too.

    So are calls that nobody can judge, for want of keys.
    """
    time = [1000.0]
    telemetry = Telemetry(lambda: time[0])
    with caplog.at_level(logging.INFO, "unstale"):
        for number in range(2000):
            telemetry.note_refusal(f"check {number % 3}")
            telemetry.note_unjudged(NoKeysError("no signing keys"))
        assert [json.loads(record.message)["detail"]["calls"] for record in caplog.records] == [1]
        time[0] += 61
        telemetry.tell_refusals()
        telemetry.tell_refusals()
    assert [json.loads(record.message)["detail"]["calls"] for record in caplog.records] == [1, 3999]
    assert (
        json.loads(caplog.records[-1].message)["detail"]["checks"]["not judged: NoKeysError: no signing keys"] == 2000
    )


def test_checks_that_a_stranger_names_do_not_make_a_line_long(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond so many, they are counted together."""
    telemetry = Telemetry(lambda: 0.0)
    with caplog.at_level(logging.WARNING, "unstale"):
        telemetry.note_refusal("first")
        for number in range(1000):
            telemetry.note_refusal(f"check {number}")
        telemetry._refusals._told_at = -math.inf
        telemetry.tell_refusals()
    checks = json.loads(caplog.records[-1].message)["detail"]["checks"]
    assert len(checks) == CHECKS_TOLD + 1
    assert sum(checks.values()) == 1000


def test_a_tick_tells_what_was_refused_since(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """After the last stranger, too, somebody hears of them."""
    desk.ask("GET", PATH, {"Authorization": ""})
    desk.ask("GET", PATH, {"Authorization": ""})
    app.shell()._telemetry._refusals._told_at = -math.inf
    caplog.clear()
    with caplog.at_level(logging.WARNING, "unstale"):
        app.shell().tick()
    assert [json.loads(record.message)["detail"]["calls"] for record in caplog.records][:1] == [1]


def records_of_jobs(desk: Desk) -> list[str]:
    """Their keys."""
    return [key for key in desk.bench.store.keys("", 1000)[0] if records.is_job(key)]


@pytest.mark.usefixtures("without_garbage")
def test_a_refused_create_stores_nothing(desk: Desk) -> None:
    """Whatever body or path it has: no record, no signal."""
    before = desk.bench.state()
    for body in (
        b"",
        b"{",
        b"\xff",
        b"[" * 9000,
        b"x" * 100_000,
        b'{"invokeType": "Manual", "creationPayload": {"a": 1}}',
    ):
        assert desk.create(body).status_code == 400
    assert desk.ask("POST", PATH.replace(INSTANCE, "1"), body=b'{"invokeType": "Manual"}').status_code == 400
    assert desk.ask("POST", PATH.replace(CALL.job_type, "x"), body=b'{"invokeType": "Manual"}').status_code == 404
    assert (desk.bench.state(), records_of_jobs(desk)) == (before, [])


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("POST", "/cancel"), ("PATCH", "item")])
def test_a_body_of_more_than_a_megabyte_is_refused_by_its_length(desk: Desk, method: str, path: str) -> None:
    """413 at each route, before a byte of it is read; a stranger's gets the 401 of all strangers. Nothing is stored."""
    asked = PATH.partition("/jobTypes")[0] if path == "item" else PATH + path
    before = desk.bench.state()
    answer = desk.ask(method, asked, body=b"[" * (BODY_LIMIT + 1))
    assert (answer.status_code, json.loads(answer.get_body())["errorCode"]) == (413, "RequestBodyTooLarge")
    refused = desk.ask(method, asked, {"Authorization": ""}, b"[" * (BODY_LIMIT + 1))
    assert (refused.status_code, refused.get_body()) == (401, desk.create(Authorization="").get_body())
    assert (desk.bench.state(), records_of_jobs(desk)) == (before, [])


def test_a_body_of_just_a_megabyte_is_read(desk: Desk) -> None:
    """The limit is a length that is allowed."""
    body = b'{"invokeType": "Manual"}'
    assert desk.create(body + b" " * (BODY_LIMIT - len(body))).status_code == 202


def test_a_stranger_among_tenants_gets_the_same_answer(desk: Desk) -> None:
    """Tokens are good, but nobody let the tenant of the item in: a 401 like any other, and no job of it is kept."""
    elsewhere = Registration(REGISTRATION.audience, PUBLISHER, "30000000-0000-4000-8000-000000000003")
    stranger = Caller(desk.entra.tokens, elsewhere, desk.bench.clock.now)
    for on_behalf in (True, False):
        answer = desk.ask("POST", PATH, stranger.headers(on_behalf=on_behalf), b'{"invokeType": "Manual"}')
        assert (answer.status_code, answer.get_body()) == (401, desk.create(Authorization="").get_body())
    assert records_of_jobs(desk) == []


@pytest.mark.parametrize("form", ["{}", "{{{}}}", " {} "])
def test_the_tenants_id_may_be_written_as_it_likes(desk: Desk, form: str) -> None:
    """In capitals, in braces: one tenant, whose job is seen by each spelling of it."""
    tenant = form.format(CUSTOMER.upper())
    body = b'{"invokeType": "Manual"}'
    assert desk.ask("POST", PATH, {"x-ms-client-tenant-id": tenant}, body).status_code == 202
    assert desk.ask("GET", PATH).status_code == 200


@pytest.mark.parametrize("name", ["x-ms-client-tenant-id", "ms-client-tenant-id", "X-MS-CLIENT-TENANT-ID"])
def test_the_tenant_is_known_by_either_name(desk: Desk, name: str) -> None:
    """That of the specification, and that of the toolkit's documents; names of headers have no case."""
    headers = desk.caller.headers(on_behalf=True)
    tenant = headers.pop("x-ms-client-tenant-id")
    found = func.HttpRequest("GET", PATH, headers={**headers, name: tenant}, route_params={}, body=b"")
    assert app.workload_get(found).status_code == 400, "let in, and asked for nothing that there is"


# --- A small Fabric --------------------------------------------------------------------------------------------------


@pytest.fixture(name="fabric")
def small_fabric(desk: Desk) -> Iterator[WorkloadFabric]:
    """Asks the triggers over HTTP."""
    with ExitStack() as stack:
        host = stack.enter_context(function_host(app, desk.bench.clock.now))
        fabric = WorkloadFabric(f"{host.url}/api/workload", desk.caller, desk.bench.clock.now)
        stack.callback(fabric.close)
        yield fabric
        assert fabric.broken == []


SALES = (WORKSPACE, CALL.item_type, ITEM)


def play(desk: Desk, fabric: WorkloadFabric, minutes: float) -> None:
    """Let time pass, with Fabric polling."""
    for _ in range(int(minutes * 6)):
        desk.bench.wait(10, poll=False)
        fabric.tick()


@pytest.mark.parametrize("invoke_type", ["Scheduled", "Manual"])
def test_fabric_sees_its_job_from_creation_to_completed(desk: Desk, fabric: WorkloadFabric, invoke_type: str) -> None:
    """Polled each minute, and no more once it is over."""
    job = fabric.jobs[fabric.ask(SALES, CALL.job_type, {"full": False}, invoke_type)]
    assert job.accepted
    play(desk, fabric, 5)
    assert [state["status"] for state in job.states][-1] == "Completed"
    [run] = desk.bench.fabric.runs
    assert run.created_at > job.created_at


def call_about_item(fabric: WorkloadFabric, method: str, more: str = "", body: Mapping[str, str] | None = None) -> Any:
    """Call about an item as Fabric does: on behalf of a person, unless the item is deleted."""
    path = "workspaces/{}/items/{}/{}".format(*SALES) + more
    return fabric._call(method, path, json.dumps(body).encode() if body else b"", on_behalf=method != "DELETE")


def test_fabric_makes_its_items(desk: Desk, fabric: WorkloadFabric) -> None:
    """Made, renamed, opened, deleted, the last with nobody behind it; nothing is stored of any."""
    before = desk.bench.store.keys("", 1000)
    assert call_about_item(fabric, "POST", body={"displayName": "Sales"}).status_code == HTTPStatus.CREATED
    assert call_about_item(fabric, "PATCH", body={"displayName": "More sales"}).status_code == HTTPStatus.OK
    assert call_about_item(fabric, "GET", "/payload").json()["itemPayload"] == {}
    assert call_about_item(fabric, "DELETE").status_code == HTTPStatus.OK
    assert desk.bench.store.keys("", 1000) == before


def test_fabric_cancels_its_job(desk: Desk, fabric: WorkloadFabric) -> None:
    """InProgress until the run has ended on the platform."""
    instance = fabric.ask(SALES, CALL.job_type)
    play(desk, fabric, 1)
    fabric.cancel(instance)
    assert fabric.jobs[instance].status == "InProgress"
    play(desk, fabric, 3)
    assert fabric.jobs[instance].status == "Cancelled"
    assert [run.phase for run in desk.bench.fabric.runs] == [Phase.CANCELLED]


def test_fabric_gives_up_what_does_not_start_for_two_hours(desk: Desk, fabric: WorkloadFabric) -> None:
    """A paused target; a refusal that will not change is given up at once."""
    desk.bench.put(replace(desk.bench.state(), hold=Paused(desk.bench.clock.now())))
    waiting = fabric.jobs[fabric.ask(SALES, CALL.job_type)]
    refused = fabric.jobs[fabric.ask(SALES, CALL.job_type, {"priority": "low"})]
    play(desk, fabric, 119)
    assert (waiting.given_up, waiting.status, refused.given_up) == (False, "NotStarted", True)
    play(desk, fabric, 3)
    assert (waiting.given_up, waiting.status) == (True, "NotStarted")


def test_a_job_outlives_the_users_hour_and_every_worker(desk: Desk, fabric: WorkloadFabric) -> None:
    """Two hours of one run: the subject token is long expired, the worker is another one each minute."""
    patient = a_target(policy=replace(POLICY, timeout=timedelta(hours=6)))
    desk.bench.configuration = Configuration((patient,), workload=desk.bench.configuration.workload)
    job = fabric.jobs[fabric.ask(SALES, CALL.job_type)]
    play(desk, fabric, 1)
    [run] = desk.bench.fabric.runs
    run.run_time = timedelta(hours=2)
    for _ in range(119):
        play(desk, fabric, 1)
        desk.use()
    assert job.status == "InProgress"
    play(desk, fabric, 5)
    assert job.status == "Completed"


def test_a_key_server_that_is_away_is_trouble_of_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and not 401: Fabric asks again."""
    monkeypatch.setattr(keys, "KEPT_SECONDS", -1.0)
    answer = desk.create()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")


def test_what_the_keys_took_is_not_there_for_the_calls(desk: Desk) -> None:
    """An invocation is over in time, whoever made it wait before: calls to Fabric a second before all others."""
    here = app.shell()._invocation(Deadline(1.5))
    assert here.engine._ends_at - desk.bench.clock.monotonic() < 0.5


# --- Ids -------------------------------------------------------------------------------------------------------------


def test_the_ids_of_a_call_are_in_each_line_and_go_on_to_fabric(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the calls that we make for it, and in no others; ids that are none go no further."""
    monkeypatch.setattr(logging.getLogger("unstale"), "propagate", True)
    with hosted(monkeypatch) as host, caplog.at_level(logging.DEBUG, "unstale"):
        shell = _with_a_workload(host)
        for _ in range(10):  # whatever a new configuration owes is over
            host.tick()
            host.clock.move_on(minutes=1)
        _call(shell, "create", IDS)
        host.clock.move_on(seconds=80)
        host.tick()
        _call(shell, "cancel", IDS)
        mine = [each.request.headers for each in host.fabric.exchanges if "activityid" in each.request.headers]
        assert len(mine) == 1
        assert {(each["activityid"], each["requestid"]) for each in mine} == {tuple(IDS.values())}
        lines = [json.loads(record.message) for record in caplog.records if "RequestId" in record.message]
        assert {"job accepted", "saved"} <= {line["message"] for line in lines}
        caplog.clear()
        host.tick()
        _call(shell, "get", {"ActivityId": "a b\r\nX: y", "RequestId": "é"})
        assert "Id" not in "".join(record.message for record in caplog.records if "run_id" not in record.message)


class OpenGate:
    """Lets everybody in."""

    def refusal(self, authorization: str, tenant: str) -> str:
        """Nothing is wrong."""
        del authorization, tenant
        return ""


def _with_a_workload(host: Host) -> Shell:
    known = host.configuration
    jobs = (WorkloadJob(CALL.item_type, CALL.job_type, "sales"),)
    host.configuration = lambda: replace(known(), workload=Workload(jobs))

    def here(configuration: Configuration, deadline: Deadline) -> Ports:
        return replace(host._make_ports(configuration, deadline), emit=Telemetry().emit)

    return Shell(host._read, here, lambda _: host.yard, Telemetry(), gate=OpenGate)


def _call(shell: Shell, operation: str, headers: dict[str, str]) -> None:
    from functions_azure.workload.shell import Request

    path = dict(
        zip(
            re.findall(r"\{(\w+)\}", JOB_ROUTE),
            re.findall(r"/([^/]+)", f"/{WORKSPACE}/{CALL.item_type}/{ITEM}/{CALL.job_type}/{INSTANCE}"),
            strict=True,
        )
    )
    shell.job(Request(operation, path, headers, b'{"invokeType": "Manual"}'))


# --- On and off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "served"),
    [
        (None, False),
        ("", False),
        ("[targets.a]\n", False),
        ("# [workload]\n", False),
        ("[[workload.jobs]]\n", True),
        ("workload = { jobs = [] }\n", True),
        ("[workload]\njobs = [\n", True),
        ("[[workload.jobs]]\nitem_type = \n", True),
        ("# [[workload.jobs]]\n[targets\n", False),
        ("[targets\n", False),
    ],
)
def test_without_workload_the_endpoints_are_off(tmp_path: Path, text: str | None, served: bool) -> None:
    """Nothing is there to be asked; a file that is broken has them if it looks so, and they say what is wrong."""
    file = tmp_path / "unstale.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    assert settings.serves_workload({"UNSTALE_CONFIG": str(file)}) is served


def test_a_missing_setting_is_named_in_the_log_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503: nobody is let in, and nobody is told why."""
    with pytest.raises(
        SettingsError, match="UNSTALE_WORKLOAD_AUDIENCE and UNSTALE_WORKLOAD_PUBLISHER_TENANT is not set"
    ):
        settings.workload({})
    monkeypatch.setattr(app, "_made", {})
    monkeypatch.setenv("UNSTALE_STORAGE", "UseDevelopmentStorage=true")
    monkeypatch.setenv("UNSTALE_CONFIG", "unstale.example.toml")
    monkeypatch.delenv("UNSTALE_WORKLOAD_AUDIENCE", raising=False)
    request = func.HttpRequest("GET", PATH, headers=IDS, route_params={}, body=b"")
    answer = app.workload_get(request)
    assert answer.status_code == 503
    assert b"AUDIENCE" not in answer.get_body()
    assert "UNSTALE_WORKLOAD_AUDIENCE" in caplog.text
    monkeypatch.setattr(app, "_made", {})
    monkeypatch.delenv("UNSTALE_STORAGE")
    assert app.workload_get(request).status_code == 503


@pytest.mark.parametrize(
    ("authority", "keys"),
    [
        ("", "https://login.microsoftonline.com/common/discovery/v2.0/keys"),
        ("https://login.microsoftonline.us/t", "https://login.microsoftonline.us/common/discovery/v2.0/keys"),
        ("http://127.0.0.1:8080/t", "http://127.0.0.1:8080/common/discovery/v2.0/keys"),
    ],
)
def test_keys_come_from_the_authority(authority: str, keys: str) -> None:
    """Its host, whatever its path."""
    environ = {
        "UNSTALE_WORKLOAD_AUDIENCE": "a",
        "UNSTALE_WORKLOAD_PUBLISHER_TENANT": f"{{{PUBLISHER.upper()}}}",
        "UNSTALE_AUTHORITY": authority,
    }
    assert settings.workload(environ).keys_url == keys
    assert settings.workload(environ).publisher_tenant == PUBLISHER
    with pytest.raises(SettingsError):
        settings.workload({**environ, "UNSTALE_AUTHORITY": "http://login.example/t"})


@pytest.mark.parametrize("tenant", ["contoso.com", "common", f"{PUBLISHER}0", f"{{{PUBLISHER}"])
def test_a_publisher_that_no_token_names_is_refused(tenant: str) -> None:
    """Tokens name a tenant by its id; with anything else, all calls would be refused, and nobody would know why."""
    environ = {"UNSTALE_WORKLOAD_AUDIENCE": "a", "UNSTALE_WORKLOAD_PUBLISHER_TENANT": tenant}
    with pytest.raises(SettingsError, match=r"UNSTALE_WORKLOAD_PUBLISHER_TENANT must be the id of a tenant"):
        settings.workload(environ)


def test_what_calls_of_fabric_need_is_not_imported_before_one_comes() -> None:
    """Cold starts of all other triggers stay as they are."""
    script = "import sys, functions_azure.app, functions_azure.wiring; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {
        "jwt",
        "functions_azure.workload.shell",
        "functions_azure.workload.shell.keys",
        "shared.workload.jobs",
    } & set(done.stdout.split())


def test_failing_runs_are_told_by_the_platform_itself(desk: Desk, fabric: WorkloadFabric) -> None:
    """Three of them, and Fabric is told whose fault it was."""
    desk.bench.fabric.outcomes = [Phase.FAILED] * 3
    job = fabric.jobs[fabric.ask(SALES, CALL.job_type)]
    play(desk, fabric, 30)
    assert job.states[-1]["errorDetails"]["source"] == "External"


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        ([(200, {"status": "InProgress"}), (200, {"status": "NotStarted"})], "became"),
        ([(200, {"status": "InProgress"}), (500, {"error": "x"})], "another shape"),
        ([(500, "<html>")], "another shape"),
        ([(200, {"status": "NotStarted"}), (200, {"status": "InProgress"}), (200, {"status": "Completed"})], ""),
    ],
)
def test_the_small_fabric_notices_a_broken_word(answers: list[tuple[int, object]], wrong: str) -> None:
    """Or it would be no witness."""
    bench = JobsBench()
    script = iter(answers)

    def respond(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(202)
        status, content = next(script)
        return Answer(status, body=json.dumps(content).encode() if isinstance(content, dict) else b"<html>")

    tokens = Tokens(bench.clock.now, PUBLISHER)
    with LoopbackServer(respond, bench.clock.now) as server:
        fabric = WorkloadFabric(server.url, Caller(tokens, REGISTRATION, bench.clock.now), bench.clock.now)
        fabric.ask(SALES, CALL.job_type)
        for _ in answers:
            bench.clock.time += timedelta(minutes=1)
            fabric.tick()
        fabric.close()
    assert (wrong in "".join(fabric.broken)) if wrong else fabric.broken == []
