"""Outcome events from the Lambda, onto a bus, to a topic and to webhooks on loopback, and read where they arrive."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.stub import Stubber
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from msgspec.structs import replace

from functions_aws import tell, wiring
from functions_aws.clients import Clients
from functions_aws.settings import read
from functions_aws.telemetry import Telemetry
from functions_aws.tell import secrets_of, senders
from local.emulators.aws.emulator import LocalAws
from local.emulators.glue.emulator import GlueSettings
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.destinations import Destination
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.sending import Sender
from tests.support.aws_host import CONFIGURATION, NOON, HandClock, Host, clients_to_nowhere, living_in, object_created

SERVICES = count(1)
SECRET = "whsec_" + b64encode(b"planted signing secret").decode()
REDIRECTED = 307
PATH = "/services/T0000/planted-path-of-a-secret"


AN_EVENT = EncodedEvent("k/1", "unstale.late", "/unstale", "daily", NOON, "application/json", b"{}", "daily is late")


class Receiver:
    """A web server that takes letters, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200

    def respond(self, request: Request) -> Answer:
        """Keep the letter."""
        self.requests.append(request)
        return Answer(self.status, {"Location": "/elsewhere"} if self.status == REDIRECTED else {})


@pytest.fixture(name="receiver")
def a_receiver() -> Iterator[tuple[Receiver, str]]:
    """A receiver, and its address."""
    receiver = Receiver()
    with LoopbackServer(receiver.respond, HandClock().now) as server:
        yield receiver, server.url


class TellingHost:
    """The Lambda's shell, with a view and the places that its events go to."""

    def __init__(self, host: Host, tell: str) -> None:
        self.host = host
        host.configure(CONFIGURATION + tell)

    def minutes(self, number: int) -> None:
        """Let ticks come."""
        for _ in range(number):
            self.host.tick()
            self.host.clock.move_on(minutes=1)

    def letters(self, queue: str) -> list[Any]:
        """What arrived in a queue, taken out."""
        sqs, url = self.host.aws.client("sqs"), self.host.aws.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
        found = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found


@pytest.fixture(name="host")
def make_host() -> Iterator[Host]:
    """The shell in an AWS whose events of ours go into a queue, and which has two secrets."""
    clock = HandClock()
    settings = GlueSettings(run_time=timedelta(seconds=40))
    with living_in(LocalAws(clock=clock.now, glue_settings=settings, refresh_events=False)) as aws:
        for view in ("daily", "weekly"):
            aws.create_view("sales", view)
        sqs = aws.client("sqs")
        url = sqs.create_queue(QueueName="outcomes")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events = aws.client("events")
        events.put_rule(Name="outcomes", EventPattern=json.dumps({"source": ["unstale"]}))
        events.put_targets(Rule="outcomes", Targets=[{"Id": "queue", "Arn": arn}])
        yield Host(aws, clock, f"unstale-tell-{next(SERVICES)}")


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is slow; one test is about the time that a letter may take."""
    monkeypatch.setattr(tell, "SEND_SECONDS", 60.0)


def senders_of(clients: Clients, clock: HandClock) -> Mapping[str, Sender]:
    """Who sends, with secrets that are kept for this test."""
    return senders(clients, secrets_of(clients, clock), clock)


BUS = '\n[[tell]]\nto = "eventbridge"\n'


def test_a_refresh_is_told_on_the_bus(host: Host) -> None:
    """As a CloudEvent in the event's detail: the view, the run, how it stands, a sentence; each once, in order."""
    telling = TellingHost(host, BUS)
    telling.minutes(4)
    letters = telling.letters("outcomes")
    assert {letter["source"] for letter in letters} == {"unstale"}
    assert [letter["detail-type"] for letter in letters] == ["unstale.refreshed"] * 2
    event = JSONFormat().read(CloudEvent, json.dumps(letters[0]["detail"]).encode())
    assert event.get_type() == "unstale.refreshed"
    name = str(event.get_subject())
    assert event.get_id() == f"{host.configuration.by_name[name].key}/1"
    data: Any = event.get_data()
    assert data["run"]["outcome"] == "succeeded"
    assert (data["name"], data["verdict"]) == (name, "fresh")
    assert data["message"].startswith(f"{name} was refreshed.")
    assert host.state("daily").outbox.notices == ()


