"""Histories written by hand: what goes wrong so rarely, or so quietly, that no seed can be counted on to show it.

Each plays on the core that it is given and says what is wrong; on what ships, nothing is. A deployment begins planned
and idle at time 0, in true seconds; effects take 20 ms unless the script says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from msgspec.structs import replace

from shared.config.load import Configuration
from shared.inbound.arrivals import ObjectArrived
from shared.inbound.messages import Arrived
from shared.refresh import records
from shared.refresh.inputs import Listed, Reported, Signalled
from shared.refresh.ports import Document, Phase, Report
from shared.refresh.state import Blocked, Deployment, Edition, Owed, Run, Signal, Situation, State
from shared.targets import GlueView, Policy, Schedule, Target
from tests.simulation.core import Core
from tests.simulation.faults import CallFault, Fate, Script
from tests.simulation.judge import violations
from tests.simulation.platform import PlatformRun, character
from tests.simulation.world import Need, Simulation, at, make_target

Tale = Callable[[Core], list[str]]

LISTING, CALL = 20.0, 10.0
POLICY = Policy(
    quiet_period=timedelta(seconds=8),
    max_wait=timedelta(seconds=600),
    min_interval=timedelta(0),
    visibility_lag=timedelta(seconds=10),
    timeout=timedelta(seconds=600),
)
LONG = Fate(seconds=400.0)
LOST = CallFault(0.1, 0.1, "lost")
HOUR, DAY = 3600.0, 86400.0
REST = 4 * HOUR
"""Longer than the judge's patience."""


def deployed(
    core: Core,
    kind: str = "glue",
    script: Script | None = None,
    *targets: Target,
    policy: Policy = POLICY,
    **world: Any,
) -> Simulation:
    """A deployment of these targets, or of one called `v`, that is planned already."""
    configuration = Configuration(targets or (make_target("v", kind, policy),))
    sim = Simulation(core, script or Script(), character(kind, LISTING, CALL), configuration, **world)
    for target in configuration.targets:
        settle(sim, target)
    package = configuration.package(configuration.targets[0].cloud)
    deployment = Deployment(edition=Edition(1, package.fingerprint, package.generation), ticked_at=at(0))
    sim.store.save(sim.store.load(records.DEPLOYMENT_KEY), records.write(deployment), None)
    return sim


def settle(sim: Simulation, target: Target, **known: Any) -> None:
    """Write a target's record: planned, idle, and what else is known of it."""
    state = State(**{"definition": target.definition, "planned_until": at(0), "edition": 1, **known})
    sim.store.save(Document(target.key), records.write(state), state.wake_at)


def arrivals(sim: Simulation, *times: float, bucket: str = "v", **how: Any) -> None:
    """Data arrives at these times."""
    for time in times:
        sim.scheduler.at(time, partial(sim.arrive, bucket, **how))


def ours(sim: Simulation, name: str = "v") -> list[PlatformRun]:
    """The runs that we started."""
    return [run for run in sim.platform.of(sim.configuration.by_name[name]) if run.ours]


def told(sim: Simulation, *also: str | bool) -> list[str]:
    """What is wrong with a tale: what judges find, and what it asked for itself."""
    return [*violations(sim), *(one if isinstance(one, str) else "the tale says so" for one in also if one)]


def too_many(runs: Iterable[PlatformRun], most: int) -> str:
    """More runs than there were reasons."""
    starts = [round(run.created) for run in runs]
    return f"UNBOUNDED: {len(starts)} runs, at {starts}, instead of {most}" if len(starts) > most else ""


def starts_at(sim: Simulation, name: str = "v") -> list[float]:
    """When our starts reached the platform."""
    key = sim.configuration.by_name[name].key
    return [attempt.time for attempt in sim.platform.attempts if attempt.key == key]


def context_of(core: Core, kind: str = "glue", policy: Policy = POLICY) -> Any:
    """What the machine knows of a target."""
    return core.timing.Context("glue-view:1:d:v", policy, character(kind, LISTING, CALL).capabilities)


# --- 1. Fold ---------------------------------------------------------------------------------------------------------


def a_full_signal_after_a_partial_run(core: Core) -> list[str]:
    """A full signal that comes late is owed although a run that was not full covers its time."""
    late = Signalled(Signal(at(0), "full", full=True))
    for known in (State(fresh_as_of=at(50)), State(run=_running(covering=None))):
        folded = core.machine.fold(known, late, context_of(core), at(100)).state
        if not (folded.owed and folded.owed.full):
            return [f"LOST: a full signal, in {folded}"]
    return []


def visible_after_the_claim(core: Core) -> list[str]:
    """An object of before a claim is visible only after it, and its event comes last: that run has not read it."""
    sim = deployed(core)
    arrivals(sim, 90.0)
    arrivals(sim, 104.0, dated=98.0, visible_after=4.0)
    sim.scheduler.run(REST)
    return told(sim, starts_at(sim)[0] > 104)


def _running(**known: Any) -> Run:
    return Run("claim", at(50), Situation.RUNNING, at(60), run_id="run-1", **known)


def asked_by_a_slow_clock(core: Core) -> list[str]:
    """What a worker was asked whose clock is behind is owed from a time that no run covers: so `status` is true."""
    asked = Signalled(Signal(at(-10), "asked", asked=True))
    owed = core.machine.fold(State(fresh_as_of=at(50)), asked, context_of(core), at(-10)).state.owed
    fine = owed is not None and owed.oldest + POLICY.visibility_lag > at(50)
    return [] if fine else [f"UNTRUE: owed {owed} while fresh as of {at(50)}"]


def asked_during_a_run(core: Core) -> list[str]:
    """Somebody asks while a run goes on, and the worker that hears it is a minute behind: the run does not cover it."""
    script = Script(fates={1: Fate(100.0)})
    sim = deployed(core, script=script)
    arrivals(sim, 1.0)
    sim.scheduler.run(50.0)
    script.clock = -60.0
    sim.ask("v")
    sim.scheduler.run(52.0)
    script.clock = 0.0
    sim.scheduler.run(REST)
    return told(sim)


