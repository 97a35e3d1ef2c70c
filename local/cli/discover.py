"""Looks for what `unstale init` writes down: the materialized views of a Glue database, the lakehouses of a workspace.

Nothing is changed. Glue is asked with the credentials of whoever runs the command, Fabric with the token of `az login`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from local.cli.errors import NotWellError, UsageError
from local.cli.variables import aws_session, wrong_usage
from shared.redaction import plain
from shared.sources.groups import GlueDatabase, SourceTable, named_by_view
from shared.values import Value


class View(Value, frozen=True):
    """A materialized view of the Glue Data Catalog, with the tables that it reads."""

    catalog_id: str
    """The catalog that it lies in: the account, or a nested one."""
    database: str
    """Its database."""
    table: str
    """Its name."""
    sources: tuple[SourceTable, ...] = ()
    """The tables that the view itself names."""
    unreadable: tuple[str, ...] = ()
    """Names in the view that are of no table."""


class Lakehouse(Value, frozen=True):
    """A lakehouse of a Fabric workspace."""

    workspace: str
    """Id of the workspace."""
    workspace_name: str
    """Its name."""
    item: str
    """Id of the lakehouse."""
    name: str
    """Its name."""


# --- Glue ------------------------------------------------------------------------------------------------------------


def views_of(database: str) -> list[View]:
    """GetTables, page by page. Raises `UsageError` where there is no such database, or none of its tables is a view."""
    from botocore.exceptions import BotoCoreError, ClientError

    from functions_aws.clients import PATIENT

    try:
        client = aws_session(os.environ, os.environ.get("AWS_REGION", "")).create_client("glue", config=PATIENT)
        pages = client.get_paginator("get_tables").paginate(DatabaseName=database)
        tables = [table for page in pages for table in page["TableList"]]
    except ClientError as error:
        why = plain(str(error))
        if error.response.get("Error", {}).get("Code") == "EntityNotFoundException":
            raise UsageError(f"no Glue database {database!r} in this account and Region: {why}") from error
        raise NotWellError(f"cannot list the tables of {database}: {why}") from error
    except BotoCoreError as error:
        raise UsageError(
            f"cannot ask Glue: {plain(str(error)).rstrip('.')}. AWS_REGION and AWS_PROFILE say where"
        ) from error
    views = [_view(database, table) for table in tables if _is_view(table)]
    if not views:
        raise UsageError(f"none of the {len(tables)} tables of the Glue database {database!r} is a materialized view")
    return views


def _is_view(table: dict[str, Any]) -> bool:
    """Whether Glue calls a table a materialized view; older catalogs have only the type."""
    return bool(table.get("IsMaterializedView")) or table.get("TableType") == "MATERIALIZED_VIEW"


def _view(database: str, table: dict[str, Any]) -> View:
    """A view with the tables that its definition names."""
    sources, unreadable = named_by_view(table.get("ViewDefinition", {}).get("SubObjects") or ())
    return View(str(table["CatalogId"]), database, str(table["Name"]), sources, unreadable)


def event_of(source: SourceTable) -> tuple[str, str, str] | None:
    """Catalog, database and table of a source whose changes Glue tells; None for one that no event tells of."""
    group = source.group
    return (group.catalog_id, group.database, source.name) if isinstance(group, GlueDatabase) else None


# --- Fabric ----------------------------------------------------------------------------------------------------------


def lakehouses_of(workspace: str) -> list[Lakehouse]:
    """List Workspaces, then List Lakehouses. Raises `UsageError` where there is none, `NotWellError` for no answer."""
    from local.checks.rest import NoAnswerError

    try:
        fabric = _fabric()
        identity = _workspace_id(fabric, workspace)
        found = list(fabric.every(f"/workspaces/{identity}/lakehouses"))
    except NoAnswerError as error:
        raise NotWellError(f"cannot list the lakehouses of {workspace}: {error}") from error
    if not found:
        raise UsageError(f"the workspace {workspace!r} has no lakehouse that you may see")
    return [Lakehouse(identity, workspace, str(each["id"]), str(each["displayName"])) for each in found]


def _fabric() -> Any:
    """Fabric's API, as whoever signed in with `az login`. Raises `UsageError` for an address that is not safe."""
    from functions_azure import settings
    from local import azure_login
    from local.checks.rest import Rest

    with wrong_usage():
        cloud = settings.cloud(os.environ)
        url = settings.endpoint(os.environ, "UNSTALE_FABRIC_URL", cloud.fabric_url)
    return Rest(url, azure_login.tokens(cloud.fabric_audience))


def _workspace_id(fabric: Any, name: str) -> str:
    """The id of the workspace of that name, or with that id. Raises `UsageError` where none, or more, are called so."""
    every = list(fabric.every("/workspaces"))
    found = [str(each["id"]) for each in every if name in {each.get("displayName"), each.get("id")}]
    if len(found) == 1:
        return found[0]
    names = ", ".join(_names(every))
    there = f"you may see {names}" if names else "you may see none"
    raise UsageError(f"{len(found)} workspaces are called {name!r}; {there}")


def _names(workspaces: list[dict[str, Any]]) -> Iterator[str]:
    """The names of workspaces, as people wrote them."""
    yield from sorted(repr(each.get("displayName", "")) for each in workspaces)
