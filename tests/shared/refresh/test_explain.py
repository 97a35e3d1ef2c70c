"""What `unstale explain` says of a target: each situation in sentences, by their topics."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from shared.refresh.evidence import Liveness, SourceStatus
from shared.refresh.explain import explain, source_ahead
from shared.refresh.identity import Call, Day, Identity, Place, Queue
from shared.refresh.state import Blocked, Cancelled, Deployment, Owed, Paused, Situation, State
from shared.refresh.status import verdict_of
from shared.targets import Limits
from tests.shared.refresh.test_status import FRESH, OWED, judged
from tests.support.core import NOON, a_run, a_target, at, seconds


def said(state: State, *, now: float = 20, **others: Any) -> dict[str, list[str]]:
    """The sentences on a target, by topic."""
    evidence = judged(state, now=now, **others)
    found: dict[str, list[str]] = {}
    for sentence in explain(evidence, verdict_of(evidence)):
        found.setdefault(sentence.topic, []).append(sentence.text)
    return found


def test_the_first_sentence_is_the_reason_for_the_verdict() -> None:
    """It comes before all others, whatever holds."""
    evidence = judged(State(owed=OWED, hold=Paused(NOON)))
    first, *others = explain(evidence, verdict_of(evidence))
    assert (first.topic, first.text) == ("why", "paused since 2026-01-31 12:00Z: unstale resume daily")
    assert "why" not in {sentence.topic for sentence in others}


def test_what_arrived_is_told_with_times_and_places() -> None:
    """What is owed, and what the run that goes on is to read; nothing is said to be nothing."""
    found = said(State(owed=replace(OWED, full=True), run=a_run(Situation.RUNNING, covering=OWED)))
    owed, read = found["arrived"]
    assert owed == (
        "at least 3 signals are owed (a full refresh is asked for): the first came at 2026-01-31 12:00:00Z (20 s ago), "
        "the last by 2026-01-31 12:00:05Z; s3://landing/orders/1"
    )
    assert read == (
        "at least 3 signals are read by the run that goes on: the first came at 2026-01-31 12:00:00Z (20 s ago), "
        "the last by 2026-01-31 12:00:05Z; s3://landing/orders/1"
    )
    assert said(FRESH)["arrived"] == ["nothing arrived that no finished refresh covers"]
    assert said(State(owed=Owed(at(0), at(0), reasons=("x", "y"))))["arrived"] == [
        "at least 1 signals are owed: the first came at 2026-01-31 12:00:00Z (20 s ago); x, y"
    ]


def waiting(state: State, *, now: float = 20, **others: Any) -> str:
    """The one sentence on what a start waits for."""
    [sentence] = said(state, now=now, **others)["waits"]
    return sentence


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({}, "12:00:25Z, in 5 s: it waits for 20 s without a further signal"),
        ({"owed": Owed(at(-90), at(25))}, "12:00:30Z, in 10 s: it waits for the maximum wait of 2 min"),
        ({"owed": Owed(at(-90), at(10))}, "12:00:30Z, in 10 s: it waits for 20 s without a further signal"),
        ({"last_claim_at": at(0)}, "12:01:00Z, in 40 s: it waits for the minimum interval of 60 s since the last"),
        ({"not_before": at(70), "failures": 1}, "12:01:10Z, in 50 s: it waits for the pause after a failure"),
        ({"not_before": at(70)}, "12:01:10Z, in 50 s: it waits for the time that the platform asked for"),
        (
            {"not_before": at(30), "last_claim_at": at(0)},
            "12:01:00Z, in 40 s: it waits for the minimum interval of 60 s since the last",
        ),
        ({"not_before": at(22)}, "12:00:25Z, in 5 s: it waits for 20 s without a further signal"),
        (
            {"hold": Blocked(NOON, "no", at(80))},
            "12:01:20Z, in 60 s: it waits for the next try of what is blocked",
        ),
    ],
)
def test_a_start_says_what_it_waits_for_and_until_when(changes: dict[str, Any], until: str) -> None:
    """The gate that holds it back the longest, by its name."""
    assert waiting(replace(State(owed=OWED), **changes)) == f"a refresh starts at 2026-01-31 {until}"


def test_gates_of_the_whole_deployment_are_named_too() -> None:
    """A silence that the platform asked for; a pause of everything."""
    silent = Deployment(quiet_until={a_target().identity: at(60)})
    silence = "it waits for the end of the silence that the platform asked for, or max_running makes"
    assert waiting(State(owed=OWED), deployment=silent).endswith(f": {silence}")
    assert waiting(State(owed=OWED), now=30, deployment=silent).endswith(f": {silence}")
    over = waiting(State(owed=OWED, not_before=at(70)), now=60, deployment=silent)
    assert over.endswith(": it waits for the time that the platform asked for")
    paused = waiting(State(owed=OWED), now=30, deployment=Deployment(paused_since=NOON))
    assert paused.endswith(": it waits for unstale resume --all")


def test_a_place_and_a_cap_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that shares its identity waits for its number, and until tomorrow where a day has had its starts."""
    queue = Queue(serves_at=at(30), rate=0.1, quiet_since=NOON, serves=0, next_number=9)
    identity = Identity(starts=queue)
    state = State(owed=OWED, place=Place(Call.START, 3))
    assert waiting(state, now=30, identity=identity) == (
        "a refresh starts at 2026-01-31 12:01:00Z, in 30 s: it waits for its place in the queue of its identity, which "
        "many targets share"
    )
    assert waiting(state, now=20, identity=identity).startswith("a refresh starts at 2026-01-31 12:01:00Z, in 40 s")
    unknown = waiting(state, now=20)
    assert unknown == "a refresh starts at 2026-01-31 12:00:25Z, in 5 s: it waits for 20 s without a further signal"
    passed = said(replace(state, place=Place(Call.START, 0)), now=200, identity=identity)["waits"]
    assert passed == ["a refresh is due now: the next wake or tick starts it"]
    silent = replace(queue, silent_until=at(200))
    assert "the end of the silence" in waiting(state, now=30, identity=Identity(starts=silent))
    served = said(replace(state, place=Place(Call.START, 0)), now=31, identity=identity)["waits"]
    assert served == ["a refresh is due now: the next wake or tick starts it"]
    capped = Limits(max_starts_per_day=1)
    full = replace(identity, today=Day(NOON.date(), 1))
    sentence = waiting(State(owed=OWED), now=30, identity=full, limits=capped)
    assert sentence == (
        "a refresh starts at 2026-02-01 00:00:00Z, in 11 h: it waits for the end of the day: all targets together were "
        "started 1 times today (UTC), [deployment] max_starts_per_day"
    )


