"""`unstale status`: is every view fresh, and if not, since when and why.

The records of all targets are read at once, cloud by cloud. A cloud that does not answer does not hide the other: its
targets are told as unknown, and the command ends with why. Dead letters count against every target of the deployment,
because a signal may be among them, and so does a sign-in that somebody must renew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from local.cli.console import print_json, print_table
from local.cli.deployment import PLACES, Side, each_side, read_config, tell
from local.cli.errors import NotWellError, UsageError
from shared.config.load import Configuration
from shared.inbound.dead_letters import DeadLetterSummary
from shared.refresh.records import DEPLOYMENT_KEY, read_deployment, read_state
from shared.refresh.state import Deployment, State
from shared.refresh.status import SourceStatus, TargetStatus, row, unknown
from shared.sources.standing import source_statuses
from shared.targets import Cloud

STYLES = {"proven": "green", "fresh": "green", "stale": "", "late": "bold red", "held": "red", "unknown": "yellow"}
"""How a terminal colours a line, by its verdict."""


def status(path: Path, *, as_json: bool) -> None:
    """Each target's row, and the dead letters; raises `NotWellError` if anybody needs to do anything."""
    configuration = read_config(path)
    seen, away = each_side(configuration, path, _look)
    summaries = [summary for look in seen for summary in look.summaries]
    dead = sum(summary.count for summary in summaries)
    found = {row.name: row for look in seen for row in look.rows(dead)}
    rows = [found.get(t.name) or unknown(t, f"{PLACES[t.cloud]} could not be asked") for t in configuration.targets]
    sign_in = Standing() if Cloud.AZURE in away else _sign_in(configuration, path)
    if as_json:
        told = {"away": {PLACES[cloud]: str(failure) for cloud, failure in away.items()}} if away else {}
        targets = [msgspec.to_builtins(one) for one in rows]
        print_json({"targets": targets, "dead_letters": _plain(summaries), **told, **sign_in.data})
    else:
        _print_status(rows, summaries)
        print(sign_in.told, end="")
    if away:
        tell(away)
    if dead or not sign_in.well or not all(one.well for one in rows):
        raise NotWellError


@dataclass(frozen=True)
class Standing:
    """How the sign-in of a user stands, in words and as data; nothing where Fabric is not called as a user."""

    told: str = ""
    """The sentence for people, with its line end; empty where there is nothing to say."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same for scripts."""
    well: bool = True
    """False where somebody must sign in."""


def _sign_in(configuration: Configuration, path: Path) -> Standing:
    """How the sign-in stands, where Fabric is called as a user; one that cannot be read is not well."""
    if configuration.fabric.identity != "user" or all(t.cloud is not Cloud.AZURE for t in configuration.targets):
        return Standing()
    from local.cli import login
    from shared.sign_in import NOBODY, age

    try:
        kept = login.Deployment(configuration, path).kept()
    except (NotWellError, UsageError) as failure:
        return Standing(f"{failure}\n", {"sign_in": {"error": str(failure)}}, well=False)
    told = age(kept, datetime.now(UTC)) if kept else NOBODY.message
    return Standing(f"{told}\n", {"sign_in": login.as_data(kept)}, kept is not None and not kept.refusal)


@dataclass(frozen=True)
class Look:
    """The records and dead letters of one cloud. No target is known to be fresh while either cloud has dead letters."""

    side: Side
    """The cloud that was asked."""
    summaries: Sequence[DeadLetterSummary]
    """Its dead letters."""
    deployment: Deployment
    """The record of the deployment as a whole: is everything paused."""
    states: Sequence[State]
    """The record of each target, in the order of the engine's targets."""
    sources: Mapping[str, tuple[SourceStatus, ...]]
    """How the sources of each target stand, by the key of the target."""

    def rows(self, dead_letters: int) -> list[TargetStatus]:
        """The status of each target."""
        now, capabilities = self.side.world.clock.now(), self.side.world.platform.capabilities
        return [
            row(
                target,
                state,
                self.deployment,
                capabilities,
                now=now,
                dead_letters=dead_letters,
                sources=self.sources.get(target.key, ()),
            )
            for target, state in zip(self.side.engine.targets.values(), self.states, strict=True)
        ]


def _look(side: Side) -> Look:
    """Read all records of one cloud at once, and count its dead letters."""
    keys = [DEPLOYMENT_KEY, *side.engine.targets]
    deployment, *states = (found.body for found in side.world.store.load_many(keys))
    sources = source_statuses(side.engine.targets.values(), side.world.store, side.world.clock.now())
    return Look(side, side.summaries(), read_deployment(deployment), [read_state(body) for body in states], sources)


def _plain(summaries: list[DeadLetterSummary]) -> list[dict[str, Any]]:
    """Dead letters as scripts read them."""
    return [
        {"queue": summary.queue, "count": summary.count, "oldest": summary.oldest, "reasons": list(summary.reasons)}
        for summary in summaries
    ]


def _print_status(rows: list[TargetStatus], summaries: list[DeadLetterSummary]) -> None:
    """Print a line for each target, and below them the dead letters, since a signal may be among those."""
    columns = ("target", "verdict", "stale since", "fresh as of", "why")
    cells = [(one.name, one.verdict, one.stale_since, one.fresh_as_of, one.why) for one in rows]
    print_table(columns, cells, [STYLES[one.verdict] for one in rows])
    for summary in summaries:
        if summary.count:
            why = "; ".join(summary.reasons)
            where = f"{summary.count} dead letters of {summary.queue} ({why})"
            print(f"{where}: a signal may be among them, so that what looks")
            print(
                "fresh is not known to be. `unstale redrive --dry-run` shows them, `unstale redrive` brings them back"
            )
