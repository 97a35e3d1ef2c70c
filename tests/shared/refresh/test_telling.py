"""Rule 10 over a store in memory: followers are told of a success, all of them, however many and whoever dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from local.emulators.memory import MemoryStore, MemoryWaker
from shared.config.load import Configuration
from shared.inbound.dispatch import take
from shared.inbound.messages import Ticked, Woken
from shared.refresh import records
from shared.refresh.engine import Engine, Ports
from shared.refresh.inputs import Delivered, Told
from shared.refresh.ports import Document, Phase, Started, StoreDownError
from shared.refresh.state import (
    Deployment,
    Edition,
    JudgedBy,
    Notice,
    Outbox,
    Owed,
    Position,
    Situation,
    State,
    Success,
    Wake,
)
from shared.refresh.telling import Teller
from shared.targets import Cloud, Target
from tests.support.core import (
    GLUE,
    NOON,
    POLICY,
    Bench,
    HandClock,
    ScriptedPlatform,
    a_run,
    a_target,
    at,
    report,
    seconds,
)

OWED = Owed(at(-100), at(-100), reasons=("why",))
RUN = replace(a_run(Situation.RUNNING, covering=OWED), next_look_at=NOON)
RUNNING = State(run=RUN, last_claim_at=NOON, wake_at=NOON)
END = at(-1)


QUICK = replace(GLUE, call_timeout=seconds(5))
"""A platform whose calls fit into an invocation of nine seconds."""


def succeeding() -> ScriptedPlatform:
    """A platform on which the run has succeeded, and others can be started."""
    return ScriptedPlatform(QUICK, get=[report(Phase.SUCCEEDED, ended_at=END)], start=[Started("r2", NOON)])


def with_followers(*names: str, platform: ScriptedPlatform | None = None) -> Bench:
    """A target that is about to succeed, and these that come after it."""
    bench = Bench(a_target(), *(a_target(name, after=("daily",)) for name in names), platform=platform or succeeding())
    bench.plan()
    for name in names:
        bench.put(State(), name)
    bench.put(RUNNING)
    return bench


def is_told(bench: Bench, name: str) -> bool:
    """Whether a follower is owed a refresh for the success."""
    owed = bench.state(name).owed
    return owed is not None and owed.reasons == ("after daily",)


def noting_at_start(bench: Bench, name: str) -> list[bool]:
    """Whether a follower was told already when the platform was asked for a start, once for each start."""
    noted: list[bool] = []

    def start() -> Started:
        noted.append(is_told(bench, name))
        return Started("r2", NOON)

    bench.platform.answers["start"] = [start]
    return noted


# --- What is recorded ------------------------------------------------------------------------------------------------


def test_the_save_of_a_success_records_that_followers_are_to_be_told() -> None:
    """One save: before it neither is known, after it nothing can be lost. Its time is the end of the run."""
    bench = with_followers("after")
    bench.engine.reconcile(bench.target())
    state = bench.state()
    assert (state.fresh_as_of, state.outbox) == (NOON, Outbox(Success(END), next_at=at(10)))
    assert not is_told(bench, "after")


def test_a_record_with_something_to_tell_is_due() -> None:
    """When the one who was to tell is late by ten seconds: a tick finds it, and a wake is on its way."""
    bench = with_followers("after")
    bench.engine.reconcile(bench.target())
    state = bench.state()
    assert (state.wake_at, at(10) in state.wakes) == (at(10), True)
    bench.at(10)
    assert list(bench.store.due(at(10), 9)) == [bench.target().key]


def test_a_success_that_nobody_follows_costs_one_save() -> None:
    """Nothing is to be told."""
    bench = with_followers()
    saves = bench.store.saves
    bench.engine.reconcile(bench.target())
    bench.engine.tell()
    assert (bench.state().outbox, bench.store.saves - saves) == (Outbox(), 1)


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED])
def test_what_is_no_success_is_told_to_nobody(phase: Phase) -> None:
    """There is nothing new to read."""
    bench = with_followers("after", platform=ScriptedPlatform(get=[report(phase)]))
    bench.engine.reconcile(bench.target())
    bench.engine.tell()
    assert (bench.state().outbox, bench.state("after").owed) == (Outbox(), None)


# --- Telling ---------------------------------------------------------------------------------------------------------


def test_followers_are_signalled_and_nothing_is_left() -> None:
    """The signal has the time of the run's end, as the record of the upstream target said before."""
    bench = with_followers("after", "later")
    bench.engine.reconcile(bench.target())
    bench.engine.tell()
    owed = bench.state("after").owed
    assert owed
    assert (owed.oldest, owed.reasons, owed.asked) == (END, ("after daily",), False)
    assert is_told(bench, "later")
    assert bench.state().outbox == Outbox()


