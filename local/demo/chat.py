"""The chat of the demo: a webhook on loopback that takes messages as Slack does, so that a person sees what is told."""

from __future__ import annotations

import json
from collections.abc import Callable

from local.emulators.clock import FastClock
from local.emulators.http_server import Answer, LoopbackServer, Request

PATH = "/chat"


class Chat(LoopbackServer):
    """Keeps the messages that come, and shows each as it comes. Use it as a context."""

    def __init__(self, clock: FastClock, show: Callable[[str, str, str], None]) -> None:
        """`show` tells who says what, in which style."""
        super().__init__(self._take, clock.now)
        self.messages: list[str] = []
        self._show = show

    @property
    def destination(self) -> str:
        """The lines of `unstale.toml` by which failed refreshes are told here."""
        return f'\n[[tell]]\non = ["failed"]\nto = "webhook"\nurl = "{self.url}{PATH}"\nformat = "slack"\n'

    def _take(self, request: Request) -> Answer:
        """Take a message as an incoming webhook of Slack does, which answers `ok`."""
        if (request.method, request.path) != ("POST", PATH):
            return Answer(404)
        text = str(json.loads(request.body)["text"])
        self.messages.append(text)
        self._show("a chat says", text, "bold magenta")
        return Answer(200, body=b"ok")
