"""Reading Azure Resource Manager and Fabric over HTTP: GET and nothing else, so that nothing is changed or started.

A token is sent to the one address that it was asked for, over the same session as the function's: no redirect is
followed, and addresses of next pages are taken apart and asked for at the base.

Every way in which an answer can fail to come is one exception with a text for people, so that looks need no `except` of
their own: no token, no connection, a refusal, something else than JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests

from functions_azure.sessions import session
from functions_azure.tokens import Tokens
from shared.redaction import plain
from shared.refresh.failure import Failure

TIMEOUT_SECONDS: Final = (5.0, 30.0)
"""To connect, and to read. Resource Manager takes a second or two for a list over a whole subscription."""

MOST_PAGES: Final = 100
"""Pages of one list at most, so that a service that pages in circles ends somewhere; an honest list has a few."""


class NoAnswerError(Exception):
    """No answer came: no token, no connection, or not the right to look."""

    def __init__(self, why: str, status: int = 0, code: str = "") -> None:
        """Keep the HTTP status and the service's error code, where there was an answer at all."""
        self.status = status
        self.code = code
        super().__init__(why)


class NotFoundError(NoAnswerError):
    """404: there is no such thing, or none that may be seen. Azure hides what one may not read in this way as well."""


class Rest:
    """An API at one address, which is the only place that its token is sent to."""

    def __init__(self, url: str, tokens: Tokens) -> None:
        """Remember the address; tokens are asked for with each call."""
        self._url = url.rstrip("/")
        self._tokens = tokens
        self._http = session()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """An object. Raises `NoAnswerError`; a token that is refused is renewed once."""
        answer = self._send(path, query)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            answer = self._send(path, query)
        if answer.status_code != HTTPStatus.OK:
            raise _refusal(answer)
        try:
            found = answer.json()
        except requests.JSONDecodeError as error:
            raise NoAnswerError(f"no JSON from {path}") from error
        if not isinstance(found, dict):
            raise NoAnswerError(f"no object from {path}")
        return found

    def every(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """The objects of a list, page by page. Of the next page's address only the query is taken."""
        for _ in range(MOST_PAGES):
            page = self.get(path, **query)
            yield from page.get("value") or ()
            following = page.get("nextLink") or page.get("continuationUri")
            if not following:
                return
            query = dict(parse_qsl(urlsplit(str(following)).query))

    def _send(self, path: str, query: Mapping[str, str]) -> requests.Response:
        """Send one GET with a token. A refused token is forgotten, so that the next call brings a new one."""
        token = self._tokens.token()
        if isinstance(token, Failure):
            raise NoAnswerError(token.message, code=token.code)
        try:
            answer = self._http.get(
                self._url + path,
                params=dict(query),
                headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NoAnswerError(plain(f"{type(error).__name__}: {error}")) from error
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            self._tokens.forget(token)
        return answer


def _refusal(answer: requests.Response) -> NoAnswerError:
    """Resource Manager's `{"error": {"code", "message"}}`, Fabric's `{"errorCode", "message"}`, or the bare status."""
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        body = {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or error.get("errorCode") or f"HTTP {answer.status_code}")
    why = plain(f"{code}: {error.get('message') or answer.reason}")
    kind = NotFoundError if answer.status_code == HTTPStatus.NOT_FOUND else NoAnswerError
    return kind(why, answer.status_code, code)
