"""Arrivals of data, as events tell them: an object, a change of a table, the end of a job."""

from __future__ import annotations

from datetime import datetime

from shared.values import Value


class ObjectArrived(Value, frozen=True, tag="object", tag_field="what"):
    """S3 says that an object is there."""

    time: datetime
    """When the object was created, as S3 says."""
    bucket: str
    """The name of the bucket."""
    key: str
    """The object's key in the bucket."""


class TableChanged(Value, frozen=True, tag="table", tag_field="what"):
    """The Data Catalog says that a table changed."""

    time: datetime
    """When the table changed, as the catalog says."""
    database: str
    """The table's database in the catalog."""
    table: str
    """The table's name."""


class JobSucceeded(Value, frozen=True, tag="job", tag_field="what"):
    """Glue says that a job run succeeded."""

    time: datetime
    """When the run ended, as Glue says."""
    job: str
    """The job's name."""


class BlobArrived(Value, frozen=True, tag="blob", tag_field="what"):
    """Storage says that a blob is there."""

    time: datetime
    """When the blob was written, as Storage says."""
    account: str
    """The name of the storage account."""
    container: str
    """The container of the blob."""
    path: str
    """The blob's name within the container."""
    folder: bool = False
    """Whether a whole directory came at once, by a rename: `path` then ends in a slash."""


class OneLakeArrived(Value, frozen=True, tag="onelake", tag_field="what"):
    """Fabric says that a file changed."""

    time: datetime
    """When the file was written, as Fabric says."""
    workspace: str
    """The id of the workspace, in lower case."""
    item: str
    """The id of the item, in lower case."""
    path: str
    """The path within the item; it begins with `Tables/` or `Files/`."""
    folder: bool = False
    """Whether a whole folder came at once, by a rename: `path` then ends in a slash."""


Arrival = ObjectArrived | TableChanged | JobSucceeded | BlobArrived | OneLakeArrived
