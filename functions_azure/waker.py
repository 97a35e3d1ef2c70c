"""Wakes as hidden messages on a Storage queue of their own, so that a storm of events delays none."""

from __future__ import annotations

import math
from datetime import timedelta

from functions_azure.clients import NEVER, Clients, Deadline, ask
from functions_azure.settings import WAKES_QUEUE
from shared.inbound.wakes import wake_message
from shared.refresh.state import Wake

FOREVER = -1
"""Seconds to live. With a week, the default, a message that is hidden for six days may be gone before it is taken."""


class Waker:
    """`shared.refresh.ports.Waker` on a Storage queue."""

    reach = timedelta(days=6)
    """Seven days is the longest visibility delay (Put Message); a day less leaves room for clocks and rounding."""
    relays = True
    """A wake that is due later is sent in steps: a deployment may be without ticks for days (host issue 11828)."""

    def __init__(self, clients: Clients, deadline: Deadline = NEVER) -> None:
        self._clients = clients
        self._deadline = deadline

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Put Message, plain text. A delay is whole seconds, rounded up: a wake that is early finds nothing to do."""
        seconds = math.ceil(delay.total_seconds())
        ask(
            "sending a wake",
            self._deadline,
            lambda **limits: self._clients.queue(WAKES_QUEUE).send_message(
                wake_message(wake), visibility_timeout=seconds, time_to_live=FOREVER, **limits
            ),
        )
