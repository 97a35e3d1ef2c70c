"""The function app's entry: the triggers, in the Python v2 model, a few lines each; `shell.py` does the work.

Nothing is built or connected when this module is imported, and no SDK is: the first call of a function does it. Which
functions there are is asked of the settings then, and the configuration is skimmed for `[workload]`.
Retry decorators have no place here: on a queue they multiply with `maxDequeueCount`, and a checkpoint waits for none.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import time
import warnings
from typing import TYPE_CHECKING, List  # noqa: UP035 - the worker knows a batch by this name

import azure.functions as func

from functions_azure import settings
from functions_azure.settings import EVENTS, EVENTS_QUEUE, ITEM_ROUTE, JOB_ROUTE, STORAGE, WAKES_QUEUE

if TYPE_CHECKING:
    from functions_azure.shell import Reply, Shell

OBJECTS_UNCOLLECTED = 50_000
"""How many objects more there may be before cycles are looked for: some ten megabytes at most. Python's own 2,000 look
fifty times while the modules of a first event are imported, which leave no garbage."""

gc.set_threshold(OBJECTS_UNCOLLECTED)
# `requests` misses a guesser of encodings that the package leaves out (infra/packaging/azure.py), and nobody needs.
warnings.filterwarnings("ignore", "Unable to find acceptable character detection")

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

EVERY_MINUTE = "0 * * * * *"
"""When the tick comes, as NCRONTAB: at second 0 of each minute, since promises are in minutes. Later ticks make up for
one that is missed.
"""

_made: dict[str, Shell] = {}


def shell() -> Shell:
    """The shell of the process. Nothing is kept of a failure, so that every invocation says what is wrong."""
    if "shell" not in _made:
        from functions_azure import wiring

        _made["shell"] = wiring.shell(os.environ)
    return _made["shell"]


def use(shell: Shell) -> None:
    """Let the triggers work on other parts: the demo's, or a test's."""
    _made["shell"] = shell


@app.function_name("events")
@app.queue_trigger(arg_name="message", queue_name=EVENTS_QUEUE, connection=STORAGE)
def events(message: func.QueueMessage) -> None:
    """Take an event that Event Grid delivered, or one of our own messages."""
    shell().deliver(EVENTS_QUEUE, message.get_body())


@app.function_name("wakes")
@app.queue_trigger(arg_name="message", queue_name=WAKES_QUEUE, connection=STORAGE)
def wakes(message: func.QueueMessage) -> None:
    """Take a wake."""
    shell().deliver(WAKES_QUEUE, message.get_body())


def event_grid(event: str) -> None:
    """Take an event of either schema, as Event Grid pushed it. A failure is a 500, after which it tries again.

    As text it comes unread: the worker's own types refuse an event whose time they cannot read, before we are asked.
    """
    shell().push(event.encode())


if settings.is_pushed(os.environ):  # an address that nobody is to call need not be there
    app.function_name("event_grid")(app.event_grid_trigger(arg_name="event")(event_grid))


@app.function_name("tick")
@app.timer_trigger(arg_name="timer", schedule=EVERY_MINUTE, run_on_startup=False, use_monitor=False)
def tick(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host wants the parameter
    """Sweep. Without the monitor no missed tick is made up for: the next one does all that it would have done."""
    shell().tick()


@app.function_name("refresh")
@app.route(route="refresh/{target}", methods=["POST"])
def refresh(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for one target, by name."""
    try:
        reply = shell().refresh(req.route_params["target"], req.get_body())
    except Exception as failure:  # noqa: BLE001 - an exception that leaves the function is an empty 500
        reply = _unavailable(failure)
    return func.HttpResponse(
        json.dumps(reply.content), status_code=reply.status, mimetype="application/json", headers=reply.headers
    )


def workload_create(req: func.HttpRequest) -> func.HttpResponse:
    """Fabric starts a job."""
    return _job("create", req)


def workload_get(req: func.HttpRequest) -> func.HttpResponse:
    """Fabric asks how a job stands."""
    return _job("get", req)


def workload_cancel(req: func.HttpRequest) -> func.HttpResponse:
    """Fabric cancels a job."""
    return _job("cancel", req)


def workload_item(req: func.HttpRequest) -> func.HttpResponse:
    """Fabric tells that an item was made, changed or deleted."""
    return _job("item", req)


def workload_payload(req: func.HttpRequest) -> func.HttpResponse:
    """Fabric asks what the editor of an item shows."""
    return _job("item", req)


if settings.serves_workload(os.environ):  # without a function key: Fabric has none, and its tokens are judged instead
    for function, route, methods in (
        (workload_create, JOB_ROUTE, ["POST"]),
        (workload_get, JOB_ROUTE, ["GET"]),
        (workload_cancel, f"{JOB_ROUTE}/cancel", ["POST"]),
        (workload_item, ITEM_ROUTE, ["POST", "PATCH", "DELETE"]),
        (workload_payload, f"{ITEM_ROUTE}/payload", ["GET"]),
    ):
        app.function_name(function.__name__)(
            app.route(route=route, methods=methods, auth_level=func.AuthLevel.ANONYMOUS)(function)
        )


def stream(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - as above
    """Take a batch of an event hub: of a Fabric eventstream, or of blob events where they are many."""
    from functions_azure.shell import persist

    persist(shell, [event.get_body() for event in events], time.sleep, _complain)


_hub = settings.event_hub(os.environ)
if _hub:  # where there is none, the host would report the binding as broken for ever
    app.function_name("stream")(
        app.event_hub_message_trigger(
            arg_name="events",
            connection=EVENTS,
            event_hub_name=_hub.name,
            consumer_group=_hub.consumer_group,
            cardinality=func.Cardinality.MANY,
        )(stream)
    )


def _complain(failure: Exception) -> None:
    logging.getLogger("unstale").error("%s: %s", type(failure).__name__, failure)


def _job(operation: str, req: func.HttpRequest) -> func.HttpResponse:
    from functions_azure.workload.shell import Request
    from shared.workload.api import refuse_unavailable

    try:
        answer = shell().job(Request(operation, req.route_params, dict(req.headers), req.get_body(), req.method))
    except Exception as trouble:  # noqa: BLE001 - settings that are wrong: as above
        _complain(trouble)
        answer = refuse_unavailable(trouble)
    return func.HttpResponse(
        answer.body, status_code=answer.status, mimetype="application/json", headers=dict(answer.headers)
    )


def _unavailable(failure: Exception) -> Reply:
    from functions_azure.shell import refuse_unavailable
    from shared.redaction import Redactor

    _complain(failure)
    return refuse_unavailable(failure, Redactor(settings.secrets(os.environ)))
