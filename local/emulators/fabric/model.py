"""Jobs of Fabric items on a clock: where an instance stands follows from the moment at which somebody asks.

    created_at     begins_at                               ends_at
        | NotStarted  |              InProgress                 |  Completed or Failed
        |             +-- reads its sources here: what arrives later is not in the view
        |
        +-- a start while another instance of the item and job type goes on is accepted all the same,
            and skipped: a moment later it is Cancelled (lake views) or Deduped (other jobs)

A cancel takes effect a moment after it was asked for. No threads and no sleeping, so a test may turn the clock.
Times are told as exactly as they are, or as inexactly as they were recorded (`Inexact`); the journal has the true ones.
What Fabric does not publish is marked [assumed] where it is decided.

Reference: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler and, on skipping,
https://learn.microsoft.com/fabric/data-engineering/materialized-lake-views/materialized-lake-views-public-api
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, Literal

from local.emulators.faults import ClockApart, FailRun, FaultScript, NeverEnd
from local.emulators.http_server import Clock
from local.emulators.journal import Journal, Outcome, PlatformRun

LAKE_VIEWS: Final = "RefreshMaterializedLakeViews"
"""The job type that refreshes materialized lake views."""

COMPLETED_LISTED: Final = 100
"""Ended instances of an item that are still listed: https://learn.microsoft.com/rest/api/fabric/core/job-scheduler."""

Ending = Literal["Completed", "Failed", "Cancelled", "Deduped"]
"""How an instance can end."""
Status = Literal["NotStarted", "InProgress"] | Ending
"""Where an instance can stand, in the API's words."""
InvokeType = Literal["Manual", "Scheduled"]
"""Whether somebody asked for the run or a schedule of Fabric's own."""


