"""Counts the ways through the house: files, changes of file, and reads of the record, call by call, with stub clients.

    python -m tests.support.ways         prints them; `make house` does the same

A way is what the Lambda does for one event, from its handler to the call that matters: the save of the target's record,
or the start. It is the code of this repository that runs meanwhile, function by function. Where the next function is in
another file, the reader has to change the file, and that is counted. The SDK's clients are stubs, so that nothing else
is on the way.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType, SimpleNamespace
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
PRODUCT = tuple(f"{ROOT / room}{os.sep}" for room in ("functions_aws", "shared"))
KEY = "glue-view:123456789012:sales:daily"
RUN = "5d1c6a3e-9f40-4c5e-9d0a-3b1b6f0e7c21"
"""The id that every run gets here."""
CONFIGURATION = """
[targets.daily]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "daily"
on = [{ s3_object_created = { bucket = "landing", prefix = "orders/" } }]
"""
ENVIRONMENT = {
    "UNSTALE_TABLE": "table",
    "UNSTALE_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/wakes",
    "POWERTOOLS_SERVICE_NAME": "ways",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_REGION": "eu-central-1",
}


@dataclass
class Way:
    """What happened during one call of the handler."""

    files: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How often the next function is in another file than the one before."""
        return sum(one != other for one, other in zip(self.files, self.files[1:], strict=False))

    @property
    def distinct(self) -> tuple[str, ...]:
        """The files, in the order in which one meets them."""
        return tuple(dict.fromkeys(self.files))

    @property
    def reads(self) -> int:
        """How often the target's record was read before it was written last; a look at sources may read it again."""
        return self.calls[: _last(self.calls, "write")].count("read")

    def __str__(self) -> str:
        return f"{len(self.distinct)} files, {self.changes} changes of file, {self.reads} reads of the record"


def _last(calls: list[str], name: str) -> int:
    """Where a call came last; the end of the list if it never came."""
    return max((place for place, call in enumerate(calls) if call == name), default=len(calls))


