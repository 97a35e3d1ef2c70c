"""The SDK's clients, each built when it is first used, and what its exceptions become: facts, or those of the ports.

botocore alone does all of it; boto3 on top of it would cost a cold start a quarter more.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any, Final, TypeVar

import botocore
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, InvalidConfigError
from botocore.httpsession import URLLib3Session, create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies

from functions_aws import settings
from shared.platforms import glue
from shared.platforms.failures import Operation, read_exception
from shared.refresh.failure import Failure
from shared.refresh.ports import Conflict, StoreDownError
from shared.version import VERSION

T = TypeVar("T")

_config = partial(Config, user_agent=f"unstale/{VERSION} botocore/{botocore.__version__}")
"""Settings of a client that names itself in each request: botocore's own words, which it puts together twice for each,
are a tenth of what a call costs."""

PATIENT = _config(connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 3})
"""Settings of calls to the store and the queues, where sending twice does no harm.

A conditional write that is sent again after it took effect looks like somebody else's: `Conflict`. The loop then reads
the record, finds its own write there, and goes on from it; a claim that it cannot know as its own is looked up.
"""

ONCE = _config(connect_timeout=3, read_timeout=7, retries={"total_max_attempts": 1})
"""Settings of calls to Glue: a start that is sent twice may be two runs (rule 4). Together no longer than
`glue.CAPABILITIES` says."""

BRIEF = _config(connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 1})
"""Settings of calls after the work, which must not last longer than what an invocation keeps back: to destinations of
outcome events, and for the page's data. Both have another turn."""

