"""The configuration (G6): what loads, what is refused and how it is said, and the schema for editors."""

from __future__ import annotations

import codecs
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.config.load import (
    Configuration,
    ConfigurationError,
    DeploymentSettings,
    FabricSettings,
    Problem,
    SignalSource,
    Workload,
    WorkloadJob,
    _understand,
    json_schema,
    load,
    warnings,
)
from shared.config.parse import _is_table, _plain, _words_for_type
from shared.config.rules import GROUP_KEY_BYTES, LONGEST_KEY
from shared.config.schema import (
    LIMITS,
    AnyTarget,
    BlobCreatedTable,
    DefaultsTable,
    DeploymentTable,
    FabricTable,
    FullRefreshTable,
    GlueJobSucceededTable,
    GlueTable,
    GlueTableChangedTable,
    IcebergChangedTable,
    JobTable,
    OneLakeChangedTable,
    OnTable,
    ParameterTable,
    S3ObjectCreatedTable,
    ScheduleTable,
    SignalSourceTable,
    Table,
    WorkloadTable,
    duration_text,
)
from shared.config.toml_positions import Path as Keys
from shared.targets import (
    BlobCreated,
    Cloud,
    GlueJobSucceeded,
    GlueTableChanged,
    GlueView,
    IcebergChanged,
    ItemJob,
    LakeViews,
    Limits,
    OneLakeChanged,
    Policy,
    Resource,
    S3ObjectCreated,
    Schedule,
    Source,
    Target,
)
from tests.support.toml_text import places_in, toml, toml_document

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "golden" / "config"
EXAMPLE = ROOT / "unstale.example.toml"


def cases(folder: str) -> list[Any]:
    """The files below a folder, found by walking."""
    found = sorted((GOLDEN / folder).rglob("*.toml"))
    assert found, f"no cases in {folder}"
    return [pytest.param(path, id=path.relative_to(GOLDEN).as_posix()) for path in found]


def read(path: Path) -> str:
    """The text as it is, line ends included."""
    return path.read_bytes().decode()


def refused(text: str) -> ConfigurationError:
    """What loading this raises."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return caught.value


BASE = """
[targets.a]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "a"
on = [{ glue_job_succeeded = { job = "load" } }]
schedule = { cron = "0 6 * * *" }
[targets.b]
kind = "glue-view"
catalog_id = "123456789012"
database = "sales"
table = "b"
"""
BASE_IN_UMLAUTS = f"# \n# ä{BASE}"


# --- Whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", cases("good"))
def test_a_good_file_loads(path: Path) -> None:
    """What a file says, in whichever of TOML's spellings, becomes the values beside it."""
    assert load(read(path)) == msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Configuration)


@pytest.mark.parametrize("path", cases("bad/shape") + cases("bad/meaning"))
def test_a_bad_file_is_refused_with_all_that_is_wrong(path: Path) -> None:
    """Every problem is told at once, in the order of the lines: file, line, key, what was found, what is expected."""
    assert str(refused(read(path))) + "\n" == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", cases("bad/syntax"))
def test_what_is_no_toml_is_refused_with_its_line(path: Path) -> None:
    """A file that is no TOML is refused with the line that the parser gives, and nothing worse happens."""
    (problem,) = refused(read(path)).problems
    assert problem.line == int(path.with_suffix(".txt").read_text(encoding="utf-8"))
    assert str(problem).startswith(f"unstale.toml:{problem.line}: found ")


