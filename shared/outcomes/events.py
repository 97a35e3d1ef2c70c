"""Outcome events as values: what happened to a target, how the target stands, and the run that it is about.

An event is a CloudEvent 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md). Its id is the key of
the target's record and the event's number, so a repeated delivery is recognised, and a gap says that some gave way.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from shared.refresh.evidence import Evidence
from shared.refresh.explain import explain
from shared.refresh.state import Ended, Notice
from shared.refresh.status import TargetStatus, status_of
from shared.targets import Target
from shared.times import minute
from shared.values import Value

TYPE_PREFIX = "unstale."
"""Beginning of the types of all events."""

HEADLINES = {
    "refreshed": "{name} was refreshed",
    "failed": "A refresh of {name} failed",
    "held": "{name} is held: nothing is started",
    "released": "{name} is no longer held",
    "late": "{name} is late",
    "recovered": "{name} is no longer late",
    "aborted": "A refresh of {name} was cancelled",
}
"""First line for people of each kind of event."""


class OutcomeEvent(Value, frozen=True):
    """An outcome event, before it is written in any format."""

    id: str
    """The record's key and the number of the event."""
    kind: str
    """The last part of its type."""
    source: str
    """The deployment, as a URI reference."""
    target: Target
    """The target that it is about."""
    at: datetime
    """When the event happened."""
    status: TargetStatus
    """How the target stands when the event is sent."""
    run: Ended | None
    """The run that it is about, where it is about one and history still has that."""
    reason: str
    """Why the target stands as it does."""
    cures: tuple[str, ...]
    """Things that the reader can do now, commands to type among them."""

    @property
    def type(self) -> str:
        """`unstale.late` and so on."""
        return f"{TYPE_PREFIX}{self.kind}"

    @property
    def headline(self) -> str:
        """The first line for people: it names the view."""
        return HEADLINES[self.kind].format(name=self.target.name)

    @property
    def sentence(self) -> str:
        """The whole event in one sentence or two: the view, since when it is stale, why, and what to do."""
        since = self.status.stale_since
        stale = f" It has been stale since {minute(since)}." if since else ""
        failed = f" {self.run.error}." if self.kind == "failed" and self.run and self.run.error else ""
        return f"{self.headline}.{failed}{stale} {self.reason}. To do: {'; '.join(self.cures) or 'nothing'}."


def outcome(source: str, notice: Notice, evidence: Evidence, run: Ended | None) -> OutcomeEvent:
    """The event that a notice stands for, with what is known when it is sent."""
    target = evidence.target
    status = status_of(evidence)
    said = explain(evidence, status.verdict)
    return OutcomeEvent(
        id=f"{target.key}/{notice.number}",
        kind=notice.kind,
        source=source,
        target=target,
        at=notice.at,
        status=status,
        run=run,
        reason=status.why,
        cures=tuple(sentence.text for sentence in said if sentence.topic == "do"),
    )


def cloud_event(found: OutcomeEvent) -> dict[str, Any]:
    """The CloudEvent in its JSON form; `data` is what `status --json` says, the run, and a sentence for people."""
    data: dict[str, Any] = {**msgspec.to_builtins(found.status), "message": found.sentence}
    if found.run:
        data["run"] = msgspec.to_builtins(found.run)
    return {
        "specversion": "1.0",
        "id": found.id,
        "source": found.source,
        "type": found.type,
        "subject": found.target.name,
        "time": msgspec.to_builtins(found.at),
        "datacontenttype": "application/json",
        "data": data,
    }
