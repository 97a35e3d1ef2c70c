"""Followers on the other cloud: signalled in their turn, each until it was, and never in the way of anything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SdkCredentials
from msgspec.structs import replace

from shared.destinations import Destination
from shared.outcomes import signal_bus
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.function_app import FunctionApp
from shared.outcomes.sending import Office, Sending
from shared.outcomes.signal_bus import Endpoints, SignalBus
from shared.outcomes.sigv4 import Credentials, sign
from shared.outcomes.webhook import Secrets
from shared.platforms.failures import MISCONFIGURED
from shared.refresh import records
from shared.refresh.engine import Engine
from shared.refresh.failure import Failure
from shared.refresh.outbox import note_event
from shared.refresh.ports import Phase
from shared.refresh.state import Addressee, Outbox, Owed, Situation, State
from shared.targets import Cloud
from tests.support.core import GLUE, NOON, Bench, HandClock, ScriptedPlatform, a_run, at, report, seconds

HOOK = Destination("webhook", url="https://example.com")
AZURE = Destination("azure", ("refreshed",), "signal", url="https://app.example", key_secret="key")
FIRST = replace(AZURE, follower="first", upstreams=("daily", "other"))
SECOND = replace(AZURE, follower="second", upstreams=("daily",))
ELSEWHERE = replace(AZURE, follower="third", upstreams=("other",))
DOWN, UNKNOWN = SendFailure("no answer: ConnectTimeout"), SendFailure("status 410", for_good=True)


class Post:
    """Takes signals and events, and gives the answers that a test wants."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.tried: list[str] = []
        self.answer: Callable[[str], SendFailure | None] = lambda _to: None

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Take an event, unless it is to fail."""
        to = destination.follower or destination.to
        self.tried.append(to)
        failure = self.answer(to)
        if failure is None:
            self.taken.append((to, event.body.decode() if destination.follower else event.id.rpartition("/")[2]))
        return failure


class Upstream(Bench):
    """An engine with a target that others on another cloud come after."""

    def __init__(self, *destinations: Destination) -> None:
        quick = replace(GLUE, call_timeout=seconds(5))
        super().__init__(platform=ScriptedPlatform(quick, get=[report(Phase.SUCCEEDED)]))
        self.post = Post()
        self.destinations = destinations

    def look(self, time: float) -> None:
        """Look at the target at that time, and tell."""
        self.at(time)
        senders = {"azure": self.post, "webhook": self.post}
        office = Office(self.store, self.clock, senders, "/unstale", GLUE, self.told.append)
        ports = replace(self.ports, outcomes=lambda package: Sending(office, package))
        package = replace(self.configuration.package(Cloud.AWS), destinations=self.destinations)
        engine = Engine(package, ports, ends_at=self.clock.monotonic() + 9)
        engine.reconcile(self.target())
        engine.tell()

    def refreshed(self, *ends: float, kind: str = "refreshed") -> None:
        """Have the ends of runs wait, due now."""
        outbox = self.state().outbox
        for end in ends:
            outbox = note_event(outbox, kind, at(end), "", at(end))
        now = self.clock.now()
        self.put(State(outbox=replace(outbox, next_at=now), wake_at=now))

    def run(self) -> None:
        """Have a run go on that ends well when it is looked at."""
        run = replace(a_run(Situation.RUNNING, covering=Owed(at(-100), at(-100))), next_look_at=NOON)
        self.put(State(run=run, last_claim_at=NOON, wake_at=NOON))

    @property
    def outbox(self) -> Outbox:
        """What the target has to tell."""
        return self.state().outbox


def signal(end: float) -> str:
    """The signal of a run of the target that ended then."""
    return msgspec.json.encode({"upstream": "daily", "time": at(end)}).decode()


def test_a_success_is_told_to_the_followers_on_the_other_cloud_by_the_invocation_that_sees_it() -> None:
    """With the upstream's name and the end of its run; followers of other targets hear nothing of it."""
    bench = Upstream(ELSEWHERE, FIRST, SECOND)
    bench.run()
    bench.look(0)
    ended_at = records.read_ended(bench.store.history(bench.target().key, 1)[0]).ended_at
    body = msgspec.json.encode({"upstream": "daily", "time": ended_at}).decode()
    assert bench.post.taken == [("first", body), ("second", body)]
    assert bench.outbox == Outbox(last_number=1)
    assert bench.state().wake_at is None


