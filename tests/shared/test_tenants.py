"""One tenant has one id, however it is written."""

from __future__ import annotations

import pytest

from shared.tenants import tenant_id

TENANT = "1b218778-e7a5-4d73-8187-f10824047715"


@pytest.mark.parametrize("text", [TENANT, TENANT.upper(), f"{{{TENANT}}}", f" {{{TENANT.upper()}}}\n"])
def test_an_id_is_one_id(text: str) -> None:
    """In whatever case, with braces or without, with blanks around it."""
    assert tenant_id(text) == TENANT


@pytest.mark.parametrize("text", ["", "{", "}", "{}", f"{{{TENANT}", f"{TENANT}}}", f"{{{{{TENANT}}}}}", "common"])
def test_what_is_no_id_does_not_become_one(text: str) -> None:
    """Half a pair of braces, two pairs, a name."""
    assert tenant_id(text) != TENANT