@pytest.mark.parametrize("path", cases("doubtful"))
def test_a_doubtful_file_loads_and_is_warned_of(path: Path) -> None:
    """What a good file most likely does not mean is told by `check`, each once, with line, key and what to write."""
    content = path.read_bytes()
    assert load(content).targets
    told = "".join(f"{warning}\n" for warning in warnings(content))
    assert told == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_the_example_is_warned_of_its_ids_only() -> None:
    """Who deploys the example as it is learns that its ids are nobody's."""
    assert {warning.key.rpartition(".")[2] for warning in warnings(EXAMPLE.read_bytes())} == {"workspace", "catalog_id"}


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_is_read(mark: bytes) -> None:
    """Editors on Windows write one in front of UTF-8."""
    assert load(mark + BASE.encode()) == load(BASE) == load(mark.decode() + BASE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BASE_IN_UMLAUTS.encode("utf-16"), "unstale.toml:1: found UTF-16, expected UTF-8: save"),
        (BASE_IN_UMLAUTS.encode("utf-16-le"), "unstale.toml:1: found UTF-16, expected UTF-8: save"),
        (BASE_IN_UMLAUTS.encode("utf-16-be"), "unstale.toml:1: found UTF-16, expected UTF-8: save"),
        (BASE_IN_UMLAUTS.encode("latin-1"), "unstale.toml:2: found the byte 0xe4, as Latin-1 and Windows-1252 have it"),
    ],
)
def test_other_encodings_are_named(content: bytes, told: str) -> None:
    """A file in UTF-16 or Latin-1 is refused as that, with the line where it shows."""
    with pytest.raises(ConfigurationError) as caught:
        load(content)
    assert str(caught.value).startswith(told)


def test_problems_name_the_file_and_are_values() -> None:
    """Messages call the file what the caller calls it; a program can read them, too."""
    with pytest.raises(ConfigurationError) as caught:
        load("targets = 3", "prod/unstale.toml")
    problem = Problem("prod/unstale.toml", 1, "targets", "3", "a table for each target, one at least")
    assert caught.value.problems == (problem,)
    assert str(caught.value) == "prod/unstale.toml:1: targets: found 3, expected a table for each target, one at least"


def test_the_example_loads_and_shows_every_key() -> None:
    """`unstale.toml` at the root loads as it is, and names every key that there is, in comments at least."""
    text = read(EXAMPLE)
    assert {type(target.resource) for target in load(text).targets} == {GlueView, LakeViews, ItemJob}
    for name, table in json_schema()["$defs"].items():
        for key in table["properties"]:
            assert re.search(rf"\b{key}\b", text), f"{key} of {name}"


def test_what_the_example_comments_out_is_right_too() -> None:
    """With its commented-out keys switched on, the example still loads."""
    switched_on = re.sub(r"^# (?=[\w\[]+\S* +=|\[)", "", read(EXAMPLE), flags=re.MULTILINE)
    assert switched_on.count("\n# ") < read(EXAMPLE).count("\n# ")
    configuration = load(switched_on)
    assert configuration.workload is not None
    lakehouse = configuration.by_name["sales_lakehouse"].resource
    assert isinstance(lakehouse, LakeViews)
    assert lakehouse.execution_definition


def test_the_examples_defaults_are_the_built_in_ones() -> None:
    """What the example calls built in is what holds without it, but for the objective, which it says has none."""
    defaults = tomllib.loads(read(EXAMPLE))["defaults"]
    assert defaults.pop("objective")
    built_in = {key: duration_text(getattr(Policy(), key)) for key in LIMITS if key != "objective"}
    assert defaults == {**built_in, "start": Policy().start}


# --- The values ------------------------------------------------------------------------------------------------------


def test_lookups() -> None:
    """Targets are found by name, and by whom they follow; they keep the order of the file."""
    configuration = load(read(GOLDEN / "good" / "every-key.toml"))
    assert [target.name for target in configuration.targets] == ["view", "later", "views", "notebook"]
    assert configuration.by_name["views"] == configuration.targets[2]
    assert [target.name for target in configuration.followers("view")] == ["later"]
    assert configuration.followers("notebook") == ()


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("[targets.a]", "# a comment\n[targets.c]", True),
        ("[targets.b]", '[targets.b]\ntimeout = "1h"', True),
        ('cron = "0 6 * * *" }', 'cron = "0 6 * * *", timezone = "UTC" }', True),
        ('table = "b"', 'table = "c"', False),
        ('job = "load"', 'job = "load2"', False),
        ("0 6 * * *", "0 7 * * *", False),
        ('cron = "0 6 * * *" }', 'cron = "0 6 * * *", timezone = "Europe/Berlin" }', False),
        ('table = "b"', 'table = "b"\nafter = ["a"]', False),
    ],
)
def test_the_fingerprint_is_that_of_what_planning_depends_on(old: str, new: str, same: bool) -> None:
    """Resources, sources and schedules change the fingerprint; names, limits, order and spelling do not."""
    changed = BASE.replace(old, new)
    assert changed != BASE
    assert (load(changed).fingerprint == load(BASE).fingerprint) is same
    first, second = load(BASE).targets
    assert Configuration((second, first)).fingerprint == load(BASE).fingerprint


