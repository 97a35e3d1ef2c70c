"""How moto is served on loopback: one request at a time, by its own handler, to clients that read no profile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final

import botocore.session
from moto.events.models import Rule
from moto.events.utils import EventMessageType
from moto.moto_server.werkzeug_app import MotoRequestHandler

LOOK_SECONDS: Final = 0.1
"""How late a delayed message may be."""


class Polled(threading.Condition):
    """A condition that is looked at now and then: nobody notifies a long poll of a delay that is over."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notice, or for a while."""
        return super().wait(LOOK_SECONDS if timeout is None else min(timeout, LOOK_SECONDS))


class OneAtATime:
    """A WSGI application under a lock. What it raises is a bug of an emulator: kept, besides the caller's 500."""

    def __init__(self, app: Any, lock: Any, errors: list[Exception]) -> None:
        """`errors` is where the emulator looks for what went wrong."""
        self._app = app
        self._lock = lock
        self._errors = errors

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        """Answer one request, as WSGI wants it."""
        with self._lock:
            try:
                answer = self._app(environ, start_response)
                try:
                    return list(answer)
                finally:
                    answer.close()
            except Exception as error:
                self._errors.append(error)
                raise


class QuietHandler(MotoRequestHandler):
    """moto's, without a line per request, and without the machine's date: the application gives its own."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer with its status alone."""
        self.send_response_only(code, message)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: emulators keep what they were asked."""


def session_without_profile() -> botocore.session.Session:
    """A session that reads nothing of the user's: a profile named in the environment may not even exist."""
    nothing = (None, None, os.devnull, None)
    return botocore.session.Session(
        {"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing}
    )


def sending_as_is(send_to_targets: Callable[..., None]) -> Callable[..., None]:
    """A rule's way to its targets that leaves `account` in the event."""

    def send(rule: Rule, event: EventMessageType, *_: object, **__: object) -> None:
        """Send without moto's own additions; a rule with a template keeps what templates may name."""
        transforms = any("InputTransformer" in target for target in rule.targets)
        sent = event.copy()
        if not transforms:
            sent.pop("ingestion-time", None)  # only for templates
        send_to_targets(rule, sent, transform_input=transforms)

    return send
