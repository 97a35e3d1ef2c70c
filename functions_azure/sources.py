"""The calls that looking makes in OneLake, each sent once; what they mean is read in `shared.sources.delta`.

https://learn.microsoft.com/fabric/onelake/onelake-access-api: the DFS endpoint, with a token for Azure Storage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import requests

from functions_azure.clients import NEVER, Deadline, attempt
from functions_azure.sessions import read_body, session
from functions_azure.tokens import Tokens, send_with_token
from shared.platforms.failures import ANSWER_LIMIT, MISCONFIGURED, NOT_CONNECTED, Operation, token_refused
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock
from shared.sources import onelake
from shared.sources.delta import file_path, list_path, look_at_table
from shared.sources.groups import DeltaTable, Group
from shared.sources.ports import NEVER as ENDLESS
from shared.sources.ports import Known, Seen
from shared.sources.replies import Reply

CONNECT_SECONDS, READ_SECONDS = 1.0, 3.0
"""Of one call, as of one to Fabric: a look must leave time for the ones after it."""
LEAST_SECONDS = 0.5
"""Given less, a call has no fair chance to be answered, and the look is left for the next tick."""


NO_TIME_LEFT = NOT_CONNECTED.failure("NoTimeLeft", "not sent: too little time was left")


class Sources:
    """`shared.sources.ports.Sources` in OneLake. Safe between threads: a tick looks at up to 16 tables at once."""

    def __init__(
        self,
        tokens: Tokens,
        clock: Clock,
        *,
        url: str,
        http: requests.Session | None = None,
        deadline: Deadline = NEVER,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """`url` is the only place that a token is sent to; no redirect is followed.

        `redactor` takes secrets out of what exceptions say, before it becomes a failure that records keep.
        """
        self._tokens = tokens
        self._clock = clock
        self._url = url
        self._http = http or session()
        self._deadline = deadline
        self._redactor = redactor

    def look(self, group: Group, known: Known, *, ends_at: float = ENDLESS) -> Seen | Failure:
        """Look at one Delta table."""
        if not isinstance(group, DeltaTable):
            return MISCONFIGURED.failure("WrongCloud", f"{group} is not in OneLake")
        return look_at_table(group, known, _Until(self, lambda: self._clock.monotonic() > ends_at))

    def get_file(self, table: DeltaTable, name: str, first: int, last: int, etag: str) -> Reply[bytes] | Failure:
        """A part of a file of the log."""
        headers = {"Range": f"bytes={first}-{last}", **({"If-None-Match": etag} if etag else {})}
        return self._ask(file_path(table, name), headers, last - first + 1)

    def list_files(self, table: DeltaTable, continuation: str) -> Reply[bytes] | Failure:
        """A page of the names in the log."""
        return self._ask(list_path(table, continuation), {}, ANSWER_LIMIT)

    def _ask(self, path: str, headers: dict[str, str], limit: int) -> Reply[bytes] | Failure:
        """Send a request; where it is refused for its token, send it once more with a new one."""
        reply: Reply[bytes] | Failure = send_with_token(
            self._tokens,
            lambda token: self._send(path, headers, token, limit),
            lambda reply: token_refused(reply.status),
        )
        return reply if isinstance(reply, Failure) else onelake.failure(reply) or reply

    def _send(self, path: str, headers: dict[str, str], token: str, limit: int) -> Reply[bytes] | Failure:
        read_seconds = self._deadline.seconds_left(READ_SECONDS + CONNECT_SECONDS) - CONNECT_SECONDS
        if read_seconds < LEAST_SECONDS:
            return NO_TIME_LEFT
        return attempt(
            Operation.LIST,
            lambda: self._get(path, {**onelake.HEADERS, **headers}, token, limit, read_seconds),
            self._redactor.plain,
        )

    def _get(self, path: str, headers: dict[str, str], token: str, limit: int, read_seconds: float) -> Reply[bytes]:
        began, asked_at = time.monotonic(), self._clock.now()
        with self._http.get(
            self._url + path,
            headers={**headers, "Authorization": f"Bearer {token}"},
            allow_redirects=False,
            stream=True,
            timeout=(CONNECT_SECONDS, read_seconds),
        ) as response:
            body = read_body(response, limit)[:limit]
            took = timedelta(seconds=time.monotonic() - began)
            found = dict(response.headers)
            return Reply(body, asked_at, self._clock.now(), took, response.status_code, found)


class _Until:
    """The calls of one look, none of which begins after its end; a tick makes several looks at once."""

    def __init__(self, sources: Sources, is_over: Callable[[], bool]) -> None:
        self._sources, self._is_over = sources, is_over

    def get_file(self, table: DeltaTable, name: str, first: int, last: int, etag: str) -> Reply[bytes] | Failure:
        """As `Sources` has it."""
        return NO_TIME_LEFT if self._is_over() else self._sources.get_file(table, name, first, last, etag)

    def list_files(self, table: DeltaTable, continuation: str) -> Reply[bytes] | Failure:
        """As `Sources` has it."""
        return NO_TIME_LEFT if self._is_over() else self._sources.list_files(table, continuation)
