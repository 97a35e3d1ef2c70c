"""Fabric's job API on loopback: both URL forms of run, get, list and cancel, as documented and as seen on the wire.

A real HTTP server in front of `model.py`. It judges bearer tokens, keeps every request with its answer, and takes
nothing that the API does not have: such a request fails and is kept in `unplanned_requests`, so that a test can say
that there was none.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from itertools import cycle
from typing import Any, Final, Self

from local.emulators.entra.tokens import FABRIC_AUDIENCES, Caller, TokenRefusal
from local.emulators.fabric.model import Instance, InvokeType, Item, Jobs, Timing, resource_name
from local.emulators.fabric.wire import (
    PROBLEMS,
    Call,
    LocationForm,
    Refusal,
    acceptance,
    delegates,
    describe,
    error_answer,
    location,
    number_in,
    object_in,
    page,
    read,
    start_data,
    with_header,
)
from local.emulators.faults import Fault, FaultScript, Refuse, ServerError, Throttle, deliver
from local.emulators.http_server import Answer, Clock, LoopbackServer, Request, json_answer
from local.emulators.journal import Journal, RefusedStart

Validate = Callable[[str, Collection[str]], Caller | TokenRefusal]
"""Judges an Authorization header for a resource with these names: `Tokens.validate`."""

QUOTA_WINDOW_SECONDS: Final = 60
"""Fixed windows per identity: https://learn.microsoft.com/rest/api/fabric/articles/throttling."""

SCRIPTED_RETRY_AFTER_SECONDS: Final = 60
"""Retry-After of a scripted `Refuse` with a throttling error; `Throttle` says its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricSettings:
    """How the platform behaves where it varies, or where its documents leave it open.

    `start_retry_after_seconds` is what an accepted start or cancel says, `poll_hints` what one poll of an unfinished
    instance after the other says (None: no header; all three kinds were recorded). For `get_delay` after its creation
    an instance is not found, for `listing_delay` it is not listed. `calls_per_window` is the quota of one identity in
    a minute, None for none. `public_url` is the base of the addresses in answers, if not the emulator's own. A missing
    end of a cancelled instance was recorded, too; which error an unknown instance gives is not published.
    """

    start_retry_after_seconds: int = 60
    """Retry-After of an accepted start or cancel; 60 was recorded."""
    poll_hints: tuple[int | None, ...] = (59, None, 20, 0, None)
    """Retry-After of one poll of an unfinished instance after the other; None for no header."""
    get_delay: timedelta = timedelta(0)
    """For how long after its creation an instance is not found."""
    listing_delay: timedelta = timedelta(0)
    """For how long after its creation an instance is not listed."""
    page_size: int = 100
    """Instances on one page of a list."""
    location_form: LocationForm = "item"
    """Which of the documented forms the Location of a start has."""
    calls_per_window: int | None = None
    """The quota of one identity in a minute; None for none."""
    public_url: str = ""
    """The base of the addresses in answers, if not the emulator's own."""
    cancelled_without_end: bool = False
    """Whether a cancelled instance is told without its end, as once in three recordings."""
    unknown_instance: str = "ItemNotFound"
    """The error that an unknown instance gives; which one is not published."""
    timing: Timing = field(default_factory=Timing)
    """How long the platform takes, and how exactly it tells times."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, None if it was dropped. In place of the token is whom it spoke for.

    `call` is None for what is no operation of the API. `outside` says that the answer came from something in front of
    the API (a refused token, a page of HTML), which does not know the API's form of errors.
    """

    request: Request
    """The request, with the caller's id in place of the token."""
    answer: Answer | None
    """The answer; None if it was dropped."""
    call: Call | None
    """The call that the request makes; None where it is no operation of the API."""
    caller: Caller | None
    """Whom the token spoke for; None for a bad one."""
    outside: bool
    """Whether something in front of the API answered."""


