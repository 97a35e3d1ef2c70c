"""Outcome events as messages for people: blocks of Slack, adaptive cards of Teams, mails.

The first two say by a colour whether somebody must act, name the view, since when and why it stands so, and set what is
to be typed apart. Names and the platform's words come from outside, so nothing in them is taken for a link, a mention
or markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from shared.outcomes.events import OutcomeEvent
from shared.times import minute

LONGEST_BLOCK = 2900
"""Characters of a text of Slack's, which takes 3,000 (https://docs.slack.dev/reference/block-kit/blocks/section-block)."""
LONGEST_FIELD = 1990
"""Characters of a field of a section, which takes 2,000 (the same page); of a fact on a card, too."""
LONGEST_HEADER = 150
"""Characters of a header of Slack's (https://docs.slack.dev/reference/block-kit/blocks/header-block)."""

TROUBLE = frozenset({"failed", "held", "late"})
"""The kinds of events that people look at first; the others say that all is well, or well again."""


# --- Slack -----------------------------------------------------------------------------------------------------------


def slack(outcome: OutcomeEvent) -> dict[str, Any]:
    """Blocks for an incoming webhook; `text` is what a notification shows (Slack's Block Kit)."""
    facts = [f"*{name}*\n{_in_slack(value, outcome)}" for name, value in _facts(outcome)]
    cures = "\n".join(f"• {_in_slack(cure, outcome)}" for cure in outcome.cures)
    headline = f"{'🔴' if outcome.kind in TROUBLE else '🟢'} {outcome.headline}"
    return {
        "text": _cut(_escape(outcome.sentence)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": headline[:LONGEST_HEADER]}},
            {"type": "section", "fields": [{"type": "mrkdwn", "text": _cut(fact, LONGEST_FIELD)} for fact in facts]},
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(f"*What to do*\n{cures or 'nothing'}")}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": _cut(_escape(_origin(outcome)))}]},
        ],
    }


def _in_slack(text: str, outcome: OutcomeEvent) -> str:
    """A text as Slack's markup, what is to be typed as code."""
    parts = _parts(text, outcome)
    return "".join(f"`{_escape(part)}`" if is_typed else _escape(part) for part, is_typed in parts)


def _escape(text: str) -> str:
    """Write a text so that nothing in it is taken for a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, longest: int = LONGEST_BLOCK) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


# --- Teams -----------------------------------------------------------------------------------------------------------


def teams(outcome: OutcomeEvent) -> dict[str, Any]:
    """An adaptive card in the envelope that Teams' webhooks take.

    https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using#send-adaptive-cards-using-an-incoming-webhook
    """
    color = "Attention" if outcome.kind in TROUBLE else "Good"
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": outcome.sentence,
        "body": [
            _line(_run(outcome.headline, size="Large", weight="Bolder", color=color)),
            *(_fact(name, value, outcome) for name, value in _facts(outcome)),
            _line(_run("What to do", weight="Bolder")),
            *(_line(*_in_teams(cure, outcome), spacing="Small") for cure in outcome.cures or ("nothing",)),
            _line(_run(_origin(outcome), size="Small", isSubtle=True)),
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _fact(name: str, value: str, outcome: OutcomeEvent) -> dict[str, Any]:
    """A fact beside its name. The card's own element for facts would take the value for Markdown."""
    columns = (
        {"type": "Column", "width": "100px", "items": [_line(_run(name, weight="Bolder"))]},
        {"type": "Column", "width": "stretch", "items": [_line(*_in_teams(value, outcome))]},
    )
    return {"type": "ColumnSet", "spacing": "Small", "columns": list(columns)}


def _in_teams(text: str, outcome: OutcomeEvent) -> Iterator[dict[str, Any]]:
    """The runs of a text, what is to be typed in a typewriter's letters."""
    for part, is_typed in _parts(_cut(text, LONGEST_FIELD), outcome):
        yield _run(part, **({"fontType": "Monospace"} if is_typed else {}))


def _line(*runs: dict[str, Any], **looks: Any) -> dict[str, Any]:
    """A line of runs."""
    return {"type": "RichTextBlock", "inlines": list(runs), **looks}


def _run(text: str, **looks: Any) -> dict[str, Any]:
    """A run of text, in which no Markdown is read."""
    return {"type": "TextRun", "text": text, **looks}


# --- Both ------------------------------------------------------------------------------------------------------------


def _parts(text: str, outcome: OutcomeEvent) -> Iterator[tuple[str, bool]]:
    """A text in parts, each with whether it is a command of ours to be typed."""
    name = re.escape(outcome.target.name)
    commands = re.compile(rf"(unstale [a-z]+(?: --[a-z-]+| {name}(?![\w-]))*)")
    for number, part in enumerate(commands.split(text)):
        if part:
            yield part, number % 2 == 1


def _facts(outcome: OutcomeEvent) -> list[tuple[str, str]]:
    """List the facts that people want, each with its name: the view, since when it is stale, why, how its run ended."""
    status, run = outcome.status, outcome.run
    found = [("View", outcome.target.name), ("Stands", status.verdict), ("Why", outcome.reason)]
    if status.stale_since:
        found.insert(1, ("Stale since", minute(status.stale_since)))
    if status.fresh_as_of:
        found.append(("Fresh as of", minute(status.fresh_as_of)))
    if run and run.error:
        found.append(("Platform said", run.error))
    return found


def _origin(outcome: OutcomeEvent) -> str:
    return f"{outcome.source}, {minute(outcome.at)}, event {outcome.id}"


# --- Mail ------------------------------------------------------------------------------------------------------------


def mail(outcome: OutcomeEvent) -> str:
    """Lines for a mail that stands beside an alarm's: the view, since when, why, and the commands to type."""
    facts = [f"{name}: {value}" for name, value in _facts(outcome)]
    cures = [f"- {cure}" for cure in (*outcome.cures, f"unstale explain {outcome.target.name} says more")]
    return "\n".join([f"{outcome.headline}.", "", *facts, "", "What to do:", *cures, "", _origin(outcome), ""])
