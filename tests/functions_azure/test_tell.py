"""Outcome events from the function app, to a topic of Event Grid and to webhooks, with secrets of a vault."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from functions_azure import settings, wiring
from functions_azure.clients import Deadline
from functions_azure.tell import Vault, senders
from functions_azure.tokens import BoundedHttp
from local.emulators.http_server import Answer, LoopbackServer, Request, json_answer
from shared.config.load import Configuration, load
from shared.destinations import Destination
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import CLOUD_EVENT, EncodedEvent
from shared.outcomes.sending import Office, Sender, Sending
from shared.outcomes.signal_bus import Endpoints, SignalBus
from shared.outcomes.webhook import Secrets
from shared.platforms import fabric
from shared.platforms.failures import MISCONFIGURED
from shared.refresh.failure import Failure
from shared.targets import Cloud
from tests.support.azure_host import T0, TEXT, HandClock, blob_created, hosted, packed

EVENT = {
    "specversion": "1.0",
    "id": "k/1",
    "source": "/unstale/azure/shop",
    "type": "unstale.late",
    "subject": "sales",
    "time": "2026-11-23T09:30:00Z",
    "datacontenttype": "application/json",
    "data": {"name": "sales"},
}
ENCODED = EncodedEvent(
    "k/1", "unstale.late", "/unstale", "sales", T0, CLOUD_EVENT, json.dumps(EVENT).encode(), "sales is late"
)
NOWHERE = "http://127.0.0.1:9/planted-path"


class Grants:
    """Tokens of one audience; none, where there is a failure."""

    def __init__(self, token: str) -> None:
        self.given: str | Failure = token
        self.refusals: list[str] = []

    def token(self) -> str | Failure:
        """The one that there is."""
        return self.given

    def forget(self, token: str) -> None:
        """Somebody did not accept it."""
        self.refusals.append(token)


class Site:
    """A topic, a vault and a receiver of webhooks at one address, each as its vendor's, and who sends to them."""

    def __init__(self, server: LoopbackServer) -> None:
        self.url = server.url
        self.requests: list[Request] = []
        self.status = 200
        self.nonsense = False
        self.secrets = {"/secrets/hook": f"{self.url}/hooks/planted-path", "/secrets/key": "planted key"}
        self.clock, self.grid, self.vault = HandClock(), Grants("grid token"), Grants("vault token")
        self.http = BoundedHttp()
        self.kept = Secrets(Vault(self.http, self.vault).fetch, self.clock)
        nowhere = Endpoints(NOWHERE, NOWHERE)
        bus = SignalBus(lambda *_: (503, b""), Grants("aws token"), self.clock, nowhere)
        self.senders = senders(self.http, self.grid, self.kept, bus, self.clock)

    def respond(self, request: Request) -> Answer:
        """What the vendor would answer; or whatever status a test wants."""
        self.requests.append(request)
        if self.status != 200:
            return Answer(self.status, {"Location": f"{self.url}/elsewhere"} if self.status == 307 else {})
        if self.nonsense:
            return Answer(200, body=b"<html>planted</html>")
        if request.path == "/api/events":
            return Answer(refusal_of_topic(request) or 200)
        if request.path.startswith("/secrets/"):
            return self._secret(request)
        return Answer(200 if request.method == "POST" and request.path.startswith("/hook") else 404)

    def _secret(self, request: Request) -> Answer:
        """Key Vault's Get Secret (https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret)."""
        if request.headers.get("authorization") != "Bearer vault token":
            return Answer(401, {"WWW-Authenticate": 'Bearer resource="https://vault.azure.net"'})
        if request.method != "GET" or dict(request.query) != {"api-version": "7.4"}:
            return Answer(400)
        if request.path not in self.secrets:
            return json_answer(404, {"error": {"code": "SecretNotFound", "message": "was not found in this vault"}})
        return json_answer(200, {"value": self.secrets[request.path], "id": self.url + request.path})

    def sender(self, kind: str) -> Sender:
        """Who sends to this kind of destination."""
        return self.senders[kind]

    @property
    def topic(self) -> Destination:
        """The topic."""
        return Destination("eventgrid", topic=f"{self.url}/api/events")

    def hook(self, **fields: Any) -> Destination:
        """The webhook whose address is a secret."""
        return Destination("webhook", url_secret=f"{self.url}/secrets/hook", **fields)


