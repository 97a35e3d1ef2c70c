"""Signals to followers on AWS: `unstale.signal` on the default bus, in a role that the identity on Azure assumes.

token for the audience  ->  AssumeRoleWithWebIdentity: credentials for an hour  ->  PutEvents, one entry

No key is stored: IAM trusts the tenant's tokens as far as the role says (audience and subject), and the role may put
signals on one bus and do nothing else. https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
The shell only posts, and gets the token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from shared.destinations import SIGNAL_SOURCE, Destination
from shared.outcomes.answers import SendFailure, read_status
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.sigv4 import Credentials, sign
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock
from shared.times import time_of

SESSION = "unstale"
"""Name of the sessions, which CloudTrail shows."""
KEPT_BACK = timedelta(minutes=5)
"""Credentials are made anew this long before they end: clocks differ, and a request takes a while."""
JSON_1_1 = "application/x-amz-json-1.1"
"""EventBridge's protocol (its model in botocore: `json`, 1.1)."""
TRUST = "does the role trust this identity: tenant, audience, object id? docs/two-clouds.md"
"""The cure where STS refuses."""

Exchange = Callable[[str, Mapping[str, str], bytes], tuple[int, bytes]]
"""Posts a body with headers to an address, once, following no redirect; gives status and body, or raises."""


class Tokens(Protocol):
    """Where the identity's tokens for the audience come from."""

    def token(self) -> str | Failure:
        """A token that is valid for some minutes, or why there is none."""

    def forget(self, token: str) -> None:
        """The service rejected this token: the next one is to be a new one."""


class Endpoints(msgspec.Struct, frozen=True):
    """Addresses of the two services, where they are not those of the role's partition and Region."""

    sts: str = ""
    """STS; empty for AWS's own."""
    events: str = ""
    """EventBridge; empty for AWS's own."""


class SignalBus:
    """Puts signals onto a bus. One for the process: its credentials are kept as long as they live."""

    def __init__(self, exchange: Exchange, tokens: Tokens, clock: Clock, endpoints: Endpoints) -> None:
        self._exchange = exchange
        self._tokens = tokens
        self._clock = clock
        self._endpoints = endpoints
        self._kept: dict[str, Credentials] = {}

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Put one signal. Nothing is refused for good: whatever is wrong, somebody mends it, and so it waits."""
        try:
            credentials = self._credentials(destination)
            return credentials if isinstance(credentials, SendFailure) else self._put(destination, event, credentials)
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show the token
            return SendFailure(f"no answer: {type(error).__name__}")

    def _put(self, destination: Destination, event: EncodedEvent, credentials: Credentials) -> SendFailure | None:
        url = self._endpoints.events or _address("events", destination)
        body = _entry(destination, event)
        headers = {"Content-Type": JSON_1_1, "X-Amz-Target": "AWSEvents.PutEvents"}
        scope = (destination.region, "events")
        headers = sign(url, headers, body, credentials, scope=scope, now=self._clock.now())
        status, answer = self._exchange(url, headers, body)
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN}:
            self._kept.pop(destination.role, None)  # they may have ended, or the role been made anew
        return _refusal(status, answer)

    def _credentials(self, destination: Destination) -> Credentials | SendFailure:
        """Take the credentials that are kept, or assume the role for new ones."""
        kept = self._kept.get(destination.role)
        if kept and self._clock.now() < kept.expires_at - KEPT_BACK:
            return kept
        token = self._tokens.token()
        if isinstance(token, Failure):
            return SendFailure(f"no token for {destination.audience}: {token}")
        found = self._assume(destination, token)
        if isinstance(found, Credentials):
            self._kept[destination.role] = found
        return found

    def _assume(self, destination: Destination, token: str) -> Credentials | SendFailure:
        url = self._endpoints.sts or _address("sts", destination)
        asked = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": destination.role,
            "RoleSessionName": SESSION,
            "WebIdentityToken": token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status, answer = self._exchange(url, headers, urlencode(asked).encode())
        if status == HTTPStatus.OK:
            return _read_credentials(answer.decode())
        if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN}:
            self._tokens.forget(token)
        return SendFailure(f"STS refused, status {status}: {_member(answer.decode(errors='replace'), 'Code')}; {TRUST}")


def _address(service: str, destination: Destination) -> str:
    """A service's address in the Region, by the partition of the role."""
    suffix = "amazonaws.com.cn" if destination.role.startswith("arn:aws-cn:") else "amazonaws.com"
    return f"https://{service}.{destination.region}.{suffix}/"


def _entry(destination: Destination, event: EncodedEvent) -> bytes:
    """The body of PutEvents: the signal names its target, the upstream, and the end of its run."""
    detail = {"target": destination.follower, **msgspec.json.decode(event.body)}
    entry = {
        "Source": SIGNAL_SOURCE,
        "DetailType": "unstale.signal",
        "Detail": msgspec.json.encode(detail).decode(),
        "EventBusName": "default",
    }
    return msgspec.json.encode({"Entries": [entry]})


def _refusal(status: int, answer: bytes) -> SendFailure | None:
    """Read the answer of EventBridge to a signal: a failure by its code, None where the signal was taken."""
    if status != HTTPStatus.OK:
        code = str(msgspec.json.decode(answer).get("__type", "")).rpartition("#")[2] if answer[:1] == b"{" else ""
        found = read_status(status)
        return SendFailure(f"{found.why if found else status}: {code}")
    said = msgspec.json.decode(answer)
    if not said.get("FailedEntryCount"):
        return None
    return SendFailure(f"EventBridge took no entry: {said['Entries'][0].get('ErrorCode', '')}")


def _read_credentials(answer: str) -> Credentials | SendFailure:
    """Read the credentials in STS's answer, which is XML of known, flat elements."""
    key_id, secret, token, ends = (
        _member(answer, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    )
    expires_at = time_of(ends)
    if not (key_id and secret and token and expires_at):
        return SendFailure("STS answered without credentials")
    return Credentials(key_id, secret, token, expires_at)


def _member(answer: str, name: str) -> str:
    """The text of an element; "" where there is none. Neither keys nor tokens have characters that XML escapes."""
    _, _, rest = answer.partition(f"<{name}>")
    text, closed, _ = rest.partition(f"</{name}>")
    return text.strip() if closed else ""
