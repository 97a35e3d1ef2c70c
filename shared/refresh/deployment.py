"""The record of the deployment, and which configuration is current by it (rule 12): editions, numbered in order.

Several packages of one deployment run side by side while an update shifts traffic, and an update may be taken back. The
record of the deployment says which of them is current; all others take events and follow runs, and plan nothing.

    package   generation   edition
    A         Monday       1        made by its first tick
    B         Tuesday      2        made by B's first tick or event, while A's workers still run
    A         Monday       3        B was taken back: A's ticks came for `TAKES_OVER`, and none of B's
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


def standing(known: Deployment, package: Package, read_at: datetime) -> Standing:
    """Compare a package with the current edition."""
    number = known.edition.number if known.edition else 0
    return Standing(number, _is_current(known, package), read_at, known.older_at)


def join(known: Deployment, package: Package) -> Deployment:
    """Make a package the next edition if its generation is later than the current one's; fingerprints break ties.

    While ticks of an older package are noted, and none of the current one, the older was put back, and may have ignored
    events of targets that the current one names. So a number is left out: each target counts as passed over, and is
    signalled.
    """
    current = known.edition
    if current and (current.generation, current.fingerprint) >= (package.generation, package.fingerprint):
        return known
    return _next(known, package, passed_over=1 if known.older_since else 0)


def note_tick(known: Deployment, package: Package, now: datetime) -> Deployment:
    """Note that a tick came, and of which package; an older one whose ticks alone came long enough takes over."""
    known = replace(join(known, package), ticked_at=now)
    if _is_current(known, package):
        return replace(known, older_since=None, version=VERSION)
    since = known.older_since or now
    if now - since >= TAKES_OVER:
        return _next(known, package)
    return replace(known, older_since=since, older_at=now)


def begin_again(known: Deployment) -> Deployment:
    """Roll the current edition out once more, under the next number."""
    current = known.edition
    return replace(known, edition=current and replace(current, number=current.number + 1), rollout=Rollout())


def progress(before: Rollout, after: Rollout, number: int, known: Deployment) -> Deployment:
    """Save how far a rollout got, if the record still has it as it was read; one that met trouble begins anew."""
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


def _next(known: Deployment, package: Package, passed_over: int = 0) -> Deployment:
    """The record with a package as the next edition; so many numbers are left out."""
    number = known.edition.number if known.edition else 0
    made = Edition(number + passed_over + 1, package.fingerprint, package.generation)
    return replace(known, edition=made, rollout=Rollout(), older_since=None, version=VERSION)
