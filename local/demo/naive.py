"""The obvious handler, for comparison: one start an event, and "it is running already" taken for good news.

It is what one finds in the field, written with care: partial batch failures are reported, throttling is retried. It
loses data all the same, because a refresh that is running read its sources before the new data came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests

from shared.config.load import Configuration
from shared.platforms import fabric
from shared.targets import (
    BlobCreated,
    GlueTableChanged,
    ItemJob,
    LakeViews,
    OneLakeChanged,
    S3ObjectCreated,
    Source,
    Target,
)

Tell = Callable[[str, str], None]
"""Shows what the handler says of a target."""


class NaiveGlueHandler:
    """A Lambda handler over the same configuration and the same queue."""

    def __init__(self, configuration: Configuration, glue: Any, tell: Tell) -> None:
        """Take the configuration's targets; nothing is remembered between calls, as in the obvious handler."""
        self._targets = configuration.targets
        self._glue = glue
        self._tell = tell

    def __call__(self, event: Mapping[str, Any], _context: object) -> dict[str, Any]:
        """Take an SQS batch, or `{"refresh": "<target>"}` from a schedule."""
        if "refresh" in event:
            self._start(next(target for target in self._targets if target.name == event["refresh"]))
        failures = [record["messageId"] for record in event.get("Records", ()) if not self._start_all(record["body"])]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}

    def _start_all(self, body: str) -> bool:
        """Start every target that an event names; whether the message is done with."""
        event = json.loads(body)
        started = [self._start(target) for target in self._list_meant(event.get("detail-type"), event["detail"])]
        return all(started)

    def _list_meant(self, kind: str, detail: Mapping[str, Any]) -> Iterator[Target]:
        """The targets whose source is this object, or this table."""
        is_meant = {"Object Created": _is_object_of, "Glue Data Catalog Table State Change": _is_table_of}.get(kind)
        for target in self._targets if is_meant else ():
            yield from (target for source in target.on if is_meant and is_meant(source, detail))

    def _start(self, target: Target) -> bool:
        """Whether the message is done with."""
        view: Any = target.resource
        try:
            self._glue.start_materialized_view_refresh_task_run(
                CatalogId=view.catalog_id, DatabaseName=view.database, TableName=view.table
            )
        except self._glue.exceptions.MaterializedViewRefreshTaskRunningException:
            return True  # "it is being refreshed already, so all is well"
        except Exception as error:  # noqa: BLE001 - the obvious handler does so
            self._tell(target.name, f"start failed, retried: {type(error).__name__}")
            return False
        self._tell(target.name, "refresh started")
        return True


def _is_object_of(source: Source, detail: Mapping[str, Any]) -> bool:
    """Whether an object of S3 lies in a source."""
    if not isinstance(source, S3ObjectCreated):
        return False
    return bool(source.bucket == detail["bucket"]["name"] and detail["object"]["key"].startswith(source.prefix))


def _is_table_of(source: Source, detail: Mapping[str, Any]) -> bool:
    """Whether a table of the catalog is a source."""
    named = (detail["databaseName"], detail["tableName"])
    return isinstance(source, GlueTableChanged) and named == (source.database, source.table)


def _is_in(subject: str, source: Source) -> bool:
    """Whether an event is about something in a source."""
    if isinstance(source, BlobCreated):
        return f"/{source.container}/blobs/{source.prefix}" in subject
    return isinstance(source, OneLakeChanged) and subject.startswith(f"/{source.path}/")


class NaiveFabricFunction:
    """A queue-triggered function: one start an event, and 202 is taken for "it will be refreshed"."""

    def __init__(self, configuration: Configuration, url: str, token: Callable[[], str], tell: Tell) -> None:
        """Take the configuration and a way to get a token."""
        self._configuration = configuration
        self._url = url
        self._token = token
        self._tell = tell

    def __call__(self, body: str) -> None:
        """Take one Event Grid event."""
        subject = json.loads(body)["subject"]
        for target in self._configuration.targets:
            if any(_is_in(subject, source) for source in target.on):
                self._start(target)
                for follower in self._configuration.followers(target.name):
                    self._start(follower)

    def _start(self, target: Target) -> None:
        """Send one start, and take 202 for success."""
        resource = target.resource
        assert isinstance(resource, LakeViews | ItemJob)  # noqa: S101 - the sources above are Azure's
        request = fabric.start(resource, "query")
        answer = requests.request(
            request.method,
            request.url(self._url),
            data=request.body,
            headers={**request.headers, "Authorization": f"Bearer {self._token()}"},
            timeout=10,
        )
        accepted = answer.status_code == requests.codes.accepted
        self._tell(target.name, "refresh started" if accepted else f"start failed: {answer.status_code}")
