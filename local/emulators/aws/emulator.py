"""AWS on one machine: moto's S3, EventBridge, SQS, DynamoDB and Glue behind one loopback port, in this process.

Six things of moto 5.2.5 are mended while a `LocalAws` is entered, and put back when it is left:

- S3's EventBridge events get the shape that AWS publishes (moto: `eTag`, reason `ObjectCreated`, one id and one
  sequencer for all). Hook: `moto.s3.notifications._send_event_bridge_message`.
- A rule hands events to a queue as they are (moto drops `account`). Hook: `moto.events.models.Rule.send_to_targets`.
- Requests are served one at a time. moto takes no locks: a message sent while another is deleted could vanish, and two
  conditional writes could both win. A long poll gives way while it waits. Hook: `Condition` of `moto.sqs.models`.
- CloudWatch has the age of each queue's oldest message. Hook: `CloudWatchBackend.aws_metric_data`.
- SQS moves messages from one queue to another, as a redrive asks (`moves.py`).
- Events, messages and the catalog go by the clock that is given, and so does the Date of every answer. Hooks:
  `unix_time`, `unix_time_millis` and `utcnow` where moto reads the time.

Everything is in memory and in daemon threads, which leaving it ends: an interrupted demo leaves nothing behind. A newer
moto may need fewer of these, or other ones: the emulators' tests hold each against what AWS publishes.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from types import TracebackType
from typing import Any, Final, Self
from unittest.mock import patch

import boto3
import moto.events.models
import moto.glue.models
import moto.s3.notifications
import moto.sqs.models
from botocore.config import Config
from moto.cloudwatch.models import CloudWatchBackend
from moto.core.base_backend import AccountSpecificBackend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.events.models import Rule, events_backends
from moto.events.utils import EventMessageType
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from local.emulators.aws.lambda_host import Every, Function, Handler, Pump, Queue
from local.emulators.aws.metrics import queue_ages
from local.emulators.aws.model import create_queues, create_rules, create_table
from local.emulators.aws.moves import MoveTasks
from local.emulators.aws.serving import OneAtATime, Polled, QuietHandler, sending_as_is, session_without_profile
from local.emulators.clock import utc_now
from local.emulators.faults import FaultScript
from local.emulators.glue.emulator import FOREIGN_ACCESS_KEY, GlueEmulator, GlueSettings
from local.emulators.glue.lake import LakeCalls, next_metadata, read_metadata
from local.emulators.glue.wire import GlueEvent
from local.emulators.http_server import WsgiServer

ACCESS_KEY: Final = "UNSTALELOCALPRODUCT1"
"""Of 20 characters, because moto reads no other length; nothing is secret here."""

EVENTS_PAUSE: Final = timedelta(milliseconds=50)
"""How often the Glue emulator is asked for events that have come due."""

LAKE: Final = "lake"
"""The bucket of Iceberg tables' metadata, about whose objects no rule tells anybody."""


REASONS: Final = {
    "s3:ObjectCreated:Put": "PutObject",
    "s3:ObjectCreated:Post": "POST Object",
    "s3:ObjectCreated:Copy": "CopyObject",
    "s3:ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
}
"""S3's reason by kind of event: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html."""


@dataclass(frozen=True, slots=True)
class ObjectPut:
    """An object that S3 has stored, and when, by this machine's clock: from then on a run that starts can read it."""

    bucket: str
    """The bucket's name."""
    key: str
    """The object's key, as it was put."""
    at: datetime
    """From when on it can be read."""


