"""Everything that `status` judges a target by: its record, how its sources stand, and whether anybody works at all.

A record that says "nothing is owed" is worth what whoever should write into it is worth. So a target counts as fresh
only while ticks come, queues are taken, its record is reconciled when it is due, and the deployed function knows the
target as the file has it (design, G8). Each of these that does not hold is a doubt, in words that say what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.identity import Identity
from shared.refresh.ports import Capabilities, Store
from shared.refresh.state import Deployment, JudgedBy, Owed, State
from shared.targets import Limits, Policy, Target
from shared.times import span
from shared.values import Value

TICK_MISSING = timedelta(minutes=3)
"""Without a tick for longer, nobody is known to sweep: three ticks in a row are missing (design, section 7)."""
PAST_DUE = timedelta(minutes=3)
"""A record that was due for longer was left alone by wakes and by ticks alike (design, section 7)."""
WAITS_LONG = timedelta(minutes=3)
"""A message that waits for longer is taken by nobody; a batch is taken within seconds (design, section 7)."""


WORK_CURE = "is the function (or unstale run) on, does it fail? Its log says; unstale check --live"
"""The cure where nobody is known to work."""


class SourceStatus(Value, frozen=True):
    """How one source of a target stands, where sources are looked at."""

    title: str
    """The source as people write it: `sales.orders`, `Tables/orders`."""
    version: str = ""
    """The version of its data that the last look saw."""
    since: datetime | None = None
    """When that data came."""
    silent: str = ""
    """Why there was no answer for three look intervals; empty while there is one."""
    cannot: str = ""
    """Why the last look could not tell, however recent the one before it was."""


class Backlog(Value, frozen=True):
    """The messages of one queue that wait to be taken."""

    queue: str
    """The queue's name."""
    waiting: int
    """How many wait; those that are delayed on purpose do not count where the cloud can tell them apart."""
    age: timedelta | None = None
    """How long the oldest of them waits, by the cloud's own figure; None where nothing waits or nobody knows."""
    limit: timedelta = WAITS_LONG
    """From which age on nobody is known to take them. It allows for how late the figure comes."""
    unreadable: str = ""
    """Why the age is not known although something waits, or may wait."""


class Liveness(Value, frozen=True):
    """Whether anybody works in one cloud's half of a deployment."""

    ticked_at: datetime | None = None
    """When a tick last came; None where none was noted."""
    backlogs: tuple[Backlog, ...] = ()
    """Each queue that the function takes messages from."""
    is_asked: bool = False
    """Whether somebody asked: only then a time that is missing says something."""


class Evidence(Value, frozen=True):
    """Everything that the verdict on one target rests on."""

    target: Target
    """The target as the file has it."""
    state: State
    """The target's record."""
    deployment: Deployment
    """The record of the deployment that the target belongs to."""
    capabilities: Capabilities
    """The character of the target's platform."""
    now: datetime
    """The moment that everything is judged for."""
    dead_letters: int = 0
    """Messages of the whole deployment that nobody could read; signals may be among them."""
    sources: tuple[SourceStatus, ...] = ()
    """The sources of the target, where they are looked at."""
    liveness: Liveness = Liveness()
    """Whether anybody works."""
    identity: Identity | None = None
    """The record of whoever calls the platform for the target; None where nobody read it."""
    limits: Limits = Limits()
    """How much that identity may send, as the file has it."""
    elsewhere: tuple[str, ...] = ()
    """Names of the targets on the other cloud that the target comes after."""
    untold: tuple[str, ...] = ()
    """Others that were not told of the target for a while, each in a sentence."""
    unheard: tuple[str, ...] = ()
    """Upstreams on the other cloud that did not tell the target of a refresh, as far as known; each in a sentence."""
    differs: str = ""
    """The difference between the file and what is deployed, in words; empty where both agree."""

    @property
    def policy(self) -> Policy:
        """The policy that the target is judged by: as deployed, where the record says so, else the file's."""
        judged_by, policy = self.state.judged_by, self.target.policy
        if judged_by is None:
            return policy
        return replace(
            policy,
            objective=judged_by.objective,
            look=judged_by.look,
            quiet_period=judged_by.quiet_period,
            max_wait=judged_by.max_wait,
        )

    @property
    def all_owed(self) -> tuple[Owed, ...]:
        """Everything that no finished run covers: what is owed, and what the run that goes on is to cover."""
        run = self.state.run
        return tuple(part for part in (self.state.owed, run.covering if run else None) if part)


