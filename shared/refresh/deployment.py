"""The record of the deployment, and which configuration is current by it (rule 12): editions, numbered in order.

Several packages of one deployment run side by side while an update shifts traffic, and an update may be taken back. The
record of the deployment says which of them is current; all others take events and follow runs, and plan nothing.

    package   generation   edition
    A         Monday       1        made by its first tick
    B         Tuesday      2        made by B's first tick or event, while A's workers still run
    A         Monday                put back hours later: at its first tick B becomes 4, a number is left out, and each
                                    target is signalled when B's ticks come again: A may have ignored its events
    A         Monday       5        B stayed away: A's ticks came for `TAKES_OVER`, and none of B's
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.refresh import records
from shared.refresh.owed import EARLIEST
from shared.refresh.ports import ATTEMPTS, Conflict, ContendedError, Store
from shared.refresh.state import Deployment, Edition, Rollout, State
from shared.targets import Package
from shared.values import Value
from shared.version import VERSION

TAKES_OVER = timedelta(minutes=30)
"""An older package becomes the next edition when its ticks came for so long and no tick of the current one did. As a
canary shifts within 5 minutes (Canary10Percent5Minutes in infra/aws/template.yaml), that is a rollback."""
ROLLED_OUT = timedelta(minutes=15)
"""When to signal again after a change: by then no worker of an older package is left that ignores a target's events. A
Lambda's alias shifts within 5 minutes (Canary10Percent5Minutes in infra/aws/template.yaml), an instance of a function
app that is told to stop is gone within one; and while older ticks come, the second signal waits for their end."""
DUE_WITHIN = timedelta(minutes=1)
"""A record that a worker writes which is not current is due after this, so that a current one plans what that left."""


class Standing(Value, frozen=True):
    """How one invocation stands to the current edition: read once, and a stale answer does no harm."""

    number: int
    """The number of the edition that was current when the deployment's record was read."""
    is_current: bool
    """Whether this invocation's package is that edition."""
    read_at: datetime
    """The moment before the deployment's record was read."""
    older_at: datetime | None = None
    """When a tick of an older package came last."""
    due_within: timedelta = DUE_WITHIN
    """When a record that this invocation writes is due, at the latest, where the invocation is not current."""

    def leads(self, state: State) -> bool:
        """Whether this invocation may plan a target's record: a higher number in it is a later edition's."""
        return self.is_current and state.edition <= self.number


COMMAND = Standing(0, is_current=False, read_at=EARLIEST, due_within=timedelta(0))
"""The command line is never current, whatever file it reads: what it writes for a person is due at once."""


def load(store: Store) -> Deployment:
    """Read the record of the deployment; an absent one is a deployment about which nothing is known."""
    return records.read_deployment(store.load(records.DEPLOYMENT_KEY).body)


def change(store: Store, to: Callable[[Deployment], Deployment]) -> Deployment:
    """Apply `to` to whatever the record is by now, and save what comes of it, where that differs; returns it.

    Raises `StoreDownError`, or `ContendedError` where others keep changing the record.
    """
    for _ in range(ATTEMPTS):
        document = store.load(records.DEPLOYMENT_KEY)
        before = records.read_deployment(document.body)
        after = to(before)
        if after == before:
            return after
        try:
            store.save(document, records.write(after), None)
        except Conflict:
            continue
        return after
    message = f"the record of the deployment moved on {ATTEMPTS} times"
    raise ContendedError(message)


def standing_of(known: Deployment, package: Package, read_at: datetime) -> Standing:
    """Compare a package with the current edition."""
    number = known.edition.number if known.edition else 0
    older_at = max(known.older_ticks.values(), default=None)
    return Standing(number, _is_current(known, package), read_at, older_at)


def join(known: Deployment, package: Package) -> Deployment:
    """Make a package the next edition if its generation is later than the current one's; fingerprints break ties.

    All ticks so far were of packages that are older now.
    """
    current = known.edition
    if current and (current.generation, current.fingerprint) >= (package.generation, package.fingerprint):
        return known
    older = {current.fingerprint: known.ticked_at} if current and known.ticked_at else {}
    return replace(_make_next(known, package), older_ticks=known.older_ticks | older)


def note_tick(known: Deployment, package: Package, now: datetime) -> Deployment:
    """Note that a tick came, and of which package; an older one whose ticks alone came long enough takes over."""
    known = replace(join(known, package), ticked_at=now)
    if _is_current(known, package):
        return replace(known, older_since=None, version=VERSION)
    since = known.older_since or now
    if now - since >= TAKES_OVER:
        return _make_next(known, package)
    if _is_put_back(known, package, now):
        known = begin_again(known, passed_over=1)
    recent = {other: at for other, at in known.older_ticks.items() if now - at <= ROLLED_OUT}
    return replace(known, older_since=since, older_ticks=recent | {package.fingerprint: now})


def _is_put_back(known: Deployment, package: Package, now: datetime) -> bool:
    """Whether an older package, which knows other targets, has workers again after it had none for a while.

    What it ignores while its workers end is caught by a second signal to each target that changed since (`planning`).
    That was sent when no older tick had come for `ROLLED_OUT`: nobody catches what workers ignore that begin again.

        an update   A  A  A B A  A B B A B B B              B: the second signals wait for 15 minutes without A
        put back    B  B  B B . . . . . . A  A  A  A B B    A's first tick leaves a number out: B signals each target
    """
    if known.edition and known.edition.fingerprint == package.fingerprint:
        return False
    ticked_at = known.older_ticks.get(package.fingerprint)
    return ticked_at is None or now - ticked_at > ROLLED_OUT


def begin_again(known: Deployment, passed_over: int = 0) -> Deployment:
    """Roll the current edition out once more, under the next number, or a later one: so many are left out."""
    current = known.edition
    again = current and replace(current, number=current.number + 1 + passed_over)
    return replace(known, edition=again, rollout=Rollout())


def note_progress(before: Rollout, after: Rollout, number: int, known: Deployment) -> Deployment:
    """Note how far a rollout got, if the record still has the rollout that was read; one that failed begins anew."""
    if known.edition is None or (known.edition.number, known.rollout) != (number, before):
        return known
    if not after.over:
        return replace(known, rollout=after)
    return replace(known, rollout=Rollout() if after.failed else None)


def _is_current(known: Deployment, package: Package) -> bool:
    current = known.edition
    return current is not None and (current.generation, current.fingerprint) == (
        package.generation,
        package.fingerprint,
    )


def _make_next(known: Deployment, package: Package) -> Deployment:
    """The record with a package as the next edition."""
    number = known.edition.number if known.edition else 0
    made = Edition(number + 1, package.fingerprint, package.generation)
    return replace(known, edition=made, rollout=Rollout(), older_since=None, version=VERSION)
