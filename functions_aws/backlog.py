"""Messages that wait in the queues, and for how long: what `unstale status` asks. Nothing is received.

Receiving would count towards the dead letters, so the age is CloudWatch's figure. It comes up to two minutes late, and
leaves out what was received three times or more, which the function's own ticks tell of.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from functions_aws.clients import Clients, ask
from functions_aws.waker import Waker
from shared.redaction import plain
from shared.refresh.evidence import Backlog
from shared.refresh.ports import StoreDownError

EVENTS_LIMIT = timedelta(minutes=5)
"""Age from which on nobody is known to take events: three minutes, and two that CloudWatch's figure is late."""
WAKES_LIMIT = Waker.reach + EVENTS_LIMIT
"""The same of wakes, whose age counts from when they were sent, delayed as they may be."""
WINDOW = timedelta(minutes=15)
"""Figures that are looked at; one of a queue that nobody used for hours may come a quarter of an hour late."""
PERIOD_SECONDS = 60
"""SQS sends its figures once a minute."""

WAITING = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
"""Attributes of a queue: messages that wait, and those that somebody holds. Delayed ones are neither."""


class Backlogs:
    """Counts what waits in the queues with these URLs."""

    def __init__(self, clients: Clients, events_url: str, wakes_url: str) -> None:
        self._clients = clients
        self._events_url = events_url
        self._wakes_url = wakes_url

    def read(self, now: datetime) -> tuple[Backlog, ...]:
        """Say for each queue how many messages wait, and for how long. Raises `StoreDownError`."""
        wakes = self._backlog(self._wakes_url, WAKES_LIMIT, now)
        if not self._events_url:
            cause = "UNSTALE_EVENTS_QUEUE_URL is not set: the stack's output Environment has it"
            return (Backlog("the events queue", 0, unreadable=cause), wakes)
        return (self._backlog(self._events_url, EVENTS_LIMIT, now), wakes)

    def _backlog(self, url: str, limit: timedelta, now: datetime) -> Backlog:
        names = [*WAITING, "QueueArn"]
        found = ask(
            "counting messages that wait",
            lambda: self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names),
        )
        attributes = found["Attributes"]
        name = attributes["QueueArn"].rpartition(":")[2]
        waiting = sum(int(attributes[attribute]) for attribute in WAITING)
        if not waiting:
            return Backlog(name, 0, limit=limit)
        try:
            age = ask("asking for the age of the oldest", lambda: self._age(name, now))
        except StoreDownError as down:
            return Backlog(name, waiting, limit=limit, unreadable=plain(str(down)))
        return Backlog(name, waiting, age, limit, "" if age is not None else "CloudWatch has no figure of it yet")

    def _age(self, name: str, now: datetime) -> timedelta | None:
        """GetMetricStatistics: the latest figure of the oldest message's age; None where there is none yet."""
        answer: Any = self._clients.cloudwatch.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=now - WINDOW,
            EndTime=now + timedelta(seconds=PERIOD_SECONDS),
            Period=PERIOD_SECONDS,
            Statistics=["Maximum"],
        )
        latest = max(answer["Datapoints"], key=lambda point: point["Timestamp"], default=None)
        return timedelta(seconds=latest["Maximum"]) if latest else None