def test_identities() -> None:
    """A Fabric target is refreshed as whom `[fabric]` says, a Glue view as the function itself."""
    configuration = load(read(GOLDEN / "good" / "every-key.toml"))
    assert [target.identity for target in configuration.targets] == ["aws", "aws", "user", "user"]


# --- Any configuration -----------------------------------------------------------------------------------------------


def document_of(configuration: Configuration) -> dict[str, Any]:
    """The document that says the same, with everything spelled out."""
    document: dict[str, Any] = {
        "fabric": {
            "identity": configuration.fabric.identity,
            "url_form": configuration.fabric.url_form,
            **without_nothing(configuration.fabric.pace),
        },
        "glue": without_nothing(configuration.glue),
        "deployment": without_nothing(configuration.deployment),
        "targets": {target.name: table_of(target) for target in configuration.targets},
    }
    if configuration.workload:
        jobs = [msgspec.structs.asdict(job) for job in configuration.workload.jobs]
        document["workload"] = {"jobs": [without_blanks(job) for job in jobs]}
        if configuration.workload.tenants:
            document["workload"]["tenants"] = list(configuration.workload.tenants)
    return document


def without_nothing(value: msgspec.Struct) -> dict[str, Any]:
    """The fields of a value that say something."""
    said: dict[str, Any] = json.loads(msgspec.json.encode(value))
    return said


def table_of(target: Target) -> dict[str, Any]:
    """The table of one target."""
    resource = msgspec.to_builtins(target.resource)
    policy: dict[str, Any] = {
        key: duration_text(value) for key in LIMITS if (value := getattr(target.policy, key)) is not None
    }
    policy |= {"look": policy.get("look", "off"), "start": target.policy.start}
    if target.policy.max_starts_per_day:
        policy["max_starts_per_day"] = target.policy.max_starts_per_day
    full = msgspec.to_builtins(target.full_schedule) if target.full_schedule else {}
    if target.policy.after_failures:
        full["after_failures"] = target.policy.after_failures
    said = {
        "schedule": msgspec.to_builtins(target.schedule),
        "full_refresh": full,
        "on": [entry_of(source) for source in target.on],
        "after": [*target.after],
    }
    return resource | policy | {key: value for key, value in said.items() if value}


def entry_of(source: Source) -> dict[str, Any]:
    """The entry of `on`: the source, and its own visibility lag beside it."""
    fields = msgspec.structs.asdict(source)
    lag = fields.pop("visibility_lag")
    entry: dict[str, Any] = {str(source.__struct_config__.tag): without_blanks(fields)}
    return entry | ({"visibility_lag": duration_text(lag)} if lag else {})


