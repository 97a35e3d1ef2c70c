"""The process and each cloud: the deployed function's own calls, on the state and the wakes of this machine.

Glue is called by the credentials that every AWS tool finds. Fabric is called with the token of `az login`, or of
whoever signed in by `unstale login --local`, or of a managed identity where this runs beside one (a container on
Azure); `[fabric] identity` counts only for what is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import msgspec

from local.cli.errors import UsageError
from local.cli.variables import wrong_usage
from local.emulators.clock import utc_now
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.destinations import Destination
from shared.inbound import eventbridge
from shared.inbound.messages import Message
from shared.outcomes.answers import SendFailure
from shared.outcomes.formats import EncodedEvent
from shared.redaction import Redactor
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import StoreDownError, Waker
from shared.refresh.state import Wake
from shared.sign_in import scopes
from shared.targets import Cloud, GlueView

Emit = Callable[[LogEvent], None]
"""Takes what the engine tells."""


class MakePorts(Protocol):
    """Makes the ports for one piece of work; connections, tokens and secrets live as long as the process."""

    def __call__(self, waker: Waker, *, emit: Emit) -> Ports:
        """Make the ports with this waker, and tell what happens to `emit`."""


class NoWaker:
    """The waker of a command, which is over before any wake could come: `shared.refresh.ports.Waker`."""

    reach = timedelta(days=6)
    """As far as the process's own waker reaches."""
    relays = True
    """As the process's own waker does."""

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Raise `StoreDownError`, so that the record names no wake; the process finds the record when it is due."""
        raise StoreDownError(f"no wake for {wake.key} in {delay}: a command does not live that long")


class Takes(Protocol):
    """The half of the process that serves another cloud, as far as its neighbour knows it."""

    def take(self, message: Message) -> bool:
        """Take a message, as the deployed function does; False where it met trouble."""


class Neighbour:
    """The way to followers on the other cloud within one process, in place of `[across]`.

    `shared.outcomes.sending.Sender`. A command has no such neighbour, and tells nobody.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Know nobody yet: the halves are made one after the other."""
        self.half: Takes | None = None
        self._clock = clock

    def send(self, destination: Destination, event: EncodedEvent) -> SendFailure | None:
        """Hand a signal to the other half; what meets trouble there, or finds no other half, waits."""
        if self.half is None:
            return SendFailure(f"this process does not serve {destination.to}")
        signal = {"refresh": destination.follower, **msgspec.json.decode(event.body)}
        taken = self.half.take(eventbridge.read(signal, self._clock()))
        return None if taken else SendFailure(f"trouble in the half of the process that serves {destination.to}")


def open_cloud(
    cloud: Cloud,
    configuration: Configuration,
    file: StateFile,
    environ: Mapping[str, str],
    neighbour: Neighbour | None = None,
) -> MakePorts:
    """Prepare the calls to one cloud; nothing is sent. Raises `UsageError` where a variable is wrong."""
    open_one = _open_aws if cloud is Cloud.AWS else _open_azure
    return open_one(configuration, file, environ, neighbour or Neighbour(utc_now))


def service_of(cloud: Cloud, configuration: Configuration, environ: Mapping[str, str]) -> str:
    """Name the process in its outcome events: by the account or the tenant of its targets, and as `local`.

    Receivers tell events apart by this and by their ids, which two processes for two accounts may share. Whoever signed
    in with `az login` may have named no tenant; then the first workspace, by its id, stands for that.
    """
    targets = [target.resource for target in configuration.targets if target.cloud is cloud]
    places = [each.catalog_id.partition(":")[0] if isinstance(each, GlueView) else each.workspace for each in targets]
    tenant = environ.get("UNSTALE_TENANT_ID") if cloud is Cloud.AZURE else ""
    return f"{tenant or min(places, default='none')}/local"


def _open_aws(
    configuration: Configuration, file: StateFile, environ: Mapping[str, str], neighbour: Neighbour
) -> MakePorts:
    """Prepare the calls to Glue, S3 Tables and the Iceberg catalog."""
    from functions_aws import settings, tell, wiring
    from functions_aws.clients import Clients

    with wrong_usage():
        settings.refuse_unsafe_endpoints(environ)
    clients, clock = Clients(environ.get("AWS_REGION", "")), wiring.SystemClock()
    return partial(
        wiring.ports,
        Store(file, Cloud.AWS, clock),
        clients=clients,
        clock=clock,
        redactor=Redactor(settings.secrets(environ)),
        service=service_of(Cloud.AWS, configuration, environ),
        secrets=tell.secrets_of(clients, clock),
        other_cloud=neighbour,
    )


def _open_azure(
    configuration: Configuration, file: StateFile, environ: Mapping[str, str], neighbour: Neighbour
) -> MakePorts:
    """Prepare the calls to Fabric and OneLake."""
    from functions_azure import settings, wiring
    from local.process.caller import caller_of

    with wrong_usage():
        found = settings.read_without_storage(environ)
    redactor, clock = Redactor(settings.secrets(environ)), wiring.SystemClock()
    caller = caller_of(found, scopes(configuration.targets), file.path, environ)
    parts = wiring.Parts(found, lambda: configuration, caller=caller, redactor=redactor)
    parts.bus = neighbour
    return partial(
        wiring.ports,
        Store(file, Cloud.AZURE, clock),
        found=found,
        configuration=configuration,
        parts=parts,
        clock=clock,
        service=service_of(Cloud.AZURE, configuration, environ),
    )


def secrets_of(clouds: Iterable[Cloud], environ: Mapping[str, str]) -> Iterator[str]:
    """The values of variables that no line may show."""
    for cloud in clouds:
        if cloud is Cloud.AWS:
            from functions_aws.settings import secrets as secrets_on_aws

            yield from secrets_on_aws(environ)
        else:
            from functions_azure.settings import secrets as secrets_on_azure

            yield from secrets_on_azure(environ)


def check_region(environ: Mapping[str, str]) -> None:
    """Raise `UsageError` before anything is begun where AWS's own settings are wrong: a Region that nobody named."""
    from botocore.exceptions import BotoCoreError

    from functions_aws.clients import Clients

    try:
        region = Clients(environ.get("AWS_REGION", "")).glue.meta.region_name
    except BotoCoreError as bad:
        raise UsageError(f"AWS: {bad} Are AWS_REGION and AWS_PROFILE those of your views?") from bad
    if not region:  # as with an endpoint of one's own, where the SDK does without
        raise UsageError("AWS: no Region: set AWS_REGION to that of your views")
