"""The function app's cold start: from the start of the process to its first event answered, over TLS, with all roots.

The host pays for `azure.functions` whatever an app does, so each figure is what comes beyond a process that imports it.
Ours is the package as it ships, on a Python that sees nothing else. Storage is Azurite over TLS, which takes the tokens
of a managed identity on loopback, as ours and the obvious app both use one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import azure.functions
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import TableServiceClient

from infra.packaging.azure import SITE_PACKAGES
from infra.packaging.roots import write_roots
from local.emulators.entra.emulator import Entra, Identity
from tests.bench import effort, processes
from tests.bench.events import blob_event, lake_targets
from tests.bench.loopback import Loopback
from tests.bench.parts import Measured, Row, Skipped
from tests.bench.processes import ROOT, Process
from tests.support.azurite_server import KEY, SecureAzurite, is_installed
from tests.support.staged import staged_azure

FIRST_LIMIT = 0.60
"""Instructions to the first event answered, beyond `azure.functions`, over the obvious app's."""
MOST_BYTES = 12_000_000
TARGETS = 50
SYSTEM = Identity("5e7d9b30-0000-4000-8000-000000000002", "5e7d9b30-0000-4000-8000-00000000000b", system_assigned=True)

HOST, OURS, OBVIOUS, WITHOUT, PLAIN = "host", "ours", "obvious", "obvious without idempotency", "plain"

PROGRAM = """
import sys
import azure.functions as func
from {module} import app
app.get_functions()
if len(sys.argv) > 1:
    {patient}
    from {functions} import {function} as take
    take(func.QueueMessage(id="1", body=sys.argv[1].encode()))
"""
PATIENT = """import functions_azure.clients, functions_azure.shell
    functions_azure.clients.CONNECT_SECONDS = functions_azure.clients.READ_SECONDS = 1000.0
    functions_azure.shell.INVOCATION_SECONDS, functions_azure.shell.ENGINE_SECONDS = 9000.0, 8000.0"""
"""Under valgrind an event takes fifty times as long as an invocation may; the modules are the first event's anyway."""
MODULES = {
    OURS: ("function_app", "functions_azure.app", "events"),
    OBVIOUS: ("tests.bench.obvious_azure", "tests.bench.obvious_azure", "on_event"),
    WITHOUT: ("tests.bench.obvious_azure", "tests.bench.obvious_azure", "on_event_without"),
    PLAIN: ("tests.bench.plain_azure", "tests.bench.plain_azure", "on_event"),
}


def measure() -> Iterator[Row]:
    """Stage the package, and start all of them in turn."""
    if not is_installed():
        yield Skipped("the function app's cold start", "no Azurite: `make azurite` installs it")
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "unstale.toml"
        config.write_text(lake_targets(TARGETS), encoding="utf-8")
        package = staged_azure(folder / "azure", config)
        size = package.with_suffix(".zip").stat().st_size
        with Loopback() as services, SecureAzurite(folder) as azurite, Entra(_now, identities=[SYSTEM]) as entra:
            variables = _variables(services, azurite, entra)
            starts = _processes(package, _roots(folder, services, azurite), variables)
            yield from _measured(starts, services)
        yield Measured("size of the function app's zip", size / 1e6, "MB", limit=MOST_BYTES / 1e6)


def _measured(starts: dict[str, Process], services: Loopback) -> Iterator[Row]:
    event = _events()
    for name, process in starts.items():  # the deployment's record, which every later start finds
        processes.run(process, *_argument(name, event))
    before = services.counts()["start of Fabric"]
    yield from _times(starts, event)
    yield from _instructions(starts, event)
    events = effort.chosen.starts + processes.counts_instructions()
    started = services.counts()["start of Fabric"] - before
    if started != 3 * events:
        raise RuntimeError(f"three handlers started {started} runs at {events} first events each")


def _now() -> datetime:
    return datetime.now(UTC)