def without_blanks(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what is empty, which a file leaves out."""
    return {key: value for key, value in table.items() if value != ""}


WHOLE_SECONDS = partial(st.integers, min_value=2, max_value=30 * 86_400)
DURATIONS = WHOLE_SECONDS().map(lambda seconds: timedelta(seconds=seconds))
UUIDS = st.uuids().map(str)
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\ufffe", "\uffff"]),
    min_size=1,
    max_size=20,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])
SCHEDULES = st.builds(Schedule, st.sampled_from(["0 6 * * *", "*/5 * * * MON-FRI", "0 0 29 2 *"]), ZONES)
CATALOGS = st.sampled_from(["123456789012", "210987654321:s3tablescatalog/tables"])
DATA = st.recursive(
    st.booleans() | TEXTS | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)

# Sources never name what a target of these writes: tables, buckets, items and containers of their own.
AWS_SOURCES = st.one_of(
    st.builds(S3ObjectCreated, st.sampled_from(["landing", "a.b-c"]), TEXTS, TEXTS),
    st.builds(GlueTableChanged, NAMES.map(lambda name: f"raw-{name}"), NAMES, st.just("") | CATALOGS),
    st.builds(GlueJobSucceeded, NAMES),
    st.builds(IcebergChanged, NAMES.map(lambda name: f"raw-{name}"), NAMES, st.just("") | CATALOGS),
)
AZURE_SOURCES = st.one_of(
    st.builds(BlobCreated, st.just("contosolake"), st.sampled_from(["sales", "$web"]), TEXTS, TEXTS),
    st.builds(OneLakeChanged, UUIDS, UUIDS, st.sampled_from(["Tables", "Tables/dbo/orders", "Files/ä b"])),
)
LOCATIONS = st.sampled_from(["", "s3://views/", "s3://views/a b/"])
VIEWS = st.builds(GlueView, CATALOGS, NAMES, NAMES, LOCATIONS)
LAKE_VIEWS = st.builds(LakeViews, UUIDS, UUIDS, st.just("") | UUIDS)
PARAMETERS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "type": st.just("Automatic"), "value": DATA}),
    min_size=1,
    max_size=3,
    unique_by=lambda parameter: str(parameter["name"]).casefold(),
)
JOBS = st.builds(
    ItemJob,
    UUIDS,
    UUIDS,
    st.sampled_from(["DefaultJob", "Contoso.Job-1_a"]),
    st.none() | st.dictionaries(TEXTS, DATA, max_size=3),
    st.none() | PARAMETERS,
)


@st.composite
def policies(draw: st.DrawFn, after_failures: st.SearchStrategy[int | None]) -> Policy:
    """Durations within their limits, the maximum wait not below the visibility lag."""
    lag, wait = sorted([draw(DURATIONS), draw(DURATIONS)])
    timeout = draw(DURATIONS.map(lambda duration: max(duration, timedelta(minutes=1))))
    objective = draw(st.none() | DURATIONS)
    look = draw(st.none() | DURATIONS.map(lambda duration: max(duration, timedelta(minutes=1))))
    starts: list[Literal["quiet", "just-in-time"]] = ["quiet"]
    if objective and objective > (look or timedelta(0)) + lag + timedelta(minutes=2):
        starts.append("just-in-time")
    return Policy(
        *(draw(DURATIONS), wait, draw(DURATIONS), lag, timeout, objective, draw(after_failures), look),
        start=draw(st.sampled_from(starts)),
        max_starts_per_day=draw(st.none() | st.integers(1, 1_000_000)),
    )


@st.composite
def targets(draw: st.DrawFn, resource: Resource, name: str, earlier: list[str]) -> Target:
    """A target after some of those before it on its cloud."""
    is_view = isinstance(resource, GlueView)
    sources: st.SearchStrategy[Source] = AWS_SOURCES if is_view else AZURE_SOURCES
    policy = draw(policies(st.none() | st.integers(1, 1000) if is_view else st.none()))
    lags = st.sampled_from([None, policy.visibility_lag, policy.max_wait])
    return Target(
        name=name,
        resource=resource,
        policy=policy,
        on=tuple(
            msgspec.structs.replace(source, visibility_lag=draw(lags)) for source in draw(st.lists(sources, max_size=3))
        ),
        after=tuple(draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))) if earlier else (),
        schedule=draw(st.none() | SCHEDULES),
        full_schedule=draw(st.none() | SCHEDULES) if is_view else None,
        identity="aws" if is_view else "user",
    )


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Configurations without contradictions."""
    resources = draw(st.lists(VIEWS | LAKE_VIEWS | JOBS, min_size=1, max_size=4, unique_by=lambda one: one.key.lower()))
    found: list[Target] = []
    for number, resource in enumerate(resources):
        name = draw(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)) + str(number)
        here = isinstance(resource, GlueView)
        earlier = [other.name for other in found if isinstance(other.resource, GlueView) is here]
        found.append(draw(targets(resource, name, earlier)))
    on_azure = [target.name for target in found if not isinstance(target.resource, GlueView)]
    jobs = st.builds(
        WorkloadJob, st.just("Item"), st.just("Job"), st.sampled_from(on_azure or [""]), st.just("") | UUIDS
    )
    some_jobs = st.lists(jobs, min_size=1, max_size=3, unique_by=lambda job: job.item).map(tuple)
    some_tenants = st.lists(UUIDS.map(str.lower), max_size=2, unique=True).map(tuple)
    workload = draw(st.none() | st.builds(Workload, some_jobs, some_tenants)) if on_azure else None
    pace = Limits(7, 50, draw(st.none() | st.just(9)))
    fabric = FabricSettings("user", draw(st.sampled_from(["query", "path"])), pace)
    senders = draw(st.sampled_from([(), (SignalSource("123456789012", "contoso.etl"),)]))
    stack = draw(st.sampled_from(["", "unstale", "sub/group/unstale", "unstale sub/group/unstale"]))
    deployment = DeploymentSettings(stack, senders, draw(st.none() | st.just(5)))
    glue = draw(st.sampled_from([Limits(), Limits(40, 30, 20)]))
    return Configuration(tuple(found), fabric, workload, glue, deployment)