def test_lateness_is_told_and_its_end(host: Host) -> None:
    """The objective passes while a refresh goes on: at once, not when somebody happens to look."""
    telling = TellingHost(host, BUS)
    telling.minutes(4)
    telling.letters("outcomes")
    text = CONFIGURATION.replace('table = "daily"', 'table = "daily"\nobjective = "1m"\nmin_interval = "10m"')
    host.configure(text + BUS)
    host.deliver(object_created("orders/1", host.clock.now()))
    telling.minutes(12)
    told = [letter["detail"] for letter in telling.letters("outcomes") if letter["detail"]["subject"] == "daily"]
    assert [event["type"] for event in told][:3] == ["unstale.late", "unstale.refreshed", "unstale.recovered"]
    assert [event["id"].rpartition("/")[2] for event in told][:3] == ["2", "3", "4"]
    assert told[0]["data"]["verdict"] == "late"


TOPIC = '\n[[tell]]\nto = "sns"\ntopic = "arn:aws:sns:eu-central-1:123456789012:views"\n'


def test_a_refresh_is_published_to_a_topic(host: Host) -> None:
    """With a subject for readers of mail, and the type as an attribute that subscriptions can filter by."""
    sns, sqs = host.aws.client("sns"), host.aws.client("sqs")
    arn = sns.create_topic(Name="views")["TopicArn"]
    queue = sqs.get_queue_url(QueueName="outcomes")["QueueUrl"]
    named = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=named)
    telling = TellingHost(host, TOPIC)
    telling.minutes(4)
    letters = telling.letters("outcomes")
    assert {letter["TopicArn"] for letter in letters} == {arn}
    assert sorted(letter["Subject"] for letter in letters) == ["daily was refreshed", "weekly was refreshed"]
    assert {letter["MessageAttributes"]["type"]["Value"] for letter in letters} == {"unstale.refreshed"}
    event = JSONFormat().read(CloudEvent, letters[0]["Message"].encode())
    assert event.get_source().startswith("/unstale/aws/unstale-tell-")


def test_beside_an_alarm_a_mail_names_the_view(host: Host, tmp_path: Path) -> None:
    """To the topic of the alarms, where that sends mail: which view is late, since when, why, what to type."""
    sns, sqs = host.aws.client("sns"), host.aws.client("sqs")
    arn = sns.create_topic(Name="alarms")["TopicArn"]
    queue = sqs.get_queue_url(QueueName="outcomes")["QueueUrl"]
    named = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=named)
    host.tick()
    host.clock.move_on(minutes=1)
    host.tick()
    config = tmp_path / "unstale.toml"
    config.write_text(
        CONFIGURATION.replace('table = "daily"', 'table = "daily"\nobjective = "1m"\nmin_interval = "10m"')
    )
    variables = {"UNSTALE_CONFIG": str(config), "UNSTALE_ALARM_TOPIC": arn}
    found = wiring.configuration(read({**host.aws.environment({}), **variables}))
    host.deploy(replace(found, generation=host.clock.now()))
    host.deliver(object_created("orders/1", host.clock.now()))
    for _ in range(5):
        host.tick()
        host.clock.move_on(minutes=1)
    [mail] = [
        json.loads(each["Body"]) for each in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    ]
    assert (mail["TopicArn"], mail["Subject"]) == (arn, "daily is late")
    assert "View: daily\nStale since: 2026-01-31 12:01Z\n" in mail["Message"]
    assert "Why: 60 s beyond its objective: a refresh" in mail["Message"]
    assert "- unstale explain daily says more" in mail["Message"]


