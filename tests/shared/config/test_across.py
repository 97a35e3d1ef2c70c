"""`[across]`: which function signals which followers on the other cloud, and what is refused or doubted."""

from __future__ import annotations

import pytest

from shared.config.across import MOST_FOLLOWERS
from shared.config.load import Configuration, ConfigurationError, load, warnings
from shared.destinations import Destination
from shared.targets import Cloud

ACROSS = """
[across.azure]
url = "https://unstale.azurewebsites.net/"
key_secret = "unstale/azure"

[across.aws]
role = "arn:aws:iam::123456789012:role/unstale-from-azure"
region = "eu-central-1"
audience = "api://unstale-aws"
"""


def view(name: str, *after: str) -> str:
    """A target on AWS."""
    place = 'catalog_id = "123456789012"\ndatabase = "sales"'
    return f'[targets.{name}]\nkind = "glue-view"\n{place}\ntable = "{name}"\nafter = {list(after)}\n'


def job(name: str, *after: str) -> str:
    """A target on Azure."""
    ids = 'workspace = "4b218778-e7a5-4d73-8187-f10824047715"\nitem = "431e8d7b-4a95-4c02-8ccd-6faef5ba1bd7"'
    return f'[targets.{name}]\nkind = "fabric-item-job"\n{ids}\njob_type = "{name}"\nafter = {list(after)}\n'


def read(*parts: str) -> Configuration:
    """A configuration of these parts, with a way to each cloud; a target that comes after none says nothing of it."""
    return load("\n".join((ACROSS, *parts)).replace("after = []\n", ""))


TWO_CLOUDS = (view("orders"), job("report", "orders"), view("summary", "report", "orders"), job("local", "report"))


def test_each_function_signals_the_followers_on_the_other_cloud() -> None:
    """Those on its own cloud it knows without; one that follows on both clouds is signalled from each."""
    configuration = read(*TWO_CLOUDS)
    url, role = "https://unstale.azurewebsites.net", "arn:aws:iam::123456789012:role/unstale-from-azure"
    to_azure = Destination("azure", ("refreshed",), "signal", url=url, key_secret="unstale/azure")
    to_aws = Destination(
        "aws", ("refreshed",), "signal", role=role, region="eu-central-1", audience="api://unstale-aws"
    )
    aws, azure = configuration.package(Cloud.AWS), configuration.package(Cloud.AZURE)
    [report], [summary] = aws.destinations, azure.destinations
    assert (report.follower, report.upstreams, report.site_digest) == ("report", ("orders",), to_azure.digest)
    assert (summary.follower, summary.upstreams, summary.site_digest) == ("summary", ("report",), to_aws.digest)
    assert [target.name for target in aws.followers("orders")] == ["summary"]
    assert [target.name for target in azure.followers("report")] == ["local"]


def test_only_what_followers_want_is_told_of_their_upstreams() -> None:
    """No other target notes an event for them; with `[[tell]]` both are noted."""
    package = read(*TWO_CLOUDS).package(Cloud.AWS)
    assert package.kinds_of("orders") == {"refreshed"}
    assert package.kinds_of("summary") == frozenset()
    told = read('[[tell]]\nto = "eventbridge"\non = ["late"]', *TWO_CLOUDS).package(Cloud.AWS)
    assert told.kinds_of("orders") == {"late", "refreshed"}
    assert told.kinds_of("summary") == {"late"}


def test_a_follower_more_on_the_other_cloud_has_its_upstream_refreshed_once() -> None:
    """What ended between the two deployments was told to nobody; a follower's name and one here change nothing."""
    before = read(view("orders"), job("report", "orders"))
    renamed = read(view("orders"), job("report", "orders").replace("[targets.report]", "[targets.another]"))
    alone = read(view("orders"), job("report"))
    here = read(view("orders"), job("report"), view("summary", "orders"))
    definition = before.by_name["orders"].definition
    assert definition != alone.by_name["orders"].definition
    assert definition == renamed.by_name["orders"].definition
    assert alone.by_name["orders"].definition == here.by_name["orders"].definition


def test_where_senders_are_named_the_function_on_azure_is_one() -> None:
    """Else its signals would be dead letters; where nobody is named, anybody may send, as before."""
    named = '[deployment]\nsignal_sources = [{ account = "210987654321", source = "contoso.etl" }]\n'
    assert read(named, *TWO_CLOUDS).senders == {("210987654321", "contoso.etl"), ("123456789012", "unstale.azure")}
    assert read(*TWO_CLOUDS).senders == frozenset()
    without = load(named + view("orders").replace("after = []\n", ""))
    assert without.senders == {("210987654321", "contoso.etl")}


def test_more_followers_than_a_record_has_room_for_are_refused_with_the_way_on() -> None:
    """The record of the upstream says of each how far it was told."""
    jobs = [job(f"report{number}", "orders") for number in range(MOST_FOLLOWERS)]
    read(view("orders"), *jobs)
    with pytest.raises(ConfigurationError) as refused:
        read(view("orders"), *jobs, job("one_more", "orders"))
    [problem] = refused.value.problems
    assert (problem.key, problem.found) == ("targets.orders", "101 targets on the other cloud that come after it")
    assert problem.expected.startswith("at most 100: have one of them come after it")


def test_a_way_that_nobody_takes_is_doubted() -> None:
    """It is set up in vain, or `after` was forgotten."""
    text = "\n".join((ACROSS, view("orders"), job("report", "orders"))).replace("after = []\n", "")
    [doubt] = [each for each in warnings(text) if each.key.startswith("across")]
    assert (doubt.key, doubt.expected) == ("across.aws", "a target on aws after one elsewhere")
    assert not [
        each for each in warnings(ACROSS + "".join(TWO_CLOUDS).replace("after = []\n", "")) if "across" in each.key
    ]


def test_a_cycle_over_both_clouds_is_refused() -> None:
    """Each would refresh the other for ever."""
    with pytest.raises(ConfigurationError, match="a cycle: orders -> report -> orders"):
        read(view("orders", "report"), job("report", "orders"))
