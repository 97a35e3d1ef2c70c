"""The store of a simulated world in an SQLite file: what `unstale run` has, with the account of `SimStore`."""

from __future__ import annotations

from pathlib import Path

from local.process.store import StateFile, Store
from shared.targets import Cloud
from tests.simulation.store import KeptElsewhere
from tests.support.core import HandClock


class SqliteStore(KeptElsewhere):
    """The records of one world in one file."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path)
        self._file.execute("hurrying", "PRAGMA synchronous = OFF")  # nobody cuts the power here
        super().__init__(Store(self._file, Cloud.AWS, HandClock()))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