@pytest.mark.parametrize(
    ("headline", "subject"),
    [
        ("sales is late", "sales is late"),
        ("größe is late", "gr??e is late"),
        ("a\r\nBcc: b\x7f is late", "a??Bcc: b? is late"),
        ("x" * 200, "x" * 99),
        ("x" * 98 + "ß is late", "x" * 98 + "?"),
    ],
)
def test_a_subject_is_one_that_sns_takes(headline: str, subject: str) -> None:
    """Less than 100 characters, ASCII, no line break: with any other the whole letter would be refused, for good."""
    clients = clients_to_nowhere("sns")
    topic = "arn:aws:sns:eu-central-1:123456789012:views"
    expected = {
        "TopicArn": topic,
        "Message": "{}",
        "Subject": subject,
        "MessageAttributes": {"type": {"DataType": "String", "StringValue": "unstale.late"}},
    }
    with Stubber(clients.sns) as stub:
        stub.add_response("publish", {"MessageId": "m"}, expected)
        place = Destination("sns", topic=topic)
        assert senders_of(clients, HandClock())["sns"].send(place, replace(AN_EVENT, headline=headline)) is None
        stub.assert_no_pending_responses()


def test_a_first_in_first_out_topic_keeps_order_and_drops_repetitions(host: Host) -> None:
    """Of each target the letters come one by one in order, a letter that is sent again is dropped, and no target
    waits for another: a group each. SNS refuses a letter without a group.
    """
    sns, sqs = host.aws.client("sns"), host.aws.client("sqs")
    fifo = {"FifoQueue": "true"}
    queue = sqs.create_queue(QueueName="letters.fifo", Attributes=fifo)["QueueUrl"]
    named = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = sns.create_topic(Name="views.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=named, Attributes={"RawMessageDelivery": "true"})
    sender, place = senders_of(host.clients, host.clock)["sns"], Destination("sns", topic=topic)
    for subject, number in (("daily", 1), ("daily", 2), ("weekly", 1), ("daily", 1)):
        event = replace(AN_EVENT, id=f"{subject}/{number}", subject=subject, body=f"{subject}/{number}".encode())
        assert sender.send(place, event) is None
    asked = {"QueueUrl": queue, "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
    got = [(each["Body"], each["Attributes"]["MessageGroupId"]) for each in sqs.receive_message(**asked)["Messages"]]
    assert [body for body, group in got if group == got[0][1]] == ["daily/1", "daily/2"]
    assert [body for body, group in got if group != got[0][1]] == ["weekly/1"]


@pytest.mark.parametrize(
    ("code", "for_good"),
    [("InternalFailure", False), ("ThrottlingException", False), ("MalformedDetail", True), ("NotAuthorized", True)],
)
def test_an_entry_that_the_bus_refuses_is_not_taken_for_told(code: str, for_good: bool) -> None:
    """PutEvents answers 200 all the same, and says in `FailedEntryCount` and the entry what became of it."""
    clients = clients_to_nowhere("events")
    with Stubber(clients.events) as stub:
        answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "words"}]}
        stub.add_response("put_events", answer)
        failure = senders_of(clients, HandClock())["eventbridge"].send(Destination("eventbridge"), AN_EVENT)
    assert failure == SendFailure(f"{code}: words", for_good)


# --- Webhooks --------------------------------------------------------------------------------------------------------