def test_followers_are_told_in_the_order_of_their_keys() -> None:
    """Whatever the order of the file: so the last key says who was told."""
    bench = with_followers("c", "a", "b")
    saved: list[str] = []
    bench.engine.reconcile(bench.target())
    bench.store.before_save = saved.append
    bench.engine.tell()
    assert saved == [bench.target(name).key for name in ("a", "b", "c", "daily")]


def test_what_is_due_for_the_target_comes_before_what_it_tells() -> None:
    """More is owed already: the next run starts, then the followers hear of the last one."""
    bench = with_followers("after")
    bench.put(replace(RUNNING, last_claim_at=at(-900), owed=OWED))
    told_at_start = noting_at_start(bench, "after")
    take(bench.engine, bench.configuration, [Ticked()])
    assert told_at_start == [False]
    assert is_told(bench, "after")


def test_no_target_of_a_tick_waits_for_what_another_one_tells() -> None:
    """All that is due is reconciled first."""
    names = [f"f{number}" for number in range(5)]
    bench = with_followers(*names)
    other = a_target("zz")
    engine = bench.engine_of(*bench.configuration.targets, other)
    bench.configuration = Configuration((*bench.configuration.targets, other))
    bench.put(State(owed=OWED, wake_at=NOON), "zz")
    told_at_start = noting_at_start(bench, "f0")
    take(engine, bench.configuration, [Ticked()])
    assert told_at_start == [False]
    assert all(is_told(bench, name) for name in names)


def test_one_worker_tells_at_a_time() -> None:
    """Another one that looks meanwhile finds that it is not its turn."""
    bench = with_followers("after")
    bench.engine.reconcile(bench.target())
    other = bench.engine_of(*bench.configuration.targets)
    bench.at(9)
    other.reconcile(bench.target(), force=True)
    other.tell()
    assert not is_told(bench, "after")


def test_who_was_to_tell_and_did_not_is_replaced() -> None:
    """Ten seconds later: the worker died after the save."""
    bench = with_followers("after")
    bench.engine.reconcile(bench.target())
    bench.at(10)
    other = bench.engine_of(*bench.configuration.targets)
    other.wake(Wake(bench.target().key, at(10), "nobody's"))
    assert bench.state().wake_at == at(20)
    other.tell()
    assert is_told(bench, "after")
    assert bench.state().outbox == Outbox()


def test_who_lost_its_turn_tells_no_more() -> None:
    """A worker that froze for ten seconds after it saved the success."""
    bench = with_followers("after")
    bench.engine.reconcile(bench.target())
    bench.at(10)
    bench.engine_of(*bench.configuration.targets).reconcile(bench.target())
    bench.engine.tell()
    assert not is_told(bench, "after")
    assert bench.state().outbox == Outbox(Success(END), next_at=at(20))


