"""The sentences of section 4.1, and of the caps of starts a day, each broken by itself, and the tale that must tell."""

from __future__ import annotations

from tests.simulation import pace_scenarios as tales
from tests.simulation.mutants import Mutant

# A mutant is read as a whole: the sentence, where it shows, and the lines that break it.
# fmt: off
PACE_MUTANTS = (
    # --- Numbers and times -------------------------------------------------------------------------------------------
    Mutant(15, "at first 94 % of `starts_per_minute`", tales.first_rates, """
        pace:
        - FIRST_SHARE = 0.94
        + FIRST_SHARE = 1.0
        """),
    Mutant(15, "... and no less", tales.a_known_limit, """
        pace:
        - FIRST_SHARE = 0.94
        + FIRST_SHARE = 0.5
        """),
    Mutant(15, "where none is configured 47 a minute at first", tales.no_known_limit, """
        pace:
        - UNKNOWN_FIRST = 47 / 60
        + UNKNOWN_FIRST = 60 / 60
        """),
    Mutant(15, "... no upper bound", tales.no_known_limit, """
        pace:
        - return limit / 60 if limit else math.inf
        + return (limit or 47) / 60
        """),
    Mutant(15, "... never below one in two minutes", tales.rates, """
        pace:
        ~ rate = max(SLOWEST, queue.rate * => rate = (queue.rate *
        """),
    Mutant(15, "who is ready takes the next number, once", tales.each_takes_one_place, """
        pace:
        ~ if place is None or place.call is not call or not is_good => if True or is_good
        """),
    Mutant(15, "... in the queue of its own identity", tales.a_number_that_was_never_given, """
        pace:
        - return number < queue.next_number and not is_stale(queue, number, now)
        + return not is_stale(queue, number, now)
        """),
    Mutant(15, "... by a conditional save, after a conflict again", tales.two_at_once, """
        admission:
        - document = self._store.load(document.key)
        - continue
        + pass
        """),
    Mutant(15, "... after a random pause", tales.two_at_once, """
        admission:
        - self._pause(backoff(tried + 1, PAUSE_FIRST, PAUSE_LAST))
        + pass
        """),
    Mutant(15, "... and keeps it in its own record", tales.each_takes_one_place, """
        machine:
        - return Folded(replace(state, place=given.place))
        + return Folded(state)
        """),
    Mutant(15, "its time is t0 + (n - n0) / rate", tales.a_known_limit, """
        pace:
        ~ timedelta(seconds=(number - queue.serves) / queue.rate) => timedelta(0)
        """),
    Mutant(15, "... and no sooner than the silence ends", tales.the_refused_one_is_served_first, """
        pace:
        - return max(at, queue.silent_until) if queue.silent_until else at
        + return at
        """),
    Mutant(15, "a queue that is empty serves at once", tales.a_lone_target, """
        pace:
        - queue = replace(queue, serves=number, serves_at=now, quiet_since=now)
        + queue = replace(queue, serves=number - 47, serves_at=now, quiet_since=now)
        """),
    Mutant(15, "who must wait is reconciled at that time", tales.far_places_are_looked_at_halfway, """
        pace:
        - if at - now > FAR:
        + if True:
        """),
    Mutant(15, "... or halfway if that is more than 15 minutes away", tales.far_places_are_looked_at_halfway, """
        pace:
        - if at - now > FAR:
        + if False:
        """),
    Mutant(15, "a place that passed 75 s ago is taken anew", tales.passed_places, """
        pace:
        - return now - time_of(queue, number) > PLACE_KEPT
        + return False
        """),
    Mutant(15, "... and not sooner", tales.late_by_a_minute, """
        pace:
        - PLACE_KEPT = timedelta(seconds=75)
        + PLACE_KEPT = timedelta(seconds=45)
        """),
    Mutant(15, "a second planning refresh waits behind all firsts", tales.in_the_order_of_places, """
        pace:
        - number = queue.next_number
        + number = queue.serves
        """),
    # --- Refusals and raises -----------------------------------------------------------------------------------------
    Mutant(15, "a refusal starts the silence that the platform asks for", tales.the_refused_one_is_served_first, """
        pace:
        ~ serves_at=until, silent_until=until, quiet_since=until) => serves_at=until, quiet_since=until)
        """),
    Mutant(15, "... for whoever is behind it, too", tales.a_lower_limit, """
        admission:
        - if answer.kind is not FailureKind.THROTTLED:
        + if True:
        """),
    Mutant(15, "... makes the refused place the one served at its end", tales.the_refused_one_is_served_first, """
        pace:
        - queue = replace(queue, serves=first, serves_at=until, silent_until=until, quiet_since=until)
        + queue = replace(queue, silent_until=until, quiet_since=until)
        """),
    Mutant(15, "... not one that is far behind", tales.a_person_is_refused, """
        pace:
        - first = min(first, number)
        + first = number
        """),
    Mutant(15, "... and lowers the rate", tales.rates, """
        pace:
        - return replace(queue, rate=rate, lowered_at=now)
        + return replace(queue, lowered_at=now)
        """),
    Mutant(15, "... by a twentieth", tales.rates, """
        pace:
        ~ LOWER_KNOWN, LOWER_UNKNOWN = 1 - 1 / 20, => LOWER_KNOWN, LOWER_UNKNOWN = 1 - 1 / 5,
        """),
    Mutant(15, "... a tenth where no limit is configured", tales.an_unknown_limit, """
        pace:
        ~ 1 - 1 / 20, 1 - 1 / 10 => 1 - 1 / 20, 1 - 1 / 100
        """),
    Mutant(15, "... at most once a minute", tales.rates, """
        pace:
        ~ or (queue.lowered_at and now - queue.lowered_at < MINUTE): => :
        """),
    Mutant(15, "a minute without refusal raises it", tales.no_known_limit, """
        pace:
        ~ while queue.rate < most and => while False and
        """),
    Mutant(15, "... by a fiftieth, a twenty-fifth", tales.rates, """
        pace:
        ~ 1 + 1 / 50, 1 + 1 / 25 => 1 + 1 / 25, 1 + 1 / 50
        """),
    Mutant(15, "... up to what is configured", tales.rates, """
        pace:
        - rate = min(most, queue.rate * factor)
        + rate = queue.rate * factor
        """),
    Mutant(15, "... and only while somebody waits", tales.idle_minutes, """
        pace:
        - queue = replace(queue, serves=number, serves_at=now, quiet_since=now)
        + queue = replace(queue, serves=number, serves_at=now)
        ~ min(now, _busy_until(queue)) => now
        """),
    Mutant(15, "and nothing is held that could leak", tales.nothing_leaks, """
        pace:
        - return now - time_of(queue, number) > PLACE_KEPT
        + return False
        ~ if place is None or place.call is not call or not is_good => if place is not None and not is_good
        """),
    # --- Polls and people --------------------------------------------------------------------------------------------
    Mutant(15, "polls have places of their own, so that all runs fit", tales.more_runs_than_polls, """
        decide:
        - return _by_place(state, action, Call.POLL, now, gate)
        + return action
        """),
    Mutant(15, "... and a silence: a refused poll must not silence starts", tales.polls_are_refused, """
        admission:
        - to = partial(pace.refuse_call, call=call, place=place, until=until, limits=self._limits, now=now)
        + to = partial(pace.refuse_call, call=Call.START, place=None, until=until, limits=self._limits, now=now)
        """),
    Mutant(15, "a person's refresh takes a place", tales.a_person_asks, """
        decide:
        - if pace.may_call_at(gate.identity, state.place, Call.START, gate.limits, now) is None:
        -     return TakePlace(Call.START)
        + pass
        """),
    Mutant(15, "... and does not wait for it", tales.a_person_asks, """
        decide:
        - return _after_silence(start, Call.START, gate.identity, now)
        + return _by_place(state, start, Call.START, now, gate)
        """),
    # --- Caps --------------------------------------------------------------------------------------------------------
    Mutant(15, "`max_running` caps what runs at once", tales.two_at_a_time, """
        pace:
        - return limits.max_running is not None and len(identity.claims) >= limits.max_running
        + return False
        """),
    Mutant(15, "... an entry leaves when the record has another claim", tales.two_at_a_time, """
        pace:
        - claims = tuple(claim for claim in identity.claims if _may_run(claim, states.get(claim.key), now))
        + claims = identity.claims
        """),
    Mutant(15, "... or the timeout is over", tales.a_claim_that_died, """
        pace:
        ~ if state is None or now >= claim.ends_by: => if state is None:
        """),
    Mutant(15, "... but not before the claim can be in the record", tales.a_claim_that_died, """
        pace:
        - is_new = now - claim.claimed_at <= START_WINDOW + CLOCK_DIFFERENCE
        + is_new = False
        """),
    Mutant(15, "`max_starts_per_day` of a target: blocked with that reason", tales.enough_for_today, """
        pace:
        - if most is not None and starts_on(state.today, now) >= most:
        + if False:
        """),
    Mutant(15, "... counted in its record", tales.enough_for_today, """
        machine:
        ~ today = state.today if context.policy.max_starts_per_day is None else => today = state.today if True else
        """),
    Mutant(15, "... a day is UTC's, and at 00:00 the target is probed", tales.enough_for_today, """
        pace:
        - return datetime.combine(now.date() + timedelta(days=1), time(), tzinfo=UTC)
        + return now + timedelta(days=2)
        """),
    Mutant(15, "... a person's `refresh` passes", tales.enough_for_today, """
        machine:
        - state = replace(state, owed=replace(state.owed, by_person=True))
        + pass
        """),
    Mutant(15, "... of the deployment: in the identity's record", tales.enough_for_all, """
        pace:
        - identity = replace(identity, today=count_start(identity.today, claim.claimed_at))
        + pass
        """),
    Mutant(15, "... what the platform refused is no start", tales.refused_starts_are_no_starts, """
        machine:
        ~ uncount_start(state.today, run.claimed_at) => state.today
        """),
    Mutant(15, "... nor for the deployment", tales.refused_starts_are_no_starts, """
        pace:
        ~ claims=claims, today=uncount_start(identity.today, run.claimed_at)) => claims=claims)
        """),
)
