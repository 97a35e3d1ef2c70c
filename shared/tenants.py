"""Ids of Entra tenants: UUIDs in whatever case, with braces or without, are one id."""

from __future__ import annotations


def tenant_id(text: str) -> str:
    """Return the id of a tenant in its one form: small letters, no braces. What is no id stays no id."""
    bare = text.strip()
    inner = bare[1:-1] if bare.startswith("{") and bare.endswith("}") else bare
    return inner.lower()
