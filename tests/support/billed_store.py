"""A store in memory that counts what DynamoDB bills for writes, index included.

    table   one unit for each KB of the item, whether the condition holds or not
    index   nothing where `wake_at` stays as it is, one unit where the item comes or goes, two where it moves

The larger of the item before and after counts. An entry of the index has keys only, and is below a KB.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

from datetime import datetime

from shared.refresh.ports import Document
from shared.times import sortable
from tests.support.counting_store import CountingStore

UNIT_BYTES = 1024


class BilledStore(CountingStore):
    """Counts units of writes as `functions_aws.store` causes them."""

    def __init__(self) -> None:
        super().__init__()
        self.write_units = 0
        self._items: dict[str, tuple[int, str]] = {}
        """The units of each record, and what the index has of it."""

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Write one record, and move its entry in the index."""
        due = sortable(wake_at) if wake_at else ""
        units = _units(document.key, "record", body, due)
        before, indexed = self._items.get(document.key, (0, ""))
        self.write_units += max(units, before)
        saved = super().save(document, body, wake_at)
        if due != indexed:
            self.write_units += bool(due) + bool(indexed)
        self._items[document.key] = (units, due)
        return saved

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Write one line of history, which the index has not."""
        self.write_units += _units(key, f"run#{entry_id}", body, "")
        super().append(key, entry_id, body, expires_at)

    def forget_counts(self) -> None:
        """Count from nothing; the records stay."""
        super().forget_counts()
        self.write_units = 0


def _units(key: str, kind: str, body: bytes, due: str) -> int:
    """The units of an item: the bytes of its attributes' names and values, a number for eight."""
    size = len("pk" + key + "sk" + kind + "body" + "version") + 8 + len(body)
    if due:
        size += len("duedue" + "wake_at" + due)
    return -(-size // UNIT_BYTES)
