"""Reads messages of the Azure side: Event Grid events, Fabric's events through an eventstream, our own messages.

An event comes in the Event Grid schema or as a CloudEvent 1.0; alone, or in an array; as JSON or as base64 of it (Event
Grid fills Storage queues with base64). Formats: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage,
https://learn.microsoft.com/fabric/real-time-hub/explore-fabric-onelake-events and .../explore-fabric-job-events
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from shared.inbound.arrivals import BlobArrived, OneLakeArrived
from shared.inbound.messages import (
    Arrived,
    FabricRunEnded,
    Ignored,
    Message,
    Single,
    decode_part,
    misfit,
    missing_field,
    read_array,
    read_guarded,
    time_at,
)
from shared.inbound.wakes import Own, read_own
from shared.redaction import plain

ONLY_OPENED = frozenset({"CreateFile", "SftpCreate"})
"""The two calls that report a blob before its data is there: an empty file was opened, and `FlushWithClose` or
`SftpCommit` will say that it is written. All other documented ones (PutBlob, PutBlockList, CopyBlob, FlushWithClose,
SftpCommit) say that data is there. One added later counts, too: a signal too many costs one refresh."""

NOT_AN_END = frozenset({"notstarted", "inprogress"})
"""States of Fabric's jobs, in lower case, after which a poll would find a run that still goes on. Any other counts as
an end, those of later releases of Fabric included: the poll that follows tells which."""


class _Event(Own, rename="camel"):
    """The envelope in both schemas: Event Grid's (topic, eventType, eventTime), CloudEvents' (source, type, time)."""

    event_type: str = ""
    type: str = ""
    topic: str = ""
    source: str = ""
    subject: str = ""
    event_time: str | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw = msgspec.Raw(b"{}")

    @property
    def kind(self) -> str:
        """Its type. Microsoft's page on OneLake events has some with a space in them."""
        return (self.event_type or self.type).replace(" ", "")

    def at(self) -> datetime:
        """The time of the event by its source's clock, which the schema of the envelope has under its own name."""
        if self.event_type:
            return time_at(self.event_time, "$.eventTime")
        return time_at(self.time, "$.time")


class _Blob(msgspec.Struct):
    api: str = ""
    url: str = ""
    destination_url: str = msgspec.field(default="", name="destinationUrl")

    @property
    def path(self) -> str:
        """`container/path`, from a URL, in which names are percent-encoded."""
        return unquote(self.split.path).lstrip("/")

    @property
    def account(self) -> str:
        """The first label of its host, which is the account except under a domain of one's own."""
        return (self.split.hostname or "").partition(".")[0]

    @property
    def split(self) -> SplitResult:
        """The URL in parts; that of a renamed blob is where it is now."""
        url = self.destination_url or self.url
        try:
            return urlsplit(url)
        except ValueError:
            raise misfit("a URL", url, "$.data.url") from None


class _Job(msgspec.Struct, rename="camel"):
    """Fields that Fabric misspells (`executingPricipalId`, `jobInovkeType`) are none that we need."""

    workspace_id: str = ""
    item_id: str = ""
    job_instance_id: str = ""
    job_status: str = ""


_event = msgspec.json.Decoder(_Event)
_blob = msgspec.json.Decoder(_Blob)
_job = msgspec.json.Decoder(_Job)


def read(body: str | bytes | dict[str, Any] | list[Any], received_at: datetime) -> Message:
    """Read a message. `body` is an event or an array of them, plain or as base64, or one of our own messages."""
    return read_guarded(_read, body, received_at)


def _read(encoded: bytes, received_at: datetime) -> Message:
    text = _unpack(encoded)
    return read_array(_read_one, text, received_at) if text.startswith(b"[") else _read_one(text, received_at)


def _unpack(encoded: bytes) -> bytes:
    """Take JSON as it came, and decode base64: that has no brackets, with which objects and arrays of JSON begin."""
    text = encoded.removeprefix(b"\xef\xbb\xbf").strip()
    if text[:1] in (b"{", b"["):
        return text
    try:
        return b64decode(text, validate=True).removeprefix(b"\xef\xbb\xbf").strip()
    except ValueError:
        raise misfit("a JSON object, an array of them, or base64 of either", text[:40]) from None


def _read_one(encoded: bytes, received_at: datetime) -> Single:
    event = _event.decode(encoded)
    kind = event.kind
    if kind.startswith("Microsoft.Fabric."):
        return _FABRIC.get(kind.rpartition(".")[2], _unknown)(event)
    if kind:
        return _STORAGE.get(kind, _unknown)(event)
    own = read_own(event, received_at)
    if own is None:
        raise missing_field("type")
    return own


def _unknown(event: _Event) -> Ignored:
    return Ignored(plain(event.kind, 100))


def _what(event: _Event, detail: str) -> Ignored:
    """An event that brings no data, with what says so in its name, for whoever reads the log at `debug`."""
    return Ignored(plain(f"{event.kind}: {detail}", 100))


# --- Azure Storage ---------------------------------------------------------------------------------------------------

# Resource ids have no case, and Event Grid spells their parts in more than one way.
_ACCOUNT = re.compile(r"/storageAccounts/([^/]+)", re.IGNORECASE)
_BLOB_SUBJECT = re.compile(r"/blobServices/[^/]+/containers/([^/]+)/blobs/(.+)", re.DOTALL)