def test_just_in_time_waits_for_the_last_moment() -> None:
    """Later than quiet period and maximum wait would have it."""
    evidence = judged(State(owed=OWED, run_times=(seconds(5),)), now=30)
    policy = replace(evidence.policy, start="just-in-time", objective=seconds(1000), look=seconds(60))
    evidence = replace(evidence, target=replace(evidence.target, policy=policy))
    [sentence] = [each.text for each in explain(evidence, "stale") if each.topic == "waits"]
    assert sentence.endswith(": it waits for the last moment that its objective allows")


def test_nothing_is_said_to_wait_that_does_not() -> None:
    """A start that is due, one that a run or a person holds back, and nothing owed."""
    assert waiting(State(owed=OWED), now=30) == "a refresh is due now: the next wake or tick starts it"
    for state in (FRESH, State(owed=OWED, hold=Cancelled(NOON)), State(owed=OWED, run=a_run(Situation.RUNNING))):
        assert "waits" not in said(state)


def test_a_run_is_told_since_when_and_what_the_platform_calls_it() -> None:
    """And when it is asked for again, and that it is cancelled past its timeout where it is ours."""
    found = said(State(run=a_run(Situation.RUNNING, covering=OWED, status="InProgress")))
    assert found["run"][0] == "a refresh is running (run r1): since 2026-01-31 12:00:00Z, 20 s"
    assert found["run"][1:] == [
        "the run is asked for again at 2026-01-31 12:01:21Z",
        "the run is cancelled if it goes on past 2026-01-31 13:00:00Z, its timeout",
    ]
    assert found["platform"] == ["the platform calls the run InProgress"]
    foreign = said(State(owed=OWED, run=a_run(Situation.FOREIGN)))
    assert len(foreign["run"]) == 2
    assert said(State(owed=OWED, run=a_run(Situation.SEEKING)))["run"][0] == (
        "another refresh is running already, and is being looked for: since 2026-01-31 12:00:00Z, 20 s"
    )
    assert said(FRESH)["run"] == ["no refresh is running"]


