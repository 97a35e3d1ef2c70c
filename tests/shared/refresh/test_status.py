"""The rows of `unstale status`: is this view fresh, and if not, since when and why."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore
from shared.refresh import records
from shared.refresh.evidence import (
    Backlog,
    Evidence,
    Liveness,
    SourceStatus,
    deployed_fingerprint,
    difference,
    evidence_on,
)
from shared.refresh.state import Blocked, Cancelled, Deployment, Edition, JudgedBy, Owed, Paused, Situation, State
from shared.refresh.status import TargetStatus, status_of, status_unread
from shared.times import span
from tests.support.core import GLUE, NOON, POLICY, a_run, a_target, at, seconds

OWED = Owed(at(0), at(5), 3, reasons=("s3://landing/orders/1",))
OBJECTIVE = replace(POLICY, objective=seconds(60))
FRESH = State(fresh_as_of=NOON)


def judged(state: State, *, now: float = 20, **others: Any) -> Evidence:
    """What is known of a target with an objective of a minute."""
    target = replace(a_target(), policy=OBJECTIVE)
    others = {"deployment": Deployment(), **others}
    return Evidence(target=target, state=state, capabilities=GLUE, now=at(now), **others)


def shown(state: State, *, now: float = 20, **others: Any) -> TargetStatus:
    """The row of that target."""
    return status_of(judged(state, now=now, **others))


@pytest.mark.parametrize(
    ("state", "now", "verdict", "word", "well"),
    [
        (FRESH, 20, "fresh", "nothing is owed", True),
        (State(), 20, "unknown", "the deployed function has not looked at it yet", False),
        (State(owed=OWED), 20, "stale", "s3://landing/orders/1; a refresh starts in 5 s", True),
        (State(owed=OWED), 30, "stale", "a refresh is due", True),
        (State(owed=OWED), 200, "late", "2 min beyond its objective: a refresh is due", False),
        (State(owed=OWED), 9000, "late", "2 h beyond its objective", False),
        (State(owed=OWED, failures=2, last_error="executor lost"), 90, "late", "2 refreshes failed in a row", False),
        (State(owed=OWED, hold=Paused(NOON)), 20, "held", "paused since 2026-01-31 12:00Z: unstale resume", False),
        (State(owed=OWED, hold=Blocked(NOON, "no permission", NOON)), 20, "held", "no permission", False),
        (State(owed=OWED, hold=Cancelled(NOON)), 20, "held", "somebody cancelled its run", False),
    ],
)
def test_each_state_has_its_verdict_and_its_words(
    state: State, now: float, verdict: str, word: str, *, well: bool
) -> None:
    """Fresh and stale need nobody; the others say whom or what they wait for."""
    found = shown(state, now=now)
    assert (found.verdict, found.well) == (verdict, well)
    assert word in found.why
    assert found.why.startswith(word) or verdict != "unknown"


def test_a_run_is_shown_with_what_it_covers() -> None:
    """Its signals are still owed: only its success makes the view fresh."""
    found = shown(State(owed=OWED, run=a_run(Situation.RUNNING, covering=OWED)))
    assert "a refresh is running" in found.why
    assert (found.signals_owed, found.situation, found.stale_since) == (6, Situation.RUNNING, at(0))


def test_a_late_target_names_the_run_that_hangs_and_not_the_file_that_came() -> None:
    """The file came in time; what a person must look at is the run."""
    found = shown(State(run=a_run(Situation.RUNNING, covering=OWED)), now=600)
    assert found.verdict == "late"
    assert found.why == "9 min beyond its objective: a refresh is running, since 2026-01-31 12:00Z (10 min)"


def test_a_row_tells_all_that_people_and_scripts_read() -> None:
    """A proof is shown less the visibility lag: what came within it before may not be in the view."""
    sources = (SourceStatus("sales.orders", "11", at(-60)),)
    state = State(
        owed=OWED,
        run=a_run(Situation.RUNNING, covering=OWED),
        fresh_as_of=at(-60),
        proven_as_of=at(-30),
        failures=2,
        last_error="executor lost",
        wake_at=at(99),
    )
    assert shown(state, sources=sources) == TargetStatus(
        name="daily",
        kind="glue-view",
        verdict="stale",
        why="s3://landing/orders/1; a refresh is running, since 2026-01-31 12:00Z (20 s)",
        stale_since=at(0),
        fresh_as_of=at(-60),
        signals_owed=6,
        situation=Situation.RUNNING,
        run_id="r1",
        hold="",
        failures=2,
        last_error="executor lost",
        next_look_at=at(99),
        proven_as_of=at(-40),
        sources=sources,
    )
    fresh = shown(FRESH)
    assert (fresh.situation, fresh.run_id, fresh.proven_as_of, fresh.signals_owed) == (Situation.IDLE, "", None, 0)


@pytest.mark.parametrize(
    ("hold", "word"),
    [(Paused(NOON), "paused"), (Blocked(NOON, "no", NOON), "blocked"), (Cancelled(NOON), "cancelled"), (None, "")],
)
def test_a_hold_has_a_word(hold: Any, word: str) -> None:
    """For scripts; that of one target comes before that of all."""
    assert shown(replace(FRESH, hold=hold)).hold == word
    everything = Deployment(paused_since=NOON)
    assert shown(replace(FRESH, hold=hold), deployment=everything).hold == (word or "paused (all)")


def test_dead_letters_make_freshness_and_staleness_unknown() -> None:
    """G1: a signal may be among them. What is held or late needs a person for its own sake, and says so first."""
    found = shown(FRESH, dead_letters=2)
    assert (found.verdict, found.well) == ("unknown", False)
    assert "2 dead letters" in found.why
    assert shown(State(owed=OWED), dead_letters=2).verdict == "unknown"
    assert shown(State(owed=OWED), dead_letters=2, now=200).verdict == "late"
    assert shown(State(owed=OWED, hold=Paused(NOON)), dead_letters=2).verdict == "held"


@pytest.mark.parametrize("hold", [Paused(NOON), Blocked(NOON, "no permission", NOON), None])
def test_a_hold_without_anything_owed_stands_beside_the_verdict(hold: Paused | Blocked | None) -> None:
    """Nothing is late by it, so nobody is called; and nobody is surprised either."""
    everything = Deployment() if hold else Deployment(paused_since=NOON)
    found = shown(replace(FRESH, hold=hold), deployment=everything)
    assert (found.verdict, found.well) == ("fresh", True)
    assert found.why.startswith("nothing is owed; ")
    assert found.hold in {"paused", "blocked", "paused (all)"}


def test_a_pause_of_all_holds_every_target_that_is_owed_something() -> None:
    """And says how it ends."""
    found = shown(State(owed=OWED), deployment=Deployment(paused_since=NOON))
    assert (found.verdict, found.hold) == ("held", "paused (all)")
    assert "unstale resume --all" in found.why


# --- G8: fresh only while somebody works ------------------------------------------------------------------------------

EVENTS = Backlog("events", 50, seconds(181))
DOUBTFUL: dict[str, tuple[State, dict[str, Any]]] = {
    "no tick was noted yet": (FRESH, {"liveness": Liveness(is_asked=True)}),
    "no tick came for 3 min": (FRESH, {"liveness": Liveness(at(-161))}),
    "50 messages wait in events, the oldest for 3 min": (FRESH, {"liveness": Liveness(at(0), (EVENTS,))}),
    "nobody knows how long messages wait in events: denied": (
        FRESH,
        {"liveness": Liveness(at(0), (replace(EVENTS, age=None, unreadable="denied"),))},
    ),
    "it was due 3 min ago and nobody came": (replace(FRESH, wake_at=at(-161)), {}),
    "the file says otherwise": (FRESH, {"differs": "the file says otherwise"}),
    "sales.orders: gone": (FRESH, {"sources": (SourceStatus("sales.orders", silent="gone"),)}),
}


@pytest.mark.parametrize("word", DOUBTFUL)
def test_nothing_is_fresh_while_nobody_is_known_to_work(word: str) -> None:
    """Each is unknown, is not well, and says so; what is held or late by its record stays so."""
    state, others = DOUBTFUL[word]
    found = shown(state, **others)
    assert (found.verdict, found.well) == ("unknown", False)
    assert found.why.startswith(word)
    assert shown(replace(state, owed=OWED), **others).verdict == "unknown"
    assert shown(replace(state, owed=OWED), **others, now=90).verdict == "late"


@pytest.mark.parametrize(
    ("state", "others"),
    [
        (FRESH, {"liveness": Liveness(at(-160), (replace(EVENTS, age=seconds(180)),))}),
        (
            FRESH,
            {"liveness": Liveness(at(20), (Backlog("events", 0), Backlog("wakes", 3, seconds(9), seconds(20))))},
        ),
        (FRESH, {"liveness": Liveness(at(20), (replace(EVENTS, limit=seconds(300)),))}),
        (replace(FRESH, wake_at=at(-160)), {}),
    ],
)
def test_what_is_within_its_time_leaves_no_doubt(state: State, others: dict[str, Any]) -> None:
    """Three minutes, or the queue's own limit, and no sooner."""
    assert shown(state, **others).verdict == "fresh"


