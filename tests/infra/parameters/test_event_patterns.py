"""The rules let through what the configuration names, and nothing of its own output: judged by moto's matcher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st
from moto.events.models import EventPattern

from infra.parameters.event_patterns import LONGEST_PATTERN, SLOTS, Patterns, patterns_for, signal_pattern
from shared.config.load import Configuration, ConfigurationError, SignalSource, load
from shared.inbound import eventbridge
from shared.inbound.messages import Arrived
from shared.inbound.routing import targets_of
from shared.targets import GlueJobSucceeded, GlueTableChanged, GlueView, S3ObjectCreated, Source
from tests.support.toml_text import toml_document

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ACCOUNT = "123456789012"


def configuration_of(targets: dict[str, dict[str, Any]]) -> Configuration:
    """Targets as the file has them, each a Glue view."""
    view = {"kind": "glue-view", "catalog_id": ACCOUNT}
    return load(toml_document({"targets": {name: view | fields for name, fields in targets.items()}}))


# --- Events ----------------------------------------------------------------------------------------------------------


def envelope(source: str, detail_type: str, detail: dict[str, Any]) -> dict[str, Any]:
    """An event as EventBridge delivers it."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-11-23T00:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    }


def object_created(bucket: str, key: str) -> dict[str, Any]:
    """S3's."""
    return envelope(
        "aws.s3", "Object Created", {"bucket": {"name": bucket}, "object": {"key": key}, "reason": "PutObject"}
    )


def table_changed(database: str, table: str) -> dict[str, Any]:
    """The Data Catalog's."""
    detail = {"databaseName": database, "tableName": table, "typeOfChange": "UpdateTable"}
    return envelope("aws.glue", "Glue Data Catalog Table State Change", detail)


def tables_created(database: str, *tables: str) -> dict[str, Any]:
    """The Data Catalog's, of a database."""
    detail = {"databaseName": database, "typeOfChange": "CreateTable", "changedTables": list(tables)}
    return envelope("aws.glue", "Glue Data Catalog Database State Change", detail)


def job_ended(job: str, state: str = "SUCCEEDED") -> dict[str, Any]:
    """Glue's."""
    return envelope("aws.glue", "Glue Job State Change", {"jobName": job, "state": state, "jobRunId": "jr_1"})


def passes(patterns: Patterns, what: dict[str, Any]) -> bool:
    """What EventBridge would do, as moto knows it."""
    return any(EventPattern.load(text).matches_event(what) for text in patterns.texts)  # type: ignore[arg-type]  # moto's type is narrower than what it takes


def named(configuration: Configuration, what: dict[str, Any]) -> bool:
    """Whether a target names it: what the function would make of it."""
    message = eventbridge.read(what, NOW)
    return isinstance(message, Arrived) and any(targets_of(arrival, configuration) for arrival in message.arrivals)


# --- Any configuration -----------------------------------------------------------------------------------------------

BUCKETS = st.sampled_from(["landing", "landing.two", "views"])
AFFIXES = st.text("ab/.*\\\"', é\t", max_size=5)
NAMES = st.sampled_from(["sales", "Sales", "ventes d'été", 'a"b\\c', "x,y", "*"])

SOURCES = st.one_of(
    st.builds(
        lambda *of: {"s3_object_created": dict(zip(("bucket", "prefix", "suffix"), of, strict=True))},
        BUCKETS,
        AFFIXES,
        AFFIXES,
    ),
    st.builds(lambda *of: {"glue_table_changed": dict(zip(("database", "table"), of, strict=True))}, NAMES, NAMES),
    st.builds(lambda job: {"glue_job_succeeded": {"job": job}}, NAMES),
)
VIEWS = st.fixed_dictionaries(
    {"database": NAMES, "table": NAMES, "on": st.lists(SOURCES, min_size=1, max_size=5)},
    optional={
        "location": st.builds(
            lambda bucket, folder: f"s3://{bucket}/{folder}/", BUCKETS, st.text("ab", min_size=1, max_size=3)
        )
    },
)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Valid ones: what breaks a rule is thrown away."""
    views = draw(st.lists(VIEWS, min_size=1, max_size=5))
    try:
        return configuration_of({f"t{number}": view for number, view in enumerate(views)})
    except ConfigurationError:
        assume(condition=False)
        raise


def events_near(source: Source, middles: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Events that a source may mean, and some that it just does not."""
    match source:
        case S3ObjectCreated(bucket, prefix, suffix):
            overlapping = [prefix + suffix[length:] for length in range(len(suffix) + 1)]
            for key in [*(prefix + middle + suffix for middle in middles), *overlapping, prefix[1:] + suffix, suffix]:
                yield object_created(bucket, key)
                yield object_created(f"{bucket}-2", key)
        case GlueTableChanged(database, table):
            for spelling in (str, str.lower, str.upper):
                yield table_changed(spelling(database), spelling(table))
                yield tables_created(database, "other", spelling(table))
            yield table_changed(database, f"{table}2")
        case GlueJobSucceeded(job):
            yield job_ended(job)
            yield job_ended(job, "FAILED")
            yield job_ended(f"{job}2")


