"""Puts the parts of this cloud together into the ports of the engine.

    for the process      Parts: sessions, tokens in their caches, clients, secrets      made when first used
    for an invocation    Ports: store, waker, platform, looks, outcomes                 all keep its deadline

This is the one place that knows every class of the room. A test, the demo and `unstale run` build the same `Ports` with
other parts in some places, and run the same engine on them. What only some invocations need (looks, outcome events, the
written page) is imported by the first of them, since the first event of a process waits for all that is imported.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from msgspec.structs import replace

from functions_azure import settings, telemetry
from functions_azure.clients import NEVER, Clients, Deadline
from functions_azure.dead_letters import DeadLetters
from functions_azure.platform import Connection, Platform
from functions_azure.queue_behind import QueueBehind
from functions_azure.sessions import session
from functions_azure.settings import Settings
from functions_azure.shell import Shell
from functions_azure.store import Store
from functions_azure.tokens import (
    EVENT_GRID,
    STORAGE,
    BoundedHttp,
    EntraTokens,
    Issuer,
    ManagedIdentity,
    StorageCredential,
    issuer_of,
)
from functions_azure.waker import Waker
from shared.config.compiled import FILE as COMPILED
from shared.config.compiled import read_configuration
from shared.config.configuration import Configuration
from shared.config.generation import read_generation
from shared.redaction import NOTHING_KNOWN, Redactor
from shared.refresh import ports as ports_of_core
from shared.refresh.engine import LogEvent, Ports
from shared.refresh.failure import Failure
from shared.refresh.ports import Clock
from shared.targets import Cloud, Package, Target

if TYPE_CHECKING:
    from requests import Session

    from functions_azure.sign_in.store import SignIns
    from functions_azure.sign_in.user import SignedInUser
    from functions_azure.sources import Sources
    from functions_azure.workload.keys import Gate
    from shared.outcomes.sending import Office, Sender, Sending
    from shared.outcomes.webhook import Secrets
    from shared.refresh.telling import Reconcile
    from shared.sources.looking import Looking


log = logging.getLogger("unstale")


class SystemClock:
    """`shared.refresh.ports.Clock`."""

    now = staticmethod(partial(datetime.now, UTC))
    """The wall clock of the machine, which the cloud keeps in time."""
    monotonic = staticmethod(partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))
    """CLOCK_BOOTTIME counts what a suspended machine missed; where there is none, CLOCK_MONOTONIC has to do."""


def stand_still(most: timedelta) -> None:
    """Wait for a random part of a time: `shared.refresh.engine.Ports.pause`."""
    time.sleep(random.SystemRandom().uniform(0, most.total_seconds()))


class Parts:
    """Parts of the process: connections, and the tokens in their caches. Nothing has been asked yet."""

    def __init__(
        self,
        found: Settings,
        configuration: Callable[[], Configuration],
        storage: Callable[[], Issuer] | None = None,
        vault: Callable[[], Issuer] | None = None,
        *,
        caller: Callable[[str], Issuer] | None = None,
        redactor: Redactor = NOTHING_KNOWN,
    ) -> None:
        """The configuration says as whom Fabric is called; it is read when the first token is asked for.

        `storage` is who opens the storage account and `vault` who reads the Key Vault, where it is not the managed
        identity: a person at the command line. `caller` is who calls Fabric and OneLake, by audience, where the
        configuration does not count: on one's own machine. `redactor` takes secrets out of what is said of a call that
        failed.
        """
        self.redactor = redactor
        # What msal and the vault are asked by: each thread's calls keep the deadline of its invocation.
        self.http = BoundedHttp()
        # For Fabric, and the one session to it.
        self.tokens = EntraTokens(self._issuer, redactor)
        self.connection = Connection()
        self.onelake_tokens = EntraTokens(self._onelake_issuer, redactor)
        # Storage and the vault are opened by the app's own identity, or by the person at the command line.
        own = found.storage_client_id
        opener = EntraTokens(storage or (lambda: ManagedIdentity(own, STORAGE, self.http)))
        self._vault = EntraTokens(vault or (lambda: ManagedIdentity(own, found.cloud.vault_audience, self.http)))
        # Topics of Event Grid and the secrets of webhooks are the app's own, too.
        self.grid_tokens = EntraTokens(lambda: ManagedIdentity(own, EVENT_GRID, self.http), redactor)
        # So are the tokens by which a role on AWS is assumed, for followers there.
        self._aws_tokens = EntraTokens(
            lambda: ManagedIdentity(own, configuration().across[Cloud.AWS].audience, self.http), redactor
        )
        self.clients = Clients(found, lambda: StorageCredential(opener))
        self._making = Lock()
        self._user: SignedInUser | None = None
        self._found = found
        self._caller = caller
        self._configuration = configuration

    def _issuer(self) -> Issuer:
        """The issuer of tokens for Fabric, by `fabric.identity`. Raises `ValueError` where settings are missing."""
        if self._caller:
            return self._caller(self._found.cloud.fabric_audience)
        identity = self._configuration().fabric.identity
        return self.user if identity == "user" else issuer_of(identity, self._found, self.http)

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets of webhooks, kept for the process."""
        from functions_azure.tell import Vault
        from shared.outcomes.webhook import Secrets

        return Secrets(Vault(self.http, self._vault).fetch, SystemClock())

    @cached_property
    def bus(self) -> Sender:
        """The sender that signals followers on AWS; one machine puts another in its place."""
        from functions_azure.tell import signal_bus

        return signal_bus(self.http, self._aws_tokens, SystemClock(), self._found)

    @cached_property
    def onelake(self) -> Session:
        """The one session to OneLake, for the process."""
        return session()

    def _onelake_issuer(self) -> Issuer:
        """The issuer for OneLake: the identity that calls Fabric. Raises `ValueError` for a signed-in user."""
        if self._caller:
            return self._caller(STORAGE)
        identity = self._configuration().fabric.identity
        if identity == "user":
            raise ValueError(
                'a signed-in user does not open OneLake: looking needs another fabric.identity, or look = "off"'
            )
        return issuer_of(identity, self._found, self.http, STORAGE)

    @property
    def user(self) -> SignedInUser:
        """The issuer of a signed-in user, one for all threads. Raises `ValueError` where settings are missing."""
        from functions_azure.sign_in.user import SignedInUser
        from shared.sign_in import scopes

        with self._making:
            if self._user is None:
                wanted = scopes(self._configuration().targets)
                self._user = SignedInUser(self._found, wanted, self.sign_ins, self.http, SystemClock().now)
            return self._user

    @cached_property
    def sign_ins(self) -> SignIns:
        """The store of the signed-in user's tokens."""
        from functions_azure.sign_in.key_vault import KeyVault
        from functions_azure.sign_in.store import SignIns

        return SignIns(self.clients, KeyVault(self._found.key_vault_url, self._vault, self.http), self.http)

    def renew(self, deadline: Deadline) -> Failure | None:
        """Keep the sign-in of a user alive, where there is one to keep; why it did not work."""
        if self._configuration().fabric.identity != "user":
            return None
        self.http.deadline = deadline
        return self.user.renew()