def asked_after_a_run(core: Core) -> list[str]:
    """Somebody asks after a run, and the worker that hears it is a minute behind: the run does not cover it."""
    script = Script(fates={1: Fate(5.0)})
    sim = deployed(core, script=script)
    arrivals(sim, 1.0)
    sim.scheduler.run(40.0)
    script.clock = -60.0
    sim.ask("v")
    sim.scheduler.run(42.0)
    script.clock = 0.0
    sim.scheduler.run(REST)
    return told(sim)


def an_event_from_next_year(core: Core) -> list[str]:
    """A source whose clock is wrong by months does not make its target wait for months."""
    sim = deployed(core)
    arrivals(sim, 5.0, dated=1e7)
    sim.scheduler.run(DAY)
    return told(sim)


def a_replay(core: Core) -> list[str]:
    """The same event, delivered again for hours, costs nothing."""
    sim = deployed(core, script=Script(sent={("event", 1): (0.1, 0.2, 300.0, 3000.0, 9000.0)}))
    arrivals(sim, 1.0)
    sim.scheduler.run(DAY)
    return told(sim, too_many(ours(sim), 1))


# --- 2. Storm --------------------------------------------------------------------------------------------------------


def a_storm(core: Core) -> list[str]:
    """A thousand arrivals in ten seconds cost a write for each step of two seconds, and those of the run."""
    sim = deployed(core)
    arrivals(sim, *(1 + number / 100 for number in range(1000)))
    sim.scheduler.run(REST)
    saves = sim.store.saves[sim.configuration.targets[0].key]
    return told(sim, saves > 25 and f"UNBOUNDED: {saves} writes")


def rounded(core: Core) -> list[str]:
    """An object that is visible only when its lag is over is read, wherever in a step it arrived."""
    second = timedelta(seconds=1)
    policy = replace(POLICY, quiet_period=40 * second, visibility_lag=40 * second)
    sim = deployed(core, policy=policy)
    arrivals(sim, 9.9, visible_after=40.0)
    sim.scheduler.run(REST)
    return told(sim)


def absorbed(core: Core) -> list[str]:
    """A signal at or before `newest` is absorbed only if it asks for nothing more."""
    owed = Owed(at(0), at(40))
    for signal in (Signal(at(10), "full", full=True), Signal(at(10), "asked", asked=True)):
        after = core.owed.owe(owed, signal.time, signal, POLICY)
        if (after.full, after.asked) != (signal.full, signal.asked):
            return [f"LOST: {signal} in {after}"]
    return []


# --- 3. Ready --------------------------------------------------------------------------------------------------------


def lag_beyond_quiet(core: Core) -> list[str]:
    """One arrival is worth one run, also where it takes longer to be visible than to be quiet."""
    policy = replace(POLICY, quiet_period=timedelta(seconds=1), visibility_lag=timedelta(seconds=45))
    sim = deployed(core, policy=policy)
    arrivals(sim, 1.0, visible_after=45.0)
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 1))


def never_quiet(core: Core) -> list[str]:
    """Arrivals that never pause do not keep a target waiting for longer than the maximum wait."""
    sim = deployed(core, policy=replace(POLICY, max_wait=timedelta(seconds=60)))
    arrivals(sim, *(5.0 * number for number in range(1, 120)))
    sim.scheduler.run(REST)
    first = ours(sim)[0].created
    return told(sim, first > 80 and f"STUCK: the first run only at {first:.0f}")


def a_slow_burst(core: Core) -> list[str]:
    """Arrivals a few seconds apart are one burst, and one run."""
    sim = deployed(core, policy=replace(POLICY, visibility_lag=timedelta(seconds=2)))
    arrivals(sim, *(4.0 * number for number in range(1, 12)))
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 1))


def busy(core: Core) -> list[str]:
    """A platform that refuses again and again is tried after 30 s, 1 min, 2 min and so on."""
    refused = {("start", number): CallFault(failure="rejected") for number in range(1, 6)}
    sim = deployed(core, script=Script(calls=refused))
    arrivals(sim, 1.0)
    sim.scheduler.run(DAY)
    first = ours(sim)[0].created
    return told(sim, first < 900 and f"UNBOUNDED: the sixth start at {first:.0f}")


def failing(core: Core) -> list[str]:
    """A target whose runs fail is tried after 30 s, 1 min, 2 min and so on, but at least every hour."""
    sim = deployed(core, script=Script(fates={number: Fate(2.0, "failed") for number in range(1, 13)}))
    arrivals(sim, 1.0)
    sim.scheduler.run(DAY)
    waits = [later.created - earlier.created for earlier, later in pairwise(ours(sim))]
    return told(sim, sum(waits[:5]) < 900 and f"UNBOUNDED: {waits}", max(waits) > HOUR + 100 and f"STUCK: {waits}")


def escalating(core: Core) -> list[str]:
    """After every two failures a full refresh is tried."""
    sim = deployed(
        core,
        script=Script(fates={number: Fate(2.0, "failed") for number in range(1, 4)}),
        policy=replace(POLICY, after_failures=2),
    )
    arrivals(sim, 1.0)
    sim.scheduler.run(DAY)
    full = [run.asked_full for run in ours(sim)]
    return told(sim, full != [False, False, True, False] and f"STUCK: full {full}")


def polled_by_the_last_runs(core: Core) -> list[str]:
    """A run like the last ones is polled seldom while it lasts as long as they did, and soon after."""
    hour = _polls(core, 3630.0)
    hinted = _polls(core, 3630.0, hinted=True)
    asked = _polls(core, 3630.0, covering=Owed(at(-60), at(-60), asked=True))
    overdue = _polls(core, 300.0, timeout=300.0)
    wrong = {
        f"UNBOUNDED: {len(hour)} polls of an hour": len(hour) > 20,
        f"STUCK: an end may be noticed {max(_waits(hour)):.0f} s late": max(_waits(hour)) > 600,
        f"STUCK: the last polls of an hour came at {hour[-2:]}": hour[-1] > 3700,
        f"STUCK: after a hint, polls only at {hinted}": max(_waits(hinted)) > 60,
        f"STUCK: somebody waits, polls only at {asked}": max(_waits(asked)) > 60,
        f"STUCK: past the timeout, polls at {overdue}": overdue[-1] > 310,
    }
    return [said for said, is_wrong in wrong.items() if is_wrong]


