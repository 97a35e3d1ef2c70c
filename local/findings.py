"""What `unstale check --live` finds: one line for each thing that was looked at, and the cure of what is not well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from local.tables import print_json, print_table
from local.usage import NotWell
from shared.model import Value


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


def show(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them; raises `NotWell` if anything is missing, or could not be looked at."""
    if as_json:
        print_json({"findings": [_plain(finding) for finding in findings]})
    else:
        rows = [("ok" if one.well else "MISSING" if one.known else "?", one.what, one.found) for one in findings]
        print_table(("", "what", "found"), rows)
        for finding in findings:
            if finding.cure:
                print(f"\n{finding.what}: {finding.found}\n  cure: {finding.cure}")
    if not all(finding.well for finding in findings):
        raise NotWell


def _plain(finding: Finding) -> dict[str, Any]:
    return {"what": finding.what, "well": finding.well, "found": finding.found, "cure": finding.cure}