def test_a_success_during_the_telling_is_told_afterwards() -> None:
    """It ends while the first followers hear of the one before: these hear of it again, with the later time."""
    bench = with_followers("a", "b")
    later = at(5)

    def end_again(key: str) -> None:
        if key == bench.target("b").key:
            bench.store.before_save = lambda _key: None
            known = bench.state().outbox
            bench.put(replace(bench.state(), outbox=replace(known, waiting=later)))

    bench.engine.reconcile(bench.target())
    bench.store.before_save = end_again
    bench.engine.tell()
    owed = [bench.state(name).owed for name in ("a", "b")]
    assert [each.newest >= later for each in owed if each] == [True, True]
    assert bench.state().outbox == Outbox()


def test_how_far_it_got_is_put_into_whatever_the_record_has_become() -> None:
    """A signal that came meanwhile stays."""
    bench = with_followers("after")

    def be_first(key: str) -> None:
        if key == bench.target().key:
            bench.store.before_save = lambda _key: None
            bench.put(replace(bench.state(), owed=OWED))

    bench.engine.reconcile(bench.target())
    bench.store.before_save = be_first
    bench.engine.tell()
    assert (bench.state().owed, bench.state().outbox) == (OWED, Outbox())


def test_a_follower_in_trouble_is_told_later_and_those_before_it_once() -> None:
    """The store is down for it; nothing of that sends a delivery back, and the log says so."""
    bench = with_followers("a", "b", "c")

    def down_for_b(key: str) -> None:
        if key == bench.target("b").key:
            raise StoreDownError("b is down")

    bench.store.before_save = down_for_b
    assert [judged.verdict for judged in take(bench.engine, bench.configuration, [Ticked()])] == ["done"]
    assert bench.state().outbox == Outbox(Success(END, bench.target("a").key), next_at=at(10))
    assert [event.fields["why"] for event in bench.told if event.what == "not told"] == ["StoreDownError: b is down"]
    bench.at(10)
    saved: list[str] = []
    bench.store.before_save = saved.append
    next_one = bench.engine_of(*bench.configuration.targets)
    next_one.reconcile(bench.target())
    next_one.tell()
    assert saved == [bench.target(name).key for name in ("daily", "b", "c", "daily")]
    assert all(is_told(bench, name) for name in "abc")


def test_what_cannot_be_read_while_telling_keeps_nobody_else_waiting() -> None:
    """Two targets tell; the store is down for the record of the first."""
    first, second = a_target("first"), a_target("second")
    bench = Bench(
        first,
        second,
        a_target("a", after=("first",)),
        a_target("b", after=("second",)),
        platform=succeeding(),
    )
    for name in ("a", "b"):
        bench.put(State(), name)
    for name in ("first", "second"):
        bench.put(RUNNING, name)
        bench.engine.reconcile(bench.target(name))
    load = bench.store.load

    def down_for_first(key: str) -> Document:
        if key == first.key:
            raise StoreDownError("first is down")
        return load(key)

    bench.store.load = down_for_first  # type: ignore[method-assign]
    bench.engine.tell()
    bench.store.load = load  # type: ignore[method-assign]
    owed = bench.state("b").owed
    assert owed
    assert (bench.state("a").owed, owed.reasons) == (None, ("after second",))


def test_the_command_line_tells_nobody() -> None:
    """It may not call the platform, and leaves the record as due as it was."""
    bench = with_followers("after")
    outbox = Outbox(Success(END), next_at=NOON)
    bench.put(State(outbox=outbox, wake_at=NOON))
    bench.engine.reconcile(bench.target(), force=True, may_call=False)
    bench.engine.tell()
    assert (bench.state().outbox, bench.state().wake_at) == (outbox, NOON)


# --- Crashes ---------------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The worker is gone."""


class MortalStore(MemoryStore):
    """A store at whose n-th call the worker dies, before or after it took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at, self.after, self.calls = 0, False, 0

    def _effect(self, do: Any) -> Any:
        self.calls += 1
        dies = self.calls == self.dies_at
        if dies and not self.after:
            raise KilledError
        result = do()
        if dies:
            raise KilledError
        return result

    def load(self, key: str) -> Document:
        """Read."""
        return self._effect(lambda: MemoryStore.load(self, key)) if self.dies_at else super().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Write."""
        return self._effect(lambda: _save(self, document, body, wake_at))


