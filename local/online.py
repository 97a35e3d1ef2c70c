"""Commands that work on the deployed records: `status`, `history`, `refresh`, `pause`, `resume`.

They write what a person wants into the record, and send the wake that makes the deployed function act on it: from here
nothing is ever sent to Glue or Fabric.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from local.offline import read_config
from local.tables import print_json, print_table
from local.usage import NotWell, WrongUsage
from shared.config import Configuration
from shared.engine import Engine, World
from shared.happenings import Happening, PauseAsked, ProbeAsked, ResumeAsked, Signalled
from shared.letters import Heap
from shared.model import Blocked, Cloud, Deployment, Ended, Signal, State, Target
from shared.ports import StoreDown
from shared.records import DEPLOYMENT_KEY, NewerRecord, read_deployment, read_ended, read_state
from shared.report import Row, row, unknown

if TYPE_CHECKING:
    from functions_aws.settings import Settings as AwsSettings
    from functions_azure.settings import Settings as AzureSettings

T = TypeVar("T")

STYLES = {"fresh": "green", "stale": "", "late": "bold red", "held": "red", "unknown": "yellow"}


@dataclass(frozen=True)
class Side:
    """One cloud of the deployment. `heaps` reads the dead letters."""

    cloud: Cloud
    engine: Engine
    world: World
    heaps: Callable[[], Sequence[Heap]]


Away = Mapping[Cloud, NotWell | WrongUsage]
"""The clouds that could not be asked, each with what to tell of it."""

PLACES = {Cloud.AWS: "AWS", Cloud.AZURE: "Azure"}
CURES = {
    Cloud.AWS: "Are the Region, the credentials and UNSTALE_TABLE those of the deployment?",
    Cloud.AZURE: "Is UNSTALE_STORAGE the deployment's account, and may you read it?",
}


# --- Opening ---------------------------------------------------------------------------------------------------------


def _each(configuration: Configuration, path: Path, ask: Callable[[Side], T]) -> tuple[list[T], Away]:
    return each_cloud(configuration, lambda cloud: _reach(_open(cloud, configuration, path), ask))


def each_cloud(configuration: Configuration, ask: Callable[[Cloud], T]) -> tuple[list[T], Away]:
    """Ask each cloud that has targets. One that is away does not keep the other from it; if all are, it raises."""
    answers: list[T] = []
    away: dict[Cloud, NotWell | WrongUsage] = {}
    for cloud in dict.fromkeys(target.cloud for target in configuration.targets):
        try:
            answers.append(ask(cloud))
        except (NotWell, WrongUsage) as trouble:
            away[cloud] = trouble
    if not answers:
        tell(away)
    return answers, away


def tell(away: Away) -> NoReturn:
    """Which clouds are away and what to do about it. A variable that is missing is wrong usage, also if it is one's."""
    usage = any(isinstance(trouble, WrongUsage) for trouble in away.values())
    said = "\n".join(f"{PLACES[cloud]}: {trouble}" for cloud, trouble in away.items())
    raise WrongUsage(said) if usage else NotWell(said)


def _open(cloud: Cloud, configuration: Configuration, path: Path) -> Side:
    environ = {**os.environ, "UNSTALE_CONFIG": str(path)}
    return _open_aws(configuration, environ) if cloud is Cloud.AWS else _open_azure(configuration, environ)


def _open_aws(configuration: Configuration, environ: dict[str, str]) -> Side:
    from functions_aws.clients import Clients
    from functions_aws.dead_letters import DeadLetters
    from functions_aws.world import world

    settings = aws_settings(environ)
    clients = Clients()
    here = world(settings, clients, lambda _: None)
    dead = DeadLetters(clients, (settings.queue_url, settings.events_queue_url))
    return Side(Cloud.AWS, Engine(configuration, here), here, dead.heaps)


def _open_azure(configuration: Configuration, environ: dict[str, str]) -> Side:
    from functions_azure.dead_letters import DeadLetters
    from functions_azure.world import Parts, world
    from local import azure_login

    settings = azure_settings(environ)
    parts = Parts(settings, lambda: configuration, azure_login.storage(environ))
    here = world(settings, configuration, parts, lambda _: None)
    dead = DeadLetters(parts.clients)
    return Side(Cloud.AZURE, Engine(configuration, here), here, dead.heaps)