def _polls(core: Core, lasts: float, timeout: float = 6 * HOUR, **known: Any) -> list[float]:
    """When a run that lasts so long is polled, if the last one took an hour, until a poll meets its end."""
    run = Run("claim", at(0), Situation.RUNNING, at(5), run_id="run-1", created_at=at(0), **known)
    state = State(run=run, run_times=(timedelta(hours=1),))
    context = context_of(core, policy=replace(POLICY, timeout=timedelta(seconds=timeout)))
    times = [5.0]
    while times[-1] < lasts:
        report = Reported(Report("run-1", Phase.ACTIVE, "RUNNING", created_at=at(0)))
        state = core.machine.fold(state, report, context, at(times[-1])).state
        times.append((state.run.next_look_at - at(0)).total_seconds())
    return times


def _waits(times: list[float]) -> list[float]:
    """How long after the poll before each poll comes."""
    return [later - earlier for earlier, later in pairwise(times)]


def one_is_throttled(core: Core) -> list[str]:
    """Throttled is the identity: nothing of its other targets is sent before the platform's time is over."""
    throttled = CallFault(failure="throttled", retry_after=400.0)
    targets = (make_target("v", "glue", POLICY), make_target("w", "glue", POLICY))
    sim = deployed(core, "glue", Script(calls={("start", 1): throttled}), *targets)
    arrivals(sim, 1.0)
    arrivals(sim, 30.0, bucket="w")
    sim.scheduler.run(REST)
    early = min(attempt.time for attempt in sim.platform.attempts)
    return told(sim, early < 411 and f"UNBOUNDED: a start at {early:.0f}")


def all_are_throttled(core: Core) -> list[str]:
    """Starts that were held up together are spread."""
    throttled = {("start", number): CallFault(failure="throttled", retry_after=60.0) for number in range(1, 21)}
    targets = tuple(make_target(f"v{number}", "glue", POLICY) for number in range(20))
    sim = deployed(core, "glue", Script(calls=throttled), *targets)
    for target in targets:
        arrivals(sim, 1.0, bucket=target.name)
    sim.scheduler.run(REST)
    times = sorted(attempt.time for attempt in sim.platform.attempts)
    at_once = max(sum(time <= other < time + 1 for other in times) for time in times)
    return told(sim, at_once > 6 and f"UNBOUNDED: {at_once} starts in one second")


# --- 4. Claim --------------------------------------------------------------------------------------------------------


def both_halves(core: Core) -> list[str]:
    """Both halves of a split keep what was asked: which of them asked is unknown."""
    covered, rest = core.owed.split(Owed(at(0), at(40), full=True, asked=True), at(20))
    kept = [(half.full, half.asked) for half in (covered, rest)]
    return [] if kept == [(True, True)] * 2 else [f"LOST: {kept}"]


def a_full_schedule_comes_due_in_the_late_half(core: Core) -> list[str]:
    """A minute before 12:07, by a clock that is a minute ahead, a run is claimed because of an older arrival: it covers
    that one only, and the next one must be the full one.
    """
    second = timedelta(seconds=1)
    policy = replace(POLICY, quiet_period=90 * second, max_wait=82 * second)
    target = make_target("v", "glue", policy, full_schedule=Schedule("7 12 * * *"))
    sim = deployed(core, "glue", Script(clock=60.0), target)
    sim.needs.append(Need(target.key, 420.0, 420.0, full=True, why="scheduled"))
    arrivals(sim, 340.0)
    sim.scheduler.run(REST)
    return told(sim)


def claimed_late(core: Core) -> list[str]:
    """A worker whose clock is a minute behind claims, freezes for almost a minute before the claim is written, and is
    about to send when another one finds the claim's lease over and nothing in the list.
    """
    script = Script(
        clock=-60.0,
        pauses={("save>", 5): 56.5},  # after those of the event, two ticks and the place
        calls={("start", 1): CallFault(9.9, 0.05)},
    )
    sim = deployed(core, "lax", script, wakes=False)
    arrivals(sim, 1.0)
    sim.scheduler.run(178.0)
    script.clock = 0.0
    sim.scheduler.run(REST)
    return told(sim)


def the_longest_way_into_the_list(core: Core) -> list[str]:
    """A claim is written and sent as late as allowed by a clock that is a minute behind, takes effect and is listed as
    late as allowed, and its answer is lost; from then on others look every second.
    """
    script = Script(
        clock=-60.0,
        pauses={("save>", 4): 4.8},  # after those of the event, a tick and the place
        calls={("start", 1): CallFault(9.9, 9.9)},
        fates={1: Fate(400.0, listed_after=LISTING)},
    )
    sim = deployed(core, "lax", script)
    arrivals(sim, 1.0)
    sim.scheduler.run(80.0)
    script.clock = 0.0
    arrivals(sim, *(80.0 + number for number in range(100)))
    sim.scheduler.run(REST)
    return told(sim)


# --- 5. Follow -------------------------------------------------------------------------------------------------------


def late_for_our_run(core: Core) -> list[str]:
    """Data that came while our run went on, and whose event comes after its end, is not in it."""
    sim = deployed(core, script=Script(fates={1: Fate(100.0)}, sent={("event", 2): (150.0,)}))
    arrivals(sim, 1.0, 30.0)
    sim.scheduler.run(REST)
    return told(sim)


def frozen_with_a_404(core: Core) -> list[str]:
    """A worker that froze for longer than the grace period with a 404 in its hand does not end the run."""
    script = Script(pauses={("get<", 1): 400.0}, fates={1: Fate(900.0, shown_after=10.0)})
    sim = deployed(core, "lax", script, policy=replace(POLICY, timeout=timedelta(hours=1)))
    arrivals(sim, 1.0, 100.0)
    sim.scheduler.run(REST)
    return told(sim)


# --- 6. Someone else's run, 7. unknown outcome -----------------------------------------------------------------------


def too_late_for_a_foreign_run(core: Core) -> list[str]:
    """Someone else's run began before the data could be read for certain: it is adopted, and does not cover it."""
    sim = deployed(core, "glue", Script(fates={1: LONG}))
    arrivals(sim, 105.0, visible_after=10.0)
    sim.scheduler.at(110.0, partial(sim.foreign_start, "v"))
    sim.scheduler.run(REST)
    return told(sim)