def configuration(found: Settings) -> Configuration:
    """Read the configuration; raises `ConfigurationError`, or OSError where there is no such file."""
    read = _read(found.config)
    return read.of_package(generation(found.config), read.destinations)


def _read(config: Path) -> Configuration:
    """Read a configuration, by what packaging compiled of it; the log says where there is that, and it is not used."""
    compiled = config.with_name(COMPILED)
    beside = compiled.read_bytes() if compiled.exists() else None
    read, unused = read_configuration(config.read_bytes(), beside, str(config))
    if unused:
        log.warning("%s", unused)
    return read


def generation(config: Path) -> datetime:
    """When the package was made; without a package, when its configuration was written.

    Of two packages that run at once the one that was made later is current, and it alone plans (rule 12).
    """
    if settings.GENERATION.exists():
        return read_generation(settings.GENERATION.read_bytes())
    return datetime.fromtimestamp(config.stat().st_mtime, UTC)


def make_ports(
    found: Settings,
    configuration: Configuration,
    parts: Parts,
    emit: Callable[[LogEvent], None],
    *,
    clock: Clock | None = None,
    deadline: Deadline = NEVER,
) -> Ports:
    """Make the ports of one invocation, whose calls all keep the deadline; they must be made in this thread."""
    clock = clock or SystemClock()
    store, waker = Store(parts.clients, clock.now, deadline), Waker(parts.clients, deadline)
    made = ports(
        store,
        waker,
        found=found,
        configuration=configuration,
        parts=parts,
        emit=emit,
        clock=clock,
        deadline=deadline,
        service=found.account,
    )
    if not found.page_container:
        return made
    from functions_azure.page import PageBlob
    from shared.refresh.excerpt import Excerpts
    from shared.sources.standing import source_statuses

    return replace(made, excerpt=Excerpts(store, PageBlob(parts.clients, deadline), emit, source_statuses))


def ports(
    store: ports_of_core.Store,
    waker: ports_of_core.Waker,
    *,
    found: Settings,
    configuration: Configuration,
    parts: Parts,
    emit: Callable[[LogEvent], None],
    clock: Clock,
    looks_clock: Clock | None = None,
    deadline: Deadline = NEVER,
    service: str = "unstale",
) -> Ports:
    """Make the ports of the engine on any store and waker: the deployment's, or a machine's, whose name is `service`.

    Looks go by the same clock, or by one of their own where time passes faster than the network answers: in the demo.
    """
    parts.http.deadline = deadline
    platform = _platform(found, configuration, parts, clock, deadline)
    return Ports(
        cloud=Cloud.AZURE,
        store=store,
        platform=platform,
        waker=waker,
        clock=clock,
        token=lambda: uuid.uuid4().hex,  # no two claims have the same
        emit=emit,
        looks=partial(
            _make_looking,
            found=found,
            parts=parts,
            store=store,
            platform=platform,
            clock=looks_clock or clock,
            emit=emit,
            deadline=deadline,
        ),
        pause=stand_still,
        outcomes=_outcomes(service, parts, store, clock, emit),
    )