@dataclass(frozen=True, slots=True)
class JobType:
    """A kind of job of an item. `told_as` is the name that its history gives it, where that is another one."""

    name: str
    """The name by which it is started."""
    run_time: timedelta = timedelta(seconds=3)
    """How long the run goes on."""
    queue_time: timedelta = timedelta(milliseconds=200)
    """How long the run waits before it begins."""
    takes_parameters: bool = False
    """Whether a start may carry parameters."""
    told_as: str = ""
    """The name that its history gives it; empty for the same."""
    skipped_as: Literal["Cancelled", "Deduped"] | None = None
    """How a skipped instance ends; None for what is usual for the job."""

    @property
    def skip(self) -> Literal["Cancelled", "Deduped"]:
        """How a skipped instance ends. The job API reports the lake views' "Skipped" as Cancelled."""
        return self.skipped_as or ("Cancelled" if self.name == LAKE_VIEWS else "Deduped")


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a workspace, with the jobs that it can run; ids are in lower case."""

    workspace: str
    """The id of its workspace."""
    item: str
    """Its own id."""
    kind: str
    """Its type, such as Lakehouse or Notebook."""
    jobs: tuple[JobType, ...]
    """The jobs that it can run."""

    def job(self, name: str) -> JobType | None:
        """Look a job type up by its exact name; whether Fabric minds the case is not published [assumed]."""
        return next((job for job in self.jobs if job.name == name), None)


START_LATE_SECONDS: Final = (0.37, 5.85)
"""How much later than the Date of the start's answer `startTimeUtc` was, in 47 of 47 recorded starts."""
MOVES_AGAIN: Final = 5 / 47
"""The share of those starts whose `startTimeUtc` was another one in a later poll."""
LONGEST_STALE_SECONDS: Final = 99.6
"""How long after its end, as told later, an instance was still told to be InProgress, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inexact:
    """How far the told times of one instance are from the true ones; all zero where a platform is exact."""

    start_late: timedelta = timedelta(0)
    """How much later than its creation the start is told."""
    moved_by: timedelta = timedelta(0)
    """How much later still it is told once the instance runs."""
    stale: timedelta = timedelta(0)
    """For how long after its end it is told to be InProgress."""

    @classmethod
    def draw(cls, random: Random) -> Inexact:
        """Within what was recorded; how it was distributed there is not known, so evenly [assumed]."""
        low, high = START_LATE_SECONDS
        start = random.uniform(low, high)
        moved = random.uniform(0, high - start) if random.random() < MOVES_AGAIN else 0.0
        stale = random.uniform(0, LONGEST_STALE_SECONDS)
        return cls(
            start_late=timedelta(seconds=start), moved_by=timedelta(seconds=moved), stale=timedelta(seconds=stale)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long the platform takes over what nobody times. A skip shows 20 ms in Microsoft's own examples.

    With a `seed` times are told as inexactly as they were recorded, without one exactly.
    """

    skipping: timedelta = timedelta(milliseconds=22)
    """How long a skipped instance lasts."""
    cancelling: timedelta = timedelta(seconds=1)
    """How long a cancel takes to have its effect."""
    seed: int | None = None
    """Draws how inexactly times are told; None for exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A job instance; `ends_at` is None if it never ends, `told_apart` is what a scripted clock adds."""

    run_id: str
    """Its id."""
    number: int
    """How many instances there were, this one included."""
    item: Item
    """The item whose job it is."""
    job: JobType
    """The kind of job."""
    data: Mapping[str, Any] | None
    """The body of its start; None for none."""
    invoke_type: InvokeType
    """The API's word for who invoked the job."""
    activity: str
    """The id of the request that started it: told as its root activity, as recorded."""
    caller: str | None
    """The object id of whoever started it."""
    foreign: bool
    """Whether someone else started it."""
    created_at: datetime
    """When the start was accepted."""
    begins_at: datetime
    """When the run begins, and reads its sources."""
    ends_at: datetime | None
    """When the run ends; None for never."""
    ends_as: Ending = "Completed"
    """How the run ends."""
    skipped: bool = False
    """Whether the run never begins, because another one went on."""
    error: str = ""
    """Why the run failed."""
    told_apart: timedelta = timedelta(0)
    """The time that a scripted clock adds to all its times."""
    told_status: str = ""
    """The status that is told whatever is true; empty for the true one."""
    inexact: Inexact = Inexact()
    """How far its told times are from the true ones."""

    @property
    def resource(self) -> str:
        """The name of what is refreshed, as journals write it."""
        return resource_name(self.item.workspace, self.item.item, self.job.name, self.data)

    def starts_at(self, now: datetime) -> datetime:
        """The start that callers are told: the creation, until the job begins. Recordings show the time move."""
        late = self.inexact.start_late
        if self.skipped or now < self.begins_at:
            return self.created_at + late
        return (self.created_at + late + self.inexact.moved_by) if late else self.begins_at

    def told_end(self, now: datetime) -> datetime | None:
        """The end that callers are told, if they are told one yet: none before what is told as its start."""
        if self.ends_at is None or now < self.ends_at + self.inexact.stale:
            return None
        return max(self.ends_at, self.starts_at(now)) if self.inexact.start_late else self.ends_at

    def over(self, now: datetime) -> bool:
        """Whether the run has ended."""
        return self.ends_at is not None and self.ends_at <= now

    def told_over(self, now: datetime) -> bool:
        """Whether callers are told that it has ended."""
        return self.told_end(now) is not None

    def status(self, now: datetime) -> Status:
        """The status of the run, as callers are told: InProgress for a while after its end, where times are inexact."""
        if self.told_over(now):
            return self.ends_as
        return "NotStarted" if now < self.begins_at else "InProgress"

    def entry(self, now: datetime) -> PlatformRun:
        """The journal's entry of the instance at this moment."""
        return PlatformRun(
            run_id=self.run_id,
            resource=self.resource,
            created_at=self.created_at,
            read_at=self.begins_at,
            ended_at=self.ends_at if self.over(now) else None,
            outcome=self._outcome(now),
            foreign=self.foreign,
            token=self.caller,
        )

    def _outcome(self, now: datetime) -> Outcome:
        """How the journal names where it stands, by the true times."""
        if not self.over(now):
            return "running"
        if self.skipped:
            return "skipped"
        return "cancelled" if self.ends_as == "Cancelled" else "failed" if self.ends_as == "Failed" else "succeeded"


def resource_name(workspace: str, item: str, job_type: str, data: Mapping[str, Any] | None = None) -> str:
    """Name what a run refreshes as journals do: `workspace/item/jobType`, and `#` with the body of the request, if any.

    The body is part of the name, because the same item and job type with other data is another thing to keep fresh.
    """
    body = f"#{json.dumps(data, sort_keys=True, separators=(',', ':'))}" if data else ""
    return f"{workspace.lower()}/{item.lower()}/{job_type}{body}"


