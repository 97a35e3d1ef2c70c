"""`unstale status`: is every view fresh, and if not, since when and why.

The records of all targets are read at once, cloud by cloud. A cloud that does not answer does not hide the other: its
targets are told as unknown, and the command ends with why. Dead letters count against every target of the deployment,
because a signal may be among them, and so does a sign-in that somebody must renew.

    gather    the records of all targets, of the deployment and of the identities; queues; dead letters     per cloud
    evidence  all that bears on one target, as a value                                                      per target
    status_of verdict, since when, why: `shared.refresh.status` decides, nothing here does

So what `status`, `explain`, the page and `unstale run` say of a target is one and the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from rich.console import Console

from local.cli.console import print_json, print_table
from local.cli.deployment import PLACES, Kept, Side, clouds_of, each_side, read_config, state_of, tell
from local.cli.errors import NotWellError, UsageError
from shared.config.load import Configuration
from shared.inbound.dead_letters import DeadLetterSummary
from shared.outcomes.untold import Untold, untold
from shared.refresh.evidence import (
    WORK_CURE,
    Evidence,
    Liveness,
    SourceStatus,
    deployed_fingerprint,
    difference,
    doubts_of_deployment,
)
from shared.refresh.identity import Identity
from shared.refresh.records import (
    DEPLOYMENT_KEY,
    destination_key,
    identity_key,
    read_as,
    read_deployment,
    read_identity,
    read_state,
)
from shared.refresh.state import Addressee, Deployment, State
from shared.refresh.status import TargetStatus, status_of, status_unread
from shared.sources.standing import source_statuses
from shared.targets import Cloud
from shared.times import span

DEPLOY = "package and deploy it, or name the deployed one with --config"
"""The cure where the file and what is deployed differ: one of the two is not what its reader thinks."""

STYLES = {"proven": "green", "fresh": "green", "stale": "", "late": "bold red", "held": "red", "unknown": "yellow"}
"""How a terminal colours a line, by its verdict; a pipe has no colours. `stale` has none: it passes by itself."""


def status(path: Path, *, as_json: bool, only: Cloud | None = None, kept: Kept | None = None) -> None:
    """Show each target's line and the dead letters; raises `NotWellError` if anybody needs to do anything.

    A cloud that could not be asked has a line for each of its targets all the same: a table without them would look as
    if they were well. Why it could not is said last, after everything that is known.

    `kept` is what was opened at an earlier time, where the status is shown again and again.
    """
    configuration, kept = read_config(path), kept or Kept()
    asked = clouds_of(configuration, only)
    seen, away = each_side(configuration, path, gather, only, kept=kept)
    summaries = [summary for one in seen for summary in one.summaries]
    dead = sum(summary.count for summary in summaries)
    unheard = unheard_by_name(seen)
    found = {each.target.name: status_of(each) for one in seen for each in one.evidence(dead, unheard)}
    targets_there = [target for target in configuration.targets if target.cloud in asked]
    rows = [found.get(t.name) or status_unread(t, f"{PLACES[t.cloud]} could not be asked") for t in targets_there]
    is_silent = Cloud.AZURE in away or Cloud.AZURE not in asked
    sign_in = SignInStatus() if is_silent else _sign_in(configuration, path, kept)
    if as_json:
        told = {"away": {PLACES[cloud]: str(failure) for cloud, failure in away.items()}} if away else {}
        targets = [msgspec.to_builtins(one) for one in rows]
        deployments = [_deployment(one) for one in seen]
        dead_letters = _plain(summaries)
        print_json(
            {"targets": targets, "dead_letters": dead_letters, "deployments": deployments, **told, **sign_in.data}
        )
    else:
        for warning in (warning for one in seen for warning in one.warnings):
            print(f"warning: {warning}")
        _print_status(rows, summaries)
        print()
        for one in seen:
            print(_work_in_words(one))
        print(sign_in.told, end="")
    if away:
        tell(away)
    if dead or not sign_in.well or not all(one.well for one in rows):
        raise NotWellError


def watch(
    path: Path,
    *,
    as_json: bool,
    seconds: int,
    only: Cloud | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> NoReturn:
    """Show the status again and again, until Ctrl-C; what is not well, or away, is shown and asked for again."""
    console, kept = Console(), Kept()
    while True:
        if console.is_terminal:
            console.clear()
        try:
            status(path, as_json=as_json, only=only, kept=kept)
        except NotWellError as failure:
            if str(failure):
                print(failure)
        if not as_json:
            print(f"\n{datetime.now(UTC):%H:%M:%S}Z, every {seconds} s; Ctrl-C ends it", flush=True)
        sleep(seconds)


@dataclass(frozen=True)
class SignInStatus:
    """How the sign-in of a user stands, in words and as data; nothing where Fabric is not called as a user."""

    told: str = ""
    """The sentence for people, with its line end; empty where there is nothing to say."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same for scripts."""
    well: bool = True
    """False where somebody must sign in."""


