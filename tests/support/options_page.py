"""Makes `docs/options.md` from the schema of `unstale.toml`: `python -m tests.support.options_page`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.config.load import json_schema

PAGE = Path(__file__).parents[2] / "docs" / "options.md"

HEAD = """# Options

Every key of `unstale.toml`, made from its schema by `python -m tests.support.options_page`. `unstale check` refuses
what cannot be meant, with file, line and key; `unstale check --schema` prints the schema for editors; `unstale init`
writes it beside the file. [`unstale.example.toml`](../unstale.example.toml) shows all of it in place.

Durations are a whole number and one of s, m, h, d: `"30s"`, `"5m"`, `"6h"`, `"1d"`.
"""
TABLES = {
    "DefaultsTable": "`[defaults]`",
    "GlueViewTable": '`[targets.<name>]`, kind `"glue-view"`',
    "LakeViewsTable": '`[targets.<name>]`, kind `"fabric-lake-views"`',
    "ItemJobTable": '`[targets.<name>]`, kind `"fabric-item-job"`',
    "ScheduleTable": "`schedule`",
    "FullRefreshTable": "`full_refresh`",
    "OnTable": "`on`: a list of entries with one source each, and its own `visibility_lag` where that is longer",
    "S3ObjectCreatedTable": "`on` `s3_object_created`",
    "GlueTableChangedTable": "`on` `glue_table_changed`",
    "GlueJobSucceededTable": "`on` `glue_job_succeeded`",
    "BlobCreatedTable": "`on` `blob_created`",
    "OneLakeChangedTable": "`on` `onelake_changed`",
    "IcebergChangedTable": "`on` `iceberg_changed`",
    "ParameterTable": "`parameters`",
    "FabricTable": "`[fabric]`",
    "GlueTable": "`[glue]`",
    "DeploymentTable": "`[deployment]`",
    "SignalSourceTable": "`[deployment]` `signal_sources`",
    "TellTable": "`[[tell]]`",
    "AcrossTable": "`[across]`",
    "AzureSideTable": "`[across.azure]`",
    "AwsSideTable": "`[across.aws]`",
    "WorkloadTable": "`[workload]`",
    "JobTable": "`[[workload.jobs]]`",
}
"""The tables in the order of the page, each with its heading; one that is not named here comes at the end."""


def page() -> str:
    """The whole page."""
    tables = json_schema()["$defs"]
    names = [*(name for name in TABLES if name in tables), *sorted(tables.keys() - TABLES.keys() - {"File"})]
    return HEAD + "".join(_section(name, tables[name]) for name in names)


def _section(name: str, table: dict[str, Any]) -> str:
    """A heading, what the table is, and a line for each of its keys."""
    lines = "\n".join(_lines(table))
    head = f"## {TABLES.get(name, name)}\n\n{table['description']}\n\n| key | meaning | values | default |"
    return f"\n{head}\n|---|---|---|---|\n{lines}\n"


def _lines(table: dict[str, Any]) -> Iterator[str]:
    for key, said in table["properties"].items():
        needed = "needed" if key in table.get("required", ()) else "-"
        default = f"`{json.dumps(said['default'])}`" if "default" in said else needed
        yield f"| `{key}` | {said.get('description', '')} | {_values(said)} | {default} |"


def _values(said: dict[str, Any]) -> str:
    """What a key may hold, in a word or two."""
    if "enum" in said:
        return ", ".join(f'`"{value}"`' for value in said["enum"])
    pattern = said.get("pattern", "")
    if "[smhd]" in pattern:
        return 'a duration, or `"off"`' if "off" in pattern else "a duration"
    if "a-fA-F" in pattern:
        return "a UUID"
    kinds = {
        "array": "a list",
        "integer": "a whole number",
        "boolean": "true or false",
        "string": "text",
        "object": "a table",
    }
    return kinds.get(said.get("type", ""), "a table" if "allOf" in said or "$ref" in said else "any value")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