def evidence_on(target: Target, store: Store, capabilities: Capabilities, now: datetime) -> Evidence:
    """Read what the records of a target and of the deployment say now; nothing else is asked, dead letters included."""
    state, deployment = store.load_many([target.key, records.DEPLOYMENT_KEY])
    return Evidence(
        target=target,
        state=records.read_state(state.body),
        deployment=records.read_deployment(deployment.body),
        capabilities=capabilities,
        now=now,
    )


def deployed_fingerprint(deployment: Deployment) -> str:
    """The fingerprint of the current edition; empty where no tick came yet."""
    return deployment.edition.fingerprint if deployment.edition else ""


def difference(target: Target, state: State, deployment: Deployment, fingerprint: str) -> str:
    """Word how the file, whose fingerprint is given, differs from the record of a target; empty where they agree."""
    is_deployed = deployed_fingerprint(deployment) in {"", fingerprint}
    if not state.definition:
        return "" if is_deployed else "the deployed configuration does not name it: package and deploy this one"
    if not is_deployed and state.definition != target.definition:
        return "the file says otherwise what refreshes it than what is deployed: package and deploy the file"
    if is_deployed and (state.definition != target.definition or _is_passed_over(state, deployment)):
        return "its new configuration is deployed, and has not reached it yet: a tick does that"
    if state.judged_by and _judgement(state.judged_by) != _judgement(target.policy):
        return "the file says otherwise how fresh it must be than what is deployed: package and deploy the file"
    return ""


def _is_passed_over(state: State, deployment: Deployment) -> bool:
    """Whether the current edition has not planned this record yet."""
    return deployment.edition is not None and state.edition < deployment.edition.number


def _judgement(said: JudgedBy | Policy) -> tuple[timedelta | None, ...]:
    """Everything that a target is judged by, as the file or the rollout has it."""
    return (said.objective, said.look, said.quiet_period, said.max_wait)


def doubts(evidence: Evidence) -> tuple[str, ...]:
    """Why nobody can know whether the target is fresh, each with what to do; empty where that can be known."""
    return (
        *_doubts_of_dead_letters(evidence.dead_letters),
        *doubts_of_deployment(evidence.liveness, evidence.now),
        *_doubts_of_record(evidence),
        *evidence.unheard,
        *(f"{source.title}: {source.silent}" for source in evidence.sources if source.silent),
    )


def _doubts_of_dead_letters(dead_letters: int) -> Iterator[str]:
    if dead_letters:
        yield f"{dead_letters} dead letters may hold its signals: unstale redrive"


def doubts_of_deployment(liveness: Liveness, now: datetime) -> Iterator[str]:
    """Why nobody is known to work in this half of the deployment."""
    if liveness.is_asked and liveness.ticked_at is None:
        yield "no tick was noted yet, and one is due each minute"
    if liveness.ticked_at is not None and now - liveness.ticked_at > TICK_MISSING:
        yield f"no tick came for {span(now - liveness.ticked_at)}, and one is due each minute"
    for backlog in liveness.backlogs:
        if backlog.unreadable:
            yield f"nobody knows how long messages wait in {backlog.queue}: {backlog.unreadable}"
        elif backlog.age is not None and backlog.age > backlog.limit:
            yield f"{backlog.waiting} messages wait in {backlog.queue}, the oldest for {span(backlog.age)}"


def _doubts_of_record(evidence: Evidence) -> Iterator[str]:
    """Why the record itself is not known to be current."""
    state, now = evidence.state, evidence.now
    if evidence.differs:
        yield evidence.differs
    elif state.wake_at is not None and now - state.wake_at > PAST_DUE:
        yield f"it was due {span(now - state.wake_at)} ago and nobody came: {WORK_CURE}"
    # A new target is owed at its first look, so one that owes nothing and never was fresh had none.
    elif not (evidence.all_owed or state.fresh_as_of or state.proven_as_of):
        yield "the deployed function has not looked at it yet"
