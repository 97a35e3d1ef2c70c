"""The rules of the refresh machine, each sentence broken by itself, and where that must show.

A mutant is a copy of what ships in which a few words are replaced. It must be caught in histories drawn from seeds, in
the interleavings of the small world, or in a tale, a history written by hand for what is rare or quiet.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.simulation import follower_scenarios, scenarios
from tests.simulation.history import ANYWHERE, WORLDS, Focus
from tests.simulation.scenarios import Tale

BOTH, TICKS_DEAD, WAKES_DEAD = WORLDS


class Histories(NamedTuple):
    """Shows in one of the first histories of a world, where some things happen often."""

    focus: Focus = ANYWHERE
    world: str = BOTH
    first: int = 0
    """The seed to begin with; greater than 0 where it shows seldom, and was looked for."""


class SmallWorld(NamedTuple):
    """Shows in the small world, with these faults."""

    crashes: int = 0
    losses: int = 0
    freezes: int = 0


class Mutant(NamedTuple):
    """A rule of the design, what it says, where it shows that it is broken, and how it is (`core.patches`)."""

    rule: int
    says: str
    caught: Histories | SmallWorld | Tale
    patch: str


def seeds(*often: str, kind: str = "", world: str = BOTH, first: int = 0) -> Histories:
    """Histories in which these happen often, from one seed on."""
    return Histories(Focus(kind, often), world, first)


# A mutant is read as a whole: the sentence, where it shows, and the lines that break it.
# fmt: off
MUTANTS = (
    # --- 1. Fold -----------------------------------------------------------------------------------------------------
    Mutant(1, "one that the running run covers joins it, every other is owed", seeds(), """
        machine:
        - return covers(run.claimed_at, time, context.policy.visibility_lag)
        + return True
        """),
    Mutant(1, "covers if and only if time + visibility_lag <= claimed_at", scenarios.visible_after_the_claim, """
        owed:
        - return time + lag <= claimed_at
        + return time <= claimed_at
        """),
    Mutant(1, "a finished run covers a full signal if it was full", scenarios.a_full_signal_after_a_partial_run, """
        machine:
        - as_of = state.full_as_of if full else state.fresh_as_of
        + as_of = state.fresh_as_of
        """),
    Mutant(1, "a running run covers a full signal only if it is full", scenarios.a_full_signal_after_a_partial_run, """
        machine:
        ~  or (full and not run.full): => :
        """),
    Mutant(1, "asked: at least a time that no run covers", scenarios.asked_by_a_slow_clock, """
        machine:
        - time = max(time, _just_uncovered(state, policy.visibility_lag))
        + pass
        """),
    Mutant(1, "asked: a run that was claimed before does not cover it", scenarios.asked_during_a_run, """
        machine:
        - time = max(time, _just_uncovered(state, policy.visibility_lag))
        + pass
        ~ if run and not signal.asked and _run_covers => if run and _run_covers
        """),
    Mutant(1, "asked: a run that is finished does not cover it", scenarios.asked_after_a_run, """
        machine:
        - time = max(time, _just_uncovered(state, policy.visibility_lag))
        - elif _finished_covers(state, time, policy.visibility_lag, full=signal.full):
        -     return Folded(state)
        +     pass
        - if isinstance(state.hold, Cancelled) and time > state.hold.since:
        + if _finished_covers(state, time, policy.visibility_lag, full=signal.full):
        +     return Folded(state)
        + if isinstance(state.hold, Cancelled) and time > state.hold.since:
        """),
    Mutant(1, "asked: only a run that we know as ours covers it", scenarios.asked_and_adopted, """
        machine:
        ~ if owed is None or owed.asked or not => if owed is None or not
        """),
    Mutant(1, "duplicates and late deliveries are free", scenarios.a_replay, """
        machine:
        - elif _finished_covers(state, time, policy.visibility_lag, full=signal.full):
        -     return Folded(state)
        """),
    Mutant(1, "never later than its receipt plus the clock difference", scenarios.an_event_from_next_year, """
        machine:
        ~ time = min(signal.time, now + CLOCK_DIFFERENCE) => time = signal.time
        """),
    # --- 2. Storm ----------------------------------------------------------------------------------------------------
    Mutant(2, "newest is written rounded up by a step: a storm costs reads", scenarios.a_storm, """
        owed:
        - return time + (EARLIEST - time) % step
        + return time
        """),
    Mutant(2, "rounding up is safe: coverage is computed from the rounded value", scenarios.rounded, """
        owed:
        - return time + (EARLIEST - time) % step
        + return time - (time - EARLIEST) % step
        """),
    Mutant(2, "absorbed is what asks for nothing more: full", scenarios.absorbed, """
        owed:
        ~ ((signal.full, owed.full), (signal.asked, => ((signal.asked,
        """),
    Mutant(2, "absorbed is what asks for nothing more: asked", scenarios.absorbed, """
        owed:
        ~ (signal.asked, owed.asked), =>
        """),
    # --- 3. Ready ----------------------------------------------------------------------------------------------------
    Mutant(3, "the quiet period since newest is over", scenarios.a_slow_burst, """
        decide:
        ~ max(policy.quiet_period, policy.visibility_lag) => policy.visibility_lag
        """),
    Mutant(3, "and the visibility lag", scenarios.lag_beyond_quiet, """
        decide:
        ~ max(policy.quiet_period, policy.visibility_lag) => policy.quiet_period
        """),
    Mutant(3, "or the maximum wait since oldest is", scenarios.never_quiet, """
        decide:
        - return min(quiet, owed.oldest + policy.max_wait)
        + return quiet
        """),
    Mutant(3, "the minimum interval since the last claim is over", seeds(), """
        decide:
        ~ max(ready, interval_over, state.not_before or ready) => max(ready, state.not_before or ready)
        """),
    Mutant(3, "not_before has passed", scenarios.busy, """
        decide:
        ~ max(ready, interval_over, state.not_before or ready) => max(ready, interval_over)
        """),
    Mutant(3, "its place's time and the identity's silence have passed", scenarios.one_is_throttled, """
        decide:
        - if at <= now or state.place is None:
        + if True:
        """),
    Mutant(3, "nothing is running", seeds("foreign"), """
        decide:
        ~ if state.run else _next_start => if state.run and state.run.run_id else _next_start
        """),
    Mutant(3, "no hold: paused", seeds("pauses"), """
        decide:
        ~ isinstance(state.hold, Paused | Cancelled) => isinstance(state.hold, Cancelled)
        """),
    Mutant(3, "no hold: cancelled by a person", scenarios.a_person_cancels, """
        decide:
        ~ isinstance(state.hold, Paused | Cancelled) => isinstance(state.hold, Paused)
        """),
    Mutant(3, "no hold: all paused", seeds("pauses"), """
        decide:
        - if gate.paused and isinstance(action, Start):
        + if False:
        """),
    # --- 4. Claim before the call ------------------------------------------------------------------------------------
    Mutant(4, "claim before the call", seeds("crash", kind="lax"), """
        engine:
        - saved = self._save_first(snapshot, claimed, sends_wake=not called_by)
        + saved = snapshot.document
        - return self._after_call(saved, claimed, Answered(answer), called_by)
        + return self._answered(self._save_first(snapshot, claimed), claimed, Answered(answer), called_by)
        """),
    Mutant(4, "what it cannot cover stays owed", seeds(first=900), """
        machine:
        - covering, owed = split(state.owed, given.at - context.policy.visibility_lag)
        + covering, owed = state.owed, None
        """),
    Mutant(4, "both halves keep full", scenarios.a_full_schedule_comes_due_in_the_late_half, """
        owed:
        ~ replace(owed, oldest=cut, at_least=1) => replace(owed, oldest=cut, at_least=1, full=False)
        """),
    Mutant(4, "both halves keep full and asked", scenarios.both_halves, """
        owed:
        ~ replace(owed, newest=cut) => replace(owed, newest=cut, full=False, asked=False)
        """),
    Mutant(4, "only the winner calls", SmallWorld(), """
        engine:
        - return self._save(snapshot, state, decision, sends_wake=sends_wake)
        + try:
        +     return self._save(snapshot, state, decision, sends_wake=sends_wake)
        + except Conflict:
        +     return self.ports.store.load(snapshot.target.key)
        """),
    Mutant(4, "it calls once, with every retry off", seeds("lost", kind="lax"), """
        engine:
        - answer = ports.platform.start(snapshot.target, full=start.full)
        + answer = ports.platform.start(snapshot.target, full=start.full)
        + if isinstance(answer, Failure):
        +     answer = ports.platform.start(snapshot.target, full=start.full)
        """),
    Mutant(4, "within 5 s, or it gives its claim back unsent", scenarios.claimed_late, """
        engine:
        - if ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
        + if False:
        """),
    Mutant(4, "of the moment claimed_at was read, before the claim was written", scenarios.claimed_late, """
        engine:
        - saved = self._save_first(snapshot, claimed, sends_wake=not called_by)
        + saved, read_at = self._save_first(snapshot, claimed, sends_wake=not called_by), ports.clock.monotonic()
        - if ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
        + if ports.clock.monotonic() - read_at > timing.START_WINDOW.total_seconds():
        """),
    Mutant(4, "it gives its own claim back", SmallWorld(crashes=1, losses=1, freezes=1), """
        engine:
        - return run is not None and (run.token, run.situation, run.run_id) == (
        -     self.run.token,
        + return run is not None and (run.situation, run.run_id) == (
        """),
    Mutant(4, "a time-out after sending is an unknown outcome", SmallWorld(losses=1), """
        machine:
        - if answer.delivery is Delivery.UNKNOWN:
        + if False:
        """),
    Mutant(4, "the lease is longer than those 5 s", scenarios.the_longest_way_into_the_list, """
        timing:
        ~ START_WINDOW + capabilities.call_timeout => capabilities.call_timeout
        """),
    Mutant(4, "... the call's time-out", scenarios.the_longest_way_into_the_list, """
        timing:
        ~ START_WINDOW + capabilities.call_timeout => START_WINDOW
        """),
    Mutant(4, "... the platform's listing delay", scenarios.the_longest_way_into_the_list, """
        timing:
        ~ + capabilities.call_timeout + capabilities.listing_delay => + capabilities.call_timeout
        """),
    Mutant(4, "... and the clock difference together", scenarios.the_longest_way_into_the_list, """
        timing:
        ~ + CLOCK_DIFFERENCE + timedelta(seconds=1) => + timedelta(seconds=1)
        """),
    # --- 5. Follow ---------------------------------------------------------------------------------------------------
    Mutant(5, "the platform's creation time lowers claimed_at", seeds(), """
        machine:
        - if created_at < run.claimed_at:
        + if False:
        """),
    Mutant(5, "and covering with it", seeds(first=290), """
        machine:
        - covering, rest = split(run.covering, created_at - context.policy.visibility_lag)
        + covering, rest = run.covering, None
        """),
    Mutant(5, "success: fresh_as_of = claimed_at", scenarios.late_for_our_run, """
        machine:
        ~ _later(state.fresh_as_of, run.claimed_at) => _later(state.fresh_as_of, report.ended_at or now)
        """),
    Mutant(5, "failure: what was covered is owed again", seeds("failed"), """
        machine:
        - failures = state.failures + 1
        - owed = merge(run.covering, state.owed)
        + failures = state.failures + 1
        + owed = state.owed
        """),
    Mutant(5, "with backoff", scenarios.failing, """
        machine:
        - not_before = now + backoff(failures) + spread(context.key)
        + not_before = now
        """),
    Mutant(5, "capped at an hour", scenarios.failing, """
        timing:
        - return min(last, first * (1 << min(tries - 1, 10)))
        + return first * (1 << tries - 1)
        """),
    Mutant(5, "after every after_failures failures one full refresh is tried", scenarios.escalating, """
        decide:
        ~ return bool(policy.after_failures and => return bool(False and
        """),
    Mutant(5, "an error of a poll or look-up never ends a run", seeds("lost", kind="lax"), """
        machine:
        - return _wait_until(state, run, poll_at(run, now, None))
        + if run.run_id:
        +     return _vanish(state, run, failure, context, now)
        + return _wait_until(state, run, poll_at(run, now, None))
        """),
    Mutant(5, "a run is polled seldom before the last ones were over", scenarios.polled_by_the_last_runs, """
        machine:
        - if run.situation is not Situation.RUNNING or awaited or not state.run_times:
        + if True:
        """),
    Mutant(5, "... but then, too, so that one that fails is noticed", scenarios.polled_by_the_last_runs, """
        timing:
        ~ min(clamp(ran, EARLY_POLL, EARLY_POLL_MOST), usual - ran) => (usual - ran)
        """),
    Mutant(5, "... and when they were over", scenarios.polled_by_the_last_runs, """
        timing:
        ~ min(clamp(ran, EARLY_POLL, EARLY_POLL_MOST), usual - ran) => clamp(ran, EARLY_POLL, EARLY_POLL_MOST)
        """),
    Mutant(5, "... and at the timeout, if that is sooner", scenarios.polled_by_the_last_runs, """
        machine:
        ~ min(*state.run_times, context.policy.timeout) => min(state.run_times)
        """),
    Mutant(5, "... not so after a hint, since states lag the end", scenarios.polled_by_the_last_runs, """
        machine:
        ~ awaited = run.hinted or (run => awaited = (run
        """),
    Mutant(5, "... nor where somebody asked", scenarios.polled_by_the_last_runs, """
        machine:
        ~ awaited = run.hinted or (run.covering is not None and run.covering.asked) => awaited = run.hinted
        """),
    Mutant(5, "404 within a grace period included", seeds("unlisted", kind="lax"), """
        machine:
        ~  and now - run.claimed_at > NOT_FOUND_GRACE =>
        """),
    Mutant(5, "by the time of the question, not of the answer: 404", scenarios.frozen_with_a_404, """
        engine:
        ~ (item.given, item.at) if => (item.given, now) if
        """),
    # --- 6. Someone else's run ---------------------------------------------------------------------------------------
    Mutant(6, "already running: find it, and the rest stays owed", seeds("foreign", kind="glue"), """
        machine:
        - return Folded(_seek(state, run, now))
        + return Folded(replace(state, run=None))
        """),
    Mutant(6, "Fabric's skip is no success", seeds("foreign", kind="dedupes"), """
        machine:
        - Phase.SKIPPED: _skip,
        + Phase.SKIPPED: _succeed,
        """),
    Mutant(6, "running ones first", scenarios.one_of_two_is_over, """
        machine:
        ~ {Phase.ACTIVE: 2, Phase.UNKNOWN: 1} => {Phase.ACTIVE: 0, Phase.UNKNOWN: 0}
        ~ rival_since=run.claimed_at if rivals else None => rival_since=None
        """),
    Mutant(6, "then unknown statuses", scenarios.one_of_two_is_over, """
        machine:
        ~ {Phase.ACTIVE: 2, Phase.UNKNOWN: 1} => {Phase.ACTIVE: 2, Phase.UNKNOWN: 0}
        ~ rival_since=run.claimed_at if rivals else None => rival_since=None
        """),
    Mutant(6, "if it is not to be seen, look again soon", scenarios.refused_and_not_listed_yet, """
        machine:
        - if now >= run.claimed_at + settling_time(context.capabilities):
        + if True:
        """),
    Mutant(6, "... but not for ever", scenarios.refused_and_never_listed, """
        machine:
        - if now >= run.claimed_at + settling_time(context.capabilities):
        + if False:
        """),
    Mutant(6, "on Glue it covers by the same inequality", scenarios.too_late_for_a_foreign_run, """
        machine:
        - return split(owed, report.created_at - context.policy.visibility_lag)
        + return split(owed, report.created_at)
        """),
    Mutant(6, "... and the rest stays owed", seeds("foreign", "lost", kind="glue"), """
        machine:
        - return split(owed, report.created_at - context.policy.visibility_lag)
        + return owed, None
        """),
    Mutant(6, "as full only if the platform says so: the run", scenarios.not_as_full, """
        machine:
        ~ full=report.full is True, => full=True,
        """),
    Mutant(6, "as full only if the platform says so: what is owed", scenarios.not_as_full, """
        machine:
        - if owed.full and report.full is not True:
        + if False:
        """),
    Mutant(6, "on Fabric it covers nothing: it only blocks", seeds("foreign", "lost", kind="fabric"), """
        machine:
        ~ not context.capabilities.foreign_covers or report.created_at is None => report.created_at is None
        - if foreign and (run.rival_since or not (context.capabilities.foreign_covers and run.created_at)):
        + if False:
        """),
    Mutant(6, "a foreign run's failure is not ours", scenarios.a_foreign_failure, """
        machine:
        - return _end_foreign(state, run, answer, outcome, now)
        + return _fail(state, run, answer, context, now)
        """),
    # --- 7. Unknown outcome ------------------------------------------------------------------------------------------
    Mutant(7, "after the lease", scenarios.the_longest_way_into_the_list, """
        machine:
        - next_look_at=given.at + lease(context.capabilities),
        + next_look_at=given.at,
        """),
    Mutant(7, "created since the claim less the clock difference", seeds("lost", kind="lax"), """
        machine:
        - earliest = run.claimed_at - CLOCK_DIFFERENCE
        + earliest = run.claimed_at
        """),
    Mutant(7, "found: adopt", SmallWorld(losses=1), """
        machine:
        - if found is None:
        + if True:
        """),
    Mutant(7, "more than one may be ours: all must end", scenarios.one_of_two_is_over_there, """
        machine:
        ~ rival_since=run.claimed_at if rivals else None => rival_since=None
        """),
    Mutant(7, "... not only two", scenarios.three_at_once, """
        machine:
        ~ rival_since=since if len(wanted) > 1 else None => rival_since=None
        """),
    Mutant(7, "none: owed again", seeds("lost_on_the_way"), """
        machine:
        - if found is None:
        -     return Folded(_give_back(state, run))
        + if found is None:
        +     return Folded(replace(state, run=None))
        """),
    Mutant(7, "a failed listing is not none", seeds("lost", kind="lax"), """
        machine:
        - return _fail_to_read(state, run, answer, context, now)
        - state = _lift_block(state)
        - earliest = run.claimed_at - CLOCK_DIFFERENCE
        +     answer = ()
        + state = _lift_block(state)
        + earliest = run.claimed_at - CLOCK_DIFFERENCE
        """),
    # --- 8. Lost runs ------------------------------------------------------------------------------------------------
    Mutant(8, "a run that vanished is a failure", seeds("vanishes"), """
        machine:
        ~ if failure.kind is FailureKind.NOT_FOUND and => if False and
        """),
    Mutant(8, "unknown statuses are not terminal: no failure", seeds("odd", kind="lax"), """
        machine:
        - Phase.UNKNOWN: _go_on,
        + Phase.UNKNOWN: _fail,
        """),
    Mutant(8, "unknown statuses are not terminal: no success", seeds("odd"), """
        machine:
        - Phase.UNKNOWN: _go_on,
        + Phase.UNKNOWN: _succeed,
        """),
    Mutant(8, "ours past the timeout is cancelled", seeds("endless"), """
        machine:
        - due = situation is not Situation.FOREIGN and past_timeout(run, context, now)
        + due = False
        """),
    Mutant(8, "... and polled to its end before anything is started", seeds("endless", kind="lax"), """
        machine:
        - if failure is None:
        -     return Folded(state)
        + if failure is None:
        +     return _fail(state, run, Report(run.run_id, Phase.FAILED, run.status), context, now)
        """),
    Mutant(8, "... and cancelled again if it goes on", seeds("endless", "cancel_trouble"), """
        machine:
        - due = run.cancel_again_at is None or now >= run.cancel_again_at
        + due = False
        """),
    Mutant(8, "the intent is saved before the call", scenarios.dies_after_a_cancel, """
        engine:
        - saved = self._save_first(snapshot, intended)
        - if self.ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
        - return Progress((), saved, written=True)  # as if it had died: the run is polled, and cancelled later
        - answer = self.ports.platform.cancel(snapshot.target, cancel.run_id)
        + answer = self.ports.platform.cancel(snapshot.target, cancel.run_id)
        + saved = self._save_first(snapshot, intended)
        """),
    Mutant(8, "... and the call is sent in time or not at all", scenarios.freezes_before_a_cancel, """
        engine:
        - if self.ports.clock.monotonic() - snapshot.read_at > timing.START_WINDOW.total_seconds():
        - return Progress((), saved, written=True)  # as if it had died: the run is polled, and cancelled later
        - answer = self.ports.platform.cancel(snapshot.target, cancel.run_id)
        + answer = self.ports.platform.cancel(snapshot.target, cancel.run_id)
        """),
    Mutant(8, "if it cannot be cancelled, the target is blocked", scenarios.endless_and_uncancellable, """
        machine:
        - reason = f"past its timeout and cannot be cancelled: {failure}"
        - return _block_run(state, run, reason, now, stuck=True)
        + return Folded(state)
        """),
    Mutant(8, "... until the run ends, not until the platform answers", scenarios.endless_and_uncancellable, """
        machine:
        ~  and not state.hold.stuck =>
        """),
    Mutant(8, "an unknown status is a failure once the cancel answers that it is over", seeds("odd", "endless"), """
        machine:
        - if run.status_known:
        + if True:
        """),
    Mutant(8, "a foreign run is never cancelled", seeds("endless", "foreign", "lost"), """
        machine:
        - due = situation is not Situation.FOREIGN and past_timeout(run, context, now)
        + due = past_timeout(run, context, now)
        - if not past_timeout(run, context, now):
        + if True:
        """),
    Mutant(8, "a foreign one: past the timeout an unknown status ends it", seeds("odd", "foreign", "lost"), """
        machine:
        ~ answer.phase is Phase.UNKNOWN and not past_timeout(run, context, now) => answer.phase is Phase.UNKNOWN
        """),
    Mutant(8, "a foreign one: past the timeout a running one blocks", seeds("endless", "foreign", "lost"), """
        machine:
        - reason = f"run {answer.run_id}, which is not ours, is {answer.status} past the timeout"
        - return _block_run(state, run, reason, now, stuck=True)
        + return _go_on(state, run, answer, context, now)
        """),
    Mutant(8, "... and nothing is started", seeds("endless", "foreign", "lost", kind="lax"), """
        machine:
        - reason = f"run {answer.run_id}, which is not ours, is {answer.status} past the timeout"
        - return _block_run(state, run, reason, now, stuck=True)
        + return _end_foreign(state, run, answer, Outcome.LOST, now)
        """),
    # --- 9. Refused --------------------------------------------------------------------------------------------------
    Mutant(9, "throttled: wait what the platform says, at least", scenarios.one_is_throttled, """
        timing:
        - return now + (failure.retry_after or THROTTLED_FOR)
        + return now
        """),
    Mutant(9, "... for the identity, not only for the target", scenarios.one_is_throttled, """
        admission:
        - if answer.kind is not FailureKind.THROTTLED:
        + if True:
        """),
    Mutant(9, "places spread what waits", scenarios.all_are_throttled, """
        pace:
        ~ timedelta(seconds=(number - queue.serves) / queue.rate) => timedelta(0)
        """),
    Mutant(9, "permanent errors block the target with the reason", scenarios.denied, """
        machine:
        - if failure.permanent:
        -     return _block(state, str(failure), now)
        """),
    Mutant(9, "... keep what it owes", seeds("denials"), """
        machine:
        - return replace(state, hold=hold, last_error=reason)
        + return replace(state, hold=hold, last_error=reason, owed=None)
        """),
    Mutant(9, "... and its run", seeds("denials", kind="lax"), """
        machine:
        ~ now, stuck=stuck), run=slow) => now, stuck=stuck), run=None)
        """),
    Mutant(9, "... and probe again, so that a repaired permission heals by itself", seeds("denials"), """
        decide:
        ~ isinstance(state.hold, Paused | Cancelled) => state.hold
        """),
    Mutant(9, "... slowly", scenarios.denied, """
        timing:
        - return now + clamp(now - blocked_since, PROBE_FIRST, PROBE_LAST)
        + return now + POLL_FLOOR
        """),
    Mutant(9, "refresh and resume probe at once", scenarios.denied_and_asked, """
        machine:
        - hold = replace(hold, probe_at=now)
        + pass
        """),
    Mutant(9, "a person's cancel of our run is respected", scenarios.a_person_cancels, """
        machine:
        - return _respect_cancel(state, run, ended_at)
        + return _fail(state, run, report, context, now)
        """),
    Mutant(9, "... owed stays", scenarios.a_person_cancels_and_resumes, """
        machine:
        ~ owed=merge(run.covering, state.owed), last_error="cancelled => last_error="cancelled
        """),
    Mutant(9, "a signal later than the run's end lifts it", seeds("person_cancels"), """
        machine:
        - if isinstance(state.hold, Cancelled) and time > state.hold.since:
        + if False:
        """),
    Mutant(9, "... also one that is owed already", seeds("person_cancels"), """
        machine:
        - if not later and not isinstance(state.hold, Paused):
        + if not isinstance(state.hold, Paused):
        """),
    Mutant(9, "... and refresh, or resume", scenarios.a_person_cancels, """
        machine:
        - if isinstance(hold, Cancelled):
        + if False:
        """),
    Mutant(9, "... a duplicate does not", scenarios.a_person_cancels, """
        machine:
        ~ isinstance(state.hold, Cancelled) and time > state.hold.since: => isinstance(state.hold, Cancelled):
        """),
    Mutant(9, "on Fabric a run that ends Cancelled may be a skip", seeds("foreign", kind="fabric"), """
        machine:
        - if context.capabilities.skips:
        + if False:
        """),
    Mutant(9, "... if any other was running at its creation, ended ones included", scenarios.a_blocker_that_ended, """
        machine:
        - return report.ended_at >= moment - TIMES_APART
        + return False
        """),
    Mutant(9, "... give or take five minutes", scenarios.an_end_told_too_early, """
        machine:
        - return report.ended_at >= moment - TIMES_APART
        + return report.ended_at >= moment
        """),
    Mutant(9, "... but one whose end was told before does not count", scenarios.a_cancel_after_our_own_end, """
        machine:
        ~  and not _was_over(report, state)) => )
        """),
    Mutant(9, "... decided no sooner than the list must show it", scenarios.a_blocker_not_listed_yet, """
        machine:
        - if now < decided_at:
        + if False:
        """),
    Mutant(9, "... by the time of the question", scenarios.frozen_with_an_early_list, """
        engine:
        ~ (item.given, item.at) if => (item.given, now) if
        """),
    Mutant(9, "... never by a failed listing", scenarios.a_blocker_and_no_list, """
        machine:
        - return _fail_to_read(state, run, answer, context, now)
        - state = _lift_block(state)
        - created_at = run.created_at or run.claimed_at
        +     answer = ()
        + state = _lift_block(state)
        + created_at = run.created_at or run.claimed_at
        """),
    Mutant(9, "... in no hurry where only an old unknown status may explain it", scenarios.an_old_unknown_status, """
        machine:
        - state = replace(state, last_claim_at=run.claimed_at, not_before=now + BACKOFF_FIRST)
        + pass
        """),
    Mutant(9, "... a told end counts for none of the later ones", scenarios.an_unknown_status_for_hours, """
        machine:
        - ENDS_MOST = 40
        + ENDS_MOST = 3
        """),
    Mutant(9, "a block noticed during a pause does not replace the pause", seeds("pauses", "denials"), """
        machine:
        ~ state.hold if isinstance(state.hold, Paused) else blocked => blocked
        """),
    Mutant(9, "... nor does a cancel", scenarios.cancelled_while_paused, """
        machine:
        - if not later and not isinstance(state.hold, Paused):
        + if not later:
        """),
    # --- 10. After, 11. own output -----------------------------------------------------------------------------------
    Mutant(10, "a success of a target is a signal for those that name it", seeds(), """
        engine:
        - return replace(state, outbox=note_success(state.outbox, ended.ended_at, now))
        + return state
        """),
    Mutant(10, "at the time of its end", scenarios.a_follower_that_runs_already, """
        engine:
        ~ note_success(state.outbox, ended.ended_at, => note_success(state.outbox, ended.claimed_at,
        """),
    Mutant(10, "the save that records the success also records what is to be told", scenarios.dies_after_a_success, """
        engine:
        - saved = self.ports.store.save(snapshot.document, records.write(state), due_at)
        + first = records.write(replace(state, outbox=snapshot.before.outbox))
        + saved = self.ports.store.save(snapshot.document, first, due_at)
        + saved = self.ports.store.save(saved, records.write(state), due_at)
        """),
    Mutant(10, "at most two times: the latest one waits", follower_scenarios.three_successes, """
        outbox:
        ~ waiting=max(outbox.waiting or ended_at, ended_at) => waiting=outbox.waiting or ended_at
        """),
    Mutant(10, "at most two times: the one that is being told stays", follower_scenarios.three_successes, """
        outbox:
        ~ waiting=max(outbox.waiting or ended_at, ended_at) => telling=replace(telling, at=ended_at)
        """),
    Mutant(10, "with the key of the last follower told", follower_scenarios.many_followers, """
        telling:
        - if follower.key <= success.told_up_to:
        + if False:
        """),
    Mutant(10, "a record with something to tell is due", follower_scenarios.dies_and_no_wake_comes, """
        decide:
        ~ (until, scheduled, watched, state.outbox.next_at) => (until, scheduled, watched)
        """),
    Mutant(10, "... also what is left when the time is over", follower_scenarios.many_followers_by_ticks, """
        outbox:
        ~ telling=further, next_at=told.next_at) => telling=further, next_at=None)
        """),
    Mutant(10, "does what is due for the target first, then tells", follower_scenarios.its_own_start_first, """
        engine:
        - self._teller.note_save(snapshot.target, state.outbox, snapshot.now)
        + self._teller.note_save(snapshot.target, state.outbox, snapshot.now)
        + self._teller.tell()
        """),
    Mutant(10, "who tells first moves wake_at ahead", follower_scenarios.many_look_while_one_tells, """
        outbox:
        ~ if not has_more(outbox) or (outbox.next_at is not None and now < outbox.next_at): => if not has_more(outbox):
        """),
    Mutant(10, "... so that one tells at a time", follower_scenarios.who_lost_its_turn, """
        telling:
        ~ if state.outbox.next_at == next_at and state.outbox.telling: => if state.outbox.telling:
        """),
    Mutant(10, "in the order of their keys", follower_scenarios.many_followers, """
        telling:
        ~ sorted(self._followers(target), key=lambda follower: follower.key) => list(self._followers(target))
        """),
    Mutant(10, "within the invocation's time", follower_scenarios.no_time_left, """
        telling:
        ~ if self._is_over() or self._clock.monotonic() >= until: => if self._clock.monotonic() >= until:
        """),
    Mutant(10, "folds how far it got into whatever the record has become", follower_scenarios.told_of_another, """
        outbox:
        ~ if telling is None or telling.at != told.at: => if telling is None:
        """),
    Mutant(10, "delivery is at least once", follower_scenarios.a_follower_in_trouble, """
        telling:
        - return Stretch(up_to, all_told=False, trouble=failure)
        + pass
        """),
    Mutant(11, "events about the target's own output never signal it", scenarios.its_own_output, """
        routing:
        ~ if not _is_output(arrival, target.resource): => if True:
        """),
    # --- 12. One edition is current ----------------------------------------------------------------------------------
    Mutant(12, "a later generation makes the next edition", scenarios.an_update, """
        deployment:
        ~ (current.generation, current.fingerprint) >= (package.generation, package.fingerprint): => True:
        """),
    Mutant(12, "which ticks roll out", seeds("reconfigurations"), """
        sweep:
        - self._roll_out(errors)
        """),
    Mutant(12, "a note that stood for 30 minutes makes the older one the next edition", scenarios.a_rollback, """
        deployment:
        ~ if now - since >= TAKES_OVER: => if False:
        """),
    Mutant(12, "a current tick wipes the note", scenarios.a_long_canary, """
        deployment:
        ~ return replace(known, older_since=None, version=VERSION) => return replace(known, version=VERSION)
        """),
    Mutant(12, "a package that is put back leaves a number out", scenarios.put_back_for_a_while, """
        deployment:
        ~ if _is_put_back(known, package, now): => if False:
        """),
    Mutant(12, "... so that each target counts as passed over", scenarios.put_back_and_taken_back, """
        deployment:
        ~ known = begin_again(known, passed_over=1) => known = begin_again(known)
        """),
    Mutant(12, "... if it had no workers for 15 minutes", scenarios.put_back_and_taken_back, """
        deployment:
        ~  or now - ticked_at > ROLLED_OUT =>
        """),
    Mutant(12, "the rollout is resumable", scenarios.a_hundred_are_new, """
        sweep:
        - rollout = replace(rollout, done_up_to=key)
        + pass
        """),
    Mutant(12, "it writes every record with its number, even where nothing else changed",
           scenarios.an_edition_in_between, """
        planning:
        ~ if (state.edition, state.definition) == => if (edition.number, state.definition) ==
        """),
    Mutant(12, "one in which a target failed begins anew", scenarios.new_while_the_store_is_down, """
        deployment:
        ~ rollout=Rollout() if after.failed else None) => rollout=None)
        """),
    Mutant(12, "it forgets what the configuration no longer names", scenarios.gone_while_it_owes, """
        sweep:
        - self._forget(key)
        + pass
        """),
    Mutant(12, "each target that is new, or whose sources changed, is signalled once", seeds("reconfigurations"), """
        planning:
        - if reason:
        + if False:
        """),
    Mutant(12, "... or that an edition in between passed over", scenarios.an_edition_in_between, """
        planning:
        ~ if state.edition < edition.number - 1: => if False:
        """),
    Mutant(12, "... and once more when it was planned 15 minutes ago", scenarios.an_older_release_takes_it, """
        planning:
        - again_at = now + ROLLED_OUT
        + again_at = None
        """),
    Mutant(12, "... and no tick of an older generation came for 15 minutes", scenarios.older_ticks_go_on, """
        planning:
        - again_at = edition.older_at and edition.older_at + ROLLED_OUT
        + again_at = None
        """),
    Mutant(12, "schedule times before that schedule was first seen are no signals", scenarios.a_new_schedule, """
        planning:
        - if len(known) != len(schedules):
        -     return (False, False)
        - return (known[0] == schedules[0], known[1] == schedules[1])
        + return (True, True)
        """),
    Mutant(12, "each of a target's schedules has its own digest", scenarios.another_full_schedule, """
        planning:
        - return (known[0] == schedules[0], known[1] == schedules[1])
        + return (known == schedules, known == schedules)
        """),
    Mutant(12, "schedule times that came due are signals", seeds("schedules"), """
        planning:
        - inputs = _schedules_due(state, target, now)
        - again_at = state.again_at
        - if again_at is not None and edition.read_at >= again_at:
        + inputs = []
        + again_at = state.again_at
        + if again_at is not None and edition.read_at >= again_at:
        """),
    Mutant(12, "who is not current plans nothing, and forgets nothing", scenarios.an_overlapping_rollout, """
        deployment:
        ~ return self.is_current and state.edition <= self.number => return state.edition <= self.number
        """),
    Mutant(12, "... nor does who finds a higher number in a record", scenarios.an_old_worker, """
        deployment:
        ~ return self.is_current and state.edition <= self.number => return self.is_current
        """),
    Mutant(12, "... and leaves each record that it writes due within a minute",
           scenarios.an_older_worker_writes_before_a_schedule, """
        engine:
        ~ (until, now + self.standing.due_within, state.outbox.next_at, *told) => (decision.due_at, *told)
        """),
    Mutant(12, "a record that is due and in which it has nothing to do it does not write",
           scenarios.older_ticks_beside_a_schedule, """
        engine:
        - if state == snapshot.before and not snapshot.leads:
        -     return snapshot.document  # due for what only the current edition may do
        """),
    Mutant(12, "the command line likewise", scenarios.an_older_file, """
        deployment:
        ~ COMMAND = Standing(0, is_current=False => COMMAND = Standing(9, is_current=True
        """),
    # --- 13. Wakes ---------------------------------------------------------------------------------------------------
    Mutant(13, "sent before the record that names them is saved", seeds("crash", world=TICKS_DEAD), """
        engine:
        - waker.send(wake, max(due - snapshot.now, timedelta(0)))
        + self._last = lambda: waker.send(wake, max(due - snapshot.now, timedelta(0)))
        - self._emit_changes(snapshot, state, decision)
        - return saved
        + if sent:
        +     self._last()
        + self._emit_changes(snapshot, state, decision)
        + return saved
        """),
    Mutant(13, "a claim names the wake that led to it, which comes again", seeds("crash", world=TICKS_DEAD), """
        engine:
        - claimed = replace(claimed, wakes=(*claimed.wakes, *(wake.due for wake in called_by)))
        """),
    Mutant(13, "a wake that is sent is followed by a save", seeds(world=TICKS_DEAD), """
        engine:
        ~ if state == snapshot.before and not sent: => if state == snapshot.before:
        """),
    Mutant(13, "one that cannot be sent does not hold up the save", scenarios.no_wakes_to_send, """
        engine:
        - except StoreDownError as down:
        + except ZeroDivisionError as down:
        """),
    Mutant(13, "... and is not waited for", scenarios.one_wake_not_sent, """
        engine:
        - return tuple(at for at in named if at != due), False
        + return named, False
        """),
    Mutant(13, "each until it arrives, or for 15 minutes past its time", scenarios.wakes_lost, """
        decide:
        - named = tuple(due for due in wakes if due > now - WAKE_LATE)
        + named = wakes
        """),
    Mutant(13, "and not yet past", scenarios.one_wake_lost, """
        decide:
        ~ any(now < due <= due_at for due in named) => any(due <= due_at for due in named)
        """),
    Mutant(13, "five at most, and if there is room", scenarios.wakes_named, """
        decide:
        ~ len(named) >= WAKES_NAMED or => False or
        """),
    Mutant(13, "one that arrived is no longer named", seeds(world=TICKS_DEAD), """
        machine:
        ~ wakes=tuple(due for due in state.wakes if due != given.due) => wakes=state.wakes
        """),
    Mutant(13, "a new one is sent only if it is due before those that are named", seeds(), """
        decide:
        ~  or any(now < due <= due_at for due in named): => :
        """),
    Mutant(13, "the record names every wake that is on its way", scenarios.a_far_wake, """
        decide:
        - return due_at, tuple(sorted({*named, due_at}))
        + return due_at, (due_at,)
        """),
    Mutant(13, "one that arrives unnamed does nothing", scenarios.wakes_come_twice, """
        engine:
        ~ if target and wake.due in records.read_state(document.body).wakes: => if target:
        """),
    Mutant(13, "one that overtook its save makes that save fail", scenarios.overtaken_by_its_wake, """
        engine:
        - if document.version == wake.version:
        + if False:
        """),
    Mutant(13, "... or, if it got through, is a wake", scenarios.overtaken_by_a_hair, """
        engine:
        ~ if self._touch(document): => if self._touched(document) or True:
        """),
)
# fmt: on