AT_ONCE: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""Options of each connection, as botocore gives its own: else the body of a request waits 40 ms until the service has
acknowledged the head (RFC 896, and RFC 1122, section 4.2.3.2)."""


class KeptRoots(URLLib3Session):  # type: ignore[misc]  # botocore ships no types
    """The SDK's HTTP session with a TLS context that holds the roots already.

    botocore's own reads the bundle of some 140 certificates for every connection; it is most of a call's CPU. Two
    methods of it are replaced that are not part of its interface: a test says so when they are gone.
    """

    def _get_ssl_context(self) -> ssl.SSLContext:
        bundle = "" if self._verify is True else self._verify
        return context_with_roots(roots_of(bundle)) if self._verify else create_urllib3_context()

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:
        super()._setup_ssl_cert(conn, url, verify)
        conn.ca_certs = None


def roots_of(bundle: str = "") -> str:
    """Where the certificates are: the bundle that somebody names, else the package's folder, else the SDK's bundle."""
    if bundle:
        return bundle
    return str(settings.ROOTS) if settings.ROOTS.is_dir() else str(get_cert_path(True))  # noqa: FBT003 - its parameter


@cache
def context_with_roots(roots: str) -> ssl.SSLContext:
    """Make one TLS context for all clients of the process that trust the certificates of this file or folder.

    Of the package's folder none is read before a handshake needs it: OpenSSL finds it there by its name.
    """
    context: ssl.SSLContext = create_urllib3_context()
    try:
        if roots == str(settings.ROOTS):
            context.load_verify_locations(capath=roots)
        else:
            context.load_verify_locations(roots)
    except OSError as error:
        raise InvalidConfigError(error_msg=f"cannot read the certificates of {roots}: {error}") from error
    return context


ROOTS: Final = context_with_roots(roots_of())
"""The context of whoever names no bundle of his own, made at import, for which Lambda gives a whole processor."""


def session(region: str = "") -> Any:
    """Open a session of the SDK in this Region; an empty one leaves the choice to AWS_DEFAULT_REGION and the profile.

    botocore itself does not read AWS_REGION, which Lambda and the other SDKs go by.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    """
    made = botocore.session.get_session()
    if region:
        made.set_config_variable("region", region)
    return made


class Clients:
    """The clients, one per service. Building one reads its model from disk, so none is built in vain."""

    def __init__(self, region: str = "") -> None:
        """Build nothing yet; `region` is as for `session`."""
        self._region = region
        self._queue_urls: dict[str, str] = {}

    def build(self) -> None:
        """Build all clients now, so that no event waits for it. Nothing is sent."""
        _ = self.dynamodb, self.sqs, self.glue
        # The codec that each connection's host name passes through is loaded by its first use.
        "localhost".encode("idna")

    @cached_property
    def _session(self) -> Any:
        return session(self._region)

    @cached_property
    def dynamodb(self) -> Any:
        """The client for records and their history."""
        return self._client("dynamodb", PATIENT)

    @cached_property
    def sqs(self) -> Any:
        """The client for wakes, dead letters and messages that come back sooner."""
        return self._client("sqs", PATIENT)

    def queue_url(self, arn: str) -> str:
        """Ask for the URL of a queue once, by its ARN (`arn:aws:sqs:eu-central-1:123456789012:events`): GetQueueUrl."""
        if arn not in self._queue_urls:
            *_, account, name = arn.split(":")
            answer = self.sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            self._queue_urls[arn] = str(answer["QueueUrl"])
        return self._queue_urls[arn]

    @cached_property
    def s3(self) -> Any:
        """S3, where a bucket holds an excerpt of the records."""
        return self._client("s3", BRIEF)

    @cached_property
    def cloudwatch(self) -> Any:
        """The client for figures of queues, which only the command asks for."""
        return self._client("cloudwatch", PATIENT)

    @cached_property
    def glue(self) -> Any:
        """The client of the platform. Every call has a connection of its own: see `_ask_to_close`."""
        client = self._client("glue", ONCE)
        client.meta.events.register("before-send.glue", _ask_to_close)
        return client

    @cached_property
    def events(self) -> Any:
        """EventBridge, where outcome events go to a bus."""
        return self._client("events", BRIEF)

    @cached_property
    def sns(self) -> Any:
        """SNS, where outcome events go to a topic."""
        return self._client("sns", BRIEF)

    @cached_property
    def secretsmanager(self) -> Any:
        """Secrets Manager, where a webhook has a secret."""
        return self._client("secretsmanager", BRIEF)

    def web(self, url: str) -> URLLib3Session:
        """Open a session for a webhook, by the proxies that botocore goes by."""
        return self._http(url, BRIEF)

    @cached_property
    def s3tables(self) -> Any:
        """Table buckets, where a source lies in one."""
        return self._client("s3tables", ONCE)

    @cached_property
    def iceberg(self) -> URLLib3Session:
        """Glue's Iceberg REST catalog, which no client of the SDK speaks to: at Glue's endpoint, by its time-outs."""
        return self._http(self.glue.meta.endpoint_url, ONCE)

    @property
    def credentials(self) -> Any:
        """The credentials by which requests to the Iceberg REST catalog are signed."""
        return self._session.get_credentials()

    def _client(self, service: str, config: Config) -> Any:
        """Build a client whose requests leave by a session with kept roots, by the proxies that botocore goes by."""
        client = self._session.create_client(service, config=config)
        session = self._http(client.meta.endpoint_url, config)
        client._endpoint.http_session = session  # noqa: SLF001 - botocore takes no session; a test watches this
        return client

    def _http(self, url: str, config: Config) -> URLLib3Session:
        return KeptRoots(
            verify=self._session.get_config_variable("ca_bundle") or True,
            proxies=get_environ_proxies(url),
            timeout=(config.connect_timeout, config.read_timeout),
            socket_options=AT_ONCE,
        )


def _ask_to_close(request: Any, **_: object) -> None:
    """Ask Glue to close the connection after its answer.

    A connection that a frozen Lambda kept is dead when it thaws, and a start lost on it has an unknown outcome.
    """
    request.headers["Connection"] = "close"


def attempt(operation: Operation, send: Callable[[], T], words: Callable[[str], str]) -> T | Failure:
    """Make one call of a platform, and turn whatever is raised into facts: an answer that refuses, or none.

    botocore lets through what urllib3 raises over an address of a proxy, so nothing is known of what may come. Clients
    are built, and requests signed, by `send` itself: that fails, too. `words` takes secrets out of what is said.
    """
    try:
        return send()
    except ClientError as error:
        return glue.failure(operation, error.response)
    except Exception as error:  # noqa: BLE001 - as above
        return read_exception(operation, error, words)


def ask(what: str, send: Callable[[], T]) -> T:
    """Make calls of the SDK, and turn its exceptions into those of the ports; the cause is kept.

    `what` says in an error what was being done. Raises `Conflict` if a condition did not hold, else `StoreDownError`.
    """
    try:
        return send()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "ConditionalCheckFailedException":
            raise Conflict(what) from error
        raise StoreDownError(f"{what}: {error}") from error
    except BotoCoreError as error:
        raise StoreDownError(f"{what}: {error}") from error