def _save(store: MemoryStore, document: Document, body: bytes, wake_at: datetime | None) -> Document:
    dies_at, store.dies_at = store.dies_at, 0  # type: ignore[attr-defined]
    try:
        return MemoryStore.save(store, document, body, wake_at)
    finally:
        store.dies_at = dies_at  # type: ignore[attr-defined]


def _reconcile_and_tell(engine: Engine, target: Target) -> None:
    engine.reconcile(target)
    engine.tell()


EFFECTS = 14
"""Calls of the store in the invocation that reads of the success and tells three followers; a test counts them."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("effect", range(1, EFFECTS + 1))
def test_a_worker_that_dies_anywhere_loses_nothing(effect: int, *, after: bool) -> None:
    """Ticks come every ten seconds here: all followers hear of the success at its time, and nothing is left to tell."""
    bench = with_followers("a", "b", "c")
    store = MortalStore()
    for name in ("a", "b", "c", "daily"):
        document = bench.store.load(bench.target(name).key)
        store.save(Document(document.key), document.body, records.read_state(document.body).wake_at)
    store.save(Document(records.DEPLOYMENT_KEY), bench.store.load(records.DEPLOYMENT_KEY).body, None)
    ports = replace(bench.ports, store=store)
    store.calls, store.dies_at, store.after = 0, effect, after
    engine = Engine(bench.configuration.package(Cloud.AWS), ports)
    with pytest.raises(KilledError):
        _reconcile_and_tell(engine, bench.target())
    store.dies_at = 0
    for turn in range(1, 4):
        bench.at(10 * turn)
        take(Engine(bench.configuration.package(Cloud.AWS), ports), bench.configuration, [Ticked()])
    for name in ("a", "b", "c"):
        owed = records.read_state(store.load(bench.target(name).key).body).owed
        assert owed
        assert owed.oldest == END
    assert records.read_state(store.load(bench.target().key).body).outbox == Outbox()


def test_the_crashes_are_at_all_effects() -> None:
    """One more would not be reached."""
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_worker_that_dies_anywhere_loses_nothing(EFFECTS + 1, after=True)


# --- Wide ------------------------------------------------------------------------------------------------------------

CALL = seconds(0.04)
INVOCATION = 9.0


class SlowStore(MemoryStore):
    """A store whose calls take 40 ms each, while it is slow, and which counts the reads of each record."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self.clock = clock
        self.is_slow = False
        self.reads: Counter[str] = Counter()

    def look(self, key: str) -> bytes:
        """Read without a call."""
        return MemoryStore.load(self, key).body

    def _call(self) -> None:
        self.clock.time += CALL if self.is_slow else seconds(0)

    def load(self, key: str) -> Document:
        """Read, slowly."""
        self._call()
        self.reads[key] += 1
        return super().load(key)

    def save(self, document: Document, body: bytes, wake_at: datetime | None) -> Document:
        """Write, slowly; the read that `MemoryStore` makes for it is the call."""
        self.reads[document.key] -= 1
        return super().save(document, body, wake_at)

    def due(self, now: datetime, limit: int | None = None) -> Iterator[str]:
        """Ask the index, slowly."""
        self._call()
        return super().due(now, limit)

    def append(self, key: str, entry_id: str, body: bytes, expires_at: datetime) -> None:
        """Write, slowly."""
        self._call()
        super().append(key, entry_id, body, expires_at)