def not_as_full(core: Core) -> list[str]:
    """An adopted run is full only if the platform says so: it covers nothing that asks for full, nor a later signal."""
    listed = Listed((Report("run-1", Phase.ACTIVE, "Running", created_at=at(51)),))
    ended = Reported(Report("run-1", Phase.SUCCEEDED, "Succeeded", created_at=at(51), ended_at=at(90)))
    late = Signalled(Signal(at(5), "full", full=True))
    for full, happened in ((True, (listed, ended)), (False, (listed, late, ended))):
        covering = Owed(at(0), at(20), full=full)
        state = State(run=Run("claim", at(50), Situation.CLAIMED, at(60), full=True, covering=covering))
        for given in happened:
            state = core.machine.fold(state, given, context_of(core), at(100)).state
        if not (state.owed and state.owed.full and state.full_as_of is None):
            return [f"LOST: a full signal, in {state}"]
    return []


def asked_and_adopted(core: Core) -> list[str]:
    """What is asked is covered only by a run that is known as ours."""
    claimed = Run("claim", at(50), Situation.CLAIMED, at(60), covering=Owed(at(0), at(20), asked=True))
    listed = Listed((Report("run-1", Phase.ACTIVE, "Running", created_at=at(51)),))
    state = core.machine.fold(State(run=claimed), listed, context_of(core), at(100)).state
    return [] if state.owed and state.owed.asked else [f"LOST: an asked signal, in {state}"]


def resolved(core: Core, blocker_ended: float, *told: str) -> State:
    """Fold the list into a run of ours that ended Cancelled at 105, created at 100; another one had ended before."""
    run = Run("claim", at(100), Situation.CANCEL_UNCLEAR, at(105), "ours", created_at=at(100), ended_at=at(105))
    blocker = Report("theirs", Phase.SUCCEEDED, "Completed", created_at=at(-500), ended_at=at(blocker_ended))
    context = core.timing.Context("lake", POLICY, character("fabric", LISTING, CALL).capabilities)
    state = State(run=replace(run, covering=Owed(at(0), at(20))), known_ends=dict.fromkeys(told, at(90)))
    return core.machine.fold(state, Listed((blocker,)), context, at(400)).state


def an_end_told_too_early(core: Core) -> list[str]:
    """A run was in our way although the platform tells its end 100 s before ours was created: a skip, not a cancel."""
    state = resolved(core, 0.0)
    return [f"HELD: nobody cancelled, {state.hold}"] if state.hold else []


def a_cancel_after_our_own_end(core: Core) -> list[str]:
    """A person cancels our run two minutes after we heard of the end of the run before: that explains no skip."""
    state = resolved(core, -20.0, "theirs")
    return [] if state.hold else ["DISREGARDED: a person's cancel"]


