"""What destinations were not told for a while, in the words of `unstale status`."""

from __future__ import annotations

from msgspec.structs import replace

from shared.destinations import Destination
from shared.outcomes.untold import untold
from shared.refresh.outbox import note_event
from shared.refresh.state import Addressee, Outbox, Position, State
from tests.support.core import NOON, a_target, at

HOOK = Destination("webhook", on=("late", "held"), url="https://example.com")
FOLLOWER = Destination("azure", ("refreshed",), "signal", follower="lake", upstreams=("daily",))
BOTH = (HOOK, FOLLOWER)
DOWN = {FOLLOWER.site_digest: Addressee(2, at(300), "status 503")}


def outbox(*kinds: str) -> Outbox:
    """Events of these kinds that wait, one a minute from noon on."""
    found = Outbox()
    for number, kind in enumerate(kinds):
        found = note_event(found, kind, at(60 * number), "", at(60 * number))
    return found


def said(waiting: Outbox, *, now: float = 1000, addressees: dict[str, Addressee] | None = None) -> list[str]:
    """The sentences on a target with that outbox."""
    known = DOWN if addressees is None else addressees
    return [each.sentence for each in untold(BOTH, [(a_target(), State(outbox=waiting))], known, at(now))]


def test_a_follower_is_named_with_its_upstream_and_the_last_trouble() -> None:
    """Since the end of the last run, which is all that it is to be told."""
    [found] = said(outbox("refreshed", "refreshed"))
    what, _, why = found.partition(": ")
    assert what == "lake on azure was not told that daily was refreshed, since 2026-01-31 12:01Z"
    assert why == "status 503; tried again at 2026-01-31 12:05Z"


def test_other_places_are_told_of_with_how_much_waits() -> None:
    """Only what the place wants; nothing is known of why where it did not fail."""
    assert said(outbox("late", "refreshed", "held"), addressees={})[0] == (
        "webhook https://example.com was not told 2 events of daily, since 2026-01-31 12:00Z"
    )


def test_what_is_told_by_now_or_still_in_its_turn_is_not_said() -> None:
    """Three minutes are three ticks; what one destination has waits for others only."""
    assert said(outbox("refreshed"), now=180) == []
    assert said(outbox("refreshed"), now=181) != []
    has_it = replace(outbox("refreshed"), positions=(Position(FOLLOWER.digest, 1),))
    assert said(has_it) == []


def test_a_target_that_nobody_follows_elsewhere_owes_no_follower() -> None:
    """Its events are others'."""
    other = a_target("other")
    assert untold((FOLLOWER,), [(other, State(outbox=outbox("refreshed")))], DOWN, NOON.replace(hour=13)) == ()
