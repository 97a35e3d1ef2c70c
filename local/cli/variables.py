"""A variable that says what it must not say, as commands see it: wrong usage, before anything leaves for there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from local.cli.errors import UsageError


@contextmanager
def wrong_usage() -> Iterator[None]:
    """Turn what the settings of either cloud say of a variable into `UsageError`; they name the variable."""
    from functions_aws.settings import SettingsError as WrongOnAwsError
    from functions_azure.settings import SettingsError as WrongOnAzureError

    try:
        yield
    except (WrongOnAwsError, WrongOnAzureError) as bad:
        raise UsageError(str(bad)) from bad


def aws_session(environ: Mapping[str, str], region: str) -> Any:
    """Open a session of the SDK, which goes by this shell's endpoints; `region` is as for `functions_aws.clients`.

    Raises `UsageError` where signed requests would leave for an endpoint that is not safe.
    """
    from functions_aws.clients import session
    from functions_aws.settings import refuse_unsafe_endpoints

    with wrong_usage():
        refuse_unsafe_endpoints(environ)
    return session(region)