@given(configurations())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_any_configuration_loads_back_from_its_file(configuration: Configuration) -> None:
    """What a file spells out in full is what is loaded from it, and editors accept it."""
    document = document_of(configuration)
    text = "\n".join(f"{key} = {toml(value)}" for key, value in document.items())
    loaded = load(text)
    assert loaded == configuration
    assert loaded.fingerprint == configuration.fingerprint
    SCHEMA.validate(document)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=1), "1s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=25), "25h"),
        (timedelta(days=30), "30d"),
        (timedelta(0), "0d"),
    ],
)
def test_durations_are_shown_in_the_largest_unit_that_fits(duration: timedelta, text: str) -> None:
    """A message gives a duration as the file would."""
    assert duration_text(duration) == text


# --- Files gone wrong ------------------------------------------------------------------------------------------------

EVERY_KEY = tomllib.loads(read(GOLDEN / "good" / "every-key.toml"))
ODD_VALUES: list[Any] = [
    *("", "a", "30s", "view", "views", "4b218778-e7a5-4d73-8187-f10824047715", "Tables", "glue-view", "0 6 * * *"),
    *(0, -1, 2**70, 1.5, float("nan"), True, [], ["view"], [{}], {}, {"kind": "glue-view"}, {"cron": "x"}),
    *(datetime(2026, 1, 1), date(2026, 1, 1), time(6)),  # noqa: DTZ001 - TOML has local times
]


def changed(document: dict[str, Any], keys: Keys, change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """A copy of the document in which `change(container, key)` was done."""
    copy: Any = tomllib.loads(toml_document(document))
    inner = copy
    for key in keys[:-1]:
        inner = inner[key]
    change(inner, keys[-1])
    result: dict[str, Any] = copy
    return result


@given(st.data(), st.sampled_from(list(places_in(EVERY_KEY))), st.sampled_from(ODD_VALUES))
def test_a_file_with_one_change_is_judged(data: st.DataObject, keys: Keys, odd: object) -> None:
    """One value replaced, removed or added anywhere: the file loads, or each problem has a line and words.

    What editors refuse is refused, and what loads is good for editors.
    """

    def change(container: Any, key: Any) -> None:
        what = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "remove":
            del container[key]
        elif what == "add" and isinstance(container, dict):
            container["odd"] = odd
        else:
            container[key] = odd

    document = changed(EVERY_KEY, keys, change)
    text = toml_document(document)
    try:
        load(text)
    except ConfigurationError as bad:
        problems = bad.problems
    else:
        SCHEMA.validate(document)
        return
    assert problems
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in problems)
    assert all(problem.found and problem.expected for problem in problems)


@given(st.text(st.sampled_from("targets.on=[]{}\"' \n#x1\\u0")) | st.text())
def test_any_text_is_judged(text: str) -> None:
    """No text is a good configuration by chance, or breaks anything: it is refused."""
    assert refused(text).problems


def test_many_problems_are_told_as_well() -> None:
    """A file in which a thousand targets are wrong is told a thousand problems."""
    wrong = "".join(f'[targets.t{n}]\nkind = "glue-view"\ncatalog_id = "{n}"\n' for n in range(1000))
    assert len(refused(wrong).problems) == 3000


def test_a_long_chain_is_no_cycle() -> None:
    """A thousand targets, each after the one before, load; closed to a ring, the message names it."""
    chain = "".join(
        f'[targets.t{n}]\nkind = "glue-view"\ncatalog_id = "123456789012"\ndatabase = "d"\ntable = "t{n}"\n'
        f"after = [{toml(f't{n - 1}')}]\n"
        for n in range(1, 1000)
    )
    first = '[targets.t0]\nkind = "glue-view"\ncatalog_id = "123456789012"\ndatabase = "d"\ntable = "t0"\n'
    assert len(load(first + chain).targets) == 1000
    (problem,) = refused(f'{first}after = ["t999"]\n{chain}').problems
    assert problem.key == "targets.t0.after[0]"
    assert problem.found == "a cycle: " + " -> ".join(f"t{n % 1000}" for n in range(1001))


