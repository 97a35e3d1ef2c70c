"""The EventBridge patterns that follow a configuration: whatever a target names passes, and as little else as fits.

Coarser than the configuration is safe, finer would lose events, so where the patterns get too large they name less.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from shared.config.load import Configuration, SignalSource
from shared.targets import Cloud, GlueJobSucceeded, GlueTableChanged, S3ObjectCreated, Source
from shared.values import Value

LONGEST_PATTERN: Final = 2048
"""Characters, by default: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html."""

SLOTS: Final = 6
"""How many patterns the template takes, as the parameters EventPattern1 and so on."""

# Envelopes: what all events of a kind have in common. EventBridge compares source and detail type before the detail.
OBJECTS: Final = {"source": ["aws.s3"], "detail-type": ["Object Created"]}
TABLES: Final = {
    "source": ["aws.glue"],
    "detail-type": ["Glue Data Catalog Table State Change", "Glue Data Catalog Database State Change"],
}
"""The second tells of tables that are created: `changedTables` of a database."""
SIGNALS: Final = {"detail-type": ["unstale.signal"]}
"""No source: anybody's custom events pass, unless the configuration names who may send them."""
JOBS: Final = {"source": ["aws.glue"], "detail-type": ["Glue Job State Change"]}

Pattern = Mapping[str, Any]
Envelope = Mapping[str, Any]
Matcher = str | Mapping[str, str]
Entry = tuple[str, Matcher]
"""A thing that passes: what it is grouped under (a bucket, a database; nothing for a job), and what tells it."""
Clauses = Callable[[str, Sequence[Matcher]], Iterable[Pattern]]
"""The parts of a pattern's detail, of which one must hold, for the entries of one group."""


class Patterns(Value, frozen=True):
    """Patterns as JSON texts. `coarser` says what more than the configuration names they let through, if anything."""

    texts: tuple[str, ...]
    coarser: tuple[str, ...] = ()


class _Kind(Value, frozen=True):
    """A kind of event: its entries, and how they become a pattern; `coarse` is the same with less to tell apart."""

    envelope: Envelope
    entries: tuple[Entry, ...]
    clauses: Clauses
    coarse: _Kind | None = None
    lets_through: str = ""


def patterns_for(configuration: Configuration, most: int = SLOTS) -> Patterns:
    """All events that the targets on AWS name, in at most `most` patterns, which is three or more."""
    sources = {source: None for target in configuration.targets if target.cloud is Cloud.AWS for source in target.on}
    kinds = [kind for kind in (_objects(sources), _tables(sources), _jobs(sources)) if kind.entries]
    texts = [_texts(kind) for kind in kinds]
    while TOO_LONG in texts or sum(map(len, texts)) > most:
        widest = texts.index(TOO_LONG) if TOO_LONG in texts else max(range(len(kinds)), key=lambda n: len(texts[n]))
        kinds[widest] = kinds[widest].coarse or kinds[widest]
        texts[widest] = _texts(kinds[widest])
    coarser = tuple(kind.lets_through for kind in kinds if kind.lets_through)
    return Patterns(tuple(text for each in texts for text in each), coarser)


def signal_pattern(senders: Iterable[SignalSource]) -> str:
    """Make the pattern of the custom events that may ask for a refresh: those of these senders, or of anybody.

    Sources of one account stand together, so that many senders fit.
    """
    accounts: dict[str, list[str]] = {}
    for sender in senders:
        accounts.setdefault(sender.account, []).append(sender.source)
    clauses: list[Pattern] = [{"account": [account], "source": sources} for account, sources in accounts.items()]
    either: Pattern = {"$or": clauses} if len(clauses) > 1 else (clauses[0] if clauses else {})
    return plain_json({**SIGNALS, **either})


# --- Objects ---------------------------------------------------------------------------------------------------------

_ANY = {"prefix": ""}
"""Matches every key: a matcher like any other, so that it can stand beside others."""


def _objects(sources: Iterable[Source]) -> _Kind:
    """Objects, in three widths: prefixes and suffixes of each bucket; whole buckets; everything that S3 tells of."""
    named = [source for source in sources if isinstance(source, S3ObjectCreated)]
    buckets = tuple(dict.fromkeys(source.bucket for source in named))
    all_of_s3 = _Kind(OBJECTS, (("", _ANY),), lambda *_: ({},), None, "every object of every bucket that sends events")
    of_buckets = _Kind(
        OBJECTS,
        tuple(("", bucket) for bucket in buckets),
        lambda _, names: ({"bucket": {"name": list(names)}},),
        all_of_s3,
        "every object of the buckets",
    )
    entries = tuple((source.bucket, matcher) for source in named for matcher in key_matchers(source))
    return _Kind(OBJECTS, entries, _object_clauses, of_buckets)


