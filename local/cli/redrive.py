"""`unstale redrive`: how many dead letters there are, since when and why; and back to where they came from.

A dead letter is a message that could not be read, or that came back too often. Once its cause is mended it is taken
anew: signals are safe to take twice. On AWS SQS moves them by itself and is only watched; on Azure this command moves
them, one by one, and says how far it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Protocol, TextIO

from local.cli import stack
from local.cli.console import print_json, print_table
from local.cli.deployment import aws_settings, azure_settings, each_cloud, read_config, state_of, tell, unreachable
from local.cli.errors import NotWellError
from shared.config.load import Configuration
from shared.inbound.dead_letters import DeadLetterSummary, Move
from shared.refresh.ports import StoreDownError
from shared.targets import Cloud

POLL_SECONDS = 2.0
"""Between two looks at how far a move is; SQS moves up to 500 messages a second."""

GOING_ON = frozenset({"RUNNING", "CANCELLING"})
"""SQS's words for a move that has not ended (ListMessageMoveTasks)."""
DONE = "COMPLETED"
"""SQS's word for a move that has brought everything back."""


class DeadLetters(Protocol):
    """The dead letters of one cloud's part of the deployment."""

    def summaries(self) -> Sequence[DeadLetterSummary]:
        """Summaries of the dead-letter queues."""

    def redrive(self) -> None:
        """Begin to move dead letters back."""

    def moves(self) -> Sequence[Move]:
        """How far each move is."""


class NoDeadLetters:
    """The dead letters of `unstale run`, which has no queues: none."""

    def summaries(self) -> Sequence[DeadLetterSummary]:
        """Nothing."""
        return ()

    def redrive(self) -> None:
        """Move nothing."""

    def moves(self) -> Sequence[Move]:
        """Nothing is on its way."""
        return ()


def run(config: Path, *, dry_run: bool, as_json: bool, sleep: Callable[[float], object] = time.sleep) -> None:
    """Show the dead letters; unless `dry_run`, move them back and show how far that is, until it is over.

    Raises `NotWellError` if there are any and they stay there. A cloud that is away does not hold up the other one.
    """
    configuration = read_config(config)
    found, away = each_cloud(configuration, lambda cloud: _count(cloud, _open(cloud, configuration, config)))
    summaries = [summary for _, of_cloud in found for summary in of_cloud]
    _show(summaries, as_json=as_json)
    full = any(summary.count for summary in summaries)
    if full and not dry_run:
        queues = {summary.queue for summary in summaries if summary.count}
        for dead_letters, _ in found:
            _move_back(dead_letters, queues, sleep, sys.stderr if as_json else sys.stdout)
        if not as_json:
            print("they are taken anew; what still cannot be read will lie here again: unstale redrive --dry-run")
    if away:
        tell(away)
    if full and dry_run:
        raise NotWellError


def _count(cloud: Cloud, dead_letters: DeadLetters) -> tuple[DeadLetters, Sequence[DeadLetterSummary]]:
    """Count the dead letters of one cloud; a store that is down is an answer."""
    try:
        return dead_letters, dead_letters.summaries()
    except StoreDownError as down:
        raise unreachable(cloud, down) from down


def _move_back(
    dead_letters: DeadLetters, queues: Container[str], sleep: Callable[[float], object], out: TextIO
) -> None:
    """Move the dead letters of one cloud back and follow that to its end."""
    try:
        dead_letters.redrive()
        _follow(dead_letters, queues, sleep, out)
    except StoreDownError as failure:
        raise NotWellError(str(failure)) from failure


def _open(cloud: Cloud, configuration: Configuration, config: Path) -> DeadLetters:
    """The dead letters of one cloud."""
    if state_of(cloud):
        return NoDeadLetters()
    environ = {**stack.environment(cloud, configuration), "UNSTALE_CONFIG": str(config)}
    return _open_aws(environ) if cloud is Cloud.AWS else _open_azure(environ, configuration)


def _open_aws(environ: dict[str, str]) -> DeadLetters:
    """SQS's own dead-letter queues, by the addresses of the deployment's queues."""
    from functions_aws.clients import Clients
    from functions_aws.dead_letters import DeadLetters as OnSqs

    settings = aws_settings(environ)
    return OnSqs(Clients(settings.region), (settings.events_queue_url, settings.queue_url))


def _open_azure(environ: dict[str, str], configuration: Configuration) -> DeadLetters:
    """The dead letters in the deployment's storage account."""
    from functions_azure.dead_letters import DeadLetters as InStorage
    from functions_azure.wiring import Parts
    from local import azure_login

    settings = azure_settings(environ)
    return InStorage(Parts(settings, lambda: configuration, azure_login.storage(environ)).clients)


def _show(summaries: Sequence[DeadLetterSummary], *, as_json: bool) -> None:
    """Print how many there are, since when and why."""
    rows = [(summary.queue, summary.count, summary.oldest, "; ".join(summary.reasons)) for summary in summaries]
    if as_json:
        names = ("queue", "count", "oldest", "why")
        print_json({"dead_letters": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        print_table(("queue", "dead letters", "since", "why"), rows)


def _follow(dead_letters: DeadLetters, queues: Container[str], sleep: Callable[[float], object], out: TextIO) -> None:
    """Tell each change in these queues; others may show a move of long ago. Ending the command ends only this."""
    told: set[str] = set()
    while True:
        moves = [move for move in dead_letters.moves() if move.queue in queues]
        for move in moves:
            line = f"{move.queue}: {move.moved} of {move.to_move or move.moved} moved back, {move.status.lower()}"
            if line not in told:
                told.add(line)
                print(line, file=out, flush=True)
        if not any(move.status in GOING_ON for move in moves):
            break
        sleep(POLL_SECONDS)
    failed = [f"{move.queue}: {move.status.lower()} {move.failure}".rstrip() for move in moves if move.status != DONE]
    if failed:
        raise NotWellError("; ".join(failed))
