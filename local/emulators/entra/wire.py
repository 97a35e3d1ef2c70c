"""How a tenant words its answers: tokens refused, its configuration, and the page that a browser gets."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from html import escape
from typing import Final

from local.emulators.entra.model import OAuthError
from local.emulators.http_server import Answer, json_answer

BAD_GATEWAY: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
"""The page of something in front of the identity platform, which knows only HTML."""


def refusal(error: OAuthError, now: datetime) -> Answer:
    """Word a refusal of the token endpoint.

    https://learn.microsoft.com/entra/identity-platform/reference-error-codes#handling-error-codes-in-your-application
    """
    trace = str(uuid.uuid4())
    body = {
        "error": error.error,
        "error_description": f"AADSTS{error.number}: {error.text} Trace ID: {trace}",
        "error_codes": [error.number],
        "timestamp": now.strftime("%Y-%m-%d %H:%M:%SZ"),
        "trace_id": trace,
        "correlation_id": str(uuid.uuid4()),
    }
    more = {"suberror": error.suberror, "claims": error.claims}
    return page_or(error, json_answer(error.status, body | {name: value for name, value in more.items() if value}))


def page_or(error: OAuthError, answer: Answer) -> Answer:
    """A scripted server error comes from something in front that knows only HTML; a throttled answer says how long."""
    if error.error == "server_error":
        return Answer(error.status, {"Content-Type": "text/html"}, BAD_GATEWAY)
    if error.retry_after_seconds is None:
        return answer
    return replace(answer, headers={**answer.headers, "Retry-After": f"{error.retry_after_seconds:.0f}"})


def identity_refused(status: int, message: str) -> Answer:
    """Word a refusal of the identity endpoint: flat, with the status inside."""
    return json_answer(status, {"statusCode": status, "message": message, "correlationId": str(uuid.uuid4())})


def openid_configuration(tenant: str) -> Answer:
    """Name the endpoints below the tenant's address (OpenID Connect Discovery 1.0)."""
    return json_answer(
        200,
        {
            "issuer": f"{tenant}/v2.0",
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{tenant}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{tenant}/discovery/v2.0/keys",
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        },
    )


def browser_page(action: str, fields: Mapping[str, str]) -> Answer:
    """A form that a browser sends by itself; without an address a page that waits for somebody."""
    inputs = "".join(f'<input name="{name}" value="{escape(value)}">' for name, value in fields.items())
    page = f'<html><body><form method="post" action="{escape(action)}">{inputs}</form></body></html>'
    return Answer(200, {"Content-Type": "text/html"}, page.encode())