OWN_CATALOG = """
[targets.one]
kind = "glue-view"
catalog_id = "111122223333"
database = "sales"
table = "one"
on = [{ iceberg_changed = { database = "sales", table = "two"%s } }]

[targets.two]
kind = "glue-view"
catalog_id = "111122223333:s3tablescatalog/lake"
database = "sales"
table = "two"
on = [{ iceberg_changed = { database = "sales", table = "one"%s } }]
"""


def test_a_table_without_a_catalog_is_in_the_views_own() -> None:
    """Two views of two catalogs that read tables of their own catalogs, each named like the other view: no cycle."""
    assert len(load(OWN_CATALOG % ("", "")).targets) == 2
    lake, account = ', catalog_id = "111122223333:s3tablescatalog/lake"', ', catalog_id = "111122223333"'
    (problem,) = refused(OWN_CATALOG % (lake, account)).problems
    assert problem.found == "a cycle: one -> two -> one"


def test_a_table_counts_with_the_catalog_of_its_view_as_it_is_stored() -> None:
    """The key of its group has the view's catalog, and a name that is too long with it is refused."""
    text = OWN_CATALOG % ("", "")
    most = LONGEST_KEY[Cloud.AWS] - GROUP_KEY_BYTES - len("111122223333%3As3tablescatalog%2Flake")
    for spare, good in ((0, True), (1, False)):
        database = "漢" * (most // 9) + "x" * (most % 9 + spare)
        long = text.replace('{ database = "sales", table = "one" }', f'{{ database = "{database}", table = "x" }}')
        if good:
            assert load(long).targets
        else:
            (problem,) = refused(long).problems
            assert problem.key == "targets.two.on[0].iceberg_changed.database"


# --- Editors ---------------------------------------------------------------------------------------------------------

SCHEMA = jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_one() -> None:
    """What comes out is JSON, and a JSON Schema by the rules of its version."""
    assert json.loads(json.dumps(json_schema())) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    "table",
    [
        *get_args(AnyTarget),
        *(S3ObjectCreatedTable, GlueTableChangedTable, GlueJobSucceededTable, BlobCreatedTable, OneLakeChangedTable),
        *(FabricTable, FullRefreshTable, GlueTable, IcebergChangedTable, JobTable, OnTable, ParameterTable),
        *(DefaultsTable, DeploymentTable, ScheduleTable, SignalSourceTable, WorkloadTable),
    ],
    ids=lambda table: table.__name__,
)
def test_everything_says_what_is_expected(table: type[Table]) -> None:
    """A message about any key says what to write, and calls nothing a table that is none."""
    for field in msgspec.structs.fields(table):
        expected = _words_for_type(field.type)
        plain = _plain(field.type)
        assert (expected == "a table") is (get_origin(plain) is dict or _is_table(plain)), field.name


def test_the_schema_describes_everything() -> None:
    """Every table and every key says what it is for; editors show it."""
    for name, table in json_schema()["$defs"].items():
        assert table["description"].endswith("."), name
        assert not table["additionalProperties"], name
        for key, value in table["properties"].items():
            assert key == "kind" or value["description"].endswith("."), f"{name}.{key}"


def test_the_schema_knows_what_is_built_in() -> None:
    """An editor offers each default, which is the one that holds where a file says nothing."""
    offered = {
        key: value["default"]
        for key, value in json_schema()["$defs"]["DefaultsTable"]["properties"].items()
        if "default" in value
    }
    said = "\n".join(f"{key} = {toml(value)}" for key, value in offered.items())
    assert offered.keys() >= {"quiet_period", "max_wait", "min_interval", "visibility_lag", "timeout", "look", "start"}
    assert load(f"[defaults]\n{said}\n{BASE}") == load(BASE)


def places_of(error: jsonschema.ValidationError) -> Keys:
    """Where an editor draws its line: at a value, or at the table that has a key too many or too few."""
    return tuple(error.absolute_path)


