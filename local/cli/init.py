"""`unstale init`: the first `unstale.toml`, from what is in the clouds, with comments and what to do next.

With `--glue-database` it has each materialized view with the tables that the view reads, with `--fabric-workspace` each
lakehouse; without either it asks. What is written passes `unstale check`. Nothing that is there already is replaced.

The texts below are what a newcomer reads first. So each value that stands there is the built-in one or a safe one, each
option has its reason beside it, and what nobody can find out from here is named as what is left to do.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.cli.discover import Lakehouse, View, event_of, lakehouses_of, views_of
from local.cli.errors import UsageError
from shared.config.load import json_schema, load

SCHEMA = "unstale.schema.json"
"""The JSON Schema, written beside the file, whose first line names it: so editors complete and check as one types."""

HEAD = f"""#:schema ./{SCHEMA}
#
# What unstale keeps fresh, and why and when it refreshes it. `unstale check` says in words what this file means, and
# unstale.example.toml in the repository shows every option. Durations are a whole number and one of s, m, h, d.

[defaults]                     # for every target that says nothing else; these are the built-in values
quiet_period = "30s"           # wait this long after the last arrival
max_wait     = "10m"           # ... but never longer than this after the first
min_interval = "5m"            # at least this long between two starts
# objective  = "1h"            # how stale a target may be before status and alarms say so; none by default

# [deployment]
# stack = "unstale"            # how `unstale status` finds the deployment, once there is one
"""

# A view in Glue names its sources itself, so its table is complete as it is; `on` only makes a refresh come sooner.
GLUE = """
[targets.{name}]
kind       = "glue-view"
catalog_id = {catalog}
database   = {database}
table      = {table}
"""
LOOKED_AT = "# The tables that it reads are found in the view itself, and looked at every 5 minutes, events or not.\n"
# Lake views do not say what they read, so a schedule keeps them from being forgotten until somebody names that.
FABRIC = """
[targets.{name}]               # {title}
kind      = "fabric-lake-views"
workspace = {workspace}
lakehouse = {item}
schedule  = {{ cron = "0 6 * * *", timezone = "UTC" }} # until its sources are named
# Which tables the views read, nobody can ask Fabric: name those that change, and a refresh follows each change.
# on      = [{{ onelake_changed = {{ workspace = {workspace}, item = "<id of the source>", path = "Tables/orders" }} }}]
"""


def init(path: Path, databases: Sequence[str], workspaces: Sequence[str]) -> None:
    """Write the file, and the schema beside it; raises `UsageError` where there is one already.

    The text is loaded before it is written: a name in a cloud that the file cannot hold is an error here, with nothing
    written, and not at the first `check`.
    """
    if path.exists():
        raise UsageError(f"{path} is there already, and stays as it is: name another with --config")
    if not (databases or workspaces):
        databases, workspaces = _ask()
    views = [view for database in databases for view in views_of(database)]
    lakehouses = [lakehouse for workspace in workspaces for lakehouse in lakehouses_of(workspace)]
    text = text_of(views, lakehouses)
    load(text, str(path))
    path.write_text(text, encoding="utf-8")
    schema = path.with_name(SCHEMA)
    schema.write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
    count = len(views) + len(lakehouses)
    print(f"{path}: {count} targets; {schema}: what editors check it by")
    for line in _next(path, views, lakehouses):
        print(line)


def _ask() -> tuple[list[str], list[str]]:
    """Ask for what the options would have said; wrong usage where nobody is there to answer."""
    if not sys.stdin.isatty():
        raise UsageError("name a database with --glue-database, or a workspace with --fabric-workspace")
    try:
        cloud = input("Where are your views, in Glue or in Fabric? [glue/fabric] ").strip().lower()
        if cloud.startswith("g"):
            return [_answer("Which Glue database has them? ")], []
        if cloud.startswith("f"):
            return [], [_answer("Which Fabric workspace has the lakehouses? ")]
    except EOFError:
        cloud = ""
    raise UsageError(f"{cloud!r} is neither glue nor fabric")


def _answer(question: str) -> str:
    """Ask a person for a name; an empty answer is wrong usage."""
    answer = input(question).strip()
    if not answer:
        raise UsageError("without a name there is nothing to look for")
    return answer


def text_of(views: Sequence[View], lakehouses: Sequence[Lakehouse]) -> str:
    """The configuration with its comments, as a person would have written it, targets as the clouds list them."""
    names: set[str] = set()
    parts = [HEAD]
    parts += [_of_view(view, _name(view.table, names)) for view in views]
    parts += [_of_lakehouse(lakehouse, _name(lakehouse.name, names)) for lakehouse in lakehouses]
    return "".join(parts)


def _of_view(view: View, name: str) -> str:
    """The table of a view, with an entry of `on` for each source that Glue tells of.

    Tables of S3 Tables have none, since nothing tells of these: they are found by looking alone.
    """
    values = {"catalog": view.catalog_id, "database": view.database, "table": view.table}
    head = GLUE.format(name=name, **{key: _text(value) for key, value in values.items()})
    told = [entry for source in view.sources if (entry := event_of(source))]
    lines = [f"    {{ glue_table_changed = {_place(view, entry)} }},\n" for entry in told]
    on = f"on         = [ # sooner, where Glue's events come\n{''.join(lines)}]\n" if lines else ""
    others = "".join(f"# It names what cannot be looked at: {_comment(each)}\n" for each in view.unreadable)
    return head + LOOKED_AT + others + on


def _place(view: View, entry: tuple[str, str, str]) -> str:
    """A table of the Data Catalog as an inline table; the catalog only where it is not the view's own."""
    catalog_id, database, table = entry
    catalog = "" if catalog_id == view.catalog_id else f", catalog_id = {_text(catalog_id)}"
    return f"{{ database = {_text(database)}, table = {_text(table)}{catalog} }}"


def _of_lakehouse(lakehouse: Lakehouse, name: str) -> str:
    """The table of a lakehouse, refreshed once a day until somebody names its sources."""
    title = _comment(f"lakehouse {lakehouse.name} of workspace {lakehouse.workspace_name}")
    return FABRIC.format(name=name, title=title, workspace=_text(lakehouse.workspace), item=_text(lakehouse.item))


def _name(title: str, taken: set[str]) -> str:
    """A name for a target, of the characters that one may have, which no other has.

    At most 60 characters, so that a number that tells two apart still fits into the 64 that the schema takes.
    """
    base = re.sub("[^A-Za-z0-9_-]+", "_", title).strip("_")[:60] or "target"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def _text(value: str) -> str:
    """A string of TOML; JSON's escapes are TOML's. Names of tables may hold quotes, backslashes and any script."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    """Text that may stand in a comment: on one line, without control characters, which would end it."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]", "?", text)


def _next(path: Path, views: Sequence[View], lakehouses: Sequence[Lakehouse]) -> Iterator[str]:
    """Say what to do now."""
    config = "" if path == Path("unstale.toml") else f" --config {path}"
    yield "next:"
    yield f"  unstale check{config}            # what it means, in words"
    yield f"  unstale check --live{config}     # is everything there and allowed"
    clouds = [cloud for cloud, found in (("aws", views), ("azure", lakehouses)) if found]
    for cloud in clouds:
        yield f"  unstale package {cloud}{config}     # then deploy it: docs/{cloud}.md"
