"""The SDK's clients: one TLS context for all of them, which trusts whom botocore would trust, and nobody else."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore
import pytest
import trustme
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import InvalidConfigError, ProxyConnectionError, SSLError
from botocore.httpsession import URLLib3Session, get_cert_path
from urllib3.util import connection

from functions_aws import settings
from functions_aws.clients import ROOTS, Clients, KeptRoots, ask, context_with_roots
from functions_aws.shell import MARGIN_SECONDS
from infra.packaging.roots import write_roots
from local.emulators.http_server import Answer, LoopbackServer, WsgiServer
from shared.refresh.ports import StoreDownError
from shared.version import VERSION
from tests.support.aws_host import NOWHERE
from tests.support.roots import counted_reads  # noqa: F401 - a fixture

RUN = {"CatalogId": "123456789012", "MaterializedViewRefreshTaskRunId": "0b5f4a4e-8f59-4d3f-9d7f-0d6f1c2b3a4d"}


@pytest.fixture(name="server")
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """An AWS over TLS that answers everything with nothing; its authority is trusted by AWS_CA_BUNDLE."""
    for name in (*(name for name in os.environ if name.lower().endswith("_proxy")), "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    respond = Answer(200, headers, json.dumps({}).encode())
    with LoopbackServer(lambda _: respond, lambda: datetime.now(UTC), secure=True) as server:
        for name, value in NOWHERE.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(server.certificate))
        yield server


def test_certificates_are_read_once_for_all_clients_and_connections(
    server: LoopbackServer, reads: list[object]
) -> None:
    """Each call to Glue has a connection of its own, and botocore would read the bundle for each of them."""
    clients = Clients()
    for _ in range(3):
        clients.glue.get_materialized_view_refresh_task_run(**RUN)
    clients.sqs.send_message(QueueUrl=f"{server.url}/123456789012/wakes", MessageBody="body")
    clients.dynamodb.get_item(TableName="t", Key={"pk": {"S": "k"}})
    assert reads == [str(server.certificate)]


def test_botocore_itself_would_read_them_for_every_connection(server: LoopbackServer, reads: list[object]) -> None:
    """What is replaced is still there to be replaced: where this fails, botocore may have mended it."""
    clients = Clients()
    clients.glue._endpoint.http_session = URLLib3Session(str(server.certificate))
    for _ in range(3):
        clients.glue.get_materialized_view_refresh_task_run(**RUN)
    assert len(reads) > 3


def test_an_unknown_authority_is_not_trusted(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the roots are those of the SDK, and the server's authority is none of them."""
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        Clients().glue.get_materialized_view_refresh_task_run(**RUN)


def test_a_certificate_for_another_host_is_not_trusted(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority is trusted, but the name is not that of the address."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.test").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    with WsgiServer(lambda *_: (), tls=context) as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{other.port}")
        with pytest.raises(SSLError, match="localhost"):
            Clients().glue.get_materialized_view_refresh_task_run(**RUN)


def test_a_bundle_that_is_not_there_is_named(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As trouble of ours, which a command says in a sentence."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/bundle.pem")
    with pytest.raises(StoreDownError, match="cannot read the certificates of /nowhere/bundle"):
        ask("asking", lambda: Clients().dynamodb)
    with pytest.raises(InvalidConfigError):
        context_with_roots("/nowhere/bundle.pem")


def test_the_packages_folder_of_roots_is_trusted_where_nobody_names_a_bundle(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[object]
) -> None:
    """Of it nothing is read before a handshake; a bundle that somebody names goes first, and the folder is no part."""
    folder = tmp_path / "roots"
    assert server.certificate
    write_roots(server.certificate.read_text(encoding="utf-8"), folder)
    monkeypatch.setattr(settings, "ROOTS", folder)
    monkeypatch.setenv("AWS_CA_BUNDLE", get_cert_path(True))
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        Clients().glue.get_materialized_view_refresh_task_run(**RUN)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    reads.clear()
    Clients().glue.get_materialized_view_refresh_task_run(**RUN)
    assert reads == [None], "no file was read into the context, whose folder is searched"


def test_a_request_says_whose_it_is(server: LoopbackServer) -> None:
    """In words that are put together once, not twice for each request."""
    said: list[str] = []

    def note(request: AWSPreparedRequest, **_: object) -> None:
        said.append(request.headers["User-Agent"].decode())

    clients = Clients()
    for name in ("dynamodb", "glue"):
        getattr(clients, name).meta.events.register(f"before-send.{name}", note)
    clients.glue.get_materialized_view_refresh_task_run(**RUN)
    clients.dynamodb.get_item(TableName="t", Key={"pk": {"S": "k"}})
    ours = f"unstale/{VERSION} botocore/{botocore.__version__}"
    assert [words[: len(ours)] for words in said] == [ours, ours]
    assert not any("md/" in words for words in said), "none of botocore's own"


def test_a_proxy_is_used(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that botocore goes by: nobody listens at this proxy, and the request does not pass it by."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ProxyConnectionError):
        Clients().glue.get_materialized_view_refresh_task_run(**RUN)


def test_a_body_does_not_wait_for_the_head_to_be_acknowledged(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that names no options of sockets has none, unlike botocore's own: each call took 40 ms more."""
    found: list[int] = []
    connect = connection.create_connection

    def connected(*args: Any, **options: Any) -> socket.socket:
        made = connect(*args, **options)
        found.append(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return made

    monkeypatch.setattr(connection, "create_connection", connected)
    Clients().glue.get_materialized_view_refresh_task_run(**RUN)
    assert found
    assert all(found)


def test_the_limits_of_a_call_are_those_of_its_client() -> None:
    """Glue's call ends within the time-out that rule 4 reckons with; the session of ours has the client's limits."""
    for name, value in NOWHERE.items():
        os.environ.setdefault(name, value)
    for client, seconds in ((Clients().glue, (3, 7)), (Clients().sqs, (2, 3))):
        session = client._endpoint.http_session
        assert isinstance(session, KeptRoots)
        assert (session._timeout.connect_timeout, session._timeout.read_timeout) == seconds


def test_the_roots_of_the_sdk_are_read_at_import() -> None:
    """Lambda gives an import a whole processor, whatever the function's memory."""
    assert len(ROOTS.get_ca_certs()) > 100
    assert ROOTS.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("name", ["events", "sns", "secretsmanager", "s3"])
def test_what_comes_after_the_work_is_over_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call begins as long as there is time, and then has what the invocation keeps back: with the tries that records
    have, a slow bucket outlasted it, and the tick was killed with its metrics.
    """
    for variable, value in NOWHERE.items():
        monkeypatch.setenv(variable, value)
    config = getattr(Clients(), name).meta.config
    assert config.connect_timeout + config.read_timeout < MARGIN_SECONDS
    assert config.retries["total_max_attempts"] == 1