class LocalAws:
    """The context in which this machine has an AWS. One at a time in a process, as there is one moto.

    `glue` is the emulator with its journal, `faults` its script, `queues` are named "events", "events-dead", "wakes"
    and "wakes-dead". An event that `loses` is true for is told to nobody, as it may happen to best-effort ones. Nothing
    outside of moto is touched: whoever wants to live in it takes `environment()`. Queues, events, the catalog and Glue
    go by `clock`, the real one where none is given.
    """

    def __init__(
        self,
        *,
        region: str = "eu-central-1",
        table: str = "unstale",
        buckets: Iterable[str] = ("landing",),
        glue_settings: GlueSettings | None = None,
        visibility_timeout: timedelta = timedelta(seconds=30),
        most_receives: int = 1000,
        refresh_events: bool = True,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Choose what stands in the account. Nothing is started before the context is entered."""
        self._now = clock or utc_now
        self.region = region
        self.account = DEFAULT_ACCOUNT_ID
        self.table = table
        self.url = ""
        self.queues: dict[str, Queue] = {}
        self.faults = FaultScript()
        self.loses: Callable[[EventMessageType], bool] = lambda _event: False
        self.glue = GlueEmulator(
            settings=glue_settings, faults=self.faults, emit=self._publish_glue_event, sleep=self._give_way, clock=clock
        )
        self._buckets = tuple(buckets)
        self._visibility_timeout = visibility_timeout
        self._most_receives = most_receives
        self._refresh_events = refresh_events
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._left = False
        self._puts: list[ObjectPut] = []
        self._sequence = count(1)
        self._errors: list[Exception] = []
        self._session = boto3.session.Session(botocore_session=session_without_profile(), region_name=region)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.glue)
            for mended in self._mended_moto():
                stack.enter_context(mended)
            moto_api_backend.reset()
            stack.callback(moto_api_backend.reset)
            self._serve(stack)
            self._furnish()
            if self._refresh_events:
                stack.enter_context(Every(EVENTS_PAUSE, self.glue.pump))
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._left = True
            self._changed.notify_all()
        self._opened.__exit__(kind, error, trace)
        if self._errors and kind is None:
            raise RuntimeError(f"moto failed: {self._errors[0]!r}") from self._errors[0]

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The variables of a process that lives here: those of `base`, less all that could lead to a true AWS."""
        kept = {name: value for name, value in base.items() if not name.startswith(("AWS_", "UNSTALE_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "UNSTALE_TABLE": self.table,
            "UNSTALE_QUEUE_URL": self.queues["wakes"].url,
            "UNSTALE_EVENTS_QUEUE_URL": self.queues["events"].url,
        }

    def client(self, service: str, *, foreign: bool = False, retries: bool = True) -> Any:
        """An ordinary boto3 client; what a foreign one starts is someone else's run."""
        with self._lock:  # boto3's sessions are for one thread at a time
            return self._session.client(
                service,
                endpoint_url=self.url,
                aws_access_key_id=FOREIGN_ACCESS_KEY if foreign else ACCESS_KEY,
                aws_secret_access_key="none",  # noqa: S106 - moto checks no signatures
                config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3 if retries else 1}),
            )

    def create_view(
        self, database: str, table: str, *, catalog: str | None = None, sources: Iterable[str] = ()
    ) -> None:
        """Put a materialized view, and its database where it is missing, into the catalog; sources are table ARNs."""
        glue, catalog = self.client("glue"), catalog or self.account
        _make_database(glue, catalog, database)
        definition = {"Definer": f"arn:aws:iam::{self.account}:role/definer", "SubObjects": list(sources)}
        glue.create_table(
            CatalogId=catalog, DatabaseName=database, TableInput={"Name": table, "ViewDefinition": definition}
        )

    def puts(self) -> tuple[ObjectPut, ...]:
        """Every object that was stored so far, whether or not an event about it arrived anywhere."""
        with self._lock:
            return tuple(self._puts)

    def publish(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Iterable[str] = ()) -> None:
        """Put an event onto the default bus as an AWS service does, its time being now."""
        self._publish(source, detail_type, detail, resources, at=self._now(), region=self.region)

    def function(self, handler: Handler, name: str = "unstale", **settings: Any) -> Function:
        """A handler as a Lambda function of this account and Region."""
        return Function(handler, arn=f"arn:aws:lambda:{self.region}:{self.account}:function:{name}", **settings)

    def pump(self, queue: str, function: Function, **settings: Any) -> Pump:
        """A poller of one of the queues, to be entered."""
        return Pump(self.client("sqs"), self.queues[queue], function, **settings)

    def _mended_moto(self) -> Iterable[AbstractContextManager[Any]]:
        """The changes of moto that the head of this file names, each to be undone when the context is left."""
        # moto asks a session of its own for the names of Regions, and that one would read the user's profile.
        yield patch.object(AccountSpecificBackend, "get_session", lambda: self._session)
        ages = property(lambda backend: queue_ages(backend.account_id, backend.region_name, self._now()))
        yield patch.object(CloudWatchBackend, "aws_metric_data", ages)
        for module in (moto.sqs.models, moto.events.models):
            yield patch.object(module, "unix_time", lambda: self._now().timestamp())
        yield patch.object(moto.glue.models, "utcnow", lambda: self._now().astimezone(UTC).replace(tzinfo=None))
        yield patch.object(moto.sqs.models, "unix_time_millis", lambda: self._now().timestamp() * 1000)
        yield patch.object(moto.sqs.models, "Condition", lambda: Polled(self._lock))
        yield patch.object(Rule, "send_to_targets", sending_as_is(Rule.send_to_targets))
        tell_others = moto.s3.notifications._send_event_bridge_message  # noqa: SLF001 - moto has no other hook
        yield patch.object(moto.s3.notifications, "_send_event_bridge_message", self._telling_of_puts(tell_others))

    def _serve(self, stack: ExitStack) -> None:
        """Serve moto on a free port of loopback."""
        app = OneAtATime(self._app(), self._lock, self._errors)
        server = stack.enter_context(WsgiServer(app, handler=QuietHandler))
        self.url = f"http://127.0.0.1:{server.port}"

    def _app(self) -> Any:
        """Moto's application, behind what looking and redriving ask and moto does not know."""
        app = DomainDispatcherApplication(create_backend_app)
        catalog = self.glue.catalog(self.account, self.region)
        self.lake = LakeCalls(app, self.account, catalog, self.faults, self._now)
        return MoveTasks(self.lake, self.account, self.region)

    def commit(self, database: str, table: str, operation: str = "append", *, catalog: str | None = None) -> int:
        """Commit to an Iceberg table, which is made with its first commit; returns the current snapshot's id.

        `operation` is that of the new snapshot, or "rollback". As with Glue, the metadata is written before the
        catalog's pointer moves, and no event tells of it but the catalog's own, which is best effort.
        """
        glue, catalog = self.client("glue"), catalog or self.account
        place = {"CatalogId": catalog, "DatabaseName": database}
        _make_database(glue, catalog, database)
        tables = glue.get_tables(**place, Expression=table)["TableList"]
        found = next((each for each in tables if each["Name"] == table), None)
        before = read_metadata(self.account, found["Parameters"]["metadata_location"]) if found else None
        metadata = next_metadata(before, operation, secrets.randbits(62), self._now())
        location = f"s3://{LAKE}/{database}/{table}/metadata/{uuid.uuid4()}.metadata.json"
        self.client("s3").put_object(Bucket=LAKE, Key=location.removeprefix(f"s3://{LAKE}/"), Body=json.dumps(metadata))
        parameters = {"table_type": "ICEBERG", "metadata_location": location}
        write = glue.update_table if found else glue.create_table
        write(**place, TableInput={"Name": table, "Parameters": parameters})
        current: int = metadata["current-snapshot-id"]
        return current

    def _furnish(self) -> None:
        """Create what a deployment has: buckets that tell their events, the table, the queues and the rules."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=LAKE, CreateBucketConfiguration={"LocationConstraint": self.region})
        for bucket in self._buckets:
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self.region})
            s3.put_bucket_notification_configuration(
                Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
            )
        create_table(self.client("dynamodb"), self.table)
        self.queues = create_queues(self.client("sqs"), self._visibility_timeout, self._most_receives)
        create_rules(self.client("events"), self.queues["events"], self._buckets)

    def _telling_of_puts(self, tell_others: Callable[..., None]) -> Callable[..., None]:
        """In place of moto's own: tell EventBridge of a stored object in the shape that AWS publishes."""

        def tell(account_id: str, bucket: Any, event_name: Any, key: Any) -> None:
            """Tell of one event of S3; a completed upload is told once, though moto tells it as a put, too."""
            reason = REASONS.get(event_name.value)
            if reason is None:
                tell_others(account_id, bucket, event_name, key)
            elif reason != "PutObject" or key.multipart is None:  # moto tells a completed upload as a put, too
                self._tell_of_put(bucket, reason, key)

        return tell

    def _tell_of_put(self, bucket: Any, reason: str, key: Any) -> None:
        """Remember when the object could be read, and put "Object Created" onto the default bus."""
        put = ObjectPut(bucket.name, key.name, self._now())
        self._puts.append(put)
        stored = {"key": key.name, "size": key.size, "etag": key.etag.strip('"')}
        versioned = {"version-id": key.version_id} if bucket.is_versioned else {}
        detail = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": stored | versioned | {"sequencer": f"{next(self._sequence):016X}"},
            "request-id": uuid.uuid4().hex[:16].upper(),
            "requester": self.account,
            "source-ip-address": "127.0.0.1",
            "reason": reason,
        }
        self._publish("aws.s3", "Object Created", detail, [bucket.arn], at=put.at, region=bucket.region_name)

    def _publish_glue_event(self, event: GlueEvent) -> None:
        """Put an event of the Glue emulator onto the default bus."""
        self._publish("aws.glue", event.detail_type, event.detail, event.resources, at=event.time, region=event.region)

    def _publish(
        self,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Iterable[str],
        *,
        at: datetime,
        region: str,
    ) -> None:
        """Hand an event to every rule of the default bus, as EventBridge does."""
        event: EventMessageType = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": self.account,
            "time": at.timestamp(),  # moto writes it as text, in whole seconds as AWS does
            "region": region,
            "resources": list(resources),
            "detail": dict(detail),
        }
        with self._lock:
            if self.loses(event):
                return
            for rule in events_backends[self.account][region].describe_event_bus("default").rules.values():
                rule.send_to_targets(event)

    def _give_way(self, seconds: float) -> None:
        """Sleep while others are served, or until the emulator is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._left, seconds)


def _make_database(glue: Any, catalog: str, database: str) -> None:
    """A database, where it is missing."""
    found = [each["Name"] for each in glue.get_databases(CatalogId=catalog)["DatabaseList"]]
    if database not in found:
        glue.create_database(CatalogId=catalog, DatabaseInput={"Name": database})
