"""The tool that counts ways through the house counts right, and says what it counts."""

from __future__ import annotations

from tests.support.ways import Way, ways


def test_changes_are_between_neighbours() -> None:
    """Three files, and back to the first: three changes."""
    way = Way(["a.py", "a.py", "b.py", "c.py", "a.py"], ["read", "other read", "write", "read"])
    assert (len(way.distinct), way.changes, way.reads) == (3, 3, 1)


def test_the_ways_are_gone_to_their_end() -> None:
    """An event of S3 is saved in one write after one read, and a due tick starts a run, whatever lies between."""
    found = ways()
    arrival, start = found["an arrival to a saved record"], found["a tick to a start"]
    assert (arrival.calls.count("write"), arrival.reads) == (1, 1)
    assert (start.calls.count("start"), start.reads) == (1, 1), (
        "the claim and the answer are saved on the record in hand"
    )
    assert start.calls.index("write") < start.calls.index("start"), "the claim is saved first"
    assert arrival.distinct[0] == start.distinct[0] == "functions_aws/app.py"


MOST_FILES, MOST_CHANGES = 21, 43
"""The most files, and changes of file, that an arrival crosses to a saved record: as many as now. They only go down.

House rules ask for 12 and 30, and draw rooms of which an arrival crosses 18: app, shell, clients, store, waker and
telemetry; messages, eventbridge, wakes, routing and dispatch; state, machine, owed, decide, planning, records and
engine. To these come the deployment's record, times, and text of others. Fewer files would be rooms put together again.
"""
MOST_FILES_TO_START, MOST_CHANGES_TO_START = 30, 192
"""The same for a tick to a start: four turns of the loop, which take a place, put the start off behind what needs no
look, look, and claim."""


def test_ways_get_no_longer() -> None:
    """An arrival passes no more files than it needs; a start reads the target's record once, before its claim."""
    found = ways()
    arrival, start = found["an arrival to a saved record"], found["a tick to a start"]
    assert len(arrival.distinct) <= MOST_FILES
    assert arrival.changes <= MOST_CHANGES
    assert len(start.distinct) <= MOST_FILES_TO_START
    assert start.changes <= MOST_CHANGES_TO_START
    assert start.reads == 1
