"""A crash at every effect, over Azurite and the Fabric emulator: one in each telling of a story.

Whatever the request at which the worker dies, or whose answer it never gets: by Fabric's journal nothing is lost and
nothing overlaps, and the deployment comes to rest with nothing owed and nothing held; but for a run without end that
may be anybody's, since its answer never came: that holds its target, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from functions_azure.platform import Platform
from local.emulators.faults import LoseResponse, NeverEnd
from shared.platforms import fabric
from shared.platforms.failures import Operation
from shared.refresh import machine
from shared.refresh.decide import Decision, Start
from shared.refresh.engine import Engine, Progress, Snapshot
from shared.refresh.failure import Failure
from shared.refresh.inputs import Answered, Claimed
from shared.refresh.ports import Document, Phase
from shared.refresh.state import State
from tests.support.azure_crash import (
    POLICY,
    REPORT_JOB,
    SALES_VIEWS,
    Deployment,
    Fault,
    Manner,
    Planned,
    Storage,
    Wire,
    deployed,
)
from tests.support.azurite_server import Account, new_account, one_azurite  # noqa: F401 - fixtures


@pytest.fixture(name="storage")
def watched_storage(account: Account) -> Iterator[Storage]:
    """The account of one test, used anew for each telling."""
    with Storage(account) as storage:
        yield storage


class Story(NamedTuple):
    """A deployment, and what happens while its new target is refreshed for the first time."""

    text: str
    begin: Callable[[Deployment], None]
    runs: int


def _queued(here: Deployment) -> None:
    """Someone else's run is there before ours, and begins after ours was skipped: its start is then told as later."""
    here.at(5, partial(here.foreign_start, "sales", queued=timedelta(seconds=20)))


VIEWS, JOB = POLICY + SALES_VIEWS, POLICY + REPORT_JOB
DATA = 'execution_data = { tableName = "orders" }'
SHORT = VIEWS + 'timeout = "1m"'
JOB_TOO = REPORT_JOB.replace("report", "audit") + DATA.replace("orders", "returns")
STORIES = {
    "an arrival during a run": Story(VIEWS, lambda here: here.at(30, here.arrive), runs=2),
    "a skip": Story(VIEWS, lambda here: here.at(5, partial(here.foreign_start, "sales")), runs=3),
    "a skip by one in the queue": Story(VIEWS, _queued, runs=3),
    "a job with other data skipped": Story(f"{JOB}{DATA}{JOB_TOO}", lambda _: None, runs=3),
    "a skipped job": Story(JOB, lambda here: here.at(5, partial(here.foreign_start, "report")), runs=3),
    "a lost start": Story(VIEWS, lambda here: here.fabric.faults.add(LoseResponse(), "start"), runs=2),
    "a run without end": Story(SHORT, lambda here: here.fabric.faults.add(NeverEnd(), "run"), runs=2),
    "one after the other": Story(VIEWS + REPORT_JOB + 'after = ["sales"]', lambda _: None, runs=3),
}
"""With the runs that Fabric sees, the foreign one and the skipped one included, while nobody dies."""


TOLD_WITH_CRASHES = (
    "an arrival during a run",
    "a skip",
    "a skipped job",
    "a lost start",
    "a run without end",
    "one after the other",
)
"""Every kind of effect, and each way from a start to an end, is in one of these."""


class Told(NamedTuple):
    """How a telling ended."""

    wire: Wire
    runs: int
    crashes: int
    violations: list[str]
    planned: Planned | None


def tell(
    story: str,
    storage: Storage,
    fault: Fault | None = None,
    planned: Planned | None = None,
    *,
    inexact_seed: int | None = None,
) -> Told:
    """Once, to rest: from the first tick, or from where another telling was after it."""
    with deployed(STORIES[story].text, storage, fault, inexact_seed) as here:
        STORIES[story].begin(here)
        here.run(planned)
        runs = len(here.fabric.journal().entries())
        return Told(here.wire, runs, here.crashes, here.violations(), here.planned)


SHARE = 6
"""One effect of so many is told of in each manner by default: a telling takes a second of real requests."""
REMAINDERS = {Manner.DIES_BEFORE: 0, Manner.UNANSWERED: 3}
"""By the number of the effect divided by `SHARE`: which effects these are."""


def tellings(
    story: str, storage: Storage, manner: Manner, only: str = "", *, remainder: int | None = None
) -> Iterator[tuple[str, Told]]:
    """One for each effect of the story as it goes undisturbed, each `only` of this kind, or a share by number.

    Dying after an effect is dying before the next one, as nothing but reads lies between; so only what ends an
    invocation is worth another telling. The first tick plans the deployment: a crash in there is told of one story,
    and every other telling begins where that tick ended.
    """
    undisturbed = tell(story, storage)
    wire, planned = undisturbed.wire, undisturbed.planned
    assert planned
    first = 1 if story == "an arrival during a run" else len(planned.effects) + 1
    for number, effect in enumerate(wire.effects[first - 1 :], first):
        told_by_another = manner is Manner.DIES_AFTER and number not in wire.last
        left_out = remainder is not None and number % SHARE != remainder
        if not (told_by_another or left_out) and only in {"", effect}:
            begins = planned if number > len(planned.effects) else None
            yield f"{manner} {number} ({effect})", tell(story, storage, Fault(number, manner), begins)