def test_failures_are_told_with_the_platforms_words_and_the_next_try() -> None:
    """The words as the platform gave them."""
    state = State(owed=OWED, failures=2, last_error="executor lost", hold=Blocked(NOON, "no", at(80)))
    found = said(state)
    assert found["platform"] == ["the platform's last words on a failure: executor lost"]
    assert found["failures"] == [
        "2 refreshes failed in a row",
        "what is blocked is tried again at 2026-01-31 12:01:20Z",
    ]


def test_freshness_is_told_with_what_speaks_for_and_against_it() -> None:
    """The last success, the platform's proof, each source; and that nothing is known where nothing is."""
    sources = (
        SourceStatus("sales.orders", "11", at(-60)),
        SourceStatus("sales.lines", "12", at(30)),
        SourceStatus("sales.files", cannot="it is no table"),
        SourceStatus("sales.new"),
    )
    found = said(replace(FRESH, proven_as_of=at(20)), sources=sources)
    assert found["freshness"] == [
        "all that could be read before 2026-01-31 12:00:00Z is in the view: a refresh read it",
        "the platform's metadata proves the view as of 2026-01-31 12:00:10Z",
        "sales.orders is read: it has version 11 since 2026-01-31 11:59:00Z",
        "sales.lines is ahead: it has version 12 since 2026-01-31 12:00:30Z",
        "sales.files cannot be looked at: it is no table",
    ]
    assert found["why"] == ["sales.lines has version 12 since 2026-01-31 12:00Z"]
    assert said(State(owed=OWED))["freshness"] == ["no refresh of daily is known to have succeeded"]
    unproven = said(replace(FRESH, fresh_as_of=None, proven_as_of=at(20)))
    assert unproven["why"] == ["by the platform's own metadata, as of 2026-01-31 12:00Z"]


def test_all_doubts_are_told_and_the_first_only_once() -> None:
    """The others of an unknown target, and all of a late one."""
    dead: dict[str, Any] = {"liveness": Liveness(at(-600)), "dead_letters": 1}
    found = said(FRESH, **dead)
    assert found["why"][0].startswith("1 dead letters")
    assert [text[:12] for text in found["doubt"]] == ["no tick came"]
    assert len(said(State(owed=OWED), now=600, **dead)["doubt"]) == 2


DOUBTS = "mend what the doubts name; until then nobody knows whether the view is fresh"
BY_ITSELF = "nothing: it becomes fresh by itself"
CURES: list[tuple[State, dict[str, Any], list[str]]] = [
    (State(owed=OWED, hold=Paused(NOON)), {}, ["unstale resume daily lets it start again"]),
    (
        State(owed=OWED, hold=Blocked(NOON, "no", at(80))),
        {},
        ["mend the reason, then unstale resume daily tries at once; it is tried again within the hour anyway"],
    ),
    (
        State(owed=OWED, hold=Blocked(NOON, "no", at(80), capped=True)),
        {},
        ["nothing: it goes on at 2026-01-31 12:01:20Z; unstale refresh daily starts it today"],
    ),
    (State(owed=OWED, hold=Cancelled(NOON)), {}, ["unstale resume daily starts it again"]),
    (
        State(owed=OWED),
        {"deployment": Deployment(paused_since=NOON)},
        ["unstale resume --all lets everything start again"],
    ),
    (
        FRESH,
        {"dead_letters": 1},
        ["unstale redrive --dry-run shows the dead letters, unstale redrive brings them back", DOUBTS],
    ),
    (
        FRESH,
        {"liveness": Liveness(at(-600))},
        ["is the function (or unstale run) on, does it fail? Its log says; unstale check --live", DOUBTS],
    ),
    (State(), {}, [DOUBTS]),
    (
        State(run=a_run(Situation.RUNNING, covering=OWED)),
        {"now": 600},
        ["look at the run on the platform; one that hangs is cancelled after 60 min"],
    ),
    (
        State(owed=OWED),
        {"now": 600},
        ["unstale history daily shows the runs before; unstale refresh daily asks for one at once"],
    ),
    (State(owed=OWED), {}, [BY_ITSELF]),
    (FRESH, {}, ["nothing"]),
    (replace(FRESH, proven_as_of=at(20)), {}, ["nothing"]),
]


