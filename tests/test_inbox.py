"""What becomes of each delivered message: done, to come back, or a dead letter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.inbox import DONE, Judged, Verdict, stays_away, take
from shared.model import JobSucceeded, ObjectArrived, State, Wake
from shared.ports import StoreDown
from shared.readings import (
    Arrived,
    Asked,
    FabricRunEnded,
    GlueRunEnded,
    Ignored,
    Malformed,
    Reading,
    Ticked,
    Woken,
)
from tests.core import NOON, Stage, a_target, at


@pytest.fixture
def stage() -> Stage:
    """Two targets of which nothing is owed."""
    found = Stage(a_target("a"), a_target("b"))
    for name in ("a", "b"):
        found.put(State(), name)
    return found


def arrival(bucket: str) -> Arrived:
    """An object in the bucket of that target."""
    return Arrived((ObjectArrived(NOON, bucket, "key"),))


def breaking(stage: Stage, name: str) -> None:
    """The store does not take that target's record."""

    def refuse(key: str) -> None:
        if key == stage.target(name).key:
            raise StoreDown("no answer")

    stage.store.before_save = refuse


def test_a_batch_is_one_write_for_each_target_that_it_concerns(stage: Stage) -> None:
    """However many messages there are."""
    saves = stage.store.saves
    assert take(stage.engine, [arrival("a")] * 10 + [arrival("b")]) == (DONE,) * 11
    assert stage.store.saves == saves + 2
    assert ("signalled", {"signals": 10, "absorbed": 9}) in [(h.what, dict(h.fields)) for h in stage.told]


def test_trouble_with_one_target_sends_back_its_messages_alone(stage: Stage) -> None:
    """With the exception, for the log."""
    breaking(stage, "a")
    first, second, third = take(stage.engine, [arrival("a"), arrival("b"), arrival("a")])
    assert (first.verdict, second, third) == (Verdict.RETRY, DONE, first)
    assert isinstance(first.cause, StoreDown)
    assert stage.state("b").owed


@pytest.mark.parametrize(
    "reading",
    [
        Ignored("Object Tags Added"),
        arrival("elsewhere"),
        Arrived((JobSucceeded(NOON, "job"),)),
        GlueRunEnded("sales", "elsewhere"),
        FabricRunEnded("w", "i", "r"),
    ],
)
def test_what_concerns_nobody_is_done(stage: Stage, reading: Reading) -> None:
    """And costs nothing."""
    saves = stage.store.saves
    assert take(stage.engine, [reading]) == (DONE,)
    assert stage.store.saves == saves


def test_a_hint_about_a_target_is_a_look(stage: Stage) -> None:
    """It signals nothing."""
    assert take(stage.engine, [GlueRunEnded("sales", "a")]) == (DONE,)
    assert stage.state("a").owed is None


@pytest.mark.parametrize(("reading", "why"), [(Malformed("no key"), "no key"), (Asked("c", NOON), "has no target 'c'")])
def test_what_can_never_be_carried_out_is_a_dead_letter(stage: Stage, reading: Reading, why: str) -> None:
    """At once, with the reason."""
    [judged] = take(stage.engine, [reading])
    assert (judged.verdict, why in judged.why) == (Verdict.DEAD, True)


@pytest.mark.parametrize("by_person", [False, True])
def test_a_refresh_that_is_asked_for_is_owed(stage: Stage, *, by_person: bool) -> None:
    """And marked, so that only a run of ours from now on covers it."""
    assert take(stage.engine, [Asked("a", at(0), full=True, by_person=by_person)]) == (DONE,)
    owed = stage.state("a").owed
    assert owed
    assert (owed.full, owed.asked) == (True, True)


@pytest.mark.parametrize("reading", [Ticked(), Woken(Wake("k", NOON, "7"))])
def test_ticks_and_wakes_are_done_or_come_back(stage: Stage, reading: Any) -> None:
    """Nothing else would bring them."""
    assert take(stage.engine, [reading]) == (DONE,)

    def down(_key: str) -> Any:
        raise StoreDown("no answer")

    stage.store.load = down  # type: ignore[method-assign, assignment]
    [judged] = take(stage.engine, [reading])
    assert judged == Judged(Verdict.RETRY, "StoreDown: no answer", judged.cause)


# --- Coming back -----------------------------------------------------------------------------------------------------


def test_a_message_comes_back_soon_for_half_an_hour_and_then_less_often() -> None:
    """Half a minute each time at first, and never longer than what a person who mended the cause would wait for."""
    assert sum((stays_away(receives) for receives in range(1, 60)), timedelta(0)) == timedelta(minutes=29, seconds=30)
    assert {stays_away(receives) for receives in range(1, 60)} == {timedelta(seconds=30)}
    assert {stays_away(receives) for receives in (60, 61, 1000)} == {timedelta(minutes=5)}
