"""Rule 12: which package is current, and who becomes so."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh import deployment, records
from shared.refresh.deployment import (
    TAKES_OVER,
    Standing,
    begin_again,
    change,
    join,
    load,
    note_progress,
    note_tick,
    standing_of,
)
from shared.refresh.ports import ATTEMPTS, Conflict, ContendedError
from shared.refresh.state import Deployment, Edition, Rollout, State
from shared.targets import Package
from shared.version import VERSION
from tests.support.core import NOON, HookedStore, at, is_rolled_out

MONDAY, TUESDAY = NOON - timedelta(days=2), NOON - timedelta(days=1)
OLDER = Package((), "older", MONDAY)
NEWER = Package((), "newer", TUESDAY)
LATEST = Deployment(edition=Edition(7, "newer", TUESDAY), version=VERSION)
UPDATED = replace(LATEST, ticked_at=NOON, older_ticks={"older": NOON})
"""The newer package became the edition just after the older one ticked at noon."""


def ticks(known: Deployment, package: Package, *seconds: float) -> Deployment:
    """What the record becomes by ticks of a package at these seconds after noon."""
    for second in seconds:
        known = note_tick(known, package, at(second))
    return known


def test_the_first_package_is_the_first_edition() -> None:
    """Also where release 1 left a record without one."""
    first = Deployment(edition=Edition(1, "older", MONDAY), rollout=Rollout(), version=VERSION)
    assert join(Deployment(), OLDER) == first


def test_a_later_generation_is_the_next_edition() -> None:
    """Whatever it finds: a rollout that is not over, a note of older ticks."""
    known = replace(LATEST, edition=Edition(7, "older", MONDAY), rollout=Rollout("key"))
    after = replace(known, edition=Edition(8, "newer", TUESDAY), rollout=Rollout())
    assert join(known, NEWER) == after


def test_whoever_ticked_before_a_new_edition_is_older_from_then_on() -> None:
    """The last tick before it was of a package that is older now: its workers may go on for a while."""
    known = replace(LATEST, edition=Edition(7, "older", MONDAY), ticked_at=at(60), older_ticks={"oldest": at(30)})
    after = join(known, NEWER)
    assert after.older_ticks == {"oldest": at(30), "older": at(60)}
    assert standing_of(after, NEWER, at(90)).older_at == at(60)


@pytest.mark.parametrize(
    ("second", "number"), [(60, 7), (900, 7), (900.1, 9)], ids=["during the update", "just so", "after it"]
)
def test_a_package_that_is_put_back_leaves_a_number_out(second: float, number: int) -> None:
    """So every target counts as passed over, and is signalled when the current package's ticks come again (2008089)."""
    put_back = ticks(UPDATED, OLDER, second, second + 60)
    assert put_back.edition == Edition(number, "newer", TUESDAY)
    assert put_back.rollout == (Rollout() if number > 7 else None)
    assert put_back.older_ticks == {"older": at(second + 60)}
    assert ticks(put_back, NEWER, second + 120).edition == put_back.edition


def test_an_older_package_that_was_not_there_before_is_put_back() -> None:
    """Whatever others do: three that tick in turn leave a number out once each, and not with each tick."""
    oldest = Package((), "oldest", MONDAY - timedelta(days=1))
    known = ticks(UPDATED, oldest, 30)
    assert known.edition == Edition(9, "newer", TUESDAY)
    for minute in range(1, 60):
        known = ticks(known, (NEWER, OLDER, oldest)[minute % 3], minute * 60)
    assert known.edition == Edition(9, "newer", TUESDAY)
    assert known.older_ticks.keys() == {"older", "oldest"}


def test_who_ticked_long_ago_is_forgotten() -> None:
    """The record does not grow by packages that are gone."""
    known = replace(LATEST, older_ticks={"gone": NOON, "just so": at(1)})
    assert ticks(known, OLDER, 901).older_ticks == {"just so": at(1), "older": at(901)}


