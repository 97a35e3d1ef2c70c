"""Arrivals of data, as events tell them: an object, a change of a table, the end of a job."""

from __future__ import annotations

from datetime import datetime

from shared.values import Value


class ObjectArrived(Value, frozen=True, tag="object", tag_field="what"):
    """S3 says that an object is there."""

    time: datetime
    bucket: str
    key: str


class TableChanged(Value, frozen=True, tag="table", tag_field="what"):
    """The Data Catalog says that a table changed."""

    time: datetime
    database: str
    table: str


class JobSucceeded(Value, frozen=True, tag="job", tag_field="what"):
    """Glue says that a job run succeeded."""

    time: datetime
    job: str


class BlobArrived(Value, frozen=True, tag="blob", tag_field="what"):
    """Storage says that a blob is there; `path` is the name within the container."""

    time: datetime
    account: str
    container: str
    path: str
    folder: bool = False
    """Whether a whole directory came at once, by a rename: `path` then ends in a slash."""


class OneLakeArrived(Value, frozen=True, tag="onelake", tag_field="what"):
    """Fabric says that a file changed; `path` begins with `Tables/` or `Files/`."""

    time: datetime
    workspace: str
    item: str
    path: str
    folder: bool = False
    """Whether a whole folder came at once, by a rename: `path` then ends in a slash."""


Arrival = ObjectArrived | TableChanged | JobSucceeded | BlobArrived | OneLakeArrived
