"""Reads a TOML document into its tables, and names every place where it departs from their shape, not only the first.

msgspec stops at the first departure. So after one, the document is gone through again, table by table and key by key.

    msgspec.convert ── fits ──> the file, and no mistakes: the only way that a good file takes
          └── departs ──> `_mistakes`: down into lists and tables, to the innermost value that does not fit
                     └──> `_readable_parts`: each table that fits by itself, so that rules can be told of the rest
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.config.schema import (
    AcrossTable,
    AnyTarget,
    DefaultsTable,
    DeploymentTable,
    FabricTable,
    File,
    GlueTable,
    Table,
    TellTable,
    WorkloadTable,
)
from shared.config.toml_positions import Path
from shared.text import printable

T = TypeVar("T")

LONGEST_SHOWN = 60
"""Characters of a value that a message repeats."""

_INTEGER_BITS = 64
"""The range of integers that TOML asks of a reader, and that JSON's readers can be expected to take."""
_UNIONS = (UnionType, Union)


class Mistake(NamedTuple):
    """A mistake of the file at one key."""

    path: Path
    """The keys, and positions in lists, that lead there from the top of the file."""
    found: str
    """The text of the file there, in words."""
    expected: str
    """The text to write instead, in words."""


def read(document: dict[str, Any]) -> tuple[File, list[Mistake]]:
    """The file, and where it departs from its shape; if it does, the file is what else could be read."""
    try:
        return msgspec.convert(document, File), []
    except msgspec.ValidationError:
        return _readable_parts(document), list(_mistakes(document, File, ()))


def show(value: object) -> str:
    """A value as a message repeats it: as TOML writes it, on one line, and not all of it if it is long."""
    match value:
        case dict() | list():
            return f"{'a' if value else 'an empty'} {'table' if isinstance(value, dict) else 'list'}"
        case str():
            return f'"{printable(value, LONGEST_SHOWN)}"'
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > _INTEGER_BITS:
            return f"a number of more than {_INTEGER_BITS} bits"
    return str(value)


def quote_names(names: Iterable[str]) -> str:
    """`"a", "b", "c"`."""
    return ", ".join(f'"{name}"' for name in names)


def _readable_parts(document: dict[str, Any]) -> File:
    """Read each part of a broken file by itself, so that rules can be told of all that is readable."""
    tables = document.get("targets")
    targets = {
        name: _read_part(table, AnyTarget, None) for name, table in (tables.items() if isinstance(tables, dict) else ())
    }
    return File(
        targets={name: table for name, table in targets.items() if table},
        defaults=_read_part(document.get("defaults"), DefaultsTable, DefaultsTable()),
        fabric=_read_part(document.get("fabric"), FabricTable, FabricTable()),
        workload=_read_part(document.get("workload"), WorkloadTable, UNSET),
        glue=_read_part(document.get("glue"), GlueTable, GlueTable()),
        deployment=_read_part(document.get("deployment"), DeploymentTable, DeploymentTable()),
        tell=_read_part(document.get("tell"), list[TellTable], UNSET),
        across=_read_part(document.get("across"), AcrossTable, UNSET),
    )


def _read_part(value: object, kind: Any, otherwise: T) -> Any | T:
    """Read a part of a broken file, or take what holds without that part."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return otherwise


def _mistakes(value: object, kind: Any, path: Path) -> Iterator[Mistake]:
    """Each departure of a value from its type, as deep inside as it can be told."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        inside = list(_mistakes_inside(value, _plain(kind), path))
        yield from inside or [Mistake(path, show(value), _words_for_type(kind))]


def _mistakes_inside(value: object, kind: Any, path: Path) -> Iterator[Mistake]:
    """Look for departures inside a list, a table of names, a target or a table."""
    if isinstance(value, list) and get_origin(kind) is list:
        for position, entry in enumerate(value):
            yield from _mistakes(entry, get_args(kind)[0], (*path, position))
    elif isinstance(value, dict) and get_origin(kind) is dict:
        of_key, of_value = get_args(kind)
        for key, entry in value.items():
            yield from (Mistake((*path, key), *told) for _, *told in _mistakes(key, of_key, ()))
            yield from _mistakes(entry, of_value, (*path, key))
    elif isinstance(value, dict) and get_origin(kind) in _UNIONS:
        yield from _mistakes_in_target(value, path)
    elif isinstance(value, dict) and _is_table(kind):
        yield from _mistakes_in_table(value, kind, path)


def _mistakes_in_target(value: dict[str, Any], path: Path) -> Iterator[Mistake]:
    """Tell the departures of a target by its kind; without a known kind only the kind is told."""
    kinds = _kinds_of_target()
    found = value.get("kind")
    if isinstance(found, str) and found in kinds:
        yield from _mistakes_in_table(value, kinds[found], path)
    else:
        yield Mistake((*path, "kind"), show(found) if "kind" in value else "nothing", f"one of {quote_names(kinds)}")


def _mistakes_in_table(value: dict[str, Any], table: type[Table], path: Path) -> Iterator[Mistake]:
    """Tell unknown keys, keys that are missing, and values that do not fit."""
    for key in value:
        if key not in _keys(table):
            yield Mistake((*path, key), "an unknown key", _guess_meant(key, table))
    for field in _fields(table):
        if field.name in value:
            yield from _mistakes(value[field.name], field.type, (*path, field.name))
        elif field.required:
            yield Mistake((*path, field.name), "nothing", _words_for_type(field.type))


def _guess_meant(key: str, table: type[Table]) -> str:
    """The key that was most likely meant by one that the table does not know."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a bad file pays for it

    elsewhere = [kind for kind, other in _kinds_of_target().items() if key in _keys(other)]
    if elsewhere and table in _kinds_of_target().values():
        return f"another kind of target: {quote_names(elsewhere)} has it"
    close = get_close_matches(key, _keys(table), n=1)
    return f'a known one: did you mean "{close[0]}"?' if close else f"one of {quote_names(_keys(table))}"


def _kinds_of_target() -> dict[str, type[Table]]:
    """The kinds of targets, by the names that the file gives them."""
    return {str(table.__struct_config__.tag): table for table in get_args(AnyTarget)}


def _keys(table: type[Table]) -> list[str]:
    """The keys of a table, the one that tells its kind included."""
    tag = table.__struct_config__.tag_field
    return [*([tag] if tag else []), *(field.name for field in _fields(table))]


@cache
def _fields(table: type[Table]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of a table with their types, which are resolved once."""
    return msgspec.structs.fields(table)  # resolves all annotations, each time


def _is_table(kind: Any) -> bool:
    """Whether a type is one of our tables."""
    return isinstance(kind, type) and issubclass(kind, Table)


def _plain(kind: Any) -> Any:
    """The type without its description, and without "or nothing"."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    given = [option for option in get_args(kind) if option is not UnsetType]
    return _plain(given[0]) if get_origin(kind) in _UNIONS and len(given) == 1 else kind


def _words_for_type(kind: Any) -> str:
    """The description of a type in words: in its own words, which all but tables and choices have."""
    for part in (kind, *get_args(kind)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, Meta) and meta.extra:
                return str(meta.extra["expected"])
    plain = _plain(kind)
    return f"one of {quote_names(get_args(plain))}" if get_origin(plain) is Literal else "a table"
