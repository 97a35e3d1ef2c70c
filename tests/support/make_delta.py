"""Makes `tests/golden/delta`: commits that deltalake 1.6 wrote, with what each must be taken for beside it.

    python -m tests.support.make_delta [case ...]

Each case is one file of a Delta log, cut out of a table that was made for it. The answers come from what was asked of
the library, not from our code: an append changes data, an optimize does not.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from arro3.core import Array, Field, Schema, Table
from arro3.core import DataType as Type
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field as DeltaField
from deltalake.schema import PrimitiveType

HERE = Path(__file__).parent.parent / "golden" / "delta"

Answer = dict[str, Any]


def rows(ids: Iterable[int], **columns: list[str]) -> Table:
    """A table with ids, and columns of text."""
    numbers = Array(list(ids), Type.int64())
    fields = [Field("id", Type.int64(), nullable=True)]
    texts = [Array(values, Type.string()) for values in columns.values()]
    fields += [Field(name, Type.string(), nullable=True) for name in columns]
    return Table.from_arrays([numbers, *texts], schema=Schema(fields))


class Made:
    """A table in a folder of its own, with one row to begin with."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder)
        write_deltalake(self.path, rows([1]))

    @property
    def table(self) -> DeltaTable:
        """As it is now."""
        return DeltaTable(self.path)

    def append(self, *ids: int, **kwargs: Any) -> None:
        """Some rows more."""
        write_deltalake(self.path, rows(ids or [2]), mode="append", **kwargs)


def create(_: Made) -> Answer:
    """The first commit: protocol, metadata, data."""
    return {"data": True, "shape": True}


def create_empty(made: Made) -> Answer:
    """A table without rows."""
    shutil.rmtree(made.path)
    DeltaTable.create(made.path, Schema([Field("id", Type.int64(), nullable=True)]))
    return {"data": False, "shape": True}


def append(made: Made) -> Answer:
    """An append changes data."""
    made.append()
    return {"data": True, "shape": False}


def append_nothing(made: Made) -> Answer:
    """An append of no rows is a commit without files."""
    write_deltalake(made.path, rows([]), mode="append")
    return {"data": False, "shape": False}


def overwrite(made: Made) -> Answer:
    """An overwrite changes data."""
    write_deltalake(made.path, rows([7]), mode="overwrite")
    return {"data": True, "shape": False}


def overwrite_schema(made: Made) -> Answer:
    """An overwrite with other columns."""
    write_deltalake(made.path, rows([7], note=["a"]), mode="overwrite", schema_mode="overwrite")
    return {"data": True, "shape": True}


def delete(made: Made) -> Answer:
    """A delete changes data."""
    made.table.delete("id = 1")
    return {"data": True, "shape": False}


def update(made: Made) -> Answer:
    """An update changes data."""
    made.table.update({"id": "id + 1"})
    return {"data": True, "shape": False}


def _merge(made: Made, ids: list[int]) -> Any:
    return made.table.merge(rows(ids), "t.id = s.id", source_alias="s", target_alias="t")


def merge_update(made: Made) -> Answer:
    """A merge that finds rows."""
    _merge(made, [1]).when_matched_update({"id": "s.id + 10"}).execute()
    return {"data": True, "shape": False}


def merge_insert(made: Made) -> Answer:
    """A merge that adds rows."""
    _merge(made, [5]).when_not_matched_insert_all().execute()
    return {"data": True, "shape": False}


def optimize(made: Made) -> Answer:
    """A compaction changes no data."""
    for number in range(4):
        made.append(number)
    made.table.optimize.compact()
    return {"data": False, "shape": False}


def z_order(made: Made) -> Answer:
    """Nor does a reordering."""
    for number in range(4):
        made.append(number)
    made.table.optimize.z_order(["id"])
    return {"data": False, "shape": False}


def vacuum_start(made: Made) -> Answer:
    """A vacuum says that it begins; no file of the table is named."""
    made.append()
    made.table.optimize.compact()
    made.table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    return {"data": False, "shape": False, "back": 1}