def test_a_story_ends_alike_wherever_its_telling_begins(storage: Storage) -> None:
    """What goes on after the first tick is the same story: the same effects in the same order, and the same end."""
    whole = tell("one after the other", storage)
    rest = tell("one after the other", storage, planned=whole.planned)
    assert (rest.wire.effects, rest.runs, rest.violations) == (whole.wire.effects, whole.runs, [])


@pytest.mark.parametrize("story", STORIES)
def test_the_stories_are_what_they_are_called(story: str, storage: Storage) -> None:
    """Undisturbed they end well, with the runs that they are about; and every kind of effect is in them."""
    told = tell(story, storage)
    assert told.violations == []
    assert told.runs == STORIES[story].runs
    assert {"save", "wake", "append", "start", "get"} <= set(told.wire.effects)
    assert ("list" in told.wire.effects) is ("skip" in story or "lost" in story)
    assert ("cancel" in told.wire.effects) is ("without end" in story)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("story", STORIES)
def test_the_stories_end_well_where_times_are_told_inexactly(story: str, seed: int, storage: Storage) -> None:
    """Starts told seconds late and ends told a minute and a half late lose nothing, overlap nothing, cost one run."""
    told = tell(story, storage, inexact_seed=seed)
    assert told.violations == []
    assert told.runs <= STORIES[story].runs + 1


@pytest.mark.parametrize("manner", Manner)
@pytest.mark.parametrize("story", TOLD_WITH_CRASHES)
def test_a_crash_at_every_effect(story: str, manner: Manner, storage: Storage, request: pytest.FixtureRequest) -> None:
    """Every save, append, wake and call to Fabric: nothing is lost, nothing overlaps, and it costs one run at most.

    By default the worker dies before each sixth effect, and is unanswered at each sixth; `--every-crash` does both
    at each. `shared` dies at every effect in process (`tests/simulation`).
    """
    remainder = None if request.config.getoption("--every-crash") else REMAINDERS.get(manner)
    for where, told in tellings(story, storage, manner, remainder=remainder):
        assert told.violations == [], where
        assert told.crashes == (manner is not Manner.UNANSWERED), where
        assert told.runs <= STORIES[story].runs + 1, where


# --- Mutants ----------------------------------------------------------------------------------------------------------


def _claim_after_the_call(self: Engine, snapshot: Snapshot, start: Start, _progress: Progress) -> Progress:
    claimed_at = self.ports.clock.now()
    answer = self.ports.platform.start(snapshot.target, full=start.full)
    claim = Claimed(self.ports.token(), claimed_at, start.full)
    claimed = machine.fold(snapshot.state, claim, snapshot.context, snapshot.now).state
    return self._after_call(self._save_first(snapshot, claimed), claimed, Answered(answer))


_save = Engine._save
_send = Platform._send


def _note_success_in_a_save_of_its_own(
    self: Engine, snapshot: Snapshot, state: State, decision: Decision, **how: bool
) -> Document:
    saved = _save(self, snapshot, replace(state, outbox=snapshot.before.outbox), decision, **how)
    if state.outbox != snapshot.before.outbox:
        now = self._see(snapshot.target, saved, Progress(()), may_call=False)
        return _save(self, now, replace(now.state, outbox=state.outbox), decision)
    return saved


def _sent_once_more(self: Platform, operation: Operation, request: fabric.Request, token: str, ends_at: float) -> Any:
    answer = _send(self, operation, request, token, ends_at)
    return _send(self, operation, request, token, ends_at) if isinstance(answer, Failure) else answer


class Mutant(NamedTuple):
    """What is broken, and the story and the effects at which a crash shows it."""

    owner: type
    name: str
    broken: Callable[..., Any]
    story: str
    manner: Manner
    effect: str


MUTANTS = {
    "a claim after the call": Mutant(
        Engine, "_start", _claim_after_the_call, "an arrival during a run", Manner.DIES_BEFORE, "save"
    ),
    "a success that is to be told, in a save of its own": Mutant(
        Engine, "_save", _note_success_in_a_save_of_its_own, "one after the other", Manner.DIES_BEFORE, "save"
    ),
    "a start sent once more": Mutant(
        Platform, "_send", _sent_once_more, "an arrival during a run", Manner.UNANSWERED, "start"
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught_by_a_crash_alone(mutant: str, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong only if a worker dies at the wrong moment: undisturbed the story ends well, told on it does not."""
    owner, name, broken, story, manner, effect = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, broken)
    assert tell(story, storage).violations == []
    assert any(told.violations for _, told in tellings(story, storage, manner, effect))


@pytest.mark.parametrize(("status", "story"), [("cancelled", "a skip"), ("deduped", "a skipped job")])
def test_a_skip_taken_for_a_success_is_caught(
    status: str, story: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge sees what the obvious handler loses, without any crash."""
    monkeypatch.setitem(fabric._PHASES, status, Phase.SUCCEEDED)
    assert any("LOST" in violation for violation in tell(story, storage).violations)
