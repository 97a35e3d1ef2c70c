"""Both clouds in one process: the two shells on their emulators, and the ways between them as their vendors guard them.

the Lambda's shell  --  POST, x-functions-key  ->  a Functions host that judges keys  ->  the function app's trigger
the function app    --  AssumeRoleWithWebIdentity, PutEvents  ->  an account that judges tokens, signatures and rights
                                                                  by the template's own role  ->  bus, rule, queue
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import azure.functions as func
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec.structs import replace

from functions_azure import app, wiring
from functions_azure.clients import Deadline
from functions_azure.settings import Settings
from functions_azure.shell import Shell
from functions_azure.telemetry import Telemetry
from local.emulators.aws.emulator import LocalAws
from local.emulators.entra.emulator import App, Entra, Identity
from local.emulators.entra.tokens import TokenRefusal
from local.emulators.fabric.emulator import FabricEmulator, FabricSettings
from local.emulators.fabric.model import LAKE_VIEWS, Item, JobType
from local.emulators.glue.emulator import GlueSettings
from local.emulators.http_server import Answer, LoopbackServer, Request
from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration, load
from shared.inbound.wakes import wake_message
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.records import read_state
from shared.refresh.state import State
from tests.support import aws_host, sam_template
from tests.support.aws_host import Host, living_in
from tests.support.azure_host import SALES, T0, WORKSPACE, HandClock, Yard

TENANT = "c1d2a7b0-5e3f-4a68-9b17-20e4d6f8a935"
US = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)
AUDIENCE = "api://unstale-aws"
TRUSTED = App("0a4f1c2e-0000-4000-8000-000000000009", "0a4f1c2e-0000-4000-8000-00000000000c", uris=(AUDIENCE,))
ROLE = "arn:aws:iam::123456789012:role/unstale-SignalRole-1"
KEY = "planted-function-key-0123456789"
NAMES = ("orders", "local", "report", "summary")
"""All targets, each after those that it follows."""
SERVICES = count(1)

TEXT = """
[defaults]
quiet_period = "10s"
min_interval = "1m"
look = "off"

[across.azure]
url = "{url}"
key_secret = "unstale/azure"

[across.aws]
role = "{role}"
region = "eu-central-1"
audience = "{audience}"

[targets.orders]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "orders"
on = [{{ s3_object_created = {{ bucket = "landing", prefix = "orders/" }} }}]

[targets.local]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "local"
after = ["orders"]

[targets.report]
kind = "fabric-lake-views"
workspace = "{workspace}"
lakehouse = "{lakehouse}"
after = ["orders"]

[targets.summary]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "summary"
after = ["report"]
"""


class FunctionsHost:
    """The host in front of the function app: it lets calls in that have the function's key, or is not there."""

    def __init__(self) -> None:
        self.key = KEY
        self.away = False
        self.requests: list[Request] = []

    def respond(self, request: Request) -> Answer | None:
        """As https://learn.microsoft.com/azure/azure-functions/function-keys-how-to has it: without the key, 401."""
        self.requests.append(request)
        if self.away:
            return None
        name = request.path.removeprefix("/api/refresh/")
        if request.method != "POST" or name == request.path:
            return Answer(404)
        if not hmac.compare_digest(request.headers.get("x-functions-key", ""), self.key):
            return Answer(401)
        url = f"https://app.example{request.path}"
        found = app.refresh(func.HttpRequest("POST", url, route_params={"target": name}, body=request.body))
        return Answer(found.status_code, dict(found.headers), found.get_body())