def test_a_target_without_followers_elsewhere_notes_nothing_for_them() -> None:
    """No event is kept, and nothing is saved, for others' followers."""
    bench = Upstream(ELSEWHERE)
    bench.run()
    bench.look(0)
    assert (bench.post.tried, bench.outbox) == ([], Outbox())


def test_a_follower_is_told_the_last_end_alone() -> None:
    """What a signal at an earlier time asks for, one at a later time asks for, too; others get every event."""
    bench = Upstream(HOOK, FIRST)
    bench.refreshed(0, 10, 20)
    bench.refreshed(30, kind="late")
    bench.look(40)
    assert bench.post.taken == [
        ("webhook", "1"),
        ("webhook", "2"),
        ("webhook", "3"),
        ("webhook", "4"),
        ("first", signal(20)),
    ]


def test_a_cloud_that_is_away_for_days_loses_nothing_and_fills_no_record() -> None:
    """One try for all its followers a time, 1 minute to 1 hour apart; one end waits, and is told when it is back."""
    bench = Upstream(FIRST, SECOND)
    bench.post.answer = lambda _to: DOWN
    now, waits = 0.0, []
    for number in range(1, 11):
        bench.at(now)
        bench.refreshed(now)
        bench.look(now)
        next_at = bench.outbox.next_at
        assert next_at
        waits.append((next_at - at(now)).total_seconds())
        assert [notice.number for notice in bench.outbox.notices] == [number]
        now = (next_at - NOON).total_seconds()
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    assert bench.post.tried == ["first"] * 10
    kept = records.read_as(bench.store.load(records.destination_key(AZURE.digest)).body, Addressee)
    assert (kept.failures, kept.why) == (10, "no answer: ConnectTimeout")
    bench.post.answer = lambda _to: None
    bench.look(now)
    last = signal(now - 3600)
    assert bench.post.taken == [("first", last), ("second", last)]
    assert (bench.outbox.notices, bench.state().wake_at) == ((), None)
    kept = records.read_as(bench.store.load(records.destination_key(AZURE.digest)).body, Addressee)
    assert kept == Addressee()


def test_a_cloud_that_is_away_is_no_trouble_of_other_destinations() -> None:
    """They get what they want meanwhile, and nothing twice."""
    bench = Upstream(FIRST, HOOK)
    bench.post.answer = lambda to: DOWN if to == "first" else None
    bench.refreshed(0)
    bench.look(0)
    bench.look(60)
    assert bench.post.taken == [("webhook", "1")]


def test_a_follower_that_is_not_known_there_keeps_no_other_one_waiting() -> None:
    """Its package may come soon: it is asked again each hour, and nothing is dropped."""
    bench = Upstream(FIRST, SECOND)
    bench.post.answer = lambda to: UNKNOWN if to == "first" else None
    bench.refreshed(0)
    bench.look(0)
    assert bench.post.taken == [("second", signal(0))]
    assert (bench.outbox.next_at, len(bench.outbox.notices)) == (at(3600), 1)
    assert bench.store.load(records.destination_key(AZURE.digest)).body == b""
    bench.post.answer = lambda _to: None
    bench.look(3600)
    assert bench.post.taken == [("second", signal(0)), ("first", signal(0))]
    assert bench.outbox.notices == ()


def test_a_follower_under_another_name_is_told_what_the_old_name_was_not() -> None:
    """Renamed over there first, it was not known by the old name; the package with the new name tells it at once."""
    bench = Upstream(FIRST)
    bench.post.answer = lambda _to: UNKNOWN
    bench.refreshed(0)
    bench.look(0)
    bench.destinations = (replace(FIRST, follower="renamed"),)
    bench.post.answer = lambda _to: None
    bench.refreshed()
    bench.look(60)
    assert bench.post.taken == [("renamed", signal(0))]
    assert bench.outbox.notices == ()


# --- To Azure --------------------------------------------------------------------------------------------------------

EVENT = EncodedEvent(
    "k/1", "unstale.refreshed", "/unstale", "daily", NOON, "application/json", b'{"upstream":"daily"}', ""
)


class App:
    """A function app that keeps what is posted to it, or is not there."""

    def __init__(self, status: int = 202) -> None:
        self.status = status
        self.posted: list[tuple[str, dict[str, str], bytes]] = []

    def post(self, url: str, headers: Any, body: bytes) -> int:
        """Take a request."""
        self.posted.append((url, dict(headers), body))
        if not self.status:
            raise ConnectionError("a text with planted-key in it")
        return self.status