def a_foreign_failure(core: Core) -> list[str]:
    """Someone else's run fails: that is no failure of ours, and no reason to wait."""
    sim = deployed(core, "glue", Script(fates={1: Fate(60.0, "failed")}))
    sim.scheduler.at(5.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    first = ours(sim)[0].created
    return told(sim, first > 92 and f"STUCK: until {first:.0f}")


def three_at_once(core: Core) -> list[str]:
    """An answer is lost where runs overlap: of three that may be ours, all must end before we start anew."""
    script = Script(calls={("start", 1): LOST}, fates={1: Fate(900.0), 2: Fate(500.0), 3: Fate(200.0)})
    sim = deployed(core, "lax", script, policy=replace(POLICY, timeout=timedelta(hours=1)))
    arrivals(sim, 1.0, 60.0)
    for time in (20.0, 25.0):
        sim.scheduler.at(time, partial(sim.foreign_start, "v"))
    sim.scheduler.run(REST)
    return told(sim)


def one_of_two_is_over(core: Core) -> list[str]:
    """An answer is lost where runs overlap, and a newer run of someone else's is over: ours goes on."""
    script = Script(calls={("start", 1): LOST}, fates={1: Fate(900.0, odd=(50.0, 300.0)), 2: Fate(20.0)})
    sim = deployed(core, "lax", script, policy=replace(POLICY, timeout=timedelta(hours=1)))
    arrivals(sim, 1.0, 60.0)
    sim.scheduler.at(30.0, partial(sim.foreign_start, "v"))
    sim.scheduler.run(REST)
    return told(sim)


def one_of_two_is_over_there(core: Core) -> list[str]:
    """The same where both are running when we look, and the newer one ends first."""
    script = Script(calls={("start", 1): LOST}, fates={1: Fate(900.0), 2: Fate(200.0)})
    sim = deployed(core, "lax", script, policy=replace(POLICY, timeout=timedelta(hours=1)))
    arrivals(sim, 1.0, 60.0)
    sim.scheduler.at(30.0, partial(sim.foreign_start, "v"))
    sim.scheduler.run(REST)
    return told(sim)


def refused_and_not_listed_yet(core: Core) -> list[str]:
    """Ours is refused for a run that the list does not show yet: one start is enough to know."""
    sim = deployed(core, "glue", Script(fates={1: Fate(300.0, listed_after=LISTING)}))
    sim.scheduler.at(11.5, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    starts = starts_at(sim)
    return told(sim, len(starts) != 2 and f"UNBOUNDED: starts at {starts}")


def refused_and_never_listed(core: Core) -> list[str]:
    """Ours is refused for a run that ended before anybody could list it."""
    sim = deployed(core, "glue", Script(fates={1: Fate(2.0, listed_after=DAY)}))
    sim.scheduler.at(11.5, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


# --- 8. Lost runs, 9. refused ----------------------------------------------------------------------------------------


def endless_and_uncancellable(core: Core) -> list[str]:
    """A run that never ends and cannot be cancelled is shown as one block, with its beginning, at any time after."""
    sim = deployed(core, "glue", Script(fates={1: Fate(float("inf"), cancel_refused=True)}))
    arrivals(sim, 1.0)
    blocked_since: set[object] = set()

    def see() -> None:
        hold = sim.state(sim.configuration.targets[0].key).hold
        blocked_since.add(hold.since if isinstance(hold, Blocked) else None)

    for time in range(1500, 5000, 100):
        sim.scheduler.at(float(time), see)
    sim.scheduler.run(5000.0)
    return told(sim, None in blocked_since or len(blocked_since) > 1)


def dies_after_a_cancel(core: Core) -> list[str]:
    """A run is past its timeout; the worker that cancels it is gone as soon as the cancel took effect."""
    script = Script(fates={1: Fate(float("inf"), cancel_takes=1.0)})
    sim = deployed(core, "glue", script)
    arrivals(sim, 1.0)
    script.crash_when = lambda: any(run.cancelled_by for run in ours(sim))
    sim.scheduler.run(REST)
    return told(sim)


def freezes_before_a_cancel(core: Core) -> list[str]:
    """A worker freezes between the intent to cancel and the call; when it thaws, the view has the next run of ours.

    run 1      ---------- timeout ------ ends by itself
    frozen          intent saved |. . . . . . . . . . . . . . . . . . . . . .| no cancel is sent any more
    others                          polled, over, data arrives, run 2 ----------------------- ends by itself
    """
    script = Script(fates={1: Fate(seconds=650.0), 2: LONG}, freeze=200.0)
    sim = deployed(core, "glue", script)
    arrivals(sim, 1.0, 660.0)
    script.crash_when = lambda: sim.state(sim.configuration.targets[0].key).situation is Situation.CANCELLING
    sim.scheduler.run(REST)
    return told(sim, script.crash_when is not None, any(run.cancelled_by for run in ours(sim)))


def denied(core: Core) -> list[str]:
    """No permission for three hours: blocked, with the reason, and probed a few times; then it heals by itself."""
    sim = deployed(core)
    key = sim.configuration.targets[0].key
    sim.platform.denied.append((0.0, 3 * HOUR, frozenset({"start"})))
    arrivals(sim, 1.0)
    sim.scheduler.run(3 * HOUR)
    calls, hold = sim.faults.called("start"), sim.state(key).hold  # type: ignore[attr-defined]
    sim.scheduler.run(DAY)
    unseen = not (isinstance(hold, Blocked) and "AccessDenied" in hold.reason)
    return told(sim, calls > 10 and f"UNBOUNDED: {calls} probes", unseen and f"UNSEEN: {hold}")


def denied_and_asked(core: Core) -> list[str]:
    """Who repaired the permission and asks for a refresh sees at once whether that was it."""
    sim = deployed(core)
    sim.platform.denied.append((0.0, 2000.0, frozenset({"start"})))
    arrivals(sim, 1.0)
    sim.scheduler.at(2001.0, partial(sim.ask, "v", by_person=True))
    sim.scheduler.run(REST)
    first = ours(sim)[0].created
    return told(sim, first > 2030 and f"STUCK: until {first:.0f}")


def a_person_cancels(core: Core) -> list[str]:
    """A person's cancel of our run stands, whatever duplicates come, until someone resumes."""
    script = Script(fates={1: Fate(100.0, cancelled_by_person_after=5.0)}, sent={("event", 1): (0.1, 200.0)})
    sim = deployed(core, "glue", script)
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    disrespected = too_many(ours(sim), 1)
    sim.pause("v", paused=False)
    sim.scheduler.run(2 * REST)
    return told(sim, disrespected, len(ours(sim)) != 2)


def a_person_cancels_and_resumes(core: Core) -> list[str]:
    """A person's cancel forgets nothing."""
    sim = deployed(core, "glue", Script(fates={1: Fate(100.0, cancelled_by_person_after=5.0)}))
    arrivals(sim, 1.0)
    sim.scheduler.at(HOUR, partial(sim.pause, "v", paused=False))
    sim.scheduler.run(REST)
    return told(sim, len(ours(sim)) != 2)


def cancelled_while_paused(core: Core) -> list[str]:
    """Somebody pauses, then cancels our run; data that comes later does not start another one."""
    script = Script(fates={1: Fate(100.0, cancelled_by_person_after=30.0)})
    sim = deployed(core, "glue", script)
    arrivals(sim, 1.0, 300.0)
    sim.scheduler.at(20.0, partial(sim.pause, "v", paused=True))
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 1))


def a_blocker_that_ended(core: Core) -> list[str]:
    """Ours is skipped for a run that is over when we look: that is no person's cancel."""
    sim = deployed(core, "fabric", Script(fates={1: Fate(6.0)}))
    sim.scheduler.at(10.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def a_blocker_not_listed_yet(core: Core) -> list[str]:
    """Ours is skipped for a run that the list does not show yet: that is no person's cancel."""
    sim = deployed(core, "fabric", Script(fates={1: Fate(400.0, listed_after=LISTING)}))
    sim.scheduler.at(10.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def a_blocker_and_no_list(core: Core) -> list[str]:
    """Ours is skipped, and the list cannot be read for a while: that is no person's cancel."""
    script = Script(fates={1: LONG}, calls={("list", number): LOST for number in range(1, 12)})
    sim = deployed(core, "fabric", script)
    sim.scheduler.at(10.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def frozen_with_an_early_list(core: Core) -> list[str]:
    """A worker that froze with a list from before the listing delay was over takes nobody's cancel from it."""
    script = Script(fates={1: Fate(400.0, listed_after=LISTING)}, pauses={("list<", 1): 200.0})
    sim = deployed(core, "fabric", script, wakes=False, ticks=False)
    sim.scheduler.at(10.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 1.0)
    for time in (13, 20, 25, *range(250, 4000, 50)):
        sim.tick(float(time))
    sim.scheduler.run(REST)
    return told(sim)


def an_old_unknown_status(core: Core) -> list[str]:
    """A run ended long ago with a status that nobody knows; a person cancels ours, again and again."""
    fates = {number: Fate(100.0, cancelled_by_person_after=2.0) for number in range(2, 200)}
    script = Script(fates={1: Fate(1.0, "odd"), **fates})
    second = timedelta(seconds=1)
    sim = deployed(core, "fabric", script, policy=replace(POLICY, timeout=60 * second, min_interval=120 * second))
    sim.scheduler.at(1.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 200.0)
    sim.scheduler.run(1400.0)
    return [one for one in [too_many(ours(sim), 11)] if one]


def an_unknown_status_for_hours(core: Core) -> list[str]:
    """A run with a status that nobody knows stays in the way past its timeout: each of our starts is skipped.

    Our own skipped runs end Cancelled, a dozen of them in the last minutes: none of these was in the way of the next.
    """
    script = Script(fates={1: Fate(2 * HOUR, odd=(1.0, 2 * HOUR))})
    second = timedelta(seconds=1)
    sim = deployed(core, "fabric", script, policy=replace(POLICY, timeout=60 * second, quiet_period=second))
    sim.scheduler.at(1.0, partial(sim.foreign_start, "v"))
    arrivals(sim, 200.0)
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 240))


# --- 10. After, 12. planning -----------------------------------------------------------------------------------------


def dies_after_a_success(core: Core) -> list[str]:
    """A worker that read of a success dies as soon as anything is saved: the follower is signalled all the same."""
    script = Script(fates={1: Fate(20.0)})
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY, after=("v",))
    sim = deployed(core, "glue", script, *targets)
    arrivals(sim, 1.0)
    script.crash_when = lambda: sim.state(targets[0].key).fresh_as_of is not None
    sim.scheduler.run(REST)
    return told(sim)


def a_follower_that_runs_already(core: Core) -> list[str]:
    """A follower's run that was claimed during the run that it follows does not cover that run's success."""
    script = Script(fates={1: Fate(100.0), 2: Fate(200.0)})
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY, after=("v",))
    sim = deployed(core, "glue", script, *targets)
    arrivals(sim, 1.0)
    arrivals(sim, 30.0, bucket="w")
    sim.scheduler.run(REST)
    return told(sim)