def test_an_older_package_of_the_same_configuration_ignores_nothing() -> None:
    """It was packaged again as it is, and put back: no target is passed over."""
    assert ticks(LATEST, Package((), "newer", MONDAY), 60).edition == LATEST.edition


@pytest.mark.parametrize("package", [OLDER, NEWER])
def test_an_older_generation_and_the_same_one_leave_the_record(package: Package) -> None:
    """An older one may take over by ticks only."""
    assert join(LATEST, package) is LATEST


@pytest.mark.parametrize(("fingerprint", "is_later"), [("newer", False), ("a", False), ("z", True)])
def test_the_fingerprint_breaks_ties(fingerprint: str, *, is_later: bool) -> None:
    """Two packages of one moment: one of them is later for all workers."""
    assert (join(LATEST, Package((), fingerprint, TUESDAY)) is not LATEST) == is_later


@pytest.mark.parametrize(
    ("package", "is_current"), [(OLDER, False), (NEWER, True), (Package((), "newer", MONDAY), False)]
)
def test_a_standing_is_the_number_that_was_read(package: Package, *, is_current: bool) -> None:
    """The same configuration of another generation is another package."""
    found = standing_of(replace(LATEST, older_ticks={"oldest": at(3), "older": at(5), "old": at(4)}), package, at(9))
    assert (found.number, found.is_current, found.read_at, found.older_at) == (7, is_current, at(9), at(5))


def test_nobody_is_current_before_there_is_an_edition() -> None:
    """As in a record of release 1, or before the first tick."""
    assert standing_of(Deployment(), NEWER, NOON) == Standing(0, is_current=False, read_at=NOON)


@pytest.mark.parametrize(("number", "leads"), [(6, True), (7, True), (8, False)])
def test_a_higher_number_in_a_record_is_left_alone(number: int, *, leads: bool) -> None:
    """A worker that froze is not current any more where a later edition has been."""
    assert standing_of(LATEST, NEWER, NOON).leads(State(edition=number)) == leads
    assert not standing_of(LATEST, OLDER, NOON).leads(State(edition=number))
    assert not deployment.COMMAND.leads(State())


def test_each_tick_is_noted() -> None:
    """G8: `status` says since when none came. A current one wipes the note of older ones, but not when they came."""
    assert ticks(LATEST, NEWER, 60) == replace(LATEST, ticked_at=at(60))
    older = ticks(UPDATED, OLDER, 60, 120)
    known = replace(LATEST, older_ticks={"older": at(120)})
    assert older == replace(known, ticked_at=at(120), older_since=at(60))
    assert ticks(older, NEWER, 180) == replace(known, ticked_at=at(180))


def test_the_release_of_the_current_package_is_noted() -> None:
    """Also where its edition was made by a release that noted none; an older package's ticks leave the note alone."""
    unsaid = replace(LATEST, version="")
    assert ticks(unsaid, OLDER, 60).version == ""
    assert ticks(unsaid, NEWER, 60).version == VERSION
    assert join(replace(LATEST, version="9.9.9"), NEWER).version == "9.9.9"
    over = ticks(replace(LATEST, version="9.9.9"), OLDER, 60, TAKES_OVER.total_seconds() + 60)
    assert over.version == VERSION


def test_a_note_that_stood_for_half_an_hour_makes_the_older_one_current() -> None:
    """A rollback that nobody packaged."""
    half_an_hour = TAKES_OVER.total_seconds()
    almost = ticks(UPDATED, OLDER, 60, 900, half_an_hour + 59 - 300, half_an_hour + 59)
    assert almost.edition == LATEST.edition
    over = ticks(almost, OLDER, half_an_hour + 60)
    assert (over.edition, over.rollout, over.older_since) == (Edition(8, "older", MONDAY), Rollout(), None)


