"""What the process has of each cloud: the deployed function's own calls, on the state and the wakes of this machine.

Glue is called by the credentials that every AWS tool finds. Fabric is called with the token of `az login`, or of whoever
signed in by `unstale login --local`, or of a managed identity where this runs beside one (a container on Azure);
`[fabric] identity` counts only for what is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from local.cli.errors import UsageError
from local.process.store import StateFile, Store
from shared.config.load import Configuration
from shared.redaction import Redactor
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import StoreDownError, Waker
from shared.refresh.state import Wake
from shared.targets import Cloud

Emit = Callable[[LogEvent], None]
"""Takes what the engine tells."""
MakePorts = Callable[[Emit], Ports]
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


def open_cloud(
    cloud: Cloud, configuration: Configuration, file: StateFile, waker: Waker, environ: Mapping[str, str]
) -> MakePorts:
    """Prepare the calls to one cloud; nothing is sent. Raises `UsageError` where a variable is wrong."""
    if cloud is Cloud.AWS:
        return _open_aws(file, waker, environ)
    return _open_azure(configuration, file, waker, environ)


def _open_aws(file: StateFile, waker: Waker, environ: Mapping[str, str]) -> MakePorts:
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
    return lambda emit: wiring.ports(store, waker, clients=clients, emit=emit, clock=clock, redactor=redactor)


def _open_azure(configuration: Configuration, file: StateFile, waker: Waker, environ: Mapping[str, str]) -> MakePorts:
    """Prepare the calls to Fabric and OneLake."""
    from functions_azure import settings, wiring
    from local.process.caller import caller_of

    try:
        found = settings.read_without_storage(environ)
    except settings.SettingsError as bad:
        raise UsageError(str(bad)) from bad
    redactor, clock = Redactor(settings.secrets(environ)), wiring.SystemClock()
    caller = caller_of(found, file.path, environ)
    parts = wiring.Parts(found, lambda: configuration, caller=caller, redactor=redactor)
    store = Store(file, Cloud.AZURE, clock)
    return lambda emit: wiring.ports(
        store, waker, found=found, configuration=configuration, parts=parts, emit=emit, clock=clock
    )


def build_clients(cloud: Cloud, environ: Mapping[str, str]) -> None:
    """Fail before anything is begun where AWS's own settings are wrong, such as a Region that nobody named."""
    if cloud is not Cloud.AWS:
        return
    from botocore.exceptions import BotoCoreError
    from functions_aws.clients import Clients

    try:
        _ = Clients(environ.get("AWS_REGION", "")).glue
    except BotoCoreError as bad:
        raise UsageError(f"AWS: {bad} Are AWS_REGION and AWS_PROFILE those of your views?") from bad
