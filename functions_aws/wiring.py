"""Puts the parts of this cloud together: the shell that the handler calls, and the ports that the engine needs."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from functions_aws import settings
from functions_aws.clients import Clients
from functions_aws.dead_letters import DeadLetters
from functions_aws.platform import Platform
from functions_aws.settings import Settings, SettingsError
from functions_aws.shell import Shell
from functions_aws.sources import Sources
from functions_aws.store import Store
from functions_aws.telemetry import Telemetry
from functions_aws.tell import secrets_of, senders
from functions_aws.visibility import Visibility
from functions_aws.waker import Waker
from shared.config.compiled import FILE as COMPILED
from shared.config.compiled import read_configuration
from shared.config.configuration import Configuration
from shared.config.generation import read_generation
from shared.destinations import with_alarms
from shared.outcomes.sending import Office, Sender, Sending
from shared.outcomes.webhook import Secrets
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh import ports as ports_of_core
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.ports import Clock
from shared.sources.looking import Looking
from shared.sources.standing import source_statuses
from shared.targets import Cloud

log = logging.getLogger("unstale")


class SystemClock:
    """The machine's clocks: `shared.refresh.ports.Clock`."""

    now = staticmethod(partial(datetime.now, UTC))
    """The wall clock of the machine, which the cloud keeps in time."""
    monotonic = staticmethod(partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))
    """CLOCK_BOOTTIME counts what a suspended machine missed; where there is none, CLOCK_MONOTONIC has to do."""


def stand_still(most: timedelta) -> None:
    """Wait for a random part of a time: `shared.refresh.engine.Ports.pause`."""
    time.sleep(random.SystemRandom().uniform(0, most.total_seconds()))


def configuration(found: Settings) -> Configuration:
    """Read the configuration; raises `ConfigurationError`, or OSError where there is no such file.

    Raises `SettingsError` if the rules were made from another one: events of targets that it lacks would be ignored.
    Several environments are packaged in one folder, one after the other.
    """
    read = _read(found.config)
    read = read.of_package(generation(found.config), with_alarms(read.destinations, found.alarm_topic))
    if found.fingerprint not in {"", read.fingerprint}:
        raise SettingsError(
            f"UNSTALE_CONFIG_FINGERPRINT is {found.fingerprint!r}, but that of {found.config} is "
            f"{read.fingerprint!r}: the package is not of the configuration that the stack was deployed with. "
            "make package-aws for this environment, then sam deploy"
        )
    return read


def _read(config: Path) -> Configuration:
    """Read a configuration, by what packaging compiled of it; the log says where there is that, and it is not used."""
    compiled = config.with_name(COMPILED)
    beside = compiled.read_bytes() if compiled.exists() else None
    read, unused = read_configuration(config.read_bytes(), beside, str(config))
    if unused:
        log.warning("%s", unused)
    return read


def generation(config: Path) -> datetime:
    """When the package was made; without a package, when its configuration was written."""
    if settings.GENERATION.exists():
        return read_generation(settings.GENERATION.read_bytes())
    return datetime.fromtimestamp(config.stat().st_mtime, UTC)


def make_ports(
    found: Settings,
    clients: Clients,
    emit: Callable[[LogEvent], None],
    clock: Clock | None = None,
    redactor: Redactor = NOTHING_KNOWN,
) -> Ports:
    """Make the ports of the deployment. None of them has been called yet, so nothing is connected."""
    store, waker = Store(clients, found.table), Waker(clients, found.queue_url)
    clock = clock or SystemClock()
    made = ports(
        store,
        waker,
        clients=clients,
        emit=emit,
        clock=clock,
        redactor=redactor,
        service=found.service,
    )
    if not found.page_bucket:
        return made
    from functions_aws.page import PageBucket
    from shared.refresh.excerpt import Excerpts

    place = PageBucket(clients, found.page_bucket)
    return replace(made, excerpt=Excerpts(store, place, emit, source_statuses))


def ports(
    store: ports_of_core.Store,
    waker: ports_of_core.Waker,
    *,
    clients: Clients,
    emit: Callable[[LogEvent], None],
    clock: Clock,
    redactor: Redactor = NOTHING_KNOWN,
    looks_clock: Clock | None = None,
    service: str = "unstale",
    secrets: Secrets | None = None,
    other_cloud: Sender | None = None,
) -> Ports:
    """Make the ports of the engine on any store and waker: the deployment's, or those of one machine.

    Looks go by the same clock, or by one of their own where time passes faster than the network answers: in the demo.
    `service` names the deployment in events, `secrets` outlive these ports, `other_cloud` signals targets on Azure.
    """
    platform, looks_clock = Platform(clients, redactor), looks_clock or clock
    post = senders(clients, secrets or secrets_of(clients, clock), clock, other_cloud)
    return Ports(
        cloud=Cloud.AWS,
        store=store,
        platform=platform,
        waker=waker,
        clock=clock,
        token=lambda: uuid.uuid4().hex,
        emit=emit,
        looks=lambda targets, reconcile: Looking(
            targets,
            store=store,
            sources=Sources(clients, looks_clock, redactor=redactor),
            platform=platform,
            clock=looks_clock,
            reconcile=reconcile,
            emit=emit,
        ),
        pause=stand_still,
        outcomes=partial(Sending, _office(service, store, clock, emit, post)),
    )


def _office(
    service: str,
    store: ports_of_core.Store,
    clock: Clock,
    emit: Callable[[LogEvent], None],
    post: Mapping[str, Sender],
) -> Office:
    """Make what sending outcome events works with."""
    return Office(
        store=store,
        clock=clock,
        senders=post,
        source=f"/unstale/aws/{service}",
        capabilities=Platform.capabilities,
        emit=emit,
        sources=lambda target, now: source_statuses([target], store, now).get(target.key, ()),
    )


def shell(environ: Mapping[str, str]) -> Shell:
    """Make what the handler calls, with the real parts. Raises `SettingsError`, and what `configuration` raises."""
    found = settings.read(environ)
    read = configuration(found)
    read.build()
    redactor = Redactor(settings.secrets(environ))
    telemetry = Telemetry(found.service, redactor, found.metrics)
    clients = Clients(found.region)
    clients.build()
    here = make_ports(found, clients, telemetry.emit, redactor=redactor)
    return Shell(read, here, DeadLetters(clients), Visibility(clients), telemetry, redactor=redactor)