def to_azure(app: App, key: str | SendFailure = "planted-key") -> SendFailure | None:
    """Send a signal to the app."""
    return FunctionApp(app.post, Secrets(lambda _name: key, HandClock())).send(FIRST, EVENT)


def test_a_signal_to_azure_goes_to_the_configured_app_alone_with_its_key() -> None:
    """The key is in a header, where no log of addresses shows it."""
    app = App()
    assert to_azure(app) is None
    [(url, headers, body)] = app.posted
    assert (url, body) == ("https://app.example/api/refresh/first", EVENT.body)
    assert headers == {"x-functions-key": "planted-key", "Content-Type": "application/json"}


@pytest.mark.parametrize("status", [0, 307, 400, 401, 403, 404, 429, 500, 503])
def test_no_trouble_with_the_app_is_for_good(status: int) -> None:
    """A wrong key, an app without functions, or one that is not there, are mended by somebody; the signal waits."""
    failure = to_azure(App(status))
    assert failure
    assert not failure.for_good
    assert "planted" not in failure.why


def test_only_the_app_itself_refuses_a_follower() -> None:
    """410 is what it says of a target that its configuration has not."""
    assert to_azure(App(410)) == SendFailure("status 410", for_good=True)


@pytest.mark.parametrize("key", ["", SendFailure("the secret key cannot be read")])
def test_without_a_key_nothing_is_posted(key: str | SendFailure) -> None:
    """A secret that is empty opens nothing."""
    app = App()
    failure = to_azure(app, key)
    assert failure
    assert (failure.for_good, app.posted) == (False, [])


# --- To AWS ----------------------------------------------------------------------------------------------------------

