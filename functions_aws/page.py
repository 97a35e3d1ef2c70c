"""The bucket for the page's data: one object, which each excerpt of the records replaces."""

from __future__ import annotations

from functions_aws.clients import Clients, ask

KEY = "page.json"
"""Name of the object; the template grants this one alone."""


class PageBucket:
    """Writes the object: `shared.refresh.excerpt.ExcerptSink`."""

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def put(self, body: bytes) -> None:
        """PutObject. Raises `StoreDownError`."""
        place = {"Bucket": self._bucket, "Key": KEY, "ContentType": "application/json", "CacheControl": "no-store"}
        ask(f"writing s3://{self._bucket}/{KEY}", lambda: self._clients.s3.put_object(**place, Body=body))