def refusal_of_topic(request: Request) -> int:
    """The status by which a custom topic of the CloudEvents schema refuses a request; 0 where it takes it.

    https://learn.microsoft.com/azure/event-grid/post-to-custom-topic, .../event-grid/cloud-event-schema
    """
    if request.headers.get("authorization") != "Bearer grid token":
        return 401
    kind = request.headers.get("content-type", "").partition(";")[0]
    if request.method != "POST" or dict(request.query) != {"api-version": "2018-01-01"}:
        return 400
    if kind != "application/cloudevents-batch+json":
        return 415
    if len(request.body) > MOST_BYTES:
        return 413
    events = json.loads(request.body)
    required = ("id", "source", "type", "specversion")
    whole = isinstance(events, list) and all(all(event.get(name) for name in required) for event in events)
    return 0 if whole and all(event["specversion"] == "1.0" for event in events) else 400


MOST_BYTES = 1024 * 1024
"""Of one publishing request, or of one event (https://learn.microsoft.com/azure/event-grid/quotas-limits)."""


@pytest.fixture(name="site")
def a_site() -> Iterator[Site]:
    """A site that answers."""
    with LoopbackServer(lambda _request: None, HandClock().now) as server:
        site = Site(server)
        server.respond = site.respond
        yield site
        site.http.close()


def header(request: Request, name: str) -> str:
    """A header, whatever its case."""
    return {each.lower(): value for each, value in request.headers.items()}[name]


def test_a_topic_gets_an_array_of_one_cloudevent(site: Site) -> None:
    """As a topic of that schema takes it, with a token for Event Grid."""
    assert site.sender("eventgrid").send(site.topic, ENCODED) is None
    [request] = site.requests
    assert request.path == "/api/events"
    assert header(request, "authorization") == "Bearer grid token"
    assert header(request, "content-type") == "application/cloudevents-batch+json"
    [event] = json.loads(request.body)
    assert JSONFormat().read(CloudEvent, json.dumps(event).encode()).get_type() == "unstale.late"


def test_a_topic_that_refuses_the_token_gets_a_new_one_later(site: Site) -> None:
    """The event is not dropped for that."""
    site.status = 401
    failure = site.sender("eventgrid").send(site.topic, ENCODED)
    assert failure == SendFailure("status 401: the token was refused")
    assert site.grid.refusals == ["grid token"]


@pytest.mark.parametrize(
    ("status", "for_good"), [(400, True), (403, True), (404, True), (413, True), (429, False), (503, False)]
)
def test_a_topic_may_refuse_for_good_or_for_now(site: Site, status: int, for_good: bool) -> None:
    """4xx is for good, except what passes."""
    site.status = status
    assert site.sender("eventgrid").send(site.topic, ENCODED) == SendFailure(f"status {status}", for_good)


def test_without_a_token_nothing_is_sent(site: Site) -> None:
    """It waits."""
    site.grid.given = site.vault.given = MISCONFIGURED.failure("invalid_scope", "no identity")
    grid, hook = (
        site.sender(to).send(each, ENCODED) for to, each in (("eventgrid", site.topic), ("webhook", site.hook()))
    )
    assert grid
    assert hook
    assert (grid.for_good, hook.for_good, site.requests) == (False, False, [])


def test_a_webhook_gets_a_signed_letter_at_a_secret_address(site: Site) -> None:
    """Both secrets are read with a token for the vault; the event has none."""
    assert site.sender("webhook").send(site.hook(signing_secret=f"{site.url}/secrets/key"), ENCODED) is None
    *reads, request = site.requests
    assert [(each.path, header(each, "authorization")) for each in reads] == [
        ("/secrets/hook", "Bearer vault token"),
        ("/secrets/key", "Bearer vault token"),
    ]
    assert request.path == "/hooks/planted-path"
    assert "authorization" not in {name.lower() for name in request.headers}
    signed = f"k/1.{int(T0.timestamp())}.".encode() + request.body
    expected = b64encode(hmac.digest(b"planted key", signed, hashlib.sha256)).decode()
    assert header(request, "webhook-signature") == f"v1,{expected}"


def test_a_secret_is_read_once_in_five_minutes(site: Site) -> None:
    """A new one is used five minutes later at the latest."""
    uri = f"{site.url}/secrets/key"
    assert [site.kept.read(uri), site.kept.read(uri)] == ["planted key"] * 2
    site.secrets["/secrets/key"] = "another"
    site.clock.move_on(seconds=299)
    assert site.kept.read(uri) == "planted key"
    site.clock.move_on(seconds=1)
    assert site.kept.read(uri) == "another"
    assert len(site.requests) == 2


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_secret_that_cannot_be_read_is_no_refusal(site: Site, status: int) -> None:
    """The event waits for whoever mends it."""
    site.status = status
    failure = site.sender("webhook").send(site.hook(), ENCODED)
    assert failure == SendFailure(f"the secret {site.url}/secrets/hook cannot be read: status {status}")
    assert site.vault.refusals == (["vault token"] if status == 401 else [])


