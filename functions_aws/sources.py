"""The calls that looking makes on AWS, each sent once, 200 ms apart; what they mean is read in `shared.sources`.

https://docs.aws.amazon.com/glue/latest/dg/iceberg-rest-apis.html: the Iceberg REST catalog is signed as Glue is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.response import StreamingBody

from functions_aws.clients import Clients, attempt
from shared.platforms import glue
from shared.platforms.failures import MISCONFIGURED, NOT_CONNECTED, Operation
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock
from shared.sources.catalog import look_at_bucket, look_at_database
from shared.sources.groups import GlueDatabase, Group, TableBucket
from shared.sources.iceberg import METADATA_LIMIT, error_of
from shared.sources.ports import NEVER, Known, Seen
from shared.sources.replies import Reply

SPACING_SECONDS = 0.2
"""Between two calls of one invocation: 5 a second. Glue passes 20 a second from idle, and the quota is shared with the
user's Athena, EMR and Trino (github.com/pyathena-dev/PyAthena/issues/780)."""
Parameters = Mapping[str, Any]
"""Parameters of an operation, as botocore takes them by name."""
Answer = Mapping[str, Any]
"""The body of a reply, as botocore reads it: as in `shared.sources.catalog`."""


class Sources:
    """`shared.sources.ports.Sources` on AWS; one for each invocation, since the pace is an invocation's."""

    def __init__(
        self,
        clients: Clients,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """`redactor` takes secrets out of what exceptions say, before it becomes a failure that records keep."""
        self._clients = clients
        self._clock = clock
        self._sleep = sleep
        self._redactor = redactor
        self._next_at = 0.0
        self._ends_at = NEVER

    def look(self, group: Group, known: Known, *, ends_at: float = NEVER) -> Seen | Failure:
        """Look at a database, or at a namespace of a table bucket."""
        self._ends_at = ends_at
        if isinstance(group, GlueDatabase):
            return look_at_database(group, known, self)
        if isinstance(group, TableBucket):
            return look_at_bucket(group, known, _Bucket(self, group))
        return MISCONFIGURED.failure("WrongCloud", f"{group} is not on AWS")

    def get_tables(self, parameters: Parameters) -> Reply[Answer] | Failure:
        """GetTables."""
        found: Reply[Answer] | Failure = self._ask(lambda: self._clients.glue.get_tables(**parameters))
        return found

    def list_tables(self, parameters: Parameters, bucket: TableBucket | None = None) -> Reply[Answer] | Failure:
        """ListTables of S3 Tables, for this bucket; without one the parameters name it."""
        found: Reply[Answer] | Failure = self._ask(
            lambda: self._clients.s3tables.list_tables(**parameters, **self._arn_of(bucket))
        )
        return found

    def get_table_metadata_location(
        self, parameters: Parameters, bucket: TableBucket | None = None
    ) -> Reply[Answer] | Failure:
        """GetTableMetadataLocation of S3 Tables, likewise."""
        found: Reply[Answer] | Failure = self._ask(
            lambda: self._clients.s3tables.get_table_metadata_location(**parameters, **self._arn_of(bucket))
        )
        return found

    def load_table(self, path: str) -> Reply[bytes] | Failure:
        """GET of the REST catalog, streamed and bounded: metadata has 0.73 kB a snapshot, and nobody bounds those."""
        found: Reply[bytes] | Failure = self._ask(lambda: self._send(path))
        return found if isinstance(found, Failure) else _failure_in(found) or found

    def _arn_of(self, bucket: TableBucket | None) -> Parameters:
        """The parameter that names a table bucket in our own Region and partition."""
        if bucket is None:
            return {}
        meta = self._clients.s3tables.meta
        arn = f"arn:{meta.partition}:s3tables:{meta.region_name}:{bucket.account}:bucket/{bucket.bucket}"
        return {"tableBucketARN": arn}

    def _send(self, path: str) -> Any:
        """Sign a request and send it; the answer in the form of the clients' answers."""
        meta = self._clients.glue.meta
        request = AWSRequest("GET", meta.endpoint_url + path, stream_output=True)
        SigV4Auth(self._clients.credentials, "glue", meta.region_name).add_auth(request)
        response = self._clients.iceberg.send(request.prepare())
        with closing(StreamingBody(response.raw, None)) as stream:
            body = stream.read(METADATA_LIMIT + 1)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return {"body": body, "ResponseMetadata": {"HTTPStatusCode": response.status_code, "HTTPHeaders": headers}}

    def _ask(self, send: Callable[[], Any]) -> Any:
        """Call between two readings of the clocks, no sooner than the pace allows, and not after the look's end."""
        pause = max(0.0, self._next_at - self._clock.monotonic())
        if self._clock.monotonic() + pause > self._ends_at:
            return NOT_CONNECTED.failure("NoTimeLeft", "not sent: the time for this look was over")
        self._sleep(pause)
        began, asked_at = self._clock.monotonic(), self._clock.now()
        self._next_at = began + SPACING_SECONDS
        answer = attempt(Operation.LIST, send, self._redactor.plain)
        return answer if isinstance(answer, Failure) else _reply(answer, asked_at, self._clock, began)


def _reply(answer: Any, asked_at: datetime, clock: Clock, began: float) -> Reply[Any]:
    metadata = answer["ResponseMetadata"]
    return Reply(
        body=answer.get("body", answer),
        asked_at=asked_at,
        answered_at=clock.now(),
        took=timedelta(seconds=clock.monotonic() - began),
        status=metadata["HTTPStatusCode"],
        headers=metadata["HTTPHeaders"],
    )


def _failure_in(found: Reply[bytes]) -> Failure | None:
    """The failure that an answer of the REST catalog tells, by the table of Glue's errors."""
    if len(found.body) > METADATA_LIMIT:
        return MISCONFIGURED.failure("MetadataTooLong", f"more than {METADATA_LIMIT} bytes: expire its snapshots")
    if found.status == HTTPStatus.OK:
        return None
    code, message = error_of(found.headers, found.body)
    metadata = {"HTTPStatusCode": found.status, "HTTPHeaders": found.headers}
    return glue.failure(Operation.LIST, {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata})


class _Bucket:
    """The calls for one table bucket, which each of them names."""

    def __init__(self, sources: Sources, group: TableBucket) -> None:
        self._sources = sources
        self._bucket = group
        self.get_tables, self.load_table = sources.get_tables, sources.load_table

    def list_tables(self, parameters: Parameters) -> Reply[Answer] | Failure:
        """As `Sources` has it."""
        return self._sources.list_tables(parameters, self._bucket)

    def get_table_metadata_location(self, parameters: Parameters) -> Reply[Answer] | Failure:
        """As `Sources` has it."""
        return self._sources.get_table_metadata_location(parameters, self._bucket)