def _make_looking(
    targets: Mapping[str, Target],
    reconcile: Reconcile,
    *,
    found: Settings,
    parts: Parts,
    store: ports_of_core.Store,
    platform: Platform,
    clock: Clock,
    emit: Callable[[LogEvent], None],
    deadline: Deadline,
) -> Looking:
    """Make what looks at the sources of some targets."""
    from shared.sources.looking import Looking

    return Looking(
        targets,
        store=store,
        sources=_sources(found, parts, clock, deadline),
        platform=platform,
        clock=clock,
        reconcile=reconcile,
        emit=emit,
        each=partial(_some_at_once, parts.http, deadline),
    )


def _outcomes(
    service: str, parts: Parts, store: ports_of_core.Store, clock: Clock, emit: Callable[[LogEvent], None]
) -> Callable[[Package], Sending]:
    """Make what sends the outcome events of a package; asked for only where there are destinations."""

    def make(package: Package) -> Sending:
        from shared.outcomes.sending import Sending

        return Sending(_office(service, parts, store, clock, emit), package)

    return make


def _office(
    service: str, parts: Parts, store: ports_of_core.Store, clock: Clock, emit: Callable[[LogEvent], None]
) -> Office:
    """Make what sending outcome events works with."""
    from functions_azure.tell import senders
    from shared.outcomes.sending import Office
    from shared.sources.standing import source_statuses

    return Office(
        store=store,
        clock=clock,
        senders=senders(parts.http, parts.grid_tokens, parts.secrets, parts.bus, clock),
        source=f"/unstale/azure/{service}",
        capabilities=Platform.capabilities,
        emit=emit,
        sources=lambda target, now: source_statuses([target], store, now).get(target.key, ()),
    )


def _sources(found: Settings, parts: Parts, clock: Clock, deadline: Deadline) -> Sources:
    """Make what looks at OneLake: over the session of the process, in the time of this invocation."""
    from functions_azure.sources import Sources

    return Sources(
        parts.onelake_tokens,
        clock,
        url=found.onelake_url,
        http=parts.onelake,
        deadline=deadline,
        redactor=parts.redactor,
    )


def _platform(
    found: Settings, configuration: Configuration, parts: Parts, clock: Clock, deadline: Deadline
) -> Platform:
    """Make what calls Fabric's job API: over the connection of the process, in the time of this invocation."""
    return Platform(
        parts.connection,
        parts.tokens,
        clock,
        url=found.fabric_url,
        url_form=configuration.fabric.url_form,
        deadline=deadline,
        redactor=parts.redactor,
    )


LOOKS_AT_ONCE = 16
"""Tables that one tick looks at at the same time (design, section 9, rule 8); the pool of connections has 32."""


def _some_at_once(http: BoundedHttp, deadline: Deadline, call: Callable[[str], None], keys: Sequence[str]) -> None:
    """Call a function for each key in a few threads, whose token requests keep the invocation's deadline, too."""

    def keep_deadline() -> None:
        http.deadline = deadline

    if not keys:
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(LOOKS_AT_ONCE, initializer=keep_deadline) as pool:
        list(pool.map(call, keys))


def gate(environ: Mapping[str, str], configuration: Configuration, now: Callable[[], float] = time.time) -> Gate:
    """The gate that lets Fabric's calls in, with the real keys. Raises `SettingsError`."""
    from functions_azure.workload.keys import Gate, Keys
    from shared.workload.tokens import Expected

    found = settings.workload(environ)
    expected = Expected(
        found.audience,
        found.publisher_tenant,
        found.client_id,
        tenants=frozenset(configuration.workload.tenants if configuration.workload else ()),
        issuer_v1=found.issuer_v1,
        issuer_v2=found.issuer_v2,
    )
    return Gate(expected, Keys(found.keys_url), now)


def shell(environ: Mapping[str, str]) -> Shell:
    """The shell that the function app's triggers call, with the real parts. Raises `SettingsError`."""
    found = settings.read(environ)
    redactor = Redactor(settings.secrets(environ))
    telemetry.install(redactor)
    told = telemetry.Telemetry()
    configured = cache(lambda: configuration(found))
    parts = Parts(found, configured, redactor=redactor)
    return Shell(
        configured,
        lambda read, deadline: make_ports(found, read, parts, told.emit, deadline=deadline),
        lambda deadline: DeadLetters(parts.clients, deadline),
        told,
        parts.renew,
        gate=cache(lambda: gate(environ, configured())),
        behind=lambda queue, deadline: QueueBehind(parts.clients, queue, deadline),
        redactor=redactor,
    )
