"""The excerpt of the records that a tick writes for readers who may not read the store."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import MsgspecError
from msgspec.structs import replace

from shared.refresh import excerpt, records
from shared.refresh.engine import Engine, LogEvent
from shared.refresh.evidence import SourceStatus
from shared.refresh.excerpt import EVERY, MOST_BYTES, MOST_LINES, Excerpt, Excerpts, TooLargeError, encode, read_excerpt
from shared.refresh.identity import Day, Identity
from shared.refresh.ports import StoreDownError
from shared.refresh.state import Deployment, Ended, Outcome, State
from shared.refresh.sweep import Sweep
from tests.support.core import NOON, Bench, a_target, at

SOURCE = SourceStatus("sales.orders", version="7", since=NOON)
LINE = Ended("t1", Outcome.SUCCEEDED, at(10), at(20), signals=3, reasons=("data",))


class Shelf:
    """The place, in memory; it refuses where a test says so."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.refusal: Exception | None = None

    def put(self, body: bytes) -> None:
        """Keep it."""
        if self.refusal:
            raise self.refusal
        self.bodies.append(body)


class Deployed(Bench):
    """Two targets whose deployment has a place for excerpts."""

    def __init__(self, ends_at: float = 1e9) -> None:
        super().__init__(a_target("daily"), a_target("weekly"), ends_at=ends_at)
        self.shelf = Shelf()
        self.ports = replace(self.ports, excerpt=self.excerpts())
        self.engine = self.engine_by(ends_at)
        self.plan()

    def excerpts(self) -> Excerpts:
        """What writes one."""

        def statuses(targets: object, store: object, now: object) -> dict[str, tuple[SourceStatus, ...]]:
            assert (store, now) == (self.store, self.clock.now())
            assert isinstance(targets, tuple)
            return {self.target().key: (SOURCE,)}

        return Excerpts(self.store, self.shelf, self.told.append, statuses)

    def engine_by(self, ends_at: float) -> Engine:
        """Another invocation of the same package, which ends then."""
        return Engine(self.engine.package, self.ports, ends_at=ends_at)

    def tick(self, minutes: float) -> None:
        """A tick, so many minutes after noon, of a new invocation."""
        self.at(minutes * 60)
        Sweep(self.engine_by(1e12)).tick()


def test_a_tick_writes_what_the_page_is_made_of() -> None:
    """The records of deployment, targets and identities, how sources stand, and history with the newest line first."""
    bench = Deployed()
    bench.put(State(fresh_as_of=NOON))
    target = bench.target()
    identity = Identity(today=Day(NOON.date(), 3))
    key = records.identity_key(target.identity)
    bench.store.save(bench.store.load(key), records.write(identity), None)
    for number in range(3):
        line = replace(LINE, token=f"t{number}")
        bench.store.append(target.key, f"{number}", records.write(line), at(1e6))
    bench.tick(1)
    [body] = bench.shelf.bodies
    found = read_excerpt(body)
    assert found.at == at(60)
    assert found.deployment.ticked_at == at(60)
    assert found.states[target.key].fresh_as_of == NOON
    assert found.states.keys() == {each.key for each in bench.configuration.targets}
    assert found.identities == {target.identity: identity}
    assert found.sources == {target.key: (SOURCE,)}
    assert [line.token for line in found.history[target.key]] == ["t2", "t1", "t0"]


def test_no_more_than_one_is_written_in_five_minutes() -> None:
    """However many ticks come, and from however many workers."""
    bench = Deployed()
    for minute in (1, 1, 2, 5.9, 6, 7, 12):
        bench.tick(minute)
    assert [read_excerpt(body).at for body in bench.shelf.bodies] == [at(60), at(360), at(720)]
    assert timedelta(minutes=5) == EVERY


def test_of_two_workers_one_writes() -> None:
    """Whoever finds that the record moved on leaves it to a later tick."""
    bench = Deployed()

    def interfere(key: str) -> None:
        bench.store.before_save = lambda _key: None
        other = bench.store.load(key)
        bench.store.save(other, other.body, None)

    bench.store.before_save = interfere
    bench.excerpts()(bench.configuration.targets, at(0), lambda: False)
    assert not bench.shelf.bodies
    bench.excerpts()(bench.configuration.targets, at(0), lambda: False)
    assert len(bench.shelf.bodies) == 1


