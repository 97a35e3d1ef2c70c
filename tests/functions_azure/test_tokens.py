"""Tokens: the product's own `msal` code against a tenant on loopback, every way to a token, and to none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.data.tables import TableClient
from msgspec.structs import replace

from functions_azure.clients import Deadline
from functions_azure.settings import Settings
from functions_azure.tokens import (
    STORAGE,
    BoundedHttp,
    EntraTokens,
    Issuer,
    ManagedIdentity,
    StorageCredential,
    issuer_of,
)
from local.emulators.entra.emulator import App, Entra, Federation, Identity
from local.emulators.entra.tokens import FABRIC, Caller
from local.emulators.faults import LoseResponse, RefuseToken, ServerError, Slow, Throttle
from local.emulators.http_server import Answer, LoopbackServer, Request
from shared.refresh.failure import Delivery, Failure
from tests.support.revocation import revoke

SECRET = "a planted secret, ~8Q"
WITH_SECRET = App("0a4f1c2e-0000-4000-8000-000000000001", "0a4f1c2e-0000-4000-8000-00000000000a", secret=SECRET)
TRUSTING = "0a4f1c2e-0000-4000-8000-000000000002"
ASSIGNED = Identity("5e7d9b30-0000-4000-8000-000000000001", "5e7d9b30-0000-4000-8000-00000000000a")
SYSTEM = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)


class Clock:
    """The machine's clock, and how far the tenant's is from it."""

    ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Tell the tenant's time."""
        return datetime.now(UTC) + self.ahead


@pytest.fixture(name="entra")
def tenant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """A tenant, and the environment of a function app around it."""
    for name in ("CURL_CA_BUNDLE", "MSI_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"):
        monkeypatch.delenv(name, raising=False)
    with Entra(Clock(), apps=[WITH_SECRET], identities=[ASSIGNED, SYSTEM]) as entra:
        federations = tuple(Federation(entra.tokens.issuer, each.object_id) for each in (ASSIGNED,))
        entra.apps[TRUSTING] = App(TRUSTING, "0a4f1c2e-0000-4000-8000-00000000000b", federations=federations)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.certificate)
        for name, value in entra.identity_environment.items():
            monkeypatch.setenv(name, value)
        yield entra
        assert not entra.unplanned_requests


@pytest.fixture(name="settings")
def settings_of_the_tenant(entra: Entra) -> Settings:
    """Those of an app with a secret."""
    return Settings(
        Path("unstale.toml"), authority=entra.authority, client_id=WITH_SECRET.client_id, client_secret=SECRET
    )


def tokens_of(identity: str, settings: Settings, http: BoundedHttp | None = None) -> EntraTokens:
    """The product's own."""
    http = http or BoundedHttp()
    return EntraTokens(lambda: issuer_of(identity, settings, http))


def token(tokens: EntraTokens) -> str:
    """One that there must be."""
    found = tokens.token()
    assert isinstance(found, str), found
    return found


def no_token(tokens: EntraTokens) -> Failure:
    """Why there is none; whatever it is, nothing that needs it was sent."""
    found = tokens.token()
    assert isinstance(found, Failure), found
    assert found.delivery is Delivery.NOT_SENT
    return found


def owner(entra: Entra, bearer: str) -> str:
    """Whom a token speaks for, at Fabric."""
    caller = entra.tokens.validate(f"Bearer {bearer}", {FABRIC})
    return getattr(caller, "object_id", str(caller))


# --- Ways to a token


def test_each_identity_speaks_for_itself(entra: Entra, settings: Settings) -> None:
    """System-assigned, user-assigned, an app by its secret, an app by the managed identity that it trusts."""
    secretless = replace(settings, client_id=TRUSTING, client_secret="", storage_client_id=ASSIGNED.client_id)
    found = [
        owner(entra, token(tokens_of("managed-identity", replace(settings, client_id="")))),
        owner(entra, token(tokens_of("managed-identity", replace(settings, client_id=ASSIGNED.client_id)))),
        owner(entra, token(tokens_of("service-principal", settings))),
        owner(entra, token(tokens_of("service-principal", secretless))),
    ]
    assert found == [SYSTEM.object_id, ASSIGNED.object_id, WITH_SECRET.object_id, entra.apps[TRUSTING].object_id]


@pytest.mark.parametrize("identity", ["managed-identity", "service-principal"])
def test_a_token_is_asked_for_once(entra: Entra, settings: Settings, identity: str) -> None:
    """It comes out of the cache from then on, until it was refused: then a new one is got, once."""
    settings = replace(settings, client_id="") if identity == "managed-identity" else settings
    tokens = tokens_of(identity, settings)
    first = token(tokens)
    assert token(tokens) == first
    assert len(entra.token_requests) == 1
    tokens.forget(first)
    second = token(tokens)
    assert second != first
    tokens.forget(first)
    assert token(tokens) == second, "an old token that is refused late must not cost a new one"
    assert len(entra.token_requests) == 2