def gone_for_a_minute(core: Core) -> list[str]:
    """A target is taken out of the configuration, and put back before the walk that forgets it was over."""
    script = Script()
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", _slowly(400))
    sim = deployed(core, "glue", script, *targets)
    both = sim.configuration
    arrivals(sim, 1.0, bucket="w")
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration(targets[:1])))
    script.crash_when = lambda: sim.state(targets[1].key).definition == ""
    sim.scheduler.at(130.0, lambda: sim.configure(both))
    sim.scheduler.run(REST)
    return told(sim)


def _slowly(seconds: int) -> Policy:
    return replace(POLICY, quiet_period=timedelta(seconds=seconds))


def new_while_the_store_is_down(core: Core) -> list[str]:
    """The first look at a new target fails, and the walk goes on: it does not count as over."""
    script = Script(stores={("save", 4): "before"})
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY)
    sim = deployed(core, "glue", script, targets[0])
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration(targets)))
    sim.scheduler.run(REST)
    return told(sim)


def an_old_worker(core: Core) -> list[str]:
    """A tick froze before a target was new, and goes on after: it does not forget what it does not know."""
    script = Script(clock=60.0, pauses={("due>", 1): 65.0})
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY)
    sim = deployed(core, "glue", script, targets[0], wakes=False, ticks=False)
    sim.tick(60.0)
    sim.scheduler.run(61.0)
    script.clock = 0.0
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration(targets)))
    for time in (71, *range(130, 4000, 60)):
        sim.tick(float(time))
    sim.scheduler.run(REST)
    return told(sim)


def an_older_release_takes_it(core: Core) -> list[str]:
    """A newer release has a new target refreshed; then an older one, which is not gone yet, takes its next arrival."""
    script = Script(fates={1: Fate(5.0)})
    targets = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY)
    sim = deployed(core, "glue", script, targets[0], wakes=False, ticks=False)
    still_older = [False]
    sim.scheduler.at(70.0, lambda: sim.roll_out(Configuration(targets), lambda: still_older[0]))
    for time in range(71, 4000, 60):
        sim.tick(float(time))
    sim.scheduler.at(300.0, lambda: still_older.__setitem__(0, True))
    arrivals(sim, 300.5, bucket="w")
    sim.scheduler.at(305.0, sim.rolled_out)
    sim.scheduler.run(REST)
    return told(sim)


def a_hundred_are_new(core: Core) -> list[str]:
    """A tick that has time for few targets goes on where the one before had to stop."""
    targets = tuple(make_target(f"v{number:03}", "glue", POLICY) for number in range(120))
    sim = deployed(core, "glue", None, targets[0], ends_within=12.0, wakes=False)
    sim.scheduler.at(10.0, lambda: sim.configure(Configuration(targets)))
    sim.scheduler.run(REST)
    return told(sim)


V, W = make_target("v", "glue", POLICY), make_target("w", "glue", POLICY)
HOURLY = replace(V, schedule=Schedule("0 * * * *"))


class Fleet:
    """Workers of two packages, by hand: ticks and events at given seconds, each by the newer one or by the older."""

    def __init__(self, core: Core, *targets: Target, script: Script | None = None, **world: Any) -> None:
        self.by_older = False
        self.sim = deployed(core, "glue", script, *targets, **{"wakes": False, "ticks": False, **world})

    def update(self, time: float, *targets: Target) -> None:
        """A newer package is there from this second on, beside the one before."""
        self._at(time, lambda: self.sim.roll_out(Configuration(targets), lambda: self.by_older))

    def older(self, *times: float) -> None:
        """Ticks of the older package."""
        self._ticks(times, by_older=True)

    def newer(self, *times: float) -> None:
        """Ticks of the newer one."""
        self._ticks(times, by_older=False)

    def _ticks(self, times: Iterable[float], *, by_older: bool) -> None:
        for time in times:
            self._at(time - 0.01, partial(self._take_turns, by_older=by_older))
            self.sim.tick(time)

    def ignored(self, time: float, bucket: str = "w") -> None:
        """The older package takes an event of a source that it does not name."""
        self._at(time - 0.01, partial(self._take_turns, by_older=True))
        arrivals(self.sim, time, bucket=bucket)

    def _take_turns(self, *, by_older: bool) -> None:
        self.by_older = by_older

    def _at(self, time: float, do: Callable[[], None]) -> None:
        self.sim.scheduler.at(time, do)

    def end(self, begin: float) -> Simulation:
        """From this second on the newer package ticks alone, until all is at rest."""
        self._at(begin, self.sim.rolled_out)
        for time in range(int(begin) + 20, int(begin + REST), 60):
            self.sim.tick(float(time))
        self.sim.scheduler.run(begin + REST)
        return self.sim


