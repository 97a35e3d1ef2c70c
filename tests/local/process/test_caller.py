"""The person who signed in beside a state: what is read and asked for each token, and what only once."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import msal
import pytest
from requests.structures import CaseInsensitiveDict

from functions_azure.clouds import PUBLIC
from functions_azure.sessions import WholeAnswer
from functions_azure.settings import Settings
from functions_azure.tokens import STORAGE, BoundedHttp
from local.process.caller import NOT_SIGNED_IN, SignedIn, write_cache

AUTHORITY = "https://localhost/0a4f1c2e-0000-4000-8000-00000000000f"
CLIENT = "0a4f1c2e-0000-4000-8000-000000000003"
FOUND = Settings(config=Path("unstale.toml"), authority=AUTHORITY, client_id=CLIENT)
SCOPES = {PUBLIC.fabric_audience: "Lakehouse.Execute.All", STORAGE: "user_impersonation"}


class Discovery(BoundedHttp):
    """An authority that only says where its endpoints are, and notes who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, url: str, **_: Any) -> WholeAnswer:
        """Answer as OpenID Connect Discovery does."""
        self.asked.append(url)
        names = ("authorization_endpoint", "token_endpoint", "issuer")
        body = json.dumps({name: f"{AUTHORITY}/oauth2/v2.0/{name}" for name in names}).encode()
        return WholeAnswer(200, CaseInsensitiveDict(), body)


def _base64url(value: dict[str, str]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed_in_as(name: str) -> msal.SerializableTokenCache:
    """A cache with a token of a person for each audience."""
    cache = msal.SerializableTokenCache()
    for audience, scope in SCOPES.items():
        cache.add(
            {
                "client_id": CLIENT,
                "scope": [f"{audience}/{scope}"],
                "token_endpoint": f"{AUTHORITY}/oauth2/v2.0/token",
                "response": {
                    "access_token": f"{name} for {audience}",
                    "expires_in": 3600,
                    "refresh_token": "planted",
                    "id_token_claims": {"oid": name, "tid": "t", "preferred_username": name},
                    "client_info": _base64url({"uid": name, "utid": "t"}),
                },
            }
        )
    return cache


@pytest.fixture(name="file")
def file_of_a_sign_in(tmp_path: Path) -> Path:
    """The file beside a state, where ada is signed in."""
    file = tmp_path / "unstale.db.sign-in"
    write_cache(file, signed_in_as("ada"))
    return file


def test_the_endpoints_are_asked_for_once(file: Path) -> None:
    """Tokens for two audiences, several times: each one used to ask the authority for its endpoints again."""
    http = Discovery()
    person = SignedIn(FOUND, [SCOPES[PUBLIC.fabric_audience]], file, http)
    tokens = [person.acquire(audience)["access_token"] for audience in (*SCOPES, *SCOPES)]
    assert tokens == [f"ada for {audience}" for audience in (*SCOPES, *SCOPES)]
    assert len(http.asked) == 1


def test_what_another_process_wrote_counts(file: Path) -> None:
    """Somebody else signs in, or signs out: the next token is theirs, or none."""
    person = SignedIn(FOUND, [SCOPES[PUBLIC.fabric_audience]], file, Discovery())
    assert person.acquire(STORAGE)["access_token"] == f"ada for {STORAGE}"
    write_cache(file, signed_in_as("eve"))
    assert person.acquire(STORAGE)["access_token"] == f"eve for {STORAGE}"
    file.unlink()
    assert person.acquire(STORAGE) == NOT_SIGNED_IN