def test_threads_share_a_token(entra: Entra, settings: Settings) -> None:
    """Many invocations run in one process; of a token that all of them saw refused, one new one is made."""
    tokens = tokens_of("service-principal", settings)
    first = token(tokens)
    found: list[str] = []

    def work() -> None:
        tokens.forget(first)
        found.append(token(tokens))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first not in found
    assert len(found) == 8


def test_storage_has_an_identity_of_its_own(entra: Entra) -> None:
    """The SDK's credential on top of the same code; for storage, not for Fabric."""
    tokens = EntraTokens(lambda: ManagedIdentity(ASSIGNED.client_id, STORAGE, BoundedHttp()))
    issued = StorageCredential(tokens).get_token("https://storage.azure.com/.default", tenant_id="any")
    assert entra.tokens.claims(issued.token)["aud"] == STORAGE  # type: ignore[index]  # a failure fails the test here
    assert abs(issued.expires_on - datetime.now(UTC).timestamp() - 86400) < 600
    entra.faults.add(RefuseToken("invalid_request"), "token")
    with pytest.raises(ClientAuthenticationError, match="invalid_scope"):
        StorageCredential(EntraTokens(lambda: ManagedIdentity(SYSTEM.client_id, STORAGE, BoundedHttp()))).get_token("x")


def test_a_token_that_storage_refuses_is_renewed(entra: Entra, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a process would show a revoked one until its end, which is a day off. Threads that ask at once share one."""
    monkeypatch.setattr("functions_azure.tokens.AT_ONCE_SECONDS", 0.0)
    shown: list[object] = []

    def storage(request: Request) -> Answer:
        shown.append(entra.tokens.validate(request.headers["authorization"], {STORAGE}))
        if isinstance(shown[-1], Caller):
            return Answer(200, {"Content-Type": "application/json"}, b'{"value": []}')
        challenge = f"Bearer authorization_uri={entra.authority}/oauth2/authorize resource_id={STORAGE}"
        return Answer(401, {"WWW-Authenticate": challenge, "x-ms-error-code": "InvalidAuthenticationInfo"})

    tokens = EntraTokens(lambda: ManagedIdentity(ASSIGNED.client_id, STORAGE, BoundedHttp()))
    with LoopbackServer(storage, Clock(), secure=True) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        table = TableClient(server.url, "unstale", credential=StorageCredential(tokens), retry_total=0)
        list(table.query_entities(""))
        list(table.query_entities(""))
        revoke(entra.tokens)
        list(table.query_entities(""))
        table.close()
    assert [type(each).__name__ for each in shown] == ["Caller", "Caller", "TokenRefusal", "Caller"]
    assert len(entra.token_requests) == 2


# --- Ways to none


def test_nothing_is_asked_before_the_first_token(settings: Settings, entra: Entra) -> None:
    """Making the parts is free: the constructor of msal's client would go to the network."""
    tokens_of("service-principal", settings)
    tokens_of("managed-identity", settings)
    assert entra.token_requests == ()
    assert not entra.unplanned_requests


def broken_secret(settings: Settings) -> Settings:
    """One that was rotated away."""
    return replace(settings, client_secret="the old one")


def unknown_client(settings: Settings) -> Settings:
    """No such app."""
    return replace(settings, client_id="0a4f1c2e-0000-4000-8000-0000000000ff")


def untrusted(settings: Settings) -> Settings:
    """An app that does not trust this identity."""
    return replace(settings, client_id=TRUSTING, client_secret="")


def no_such_identity(settings: Settings) -> Settings:
    """A federated credential by an identity that the function app does not have."""
    return replace(settings, client_id=TRUSTING, client_secret="", storage_client_id="nobody")


def other_tenant(settings: Settings) -> Settings:
    """A tenant that is not there."""
    return replace(settings, authority=settings.authority[:-4] + "0000")


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (broken_secret, "invalid_client", "UNSTALE_CLIENT_SECRET"),
        (unknown_client, "unauthorized_client", "UNSTALE_TENANT_ID"),
        (untrusted, "invalid_client", "federated credential"),
        (no_such_identity, "invalid_scope", "managed identity"),
        (other_tenant, "ValueError", "tenant"),
    ],
)
def test_what_a_person_must_mend_blocks_and_says_what(
    entra: Entra, settings: Settings, change: Callable[[Settings], Settings], code: str, says: str
) -> None:
    """A permanent fact, which blocks the target with the reason, with a sentence about which variable to look at."""
    failure = no_token(tokens_of("service-principal", change(settings)))
    assert (failure.code, failure.permanent) == (code, True)
    assert says in failure.message
    assert SECRET not in str(failure)