ROLE = "arn:aws:iam::123456789012:role/unstale-from-azure"
AWS = Destination("aws", ("refreshed",), "signal", role=ROLE, region="eu-central-1", audience="api://unstale-aws")
DAILY = replace(AWS, follower="daily", upstreams=("daily",))
CREDENTIALS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAPLANTED</AccessKeyId>
<SecretAccessKey>planted/secret+key=</SecretAccessKey><SessionToken>planted-session-token</SessionToken>
<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>Not authorized: planted-token</Message></Error></ErrorResponse>"""


class Account:
    """An AWS account as two endpoints: it answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.sts = (200, (CREDENTIALS % (NOON + timedelta(hours=1)).isoformat()).encode())
        self.events = (200, b'{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}')
        self.given: str | Failure = "planted-token"
        self.refusals: list[str] = []
        self.bus = SignalBus(self.exchange, self, self.clock, Endpoints())

    def exchange(self, url: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        """Answer one request."""
        self.asked.append((url, dict(headers), body))
        if url.startswith("https://sts"):
            return self.sts
        return self.events

    def token(self) -> str | Failure:
        """The identity's token."""
        return self.given

    def forget(self, token: str) -> None:
        """STS did not accept it."""
        self.refusals.append(token)

    def urls(self) -> list[str]:
        """The addresses that were asked."""
        return [url for url, _, _ in self.asked]


STS, EVENTS = "https://sts.eu-central-1.amazonaws.com/", "https://events.eu-central-1.amazonaws.com/"


def test_a_signal_to_aws_is_put_in_a_role_that_is_assumed_by_the_identitys_token() -> None:
    """The token goes to STS alone, the credentials to EventBridge alone; no key is stored anywhere."""
    account = Account()
    assert account.bus.send(DAILY, EVENT) is None
    (sts, _, form), (events, headers, body) = account.asked
    assert (sts, events) == (STS, EVENTS)
    assert parse_qs(form.decode()) == {
        "Action": ["AssumeRoleWithWebIdentity"],
        "Version": ["2011-06-15"],
        "RoleArn": [ROLE],
        "RoleSessionName": ["unstale"],
        "WebIdentityToken": ["planted-token"],
    }
    [entry] = msgspec.json.decode(body)["Entries"]
    assert msgspec.json.decode(entry.pop("Detail")) == {"target": "daily", "upstream": "daily"}
    assert entry == {"Source": "unstale.azure", "DetailType": "unstale.signal", "EventBusName": "default"}
    assert headers["x-amz-security-token"] == "planted-session-token"
    assert "planted-token" not in str(headers) + body.decode()


def test_credentials_are_kept_until_shortly_before_they_end() -> None:
    """One session an hour, whatever is told."""
    account = Account()
    for minutes in (0, 54, 1):
        account.clock.time += timedelta(minutes=minutes)
        account.bus.send(DAILY, EVENT)
    assert account.urls() == [STS, EVENTS, EVENTS, STS, EVENTS]


@pytest.mark.parametrize("status", [400, 403])
def test_a_token_that_is_refused_is_not_shown_again(status: int) -> None:
    """The next try has a new one. Nothing of it is repeated, and nothing of this is for good."""
    account = Account()
    account.sts = (status, REFUSED.encode())
    failure = account.bus.send(DAILY, EVENT)
    assert failure
    assert failure.why.startswith(f"STS refused, status {status}: AccessDenied; does the role trust this identity")
    assert (failure.for_good, account.refusals, account.urls()) == (False, ["planted-token"], [STS])
    assert "planted" not in failure.why


@pytest.mark.parametrize("answer", [(500, b""), (200, b"<html>"), (200, b"\xff")])
def test_an_sts_that_has_no_credentials_is_trouble_for_now(answer: tuple[int, bytes]) -> None:
    """The token is not at fault."""
    account = Account()
    account.sts = answer
    failure = account.bus.send(DAILY, EVENT)
    assert failure
    assert (failure.for_good, account.refusals, account.urls()) == (False, [], [STS])


def test_without_a_token_nobody_is_asked() -> None:
    """As where the audience is of no app registration."""
    account = Account()
    account.given = MISCONFIGURED.failure("invalid_scope", "no such audience")
    failure = account.bus.send(DAILY, EVENT)
    assert failure
    assert "api://unstale-aws" in failure.why
    assert (failure.for_good, account.asked) == (False, [])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((400, b'{"__type":"com.amazonaws.events#ExpiredTokenException"}'), "status 400: ExpiredTokenException"),
        ((400, b'{"__type":"AccessDeniedException"}'), "status 400: AccessDeniedException"),
        ((503, b"<html>"), "status 503: "),
        (
            (200, b'{"FailedEntryCount":1,"Entries":[{"ErrorCode":"InternalFailure"}]}'),
            "EventBridge took no entry: InternalFailure",
        ),
        ((200, b"?"), "no answer: DecodeError"),
    ],
)
def test_no_refusal_of_eventbridges_is_for_good(answer: tuple[int, bytes], why: str) -> None:
    """The signal waits for whoever mends it; credentials that may be at fault are made anew."""
    account = Account()
    account.events = answer
    assert account.bus.send(DAILY, EVENT) == SendFailure(why)
    account.bus.send(DAILY, EVENT)
    assert account.urls()[2:] == ([STS, EVENTS] if answer[0] == 400 else [EVENTS])


@pytest.mark.parametrize(
    ("role", "region", "host"),
    [
        ("arn:aws-cn:iam::123456789012:role/r", "cn-north-1", "cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:iam::123456789012:role/r", "us-gov-west-1", "us-gov-west-1.amazonaws.com"),
    ],
)
def test_each_partition_has_its_own_addresses(role: str, region: str, host: str) -> None:
    """China's end otherwise."""
    assert signal_bus._address("sts", replace(AWS, role=role, region=region)) == f"https://sts.{host}/"


@pytest.mark.parametrize("time", [NOON, datetime(2026, 12, 31, 23, 59, 59, tzinfo=NOON.tzinfo)])
def test_requests_are_signed_as_the_sdk_signs_them(time: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against botocore's own signer, to the last character."""
    ours = Credentials("ASIAPLANTED", "planted/secret+key=", "session-token", time)
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents"}
    made = sign(EVENTS, headers, b'{"Entries":[]}', ours, scope=("eu-central-1", "events"), now=time)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: time.replace(tzinfo=None))
    request = AWSRequest("POST", EVENTS, headers=headers, data=b'{"Entries":[]}')
    theirs = SdkCredentials("ASIAPLANTED", "planted/secret+key=", "session-token")
    SigV4Auth(theirs, "events", "eu-central-1").add_auth(request)
    assert made["authorization"] == request.headers["Authorization"]
    assert made["x-amz-date"] == request.headers["X-Amz-Date"]
    assert "planted" not in repr(ours)
