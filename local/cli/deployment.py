"""How a command finds the deployment: its configuration, each cloud's settings, and the records behind them.

The configuration is a file, as the function has it in its package. Where the deployment is, the variables say that the
template prints as its output; they have the same names as the function's own. Credentials are those of whoever runs the
command: AWS's usual ones, and `az login` for Azure.

Commands write what a person wants into the record, and send the wake that makes the deployed function act on it: from
here nothing is ever sent to Glue or Fabric.

    side        a cloud with an engine on its records: what every command works on
    reach       runs a question, and turns a store that is down into a sentence with a question to ask oneself
    each_side   the same question to each cloud; those that cannot be asked are told, and hide no other
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from local.cli import stack
from local.cli.errors import NotWellError, UsageError
from local.cli.excerpt import read_blob, read_object
from shared.config.load import Configuration, load
from shared.inbound.dead_letters import DeadLetterSummary
from shared.refresh.deployment import COMMAND
from shared.refresh.engine import Engine, Ports
from shared.refresh.evidence import Backlog
from shared.refresh.inputs import Input
from shared.refresh.ports import StoreDownError
from shared.refresh.records import NewerRecordError, read_state
from shared.targets import Cloud, Target

if TYPE_CHECKING:
    from functions_aws.settings import Settings as AwsSettings
    from functions_azure.settings import Settings as AzureSettings
    from local.process.clouds import MakePorts
    from local.process.store import StateFile

T = TypeVar("T")
U = TypeVar("U")

PLACES = {Cloud.AWS: "AWS", Cloud.AZURE: "Azure"}
"""How a sentence names each cloud: as people say, where the configuration and the records say `aws` and `azure`."""

CURES = {
    Cloud.AWS: "Are AWS_REGION, the credentials (AWS_PROFILE) and UNSTALE_TABLE those of the deployment?",
    Cloud.AZURE: "Is UNSTALE_STORAGE the deployment's account, and may you read it?",
}
"""The question to ask oneself where the store of a cloud does not answer."""

STATE = "UNSTALE_STATE"
"""The variable that names the state of `unstale run`, for clouds on which no other variable leads to a deployment."""
STATE_CURE = "Is the disk full, or does another process hold the file?"
"""The question to ask oneself where such a file does not answer."""

Away = Mapping[Cloud, NotWellError | UsageError]
"""The clouds that could not be asked, each with what to tell of it."""


def read_config(path: Path) -> Configuration:
    """The configuration, or a clear word about what is wrong with it."""
    return load(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """The bytes of the configuration's file; raises `UsageError` if it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError as failure:
        message = f"there is no {path}: `unstale init` makes one, or name yours with --config or UNSTALE_CONFIG"
        raise UsageError(message) from failure
    except OSError as failure:
        message = f"cannot read {path}: {failure}. Name the file with --config or UNSTALE_CONFIG"
        raise UsageError(message) from failure


@dataclass(frozen=True)
class Side:
    """A cloud of the deployment."""

    cloud: Cloud
    """Which cloud this is."""
    engine: Engine
    """The engine that reads and writes the records; from here it may call no platform."""
    ports: Ports
    summaries: Callable[[], Sequence[DeadLetterSummary]]
    """Reads the dead letters of this cloud."""
    backlogs: Callable[[datetime], Sequence[Backlog]]
    """Reads which messages wait in this cloud, and for how long."""
    excerpt: Callable[[], bytes] | None = None
    """Reads the excerpt of the records that ticks write for readers who may not read the table; None where none do."""