def test_a_place_that_refuses_disturbs_no_tick() -> None:
    """It is logged, and tried again when the next one is due: a bucket that is gone costs no history each minute."""
    bench = Deployed()
    bench.shelf.refusal = StoreDownError("no bucket")
    bench.tick(1)
    bench.tick(2)
    assert [one for one in bench.told if one.what == "excerpt not written"] == [
        LogEvent("excerpt not written", "", at(60), {"error": "no bucket"})
    ]
    bench.shelf.refusal = None
    bench.tick(6)
    assert len(bench.shelf.bodies) == 1


def test_an_older_package_and_one_without_time_write_none() -> None:
    """Its states are not the current package's; and a tick's own work comes first."""
    bench = Deployed()
    known = Deployment(edition=replace(bench.engine.note_tick().edition, generation=at(1e6)))  # type: ignore[type-var]
    bench.store.save(bench.store.load(records.DEPLOYMENT_KEY), records.write(known), None)
    bench.tick(1)
    late = Deployed()
    Sweep(late.engine_by(0)).tick()
    assert not bench.shelf.bodies + late.shelf.bodies
    spent = Deployed()
    spent.excerpts()(spent.configuration.targets, at(0), lambda: True)
    assert not spent.shelf.bodies
    assert [(one.what, one.fields) for one in spent.told] == [
        ("excerpt not written", {"error": "no time for the history of daily: 0 of 2 were read"})
    ]


def test_lines_are_shared_out_among_many_targets() -> None:
    """A deployment of twenty thousand targets reads one line of each."""
    asked: list[int] = []
    bench = Deployed()
    history = bench.store.history

    def note(key: str, limit: int) -> object:
        asked.append(limit)
        return history(key, limit)

    bench.store.history = note  # type: ignore[method-assign, assignment]
    for times, most in ((MOST_LINES, 1), (7, 714), (1, 1000)):
        asked.clear()
        bench.excerpts()._read(bench.configuration.targets * times, Deployment(), NOON, lambda: False)
        assert set(asked) == {most}


def test_an_excerpt_is_bounded() -> None:
    """Half of the lines are left out until it fits, the oldest; records that do not fit alone are told."""
    lines = tuple(replace(LINE, token=f"t{number}", error="x" * 2000) for number in range(3000))
    long = Excerpt(NOON, Deployment(), {"a": State()}, {}, {}, {"a": lines, "b": lines[:1]})
    body = encode(long)
    assert MOST_BYTES / 3 < len(body) <= MOST_BYTES
    kept = read_excerpt(body).history
    assert kept == {"a": lines[:1500], "b": ()}
    with pytest.raises(TooLargeError, match=r"^the records alone are [0-9]+ bytes, of at most 4000000$"):
        encode(replace(long, states={f"{number}": State(last_error="x" * 10_000) for number in range(500)}))


def test_an_excerpt_as_large_as_may_be_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more, and half of the lines are left out."""
    whole = Excerpt(NOON, Deployment(), {"a": State()}, {}, {}, {"a": (LINE, LINE)})
    size = len(encode(whole))
    monkeypatch.setattr(excerpt, "MOST_BYTES", size)
    assert read_excerpt(encode(whole)) == whole
    monkeypatch.setattr(excerpt, "MOST_BYTES", size - 1)
    assert read_excerpt(encode(whole)).history == {"a": (LINE,)}


def test_what_is_no_excerpt_is_refused() -> None:
    """And one of a later release is left alone."""
    with pytest.raises(MsgspecError):
        read_excerpt(b"{}")
    with pytest.raises(records.NewerRecordError):
        read_excerpt(b'{"format":%d,"record":{}}' % (records.FORMAT + 1))


def test_begin_is_noted_once() -> None:
    """The record of a deployment that never had one says nothing."""
    begun = excerpt.begin(Deployment(), NOON)
    assert begun.excerpt_at == NOON
    assert excerpt.begin(begun, NOON + EVERY - timedelta(seconds=1)) is begun