def aws_settings(environ: Mapping[str, str]) -> AwsSettings:
    """Where the deployment on AWS is; what is missing is wrong usage."""
    from functions_aws.settings import BadSettings, read

    try:
        return read(environ)
    except BadSettings as bad:
        raise WrongUsage(f"{bad}. `sam deploy` prints it as an output of the stack") from bad


def azure_settings(environ: Mapping[str, str]) -> AzureSettings:
    """Where the deployment on Azure is, likewise."""
    from functions_azure.settings import BadSettings, read

    try:
        return read(environ)
    except BadSettings as bad:
        raise WrongUsage(f"{bad}. The deployment prints it in its output environment") from bad


def _side_of(path: Path, name: str) -> tuple[Side, Target]:
    configuration = read_config(path)
    target = configuration.by_name.get(name)
    if target is None:
        known = ", ".join(configuration.by_name)
        message = f"{path} has no target {name!r}; it has {known}"
        raise WrongUsage(message)
    return _open(target.cloud, configuration, path), target


def _reach(side: Side, work: Callable[[Side], T]) -> T:
    """Do something with a store; what it says when it cannot is an answer, not a traceback."""
    try:
        return work(side)
    except NewerRecord as newer:
        raise NotWell(str(newer)) from newer
    except StoreDown as down:
        message = f"{str(down).rstrip('.')}. {CURES[side.cloud]}"
        raise NotWell(message) from down


# --- Looking ---------------------------------------------------------------------------------------------------------


def status(path: Path, *, as_json: bool) -> None:
    """Each target's row, and the dead letters; raises `NotWell` if anybody needs to do anything."""
    configuration = read_config(path)
    seen, away = _each(configuration, path, _look)
    heaps = [heap for look in seen for heap in look.heaps]
    dead = sum(heap.count for heap in heaps)
    found = {row.name: row for look in seen for row in look.rows(dead)}
    rows = [found.get(t.name) or unknown(t, f"{PLACES[t.cloud]} could not be asked") for t in configuration.targets]
    sign_in = Standing() if Cloud.AZURE in away else _sign_in(configuration, path)
    if as_json:
        told = {"away": {PLACES[cloud]: str(trouble) for cloud, trouble in away.items()}} if away else {}
        targets = [msgspec.to_builtins(one) for one in rows]
        print_json({"targets": targets, "dead_letters": _plain(heaps), **told, **sign_in.data})
    else:
        _print_status(rows, heaps)
        print(sign_in.told, end="")
    if away:
        tell(away)
    if dead or not sign_in.well or not all(one.well for one in rows):
        raise NotWell


@dataclass(frozen=True)
class Standing:
    """How the sign-in of a user stands, in words and as data; nothing where Fabric is not called as a user."""

    told: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    well: bool = True


def _sign_in(configuration: Configuration, path: Path) -> Standing:
    if configuration.fabric.identity != "user" or all(t.cloud is not Cloud.AZURE for t in configuration.targets):
        return Standing()
    from local import login
    from shared.entra import NOBODY, age

    try:
        kept = login.Deployment(configuration, path).kept()
    except (NotWell, WrongUsage) as trouble:
        return Standing(f"{trouble}\n", {"sign_in": {"error": str(trouble)}}, well=False)
    told = age(kept, datetime.now(UTC)) if kept else NOBODY.message
    return Standing(f"{told}\n", {"sign_in": login.as_data(kept)}, kept is not None and not kept.refusal)


@dataclass(frozen=True)
class Look:
    """What one cloud knows. Whether a target is fresh is only known if no dead letters are on either."""

    side: Side
    heaps: Sequence[Heap]
    deployment: Deployment
    states: Sequence[State]

    def rows(self, dead_letters: int) -> list[Row]:
        """One for each target."""
        now, traits = self.side.world.clock.now(), self.side.world.platform.traits
        return [
            row(target, state, self.deployment, traits, now=now, dead_letters=dead_letters)
            for target, state in zip(self.side.engine.targets.values(), self.states, strict=True)
        ]


def _look(side: Side) -> Look:
    keys = [DEPLOYMENT_KEY, *side.engine.targets]
    deployment, *states = (found.body for found in side.world.store.load_many(keys))
    return Look(side, side.heaps(), read_deployment(deployment), [read_state(body) for body in states])


