"""The true authority of a tenant, answered from this machine: msal then needs no certificate, no flag and no change."""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from local.emulators.entra.emulator import TRUE_HOST, Entra


def true_authority(entra: Entra) -> str:
    """The authority that the tenant would have in the cloud."""
    return f"https://{TRUE_HOST}/{entra.tenant_id}"


def session_of(entra: Entra) -> requests.Session:
    """A session in which the emulator answers for the true authority; other hosts are left alone."""
    session = requests.Session()
    session.trust_env = False
    session.mount(f"https://{TRUE_HOST}/", _Rerouted(entra.plain_authority.rpartition("/")[0]))
    return session


class _Rerouted(HTTPAdapter):
    """Sends what is meant for one host to another, and lets that one know which was meant."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send over loopback, with the Host header of the true authority."""
        moved = request.copy()
        moved.headers["Host"] = TRUE_HOST
        moved.url = self._url + moved.path_url
        return super().send(moved, *args, **kwargs)
