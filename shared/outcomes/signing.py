"""Signatures of webhooks, as Standard Webhooks has them, so that receivers have libraries for them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import datetime

from shared.outcomes.formats import EncodedEvent

PREFIX = "whsec_"
"""Beginning of a secret whose rest is base64; any other secret is taken as it is."""


def signed_headers(event: EncodedEvent, secret: str, now: datetime) -> dict[str, str]:
    """The id of the message, the time at which it is sent, and the signature of both and the body."""
    sent_at = str(int(now.timestamp()))
    content = b".".join((event.id.encode(), sent_at.encode(), event.body))
    signature = b64encode(hmac.digest(_key(secret), content, hashlib.sha256)).decode()
    return {"webhook-id": event.id, "webhook-timestamp": sent_at, "webhook-signature": f"v1,{signature}"}


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        return secret.encode()
