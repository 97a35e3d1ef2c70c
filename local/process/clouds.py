"""What the process has of each cloud: the deployed function's own calls, on the state and the wakes of this machine.

Glue is called by the credentials that every AWS tool finds. Fabric is called with the token of `az login`, or of
whoever signed in by `unstale login --local`, or of a managed identity where this runs beside one (a container on
Azure); `[fabric] identity` counts only for what is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

from local.cli.errors import UsageError
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.redaction import Redactor
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import StoreDownError, Waker
from shared.refresh.state import Wake
from shared.sign_in import scopes
from shared.targets import Cloud

Emit = Callable[[LogEvent], None]
"""Takes what the engine tells."""
MakePorts = Callable[[Waker, Emit], Ports]
"""Makes the ports for one piece of work; connections live as long as the process."""


class NoWaker:
    """The waker of a command, which is over before any wake could come: `shared.refresh.ports.Waker`."""

    reach = timedelta(days=6)
    """As far as the process's own waker reaches."""
    relays = True
    """As the process's own waker does."""

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Raise `StoreDownError`, so that the record names no wake; the process finds the record when it is due."""
        raise StoreDownError(f"no wake for {wake.key} in {delay}: a command does not live that long")


def open_cloud(cloud: Cloud, configuration: Configuration, file: StateFile, environ: Mapping[str, str]) -> MakePorts:
    """Prepare the calls to one cloud; nothing is sent. Raises `UsageError` where a variable is wrong."""
    return _open_aws(file, environ) if cloud is Cloud.AWS else _open_azure(configuration, file, environ)


def _open_aws(file: StateFile, environ: Mapping[str, str]) -> MakePorts:
    """Prepare the calls to Glue, S3 Tables and the Iceberg catalog."""
    from functions_aws import settings, wiring
    from functions_aws.clients import Clients

    try:
        settings.refuse_unsafe_endpoints(environ)
    except settings.SettingsError as bad:
        raise UsageError(str(bad)) from bad
    clients, clock = Clients(environ.get("AWS_REGION", "")), wiring.SystemClock()
    redactor = Redactor(settings.secrets(environ))
    store = Store(file, Cloud.AWS, clock)
    return lambda waker, emit: wiring.ports(store, waker, clients=clients, emit=emit, clock=clock, redactor=redactor)


def _open_azure(configuration: Configuration, file: StateFile, environ: Mapping[str, str]) -> MakePorts:
    """Prepare the calls to Fabric and OneLake."""
    from functions_azure import settings, wiring
    from local.process.caller import caller_of

    try:
        found = settings.read_without_storage(environ)
    except settings.SettingsError as bad:
        raise UsageError(str(bad)) from bad
    redactor, clock = Redactor(settings.secrets(environ)), wiring.SystemClock()
    caller = caller_of(found, scopes(configuration.targets), file.path, environ)
    parts = wiring.Parts(found, lambda: configuration, caller=caller, redactor=redactor)
    store = Store(file, Cloud.AZURE, clock)
    return lambda waker, emit: wiring.ports(
        store, waker, found=found, configuration=configuration, parts=parts, emit=emit, clock=clock
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
