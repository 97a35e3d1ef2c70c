"""What `unstale check --live` finds: one line for each thing that was looked at, and the cure of what is not well."""

from __future__ import annotations

from shared.values import Value


class Finding(Value, frozen=True):
    """One thing that was looked at; `cure` is empty where it is well. `known` is false where nobody could look."""

    what: str
    found: str
    cure: str = ""
    known: bool = True

    @property
    def well(self) -> bool:
        """Whether nobody needs to do anything."""
        return not self.cure
