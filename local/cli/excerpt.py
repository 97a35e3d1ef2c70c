"""Reading what ticks write for readers who may not read the table: an object of S3, or a blob.

Both are of the deployment's own making, and at most 4 MB. What is in them, `shared.refresh.excerpt` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.refresh.ports import StoreDownError

if TYPE_CHECKING:
    from functions_aws.clients import Clients as AwsClients
    from functions_azure.clients import Clients as AzureClients


def read_object(clients: AwsClients, bucket: str) -> bytes:
    """GetObject. Raises `StoreDownError`."""
    from functions_aws.clients import ask
    from functions_aws.page import KEY

    def download() -> bytes:
        return bytes(clients.s3.get_object(Bucket=bucket, Key=KEY)["Body"].read())

    return ask(f"reading s3://{bucket}/{KEY}", download)


def read_blob(clients: AzureClients) -> bytes:
    """Get Blob. Raises `StoreDownError`, also where there is none."""
    from functions_azure.clients import NEVER, AbsentError, ask

    def download(**limits: Any) -> bytes:
        return bytes(clients.page.download_blob(**limits).readall())

    try:
        return ask("reading the page's data", NEVER, download)
    except AbsentError as absent:
        raise StoreDownError(str(absent)) from absent