def _variables(services: Loopback, azurite: SecureAzurite, entra: Entra) -> dict[str, str]:
    """The application settings of all of them, by managed identity."""
    storage = azurite.new_account()
    account = storage["table"].rpartition("/")[2]
    credential = AzureNamedKeyCredential(account, KEY)
    with TableServiceClient(
        storage["table"], credential=credential, connection_verify=str(azurite.certificate)
    ) as tables:
        tables.create_table("seen")
    return {
        "UNSTALE_STORAGE__tableServiceUri": storage["table"],
        "UNSTALE_STORAGE__queueServiceUri": storage["queue"],
        "UNSTALE_FABRIC_URL": services.url,
        "TABLES_URL": storage["table"],
        "QUEUES_URL": storage["queue"],
        "FABRIC_URL": services.url,
        **entra.identity_environment,
    }


def _roots(folder: Path, services: Loopback, azurite: SecureAzurite) -> bytes:
    """All public roots, and those of what is on loopback."""
    roots = services.roots.read_bytes() + azurite.certificate.read_bytes()
    shadow = folder / "certifi"
    shadow.mkdir()
    (folder / "roots.pem").write_bytes(roots)
    where = f"def where():\n    return {str(folder / 'roots.pem')!r}\n"
    (shadow / "__init__.py").write_text(where, encoding="utf-8")
    return roots


def _processes(package: Path, roots: bytes, variables: dict[str, str]) -> dict[str, Process]:
    """Each trusts the same roots: ours in the package's folder, the others where `requests` looks for them."""
    libraries = package / SITE_PACKAGES
    shutil.rmtree(package / "roots")
    write_roots(roots.decode(), package / "roots")
    installed = Path(azure.functions.__file__).parents[2]
    theirs = os.pathsep.join(map(str, (package.parent, installed, ROOT)))
    mine = f"{package}{os.pathsep}{libraries}"
    made = {
        name: Process(
            PROGRAM.format(
                module=module, functions=functions, function=function, patient=PATIENT if name == OURS else "pass"
            ),
            mine if name == OURS else theirs,
            variables,
        )
        for name, (module, functions, function) in MODULES.items()
    }
    return {HOST: Process("import azure.functions", mine), **made}


def _events() -> Callable[[], str]:
    numbers, begin = count(), datetime.now(UTC)

    def event() -> str:
        number = next(numbers)
        return blob_event(number % TARGETS, f"{begin.timestamp()}-{number}", begin + timedelta(seconds=number))

    return event


def _argument(name: str, event: Callable[[], str]) -> list[str]:
    return [] if name == HOST else [event()]


def _times(starts: dict[str, Process], event: Callable[[], str]) -> Iterator[Measured]:
    imports = processes.medians(starts, effort.chosen.starts, lambda: "")
    firsts = processes.medians(starts, effort.chosen.starts, event)
    for what, found in (("import alone", imports), ("first event answered", firsts)):
        beyond = {name: (found[name] - imports[HOST]) * 1000 for name in MODULES}
        ours = beyond.pop(OURS)
        yield Measured(f"function app, {what}, beyond azure.functions", ours, "ms", others=beyond)


def _instructions(starts: dict[str, Process], event: Callable[[], str]) -> Iterator[Row]:
    what = "function app, first event answered, instructions, beyond azure.functions"
    if not processes.counts_instructions():
        yield Skipped(what, "valgrind is not installed")
        return
    with ThreadPoolExecutor(2) as pool:
        counted = pool.map(lambda each: processes.instructions(each[1], *_argument(each[0], event)), starts.items())
        found = dict(zip(starts, counted, strict=True))
        alone = processes.instructions(starts[OURS])
    beyond = {name: found[name] - found[HOST] for name in MODULES}
    ours = beyond.pop(OURS)
    yield Measured("function app, import alone, instructions, beyond azure.functions", alone - found[HOST], "M")
    yield Measured(what, ours, "M", others=beyond, ratio_limit=FIRST_LIMIT)
