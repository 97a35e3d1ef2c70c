"""The needs of looking: the port `Sources`, what it gives, and the single calls that its adapters make."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from shared.refresh.failure import Failure
from shared.sources.groups import DeltaTable, Group, SourceTable
from shared.sources.memory import SourceMemory, Version
from shared.sources.replies import Reply
from shared.values import Value

NEVER = float("inf")
"""The moment at which a look ends that may take as long as it needs."""


class Observation(Value, frozen=True):
    """The words of a look about one source.

    `version` and `when` are None where there is no answer; `problem` says why. `news_at`: the time of the signal, if
    the data changed. `moment`: of the answer. `complete` is false for a trace that was cut off.
    """

    version: Version | None = None
    when: datetime | None = None
    moment: datetime | None = None
    news_at: datetime | None = None
    problem: str = ""
    complete: bool = True


class ViewSeen(Value, frozen=True):
    """A view, by its own metadata.

    `sources` are the tables that it names, `unreadable` the names that are no tables, `ids` the Iceberg snapshots that
    its last refresh read (a set: their order is not documented), `version` its own snapshot.
    """

    sources: tuple[SourceTable, ...]
    unreadable: tuple[str, ...]
    ids: frozenset[int]
    version: str
    when: datetime
    moment: datetime


class Seen(Value, frozen=True):
    """The answer to a look at a group, by name; `throttled`: the platform asked for fewer calls."""

    sources: Mapping[str, Observation]
    views: Mapping[str, ViewSeen] = {}
    throttled: bool = False

    @property
    def complete(self) -> bool:
        """Whether every source that it speaks of was followed to its end."""
        return all(observation.complete for observation in self.sources.values())


class Known(Value, frozen=True):
    """The part of a group that is looked at: sources with what is remembered of them, and views, by name."""

    sources: Mapping[str, SourceMemory]
    views: frozenset[str] = frozenset()


class Sources(Protocol):
    """The sources of one cloud."""

    def look(self, group: Group, known: Known, *, ends_at: float = NEVER) -> Seen | Failure:
        """Ask which versions a group's sources have now; it raises only what is a bug.

        `ends_at`: the moment of the monotonic clock after which no further call is begun; the look has failed then.
        """


class Catalog(Protocol):
    """Single calls on AWS, each sent once."""

    def get_tables(self, parameters: Mapping[str, Any]) -> Reply[Mapping[str, Any]] | Failure:
        """Glue's GetTables."""

    def load_table(self, path: str) -> Reply[bytes] | Failure:
        """GET of a path of Glue's Iceberg REST catalog."""

    def list_tables(self, parameters: Mapping[str, Any]) -> Reply[Mapping[str, Any]] | Failure:
        """ListTables of S3 Tables; the adapter adds the bucket's ARN."""

    def get_table_metadata_location(self, parameters: Mapping[str, Any]) -> Reply[Mapping[str, Any]] | Failure:
        """GetTableMetadataLocation of S3 Tables; the adapter adds the bucket's ARN."""


class LogFiles(Protocol):
    """Single calls to the log of a Delta table in OneLake, each sent once. 304, 404 and 416 are replies."""

    def get_file(self, table: DeltaTable, name: str, first: int, last: int, etag: str) -> Reply[bytes] | Failure:
        """Bytes `first` to `last` of a file of the log; with `etag` only if the file has another by now."""

    def list_files(self, table: DeltaTable, continuation: str) -> Reply[bytes] | Failure:
        """A page of the names in the log."""