def _sign_in(configuration: Configuration, path: Path, opened: Kept) -> SignInStatus:
    """How the sign-in stands, where Fabric is called as a user; one that cannot be read is not well."""
    if state_of(Cloud.AZURE):
        return SignInStatus()  # that identity counts only where the function is deployed
    if configuration.fabric.identity != "user" or all(t.cloud is not Cloud.AZURE for t in configuration.targets):
        return SignInStatus()
    from local.cli import login
    from shared.sign_in import NOBODY, age

    try:
        kept = opened.use(
            "sign-in", configuration, lambda: login.Deployment(configuration, path), lambda here: here.load_sign_in()
        )
    except (NotWellError, UsageError) as failure:
        return SignInStatus(f"{failure}\n", {"sign_in": {"error": str(failure)}}, well=False)
    told = age(kept, datetime.now(UTC)) if kept else NOBODY.message
    return SignInStatus(f"{told}\n", {"sign_in": login.as_data(kept)}, kept is not None and not kept.refusal)


NOBODY: Mapping[str, Sequence[str]] = {}
"""The default of `CloudStatus.evidence`: the other cloud was not asked, or told all followers."""


def unheard_by_name(seen: Sequence[CloudStatus]) -> dict[str, list[str]]:
    """List the sentences on followers that the other cloud did not tell, by the follower's name.

    A follower's own record knows nothing of such a signal, so it would look fresh: the upstream's record tells.
    """
    untold = (each for one in seen for each in one.untold if each.destination.follower)
    return _sentences(untold, lambda each: each.destination.follower)


def _sentences(untold: Iterable[Untold], name_of: Callable[[Untold], str]) -> dict[str, list[str]]:
    """Sort the sentences on what is untold by the name of the target that they are about."""
    found: dict[str, list[str]] = {}
    for each in untold:
        found.setdefault(name_of(each), []).append(each.sentence)
    return found


@dataclass(frozen=True)
class CloudStatus:
    """Everything that one cloud has of a deployment. No target is fresh while either cloud has dead letters."""

    side: Side
    """The cloud that was asked."""
    summaries: Sequence[DeadLetterSummary]
    """Its dead letters."""
    deployment: Deployment
    """The record of the deployment as a whole: is everything paused, which configuration is rolled out."""
    states: Sequence[State]
    """The record of each target, in the order of the engine's targets."""
    sources: Mapping[str, tuple[SourceStatus, ...]]
    """How the sources of each target stand, by the key of the target."""
    liveness: Liveness
    """Whether anybody works there."""
    identities: Mapping[str, Identity]
    """The record of each identity that calls the platform: by it `status` says that a start waits for a place."""
    untold: Sequence[Untold] = ()
    """The events that wait for a destination for a while, with what that destination answered last."""

    @property
    def differs(self) -> bool:
        """Whether another configuration than the file's is deployed; False where nobody knows which one is."""
        return deployed_fingerprint(self.deployment) not in {"", self.side.engine.package.fingerprint}

    def evidence(self, dead_letters: int, unheard: Mapping[str, Sequence[str]] = NOBODY) -> Iterator[Evidence]:
        """Gather what the verdict on each target rests on.

        `dead_letters` are those of all clouds: an event that nobody could read may have been for any target. `unheard`
        is what the other cloud did not tell, by the follower's name.
        """
        untold = _sentences(self.untold, lambda each: each.target)
        here = {target.name for target in self.side.engine.package.targets}
        for target, state in zip(self.side.engine.targets.values(), self.states, strict=True):
            yield Evidence(
                target=target,
                state=state,
                deployment=self.deployment,
                capabilities=self.side.ports.platform.capabilities,
                now=self.side.ports.clock.now(),
                dead_letters=dead_letters,
                sources=self.sources.get(target.key, ()),
                liveness=self.liveness,
                identity=self.identities.get(target.identity),
                limits=self.side.engine.package.limits,
                elsewhere=tuple(name for name in target.after if name not in here),
                untold=tuple(untold.get(target.name, ())),
                unheard=tuple(unheard.get(target.name, ())),
                differs=difference(target, state, self.deployment, self.side.engine.package.fingerprint),
            )

    @property
    def warnings(self) -> Iterator[str]:
        """Warn of what to know of this cloud before anything that the table says: without it the table may mislead."""
        if self.differs:
            yield f"{PLACES[self.side.cloud]} runs another configuration than this file: {DEPLOY}"
        for doubt in doubts_of_deployment(self.liveness, self.side.ports.clock.now()):
            yield f"{PLACES[self.side.cloud]}: {doubt}: {WORK_CURE}"
        for each in self.untold:
            yield f"{PLACES[self.side.cloud]}: {each.sentence}"


