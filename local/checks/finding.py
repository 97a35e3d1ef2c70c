"""Findings of `unstale check --live`: one line for each thing that was looked at, and the cure of what is not well.

A cure is a command to paste, or the name of what to change and where: whoever reads it should not have to look it up.
"""

from __future__ import annotations

from shared.values import Value


class Finding(Value, frozen=True):
    """A thing that was looked at; `cure` is empty where it is well. `known` is false where nobody could look."""

    what: str
    """The thing that was looked at."""
    found: str
    """The state that was found, in words."""
    cure: str = ""
    """The step that mends it; empty where all is well."""
    known: bool = True
    """Whether the thing could be looked at; False: nothing is known of it."""

    @property
    def well(self) -> bool:
        """Whether nobody needs to do anything."""
        return not self.cure