@pytest.mark.parametrize(
    "address", [NOWHERE, "http://example.com/planted", "ftp://127.0.0.1/planted", "planted", "http://["]
)
def test_an_address_that_is_a_secret_is_never_repeated(site: Site, address: str) -> None:
    """Not where nobody is there, nor where it is none to post to."""
    site.secrets["/secrets/hook"] = address
    failure = site.sender("webhook").send(site.hook(), ENCODED)
    assert failure
    assert not failure.for_good
    assert "planted" not in failure.why


def test_a_vault_that_answers_nonsense_is_trouble(site: Site) -> None:
    """In words of ours, for its own might be the secret."""
    site.nonsense = True
    failure = site.sender("webhook").send(site.hook(), ENCODED)
    assert failure == SendFailure(f"the secret {site.url}/secrets/hook cannot be read: JSONDecodeError")


def test_a_secret_that_is_not_there_yet_is_no_refusal(site: Site) -> None:
    """The event waits for somebody to make the secret."""
    site.secrets = {}
    failure = site.sender("webhook").send(site.hook(), ENCODED)
    assert failure == SendFailure(f"the secret {site.url}/secrets/hook cannot be read: status 404")


def test_no_redirect_is_followed(site: Site) -> None:
    """What is posted goes where the configuration says, or nowhere."""
    site.status = 307
    destination = Destination("webhook", url=f"{site.url}/hook")
    assert site.sender("webhook").send(destination, ENCODED) == SendFailure("status 307")
    assert [request.path for request in site.requests] == ["/hook"]


def test_nothing_is_sent_after_the_deadline(site: Site) -> None:
    """The host cuts off what outlasts an invocation."""
    site.http.deadline = Deadline(0)
    failure = site.sender("webhook").send(Destination("webhook", url=f"{site.url}/hook"), ENCODED)
    assert failure == SendFailure("no answer: ConnectTimeout")
    assert site.requests == []


def test_a_refresh_is_told_by_the_app_that_made_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a blob to the letter about the view that reads it: to a topic and to a webhook, once each."""
    with hosted(monkeypatch) as host:
        targets = load(TEXT).targets
        hook = Destination("webhook", url=f"{site.url}/hook")
        configuration = Configuration(targets, destinations=(site.topic, hook))
        office = Office(
            host.store, host.clock, site.senders, "/unstale/azure/shop", fabric.CAPABILITIES, host.told.append
        )
        host.configuration = lambda: configuration
        host.outcomes = partial(Sending, office)
        host.queue(packed(blob_created("orders/1.parquet", host.clock.now())))
        for _ in range(6):
            host.tick()
            host.clock.move_on(minutes=1)
        letters = [request for request in site.requests if request.method == "POST"]
        topics = [json.loads(each.body)[0] for each in letters if each.path == "/api/events"]
        hooks = [json.loads(each.body) for each in letters if each.path == "/hook"]
        assert sorted(event["subject"] for event in topics) == ["sales"]
        assert {event["type"] for event in topics} == {"unstale.refreshed"}
        assert sorted(event["id"] for event in hooks) == sorted(event["id"] for event in topics)
        assert host.state("sales").outbox.notices == ()


@pytest.mark.parametrize(
    "environ",
    [
        {"UNSTALE_STORAGE": "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=cGxhbnRlZA=="},
        {
            "UNSTALE_STORAGE": "TableEndpoint=https://shop.table.core.windows.net/;SharedAccessSignature=sv=1&sig=planted"
        },
        {
            "UNSTALE_STORAGE__tableServiceUri": "https://shop.table.core.windows.net",
            "UNSTALE_STORAGE__queueServiceUri": "https://shop.queue.core.windows.net",
        },
    ],
)
def test_the_storage_account_names_the_deployment(environ: dict[str, str]) -> None:
    """However it is opened; deployments with a connection string all had the name `local`."""
    found = settings.read(environ)
    parts = wiring.Parts(found, lambda: Configuration(()))
    ports: Any = wiring.make_ports(found, Configuration(()), parts, lambda _: None)
    assert ports.outcomes(Configuration(()).package(Cloud.AZURE))._office.source == "/unstale/azure/shop"
