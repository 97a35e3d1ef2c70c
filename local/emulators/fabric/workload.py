"""The other side of the Workload API: a small Fabric that asks for jobs, polls them each minute, and gives up.

It calls over real HTTP, with the tokens that Fabric's calls carry, and keeps what it was told. What the API does not
allow (a state that goes back, an end that changes, an error in another shape) is kept as `broken`, so that a test can
say that there was none. `function_host` is the HTTP server in front of the function app that it calls.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final, Protocol

import azure.functions as func
import requests

from functions_azure.settings import ITEM_ROUTE, JOB_ROUTE
from local.emulators.entra.tokens import Tokens
from local.emulators.http_server import Answer, Clock, LoopbackServer, Request

POLL_EVERY: Final = timedelta(minutes=1)
"""How often Fabric asks for the state of a job: "every minute", says the monitoring hub's page."""
GIVE_UP_AFTER: Final = timedelta(hours=2)
"""A job that has not started by then is dead (https://learn.microsoft.com/fabric/workload-development-kit/monitoring-hub)."""
FABRIC_APP: Final = "00000009-0000-0000-c000-000000000000"
"""The app id of Fabric's backend, which signs its calls: back-end-authentication of the development kit."""
STATES: Final = {"NotStarted": 0, "InProgress": 1, "Completed": 2, "Failed": 2, "Cancelled": 2}
"""The states of a job, and how far each is; a job never goes back."""
ENDED: Final = 2
"""How far a job is that is over."""
ERROR_FIELDS: Final = {"errorCode", "isPermanent", "message", "messageParameters", "moreDetails", "source"}
"""The members of an error, by the API's own document (ErrorResponse)."""
PATIENCE_SECONDS: Final = 15.0
"""Of the true clock. How long the true Fabric waits for an answer is not published."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A workload as its publisher registered it, and the customer whose item is asked about."""

    audience: str
    """The workload's App ID URI, for which Fabric's tokens are."""
    publisher_tenant: str
    """The tenant of whoever publishes the workload."""
    customer_tenant: str
    """The tenant of whoever uses it."""
    client_id: str = ""
    """The app's client id, where tokens of version 2.0 are wanted."""


class Caller:
    """The Authorization header of Fabric's calls: both tokens, or the app's alone where nobody stands behind a call."""

    def __init__(self, tokens: Tokens, registration: Registration, clock: Clock) -> None:
        """`tokens` signs, whatever tenant it is of: Entra's keys are those of all tenants."""
        self._tokens = tokens
        self._registration = registration
        self._clock = clock

    def headers(self, *, on_behalf: bool) -> dict[str, str]:
        """Headers that the API requires."""
        app = self._token(self._registration.publisher_tenant, {"idtyp": "app"})
        scope = {"scp": "FabricWorkloadControl"}
        subject = self._token(self._registration.customer_tenant, scope) if on_behalf else ""
        return {
            "Authorization": f'SubjectAndAppToken1.0 subjectToken="{subject}", appToken="{app}"',
            "x-ms-client-tenant-id": self._registration.customer_tenant,
            "ActivityId": str(uuid.uuid4()),
            "RequestId": str(uuid.uuid4()),
        }

    def _token(self, tenant: str, claims: Mapping[str, str]) -> str:
        """Sign a token, of version 2.0 where the workload has a client id, else 1.0."""
        now = int(self._clock().timestamp())
        client_id = self._registration.client_id
        form = "https://login.microsoftonline.com/{}/v2.0" if client_id else "https://sts.windows.net/{}/"
        return self._tokens.sign(
            {
                "aud": client_id or self._registration.audience,
                "iss": form.format(tenant),
                "iat": now,
                "nbf": now,
                "exp": now + 3600,
                "azp" if client_id else "appid": FABRIC_APP,
                "oid": str(uuid.uuid5(uuid.NAMESPACE_URL, tenant)),
                "tid": tenant,
                "ver": "2.0" if client_id else "1.0",
                **claims,
            }
        )


