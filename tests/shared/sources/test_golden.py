"""Versions read off real metadata: what PyIceberg and deltalake wrote, against what was asked of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from shared.sources import delta, iceberg
from shared.sources.iceberg import Metadata
from tests.support.golden_folders import golden, read_json


def read_bytes(folder: Path, name: str) -> bytes | None:
    """A file of a folder, unpacked if it is packed; None if it is absent."""
    packed = folder / f"{name}.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes())
    return (folder / name).read_bytes() if (folder / name).exists() else None


def metadata_of(folder: Path, name: str) -> Metadata | None:
    """What `loadTable` would show, read by our reader."""
    body = read_bytes(folder, name)
    if body is None:
        return None
    found = iceberg.read_table(body)
    assert isinstance(found, Metadata), found
    return found


@golden("iceberg")
def test_iceberg_news_is_what_changed_data(folder: Path) -> None:
    """A commit is news if and only if it changed data, or may have; ids that hold the same data are known together."""
    expected = read_json(folder, "expected.json")
    now, before = metadata_of(folder, "metadata.json"), metadata_of(folder, "known.json")
    assert now
    known = iceberg.to_version(before, None) if before else None
    assert iceberg.is_news(now, known) is expected["news"], expected["says"]
    assert list(iceberg.to_version(now, known).ids) == expected["ids"], expected["says"]


@golden("iceberg")
def test_iceberg_once_remembered_is_no_news(folder: Path) -> None:
    """The same metadata again is never news: a table that nobody writes causes nothing."""
    now = metadata_of(folder, "metadata.json")
    assert now
    assert not iceberg.is_news(now, iceberg.to_version(now, None))


@golden("delta")
def test_delta_commits_are_data_or_not(folder: Path) -> None:
    """A commit counts if its files changed data, or it gave the table another shape."""
    expected = read_json(folder, "expected.json")
    body = read_bytes(folder, "commit.json")
    assert body
    commit = delta.read_commit(body, whole=True)
    assert commit
    assert commit.data is expected["data"], expected["says"]
    if expected["shape"] is not None:
        assert bool(commit.shape) is expected["shape"], expected["says"]
    first = read_bytes(folder, "first.json")
    if first and commit.shape:
        found = delta.read_commit(first, whole=True)
        assert found
        assert found.shape == commit.shape, expected["says"]


@golden("delta")
def test_delta_commits_read_in_part_are_never_taken_for_less(folder: Path) -> None:
    """The beginning of a commit says "data" or "read on", never "no data"."""
    body = read_bytes(folder, "commit.json")
    assert body
    whole = delta.read_commit(body, whole=True)
    for length in (0, 1, 100, len(body) // 2, len(body) - 1):
        part = delta.read_commit(body[:length], whole=False)
        assert part is None or part.data, length
        assert part is None or (whole and whole.data), length


def test_the_goldens_are_as_many_as_promised() -> None:
    """At least 20 of each format, 5,000 snapshots and a commit of 1 MB among them."""
    folder = Path(__file__).parents[2] / "golden"
    assert len(list((folder / "iceberg").iterdir())) >= 20
    assert len(list((folder / "delta").iterdir())) >= 20
    many = json.loads(read_bytes(folder / "iceberg" / "snapshots_5000", "metadata.json") or b"")
    assert len(many["metadata"]["snapshots"]) == 5000
    assert len(read_bytes(folder / "delta" / "optimize_large", "commit.json") or b"") > 1_000_000