@pytest.mark.parametrize(("state", "others", "cures"), CURES)
def test_the_reader_is_told_what_to_do(state: State, others: dict[str, Any], cures: list[str]) -> None:
    """The command to type, or that nothing is to be done."""
    assert said(state, **others)["do"] == cures


def test_a_fresh_target_that_is_held_has_one_thing_to_do() -> None:
    """How the hold ends, and not "nothing" below it."""
    assert said(replace(FRESH, hold=Paused(NOON)))["do"] == ["unstale resume daily lets it start again"]


def test_what_is_fresh_says_that_nothing_is_owed() -> None:
    """And no more, where nothing holds it either."""
    assert said(FRESH)["why"] == ["nothing is owed"]


@pytest.mark.parametrize(
    ("state", "since", "is_ahead"),
    [
        (FRESH, -10, False),
        (FRESH, -9.9, True),
        (State(proven_as_of=NOON), 0, False),
        (State(proven_as_of=NOON), 0.1, True),
        (State(), -900, True),
    ],
)
def test_a_source_is_ahead_of_what_was_read_and_of_what_was_proven(state: State, since: float, is_ahead: bool) -> None:
    """A run has read what was visible a lag before its claim; a proof speaks for its own moment."""
    sources = (SourceStatus("sales.orders", "11", at(since)),)
    assert (source_ahead(judged(state, sources=sources)) is not None) is is_ahead


def test_a_source_without_data_is_ahead_of_nothing() -> None:
    """A look found the table, and no version in it yet."""
    assert source_ahead(judged(FRESH, sources=(SourceStatus("sales.new"),))) is None


def test_what_lies_on_the_other_cloud_is_told() -> None:
    """What it comes after, what comes after it, and whoever was not told in time."""
    target = replace(a_target(), followers_across=("x", "y"))
    evidence = replace(judged(FRESH, elsewhere=("lake", "sea"), untold=("sea was not told",)), target=target)
    assert [each.text for each in explain(evidence, "fresh") if each.topic == "across"] == [
        "daily comes after lake, sea on the other cloud: unstale status says what was not told from there",
        "targets on the other cloud come after daily, and are signalled: 2",
        "sea was not told",
    ]


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (Blocked(NOON, "no", at(80)), "blocked since 2026-01-31 12:00Z: no"),
        (
            Cancelled(NOON),
            "somebody cancelled its run at 2026-01-31 12:00Z: waits for new data or unstale resume",
        ),
        (None, "all paused since 2026-01-31 12:00Z: unstale resume --all"),
    ],
)
def test_a_hold_is_told_in_one_sentence(hold: Any, words: str) -> None:
    """With its reason, or with its cure."""
    assert said(State(owed=OWED, hold=hold), deployment=Deployment(paused_since=NOON))["why"] == [words]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(owed=OWED), "s3://landing/orders/1; a refresh starts in 5 s"),
        (
            State(owed=replace(OWED, reasons=("a", "b", "c")), run=a_run(Situation.SEEKING)),
            "a, b, c; another refresh is running already, and is being looked for, since 2026-01-31 12:00Z (20 s)",
        ),
        (
            State(owed=OWED, failures=2, last_error="lost"),
            "s3://landing/orders/1; 2 refreshes failed in a row, the last with: lost; a refresh starts in 5 s",
        ),
        (
            State(owed=replace(OWED, reasons=("a", "b")), run=a_run(Situation.RUNNING, covering=OWED)),
            "a, b, s3://landing/orders/1; a refresh is running, since 2026-01-31 12:00Z (20 s)",
        ),
    ],
)
def test_what_is_stale_says_what_arrived_and_what_comes_next(state: State, words: str) -> None:
    """Three causes at most, and the run, the next try, or the next start."""
    assert said(state)["why"] == [words]


def test_one_success_is_enough_to_speak_for_freshness() -> None:
    """Proven or not; and a source may have a version of which nobody knows since when."""
    found = said(FRESH, sources=(SourceStatus("sales.old", "9"),))["freshness"]
    assert found == [
        "all that could be read before 2026-01-31 12:00:00Z is in the view: a refresh read it",
        "sales.old is read: it has version 9",
    ]