def test_a_webhook_gets_a_signed_letter(host: Host, receiver: tuple[Receiver, str]) -> None:
    """Signed as Standard Webhooks has it: over the id, the time and the body, with the secret's bytes."""
    took, url = receiver
    host.aws.client("secretsmanager").create_secret(Name="signing", SecretString=SECRET)
    TellingHost(host, f'\n[[tell]]\nto = "webhook"\nurl = "{url}/hook"\nsigning_secret = "signing"\n').minutes(4)
    assert [request.path for request in took.requests] == ["/hook"] * 2
    request = took.requests[0]
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["content-type"] == "application/cloudevents+json"
    event = JSONFormat().read(CloudEvent, request.body)
    assert headers["webhook-id"] == event.get_id()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    expected = b64encode(hmac.digest(b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_secret_address_is_posted_to_and_never_shown(
    host: Host, receiver: tuple[Receiver, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not where it answers, nor where it fails, nor where nobody is there: not in a log, a record, or a letter."""
    took, url = receiver
    secrets = host.aws.client("secretsmanager")
    secrets.create_secret(Name="slack", SecretString=f"{url}{PATH}")
    secrets.create_secret(Name="nobody", SecretString=f"http://127.0.0.1:9{PATH}")
    took.status = 500
    tells = "".join(
        f'\n[[tell]]\nto = "webhook"\nurl_secret = "{name}"\nformat = "{kind}"\n'
        for name, kind in (("slack", "slack"), ("nobody", "teams"))
    )
    TellingHost(host, tells).minutes(4)
    assert {request.path for request in took.requests} == {PATH}
    printed = capsys.readouterr().out
    assert "outcome not sent" in printed
    stored = b"".join(host.ports.store.load(key).body for key in host.ports.store.keys("", 100)[0])
    bodies = b"".join(request.body for request in took.requests)
    assert "planted" not in printed
    assert b"planted" not in stored + bodies


def test_libraries_show_no_secret_at_the_level_of_debug(
    host: Host, receiver: tuple[Receiver, str], caplog: pytest.LogCaptureFixture
) -> None:
    """LogLevel may be DEBUG, which Lambda's runtime gives the root logger: neither what Secrets Manager answers nor
    where a letter is posted is logged.
    """
    _, url = receiver
    secrets = host.aws.client("secretsmanager")
    secrets.create_secret(Name="slack", SecretString=f"{url}{PATH}")
    secrets.create_secret(Name="signing", SecretString=SECRET)
    caplog.set_level(logging.DEBUG)
    for name in ("botocore", "urllib3"):
        caplog.set_level(logging.NOTSET, name)
    Telemetry(f"unstale-tell-{next(SERVICES)}")
    webhook = senders_of(host.clients, host.clock)["webhook"]
    logging.getLogger("another.library").debug("this line is seen")
    assert webhook.send(Destination("webhook", url_secret="slack", signing_secret="signing"), AN_EVENT) is None
    assert "this line is seen" in caplog.text
    assert "planted-path" not in caplog.text
    assert SECRET not in caplog.text


def test_a_destination_that_fails_is_left_alone_and_gets_all_in_order(
    host: Host, receiver: tuple[Receiver, str]
) -> None:
    """One minute, then two, then four; what it did not get comes later, and nothing of it delays a refresh."""
    took, url = receiver
    took.status = 503
    telling = TellingHost(host, f'\n[[tell]]\nto = "webhook"\nurl = "{url}/hook"\n')
    telling.minutes(4)
    assert host.state("daily").fresh_as_of
    assert host.state("weekly").fresh_as_of
    failed = len(took.requests)
    assert 1 <= failed <= 4
    took.status = 200
    telling.minutes(8)
    events = [JSONFormat().read(CloudEvent, request.body) for request in took.requests[failed:]]
    assert {event.get_subject() for event in events} == {"daily", "weekly"}
    for name in ("daily", "weekly"):
        numbers = [int(event.get_id().rpartition("/")[2]) for event in events if event.get_subject() == name]
        assert numbers == sorted(set(numbers)) != []
        assert host.state(name).outbox.notices == ()


def test_a_letter_that_is_refused_for_good_is_dropped(
    host: Host, receiver: tuple[Receiver, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With a line in the log; the next one is sent all the same."""
    took, url = receiver
    took.status = 400
    TellingHost(host, f'\n[[tell]]\nto = "webhook"\nurl = "{url}/hook"\n').minutes(4)
    assert len(took.requests) == 2
    assert host.state("daily").outbox.notices == ()
    assert "outcome refused" in capsys.readouterr().out


def test_a_redirect_is_not_followed(host: Host, receiver: tuple[Receiver, str]) -> None:
    """What is posted goes where the configuration says, or nowhere."""
    took, url = receiver
    took.status = REDIRECTED
    TellingHost(host, f'\n[[tell]]\nto = "webhook"\nurl = "{url}/hook"\n').minutes(4)
    assert {request.path for request in took.requests} == {"/hook"}


def test_a_receiver_that_does_not_end_is_left_behind(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK bounds each wait for bytes, not the answer: a receiver could outlast the invocation, and all its messages
    came back.
    """
    monkeypatch.setattr(tell, "SEND_SECONDS", 0.1)
    over = Event()

    def hold(_: Request) -> Answer:
        over.wait(10)
        return Answer(200)

    with LoopbackServer(hold, HandClock().now) as server:
        place = Destination("webhook", url=f"{server.url}/hook")
        failure = senders_of(host.clients, host.clock)["webhook"].send(place, AN_EVENT)
        over.set()
    assert failure == SendFailure("no answer in 0.1 s")


def test_whatever_a_client_raises_is_trouble(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore lets through what urllib3 raises over an address of a proxy; the destinations behind have their turn."""

    def fail(**_: object) -> None:
        raise ValueError("Failed to parse: nothing")

    monkeypatch.setattr(host.clients, "events", SimpleNamespace(put_events=fail))
    failure = senders_of(host.clients, host.clock)["eventbridge"].send(Destination("eventbridge"), AN_EVENT)
    assert failure == SendFailure("ValueError: Failed to parse: nothing")


def test_a_secret_is_read_once_in_five_minutes(host: Host, receiver: tuple[Receiver, str]) -> None:
    """A new one is used five minutes later at the latest."""
    secrets, clients = host.aws.client("secretsmanager"), host.clients
    secrets.create_secret(Name="signing", SecretString="one")
    reads: list[str] = []
    clients.secretsmanager.meta.events.register(
        "before-send.secretsmanager.GetSecretValue", lambda request, **_: reads.append(request.url)
    )
    found = secrets_of(clients, host.clock)
    assert (found.read("signing"), found.read("signing")) == ("one", "one")
    secrets.put_secret_value(SecretId="signing", SecretString="two")
    host.clock.move_on(seconds=299)
    assert found.read("signing") == "one"
    host.clock.move_on(seconds=1)
    assert found.read("signing") == "two"
    assert len(reads) == 2


def test_a_secret_that_is_not_there_is_no_refusal(host: Host) -> None:
    """The event waits for somebody to make the secret."""
    webhook = senders_of(host.clients, host.clock)["webhook"]
    failure = webhook.send(Destination("webhook", url_secret="missing"), AN_EVENT)
    assert failure
    assert (failure.for_good, "missing" in failure.why) == (False, True)


def test_a_binary_secret_signs_nothing(host: Host, receiver: tuple[Receiver, str]) -> None:
    """Secrets Manager gives no text for one: the event is not sent without its signature."""
    took, url = receiver
    host.aws.client("secretsmanager").create_secret(Name="binary", SecretBinary=b"planted")
    webhook = senders_of(host.clients, host.clock)["webhook"]
    failure = webhook.send(Destination("webhook", url=f"{url}/hook", signing_secret="binary"), AN_EVENT)
    assert failure == SendFailure("the secret binary is empty: nothing is sent unsigned")
    assert took.requests == []


@pytest.mark.parametrize(
    "address",
    ["http://example.com/hook", "ftp://127.0.0.1/", "nothing", "https://", "http://[", "https://a.test\\@b.test"],
)
def test_a_secret_without_a_safe_address_is_posted_to_nowhere(host: Host, address: str) -> None:
    """https, or this machine; the address is not repeated."""
    host.aws.client("secretsmanager").create_secret(Name="odd", SecretString=address)
    webhook = senders_of(host.clients, host.clock)["webhook"]
    assert webhook.send(Destination("webhook", url_secret="odd"), AN_EVENT) == SendFailure(
        "the secret odd holds no https address"
    )