class Jobs:
    """The items and their instances. Not thread-safe: whoever serves it takes turns."""

    def __init__(self, clock: Clock, faults: FaultScript, timing: Timing) -> None:
        """Begin without items."""
        self._clock = clock
        self._faults = faults
        self._timing = timing
        self._items: dict[tuple[str, str], Item] = {}
        self._instances: dict[str, Instance] = {}
        self._journal = Journal()
        self._count = 0
        self._random = None if timing.seed is None else Random(timing.seed)  # noqa: S311 - a seed to repeat

    def add_item(self, item: Item) -> None:
        """Make an item known, or replace it."""
        self._items[item.workspace.lower(), item.item.lower()] = item

    def item(self, workspace: str, item: str) -> Item | None:
        """Look an item up; ids are compared without case, as GUIDs are."""
        return self._items.get((workspace.lower(), item.lower()))

    def journal(self) -> Journal:
        """Bring the journal up to now and return it."""
        now = self._clock()
        for instance in self._instances.values():
            self._journal.replace(instance.entry(now))
        return self._journal

    def start(
        self,
        item: Item,
        job: JobType,
        data: Mapping[str, Any] | None,
        *,
        activity: str,
        caller: str | None,
        foreign: bool = False,
        invoke_type: InvokeType = "Manual",
    ) -> Instance:
        """Accept a start: it runs, or is skipped if another instance of this item and job type is going on.

        Whether execution definitions run beside each other is not published, so they do not [assumed].
        """
        now = self._clock()
        self._count += 1
        instance = Instance(
            run_id=str(uuid.uuid4()),
            number=self._count,
            item=item,
            job=job,
            data=data,
            invoke_type=invoke_type,
            activity=activity,
            caller=caller,
            foreign=foreign,
            created_at=now,
            begins_at=now + job.queue_time,
            ends_at=now + job.queue_time + job.run_time,
            inexact=Inexact.draw(self._random) if self._random else Inexact(),
        )
        instance = self._as_skipped(instance) if self._busy(item, job, now) else self._under_fault(instance)
        self._instances[instance.run_id] = instance
        self._journal.add(instance.entry(now))
        return instance

    def find(self, item: Item, run_id: str) -> Instance | None:
        """Look an instance of an item up."""
        instance = self._instances.get(run_id.lower())
        return instance if instance and instance.item.item == item.item else None

    def instance(self, run_id: str) -> Instance:
        """Return an instance that must be there; KeyError if it is not."""
        return self._instances[run_id]

    def list_instances(self, item: Item, delay: timedelta) -> list[Instance]:
        """The instances of a list, newest first [assumed]: all that go on, and the last hundred that ended.

        `delay` is how long after its creation an instance is first listed.
        """
        now = self._clock()
        shown = [one for one in self._of(item) if one.created_at + delay <= now]
        ended = sorted((one.ends_at, one.number) for one in shown if one.ends_at is not None and one.ends_at <= now)
        forgotten = {number for _, number in ended[:-COMPLETED_LISTED]}
        return sorted((one for one in shown if one.number not in forgotten), key=lambda one: -one.number)

    def cancel(self, instance: Instance) -> bool:
        """Ask an instance to end; False if it is over already."""
        now = self._clock()
        if instance.over(now):
            return False
        effective = now + self._timing.cancelling
        if instance.ends_at is None or effective < instance.ends_at:
            self._instances[instance.run_id] = replace(instance, ends_at=effective, ends_as="Cancelled", error="")
        return True

    def forget(self, run_id: str) -> None:
        """Let an instance vanish: it is neither found nor listed any more, and the journal keeps what it knew."""
        self._journal.replace(self._instances.pop(run_id).entry(self._clock()))

    def tell_status(self, run_id: str, status: str) -> None:
        """Tell this status of an instance, whatever it is: one that was added to the API later."""
        self._instances[run_id] = replace(self._instances[run_id], told_status=status)

    def _of(self, item: Item) -> list[Instance]:
        """All instances of an item, oldest first."""
        return [one for one in self._instances.values() if one.item.item == item.item]

    def _busy(self, item: Item, job: JobType, now: datetime) -> bool:
        """Whether an instance of this item and job type goes on, by the true times."""
        return any(one.job.name == job.name and not one.skipped and not one.over(now) for one in self._of(item))

    def _as_skipped(self, instance: Instance) -> Instance:
        """The instance as one that ends a moment later without having run."""
        ends_at = instance.created_at + self._timing.skipping
        return replace(instance, skipped=True, ends_at=ends_at, ends_as=instance.job.skip)

    def _under_fault(self, instance: Instance) -> Instance:
        """The instance with the scripted fault of a run, if one waits for its item."""
        match self._faults.take("run", instance.item.item):
            case FailRun(message=message):
                return replace(instance, ends_as="Failed", error=message)
            case NeverEnd():
                return replace(instance, ends_at=None)
            case ClockApart(offset=offset):
                return replace(instance, told_apart=offset)
        return instance
