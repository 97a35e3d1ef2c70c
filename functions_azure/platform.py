"""Fabric over HTTP: each operation sends what `shared.platforms.fabric` builds, and hands back what that reads.

https://learn.microsoft.com/rest/api/fabric/core/job-scheduler
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import NamedTuple

import requests

from functions_azure.clients import NEVER, Deadline, attempt
from functions_azure.correlation import current
from functions_azure.sessions import read_body, session
from functions_azure.tokens import Tokens, send_with_token
from shared.platforms import fabric
from shared.platforms.failures import ANSWER_LIMIT, NOT_CONNECTED, Operation, token_refused
from shared.platforms.paging import Page, gather
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock, Report, Started
from shared.targets import GlueView, Target

CONNECT_SECONDS, READ_SECONDS = 1.0, 3.0
"""Together `fabric.CAPABILITIES.call_timeout`, which bounds a whole call, its token included."""
LEAST_SECONDS = 2.0
"""Given less, a start has a fair chance to time out, and one that timed out is a run that must be looked for."""
IDLE = timedelta(seconds=30)
"""Connections that lay idle for longer are not used again. What stands between us and Fabric drops them without a word
(Azure's own address translation after four minutes), and a start on such a one has an unknown outcome."""


class HttpAnswer(NamedTuple):
    """The parts of an HTTP answer that `shared.platforms.fabric` reads."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """The one session to Fabric, for the process. Safe between threads."""

    def __init__(self, http: requests.Session | None = None) -> None:
        self._http = http or session()
        self._used_at = time.monotonic()

    def send(self, request: fabric.Request, url: str, token: str, ends_at: float) -> HttpAnswer:
        """Send once; no redirect is followed. Raises what `requests` raises; `ends_at` is of the monotonic clock."""
        now = time.monotonic()
        if now - self._used_at > IDLE.total_seconds():
            self._http.close()
        self._used_at = now
        read_seconds = min(READ_SECONDS, ends_at - now - CONNECT_SECONDS)
        with self._http.request(
            request.method,
            url,
            data=request.body,
            headers={**request.headers, **current()},
            auth=_Bearer(token),
            allow_redirects=False,
            stream=True,
            timeout=(CONNECT_SECONDS, max(read_seconds, LEAST_SECONDS - CONNECT_SECONDS)),
        ) as response:
            return HttpAnswer(response.status_code, dict(response.headers), read_body(response, ANSWER_LIMIT))


class Platform:
    """`shared.refresh.ports.Platform` for Fabric's jobs; one for each invocation."""

    capabilities = fabric.CAPABILITIES

    def __init__(
        self,
        connection: Connection,
        tokens: Tokens,
        clock: Clock,
        *,
        url: str,
        url_form: fabric.UrlForm,
        deadline: Deadline = NEVER,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """`url` is the only place that a token is sent to: it is the base of every request, whatever answers name.

        `redactor` takes secrets out of what exceptions say, before it becomes a trouble that records keep.
        """
        self._connection = connection
        self._tokens = tokens
        self._clock = clock
        self._url = url
        self._url_form = url_form
        self._deadline = deadline
        self._redactor = redactor

    def start(self, target: Target, *, full: bool) -> Started | Failure:  # noqa: ARG002 - Fabric decides how
        """Run On Demand Item Job, or the lake views' own form of it."""
        answer = self._ask(Operation.START, fabric.start(_resource(target), self._url_form))
        return answer if isinstance(answer, Failure) else fabric.read_start(*answer, self._clock.now())

    def get(self, target: Target, run_id: str) -> Report | Failure:
        """Get Item Job Instance."""
        answer = self._ask(Operation.GET, fabric.get_item_job_instance(_resource(target), run_id))
        return answer if isinstance(answer, Failure) else fabric.read_report(*answer, self._clock.now())

    def list(self, target: Target, since: datetime) -> tuple[Report, ...] | Failure:
        """List Item Job Instances, page by page."""
        resource = _resource(target)

        def page(request: fabric.Request) -> Page[fabric.Request] | Failure:
            answer = self._ask(Operation.LIST, request)
            if isinstance(answer, Failure):
                return answer
            return fabric.read_list(*answer, self._clock.now(), resource=resource, since=since)

        return gather(fabric.list_item_job_instances(resource), page)

    def cancel(self, target: Target, run_id: str) -> Failure | None:
        """Cancel Item Job Instance."""
        answer = self._ask(Operation.CANCEL, fabric.cancel_item_job_instance(_resource(target), run_id))
        return answer if isinstance(answer, Failure) else fabric.read_cancel(*answer, self._clock.now())

    def _ask(self, operation: Operation, request: fabric.Request) -> HttpAnswer | Failure:
        """Send a request; where it is refused for its token, send it once more with a new one: a 401 has no effect."""
        ends_at = time.monotonic() + self._deadline.seconds_left(self.capabilities.call_timeout.total_seconds())
        return send_with_token(
            self._tokens,
            lambda token: self._send(operation, request, token, ends_at),
            lambda answer: token_refused(answer.status),
        )

    def _send(self, operation: Operation, request: fabric.Request, token: str, ends_at: float) -> HttpAnswer | Failure:
        if ends_at - time.monotonic() < LEAST_SECONDS:
            return NOT_CONNECTED.failure("NoTimeLeft", "not sent: too little time was left in this invocation")
        return attempt(
            operation,
            lambda: self._connection.send(request, request.url(self._url), token, ends_at),
            self._redactor.plain,
        )


class _Bearer(requests.auth.AuthBase):
    """The token. Given to each request, so that no `.netrc` puts anything in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _resource(target: Target) -> fabric.Resource:
    resource = target.resource
    assert not isinstance(resource, GlueView), f"{target.name} is nothing of Fabric's"  # noqa: S101 - the engine's filter
    return resource
