"""`after` across clouds, end to end: a refresh on one cloud is followed by one on the other, once, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.two_clouds import TwoClouds, two_clouds


@pytest.fixture(name="here")
def both_sides() -> Iterator[TwoClouds]:
    """Both sides, where nothing is owed."""
    with two_clouds() as here:
        for name in ("orders", "local", "summary"):
            assert here.aws.state(name).fresh_as_of
            assert here.aws.state(name).owed is None
        assert here.azure.state("report").fresh_as_of
        assert here.azure.state("report").owed is None
        yield here


def test_a_refresh_on_aws_is_followed_on_azure_and_that_one_on_aws(here: TwoClouds) -> None:
    """Each once, after the end of the other, with data of one arrival."""
    before = {name: here.starts(name) for name in ("orders", "local", "summary")}
    fabric = here.azure.starts()
    here.arrive()
    here.minutes(8)
    assert {name: here.starts(name) - number for name, number in before.items()} == dict.fromkeys(before, 1)
    assert here.azure.starts() - fabric == 1
    orders, report, summary = here.aws.state("orders"), here.azure.state("report"), here.aws.state("summary")
    assert orders.fresh_as_of < report.fresh_as_of < summary.fresh_as_of