class Account:
    """STS and EventBridge in front of the emulated account: a role is assumed, and used, as the template says."""

    def __init__(self, entra: Entra, aws: LocalAws) -> None:
        self._entra = entra
        self._aws = aws
        self._sessions: dict[str, Credentials] = {}
        self._tokens: set[str] = set()
        self.principal = US.object_id
        self.away = False
        self.refusals: list[str] = []
        self.entries: list[dict[str, Any]] = []

    @property
    def secrets(self) -> set[str]:
        """Every token and every secret of a session that was seen."""
        return self._tokens.union(*((each.secret_key, each.token) for each in self._sessions.values()))

    def respond(self, request: Request) -> Answer | None:
        """One of the two services, by what is asked."""
        if self.away:
            return None
        if request.headers.get("x-amz-target") == "AWSEvents.PutEvents":
            return self._put(request)
        return self._assume({name: values[0] for name, values in parse_qs(request.body.decode()).items()})

    def _assume(self, form: Mapping[str, str]) -> Answer:
        """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html."""
        assert (form["Action"], form["Version"]) == ("AssumeRoleWithWebIdentity", "2011-06-15")
        self._tokens.add(form["WebIdentityToken"])
        claims = self._entra.tokens.claims(form["WebIdentityToken"])
        if isinstance(claims, TokenRefusal) or claims["iss"] != f"https://sts.windows.net/{TENANT}/":
            return self._refused(400, "InvalidIdentityToken")
        values = {"AWS::Partition": "aws", "AWS::AccountId": "123456789012", "AzureTenant": TENANT}
        values |= {"AzureAudience": AUDIENCE, "AzurePrincipal": self.principal}
        [trust] = json.loads(filled(signal_role()["AssumeRolePolicyDocument"]["Fn::Sub"], values))["Statement"]
        provider = trust["Principal"]["Federated"].partition("oidc-provider/")[2]
        known = {f"{provider}:{name}": claims[name] for name in ("aud", "sub")}
        if form["RoleArn"] != ROLE or trust["Condition"] != {"StringEquals": known}:
            return self._refused(403, "AccessDenied")
        made = Credentials(f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32))
        self._sessions[made.access_key] = made
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        members = {"AccessKeyId": made.access_key, "SecretAccessKey": made.secret_key, "SessionToken": made.token}
        body = "".join(f"<{name}>{value}</{name}>" for name, value in {**members, "Expiration": ends}.items())
        name = "AssumeRoleWithWebIdentity"
        return Answer(
            200, {}, f"<{name}Response><{name}Result><Credentials>{body}</Credentials></{name}Result>".encode()
        )

    def _put(self, request: Request) -> Answer:
        """PutEvents, by who signed it, and as far as the role's policy lets."""
        if not self._is_signed(request):
            return Answer(400, {}, b'{"__type":"InvalidSignatureException"}')
        [policy] = signal_role()["Policies"]
        [statement] = policy["PolicyDocument"]["Statement"]
        for entry in json.loads(request.body)["Entries"]:
            only = {"events:source": entry["Source"], "events:detail-type": entry["DetailType"]}
            bus = statement["Resource"]["Fn::Sub"].rpartition("/")[2]
            if statement["Condition"] != {"StringEquals": only} or entry["EventBusName"] != bus:
                return Answer(400, {}, b'{"__type":"AccessDeniedException"}')
            self.entries.append(entry)
        answer = self._aws.client("events").put_events(Entries=json.loads(request.body)["Entries"])
        body = {"FailedEntryCount": answer["FailedEntryCount"], "Entries": answer["Entries"]}
        return Answer(200, {}, json.dumps(body).encode())

    def _is_signed(self, request: Request) -> bool:
        """Whether the SDK's own signer comes to the same signature, with the secret of the session that is named."""
        said = request.headers["authorization"]
        key_id = said.partition("Credential=")[2].partition("/")[0]
        session = self._sessions.get(key_id)
        if session is None or request.headers["x-amz-security-token"] != session.token:
            return False
        names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        again = AWSRequest("POST", f"http://{request.host}/", data=request.body)
        for name in names:
            again.headers[name] = request.headers[name]
        again.context["timestamp"] = request.headers["x-amz-date"]
        signer = SigV4Auth(session, "events", "eu-central-1")
        text = signer.string_to_sign(again, signer.canonical_request(again))
        return hmac.compare_digest(signer.signature(text, again), said.partition("Signature=")[2])

    def _refused(self, status: int, code: str) -> Answer:
        self.refusals.append(code)
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
        return Answer(status, {}, body.encode())


