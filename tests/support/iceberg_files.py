"""Files of PyIceberg in moto's S3, through boto3: its own ways to S3 need packages that are not installed here."""

from __future__ import annotations

import io
from typing import Any

import boto3
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream


class S3Files(FileIO):
    """`s3://bucket/key`, by an ordinary client at `client.endpoint`."""

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.properties["client.endpoint"],
            region_name=self.properties["client.region"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def new_input(self, location: str) -> InputFile:
        """An object to read."""
        return _Object(location, self._client())

    def new_output(self, location: str) -> OutputFile:
        """An object to write."""
        return _Object(location, self._client())

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Nothing that a test reads depends on it."""


class _Object(InputFile, OutputFile):
    def __init__(self, location: str, client: Any) -> None:
        super().__init__(location)
        self._client = client
        bucket, _, key = location.removeprefix("s3://").partition("/")
        self._place = {"Bucket": bucket, "Key": key}

    def __len__(self) -> int:
        return int(self._client.head_object(**self._place)["ContentLength"])

    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self._client.list_objects_v2(Bucket=self._place["Bucket"], Prefix=self._place["Key"])["KeyCount"])

    def open(self, seekable: bool = True) -> InputStream:
        """Its bytes."""
        return io.BytesIO(self._client.get_object(**self._place)["Body"].read())

    def create(self, overwrite: bool = False) -> OutputStream:
        """A stream that is put when it is closed."""
        client, place = self._client, self._place

        class Stream(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    client.put_object(**place, Body=self.getvalue())
                super().close()

        return Stream()

    def to_input_file(self) -> InputFile:
        """The same, to be read."""
        return self
