"""Routing: whom an arrival concerns, whom it must not concern, and how it is worded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config.load import Configuration
from shared.inbound.arrivals import Arrival, BlobArrived, JobSucceeded, ObjectArrived, OneLakeArrived, TableChanged
from shared.inbound.messages import FabricRunEnded, GlueRunEnded
from shared.inbound.routing import (
    LONGEST_REASON,
    _listeners_to,
    place_of,
    reason,
    signals_of,
    targets_of,
    targets_of_end,
)
from shared.places import Affixes, Listener, Listeners, listeners
from shared.targets import (
    BlobCreated,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    LakeViews,
    OneLakeChanged,
    Policy,
    Resource,
    S3ObjectCreated,
    Source,
    Target,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORKSPACE = "4b218778-e7a5-4d73-8187-f10824047715"
LAKEHOUSE = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"
ACCOUNT = "123456789012"
VIEW = GlueView(ACCOUNT, "sales", "daily")


def target(name: str, *sources: Source, resource: Resource = VIEW) -> Target:
    """A target with these sources."""
    return Target(name, resource, on=sources)


def names(targets: tuple[Target, ...]) -> list[str]:
    """Their names, in order."""
    return [one.name for one in targets]


def signals(source: Source, arrival: Arrival, resource: Resource = VIEW) -> bool:
    """Whether the arrival signals a target with just this source."""
    return names(targets_of(arrival, Configuration((target("it", source, resource=resource),)))) == ["it"]


LANDING = S3ObjectCreated("landing", "orders/", ".json")
CSVS = BlobCreated("lake", "sales", "orders/", ".csv")
IN_ONE = S3ObjectCreated("landing", "ab", "bc")
ORDERS = OneLakeChanged(WORKSPACE, LAKEHOUSE, "Tables/orders")

MATCHES: list[tuple[bool, Source, Arrival]] = [
    (True, LANDING, ObjectArrived(NOW, "landing", "orders/x.json")),
    (True, LANDING, ObjectArrived(NOW, "landing", "orders/.json")),
    (True, S3ObjectCreated("landing"), ObjectArrived(NOW, "landing", "anything")),
    (True, S3ObjectCreated("landing", "a+b%20c/"), ObjectArrived(NOW, "landing", "a+b%20c/x")),
    (False, S3ObjectCreated("landing", "a b c/"), ObjectArrived(NOW, "landing", "a+b%20c/x")),
    (False, LANDING, ObjectArrived(NOW, "landing", "orders/x.parquet")),
    (False, LANDING, ObjectArrived(NOW, "landing", "Orders/x.json")),
    (False, LANDING, ObjectArrived(NOW, "landing", "old/orders/x.json")),
    (False, LANDING, ObjectArrived(NOW, "landing2", "orders/x.json")),
    (True, GlueTableChanged("sales", "orders"), TableChanged(NOW, "sales", "orders")),
    (True, GlueTableChanged("Sales", "Orders", ACCOUNT), TableChanged(NOW, "sales", "orders")),
    (True, GlueTableChanged("sales", "orders"), TableChanged(NOW, "SALES", "ORDERS")),
    (False, GlueTableChanged("sales", "orders"), TableChanged(NOW, "sales", "orders2")),
    (False, GlueTableChanged("sales", "orders"), TableChanged(NOW, "sales2", "orders")),
    (False, GlueTableChanged("a", "b"), JobSucceeded(NOW, "b")),
    (True, GlueJobSucceeded("load"), JobSucceeded(NOW, "load")),
    (False, GlueJobSucceeded("load"), JobSucceeded(NOW, "Load")),
    (False, GlueJobSucceeded("landing"), ObjectArrived(NOW, "landing", "landing")),
    (True, BlobCreated("lake", "sales", "orders/", ".csv"), BlobArrived(NOW, "lake", "sales", "orders/x.csv")),
    (True, BlobCreated("lake", "sales"), BlobArrived(NOW, "lake", "sales", "x")),
    (False, BlobCreated("lake", "sales", "orders/"), BlobArrived(NOW, "lake", "sales", "x/orders/")),
    (False, BlobCreated("lake", "sales", "", ".csv"), BlobArrived(NOW, "lake", "sales", "x.csv.tmp")),
    (False, BlobCreated("lake", "sales"), BlobArrived(NOW, "lake", "sales2", "x")),
    (False, BlobCreated("lake", "sales"), BlobArrived(NOW, "lake2", "sales", "x")),
    (True, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders/_delta_log/1.json")),
    (True, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders/", folder=True)),
    (True, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders/a/", folder=True)),
    (True, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/", folder=True)),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/order/", folder=True)),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders2/", folder=True)),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders/_temporary/0/x")),
    (True, CSVS, BlobArrived(NOW, "lake", "sales", "orders/", folder=True)),
    (True, CSVS, BlobArrived(NOW, "lake", "sales", "orders/day/", folder=True)),
    (True, BlobCreated("lake", "sales", "a/orders/"), BlobArrived(NOW, "lake", "sales", "a/", folder=True)),
    (True, BlobCreated("lake", "sales", "a/ord", ".x"), BlobArrived(NOW, "lake", "sales", "a/orders/", folder=True)),
    (True, BlobCreated("lake", "sales", "a/day=1", ".x"), BlobArrived(NOW, "lake", "sales", "a/", folder=True)),
    (False, CSVS, BlobArrived(NOW, "lake", "sales", "ord/", folder=True)),
    (False, CSVS, BlobArrived(NOW, "lake", "sales", "orders2/", folder=True)),
    (False, CSVS, BlobArrived(NOW, "lake", "sales", "orders/", folder=False)),
    (False, CSVS, BlobArrived(NOW, "lake", "sales", "orders/_temporary/0/part.csv")),
    (False, CSVS, BlobArrived(NOW, "lake", "sales", "orders/a/_temporary/0/task/", folder=True)),
    (True, CSVS, BlobArrived(NOW, "lake", "sales", "orders/_temporary.csv")),
    (True, CSVS, BlobArrived(NOW, "lake", "sales", "orders/a_temporary/b.csv")),
    (True, BlobCreated("lake", "sales", "a/_temporary/"), BlobArrived(NOW, "lake", "sales", "a/_temporary/x")),
    (True, BlobCreated("lake", "sales", "a/_temp"), BlobArrived(NOW, "lake", "sales", "a/_temporary/x")),
    (False, BlobCreated("lake", "sales"), BlobArrived(NOW, "lake", "sales", "_temporary/x")),
    (False, LANDING, ObjectArrived(NOW, "landing", "orders/_temporary/0/x.json")),
    (True, IN_ONE, ObjectArrived(NOW, "landing", "abc")),
    (False, IN_ONE, ObjectArrived(NOW, "landing", "ab")),
    (True, ORDERS, OneLakeArrived(NOW, WORKSPACE.upper(), LAKEHOUSE.upper(), "Tables/orders/x")),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders2/x")),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/Orders/x")),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables")),
    (False, IcebergChanged("sales", "orders"), TableChanged(NOW, "sales", "orders")),
    (False, ORDERS, OneLakeArrived(NOW, WORKSPACE, WORKSPACE, "Tables/orders/x")),
    (False, ORDERS, OneLakeArrived(NOW, LAKEHOUSE, LAKEHOUSE, "Tables/orders/x")),
    (
        True,
        OneLakeChanged(WORKSPACE, LAKEHOUSE, "Files/a/"),
        OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Files/a/x"),
    ),
]


@pytest.mark.parametrize(("expected", "source", "arrival"), MATCHES)
def test_a_source_means_what_it_names(expected: bool, source: Source, arrival: Arrival) -> None:
    """Keys and paths are compared undecoded, names of the catalog and UUIDs whatever their case, folders as folders."""
    assert signals(source, arrival) is expected


def test_own_output_signals_nobody_but_others() -> None:
    """What a refresh writes never signals its own target, and does signal who waits for it (rule 11)."""
    own = GlueView(ACCOUNT, "sales", "daily", "s3://views/daily/")
    everything = (S3ObjectCreated("views"), GlueTableChanged("Sales", "Daily"))
    other = GlueView(ACCOUNT, "sales", "weekly")
    both = Configuration((target("own", *everything, resource=own), target("other", *everything, resource=other)))
    assert names(targets_of(ObjectArrived(NOW, "views", "daily/data/x"), both)) == ["other"]
    assert names(targets_of(ObjectArrived(NOW, "views", "daily2/x"), both)) == ["own", "other"]
    assert names(targets_of(TableChanged(NOW, "sales", "daily"), both)) == ["other"]
    assert names(targets_of(TableChanged(NOW, "sales", "DAILY"), both)) == ["other"]


def test_a_view_without_location_hears_its_bucket() -> None:
    """Where the configuration does not say what a view writes, nothing is taken for its output."""
    assert signals(S3ObjectCreated("views"), ObjectArrived(NOW, "views", "daily/x"), VIEW)


def test_each_target_is_signalled_once_in_the_order_of_the_file() -> None:
    """An arrival that several sources of a target mean signals it once; targets come in the order of the file."""
    twice = (S3ObjectCreated("landing", "a"), S3ObjectCreated("landing", "ab"))
    configuration = Configuration(
        (
            target("z", *twice),
            target("y", S3ObjectCreated("landing", "b"), resource=GlueView(ACCOUNT, "sales", "y")),
            target("a", *twice, resource=GlueView(ACCOUNT, "sales", "a")),
        )
    )
    assert names(targets_of(ObjectArrived(NOW, "landing", "abc"), configuration)) == ["z", "a"]


def test_a_folder_signals_whoever_is_above_or_below_it() -> None:
    """Sources that hold the folder, whatever their suffix, and those that lie inside it; not those beside it."""
    prefixes = {"all": "", "above": "a/", "same": "a/b/", "below": "a/b/c/", "beside": "a/c/", "partly": "a/b"}
    configuration = Configuration(
        tuple(
            target(name, BlobCreated("lake", "sales", prefix, ".csv"), resource=GlueView(ACCOUNT, "sales", name))
            for name, prefix in prefixes.items()
        )
    )
    folder = BlobArrived(NOW, "lake", "sales", "a/b/", folder=True)
    assert names(targets_of(folder, configuration)) == ["all", "above", "same", "below", "partly"]


def test_a_signal_has_the_longest_lag_of_the_sources_that_fit() -> None:
    """What one entry of `on` says beyond the target's visibility lag is added to the signal's time."""
    policy = Policy(visibility_lag=timedelta(seconds=10))
    sources = (
        S3ObjectCreated("landing", "a", visibility_lag=timedelta(seconds=40)),
        S3ObjectCreated("landing", "ab", visibility_lag=timedelta(seconds=30)),
        S3ObjectCreated("landing", "c"),
    )
    configuration = Configuration((Target("it", VIEW, policy, on=sources),))

    def extra(key: str) -> float:
        [(_, signal)] = signals_of(ObjectArrived(NOW, "landing", key), configuration)
        return signal.extra_lag.total_seconds()

    assert (extra("abc"), extra("axe"), extra("c")) == (30, 30, 0)


@pytest.mark.parametrize(
    ("paths", "looked"),
    [
        (["Tables/orders"], True),
        (["Tables/dbo/orders"], True),
        (["Files/orders"], False),
        (["Tables"], False),
        (["Tables/dbo", "Tables/dbo/orders"], True),
        (["Tables", "Tables/orders"], False),
    ],
)
def test_an_event_of_a_table_that_is_looked_at_says_so(paths: list[str], looked: bool) -> None:
    """Only where each source that fits is looked at: else a look could not tell of all that the event may mean."""
    sources = [OneLakeChanged(WORKSPACE, LAKEHOUSE, path) for path in paths]
    lakehouse = target("it", *sources, resource=LakeViews(WORKSPACE, LAKEHOUSE))
    off = Target("off", LakeViews(WORKSPACE, "x"), Policy(look=None), on=tuple(sources))
    arrival = OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, f"{paths[-1]}/_delta_log/1.json")
    [(_, signal), (_, unlooked)] = signals_of(arrival, Configuration((lakehouse, off)))
    assert (signal.looked, unlooked.looked) == (looked, False)


def test_no_other_event_says_that_its_source_is_looked_at() -> None:
    """Objects, blobs, jobs, and tables of the catalog, of which a view tells by itself what it read."""
    arrivals = (ObjectArrived(NOW, "b", "k"), TableChanged(NOW, "sales", "orders"), JobSucceeded(NOW, "etl"))
    it = target("it", S3ObjectCreated("b"), GlueTableChanged("sales", "orders"), GlueJobSucceeded("etl"))
    signals_here = [signals_of(arrival, Configuration((it,))) for arrival in arrivals]
    assert [signal.looked for [(_, signal)] in signals_here] == [False, False, False]


BUCKET = [
    S3ObjectCreated("b", prefix, suffix) for prefix in ("", "a", "a/", "a/b/", "b") for suffix in ("", "x", "b/x")
]


@given(st.sets(st.sampled_from(BUCKET)), st.text("ab/x", max_size=8))
def test_the_index_finds_what_comparing_each_source_would(sources: set[S3ObjectCreated], key: str) -> None:
    """Whatever prefixes and suffixes there are, also where both overlap in a short key."""
    every = Configuration(
        tuple(
            target(f"{source.prefix}*{source.suffix}", source, resource=GlueView(ACCOUNT, "sales", str(number)))
            for number, source in enumerate(sources)
        )
    )
    compared = [
        f"{source.prefix}*{source.suffix}"
        for source in sources
        if key.startswith(source.prefix) and key.endswith(source.suffix)
    ]
    assert names(targets_of(ObjectArrived(NOW, "b", key), every)) == compared


def test_an_event_is_not_compared_with_a_thousand_targets() -> None:
    """Only the sources that fit are met, in a bucket of their own and in one that a thousand targets share."""
    views = [GlueView(ACCOUNT, "sales", f"t{n}") for n in range(1000)]
    for sources, arrival in (
        ([S3ObjectCreated(f"bucket-{n}") for n in range(1000)], ObjectArrived(NOW, "bucket-7", "x")),
        ([S3ObjectCreated("all", f"t{n}/", ".json") for n in range(1000)], ObjectArrived(NOW, "all", "t7/x.json")),
        ([BlobCreated("a", "c", f"t{n}/") for n in range(1000)], BlobArrived(NOW, "a", "c", "t7/", folder=True)),
    ):
        many = Configuration(tuple(target(f"t{n}", sources[n], resource=views[n]) for n in range(1000)))
        met = [listener.target.name for listener in _listeners_to(arrival, many.listeners[place_of(arrival)])]
        assert met == names(targets_of(arrival, many)) == ["t7"]


FOLDERS = [
    BlobCreated("a", "c", prefix, suffix) for prefix in ("", "a", "a/", "a/b", "a/b/", "b/") for suffix in ("", "x")
]


@given(st.sets(st.sampled_from(FOLDERS)), st.text("ab/", max_size=6))
def test_the_index_finds_what_comparing_each_source_with_a_folder_would(sources: set[BlobCreated], key: str) -> None:
    """Those whose prefix holds the folder, or lies inside it, whatever the suffix."""
    folder, numbered = f"{key}/", dict(enumerate(sources))
    every = Configuration(
        tuple(
            target(str(number), source, resource=GlueView(ACCOUNT, "sales", str(number)))
            for number, source in numbered.items()
        )
    )
    compared = [
        str(number)
        for number, source in numbered.items()
        if folder.startswith(source.prefix) or source.prefix.startswith(folder)
    ]
    assert names(targets_of(BlobArrived(NOW, "a", "c", folder, folder=True), every)) == compared


class Counted(dict[Affixes, Sequence[Listener]]):
    """An index that counts how often it is asked."""

    asked = 0

    def get(self, affixes: Affixes, default: Any = None) -> Any:
        """Once more."""
        self.asked += 1
        return super().get(affixes, default)


def test_an_event_costs_as_many_look_ups_at_ten_thousand_targets_as_at_ten() -> None:
    """In one bucket that all of them share: a look-up for each length of a prefix and a suffix, none for a target."""
    counts = []
    for size in (10, 10_000):
        every = tuple(
            Target(f"t{n}", GlueView(ACCOUNT, "sales", f"t{n}"), on=(S3ObjectCreated("all", f"{n:05}/", ".json"),))
            for n in range(size)
        )
        counted = Counted(listeners(every)["bucket", "all"].found)
        found = list(_listeners_to(ObjectArrived(NOW, "all", "00007/x.json"), Listeners(counted)))
        assert [listener.target.name for listener in found] == ["t7"]
        counts.append(counted.asked)
    assert counts == [1, 1]


def test_the_end_of_a_run_concerns_what_it_may_have_refreshed() -> None:
    """Glue's event tells a table and no catalog, Fabric's an item and some job: all targets with them are looked at."""
    tables: list[Resource] = [
        GlueView(ACCOUNT, "sales", "daily"),
        GlueView(f"{ACCOUNT}:s3tablescatalog/b", "Sales", "Daily"),
    ]
    items: list[Resource] = [
        LakeViews(WORKSPACE, LAKEHOUSE),
        LakeViews(WORKSPACE, LAKEHOUSE, WORKSPACE),
        ItemJob(WORKSPACE, LAKEHOUSE, "DefaultJob"),
        LakeViews(LAKEHOUSE, LAKEHOUSE),
        ItemJob(WORKSPACE, WORKSPACE, "DefaultJob"),
    ]
    all_of_them: list[Resource] = [*tables, GlueView(ACCOUNT, "sales", "weekly"), *items]
    configuration = Configuration(tuple(target(f"t{n}", resource=one) for n, one in enumerate(all_of_them)))
    assert [one.resource for one in targets_of_end(GlueRunEnded("sales", "DAILY"), configuration)] == tables
    assert targets_of_end(GlueRunEnded("sales", "hourly"), configuration) == ()
    run = FabricRunEnded(WORKSPACE.upper(), LAKEHOUSE.upper(), "1")
    assert [one.resource for one in targets_of_end(run, configuration)] == items[:3]
    assert targets_of_end(FabricRunEnded(LAKEHOUSE, WORKSPACE, "1"), configuration) == ()


REASONS: dict[str, Arrival] = {
    "s3://landing/orders/x.parquet": ObjectArrived(NOW, "landing", "orders/x.parquet"),
    "table sales.orders changed": TableChanged(NOW, "sales", "orders"),
    "job load succeeded": JobSucceeded(NOW, "load"),
    "blob lake/sales/orders/x.csv": BlobArrived(NOW, "lake", "sales", "orders/x.csv"),
    f"Tables/orders/x in item {LAKEHOUSE}": OneLakeArrived(NOW, WORKSPACE, LAKEHOUSE, "Tables/orders/x"),
    r"s3://b/a\n\x1b[31m\u202eß": ObjectArrived(NOW, "b", "a\n\x1b[31m\u202eß"),
    f"s3://b/{'x' * 112}…": ObjectArrived(NOW, "b", "x" * 114),
    f"s3://b/{'x' * 113}": ObjectArrived(NOW, "b", "x" * 113),
}


@pytest.mark.parametrize("expected", REASONS)
def test_reasons_are_worded_for_people(expected: str) -> None:
    """A reason says what arrived where, on one line, with nothing that a terminal would obey."""
    assert reason(REASONS[expected]) == expected


@given(st.text(st.characters()), st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zs"])))
def test_reasons_stay_small_and_printable(key: str, controls: str) -> None:
    """Whatever a key holds, its reason is printable, can be stored, and is at most 120 characters."""
    words = reason(ObjectArrived(NOW, "landing", key + controls + key))
    assert words.isprintable()
    assert words.encode()
    assert len(words) <= LONGEST_REASON == 120


@pytest.mark.parametrize(
    ("source", "arrival"), [(source, arrival) for expected, source, arrival in MATCHES if expected]
)
def test_a_source_listens_where_its_arrivals_happen(source: Source, arrival: Arrival) -> None:
    """The index finds a source by its place alone."""
    assert place_of(source) == place_of(arrival)
