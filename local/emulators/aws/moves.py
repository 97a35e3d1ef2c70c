"""The two operations of SQS that a redrive needs and moto has none of: StartMessageMoveTask, ListMessageMoveTasks.

A move is over when its start is answered, as SQS's own is soon after for a few messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

from __future__ import annotations

import json
from typing import Any

from moto.sqs.models import sqs_backends
from werkzeug.wrappers import Response

START, LIST = "AmazonSQS.StartMessageMoveTask", "AmazonSQS.ListMessageMoveTasks"
"""By the header X-Amz-Target."""


class MoveTasks:
    """A WSGI application before moto's, which moves messages and hands on all else."""

    def __init__(self, app: Any, account: str, region: str) -> None:
        self._app = app
        self._account = account
        self._region = region
        self._tasks: dict[str, dict[str, Any]] = {}

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Answer one request."""
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target not in {START, LIST}:
            return self._app(environ, start_response)
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        found = self._start(**asked) if target == START else self._list(**asked)
        return Response(json.dumps(found), content_type="application/x-amz-json-1.0")(environ, start_response)

    def _start(self, SourceArn: str, DestinationArn: str) -> dict[str, Any]:  # noqa: N803 - the names of the API
        """Move all messages of one queue to the other, each as it is and as if it had never been received."""
        source, destination = self._queue(SourceArn), self._queue(DestinationArn)
        messages, source._messages = source._messages, []  # noqa: SLF001 - moto has no other way to take all
        source.pending_messages.clear()
        for message in messages:
            message.approximate_receive_count = message.visible_at = 0
            destination.add_message(message)
        task = {"Status": "COMPLETED", "SourceArn": SourceArn, "DestinationArn": DestinationArn}
        counts = ("ApproximateNumberOfMessagesMoved", "ApproximateNumberOfMessagesToMove")
        self._tasks[SourceArn] = task | dict.fromkeys(counts, len(messages))
        return {"TaskHandle": SourceArn}

    def _list(self, SourceArn: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - likewise
        """The last move out of a queue, where there was one."""
        task = self._tasks.get(SourceArn)
        return {"Results": [task] if task else []}

    def _queue(self, arn: str) -> Any:
        return sqs_backends[self._account][self._region].queues[arn.rpartition(":")[2]]