def test_current_ticks_in_between_keep_an_older_one_from_taking_over() -> None:
    """A canary: both tick, and the newer one stays."""
    known = UPDATED
    for minute in range(1, 90):
        known = ticks(known, NEWER if minute % 20 == 0 else OLDER, minute * 60)
    assert known.edition == LATEST.edition


def test_who_comes_back_after_a_rollback_is_the_next_edition() -> None:
    """Its generation is later than the one that was put back."""
    put_back = ticks(UPDATED, OLDER, 0, TAKES_OVER.total_seconds())
    assert ticks(put_back, NEWER, 1900).edition == Edition(9, "newer", TUESDAY)


def test_begin_again_is_the_next_number() -> None:
    """`resume --all`: a worker that read the number before plans nothing any more."""
    again = begin_again(LATEST)
    assert (again.edition, again.rollout) == (Edition(8, "newer", TUESDAY), Rollout())
    assert standing_of(again, NEWER, NOON).is_current
    assert begin_again(Deployment()) == Deployment(rollout=Rollout())


def rolling(rollout: Rollout | None) -> Deployment:
    """The record during a rollout."""
    return replace(LATEST, rollout=rollout)


def test_progress_is_saved_where_the_rollout_is_as_it_was_read() -> None:
    """Somebody else's progress, another edition, or one that begins anew stand."""
    before, after = Rollout("a"), Rollout("b")
    assert note_progress(before, after, 7, rolling(before)) == rolling(after)
    for known in (rolling(Rollout("c")), rolling(None), begin_again(rolling(before)), Deployment(rollout=before)):
        assert note_progress(before, after, 7, known) is known


@pytest.mark.parametrize(("failed", "left"), [(False, None), (True, Rollout())])
def test_a_rollout_is_over_or_begins_anew(*, failed: bool, left: Rollout | None) -> None:
    """One in which a target failed has targets that are not planned yet."""
    before = Rollout("a", targets_done=True)
    known = note_progress(before, replace(before, failed=failed, over=True), 7, rolling(before))
    assert known.rollout == left
    assert is_rolled_out(known, NEWER) == (not failed)
    assert not is_rolled_out(known, OLDER)


def test_times_are_of_the_ticks() -> None:
    """None is made up: a record that nobody ticked for says so."""
    noted: list[datetime | None] = [Deployment().ticked_at, join(Deployment(), OLDER).ticked_at]
    assert noted == [None, None]


# --- Reading and changing the record ---------------------------------------------------------------------------------


def paused(known: Deployment) -> Deployment:
    """The record with a pause that begins at noon, or has begun before."""
    return replace(known, paused_since=known.paused_since or NOON)


def test_a_change_is_saved_once() -> None:
    """It gives what the record is then; where it is so already, nothing is written."""
    store = HookedStore()
    assert load(store) == Deployment()
    assert change(store, paused) == Deployment(paused_since=NOON) == load(store)
    assert change(store, paused) == Deployment(paused_since=NOON)
    assert store.saves == 1


def test_a_change_is_made_to_what_the_record_is_by_now() -> None:
    """Somebody else saved in between: neither change is lost."""
    store = HookedStore()

    def be_first(_key: str) -> None:
        store.before_save = lambda _key: None
        store.save(store.load(records.DEPLOYMENT_KEY), records.write(Deployment(ticked_at=at(-5))), None)

    store.before_save = be_first
    assert change(store, paused) == Deployment(paused_since=NOON, ticked_at=at(-5)) == load(store)


def test_a_record_that_never_stands_still_is_given_up() -> None:
    """After so many attempts something is wrong, and the delivery comes back."""
    store = HookedStore()

    def always_first(key: str) -> None:
        raise Conflict(key)

    store.before_save = always_first
    with pytest.raises(ContendedError, match=rf"^the record of the deployment moved on {ATTEMPTS} times$"):
        change(store, paused)
    assert load(MemoryStore()) == Deployment()