def an_overlapping_rollout(core: Core) -> list[str]:
    """Seed 987700958: the older package ticks while the newer rolls out, and does not know what that has new."""
    fleet = Fleet(core, V)
    fleet.update(70.0, V, W)
    fleet.newer(80.0)
    fleet.older(100.0, 160.0)
    return told(fleet.end(200.0), not ours(fleet.sim, "w") and "LOST: the older package forgot it")


def an_older_file(core: Core) -> list[str]:
    """Somebody pauses and resumes, from a checkout without the schedule that is deployed: its times go on."""
    sim = deployed(core, "glue", None, HOURLY)
    sim.scheduler.at(1000.0, partial(sim.pause, "v", paused=True))
    sim.scheduler.at(1100.0, partial(sim.pause, "v", paused=False))
    sim.scheduler.run(3 * HOUR + 600)
    return told(sim, len(ours(sim)) != 3 and f"LOST: starts at {starts_at(sim)}")


def an_update(core: Core) -> list[str]:
    """A newer package names one more target: that is refreshed within minutes."""
    sim = deployed(core, "glue", None, V)
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration((V, W))))
    sim.scheduler.run(REST)
    return told(sim, not any(run.created < 600 for run in ours(sim, "w")) and f"LATE: {starts_at(sim, 'w')}")


def a_long_canary(core: Core) -> list[str]:
    """Both packages tick for two hours: the newer one stays the current edition."""
    fleet = Fleet(core, V)
    fleet.update(70.0, V, W)
    fleet.newer(*range(80, 7000, 300))
    fleet.older(*(time + 30.0 for time in range(80, 7000, 60)))
    fleet.sim.scheduler.run(7000.0)
    edition = fleet.sim.deployment().edition
    return told(fleet.end(7000.0), edition is None or edition.number != 2)


def a_rollback(core: Core) -> list[str]:
    """An update that took a target away is taken back, and nobody packages anything: the target is refreshed again."""
    sim = deployed(core, "glue", None, V, W)
    before = sim.configuration
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration((V,))))
    sim.scheduler.at(300.0, lambda: sim.roll_back(before))
    sim.scheduler.run(REST)
    return told(sim, not ours(sim, "w") and "LOST: nothing started for what came back")


def gone_while_it_owes(core: Core) -> list[str]:
    """A target is taken out of the configuration while it waits for its quiet period: no tick reads it any more."""
    sim = deployed(core, "glue", None, V, make_target("w", "glue", _slowly(600)))
    gone = sim.configuration.by_name["w"]
    arrivals(sim, 1.0, bucket="w")
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration((V,))))
    sim.scheduler.run(REST)
    read = sim.store.wake_at.get(gone.key) is not None
    return told(sim, read and "STUCK: it is still due", sim.state(gone.key).owed is None and "LOST: its record")


def three_packages_of_one_source(core: Core) -> list[str]:
    """Three packages without a change refresh nothing."""
    sim = deployed(core, "glue", None, V)
    for time in (70.0, 300.0, 600.0):
        sim.scheduler.at(time, lambda: sim.configure(Configuration((V,))))
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 0))


def an_edition_in_between(core: Core) -> list[str]:
    """An edition without a target takes an event of it, and is succeeded before a tick rolled it out."""
    sim = deployed(core, "glue", None, V, W, ticks=False, wakes=False)
    before = sim.configuration
    sim.scheduler.at(70.0, lambda: sim.configure(Configuration((V,))))
    arrivals(sim, 75.0, bucket="v")
    arrivals(sim, 80.0, bucket="w")
    sim.scheduler.at(85.0, lambda: sim.configure(before))
    for time in range(90, 4000, 60):
        sim.tick(float(time))
    sim.scheduler.run(REST)
    return told(sim, not ours(sim, "w") and "LOST: the event that was ignored")


def put_back_for_a_while(core: Core) -> list[str]:
    """An older package is put back for ten minutes and ignores an event; then a newer one follows."""
    sim = deployed(core, "glue", None, V, ticks=False, wakes=False)
    before, both = sim.configuration, Configuration((V, W))
    sim.scheduler.at(70.0, lambda: sim.configure(both))
    sim.scheduler.at(3000.0, lambda: sim.roll_back(before))
    arrivals(sim, 3200.0, bucket="w")
    sim.scheduler.at(3600.0, lambda: sim.configure(both))
    for time in range(80, 8000, 60):
        sim.tick(float(time))
    sim.scheduler.run(8000.0)
    read = any(run.created > 3200 for run in ours(sim, "w"))
    return told(sim, not read and "LOST: the event that was ignored")


def put_back_and_taken_back(core: Core) -> list[str]:
    """An older package is put back for ten minutes and ignores an event; then the same newer one is there again."""
    sim = deployed(core, "glue", None, V, ticks=False, wakes=False)
    before, both = sim.configuration, Configuration((V, W))
    sim.scheduler.at(70.0, lambda: sim.configure(both))
    newer: list[Configuration] = []
    sim.scheduler.at(2990.0, lambda: newer.append(sim.configuration))
    sim.scheduler.at(3000.0, lambda: sim.roll_back(before))
    arrivals(sim, 3200.0, bucket="w")
    sim.scheduler.at(3600.0, lambda: sim.roll_back(newer[0]))
    for time in range(80, 8000, 60):
        sim.tick(float(time))
    sim.scheduler.run(8000.0)
    read = any(run.created > 3200 for run in ours(sim, "w"))
    return told(sim, not read and "LOST: the event that was ignored")


def older_ticks_go_on(core: Core) -> list[str]:
    """Twenty minutes after an update an older worker is still there, and ignores what only the newer package names."""
    fleet = Fleet(core, V)
    fleet.update(70.0, V, W)
    fleet.newer(*range(80, 1300, 60))
    fleet.older(*(time + 30.0 for time in range(80, 1270, 60)))
    fleet.ignored(1275.0)
    sim = fleet.end(1300.0)
    read = any(run.created > 1275 for run in ours(sim, "w"))
    return told(sim, not read and "LOST: the event that was ignored")


