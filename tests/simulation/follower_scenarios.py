"""Histories written by hand about telling followers of a success (rule 10); `scenarios.py` says how they are played."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from shared.refresh.inputs import Told
from shared.refresh.ports import Document, StoreDownError
from shared.refresh.state import Outbox, State, Success
from shared.targets import Target
from tests.simulation.core import Core
from tests.simulation.faults import Fate, Script
from tests.simulation.scenarios import POLICY, REST, arrivals, deployed, starts_at, told
from tests.simulation.world import Simulation, at, make_target

WIDE = 24
"""Followers: more than three invocations can tell while every effect takes a third of a second."""
SLOW = 0.3


class SlowScript(Script):
    """A script whose effects take a third of a second each."""

    def pause(self, effect: str) -> float:
        """Longer than written."""
        return super().pause(effect) + SLOW


def followers(count: int) -> Sequence[Target]:
    """Targets that come after `v` and are in no hurry, in another order than that of their keys."""
    policy = replace(POLICY, quiet_period=timedelta(seconds=900), max_wait=timedelta(seconds=900))
    names = [f"w{number:02}" for number in reversed(range(count))]
    return [make_target(name, "glue", policy, after=("v",)) for name in names]


def wide(core: Core, script: Script, **world: Any) -> Simulation:
    """A target with many followers on a slow store, whose invocations last for 14 s unless told otherwise."""
    world = {"ends_within": 14.0, **world}
    return deployed(core, "glue", script, make_target("v", "glue", POLICY), *followers(WIDE), **world)


def untold(sim: Simulation) -> str:
    """The followers that were signalled of no success."""
    names = [each.name for each in sim.configuration.targets if each.after and sim.state(each.key).fresh_as_of is None]
    return f"LOST: {len(names)} followers were not told: {names}" if names else ""


def many_followers(core: Core) -> list[str]:
    """More followers than one invocation can tell are all told, each one going on where the last stopped."""
    sim = wide(core, SlowScript())
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim, untold(sim))


def many_followers_by_ticks(core: Core) -> list[str]:
    """The same while no wake arrives."""
    sim = wide(core, SlowScript(), wakes=False)
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim, untold(sim))


def many_look_while_one_tells(core: Core) -> list[str]:
    """Signals for the upstream target come while its followers are told: whoever takes them does not tell, too."""
    sim = wide(core, SlowScript(fates={1: Fate(5.0)}))
    reads: Counter[str] = Counter()
    load = sim.store.load

    def counting(key: str) -> Document:
        reads[key] += 1
        return load(key)

    arrivals(sim, 1.0)
    sim.scheduler.run(40.0)
    arrivals(sim, *(40.0 + number for number in range(60)))
    sim.store.load = counting  # type: ignore[method-assign]
    sim.scheduler.run(120.0)
    most = max(reads[each.key] for each in sim.configuration.targets if each.after)
    sim.store.load = load  # type: ignore[method-assign]
    sim.scheduler.run(REST)
    return told(sim, untold(sim), most > 10 and f"UNBOUNDED: a follower's record was read {most} times")


def its_own_start_first(core: Core) -> list[str]:
    """A target that owes more starts again at once after a success, and tells its many followers then."""
    sim = wide(core, SlowScript(fates={1: Fate(60.0), 2: Fate(5.0)}), ends_within=60.0)
    arrivals(sim, 1.0, 40.0)
    sim.scheduler.run(REST)
    first = sim.platform.of(sim.configuration.targets[0])[0]
    waited = starts_at(sim)[1] - first.ends
    return told(
        sim, untold(sim), waited > 20 and f"STUCK: the next start came {waited:.0f} s after the end of the first"
    )


def dies_and_no_wake_comes(core: Core) -> list[str]:
    """A worker dies as soon as the success is saved, and no wake ever arrives: a tick finds what is to be told."""
    script = Script(fates={1: Fate(20.0)})
    targets = make_target("v", "glue", POLICY), *followers(1)
    sim = deployed(core, "glue", script, *targets, wakes=False)
    arrivals(sim, 1.0)
    script.crash_when = lambda: sim.state(targets[0].key).fresh_as_of is not None
    sim.scheduler.run(REST)
    return told(sim, untold(sim))


def a_follower_in_trouble(core: Core) -> list[str]:
    """The store is down for one follower, once: it is told later."""
    targets = [make_target("v", "glue", POLICY), *followers(3)]
    sim = deployed(core, "glue", Script(), *targets)
    save = sim.store.save
    failed: list[str] = []

    def down_once(document: Document, body: bytes, wake_at: Any) -> Document:
        if document.key == targets[2].key and not failed:
            failed.append(document.key)
            raise StoreDownError
        return save(document, body, wake_at)

    sim.store.save = down_once  # type: ignore[method-assign]
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim, untold(sim))


def three_successes(core: Core) -> list[str]:
    """While one success is told two more end: the latest waits, and the first goes on from where it was."""
    outbox = Outbox(Success(at(5), "k"), next_at=at(2))
    for end in (7, 9):
        outbox = core.outbox.note_success(outbox, at(end), at(0))
    fine = outbox == Outbox(Success(at(5), "k"), at(9), at(2))
    return [] if fine else [f"LOST: {outbox}"]


def told_of_another(core: Core) -> list[str]:
    """What a frozen worker told of a success that is over does not count for the one that is being told now."""
    outbox = Outbox(Success(at(9), "c"), next_at=at(10))
    after = core.outbox.note_told(outbox, Told(at(5), "z", all_told=True, next_at=at(20)))
    return [] if after == outbox else [f"LOST: {after}"]


def who_lost_its_turn(core: Core) -> list[str]:
    """A worker that froze after it saved a success tells nobody, because another one tells by now."""
    sim = deployed(core, "glue", Script(), make_target("v", "glue", POLICY), *followers(2))
    given: list[Any] = []
    target = sim.configuration.targets[0]
    taken = Outbox(Success(at(0)), next_at=at(20))
    sim.store.save(sim.store.load(target.key), core.engine.records.write(State(outbox=taken)), at(20))
    teller = core.telling.Teller(
        sim.store,
        _Standing(),
        lambda *told_to: given.append(told_to),
        lambda _: sim.configuration.targets[1:],
        lambda: len(given) > 5,
        is_current=lambda: True,
    )
    teller.note_save(target, replace(taken, next_at=at(10)), at(0))
    teller.tell()
    return [f"UNBOUNDED: {given}"] if given else []


def no_time_left(core: Core) -> list[str]:
    """Who tells stops when the time of the invocation is over, and says that the rest is due at once."""
    sim = deployed(core, "glue", Script(), make_target("v", "glue", POLICY), *followers(9))
    target = sim.configuration.targets[0]
    key = target.key
    body = core.engine.records.write(State(outbox=Outbox(Success(at(0)), next_at=at(10))))
    sim.store.save(sim.store.load(key), body, at(10))
    given: list[tuple[Target, Any]] = []
    teller = core.telling.Teller(
        sim.store,
        _Standing(),
        lambda target, inputs: given.append((target, *inputs)),
        lambda _target: sim.configuration.targets[1:],
        lambda: len(given) >= 4,
        is_current=lambda: True,
    )
    teller.note_save(target, Outbox(Success(at(0)), next_at=at(10)), at(0))
    teller.tell()
    told_of = [each.name for each, _ in given]
    fine = told_of == ["w00", "w01", "w02", "w03", "v"] and given[-1][1].next_at == at(0)
    return [] if fine else [f"UNBOUNDED: {given}"]


class _Standing:
    """A clock that stands still."""

    def now(self) -> Any:
        """Zero."""
        return at(0)

    def monotonic(self) -> float:
        """Zero."""
        return 0.0
