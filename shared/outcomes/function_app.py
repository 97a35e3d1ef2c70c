"""Signals to followers on Azure: one request of HTTP to the function app there, with a key of its function `refresh`.

The key opens that one function (https://learn.microsoft.com/azure/azure-functions/function-keys-how-to). The shell only
posts, and fetches the secret.
"""

from __future__ import annotations

from http import HTTPStatus

from msgspec.structs import replace

from shared.destinations import Destination
from shared.outcomes.answers import SendFailure, read_status
from shared.outcomes.formats import EncodedEvent
from shared.outcomes.webhook import Post, Secrets

KEY_HEADER = "x-functions-key"
"""The header in which the Functions host looks for a key: one in the address would stand in logs."""


class FunctionApp:
    """Posts signals to our function app."""

    def __init__(self, post: Post, secrets: Secrets) -> None:
        self._post = post
        self._secrets = secrets

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Post a signal to `/api/refresh/{target}`. Only the app itself refuses for good: where it has no such target.

        Any other refusal, a wrong key or an app that is not there included, is mended by somebody, and so waits.
        """
        key = self._secrets.read(destination.key_secret)
        if isinstance(key, SendFailure):
            return key
        if not key:
            return SendFailure(f"the secret {destination.key_secret} is empty")
        headers = {KEY_HEADER: key, "Content-Type": event.content_type}
        try:
            status = self._post(f"{destination.url}/api/refresh/{destination.follower}", headers, event.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, its words may show the key
            return SendFailure(f"no answer: {type(error).__name__}")
        failure = read_status(status)
        return replace(failure, for_good=status == HTTPStatus.GONE) if failure else None