@pytest.mark.parametrize("path", cases("bad/shape"))
def test_the_schema_marks_the_wrong_key_at_its_place(path: Path) -> None:
    """Each mistake of shape is marked at its key, or at the table where one is unknown or missing; nothing else is."""
    document = tomllib.loads(read(path))
    marked = {places_of(error) for error in SCHEMA.iter_errors(document)}
    told = {mistake.path for mistake in _understand(document).mistakes}
    assert all({place, place[:-1]} & marked for place in told)
    assert marked <= told | {place[:-1] for place in told}


GOOD_FILES = [*(GOLDEN / "good").glob("*.toml"), *(GOLDEN / "doubtful").glob("*.toml"), EXAMPLE]


@pytest.fixture(name="schema_file", scope="module")
def schema_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `unstale check --schema` prints, as a file for the tools of editors."""
    file = tmp_path_factory.mktemp("schema") / "unstale.schema.json"
    file.write_text(json.dumps(json_schema()), encoding="utf-8")
    return file


def tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment."""
    found = Path(sys.executable).with_name(name)
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)


def judged(name: str, schema_file: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """What `taplo` or `check-jsonschema` says of these files."""
    if name == "taplo":
        return tool(name, "lint", "--no-auto-config", "--schema", schema_file.as_uri(), *files)
    return tool(name, "--schemafile", schema_file, *files)


@pytest.mark.parametrize("name", ["taplo", "check-jsonschema"])
def test_tools_that_are_not_ours_accept_good_files(name: str, schema_file: Path) -> None:
    """`taplo`, which editors run, and `check-jsonschema` find nothing wrong with what loads."""
    done = judged(name, schema_file, *GOOD_FILES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["taplo", "check-jsonschema"])
def test_tools_that_are_not_ours_refuse_bad_files(name: str, schema_file: Path) -> None:
    """Each file of another shape is named by both."""
    bad = sorted((GOLDEN / "bad" / "shape").glob("*.toml"))
    done = judged(name, schema_file, *bad)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert {file.name for file in bad if file.name not in said} == set()


@pytest.mark.parametrize("path", [*cases("good"), pytest.param(EXAMPLE, id="example")])
def test_the_schema_accepts_good_files(path: Path) -> None:
    """An editor marks nothing in a file that loads."""
    SCHEMA.validate(tomllib.loads(read(path)))


@pytest.mark.parametrize("path", cases("bad/shape"))
def test_the_schema_refuses_files_of_another_shape(path: Path) -> None:
    """What is wrong within one key, an editor marks; the rest `unstale check` tells."""
    document = tomllib.loads(read(path))
    marked = {error.absolute_path[0] if error.absolute_path else None for error in SCHEMA.iter_errors(document)}
    told = {problem.key.partition(".")[0] for problem in refused(read(path)).problems}
    assert marked
    assert {key for key in marked if key} <= told


# --- Cold start ------------------------------------------------------------------------------------------------------


def test_the_indexes_can_be_built_before_an_event_needs_them() -> None:
    """Lambda gives a start a whole processor, whatever the function's memory; afterwards nothing more is built."""
    configuration = load((GOLDEN / "good" / "every-key.toml").read_text(encoding="utf-8"))
    configuration.build()
    assert {"by_name", "by_output", "listeners", "senders"} <= vars(configuration).keys()


WHAT_IS_IMPORTED = """
import sys
from pathlib import Path
from shared.config.load import ConfigurationError, load
load(Path(sys.argv[1]).read_text(encoding="utf-8"))
print(*sys.modules)
"""


@pytest.mark.parametrize(("path", "imported"), [("near-misses", False), ("every-key", True)])
def test_a_cold_start_pays_only_for_what_it_needs(path: str, imported: bool) -> None:
    """Cron and time zones are imported for a configuration with schedules only, spelling help for bad ones only."""
    file = str(GOLDEN / "good" / f"{path}.toml")
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, file], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules = set(done.stdout.split())
    assert {"shared.config.load", "tomllib", "msgspec"} <= modules
    assert ({"cronsim", "zoneinfo"} <= modules) is imported
    assert not modules & {"difflib", "jsonschema", "boto3", "json"}
