"""What a lock pins."""

from __future__ import annotations

import re
from pathlib import Path


def pins(lock: Path) -> list[tuple[str, str]]:
    """Names and versions in a lock."""
    return re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
