"""Outcome events as bytes, in the format that a destination wants: CloudEvents, Slack, Teams, OpenLineage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.outcomes.events import Outcome, cloud_event
from shared.outcomes.lineage import run_event
from shared.times import minute
from shared.values import Value

CLOUD_EVENT = "application/cloudevents+json"
"""A CloudEvent in structured mode (HTTP protocol binding 1.0.2, section 3.2)."""
JSON = "application/json"

LONGEST_BLOCK = 2900
"""Characters of a text of Slack's, which takes 3,000 (https://docs.slack.dev/reference/block-kit/blocks/section-block)."""
LONGEST_FIELD = 1990
"""Characters of a field of a section, which takes 2,000 (the same page)."""
LONGEST_HEADER = 150
"""Characters of a header of Slack's (https://docs.slack.dev/reference/block-kit/blocks/header-block)."""


class Letter(Value, frozen=True):
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


def letter(outcome: Outcome, format: str) -> Letter:  # noqa: A002 - the word of the configuration
    """Write an event in a format."""
    content_type, write = _FORMATS[format]
    return Letter(
        id=outcome.id,
        type=outcome.type,
        source=outcome.source,
        subject=outcome.target.name,
        at=outcome.at,
        content_type=content_type,
        body=msgspec.json.encode(write(outcome)),
        headline=outcome.headline,
    )


# --- Slack -----------------------------------------------------------------------------------------------------------


def _slack(outcome: Outcome) -> dict[str, Any]:
    """Blocks for an incoming webhook; `text` is what a notification shows (Slack's Block Kit)."""
    facts = [f"*{name}*\n{_escaped(value)}" for name, value in _facts(outcome)]
    cures = "\n".join(f"• {_escaped(cure)}" for cure in outcome.cures)
    return {
        "text": _cut(_escaped(outcome.sentence)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": outcome.headline[:LONGEST_HEADER]}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": _cut(fact, LONGEST_FIELD)} for fact in facts]},
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(f"*What to do*\n{cures or 'nothing'}")}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(_escaped(_origin(outcome)))}]},
        ],
    }


def _escaped(text: str) -> str:
    """A text in which nothing is taken for a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, longest: int = LONGEST_BLOCK) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


# --- Teams -----------------------------------------------------------------------------------------------------------


def _teams(outcome: Outcome) -> dict[str, Any]:
    """An adaptive card in the envelope that Teams' webhooks take.

    https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using#send-adaptive-cards-using-an-incoming-webhook
    """
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": outcome.sentence,
        "body": [
            {"type": "TextBlock", "text": outcome.headline, "size": "Large", "weight": "Bolder", "wrap": True},
            {"type": "FactSet", "facts": [{"title": name, "value": value} for name, value in _facts(outcome)]},
            {"type": "TextBlock", "text": "What to do", "weight": "Bolder", "wrap": True},
            *({"type": "TextBlock", "text": cure, "wrap": True} for cure in outcome.cures or ("nothing",)),
            {"type": "TextBlock", "text": _origin(outcome), "isSubtle": True, "size": "Small", "wrap": True},
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


# --- Our function on another cloud -----------------------------------------------------------------------------------


def _signal(outcome: Outcome) -> dict[str, Any]:
    """The end of an upstream's run, for a follower: `shared.inbound` reads it on the other cloud."""
    return {"upstream": outcome.target.name, "time": outcome.at}


# --- Both ------------------------------------------------------------------------------------------------------------


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    """List the facts that people want, each with its name: the view, since when it is stale, why, how its run ended."""
    status, run = outcome.status, outcome.run
    found = [("View", outcome.target.name), ("Stands", status.verdict), ("Why", outcome.reason)]
    if status.stale_since:
        found.insert(1, ("Stale since", minute(status.stale_since)))
    if status.fresh_as_of:
        found.append(("Fresh as of", minute(status.fresh_as_of)))
    if run and run.error:
        found.append(("The platform said", run.error))
    return found


def _origin(outcome: Outcome) -> str:
    return f"{outcome.source}, {minute(outcome.at)}, event {outcome.id}"


_FORMATS: Mapping[str, tuple[str, Callable[[Outcome], dict[str, Any]]]] = {
    "cloudevents": (CLOUD_EVENT, cloud_event),
    "slack": (JSON, _slack),
    "teams": (JSON, _teams),
    "openlineage": (JSON, run_event),
    "signal": (JSON, _signal),
}