class Table:
    """DynamoDB, as far as the product calls it: one table in a dictionary. Nobody else writes, so conditions hold."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._items: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._told = told

    def get_item(self, **asked: Any) -> dict[str, Any]:
        """Read one."""
        return {"Item": found} if (found := self._read(asked["Key"])) else {}

    def batch_get_item(self, **asked: Any) -> dict[str, Any]:
        """Read many."""
        [(table, wanted)] = asked["RequestItems"].items()
        return {"Responses": {table: [found for key in wanted["Keys"] if (found := self._read(key))]}}

    def put_item(self, **asked: Any) -> dict[str, Any]:
        """Write one."""
        item = asked["Item"]
        self._items[_place(item)] = item
        self._told("write" if _place(item) == (KEY, "record") else "other write")
        return {}

    def delete_item(self, **asked: Any) -> dict[str, Any]:
        """Remove one."""
        self._items.pop(_place(asked["Key"]), None)
        return {}

    def query(self, **asked: Any) -> dict[str, Any]:
        """What is due, or the history of a record, which is empty."""
        now = asked["ExpressionAttributeValues"].get(":now", {"S": ""})["S"]
        return {"Items": [item for item in self._items.values() if "wake_at" in item and item["wake_at"]["S"] <= now]}

    def scan(self, **_: Any) -> dict[str, Any]:
        """All records."""
        return {"Items": [item for (_, kind), item in self._items.items() if kind == "record"]}

    def _read(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        self._told("read" if _place(key) == (KEY, "record") else "other read")
        return self._items.get(_place(key))


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


class Trace:
    """Follows the functions of the product, while it is on."""

    def __init__(self) -> None:
        self.way = Way()
        self._until = ""

    def call(self, name: str) -> None:
        """A stub was called."""
        self.way.calls.append(name)
        if name == self._until:
            sys.setprofile(None)

    @contextmanager
    def following(self, until: str) -> Iterator[Way]:
        """A new way, followed until a stub is called, or the context is left; calls of stubs are listed to the end."""
        self.way, self._until = Way(), until
        sys.setprofile(self._profile)
        try:
            yield self.way
        finally:
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (file := _product_file(frame.f_code)):
            self.way.files.append(file)


def _product_file(code: CodeType) -> str:
    """The file of a function with a name; what Python calls within one (comprehensions, lambdas) is no step."""
    inside = code.co_filename.startswith(PRODUCT) and not code.co_name.startswith("<")
    return Path(code.co_filename).relative_to(ROOT).as_posix() if inside else ""


class Lambda:
    """The function, warm and planned: nothing is owed, nothing runs."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.now = datetime.now(UTC)
        self.glue = SimpleNamespace(
            start_materialized_view_refresh_task_run=self._start,
            get_materialized_view_refresh_task_run=self._get,
            get_tables=lambda **_: {"TableList": [], "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}},
            list_materialized_view_refresh_task_runs=lambda **_: {"MaterializedViewRefreshTaskRuns": []},
        )
        self._clients = {
            "dynamodb": Table(self.trace.call),
            "sqs": SimpleNamespace(send_message=lambda **_: self.trace.call("send")),
            "glue": self.glue,
        }

    def client(self, service: str, **_: Any) -> Any:
        """As `botocore.session.Session.create_client` makes one, with an address and a session to be replaced."""
        client: Any = self._clients[service]
        events = SimpleNamespace(register=lambda *_: None)
        client.meta = SimpleNamespace(events=events, endpoint_url=f"https://{service}.test")
        client._endpoint = SimpleNamespace()
        return client

    def invoke(self, event: Mapping[str, Any], *, until: str = "") -> Way:
        """Call the handler, and follow it: to its end, or until a stub is called."""
        from functions_aws import app

        context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000, aws_request_id="request")
        with self.trace.following(until) as way:
            app.handler(dict(event), context)
        return way

    def end_first_run(self) -> None:
        """Let the first tick plan the target, and its first run begin and succeed; then an event that concerns nobody.

        The function is warm after that: the index of who listens where is there.
        """
        for _ in range(20):
            self.invoke({"tick": True})
            self.now += timedelta(minutes=1)
        self.invoke(arrival(self.now, "elsewhere"))

    def _get(self, **_: Any) -> dict[str, Any]:
        return {
            "MaterializedViewRefreshTaskRun": {
                "MaterializedViewRefreshTaskRunId": RUN,
                "Status": "SUCCEEDED",
                "CreationTime": self._started_at,
                "EndTime": self._started_at + timedelta(seconds=30),
            }
        }

    def _start(self, **_: Any) -> dict[str, str]:
        self.trace.call("start")
        self._started_at = self.now
        return {"MaterializedViewRefreshTaskRunId": RUN}


@contextmanager
def deployed() -> Iterator[Lambda]:
    """A function with one target, whose first run is over and forgotten."""
    import botocore.session

    from functions_aws import app, wiring

    made = Lambda()
    with TemporaryDirectory() as folder:
        file = Path(folder, "unstale.toml")
        file.write_text(CONFIGURATION, encoding="utf-8")
        environment = {**os.environ, **ENVIRONMENT, "UNSTALE_CONFIG": str(file)}
        with (
            patch.dict(os.environ, environment, clear=True),
            patch.object(wiring.SystemClock, "now", lambda _: made.now),
            patch.object(botocore.session.Session, "create_client", lambda _, name, **more: made.client(name, **more)),
            patch.dict(app._made, clear=True),
        ):
            yield made


def arrival(at: datetime, bucket: str = "landing") -> dict[str, Any]:
    """A batch of one message: S3 has a new object."""
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "detail": {"bucket": {"name": bucket}, "object": {"key": "orders/1", "size": 1}, "reason": "PutObject"},
    }
    record = {"messageId": "1", "eventSource": "aws:sqs", "body": json.dumps(event), "attributes": {}}
    return {"Records": [record | {"eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:events"}]}


def ways() -> dict[str, Way]:
    """An arrival to a saved record, then a tick to a start."""
    with deployed() as here:
        here.end_first_run()
        found = {"an arrival to a saved record": here.invoke(arrival(here.now), until="write")}
        here.now += timedelta(minutes=2)
        found["a tick to a start"] = here.invoke({"tick": True}, until="start")
        assert "start" in found["a tick to a start"].calls
        return found


def table() -> Iterator[str]:
    """The lines to print."""
    for name, way in ways().items():
        yield f"{name}: {way}"
        yield f"  calls: {', '.join(way.calls)}"
        yield f"  files: {', '.join(way.distinct)}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table())