def gather(side: Side) -> CloudStatus:
    """Read all records of one cloud at once, count its dead letters, and see whether anybody works.

    Many records are one call, on AWS a hundred of them, so the calls hardly grow with the targets. Nothing is written,
    and no platform is asked: what a refresh does is what the record says of it.
    """
    keys = [DEPLOYMENT_KEY, *side.engine.targets]
    document, *documents = (found.body for found in side.ports.store.load_many(keys))
    names = sorted({target.identity for target in side.engine.targets.values()})
    found = side.ports.store.load_many([identity_key(name) for name in names])
    identities = {name: read_identity(each.body) for name, each in zip(names, found, strict=True)}
    now, deployment = side.ports.clock.now(), read_deployment(document)
    states = [read_state(body) for body in documents]
    return CloudStatus(
        side,
        side.summaries(),
        deployment,
        states,
        source_statuses(side.engine.targets.values(), side.ports.store, now),
        Liveness(is_asked=True, ticked_at=deployment.ticked_at, backlogs=tuple(side.backlogs(now))),
        identities,
        _untold(side, states, now),
    )


def _untold(side: Side, states: Sequence[State], now: datetime) -> tuple[Untold, ...]:
    """List the events that wait for a destination, with the reason in its record; read nothing where nothing waits."""
    engine = side.engine
    known = list(zip(engine.targets.values(), states, strict=True))
    if not any(state.outbox.notices for state in states):
        return ()
    digests = list(dict.fromkeys(each.site_digest for each in engine.package.destinations))
    bodies = [found.body for found in side.ports.store.load_many([destination_key(digest) for digest in digests])]
    addressees = {digest: read_as(body, Addressee) for digest, body in zip(digests, bodies, strict=True) if body}
    return untold(engine.package.destinations, known, addressees, now)


def _deployment(one: CloudStatus) -> dict[str, Any]:
    """Make the entry of one cloud as scripts read it; ages in seconds, None where the cloud tells none."""
    queues = [
        {
            "queue": each.queue,
            "waiting": each.waiting,
            "oldest_age_seconds": each.age.total_seconds() if each.age is not None else None,
            "unreadable": each.unreadable,
        }
        for each in one.liveness.backlogs
    ]
    return {
        "cloud": PLACES[one.side.cloud],
        "ticked_at": one.liveness.ticked_at,
        "queues": queues,
        "configuration": deployed_fingerprint(one.deployment),
        "version": one.deployment.version,
        "warnings": list(one.warnings),
    }


def _work_in_words(one: CloudStatus) -> str:
    """Say in a line who works in a cloud: the release that is deployed, the last tick, and what waits."""
    now, ticked_at = one.side.ports.clock.now(), one.liveness.ticked_at
    tick = f"the last tick came {span(now - ticked_at)} ago" if ticked_at else "no tick was noted"
    waits = [
        f"{each.waiting} messages wait in {each.queue}" + (f" for up to {span(each.age)}" if each.age else "")
        for each in one.liveness.backlogs
    ]
    release = [f"unstale {one.deployment.version}"] if one.deployment.version else []
    return f"{PLACES[one.side.cloud]}: {'; '.join((*release, tick, *waits))}"


def _plain(summaries: list[DeadLetterSummary]) -> list[dict[str, Any]]:
    """Dead letters as scripts read them: how many a queue has, since when, and for which reasons."""
    return [
        {"queue": summary.queue, "count": summary.count, "oldest": summary.oldest, "reasons": list(summary.reasons)}
        for summary in summaries
    ]


def _print_status(rows: list[TargetStatus], summaries: list[DeadLetterSummary]) -> None:
    """Print a line for each target, and below them the dead letters, since a signal may be among those.

    The order is that of the file: a reader looks for a name, and `grep late` finds what is late.
    """
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
