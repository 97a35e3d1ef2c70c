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
from shared.targets import BlobCreated, ItemJob, LakeViews, S3ObjectCreated, Target

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
        failures = [record["messageId"] for record in event.get("Records", ()) if not self._took(record["body"])]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}

    def _took(self, body: str) -> bool:
        """Start every target that an event names; whether the message is done with."""
        event = json.loads(body)
        if event.get("detail-type") != "Object Created":
            return True
        detail = event["detail"]
        started = [self._start(target) for target in self._meant(detail["bucket"]["name"], detail["object"]["key"])]
        return all(started)

    def _meant(self, bucket: str, key: str) -> Iterator[Target]:
        """The targets whose source is this object."""
        for target in self._targets:
            for source in target.on:
                if isinstance(source, S3ObjectCreated) and source.bucket == bucket and key.startswith(source.prefix):
                    yield target

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
            if any(isinstance(s, BlobCreated) and f"/{s.container}/blobs/{s.prefix}" in subject for s in target.on):
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