@dataclass(slots=True)
class FabricJob:
    """A job as Fabric knows it: `states` are those that it was told, each once. `given_up`: nobody asks any more."""

    path: str
    """Where the job is asked about, below the base."""
    body: bytes
    """The body of its creation."""
    created_at: datetime
    """When Fabric first asked for it."""
    accepted: bool = False
    """Whether the workload took it."""
    poll_at: datetime | None = None
    """When to ask again; None for at once."""
    states: list[dict[str, Any]] = field(default_factory=list)
    """The states that Fabric was told, each once."""
    given_up: bool = False
    """Whether nobody asks any more."""

    @property
    def status(self) -> str:
        """The status that Fabric was told last; empty before the first."""
        return str(self.states[-1]["status"]) if self.states else ""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to learn."""
        return self.given_up or STATES.get(self.status) == ENDED


class WorkloadFabric:
    """Asks a workload at `base`. `tick` does what is due by the clock; whoever runs it calls it now and then."""

    def __init__(self, base: str, caller: Caller, clock: Clock) -> None:
        """Begin without jobs. Proxies of the surroundings are left aside: what is asked is on loopback."""
        self.jobs: dict[str, FabricJob] = {}
        self.broken: list[str] = []
        self._base = base
        self._caller = caller
        self._clock = clock
        self._lock = Lock()
        self._http = requests.Session()
        self._http.trust_env = False

    def ask(
        self,
        item: tuple[str, str, str],
        job_type: str,
        payload: Mapping[str, Any] | None = None,
        invoke_type: str = "Scheduled",
    ) -> str:
        """Create a job of an item (workspace, type, id), again and again until it is accepted; returns its id."""
        workspace, item_type, item_id = item
        instance = str(uuid.uuid4())
        path = f"workspaces/{workspace}/items/{item_type}/{item_id}/jobTypes/{job_type}/instances/{instance}"
        body = json.dumps({"invokeType": invoke_type, **({"creationPayload": payload} if payload else {})}).encode()
        with self._lock:
            self.jobs[instance] = FabricJob(path, body, self._clock())
        self.tick()
        return instance

    def cancel(self, instance: str) -> None:
        """Ask for the end of a job, on behalf of whoever pressed the button."""
        job = self.jobs[instance]
        with self._lock:
            self._tell(job, self._call("POST", f"{job.path}/cancel", b"", on_behalf=True))

    def tick(self) -> None:
        """Poll whatever was not polled for a minute, and give up what has not started for two hours."""
        with self._lock:
            for job in [job for job in self.jobs.values() if not job.over]:
                now = self._clock()
                if job.poll_at is None or now >= job.poll_at:
                    job.poll_at = now + POLL_EVERY
                    self._ask_about(job)
                started = STATES.get(job.status, 0) > 0
                job.given_up |= not started and now - job.created_at > GIVE_UP_AFTER

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def _ask_about(self, job: FabricJob) -> None:
        """Create the job where it is not accepted yet, else ask for its state."""
        if job.accepted:
            self._tell(job, self._call("GET", job.path, b"", on_behalf=False))
            return
        answer = self._call("POST", job.path, job.body, on_behalf=True)
        job.accepted = answer is not None and answer.status_code == requests.codes.accepted
        job.given_up = answer is not None and not job.accepted and bool(_content(answer).get("isPermanent"))

    def _call(self, method: str, path: str, body: bytes, *, on_behalf: bool) -> requests.Response | None:
        """A call; None if nothing came back. What came is checked against the API's document."""
        headers = self._caller.headers(on_behalf=on_behalf)
        if body:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._http.request(
                method, f"{self._base}/{path}", data=body, headers=headers, timeout=PATIENCE_SECONDS
            )
        except requests.RequestException:
            return None
        if not answer.ok and not _content(answer).keys() >= ERROR_FIELDS:
            self.broken.append(f"{answer.status_code} in another shape: {answer.text}")
        return answer

    def _tell(self, job: FabricJob, answer: requests.Response | None) -> None:
        """Remember a state that is new; one that contradicts an older one breaks the API's word."""
        if answer is None or answer.status_code != requests.codes.ok:
            return
        state = answer.json()
        if job.states and (STATES[state["status"]] < STATES[job.status] or (job.over and state != job.states[-1])):
            self.broken.append(f"{job.states[-1]} became {state}")
        if not job.states or state != job.states[-1]:
            job.states.append(state)


def _content(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of an error; {} where there is none."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


# --- The host in front of the function app ---------------------------------------------------------------------------


class Triggers(Protocol):
    """The function app's module, as far as Fabric calls it."""

    def workload_create(self, req: func.HttpRequest) -> func.HttpResponse:
        """POST."""

    def workload_get(self, req: func.HttpRequest) -> func.HttpResponse:
        """GET."""

    def workload_cancel(self, req: func.HttpRequest) -> func.HttpResponse:
        """POST with `/cancel` behind it."""

    def workload_item(self, req: func.HttpRequest) -> func.HttpResponse:
        """POST, PATCH and DELETE of an item."""

    def workload_payload(self, req: func.HttpRequest) -> func.HttpResponse:
        """GET with `/payload` behind an item."""


def function_host(triggers: Triggers, clock: Clock) -> LoopbackServer:
    """An HTTP server that calls the triggers, as the host of a function app does; the base is `/api/workload`."""

    def respond(request: Request) -> Answer:
        """Find the trigger of a path and call it with what the host would hand over."""
        fitting = [
            (name, found.groupdict())
            for name, methods, route in _TRIGGERS
            if request.method in methods and (found := re.fullmatch(route, request.path))
        ]
        if not fitting:
            return Answer(404)
        [(name, parameters)] = fitting
        given = func.HttpRequest(
            request.method, request.path, headers=dict(request.headers), route_params=parameters, body=request.body
        )
        answer: func.HttpResponse = getattr(triggers, name)(given)
        headers = {**answer.headers, "Content-Type": answer.mimetype}
        return Answer(answer.status_code, headers, answer.get_body())

    return LoopbackServer(respond, clock)


def _pattern(route: str) -> str:
    """The regular expression of the paths of a route; their prefix is that of `host.json`."""
    return "/api/" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route)


_TRIGGERS: tuple[tuple[str, frozenset[str], str], ...] = (
    ("workload_create", frozenset({"POST"}), _pattern(JOB_ROUTE)),
    ("workload_get", frozenset({"GET"}), _pattern(JOB_ROUTE)),
    ("workload_cancel", frozenset({"POST"}), _pattern(f"{JOB_ROUTE}/cancel")),
    ("workload_item", frozenset({"POST", "PATCH", "DELETE"}), _pattern(ITEM_ROUTE)),
    ("workload_payload", frozenset({"GET"}), _pattern(f"{ITEM_ROUTE}/payload")),
)
"""Name and methods of each trigger, and the pattern of its paths."""