class Kept:
    """The parts that a command opened, from one renewal of what it shows to the next: clients, tokens in their caches.

    Safe between threads. A changed configuration has all of them opened anew.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._lock = Lock()
        self._configuration: Configuration | None = None
        self._parts: dict[str, Any] = {}

    def use(self, name: str, configuration: Configuration, make: Callable[[], T], work: Callable[[T], U]) -> U:
        """Do something with the part of this name, which `make` opens where there is none.

        A part that did not answer is dropped: who reads credentials anew may have better ones by the next time.
        """
        part = self._part(name, configuration, make)
        try:
            return work(part)
        except NotWellError:
            self._parts.pop(name, None)
            raise

    def _part(self, name: str, configuration: Configuration, make: Callable[[], T]) -> T:
        with self._lock:
            if configuration != self._configuration:
                self._configuration, self._parts = configuration, {}
            if name not in self._parts:
                self._parts[name] = make()
            part: T = self._parts[name]
            return part


def each_side(
    configuration: Configuration,
    path: Path,
    work: Callable[[Side], T],
    only: Cloud | None = None,
    *,
    kept: Kept | None = None,
) -> tuple[list[T], Away]:
    """Do something with each cloud's records, as `each_cloud` does, on what is kept of an earlier time.

    A state is opened each time, which costs no call: by then another file may have its name.
    """
    opened = kept or Kept()

    def do(cloud: Cloud) -> T:
        """Carry out a deed with the records of one cloud."""
        if state_of(cloud):
            return reach(open_side(cloud, configuration, path), work)
        return opened.use(
            cloud, configuration, lambda: open_side(cloud, configuration, path), lambda side: reach(side, work)
        )

    return each_cloud(configuration, do, only)


def clouds_of(configuration: Configuration, only: Cloud | None = None) -> tuple[Cloud, ...]:
    """The clouds that have targets, or the one that `--cloud` names. Raises `UsageError` where that one has none."""
    clouds = tuple(dict.fromkeys(target.cloud for target in configuration.targets))
    if only is None:
        return clouds
    if only not in clouds:
        raise UsageError(f"no target is on {PLACES[only]}: leave --cloud out, or name the other one")
    return (only,)


def each_cloud(
    configuration: Configuration, ask: Callable[[Cloud], T], only: Cloud | None = None
) -> tuple[list[T], Away]:
    """Ask each cloud that has targets. One that is away does not keep the other from it; if all are, it raises."""
    answers: list[T] = []
    away: dict[Cloud, NotWellError | UsageError] = {}
    for cloud in clouds_of(configuration, only):
        try:
            answers.append(ask(cloud))
        except (NotWellError, UsageError) as failure:
            away[cloud] = failure
    if not answers:
        tell(away)
    return answers, away


def tell(away: Away) -> NoReturn:
    """Which clouds are away and what to do about it. A variable that is missing is wrong usage, also if it is one's."""
    usage = any(isinstance(failure, UsageError) for failure in away.values())
    said = "\n".join(f"{PLACES[cloud]}: {failure}" for cloud, failure in away.items())
    raise UsageError(said) if usage else NotWellError(said)


def open_side(cloud: Cloud, configuration: Configuration, path: Path) -> Side:
    """The records of one cloud, and the engine that reads and writes them."""
    state = state_of(cloud)
    if state:
        return _open_state_side(cloud, configuration, state)
    environ = {**stack.environment(cloud, configuration), "UNSTALE_CONFIG": str(path)}
    return _open_aws(configuration, environ) if cloud is Cloud.AWS else _open_azure(configuration, environ)


def state_of(cloud: Cloud) -> Path | None:
    """The state of `unstale run`, where one is named and no variable leads to a deployment on this cloud."""
    state = os.environ.get(STATE)
    return Path(state) if state and stack.missing_variables(cloud, os.environ) else None


def _open_state_side(cloud: Cloud, configuration: Configuration, path: Path) -> Side:
    """Open the records that a process on this machine keeps in a file, which must be there."""
    if not path.exists():
        raise UsageError(f"there is no {path}: `unstale run` makes it. Name another file with --state")
    return side_on(open_state(path), cloud, configuration)


def open_state(path: Path) -> StateFile:
    """Open a state, or make it; what is wrong with the file is said in a sentence."""
    from local.process.store import StateFile, UnusableFileError

    try:
        return StateFile(path)
    except UnusableFileError as bad:
        raise UsageError(str(bad)) from bad
    except StoreDownError as down:
        raise NotWellError(str(down)) from down


def side_on(file: StateFile, cloud: Cloud, configuration: Configuration) -> Side:
    """The records of one cloud in a state. The process has no queues, and so no dead letters: what comes is done."""
    from local.process.clouds import open_cloud

    return local_side(open_cloud(cloud, configuration, file, os.environ), configuration)


def local_side(make_ports: MakePorts, configuration: Configuration) -> Side:
    """Make the same of what was opened already."""
    from local.process.clouds import NoWaker

    here = make_ports(NoWaker(), emit=lambda _: None)
    return Side(here.cloud, _engine(configuration, here), here, lambda: (), lambda _: ())