def test_what_the_file_says_otherwise_than_the_record_is_told() -> None:
    """Other sources, another policy, a target that is not deployed, a rollout that is not over; else nothing."""
    target = a_target()
    policy = target.policy
    judged_by = JudgedBy("its old name", policy.objective, policy.look, policy.quiet_period, policy.max_wait)
    same = State(definition=target.definition, edition=2, judged_by=judged_by)
    other, none = replace(same, definition="a.b.c"), State()
    ours, theirs = Deployment(edition=Edition(2, "ours", NOON)), Deployment(edition=Edition(2, "theirs", NOON))
    assert {difference(target, same, deployment, "ours") for deployment in (Deployment(), ours, theirs)} == {""}
    deploy = "than what is deployed: package and deploy the file"
    assert difference(target, other, theirs, "ours") == f"the file says otherwise what refreshes it {deploy}"
    unnamed = "the deployed configuration does not name it: package and deploy this one"
    assert difference(target, none, theirs, "ours") == unnamed
    not_yet = "its new configuration is deployed, and has not reached it yet: a tick does that"
    assert difference(target, other, ours, "ours") == not_yet
    assert difference(target, replace(same, edition=1), ours, "ours") == not_yet
    assert difference(target, none, ours, "ours") == ""
    assert difference(target, none, Deployment(), "ours") == ""
    for change in ({"objective": seconds(1)}, {"look": None}, {"quiet_period": seconds(1)}, {"max_wait": seconds(1)}):
        judged = replace(same, judged_by=replace(judged_by, **change))
        assert difference(target, judged, ours, "ours") == f"the file says otherwise how fresh it must be {deploy}"