@pytest.mark.parametrize(
    ("identity", "settings", "says"),
    [
        ("service-principal", Settings(Path("u")), "UNSTALE_CLIENT_ID and UNSTALE_TENANT_ID"),
        ("service-principal", Settings(Path("u"), client_id="c"), "UNSTALE_TENANT_ID is not set"),
    ],
)
def test_missing_settings_block_and_say_which(identity: str, settings: Settings, says: str) -> None:
    """The configuration asks for an identity that the environment does not describe."""
    failure = no_token(tokens_of(identity, settings))
    assert failure.permanent
    assert says in failure.message


BOTH = ("managed-identity", "service-principal")
PASSING = [(identity, fault) for identity in BOTH for fault in (Throttle(1), ServerError(500), LoseResponse())]


@pytest.mark.parametrize(
    ("identity", "fault"), [*PASSING, ("service-principal", RefuseToken("temporarily_unavailable"))]
)
def test_what_passes_is_tried_again(entra: Entra, settings: Settings, identity: str, fault: Any) -> None:
    """Entra, or the identity endpoint, has trouble of its own: nothing was sent, nothing is blocked."""
    settings = replace(settings, client_id="") if identity == "managed-identity" else settings
    entra.faults.add(fault, "token")
    tokens = tokens_of(identity, settings)
    failure = no_token(tokens)
    assert (failure.retry_safe, failure.permanent) == (True, False)
    assert not entra.faults.unused_faults()


def test_an_authority_that_is_not_there_passes(settings: Settings) -> None:
    """No connection is no reason to block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    failure = no_token(tokens_of("service-principal", replace(settings, authority=f"https://127.0.0.1:{closed}/t")))
    assert not failure.permanent


def test_a_certificate_that_nobody_trusts_blocks(
    entra: Entra, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets are not sent to somebody who only says to be the authority."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    failure = no_token(tokens_of("service-principal", settings))
    assert failure.permanent
    assert failure.code == "SSLCertVerificationError"
    assert entra.token_requests == ()


def test_a_token_keeps_the_deadline(entra: Entra, settings: Settings) -> None:
    """A tenant that does not answer holds an invocation up no longer than it may last; each thread has its own."""
    entra.faults.add(Slow(30), "token")
    http = BoundedHttp()
    tokens = tokens_of("managed-identity", replace(settings, client_id=""), http)
    http.deadline = Deadline(0.3)
    failure = no_token(tokens)
    assert failure.retry_safe
    http.deadline = Deadline(0)
    assert "no time is left" in no_token(tokens).message
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(token(tokens)))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_no_netrc_stands_in(entra: Entra, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password that lies about for this host is sent to nobody, though proxies and certificates are honoured."""
    netrc = tmp_path / "netrc"
    hosts = ("localhost", "127.0.0.1")
    netrc.write_text("".join(f"machine {host} login someone password planted\n" for host in hosts), encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[Request] = []
    respond = entra._respond

    def noting(request: Request) -> Answer | None:
        seen.append(request)
        return respond(request)

    entra._secure.respond = entra._plain.respond = noting
    token(tokens_of("service-principal", settings))
    token(tokens_of("managed-identity", replace(settings, client_id="")))
    assert {request.secure for request in seen} == {True, False}
    assert not any("authorization" in request.headers for request in seen)


def test_no_redirect_is_followed_with_a_secret(
    entra: Entra, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header that opens the identity endpoint is for that endpoint alone."""
    elsewhere: list[Request] = []

    def stray(request: Request) -> Answer:
        elsewhere.append(request)
        return Answer(200, {}, b"{}")

    with LoopbackServer(stray, Clock()) as other:
        away = Answer(302, {"Location": f"{other.url}/msi/token"})
        with LoopbackServer(lambda _: away, Clock()) as server:
            monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
            no_token(tokens_of("managed-identity", replace(settings, client_id="")))
    assert elsewhere == []


def test_an_issuer_that_breaks_is_a_fact() -> None:
    """Whatever msal raises, the target hears of it in words and the loop goes on."""

    class Broken:
        def acquire(self) -> dict[str, Any]:
            raise KeyError("surprise")

        def forget(self) -> None:
            raise AssertionError

    issuer: Issuer = Broken()
    failure = no_token(EntraTokens(lambda: issuer))
    assert failure.retry_safe
    assert "surprise" in failure.message