def _open_aws(configuration: Configuration, environ: dict[str, str]) -> Side:
    """Open the records in DynamoDB and the dead letters in SQS, with the credentials of whoever runs the command."""
    from functions_aws.backlog import Backlogs
    from functions_aws.clients import Clients
    from functions_aws.dead_letters import DeadLetters
    from functions_aws.wiring import make_ports

    settings = aws_settings(environ)
    clients = Clients(settings.region)
    here = make_ports(settings, clients, lambda _: None)
    dead = DeadLetters(clients, (settings.queue_url, settings.events_queue_url))
    waiting = Backlogs(clients, settings.events_queue_url, settings.queue_url)
    page = partial(read_object, clients, settings.page_bucket) if settings.page_bucket else None
    return Side(Cloud.AWS, _engine(configuration, here), here, dead.summaries, waiting.read, page)


def _open_azure(configuration: Configuration, environ: dict[str, str]) -> Side:
    """Open the records in Table storage and the dead letters beside them, as whoever signed in with `az login`."""
    from functions_azure.backlog import Backlogs
    from functions_azure.dead_letters import DeadLetters
    from functions_azure.wiring import Parts, make_ports
    from local import azure_login

    settings = azure_settings(environ)
    parts = Parts(settings, lambda: configuration, azure_login.storage(environ))
    here = make_ports(settings, configuration, parts, lambda _: None)
    dead = DeadLetters(parts.clients)
    page = partial(read_blob, parts.clients) if settings.page_container else None
    return Side(Cloud.AZURE, _engine(configuration, here), here, dead.summaries, Backlogs(parts.clients).read, page)


def _engine(configuration: Configuration, ports: Ports) -> Engine:
    """Make the engine of a command, which plans nothing, whatever file it reads."""
    return Engine(configuration.package(ports.cloud), ports, standing=COMMAND)


def aws_settings(environ: Mapping[str, str]) -> AwsSettings:
    """Where the deployment on AWS is; what is wrong with a variable is wrong usage."""
    from functions_aws.settings import SettingsError, read

    try:
        return read(environ)
    except SettingsError as bad:
        raise UsageError(f"{bad}. `sam deploy` prints it as an output of the stack") from bad


def azure_settings(environ: Mapping[str, str]) -> AzureSettings:
    """Where the deployment on Azure is, likewise."""
    from functions_azure.settings import SettingsError, read

    try:
        return read(environ)
    except SettingsError as bad:
        raise UsageError(f"{bad}. The deployment prints it in its output environment") from bad


def side_of(path: Path, name: str) -> tuple[Side, Target]:
    """The target of that name, and the cloud where its record is."""
    configuration = read_config(path)
    target = configuration.by_name.get(name)
    if target is None:
        known = ", ".join(configuration.by_name)
        message = f"{path} has no target {name!r}; it has {known}"
        raise UsageError(message)
    return open_side(target.cloud, configuration, path), target


def reach(side: Side, work: Callable[[Side], T]) -> T:
    """Do something with a store; what it says when it cannot is an answer, not a traceback."""
    try:
        return work(side)
    except NewerRecordError as newer:
        raise NotWellError(str(newer)) from newer
    except StoreDownError as down:
        raise unreachable(side.cloud, down) from down


def unreachable(cloud: Cloud, down: StoreDownError) -> NotWellError:
    """Make an answer of what a deployment's store or queue says when it cannot be asked, with what to look at."""
    cure = STATE_CURE if state_of(cloud) else CURES[cloud]
    return NotWellError(f"{str(down).rstrip('.')}. {cure}")


def ask(side: Side, target: Target, *inputs: Input) -> None:
    """Put into the target's record what a person wants of it; the function acts on it.

    Raises `NotWellError` for a target that the deployed configuration does not name: nobody would act on it.
    """

    def put(here: Side) -> None:
        if not read_state(here.ports.store.load(target.key).body).definition:
            raise NotWellError(
                f"the configuration that is deployed does not name {target.name}, so nobody would act on this: "
                "package and deploy this file. Just after that a tick, once a minute, makes it known"
            )
        here.engine.reconcile(target, inputs, may_call=False)

    reach(side, put)
