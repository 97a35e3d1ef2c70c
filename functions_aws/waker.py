"""Wakes as delayed messages on an SQS queue of their own, so that a storm of events delays none."""

from __future__ import annotations

import math
from datetime import timedelta

from functions_aws.clients import Clients, ask
from shared.inbound.wakes import wake_message
from shared.refresh.state import Wake


class Waker:
    """Delayed messages on the queue for wakes: `shared.refresh.ports.Waker` on SQS."""

    reach = timedelta(seconds=900)
    """The longest DelaySeconds (SendMessage). What is due later is found by the tick."""
    relays = False
    """A wake beyond `reach` is not sent in steps, because a tick comes every minute."""

    def __init__(self, clients: Clients, queue_url: str) -> None:
        self._clients = clients
        self._queue_url = queue_url

    def send(self, wake: Wake, delay: timedelta) -> None:
        """SendMessage with a delay of whole seconds, rounded up: a wake that is early finds nothing to do."""
        seconds = math.ceil(delay.total_seconds())
        body = wake_message(wake)
        ask(
            "sending a wake",
            lambda: self._clients.sqs.send_message(QueueUrl=self._queue_url, MessageBody=body, DelaySeconds=seconds),
        )