def an_older_worker_writes_before_a_schedule(core: Core) -> list[str]:
    """A worker of the package without the schedule takes an event: the next time of the schedule comes all the same."""
    fleet = Fleet(core, V)
    fleet.update(70.0, HOURLY)
    fleet.older(*range(620, 2900, 600))  # it has workers all the time, and is not put back
    fleet.newer(80.0, *range(630, 2900, 600))
    fleet._at(2999.0, partial(fleet._take_turns, by_older=True))
    arrivals(fleet.sim, 3000.0)
    fleet.older(*range(3030, 3400, 30))
    sim = fleet.end(3400.0)
    return told(sim, not any(3600 <= time < 3800 for time in starts_at(sim)) and f"LOST: starts at {starts_at(sim)}")


def older_ticks_beside_a_schedule(core: Core) -> list[str]:
    """Ticks of both packages come each minute: what is due for the newer one is not put off by the older."""
    fleet = Fleet(core, HOURLY)
    fleet.update(70.0, replace(HOURLY, schedule=Schedule("30 * * * *")))
    fleet.newer(80.0, *range(630, 1800, 600), *range(1831, 2700, 62))
    fleet.older(*range(620, 1800, 600), *range(1801, 2700, 62))
    fleet.sim.scheduler.run(2400.0)
    late = not starts_at(fleet.sim)
    return told(fleet.end(2700.0), late and "LOST: the older package put the schedule off")


def a_new_schedule(core: Core) -> list[str]:
    """Schedule times before the schedule was first seen are no reasons."""
    target = make_target("v", "glue", POLICY)
    sim = deployed(core, "glue", None, target)
    scheduled = replace(target, schedule=Schedule("*/10 * * * *"))
    sim.scheduler.at(630.0, lambda: sim.configure(Configuration((scheduled,))))
    sim.scheduler.run(1190.0)
    return told(sim, too_many(ours(sim), 0))


def another_full_schedule(core: Core) -> list[str]:
    """A changed full refresh swallows no due time of the schedule beside it, which no tick has seen yet."""
    sim = deployed(core, "glue", None, HOURLY, ticks=False, wakes=False)
    changed = replace(HOURLY, full_schedule=Schedule("30 3 * * *"))
    sim.scheduler.at(3620.0, lambda: sim.configure(Configuration((changed,))))
    for time in range(3650, 4500, 60):
        sim.tick(float(time))
    sim.scheduler.run(4500.0)
    return told(sim, len(ours(sim)) != 1 and f"LOST: starts at {starts_at(sim)}")


def its_own_output(core: Core) -> list[str]:
    """A refresh writes files into the bucket that its target listens to: no reason for another."""
    view = make_target("v", "glue", POLICY)
    target = replace(view, resource=GlueView("1", "sales", "v", location="s3://v/view/"))
    sim = deployed(core, "glue", None, target)
    arrivals(sim, 1.0, key="orders/1")
    written = Arrived((ObjectArrived(at(100), "v", "view/part-0.parquet"),))
    sim.scheduler.at(100.0, lambda: sim.send(lambda _received: written))
    sim.scheduler.run(REST)
    return told(sim, too_many(ours(sim), 1))


# --- 13. Wakes -------------------------------------------------------------------------------------------------------


def no_wakes_to_send(core: Core) -> list[str]:
    """The queue of wakes is down: ticks go on, and messages are taken."""
    sim = deployed(core, script=Script(stores={("send", number): "before" for number in range(1, 1000)}))
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def one_wake_not_sent(core: Core) -> list[str]:
    """A wake that could not be sent is not waited for."""
    sim = deployed(core, script=Script(stores={("send", 1): "before"}), ticks=False)
    arrivals(sim, 1.0, 4.0)
    sim.scheduler.run(REST)
    return told(sim)


def one_wake_lost(core: Core) -> list[str]:
    """A wake that never arrives delays one start until the tick, and no other one."""
    sim = deployed(core, script=Script(sent={("wake", 1): ()}, fates={1: Fate(5.0)}))
    arrivals(sim, 1.0, 605.0)
    sim.scheduler.run(REST)
    last = ours(sim)[-1].created
    return told(sim, last > 620 and f"STUCK: until {last:.0f}")


def wakes_lost(core: Core) -> list[str]:
    """Wakes that never arrive are no longer named a quarter of an hour later, or they would take all the room."""
    _, named = core.decide.next_wake(tuple(at(-1000 - number) for number in range(5)), at(10), at(0))
    return [] if named == (at(10),) else [f"STUCK: {len(named)} wakes are named that are lost"]


def wakes_named(core: Core) -> list[str]:
    """While five wakes are on their way, no other is sent, however soon it is wanted."""
    due, _ = core.decide.next_wake(tuple(at(20 + number) for number in range(5)), at(10), at(0))
    return [] if due is None else ["UNBOUNDED: six wakes in flight"]


def wakes_come_twice(core: Core) -> list[str]:
    """Each wake is delivered twice, almost at once: there are not more and more of them."""
    script = Script(fates={1: Fate(3000.0)}, sent={("wake", number): (0.1, 0.13) for number in range(1, 5000)})
    sim = deployed(core, script=script, policy=replace(POLICY, timeout=timedelta(hours=2)))
    arrivals(sim, 1.0)
    sim.scheduler.run(2000.0)
    most = max(sim.most_wakes_in_flight.values())
    return told(sim, most > 6 and f"UNBOUNDED: {most} wakes in flight")


def overtaken_by_its_wake(core: Core) -> list[str]:
    """A wake arrives before the save that names it: the save is done again, with another wake."""
    sim = deployed(core, script=Script(pauses={("save>", 1): 25.0}), ticks=False)
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def overtaken_by_a_hair(core: Core) -> list[str]:
    """... and before it can tell, the save gets through: then the wake is a wake."""
    sim = deployed(core, script=Script(pauses={("save>", 1): 20.0, ("save>", 2): 15.0}), ticks=False)
    arrivals(sim, 1.0)
    sim.scheduler.run(REST)
    return told(sim)


def a_far_wake(core: Core) -> list[str]:
    """A schedule days away has one wake, however many near ones come and go."""
    target = make_target("v", "glue", POLICY, schedule=Schedule("0 6 3 * *"))
    sim = deployed(core, "glue", None, target)
    arrivals(sim, *(100.0 * number for number in range(1, 31)))
    sim.scheduler.run(REST)
    most = sim.most_wakes_in_flight[target.key]
    return told(sim, most > 5 and f"UNBOUNDED: {most} wakes in flight")