class FabricEmulator:
    """The job API of one tenant; use it as a context. Faults wait for an operation; their resource is the item's id."""

    def __init__(
        self,
        clock: Clock,
        validate: Validate,
        *,
        settings: FabricSettings | None = None,
        faults: FaultScript | None = None,
        foreign_callers: Collection[str] = (),
    ) -> None:
        """`foreign_callers` are object ids whose starts are someone else's."""
        self.settings = settings or FabricSettings()
        self.faults = faults or FaultScript()
        self._clock = clock
        self._validate = validate
        self._foreign_callers = frozenset(foreign_callers)
        self._lock = threading.RLock()
        self._jobs = Jobs(clock, self.faults, self.settings.timing)
        self._exchanges: list[Exchange] = []
        self._unplanned: list[str] = []
        self._spent: dict[tuple[str, int], int] = {}
        self._hints: Iterator[int | None] = cycle(self.settings.poll_hints)
        self._server = LoopbackServer(self._respond, clock)

    @property
    def url(self) -> str:
        """The base of all paths, `http://127.0.0.1:<port>/v1`."""
        return f"{self._server.url}/v1"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    # --- For the scene: items, other people, evidence --------------------------------------------------------------

    def add_item(self, item: Item) -> None:
        """Make an item known, or replace it."""
        with self._lock:
            self._jobs.add_item(item)

    def start_foreign(
        self,
        workspace: str,
        item: str,
        job_type: str,
        data: Mapping[str, Any] | None = None,
        *,
        invoke_type: InvokeType = "Scheduled",
        run_time: timedelta | None = None,
    ) -> str:
        """Let someone else start a run, as a schedule of Fabric's own does, of its own length or the usual; its id."""
        with self._lock:
            found = self._jobs.item(workspace, item)
            job = found.job(job_type) if found else None
            if found is None or job is None:
                raise LookupError(f"no {job_type} of {item} in {workspace}")
            job = replace(job, run_time=run_time or job.run_time)
            activity = str(uuid.uuid4())
            instance = self._jobs.start(
                found, job, data, activity=activity, caller=None, foreign=True, invoke_type=invoke_type
            )
            return instance.run_id

    def is_skipped(self, run_id: str) -> bool:
        """Whether an instance was accepted only to be skipped."""
        with self._lock:
            return self._jobs.instance(run_id).skipped

    def cancel_by_person(self, run_id: str) -> None:
        """Let a person cancel a run in the portal."""
        with self._lock:
            self._jobs.cancel(self._jobs.instance(run_id))

    def forget(self, run_id: str) -> None:
        """Let an instance vanish from the API."""
        with self._lock:
            self._jobs.forget(run_id)

    def tell_status(self, run_id: str, status: str) -> None:
        """Tell this status of an instance from now on, whatever it is."""
        with self._lock:
            self._jobs.tell_status(run_id, status)

    def journal(self) -> Journal:
        """Bring the journal up to now and return it."""
        with self._lock:
            return self._jobs.journal()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every request so far with its answer, oldest first."""
        with self._lock:
            return tuple(self._exchanges)

    @property
    def unplanned_requests(self) -> tuple[str, ...]:
        """Requests that the API has no answer for; a test asserts that there are none."""
        with self._lock:
            return tuple(self._unplanned)

    # --- From request to answer ------------------------------------------------------------------------------------

    def _respond(self, request: Request) -> Answer | None:
        """Answer one request: first is it a call of the API, then is the token good, then is there a scripted fault."""
        request_id = str(uuid.uuid4())
        call = read(request)
        caller = self._validate(request.headers.get("authorization", ""), FABRIC_AUDIENCES)
        with self._lock:
            fault = None
            if isinstance(call, Refusal):
                answer = self._word(self._note_unplanned(call, request), request_id)
            elif isinstance(caller, TokenRefusal):
                answer = self._word(_token_refusal(caller), request_id)
            else:
                fault = self._over_quota(caller) or self.faults.take(call.operation, call.item)
                answer = self._word(self._under(fault, call, request, caller, request_id), request_id)
            arrives = deliver(fault, answer)
            self._keep(request, arrives, call, caller, fault)
        return arrives

    def _word(self, outcome: Answer | Refusal, request_id: str) -> Answer:
        """An outcome as an answer, with the request's id on it, as every recorded answer has."""
        answer = outcome if isinstance(outcome, Answer) else error_answer(outcome, self._clock(), request_id)
        return with_header(answer, "RequestId", request_id)

    def _under(
        self, fault: Fault | None, call: Call, request: Request, caller: Caller, request_id: str
    ) -> Answer | Refusal:
        """Do what is asked, unless the script refuses it; after some scripted refusals it is done all the same."""
        scripted = _scripted_refusal(fault)
        if scripted and not (isinstance(fault, Refuse | ServerError) and fault.done):
            outcome = scripted
        else:
            outcome = self._do(call, request, caller, request_id)
        if call.operation == "start" and (outcome is scripted or isinstance(outcome, Refusal)):
            self._note_refused_start(call, request, caller, outcome)
        return scripted or outcome

    def _do(self, call: Call, request: Request, caller: Caller, request_id: str) -> Answer | Refusal:
        """Do what a good call asks for: the item must be there, and a user's scopes must allow it."""
        item = self._jobs.item(call.workspace, call.item)
        if item is None or (call.collection == "lakehouses" and item.kind != "Lakehouse"):
            return Refusal("ItemNotFound", about=(call.item, "Item"))
        if not delegates(caller, call, item.kind):
            return Refusal("InsufficientScopes")
        match call.operation:
            case "start":
                return self._start(item, call, request, caller, request_id)
            case "list":
                return self._list(item, call, request, request_id)
        instance = self._jobs.find(item, call.run_id)
        if instance is None:
            return self._unknown(call)
        return self._get(instance, call, request_id) if call.operation == "get" else self._cancel(instance)

    def _start(self, item: Item, call: Call, request: Request, caller: Caller, request_id: str) -> Answer | Refusal:
        """Run On Demand Item Job, and Run On Demand Refresh Materialized Lake Views."""
        job = item.job(call.job_type)
        if job is None:
            return Refusal("InvalidJobType")
        data = start_data(request, job)
        if isinstance(data, Refusal):
            return self._note_unplanned(data, request) if data.code == "InvalidInput" else data
        foreign = caller.object_id in self._foreign_callers
        instance = self._jobs.start(item, job, data, activity=request_id, caller=caller.object_id, foreign=foreign)
        address = location(self._base, instance, self.settings.location_form)
        return acceptance(address, self.settings.start_retry_after_seconds)

    def _get(self, instance: Instance, call: Call, request_id: str) -> Answer | Refusal:
        """Get Item Job Instance."""
        now = self._clock()
        if now < instance.created_at + self.settings.get_delay:
            return self._unknown(call)
        answer = json_answer(200, self._describe(instance, request_id))
        hint = None if instance.told_over(now) else next(self._hints)
        return answer if hint is None else with_header(answer, "Retry-After", str(hint))

    def _list(self, item: Item, call: Call, request: Request, request_id: str) -> Answer | Refusal:
        """List Item Job Instances."""
        before = number_in(call.continuation)
        if before is None:
            return self._note_unplanned(Refusal("InvalidInput"), request)
        rest = [one for one in self._jobs.list_instances(item, self.settings.listing_delay) if one.number < before]
        shown = rest[: self.settings.page_size]
        next_before = shown[-1].number if len(rest) > len(shown) else None
        url = self._base + request.path.removeprefix("/v1")
        return page([self._describe(instance, request_id) for instance in shown], next_before, url)

    def _cancel(self, instance: Instance) -> Answer | Refusal:
        """Cancel Item Job Instance."""
        if not self._jobs.cancel(instance):
            return Refusal("JobAlreadyCompleted", about=(instance.run_id, "JobInstance"))
        return acceptance(location(self._base, instance, "item"), self.settings.start_retry_after_seconds)

    def _describe(self, instance: Instance, request_id: str) -> dict[str, Any]:
        """An instance as the settings want it told."""
        hidden = self.settings.cancelled_without_end and instance.ends_as == "Cancelled" and not instance.skipped
        return describe(instance, self._clock(), request_id, with_end=not hidden)

    def _unknown(self, call: Call) -> Refusal:
        """The refusal for an instance that cannot be found."""
        return Refusal(self.settings.unknown_instance, about=(call.run_id, "JobInstance"))

    @property
    def _base(self) -> str:
        """The base of addresses in answers."""
        return self.settings.public_url or self.url

    def _over_quota(self, caller: Caller) -> Throttle | None:
        """Count a call of this identity; beyond its quota it is blocked until the window ends."""
        if self.settings.calls_per_window is None:
            return None
        window, passed = divmod(self._clock().timestamp(), QUOTA_WINDOW_SECONDS)
        key = (caller.object_id, int(window))
        self._spent[key] = self._spent.get(key, 0) + 1
        over = self._spent[key] > self.settings.calls_per_window
        return Throttle(math.ceil(QUOTA_WINDOW_SECONDS - passed)) if over else None

    # --- Evidence --------------------------------------------------------------------------------------------------

    def _note_unplanned(self, refusal: Refusal, request: Request) -> Refusal:
        """Keep a request that the API does not have."""
        query = "&".join(f"{name}={value}" for name, value in request.query)
        self._unplanned.append(f"{request.method} {request.path}{'?' if query else ''}{query}: {refusal.code}")
        return refusal

    def _note_refused_start(self, call: Call, request: Request, caller: Caller, outcome: Answer | Refusal) -> None:
        """Keep a start that made no run, or none that its caller knows of."""
        code = outcome.code if isinstance(outcome, Refusal) else str(outcome.status)
        resource = resource_name(call.workspace, call.item, call.job_type, object_in(request.body))
        self._jobs.journal().add(
            RefusedStart(
                resource, self._clock(), code, caller.object_id, foreign=caller.object_id in self._foreign_callers
            )
        )

    def _keep(
        self,
        request: Request,
        answer: Answer | None,
        call: Call | Refusal,
        caller: Caller | TokenRefusal,
        fault: Fault | None,
    ) -> None:
        """Keep a request and its answer, with the caller's id in place of the token."""
        known = caller if isinstance(caller, Caller) else None
        refused_in_front = answer is not None and answer.status == HTTPStatus.UNAUTHORIZED and not answer.body
        shown = {"authorization": f"Bearer of {known.object_id}" if known else f"({caller})"}
        headers = {name: shown.get(name, value) for name, value in request.headers.items()}
        self._exchanges.append(
            Exchange(
                request=replace(request, headers=headers),
                answer=answer,
                call=call if isinstance(call, Call) else None,
                caller=known,
                outside=isinstance(fault, ServerError) or refused_in_front,
            )
        )


def _scripted_refusal(fault: Fault | None) -> Answer | Refusal | None:
    """The refusal that a script wants, if it wants one."""
    match fault:
        case Refuse(code=code):
            return Refusal(code, SCRIPTED_RETRY_AFTER_SECONDS if PROBLEMS[code].retriable else None)
        case Throttle(retry_after_seconds=seconds):
            return Refusal("RequestBlocked", seconds)
        case ServerError(status=status):
            body = b"<html><head><title>Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
            return Answer(status, {"Content-Type": "text/html"}, body)
    return None


def _token_refusal(refusal: TokenRefusal) -> Answer | Refusal:
    """Only an expired token is known to be named; whatever else is wrong stops in front of the API [assumed]."""
    if refusal is TokenRefusal.EXPIRED:
        return Refusal("TokenExpired")
    return Answer(HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
