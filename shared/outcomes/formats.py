"""Outcome events as bytes, in the format that a destination wants: CloudEvents, Slack, Teams, OpenLineage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.outcomes.chat import mail, slack, teams
from shared.outcomes.events import OutcomeEvent, cloud_event
from shared.outcomes.lineage import run_event
from shared.values import Value

CLOUD_EVENT = "application/cloudevents+json"
"""A CloudEvent in structured mode (HTTP protocol binding 1.0.2, section 3.2)."""
JSON = "application/json"


class EncodedEvent(Value, frozen=True):
    """An event, ready to be sent to one destination."""

    id: str
    """The id of the event, the same for each delivery of it."""
    type: str
    """The type of the event, such as `unstale.late`."""
    source: str
    """The deployment that sends."""
    subject: str
    """The name of the target."""
    at: datetime
    """When the event happened."""
    content_type: str
    """How the body is to be read."""
    body: bytes
    """The event in its format."""
    headline: str
    """The first line for people."""


def encode_event(outcome: OutcomeEvent, format: str) -> EncodedEvent:  # noqa: A002 - the word of the configuration
    """Write an event in a format."""
    content_type, write = _FORMATS[format]
    written = write(outcome)
    return EncodedEvent(
        id=outcome.id,
        type=outcome.type,
        source=outcome.source,
        subject=outcome.target.name,
        at=outcome.at,
        content_type=content_type,
        body=written.encode() if isinstance(written, str) else msgspec.json.encode(written),
        headline=outcome.headline,
    )


# --- Our function on another cloud -----------------------------------------------------------------------------------


def _signal(outcome: OutcomeEvent) -> dict[str, Any]:
    """The end of an upstream's run, for a follower: `shared.inbound` reads it on the other cloud."""
    return {"upstream": outcome.target.name, "time": outcome.at}


_FORMATS: Mapping[str, tuple[str, Callable[[OutcomeEvent], dict[str, Any] | str]]] = {
    "cloudevents": (CLOUD_EVENT, cloud_event),
    "slack": (JSON, slack),
    "teams": (JSON, teams),
    "openlineage": (JSON, run_event),
    "signal": (JSON, _signal),
    "text": ("text/plain; charset=utf-8", mail),
}