def _plain(heaps: list[Heap]) -> list[dict[str, Any]]:
    return [
        {"queue": heap.queue, "count": heap.count, "oldest": heap.oldest, "reasons": list(heap.reasons)}
        for heap in heaps
    ]


def _print_status(rows: list[Row], heaps: list[Heap]) -> None:
    columns = ("target", "verdict", "stale since", "fresh as of", "why")
    cells = [(one.name, one.verdict, one.stale_since, one.fresh_as_of, one.why) for one in rows]
    print_table(columns, cells, [STYLES[one.verdict] for one in rows])
    for heap in heaps:
        if heap.count:
            why = "; ".join(heap.reasons)
            print(f"{heap.count} dead letters of {heap.queue} ({why}): a signal may be among them, so that what looks")
            print(
                "fresh is not known to be. `unstale redrive --dry-run` shows them, `unstale redrive` brings them back"
            )


def history(path: Path, name: str, *, limit: int, as_json: bool) -> None:
    """The runs of a target, newest first."""
    side, target = _side_of(path, name)
    bodies = _reach(side, lambda here: here.world.store.history(target.key, limit))
    lines: list[Ended] = [read_ended(body) for body in bodies]
    if as_json:
        print_json({"target": name, "runs": [msgspec.to_builtins(line) for line in lines]})
        return
    if not lines:
        print(f"{name}: no runs yet")
        return
    columns = ("claimed at", "ended at", "outcome", "whose", "full", "signals", "why", "error")
    rows = [
        (
            line.claimed_at,
            line.ended_at,
            line.outcome,
            "someone else's" if line.foreign else "ours",
            "full" if line.full else "",
            line.signals,
            ", ".join(line.reasons),
            line.error,
        )
        for line in lines
    ]
    print_table(columns, rows)


# --- Asking ----------------------------------------------------------------------------------------------------------


def refresh(path: Path, name: str, *, full: bool) -> None:
    """Owe the target a refresh; a blocked one is tried at once."""
    side, target = _side_of(path, name)
    if full and side.cloud is Cloud.AZURE:
        message = f"{name}: Fabric decides by itself whether a refresh is full; an execution definition can say so"
        raise WrongUsage(message)
    signal = Signal(side.world.clock.now(), "asked on the command line", full=full, asked=True)
    _ask(side, target, Signalled(signal), ProbeAsked())
    print(f"{name}: asked; `unstale status` shows how it goes")


def pause(path: Path, name: str | None) -> None:
    """Start nothing, forget nothing."""
    if name is None:
        _ask_all(path, lambda side: side.engine.pause_all(), "paused; whatever runs is followed to its end")
        return
    side, target = _side_of(path, name)
    _ask(side, target, PauseAsked())
    print(f"{name}: paused; what arrives is remembered")


def resume(path: Path, name: str | None) -> None:
    """Start again."""
    if name is None:
        _ask_all(path, lambda side: side.engine.resume_all(), "resumed; the next tick looks at each")
        return
    side, target = _side_of(path, name)
    _ask(side, target, ResumeAsked())
    print(f"{name}: resumed")


def try_blocked(path: Path) -> list[str]:
    """Let the blocked Fabric targets be tried at once, because what blocked them may be mended; their names."""
    configuration = read_config(path)
    side = _open(Cloud.AZURE, configuration, path)
    targets = list(side.engine.targets.values())
    found = _reach(side, lambda here: here.world.store.load_many([target.key for target in targets]))
    blocked = [
        target
        for target, document in zip(targets, found, strict=True)
        if isinstance(read_state(document.body).hold, Blocked)
    ]
    for target in blocked:
        _ask(side, target, ProbeAsked())
    return [target.name for target in blocked]


def _ask(side: Side, target: Target, *happened: Happening) -> None:
    _reach(side, lambda here: here.engine.look(target, happened, acts=False))


def _ask_all(path: Path, ask: Callable[[Side], None], done: str) -> None:
    """Of both clouds. Where one is away the other is asked all the same, and what is said names it."""

    def asked(side: Side) -> Cloud:
        ask(side)
        return side.cloud

    clouds, away = _each(read_config(path), path, asked)
    where = f" on {PLACES[clouds[0]]}" if away else ""
    print(f"all targets{where}: {done}")
    if away:
        tell(away)
