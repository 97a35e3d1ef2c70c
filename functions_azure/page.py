"""The blob for the page's data, which each excerpt of the records replaces."""

from __future__ import annotations

from typing import Any

from functions_azure.clients import Clients, Deadline, ask_existing


class PageBlob:
    """Writes the blob: `shared.refresh.excerpt.ExcerptSink`."""

    def __init__(self, clients: Clients, deadline: Deadline) -> None:
        self._clients = clients
        self._deadline = deadline

    def put(self, body: bytes) -> None:
        """Put Blob. Raises `StoreDownError`, also where there is no such container."""

        def upload(**limits: Any) -> None:
            self._clients.page.upload_blob(body, overwrite=True, **limits)

        ask_existing("writing the page's data", self._deadline, upload)
