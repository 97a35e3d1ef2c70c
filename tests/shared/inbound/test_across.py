"""Requests of an upstream on the other cloud: of the time at which its run ended, and nobody is taken to have asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.inbound import eventbridge, eventgrid
from shared.inbound.messages import Asked, Malformed, Message
from shared.refresh.state import Signal

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENDED = NOW - timedelta(minutes=7)
END = "2026-11-28T11:53:00Z"
UPSTREAM = {"upstream": "orders", "time": END}

Read = Callable[[dict[str, Any]], Message]


def on_aws(signal: dict[str, Any]) -> Message:
    """As the function on Azure puts a signal on the bus."""
    event = {
        "detail-type": "unstale.signal",
        "source": "unstale.azure",
        "account": "123456789012",
        "time": "2026-11-28T11:59:59Z",
        "detail": {"target": "daily", **signal},
    }
    return eventbridge.read(json.dumps(event), NOW)


def own_on_aws(signal: dict[str, Any]) -> Message:
    """As a direct invocation."""
    return eventbridge.read({"refresh": "daily", **signal}, NOW)


def on_azure(signal: dict[str, Any]) -> Message:
    """As the route makes a message of ours of a body."""
    return eventgrid.read({"refresh": "daily", **signal}, NOW)


@pytest.mark.parametrize("read", [on_aws, own_on_aws, on_azure])
def test_a_followers_signal_has_the_time_of_the_upstreams_end(read: Read) -> None:
    """Any run that was claimed later covers it; nobody is taken to have asked, and no blocked target is probed."""
    found = read(UPSTREAM)
    assert isinstance(found, Asked)
    assert (found.target, found.by_person) == ("daily", False)
    assert found.signal == Signal(ENDED, "after orders")


@pytest.mark.parametrize("read", [on_aws, own_on_aws, on_azure])
@pytest.mark.parametrize("signal", [{}, {"time": END}, {"upstream": "", "time": END}])
def test_without_an_upstream_a_request_is_somebodys(read: Read, signal: dict[str, Any]) -> None:
    """Of the time of its receipt, and only a run that is claimed afterwards covers it."""
    found = read(signal)
    assert isinstance(found, Asked)
    assert (found.signal.time, found.signal.asked) == (NOW, True)


def test_a_signal_on_the_bus_still_says_who_sent_it() -> None:
    """For `signal_sources`."""
    found = on_aws(UPSTREAM)
    assert isinstance(found, Asked)
    assert found.sender == ("123456789012", "unstale.azure")


@pytest.mark.parametrize("read", [on_aws, on_azure])
def test_a_long_name_is_cut_where_people_see_it(read: Read) -> None:
    """A record keeps a few reasons, and must stay small."""
    found = read({**UPSTREAM, "upstream": "x" * 300})
    assert isinstance(found, Asked)
    assert len(found.reason) <= 100


@pytest.mark.parametrize(
    ("read", "signal", "why"),
    [
        (on_aws, {"upstream": "orders"}, "Object missing required field `detail.time`"),
        (on_aws, {"upstream": "orders", "time": "noon"}, "$.detail.time"),
        (on_aws, {"upstream": 1, "time": END}, "upstream"),
        (on_azure, {"upstream": "orders"}, "Object missing required field `time`"),
        (on_azure, {"upstream": "orders", "time": "noon"}, "$.time"),
    ],
)
def test_a_signal_without_a_time_is_refused_with_the_place(read: Read, signal: dict[str, Any], why: str) -> None:
    """It would fold into nothing, or into everything."""
    found = read(signal)
    assert isinstance(found, Malformed)
    assert why in found.why