def vacuum_end(made: Made) -> Answer:
    """... and that it has ended."""
    return {**vacuum_start(made), "back": 0}


def add_column(made: Made) -> Answer:
    """Another schema: it may fail the next refresh, so it counts."""
    made.table.alter.add_columns([DeltaField("note", PrimitiveType("string"))])
    return {"data": False, "shape": True}


def set_property(made: Made) -> Answer:
    """A property is written with the whole metadata, of the same shape."""
    made.table.alter.set_table_properties({"delta.logRetentionDuration": "interval 7 days"})
    return {"data": False, "shape": True, "same_shape": True}


def add_constraint(made: Made) -> Answer:
    """So is a constraint."""
    made.table.alter.add_constraint({"positive": "id > 0"})
    return {"data": False, "shape": True, "same_shape": True}


def drop_constraint(made: Made) -> Answer:
    """And one that is dropped."""
    made.table.alter.add_constraint({"positive": "id > 0"})
    made.table.alter.drop_constraint("positive")
    return {"data": False, "shape": True, "same_shape": True}


def restore(made: Made) -> Answer:
    """A restore is a new version, with other data."""
    made.append()
    made.table.restore(0)
    return {"data": True, "shape": None, "same_shape": True}


def replace_table(made: Made) -> Answer:
    """CREATE OR REPLACE: another table under the same name, versions go on."""
    DeltaTable.create(made.path, Schema([Field("other", Type.string(), nullable=True)]), mode="overwrite")
    return {"data": True, "shape": True}


def partitioned(made: Made) -> Answer:
    """Three hundred partitions in one commit."""
    shutil.rmtree(made.path)
    days = [f"day-{number}" for number in range(300)]
    write_deltalake(made.path, rows(range(300), day=days), partition_by=["day"])
    return {"data": True, "shape": True}


def optimize_large(made: Made) -> Answer:
    """A compaction of 3,000 files, 1 MB: no change of data in the first 64 kB, nor after them."""
    shutil.rmtree(made.path)
    days = [f"day-{number}" for number in range(1500)]
    for _ in range(2):
        write_deltalake(made.path, rows(range(1500), day=days), partition_by=["day"], mode="append")
    made.table.optimize.compact()
    return {"data": False, "shape": False}


def columns_2000(made: Made) -> Answer:
    """A table so wide that its metadata alone is longer than what is read at first."""
    shutil.rmtree(made.path)
    fields = [Field(f"column_{number}", Type.string(), nullable=True) for number in range(2000)]
    DeltaTable.create(made.path, Schema(fields))
    return {"data": False, "shape": True}


CASES: tuple[Callable[[Made], Answer], ...] = (
    create, create_empty, append, append_nothing, overwrite, overwrite_schema, delete, update, merge_update,
    merge_insert, optimize, z_order, vacuum_start, vacuum_end, add_column, set_property, add_constraint,
    drop_constraint, restore, replace_table, partitioned, optimize_large, columns_2000,
)  # fmt: skip


def write(folder: Path, commit: Path) -> None:
    """The bytes of a commit, packed where one would not want to read them in a diff."""
    body = commit.read_bytes().replace(str(commit.parent.parent.parent).encode(), b"/lake")  # no path of a machine
    if len(body) > 50_000:
        (folder / "commit.json.gz").write_bytes(gzip.compress(body, mtime=0))
    else:
        (folder / "commit.json").write_bytes(body)


def main(cases: list[str]) -> None:
    """Make all cases, or those that are named."""
    for make in CASES:
        if cases and make.__name__ not in cases:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            made = Made(Path(scratch) / "orders")
            answer = {"says": make.__doc__, **make(made)}
            commits = sorted((Path(made.path) / "_delta_log").glob("*.json"))
            folder = HERE / make.__name__
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(folder, commits[-1 - answer.pop("back", 0)])
            if answer.pop("same_shape", False):
                (folder / "first.json").write_bytes(commits[0].read_bytes())
            (folder / "expected.json").write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