def key_matchers(source: S3ObjectCreated) -> list[Matcher]:
    """Matchers for the keys of a source.

    A prefix and a suffix together are a wildcard, which wants them side by side; keys in which they overlap (`a/b.x`
    for `a/b.x` and `.x`) are named one by one.
    """
    prefix, suffix = source.prefix, source.suffix
    if not prefix or not suffix:
        return [{"suffix": suffix} if suffix else {"prefix": prefix}]
    lengths = range(1, min(len(prefix), len(suffix)) + 1)
    overlapping = [prefix + suffix[length:] for length in lengths if prefix.endswith(suffix[:length])]
    return [{"wildcard": f"{_literal(prefix)}*{_literal(suffix)}"}, *overlapping]


def _literal(text: str) -> str:
    """Escape a text for a wildcard."""
    return text.replace("\\", "\\\\").replace("*", "\\*")


def _object_clauses(bucket: str, keys: Sequence[Matcher]) -> Iterator[Pattern]:
    """A bucket with its keys in one clause; where one of its sources names every key, the others say nothing more."""
    named = {"bucket": {"name": [bucket]}}
    yield named if _ANY in keys else named | {"object": {"key": list(keys)}}


# --- Tables ----------------------------------------------------------------------------------------------------------


def _tables(sources: Iterable[Source]) -> _Kind:
    named = [source for source in sources if isinstance(source, GlueTableChanged)]
    databases = tuple(dict.fromkeys(source.database.lower() for source in named))
    whole_catalog = _Kind(TABLES, (("", _ANY),), lambda *_: ({},), None, "every change of the Data Catalog")
    of_databases = _Kind(
        TABLES,
        tuple(("", _whatever_case(database)) for database in databases),
        lambda _, found: ({"databaseName": list(found)},),
        whole_catalog,
        "every change of the databases",
    )
    entries = dict.fromkeys((source.database.lower(), source.table.lower()) for source in named)
    return _Kind(
        TABLES, tuple((database, _whatever_case(table)) for database, table in entries), _table_clauses, of_databases
    )


def _table_clauses(database: str, tables: Sequence[Matcher]) -> Iterator[Pattern]:
    """Two clauses, since a change of a table names `tableName`, and one of its database `changedTables`."""
    for field in ("tableName", "changedTables"):
        yield {"databaseName": [_whatever_case(database)], field: list(tables)}


def _whatever_case(name: str) -> Matcher:
    """Glue folds names to lower case when it stores them; `routing` compares them so, too."""
    return {"equals-ignore-case": name}


# --- Jobs ------------------------------------------------------------------------------------------------------------


def _jobs(sources: Iterable[Source]) -> _Kind:
    named = dict.fromkeys(source.job for source in sources if isinstance(source, GlueJobSucceeded))
    any_job = _Kind(JOBS, (("", _ANY),), lambda *_: ({"state": ["SUCCEEDED"]},), None, "the success of every job")
    return _Kind(
        JOBS,
        tuple(("", job) for job in named),
        lambda _, jobs: ({"state": ["SUCCEEDED"], "jobName": list(jobs)},),
        any_job,
    )


# --- From entries to texts -------------------------------------------------------------------------------------------


TOO_LONG: Final = [""]
"""An entry alone may be: a key of a thousand characters that are not ASCII."""


def _texts(kind: _Kind) -> list[str]:
    """As few patterns as hold all entries, filled one after the other; `TOO_LONG` if one of them does not fit."""
    texts: list[str] = []
    held: list[Entry] = []
    for entry in sorted(kind.entries, key=itemgetter(0)):
        if len(_text(kind, [entry])) > LONGEST_PATTERN:
            return TOO_LONG
        if len(_text(kind, [*held, entry])) > LONGEST_PATTERN:
            texts.append(_text(kind, held))
            held = []
        held.append(entry)
    return [*texts, _text(kind, held)]


def _text(kind: _Kind, entries: Iterable[Entry]) -> str:
    """A pattern as JSON: one clause for each group of entries, of which one must hold (`$or`)."""
    groups = groupby(entries, key=itemgetter(0))
    clauses = [clause for name, group in groups for clause in kind.clauses(name, [matcher for _, matcher in group])]
    detail = {"$or": clauses} if len(clauses) > 1 else clauses[0]
    return plain_json({**kind.envelope, "detail": detail} if detail else kind.envelope)


def plain_json(value: object) -> str:
    r"""JSON in ASCII, with no backslash but in `\uXXXX`: what stands in `samconfig.toml` is unquoted twice over.

    The SAM CLI knows `\"` and `\ ` within a value, but not `\\"` (samcli/cli/types.py, `_unquote_wrapped_quotes`).
    """
    text = json.dumps(value, separators=(",", ":"))
    return "".join(_escape(text))


_SHORT = {"b": "0008", "f": "000c", "n": "000a", "r": "000d", "t": "0009", '"': "0022", "\\": "005c", "/": "002f"}


def _escape(text: str) -> Iterator[str]:
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters)
            yield "\\u" + _SHORT.get(following, "" if following == "u" else following)
        else:
            yield "\\u0027" if character == "'" else character