def signal_role() -> dict[str, Any]:
    """The role of the template in which the function on Azure signals."""
    return sam_template.resources("AWS::IAM::Role")["SignalRole"]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text of `Fn::Sub` with its values."""
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


class AzureSide:
    """The function app on the emulated Fabric, with the parts that it is deployed with, but for state and wakes."""

    def __init__(self, fabric: FabricEmulator, account_url: str, clock: HandClock) -> None:
        self.clock = clock
        self.fabric = fabric
        self.store, self.waker, self.yard = MemoryStore(), MemoryWaker(clock), Yard()
        self.told: list[LogEvent] = []
        self.configuration = Configuration(())
        found = Settings(Path("unstale.toml"), fabric_url=fabric.url, sts_url=account_url, events_url=account_url)
        self._found = found
        self._parts = wiring.Parts(found, lambda: self.configuration)
        self.shell = Shell(lambda: self.configuration, self._make_ports, lambda _: self.yard, Telemetry())

    def _make_ports(self, configuration: Configuration, deadline: Deadline) -> Ports:
        return wiring.ports(
            self.store,
            self.waker,
            found=self._found,
            configuration=configuration,
            parts=self._parts,
            emit=self.told.append,
            clock=self.clock,
            deadline=deadline,
        )

    def tick(self) -> None:
        """The one-minute timer fires."""
        self.shell.tick()

    def state(self, name: str) -> State:
        """What is known of a target."""
        return read_state(self.store.load(self.configuration.by_name[name].key).body)

    def bodies(self) -> Iterator[str]:
        """All that is stored."""
        return (self.store.load(key).body.decode() for key in self.store.keys("", 100)[0])

    def forget_sessions(self) -> None:
        """Begin a new process."""
        self._parts = wiring.Parts(self._found, lambda: self.configuration)

    def starts(self) -> int:
        """Runs that Fabric saw."""
        return len(self.fabric.journal().entries())


class TwoClouds:
    """Both sides, on one clock, with the configuration that both are packaged with."""

    def __init__(self, host: FunctionsHost, account: Account, aws: Host, azure: AzureSide) -> None:
        self.host, self.account, self.aws, self.azure = host, account, aws, azure
        self.clock = azure.clock

    def seconds(self, number: int) -> None:
        """Let time pass; both sides tick, and take what waits in their queues."""
        self.clock.move_on(seconds=number)
        self.aws.tick()
        self.azure.tick()
        self.aws.poll()
        for wake in self.azure.waker.take_due():
            self.azure.shell.deliver("unstale-wakes", wake_message(wake).encode())

    def minutes(self, number: int, *, coarse: bool = False) -> None:
        """Let minutes pass, in steps of twenty seconds or, where only the outcome counts, of five minutes."""
        step = 300 if coarse else 20
        for _ in range(0, number * 60, step):
            self.seconds(step)

    def settle(self) -> None:
        """Let time pass until no target owes anything, or has anything to tell."""
        for _ in range(60):
            if not any(map(_is_busy, map(self.state, NAMES))):
                return
            self.seconds(20)
        raise AssertionError({name: self.state(name) for name in NAMES})

    def mend(self) -> None:
        """Have everybody answer, and forget what was asked."""
        self.host.key, self.host.away = KEY, False
        self.account.principal, self.account.away = US.object_id, False
        self.settle_backoff()
        for seen in (self.host.requests, self.account.entries, self.account.refusals, self.azure.told):
            seen.clear()

    def settle_backoff(self) -> None:
        """Let the hour pass for which a side that failed is left alone."""
        if any(self.state(name).outbox.notices for name in ("orders", "report")):
            self.minutes(65, coarse=True)

    def state(self, name: str) -> State:
        """What is known of a target, wherever it is."""
        return self.azure.state(name) if name == "report" else self.aws.state(name)

    def arrive(self) -> None:
        """Let data for `orders` come."""
        self.clock.move_on(seconds=90)  # the minimum interval is over
        self.aws.deliver(aws_host.object_created("orders/1", self.clock.now()))

    def starts(self, table: str) -> int:
        """Runs that Glue saw of a view."""
        return sum(table in entry.resource for entry in self.aws.aws.glue.journal().entries())

    def forget_sessions(self) -> None:
        """Have the function on Azure assume its role anew, as a new process does."""
        self.azure.forget_sessions()

    def request(self, path: str, body: bytes, headers: Mapping[str, str]) -> Request:
        """A call of somebody's."""
        return Request("POST", path, (), headers, body, secure=True)


def _is_busy(state: State) -> bool:
    """Whether something is owed, goes on, or waits to be told."""
    return bool(state.owed or state.run or state.outbox.telling or state.outbox.notices)


@contextmanager
def two_clouds() -> Iterator[TwoClouds]:
    """Both sides, after every target was refreshed for being new, and once more."""
    clock = HandClock()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        entra = stack.enter_context(Entra(clock.now, apps=[TRUSTED], identities=[US], tenant_id=TENANT))
        for name, value in entra.identity_environment.items():
            patch.setenv(name, value)
        glue = GlueSettings(run_time=timedelta(seconds=40))
        aws = stack.enter_context(living_in(LocalAws(clock=clock.now, glue_settings=glue, refresh_events=False)))
        for view in ("orders", "local", "summary"):
            aws.create_view("sales", view)
        aws.client("secretsmanager").create_secret(Name="unstale/azure", SecretString=KEY)
        account, front = Account(entra, aws), FunctionsHost()
        on_aws = stack.enter_context(LoopbackServer(account.respond, clock.now))
        on_azure = stack.enter_context(LoopbackServer(front.respond, clock.now))
        settings = FabricSettings(poll_hints=(5,))
        fabric = stack.enter_context(FabricEmulator(clock.now, entra.tokens.validate, settings=settings))
        views = JobType(LAKE_VIEWS, run_time=timedelta(seconds=40))
        fabric.add_item(Item(WORKSPACE, SALES, "Lakehouse", (views,)))
        azure = AzureSide(fabric, on_aws.url, clock)
        patch.setattr(app, "_made", {"shell": azure.shell})
        ids = {"role": ROLE, "audience": AUDIENCE, "workspace": WORKSPACE, "lakehouse": SALES}
        text = TEXT.format(url=on_azure.url, **ids)
        lambda_host = Host(aws, clock, f"unstale-two-clouds-{next(SERVICES)}", text)  # type: ignore[arg-type]
        azure.configuration = replace(load(text), generation=T0)
        lambda_host.deploy(azure.configuration)
        here = TwoClouds(front, account, lambda_host, azure)
        for _ in range(24):
            here.seconds(60)
        yield here