def own_output(configuration: Configuration, middles: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Events that a refresh of a target causes."""
    for target in configuration.targets:
        view = target.resource
        assert isinstance(view, GlueView)
        yield table_changed(view.database, view.table)
        yield tables_created(view.database, view.table)
        if view.location:
            bucket, _, folder = view.location.removeprefix("s3://").partition("/")
            yield from (object_created(bucket, f"{folder}{middle}") for middle in middles)


@settings(deadline=None)  # a loaded machine is no failure
@given(configurations(), st.lists(AFFIXES, max_size=3), st.integers(3, SLOTS))
def test_what_a_target_names_passes_and_its_own_output_does_not(
    configuration: Configuration, middles: list[str], most: int
) -> None:
    """For any valid configuration every event that a target names is let through by the rules, and, unless they had to
    be made coarser to fit, which is then said, no other event of the same kinds: nothing of a target's own output.
    """
    patterns = patterns_for(configuration, most)
    assert len(patterns.texts) <= most
    assert all(len(text) <= LONGEST_PATTERN for text in patterns.texts)
    sources = [source for target in configuration.targets for source in target.on]
    happened = [what for source in sources for what in events_near(source, ["", *middles])]
    happened += own_output(configuration, ["data", *middles])
    event("coarser" if patterns.coarser else "exact")
    for what in happened:
        note(f"{what} against {patterns}")
        if named(configuration, what):
            assert passes(patterns, what)
        elif not patterns.coarser:
            assert not passes(patterns, what)


def test_a_matcher_that_is_not_ours_sees_an_event_too_few() -> None:
    """The judge can fail: without the keys in which prefix and suffix overlap, one of the events named is lost."""
    source = {"s3_object_created": {"bucket": "landing", "prefix": "a/b.x", "suffix": ".x"}}
    configuration = configuration_of({"t": {"database": "d", "table": "v", "on": [source]}})
    [text] = patterns_for(configuration).texts
    assert passes(Patterns((text,)), object_created("landing", "a/b.x"))
    assert not passes(Patterns((text.replace(',"a/b.x"', ""),)), object_created("landing", "a/b.x"))


# --- Size ------------------------------------------------------------------------------------------------------------


def many(count: int) -> Configuration:
    """Targets as people have them: an Iceberg table's commits in a bucket, and a table of the catalog."""
    return configuration_of(
        {
            f"view_{number:04}": {
                "database": "marts",
                "table": f"view_{number:04}",
                "location": f"s3://warehouse/marts.db/view_{number:04}/",
                "on": [
                    {
                        "s3_object_created": {
                            "bucket": "warehouse",
                            "prefix": f"sales.db/table_{number:04}/metadata/",
                            "suffix": ".metadata.json",
                        }
                    },
                    {"glue_table_changed": {"database": "sales", "table": f"table_{number:04}"}},
                ],
            }
            for number in range(count)
        }
    )


def test_sixty_targets_with_two_sources_each_are_matched_exactly() -> None:
    """What most deployments have fits the rules without letting anything else through."""
    configuration = many(60)
    patterns = patterns_for(configuration)
    assert patterns.coarser == ()
    assert not any(passes(patterns, what) for what in own_output(configuration, ["data"]))


@pytest.mark.parametrize("count", [200, 2000])
def test_more_than_fits_is_matched_more_coarsely_and_said_so(count: int) -> None:
    """However many targets there are, no event that one names is lost, and it is said what else is let through."""
    configuration = many(count)
    patterns = patterns_for(configuration)
    assert 0 < len(patterns.texts) <= SLOTS
    assert patterns.coarser
    sources = [source for target in configuration.targets[:: count // 50] for source in target.on]
    happened = [what for source in sources for what in events_near(source, ["x"]) if named(configuration, what)]
    assert len(happened) >= 100
    assert all(passes(patterns, what) for what in happened)


def test_what_no_pattern_can_hold_is_matched_by_its_bucket() -> None:
    """A key of a thousand characters, each of which takes six in a pattern, does not lose its events."""
    source = {"s3_object_created": {"bucket": "landing", "prefix": "é" * 1000}}
    configuration = configuration_of({"t": {"database": "d", "table": "v", "on": [source]}})
    patterns = patterns_for(configuration)
    assert patterns.coarser == ("every object of the buckets",)
    assert passes(patterns, object_created("landing", "é" * 1000 + "x"))
    assert not passes(patterns, object_created("other", "é" * 1000 + "x"))


# --- Custom events ---------------------------------------------------------------------------------------------------

SENDERS = (
    SignalSource(ACCOUNT, "etl"),
    SignalSource(ACCOUNT, "loader"),
    SignalSource("210987654321", "etl"),
)


@pytest.mark.parametrize("named", [0, 1, 2, 3])
def test_only_senders_that_are_named_pass(named: int) -> None:
    """An account and a source together, as named; where none is named, whoever may put events on the bus."""
    patterns = Patterns((signal_pattern(SENDERS[:named]),))
    senders = [*SENDERS, SignalSource("210987654321", "loader"), SignalSource(ACCOUNT, "etl.other")]
    for sender in senders:
        sent = envelope(sender.source, "unstale.signal", {"target": "daily"}) | {"account": sender.account}
        assert passes(patterns, sent) is (not named or sender in SENDERS[:named]), sender
        assert not passes(patterns, sent | {"detail-type": "other"})
