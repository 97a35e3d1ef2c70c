"""Puts the parts of this cloud together into what the engine needs of the world."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from functions_aws.clients import Clients
from functions_aws.platform import Platform
from functions_aws.settings import Settings, SettingsError
from functions_aws.sources import Sources
from functions_aws.store import Store
from functions_aws.waker import Waker
from shared.config.load import Configuration, load
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import Clock
from shared.sources.looking import Looking
from shared.targets import Cloud


class SystemClock:
    """`shared.refresh.ports.Clock`."""

    def now(self) -> datetime:
        """The wall clock of the machine, which Lambda keeps in time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """CLOCK_BOOTTIME counts what a suspended machine missed; where there is none, CLOCK_MONOTONIC has to do."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def configuration(settings: Settings) -> Configuration:
    """Read the configuration; raises `ConfigurationError`, or OSError where there is no such file.

    Raises `SettingsError` if the rules were made from another one: events of targets that it lacks would be ignored.
    Several environments are packaged in one folder, one after the other.
    """
    found = load(settings.config.read_bytes(), str(settings.config))
    if settings.fingerprint not in {"", found.fingerprint}:
        raise SettingsError(
            f"UNSTALE_CONFIG_FINGERPRINT is {settings.fingerprint!r}, but that of {settings.config} is "
            f"{found.fingerprint!r}: the package is not of the configuration that the stack was deployed with. "
            "make package-aws for this environment, then sam deploy"
        )
    return found


def world(
    settings: Settings,
    clients: Clients,
    emit: Callable[[LogEvent], None],
    clock: Clock | None = None,
    redactor: Redactor = NOTHING_KNOWN,
) -> Ports:
    """Nothing in it has been called yet, so nothing is connected."""
    clock = clock or SystemClock()
    store, platform = Store(clients, settings.table), Platform(clients, redactor)
    sources = Sources(clients, clock, redactor=redactor)
    return Ports(
        cloud=Cloud.AWS,
        store=store,
        platform=platform,
        waker=Waker(clients, settings.queue_url),
        clock=clock,
        token=lambda: uuid.uuid4().hex,
        emit=emit,
        looks=lambda targets, reconcile: Looking(
            targets, store=store, sources=sources, platform=platform, clock=clock, reconcile=reconcile, emit=emit
        ),
    )