def _blob_created(event: _Event) -> Single:
    blob = decode_part(_blob, event.data, "$.data")
    if blob.api in ONLY_OPENED:
        return _what(event, blob.api)
    return _blob_arrived(event, blob)


def _blob_renamed(event: _Event) -> Single:
    """Renamed into place is how Hadoop's and Spark's committers, and Delta's log on a Data Lake account, finish files.

    The subject is the new name.
    """
    return _blob_arrived(event, decode_part(_blob, event.data, "$.data"))


def _directory_renamed(event: _Event) -> Single:
    """A renamed directory brings all its files, and no event tells of each."""
    return _blob_arrived(event, decode_part(_blob, event.data, "$.data"), folder=True)


def _blob_arrived(event: _Event, blob: _Blob, *, folder: bool = False) -> Arrived:
    container, path = _blob_name(event, blob)
    path = path.rstrip("/") + "/" if folder else path
    return Arrived((BlobArrived(event.at(), _account(event, blob), container, path, folder),))


def _account(event: _Event, blob: _Blob) -> str:
    """`.../storageAccounts/<name>` of the topic or source, else what the URL's host says."""
    named = _ACCOUNT.search(event.topic or event.source)
    account = named[1] if named else blob.account
    if not account:
        raise misfit(".../storageAccounts/<name>", event.topic or event.source, "$.source")
    return account.lower()


def _blob_name(event: _Event, blob: _Blob) -> tuple[str, str]:
    """Container and path, from the subject as it is.

    No document says how a subject is encoded, and the published samples have no name that would show it. That it is not
    percent-encoded follows from https://github.com/Azure-Samples/azure-event-grid-viewer/issues/9: an emoji arrives in
    it as two U+FFFD, which percent-encoding would have spared. The URL is encoded: Microsoft's own blob trigger takes
    names from there and decodes them (BlobsExtensionConfigProvider.cs). The subject comes first, because the filters of
    a subscription match it; the URL is for a subject of another form, and for one with lost characters.
    """
    found = _BLOB_SUBJECT.fullmatch(event.subject)
    if found and "\ufffd" not in found[2]:
        return found[1], found[2]
    container, _, path = blob.path.partition("/")
    if container and path:
        return container, path
    if found:
        return found[1], found[2]
    raise misfit("/blobServices/default/containers/<container>/blobs/<path>", event.subject, "$.subject")


_STORAGE: Mapping[str, Callable[[_Event], Single]] = {
    "Microsoft.Storage.BlobCreated": _blob_created,
    "Microsoft.Storage.BlobRenamed": _blob_renamed,
    "Microsoft.Storage.DirectoryRenamed": _directory_renamed,
}


# --- Fabric ----------------------------------------------------------------------------------------------------------

_ONELAKE_SOURCE = re.compile(r"(?:^|/)workspaces/([^/]+)/items/([^/]+)")
_JOB_SUBJECT = re.compile(r"(?:^|/)workspaces/([^/]+)/items/([^/]+)/jobs/instances/([^/]+)")


def _file_arrived(event: _Event) -> Arrived:
    """OneLake names `CreateFile` as the call even for finished files (Microsoft's sample), so the call says nothing."""
    return _onelake_arrived(event)


def _folder_renamed(event: _Event) -> Arrived:
    return _onelake_arrived(event, folder=True)


def _onelake_arrived(event: _Event, *, folder: bool = False) -> Arrived:
    workspace, item = _onelake_item(event)
    path = event.subject.strip("/") + "/" if folder else event.subject.lstrip("/")
    if not path.strip("/"):
        raise misfit("/Tables/... or /Files/...", event.subject, "$.subject")
    return Arrived((OneLakeArrived(event.at(), workspace.lower(), item.lower(), path, folder),))


def _onelake_item(event: _Event) -> tuple[str, str]:
    """`<tenant>/workspaces/<workspace>/items/<item>` of the source, else the URL's `<workspace>/<item>/<path>`."""
    found = _ONELAKE_SOURCE.search(event.source)
    if found:
        return found[1], found[2]
    workspace, _, rest = decode_part(_blob, event.data, "$.data").path.partition("/")
    item = rest.partition("/")[0]
    if workspace and item:
        return workspace, item
    raise misfit(".../workspaces/<id>/items/<id>", event.source, "$.source")


def _job_ended(event: _Event) -> Single:
    """A hint, so what cannot be read is ignored. The fields of `data`, else those of the subject."""
    try:
        job = _job.decode(event.data)
    except (msgspec.DecodeError, UnicodeError):
        job = _Job()
    if job.job_status.lower() in NOT_AN_END:
        return _what(event, job.job_status)
    found = _JOB_SUBJECT.search(event.subject)
    named = (job.workspace_id, job.item_id, job.job_instance_id)
    ids = tuple(text.lower() for text in (found.groups() if found and not all(named) else named))
    return FabricRunEnded(*ids) if all(ids) else _what(event, "unreadable")


_FABRIC: Mapping[str, Callable[[_Event], Single]] = {
    "FileCreated": _file_arrived,
    "FileRenamed": _file_arrived,
    "FolderRenamed": _folder_renamed,
    "ItemJobSucceeded": _job_ended,
    "ItemJobFailed": _job_ended,
    "ItemJobStatusChanged": _job_ended,
}
"""Reads events of Fabric, by the last part of their type.

Tools show the job events under `Microsoft.Fabric.JobEvents` as well.

Not deletions: on a lakehouse table these are house-keeping, and deleted rows arrive as new files. Nor new folders: they
are empty.
"""
