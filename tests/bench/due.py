"""What stays due on Azure: queries of the table, and rows that they answer with, on Azurite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from functions_azure.clients import Clients
from functions_azure.settings import Settings, config_path
from functions_azure.store import Store
from shared.refresh.ports import Document
from tests.bench import effort
from tests.bench.parts import Clock, Measured, Row, Skipped, curve
from tests.support.azurite_server import Azurite, is_installed

STAY, MOST_REQUESTS = 1_000, 12
LINEAR = 10.0


def measure() -> Iterator[Row]:
    """Requests and rows of one round over all that is due and stays so."""
    if not is_installed():
        yield Skipped("what stays due on Azure", "no Azurite: `make azurite` installs it")
        return
    with Azurite() as azurite:
        found = {size: _round(azurite, size) for size in effort.chosen.sizes if size <= STAY}
    for size, (requests, _) in found.items():
        limit = MOST_REQUESTS if size == STAY else None
        yield Measured(f"due() on Azure, {size:,} that stay due: requests", requests, "", limit)
    yield from curve(
        "due() on Azure, what stays due: rows", "", {size: rows for size, (_, rows) in found.items()}, LINEAR
    )


def _round(azurite: Azurite, size: int) -> tuple[float, float]:
    clock = Clock()
    settings = Settings(config=config_path({}), storage=azurite.account().connection_string)
    store = Store(Clients(settings, _no_credential), clock.now)
    for number in range(size):
        store.save(Document(f"fabric-lake-views:w:{number}"), b"{}", clock.now())
    pages: list[int] = []
    query = store._clients.table.query_entities

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        for page in query(*args, **options).by_page():
            rows = list(page)
            pages.append(len(rows))
            yield from rows

    with patch.object(store._clients.table, "query_entities", counted):
        found = list(store.due(clock.now()))
    if len(set(found)) != size:
        raise RuntimeError(f"{len(set(found))} of {size} are due")
    return len(pages), sum(pages)


def _no_credential() -> Any:
    raise AssertionError("the connection string has a key")
