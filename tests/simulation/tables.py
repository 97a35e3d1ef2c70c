"""The store of a simulated world on Azure Tables: what is deployed, over real HTTP, with the account of `SimStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from functions_azure.clients import Clients
from functions_azure.settings import Settings
from functions_azure.store import Store
from shared.refresh.ports import Conflict, Document
from tests.simulation.store import SimStore
from tests.simulation.world import EARLIEST
from tests.support.azurite_server import Account


class TablesStore(SimStore):
    """Nothing is kept here but counts, and when the next record is due."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._clients = Clients(Settings(Path("unstale.toml"), storage=account.connection_string), _no_credential)
        self._tables = Store(self._clients, lambda: EARLIEST)

    def load(self, key: str) -> Document:
        """Read one record."""
        return self._tables.load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Replace what was read."""
        key = document.key
        try:
            saved = self._tables.save(document, body, wake_at)
        except Conflict:
            self.conflicts[key] += 1
            raise
        self._account(key, wake_at)
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Keep a line of history."""
        self._tables.append(key, entry_id, body, expires_at)

    def due(self, now: datetime, limit: int) -> Sequence[str]:
        """The most overdue first."""
        return self._tables.due(now, limit)

    def keys(self, cursor: str, limit: int) -> tuple[Sequence[str], str]:
        """A page of them."""
        return self._tables.keys(cursor, limit)

    def close(self) -> None:
        """Let go of the connections."""
        self._clients.table.close()


def _no_credential() -> Any:
    raise AssertionError("a connection string needs no token")
