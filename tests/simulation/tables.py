"""The store of a simulated world on Azure Tables: what is deployed, over real HTTP, with the account of `SimStore`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from functions_azure.clients import Clients
from functions_azure.settings import Settings
from functions_azure.store import Store
from tests.simulation.store import KeptElsewhere
from tests.simulation.world import EARLIEST
from tests.support.azurite_server import Account


class TablesStore(KeptElsewhere):
    """The records of one world in one table."""

    def __init__(self, account: Account) -> None:
        self._clients = Clients(Settings(Path("unstale.toml"), storage=account.connection_string), _no_credential)
        super().__init__(Store(self._clients, lambda: EARLIEST))

    def close(self) -> None:
        """Let go of the connections."""
        self._clients.table.close()


def _no_credential() -> Any:
    raise AssertionError("a connection string needs no token")