class SlowWaker(MemoryWaker):
    """A queue that takes 40 ms for a message."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.clock = clock

    def send(self, wake: Wake, delay: timedelta) -> None:
        """Send, slowly."""
        self.clock.time += CALL
        super().send(wake, delay)


class Wide:
    """A target with a thousand followers, and one that has nothing to do with it, on a slow store.

    One worker at a time: it takes wakes as they come due, and ticks each minute, for nine seconds an invocation.
    """

    def __init__(self, followers: int, *, wakes: bool = True) -> None:
        self.clock = HandClock()
        self.store, self.waker = SlowStore(self.clock), SlowWaker(self.clock)
        self.takes_wakes = wakes
        self.wide, self.other = a_target("wide"), a_target("other")
        later = replace(POLICY, quiet_period=seconds(7200), max_wait=seconds(7200))
        self.followers = [a_target(f"f{number}", after=("wide",), policy=later) for number in range(followers)]
        self.platform = succeeding()
        tokens = count(1)
        self.ports = Ports(
            Cloud.AWS,
            self.store,
            self.platform,
            self.waker,
            self.clock,
            lambda: f"t{next(tokens)}",
            lambda _event: None,
        )
        self.configuration = Configuration((self.wide, self.other, *self.followers))
        self.lasted: list[float] = []
        self.recorded_at: datetime | None = None
        for target in self.configuration.targets:
            self.put(target, State())
        self.roll_out()

    def put(self, target: Target, state: State) -> None:
        """Have the store know this of a target."""
        planned = replace(state, definition=target.definition, planned_until=NOON, edition=1)
        self.store.save(self.store.load(target.key), records.write(planned), planned.wake_at)

    def roll_out(self) -> None:
        """Have ticks plan the configuration, before anything happens."""
        made = self.configuration
        planned = Deployment(edition=Edition(1, made.fingerprint, made.generation))
        self.store.save(self.store.load(records.DEPLOYMENT_KEY), records.write(planned), None)

    def state(self, target: Target) -> State:
        """What the store knows of it, without a call."""
        return records.read_state(self.store.look(target.key))

    def run(self, until: float) -> None:
        """Let wakes and ticks come, one after the other."""
        next_tick = NOON
        while self.clock.time < at(until):
            for message in self._due(next_tick):
                if isinstance(message, Ticked):
                    next_tick += timedelta(minutes=1)
                self._invoke(message)
            self.clock.time += seconds(0.1)

    def _due(self, next_tick: datetime) -> Iterator[Any]:
        if self.clock.time >= next_tick:
            yield Ticked()
        for wake in self.waker.take_due():
            if self.takes_wakes:
                yield Woken(wake)

    def _invoke(self, message: Any) -> None:
        begun = self.clock.monotonic()
        engine = Engine(self.configuration.package(Cloud.AWS), self.ports, ends_at=begun + INVOCATION)
        [judged] = take(engine, self.configuration, [message])
        assert judged.verdict == "done", judged.why
        self.lasted.append(self.clock.monotonic() - begun)
        if self.recorded_at is None and self.state(self.wide).fresh_as_of:
            self.recorded_at = self.clock.time


@pytest.mark.parametrize("wakes", [True, False], ids=["wakes", "ticks alone"])
def test_a_thousand_followers_are_told_and_nobody_waits_for_that(*, wakes: bool) -> None:
    """On a store that takes 40 ms a call, with 9 s an invocation: the success is recorded by the first invocation, none
    lasts longer than it may, all followers are told of it, each once or twice, and other targets start meanwhile.
    """
    wide = Wide(1000, wakes=wakes)
    wide.put(wide.wide, RUNNING)
    wide.put(wide.other, State(owed=OWED, wake_at=at(60)))
    wide.store.is_slow = True
    wide.store.reads.clear()
    wide.run(240 if wakes else 1200)
    assert wide.recorded_at
    assert wide.recorded_at <= at(INVOCATION + 1)
    assert max(wide.lasted) <= INVOCATION + 0.5
    owed = [wide.state(follower).owed for follower in wide.followers]
    assert [each.oldest for each in owed if each] == [END] * 1000
    assert wide.state(wide.wide).outbox == Outbox()
    assert sum(wide.store.reads[follower.key] for follower in wide.followers) <= 1100
    other = wide.state(wide.other)
    assert other.last_claim_at
    assert other.last_claim_at <= at(60 + 2 * INVOCATION)


# --- The teller by itself --------------------------------------------------------------------------------------------


class NotingOutcomes:
    """Sends outcome events: keeps of which targets, and says how far it came."""

    def __init__(self, delivered: Delivered) -> None:
        self.delivered = delivered
        self.asked: list[str] = []

    def deliver(self, target: Target, state: State, is_over: Any) -> Delivered:
        """Keep it."""
        assert not is_over()
        assert state.outbox.notices
        self.asked.append(target.name)
        return self.delivered


FOLLOWERS = tuple(a_target(name) for name in "abcdef")


@pytest.mark.parametrize(
    ("told_up_to", "down", "ends_at", "told", "saved"),
    [
        ("", "", 9, "abcde", ("e", at(15))),
        ("", "", 2, "ab", ("b", at(2))),
        ("b", "", 9, "cdef", ("f", at(14))),
        ("b", "c", 9, "", ("b", at(10))),
        ("b", "e", 2, "cd", ("d", at(2))),
        ("b", "d", 2, "c", ("c", at(11))),
    ],
    ids=["five seconds", "time over", "gone on with", "down at once", "over first", "down first"],
)
def test_how_far_followers_were_told_is_saved(
    told_up_to: str, down: str, ends_at: float, told: str, saved: tuple[str, datetime]
) -> None:
    """After five seconds, when time is over, or when a follower's record cannot be written; each takes a second here.

    Whose time is over leaves the rest to whoever is next, at once; all others are waited for.
    """
    keys = {"": "", **{follower.name: follower.key for follower in FOLLOWERS}}
    store, clock, target = MemoryStore(), HandClock(), a_target()
    outbox = Outbox(Success(END, keys[told_up_to]), next_at=at(10))
    store.save(store.load(target.key), records.write(State(outbox=outbox)), None)
    signalled, folded = list[str](), list[Any]()

    def fold(concerned: Target, inputs: Any) -> None:
        if concerned == target:
            folded.extend(inputs)
            teller.note_save(target, Outbox(), clock.now())
        elif concerned.name == down:
            raise StoreDownError(down)
        else:
            signalled.append(concerned.name)
            clock.time += seconds(1)

    def is_over() -> bool:
        return clock.monotonic() >= ends_at

    teller = Teller(store, clock, fold, lambda _: FOLLOWERS, is_over, is_current=lambda: True)
    teller.note_save(target, outbox, NOON)
    went_wrong = [str(trouble) for _, trouble in teller.tell()]
    assert went_wrong == ([down] if down and down != "e" else [])
    assert "".join(signalled) == told
    up_to, next_at = saved
    assert folded == [Told(END, keys[up_to], up_to == "f", next_at)]


def test_a_worker_whose_time_is_over_before_the_first_follower_moves_nothing_back() -> None:
    """It read the record slowly: those that were told stay told, and whoever is next goes on after them."""
    bench = with_followers("a", "b")
    told_up_to = bench.target("a").key
    bench.put(State(outbox=Outbox(Success(END, told_up_to), next_at=NOON), wake_at=NOON))
    bench.engine.reconcile(bench.target())
    load = bench.store.load

    def slow(key: str) -> Document:
        bench.engine.end_by(bench.clock.monotonic())
        return load(key)

    bench.store.load = slow  # type: ignore[method-assign]
    bench.engine.tell()
    assert bench.state().outbox == Outbox(Success(END, told_up_to), next_at=NOON)
    assert "not told" not in bench.words()


NOTICES = (Notice(1, "held", NOON), Notice(2, "released", at(3)))
TO_TELL = State(outbox=Outbox(notices=NOTICES, last_number=2, next_at=at(10)), definition="d")


@pytest.mark.parametrize(
    ("is_current", "told"),
    [
        (True, Delivered((Position("x", 1),), at(20))),
        (False, Delivered((Position("x", 1),), at(67), is_complete=False)),
    ],
)
def test_who_is_not_current_leaves_events_to_who_is(is_current: bool, told: Delivered) -> None:
    """It knows its own destinations alone: nothing is forgotten, and the rest is due again in a minute."""
    store, clock = MemoryStore(), HandClock()
    clock.time = at(7)
    target = a_target()
    store.save(store.load(target.key), records.write(TO_TELL), None)
    outcomes = NotingOutcomes(Delivered((Position("x", 1),), at(20)))
    folded: list[Any] = []
    teller = Teller(
        store,
        clock,
        lambda told, inputs: folded.append((told.name, inputs)),
        lambda _target: (),
        lambda: False,
        is_current=lambda: is_current,
        outcomes=outcomes,
    )
    teller.note_save(target, TO_TELL.outbox, at(7))
    assert teller.tell() == []
    assert (outcomes.asked, folded) == (["daily"], [("daily", (told,))])


@pytest.mark.parametrize(("next_at", "is_taken"), [(NOON, False), (at(0.1), True), (at(10), True), (at(10.1), False)])
def test_only_what_is_due_soon_is_ones_own_to_tell(next_at: datetime, is_taken: bool) -> None:
    """Now is for whoever comes next; further ahead, a destination that failed is left alone until then."""
    store, target = MemoryStore(), a_target()
    outbox = replace(TO_TELL.outbox, next_at=next_at)
    store.save(store.load(target.key), records.write(State(outbox=outbox)), None)
    outcomes = NotingOutcomes(Delivered((), NOON))
    teller = Teller(
        store, HandClock(), lambda *_: None, lambda _: (), lambda: False, is_current=lambda: True, outcomes=outcomes
    )
    teller.note_save(target, outbox, NOON)
    teller.tell()
    assert (outcomes.asked == ["daily"]) is is_taken


@pytest.mark.parametrize("definition", ["", "d"], ids=["gone", "back"])
def test_the_events_of_a_target_that_is_gone_are_told_and_noted(definition: str) -> None:
    """Under the name that it had; where it came back meanwhile, its own record says what is left to tell."""
    store, target = MemoryStore(), a_target()
    judged_by = JudgedBy("its name", None, None, seconds(1), seconds(2))
    state = replace(TO_TELL, definition=definition, judged_by=judged_by)
    store.save(store.load(target.key), records.write(state), None)
    outcomes = NotingOutcomes(Delivered((Position("x", 1),), at(20)))
    teller = Teller(
        store, HandClock(), lambda *_: None, lambda _: (), lambda: False, is_current=lambda: True, outcomes=outcomes
    )
    teller.note_gone(target.key, at(10))
    assert teller.tell() == []
    assert outcomes.asked == ["its name"]
    after = records.read_state(store.load(target.key).body)
    if definition:
        assert after == state
    else:
        outbox = Outbox(notices=NOTICES[1:], positions=(Position("x", 1),), last_number=2, next_at=at(20))
        assert after == replace(state, outbox=outbox, wake_at=at(20))
        assert list(store.due(at(20))) == [target.key]


def test_trouble_with_a_target_that_is_gone_is_given_by_its_key() -> None:
    """Where its record does not say how it was called, that is its name; one that moved on is told by who is next."""

    class Down(NotingOutcomes):
        def deliver(self, target: Target, state: State, is_over: Any) -> Delivered:
            """Say so."""
            super().deliver(target, state, is_over)
            raise StoreDownError("down")

    store, target = MemoryStore(), a_target()
    store.save(store.load(target.key), records.write(replace(TO_TELL, definition="")), None)
    outcomes = Down(Delivered((), NOON))
    teller = Teller(
        store, HandClock(), lambda *_: None, lambda _: (), lambda: False, is_current=lambda: True, outcomes=outcomes
    )
    teller.note_gone(target.key, at(11))
    assert (teller.tell(), outcomes.asked) == ([], [])
    teller.note_gone(target.key, at(10))
    [(gone, trouble)] = teller.tell()
    assert (gone.key, str(trouble), outcomes.asked) == (target.key, "down", [target.key])
