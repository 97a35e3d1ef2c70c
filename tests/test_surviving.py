"""The score of the mutation runner is what its children's exit codes say."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.surviving import score, table, tried


def test_survivors_are_named_and_counted(tmp_path: Path) -> None:
    """Caught by a failure or a time-out; survived; no test comes by; never tried, which counts for nothing."""
    codes = {"a.b.x_f__mutmut_1": 1, "a.b.x_f__mutmut_2": 0, "a.b.x_g__mutmut_1": 33, "a.b.x_h__mutmut_1": 36}
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "b.py.meta").write_text(json.dumps({"exit_code_by_key": {**codes, "a.b.x_h__mutmut_2": None}}))
    found = tried(tmp_path)
    assert found == codes
    assert score(found) == 50.0
    assert list(table(found)) == [
        "a.b: 4 mutants, 1 survived, 1 untested: 50.0 %",
        "together: 4 mutants: 50.0 %",
        "survived: a.b.x_f__mutmut_2",
        "untested: a.b.x_g__mutmut_1",
    ]