def test_what_is_known_of_a_target_is_read_from_its_record_and_the_deployments() -> None:
    """Both at once; nothing else is asked."""
    target, store = a_target(), MemoryStore()
    deployment = Deployment(edition=Edition(2, "ours", NOON))
    for key, value in ((target.key, FRESH), (records.DEPLOYMENT_KEY, deployment)):
        store.save(store.load(key), records.write(value), None)
    known = Evidence(target=target, state=FRESH, deployment=deployment, capabilities=GLUE, now=at(7))
    assert evidence_on(target, store, GLUE, at(7)) == known


def test_a_target_is_judged_by_what_is_deployed() -> None:
    """The file of whoever asks may be another one: its objective makes nothing late."""
    policy = OBJECTIVE
    deployed = JudgedBy("daily", seconds(1000), policy.look, policy.quiet_period, policy.max_wait)
    assert shown(State(owed=OWED, judged_by=deployed), now=200).verdict == "stale"
    assert shown(State(owed=OWED, judged_by=replace(deployed, objective=seconds(1)))).verdict == "late"


def test_the_deployed_configuration_is_the_one_that_is_rolled_out() -> None:
    """That of the current edition; none before the first tick."""
    assert deployed_fingerprint(Deployment()) == ""
    assert deployed_fingerprint(Deployment(edition=Edition(1, "a", NOON))) == "a"


@pytest.mark.parametrize(
    ("duration", "words"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 days")]
)
def test_a_span_is_one_number_and_one_unit(duration: float, words: str) -> None:
    """Rounded down."""
    assert span(seconds(duration)) == words


def test_a_target_that_nobody_could_ask_for_is_not_well() -> None:
    """Nothing is known of it, which must never look like fresh."""
    found = status_unread(a_target(), "AWS could not be asked")
    assert not found.well
    assert found == TargetStatus(
        name="daily",
        kind="glue-view",
        verdict="unknown",
        why="AWS could not be asked",
        stale_since=None,
        fresh_as_of=None,
        signals_owed=0,
        situation=None,
        run_id="",
        hold="",
        failures=0,
        last_error="",
        next_look_at=None,
    )
