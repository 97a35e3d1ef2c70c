"""`unstale explain`: why a target stands as it does, and what the reader can do now.

The sentences are made in `shared.refresh.explain`; `status` shows the first of them. Each has a topic, and topics come
in the order in which a person asks: what is not known, what arrived, what it waits for, what runs, what to do.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from local.cli.console import print_json
from local.cli.deployment import PLACES, reach, side_of
from local.cli.errors import NotWellError
from local.cli.status import CloudStatus, gather
from shared.refresh.evidence import Evidence
from shared.refresh.explain import Sentence
from shared.refresh.explain import explain as sentences_on
from shared.refresh.status import status_of
from shared.targets import Target

HEADINGS = {
    "doubt": "What is not known",
    "arrived": "What arrived",
    "waits": "What it waits for",
    "run": "The run",
    "platform": "The platform says",
    "failures": "Failures",
    "freshness": "What the view holds",
    "across": "Others",
    "do": "What you can do",
}
"""The heading of each topic; the sentence on why stands above them all, without one."""


def explain(path: Path, name: str, *, as_json: bool) -> None:
    """Print everything to know of a target; raises `NotWellError` if somebody needs to do anything.

    The exit code is that of `status` for this target alone, so a script may ask about the one view that it needs.
    """
    side, target = side_of(path, name)
    seen = reach(side, gather)
    evidence = _evidence_on(seen, target)
    standing = status_of(evidence)
    sentences = sentences_on(evidence, standing.verdict)
    if as_json:
        told = [msgspec.to_builtins(sentence) for sentence in sentences]
        print_json({**msgspec.to_builtins(standing), "sentences": told})
    else:
        for warning in seen.warnings:
            print(f"warning: {warning}")
        _print(f"{name} on {PLACES[side.cloud]}: {standing.verdict}", sentences)
    if not standing.well:
        raise NotWellError


def _evidence_on(seen: CloudStatus, target: Target) -> Evidence:
    """Gather what is known of one target, the dead letters of its cloud included.

    The whole cloud was read for it: whether anybody works there, and what is paused, concerns each target.
    """
    dead_letters = sum(summary.count for summary in seen.summaries)
    return next(each for each in seen.evidence(dead_letters) if each.target.key == target.key)


def _print(title: str, sentences: tuple[Sentence, ...]) -> None:
    """Print the sentences below the heading of their topic; topics that have nothing to say have no heading."""
    why, *others = sentences
    print(f"{title}\n{why.text}")
    topic = ""
    for sentence in others:
        if sentence.topic != topic:
            topic = sentence.topic
            print(f"\n{HEADINGS[topic]}")
        print(f"  {sentence.text}")
