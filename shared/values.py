"""The base of all values of the product."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A frozen value, compared by content, with a compact JSON form."""
