"""What `unstale check --live` finds: one line for each thing that was looked at, and the cure of what is not well."""

from __future__ import annotations

from shared.values import Value


class Finding(Value, frozen=True):
    """One thing that was looked at; `cure` is empty where it is well. `known` is false where nobody could look."""

    what: str
    """What was looked at."""
    found: str
    """What was found, in words."""
    cure: str = ""
    """What makes it well; empty where it is well."""
    known: bool = True
    """False where it could not be looked at, so that nothing is known of it."""

    @property
    def well(self) -> bool:
        """Whether nobody needs to do anything."""
        return not self.cure
